// The example of Python's asynchat manual, completed: HTTP requests read with an AsyncChat.
//
// It shows the terminator at work. The headers end with an empty line, so the terminator is '\r\n\r\n'.
// The body of a POST has the length that Content-Length gives, so the terminator becomes that number. Once
// the request is complete, nothing more is expected, so the terminator becomes null. Browsers over-send,
// and further input is collected and ignored.
//
// One request per connection, which is then closed: HTTP/1.0, as in the manual. The whole exchange has a
// time limit. An idle timeout would not do, because a client could extend it byte by byte.
//
// The end takes care. A client may end its stream after its request, and still gets the response. And when
// the response is sent, the server ends its half of the stream first: to close at once could reset the
// connection, because of what the client has over-sent, and a reset destroys what is on its way.

import {
  type Address,
  AsyncChat,
  type ChannelMap,
  type Dispatcher,
  listen,
  SHUT_WR,
  type Socket,
  socketMap,
} from 'asyncore';
import { checkHost, type Headers, HttpError, parseHead } from './support/http';
import { listenOptions, run } from './support/program';

const LARGEST_HEADERS = 64 * 1024;
const LARGEST_BODY = 1024 * 1024;

/** For a request and its response, in ms. */
const TIME_LIMIT = 60_000;
/** How long the server reads on after its response, in ms. */
const LINGER = 1000;

const REQUEST_LINE = /^(?<method>[A-Z]+) (?<target>[!-~]+) HTTP\/1\.(?<minor>[01])$/;

const REASONS: Record<number, string> = {
  200: 'OK',
  400: 'Bad Request',
  411: 'Length Required',
  413: 'Content Too Large',
  431: 'Request Header Fields Too Large',
  501: 'Not Implemented',
};

export interface HttpRequest {
  method: string;
  target: string;
  /** By name in lower case. The values of a repeated header are joined with a comma, as in HTTP. */
  headers: Headers;
  body: Buffer;
}

/** Counts the requests of each client. */
export type Sessions = Map<string, number>;

export class HttpRequestHandler extends AsyncChat {
  override allowHalfOpen = true;
  #readingHeaders = true;
  /** The request is complete, or never will be: further input is ignored. */
  #handling = false;
  #received = 0;
  /** The client speaks HTTP/1.1. */
  #isModern = false;
  #request: HttpRequest = { method: '', target: '', headers: new Map(), body: Buffer.alloc(0) };
  /** The response is sent, and the server's half of the stream has ended. */
  #isLingering = false;

  constructor(
    socket: Socket,
    readonly client: Address,
    readonly sessions: Sessions,
    map: ChannelMap,
  ) {
    super(socket, map);
    this.setTerminator('\r\n\r\n');
    this.setDeadline(TIME_LIMIT);
  }

  override collectIncomingData(data: Buffer): void {
    if (this.#handling) return;
    this.#received += data.length;
    if (this.#readingHeaders && this.#received > LARGEST_HEADERS) this.#refuse(431);
    else this._collectIncomingData(data);
  }

  override foundTerminator(): void {
    if (this.#handling) return;
    if (this.#readingHeaders) this.#foundHeaders();
    else this.#foundBody();
  }

  #foundHeaders(): void {
    this.#readingHeaders = false;
    try {
      this.#parse(this._getData().toString('latin1'));
    } catch (error) {
      if (!(error instanceof HttpError)) throw error;
      this.#refuse(error.status);
      return;
    }
    if (this.#request.method === 'GET') this.#foundBody();
    else this.#expectBody(this.#request.headers.get('content-length'));
  }

  /** @throws {HttpError} for anything but a request that can be served */
  #parse(head: string): void {
    const { line, headers } = parseHead(head);
    const { method, target, minor } = REQUEST_LINE.exec(line)?.groups ?? {};
    if (method === undefined || target === undefined) {
      throw new HttpError(400, 'The first line is no request');
    }
    if (method !== 'GET' && method !== 'POST') throw new HttpError(501, 'There is no such method');
    if (headers.has('transfer-encoding')) throw new HttpError(501, 'There are no chunks here');
    this.#isModern = minor === '1';
    checkHost(headers, this.#isModern);
    this.#request = { ...this.#request, method, target, headers };
  }

  #expectBody(contentLength: string | undefined): void {
    const length = Number(contentLength);
    if (contentLength === undefined) this.#refuse(411);
    else if (!/^\d{1,15}$/.test(contentLength)) this.#refuse(400);
    else if (length > LARGEST_BODY) this.#refuse(413);
    // A terminator of 0 means "for ever". A body of 0 bytes has been read already.
    else if (length === 0) this.#foundBody();
    else {
      this.setTerminator(length);
      if (this.#isModern && this.#request.headers.get('expect')?.toLowerCase() === '100-continue') {
        this.push('HTTP/1.1 100 Continue\r\n\r\n');
      }
    }
  }

  #foundBody(): void {
    this.#request.body = this._getData();
    this.#finish();
    this.handleRequest(this.#request);
  }

  /** From here on, input is ignored. */
  #finish(): void {
    this.#handling = true;
    this.setTerminator(null);
  }

  /** The request is complete. Answers with the request itself; override this to do something else. */
  handleRequest({ method, target, body }: HttpRequest): void {
    const client = 'host' in this.client ? this.client.host : 'local';
    const count = (this.sessions.get(client) ?? 0) + 1;
    this.sessions.set(client, count);
    this.respond(200, `${method} ${target}\n${body.length} bytes: ${body}\nrequest ${count}\n`);
  }

  respond(status: number, text: string): void {
    const body = Buffer.from(text);
    this.push(
      `HTTP/1.0 ${status} ${REASONS[status]}\r\n` +
        `Date: ${new Date().toUTCString()}\r\n` +
        'Content-Type: text/plain; charset=utf-8\r\n' +
        `Content-Length: ${body.length}\r\n` +
        'Connection: close\r\n\r\n',
    );
    this.push(body);
    this.closeWhenDone();
  }

  #refuse(status: number): void {
    this.#finish();
    this.respond(status, `${status} ${REASONS[status]}\n`);
  }

  /** The client has gone, or the response is sent. */
  override handleClose(): void {
    if (!this.#handling || this.inputEnded || this.#isLingering) {
      this.close();
      return;
    }
    this.#isLingering = true;
    this.setDeadline(LINGER);
    try {
      (this.socket as Socket).shutdown(SHUT_WR);
    } catch {
      // The client has reset the connection: there is nothing left to end.
      this.close();
    }
  }

  /** The program is stopping. A request that is complete gets its response. */
  override handleShutdown(): void {
    if (!this.#handling) this.close();
  }

  /** The time is over: no lingering. */
  override handleTimeout(): void {
    this.close();
  }
}

export function httpServer(address: Address, map: ChannelMap = socketMap): Dispatcher {
  const sessions: Sessions = new Map();
  return listen(
    address,
    (socket, client) => new HttpRequestHandler(socket, client, sessions, map),
    { map },
  );
}

if (require.main === module) {
  run({
    name: 'http-request-handler',
    about: 'Answers HTTP requests, GET and POST, with the request itself.',
    options: listenOptions(8081),
    start: ({ host, port }) => httpServer({ host, port }),
  });
}
