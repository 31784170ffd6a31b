// One direction of a connection: what was given to its sender, and what has come out at the other end.
//
// Byte n of a stream is known from n alone, so nothing is kept to compare with: what arrives is held
// against what must stand at its place. The pattern has a prime for its period, and more line ends in
// it than chance would give it, as there are chats who look for them.

import { Random } from './random';

const PERIOD = 65521;
/** What can be given at a time. */
export const LARGEST = 400_000;

const PATTERN = ((): Buffer => {
  const random = new Random(1);
  const once = Buffer.alloc(PERIOD);
  for (let at = 0; at < PERIOD; at += 1) once[at] = random.below(256);
  for (let at = 0; at < PERIOD - 8; at += 1 + random.size(500)) {
    once.write(random.pick(['\r\n', '\n', '\r', '\r\r\n', 'abca', 'abcabca']), at, 'latin1');
  }
  return Buffer.alloc(PERIOD + LARGEST, once);
})();

export class Stream {
  /** Where in the pattern it begins, so that two streams are not taken for one another. */
  readonly #offset: number;
  /** Bytes given to the sender. */
  given = 0;
  /** The part of them that producers have not been asked for. */
  unasked = 0;
  /** What the sender still holds besides, by its own account. */
  held: () => number = () => 0;
  /** Bytes that have come out of the other end's socket. */
  received = 0;
  /** Where the sender has ended it, whatever it was given later. */
  end: number | null = null;
  /** Part of it was thrown away by the sender: what comes is no longer known. */
  torn = false;

  constructor(random: Random) {
    this.#offset = random.below(PERIOD);
  }

  /** What the sender may think it has sent. */
  get sent(): number {
    return this.end ?? this.given - this.unasked - this.held();
  }

  /** The bytes from `position` on; not to be written to. */
  bytes(position: number, length: number): Buffer {
    const start = (this.#offset + position) % PERIOD;
    return PATTERN.subarray(start, start + length);
  }

  /** The next ones, for the sender. */
  give(length: number): Buffer {
    this.given += length;
    return this.bytes(this.given - length, length);
  }

  has(position: number, data: Uint8Array): boolean {
    for (let at = 0; at < data.length; at += LARGEST) {
      const piece = data.subarray(at, at + LARGEST);
      if (!this.bytes(position + at, piece.length).equals(piece)) return false;
    }
    return true;
  }
}
