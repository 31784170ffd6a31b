// What a program may do to the loop from within its handlers: throw anything, close anything, run the
// loop once more. Each handler is made to run for real, by bytes on a TCP connection or by time; a
// bystander shares the map, and is to be served as if nothing had happened.

import {
  type Address,
  AsyncChat,
  type ChannelMap,
  closeAll,
  Dispatcher,
  ExitNow,
  type Handled,
  loop,
  type ManualClock,
  MSG_OOB,
  poll,
  poll2,
  SHUT_WR,
  Socket,
  shutdown,
} from 'asyncore';
import { registryOf } from '../../lib/loop/channel-map';
import { DIAGONAL, drive, WAYS } from '../support/drive';
import { keep, stillMap } from '../support/keep';
import { bareListener, call, connection } from '../support/sockets';

let map: ChannelMap;
let clock: ManualClock;
let warnings: string[];

beforeEach(() => {
  ({ map, clock } = stillMap());
  warnings = [];
  jest.spyOn(process, 'emitWarning').mockImplementation((warning) => {
    warnings.push(String(warning));
  });
});

const LOGGED: ReadonlySet<string> = new Set(['error', 'warning', 'info']);

/** Answers, whatever the subject of the test does. */
class Bystander extends Dispatcher {
  override ignoreLogTypes = LOGGED;
  answers = 0;
  readonly peer: Socket;

  constructor() {
    const [own, peer] = Socket.pair();
    super(keep(own), map);
    this.peer = keep(peer);
  }
  override writable(): boolean {
    return false;
  }
  override handleRead(): void {
    if (this.recv(100) !== null) this.answers += 1;
  }
  override handleClose(): void {
    this.close();
  }
}

/** Every method that the library calls, and a program may override, in a chat. */
const HANDLERS = [
  'readable',
  'writable',
  'handleReadEvent',
  'handleWriteEvent',
  'handleConnectEvent',
  'handleExptEvent',
  'handleConnect',
  'handleAccept',
  'handleAccepted',
  'handleRead',
  'handleWrite',
  'handleExpt',
  'handleClose',
  'handleEof',
  'handleTimeout',
  'handleDrain',
  'handleOverflow',
  'handleError',
  'getTerminator',
  'collectIncomingData',
  'foundTerminator',
  'tracksInterest',
  'toString',
  'logInfo',
] as const;

type Handler = (typeof HANDLERS)[number];

/** Those that tell the program of something: none of them may run after close(). */
const TELLING = HANDLERS.filter((name) => /^handle(?!Error)|^collect|^found/.test(name));

/** A chat in which one handler does as it is told, and then what it always does. */
class Subject extends AsyncChat {
  override maxRecordLength = 8;
  /** What ought to have been impossible. */
  readonly wrong: string[] = [];
  readonly told: unknown[] = [];
  acts = 0;
  closes = 0;
  #over = false;

  /** @param act called at the beginning of `handler`, each time */
  constructor(handler: Handler, act: (subject: Subject) => unknown) {
    super(null, map);
    this.setTerminator('\n');
    for (const name of new Set<Handler>([...TELLING, handler])) {
      const before = this[name] as (...args: unknown[]) => unknown;
      const instrumented = function (this: Subject, ...args: unknown[]): unknown {
        if (this.#over && TELLING.includes(name)) this.wrong.push(`${name} after close`);
        if (name === 'handleClose') this.closes += 1;
        if (name !== handler) return before.apply(this, args);
        this.acts += 1;
        const result = act(this);
        // A step of the loop's leaves off; a handler goes on, as a careless program would.
        if (this.#over && name.endsWith('Event')) return;
        return result === undefined ? before.apply(this, args) : result;
      };
      Object.defineProperty(this, name, {
        value: instrumented,
        writable: true,
        configurable: true,
      });
    }
  }

  override setSocket(socket: Socket): void {
    this.#over = false;
    super.setSocket(keep(socket));
  }
  override close(): void {
    super.close();
    this.#over = true;
  }
  override handleError(error: unknown): Handled {
    this.told.push(error);
    return super.handleError(error);
  }
  override handleConnect(): Handled {}
  override handleExpt(): Handled {
    (this.socket as Socket).recv(1, MSG_OOB);
  }
  override handleAccepted(socket: Socket, _address: Address): Handled {
    keep(socket);
  }
  override collectIncomingData(_data: Buffer): Handled {}
  override foundTerminator(): Handled {}
  override logInfo(): void {}

  /** Becomes one end of a connection. @returns the other */
  connectTo([peer, own] = connection()): Socket {
    this.setSocket(own);
    this.connected = true;
    return peer;
  }
}

/** A read event in which something goes wrong, for the handlers that are told of it. */
function failAtRead(subject: Subject): void {
  subject.collectIncomingData = () => {
    throw new Error('wrong');
  };
  subject.connectTo().send(Buffer.from('a\n'));
}

const connect = (subject: Subject): void => {
  subject.createSocket();
  subject.connect(bareListener().getSockName());
};

const listen = (subject: Subject): void => {
  subject.createSocket();
  subject.bind({ host: '127.0.0.1', port: 0 });
  subject.listen();
  call((subject.socket as Socket).getSockName());
};

const read = (subject: Subject): void => {
  subject.connectTo().send(Buffer.from('a\n'));
};

const write = (subject: Subject): void => {
  subject.connectTo();
  subject.producerFifo.push(Buffer.from('x'));
};

const expt = (subject: Subject): void => {
  subject.connectTo().send(Buffer.from('!'), MSG_OOB);
};

const idle = (subject: Subject): void => {
  subject.connectTo();
};

/** How each is made to run. */
const PROVOCATIONS: Record<Handler, (subject: Subject) => void> = {
  readable: idle,
  writable: idle,
  tracksInterest: idle,
  handleReadEvent: read,
  handleRead: read,
  getTerminator: read,
  collectIncomingData: read,
  foundTerminator: read,
  handleWriteEvent: write,
  handleWrite: write,
  handleConnectEvent: connect,
  handleConnect: connect,
  handleAccept: listen,
  handleAccepted: listen,
  handleExptEvent: expt,
  handleExpt: expt,
  handleClose: (subject) => subject.connectTo().close(),
  handleEof: (subject) => {
    subject.allowHalfOpen = true;
    subject.connectTo().shutdown(SHUT_WR);
  },
  handleTimeout: (subject) => {
    subject.connectTo();
    subject.setIdleTimeout(1);
    clock.advance(1);
  },
  handleDrain: (subject) => {
    subject.connectTo();
    subject.highWaterMark = 0;
    subject.connected = false;
    subject.push('x');
    subject.connected = true;
  },
  handleOverflow: (subject) => {
    subject.connectTo().send(Buffer.from('longer than 8 bytes\n'));
  },
  handleError: failAtRead,
  toString: failAtRead,
  logInfo: failAtRead,
};

class EvilClass extends Error {}
Object.defineProperty(EvilClass, 'name', { value: Symbol('no text') });

function withGetters(...names: string[]): Error {
  const error = new Error('evil');
  for (const name of names) {
    Object.defineProperty(error, name, {
      get() {
        throw new Error(`do not look at ${name}`);
      },
    });
  }
  return error;
}

function revoked(): object {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  return proxy;
}

const textless = {
  toString(): string {
    throw new Error('no text');
  },
};

const THROWN: [what: string, value: unknown][] = [
  ['an Error', new Error('plain')],
  ['undefined', undefined],
  ['null', null],
  ['a number', 0],
  ['a string', 'text'],
  ['a symbol', Symbol('symbol')],
  ['a bigint', 10n],
  ['a function', () => {}],
  ['an object without a prototype', Object.create(null)],
  ['a frozen Error', Object.freeze(new Error('frozen'))],
  ['an object that has no text', textless],
  ['an Error with a throwing message', withGetters('message')],
  ['an Error with a throwing stack', withGetters('stack')],
  // The stack first: to make it, the engine looks at the message.
  ['an Error with nothing but throwing getters', withGetters('stack', 'message', 'code', 'name')],
  ['an Error with a throwing constructor', withGetters('constructor')],
  ['an Error whose code is an object', Object.assign(new Error('code'), { code: textless })],
  ['an Error whose class has no text', new EvilClass('class')],
];

/** These write the log, or are the last to see an error: an exception in them is reported nowhere. */
const AT_THE_END: readonly Handler[] = ['handleError', 'toString', 'logInfo'];

describe.each(WAYS)('A handler that throws (%s)', (_, how) => {
  async function outcome(handler: Handler, value: unknown): Promise<object> {
    const before = new Bystander();
    const subject = new Subject(handler, () => {
      throw value;
    });
    PROVOCATIONS[handler](subject);
    const after = new Bystander();
    for (const { peer } of [before, after]) peer.send(Buffer.from('x'));
    await drive(how, () => subject.acts > 0 && before.answers + after.answers === 2, { map });
    for (const { peer } of [before, after]) peer.send(Buffer.from('x'));
    await drive(how, () => before.answers + after.answers === 4, { map });
    const found = {
      told: AT_THE_END.includes(handler) || subject.told.some((told) => Object.is(told, value)),
      inMap: [...map.values()].includes(subject),
      closed: (subject.socket as Socket).closed,
      wrong: subject.wrong,
    };
    closeAll(map);
    return found;
  }

  it.each(HANDLERS)('%s: whatever it is, its channel ends, and nobody else', async (handler) => {
    // A caller is lost, and not the listener.
    const ends = handler !== 'handleAccepted';
    for (const [what, value] of THROWN) {
      expect({ what, ...(await outcome(handler, value)) }).toEqual({
        what,
        told: true,
        inMap: !ends,
        closed: ends,
        wrong: [],
      });
    }
  });

  it('handleRead: even a revoked Proxy, which cannot be asked what it is', async () => {
    expect(await outcome('handleRead', revoked())).toEqual({
      told: true,
      inMap: false,
      closed: true,
      wrong: [],
    });
  });

  // What toString throws is lost in the log, as in Python.
  const CALLED = HANDLERS.filter((name) => name !== 'toString');
  it.each(CALLED)('%s: ExitNow leaves the loop, which can go on', async (handler) => {
    const bystander = new Bystander();
    const exit = new ExitNow('enough');
    let left = 1;
    const subject = new Subject(handler, () => {
      left -= 1;
      if (left >= 0) throw exit;
    });
    PROVOCATIONS[handler](subject);
    await expect(drive(how, () => false, { map, limit: 2000 })).rejects.toBe(exit);
    expect(subject.wrong).toEqual([]);
    expect(registryOf(map).runner).toBeNull();
    bystander.peer.send(Buffer.from('x'));
    await drive(how, () => bystander.answers === 1, { map });
    expect(subject.wrong).toEqual([]);
  });
});

describe('A handler whose promise is rejected', () => {
  // The end of a connect is waited for: that step cannot be async.
  const ASYNC = HANDLERS.filter((name) => /^handle(?!ConnectEvent)|^collect|^found/.test(name));

  it.each(
    WAYS.filter(([, { sync }]) => !sync).flatMap(([way, how]) =>
      ASYNC.map((handler) => [handler, way, how] as const),
    ),
  )('%s: whatever it is, its channel ends, and nobody else (%s)', async (handler, _way, how) => {
    const ends = handler !== 'handleAccepted';
    for (const [what, value] of THROWN) {
      const bystander = new Bystander();
      // handleClose has to close, or is called again: whatever it promises.
      const subject = new Subject(handler, (self) => {
        if (handler === 'handleClose') self.close();
        return Promise.reject(value);
      });
      PROVOCATIONS[handler](subject);
      await drive(how, () => subject.acts > 0 && (!ends || subject.fileno() === null), { map });
      bystander.peer.send(Buffer.from('x'));
      await drive(how, () => bystander.answers === 1, { map });
      // What is told, is told in a turn of its own.
      await new Promise((resolve) => setImmediate(resolve));
      const told = handler === 'handleError' || subject.told.some((one) => Object.is(one, value));
      expect({ what, told, wrong: subject.wrong }).toEqual({ what, told: true, wrong: [] });
      expect(subject.fileno() === null).toBe(ends);
      closeAll(map);
    }
  });
});

const ACTIONS: [what: string, act: (subject: Subject, bystander: Bystander) => void][] = [
  ['closes itself', (subject) => subject.close()],
  ['closes itself twice', (subject) => [subject.close(), subject.close()]],
  ['closes another', (_, bystander) => bystander.close()],
  ['closes another one’s socket', (_, bystander) => bystander.socket?.close()],
  ['closes all', () => closeAll(map)],
  ['empties the map', () => map.clear()],
  ['leaves the map and comes back', (subject) => rejoin(subject)],
  ['adds channels', () => Array.from({ length: 3 }, () => new Bystander())],
  ['polls', () => poll(0, map)],
  ['polls in the other order', () => poll2(0, map)],
  ['polls and closes', (subject) => [poll(0, map), subject.close()]],
  ['is told to end', (subject) => subject.closeWhenDone()],
  ['discards', (subject) => subject.discardBuffers()],
  ['pauses', (subject) => subject.pauseReading()],
  ['pauses and resumes', (subject) => [subject.pauseReading(), subject.resumeReading()]],
  ['gets a timeout, which it reaches', (subject) => [subject.setIdleTimeout(1), clock.advance(1)]],
  ['gets another socket', (subject) => replaceSocket(subject, false)],
  ['closes its socket and gets another', (subject) => replaceSocket(subject, true)],
  ['closes and gets another socket', (subject) => [subject.close(), replaceSocket(subject, false)]],
];

function rejoin(subject: Subject): void {
  const { socket } = subject;
  if (socket === null || socket.fileno() < 0) return;
  subject.delChannel();
  subject.setSocket(socket as Socket);
}

function replaceSocket(subject: Subject, close: boolean): void {
  const old = subject.socket as Socket | null;
  if (close) old?.close();
  subject.connectTo();
}

describe.each(DIAGONAL)('A handler (%s)', (_, how) => {
  describe.each(HANDLERS)('%s', (handler) => {
    it.each(ACTIONS)('that %s', async (_what, act) => {
      const before = new Bystander();
      const subject = new Subject(handler, (self) => {
        // Once, or a handler that polls would never return.
        if (self.acts === 1) act(self, before);
      });
      PROVOCATIONS[handler](subject);
      const after = new Bystander();
      for (const { peer } of [before, after]) peer.send(Buffer.from('x'));
      await drive(how, () => subject.acts > 0, { map });
      // Nobody who is still there has been forgotten, and a newcomer is served.
      const last = new Bystander();
      const served = [before, after, last].filter(
        (one) => [...map.values()].includes(one) && one.socket?.fileno() === one.fileno(),
      );
      for (const { peer } of served) peer.send(Buffer.from('x'));
      await drive(how, () => served.every(({ answers }) => answers > 0), { map });
      expect(served).toContain(last);
      expect(subject.wrong).toEqual([]);
      // Once for each connection, and it may have had two.
      expect(subject.closes).toBeLessThanOrEqual(2);
      for (const [fd, channel] of map) expect(channel.fileno?.()).toBe(fd);
    });
  });
});

describe('handleShutdown', () => {
  /** @param act as `Subject`'s */
  function chatThat(act: (subject: Subject) => unknown): Subject {
    const subject = new Subject('handleClose', () => {});
    subject.connectTo();
    subject.handleShutdown = () => act(subject) as Handled;
    return subject;
  }

  it('may throw anything: its channel ends, and the others are told', async () => {
    for (const [what, value] of THROWN) {
      const subject = chatThat(() => {
        throw value;
      });
      const bystander = new Bystander();
      expect(await shutdown(map, { deadline: 2000 })).toBe(0);
      const told = subject.told.length === 1 && Object.is(subject.told[0], value);
      expect({ what, told }).toEqual({ what, told: true });
      expect(bystander.fileno()).toBeNull();
    }
  });

  it('may reject: its channel ends, and the others are told', async () => {
    const error = new Error('rejected');
    const subject = chatThat(() => Promise.reject(error));
    new Bystander();
    expect(await shutdown(map, { deadline: 2000 })).toBe(0);
    expect(subject.told).toEqual([error]);
  });

  it('is not called on a channel that another one’s has closed', async () => {
    let other: Subject | undefined;
    chatThat((subject) => {
      other?.close();
      subject.close();
    });
    let calls = 0;
    other = chatThat((subject) => {
      calls += 1;
      subject.close();
    });
    await shutdown(map, { deadline: 100 });
    expect(calls).toBe(0);
  });

  it('may add channels, which the deadline closes', async () => {
    chatThat((subject) => {
      new Bystander();
      subject.close();
    });
    const done = shutdown(map, { deadline: 20 });
    clock.advance(19.9);
    await new Promise((resolve) => setImmediate(resolve));
    expect(map.size).toBe(1);
    clock.advance(0.1);
    expect(await done).toBe(1);
    expect(map.size).toBe(0);
  });

  it('may close all', async () => {
    chatThat(() => closeAll(map));
    const bystander = new Bystander();
    expect(await shutdown(map, { deadline: 2000 })).toBe(0);
    expect(bystander.fileno()).toBeNull();
  });
});

describe('A loop', () => {
  it('that ends before its map is empty ends the wait of a shutdown, too', async () => {
    const stop = new AbortController();
    const bystander = new Bystander();
    bystander.handleShutdown = () => {};
    const running = loop({ map, signal: stop.signal }).catch(() => 'aborted');
    await new Promise((resolve) => setImmediate(resolve));
    const ended = shutdown(map, { deadline: 20 }).then(
      () => 'ended',
      () => 'ended',
    );
    stop.abort();
    expect(await running).toBe('aborted');
    clock.advance(20);
    const late = new Promise((resolve) => setTimeout(resolve, 1000, 'still waiting'));
    expect(await Promise.race([ended, late])).toBe('ended');
  });
});
