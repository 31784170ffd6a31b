// docs/examples/tail.ts: shell pipes through it, and viewers of what passes.

import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import {
  AF_INET,
  ChannelMap,
  closeAll,
  Dispatcher,
  IPPROTO_TCP,
  Socket,
  TCP_LINGER2,
} from 'asyncore';
import { LastLines } from '../../docs/examples/tail';
import { temporaryPath } from '../support/drive';
import { Client, Program, ROOT, runTypeScript, TYPESCRIPT, until } from '../support/program';
import { itWith } from '../support/skips';

const EXAMPLE = 'docs/examples/tail.ts';
/** As a word of a shell's. */
const TAIL = `'${process.execPath}' ${TYPESCRIPT.join(' ')} ${EXAMPLE} --port 0`;

const itWithNc = itWith('nc');

const programs: Program[] = [];
const clients: Client[] = [];

afterEach(async () => {
  for (const { socket } of clients.splice(0)) socket.destroy();
  for (const program of programs.splice(0)) await program.kill();
});

function shell(script: string): Program {
  const program = new Program('bash', ['-c', `set -o pipefail; ${script}`]);
  programs.push(program);
  return program;
}

function tail(...args: string[]): Program {
  const program = runTypeScript(EXAMPLE, ['--port', '0', ...args]);
  programs.push(program);
  return program;
}

async function portOf(program: Program): Promise<number> {
  const [, port] = await program.printed(/tail: listening on 127\.0\.0\.1:(\d+)\n/);
  return Number(port);
}

async function viewerOf(program: Program): Promise<Client> {
  const client = new Client(await portOf(program));
  clients.push(client);
  return client;
}

/** How many descriptors a program has open. */
function descriptorsOf(pid: number): number {
  return readdirSync(`/proc/${pid}/fd`).length;
}

describe('A shell pipe', () => {
  it.each([
    ['a pipe to a pipe', `seq 1 100000 | ${TAIL} | cat`],
    ['a file to a pipe', `${TAIL} < input | cat`],
    ['a pipe to a file', `seq 1 100000 | ${TAIL} > output; cat output`],
    ['a file to a file', `${TAIL} < input > output; cat output`],
  ])('has all that it is given: %s', async (_what, script) => {
    const [input, output] = [temporaryPath(), temporaryPath()];
    const numbers = spawnSync('bash', ['-c', `seq 1 100000 | tee ${input}`], {
      maxBuffer: 2 ** 24,
    });
    const named = script.replace('input', input).replaceAll('output', output);
    const program = shell(`(${named}) 2> ${temporaryPath()}`);
    expect(await program.ended()).toBe(0);
    expect(program.output === numbers.stdout.toString()).toBe(true);
  });

  it('gets nothing but the data', async () => {
    const program = shell(`: | ${TAIL} 2> /dev/null | wc -c`);
    expect(await program.ended()).toBe(0);
    expect(program.output).toBe('0\n');
  });

  it.each([
    ['cannot be read', `${TAIL} < / 2>&1 > output`, 'EISDIR: .*, read'],
    ['cannot be written', `echo one | ${TAIL} 2>&1 > /dev/full`, 'ENOSPC: .*, write'],
  ])('fails when its file %s, and says so on stderr', async (_what, script, message) => {
    const output = temporaryPath();
    const program = shell(script.replace('output', output));
    expect(await program.ended()).toBe(1);
    expect(program.output).toMatch(new RegExp(`^tail: listening .*\ntail: ${message}\n$`));
    if (script.includes('output')) expect(readFileSync(output, 'utf8')).toBe('');
  });

  it('gets nothing but the data while viewers cannot be accepted', async () => {
    const program = shell(`ulimit -n 60; ${TAIL} | sed -u 's/^/out: /'`);
    for (let count = 0; count < 60; count += 1) await viewerOf(program);
    await program.printed(/error: .*EMFILE/);
    program.child.stdin.end('one\n');
    expect(await program.ended()).toBe(0);
    expect(program.output.match(/out: .*/g)).toEqual(['out: one']);
  });

  it('ends when its reader leaves', async () => {
    const program = shell(`(yes || true) | ${TAIL} 2> /dev/null | head -n 2`);
    expect(await program.ended()).toBe(0);
    expect(program.output).toBe('y\ny\n');
  });

  it('moves as fast as its reader', async () => {
    const program = shell(`yes | ${TAIL} | (sleep 2; head -c 1000000 | wc -c)`);
    const viewer = await viewerOf(program);
    await viewer.hears('y\ny\n');
    await new Promise((resolve) => setTimeout(resolve, 500));
    // What a pipe holds, and a piece that waits for it.
    expect(viewer.received.length).toBeLessThan(256 * 1024);
    await program.printed(/\n1000000\n/);
  });
});

describe('A viewer', () => {
  it('finds the last lines, and hears what comes', async () => {
    const program = tail('--lines', '2');
    const early = await viewerOf(program);
    program.child.stdin.write('one\n');
    // The viewer has been accepted, and gets the rest as it comes.
    await early.hears('one\n');
    program.child.stdin.write('two\nthree\nfo');
    await early.hears('one\ntwo\nthree\nfo');
    const late = await viewerOf(program);
    await late.hears('three\nfo');
    program.child.stdin.write('ur\nfive\n');
    await late.hears('five');
    program.child.stdin.end('six');
    expect(await late.ends()).toBe('three\nfour\nfive\nsix');
    expect(await early.ends()).toBe('one\ntwo\nthree\nfour\nfive\nsix');
    expect(await program.ended()).toBe(0);
    expect(program.output.replace(/^tail: .*\n/m, '')).toBe('one\ntwo\nthree\nfour\nfive\nsix');
  });

  it('need not listen with an open mouth', async () => {
    const program = tail();
    const viewer = await viewerOf(program);
    viewer.socket.end('its input is ignored');
    await new Promise((resolve) => setTimeout(resolve, 100));
    program.child.stdin.write('one\n');
    await viewer.hears('one\n');
    expect(viewer.closed).toBe(false);
    program.child.stdin.end();
    await viewer.ends();
    expect(await program.ended()).toBe(0);
  });

  it('has left for good when its kernel says so, and nothing comes on stdin', async () => {
    const program = tail('--silence', '1');
    const port = await portOf(program);
    const open = (): number => descriptorsOf(program.child.pid as number);
    const halfClosed = await viewerOf(program);
    halfClosed.socket.end();
    program.child.stdin.write('one\n');
    await halfClosed.hears('one\n');
    const [before, map] = [open(), new ChannelMap()];
    for (let left = 20; left > 0; left -= 1) {
      const socket = Socket.socket(AF_INET);
      const viewer = new Dispatcher(null, map);
      viewer.setSocket(socket);
      // Its kernel forgets it after a second, not a minute.
      socket.setSockOpt(IPPROTO_TCP, TCP_LINGER2, 1);
      viewer.connect({ host: '127.0.0.1', port });
    }
    await until(() => open() === before + 20);
    closeAll(map);
    // A second to be forgotten, one to be asked, and as much again for a slow machine.
    await until(() => open() === before);
    program.child.stdin.end('two\n');
    expect(await halfClosed.ends()).toBe('one\ntwo\n');
    expect(await program.ended()).toBe(0);
  });

  it('waits while there are as many as may be', async () => {
    const program = tail('--max-connections', '2');
    const [first, second] = [await viewerOf(program), await viewerOf(program)];
    program.child.stdin.write('one\n');
    await Promise.all([first.hears('one\n'), second.hears('one\n')]);
    const third = await viewerOf(program);
    program.child.stdin.write('two\n');
    await Promise.all([first.hears('two\n'), second.hears('two\n')]);
    expect(third.received).toBe('');
    first.socket.resetAndDestroy();
    await third.hears('one\ntwo\n');
    program.child.stdin.end();
    expect(await program.ended()).toBe(0);
  });

  it('is disconnected when it lags behind, and delays no other', async () => {
    const program = shell(`(read; head -c 20000000 /dev/zero) | ${TAIL} | wc -c`);
    const slow = await viewerOf(program);
    slow.socket.pause();
    await until(() => slow.socket.readyState === 'open');
    program.child.stdin.end('\n');
    expect(await program.ended()).toBe(0);
    expect(program.output).toContain('\n20000000\n');
    slow.socket.resume();
    const { length } = await slow.ends();
    expect(length).toBeGreaterThan(0);
    expect(length).toBeLessThan(20_000_000);
  });

  it('may read the rest slowly', async () => {
    const program = tail();
    const slow = await viewerOf(program);
    slow.socket.pause();
    await until(() => slow.socket.readyState === 'open');
    program.child.stdin.end('x'.repeat(900_000));
    await new Promise((resolve) => setTimeout(resolve, 300));
    slow.socket.resume();
    expect(await slow.ends()).toHaveLength(900_000);
    expect(await program.ended()).toBe(0);
  });

  it('may be gone before there is anything', async () => {
    const program = tail();
    (await viewerOf(program)).socket.resetAndDestroy();
    await new Promise((resolve) => setTimeout(resolve, 50));
    program.child.stdin.end('one\n');
    expect(await program.ended()).toBe(0);
    expect(program.output).toContain('\none\n');
  });

  itWithNc('may be nc (skipped where there is none)', async () => {
    const program = tail();
    program.child.stdin.write('one\n');
    await program.printed(/\none\n/);
    const nc = shell(`nc -N 127.0.0.1 ${await portOf(program)} < /dev/null`);
    await nc.printed(/^one\n$/);
    program.child.stdin.end('two\n');
    expect(await nc.ended()).toBe(0);
    expect(nc.output).toBe('one\ntwo\n');
  });
});

describe('LastLines', () => {
  function lastLines(count: number, ...pieces: string[]): string {
    const lines = new LastLines(count);
    for (const piece of pieces) lines.add(Buffer.from(piece));
    return lines.get().toString();
  }

  it.each([
    [2, 'a\nb\nc\n', 'b\nc\n'],
    [2, 'a\nb\nc', 'b\nc'],
    [3, 'a\nb\nc\n', 'a\nb\nc\n'],
    [9, 'a\nb\nc\n', 'a\nb\nc\n'],
    [9, '', ''],
    [1, 'a', 'a'],
    [1, '\n', '\n'],
    [1, '\n\n', '\n'],
    [2, '\n\n', '\n\n'],
    [2, '\nx', '\nx'],
    [1, '\nx', 'x'],
    [0, 'a\nb\n', ''],
  ])('takes %d of %j', (count, text, expected) => {
    expect(lastLines(count, text)).toBe(expected);
    expect(lastLines(count, ...text)).toBe(expected);
  });

  it('keeps so much and no more', () => {
    const most = 64 * 1024;
    expect(lastLines(1, 'x'.repeat(most + 1))).toHaveLength(most);
    expect(lastLines(1, 'x'.repeat(most), 'yz')).toBe(`${'x'.repeat(most - 2)}yz`);
    expect(lastLines(1, 'x', 'y'.repeat(most))).toBe('y'.repeat(most));
  });

  it('takes the same as the command tail', () => {
    const text = readFileSync(`${ROOT}/package.json`);
    const { stdout } = spawnSync('tail', ['-n', '7'], { input: text });
    expect(lastLines(7, text.toString())).toBe(stdout.toString());
  });
});
