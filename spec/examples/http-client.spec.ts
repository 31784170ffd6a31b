// docs/examples/http-client.ts with a server that we did not write: Node's own; and with literal bytes.

import fs, { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, type RequestListener, type Server } from 'node:http';
import { type AddressInfo, createServer as createTcpServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { ChannelMap, closeAll, loop } from 'asyncore';
import { Fetcher, fetchUrl, type Outcome, type Response } from '../../docs/examples/http-client';
import { temporaryPath } from '../support/drive';
import { runTypeScript } from '../support/program';

const LARGE = Buffer.from(Array.from({ length: 1_000_000 }, (_, at) => (at * at * 7919) >> 7));

let open = 0;
let mostOpen = 0;

const respond: RequestListener = ({ url = '' }, response) => {
  const [, kind, detail, ...rest] = url.split(/[/?]/);
  switch (kind) {
    case 'text':
      response.end('hello');
      return;
    case 'chunks':
      response.write('abc');
      setTimeout(() => response.end('def'), 5);
      return;
    case 'large':
      response.end(LARGE);
      return;
    case 'status':
      response.writeHead(Number(detail)).end();
      return;
    case 'hint':
      response.writeEarlyHints({ link: '</style.css>; rel=preload' });
      response.end('late');
      return;
    case 'to':
      response.writeHead(302, { Location: `/${detail}` }).end('not this');
      return;
    case 'where':
      response.end(url);
      return;
    case 'via':
      response.writeHead(Number(detail), { Location: decodeURIComponent(rest.join('/')) }).end();
      return;
    case 'round':
      response.writeHead(307, { Location: url }).end();
      return;
    case 'away':
      response.writeHead(301, { Location: 'https://127.0.0.1/' }).end();
      return;
    case 'slow':
      open += 1;
      mostOpen = Math.max(mostOpen, open);
      setTimeout(() => {
        open -= 1;
        response.end(detail);
      }, 20);
      return;
    default:
      response.writeHead(404).end('none');
  }
};

let server: Server;
let base: string;

let map: ChannelMap;

beforeEach(async () => {
  map = new ChannelMap();
  server = createServer(respond);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});

afterEach(async () => {
  closeAll(map);
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

async function get(url: string, timeout = 2000): Promise<{ status: number; body: string }> {
  let body = '';
  const results: (Response | string)[] = [];
  fetchUrl(url, {
    map,
    timeout,
    write: (data) => {
      body += data.toString('latin1');
    },
    end: (result) => results.push(result),
  });
  await loop({ map });
  expect(results).toHaveLength(1);
  const [result] = results as [Response | string];
  if (typeof result === 'string') throw new Error(result);
  return { status: result.status, body };
}

describe('fetchUrl', () => {
  it.each([
    ['/text', 200, 'hello'],
    ['/chunks', 200, 'abcdef'],
    ['/status/204', 204, ''],
    ['/status/304', 304, ''],
    ['/status/500', 500, ''],
    ['/nothing', 404, 'none'],
    ['/hint', 200, 'late'],
    ['/to/text', 200, 'hello'],
    ['/to/chunks', 200, 'abcdef'],
    ['/status/302', 302, ''], // to nowhere
  ])('fetches %s', async (path, status, body) => {
    expect(await get(base + path)).toEqual({ status, body });
  });

  it.each([
    ['303', '/where/a', '/where/a'],
    ['307', '../../where?b', '/where?b'],
    ['308', 'http://HOST/where', '/where'],
    ['301', '//HOST/where', '/where'],
    ['302', '/where#fragment', '/where'],
    // Encoded once: the bytes of UTF-8, whatever else there is, and what is encoded already.
    ['301', '/where/\u00c3\u00a9 \u00e9?\u00c3\u00a9', '/where/%c3%a9%20%e9?%c3%a9'],
    ['301', '/where/%C3%A9', '/where/%C3%A9'],
  ])('follows a %s to %s', async (status, location, found) => {
    const target = encodeURIComponent(location.replace('HOST', base.slice('http://'.length)));
    expect(await get(`${base}/via/${status}/${target}`)).toEqual({ status: 200, body: found });
  });

  it('fetches what is large', async () => {
    const { body } = await get(`${base}/large`);
    expect(Buffer.from(body, 'latin1').equals(LARGE)).toBe(true);
  });

  it('finds a server by its name', async () => {
    expect(await get(`${base.replace('127.0.0.1', 'localhost')}/text`)).toEqual({
      status: 200,
      body: 'hello',
    });
  });

  it.each([
    ['/round', 'There are too many redirects'],
    ['/away', 'There is no https: here'],
  ])('does not follow %s', async (path, message) => {
    await expect(get(base + path)).rejects.toThrow(message);
  });

  it.each([
    ['ftp://127.0.0.1/', 'There is no ftp: here'],
    ['nonsense', 'Invalid URL'],
    ['http://127.0.0.1:1/', 'ECONNREFUSED'],
    ['http://nobody.invalid/', 'ENOTFOUND'],
  ])('cannot fetch %s', async (url, message) => {
    await expect(get(url)).rejects.toThrow(message);
  });
});

describe('A server with its own ideas', () => {
  const sockets = new Set<Socket>();

  /**
   * What a response of these bytes, and the end of the stream if that is told, is taken for.
   * @param drip sent again and again, until the client disconnects
   */
  async function given(bytes: string, ends = true, timeout = 2000, drip = ''): Promise<unknown> {
    const own = createTcpServer((socket) => {
      sockets.add(socket);
      socket.on('error', () => {});
      socket.write(bytes, 'latin1');
      if (ends) socket.end();
      if (drip === '') return;
      const timer = setInterval(() => socket.write(drip), 10);
      socket.on('close', () => clearInterval(timer));
    });
    await new Promise<void>((resolve) => own.listen(0, '127.0.0.1', resolve));
    const { port } = own.address() as AddressInfo;
    try {
      return await get(`http://127.0.0.1:${port}/`, timeout).catch((error) => error.message);
    } finally {
      for (const socket of sockets) socket.destroy();
      sockets.clear();
      own.close();
    }
  }

  const OK = 'HTTP/1.1 200 OK\r\n';
  const INTERIM = 'HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n';
  const CLOSED = 'The server closed the connection too early';

  it.each<[string, string, unknown]>([
    ['a body up to the end', `${OK}\r\nabc`, { status: 200, body: 'abc' }],
    [
      'a body that ends like a terminator',
      `${OK}\r\nabc\r\n\r\n`,
      { status: 200, body: 'abc\r\n\r\n' },
    ],
    ['HTTP/1.0', 'HTTP/1.0 200 OK\r\n\r\nabc', { status: 200, body: 'abc' }],
    ['no reason', 'HTTP/1.1 404\r\nContent-Length: 0\r\n\r\n', { status: 404, body: '' }],
    ['more than there is to be', `${OK}Content-Length: 2\r\n\r\nabc`, { status: 200, body: 'ab' }],
    ['nothing', '', CLOSED],
    ['half a head', OK, CLOSED],
    ['half a body', `${OK}Content-Length: 4\r\n\r\nabc`, CLOSED],
    ['half a chunk', `${OK}Transfer-Encoding: chunked\r\n\r\n4\r\nabc`, CLOSED],
    ['chunks without an end', `${OK}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n`, CLOSED],
    [
      'a chunk that is none',
      `${OK}Transfer-Encoding: chunked\r\n\r\nx\r\n`,
      'There is a chunk that is none',
    ],
    ['another protocol', 'SSH-2.0-OpenSSH\r\n\r\n', 'This is no response'],
    ['another protocol, later', 'HTTP/1.1 101 Switching Protocols\r\n\r\n', 'This is no response'],
    ['a status that is none', 'HTTP/1.1 000 Zero\r\n\r\n', 'This is no response'],
    ['headers without end', `${OK}X: ${'x'.repeat(70_000)}`, 'The headers are too large'],
    [
      'folded headers',
      `${OK}X: a\r\n b\r\nContent-Length:\r\n \t2\r\n\t\r\n\r\nabc`,
      { status: 200, body: 'ab' },
    ],
    [
      'folded trailers',
      `${OK}Transfer-Encoding:\r\n chunked\r\n\r\n1\r\na\r\n0\r\nX: y\r\n z\r\n\r\n`,
      { status: 200, body: 'a' },
    ],
    ...[` X: a\r\n\r\n`, `X: a\r\n b\0\r\n\r\n`, `X\r\n : a\r\n\r\n`].map(
      (headers): [string, string, unknown] => [
        `the headers ${JSON.stringify(headers)}`,
        OK + headers,
        'There is a line that is no header',
      ],
    ),
    [
      'a first line without end',
      `HTTP/1.1 200 ${'x'.repeat(70_000)}`,
      'The first line is too long',
    ],
    [
      'interim responses, and then the response',
      `${INTERIM.repeat(100)}${OK}Content-Length: 2\r\n\r\nab`,
      { status: 200, body: 'ab' },
    ],
    ['interim responses without end', INTERIM.repeat(101), 'There are too many interim responses'],
    [
      'two lengths',
      `${OK}Content-Length: 1\r\nContent-Length: 2\r\n\r\nab`,
      'The Content-Length is not a number',
    ],
  ])('sends %s', async (_what, bytes, expected) => {
    expect(await given(bytes)).toEqual(expected);
  });

  it('breaks the connection where its end would be that of the body', async () => {
    let body = '';
    const results: (Response | string)[] = [];
    const own = createTcpServer((socket) => {
      sockets.add(socket);
      socket.write(`${OK}\r\nhalf of the bo`);
    });
    await new Promise<void>((resolve) => own.listen(0, '127.0.0.1', resolve));
    try {
      fetchUrl(`http://127.0.0.1:${(own.address() as AddressInfo).port}/`, {
        map,
        timeout: 2000,
        write: (data) => {
          body += data.toString('latin1');
          for (const socket of sockets) socket.resetAndDestroy();
        },
        end: (result) => results.push(result),
      });
      await loop({ map });
      expect([body, results]).toEqual(['half of the bo', [CLOSED]]);
    } finally {
      sockets.clear();
      own.close();
    }
  });

  it('ends its lines with LF alone, and waits', async () => {
    expect(await given('HTTP/1.1 200 OK\nContent-Length: 2\n\nok', false)).toBe(
      'There is a line that ends with LF alone',
    );
  });

  it('says nothing, or nothing more', async () => {
    expect(await given('', false, 50)).toBe('Nothing came for 50 ms');
    expect(await given(`${OK}\r\nabc`, false, 50)).toBe('Nothing came for 50 ms');
  });

  it.each([
    ['interim responses', '', 'HTTP/1.1 102 Processing\r\n\r\n'],
    ['headers', OK, 'X: a\r\n'],
    ['a header', `${OK}X: `, 'a'],
    ['the size of a chunk', `${OK}Transfer-Encoding: chunked\r\n\r\n1;`, 'a'],
    ['trailers', `${OK}Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n`, 'X: a\r\n'],
  ])('goes on sending %s, which does not extend the timeout', async (_what, start, drip) => {
    expect(await given(start, false, 300, drip)).toBe('Nothing came for 300 ms');
  });

  it('sends a body slowly, which is no reason to stop', async () => {
    const head = `${OK}Content-Length: 60\r\n\r\n`;
    expect(await given(head, false, 300, 'a')).toEqual({ status: 200, body: 'a'.repeat(60) });
  });

  it('sends a redirect whose body has no end', async () => {
    const redirect = 'HTTP/1.1 302 Found\r\nLocation: //127.0.0.1:1/\r\n\r\n';
    expect(await given(redirect, false, 0, 'a')).toContain('ECONNREFUSED');
  });

  it('does not close after a response', async () => {
    expect(await given(`${OK}Content-Length: 3\r\n\r\nabc`, false)).toEqual({
      status: 200,
      body: 'abc',
    });
  });
});

describe('Fetcher', () => {
  async function all(urls: string[], parallel: number, folder = ''): Promise<Outcome[]> {
    const outcomes: Outcome[] = [];
    const tell = (outcome: Outcome): void => {
      outcomes.push(outcome);
    };
    const fetcher = new Fetcher(urls, { map, parallel, folder, tell });
    await loop({ map });
    expect([fetcher.done, outcomes.length]).toEqual([urls.length, urls.length]);
    return outcomes;
  }

  it.each([
    [1, 1],
    [7, 7],
    [0, 40],
  ])('with --parallel %d fetches %d at a time', async (parallel, most) => {
    mostOpen = 0;
    const urls = Array.from({ length: 40 }, (_, at) => `${base}/slow/${at}`);
    const outcomes: Outcome[] = [];
    const options = { map, parallel, folder: '', tell: (one: Outcome) => outcomes.push(one) };
    new Fetcher(urls, options);
    expect(map.size).toBe(most);
    await loop({ map });
    expect(mostOpen).toBeLessThanOrEqual(most);
    expect(outcomes.map(({ url }) => url).sort()).toEqual(urls.sort());
    expect(outcomes.every(({ result }) => result === 200)).toBe(true);
  });

  it('keeps the bodies, each where it belongs', async () => {
    const folder = temporaryPath('bodies');
    mkdirSync(folder);
    await all([`${base}/slow/first`, `${base}/to/text`, `${base}/large`], 0, folder);
    const body = (name: string): Buffer => readFileSync(join(folder, name));
    expect([String(body('1')), String(body('2'))]).toEqual(['first', 'hello']);
    expect(body('3').equals(LARGE)).toBe(true);
    expect(existsSync(join(folder, '4'))).toBe(false);
  });

  it('keeps all of a body where the system takes a part at a time', async () => {
    const folder = temporaryPath('bodies');
    mkdirSync(folder);
    const write = fs.writeSync as (fd: number, data: Buffer, at: number, most: number) => number;
    const aPart = (fd: number, data: Buffer, at = 0, most = data.length - at): number =>
      write(fd, data, at, Math.min(most, 1000));
    const short = jest.spyOn(fs, 'writeSync').mockImplementation(aPart as typeof fs.writeSync);
    try {
      await all([`${base}/large`], 0, folder);
    } finally {
      short.mockRestore();
    }
    expect(readFileSync(join(folder, '1')).equals(LARGE)).toBe(true);
  });

  it('tells of a body that it cannot keep, and goes on', async () => {
    const folder = temporaryPath('bodies');
    mkdirSync(join(folder, '1'), { recursive: true });
    const outcomes = await all([`${base}/text`, `${base}/text`], 1, folder);
    expect(outcomes.map(({ result }) => result)).toEqual([expect.stringMatching(/^EISDIR: /), 200]);
    expect(String(readFileSync(join(folder, '2')))).toBe('hello');
  });

  it('leaves a file as it was when no body comes for it, and empties it for an empty body', async () => {
    const folder = temporaryPath('bodies');
    mkdirSync(folder);
    const names = ['1', '2', '3', '4'].map((name) => join(folder, name));
    for (const name of names.slice(1)) writeFileSync(name, 'kept');
    const none = 'http://127.0.0.1:1/';
    await all([none, none, `${base}/away`, `${base}/status/200`], 0, folder);
    expect(existsSync(names[0] as string)).toBe(false);
    expect(names.slice(1).map((name) => readFileSync(name, 'latin1'))).toEqual([
      'kept',
      'kept',
      '',
    ]);
  });

  it('tells of an empty body that it cannot keep', async () => {
    const folder = temporaryPath('bodies');
    mkdirSync(join(folder, '1'), { recursive: true });
    const [outcome] = await all([`${base}/status/200`], 1, folder);
    expect(outcome?.result).toMatch(/^EISDIR: /);
  });

  it('goes on when some fail', async () => {
    const outcomes = await all(['nonsense', `${base}/text`, 'http://127.0.0.1:1/'], 1);
    expect(outcomes.map(({ result }) => typeof result)).toEqual(['string', 'number', 'string']);
  });

  it('does not mind how many cannot even begin', async () => {
    const urls = Array.from({ length: 20_000 }, () => 'nonsense');
    await all([...urls, `${base}/text`], 1);
  });

  it('is a bar', async () => {
    const urls = ['a', 'b', `${base}/large`, `${base}/large`];
    const fetcher = new Fetcher(urls, { map, parallel: 0, folder: '', tell: () => {} });
    const half = `[${'#'.repeat(15)}${' '.repeat(15)}] 2 of 4, 0.0 MB, 0.0 MB/s`;
    expect(String(fetcher)).toBe(half);
    await loop({ map });
    expect(String(fetcher)).toMatch(/^\[#{30}\] 4 of 4, 2\.0 MB, \d+\.\d MB\/s$/);
  });
});

describe('npm run example http-client', () => {
  const EXAMPLE = 'docs/examples/http-client.ts';

  it('tells of each URL, and fails if one does', async () => {
    const good = runTypeScript(EXAMPLE, [`${base}/text`, `${base}/to/chunks`]);
    expect(await good.ended()).toBe(0);
    expect(good.output).toMatch(/^200 {2}http:\S+\/text {2}5 bytes, \d+ ms\n/m);
    expect(good.output).toMatch(/^200 {2}http:\S+\/to\/chunks {2}6 bytes, \d+ ms\n/m);
    expect(good.output).not.toContain('\r');
    const bad = runTypeScript(EXAMPLE, ['--parallel', '1', `${base}/none`, 'https://x/']);
    expect(await bad.ended()).toBe(1);
    expect(bad.output).toMatch(/^404 .*\n--- {2}https:\/\/x\/ {2}There is no https: here\n$/);
  });

  it('says that there is no such folder, of each URL', async () => {
    const urls = [`${base}/text`, `${base}/large`];
    const program = runTypeScript(EXAMPLE, ['--output', '/none/here', ...urls]);
    expect(await program.ended()).toBe(1);
    expect(program.output).toMatch(
      /^--- {2}\S+\/text {2}ENOENT: .*\n--- {2}\S+\/large {2}ENOENT: .*\n$/,
    );
  });

  it('wants a URL', async () => {
    const program = runTypeScript(EXAMPLE, []);
    expect(await program.ended()).toBe(2);
    expect(program.output).toMatch(/^http-client: URL\.\.\. is missing\n/);
    expect(program.output).toContain('\nUsage: npm run example http-client -- [options] URL...\n');
  });
});
