// What the library prints, and the process warnings that it emits. Output that fails ends nothing: neither
// a closed pipe nor a full disk.
//
// A stream reports a failure by an 'error' event, for which the process ends when nobody listens. On Linux
// Node writes to stdout and stderr at once, so the event comes before the next immediate; but a pipe may be
// full, and its reader go away much later. Node's console, which prints warnings too, ignores the first
// such event only.

import { textOf } from '../errors';

/** The streams whose errors are ignored now. */
const guarded = new WeakSet<NodeJS.WriteStream>();

const ignore = (): void => {};

/** Ignores the errors of a stream until all that was written to it has left or failed. */
function guard(stream: NodeJS.WriteStream): void {
  if (guarded.has(stream)) return;
  guarded.add(stream);
  stream.on('error', ignore);
  setImmediate(unguard, stream);
}

function unguard(stream: NodeJS.WriteStream): void {
  if (stream.writable && stream.writableLength > 0) {
    // Called when all before it has left or failed.
    stream.write('', () => setImmediate(unguard, stream));
    return;
  }
  guarded.delete(stream);
  stream.off('error', ignore);
}

/** Prints `label: message`. A line that cannot be written is dropped. */
export function printLine(stream: NodeJS.WriteStream, label: string, message: unknown): void {
  // Ended, destroyed, or failed in this very tick. A failed stream would keep the line until the tick is
  // over, and loopSync is one long tick.
  if (stream.writable === false) return;
  guard(stream);
  try {
    stream.write(`${label}: ${textOf(message, 'a value that cannot be shown')}\n`);
  } catch {
    // A program may have put a function of its own in place of `write`.
  }
}

/** Emits a process warning, which Node prints to stderr in its next tick. */
export function warn(type: string, code: string, message: string): void {
  guard(process.stderr);
  process.emitWarning(message, { type, code });
}
