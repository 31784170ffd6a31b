// docs/examples/chat-room.ts: callers of Node's and nc; and several servers, with a Redis that loses
// connections on purpose, and with a real one that is killed and comes back.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type Address,
  ChannelMap,
  closeAll,
  Dispatcher,
  Socket as KernelSocket,
  loop,
  ManualClock,
  poll,
  SO_LINGER,
  SOL_SOCKET,
  type Socket,
} from 'asyncore';
import { ChatServer, Member } from '../../docs/examples/chat-room';
import {
  type Reply,
  type Request,
  RequestChat,
  SimpleString,
} from '../../docs/examples/support/resp';
import { freePort } from '../support/ports';
import { Client, Program, runTypeScript, until } from '../support/program';
import { describeWith } from '../support/skips';

const EXAMPLE = 'docs/examples/chat-room.ts';
const LOCAL = { host: '127.0.0.1', port: 0 };
/** `struct linger { l_onoff: 1, l_linger: 0 }`: close() will reset the connection. */
const RESET = Buffer.from(new Int32Array([1, 0]).buffer);

function portOf(listener: Dispatcher): number {
  const address = listener.address();
  return address !== null && 'port' in address ? address.port : 0;
}

const clients: Client[] = [];
const programs: Program[] = [];

/** A client that has given its name. */
async function enter(port: number, name: string): Promise<Client> {
  const one = new Client(port);
  clients.push(one);
  one.send(`${name}\r\n`);
  await one.hears('* you are in lobby\r\n');
  return one;
}

function start(program: Program): Program {
  programs.push(program);
  return program;
}

afterEach(async () => {
  jest.restoreAllMocks();
  for (const client of clients.splice(0)) client.socket.destroy();
  await Promise.all(programs.splice(0).map((program) => program.kill()));
});

describe('ChatServer', () => {
  let clock: ManualClock;
  let map: ChannelMap;
  let server: ChatServer;
  let port: number;
  let running: Promise<void>;

  beforeEach(() => {
    clock = new ManualClock();
    map = new ChannelMap([], { clock });
    server = new ChatServer(LOCAL, map);
    port = portOf(server);
    running = loop({ map });
  });

  afterEach(async () => {
    closeAll(map);
    await running;
  });

  it('tells who joins, what they say and who leaves', async () => {
    const ann = await enter(port, 'ann');
    const bob = await enter(port, 'bob');
    await ann.hears('* bob has joined\r\n');
    ann.send('hi\n').send('/who\n');
    await bob.hears('ann: hi\r\n');
    await ann.hears('* here: ann, bob\r\n');
    bob.send('/me waves\r\n');
    await ann.hears('* bob waves\r\n');
    bob.send('/quit\n');
    await ann.hears('* bob has left\r\n');
    expect(await bob.ends()).toMatch(/Goodbye\.\r\n$/);
    expect(ann.received).not.toContain('ann: hi');
  });

  it('insists on a name that nobody has', async () => {
    const ann = await enter(port, 'ann');
    const other = new Client(port);
    clients.push(other);
    other.send('ann\n');
    await other.hears('Another name, please');
    other.send('bob\n');
    await other.hears('Hello, bob.');
    other.send('/nick ann\n/nick b o b\n/nick anna\n');
    await ann.hears('* bob is called anna now\r\n');
    await other.hears('* you are called anna now\r\n');
    expect(other.received.match(/Another name/g)).toHaveLength(3);
    other.send('hi\n');
    await ann.hears('anna: hi\r\n');
  });

  it('takes no name that looks like another one, or like nothing', async () => {
    const ann = await enter(port, 'ann');
    // Full-width letters, a Hangul filler, and the server's own word.
    for (const name of ['Ann', '\uff41\uff4e\uff4e', '\u3164', 'You']) {
      const other = new Client(port);
      clients.push(other);
      other.socket.write(`${name}\n`);
      await other.hears('Another name, please');
    }
    ann.send('/nick ANN\n');
    await ann.hears('* you are called ANN now\r\n');
    expect([...server.names]).toEqual(['ann']);
  });

  it('takes nothing from a browser', async () => {
    const ann = await enter(port, 'ann');
    const browser = new Client(port);
    clients.push(browser);
    browser.send(
      'POST / HTTP/1.1\r\nHost: x\r\nAccept: */*\r\nContent-Length: 9\r\n\r\neve\nhello\n',
    );
    expect(await browser.ends()).toMatch(/Goodbye\.\r\n$/);
    ann.send('/who\n');
    await ann.hears('* here: ann\r\n');
    expect(ann.received).not.toContain('eve');
  });

  it('lets them go to rooms of their own', async () => {
    const [ann, bob] = [await enter(port, 'ann'), await enter(port, 'bob')];
    bob.send('/join tea\n');
    await bob.hears('* you are in tea\r\n');
    await ann.hears('* bob has left\r\n');
    ann.send('anybody?\n/rooms\n/join tea time\n/nothing\n');
    await ann.hears('* rooms: lobby, tea\r\n');
    await ann.hears('/quit        leaves\r\n/join ROOM');
    ann.send('/join tea\n');
    await bob.hears('* ann has joined\r\n');
    ann.send('found you\n');
    await bob.hears('ann: found you\r\n');
    expect(bob.received).not.toContain('anybody?');
  });

  it('shows a newcomer what was said', async () => {
    const ann = await enter(port, 'ann');
    for (let line = 1; line <= 30; line += 1) ann.send(`line ${line}\n`);
    ann.send('/who\n');
    await ann.hears('* here: ann\r\n');
    const bob = await enter(port, 'bob');
    const shown = Array.from({ length: 20 }, (_, index) => `ann: line ${index + 11}\r\n`);
    expect(bob.received).toMatch(
      new RegExp(`you can do\\.\r\n${shown.join('')}\\* you are in lobby\r\n$`),
    );
  });

  it('keeps control characters from the terminals of the others', async () => {
    const [ann, bob] = [await enter(port, 'ann'), await enter(port, 'bob')];
    ann.send('a\x1b[2Jb\x00\x07c\r\r\n');
    await bob.hears('ann: a[2Jbc\r\n');
    // Line ends and directions of Unicode's. A regular expression has its own idea of a line.
    ann.socket.write(`/me${' '.repeat(4000)}d\u2028bob: e\u2029\u202ef\u2066g\u200e\u061c\x85\n`);
    await bob.hears('* ann dbob: efg\r\n');
  });

  it('disconnects a client that sends a line without end', async () => {
    const [ann, bob] = [await enter(port, 'ann'), await enter(port, 'bob')];
    bob.send(`${'x'.repeat(5000)}\nafterwards\n`);
    expect(await bob.ends()).toMatch(/That line is too long\.\r\n$/);
    await ann.hears('* bob has left\r\n');
    expect(ann.received).not.toMatch(/xxx|afterwards/);
  });

  it('forgets empty rooms when there are many', async () => {
    const ann = await enter(port, 'ann');
    for (let room = 0; room < 1200; room += 1) ann.send(`/join room-${room}\n`);
    ann.send('/rooms\n');
    await ann.hears('* rooms: ');
    await until(() => /\* rooms: .*\r\n/.test(ann.received));
    const rooms = /\* rooms: (.*)\r\n/.exec(ann.received)?.[1]?.split(', ') ?? [];
    expect(rooms).toHaveLength(1000);
    expect(rooms).toContain('room-1199');
  });

  it('disconnects a slow reader before it hurts the others', async () => {
    const [ann, bob] = [await enter(port, 'ann'), await enter(port, 'bob')];
    const slow = await enter(port, 'slow');
    slow.socket.pause();
    const line = `${'x'.repeat(4000)}\n`;
    let mostWaiting = 0;
    for (let batch = 1; !ann.received.includes('* slow has left') && batch < 1000; batch += 1) {
      // Not faster than one who listens can listen.
      ann.send(`${line.repeat(20)}batch ${batch}\n`);
      await bob.hears(`ann: batch ${batch}\r\n`);
      bob.received = '';
      for (const channel of map.values()) {
        if (channel instanceof Member) mostWaiting = Math.max(mostWaiting, channel.writableLength);
      }
    }
    await ann.hears('* slow has left\r\n');
    expect(mostWaiting).toBeLessThan(256 * 1024 + 2 * 4096);
    ann.send('still here\n');
    await bob.hears('ann: still here\r\n');
  });

  it.each([
    ['once it has one', 'slow\n', '/nick !\n'],
    ['for help', 'slow\n', '/\n/help\n'],
  ])('disconnects a client that asks without reading, %s', async (_what, first, line) => {
    const ann = await enter(port, 'ann');
    const slow = new Client(port);
    clients.push(slow);
    slow.socket.pause();
    await until(() => map.size === 3);
    slow.send(first + line.repeat(1_000_000));
    let mostWaiting = 0;
    await until(() => {
      for (const channel of map.values()) {
        if (channel instanceof Member) mostWaiting = Math.max(mostWaiting, channel.writableLength);
      }
      return map.size === 2;
    });
    expect(mostWaiting).toBeLessThan(256 * 1024 + 2 * 4096);
    ann.send('/who\n');
    await ann.hears('* here: ann\r\n');
    expect([...server.names]).toEqual(['ann']);
  });

  it('waits so long for one who leaves to read the rest', async () => {
    server.timeToLeave = 100;
    const [ann, slow] = [await enter(port, 'ann'), await enter(port, 'slow')];
    slow.socket.pause();
    const waiting = (): boolean => {
      return [...map.values()].some((one) => one instanceof Member && one.writableLength > 0);
    };
    for (let batch = 1; !waiting(); batch += 1) {
      ann.send(`${`${'x'.repeat(4000)}\n`.repeat(20)}/nick ann${batch}\n`);
      await ann.hears(`* you are called ann${batch} now\r\n`);
    }
    slow.send('/quit\n');
    await ann.hears('* slow has left\r\n');
    clock.advance(99);
    poll(0, map);
    expect(map.size).toBe(3);
    clock.advance(1);
    await until(() => map.size === 2);
  });

  it('gives a name back that was said by one who is put out for it', async () => {
    const [ann, carl] = [await enter(port, 'ann'), await enter(port, 'c'.repeat(20))];
    for (const channel of map.values()) {
      if (channel instanceof Member) channel.highWaterMark = -1;
    }
    // Carl does not take `* ann is called a now`, nor ann that carl has left.
    ann.send('/nick a\n');
    await Promise.all([ann.ends(), carl.ends()]);
    expect([...server.names]).toEqual([]);
    const bob = new Client(port);
    clients.push(bob);
    await bob.hears('Welcome');
    for (const channel of map.values()) if (channel instanceof Member) channel.highWaterMark = -1;
    bob.send('bob\n');
    await bob.ends();
    expect([...server.names]).toEqual([]);
    expect(server.namesIn('lobby')).toEqual([]);
  });

  it('waits so long for a name, whatever is said meanwhile', async () => {
    server.timeForName = 300;
    const ann = await enter(port, 'ann');
    const other = new Client(port);
    clients.push(other);
    for (let names = 1; names <= 3; names += 1) {
      other.send('no name\n');
      await until(() => other.received.match(/Another name/g)?.length === names);
      clock.advance(100);
    }
    await other.ends();
    ann.send('/who\n');
    await ann.hears('* here: ann\r\n');
  });

  it('tells all of the end of many slow readers', async () => {
    const ann = await enter(port, 'ann');
    const crowd = await Promise.all(Array.from({ length: 50 }, (_, n) => enter(port, `slow${n}`)));
    for (const one of crowd) one.socket.pause();
    const left = (): number => (ann.received.match(/ has left/g) ?? []).length;
    for (let lines = 0; left() < 50 && lines < 20_000; lines += 20) {
      ann.send(`${'x'.repeat(4000)}\n`.repeat(20));
      await new Promise((resolve) => setImmediate(resolve));
    }
    await until(() => left() === 50);
    ann.send('/who\n');
    await ann.hears('* here: ann\r\n');
  });
});

// ---------------------------------------------------------------------------------------------

/** What the servers use of a Redis, with a `cut` in the middle of it. */
class SmallRedis extends Dispatcher {
  readonly kept: string[] = [];
  readonly callers = new Set<RedisCaller>();
  publications = 0;
  attempts = 0;
  /** Answers subscribers only. */
  isMute = false;

  constructor(map: ChannelMap) {
    super(null, map);
    this.createSocket();
    this.bind(LOCAL);
    this.listen();
  }

  override handleAccepted(socket: Socket): void {
    this.attempts += 1;
    this.callers.add(new RedisCaller(socket, this));
  }

  cut(): void {
    for (const caller of this.callers) caller.close();
  }

  reset(): void {
    for (const caller of this.callers) caller.setSockOpt(SOL_SOCKET, SO_LINGER, RESET);
    this.cut();
  }
}

class RedisCaller extends RequestChat {
  override encoding: BufferEncoding = 'utf8';
  #subscribed = false;

  constructor(
    socket: Socket,
    readonly redis: SmallRedis,
  ) {
    super(socket, redis.map);
  }

  protected override foundRequest([name, key = '', text = '']: Request): void {
    const reply = this.#obey(name, key, text);
    if (reply !== undefined) this.reply(reply);
  }

  #obey(name: string, key: string, text: string): Reply | undefined {
    const { redis } = this;
    if (redis.isMute && !this.#subscribed) return undefined;
    if (name === 'PING') return this.#subscribed ? ['pong', ''] : new SimpleString('PONG');
    if (name === 'SUBSCRIBE') {
      this.#subscribed = true;
      return ['subscribe', key, 1];
    }
    if (name === 'LRANGE') return redis.kept;
    if (name === 'LTRIM') return new SimpleString('OK');
    if (name === 'RPUSH') return redis.kept.push(text);
    redis.publications += 1;
    for (const one of redis.callers) if (one.#subscribed) one.reply(['message', key, text]);
    // Every third time everybody is cut off: nobody learns whether it was published.
    if (redis.publications % 3 > 0) return 1;
    redis.cut();
    return undefined;
  }

  override close(): void {
    super.close();
    this.redis.callers.delete(this);
  }
}

describe('Several chat servers', () => {
  let map: ChannelMap;
  let redis: SmallRedis;
  let ports: [number, number];
  let running: Promise<void>;
  let logged: string[];

  beforeEach(() => {
    map = new ChannelMap();
    redis = new SmallRedis(map);
    logged = [];
    ports = ['west', 'east'].map((name) => {
      const server = new ChatServer(LOCAL, map);
      server.log = (line) => logged.push(`${name}: ${line}`);
      server.share({ host: '127.0.0.1', port: portOf(redis) }, name);
      return portOf(server);
    }) as [number, number];
    running = loop({ map });
  });

  afterEach(async () => {
    closeAll(map);
    await running;
  });

  it('tell each other everything once, whenever they are cut off', async () => {
    const [ann, bob] = [await enter(ports[0], 'ann'), await enter(ports[1], 'bob')];
    const count = 20;
    for (let line = 1; line <= count; line += 1) {
      ann.send(`line ${line}\n`);
      bob.send(`line ${line}\n`);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    await ann.hears(`bob@east: line ${count}\r\n`);
    await bob.hears(`ann@west: line ${count}\r\n`);
    const lines = Array.from({ length: count }, (_, index) => `line ${index + 1}`);
    expect([...bob.received.matchAll(/ann@west: (.*)\r/g)].map((match) => match[1])).toEqual(lines);
    expect([...ann.received.matchAll(/bob@east: (.*)\r/g)].map((match) => match[1])).toEqual(lines);
    // It would not be for nothing: some were published again.
    expect(redis.kept.length).toBeGreaterThan(2 * count + 2);
    expect(logged).toContainEqual(
      expect.stringMatching(/^west: Redis is lost: it has closed the connection; the next attempt/),
    );
  });

  it('come back less and less often', async () => {
    await until(() => logged.filter((line) => line.endsWith('Redis is there')).length === 2);
    redis.close();
    redis.cut();
    await until(() => logged.filter((line) => line.startsWith('west: Redis is lost')).length === 5);
    const delays = logged
      .filter((line) => line.startsWith('west: Redis is lost'))
      .map((line) => Number(/in (\d+) ms$/.exec(line)?.[1]));
    for (const [attempt, delay] of delays.entries()) {
      expect(delay).toBeGreaterThanOrEqual(50 * 2 ** attempt);
      expect(delay).toBeLessThanOrEqual(100 * 2 ** attempt);
    }
  });

  it('tell a connection that was reset from one that has ended', async () => {
    await until(() => logged.filter((line) => line.endsWith('Redis is there')).length === 2);
    redis.reset();
    await until(() => logged.filter((line) => line.endsWith('Redis is there')).length === 4);
    const lost = logged.filter((line) => line.includes('is lost'));
    expect(lost).toHaveLength(2);
    for (const line of lost) expect(line).toContain('Redis is lost: the connection was reset; the');
  });

  it('give up a connection to Redis on which much is sent, and nothing comes back', async () => {
    const clock = new ManualClock();
    const own = new ChannelMap([], { clock });
    const eager = new ChatServer(LOCAL, own);
    eager.log = (line) => logged.push(`eager: ${line}`);
    eager.share({ host: '127.0.0.1', port: portOf(redis) }, 'eager');
    const ended = loop({ map: own });
    try {
      const ann = await enter(portOf(eager), 'ann');
      await until(() => logged.includes('eager: Redis is there'));
      redis.isMute = true;
      for (let seconds = 0; seconds < 20; seconds += 5) {
        ann.received = '';
        await ann.send('hello\n/who\n').hears('* here: ann\r\n');
        clock.advance(5000);
      }
      await until(() => logged.some((line) => line.startsWith('eager: Redis is lost')));
    } finally {
      closeAll(own);
      await ended;
    }
    expect(logged).toContainEqual(
      expect.stringMatching(/^eager: Redis is lost: it does not answer; the next attempt/),
    );
  });

  it('keep what has been said elsewhere for those who come later', async () => {
    const ann = await enter(ports[0], 'ann');
    ann.send('good morning, w\xc3\xb6rld\n/me waves\n');
    await until(() => redis.kept.some((message) => message.includes('waves')));
    const late = new ChatServer(LOCAL, map);
    late.log = (line) => logged.push(`late: ${line}`);
    late.share({ host: '127.0.0.1', port: portOf(redis) }, 'late');
    await until(() => logged.includes('late: Redis is there'));
    const bob = await enter(portOf(late), 'bob');
    expect(bob.received).toContain(
      'ann@west: good morning, w\xc3\xb6rld\r\n* ann@west waves\r\n* you are in lobby\r\n',
    );
  });

  it('are not confused by what is no message', async () => {
    redis.kept.push('', 'null', '{}', '{"origin":"x"}', '[1]', '"a"', '7');
    const message = { process: 'north', room: 'lobby', nickname: 'eve', kind: 'says', text: 'hi' };
    for (const [count, wrong] of [
      [1, { nickname: 'e\nbob' }],
      [2, { process: 'no\x1b[2J' }],
      [3, { room: '' }],
      [4, { kind: 'shouts' }],
      [5, { text: 'x'.repeat(5000) }],
      [6, { origin: 'n'.repeat(1000) }],
      [7, { text: 'a\x1b[2J\nb' }],
    ] as const) {
      redis.kept.push(
        JSON.stringify({ origin: 'n', count, ...message, text: `${count}`, ...wrong }),
      );
    }
    redis.cut();
    const [ann, bob] = [await enter(ports[0], 'ann'), await enter(ports[1], 'bob')];
    await ann.hears('* bob@east has joined\r\n');
    bob.send('hi\n');
    await ann.hears('bob@east: hi\r\n');
    ann.send('/join tea\n/join lobby\n');
    await ann.hears('* you are in tea\r\n');
    await ann.hears('eve@north: a[2Jb\r\n');
    expect(ann.received).not.toMatch(/e\nbob|shouts|xxx|eve@north: \d/);
  });

  it('forget who has been silent while many others spoke', async () => {
    await until(() => logged.filter((line) => line.endsWith('Redis is there')).length === 2);
    const message = { count: 1, process: 'north', nickname: 'eve', kind: 'says' };
    const say = (origin: string, room: string): string =>
      JSON.stringify({ origin, ...message, room, text: `from ${origin}` });
    const others = Array.from({ length: 10_000 }, (_, n) => say(`n${n}`, 'tea'));
    redis.kept.push(say('a', 'lobby'), say('b', 'lobby'), ...others.slice(1), say('b', 'lobby'));
    redis.kept.push(...others, say('a', 'lobby'));
    redis.cut();
    await until(() => logged.filter((line) => line.endsWith('Redis is there')).length === 4);
    const ann = await enter(ports[0], 'ann');
    const heard = [...ann.received.matchAll(/eve@north: from (.)/g)].map(([, origin]) => origin);
    expect(heard).toEqual(['a', 'b', 'a']);
  });

  it('are not content with themselves in the place of Redis', async () => {
    await until(() => logged.filter((line) => line.endsWith('Redis is there')).length === 2);
    const lonely = new ChatServer(LOCAL, map);
    lonely.log = (line) => logged.push(`lonely: ${line}`);
    const { connectEx } = KernelSocket.prototype;
    jest.spyOn(KernelSocket.prototype, 'connectEx').mockImplementationOnce(function (
      this: KernelSocket,
      address: Address,
    ) {
      // The kernel may choose this port, if nobody listens on it.
      this.bind(address);
      return connectEx.call(this, address);
    });
    lonely.share({ host: '127.0.0.1', port: await freePort() }, 'lonely');
    await until(() => logged.some((line) => line.startsWith('lonely')));
    expect(logged).toContainEqual(
      expect.stringMatching(/^lonely: Redis is lost: ECONNREFUSED: nobody listens there/),
    );
  });
});

// ---------------------------------------------------------------------------------------------

async function startServer(...args: string[]): Promise<{ program: Program; port: number }> {
  const program = start(runTypeScript(EXAMPLE, ['--port', '0', ...args]));
  const [, port] = await program.printed(/chat-room: listening on .*:(\d+)\n/);
  return { program, port: Number(port) };
}

describeWith('nc')('nc (skipped where there is none)', () => {
  /** What `expect` does: sends a line, and waits for the answer, in turn. */
  async function converse(nc: Program, script: [say: string, expected: RegExp][]): Promise<void> {
    for (const [say, expected] of script) {
      nc.output = '';
      nc.child.stdin.write(say);
      await nc.printed(expected);
    }
  }

  it('chats, goes to another room and leaves', async () => {
    const { program, port } = await startServer();
    const [ann, bob] = ['ann', 'bob'].map(() =>
      start(new Program('nc', ['127.0.0.1', String(port)])),
    ) as [Program, Program];
    await ann.printed(/^Welcome\. What is your name\?\r\n$/);
    await converse(ann, [
      ['ann\n', /^Hello, ann\. [^\n]*\r\n\* you are in lobby\r\n$/],
      ['/who\n', /^\* here: ann\r\n$/],
      ['/join tea\n', /^\* you are in tea\r\n$/],
    ]);
    await bob.printed(/^Welcome/);
    await converse(bob, [
      ['ann\n', /^Another name, please/],
      ['bob\n', /^Hello, bob/],
      ['/rooms\n', /^\* rooms: lobby, tea\r\n$/],
      ['/join tea\n', /^\* you are in tea\r\n$/],
    ]);
    await converse(ann, [['/who\n', /\* here: ann, bob\r\n$/]]);
    bob.output = '';
    await converse(ann, [['/quit\n', /^Goodbye\.\r\n$/]]);
    await bob.printed(/^\* ann has left\r\n$/);
    // Ctrl-C ends the server, and the connections with it.
    program.child.kill('SIGINT');
    expect(await program.ended()).toBe(0);
    bob.child.stdin.end();
    expect(await bob.ended()).toBe(0);
  });
});

describeWith('redis-server')(
  'Two processes and a real redis-server (skipped where there is none)',
  () => {
    let folder: string;

    beforeEach(() => {
      folder = mkdtempSync(join(tmpdir(), 'asyncore-'));
    });

    afterEach(() => rmSync(folder, { recursive: true, force: true }));

    async function startRedis(port: number, ...args: string[]): Promise<Program> {
      const where = ['--port', String(port), '--bind', '127.0.0.1', '--dir', folder];
      const redis = start(new Program('redis-server', [...where, '--save', '', ...args]));
      await redis.printed(/ready to accept connections/i);
      return redis;
    }

    async function startTwo(redisPort: number) {
      const redis = `127.0.0.1:${redisPort}`;
      return Promise.all([
        startServer('--redis', redis, '--name', 'west'),
        startServer('--redis', redis, '--name', 'east'),
      ]);
    }

    it.each([
      ['keeps its log', ['--appendonly', 'yes', '--appendfsync', 'always'], true],
      ['loses everything', [], false],
    ])('go on when one that %s is killed and comes back', async (_what, args, keeps) => {
      const redisPort = await freePort();
      let redis = await startRedis(redisPort, ...args);
      const [west, east] = await startTwo(redisPort);
      const [ann, bob] = [await enter(west.port, 'ann'), await enter(east.port, 'bob')];
      await ann.hears('* bob@east has joined\r\n');

      let line = 0;
      const say = async (times: number): Promise<void> => {
        for (const end = line + times; line < end; ) {
          line += 1;
          ann.send(`line ${line}\n`);
          bob.send(`line ${line}\n`);
          await new Promise((resolve) => setTimeout(resolve, 5));
        }
      };
      const arrive = async (): Promise<void> => {
        await ann.hears(`bob@east: line ${line}\r\n`);
        await bob.hears(`ann@west: line ${line}\r\n`);
      };
      const heard = (one: Client, whom: string): number[] =>
        [...one.received.matchAll(new RegExp(`${whom}: line (\\d+)\r`, 'g'))].map((match) =>
          Number(match[1]),
        );

      for (let kills = 0; kills < 2; kills += 1) {
        await say(40);
        await redis.kill();
        await say(40);
        expect(heard(bob, 'ann@west')).not.toContain(line);
        redis = await startRedis(redisPort, ...args);
        await say(40);
        await arrive();
      }
      expect(west.program.output).toMatch(/Redis is lost: .*\n[\s\S]*Redis is there\n/);

      const all = Array.from({ length: line }, (_, index) => index + 1);
      for (const numbers of [heard(ann, 'bob@east'), heard(bob, 'ann@west')]) {
        if (keeps) expect(numbers).toEqual(all);
        // What it had not passed on when it was killed is lost; but nothing comes twice, or late.
        expect(numbers).toEqual([...new Set(numbers)].sort((a, b) => a - b));
        expect(numbers.length).toBeGreaterThan(all.length - 10);
      }
    });

    it('start without it, and find it later', async () => {
      const redisPort = await freePort();
      const [west, east] = await startTwo(redisPort);
      const [ann, bob] = [await enter(west.port, 'ann'), await enter(east.port, 'bob')];
      ann.send('anybody?\n');
      await west.program.printed(/Redis is lost: ECONNREFUSED: .*; the next attempt is in/);
      await startRedis(redisPort);
      await bob.hears('* ann@west has joined\r\nann@west: anybody?\r\n');
      bob.send('yes\n');
      await ann.hears('bob@east: yes\r\n');
      expect(ann.received).not.toContain('@west');
    });

    it('wait for one that refuses, and say why', async () => {
      const redisPort = await freePort();
      await startRedis(redisPort, '--requirepass', 'secret');
      const { program } = await startServer('--redis', `localhost:${redisPort}`);
      await program.printed(
        /Redis is lost: NOAUTH Authentication required\.; the next attempt is in \d+ ms\n[\s\S]*NOAUTH/,
      );
      program.child.kill('SIGTERM');
      expect(await program.ended()).toBe(0);
    });
  },
);
