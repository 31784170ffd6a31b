// The messages of HTTP/1.1, found by a chat: requests at a server's end, responses at a client's.
//
// It is a tour of terminators. A head ends with an empty line. The body behind it is a number of bytes, or
// everything up to the end of the stream, or chunks: a line with a size, that number of bytes, a line end,
// and so on, until a size of 0 and an empty line. Bodies are passed on piece by piece, and are not kept
// here.
//
// A lenient parser can be attacked. When a proxy and the server behind it disagree about where a message
// ends, the rest of one message can be made to look like another ("request smuggling"). So a head consists
// of printable lines that end with CR LF and nothing else. A repeated header is joined with a comma, and so
// is neither a valid length nor a valid coding. Unusual chunks are refused. A folded header, which goes
// on in a second line, is refused in a request, while a client has to accept it in a response.

import { AsyncChat, type ChannelMap, type Handled, type Producer, type SocketLike } from 'asyncore';

const HEAD_END = Buffer.from('\r\n\r\n');
const LINE_END = Buffer.from('\r\n');

/** In bytes. The limit also holds for all trailers behind a chunked body. */
const LARGEST_HEAD = 64 * 1024;
/** The size may be followed by "extensions", which are not used in practice. */
const LONGEST_SIZE_LINE = 1024;

const HEADER = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):([\t -~\x80-\xff]*)$/;
const SIZE_LINE = /^([0-9A-Fa-f]{1,12})(?:;[\t -~\x80-\xff]*)?$/;
const LENGTH = /^\d+$/;
/** A valid host contains no comma, so two joined values are invalid. */
const HOST = /^(?:\[[\w.~!$&'()*+;=:-]+\]|(?:[\w.~!$&'()*+;=-]|%[0-9A-Fa-f]{2})+)(?::\d*)?$/;
/** A chat holds back a CR at the end of a piece, so CR and LF are always in the same piece. */
const BARE_LF = /(?<!\r)\n/;

/** The absolute form, which clients send to a proxy. A server has to accept it too. */
const ABSOLUTE = /^https?:\/\/([^/?]*)(.*)$/i;

/** By name in lower case. The values of a repeated header are joined with ', '. */
export type Headers = Map<string, string>;

/** The length of the body, or how it ends. */
export type Framing = number | 'chunked' | 'at the end of the stream';

export interface HttpRequest {
  readonly method: string;
  /** Begins with a slash, and is unchanged from the client; `*` for OPTIONS. */
  readonly target: string;
  readonly headers: Headers;
  /** Whether the client speaks HTTP/1.1, and so understands chunks. */
  readonly isModern: boolean;
  readonly isChunked: boolean;
  readonly body: Buffer;
}

export interface HttpResponse {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  /** Default: none. */
  readonly body?: string | Buffer | Producer;
  /** The length of a producer's body, if it is known. */
  readonly length?: number;
}

/** The peer broke the protocol, or its request cannot be served: the status to answer with. */
export class HttpError extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

/** The part of a message that is being read. */
type Part = 'head' | 'body' | 'size' | 'chunk' | 'chunk end' | 'trailer' | 'nothing';

export abstract class MessageChat extends AsyncChat {
  /** Whether a header may be folded: go on in a line that begins with a blank. */
  protected readonly unfolds: boolean = false;
  #part: Part = 'head';
  #trailersLength = 0;

  constructor(socket: SocketLike | null, map?: ChannelMap) {
    super(socket, map);
    this.#expect('head', HEAD_END, LARGEST_HEAD);
  }

  /**
   * The first line of a message, and its headers.
   * @returns how its body ends; null: an interim response without a body, and another head follows
   */
  protected abstract foundHead(line: string, headers: Headers): Framing | null;
  /** A piece of the body. */
  protected abstract foundBody(data: Buffer): void;
  /** The message is complete. */
  protected abstract foundEnd(): Handled;
  /** Also called with what the methods above throw. Further input has no known meaning. */
  protected abstract foundMistake(mistake: HttpError): void;

  /** Further input is dropped. */
  protected ignoreInput(): void {
    this.#expect('nothing', null);
    this.incoming.length = 0;
  }

  protected get ignoresInput(): boolean {
    return this.#part === 'nothing';
  }

  /** Whether the end of the stream, now, is the end of the message. */
  protected get endsHere(): boolean {
    return this.#part === 'body' && this.terminator === null;
  }

  /** Whether a part of a head has arrived. */
  protected get isWithinHead(): boolean {
    return this.#part === 'head' && this.incoming.length > 0;
  }

  #expect(part: Part, terminator: Buffer | number | null, most = Infinity): void {
    this.#part = part;
    this.maxRecordLength = most;
    this.setTerminator(terminator);
  }

  override collectIncomingData(data: Buffer): Handled {
    if (this.#part === 'nothing') return;
    if (this.#part === 'body' || this.#part === 'chunk') {
      return this.#orMistake(() => this.foundBody(data));
    }
    this._collectIncomingData(data);
    // A peer that ends lines with LF is waiting for an answer already: the end of the head may never come.
    if (this.#part !== 'chunk end' && BARE_LF.test(data.toString('latin1'))) {
      this.foundMistake(new HttpError(400, 'There is a line that ends with LF alone'));
    }
  }

  override foundTerminator(): Handled {
    return this.#orMistake(() => this.#foundPart());
  }

  override handleOverflow(): void {
    this.foundMistake(this.#tooLarge());
  }

  #tooLarge(): HttpError {
    if (this.#part !== 'head') return new HttpError(400, 'A line of a chunked body is too long');
    const isFirstLine = this.incoming.length > 0 && !this._getData().includes(LINE_END, 1);
    if (isFirstLine) return new HttpError(414, 'The first line is too long');
    return new HttpError(431, 'The headers are too large');
  }

  #orMistake(run: () => Handled): Handled {
    try {
      return run();
    } catch (error) {
      if (!(error instanceof HttpError)) throw error;
      this.foundMistake(error);
    }
  }

  #foundPart(): Handled {
    switch (this.#part) {
      case 'head':
        return this.#foundHead(this._getData().toString('latin1'));
      case 'body':
        return this.#end();
      case 'size':
        return this.#foundSize(this._getData().toString('latin1'));
      case 'chunk':
        return this.#expect('chunk end', LINE_END.length);
      case 'chunk end':
        if (!this._getData().equals(LINE_END)) throw badChunk();
        return this.#expect('size', LINE_END, LONGEST_SIZE_LINE);
      case 'trailer':
        return this.#foundTrailer(this._getData());
    }
  }

  #foundHead(head: string): Handled {
    const { line, headers } = parseHead(head, this.unfolds);
    const framing = this.foundHead(line, headers);
    if (framing === null) return;
    if (framing === 0) return this.#end();
    if (framing === 'chunked') this.#expect('size', LINE_END, LONGEST_SIZE_LINE);
    else this.#expect('body', typeof framing === 'number' ? framing : null);
  }

  #foundSize(line: string): void {
    const digits = SIZE_LINE.exec(line)?.[1];
    if (digits === undefined) throw badChunk();
    const size = Number.parseInt(digits, 16);
    this.#trailersLength = 0;
    if (size > 0) this.#expect('chunk', size);
    else this.#expect('trailer', LINE_END, LARGEST_HEAD);
  }

  /** Trailers are checked, and dropped. */
  #foundTrailer(line: Buffer): Handled {
    if (line.length === 0) return this.#end();
    const text = line.toString('latin1');
    // Folded: more of the value before it.
    const goesOn = this.unfolds && this.#trailersLength > 0 && isBlank(text.charCodeAt(0));
    parseHeaders([goesOn ? `x:${text}` : text]);
    this.#trailersLength += line.length;
    if (this.#trailersLength > LARGEST_HEAD) throw new HttpError(431, 'The trailers are too large');
  }

  #end(): Handled {
    if (this.#part !== 'head') this.#expect('head', HEAD_END, LARGEST_HEAD);
    return this.foundEnd();
  }
}

/** @throws {HttpError} for a coding or a length that is not exactly of the expected form */
export function framingOf(headers: Headers): number | 'chunked' | null {
  const coding = headers.get('transfer-encoding');
  const length = headers.get('content-length');
  if (coding === undefined && length === undefined) return null;
  if (coding !== undefined && length !== undefined) {
    throw new HttpError(400, 'There are both a Transfer-Encoding and a Content-Length');
  }
  if (length === undefined) {
    const codings = wordsOf(coding);
    if (codings.at(-1) !== 'chunked') {
      throw new HttpError(400, 'The Transfer-Encoding does not end with chunked');
    }
    if (codings.length === 1) return 'chunked';
    throw new HttpError(501, 'This Transfer-Encoding is not supported');
  }
  if (!LENGTH.test(length)) throw new HttpError(400, 'The Content-Length is not a number');
  return Math.min(Number(length), Number.MAX_SAFE_INTEGER);
}

/** The words of a header that is a list, in lower case. */
export function wordsOf(header: string | undefined): string[] {
  return header === undefined ? [] : header.split(',').map((word) => trim(word).toLowerCase());
}

/**
 * The first line of a message, and its headers.
 * @param unfolds whether a header may be folded
 * @throws {HttpError} for a line that is no header
 */
export function parseHead(head: string, unfolds = false): { line: string; headers: Headers } {
  // An empty line before a message is ignored: old clients sent one after a body.
  const [line = '', ...rest] = (head.startsWith('\r\n') ? head.slice(2) : head).split('\r\n');
  return { line, headers: parseHeaders(rest, unfolds) };
}

function parseHeaders(lines: readonly string[], unfolds = false): Headers {
  const headers: Headers = new Map();
  for (const line of unfolds ? unfolded(lines) : lines) {
    const match = HEADER.exec(line);
    if (match === null) throw new HttpError(400, 'There is a line that is no header');
    const [name, value] = [(match[1] as string).toLowerCase(), trim(match[2] as string)];
    const before = headers.get(name);
    headers.set(name, before === undefined ? value : `${before}, ${value}`);
  }
  return headers;
}

/** Each header in one line, with a blank in place of the line end (RFC 9112 §5.2). */
function unfolded(lines: readonly string[]): string[] {
  const joined: string[] = [];
  for (const line of lines) {
    const goesOn = joined.length > 0 && isBlank(line.charCodeAt(0));
    joined.push(goesOn ? `${joined.pop()} ${trim(line)}` : line);
  }
  return joined;
}

/** @throws {HttpError} unless there is one valid host; HTTP/1.0 has requests without one */
export function checkHost(headers: Headers, isModern: boolean): void {
  const host = headers.get('host');
  if (host === undefined ? isModern : !HOST.test(host)) {
    throw new HttpError(400, 'There has to be one Host');
  }
}

/**
 * The path and the query of a request.
 * @throws {HttpError} for a target that has neither the origin form nor the absolute form
 */
export function targetOf(method: string, target: string): string {
  const [, host, rest = target] = ABSOLUTE.exec(target) ?? [];
  if (host !== undefined && !HOST.test(host)) {
    throw new HttpError(400, 'The target has no valid host');
  }
  // A fragment is for the client alone.
  if (!rest.includes('#')) {
    if (rest.startsWith('/') || (rest === '*' && method === 'OPTIONS')) return rest;
    if (host !== undefined) return `/${rest}`;
  }
  throw new HttpError(400, 'The target is no path');
}

/** Trims spaces and tabs only. A regular expression might take quadratic time. */
export function trim(text: string): string {
  let start = 0;
  let end = text.length;
  while (start < end && isBlank(text.charCodeAt(start))) start += 1;
  while (end > start && isBlank(text.charCodeAt(end - 1))) end -= 1;
  return text.slice(start, end);
}

function isBlank(code: number): boolean {
  return code === 0x20 || code === 0x09;
}

function badChunk(): HttpError {
  return new HttpError(400, 'There is a chunk that is none');
}
