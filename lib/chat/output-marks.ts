// Places in a chat's output, for `flushed` and `endWhenDone`.
//
// A mark stands on the fifo behind what was pushed before it, and is reached when all of that is the
// kernel's. A refill stops before a mark, so that what is pushed after it does not delay it.
//
// Others may take a mark off the fifo: an override of `refillBuffer` or `initiateSend`, to which a mark is a
// producer that yields nothing, and a chat that shares the fifo. Data from before the mark may still wait in
// the buffer of the mark's own chat then. Such a mark is due, and reached when that buffer is empty.

import type { Dispatcher } from '../channels/dispatcher';
import { isFile, type Session } from '../channels/session';
import { badType } from '../errors';
import { SHUT_WR } from '../kernel/platform/constants';
import type { SocketLike } from '../kernel/socket';
import { registryOf } from '../loop/channel-map';
import { Alarm, CALLED, type Deadlines } from '../loop/deadlines';
import { routeError, write } from '../loop/dispatch';
import type { Producer } from './producers';

/** A place in the output. */
export class Mark implements Producer {
  readonly #marks: OutputMarks;

  constructor(marks: OutputMarks) {
    this.#marks = marks;
  }

  /** Whether the mark is of the chat whose fifo and buffer `places` are. */
  isOf(places: Places): boolean {
    return this.#marks.places === places;
  }

  /** A refill by the library has come here, and taken the mark off. @param places where it was taken off */
  reach(places: Places): void {
    if (this.isOf(places)) this.#marks.reach(this);
    else this.#marks.taken(this);
  }

  /** The program has taken the mark off. */
  more(): null {
    this.#marks.taken(this);
    return null;
  }

  /** The place will not be reached: the output before it is dropped. */
  close(): void {
    this.#marks.lose(this);
  }
}

/** The place of `endWhenDone`. */
export class EndMark extends Mark {}

/** The queue that the marks stand in. */
interface Queue {
  readonly session: Session;
  isEmpty(): boolean;
  /** Whether data that was taken off the fifo is not the kernel's yet. */
  readonly holdsData: boolean;
}

/** Its fifo. */
export interface Places extends Iterable<unknown> {
  /** Whether the channel closes when all is sent. */
  readonly closes: boolean;
  /** Whether closing the channel is what comes next. */
  readonly closesNow: boolean;
  /** Puts a mark behind all that is to be sent, but before the close. */
  pushMark(mark: Mark): void;
  /** What was put there last, if it is still to be sent. */
  lastItem(): unknown;
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
  readonly places: Places;
  /** By the mark that each waits for, which may be that of `endWhenDone`. */
  readonly #flushes = new Map<unknown, Flush>();
  /** `endWhenDone`. Its `socket` is the one whose stream has been ended; null: that is still to come. */
  #end: { readonly mark: Mark; socket: SocketLike | null } | null = null;
  /** Taken off the fifo, and reached when the queue holds no data. */
  #due: Mark[] = [];
  /** A microtask is going to look for marks that the program has taken off. */
  #looks = false;
  /** The close of a file, and where it stands. */
  #close: { readonly alarm: Alarm; readonly deadlines: Deadlines } | null = null;

  constructor(owner: Dispatcher, queue: Queue, places: Places) {
    this.#owner = owner;
    this.#queue = queue;
    this.places = places;
  }

  // -------------------------------------------------------------------------------------------
  // What becomes of marks.

  /** All before the mark is the kernel's. */
  reach(mark: Mark): void {
    if (this.#end?.mark === mark) {
      // Before the call: a handler may replace the socket.
      this.#end.socket = this.#queue.session.socket;
      this.#shutDown(this.#end.socket);
    }
    this.#settle(mark, this.#queue.session.gone);
  }

  /** The mark is off the fifo. */
  taken(mark: Mark): void {
    if (this.#end?.mark !== mark && !this.#flushes.has(mark)) return;
    this.#due.push(mark);
    this.reachDue();
  }

  /** Called when the queue may have got rid of the data that it held. */
  reachDue(): void {
    if (this.#due.length === 0 || this.#queue.holdsData) return;
    for (const mark of this.#due.splice(0)) {
      if (this.#queue.session.gone) this.lose(mark);
      else this.reach(mark);
    }
  }

  lose(mark: Mark): void {
    // An end that has come stays: nothing may be pushed after it.
    if (this.#end?.mark === mark && this.#end.socket === null) this.#end = null;
    this.#settle(mark, true);
  }

  /** The output is dropped, or nobody is left to get it. */
  giveUp(): void {
    this.#close?.deadlines.clear(this.#close.alarm);
    this.#close = null;
    for (const mark of this.#due.splice(0)) this.lose(mark);
    for (const mark of this.#flushes.keys()) this.#settle(mark, true);
  }

  /**
   * The fifo has become empty, or another one has taken its place. Marks that are on it no longer, and were
   * not reached, are lost. A program that has taken an item off may still ask it: that is seen afterwards.
   */
  fifoChanged(): void {
    if (this.#looks || this.#flushes.size === 0) return;
    this.#looks = true;
    queueMicrotask(() => {
      this.#looks = false;
      const left = new Set<unknown>(this.places);
      for (const mark of this.#due) left.add(mark);
      for (const mark of this.#flushes.keys()) if (!left.has(mark)) this.#settle(mark, true);
    });
  }

  // -------------------------------------------------------------------------------------------
  // flushed

  /** Resolves when all that waits now is the kernel's. */
  flushed(): Promise<void> {
    if (this.#queue.session.gone) return Promise.reject(this.#lostOutput());
    if (this.#queue.isEmpty()) return Promise.resolve();
    const last = this.places.lastItem();
    const known = this.#flushes.get(last);
    if (known !== undefined) return known.promise;
    const flush = new Flush();
    // Nothing follows the end of the stream, so its mark serves as well.
    const ends = this.#end !== null && this.#end.mark === last;
    const mark = ends ? last : new Mark(this);
    this.#flushes.set(mark, flush);
    if (!ends) this.places.pushMark(mark as Mark);
    return flush.promise;
  }

  #settle(mark: unknown, lost: boolean): void {
    const flush = this.#flushes.get(mark);
    if (flush === undefined) return;
    this.#flushes.delete(mark);
    if (lost) flush.reject(this.#lostOutput());
    else flush.resolve();
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
    if (gone || this.places.closes || this.ends()) return;
    if (socket !== null) checkSocket(socket);
    const mark = new EndMark(this);
    this.#end = { mark, socket: null };
    this.places.pushMark(mark);
  }

  /** Whether nothing may be pushed any more, as the stream ends, or has ended. */
  ends(): boolean {
    if (this.#end === null) return false;
    const { mark, socket } = this.#end;
    // The program may have taken the mark off, or replaced the socket.
    const holds = socket === null ? this.#waits(mark) : socket === this.#queue.session.socket;
    if (!holds) this.#end = null;
    return holds;
  }

  /** Nearly always the mark is the last item: what is pushed after it is refused. */
  #waits(mark: Mark): boolean {
    return (
      this.places.lastItem() === mark || this.#due.includes(mark) || [...this.places].includes(mark)
    );
  }

  #shutDown(socket: SocketLike | null): void {
    const { session } = this.#queue;
    try {
      checkSocket(socket).shutdown(SHUT_WR);
    } catch (error) {
      // Not thrown: the code that has sent the last bytes need not be a handler of this channel.
      try {
        session.sendFailed(this.#owner, error);
      } catch (other) {
        routeError(this.#owner, other);
      }
    }
  }

  // -------------------------------------------------------------------------------------------
  // closeWhenDone

  /**
   * Where nothing waits, a file closes in the next tick. It may never have the write event in which a socket
   * closes: the read end of a pipe is never writable.
   */
  closeFile(): void {
    const { session } = this.#queue;
    if (session.fd === null) return;
    const alarm = new Alarm(CALLED, () => {
      this.#close = null;
      const { connected, socket } = this.#queue.session;
      if (connected && isFile(socket) && this.places.closesNow) write(this.#owner);
    });
    const registry = registryOf(session.map);
    const { deadlines } = registry;
    this.#close = { alarm, deadlines };
    deadlines.setAfter(alarm, 0);
    registry.wake();
  }
}

/** @throws {TypeError} for a socket that has no `shutdown`, such as a FileWrapper */
function checkSocket(socket: SocketLike | null): SocketLike & { shutdown(how: number): void } {
  if (typeof socket?.shutdown === 'function') {
    return socket as SocketLike & { shutdown(how: number): void };
  }
  throw badType('end the output', 'a socket with a method shutdown()', socket);
}
