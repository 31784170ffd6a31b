// What a chat has yet to send: data and producers on a fifo, and the output buffer that is filled
// from it. It knows no socket. Nothing of what remains is copied when a part of it is sent.

import { badType } from '../errors';
import { Fifo, type FifoWatcher } from './fifo';
import type { Producer } from './producers';

/** What stands on the fifo: data, producers of it, and null where the channel is to be closed. */
export type FifoItem = Uint8Array | string | Producer | null;

const NOTHING = new Uint8Array(0);

/** An output buffer this large is sent as it is; a smaller one is topped up first, by copying. */
const WORTH_SENDING = 16384;

/** Text on the fifo becomes bytes when its turn comes. */
export const encoded = Symbol('encoded');

interface Owner extends FifoWatcher {
  [encoded](text: string): Uint8Array;
}

export class OutputQueue {
  #fifo = new Fifo<FifoItem>();
  /** Taken from the fifo and not yet by the kernel. */
  #buffer: Uint8Array = NOTHING;
  #refilling = false;
  /** During a refill: the channel has been closed, and nobody is asked any more. */
  #stopped = false;
  /** Taken off the fifo by the top-up under way, to follow `#buffer`. */
  #pieces: Uint8Array[] = [];
  /** What a producer threw while there was something to be sent before it. */
  #failure: { readonly error: unknown } | null = null;
  /** Counts the calls of `clear`: what was taken before one is not put back after it. */
  #clears = 0;

  /** @param owner told when there is something to send, or no longer */
  constructor(readonly owner: Owner) {
    this.#fifo.watcher = owner;
  }

  get fifo(): Fifo<FifoItem> {
    return this.#fifo;
  }

  set fifo(fifo: Fifo<FifoItem>) {
    this.#fifo.watcher = null;
    this.#fifo = fifo;
    fifo.watcher = this.owner;
    this.owner.interestChanged();
  }

  get buffer(): Uint8Array {
    return this.#buffer;
  }

  set buffer(data: Uint8Array) {
    const wasEmpty = this.#buffer.length === 0;
    this.#buffer = data.length === 0 ? NOTHING : data;
    if (wasEmpty !== (data.length === 0)) this.owner.interestChanged();
  }

  /** Bytes of data here. A producer counts for what it has been asked for. */
  get byteLength(): number {
    return this.#buffer.length + this.#fifo.byteLength;
  }

  isEmpty(): boolean {
    return this.#buffer.length === 0 && this.#fifo.isEmpty();
  }

  /** Whether the channel is to be closed after all this. */
  get closes(): boolean {
    return this.#fifo.last() === null;
  }

  get closeIsNext(): boolean {
    if (this.#buffer.length > 0 || this.#failure !== null || this.#fifo.isEmpty()) return false;
    return this.#fifo.first() === null;
  }

  /** Whether closing the channel is what comes next. Takes that off the fifo. */
  takeClose(): boolean {
    if (!this.closeIsNext) return false;
    this.#fifo.pop();
    return true;
  }

  /** Appends data, in pieces of `size` bytes at most. */
  push(data: Uint8Array, size: number): void {
    if (data.length <= size) this.#fifo.push(data);
    else
      for (let at = 0; at < data.length; at += size) this.#fifo.push(data.subarray(at, at + size));
  }

  /** Puts back what was to be sent before all else. */
  unshift(data: Uint8Array): void {
    this.buffer = this.#buffer.length === 0 ? data : Buffer.concat([data, this.#buffer]);
  }

  clear(): void {
    this.#clears += 1;
    this.#pieces = [];
    this.#failure = null;
    this.#fifo.clear();
    this.buffer = NOTHING;
  }

  /**
   * Closes the producers that wait, as nobody will ask them, and takes them off. What cannot be closed
   * stays: a channel may connect again, and in Python goes on where it was.
   */
  abandon(failed: (error: unknown) => void): void {
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
          failed(error);
        } catch (thrown) {
          // ExitNow, which the others can do nothing for.
          exit ??= { error: thrown };
        }
      }
    }
    if (exit !== null) throw exit.error;
  }

  /**
   * What a producer threw, when nothing is left to be sent before it.
   * @param closed or nothing will be, as the channel has been closed
   */
  takeFailure(closed = false): { readonly error: unknown } | null {
    const failure = closed || this.#buffer.length === 0 ? this.#failure : null;
    if (failure !== null) this.#failure = null;
    return failure;
  }

  /** Whether a producer is being asked at this moment. */
  get refilling(): boolean {
    return this.#refilling;
  }

  /**
   * Tops the buffer up to `size` bytes, small items together, until null comes up.
   * @param together false: one item at a time, which becomes a datagram
   *
   * What a producer throws is thrown from here, but not before that is sent which came before it.
   */
  refill(size: number, together: boolean): void {
    const failure = this.takeFailure();
    if (failure !== null) throw failure.error;
    this.#refilling = true;
    this.#stopped = false;
    try {
      // A piece by itself is sent from where it is.
      if (this.#buffer.length === 0) this.buffer = this.#take(size) ?? NOTHING;
      const length = this.#buffer.length;
      if (together && length > 0 && length < Math.min(size, WORTH_SENDING)) this.#topUp(size);
    } finally {
      this.#refilling = false;
    }
  }

  #topUp(size: number): void {
    let length = this.#buffer.length;
    try {
      for (let piece = this.#take(size - length); piece; piece = this.#take(size - length)) {
        this.#pieces.push(piece);
        length += piece.length;
      }
    } catch (error) {
      this.#failure = { error };
    }
    this.commit();
  }

  /** Puts what a top-up has taken so far into the buffer: somebody is about to close the channel. */
  commit(): void {
    if (this.#pieces.length === 0) return;
    this.buffer = Buffer.concat([this.#buffer, ...this.#pieces]);
    this.#pieces = [];
  }

  /** Ends the refill under way: the producer that is being asked closes the channel. */
  stop(): void {
    this.#stopped = true;
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
      else if (typeof head === 'string') this.#replaceHead(this.owner[encoded](head));
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
    // A producer may well call discardBuffers, and take itself off with all that.
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
    if (typeof piece === 'string') return this.owner[encoded](piece);
    if (piece instanceof Uint8Array) return piece;
    throw badType('send what more() returned', 'a Uint8Array, string, null or undefined', piece);
  }
}

/** Whether it is a producer that wants to know when nobody will ask it again. */
export function isClosable(item: FifoItem): item is Producer & { close(): void } {
  return typeof item === 'object' && item !== null && 'close' in item && Boolean(item.close);
}
