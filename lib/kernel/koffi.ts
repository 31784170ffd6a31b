// The C library through koffi: loading, signatures, the raw calls, and the memory that they are given.
// Nothing outside kernel/ imports this file.
//
// A raw call checks nothing. It returns what C returns: -1 with `raw.errno()`, which must be read by the
// very next statement, as the next write to stderr or file read of Node's own overwrites it. koffi coerces
// arguments silently: NaN becomes 0, 2**32 + 5 becomes 5. syscalls.ts checks every argument first.
//
// Memory is raw bytes. koffi's structs cost three to six times as much, and its named types belong to the
// process, so that a second copy of this module could not load.

import { isMainThread, markAsUntransferable } from 'node:worker_threads';
import { badRange, checkInteger, codeOf, messageOf } from '../errors';
import type { Koffi } from './addon';
import { beforeBlocking } from './blocking';
import { LAYOUT, PLATFORM_SIGNATURES, pinAddon, requirePlatform } from './platform/linux';

type Library = ReturnType<Koffi['load']>;
type AnyFunction = (...args: never[]) => unknown;
/** A C function that returns a number. */
export type CFunction = (...args: unknown[]) => number;

/** Which ways a descriptor is watched. */
export interface Interest {
  readable: boolean;
  writable: boolean;
}

/** `add` and `remove` take the isolate, the hook (close(2) itself) and the hook's one argument. */
export interface CleanupHooks {
  isolate: number;
  close: unknown;
  add: CFunction;
  remove: CFunction;
}

/**
 * `node::AddEnvironmentCleanupHook` of node.h, its opposite, and the isolate that both need: what Node
 * calls when a thread ends. Node exports them to add-ons, under their mangled C++ names.
 */
const NODE_SIGNATURES = {
  isolate: 'uintptr_t _ZN2v87Isolate10GetCurrentEv()',
  add: 'void _ZN4node25AddEnvironmentCleanupHookEPN2v87IsolateEPFvPvES3_(uintptr_t, uintptr_t, uintptr_t)',
  remove:
    'void _ZN4node28RemoveEnvironmentCleanupHookEPN2v87IsolateEPFvPvES3_(uintptr_t, uintptr_t, uintptr_t)',
} as const;

/** Each stub's declaration in C's words, and what takes its place. */
const signatures = new Map<AnyFunction, string>();
const loaded = new Map<AnyFunction, AnyFunction>();

/**
 * Stands for a function until koffi is loaded. The first call of any stub loads koffi, which replaces all
 * of them in `raw`, and goes on to the real function.
 */
function stub<Real extends AnyFunction = CFunction>(signature?: string): Real {
  const standIn = (...args: never[]): unknown => {
    load();
    return (loaded.get(standIn) as AnyFunction)(...args);
  };
  if (signature !== undefined) signatures.set(standIn, signature);
  return standIn as Real;
}

/**
 * The raw calls, by their C names. koffi is loaded by the first call, not at import: a program may import
 * this package where it cannot run.
 *
 * Written out as a literal: an object that is filled under computed names becomes a dictionary in V8, and
 * each look-up in it a call. `uintptr_t` stands where memory has a fixed address, see `Memory`.
 */
export const raw = {
  socket: stub('int socket(int, int, int)'),
  socketpair: stub('int socketpair(int, int, int, void *)'),
  pipe2: stub(PLATFORM_SIGNATURES.pipe2),
  bind: stub('int bind(int, void *, uint32_t)'),
  listen: stub('int listen(int, int)'),
  connect: stub('int connect(int, void *, uint32_t)'),
  accept4: stub(PLATFORM_SIGNATURES.accept4),
  getsockname: stub('int getsockname(int, void *, void *)'),
  getpeername: stub('int getpeername(int, void *, void *)'),
  getsockopt: stub('int getsockopt(int, int, int, void *, void *)'),
  setsockopt: stub('int setsockopt(int, int, int, void *, uint32_t)'),
  recv: stub('intptr_t recv(int, uintptr_t, size_t, int)'),
  recvfrom: stub('intptr_t recvfrom(int, void *, size_t, int, void *, void *)'),
  send: stub('intptr_t send(int, void *, size_t, int)'),
  sendFrom: stub('intptr_t send(int, uintptr_t, size_t, int)'),
  sendfile: stub(PLATFORM_SIGNATURES.sendfile),
  sigaction: stub('int sigaction(int, void *, void *)'),
  sendto: stub('intptr_t sendto(int, void *, size_t, int, void *, uint32_t)'),
  recvmsg: stub('intptr_t recvmsg(int, uintptr_t, int)'),
  sendmsg: stub('intptr_t sendmsg(int, uintptr_t, int)'),
  shutdown: stub('int shutdown(int, int)'),
  close: stub('int close(int)'),
  read: stub('intptr_t read(int, void *, size_t)'),
  write: stub('intptr_t write(int, void *, size_t)'),
  fcntl: stub('int fcntl(int, int, ...)'),
  epoll_create1: stub(PLATFORM_SIGNATURES.epoll_create1),
  epoll_ctl: stub(PLATFORM_SIGNATURES.epoll_ctl),
  epoll_wait: stub(PLATFORM_SIGNATURES.epoll_wait),
  poll: stub('int poll(uintptr_t, unsigned long, int)'),
  inet_pton: stub('int inet_pton(int, const char *, void *)'),
  if_nametoindex: stub('uint32_t if_nametoindex(const char *)'),
  getaddrinfo: stub('int getaddrinfo(const char *, const char *, void *, void *)'),
  gethostbyaddr_r: stub(PLATFORM_SIGNATURES.gethostbyaddr_r),
  strlen: stub<(text: bigint) => number>('size_t strlen(uintptr_t)'),
  strerror: stub<(errno: number) => string>('const char *strerror(int)'),
  if_indextoname: stub<(index: number, name: Buffer) => unknown>(
    'void *if_indextoname(uint32_t, void *)',
  ),
  inet_ntop: stub<(family: number, address: Uint8Array, text: Buffer, size: number) => unknown>(
    'void *inet_ntop(int, void *, void *, uint32_t)',
  ),
  freeaddrinfo: stub<(list: bigint) => void>('void freeaddrinfo(void *)'),
  memcpy: stub<(to: Buffer, from: bigint, length: number) => void>(
    'void memcpy(void *, uintptr_t, size_t)',
  ),
  /** The errno of the call before this one. */
  errno: stub<() => number>(),
  addressOf: stub<(memory: Buffer) => number>(),
  /** Has libuv watch a descriptor. Only where `onLibuv()` is true. */
  watch: stub<(fd: number, interest: Interest, wake: () => void) => { close(): void }>(),
  /** null until koffi is loaded, and always in the main thread: the kernel closes all at its end. */
  hooks: null as CleanupHooks | null,
};

/** Whether the runtime's loop is libuv's; null until koffi is loaded. */
let libuv: boolean | null = null;

/** @throws {Error} `ERR_UNSUPPORTED_PLATFORM`, `ERR_KOFFI_UNAVAILABLE` */
function load(): void {
  requirePlatform();
  const koffi = requireKoffi();
  // null is the process itself: the portable spelling, as musl has no libc.so.6.
  const c = koffi.load(null);
  const real: Record<string, unknown> = {
    errno: koffi.errno,
    addressOf: (memory: Buffer) => Number(koffi.address(memory)),
    watch: koffi.node.poll,
  };
  for (const [name, standIn] of Object.entries(raw)) {
    if (standIn === null) continue;
    const signature = signatures.get(standIn as AnyFunction);
    if (signature !== undefined) real[name] = c.func(signature);
    loaded.set(standIn as AnyFunction, real[name] as AnyFunction);
  }
  const node = nodeFunctions(c);
  if (!isMainThread) {
    if (node === null) real.hooks = exitHooks();
    else {
      pin(koffi, c);
      const { isolate, add, remove } = node;
      real.hooks = { isolate: isolate(), close: c.symbol('close'), add, remove };
    }
  }
  Object.assign(raw, real);
  libuv = node !== null;
}

/** @throws {Error} `ERR_KOFFI_UNAVAILABLE` */
function requireKoffi(): Koffi {
  try {
    const addon: { koffi: Koffi } = require('./addon');
    return addon.koffi;
  } catch (cause) {
    const message = messageOf(cause).replace(/\.$/, '');
    throw Object.assign(new Error(`Cannot load koffi: ${message}${hint(cause)}`, { cause }), {
      code: 'ERR_KOFFI_UNAVAILABLE',
    });
  }
}

/** What to do about it, unless the message says so itself. */
function hint(cause: unknown): string {
  switch (codeOf(cause)) {
    case 'ERR_DLOPEN_DISABLED':
      return ' (use --allow-addons beside --permission, and no --no-addons)';
    case 'ERR_ACCESS_DENIED':
      return ` (use --allow-fs-read=${(cause as { resource?: unknown }).resource})`;
    default:
      if (messageOf(cause).includes('--allow-')) return '';
      return ' (install koffi with its optional dependencies; a bundle needs it as an external package)';
  }
}

/**
 * null where this is not Node, whose loop is libuv's. Bun and Deno run Node's add-ons as well, on event loops
 * of their own. Deno lacks these functions. Bun exports them, and those of libuv, and panics when they are
 * called: there only the name can tell.
 */
function nodeFunctions(c: Library): Record<keyof typeof NODE_SIGNATURES, CFunction> | null {
  if ('bun' in process.versions) return null;
  try {
    return {
      isolate: c.func(NODE_SIGNATURES.isolate),
      add: c.func(NODE_SIGNATURES.add),
      remove: c.func(NODE_SIGNATURES.remove),
    };
  } catch {
    return null;
  }
}

/** In place of Node's hooks: an 'exit' listener, which is not called when the worker is terminated. */
function exitHooks(): CleanupHooks {
  const fds = new Set<unknown>();
  process.on('exit', () => {
    beforeBlocking(); // sends what is pending
    for (const fd of fds) raw.close(fd);
  });
  return {
    isolate: 0,
    close: null,
    add: (_isolate, _close, fd) => Number(fds.add(fd).size),
    remove: (_isolate, _close, fd) => Number(fds.delete(fd)),
  };
}

/** A callback of koffi's begins in the add-on: its address tells where that is. */
function pin(koffi: Koffi, c: Library): void {
  const callback = koffi.register(() => {}, koffi.pointer(koffi.proto('void ()')));
  pinAddon(
    koffi.address(callback),
    c.func('int dladdr(uintptr_t, void *)'),
    c.func('void *dlopen(uintptr_t, int)'),
  );
  koffi.unregister(callback);
}

/** The hooks of a worker, loading koffi if need be. The main thread has none. */
export function cleanupHooks(): CleanupHooks {
  if (libuv === null) load();
  return raw.hooks as CleanupHooks;
}

/** Whether the runtime is Node, whose loop can watch a descriptor. Loads koffi if need be. */
export function onLibuv(): boolean {
  if (libuv === null) load();
  return libuv === true;
}

/**
 * Bytes at an address that never changes, for what the kernel reads and writes on the hot path: it saves
 * describing a Buffer to the callee at every call. Allocated outside V8's heap, so that no collection
 * moves it. It lives as long as this object: hold the object for as long as the kernel may write.
 */
export class Memory {
  readonly buffer: Buffer;
  readonly #address: number;

  constructor(size: number) {
    checkInteger('allocate', 'a size', size, 1, 2 ** 31);
    this.buffer = Buffer.allocUnsafeSlow(size);
    // Programs are given views of it. Transferring one to a worker would take the whole along.
    markAsUntransferable(this.buffer.buffer);
    this.#address = raw.addressOf(this.buffer);
  }

  /**
   * The address of `length` bytes at `offset`: the one place that turns a range into a pointer, so
   * that no range can be out of bounds.
   */
  at(offset: number, length: number): number {
    // Asked each time: ArrayBuffer.prototype.transfer() takes the memory away, and leaves 0 bytes.
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

  /** What the call's length argument points to, set to the room there is. */
  fresh(): Uint32Array {
    this.#length[0] = LAYOUT.sockaddrStorage;
    return this.#length;
  }

  /** How many bytes the kernel wrote; what did not fit is cut off. */
  get length(): number {
    return Math.min(this.#length[0] as number, LAYOUT.sockaddrStorage);
  }

  /** The bytes themselves. */
  get written(): Buffer {
    return this.bytes.subarray(0, this.length);
  }
}
