// Looks for descriptors that were closed by number.

import { performance } from 'node:perf_hooks';
import { isOpen } from '../kernel/syscalls';
import type { Entry } from './entry';
import type { Registry } from './registry';

/** Between two searches, in ms. */
const PAUSE = 1000;

/**
 * Has the channels under such descriptors hear of their end. epoll drops the descriptors silently, where poll(2)
 * would report them. Called when a pass has found no event. Does something once a second at most, as it costs a
 * system call for each channel.
 */
export function sweep(registry: Registry): void {
  const now = performance.now();
  if (now - registry.lastSweep < PAUSE) return;
  registry.lastSweep = now;
  for (const fd of registry.channels.keys()) {
    const entry = registry.entries[fd] as Entry;
    if (entry.mask !== 0 && !isOpen(fd)) registry.invalidate(fd);
  }
}
