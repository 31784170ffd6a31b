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
// small items together, from which `initiateSend` sends. One thing is put off: pushes made while
// this chat handles a read event leave when the event ends, together, as a burst of requests is best
// answered by one send. Until then they are copied into a buffer that all chats share
// (`gather`), and nobody can tell, because whoever looks, sends: close(), the attributes
// about output, the socket, a nested poll(), the end of the process.

import type { ChannelMap } from './channel-map';
import { beforeClose, Dispatcher, type Handled, inputOver, life } from './dispatcher';
import { badRange, badType, notImplemented } from './errors';
import { Fifo } from './fifo';
import { hold, sendHeld, unhold } from './held';
import { adopt, fail } from './loop';
import type { Producer } from './producers';
import { Socket, type SocketLike } from './socket';
import { trackAttributes, trackPredicates } from './tracking';

/**
 * What ends a record: these bytes, or after this many bytes. null, 0 and empty: nothing does, all
 * input is collected as it comes.
 */
export type Terminator = Uint8Array | string | number | null;

/** What stands on the fifo: data, producers of it, and null where the channel is to be closed. */
export type FifoItem = Uint8Array | Producer | null;

const NOTHING = Buffer.alloc(0);

/** Sends per write event, so that one fast reader of a long answer leaves the others their turn. */
const SENDS_PER_EVENT = 16;

/** Shared by all chats, one at a time, to put small pieces of output side by side. */
const gather = Buffer.allocUnsafeSlow(65536);
/** What is larger is not worth copying. */
const LARGEST_GATHERED = 16384;

/**
 * A channel for protocols made of records. Python's `asynchat.async_chat`.
 *
 * @example
 * class LineEcho extends AsyncChat {
 *   constructor(socket: Socket) {
 *     super(socket);
 *     this.setTerminator('\r\n');
 *   }
 *   collectIncomingData(data: Buffer) {
 *     this._collectIncomingData(data);
 *   }
 *   foundTerminator() {
 *     this.push(`${this._getData()}\r\n`);
 *   }
 * }
 */
export abstract class AsyncChat extends Dispatcher {
  /** How much a read event receives at most, in bytes. Python's `ac_in_buffer_size`. */
  acInBufferSize = 65536;
  /** How much is given to the kernel at a time, in bytes. Python's `ac_out_buffer_size`. */
  acOutBufferSize = 65536;
  /** Whether strings are welcome. When false they are refused, as Python does by default. */
  useEncoding = true;
  /** How strings become bytes. Python's default is `latin-1`. */
  encoding: BufferEncoding = 'utf8';
  /** `push` returns false while more bytes than these wait. Default 1 MiB. */
  highWaterMark = 1024 * 1024;
  /** What `_collectIncomingData` has collected. */
  incoming: Buffer[] = [];
  /** As set by `setTerminator`; undefined until then. During a counted record: what is missing. */
  terminator: Uint8Array | number | null | undefined;

  /** Received and not yet gone through: `#input` from `#inputAt` on. */
  #input: Buffer = NOTHING;
  #inputAt = 0;

  #fifo: Fifo<FifoItem>;
  /** Taken from the fifo and not yet by the kernel. */
  #output: Uint8Array = NOTHING;
  /** Data bytes on the fifo; a producer counts when it has been asked. */
  #queued = 0;
  /** `gather` is this chat's for a read event, and holds this many bytes of it. */
  #gathering = false;
  #gathered = 0;
  #refilling = false;
  #drainDue = false;

  constructor(socket: SocketLike | null = null, map?: ChannelMap) {
    super(socket, map);
    this.#fifo = new Fifo();
    this.#fifo.watcher = this;
  }

  // -------------------------------------------------------------------------------------------
  // To be implemented.

  /**
   * Some input of the current record: any amount, any number of times. `data` is the program's to
   * keep. Python's `collect_incoming_data`; `_collectIncomingData` is a ready answer to it.
   */
  collectIncomingData(_data: Buffer): Handled {
    throw notImplemented('collectIncomingData');
  }

  /** The record is complete. Python's `found_terminator`. */
  foundTerminator(): Handled {
    throw notImplemented('foundTerminator');
  }

  /** Appends to `incoming`. */
  _collectIncomingData(data: Buffer): void {
    this.incoming.push(data);
  }

  /** All of `incoming`, which is empty then. */
  _getData(): Buffer {
    const data =
      this.incoming.length === 1 ? (this.incoming[0] as Buffer) : Buffer.concat(this.incoming);
    this.incoming = [];
    return data;
  }

  // -------------------------------------------------------------------------------------------
  // Input.

  /**
   * Sets what ends a record, from the next byte on. Python's `set_terminator`.
   * @throws {RangeError} for a number that is negative or no integer
   */
  setTerminator(terminator: Terminator): void {
    if (typeof terminator === 'number' && !(Number.isSafeInteger(terminator) && terminator >= 0)) {
      throw badRange('set a terminator', 'a number of bytes', terminator);
    }
    this.terminator = this.#terminatorBytes(terminator);
  }

  /** Asked before each step through the input. Python's `get_terminator`. */
  getTerminator(): Terminator | undefined {
    return this.terminator;
  }

  #terminatorBytes(terminator: Terminator | undefined): Uint8Array | number | null {
    if (terminator === null || typeof terminator === 'number') return terminator;
    if (terminator instanceof Uint8Array) return terminator;
    if (typeof terminator === 'string') return this.#encode('set a terminator', terminator);
    throw badType('look for a terminator', 'one that setTerminator takes', terminator);
  }

  #encode(action: string, text: string): Buffer {
    if (!this.useEncoding) throw badType(action, 'a Uint8Array (useEncoding is false)', text);
    return Buffer.from(text, this.encoding);
  }

  /** What has been received and not yet been given to the program. Python's `ac_in_buffer`. */
  get acInBuffer(): Buffer {
    return this.#input.subarray(this.#inputAt);
  }

  set acInBuffer(data: Uint8Array) {
    this.#input = asBuffer(data);
    this.#inputAt = 0;
  }

  override handleReadEvent(): Handled {
    // A read event inside another one's handler sends at once.
    this.#gathering = hold(this);
    if (!this.#gathering) return super.handleReadEvent();
    try {
      return super.handleReadEvent();
    } finally {
      this.#endGathering();
    }
  }

  /** Receives once, and goes through what there is. Python's `handle_read`. */
  override handleRead(): Handled {
    let data: Uint8Array | null;
    try {
      data = this.recv(this.acInBufferSize);
    } catch (error) {
      fail(this, error);
      return;
    }
    if (data !== null && data.length > 0) {
      const held = this.#input.length - this.#inputAt;
      this.#input = held === 0 ? asBuffer(data) : Buffer.concat([this.acInBuffer, data]);
      this.#inputAt = 0;
    }
    this.#consume();
  }

  /**
   * Goes through the input until it is used up, or only the start of a terminator is left; close()
   * and discardBuffers() use it up. A handler that throws has had its record, so the next one's
   * turn comes as soon as handleError has been told.
   */
  #consume(): void {
    while (this.#inputAt < this.#input.length) {
      const terminator = this.#terminatorBytes(this.getTerminator());
      try {
        if (terminator === null || terminator === 0) this.#collect(this.#input.length);
        else if (typeof terminator === 'number') this.#consumeCounted(terminator);
        else if (terminator.length === 0) this.#collect(this.#input.length);
        else if (!this.#consumeDelimited(terminator)) return;
      } catch (error) {
        fail(this, error);
      }
    }
    // Nothing is left: do not keep what the program has let go of.
    this.#dropInput();
  }

  #dropInput(): void {
    this.#input = NOTHING;
    this.#inputAt = 0;
  }

  /** A record of a known length. */
  #consumeCounted(missing: number): void {
    const here = this.#input.length - this.#inputAt;
    if (here < missing) {
      const before = this.terminator;
      this.#collect(this.#input.length);
      // Unless the program has set another one just now.
      if (typeof before === 'number' && this.terminator === before) this.terminator = before - here;
      return;
    }
    if (!this.#collect(this.#inputAt + missing)) return;
    // 0 means "for ever": a program that does not set a new terminator now gets all that follows.
    this.terminator = 0;
    adopt(this, this.foundTerminator());
  }

  /**
   * A record that ends with certain bytes. Three cases:
   * 1. they are there: collect what precedes them, if anything, and tell;
   * 2. the input ends with their beginning: collect what precedes that, and wait for more;
   * 3. neither: collect everything.
   * @returns false in the second case
   */
  #consumeDelimited(terminator: Uint8Array): boolean {
    const input = this.#input;
    const index = input.indexOf(terminator, this.#inputAt);
    if (index !== -1) {
      const open = this.#collect(index, index + terminator.length);
      if (open) adopt(this, this.foundTerminator());
      return true;
    }
    const held = prefixAtEnd(input, this.#inputAt, terminator);
    this.#collect(input.length - held);
    // Unless the program has dropped or replaced it just now.
    return held === 0 || this.#input !== input;
  }

  /**
   * Gives the input up to `end` to the program; an empty piece is none. It counts as used before the
   * program sees it: what its handler does, a nested poll() for one, starts behind it.
   * @param next where to go on
   * @returns false when the program has closed the channel
   */
  #collect(end: number, next = end): boolean {
    const start = this.#inputAt;
    this.#inputAt = next;
    if (end === start) return true;
    const before = this[life];
    adopt(this, this.collectIncomingData(this.#input.subarray(start, end)));
    return this[life] === before;
  }

  /** The beginning of a terminator that will never be completed is data. @internal */
  override [inputOver](): void {
    this.#consume();
    if (this.#inputAt < this.#input.length) this.#collect(this.#input.length);
  }

  // -------------------------------------------------------------------------------------------
  // Output.

  /** What waits to be sent, from the program. Python's `producer_fifo`. */
  get producerFifo(): Fifo<FifoItem> {
    this.#sendGathered();
    return this.#fifo;
  }

  set producerFifo(fifo: Fifo<FifoItem>) {
    if (!(fifo instanceof Fifo)) throw badType('set producerFifo', 'a Fifo', fifo);
    this.#sendGathered();
    this.#fifo.watcher = null;
    this.#fifo = fifo;
    fifo.watcher = this;
    this.interestChanged();
  }

  /** What waits to be sent, from the fifo. Python's `ac_out_buffer`. */
  get acOutBuffer(): Buffer {
    this.#sendGathered();
    return asBuffer(this.#output);
  }

  set acOutBuffer(data: Uint8Array) {
    if (!(data instanceof Uint8Array)) throw badType('set acOutBuffer', 'a Uint8Array', data);
    this.#sendGathered();
    this.#setOutput(data);
  }

  /** Bytes that wait to be sent. Producers count for what they have been asked for. */
  get writableLength(): number {
    return this.#queued + this.#output.length + this.#gathered;
  }

  override get socket(): SocketLike | null {
    this.#sendGathered();
    return super.socket;
  }

  override set socket(socket: SocketLike | null) {
    this.#sendGathered();
    super.socket = socket;
  }

  /**
   * Sends `data`, as soon as all that was pushed before is sent. It is not copied while it waits, so
   * it must not be changed. Python's `push`.
   *
   * @returns false when more than `highWaterMark` bytes wait now, so that it is time to stop until
   *   `handleDrain`; and false, with a warning in the log, when the channel is being closed
   *   (`closeWhenDone`) and the data is refused
   * @throws {TypeError} for what is neither a string nor a Uint8Array
   */
  push(data: Uint8Array | string): boolean {
    const bytes = typeof data === 'string' ? this.#encode('push', data) : data;
    if (!(bytes instanceof Uint8Array)) throw badType('push', 'a Uint8Array or a string', data);
    if (this.#refused('push')) return false;
    if (bytes.length === 0) return true;
    if (this.#gathering && this.#gatherPush(bytes)) return this.#belowMark();
    this.#sendGathered();
    const size = this.#chunkSize();
    this.#queued += bytes.length;
    if (bytes.length <= size) this.#fifo.push(bytes);
    else
      for (let at = 0; at < bytes.length; at += size)
        this.#fifo.push(bytes.subarray(at, at + size));
    this.initiateSend();
    return this.#belowMark();
  }

  /**
   * Sends what `producer` yields, as soon as all that was pushed before is sent; it is asked
   * whenever there is room. Data is taken as well. Python's `push_with_producer`.
   * @returns as `push`
   */
  pushWithProducer(producer: Producer | Uint8Array | string): boolean {
    if (typeof producer === 'string' || producer instanceof Uint8Array) return this.push(producer);
    if (typeof producer?.more !== 'function') {
      throw badType('push a producer', 'an object with a method more()', producer);
    }
    if (this.#refused('pushWithProducer')) return false;
    this.#sendGathered();
    this.#fifo.push(producer);
    this.initiateSend();
    return this.#belowMark();
  }

  /** Closes the channel when all that has been pushed is sent. Python's `close_when_done`. */
  closeWhenDone(): void {
    if (!this.#isClosingWhenDone()) this.#fifo.push(null);
  }

  #chunkSize(): number {
    const size = this.acOutBufferSize;
    if (!(size >= 1)) throw badRange('send', 'an acOutBufferSize of 1 or more', size);
    return size;
  }

  #isClosingWhenDone(): boolean {
    return this.#fifo.last() === null;
  }

  #refused(what: string): boolean {
    if (!this.#isClosingWhenDone()) return false;
    this.logInfo(`${what} after closeWhenDone: refused`, 'warning');
    return true;
  }

  #belowMark(): boolean {
    if (this.writableLength <= this.highWaterMark) return true;
    this.#drainDue = true;
    return false;
  }

  /** All has been sent, after a `push` returned false. Does nothing, unless overridden. */
  handleDrain(): Handled {}

  override handleWrite(): Handled {
    this.initiateSend();
  }

  /**
   * Sends until nothing is left, the kernel takes no more, or it is somebody else's turn. Python's
   * `initiate_send`. Does nothing while there is no connection.
   */
  initiateSend(): void {
    // A producer that pushes from within more() is heard when it returns.
    if (this.#refilling) return;
    this.#sendGathered();
    for (let sends = 0; sends < SENDS_PER_EVENT && this.connected; sends += 1) {
      if (this.#output.length === 0) this.refillBuffer();
      if (this.#output.length === 0 || !this.connected) break;
      if (!this.#sendOutput()) break;
    }
    this.#announceDrain();
  }

  /** @returns whether the kernel took all it was given */
  #sendOutput(): boolean {
    const size = this.#chunkSize();
    const output = this.#output;
    const chunk = output.length <= size ? output : output.subarray(0, size);
    const sent = this.#give(chunk);
    // handleClose or an override of send may have thrown the buffer away.
    if (this.#output === output && sent > 0) this.#setOutput(output.subarray(sent));
    return sent === chunk.length;
  }

  #give(data: Uint8Array): number {
    try {
      return this.send(data);
    } catch (error) {
      fail(this, error);
      return 0;
    }
  }

  #announceDrain(): void {
    if (!this.#drainDue || this.writableLength > 0 || !this.#fifo.isEmpty()) return;
    this.#drainDue = false;
    adopt(this, this.handleDrain());
  }

  #setOutput(data: Uint8Array): void {
    const wasEmpty = this.#output.length === 0;
    this.#output = data.length === 0 ? NOTHING : data;
    if (wasEmpty !== (data.length === 0)) this.interestChanged();
  }

  /**
   * Tops `acOutBuffer` up from the head of the fifo, small items together, to `acOutBufferSize`
   * bytes. A producer that is exhausted is dropped for the next. When null comes up and nothing is
   * left to be sent, the channel is closed. Python's `refill_buffer`, which later versions lack.
   */
  refillBuffer(): void {
    if (this.#refilling) return;
    this.#sendGathered();
    this.#refilling = true;
    try {
      this.#refill();
    } finally {
      this.#refilling = false;
    }
    if (this.#output.length > 0 || this.#fifo.isEmpty() || this.#fifo.first() !== null) return;
    this.#fifo.pop();
    adopt(this, this.handleClose());
  }

  #refill(): void {
    const size = this.acOutBufferSize;
    // One piece alone is sent from where it is.
    if (this.#output.length === 0) {
      const first = this.#headData();
      if (first === null) return;
      this.#takeHead(first);
      this.#setOutput(first);
    }
    if (this.#output.length >= Math.min(size, LARGEST_GATHERED) || this.#fifo.isEmpty()) return;
    const pieces = [this.#output];
    let length = this.#output.length;
    try {
      for (let data = this.#headData(); data !== null; data = this.#headData()) {
        if (length + data.length > size) break;
        this.#takeHead(data);
        pieces.push(data);
        length += data.length;
      }
    } finally {
      // Also when a producer threw: what came before it is not its fault.
      if (pieces.length > 1) this.#setOutput(Buffer.concat(pieces, length));
    }
  }

  /** The data at the head of the fifo, with producers asked for theirs; null: none, or the end. */
  #headData(): Uint8Array | null {
    while (!this.#fifo.isEmpty()) {
      const head = this.#fifo.first();
      if (head === null) return null;
      if (head instanceof Uint8Array) {
        if (head.length > 0) return head;
        this.#fifo.pop();
        continue;
      }
      const piece = this.#ask(head);
      // It may have called discardBuffers, or taken itself off.
      if (this.#fifo.isEmpty() || this.#fifo.first() !== head) continue;
      if (piece.length === 0) {
        this.#fifo.pop();
      } else {
        this.#fifo.pushFront(piece);
        this.#queued += piece.length;
      }
    }
    return null;
  }

  #ask(producer: Producer): Uint8Array {
    const piece = producer.more();
    if (piece === null || piece === undefined) return NOTHING;
    if (typeof piece === 'string') return this.#encode('send what more() returned', piece);
    if (piece instanceof Uint8Array) return piece;
    throw badType('send what more() returned', 'a Uint8Array, string, null or undefined', piece);
  }

  #takeHead(data: Uint8Array): void {
    this.#fifo.pop();
    this.#queued = Math.max(0, this.#queued - data.length);
  }

  // -------------------------------------------------------------------------------------------
  // Output of a read event, put off until its end.

  #endGathering(): void {
    this.#gathering = false;
    unhold();
    this.#sendGathered();
  }

  /** @returns whether the bytes have been taken */
  #gatherPush(bytes: Uint8Array): boolean {
    const nothingWaits = this.#output.length === 0 && this.#fifo.isEmpty();
    if (!this.connected || !nothingWaits || bytes.length > LARGEST_GATHERED) return false;
    if (this.#gathered + bytes.length > Math.min(gather.length, this.acOutBufferSize)) return false;
    gather.set(bytes, this.#gathered);
    this.#gathered += bytes.length;
    return true;
  }

  /** @internal */
  [sendHeld](): void {
    this.#sendGathered();
  }

  /** Sends what this read event has pushed so far. */
  #sendGathered(): void {
    const length = this.#gathered;
    if (length === 0) return;
    this.#gathered = 0;
    const shared = gather.subarray(0, length);
    // The kernel copies at once. Somebody else's send() may keep what it gets.
    const copies = this.send === AsyncChat.prototype.send && super.socket instanceof Socket;
    const data = copies ? shared : Buffer.from(shared);
    const sent = this.#give(data);
    if (sent < length) this.#setOutput(Buffer.from(data.subarray(sent)));
    this.#announceDrain();
  }

  /** As `Dispatcher.send`: past the queue, but not past what a read event has pushed before. */
  override send(data: Uint8Array): number {
    this.#sendGathered();
    return super.send(data);
  }

  /** @internal */
  override [beforeClose](): void {
    this.#sendGathered();
    // A record that is being gone through ends here.
    this.#dropInput();
  }

  /** Only for emergencies: forgets all input and output that waits. Python's `discard_buffers`. */
  discardBuffers(): void {
    this.#sendGathered();
    this.#dropInput();
    this.incoming = [];
    this.#fifo.clear();
    this.#queued = 0;
    this.#drainDue = false;
    this.#setOutput(NOTHING);
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
    return this.#output.length > 0 || !this.#fifo.isEmpty();
  }

  /** Closes the channel, without a word in the log. */
  override handleClose(): Handled {
    this.close();
  }

  /** The peer has ended its stream, and `allowHalfOpen` is set: closes when all is sent. */
  override handleEof(): Handled {
    this.closeWhenDone();
  }
}

trackAttributes(AsyncChat.prototype, 'producerFifo', 'acOutBuffer');
trackPredicates(AsyncChat.prototype, 'readable', 'writable');

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
