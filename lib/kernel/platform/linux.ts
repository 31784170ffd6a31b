// Everything that only Linux does, and everything that depends on the CPU: calls that no other system
// has, the sizes of the structures that the kernel reads and writes, its error numbers, and the one
// question "can this library open a socket here?". A port to another system begins with this folder.
// The constants that programs use by name as well are in constants.ts.
//
// This is the only file that reads process.platform and process.arch (spec/layering.spec.ts). It
// loads anywhere, so that a program may import the package where the library does not run; the
// refusal comes with the first socket, from `requirePlatform`.

import { constants } from 'node:os';
import { SOCK_CLOEXEC, SOCK_NONBLOCK } from './constants';

/** The calls that only Linux has, in C's words. */
export const PLATFORM_SIGNATURES = {
  accept4: 'int accept4(int, void *, void *, int)',
  epoll_create1: 'int epoll_create1(int)',
  epoll_ctl: 'int epoll_ctl(int, int, int, uintptr_t)',
  epoll_wait: 'int epoll_wait(int, uintptr_t, int, int)',
  gethostbyaddr_r:
    'int gethostbyaddr_r(void *, uint32_t, int, void *, uintptr_t, size_t, void *, void *)',
  pipe2: 'int pipe2(void *, int)',
  sendfile: 'intptr_t sendfile(int, int, void *, size_t)',
} as const;

/**
 * Beside the type of a new socket, and as the flags of accept4(2): non-blocking and close-on-exec from its
 * first moment. Elsewhere that takes two fcntl(2), between which a fork may inherit the descriptor.
 */
export const NEW_SOCKET_FLAGS = SOCK_NONBLOCK | SOCK_CLOEXEC;

/** The type without the flags that Linux puts beside it. */
export const SOCK_TYPE_MASK = 0xf;

export const EPOLL_CLOEXEC = 0o2000000;
export const EPOLL_CTL_ADD = 1;
export const EPOLL_CTL_DEL = 2;
export const EPOLL_CTL_MOD = 3;

export const F_GETFD = 1;
export const F_SETFD = 2;
export const F_GETFL = 3;
export const F_SETFL = 4;
export const F_DUPFD_CLOEXEC = 1030;
export const FD_CLOEXEC = 1;
export const O_NONBLOCK = 0o4000;
export const O_CLOEXEC = 0o2000000;
export const O_PATH = 0o10000000;

/** dlopen(3): resolve lazily, and never unload. */
export const RTLD_LAZY_NODELETE = 0x1 | 0x1000;

/** The first byte of struct tcp_info: a socket that is neither connected nor connecting. */
export const TCP_CLOSE = 7;
export const TCP_LISTEN = 10;

/**
 * Layouts of what the kernel reads and writes, in bytes.
 * `epollEvent` is the one that differs: the kernel packs it on x86-64 (12 bytes) and leaves the
 * C alignment everywhere else (16 bytes, the data at 8).
 */
export const LAYOUT = {
  sockaddrIn: 16,
  sockaddrIn6: 28,
  /** The longest sun_path, its terminating NUL included. */
  sunPath: 108,
  sockaddrStorage: 128,
  pollfd: 8,
  msghdr: {
    size: 56,
    name: 0,
    nameLength: 8,
    iov: 16,
    iovLength: 24,
    control: 32,
    controlLength: 40,
    flags: 48,
  },
  iovec: { size: 16, base: 0, length: 8 },
  /** The data of a control message follows; the next one begins at a multiple of `align`. */
  cmsghdr: { size: 16, length: 0, level: 8, type: 12, align: 8 },
  dlInfo: 32,
  addrinfo: {
    size: 48,
    flags: 0,
    family: 4,
    type: 8,
    protocol: 12,
    addrlen: 16,
    addr: 24,
    canonName: 32,
    next: 40,
  },
  hostent: { size: 32, name: 0, aliases: 8, family: 16, length: 20, addresses: 24 },
  epollEvent: process.arch === 'x64' ? { size: 12, data: 4 } : { size: 16, data: 8 },
} as const;

/**
 * Every errno of this system by its C name. Node's own table lacks the ones added here, some of
 * which asyncore decides by.
 */
export const ERRNO = {
  ...constants.errno,
  ENOTBLK: 15,
  ECHRNG: 44,
  EL2NSYNC: 45,
  EL3HLT: 46,
  EL3RST: 47,
  ELNRNG: 48,
  EUNATCH: 49,
  ENOCSI: 50,
  EL2HLT: 51,
  EBADE: 52,
  EBADR: 53,
  EXFULL: 54,
  ENOANO: 55,
  EBADRQC: 56,
  EBADSLT: 57,
  EBFONT: 59,
  ENONET: 64,
  ENOPKG: 65,
  EREMOTE: 66,
  EADV: 68,
  ESRMNT: 69,
  ECOMM: 70,
  EDOTDOT: 73,
  ENOTUNIQ: 76,
  EBADFD: 77,
  EREMCHG: 78,
  ELIBACC: 79,
  ELIBBAD: 80,
  ELIBSCN: 81,
  ELIBMAX: 82,
  ELIBEXEC: 83,
  ERESTART: 85,
  ESTRPIPE: 86,
  EUSERS: 87,
  ESOCKTNOSUPPORT: 94,
  EPFNOSUPPORT: 96,
  ESHUTDOWN: 108,
  ETOOMANYREFS: 109,
  EHOSTDOWN: 112,
  EUCLEAN: 117,
  ENOTNAM: 118,
  ENAVAIL: 119,
  EISNAM: 120,
  EREMOTEIO: 121,
  ENOMEDIUM: 123,
  EMEDIUMTYPE: 124,
  ENOKEY: 126,
  EKEYEXPIRED: 127,
  EKEYREVOKED: 128,
  EKEYREJECTED: 129,
  EOWNERDEAD: 130,
  ENOTRECOVERABLE: 131,
  ERFKILL: 132,
} as const;

/** What getaddrinfo(3) answers, under the codes that Node's own `dns.lookup` reports. */
export const EAI: Readonly<Record<number, string>> = {
  [-1]: 'EAI_BADFLAGS',
  [-2]: 'ENOTFOUND',
  [-3]: 'EAI_AGAIN',
  [-4]: 'EAI_FAIL',
  [-5]: 'ENOTFOUND',
  [-6]: 'EAI_FAMILY',
  [-7]: 'EAI_SOCKTYPE',
  [-8]: 'EAI_SERVICE',
  [-9]: 'EAI_ADDRFAMILY',
  [-10]: 'EAI_MEMORY',
  [-11]: 'EAI_SYSTEM',
  [-12]: 'EAI_OVERFLOW',
};

/** What gethostbyaddr_r(3) leaves in h_errno, under the same codes. */
export const H_ERRNO: Readonly<Record<number, string>> = {
  [-1]: 'EAI_SYSTEM',
  1: 'ENOTFOUND',
  2: 'EAI_AGAIN',
  3: 'EAI_FAIL',
  4: 'ENOTFOUND',
};

const SUPPORTED = new Set(['linux-x64', 'linux-arm64']);

/**
 * Refuses to go on where the numbers above would be wrong.
 * @throws {Error} code `ERR_UNSUPPORTED_PLATFORM`, saying what is supported
 */
export function requirePlatform(name = `${process.platform}-${process.arch}`): void {
  if (SUPPORTED.has(name)) return;
  throw Object.assign(
    new Error(
      `Cannot open a socket on ${name}: asyncore supports Linux on x64 and arm64, with glibc or musl`,
    ),
    { code: 'ERR_UNSUPPORTED_PLATFORM' },
  );
}

/**
 * Keeps koffi's add-on in memory. A worker that ends with a poll handle open unloads the add-on if no
 * other thread has loaded it, and libuv then calls into unmapped memory. Opened once more and never
 * closed, it stays.
 * @param address anything in the add-on: dladdr(3) tells its path, even where no file may be read
 */
export function pinAddon(
  address: bigint,
  dladdr: (address: bigint, info: BigUint64Array) => number,
  dlopen: (path: bigint, flags: number) => unknown,
): void {
  // The first member of Dl_info points to the path.
  const info = new BigUint64Array(LAYOUT.dlInfo / 8);
  if (dladdr(address, info) !== 0) dlopen(info[0] as bigint, RTLD_LAZY_NODELETE);
}
