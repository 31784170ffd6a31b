// listen(): a server in one line.

import { existsSync, writeFileSync } from 'node:fs';
import {
  type Address,
  AF_INET6,
  ChannelMap,
  type Dispatcher,
  type InternetAddress,
  IPPROTO_IPV6,
  IPPROTO_TCP,
  IPV6_V6ONLY,
  type ListenOptions,
  listen,
  SO_REUSEADDR,
  SO_REUSEPORT,
  SOL_SOCKET,
  Socket,
  socketMap,
  TCP_NODELAY,
} from 'asyncore';
import { DIAGONAL, drive, FAMILIES, localAddress, MATRIX, temporaryPath } from '../support/drive';
import { keep, newMap } from '../support/keep';
import { LineChat, text } from '../support/limits';
import { call, received } from '../support/sockets';

const LOCAL = { host: '127.0.0.1', port: 0 };
const nothing = (): void => {};

const on = (server: Dispatcher, level: number, option: number): boolean =>
  server.getSockOpt(level, option) !== 0;

describe.each(MATRIX)('listen (%s)', (_, family, how) => {
  it('hands each connection over, with the address of its peer', async () => {
    const map = newMap();
    const addresses: Address[] = [];
    const chats: LineChat[] = [];
    const server = listen(
      localAddress(family),
      (socket, address) => {
        addresses.push(address);
        const chat = new LineChat(socket, map);
        chat.onRecord = (record) => void chat.push(`<${record}>\n`);
        chats.push(chat);
      },
      { map },
    );
    const callers = [1, 2].map(() => call(server.address() as Address));
    for (const [index, caller] of callers.entries()) caller.send(text(`${index}\n`));
    await drive(how, () => chats.filter((chat) => chat.events.length > 0).length === 2, { map });
    expect(addresses).toEqual(callers.map((caller) => caller.getSockName()));
    await drive(how, () => true, { map });
    expect(callers.map(received)).toEqual(['<0>\n', '<1>\n']);
    expect(server.addr).toEqual(server.address());
    expect(String(server)).toMatch(/^<Listener listening \S+ at 0x[0-9a-f]+>$/);
  });
});

describe.each(DIAGONAL)('listen (%s)', (_, how) => {
  it('drops one peer for an error of the function, and goes on', async () => {
    const map = newMap();
    let calls = 0;
    const server = listen(
      LOCAL,
      (socket) => {
        calls += 1;
        if (calls === 1) throw new Error('not you');
        keep(socket);
      },
      { map },
    );
    server.ignoreLogTypes = new Set(['error']);
    const first = call(server.address() as Address);
    await drive(how, () => calls === 1, { map });
    call(server.address() as Address);
    await drive(how, () => calls === 2, { map });
    expect(first.recv(1)?.length).toBe(0);
  });

  it('drops one peer for a rejection of an async function, and goes on', async () => {
    const map = newMap();
    const errors: unknown[] = [];
    const server = listen(LOCAL, () => Promise.reject(new Error('later: not you')), { map });
    server.handleError = (error) => void errors.push(error);
    const peer = call(server.address() as Address);
    const over = () => errors.length === 1;
    // Promises go on when loopSync has returned.
    await drive(how, () => map.size === 1, { map });
    await drive({ ...how, sync: false }, over, { map });
    expect(errors).toEqual([new Error('later: not you')]);
    expect(peer.recv(1)?.length).toBe(0);
    expect(map.size).toBe(1);
  });

  it('lets no more in than maxConnections', async () => {
    const map = newMap();
    const sockets: Socket[] = [];
    const server = listen(LOCAL, (socket) => sockets.push(keep(socket)), {
      map,
      maxConnections: 1,
    });
    jest.spyOn(process, 'emitWarning').mockImplementation(nothing);
    for (let left = 3; left > 0; left -= 1) call(server.address() as Address);
    await drive(how, () => sockets.length === 1, { map });
    sockets[0]?.close();
    await drive(how, () => sockets.length === 2, { map });
  });
});

describe('listen', () => {
  it('enters the default map, and leaves it when it closes', () => {
    const server = listen(LOCAL, nothing);
    expect([...socketMap.values()]).toEqual([server]);
    expect(server.accepting).toBe(true);
    server.close();
    expect(socketMap.size).toBe(0);
    expect(server.address()).toBe(null);
  });

  it.each(FAMILIES)('has 511 connections wait, of %s', (_, family) => {
    const backlogs: unknown[] = [];
    const real = Socket.prototype.listen;
    jest.spyOn(Socket.prototype, 'listen').mockImplementation(function (this: Socket, backlog) {
      backlogs.push(backlog);
      real.call(this, backlog);
    });
    listen(localAddress(family), nothing, { map: newMap() });
    listen(localAddress(family), nothing, { map: newMap(), backlog: 7 });
    expect(backlogs).toEqual([511, 7]);
  });

  it('uses an address again at once, unless told otherwise', () => {
    const map = newMap();
    const server = listen(LOCAL, nothing, { map });
    const other = listen(LOCAL, nothing, { map, reuseAddr: false });
    expect(on(server, SOL_SOCKET, SO_REUSEADDR)).toBe(true);
    expect(on(other, SOL_SOCKET, SO_REUSEADDR)).toBe(false);
  });

  it('shares a port with reusePort, and only with that', () => {
    const map = newMap();
    const first = listen(LOCAL, nothing, { map, reusePort: true });
    const address = first.address() as InternetAddress;
    expect(on(first, SOL_SOCKET, SO_REUSEPORT)).toBe(true);
    expect(listen(address, nothing, { map, reusePort: true }).address()).toEqual(address);
    expect(() => listen(address, nothing, { map })).toThrow(
      expect.objectContaining({ code: 'EADDRINUSE' }),
    );
    // The one that failed has left nothing behind.
    expect(map.size).toBe(2);
  });

  it('hands noDelay down to its connections', async () => {
    const map = newMap();
    for (const noDelay of [false, true]) {
      const sockets: Socket[] = [];
      const server = listen(LOCAL, (socket) => sockets.push(keep(socket)), { map, noDelay });
      call(server.address() as Address);
      await drive({ usePoll: false, sync: true }, () => sockets.length === 1, { map });
      expect(sockets[0]?.getSockOpt(IPPROTO_TCP, TCP_NODELAY)).toBe(Number(noDelay));
    }
    listen({ path: temporaryPath() }, nothing, { map, noDelay: true });
  });

  it('leaves IPv4 alone at :: with ipv6Only, and only with that', () => {
    const map = newMap();
    const both = listen({ host: '::', port: 0 }, nothing, { map });
    expect(on(both, IPPROTO_IPV6, IPV6_V6ONLY)).toBe(false);
    const { port } = both.address() as InternetAddress;
    expect(call({ host: '127.0.0.1', port }).getPeerName()).toEqual({ host: '127.0.0.1', port });
    both.close();
    const one = listen({ host: '::', port: 0 }, nothing, { map, ipv6Only: true });
    expect(on(one, IPPROTO_IPV6, IPV6_V6ONLY)).toBe(true);
  });

  it('looks a host name up, and listens where that is', () => {
    const server = listen({ host: 'localhost', port: 0 }, nothing, { map: newMap() });
    expect(['127.0.0.1', '::1']).toContain((server.address() as InternetAddress).host);
  });

  it.each([
    ["''", '', '0.0.0.0'],
    ['::1', '::1', '::1'],
  ])('takes the host %s', (_, host, bound) => {
    const server = listen({ host, port: 0 }, nothing, { map: newMap() });
    expect((server.address() as InternetAddress).host).toBe(bound);
  });

  it('removes the file of a Unix path at the end, unless unlink is false', () => {
    const [gone, left] = [temporaryPath(), temporaryPath()];
    listen({ path: gone }, nothing, { map: newMap() }).close();
    listen({ path: left }, nothing, { map: newMap(), unlink: false }).close();
    expect([gone, left].map(existsSync)).toEqual([false, true]);
    // A stale file is no obstacle.
    listen({ path: left }, nothing, { map: newMap() }).close();
    expect(existsSync(left)).toBe(false);
  });

  it('does not remove a file that is no socket', () => {
    const path = temporaryPath();
    writeFileSync(path, 'mine');
    const map = newMap();
    expect(() => listen({ path }, nothing, { map })).toThrow(
      expect.objectContaining({ code: 'EADDRINUSE' }),
    );
    expect(map.size).toBe(0);
    expect(existsSync(path)).toBe(true);
  });

  it('takes a socket that is bound, or listens already', async () => {
    const map = newMap();
    const bound = Socket.socket();
    bound.bind(LOCAL);
    const ready = Socket.socket();
    ready.bind(LOCAL);
    ready.listen(3);
    const callers = [bound, ready].map((socket) => {
      const server = listen(socket, (accepted) => keep(accepted).send(text('hello')), { map });
      expect(server.addr).toEqual(socket.getSockName());
      return call(server.address() as Address);
    });
    const heard = new Set<Socket>();
    const hear = () => callers.every((one) => heard.has(one) || (one.recv(10) && heard.add(one)));
    await drive({ usePoll: false, sync: true }, () => Boolean(hear()), { map });
  });

  it.each<[string, ListenOptions, string]>([
    [
      'an option that comes too late',
      { reusePort: true },
      'expected no reusePort for a socket that is bound, received true',
    ],
    ['a limit of 0', { maxConnections: 0 }, 'received 0'],
    ['a backlog that is none', { backlog: 1.5 }, 'received 1.5'],
  ])('refuses %s for a bound socket, which stays open and the caller’s', (_, options, message) => {
    const socket = keep(Socket.socket());
    socket.bind(LOCAL);
    const map = newMap();
    expect(() => listen(socket, nothing, { map, ...options })).toThrow(message);
    expect(map.size).toBe(0);
    expect(socket.closed).toBe(false);
    listen(socket, nothing, { map });
  });

  it('refuses a socket that a channel holds, and one that is connected', () => {
    const map = newMap();
    const [socket, other] = Socket.pair();
    const chat = new LineChat(socket, map);
    expect(() => listen(socket, nothing, { map })).toThrow('a socket that no channel holds');
    expect(chat.fileno()).toBe(socket.fileno());
    expect([...map.values()]).toEqual([chat]);
    expect(() => listen(keep(other), nothing, { map })).toThrow(
      expect.objectContaining({ code: 'EINVAL' }),
    );
    expect(other.closed).toBe(false);
    expect(map.size).toBe(1);
  });

  it('closes when its signal is aborted, and forgets the signal when it closes before', () => {
    const map = newMap();
    const stop = new AbortController();
    const remove = jest.spyOn(stop.signal, 'removeEventListener');
    const first = listen(LOCAL, nothing, { map, signal: stop.signal });
    const second = listen(LOCAL, nothing, { map, signal: stop.signal });
    first.close();
    expect(remove).toHaveBeenCalledTimes(1);
    stop.abort();
    expect(second.fileno()).toBe(null);
    expect(map.size).toBe(0);
  });

  it('throws the reason of a signal that is aborted already', () => {
    const map = newMap();
    const reason = new Error('too late');
    expect(() => listen(LOCAL, nothing, { map, signal: AbortSignal.abort(reason) })).toThrow(
      reason,
    );
    expect(map.size).toBe(0);
  });

  it.each<[string, unknown, unknown, unknown, string]>([
    ['no address', null, nothing, {}, 'expected { host, port } or { path }, received null'],
    ['a port alone', { port: 1 }, nothing, {}, 'expected a host, received { port: 1 }'],
    ['a port too large', { host: '', port: 70000 }, nothing, {}, 'received 70000'],
    ['a path that is no string', { path: 1 }, nothing, {}, 'received { path: 1 }'],
    ['no function', LOCAL, undefined, {}, 'expected a function, received undefined'],
    ['an unknown option', LOCAL, nothing, { backlogg: 5 }, 'did you mean backlog?'],
    ['a flag that is none', LOCAL, nothing, { reusePort: 1 }, 'true or false as reusePort'],
    ['a map that is none', LOCAL, nothing, { map: new Map() }, 'expected a ChannelMap'],
    ['a signal that is none', LOCAL, nothing, { signal: {} }, 'expected an AbortSignal'],
    ['a limit of 0', LOCAL, nothing, { maxConnections: 0 }, 'received 0'],
    ['a list of options', LOCAL, nothing, [], 'expected options, received []'],
    ['a backlog that is none', LOCAL, nothing, { backlog: 1.5 }, 'received 1.5'],
  ])('refuses %s, and leaves nothing open', (_, address, accepted, options, message) => {
    const before = socketMap.size;
    expect(() =>
      listen(address as Address, accepted as () => void, options as ListenOptions),
    ).toThrow(expect.objectContaining({ message: expect.stringContaining(message) }));
    expect(socketMap.size).toBe(before);
  });

  it('is a channel like any other in a map of a program', () => {
    const map = new ChannelMap();
    const server = listen({ host: '::1', port: 0 }, nothing, { map });
    expect(map.get(server.fileno() as number)).toBe(server);
    expect((server.socket as Socket).family).toBe(AF_INET6);
    server.close();
  });
});
