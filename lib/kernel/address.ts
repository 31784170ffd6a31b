// Socket addresses, in both directions: what a program writes, and the bytes of a struct sockaddr.
//
//   { host, port }   IPv4 and IPv6; an IPv6 host carries its scope as it is written: fe80::1%eth0
//   { path }         Unix: a path, '\0name' for Linux's abstract names, '' for an unnamed socket
//
// Nothing is lost: decode(encode(a)) is a, and encode(decode(b)) is b (spec/kernel/address.spec.ts). The one
// exception is a Unix path of 108 bytes, which Linux lets a program bind without the NUL that ends it.

import { isIP, isIPv4, isIPv6 } from 'node:net';
import { inspect } from 'node:util';
import { badRange, badType, checkInteger } from '../errors';
import { AF_INET, AF_INET6, AF_UNIX, AF_UNSPEC, SOCK_STREAM } from './platform/constants';
import { LAYOUT } from './platform/linux';
import { getaddrinfo, ifIndexToName, ifNameToIndex, inetNtop, inetPton } from './resolver';

/** An IPv4 or IPv6 address. Python's `(host, port)` and `(host, port, flowinfo, scope_id)`. */
export interface InternetAddress {
  /** A literal or a name; `''` means every address of this machine, as in Python. */
  host: string;
  /** 0 to 65535; 0 lets the kernel choose when binding. */
  port: number;
  /** IPv6 flow information, where it is not 0. */
  flowInfo?: number;
}

/** A Unix address. Python's string or bytes. */
export interface UnixAddress {
  /**
   * A path of 107 bytes at most in UTF-8; `'\0name'`, 108 bytes at most, is one of Linux's abstract
   * names, `''` the address of a socket that has none.
   */
  path: string;
  /** The name's own bytes, where they are not UTF-8, so that `path` cannot represent them. */
  raw?: Uint8Array;
}

/**
 * Where a socket is or goes.
 *
 * @example
 * const text = 'path' in address ? address.path : `${address.host} ${address.port}`;
 */
export type Address = InternetAddress | UnixAddress;

const FAMILY_NAMES = new Map([
  [AF_INET, 'IPv4'],
  [AF_INET6, 'IPv6'],
]);

/** Whether this address needs a look-up: its host is a name and no literal. */
export function needsLookup(address: Address): address is InternetAddress {
  const host = (address as Partial<InternetAddress> | null | undefined)?.host;
  return typeof host === 'string' && !WILDCARDS.has(host) && isIP(withoutScope(host)) === 0;
}

/** Python's spellings of INADDR_ANY and INADDR_BROADCAST. */
export const WILDCARDS: ReadonlyMap<string, string> = new Map([
  ['', '0.0.0.0'],
  ['<broadcast>', '255.255.255.255'],
]);

function isInternet(address: Address): address is InternetAddress {
  return 'host' in address;
}

/** An IPv6 literal without its `%eth0`. */
export function withoutScope(host: string): string {
  const percent = host.indexOf('%');
  return percent === -1 ? host : host.slice(0, percent);
}

/**
 * The struct sockaddr of an address, for a socket of `family`.
 * @throws {TypeError} when the address is of another kind, or its host is a name
 * @throws {RangeError} a port out of 0 to 65535, a Unix path over 107 bytes
 */
export function encodeAddress(address: Address, family: number, action: string): Buffer {
  if (typeof address !== 'object' || address === null) {
    throw badType(action, '{ host, port } or { path }', address);
  }
  if (family === AF_UNIX) return encodeUnix(address, action);
  if (!FAMILY_NAMES.has(family)) throw badRange(action, 'a socket of IPv4, IPv6 or Unix', family);
  const { host, port, flowInfo = 0 } = address as InternetAddress;
  if (typeof host !== 'string') {
    const hint = 'path' in address ? 'use createSocket(AF_UNIX)' : undefined;
    throw badType(action, 'a host', address, hint);
  }
  checkInteger(action, 'a port', port, 0, 65535);
  if (family === AF_INET) return encodeInet(host, port, action);
  checkInteger(action, 'flowInfo', flowInfo, 0, 2 ** 32 - 1);
  return encodeInet6(host, port, flowInfo, action);
}

function encodeInet(host: string, port: number, action: string): Buffer {
  const bytes = inetPton(AF_INET, WILDCARDS.get(host) ?? host, 4);
  if (bytes === null) {
    const hint = isIPv6(withoutScope(host)) ? 'use createSocket(AF_INET6)' : undefined;
    throw badType(action, 'an IPv4 address', host, hint);
  }
  const sockaddr = Buffer.alloc(LAYOUT.sockaddrIn);
  sockaddr.writeUInt16LE(AF_INET, 0);
  sockaddr.writeUInt16BE(port, 2);
  bytes.copy(sockaddr, 4);
  return sockaddr;
}

function encodeInet6(host: string, port: number, flowInfo: number, action: string): Buffer {
  const literal = withoutScope(host);
  const bytes = inetPton(AF_INET6, literal === '' ? '::' : literal, 16);
  if (bytes === null) {
    const hint = isIPv4(literal) || WILDCARDS.has(host) ? 'use createSocket(AF_INET)' : undefined;
    throw badType(action, 'an IPv6 address', host, hint);
  }
  const sockaddr = Buffer.alloc(LAYOUT.sockaddrIn6);
  sockaddr.writeUInt16LE(AF_INET6, 0);
  sockaddr.writeUInt16BE(port, 2);
  sockaddr.writeUInt32BE(flowInfo, 4);
  bytes.copy(sockaddr, 8);
  sockaddr.writeUInt32LE(scopeId(host.slice(literal.length), action), 24);
  return sockaddr;
}

/** `''`, `%eth0` or `%2`. */
function scopeId(suffix: string, action: string): number {
  if (suffix === '') return 0;
  const scope = suffix.slice(1);
  if (/^\d{1,10}$/.test(scope) && Number(scope) < 2 ** 32) return Number(scope);
  const index = ifNameToIndex(scope);
  if (index === 0) throw badRange(action, 'the name or index of a network interface', scope);
  return index;
}

function encodeUnix(address: UnixAddress | InternetAddress, action: string): Buffer {
  const { path, raw } = address as UnixAddress;
  if (typeof path !== 'string') {
    const hint =
      'host' in address
        ? `use createSocket(${familyOf(address.host) === AF_INET6 ? 'AF_INET6' : 'AF_INET'})`
        : undefined;
    throw badType(action, 'a Unix address { path }', address, hint);
  }
  const name = raw === undefined ? Buffer.from(path) : Buffer.from(raw);
  const abstract = name[0] === 0;
  // A path ends with a NUL that must fit too; an abstract name starts with one and has no end.
  const limit = abstract ? LAYOUT.sunPath : LAYOUT.sunPath - 1;
  if (name.length > limit) throw badRange(action, `a Unix path of at most ${limit} bytes`, path);
  if (!abstract && name.includes(0)) throw badType(action, 'a Unix path without NUL', path);
  const named = name.length > 0 && !abstract;
  const sockaddr = Buffer.alloc(2 + name.length + (named ? 1 : 0));
  sockaddr.writeUInt16LE(AF_UNIX, 0);
  name.copy(sockaddr, 2);
  return sockaddr;
}

/** The family that a host's address belongs to; of a name: IPv4. */
export function familyOf(host: unknown): number {
  return typeof host === 'string' && isIPv6(withoutScope(host)) ? AF_INET6 : AF_INET;
}

/**
 * The address in a struct sockaddr that the kernel wrote.
 * @param length how much of `sockaddr` that is
 */
export function decodeAddress(sockaddr: Buffer, length = sockaddr.length): Address {
  // The unnamed end of a socketpair may come without even a family.
  const family = length < 2 ? AF_UNIX : (sockaddr[0] as number) | ((sockaddr[1] as number) << 8);
  if (family === AF_INET && length >= LAYOUT.sockaddrIn) {
    const host = `${sockaddr[4]}.${sockaddr[5]}.${sockaddr[6]}.${sockaddr[7]}`;
    return { host, port: ((sockaddr[2] as number) << 8) | (sockaddr[3] as number) };
  }
  const written = sockaddr.subarray(0, length);
  if (family === AF_INET6 && length >= LAYOUT.sockaddrIn6) return decodeInet6(written);
  if (family === AF_UNIX) return decodeUnix(written.subarray(2));
  throw badRange('decode an address', 'an IPv4, IPv6 or Unix sockaddr', written);
}

function decodeInet6(sockaddr: Buffer): InternetAddress {
  const scope = sockaddr.readUInt32LE(24);
  const literal = inetNtop(AF_INET6, sockaddr.subarray(8, 24));
  const host = scope === 0 ? literal : `${literal}%${ifIndexToName(scope) ?? scope}`;
  const port = sockaddr.readUInt16BE(2);
  const flowInfo = sockaddr.readUInt32BE(4);
  return flowInfo === 0 ? { host, port } : { host, port, flowInfo };
}

function decodeUnix(bytes: Buffer): UnixAddress {
  const end = bytes[0] === 0 ? -1 : bytes.indexOf(0);
  const name = end === -1 ? bytes : bytes.subarray(0, end);
  const path = name.toString('utf8');
  return Buffer.from(path).equals(name) ? { path } : { path, raw: Buffer.from(name) };
}

/**
 * Checks an address whose host is a name, before the look-up.
 * @throws {TypeError|RangeError} as `encodeAddress`, and for a name with a NUL: a look-up would end there
 */
export function checkNamed(address: InternetAddress, family: number, action: string): void {
  encodeAddress({ ...address, host: '' }, family, action);
  if (address.host.includes('\0')) throw badType(action, 'a host without NUL', address.host);
  if (/^\[.*\]$/.test(address.host)) {
    throw badType(action, 'an IPv6 address without brackets', address.host);
  }
}

/**
 * As `encodeAddress`, and a host name is looked up, blocking the thread, as Python's own sockets do.
 * A caller that must not block looks the name up first.
 * @throws {SocketError} `ENOTFOUND`, `EAI_AGAIN`, …
 */
export function resolveAddress(
  address: Address,
  family: number,
  type: number,
  action: string,
): Buffer {
  if (family === AF_UNIX || !needsLookup(address)) return encodeAddress(address, family, action);
  checkNamed(address, family, action);
  const host = lookUpHost(address.host, family, type);
  return encodeAddress({ ...address, host }, family, action);
}

/**
 * Where an address is, for a socket yet to be made: its family, and a literal in place of a host name, which
 * is looked up, blocking the thread.
 * @throws {TypeError|RangeError} as `encodeAddress`
 * @throws {SocketError} `ENOTFOUND`, `EAI_AGAIN`, …
 */
export function locate(address: Address, action: string): { family: number; address: Address } {
  const family = familyOfAddress(address);
  if (family !== AF_UNSPEC) {
    encodeAddress(address, family, action);
    return { family, address };
  }
  const named = address as InternetAddress;
  checkNamed(named, AF_INET, action);
  const host = lookUpHost(named.host, AF_UNSPEC, SOCK_STREAM);
  return { family: familyOf(host), address: { ...named, host } };
}

/** The first address of a host as a literal, blocking the thread. */
export function lookUpHost(host: string, family: number, type: number): string {
  return lookUpHosts(host, family, type)[0] as string;
}

/** All addresses of a host as literals, in the resolver's order, blocking the thread. */
export function lookUpHosts(host: string, family: number, type: number): string[] {
  return getaddrinfo(host, family, type).map(
    (sockaddr) => (decodeAddress(sockaddr) as InternetAddress).host,
  );
}

/**
 * The family of the socket that can connect to an address.
 * @returns `AF_UNSPEC` for a host name
 */
export function familyOfAddress(address: Address): number {
  // It may be any value that a program has passed.
  const { path, host } = (address ?? {}) as Partial<UnixAddress & InternetAddress>;
  if (typeof path === 'string') return AF_UNIX;
  return needsLookup(address) ? AF_UNSPEC : familyOf(host);
}

/** How an address reads in a message or a repr: `127.0.0.1:80`, `[::1]:80`, `'/tmp/socket'`. */
export function formatAddress(address: Address): string {
  // The address may be any value that a program has set, and a repr must not throw.
  if (typeof address !== 'object' || address === null) return inspect(address);
  if (!isInternet(address) && typeof address.path !== 'string') return inspect(address);
  if (!isInternet(address)) return `'${address.path.replaceAll('\0', '\\0')}'`;
  const { host, port } = address;
  return String(host).includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}
