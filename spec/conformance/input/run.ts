// Differential testing of AsyncChat's input: the same random scripts in CPython's asynchat and here.
//
//   npx tsx spec/conformance/input/run.ts [--scripts 100000] [--seed N] [--python command]
//   npx tsx spec/conformance/input/run.ts --record     writes corpus.json anew
//
// The Python is python3.11, or what `PYTHON` in the environment says.
//
// Both work at once, in batches: while this process runs one batch, CPython is at the next. A batch
// has a seed of its own, so a script on which they differ is found again, and shrunk, from that.

import { spawnSync } from 'node:child_process';
import * as fc from 'fast-check';
import { scripts as arbitrary } from './arbitrary';
import { compare, type Difference, recutOf, sameRecords } from './compare';
import { CORPUS, type Recorded, writeCorpus } from './corpus';
import { CPython } from './cpython';
import { runHere, runInLoop, type Way } from './here';
import { ALL_ROWS, model, ROWS, type Row } from './model';
import type { Result, Script } from './script';

export interface InputOptions {
  /** How many. */
  scripts: number;
  seed: number;
  /** A command that runs a Python with asyncore. */
  python: string;
  /** Called now and then. */
  progress?: (run: number) => void;
}

export interface InputReport {
  /** How many scripts were run in CPython and here. */
  run: number;
  /** Shrunk. It stops at the first few. */
  differences: FoundDifference[];
  /** How many scripts each row of docs/differences.md was needed for. */
  rows: Record<Row, number>;
  /** How many were run in another cut as well. */
  recut: number;
}

export interface FoundDifference extends Difference {
  /** `fc.check` finds it with these. */
  seed: number;
  path: string;
  way: Way;
}

const BATCH = 100;
/** Batches that CPython has been given ahead. */
const AHEAD = 4;
const ENOUGH_DIFFERENCES = 5;
/** How long to look for a smaller script, in ms. */
const SHRINKING = 8000;
const CORPUS_SEED = 20_231_002;
const CORPUS_SIZE = 600;
/** How many records a row should have. */
const RARE = 10;

export async function runInput(options: InputOptions): Promise<InputReport> {
  const rows = Object.fromEntries(Object.keys(ROWS).map((row) => [row, 0])) as Record<Row, number>;
  const report: InputReport = { run: 0, differences: [], rows, recut: 0 };
  const cpython = new CPython(options.python);
  try {
    const ahead: Batch[] = [];
    for (let from = 0; from < options.scripts || ahead.length > 0; ) {
      while (from < options.scripts && ahead.length < AHEAD) {
        const length = Math.min(BATCH, options.scripts - from);
        ahead.push(new Batch(seedOf(options.seed, from / BATCH), length, cpython));
        from += BATCH;
      }
      await (ahead.shift() as Batch).runHere(report);
      options.progress?.(report.run);
      if (report.differences.length >= ENOUGH_DIFFERENCES) break;
    }
    // What was given ahead is in nobody's interest now.
    await Promise.all(ahead.map((batch) => batch.results));
  } finally {
    await cpython.end();
  }
  return report;
}

/** Seeds of batches lie apart, also those of neighbouring runs. */
function seedOf(seed: number, batch: number): number {
  return (Math.imul(seed, 0x9e3779b1) + Math.imul(batch, 0x85ebca6b)) | 0;
}

/** By far the most scripts run in passes made one by one, which is fastest. */
function wayOf(index: number): Way {
  if (index % 16 === 7) return 'loop';
  return index % 4 === 1 ? 'loopSync' : 'poll';
}

export async function runBy(way: Way, script: Script): Promise<Result> {
  return way === 'loop' ? runInLoop(script) : runHere(script, way);
}

class Batch {
  readonly scripts: Script[];
  readonly results: Promise<Result[]>;

  constructor(
    readonly seed: number,
    length: number,
    readonly cpython: CPython,
  ) {
    this.scripts = fc.sample(arbitrary, { seed, numRuns: length });
    this.results = cpython.run(this.scripts);
    // It is looked at when its turn comes.
    this.results.catch(() => {});
  }

  async runHere(report: InputReport): Promise<void> {
    const results = await this.results;
    for (const [index, script] of this.scripts.entries()) {
      const way = wayOf(index);
      const here = await runBy(way, script);
      const { difference, rows } = judge(script, results[index] as Result, here);
      report.run += 1;
      for (const row of rows) report.rows[row] += 1;
      if (recutOf(script) !== null) report.recut += 1;
      if (difference === null) continue;
      report.differences.push(await this.#shrink(index, way, difference));
      if (report.differences.length >= ENOUGH_DIFFERENCES) return;
    }
  }

  /** The smallest script that differs, too. */
  async #shrink(index: number, way: Way, found: Difference): Promise<FoundDifference> {
    let smallest = found;
    const property = fc.asyncProperty(arbitrary, async (script) => {
      const [theirs] = await this.cpython.run([script]);
      const { difference } = judge(script, theirs as Result, await runBy(way, script));
      if (difference === null) return true;
      smallest = difference;
      return false;
    });
    const details = await fc.check(property, {
      seed: this.seed,
      path: String(index),
      numRuns: 1,
      interruptAfterTimeLimit: SHRINKING,
    });
    const path = details.counterexamplePath ?? String(index);
    return { ...smallest, seed: this.seed, path, way };
  }
}

/** As `compare`; and when that is well, the same stream in another cut. */
function judge(script: Script, cpython: Result, here: Result): ReturnType<typeof compare> {
  const verdict = compare(script, cpython, here);
  const recut = recutOf(script);
  if (verdict.difference !== null || recut === null) return verdict;
  const expected = runHere(recut);
  if (sameRecords(here, expected)) return verdict;
  return { ...verdict, difference: { what: 'recut', script, cpython, here, expected } };
}

export function describeDifference(difference: FoundDifference): string {
  const { what, script, cpython, here, expected, seed, path, way } = difference;
  const text = (value: unknown): string => {
    const json = JSON.stringify(value);
    return json.length < 20_000 ? json : `${json.slice(0, 20_000)}… (${json.length} characters)`;
  };
  return [
    `${what} differs (seed ${seed}, path ${path}, ${way}):`,
    `script   ${JSON.stringify(script)}`,
    `cpython  ${text(cpython)}`,
    `here     ${text(here)}`,
    `expected ${text(expected)}`,
  ].join('\n');
}

/** Every time the same: so many scripts as they come, and then more of those with a rare row. */
async function record(python: string): Promise<number> {
  const cpython = new CPython(python);
  const records: Recorded[] = [];
  try {
    const sample = fc.sample(arbitrary, { seed: CORPUS_SEED, numRuns: 10 * CORPUS_SIZE });
    const results = await cpython.run(sample);
    const used = new Map<Row, number>();
    for (const [index, script] of sample.entries()) {
      const record = { script, cpython: results[index] as Result };
      const { rows } = compare(script, record.cpython, model(script, ALL_ROWS).result);
      const rare = rows.some((row) => (used.get(row) ?? 0) < RARE);
      if (index >= CORPUS_SIZE && !rare) continue;
      for (const row of rows) used.set(row, (used.get(row) ?? 0) + 1);
      records.push(record);
    }
    writeCorpus(records);
  } finally {
    await cpython.end();
  }
  const format = ['@biomejs/biome', 'format', '--write', CORPUS];
  const { status, stderr } = spawnSync('npx', format, { encoding: 'utf8', timeout: 60_000 });
  if (status !== 0) throw new Error(`biome: ${stderr}`);
  return records.length;
}

function option(name: string): string | undefined {
  const at = process.argv.indexOf(`--${name}`);
  return at === -1 ? undefined : process.argv[at + 1];
}

async function main(): Promise<void> {
  const python = option('python') ?? process.env.PYTHON ?? 'python3.11';
  if (process.argv.includes('--record')) {
    console.log(`${await record(python)} scripts recorded in ${CORPUS}`);
    return;
  }
  const scripts = Number(option('scripts') ?? 100_000);
  const seed = Number(option('seed') ?? Math.floor(Math.random() * 2 ** 31));
  console.log(`${scripts} scripts, seed ${seed}`);
  const begin = performance.now();
  const report = await runInput({
    scripts,
    seed,
    python,
    progress: (run) => {
      if (run % 10_000 === 0) console.log(`${run} …`);
    },
  });
  for (const difference of report.differences) console.log(`\n${describeDifference(difference)}`);
  const seconds = ((performance.now() - begin) / 1000).toFixed(0);
  console.log(`\n${report.run} scripts in ${seconds} s, ${report.recut} in another cut as well`);
  console.log(`differences: ${report.differences.length}`);
  for (const [row, text] of Object.entries(ROWS)) {
    console.log(`${String(report.rows[row as Row]).padStart(8)} ${text}`);
  }
  if (report.differences.length > 0) process.exitCode = 1;
}

if (require.main === module) {
  main().catch((error) => {
    console.error(error);
    process.exitCode = 1;
  });
}
