// Names and numbers: IP literals, network interfaces, and host names.

import { badType } from '../errors';
import { checkInt } from './arguments';
import { beforeBlocking } from './blocking';
import { lookupError } from './errno';
import { raw } from './koffi';
import { EAI, LAYOUT } from './platform/linux';

/** An IP literal as its 4 or 16 bytes in network order, or null when it is none. */
export function inetPton(family: number, literal: string, size: number): Buffer | null {
  const bytes = Buffer.alloc(16);
  // A C string ends at the first NUL, where a JavaScript string does not.
  if (literal.includes('\0')) return null;
  return raw.inet_pton(family, literal, bytes) === 1 ? bytes.subarray(0, size) : null;
}

/** 16 bytes as the shortest IPv6 literal (RFC 5952). */
export function inetNtop(family: number, bytes: Uint8Array): string {
  const text = Buffer.alloc(64);
  raw.inet_ntop(family, bytes, text, text.length);
  return text.toString('latin1', 0, text.indexOf(0));
}

/** The index of a network interface, or 0 when there is none of this name. */
export function ifNameToIndex(name: string): number {
  return name.includes('\0') ? 0 : raw.if_nametoindex(name);
}

/** The name of a network interface, or null. */
export function ifIndexToName(index: number): string | null {
  const name = Buffer.alloc(16);
  return raw.if_indextoname(index, name) === null
    ? null
    : name.toString('utf8', 0, name.indexOf(0));
}

/**
 * Looks a host name up, blocking the thread for as long as that takes.
 * @returns sockaddrs, their port zero
 * @throws {SocketError} with the codes of Node's `dns.lookup`: `ENOTFOUND`, `EAI_AGAIN`, …
 */
export function getaddrinfo(host: string, family: number, type: number): Buffer[] {
  checkInt('look up a host', 'family', family);
  checkInt('look up a host', 'type', type);
  if (host.includes('\0')) throw badType('look up a host', 'a name without NUL', host);
  beforeBlocking();
  const { size, addrlen, addr, next } = LAYOUT.addrinfo;
  const hints = new Int32Array(size / 4);
  hints[1] = family;
  hints[2] = type;
  const list = new BigUint64Array(1);
  const result = raw.getaddrinfo(host, null, new Uint8Array(hints.buffer), list);
  if (result !== 0) throw lookupError(EAI[result] ?? `EAI ${result}`, host);
  const head = list[0] as bigint;
  const sockaddrs: Buffer[] = [];
  for (let entry = head; entry !== 0n; ) {
    const info = bytesAt(entry, size);
    const length = info.readUInt32LE(addrlen);
    sockaddrs.push(bytesAt(info.readBigUInt64LE(addr), length));
    entry = info.readBigUInt64LE(next);
  }
  raw.freeaddrinfo(head);
  return sockaddrs;
}

/**
 * A copy: the list is about to be freed. By memcpy(3), as koffi's own way makes a view of it, which
 * takes the process along when a worker is terminated meanwhile.
 */
function bytesAt(address: bigint, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  raw.memcpy(bytes, address, length);
  return bytes;
}
