// System calls, typed and checked.
//
// 1. A call returns what the kernel returns: a result of 0 or more, or the errno, negated. So a would-block
//    costs no exception. `check` turns a negated errno into an error.
// 2. Every number is checked here before it goes down, and every length is computed here, from the memory
//    that it is the length of. No caller passes the length of a Buffer.
// 3. The errno is read by the very next statement after its call, see koffi.ts.
// 4. Nothing here blocks, but for a wait with a timeout. Nothing runs on Node's thread pool.
//
// The calls of the hot path (recv, send, sendFrom, accept4, close, epollCtl, epollWait) test their numbers
// inline and read the errno themselves, to save the calls to `checkFd` and `call`.

import { checkInteger, SocketError } from '../errors';
import { checkBytes, checkFd, checkInt } from './arguments';
import { errorCode } from './errno';
import { type CFunction, type Memory, raw, type SockaddrSlot } from './koffi';
import type { MessageMemory } from './message-memory';
import { ERRNO, F_DUPFD_CLOEXEC, F_GETFD, LAYOUT } from './platform/linux';
import { noteProgress, progress } from './progress';
import { closeNow, open, openPair, openReceived } from './thread-cleanup';

// Types alone: re-exported values would make the exports of this file a dictionary in V8, and each call
// through them slower.
export type { Memory, SockaddrSlot } from './koffi';

const { EINTR } = ERRNO;

/** In bytes, and more than any C library needs. */
const LARGEST_SIGACTION = 512;
const SIG_IGN = 1n;

function answer(result: number): number {
  return result === -1 ? -raw.errno() : result;
}

/** One call that does not wait: made again after a signal. */
function call(
  fn: CFunction,
  a?: unknown,
  b?: unknown,
  c?: unknown,
  d?: unknown,
  e?: unknown,
  f?: unknown,
): number {
  let result: number;
  do result = answer(fn(a, b, c, d, e, f));
  while (result === -EINTR);
  if (result > 0) noteProgress();
  return result;
}

/** Passes a result through, and throws an errno. */
export function check(result: number, syscall: string, address?: string): number {
  if (result >= 0) return result;
  throw failure(result, syscall, address);
}

/** The error for a negated errno. */
export function failure(result: number, syscall: string, address?: string): SocketError {
  const errno = -result;
  return new SocketError(errorCode(errno), errno, syscall, strerror(errno), address);
}

/**
 * What the C library says of an errno: 111 is `Connection refused`. Python's `os.strerror`.
 * @throws {RangeError} for what is no 32-bit integer
 */
export function strerror(errno: number): string {
  checkInteger('strerror', 'errno', errno, -(2 ** 31), 2 ** 31 - 1);
  return raw.strerror(errno);
}

export function socket(family: number, type: number, protocol: number): number {
  checkInt('socket', 'family', family);
  checkInt('socket', 'type', type);
  checkInt('socket', 'protocol', protocol);
  return open(raw.socket, family, type, protocol);
}

/** @returns two descriptors, or a negated errno */
export function socketpair(
  family: number,
  type: number,
  protocol: number,
): [number, number] | number {
  checkInt('socketpair', 'family', family);
  checkInt('socketpair', 'type', type);
  checkInt('socketpair', 'protocol', protocol);
  const fds = new Int32Array(2);
  const result = openPair(raw.socketpair, fds, family, type, protocol, fds);
  return result < 0 ? result : [fds[0] as number, fds[1] as number];
}

/** @returns the end to read from and the end to write to, or a negated errno */
export function pipe2(flags: number): [number, number] | number {
  checkInt('pipe2', 'flags', flags);
  const fds = new Int32Array(2);
  const result = openPair(raw.pipe2, fds, fds, flags);
  return result < 0 ? result : [fds[0] as number, fds[1] as number];
}

export function bind(fd: number, sockaddr: Uint8Array): number {
  checkFd('bind', fd);
  return call(raw.bind, fd, sockaddr, checkBytes('bind', sockaddr));
}

export function listen(fd: number, backlog: number): number {
  checkFd('listen', fd);
  checkInt('listen', 'backlog', backlog);
  return call(raw.listen, fd, backlog);
}

export function connect(fd: number, sockaddr: Uint8Array): number {
  checkFd('connect', fd);
  return call(raw.connect, fd, sockaddr, checkBytes('connect', sockaddr));
}

export function accept4(fd: number, slot: SockaddrSlot, flags: number): number {
  if ((fd | 0) !== fd || fd < 0) checkFd('accept', fd);
  if ((flags | 0) !== flags) checkInt('accept', 'flags', flags);
  return open(raw.accept4, fd, slot.bytes, slot.fresh(), flags);
}

export function getsockname(fd: number, slot: SockaddrSlot): number {
  checkFd('getsockname', fd);
  return call(raw.getsockname, fd, slot.bytes, slot.fresh());
}

export function getpeername(fd: number, slot: SockaddrSlot): number {
  checkFd('getpeername', fd);
  return call(raw.getpeername, fd, slot.bytes, slot.fresh());
}

/** @returns how many bytes of `value` the kernel filled in, or a negated errno */
export function getsockopt(fd: number, level: number, name: number, value: Uint8Array): number {
  checkFd('getsockopt', fd);
  checkInt('getsockopt', 'level', level);
  checkInt('getsockopt', 'option', name);
  const room = checkBytes('getsockopt', value);
  const length = Uint32Array.of(room);
  const result = call(raw.getsockopt, fd, level, name, value, length);
  return result < 0 ? result : Math.min(length[0] as number, room);
}

export function setsockopt(fd: number, level: number, name: number, value: Uint8Array): number {
  checkFd('setsockopt', fd);
  checkInt('setsockopt', 'level', level);
  checkInt('setsockopt', 'option', name);
  const length = checkBytes('setsockopt', value);
  return call(raw.setsockopt, fd, level, name, value, length);
}

/** With MSG_TRUNC the result is the datagram's own length, which may be beyond what was read. */
export function recv(
  fd: number,
  memory: Memory,
  offset: number,
  length: number,
  flags: number,
): number {
  if ((fd | 0) !== fd || fd < 0) checkFd('recv', fd);
  if ((flags | 0) !== flags) checkInt('recv', 'flags', flags);
  const address = memory.at(offset, length);
  for (;;) {
    const result = raw.recv(fd, address, length, flags);
    if (result !== -1) {
      if (result > 0) progress.count = (progress.count + 1) | 0;
      return result;
    }
    const negated = -raw.errno();
    if (negated !== -EINTR) return negated;
  }
}

/** recv(2) into the program's own memory; with a slot, recvfrom(2), which reports the sender as well. */
export function recvfrom(
  fd: number,
  buffer: Uint8Array,
  flags: number,
  slot: SockaddrSlot | null,
): number {
  checkFd('recvfrom', fd);
  const length = checkBytes('recvfrom', buffer);
  checkInt('recvfrom', 'flags', flags);
  return call(
    raw.recvfrom,
    fd,
    buffer,
    length,
    flags,
    slot === null ? null : slot.bytes,
    slot === null ? null : slot.fresh(),
  );
}

export function send(fd: number, data: Uint8Array, flags: number): number {
  if ((fd | 0) !== fd || fd < 0) checkFd('send', fd);
  const length = checkBytes('send', data);
  if ((flags | 0) !== flags) checkInt('send', 'flags', flags);
  for (;;) {
    const result = raw.send(fd, data, length, flags);
    if (result !== -1) {
      if (result > 0) progress.count = (progress.count + 1) | 0;
      return result;
    }
    const negated = -raw.errno();
    if (negated !== -EINTR) return negated;
  }
}

/** send(2) of `length` bytes of a memory, from `offset` on. */
export function sendFrom(
  fd: number,
  memory: Memory,
  offset: number,
  length: number,
  flags: number,
): number {
  if ((fd | 0) !== fd || fd < 0) checkFd('send', fd);
  if ((flags | 0) !== flags) checkInt('send', 'flags', flags);
  const address = memory.at(offset, length);
  for (;;) {
    const result = raw.sendFrom(fd, address, length, flags);
    if (result !== -1) {
      if (result > 0) progress.count = (progress.count + 1) | 0;
      return result;
    }
    const negated = -raw.errno();
    if (negated !== -EINTR) return negated;
  }
}

/** off_t. What the kernel writes back is not used. */
const fileOffset = new BigInt64Array(1);

/** Sends up to `length` bytes of a file, from `offset` on. The position of the file stays where it is. */
export function sendfile(fd: number, file: number, offset: number, length: number): number {
  checkFd('sendfile', fd);
  checkFd('sendfile', file);
  checkInteger('sendfile', 'an offset', offset, 0, Number.MAX_SAFE_INTEGER);
  checkInteger('sendfile', 'a length', length, 0, 2 ** 31 - 1);
  fileOffset[0] = BigInt(offset);
  return call(raw.sendfile, fd, file, fileOffset, length);
}

/** Whether the process ignores a signal, as Node has SIGPIPE ignored until a program listens for it. */
export function ignoresSignal(signal: number): boolean {
  checkInt('sigaction', 'signal', signal);
  // struct sigaction begins with the handler, everywhere.
  const action = Buffer.alloc(LARGEST_SIGACTION);
  check(call(raw.sigaction, signal, null, action), 'sigaction');
  return action.readBigUInt64LE(0) === SIG_IGN;
}

export function sendto(fd: number, data: Uint8Array, flags: number, sockaddr: Uint8Array): number {
  checkFd('sendto', fd);
  const length = checkBytes('sendto', data);
  const addressLength = checkBytes('sendto', sockaddr);
  checkInt('sendto', 'flags', flags);
  return call(raw.sendto, fd, data, length, flags, sockaddr, addressLength);
}

/** Receives into `message`; descriptors that are passed with it are registered at once. */
export function recvmsg(fd: number, message: MessageMemory, flags: number): number {
  checkFd('recvmsg', fd);
  checkInt('recvmsg', 'flags', flags);
  return openReceived(fd, message, flags);
}

/** Sends what `message` has been prepared for. */
export function sendmsg(fd: number, message: MessageMemory, flags: number): number {
  checkFd('sendmsg', fd);
  checkInt('sendmsg', 'flags', flags);
  return call(raw.sendmsg, fd, message.at(), flags);
}

export function shutdown(fd: number, how: number): number {
  checkFd('shutdown', fd);
  checkInt('shutdown', 'how', how);
  return call(raw.shutdown, fd, how);
}

/** Never made again after a signal: Linux gives the number back before it can be interrupted. */
export function close(fd: number): number {
  if ((fd | 0) !== fd || fd < 0) checkFd('close', fd);
  progress.count = (progress.count + 1) | 0;
  return closeNow(fd);
}

export function read(fd: number, buffer: Uint8Array): number {
  checkFd('read', fd);
  return call(raw.read, fd, buffer, checkBytes('read', buffer));
}

export function write(fd: number, data: Uint8Array): number {
  checkFd('write', fd);
  return call(raw.write, fd, data, checkBytes('write', data));
}

/**
 * fcntl(2) with an integer argument. Variadic in C: koffi is told the type at each call, and would
 * take the undefined of `call` for further arguments. These commands do not wait, so no signal can
 * interrupt them.
 */
export function fcntl(fd: number, command: number, argument = 0): number {
  checkFd('fcntl', fd);
  checkInt('fcntl', 'command', command);
  checkInt('fcntl', 'argument', argument);
  return answer(raw.fcntl(fd, command, 'int', argument));
}

/** The same file under another number, which no child inherits. */
export function dup(fd: number): number {
  checkFd('dup', fd);
  return open(raw.fcntl, fd, F_DUPFD_CLOEXEC, 'int', 0);
}

/** Whether the number is in use. */
export function isOpen(fd: number): boolean {
  return fcntl(fd, F_GETFD) >= 0;
}

export function epollCreate(flags: number): number {
  checkInt('epoll_create1', 'flags', flags);
  return open(raw.epoll_create1, flags);
}

/** `event` holds one struct epoll_event at its start. */
export function epollCtl(epfd: number, op: number, fd: number, event: Memory): number {
  if ((epfd | 0) !== epfd || epfd < 0) checkFd('epoll_ctl', epfd);
  if ((fd | 0) !== fd || fd < 0) checkFd('epoll_ctl', fd);
  if ((op | 0) !== op) checkInt('epoll_ctl', 'op', op);
  // It does not wait, so no signal can interrupt it.
  const result = raw.epoll_ctl(epfd, op, fd, event.at(0, LAYOUT.epollEvent.size));
  return result === -1 ? -raw.errno() : result;
}

/**
 * Waits up to `timeout` ms (-1: without limit) for as many events as `events` has room for.
 * A signal in between means "no events": 0.
 */
export function epollWait(epfd: number, events: Memory, timeout: number): number {
  if ((epfd | 0) !== epfd || epfd < 0) checkFd('epoll_wait', epfd);
  if ((timeout | 0) !== timeout) checkInt('epoll_wait', 'timeout', timeout);
  const size = events.buffer.length;
  const room = Math.floor(size / LAYOUT.epollEvent.size);
  const result = raw.epoll_wait(epfd, events.at(0, size), room, timeout);
  if (result !== -1) return result;
  const errno = raw.errno();
  return errno === EINTR ? 0 : -errno;
}

/** poll(2) on the first `count` entries of `pollfds`. Timeout and signals as in `epollWait`. */
export function poll(pollfds: Memory, count: number, timeout: number): number {
  checkInt('poll', 'timeout', timeout);
  const result = answer(raw.poll(pollfds.at(0, count * LAYOUT.pollfd), count, timeout));
  return result === -EINTR ? 0 : result;
}
