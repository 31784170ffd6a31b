// How a chat's output leaves.
//
//   push ──> segment     small pushes of the tick under way (segment.ts)
//     │        │
//     └────> fifo ──> buffer     data and producers; what has been taken from the fifo (output-buffer.ts)
//              │        │
//            initiateSend ──> send ──> the kernel
//
// The segment leaves first, then the buffer, then the fifo. While the loop delivers events, a push only
// puts data here and lists the queue in the outbox, so that all that a tick brings leaves together
// (loop/outbox.ts). At any other time a push sends at once.
//
// The steps are called through the chat (`initiateSend`, `refillBuffer`, `send`, `writable`), as a subclass
// may override each. Re-entrant calls return at once: the outer one goes on with what has come.
//
// Invariant: while there is a segment, the queue is listed, or its `send` is running.

import { Buffer } from 'node:buffer';
import { logFor } from '../channels/channel-log';
import { Dispatcher, sessionOf } from '../channels/dispatcher';
import { LOCAL } from '../channels/ending';
import { isFile, type Session } from '../channels/session';
import { badRange, badType, isExit, isSystemError } from '../errors';
import { Socket, type SocketLike } from '../kernel/socket';
import type { Memory } from '../kernel/syscalls';
import type { Channel, SpinSigns } from '../loop/channel';
import { routeError, runHandler } from '../loop/dispatch';
import { WRITE } from '../loop/entry';
import { outbox, type Sender } from '../loop/outbox';
import type { OutputBuffer } from './output-buffer';
import { OutputMarks } from './output-marks';
import { checkSent, type Owner, type Steps } from './output-steps';
import type { Producer } from './producers';
import { sendItself, sendsItself } from './producers/file';
import { PIECE } from './producers/producer';
import { LONGEST_COPIED, Segment } from './segment';

/** So that one fast reader of a long answer leaves the other channels their turn. */
const SENDS_PER_EVENT = 16;
/** A send of a file costs about half as much, as no byte is copied. It may be so many times as large. */
const FILE_FACTOR = 2;

// Taken once, so that a patched prototype is told from the library's own.
const DISPATCHER_SEND = Dispatcher.prototype.send;
const SOCKET_SEND = Socket.prototype.send;

// When a push is refused.
const CLOSING = 'after closeWhenDone';
const ENDING = 'after endWhenDone';
const CLOSED = 'on a closed connection';
const GONE = 'to a peer that is gone';

const handleDrain = (channel: Channel): unknown => (channel as Owner).handleDrain();

export class OutputQueue implements Sender {
  readonly #owner: Owner;
  readonly #stock: Steps;
  readonly #buffer: OutputBuffer;
  readonly #segment = new Segment();
  /** `#buffer.changes` when the segment was opened. Once data has gone to the fifo, more data follows it. */
  #changes = 0;
  /** The owner's, set at each change: a field of the owner's own is slower, as owners differ in shape. */
  session: Session;
  /** Stands in the outbox's list. */
  #listed = false;
  /** The outbox sends. Closing is left to a later write event. */
  #flushing = false;
  /** The owner's `send` is running, or a file is being sent. */
  #sending = false;
  /** A producer that can send itself has been pushed: others are not looked at for it. */
  #hasFiles = false;
  /** `handleDrain` is due when all has been sent. */
  #drainDue = false;
  /** An override of `refillBuffer` is running. What it has taken from the fifo may be anywhere. */
  #refilling = false;

  /**
   * @param buffer what is sent after the segment
   * @param stock the library's own methods, which the owner has unless a subclass overrides them
   */
  constructor(owner: Owner, buffer: OutputBuffer, stock: Steps) {
    this.#owner = owner;
    this.#buffer = buffer;
    this.#stock = stock;
    this.session = sessionOf(owner);
  }

  /** Bytes that wait. A producer counts for what it has been asked for. */
  get byteLength(): number {
    return this.#segment.length + this.#buffer.byteLength;
  }

  isEmpty(): boolean {
    // By the invariant above there is no segment otherwise. This is asked of every channel at every tick
    // where a subclass overrides a predicate, so it touches no more objects than it has to.
    const mayHaveSegment = this.#listed || this.#sending;
    return (!mayHaveSegment || this.#segment.length === 0) && this.#buffer.isEmpty();
  }

  /** Whether something can be sent now: not all waits for a producer's promise. */
  isReady(): boolean {
    const mayHaveSegment = this.#listed || this.#sending;
    return (mayHaveSegment && this.#segment.length > 0) || this.#buffer.isReady();
  }

  /** Whether data that was taken off the fifo, or never stood there, is not the kernel's yet. */
  get holdsData(): boolean {
    return this.#refilling || this.#segment.length > 0 || this.#buffer.holdsData;
  }

  /** @param known why the channel spins, otherwise; undefined: no reason to warn */
  reasonOfSpin(event: number, signs: SpinSigns, known: string | undefined): string | undefined {
    if (known === undefined || signs.threw || event !== WRITE) return known;
    // Whether all waits for a promise: what the library's own writable() looks at.
    if (this.isEmpty() || this.isReady()) return known;
    return 'writable() returns true while the promise of a producer is pending: let it return super.writable().';
  }

  get marks(): OutputMarks {
    const buffer = this.#buffer;
    buffer.marks ??= new OutputMarks(this.#owner, this, buffer);
    return buffer.marks;
  }

  // -------------------------------------------------------------------------------------------
  // Pushing.

  /**
   * Appends data, and sends it at once or after the reads of the tick.
   * @param length of `data`, in its own units: asked where the type is known, which is faster
   * @returns whether it was not refused, and no more than the high-water mark waits
   */
  push(data: Uint8Array | string, length: number): boolean {
    const owner = this.#owner;
    const buffer = this.#buffer;
    const segment = this.#segment;
    // In the common case there is a segment, and nothing behind it: all else has been looked at.
    const last = segment.length > 0 && buffer.changes === this.#changes && !this.session.gone;
    if (last && owner.batchOutput && segment.extend(data, length, owner)) return true;
    const size = this.#chunkSize();
    const empty = this.isEmpty();
    if (this.session.gone) return this.#refuse('push', CLOSED);
    if (!empty && buffer.closes) return this.#refuse('push', CLOSING);
    if (buffer.marks?.ends()) return this.#refuse('push', ENDING);
    if (length === 0) return this.#isBelowMark();
    const putOff = outbox.open && owner.batchOutput && length <= LONGEST_COPIED;
    let waiting: number;
    let bytes: Uint8Array | null = null;
    if (empty && this.#openSegment(data, length, size)) {
      waiting = segment.length;
    } else {
      bytes = this.#bytesOf(data, putOff);
      buffer.append(bytes, size);
      waiting = this.byteLength;
    }
    // What waits since before this tick is tried again at each push, as in Python.
    const canWait = putOff && waiting < size && waiting <= owner.highWaterMark;
    if (canWait && (empty || this.#listed)) {
      this.#list();
      return true;
    }
    owner.initiateSend();
    if (this.session.gone) {
      // This push has found that the peer is gone. Nobody would send what it has left here.
      if (empty) buffer.clear();
      else if (bytes !== null) buffer.takeBack(bytes);
      return this.#refuse('push', GONE);
    }
    return this.#isBelowMark();
  }

  /** @param copied the program may use its memory again before the data leaves */
  #bytesOf(data: Uint8Array | string, copied: boolean): Uint8Array {
    if (typeof data === 'string') return this.#buffer.encode(data, 'push');
    return copied ? Buffer.from(data) : data;
  }

  /** Appends a producer, which is asked at once, as in Python. */
  pushProducer(producer: Producer): boolean {
    if (typeof producer?.more !== 'function') {
      throw badType('pushWithProducer', 'an object with a method more()', producer);
    }
    const owner = this.#owner;
    const buffer = this.#buffer;
    const { gone } = this.session;
    if (gone || buffer.closes || buffer.marks?.ends()) {
      const when = gone ? CLOSED : buffer.closes ? CLOSING : ENDING;
      runHandler(owner, () => producer.close?.());
      return this.#refuse('pushWithProducer', when);
    }
    const empty = this.isEmpty();
    if (sendsItself(producer)) this.#hasFiles = true;
    buffer.fifo.push(producer);
    owner.initiateSend();
    if (this.session.gone) {
      if (buffer.takeBackProducer(producer)) runHandler(owner, () => producer.close?.());
      if (empty) buffer.clear();
      return this.#refuse('pushWithProducer', GONE);
    }
    return this.#isBelowMark();
  }

  /** Nothing is kept of what was to be pushed. */
  #refuse(method: string, when: string): false {
    logFor(this.#owner, `${method} ${when}: refused`, 'warning');
    return false;
  }

  /** How much is given to the kernel at a time. */
  #chunkSize(): number {
    const size = this.#owner.acOutBufferSize;
    if (!(size >= 1)) throw badRange('send', 'an acOutBufferSize of 1 or more', size);
    return size;
  }

  /** Opens a segment, as nothing waits, if all steps of the owner are the library's own. */
  #openSegment(data: Uint8Array | string, length: number, size: number): boolean {
    const owner = this.#owner;
    // Re-entrant pushes wait for the outer send.
    if (this.#sending || this.#buffer.refilling) return false;
    if (!this.#usesStockSteps() || !owner.connected) return false;
    this.#changes = this.#buffer.changes;
    return this.#segment.open(data, length, owner, Math.min(size, owner.highWaterMark));
  }

  /** Whether output may go past the steps of the owner and the fifo: a subclass overrides none of them. */
  #usesStockSteps(): boolean {
    const owner = this.#owner;
    const stock = this.#stock;
    return (
      owner.send === stock.send &&
      owner.initiateSend === stock.initiateSend &&
      owner.refillBuffer === stock.refillBuffer &&
      owner.writable === stock.writable &&
      Dispatcher.prototype.send === DISPATCHER_SEND &&
      this.session.isStream &&
      this.#buffer.hasStockFifo
    );
  }

  #list(): void {
    if (this.#listed) return;
    this.#listed = true;
    outbox.add(this);
  }

  /** When more waits, `handleDrain` is due as soon as all has been sent. */
  #isBelowMark(): boolean {
    if (this.byteLength <= this.#owner.highWaterMark) return true;
    this.#drainDue = true;
    return false;
  }

  // -------------------------------------------------------------------------------------------
  // Sending.

  /** Sends what has been pushed in this tick: at its turn, or because something else must come after it. */
  flushOutput(): void {
    if (!this.#listed) return;
    this.#listed = false;
    const outer = this.#flushing;
    this.#flushing = true;
    const owner = this.#owner;
    try {
      if (owner.initiateSend === this.#stock.initiateSend) this.send();
      else owner.initiateSend();
    } catch (error) {
      routeError(owner, error);
    } finally {
      this.#flushing = outer;
      // Not sent by an override that was set meanwhile. Other chats will use the shared memory.
      if (this.#segment.length > 0 && !this.#sending) this.#endSegment(0);
    }
  }

  /**
   * Sends until nothing is left, the kernel takes no more, or it is another channel's turn. An error of the
   * socket goes to `handleError`. Any other error is thrown from here; what a producer throws while nothing
   * has been sent.
   */
  send(): void {
    // Re-entrant call, from within send() or more(): the outer one will pick this up.
    if (this.#sending || this.#buffer.refilling) return;
    this.#listed = false;
    const over = this.#segment.length > 0 && this.#sendSegment();
    if (!over) this.#sendBuffers();
    // handleClose may have left the channel open.
    if (this.session.gone && this.#buffer.marks !== null) this.#buffer.marks.giveUp();
    if (!this.#drainDue || !this.isEmpty()) return;
    this.#drainDue = false;
    runHandler(this.#owner, handleDrain);
  }

  /** The output is given up: what is on its way does not come back, and no drain is announced. */
  discard(): void {
    this.#drainDue = false;
    this.#segment.drop();
  }

  /** @returns whether this is all for now: nothing else waits, or the kernel takes no more */
  #sendSegment(): boolean {
    const { session } = this;
    if (!session.connected) {
      this.#endSegment(0);
      return false;
    }
    const owner = this.#owner;
    const segment = this.#segment;
    const { length } = segment;
    let sent = 0;
    this.#sending = true;
    try {
      if (isKernels(session.socket) && owner.send === this.#stock.send) {
        segment.locate();
        sent = session.sendRange(owner, segment.memory as Memory, segment.offset, length);
      } else sent = checkSent(owner.send(segment.copy(0)), length);
    } catch (error) {
      this.#sendFailed(error);
    } finally {
      this.#sending = false;
      this.#endSegment(sent);
    }
    return sent < length || this.#buffer.isEmpty();
  }

  /** Ends the segment. What follows its first `sent` bytes is sent before all else. */
  #endSegment(sent: number): void {
    const segment = this.#segment;
    const rest = sent < segment.length ? segment.copy(sent) : null;
    segment.release();
    if (rest !== null) this.#buffer.unshift(rest);
  }

  #sendBuffers(): void {
    const owner = this.#owner;
    const buffer = this.#buffer;
    const asksWritable = owner.writable !== this.#stock.writable;
    for (let sends = 0; sends < SENDS_PER_EVENT && owner.connected; sends += 1) {
      // A limiter: in Python each send is a write event of its own.
      if (sends > 0 && asksWritable && !owner.writable()) return;
      const direct = this.#hasFiles ? this.#sendPastMemory(SENDS_PER_EVENT - sends) : 0;
      if (direct === null) return;
      if (direct > 0) {
        sends += direct - 1;
        continue;
      }
      if (buffer.data.length === 0) this.#refillAfter(sends);
      if (buffer.data.length === 0 || !owner.connected) return;
      if (!this.#sendBuffer()) return;
    }
  }

  /**
   * A file goes from the kernel's cache to the kernel's own socket, by one call for many sends.
   * @param sends for how many at most
   * @returns for how many; null: that is all for now; 0: something else is next, or the file is to be read
   */
  #sendPastMemory(sends: number): number | null {
    const owner = this.#owner;
    const session = this.session;
    const source = this.#usesStockSteps() ? this.#buffer.selfSending : null;
    if (source === null || !isKernels(session.socket)) return 0;
    const piece = FILE_FACTOR * Math.min(Math.trunc(this.#chunkSize()), PIECE);
    this.#sending = true;
    try {
      const sent = source[sendItself](
        (file, offset, length) => session.sendFile(owner, file, offset, length),
        sends * piece,
      );
      return sent === null ? null : Math.ceil(sent / piece);
    } catch (error) {
      this.#sendFailed(error);
      return null;
    } finally {
      this.#sending = false;
    }
  }

  /**
   * What a producer throws goes to the caller while nothing has been sent. After that it is thrown at the
   * next write event, as in Python.
   */
  #refillAfter(sends: number): void {
    const owner = this.#owner;
    this.#refilling = owner.refillBuffer !== this.#stock.refillBuffer;
    try {
      owner.refillBuffer();
    } catch (error) {
      if (sends === 0 || isExit(error)) throw error;
      // Where nothing waits there will be no write event.
      if (!this.#buffer.isEmpty() && owner.connected) this.#buffer.postpone(error);
      else routeError(owner, error);
      return;
    } finally {
      if (this.#refilling) this.#refillOver();
    }
    // A producer that discarded or closed, and then threw: what it had yielded was sent, or is gone.
    const failure = this.#buffer.takeFailure(!owner.connected);
    if (failure !== null) routeError(owner, failure.error);
  }

  #refillOver(): void {
    this.#refilling = false;
    this.#buffer.marks?.reachDue();
  }

  /** @returns whether the kernel took all it was given */
  #sendBuffer(): boolean {
    const owner = this.#owner;
    const { data } = this.#buffer;
    const chunk = data.subarray(0, this.#chunkSize());
    let sent = 0;
    this.#sending = true;
    try {
      sent = checkSent(owner.send(chunk), chunk.length);
    } catch (error) {
      this.#sendFailed(error);
    } finally {
      this.#sending = false;
    }
    // A handler, or an override of send, may have thrown the buffer away.
    if (this.#buffer.data === data && sent > 0) this.#buffer.data = data.subarray(sent);
    return sent === chunk.length;
  }

  /** An error of the socket goes to `handleError`. @throws {unknown} any other error */
  #sendFailed(error: unknown): void {
    if (!isSystemError(error)) throw error;
    routeError(this.#owner, error);
  }

  /**
   * Tops the buffer up from the fifo.
   * @returns whether nothing is left to be sent, and the channel is to be closed now
   */
  refill(): boolean {
    const buffer = this.#buffer;
    buffer.refill(this.#chunkSize(), this.session.isStream);
    if (this.#flushing || !buffer.takeClose()) return false;
    this.session.closesFor(LOCAL);
    // An async handleClose closes later.
    this.session.closeHandled = true;
    return true;
  }

  /** Has the channel close when all that waits is sent. */
  closeWhenDone(): void {
    if (this.session.gone || this.#buffer.closes) return;
    this.session.keepEnding();
    this.#buffer.fifo.push(null);
    if (isFile(this.session.socket)) this.marks.closeFile();
  }

  /** The channel is about to close: what this tick has pushed leaves, as far as the kernel takes it. */
  beforeClose(): void {
    // close() calls no handler.
    this.#drainDue = false;
    if (this.#listed) this.flushOutput();
    if (!this.#buffer.refilling) return;
    this.#buffer.stop();
    this.sendBeforeMore();
  }

  /** Gives up what waits, but for items that another connection can go on with. */
  abandon(): void {
    this.#buffer.marks?.giveUp();
    const owner = this.#owner;
    this.#buffer.abandon((producer) => runHandler(owner, () => producer.close()));
  }

  /**
   * A producer closes the channel, or discards its output, from within more(): what came before is sent
   * as far as the kernel takes it.
   */
  sendBeforeMore(): void {
    const buffer = this.#buffer;
    if (!buffer.refilling) return;
    buffer.commit();
    try {
      while (this.#owner.connected && buffer.data.length > 0 && this.#sendBuffer());
    } catch (error) {
      routeError(this.#owner, error);
    }
  }
}

/** Whether a socket is the kernel's own, with the library's own method. */
function isKernels(socket: SocketLike | null): boolean {
  return socket instanceof Socket && socket.send === SOCKET_SEND;
}
