// Waiting inside Node's loop without a libuv handle: by polling at intervals.
//
// Used where no handle is possible: with poll(2), which has no descriptor for all that it watches, and where
// `canWatch()` of poll-handle.ts is false.

import { performance } from 'node:perf_hooks';

/** Between two looks while nothing happens, in ms. */
const PAUSE = 1;

export class IntervalPoller {
  readonly #ready: () => boolean;
  readonly #wake: () => void;
  #timer: NodeJS.Timeout | null = null;
  #immediate: NodeJS.Immediate | null = null;
  /** Until then, in performance.now() milliseconds, the next look is at the next turn. */
  #hurryUntil = 0;

  /** Calls `wake` at each look at which `ready()` is true. */
  constructor(ready: () => boolean, wake: () => void) {
    this.#ready = ready;
    this.#wake = wake;
    this.#timer = setTimeout(this.#look, 0);
  }

  /** Idempotent. */
  close(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    if (this.#immediate !== null) clearImmediate(this.#immediate);
  }

  readonly #look = (): void => {
    const now = performance.now();
    if (this.#ready()) {
      // Activity clusters: after one event the next is likely within a millisecond.
      this.#hurryUntil = now + PAUSE;
      this.#wake();
    }
    if (now < this.#hurryUntil) this.#immediate = setImmediate(this.#look);
    else this.#timer = setTimeout(this.#look, PAUSE);
  };
}
