// Line echo: its servers, its load and its figures, for the benches that are made of it.

import type { Figures, Metric, Shape } from '../harness';
import type { Charge, Load, Seen } from './load';
import { inC, onAsyncore, onNode, onPython, type Peer } from './peers';
import { PINNING } from './process';

/** @param args more of them, for each */
export async function lineServers(...args: readonly string[]): Promise<readonly Peer[]> {
  return [
    await inC('C epoll', 'epoll-line', args),
    await inC('C libuv', 'libuv-line', args, ['uv']),
    onNode('bare koffi loop', 'koffi-line', ...args),
    ...onAsyncore('asyncore loop()', 'asyncore-line', 'loop', ...args),
    ...onAsyncore('asyncore loopSync()', 'asyncore-line', 'loopSync', ...args),
    onNode('node:net', 'net-line', ...args),
    onNode('node:net expert', 'net-line-expert', ...args),
    onPython('CPython asynchat select', 'cpython-line', 'select', ...args),
    onPython('CPython asynchat poll', 'cpython-line', 'poll', ...args),
  ];
}

export function lineParameters(seconds: number, load: Load): Shape['parameters'] {
  return {
    'bytes/line': 64,
    seconds,
    TCP_NODELAY: 'everywhere',
    load: load.writtenIn,
    cores: PINNING,
  };
}

export const LINE_METRICS: readonly Metric[] = [
  { name: 'CPU µs/line', better: 'lower' },
  { name: 'lines/s', better: 'higher' },
  { name: 'p50 µs', better: 'lower' },
  { name: 'p99 µs', better: 'lower' },
  { name: 'peak RSS MB', better: 'lower' },
];

export function lineFigures(run: Seen & Charge): Figures {
  return {
    'CPU µs/line': run.cpuMicroseconds / run.operations,
    'lines/s': run.operations / run.seconds,
    'p50 µs': run.p50,
    'p99 µs': run.p99,
    'peak RSS MB': run.peakRss / 1e6,
  };
}
