// The file that bind(2) makes for a Unix socket.
//
// The kernel leaves the file when the socket closes, and no other socket can bind to the path then. So the
// owner of a socket removes its file, and a socket that binds removes a file that was left. No file is
// removed while any socket in any process is bound to it.

import { closeSync, constants, fstatSync, lstatSync, openSync, unlinkSync } from 'node:fs';
import { type Address, encodeAddress } from './address';
import { AF_UNIX, SOCK_DGRAM } from './platform/constants';
import { ERRNO, NEW_SOCKET_FLAGS, O_PATH } from './platform/linux';
import * as syscalls from './syscalls';

/** A path may get another file: the inode tells them apart. */
export interface SocketFile {
  /** Absolute, as the program may change its directory. */
  readonly path: Buffer;
  readonly dev: bigint;
  readonly ino: bigint;
}

/** As `syscalls.bind`. Where only a stale file is in the way, it is removed first. */
export function bindOver(fd: number, sockaddr: Buffer): number {
  const result = syscalls.bind(fd, sockaddr);
  if (result !== -ERRNO.EADDRINUSE || sockaddr.readUInt16LE(0) !== AF_UNIX) return result;
  // After the family comes an abstract name, which starts with a NUL, or a path, which ends with one.
  const path = absolute(sockaddr.subarray(2, -1));
  return path !== null && removeStale(path) ? syscalls.bind(fd, sockaddr) : result;
}

/** The file at an address that was just bound. Null for an address without, and for a file that is gone. */
export function socketFile(address: Address): SocketFile | null {
  if (!('path' in address)) return null;
  const path = absolute(Buffer.from(address.raw ?? address.path));
  if (path === null) return null;
  try {
    const { dev, ino } = lstatSync(path, { bigint: true });
    return { path, dev, ino };
  } catch {
    return null;
  }
}

/** Null for a name that is no path. */
function absolute(path: Buffer): Buffer | null {
  if (path.length === 0 || path[0] === 0) return null;
  if (path[0] === 0x2f) return Buffer.from(path);
  try {
    return Buffer.concat([Buffer.from(`${process.cwd()}/`), path]);
  } catch {
    // The directory has been removed.
    return null;
  }
}

/**
 * Removes the file at a path, if it is a socket's and no socket is bound to it.
 * @param only leaves any other file than this one
 * @returns whether the path is free now. Never throws: a file that cannot be removed stays
 */
export function removeStale(path: Buffer, only?: SocketFile): boolean {
  let fd: number | null = null;
  try {
    // A file that is held open keeps its inode number, so that its successor has another one.
    fd = openSync(path, O_PATH | constants.O_NOFOLLOW);
    const file = fstatSync(fd, { bigint: true });
    const isIt = (other: { dev: bigint; ino: bigint }): boolean =>
      other.dev === file.dev && other.ino === file.ino;
    if (!file.isSocket() || (only !== undefined && !isIt(only)) || isBound(fd)) return false;
    // Another process may have been faster, and have bound a socket of its own.
    if (!isIt(lstatSync(path, { bigint: true }))) return false;
    unlinkSync(path);
    return true;
  } catch {
    return false;
  } finally {
    if (fd !== null) closeSync(fd);
  }
}

/**
 * Whether a socket is bound to the file, in whichever process. Asked by connecting a datagram socket: a
 * listener refuses it for its type (EPROTOTYPE), so that nobody sees a connection.
 * @param fd of the file, opened with O_PATH. It stands for a path of any length
 */
function isBound(fd: number): boolean {
  const probe = syscalls.socket(AF_UNIX, SOCK_DGRAM | NEW_SOCKET_FLAGS, 0);
  if (probe < 0) return true;
  const target = encodeAddress({ path: `/proc/self/fd/${fd}` }, AF_UNIX, 'connect');
  const result = syscalls.connect(probe, target);
  syscalls.close(probe);
  return result !== -ERRNO.ECONNREFUSED;
}
