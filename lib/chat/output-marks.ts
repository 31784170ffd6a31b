// Places in a chat's output, for `flushed` and `endWhenDone`.
//
// A mark stands on the fifo behind what was pushed before it, and is reached when all of that is the
// kernel's. A refill stops before a mark, so that what is pushed after it does not delay it. For a program
// that empties a `producerFifo` by itself, a mark is a producer that yields nothing.

import type { Dispatcher } from '../channels/dispatcher';
import type { Session } from '../channels/session';
import { badType } from '../errors';
import { SHUT_WR } from '../kernel/platform/constants';
import type { SocketLike } from '../kernel/socket';
import type { Producer } from './producers';

/** A place in the output. */
export class Mark implements Producer {
  readonly #reached: () => void;
  readonly #lost: () => void;

  /** @param lost called when the place will not be reached, as the output before it is dropped */
  constructor(reached: () => void, lost: () => void) {
    this.#reached = reached;
    this.#lost = lost;
  }

  reach(): void {
    this.#reached();
  }

  more(): null {
    this.reach();
    return null;
  }

  close(): void {
    this.#lost();
  }
}

/** The place of `endWhenDone`. */
export class EndMark extends Mark {}

/** The queue that the marks stand in. */
interface Queue {
  readonly session: Session;
  isEmpty(): boolean;
}

/** Its fifo. */
interface Places {
  /** Whether the channel closes when all is sent. */
  readonly closes: boolean;
  /** Puts a mark behind all that is to be sent, but before the close. */
  pushMark(mark: Mark): void;
  /** What was put there last, if it is still to be sent. */
  lastItem(): unknown;
  has(mark: Mark): boolean;
}

/** A call of `flushed` that waits. */
class Flush {
  readonly promise: Promise<void>;
  resolve!: () => void;
  reject!: (error: Error) => void;

  constructor() {
    this.promise = new Promise((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
    });
  }
}

export class OutputMarks {
  readonly #owner: Dispatcher;
  readonly #queue: Queue;
  readonly #places: Places;
  readonly #flushes = new Map<unknown, Flush>();
  /** `endWhenDone`. Its `socket` is the one whose stream has been ended; null: that is still to come. */
  #end: { readonly mark: Mark; socket: SocketLike | null } | null = null;

  constructor(owner: Dispatcher, queue: Queue, places: Places) {
    this.#owner = owner;
    this.#queue = queue;
    this.#places = places;
  }

  // -------------------------------------------------------------------------------------------
  // flushed

  /** Resolves when all that waits now is the kernel's. */
  flushed(): Promise<void> {
    if (this.#queue.session.gone) return Promise.reject(this.#lostOutput());
    if (this.#queue.isEmpty()) return Promise.resolve();
    const known = this.#flushes.get(this.#places.lastItem());
    if (known !== undefined) return known.promise;
    const flush = new Flush();
    const mark = new Mark(
      () => this.#settle(mark, this.#queue.session.gone),
      () => this.#settle(mark, true),
    );
    this.#flushes.set(mark, flush);
    this.#places.pushMark(mark);
    return flush.promise;
  }

  #settle(mark: unknown, lost: boolean): void {
    const flush = this.#flushes.get(mark);
    if (flush === undefined) return;
    this.#flushes.delete(mark);
    if (lost) flush.reject(this.#lostOutput());
    else flush.resolve();
  }

  /** The output is dropped, or nobody is left to get it. */
  giveUp(): void {
    for (const mark of this.#flushes.keys()) this.#settle(mark, true);
  }

  #lostOutput(): Error {
    const { closed, gone } = this.#queue.session;
    const why = closed ? 'the channel has closed' : gone ? 'the peer is gone' : 'it was discarded';
    const { closeError } = this.#owner;
    const options = closeError === null ? {} : { cause: closeError };
    return Object.assign(new Error(`Cannot send all output: ${why}`, options), {
      code: gone ? 'ERR_CHANNEL_CLOSED' : 'ERR_OUTPUT_DISCARDED',
    });
  }

  // -------------------------------------------------------------------------------------------
  // endWhenDone

  /** Ends the stream when all that waits now is the kernel's. */
  end(): void {
    const { socket, gone } = this.#queue.session;
    if (gone || this.#places.closes || this.ends()) return;
    if (socket !== null) checkSocket(socket);
    const mark = new EndMark(
      () => {
        // Before the call: a handler may replace the socket.
        end.socket = this.#queue.session.socket;
        this.#shutDown(end.socket);
      },
      () => {
        if (this.#end === end) this.#end = null;
      },
    );
    const end = { mark, socket: null as SocketLike | null };
    this.#end = end;
    this.#places.pushMark(mark);
  }

  /** Whether nothing may be pushed any more, as the stream ends, or has ended. */
  ends(): boolean {
    if (this.#end === null) return false;
    const { mark, socket } = this.#end;
    // The program may have taken the mark off, or replaced the socket.
    const holds = socket === null ? this.#places.has(mark) : socket === this.#queue.session.socket;
    if (!holds) this.#end = null;
    return holds;
  }

  #shutDown(socket: SocketLike | null): void {
    const { session } = this.#queue;
    try {
      checkSocket(socket).shutdown(SHUT_WR);
    } catch (error) {
      session.sendFailed(this.#owner, error);
    }
  }
}

/** @throws {TypeError} for a socket that has no `shutdown`, such as a FileWrapper */
function checkSocket(socket: SocketLike | null): SocketLike & { shutdown(how: number): void } {
  if (typeof socket?.shutdown === 'function') {
    return socket as SocketLike & { shutdown(how: number): void };
  }
  throw badType('end the output', 'a socket with a method shutdown()', socket);
}
