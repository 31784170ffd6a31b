// Large amounts: the parameters and figures of the benches that are made of them. A body is so many MiB.

import { readFileSync } from 'node:fs';
import type { Figures, Metric, Shape } from '../harness';
import type { Charge, Load, Seen } from './load';
import { PINNING } from './process';

export const BULK_METRICS: readonly Metric[] = [
  { name: 'MB/CPU s', better: 'higher' },
  { name: 'MB/s', better: 'higher' },
  { name: 'peak RSS MB', better: 'lower' },
];

export function bulkFigures(body: number): (run: Seen & Charge) => Figures {
  return ({ operations, cpuMicroseconds, seconds, peakRss }) => {
    const megabytes = (operations * body * 1024 * 1024) / 1e6;
    return {
      'MB/CPU s': (megabytes / cpuMicroseconds) * 1e6,
      'MB/s': megabytes / seconds,
      'peak RSS MB': peakRss / 1e6,
    };
  };
}

export function bulkParameters(body: number, seconds: number, load: Load): Shape['parameters'] {
  return {
    connections: 1,
    'body MiB': body,
    seconds,
    // One that paces, as BBR does, makes for smaller pieces and wider spreads.
    'congestion control': readFileSync(
      '/proc/sys/net/ipv4/tcp_congestion_control',
      'latin1',
    ).trim(),
    load: load.writtenIn,
    cores: PINNING,
  };
}
