// Accept storm: ten thousand callers at the same moment.
//
//   npm run bench -- storm

import { readFileSync } from 'node:fs';
import type { Bench } from './harness';
import { lineServers } from './support/line';
import { findLoad, underLoad } from './support/load';
import { type Peer, withDescriptors } from './support/peers';
import { PINNING } from './support/process';
import { target } from './support/target';

const CALLERS = 10_000;
const SHAPE = `accept storm, ${CALLERS.toLocaleString('en')} connects at once`;
const ANSWERED = 'connections answered';
const CONTENDERS = new Set(['C epoll', 'asyncore loop()', 'node:net', 'CPython asynchat poll']);

function kernelSetting(name: string): string {
  return readFileSync(`/proc/sys/net/${name}`, 'latin1').trim();
}

/** The peer, or why this machine has no room for so many callers. */
function withPorts(peer: Peer): Peer {
  const [first, last] = kernelSetting('ipv4/ip_local_port_range').split(/\s+/).map(Number);
  const ports = Number(last) - Number(first) + 1;
  return ports >= CALLERS ? peer : { name: peer.name, missing: `${ports} local ports at most` };
}

const figure = (contender: string, metric: string) => ({ shape: SHAPE, contender, metric });

const bench: Bench = {
  name: 'storm',
  title: 'Accept storm',
  about:
    `A load begins ${CALLERS.toLocaleString('en')} connects, one after the other without a wait, before it ` +
    'looks at any of them. Then each connection says one line and hears its echo, and all stay open. A ' +
    'latency is the time from connect(2) to the echo, and the load’s own work is a part of it. The listener’s ' +
    'queue has the length that the kernel allows (net.core.somaxconn). When it is full, the kernel drops a ' +
    'connect, and repeats it after a second: so a server that accepts slowly shows in the p99.',
  targets: [
    {
      words: 'none lost',
      of: figure('asyncore loop()', ANSWERED),
      bound: 'at least',
      ratio: 1,
      against: CALLERS,
    },
    target(figure('asyncore loop()', 'p99 ms'), 'at most', 1.5, figure('C epoll', 'p99 ms')),
  ],

  async shapes() {
    const load = await findLoad('storm');
    const servers = (await lineServers()).filter(({ name }) => CONTENDERS.has(name));
    return [
      {
        name: SHAPE,
        parameters: {
          connections: CALLERS,
          somaxconn: Number(kernelSetting('core/somaxconn')),
          load: load.writtenIn,
          cores: PINNING,
        },
        metrics: [
          { name: ANSWERED, better: 'higher' },
          { name: 'CPU µs/connection', better: 'lower' },
          { name: 'p50 ms', better: 'lower' },
          { name: 'p99 ms', better: 'lower' },
          { name: 'peak RSS MB', better: 'lower' },
        ],
        contenders: servers.map((server) =>
          underLoad(withPorts(withDescriptors(server, CALLERS)), load, [CALLERS], (run) => ({
            [ANSWERED]: run.operations,
            'CPU µs/connection': run.cpuMicroseconds / run.operations,
            'p50 ms': run.p50 / 1000,
            'p99 ms': run.p99 / 1000,
            'peak RSS MB': run.peakRss / 1e6,
          })),
        ),
        rounds: 3,
      },
    ];
  },
};

export default bench;
