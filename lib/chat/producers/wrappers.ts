// Producers that pass on the pieces of another source.

import { badType } from '../../errors';
import { pieceOf, producerOf } from './data';
import {
  ACTION,
  checkSize,
  ignoreRejection,
  isPromise,
  MORE,
  NOTHING,
  PIECE,
  type Producer,
  type Source,
} from './producer';
import { encodeText } from './text';

const CHUNK_END = Buffer.from('\r\n');
const LAST_CHUNK = Buffer.from('0\r\n\r\n');

/** The base of producers that pass on the pieces of another source. */
abstract class Wrapper implements Producer {
  readonly #producer: Producer;
  #exhausted = false;

  /** @throws {TypeError} for a `source` that is neither a producer nor data */
  constructor(source: Source) {
    this.#producer = producerOf(source);
  }

  abstract more(): Uint8Array | PromiseLike<Uint8Array>;

  /** The next piece of the source, or a promise of it. The source is not asked again after its last. */
  protected next(): Uint8Array | PromiseLike<Uint8Array> {
    if (this.#exhausted) return NOTHING;
    const piece = pieceOf(this.#producer);
    return isPromise(piece) ? piece.then((late) => this.#encode(late)) : this.#encode(piece);
  }

  #encode(piece: Uint8Array | string): Uint8Array {
    if (piece.length === 0) this.#exhausted = true;
    return typeof piece === 'string' ? encodeText(piece, 'utf8', MORE) : piece;
  }

  /** Closes the source. The producer is exhausted then. */
  close(): void | PromiseLike<void> {
    this.#exhausted = true;
    return this.#producer.close?.();
  }
}

/**
 * Calls `hook` when the source is exhausted: once, and not if the producer is closed before. Medusa's
 * `hooked_producer`.
 *
 * @example
 * chat.pushWithProducer(new HookedProducer(page, (bytes) => chat.log(`${bytes} bytes`)));
 */
export class HookedProducer extends Wrapper {
  #hook: ((bytes: number) => void) | null;
  #bytes = 0;

  /**
   * Passes on `source`, and calls `hook` with the number of bytes.
   * @throws {TypeError} for a `hook` that is no function, and a `source` that is neither producer nor data
   */
  constructor(source: Source, hook: (bytes: number) => void) {
    super(source);
    if (typeof hook !== 'function') throw badType(ACTION, 'a function as hook', hook);
    this.#hook = hook;
  }

  /** The next piece of the source, unchanged. */
  more(): Uint8Array | PromiseLike<Uint8Array> {
    const piece = this.next();
    return isPromise(piece) ? piece.then((late) => this.#count(late)) : this.#count(piece);
  }

  #count(piece: Uint8Array): Uint8Array {
    this.#bytes += piece.length;
    if (piece.length > 0) return piece;
    const hook = this.#hook;
    this.#hook = null;
    hook?.(this.#bytes);
    return piece;
  }

  override close(): void | PromiseLike<void> {
    this.#hook = null;
    return super.close();
  }
}

/**
 * Joins small pieces to pieces of `size` bytes or more. A chat joins small output by itself: this is for
 * wrappers to which each piece is costly. Medusa's `globbing_producer`.
 *
 * A source that promises its next piece is not waited for while there is something to pass on: what has
 * come so far is a piece then, of whatever size.
 *
 * @example
 * chat.pushWithProducer(new ChunkedProducer(new GlobbingProducer(rows)));
 */
export class GlobbingProducer extends Wrapper {
  readonly #size: number;
  /** What the source has promised, while the pieces before it were passed on. */
  #promised: PromiseLike<Uint8Array> | null = null;
  /** What the source has thrown, while the pieces before it were passed on. */
  #failure: { readonly error: unknown } | null = null;

  /** @throws {RangeError} when `size` is no positive integer */
  constructor(source: Source, size = PIECE) {
    super(source);
    checkSize('size', size);
    this.#size = size;
  }

  /** The next pieces of the source, as one. */
  more(): Uint8Array | PromiseLike<Uint8Array> {
    const failure = this.#failure;
    this.#failure = null;
    if (failure !== null) throw failure.error;
    const first = this.#promised ?? this.next();
    this.#promised = null;
    return isPromise(first) ? first.then((late) => this.#join(late)) : this.#join(first);
  }

  #join(first: Uint8Array): Uint8Array {
    const pieces: Uint8Array[] = [];
    let length = 0;
    let piece = first;
    while (piece.length > 0) {
      pieces.push(piece);
      length += piece.length;
      if (length >= this.#size) break;
      let next: Uint8Array | PromiseLike<Uint8Array>;
      try {
        next = this.next();
      } catch (error) {
        this.#failure = { error };
        break;
      }
      if (isPromise(next)) {
        this.#promised = next;
        // Its error is for the call of more() that will wait for it.
        ignoreRejection(next);
        break;
      }
      piece = next;
    }
    return pieces.length < 2 ? first : Buffer.concat(pieces, length);
  }

  override close(): void | PromiseLike<void> {
    this.#promised = this.#failure = null;
    return super.close();
  }
}

/**
 * Makes each piece a chunk of HTTP's `Transfer-Encoding: chunked`, and ends with the last-chunk. Medusa's
 * `chunked_producer`, without trailers.
 */
export class ChunkedProducer extends Wrapper {
  #ended = false;

  /** The next chunk. */
  more(): Uint8Array | PromiseLike<Uint8Array> {
    const piece = this.next();
    return isPromise(piece) ? piece.then((late) => this.#frame(late)) : this.#frame(piece);
  }

  #frame(piece: Uint8Array): Uint8Array {
    if (piece.length > 0) {
      const size = Buffer.from(`${piece.length.toString(16)}\r\n`);
      return Buffer.concat([size, piece, CHUNK_END]);
    }
    if (this.#ended) return NOTHING;
    this.#ended = true;
    return LAST_CHUNK;
  }

  override close(): void | PromiseLike<void> {
    this.#ended = true;
    return super.close();
  }
}
