// The fifo of what a chat has yet to send, and the buffer that is filled from it: Python's producer_fifo
// and ac_out_buffer. It knows no socket. What remains when a part is sent is not copied.

import { Buffer } from 'node:buffer';
import { badType } from '../errors';
import { type Awaiter, ask, NOT_YET, stopAwaiting } from './arrival';
import { beforeLast, Fifo, type FifoWatcher } from './fifo';
import { Mark, type OutputMarks, type Places } from './output-marks';
import type { Producer } from './producers';
import { type FileProducer, sendsItself } from './producers/file';
import { encodeText } from './producers/text';
import { refusedText } from './terminator';

/** What stands on the fifo: data, producers of it, and null where the channel is to be closed. */
export type FifoItem = Uint8Array | string | Producer | null;

const NOTHING = new Uint8Array(0);

/** A buffer this large is sent as it is; a smaller one is topped up first, by copying. */
const WORTH_SENDING = 16384;

/** What this file needs of the chat. */
interface Owner extends FifoWatcher {
  useEncoding: boolean;
  encoding: BufferEncoding;
}

export class OutputBuffer implements FifoWatcher, Awaiter, Places {
  readonly #owner: Owner;
  #fifo = new Fifo<FifoItem>();
  /** Taken from the fifo and not yet by the kernel. */
  #data: Uint8Array = NOTHING;
  /** A subclass of Fifo may keep its items elsewhere, and does not tell when it has some. */
  hasStockFifo = true;
  /** What a stock fifo has told. */
  #fifoFilled = false;
  /** Counts what could put something on the fifo: its own news, and a change of it. */
  changes = 0;
  /** A producer is being asked. */
  refilling = false;
  /** During a refill: the channel has been closed, and no producer is asked any more. */
  #stopped = false;
  /** Taken off the fifo by the top-up under way, to follow `#data`. */
  #pieces: Uint8Array[] | null = null;
  /** What a producer threw while there was something to be sent before it. */
  #failure: { readonly error: unknown } | null = null;
  /** The producer that stood at the head of the fifo, and has promised its next piece. */
  #awaited: Producer | null = null;
  /** The marks of the chat; null until the program asks for one. */
  marks: OutputMarks | null = null;
  /** Counts the calls of `clear`: what was taken before one is not put back after it. */
  #clears = 0;

  /** @param owner told when there is something to send, and when there no longer is */
  constructor(owner: Owner) {
    this.#owner = owner;
    this.#fifo.watch(this);
  }

  /** Called by the fifo. */
  interestChanged(): void {
    this.changes += 1;
    this.#fifoFilled = !this.#fifo.isEmpty();
    if (this.marks !== null && !this.#fifoFilled) this.marks.fifoChanged();
    this.#owner.interestChanged();
  }

  get fifo(): Fifo<FifoItem> {
    return this.#fifo;
  }

  set fifo(fifo: Fifo<FifoItem>) {
    this.#fifo.unwatch(this);
    this.#fifo = fifo;
    this.hasStockFifo = fifo.constructor === Fifo;
    fifo.watch(this);
    this.marks?.fifoChanged();
    this.interestChanged();
  }

  /** What stands on the fifo, the next item first. */
  [Symbol.iterator](): Iterator<FifoItem> {
    return this.#fifo[Symbol.iterator]();
  }

  get data(): Uint8Array {
    return this.#data;
  }

  set data(data: Uint8Array) {
    const wasEmpty = this.#data.length === 0;
    this.#data = data.length === 0 ? NOTHING : data;
    if (wasEmpty === (data.length === 0)) return;
    this.#owner.interestChanged();
    if (this.marks !== null && !wasEmpty) this.marks.reachDue();
  }

  /** Whether something that was taken from the fifo has not been sent yet. */
  get holdsData(): boolean {
    return this.#data.length > 0 || this.#pieces !== null;
  }

  /** Bytes that wait. A producer counts for what it has been asked for. */
  get byteLength(): number {
    return this.#data.length + this.#fifo.byteLengthAs(this.#owner.encoding);
  }

  isEmpty(): boolean {
    if (this.#data.length > 0) return false;
    return this.hasStockFifo ? !this.#fifoFilled : this.#fifo.isEmpty();
  }

  /** Whether there is something to be sent now. Otherwise all waits for a producer's promise. */
  isReady(): boolean {
    if (this.#data.length > 0) return true;
    if (this.hasStockFifo ? !this.#fifoFilled : this.#fifo.isEmpty()) return false;
    return this.#awaited === null || this.#fifo.first() !== this.#awaited;
  }

  /** Called when a producer's promise is settled. */
  arrived(): void {
    this.#awaited = null;
    this.#owner.interestChanged();
  }

  #awaits(producer: Producer): void {
    if (this.#awaited === producer) return;
    this.#awaited = producer;
    this.#owner.interestChanged();
  }

  #stopAwaiting(): void {
    if (this.#awaited === null) return;
    stopAwaiting(this.#awaited, this);
    this.#awaited = null;
  }

  /** Whether the channel is to be closed after all this. */
  get closes(): boolean {
    return !this.#fifo.isEmpty() && this.#fifo.last() === null;
  }

  /** What is sent next, if it can send itself. */
  get selfSending(): FileProducer | null {
    if (this.#data.length > 0 || this.#failure !== null || this.#fifo.isEmpty()) return null;
    const head = this.#fifo.first();
    return sendsItself(head) ? head : null;
  }

  get closesNow(): boolean {
    if (this.#data.length > 0 || this.#failure !== null) return false;
    return !this.#fifo.isEmpty() && this.#fifo.first() === null;
  }

  /** Whether closing the channel is what comes next. Takes that off the fifo. */
  takeClose(): boolean {
    if (!this.closesNow) return false;
    this.#fifo.pop();
    return true;
  }

  /** Appends data, in pieces of `size` bytes at most. */
  append(data: Uint8Array, size: number): void {
    if (data.length === 0) return;
    if (data.length <= size) this.#fifo.push(data);
    else
      for (let at = 0; at < data.length; at += size) this.#fifo.push(data.subarray(at, at + size));
  }

  /** Puts a mark behind all that is to be sent, but before the close. */
  pushMark(mark: Mark): void {
    if (this.closes) this.#refillFifo([...this.#fifo].toSpliced(-1, 0, mark));
    else this.#fifo.push(mark);
  }

  /** What is to be sent last. */
  lastItem(): unknown {
    if (!this.closes) return this.#fifo.isEmpty() ? undefined : this.#fifo.last();
    // A subclass may keep its items elsewhere.
    return this.hasStockFifo ? this.#fifo[beforeLast]() : [...this.#fifo].at(-2);
  }

  /** Makes `data` the first that is sent next. */
  unshift(data: Uint8Array): void {
    this.data = this.#data.length === 0 ? data : Buffer.concat([data, this.#data]);
  }

  clear(): void {
    this.#clears += 1;
    this.#pieces = null;
    this.#failure = null;
    this.#stopAwaiting();
    this.#fifo.clear();
    this.data = NOTHING;
  }

  /** Takes data back that was pushed last. What is taken back of it is at most what has not been sent. */
  takeBack(data: Uint8Array): void {
    let left = data.length;
    const items = [...this.#fifo];
    for (let item = items.at(-1); left > 0 && isPartOf(item, data); item = items.at(-1)) {
      left -= item.length;
      items.pop();
    }
    this.#refillFifo(items);
    if (left > 0 && isPartOf(this.#data, data)) this.data = NOTHING;
  }

  /**
   * Takes a producer back that was pushed last.
   * @returns false when it is not there, because it is exhausted or was closed
   */
  takeBackProducer(producer: Producer): boolean {
    const items = [...this.#fifo];
    this.#refillFifo(items.filter((item) => item !== producer));
    return this.#fifo.length < items.length;
  }

  #refillFifo(items: readonly FifoItem[]): void {
    if (items.length === this.#fifo.length) return;
    this.#fifo.clear();
    for (const item of items) this.#fifo.push(item);
  }

  /**
   * Closes the waiting producers and takes them off the fifo, because they will not be asked again. Items
   * without `close` stay: as in Python, a channel that connects again goes on with them. But the null of
   * `closeWhenDone` was meant for this connection. The marks of a chat that shares the fifo stay, too.
   * @param close closes a producer. Only ExitNow may come out of it
   */
  abandon(close: (producer: Closable) => void): void {
    if (this.#awaited !== null) this.#stopAwaiting();
    if (this.hasStockFifo && !this.#fifoFilled) return;
    const items = [...this.#fifo];
    const isOurs = (item: FifoItem): item is Closable =>
      isClosable(item) && !(item instanceof Mark && !item.isOf(this));
    const closable = items.filter(isOurs);
    this.#refillFifo(items.filter((item) => item !== null && !isOurs(item)));
    let exit: { readonly error: unknown } | null = null;
    for (const producer of closable) {
      try {
        close(producer);
      } catch (error) {
        // ExitNow: the other producers are closed all the same.
        exit ??= { error };
      }
    }
    if (exit !== null) throw exit.error;
  }

  /**
   * @throws {TypeError} when the chat refuses strings
   * @throws {RangeError} for a character that the encoding of the chat cannot hold
   */
  encode(text: string, action = 'send'): Buffer {
    if (!this.#owner.useEncoding) throw refusedText(action, text);
    return encodeText(text, this.#owner.encoding, action);
  }

  // -------------------------------------------------------------------------------------------
  // From the fifo to the buffer.

  /**
   * What a producer threw, when nothing is left to be sent before it.
   * @param closed nothing ever will be: the channel has been closed
   */
  takeFailure(closed: boolean): { readonly error: unknown } | null {
    const failure = closed || this.#data.length === 0 ? this.#failure : null;
    if (failure !== null) this.#failure = null;
    return failure;
  }

  /** What a producer threw is thrown by the next refill. */
  postpone(error: unknown): void {
    this.#failure = { error };
  }

  /**
   * Tops the buffer up to `size` bytes until null comes up.
   * @param together false: one item at a time, which becomes a message of its own
   *
   * What a producer throws is thrown from here, but not before that is sent which came before it.
   */
  refill(size: number, together: boolean): void {
    if (this.refilling) return;
    const failure = this.takeFailure(false);
    if (failure !== null) throw failure.error;
    this.refilling = true;
    this.#stopped = false;
    try {
      // A piece by itself is sent from where it is.
      if (this.#data.length === 0) this.data = this.#take(size) ?? NOTHING;
      const { length } = this.#data;
      if (together && length > 0 && length < Math.min(size, WORTH_SENDING)) this.#topUp(size);
    } finally {
      this.refilling = false;
    }
  }

  #topUp(size: number): void {
    let { length } = this.#data;
    try {
      for (let piece = this.#take(size - length); piece; piece = this.#take(size - length)) {
        if (this.#pieces === null) this.#pieces = [piece];
        else this.#pieces.push(piece);
        length += piece.length;
      }
    } catch (error) {
      this.#failure = { error };
    }
    this.commit();
  }

  /** Puts what a top-up has taken so far into the buffer. */
  commit(): void {
    if (this.#pieces === null) return;
    this.data = Buffer.concat([this.#data, ...this.#pieces]);
    this.#pieces = null;
  }

  /** Ends the refill under way: the producer that is being asked closes the channel. */
  stop(): void {
    this.#stopped = true;
  }

  /** The next data, if it has `room` bytes at most or nothing is before it; null: none such. */
  #take(room: number): Uint8Array | null {
    const data = this.#nextData();
    const first = this.#data.length === 0 && this.#pieces === null;
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
      else if (typeof head === 'string') this.#encodeHead(head);
      else if (!(head instanceof Mark)) {
        if (!this.#ask(head)) return null;
      } else {
        // What was taken before it has not been sent yet.
        if (this.holdsData) return null;
        this.#fifo.pop();
        head.reach(this);
      }
    }
    return null;
  }

  #encodeHead(text: string): void {
    // First, as a text that is refused would be refused again at every tick.
    this.#fifo.pop();
    this.#fifo.pushFront(this.encode(text));
  }

  /**
   * Puts the next piece of the producer before it, or takes the producer off.
   * @returns false when the producer has only promised its piece
   */
  #ask(producer: Producer): boolean {
    const clears = this.#clears;
    const data = this.#piece(producer);
    // The producer may have called discardBuffers or close, and taken itself off with all the rest.
    if (this.#clears !== clears || this.#stopped) return true;
    if (data === null) this.#awaits(producer);
    else if (data.length > 0) this.#fifo.pushFront(data);
    else if (!this.#fifo.isEmpty() && this.#fifo.first() === producer) this.#fifo.pop();
    return data !== null;
  }

  /** @returns null: not yet */
  #piece(producer: Producer): Uint8Array | null {
    if (typeof producer?.more !== 'function') {
      this.#fifo.pop();
      throw badType('send', 'data or a producer on the fifo', producer);
    }
    const piece = ask(producer, this);
    if (piece === NOT_YET) return null;
    if (piece === null || piece === undefined || piece === '') return NOTHING;
    if (typeof piece === 'string') return this.encode(piece, 'send what more() returned');
    if (piece instanceof Uint8Array) return piece;
    throw badType('send what more() returned', 'a Uint8Array, string, null or undefined', piece);
  }
}

/** Whether an item is a piece of `data`, in the same memory. */
function isPartOf(item: FifoItem | undefined, data: Uint8Array): item is Uint8Array {
  if (!(item instanceof Uint8Array) || item.buffer !== data.buffer) return false;
  const start = item.byteOffset - data.byteOffset;
  return start >= 0 && start + item.length <= data.length;
}

/** A producer that has to be closed when it is given up. */
export type Closable = Producer & Required<Pick<Producer, 'close'>>;

/** Whether an item is one. */
export function isClosable(item: FifoItem): item is Closable {
  return typeof item === 'object' && item !== null && 'close' in item && Boolean(item.close);
}
