// One owner per descriptor.
//
// A number is not an identity: the kernel hands it out again as soon as it is closed. So each descriptor
// that the library opens is held by one of these objects. The number is given up before close(2) runs, and
// an old object cannot reach the next file under the same number. What a thread still holds when it ends
// is closed.

import { badRange } from '../errors';
import { warn } from './output';
import { F_GETFL, F_SETFL, O_NONBLOCK } from './platform/linux';
import { check, close, failure, fcntl } from './syscalls';
import { closeAtEnd, leaveAtEnd } from './thread-cleanup';

/** What is known of a descriptor when it has been dropped. */
interface Held {
  readonly fd: number;
  readonly what: string | null;
  /** Called when the number has been closed (true), or given away. */
  readonly released: ((closed: boolean) => void) | null;
}

/**
 * Python's ResourceWarning: a descriptor dropped without close() is closed, and reported once. A number
 * alone stands for a socket that nobody waits for, so that a connection needs no further object.
 */
const abandoned = new FinalizationRegistry<Held | number>((held) => {
  const { fd, what, released } =
    typeof held === 'number' ? { fd: held, what: SOCKET, released: null } : held;
  if (what !== null) {
    const text = `Unclosed ${what} (fd ${fd}): it was dropped without close()`;
    warn('ResourceWarning', 'ASYNCORE_UNCLOSED', text);
  }
  close(fd);
  released?.(true);
});

const SOCKET = 'socket';

export class Descriptor {
  /**
   * The number; -1 once closed or given away. A field, as a getter would be one more call in every recv
   * and send. Only `giveUp` writes it: each owner keeps its Descriptor private.
   */
  readonly fd: number;
  #held: Held | number;

  /**
   * @param what how the warning names it when it is dropped without `close`; null for what the
   *   library itself may drop, which is closed without a warning
   */
  constructor(fd: number, what: string | null) {
    if (!Number.isInteger(fd) || fd < 0) throw badRange('own a descriptor', 'its number', fd);
    this.fd = fd;
    this.#held = what === SOCKET ? fd : { fd, what, released: null };
    closeAtEnd(fd);
    abandoned.register(this, this.#held, this);
  }

  /** Has `released` called when the number has been closed (true) or given away. It must not hold this. */
  onRelease(released: (closed: boolean) => void): void {
    const { fd } = this;
    if (fd === -1) return;
    const what = typeof this.#held === 'number' ? SOCKET : this.#held.what;
    this.#held = { fd, what, released };
    abandoned.unregister(this);
    abandoned.register(this, this.#held, this);
  }

  /** Gives the number up without closing it. Returns it, or -1 when it is gone already. */
  release(): number {
    const fd = this.giveUp();
    if (fd === -1) return -1;
    leaveAtEnd(fd);
    if (typeof this.#held !== 'number') this.#held.released?.(false);
    return fd;
  }

  /**
   * Forgets the number, which the caller closes or passes on. Returns it, or -1 when it is gone already. Not
   * `#giveUp`: in a class with private methods each object takes up a word more.
   */
  giveUp(): number {
    const { fd } = this;
    if (fd === -1) return -1;
    (this as { fd: number }).fd = -1;
    abandoned.unregister(this);
    return fd;
  }

  /**
   * Idempotent.
   * @throws {SocketError} EBADF when the number was closed elsewhere
   */
  close(): void {
    const fd = this.giveUp();
    if (fd === -1) return;
    const result = close(fd);
    if (typeof this.#held !== 'number') this.#held.released?.(true);
    if (result < 0) throw failure(result, 'close');
  }
}

/** Calls on the descriptor return at once, where they would block. @throws {SocketError} `EBADF` */
export function setNonBlocking(fd: number): void {
  const flags = check(fcntl(fd, F_GETFL), 'fcntl');
  if ((flags & O_NONBLOCK) === 0) check(fcntl(fd, F_SETFL, flags | O_NONBLOCK), 'fcntl');
}
