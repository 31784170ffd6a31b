// How many connections a listener lets in: where the others wait, when they get in, and what a limit for
// each address does.

import {
  AF_INET,
  AF_UNIX,
  type AsyncChat,
  type Handled,
  type ListenLimits,
  loop,
  loopSync,
  poll,
  poll2,
  SOCK_DGRAM,
  Socket,
  SocketError,
} from 'asyncore';
import { garbageCollector } from '../support/collector';
import { DIAGONAL, drive, FAMILIES, MATRIX, WAYS, type Way } from '../support/drive';
import { keep, newMap, stillMap } from '../support/keep';
import { Listener, text, tick } from '../support/limits';
import { until } from '../support/program';
import { QuietChat } from '../support/quiet-chat';
import { giveDescriptorsBack, takeDescriptors } from '../support/shortage';
import { call } from '../support/sockets';

let warnings: jest.SpyInstance;

beforeEach(() => {
  warnings = jest.spyOn(process, 'emitWarning').mockImplementation(() => {});
});

const warned = (): string[] => warnings.mock.calls.map(([message]) => message);

function limited(limits: ListenLimits, family = AF_INET) {
  const map = newMap();
  return { map, listener: new Listener(map, limits, family) };
}

/** How long a listener rests when it could not accept, in ms. */
const REST = 100;

/** A listener in a map in which no time passes by itself. */
function still(limits: ListenLimits) {
  const { map, clock } = stillMap();
  return { map, clock, listener: new Listener(map, limits) };
}

/** Lets the rest of a listener pass, which is not over before its time. */
async function restEnds(
  how: Way,
  { map, clock, listener }: ReturnType<typeof still>,
): Promise<void> {
  const { accepts } = listener;
  clock.advance(REST - 0.1);
  await tick(how, map, 3);
  expect(listener.accepts).toBe(accepts);
  clock.advance(0.1);
  await tick(how, map, 3);
}

describe.each(MATRIX)('A listener with a limit (%s)', (_, family, how) => {
  it('lets so many in, and the next one when one has gone', async () => {
    const { map, listener } = limited({ maxConnections: 2 }, family);
    const callers = [1, 2, 3, 4].map(() => call(listener.name));
    await drive(how, () => listener.callers.length === 2, { map });
    await tick(how, map, 20);
    expect(listener.callers).toHaveLength(2);
    // Those who wait have a connection, and may send: they are in the backlog.
    callers[2]?.send(text('I wait'));
    listener.callers[0]?.close();
    await drive(how, () => listener.callers.length === 3, { map });
    await tick(how, map, 20);
    expect(listener.callers).toHaveLength(3);
    expect(listener.callers[2]?.recv(100)?.toString()).toBe('I wait');
    listener.callers[1]?.close();
    listener.callers[2]?.close();
    await drive(how, () => listener.callers.length === 4, { map });
    expect(listener.errors).toEqual([]);
  });

  it('is not asked while it is full, and leaves the loop its rest', async () => {
    const { map, listener } = limited({ maxConnections: 1 }, family);
    call(listener.name);
    call(listener.name);
    await drive(how, () => listener.callers.length === 1, { map });
    const { accepts } = listener;
    const start = performance.now();
    if (how.sync) (how.usePoll ? poll2 : poll)(60, map);
    else await loop({ map, usePoll: how.usePoll, timeout: 60, count: 1 });
    expect(performance.now() - start).toBeGreaterThan(50);
    expect(listener.accepts).toBe(accepts);
  });
});

describe.each(FAMILIES)('A limit for each address (%s)', (_, family) => {
  it('turns away who has had his share, except over Unix sockets, which have no address', async () => {
    const { map, listener } = limited({ maxConnectionsPerAddress: 2 }, family);
    const callers = [1, 2, 3, 4].map(() => call(listener.name));
    await tick({ sync: true, usePoll: false }, map, 5);
    if (family === AF_UNIX) {
      expect(listener.callers).toHaveLength(4);
      expect(warned()).toEqual([]);
      return;
    }
    expect(listener.callers).toHaveLength(2);
    for (const refused of callers.slice(2)) expect(refused.recv(10)?.length).toBe(0);
    expect(callers[0]?.recv(10)).toBeNull();

    listener.callers[0]?.close();
    const again = call(listener.name);
    await tick({ sync: true, usePoll: false }, map, 5);
    expect(listener.callers).toHaveLength(3);
    expect(again.recv(10)).toBeNull();
    expect(listener.errors).toEqual([]);
    expect(warned()).toEqual([
      'A listener has reached maxConnectionsPerAddress (2): more from an address are refused',
    ]);
  });
});

describe.each(WAYS)('A listener with a limit (%s)', (_, how) => {
  /** Everything of 127.0.0.0/8 is this machine. */
  function callFrom(host: string, listener: Listener): Socket {
    const socket = keep(Socket.socket());
    socket.bind({ host, port: 0 });
    socket.connect(listener.name);
    return socket;
  }

  const from = (listener: Listener): string[] =>
    listener.addresses.map((address) => ('host' in address ? address.host : ''));

  it('for each address lets in those who stand behind one who is turned away', async () => {
    const { map, listener } = limited({ maxConnectionsPerAddress: 1 });
    callFrom('127.0.0.1', listener);
    const refused = callFrom('127.0.0.1', listener);
    callFrom('127.0.0.2', listener);
    callFrom('127.0.0.3', listener);
    await drive(how, () => listener.callers.length === 3, { map });
    expect(from(listener)).toEqual(['127.0.0.1', '127.0.0.2', '127.0.0.3']);
    expect(refused.recv(10)?.length).toBe(0);
  });

  it('for each address turns away some in a tick, and others have their turn between', async () => {
    const { map, listener } = limited({ maxConnectionsPerAddress: 1 });
    const callers = Array.from({ length: 60 }, () => call(listener.name));
    let refused = 0;
    const turnedAway = (): number => {
      for (const [index, caller] of callers.entries()) {
        if (index === 0 || caller.closed || caller.recv(10) === null) continue;
        caller.close();
        refused += 1;
      }
      return refused;
    };
    await tick(how, map);
    expect(turnedAway()).toBeLessThan(30);
    await drive(how, () => turnedAway() === 59, { map });
    expect(listener.callers).toHaveLength(1);
  });

  it('and one for each address holds to both', async () => {
    const { map, listener } = limited({ maxConnections: 3, maxConnectionsPerAddress: 2 });
    for (const host of ['127.0.0.1', '127.0.0.1', '127.0.0.1', '127.0.0.2', '127.0.0.3']) {
      callFrom(host, listener);
    }
    await drive(how, () => listener.callers.length === 3, { map });
    await tick(how, map, 10);
    expect(from(listener)).toEqual(['127.0.0.1', '127.0.0.1', '127.0.0.2']);
    listener.callers[0]?.close();
    await drive(how, () => listener.callers.length === 4, { map });
    expect(from(listener)[3]).toBe('127.0.0.3');
  });

  it('counts those who are turned away no longer', async () => {
    const { map, listener } = limited({ maxConnections: 2, maxConnectionsPerAddress: 1 });
    callFrom('127.0.0.1', listener);
    callFrom('127.0.0.1', listener);
    callFrom('127.0.0.1', listener);
    await tick(how, map, 5);
    callFrom('127.0.0.2', listener);
    await drive(how, () => listener.callers.length === 2, { map });
  });

  it('warns once, at the first time', async () => {
    const { map, listener } = limited({ maxConnections: 2 });
    call(listener.name);
    await drive(how, () => listener.callers.length === 1, { map });
    expect(warned()).toEqual([]);
    for (let turn = 0; turn < 3; turn += 1) {
      call(listener.name);
      await drive(how, () => listener.callers.length === turn + 2, { map });
      listener.callers[turn]?.close();
    }
    expect(warnings.mock.calls).toEqual([
      [
        'A listener has reached maxConnections (2): new connections wait in the backlog',
        { type: 'ChannelWarning', code: 'ASYNCORE_CONNECTION_LIMIT' },
      ],
    ]);
  });

  it('gets room when a channel closes that has the socket', async () => {
    const { map, listener } = limited({ maxConnections: 1 });
    const chats: AsyncChat[] = [];
    listener.handleAccepted = (socket) => {
      chats.push(new QuietChat(socket, map));
    };
    const first = call(listener.name);
    call(listener.name);
    await drive(how, () => chats.length === 1, { map });
    await tick(how, map, 5);
    expect(chats).toHaveLength(1);
    first.close();
    await drive(how, () => chats.length === 2, { map });
  });

  it('gets room when a socket is detached', async () => {
    const { map, listener } = limited({ maxConnections: 1 });
    call(listener.name);
    call(listener.name);
    await drive(how, () => listener.callers.length === 1, { map });
    const taken = Socket.fromFd(listener.callers[0]?.detach() as number);
    await drive(how, () => listener.callers.length === 2, { map });
    taken.close();
  });

  it('gets room when handleAccepted throws', async () => {
    const { map, listener } = limited({ maxConnections: 1 });
    let calls = 0;
    listener.handleAccepted = (socket) => {
      calls += 1;
      if (calls === 1) throw new Error('not him');
      keep(socket);
    };
    call(listener.name);
    call(listener.name);
    await drive(how, () => calls === 2, { map });
    expect(listener.errors).toHaveLength(1);
  });

  it('gets room when the one who has come is closed at once', async () => {
    const { map, listener } = limited({ maxConnections: 1 });
    let calls = 0;
    listener.handleAccepted = (socket) => {
      calls += 1;
      socket.close();
    };
    for (let caller = 0; caller < 40; caller += 1) call(listener.name);
    await drive(how, () => calls === 40, { map });
  });

  it('gets other limits from listen()', async () => {
    const { map, listener } = limited({ maxConnections: 1 });
    for (let caller = 0; caller < 5; caller += 1) call(listener.name);
    await drive(how, () => listener.callers.length === 1, { map });
    await tick(how, map, 5);

    listener.listen(64, { maxConnections: 3 });
    await drive(how, () => listener.callers.length === 3, { map });
    await tick(how, map, 5);
    expect(listener.callers).toHaveLength(3);

    // Fewer than there are: nobody is closed for it, and nobody comes until it is so.
    listener.listen(64, { maxConnections: 2 });
    listener.callers[0]?.close();
    await tick(how, map, 5);
    expect(listener.callers).toHaveLength(3);
    listener.callers[1]?.close();
    await drive(how, () => listener.callers.length === 4, { map });
    await tick(how, map, 5);
    expect(listener.callers).toHaveLength(4);

    listener.listen(64);
    await drive(how, () => listener.callers.length === 5, { map });
  });

  it('counts from the first connection on when it gets its limit later', async () => {
    const { map, listener } = limited({});
    call(listener.name);
    await drive(how, () => listener.callers.length === 1, { map });
    // Those that came before are nobody's.
    listener.listen(64, { maxConnections: 1 });
    call(listener.name);
    call(listener.name);
    await drive(how, () => listener.callers.length === 2, { map });
    await tick(how, map, 5);
    expect(listener.callers).toHaveLength(2);
  });

  it('holds for a handleAccept of the program’s own', async () => {
    class Acceptor extends Listener {
      readonly answers: boolean[] = [];
      override handleAccept(): Handled {
        for (;;) {
          const caller = this.accept();
          this.answers.push(caller !== null);
          if (caller === null) return;
          this.callers.push(keep(caller.socket));
        }
      }
    }
    const map = newMap();
    const listener = new Acceptor(map, { maxConnections: 2 });
    for (let caller = 0; caller < 3; caller += 1) call(listener.name);
    await drive(how, () => listener.callers.length === 2, { map });
    await tick(how, map, 20);
    expect(listener.answers).toEqual([true, true, false]);
    listener.callers[0]?.close();
    await drive(how, () => listener.callers.length === 3, { map });
  });

  it('holds when accept() is called by hand', async () => {
    const { listener } = limited({ maxConnections: 1 });
    call(listener.name);
    call(listener.name);
    keep(listener.accept()?.socket as Socket);
    expect(listener.accept()).toBeNull();
  });

  it('stays closed when it has closed full, and a connection ends', async () => {
    const { map, listener } = limited({ maxConnections: 1 });
    call(listener.name);
    await drive(how, () => listener.callers.length === 1, { map });
    listener.close();
    listener.callers[0]?.close();
    expect(map.size).toBe(0);
  });

  it('stays paused when it gets room', async () => {
    const { map, listener } = limited({ maxConnections: 1 });
    call(listener.name);
    call(listener.name);
    await drive(how, () => listener.callers.length === 1, { map });
    listener.pauseReading();
    listener.callers[0]?.close();
    await tick(how, map, 10);
    expect(listener.callers).toHaveLength(1);
    listener.resumeReading();
    await drive(how, () => listener.callers.length === 2, { map });
  });

  it('stays full when it is paused and resumed', async () => {
    const { map, listener } = limited({ maxConnections: 1 });
    call(listener.name);
    call(listener.name);
    await drive(how, () => listener.callers.length === 1, { map });
    const { accepts } = listener;
    listener.pauseReading();
    await tick(how, map, 3);
    listener.resumeReading();
    await tick(how, map, 10);
    expect(listener.accepts).toBe(accepts);
  });

  it('does not spin when it has left the map full, and come back', async () => {
    const { map, listener } = limited({ maxConnections: 1 });
    call(listener.name);
    call(listener.name);
    await drive(how, () => listener.callers.length === 1, { map });
    const { accepts } = listener;
    listener.setSocket(withoutMap(listener));
    await tick(how, map, 30);
    expect(listener.accepts - accepts).toBeLessThanOrEqual(1);
    listener.callers[0]?.close();
    await drive(how, () => listener.callers.length === 2, { map });
  });

  it('rests while it is full in another map than its own, too', async () => {
    const { map: own, listener } = limited({ maxConnections: 1 });
    const map = newMap();
    listener.delChannel();
    listener.setSocket(listener.socket as Socket, map);
    call(listener.name);
    call(listener.name);
    await drive(how, () => listener.callers.length === 1, { map });
    const { accepts } = listener;
    await tick(how, map, 30);
    expect(listener.accepts - accepts).toBeLessThanOrEqual(1);
    expect(listener.callers).toHaveLength(1);
    listener.callers[0]?.close();
    await drive(how, () => listener.callers.length === 2, { map });
    listener.close();
    expect([map.size, own.size]).toEqual([0, 0]);
  });

  it('does not spin when it listens anew on another socket, and is full from before', async () => {
    const { map, listener } = limited({ maxConnections: 1 });
    call(listener.name);
    await drive(how, () => listener.callers.length === 1, { map });
    listener.close();
    listener.createSocket();
    listener.bind({ host: '127.0.0.1', port: 0 });
    listener.listen(64, { maxConnections: 1 });
    call(listener.name);
    const { accepts } = listener;
    await tick(how, map, 30);
    expect(listener.accepts - accepts).toBeLessThanOrEqual(1);
    expect(listener.callers).toHaveLength(1);
    listener.callers[0]?.close();
    await drive(how, () => listener.callers.length === 2, { map });
  });

  describe('and a shortage of descriptors', () => {
    afterEach(giveDescriptorsBack);

    it('recovers from both, in whichever order they end', async () => {
      const place = still({ maxConnections: 2 });
      const { map, listener } = place;
      call(listener.name);
      await drive(how, () => listener.callers.length === 1, { map });
      call(listener.name);
      call(listener.name);
      takeDescriptors();
      await drive(how, () => listener.errors.length > 0, { map });
      expect(listener.errors[0]).toMatchObject({ code: 'EMFILE', syscall: 'accept' });
      // One goes while it rests, and it is not full: his descriptor is the one that was missing.
      listener.callers[0]?.close();
      await restEnds(how, place);
      expect(listener.callers).toHaveLength(2);
      expect(listener.errors).toHaveLength(2);
      giveDescriptorsBack();
      await restEnds(how, place);
      expect(listener.callers).toHaveLength(3);
      await tick(how, map, 10);
      expect(listener.callers).toHaveLength(3);
      expect(listener.accepting).toBe(true);
    });

    it('does not count who could not be accepted', async () => {
      const place = still({ maxConnections: 1 });
      const { map, listener } = place;
      call(listener.name);
      takeDescriptors();
      await drive(how, () => listener.errors.length > 0, { map });
      giveDescriptorsBack();
      await restEnds(how, place);
      expect(listener.callers).toHaveLength(1);
    });
  });
});

/** What accept(2) reports of a connection that it has taken from the backlog, or that a firewall refused. */
const FAULTS = [
  ...[
    'ECONNABORTED',
    'ECONNREFUSED',
    'ECONNRESET',
    'EHOSTDOWN',
    'EHOSTUNREACH',
    'EINTR',
    'ENETDOWN',
  ],
  ...[
    'ENETRESET',
    'ENETUNREACH',
    'ENONET',
    'ENOPROTOOPT',
    'ENOSR',
    'ENOTSUP',
    'EOPNOTSUPP',
    'EPERM',
  ],
  ...['EPIPE', 'EPROTO', 'EPROTONOSUPPORT', 'ESOCKTNOSUPPORT', 'ETIMEDOUT'],
];

describe.each(DIAGONAL)('A listener whose accept fails (%s)', (_, how) => {
  /** Has the listener's socket fail at accept, `times` times. */
  function fail(listener: Listener, code: string, times: number): jest.SpyInstance {
    const socket = listener.socket as Socket;
    let left = times;
    return jest.spyOn(socket, 'accept').mockImplementation(() => {
      left -= 1;
      if (left < 0) return Socket.prototype.accept.call(socket);
      throw new SocketError(code, 1, 'accept', 'as the test wants it');
    });
  }

  it.each(FAULTS)('goes on after %s, which concerns one connection', async (code) => {
    const { map, listener } = limited({ maxConnections: 1 });
    fail(listener, code, 1);
    expect(listener.accept()).toBeNull();
    fail(listener, code, 2);
    call(listener.name);
    call(listener.name);
    await drive(how, () => listener.callers.length === 1, { map });
    await tick(how, map, 3);
    expect([listener.callers.length, listener.accepting, listener.errors]).toEqual([1, true, []]);
  });

  it('says so, and rests, when one connection after the other fails', async () => {
    const place = still({});
    const { map, listener } = place;
    const accept = fail(listener, 'ECONNABORTED', 20);
    call(listener.name);
    await drive(how, () => listener.errors.length > 0, { map });
    expect(accept).toHaveBeenCalledTimes(16);
    await restEnds(how, place);
    await drive(how, () => listener.callers.length === 1, { map });
    expect(accept.mock.calls.length).toBeGreaterThan(20);
    expect(listener.errors).toEqual([expect.objectContaining({ code: 'ECONNABORTED' })]);
  });

  it('rests for 100 ms in real time, too', async () => {
    const map = newMap();
    const listener = new Listener(map);
    fail(listener, 'EMFILE', 1);
    call(listener.name);
    const start = performance.now();
    await drive(how, () => listener.errors.length > 0, { map });
    // A wait that is longer ends in time, and with the caller.
    const options = { map, usePoll: how.usePoll, timeout: 10_000, count: 1 };
    if (how.sync) loopSync(options);
    else await loop(options);
    expect(listener.callers).toHaveLength(1);
    expect(performance.now() - start).toBeGreaterThanOrEqual(REST);
    expect(performance.now() - start).toBeLessThan(5000);
  });

  it('closes when it is no listener at all', async () => {
    const map = newMap();
    const listener = new Listener(map);
    const datagrams = keep(Socket.socket(AF_INET, SOCK_DGRAM));
    datagrams.bind({ host: '127.0.0.1', port: 0 });
    listener.socket?.close();
    listener.setSocket(datagrams);
    const sender = keep(Socket.socket(AF_INET, SOCK_DGRAM));
    sender.sendTo(text('not a connection'), datagrams.getSockName());
    await drive(how, () => map.size === 0, { map });
    expect(listener.errors).toEqual([expect.objectContaining({ code: 'ENOTSUP' })]);
  });
});

/** Takes a channel out of its map, and gives its socket back. */
function withoutMap(listener: Listener): Socket {
  listener.delChannel();
  return listener.socket as Socket;
}

describe('A listener with a limit', () => {
  it('gets room when sockets that nobody has closed are collected', async () => {
    const collect = garbageCollector();
    const { map, listener } = limited({ maxConnections: 1 });
    let calls = 0;
    listener.handleAccepted = (socket) => {
      calls += 1;
      // The first one is dropped.
      if (calls > 1) keep(socket);
    };
    call(listener.name);
    call(listener.name);
    const stop = new AbortController();
    const running = loop({ map, signal: stop.signal });
    await until(() => calls === 1);
    await until(() => {
      collect();
      return calls === 2;
    });
    stop.abort();
    await expect(running).rejects.toBe(stop.signal.reason);
    expect(warned()).toContainEqual(expect.stringContaining('it was dropped without close()'));
  });

  it.each<[ListenLimits, Error]>([
    [
      { maxConnections: 0 },
      new RangeError(
        'Cannot listen: expected maxConnections to be an integer from 1 to 9007199254740991, received 0',
      ),
    ],
    [
      { maxConnectionsPerAddress: -1 },
      new RangeError(
        'Cannot listen: expected maxConnectionsPerAddress to be an integer from 1 to 9007199254740991, received -1',
      ),
    ],
    [
      { maxConnections: 1.5 },
      new RangeError(
        'Cannot listen: expected maxConnections to be an integer from 1 to 9007199254740991, received 1.5',
      ),
    ],
    [
      { maxConnections: '3' as unknown as number },
      new TypeError(
        "Cannot listen: expected maxConnections to be an integer from 1 to 9007199254740991, received '3'",
      ),
    ],
  ])('refuses %p', (limits, error) => {
    const { listener } = limited({});
    expect(() => listener.listen(5, limits)).toThrow(error);
  });

  it.each<[unknown, string]>([
    [{ maxConnection: 3 }, "'maxConnection'; did you mean maxConnections?"],
    [{ max_connections: 3 }, "'max_connections'; did you mean maxConnections?"],
    [
      { maxConnectionsPerAdress: 3 },
      "'maxConnectionsPerAdress'; did you mean maxConnectionsPerAddress?",
    ],
    [Object.create({ maxConns: 3 }), "'maxConns'"],
    [{ maxConnections: 3, timeout: 5 }, "'timeout'"],
  ])('refuses the unknown name in %p, and keeps its limits', (limits, received) => {
    const { map, listener } = limited({ maxConnections: 1 });
    const known = 'options named maxConnections or maxConnectionsPerAddress';
    expect(() => listener.listen(5, limits as ListenLimits)).toThrow(
      expect.objectContaining({
        name: 'TypeError',
        code: 'ERR_INVALID_ARG_VALUE',
        message: expect.stringContaining(`Cannot listen: expected ${known}, received ${received}`),
      }),
    );
    expect(() => listener.listen(5, { maxConnections: 9, maxConnectionsPerAddress: 0 })).toThrow();
    call(listener.name);
    call(listener.name);
    poll(1000, map);
    poll(0, map);
    expect(listener.callers).toHaveLength(1);
  });

  it('takes a limit that its limits inherit, and an undefined one for none', () => {
    const { map, listener } = limited(Object.create({ maxConnections: 1 }));
    call(listener.name);
    call(listener.name);
    poll(1000, map);
    poll(0, map);
    expect(listener.callers).toHaveLength(1);
    listener.listen(5, { maxConnections: undefined, backlog: undefined } as object);
    poll(1000, map);
    expect(listener.callers).toHaveLength(2);
  });

  it('may have no limit in so many words', () => {
    const { map, listener } = limited({ maxConnections: Infinity });
    call(listener.name);
    poll(1000, map);
    expect(listener.callers).toHaveLength(1);
  });
});
