/// <reference types="node" preserve="true" />
// Producers: where a chat's output comes from. They know no chat.
//
// A producer is anything with a method `more`. A chat asks it whenever it has room for output, and
// not before, so what it holds need not be in memory; it is asked again until it is exhausted.
//
// Most of those below wrap another one, and are Medusa's: a gzipped file in chunks is
// `new ChunkedProducer(new CompressedProducer(new FileProducer(fd)))`. Each is exhausted for ever, and
// takes data where it takes a producer. To ask is a plain call, so whatever a producer does to find
// its next piece, all channels wait for.

import { closeSync, readSync } from 'node:fs';
import { constants, deflateRawSync } from 'node:zlib';
import { badRange, badType } from '../../errors';

/** Something that yields output, piece by piece. */
export interface Producer {
  /**
   * The next piece; a string is encoded by the chat. Empty, null or undefined: exhausted. It may not
   * be a promise. A piece is the chat's from then on, and must not change.
   */
  more(): Uint8Array | string | null | undefined;
  /**
   * Lets go of what it holds, a descriptor for one: nobody will ask again, though it may not be
   * exhausted. It may be called twice, and after the end.
   */
  close?(): void;
}

/** What producers are made of: another one, or data; a string is encoded as UTF-8. */
export type Source = Producer | Uint8Array | string;

const NOTHING = Buffer.alloc(0);

/** Bytes in a piece of those that choose. */
const PIECE = 65536;

/**
 * Yields data in pieces of `bufferSize` bytes at most. Python's `asynchat.simple_producer`.
 *
 * The pieces are views of the data, which is not copied and must not be changed until it is sent. A
 * string is encoded as UTF-8.
 *
 * @example
 * chat.pushWithProducer(new SimpleProducer(page, 4096));
 */
export class SimpleProducer implements Producer {
  readonly #data: Uint8Array;
  #offset = 0;

  /**
   * @throws {RangeError} when `bufferSize` is no positive integer
   * @throws {TypeError} for what is no data
   */
  constructor(
    data: Uint8Array | string,
    /** Bytes in a piece at most. Python's `buffer_size`, 512 there as well. */
    readonly bufferSize = 512,
  ) {
    checkSize('bufferSize', bufferSize);
    if (!isData(data)) throw badType(ACTION, 'a Uint8Array or a string', data);
    this.#data = typeof data === 'string' ? Buffer.from(data) : data;
  }

  /** The next piece, empty when all has been yielded. */
  more(): Uint8Array {
    const piece = this.#data.subarray(this.#offset, this.#offset + this.bufferSize);
    this.#offset += piece.length;
    return piece;
  }
}

/**
 * Yields a file, or a part of it, and owns its descriptor: closes it when all has been read, when that
 * fails, and by `close`. Medusa's `file_producer`.
 *
 * For files on a disk: a pipe has no place to read at, and is a `FileDispatcher`'s business.
 *
 * @example
 * chat.pushWithProducer(new FileProducer(openSync('page.html', 'r')));
 */
export class FileProducer implements Producer {
  #fd: number | null;
  #at: number;
  readonly #end: number;

  /**
   * @param part from `start` (default 0) to before `end`. Without an end: as far as the file goes.
   *   With one that much is promised, and a file that turns out to be shorter is an error
   * @throws {RangeError} when `start` or `end` is no place in a file
   */
  constructor(fd: number, { start = 0, end = Infinity }: { start?: number; end?: number } = {}) {
    const isPlace = Number.isSafeInteger(start) && start >= 0;
    if (!isPlace) throw badRange(ACTION, 'a place as start', start);
    const isEnd = (Number.isSafeInteger(end) || end === Infinity) && end >= start;
    if (!isEnd) throw badRange(ACTION, 'a place from start on as end', end);
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
    // Not out of Node's pool: what is sent slowly would pin what others have there.
    const piece = Buffer.allocUnsafeSlow(room);
    const length = readSync(fd, piece, 0, room, this.#at);
    if (length > 0 || this.#end === Infinity) return piece.subarray(0, length);
    throw new Error(`Cannot read a file up to byte ${this.#end}: it ends at ${this.#at}`);
  }

  /** Closes the descriptor, if that has not been done. */
  close(): void {
    const fd = this.#fd;
    this.#fd = null;
    if (fd !== null) closeSync(fd);
  }
}

/**
 * Yields one after the other. They are taken from the iterable when their turn comes, so that a
 * generator is a producer with this around it. Medusa's `composite_producer`, `lines_producer` and
 * `buffer_list_producer`.
 *
 * @example
 * chat.pushWithProducer(new CompositeProducer(['<', new FileProducer(fd), '>']));
 */
export class CompositeProducer implements Producer {
  readonly #sources: Iterator<Source>;
  #current: Producer | null = null;
  /** The next source is being made: by a generator, which cannot be ended from within. */
  #asking = false;
  #closed = false;

  /** @throws {TypeError} for what is not iterable */
  constructor(sources: Iterable<Source>) {
    if (typeof sources?.[Symbol.iterator] !== 'function') {
      throw badType(ACTION, 'an iterable of producers and data', sources);
    }
    this.#sources = sources[Symbol.iterator]();
  }

  /**
   * The next piece of the first that has one.
   * @throws {TypeError} when a source is none, or its piece is none
   */
  more(): Uint8Array | string {
    for (;;) {
      const piece = this.#current === null ? NOTHING : pieceOf(this.#current);
      if (piece.length > 0) return piece;
      const next = this.#next();
      if (next === null) {
        this.#current = null;
        return NOTHING;
      }
      this.#current = producerOf(next);
    }
  }

  #next(): Source | null {
    if (this.#closed) return null;
    this.#asking = true;
    let next: IteratorResult<Source>;
    try {
      next = this.#sources.next();
    } finally {
      this.#asking = false;
    }
    if (!this.#closed) return next.done === true ? null : next.value;
    // A generator has closed the channel, and this with it, and has then made one more.
    if (next.done !== true) producerOf(next.value).close?.();
    this.close();
    return null;
  }

  /** Closes those that are left. A generator is ended, and makes no more of them. */
  close(): void {
    this.#closed = true;
    if (this.#asking) return;
    this.#current?.close?.();
    this.#current = null;
    if (this.#sources.return !== undefined) {
      this.#sources.return();
      return;
    }
    for (let next = this.#sources.next(); next.done !== true; next = this.#sources.next()) {
      producerOf(next.value).close?.();
    }
  }
}

/** What those have in common that pass on another one's pieces. */
abstract class Wrapper implements Producer {
  readonly #producer: Producer;
  #exhausted = false;

  constructor(source: Source) {
    this.#producer = producerOf(source);
  }

  abstract more(): Uint8Array;

  /** The wrapped one's next piece. It is not asked again after its last. */
  protected next(): Uint8Array {
    const piece = this.#exhausted ? NOTHING : pieceOf(this.#producer);
    if (piece.length === 0) this.#exhausted = true;
    return typeof piece === 'string' ? Buffer.from(piece) : piece;
  }

  /** Closes what it wraps, and is exhausted. */
  close(): void {
    this.#exhausted = true;
    this.#producer.close?.();
  }
}

/**
 * Calls `hook` when what it wraps is exhausted: once, and not if it is closed before. Medusa's
 * `hooked_producer`.
 *
 * @example
 * chat.pushWithProducer(new HookedProducer(page, (bytes) => chat.log(`${bytes} bytes`)));
 */
export class HookedProducer extends Wrapper {
  #hook: ((bytes: number) => void) | null;
  #bytes = 0;

  /** @param hook is given how many bytes there were */
  constructor(source: Source, hook: (bytes: number) => void) {
    super(source);
    this.#hook = hook;
  }

  /** The next piece as it is. */
  more(): Uint8Array {
    const piece = this.next();
    this.#bytes += piece.length;
    if (piece.length > 0) return piece;
    const hook = this.#hook;
    this.#hook = null;
    hook?.(this.#bytes);
    return piece;
  }

  override close(): void {
    this.#hook = null;
    super.close();
  }
}

/**
 * Gathers small pieces to `size` bytes at least, as long as there are any. A chat gathers what it
 * sends by itself: this is for wrappers to which a piece is costly. Medusa's `globbing_producer`.
 *
 * @example
 * chat.pushWithProducer(new ChunkedProducer(new GlobbingProducer(rows)));
 */
export class GlobbingProducer extends Wrapper {
  readonly #size: number;

  /** @throws {RangeError} when `size` is no positive integer */
  constructor(source: Source, size = PIECE) {
    super(source);
    checkSize('size', size);
    this.#size = size;
  }

  /** The next pieces, as one. */
  more(): Uint8Array {
    const pieces: Uint8Array[] = [];
    let length = 0;
    while (length < this.#size) {
      const piece = this.next();
      if (piece.length === 0) break;
      pieces.push(piece);
      length += piece.length;
    }
    const [only = NOTHING] = pieces;
    return pieces.length < 2 ? only : Buffer.concat(pieces, length);
  }
}

/**
 * Each piece becomes a chunk of HTTP's `Transfer-Encoding: chunked`, and the last one says so. Medusa's
 * `chunked_producer`, without trailers.
 */
export class ChunkedProducer extends Wrapper {
  #ended = false;

  /** The next chunk. */
  more(): Uint8Array {
    const piece = this.next();
    if (piece.length > 0) {
      const size = Buffer.from(`${piece.length.toString(16)}\r\n`);
      return Buffer.concat([size, piece, CHUNK_END]);
    }
    if (this.#ended) return NOTHING;
    this.#ended = true;
    return LAST_CHUNK;
  }

  override close(): void {
    this.#ended = true;
    super.close();
  }
}

const CHUNK_END = Buffer.from('\r\n');
const LAST_CHUNK = Buffer.from('0\r\n\r\n');

/**
 * Compresses, for HTTP's `Content-Encoding: gzip`. Medusa's `compressed_producer` made the format that
 * HTTP calls deflate, about which browsers disagree.
 *
 * Pieces are gathered to 64 KiB, and each is compressed by a call of its own, which is given the end of
 * the piece before to refer to: as if it were one run, but that each piece ends on a byte. A call takes
 * about 1 ms, and everything else waits for it.
 */
export class CompressedProducer implements Producer {
  readonly #input: GlobbingProducer;
  readonly #level: number;
  /** As far back as a match may refer. */
  #window: Uint8Array = NOTHING;
  #checksum = 0;
  #length = 0;
  #state: 'new' | 'running' | 'over' = 'new';

  /**
   * @param level from 0, nothing, to 9, slow; Medusa's is 5 as well
   * @throws {RangeError} for another
   */
  constructor(source: Source, level = 5) {
    if (!(Number.isInteger(level) && level >= 0 && level <= 9)) {
      throw badRange(ACTION, '0 to 9 as level', level);
    }
    this.#input = new GlobbingProducer(source);
    this.#level = level;
  }

  /** The next piece, and with the first and the last what gzip puts around them. */
  more(): Uint8Array {
    if (this.#state === 'over') return NOTHING;
    const head = this.#state === 'new' ? GZIP_HEAD : NOTHING;
    const data = this.#input.more();
    this.#state = data.length > 0 ? 'running' : 'over';
    const tail = data.length > 0 ? this.#compress(data) : this.#trailer();
    return head.length === 0 ? tail : Buffer.concat([head, tail]);
  }

  #compress(data: Uint8Array): Buffer {
    this.#checksum = crc32(data, this.#checksum);
    this.#length += data.length;
    const dictionary = this.#window.length > 0 ? { dictionary: this.#window } : {};
    this.#window = data.subarray(-WINDOW);
    const finishFlush = constants.Z_SYNC_FLUSH;
    return deflateRawSync(data, { level: this.#level, finishFlush, ...dictionary });
  }

  /** An empty last block, and what tells whether all is there. */
  #trailer(): Buffer {
    const trailer = Buffer.from([3, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    trailer.writeUInt32LE(this.#checksum, 2);
    trailer.writeUInt32LE(this.#length % 2 ** 32, 6);
    return trailer;
  }

  /** Closes what it wraps, and is exhausted. */
  close(): void {
    this.#state = 'over';
    this.#window = NOTHING;
    this.#input.close();
  }
}

const WINDOW = 32768;

/** RFC 1952: deflate, no name, no time, on an unknown system. */
const GZIP_HEAD = Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff]);

const CRC_TABLE = Int32Array.from({ length: 256 }, (_, byte) => {
  let remainder = byte;
  for (let bit = 0; bit < 8; bit += 1) {
    remainder = remainder & 1 ? (remainder >>> 1) ^ 0xedb88320 : remainder >>> 1;
  }
  return remainder;
});

/** zlib.crc32 is in Node since 20.15 only. A tenth of what compression takes. */
function crc32(data: Uint8Array, before: number): number {
  let crc = ~before;
  for (let at = 0; at < data.length; at += 1) {
    crc = (CRC_TABLE[(crc ^ (data[at] as number)) & 0xff] as number) ^ (crc >>> 8);
  }
  return ~crc >>> 0;
}

const ACTION = 'make a producer';

function isData(source: unknown): source is Uint8Array | string {
  return typeof source === 'string' || source instanceof Uint8Array;
}

function producerOf(source: Source): Producer {
  if (isData(source)) return new SimpleProducer(source, PIECE);
  if (typeof source?.more === 'function') return source;
  throw badType(ACTION, 'data or an object with a method more()', source);
}

/** Its next piece, empty after the last. A promise has no length, and would pass for the end. */
function pieceOf(producer: Producer): Uint8Array | string {
  const piece = producer.more() ?? NOTHING;
  if (isData(piece)) return piece;
  throw badType('use what more() returned', 'a Uint8Array, string, null or undefined', piece);
}

function checkSize(name: string, size: number): void {
  if (!Number.isInteger(size) || size < 1) {
    throw badRange(ACTION, `a positive integer as ${name}`, size);
  }
}
