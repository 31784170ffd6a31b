// Errors that carry an errno of this system. lib/errors.ts has the classes, and knows no number.

import { cannot, SocketError } from '../errors';
import { EAI, ERRNO } from './platform/linux';

const NAMES = new Map<number, string>();
for (const [name, errno] of Object.entries(ERRNO)) {
  // EWOULDBLOCK and EOPNOTSUPP share their numbers with EAGAIN and ENOTSUP; the first name stands.
  if (!NAMES.has(errno) && name !== 'EWOULDBLOCK') NAMES.set(errno, name);
}

/**
 * The C name of an errno: 104 is `ECONNRESET`, an unknown one `errno 9999`. Python's
 * `errno.errorcode`.
 */
export function errorCode(errno: number): string {
  return NAMES.get(errno) ?? `errno ${errno}`;
}

/** The codes of an exhausted resource: an accept(2) that fails with one is worth trying again later. */
export const SHORTAGE: ReadonlySet<string> = new Set(['EMFILE', 'ENFILE', 'ENOBUFS', 'ENOMEM']);

/**
 * The codes with which accept(2) reports that one connection has failed, which it has taken from the
 * backlog: the network's, and those of a firewall. The listener is as good as before. `ENOTSUP` also means
 * that the socket is no listener.
 */
export const CONNECTION_FAULTS: ReadonlySet<string> = new Set([
  'ECONNABORTED',
  'ECONNREFUSED',
  'ECONNRESET',
  'EHOSTDOWN',
  'EHOSTUNREACH',
  'EINTR',
  'ENETDOWN',
  'ENETRESET',
  'ENETUNREACH',
  'ENONET',
  'ENOPROTOOPT',
  'ENOSR',
  'ENOTSUP',
  'EOPNOTSUPP',
  'EPERM',
  'EPIPE',
  'EPROTO',
  'EPROTONOSUPPORT',
  'ESOCKTNOSUPPORT',
  'ETIMEDOUT',
]);

/** A host name cannot be looked up. @param code as `dns.lookup` has it: `ENOTFOUND` */
export function lookupError(code: string, host: string, syscall = 'getaddrinfo'): SocketError {
  const known = Object.keys(EAI).find((errno) => EAI[Number(errno)] === code);
  const errno = Number(known ?? 0);
  const name = code === 'EAI_SERVICE' ? 'service' : 'name';
  const what = syscall === 'getaddrinfo' ? name : 'address';
  return new SocketError(code, errno, syscall, `the ${what} cannot be looked up`, host);
}

/**
 * The socket, or the file, is closed. Refused here, before the number reaches the kernel, where it may belong to
 * another socket by now. The code is EBADF, so that it counts as a disconnect, as it does in Python.
 */
export function closedSocket(syscall: string, what = 'socket'): RangeError {
  return Object.assign(new RangeError(`${cannot(syscall)}: the ${what} is closed (fd -1)`), {
    code: 'EBADF',
    errno: ERRNO.EBADF,
    syscall,
  });
}
