/// <reference types="node" preserve="true" />
// A channel as a stream of Node's, for what is written for net.Socket: http, tls, readline, pipeline.
//
//   kernel ──> recv ──> push()      push() returns false: pauseReading(), until _read()
//   kernel <── send <── _write()    the callback is called when the kernel has taken the data
//
// The stream is the channel's only user. The channel stands in the map, and the loop drives it.

import type { AddressInfo } from 'node:net';
import { addAbortSignal, Duplex } from 'node:stream';
import type { Dispatcher } from '../channels/dispatcher';
import { drainInput } from '../channels/session';
import {
  badType,
  checkBoolean,
  checkDuration,
  checkInteger,
  checkOptions,
  checkSignal,
} from '../errors';
import type { Address } from '../kernel/address';
import {
  AF_UNIX,
  IPPROTO_TCP,
  SHUT_WR,
  SO_KEEPALIVE,
  SOL_SOCKET,
  TCP_KEEPIDLE,
  TCP_NODELAY,
} from '../kernel/platform/constants';
import { Socket, type SocketLike } from '../kernel/socket';
import { type ChannelMap, socketMap } from '../loop/channel-map';
import { LONGEST_WAIT } from '../loop/clock';
import { checkSource, handOver, type Source } from './hand-over';
import { callProgram, ObservedChat, type Observer } from './observed-chat';

/** Options of `toDuplex`. */
export interface DuplexOptions {
  /** The map that the channel stands in. Default: that of the channel given, or `socketMap`. */
  map?: ChannelMap | undefined;
  /**
   * Whether the stream can still be written to when the peer has ended its side. Default false, as for
   * `net.Socket`: the stream then ends its own side as well. Under a `tls.TLSSocket` that answers after its
   * peer has ended, set it.
   */
  allowHalfOpen?: boolean | undefined;
  /**
   * How many bytes may wait in each direction until the stream stops reading, and `write` returns false.
   * Default: Node's. A read may bring up to 64 KiB beyond it.
   */
  highWaterMark?: number | undefined;
  /** Destroys the stream when it is aborted, with an AbortError. */
  signal?: AbortSignal | undefined;
}

const ACTION = 'make a stream';
const OPTIONS = { map: true, allowHalfOpen: true, highWaterMark: true, signal: true } as const;

type Callback = (error?: Error | null) => void;

/**
 * Makes a `stream.Duplex` of a connection, for what takes a `net.Socket`: Node's http server, `tls`,
 * `readline`, `pipeline`. Python has none.
 *
 * The stream has the methods and properties of `net.Socket` that these need: `setTimeout`, `setNoDelay`,
 * `setKeepAlive`, `remoteAddress`, `localPort`, `bytesRead`, `connecting`, `destroySoon` and so on, and the
 * events `connect`, `ready` and `timeout`. A reset is the event `error` with the code `ECONNRESET`, also when the
 * channel has heard of it before (`toDuplex(this)` in `handleClose`). The stream runs while `loop()` runs on its map; under `loopSync` no promise and no `nextTick` is served, so a
 * stream does not work there.
 *
 * A channel gives its socket up. What it has pushed leaves first, and what it has received and not yet
 * delivered (`acInBuffer`) is read first. What `collectIncomingData` was given is the program's: hand it back
 * by `duplex.unshift(chat.takeCollected())`. The channel is closed then, without its socket: its `close` is
 * called, and none of its other handlers any more. A `flushed()` that is pending rejects with
 * `ERR_CHANNEL_CLOSED`, although what it waits for is sent: await it before.
 *
 * `shutdown()` ends the stream when everything is sent that has been written. `ref` and `unref` do nothing:
 * the loop keeps the process alive.
 *
 * @param source a stream socket that is connected or connects, anything with its methods, or a connected
 *   channel. A channel that connects can be handed over in `handleConnect`
 * @throws {TypeError} `ERR_INVALID_ARG_TYPE` for any other source, and for a chat that is about to close
 *   (`closeWhenDone`); `ERR_INVALID_ARG_VALUE` for an unknown option
 * @throws {RangeError} `ERR_OUT_OF_RANGE` for an invalid `highWaterMark`. `EBADF` when sending what the channel
 *   had pushed has found that the peer is gone, and closed the channel
 * @throws {unknown} what `close` of the channel throws; the socket is closed then
 *
 * @example
 * const server = http.createServer((request, response) => response.end('hello\n'));
 *
 * listen({ host: '127.0.0.1', port: 8080 }, (socket) => server.emit('connection', toDuplex(socket)));
 */
export function toDuplex(
  source: SocketLike | Dispatcher,
  options: DuplexOptions = {},
): ChannelDuplex {
  checkOptions(ACTION, 'options', options, OPTIONS);
  const { map, allowHalfOpen, highWaterMark, signal } = options;
  if (allowHalfOpen !== undefined) {
    checkBoolean(ACTION, 'allowHalfOpen to be true or false', allowHalfOpen);
  }
  if (highWaterMark !== undefined) {
    checkInteger(ACTION, 'highWaterMark', highWaterMark, 0, 2 ** 31 - 1);
  }
  checkSignal(ACTION, signal);
  return new ChannelDuplex(checkSource(ACTION, source, map), options);
}

interface StreamObserver extends Observer {
  connected(): void;
  received(data: Buffer): boolean;
}

/** The channel under a stream. */
class StreamChannel extends ObservedChat {
  readonly #observer: StreamObserver;

  constructor(socket: SocketLike, map: ChannelMap, observer: StreamObserver) {
    super(socket, map, observer);
    this.#observer = observer;
    this.setTerminator(null);
    // Until the stream asks for input.
    this.pauseReading();
  }

  override collectIncomingData(data: Buffer): void {
    if (!this.#observer.received(data)) this.pauseReading();
  }

  /** Never called, as there is no terminator. */
  override foundTerminator(): void {}

  override handleConnectEvent(): void {
    const { connected } = this;
    super.handleConnectEvent();
    if (!connected && this.connected) this.#observer.connected();
  }
}

/**
 * A connection as a stream of Node's: what `toDuplex` returns. A `stream.Duplex` with what Node's own modules
 * use of `net.Socket`.
 */
export class ChannelDuplex extends Duplex {
  readonly #channel: StreamChannel;
  readonly #socket: SocketLike;
  /** The callbacks of `_write` and `_final`, while output waits. */
  #written: Callback | null = null;
  #finished: Callback | null = null;
  #timeout = 0;
  #timer: NodeJS.Timeout | null = null;
  #localAddress: Address | null = null;

  /** @internal */
  constructor(source: Source, options: DuplexOptions) {
    const { allowHalfOpen = false, highWaterMark, signal } = options;
    super({ allowHalfOpen, ...(highWaterMark === undefined ? {} : { highWaterMark }) });
    const { socket, map } = source;
    this.#socket = socket;
    this.#channel = new StreamChannel(socket, map ?? socketMap, {
      connected: () => this.#connected(),
      received: (data) => this.#received(data),
      ended: () => this.#inputEnded(),
      failed: (error) => this.#failed(error),
      moved: () => this.#timer?.refresh(),
      sent: () => this.#sent(),
      closed: () => this.destroy(),
      leave: () => this.destroySoon(),
    });
    const { input, failure } = handOver(source, this.#channel);
    if (input.length > 0) this.push(input);
    if (signal !== undefined) addAbortSignal(signal, this);
    if (failure !== null) this.destroy(failure as Error);
    // As net.Socket: reads up to the mark before anybody asks, and so hears of the end and of a reset.
    else if (this.#channel.connected) this.read(0);
  }

  // -------------------------------------------------------------------------------------------
  // From the channel.

  #connected(): void {
    this.#channel.addr ??= this.#socket.getPeerName?.() ?? null;
    callProgram(() => {
      this.emit('connect');
      this.emit('ready');
      this.read(0);
    });
  }

  /** @returns whether the stream wants more */
  #received(data: Buffer): boolean {
    this.#timer?.refresh();
    let more = true;
    callProgram(() => {
      more = this.push(data);
    });
    return more;
  }

  #inputEnded(): void {
    callProgram(() => {
      this.push(null);
      // Tells of the end if nothing is left to be read, even if nobody reads.
      this.read(0);
    });
  }

  #failed(error: unknown): void {
    // Both sides have ended. What has been received is still to be read, and the socket has no more to tell.
    if (this.#channel.inputEnded && this.writableFinished) this.#channel.delChannel();
    else this.destroy(error as Error);
  }

  /** Nothing waits to be sent. */
  #sent(): void {
    const written = this.#written;
    this.#written = null;
    // May write again, or end the stream.
    if (written !== null) callProgram(written);
    if (this.#finished !== null && !this.#channel.hasOutput()) this.#shutDown(this.#finished);
  }

  /** Ends our side, as all has been sent. */
  #shutDown(finished: Callback): void {
    this.#finished = null;
    let failure: Error | null = null;
    try {
      this.#socket.shutdown?.(SHUT_WR);
    } catch (error) {
      // The peer has reset the connection: reading will tell.
      if ((error as { code?: unknown }).code !== 'ENOTCONN') failure = error as Error;
    }
    callProgram(() => finished(failure));
  }

  // -------------------------------------------------------------------------------------------
  // To the channel. Called by Node.

  /** @internal */
  override _read(): void {
    this.#channel.resumeReading();
  }

  /** @internal */
  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: Callback): void {
    this.#write([{ chunk }], callback);
  }

  /** All that was written while output waited, or while the stream was corked. @internal */
  override _writev(chunks: { chunk: Buffer }[], callback: Callback): void {
    this.#write(chunks, callback);
  }

  #write(chunks: { chunk: Buffer }[], callback: Callback): void {
    const channel = this.#channel;
    this.#written = callback;
    // As in net.Socket, a write begins the time anew.
    this.#timer?.refresh();
    for (const { chunk } of chunks) channel.producerFifo.push(chunk);
    if (channel.sendNow()) this.#sent();
  }

  /** @internal */
  override _final(callback: Callback): void {
    if (this.#channel.hasOutput()) this.#finished = callback;
    else this.#shutDown(callback);
  }

  /** @internal */
  override _destroy(error: Error | null, callback: Callback): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    // A socket that is closed over unread input resets the connection, and the last output is lost.
    if (error === null && this.writableFinished && this.#socket instanceof Socket) {
      drainInput(this.#socket);
    }
    this.#channel.close();
    const written = this.#written;
    this.#written = null;
    if (written !== null) callProgram(() => written(error ?? destroyed()));
    callback(error);
  }

  // -------------------------------------------------------------------------------------------
  // As net.Socket.

  /** Whether the connect is still under way. */
  get connecting(): boolean {
    return this.#channel.connecting && !this.destroyed;
  }

  /** Whether there is no connection yet, or no more. */
  get pending(): boolean {
    return !this.#channel.connected;
  }

  /** `opening`, `open`, `readOnly`, `writeOnly` or `closed`. */
  get readyState(): 'opening' | 'open' | 'readOnly' | 'writeOnly' | 'closed' {
    if (this.connecting) return 'opening';
    if (this.readable && this.writable) return 'open';
    if (this.readable) return 'readOnly';
    return this.writable ? 'writeOnly' : 'closed';
  }

  /** How many bytes have been received. */
  get bytesRead(): number {
    return this.#channel.bytesRead;
  }

  /** How many bytes the kernel has taken. What waits in the stream does not count (`writableLength`). */
  get bytesWritten(): number {
    return this.#channel.bytesWritten;
  }

  /** The peer's address; undefined for a Unix socket, and before there is a connection. */
  get remoteAddress(): string | undefined {
    return infoOf(this.#channel.addr)?.address;
  }

  /** The peer's port. */
  get remotePort(): number | undefined {
    return infoOf(this.#channel.addr)?.port;
  }

  /** `IPv4` or `IPv6`. */
  get remoteFamily(): string | undefined {
    return infoOf(this.#channel.addr)?.family;
  }

  /** The address of this end; undefined for a Unix socket. */
  get localAddress(): string | undefined {
    return infoOf(this.#local())?.address;
  }

  /** The port of this end. */
  get localPort(): number | undefined {
    return infoOf(this.#local())?.port;
  }

  /** `IPv4` or `IPv6`. */
  get localFamily(): string | undefined {
    return infoOf(this.#local())?.family;
  }

  /** The address of this end; an empty object for a Unix socket. */
  address(): AddressInfo | Record<string, never> {
    return infoOf(this.#local()) ?? {};
  }

  /** Asked once, while the socket is open. */
  #local(): Address | null {
    if (this.#localAddress === null && this.#socket.fileno() !== -1) {
      this.#localAddress = this.#socket.getSockName?.() ?? null;
    }
    return this.#localAddress;
  }

  /** As set by `setTimeout`, in milliseconds; 0: none. */
  get timeout(): number {
    return this.#timeout;
  }

  /**
   * Emits `timeout` when nothing has been received or sent for `duration` ms. The stream stays open.
   * @param duration in milliseconds; 0: never
   * @param listener added for one `timeout`; removed when `duration` is 0
   * @throws {RangeError|TypeError} for what is no time, and for a listener that is no function
   */
  setTimeout(duration: number, listener?: () => void): this {
    const action = 'set a timeout';
    checkDuration(action, 'a timeout', duration);
    if (listener !== undefined && typeof listener !== 'function') {
      throw badType(action, 'a function', listener);
    }
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.#timeout = duration;
    if (duration > 0 && !this.destroyed) {
      const expired = (): boolean => this.emit('timeout');
      this.#timer = setTimeout(expired, Math.min(duration, LONGEST_WAIT)).unref();
    }
    if (listener === undefined) return this;
    return duration === 0 ? this.off('timeout', listener) : this.once('timeout', listener);
  }

  /** Whether small writes leave at once (TCP_NODELAY). Does nothing for a Unix socket. */
  setNoDelay(on = true): this {
    checkBoolean('set TCP_NODELAY', 'true or false', on);
    this.#tcp?.setSockOpt(IPPROTO_TCP, TCP_NODELAY, on);
    return this;
  }

  /**
   * Whether the kernel looks after a silent peer (SO_KEEPALIVE). Does nothing for a Unix socket.
   * @param initialDelay how long the peer may be silent, in milliseconds; below 1000: as the kernel has it
   * @throws {RangeError|TypeError} for what is no time
   */
  setKeepAlive(on = false, initialDelay = 0): this {
    const action = 'set SO_KEEPALIVE';
    checkBoolean(action, 'true or false', on);
    checkDuration(action, 'a delay', initialDelay);
    const seconds = Math.floor(initialDelay / 1000);
    this.#tcp?.setSockOpt(SOL_SOCKET, SO_KEEPALIVE, on);
    if (on && seconds > 0) this.#tcp?.setSockOpt(IPPROTO_TCP, TCP_KEEPIDLE, seconds);
    return this;
  }

  get #tcp(): Socket | null {
    const socket = this.#socket;
    return socket instanceof Socket && socket.family !== AF_UNIX && !socket.closed ? socket : null;
  }

  /** Destroys the stream when all that has been written is sent. */
  destroySoon(): void {
    if (this.writable) this.end();
    if (this.writableFinished) this.destroy();
    else this.once('finish', () => this.destroy());
  }

  /** Does nothing: the loop keeps the process alive. */
  ref(): this {
    return this;
  }

  /** Does nothing: the loop keeps the process alive. */
  unref(): this {
    return this;
  }
}

function infoOf(address: Address | null): AddressInfo | undefined {
  if (address === null || !('host' in address)) return undefined;
  const { host, port } = address;
  return { address: host, port, family: host.includes(':') ? 'IPv6' : 'IPv4' };
}

/** What a write hears that the kernel has not taken before the stream was destroyed. */
function destroyed(): Error {
  return Object.assign(new Error('Cannot write: the stream was destroyed'), {
    code: 'ERR_STREAM_DESTROYED',
  });
}
