// The programs of docs/cookbook.md, as printed: run and talked to.

import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { cookbook, runListing, writeListings } from '../support/listings';
import { Client, type Program, ROOT, until } from '../support/program';

const PAGE = readFileSync(join(ROOT, 'docs', 'cookbook.md'), 'utf8');

const LISTINGS = cookbook();
const names = [...LISTINGS.keys()];
const folder = writeListings(LISTINGS);

const programs: Program[] = [];
const clients: Client[] = [];

afterEach(async () => {
  for (const client of clients.splice(0)) client.socket.destroy();
  await Promise.all(programs.splice(0).map((program) => program.kill()));
});

function run(name: string, env: NodeJS.ProcessEnv = {}): Program {
  const program = runListing(join(folder, name), env);
  programs.push(program);
  return program;
}

async function start(
  name: string,
  env: NodeJS.ProcessEnv = {},
): Promise<{ program: Program; port: number }> {
  const program = run(name, { PORT: '0', ...env });
  const [, port] = await program.printed(/listening on .* port: (\d+)/);
  return { program, port: Number(port) };
}

function call(port: number): Client {
  const client = new Client(port);
  clients.push(client);
  return client;
}

describe('docs/cookbook.md', () => {
  it('holds what is tested here, and links to it', () => {
    expect(names).toEqual([
      ...['listen.mts', 'lines.mts', 'frames.mts', 'udp.ts', 'sort.mts', 'count.mts'],
      ...['database.mts', 'ask.mts', 'limits.mts', 'shutdown.mts', 'embed.mts', 'frame-loop.mts'],
      ...['upgrade.mts', 'http-streams.mts', 'script.mts', 'double.test.mts'],
    ]);
    const headings = [...PAGE.matchAll(/^## (.*)$/gm)].map((match) => match[1] as string);
    const anchors = headings.map((heading) =>
      heading
        .toLowerCase()
        .replace(/[^\w -]/g, '')
        .replaceAll(' ', '-'),
    );
    const links = [...PAGE.matchAll(/^- \[(.*)\]\(#(.*)\)$/gm)];
    expect(links.map((link) => link[1])).toEqual(headings);
    expect(links.map((link) => link[2])).toEqual(anchors);
  });

  it('lines: answers each', async () => {
    const { port } = await start('lines.mts');
    const one = call(port).send('add 1 2\r\nadd 0.5 ');
    await one.hears('3\r\n');
    one.send('1\nhelp\nquit\nadd 1\n');
    expect(await one.ends()).toBe('3\r\n1.5\r\n500 add NUMBER..., or quit\r\nGoodbye.\r\n');
  });

  it('frames: finds them, empty ones and large ones too', async () => {
    const { program, port } = await start('frames.mts');
    const large = 'abc'.repeat(100_000);
    const frame = (text: string): string => {
      const header = Buffer.alloc(4);
      header.writeUInt32BE(text.length);
      return header.toString('latin1') + text;
    };
    const one = call(port).send(frame('') + frame('hello') + frame(large) + frame('x').slice(0, 2));
    const expected = frame('') + frame('olleh') + frame('cba'.repeat(100_000));
    await until(() => one.received.length === expected.length);
    one.send(frame('x').slice(2));
    await until(() => one.received.length === expected.length + 5);
    expect(one.received === `${expected}${frame('x')}`).toBe(true);
    await call(port).send('\xff\xff\xff\xff').ends();
    await program.printed(/RangeError:A frame of 4294967295 bytes/);
    one.send(frame('y'));
    await until(() => one.received.endsWith('y'));
  });

  it('udp: answers everybody, and to an empty datagram, too', async () => {
    const { port } = await start('udp.ts');
    const callers = [createSocket('udp4'), createSocket('udp4')];
    try {
      for (const text of ['hello', '', 'x'.repeat(2000)]) {
        for (const caller of callers) {
          const answer = once(caller, 'message');
          caller.send(text, port, '127.0.0.1');
          expect(String((await answer)[0])).toBe(text);
        }
      }
    } finally {
      for (const caller of callers) caller.close();
    }
  });

  it('sort: answers when the stream has ended', async () => {
    const { port } = await start('sort.mts');
    const one = call(port).send('b\nc\n');
    one.socket.end('a\n');
    expect(await one.ends()).toBe('a\nb\nc\n');
  });

  it('count: is bounded, however slow the reader', async () => {
    const { program, port } = await start('count.mts');
    const one = call(port).send('3\n');
    await one.hears('1\n2\n3\n');
    one.received = '';
    one.socket.pause();
    // All of it is far more than a process may use.
    one.send('1000000000000\n');
    await new Promise((resolve) => setTimeout(resolve, 300));
    const status = readFileSync(`/proc/${program.child.pid}/status`, 'utf8');
    const kilobytes = Number(/VmRSS:\s*(\d+) kB/.exec(status)?.[1]);
    expect(kilobytes).toBeLessThan(400_000);
    one.socket.resume();
    await one.hears('1\n2\n3\n');
  });

  it('database: answers in order, and others meanwhile', async () => {
    const { port } = await start('database.mts');
    const one = call(port).send('a\nlonger\ndrop it\nthe longest of all\n');
    const other = call(port).send('somebody else\n');
    await other.hears('SOMEBODY ELSE\n');
    expect(one.received).toBe('');
    await one.hears('LONGEST OF ALL\n');
    expect(one.received).toBe('A\nLONGER\nerror: not allowed\nTHE LONGEST OF ALL\n');
  });

  it('ask: has its promises kept, or broken', async () => {
    const { port } = await start('lines.mts');
    const program = run('ask.mts', { PORT: String(port) });
    expect(await program.ended()).toBe(0);
    expect(program.output).toBe('3 and 12\n15\nConnection closed\n');
  });

  it('limits: keeps them', async () => {
    const { port } = await start('limits.mts', { IDLE: '700' });
    const one = call(port).send(`${'x'.repeat(5000)}\nhello\n`);
    await one.hears(`500 That line is too long\n${'hello\n'.repeat(100)}`);
    // A client that takes no answers is not read from, and gets all of them when it reads again.
    const other = call(port);
    other.socket.pause();
    other.send(`${'y'.repeat(999)}\n`.repeat(40));
    await new Promise((resolve) => setTimeout(resolve, 100));
    other.socket.resume();
    await until(() => other.received.length >= 40 * 100 * 1000);
    expect(await one.ends()).toMatch(/hello\n421 Nothing has moved for too long\n$/);
    const crowd = Array.from({ length: 12 }, () => call(port));
    await Promise.all(crowd.map((client) => client.ends()));
    // Those beyond ten are turned away without a word.
    expect(crowd.filter((client) => client.received === '').length).toBeGreaterThanOrEqual(2);
    expect(crowd.some((client) => client.received.startsWith('421'))).toBe(true);
  });

  it('shutdown: has what waits sent', async () => {
    const { program, port } = await start('shutdown.mts');
    const one = call(port).send('8000000\n');
    one.socket.pause();
    await new Promise((resolve) => setTimeout(resolve, 200));
    program.child.kill('SIGTERM');
    await new Promise((resolve) => setTimeout(resolve, 200));
    one.socket.resume();
    const heard = await one.ends();
    expect(heard.length).toBe(8_000_000 + '\nThe server is going down.\n'.length);
    expect(await program.ended()).toBe(0);
    expect(program.output).toMatch(/stopped, 0 connections were cut off\n$/);
  });

  it('shutdown: cuts off who takes too long', async () => {
    const { program, port } = await start('shutdown.mts', { DEADLINE: '200' });
    const one = call(port).send('30000000\n');
    one.socket.pause();
    await new Promise((resolve) => setTimeout(resolve, 200));
    program.child.kill('SIGTERM');
    expect(await program.ended()).toBe(0);
    expect(program.output).toMatch(/stopped, 1 connections were cut off\n$/);
  });

  it('embed: serves beside a server of Node’s', async () => {
    const { program, port } = await start('embed.mts', { HTTP_PORT: '0' });
    const [, httpPort] = await program.printed(/http on .* port: (\d+)/);
    await call(port).send('hello').hears('hello');
    const response = await fetch(`http://127.0.0.1:${httpPort}/`, {
      headers: { Connection: 'close' },
    });
    expect(await response.text()).toBe('2 channels\n');
    program.child.kill('SIGTERM');
    expect(await program.ended()).toBe(0);
  });

  it('frame-loop: is served at each frame', async () => {
    const { port } = await start('frame-loop.mts');
    const one = call(port).send('\n');
    await one.hears('frame ');
    one.send('\n');
    await until(() => /^frame \d+\nframe \d+\n$/.test(one.received));
  });

  it('upgrade: goes on as another protocol on the same channel', async () => {
    const { port } = await start('upgrade.mts');
    const head = 'GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: shout\r\n\r\n';
    const one = call(port).send(`${head}hello\nwor`);
    await one.hears('HELLO\n');
    one.send('ld\n');
    await one.hears('WORLD\n');
    expect(one.received).toMatch(/^HTTP\/1\.1 101 .*\r\n\r\nHELLO\nWORLD\n$/s);
    const other = call(port).send('GET / HTTP/1.1\r\nUpgrade: shouting\r\n\r\nhello\n');
    expect(await other.ends()).toMatch(/^HTTP\/1\.1 426 .*\r\n\r\n$/s);
  });

  it('http-streams: is Node’s server on our listener', async () => {
    const { port } = await start('http-streams.mts');
    const response = await fetch(`http://127.0.0.1:${port}/path`);
    expect(await response.text()).toBe('127.0.0.1 asked for /path\n');
    const one = call(port);
    one.send('GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n');
    await one.hears('101 Switching Protocols');
    one.send('hello').socket.end();
    expect(await one.ends()).toMatch(/\r\n\r\nhello$/);
  });

  it('script: asks for each line of its input', async () => {
    const { port } = await start('lines.mts');
    const program = run('script.mts', { PORT: String(port) });
    program.child.stdin.write('add 1 2\nadd 3 ');
    await program.printed(/^add 1 2: 3\n$/);
    program.child.stdin.end('4\nhelp');
    expect(await program.ended()).toBe(0);
    expect(program.output).toBe('add 1 2: 3\nadd 3 4: 7\nhelp: 500 add NUMBER..., or quit\n');
  });

  it('test: passes', async () => {
    const program = run('double.test.mts');
    expect(await program.ended()).toBe(0);
    expect(program.output).toMatch(/pass 2\n/);
  });
});
