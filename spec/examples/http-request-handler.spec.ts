// docs/examples/http-request-handler.ts: the values of its headers, and how it ends a connection. That it serves is found in
// programs.spec.ts and examples.spec.ts, and that it survives anything in parsers.spec.ts.

import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import {
  ChannelMap,
  closeAll,
  type InternetAddress,
  loop,
  ManualClock,
  poll,
  SO_SNDBUF,
  SOL_SOCKET,
} from 'asyncore';
import { HttpRequestHandler, httpServer } from '../../docs/examples/http-request-handler';
import { Client, until } from '../support/program';

let clock: ManualClock;
let map: ChannelMap;
let running: Promise<void>;
let port: number;
let one: Client;

/** A client of a new server. */
function serve(): Client {
  const server = httpServer({ host: '127.0.0.1', port: 0 }, map);
  port = (server.address() as InternetAddress).port;
  return new Client(port);
}

/** So much later the server does what is due. */
function later(milliseconds: number): void {
  clock.advance(milliseconds);
  poll(0, map);
}

function connection(): HttpRequestHandler | undefined {
  return [...map.values()].find((channel) => channel instanceof HttpRequestHandler);
}

/** Sends a request, and does not read the response yet. */
function ask(body: string): void {
  one.socket.pause();
  one.send(`POST / HTTP/1.0\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
}

beforeEach(() => {
  clock = new ManualClock();
  map = new ChannelMap([], { clock });
  one = serve();
  running = loop({ map });
});

afterEach(async () => {
  one.socket.destroy();
  closeAll(map);
  await running;
});

describe('HttpRequestHandler', () => {
  it.each([
    ['none', 'Content-Length:3'],
    ['spaces and tabs', 'Content-Length: \t 3 \t '],
  ])('takes %s around the value of a header', async (_what, header) => {
    one.send(`POST /here HTTP/1.0\r\n${header}\r\n\r\nabc`);
    expect(await one.ends()).toMatch(
      /^HTTP\/1\.0 200 OK\r\n[\s\S]*\r\n\r\nPOST \/here\n3 bytes: abc\nrequest 1\n$/,
    );
  });

  it.each([
    ['a no-break space', 'Content-Length: 3\xa0'],
    ['a zero byte', 'Content-Length: 3\0'],
    ['a bare LF', 'Content-Length: 3\nX: 1'],
  ])('refuses %s in it', async (_what, header) => {
    one.send(`POST /here HTTP/1.0\r\n${header}\r\n\r\nabc`);
    expect(await one.ends()).toMatch(/^HTTP\/1\.0 400 Bad Request\r\n/);
  });

  it.each([
    ['Host: x', 200],
    ['Host:', 400],
    ['Host: x\r\nHost: x', 400],
    ['X: y', 400],
    ['Host: x\r\nX: a\r\n b', 400],
  ])('answers HTTP/1.1 with %j: %d', async (headers, status) => {
    one.send(`\r\nGET /here HTTP/1.1\r\n${headers}\r\n\r\n`);
    expect(await one.ends()).toContain(`HTTP/1.0 ${status} `);
  });

  it('does not ask a client of HTTP/1.0 for a body', async () => {
    const head = 'POST /here HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n';
    expect(await one.send(`${head}abc`).ends()).toMatch(/^HTTP\/1\.0 200 OK\r\n/);
  });

  it('brings a large response to a client that goes on sending', async () => {
    const end = jest.spyOn(HttpRequestHandler.prototype, 'handleClose');
    try {
      ask('x'.repeat(300_000));
      // The kernel has all of the response, and the client has next to nothing.
      await until(() => end.mock.calls.length > 0);
      one.send('GET / HTTP/1.0\r\n\r\n');
      await until(() => one.socket.writableLength === 0);
      one.socket.resume();
      expect(await one.ends()).toMatch(/x\nrequest 1\n$/);
    } finally {
      end.mockRestore();
    }
  });

  it('brings a large response to a client that ends its stream', async () => {
    // Three bytes in the response for each: more than the kernel takes.
    ask('\xff'.repeat(1_000_000));
    one.socket.end();
    await until(() => connection()?.sessions.size === 1);
    await until(() => map.size === 1 || connection()?.inputEnded === true);
    one.socket.resume();
    expect(await one.ends()).toMatch(/\nrequest 1\n$/);
  });

  it('disconnects a client that has its response and stays', async () => {
    one.socket.destroy();
    const socket = connect({ host: '127.0.0.1', port, allowHalfOpen: true });
    try {
      socket.write('GET / HTTP/1.0\r\n\r\n');
      expect(await text(socket)).toMatch(/request 1\n$/);
      later(999);
      expect(map.size).toBe(2);
      later(1);
      expect(map.size).toBe(1);
    } finally {
      socket.destroy();
    }
  });

  it('closes the connection of a client that sends a request byte by byte', async () => {
    for (let seconds = 0; seconds < 60; seconds += 10) {
      one.send('x');
      await until(() => Number(connection()?.incoming.length) > seconds / 10);
      later(10_000);
    }
    expect(await one.ends()).toBe('');
  });

  it('closes the connection of a client that does not read its response in time', async () => {
    await until(() => connection() !== undefined);
    // So that the kernel does not take the whole response.
    connection()?.setSockOpt(SOL_SOCKET, SO_SNDBUF, 65536);
    ask('\xff'.repeat(1_000_000));
    await until(() => connection()?.sessions.size === 1);
    later(59_999);
    expect(connection()?.connected).toBe(true);
    later(1);
    expect(connection()).toBeUndefined();
  });

  it.each([
    ['in it', 200, `X: a${' '.repeat(60_000)}b`],
    ['before what it cannot have', 400, `X: ${' '.repeat(60_000)}\0`],
  ])(
    'takes blanks %s, in a time that does not grow with their square',
    async (_what, status, header) => {
      const before = performance.now();
      one.send(`GET /here HTTP/1.0\r\n${header}\r\n\r\n`);
      expect(await one.ends()).toContain(`HTTP/1.0 ${status} `);
      expect(performance.now() - before).toBeLessThan(1000);
    },
  );
});
