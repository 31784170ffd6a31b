// What the process does in the events in which a channel is suspected of spinning (spin.ts).

import { readFileSync } from 'node:fs';
import { performance } from 'node:perf_hooks';
import { progress } from '../kernel/progress';

/** So many events make a probation. */
export const PROBATION = 500;

/** What the process had done when a probation began. */
export class Probation {
  readonly #progress = progress.count;
  readonly #start = performance.now();
  readonly #busy = busyTime();
  readonly #transfers = transfers();

  /** Whether nothing has gone forward since then. */
  get isQuiet(): boolean {
    return progress.count === this.#progress;
  }

  /** At the end: whether there was an event in each millisecond on average, or the thread had no rest. */
  get wasBusy(): boolean {
    const elapsed = performance.now() - this.#start;
    return elapsed < PROBATION || busyTime() - this.#busy > 0.9 * elapsed;
  }

  /** At the end: whether something has been read or written in most events. */
  get hadTransfers(): boolean {
    return transfers() - this.#transfers > PROBATION / 2;
  }
}

/**
 * How long this thread has run or has waited for a CPU, in ms: on a busy machine it spins as well. Where the
 * system does not tell, how long the process has run.
 */
function busyTime(): number {
  try {
    const [ran, waited] = readFileSync('/proc/thread-self/schedstat', 'latin1').split(' ');
    const total = (Number(ran) + Number(waited)) / 1e6;
    if (total > 0) return total;
  } catch {
    // No schedstat.
  }
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

/** How often this process has called read(2), write(2) and the like; 0 where the system does not tell. */
function transfers(): number {
  try {
    const counts = readFileSync('/proc/self/io', 'latin1').matchAll(/^sysc[rw]: (\d+)$/gm);
    return [...counts].reduce((sum, [, count]) => sum + Number(count), 0);
  } catch {
    return 0;
  }
}
