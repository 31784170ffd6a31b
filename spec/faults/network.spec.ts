// What the network and the kernel do to a server: resets at every moment, peers that never read or
// hardly ever write, shortages, and descriptors that are closed by number. Each is made to happen by
// real sockets, but for the errors that no kernel gives on demand: these come from a stand-in for one.
//
// Covered elsewhere: the peer's reset while connected, and during a partial send
// (dispatcher-matrix, chat/output); EMFILE in accept within a process (python-bugs); a descriptor
// that was closed by number and not duplicated (loop).

import { closeSync } from 'node:fs';
import {
  type Address,
  AF_INET,
  AsyncChat,
  type ChannelMap,
  Dispatcher,
  type Handled,
  type ManualClock,
  SHUT_WR,
  SO_LINGER,
  SO_RCVBUF,
  SO_SNDBUF,
  SOL_SOCKET,
  Socket,
  SocketError,
  type SocketLike,
} from 'asyncore';
import koffi from 'koffi';
import { drive, localAddress, MATRIX, WAYS, type Way } from '../support/drive';
import { keep, stillMap } from '../support/keep';
import { tick } from '../support/limits';
import { Client, Program, TYPESCRIPT, until } from '../support/program';

const LOGGED: ReadonlySet<string> = new Set(['error', 'warning', 'info']);

let map: ChannelMap;
let clock: ManualClock;

beforeEach(() => {
  ({ map, clock } = stillMap());
});

/** A chat of lines that writes down what happens to it. */
class Chat extends AsyncChat {
  override ignoreLogTypes = LOGGED;
  readonly events: string[] = [];

  constructor(socket: SocketLike | null) {
    super(socket, map);
    this.setTerminator('\n');
  }
  override collectIncomingData(data: Buffer): Handled {
    this._collectIncomingData(data);
  }
  override foundTerminator(): Handled {
    this.events.push(`line ${this._getData()}`);
  }
  override handleConnect(): Handled {
    this.events.push('connect');
  }
  override handleEof(): Handled {
    this.events.push('eof');
  }
  override handleTimeout(): Handled {
    this.events.push('timeout');
    return super.handleTimeout();
  }
  override handleError(error: unknown): Handled {
    this.events.push(`error ${(error as { code?: string }).code}`);
    return super.handleError(error);
  }
  override handleClose(): Handled {
    this.events.push('close');
    return super.handleClose();
  }
}

class Server extends Dispatcher {
  override ignoreLogTypes = LOGGED;
  readonly chats: Chat[] = [];
  /** Applied to each newcomer. */
  welcome: (chat: Chat) => void = () => {};

  constructor(family: number, backlog = 128) {
    super(null, map);
    this.createSocket(family);
    this.bind(localAddress(family));
    this.listen(backlog);
  }
  get name(): Address {
    return (this.socket as Socket).getSockName();
  }
  override handleAccepted(socket: Socket): Handled {
    const chat = new Chat(keep(socket));
    this.chats.push(chat);
    this.welcome(chat);
  }
}

function call(server: Server, family: number): Socket {
  const socket = keep(Socket.socket(family));
  socket.connect(server.name);
  return socket;
}

/** close() becomes a reset, as when the peer has crashed. */
function reset(socket: Socket): void {
  if (socket.closed) return;
  socket.setSockOpt(SOL_SOCKET, SO_LINGER, Buffer.from([1, 0, 0, 0, 0, 0, 0, 0]));
  socket.close();
}

const TCP = MATRIX.filter(([name]) => !name.startsWith('Unix'));

describe.each(TCP)('A reset (%s)', (_, family, how) => {
  let server: Server;

  beforeEach(() => {
    server = new Server(family);
  });

  /** A line of a newcomer's is heard: the server lives. */
  async function serves(): Promise<void> {
    const before = server.chats.length;
    const caller = call(server, family);
    caller.send(Buffer.from('hello\n'));
    await drive(how, () => server.chats[before]?.events.length === 1, { map });
    expect(server.chats[before]?.events).toEqual(['line hello']);
  }

  async function accepted(): Promise<[Chat, Socket]> {
    const caller = call(server, family);
    await drive(how, () => server.chats.length > 0, { map });
    return [server.chats[0] as Chat, caller];
  }

  /** Until the channel has left, and some ticks more. */
  async function over(chat: Chat): Promise<void> {
    await drive(how, () => chat.fileno() === null, { map });
    await serves();
  }

  it('before accept costs that connection', async () => {
    for (let left = 3; left > 0; left -= 1) reset(call(server, family));
    await drive(how, () => server.chats.length === 3, { map });
    for (const chat of server.chats.slice()) {
      await over(chat);
      expect(chat.events).toEqual(['close']);
    }
  });

  it('between accept and the first read', async () => {
    server.welcome = () => reset(caller);
    const caller = call(server, family);
    caller.send(Buffer.from('heard\n'));
    await drive(how, () => server.chats.length > 0, { map });
    server.welcome = () => {};
    await over(server.chats[0] as Chat);
    // What has arrived before it, Linux gives out.
    expect(server.chats[0]?.events).toEqual(['line heard', 'close']);
  });

  it('within a record', async () => {
    const [chat, caller] = await accepted();
    caller.send(Buffer.from('whole\nhal'));
    await drive(how, () => chat.events.length === 1, { map });
    reset(caller);
    await over(chat);
    expect(chat.events).toEqual(['line whole', 'close']);
  });

  it('after a half-close, with output that waits', async () => {
    const [chat, caller] = await accepted();
    chat.allowHalfOpen = true;
    caller.shutdown(SHUT_WR);
    await drive(how, () => chat.events.length === 1, { map });
    chat.push(Buffer.alloc(8 * 1024 * 1024));
    expect(chat.writableLength).toBeGreaterThan(0);
    reset(caller);
    await over(chat);
    expect(chat.events).toEqual(['eof', 'close']);
  });

  it('after closeWhenDone', async () => {
    const [chat, caller] = await accepted();
    chat.push(Buffer.alloc(8 * 1024 * 1024));
    chat.closeWhenDone();
    reset(caller);
    await over(chat);
    expect(chat.events).toEqual(['close']);
  });

  it('while reading is paused, and output waits', async () => {
    const [chat, caller] = await accepted();
    chat.pauseReading();
    chat.push(Buffer.alloc(8 * 1024 * 1024));
    reset(caller);
    await over(chat);
    expect(chat.events).toEqual(['close']);
  });

  it('while reading is paused, and nothing else is waited for, is heard of afterwards', async () => {
    const [chat, caller] = await accepted();
    chat.pauseReading();
    reset(caller);
    await serves();
    expect(chat.events).toEqual([]);
    chat.resumeReading();
    await over(chat);
    expect(chat.events).toEqual(['close']);
  });

  it('within the tick in which there was input', async () => {
    const callers: Socket[] = [];
    // The first chat that is read resets all.
    server.welcome = (chat) => {
      chat.foundTerminator = () => {
        for (const caller of callers) reset(caller);
      };
    };
    for (let left = 4; left > 0; left -= 1) callers.push(call(server, family));
    await drive(how, () => server.chats.length === 4, { map });
    server.welcome = () => {};
    for (const caller of callers) caller.send(Buffer.from('x\n'));
    for (const chat of server.chats.slice()) await over(chat);
    for (const { events } of server.chats.slice(0, 4)) expect(events).toEqual(['close']);
  });
});

describe.each(MATRIX)('A peer that never reads (%s)', (_, family, how) => {
  it('is sent no more than highWaterMark and what the kernel holds, by who heeds push()', async () => {
    const PIECE = 10_000;
    const server = new Server(family);
    const caller = call(server, family);
    let pushed = 0;
    let most = 0;
    server.welcome = (chat) => {
      chat.highWaterMark = 100_000;
      chat.handleDrain = () => fill(chat);
      fill(chat);
    };
    function fill(chat: Chat): void {
      let more: boolean;
      do {
        more = chat.push(Buffer.alloc(PIECE));
        pushed += PIECE;
        most = Math.max(most, chat.writableLength);
      } while (more);
    }
    await drive(how, () => server.chats.length > 0, { map });
    const before = pushed;
    const end = performance.now() + 50;
    await drive(how, () => performance.now() > end, { map });
    expect(pushed).toBe(before);
    expect(most).toBeLessThanOrEqual(100_000 + PIECE);

    // When it reads at last, it gets more.
    await drive(
      how,
      () => {
        caller.recv(65536);
        return pushed > before;
      },
      { map },
    );
  });
});

describe.each(WAYS)('A slow consumer (%s)', (_, how) => {
  it('that pauses reading stops the sender, and loses nothing', async () => {
    const [own, peer] = Socket.pair();
    own.setSockOpt(SOL_SOCKET, SO_RCVBUF, 4096);
    keep(peer).setSockOpt(SOL_SOCKET, SO_SNDBUF, 4096);
    const chat = new Chat(keep(own));
    chat.foundTerminator = () => {
      chat.events.push(`${chat._getData()}`);
      chat.pauseReading();
    };
    const lines = Array.from({ length: 20_000 }, (__, index) => `${index}\n`).join('');
    const data = Buffer.from(lines);
    let sent = 0;
    const send = (): void => {
      while (sent < data.length) {
        const taken = peer.send(data.subarray(sent, sent + 4096));
        if (taken === null) return;
        sent += taken;
      }
    };
    const held = (): number => chat.acInBuffer.length;
    send();
    await drive(how, () => chat.events.length === 1, { map });
    send();
    const stopped = sent;
    expect(stopped).toBeLessThan(data.length);
    await drive(
      how,
      () => {
        send();
        expect(held()).toBeLessThanOrEqual(chat.acInBufferSize);
        chat.resumeReading();
        return chat.events.length >= 3000;
      },
      { map },
    );
    expect(chat.events.slice(0, 3000)).toEqual(lines.split('\n').slice(0, 3000));
  });
});

/** A crowd in one way, and what is several turns of the kernel's lists in the others. */
const CROWDS = WAYS.map(([name, how], at): [number, string, Way] => [
  at === 0 ? 2000 : 600,
  name,
  how,
]);

describe.each(CROWDS)('%d connections that hardly ever send (%s)', (COUNT, _, how) => {
  /** @returns the callers, all accepted */
  async function crowd(server: Server): Promise<Socket[]> {
    const callers: Socket[] = [];
    while (callers.length < COUNT) {
      for (let left = 100; left > 0; left -= 1) callers.push(call(server, AF_INET));
      await drive(how, () => server.chats.length === callers.length, { map });
    }
    return callers;
  }

  it('are served a byte at a time, cut off at maxRecordLength, and timed out in silence', async () => {
    const server = new Server(AF_INET, 512);
    server.welcome = (chat) => {
      chat.maxRecordLength = 4;
    };
    const callers = await crowd(server);
    const newcomer = call(server, AF_INET);
    await drive(how, () => server.chats.length > COUNT, { map });
    const last = server.chats[COUNT] as Chat;
    // Half of them say nothing, the others a byte at a time that is never the end of a line.
    for (const chat of server.chats.slice(0, COUNT / 2)) chat.setIdleTimeout(300);
    const talking = callers.slice(COUNT / 2);
    for (let byte = 0; byte < 5; byte += 1) {
      const heard = server.chats.slice(COUNT / 2, COUNT).map((chat) => chat.incoming.length);
      for (const caller of talking) caller.send(Buffer.from('x'));
      await drive(
        how,
        () =>
          server.chats
            .slice(COUNT / 2, COUNT)
            .every((chat, at) => chat.fileno() === null || chat.incoming.length > (heard[at] ?? 0)),
        { map },
      );
      // The others are not kept waiting.
      newcomer.send(Buffer.from(`${byte}\n`));
      await drive(how, () => last.events.length === byte + 1, { map });
    }
    for (const chat of server.chats.slice(COUNT / 2, COUNT)) {
      expect(chat.events).toEqual(['error ERR_RECORD_TOO_LONG', 'close']);
    }
    const silent = server.chats.slice(0, COUNT / 2);
    clock.advance(299.9);
    await tick(how, map, 3);
    for (const chat of silent) expect(chat.events).toEqual([]);
    clock.advance(0.1);
    await tick(how, map);
    for (const chat of silent) expect(chat.events).toEqual(['timeout', 'close']);
    expect(last.events).toEqual(['line 0', 'line 1', 'line 2', 'line 3', 'line 4']);
    expect(map.nextDue).toBe(Infinity);
    expect(map.size).toBe(2);
  });
});

/** A socket whose next calls of one method fail, as the kernel's would when it is short of memory. */
function shortOf(socket: Socket, method: 'send' | 'accept', codes: string[]): SocketLike {
  const errnos: Record<string, number> = { ENFILE: 23, EMFILE: 24, ENOBUFS: 105, ENOMEM: 12 };
  return new Proxy(socket, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== 'function') return value;
      return (...args: unknown[]): unknown => {
        const code = name === method ? codes.shift() : undefined;
        if (code !== undefined) throw new SocketError(code, errnos[code] ?? 0, method, 'short');
        return Reflect.apply(value, target, args);
      };
    },
    set: (target, name, value) => Reflect.set(target, name, value, target),
  });
}

describe.each(WAYS)('A shortage of memory (%s)', (_, how) => {
  describe.each(['ENOBUFS', 'ENOMEM'])('in send, %s', (code) => {
    it('ends the channel, and nobody else', async () => {
      const [own, peer] = Socket.pair();
      const chat = new Chat(shortOf(keep(own), 'send', [code]));
      const [another, anotherPeer] = Socket.pair();
      const other = new Chat(keep(another));
      // Not at once, but in a write event.
      chat.producerFifo.push('lost');
      await drive(how, () => chat.fileno() === null, { map });
      expect(chat.events).toEqual([`error ${code}`, 'close']);
      expect(keep(peer).recv(100)?.length).toBe(0);
      keep(anotherPeer).send(Buffer.from('x\n'));
      await drive(how, () => other.events.length === 1, { map });
      expect(other.events).toEqual(['line x']);
    });

    it('may be waited out: what was to be sent is still there, and in order', async () => {
      const [own, peer] = Socket.pair();
      const codes = [code, code, code];
      const chat = new Chat(shortOf(keep(own), 'send', codes));
      chat.handleError = (error) => {
        chat.events.push(`error ${(error as SocketError).code}`);
      };
      keep(peer);
      chat.push('one ');
      chat.push('two ');
      await drive(how, () => codes.length === 0, { map });
      chat.push('three');
      await drive(how, () => chat.writableLength === 0, { map });
      expect(peer.recv(100)?.toString()).toBe('one two three');
      expect(chat.events).toEqual([`error ${code}`, `error ${code}`, `error ${code}`]);
    });
  });

  // ENFILE is the whole machine's shortage: to make it would be to take every descriptor there is.
  it.each(['ENFILE', 'EMFILE', 'ENOBUFS', 'ENOMEM'])(
    'in accept, %s, is waited out by the listener',
    async (code) => {
      const server = new Server(AF_INET);
      const codes = [code, code];
      const told: unknown[] = [];
      server.handleError = (error) => {
        told.push((error as SocketError).code);
        return Dispatcher.prototype.handleError.call(server, error);
      };
      const bare = server.socket as Socket;
      server.setSocket(shortOf(bare, 'accept', codes));
      const caller = keep(Socket.socket());
      caller.connect(bare.getSockName());
      await drive(how, () => told.length > 0, { map });
      for (const tries of [2, 3]) {
        // It does not try all the time.
        clock.advance(99.9);
        await tick(how, map, 3);
        expect(told).toHaveLength(tries - 1);
        clock.advance(0.1);
        await tick(how, map, 3);
        expect(told.length + server.chats.length).toBe(tries);
      }
      expect(told).toEqual([code, code]);
      expect(server.chats).toHaveLength(1);
      caller.send(Buffer.from('x\n'));
      await drive(how, () => server.chats[0]?.events.length === 1, { map });
    },
  );
});

describe.each([
  ['select order, loop', false, false],
  ['select order, loopSync', false, true],
  ['poll order, loop', true, false],
  ['poll order, loopSync', true, true],
])('A server with few descriptors (%s)', (_, usePoll, sync) => {
  const SERVER = `
    const { AsyncChat, Dispatcher, loop, loopSync, socketMap } = require('./lib/index.ts');
    let told = 0;
    class Echo extends AsyncChat {
      constructor(socket) { super(socket); this.setTerminator('\\n'); }
      collectIncomingData(data) { this._collectIncomingData(data); }
      foundTerminator() {
        const line = this._getData().toString();
        this.push(line + '\\n');
        if (line === 'end') { this.closeWhenDone(); server.close(); over(); }
      }
    }
    class Server extends Dispatcher {
      accepts = 0;
      constructor() {
        super();
        this.createSocket();
        this.bind({ host: '127.0.0.1', port: 0 });
        this.listen(512);
      }
      handleAccept() { this.accepts += 1; return super.handleAccept(); }
      handleAccepted(socket) { new Echo(socket); }
      handleError(error) { told += 1; if (error.code !== 'EMFILE') throw error; }
    }
    const server = new Server();
    const start = performance.now();
    const over = () => console.log('tried ' + told + ' times in ' + (performance.now() - start) + ' ms');
    // Only now, as loading TypeScript takes descriptors of its own.
    const taken = new Set(require('node:fs').readdirSync('/proc/self/fd').map(Number));
    let limit = 0;
    for (let free = 0; free < 40; limit += 1) if (!taken.has(limit)) free += 1;
    require('node:child_process').execFileSync('prlimit', [
      '--pid', String(process.pid), '--nofile=' + limit + ':' + limit,
    ]);
    console.log('port ' + server.socket.getSockName().port);
    const options = { usePoll: ${usePoll}, timeout: 1000 };
    if (${sync}) loopSync(options);
    else void loop(options);
  `;

  it('serves all who call, one after the other', async () => {
    const program = new Program(process.execPath, [...TYPESCRIPT, '-e', SERVER]);
    const clients: Client[] = [];
    try {
      const port = Number((await program.printed(/port (\d+)/))[1]);
      for (let index = 0; index < 120; index += 1) {
        clients.push(new Client(port).send(`line ${index}\n`));
      }
      const waiting = [...clients.entries()];
      const refused: number[] = [];
      while (waiting.length > 0) {
        await until(() => waiting.some(([, { received }]) => received !== ''));
        // Long enough for it to find that there is no descriptor for the next one.
        if (waiting.length > 60) await new Promise((resolve) => setTimeout(resolve, 250));
        for (const [index, client] of waiting.splice(0)) {
          if (client.received === '') waiting.push([index, client]);
          else if (client.received === `line ${index}\n`) client.socket.end();
          else refused.push(index);
        }
      }
      expect(refused).toEqual([]);
      const last = new Client(port).send('end\n');
      clients.push(last);
      await last.ends();
      const [, tried, time] = await program.printed(/tried (\d+) times in ([\d.]+) ms/);
      // It has met the limit, and has not turned in circles over it.
      expect(Number(tried)).toBeGreaterThan(0);
      expect(Number(tried)).toBeLessThan(Number(time) / 100 + 2);
      for (const client of clients) client.socket.destroy();
      expect(await program.ended()).toBe(0);
    } finally {
      for (const client of clients) client.socket.destroy();
      await program.kill();
    }
  });
});

const libc = koffi.load(null);
const dup = libc.func('int dup(int)') as (fd: number) => number;

describe.each(WAYS)(
  'A descriptor that is closed by number while a duplicate is open (%s)',
  (_, how) => {
    const duplicates: number[] = [];

    afterEach(() => {
      for (const fd of duplicates.splice(0)) closeSync(fd);
    });

    function closeByNumber(socket: Socket): void {
      duplicates.push(dup(socket.fileno()));
      closeSync(socket.fileno());
    }

    function chatAndPeer(): [chat: Chat, own: Socket, peer: Socket] {
      const [own, peer] = Socket.pair();
      return [new Chat(own), own, keep(peer)];
    }

    /** So that the map is never empty. */
    function bystander(): [Chat, Socket] {
      const [chat, , peer] = chatAndPeer();
      return [chat, peer];
    }

    async function hears(chat: Chat, peer: Socket): Promise<void> {
      const before = chat.events.length;
      peer.send(Buffer.from('x\n'));
      await drive(how, () => chat.events.length > before, { map });
      expect(chat.events.at(-1)).toBe('line x');
    }

    it.each(['silent', 'talking'])('ends its channel, and nobody else: a %s peer', async (kind) => {
      const [other, otherPeer] = bystander();
      const [chat, own, peer] = chatAndPeer();
      await hears(chat, peer);
      if (kind === 'talking') peer.send(Buffer.from('unread\n'));
      closeByNumber(own);
      if (kind === 'talking') await drive(how, () => chat.fileno() === null, { map });
      else chat.close();
      expect(chat.events.filter((event) => event === 'close').length).toBeLessThanOrEqual(1);
      peer.send(Buffer.from('nobody reads this\n'));
      await hears(other, otherPeer);
      await hears(other, otherPeer);
    });

    it('brings nothing to a newcomer that has got the number', async () => {
      const [other, otherPeer] = bystander();
      const [chat, own, peer] = chatAndPeer();
      await hears(chat, peer);
      const fd = own.fileno();
      closeByNumber(own);
      const [first, second] = Socket.pair();
      const [heir, heirPeer] = first.fileno() === fd ? [first, second] : [second, first];
      expect(heir.fileno()).toBe(fd);
      chat.delChannel();
      // Nobody may close the number for it, now that it is another's: not when it is collected, either.
      own.detach();
      const next = new Chat(heir);
      peer.send(Buffer.from('for nobody\n'));
      await hears(next, keep(heirPeer));
      await hears(other, otherPeer);
      expect(next.events).toEqual(['line x']);
    });

    it('costs the others nothing, again and again', async () => {
      const [other, otherPeer] = bystander();
      for (let round = 0; round < 20; round += 1) {
        const [chat, own, peer] = chatAndPeer();
        await hears(chat, peer);
        closeByNumber(own);
        chat.close();
        peer.send(Buffer.from('x'));
        await hears(other, otherPeer);
      }
    });
  },
);
