// The interface of producers, and what they all use.

import { badNumber } from '../../errors';

/** What a producer yields: data. Empty, null or undefined: the producer is exhausted. */
export type Piece = Uint8Array | string | null | undefined;

/**
 * Something that yields output, piece by piece.
 *
 * @example
 * const rows: Producer = {
 *   async more() {
 *     const row = await cursor.next();
 *     return row === null ? null : `${row.name}\n`;
 *   },
 *   close: () => cursor.close(),
 * };
 */
export interface Producer {
  /**
   * The next piece; a string is encoded by the chat, and refused when its encoding cannot hold it. Empty, null
   * or undefined: exhausted. The piece must not change afterwards: the chat does not copy it.
   *
   * A promise of the piece means that there is none yet. The chat sends nothing of what was pushed after,
   * and does not wait to write, until the promise is settled; `more` is not called meanwhile. A rejection
   * is what an exception would be. Under `loopSync`, and while a handler runs, no promise is settled.
   */
  more(): Piece | PromiseLike<Piece>;
  /**
   * Releases what the producer holds, for example a descriptor. `more` is not called again, though the
   * producer may not be exhausted, and a piece that it has promised is dropped. May be called twice, and
   * after the end. An error, or the rejection of a promise that it returns, goes to `handleError`.
   */
  close?(): void;
}

/** What a producer is made from: another producer, or data. A string is encoded as UTF-8. */
export type Source = Producer | Uint8Array | string;

export const NOTHING: Buffer = Buffer.alloc(0);

/** Bytes in a piece, for producers that choose the size. */
export const PIECE = 65536;

/** How error messages name the call. */
export const ACTION = 'make a producer';
export const MORE = 'use what more() returned';

/** Whether a producer has only promised its piece. */
export function isPromise<Value>(value: Value | PromiseLike<Value>): value is PromiseLike<Value> {
  return typeof (value as { then?: unknown } | null | undefined)?.then === 'function';
}

/** The promise of a `close` that nobody waits for: there is no channel any more that an error could go to. */
export function ignoreRejection(closing: unknown): void {
  if (isPromise(closing)) closing.then(undefined, () => {});
}

export function isData(source: unknown): source is Uint8Array | string {
  return typeof source === 'string' || source instanceof Uint8Array;
}

export function checkSize(name: string, size: number, least = 1): void {
  if (!Number.isInteger(size) || size < least) {
    throw badNumber(ACTION, `a positive integer as ${name}`, size);
  }
}
