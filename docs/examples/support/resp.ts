// RESP2, the protocol of Redis, in both directions: a RequestChat is the server's end of a connection,
// a ReplyChat the client's.
//
// It is what alternating terminators are for. A line tells what comes, so the terminator is a line
// end. If the line is `$5`, five bytes and a line end come, so now it is the number 7; and then it is
// a line end again.
//
// Strings are bytes: one character for each (latin1), so that whatever comes is kept, compared and
// sent as it was. Who deals in text sets `encoding` to 'utf8'.
//
// Memory is bounded. Lines and requests have a largest size; and while a client does not take its
// replies, its requests wait in the kernel, and then in the client.

import { AsyncChat, type ChannelMap, type Handled, type SocketLike } from 'asyncore';

/** A string stands for a "bulk string", the only kind that may hold any bytes. */
export type Reply = string | number | bigint | null | Reply[] | SimpleString | ReplyError;

/** The kind of string that says `OK`: a line, and cheaper. It is read as a string. */
export class SimpleString {
  constructor(readonly text: string) {}
}

/** Its message begins with a word in capitals that tells the kind: `ERR`, `WRONGTYPE`. */
export class ReplyError extends Error {}

/** A command and its arguments. */
export type Request = [string, ...string[]];

/** A request looks like a reply that is an array of strings. */
export function encode(reply: Reply, encoding: BufferEncoding): string {
  if (typeof reply === 'string') {
    return `$${Buffer.byteLength(reply, encoding)}\r\n${reply}\r\n`;
  }
  if (reply === null) return '$-1\r\n';
  if (reply instanceof SimpleString) return `+${reply.text}\r\n`;
  // An error is a line, whatever it quotes.
  if (reply instanceof ReplyError) return `-${reply.message.replace(/[\r\n]/g, ' ')}\r\n`;
  if (!Array.isArray(reply)) return `:${reply}\r\n`;
  return `*${reply.length}\r\n${reply.map((item) => encode(item, encoding)).join('')}`;
}

const LINE_END = Buffer.from('\n');
const LONGEST_LINE = 64 * 1024;

/** A number as Redis writes it, and its line end. */
const INTEGER_LINE = /^.(0|-?[1-9]\d*)\r$/;

/** The number behind the first character of a line; NaN: there is none. */
function numberIn(line: string): number {
  return Number(INTEGER_LINE.exec(line)?.[1]);
}

/** What both ends have in common: lines, and strings of a known length. */
abstract class RespChat extends AsyncChat {
  override encoding: BufferEncoding = 'latin1';
  #lineLength = 0;

  constructor(socket: SocketLike | null, map?: ChannelMap) {
    super(socket, map);
    this.setTerminator(LINE_END);
  }

  /** @param line with its '\r', if it has one */
  protected abstract foundLine(line: string): void;
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
      // As in Redis, nobody looks whether the two bytes behind are a line end.
      this.foundString(data.toString(this.encoding, 0, data.length - 2));
    } else {
      this.#lineLength = 0;
      this.foundLine(data.toString(this.encoding));
    }
  }
}

// ---------------------------------------------------------------------------------------------
// The server's end.

const MOST_ARGUMENTS = 1024 * 1024;
const LARGEST_REQUEST = 64 * 1024 * 1024;

const NOTHING = Buffer.alloc(0);

/** Finds requests, and sends replies. What breaks the protocol is told so, and hung up on. */
export abstract class RequestChat extends RespChat {
  #request: string[] = [];
  /** Strings that the request still lacks. */
  #missing = 0;
  /** Bytes that the request may still have. */
  #room = LARGEST_REQUEST;
  /** Input that waits until the client has taken its replies; null: nothing is waited for. */
  #held: Buffer | null = null;

  protected abstract foundRequest(request: Request): void;

  reply(reply: Reply): void {
    this.#send(encode(reply, this.encoding));
  }

  /** For a request that has more replies than one. */
  replyAll(replies: Reply[]): void {
    this.#send(replies.map((reply) => encode(reply, this.encoding)).join(''));
  }

  #send(text: string): void {
    if (this.push(text) || this.#held !== null) return;
    // Too much waits to be sent: the rest of the input is put aside, and no more is received.
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
    // Goes on with what was put aside.
    return this.handleReadEvent();
  }

  protected override foundLine(line: string): void {
    if (this.#missing > 0) this.#foundLength(line);
    else if (line.startsWith('*')) this.#foundCount(line);
    else this.#foundInline(line);
  }

  #foundCount(line: string): void {
    const count = numberIn(line);
    // As in Redis, a request of no strings, or of less, is none.
    if (count <= MOST_ARGUMENTS) this.#missing = Math.max(count, 0);
    else this.#refuse('invalid multibulk length');
  }

  #foundLength(line: string): void {
    const length = numberIn(line);
    if (!line.startsWith('$')) this.#refuse(`expected '$', got '${line[0]}'`);
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

  /** A request as it is typed into telnet: words, some of them quoted. */
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

  /** Nothing that still arrives counts; when all is sent, the connection is closed. */
  hangUp(): void {
    this.setTerminator(null);
    this.closeWhenDone();
  }
}

/** What isspace() of C takes for a blank. \s would be too much: its 0xa0 is the second half of `à`. */
const LEADING_BLANKS = /^[ \t\n\v\f\r]+/;
/** A word may end with a quoted part, and then must end there. Inside, \v and \f are no blanks. */
const WORD =
  /([^ \t\n\r"']*)(?:"((?:\\.|[^"\\])*)"|'((?:\\'|\\(?!')|[^'\\])*)')?(?:[ \t\n\v\f\r]+|$)/sy;

const ESCAPES: Record<string, string> = { n: '\n', r: '\r', t: '\t', b: '\b', a: '\x07' };

/** The words of a line, as Redis quotes them; null: a quote does not end, or a word not with it. */
export function splitWords(line: string): string[] | null {
  const text = line.replace(LEADING_BLANKS, '');
  const words: string[] = [];
  WORD.lastIndex = 0;
  while (WORD.lastIndex < text.length) {
    const match = WORD.exec(text);
    if (match === null) return null;
    const [, plain = '', double = '', single = ''] = match;
    const unescaped = double.replace(/\\(?:x([0-9a-f]{2})|(.))/gis, (_, hex, one) =>
      hex === undefined ? (ESCAPES[one] ?? one) : String.fromCharCode(Number.parseInt(hex, 16)),
    );
    words.push(plain + unescaped + single.replaceAll("\\'", "'"));
  }
  return words;
}

// ---------------------------------------------------------------------------------------------
// The client's end.

/** Sends requests, and finds replies, and whatever else a server sends. For one connection. */
export abstract class ReplyChat extends RespChat {
  /** Arrays that are not complete, the inner ones last. */
  readonly #open: { readonly items: Reply[]; missing: number }[] = [];

  /** A reply to the oldest request that has none, or a message to a subscriber. */
  protected abstract foundReply(reply: Reply): void;

  /** @returns as `push` */
  request(...request: Request): boolean {
    return this.push(encode(request, this.encoding));
  }

  protected override foundLine(line: string): void {
    const number = numberIn(line);
    const text = line.slice(1, -1);
    if (line.startsWith('+')) this.#found(text);
    else if (line.startsWith('-')) this.#found(new ReplyError(text));
    else if (Number.isNaN(number)) this.foundEndlessLine();
    else if (line.startsWith(':'))
      this.#found(Number.isSafeInteger(number) ? number : BigInt(text));
    else if (line.startsWith('$') && number >= 0) this.expectString(number);
    else if (line.startsWith('*') && number > 0) this.#open.push({ items: [], missing: number });
    else if (line.startsWith('*') && number === 0) this.#found([]);
    else this.#found(null);
  }

  protected override foundString(text: string): void {
    this.#found(text);
  }

  /** Puts a reply where it belongs: it may complete an array, which may complete another. */
  #found(reply: Reply): void {
    let found = reply;
    for (let array = this.#open.at(-1); array !== undefined; array = this.#open.at(-1)) {
      array.items.push(found);
      array.missing -= 1;
      if (array.missing > 0) return;
      this.#open.pop();
      found = array.items;
    }
    this.foundReply(found);
  }

  /** The server does not speak RESP: handleError hears of it, and closes. */
  protected override foundEndlessLine(): void {
    throw new Error('Cannot understand the server');
  }
}
