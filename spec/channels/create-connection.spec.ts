// createConnection() and createConnectionSync(): a connected socket that no channel owns.

import { readdirSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import {
  type Address,
  AF_INET6,
  AF_UNIX,
  type AsyncConnectionOptions,
  createConnection,
  createConnectionSync,
  type InternetAddress,
  type Socket,
  SocketError,
  socketMap,
} from 'asyncore';
import { flagsOf, O_NONBLOCK } from '../support/descriptors';
import { drive, FAMILIES, temporaryPath } from '../support/drive';
import { keep } from '../support/keep';
import { accepting, places, resolveTo, silent } from '../support/names-that-resolve';
import { Recorder } from '../support/recorder';
import { bareListener, received } from '../support/sockets';

const NAME = 'several.example';

const openDescriptors = (): number => readdirSync('/proc/self/fd').length;

type Connect = (address: Address, options?: object) => Promise<Socket>;

const BOTH: [string, Connect][] = [
  ['createConnection', createConnection],
  ['createConnectionSync', async (address, options) => createConnectionSync(address, options)],
];

describe.each(BOTH)('%s()', (_, connect) => {
  it.each(FAMILIES)(
    'returns a connected socket that is the caller’s: %s',
    async (_name, family) => {
      const listener = bareListener(family);
      const socket = keep(await connect(listener.getSockName()));
      expect(socket.family).toBe(family);
      expect(socket.getPeerName()).toEqual(listener.getSockName());
      expect(socket.owner).toBeNull();
      expect(flagsOf(socket.fileno()) & O_NONBLOCK).toBe(O_NONBLOCK);
      expect(socketMap.size).toBe(0);
      // A channel may have it.
      const channel = new Recorder(socket);
      expect(channel.connected).toBe(true);
      keep(listener.accept()?.socket as Socket).send(Buffer.from('hello'));
      await drive({ usePoll: false, sync: false }, () => channel.received === 'hello');
    },
  );

  it('tries the addresses of a name', async () => {
    const [six, four] = await places('::1', '127.0.0.1');
    silent(six);
    accepting(four as InternetAddress);
    resolveTo(['::1', '127.0.0.1']);
    const before = openDescriptors();
    const socket = keep(await connect({ ...six, host: NAME }, { timeout: 20_000 }));
    expect(socket.getPeerName()).toEqual(four);
    expect(openDescriptors()).toBe(before + 1);
  });

  it('fails as a channel does', async () => {
    const hosts = ['::1', '127.0.0.1'];
    const [{ port }] = await places(...hosts);
    resolveTo(hosts);
    const before = openDescriptors();
    await expect(connect({ host: '127.0.0.1', port })).rejects.toMatchObject({
      code: 'ECONNREFUSED',
      address: `127.0.0.1:${port}`,
    });
    await expect(connect({ host: NAME, port })).rejects.toMatchObject({
      code: 'ECONNREFUSED',
      address: `${NAME}:${port}`,
      errors: [{ address: `[::1]:${port}` }, { address: `127.0.0.1:${port}` }],
    });
    await expect(connect({ path: temporaryPath() })).rejects.toMatchObject({ code: 'ENOENT' });
    jest.restoreAllMocks();
    await expect(connect({ host: 'x'.repeat(70), port })).rejects.toMatchObject({
      code: 'ENOTFOUND',
    });
    expect(openDescriptors()).toBe(before);
  });

  it.each([
    ['a literal', '127.0.0.1'],
    ['a name', NAME],
  ])('has a time limit: %s', async (_name, host) => {
    const [place] = await places('127.0.0.1');
    silent(place);
    resolveTo(['127.0.0.1']);
    const before = openDescriptors();
    const started = performance.now();
    const address = { ...place, host };
    const error = await connect(address, { timeout: 80 }).catch((reason: unknown) => reason);
    expect(performance.now() - started).toBeGreaterThan(75);
    expect(performance.now() - started).toBeLessThan(900);
    expect(error).toBeInstanceOf(SocketError);
    expect(error).toMatchObject({
      code: 'ETIMEDOUT',
      errno: 110,
      syscall: 'connect',
      address: `${host}:${place.port}`,
    });
    expect(openDescriptors()).toBe(before);
  });

  it.each([0, Infinity])('has none with a timeout of %d', async (timeout) => {
    const [place] = await places('127.0.0.1');
    accepting(place);
    expect(keep(await connect(place, { timeout })).getPeerName()).toEqual(place);
  });

  it('binds to a local address first', async () => {
    const listener = bareListener();
    const local = { host: '127.0.0.9', port: 0 };
    const socket = keep(await connect(listener.getSockName(), { localAddress: local }));
    expect(socket.getSockName()).toMatchObject({ host: '127.0.0.9' });
    expect(keep(listener.accept()?.socket as Socket).acceptedFrom).toEqual(socket.getSockName());
    const path = temporaryPath();
    const unix = bareListener(AF_UNIX).getSockName();
    const bound = keep(await connect(unix, { localAddress: { path } }));
    expect(bound.getSockName()).toEqual({ path });
  });

  it('looks a name up in the family of the local address', async () => {
    const [six, four] = await places('::1', '127.0.0.1');
    accepting(six);
    accepting(four as InternetAddress);
    resolveTo(['::1', '127.0.0.1']);
    const localAddress = { host: '127.0.0.9', port: 0 };
    const socket = keep(await connect({ ...six, host: NAME }, { localAddress }));
    expect(socket.getPeerName()).toEqual(four);
    expect(socket.getSockName()).toMatchObject({ host: '127.0.0.9' });
  });

  it('fails for a local address that this machine does not have', async () => {
    const before = openDescriptors();
    resolveTo(['127.0.0.1']);
    for (const host of ['127.0.0.1', NAME]) {
      const options = { localAddress: { host: '198.51.100.1', port: 0 } };
      await expect(connect({ host, port: 1 }, options)).rejects.toMatchObject({
        code: 'EADDRNOTAVAIL',
        syscall: 'bind',
      });
    }
    expect(openDescriptors()).toBe(before);
  });

  it.each<[object | null, string]>([
    [null, 'expected an object of options, received null'],
    [{ timout: 1 }, 'did you mean timeout?'],
    [{ timeout: -1 }, 'expected a timeout of 0 ms or more, received -1'],
    [{ timeout: Number.NaN }, 'expected a timeout of 0 ms or more, received NaN'],
    [{ timeout: '1' }, "expected a timeout in milliseconds, received '1'"],
    [{ localAddress: null }, 'expected { host, port } or { path }, received null'],
    [
      { localAddress: { host: 'localhost', port: 0 } },
      "expected a localAddress that is no host name, received { host: 'localhost', port: 0 }",
    ],
    [
      { localAddress: { host: '::1', port: 0 } },
      "expected a localAddress of the family of 127.0.0.1:1, received { host: '::1', port: 0 }",
    ],
    [
      { localAddress: { host: '127.0.0.1', port: -1 } },
      'expected a port to be an integer from 0 to 65535, received -1',
    ],
  ])('refuses %j', async (options, message) => {
    const before = openDescriptors();
    const error = await connect({ host: '127.0.0.1', port: 1 }, options as object).catch(
      (reason: unknown) => reason,
    );
    expect(String(error)).toContain(`Cannot connect: `);
    expect(String(error)).toContain(message);
    expect(error).toHaveProperty('code');
    expect(openDescriptors()).toBe(before);
  });

  it('refuses an address that is none', async () => {
    await expect(connect('127.0.0.1:80' as never)).rejects.toThrow(
      "Cannot connect: expected { host, port } or { path }, received '127.0.0.1:80'",
    );
  });
});

describe('createConnection()', () => {
  const never = async (options: AsyncConnectionOptions): Promise<unknown> => {
    const [place] = await places('127.0.0.1');
    silent(place);
    return createConnection(place, options).catch((reason: unknown) => reason);
  };

  it('ends with the reason of its signal', async () => {
    const reason = new Error('enough');
    const aborted = AbortSignal.abort(reason);
    expect(await never({ signal: aborted })).toBe(reason);
    const stop = new AbortController();
    const before = openDescriptors();
    const [place] = await places('127.0.0.1');
    silent(place);
    const more = openDescriptors();
    const connecting = createConnection(place, { signal: stop.signal });
    setTimeout(() => stop.abort(reason), 20);
    await expect(connecting).rejects.toBe(reason);
    expect(openDescriptors()).toBe(more);
    expect(more).toBeGreaterThan(before);
  });

  it('closes the socket when the signal comes just after the connection', async () => {
    const address = bareListener(AF_UNIX).getSockName();
    const before = openDescriptors();
    const stop = new AbortController();
    // The connection stands before this returns.
    const connecting = createConnection(address, { signal: stop.signal });
    stop.abort(new Error('enough'));
    await expect(connecting).rejects.toThrow('enough');
    expect(openDescriptors()).toBe(before);
  });

  it('refuses a signal that is none, and createConnectionSync any', async () => {
    expect(await never({ signal: {} as never })).toMatchObject({
      message: 'Cannot connect: expected an AbortSignal, received {}',
    });
    expect(() =>
      createConnectionSync({ host: '127.0.0.1', port: 1 }, {
        signal: AbortSignal.abort(),
      } as never),
    ).toThrow('Cannot connect: expected options named timeout or localAddress');
  });

  it('blocks neither timers nor other loops', async () => {
    const [place] = await places('127.0.0.1');
    silent(place);
    let turns = 0;
    const timer = setInterval(() => {
      turns += 1;
    }, 1);
    await createConnection(place, { timeout: 60 }).catch(() => {});
    clearInterval(timer);
    expect(turns).toBeGreaterThan(3);
  });

  it('connects to many at once', async () => {
    const listener = bareListener(AF_INET6, 64);
    const address = listener.getSockName();
    const sockets = await Promise.all(Array.from({ length: 30 }, () => createConnection(address)));
    for (const socket of sockets) keep(socket).send(Buffer.from('x'));
    for (let next = listener.accept(); next !== null; next = listener.accept()) {
      await delay(0);
      expect(received(keep(next.socket))).toBe('x');
    }
    expect(new Set(sockets.map((socket) => socket.fileno())).size).toBe(30);
  });
});
