// The small pushes of one chat in one tick, side by side in memory that all chats share
// (kernel/buffers.ts), so that they are sent without a Buffer for each. A chat begins a segment in its own
// read event. The segment can be extended until another one begins behind it.

import { Buffer } from 'node:buffer';
import { sendScratch } from '../kernel/buffers';
import { checkText } from './producers/text';

/** Longer data is not worth copying, in bytes. */
export const LONGEST_COPIED = 16384;

const checkPushed = (text: string, encoding: BufferEncoding): void =>
  checkText(text, encoding, 'push');

/** How many segments there are. Without any, the shared memory is used from its beginning again. */
let segments = 0;

export class Segment {
  start = 0;
  /** 0: there is none, or what there was has been dropped. */
  length = 0;
  #open = false;
  /** The maximum length, in bytes. */
  limit = 0;

  /**
   * Begins with `data`.
   * @returns false when that is too long, or there is no room
   * @throws {RangeError} for text that the encoding cannot hold. Nothing has changed then
   */
  open(data: Uint8Array | string, encoding: BufferEncoding, limit: number): boolean {
    this.start = sendScratch.used;
    this.limit = limit;
    // Some text makes no bytes at all: half a digit of `hex`.
    this.#open = this.extend(data, encoding) && this.length > 0;
    if (this.#open) segments += 1;
    return this.#open;
  }

  /**
   * Appends `data`.
   * @returns false when it does not fit, or another segment stands behind this one
   * @throws {RangeError} for text that the encoding cannot hold. Nothing has changed then
   */
  extend(data: Uint8Array | string, encoding: BufferEncoding): boolean {
    const before = sendScratch.used;
    if (data.length > LONGEST_COPIED || this.start + this.length !== before) return false;
    const copied =
      typeof data === 'string'
        ? sendScratch.appendText(data, encoding, checkPushed) >= 0
        : sendScratch.append(data);
    if (!copied) return false;
    const length = sendScratch.used - this.start;
    if (length > this.limit) {
      sendScratch.release(before);
      return false;
    }
    this.length = length;
    return true;
  }

  /** For an override or a stand-in for a socket: a view that it may keep. */
  giveAway(): Buffer {
    return sendScratch.giveAway(this.start, this.length);
  }

  /** A copy, from `offset` on. It may wait for long, and must not keep all of the shared memory. */
  copy(offset: number): Buffer {
    const { start, length } = this;
    return Buffer.from(sendScratch.memory.buffer.subarray(start + offset, start + length));
  }

  /** Forgets the bytes. They may be on their way to the kernel at this moment, so their memory stays. */
  drop(): void {
    this.length = 0;
  }

  /** Ends the segment. The memory may be used again. */
  release(): void {
    this.length = 0;
    if (!this.#open) return;
    this.#open = false;
    segments -= 1;
    if (segments === 0) sendScratch.release(0);
  }
}
