// The programs of docs/timers.md, as printed: run, and talked to.

import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { listingsOf, namedListings, runListing, writeListings } from '../support/listings';
import { freePort } from '../support/ports';
import { Client, type Program, ROOT } from '../support/program';

const PAGE = 'docs/timers.md';
const LISTINGS = namedListings(PAGE);
const folder = writeListings(LISTINGS);

const programs: Program[] = [];

afterEach(async () => {
  await Promise.all(programs.splice(0).map((program) => program.kill()));
});

function run(name: string, env: NodeJS.ProcessEnv = {}): Program {
  const program = runListing(join(folder, name), env);
  programs.push(program);
  return program;
}

/** What a program prints until it ends by itself. */
async function printedBy(name: string): Promise<string> {
  const program = run(name);
  expect([await program.ended(), program.output]).toEqual([0, expect.any(String)]);
  return program.output;
}

async function start(name: string): Promise<{ program: Program; port: number }> {
  const program = run(name, { PORT: '0' });
  const [, port] = await program.printed(/listening on .* port: (\d+)/);
  return { program, port: Number(port) };
}

describe('docs/timers.md', () => {
  it('holds what is tested here, and links to its sections', () => {
    expect([...LISTINGS.keys()]).toEqual([
      ...['first.mts', 'session.mts', 'server.mts', 'missed.mts', 'errors.mts', 'ends.mts'],
      ...['again.mts', 'own-loop.mts', 'session.test.mts'],
    ]);
    expect(listingsOf(PAGE)).toHaveLength(LISTINGS.size);
    const page = readFileSync(join(ROOT, PAGE), 'utf8');
    const headings = [...page.matchAll(/^## (.*)$/gm)].map(([, heading]) => heading);
    const links = [...page.matchAll(/^- \[(.*)\]\(#(.*)\)$/gm)];
    expect(links.map(([, text]) => text)).toEqual(headings);
    expect(links.map(([, , anchor]) => anchor)).toEqual(
      links.map(([, text]) => text?.toLowerCase().replaceAll(' ', '-')),
    );
  });

  it('first: calls each in its turn, and ends with the one that has keepAlive', async () => {
    // On a machine that is held up, callEvery leaves calls out, and changes no place.
    expect(await printedBy('first.mts')).toMatch(
      /^(every 20 ms\n)+30 ms after the start\n(every 20 ms\n)*bye, Ann\n$/,
    );
  });

  it('missed: prints what the page says', async () => {
    const printed = await printedBy('missed.mts');
    const said = [...(LISTINGS.get('missed.mts') ?? '').matchAll(/poll\(0, map\); \/\/ (.*)/g)];
    expect(printed).toBe(said.map(([, line]) => `${line}\n`).join(''));
    expect(said).toHaveLength(2);
  });

  it('errors: are told, and ExitNow leaves the loop', async () => {
    expect(await printedBy('errors.mts')).toMatch(
      /^Error: only once\n(Error: no such table, and again\n)+left: enough\n$/,
    );
  });

  it('ends: shows that a loop without channels waits for keepAlive alone', async () => {
    expect(await printedBy('ends.mts')).toBe('ended, and the timer waits\nthis is printed\n');
  });

  it('again: connects again as often as the connection ends, until it is told to stop', async () => {
    const heard: string[] = [];
    const server = createServer((socket) => {
      socket.on('error', () => {});
      socket.once('data', (data) => {
        heard.push(String(data));
        // The half of a line is no part of the next connection.
        const text = `line ${heard.length}\nhalf`;
        if (heard.length < 4) socket.end(text);
        else socket.write(text);
      });
    });
    await once(server.listen(0, '127.0.0.1'), 'listening');
    const { port } = server.address() as AddressInfo;
    try {
      const program = run('again.mts', { PORT: String(port) });
      await program.printed(/^line 4\n/m);
      expect(program.output).toBe('line 1\nline 2\nline 3\nline 4\n');
      expect(heard).toEqual(Array(4).fill('hello\n'));
      program.child.kill('SIGTERM');
      expect(await program.ended()).toBe(0);
      expect(heard).toHaveLength(4);
    } finally {
      server.close();
    }
  });

  it('again: goes on trying while nobody listens', async () => {
    const program = run('again.mts', { PORT: String(await freePort()) });
    await program.printed(/ECONNREFUSED(.|\n)*ECONNREFUSED/);
    expect(program.child.exitCode).toBe(null);
    program.child.kill('SIGTERM');
    expect(await program.ended()).toBe(0);
  });

  it('own-loop: serves clients, timers and the keyboard, and ends with it', async () => {
    const { program, port } = await start('own-loop.mts');
    await program.printed(/^0 clients$/m);
    const client = new Client(port).send('hello');
    try {
      await client.hears('hello');
      await program.printed(/^1 clients$/m);
      program.child.stdin.write('\n');
      client.send(', and again');
      await client.hears('hello, and again');
      program.child.stdin.end();
      expect(await program.ended()).toBe(0);
      await client.ends();
    } finally {
      client.socket.destroy();
    }
  });

  it('server: asks for a name, and hangs up on nobody who answers', async () => {
    const { port } = await start('server.mts');
    const client = new Client(port);
    try {
      await client.hears('Who are you?\n');
      client.send('Ann\nhello\nPONG\nbye\n');
      await client.hears('Ann says: bye\n');
      expect(client.received).toBe('Who are you?\nAnn says: hello\nAnn says: bye\n');
    } finally {
      client.socket.destroy();
    }
  });

  it('session.test: passes, a day in virtual time included', async () => {
    const program = run('session.test.mts');
    expect([await program.ended(), program.output]).toEqual([0, expect.stringMatching(/pass 5\n/)]);
  });
});
