// Waiting inside Node's loop without a libuv handle: by looking.
//
// Two cases need it. poll(2) has no descriptor for all that it watches, and libuv takes no regular
// files, nothing that Node watches already, and no interest in urgent data. And a worker that is
// terminated while Node calls back into koffi takes the whole process along.

/** Between two looks while nothing happens, in ms. */
const PAUSE = 1;

export class Lookout {
  readonly #ready: () => boolean;
  readonly #wake: () => void;
  #timer: NodeJS.Timeout | null = null;
  #immediate: NodeJS.Immediate | null = null;
  /** Until then, in performance.now() milliseconds, the next look is at the next turn. */
  #hurryUntil = 0;

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
      // Where something has happened, the answer to it is not far.
      this.#hurryUntil = now + PAUSE;
      this.#wake();
    }
    if (now < this.#hurryUntil) this.#immediate = setImmediate(this.#look);
    else this.#timer = setTimeout(this.#look, PAUSE);
  };
}

export { Lookout as IntervalPoller };
