// The small pushes of one chat in one tick, in memory that all chats share (kernel/buffers.ts), so that they
// are sent together and without a Buffer for each.
//
// What a chat pushes in its own read event stands side by side. Where other chats push in between, as in a
// room in which many speak at once, a segment consists of several pieces.

import { copyOf, sendScratch } from '../kernel/buffers';
import type { Memory } from '../kernel/syscalls';
import { checkText } from './producers/text';

/** Longer data is not worth copying, in bytes. */
export const LONGEST_COPIED = 16384;

const checkPushed = (text: string, encoding: BufferEncoding): void =>
  checkText(text, encoding, 'push');

/** How many segments there are. Without any, the shared memory is used from its beginning again. */
let segments = 0;

/** The chat, which says how text becomes bytes. */
interface Encoder {
  readonly encoding: BufferEncoding;
}

export class Segment {
  /** All bytes; 0: there is no segment, or what there was has been dropped. */
  length = 0;
  /** Where `locate` has found the bytes. */
  memory: Memory | null = null;
  offset = 0;
  /** The last piece. */
  #start = 0;
  #last = 0;
  /** The start and the length of each piece before that; null: none. */
  #earlier: number[] | null = null;
  #open = false;
  /** The maximum length, in bytes. */
  #limit = 0;

  /**
   * Begins with `data`.
   * @returns false when that is too long, or there is no room
   * @throws {RangeError} for text that the encoding cannot hold. Nothing has changed then
   */
  open(data: Uint8Array | string, length: number, owner: Encoder, limit: number): boolean {
    this.#start = sendScratch.used;
    this.#limit = limit;
    // Some text makes no bytes at all: half a digit of `hex`.
    this.#open = this.extend(data, length, owner) && this.length > 0;
    if (this.#open) segments += 1;
    return this.#open;
  }

  /**
   * Appends `data`.
   * @returns false when it does not fit
   * @throws {RangeError} for text that the encoding cannot hold. Nothing has changed then
   */
  extend(data: Uint8Array | string, length: number, owner: Encoder): boolean {
    if (length > LONGEST_COPIED) return false;
    const before = sendScratch.used;
    if (typeof data === 'string') {
      if (sendScratch.appendText(data, owner.encoding, checkPushed) < 0) return false;
    } else if (!sendScratch.append(data)) return false;
    const added = sendScratch.used - before;
    if (this.length + added > this.#limit) {
      sendScratch.release(before);
      return false;
    }
    if (this.#start + this.#last !== before) this.#beginPiece(before);
    this.#last += added;
    this.length += added;
    return true;
  }

  #beginPiece(start: number): void {
    this.#earlier ??= [];
    this.#earlier.push(this.#start, this.#last);
    this.#start = start;
    this.#last = 0;
  }

  /** Sets `memory` and `offset` to where all bytes are in one piece, until another segment is located. */
  locate(): void {
    const earlier = this.#earlier;
    this.offset = earlier === null ? this.#start : 0;
    this.memory =
      earlier === null
        ? sendScratch.memory
        : sendScratch.join([...earlier, this.#start, this.#last]);
  }

  /**
   * A copy, from `from` on: of what the kernel has not taken, and for an override or a stand-in for a socket,
   * which may keep it. A view would keep all of the shared memory.
   */
  copy(from: number): Buffer {
    this.locate();
    const { memory, offset, length } = this;
    return copyOf((memory as Memory).buffer, offset + from, offset + length);
  }

  /** Forgets the bytes. They may be on their way to the kernel at this moment, so their memory stays. */
  drop(): void {
    this.length = this.#last = 0;
    this.#earlier = null;
  }

  /** Ends the segment. The memory may be used again. */
  release(): void {
    this.drop();
    if (!this.#open) return;
    this.#open = false;
    segments -= 1;
    if (segments === 0) sendScratch.release(0);
  }
}
