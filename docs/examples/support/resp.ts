// RESP2, the protocol of Redis, in both directions: a RequestChat is the server's end of a connection,
// a ReplyChat the client's.
//
// It shows alternating terminators. A line announces what follows, so the terminator is a line end. After
// the line `$5`, five bytes and a line end follow, so the terminator becomes the number 7; then it is a line
// end again.
//
// Strings are bytes, one character for each (latin1), so that any data is stored, compared and sent
// unchanged. A program that works with text sets `encoding` to 'utf8'.
//
// Memory is bounded. Lines, requests and replies have a largest size. While a client does not read its
// replies, its requests wait in the kernel, and then in the client.

import { AsyncChat, type ChannelMap, type Handled, type SocketLike } from 'asyncore';

/** A string is a "bulk string", the only kind that may hold any bytes. */
export type Reply = string | number | bigint | null | Reply[] | SimpleString | ReplyError;

/** A "simple string", such as `OK`: a line, and cheaper. It is parsed into a string. */
export class SimpleString {
  constructor(readonly text: string) {}
}

/** Its message begins with a word in capitals that gives the kind: `ERR`, `WRONGTYPE`. */
export class ReplyError extends Error {}

/** A command and its arguments. */
export type Request = [string, ...string[]];

/** A request has the form of a reply that is an array of strings. */
export function encode(reply: Reply, encoding: BufferEncoding): string {
  if (typeof reply === 'string') {
    return `$${Buffer.byteLength(reply, encoding)}\r\n${reply}\r\n`;
  }
  if (reply === null) return '$-1\r\n';
  if (reply instanceof SimpleString) return `+${reply.text}\r\n`;
  // An error must be one line, whatever it quotes.
  if (reply instanceof ReplyError) return `-${reply.message.replace(/[\r\n]/g, ' ')}\r\n`;
  if (!Array.isArray(reply)) return `:${reply}\r\n`;
  return `*${reply.length}\r\n${reply.map((item) => encode(item, encoding)).join('')}`;
}

/** About how many bytes a reply has: its strings. */
function sizeOf(reply: Reply): number {
  if (typeof reply === 'string') return reply.length;
  return Array.isArray(reply) ? reply.reduce<number>((size, item) => size + sizeOf(item), 0) : 0;
}

const LINE_END = Buffer.from('\n');
const LONGEST_LINE = 64 * 1024;

/** The first bytes of lines, and what else numbers are made of. */
const [CR, ASTERISK, DOLLAR, COLON, PLUS, MINUS] = Buffer.from('\r*$:+-');
const ZERO = 0x30;

/**
 * The number behind the first byte of a line, in Redis's format, with its '\r'; NaN: there is none. Read
 * from the bytes, as most lines are numbers, and making a string of each costs as much as all the rest.
 */
function numberIn(line: Buffer): number {
  const end = line.length - 1;
  const start = line[1] === MINUS ? 2 : 1;
  if (line[end] !== CR || start >= end) return NaN;
  // No leading zeros, and no -0.
  if (line[start] === ZERO) return start === 1 && end === 2 ? 0 : NaN;
  let value = 0;
  for (let at = start; at < end; at += 1) {
    const digit = (line[at] as number) - ZERO;
    if (digit < 0 || digit > 9) return NaN;
    value = value * 10 + digit;
  }
  return start === 1 ? value : -value;
}

/** The part that both ends share: lines, and strings of a known length. */
abstract class RespChat extends AsyncChat {
  override encoding: BufferEncoding = 'latin1';
  #lineLength = 0;

  constructor(socket: SocketLike | null, map?: ChannelMap) {
    super(socket, map);
    this.setTerminator(LINE_END);
  }

  /** @param line with its '\r', if it has one */
  protected abstract foundLine(line: Buffer): void;
  protected abstract foundString(text: string): void;
  protected abstract foundEndlessLine(): void;

  protected expectString(length: number): void {
    this.setTerminator(length + 2);
  }

  override collectIncomingData(data: Buffer): void {
    const { terminator } = this;
    if (terminator === null) return;
    this._collectIncomingData(data);
    if (typeof terminator === 'number') return;
    this.#lineLength += data.length;
    if (this.#lineLength > LONGEST_LINE) this.foundEndlessLine();
  }

  override foundTerminator(): void {
    const { terminator } = this;
    const data = this._getData();
    if (terminator === null) return;
    if (typeof terminator === 'number') {
      this.setTerminator(LINE_END);
      // As in Redis, the two bytes behind the string are not checked to be a line end.
      this.foundString(data.toString(this.encoding, 0, data.length - 2));
    } else {
      this.#lineLength = 0;
      this.foundLine(data);
    }
  }
}

// ---------------------------------------------------------------------------------------------
// The server's end.

const MOST_ARGUMENTS = 1024 * 1024;
/** The least 64-bit integer. */
const LEAST_INTEGER = -(2 ** 63);
const LARGEST_REQUEST = 64 * 1024 * 1024;
/** A request may name the same value any number of times. */
const LARGEST_REPLY = 128 * 1024 * 1024;

const NOTHING = Buffer.alloc(0);

/** Parses requests, and sends replies. A protocol error is answered, and closes the connection. */
export abstract class RequestChat extends RespChat {
  #request: string[] = [];
  /** How many strings the request still lacks. */
  #missing = 0;
  /** How many more bytes the request may have. */
  #room = LARGEST_REQUEST;
  /** Input that waits until the client has read its replies; null: no input waits. */
  #held: Buffer | null = null;

  protected abstract foundRequest(request: Request): void;

  reply(reply: Reply): void {
    const isTooLarge = sizeOf(reply) > LARGEST_REPLY;
    const sent = isTooLarge ? new ReplyError('ERR the reply is too large') : reply;
    this.#send(encode(sent, this.encoding));
  }

  /** For a request that has more replies than one. */
  replyAll(replies: Reply[]): void {
    this.#send(replies.map((reply) => encode(reply, this.encoding)).join(''));
  }

  #send(text: string): void {
    if (this.push(text) || this.#held !== null) return;
    // Too much output is queued: set the rest of the input aside, and receive no more.
    this.#held = this.acInBuffer;
    this.acInBuffer = NOTHING;
    this.interestChanged();
  }

  override readable(): boolean {
    return this.#held === null;
  }

  override tracksInterest(): boolean {
    return true;
  }

  override handleDrain(): Handled {
    if (this.#held === null) return;
    this.acInBuffer = this.#held;
    this.#held = null;
    this.interestChanged();
    // Continues with the input that was set aside.
    return this.handleReadEvent();
  }

  protected override foundLine(line: Buffer): void {
    if (this.#missing > 0) this.#foundLength(line);
    else if (line[0] === ASTERISK) this.#foundCount(line);
    else this.#foundInline(line.toString(this.encoding));
  }

  #foundCount(line: Buffer): void {
    const count = numberIn(line);
    // As in Redis, a request of zero or a negative number of strings is ignored.
    if (count >= LEAST_INTEGER && count <= MOST_ARGUMENTS) this.#missing = Math.max(count, 0);
    else this.#refuse('invalid multibulk length');
  }

  #foundLength(line: Buffer): void {
    const length = numberIn(line);
    if (line[0] !== DOLLAR) this.#refuse(`expected '$', got '${line.toString(this.encoding)[0]}'`);
    else if (!(length >= 0 && length <= this.#room)) this.#refuse('invalid bulk length');
    else {
      this.#room -= length;
      this.expectString(length);
    }
  }

  protected override foundString(text: string): void {
    this.#request.push(text);
    this.#missing -= 1;
    if (this.#missing > 0) return;
    const request = this.#request;
    this.#request = [];
    this.#room = LARGEST_REQUEST;
    this.foundRequest(request as Request);
  }

  /** A request typed into telnet: words, some of them quoted. */
  #foundInline(line: string): void {
    const words = splitWords(line);
    if (words === null) this.#refuse('unbalanced quotes in request');
    else if (words.length > 0) this.foundRequest(words as Request);
  }

  protected override foundEndlessLine(): void {
    const [first] = this.incoming;
    if (this.#missing > 0) this.#refuse('too big bulk count string');
    else if (first?.[0] === 0x2a) this.#refuse('too big mbulk count string');
    else this.#refuse('too big inline request');
  }

  #refuse(message: string): void {
    this.reply(new ReplyError(`ERR Protocol error: ${message}`));
    this.hangUp();
  }

  /** Further input is ignored. The connection closes when everything is sent. */
  hangUp(): void {
    this.setTerminator(null);
    this.closeWhenDone();
  }
}

/** The blanks of C's isspace(). \s would match too much: its 0xa0 is the second half of `à`. */
const LEADING_BLANKS = /^[ \t\n\v\f\r]+/;
/** A word may end with a quoted part, and then must end there. Inside a word, \v and \f are not blanks. */
const WORD =
  /([^ \t\n\r"']*)(?:"((?:\\.|[^"\\])*)"|'((?:\\'|\\(?!')|[^'\\])*)')?(?:[ \t\n\v\f\r]+|$)/sy;

const ESCAPES: Record<string, string> = { n: '\n', r: '\r', t: '\t', b: '\b', a: '\x07' };

/** The words of a line, quoted as in Redis; null: a quote is not closed, or its word goes on behind it. */
export function splitWords(line: string): string[] | null {
  const text = line.replace(LEADING_BLANKS, '');
  const words: string[] = [];
  WORD.lastIndex = 0;
  while (WORD.lastIndex < text.length) {
    const match = WORD.exec(text);
    if (match === null) return null;
    const [, plain = '', double = '', single = ''] = match;
    const unescaped = double.replace(/\\(?:x([0-9a-fA-F]{2})|(.))/gs, (_, hex, one) =>
      hex === undefined ? (ESCAPES[one] ?? one) : String.fromCharCode(Number.parseInt(hex, 16)),
    );
    words.push(plain + unescaped + single.replaceAll("\\'", "'"));
  }
  return words;
}

// ---------------------------------------------------------------------------------------------
// The client's end.

/** Redis's own limit of a string, in bytes. */
const LONGEST_STRING = 512 * 1024 * 1024;
/** What an item of an array counts for, beside its bytes: the memory that an empty array takes up. */
const ITEM_SIZE = 100;

/** Sends requests, and parses replies and all other server messages. For one connection. */
export abstract class ReplyChat extends RespChat {
  /** In bytes, with 100 for each item of an array. A server that sends more is not understood. */
  largestReply = LONGEST_STRING;
  /** Incomplete arrays, the innermost last. */
  readonly #open: { readonly items: Reply[]; missing: number }[] = [];
  /** What there is of the reply so far, counted like `largestReply`. */
  #size = 0;

  /** A reply to the oldest unanswered request, or a message to a subscriber. */
  protected abstract foundReply(reply: Reply): void;

  /** @returns as `push` */
  request(...request: Request): boolean {
    return this.push(encode(request, this.encoding));
  }

  protected override foundLine(line: Buffer): void {
    const [first] = line;
    const number = numberIn(line);
    const text = line.toString(this.encoding).slice(1, -1);
    this.#size += first === DOLLAR ? Math.max(number, 0) : text.length;
    if (this.#open.length > 0) this.#size += ITEM_SIZE;
    if (this.#size > this.largestReply) this.foundEndlessLine();
    else if (first === PLUS) this.#found(text);
    else if (first === MINUS) this.#found(new ReplyError(text));
    else if (Number.isNaN(number)) this.foundEndlessLine();
    else if (first === COLON) this.#found(Number.isSafeInteger(number) ? number : BigInt(text));
    else if (first === DOLLAR && number >= 0) this.expectString(number);
    else if (first === ASTERISK && number > 0) this.#open.push({ items: [], missing: number });
    else if (first === ASTERISK && number === 0) this.#found([]);
    else if (first === DOLLAR || first === ASTERISK) this.#found(null);
    else this.foundEndlessLine();
  }

  protected override foundString(text: string): void {
    this.#found(text);
  }

  /** Adds a reply to the innermost array. That may complete the array, and so the next outer one. */
  #found(reply: Reply): void {
    let found = reply;
    for (let array = this.#open.at(-1); array !== undefined; array = this.#open.at(-1)) {
      array.items.push(found);
      array.missing -= 1;
      if (array.missing > 0) return;
      this.#open.pop();
      found = array.items;
    }
    this.#size = 0;
    this.foundReply(found);
  }

  /** The server does not speak RESP, or without end: handleError gets the error, and closes. */
  protected override foundEndlessLine(): void {
    throw new Error('Cannot understand the server');
  }
}
