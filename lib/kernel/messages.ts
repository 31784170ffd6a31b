/// <reference types="node" preserve="true" />
// Messages with control data ("ancillary data"): what Socket.recvMsg and Socket.sendMsg do.
//
// Control data is a row of struct cmsghdr, each followed by its data and padded to 8 bytes. Whatever a
// program passes is read first, as reading it may run the program's code; then it is copied into memory that
// all calls share.

import { badType, checkInteger } from '../errors';
import { type Address, decodeAddress, formatAddress, resolveAddress } from './address';
import { bufferOf, byteOffsetOf, checkBytes, checkInt } from './arguments';
import { MessageMemory } from './message-memory';
import {
  MSG_CMSG_CLOEXEC,
  MSG_NOSIGNAL,
  MSG_TRUNC,
  SCM_RIGHTS,
  SOCK_STREAM,
  SOL_SOCKET,
} from './platform/constants';
import { ERRNO, LAYOUT } from './platform/linux';
import * as syscalls from './syscalls';
import { leaveAtEnd } from './thread-cleanup';

/** One piece of control data. Python's `(cmsg_level, cmsg_type, cmsg_data)`. */
export interface ControlMessage<Bytes extends Uint8Array = Uint8Array> {
  /** `SOL_SOCKET`, `IPPROTO_IP`, … */
  readonly level: number;
  /** `SCM_RIGHTS`, `IP_PKTINFO`, … of this level. */
  readonly type: number;
  /** A C struct, as the kernel documents it. */
  readonly data: Bytes;
}

/** What `Socket.recvMsg` received. Python's `(data, ancdata, msg_flags, address)`. */
export interface Message {
  /** The payload. Empty for an empty datagram, and at the end of a stream. */
  readonly data: Buffer;
  /**
   * The control data. The descriptors in an `SCM_RIGHTS` are open, close-on-exec, and the program's to
   * close, also in a worker thread. `Socket.fromFd` takes one over.
   */
  readonly control: ControlMessage<Buffer>[];
  /** `MSG_TRUNC`: the datagram was longer. `MSG_CTRUNC`: there was more control data. And so on. */
  readonly flags: number;
  /** The sender; null where the kernel does not name it, as on a TCP connection. */
  readonly address: Address | null;
}

const { size: HEADER, length: LENGTH, level: LEVEL, type: TYPE, align: ALIGN } = LAYOUT.cmsghdr;
const LARGEST_DATA = 2 ** 30;
/** More than the kernel passes in either direction. */
const LARGEST_CONTROL = 2 ** 20;

function aligned(length: number): number {
  return Math.ceil(length / ALIGN) * ALIGN;
}

/**
 * How many bytes a last control message takes that has `length` bytes of data. Python's `CMSG_LEN`.
 * @throws {RangeError|TypeError} for an invalid length
 */
export function CMSG_LEN(length: number): number {
  checkInteger('compute CMSG_LEN', 'a length', length, 0, LARGEST_CONTROL);
  return HEADER + length;
}

/**
 * How many bytes a control message takes that has `length` bytes of data, its padding included: the
 * `controlSize` for one such message. Python's `CMSG_SPACE`.
 * @throws {RangeError|TypeError} for an invalid length
 */
export function CMSG_SPACE(length: number): number {
  checkInteger('compute CMSG_SPACE', 'a length', length, 0, LARGEST_CONTROL);
  return HEADER + aligned(length);
}

// ---------------------------------------------------------------------------------------------
// The memory. One block a thread serves all usual messages: nothing of it is handed out.

const USUAL_CONTROL = 4096;
const USUAL_DATA = 64 * 1024;
let usual: MessageMemory | null = null;

function memoryFor(control: number, data: number): MessageMemory {
  if (control > USUAL_CONTROL || data > USUAL_DATA) return new MessageMemory(control, data);
  usual ??= new MessageMemory(USUAL_CONTROL, USUAL_DATA);
  return usual;
}

// ---------------------------------------------------------------------------------------------
// Receiving.

export function receiveMessage(
  fd: number,
  size: number,
  controlSize: number,
  flags: number,
): Message | null {
  checkInteger('recvmsg', 'a size', size, 0, LARGEST_DATA);
  checkInteger('recvmsg', 'a size for control data', controlSize, 0, LARGEST_CONTROL);
  checkInt('recvmsg', 'flags', flags);
  const memory = memoryFor(controlSize, size);
  memory.prepare(memory.name.length, controlSize, size);
  // With MSG_TRUNC the kernel reports more bytes than it writes: no old memory may show through.
  if ((flags & MSG_TRUNC) !== 0) memory.data.fill(0, 0, size);
  const result = syscalls.recvmsg(fd, memory, flags | MSG_CMSG_CLOEXEC);
  if (result === -ERRNO.EAGAIN) return null;
  syscalls.check(result, 'recvmsg');
  const control = decodeControl(memory.writtenControl);
  const fds = control.flatMap(descriptorsOf);
  try {
    const data = Buffer.from(memory.data.subarray(0, Math.min(result, size)));
    const name = memory.writtenName;
    // The kernel repeats the flag that the library has added.
    const reported = memory.flags & ~MSG_CMSG_CLOEXEC;
    const address = name.length > 0 ? decodeAddress(name) : null;
    // They are the program's now, which may close them by their numbers.
    for (const received of fds) leaveAtEnd(received);
    return { data, control, flags: reported, address };
  } catch (error) {
    for (const received of fds) syscalls.close(received);
    throw error;
  }
}

/** The control messages in what the kernel wrote. A length that goes beyond the bytes ends the last one. */
export function decodeControl(bytes: Buffer): ControlMessage<Buffer>[] {
  const messages: ControlMessage<Buffer>[] = [];
  for (let at = 0; bytes.length - at >= HEADER; ) {
    const length = Number(bytes.readBigUInt64LE(at + LENGTH));
    if (length < HEADER) break;
    const level = bytes.readInt32LE(at + LEVEL);
    const type = bytes.readInt32LE(at + TYPE);
    const data = Buffer.from(bytes.subarray(at + HEADER, at + length));
    messages.push({ level, type, data });
    at += aligned(length);
  }
  return messages;
}

/** The numbers in an SCM_RIGHTS; none in any other control message. */
export function descriptorsOf({ level, type, data }: ControlMessage<Buffer>): number[] {
  if (level !== SOL_SOCKET || type !== SCM_RIGHTS) return [];
  const fds: number[] = [];
  for (let at = 0; data.length - at >= 4; at += 4) fds.push(data.readInt32LE(at));
  return fds;
}

// ---------------------------------------------------------------------------------------------
// Sending.

/** A message to be sent. Reading it runs no code of the program's. */
export interface Outgoing {
  readonly parts: readonly Uint8Array[];
  readonly control: readonly ControlMessage[];
  readonly sockaddr: Uint8Array | null;
  /** How an error names the address. */
  readonly address: string | undefined;
  readonly isStream: boolean;
}

/** Checks what a program passes to `sendMsg`. */
export function outgoing(
  data: readonly Uint8Array[],
  control: readonly ControlMessage[],
  target: Address | null,
  { family, type }: { readonly family: number; readonly type: number },
): Outgoing {
  const addressed = target !== null && target !== undefined;
  return {
    sockaddr: addressed ? resolveAddress(target, family, type, 'sendmsg') : null,
    address: addressed ? formatAddress(target) : undefined,
    parts: listOf(data, 'Uint8Arrays').map(plain),
    control: listOf(control, 'control messages').map(checkedControl),
    isStream: type === SOCK_STREAM,
  };
}

function listOf<Item>(list: readonly Item[], of: string): Item[] {
  if (Array.isArray(list)) return Array.from(list);
  const hint = (list as unknown) instanceof Uint8Array ? 'put it into an array' : undefined;
  throw badType('sendmsg', `an array of ${of}`, list, hint);
}

/** The same bytes, in an object that does not lie about its length. */
function plain(bytes: Uint8Array): Uint8Array {
  const length = checkBytes('sendmsg', bytes);
  return new Uint8Array(bufferOf.call(bytes), byteOffsetOf.call(bytes), length);
}

function checkedControl(message: ControlMessage): ControlMessage {
  if (typeof message !== 'object' || message === null) {
    throw badType('sendmsg', 'a control message { level, type, data }', message);
  }
  const { level, type, data } = message;
  checkInt('sendmsg', 'the level of control data', level);
  checkInt('sendmsg', 'the type of control data', type);
  return { level, type, data: plain(data) };
}

export function sendMessage(fd: number, message: Outgoing, flags: number): number | null {
  const { parts, control, sockaddr, address, isStream } = message;
  checkInt('sendmsg', 'flags', flags);
  const total = sum(parts.map((part) => part.length));
  // A stream need not take everything at once, so no more is copied than it is likely to take.
  const size = isStream ? Math.min(total, USUAL_DATA) : total;
  checkInteger('sendmsg', 'the length of all data', size, 0, LARGEST_DATA);
  const controlSize = sum(control.map(({ data }) => CMSG_SPACE(data.length)));
  checkInteger('sendmsg', 'the length of all control data', controlSize, 0, LARGEST_CONTROL);
  const memory = memoryFor(controlSize, size);
  memory.prepare(sockaddr?.length ?? 0, controlSize, size);
  if (sockaddr !== null) memory.name.set(sockaddr);
  encodeControl(control, memory.control.subarray(0, controlSize).fill(0));
  gather(parts, memory.data.subarray(0, size));
  const result = syscalls.sendmsg(fd, memory, flags | MSG_NOSIGNAL);
  return result === -ERRNO.EAGAIN ? null : syscalls.check(result, 'sendmsg', address);
}

function sum(lengths: readonly number[]): number {
  return lengths.reduce((total, length) => total + length, 0);
}

function encodeControl(messages: readonly ControlMessage[], bytes: Buffer): void {
  let at = 0;
  for (const { level, type, data } of messages) {
    bytes.writeUInt32LE(CMSG_LEN(data.length), at + LENGTH);
    bytes.writeInt32LE(level, at + LEVEL);
    bytes.writeInt32LE(type, at + TYPE);
    bytes.set(data, at + HEADER);
    at += CMSG_SPACE(data.length);
  }
}

/** Copies the parts in their order, as far as there is room. */
function gather(parts: readonly Uint8Array[], room: Buffer): void {
  let at = 0;
  for (const part of parts) {
    room.set(part.subarray(0, room.length - at), at);
    at += part.length;
    if (at >= room.length) return;
  }
}
