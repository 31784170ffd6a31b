/// <reference types="node" preserve="true" />
// Producers: where a chat's output comes from. Imports nothing of ours.
//
// A producer is anything with a method `more`. A chat asks it whenever it has room for output, and
// not before, so what it holds need not be in memory; it is asked again until it is exhausted.

/** Something that yields output, piece by piece. */
export interface Producer {
  /**
   * The next piece; a string is encoded by the chat. Empty, null or undefined: exhausted. It may not
   * be a promise.
   */
  more(): Uint8Array | string | null | undefined;
}

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

  /** @throws {RangeError} when `bufferSize` is no positive integer */
  constructor(
    data: Uint8Array | string,
    /** Bytes in a piece at most. Python's `buffer_size`, 512 there as well. */
    readonly bufferSize = 512,
  ) {
    if (!Number.isInteger(bufferSize) || bufferSize < 1) {
      throw new RangeError(
        `Cannot make a producer: expected a positive integer as bufferSize, received ${bufferSize}`,
      );
    }
    this.#data = typeof data === 'string' ? Buffer.from(data) : data;
  }

  /** The next piece, empty when all has been yielded. */
  more(): Uint8Array {
    const piece = this.#data.subarray(this.#offset, this.#offset + this.bufferSize);
    this.#offset += piece.length;
    return piece;
  }
}
