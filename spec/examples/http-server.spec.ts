// docs/examples/http-server.ts and support/http.ts: literal bytes, whole and in pieces; what must be
// refused; and clients that we did not write.

import {
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { Agent, type IncomingMessage, request as requestOf } from 'node:http';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  type AsyncChat,
  type Channel,
  ChannelMap,
  closeAll,
  FileProducer,
  type InternetAddress,
  loop,
  ManualClock,
  type Producer,
  poll,
  shutdown,
} from 'asyncore';
import { echo, HttpServer, type Limits } from '../../docs/examples/http-server';
import { HttpError, type HttpRequest, type HttpResponse } from '../../docs/examples/support/http';
import { StaticFiles } from '../../docs/examples/support/static-files';
import { temporaryPath } from '../support/drive';
import { writeZeros } from '../support/files';
import { makePipe } from '../support/make-pipe';
import { Client, LIMIT, Program, runTypeScript, until } from '../support/program';
import { itWith } from '../support/skips';

const root = temporaryPath('root');
const BIG = Buffer.from(Array.from({ length: 3_000_000 }, (_, at) => (at * at * 7919) >> 7));
const PAGE = 'a line of text\n'.repeat(20_000);

beforeAll(() => {
  mkdirSync(join(root, 'folder'), { recursive: true });
  mkdirSync(join(root, 'empty'));
  writeFileSync(join(root, 'a.txt'), 'abcdef');
  writeFileSync(join(root, 'none.txt'), '');
  writeFileSync(join(root, 'two words é.html'), '<p>');
  writeFileSync(join(root, 'big.bin'), BIG);
  writeFileSync(join(root, 'page.html'), PAGE);
  writeFileSync(join(root, 'folder', 'index.html'), '<h1>');
  writeFileSync(join(root, '.secret'), 'secret');
  writeFileSync(join(root, '..', 'outside.txt'), 'outside');
  symlinkSync(join(root, '..', 'outside.txt'), join(root, 'link-out.txt'));
  symlinkSync(join(root, '..'), join(root, 'folder-out'));
  symlinkSync('a.txt', join(root, 'link-in.txt'));
  makePipe(join(root, 'fifo'));
});

let clock: ManualClock;
let map: ChannelMap;
let server: HttpServer;
let port: number;
let running: Promise<void>;
let files: StaticFiles;
/** Lets /held be answered. */
let release: (() => void) | null;
const clients: Client[] = [];

function requested(target: string): HttpRequest {
  const body = Buffer.alloc(0);
  return { method: 'GET', target, headers: new Map(), isModern: true, isChunked: false, body };
}

/** What the tests need beside files and /echo. */
async function slowly(milliseconds: number, response: HttpResponse): Promise<HttpResponse> {
  await sleep(milliseconds);
  return response;
}

function handler(request: HttpRequest): HttpResponse | Promise<HttpResponse> {
  const { method, target, headers } = request;
  switch (target) {
    case '/echo':
      return echo(request);
    case '/seen':
      return { status: 200, body: `${method} ${target} ${headers.get('x') ?? ''}\n` };
    case '/slow':
      return slowly(30, { status: 200, body: 'slow\n' });
    case '/held':
      return new Promise((resolve) => {
        release = () => resolve({ status: 200, body: 'held\n' });
      });
    case '/fails':
      throw new Error('on purpose');
    case '/fails-later':
      return slowly(1, { status: 200 }).then(() => {
        throw new HttpError(404, 'Not here');
      });
    case '/injected':
      return { status: 200, headers: { Location: 'a\r\nSet-Cookie: b' } };
    case '/nothing':
      return { status: 204 };
    case '/large':
      return { status: 200, body: 'x'.repeat(2_000_000) };
    default:
      return files.respond(request);
  }
}

function serve(limits: Partial<Limits> = {}): void {
  clock = new ManualClock();
  map = new ChannelMap([], { clock });
  release = null;
  files = new StaticFiles(root);
  server = new HttpServer({ host: '127.0.0.1', port: 0 }, handler, limits, map);
  port = portOf(server);
  running = loop({ map });
}

function portOf(listener: HttpServer): number {
  return (listener.address() as InternetAddress).port;
}

async function stop(): Promise<void> {
  for (const client of clients.splice(0)) client.socket.destroy();
  closeAll(map);
  await running;
}

beforeEach(() => serve());
afterEach(stop);

/** Starts again, with other limits. */
async function limit(limits: Partial<Limits>): Promise<void> {
  await stop();
  serve(limits);
}

/** The server's end of the only connection. */
function connection(): AsyncChat {
  const [channel] = [...map.values()].filter((each) => each !== (server as Channel));
  return channel as AsyncChat;
}

/** So much later the server does what is due. */
function later(milliseconds: number): void {
  clock.advance(milliseconds);
  poll(0, map);
}

/** Sends this on the only connection, and waits until the server has read it. */
async function deliver(one: Client, request: string): Promise<void> {
  await until(() => map.size === 2);
  const read = jest.spyOn(connection(), 'collectIncomingData');
  one.send(request);
  await until(() => read.mock.calls.length > 0);
  read.mockRestore();
}

function client(): Client {
  const made = new Client(port);
  clients.push(made);
  return made;
}

/** Sends this, ends the stream, and returns all that comes, but for the dates. */
async function ask(request: string, pieceSize = Infinity): Promise<string> {
  const socket = connect({ host: '127.0.0.1', port, allowHalfOpen: true, noDelay: true });
  const answer = received(socket);
  for (let at = 0; at < request.length && socket.writable; at += pieceSize) {
    socket.write(request.slice(at, at + pieceSize), 'latin1');
    await new Promise((resolve) => setImmediate(resolve));
  }
  socket.end();
  return (await answer).replace(/Date: [^\r]*\r\n/g, '');
}

async function received(socket: Socket): Promise<string> {
  let answer = '';
  let over = false;
  socket.on('data', (data) => {
    answer += data.toString('latin1');
  });
  // A client that is disconnected may learn of it while it still sends.
  socket.on('error', () => {});
  socket.on('close', () => {
    over = true;
  });
  try {
    await until(
      () => over,
      LIMIT,
      () => `the end, after ${JSON.stringify(answer.slice(-500))}`,
    );
  } finally {
    socket.destroy();
  }
  return answer;
}

function ok(body: string, ...headers: string[]): string {
  const all = ['HTTP/1.1 200 OK', ...headers, `Content-Length: ${body.length}`];
  return `${all.join('\r\n')}\r\n\r\n${body}`;
}

const OCTETS = 'Content-Type: application/octet-stream';

/** The path of every descriptor of this process. */
function openFiles(): string[] {
  return readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      return [readlinkSync(`/proc/self/fd/${fd}`)];
    } catch {
      return [];
    }
  });
}

const GET = 'GET /seen HTTP/1.1\r\nHost: x\r\n';
const POST = 'POST /echo HTTP/1.1\r\nHost: x\r\n';
const CHUNKED = `${POST}Transfer-Encoding: chunked\r\n\r\n`;
const SEEN = ok('GET /seen \n');

/** What, requests on one connection, responses. */
type Case = [what: string, requests: string, responses: string];

const CONVERSATIONS: Case[] = [
  ['a request', `${GET}\r\n`, SEEN],
  ['pipelined requests', `${GET}\r\n`.repeat(3), SEEN.repeat(3)],
  ['an empty line before a request', `\r\n${GET}\r\n`, SEEN],
  ['a header, with blanks around it', `${GET}X:  \t a b\t \r\n\r\n`, ok('GET /seen a b\n')],
  ['a header without a value', `${GET}X:\r\n\r\n`, ok('GET /seen \n')],
  ['a header that is repeated', `${GET}x: a\r\nX: b\r\n\r\n`, ok('GET /seen a, b\n')],
  ['any bytes above 127 in a header', `${GET}X: \xe9\r\n\r\n`, ok('GET /seen \xc3\xa9\n')],
  [
    'a target as a proxy gets it',
    'GET http://x:80/seen HTTP/1.1\r\nHost: x\r\n\r\n',
    ok('GET /seen \n'),
  ],
  [
    'hosts of all kinds, in the header and in the target',
    ['x.y_z:', '127.0.0.1:80', '[::1]:8080', 'm%C3%BC']
      .map((host) => `GET HTTP://${host}/seen HTTP/1.1\r\nHost: ${host}\r\n\r\n`)
      .join(''),
    SEEN.repeat(4),
  ],
  [
    'HEAD',
    'HEAD /seen HTTP/1.1\r\nHost: x\r\n\r\n',
    'HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n',
  ],
  [
    'a status that has no body',
    'GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n',
    'HTTP/1.1 204 No Content\r\n\r\n',
  ],
  [
    'Connection: close, and nothing behind it',
    `${GET}Connection: Close\r\n\r\n${GET}\r\n`,
    ok('GET /seen \n', 'Connection: close').replace(
      'Connection: close\r\nContent-Length: 11',
      'Content-Length: 11\r\nConnection: close',
    ),
  ],
  [
    'HTTP/1.0',
    'GET /seen HTTP/1.0\r\n\r\nGET /seen HTTP/1.0\r\n\r\n',
    'HTTP/1.1 200 OK\r\nContent-Length: 11\r\nConnection: close\r\n\r\nGET /seen \n',
  ],
  [
    'HTTP/1.0 with keep-alive and close, of which close counts',
    'GET /seen HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n'.repeat(2),
    'HTTP/1.1 200 OK\r\nContent-Length: 11\r\nConnection: close\r\n\r\nGET /seen \n',
  ],
  [
    'HTTP/1.0 with keep-alive',
    'GET /seen HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n'.repeat(2),
    'HTTP/1.1 200 OK\r\nContent-Length: 11\r\nConnection: keep-alive\r\n\r\nGET /seen \n'.repeat(2),
  ],
  ['a counted body', `${POST}Content-Length: 3\r\n\r\na\r\n${GET}\r\n`, ok('a\r\n', OCTETS) + SEEN],
  ['an empty body', `${POST}Content-Length: 0\r\n\r\n${GET}\r\n`, ok('', OCTETS) + SEEN],
  [
    'a chunked body',
    `${CHUNKED}3\r\nabc\r\n00a\r\n0123456789\r\n0\r\n\r\n${GET}\r\n`,
    `HTTP/1.1 200 OK\r\n${OCTETS}\r\nTransfer-Encoding: chunked\r\n\r\n` +
      `d\r\nabc0123456789\r\n0\r\n\r\n${SEEN}`,
  ],
  [
    'chunks with extensions and trailers',
    `${CHUNKED}3;a=b;c="d"\r\nabc\r\n0;e\r\nX: y\r\nZ: 1\r\n\r\n${GET}\r\n`,
    `HTTP/1.1 200 OK\r\n${OCTETS}\r\nTransfer-Encoding: chunked\r\n\r\n` +
      `3\r\nabc\r\n0\r\n\r\n${SEEN}`,
  ],
  [
    'an empty chunked body',
    `${CHUNKED}0\r\n\r\n${GET}\r\n`,
    `HTTP/1.1 200 OK\r\n${OCTETS}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${SEEN}`,
  ],
  [
    'Expect: 100-continue',
    `${POST}Content-Length: 3\r\nExpect: 100-Continue\r\n\r\nabc`,
    `HTTP/1.1 100 Continue\r\n\r\n${ok('abc', OCTETS)}`,
  ],
  ['Expect without a body', `${GET}Expect: 100-continue\r\n\r\n`, SEEN],
  [
    'Expect in HTTP/1.0, which does not know it',
    'POST /echo HTTP/1.0\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\na',
    `HTTP/1.1 200 OK\r\n${OCTETS}\r\nContent-Length: 1\r\nConnection: close\r\n\r\na`,
  ],
  [
    'a response that takes time, in its turn',
    `GET /slow HTTP/1.1\r\nHost: x\r\n\r\n${GET}\r\n`,
    ok('slow\n') + SEEN,
  ],
  [
    'a handler that throws, and the next request',
    `GET /fails-later HTTP/1.1\r\nHost: x\r\n\r\n${GET}\r\n`,
    'HTTP/1.1 404 Not Found\r\nContent-Type: text/plain; charset=utf-8\r\n' +
      `Content-Length: 9\r\n\r\nNot here\n${SEEN}`,
  ],
  [
    'a HEAD that is a mistake, without a body',
    'HEAD /seen HTTP/1.1\r\n\r\n',
    'HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n' +
      'Content-Length: 25\r\nConnection: close\r\n\r\n',
  ],
  [
    'a HEAD that asks for too much, without a body',
    'HEAD /seen HTTP/1.1\r\nHost: x\r\nExpect: miracles\r\n\r\n',
    'HTTP/1.1 417 Expectation Failed\r\nContent-Type: text/plain; charset=utf-8\r\n' +
      'Content-Length: 41\r\nConnection: close\r\n\r\n',
  ],
  [
    'a mistake behind a HEAD, with a body',
    'HEAD /seen HTTP/1.1\r\nHost: x\r\n\r\nX\r\n\r\n',
    'HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n' +
      'HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n' +
      'Content-Length: 29\r\nConnection: close\r\n\r\nThe first line is no request\n',
  ],
  ['half a request', GET, ''],
  ['half a body', `${POST}Content-Length: 3\r\n\r\nab`, ''],
  ['nothing', '', ''],
];

describe('HttpServer', () => {
  it.each(CONVERSATIONS)('answers %s', async (_what, requests, responses) => {
    expect(await ask(requests)).toBe(responses);
  });

  it.each(CONVERSATIONS)('answers %s, in pieces', async (_what, requests, responses) => {
    for (const size of [1, 3]) {
      expect([size, await ask(requests, size)]).toEqual([size, responses]);
    }
  });

  it('sends a date', async () => {
    const one = client().send(`${GET}\r\n`);
    await one.hears('GET /seen');
    const [, date = ''] = /\r\nDate: ([^\r]*)\r\n/.exec(one.received) ?? [];
    expect(Math.abs(Date.now() - Date.parse(date))).toBeLessThan(5000);
  });

  it('asks for a body only where it is welcome', async () => {
    const one = client().send(`${POST}Content-Length: 3\r\nExpect: 100-continue\r\n\r\n`);
    await one.hears('HTTP/1.1 100 Continue\r\n\r\n');
    await one.send('abc').hears('\r\n\r\nabc');
    const other = client().send(`${POST}Content-Length: 3000000\r\nExpect: 100-continue\r\n\r\n`);
    expect(await other.ends()).toMatch(/^HTTP\/1\.1 413 /);
  });

  it('answers in order when what asks for a body waits in a queue that is full', async () => {
    const one = client().send(`${GET}\r\n`);
    await one.hears('GET /seen');
    connection().highWaterMark = 0;
    const held = 'POST /held HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nExpect: 100-continue\r\n';
    one.received = '';
    one.send(`${held}\r\nx${GET}\r\n`);
    await until(() => release !== null);
    await one.hears('HTTP/1.1 100 Continue\r\n\r\n');
    // Time enough for an answer that is not to come yet.
    const other = client();
    for (let turn = 0; turn < 5; turn += 1) {
      other.received = '';
      await other.send(`${GET}\r\n`).hears('GET /seen');
    }
    release?.();
    await one.hears('GET /seen');
    expect(one.received.replace(/Date: [^\r]*\r\n/g, '')).toBe(
      `HTTP/1.1 100 Continue\r\n\r\n${ok('held\n')}${SEEN}`,
    );
  });

  it('says nothing in the log when a client makes a mistake and resets the connection', async () => {
    const write = jest.spyOn(process.stdout, 'write').mockReturnValue(true);
    try {
      const one = client();
      await until(() => map.size === 2);
      one.send('HELLO\r\n\r\n');
      one.socket.resetAndDestroy();
      await until(() => map.size === 1);
      expect(write.mock.calls).toEqual([]);
    } finally {
      write.mockRestore();
    }
  });

  it('answers with 500 when a handler throws', async () => {
    const lines: string[] = [];
    const write = jest.spyOn(process.stdout, 'write').mockImplementation((line) => {
      lines.push(String(line));
      return true;
    });
    try {
      const answer = await ask(`GET /fails HTTP/1.1\r\nHost: x\r\n\r\n${GET}\r\n`);
      expect(answer).toBe(`HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n${SEEN}`);
      expect(lines.join('')).toMatch(/^error: Error: on purpose\n/);
      expect(await ask('GET /injected HTTP/1.1\r\nHost: x\r\n\r\n')).toMatch(/^HTTP\/1\.1 500 /);
      expect(lines.join('')).toContain('Cannot send a header of two lines: Location');
    } finally {
      write.mockRestore();
    }
  });

  it('keeps the order among 1000 pipelined requests of all kinds', async () => {
    const kinds: [string, string][] = [
      [`${GET}\r\n`, SEEN],
      ['GET /slow HTTP/1.1\r\nHost: x\r\n\r\n', ok('slow\n')],
      [`${POST}Content-Length: 3\r\n\r\nabc`, ok('abc', OCTETS)],
      ['GET /fifo HTTP/1.1\r\nHost: x\r\n\r\n', await ask('GET /fifo HTTP/1.1\r\nHost: x\r\n\r\n')],
      [
        'GET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n',
        await ask('GET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n'),
      ],
    ];
    const turns = Array.from({ length: 1000 }, (_, at) => (at % 100 === 7 ? 1 : (at * 7) % 5));
    const chosen = turns.map(
      (turn, at) => kinds[turn === 1 && at % 100 !== 7 ? 0 : turn] as [string, string],
    );
    const answer = await ask(chosen.map(([request]) => request).join(''));
    expect(answer === chosen.map(([, response]) => response).join('')).toBe(true);
  });
});

describe('shutdown', () => {
  it('waits for the response that a handler has promised', async () => {
    const [idle, waiting] = [client(), client()];
    await idle.send(`${GET}\r\n`).hears('GET /seen');
    waiting.send('GET /slow HTTP/1.1\r\nHost: x\r\n\r\n');
    await until(() => map.size === 3);
    await sleep(10);
    const over = shutdown(map);
    await idle.ends();
    expect(await waiting.ends()).toMatch(/\r\nConnection: close\r\n\r\nslow\n$/);
    await over;
    expect(map.size).toBe(0);
  });

  it.each([
    ['has been promised an answer', 'GET /held HTTP/1.1\r\nHost: x\r\n\r\n', /\r\n\r\nheld\n$/],
    ['waits for nothing', '', /^$/],
  ])('gives one who goes on sending, and %s, time to read', async (_what, request, answer) => {
    const socket = connect({ host: '127.0.0.1', port, allowHalfOpen: true });
    let received = '';
    let ended = false;
    const errors: Error[] = [];
    socket.on('data', (data) => {
      received += data.toString('latin1');
    });
    socket.on('end', () => {
      ended = true;
    });
    socket.on('error', (error) => errors.push(error));
    socket.write(request);
    await until(() => map.size === 2 && (release !== null || request === ''));
    const over = shutdown(map, { deadline: 4000 });
    release?.();
    const drip = setInterval(() => socket.write('x'), 20);
    try {
      // The answer, and then the end of our half of the stream; not, for a while, that of the client's.
      await until(() => ended);
      expect(received).toMatch(answer);
      later(999);
      expect(map.size).toBe(1);
      later(1);
      await until(() => errors.length > 0 || map.size === 0);
      expect(await over).toBe(0);
    } finally {
      clearInterval(drip);
      socket.destroy();
    }
  });

  it('sends the file that has been begun, and opens no other', async () => {
    // More than the kernel keeps between two sockets, so that the first one is under way.
    const huge = 16 * 1024 * 1024;
    writeZeros(join(root, 'huge.bin'), huge);
    const one = client();
    one.socket.pause();
    one.send('GET /huge.bin HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(3));
    await until(() => openFiles().some((path) => path.endsWith('/huge.bin')));
    const over = shutdown(map);
    one.socket.resume();
    expect((await one.ends()).length).toBeGreaterThan(huge);
    expect(one.received.match(/HTTP\/1\.1 200/g)).toHaveLength(1);
    await over;
    expect(openFiles().some((path) => path.endsWith('/huge.bin'))).toBe(false);
  });
});

describe('What is refused', () => {
  const refused: [number, string, string][] = [
    [400, 'no request', 'HELLO\r\n\r\n'],
    [400, 'nothing', '\r\n\r\n'],
    [400, 'a TLS handshake', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n'],
    [400, 'two spaces', 'GET  /seen HTTP/1.1\r\nHost: x\r\n\r\n'],
    [400, 'no target', 'GET HTTP/1.1\r\nHost: x\r\n\r\n'],
    [400, 'a tab', 'GET\t/seen HTTP/1.1\r\nHost: x\r\n\r\n'],
    [400, 'a byte above 127 in a target', 'GET /\xe9 HTTP/1.1\r\nHost: x\r\n\r\n'],
    [400, 'a target that is no path', 'GET seen HTTP/1.1\r\nHost: x\r\n\r\n'],
    [400, 'a star that is not OPTIONS', 'GET * HTTP/1.1\r\nHost: x\r\n\r\n'],
    [400, 'something behind the version', 'GET /seen HTTP/1.1 \r\nHost: x\r\n\r\n'],
    [400, 'HTTP/0.9 with headers', 'GET /seen\r\nHost: x\r\n\r\n'],
    [505, 'HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
    [501, 'another method', 'BREW /seen HTTP/1.1\r\nHost: x\r\n\r\n'],
    [501, 'a method in lower case', 'get /seen HTTP/1.1\r\nHost: x\r\n\r\n'],
    [501, 'CONNECT', 'CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n'],

    [400, 'no Host', 'GET /seen HTTP/1.1\r\n\r\n'],
    [400, 'two Hosts', 'GET /seen HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n'],
    ...[
      '',
      'x/y',
      'x, y',
      'x y',
      ':80',
      'x:80:90',
      'x:y',
      'a@x',
      '::1',
      '[::1',
      '[]',
      '%',
      'x#',
    ].map((host): [number, string, string] => [
      400,
      `the Host '${host}'`,
      `GET /seen HTTP/1.1\r\nHost: ${host}\r\n\r\n`,
    ]),
    ...[
      'http:///seen',
      'http://:80/seen',
      'http://',
      'http://a@x/seen',
      'http://x:y/',
      '/seen#x',
    ].map((target): [number, string, string] => [
      400,
      `the target ${target}`,
      `GET ${target} HTTP/1.1\r\nHost: x\r\n\r\n`,
    ]),
    [400, 'a header without a colon', `${GET}X\r\n\r\n`],
    [400, 'a header without a name', `${GET}: x\r\n\r\n`],
    [400, 'a blank before the colon', `${GET}Content-Length : 3\r\n\r\nabc`],
    [400, 'a header that goes on in a second line', `${GET}X: a\r\n b\r\n\r\n`],
    [400, 'a blank before the first header', 'GET /seen HTTP/1.1\r\n Host: x\r\n\r\n'],
    [400, 'a name with a byte above 127', `${GET}\xe9: a\r\n\r\n`],
    [400, 'a zero byte', `${GET}X: a\0b\r\n\r\n`],
    [400, 'a bare CR in a header', `${GET}X: a\rb\r\n\r\n`],
    [400, 'a bare LF in a header', `${GET}X: a\nContent-Length: 3\r\n\r\nabc`],
    [400, 'a CR CR LF', `${GET}X: a\r\r\n\r\n`],
    [400, 'a bare LF behind the request', 'GET /seen HTTP/1.1\nHost: x\r\n\r\n'],
    [
      400,
      'a head of bare LFs, and what comes behind it',
      `GET /seen HTTP/1.1\nHost: x\n\n${GET}\r\n`,
    ],

    [400, 'two lengths', `${POST}Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc`],
    [400, 'the same length twice', `${POST}Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc`],
    [400, 'a list of lengths', `${POST}Content-Length: 3, 3\r\n\r\nabc`],
    [400, 'a negative length', `${POST}Content-Length: -3\r\n\r\nabc`],
    [400, 'a length with a sign', `${POST}Content-Length: +3\r\n\r\nabc`],
    [400, 'a hexadecimal length', `${POST}Content-Length: 0x3\r\n\r\nabc`],
    [400, 'a length with a fraction', `${POST}Content-Length: 3.0\r\n\r\nabc`],
    [400, 'an empty length', `${POST}Content-Length:\r\n\r\nabc`],
    [400, 'a length with a no-break space', `${POST}Content-Length: 3\xa0\r\n\r\nabc`],
    [400, 'a length in a GET that is none', `${GET}Content-Length: x\r\n\r\n`],
    [413, 'a length beyond the limit', `${POST}Content-Length: 1048577\r\n\r\n`],
    [413, 'a length beyond all numbers', `${POST}Content-Length: ${'9'.repeat(400)}\r\n\r\n`],
    [411, 'a POST without a length', `${POST}\r\n`],
    [
      400,
      'a length and chunks',
      `${POST}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    ],
    [
      400,
      'chunks and a length',
      `${POST}Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n`,
    ],
    [501, 'another coding', `${POST}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`],
    [
      501,
      'a coding that is repeated',
      CHUNKED.replace('\r\n\r\n', '\r\ntransfer-encoding: chunked\r\n\r\n'),
    ],
    [400, 'a coding that has no end', `${POST}Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n`],
    [400, 'a coding that looks like one', `${POST}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n`],
    [400, 'a coding with a semicolon', `${POST}Transfer-Encoding: chunked;\r\n\r\n0\r\n\r\n`],
    [400, 'an empty coding', `${POST}Transfer-Encoding:\r\n\r\n0\r\n\r\n`],
    [
      400,
      'chunks in HTTP/1.0',
      'POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    ],
    [417, 'an expectation that is none', `${POST}Content-Length: 3\r\nExpect: miracles\r\n\r\nabc`],

    [400, 'a chunk without a size', `${CHUNKED}\r\nabc\r\n0\r\n\r\n`],
    [400, 'a chunk size that is none', `${CHUNKED}g\r\nabc\r\n0\r\n\r\n`],
    [400, 'a chunk size with 0x', `${CHUNKED}0x3\r\nabc\r\n0\r\n\r\n`],
    [400, 'a negative chunk size', `${CHUNKED}-3\r\nabc\r\n0\r\n\r\n`],
    [400, 'a chunk size with a blank before it', `${CHUNKED} 3\r\nabc\r\n0\r\n\r\n`],
    [400, 'a chunk size with a blank behind it', `${CHUNKED}3 \r\nabc\r\n0\r\n\r\n`],
    [400, 'a chunk size of many digits', `${CHUNKED}${'0'.repeat(20)}3\r\nabc\r\n0\r\n\r\n`],
    [400, 'a chunk size with a bare LF', `${CHUNKED}3\nabc\r\n0\r\n\r\n`],
    [400, 'an extension with a bare LF', `${CHUNKED}3;a\nb\r\nabc\r\n0\r\n\r\n`],
    [400, 'an extension with a bare CR', `${CHUNKED}3;a\rb\r\nabc\r\n0\r\n\r\n`],
    [400, 'an extension without end', `${CHUNKED}3;${'a'.repeat(2000)}\r\nabc\r\n0\r\n\r\n`],
    [400, 'a chunk that is longer than its size', `${CHUNKED}3\r\nabcd\r\n0\r\n\r\n`],
    [400, 'a chunk that is shorter than its size', `${CHUNKED}3\r\nab\r\n0\r\n\r\n`],
    [400, 'a chunk that ends with a bare LF', `${CHUNKED}3\r\nabc\n0\r\n\r\n`],
    [400, 'a trailer that is no header', `${CHUNKED}0\r\n${GET}\r\n`],
    [413, 'a chunk beyond the limit', `${CHUNKED}fffffffffff\r\n${'a'.repeat(1048577)}`],
    [413, 'chunks beyond the limit', CHUNKED + `10000\r\n${'a'.repeat(65536)}\r\n`.repeat(17)],
    [431, 'a header without end', `${GET}X: ${'a'.repeat(70_000)}`],
    [431, 'headers without end', `${GET}${'X: aaaaaaaa\r\n'.repeat(7000)}\r\n`],
    [414, 'a request line without end', `\r\nGET /${'a'.repeat(70_000)}`],
    [431, 'trailers without end', `${CHUNKED}0\r\n${'X: aaaaaaaa\r\n'.repeat(7000)}\r\n`],
  ];

  // A request behind the mistake must not be taken for one.
  it.each(refused)('%d: %s', async (status, _what, request) => {
    const answer = await ask(`${request}${GET}\r\n`);
    expect(answer).toMatch(
      new RegExp(
        `^HTTP/1\\.1 ${status} [A-Z][A-Za-z ]+\r\nContent-Type: text/plain; charset=utf-8\r\n` +
          'Content-Length: \\d+\r\nConnection: close\r\n\r\n[^\r\n]+\n$',
      ),
    );
  });

  it('takes a body of chunks of one byte', async () => {
    const body = '1\r\nx\r\n'.repeat(20_000);
    const answer = await ask(`${CHUNKED}${body}0\r\n\r\n`);
    expect(answer.replace(/[^x]/g, '').length).toBe(20_000);
  });

  it('in pieces, too', async () => {
    for (const [status, what, request] of refused) {
      if (request.length > 1000) continue;
      const answer = await ask(`${request}${GET}\r\n`, 1);
      expect([what, answer.slice(9, 12), answer.match(/HTTP\/1.1 \d/g)?.length]).toEqual([
        what,
        `${status}`,
        1,
      ]);
    }
  });

  it('takes headers of nearly 64 KiB, in a time that does not grow with their square', async () => {
    const blanks = ' '.repeat(65_000);
    const commas = ','.repeat(65_000);
    const before = process.cpuUsage();
    for (const value of [`a${blanks}b`, `${blanks}b`, `a${blanks}`]) {
      expect(await ask(`${GET}X: ${value}\r\n\r\n`)).toContain('200 OK');
    }
    expect(await ask(`${POST}Transfer-Encoding: ${commas}\r\n\r\n`)).toContain('400');
    expect(await ask(`${GET}Connection: ${commas}\r\n\r\n`)).toContain('200 OK');
    expect(await ask(`GET /seen HTTP/1.1\r\nHost: ${'%aa'.repeat(20_000)}%\r\n\r\n`)).toContain(
      '400',
    );
    const lists = [`"a"${blanks}b`, commas, '"'.repeat(65_000), '"a",'.repeat(16_000)];
    const hostile: [string, string[]][] = [
      ['Accept-Encoding', [`a${blanks}b`, `gzip;${blanks}q`, commas]],
      ['If-Match', lists],
      ['If-None-Match', lists],
      ['If-Modified-Since', [`a${blanks}b`]],
      ['Range', [`bytes=${blanks}b`, `bytes=${commas}`]],
    ];
    for (const [name, values] of hostile) {
      for (const value of values) {
        const page = `GET /page.html HTTP/1.1\r\nHost: x\r\n${name}: ${value}\r\n\r\n`;
        expect(await ask(page)).toMatch(name === 'If-Match' ? / 412 / : / 200 OK/);
      }
    }
    expect(await ask(`GET /${'?'.repeat(65_000)} HTTP/1.1\r\nHost: x\r\n\r\n`)).toContain('404');
    // In microseconds.
    expect(process.cpuUsage(before).user).toBeLessThan(2_000_000);
  });

  it.each([
    ['a request', 'GET /seen HTTP/1.1\n'],
    ['a header', `${GET}X: a\n`],
    ['a header that comes in pieces', `${GET}X: a\nY`],
    ['the size of a chunk', `${CHUNKED}3\n`],
    ['a trailer', `${CHUNKED}0\r\nX: a\n`],
  ])('does not wait for more behind a bare LF that ends %s', async (_what, start) => {
    for (const size of [1, start.length]) {
      const one = client();
      one.socket.setNoDelay();
      for (let at = 0; at < start.length; at += size) {
        one.send(start.slice(at, at + size));
        await new Promise((resolve) => setImmediate(resolve));
      }
      expect(await one.ends()).toMatch(
        /^HTTP\/1\.1 400 [\s\S]*\r\n\r\nThere is a line that ends with LF alone\n$/,
      );
    }
  });

  it('tells a client that goes on sending all the same', async () => {
    const one = client().send(`${POST}Content-Length: 9000000\r\n\r\n`);
    one.socket.write(Buffer.alloc(9_000_000));
    await one.hears('HTTP/1.1 413 Content Too Large\r\n');
    await one.hears('The body is too large\n');
    await until(() => map.size === 1);
  });

  it('disconnects a client that has its answer and stays', async () => {
    const socket = connect({ host: '127.0.0.1', port, allowHalfOpen: true });
    try {
      socket.write(`${GET}Connection: close\r\n\r\n`);
      // The answer, and then the end of our half of the stream.
      expect(await text(socket)).toMatch(/GET \/seen \n$/);
      later(999);
      expect(map.size).toBe(2);
      later(1);
      expect(map.size).toBe(1);
    } finally {
      socket.destroy();
    }
  });
});

describe('Limits', () => {
  it('has the body that it is told', async () => {
    await limit({ maxBody: 3 });
    expect(await ask(`${POST}Content-Length: 3\r\n\r\nabc`)).toBe(ok('abc', OCTETS));
    expect(await ask(`${POST}Content-Length: 4\r\n\r\nabcd`)).toMatch(/^HTTP\/1\.1 413 /);
    expect(await ask(`${CHUNKED}2\r\nab\r\n1\r\nc\r\n0\r\n\r\n`)).toContain(
      '3\r\nabc\r\n0\r\n\r\n',
    );
    expect(await ask(`${CHUNKED}2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n`)).toMatch(/^HTTP\/1\.1 413 /);
  });

  it('disconnects a client that sends its headers byte by byte', async () => {
    await limit({ headerTimeout: 5 });
    const one = client();
    await deliver(one, GET);
    for (let seconds = 0; seconds < 5; seconds += 1) {
      await deliver(one, 'x');
      expect(one.received).toBe('');
      later(1000);
    }
    expect(await one.ends()).toMatch(
      /^HTTP\/1\.1 408 Request Timeout\r\n[\s\S]*\r\n\r\nThe headers took too long\n$/,
    );
  });

  it('disconnects a client that sends its body byte by byte', async () => {
    await limit({ headerTimeout: 3, requestTimeout: 8 });
    for (const start of [`${POST}Content-Length: 1000\r\n\r\n`, `${CHUNKED}3e8\r\n`]) {
      const one = client();
      await deliver(one, start);
      for (let seconds = 0; seconds < 8; seconds += 1) {
        await deliver(one, 'x');
        expect(one.received).toBe('');
        later(1000);
      }
      expect(await one.ends()).toMatch(
        /^HTTP\/1\.1 408 Request Timeout\r\n[\s\S]*\r\n\r\nThe request took too long\n$/,
      );
      await until(() => map.size === 1);
    }
  });

  it('does not count the time of a handler', async () => {
    await limit({ idleTimeout: 0 });
    const one = client().send('GET /held HTTP/1.1\r\nHost: x\r\n\r\n');
    await until(() => release !== null);
    later(300_000);
    release?.();
    await one.hears('\r\n\r\nheld\n');
    expect(one.received).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
  });

  it('does not count the time between requests, nor that of a body as that of its headers', async () => {
    const one = client();
    await deliver(one, GET);
    await one.send('\r\n').hears('GET /seen');
    later(9000);
    await deliver(one, POST);
    later(9000);
    await one.send('Expect: 100-continue\r\nContent-Length: 3\r\n\r\n').hears('100 Continue');
    later(9000);
    await one.send('abc').hears('\r\n\r\nabc');
    expect(one.received).not.toContain('408');
  });

  it('closes idle connections', async () => {
    const stuck = client();
    await deliver(stuck, `${POST}Content-Length: 3\r\n\r\na`);
    const [silent, served] = [client(), client()];
    await served.send(`${GET}\r\n`).hears('200 OK');
    await until(() => map.size === 4);
    later(59_999);
    expect(map.size).toBe(4);
    later(1);
    for (const one of [silent, served, stuck]) await one.ends();
    expect(map.size).toBe(1);
  });

  it('closes the connection of a client that sends, and does not read its last response', async () => {
    const one = client();
    await until(() => map.size === 2);
    // So that nothing but the end of the responses makes it pause reading.
    connection().highWaterMark = Infinity;
    one.socket.pause();
    const large = 'GET /large HTTP/1.1\r\nHost: x\r\n';
    one.send(`${`${large}\r\n`.repeat(9)}${large}Connection: close\r\n\r\n`);
    await until(() => connection().readingPaused);
    await until(() => {
      one.send('x');
      later(20_000);
      return map.size === 1;
    });
  });

  it('has no more connections than it is told', async () => {
    await limit({ maxConnections: 2 });
    const [one, two, three] = [client(), client(), client()] as const;
    for (const each of [one, two, three]) each.send(`${GET}\r\n`);
    await one.hears('GET /seen');
    await two.hears('GET /seen');
    expect(three.received).toBe('');
    one.socket.destroy();
    await three.hears('GET /seen');
  });

  it('has no more connections from one address than it is told', async () => {
    await limit({ maxConnectionsPerAddress: 1 });
    const one = client().send(`${GET}\r\n`);
    await one.hears('GET /seen');
    expect(await client().ends()).toBe('');
    one.socket.destroy();
    await until(() => map.size === 1);
    await client().send(`${GET}\r\n`).hears('GET /seen');
  });
});

describe('Files', () => {
  const get = (path: string, ...headers: string[]): Promise<string> =>
    ask(`GET ${path} HTTP/1.1\r\nHost: x\r\n${headers.map((one) => `${one}\r\n`).join('')}\r\n`);

  it.each([
    ['a file', '/a.txt', 'abcdef'],
    ['a query', '/a.txt?x=/../y', 'abcdef'],
    ['an empty file', '/none.txt', ''],
    ['a name that needs encoding', '/two%20words%20%C3%A9.html', '<p>'],
    ['a folder with a page', '/folder/', '<h1>'],
    ['slashes in a row', '//folder///', '<h1>'],
    ['a link within', '/link-in.txt', 'abcdef'],
  ])('are served: %s', async (_what, path, body) => {
    const answer = await get(path);
    expect(answer).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
    expect(answer.slice(answer.indexOf('\r\n\r\n') + 4)).toBe(body);
  });

  it.each([
    '/none',
    '/a.txt/',
    '/a.txt/b',
    '/empty/',
    '/fifo',
    '/.secret',
    '/../outside.txt',
    '/folder/../../outside.txt',
    '/%2e%2e/outside.txt',
    '/%2E%2e%2foutside.txt',
    '/..%2foutside.txt',
    '/folder/..%2f..%2foutside.txt',
    '/link-out.txt',
    '/folder-out/outside.txt',
    '/a.txt%00.html',
    `/${'a'.repeat(300)}`,
    '//etc/passwd',
    '/%2fetc/passwd',
    '/folder%2findex.html',
  ])('do not exist: %s', async (path) => {
    const answer = await get(path);
    expect(answer).toMatch(/^HTTP\/1\.1 404 Not Found\r\n/);
    expect(answer).not.toMatch(/outside|secret|root:/);
  });

  it('are no business of an encoding that is none', async () => {
    expect(await get('/%zz')).toMatch(/^HTTP\/1\.1 400 /);
    expect(await get('/%ff')).toMatch(/^HTTP\/1\.1 400 /);
  });

  it('have a folder that is told to end with a slash, on this server', async () => {
    for (const [path, location] of [
      ['/folder', '/folder/'],
      ['//folder', '/folder/'],
      ['/folder?x=%20/&y?z', '/folder/?x=%20/&y?z'],
    ] as const) {
      expect(await get(path)).toBe(
        `HTTP/1.1 301 Moved Permanently\r\nLocation: ${location}\r\nContent-Length: 0\r\n\r\n`,
      );
    }
  });

  it('take GET and HEAD', async () => {
    expect(await ask('DELETE /a.txt HTTP/1.1\r\nHost: x\r\n\r\n')).toBe(
      'HTTP/1.1 405 Method Not Allowed\r\nAllow: GET, HEAD\r\nContent-Length: 0\r\n\r\n',
    );
    const whole = await get('/a.txt');
    const head = await ask('HEAD /a.txt HTTP/1.1\r\nHost: x\r\n\r\n');
    expect(`${head}abcdef`).toBe(whole);
  });

  it.each([
    ['bytes=0-2', 206, 'bytes 0-2/6', 'abc'],
    ['bytes=4-', 206, 'bytes 4-5/6', 'ef'],
    ['bytes=5-99', 206, 'bytes 5-5/6', 'f'],
    ['bytes=-2', 206, 'bytes 4-5/6', 'ef'],
    ['bytes=-99', 206, 'bytes 0-5/6', 'abcdef'],
    ['bytes=0-0', 206, 'bytes 0-0/6', 'a'],
    ['bytes=6-', 416, 'bytes */6', ''],
    ['bytes=6-9', 416, 'bytes */6', ''],
    ['bytes=-0', 416, 'bytes */6', ''],
    [`bytes=${'9'.repeat(400)}-`, 416, 'bytes */6', ''],
    ['Bytes=,1-2 ,', 206, 'bytes 1-2/6', 'bc'],
    // What does not make sense, or asks for more than one part, is ignored.
    ['bytes=3-2', 200, null, 'abcdef'],
    ['bytes=-', 200, null, 'abcdef'],
    ['bytes=a-b', 200, null, 'abcdef'],
    ['bytes=0-1,3-4', 200, null, 'abcdef'],
    ['lines=0-1', 200, null, 'abcdef'],
  ])('come in part: %s', async (range, status, contentRange, body) => {
    const answer = await get('/a.txt', `Range: ${range}`);
    expect(answer.slice(0, 12)).toBe(`HTTP/1.1 ${status}`);
    expect(/Content-Range: (.*)\r/.exec(answer)?.[1] ?? null).toBe(contentRange);
    expect(answer.slice(answer.indexOf('\r\n\r\n') + 4)).toBe(body);
    expect(answer).toContain(`Content-Length: ${body.length}\r\n`);
  });

  it('come whole if they are empty and their end is requested', async () => {
    expect(await get('/none.txt', 'Range: bytes=-5')).toMatch(/^HTTP\/1\.1 200 /);
    for (const range of ['bytes=-0', 'bytes=0-', 'bytes=0-0']) {
      expect(await get('/none.txt', `Range: ${range}`)).toMatch(/^HTTP\/1\.1 416 /);
    }
  });

  it('come in part only while they are the same', async () => {
    const tag = /ETag: (.*)\r/.exec(await get('/a.txt'))?.[1];
    expect(await get('/a.txt', 'Range: bytes=0-1', `If-Range: ${tag}`)).toMatch(/^HTTP\/1\.1 206/);
    expect(await get('/a.txt', 'Range: bytes=0-1', 'If-Range: "old"')).toMatch(/^HTTP\/1\.1 200/);
    expect(await ask('HEAD /a.txt HTTP/1.1\r\nHost: x\r\nRange: bytes=0-1\r\n\r\n')).toMatch(
      / 200 OK/,
    );
  });

  it('do not come again', async () => {
    const tag = /ETag: (.*)\r/.exec(await get('/a.txt'))?.[1];
    for (const known of [`${tag}`, `"x", W/${tag}`, '*']) {
      const answer = await get('/a.txt', `If-None-Match: ${known}`);
      expect(answer).toMatch(/^HTTP\/1\.1 304 Not Modified\r\n/);
      expect(answer).toMatch(/\r\n\r\n$/);
      expect(answer).not.toContain('Content-Length');
    }
    expect(await get('/a.txt', 'If-None-Match: "x"')).toMatch(/^HTTP\/1\.1 200/);
  });

  const AT = 'Sun, 06 Nov 1994 08:49:37 GMT';
  const BEFORE = AT.replace(':37', ':36');
  const PART = 'Range: bytes=0-1';

  // TAG stands for their tag, and they were changed at AT.
  it.each<[status: number, conditions: string[]]>([
    [304, [`If-Modified-Since: ${AT}`]],
    [304, [`If-Modified-Since: ${AT.replace(':37', ':38')}`]],
    [304, ['If-Modified-Since: Sunday, 06-Nov-94 08:49:37 GMT']],
    [304, ['If-Modified-Since: Sun Nov  6 08:49:37 1994']],
    [200, [`If-Modified-Since: ${BEFORE}`]],
    [200, ['If-Modified-Since: 2099-01-01']],
    [200, [`If-Modified-Since: ${AT}`, `If-Modified-Since: ${AT}`]],
    [200, [`If-Unmodified-Since: ${AT}`]],
    [412, [`If-Unmodified-Since: ${BEFORE}`]],
    [200, ['If-Unmodified-Since: Sun Nov  6 08:49:37 2094']],
    [200, ['If-Unmodified-Since: 1970-01-01']],
    // A tag says more than a date.
    [200, ['If-Match: TAG', `If-Unmodified-Since: ${BEFORE}`]],
    [412, ['If-Match: "x"', `If-Unmodified-Since: ${AT}`]],
    [200, ['If-None-Match: "x"', `If-Modified-Since: ${AT}`]],
    [304, ['If-None-Match: TAG', `If-Modified-Since: ${BEFORE}`]],
    // What the client wants comes before what it has.
    [412, ['If-None-Match: TAG', `If-Unmodified-Since: ${BEFORE}`]],
    [304, ['If-None-Match: TAG', `If-Unmodified-Since: ${AT}`]],
    [412, [PART, `If-Unmodified-Since: ${BEFORE}`]],
    [304, [PART, 'If-None-Match: TAG']],
    // A tag may contain a comma, and is compared by its case.
    [304, ['If-None-Match: , "a,b" ,\tW/TAG, ']],
    [304, ['If-None-Match: "x"', 'If-None-Match: TAG']],
    ...['"TAG"', 'w/TAG', '"x" TAG', '"x, TAG', 'W/ TAG', '*, "x"', 'TAG-'].map(
      (tags): [number, string[]] => [200, [`If-None-Match: ${tags}`]],
    ),
    [200, ['If-Match: "a,b", TAG']],
    [412, ['If-Match: W/TAG']],
    [206, [PART, 'If-Range: TAG']],
    [206, [PART, `If-Range: ${AT}`]],
    [206, [PART, 'If-Range: Sunday, 06-Nov-94 08:49:37 GMT']],
    [200, [PART, `If-Range: ${AT.replace(':37', ':38')}`]],
    [200, [PART, 'If-Range: W/TAG']],
    [200, [PART, 'If-Range: "x", TAG']],
    [200, ['If-Range: "x"']],
  ])('come with the status %d: %j', async (status, conditions) => {
    const path = join(root, 'dated.txt');
    writeFileSync(path, 'abc');
    // The date that is told has no fraction.
    utimesSync(path, 784111777.9, 784111777.9);
    const validators = /ETag: (.*)\r\nLast-Modified: (.*)\r/;
    const [, tag = '', date] = validators.exec(await get('/dated.txt')) ?? [];
    const given = conditions.map((one) => one.replace('"TAG"', tag.toUpperCase()));
    const answer = await get('/dated.txt', ...given.map((one) => one.replace('TAG', tag)));
    expect([date, answer.slice(9, 12)]).toEqual([AT, `${status}`]);
  });

  it.each([10, 100_000])(
    'have another tag after each change, within a tick of the clock and with the same date: %d bytes',
    (size) => {
      const path = join(root, 'changed.txt');
      const tags = Array.from({ length: 100 }, (_, at) => {
        writeFileSync(path, `${at}`.padStart(size));
        utimesSync(path, 784111777, 784111777);
        const { headers, body } = files.respond(requested('/changed.txt'));
        (body as Producer).close?.();
        return headers?.ETag;
      });
      expect(new Set(tags).size).toBe(100);
    },
  );

  it.each(['/a.txt', '/big.bin'])('have a tag that stays: %s', async (path) => {
    const tagOf = async (): Promise<string | undefined> =>
      /ETag: ("[^"]+")\r/.exec(await ask(`HEAD ${path} HTTP/1.1\r\nHost: x\r\n\r\n`))?.[1];
    let tag = await tagOf();
    // A large file that has just been written gets its tag when the clock of the file system has moved on.
    for (let before: typeof tag = ''; before !== tag; tag = await tagOf()) before = tag;
    expect(await get(path, `If-None-Match: ${tag}`)).toMatch(/^HTTP\/1\.1 304 /);
    expect(await get(path, `If-Match: ${tag}`, PART, `If-Range: ${tag}`)).toMatch(
      /^HTTP\/1\.1 206 /,
    );
  });

  it('were not changed in the future, and until now may change again', async () => {
    const path = join(root, 'future.txt');
    writeFileSync(path, 'abc');
    utimesSync(path, 4e9, 4e9);
    const one = client().send('GET /future.txt HTTP/1.1\r\nHost: x\r\n\r\n');
    await one.hears('abc');
    const [date, modified] = ['Date', 'Last-Modified'].map(
      (name) => new RegExp(`\r\n${name}: (.*)\r\n`).exec(one.received)?.[1],
    );
    expect(modified).toBe(date);
    // A date is no strong validator before its second is over.
    expect(await get('/future.txt', PART, `If-Range: ${new Date().toUTCString()}`)).toMatch(
      /^HTTP\/1\.1 200 /,
    );
  });

  it('come only if they are what is wanted', async () => {
    const tag = /ETag: (.*)\r/.exec(await get('/a.txt'))?.[1];
    for (const wanted of [`${tag}`, `"x", ${tag}`, '*']) {
      expect(await get('/a.txt', `If-Match: ${wanted}`)).toMatch(/^HTTP\/1\.1 200 /);
    }
    for (const wanted of ['"x"', `W/${tag}`, '']) {
      expect(await get('/a.txt', `If-Match: ${wanted}`, `If-None-Match: ${tag}`)).toBe(
        `HTTP/1.1 412 Precondition Failed\r\nETag: ${tag}\r\n` +
          `Last-Modified: ${statSync(join(root, 'a.txt')).mtime.toUTCString()}\r\n` +
          'Content-Length: 0\r\n\r\n',
      );
    }
  });

  it('are compressed for a client that accepts it', async () => {
    for (const accepted of ['gzip', 'br, gzip;q=0.5', 'GZIP']) {
      const answer = await get('/page.html', `Accept-Encoding: ${accepted}`);
      expect(answer).toContain('Content-Encoding: gzip\r\n');
      expect(answer).toContain('Transfer-Encoding: chunked\r\n');
      expect(answer.length).toBeLessThan(PAGE.length / 20);
    }
    for (const accepted of ['', 'br', 'gzip;q=0', 'gzip; q=0.00', 'xgzip']) {
      expect(await get('/page.html', `Accept-Encoding: ${accepted}`)).not.toContain('gzip');
    }
    expect(await get('/a.txt', 'Accept-Encoding: gzip')).not.toContain('gzip');
    expect(await get('/big.bin', 'Accept-Encoding: gzip')).not.toContain('gzip');
  });

  it('end the stream where there are no chunks', async () => {
    const answer = await ask(
      'GET /page.html HTTP/1.0\r\nAccept-Encoding: gzip\r\nConnection: keep-alive\r\n\r\n',
    );
    expect(answer).toContain('Connection: close\r\n\r\n\x1f\x8b');
    expect(answer).not.toContain('chunked');
  });

  it('are closed, whatever becomes of their readers', async () => {
    const isOpen = (): boolean => openFiles().some((path) => path.endsWith('/big.bin'));
    const one = client();
    one.socket.pause();
    one.send('GET /big.bin HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(20));
    await until(isOpen);
    // Twenty were asked for, and one is open.
    expect(openFiles().filter((path) => path.endsWith('/big.bin'))).toHaveLength(1);
    one.socket.destroy();
    await until(() => !isOpen());
    await ask('HEAD /big.bin HTTP/1.1\r\nHost: x\r\n\r\n');
    await get('/big.bin', 'If-None-Match: *');
    await get('/big.bin', 'If-Match: "x"');
    await get('/big.bin', 'Range: bytes=9999999-');
    expect(isOpen()).toBe(false);
  });

  it('that have become shorter end the connection', async () => {
    const write = jest.spyOn(process.stdout, 'write').mockReturnValue(true);
    try {
      files.respond = (): HttpResponse => {
        const fd = openSync(join(root, 'a.txt'), 'r');
        const body: Producer = new FileProducer(fd, { end: 10 });
        return { status: 200, body, length: 10 };
      };
      expect(await get('/a.txt')).toBe('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabcdef');
      expect(String(write.mock.calls[0]?.[0])).toContain('Cannot read a file up to byte 10');
    } finally {
      write.mockRestore();
    }
  });
});

describe('A slow reader', () => {
  it('is not sent more than it has read', async () => {
    const one = client();
    one.socket.pause();
    one.send('GET /large HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(10));
    await sleep(200);
    expect(connection().writableLength).toBeLessThan(3_000_000);
    one.socket.resume();
    await until(() => one.received.length > 10 * 2_000_000);
    expect(one.received.match(/HTTP\/1\.1 200/g)).toHaveLength(10);
  });

  it('does not keep others waiting', async () => {
    const slow = client();
    slow.socket.pause();
    slow.send('GET /big.bin HTTP/1.1\r\nHost: x\r\n\r\n');
    await client().send(`${GET}\r\n`).hears('GET /seen');
  });
});

describe('curl (skipped where there is none)', () => {
  const itWithCurl = itWith('curl');

  async function curl(...args: string[]): Promise<string> {
    const program = new Program('curl', ['-sS', '--max-time', '5', ...args]);
    expect([await program.ended(), program.output]).toEqual([0, expect.anything()]);
    return program.output;
  }

  const url = (path: string): string => `http://127.0.0.1:${port}${path}`;

  /** Options, path, output. */
  const mixes: [string[], string, string | RegExp][] = [
    [[], '/a.txt', 'abcdef'],
    [['-I'], '/a.txt', /^HTTP\/1\.1 200 OK\r\n(?:.*\r\n)*Content-Length: 6\r\n\r\n$/],
    [['-0'], '/a.txt', 'abcdef'],
    [['-H', 'Connection: close'], '/a.txt', 'abcdef'],
    [['-r', '1-3'], '/a.txt', 'bcd'],
    [['-r', '-2'], '/a.txt', 'ef'],
    [['-C', '4'], '/a.txt', 'ef'],
    [['-d', 'a=1&b=2'], '/echo', 'a=1&b=2'],
    [['-d', ''], '/echo', ''],
    [['-d', 'abc', '-H', 'Transfer-Encoding: chunked'], '/echo', 'abc'],
    [['-d', 'abc', '-H', 'Expect: 100-continue'], '/echo', 'abc'],
    [['-0', '-d', 'abc'], '/echo', 'abc'],
    [['-X', 'PUT', '-d', 'abc'], '/echo', 'abc'],
    [['-F', 'a=b', '-F', 'c=d'], '/echo', /name="c"\r\n\r\nd\r\n/],
    [['-G', '-d', 'a=1'], '/a.txt', 'abcdef'],
    [['-L'], '/folder', '<h1>'],
    [['--compressed'], '/page.html', PAGE],
    [['--tr-encoding'], '/page.html', PAGE],
    [['-0', '--compressed'], '/page.html', PAGE],
    [['--path-as-is', '-o', '/dev/null', '-w', '%{http_code}'], '/../../etc/passwd', '404'],
    [['-X', 'DELETE', '-o', '/dev/null', '-w', '%{http_code}'], '/a.txt', '405'],
    [['-X', 'BREW', '-o', '/dev/null', '-w', '%{http_code}'], '/a.txt', '501'],
    [['-H', 'Expect: miracles', '-o', '/dev/null', '-w', '%{http_code}'], '/a.txt', '417'],
    [['-X', 'POST', '-o', '/dev/null', '-w', '%{http_code}'], '/echo', '411'],
    [['-H', `X: ${'x'.repeat(66_000)}`, '-o', '/dev/null', '-w', '%{http_code}'], '/a.txt', '431'],
    [['-z', '2099-01-01'], '/a.txt', /^(abcdef)?$/],
    [['--http2'], '/a.txt', 'abcdef'],
    [['--haproxy-protocol', '-o', '/dev/null', '-w', '%{http_code}'], '/a.txt', '400'],
  ];

  const titled = mixes.map((mix) => [JSON.stringify(mix[0]).slice(0, 80), ...mix] as const);

  itWithCurl.each(titled)('with %s', async (_title, options, path, output) => {
    const found = await curl(...options, url(path));
    if (typeof output === 'string') expect(found).toBe(output);
    else expect(found).toMatch(output);
  });

  itWithCurl('uses one connection for several requests', async () => {
    const found = await curl('-v', url('/a.txt'), url('/folder/'), '-d', 'abc', url('/echo'));
    expect(found.match(/Connected to/g)).toHaveLength(1);
    const parallel = await curl('-Z', ...Array.from({ length: 20 }, () => url('/a.txt')));
    expect(parallel).toContain('abcdef'.repeat(20));
  });

  itWithCurl('gets a large file whole, and in parts', async () => {
    const file = temporaryPath('got');
    await curl('-o', file, url('/big.bin'));
    expect(readFileSync(file).equals(BIG)).toBe(true);
    await curl('-o', file, '--range', '1000000-1999999', url('/big.bin'));
    expect(readFileSync(file).equals(BIG.subarray(1_000_000, 2_000_000))).toBe(true);
    await curl('-o', file, '--limit-rate', '2M', '--range', '0-2000000', url('/big.bin'));
    expect(readFileSync(file).equals(BIG.subarray(0, 2_000_001))).toBe(true);
  });

  itWithCurl('sends a large body, counted or chunked', async () => {
    await limit({ maxBody: 4_000_000 });
    const [file, sent] = [temporaryPath('got'), join(root, 'big.bin')];
    await curl('-o', file, '-T', sent, url('/echo'));
    expect(readFileSync(file).equals(BIG)).toBe(true);
    await curl(
      '-o',
      file,
      '-H',
      'Transfer-Encoding: chunked',
      '--data-binary',
      `@${sent}`,
      url('/echo'),
    );
    expect(readFileSync(file).equals(BIG)).toBe(true);
  });

  itWithCurl('is told that a body is too large', async () => {
    const sent = join(root, 'big.bin');
    const code = ['-o', '/dev/null', '-w', '%{http_code}'];
    expect(await curl(...code, '-T', sent, url('/echo'))).toBe('413');
    const chunked = [
      '-H',
      'Transfer-Encoding: chunked',
      '-H',
      'Expect:',
      '--data-binary',
      `@${sent}`,
    ];
    expect(await curl(...code, ...chunked, url('/echo'))).toBe('413');
  });
});

describe('Load generators (skipped where there are none)', () => {
  async function output(command: string, ...args: string[]): Promise<string> {
    const program = new Program(command, [...args, `http://127.0.0.1:${port}/a.txt`]);
    expect([await program.ended(), program.output]).toEqual([0, expect.anything()]);
    return program.output;
  }

  const itWithAb = itWith('ab');
  itWithAb.each([[['-k']], [[]], [['-k', '-i']], [['-k', '-H', 'Accept-Encoding: gzip']]])(
    'ab %j',
    async (options) => {
      const found = await output('ab', '-q', '-n', '300', '-c', '10', ...options);
      expect(found).toMatch(/Complete requests: +300\nFailed requests: +0\n/);
      if (options.includes('-k')) expect(found).toMatch(/Keep-Alive requests: +300\n/);
    },
  );

  itWith('h2load').each(['1', '16'])('h2load --h1 -m %s', async (pipelined) => {
    const found = await output('h2load', '--h1', '-n', '500', '-c', '10', '-m', pipelined);
    expect(found).toContain('500 succeeded, 0 failed, 0 errored, 0 timeout');
    expect(found).toContain('status codes: 500 2xx');
  });
});

describe('Node’s own clients', () => {
  const url = (path: string): string => `http://127.0.0.1:${port}${path}`;

  it('fetch', async () => {
    const page = await fetch(url('/page.html'));
    expect(page.headers.get('content-encoding')).toBe('gzip');
    expect(await page.text()).toBe(PAGE);
    const posted = await fetch(url('/echo'), { method: 'POST', body: 'grüße' });
    expect(await posted.text()).toBe('grüße');
    const big = await fetch(url('/big.bin'));
    expect(Buffer.from(await big.arrayBuffer()).equals(BIG)).toBe(true);
    const moved = await fetch(url('/folder'));
    expect([moved.redirected, await moved.text()]).toEqual([true, '<h1>']);
    const missing = await fetch(url('/none'));
    expect([missing.status, await missing.text()]).toEqual([404, 'There is no such file\n']);
  });

  it('fetch, with a body that is a stream', async () => {
    const pieces = ['abc', 'x'.repeat(100_000), 'def'];
    const body = new ReadableStream({
      pull(controller) {
        const piece = pieces.shift();
        if (piece === undefined) controller.close();
        else controller.enqueue(new TextEncoder().encode(piece));
      },
    });
    const init = { method: 'POST', body, duplex: 'half' } as RequestInit;
    const response = await fetch(url('/echo'), init);
    expect(response.headers.get('transfer-encoding')).toBe('chunked');
    expect(await response.text()).toBe(`abc${'x'.repeat(100_000)}def`);
  });

  it('http.request, many at once over few connections', async () => {
    const agent = new Agent({ keepAlive: true, maxSockets: 4 });
    const ask = (at: number): Promise<string> =>
      new Promise((resolve, reject) => {
        const options = { port, agent, path: '/echo', method: 'POST' };
        const request = requestOf(options, (response: IncomingMessage) => {
          text(response).then(resolve, reject);
        });
        request.on('error', reject);
        request.write(`${at}`);
        request.end(at % 2 === 0 ? '!' : undefined);
      });
    try {
      const answers = await Promise.all(Array.from({ length: 200 }, (_, at) => ask(at)));
      expect(answers).toEqual(
        Array.from({ length: 200 }, (_, at) => `${at}${at % 2 === 0 ? '!' : ''}`),
      );
      expect(map.size).toBeLessThanOrEqual(5);
    } finally {
      agent.destroy();
    }
  });

  it('http.request, with Expect', async () => {
    const answer = await new Promise<string>((resolve, reject) => {
      const headers = { Expect: '100-continue', 'Content-Length': 3 };
      const request = requestOf({ port, path: '/echo', method: 'PUT', headers }, (response) => {
        text(response).then(resolve, reject);
      });
      request.on('continue', () => request.end('abc'));
      request.on('error', reject);
      request.flushHeaders();
    });
    expect(answer).toBe('abc');
  });
});

describe('npm run example http-server', () => {
  it('serves a folder', async () => {
    const args = ['--port', '0', '--root', root, '--max-body', '3'];
    const program = runTypeScript('docs/examples/http-server.ts', args);
    try {
      const [, own] = await program.printed(/^http-server: listening on 127\.0\.0\.1:(\d+)\n$/);
      const base = `http://127.0.0.1:${own}`;
      expect(await (await fetch(`${base}/a.txt`)).text()).toBe('abcdef');
      expect((await fetch(`${base}/echo`, { method: 'POST', body: 'abcd' })).status).toBe(413);
    } finally {
      await program.kill();
    }
  });

  it('has limits of its own', async () => {
    const args = ['--port', '0', '--root', root, '--request-timeout', '0'];
    const program = runTypeScript('docs/examples/http-server.ts', [
      ...args,
      ...['--max-connections-per-address', '1'],
    ]);
    try {
      const [, own] = await program.printed(/^http-server: listening on 127\.0\.0\.1:(\d+)\n/);
      const [one, two] = [new Client(Number(own)), new Client(Number(own))];
      clients.push(one, two);
      one.send(`${POST}Content-Length: 3\r\n\r\na`);
      expect(await two.ends()).toBe('');
      expect(await one.ends()).toMatch(/^HTTP\/1\.1 408 /);
    } finally {
      await program.kill();
    }
  });

  it('says that there is no such folder', async () => {
    const program = runTypeScript('docs/examples/http-server.ts', [
      '--root',
      '/none',
      '--port',
      '0',
    ]);
    expect(await program.ended()).toBe(1);
    expect(program.output).toMatch(/^http-server: .*ENOENT/);
  });
});
