// The file of a Unix socket: it goes with the channel that has bound it, and takes nothing else along.

import {
  closeSync,
  existsSync,
  lstatSync,
  mkdirSync,
  renameSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import {
  type Address,
  AF_UNIX,
  ChannelMap,
  Dispatcher,
  SOCK_DGRAM,
  SOCK_SEQPACKET,
  SOCK_STREAM,
  Socket,
} from 'asyncore';
import { check, dup } from '../../lib/kernel/syscalls';
import { temporaryPath } from '../support/drive';
import { keep } from '../support/keep';
import { call } from '../support/sockets';

function bound(path: string, type = SOCK_STREAM): Socket {
  const socket = keep(Socket.socket(AF_UNIX, type));
  socket.bind({ path });
  return socket;
}

function listening(path: string): Socket {
  const socket = bound(path);
  socket.listen();
  return socket;
}

/** A channel that has bound an address: as a rule, a path. */
function channelAt(address: string | Address, type = SOCK_STREAM): Dispatcher {
  const channel = keep(new Dispatcher(null, new ChannelMap()));
  channel.createSocket(AF_UNIX, type);
  channel.bind(typeof address === 'string' ? { path: address } : address);
  return channel;
}

/** What a process leaves that has been killed. */
function stale(path: string, type = SOCK_STREAM): string {
  closeSync(bound(path, type).detach());
  expect(lstatSync(path).isSocket()).toBe(true);
  return path;
}

const TYPES: [string, number][] = [
  ['a stream', SOCK_STREAM],
  ['datagrams', SOCK_DGRAM],
  ['packets', SOCK_SEQPACKET],
];

describe('A channel that closes', () => {
  it.each(TYPES)('removes the path of its socket for %s', (_, type) => {
    const path = temporaryPath();
    const channel = channelAt(path, type);
    expect(existsSync(path)).toBe(true);
    channel.close();
    expect(existsSync(path)).toBe(false);
  });

  it('removes the path of a socket that another channel has handed over', () => {
    const path = temporaryPath();
    const first = channelAt(path);
    const second = keep(new Dispatcher(first.socket, new ChannelMap()));
    first.delChannel();
    expect(existsSync(path)).toBe(true);
    second.close();
    expect(existsSync(path)).toBe(false);
  });

  it('finds a relative path, and one of 107 bytes, from another directory', () => {
    const before = process.cwd();
    const directory = dirname(temporaryPath());
    process.chdir(directory);
    try {
      const names = ['relative', 'x'.repeat(107), stale('left')];
      const channels = names.map((name) => channelAt(name));
      process.chdir('/');
      for (const channel of channels) channel.close();
      for (const name of names) expect(existsSync(join(directory, name))).toBe(false);
    } finally {
      process.chdir(before);
    }
  });

  it('removes a path that is not UTF-8', () => {
    const raw = Buffer.concat([Buffer.from(temporaryPath()), Buffer.from([0xff])]);
    const channel = channelAt({ path: '', raw });
    expect(existsSync(raw)).toBe(true);
    channel.close();
    expect(existsSync(raw)).toBe(false);
  });

  it('does not mind a path that is gone, or a descriptor that is', () => {
    const [first, second] = [temporaryPath(), temporaryPath()];
    const channel = channelAt(first);
    unlinkSync(first);
    channel.close();
    const other = channelAt(second);
    closeSync(other.fileno() as number);
    other.close();
    expect(existsSync(second)).toBe(false);
  });

  it.each<[string, (channel: Dispatcher) => Socket]>([
    ['was given away', ({ socket }) => Socket.fromFd((socket as Socket).detach())],
    [
      'another process holds, too',
      ({ socket }) => Socket.fromFd(check(dup((socket as Socket).fileno()), 'dup')),
    ],
  ])('leaves the path of a socket that %s', (_, share) => {
    const path = temporaryPath();
    const channel = channelAt(path);
    channel.listen();
    const other = keep(share(channel));
    channel.close();
    call({ path });
    keep(other.accept()?.socket as Socket);
    // The question whether the path is in use was no connection.
    expect(other.accept()).toBeNull();
  });

  it.each<[string, (path: string) => void]>([
    ['a file', (path) => writeFileSync(path, 'precious')],
    ['a directory', (path) => mkdirSync(path)],
    ['another socket’s file', (path) => void bound(path)],
    ['another socket’s file that is stale', (path) => void stale(path)],
    ['a link', (path) => symlinkSync('/nowhere', path)],
  ])('leaves %s that has taken the place', (_, replace) => {
    const path = temporaryPath();
    const channel = channelAt(path);
    // The inode stays in use, and the next file gets another one.
    renameSync(path, `${path}.old`);
    replace(path);
    channel.close();
    expect(lstatSync(path)).toBeDefined();
  });

  it.each<[string, Address]>([
    ['an abstract name', { path: '\0asyncore-socket-file' }],
    ['no name', { path: '' }],
  ])('has nothing to remove of %s', (_, address) => {
    channelAt(address).close();
    channelAt(address).close();
  });
});

it('A socket without a channel leaves its path, as in Python', () => {
  const path = temporaryPath();
  bound(path).close();
  expect(existsSync(path)).toBe(true);
});

describe('bind', () => {
  it.each(TYPES)('takes over the path that a dead process has left of %s', (_, type) => {
    for (const [, left] of TYPES) {
      const path = stale(temporaryPath(), left);
      const socket = bound(path, type);
      expect(socket.getSockName()).toEqual({ path });
      socket.close();
    }
  });

  it.each<[string, (path: string) => Socket]>([
    ['listens', listening],
    ['is about to listen', bound],
    ['takes datagrams', (path) => bound(path, SOCK_DGRAM)],
    ['takes packets', (path) => bound(path, SOCK_SEQPACKET)],
  ])('takes no path over from a socket that %s', (_, make) => {
    const path = temporaryPath();
    const owner = make(path);
    for (const [, type] of TYPES) {
      expect(() => bound(path, type)).toThrow(expect.objectContaining({ code: 'EADDRINUSE' }));
    }
    expect(() => owner.bind({ path })).toThrow();
    expect(lstatSync(path).isSocket()).toBe(true);
  });

  it('does not connect to a listener to learn that it lives', () => {
    const path = temporaryPath();
    const owner = listening(path);
    expect(() => bound(path)).toThrow('EADDRINUSE');
    expect(owner.accept()).toBeNull();
  });

  it.each<[string, (path: string) => void]>([
    ['a file', (path) => writeFileSync(path, 'precious')],
    ['a directory', (path) => mkdirSync(path)],
    ['a link to a stale path', (path) => symlinkSync(stale(`${path}.left`), path)],
    ['a link to nowhere', (path) => symlinkSync(basename(`${path}.none`), path)],
  ])('does not remove %s', (_, make) => {
    const path = temporaryPath();
    make(path);
    expect(() => bound(path)).toThrow(expect.objectContaining({ code: 'EADDRINUSE' }));
    expect(lstatSync(path)).toBeDefined();
  });
});
