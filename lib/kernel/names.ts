// Look-ups of names that block the thread, as Python's do. A server calls them when it starts; while it
// serves, `node:dns` leaves the thread free.

import { isIPv4 } from 'node:net';
import { hostname } from 'node:os';
import { badType, checkInteger, checkOptions, SocketError } from '../errors';
import { decodeAddress, type InternetAddress, lookUpHost, WILDCARDS } from './address';
import { AF_INET, AF_INET6, SOCK_STREAM } from './platform/constants';
import { gethostbyaddr, inetNtop, resolve } from './resolver';

/** What `getAddrInfo` looks for. */
export interface AddrInfoOptions {
  /** `AF_INET` or `AF_INET6`. Default: both. */
  family?: number | undefined;
  /** `SOCK_STREAM`, `SOCK_DGRAM`, … Default: all, so that each address comes several times. */
  type?: number | undefined;
  /** `IPPROTO_TCP`, … Default: all. */
  protocol?: number | undefined;
  /** `AI_PASSIVE`, `AI_CANONNAME`, …, or-ed. Default: none. */
  flags?: number | undefined;
}

/** One answer of `getAddrInfo`: the arguments of `Socket.socket`, and where to connect or bind. */
export interface AddrInfo {
  /** `AF_INET` or `AF_INET6`. */
  readonly family: number;
  /** `SOCK_STREAM`, `SOCK_DGRAM`, … */
  readonly type: number;
  /** `IPPROTO_TCP`, `IPPROTO_UDP`, … */
  readonly protocol: number;
  /** With `AI_CANONNAME`, the host's canonical name, in the first answer at least. Otherwise `''`. */
  readonly canonName: string;
  /** The host as a literal, and the port. */
  readonly address: InternetAddress;
}

const OPTIONS = { family: true, type: true, protocol: true, flags: true } as const;
const GET_ADDR_INFO = 'look up a host';

/**
 * Looks up the addresses of a host and a service, by getaddrinfo(3). Blocks the thread for as long as that
 * takes; pending output of channels is sent before. Python's `socket.getaddrinfo`.
 *
 * @param host a name or a literal; null: this machine, with `AI_PASSIVE` every address of it
 * @param port 0 to 65535, also as a string, or the name of a service: `'http'`. Default (and null): 0
 * @throws {SocketError} with the codes of `dns.lookup`: `ENOTFOUND`, `EAI_AGAIN`, `EAI_SERVICE`, …
 * @throws {TypeError|RangeError} for an invalid argument, and for an unknown option
 *
 * @example
 * for (const { family, type, protocol, address } of getAddrInfo('localhost', 'http', {
 *   type: SOCK_STREAM,
 * })) {
 *   const socket = Socket.socket(family, type, protocol);
 *   socket.connect(address);
 * }
 */
export function getAddrInfo(
  host: string | null,
  port: number | string | null = null,
  options: AddrInfoOptions = {},
): AddrInfo[] {
  if (host !== null && typeof host !== 'string') {
    throw badType(GET_ADDR_INFO, 'the name of a host, or null', host);
  }
  checkOptions(GET_ADDR_INFO, 'an object of options', options, OPTIONS);
  const { family = 0, type = 0, protocol = 0, flags = 0 } = options;
  const answers = resolve(host, serviceOf(port), { family, type, protocol, flags });
  return answers.map(({ sockaddr, canonName, ...answer }) => ({
    family: answer.family,
    type: answer.type,
    protocol: answer.protocol,
    canonName,
    address: decodeAddress(sockaddr) as InternetAddress,
  }));
}

function serviceOf(port: number | string | null | undefined): string | null {
  if (port === null || port === undefined) return null;
  if (typeof port === 'string' && !/^[-+]?\d+$/.test(port)) return port;
  // getaddrinfo(3) takes 65616 for 80.
  checkInteger(GET_ADDR_INFO, 'a port', Number(port), 0, 65535);
  return String(Number(port));
}

/**
 * The first IPv4 address of a host, as a literal. Blocks the thread, as `getAddrInfo` does. `''` is
 * `'0.0.0.0'`. Python's `socket.gethostbyname`.
 * @throws {SocketError} `ENOTFOUND`, `EAI_AGAIN`, …; `EAI_ADDRFAMILY` for an IPv6 literal
 * @throws {TypeError} for what is no string
 */
export function getHostByName(name: string): string {
  checkName(name);
  const known = WILDCARDS.get(name) ?? name;
  return isIPv4(known) ? known : lookUpHost(known, AF_INET, SOCK_STREAM);
}

/** What `getHostByAddr` has found. Python's `(hostname, aliaslist, ipaddrlist)`. */
export interface HostNames {
  /** The first name. */
  readonly name: string;
  /** Its other names, from /etc/hosts for example. */
  readonly aliases: string[];
  /** All that have this name, as literals. */
  readonly addresses: string[];
}

/**
 * The names of an address: the reverse look-up. Blocks the thread, as `getAddrInfo` does. Python's
 * `socket.gethostbyaddr`.
 * @param host a literal, or a name, of which the first address is looked up
 * @throws {SocketError} `ENOTFOUND` when the address has no name, `EAI_AGAIN`, …
 * @throws {TypeError} for what is no string
 */
export function getHostByAddr(host: string): HostNames {
  checkName(host);
  const [first] = resolve(host, null, { family: 0, type: SOCK_STREAM, protocol: 0, flags: 0 });
  const { family, sockaddr } = first as { family: number; sockaddr: Buffer };
  const bytes = family === AF_INET6 ? sockaddr.subarray(8, 24) : sockaddr.subarray(4, 8);
  const { name, aliases, addresses } = gethostbyaddr(bytes, family, host);
  return { name, aliases, addresses: addresses.map((address) => inetNtop(family, address)) };
}

/**
 * The fully qualified name of a host: of the names that its address has, the first with a dot in it. Blocks
 * the thread, as `getAddrInfo` does. Python's `socket.getfqdn`.
 * @param name a name or a literal. Default: this machine
 * @returns without such a name: the first that the address has; without any: `name` as it is
 * @throws {TypeError} for what is no string
 *
 * @example
 * this.push(`220 ${getFqdn()} ESMTP\r\n`);
 */
export function getFqdn(name = ''): string {
  checkName(name);
  const trimmed = name.trim();
  const host = ['', '0.0.0.0', '::'].includes(trimmed) ? hostname() : trimmed;
  try {
    const found = getHostByAddr(host);
    return [found.name, ...found.aliases].find((one) => one.includes('.')) ?? found.name;
  } catch (error) {
    if (error instanceof SocketError) return host;
    throw error;
  }
}

function checkName(name: string): void {
  if (typeof name !== 'string') throw badType(GET_ADDR_INFO, 'the name of a host', name);
}
