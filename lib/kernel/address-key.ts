// Addresses as the keys of a Map.

import { isIPv4, isIPv6 } from 'node:net';
import { badRange, badType, checkInteger } from '../errors';
import { type Address, type InternetAddress, type UnixAddress, withoutScope } from './address';
import { AF_INET6 } from './platform/constants';
import { ifIndexToName, inetNtop, inetPton } from './resolver';

const ACTION = 'make a key of an address';

/**
 * A string that stands for an address, to be the key of a Map, or a member of a Set. Objects are equal only
 * to themselves, where Python's tuples compare by their contents. Two addresses have the same key if and only
 * if they are the same:
 *
 * - `'192.0.2.1:80'`, `'[2001:db8::1]:80'`, `'[fe80::1%eth0]:80'`. Two spellings of an IPv6 address have one
 *   key. `::ffff:192.0.2.1` is another address than `192.0.2.1`, as it belongs to another kind of socket.
 * - `'example.org:80'`: a name stands for itself, in small letters, and is not looked up; so does `''`.
 * - `'/run/socket'`: a path. A relative path begins with `./`, so that the file `192.0.2.1:80` is not taken
 *   for a peer. An abstract name begins with NUL, a name that is no UTF-8 is hexadecimal in brackets, and a
 *   Unix socket without a name is `''`.
 *
 * `flowInfo` is left out: it belongs to a packet, and one peer may use several.
 * @throws {TypeError|RangeError} for an invalid address
 *
 * @example
 * const peers = new Map<string, Peer>();
 * const received = socket.recvFrom(1500);
 * if (received !== null) peers.get(addressKey(received.address))?.handle(received.data);
 */
export function addressKey(address: Address): string {
  if (typeof address !== 'object' || address === null) {
    throw badType(ACTION, '{ host, port } or { path }', address);
  }
  return 'host' in address ? internetKey(address) : unixKey(address);
}

function internetKey(address: InternetAddress): string {
  const { host, port } = address;
  if (typeof host !== 'string') throw badType(ACTION, 'a host', address);
  checkInteger(ACTION, 'a port', port, 0, 65535);
  if (isIPv4(host)) return `${host}:${port}`;
  const literal = withoutScope(host);
  if (isIPv6(literal)) {
    const bytes = inetPton(AF_INET6, literal, 16) as Buffer;
    return `[${inetNtop(AF_INET6, bytes)}${scopeOf(host.slice(literal.length))}]:${port}`;
  }
  // What no name of a host holds, and what would make two keys alike.
  if (/[/:[\]\0]/.test(host)) throw badRange(ACTION, 'a host', host);
  return `${host.toLowerCase()}:${port}`;
}

/** `%2` is `%eth0`, if that is its name. The interface may be gone by now, so a name is not looked up. */
function scopeOf(suffix: string): string {
  const scope = suffix.slice(1);
  if (!/^\d{1,10}$/.test(scope) || Number(scope) >= 2 ** 32) {
    if (suffix === '%') throw badRange(ACTION, 'the name or index of a network interface', scope);
    return suffix;
  }
  const index = Number(scope);
  return index === 0 ? '' : `%${ifIndexToName(index) ?? index}`;
}

function unixKey({ path, raw }: UnixAddress): string {
  if (typeof path !== 'string') throw badType(ACTION, '{ host, port } or { path }', { path });
  const bytes = Buffer.from(raw ?? path);
  const text = bytes.toString('utf8');
  if (!Buffer.from(text).equals(bytes)) return `[${bytes.toString('hex')}]`;
  return text === '' || text[0] === '/' || text[0] === '\0' ? text : `./${text}`;
}
