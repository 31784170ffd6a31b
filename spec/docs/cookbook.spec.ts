// The programs of docs/cookbook.md, as printed: run and talked to.

import { randomBytes } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import {
  existsSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { type AddressInfo, connect, createServer } from 'node:net';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { type InternetAddress, Socket } from 'asyncore';
import { cookbook, ProgramInVirtualTime, runListing, writeListings } from '../support/listings';
import { freePort } from '../support/ports';
import { Client, Program, ROOT, until } from '../support/program';
import { itWith } from '../support/skips';

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

/** The time of the program's channels passes when this spec says so. */
function runInVirtualTime(name: string, env: NodeJS.ProcessEnv = {}): ProgramInVirtualTime {
  const program = new ProgramInVirtualTime(join(folder, name), env);
  programs.push(program);
  return program;
}

async function startInVirtualTime(
  name: string,
  env: NodeJS.ProcessEnv = {},
): Promise<{ program: ProgramInVirtualTime; port: number }> {
  const program = runInVirtualTime(name, { PORT: '0', ...env });
  const [, port] = await program.printed(/listening on .* port: (\d+)/);
  return { program, port: Number(port) };
}

function call(port: number): Client {
  const client = new Client(port);
  clients.push(client);
  return client;
}

function residentKilobytes({ child }: Program): number {
  const status = readFileSync(`/proc/${child.pid}/status`, 'utf8');
  return Number(/VmRSS:\s*(\d+) kB/.exec(status)?.[1]);
}

/** In ms. The kernel counts hundredths of a second. */
function processorTime({ child }: Program): number {
  const stat = readFileSync(`/proc/${child.pid}/stat`, 'utf8').replace(/^.*\) /s, '');
  const [user, system] = stat.split(' ').slice(11);
  return (Number(user) + Number(system)) * 10;
}

describe('docs/cookbook.md', () => {
  it('holds what is tested here, and links to it', () => {
    expect(names).toEqual([
      ...[
        'lines.mts',
        'frames.mts',
        'udp.ts',
        'sort.mts',
        'relay.mts',
        'unix.mts',
        'count.mts',
        'gzip.mts',
      ],
      'sent.mts',
      ...[
        'database.mts',
        'ask.mts',
        'talk.mts',
        'reconnect.mts',
        'many.mts',
        'child.mts',
        'serial.mts',
      ],
      ...['limits.mts', 'rate.mts', 'shutdown.mts', 'activated.mts', 'embed.mts', 'frame-loop.mts'],
      ...[
        'journal.mts',
        'mixins.mts',
        'upgrade.mts',
        'http-streams.mts',
        'script.mts',
        'double.test.mts',
        'timeout.test.mts',
      ],
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
    expect(residentKilobytes(program)).toBeLessThan(400_000);
    one.socket.resume();
    await one.hears('1\n2\n3\n');
  });

  it('gzip: sends a file to each caller, and lets go of it when one leaves', async () => {
    const file = join(folder, 'file.txt');
    const text = 'all the services there are\n'.repeat(100_000);
    writeFileSync(file, text);
    const { program, port } = await start('gzip.mts', { FILE: file });
    const one = call(port);
    expect(String(gunzipSync(Buffer.from(await one.ends(), 'latin1')))).toBe(text);
    await program.printed(/^sent$/m);
    // What gzip cannot make smaller does not fit into the kernel's buffers.
    writeFileSync(file, randomBytes(20_000_000));
    const other = call(port);
    await until(() => other.received.length > 0);
    other.socket.destroy();
    await program.printed(/^not sent: .*(?:ECONNRESET|EPIPE|the channel has closed)/m);
    const open = (): string[] =>
      readdirSync(`/proc/${program.child.pid}/fd`).map((fd) => {
        try {
          return readlinkSync(`/proc/${program.child.pid}/fd/${fd}`);
        } catch {
          return 'closed meanwhile';
        }
      });
    await until(() => !open().includes(file));
    rmSync(file);
    await call(port).ends();
    await program.printed(/^not sent: Error: ENOENT: no such file or directory/m);
  });

  it('sent: says when all is sent, and why the connection ends', async () => {
    const { program, port } = await start('sent.mts');
    const one = call(port);
    one.socket.pause();
    one.send('much\n');
    await program.printed(/^much: \d{7} bytes wait$/m);
    expect(program.output).not.toMatch(/much: sent|nothing waits/);
    one.socket.resume();
    await program.printed(/^much: sent$/m);
    expect(program.output).toMatch(/^nothing waits any more$/m);
    one.send('end\n');
    await one.ends();
    expect(one.received.length).toBe(8_000_005);
    await program.printed(/^end: sent\nclosed: end$/m);
    for (const [word, output] of [
      ['close', /^close: sent\nclosed: local$/m],
      ['fail', /^closed: error$/m],
    ] as const) {
      await call(port).send(`${word}\n`).ends();
      await program.printed(output);
    }
    const gone = call(port);
    gone.socket.pause();
    gone.send('much\n');
    await until(() => program.output.match(/bytes wait/g)?.length === 2);
    gone.socket.resetAndDestroy();
    await program.printed(/^closed: reset\nmuch: Cannot send all output: the channel has closed$/m);
    const idle = await startInVirtualTime('sent.mts');
    const silent = call(idle.port).send('x\n');
    await silent.hears('.....');
    idle.program.advance(60_000);
    await silent.ends();
    await idle.program.printed(/^closed: timeout$/m);
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

  it('relay: carries much both ways, the end of either way, and a reset', async () => {
    const target = createServer({ allowHalfOpen: true }, (socket) => {
      socket.on('error', () => {});
      socket.pipe(socket);
    });
    await once(target.listen(0, '127.0.0.1'), 'listening');
    const targetPort = (target.address() as AddressInfo).port;
    const { port } = await start('relay.mts', {
      TARGET: 'localhost',
      TARGET_PORT: String(targetPort),
    });
    try {
      const data = randomBytes(4 << 20);
      const one = call(port);
      one.socket.end(data);
      await until(() => one.closed);
      expect(one.received === data.toString('latin1')).toBe(true);
      const counted = () =>
        new Promise<number>((resolve) => target.getConnections((_, count) => resolve(count)));
      expect(await counted()).toBe(0);
      const two = call(port).send('hello');
      await two.hears('hello');
      two.socket.resetAndDestroy();
      for (let tries = 0; (await counted()) > 0 && tries < 200; tries += 1) {
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
      expect(await counted()).toBe(0);
    } finally {
      target.close();
    }
  });

  it('unix: tells the time to its user, and leaves no file', async () => {
    const path = join(folder, 'clock.socket');
    const program = run('unix.mts', { SOCKET: path });
    await program.printed(/listening on \{ path: '.*clock\.socket' \}/);
    expect(statSync(path).mode & 0o777).toBe(0o700);
    const socket = connect(path);
    socket.write('?');
    const [data] = await once(socket, 'data');
    expect(String(data)).toMatch(/^\d{4}-\d\d-\d\dT[\d:.]+Z\n$/);
    socket.end();
    program.child.kill('SIGTERM');
    expect(await program.ended()).toBe(0);
    expect(existsSync(path)).toBe(false);
  });

  describe('talk', () => {
    it('sends each line that is typed, when it is typed', async () => {
      const { port } = await start('lines.mts');
      const program = run('talk.mts', { PORT: String(port) });
      program.child.stdin.write('add 1 2\nadd 3');
      await program.printed(/^3\n$/);
      program.child.stdin.write(' 4\nadd 5 6');
      await program.printed(/^3\n7\n$/);
      program.child.stdin.end();
      expect(await program.ended()).toBe(0);
      expect(program.output).toBe('3\n7\n11\nGoodbye.\n');
    });

    it('reads no more than the server does, and ends when the server ends', async () => {
      const server = createServer((socket) => socket.pause());
      server.listen(0, '127.0.0.1');
      await once(server, 'listening');
      try {
        const accepted = once(server, 'connection');
        const { port } = server.address() as AddressInfo;
        const program = run('talk.mts', { PORT: String(port) });
        // It ends with most of this unread.
        program.child.stdin.on('error', () => {});
        let taken = false;
        program.child.stdin.write(`${'x'.repeat(999)}\n`.repeat(20_000), () => {
          taken = true;
        });
        const [socket] = await accepted;
        // Unpaused, it takes half as long to read all of it.
        await new Promise((resolve) => setTimeout(resolve, 1000));
        expect(taken).toBe(false);
        socket.destroy();
        expect(await program.ended()).toBe(0);
      } finally {
        server.close();
      }
    });
  });

  it('many: counts those who were answered in time', async () => {
    const { port } = await start('lines.mts');
    const answered = run('many.mts', { PORT: String(port) });
    await answered.printed(/'answered' => 200/);
    expect(await answered.ended()).toBe(0);
    const silent = createServer((socket) => socket.on('error', () => {}).resume());
    await once(silent.listen(0, '127.0.0.1'), 'listening');
    const waiting = run('many.mts', {
      PORT: String((silent.address() as AddressInfo).port),
      COUNT: '20',
    });
    await waiting.printed(/'TimeoutError' => 20/);
    silent.close();
    const refused = run('many.mts', { PORT: String(await freePort()), COUNT: '20' });
    await refused.printed(/'ECONNREFUSED' => 20/);
  });

  describe('reconnect', () => {
    const DELAYS = /next attempt in (\d+) ms/g;
    const delaysOf = (program: Program): number[] =>
      [...program.output.matchAll(DELAYS)].map(([, delay]) => Number(delay));

    /** Waits for the program to tell its delay number `count`, and has that time pass. */
    async function pass(program: ProgramInVirtualTime, count: number): Promise<number> {
      await until(() => delaysOf(program).length === count);
      const delay = delaysOf(program)[count - 1] as number;
      // What it prints is rounded.
      program.advance(delay + 1);
      return delay;
    }

    it('waits twice as long after each failure, up to half a minute', async () => {
      const port = await freePort();
      const program = runInVirtualTime('reconnect.mts', { HOST: '127.0.0.1', PORT: String(port) });
      for (let attempt = 1; attempt <= 12; attempt += 1) {
        const most = Math.min(30_000, 100 * 2 ** (attempt - 1));
        const delay = await pass(program, attempt);
        expect(delay).toBeGreaterThanOrEqual(most / 2);
        expect(delay).toBeLessThanOrEqual(most);
      }
      expect(program.output).toMatch(
        /^(?:ECONNREFUSED: .*\nerror, next attempt in \d+ ms\n){12,13}$/,
      );
      program.child.kill('SIGTERM');
      expect(await program.ended()).toBe(0);
    });

    it('begins anew after an answer, hangs up on a silent server, and says goodbye', async () => {
      const heard: string[] = [];
      const server = createServer((socket) => {
        socket.on('error', () => {});
        socket.once('data', (data) => {
          heard.push(String(data));
          socket.on('data', (more) => void heard.push(String(more)));
          // The first one is told nothing, and the second one half of a line that is not its own.
          if (heard.length === 1) socket.end('ol');
          else socket.write(`news ${heard.length}\n`);
          if (heard.length === 3) setTimeout(() => socket.resetAndDestroy(), 50);
          else if (heard.length === 4) socket.end('half');
        });
      });
      await once(server.listen(0, '127.0.0.1'), 'listening');
      const { port } = server.address() as AddressInfo;
      const program = runInVirtualTime('reconnect.mts', { HOST: '127.0.0.1', PORT: String(port) });
      try {
        const unanswered = await pass(program, 1);
        await program.printed(/^news 2\n/m);
        // Nothing more comes: the server is taken for dead.
        program.advance(10_000);
        const silent = await pass(program, 2);
        const reset = await pass(program, 3);
        const ended = await pass(program, 4);
        await program.printed(/^news 5\n/m);
        for (const delay of [unanswered, silent, reset, ended]) {
          expect(delay).toBeGreaterThanOrEqual(50);
          expect(delay).toBeLessThanOrEqual(100);
        }
        expect(program.output.replaceAll(/\d+ ms/g, 'soon')).toBe(
          [
            'end, next attempt in soon',
            'news 2',
            'timeout, next attempt in soon',
            'news 3',
            'reset, next attempt in soon',
            'news 4',
            'end, next attempt in soon',
            'news 5\n',
          ].join('\n'),
        );
        // The last connection is open: it says goodbye, and no other one follows.
        program.child.kill('SIGTERM');
        await until(() => heard.at(-1) === 'bye\n');
        expect(await program.ended()).toBe(0);
        expect(heard).toEqual([...Array(5).fill('subscribe\n'), 'bye\n']);
      } finally {
        await program.kill();
        server.close();
      }
    });
  });

  it('child: answers, and its end is told', async () => {
    const program = run('child.mts');
    expect(await program.ended()).toBe(0);
    expect(program.output).toBe(
      "[ 'colors', 'no color' ]\n[ 0, null ]\nThe child has ended\n[ 3, null ]\n",
    );
  });

  itWith('python3')('serial: passes bytes on as they are', async () => {
    // A terminal whose other end is this program's stdin and stdout.
    const script = [
      'import os, pty, select',
      'ours, theirs = pty.openpty()',
      'os.write(1, os.ttyname(theirs).encode() + b"\\n")',
      'while True:',
      '    for fd in select.select([0, ours], [], [])[0]:',
      '        data = os.read(fd, 4096)',
      '        if not data: os._exit(0)',
      '        os.write(1 if fd == ours else ours, data)',
    ];
    const terminal = new Program('python3', ['-c', script.join('\n')]);
    programs.push(terminal);
    const [, device = ''] = await terminal.printed(/^(\/dev\/\S+)\n/);
    const { program, port } = await start('serial.mts', { DEVICE: device, SPEED: '9600' });
    terminal.output = '';
    const [one, other] = [call(port), call(port)];
    // What a terminal would echo, edit, translate, or turn into a signal.
    const bytes = 'a\r\n\x03\x04\x7f\x11\x13';
    one.send(bytes);
    await until(() => terminal.output === bytes);
    expect(one.received).toBe('');
    terminal.child.stdin.write(bytes);
    await other.hears(bytes);
    await one.hears(bytes);
    // More than the terminal takes at once.
    terminal.output = '';
    one.send('y'.repeat(100_000));
    await until(() => terminal.output.length === 100_000);
    await terminal.kill();
    expect(await program.ended()).toBe(0);
    expect(program.output).toMatch(/\nthe line is gone\n$/);
    await one.ends();
  });

  it('serial: refuses what is no terminal', async () => {
    const program = run('serial.mts', { DEVICE: '/dev/null', PORT: '0' });
    expect(await program.ended()).toBe(1);
    expect(program.output).toContain('/dev/null is no serial line');
  });

  it('limits: keeps them', async () => {
    const { program, port } = await startInVirtualTime('limits.mts');
    const one = call(port).send(`${'x'.repeat(5000)}\nhello\n`);
    await one.hears(`500 That line is too long\n${'hello\n'.repeat(100)}`);
    // A client that takes no answers is not read from, and gets all of them when it reads again.
    const other = call(port);
    other.socket.pause();
    other.send(`${'y'.repeat(999)}\n`.repeat(40));
    await new Promise((resolve) => setTimeout(resolve, 100));
    other.socket.resume();
    await until(() => other.received.length >= 40 * 100 * 1000);
    program.advance(30_000);
    expect(await one.ends()).toMatch(/hello\n421 That takes too long\n$/);
    await other.ends();
    const crowd = Array.from({ length: 12 }, () => call(port));
    // Those beyond ten are turned away without a word.
    await until(() => crowd.filter(({ closed }) => closed).length === 2);
    program.advance(30_000);
    await Promise.all(crowd.map((client) => client.ends()));
    expect(crowd.filter(({ received }) => received === '')).toHaveLength(2);
    expect(crowd.filter(({ received }) => received.startsWith('421'))).toHaveLength(10);
  });

  it('limits: gives a line ten seconds, however often a byte of it comes', async () => {
    const { program, port } = await startInVirtualTime('limits.mts');
    const [slow, ticker] = [call(port).send('a\n'), call(port).send('b\n')];
    await slow.hears('a\n');
    for (let second = 0; second < 10; second += 1) {
      slow.send('x');
      // The byte has been read when this is answered: it was sent before.
      ticker.received = '';
      ticker.send('tick\n');
      await ticker.hears('tick\n'.repeat(100));
      expect(slow.closed).toBe(false);
      program.advance(1000);
    }
    expect(await slow.ends()).toMatch(/^(a\n){100}421 That takes too long\n$/);
    ticker.received = '';
    ticker.send('tick\n');
    await ticker.hears('tick\n'.repeat(100));
  });

  it('rate: keeps to it, and sleeps meanwhile', async () => {
    const { program, port } = await startInVirtualTime('rate.mts', { RATE: '20000' });
    const all = [call(port), call(port)];
    for (const one of all) one.send('30000\n');
    // 2000 bytes leave at once, and then as many in each tenth of a second.
    for (let bytes = 2000; bytes <= 30_000; bytes += 2000) {
      await until(() => all.every((one) => one.received.length >= bytes));
      if (bytes === 2000) {
        // No time passes for its channels now, so that the pause lasts.
        const used = processorTime(program);
        await new Promise((resolve) => setTimeout(resolve, 1000));
        expect(processorTime(program) - used).toBeLessThan(300);
      }
      for (const { received } of all) expect(received.length).toBe(bytes);
      program.advance(100);
    }
    all[0]?.send('10\n');
    await until(() => all[0]?.received.length === 30_010);
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
    const { program, port } = await startInVirtualTime('shutdown.mts');
    const one = call(port).send('30000000\n');
    await once(one.socket, 'data');
    one.socket.pause();
    program.child.kill('SIGTERM');
    // Whenever the signal is noticed, the deadline passes after it.
    await until(() => {
      program.advance(5000);
      return program.child.exitCode !== null;
    });
    expect(await program.ended()).toBe(0);
    expect(program.output).toMatch(/stopped, 1 connections were cut off\n$/);
  });

  describe('activated', () => {
    /** Runs it with a listener as descriptor 3, which is meant for the process `pid`. */
    function activate(listener: Socket, pid: string, env: NodeJS.ProcessEnv): Program {
      const command = `LISTEN_PID=${pid} LISTEN_FDS=1 exec '${process.execPath}' activated.mjs`;
      const args = ['-c', `cd '${folder}' && ${command}`];
      const program = new Program('sh', args, env, [listener.fileno()]);
      programs.push(program);
      return program;
    }

    it('serves those who call before it runs, at the port that it is given', async () => {
      using listener = Socket.socket();
      listener.bind({ host: '127.0.0.1', port: 0 });
      listener.listen();
      const { port } = listener.getSockName() as InternetAddress;
      const early = call(port).send('Ann\n');
      const program = activate(listener, '$$', { PORT: '1' });
      await early.hears('Hello, Ann\n');
      expect(program.output).toContain(`port: ${port}`);
      await call(port).send('Bob\n').hears('Hello, Bob\n');
    });

    it('leaves sockets alone that are for another process', async () => {
      using listener = Socket.socket();
      listener.bind({ host: '127.0.0.1', port: 0 });
      listener.listen();
      const { port } = listener.getSockName() as InternetAddress;
      const program = activate(listener, '1', { PORT: '0' });
      const [, own] = await program.printed(/listening on .* port: (\d+)/);
      expect(Number(own)).not.toBe(port);
      await call(Number(own)).send('Ann\n').hears('Hello, Ann\n');
    });

    it('opens its own when it is started by hand', async () => {
      const { port } = await start('activated.mts');
      await call(port).send('Ann\n').hears('Hello, Ann\n');
    });
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

  it('journal: says that a line is stored when it is', async () => {
    const file = join(folder, 'journal.txt');
    const { port } = await start('journal.mts', { JOURNAL: file });
    const one = call(port).send('first\n');
    await one.hears('stored\n');
    expect(readFileSync(file, 'utf8')).toBe('first\n');
    const lines = Array.from({ length: 20_000 }, (_, index) => `line ${index}\n`).join('');
    const other = call(port).send(lines);
    await until(() => other.received.length === 20_000 * 'stored\n'.length);
    expect(readFileSync(file, 'utf8')).toBe(`first\n${lines}`);
  });

  it('mixins: obeys commands, and nothing else', async () => {
    const { port } = await start('mixins.mts');
    const one = call(port).send('add 3\r\nADD -5\nclose\n\nconstructor\nquit\n');
    expect(await one.ends()).toBe(
      '200 3\r\n400 Overdrawn\r\n200 -2\r\n500 close?\r\n500 ?\r\n500 constructor?\r\n',
    );
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

  it.each([
    ['double.test.mts', 4],
    ['timeout.test.mts', 2],
  ])('%s: passes', async (name, count) => {
    const program = run(name);
    expect([await program.ended(), program.output]).toEqual([
      0,
      expect.stringMatching(new RegExp(`pass ${count}\n`)),
    ]);
  });
});
