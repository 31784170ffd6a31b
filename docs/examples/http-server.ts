// An HTTP/1.1 server: persistent connections, pipelined requests, and counted or chunked bodies in both
// directions. It serves the files of a folder, and /echo returns the request body.
//
// support/http.ts finds the end of a message, and support/static-files.ts makes a response from a file.
// This file is the life of a connection: the server checks a request, collects its body, asks a handler
// for the response, and sends that. Requests wait for each other. While a handler is working, or the client
// has not read a response yet, reading is paused. So the memory for one client is one request, one response
// and what the kernel holds.
//
// A malformed request is answered and ends the connection, because the input behind it has no known meaning.

import {
  type ChannelMap,
  ChunkedProducer,
  CompositeProducer,
  Dispatcher,
  type Handled,
  HookedProducer,
  type InternetAddress,
  type Producer,
  SHUT_WR,
  SimpleProducer,
  type Socket,
  socketMap,
  type TimerHandle,
} from 'asyncore';
import {
  checkHost,
  type Framing,
  framingOf,
  type Headers,
  HttpError,
  type HttpRequest,
  type HttpResponse,
  MessageChat,
  targetOf,
  wordsOf,
} from './support/http';
import { familyOf, listenOptions, run } from './support/program';
import { StaticFiles } from './support/static-files';

/** How long the server reads on after its last response, in ms: a reset might destroy the response. */
const LINGER = 1000;

const METHODS: ReadonlySet<string> = new Set([
  ...['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'TRACE'],
]);
/** Methods that need a body, even if it is empty. */
const NEED_BODY: ReadonlySet<string> = new Set(['POST', 'PUT', 'PATCH']);

const REQUEST_LINE = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([!-~]+) HTTP\/(\d)\.(\d)$/;

/** These responses have no body, and no length either. */
const BODILESS: ReadonlySet<number> = new Set([204, 304]);

const REASONS: Readonly<Record<number, string>> = {
  200: 'OK',
  204: 'No Content',
  206: 'Partial Content',
  301: 'Moved Permanently',
  304: 'Not Modified',
  400: 'Bad Request',
  404: 'Not Found',
  405: 'Method Not Allowed',
  408: 'Request Timeout',
  411: 'Length Required',
  412: 'Precondition Failed',
  413: 'Content Too Large',
  414: 'URI Too Long',
  416: 'Range Not Satisfiable',
  417: 'Expectation Failed',
  431: 'Request Header Fields Too Large',
  500: 'Internal Server Error',
  501: 'Not Implemented',
  505: 'HTTP Version Not Supported',
};

const NOTHING = Buffer.alloc(0);

/** May throw an HttpError, and be async. */
export type Handler = (request: HttpRequest) => HttpResponse | Promise<HttpResponse>;

export interface Limits {
  /** The largest body of a request, in bytes. */
  readonly maxBody: number;
  /** Timeout for all headers of a request, in seconds. */
  readonly headerTimeout: number;
  /** Timeout for a whole request, its body included, in seconds. */
  readonly requestTimeout: number;
  /** Idle timeout of a connection, in seconds. */
  readonly idleTimeout: number;
  readonly maxConnections: number;
  readonly maxConnectionsPerAddress: number;
}

const LIMITS: Limits = {
  maxBody: 1024 * 1024,
  headerTimeout: 10,
  requestTimeout: 300,
  idleTimeout: 60,
  maxConnections: 10_000,
  maxConnectionsPerAddress: Infinity,
};

class HttpConnection extends MessageChat {
  override allowHalfOpen = true;
  /** The method of the current request, once known: no response to a HEAD has a body. */
  #method = '';
  /** The request whose body is being received, without the body. */
  #request: Omit<HttpRequest, 'body'> | null = null;
  /** The part of the body received so far, and room for more. */
  #body: Buffer = NOTHING;
  #bodyLength = 0;
  /** Whether the connection outlives the response. */
  #stays = true;
  /** The handler is working. */
  #isWaiting = false;
  /** The output of a producer is being sent. */
  #isSending = false;
  /** The output is over the high-water mark: handleDrain will be called. */
  #isFull = false;
  /** The limits of the request that is incomplete; empty: none is. */
  readonly #timers: TimerHandle[] = [];
  /** The last response is sent, and the server's half of the stream has ended. */
  #isLingering = false;

  constructor(
    socket: Socket,
    readonly server: HttpServer,
  ) {
    super(socket, server.map);
    this.setNoDelay();
    this.setIdleTimeout(server.limits.idleTimeout * 1000);
  }

  // -------------------------------------------------------------------------------------------
  // Requests.

  protected override foundHead(line: string, headers: Headers): Framing {
    const [, method = '', target = '', major, minor] = REQUEST_LINE.exec(line) ?? [];
    this.#method = method;
    if (method === '') throw new HttpError(400, 'The first line is no request');
    if (major !== '1') throw new HttpError(505, 'This is a server for HTTP/1.1');
    const isModern = minor !== '0';
    checkHost(headers, isModern);
    if (!METHODS.has(method)) throw new HttpError(501, 'There is no such method');
    const connection = wordsOf(headers.get('connection'));
    const framing = this.#framingOf(method, headers, isModern);
    this.#stays = !connection.includes('close') && (isModern || connection.includes('keep-alive'));
    this.#request = {
      method,
      target: targetOf(method, target),
      headers,
      isModern,
      isChunked: framing === 'chunked',
    };
    if (isModern) this.#encourage(headers.get('expect'), framing);
    return framing;
  }

  #framingOf(method: string, headers: Headers, isModern: boolean): number | 'chunked' {
    const framing = framingOf(headers);
    if (framing === null) {
      if (NEED_BODY.has(method)) throw new HttpError(411, 'The body has no length');
      return 0;
    }
    if (framing === 'chunked') {
      if (!isModern) throw new HttpError(400, 'There are no chunks in HTTP/1.0');
    } else if (framing > this.server.limits.maxBody) throw tooLarge();
    return framing;
  }

  /** The client may wait for permission to send the body. */
  #encourage(expected: string | undefined, framing: Framing): void {
    if (expected === undefined) return;
    if (expected.toLowerCase() !== '100-continue') {
      throw new HttpError(417, 'Nothing but 100-continue can be expected');
    }
    if (framing !== 0) this.#push('HTTP/1.1 100 Continue\r\n\r\n');
  }

  protected override foundBody(data: Buffer): void {
    const length = this.#bodyLength + data.length;
    if (length > this.server.limits.maxBody) throw tooLarge();
    if (this.#bodyLength === 0) this.#body = data;
    else this.#append(data, length);
    this.#bodyLength = length;
  }

  /** One buffer and not a list of pieces: a client may send chunks of one byte each. */
  #append(data: Buffer, length: number): void {
    if (length > this.#body.length) {
      const larger = Buffer.allocUnsafe(2 * length);
      this.#body.copy(larger, 0, 0, this.#bodyLength);
      this.#body = larger;
    }
    data.copy(this.#body, this.#bodyLength);
  }

  protected override foundEnd(): Handled {
    const body = this.#body.subarray(0, this.#bodyLength);
    const request = { ...(this.#request as HttpRequest), body };
    this.#body = NOTHING;
    this.#bodyLength = 0;
    this.#method = '';
    for (const timer of this.#timers.splice(0)) timer.cancel();
    try {
      const response = this.server.handler(request);
      if (response instanceof Promise) return this.#wait(request, response);
      this.#respond(request, response);
    } catch (error) {
      this.#respond(request, this.#failure(error));
    }
  }

  async #wait(request: HttpRequest, promise: Promise<HttpResponse>): Promise<void> {
    this.pauseReading();
    this.#isWaiting = true;
    const response = await promise.catch((error: unknown) => this.#failure(error));
    this.#isWaiting = false;
    this.#respond(request, response);
    this.#goOn();
  }

  #failure(error: unknown): HttpResponse {
    if (error instanceof HttpError) return explained(error);
    this.logInfo(error instanceof Error ? error.stack : error, 'error');
    return { status: 500 };
  }

  protected override foundMistake(mistake: HttpError): void {
    this.#stays = false;
    this.#body = NOTHING;
    this.#respond({ method: this.#method, isModern: true }, explained(mistake));
  }

  override collectIncomingData(data: Buffer): Handled {
    if (this.#timers.length === 0) this.#limit();
    return super.collectIncomingData(data);
  }

  /** A request begins, and must not arrive too slowly. */
  #limit(): void {
    const { headerTimeout, requestTimeout } = this.server.limits;
    const end = (message: string): void => {
      if (this.ignoresInput || this.inputEnded) return;
      this.foundMistake(new HttpError(408, message));
    };
    this.#timers.push(
      this.callLater(headerTimeout * 1000, () => {
        if (this.isWithinHead) end('The headers took too long');
      }),
      this.callLater(requestTimeout * 1000, end, 'The request took too long'),
    );
  }

  // -------------------------------------------------------------------------------------------
  // Responses.

  #respond(request: Pick<HttpRequest, 'method' | 'isModern'>, response: HttpResponse): void {
    const { status, body = '' } = response;
    const isProducer = typeof body !== 'string' && !Buffer.isBuffer(body);
    if (!this.connected) {
      // The client has disconnected while the handler was working.
      if (isProducer) body.close?.();
      return;
    }
    const length = isProducer ? response.length : Buffer.byteLength(body);
    const isChunked = length === undefined && request.isModern;
    // With neither a length nor chunks, the end of the stream is the end of the body.
    if (length === undefined && !isChunked) this.#stays = false;
    const head = this.#headOf(request, response, length);
    if (request.method === 'HEAD' || BODILESS.has(status)) {
      if (isProducer) body.close?.();
      this.#push(head);
    } else if (isProducer) this.#pushProducer(head, isChunked ? new ChunkedProducer(body) : body);
    else if (typeof body === 'string') this.#push(head + body);
    else this.#push(head, body);
    if (!this.#stays) this.#finish();
  }

  /** Sends what is queued, and closes. Reading stops, because input would extend the idle timeout. */
  #finish(): void {
    this.ignoreInput();
    this.pauseReading();
    this.closeWhenDone();
  }

  #headOf(
    { isModern }: Pick<HttpRequest, 'isModern'>,
    { status, headers = {} }: HttpResponse,
    length: number | undefined,
  ): string {
    let head = `HTTP/1.1 ${status} ${REASONS[status] ?? ''}\r\nDate: ${this.server.date()}\r\n`;
    for (const name in headers) head += headerOf(name, headers[name] as string);
    if (!BODILESS.has(status)) {
      if (length !== undefined) head += `Content-Length: ${length}\r\n`;
      else if (isModern) head += 'Transfer-Encoding: chunked\r\n';
    }
    if (!this.#stays) head += 'Connection: close\r\n';
    else if (!isModern) head += 'Connection: keep-alive\r\n';
    return `${head}\r\n`;
  }

  #push(...pieces: (string | Buffer)[]): void {
    for (const piece of pieces) {
      if (this.push(piece)) continue;
      this.#isFull = true;
      this.pauseReading();
    }
  }

  /** Output over the high-water mark has been sent completely. */
  override handleDrain(): void {
    this.#isFull = false;
    this.#goOn();
  }

  /** A reason to pause is gone. Reading resumes when none is left. */
  #goOn(): void {
    if (this.ignoresInput) return;
    if (!this.#isWaiting && !this.#isSending && !this.#isFull) this.resumeReading();
  }

  /** The next request waits until the producer is exhausted, so that only one file is open. */
  #pushProducer(head: string, body: Producer): void {
    this.#isSending = true;
    const response = new HookedProducer(new CompositeProducer([head, body]), () => {
      this.#isSending = false;
      this.#goOn();
    });
    this.pushWithProducer(response);
    if (this.#isSending) this.pauseReading();
  }

  // -------------------------------------------------------------------------------------------
  // The end.

  /**
   * The peer has disconnected, or the last response has been sent completely. In the latter case the
   * server ends its half of the stream and discards input for a while. If it closed at once while the
   * peer still sends, the connection would be reset, and the peer might lose the response.
   */
  override handleClose(): void {
    if (!this.ignoresInput || this.inputEnded || this.#isLingering) {
      this.close();
      return;
    }
    try {
      (this.socket as Socket).shutdown(SHUT_WR);
    } catch {
      // The peer has reset the connection: there is nothing left to end.
      this.close();
      return;
    }
    this.#isLingering = true;
    this.setDeadline(LINGER);
    this.resumeReading();
  }

  /**
   * The program is stopping. A request that has been accepted gets its response, and no other does. The
   * default of a chat stops reading; here the rest of the input has to be discarded.
   */
  override handleShutdown(): void {
    this.#stays = false;
    if (!this.#isWaiting && !this.#isLingering) this.#finish();
  }

  override handleError(error: unknown): Handled {
    const handled = super.handleError(error);
    this.close();
    return handled;
  }

  override handleTimeout(): void {
    this.close();
  }
}

/** A class and not `listen()`, because its connections share the limits and the date. */
export class HttpServer extends Dispatcher {
  readonly limits: Limits;
  #date = { second: 0, text: '' };

  constructor(
    address: InternetAddress,
    readonly handler: Handler,
    limits: Partial<Limits> = {},
    map: ChannelMap = socketMap,
  ) {
    super(null, map);
    this.limits = { ...LIMITS, ...limits };
    this.createSocket(familyOf(address.host));
    this.setReuseAddr();
    this.bind(address);
    const { maxConnections, maxConnectionsPerAddress } = this.limits;
    this.listen(undefined, { maxConnections, maxConnectionsPerAddress });
  }

  /** The date in HTTP's format, made once a second. */
  date(): string {
    const second = Math.floor(Date.now() / 1000);
    if (second !== this.#date.second) {
      this.#date = { second, text: new Date(second * 1000).toUTCString() };
    }
    return this.#date.text;
  }

  override handleAccepted(socket: Socket): void {
    new HttpConnection(socket, this);
  }
}

/** The body in the form in which it arrived: counted or chunked. */
export function echo({ method, headers, isChunked, body }: HttpRequest): HttpResponse {
  if (method !== 'POST' && method !== 'PUT')
    return { status: 405, headers: { Allow: 'POST, PUT' } };
  const type = headers.get('content-type') ?? 'application/octet-stream';
  const about = { 'Content-Type': type };
  if (!isChunked) return { status: 200, headers: about, body };
  return { status: 200, headers: about, body: new SimpleProducer(body, 65536) };
}

function headerOf(name: string, value: string): string {
  // A line end in a header would let an attacker write the rest of the response.
  if (/[\r\n]/.test(value)) throw new Error(`Cannot send a header of two lines: ${name}`);
  return `${name}: ${value}\r\n`;
}

function explained({ status, message }: HttpError): HttpResponse {
  return {
    status,
    headers: { 'Content-Type': 'text/plain; charset=utf-8' },
    body: `${message}\n`,
  };
}

function tooLarge(): HttpError {
  return new HttpError(413, 'The body is too large');
}

if (require.main === module) {
  run({
    name: 'http-server',
    about: 'Serves the files of a folder, and returns what is sent to /echo.',
    options: {
      ...listenOptions(8080),
      root: { default: '.', argument: 'FOLDER', help: 'the folder to serve' },
      'max-body': {
        default: LIMITS.maxBody,
        argument: 'BYTES',
        help: 'the largest body of a request',
      },
      'header-timeout': {
        default: LIMITS.headerTimeout,
        argument: 'SECONDS',
        help: 'timeout for all headers of a request',
      },
      'request-timeout': {
        default: LIMITS.requestTimeout,
        argument: 'SECONDS',
        help: 'timeout for a whole request, its body included',
      },
      'idle-timeout': {
        default: LIMITS.idleTimeout,
        argument: 'SECONDS',
        help: 'idle timeout of a connection; 0: none',
      },
      'max-connections': {
        default: LIMITS.maxConnections,
        argument: 'N',
        least: 1,
        help: 'further connections have to wait',
      },
      'max-connections-per-address': {
        default: 0,
        argument: 'N',
        help: 'further connections are closed; 0: no limit',
      },
    },
    start: ({ host, port, root, ...limits }) => {
      const files = new StaticFiles(root);
      const handler: Handler = (request) =>
        request.target === '/echo' ? echo(request) : files.respond(request);
      return new HttpServer({ host, port }, handler, {
        maxBody: limits['max-body'],
        headerTimeout: limits['header-timeout'],
        requestTimeout: limits['request-timeout'],
        idleTimeout: limits['idle-timeout'],
        maxConnections: limits['max-connections'],
        maxConnectionsPerAddress: limits['max-connections-per-address'] || Infinity,
      });
    },
  });
}
