// The interface of producers, and what they all use.

import { badNumber } from '../../errors';

/** Something that yields output, piece by piece. */
export interface Producer {
  /**
   * The next piece; a string is encoded by the chat, and refused when its encoding cannot hold it. Empty, null
   * or undefined: exhausted. A promise is refused. The piece must not change afterwards: the chat does not
   * copy it.
   */
  more(): Uint8Array | string | null | undefined;
  /**
   * Releases what the producer holds, for example a descriptor. `more` is not called again, though the
   * producer may not be exhausted. May be called twice, and after the end.
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

export function isData(source: unknown): source is Uint8Array | string {
  return typeof source === 'string' || source instanceof Uint8Array;
}

export function checkSize(name: string, size: number, least = 1): void {
  if (!Number.isInteger(size) || size < least) {
    throw badNumber(ACTION, `a positive integer as ${name}`, size);
  }
}
