// The programs of docs/timers.md, as printed: run, and talked to.

import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { type ChannelMap, ManualClock, poll, type Socket } from 'asyncore';
import { newMap } from '../support/keep';
import { listingsOf, namedListings, runListing, writeListings } from '../support/listings';
import { freePort } from '../support/ports';
import { Client, type Program, ROOT } from '../support/program';
import { QuietChat } from '../support/quiet-chat';
import { pair } from '../support/sockets';

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
    // On a machine that is held up, callEvery leaves calls out, and the last pass may have one more.
    expect(await printedBy('first.mts')).toMatch(
      /^(every 20 ms\n)+30 ms after the start\n(every 20 ms\n)*bye, Ann\n(every 20 ms\n)?$/,
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

describe('What the page says', () => {
  const clock = new ManualClock();
  let map: ChannelMap;
  let socket: Socket;
  let chat: TimedChat;

  class TimedChat extends QuietChat {
    timeouts = 0;
    override handleTimeout(): void {
      this.timeouts += 1;
    }
  }

  beforeEach(() => {
    map = newMap({ clock });
    [socket] = pair();
    chat = new TimedChat(socket, map);
  });

  function wait(duration: number, where = map): void {
    clock.advance(duration);
    poll(0, where);
  }

  /** Sets all three to 100 ms, and tells in how many ms each comes. */
  function times(): { left(where: ChannelMap): unknown } {
    chat.setDeadline(100);
    chat.setIdleTimeout(150);
    const timer = chat.callLater(200, () => {});
    return {
      left: (where) => {
        const { due } = timer;
        let [deadline, idle] = [Infinity, Infinity];
        for (let passed = 0; passed < 300; passed += 1) {
          const before = chat.timeouts;
          wait(1, where);
          if (chat.timeouts === before) continue;
          if (deadline === Infinity && passed < 100) deadline = passed + 1;
          else idle = Math.min(idle, passed + 1);
        }
        return { deadline, idle, timer: due - clock.now() + 300 };
      },
    };
  }

  it('of a channel that goes on: another socket, another map', () => {
    const set = times();
    wait(50);
    chat.setSocket(pair()[0]);
    expect(set.left(map)).toEqual({ deadline: 50, idle: 150, timer: 150 });
    const again = times();
    wait(40);
    const own = chat.socket as Socket;
    chat.delChannel();
    wait(20);
    const elsewhere = newMap({ clock });
    chat.setSocket(own, elsewhere);
    expect(map.nextDue).toBe(Infinity);
    expect(again.left(elsewhere)).toEqual({ deadline: 40, idle: 150, timer: 140 });
  });

  it('of a channel that ends: its close, and another channel for its socket', () => {
    times();
    chat.close();
    expect(map.nextDue).toBe(Infinity);
    const [other] = pair();
    chat = new TimedChat(other, map);
    const timer = chat.callEvery(10, () => {});
    chat.setDeadline(10);
    new QuietChat(other, map);
    expect(timer.active).toBe(false);
    expect(timer.reset()).toBe(false);
    expect(map.nextDue).toBe(Infinity);
  });

  it('of a channel that connects again: what was made after its close stays', () => {
    const before = chat.callLater(10, () => {});
    chat.close();
    let called = 0;
    const after = chat.callLater(10, () => {
      called += 1;
    });
    chat.setSocket(pair()[0]);
    expect([before.active, after.active]).toEqual([false, true]);
    wait(10);
    expect(called).toBe(1);
  });

  it('of a handle that is reset to Infinity: it is suspended', () => {
    let called = 0;
    const timer = map.callEvery(10, () => {
      called += 1;
    });
    timer.reset(Infinity);
    wait(1000);
    expect([called, timer.active, map.nextDue]).toEqual([0, true, Infinity]);
    timer.reset(10);
    wait(10);
    expect([called, timer.missed]).toEqual([1, 0]);
  });

  it('of a predicate that a timer of the channel changes: it is asked again', () => {
    let wants = false;
    let asked = 0;
    chat.readable = () => false;
    chat.tracksInterest = () => true;
    chat.writable = () => {
      asked += 1;
      return wants;
    };
    chat.interestChanged();
    poll(0, map);
    asked = 0;
    chat.callLater(10, () => {
      wants = true;
    });
    wait(9);
    expect(asked).toBe(0);
    wait(1);
    poll(0, map);
    expect(asked).toBeGreaterThan(0);
  });
});
