// The C library, and the only file that knows koffi.
//
// What a reader must believe before the code:
//
// 1. Every call that can fail with an errno goes through `once`, which reads it as the very next
//    statement: the next write to stderr, the next file read of Node's own, would overwrite it. A
//    call answers as the kernel does: a result of 0 or more, or the errno, negated. So a would-block
//    costs no exception. Whoever wants one asks `check`.
// 2. koffi coerces without a word: NaN becomes 0, 2**32 + 5 becomes 5. So every number is checked
//    here before it goes down, and every length is computed here, beside the memory that it is the
//    length of. No caller passes one.
// 3. Memory is raw bytes. koffi's structs cost three to six times as much, and its named types
//    belong to the process, so that a second copy of this module could not load.
//    Memory written on the hot path has a fixed address (`Memory`), which saves describing a Buffer
//    to the callee at every call.
// 4. Nothing here blocks, but for a wait with a timeout and `getaddrinfo`; nothing runs on Node's
//    thread pool.

import { fstatSync, readFileSync } from 'node:fs';
import { isMainThread, markAsUntransferable } from 'node:worker_threads';
import { badRange, badType, checkInteger, errorCode, lookupError, SocketError } from '../errors';
import {
  EAI,
  ERRNO,
  F_DUPFD_CLOEXEC,
  F_GETFD,
  LAYOUT,
  RTLD_LAZY_NODELETE,
  requirePlatform,
} from './platform/linux';

type Koffi = typeof import('koffi');
type CFunction = (...args: unknown[]) => number;

/** The declarations, in C's words. `uintptr_t` where memory has a fixed address, see `Memory`. */
const SIGNATURES = {
  socket: 'int socket(int, int, int)',
  socketpair: 'int socketpair(int, int, int, void *)',
  bind: 'int bind(int, void *, uint32_t)',
  listen: 'int listen(int, int)',
  connect: 'int connect(int, void *, uint32_t)',
  accept4: 'int accept4(int, void *, void *, int)',
  getsockname: 'int getsockname(int, void *, void *)',
  getpeername: 'int getpeername(int, void *, void *)',
  getsockopt: 'int getsockopt(int, int, int, void *, void *)',
  setsockopt: 'int setsockopt(int, int, int, void *, uint32_t)',
  recv: 'intptr_t recv(int, uintptr_t, size_t, int)',
  recvfrom: 'intptr_t recvfrom(int, void *, size_t, int, void *, void *)',
  send: 'intptr_t send(int, void *, size_t, int)',
  sendFrom: 'intptr_t send(int, uintptr_t, size_t, int)',
  sendto: 'intptr_t sendto(int, void *, size_t, int, void *, uint32_t)',
  shutdown: 'int shutdown(int, int)',
  close: 'int close(int)',
  read: 'intptr_t read(int, void *, size_t)',
  write: 'intptr_t write(int, void *, size_t)',
  fcntl: 'int fcntl(int, int, ...)',
  epoll_create1: 'int epoll_create1(int)',
  epoll_ctl: 'int epoll_ctl(int, int, int, uintptr_t)',
  epoll_wait: 'int epoll_wait(int, uintptr_t, int, int)',
  poll: 'int poll(uintptr_t, unsigned long, int)',
  inet_pton: 'int inet_pton(int, const char *, void *)',
  if_nametoindex: 'uint32_t if_nametoindex(const char *)',
} as const;

type Calls = Record<keyof typeof SIGNATURES, CFunction>;

/**
 * What a thread of Node does when it ends: `node::AddEnvironmentCleanupHook` of node.h, its opposite,
 * and the isolate that they want. Node exports them to add-ons, under the names that C++ makes of them.
 */
const HOOKS = {
  isolate: 'uintptr_t _ZN2v87Isolate10GetCurrentEv()',
  add: 'void _ZN4node25AddEnvironmentCleanupHookEPN2v87IsolateEPFvPvES3_(uintptr_t, uintptr_t, uintptr_t)',
  remove:
    'void _ZN4node28RemoveEnvironmentCleanupHookEPN2v87IsolateEPFvPvES3_(uintptr_t, uintptr_t, uintptr_t)',
} as const;

/** Text out of C, and lists that C allocates: koffi's own helpers, off every hot path. */
interface Loaded extends Calls {
  errno: () => number;
  address: (memory: Buffer) => number;
  strerror: (errno: number) => string;
  ifIndexToName: (index: number, name: Buffer) => unknown;
  inetNtop: (family: number, address: Uint8Array, text: Buffer, size: number) => unknown;
  getAddrInfo: (host: string, service: null, hints: Uint8Array, list: BigUint64Array) => number;
  freeAddrInfo: (list: bigint) => void;
  memcpy: (to: Buffer, from: bigint, length: number) => void;
  pollNode: Koffi['node']['poll'];
  /** null in the main thread: when that ends, the kernel closes everything. */
  hooks: Hooks | null;
}

/** `add` and `remove` take the isolate, the hook, which is close(2) itself, and its one argument. */
interface Hooks {
  isolate: number;
  close: unknown;
  add: CFunction;
  remove: CFunction;
}

let loaded: Loaded | undefined;

/**
 * Loaded at the first use, not at import: a program may import this package where it cannot run.
 * @throws {Error} `ERR_UNSUPPORTED_PLATFORM`
 */
function libc(): Loaded {
  loaded ??= load();
  return loaded;
}

function load(): Loaded {
  requirePlatform();
  const koffi: Koffi = require('koffi');
  // null is the process itself: the portable spelling, as musl has no libc.so.6.
  const c = koffi.load(null);
  const calls = {} as Record<string, CFunction>;
  for (const [name, signature] of Object.entries(SIGNATURES)) calls[name] = c.func(signature);
  if (!isMainThread) pinAddon(c.func('void *dlopen(const char *, int)'));
  return {
    ...(calls as Calls),
    errno: koffi.errno,
    address: (memory) => Number(koffi.address(memory)),
    strerror: c.func('const char *strerror(int)'),
    ifIndexToName: c.func('void *if_indextoname(uint32_t, void *)'),
    inetNtop: c.func('void *inet_ntop(int, void *, void *, uint32_t)'),
    getAddrInfo: c.func('int getaddrinfo(const char *, const char *, void *, void *)'),
    freeAddrInfo: c.func('void freeaddrinfo(void *)'),
    memcpy: c.func('void memcpy(void *, uintptr_t, size_t)'),
    pollNode: koffi.node.poll,
    hooks: isMainThread
      ? null
      : {
          isolate: c.func(HOOKS.isolate)(),
          close: c.symbol('close'),
          add: c.func(HOOKS.add),
          remove: c.func(HOOKS.remove),
        },
  };
}

/**
 * A worker that ends with a poll handle open unloads koffi if no other thread has loaded it, and
 * libuv then calls into unmapped memory. Opened once more without ever being closed, it stays.
 */
function pinAddon(dlopen: (path: string, flags: number) => unknown): void {
  const path = /\s(\/\S.*koffi\.node)$/m.exec(readFileSync('/proc/self/maps', 'utf8'))?.[1];
  if (path !== undefined) dlopen(path, RTLD_LAZY_NODELETE);
}

/** The funnel: one call, and its errno before anything else can run. */
function once(
  fn: CFunction,
  a?: unknown,
  b?: unknown,
  c?: unknown,
  d?: unknown,
  e?: unknown,
  f?: unknown,
): number {
  return answer(fn(a, b, c, d, e, f));
}

function answer(result: number): number {
  return result === -1 ? -(loaded as Loaded).errno() : result;
}

/** The same for what does not wait, so that a signal in between is nobody's business. */
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
  do result = once(fn, a, b, c, d, e, f);
  while (result === -ERRNO.EINTR);
  return result;
}

/** What this worker's end closes. Node aborts when it is told one twice. */
const closedAtEnd = new Set<number>();

/**
 * For a call that opens a descriptor, and returns it. A worker that is terminated runs no more
 * JavaScript, so Node is told at once to close it then: in the same function, as a function's beginning
 * is where termination strikes, but not that of a native one.
 */
function open(fn: CFunction, a?: unknown, b?: unknown, c?: unknown, d?: unknown): number {
  const { hooks, errno } = loaded as Loaded;
  for (;;) {
    const fd = fn(a, b, c, d);
    if (fd !== -1) {
      if (hooks !== null && !closedAtEnd.has(fd)) {
        hooks.add(hooks.isolate, hooks.close, fd);
        closedAtEnd.add(fd);
      }
      return fd;
    }
    const negated = -errno();
    if (negated !== -ERRNO.EINTR) return negated;
  }
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
  return libc().strerror(errno);
}

function checkFd(action: string, fd: number): void {
  if (typeof fd !== 'number' || (fd | 0) !== fd || fd < 0) {
    throw (typeof fd === 'number' ? badRange : badType)(action, 'a file descriptor', fd);
  }
}

/** The engine's own: a program's class, or object, may say something else. */
const byteLengthOf = Object.getOwnPropertyDescriptor(
  Object.getPrototypeOf(Uint8Array.prototype),
  'byteLength',
)?.get as (this: Uint8Array) => number;

/** @returns how many bytes there are */
function checkBytes(action: string, data: Uint8Array): number {
  if (!(data instanceof Uint8Array)) throw badType(action, 'a Uint8Array', data);
  return byteLengthOf.call(data);
}

export function checkInt(action: string, what: string, value: number): void {
  if (typeof value !== 'number' || (value | 0) !== value)
    checkInteger(action, what, value, -(2 ** 31), 2 ** 31 - 1);
}

/**
 * Bytes at an address that never changes, for what the kernel writes on the hot path. Allocated
 * outside V8's heap, so that no collection moves it, and it lives as long as this object: hold
 * one for as long as anything may be written.
 */
export class Memory {
  readonly buffer: Buffer;
  readonly #address: number;

  constructor(size: number) {
    checkInteger('allocate', 'a size', size, 1, 2 ** 31);
    this.buffer = Buffer.allocUnsafeSlow(size);
    // Views of it are handed out. Nobody may transfer one to a worker, and the rest with it.
    markAsUntransferable(this.buffer.buffer);
    this.#address = libc().address(this.buffer);
  }

  /**
   * The address of `length` bytes at `offset`: the one place that turns a range into a pointer, so
   * that none can be out of bounds.
   */
  at(offset: number, length: number): number {
    const size = this.buffer.length;
    const integers = Number.isSafeInteger(offset) && Number.isSafeInteger(length);
    if (!integers || offset < 0 || length < 0 || offset + length > size) {
      throw badRange('address memory', `a range within ${size} bytes`, [offset, length]);
    }
    return this.#address + offset;
  }
}

/** A sockaddr that the kernel fills in. Reused by every call: decode it before the next one. */
export class SockaddrSlot {
  readonly bytes: Buffer = Buffer.alloc(LAYOUT.sockaddrStorage);
  readonly #length = new Uint32Array(1);

  /** What the length argument points to, set to how much there is room for. */
  fresh(): Uint32Array {
    this.#length[0] = this.bytes.length;
    return this.#length;
  }

  /** The bytes the kernel wrote; what did not fit is cut off. */
  get written(): Buffer {
    return this.bytes.subarray(0, Math.min(this.#length[0] as number, this.bytes.length));
  }
}

export function socket(family: number, type: number, protocol: number): number {
  checkInt('socket', 'family', family);
  checkInt('socket', 'type', type);
  checkInt('socket', 'protocol', protocol);
  return open(libc().socket, family, type, protocol);
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
  const { hooks, socketpair } = libc();
  if (socketpair(family, type, protocol, fds) === -1) return answer(-1);
  const [one, other] = [fds[0] as number, fds[1] as number];
  // As in `open`.
  if (hooks !== null && !closedAtEnd.has(one)) hooks.add(hooks.isolate, hooks.close, one);
  if (hooks !== null && !closedAtEnd.has(other)) hooks.add(hooks.isolate, hooks.close, other);
  if (hooks !== null) closedAtEnd.add(one).add(other);
  return [one, other];
}

export function bind(fd: number, sockaddr: Uint8Array): number {
  checkFd('bind', fd);
  return call(libc().bind, fd, sockaddr, checkBytes('bind', sockaddr));
}

export function listen(fd: number, backlog: number): number {
  checkFd('listen', fd);
  checkInt('listen', 'backlog', backlog);
  return call(libc().listen, fd, backlog);
}

export function connect(fd: number, sockaddr: Uint8Array): number {
  checkFd('connect', fd);
  return call(libc().connect, fd, sockaddr, checkBytes('connect', sockaddr));
}

export function accept4(fd: number, slot: SockaddrSlot, flags: number): number {
  checkFd('accept', fd);
  return open(libc().accept4, fd, slot.bytes, slot.fresh(), flags);
}

export function getsockname(fd: number, slot: SockaddrSlot): number {
  checkFd('getsockname', fd);
  return call(libc().getsockname, fd, slot.bytes, slot.fresh());
}

export function getpeername(fd: number, slot: SockaddrSlot): number {
  checkFd('getpeername', fd);
  return call(libc().getpeername, fd, slot.bytes, slot.fresh());
}

/** @returns how many bytes of `value` the kernel filled in, or a negated errno */
export function getsockopt(fd: number, level: number, name: number, value: Uint8Array): number {
  checkFd('getsockopt', fd);
  checkInt('getsockopt', 'level', level);
  checkInt('getsockopt', 'option', name);
  const room = checkBytes('getsockopt', value);
  const length = Uint32Array.of(room);
  const result = call(libc().getsockopt, fd, level, name, value, length);
  return result < 0 ? result : Math.min(length[0] as number, room);
}

export function setsockopt(fd: number, level: number, name: number, value: Uint8Array): number {
  checkFd('setsockopt', fd);
  checkInt('setsockopt', 'level', level);
  checkInt('setsockopt', 'option', name);
  const length = checkBytes('setsockopt', value);
  return call(libc().setsockopt, fd, level, name, value, length);
}

/** With MSG_TRUNC the kernel tells the datagram's own length, which may be beyond what was read. */
export function recv(
  fd: number,
  memory: Memory,
  offset: number,
  length: number,
  flags: number,
): number {
  checkFd('recv', fd);
  checkInt('recv', 'flags', flags);
  return call(libc().recv, fd, memory.at(offset, length), length, flags);
}

/** recv(2) into the program's own memory; with a slot also the sender, as recvfrom(2). */
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
    libc().recvfrom,
    fd,
    buffer,
    length,
    flags,
    slot === null ? null : slot.bytes,
    slot === null ? null : slot.fresh(),
  );
}

export function send(fd: number, data: Uint8Array, flags: number): number {
  checkFd('send', fd);
  const length = checkBytes('send', data);
  checkInt('send', 'flags', flags);
  return call(libc().send, fd, data, length, flags);
}

/** send(2) of the first `length` bytes of a memory. */
export function sendFrom(
  fd: number,
  memory: Memory,
  offset: number,
  length: number,
  flags: number,
): number {
  checkFd('send', fd);
  checkInt('send', 'flags', flags);
  return call(libc().sendFrom, fd, memory.at(offset, length), length, flags);
}

export function sendto(fd: number, data: Uint8Array, flags: number, sockaddr: Uint8Array): number {
  checkFd('sendto', fd);
  const length = checkBytes('sendto', data);
  const addressLength = checkBytes('sendto', sockaddr);
  checkInt('sendto', 'flags', flags);
  return call(libc().sendto, fd, data, length, flags, sockaddr, addressLength);
}

export function shutdown(fd: number, how: number): number {
  checkFd('shutdown', fd);
  checkInt('shutdown', 'how', how);
  return call(libc().shutdown, fd, how);
}

/** Never retried: Linux gives the number back before it can be interrupted. */
export function close(fd: number): number {
  checkFd('close', fd);
  const { hooks, close } = libc();
  // One after the other, as in `open`.
  if (closedAtEnd.delete(fd)) hooks?.remove(hooks.isolate, hooks.close, fd);
  return answer(close(fd));
}

/** Has a descriptor that was opened elsewhere closed, too, when this worker ends. */
export function closeAtEnd(fd: number): void {
  const { hooks } = libc();
  if (hooks === null || closedAtEnd.has(fd)) return;
  checkFd('close', fd);
  hooks.add(hooks.isolate, hooks.close, fd);
  closedAtEnd.add(fd);
}

/** Leaves one open that is given away. */
export function leaveAtEnd(fd: number): void {
  const { hooks } = libc();
  if (hooks !== null && closedAtEnd.delete(fd)) hooks.remove(hooks.isolate, hooks.close, fd);
}

export function read(fd: number, buffer: Uint8Array): number {
  checkFd('read', fd);
  return call(libc().read, fd, buffer, checkBytes('read', buffer));
}

export function write(fd: number, data: Uint8Array): number {
  checkFd('write', fd);
  return call(libc().write, fd, data, checkBytes('write', data));
}

/**
 * fcntl(2) with an integer argument. Variadic in C: koffi is told the type at each call, and takes
 * whatever follows, the undefined of `once` too, for more of them. These commands do not wait, so
 * no signal can interrupt them.
 */
export function fcntl(fd: number, command: number, argument = 0): number {
  checkFd('fcntl', fd);
  checkInt('fcntl', 'command', command);
  checkInt('fcntl', 'argument', argument);
  return answer(libc().fcntl(fd, command, 'int', argument));
}

/** The same file under another number, which no child inherits. */
export function dup(fd: number): number {
  checkFd('dup', fd);
  return open(libc().fcntl, fd, F_DUPFD_CLOEXEC, 'int', 0);
}

/** Whether there is anything under this number. */
export function isOpen(fd: number): boolean {
  return fcntl(fd, F_GETFD) >= 0;
}

export function epollCreate(flags: number): number {
  checkInt('epoll_create1', 'flags', flags);
  return open(libc().epoll_create1, flags);
}

/** `event` holds one struct epoll_event at its start. */
export function epollCtl(epfd: number, op: number, fd: number, event: Memory): number {
  checkFd('epoll_ctl', epfd);
  checkFd('epoll_ctl', fd);
  checkInt('epoll_ctl', 'op', op);
  return call(libc().epoll_ctl, epfd, op, fd, event.at(0, LAYOUT.epollEvent.size));
}

/**
 * Waits up to `timeout` ms (-1: without limit) for as many events as `events` has room for.
 * A signal in between means "no events": 0.
 */
export function epollWait(epfd: number, events: Memory, timeout: number): number {
  checkFd('epoll_wait', epfd);
  checkInt('epoll_wait', 'timeout', timeout);
  const size = events.buffer.length;
  const room = Math.floor(size / LAYOUT.epollEvent.size);
  const result = once(libc().epoll_wait, epfd, events.at(0, size), room, timeout);
  return result === -ERRNO.EINTR ? 0 : result;
}

/** poll(2) on the first `count` entries of `pollfds`. Timeout and signals as in `epollWait`. */
export function poll(pollfds: Memory, count: number, timeout: number): number {
  checkInt('poll', 'timeout', timeout);
  const address = pollfds.at(0, count * LAYOUT.pollfd);
  const result = once(libc().poll, address, count, timeout);
  return result === -ERRNO.EINTR ? 0 : result;
}

/** An IP literal as its 4 or 16 bytes in network order, or null when it is none. */
export function inetPton(family: number, literal: string, size: number): Buffer | null {
  const bytes = Buffer.alloc(16);
  // A C string ends at the first NUL, where a JavaScript string does not.
  if (literal.includes('\0')) return null;
  return call(libc().inet_pton, family, literal, bytes) === 1 ? bytes.subarray(0, size) : null;
}

/** 16 bytes as the shortest IPv6 literal (RFC 5952). */
export function inetNtop(family: number, bytes: Uint8Array): string {
  const text = Buffer.alloc(64);
  libc().inetNtop(family, bytes, text, text.length);
  return text.toString('latin1', 0, text.indexOf(0));
}

/** The index of a network interface, or 0 when there is none of this name. */
export function ifNameToIndex(name: string): number {
  return name.includes('\0') ? 0 : libc().if_nametoindex(name);
}

/** The name of a network interface, or null. */
export function ifIndexToName(index: number): string | null {
  const name = Buffer.alloc(16);
  return libc().ifIndexToName(index, name) === null
    ? null
    : name.toString('utf8', 0, name.indexOf(0));
}

/**
 * Looks a host name up, blocking the thread for as long as that takes.
 * @returns sockaddrs, their port zero
 * @throws {SocketError} with the codes of Node's `dns.lookup`: `ENOTFOUND`, `EAI_AGAIN`, …
 */
export function getaddrinfo(host: string, family: number, type: number): Buffer[] {
  checkInt('getaddrinfo', 'family', family);
  checkInt('getaddrinfo', 'type', type);
  const c = libc();
  if (host.includes('\0')) throw badType('look up a host', 'a name without NUL', host);
  const { size, addrlen, addr, next } = LAYOUT.addrinfo;
  const hints = new Int32Array(size / 4);
  hints[1] = family;
  hints[2] = type;
  const list = new BigUint64Array(1);
  const result = c.getAddrInfo(host, null, new Uint8Array(hints.buffer), list);
  if (result !== 0) {
    throw lookupError(EAI[result] ?? `EAI ${result}`, host);
  }
  const head = list[0] as bigint;
  const sockaddrs: Buffer[] = [];
  for (let entry = head; entry !== 0n; ) {
    const info = bytesAt(entry, size);
    const length = info.readUInt32LE(addrlen);
    sockaddrs.push(bytesAt(info.readBigUInt64LE(addr), length));
    entry = info.readBigUInt64LE(next);
  }
  c.freeAddrInfo(head);
  return sockaddrs;
}

/**
 * Copied: the list is about to be freed. By memcpy(3), as koffi's own way makes a view of it, which
 * takes the process along when a worker is terminated meanwhile.
 */
function bytesAt(address: bigint, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  libc().memcpy(bytes, address, length);
  return bytes;
}

/** Which ways a descriptor is watched. */
export interface Interest {
  readable: boolean;
  writable: boolean;
}

/** The watches that are open. A worker must not end with one: koffi would call into a dead thread. */
const openWatches = new Set<Watch>();
if (!isMainThread) {
  process.on('exit', () => {
    for (const watch of openWatches) watch.close();
  });
}

function whyUnwatchable(fd: number): number {
  if (!isOpen(fd)) return ERRNO.EBADF;
  for (const watch of openWatches) if (watch.fd === fd) return ERRNO.EEXIST;
  const is = fstatSync(fd);
  return is.isFile() || is.isDirectory() ? ERRNO.EPERM : 0;
}

/** A descriptor that Node's own loop watches. */
export class Watch {
  readonly #fd: number;
  #handle: import('koffi').node.PollHandle | null;

  /**
   * Calls `wake` at each turn of Node's loop in which `fd` is ready. The callback runs outside
   * Node's callback scope, where promises and nextTicks would not be served, so it may only
   * schedule. It costs a libuv handle and no thread, and keeps the process alive.
   *
   * libuv refuses what is closed, what is watched already, and regular files, and koffi then aborts
   * the process. So all that can be known of these is refused here.
   * @throws {SocketError} `EBADF`, `EEXIST`, `EPERM`
   */
  constructor(fd: number, interest: Interest, wake: () => void) {
    checkFd('watch', fd);
    this.#fd = fd;
    const errno = whyUnwatchable(fd);
    if (errno !== 0) throw failure(-errno, 'uv_poll');
    // Held here: a poll handle that is collected stops without a word.
    this.#handle = libc().pollNode(fd, { ...interest }, wake);
    openWatches.add(this);
  }

  get fd(): number {
    return this.#fd;
  }

  /** Idempotent: koffi's own handle crashes when it is touched after its close. */
  close(): void {
    this.#handle?.close();
    this.#handle = null;
    openWatches.delete(this);
  }
}
