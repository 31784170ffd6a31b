// Connection churn: what it costs to be called, to answer one line, and to hang up.
//
//   npm run bench -- churn

import type { Bench } from './harness';
import { lineServers } from './support/line';
import { findLoad, underLoad } from './support/load';
import { PINNING } from './support/process';
import { target } from './support/target';

const AT_ONCE = 50;
const SHAPE = `churn, ${AT_ONCE} connections at once`;

const cpu = (contender: string) => ({
  shape: SHAPE,
  contender,
  metric: 'CPU µs/connection',
});

const bench: Bench = {
  name: 'churn',
  title: 'Connection churn',
  about:
    'The server accepts a connection, answers one line of 64 bytes, and closes. The load reads the ' +
    'end of the stream and resets its side (SO_LINGER of 0). The server has closed its descriptor by ' +
    'then and does not see the reset, and no port stays in TIME_WAIT. A latency is the time from ' +
    'connect(2) to the end of the stream.',
  targets: [
    target(cpu('asyncore loop()'), 'at most', 1.35, cpu('C epoll')),
    target(cpu('asyncore loop()'), 'at most', 0.5, cpu('node:net')),
  ],

  async shapes(seconds) {
    const load = await findLoad('churn');
    // One answer in one write: there is nothing for an expert to do better.
    const servers = (await lineServers('once')).filter(({ name }) => name !== 'node:net expert');
    return [
      {
        name: SHAPE,
        parameters: { 'at once': AT_ONCE, seconds, load: load.writtenIn, cores: PINNING },
        metrics: [
          { name: 'CPU µs/connection', better: 'lower' },
          { name: 'connections/s', better: 'higher' },
          { name: 'p50 µs', better: 'lower' },
          { name: 'p99 µs', better: 'lower' },
          { name: 'peak RSS MB', better: 'lower' },
        ],
        contenders: servers.map((server) =>
          underLoad(server, load, [seconds, AT_ONCE], (run) => ({
            'CPU µs/connection': run.cpuMicroseconds / run.operations,
            'connections/s': run.operations / run.seconds,
            'p50 µs': run.p50,
            'p99 µs': run.p99,
            'peak RSS MB': run.peakRss / 1e6,
          })),
        ),
        rounds: 3,
      },
    ];
  },
};

export default bench;
