/// <reference types="node" preserve="true" />
// A chat: a channel that splits its input by terminators (record-delivery.ts) and sends its output from a
// queue of producers (output-queue.ts). What a program is given is its own to keep.

import { Buffer } from 'node:buffer';
import {
  beforeClose,
  Dispatcher,
  endInput,
  sessionBegins,
  sessionOf,
} from '../channels/dispatcher';
import type { Handled } from '../channels/handlers';
import { drainInput, type Session } from '../channels/session';
import { badInstance, badType, declareAbstract } from '../errors';
import { flushPending } from '../kernel/socket';
import { beforeError, explainSpin, type SpinSigns, takesUpInput } from '../loop/channel';
import { handleResult } from '../loop/dispatch';
import { declarePredicates, declareState } from '../loop/interest';
import { outbox } from '../loop/outbox';
import { Fifo } from './fifo';
import { type FifoItem, OutputBuffer } from './output-buffer';
import { OutputQueue } from './output-queue';
import { type Producer, StreamProducer, type StreamSource } from './producers';
import { asBuffer, compact, PIECES, RecordDelivery } from './record-delivery';
import { refusedText, settable, type Terminator } from './terminator';

/**
 * A channel for protocols made of records. Python's `asynchat.async_chat`. A subclass implements
 * `collectIncomingData` and `foundTerminator`.
 *
 * @example
 * class LineEcho extends AsyncChat {
 *   constructor(socket: Socket) {
 *     super(socket);
 *     this.setTerminator('\r\n');
 *   }
 *   override collectIncomingData(data: Buffer) {
 *     this._collectIncomingData(data);
 *   }
 *   override foundTerminator() {
 *     this.push(`${this._getData()}\r\n`);
 *   }
 * }
 */
export abstract class AsyncChat extends Dispatcher {
  /** How much a read event receives at most, in bytes. Default 64 KiB. Python's `ac_in_buffer_size`. */
  acInBufferSize = 65536;
  /**
   * How much is given to the kernel at a time, in bytes, 1 at least; of a `FileProducer`'s file, up to 32 times
   * as much. Default 64 KiB. Python's `ac_out_buffer_size`.
   */
  acOutBufferSize = 65536;
  /**
   * Whether what is pushed while the loop delivers events leaves together after the reads of the tick.
   * Default true. With false each push sends at once, as in Python. Set it on a channel, or on a class.
   */
  batchOutput = true;
  /** Whether strings are accepted. Default true. Python's `use_encoding`, which is false by default. */
  useEncoding = true;
  /**
   * How strings become bytes. A character that it cannot hold is refused. Default `utf8`; Python's is
   * `latin-1`.
   */
  encoding: BufferEncoding = 'utf8';
  /** `push` returns false while more bytes than these wait. Default 1 MiB. Python has none. */
  highWaterMark = 1024 * 1024;
  /**
   * How long a record may be, in bytes without its terminator. Beyond that `handleOverflow` is called.
   * Default: no limit. Python has none. Set one on an open network, where an endless record uses up the
   * memory.
   */
  maxRecordLength = Infinity;
  /** What `_collectIncomingData` has collected. */
  incoming: Buffer[] = [];

  readonly #buffer = new OutputBuffer(this);
  readonly #input = new RecordDelivery(this, this.#buffer);
  readonly #out = new OutputQueue(this, this.#buffer, STOCK_STEPS);
  /** `handleShutdown` was called. */
  #leaving = false;

  // -------------------------------------------------------------------------------------------
  // To be implemented.

  /**
   * Some input of the current record: any amount, any number of times. `data` is never empty, and the
   * program's to keep. Python's `collect_incoming_data`; `_collectIncomingData` is a ready answer.
   * @throws {Error} `ERR_METHOD_NOT_IMPLEMENTED`, unless implemented
   */
  abstract collectIncomingData(data: Buffer): Handled;

  /**
   * The record is complete. Its terminator is not collected. After a counted record the terminator is 0,
   * "for ever", until another is set. Python's `found_terminator`.
   * @throws {Error} `ERR_METHOD_NOT_IMPLEMENTED`, unless implemented
   */
  abstract foundTerminator(): Handled;

  /** Appends to `incoming`, where many very small pieces become one. Python's `_collect_incoming_data`. */
  _collectIncomingData(data: Buffer): void {
    const { incoming } = this;
    incoming.push(data);
    // A piece takes up a hundred bytes beside its own. A peer that sends single bytes must not use up
    // memory that no limit counts.
    if (incoming.length % PIECES === 0) compact(incoming);
  }

  /** All of `incoming` as one Buffer, which may be empty. Empties it. Python's `_get_data`. */
  _getData(): Buffer {
    const { incoming } = this;
    // Nearly always one piece; and pop() costs a tenth of what setting a length does.
    if (incoming.length === 1) return incoming.pop() as Buffer;
    const data = Buffer.concat(incoming);
    incoming.length = 0;
    return data;
  }

  /** The plain name of `incoming`: the pieces that have been collected. */
  get collected(): Buffer[] {
    return this.incoming;
  }

  /** The plain name of `_getData`. */
  takeCollected(): Buffer {
    return this._getData();
  }

  /**
   * The current record is longer than `maxRecordLength`. Throws, so that `handleError` is told and the
   * channel closed.
   *
   * An override may do otherwise. The rest of the record is then dropped with its terminator (the one that
   * was set when the record began, so that no part of it passes for another record), `foundTerminator` is
   * not called for it, and the next record is an ordinary one. What `_collectIncomingData` has collected of
   * the record is the override's to drop.
   * @throws {RangeError} `ERR_RECORD_TOO_LONG`, unless overridden
   *
   * @example
   * override handleOverflow() {
   *   this.incoming.length = 0;
   *   this.push('500 Line too long\r\n');
   * }
   */
  handleOverflow(): Handled {
    throw Object.assign(
      new RangeError(`A record is longer than maxRecordLength (${this.maxRecordLength} bytes)`),
      { code: 'ERR_RECORD_TOO_LONG' },
    );
  }

  // -------------------------------------------------------------------------------------------
  // Input.

  /**
   * Sets what ends a record, from the next byte on: bytes, or a number of them; null, 0 and empty:
   * nothing does. Python's `set_terminator`.
   * @throws {RangeError} for a number that is negative or no integer, or beyond `maxRecordLength`; and
   *   `ERR_UNENCODABLE_CHARACTER` for a string that `encoding` cannot hold
   * @throws {TypeError} for what is no terminator, and for a string when `useEncoding` is false
   *
   * @example
   * chat.setTerminator('\r\n\r\n'); // headers, up to an empty line
   * chat.setTerminator(1024); // then a body of 1024 bytes
   * chat.setTerminator(null); // then whatever comes
   */
  setTerminator(terminator: Terminator): void {
    this.terminator = settable(terminator, this);
  }

  /**
   * The terminator, undefined until one is set. During a counted record: what is missing. Asked before
   * each step through the input. Python's `get_terminator`.
   */
  getTerminator(): Terminator | undefined {
    return this.terminator;
  }

  /**
   * As set by `setTerminator`. Python's `terminator`, which old programs assign directly. An assignment is
   * checked as by `setTerminator`. In TypeScript, assign it in the constructor: a class field of this name
   * does not compile.
   */
  get terminator(): Uint8Array | number | null | undefined {
    return this.#input.terminator;
  }

  set terminator(terminator: Terminator) {
    this.#input.terminator = settable(terminator, this);
  }

  /**
   * What has been received and not yet been given to the program. Python's `ac_in_buffer`.
   * @throws {TypeError} when set to anything but a Uint8Array
   */
  get acInBuffer(): Buffer {
    return this.#input.input;
  }

  set acInBuffer(data: Uint8Array) {
    if (!(data instanceof Uint8Array)) throw badType('set acInBuffer', 'a Uint8Array', data);
    this.#input.input = data;
  }

  /** Whether `pauseReading` has kept records back, or an error has left some. @internal */
  get hasBufferedInput(): boolean {
    return sessionOf(this).holdsRecords;
  }

  /** @internal */
  [takesUpInput](): boolean {
    return this.#input.takeUp();
  }

  /** @internal */
  override [beforeError](error: unknown): (pending: boolean) => void {
    return this.#input.failing(super[beforeError](error));
  }

  override handleReadEvent(): Handled {
    if (outbox.open) return super.handleReadEvent();
    // An event that the program delivers itself is a tick of its own.
    outbox.begin();
    try {
      return super.handleReadEvent();
    } finally {
      outbox.end(false);
    }
  }

  /**
   * Receives once, and goes through what there is. Python's `handle_read`. An error of the socket goes to
   * `handleError`. What a handler throws is thrown from here, and what follows its record has a read event
   * of its own.
   */
  override handleRead(): Handled {
    this.#input.read();
  }

  /** After `handleShutdown` it means that the last answer is there: closes when that is sent. */
  override resumeReading(): void {
    if (this.#leaving) this.closeWhenDone();
    else super.resumeReading();
  }

  /** The beginning of a delimiter that will never be completed is data. @internal */
  override [endInput](): void {
    this.#input.end();
  }

  // -------------------------------------------------------------------------------------------
  // Output.

  /**
   * What waits to be sent, from the program; null where the channel is to be closed. What is put here
   * when the channel has closed waits for its next connection. What cannot be sent is an error when its
   * turn comes, and is dropped. Python's `producer_fifo`.
   * @throws {TypeError} when set to anything but a Fifo
   */
  get producerFifo(): Fifo<FifoItem> {
    return this.#buffer.fifo;
  }

  set producerFifo(fifo: Fifo<FifoItem>) {
    if (!(fifo instanceof Fifo)) throw badInstance('set producerFifo', 'a Fifo', fifo, 'isEmpty');
    this.#out.flushOutput();
    this.#buffer.fifo = fifo;
  }

  /**
   * What waits to be sent, from the fifo. Python 2.5's `ac_out_buffer`.
   * @throws {TypeError} when set to anything but a Uint8Array
   */
  get acOutBuffer(): Buffer {
    return asBuffer(this.#buffer.data);
  }

  set acOutBuffer(data: Uint8Array) {
    if (!(data instanceof Uint8Array)) throw badType('set acOutBuffer', 'a Uint8Array', data);
    this.#out.flushOutput();
    this.#buffer.data = data;
  }

  /** Bytes that wait to be sent. A producer counts for what it has been asked for. */
  get writableLength(): number {
    return this.#out.byteLength;
  }

  /**
   * Sends `data` after all that was pushed before. It is not copied while it waits, so it must not be
   * changed. Python's `push`.
   *
   * While the loop delivers events, up to 16 KiB leave after the reads of the tick, together with all else that
   * the tick brings (`batchOutput`). Longer data, and any at any other time, is sent at once: if the peer turns
   * out to be gone, `handleClose` runs within `push`. A handler that keeps the thread calls `initiateSend` before.
   *
   * @returns false when more than `highWaterMark` bytes wait now, so that it is time to stop until
   *   `handleDrain`; and false, with a `warning` (see `ignoreLogTypes`), when the data is refused: the
   *   channel has closed or is about to (`closeWhenDone`, `endWhenDone`), or the peer is gone. Before the
   *   first connection, and from the next `createSocket` on, data waits
   * @throws {RangeError} `ERR_UNENCODABLE_CHARACTER` for a string that `encoding` cannot hold
   * @throws {TypeError} for what is neither a string nor a Uint8Array, and for a string when
   *   `useEncoding` is false
   */
  push(data: Uint8Array | string): boolean {
    // Asked in each branch by itself: V8 is slow where strings and bytes come to the same place.
    let length: number;
    if (typeof data === 'string') {
      if (!this.useEncoding) throw refusedText('push', data);
      length = data.length;
    } else {
      if (!(data instanceof Uint8Array)) throw badType('push', 'a Uint8Array or a string', data);
      length = data.length;
    }
    return this.#out.push(data, length);
  }

  /**
   * Sends what `producer` yields after all that was pushed before. The producer is asked whenever there is
   * room, and may promise its next piece. Data is taken as well. Python's `push_with_producer`.
   * @returns as `push`. The `close` of a producer is called when the producer is refused, and when the
   *   channel closes while it waits
   * @throws {TypeError} for what has no method `more`
   *
   * @example
   * const lines = ['one\n', 'two\n'];
   * chat.pushWithProducer({ more: () => lines.shift() });
   */
  pushWithProducer(producer: Producer | Uint8Array | string): boolean {
    if (typeof producer === 'string' || producer instanceof Uint8Array) {
      // Not an override's: a push that frames its data may well call this method.
      return STOCK_PUSH.call(this, producer);
    }
    return this.#out.pushProducer(producer);
  }

  /**
   * Sends what a stream or an iterable yields: `pushWithProducer(new StreamProducer(source))`. The source
   * is read as fast as the peer takes the output, and destroyed when the channel closes before its end. Its
   * error goes to `handleError`. Under `loopSync` only a plain iterable works.
   * @returns as `push`. A source that is refused is destroyed
   * @throws {TypeError} for what is no Readable, and no iterable of data
   *
   * @example
   * chat.pushFrom(createReadStream('/var/log/syslog'));
   */
  pushFrom(source: StreamSource): boolean {
    return this.pushWithProducer(new StreamProducer(source));
  }

  /**
   * Calls `handleClose` when all that has been pushed is sent: in a later write event, even if nothing
   * waits (a pipe or file needs none then: in the next tick). Input goes on until then; to ignore it, call `setTerminator(null)`. Only when this is called
   * because of an error, in `handleError` for example, no further record is delivered. Python's
   * `close_when_done`.
   */
  closeWhenDone(): void {
    this.#out.closeWhenDone();
  }

  /**
   * Ends the stream to the peer (`shutdown(SHUT_WR)`) when all that has been pushed is sent: in a later
   * write event, even if nothing waits. What is pushed after is refused. Input goes on: the channel closes
   * when the peer ends its stream as well, unless a `handleEof` of the program decides otherwise. After
   * this, `closeWhenDone` closes when the end is sent. Idempotent; does nothing on a closed channel.
   * @throws {TypeError} when the socket has no `shutdown`, such as a FileWrapper
   */
  endWhenDone(): void {
    this.#out.marks.end();
  }

  /**
   * Resolves when all that has been pushed so far, producers too, is handed to the kernel; at once if
   * nothing waits. What is pushed after does not delay it. Whether the peer has read it, only the peer can
   * tell. Under `loopSync`, and while a handler runs, no promise is settled.
   * @returns a promise that rejects with `ERR_CHANNEL_CLOSED` when the channel closes before, or the peer is
   *   gone, and with `ERR_OUTPUT_DISCARDED` when the output is discarded, or taken off `producerFifo`
   */
  flushed(): Promise<void> {
    return this.#out.marks.flushed();
  }

  /** All has been sent, after a `push` returned false. Does nothing, unless overridden. */
  handleDrain(): Handled {}

  /** Calls `initiateSend`. Python's `handle_write`. */
  override handleWrite(): Handled {
    this.initiateSend();
  }

  /**
   * Sends until nothing is left, the kernel takes no more, or it is another channel's turn. Python's
   * `initiate_send`. Does nothing while there is no connection. An error of the socket goes to
   * `handleError`. What a producer throws is thrown from here, when all before it has been sent.
   */
  initiateSend(): void {
    this.#out.send();
  }

  /**
   * Tops `acOutBuffer` up from the head of the fifo, small items together, to `acOutBufferSize` bytes. An
   * exhausted producer is dropped for the next item. When null comes up and nothing is left to be sent, the
   * channel is closed. Python's `refill_buffer`, which later versions lack.
   */
  refillBuffer(): void {
    if (!this.#out.refill()) return;
    drainInput(this.socket);
    handleResult(this, this.handleClose());
  }

  /** As `Dispatcher.send`: past the queue, but after what this tick has pushed. */
  override send(data: Uint8Array): number {
    this.#out.flushOutput();
    return super.send(data);
  }

  /** @internal */
  override [flushPending](): void {
    // The constructor of Dispatcher calls this before there is a queue.
    if (#out in this) this.#out.flushOutput();
  }

  /** @internal */
  override [sessionBegins](session: Session): void {
    if (#out in this) this.#input.session = this.#out.session = session;
  }

  /** @internal */
  override [beforeClose](): void {
    try {
      this.#out.beforeClose();
    } finally {
      this.#leaving = false;
      this.#input.reset();
      this.#out.abandon();
    }
  }

  /** Only for emergencies: forgets all input and output that waits. Python's `discard_buffers`. */
  discardBuffers(): void {
    const out = this.#out;
    out.flushOutput();
    out.sendBeforeMore();
    out.discard();
    this.#input.reset();
    this.incoming.length = 0;
    out.abandon();
    this.#buffer.clear();
  }

  // -------------------------------------------------------------------------------------------
  // Predicates and the end.

  /** Always. */
  override readable(): boolean {
    return true;
  }

  /** While there is output to send now and a connection, and while a connect is under way. */
  override writable(): boolean {
    if (!this.connected) return this.connecting;
    return this.#out.isReady();
  }

  /** @internal */
  override [explainSpin](event: number, signs: SpinSigns): string | undefined {
    return this.#out.reasonOfSpin(event, signs, super[explainSpin](event, signs));
  }

  /** Closes the channel, without a word in the log. */
  override handleClose(): Handled {
    this.close();
  }

  /**
   * Reads no more, and closes when all is sent. When reading is paused a handler is at work, which may
   * still answer: the channel then closes after `resumeReading`, which resumes nothing.
   */
  override handleShutdown(): Handled {
    if (!this.connected && !this.connecting) return super.handleShutdown();
    this.#leaving = true;
    if (this.readingPaused) return;
    this.pauseReading();
    this.closeWhenDone();
  }

  /** The peer has ended its stream, and `allowHalfOpen` is set: closes when all is sent. */
  override handleEof(): Handled {
    this.closeWhenDone();
  }
}

// Taken once: a program that patches a prototype, to trace or to inject faults, has overridden the method.
const { initiateSend, push: STOCK_PUSH, refillBuffer, send, writable } = AsyncChat.prototype;
const STOCK_STEPS = { initiateSend, refillBuffer, send, writable };

declareAbstract(AsyncChat.prototype, 'collectIncomingData', 'foundTerminator');
declareState(AsyncChat.prototype, 'producerFifo', 'acOutBuffer');
declarePredicates(AsyncChat.prototype, 'readable', 'writable');
