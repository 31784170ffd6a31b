// Descriptors that are closed when their thread ends.
//
// A worker that is terminated runs no more JavaScript: no `finally`, no finalizer. So each descriptor that
// it opens is registered with Node as a cleanup hook, which is close(2) itself. The main thread registers
// nothing, as the kernel closes everything when the process ends.

import { isMainThread } from 'node:worker_threads';
import { checkFd } from './arguments';
import { type CFunction, cleanupHooks, raw } from './koffi';
import { ERRNO } from './platform/linux';

/** The registered descriptors. Node aborts when the same hook is added twice. */
const registered = new Set<number>();

/**
 * Makes a call that opens a descriptor, and registers what it returns. Both stand in one function:
 * termination strikes where a JavaScript function begins, and not where a native one does, so nothing can
 * come between them.
 * @returns the descriptor, or a negated errno
 */
export function open(fn: CFunction, a?: unknown, b?: unknown, c?: unknown, d?: unknown): number {
  for (;;) {
    const fd = fn(a, b, c, d);
    if (fd !== -1) {
      const { hooks } = raw;
      if (hooks !== null && !registered.has(fd)) {
        hooks.add(hooks.isolate, hooks.close, fd);
        registered.add(fd);
      }
      return fd;
    }
    const negated = -raw.errno();
    if (negated !== -ERRNO.EINTR) return negated;
  }
}

/**
 * The same for socketpair(2), which fills `fds`.
 * @returns 0, or a negated errno
 */
export function openPair(fds: Int32Array, family: number, type: number, protocol: number): number {
  if (raw.socketpair(family, type, protocol, fds) === -1) return -raw.errno();
  const { hooks } = raw;
  if (hooks === null) return 0;
  const first = fds[0] as number;
  const second = fds[1] as number;
  if (!registered.has(first)) hooks.add(hooks.isolate, hooks.close, first);
  if (!registered.has(second)) hooks.add(hooks.isolate, hooks.close, second);
  registered.add(first).add(second);
  return 0;
}

/** Registers a descriptor that was opened elsewhere. */
export function closeAtEnd(fd: number): void {
  if (isMainThread || registered.has(fd)) return;
  checkFd('close', fd);
  const hooks = cleanupHooks();
  hooks.add(hooks.isolate, hooks.close, fd);
  registered.add(fd);
}

/**
 * close(2). Unregistering and closing stand in one function, as in `open`.
 * @returns 0, or a negated errno
 */
export function closeNow(fd: number): number {
  const { hooks } = raw;
  if (hooks !== null && registered.delete(fd)) hooks.remove(hooks.isolate, hooks.close, fd);
  return raw.close(fd) === -1 ? -raw.errno() : 0;
}

/** Unregisters a descriptor that is given away. */
export function leaveAtEnd(fd: number): void {
  const { hooks } = raw;
  if (hooks !== null && registered.delete(fd)) hooks.remove(hooks.isolate, hooks.close, fd);
}
