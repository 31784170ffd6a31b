// Start-up: from the spawn of a process to its first caller.
//
//   npm run bench -- start-up
//
// Most of it is Node's own. So each measurement is a pair, the server and `node -e 0` right beside it,
// and what counts is the difference. A pair takes the load of the machine as it is: elapsed time is
// what a start is about.

import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Bench, Contender } from './harness';
import { freshBuild } from './support/build';
import { Child, pinned } from './support/process';

const SHAPE = 'start-up, to the first caller';
const ABOVE = 'ms above node -e 0';
const ALL = 'ms';
const LIMIT = 10_000;

/** Of the clock that all processes share, in ms. */
function now(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

/** How long `node -e 0` takes, to its end. */
async function bare(): Promise<number> {
  const [program, ...args] = pinned('server', [process.execPath, '-e', '0']);
  const start = now();
  await promisify(execFile)(program, args, { timeout: LIMIT });
  return now() - start;
}

/** How long a server takes, to its first caller. */
async function server(how: string): Promise<number> {
  const script = join(__dirname, 'inside', 'start-up.cjs');
  const start = now();
  const child = new Child(pinned('server', [process.execPath, script, how]));
  try {
    const port = Number((await child.line(LIMIT)).replace('port: ', ''));
    const caller = connect(port, '127.0.0.1');
    // It hangs up, or resets: either will do.
    caller.on('error', () => {});
    await once(caller, 'close');
    return Number(await child.line(LIMIT)) - start;
  } finally {
    await child.stop();
  }
}

function contender(name: string, how: string): Contender {
  return {
    name,
    async measure() {
      const [all, floor] = [await server(how), await bare()];
      return { [ALL]: all, [ABOVE]: all - floor };
    },
  };
}

const bench: Bench = {
  name: 'start-up',
  title: 'Start-up',
  about:
    'From the spawn of node to the first connection of a minimal server, which requires the built ' +
    'package. For comparison, measured in turn: the whole run of node -e 0.',
  targets: [
    {
      words: 'at most 60 ms above node -e 0',
      of: { shape: SHAPE, contender: 'asyncore', metric: ABOVE },
      bound: 'at most',
      ratio: 1,
      against: 60,
    },
  ],

  async shapes() {
    freshBuild();
    return [
      {
        name: SHAPE,
        parameters: {},
        metrics: [
          { name: ABOVE, better: 'lower' },
          { name: ALL, better: 'lower' },
        ],
        contenders: [contender('asyncore', 'asyncore'), contender('node:net', 'net')],
        rounds: 15,
      },
    ];
  },
};

export default bench;
