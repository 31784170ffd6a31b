// The producer of output that arrives asynchronously: a stream of Node's, or an iterable.

import { finished, type Readable } from 'node:stream';
import { badType } from '../../errors';
import { ACTION, ignoreRejection, isData, isPromise, type Producer } from './producer';

/** Where a StreamProducer's data comes from: a Readable of Node's, a web stream, a generator, an array. */
export type StreamSource =
  | AsyncIterable<Uint8Array | string>
  | Iterable<Uint8Array | string | PromiseLike<Uint8Array | string>>;

/** How a source is read. */
interface Reader {
  /** The next chunk, or a promise of it; `END` after the last. Throws what the source fails with. */
  next(): unknown;
  /** Reads no more, and has the source release what it holds. */
  stop(): void | PromiseLike<void>;
}

const END = Symbol('end');

/**
 * Yields the chunks of a stream or an iterable. What has not arrived yet is waited for, without keeping any
 * other channel waiting. A string is encoded by the chat.
 *
 * The source is read only as there is room for output, so a slow peer slows the source down: a Readable
 * reads ahead up to its own `highWaterMark`, and an iterable is asked for one chunk at a time. When the
 * source fails, its error is the producer's, once, and the producer is exhausted. When the producer is
 * closed, because the channel closes or the push is refused, a Readable is destroyed, and an iterator's
 * `return` is called.
 *
 * Under `loopSync` no promise is settled and no stream has events, so that only a plain iterable works.
 *
 * @example
 * chat.pushWithProducer(new ChunkedProducer(new StreamProducer(createReadStream('/proc/cpuinfo'))));
 */
export class StreamProducer implements Producer {
  /** Null: exhausted. */
  #reader: Reader | null;

  /**
   * @param source a Readable, or what `for await` takes, of Uint8Arrays and strings. An `error` event of a
   *   Readable is this producer's from now on
   * @throws {TypeError} when `source` is none of these. Data itself is refused: push it
   */
  constructor(source: StreamSource) {
    this.#reader = readerOf(source);
  }

  /**
   * The next chunk, or a promise of it. Empty chunks are skipped.
   * @throws {TypeError} when a chunk is neither a Uint8Array nor a string. The source is closed then
   */
  more(): Uint8Array | string | null | PromiseLike<Uint8Array | string | null> {
    for (;;) {
      let chunk: unknown;
      try {
        chunk = this.#reader === null ? END : this.#reader.next();
      } catch (error) {
        throw this.#failed(error);
      }
      if (isPromise(chunk)) return this.#await(chunk);
      const data = this.#take(chunk);
      if (data === null || data.length > 0) return data;
    }
  }

  async #await(promise: PromiseLike<unknown>): Promise<Uint8Array | string | null> {
    let chunk: unknown;
    try {
      chunk = await promise;
    } catch (error) {
      throw this.#failed(error);
    }
    const data = this.#take(chunk);
    return data === null || data.length > 0 ? data : this.more();
  }

  /** @returns null at the end, and once this is closed */
  #take(chunk: unknown): Uint8Array | string | null {
    if (chunk === END || this.#reader === null) {
      this.#reader = null;
      return null;
    }
    if (isData(chunk)) return chunk;
    throw this.#failed(badType('send what a source yielded', 'a Uint8Array or a string', chunk));
  }

  /** Drops the rest. What the source fails with while it is closed is less than what it has failed with. */
  #failed(error: unknown): unknown {
    try {
      ignoreRejection(this.close());
    } catch {
      // See above.
    }
    return error;
  }

  /**
   * Destroys a Readable; calls `return` of an iterator. Idempotent. The producer is exhausted then.
   * @returns the promise of an async iterator's `return`
   */
  close(): void | PromiseLike<void> {
    const reader = this.#reader;
    this.#reader = null;
    return reader?.stop();
  }
}

function readerOf(source: StreamSource): Reader {
  if (isReadable(source)) return new StreamReader(source);
  const { [Symbol.asyncIterator]: async, [Symbol.iterator]: sync } = Object(
    isData(source) ? null : source,
  );
  if (typeof async === 'function') return new IteratorReader(async.call(source));
  if (typeof sync === 'function') return new IteratorReader(sync.call(source));
  const hint = isData(source) ? 'push data with push()' : undefined;
  throw badType(ACTION, 'a Readable or an iterable of data', source, hint);
}

/** Streams of packages are no instances of Node's class. */
function isReadable(source: unknown): source is Readable {
  const stream = source as Partial<Readable> | null | undefined;
  return (
    typeof stream?.read === 'function' &&
    typeof stream.on === 'function' &&
    typeof stream.destroy === 'function'
  );
}

/** Reads what a Readable has, and waits only when it has nothing. */
class StreamReader implements Reader {
  readonly #stream: Readable;
  #listening = false;
  /** The stream has ended, failed, or been destroyed. */
  #over = false;
  #stopped = false;
  #failure: { readonly error: unknown } | null = null;
  #waiting: (() => void)[] = [];

  constructor(stream: Readable) {
    this.#stream = stream;
    // From the beginning: a stream may fail before its turn comes. `finished` goes on listening for errors,
    // so that one that follows a destroy() does not end the process.
    finished(stream, { writable: false }, (error) => {
      this.#over = true;
      // A destroyed stream has ended too early, which is no news.
      if (error && !this.#stopped) this.#failure = { error };
      this.#wake();
    });
  }

  readonly #wake = (): void => {
    for (const resolve of this.#waiting.splice(0)) resolve();
  };

  next(): unknown {
    // Not before the first call: a stream with this listener begins to read.
    if (!this.#listening) {
      this.#listening = true;
      this.#stream.on('readable', this.#wake);
    }
    if (this.#failure !== null) throw this.#failure.error;
    const chunk: unknown = this.#stream.read();
    if (chunk !== null) return chunk;
    if (this.#over) return END;
    return new Promise<void>((resolve) => this.#waiting.push(resolve)).then(() => this.next());
  }

  stop(): void {
    this.#stopped = true;
    this.#stream.off('readable', this.#wake);
    // 'close' follows, and wakes a read that waits.
    this.#stream.destroy();
  }
}

/** Asks an iterator, sync or async. */
class IteratorReader implements Reader {
  readonly #iterator: Iterator<unknown> | AsyncIterator<unknown>;
  /** The iterator is running: a generator cannot be ended from within. */
  #asking = false;
  #stopped = false;
  #over = false;

  constructor(iterator: Iterator<unknown> | AsyncIterator<unknown>) {
    this.#iterator = iterator;
  }

  next(): unknown {
    this.#asking = true;
    let result: IteratorResult<unknown> | PromiseLike<IteratorResult<unknown>>;
    try {
      result = this.#iterator.next();
    } catch (error) {
      this.#over = true;
      throw error;
    } finally {
      this.#asking = false;
    }
    if (isPromise(result)) return this.#await(result);
    const chunk = this.#take(result);
    // It has closed the channel, and so this producer, and then yielded.
    if (this.#stopped) ignoreRejection(this.stop());
    return chunk;
  }

  async #await(promise: PromiseLike<IteratorResult<unknown>>): Promise<unknown> {
    try {
      return this.#take(await promise);
    } catch (error) {
      this.#over = true;
      throw error;
    }
  }

  #take(result: IteratorResult<unknown>): unknown {
    if (result.done !== true) return result.value;
    this.#over = true;
    return END;
  }

  stop(): void | PromiseLike<void> {
    this.#stopped = true;
    if (this.#asking || this.#over) return;
    this.#over = true;
    const result: unknown = this.#iterator.return?.();
    if (isPromise(result)) return result.then(() => {});
  }
}
