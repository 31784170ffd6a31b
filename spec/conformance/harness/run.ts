// Runs the scripts of a suite in CPython and here, and reports what differs.
//
// Both work at once, in batches: while this process runs one batch, CPython is at the next. Each batch
// has a seed of its own, so that a random script on which the two differ is found again from that
// seed, and shrunk.

import * as fc from 'fast-check';
import { CPython } from './cpython';
import type { Ask, Suite, Verdict } from './suite';

export interface Options {
  /** How many random scripts; a suite with a list runs that. */
  scripts: number;
  seed: number;
  /** A command that runs a Python with asyncore. */
  python: string;
}

export interface Report {
  /** How many cases were run in CPython and here. */
  run: number;
  seed: number;
  /** What differs, with the smallest script found. The run stops at the first few. */
  differences: string[];
  /** How many scripts each row of docs/differences.md was needed for, by its short name. */
  rows: Record<string, number>;
}

const BATCH = 100;
/** Batches that CPython has been given ahead. */
const AHEAD = 4;
const ENOUGH_DIFFERENCES = 5;
/** How long to look for a smaller script, in ms. */
const SHRINKING = 15_000;

export async function runSuite<Script extends object, Theirs, Ours>(
  suite: Suite<Script, Theirs, Ours>,
  options: Options,
): Promise<Report> {
  const cpython = new CPython(options.python, suite.driver);
  try {
    return await new Run(suite, options.seed, cpython).all(options.scripts);
  } finally {
    await cpython.end();
  }
}

interface Batch<Script> {
  seed: number;
  scripts: readonly Script[];
  answers: Promise<unknown[]>;
}

class Run<Script extends object, Theirs, Ours> {
  readonly #suite: Suite<Script, Theirs, Ours>;
  readonly #cpython: CPython;
  readonly #report: Report;

  constructor(suite: Suite<Script, Theirs, Ours>, seed: number, cpython: CPython) {
    this.#suite = suite;
    this.#cpython = cpython;
    const rows = Object.fromEntries(Object.keys(suite.rows).map((row) => [row, 0]));
    this.#report = { run: 0, seed, differences: [], rows };
  }

  async all(count: number): Promise<Report> {
    const batches = this.#batches(count);
    const ahead: Batch<Script>[] = [];
    const unread: (() => Promise<void>)[] = [];
    for (;;) {
      while (ahead.length < AHEAD) {
        const next = batches.next();
        if (next.done === true) break;
        ahead.push(next.value);
      }
      const batch = ahead.shift();
      if (batch === undefined) break;
      unread.push(await this.#runHere(batch));
      // The verdicts of the last batch may still wait for CPython to run a script with fixes.
      if (unread.length > 1) await unread.shift()?.();
      if (this.#report.differences.length >= ENOUGH_DIFFERENCES) break;
    }
    for (const read of unread) await read();
    await Promise.all(ahead.map(({ answers }) => answers));
    return this.#report;
  }

  *#batches(count: number): Generator<Batch<Script>, void> {
    const { scripts } = this.#suite;
    const total = isList(scripts) ? scripts.length : count;
    for (let from = 0; from < total; from += BATCH) {
      const numRuns = Math.min(BATCH, total - from);
      const seed = seedOf(this.#report.seed, from / BATCH);
      const batch = isList(scripts)
        ? scripts.slice(from, from + numRuns)
        : fc.sample(scripts, { seed, numRuns });
      const answers = this.#cpython.run(batch);
      // The answers are looked at when the batch has its turn.
      answers.catch(() => {});
      yield { seed, scripts: batch, answers };
    }
  }

  /** @returns what reads the verdicts, as soon as all scripts of the batch have run here */
  async #runHere({ seed, scripts, answers }: Batch<Script>): Promise<() => Promise<void>> {
    const suite = this.#suite;
    const verdicts: Promise<Verdict>[] = [];
    for (const [index, script] of scripts.entries()) {
      const ours = await suite.runHere(script, index);
      const ask = this.#ask(script, async () => (await answers)[index]);
      const verdict = suite.compare(script, ours, ask);
      // A failure is looked at when the verdicts are read.
      verdict.catch(() => {});
      verdicts.push(verdict);
      // CPython's answers are taken in between two scripts.
      await new Promise(setImmediate);
    }
    return async () => {
      for (const [index, { rows, difference }] of (await Promise.all(verdicts)).entries()) {
        if (this.#report.differences.length >= ENOUGH_DIFFERENCES) return;
        this.#report.run += this.#suite.cases;
        for (const row of rows) this.#report.rows[row] = (this.#report.rows[row] ?? 0) + 1;
        if (difference === null) continue;
        const script = scripts[index] as Script;
        this.#report.differences.push(await this.#shrunk(seed, index, script, difference));
      }
    };
  }

  #ask(script: Script, plain: () => Promise<unknown>): Ask<Theirs> {
    return async (fixes = []) => {
      const answer =
        fixes.length === 0 ? await plain() : (await this.#cpython.run([script], fixes))[0];
      return this.#suite.parse(answer);
    };
  }

  /** Describes the smallest script that differs as well. */
  async #shrunk(seed: number, index: number, found: Script, difference: string): Promise<string> {
    const suite = this.#suite;
    const { name, scripts } = suite;
    if (isList(scripts)) return `${name}: ${difference}`;
    let smallest = { script: found, difference };
    const property = fc.asyncProperty(scripts, async (script) => {
      const ask = this.#ask(script, async () => (await this.#cpython.run([script]))[0]);
      const verdict = await suite.compare(script, await suite.runHere(script, index), ask);
      if (verdict.difference === null) return true;
      smallest = { script, difference: verdict.difference };
      return false;
    });
    const { counterexamplePath } = await fc.check(property, {
      seed,
      path: String(index),
      numRuns: 1,
      interruptAfterTimeLimit: SHRINKING,
    });
    const again = counterexamplePath === null ? ', which did not happen again' : '';
    const path = counterexamplePath ?? index;
    return [
      `${name}: seed ${seed}, path ${path}${again}: ${smallest.difference}`,
      `script ${JSON.stringify(smallest.script)}`,
    ].join('\n');
  }
}

function isList<Script>(
  scripts: readonly Script[] | fc.Arbitrary<Script>,
): scripts is readonly Script[] {
  return Array.isArray(scripts);
}

/** The seeds of batches lie far apart, also those of neighbouring runs. */
function seedOf(seed: number, batch: number): number {
  return (Math.imul(seed, 0x9e3779b1) + Math.imul(batch, 0x85ebca6b)) | 0;
}
