// What the library prints, and the process warnings that it emits. Output that fails ends nothing: neither
// a closed pipe nor a full disk.
//
// A stream reports a failure by an 'error' event, some ticks after the write, and the process ends when
// nobody listens for it. Node's console, which prints warnings too, ignores the first such event only.

import { textOf } from '../errors';

/** How many writes to each stream have not ended yet. While there are any, its errors are ignored. */
const underWay = new WeakMap<NodeJS.WriteStream, number>();

const ignore = (): void => {};

function begin(stream: NodeJS.WriteStream): void {
  const before = underWay.get(stream) ?? 0;
  underWay.set(stream, before + 1);
  if (before === 0) stream.on('error', ignore);
}

/** Called when the 'error' event of a write, if there is one, has been emitted. */
function end(stream: NodeJS.WriteStream): void {
  const left = (underWay.get(stream) as number) - 1;
  underWay.set(stream, left);
  if (left === 0) stream.off('error', ignore);
}

/** Prints `label: message`. A line that cannot be written is dropped. */
export function printLine(stream: NodeJS.WriteStream, label: string, message: unknown): void {
  // Ended, destroyed, or failed in this very tick. A failed stream would keep the line until the tick is
  // over, and loopSync is one long tick.
  if (stream.writable === false) return;
  begin(stream);
  try {
    stream.write(`${label}: ${textOf(message, 'a value that cannot be shown')}\n`, (error) => {
      if (error == null) end(stream);
      else setImmediate(end, stream);
    });
  } catch {
    end(stream);
  }
}

/** Emits a process warning, which Node prints to stderr in its next tick. */
export function warn(type: string, code: string, message: string): void {
  const { stderr } = process;
  begin(stderr);
  process.emitWarning(message, { type, code });
  setImmediate(end, stderr);
}
