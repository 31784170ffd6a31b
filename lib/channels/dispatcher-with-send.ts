/// <reference types="node" preserve="true" />
// A dispatcher with an output buffer: send() takes everything, and sends it when it can. For simple
// programs; AsyncChat of the chat wing does more.

import { badType } from '../errors';
import { declarePredicates, declareState } from '../loop/interest';
import { logFor } from './channel-log';
import { beforeClose, Dispatcher, sessionOf } from './dispatcher';
import type { Handled } from './handlers';
import { drainInput } from './session';

/** How much is given to the kernel at a time, in bytes. */
const CHUNK = 65536;

const EMPTY = Buffer.alloc(0);

/**
 * Bytes that wait, in one piece of memory that grows at its end. Each byte is copied a few times at most,
 * whatever the order of appends and sends. Memory that was handed out is never written again.
 */
class ByteQueue {
  #memory = EMPTY;
  #start = 0;
  #end = 0;

  get length(): number {
    return this.#end - this.#start;
  }

  /** A view of the first `size` bytes that wait. */
  head(size = this.length): Buffer {
    return this.#memory.subarray(this.#start, Math.min(this.#end, this.#start + size));
  }

  append(data: Uint8Array): void {
    if (this.length === 0) {
      this.replace(data);
      return;
    }
    if (this.#end + data.length > this.#memory.length) this.#grow(this.length + data.length);
    this.#memory.set(data, this.#end);
    this.#end += data.length;
  }

  #grow(needed: number): void {
    const larger = Buffer.allocUnsafeSlow(2 * needed);
    this.#memory.copy(larger, 0, this.#start, this.#end);
    this.#end -= this.#start;
    this.#start = 0;
    this.#memory = larger;
  }

  /** Forgets what waits, and holds a copy of `data` instead. */
  replace(data: Uint8Array): void {
    this.#memory = data.length === 0 ? EMPTY : Buffer.from(data);
    this.#start = 0;
    this.#end = data.length;
  }

  /** Forgets the last `size` bytes, or as many as wait. */
  takeBack(size: number): void {
    // Copies what stays, so that the memory goes.
    this.replace(this.head(Math.max(0, this.length - size)));
  }

  /** Drops the first `size` bytes. */
  drop(size: number): void {
    this.#start += size;
    if (this.#start === this.#end) this.replace(EMPTY);
  }
}

/**
 * A dispatcher that buffers its output. Python's `asyncore.dispatcher_with_send`.
 *
 * @example
 * class EchoHandler extends DispatcherWithSend {
 *   override handleRead() {
 *     const data = this.recv(8192);
 *     if (data !== null) this.send(data);
 *   }
 * }
 */
export class DispatcherWithSend extends Dispatcher {
  #output = new ByteQueue();
  /** `handleClose` is due when all output has been sent. */
  #closesWhenSent = false;

  /**
   * The output that has not been sent yet. Python's `out_buffer`.
   * @throws {TypeError} when set to anything but a Uint8Array
   */
  get outBuffer(): Buffer {
    return this.#output.head();
  }

  set outBuffer(data: Uint8Array) {
    if (!(data instanceof Uint8Array)) throw badType('set outBuffer', 'a Uint8Array', data);
    this.#output = new ByteQueue();
    this.#output.append(data);
    this.interestChanged();
  }

  /**
   * Sends what the kernel takes of the buffer, 64 KiB at most. Python's `initiate_send`.
   * It asks the kernel even when nothing waits, and so learns of a connection that is gone.
   */
  initiateSend(): void {
    const output = this.#output;
    const sent = super.send(output.head(CHUNK));
    // Unless handleClose, of a connection that is gone, has set another buffer.
    if (output === this.#output) output.drop(sent);
    this.interestChanged();
  }

  /** Calls `initiateSend`. */
  override handleWrite(): Handled {
    this.initiateSend();
    if (!this.#closesWhenSent || !this.connected || this.#output.length > 0) return;
    this.#closesWhenSent = false;
    drainInput(this.socket);
    return this.handleClose();
  }

  /** Reads no more, and calls `handleClose` when all is sent. */
  override handleShutdown(): Handled {
    if (!this.connected || this.#output.length === 0) return super.handleShutdown();
    this.pauseReading();
    this.#closesWhenSent = true;
    this.interestChanged();
  }

  /** @internal */
  override [beforeClose](): void {
    this.#closesWhenSent = false;
  }

  /** While there is output, and until there is a connection. */
  override writable(): boolean {
    return !this.connected || this.#closesWhenSent || this.#output.length > 0;
  }

  /**
   * Takes all of `data`, a copy of it, and sends what can be sent now. The buffer has no bound: look at
   * `outBuffer.length`.
   * @returns the length of `data`; Python's `send` returns None. 0, with a `warning` (see
   *   `ignoreLogTypes`), when the connection is closed and the data is refused
   * @throws {TypeError} for anything but a Uint8Array
   */
  override send(data: Uint8Array): number {
    if (!(data instanceof Uint8Array)) throw badType('send', 'a Uint8Array', data);
    if (this.debug) logFor(this, `sending ${JSON.stringify(Buffer.from(data).toString('latin1'))}`);
    if (sessionOf(this).gone) return this.#refuse();
    const output = this.#output;
    if (data.length > 0) output.append(data);
    this.initiateSend();
    if (!sessionOf(this).gone) return data.length;
    // This call has found that the peer is gone. Nobody would send what it has left in the buffer.
    output.takeBack(data.length);
    return this.#refuse();
  }

  #refuse(): 0 {
    logFor(this, 'send on a closed connection: refused', 'warning');
    return 0;
  }
}

declareState(DispatcherWithSend.prototype, 'outBuffer');
declarePredicates(DispatcherWithSend.prototype, 'writable');
