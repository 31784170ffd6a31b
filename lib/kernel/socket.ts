/// <reference types="node" preserve="true" />
// One kernel socket, non-blocking and close-on-exec from its first moment.
//
// The methods are those of Python's socket, with one rule of their own: a would-block is an answer,
// never an exception. Calls that may have nothing to give return null for it, and what is not null
// is the real thing: an empty Buffer from recv() is the end of the stream.
//
// A Socket owns its descriptor until close(). Every method of a closed one throws before the kernel
// sees a number, which may belong to somebody else by then.

import { inspect } from 'node:util';
import { badType, checkInteger, closedSocket } from '../errors';
import { type Address, decodeAddress, formatAddress, resolveAddress } from './address';
import { Descriptor } from './descriptor';
import {
  AF_INET,
  AF_UNIX,
  MSG_NOSIGNAL,
  MSG_TRUNC,
  SHUT_RDWR,
  SO_DOMAIN,
  SO_PROTOCOL,
  SO_TYPE,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_STREAM,
  SOL_SOCKET,
} from './platform/constants';
import {
  ERRNO,
  F_GETFD,
  F_GETFL,
  F_SETFD,
  F_SETFL,
  FD_CLOEXEC,
  O_NONBLOCK,
} from './platform/linux';
import * as libc from './syscalls';

/**
 * What a dispatcher calls on its `socket`, so that anything with these methods may stand in for a
 * Socket, as Python's duck typing allows: a TLS session, a file, a test double. Only the first
 * five are needed by a channel that is connected already.
 */
export interface SocketLike {
  /** The descriptor to wait for; -1 when closed. */
  fileno(): number;
  /**
   * Up to `size` bytes; empty at the end of the stream; null when there is nothing yet. The Buffer is
   * handed on to the program, to keep: do not use its memory again.
   */
  recv(size: number, flags?: number): Buffer | null;
  /** How many bytes were taken; null when it would block. */
  send(data: Uint8Array): number | null;
  /** Asked for `SO_ERROR` of `SOL_SOCKET`: 0, or the errno of a connect that failed. */
  getSockOpt(level: number, option: number): number;
  /** Called by `Dispatcher.close`, each time. */
  close(): void;
  /** Called by `setReuseAddr`. */
  setSockOpt?(level: number, option: number, value: number | boolean | Uint8Array): void;
  /** The peer's address. Throws an error with the code `ENOTCONN` when there is no connection. */
  getPeerName?(): Address;
  /** Its own address. The library does not ask. */
  getSockName?(): Address;
  /** Called by `Dispatcher.bind`. */
  bind?(address: Address): void;
  /** Called by `Dispatcher.listen`. */
  listen?(backlog?: number): void;
  /** 0 when the connection stands, or an errno, `EINPROGRESS` (115) while it is under way. */
  connectEx?(address: Address): number;
  /** The next caller; null when nobody waits. */
  accept?(): { socket: Socket; address: Address } | null;
  /** Ends one direction, or both. The library does not call this, nor the next two. */
  shutdown?(how?: number): void;
  /** One datagram and its sender, or null when there is none. */
  recvFrom?(size: number, flags?: number): { data: Buffer; address: Address } | null;
  /** One datagram to an address: how many bytes were taken, or null when it would block. */
  sendTo?(data: Uint8Array, address: Address): number | null;
  /** @internal */
  owner?: SocketOwner | null;
}

/** What a socket's owner is told when somebody else closes the socket. @internal */
export const socketClosing = Symbol('socketClosing');

/** As `send`, of the first bytes of a memory with a fixed address. @internal */
export const sendFrom = Symbol('sendFrom');

/** Has a function called when a socket no longer holds its descriptor. @internal */
export const onRelease = Symbol('onRelease');

/** The channel that holds a socket. @internal */
export interface SocketOwner {
  [socketClosing](): void;
}

const slot = new libc.SockaddrSlot();

// Received bytes land in a slab, one per thread, and what is handed out is the program's to keep:
// never written again. A large read is handed out as a view of the slab, which is used up by it;
// a small one is copied, so that a nickname kept for a day pins Node's own pool and not the slab.
const SLAB_SIZE = 256 * 1024;
const SMALLEST_VIEW = 16 * 1024;
let slab: libc.Memory | undefined;
let slabUsed = 0;

function slabWithRoomFor(size: number): libc.Memory {
  // Larger than usual: memory of its own, which does not become the slab.
  if (size > SLAB_SIZE) return new libc.Memory(size);
  if (slab === undefined || slab.buffer.length - slabUsed < size) {
    slab = new libc.Memory(SLAB_SIZE);
    slabUsed = 0;
  }
  return slab;
}

function takeFromSlab(memory: libc.Memory, offset: number, length: number): Buffer {
  if (memory === slab && length >= SMALLEST_VIEW) slabUsed += length;
  return keepable(memory.buffer, offset, offset + length);
}

/**
 * A piece of what was received, for a program to keep: a view, or a copy where that would be a small
 * part of a large read, or of the slab.
 */
export function keepable(input: Buffer, start: number, end: number): Buffer {
  if (end - start >= SMALLEST_VIEW || input.length < SMALLEST_VIEW) {
    return input.subarray(start, end);
  }
  const piece = Buffer.allocUnsafe(end - start);
  input.copy(piece, 0, start, end);
  return piece;
}

/** The type without the flags that Linux puts beside it. */
const SOCK_TYPE = 0xf;

/**
 * A kernel socket, non-blocking. Python's `socket.socket`. Made by `Socket.socket`, `Socket.pair`,
 * `Socket.fromFd` and `accept`.
 *
 * A method of a closed one throws a RangeError with the code `EBADF`.
 *
 * @example
 * using socket = Socket.socket(AF_INET, SOCK_DGRAM);
 * socket.sendTo(Buffer.from('hello'), { host: '127.0.0.1', port: 9999 });
 */
export class Socket implements SocketLike, Disposable {
  /** `AF_INET`, `AF_INET6` or `AF_UNIX`. */
  readonly family: number;
  /** `SOCK_STREAM`, `SOCK_DGRAM`, … */
  readonly type: number;
  /** `IPPROTO_TCP`, …; 0: the usual one of its type. */
  readonly protocol: number;
  /**
   * Who called, for a socket that came from `accept`: known even when the caller has gone again,
   * where `getPeerName` is not.
   */
  readonly acceptedFrom: Address | null;
  /** @internal */
  owner: SocketOwner | null = null;
  readonly #descriptor: Descriptor;

  private constructor(
    fd: number,
    family: number,
    type: number,
    protocol: number,
    acceptedFrom: Address | null = null,
  ) {
    this.#descriptor = new Descriptor(fd, 'socket');
    this.family = family;
    this.type = type;
    this.protocol = protocol;
    this.acceptedFrom = acceptedFrom;
  }

  /**
   * Opens a socket, of IPv4 and a stream by default. Python's `socket.socket(family, type, proto)`.
   * @throws {SocketError} `EMFILE` when there is no descriptor left, `EAFNOSUPPORT`, …
   * @throws {Error} `ERR_UNSUPPORTED_PLATFORM`
   */
  static socket(family: number = AF_INET, type: number = SOCK_STREAM, protocol = 0): Socket {
    libc.checkInt('socket', 'type', type);
    const result = libc.socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);
    return new Socket(libc.check(result, 'socket'), family, type & SOCK_TYPE, protocol);
  }

  /**
   * Two sockets connected to each other. Python's `socket.socketpair`; Unix ones by default.
   * @throws {SocketError}
   */
  static pair(
    family: number = AF_UNIX,
    type: number = SOCK_STREAM,
    protocol = 0,
  ): [Socket, Socket] {
    libc.checkInt('socketpair', 'type', type);
    const fds = libc.socketpair(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);
    if (typeof fds === 'number') throw libc.failure(fds, 'socketpair');
    return [
      new Socket(fds[0], family, type & SOCK_TYPE, protocol),
      new Socket(fds[1], family, type & SOCK_TYPE, protocol),
    ];
  }

  /**
   * Takes over a descriptor that is a socket already: inherited, or handed over by a supervisor.
   * It becomes non-blocking and close-on-exec, and this object's to close. Python's
   * `socket.socket(fileno=fd)`.
   * @throws {SocketError} `ENOTSOCK`, `EBADF`; the descriptor is then left alone
   */
  static fromFd(fd: number): Socket {
    const option = (name: number): number => {
      const value = Buffer.alloc(4);
      libc.check(libc.getsockopt(fd, SOL_SOCKET, name, value), 'getsockopt');
      return value.readInt32LE(0);
    };
    const [family, type, protocol] = [option(SO_DOMAIN), option(SO_TYPE), option(SO_PROTOCOL)];
    setNonBlocking(fd);
    libc.check(libc.fcntl(fd, F_SETFD, libc.fcntl(fd, F_GETFD) | FD_CLOEXEC), 'fcntl');
    return new Socket(fd, family, type, protocol);
  }

  /** The descriptor; -1 when closed. */
  fileno(): number {
    return this.#descriptor.fd;
  }

  /** Whether `close` or `detach` was called. */
  get closed(): boolean {
    return this.#descriptor.fd === -1;
  }

  /** The descriptor, for one call. */
  #fd(syscall: string): number {
    const fd = this.#descriptor.fd;
    if (fd === -1) throw closedSocket(syscall);
    return fd;
  }

  /** Who finds nothing to read may be waiting for the answer to what the channel holds back. */
  #nothingYet(): null {
    return null;
  }

  /** The same for a call that sends: what the channel holds back comes first. */
  #fdToSend(syscall: string): number {
    return this.#fd(syscall);
  }

  /**
   * Gives the socket an address of its own. A host name is looked up, blocking.
   * @throws {SocketError} `EADDRINUSE`, `EACCES`, `EADDRNOTAVAIL`, …
   * @throws {TypeError|RangeError} when the address cannot be meant
   */
  bind(address: Address): void {
    // The number last: the address may be an object with code of its own.
    const sockaddr = resolveAddress(address, this.family, this.type, 'bind');
    libc.check(libc.bind(this.#fd('bind'), sockaddr), 'bind', formatAddress(address));
  }

  /**
   * Waits for callers, `backlog` of them unaccepted at most (128 by default).
   * @throws {SocketError} `EADDRINUSE`, `EOPNOTSUPP`
   * @throws {RangeError|TypeError} for a backlog that is no 32-bit integer
   */
  listen(backlog = 128): void {
    libc.check(libc.listen(this.#fd('listen'), backlog), 'listen');
  }

  /**
   * The next caller, or null when nobody waits.
   * @throws {SocketError} `ECONNABORTED` when the caller has gone, `EMFILE`, …
   */
  accept(): { socket: Socket; address: Address } | null {
    const result = libc.accept4(this.#fd('accept'), slot, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (result === -ERRNO.EAGAIN) return null;
    libc.check(result, 'accept');
    try {
      const address = decodeAddress(slot.written);
      const socket = new Socket(result, this.family, this.type, this.protocol, address);
      return { socket, address };
    } catch (error) {
      libc.close(result);
      throw error;
    }
  }

  /**
   * Starts to connect. A host name is looked up, blocking.
   * @returns true when connected already, false while it is under way: writable tells when it is
   *   over, `getSockOpt(SOL_SOCKET, SO_ERROR)` how
   * @throws {SocketError} `ECONNREFUSED`, `ENOENT`, `EAGAIN` for a Unix socket whose backlog is full
   */
  connect(address: Address): boolean {
    const errno = this.connectEx(address);
    if (errno === 0) return true;
    if (errno === ERRNO.EINPROGRESS) return false;
    throw libc.failure(-errno, 'connect', formatAddress(address));
  }

  /**
   * As `connect`, but returns 0 or the errno, `EINPROGRESS` (115) being the usual one. Python's
   * `connect_ex`.
   * @throws {TypeError|RangeError} when the address cannot be meant
   */
  connectEx(address: Address): number {
    const sockaddr = resolveAddress(address, this.family, this.type, 'connect');
    return -libc.connect(this.#fd('connect'), sockaddr);
  }

  /**
   * Up to `size` bytes: a Buffer of the program's own, empty at the end of the stream, or null when
   * there is nothing yet. With `flags` `MSG_PEEK` they stay to be read again, with `MSG_OOB` the
   * urgent byte is read.
   * @throws {SocketError} `ECONNRESET`, `ENOTCONN`, …
   * @throws {RangeError|TypeError} for a size that cannot be meant
   */
  recv(size: number, flags = 0): Buffer | null {
    const fd = this.#fd('recv');
    checkInteger('recv', 'a size', size, 0, 2 ** 31 - 1);
    if ((flags & MSG_TRUNC) !== 0) return this.recvFrom(size, flags)?.data ?? null;
    const memory = slabWithRoomFor(size);
    const offset = memory === slab ? slabUsed : 0;
    const result = libc.recv(fd, memory, offset, size, flags);
    if (result === -ERRNO.EAGAIN) return this.#nothingYet();
    return takeFromSlab(memory, offset, libc.check(result, 'recv'));
  }

  /**
   * As `recv`, into the program's memory. Python's `recv_into`.
   * @returns how many bytes, 0 at the end of the stream; null when there is nothing yet
   */
  recvInto(buffer: Uint8Array, flags = 0): number | null {
    const result = libc.recvfrom(this.#fd('recv'), buffer, flags, null);
    return result === -ERRNO.EAGAIN ? this.#nothingYet() : libc.check(result, 'recv');
  }

  /**
   * One datagram and its sender, or null when there is none. What is longer than `size` bytes is cut
   * off by the kernel; one may be empty. Python's `recvfrom`.
   * @throws {SocketError} `ECONNREFUSED` when an earlier one has met nobody, …
   * @throws {RangeError|TypeError} for a size that cannot be meant
   */
  recvFrom(size: number, flags = 0): { data: Buffer; address: Address } | null {
    const fd = this.#fd('recvfrom');
    checkInteger('recvfrom', 'a size', size, 0, 2 ** 31 - 1);
    // With MSG_TRUNC the kernel tells more than it writes: nothing old may show through.
    const data = (flags & MSG_TRUNC) === 0 ? Buffer.allocUnsafe(size) : Buffer.alloc(size);
    const result = libc.recvfrom(fd, data, flags, slot);
    if (result === -ERRNO.EAGAIN) return this.#nothingYet();
    libc.check(result, 'recvfrom');
    // A stream has one sender, whom the kernel does not name.
    const named = this.family === AF_UNIX || slot.written.length > 0;
    const address = named ? decodeAddress(slot.written) : this.getPeerName();
    return { data: shortened(data, Math.min(result, size)), address };
  }

  /**
   * How many bytes the kernel took, perhaps not all; null when it would block. A peer that is gone
   * is an EPIPE here, never a signal.
   * @throws {SocketError} `EPIPE`, `ECONNRESET`, `ENOTCONN`, …
   * @throws {TypeError} for what is no Uint8Array
   */
  send(data: Uint8Array, flags = 0): number | null {
    libc.checkInt('send', 'flags', flags);
    const result = libc.send(this.#fdToSend('send'), data, flags | MSG_NOSIGNAL);
    return result === -ERRNO.EAGAIN ? null : libc.check(result, 'send');
  }

  /** @internal */
  [sendFrom](memory: libc.Memory, offset: number, length: number): number | null {
    const result = libc.sendFrom(this.#fd('send'), memory, offset, length, MSG_NOSIGNAL);
    return result === -ERRNO.EAGAIN ? null : libc.check(result, 'send');
  }

  /**
   * One datagram to an address. As `send` otherwise. A host name is looked up, blocking. Python's
   * `sendto`, whose flags come before the address.
   */
  sendTo(data: Uint8Array, address: Address, flags = 0): number | null {
    libc.checkInt('sendto', 'flags', flags);
    const sockaddr = resolveAddress(address, this.family, this.type, 'sendto');
    const result = libc.sendto(this.#fdToSend('sendto'), data, flags | MSG_NOSIGNAL, sockaddr);
    if (result === -ERRNO.EAGAIN) return null;
    return libc.check(result, 'sendto', formatAddress(address));
  }

  /**
   * Ends one direction or both: `SHUT_RD`, `SHUT_WR`, `SHUT_RDWR` (the default; Python has none).
   * @throws {SocketError} `ENOTCONN`
   */
  shutdown(how: number = SHUT_RDWR): void {
    libc.check(libc.shutdown(this.#fdToSend('shutdown'), how), 'shutdown');
  }

  /** An option as an integer. @throws {SocketError} `ENOPROTOOPT`, … */
  getSockOpt(level: number, option: number): number;
  /** An option as `length` raw bytes at most, 1 to 65536. */
  getSockOpt(level: number, option: number, length: number): Buffer;
  getSockOpt(level: number, option: number, length?: number): number | Buffer {
    const fd = this.#fd('getsockopt');
    if (length !== undefined) checkInteger('getsockopt', 'a length', length, 1, 65536);
    const value = Buffer.alloc(length ?? 4);
    const filled = libc.check(libc.getsockopt(fd, level, option, value), 'getsockopt');
    return length === undefined ? value.readInt32LE(0) : value.subarray(0, filled);
  }

  /**
   * Sets an option to an integer, to true or false, or to raw bytes.
   * @throws {SocketError} `ENOPROTOOPT`, `EINVAL`, `EPERM`, …
   * @throws {RangeError|TypeError} for what is neither
   *
   * @example
   * const linger = Buffer.alloc(8); // struct linger { int l_onoff; int l_linger; }
   * linger.writeInt32LE(1, 0);
   * socket.setSockOpt(SOL_SOCKET, SO_LINGER, linger); // close() will reset the connection
   */
  setSockOpt(level: number, option: number, value: number | boolean | Uint8Array): void {
    const fd = this.#fd('setsockopt');
    const result = libc.setsockopt(fd, level, option, optionBytes(value));
    libc.check(result, 'setsockopt');
  }

  /** This end's address. Python's `getsockname`. */
  getSockName(): Address {
    libc.check(libc.getsockname(this.#fd('getsockname'), slot), 'getsockname');
    return decodeAddress(slot.written);
  }

  /** The other end's address. Python's `getpeername`. @throws {SocketError} `ENOTCONN` */
  getPeerName(): Address {
    libc.check(libc.getpeername(this.#fd('getpeername'), slot), 'getpeername');
    return decodeAddress(slot.written);
  }

  /** @internal */
  [onRelease](released: () => void): void {
    this.#descriptor.onRelease(released);
  }

  /** Gives the descriptor to the caller, open, and is closed itself. -1 when it was already. */
  detach(): number {
    if (!this.closed) this.owner?.[socketClosing]();
    return this.#descriptor.release();
  }

  /**
   * Closes the socket. Idempotent.
   * @throws {SocketError} `EBADF` when somebody else has closed the descriptor
   */
  close(): void {
    if (this.closed) return;
    this.owner?.[socketClosing]();
    this.#descriptor.close();
  }

  /** Closes it at the end of a block: `using`. */
  [Symbol.dispose](): void {
    this.close();
  }

  toString(): string {
    return `<Socket fd=${this.fileno()} family=${this.family} type=${this.type}>`;
  }

  [inspect.custom](): string {
    return this.toString();
  }
}

/** The beginning of it. A little must not keep much: it is copied out. */
export function shortened(data: Buffer, length: number): Buffer {
  const part = data.subarray(0, length);
  return length < data.length / 2 ? Buffer.from(part) : part;
}

function optionBytes(value: number | boolean | Uint8Array): Uint8Array {
  if (value instanceof Uint8Array) return value;
  const number = typeof value === 'boolean' ? Number(value) : value;
  if (typeof number !== 'number') {
    throw badType('setsockopt', 'an integer, a boolean or a Uint8Array', value);
  }
  checkInteger('setsockopt', 'a value', number, -(2 ** 31), 2 ** 32 - 1);
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(number | 0);
  return bytes;
}

/** @throws {SocketError} `EBADF` */
export function setNonBlocking(fd: number): void {
  const flags = libc.check(libc.fcntl(fd, F_GETFL), 'fcntl');
  if ((flags & O_NONBLOCK) === 0) libc.check(libc.fcntl(fd, F_SETFL, flags | O_NONBLOCK), 'fcntl');
}
