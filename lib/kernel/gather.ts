// Output that a chat holds back until its read event ends, so that the answers to a burst of
// requests leave in one send.
//
// There is one buffer, and one chat at a time that may use it: the one whose read event is being
// handled. What it pushes is copied here, so that it may change its own memory afterwards, as it
// could if the kernel had it. Nobody on the wire or in the program may notice the delay, so all of it
// leaves before anything waits (a handler that calls poll() for the reply), before the socket is used
// in any other way, and before the process exits.

import { onBlocking } from './blocking';
import { Memory } from './syscalls';

/** Sends what has been gathered. */
export const sendGathered = Symbol('sendGathered');

interface Gatherer {
  [sendGathered](): void;
}

const SIZE = 65536;
/** What is larger is not worth copying. */
const LARGEST = 16384;

/** At a fixed address, which saves describing a Buffer to the kernel at each send. */
let memory: Memory | null = null;

let gatherer: Gatherer | null = null;
let used = 0;
let watchingExit = false;

/** @returns false when the buffer is another's, in whose handler this read event takes place */
export function beginGathering(candidate: Gatherer): boolean {
  if (gatherer !== null) return false;
  gatherer = candidate;
  memory ??= new Memory(SIZE);
  if (!watchingExit) {
    watchingExit = true;
    process.on('exit', flushGathered);
  }
  return true;
}

/** The read event is over. */
export function endGathering(): void {
  try {
    flushGathered();
  } finally {
    // Also when ExitNow has come out of a handler: the next read event is another's.
    gatherer = null;
    used = 0;
  }
}

/** @returns whether `data` has been taken, `limit` being the most that may be here */
export function gather(data: Uint8Array, limit: number): boolean {
  const { length } = data;
  if (length > LARGEST || used + length > Math.min(limit, SIZE)) return false;
  const { buffer } = memory as Memory;
  // For a line's end, calling set() would cost more than copying.
  if (length > 8) buffer.set(data, used);
  else for (let at = 0; at < length; at += 1) buffer[used + at] = data[at] as number;
  used += length;
  return true;
}

/** As `gather`, for text that becomes bytes in place. */
export function gatherText(text: string, encoding: BufferEncoding, limit: number): boolean {
  // No encoding makes more than three bytes of a UTF-16 unit.
  if (text.length > LARGEST / 3 || used + 3 * text.length > SIZE) return false;
  const length = (memory as Memory).buffer.write(text, used, encoding);
  if (used + length > limit) return false;
  used += length;
  return true;
}

/** Whether `candidate` may gather. */
export function isGathering(candidate: unknown): boolean {
  return gatherer === candidate;
}

/** How many bytes of `candidate` are here. */
export function gatheredOf(candidate: unknown): number {
  return gatherer === candidate ? used : 0;
}

/** Takes them out: the first `length` bytes of a memory, until anything else is gathered. */
export function takeGathered(): { memory: Memory; length: number } {
  const taken = { memory: memory as Memory, length: used };
  used = 0;
  return taken;
}

/** Somebody is about to wait. */
export function flushGathered(): void {
  if (used > 0) gatherer?.[sendGathered]();
}

/** Somebody is about to use the socket of `candidate`. */
export function flushGatheredOf(candidate: unknown): void {
  if (used > 0 && gatherer === candidate) gatherer?.[sendGathered]();
}

onBlocking(flushGathered);
