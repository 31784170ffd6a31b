// A part of a file to a socket, by sendfile(2): it does not come into the program's memory.

import { constants } from 'node:os';
import { closedSocket } from './errno';
import { ERRNO } from './platform/linux';
import type { Socket } from './socket';
import { failure, ignoresSignal, sendfile } from './syscalls';

/**
 * With these the kernel refuses the file, or a sandbox the call. A connection does not have them. To read the
 * file either works or tells what is wrong.
 */
const REFUSALS: ReadonlySet<number> = new Set([
  ERRNO.EACCES,
  ERRNO.EBADF,
  ERRNO.EINVAL,
  ERRNO.EIO,
  ERRNO.ENOSYS,
  ERRNO.ENOTSUP,
  ERRNO.EOVERFLOW,
  ERRNO.EPERM,
  ERRNO.ESPIPE,
]);

/**
 * Sends up to `length` bytes of a file, from `offset` on.
 * @returns how many bytes the kernel took; null when it would block; 0 when the file has to be read, as it
 *   ends there or cannot be sent so
 * @throws {SocketError} as `Socket.send`
 */
export function sendFile(
  socket: Socket,
  file: number,
  offset: number,
  length: number,
): number | null {
  const fd = socket.fileno();
  if (fd === -1) throw closedSocket('sendfile');
  // sendfile(2) has no MSG_NOSIGNAL. A program that has listened for SIGPIPE would hear of a peer that is gone;
  // and once its listener is removed, the signal would end the process.
  if (!ignoresSignal(constants.signals.SIGPIPE)) return 0;
  const result = sendfile(fd, file, offset, length);
  if (result >= 0) return result;
  if (result === -ERRNO.EAGAIN) return null;
  if (REFUSALS.has(-result)) return 0;
  throw failure(result, 'sendfile');
}
