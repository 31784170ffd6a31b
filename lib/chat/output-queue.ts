// What a chat has yet to send, and how it is sent.
//
//   segment   small pushes of the tick under way, in memory that all chats share (kernel/buffers.ts)
//   buffer    taken from the fifo and not yet by the kernel: Python 2.5's ac_out_buffer
//   fifo      data and producers; null where the channel is to be closed
//
// They leave in this order. While the loop delivers events, a push only puts data here and lists the
// queue in the outbox, so that all that a tick brings leaves together (loop/outbox.ts). At any other time
// a push sends at once. What remains when a part is sent is not copied, unless it is a segment.

import { type Dispatcher, sessionOf } from '../channels/dispatcher';
import { badRange, badType } from '../errors';
import { sendScratch } from '../kernel/buffers';
import { Socket, sendFrom } from '../kernel/socket';
import type { Channel } from '../loop/channel';
import { routeError, runHandler } from '../loop/dispatch';
import { outbox, type Sender } from '../loop/outbox';
import { Fifo, type FifoWatcher } from './fifo';
import type { Producer } from './producers';

/** What stands on the fifo: data, producers of it, and null where the channel is to be closed. */
export type FifoItem = Uint8Array | string | Producer | null;

const NOTHING = new Uint8Array(0);

/** An output buffer this large is sent as it is; a smaller one is topped up first, by copying. */
const WORTH_SENDING = 16384;

/** Longer data is not worth copying into a segment, in bytes. */
const LONGEST_COPIED = 16384;

/** So that one fast reader of a long answer leaves the other channels their turn. */
const SENDS_PER_EVENT = 16;

/** How many segments there are, of all queues. */
let segments = 0;

/** The methods that output goes through, which a subclass may override. */
interface Steps {
  initiateSend(): void;
  refillBuffer(): void;
  send(data: Uint8Array): number;
  writable(): boolean;
}

/** The chat that sends from a queue. */
interface Owner extends Dispatcher, Steps {
  acOutBufferSize: number;
  batchOutput: boolean;
  highWaterMark: number;
  encoding: BufferEncoding;
  useEncoding: boolean;
  handleDrain(): unknown;
}

const handleDrain = (channel: Channel): unknown => (channel as Owner).handleDrain();

export class OutputQueue implements Sender, FifoWatcher {
  readonly #owner: Owner;
  readonly #stock: Steps;
  #fifo = new Fifo<FifoItem>();
  /** Something has gone to the fifo since the segment was opened: all other data follows it there. */
  #fifoUsed = false;
  /** Taken from the fifo and not yet by the kernel. */
  #buffer: Uint8Array = NOTHING;
  #segmentStart = 0;
  #segmentLength = 0;
  /** A segment that is longer is looked at more closely: it has to leave, or is over the mark. */
  #segmentLimit = 0;
  /** A read event of the owner is under way. */
  handlesRead = false;
  /** Stands in the outbox's list. */
  #listed = false;
  /** The outbox sends. To close the channel is for a later write event. */
  #flushing = false;
  /** The owner's `send` is running. */
  #sending = false;
  /** The last send was not taken in full. A write event tells when there is room again. */
  #blocked = false;
  /** `handleDrain` is due when all has been sent. */
  #drainDue = false;
  #refilling = false;
  /** During a refill: the channel has been closed, and no producer is asked any more. */
  #stopped = false;
  /** Taken off the fifo by the top-up under way, to follow `#buffer`. */
  #pieces: Uint8Array[] = [];
  /** What a producer threw while there was something to be sent before it. */
  #failure: { readonly error: unknown } | null = null;
  /** Counts the calls of `clear`: what was taken before one is not put back after it. */
  #clears = 0;

  /** @param stock the library's own methods, which the owner has unless a subclass overrides them */
  constructor(owner: Owner, stock: Steps) {
    this.#owner = owner;
    this.#stock = stock;
    this.#fifo.watch(this);
  }

  /** The fifo has become empty, or no longer is. */
  interestChanged(): void {
    this.#fifoUsed = true;
    this.#owner.interestChanged();
  }

  // -------------------------------------------------------------------------------------------
  // Content.

  get fifo(): Fifo<FifoItem> {
    return this.#fifo;
  }

  set fifo(fifo: Fifo<FifoItem>) {
    this.#fifo.unwatch(this);
    this.#fifo = fifo;
    fifo.watch(this);
    this.interestChanged();
  }

  get buffer(): Uint8Array {
    return this.#buffer;
  }

  set buffer(data: Uint8Array) {
    const wasEmpty = this.#buffer.length === 0;
    this.#buffer = data.length === 0 ? NOTHING : data;
    if (wasEmpty !== (data.length === 0)) this.#owner.interestChanged();
  }

  /** Bytes that wait. A producer counts for what it has been asked for. */
  get byteLength(): number {
    const waiting = this.#segmentLength + this.#buffer.length;
    return this.#fifo.isEmpty() ? waiting : waiting + this.#fifo.byteLengthAs(this.#owner.encoding);
  }

  isEmpty(): boolean {
    return this.#segmentLength === 0 && this.#buffer.length === 0 && this.#fifo.isEmpty();
  }

  /** Whether the channel is to be closed after all this. */
  get closes(): boolean {
    return !this.#fifo.isEmpty() && this.#fifo.last() === null;
  }

  /** Whether closing the channel is what comes next. Takes that off the fifo. */
  takeClose(): boolean {
    if (this.#flushing || this.#buffer.length > 0 || this.#failure !== null) return false;
    if (this.#fifo.isEmpty() || this.#fifo.first() !== null) return false;
    this.#fifo.pop();
    return true;
  }

  /** How much is given to the kernel at a time. @throws {RangeError} for an invalid acOutBufferSize */
  get chunkSize(): number {
    const size = this.#owner.acOutBufferSize;
    if (!(size >= 1)) throw badRange('send', 'an acOutBufferSize of 1 or more', size);
    return size;
  }

  /**
   * Appends data to the segment of this tick, which goes past the fifo and the buffer.
   * @returns whether that is all there is to do: the data has been taken, and less than the high-water
   *   mark waits
   */
  extendSegment(data: Uint8Array | string): boolean {
    const length = this.#segmentLength;
    if (length === 0 || this.#fifoUsed || this.#buffer.length > 0) return false;
    // Another chat has written behind the segment.
    if (this.#segmentStart + length !== sendScratch.used || data.length > LONGEST_COPIED)
      return false;
    if (this.#owner.batchOutput && this.#copy(data, length, this.#segmentLimit)) return true;
    return false;
  }

  /** Copies data to the end of the segment, unless that would become longer than `limit`. */
  #copy(data: Uint8Array | string, before: number, limit: number): boolean {
    const start = sendScratch.used;
    const copied =
      typeof data === 'string'
        ? sendScratch.appendText(data, this.#owner.encoding) >= 0
        : sendScratch.append(data);
    if (!copied) return false;
    const length = before + sendScratch.used - start;
    if (length > limit) {
      sendScratch.release(start);
      return false;
    }
    this.#segmentLength = length;
    return true;
  }

  /** Opens a segment with `data`, as nothing waits, if all steps are the library's own. */
  #openSegment(data: Uint8Array | string, size: number): boolean {
    if (data.length > LONGEST_COPIED || this.#sending) return false;
    // Within a tick, the small pushes of the chat whose handler runs are contiguous.
    if (outbox.open && !this.handlesRead) return false;
    const owner = this.#owner;
    if (!this.#usesStockSteps || !owner.connected) return false;
    const start = sendScratch.used;
    if (!this.#copy(data, 0, size)) return false;
    this.#segmentStart = start;
    this.#segmentLimit = Math.min(size, owner.highWaterMark);
    this.#fifoUsed = false;
    segments += 1;
    return true;
  }

  /**
   * Appends data, and sends it at once or after the reads of the tick.
   * @returns whether no more than the high-water mark waits
   */
  push(data: Uint8Array | string): boolean {
    const size = this.chunkSize;
    const owner = this.#owner;
    if (data.length === 0) return this.#isBelowMark();
    const empty = this.isEmpty();
    const opened = empty && this.#openSegment(data, size);
    if (!opened) this.#append(typeof data === 'string' ? this.encode(data) : data, size);
    const waiting = opened ? this.#segmentLength : this.byteLength;
    if (!outbox.open || !owner.batchOutput || waiting >= size) owner.initiateSend();
    else if (empty) this.#list();
    // What waits since before this tick is tried again, unless only a write event can help.
    else if (!this.#listed && !this.#blocked) owner.initiateSend();
    return opened && waiting <= owner.highWaterMark ? true : this.#isBelowMark();
  }

  #list(): void {
    if (this.#listed) return;
    this.#listed = true;
    outbox.add(this);
  }

  /** Appends a producer, which is asked at once, as in Python. */
  pushProducer(producer: Producer): boolean {
    this.#fifo.push(producer);
    this.#owner.initiateSend();
    return this.#isBelowMark();
  }

  /** When more waits, `handleDrain` is due as soon as all has been sent. */
  #isBelowMark(): boolean {
    if (this.byteLength <= this.#owner.highWaterMark) return true;
    this.#drainDue = true;
    return false;
  }

  /** In pieces of `size` bytes at most. */
  #append(data: Uint8Array, size: number): void {
    if (data.length <= size) this.#fifo.push(data);
    else
      for (let at = 0; at < data.length; at += size) this.#fifo.push(data.subarray(at, at + size));
  }

  /** Whether output may go past the steps of the owner and its fifo: a subclass overrides none of them. */
  get #usesStockSteps(): boolean {
    const owner = this.#owner;
    const stock = this.#stock;
    return (
      owner.send === stock.send &&
      owner.initiateSend === stock.initiateSend &&
      owner.refillBuffer === stock.refillBuffer &&
      owner.writable === stock.writable &&
      sessionOf(owner).isStream &&
      this.#fifo.constructor === Fifo
    );
  }

  clear(): void {
    this.#clears += 1;
    this.#pieces = [];
    this.#failure = null;
    this.#drainDue = false;
    this.#fifo.clear();
    this.buffer = NOTHING;
  }

  /**
   * Closes the producers that wait, as nobody will ask them, and takes them off. What cannot be closed
   * stays: as in Python, a channel that connects again goes on where it was.
   */
  abandon(): void {
    this.#drainDue = false;
    if (this.#fifo.isEmpty()) return;
    const items = [...this.#fifo];
    const closable = items.filter(isClosable);
    if (closable.length === 0) return;
    this.#fifo.clear();
    for (const item of items) if (!isClosable(item)) this.#fifo.push(item);
    let exit: { readonly error: unknown } | null = null;
    for (const producer of closable) {
      try {
        producer.close();
      } catch (error) {
        try {
          routeError(this.#owner, error);
        } catch (thrown) {
          // ExitNow: the other producers are closed all the same.
          exit ??= { error: thrown };
        }
      }
    }
    if (exit !== null) throw exit.error;
  }

  /** @throws {TypeError} when the chat refuses strings */
  encode(text: string): Buffer {
    if (!this.#owner.useEncoding) throw refusedText('send', text);
    return Buffer.from(text, this.#owner.encoding);
  }

  // -------------------------------------------------------------------------------------------
  // Sending.

  /** Sends what has been pushed in this tick: at its turn, or because something else must come after it. */
  flushOutput(): void {
    if (!this.#listed) return;
    this.#listed = false;
    const outer = this.#flushing;
    this.#flushing = true;
    try {
      this.#owner.initiateSend();
    } catch (error) {
      routeError(this.#owner, error);
    } finally {
      this.#flushing = outer;
      // There is no connection to send on. The shared memory is about to be used again.
      if (this.#segmentLength > 0) {
        this.#putBack(this.#segmentStart, this.#segmentLength);
        this.#segmentLength = 0;
        releaseSegment();
      }
    }
  }

  /**
   * Sends until nothing is left, the kernel takes no more, or it is another channel's turn. An error of the
   * socket goes to `handleError`. What a producer throws is thrown from here while nothing has been sent.
   */
  send(): void {
    // Re-entrant call, from within send() or more(): the outer one will pick this up.
    if (this.#sending || this.#refilling) return;
    this.#listed = false;
    const done = this.#segmentLength > 0 && this.#sendSegment();
    if (!done) this.#sendBuffers();
    if (this.#drainDue && this.isEmpty()) this.#announceDrain();
  }

  /** The kernel has room: what the handler pushes is sent at once. */
  #announceDrain(): void {
    this.#drainDue = false;
    const { open } = outbox;
    outbox.open = false;
    try {
      runHandler(this.#owner, handleDrain);
    } finally {
      outbox.open = open;
    }
  }

  #sendBuffers(): void {
    const owner = this.#owner;
    const asksWritable = owner.writable !== this.#stock.writable;
    for (let sends = 0; sends < SENDS_PER_EVENT && owner.connected; sends += 1) {
      // A limiter: in Python each send is a write event of its own.
      if (sends > 0 && asksWritable && !owner.writable()) return;
      if (this.#buffer.length === 0) this.#refillAfter(sends);
      if (this.#buffer.length === 0 || !owner.connected) return;
      if (!this.#sendBuffer()) return;
    }
  }

  /**
   * What a producer throws goes to the caller while nothing has been sent. After that it is the channel's:
   * in Python it is thrown at a later write event.
   */
  #refillAfter(sends: number): void {
    const owner = this.#owner;
    try {
      owner.refillBuffer();
    } catch (error) {
      if (sends === 0) throw error;
      routeError(owner, error);
    }
    // A producer that discarded or closed, and then threw: what it had yielded was sent, or is gone.
    const failure = this.#takeFailure(!owner.connected);
    if (failure !== null) routeError(owner, failure.error);
  }

  /** @returns whether nothing is left to do: all has been sent, or the kernel takes no more */
  #sendSegment(): boolean {
    const owner = this.#owner;
    if (!owner.connected) return false;
    const session = sessionOf(owner);
    const { socket } = session;
    const start = this.#segmentStart;
    const length = this.#segmentLength;
    let sent = 0;
    this.#segmentLength = 0;
    this.#sending = true;
    try {
      const direct = socket instanceof Socket && socket.send === Socket.prototype.send;
      sent =
        direct && owner.send === this.#stock.send
          ? owner[sendFrom](socket, sendScratch.memory, start, length)
          : checkSent(owner.send(copyOfScratch(start, length)), length);
    } catch (error) {
      routeError(owner, error);
    } finally {
      this.#sending = false;
      this.#blocked = sent < length;
      if (sent < length && !session.ended) this.#putBack(start + sent, length - sent);
      releaseSegment();
    }
    return sent < length || (this.#buffer.length === 0 && this.#fifo.isEmpty());
  }

  /** Makes a part of the shared memory the first that is sent next. */
  #putBack(start: number, length: number): void {
    const rest = copyOfScratch(start, length);
    this.buffer = this.#buffer.length === 0 ? rest : Buffer.concat([rest, this.#buffer]);
  }

  /** @returns whether the kernel took all it was given */
  #sendBuffer(): boolean {
    const owner = this.#owner;
    const buffer = this.#buffer;
    const chunk = buffer.subarray(0, this.chunkSize);
    let sent = 0;
    this.#sending = true;
    try {
      sent = checkSent(owner.send(chunk), chunk.length);
    } catch (error) {
      routeError(owner, error);
    } finally {
      this.#sending = false;
      this.#blocked = sent < chunk.length;
    }
    // A handler, or an override of send, may have thrown the buffer away.
    if (this.#buffer === buffer && sent > 0) this.buffer = buffer.subarray(sent);
    return sent === chunk.length;
  }

  // -------------------------------------------------------------------------------------------
  // From the fifo to the buffer.

  /** What a producer threw, when nothing is left to be sent before it, or nothing ever will be. */
  #takeFailure(closed: boolean): { readonly error: unknown } | null {
    const failure = closed || this.#buffer.length === 0 ? this.#failure : null;
    if (failure !== null) this.#failure = null;
    return failure;
  }

  /**
   * Tops the buffer up to `chunkSize` bytes, small items together, until null comes up. On a datagram
   * socket each item is a message of its own.
   *
   * What a producer throws is thrown from here, but not before that is sent which came before it.
   */
  refill(): void {
    if (this.#refilling) return;
    const size = this.chunkSize;
    const failure = this.#takeFailure(false);
    if (failure !== null) throw failure.error;
    this.#refilling = true;
    this.#stopped = false;
    try {
      // A piece by itself is sent from where it is.
      if (this.#buffer.length === 0) this.buffer = this.#take(size) ?? NOTHING;
      const { length } = this.#buffer;
      const worthMore = length > 0 && length < Math.min(size, WORTH_SENDING);
      if (worthMore && sessionOf(this.#owner).isStream) this.#topUp(size);
    } finally {
      this.#refilling = false;
    }
  }

  #topUp(size: number): void {
    let { length } = this.#buffer;
    try {
      for (let piece = this.#take(size - length); piece; piece = this.#take(size - length)) {
        this.#pieces.push(piece);
        length += piece.length;
      }
    } catch (error) {
      this.#failure = { error };
    }
    this.#commit();
  }

  /** Puts what a top-up has taken so far into the buffer. */
  #commit(): void {
    if (this.#pieces.length === 0) return;
    this.buffer = Buffer.concat([this.#buffer, ...this.#pieces]);
    this.#pieces = [];
  }

  /** The channel is about to close: what this tick has pushed leaves, as far as the kernel takes it. */
  beforeClose(): void {
    if (this.#listed) this.flushOutput();
    if (this.#refilling) this.sendBeforeMore(true);
  }

  /**
   * A producer closes the channel, or discards its output, from within more(): what came before is sent
   * as far as the kernel takes it.
   * @param stop no producer is asked any more
   */
  sendBeforeMore(stop: boolean): void {
    if (!this.#refilling) return;
    if (stop) this.#stopped = true;
    this.#commit();
    while (this.#owner.connected && this.#buffer.length > 0 && this.#sendBuffer());
  }

  /** The next data, if it has `room` bytes at most or nothing is before it; null: none such. */
  #take(room: number): Uint8Array | null {
    const data = this.#nextData();
    const first = this.#buffer.length === 0 && this.#pieces.length === 0;
    if (data === null || (data.length > room && !first)) return null;
    this.#fifo.pop();
    return data;
  }

  /** The data at the head of the fifo, where producers leave theirs; null: none, or the end. */
  #nextData(): Uint8Array | null {
    while (!this.#stopped && !this.#fifo.isEmpty()) {
      const head = this.#fifo.first();
      if (head === null) return null;
      if (head instanceof Uint8Array && head.length > 0) return head;
      if (head instanceof Uint8Array || head === '') this.#fifo.pop();
      else if (typeof head === 'string') this.#replaceHead(this.encode(head));
      else this.#ask(head);
    }
    return null;
  }

  #replaceHead(data: Uint8Array): void {
    this.#fifo.pop();
    this.#fifo.pushFront(data);
  }

  /** Puts the next piece of the producer before it, or takes the producer off. */
  #ask(producer: Producer): void {
    const clears = this.#clears;
    const data = this.#piece(producer);
    // The producer may have called discardBuffers or close, and taken itself off with all the rest.
    if (this.#clears !== clears || this.#stopped) return;
    if (data.length > 0) this.#fifo.pushFront(data);
    else if (!this.#fifo.isEmpty() && this.#fifo.first() === producer) this.#fifo.pop();
  }

  #piece(producer: Producer): Uint8Array {
    if (typeof producer?.more !== 'function') {
      throw badType('send', 'data or a producer on the fifo', producer);
    }
    const piece = producer.more();
    if (piece === null || piece === undefined || piece === '') return NOTHING;
    if (typeof piece === 'string') return this.encode(piece);
    if (piece instanceof Uint8Array) return piece;
    throw badType('send what more() returned', 'a Uint8Array, string, null or undefined', piece);
  }
}

/** The shared memory can be used from its beginning again when no segment is left in it. */
function releaseSegment(): void {
  segments -= 1;
  if (segments === 0) sendScratch.release(0);
}

/** A copy, as an override or a stand-in for a socket may keep what it is given. */
function copyOfScratch(start: number, length: number): Buffer {
  return Buffer.from(sendScratch.memory.buffer.subarray(start, start + length));
}

/** A string, where `useEncoding` is false. */
export function refusedText(action: string, text: string): TypeError {
  return badType(action, 'a Uint8Array (useEncoding is false)', text);
}

/** What an override of send() has returned. */
function checkSent(sent: number, length: number): number {
  if (Number.isInteger(sent) && sent >= 0 && sent <= length) return sent;
  throw badRange('send', `send() to return a number of bytes up to ${length}`, sent);
}

/** Whether it is a producer that wants to know when nobody will ask it again. */
export function isClosable(item: FifoItem): item is Producer & { close(): void } {
  return typeof item === 'object' && item !== null && 'close' in item && Boolean(item.close);
}
