// Descriptors that are closed when their thread ends.
//
// A worker that is terminated runs no more JavaScript: no `finally`, no finalizer. So each descriptor that
// it opens is registered with Node as a cleanup hook, which is close(2) itself. The main thread registers
// nothing, as the kernel closes everything when the process ends.

import { isMainThread } from 'node:worker_threads';
import { checkFd } from './arguments';
import { type CFunction, cleanupHooks, raw } from './koffi';
import type { MessageMemory } from './message-memory';
import { SCM_RIGHTS, SOL_SOCKET } from './platform/constants';
import { ERRNO, LAYOUT } from './platform/linux';
import { progress } from './progress';

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
      progress.count = (progress.count + 1) | 0;
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

// In 32-bit words.
const CONTROL_LENGTH = LAYOUT.msghdr.controlLength / 4;
const CMSG_HEADER = LAYOUT.cmsghdr.size / 4;
const CMSG_LEVEL = LAYOUT.cmsghdr.level / 4;
const CMSG_TYPE = LAYOUT.cmsghdr.type / 4;

/**
 * The same for recvmsg(2), which may bring descriptors as control data: SCM_RIGHTS. Reading them out of a
 * typed array calls no function either.
 * @returns how many bytes of data were received, or a negated errno
 */
export function openReceived(fd: number, message: MessageMemory, flags: number): number {
  const { headerWords, controlWords } = message;
  const header = message.at();
  for (;;) {
    const result = raw.recvmsg(fd, header, flags);
    if (result === -1) {
      const negated = -raw.errno();
      if (negated !== -ERRNO.EINTR) return negated;
      continue;
    }
    const { hooks } = raw;
    if (hooks === null) return result;
    const end = Math.min((headerWords[CONTROL_LENGTH] as number) >> 2, controlWords.length);
    for (let at = 0; end - at >= CMSG_HEADER; ) {
      const bytes = Math.min(controlWords[at] as number, (end - at) * 4);
      if (bytes < LAYOUT.cmsghdr.size) break;
      const isRights =
        controlWords[at + CMSG_LEVEL] === SOL_SOCKET && controlWords[at + CMSG_TYPE] === SCM_RIGHTS;
      const last = isRights ? at + (bytes >> 2) : 0;
      for (let next = at + CMSG_HEADER; next < last; next += 1) {
        const received = controlWords[next] as number;
        if (registered.has(received)) continue;
        hooks.add(hooks.isolate, hooks.close, received);
        registered.add(received);
      }
      // The next one begins at a multiple of 8 bytes.
      at += ((bytes + 7) >> 3) << 1;
    }
    return result;
  }
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
