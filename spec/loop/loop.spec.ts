// What is called when, and what becomes of what goes wrong.

import { spawn } from 'node:child_process';
import { getEventListeners, once } from 'node:events';
import { closeSync, rmSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  AF_INET,
  AsyncChat,
  type Channel,
  ChannelMap,
  closeAll,
  compactTraceback,
  Dispatcher,
  ExitNow,
  exception,
  type Handled,
  type InternetAddress,
  type LoopOptions,
  loop,
  loopSync,
  MSG_OOB,
  POLLERR,
  POLLHUP,
  POLLIN,
  POLLNVAL,
  POLLOUT,
  POLLPRI,
  poll,
  poll2,
  poll3,
  read,
  readwrite,
  Socket,
  SocketError,
  socketMap,
  write,
} from 'asyncore';
import { cannot } from '../../lib/errors';
import { registryOf } from '../../lib/loop/channel-map';
import { build } from '../support/build';
import { WAYS, type Way } from '../support/drive';
import { keep, newMap, stillMap } from '../support/keep';
import { connection, pair } from '../support/sockets';

const BYTE = Buffer.from('x');

const children: ReturnType<typeof spawn>[] = [];

let emitWarning: jest.SpyInstance;

beforeEach(() => {
  emitWarning = jest.spyOn(process, 'emitWarning').mockImplementation(() => {});
});

afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
});

type Handler = () => unknown;

/** A channel that tells what happens to it, and does what it is told. */
class Script implements Channel {
  readonly map?: ChannelMap;
  accepting = false;
  closes = 0;
  asked = 0;
  readonly errors: unknown[] = [];
  onRead: Handler = () => {};
  onWrite: Handler = () => {};
  onExpt: Handler = () => {};
  onClose: Handler = () => {};
  onError: (error: unknown) => unknown = () => {};
  onReadable: () => boolean = () => this.wants.includes('r');

  constructor(
    readonly name = '',
    readonly log: string[] = [],
    public wants = '',
    map?: ChannelMap,
  ) {
    if (map !== undefined) this.map = map;
  }

  readable(): boolean {
    this.asked += 1;
    return this.onReadable();
  }
  writable(): boolean {
    return this.wants.includes('w');
  }
  #tell(what: string, then: () => unknown): Handled {
    this.log.push(`${this.name}.${what}`);
    return then() as Handled;
  }
  handleReadEvent(): Handled {
    return this.#tell('read', this.onRead);
  }
  handleWriteEvent(): Handled {
    return this.#tell('write', this.onWrite);
  }
  handleExptEvent(): Handled {
    return this.#tell('expt', this.onExpt);
  }
  handleClose(): Handled {
    return this.#tell('close', this.onClose);
  }
  handleError(error: unknown): Handled {
    this.errors.push(error);
    return this.#tell('error', () => this.onError(error));
  }
  close(): void {
    this.closes += 1;
  }
}

/** A chat that keeps what it gets. */
class Chat extends AsyncChat {
  readonly got: string[] = [];
  readonly events: string[] = [];
  constructor(socket: Socket, map: ChannelMap) {
    super(socket, map);
    this.setTerminator(null);
  }
  override collectIncomingData(data: Buffer): void {
    this.got.push(data.toString());
  }
  override foundTerminator(): void {}
  override handleError(error: unknown): void {
    this.events.push(`error ${(error as { code?: string }).code ?? error}`);
    this.close();
  }
  override handleClose(): void {
    this.events.push('close');
    this.close();
  }
}

function chatIn(map: ChannelMap): [chat: Chat, peer: Socket] {
  const [own, peer] = pair();
  return [new Chat(own, map), peer];
}

/** Puts a scripted channel on a new socket into `map`. */
function scriptIn(
  map: ChannelMap,
  name: string,
  log: string[],
  wants: string,
): [script: Script, own: Socket, peer: Socket] {
  const [own, peer] = pair();
  const script = new Script(name, log, wants, map);
  map.set(own.fileno(), script);
  return [script, own, peer];
}

/** Two channels that throw one byte to and fro as fast as they can. */
function pingPong(map: ChannelMap): { passes: number; stop(): void } {
  const [a, b] = pair();
  const game = {
    passes: 0,
    stop() {
      for (const channel of channels) channel.close();
    },
  };
  class Player extends Dispatcher {
    override writable(): boolean {
      return false;
    }
    override handleRead(): void {
      const ball = this.recv(10);
      if (ball === null) return;
      game.passes += 1;
      this.send(ball);
    }
    override handleClose(): void {
      this.close();
    }
  }
  const channels = [new Player(a, map), new Player(b, map)];
  a.send(BYTE);
  return game;
}

async function settled(): Promise<void> {
  for (let turn = 0; turn < 3; turn += 1) await new Promise((done) => setImmediate(done));
}

/** Runs a map in one of the ways, for so many passes. */
async function run(
  { sync, usePoll }: Way,
  options: { map: ChannelMap; timeout?: number; count?: number },
): Promise<void> {
  if (sync) loopSync({ timeout: 2000, ...options, usePoll });
  else await loop({ timeout: 2000, ...options, usePoll });
}

describe('the guards', () => {
  const GUARDS: [string, (channel: Channel) => void, 'onRead' | 'onWrite' | 'onExpt', string][] = [
    ['read', read, 'onRead', '.read'],
    ['write', write, 'onWrite', '.write'],
    ['exception', exception, 'onExpt', '.expt'],
  ];

  describe.each(GUARDS)('%s', (_, guard, handler, event) => {
    it('calls the event', () => {
      const channel = new Script();
      guard(channel);
      expect(channel.log).toEqual([event]);
    });

    it.each([
      ['an error', new Error('no')],
      ['a disconnect', new SocketError('ECONNRESET', 104, 'recv', 'reset')],
      ['null', null],
      ['undefined', undefined],
      ['a string', 'text'],
      ['a number', 0],
      ['an object with throwing getters', throwing()],
    ])('gives %s that is thrown to handleError', (_, thrown) => {
      const channel = new Script();
      channel[handler] = () => {
        throw thrown;
      };
      guard(channel);
      expect(channel.log).toEqual([event, '.error']);
      expect(channel.errors[0]).toBe(thrown);
      expect(channel.closes).toBe(0);
      expect(emitWarning).not.toHaveBeenCalled();
    });

    it('lets ExitNow pass', () => {
      const channel = new Script();
      const exit = new ExitNow('enough');
      channel[handler] = () => {
        throw exit;
      };
      expect(() => guard(channel)).toThrow(exit);
      expect(channel.log).toEqual([event]);
    });

    it('lets ExitNow out of handleError pass', () => {
      const channel = new Script();
      const exit = new ExitNow('enough');
      channel[handler] = () => {
        throw new Error('no');
      };
      channel.onError = () => {
        throw exit;
      };
      expect(() => guard(channel)).toThrow(exit);
      expect(emitWarning).not.toHaveBeenCalled();
    });

    it('gives the rejection of an async event to handleError', async () => {
      const channel = new Script();
      const error = new Error('later');
      channel[handler] = async () => {
        await null;
        throw error;
      };
      guard(channel);
      expect(channel.errors).toEqual([]);
      await settled();
      expect(channel.errors).toEqual([error]);
      expect(emitWarning).not.toHaveBeenCalled();
    });

    it('leaves a promise that is kept alone', async () => {
      const channel = new Script();
      channel[handler] = async () => 'fine';
      guard(channel);
      await settled();
      expect(channel.log).toEqual([event]);
    });

    it('says in a warning that handleError threw, and closes the channel', () => {
      const map = newMap();
      const channel = new Script('', [], '', map);
      map.set(1000, channel).set(1001, channel).set(1002, new Script());
      channel[handler] = () => {
        throw new Error('first');
      };
      channel.onError = () => {
        throw new Error('second');
      };
      guard(channel);
      expect(emitWarning).toHaveBeenCalledTimes(1);
      expect(emitWarning).toHaveBeenCalledWith(expect.stringContaining('Error: second'), {
        type: 'ChannelWarning',
        code: 'ASYNCORE_HANDLE_ERROR',
      });
      expect(channel.closes).toBe(1);
      // Its close() leaves it in the map, so it is taken out.
      expect([...map.keys()]).toEqual([1002]);
    });
  });

  it('an ExitNow out of its close() leaves the loop, and the channel leaves the map', () => {
    const map = newMap();
    const channel = new Script('', [], '', map);
    map.set(1000, channel).set(1001, new Script());
    channel.close = () => {
      throw new ExitNow('enough');
    };
    channel.onRead = channel.onError = () => {
      throw new Error('no');
    };
    expect(() => read(channel)).toThrow(new ExitNow('enough'));
    expect(emitWarning).toHaveBeenCalledTimes(1);
    expect([...map.keys()]).toEqual([1001]);
  });

  it('says so also when the channel cannot even be closed', () => {
    const channel = new Script();
    channel.close = () => {
      throw new Error('third');
    };
    channel.onRead = channel.onError = () => {
      throw new Error('no');
    };
    read(channel);
    expect(emitWarning).toHaveBeenCalledTimes(1);
  });

  it.each([
    ['null', null],
    ['an object with throwing getters', throwing()],
    ['what cannot be converted to a string', { [Symbol.toPrimitive]: () => ({}) }],
  ])('says so whatever handleError threw: %s', (_, thrown) => {
    const channel = new Script();
    channel.onRead = channel.onError = () => {
      throw thrown;
    };
    read(channel);
    expect(emitWarning).toHaveBeenCalledTimes(1);
    expect(channel.closes).toBe(1);
  });

  it('closes the channel of an async handleError that rejects, and does not go round', async () => {
    const channel = new Script();
    channel.onRead = () => {
      throw new Error('first');
    };
    channel.onError = () => Promise.reject(new Error('second'));
    read(channel);
    await settled();
    await settled();
    expect(channel.errors).toHaveLength(1);
    expect(channel.closes).toBe(1);
    expect(emitWarning).toHaveBeenCalledTimes(1);
  });

  it('takes anything with a then for a promise', async () => {
    const channel = new Script();
    channel.onRead = () => ({
      // biome-ignore lint/suspicious/noThenProperty: it is what is tried here
      then: (_: unknown, reject: (error: unknown) => void) => reject('thenable'),
    });
    read(channel);
    await settled();
    expect(channel.errors).toEqual(['thenable']);
  });

  it('gives what a then throws to handleError', () => {
    const channel = new Script();
    channel.onRead = () => ({
      // biome-ignore lint/suspicious/noThenProperty: it is what is tried here
      get then() {
        throw new Error('no then');
      },
    });
    read(channel);
    expect(channel.errors).toEqual([new Error('no then')]);
  });

  it.each([undefined, new ChannelMap()])(
    'throws an ExitNow that is rejected with at once',
    (map) => {
      const channel = new Script('', [], '', map);
      const exit = new ExitNow('enough');
      channel.onRead = () => ({
        // biome-ignore lint/suspicious/noThenProperty: it is what is tried here
        then: (_: unknown, reject: (error: unknown) => void) => reject(exit),
      });
      expect(() => read(channel)).toThrow(exit);
      expect(channel.errors).toEqual([]);
    },
  );

  it('leaves results alone that are no promises', () => {
    const channel = new Script();
    for (const result of [null, 0, 'text', false, {}]) {
      channel.onRead = () => result;
      read(channel);
    }
    expect(channel.errors).toEqual([]);
  });
});

/** Whatever one asks it, it throws. */
function throwing(): object {
  return new Proxy(
    {},
    {
      get(): never {
        throw new Error('nobody may look');
      },
      getPrototypeOf(): null {
        return null;
      },
    },
  );
}

describe('readwrite', () => {
  it.each([
    ['IN', POLLIN, ['read']],
    ['OUT', POLLOUT, ['write']],
    ['PRI', POLLPRI, ['expt']],
    ['HUP', POLLHUP, ['close']],
    ['ERR', POLLERR, ['close']],
    ['NVAL', POLLNVAL, ['close']],
    ['nothing', 0, []],
    ['IN OUT PRI', POLLIN | POLLOUT | POLLPRI, ['read', 'write', 'expt']],
    ['OUT PRI', POLLOUT | POLLPRI, ['write', 'expt']],
    ['OUT HUP', POLLOUT | POLLHUP, ['write', 'close']],
    ['PRI ERR', POLLPRI | POLLERR, ['expt', 'close']],
    ['HUP ERR NVAL', POLLHUP | POLLERR | POLLNVAL, ['close']],
    // A hang-up waits until the input has been read.
    ['IN HUP', POLLIN | POLLHUP, ['read']],
    ['IN OUT HUP ERR', POLLIN | POLLOUT | POLLHUP | POLLERR, ['read', 'write']],
    ['everything', 0x3f, ['read', 'write', 'expt']],
  ])('%s', (_, flags, expected) => {
    const channel = new Script();
    readwrite(channel, flags);
    expect(channel.log).toEqual(expected.map((event) => `.${event}`));
  });

  it.each(['ECONNRESET', 'ENOTCONN', 'ESHUTDOWN', 'ECONNABORTED', 'EPIPE', 'EBADF'])(
    'takes %s for a hang-up',
    (code) => {
      const channel = new Script();
      channel.onRead = () => {
        throw new SocketError(code, 1, 'recv', 'gone');
      };
      readwrite(channel, POLLIN | POLLOUT);
      expect(channel.log).toEqual(['.read', '.close']);
    },
  );

  it.each([
    ['another error of the kernel', new SocketError('ETIMEDOUT', 110, 'recv', 'too late')],
    ['an error of the program', new TypeError('no')],
    ['null', null],
    ['a string', 'EPIPE'],
    ['a code that is no string', { code: 32 }],
    ['an object with throwing getters', throwing()],
  ])('takes %s for an error', (_, thrown) => {
    const channel = new Script();
    channel.onRead = () => {
      throw thrown;
    };
    readwrite(channel, POLLIN | POLLOUT | POLLHUP);
    expect(channel.log).toEqual(['.read', '.error']);
    expect(channel.errors[0]).toBe(thrown);
  });

  it('gives what the handleClose of a hang-up throws to handleError', () => {
    const channel = new Script();
    const error = new Error('in handleClose');
    channel.onWrite = () => {
      throw new SocketError('EPIPE', 32, 'send', 'gone');
    };
    channel.onClose = () => {
      throw error;
    };
    readwrite(channel, POLLOUT);
    expect(channel.log).toEqual(['.write', '.close', '.error']);
    expect(channel.errors).toEqual([error]);
  });

  it('lets ExitNow pass from every step', () => {
    for (const handler of ['onRead', 'onWrite', 'onExpt', 'onClose'] as const) {
      const channel = new Script();
      channel[handler] = () => {
        throw new ExitNow('enough');
      };
      const flags = handler === 'onClose' ? POLLHUP : POLLIN | POLLOUT | POLLPRI;
      expect(() => readwrite(channel, flags)).toThrow('enough');
      expect(channel.errors).toEqual([]);
    }
  });

  it('gives the rejection of each step to handleError', async () => {
    const channel = new Script();
    channel.onRead = () => Promise.reject('read');
    channel.onWrite = () => Promise.reject('write');
    channel.onExpt = () => Promise.reject('expt');
    readwrite(channel, POLLIN | POLLOUT | POLLPRI);
    channel.onClose = () => Promise.reject('close');
    readwrite(channel, POLLHUP);
    await settled();
    expect(channel.errors).toEqual(['read', 'write', 'expt', 'close']);
  });

  it('stops when a handler has closed the channel', () => {
    const map = newMap();
    const [own] = pair();
    const log: string[] = [];
    class Closer extends Dispatcher {
      override handleRead(): void {
        log.push('read');
        this.close();
      }
      override handleWrite(): void {
        log.push('write');
      }
      override handleExpt(): void {
        log.push('expt');
      }
      override handleClose(): void {
        log.push('close');
      }
    }
    const channel = new Closer(own, map);
    readwrite(channel, POLLIN | POLLOUT | POLLPRI);
    expect(log).toEqual(['read']);
  });

  it('says nothing of a disconnect of a channel that has closed itself', () => {
    const map = newMap();
    const [own] = pair();
    const log: string[] = [];
    class Closer extends Dispatcher {
      override handleWrite(): void {
        log.push('write');
        this.close();
        throw new SocketError('EPIPE', 32, 'send', 'gone');
      }
      override handleClose(): void {
        log.push('close');
      }
    }
    readwrite(new Closer(own, map), POLLOUT);
    expect(log).toEqual(['write']);
  });
});

describe('one pass', () => {
  /** A and B, each with input, room for output and urgent data. */
  function ready(): [ChannelMap, string[]] {
    const map = newMap();
    const log: string[] = [];
    for (const name of ['A', 'B']) {
      const [peer, own] = connection();
      peer.send(BYTE);
      peer.send(Buffer.from('!'), MSG_OOB);
      for (const end = Date.now() + 2000; ; ) {
        const urgent = new ChannelMap();
        const probe = new Script('', [], 'r');
        urgent.set(own.fileno(), probe);
        poll(20, urgent);
        urgent.clear();
        if (probe.log.includes('.expt') || Date.now() > end) break;
      }
      map.set(own.fileno(), new Script(name, log, 'rw', map));
    }
    return [map, log];
  }

  it('poll: all reads, then all writes, then all exceptions', () => {
    const [map, log] = ready();
    poll(0, map);
    expect(log).toEqual(['A.read', 'B.read', 'A.write', 'B.write', 'A.expt', 'B.expt']);
  });

  it('poll2: channel by channel', () => {
    const [map, log] = ready();
    poll2(0, map);
    expect(log).toEqual(['A.read', 'A.write', 'A.expt', 'B.read', 'B.write', 'B.expt']);
  });

  it('poll3 is poll2', () => {
    expect(poll3).toBe(poll2);
  });

  it.each(WAYS)('the same through the loop: %s', async (_, way) => {
    const [map, log] = ready();
    await run(way, { map, count: 1 });
    expect(log).toEqual(
      way.usePoll
        ? ['A.read', 'A.write', 'A.expt', 'B.read', 'B.write', 'B.expt']
        : ['A.read', 'B.read', 'A.write', 'B.write', 'A.expt', 'B.expt'],
    );
  });

  it('tells a channel that only writes of urgent data in select order, not in poll order', () => {
    const [map, log] = ready();
    for (const channel of map.values()) (channel as Script).wants = 'w';
    poll(0, map);
    expect(log).toEqual(['A.write', 'B.write', 'A.expt', 'B.expt']);
    log.length = 0;
    poll2(0, map);
    expect(log).toEqual(['A.write', 'B.write']);
    log.length = 0;
    poll(0, map);
    expect(log).toEqual(['A.write', 'B.write', 'A.expt', 'B.expt']);
  });

  it('takes a hang-up for input and an error for both, in select order, as select(2) does', () => {
    const map = newMap();
    const log: string[] = [];
    const [, own, peer] = scriptIn(map, 'A', log, 'rw');
    own.send(BYTE);
    peer.close();
    poll(0, map);
    expect(log).toEqual(['A.read', 'A.write']);
  });

  it('skips, in its later sweeps, a channel that was closed in an earlier one', () => {
    const map = newMap();
    const log: string[] = [];
    const [first, , one] = scriptIn(map, 'A', log, 'rw');
    const [, other, two] = scriptIn(map, 'B', log, 'rw');
    one.send(BYTE);
    two.send(BYTE);
    first.onWrite = () => map.delete(other.fileno());
    poll(0, map);
    expect(log).toEqual(['A.read', 'B.read', 'A.write']);
  });

  it.each([
    ['poll', poll],
    ['poll2', poll2],
  ])('%s returns at once from an empty map', (_, pass) => {
    const begin = performance.now();
    pass(5000, newMap());
    expect(performance.now() - begin).toBeLessThan(4000);
  });

  it.each([
    ['poll', poll],
    ['poll2', poll2],
  ])('%s waits when there is nothing to wait for', (_, pass) => {
    const map = newMap();
    scriptIn(map, 'A', [], '');
    const begin = performance.now();
    pass(30, map);
    expect(performance.now() - begin).toBeGreaterThanOrEqual(29);
  });

  it.each<[string, (map: ChannelMap) => void]>([
    ['poll', (map) => poll(3000, map)],
    ['poll2', (map) => poll2(3000, map)],
    ['loopSync in select order', (map) => loopSync({ map, timeout: 3000, count: 1 })],
    ['loopSync in poll order', (map) => loopSync({ map, usePoll: true, timeout: 3000, count: 1 })],
  ])(
    '%s looks up before it waits what a timeout handler connects to by name meanwhile',
    (_, pass) => {
      const { map, clock } = stillMap();
      const listener = Socket.socket(AF_INET);
      keep(listener);
      listener.bind({ host: '127.0.0.1', port: 0 });
      listener.listen(1);
      const { port } = listener.getSockName() as InternetAddress;
      const events: string[] = [];
      class Client extends Dispatcher {
        override readable(): boolean {
          return false;
        }
        override writable(): boolean {
          return this.connecting;
        }
        override handleTimeout(): Handled {
          events.push('timeout');
          this.setIdleTimeout(0);
          this.connect({ host: 'localhost', port });
        }
        override handleConnect(): Handled {
          events.push('connect');
        }
      }
      const client = new Client(null, map);
      client.createSocket();
      client.setIdleTimeout(20);
      clock.advance(20);
      const begin = performance.now();
      pass(map);
      expect(events).toEqual(['timeout']);
      pass(map);
      expect(events).toEqual(['timeout', 'connect']);
      expect(performance.now() - begin).toBeLessThan(2500);
    },
  );

  it('uses the default map, and only looks, when it is told nothing', () => {
    const log: string[] = [];
    const [own, peer] = pair();
    socketMap.set(own.fileno(), new Script('A', log, 'r'));
    const begin = performance.now();
    poll();
    poll2();
    expect(performance.now() - begin).toBeLessThan(2000);
    expect(log).toEqual([]);
    peer.send(BYTE);
    poll();
    poll2();
    socketMap.delete(own.fileno());
    expect(log).toEqual(['A.read', 'A.read']);
  });

  it('may be made inside a handler', () => {
    const map = newMap();
    const log: string[] = [];
    const [outer, a, one] = scriptIn(map, 'A', log, 'r');
    const [inner, b, two] = scriptIn(map, 'B', log, 'r');
    inner.onRead = () => b.recv(10);
    outer.onRead = () => {
      a.recv(10);
      log.push('(');
      poll(0, map);
      poll2(0, map);
      log.push(')');
    };
    one.send(BYTE);
    two.send(BYTE);
    poll(0, map);
    // The outer pass knows what was due when it began.
    expect(log).toEqual(['A.read', '(', 'B.read', ')', 'B.read']);
    log.length = 0;
    poll(0, map);
    expect(log).toEqual([]);
  });

  it('made inside a handler in the other order does not confuse the outer one', () => {
    const map = newMap();
    const log: string[] = [];
    const [outer, a, one] = scriptIn(map, 'A', log, 'rw');
    scriptIn(map, 'B', log, 'w');
    outer.onRead = () => {
      a.recv(10);
      poll2(0, map);
    };
    one.send(BYTE);
    poll(0, map);
    expect(log).toEqual(['A.read', 'A.write', 'B.write', 'A.write', 'B.write']);
  });

  it('skips what was due for a channel that a nested pass has closed', () => {
    const map = newMap();
    const log: string[] = [];
    const [first, own, peer] = scriptIn(map, 'A', log, 'rw');
    const [second, other] = scriptIn(map, 'B', log, 'w');
    second.onWrite = () => map.delete(other.fileno());
    first.onRead = () => {
      own.recv(10);
      poll2(0, map);
      map.delete(own.fileno());
    };
    peer.send(BYTE);
    poll(0, map);
    expect(log).toEqual(['A.read', 'A.write', 'B.write']);
  });

  it('sends what a chat pushes in a read event inside another one’s with the rest of the tick', () => {
    const map = newMap();
    const [[outer, far], [inner, near]] = [chatIn(map), chatIn(map)];
    const seen: (string | undefined)[] = [];
    inner.collectIncomingData = () => {
      inner.push('inner');
      seen.push(near.recv(100)?.toString());
    };
    outer.collectIncomingData = () => {
      outer.push('outer');
      near.send(BYTE);
      read(inner);
      seen.push(far.recv(100)?.toString());
    };
    far.send(BYTE);
    poll(0, map);
    expect(seen).toEqual([undefined, undefined]);
    expect(near.recv(100)?.toString()).toBe('inner');
    expect(far.recv(100)?.toString()).toBe('outer');
  });

  it('sends what a chat has pushed before it waits for the answer', () => {
    const map = newMap();
    const [chat, peer] = chatIn(map);
    const seen: (string | undefined)[] = [];
    chat.collectIncomingData = () => {
      chat.push('question');
      poll(0, map);
      seen.push(peer.recv(100)?.toString());
    };
    peer.send(BYTE);
    poll(0, map);
    expect(seen).toEqual(['question']);
  });
});

describe('what must be a timeout', () => {
  const CALLS: [string, (timeout: unknown, map: ChannelMap) => Promise<void>][] = [
    ['poll', async (timeout, map) => poll(timeout as number, map)],
    ['poll2', async (timeout, map) => poll2(timeout as number, map)],
    ['loop', (timeout, map) => loop({ timeout: timeout as number, map })],
    ['loopSync', async (timeout, map) => loopSync({ timeout: timeout as number, map })],
  ];

  it.each(CALLS)('%s refuses a negative one and NaN', async (name, call) => {
    for (const timeout of [-1, -0.5, Number.NaN, -Infinity]) {
      await expect(call(timeout, newMap())).rejects.toMatchObject({
        name: 'RangeError',
        code: 'ERR_OUT_OF_RANGE',
        message: `${cannot(name)}: expected a timeout of 0 ms or more, received ${timeout}`,
      });
    }
  });

  it.each(CALLS)('%s refuses what is no number', async (name, call) => {
    for (const [timeout, shown] of [
      ['5', "'5'"],
      [null, 'null'],
      [5n, '5n'],
      [{}, '{}'],
    ]) {
      await expect(call(timeout, newMap())).rejects.toMatchObject({
        name: 'TypeError',
        code: 'ERR_INVALID_ARG_TYPE',
        message: `${cannot(name)}: expected a timeout in milliseconds, received ${shown}`,
      });
    }
  });

  it.each(CALLS)('%s refuses what is no ChannelMap', async (name, call) => {
    for (const map of [new Map(), {}, null]) {
      await expect(call(0, map as ChannelMap)).rejects.toMatchObject({
        name: 'TypeError',
        message: expect.stringMatching(`^${cannot(name)}: expected a ChannelMap, received `),
      });
    }
  });

  it.each(WAYS)('Infinity is one: %s', async (_, way) => {
    const map = newMap();
    const log: string[] = [];
    const [script, own] = scriptIn(map, 'A', log, 'w');
    script.onWrite = () => map.delete(own.fileno());
    await run(way, { map, timeout: Infinity });
    expect(log).toEqual(['A.write']);
  });

  it('one of more than 24 days is as long as it takes', async () => {
    const map = newMap();
    const log: string[] = [];
    const [script, own] = scriptIn(map, 'A', log, 'w');
    script.onWrite = () => map.delete(own.fileno());
    loopSync({ map, timeout: 2 ** 40 });
    map.set(own.fileno(), script);
    await loop({ map, timeout: 2 ** 40 });
    script.onWrite = () => {};
    script.wants = '';
    map.set(own.fileno(), script);
    setTimeout(() => map.clear(), 10);
    await loop({ map, timeout: 2 ** 40 });
    expect(log).toEqual(['A.write', 'A.write']);
    expect(emitWarning).not.toHaveBeenCalled();
  });

  it.each(WAYS)('0.3 ms is rounded up, not a spin: %s', async (_, way) => {
    const map = newMap();
    const [script] = scriptIn(map, 'A', [], 'r');
    const select = jest.spyOn(registryOf(map).acquire(), 'select');
    try {
      await run(way, { map, timeout: 0.3, count: 20 });
      // One look, and what a timer that goes off early costs.
      expect(script.asked).toBeGreaterThanOrEqual(20);
      expect(script.asked).toBeLessThanOrEqual(25);
      expect(select.mock.calls.length).toBeLessThanOrEqual(100);
    } finally {
      registryOf(map).release();
    }
  });

  it.each(WAYS)('0 only looks: %s', async (_, way) => {
    const map = newMap();
    const log: string[] = [];
    scriptIn(map, 'A', log, 'r');
    const [, , peer] = scriptIn(map, 'B', log, 'r');
    peer.send(BYTE);
    const begin = performance.now();
    await run(way, { map, timeout: 0, count: 3 });
    expect(log).toEqual(['B.read', 'B.read', 'B.read']);
    expect(performance.now() - begin).toBeLessThan(4000);
  });
});

describe.each(WAYS)('the loop in %s', (_, way) => {
  it('returns at once from an empty map', async () => {
    const begin = performance.now();
    await run(way, { map: newMap(), timeout: 5000 });
    expect(performance.now() - begin).toBeLessThan(4000);
  });

  it('ends when the map is empty', async () => {
    const map = newMap();
    const [one, peer] = chatIn(map);
    const [two, other] = chatIn(map);
    peer.send(Buffer.from('last words'));
    peer.close();
    other.close();
    await run(way, { map });
    expect(one.got).toEqual(['last words']);
    expect(one.events).toEqual(['close']);
    expect(two.events).toEqual(['close']);
    expect(map.size).toBe(0);
  });

  it.each([
    [0, 0],
    [-1, 0],
    [-Infinity, 0],
    [1, 1],
    [2, 2],
    [1.5, 2],
  ])('makes as many passes as it is told: a count of %p', async (count, passes) => {
    const map = newMap();
    const log: string[] = [];
    scriptIn(map, 'A', log, 'w');
    await run(way, { map, count });
    expect(log).toHaveLength(passes);
    expect(map.size).toBe(1);
  });

  it('counts passes in which nothing happens, too', async () => {
    const map = newMap();
    const [script] = scriptIn(map, 'A', [], 'r');
    const begin = performance.now();
    await run(way, { map, count: 3, timeout: 20 });
    expect(performance.now() - begin).toBeGreaterThanOrEqual(57);
    expect(script.asked).toBeGreaterThanOrEqual(3);
  });

  it('is over before its count when the map is empty', async () => {
    const map = newMap();
    const [chat, peer] = chatIn(map);
    peer.close();
    await run(way, { map, count: 1000 });
    expect(chat.events).toEqual(['close']);
  });

  it('is left with ExitNow, the map as it was, and can go on', async () => {
    const map = newMap();
    const log: string[] = [];
    const [script, own, peer] = scriptIn(map, 'A', log, 'r');
    const [, , other] = scriptIn(map, 'B', log, 'r');
    const exit = new ExitNow('enough');
    script.onRead = () => {
      own.recv(10);
      throw exit;
    };
    peer.send(BYTE);
    other.send(BYTE);
    const before = [...map];
    await expect(run(way, { map })).rejects.toBe(exit);
    expect([...map]).toEqual(before);
    expect(log).toEqual(['A.read']);
    await run(way, { map, count: 1 });
    expect(log).toEqual(['A.read', 'B.read']);
  });

  it('is left with ExitNow out of a predicate, and of handleError', async () => {
    const map = newMap();
    const [script] = scriptIn(map, 'A', [], 'w');
    script.onReadable = () => {
      throw new ExitNow('predicate');
    };
    await expect(run(way, { map })).rejects.toThrow('predicate');
    script.onReadable = () => false;
    script.onWrite = () => {
      throw new Error('no');
    };
    script.onError = () => {
      throw new ExitNow('handleError');
    };
    await expect(run(way, { map })).rejects.toThrow('handleError');
    expect(map.size).toBe(1);
  });

  it('lives when a handler throws, and when its handleError does', async () => {
    const map = newMap();
    const log: string[] = [];
    const [bad, own] = scriptIn(map, 'A', log, 'w');
    scriptIn(map, 'B', log, 'w');
    bad.onWrite = bad.onError = () => {
      throw new Error('no');
    };
    await run(way, { map, count: 2 });
    expect(log).toEqual(['A.write', 'A.error', 'B.write', 'B.write']);
    expect(map.has(own.fileno())).toBe(false);
    expect(bad.closes).toBe(1);
    expect(emitWarning).toHaveBeenCalledTimes(1);
  });

  it('gives what a predicate throws to its channel, at each tick, and goes on', async () => {
    const map = newMap();
    const log: string[] = [];
    const [bad] = scriptIn(map, 'A', log, 'w');
    scriptIn(map, 'B', log, 'w');
    bad.onReadable = () => {
      throw new Error('predicate');
    };
    await run(way, { map, count: 2 });
    expect(log.filter((entry) => entry === 'B.write')).toHaveLength(2);
    expect(log).not.toContain('A.write');
    expect(bad.errors.length).toBeGreaterThanOrEqual(2);
    expect(bad.errors[0]).toEqual(new Error('predicate'));
  });

  it('closes a dispatcher whose predicate throws', async () => {
    const map = newMap();
    const [own] = pair();
    const log: string[] = [];
    class Bad extends Dispatcher {
      override readable(): boolean {
        throw new Error('predicate');
      }
      override logInfo(message: unknown): void {
        log.push(String(message));
      }
    }
    new Bad(own, map);
    await run(way, { map });
    expect(map.size).toBe(0);
    expect(log[0]).toContain('predicate');
  });

  it('goes on when a predicate closes its channel or another', async () => {
    const map = newMap();
    const log: string[] = [];
    const [[suicide, a], [killer], [, c], [, d]] = [
      scriptIn(map, 'A', log, 'w'),
      scriptIn(map, 'B', log, 'w'),
      scriptIn(map, 'C', log, 'w'),
      scriptIn(map, 'D', log, 'w'),
    ];
    suicide.onReadable = () => {
      map.delete(a.fileno());
      a.close();
      return true;
    };
    killer.onReadable = () => {
      map.delete(c.fileno());
      c.close();
      return false;
    };
    await run(way, { map, count: 1 });
    expect(log).toEqual(['B.write', 'D.write']);
    expect(d.closed).toBe(false);
  });

  it('takes in a channel that a predicate has added', async () => {
    const map = newMap();
    const log: string[] = [];
    const [adder] = scriptIn(map, 'A', log, '');
    adder.onReadable = () => {
      if (map.size === 1) scriptIn(map, 'B', log, 'w');
      return false;
    };
    await run(way, { map, count: 2, timeout: 50 });
    expect(log).toContain('B.write');
  });

  it('takes in a channel that a handler has added, in the next pass', async () => {
    const map = newMap();
    const log: string[] = [];
    const [adder] = scriptIn(map, 'A', log, 'w');
    adder.onWrite = () => {
      if (map.size === 1) scriptIn(map, 'B', log, 'w');
    };
    await run(way, { map, count: 2 });
    expect(log).toEqual(['A.write', 'A.write', 'B.write']);
  });

  it('closes a channel whose socket somebody else has closed', async () => {
    const map = newMap();
    const [chat] = chatIn(map);
    await run(way, { map, count: 1, timeout: 1 });
    chat.socket?.close();
    await run(way, { map });
    expect(chat.events).toEqual(['close']);
    expect(map.size).toBe(0);
  });

  it('closes a channel whose socket is closed by another one’s handler', async () => {
    const map = newMap();
    const log: string[] = [];
    const [script, own, peer] = scriptIn(map, 'A', log, 'r');
    const [chat] = chatIn(map);
    script.onRead = () => {
      chat.socket?.close();
      map.delete(own.fileno());
    };
    peer.send(BYTE);
    await run(way, { map });
    expect(chat.events).toEqual(['close']);
  });

  it('closes a channel whose descriptor was closed behind everybody’s back', async () => {
    const map = newMap();
    const [chat] = chatIn(map);
    // So that the number is not the selector's.
    registryOf(map).acquire();
    closeSync(chat.fileno() as number);
    await run(way, { map });
    registryOf(map).release();
    expect(chat.events).toEqual(['close']);
    expect(map.size).toBe(0);
  });

  it('closes such a channel also when it was being waited for', async () => {
    const map = newMap();
    const [chat] = chatIn(map);
    await run(way, { map, count: 1, timeout: 1 });
    closeSync(chat.fileno() as number);
    await run(way, { map, timeout: 100, count: 30 });
    expect(chat.events).toEqual(['close']);
    expect(map.size).toBe(0);
  });

  it('closes such a channel also when timers end every pass', async () => {
    const map = newMap();
    const [chat] = chatIn(map);
    await run(way, { map, count: 1, timeout: 1 });
    closeSync(chat.fileno() as number);
    map.callEvery(30, () => {});
    await run(way, { map, timeout: 5000, count: 100 });
    expect(chat.events).toEqual(['close']);
    expect(map.size).toBe(0);
  });

  it('refuses a second loop on the same map, in a handler', async () => {
    const map = newMap();
    const log: string[] = [];
    const [script] = scriptIn(map, 'A', log, 'w');
    const second: Promise<void>[] = [];
    script.onWrite = () => {
      second.push(loop({ map, count: 1 }));
      loopSync({ map, count: 1 });
    };
    const first = run(way, { map, count: 1 });
    await first;
    expect(log).toEqual(['A.write', 'A.error']);
    expect(script.errors).toEqual([
      expect.objectContaining({
        code: 'ERR_LOOP_RUNNING',
        message: 'Cannot run a loop: a loop is running on this map already, and takes new channels',
      }),
    ]);
    await expect(second[0]).rejects.toMatchObject({
      code: 'ERR_LOOP_RUNNING',
      message: 'Cannot loop: a loop is running on this map already, and takes new channels',
    });
    // And not any more when it is over.
    script.onWrite = () => {};
    await run(way, { map, count: 1 });
  });

  it('may run another map in a handler', async () => {
    const [map, inner] = [newMap(), newMap()];
    const log: string[] = [];
    const [script] = scriptIn(map, 'A', log, 'w');
    scriptIn(inner, 'B', log, 'w');
    script.onWrite = () => {
      loopSync({ map: inner, count: 2, timeout: 100 });
      poll2(0, inner);
    };
    await run(way, { map, count: 1 });
    expect(log).toEqual(['A.write', 'B.write', 'B.write', 'B.write']);
  });
});

describe('options', () => {
  it.each([Number.NaN, '3', null, {}])('a count of %p is none', async (count) => {
    const options = { map: newMap(), count: count as number };
    const error = { name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' };
    expect(() => loopSync(options)).toThrow(expect.objectContaining(error));
    await expect(loop(options)).rejects.toMatchObject({
      ...error,
      message: expect.stringMatching(/^Cannot loop: expected a count of passes, received /),
    });
  });

  it('a signal must be an AbortSignal', async () => {
    const signal = {} as AbortSignal;
    const error = { name: 'TypeError', message: expect.stringContaining('an AbortSignal') };
    expect(() => loopSync({ map: newMap(), signal })).toThrow(expect.objectContaining(error));
    await expect(loop({ map: newMap(), signal })).rejects.toMatchObject(error);
  });

  it.each<[unknown, string, string?]>([
    [
      { timeOut: 5 },
      "options named timeout, usePoll, map, count or signal, received 'timeOut'; did you",
    ],
    [{ use_poll: true }, "received 'use_poll'; did you mean usePoll?"],
    [{ maps: new ChannelMap() }, "received 'maps'; did you mean map?"],
    [{ deadline: 5 }, "received 'deadline'"],
    [{ usePoll: 'false' }, "usePoll to be true or false, received 'false'", 'TYPE'],
    [{ usePoll: 0 }, 'usePoll to be true or false, received 0', 'TYPE'],
    [null, 'an object of options, received null', 'TYPE'],
    [30, 'an object of options, received 30', 'TYPE'],
    [[], 'an object of options, received []', 'TYPE'],
    [
      new ChannelMap(),
      'an object of options, received ChannelMap(0) [Map] {}; use { map }',
      'TYPE',
    ],
    [new AbortController().signal, '; use { signal }', 'TYPE'],
  ])('%p are refused', async (options, message, code = 'VALUE') => {
    const error = {
      name: 'TypeError',
      code: `ERR_INVALID_ARG_${code}`,
      message: expect.stringContaining(message),
    };
    expect(() => loopSync(options as LoopOptions)).toThrow(expect.objectContaining(error));
    await expect(loop(options as LoopOptions)).rejects.toMatchObject(error);
  });

  it('may be inherited, and undefined is the default', async () => {
    const map = newMap();
    const [script] = scriptIn(map, 'A', [], 'w');
    const options = Object.create({ map, count: 1, timeout: undefined, surplus: undefined });
    await loop(options);
    loopSync(options);
    expect(script.errors).toEqual([]);
    expect(map.size).toBe(1);
  });

  it('none are needed', async () => {
    await loop();
    loopSync();
  });

  it('the default map is used when there is none', async () => {
    const [own] = pair();
    const log: string[] = [];
    const script = new Script('A', log, 'w');
    script.onWrite = () => socketMap.delete(own.fileno());
    socketMap.set(own.fileno(), script);
    await loop({ timeout: 1000 });
    socketMap.set(own.fileno(), script);
    loopSync({ timeout: 1000 });
    expect(log).toEqual(['A.write', 'A.write']);
  });
});

describe('loop, inside Node', () => {
  it('gives its promise before any handler runs', async () => {
    const map = newMap();
    const log: string[] = [];
    scriptIn(map, 'A', log, 'w');
    const running = loop({ map, count: 1, timeout: 1000 });
    expect(log).toEqual([]);
    await Promise.resolve();
    expect(log).toEqual([]);
    await running;
    expect(log).toEqual(['A.write']);
  });

  it('resolves when the map is emptied from outside while it waits', async () => {
    const map = newMap();
    const [chat] = chatIn(map);
    setTimeout(() => chat.close(), 20);
    const begin = performance.now();
    await loop({ map });
    expect(performance.now() - begin).toBeLessThan(4000);
  });

  it('goes on when the end of one channel is what a promise waits for that makes the next', async () => {
    const map = newMap();
    const running = loop({ map });
    const ended: string[] = [];
    for (const name of ['first', 'second', 'third']) {
      const [chat, peer] = chatIn(map);
      const end = new Promise<void>((resolve) => {
        chat.handleClose = () => {
          chat.close();
          resolve();
        };
      });
      peer.close();
      await end;
      ended.push(name);
    }
    await running;
    expect(ended).toEqual(['first', 'second', 'third']);
  });

  it('is woken at once by a push from a timer', async () => {
    const map = newMap();
    const [chat, peer] = chatIn(map);
    const [other, far] = chatIn(map);
    setTimeout(() => {
      chat.producerFifo.push(Buffer.from('data'));
    }, 20);
    const begin = performance.now();
    const running = loop({ map });
    for (const end = Date.now() + 4000; peer.recv(100) === null && Date.now() < end; ) {
      await new Promise((done) => setTimeout(done, 1));
    }
    chat.close();
    other.close();
    await running;
    expect(performance.now() - begin).toBeLessThan(4000);
    far.close();
  });

  it('is woken at once by a new channel', async () => {
    const map = newMap();
    const log: string[] = [];
    scriptIn(map, 'A', log, 'r');
    setTimeout(() => {
      const [script] = scriptIn(map, 'B', log, 'w');
      script.onWrite = () => map.clear();
    }, 20);
    const begin = performance.now();
    await loop({ map });
    expect(log).toEqual(['B.write']);
    expect(performance.now() - begin).toBeLessThan(4000);
  });

  it('is woken at once by interestChanged', async () => {
    const map = newMap();
    const log: string[] = [];
    const [script, own] = scriptIn(map, 'A', log, '');
    script.onWrite = () => map.clear();
    setTimeout(() => {
      script.wants = 'w';
      map.interestChanged(own.fileno());
    }, 20);
    const begin = performance.now();
    await loop({ map });
    expect(log).toEqual(['A.write']);
    expect(performance.now() - begin).toBeLessThan(4000);
  });

  it('is woken at once by a predicate that is replaced, and told of', async () => {
    const map = newMap();
    const [chat] = chatIn(map);
    setTimeout(() => {
      chat.readable = () => {
        chat.close();
        return false;
      };
      chat.interestChanged();
    }, 20);
    const begin = performance.now();
    await loop({ map });
    expect(performance.now() - begin).toBeLessThan(4000);
  });

  it('is woken at once by a socket that is closed from a timer', async () => {
    const map = newMap();
    const [chat] = chatIn(map);
    setTimeout(() => chat.socket?.close(), 20);
    const begin = performance.now();
    await loop({ map });
    expect(chat.events).toEqual(['close']);
    expect(performance.now() - begin).toBeLessThan(4000);
  });

  it('rejects with an ExitNow that an async handler is rejected with', async () => {
    const map = newMap();
    const log: string[] = [];
    const [script, own, peer] = scriptIn(map, 'A', log, 'r');
    const exit = new ExitNow('enough');
    script.onRead = async () => {
      own.recv(10);
      await new Promise((done) => setTimeout(done, 10));
      throw exit;
    };
    peer.send(BYTE);
    await expect(loop({ map })).rejects.toBe(exit);
    expect(map.size).toBe(1);
    expect(script.errors).toEqual([]);
  });

  it('gives the rejection of a dispatcher’s async handler to its handleError', async () => {
    const map = newMap();
    const [own, peer] = pair();
    const errors: unknown[] = [];
    class Async extends Dispatcher {
      override writable(): boolean {
        return false;
      }
      override async handleRead(): Promise<void> {
        this.recv(10);
        await null;
        throw new Error('later');
      }
      override async handleError(error: unknown): Promise<void> {
        errors.push(error);
        await null;
        this.close();
      }
    }
    new Async(own, map);
    peer.send(BYTE);
    await loop({ map, timeout: 2000 });
    expect(errors).toEqual([new Error('later')]);
  });

  it('rejects a second loop and lets the first go on', async () => {
    const map = newMap();
    const [chat, peer] = chatIn(map);
    const first = loop({ map, timeout: 2000 });
    await expect(loop({ map })).rejects.toMatchObject({ code: 'ERR_LOOP_RUNNING' });
    expect(() => loopSync({ map })).toThrow(expect.objectContaining({ code: 'ERR_LOOP_RUNNING' }));
    peer.send(BYTE);
    peer.close();
    await first;
    expect(chat.got).toEqual(['x']);
  });

  it('runs beside a loop on another map', async () => {
    const [one, two] = [newMap(), newMap()];
    const games = [pingPong(one), pingPong(two)];
    const running = [loop({ map: one, timeout: 2000 }), loop({ map: two, usePoll: true })];
    for (const end = Date.now() + 4000; games.some(({ passes }) => passes < 100); ) {
      expect(Date.now()).toBeLessThan(end);
      await new Promise((done) => setImmediate(done));
    }
    for (const game of games) game.stop();
    await Promise.all(running);
  });

  it('can be started again from where its promise is awaited', async () => {
    const map = newMap();
    const log: string[] = [];
    scriptIn(map, 'A', log, 'w');
    for (let round = 0; round < 5; round += 1) await loop({ map, count: 1, timeout: 1000 });
    expect(log).toHaveLength(5);
  });

  describe.each([
    ['select order', false, poll2],
    ['poll order', true, poll],
  ])('in %s', (_, usePoll, otherPass) => {
    it('is not confused by a pass in the other order, made from a timer while it waits', async () => {
      const map = newMap();
      const log: string[] = [];
      const block = Buffer.alloc(65536);
      const [script, own, peer] = scriptIn(map, 'A', log, 'rw');
      while (own.send(block) !== null);
      script.onWrite = () => map.clear();
      script.onExpt = () => map.clear();
      setTimeout(() => {
        otherPass(0, map);
        // Now there is room for output.
        setImmediate(() => {
          while (peer.recv(65536) !== null);
        });
      }, 20);
      await loop({ map, usePoll, timeout: 3000, count: 3 });
      expect(log).toEqual(['A.write']);
    });
  });

  it.each([
    ['poll', poll],
    ['poll2', poll2],
  ])('%s does not wait when a predicate has closed the last channel', (_, pass) => {
    const map = newMap();
    const log: string[] = [];
    const [own] = pair();
    const script = new Script('A', log, 'r');
    script.readable = () => {
      map.delete(own.fileno());
      return true;
    };
    map.set(own.fileno(), script);
    const begin = performance.now();
    pass(3000, map);
    expect(performance.now() - begin).toBeLessThan(2500);
    expect(map.size).toBe(0);
  });

  it('hears of urgent data in select order after a pass in poll order, made while it waits', async () => {
    const map = newMap();
    const log: string[] = [];
    const [peer, own] = connection();
    const block = Buffer.alloc(65536);
    // There is no room for output, and so nothing else to be told.
    const fill = (): void => {
      while (own.send(block) !== null);
    };
    const script = new Script('A', log, 'w', map);
    script.onWrite = fill;
    script.onExpt = () => map.clear();
    fill();
    map.set(own.fileno(), script);
    setTimeout(() => {
      poll2(0, map);
      setImmediate(() => peer.send(Buffer.from('!'), MSG_OOB));
    }, 20);
    const begin = performance.now();
    await loop({ map, timeout: 4000 });
    expect(log.filter((event) => event !== 'A.write')).toEqual(['A.expt']);
    expect(performance.now() - begin).toBeLessThan(3500);
  });

  describe('with a signal', () => {
    const reason = new Error('stop');

    it('rejects at once when it was aborted before', async () => {
      const map = newMap();
      const log: string[] = [];
      scriptIn(map, 'A', log, 'w');
      await expect(loop({ map, signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
      await settled();
      expect(log).toEqual([]);
      expect(() => loopSync({ map, signal: AbortSignal.abort(reason) })).toThrow(reason);
      expect(log).toEqual([]);
      expect(map.size).toBe(1);
      // Neither has left its mark on the map.
      await loop({ map, count: 1, timeout: 1000 });
    });

    it('rejects at once when it is aborted while waiting, and leaves the map as it was', async () => {
      const map = newMap();
      const [chat] = chatIn(map);
      const stop = new AbortController();
      setTimeout(() => stop.abort(reason), 20);
      const begin = performance.now();
      await expect(loop({ map, signal: stop.signal })).rejects.toBe(reason);
      expect(performance.now() - begin).toBeLessThan(4000);
      expect([...map.values()]).toEqual([chat]);
      expect(chat.events).toEqual([]);
      expect(getEventListeners(stop.signal, 'abort')).toEqual([]);
    });

    it('rejects when it is aborted before its first turn', async () => {
      const map = newMap();
      const log: string[] = [];
      scriptIn(map, 'A', log, 'w');
      const stop = new AbortController();
      const running = loop({ map, signal: stop.signal });
      stop.abort(reason);
      await expect(running).rejects.toBe(reason);
      await settled();
      expect(log).toEqual([]);
    });

    it('rejects when a handler aborts it, and makes no further pass', async () => {
      const map = newMap();
      const log: string[] = [];
      const [script] = scriptIn(map, 'A', log, 'w');
      const stop = new AbortController();
      script.onWrite = () => stop.abort(reason);
      await expect(loop({ map, signal: stop.signal })).rejects.toBe(reason);
      await settled();
      expect(log).toEqual(['A.write']);
      await loop({ map, count: 1, timeout: 1000 });
      expect(log).toEqual(['A.write', 'A.write']);
    });

    it('rejects when a predicate aborts it', async () => {
      const map = newMap();
      const [script] = scriptIn(map, 'A', [], 'w');
      const stop = new AbortController();
      script.onReadable = () => {
        stop.abort(reason);
        return false;
      };
      await expect(loop({ map, signal: stop.signal })).rejects.toBe(reason);
    });

    it('rejects under full load', async () => {
      const map = newMap();
      const game = pingPong(map);
      const stop = new AbortController();
      setTimeout(() => stop.abort(reason), 20);
      await expect(loop({ map, signal: stop.signal })).rejects.toBe(reason);
      expect(game.passes).toBeGreaterThan(0);
      game.stop();
    });

    it('does not care for it when it is over', async () => {
      const map = newMap();
      const [chat, peer] = chatIn(map);
      const stop = new AbortController();
      peer.close();
      await loop({ map, signal: stop.signal });
      expect(getEventListeners(stop.signal, 'abort')).toEqual([]);
      stop.abort(reason);
      expect(chat.events).toEqual(['close']);
    });

    it('looks at it between passes under loopSync', () => {
      const map = newMap();
      const log: string[] = [];
      const [script] = scriptIn(map, 'A', log, 'w');
      const stop = new AbortController();
      script.onWrite = () => stop.abort(reason);
      expect(() => loopSync({ map, signal: stop.signal, timeout: 1000 })).toThrow(reason);
      expect(log).toEqual(['A.write']);
    });
  });

  describe('under full load', () => {
    it.each([
      ['select order', false],
      ['poll order', true],
    ])('timers, promises and other I/O go on: %s', async (_, usePoll) => {
      const map = newMap();
      const games = [pingPong(map), pingPong(map), pingPong(map)];
      // And one that is ready at every look.
      const [always, own] = scriptIn(map, 'A', [], 'w');
      const running = loop({ map, usePoll });
      let ticks = 0;
      let read = 0;
      const timer = setInterval(() => {
        ticks += 1;
        void readFile(__filename).then(() => {
          read += 1;
        });
      }, 10);
      for (const end = Date.now() + 6000; (ticks < 10 || read < 5) && Date.now() < end; ) {
        await new Promise((done) => setTimeout(done, 5));
      }
      clearInterval(timer);
      const writes = always.log.length;
      for (const game of games) game.stop();
      map.delete(own.fileno());
      await running;
      expect(ticks).toBeGreaterThanOrEqual(10);
      expect(read).toBeGreaterThanOrEqual(5);
      expect(writes).toBeGreaterThan(10);
      for (const { passes } of games) expect(passes).toBeGreaterThan(10);
    });

    it('goes on itself while the program does nothing but setImmediate', async () => {
      const map = newMap();
      const game = pingPong(map);
      let spamming = true;
      const spam = (): void => {
        if (spamming) setImmediate(spam);
      };
      for (let times = 0; times < 10; times += 1) spam();
      const running = loop({ map, timeout: 2000 });
      for (const end = Date.now() + 6000; game.passes < 200 && Date.now() < end; ) {
        await new Promise((done) => setTimeout(done, 5));
      }
      spamming = false;
      game.stop();
      await running;
      expect(game.passes).toBeGreaterThanOrEqual(200);
    });

    it('serves the quiet ones beside a peer that never stops', async () => {
      const map = newMap();
      const game = pingPong(map);
      const [chat, peer] = chatIn(map);
      const running = loop({ map, timeout: 2000 });
      setTimeout(() => peer.send(BYTE), 20);
      for (const end = Date.now() + 4000; chat.got.length === 0 && Date.now() < end; ) {
        await new Promise((done) => setTimeout(done, 5));
      }
      chat.close();
      game.stop();
      await running;
      expect(chat.got).toEqual(['x']);
    });
  });
});

describe('loopSync', () => {
  it('runs no timer and no promise meanwhile', async () => {
    const map = newMap();
    scriptIn(map, 'A', [], 'r');
    let others = 0;
    const timer = setTimeout(() => {
      others += 1;
    }, 1);
    void Promise.resolve().then(() => {
      others += 1;
    });
    loopSync({ map, timeout: 20, count: 2 });
    expect(others).toBe(0);
    clearTimeout(timer);
    await settled();
  });

  it('does not end a pass early for a signal', async () => {
    const map = newMap();
    scriptIn(map, 'A', [], 'r');
    const select = jest.spyOn(registryOf(map).acquire(), 'select');
    try {
      // Each child that ends is a SIGCHLD.
      const ended = [0.05, 0.1, 0.15, 0.2].map((seconds) => {
        const child = spawn('sleep', [String(seconds)], { stdio: 'ignore' });
        children.push(child);
        return once(child, 'exit');
      });
      const begin = performance.now();
      loopSync({ map, timeout: 500, count: 1 });
      expect(performance.now() - begin).toBeGreaterThanOrEqual(499);
      // It was interrupted, and went on.
      expect(select.mock.calls.length).toBeGreaterThan(1);
      expect(select.mock.calls.length).toBeLessThan(20);
      await Promise.all(ended);
    } finally {
      registryOf(map).release();
    }
  });

  it('is left with an ExitNow that is rejected with at once', () => {
    const map = newMap();
    const [script] = scriptIn(map, 'A', [], 'w');
    const exit = new ExitNow('enough');
    script.onWrite = () => ({
      // biome-ignore lint/suspicious/noThenProperty: it is what is tried here
      then: (_: unknown, reject: (error: unknown) => void) => reject(exit),
    });
    expect(() => loopSync({ map, timeout: 100, count: 3 })).toThrow(exit);
  });

  it('can be used again after an error has left it', () => {
    const map = newMap();
    const log: string[] = [];
    const [script] = scriptIn(map, 'A', log, 'w');
    script.onWrite = () => {
      throw new ExitNow();
    };
    expect(() => loopSync({ map, timeout: 100 })).toThrow(ExitNow);
    expect(() => loopSync({ map, timeout: 100 })).toThrow(ExitNow);
    expect(log).toEqual(['A.write', 'A.write']);
  });
});

describe('closeAll', () => {
  const EBADF = new SocketError('EBADF', 9, 'close', 'bad');
  const ENOTCONN = new SocketError('ENOTCONN', 107, 'close', 'not connected');
  const other = new Error('cannot');
  const exit = new ExitNow('enough');

  /** Three scripted channels, of which the second throws. */
  function three(thrown?: unknown): [ChannelMap, Script[]] {
    const map = newMap();
    const scripts = [new Script(), new Script(), new Script()];
    scripts.forEach((script, index) => {
      map.set(1000 + index, script);
    });
    const [, second] = scripts as [Script, Script, Script];
    if (thrown !== undefined) {
      second.close = () => {
        second.closes += 1;
        if (second.closes === 1) throw thrown;
      };
    }
    return [map, scripts];
  }

  it.each([
    ['nothing', undefined, false],
    ['nothing, and all is to be ignored', undefined, true],
    ['EBADF', EBADF, false],
    ['EBADF, and all is to be ignored', EBADF, true],
    ['ENOTCONN, and all is to be ignored', ENOTCONN, true],
    ['an error, and all is to be ignored', other, true],
    ['a string, and all is to be ignored', 'text', true],
  ])('closes all and empties the map when a close throws %s', (_, thrown, ignoreAll) => {
    const [map, scripts] = three(thrown);
    closeAll(map, ignoreAll);
    expect(scripts.map(({ closes }) => closes)).toEqual([1, 1, 1]);
    expect(map.size).toBe(0);
  });

  it.each([
    ['an error', other, false],
    ['ENOTCONN', ENOTCONN, false],
    ['a string', 'text', false],
    ['ExitNow', exit, false],
    ['ExitNow, and all is to be ignored', exit, true],
  ])('stops, and leaves the map as it was, when a close throws %s', (_, thrown, ignoreAll) => {
    const [map, scripts] = three(thrown);
    let caught: unknown;
    try {
      closeAll(map, ignoreAll);
    } catch (error) {
      caught = error;
    }
    expect(caught).toBe(thrown);
    expect(scripts.map(({ closes }) => closes)).toEqual([1, 1, 0]);
    expect([...map.keys()]).toEqual([1000, 1001, 1002]);
  });

  it('refuses what is neither true nor false', () => {
    expect(() => closeAll(newMap(), 'false' as never)).toThrow(
      "expected ignoreAll to be true or false, received 'false'",
    );
  });

  it('closes dispatchers, and calls no handler', () => {
    const map = newMap();
    const [[one], [two]] = [chatIn(map), chatIn(map)];
    closeAll(map);
    expect(map.size).toBe(0);
    expect([one.fileno(), two.fileno()]).toEqual([null, null]);
    expect([...one.events, ...two.events]).toEqual([]);
  });

  it('ends a loop', async () => {
    const map = newMap();
    chatIn(map);
    setTimeout(() => closeAll(map), 20);
    await loop({ map });
    expect(map.size).toBe(0);
  });

  it('uses the default map, and refuses what is none', () => {
    const [own] = pair();
    const script = new Script();
    socketMap.set(own.fileno(), script);
    closeAll();
    expect(script.closes).toBe(1);
    expect(socketMap.size).toBe(0);
    expect(() => closeAll({} as ChannelMap)).toThrow(
      expect.objectContaining({
        name: 'TypeError',
        message: 'Cannot close all channels: expected a ChannelMap, received {}',
      }),
    );
  });
});

describe('compactTraceback', () => {
  function thrower(): never {
    throw new TypeError('no');
  }

  it('is the innermost frame, the class, the error, and all frames, outermost first', () => {
    let error: unknown;
    try {
      thrower();
    } catch (caught) {
      error = caught;
    }
    const [innermost, type, value, info] = compactTraceback(error);
    expect(innermost).toEqual([
      expect.stringMatching(/loop\.spec\.ts$/),
      expect.stringContaining('thrower'),
      expect.stringMatching(/^\d+$/),
    ]);
    expect(type).toBe(TypeError);
    expect(value).toBe(error);
    const frames = info.match(/\[[^|\]]*\|[^|\]]*(?:\][^|]*)?\|\d+\]/g) ?? [];
    expect(frames.length).toBeGreaterThan(1);
    expect(info.endsWith(`[${innermost.join('|')}]`)).toBe(true);
  });

  it.each([
    ['null', null, undefined],
    ['undefined', undefined, undefined],
    ['a string', 'text', String],
    ['a number', 3, Number],
    ['an object', { a: 1 }, Object],
  ])('takes %s, which has no frames', (_, thrown, type) => {
    expect(compactTraceback(thrown)).toEqual([['', '', ''], type, thrown, '']);
  });

  it('takes what cannot be looked at', () => {
    const error = throwing();
    const [innermost, , value] = compactTraceback(error);
    expect(innermost).toEqual(['', '', '']);
    expect(value === error).toBe(true);
  });

  it('leaves a dispatcher to its handleError whatever was thrown', async () => {
    const map = newMap();
    const [own] = pair();
    const log: string[] = [];
    class Thrower extends Dispatcher {
      override handleWrite(): void {
        throw throwing();
      }
      override logInfo(message: unknown): void {
        log.push(String(message));
      }
    }
    new Thrower(own, map);
    await loop({ map, timeout: 1000 });
    expect(map.size).toBe(0);
    expect(emitWarning).not.toHaveBeenCalled();
    expect(log[0]).toContain('closing channel');
  });
});

describe('in a worker thread', () => {
  let directory: string;

  beforeAll(() => {
    directory = build({
      'worker.js': `
      const { parentPort, workerData } = require('node:worker_threads');
      const { Dispatcher, Socket, loop, loopSync } = require('./index.js');
      let passes = 0;
      class Player extends Dispatcher {
        writable() { return false; }
        handleRead() {
          const ball = this.recv(10);
          if (ball === null) return;
          passes += 1;
          if (passes === 100) {
            parentPort.postMessage('looping');
            if (workerData.ends) { for (const player of players) player.close(); return; }
            if (workerData.idle) return;
          }
          this.send(ball);
        }
        handleClose() { this.close(); }
      }
      const [a, b] = Socket.pair();
      const players = [new Player(a), new Player(b)];
      a.send(Buffer.from('x'));
      if (workerData.sync) loopSync({ timeout: 50 });
      else void loop();
      `,
      'main.js': `
      const { Worker } = require('node:worker_threads');
      const { once } = require('node:events');
      const workerData = JSON.parse(process.argv[2]);
      const round = async () => {
        const worker = new Worker(__dirname + '/worker.js', { workerData });
        const exit = once(worker, 'exit');
        await once(worker, 'message');
        if (!workerData.ends) await worker.terminate();
        return (await exit)[0];
      };
      (async () => {
        const codes = [];
        for (let times = 0; times < 1; times += 1) codes.push(await round());
        codes.push(...await Promise.all([round(), round()]));
        console.log(JSON.stringify(codes));
      })();
      `,
    });
  }, 60_000);

  afterAll(() => {
    rmSync(directory, { recursive: true, force: true });
  });

  /** Runs main.js in a process of its own, as a crash would take this one along. */
  async function outcome(workerData: object): Promise<[code: unknown, signal: unknown, string]> {
    const child = spawn(
      process.execPath,
      [join(directory, 'main.js'), JSON.stringify(workerData)],
      { stdio: ['ignore', 'pipe', 'pipe'] },
    );
    children.push(child);
    let output = '';
    child.stdout?.on('data', (data) => {
      output += data;
    });
    child.stderr?.on('data', (data) => {
      output += data;
    });
    const deadline = setTimeout(() => child.kill('SIGKILL'), 20_000);
    const [code, signal] = await once(child, 'close');
    clearTimeout(deadline);
    return [code, signal, output.trim()];
  }

  it.each([
    ['loop', { ends: true }],
    ['loopSync', { ends: true, sync: true }],
  ])(
    '%s runs to its end',
    async (_, data) => {
      expect(await outcome(data)).toEqual([0, null, '[0,0,0]']);
    },
    30_000,
  );

  it.each([
    ['a busy loop', {}],
    ['a busy loopSync', { sync: true }],
    ['a loop that waits', { idle: true }],
    ['a loopSync that waits', { idle: true, sync: true }],
  ])(
    '%s can be terminated',
    async (_, data) => {
      expect(await outcome(data)).toEqual([0, null, '[1,1,1]']);
    },
    30_000,
  );
});
