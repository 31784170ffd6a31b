// The memory that bytes are received into and sent from: one slab and one scratch a thread, and one more
// memory to bring pieces of the scratch together, all at fixed addresses.

import { Buffer } from 'node:buffer';
import { bufferOf, byteLengthOf, byteOffsetOf } from './arguments';
import { Memory } from './koffi';
import { recv } from './syscalls';

/** Makes a Buffer that is a view, as `subarray` does at three times the cost. */
const View = (Buffer as unknown as Record<symbol, unknown>)[Symbol.species] as new (
  memory: ArrayBufferLike,
  offset: number,
  length: number,
) => Buffer;

// ---------------------------------------------------------------------------------------------
// Receiving. What is handed out is the program's to keep, so the slab is never written twice. A large
// read is handed out as a view, and uses the slab up; a small one is copied, so that a nickname kept for
// a day pins Node's own pool and not the slab. A view keeps all of its memory alive: this may be 16 times
// its size and no more.

const SLAB_SIZE = 256 * 1024;
/** A piece of a smaller read is a view: the read itself is a copy out of the slab. */
export const SMALLEST_VIEW = 16 * 1024;
const MOST_PINNED = SLAB_SIZE / SMALLEST_VIEW;
let slab: Memory | null = null;
let slabUsed = 0;

/**
 * Up to `size` bytes from a descriptor, by recv(2).
 * @returns the bytes, or a negated errno
 */
export function receive(fd: number, size: number, flags: number): Buffer | number {
  let memory = slab;
  let offset = slabUsed;
  if (memory === null || memory.buffer.length - offset < size) {
    offset = 0;
    memory = new Memory(size > SLAB_SIZE ? size : SLAB_SIZE);
    // Larger than usual: memory of its own, which does not become the slab.
    if (size <= SLAB_SIZE) {
      slab = memory;
      slabUsed = 0;
    }
  }
  const length = recv(fd, memory, offset, size, flags);
  if (length < 0) return length;
  if (memory === slab && length >= SMALLEST_VIEW) slabUsed = offset + length;
  return keepable(memory.buffer, offset, offset + length);
}

const NO_MEMORY = new ArrayBuffer(0);
/** The small read that pieces were last taken of, and its memory, asked once as that is slow. */
let viewed: Buffer | null = null;
let viewedMemory: ArrayBufferLike = NO_MEMORY;
let viewedBase = 0;

/** Forgets the small read, so that nothing keeps its memory. */
export function forgetViewed(): void {
  viewed = null;
  viewedMemory = NO_MEMORY;
}

/**
 * A piece of what was received, for a program to keep: a view, or a copy where the piece is a small part
 * of a large read, of the slab, or of the memory of a read beyond the slab's size.
 */
export function keepable(input: Buffer, start: number, end: number): Buffer {
  if (input.length < SMALLEST_VIEW) {
    if (input !== viewed) {
      viewed = input;
      viewedMemory = bufferOf.call(input);
      viewedBase = byteOffsetOf.call(input);
    }
    return new View(viewedMemory, viewedBase + start, end - start);
  }
  const size = end - start;
  // The size of the memory is asked last, as `buffer` is slow: small pieces need no look at it.
  if (size >= SMALLEST_VIEW && size * MOST_PINNED >= input.buffer.byteLength) {
    return input.subarray(start, end);
  }
  const piece = Buffer.allocUnsafe(size);
  input.copy(piece, 0, start, end);
  return piece;
}

/** The first `length` bytes: a copy where a view of little would keep much in memory. */
export function shortened(data: Buffer, length: number): Buffer {
  const part = data.subarray(0, length);
  return length < data.length / 2 ? Buffer.from(part) : part;
}

// ---------------------------------------------------------------------------------------------
// Sending.

const SCRATCH_SIZE = 256 * 1024;
/** Up to here, copying in JavaScript costs less than calling `set`. */
const HAND_COPIED = 8;
/** Up to here, copying in JavaScript costs less than calling `copy`, which makes a view. */
const HAND_JOINED = 128;
/** Up to here, encoding in JavaScript costs less than `buffer.write`, which leaves it. */
const HAND_ENCODED = 64;
/** No encoding makes more bytes of a UTF-16 unit. */
const BYTES_PER_UNIT = 3;
const LAST_ASCII = 0x7f;

/** @throws for a text that must not be encoded so. */
type TextCheck = (text: string, encoding: BufferEncoding) => void;

/** The engine's own, past the look-ups that a method of a Buffer takes even in compiled code. */
const { set } = Uint8Array.prototype;

/** Whether an encoding writes ASCII as it is. */
function keepsAscii(encoding: BufferEncoding): boolean {
  return encoding === 'utf8' || encoding === 'latin1' || encoding === 'ascii';
}

function copyRange(from: Buffer, start: number, end: number, to: Buffer, at: number): void {
  if (end - start > HAND_JOINED) from.copy(to, at, start, end);
  else for (let next = start; next < end; next += 1) to[at + next - start] = from[next] as number;
}

/** A part of `memory`, copied. */
export function copyOf(memory: Buffer, start: number, end: number): Buffer {
  const copy = Buffer.allocUnsafe(end - start);
  copyRange(memory, start, end, copy, 0);
  return copy;
}

/**
 * Small pieces of output, one behind the other, to be sent without a Buffer for each. What is appended is
 * copied, so the caller may change its own memory afterwards. The bytes stay until they are released: a
 * user remembers where its segment starts, and releases to there.
 */
export class SendScratch {
  /** How many bytes are in use: where the next piece goes. */
  used = 0;
  #memory: Memory | null = null;
  #bytes: Buffer | null = null;
  #joined: Memory | null = null;

  /** 256 KiB, allocated at the first use. */
  get memory(): Memory {
    this.#memory ??= new Memory(SCRATCH_SIZE);
    return this.#memory;
  }

  /** Copies a piece to the end. @returns false when there is no room */
  append(data: Uint8Array): boolean {
    const bytes = this.#bytes ?? this.#allocate();
    const length = byteLengthOf.call(data);
    const start = this.used;
    if (length > bytes.length - start) return false;
    if (length > HAND_COPIED) set.call(bytes, data, start);
    else for (let at = 0; at < length; at += 1) bytes[start + at] = data[at] as number;
    this.used = start + length;
    return true;
  }

  /**
   * Encodes a text to the end.
   * @param check called first, unless the text has been found to be ASCII. Nothing is appended if it throws
   * @returns how many bytes the text takes; -1 when it might not fit
   */
  appendText(text: string, encoding: BufferEncoding, check?: TextCheck): number {
    const bytes = this.#bytes ?? this.#allocate();
    const { length } = text;
    const start = this.used;
    if (length * BYTES_PER_UNIT > bytes.length - start) return -1;
    let at = 0;
    if (length <= HAND_ENCODED && keepsAscii(encoding)) {
      for (; at < length; at += 1) {
        const unit = text.charCodeAt(at);
        if (unit > LAST_ASCII) break;
        bytes[start + at] = unit;
      }
    }
    let written = length;
    if (at < length) {
      check?.(text, encoding);
      written = bytes.write(text, start, encoding);
    }
    this.used = start + written;
    return written;
  }

  /**
   * Copies ranges of this memory one behind the other.
   * @param ranges the start and the length of each
   * @returns other memory, in which they stand until the next call
   */
  join(ranges: readonly number[]): Memory {
    this.#joined ??= new Memory(SCRATCH_SIZE);
    const from = this.#bytes as Buffer;
    const to = this.#joined.buffer;
    let at = 0;
    for (let index = 0; index < ranges.length; index += 2) {
      const start = ranges[index] as number;
      const end = start + (ranges[index + 1] as number);
      copyRange(from, start, end, to, at);
      at += end - start;
    }
    return this.#joined;
  }

  /** Gives back all that was appended from `start` on. */
  release(start: number): void {
    this.used = start;
  }

  #allocate(): Buffer {
    this.#bytes = this.memory.buffer;
    return this.#bytes;
  }
}

/** The scratch of this thread. */
export const sendScratch = new SendScratch();
