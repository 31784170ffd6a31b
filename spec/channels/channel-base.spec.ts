// What a channel tells of its socket, and forwards to it.

import {
  type Address,
  AF_INET,
  AF_UNIX,
  Dispatcher,
  FileWrapper,
  IPPROTO_TCP,
  SO_KEEPALIVE,
  SO_LINGER,
  SO_RCVBUF,
  SOCK_DGRAM,
  SOCK_STREAM,
  SOL_SOCKET,
  SocketError,
  TCP_KEEPIDLE,
  TCP_NODELAY,
} from 'asyncore';
import { FAMILIES, localAddress } from '../support/drive';
import { newMap } from '../support/keep';
import { pair } from '../support/sockets';

function channelWith(family: number): Dispatcher {
  const channel = new Dispatcher(null, newMap());
  channel.createSocket(family);
  return channel;
}

/** A socket that can do as little as a channel needs. */
const bare = () => ({
  fileno: () => 1000,
  recv: () => null,
  send: () => 0,
  getSockOpt: () => 0,
  close: () => {},
});

describe('address', () => {
  it.each(FAMILIES)('is what the channel is bound to: %s', (_, family) => {
    const channel = channelWith(family);
    const address = localAddress(family);
    channel.bind(address);
    expect(channel.address()).toEqual(
      'path' in address ? address : { ...address, port: expect.any(Number) },
    );
  });

  it('is null without a socket, with a closed one, for a file and for a stand-in', () => {
    const channel = new Dispatcher(null, newMap());
    expect(channel.address()).toBe(null);
    channel.createSocket(AF_INET);
    expect(channel.address()).toEqual({ host: '0.0.0.0', port: 0 });
    channel.close();
    expect(channel.address()).toBe(null);
    for (const socket of [new FileWrapper(0), bare()]) {
      const other = new Dispatcher(socket, newMap());
      expect(other.address()).toBe(null);
      other.close();
    }
  });
});

describe('Options of a channel', () => {
  it('are those of its socket', () => {
    const channel = channelWith(AF_INET);
    channel.setSockOpt(SOL_SOCKET, SO_RCVBUF, 10_000);
    expect(channel.getSockOpt(SOL_SOCKET, SO_RCVBUF)).toBe(20_000); // Linux doubles it
    const linger = Buffer.from([1, 0, 0, 0, 7, 0, 0, 0]);
    channel.setSockOpt(SOL_SOCKET, SO_LINGER, linger);
    expect(channel.getSockOpt(SOL_SOCKET, SO_LINGER, 8)).toEqual(linger);
  });

  it('send small pieces at once, or not', () => {
    const channel = channelWith(AF_INET);
    const options = [undefined, false, true].map((on) => {
      channel.setNoDelay(on);
      return channel.getSockOpt(IPPROTO_TCP, TCP_NODELAY);
    });
    expect(options).toEqual([1, 0, 1]);
  });

  it('probe a silent peer after whole seconds', () => {
    const channel = channelWith(AF_INET);
    const initial = channel.getSockOpt(IPPROTO_TCP, TCP_KEEPIDLE);
    channel.setKeepAlive();
    expect(channel.getSockOpt(SOL_SOCKET, SO_KEEPALIVE)).toBe(1);
    expect(channel.getSockOpt(IPPROTO_TCP, TCP_KEEPIDLE)).toBe(initial);
    const delays = [1, 1000, 60_001, 32_767_000].map((delay) => {
      channel.setKeepAlive(true, delay);
      return channel.getSockOpt(IPPROTO_TCP, TCP_KEEPIDLE);
    });
    expect(delays).toEqual([1, 1, 61, 32_767]);
    channel.setKeepAlive(false);
    expect(channel.getSockOpt(SOL_SOCKET, SO_KEEPALIVE)).toBe(0);
  });

  it('of TCP are nothing to a Unix socket', () => {
    const channel = channelWith(AF_UNIX);
    channel.setNoDelay();
    channel.setKeepAlive(true, 1000);
    expect(channel.getSockOpt(SOL_SOCKET, SO_KEEPALIVE)).toBe(1);
  });

  it('of TCP are an error on any other socket', () => {
    const channel = new Dispatcher(null, newMap());
    channel.createSocket(AF_INET, SOCK_DGRAM);
    expect(() => channel.setNoDelay()).toThrow(SocketError);
  });

  it.each<[string, (channel: Dispatcher) => void]>([
    ['set no-delay', (channel) => channel.setNoDelay()],
    ['set keep-alive', (channel) => channel.setKeepAlive()],
    ['get a socket option', (channel) => channel.getSockOpt(SOL_SOCKET, SO_RCVBUF)],
    ['set a socket option', (channel) => channel.setSockOpt(SOL_SOCKET, SO_RCVBUF, 1)],
    ['reuse an address', (channel) => channel.setReuseAddr()],
  ])('need a socket to %s', (deed, use) => {
    expect(() => use(new Dispatcher(null, newMap()))).toThrow(
      expect.objectContaining({
        code: 'ERR_INVALID_ARG_TYPE',
        message: expect.stringMatching(
          `^Cannot ${deed}: expected a channel with a socket, .*; call createSocket\\(\\) first$`,
        ),
      }),
    );
  });

  it.each<[string, (channel: Dispatcher) => void, string]>([
    ['setNoDelay(1)', (channel) => channel.setNoDelay(1 as never), 'true or false, received 1'],
    ['setKeepAlive(1)', (channel) => channel.setKeepAlive(1 as never), 'true or false, received 1'],
    ['a negative delay', (channel) => channel.setKeepAlive(true, -1), 'received -1'],
    ['no number', (channel) => channel.setKeepAlive(true, '1' as never), "received '1'"],
    ['NaN', (channel) => channel.setKeepAlive(true, Number.NaN), 'received NaN'],
    ['a day', (channel) => channel.setKeepAlive(true, 86_400_000), '0 to 32767 s, in ms'],
  ])('refuse %s', (_, use, message) => {
    const channel = channelWith(AF_INET);
    expect(() => use(channel)).toThrow(message);
    expect(channel.getSockOpt(SOL_SOCKET, SO_KEEPALIVE)).toBe(0);
  });

  it('are refused by a stand-in that has none', () => {
    const channel = new Dispatcher(bare(), newMap());
    expect(() => channel.setSockOpt(SOL_SOCKET, SO_RCVBUF, 1)).toThrow('a socket that has options');
    expect(() => channel.getSockOpt(SOL_SOCKET, SO_LINGER, 8)).toThrow('whose options have bytes');
    expect(channel.getSockOpt(SOL_SOCKET, SO_LINGER)).toBe(0);
    channel.close();
  });

  it('go to a stand-in that has some', () => {
    const set: unknown[] = [];
    const socket = { ...bare(), setSockOpt: (...option: unknown[]) => void set.push(option) };
    const channel = new Dispatcher(socket, newMap());
    channel.setNoDelay();
    expect(set).toEqual([[IPPROTO_TCP, TCP_NODELAY, true]]);
    channel.close();
  });

  it('are not touched by a pair that is closed', () => {
    const channel = new Dispatcher(pair(SOCK_STREAM)[0], newMap());
    channel.close();
    expect(() => channel.setKeepAlive()).toThrow(expect.objectContaining({ code: 'EBADF' }));
    expect(channel.addr satisfies Address | null).toEqual({ path: '' });
  });
});
