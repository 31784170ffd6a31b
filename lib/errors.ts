// The errors of this library, in three classes:
//
//   SocketError              the kernel refused; decide by `code`, as everywhere in Node
//   TypeError, RangeError    the program passed an invalid argument; the message names the action and
//                            the value, and there is a `code` too
//   ExitNow                  not a failure: the one exception that leaves the loop
//
// A would-block is no error: the calls return null for it.

import { inspect } from 'node:util';

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
  /** `SocketError`. */
  override name = 'SocketError';
  /** The C name: `ECONNRESET`. */
  readonly code: string;
  /** The C number, positive: 104. A failed look-up has getaddrinfo(3)'s, which is negative: -2. */
  readonly errno: number;
  /** The call that failed: `recv`. */
  readonly syscall: string;
  /** The address, for the calls that take one: `127.0.0.1:80`, or a Unix path. */
  declare readonly address?: string;
  /** Of a `connect` to a host name: what has happened at each of its addresses, if there were several. */
  declare readonly errors?: readonly Error[];

  /** Made by the library. A test double of a socket may throw one, too. `text` is strerror(3)'s. */
  constructor(code: string, errno: number, syscall: string, text: string, address?: string) {
    super(`${code}: ${text}, ${syscall}${address === undefined ? '' : ` ${address}`}`);
    this.code = code;
    this.errno = errno;
    this.syscall = syscall;
    if (address !== undefined) this.address = address;
  }
}

/**
 * Thrown by a handler, leaves the loop, whose promise rejects with it; every other exception ends
 * its own channel only. The channel map is left as it was. Python's `asyncore.ExitNow`.
 *
 * A handler may also be called from outside the loop: a `push` in a timer finds that the peer is gone,
 * and calls `handleClose`. What the handler throws then comes out of that `push`.
 *
 * @example
 * await loop().catch((error) => {
 *   if (!(error instanceof ExitNow)) throw error;
 * });
 */
export class ExitNow extends Error {
  /** `ExitNow`. */
  override name = 'ExitNow';
}

/**
 * The codes that mean "the peer is gone", for which `handleClose` is called. Python's `_DISCONNECTED`,
 * which holds numbers.
 */
export const DISCONNECTED: ReadonlySet<string> = new Set([
  'ECONNRESET',
  'ENOTCONN',
  'ESHUTDOWN',
  'ECONNABORTED',
  'EPIPE',
  'EBADF',
]);

/** Whether `error` is ExitNow. Never throws, whatever was thrown: a Proxy may try. */
export function isExit(error: unknown): error is ExitNow {
  try {
    return error instanceof ExitNow;
  } catch {
    return false;
  }
}

/**
 * Whether the system refused a call: a SocketError, or an error of Node's own that has an errno and its
 * name. zlib has numbers of its own, and names such as `Z_DATA_ERROR`. Python's `except OSError`. Never
 * throws, whatever was thrown.
 */
export function isSystemError(error: unknown): boolean {
  try {
    const errno = (error as { errno?: unknown } | null | undefined)?.errno;
    return typeof errno === 'number' && /^e/i.test(codeOf(error) ?? '');
  } catch {
    return false;
  }
}

/** The `code` of anything that was thrown, or undefined. Never throws, whatever was thrown. */
export function codeOf(error: unknown): string | undefined {
  try {
    const code = (error as { code?: unknown } | null | undefined)?.code;
    return typeof code === 'string' ? code : undefined;
  } catch {
    return undefined;
  }
}

/**
 * The argument is of the wrong type. The message reads `Cannot push: expected …, received …`.
 * @param action the name of a call, or words that follow "Cannot"
 * @param hint what to do instead, where that helps: appended after a semicolon
 */
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

/**
 * As `badType`, where an instance of a class of the library is expected.
 * @param method of the class. A value that has it is from another copy of the library in this process
 */
export function badInstance(
  action: string,
  expected: string,
  received: unknown,
  method: string,
): TypeError {
  const likely = typeof (received as Record<string, unknown> | null | undefined)?.[method];
  const hint = 'this one is from another copy of asyncore in this process';
  return badType(action, expected, received, likely === 'function' ? hint : undefined);
}

/** The argument is of the right type, and its value is invalid. The message is as `badType`'s. */
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
 * An encoding cannot hold a character of a text. Python's UnicodeEncodeError.
 * @param index of the character, in UTF-16 units as everywhere in JavaScript
 */
export function unencodable(
  action: string,
  text: string,
  index: number,
  encoding: string,
): RangeError {
  const point = text.codePointAt(index) as number;
  const name = `U+${point.toString(16).toUpperCase().padStart(4, '0')}`;
  const received = `${inspect(String.fromCodePoint(point))} (${name}) at index ${index}`;
  return Object.assign(
    new RangeError(
      `${cannot(action)}: expected text that ${encoding} can hold, received ${received}`,
    ),
    { code: 'ERR_UNENCODABLE_CHARACTER' },
  );
}

/** As `badRange` for a number, and as `badType` for anything else. */
export function badNumber(action: string, expected: string, received: unknown): Error {
  return (typeof received === 'number' ? badRange : badType)(action, expected, received);
}

/** Calls whose names are no words that follow "Cannot". */
const DEEDS: ReadonlyMap<string, string> = new Map([
  ['callAt', 'make a timer'],
  ['callEvery', 'make a timer'],
  ['callLater', 'make a timer'],
  ['closeAll', 'close all channels'],
  ['dup', 'duplicate a descriptor'],
  ['getpeername', "get the peer's address"],
  ['getsockname', "get the socket's address"],
  ['getsockopt', 'get a socket option'],
  ['loopSync', 'run a loop'],
  ['pipe2', 'open a pipe'],
  ['pushWithProducer', 'push a producer'],
  ['recvfrom', 'receive a datagram'],
  ['recvmsg', 'receive a message'],
  ['sendmsg', 'send a message'],
  ['sendto', 'send a datagram'],
  ['getSockOpt', 'get a socket option'],
  ['setKeepAlive', 'set keep-alive'],
  ['setNoDelay', 'set no-delay'],
  ['setReuseAddr', 'reuse an address'],
  ['setSockOpt', 'set a socket option'],
  ['setSocket', 'attach a socket'],
  ['setsockopt', 'set a socket option'],
  ['socket', 'open a socket'],
  ['socketpair', 'open a pair of sockets'],
  ['strerror', 'describe an error'],
]);

/** `Cannot bind`, `Cannot open a socket`: the beginning of a message. @param action a call, or words */
export function cannot(action: string): string {
  return `Cannot ${DEEDS.get(action) ?? action}`;
}

function complaint(action: string, expected: string, received: unknown, hint?: string): string {
  const value = inspect(received, { depth: 0, breakLength: Infinity }).replace(/\s*\n\s*/g, ' ');
  const shown = value.length > 80 ? `${value.slice(0, 77)}...` : value;
  const advice = hint === undefined ? '' : `; ${hint}`;
  return `${cannot(action)}: expected ${expected}, received ${shown}${advice}`;
}

/** A method that a subclass must implement. Python's NotImplementedError. */
export function notImplemented(method: string): Error {
  return Object.assign(new Error(`${method} must be implemented in a subclass`), {
    code: 'ERR_METHOD_NOT_IMPLEMENTED',
  });
}

/**
 * Gives a prototype methods that throw Python's NotImplementedError. TypeScript knows them as abstract, so a
 * subclass without them does not compile; JavaScript has no such check.
 */
export function declareAbstract(prototype: object, ...methods: string[]): void {
  for (const method of methods) {
    const value = (): never => {
      throw notImplemented(method);
    };
    Object.defineProperty(prototype, method, { value, configurable: true, writable: true });
  }
}

/** @throws {RangeError} for a number that is no integer from `low` to `high`, {TypeError} for no number */
export function checkInteger(
  action: string,
  what: string,
  value: number,
  low: number,
  high: number,
): void {
  if (Number.isInteger(value) && value >= low && value <= high) return;
  throw badNumber(action, `${what} to be an integer from ${low} to ${high}`, value);
}

/** @throws {TypeError} for anything but true and false: the text 'false' would count as true */
export function checkBoolean(action: string, expected: string, value: boolean): void {
  if (typeof value !== 'boolean') throw badType(action, expected, value);
}

/** @param what `a timeout`, `a deadline` @throws {TypeError|RangeError} unless it is 0 or more, Infinity included */
export function checkDuration(action: string, what: string, value: number): void {
  if (typeof value !== 'number') throw badType(action, `${what} in milliseconds`, value);
  if (!(value >= 0)) throw badRange(action, `${what} of 0 ms or more`, value);
}

/** @throws {TypeError} for what is neither an AbortSignal nor undefined */
export function checkSignal(action: string, signal: AbortSignal | undefined): void {
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    throw badType(action, 'an AbortSignal', signal);
  }
}

/**
 * Checks options before they are read: a limit with a misspelled name would be no limit. Inherited names
 * count as well. A name whose value is undefined is as good as absent.
 * @param names of all options that there are
 * @throws {TypeError} `ERR_INVALID_ARG_TYPE` for what is no object of options: null, a list, a Map;
 *   `ERR_INVALID_ARG_VALUE` for an unknown name
 */
export function checkOptions<Options extends object>(
  action: string,
  expected: string,
  options: Options,
  names: { readonly [Name in keyof Options]-?: true },
  hint?: string,
): void {
  if (Object.prototype.toString.call(options) !== '[object Object]') {
    throw badType(action, expected, options, hint);
  }
  for (const name in options) {
    if (Object.hasOwn(names, name) || name in Object.prototype) continue;
    if (options[name] !== undefined) throw unknownOption(action, name, Object.keys(names));
  }
}

function unknownOption(action: string, name: string, names: string[]): TypeError {
  const list = `${names.slice(0, -1).join(', ')} or ${names.at(-1)}`;
  const near = nearest(name, names);
  const hint = near === undefined ? undefined : `did you mean ${near}?`;
  return Object.assign(new TypeError(complaint(action, `options named ${list}`, name, hint)), {
    code: 'ERR_INVALID_ARG_VALUE',
  });
}

/** The name that was probably meant, if one in three of its letters at most is wrong. */
function nearest(name: string, names: string[]): string | undefined {
  const plain = (text: string): string => text.toLowerCase().replaceAll('_', '');
  let [best, least]: [string | undefined, number] = [undefined, Infinity];
  for (const candidate of names) {
    const wrong = distance(plain(name), plain(candidate));
    if (wrong <= candidate.length / 3 && wrong < least) [best, least] = [candidate, wrong];
  }
  return best;
}

/** How many letters have to be changed, added or taken away to make one word of the other (Levenshtein). */
function distance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, index) => index);
  for (let at = 1; at <= from.length; at += 1) {
    const next = [at];
    for (let index = 1; index <= to.length; index += 1) {
      const [left, up, diagonal] = [next[index - 1], row[index], row[index - 1]] as number[];
      const differs = from[at - 1] === to[index - 1] ? 0 : 1;
      next.push(Math.min((left as number) + 1, (up as number) + 1, (diagonal as number) + differs));
    }
    row = next;
  }
  return row[to.length] as number;
}

/** A piece of a stack trace: file, function, line. */
export type Frame = readonly [file: string, func: string, line: string];

/**
 * Shortens an error to one line for a log. Python's `asyncore.compact_traceback`.
 *
 * @returns the innermost frame; the class of the error; the error; and all frames, outermost
 *   first, as `[file|function|line] …`. `error` may be any value: null has no class and no frames.
 *   Node keeps the ten innermost frames (`Error.stackTraceLimit`).
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

/** The message of anything that was thrown, or its text. Never throws, whatever was thrown. */
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

/** The stack of anything that was thrown, or its text. Never throws, whatever was thrown. */
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
