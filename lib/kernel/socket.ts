/// <reference types="node" preserve="true" />
// One kernel socket, non-blocking and close-on-exec from its first moment.
//
// The methods are those of Python's socket, but for one rule: a would-block is a result, never an
// exception. Calls that may find nothing return null for it; an empty Buffer from recv() is the end of
// the stream.
//
// A Socket owns its descriptor until close(). Every method of a closed socket throws before the kernel
// sees the number, which may belong to another socket by then.

import { inspect } from 'node:util';
import { checkInteger } from '../errors';
import { type Address, decodeAddress, formatAddress, resolveAddress } from './address';
import { checkFd, checkInt, optionBytes } from './arguments';
import { receive, shortened } from './buffers';
import { Descriptor, setNonBlocking } from './descriptor';
import { closedSocket } from './errno';
import { type Memory, SockaddrSlot } from './koffi';
import {
  type ControlMessage,
  type Message,
  outgoing,
  receiveMessage,
  sendMessage,
} from './messages';
import {
  AF_INET,
  AF_UNIX,
  MSG_NOSIGNAL,
  MSG_TRUNC,
  SHUT_RD,
  SHUT_RDWR,
  SO_DOMAIN,
  SO_PROTOCOL,
  SO_TYPE,
  SOCK_STREAM,
  SOL_SOCKET,
} from './platform/constants';
import {
  ERRNO,
  F_GETFD,
  F_SETFD,
  FD_CLOEXEC,
  NEW_SOCKET_FLAGS,
  SOCK_TYPE_MASK,
} from './platform/linux';
import { bindOver } from './socket-file';
import * as syscalls from './syscalls';

/**
 * What a dispatcher calls on its `socket`. Anything with these methods may stand in for a Socket, as
 * Python's duck typing allows: a TLS session, a file, a test double. A channel that is connected already
 * needs the first five alone.
 */
export interface SocketLike {
  /** The descriptor to wait for; -1 when closed. */
  fileno(): number;
  /**
   * Up to `size` bytes; empty at the end of the stream; null when there is nothing yet. The program may
   * keep the Buffer: do not use its memory again.
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
  /** The socket's own address. The library does not call this. */
  getSockName?(): Address;
  /** Called by `Dispatcher.bind`. */
  bind?(address: Address): void;
  /** Called by `Dispatcher.listen`. */
  listen?(backlog?: number): void;
  /** 0 when the connection stands, or an errno, `EINPROGRESS` (115) while it is under way. */
  connectEx?(address: Address): number;
  /** The next connection; null when none is waiting. */
  accept?(): { socket: Socket; address: Address } | null;
  /** Ends one direction, or both. Called by `AsyncChat.endWhenDone`. The library calls none of the next four. */
  shutdown?(how?: number): void;
  /** One datagram and its sender, or null when there is none. */
  recvFrom?(size: number, flags?: number): { data: Buffer; address: Address } | null;
  /** One datagram to an address: how many bytes were taken, or null when it would block. */
  sendTo?(data: Uint8Array, address: Address): number | null;
  /** One message with its control data, or null when there is none. */
  recvMsg?(size: number, controlSize?: number, flags?: number): Message | null;
  /** One message with control data: how many bytes were taken, or null when it would block. */
  sendMsg?(
    data: readonly Uint8Array[],
    control?: readonly ControlMessage[],
    flags?: number,
    address?: Address | null,
  ): number | null;
  /** @internal */
  owner?: SocketOwner | null;
}

// Registered symbols: with two copies of the library in a process, a channel of one may hold a socket of the
// other.

/** Called on a socket's owner when the socket is about to be closed, not by its owner. @internal */
export const socketClosing = Symbol.for('asyncore.socketClosing');

/** Called on a socket's owner when output that it still holds would come too late. @internal */
export const flushPending = Symbol.for('asyncore.flushPending');

/** Called on a socket's owner when another channel is about to own the socket. @internal */
export const socketTaken = Symbol.for('asyncore.socketTaken');

/** As `send`, of a range of memory with a fixed address. @internal */
export const sendRange = Symbol.for('asyncore.sendRange');

/** Has a function called when a socket no longer holds its descriptor. @internal */
export const onRelease = Symbol.for('asyncore.onRelease');

/** The channel that holds a socket. @internal */
export interface SocketOwner {
  [socketClosing](): void;
  [flushPending](): void;
  [socketTaken]?(): void;
}

const slot = new SockaddrSlot();

/**
 * A kernel socket, non-blocking. Python's `socket.socket`. Made by `Socket.socket`, `Socket.pair`,
 * `Socket.fromFd` and `accept`.
 *
 * The methods of a closed socket throw a RangeError with the code `EBADF`.
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
  /** `IPPROTO_TCP`, …; 0: the default protocol of the type. */
  readonly protocol: number;
  /**
   * The peer's address, for a socket that came from `accept`. Known even when the peer is gone, where
   * `getPeerName` throws.
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
   * Opens a socket, by default an IPv4 stream. Python's `socket.socket(family, type, proto)`.
   * @throws {SocketError} `EMFILE` when there is no descriptor left, `EAFNOSUPPORT`, …
   * @throws {Error} `ERR_UNSUPPORTED_PLATFORM`, `ERR_KOFFI_UNAVAILABLE`
   */
  static socket(family: number = AF_INET, type: number = SOCK_STREAM, protocol = 0): Socket {
    checkInt('socket', 'type', type);
    const result = syscalls.socket(family, type | NEW_SOCKET_FLAGS, protocol);
    return new Socket(syscalls.check(result, 'socket'), family, type & SOCK_TYPE_MASK, protocol);
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
    checkInt('socketpair', 'type', type);
    const fds = syscalls.socketpair(family, type | NEW_SOCKET_FLAGS, protocol);
    if (typeof fds === 'number') throw syscalls.failure(fds, 'socketpair');
    return [
      new Socket(fds[0], family, type & SOCK_TYPE_MASK, protocol),
      new Socket(fds[1], family, type & SOCK_TYPE_MASK, protocol),
    ];
  }

  /**
   * Takes over a descriptor that is a socket already: inherited, or passed by a supervisor. It becomes
   * non-blocking and close-on-exec, and the Socket closes it. Python's `socket.socket(fileno=fd)`.
   * @throws {SocketError} `ENOTSOCK`, `EBADF`; the descriptor is then left as it was
   */
  static fromFd(fd: number): Socket {
    checkFd('take over a descriptor', fd);
    const option = (name: number): number => {
      const value = Buffer.alloc(4);
      syscalls.check(syscalls.getsockopt(fd, SOL_SOCKET, name, value), 'getsockopt');
      return value.readInt32LE(0);
    };
    const [family, type, protocol] = [option(SO_DOMAIN), option(SO_TYPE), option(SO_PROTOCOL)];
    setNonBlocking(fd);
    syscalls.check(syscalls.fcntl(fd, F_SETFD, syscalls.fcntl(fd, F_GETFD) | FD_CLOEXEC), 'fcntl');
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
    const { fd } = this.#descriptor;
    if (fd === -1) throw closedSocket(syscall);
    return fd;
  }

  /**
   * Gives the socket an address of its own. A host name is looked up, blocking. The file that a dead process
   * has left at a Unix path is removed first.
   * @throws {SocketError} `EADDRINUSE`, `EACCES`, `EADDRNOTAVAIL`, …
   * @throws {TypeError|RangeError} for an invalid address
   */
  bind(address: Address): void {
    // The number is read last: the address may have getters, and one of them may close this socket.
    const sockaddr = resolveAddress(address, this.family, this.type, 'bind');
    syscalls.check(bindOver(this.#fd('bind'), sockaddr), 'bind', formatAddress(address));
  }

  /**
   * Accepts connections, with `backlog` of them waiting at most (511 by default).
   * @throws {SocketError} `EADDRINUSE`; `ENOTSUP`, the same as `EOPNOTSUPP`, of a datagram socket
   * @throws {RangeError|TypeError} for a backlog that is no 32-bit integer
   */
  listen(backlog = 511): void {
    syscalls.check(syscalls.listen(this.#fd('listen'), backlog), 'listen');
  }

  /**
   * The next connection, or null when none is waiting.
   * @throws {SocketError} `ECONNABORTED` when the peer is gone, `EMFILE`, …
   */
  accept(): { socket: Socket; address: Address } | null {
    const { fd } = this.#descriptor;
    if (fd === -1) throw closedSocket('accept');
    const result = syscalls.accept4(fd, slot, NEW_SOCKET_FLAGS);
    if (result === -ERRNO.EAGAIN) return null;
    if (result < 0) throw syscalls.failure(result, 'accept');
    try {
      const address = decodeAddress(slot.bytes, slot.length);
      const socket = new Socket(result, this.family, this.type, this.protocol, address);
      return { socket, address };
    } catch (error) {
      syscalls.close(result);
      throw error;
    }
  }

  /**
   * Starts to connect. A host name is looked up, blocking.
   * @returns true when connected already; false while it is in progress: the socket becomes writable at
   *   its end, and `getSockOpt(SOL_SOCKET, SO_ERROR)` is the result
   * @throws {SocketError} `ECONNREFUSED`, `ENOENT`, `EAGAIN` for a Unix socket whose backlog is full
   */
  connect(address: Address): boolean {
    const errno = this.connectEx(address);
    if (errno === 0) return true;
    if (errno === ERRNO.EINPROGRESS) return false;
    throw syscalls.failure(-errno, 'connect', formatAddress(address));
  }

  /**
   * As `connect`, but returns 0 or the errno, `EINPROGRESS` (115) being the usual one. Python's
   * `connect_ex`.
   * @throws {TypeError|RangeError} for an invalid address
   */
  connectEx(address: Address): number {
    const sockaddr = resolveAddress(address, this.family, this.type, 'connect');
    return -syscalls.connect(this.#fd('connect'), sockaddr);
  }

  /**
   * Up to `size` bytes: a Buffer that the program may keep, empty at the end of the stream; null when
   * there is nothing yet. With `flags` `MSG_PEEK` the bytes stay to be read again, with `MSG_OOB` the
   * urgent byte is read.
   * @throws {SocketError} `ECONNRESET`, `ENOTCONN`, …
   * @throws {RangeError|TypeError} for an invalid size
   */
  recv(size: number, flags = 0): Buffer | null {
    const { fd } = this.#descriptor;
    if (fd === -1) throw closedSocket('recv');
    if ((size | 0) !== size || size < 0) checkInteger('recv', 'a size', size, 0, 2 ** 31 - 1);
    if ((flags & MSG_TRUNC) !== 0) return this.recvFrom(size, flags)?.data ?? null;
    const received = receive(fd, size, flags);
    if (typeof received !== 'number') return received;
    if (received === -ERRNO.EAGAIN) return null;
    throw syscalls.failure(received, 'recv');
  }

  /**
   * As `recv`, into the program's memory. Python's `recv_into`.
   * @returns how many bytes, 0 at the end of the stream; null when there is nothing yet
   */
  recvInto(buffer: Uint8Array, flags = 0): number | null {
    const result = syscalls.recvfrom(this.#fd('recv'), buffer, flags, null);
    return result === -ERRNO.EAGAIN ? null : syscalls.check(result, 'recv');
  }

  /**
   * One datagram and its sender, or null when there is none. The kernel cuts a datagram off at `size`
   * bytes; a datagram may be empty. Python's `recvfrom`.
   * @throws {SocketError} `ECONNREFUSED` when an earlier datagram met a closed port, …
   * @throws {RangeError|TypeError} for an invalid size
   */
  recvFrom(size: number, flags = 0): { data: Buffer; address: Address } | null {
    const fd = this.#fd('recvfrom');
    checkInteger('recvfrom', 'a size', size, 0, 2 ** 31 - 1);
    // With MSG_TRUNC the kernel reports more bytes than it writes: no old memory may show through.
    const data = (flags & MSG_TRUNC) === 0 ? Buffer.allocUnsafe(size) : Buffer.alloc(size);
    const result = syscalls.recvfrom(fd, data, flags, slot);
    if (result === -ERRNO.EAGAIN) return null;
    syscalls.check(result, 'recvfrom');
    // A stream has one sender, and the kernel does not name it.
    const named = this.family === AF_UNIX || slot.written.length > 0;
    const address = named ? decodeAddress(slot.written) : this.getPeerName();
    return { data: shortened(data, Math.min(result, size)), address };
  }

  /**
   * How many bytes the kernel took, perhaps not all; null when it would block. When the peer is gone
   * the error is EPIPE, and there is no signal.
   * @throws {SocketError} `EPIPE`, `ECONNRESET`, `ENOTCONN`, …
   * @throws {TypeError} for what is no Uint8Array
   */
  send(data: Uint8Array, flags = 0): number | null {
    if ((flags | 0) !== flags) checkInt('send', 'flags', flags);
    const { fd } = this.#descriptor;
    if (fd === -1) throw closedSocket('send');
    const result = syscalls.send(fd, data, flags | MSG_NOSIGNAL);
    if (result >= 0) return result;
    if (result === -ERRNO.EAGAIN) return null;
    throw syscalls.failure(result, 'send');
  }

  /** @internal */
  [sendRange](memory: Memory, offset: number, length: number): number | null {
    const { fd } = this.#descriptor;
    if (fd === -1) throw closedSocket('send');
    const result = syscalls.sendFrom(fd, memory, offset, length, MSG_NOSIGNAL);
    if (result >= 0) return result;
    if (result === -ERRNO.EAGAIN) return null;
    throw syscalls.failure(result, 'send');
  }

  /**
   * One datagram to an address. As `send` otherwise. A host name is looked up, blocking. Python's
   * `sendto`, whose flags come before the address.
   */
  sendTo(data: Uint8Array, address: Address, flags = 0): number | null {
    checkInt('sendto', 'flags', flags);
    const sockaddr = resolveAddress(address, this.family, this.type, 'sendto');
    const result = syscalls.sendto(this.#fd('sendto'), data, flags | MSG_NOSIGNAL, sockaddr);
    if (result === -ERRNO.EAGAIN) return null;
    return syscalls.check(result, 'sendto', formatAddress(address));
  }

  /**
   * One message with its control data, or null when there is none. Python's `recvmsg`.
   * @param controlSize room for control data, in bytes: see `CMSG_SPACE`. The kernel drops what does not
   *   fit, and sets `MSG_CTRUNC` in the message's `flags`. Default: 0
   * @throws {SocketError} as `recvFrom`
   * @throws {RangeError|TypeError} for an invalid size
   */
  recvMsg(size: number, controlSize = 0, flags = 0): Message | null {
    return receiveMessage(this.#fd('recvmsg'), size, controlSize, flags);
  }

  /**
   * One message: the pieces of `data` in a row, and control data. A socket that is not connected needs an
   * `address`. Python's `sendmsg`. Otherwise as `sendTo`.
   * @throws {SocketError} `EINVAL` for control data that the kernel does not know, …
   * @throws {TypeError|RangeError} for anything but lists of Uint8Arrays and of control messages
   */
  sendMsg(
    data: readonly Uint8Array[],
    control: readonly ControlMessage[] = [],
    flags = 0,
    address: Address | null = null,
  ): number | null {
    const message = outgoing(data, control, address, this);
    return sendMessage(this.#fd('sendmsg'), message, flags);
  }

  /**
   * Ends one direction or both: `SHUT_RD`, `SHUT_WR`, `SHUT_RDWR` (the default; Python has none).
   * @throws {SocketError} `ENOTCONN`, also when output that waited for the end of the tick finds the peer gone
   */
  shutdown(how: number = SHUT_RDWR): void {
    const fd = this.#fd('shutdown');
    if (how !== SHUT_RD) this.owner?.[flushPending]();
    // A channel that has found its peer gone has closed the socket, and the number may be another's.
    const result = this.closed ? -ERRNO.ENOTCONN : syscalls.shutdown(fd, how);
    syscalls.check(result, 'shutdown');
  }

  /** An option as an integer. @throws {SocketError} `ENOPROTOOPT`, … */
  getSockOpt(level: number, option: number): number;
  /** An option as `length` raw bytes at most, 1 to 65536. */
  getSockOpt(level: number, option: number, length: number): Buffer;
  getSockOpt(level: number, option: number, length?: number): number | Buffer {
    const fd = this.#fd('getsockopt');
    if (length !== undefined) checkInteger('getsockopt', 'a length', length, 1, 65536);
    const value = Buffer.alloc(length ?? 4);
    const filled = syscalls.check(syscalls.getsockopt(fd, level, option, value), 'getsockopt');
    return length === undefined ? value.readInt32LE(0) : value.subarray(0, filled);
  }

  /**
   * Sets an option to an integer, to true or false, or to raw bytes.
   * @throws {SocketError} `ENOPROTOOPT`, `EINVAL`, `EPERM`, …
   * @throws {RangeError|TypeError} for any other value
   *
   * @example
   * const linger = Buffer.alloc(8); // struct linger { int l_onoff; int l_linger; }
   * linger.writeInt32LE(1, 0);
   * socket.setSockOpt(SOL_SOCKET, SO_LINGER, linger); // close() will reset the connection
   */
  setSockOpt(level: number, option: number, value: number | boolean | Uint8Array): void {
    const fd = this.#fd('setsockopt');
    syscalls.check(syscalls.setsockopt(fd, level, option, optionBytes(value)), 'setsockopt');
  }

  /** This end's address. Python's `getsockname`. */
  getSockName(): Address {
    syscalls.check(syscalls.getsockname(this.#fd('getsockname'), slot), 'getsockname');
    return decodeAddress(slot.written);
  }

  /** The other end's address. Python's `getpeername`. @throws {SocketError} `ENOTCONN` */
  getPeerName(): Address {
    syscalls.check(syscalls.getpeername(this.#fd('getpeername'), slot), 'getpeername');
    return decodeAddress(slot.written);
  }

  /** @internal */
  [onRelease](released: (closed: boolean) => void): void {
    this.#descriptor.onRelease(released);
  }

  /**
   * Gives the open descriptor to the caller; the Socket itself is closed then. -1 when it was closed
   * already. Python's `detach`.
   */
  detach(): number {
    if (!this.closed) this.owner?.[socketClosing]();
    return this.#descriptor.release();
  }

  /**
   * Closes the socket. Idempotent.
   * @throws {SocketError} `EBADF` when the descriptor was closed elsewhere
   */
  close(): void {
    if (this.#descriptor.fd === -1) return;
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
