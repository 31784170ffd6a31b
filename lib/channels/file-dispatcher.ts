/// <reference types="node" preserve="true" />
// Pipes, terminals and regular files as channels: a descriptor with as many methods of a socket as a
// dispatcher needs.

import { inspect } from 'node:util';
import { badRange, checkInteger } from '../errors';
import { shortened } from '../kernel/buffers';
import { Descriptor, setNonBlocking } from '../kernel/descriptor';
import { closedSocket } from '../kernel/errno';
import { descriptorOf, type HasDescriptor } from '../kernel/has-descriptor';
import { SO_ERROR, SOL_SOCKET } from '../kernel/platform/constants';
import { ERRNO } from '../kernel/platform/linux';
import { type SocketLike, type SocketOwner, socketClosing } from '../kernel/socket';
import * as syscalls from '../kernel/syscalls';
import type { ChannelMap } from '../loop/channel-map';
import { Dispatcher } from './dispatcher';

/**
 * A descriptor with the methods of a socket. Python's `asyncore.file_wrapper`.
 *
 * Works on a duplicate of the descriptor. Closing the wrapper closes the duplicate.
 */
export class FileWrapper implements SocketLike, Disposable {
  /** @internal */
  owner: SocketOwner | null = null;
  readonly #descriptor: Descriptor;

  /**
   * @param fd duplicated; the program goes on owning it
   * @throws {SocketError} `EBADF`, `EMFILE`
   * @throws {RangeError|TypeError} for an invalid descriptor
   */
  constructor(fd: number) {
    this.#descriptor = new Descriptor(syscalls.check(syscalls.dup(fd), 'dup'), 'file');
  }

  /** The duplicate; -1 when closed. */
  fileno(): number {
    return this.#descriptor.fd;
  }

  /** The same as `fileno()`. */
  get fd(): number {
    return this.#descriptor.fd;
  }

  #open(syscall: string): number {
    const fd = this.#descriptor.fd;
    if (fd === -1) throw closedSocket(syscall, 'file');
    return fd;
  }

  /** Up to `size` bytes; empty at the end; null when there is nothing yet. @throws {SocketError} */
  recv(size: number): Buffer | null {
    const fd = this.#open('read');
    checkInteger('read', 'a size', size, 0, 2 ** 31 - 1);
    const buffer = Buffer.allocUnsafe(size);
    const result = syscalls.read(fd, buffer);
    if (result === -ERRNO.EAGAIN) return null;
    return shortened(buffer, syscalls.check(result, 'read'));
  }

  /** The same as `recv`. */
  read(size: number): Buffer | null {
    return this.recv(size);
  }

  /** How many bytes were written; null when it would block. @throws {SocketError} `EPIPE`, … */
  send(data: Uint8Array): number | null {
    const result = syscalls.write(this.#open('write'), data);
    return result === -ERRNO.EAGAIN ? null : syscalls.check(result, 'write');
  }

  /** The same as `send`. */
  write(data: Uint8Array): number | null {
    return this.send(data);
  }

  /**
   * 0 for `SO_ERROR`, which dispatchers ask for: a file has no pending error.
   * @throws {RangeError} for any other option
   */
  getSockOpt(level: number, option: number): number {
    if (level === SOL_SOCKET && option === SO_ERROR) return 0;
    throw badRange('get a socket option of a file', 'SO_ERROR of SOL_SOCKET', [level, option]);
  }

  /**
   * Closes the duplicate. Idempotent.
   * @throws {SocketError} `EBADF` when the number has been closed behind this object's back
   */
  close(): void {
    if (this.fileno() === -1) return;
    this.owner?.[socketClosing]();
    this.#descriptor.close();
  }

  /** Closes it at the end of a block: `using`. */
  [Symbol.dispose](): void {
    this.close();
  }

  toString(): string {
    return `<FileWrapper fd=${this.fileno()}>`;
  }

  [inspect.custom](): string {
    return this.toString();
  }
}

/**
 * A channel around a pipe, a terminal or a file. Python's `asyncore.file_dispatcher`.
 *
 * The original descriptor becomes non-blocking, too, because a duplicate shares its status flags. A
 * regular file is always ready, so its channel has events at every tick.
 *
 * @example
 * class Stdin extends FileDispatcher {
 *   override writable() {
 *     return false;
 *   }
 *   override handleRead() {
 *     const data = this.recv(4096);
 *     if (data !== null) console.log(`${data.length} bytes`);
 *   }
 * }
 * new Stdin(0);
 */
export class FileDispatcher extends Dispatcher {
  /**
   * @param file stays open; the program goes on owning it
   * @param map default `socketMap`
   * @throws {SocketError} `EBADF`, `EMFILE`
   * @throws {TypeError} for what has no descriptor
   */
  constructor(file: HasDescriptor, map?: ChannelMap) {
    super(null, map);
    this.connected = true;
    const fd = descriptorOf('make a file channel', file);
    this.setFile(fd);
    setNonBlocking(fd);
  }

  /**
   * Wraps a duplicate of `fd` and enters the map. Python's `set_file`.
   * @throws {SocketError} `EBADF`, `EMFILE`
   * @throws {RangeError|TypeError} for an invalid descriptor
   */
  setFile(fd: number): void {
    this.setSocket(new FileWrapper(fd));
  }
}
