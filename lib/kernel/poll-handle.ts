// A descriptor that Node's own loop watches.

import { fstatSync } from 'node:fs';
import { isMainThread } from 'node:worker_threads';
import { checkFd } from './arguments';
import { type Interest, onLibuv, raw } from './koffi';
import { ERRNO } from './platform/linux';
import { failure, isOpen } from './syscalls';

/**
 * Whether a loop here may use a PollHandle. A worker's may not: if a worker is terminated while libuv calls
 * back into koffi, the whole process ends. Bun and Deno have no libuv to watch with.
 */
export function canWatch(): boolean {
  return isMainThread && onLibuv();
}

/** All that are open: libuv must not be given a descriptor twice. */
const openHandles = new Set<PollHandle>();

/** The errno for which libuv would refuse `fd`, or 0. */
function whyUnwatchable(fd: number): number {
  if (!isOpen(fd)) return ERRNO.EBADF;
  for (const handle of openHandles) if (handle.fd === fd) return ERRNO.EEXIST;
  const file = fstatSync(fd);
  return file.isFile() || file.isDirectory() ? ERRNO.EPERM : 0;
}

export class PollHandle {
  /** The descriptor; it stays the caller's. */
  readonly fd: number;
  #handle: { close(): void } | null;

  /**
   * Calls `wake` at each iteration of Node's loop in which `fd` is ready. The callback runs outside
   * Node's callback scope, where promises and nextTicks would not be served, so it may only
   * schedule. The handle costs a libuv handle and no thread, and keeps the process alive.
   *
   * libuv refuses a closed descriptor, one that is watched already, and regular files, and koffi then
   * aborts the process. So all that can be known of these is refused here.
   * @throws {SocketError} `EBADF`, `EEXIST`, `EPERM`
   */
  constructor(fd: number, interest: Interest, wake: () => void) {
    checkFd('watch', fd);
    this.fd = fd;
    const errno = whyUnwatchable(fd);
    if (errno !== 0) throw failure(-errno, 'uv_poll');
    // Held here: a poll handle that is collected stops silently.
    this.#handle = raw.watch(fd, { ...interest }, wake);
    openHandles.add(this);
  }

  /** Idempotent: koffi's own handle crashes when it is touched after its close. */
  close(): void {
    this.#handle?.close();
    this.#handle = null;
    openHandles.delete(this);
  }
}
