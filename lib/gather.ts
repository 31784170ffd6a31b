// Output that a chat holds back until its read event ends, so that the answers to a burst of
// requests leave in one send.
//
// There is one buffer, and one chat at a time that may use it: the one whose read event is being
// handled. What it pushes is copied here, so that it may change its own memory afterwards, as it
// could if the kernel had it. Nobody on the wire or in the program may notice the delay, so all of it
// leaves before anything waits (a handler that calls poll() for the reply), before the socket is used
// in any other way, and before the process exits.

/** Sends what has been gathered. */
export const sendGathered = Symbol('sendGathered');

interface Gatherer {
  [sendGathered](): void;
}

const buffer = Buffer.allocUnsafeSlow(65536);
/** What is larger is not worth copying. */
const LARGEST = 16384;

let gatherer: Gatherer | null = null;
let used = 0;
let watchingExit = false;

/** @returns false when the buffer is another's, in whose handler this read event takes place */
export function beginGathering(candidate: Gatherer): boolean {
  if (gatherer !== null) return false;
  gatherer = candidate;
  if (!watchingExit) {
    watchingExit = true;
    process.on('exit', flushGathered);
  }
  return true;
}

/** The read event is over. */
export function endGathering(): void {
  flushGathered();
  gatherer = null;
}

/** @returns whether `data` has been taken, `limit` being the most that may be here */
export function gather(data: Uint8Array, limit: number): boolean {
  if (data.length > LARGEST || used + data.length > Math.min(limit, buffer.length)) return false;
  buffer.set(data, used);
  used += data.length;
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

/** Takes them out: a view, to be used before anything else is gathered. */
export function takeGathered(): Buffer {
  const taken = buffer.subarray(0, used);
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
