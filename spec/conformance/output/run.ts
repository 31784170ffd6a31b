// Random output scripts, in CPython and here: `npx tsx spec/conformance/output/run.ts --scripts 20000
// --seed 1 --python python3.11`. A script whose results differ is shrunk and printed.

import { parseArgs } from 'node:util';
import * as fc from 'fast-check';
import { compare, type Verdict } from './compare';
import { CPython, unpacked } from './cpython';
import { runOurs } from './ours';
import { type Script, scripts } from './script';

/** How many scripts CPython gets at a time. */
const BATCH = 250;
/** Differences that are shrunk; the others are counted. */
const SHRUNK = 3;
/** How long one is shrunk, in ms. */
const SHRINKING = 20_000;

export interface OutputReport {
  run: number;
  differences: string[];
  /** How many scripts needed each row, by its mark. */
  rows: { [mark: string]: number };
}

export async function runOutput(options: {
  scripts: number;
  seed: number;
  /** A command that runs a Python with asynchat. */
  python: string;
}): Promise<OutputReport> {
  const cpython = new CPython(options.python);
  const report: OutputReport = { run: 0, differences: [], rows: {} };
  try {
    for (let seed = options.seed; report.run < options.scripts; seed += 1) {
      const numRuns = Math.min(BATCH, options.scripts - report.run);
      const batch = fc.sample(scripts, { seed, numRuns });
      const verdicts = await compareAll(batch, cpython);
      for (const [index, { rows, difference }] of verdicts.entries()) {
        report.run += 1;
        for (const row of rows) report.rows[row] = (report.rows[row] ?? 0) + 1;
        if (difference === null) continue;
        const first = `seed ${seed}, script ${index}: ${difference}`;
        const shrink = report.differences.length < SHRUNK;
        report.differences.push(shrink ? `${first}\n${await shrunk(seed, index, cpython)}` : first);
      }
    }
  } finally {
    await cpython.close();
  }
  return report;
}

async function compareAll(batch: Script[], cpython: CPython): Promise<Verdict[]> {
  const theirs = cpython.run(batch);
  const verdicts: Promise<Verdict>[] = [];
  // CPython works meanwhile; its answers are taken in between two scripts of ours.
  theirs.catch(() => {});
  for (const [index, script] of batch.entries()) {
    const ours = await runOurs(script);
    await new Promise(setImmediate);
    const ask = async (mend: string[]) => {
      const recorded =
        mend.length === 0 ? (await theirs)[index] : (await cpython.run([script], mend))[0];
      return unpacked(recorded as NonNullable<typeof recorded>);
    };
    verdicts.push(compare(script, ours, ask));
  }
  return Promise.all(verdicts);
}

async function shrunk(seed: number, index: number, cpython: CPython): Promise<string> {
  const property = fc.asyncProperty(scripts, async (script) => {
    const [verdict] = await compareAll([script], cpython);
    return verdict?.difference === null;
  });
  const { counterexample } = await fc.check(property, {
    seed,
    path: String(index),
    numRuns: 1,
    interruptAfterTimeLimit: SHRINKING,
  });
  if (counterexample === null) return 'It did not happen again.';
  const [script] = counterexample;
  const ours = await runOurs(script);
  const [recorded] = await cpython.run([script]);
  const [verdict] = await compareAll([script], cpython);
  const show = (result: object): string =>
    JSON.stringify(result, (key, value) =>
      key === 'received' ? `${Buffer.from(value).length} bytes` : value,
    );
  return [
    `shrunk to: ${verdict?.difference}`,
    JSON.stringify(script),
    `CPython: ${show(unpacked(recorded as NonNullable<typeof recorded>))}`,
    `ours:    ${show(ours)}`,
  ].join('\n');
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      scripts: { type: 'string', default: '20000' },
      seed: { type: 'string', default: String(Date.now() % 2 ** 31) },
      python: { type: 'string', default: 'python3.11' },
    },
  });
  const { python } = values;
  const seed = Number(values.seed);
  console.log(`output: ${values.scripts} scripts, seed ${seed}`);
  const began = performance.now();
  const report = await runOutput({ scripts: Number(values.scripts), seed, python });
  for (const difference of report.differences) console.log(`\n${difference}`);
  const seconds = ((performance.now() - began) / 1000).toFixed(1);
  console.log(`${report.run} scripts in ${seconds} s, differences: ${report.differences.length}`);
  console.log(report.rows);
  if (report.differences.length > 0) process.exitCode = 1;
}

if (require.main === module) void main();
