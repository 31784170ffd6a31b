/// <reference types="node" preserve="true" />
// The records of a connection, one `await` at a time: for scripts, which have no use for a class with handlers.

import { type Dispatcher, endInput, sessionOf } from '../channels/dispatcher';
import { drainInput } from '../channels/session';
import { Fifo } from '../chat/fifo';
import { encodeText } from '../chat/producers/text';
import { checkTerminator, type Terminator } from '../chat/terminator';
import { badNumber, badRange, badType, checkDuration, checkOptions, checkSignal } from '../errors';
import { ERRNO } from '../kernel/platform/linux';
import { Socket, type SocketLike } from '../kernel/socket';
import { failure } from '../kernel/syscalls';
import { ChannelMap } from '../loop/channel-map';
import { loop } from '../loop/node-loop';
import { checkSource, handOver, type Source } from './hand-over';
import { ObservedChat, type Observer } from './observed-chat';

/** Options of `records`. */
export interface RecordsOptions {
  /**
   * The map that the channel stands in. The program runs a loop on it. Default: that of the channel given;
   * for a socket a map of its own, and `records` runs `loop()` on it.
   */
  map?: ChannelMap | undefined;
  /**
   * Records are strings in this encoding. It is that of a terminator and of written text as well. Default:
   * records are Buffers, and text is UTF-8.
   */
  encoding?: BufferEncoding | undefined;
  /** How long a record may be, in bytes without its terminator. Default: no limit. */
  maxRecordLength?: number | undefined;
  /**
   * How long `next` waits while nothing arrives, in milliseconds: the iteration then throws a SocketError with the
   * code `ETIMEDOUT`. Any byte counts, and so does a connect that succeeds. The time between two calls of `next`
   * does not, as the peer may be waiting for an answer. A `write` that waits alone rejects with the same error when
   * the kernel has taken nothing for this time. Default 0: no limit.
   */
  timeout?: number | undefined;
  /** Closes the socket when it is aborted: the iteration throws the signal's reason. */
  signal?: AbortSignal | undefined;
}

const ACTION = 'read records';
const OPTIONS = {
  map: true,
  encoding: true,
  maxRecordLength: true,
  timeout: true,
  signal: true,
} as const;

/** Reading pauses while so many records wait, or bytes. */
const MOST_RECORDS = 256;
const MOST_BYTES = 65536;

/**
 * Iterates over the records of a connection, and needs no class and no handler. Python has none.
 *
 * Without `map`, a socket is read by a loop of its own: nothing else has to run. With `map`, the program runs
 * `loop()` on that map, and without it the iteration waits for ever. `loopSync` serves no promises, so that
 * nothing arrives there.
 *
 * - *Slow consumers.* Reading pauses while 256 records or 64 KiB wait, until TCP flow control stops the sender.
 * - *The peer ends its stream.* The iteration ends. What follows the last terminator is a last record, as in
 *   Python and in `readline`, unless it is empty; a counted record may be shorter then. Each record can still be
 *   answered: the socket stays open until `next` finds no more, and what was written before that is sent.
 * - *A reset or an error.* Records that came before it are yielded, and then it is thrown: a SocketError, or
 *   `ERR_RECORD_TOO_LONG`, a RangeError. A peer that is silent for `timeout` ms is such an error as well.
 * - *`break`, `return`, a `throw` in the body.* The socket is closed, and what waits to be sent is dropped. To
 *   read on later, call `next()` in place of `for await`.
 *
 * The socket is closed in any case when the iteration is over. A program that stops calling `next()` before that
 * calls `close()`, or declares the records by `using`: until then the loop keeps the process alive.
 *
 * @param source a stream socket that is connected or connects, a `FileWrapper`, or a connected channel, which
 *   gives its socket up as for `toDuplex`
 * @param terminator what ends a record: bytes, a string, or a number of bytes, 1 at least
 * @throws {TypeError} `ERR_INVALID_ARG_TYPE` for any other source or terminator; `ERR_INVALID_ARG_VALUE` for an
 *   unknown option; `ERR_UNKNOWN_ENCODING`
 * @throws {RangeError} for an empty terminator, a number beyond `maxRecordLength`, and an option out of range
 *
 * @example
 * const socket = Socket.socket();
 * socket.connect({ host: '127.0.0.1', port: 8007 });
 * const lines = records(socket, '\r\n', { encoding: 'utf8' });
 * await lines.write('LIST\r\n');
 * for await (const line of lines) {
 *   if (line === '.') break;
 *   console.log(line);
 * }
 */
export function records(
  source: SocketLike | Dispatcher,
  terminator: Terminator,
  options: RecordsOptions & { encoding: BufferEncoding },
): Records<string>;
export function records(
  source: SocketLike | Dispatcher,
  terminator: Terminator,
  options?: RecordsOptions & { encoding?: undefined },
): Records<Buffer>;
export function records(
  source: SocketLike | Dispatcher,
  terminator: Terminator,
  options?: RecordsOptions,
): Records<Buffer | string>;
export function records(
  source: SocketLike | Dispatcher,
  terminator: Terminator,
  options: RecordsOptions = {},
): Records<Buffer | string> {
  checkOptions(ACTION, 'options', options, OPTIONS);
  const { map, encoding, maxRecordLength = Infinity, timeout = 0, signal } = options;
  if (encoding !== undefined && !Buffer.isEncoding(encoding)) throw unknownEncoding(encoding);
  if (maxRecordLength !== Infinity && !(Number.isInteger(maxRecordLength) && maxRecordLength > 0)) {
    throw badNumber(ACTION, 'maxRecordLength to be an integer of 1 or more', maxRecordLength);
  }
  checkDuration(ACTION, 'a timeout', timeout);
  checkSignal(ACTION, signal);
  const end = checkTerminator(terminator, ACTION, {
    useEncoding: true,
    encoding: encoding ?? 'utf8',
  });
  if (end === null || end === 0 || (end instanceof Uint8Array && end.length === 0)) {
    const hint = 'toDuplex() yields input as it comes';
    throw badRange(ACTION, 'a terminator that is not empty', terminator, hint);
  }
  if (typeof end === 'number' && end > maxRecordLength) {
    throw badRange(ACTION, `at most maxRecordLength (${maxRecordLength})`, end);
  }
  return new Records(checkSource(ACTION, source, map), end, options);
}

function unknownEncoding(encoding: unknown): TypeError {
  return Object.assign(badType(ACTION, 'an encoding of Node', encoding), {
    code: 'ERR_UNKNOWN_ENCODING',
  });
}

interface RecordObserver extends Observer {
  record(data: Buffer): void;
  timedOut(): void;
}

class RecordChat extends ObservedChat {
  readonly #end: Uint8Array | number;
  readonly #observer: RecordObserver;

  constructor(source: Source, map: ChannelMap, end: Uint8Array | number, observer: RecordObserver) {
    super(source.socket, map, observer);
    this.#end = end;
    this.#observer = observer;
    this.setTerminator(end);
  }

  override collectIncomingData(data: Buffer): void {
    this._collectIncomingData(data);
  }

  override foundTerminator(): void {
    // After a counted record the terminator is 0.
    if (typeof this.#end === 'number') this.setTerminator(this.#end);
    this.#observer.record(this._getData());
  }

  override handleTimeout(): void {
    this.#observer.timedOut();
  }

  /** The time of an idle timeout begins anew. */
  touch(): void {
    sessionOf(this).idle?.touch();
  }

  /** Input that another channel has received: goes through it in the next tick. */
  takeUp(input: Buffer): void {
    if (input.length === 0) return;
    const session = sessionOf(this);
    this.acInBuffer = input;
    session.holdsRecords = true;
    session.interestChanged();
  }
}

interface Waiter<Item> {
  resolve(result: IteratorResult<Item, undefined>): void;
  reject(error: unknown): void;
}

/**
 * The records of a connection: what `records` returns. An async iterator with a `write` for the answers.
 *
 * @typeParam Item `Buffer`, or `string` if an `encoding` was given
 */
export class Records<Item extends Buffer | string>
  implements AsyncIterableIterator<Item>, Disposable
{
  readonly #chat: RecordChat;
  readonly #encoding: BufferEncoding | undefined;
  readonly #signal: AbortSignal | undefined;
  /** Received and not yet asked for. */
  readonly #queue = new Fifo<Buffer>();
  /** Asked for and not yet received. One of the two is empty. */
  readonly #waiting = new Fifo<Waiter<Item>>();
  /** Those that wait until all is sent. */
  #writers: { resolve(): void; reject(error: unknown): void }[] = [];
  /** There will be no more records. */
  #over = false;
  /** To be thrown when the records before it have been yielded. */
  #failure: { readonly error: unknown } | null = null;
  /** The channel has closed: the reason, which `write` rejects with. */
  #closedBy: { readonly error: unknown } | null = null;
  /** The channel closes when all is sent: the iteration is over, or `shutdown` has asked for it. */
  #leaving = false;
  /** The map is ours, and no loop runs on it yet. */
  #needsLoop: boolean;

  /** @internal */
  constructor(source: Source, end: Uint8Array | number, options: RecordsOptions) {
    const { encoding, maxRecordLength = Infinity, timeout = 0, signal } = options;
    this.#encoding = encoding;
    this.#signal = signal;
    this.#needsLoop = source.map === null;
    const chat = new RecordChat(source, source.map ?? new ChannelMap(), end, {
      record: (data) => this.#add(data),
      ended: () => this.#ended(),
      failed: (error) => this.#failed(error),
      moved: () => this.#moved(),
      sent: () => this.#sent(),
      closed: () => this.#closed(),
      leave: () => this.#leave(),
      timedOut: () => this.#timedOut(),
    });
    this.#chat = chat;
    chat.maxRecordLength = maxRecordLength;
    chat.setIdleTimeout(timeout, { direction: 'input' });
    const { input, failure: loss } = handOver(source, chat);
    chat.takeUp(input);
    if (loss !== null) {
      chat[endInput]();
      this.#failed(loss);
    }
    if (signal?.aborted) this.#abort();
    else signal?.addEventListener('abort', this.#abort, { once: true });
  }

  // -------------------------------------------------------------------------------------------
  // From the channel.

  #add(data: Buffer): void {
    if (this.#over) return;
    const [found, waiter] = this.#waiting.pop();
    if (found) {
      waiter.resolve({ done: false, value: this.#itemOf(data) });
      return;
    }
    const queue = this.#queue;
    queue.push(data);
    if (queue.length >= MOST_RECORDS || queue.byteLength >= MOST_BYTES) this.#chat.pauseReading();
  }

  #itemOf(data: Buffer): Item {
    return (this.#encoding === undefined ? data : data.toString(this.#encoding)) as Item;
  }

  #ended(): void {
    const rest = this.#chat._getData();
    if (rest.length > 0) this.#add(rest);
    this.#over = true;
    // Otherwise the program is at work on a record, which it may answer. It will call next() again.
    if (!this.#waiting.isEmpty()) this.#closeWhenSent();
  }

  #failed(error: unknown): void {
    // After the end of the input, which was orderly, this concerns what is still to be written.
    if (!this.#over) this.#failure = { error };
    this.#closedBy ??= { error };
    this.#chat.close();
  }

  readonly #abort = (): void => {
    this.#queue.clear();
    this.#failed(this.#signal?.reason);
  };

  /** Output counts where the program waits for nothing else. */
  #moved(): void {
    if (this.#over || this.#waiting.isEmpty()) this.#chat.touch();
  }

  #timedOut(): void {
    const reads = !this.#waiting.isEmpty();
    // Nobody has waited for the peer: the program is at work, and the peer may be waiting for its answer.
    if (!reads && this.#writers.length === 0) return;
    this.#failed(failure(-ERRNO.ETIMEDOUT, reads && !this.#over ? 'recv' : 'send'));
  }

  /** Nothing waits to be sent. */
  #sent(): void {
    for (const writer of this.#writers.splice(0)) writer.resolve();
    if (this.#leaving) this.#close();
  }

  /** `shutdown`: reads no more. */
  #leave(): void {
    this.#over = true;
    this.#chat.pauseReading();
    this.#closeWhenSent();
  }

  #closeWhenSent(): void {
    this.#leaving = true;
    if (!this.#chat.hasOutput()) this.#close();
  }

  #closed(): void {
    this.#over = true;
    this.#signal?.removeEventListener('abort', this.#abort);
    this.#closedBy ??= { error: closedError() };
    const { error } = this.#closedBy;
    for (const writer of this.#writers.splice(0)) writer.reject(error);
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const { resolve, reject } of waiting) this.#end().then(resolve, reject);
  }

  #close(): void {
    const { socket } = this.#chat;
    // A socket that is closed over unread input resets the connection, and the last output is lost.
    if (socket instanceof Socket) drainInput(socket);
    this.#chat.close();
  }

  // -------------------------------------------------------------------------------------------
  // For the program.

  /**
   * The next record. Several may be asked for at a time.
   * @returns a promise of the record, or of the end, which comes when all that was written is sent
   */
  next(): Promise<IteratorResult<Item, undefined>> {
    this.#run();
    this.#chat.closeIfLost();
    const queue = this.#queue;
    const [found, data] = queue.pop();
    if (found) {
      if (queue.isEmpty() && !this.#over) this.#chat.resumeReading();
      return Promise.resolve({ done: false, value: this.#itemOf(data) });
    }
    if (this.#closedBy !== null) return this.#end();
    // The peer may have waited for the program until now.
    if (this.#waiting.isEmpty()) this.#chat.touch();
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      if (this.#over) this.#closeWhenSent();
    });
  }

  /** The error is thrown once. */
  #end(): Promise<IteratorResult<Item, undefined>> {
    const failure = this.#failure;
    this.#failure = null;
    return failure === null ? Promise.resolve(END) : Promise.reject(failure.error);
  }

  /**
   * Sends `data` after all that was written before. It is not copied while it waits, so it must not be changed.
   * @returns a promise that resolves when the kernel has taken everything, and rejects when the channel closes
   *   first: with its error, or with the code `ERR_CHANNEL_CLOSED`
   * @throws {TypeError} for what is neither a string nor a Uint8Array
   * @throws {RangeError} `ERR_UNENCODABLE_CHARACTER` for a string that `encoding` cannot hold
   */
  async write(data: Uint8Array | string): Promise<void> {
    const isText = typeof data === 'string';
    if (!isText && !(data instanceof Uint8Array)) {
      throw badType('write', 'a Uint8Array or a string', data);
    }
    const bytes = isText ? encodeText(data, this.#encoding ?? 'utf8', 'write') : data;
    const chat = this.#chat;
    if (this.#closedBy === null) {
      this.#run();
      chat.producerFifo.push(bytes);
      if (this.#waiting.isEmpty() && this.#writers.length === 0) chat.touch();
      if (!chat.sendNow()) {
        await new Promise<void>((resolve, reject) => this.#writers.push({ resolve, reject }));
        return;
      }
    }
    // Sending may have closed the channel.
    if (this.#closedBy !== null) throw this.#closedBy.error;
  }

  /** Closes the socket. Records that wait are dropped, and the iteration is over. */
  close(): void {
    this.#queue.clear();
    this.#failure = null;
    this.#close();
  }

  /** As `close`: called by `break` and `return` in a `for await`. */
  return(): Promise<IteratorResult<Item, undefined>> {
    this.close();
    return Promise.resolve(END);
  }

  /** As `close`. @returns a promise that rejects with `error` */
  throw(error?: unknown): Promise<IteratorResult<Item, undefined>> {
    this.close();
    return Promise.reject(error);
  }

  /** The same object: `for await` calls this. */
  [Symbol.asyncIterator](): this {
    return this;
  }

  /** Closes the socket at the end of a block: `using lines = records(…)`. */
  [Symbol.dispose](): void {
    this.close();
  }

  /** A map of our own has a loop of our own, from the first call on. */
  #run(): void {
    if (!this.#needsLoop) return;
    this.#needsLoop = false;
    loop({ map: this.#chat.map }).catch((error: unknown) => this.#failed(error));
  }
}

const END: IteratorResult<never, undefined> = Object.freeze({ done: true, value: undefined });

function closedError(): Error {
  return Object.assign(new Error('Cannot write: the channel is closed'), {
    code: 'ERR_CHANNEL_CLOSED',
  });
}
