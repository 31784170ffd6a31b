// A pipe, as two descriptors of the program's own.

import { O_CLOEXEC } from './platform/linux';
import * as syscalls from './syscalls';
import { leaveAtEnd } from './thread-cleanup';

/**
 * Opens a pipe: what is written to the second descriptor can be read from the first. Python's `os.pipe`.
 *
 * As in Python, both are close-on-exec and blocking. `FileDispatcher` makes the descriptor that it is given
 * non-blocking. The program closes both, with `fs.closeSync`, also in a worker thread: the end of the thread
 * leaves them open.
 * @returns the descriptor to read from, and the descriptor to write to
 * @throws {SocketError} `EMFILE`, `ENFILE`
 * @throws {Error} `ERR_UNSUPPORTED_PLATFORM`, `ERR_KOFFI_UNAVAILABLE`
 *
 * @example
 * const [readFd, writeFd] = pipe();
 * const child = spawn('make', { stdio: ['ignore', writeFd, 'inherit'] });
 * closeSync(writeFd); // the child has its own
 * new BuildLog(readFd); // a FileDispatcher, which works on a duplicate
 * closeSync(readFd);
 */
export function pipe(): [readFd: number, writeFd: number] {
  const fds = syscalls.pipe2(O_CLOEXEC);
  if (typeof fds === 'number') throw syscalls.failure(fds, 'pipe2');
  // They are the program's now, which may close them by their numbers.
  for (const fd of fds) leaveAtEnd(fd);
  return fds;
}
