/// <reference types="node" preserve="true" />
// What a channel tells of itself, and what it forwards to its socket.

import { inspect } from 'node:util';
import { badRange, badType, checkBoolean } from '../errors';
import type { Address } from '../kernel/address';
import { printLine } from '../kernel/output';
import {
  AF_UNIX,
  IPPROTO_TCP,
  SO_KEEPALIVE,
  SOL_SOCKET,
  TCP_KEEPIDLE,
  TCP_NODELAY,
} from '../kernel/platform/constants';
import { Socket, type SocketLike } from '../kernel/socket';
import { reuseAddress } from './bind';
import { describeChannel } from './channel-log';

/** How error messages end where a channel has no socket. */
export const NO_SOCKET = 'call createSocket() first';

/** The longest time that Linux takes for TCP_KEEPIDLE, in s. */
const LONGEST_KEEPIDLE = 32767;

/** The socket. Throws a TypeError where there is none. @internal */
export const needSocket = Symbol('needSocket');

/** The session of a channel, for the classes that it extends. @internal */
export const theSession = Symbol('theSession');

/** The part of a `Dispatcher` that only asks its socket: the address, options, and the log. */
export abstract class ChannelBase {
  abstract get socket(): SocketLike | null;
  abstract get connected(): boolean;
  abstract get accepting(): boolean;
  /** @internal */
  abstract [needSocket](method: string): SocketLike;

  /** The peer's address, a listener's own, or the target of a connect. Null until there is one. */
  addr: Address | null = null;
  /** The types that `logInfo` does not print. Default `warning`. Python's `ignore_log_types`. */
  declare ignoreLogTypes: ReadonlySet<string>;

  // -------------------------------------------------------------------------------------------
  // The socket's address and options. Each but `address` throws a TypeError without a socket.

  /**
   * The socket's own address: what a listener is bound to, with the port that the kernel has chosen. Null
   * without a socket, after `close`, and for a file. `addr` is the peer's. Python's `getsockname` of a
   * dispatcher.
   *
   * @example
   * const server = listen({ host: '127.0.0.1', port: 0 }, (socket) => new Echo(socket));
   * console.log('listening on', server.address()); // { host: '127.0.0.1', port: 43117 }
   */
  address(): Address | null {
    const { socket } = this;
    if (socket === null || socket.fileno() === -1) return null;
    return socket.getSockName?.() ?? null;
  }

  /**
   * Lets the next server use this address again at once: call it before `bind`. Errors of the kernel are
   * ignored, as in Python. Python's `set_reuse_addr`.
   * @param on false takes it back. Python can only turn it on
   * @throws {TypeError} without a socket, and when `on` is no boolean
   */
  setReuseAddr(on = true): void {
    checkBoolean('setReuseAddr', 'true or false', on);
    reuseAddress(this[needSocket]('setReuseAddr'), on);
  }

  /**
   * Sends small pieces at once (`TCP_NODELAY`), and does not wait until earlier ones are acknowledged. All
   * that a chat pushes within a tick leaves in one piece anyway; what it pushes outside a tick, after an
   * `await` for example, is a piece for each push, and the second one waits up to 40 ms. A Unix socket has no
   * such delay, and nothing is done.
   * @throws {SocketError} for any other socket that is not TCP
   * @throws {TypeError} without a socket, and when `on` is no boolean
   */
  setNoDelay(on = true): void {
    checkBoolean('setNoDelay', 'true or false', on);
    if (isUnix(this)) return;
    setOption(this, 'setNoDelay', IPPROTO_TCP, TCP_NODELAY, on);
  }

  /**
   * Has the kernel ask a silent peer whether the connection still stands (`SO_KEEPALIVE`). A dead
   * connection then ends with `ETIMEDOUT`, after the probes that the system sets: 9, 75 s apart.
   * @param initialDelay how long the connection is idle before the first probe, in ms, rounded up to
   *   seconds; 0, the default, leaves it as it is: by default 2 hours. A Unix socket has none
   * @throws {SocketError} for a delay on any other socket that is not TCP
   * @throws {RangeError|TypeError} for an invalid delay, without a socket, and when `on` is no boolean
   */
  setKeepAlive(on = true, initialDelay = 0): void {
    checkBoolean('setKeepAlive', 'true or false', on);
    const expected = `an initial delay of 0 to ${LONGEST_KEEPIDLE} s, in ms`;
    if (typeof initialDelay !== 'number') throw badType('setKeepAlive', expected, initialDelay);
    if (!(initialDelay >= 0 && initialDelay <= LONGEST_KEEPIDLE * 1000)) {
      throw badRange('setKeepAlive', expected, initialDelay);
    }
    setOption(this, 'setKeepAlive', SOL_SOCKET, SO_KEEPALIVE, on);
    if (initialDelay === 0 || isUnix(this)) return;
    const seconds = Math.ceil(initialDelay / 1000);
    setOption(this, 'setKeepAlive', IPPROTO_TCP, TCP_KEEPIDLE, seconds);
  }

  /**
   * An option of the socket, such as `getSockOpt(SOL_SOCKET, SO_RCVBUF)`. Python's `getsockopt`.
   * @returns the integer
   * @throws {SocketError} `ENOPROTOOPT`, …
   * @throws {TypeError} without a socket
   */
  getSockOpt(level: number, option: number): number;
  /**
   * An option that is no integer, such as `getSockOpt(SOL_SOCKET, SO_LINGER, 8)`.
   * @param length how many bytes the kernel may write
   * @returns the bytes
   * @throws {SocketError} `ENOPROTOOPT`, …
   * @throws {TypeError} without a socket, and for a stand-in
   */
  getSockOpt(level: number, option: number, length: number): Buffer;
  getSockOpt(level: number, option: number, length?: number): number | Buffer {
    const socket = this[needSocket]('getSockOpt');
    if (length === undefined) return socket.getSockOpt(level, option);
    if (socket instanceof Socket) return socket.getSockOpt(level, option, length);
    throw badType('getSockOpt', 'a socket whose options have bytes', socket);
  }

  /**
   * Sets an option of the socket, such as `setSockOpt(SOL_SOCKET, SO_RCVBUF, 1 << 20)`. Python's
   * `setsockopt`.
   * @throws {SocketError} `ENOPROTOOPT`, …
   * @throws {TypeError} without a socket, and for a stand-in that has no options
   */
  setSockOpt(level: number, option: number, value: number | boolean | Uint8Array): void {
    setOption(this, 'setSockOpt', level, option, value);
  }

  // -------------------------------------------------------------------------------------------
  // Logging.

  /** Prints `log: message` to stderr, if it can be written. For hits; override it. Python's `log`. */
  log(message: unknown): void {
    printLine(process.stderr, 'log', message);
  }

  /**
   * Prints `type: message` to stdout, if it can be written, unless `ignoreLogTypes` has the type. Python's
   * `log_info`.
   * @param type default `info`; the library's own are `error`, `warning` and `info`
   */
  logInfo(message: unknown, type = 'info'): void {
    if (!this.ignoreLogTypes.has(type)) printLine(process.stdout, type, message);
  }

  /** `<EchoServer listening 127.0.0.1:8007 at 0x1>`. The number tells channels apart. Python's repr. */
  toString(): string {
    return describeChannel(this);
  }

  [inspect.custom](): string {
    return this.toString();
  }
}

function setOption(
  channel: ChannelBase,
  method: string,
  level: number,
  option: number,
  value: number | boolean | Uint8Array,
): void {
  const socket = channel[needSocket](method);
  if (typeof socket.setSockOpt !== 'function') {
    throw badType(method, 'a socket that has options', socket);
  }
  socket.setSockOpt(level, option, value);
}

function isUnix({ socket }: ChannelBase): boolean {
  return socket instanceof Socket && !socket.closed && socket.family === AF_UNIX;
}
