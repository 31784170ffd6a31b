/// <reference types="node" preserve="true" />
// A chat: a channel that splits its input by terminators and sends its output from a queue of
// producers.
//
// Input. A read event receives once, and then goes through what it has got: `collectIncomingData`
// gets what belongs to the record, `foundTerminator` is told that it is complete, and the terminator
// is asked for afresh before each step, so that a program may change it at every record. What has
// been received is one Buffer and an offset: nothing is copied to take a step, and what a program
// gets is a view of its own bytes, to keep. The only input ever held back is the beginning of a
// terminator at the end of what has been received.
//
// Output. What is pushed waits on `producerFifo` until `refillBuffer` moves it to `acOutBuffer`, many
// small items together (output-queue.ts), from which `initiateSend` sends. One thing is put off:
// small pushes made while this chat handles a read event leave together when the event ends, as a
// burst of requests is best answered by one send (gather.ts).

import {
  beforeClose,
  Dispatcher,
  dropInput,
  type Handled,
  hasClosed,
  inputOver,
  life,
} from '../channels/dispatcher';
import { badRange, badType, notImplemented } from '../errors';
import {
  beginGathering,
  endGathering,
  flushGatheredOf,
  gather,
  gatheredOf,
  gatherText,
  isGathering,
  sendGathered,
  takeGathered,
} from '../kernel/gather';
import { SOCK_STREAM } from '../kernel/platform/constants';
import { keepable, Socket, type SocketLike, sendFrom } from '../kernel/socket';
import { Memory } from '../kernel/syscalls';
import { handleResult, routeError, runHandler } from '../loop/dispatch';
import { declarePredicates, declareState } from '../loop/interest';
import { outbox } from '../loop/outbox';
import { Fifo } from './fifo';
import { encoded, type FifoItem, isClosable, OutputQueue } from './output-queue';
import type { Producer } from './producers';

/**
 * What ends a record: these bytes, or after this many bytes. null, 0 and empty: nothing does, all
 * input is collected as it comes.
 */
export type Terminator = Uint8Array | string | number | null;

const NOTHING = Buffer.alloc(0);

/** How many pieces of input are looked through for small ones, and what is small, in bytes. */
const PIECES = 256;
const SMALL = 128;

/** Sends per write event, so that one fast reader of a long answer leaves the others their turn. */
const SENDS_PER_EVENT = 16;

/**
 * A channel for protocols made of records. Python's `asynchat.async_chat`.
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
  /**
   * How much a read event receives at most, in bytes. Default 64 KiB. Python's
   * `ac_in_buffer_size`.
   */
  acInBufferSize = 65536;
  /**
   * How much is given to the kernel at a time, in bytes, 1 at least. Default 64 KiB. Python's
   * `ac_out_buffer_size`.
   */
  acOutBufferSize = 65536;
  /**
   * Whether strings are welcome. Default true; when false they are refused, as by Python's
   * `use_encoding`, which is false by default.
   */
  useEncoding = true;
  /** How strings become bytes. Default `utf8`; Python's is `latin-1`. */
  encoding: BufferEncoding = 'utf8';
  /** `push` returns false while more bytes than these wait. Default 1 MiB. Python has none. */
  highWaterMark = 1024 * 1024;
  /**
   * How long a record may be, in bytes without its terminator; beyond that `handleOverflow` is called.
   * Default: no limit. Python has none. Set one on an open network: memory is what an endless record
   * uses up.
   */
  maxRecordLength = Infinity;
  /** What `_collectIncomingData` has collected. */
  incoming: Buffer[] = [];
  /** As set by `setTerminator`; undefined until then. During a counted record: what is missing. */
  terminator: Uint8Array | number | null | undefined;

  /** Received and not yet gone through: `#input` from `#inputAt` on. */
  #input: Buffer = NOTHING;
  #inputAt = 0;
  /** Going through it was interrupted by `pauseReading`. */
  #interrupted = false;
  /** `handleShutdown` was called. */
  #leaving = false;
  /** How much of the current record has come, and whether the rest of it is ignored: it was too long. */
  #recordLength = 0;
  #overflowed = false;
  /** What was looked for last, or was missing: an ignored record ends there, whatever is set meanwhile. */
  #delimiter: Uint8Array | number | null = null;

  readonly #out = new OutputQueue(this);
  /** `send` is under way: whoever pushes meanwhile queues up. */
  #sending = false;
  /** `push` has returned false, and `handleDrain` is owed. */
  #drainDue = false;

  // -------------------------------------------------------------------------------------------
  // To be implemented.

  /**
   * Some input of the current record: any amount, any number of times. `data` is the program's to
   * keep. Never empty. Python's `collect_incoming_data`; `_collectIncomingData` is a ready answer.
   * @throws {Error} `ERR_METHOD_NOT_IMPLEMENTED`, unless overridden
   */
  collectIncomingData(_data: Buffer): Handled {
    throw notImplemented('collectIncomingData');
  }

  /**
   * The record is complete; its terminator is not collected. After a counted one the terminator is
   * 0, "for ever", until another is set. Python's `found_terminator`.
   * @throws {Error} `ERR_METHOD_NOT_IMPLEMENTED`, unless overridden
   */
  foundTerminator(): Handled {
    throw notImplemented('foundTerminator');
  }

  /**
   * Appends to `incoming`, where many very small pieces become one. Python's `_collect_incoming_data`.
   */
  _collectIncomingData(data: Buffer): void {
    const { incoming } = this;
    incoming.push(data);
    // A piece takes up a hundred bytes beside its own, and a peer who sends one by one must not have
    // memory be used up that nothing counts.
    if (incoming.length % PIECES === 0) compact(incoming);
  }

  /** All of `incoming` as one Buffer, maybe an empty one; it is empty then. Python's `_get_data`. */
  _getData(): Buffer {
    const { incoming } = this;
    // Nearly always one piece; and pop() costs a tenth of what setting a length does.
    if (incoming.length === 1) return incoming.pop() as Buffer;
    const data = Buffer.concat(incoming);
    incoming.length = 0;
    return data;
  }

  /**
   * The current record is longer than `maxRecordLength`. Throws, so that `handleError` is told and the
   * channel closed. An override may do otherwise: the rest of the record is then ignored, its terminator
   * included (the one that was set when the record began, so that no part of it passes for another),
   * `foundTerminator` is not called for it, and the next record is an ordinary one. What
   * `_collectIncomingData` has collected of it is the override's to drop.
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
   * @throws {RangeError} for a number that is negative or no integer, or beyond `maxRecordLength`
   * @throws {TypeError} for what is no terminator, and for a string when `useEncoding` is false
   *
   * @example
   * chat.setTerminator('\r\n\r\n'); // headers, up to an empty line
   * chat.setTerminator(1024); // then a body of 1024 bytes
   * chat.setTerminator(null); // then whatever comes
   */
  setTerminator(terminator: Terminator): void {
    const checked = this.#checkTerminator(terminator);
    if (typeof checked === 'number' && checked > this.maxRecordLength) {
      throw badRange(
        'set a terminator',
        `at most maxRecordLength (${this.maxRecordLength})`,
        checked,
      );
    }
    this.terminator = checked;
  }

  /**
   * The terminator, undefined until one is set; during a counted record, what is missing. Asked
   * before each step through the input. Python's `get_terminator`.
   */
  getTerminator(): Terminator | undefined {
    return this.terminator;
  }

  #checkTerminator(terminator: Terminator | undefined): Uint8Array | number | null {
    if (terminator instanceof Uint8Array || terminator === null) return terminator;
    if (typeof terminator === 'string') {
      this.#checkText('set a terminator', terminator);
      return this.#encode(terminator);
    }
    if (typeof terminator !== 'number') {
      throw badType('use a terminator', 'bytes, a string, a number or null', terminator);
    }
    if (Number.isSafeInteger(terminator) && terminator >= 0) return terminator;
    throw badRange('use a terminator', 'a number of bytes', terminator);
  }

  #checkText(action: string, text: string): void {
    if (!this.useEncoding) throw badType(action, 'a Uint8Array (useEncoding is false)', text);
  }

  #encode(text: string): Buffer {
    return Buffer.from(text, this.encoding);
  }

  /**
   * What has been received and not yet been given to the program. Python's `ac_in_buffer`.
   * @throws {TypeError} when set to anything but a Uint8Array
   */
  get acInBuffer(): Buffer {
    return this.#input.subarray(this.#inputAt);
  }

  set acInBuffer(data: Uint8Array) {
    if (!(data instanceof Uint8Array)) throw badType('set acInBuffer', 'a Uint8Array', data);
    this.#input = asBuffer(data);
    this.#inputAt = 0;
  }

  override handleReadEvent(): Handled {
    // A read event inside another one's handler sends at once, and each datagram is one push.
    if (!this.#isStream() || !beginGathering(this)) return super.handleReadEvent();
    const outer = outbox.open;
    outbox.open = true;
    try {
      return super.handleReadEvent();
    } finally {
      outbox.open = outer;
      endGathering();
    }
  }

  /** Receives once, and goes through what there is. Python's `handle_read`. */
  override handleRead(): Handled {
    // What reading was paused over comes first, so that a slow program holds one read's worth at most.
    if (!this.#interrupted && !this.#receive()) return;
    this.#consume();
  }

  /** @returns false when that failed */
  #receive(): boolean {
    let data: Uint8Array | null;
    try {
      data = this.recv(this.acInBufferSize);
    } catch (error) {
      routeError(this, error);
      return false;
    }
    if (data !== null && data.length > 0) {
      const held = this.#input.length - this.#inputAt;
      this.#input = held === 0 ? asBuffer(data) : Buffer.concat([this.acInBuffer, data]);
      this.#inputAt = 0;
    }
    return true;
  }

  /** Whether `pauseReading` has kept records back. @internal */
  get hasBufferedInput(): boolean {
    return this.#interrupted;
  }

  /** After `handleShutdown` it means that the last answer is there. */
  override resumeReading(): void {
    if (this.#leaving) this.closeWhenDone();
    else super.resumeReading();
  }

  /**
   * Goes through the input until it is used up, or only the start of a terminator is left; close()
   * and discardBuffers() use it up. A handler that throws has had its record, so the next one's
   * turn comes as soon as handleError has been told. pauseReading() interrupts it.
   * @param toTheEnd it does not: there will be no other time
   */
  #consume(toTheEnd = false): void {
    this.#interrupted = false;
    while (this.#inputAt < this.#input.length) {
      if (this.readingPaused && !toTheEnd) {
        this.#interrupted = true;
        return;
      }
      const terminator =
        (this.#overflowed ? this.#delimiter : null) ?? this.#checkTerminator(this.getTerminator());
      try {
        if (terminator === null || terminator === 0) this.#collectAll();
        else if (typeof terminator === 'number') this.#consumeCounted(terminator);
        else if (terminator.length === 0) this.#collectAll();
        else if (!this.#consumeDelimited(terminator)) return;
      } catch (error) {
        routeError(this, error);
      }
    }
    // Nothing is left: do not keep what the program has let go of.
    this.#dropInput();
  }

  #dropInput(): void {
    this.#input = NOTHING;
    this.#inputAt = 0;
    this.#interrupted = false;
  }

  /** The current record is complete, or given up. */
  #endRecord(): void {
    this.#recordLength = 0;
    this.#overflowed = false;
  }

  /** A record of a known length. */
  #consumeCounted(missing: number): void {
    const here = this.#input.length - this.#inputAt;
    if (here < missing) {
      this.#delimiter = missing - here;
      const before = this.terminator;
      try {
        this.#collect(this.#input.length);
      } finally {
        // Unless the program has set another one just now.
        if (typeof before === 'number' && this.terminator === before) {
          this.terminator = before - here;
        }
      }
      return;
    }
    const end = this.#inputAt + missing;
    this.#complete(end, end, missing);
  }

  /**
   * A record that ends with certain bytes. Three cases:
   * 1. they are there: collect what precedes them, if anything, and tell;
   * 2. the input ends with their beginning: collect what precedes that, and wait for more;
   * 3. neither: collect everything.
   * @returns false in the second case
   */
  #consumeDelimited(terminator: Uint8Array): boolean {
    this.#delimiter = terminator;
    const input = this.#input;
    const index = indexOf(input, terminator, this.#inputAt);
    if (index !== -1) {
      this.#complete(index, index + terminator.length);
      return true;
    }
    const held = prefixAtEnd(input, this.#inputAt, terminator);
    this.#collect(input.length - held);
    // Unless the program has dropped or replaced it just now.
    return held === 0 || this.#input !== input;
  }

  /** All of it, where there are no records. */
  #collectAll(): void {
    const start = this.#inputAt;
    this.#inputAt = this.#input.length;
    this.#endRecord();
    this.#deliver(start, this.#input.length);
  }

  /**
   * The record is complete at `end`: collects what is missing, and tells.
   * @param next where to go on, behind the terminator
   * @param counted how much was missing of one of a known length
   */
  #complete(end: number, next: number, counted?: number): void {
    const before = this[life];
    let got = false;
    try {
      got = this.#collect(end, next);
    } finally {
      // Also when a handler threw: it has had its record.
      this.#endRecord();
    }
    if (this[life] !== before) return;
    // 0 means "for ever": a program that does not set a new terminator now gets all that follows.
    if (counted !== undefined && (got || this.terminator === counted)) this.terminator = 0;
    if (got) handleResult(this, this.foundTerminator());
  }

  /**
   * Gives the input up to `end` to the program as a part of the record; an empty piece is none.
   * @returns false when the program has closed the channel, or the record is too long
   */
  #collect(end: number, next = end): boolean {
    const start = this.#inputAt;
    this.#inputAt = next;
    if (this.#overflowed) return false;
    if (end === start) return true;
    this.#recordLength += end - start;
    if (this.#recordLength <= this.maxRecordLength) return this.#deliver(start, end);
    this.#overflowed = true;
    handleResult(this, this.handleOverflow());
    return false;
  }

  /**
   * The input counts as used before the program sees it: what its handler does, a nested poll() for
   * one, starts behind it.
   * @returns false when the program has closed the channel
   */
  #deliver(start: number, end: number): boolean {
    const before = this[life];
    handleResult(this, this.collectIncomingData(keepable(this.#input, start, end)));
    return this[life] === before;
  }

  /** The beginning of a terminator that will never be completed is data. @internal */
  override [inputOver](): void {
    try {
      this.#consume(true);
      if (this.#inputAt < this.#input.length) this.#collect(this.#input.length);
    } finally {
      this.#dropInput();
    }
  }

  // -------------------------------------------------------------------------------------------
  // Output.

  // Whoever looks at any of this, or at the socket, is to find what he would find without gathering.

  /**
   * What waits to be sent, from the program; null where the channel is to be closed. Python's
   * `producer_fifo`.
   * @throws {TypeError} when set to anything but a Fifo
   */
  get producerFifo(): Fifo<FifoItem> {
    flushGatheredOf(this);
    return this.#out.fifo;
  }

  set producerFifo(fifo: Fifo<FifoItem>) {
    if (!(fifo instanceof Fifo)) throw badType('set producerFifo', 'a Fifo', fifo);
    flushGatheredOf(this);
    this.#out.fifo = fifo;
  }

  /**
   * What waits to be sent, from the fifo. Python 2.5's `ac_out_buffer`.
   * @throws {TypeError} when set to anything but a Uint8Array
   */
  get acOutBuffer(): Buffer {
    flushGatheredOf(this);
    return asBuffer(this.#out.buffer);
  }

  set acOutBuffer(data: Uint8Array) {
    if (!(data instanceof Uint8Array)) throw badType('set acOutBuffer', 'a Uint8Array', data);
    flushGatheredOf(this);
    this.#out.buffer = data;
  }

  override get socket(): SocketLike | null {
    flushGatheredOf(this);
    return super.socket;
  }

  override set socket(socket: SocketLike | null) {
    flushGatheredOf(this);
    super.socket = socket;
  }

  /** Bytes that wait to be sent. A producer counts for what it has been asked for. */
  get writableLength(): number {
    return this.#out.byteLength + gatheredOf(this);
  }

  /**
   * Sends `data`, as soon as all that was pushed before is sent. It is not copied while it waits, so
   * it must not be changed. Python's `push`.
   *
   * It is sent at once if it can be, but for small pushes in a read event, which leave when the event
   * ends. A handler that works long, or waits without this library knowing (`spawnSync`), calls
   * `initiateSend` before.
   *
   * @returns false when more than `highWaterMark` bytes wait now, so that it is time to stop until
   *   `handleDrain`; and false, with a `warning` (see `ignoreLogTypes`), when the channel is being
   *   closed (`closeWhenDone`) and the data is refused
   * @throws {TypeError} for what is neither a string nor a Uint8Array, and for a string when
   *   `useEncoding` is false
   */
  push(data: Uint8Array | string): boolean {
    if (typeof data === 'string') this.#checkText('push', data);
    else if (!(data instanceof Uint8Array)) {
      throw badType('push', 'a Uint8Array or a string', data);
    }
    if (this.#refuses('push')) return false;
    if (!this.#gather(data)) this.#queue(typeof data === 'string' ? this.#encode(data) : data);
    return this.#isBelowMark();
  }

  #queue(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    flushGatheredOf(this);
    this.#out.push(bytes, this.#chunkSize());
    this.initiateSend();
  }

  /**
   * Sends what `producer` yields, as soon as all that was pushed before is sent; it is asked
   * whenever there is room. Data is taken as well. Python's `push_with_producer`.
   * @returns as `push`; false, too, when the channel has closed: a producer with a method `close` is
   *   then closed, as are those that wait when the channel closes
   * @throws {TypeError} for what has no method `more`
   *
   * @example
   * const lines = ['one\n', 'two\n'];
   * chat.pushWithProducer({ more: () => lines.shift() });
   */
  pushWithProducer(producer: Producer | Uint8Array | string): boolean {
    if (typeof producer === 'string' || producer instanceof Uint8Array) return this.push(producer);
    if (typeof producer?.more !== 'function') {
      throw badType('push a producer', 'an object with a method more()', producer);
    }
    // The caller has gone while its answer was looked for: who holds a descriptor must let go of it.
    const tooLate = this[hasClosed] && isClosable(producer);
    if (tooLate || this.#refuses('pushWithProducer')) {
      producer.close?.();
      return false;
    }
    flushGatheredOf(this);
    this.#out.fifo.push(producer);
    this.initiateSend();
    return this.#isBelowMark();
  }

  /**
   * Calls `handleClose` when all that has been pushed is sent, in a later write event even if nothing
   * waits. Input goes on until then: `setTerminator(null)`, and ignore it. Python's `close_when_done`.
   */
  closeWhenDone(): void {
    if (!this.#out.closes) this.#out.fifo.push(null);
  }

  #refuses(what: string): boolean {
    if (!this.#out.closes) return false;
    this.logInfo(`${what} after closeWhenDone: refused`, 'warning');
    return true;
  }

  #isStream(): boolean {
    const socket = super.socket;
    return !(socket instanceof Socket) || socket.type === SOCK_STREAM;
  }

  #chunkSize(): number {
    const size = this.acOutBufferSize;
    if (!(size >= 1)) throw badRange('send', 'an acOutBufferSize of 1 or more', size);
    return size;
  }

  #isBelowMark(): boolean {
    if (this.writableLength <= this.highWaterMark) return true;
    this.#drainDue = true;
    return false;
  }

  #announceDrain(): void {
    if (!this.#drainDue || !this.#out.isEmpty()) return;
    this.#drainDue = false;
    runHandler(this, () => this.handleDrain());
  }

  /** All has been sent, after a `push` returned false. Does nothing, unless overridden. */
  handleDrain(): Handled {}

  /** Calls `initiateSend`. Python's `handle_write`. */
  override handleWrite(): Handled {
    this.initiateSend();
  }

  /**
   * Sends until nothing is left, the kernel takes no more, or it is somebody else's turn. Python's
   * `initiate_send`. Does nothing while there is no connection. An error of the socket goes to
   * `handleError`; what a producer throws is thrown from here.
   */
  initiateSend(): void {
    flushGatheredOf(this);
    // Called from within send() or more(): their caller goes on with what has come.
    if (this.#sending || this.#out.refilling) return;
    for (let sends = 0; sends < SENDS_PER_EVENT && this.connected; sends += 1) {
      if (this.#out.buffer.length === 0) this.#refillAfter(sends);
      if (this.#out.buffer.length === 0 || !this.connected) break;
      if (!this.#sendBuffer()) break;
    }
    this.#announceDrain();
  }

  /**
   * Whoever pushes hears of what a producer throws before anything is sent. After that it is the
   * channel's: in Python it is thrown at a later write event.
   */
  #refillAfter(sends: number): void {
    try {
      this.refillBuffer();
    } catch (error) {
      if (sends === 0) throw error;
      routeError(this, error);
    }
    // A producer that discarded or closed, and then threw: what it had yielded was sent, or is gone.
    const failure = this.#out.takeFailure(!this.connected);
    if (failure !== null) routeError(this, failure.error);
  }

  /**
   * Tops `acOutBuffer` up from the head of the fifo, small items together, to `acOutBufferSize`
   * bytes. A producer that is exhausted is dropped for the next. When null comes up and nothing is
   * left to be sent, the channel is closed. Python's `refill_buffer`, which later versions lack.
   */
  refillBuffer(): void {
    flushGatheredOf(this);
    if (this.#out.refilling) return;
    this.#out.refill(this.#chunkSize(), this.#isStream());
    if (!this.#out.takeClose()) return;
    this[dropInput]();
    handleResult(this, this.handleClose());
  }

  /** @returns whether the kernel took all it was given */
  #sendBuffer(): boolean {
    const { buffer } = this.#out;
    const chunk = buffer.subarray(0, this.#chunkSize());
    const sent = this.#give(chunk, chunk.length);
    // A handler, or an override of send, may have thrown the buffer away.
    if (this.#out.buffer === buffer && sent > 0) this.#out.buffer = buffer.subarray(sent);
    return sent === chunk.length;
  }

  /** @returns how much of it was sent */
  #give(data: Uint8Array | Memory, length: number): number {
    this.#sending = true;
    try {
      const sent =
        data instanceof Memory
          ? this[sendFrom](super.socket as Socket, data, length)
          : this.send(data);
      if (Number.isInteger(sent) && sent >= 0 && sent <= length) return sent;
      throw badRange('send', `send() to return a number of bytes up to ${length}`, sent);
    } catch (error) {
      routeError(this, error);
      return 0;
    } finally {
      this.#sending = false;
    }
  }

  /** Takes what this read event pushes, if it is small and would otherwise be sent at once. */
  #gather(data: Uint8Array | string): boolean {
    if (!isGathering(this) || this.#sending) return false;
    if (!this.connected || !this.#out.isEmpty()) return false;
    const limit = this.#chunkSize();
    return typeof data === 'string' ? gatherText(data, this.encoding, limit) : gather(data, limit);
  }

  /** @internal */
  [encoded](text: string): Buffer {
    this.#checkText('send', text);
    return this.#encode(text);
  }

  /** @internal */
  [sendGathered](): void {
    const { memory, length } = takeGathered();
    const before = this[life];
    const sent = this.#give(this.#sendsByKernel() ? memory : copyOf(memory, 0, length), length);
    if (sent < length && this[life] === before) {
      this.#out.unshift(copyOf(memory, sent, length));
    } else if (!this.#out.isEmpty() && !this.#out.closeIsNext) {
      // What an override of send has pushed meanwhile. To close is for a write event, as a handler
      // is under way here.
      this.initiateSend();
    }
    this.#announceDrain();
  }

  /** The kernel copies at once. Whoever else is given a buffer may keep it. */
  #sendsByKernel(): boolean {
    const socket = super.socket;
    return (
      this.send === AsyncChat.prototype.send &&
      socket instanceof Socket &&
      socket.send === Socket.prototype.send
    );
  }

  /** As `Dispatcher.send`: past the queue, but not past what a read event has pushed before. */
  override send(data: Uint8Array): number {
    flushGatheredOf(this);
    return super.send(data);
  }

  /** @internal */
  override [beforeClose](): void {
    // close() calls no handler.
    this.#drainDue = false;
    try {
      flushGatheredOf(this);
      if (this.#out.refilling) {
        this.#out.stop();
        this.#sendBeforeMore();
      }
    } finally {
      this.#leaving = false;
      // A record that is being gone through ends here.
      this.#dropInput();
      this.#endRecord();
      this.#abandonProducers();
    }
  }

  #abandonProducers(): void {
    this.#out.abandon((error) => routeError(this, error));
  }

  /**
   * A producer closes the channel or discards from within more(): what came before is sent as far as
   * the kernel takes it.
   */
  #sendBeforeMore(): void {
    this.#out.commit();
    while (this.connected && this.#out.buffer.length > 0 && this.#sendBuffer());
  }

  /** Only for emergencies: forgets all input and output that waits. Python's `discard_buffers`. */
  discardBuffers(): void {
    flushGatheredOf(this);
    if (this.#out.refilling) this.#sendBeforeMore();
    this.#dropInput();
    this.#endRecord();
    this.incoming.length = 0;
    this.#abandonProducers();
    this.#out.clear();
    this.#drainDue = false;
  }

  // -------------------------------------------------------------------------------------------
  // Predicates and the end.

  /** Always. */
  override readable(): boolean {
    return true;
  }

  /** While there is output and a connection, and while a connect is under way. */
  override writable(): boolean {
    if (!this.connected) return this.connecting;
    return !this.#out.isEmpty();
  }

  /** Closes the channel, without a word in the log. */
  override handleClose(): Handled {
    this.close();
  }

  /**
   * Reads no more, and closes when all is sent. A chat whose reading is paused has a handler at work,
   * which may still answer: it closes after `resumeReading`, which resumes nothing then.
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

declareState(AsyncChat.prototype, 'producerFifo', 'acOutBuffer');
declarePredicates(AsyncChat.prototype, 'readable', 'writable');

/** Joins the small pieces at the end, if they are many: each byte is copied once. */
function compact(pieces: Buffer[]): void {
  let start = pieces.length;
  while (start > 0 && (pieces[start - 1] as Buffer).length < SMALL) start -= 1;
  if (pieces.length - start < SMALL) return;
  pieces.push(Buffer.concat(pieces.splice(start)));
}

function copyOf(memory: Memory, start: number, end: number): Buffer {
  return Buffer.from(memory.buffer.subarray(start, end));
}

function asBuffer(data: Uint8Array): Buffer {
  if (Buffer.isBuffer(data)) return data;
  return Buffer.from(data.buffer, data.byteOffset, data.byteLength);
}

/**
 * How many bytes at the end of `haystack` are the beginning of `needle`, not all of it: 1 for
 * `"qwerty\r"` and `"\r\n"`, 0 for `"qwertydkjf"`. An empty needle has no beginning: 0. Python's
 * `find_prefix_at_end`, which returns −1 for that.
 */
export function findPrefixAtEnd(
  haystack: Uint8Array | string,
  needle: Uint8Array | string,
): number {
  const hay = typeof haystack === 'string' ? Buffer.from(haystack) : haystack;
  return prefixAtEnd(hay, 0, typeof needle === 'string' ? Buffer.from(needle) : needle);
}

/**
 * As Buffer's own, which takes five times as long for several bytes as for one, and the first byte of
 * a terminator is seldom anything else: so that is looked for, and for all of it only after a miss.
 */
function indexOf(haystack: Buffer, needle: Uint8Array, start: number): number {
  const at = haystack.indexOf(needle[0] as number, start);
  if (at === -1 || at + needle.length > haystack.length) return -1;
  for (let next = 1; next < needle.length; next += 1) {
    if (haystack[at + next] !== needle[next]) return haystack.indexOf(needle, at + 1);
  }
  return at;
}

/** O(needle²) at worst, and needles are short. */
function prefixAtEnd(haystack: Uint8Array, start: number, needle: Uint8Array): number {
  const end = haystack.length;
  for (let length = Math.min(needle.length - 1, end - start); length > 0; length -= 1) {
    let at = 0;
    while (at < length && haystack[end - length + at] === needle[at]) at += 1;
    if (at === length) return length;
  }
  return 0;
}
