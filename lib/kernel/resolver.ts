// Names and numbers: IP literals, network interfaces, and host names.

import { domainToASCII } from 'node:url';
import { badRange, badType } from '../errors';
import { checkBytes, checkInt } from './arguments';
import { beforeBlocking } from './blocking';
import { lookupError } from './errno';
import { Memory, raw } from './koffi';
import { EAI, ERRNO, H_ERRNO, LAYOUT } from './platform/linux';

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

/** What getaddrinfo(3) is asked for; 0: any, or none. */
export interface Hints {
  readonly family: number;
  readonly type: number;
  readonly protocol: number;
  readonly flags: number;
}

/** One answer of getaddrinfo(3). */
export interface Resolved extends Hints {
  /** `''` where there is none. */
  readonly canonName: string;
  readonly sockaddr: Buffer;
}

/**
 * Looks a host name up, blocking the thread for as long as that takes.
 * @returns sockaddrs, their port zero
 * @throws {SocketError} with the codes of Node's `dns.lookup`: `ENOTFOUND`, `EAI_AGAIN`, …
 */
export function getaddrinfo(host: string, family: number, type: number): Buffer[] {
  const answers = resolve(host, null, { family, type, protocol: 0, flags: 0 });
  return answers.map(({ sockaddr }) => sockaddr);
}

/**
 * getaddrinfo(3), blocking the thread.
 * @param host null: this machine
 * @param service a port or the name of a service; null: none
 * @throws {SocketError} with the codes of Node's `dns.lookup`: `ENOTFOUND`, `EAI_AGAIN`, …
 */
export function resolve(host: string | null, service: string | null, hints: Hints): Resolved[] {
  const action = 'look up a host';
  for (const name of ['family', 'type', 'protocol', 'flags'] as const) {
    checkInt(action, name, hints[name]);
  }
  if (host?.includes('\0')) throw badType(action, 'a name without NUL', host);
  if (service?.includes('\0')) throw badType(action, 'a service without NUL', service);
  const name = host === null ? null : asciiName(host);
  beforeBlocking();
  const { size, flags, family, type, protocol, addrlen, addr, canonName, next } = LAYOUT.addrinfo;
  const wanted = Buffer.alloc(size);
  wanted.writeInt32LE(hints.flags, flags);
  wanted.writeInt32LE(hints.family, family);
  wanted.writeInt32LE(hints.type, type);
  wanted.writeInt32LE(hints.protocol, protocol);
  const list = new BigUint64Array(1);
  const result = raw.getaddrinfo(name, service, wanted, list);
  if (result !== 0) {
    const code = EAI[result] ?? `EAI ${result}`;
    const culprit = code === 'EAI_SERVICE' ? (service ?? host) : (host ?? service);
    throw lookupError(code, culprit ?? '');
  }
  const head = list[0] as bigint;
  const answers: Resolved[] = [];
  for (let entry = head; entry !== 0n; ) {
    const info = bytesAt(entry, size);
    answers.push({
      family: info.readInt32LE(family),
      type: info.readInt32LE(type),
      protocol: info.readInt32LE(protocol),
      flags: info.readInt32LE(flags),
      canonName: textAt(info.readBigUInt64LE(canonName)) ?? '',
      sockaddr: bytesAt(info.readBigUInt64LE(addr), info.readUInt32LE(addrlen)),
    });
    entry = info.readBigUInt64LE(next);
  }
  raw.freeaddrinfo(head);
  return answers;
}

/** A host as gethostbyaddr(3) knows it. */
export interface HostEntry {
  readonly name: string;
  readonly aliases: string[];
  /** In network order, 4 or 16 bytes each. */
  readonly addresses: Buffer[];
}

/** Enough for any entry but a host with hundreds of aliases. */
const HOST_ROOM = 1024;
const MOST_HOST_ROOM = 2 ** 20;

/**
 * The name of an address: the reverse look-up, blocking the thread.
 * @param address 4 or 16 bytes in network order
 * @param text how an error names the address
 * @throws {SocketError} with the codes of `getaddrinfo`
 */
export function gethostbyaddr(address: Uint8Array, family: number, text: string): HostEntry {
  checkInt('look up an address', 'family', family);
  const length = checkBytes('look up an address', address);
  if (length !== 4 && length !== 16) {
    throw badRange('look up an address', '4 or 16 bytes', address);
  }
  beforeBlocking();
  const { size, name, aliases, length: lengthAt, addresses } = LAYOUT.hostent;
  const entry = Buffer.alloc(size);
  const found = new BigUint64Array(1);
  const herrno = new Int32Array(1);
  for (let room = HOST_ROOM; ; room *= 4) {
    // What the entry points to. C goes on using the memory between its calls, so it must not move.
    const memory = new Memory(room);
    const at = memory.at(0, room);
    const result = raw.gethostbyaddr_r(address, length, family, entry, at, room, found, herrno);
    if (result === ERRNO.ERANGE && room < MOST_HOST_ROOM) continue;
    if (result !== 0 || found[0] === 0n) {
      const code = H_ERRNO[herrno[0] as number] ?? 'EAI_FAIL';
      throw lookupError(code, text, 'gethostbyaddr');
    }
    const pointers = pointersAt(entry.readBigUInt64LE(aliases));
    const bytes = entry.readInt32LE(lengthAt);
    const host: HostEntry = {
      name: textAt(entry.readBigUInt64LE(name)) ?? '',
      aliases: pointers.map((pointer) => textAt(pointer) ?? ''),
      addresses: pointersAt(entry.readBigUInt64LE(addresses)).map((p) => bytesAt(p, bytes)),
    };
    // Held until here.
    memory.at(0, room);
    return host;
  }
}

/** What no name holds, and what a URL parser, which `domainToASCII` is, cuts off, decodes or drops. */
const NOT_IN_NAMES = /[\0-\x20/?#\\@:%<>^|[\]\x7f]/;

/** A name of other than ASCII letters as the DNS has it: `bücher.example` is `xn--bcher-kva.example`. */
function asciiName(host: string): string {
  if (/^[\0-\x7f]*$/.test(host)) return host;
  const name = NOT_IN_NAMES.test(host) ? '' : domainToASCII(host);
  // Full-width characters become ASCII ones.
  if (name === '' || NOT_IN_NAMES.test(name)) throw lookupError('ENOTFOUND', host);
  return name;
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

/** A copy of a C string; null for a null pointer. */
function textAt(address: bigint): string | null {
  return address === 0n ? null : bytesAt(address, raw.strlen(address)).toString('utf8');
}

/** The pointers of a list that ends with a null pointer. */
function pointersAt(list: bigint): bigint[] {
  const pointers: bigint[] = [];
  for (let at = list; ; at += 8n) {
    const pointer = bytesAt(at, 8).readBigUInt64LE(0);
    if (pointer === 0n) return pointers;
    pointers.push(pointer);
  }
}
