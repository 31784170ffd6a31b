// Channels that open their socket themselves: connect() without createSocket(), to a literal, to a Unix path, and
// to a host name, whose addresses are tried in turn. The 250 ms between two attempts pass where the test says so:
// most maps here have a clock that the test moves.

import { fstatSync, readdirSync } from 'node:fs';
import { isDeepStrictEqual } from 'node:util';
import {
  type Address,
  AF_INET,
  AF_INET6,
  AF_UNIX,
  AsyncChat,
  type ChannelMap,
  closeAll,
  ExitNow,
  type Handled,
  type InternetAddress,
  IPPROTO_IPV6,
  IPPROTO_TCP,
  IPV6_TCLASS,
  loop,
  loopSync,
  type ManualClock,
  poll,
  Socket,
  SocketError,
  shutdown,
  TCP_NODELAY,
} from 'asyncore';
import fc from 'fast-check';
import { DIAGONAL, drive, temporaryPath, WAYS, type Way } from '../support/drive';
import { keep, newMap, stillMap } from '../support/keep';
import { tick } from '../support/limits';
import { accepting, places, resolveTo, silent } from '../support/names-that-resolve';
import { Recorder } from '../support/recorder';
import { giveDescriptorsBack, takeDescriptors } from '../support/shortage';
import { bareListener, connection, received } from '../support/sockets';

const NAME = 'several.example';
const ASYNC: Way = { usePoll: false, sync: false };

/** How long an attempt is alone, as RFC 8305 recommends, in ms. */
const DELAY = 250;

/** In a map of its own, in which no time passes by itself. */
const client = (map: ChannelMap = stillMap().map): Recorder => new Recorder(null, map);

/** Lets time pass for a channel. */
const pass = ({ map }: Recorder, ms: number): void => (map.clock as ManualClock).advance(ms);

/** How many sockets this process has open. */
const openSockets = (): number =>
  readdirSync('/proc/self/fd').filter((fd) => isSocket(Number(fd))).length;

function isSocket(fd: number): boolean {
  try {
    return fstatSync(fd).isSocket();
  } catch {
    // The descriptor that read the directory is gone by now.
    return false;
  }
}

/** What has come of the connects. */
const outcomes = ({ events }: Recorder): string[] =>
  events.filter((event) => event === 'connect' || event === 'error');

function isPeer(socket: Socket, address: unknown): boolean {
  try {
    return isDeepStrictEqual(socket.getPeerName(), address);
  } catch {
    return false;
  }
}

async function until(how: Way, channel: Recorder, done: () => boolean): Promise<void> {
  // A channel that has failed leaves its map empty, and drive would say so.
  await drive(how, done, { map: channel.map });
}

/** Two addresses of `NAME` where a connect gets no answer. @returns the first, and what lets it answer */
async function silentPlaces(): Promise<{ six: InternetAddress; makeRoom: () => void }> {
  const [six, four] = await places('::1', '127.0.0.1');
  const makeRoom = silent(six);
  silent(four as InternetAddress);
  resolveTo(['::1', '127.0.0.1']);
  return { six, makeRoom };
}

/** Waits until a channel tries the address `host`. */
const tries = (how: Way, channel: Recorder, host: string): Promise<void> =>
  until(how, channel, () => (channel.addr as InternetAddress).host === host);

/** Waits until a channel tries the first one of `silentPlaces`, then lets the time pass until it tries both. */
async function triesBoth(how: Way, channel: Recorder): Promise<void> {
  await tries(how, channel, '::1');
  pass(channel, DELAY);
  await tries(how, channel, '127.0.0.1');
}

const hasOutcome = (channel: Recorder) => (): boolean => outcomes(channel).length > 0;

describe('connect() without createSocket()', () => {
  it.each<[string, () => Address]>([
    ['an IPv4 literal', () => bareListener(AF_INET).getSockName()],
    ['an IPv6 literal', () => bareListener(AF_INET6).getSockName()],
    [
      'an IPv6 literal with a scope',
      () => ({ ...(bareListener(AF_INET6).getSockName() as InternetAddress), host: '::1%lo' }),
    ],
    ['a Unix path', () => bareListener(AF_UNIX).getSockName()],
    [
      'every address of this machine',
      () => ({ ...(bareListener(AF_INET).getSockName() as InternetAddress), host: '' }),
    ],
  ])('opens a socket of the family of %s', async (_, listen) => {
    const address = listen();
    const channel = client();
    channel.connect(address);
    const { socket } = channel;
    await until(ASYNC, channel, () => channel.connected);
    expect(outcomes(channel)).toEqual(['connect']);
    expect(channel.addr).toEqual(address);
    // That one from the beginning.
    expect(channel.socket).toBe(socket);
    expect(() => (channel.socket as Socket).getPeerName()).not.toThrow();
    expect(channel.familyAndType).toBeNull();
  });

  it('throws at once when there is no way, and leaves the channel as it was', () => {
    const before = openSockets();
    const channel = client();
    expect(() => channel.connect({ path: temporaryPath() })).toThrow(
      expect.objectContaining({ code: 'ENOENT', syscall: 'connect' }),
    );
    expect(channel.socket).toBeNull();
    expect(channel.connecting).toBe(false);
    expect(channel.map.size).toBe(0);
    expect(openSockets()).toBe(before);
    // Of another family than before.
    channel.connect(bareListener(AF_INET).getSockName());
    expect(channel.connecting).toBe(true);
  });

  it('leaves a channel whose handleConnect throws in the map', () => {
    const channel = new (class extends Recorder {
      override handleConnect(): Handled {
        throw new Error('boom');
      }
    })(null, newMap());
    expect(() => channel.connect(bareListener(AF_UNIX).getSockName())).toThrow('boom');
    expect(channel.map.size).toBe(1);
    expect(channel.socket?.fileno()).toBe(channel.fileno());
  });

  it.each<[string, unknown, string]>([
    ['null', null, 'Cannot connect: expected { host, port } or { path }, received null'],
    ['a number', 80, 'Cannot connect: expected { host, port } or { path }, received 80'],
    ['an empty object', {}, 'Cannot connect: expected a host, received {}'],
    [
      'a port out of range',
      { host: '::1', port: 65536 },
      'Cannot connect: expected a port to be an integer from 0 to 65535, received 65536',
    ],
    [
      'the port of a name',
      { host: NAME, port: -1 },
      'Cannot connect: expected a port to be an integer from 0 to 65535, received -1',
    ],
    [
      'a name with NUL',
      { host: 'a\0b', port: 1 },
      "Cannot connect: expected a host without NUL, received 'a\\x00b'",
    ],
  ])('refuses %s, and opens nothing', (_, address, message) => {
    const asked = resolveTo(['127.0.0.1']);
    const before = openSockets();
    const channel = client();
    expect(() => channel.connect(address as Address)).toThrow(message);
    expect(channel.socket).toBeNull();
    expect(channel.connecting).toBe(false);
    expect(openSockets()).toBe(before);
    expect(asked).toEqual([]);
  });

  it('says that there is no descriptor left', () => {
    const channel = client();
    const { port } = bareListener().getSockName() as InternetAddress;
    try {
      takeDescriptors();
      for (const host of ['127.0.0.1', NAME]) {
        expect(() => channel.connect({ host, port })).toThrow(
          expect.objectContaining({ code: 'EMFILE' }),
        );
      }
    } finally {
      giveDescriptorsBack();
    }
    expect(channel.socket).toBeNull();
    expect(channel.map.size).toBe(0);
  });

  it.each(WAYS)('opens another one for each connect after a close (%s)', async (_, how) => {
    const addresses = [AF_INET, AF_UNIX, AF_INET6].map((family) =>
      bareListener(family).getSockName(),
    );
    const { port } = addresses[0] as InternetAddress;
    resolveTo(['127.0.0.1']);
    const channel = client();
    for (const address of [{ host: NAME, port }, ...addresses, { host: NAME, port }]) {
      channel.connect(address);
      await until(how, channel, () => channel.connected);
      channel.close();
      expect(channel.map.size).toBe(0);
    }
    expect(outcomes(channel)).toEqual(Array(5).fill('connect'));
  });

  it('opens another one in handleError, of another family', async () => {
    const [refusing] = await places('127.0.0.1');
    const address = bareListener(AF_INET6).getSockName();
    const before = openSockets();
    const channel = new (class extends Recorder {
      override handleError(error: unknown): Handled {
        this.note('error');
        this.errors.push(error);
        this.connect(address);
      }
    })(null, newMap());
    channel.connect(refusing);
    await until(ASYNC, channel, () => channel.connected);
    expect(outcomes(channel)).toEqual(['error', 'connect']);
    expect(channel.map.size).toBe(1);
    expect(openSockets()).toBe(before + 1);
  });

  it('leaves a connection alone', async () => {
    const address = bareListener().getSockName();
    const channel = client();
    channel.connect(address);
    const { socket } = channel;
    await until(ASYNC, channel, () => channel.connected);
    channel.connect(address);
    // The kernel says EISCONN.
    expect(outcomes(channel)).toEqual(['connect', 'connect']);
    expect(channel.socket).toBe(socket);
  });

  it('leaves a socket alone that the program has given', async () => {
    const channel = client();
    channel.createSocket(AF_INET);
    const { socket } = channel;
    expect(() => channel.connect({ host: '::1', port: 1 })).toThrow('use createSocket(AF_INET6)');
    expect(channel.socket).toBe(socket);
    channel.close();
    expect(() => channel.connect({ host: '127.0.0.1', port: 1 })).toThrow(
      expect.objectContaining({ code: 'EBADF' }),
    );
  });
});

describe.each(WAYS)('connect() to a host name (%s)', (_way, how) => {
  it('connects to the only address', async () => {
    const [place] = await places('127.0.0.1');
    accepting(place);
    resolveTo([place.host]);
    const channel = client();
    channel.connect({ host: NAME, port: place.port });
    expect(channel.addr).toEqual({ host: NAME, port: place.port });
    expect(channel.connecting).toBe(true);
    await until(how, channel, () => channel.events.includes('write') || channel.connected);
    expect(outcomes(channel)).toEqual(['connect']);
    expect(channel.seen[0]).toEqual([false, true, false]);
    expect([channel.connected, channel.connecting]).toEqual([true, false]);
    expect(channel.addr).toEqual(place);
    expect((channel.socket as Socket).getPeerName()).toEqual(place);
  });

  it('goes on at once when an address refuses', async () => {
    const refusing = Array.from({ length: 12 }, (_, index) => `127.0.0.${index + 2}`);
    const hosts = [...refusing, '127.0.0.1'];
    const [{ port }] = await places(...hosts);
    accepting({ host: '127.0.0.1', port });
    resolveTo(hosts);
    const before = openSockets();
    // No time passes: none of the 12 x 250 ms is waited for.
    const channel = client();
    channel.connect({ host: NAME, port });
    await until(how, channel, () => channel.connected);
    expect(outcomes(channel)).toEqual(['connect']);
    expect(channel.addr).toEqual({ host: '127.0.0.1', port });
    channel.close();
    expect(openSockets()).toBe(before);
  });

  it('goes on after 250 ms when an address is silent', async () => {
    const [six, four] = await places('::1', '127.0.0.1');
    silent(six);
    accepting(four as InternetAddress);
    resolveTo(['::1', '127.0.0.1']);
    const before = openSockets();
    const channel = client();
    channel.connect({ ...six, host: NAME });
    await tries(how, channel, '::1');
    pass(channel, DELAY - 0.1);
    await tick(how, channel.map, 3);
    expect([channel.connected, channel.addr]).toEqual([false, six]);
    pass(channel, 0.1);
    await until(how, channel, () => channel.connected);
    expect(outcomes(channel)).toEqual(['connect']);
    expect((channel.socket as Socket).getPeerName()).toEqual(four);
    expect(channel.map.nextDue).toBe(Infinity);
    channel.close();
    expect(openSockets()).toBe(before);
  });

  it('keeps the earlier attempts, one of which may still connect first', async () => {
    const { six, makeRoom } = await silentPlaces();
    const channel = client();
    channel.connect({ ...six, host: NAME });
    await triesBoth(how, channel);
    makeRoom();
    await until(how, channel, () => channel.connected);
    expect(outcomes(channel)).toEqual(['connect']);
    expect(channel.addr).toEqual(six);
  });

  it('takes the families by turns, and reports once what has failed', async () => {
    const hosts = ['127.0.0.2', '127.0.0.3', '127.0.0.4', '::1'];
    const [{ port }] = await places(...hosts);
    resolveTo(hosts);
    const before = openSockets();
    const channel = client();
    channel.connect({ host: NAME, port });
    await until(how, channel, hasOutcome(channel));
    expect(channel.events).toEqual(['error', 'close']);
    expect(channel.seen[0]).toEqual([false, false, false]);
    const [error] = channel.errors as [SocketError];
    expect(error).toBeInstanceOf(SocketError);
    expect(error).toMatchObject({
      code: 'ECONNREFUSED',
      errno: 111,
      syscall: 'connect',
      address: `${NAME}:${port}`,
      message:
        'ECONNREFUSED: no address could be reached (127.0.0.2 ECONNREFUSED, ::1 ECONNREFUSED, ' +
        `127.0.0.3 ECONNREFUSED, 127.0.0.4 ECONNREFUSED), connect ${NAME}:${port}`,
    });
    expect(error.errors).toMatchObject(
      ['127.0.0.2:', '[::1]:', '127.0.0.3:', '127.0.0.4:'].map((address) => ({
        code: 'ECONNREFUSED',
        address: `${address}${port}`,
      })),
    );
    expect(openSockets()).toBe(before);
  });

  it('reports the error of a single address as it is', async () => {
    const [place] = await places('127.0.0.1');
    resolveTo([place.host]);
    const channel = client();
    channel.connect({ ...place, host: NAME });
    await until(how, channel, hasOutcome(channel));
    expect(channel.errors).toMatchObject([
      { code: 'ECONNREFUSED', address: `127.0.0.1:${place.port}` },
    ]);
    expect(channel.errors[0]).not.toHaveProperty('errors');
  });

  it('reports an address to which no connect can begin', async () => {
    const [place] = await places('127.0.0.1');
    accepting(place);
    resolveTo(['255.255.255.255', '127.0.0.1']);
    const channel = client();
    channel.connect({ ...place, host: NAME });
    await until(how, channel, () => channel.connected);
    expect(outcomes(channel)).toEqual(['connect']);
    expect(channel.addr).toEqual(place);
  });

  it('tells of a name that cannot exist, out of the map, and may connect from there', async () => {
    const place = bareListener().getSockName();
    const channel = new (class extends Recorder {
      override handleError(error: unknown): Handled {
        this.errors.push(error);
        this.note(`error ${this.map.size} ${this.socket}`);
        this.connect(place);
      }
    })(null, newMap());
    channel.connect({ host: 'x'.repeat(70), port: 80 });
    await until(how, channel, () => channel.connected);
    expect(channel.events.slice(0, 2)).toEqual(['error 0 null', 'connect']);
    expect(channel.errors).toMatchObject([
      { code: 'ENOTFOUND', errno: -2, syscall: 'getaddrinfo', address: 'x'.repeat(70) },
    ]);
  });

  it('tries no further address when one has connected, or the channel has closed', async () => {
    const [one, two] = await places('127.0.0.1', '127.0.0.2');
    accepting(one);
    const unused = accepting(two as InternetAddress);
    resolveTo(['127.0.0.1', '127.0.0.2']);
    const { map, clock } = stillMap();
    const [connected, closed] = [client(map), client(map)];
    for (const channel of [connected, closed]) channel.connect({ ...one, host: NAME });
    closed.handleConnect = () => closed.close();
    await until(how, connected, () => connected.connected && map.size === 1);
    expect(map.nextDue).toBe(Infinity);
    clock.advance(2 * DELAY);
    await tick(how, map, 3);
    expect(unused.accept()).toBeNull();
    expect(outcomes(connected)).toEqual(['connect']);
  });

  it('needs no predicate of the channel', async () => {
    const [six, four] = await places('::1', '127.0.0.1');
    accepting(four as InternetAddress);
    resolveTo(['::1', '127.0.0.1']);
    const channel = new (class extends Recorder {
      override readable(): boolean {
        return false;
      }
      override writable(): boolean {
        return false;
      }
    })(null, newMap());
    channel.connect({ ...six, host: NAME });
    await until(how, channel, () => channel.connected);
    expect(channel.events).toEqual(['connect']);
  });

  it('is one channel to the program all the while, which neither sends nor receives', async () => {
    const [six, four] = await places('::1', '127.0.0.1');
    silent(six);
    accepting(four as InternetAddress);
    resolveTo(['::1', '127.0.0.1']);
    const channel = client();
    channel.connect({ ...six, host: NAME });
    const sights = new Set<string>();
    const look = (): string => {
      const { map, connected, connecting } = channel;
      const isAlone = map.size === 1 && [...map.values()][0] === channel;
      const isFound = isAlone && map.get(channel.fileno() as number) === channel;
      const { host } = channel.addr as InternetAddress;
      if (!connected) {
        expect(channel.send(Buffer.from('too early'))).toBe(0);
        expect(channel.recv(100)).toBeNull();
        sights.add(`${isFound} ${connecting} ${host}`);
      }
      return host;
    };
    await until(how, channel, () => look() === '::1');
    await tick(how, channel.map, 3);
    pass(channel, DELAY);
    await until(how, channel, () => {
      look();
      return channel.connected;
    });
    // The last one may be seen or not.
    sights.delete('true true 127.0.0.1');
    sights.delete(`true true ${NAME}`);
    expect([...sights]).toEqual(['true true ::1']);
  });

  it('sends what a chat has pushed before', async () => {
    const [six, four] = await places('::1', '127.0.0.1');
    const listener = accepting(four as InternetAddress);
    resolveTo(['::1', '127.0.0.1']);
    const chat = new (class extends AsyncChat {
      override handleConnect(): void {
        this.push('third');
      }
      override collectIncomingData(): void {}
      override foundTerminator(): void {}
    })(null, newMap());
    chat.push('first ');
    chat.connect({ ...six, host: NAME });
    chat.push('second ');
    let peer: Socket | null = null;
    let text = '';
    await drive(
      how,
      () => {
        peer ??= listener.accept()?.socket ?? null;
        if (peer !== null) text += received(keep(peer));
        return text.length >= 18;
      },
      { map: chat.map },
    );
    expect(text).toBe('first second third');
  });

  it('sets on each attempt what is set on the socket meanwhile', async () => {
    const { six, makeRoom } = await silentPlaces();
    const channel = client();
    channel.connect({ ...six, host: NAME });
    channel.setNoDelay();
    // The placeholder, and one of the attempts, have no such option.
    channel.setSockOpt(IPPROTO_IPV6, IPV6_TCLASS, 8);
    const KEEPALIVE = [1, 9] as const;
    await triesBoth(how, channel);
    channel.socket?.setSockOpt?.(...KEEPALIVE, 1);
    makeRoom();
    await until(how, channel, () => channel.connected);
    const socket = channel.socket as Socket;
    expect(socket.getPeerName()).toEqual(six);
    expect(socket.getSockOpt(IPPROTO_TCP, TCP_NODELAY)).toBe(1);
    expect(socket.getSockOpt(IPPROTO_IPV6, IPV6_TCLASS)).toBe(8);
    expect(socket.getSockOpt(...KEEPALIVE)).toBe(1);
  });

  it('counts as idle for the whole time', async () => {
    const { six } = await silentPlaces();
    const before = openSockets();
    const channel = new (class extends Recorder {
      override handleTimeout(): Handled {
        this.note('timeout');
        return super.handleTimeout();
      }
    })(null, stillMap().map);
    channel.setIdleTimeout(400);
    channel.connect({ ...six, host: NAME });
    await triesBoth(how, channel);
    // The second attempt, after 250 ms, puts nothing off.
    pass(channel, 149);
    await tick(how, channel.map, 3);
    expect(channel.events).toEqual([]);
    pass(channel, 1);
    await tick(how, channel.map);
    expect(channel.events).toEqual(['timeout', 'close']);
    expect(openSockets()).toBe(before);
  });

  it.each([
    ['and returns', false],
    ['and waits there', true],
  ])('goes elsewhere when handleConnect connects elsewhere %s', async (_name, waits) => {
    const [here, there] = await places('127.0.0.1', '127.0.0.2');
    for (const place of [here, there as InternetAddress]) accepting(place);
    const channel = new (class extends Recorder {
      override handleConnect(): Handled {
        super.handleConnect();
        if (this.events.length > 1) return;
        resolveTo(['127.0.0.2']);
        this.connect({ ...here, host: NAME });
        const hasConnected = (): boolean =>
          (this.socket as Socket).fileno() >= 0 && isPeer(this.socket as Socket, there);
        for (let left = 100; waits && left > 0 && !hasConnected(); left -= 1) poll(10, this.map);
        if (waits) expect(hasConnected()).toBe(true);
        this.note('left');
      }
    })(null, newMap());
    channel.connect(here);
    await until(how, channel, () => channel.connected);
    expect(channel.events.slice(0, 3)).toEqual(['connect', 'left', 'connect']);
    expect(channel.seen[2]).toEqual([false, true, false]);
    expect((channel.socket as Socket).getPeerName()).toEqual(there);
    expect(channel.map.size).toBe(1);
  });

  it('gives what handleConnect throws to handleError, and ExitNow to the loop', async () => {
    const [place] = await places('127.0.0.1');
    accepting(place);
    resolveTo([place.host]);
    const exit = new ExitNow('enough');
    for (const error of [new Error('boom'), exit]) {
      const channel = new (class extends Recorder {
        override handleConnect(): Handled {
          throw error;
        }
        override handleError(reason: unknown): Handled {
          expect((this.socket as Socket).getPeerName()).toEqual(place);
          expect(this.map.get(this.fileno() as number)).toBe(this);
          return super.handleError(reason);
        }
      })(null, newMap());
      channel.connect({ ...place, host: NAME });
      const done = until(how, channel, () => channel.errors.length > 0);
      if (error === exit) await expect(done).rejects.toBe(exit);
      else await done;
      expect(channel.errors).toEqual(error === exit ? [] : [error]);
    }
  });

  it('gives ExitNow of handleError to the loop', async () => {
    resolveTo(['255.255.255.255']);
    const exit = new ExitNow('enough');
    const channel = new (class extends Recorder {
      override handleError(): Handled {
        throw exit;
      }
    })(null, newMap());
    channel.connect({ host: NAME, port: 1 });
    await expect(until(how, channel, () => false)).rejects.toBe(exit);
  });

  it('connects to the first address in turn that accepts, or fails once', async () => {
    const hosts = ['127.0.0.2', '127.0.0.3', '::1', '127.0.0.4'];
    const [{ port }] = await places(...hosts);
    const before = openSockets();
    const any = fc.record({
      order: fc.shuffledSubarray(hosts, { minLength: 1 }),
      accept: fc.subarray(hosts),
    });
    await fc.assert(
      fc.asyncProperty(any, async ({ order, accept }) => {
        const listeners = accept.map((host) => accepting({ host, port }));
        try {
          resolveTo(order);
          const channel = client();
          channel.connect({ host: NAME, port });
          await until(how, channel, () => channel.connected || channel.errors.length > 0);
          const four = order.filter((host) => host !== '::1');
          const turns = four.length === order.length || order.length === 1 ? order : null;
          const sixAt = order[0] === '::1' ? 0 : 1;
          const tried = turns ?? [...four.slice(0, sixAt), '::1', ...four.slice(sixAt)];
          const winner = tried.find((host) => accept.includes(host));
          expect(outcomes(channel)).toEqual([winner === undefined ? 'error' : 'connect']);
          if (winner !== undefined) expect(channel.addr).toEqual({ host: winner, port });
          channel.close();
        } finally {
          for (const listener of listeners) listener.close();
          jest.restoreAllMocks();
        }
        expect(openSockets()).toBe(before);
      }),
      { numRuns: 25 },
    );
  });

  describe('is given up for good', () => {
    const stages: [string, (channel: Recorder) => Promise<void>][] = [
      ['during the look-up', async () => {}],
      ['during the first attempt', (channel) => tries(how, channel, '::1')],
      ['during two attempts', (channel) => triesBoth(how, channel)],
    ];
    /** With the number of sockets that there are more than before, and whether the map is empty then. */
    const ends: [string, (channel: Recorder) => void, number, boolean][] = [
      ['close()', (channel) => channel.close(), 0, false],
      ['closeAll()', ({ map }) => closeAll(map), 0, true],
      ['createSocket()', (channel) => channel.createSocket(), 1, false],
      ['setSocket()', (channel) => channel.setSocket(connection()[0]), 2, false],
      ['delChannel()', (channel) => channel.delChannel(), 0, true],
      ['map.clear()', ({ map }) => map.clear(), 0, true],
    ];
    const rows = stages.flatMap(([stage, reach]) =>
      ends.map(([name, ...rest]) => [name, stage, reach, ...rest] as const),
    );

    it.each(rows)('by %s %s', async (_name, _stage, reach, end, more, leaves) => {
      const [six, four] = await places('::1', '127.0.0.1');
      const rooms = [silent(six), silent(four as InternetAddress)];
      const asked = resolveTo(['::1', '127.0.0.1']);
      const channel = client();
      // The map is not empty when the channel leaves it.
      if (!leaves) idle(channel.map);
      const before = openSockets();
      channel.connect({ ...six, host: NAME });
      await reach(channel);
      const placeholder = channel.socket;
      end(channel);
      expect(placeholder?.fileno()).toBe(-1);
      expect(openSockets()).toBe(before + more);
      // The next attempt, and the late answers of the network and of Node's resolver.
      expect(channel.map.nextDue).toBe(Infinity);
      pass(channel, DELAY);
      for (const makeRoom of rooms) makeRoom();
      for (const { answer } of asked) answer();
      const other = keepBusy(channel.map);
      await drive(how, () => other.turns > 5, { map: channel.map });
      expect(outcomes(channel)).toEqual([]);
    });

    it('refuses bind() and listen(), which would be of the placeholder', async () => {
      const [six] = await places('::1');
      accepting(six);
      resolveTo(['::1']);
      const channel = client();
      channel.connect({ ...six, host: NAME });
      for (const step of [() => channel.bind({ host: '', port: 0 }), () => channel.listen()]) {
        expect(step).toThrow(/expected a channel that does not connect, .*createSocket\(\) first/);
      }
      await until(how, channel, hasOutcome(channel));
      expect(outcomes(channel)).toEqual(['connect']);
    });

    it('by close() of the placeholder, which calls handleClose', async () => {
      for (const [, reach] of stages) {
        const { six } = await silentPlaces();
        const before = openSockets();
        const channel = client();
        channel.connect({ ...six, host: NAME });
        await reach(channel);
        channel.socket?.close();
        await until(how, channel, () => channel.events.length > 0);
        expect(channel.events).toEqual(['close']);
        expect(openSockets()).toBe(before);
      }
    });

    it('when the channel has left a map that goes on', async () => {
      const [six] = await places('::1');
      const makeRoom = silent(six);
      resolveTo(['::1']);
      const channel = client();
      const other = keepBusy(channel.map);
      channel.connect({ ...six, host: NAME });
      channel.map.delete(channel.fileno() as number);
      await tries(how, channel, '::1');
      const before = openSockets();
      makeRoom();
      const accepted = openSockets() - before;
      await until(how, channel, () => channel.socket === null);
      expect(channel.events).toEqual([]);
      expect(channel.connecting).toBe(false);
      expect([...channel.map.values()]).toEqual([other]);
      // The placeholder and the attempt are closed.
      expect(openSockets()).toBe(before + accepted - 2);
    });

    it('by connecting elsewhere', async () => {
      for (const [, reach] of stages) {
        const { six } = await silentPlaces();
        const listener = bareListener(AF_INET6);
        const before = openSockets();
        const channel = client();
        channel.connect({ ...six, host: NAME });
        await reach(channel);
        channel.connect(listener.getSockName());
        await until(how, channel, () => channel.connected);
        expect(outcomes(channel)).toEqual(['connect']);
        expect(channel.addr).toEqual(listener.getSockName());
        channel.close();
        expect(openSockets()).toBe(before);
      }
    });
  });
});

describe.each(DIAGONAL)('connect() to a host name, in real time (%s)', (_way, how) => {
  it('goes on after 250 ms when an address is silent', async () => {
    const [six, four] = await places('::1', '127.0.0.1');
    silent(six);
    accepting(four as InternetAddress);
    resolveTo(['::1', '127.0.0.1']);
    const map = newMap();
    const channel = client(map);
    channel.handleConnect = () => {
      channel.note('connect');
      channel.delChannel();
    };
    const started = performance.now();
    channel.connect({ ...six, host: NAME });
    // One wait, which is over in time, and ends with the map empty.
    if (how.sync) loopSync({ map, usePoll: how.usePoll });
    else await loop({ map, usePoll: how.usePoll });
    const elapsed = performance.now() - started;
    expect(elapsed).toBeGreaterThanOrEqual(DELAY);
    expect(elapsed).toBeLessThan(2000);
    expect(channel.events).toEqual(['connect']);
    expect(keep(channel.socket as Socket).getPeerName()).toEqual(four);
  });
});

/** A channel that has no event. */
function idle(map: ChannelMap): Recorder {
  const [a, b] = Socket.pair();
  keep(b);
  return new Recorder(a, map);
}

/** A channel that has an event at every tick. */
function keepBusy(map: ChannelMap): Recorder & { turns: number } {
  const [a, b] = Socket.pair();
  keep(b).send(Buffer.from('x'));
  return new (class extends Recorder {
    turns = 0;
    override handleRead(): Handled {
      this.turns += 1;
    }
  })(a, map);
}

describe('connect() to a host name', () => {
  it('lets other channels go on while the name is looked up', async () => {
    const [place] = await places('127.0.0.1');
    accepting(place);
    const asked = resolveTo([place.host], true);
    const channel = client();
    const other = keepBusy(channel.map);
    channel.connect({ ...place, host: NAME });
    await until(ASYNC, channel, () => other.turns > 5);
    expect(asked).toMatchObject([{ host: NAME, family: 0 }]);
    expect(channel.connecting).toBe(true);
    asked[0]?.answer();
    await until(ASYNC, channel, () => channel.connected);
    expect(outcomes(channel)).toEqual(['connect']);
  });

  it('keeps loop() waiting, and does not turn in circles', async () => {
    resolveTo(['127.0.0.1'], true);
    const channel = client();
    let asked = 0;
    channel.writable = () => {
      asked += 1;
      return true;
    };
    channel.connect({ host: NAME, port: 1 });
    const end = performance.now() + 60;
    await until(ASYNC, channel, () => performance.now() > end);
    expect(asked).toBeLessThan(20);
    expect(channel.connecting).toBe(true);
  });

  it('looks nothing up for a channel that has closed', () => {
    resolveTo(['127.0.0.1'], true);
    const resolver = jest.requireMock('../../lib/kernel/resolver') as { getaddrinfo: jest.Mock };
    const channel = client();
    channel.connect({ host: NAME, port: 1 });
    channel.close();
    keepBusy(channel.map);
    poll(0, channel.map);
    expect(resolver.getaddrinfo).not.toHaveBeenCalled();
  });

  it('does not end a shutdown when the placeholder gives way to the connection', async () => {
    const [place] = await places('127.0.0.1');
    const listener = accepting(place);
    const asked = resolveTo([place.host], true);
    const chat = new (class extends AsyncChat {
      override handleConnect(): void {}
      override collectIncomingData(): void {}
      override foundTerminator(): void {}
    })(null, newMap());
    chat.connect({ ...place, host: NAME });
    chat.push('the last words');
    const running = loop({ map: chat.map });
    const over = shutdown(chat.map, { deadline: 10_000 });
    asked[0]?.answer();
    await expect(over).resolves.toBe(0);
    expect(chat.map.size).toBe(0);
    await running;
    expect(received(keep(listener.accept()?.socket as Socket))).toBe('the last words');
  });

  it('works in a pass that a handler makes', async () => {
    const [place] = await places('127.0.0.1');
    accepting(place);
    resolveTo([place.host]);
    const map = newMap();
    const channel = client(map);
    const other = new (class extends Recorder {
      override handleRead(): Handled {
        super.handleRead();
        channel.connect({ ...place, host: NAME });
        for (let left = 100; left > 0 && !channel.connected; left -= 1) poll(10, map);
        this.note(`connected ${channel.connected}`);
      }
    })(...pairIn(map));
    loopSync({ map, count: 1, timeout: 1000 });
    expect(other.events).toContain('connected true');
    expect(outcomes(channel)).toEqual(['connect']);
  });
});

/** The end of a pair that has something to read. */
function pairIn(map: ChannelMap): [Socket, ChannelMap] {
  const [a, b] = Socket.pair();
  keep(b).send(Buffer.from('x'));
  return [a, map];
}
