// The C library through koffi: loading, signatures, the raw calls, and the memory that they are given.
// The only file that imports koffi; nothing outside kernel/ imports this one.
//
// A raw call checks nothing. It returns what C returns: -1 with `raw.errno()`, which must be read by the
// very next statement, as the next write to stderr or file read of Node's own overwrites it. koffi coerces
// arguments silently: NaN becomes 0, 2**32 + 5 becomes 5. syscalls.ts checks every argument first.
//
// Memory is raw bytes. koffi's structs cost three to six times as much, and its named types belong to the
// process, so that a second copy of this module could not load.

import { isMainThread, markAsUntransferable } from 'node:worker_threads';
import { badRange, checkInteger } from '../errors';
import { LAYOUT, PLATFORM_SIGNATURES, pinAddon, requirePlatform } from './platform/linux';

type Koffi = typeof import('koffi');
/** A C function that returns a number. */
export type CFunction = (...args: unknown[]) => number;

/** The declarations, in C's words. `uintptr_t` where memory has a fixed address, see `Memory`. */
const SIGNATURES = {
  socket: 'int socket(int, int, int)',
  socketpair: 'int socketpair(int, int, int, void *)',
  bind: 'int bind(int, void *, uint32_t)',
  listen: 'int listen(int, int)',
  connect: 'int connect(int, void *, uint32_t)',
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
  poll: 'int poll(uintptr_t, unsigned long, int)',
  inet_pton: 'int inet_pton(int, const char *, void *)',
  if_nametoindex: 'uint32_t if_nametoindex(const char *)',
  getaddrinfo: 'int getaddrinfo(const char *, const char *, void *, void *)',
  ...PLATFORM_SIGNATURES,
} as const;

/** Functions that return text, a pointer or nothing. None of them is on a hot path. */
const OTHER_SIGNATURES = {
  strerror: 'const char *strerror(int)',
  if_indextoname: 'void *if_indextoname(uint32_t, void *)',
  inet_ntop: 'void *inet_ntop(int, void *, void *, uint32_t)',
  freeaddrinfo: 'void freeaddrinfo(void *)',
  memcpy: 'void memcpy(void *, uintptr_t, size_t)',
} as const;

/**
 * `node::AddEnvironmentCleanupHook` of node.h, its opposite, and the isolate that both need: what Node
 * calls when a thread ends. Node exports them to add-ons, under their mangled C++ names.
 */
const HOOK_SIGNATURES = {
  isolate: 'uintptr_t _ZN2v87Isolate10GetCurrentEv()',
  add: 'void _ZN4node25AddEnvironmentCleanupHookEPN2v87IsolateEPFvPvES3_(uintptr_t, uintptr_t, uintptr_t)',
  remove:
    'void _ZN4node28RemoveEnvironmentCleanupHookEPN2v87IsolateEPFvPvES3_(uintptr_t, uintptr_t, uintptr_t)',
} as const;

/** `add` and `remove` take the isolate, the hook (close(2) itself) and the hook's one argument. */
export interface CleanupHooks {
  isolate: number;
  close: unknown;
  add: CFunction;
  remove: CFunction;
}

/** Which ways a descriptor is watched. */
export interface Interest {
  readable: boolean;
  writable: boolean;
}

/** The raw calls, under their C names. */
interface Raw extends Record<keyof typeof SIGNATURES, CFunction> {
  strerror(errno: number): string;
  if_indextoname(index: number, name: Buffer): unknown;
  inet_ntop(family: number, address: Uint8Array, text: Buffer, size: number): unknown;
  freeaddrinfo(list: bigint): void;
  memcpy(to: Buffer, from: bigint, length: number): void;
  /** The errno of the call before this one. */
  errno(): number;
  addressOf(memory: Buffer): number;
  /** Has libuv watch a descriptor. */
  watch(fd: number, interest: Interest, wake: () => void): { close(): void };
  /** null until koffi is loaded, and always in the main thread: the kernel closes all at its end. */
  hooks: CleanupHooks | null;
}

/**
 * The raw calls. koffi is loaded by the first of them, not at import: a program may import this package
 * where it cannot run. Until then each entry is a stub that loads and calls again, so that a loaded call
 * costs one property.
 */
export const raw = stubs();

function stubs(): Raw {
  const lazy: Record<string, unknown> = { hooks: null };
  const names = [...Object.keys(SIGNATURES), ...Object.keys(OTHER_SIGNATURES)];
  for (const name of [...names, 'addressOf', 'watch', 'errno']) {
    lazy[name] = (...args: unknown[]): unknown => {
      load();
      return (lazy[name] as (...args: unknown[]) => unknown)(...args);
    };
  }
  return lazy as unknown as Raw;
}

/** @throws {Error} `ERR_UNSUPPORTED_PLATFORM` */
function load(): void {
  requirePlatform();
  const koffi: Koffi = require('koffi');
  // null is the process itself: the portable spelling, as musl has no libc.so.6.
  const c = koffi.load(null);
  const functions: Record<string, unknown> = {};
  for (const [name, signature] of Object.entries({ ...SIGNATURES, ...OTHER_SIGNATURES })) {
    functions[name] = c.func(signature);
  }
  if (!isMainThread) {
    pinAddon(c.func('void *dlopen(const char *, int)'));
    functions.hooks = {
      isolate: c.func(HOOK_SIGNATURES.isolate)(),
      close: c.symbol('close'),
      add: c.func(HOOK_SIGNATURES.add),
      remove: c.func(HOOK_SIGNATURES.remove),
    };
  }
  Object.assign(raw, functions, {
    errno: koffi.errno,
    addressOf: (memory: Buffer) => Number(koffi.address(memory)),
    watch: koffi.node.poll,
  });
}

/** The hooks of a worker, loading koffi if need be. The main thread has none. */
export function cleanupHooks(): CleanupHooks {
  if (raw.hooks === null) load();
  return raw.hooks as CleanupHooks;
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

  /** The bytes that the kernel wrote; what did not fit is cut off. */
  get written(): Buffer {
    return this.bytes.subarray(0, Math.min(this.#length[0] as number, this.bytes.length));
  }
}
