/// <reference types="node" preserve="true" />
// A dispatcher with an output buffer: send() takes everything and sends it when it can. For simple
// clients; AsyncChat has more of the same.

import { Fifo } from '../chat/fifo';
import { badType } from '../errors';
import { declarePredicates, declareState } from '../loop/interest';
import { beforeClose, Dispatcher, dropInput, type Handled } from './dispatcher';

/** How much is given to the kernel at a time, in bytes. */
const CHUNK = 65536;

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
  readonly #waiting = new Fifo<Buffer>();
  /** `handleClose` is due when nothing waits any more. */
  #closesWhenSent = false;

  /**
   * The output that has not been sent yet. Python's `out_buffer`.
   * @throws {TypeError} when set to anything but a Uint8Array
   */
  get outBuffer(): Buffer {
    // Joined for good: a program that asks at every tick pays for what has come since.
    if (this.#waiting.length > 1) {
      const all = Buffer.concat([...this.#waiting]);
      this.#waiting.clear();
      this.#waiting.push(all);
    }
    return this.#waiting.isEmpty() ? Buffer.alloc(0) : this.#waiting.first();
  }

  set outBuffer(data: Uint8Array) {
    if (!(data instanceof Uint8Array)) throw badType('set outBuffer', 'a Uint8Array', data);
    this.#waiting.clear();
    if (data.length > 0) this.#waiting.push(Buffer.from(data));
    this.interestChanged();
  }

  /**
   * Sends what the kernel takes of the buffer, 64 KiB at most. Python's `initiate_send`.
   * With nothing to send it asks all the same, and so learns of a connection that is gone.
   */
  initiateSend(): void {
    const chunk = this.#takeChunk();
    this.#waiting.pushFront(chunk);
    let sent = 0;
    try {
      sent = super.send(chunk.subarray(0, CHUNK));
    } finally {
      // Unless a handler, of a connection that is gone, has thrown it away or set another.
      if (!this.#waiting.isEmpty() && this.#waiting.first() === chunk) {
        this.#waiting.pop();
        if (sent < chunk.length) this.#waiting.pushFront(chunk.subarray(sent));
      }
      this.interestChanged();
    }
  }

  /**
   * The head of what waits, small pieces joined. Where the kernel takes nothing, only when as much again
   * has come behind it: so each byte is copied a few times at most.
   */
  #takeChunk(): Buffer {
    const pieces: Buffer[] = [];
    let size = 0;
    const head = this.#waiting.isEmpty() ? 0 : this.#waiting.first().length;
    if (head > 0 && this.#waiting.byteLength < 2 * head) return this.#waiting.pop()[1] as Buffer;
    while (size < CHUNK && !this.#waiting.isEmpty()) {
      const piece = this.#waiting.first();
      if (size > 0 && size + piece.length > CHUNK) break;
      pieces.push(piece);
      size += piece.length;
      this.#waiting.pop();
    }
    return pieces.length === 1 ? (pieces[0] as Buffer) : Buffer.concat(pieces, size);
  }

  /** Calls `initiateSend`. */
  override handleWrite(): Handled {
    this.initiateSend();
    if (!this.#closesWhenSent || !this.connected || !this.#waiting.isEmpty()) return;
    this.#closesWhenSent = false;
    this[dropInput]();
    return this.handleClose();
  }

  /** Reads no more, and calls `handleClose` when all is sent. */
  override handleShutdown(): Handled {
    if (!this.connected || this.#waiting.isEmpty()) return super.handleShutdown();
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
    return !this.connected || this.#closesWhenSent || !this.#waiting.isEmpty();
  }

  /**
   * Takes all of `data`, a copy of it, and sends what can be sent now. There is no bound: look at
   * `outBuffer.length`.
   * @returns the length of `data`; Python's `send` returns None
   * @throws {TypeError} for what is no Uint8Array
   */
  override send(data: Uint8Array): number {
    if (!(data instanceof Uint8Array)) throw badType('send', 'a Uint8Array', data);
    if (this.debug) this.logInfo(`sending ${JSON.stringify(Buffer.from(data).toString('latin1'))}`);
    if (data.length > 0) this.#waiting.push(Buffer.from(data));
    this.initiateSend();
    return data.length;
  }
}

declareState(DispatcherWithSend.prototype, 'outBuffer');
declarePredicates(DispatcherWithSend.prototype, 'writable');
