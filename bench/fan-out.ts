// Fan-out: what it costs to pass a line on to everybody in a room.
//
//   npm run bench -- fan-out

import type { Bench, Shape } from './harness';
import { findLoad, underLoad } from './support/load';
import { onAsyncore, onNode } from './support/peers';
import { PINNING } from './support/process';
import { target } from './support/target';

const MEMBERS = 50;
const SENDS = 'sends/line heard';

function nameOf(speakers: number): string {
  return `fan-out to ${MEMBERS}, ${speakers} ${speakers === 1 ? 'speaker' : 'speakers'}`;
}

const cpu = (speakers: number, contender = 'asyncore loop()') => ({
  shape: nameOf(speakers),
  contender,
  metric: 'CPU µs/line heard',
});

const sends = (speakers: number, contender = 'asyncore loop()') => ({
  ...cpu(speakers, contender),
  metric: SENDS,
});

const bench: Bench = {
  name: 'fan-out',
  title: 'Fan-out',
  about:
    `A room of ${MEMBERS}. In each round one member, or ten, say a line of 64 bytes, and the server sends it to ` +
    'every member. The next round begins when all members have heard all lines. The figure that counts is the ' +
    'CPU time of the server for each line that a member hears. The corked server of node:net holds what one turn ' +
    'of Node’s loop brings, and sends it to each member in one write. The kernel counts the sends where they ' +
    'arrive, so a segment that TCP repeats counts too. With ten speakers the least is 0.1: one tick brings all ' +
    'ten lines.',
  targets: [
    target(cpu(1), 'at most', 0.9, cpu(1, 'node:net')),
    target(cpu(10), 'at most', 0.9, cpu(10, 'node:net corked')),
    target(sends(10), 'at most', 1, sends(10, 'node:net corked')),
  ],

  async shapes(seconds) {
    const load = await findLoad('room');
    const servers = [
      ...onAsyncore('asyncore loop()', 'asyncore-room', 'loop'),
      ...onAsyncore('asyncore loopSync()', 'asyncore-room', 'loopSync'),
      onNode('node:net', 'net-room'),
      onNode('node:net corked', 'net-room', 'corked'),
    ];
    return [1, 10].map(
      (speakers): Shape => ({
        name: nameOf(speakers),
        parameters: { members: MEMBERS, speakers, 'bytes/line': 64, seconds, cores: PINNING },
        metrics: [
          { name: 'CPU µs/line heard', better: 'lower' },
          { name: SENDS, better: 'lower' },
          { name: 'lines heard/s', better: 'higher' },
          { name: 'p50 µs', better: 'lower' },
          { name: 'p99 µs', better: 'lower' },
        ],
        contenders: servers.map((server) =>
          underLoad(server, load, [seconds, MEMBERS, speakers], (run) => ({
            'CPU µs/line heard': run.cpuMicroseconds / run.operations,
            [SENDS]: run.sends / run.operations,
            'lines heard/s': run.operations / run.seconds,
            'p50 µs': run.p50,
            'p99 µs': run.p99,
          })),
        ),
        rounds: 5,
      }),
    );
  },
};

export default bench;
