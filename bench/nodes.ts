// Line echo on this Node and on the newest one, in turn.
//
//   npm run bench -- nodes

import type { Bench, Shape } from './harness';
import { LINE_METRICS, lineFigures, lineParameters } from './support/line';
import { findLoad, underLoad } from './support/load';
import { onNode, onRuntime } from './support/peers';
import { findRuntime } from './support/runtimes';
import { target } from './support/target';

const NEWEST = 'on Node 26';

/** Contender -> its script and the arguments. */
const SERVERS = {
  'bare koffi loop': ['koffi-line'],
  'asyncore loop()': ['asyncore-line', 'loop'],
  'asyncore loopSync()': ['asyncore-line', 'loopSync'],
  'node:net expert': ['net-line-expert'],
} as const;

const nameOf = (inFlight: number) => `two Nodes, 50 connections, ${inFlight} in flight`;

const figure = (
  inFlight: number,
  contender: keyof typeof SERVERS,
  metric: 'CPU µs/line' | 'p99 µs' = 'CPU µs/line',
) => ({ shape: nameOf(inFlight), contender: `${contender} ${NEWEST}`, metric });

const bench: Bench = {
  name: 'nodes',
  title: 'Two versions of Node',
  about:
    'Line echo on the Node that runs the benchmark, and on the newest one: the same scripts, and the ' +
    'same build of the library.',
  targets: [
    target(figure(1, 'asyncore loop()'), 'at most', 1.12, figure(1, 'bare koffi loop')),
    target(figure(1, 'asyncore loop()'), 'at most', 0.7, figure(1, 'node:net expert')),
    target(figure(1, 'asyncore loop()'), 'at most', 1.05, figure(1, 'asyncore loopSync()')),
    target(
      figure(1, 'asyncore loop()', 'p99 µs'),
      'at most',
      1.3,
      figure(1, 'bare koffi loop', 'p99 µs'),
    ),
    target(figure(16, 'asyncore loop()'), 'at most', 1.3, figure(16, 'bare koffi loop')),
    target(figure(16, 'asyncore loop()'), 'at most', 0.7, figure(16, 'node:net expert')),
  ],

  async shapes(seconds) {
    const load = await findLoad('line');
    const newest = findRuntime('node26');
    const peers = Object.entries(SERVERS).flatMap(([name, [script, ...args]]) => [
      onNode(name, script, ...args),
      onRuntime(`${name} ${NEWEST}`, newest, script, ...args),
    ]);
    return [1, 16].map(
      (inFlight): Shape => ({
        name: nameOf(inFlight),
        parameters: { connections: 50, 'in flight': inFlight, ...lineParameters(seconds, load) },
        metrics: LINE_METRICS,
        contenders: peers.map((peer) =>
          underLoad(peer, load, [seconds, 50, inFlight, 0], lineFigures),
        ),
        rounds: 3,
      }),
    );
  },
};

export default bench;
