// The errors of this library, in three classes that a reader can tell apart at the throw:
//
//   SocketError              the kernel said no; decide by `code`, as everywhere in Node
//   TypeError, RangeError    the program passed something that cannot be meant; the message names
//                            the action and the value, and there is a `code` too
//   ExitNow                  not a failure: the one exception that leaves the loop
//
// A would-block is in none of them: it is an answer, and the calls return it as null.

import { inspect } from 'node:util';
import { EAI, ERRNO } from './kernel/platform/linux';

const NAMES = new Map<number, string>();
for (const [name, errno] of Object.entries(ERRNO)) {
  // EWOULDBLOCK and EOPNOTSUPP share their numbers with EAGAIN and ENOTSUP; the first name stands.
  if (!NAMES.has(errno) && name !== 'EWOULDBLOCK') NAMES.set(errno, name);
}

/**
 * The C name of an errno: 104 is `ECONNRESET`, an unknown one `errno 9999`. Python's
 * `errno.errorcode`.
 */
export function errorCode(errno: number): string {
  return NAMES.get(errno) ?? `errno ${errno}`;
}

/**
 * The kernel refused a call. Python's `OSError`.
 *
 * @example
 * try {
 *   socket.bind({ host: '127.0.0.1', port: 80 });
 * } catch (error) {
 *   if (error instanceof SocketError && error.code === 'EACCES') useAnotherPort();
 * }
 */
export class SocketError extends Error {
  override name = 'SocketError';
  /** The C name: `ECONNRESET`. */
  readonly code: string;
  /** The C number, positive: 104. A failed look-up of a name has getaddrinfo(3)'s, negative: -2. */
  readonly errno: number;
  /** The call that failed: `recv`. */
  readonly syscall: string;
  /** Where to, for the calls that take an address: `127.0.0.1:80`, or a Unix path. */
  declare readonly address?: string;

  constructor(code: string, errno: number, syscall: string, text: string, address?: string) {
    super(`${code}: ${text}, ${syscall}${address === undefined ? '' : ` ${address}`}`);
    this.code = code;
    this.errno = errno;
    this.syscall = syscall;
    if (address !== undefined) this.address = address;
  }
}

/** A host name cannot be looked up. @param code as `dns.lookup` has it: `ENOTFOUND` */
export function lookupError(code: string, host: string): SocketError {
  const known = Object.keys(EAI).find((errno) => EAI[Number(errno)] === code);
  const errno = Number(known ?? 0);
  return new SocketError(code, errno, 'getaddrinfo', 'the name cannot be looked up', host);
}

/**
 * Thrown by a handler, leaves the loop, whose promise rejects with it; every other exception ends
 * its own channel only. The channel map is left as it was. Python's `asyncore.ExitNow`.
 *
 * A handler may also be called from outside the loop: a `push` in a timer finds that the peer has gone,
 * and calls `handleClose`. What is thrown then comes out of that `push`.
 *
 * @example
 * await loop().catch((error) => {
 *   if (!(error instanceof ExitNow)) throw error;
 * });
 */
export class ExitNow extends Error {
  override name = 'ExitNow';
}

/**
 * "The other side is gone": the codes of errors for which `handleClose` is called. Python's
 * `_DISCONNECTED`, which holds numbers.
 */
export const DISCONNECTED: ReadonlySet<string> = new Set([
  'ECONNRESET',
  'ENOTCONN',
  'ESHUTDOWN',
  'ECONNABORTED',
  'EPIPE',
  'EBADF',
]);

/** Whether a program wants to leave the loop. Nothing thrown can make this throw: a Proxy may try. */
export function isExit(error: unknown): error is ExitNow {
  try {
    return error instanceof ExitNow;
  } catch {
    return false;
  }
}

/** "We are short of something": an accept(2) that fails so is worth trying again later. */
export const SHORTAGE: ReadonlySet<string> = new Set(['EMFILE', 'ENFILE', 'ENOBUFS', 'ENOMEM']);

/** The `code` of anything that was thrown, or undefined. Nothing thrown can make this throw. */
export function codeOf(error: unknown): string | undefined {
  try {
    const code = (error as { code?: unknown } | null | undefined)?.code;
    return typeof code === 'string' ? code : undefined;
  } catch {
    return undefined;
  }
}

/** The argument is of the wrong kind. The message reads `Cannot push: expected …, received …`. */
export function badType(
  action: string,
  expected: string,
  received: unknown,
  hint?: string,
): TypeError {
  return Object.assign(new TypeError(complaint(action, expected, received, hint)), {
    code: 'ERR_INVALID_ARG_TYPE',
  });
}

/** The argument is of the right kind and cannot be meant. */
export function badRange(
  action: string,
  expected: string,
  received: unknown,
  hint?: string,
): RangeError {
  return Object.assign(new RangeError(complaint(action, expected, received, hint)), {
    code: 'ERR_OUT_OF_RANGE',
  });
}

/**
 * The socket is closed: ours to refuse, before the number reaches the kernel, where it may be
 * somebody else's by now. It carries EBADF, so that it counts as a disconnect as it does in Python.
 */
export function closedSocket(syscall: string): RangeError {
  return Object.assign(new RangeError(`Cannot ${syscall}: the socket is closed (fd -1)`), {
    code: 'EBADF',
    errno: ERRNO.EBADF,
    syscall,
  });
}

function complaint(action: string, expected: string, received: unknown, hint?: string): string {
  const value = inspect(received, { depth: 0, breakLength: Infinity }).replace(/\s*\n\s*/g, ' ');
  const shown = value.length > 80 ? `${value.slice(0, 77)}...` : value;
  const advice = hint === undefined ? '' : `; ${hint}`;
  return `Cannot ${action}: expected ${expected}, received ${shown}${advice}`;
}

/** What a subclass must bring with it. Python's NotImplementedError. */
export function notImplemented(method: string): Error {
  return Object.assign(new Error(`${method} must be implemented in a subclass`), {
    code: 'ERR_METHOD_NOT_IMPLEMENTED',
  });
}

/** An integer from `low` to `high`, or a RangeError (TypeError for what is no number at all). */
export function checkInteger(
  action: string,
  what: string,
  value: number,
  low: number,
  high: number,
): void {
  if (Number.isInteger(value) && value >= low && value <= high) return;
  const expected = `${what} to be an integer from ${low} to ${high}`;
  throw (typeof value === 'number' ? badRange : badType)(action, expected, value);
}

/** A piece of a stack trace: file, function, line. */
export type Frame = readonly [file: string, func: string, line: string];

/**
 * Boils an error down to one line for a log. Python's `asyncore.compact_traceback`.
 *
 * @returns the innermost frame; the class of the error; the error; and all frames, outermost
 *   first, as `[file|function|line] …`. What was thrown may be anything: null has no class, no
 *   frames, and still an answer. Node keeps the ten innermost frames (`Error.stackTraceLimit`).
 */
export function compactTraceback(
  error: unknown,
): [innermost: Frame, type: unknown, value: unknown, info: string] {
  const frames = framesOf(error);
  const type = classOf(error);
  const info = frames.map((frame) => `[${frame.join('|')}]`).join(' ');
  return [frames[frames.length - 1] ?? ['', '', ''], type, error, info];
}

function classOf(error: unknown): unknown {
  try {
    return (error as object | null | undefined)?.constructor;
  } catch {
    return undefined;
  }
}

/** The message of anything that was thrown, or its text. Nothing thrown can make this throw. */
export function messageOf(error: unknown): string {
  try {
    return String((error as Error | null | undefined)?.message ?? error);
  } catch {
    return '?';
  }
}

/** Outermost first, as a Python traceback reads. */
function framesOf(error: unknown): Frame[] {
  const frames: Frame[] = [];
  // Either "at function (file:line:column)" or "at file:line:column".
  for (const match of stackOf(error).matchAll(/^ +at (?:(.*?) \()?(.*?):(\d+):\d+\)?$/gm)) {
    frames.unshift([match[2] ?? '', match[1] ?? '?', match[3] ?? '']);
  }
  return frames;
}

/** The stack of anything that was thrown, or its text. Nothing thrown can make this throw. */
export function stackOf(error: unknown): string {
  try {
    const stack = (error as { stack?: unknown } | null | undefined)?.stack;
    if (typeof stack === 'string') return stack;
  } catch {
    // A getter that throws is as good as no stack.
  }
  return textOf(error, 'a value that cannot be shown');
}

/** `String(value)` for a log line, whatever `value` does when it is asked. */
export function textOf(value: unknown, otherwise: string): string {
  try {
    return String(value);
  } catch {
    return otherwise;
  }
}
