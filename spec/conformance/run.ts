// Conformance, all of it, against a CPython that has asyncore.
//
//   npm run conformance -- [--scripts 100000] [--seed N]
//
// Random scripts of chat input and, a fifth as many, of chat output; and the event scenarios. A
// difference is shrunk and printed, and the exit code is 1. Without such a Python there is nothing to
// compare with: that is an error here, while the test suite replays what was recorded.

import { parseArgs } from 'node:util';
import { findPython } from '../support/find-python';
import { runEvents } from './events/run';
import { describeDifference, runInput } from './input/run';
import { runOutput } from './output/run';

function report(what: string, run: number, rows: object, differences: readonly string[]): void {
  for (const difference of differences) console.log(`\n${difference}\n`);
  console.log(`${what}: ${run} run, differences ${differences.length}`);
  for (const [row, count] of Object.entries(rows)) {
    console.log(`${String(count).padStart(8)}  ${row}`);
  }
  if (differences.length > 0) process.exitCode = 1;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      scripts: { type: 'string', default: '100000' },
      seed: { type: 'string', default: String(Math.floor(Math.random() * 2 ** 31)) },
    },
  });
  const scripts = Number(values.scripts);
  const seed = Number(values.seed);
  if (!(scripts > 0) || !Number.isInteger(seed)) {
    throw new RangeError(`Cannot run ${values.scripts} scripts with seed ${values.seed}`);
  }
  const python = findPython();
  if (python === null) {
    throw new Error('NO PYTHON HERE HAS ASYNCORE: name one of 3.11 or older by PYTHON=command');
  }
  console.log(`comparing with ${python}, seed ${seed}`);

  const events = await runEvents({ python });
  report(
    'events',
    events.run,
    {},
    events.differences.map((one) => JSON.stringify(one, null, 1)),
  );

  const input = await runInput({ scripts, seed, python });
  report('chat input', input.run, input.rows, input.differences.map(describeDifference));

  const output = await runOutput({ scripts: Math.ceil(scripts / 5), seed, python });
  report('chat output', output.run, output.rows, output.differences);

  const found = events.differences.length + input.differences.length + output.differences.length;
  const cases = events.run + input.run + output.run;
  console.log(`\n${cases} cases, seed ${seed}, differences ${found}`);
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
