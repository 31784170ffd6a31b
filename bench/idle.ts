// Idle connections: whether they cost those that are not.
//
//   npm run bench -- idle

import type { Bench, Shape } from './harness';
import { LINE_METRICS, lineFigures, lineParameters, lineServers } from './support/line';
import { findLoad, underLoad } from './support/load';
import type { Peer } from './support/peers';
import { openFilesLimit } from './support/process';
import { target } from './support/target';

const ACTIVE = 50;
const IDLE = [0, 1000, 8000];
/** What a server has open besides: its listener, its epoll, what Node has for itself. */
const BESIDES = 64;
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

/** The peer, or why it cannot have so many connections. */
function having(peer: Peer, idle: number): Peer {
  const needed = ACTIVE + idle + BESIDES;
  if ('missing' in peer) return peer;
  if (peer.name.endsWith('select') && needed > 1024) {
    return { name: peer.name, missing: 'select(2) takes no descriptor above 1,023' };
  }
  const limit = openFilesLimit();
  return needed <= limit ? peer : { name: peer.name, missing: `${limit} open files at most` };
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
          underLoad(having(server, idle), load, [seconds, ACTIVE, 1, idle], lineFigures),
        ),
        rounds: 3,
      }),
    );
  },
};

export default bench;
