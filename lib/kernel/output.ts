// What the library prints, and the process warnings that it emits. Output that fails ends nothing: neither
// a closed pipe nor a full disk.
//
// A stream reports a failure to the callback of the write, and then by an 'error' event, for which the process
// ends when nobody listens. That may be long after the write, as a pipe may be full. Node's console, which
// prints warnings too, ignores the first such event only.

import { textOf } from '../errors';

/** The streams whose errors are ignored now. */
const guarded = new WeakSet<NodeJS.WriteStream>();

const ignore = (): void => {};

/** Ignores the errors of a stream until the next immediate. */
function guard(stream: NodeJS.WriteStream): void {
  if (guarded.has(stream)) return;
  guarded.add(stream);
  stream.on('error', ignore);
  setImmediate(unguard, stream);
}

function unguard(stream: NodeJS.WriteStream): void {
  guarded.delete(stream);
  stream.off('error', ignore);
}

/** Prints `label: message`. A line that cannot be written is dropped. */
export function printLine(stream: NodeJS.WriteStream, label: string, message: unknown): void {
  // Ended, destroyed, or failed in this very tick. A failed stream would keep the line until the tick is
  // over, and loopSync is one long tick.
  if (stream.writable === false) return;
  try {
    stream.write(`${label}: ${textOf(message, 'a value that cannot be shown')}\n`, (error) => {
      if (error) guard(stream);
    });
  } catch {
    // A program may have put a function of its own in place of `write`.
  }
}

/** Emits a process warning, which Node prints to stderr in its next tick. */
export function warn(type: string, code: string, message: string): void {
  guard(process.stderr);
  process.emitWarning(message, { type, code });
}
