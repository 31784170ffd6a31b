// Conformance, all of it, against a CPython that has asyncore.
//
//   npm run conformance -- [--scripts 100000] [--seed N] [--suite 'chat input'] [--python command]
//   npm run conformance -- --record [--suite 'chat input']      writes the corpora anew
//
// The event scenarios; random scripts of chat input; and, a fifth as many, of chat output. A
// difference is shrunk and printed, and the exit code is 1. Without such a Python there is nothing to
// compare with: that is an error here, while the test suite replays what was recorded.

import { parseArgs } from 'node:util';
import { findPython } from '../support/find-python';
import { committed, faultsOfDeviations } from './events/suite';
import { record } from './harness/corpus';
import { runSuite } from './harness/run';
import { SUITES } from './suites';

const { values } = parseArgs({
  options: {
    scripts: { type: 'string', default: '100000' },
    seed: { type: 'string', default: String(Math.floor(Math.random() * 2 ** 31)) },
    suite: { type: 'string' },
    python: { type: 'string' },
    record: { type: 'boolean', default: false },
  },
});

const suites = SUITES.filter(({ name }) => values.suite === undefined || values.suite === name);

async function recordAll(python: string): Promise<void> {
  for (const suite of suites) {
    console.log(`${suite.name}: ${await record(suite, python)} scripts recorded from ${python}`);
  }
}

async function compareAll(python: string, scripts: number, seed: number): Promise<void> {
  const began = performance.now();
  const faults = faultsOfDeviations(committed());
  for (const fault of faults) console.log(`deviations.ts: ${fault}`);
  let [cases, found] = [0, faults.length];
  for (const suite of suites) {
    const { run, differences, rows } = await runSuite(suite, {
      scripts: Math.ceil(scripts * suite.share),
      seed,
      python,
    });
    for (const difference of differences) console.log(`\n${difference}\n`);
    console.log(`${suite.name}: ${run} run, differences ${differences.length}`);
    for (const [row, count] of Object.entries(rows)) {
      console.log(`${String(count).padStart(8)}  ${suite.rows[row] ?? row}`);
    }
    cases += run;
    found += differences.length;
  }
  const seconds = ((performance.now() - began) / 1000).toFixed(0);
  console.log(`\n${cases} cases in ${seconds} s, seed ${seed}, differences ${found}`);
  if (found > 0) process.exitCode = 1;
}

async function main(): Promise<void> {
  const scripts = Number(values.scripts);
  const seed = Number(values.seed);
  if (!(scripts > 0) || !Number.isInteger(seed)) {
    throw new RangeError(`Cannot run ${values.scripts} scripts with seed ${values.seed}`);
  }
  if (suites.length === 0) {
    const names = SUITES.map(({ name }) => `'${name}'`).join(', ');
    throw new RangeError(`Cannot run the suite '${values.suite}': there are ${names}`);
  }
  const python = values.python ?? findPython();
  if (python === null) {
    throw new Error('NO PYTHON HERE HAS ASYNCORE: name one of 3.11 or older by PYTHON=command');
  }
  if (values.record) return recordAll(python);
  console.log(`comparing with ${python}, seed ${seed}`);
  await compareAll(python, scripts, seed);
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
