// What the process does in the events in which a channel is suspected of spinning (spin.ts).

import { readFileSync } from 'node:fs';
import { progress } from '../kernel/progress';

/** So many events make a probation. */
export const PROBATION = 500;

/** What the process had done when a probation began. */
export class Probation {
  readonly #progress = progress.count;
  readonly #start = performance.now();
  readonly #cpu = process.cpuUsage();
  readonly #transfers = transfers();

  /** Whether nothing has gone forward since then. */
  get isQuiet(): boolean {
    return progress.count === this.#progress;
  }

  /** At the end: whether there was an event in each millisecond on average, or the CPU had no rest. */
  get wasBusy(): boolean {
    const elapsed = performance.now() - this.#start;
    const { user, system } = process.cpuUsage(this.#cpu);
    return elapsed < PROBATION || (user + system) / 1000 > 0.9 * elapsed;
  }

  /** At the end: whether something has been read or written in most events. */
  get hadTransfers(): boolean {
    return transfers() - this.#transfers > PROBATION / 2;
  }
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
