// The producer of a file.

import { closeSync, readSync } from 'node:fs';
import { badNumber, checkOptions } from '../../errors';
import { ACTION, NOTHING, PIECE, type Producer } from './producer';

/**
 * Sends up to `length` bytes of a file, from `offset` on: how many; null when nothing more can be sent now; 0
 * when the file has to be read, as it ends there or cannot be sent so.
 */
type FileSender = (file: number, offset: number, length: number) => number | null;

/** How a FileProducer has its file sent, instead of yielding it. @internal */
export const sendItself = Symbol('sendItself');

/**
 * Whether what stands on a fifo is a FileProducer that need not yield its file. A subclass, a wrapper or a
 * program that patches the prototype may yield something else. @internal
 */
export let sendsItself: (item: unknown) => item is FileProducer;

/**
 * Yields a file, or a part of it. Owns the descriptor: closes it when all has been read, when a read
 * fails, and by `close`. Medusa's `file_producer`.
 *
 * A chat on a `Socket` sends the file by sendfile(2), unless it overrides a step of sending. The file is not
 * read into memory then, so what is written over a part of it may still show in what the peer gets. Rename a
 * new file over it instead.
 *
 * For files on a disk: a pipe has no offsets to read at; use a `FileDispatcher` for that.
 *
 * @example
 * chat.pushWithProducer(new FileProducer(openSync('page.html', 'r')));
 */
export class FileProducer implements Producer {
  static {
    sendsItself = (item): item is FileProducer =>
      typeof item === 'object' && item !== null && #fd in item && item.more === STOCK_MORE;
  }

  #fd: number | null;
  #at: number;
  readonly #end: number;
  /** The file cannot be sent past the program's memory, or has ended. */
  #mustBeRead = false;

  /**
   * @param part from byte `start` (default 0) to before byte `end` (default: the end of the file). With an
   *   `end`, a file that turns out to be shorter is an error
   * @throws {RangeError} when `start` or `end` is no offset in a file, or `fd` is negative
   * @throws {TypeError} for anything but numbers, and when `part` has a name other than these
   */
  constructor(fd: number, part: { start?: number; end?: number } = {}) {
    if (!Number.isInteger(fd) || fd < 0) throw badNumber(ACTION, 'a file descriptor', fd);
    checkOptions(ACTION, 'a part { start, end }', part, { start: true, end: true });
    const { start = 0, end = Infinity } = part;
    const isOffset = Number.isSafeInteger(start) && start >= 0;
    if (!isOffset) throw badNumber(ACTION, 'start to be a byte offset', start);
    const isEnd = (Number.isSafeInteger(end) || end === Infinity) && end >= start;
    if (!isEnd) throw badNumber(ACTION, 'end to be a byte offset, start or more', end);
    this.#fd = fd;
    this.#at = start;
    this.#end = end;
  }

  /**
   * The next piece, of 64 KiB at most.
   * @throws {Error} when the file cannot be read, or ends too early
   */
  more(): Uint8Array {
    if (this.#fd === null) return NOTHING;
    let piece: Buffer;
    try {
      piece = this.#read(this.#fd, Math.min(PIECE, this.#end - this.#at));
    } catch (error) {
      this.close();
      throw error;
    }
    this.#at += piece.length;
    if (piece.length === 0 || this.#at === this.#end) this.close();
    return piece;
  }

  #read(fd: number, room: number): Buffer {
    if (room === 0) return NOTHING;
    // Not from Node's pool: a piece that is sent slowly would keep other users' pool memory alive.
    const piece = Buffer.allocUnsafeSlow(room);
    const length = readSync(fd, piece, 0, room, this.#at);
    if (length > 0 || this.#end === Infinity) return piece.subarray(0, length);
    throw new Error(`Cannot read a file up to byte ${this.#end}: it ends at ${this.#at}`);
  }

  /** @returns as `send`. After a 0 `more` is asked. @internal */
  [sendItself](send: FileSender, room: number): number | null {
    // At the end more() closes the file, so that an error of that is the producer's.
    if (this.#fd === null || this.#mustBeRead || this.#at === this.#end) return 0;
    const sent = send(this.#fd, this.#at, Math.min(room, this.#end - this.#at));
    if (sent === null) return null;
    this.#at += sent;
    // more() finds out why.
    if (sent === 0) this.#mustBeRead = true;
    return sent;
  }

  /** Closes the descriptor. Idempotent. */
  close(): void {
    const fd = this.#fd;
    this.#fd = null;
    if (fd !== null) closeSync(fd);
  }
}

// Taken once, see `sendsItself`.
const STOCK_MORE = FileProducer.prototype.more;
