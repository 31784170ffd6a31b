// Producers of data that is in memory, and of several sources in turn.

import { badType } from '../../errors';
import {
  ACTION,
  checkSize,
  ignoreRejection,
  isData,
  isPromise,
  MORE,
  NOTHING,
  PIECE,
  type Piece,
  type Producer,
  type Source,
} from './producer';
import { encodeText } from './text';

/**
 * Yields data in pieces of `bufferSize` bytes at most. Python's `asynchat.simple_producer`.
 *
 * The pieces are views of the data: it is not copied, and must not change until it is sent. A string is
 * encoded as UTF-8.
 *
 * @example
 * chat.pushWithProducer(new SimpleProducer(page, 4096));
 */
export class SimpleProducer implements Producer {
  readonly #data: Uint8Array;
  #offset = 0;

  /**
   * @throws {RangeError} when `bufferSize` is no integer, or below 1 and there is data; and for a lone
   *   surrogate in a string, which is no character (`ERR_UNENCODABLE_CHARACTER`)
   * @throws {TypeError} when `data` is neither a Uint8Array nor a string
   */
  constructor(
    data: Uint8Array | string,
    /** Bytes in a piece at most. Python's `buffer_size`, whose default is 512 as well. */
    readonly bufferSize = 512,
  ) {
    if (!isData(data)) throw badType(ACTION, 'a Uint8Array or a string', data);
    // As in Python, a producer of nothing is empty, whatever the size of its pieces.
    checkSize('bufferSize', bufferSize, data.length > 0 ? 1 : -Infinity);
    this.#data = typeof data === 'string' ? encodeText(data, 'utf8', ACTION) : data;
  }

  /** The next piece, empty when all has been yielded. */
  more(): Uint8Array {
    const piece = this.#data.subarray(this.#offset, this.#offset + this.bufferSize);
    this.#offset += piece.length;
    return piece;
  }
}

/**
 * Yields several sources, one after the other. Each is taken from the iterable when its turn comes, so
 * that a generator can make them on demand. Medusa's `composite_producer`, `lines_producer` and
 * `buffer_list_producer`.
 *
 * @example
 * chat.pushWithProducer(new CompositeProducer(['<', new FileProducer(fd), '>']));
 */
export class CompositeProducer implements Producer {
  readonly #sources: Iterator<Source>;
  #current: Producer | null = null;
  /** The iterator is running: a generator cannot be ended from within. */
  #asking = false;
  #closed = false;

  /** @throws {TypeError} when `sources` is not iterable */
  constructor(sources: Iterable<Source>) {
    if (typeof sources?.[Symbol.iterator] !== 'function') {
      throw badType(ACTION, 'an iterable of producers and data', sources);
    }
    this.#sources = sources[Symbol.iterator]();
  }

  /**
   * The next piece of the first source that has one. A promise, where that source has promised it.
   * @throws {TypeError} when a source is neither data nor a producer, or its piece is no data
   */
  more(): Uint8Array | string | PromiseLike<Uint8Array | string> {
    for (;;) {
      const piece = this.#current === null ? NOTHING : pieceOf(this.#current);
      if (isPromise(piece)) return piece.then((late) => this.#arrived(late));
      if (piece.length > 0) return piece;
      const next = this.#next();
      if (next === null) {
        this.#current = null;
        return NOTHING;
      }
      this.#current = producerOf(next);
    }
  }

  #arrived(piece: Uint8Array | string): Uint8Array | string | PromiseLike<Uint8Array | string> {
    if (piece.length > 0) return piece;
    // The end of this source. It is not asked again.
    this.#current = null;
    return this.more();
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
    // The generator has closed the channel, and so this producer, and then yielded one more source.
    if (next.done !== true) ignoreRejection(producerOf(next.value).close?.());
    ignoreRejection(this.close());
    return null;
  }

  /** Closes the sources that are left. A generator is ended, and yields no more. */
  close(): void | PromiseLike<void> {
    this.#closed = true;
    if (this.#asking) return;
    const closing: unknown[] = [this.#current?.close?.()];
    this.#current = null;
    if (this.#sources.return !== undefined) {
      this.#sources.return();
    } else {
      for (let next = this.#sources.next(); next.done !== true; next = this.#sources.next()) {
        closing.push(producerOf(next.value).close?.());
      }
    }
    if (closing.some(isPromise)) return Promise.all(closing).then(() => {});
  }
}

export function producerOf(source: Source): Producer {
  if (isData(source)) return new SimpleProducer(source, PIECE);
  if (typeof source?.more === 'function') return source;
  throw badType(ACTION, 'data or an object with a method more()', source);
}

/** The next piece, empty after the last, or a promise of it. */
export function pieceOf(
  producer: Producer,
): Uint8Array | string | PromiseLike<Uint8Array | string> {
  const piece = producer.more();
  return isPromise(piece) ? piece.then(dataOf) : dataOf(piece);
}

function dataOf(piece: Piece): Uint8Array | string {
  const data = piece ?? NOTHING;
  if (isData(data)) return data;
  throw badType(MORE, 'a Uint8Array, string, null or undefined', piece);
}
