// Bytes and a terminator in, pieces of records out.
//
// The reader knows no socket and no channel: its user feeds it what has been received, asks for one step
// at a time with the terminator that is in force then, and hands on what the step has found. Nothing is
// copied to take a step. The only input that a step holds back is the beginning of a delimiter at the end
// of the input.
//
//   feed(data)                    what has been received
//   next(terminator, limit)  ──>  Step.Part       start..end belongs to the current record
//                                 Step.Record     start..end completes it; the piece may be empty
//                                 Step.Overflow   the record has become longer than `limit`
//                                 Step.Skipped    more of a record that was too long
//                                 and `complete`, whether the record ends there; `held`, whether the
//                                 beginning of the delimiter is held back

import { Buffer } from 'node:buffer';

/** What ends a record: these bytes, or this many bytes more; null, 0 and empty: nothing does. */
export type CheckedTerminator = Uint8Array | number | null;

/** What `next` has found. */
export const Step = { Part: 0, Record: 1, Overflow: 2, Skipped: 3 } as const;
export type Step = (typeof Step)[keyof typeof Step];

const NOTHING = Buffer.alloc(0);

/** The engine's own, past the look-ups that Buffer's methods make on the way. */
const { indexOf: indexOfByte } = Uint8Array.prototype;

export class RecordReader {
  /** What has been fed, up to `at` taken already. */
  input: Buffer = NOTHING;
  at = 0;
  /** The piece that the last step has found, in `input`. */
  start = 0;
  end = 0;
  /** Whether the record ends with the last step. */
  complete = false;
  /** Whether the last step has held the beginning of the delimiter back, for which more has to come. */
  held = false;
  /** The bytes of the current record that have been taken. */
  recordLength = 0;
  /** The current record is too long, and the rest of it is dropped. */
  skipping = false;
  /**
   * The terminator of the last step, or what is missing of a counted record. A record that is dropped ends
   * there, whatever is set meanwhile, so that no part of it passes for a record.
   */
  recordEnd: CheckedTerminator = null;

  get hasInput(): boolean {
    return this.at < this.input.length;
  }

  /** What has been fed and not yet taken. */
  get rest(): Buffer {
    return this.at === 0 ? this.input : this.input.subarray(this.at);
  }

  /** Adds what has been received. */
  feed(data: Buffer): void {
    this.input = this.at === this.input.length ? data : Buffer.concat([this.rest, data]);
    this.at = 0;
  }

  /** Replaces what has not been taken. */
  replace(data: Buffer): void {
    this.input = data;
    this.at = 0;
  }

  /** Forgets the input, so that nothing keeps its memory. */
  clear(): void {
    this.input = NOTHING;
    this.at = 0;
  }

  /** Forgets the input and the current record. */
  reset(): void {
    this.input = NOTHING;
    this.at = 0;
    this.recordLength = 0;
    this.skipping = false;
  }

  /**
   * Takes one step. Call it only while there is input. What the step has found counts as taken when this
   * returns.
   * @param limit the greatest length of a record, in bytes
   */
  next(terminator: CheckedTerminator, limit: number): Step {
    const wanted = this.skipping ? this.recordEnd : terminator;
    this.held = false;
    if (wanted === null || wanted === 0) return this.#all();
    if (typeof wanted === 'number') return this.#counted(wanted, limit);
    return wanted.length === 0 ? this.#all() : this.#delimited(wanted, limit);
  }

  /** There are no records: all input is one piece. */
  #all(): Step {
    this.start = this.at;
    this.end = this.at = this.input.length;
    this.complete = false;
    this.recordLength = 0;
    this.skipping = false;
    return Step.Part;
  }

  /** A record of which `missing` bytes are still to come. */
  #counted(missing: number, limit: number): Step {
    const here = this.input.length - this.at;
    if (here >= missing) return this.#take(this.at + missing, this.at + missing, true, limit);
    this.recordEnd = missing - here;
    return this.#take(this.input.length, this.input.length, false, limit);
  }

  /**
   * A record that ends with certain bytes. Three cases:
   * 1. the delimiter is in the input: what precedes it completes the record;
   * 2. the input ends with the beginning of the delimiter: what precedes that is part of the record, and
   *    the beginning is held back;
   * 3. neither: all input is part of the record.
   */
  #delimited(delimiter: Uint8Array, limit: number): Step {
    const { input, at } = this;
    this.recordEnd = delimiter;
    const index = indexOf(input, delimiter, at);
    if (index !== -1) return this.#take(index, index + delimiter.length, true, limit);
    const end = input.length - prefixAtEnd(input, at, delimiter);
    this.held = end < input.length;
    return this.#take(end, end, false, limit);
  }

  /** Takes the input up to `end`, and goes on at `next`. */
  #take(end: number, next: number, complete: boolean, limit: number): Step {
    const { at, skipping } = this;
    this.start = at;
    this.end = end;
    this.at = next;
    this.complete = complete;
    this.recordLength += end - at;
    const overflow = !skipping && end > at && this.recordLength > limit;
    if (complete) {
      this.recordLength = 0;
      this.skipping = false;
    } else if (overflow) this.skipping = true;
    if (skipping) return Step.Skipped;
    if (overflow) return Step.Overflow;
    return complete ? Step.Record : Step.Part;
  }

  /**
   * There will be no more input. The beginning of a delimiter that will never be completed is data.
   * @returns as `next`
   */
  last(limit: number): Step {
    return this.#take(this.input.length, this.input.length, false, limit);
  }
}

/**
 * As Buffer's own, which takes five times as long for several bytes as for one. The first byte of a
 * delimiter is seldom anything else, so it is looked for alone, and all of it only after a miss.
 */
function indexOf(haystack: Buffer, needle: Uint8Array, start: number): number {
  const at = indexOfByte.call(haystack, needle[0] as number, start);
  if (at === -1 || at + needle.length > haystack.length) return -1;
  for (let next = 1; next < needle.length; next += 1) {
    if (haystack[at + next] !== needle[next]) return haystack.indexOf(needle, at + 1);
  }
  return at;
}

/** O(needle²) at worst, and needles are short. */
function prefixAtEnd(haystack: Uint8Array, start: number, needle: Uint8Array): number {
  const end = haystack.length;
  for (let length = Math.min(needle.length - 1, end - start); length > 0; length -= 1) {
    let at = 0;
    while (at < length && haystack[end - length + at] === needle[at]) at += 1;
    if (at === length) return length;
  }
  return 0;
}

/**
 * How many bytes at the end of `haystack` are the beginning of `needle`, not all of it: 1 for
 * `"qwerty\r"` and `"\r\n"`, 0 for `"qwertydkjf"`. An empty needle has no beginning: 0. Python's
 * `find_prefix_at_end`, which returns −1 for that.
 */
export function findPrefixAtEnd(
  haystack: Uint8Array | string,
  needle: Uint8Array | string,
): number {
  const hay = typeof haystack === 'string' ? Buffer.from(haystack) : haystack;
  return prefixAtEnd(hay, 0, typeof needle === 'string' ? Buffer.from(needle) : needle);
}
