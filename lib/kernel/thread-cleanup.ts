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

/**
 * `registered[fd]` is true for a registered descriptor. Node aborts when the same hook is added twice.
 *
 * No Set: termination strikes where a function of JavaScript begins, `Set.prototype.has` included. It does
 * not strike where one of koffi's begins. So between a call that opens a descriptor and the registration,
 * nothing but koffi's functions may be called, and nothing imported may be named: the import may be a getter.
 */
const registered: boolean[] = [];

/**
 * Makes a call that opens a descriptor, and registers what it returns.
 * @returns the descriptor, or a negated errno
 */
export function open(fn: CFunction, a?: unknown, b?: unknown, c?: unknown, d?: unknown): number {
  const calls = raw;
  for (;;) {
    const fd = fn(a, b, c, d);
    if (fd !== -1) {
      const { hooks } = calls;
      if (hooks !== null && !registered[fd]) {
        hooks.add(hooks.isolate, hooks.close, fd);
        registered[fd] = true;
      }
      progress.count = (progress.count + 1) | 0;
      return fd;
    }
    const negated = -raw.errno();
    if (negated !== -ERRNO.EINTR) return negated;
  }
}

/**
 * The same for a call that opens two: socketpair(2) and pipe2(2). Neither of them waits.
 * @param fds what the call fills; one of its arguments
 * @returns 0, or a negated errno
 */
export function openPair(
  fn: CFunction,
  fds: Int32Array,
  a?: unknown,
  b?: unknown,
  c?: unknown,
  d?: unknown,
): number {
  const calls = raw;
  if (fn(a, b, c, d) === -1) return -calls.errno();
  const { hooks } = calls;
  if (hooks === null) return 0;
  const first = fds[0] as number;
  const second = fds[1] as number;
  if (!registered[first]) hooks.add(hooks.isolate, hooks.close, first);
  if (!registered[second]) hooks.add(hooks.isolate, hooks.close, second);
  registered[first] = true;
  registered[second] = true;
  return 0;
}

// Numbers of this file's own, as imported ones may not be named; the first three are in 32-bit words.
const CONTROL_LENGTH = LAYOUT.msghdr.controlLength / 4;
const CMSG_LEVEL = LAYOUT.cmsghdr.level / 4;
const CMSG_TYPE = LAYOUT.cmsghdr.type / 4;
const CMSG_HEADER = LAYOUT.cmsghdr.size;
const LEVEL = SOL_SOCKET;
const TYPE = SCM_RIGHTS;

/**
 * The same for recvmsg(2), which may bring descriptors as control data: SCM_RIGHTS.
 * @returns how many bytes of data were received, or a negated errno
 */
export function openReceived(fd: number, message: MessageMemory, flags: number): number {
  const calls = raw;
  const { headerWords, controlWords } = message;
  const header = message.at();
  const room = controlWords.length * 4;
  for (;;) {
    const result = calls.recvmsg(fd, header, flags);
    if (result === -1) {
      const negated = -calls.errno();
      if (negated !== -ERRNO.EINTR) return negated;
      continue;
    }
    const { hooks } = calls;
    if (hooks === null) return result;
    const used = headerWords[CONTROL_LENGTH] as number;
    const end = used < room ? used : room;
    for (let at = 0; end - at >= CMSG_HEADER; ) {
      const first = at / 4;
      const told = controlWords[first] as number;
      const length = told < end - at ? told : end - at;
      if (length < CMSG_HEADER) break;
      const isRights =
        controlWords[first + CMSG_LEVEL] === LEVEL && controlWords[first + CMSG_TYPE] === TYPE;
      const last = isRights ? at + length : 0;
      for (let next = at + CMSG_HEADER; next + 4 <= last; next += 4) {
        const received = controlWords[next / 4] as number;
        if (registered[received]) continue;
        hooks.add(hooks.isolate, hooks.close, received);
        registered[received] = true;
      }
      // The next one begins at a multiple of 8 bytes.
      at += ((length + 7) >> 3) << 3;
    }
    return result;
  }
}

/** Registers a descriptor that was opened elsewhere. */
export function closeAtEnd(fd: number): void {
  if (isMainThread || registered[fd]) return;
  checkFd('close', fd);
  const hooks = cleanupHooks();
  hooks.add(hooks.isolate, hooks.close, fd);
  registered[fd] = true;
}

/**
 * close(2). Nothing but koffi's functions may stand between unregistering and closing either.
 * @returns 0, or a negated errno
 */
export function closeNow(fd: number): number {
  const calls = raw;
  const { hooks } = calls;
  if (hooks !== null && registered[fd]) {
    registered[fd] = false;
    hooks.remove(hooks.isolate, hooks.close, fd);
  }
  return calls.close(fd) === -1 ? -calls.errno() : 0;
}

/** Unregisters a descriptor that is given away. */
export function leaveAtEnd(fd: number): void {
  const { hooks } = raw;
  if (hooks === null || !registered[fd]) return;
  registered[fd] = false;
  hooks.remove(hooks.isolate, hooks.close, fd);
}
