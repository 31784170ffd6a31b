// One owner per descriptor.
//
// A number is not an identity: the kernel hands it out again as soon as it is closed. So whoever
// opens a descriptor holds it in one of these, the number is given up before close(2) runs, and
// nothing can reach the next bearer of the number through an old object. Whatever a thread still holds
// when it ends is closed.

import { badRange } from '../errors';
import { check, close, closeAtEnd, leaveAtEnd } from './syscalls';

interface Held {
  readonly fd: number;
  readonly what: string | null;
  /** Called when the number has been given up, in whichever way. */
  released: (() => void) | null;
}

/** Python's ResourceWarning: what was dropped without close() is closed, and said once. */
const abandoned = new FinalizationRegistry<Held>(({ fd, what, released }) => {
  close(fd);
  released?.();
  if (what !== null) {
    process.emitWarning(`Unclosed ${what} (fd ${fd}): it was dropped without close()`, {
      type: 'ResourceWarning',
      code: 'ASYNCORE_UNCLOSED',
    });
  }
});

export class Descriptor {
  /** -1 once closed or given away. */
  #fd: number;
  readonly #held: Held;

  /**
   * @param what how the warning names it when it is dropped without `close`; null for what the
   *   library itself may drop, which is closed in silence
   */
  constructor(fd: number, what: string | null) {
    if (!Number.isInteger(fd) || fd < 0) throw badRange('own a descriptor', 'its number', fd);
    this.#fd = fd;
    this.#held = { fd, what, released: null };
    closeAtEnd(fd);
    abandoned.register(this, this.#held, this);
  }

  /** Has `released` called, which must not hold this object, when the number has been given up. */
  onRelease(released: () => void): void {
    this.#held.released = released;
  }

  get fd(): number {
    return this.#fd;
  }

  /** Gives the number up without closing it. Returns it, or -1 when it is gone already. */
  release(): number {
    const fd = this.#giveUp();
    if (fd !== -1) leaveAtEnd(fd);
    return fd;
  }

  #giveUp(): number {
    const fd = this.#fd;
    if (fd === -1) return -1;
    this.#fd = -1;
    abandoned.unregister(this);
    this.#held.released?.();
    return fd;
  }

  /**
   * Idempotent.
   * @throws {SocketError} EBADF when somebody else has closed the number
   */
  close(): void {
    const fd = this.#giveUp();
    if (fd !== -1) check(close(fd), 'close');
  }
}
