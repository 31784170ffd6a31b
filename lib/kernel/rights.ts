/// <reference types="node" preserve="true" />
// Descriptors passed to another process over a Unix socket, and received from one.

import { badType, checkInteger } from '../errors';
import type { Address } from './address';
import { checkFd } from './arguments';
import { CMSG_LEN, descriptorsOf } from './messages';
import { SCM_RIGHTS, SOL_SOCKET } from './platform/constants';
import type { Socket } from './socket';

/** The size of a descriptor in an SCM_RIGHTS. */
const INT = 4;
/** The kernel's limit for one message, SCM_MAX_FD. */
const MOST_DESCRIPTORS = 253;

const PASS = 'pass descriptors';
const RECEIVE = 'receive descriptors';

function checkSocket(action: string, socket: Socket): void {
  if (typeof socket?.sendMsg !== 'function') throw badType(action, 'a Socket', socket);
}

/**
 * Sends a message, and passes open descriptors with it. They stay open here: the receiver gets duplicates.
 * A stream needs at least one byte of data for them to travel with. Python's `socket.send_fds`.
 * @returns how many bytes of data were taken; null when it would block, and then nothing was passed
 * @throws {SocketError} `EBADF` for a descriptor that is not open, `ETOOMANYREFS`, …
 * @throws {TypeError|RangeError} for anything but an array of descriptors
 *
 * @example
 * sendFds(toWorker, [Buffer.from('x')], [connection.fileno()]);
 * connection.close();
 */
export function sendFds(
  socket: Socket,
  data: readonly Uint8Array[],
  fds: readonly number[],
  flags = 0,
  address: Address | null = null,
): number | null {
  checkSocket(PASS, socket);
  if (!Array.isArray(fds)) throw badType(PASS, 'an array of file descriptors', fds);
  const list = Array.from<number>(fds);
  checkInteger(PASS, 'the number of file descriptors', list.length, 0, MOST_DESCRIPTORS);
  const numbers = Buffer.alloc(list.length * INT);
  for (const [index, fd] of list.entries()) {
    checkFd(PASS, fd);
    numbers.writeInt32LE(fd, index * INT);
  }
  const rights = { level: SOL_SOCKET, type: SCM_RIGHTS, data: numbers };
  return socket.sendMsg(data, list.length === 0 ? [] : [rights], flags, address);
}

/** What `recvFds` received. */
export interface ReceivedDescriptors {
  /** The bytes that came with the descriptors. */
  readonly data: Buffer;
  /** Open and close-on-exec. The program closes them, also in a worker thread. */
  readonly fds: number[];
  /** `MSG_CTRUNC`: more descriptors were passed, and the kernel has closed them. And so on. */
  readonly flags: number;
  /** The sender; null where it has no address. */
  readonly address: Address | null;
}

/**
 * Receives a message, and up to `most` descriptors with it. null when there is none. Python's
 * `socket.recv_fds`.
 * @param most 0 to 253, which is the kernel's limit
 * @throws {SocketError} `ECONNRESET`, …
 * @throws {RangeError|TypeError} for an invalid number
 *
 * @example
 * const received = recvFds(fromParent, 1, 1);
 * for (const fd of received?.fds ?? []) serve(Socket.fromFd(fd));
 */
export function recvFds(
  socket: Socket,
  size: number,
  most: number,
  flags = 0,
): ReceivedDescriptors | null {
  checkSocket(RECEIVE, socket);
  checkInteger(RECEIVE, 'the number of file descriptors', most, 0, MOST_DESCRIPTORS);
  // With room for padding, the kernel would fill it with one more descriptor.
  const message = socket.recvMsg(size, most === 0 ? 0 : CMSG_LEN(most * INT), flags);
  if (message === null) return null;
  const { data, flags: reported, address } = message;
  const fds = message.control.flatMap(descriptorsOf);
  return { data, fds, flags: reported, address };
}
