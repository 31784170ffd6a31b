// The examples: `npm start` with clients that we did not write, and each server by itself.

import { ChannelMap, closeAll, type Dispatcher, loop, shutdown } from 'asyncore';
import { echoServer } from '../../docs/examples/echo-server';
import { httpServer } from '../../docs/examples/http-request-handler';
import { parseDate } from '../../docs/examples/support/http-date';
import { Client, Program, runTypeScript, until } from '../support/program';
import { itWith } from '../support/skips';

const LOCAL = { host: '127.0.0.1', port: 0 };

describe('npm start', () => {
  let demo: Program;
  let ports: number[];

  beforeAll(async () => {
    demo = new Program('npm', ['start', '--', '--port', '0']);
    const [, http, echo, chat] = await demo.printed(
      /http:\/\/127\.0\.0\.1:(\d+)\/[\s\S]*127\.0\.0\.1 (\d+)[\s\S]*127\.0\.0\.1 (\d+)/,
    );
    ports = [http, echo, chat].map(Number);
  });

  afterAll(() => demo.kill());

  itWith('curl')('answers curl (skipped where there is no curl)', async () => {
    const curl = new Program('curl', ['-s', '-d', 'a=1', `http://127.0.0.1:${ports[0]}/form`]);
    expect(await curl.ended()).toBe(0);
    expect(curl.output).toBe('POST /form\n3 bytes: a=1\nrequest 1\n');
  });

  itWith('nc')('lets two nc clients chat (skipped where there is no nc)', async () => {
    const clients = ['ann', 'bob'].map(() => new Program('nc', ['127.0.0.1', String(ports[2])]));
    const [ann, bob] = clients as [Program, Program];
    ann.child.stdin.write('ann\n');
    await ann.printed(/Hello, ann/);
    bob.child.stdin.write('bob\n');
    await ann.printed(/\* bob has joined/);
    ann.child.stdin.write('good morning\n');
    await bob.printed(/ann: good morning/);
    await Promise.all(clients.map((client) => client.kill()));
  });

  describe('on Ctrl-C', () => {
    let own: Program;
    let at: { http: number; echo: number; chat: number };

    beforeEach(async () => {
      own = runTypeScript('docs/examples/demo.ts', ['--port', '0']);
      const [, ...found] = await own.printed(
        /http:\/\/127\.0\.0\.1:(\d+)\/[\s\S]*127\.0\.0\.1 (\d+)[\s\S]*127\.0\.0\.1 (\d+)/,
      );
      const [http = 0, echo = 0, chat = 0] = found.map(Number);
      at = { http, echo, chat };
    });

    afterEach(() => own.kill());

    /** A client that has been answered and leaves its stream open, for whose end the server waits. */
    async function servedByHttp(): Promise<Client> {
      const one = client(at.http);
      one.socket.removeAllListeners('end');
      await one.send('GET / HTTP/1.0\r\n\r\n').hears('request 1\n');
      return one;
    }

    it('tells the users of the chat, and counts the channels that it closes', async () => {
      const echo = client(at.echo).send('hello');
      await echo.hears('hello');
      const [ann, bob, unnamed] = [client(at.chat), client(at.chat), client(at.chat)];
      ann.send('ann\n');
      await ann.hears('* you are in lobby\r\n');
      bob.send('bob\n');
      await ann.hears('* bob has joined\r\n');
      await unnamed.hears('Welcome');
      own.child.kill('SIGINT');
      for (const one of [ann, bob, unnamed]) {
        expect(await one.ends()).toMatch(/\r\nThe server is going down\. Goodbye\.\r\n$/);
        expect(one.received).not.toContain('has left');
      }
      await echo.ends();
      expect(await own.ended()).toBe(0);
      expect(own.output).toMatch(/\nClosed 3 listeners and 4 connections\.\n$/);
    });

    it('ends in order when npm passes the signal on to a program that has had it', async () => {
      const one = await servedByHttp();
      own.child.kill('SIGINT');
      await new Promise((resolve) => setTimeout(resolve, 30));
      own.child.kill('SIGINT');
      one.socket.end();
      expect(await own.ended()).toBe(0);
      expect(own.output).toMatch(/\nClosed 3 listeners and 1 connection\.\n$/);
    });

    it('ends at once on a second one', async () => {
      await servedByHttp();
      own.child.kill('SIGINT');
      await new Promise((resolve) => setTimeout(resolve, 300));
      own.child.kill('SIGINT');
      expect(await own.ended()).toBe(130);
      expect(own.output).toMatch(/\nClosed 3 listeners and 1 connection; 1 cut off\.\n$/);
    });
  });

  it.each([
    [['--port', '65534'], '--port takes a number from 0 to 65533: 65534'],
    [['--prot', '1'], "Unknown option '--prot'"],
    [['--host='], '--host takes ADDRESS: '],
  ])('refuses %j', async (args, message) => {
    const own = runTypeScript('docs/examples/demo.ts', args);
    expect(await own.ended()).toBe(2);
    expect(own.output).toContain(message);
    expect(own.output).toContain('Usage: npm start -- [options]\n');
  });
});

/** A server on a map of its own, run until the test is over. */
function serve(make: (map: ChannelMap) => Dispatcher): { map: ChannelMap; port: number } {
  const map = new ChannelMap();
  const address = make(map).address() as { port: number };
  running.push({ map, done: loop({ map }) });
  return { map, port: address.port };
}

const running: { map: ChannelMap; done: Promise<void> }[] = [];
const clients: Client[] = [];

function client(port: number): Client {
  const made = new Client(port);
  clients.push(made);
  return made;
}

afterEach(async () => {
  for (const one of clients.splice(0)) one.socket.destroy();
  for (const { map, done } of running.splice(0)) {
    closeAll(map);
    await done;
  }
});

describe('HttpRequestHandler', () => {
  /** The `Date` is "now". */
  const answer = (status: string, body: string): string =>
    `HTTP/1.0 ${status}\r\nDate: now\r\nContent-Type: text/plain; charset=utf-8\r\n` +
    `Content-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`;

  /** What a client hears until the end. */
  const heard = async (one: Client): Promise<string> => {
    const [, date = ''] = /\r\nDate: (.*)\r\n/.exec(await one.ends()) ?? [];
    expect(Math.abs(parseDate(date) - Date.now())).toBeLessThan(60_000);
    return one.received.replace(date, 'now');
  };

  const HEAD = 'POST / HTTP/1.1\r\nHost: x\r\n';

  it.each([
    ['a GET', 'GET /a?b HTTP/1.0\r\n\r\n', '200 OK', 'GET /a?b\n0 bytes: \nrequest 1\n'],
    [
      'a POST',
      `${HEAD}Content-Length: 3\r\n\r\na=1`,
      '200 OK',
      'POST /\n3 bytes: a=1\nrequest 1\n',
    ],
    [
      'a POST without a byte',
      `${HEAD}Content-Length: 0\r\n\r\n`,
      '200 OK',
      'POST /\n0 bytes: \nrequest 1\n',
    ],
    [
      'what is over-sent',
      `${HEAD}Content-Length: 1\r\n\r\na and more`,
      '200 OK',
      'POST /\n1 bytes: a\nrequest 1\n',
    ],
    ['a line that is no request', 'HELLO\r\n\r\n', '400 Bad Request', '400 Bad Request\n'],
    ['no line at all', '\r\n\r\n', '400 Bad Request', '400 Bad Request\n'],
    [
      'a header without a colon',
      'GET / HTTP/1.1\r\nHost\r\n\r\n',
      '400 Bad Request',
      '400 Bad Request\n',
    ],
    [
      'a header with a bare return',
      'GET / HTTP/1.1\r\na: b\rc\r\n\r\n',
      '400 Bad Request',
      '400 Bad Request\n',
    ],
    [
      'a length that is no number',
      `${HEAD}Content-Length: 1x\r\n\r\n`,
      '400 Bad Request',
      '400 Bad Request\n',
    ],
    [
      'a negative length',
      `${HEAD}Content-Length: -1\r\n\r\n`,
      '400 Bad Request',
      '400 Bad Request\n',
    ],
    [
      'two lengths',
      `${HEAD}Content-Length: 1\r\nContent-Length: 2\r\n\r\na`,
      '400 Bad Request',
      '400 Bad Request\n',
    ],
    ['a POST without a length', `${HEAD}\r\n`, '411 Length Required', '411 Length Required\n'],
    [
      'a body too large',
      `${HEAD}Content-Length: 1048577\r\n\r\n`,
      '413 Content Too Large',
      '413 Content Too Large\n',
    ],
    [
      'a chunked body',
      `${HEAD}Transfer-Encoding: chunked\r\n\r\n`,
      '501 Not Implemented',
      '501 Not Implemented\n',
    ],
    ['another method', 'DELETE / HTTP/1.1\r\n\r\n', '501 Not Implemented', '501 Not Implemented\n'],
  ])('answers %s', async (_what, request, status, body) => {
    const { port } = serve((map) => httpServer(LOCAL, map));
    expect(await heard(client(port).send(request))).toBe(answer(status, body));
  });

  it('answers a request that comes byte by byte', async () => {
    const { port } = serve((map) => httpServer(LOCAL, map));
    const one = client(port);
    one.socket.setNoDelay(true);
    for (const byte of `${HEAD}Content-Length: 3\r\n\r\na=1`) {
      one.send(byte);
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(await heard(one)).toBe(answer('200 OK', 'POST /\n3 bytes: a=1\nrequest 1\n'));
  });

  it('refuses headers over 64 KiB before it has seen their end', async () => {
    const { port } = serve((map) => httpServer(LOCAL, map));
    const one = client(port).send(`GET / HTTP/1.1\r\nA: ${'a'.repeat(65536)}`);
    await one.hears('HTTP/1.0 431 Request Header Fields Too Large\r\n');
  });

  it('asks for the body of a client that waits to be asked', async () => {
    const { port } = serve((map) => httpServer(LOCAL, map));
    const one = client(port).send(`${HEAD}Content-Length: 3\r\nExpect: 100-continue\r\n\r\n`);
    await one.hears('HTTP/1.1 100 Continue\r\n\r\n');
    expect(await one.send('a=1').ends()).toContain('3 bytes: a=1');
  });
});

describe('The echo server', () => {
  it('returns everything to a client that ends its stream at once', async () => {
    const { port } = serve((map) => echoServer(LOCAL, map));
    const data = 'x'.repeat(3_000_000);
    const one = client(port);
    one.socket.end(data, 'latin1');
    expect((await one.ends()).length).toBe(data.length);
  });

  it('sends back what it has received when it is stopped', async () => {
    const { port, map } = serve((own) => echoServer(LOCAL, own));
    const one = client(port);
    one.socket.pause();
    one.socket.write(Buffer.alloc(16 * 1024 * 1024, 'x'));
    // It has taken a piece that it cannot send.
    const held = () =>
      [...map.values()].some((channel) => channel.writable() && !channel.accepting);
    await until(held);
    const stopped = shutdown(map, { deadline: 10_000 });
    one.socket.resume();
    expect(await stopped).toBe(0);
    expect(map.size).toBe(0);
  });

  it('does not listen to a client that does not take its echo', async () => {
    const { port, map } = serve((own) => echoServer(LOCAL, own));
    const one = client(port);
    one.socket.pause();
    let taken = false;
    one.socket.write(Buffer.alloc(16 * 1024 * 1024, 1), () => {
      taken = true;
    });
    // The kernel's buffers fill, and then nothing moves: another client is served all the same.
    const other = client(port).send('hello');
    await other.hears('hello');
    expect(taken).toBe(false);
    expect(map.size).toBe(3);
    one.socket.resume();
    one.socket.end();
    await one.ends();
    expect(one.received.length).toBe(16 * 1024 * 1024);
  });
});
