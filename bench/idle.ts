// Idle connections: whether they cost those that are not.
//
//   npm run bench -- idle

import type { Bench, Shape } from './harness';
import { LINE_METRICS, lineFigures, lineParameters, lineServers } from './support/line';
import { findLoad, underLoad } from './support/load';
import { withDescriptors } from './support/peers';
import { target } from './support/target';

const ACTIVE = 50;
const IDLE = [0, 1000, 8000];
const CONTENDERS = new Set([
  'C epoll',
  'asyncore loop()',
  'node:net expert',
  'CPython asynchat select',
  'CPython asynchat poll',
]);

function nameOf(idle: number): string {
  return `line echo, ${ACTIVE} active beside ${idle.toLocaleString('en')} idle`;
}

const cpu = (idle: number, contender: string) => ({
  shape: nameOf(idle),
  contender,
  metric: 'CPU µs/line',
});

const bench: Bench = {
  name: 'idle',
  title: 'Idle connections',
  about:
    `Line echo over ${ACTIVE} connections, one line in flight in each, beside idle connections that ` +
    'have sent one line before. Read it downwards: the same server with more idle connections.',
  targets: [target(cpu(8000, 'asyncore loop()'), 'at most', 1.15, cpu(0, 'asyncore loop()'))],

  async shapes(seconds) {
    const load = await findLoad('line');
    const servers = (await lineServers()).filter(({ name }) => CONTENDERS.has(name));
    return IDLE.map(
      (idle): Shape => ({
        name: nameOf(idle),
        parameters: { active: ACTIVE, 'in flight': 1, idle, ...lineParameters(seconds, load) },
        metrics: LINE_METRICS,
        contenders: servers.map((server) =>
          underLoad(
            withDescriptors(server, ACTIVE + idle),
            load,
            [seconds, ACTIVE, 1, idle],
            lineFigures,
          ),
        ),
        rounds: 3,
      }),
    );
  },
};

export default bench;
