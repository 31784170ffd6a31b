import { closeSync, openSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { inspect } from 'node:util';
import {
  type Address,
  AF_INET,
  AF_INET6,
  AF_UNIX,
  type InternetAddress,
  IPPROTO_IPV6,
  IPPROTO_TCP,
  IPPROTO_UDP,
  IPV6_V6ONLY,
  MSG_OOB,
  MSG_PEEK,
  MSG_TRUNC,
  POLLIN,
  POLLOUT,
  POLLPRI,
  SHUT_RD,
  SHUT_WR,
  SO_ACCEPTCONN,
  SO_BROADCAST,
  SO_ERROR,
  SO_KEEPALIVE,
  SO_LINGER,
  SO_OOBINLINE,
  SO_RCVBUF,
  SO_REUSEADDR,
  SO_REUSEPORT,
  SO_SNDBUF,
  SO_TYPE,
  SOCK_DGRAM,
  SOCK_SEQPACKET,
  SOCK_STREAM,
  SOL_SOCKET,
  Socket,
  type SocketError,
  TCP_CONGESTION,
  TCP_KEEPIDLE,
  TCP_NODELAY,
} from 'asyncore';
import { cannot } from '../../lib/errors';
import { setNonBlocking } from '../../lib/kernel/descriptor';
import { Memory } from '../../lib/kernel/koffi';
import { ERRNO, LAYOUT } from '../../lib/kernel/platform/linux';
import { sendRange } from '../../lib/kernel/socket';
import * as libc from '../../lib/kernel/syscalls';
import { flagsOf as descriptorFlags, O_CLOEXEC, O_NONBLOCK } from '../support/descriptors';
import { FAMILIES, localAddress, temporaryPath } from '../support/drive';
import { keep } from '../support/keep';
import { Program, TYPESCRIPT } from '../support/program';
import { pair } from '../support/sockets';

const pollfd = new Memory(LAYOUT.pollfd);

/** Waits until `socket` is ready for one of `events`, and for 2 s at most. */
function ready(socket: Socket, events = POLLIN): number {
  for (const end = performance.now() + 2000; performance.now() < end; ) {
    pollfd.buffer.writeInt32LE(socket.fileno(), 0);
    pollfd.buffer.writeInt16LE(events, 4);
    pollfd.buffer.writeInt16LE(0, 6);
    if (libc.poll(pollfd, 1, 100) === 1) return pollfd.buffer.readInt16LE(6);
  }
  throw new Error(`${socket} is not ready for ${events} within 2 s`);
}

function bound(family: number, type: number, address = localAddress(family)): Socket {
  const socket = keep(Socket.socket(family, type));
  socket.bind(address);
  return socket;
}

function listening(family: number, address = localAddress(family)): Socket {
  const socket = bound(family, SOCK_STREAM, address);
  socket.listen();
  return socket;
}

function accepted(listener: Socket): { socket: Socket; address: Address } {
  ready(listener);
  const caller = listener.accept();
  if (caller === null) throw new Error('no connection is waiting');
  keep(caller.socket);
  return caller;
}

interface Connection {
  listener: Socket;
  client: Socket;
  server: Socket;
  address: Address;
}

function connected(family: number): Connection {
  const listener = listening(family);
  const client = keep(Socket.socket(family));
  client.connect(listener.getSockName());
  const { socket: server, address } = accepted(listener);
  ready(client, POLLOUT);
  return { listener, client, server, address };
}

/** All that comes, `size` bytes of it. */
function receive(socket: Socket, size: number, chunk = 65536): Buffer {
  const chunks: Buffer[] = [];
  for (let left = size; left > 0; ) {
    ready(socket);
    const data = socket.recv(Math.min(left, chunk));
    if (data === null || data.length === 0) throw new Error(`${left} bytes are missing`);
    chunks.push(data);
    left -= data.length;
  }
  return Buffer.concat(chunks);
}

function codeThrownBy(call: () => unknown): unknown {
  try {
    call();
  } catch (error) {
    return (error as NodeJS.ErrnoException).code;
  }
  return 'nothing was thrown';
}

function flagsOf(fd: number): { nonBlocking: boolean; closeOnExec: boolean } {
  const flags = descriptorFlags(fd);
  return { nonBlocking: (flags & O_NONBLOCK) !== 0, closeOnExec: (flags & O_CLOEXEC) !== 0 };
}

const BOTH_FLAGS = { nonBlocking: true, closeOnExec: true };
const HELLO = Buffer.from('hello');

describe.each(FAMILIES)('A stream over %s', (_name, family) => {
  it('carries bytes both ways, and ends', () => {
    const { client, server } = connected(family);
    expect(client.send(HELLO)).toBe(5);
    expect(receive(server, 5)).toEqual(HELLO);
    expect(server.send(Buffer.from('world!'))).toBe(6);
    expect(receive(client, 6)).toEqual(Buffer.from('world!'));
    client.close();
    ready(server);
    expect(server.recv(100)).toEqual(Buffer.alloc(0));
    expect(server.recv(100)).toEqual(Buffer.alloc(0));
  });

  it('knows the addresses of both ends', () => {
    const { listener, client, server, address } = connected(family);
    expect(client.getPeerName()).toEqual(listener.getSockName());
    expect(server.getSockName()).toEqual(listener.getSockName());
    expect(server.getPeerName()).toEqual(client.getSockName());
    expect(address).toEqual(client.getSockName());
    expect(server.acceptedFrom).toEqual(address);
    expect(client.acceptedFrom).toBeNull();
  });

  it('answers null where another socket would block', () => {
    const { listener, client, server } = connected(family);
    expect(listener.accept()).toBeNull();
    expect(client.recv(1)).toBeNull();
    expect(client.recvInto(Buffer.alloc(1))).toBeNull();
    const megabyte = Buffer.alloc(1 << 20);
    let sent = 0;
    for (let taken: number | null = 0; taken !== null; sent += taken ?? 0) {
      if (sent > 1 << 28) throw new Error('the kernel takes everything');
      taken = client.send(megabyte);
    }
    expect(sent).toBeGreaterThan(0);
    expect(receive(server, sent)).toHaveLength(sent);
  });

  it('is non-blocking and close-on-exec from its first moment, at every end', () => {
    const { listener, client, server } = connected(family);
    for (const socket of [listener, client, server]) {
      expect(flagsOf(socket.fileno())).toEqual(BOTH_FLAGS);
    }
  });

  it('accepts sockets of its own kind', () => {
    const { listener, server } = connected(family);
    const { type, protocol } = listener;
    expect(server).toMatchObject({ family, type, protocol, closed: false });
  });

  it("keeps the caller's address when the caller has gone", () => {
    const listener = listening(family);
    const client = keep(Socket.socket(family));
    client.connect(listener.getSockName());
    ready(client, POLLOUT);
    const address = client.getSockName();
    client.close();
    expect(accepted(listener).socket.acceptedFrom).toEqual(address);
  });

  it('can be shut down in one direction', () => {
    const { client, server } = connected(family);
    client.shutdown(SHUT_WR);
    ready(server);
    expect(server.recv(1)).toHaveLength(0);
    expect(server.send(HELLO)).toBe(5);
    expect(receive(client, 5)).toEqual(HELLO);
    expect(codeThrownBy(() => client.send(HELLO))).toBe('EPIPE');
    client.shutdown(SHUT_RD);
    expect(client.recv(1)).toHaveLength(0);
  });

  it('can be shut down in both, which is the default', () => {
    const { client, server } = connected(family);
    client.shutdown();
    ready(server);
    expect(server.recv(1)).toHaveLength(0);
    expect(client.recv(1)).toHaveLength(0);
    expect(codeThrownBy(() => client.send(HELLO))).toBe('EPIPE');
  });

  it('refuses a second bind to an address in use, and names it', () => {
    const address = listening(family).getSockName();
    const socket = keep(Socket.socket(family));
    expect(() => socket.bind(address)).toThrow(
      expect.objectContaining({
        name: 'SocketError',
        code: 'EADDRINUSE',
        syscall: 'bind',
        address: expect.stringContaining('path' in address ? address.path : String(address.port)),
      }),
    );
  });

  it('does not connect to a port without a listener', () => {
    const deaf = bound(family, SOCK_STREAM);
    const client = keep(Socket.socket(family));
    const address = deaf.getSockName();
    const errno = client.connectEx(address);
    if (errno === ERRNO.EINPROGRESS) {
      ready(client, POLLOUT);
      expect(client.getSockOpt(SOL_SOCKET, SO_ERROR)).toBe(ERRNO.ECONNREFUSED);
    } else {
      expect(errno).toBe(ERRNO.ECONNREFUSED);
    }
  });

  it('reports ENOTCONN for what needs a connection', () => {
    const socket = keep(Socket.socket(family));
    expect(codeThrownBy(() => socket.getPeerName())).toBe('ENOTCONN');
    // The kernel lets a Unix socket be shut down before its time, and calls a read EINVAL.
    const { shutdown, recv } =
      family === AF_UNIX
        ? { shutdown: 'nothing was thrown', recv: 'EINVAL' }
        : { shutdown: 'ENOTCONN', recv: 'ENOTCONN' };
    expect(codeThrownBy(() => socket.recv(1))).toBe(recv);
    expect(codeThrownBy(() => socket.shutdown())).toBe(shutdown);
  });

  it('tells through SO_ACCEPTCONN whether it listens', () => {
    const socket = bound(family, SOCK_STREAM);
    expect(socket.getSockOpt(SOL_SOCKET, SO_ACCEPTCONN)).toBe(0);
    socket.listen(1);
    expect(socket.getSockOpt(SOL_SOCKET, SO_ACCEPTCONN)).toBe(1);
  });
});

describe.each(FAMILIES)('A datagram socket over %s', (_name, family) => {
  function ends(): { from: Socket; to: Socket; address: Address } {
    const to = bound(family, SOCK_DGRAM);
    return { from: bound(family, SOCK_DGRAM), to, address: to.getSockName() };
  }

  it('sends to an address, and knows who it receives from', () => {
    const { from, to, address } = ends();
    expect(from.sendTo(HELLO, address)).toBe(5);
    ready(to);
    expect(to.recvFrom(100)).toEqual({ data: HELLO, address: from.getSockName() });
    expect(to.recvFrom(100)).toBeNull();
  });

  it('keeps datagrams apart, empty ones too', () => {
    const { from, to, address } = ends();
    for (const text of ['one', '', 'three', '']) from.sendTo(Buffer.from(text), address);
    ready(to);
    expect(to.recvFrom(100)).toEqual({ data: Buffer.from('one'), address: from.getSockName() });
    expect(to.recvFrom(100)).toEqual({ data: Buffer.alloc(0), address: from.getSockName() });
    expect(to.recv(100)).toEqual(Buffer.from('three'));
    expect(to.recv(100)).toEqual(Buffer.alloc(0));
    expect(to.recv(100)).toBeNull();
  });

  it('cuts off what there is no room for', () => {
    const { from, to, address } = ends();
    for (let i = 0; i < 3; i += 1) from.sendTo(Buffer.from('0123456789'), address);
    ready(to);
    expect(to.recv(4)).toEqual(Buffer.from('0123'));
    expect(to.recvFrom(4)?.data).toEqual(Buffer.from('0123'));
    expect(to.recvFrom(0)?.data).toEqual(Buffer.alloc(0));
    expect(to.recv(4)).toBeNull();
  });

  it('never gives more bytes than it has received, even where MSG_TRUNC tells of more', () => {
    const { from, to, address } = ends();
    for (let i = 0; i < 4; i += 1) from.sendTo(Buffer.from('0123456789'), address);
    ready(to);
    expect(to.recv(4, MSG_TRUNC)).toEqual(Buffer.from('0123'));
    expect(to.recvFrom(4, MSG_TRUNC)?.data).toEqual(Buffer.from('0123'));
    expect(to.recv(100, MSG_TRUNC)).toEqual(Buffer.from('0123456789'));
    // The one call that can pass on how long the datagram was.
    expect(to.recvInto(Buffer.alloc(4), MSG_TRUNC)).toBe(10);
  });

  it('leaves a datagram where it is under MSG_PEEK', () => {
    const { from, to, address } = ends();
    from.sendTo(HELLO, address);
    ready(to);
    expect(to.recv(2, MSG_PEEK)).toEqual(Buffer.from('he'));
    expect(to.recvFrom(100, MSG_PEEK)?.data).toEqual(HELLO);
    expect(to.recv(100)).toEqual(HELLO);
    expect(to.recv(100)).toBeNull();
  });

  it('sends without an address once it is connected', () => {
    const { from, to, address } = ends();
    expect(codeThrownBy(() => from.send(HELLO))).toMatch(/^(EDESTADDRREQ|ENOTCONN)$/);
    expect(from.connect(address)).toBe(true);
    expect(from.getPeerName()).toEqual(address);
    expect(from.send(HELLO)).toBe(5);
    ready(to);
    expect(to.recv(100)).toEqual(HELLO);
  });

  it('refuses a datagram that is longer than any can be', () => {
    const { from, address } = ends();
    expect(() => from.sendTo(Buffer.alloc(1 << 23), address)).toThrow(
      expect.objectContaining({ code: 'EMSGSIZE', syscall: 'sendto' }),
    );
  });

  it('is told that the port is closed', () => {
    const { from, to, address } = ends();
    from.connect(address);
    to.close();
    const code = codeThrownBy(() => {
      from.send(HELLO);
      ready(from, POLLIN);
      from.recv(1);
    });
    expect(code).toBe('ECONNREFUSED');
  });
});

describe('IPv6', () => {
  function listeningOn6(only: number): { socket: Socket; port: number } {
    const socket = keep(Socket.socket(AF_INET6));
    socket.setSockOpt(IPPROTO_IPV6, IPV6_V6ONLY, only);
    socket.bind({ host: '::', port: 0 });
    socket.listen();
    return { socket, port: (socket.getSockName() as InternetAddress).port };
  }

  it('takes IPv4 callers too, under their mapped addresses', () => {
    const { socket, port } = listeningOn6(0);
    const client = keep(Socket.socket(AF_INET));
    client.connect({ host: '127.0.0.1', port });
    const { address } = accepted(socket);
    const { port: clientPort } = client.getSockName() as InternetAddress;
    expect(address).toEqual({ host: '::ffff:127.0.0.1', port: clientPort });
  });

  /** Listens on the IPv4 port, or not, when another program on this machine has it already. */
  function listeningOn4(port: number): Socket | null {
    try {
      return listening(AF_INET, { host: '127.0.0.1', port });
    } catch (error) {
      if ((error as SocketError).code === 'EADDRINUSE') return null;
      throw error;
    }
  }

  it('takes none with IPV6_V6ONLY, and leaves the port to IPv4', () => {
    let { socket, port } = listeningOn6(1);
    let other = listeningOn4(port);
    for (let tries = 0; other === null && tries < 20; tries += 1) {
      ({ socket, port } = listeningOn6(1));
      other = listeningOn4(port);
    }
    if (other === null) throw new Error('IPv4 never had the port that IPv6 was given');
    expect(socket.getSockOpt(IPPROTO_IPV6, IPV6_V6ONLY)).toBe(1);
    const client = keep(Socket.socket(AF_INET));
    client.connect({ host: '127.0.0.1', port });
    accepted(other);
    expect(socket.accept()).toBeNull();
  });

  it('goes on to a mapped address from an IPv6 socket', () => {
    const listener = listening(AF_INET);
    const { port } = listener.getSockName() as InternetAddress;
    const client = keep(Socket.socket(AF_INET6));
    client.connect({ host: '::ffff:127.0.0.1', port });
    expect(accepted(listener).address).toHaveProperty('host', '127.0.0.1');
  });

  it('takes the scope of a literal to the kernel', () => {
    const socket = keep(Socket.socket(AF_INET6, SOCK_DGRAM));
    // No interface has this index, so the kernel has read it.
    expect(codeThrownBy(() => socket.bind({ host: 'fe80::1%2147483646', port: 0 }))).toBe('ENODEV');
  });
});

describe('Host names', () => {
  it('are looked up by bind, connect and sendTo', () => {
    const listener = listening(AF_INET, { host: 'localhost', port: 0 });
    const { host, port } = listener.getSockName() as InternetAddress;
    expect(host).toMatch(/^127\./);
    keep(Socket.socket()).connect({ host: 'localhost', port });
    accepted(listener);
    const to = bound(AF_INET, SOCK_DGRAM);
    const there = { host: 'localhost', port: (to.getSockName() as InternetAddress).port };
    expect(bound(AF_INET, SOCK_DGRAM).sendTo(HELLO, there)).toBe(5);
    ready(to);
    expect(to.recv(5)).toEqual(HELLO);
  });

  it("'' is every address of this machine", () => {
    const listener = listening(AF_INET, { host: '', port: 0 });
    expect(listener.getSockName()).toHaveProperty('host', '0.0.0.0');
    expect(listening(AF_INET6, { host: '', port: 0 }).getSockName()).toHaveProperty('host', '::');
  });

  it('fail with the code of the look-up', () => {
    const socket = keep(Socket.socket());
    const code = codeThrownBy(() => socket.connect({ host: 'name.invalid', port: 1 }));
    expect(code).toMatch(/^(ENOTFOUND|EAI_AGAIN)$/);
  });
});

describe('Unix addresses', () => {
  let unique = 0;
  const abstract = (suffix = ''): string => `\0asyncore-${process.pid}-${unique++}${suffix}`;

  it.each<[string, () => Address]>([
    ['a path', () => ({ path: temporaryPath() })],
    ['a path beyond ASCII', () => ({ path: temporaryPath('söckel-→') })],
    ['an abstract name', () => ({ path: abstract() })],
    ['an abstract name with NULs in it', () => ({ path: abstract('\0end\0') })],
    [
      'an abstract name that is not UTF-8',
      () => {
        const raw = Buffer.concat([Buffer.from(abstract()), Buffer.of(0xff, 0xc3)]);
        return { path: raw.toString(), raw };
      },
    ],
    [
      'a path that is not UTF-8',
      () => {
        const raw = Buffer.concat([Buffer.from(temporaryPath()), Buffer.of(0xfe)]);
        return { path: raw.toString(), raw };
      },
    ],
    ['the longest abstract name', () => ({ path: abstract().padEnd(108, 'x') })],
  ])('come back from the kernel as they were: %s', (_name, make) => {
    const address = make();
    const listener = listening(AF_UNIX, address);
    expect(listener.getSockName()).toEqual(address);
    const client = keep(Socket.socket(AF_UNIX));
    expect(client.connect(address)).toBe(true);
    accepted(listener);
    expect(client.getPeerName()).toEqual(address);
  });

  it('make a file of a path, and none of an abstract name', () => {
    const path = temporaryPath();
    listening(AF_UNIX, { path });
    expect(statSync(path).isSocket()).toBe(true);
  });

  it("are chosen by the kernel for ''", () => {
    const socket = bound(AF_UNIX, SOCK_DGRAM, { path: '' });
    expect(socket.getSockName()).toEqual({ path: expect.stringMatching(/^\0[0-9a-f]{5}$/) });
  });

  it('are empty for a socket that has none', () => {
    const to = bound(AF_UNIX, SOCK_DGRAM);
    const from = keep(Socket.socket(AF_UNIX, SOCK_DGRAM));
    from.sendTo(HELLO, to.getSockName());
    expect(to.recvFrom(5)).toEqual({ data: HELLO, address: { path: '' } });
    expect(connected(AF_UNIX).address).toEqual({ path: '' });
    const [a] = pair();
    expect(a.getSockName()).toEqual({ path: '' });
    expect(a.getPeerName()).toEqual({ path: '' });
  });

  it('that do not exist fail at once, with the path', () => {
    const path = temporaryPath();
    const socket = keep(Socket.socket(AF_UNIX));
    expect(() => socket.connect({ path })).toThrow(
      expect.objectContaining({ code: 'ENOENT', syscall: 'connect', address: `'${path}'` }),
    );
  });

  it('fail with EAGAIN while the backlog is full, which is not progress', () => {
    const listener = bound(AF_UNIX, SOCK_STREAM);
    listener.listen(0);
    const address = listener.getSockName();
    const codes = Array.from({ length: 3 }, () => {
      const client = keep(Socket.socket(AF_UNIX));
      return codeThrownBy(() => client.connect(address));
    });
    expect(codes.at(-1)).toBe('EAGAIN');
  });
});

describe('Socket.socket', () => {
  it('opens a TCP socket over IPv4 by default', () => {
    const socket = keep(Socket.socket());
    expect(socket).toMatchObject({ family: AF_INET, type: SOCK_STREAM, protocol: 0 });
    expect(socket.getSockOpt(SOL_SOCKET, SO_TYPE)).toBe(SOCK_STREAM);
    expect(flagsOf(socket.fileno())).toEqual(BOTH_FLAGS);
  });

  it('takes a protocol', () => {
    expect(keep(Socket.socket(AF_INET, SOCK_DGRAM, IPPROTO_UDP)).protocol).toBe(IPPROTO_UDP);
  });

  it.each<[number, number, number, string]>([
    [9999, SOCK_STREAM, 0, 'EAFNOSUPPORT'],
    [AF_INET, 7, 0, 'ESOCKTNOSUPPORT'],
    [AF_INET, SOCK_DGRAM, IPPROTO_TCP, 'EPROTONOSUPPORT'],
    [AF_UNIX, SOCK_STREAM, 99, 'EPROTONOSUPPORT'],
  ])(
    'reports what the kernel does not know: (%i, %i, %i) is %s',
    (family, type, protocol, code) => {
      expect(() => Socket.socket(family, type, protocol)).toThrow(
        expect.objectContaining({ name: 'SocketError', code, syscall: 'socket' }),
      );
    },
  );

  it.each([NaN, 1.5, '1', null, 2 ** 32 + 1])('refuses %p before the kernel', (value) => {
    const bad = value as number;
    const refused = /^ERR_(OUT_OF_RANGE|INVALID_ARG_TYPE)$/;
    for (const open of [
      () => keep(Socket.socket(bad)),
      () => keep(Socket.socket(AF_INET, bad)),
      () => keep(Socket.socket(AF_INET, SOCK_STREAM, bad)),
      () => Socket.pair(bad).map(keep),
      () => Socket.pair(AF_UNIX, bad).map(keep),
      () => Socket.pair(AF_UNIX, SOCK_STREAM, bad).map(keep),
    ]) {
      expect(codeThrownBy(open)).toMatch(refused);
    }
  });

  it('shows itself', () => {
    const socket = keep(Socket.socket());
    const text = `<Socket fd=${socket.fileno()} family=2 type=1>`;
    expect(String(socket)).toBe(text);
    expect(inspect(socket)).toBe(text);
    socket.close();
    expect(String(socket)).toBe('<Socket fd=-1 family=2 type=1>');
  });
});

describe('Socket.pair', () => {
  it.each([
    ['stream', SOCK_STREAM],
    ['datagram', SOCK_DGRAM],
    ['seqpacket', SOCK_SEQPACKET],
  ])('connects two Unix sockets: %s', (_name, type) => {
    const [a, b] = pair(type);
    for (const [from, to] of [
      [a, b],
      [b, a],
    ] as const) {
      expect(from).toMatchObject({ family: AF_UNIX, type });
      expect(flagsOf(from.fileno())).toEqual(BOTH_FLAGS);
      from.send(HELLO);
      expect(to.recv(100)).toEqual(HELLO);
    }
  });

  it('is of Unix stream sockets by default', () => {
    const [a, b] = Socket.pair();
    keep(a);
    keep(b);
    expect([a.family, a.type, b.family, b.type]).toEqual([
      AF_UNIX,
      SOCK_STREAM,
      AF_UNIX,
      SOCK_STREAM,
    ]);
  });

  it('does not exist for TCP', () => {
    expect(() => Socket.pair(AF_INET)).toThrow(
      expect.objectContaining({
        name: 'SocketError',
        errno: ERRNO.EOPNOTSUPP,
        syscall: 'socketpair',
      }),
    );
  });
});

describe('Socket.fromFd', () => {
  /** A descriptor's new owner; where there is none, it is closed. */
  function adopted(fd: number): Socket {
    try {
      return keep(Socket.fromFd(fd));
    } catch (error) {
      libc.close(fd);
      throw error;
    }
  }

  it.each<[string, number, number, number]>([
    ['TCP', AF_INET, SOCK_STREAM, IPPROTO_TCP],
    ['UDP over IPv6', AF_INET6, SOCK_DGRAM, IPPROTO_UDP],
    ['Unix', AF_UNIX, SOCK_SEQPACKET, 0],
  ])('takes over a blocking, inheritable descriptor: %s', (_name, family, type, protocol) => {
    const fd = libc.check(libc.socket(family, type, 0), 'socket');
    expect(flagsOf(fd)).toEqual({ nonBlocking: false, closeOnExec: false });
    const socket = adopted(fd);
    expect(socket).toMatchObject({ family, type, protocol, closed: false });
    expect(socket.fileno()).toBe(fd);
    expect(flagsOf(fd)).toEqual(BOTH_FLAGS);
  });

  it('takes back what was detached, with what is in it', () => {
    const [a, b] = pair();
    a.send(HELLO);
    const again = adopted(b.detach());
    expect(again.recv(100)).toEqual(HELLO);
    expect(again.getSockOpt(SOL_SOCKET, SO_TYPE)).toBe(SOCK_STREAM);
  });

  it('leaves a descriptor alone that is no socket', () => {
    const fd = openSync(__filename, 'r');
    try {
      const before = flagsOf(fd);
      expect(codeThrownBy(() => Socket.fromFd(fd))).toBe('ENOTSOCK');
      expect(flagsOf(fd)).toEqual(before);
    } finally {
      closeSync(fd);
    }
  });

  it('fails for a descriptor that is not open', () => {
    expect(codeThrownBy(() => Socket.fromFd(999_999))).toBe('EBADF');
  });

  it.each([-1, NaN, 1.5, '3', null])('refuses %p, which is none', (fd) => {
    expect(() => Socket.fromFd(fd as number)).toThrow(
      'Cannot take over a descriptor: expected a file descriptor, received',
    );
  });
});

describe('setNonBlocking', () => {
  it('sets the flag, and leaves one that is set', () => {
    const fd = libc.check(libc.socket(AF_UNIX, SOCK_STREAM, 0), 'socket');
    try {
      for (let twice = 0; twice < 2; twice += 1) {
        setNonBlocking(fd);
        expect(flagsOf(fd)).toEqual({ nonBlocking: true, closeOnExec: false });
      }
    } finally {
      libc.close(fd);
    }
  });

  it('fails for a descriptor that is not open', () => {
    expect(codeThrownBy(() => setNonBlocking(999_999))).toBe('EBADF');
  });
});

describe('Options', () => {
  it('are set to integers and read as integers', () => {
    const socket = keep(Socket.socket());
    socket.setSockOpt(IPPROTO_TCP, TCP_KEEPIDLE, 77);
    expect(socket.getSockOpt(IPPROTO_TCP, TCP_KEEPIDLE)).toBe(77);
    socket.setSockOpt(SOL_SOCKET, SO_RCVBUF, 20_000);
    expect(socket.getSockOpt(SOL_SOCKET, SO_RCVBUF)).toBe(40_000); // Linux doubles it
  });

  it.each([
    ['TCP_NODELAY', IPPROTO_TCP, TCP_NODELAY],
    ['SO_REUSEADDR', SOL_SOCKET, SO_REUSEADDR],
    ['SO_KEEPALIVE', SOL_SOCKET, SO_KEEPALIVE],
    ['SO_REUSEPORT', SOL_SOCKET, SO_REUSEPORT],
    ['SO_BROADCAST', SOL_SOCKET, SO_BROADCAST],
  ])('are switched by true and false: %s', (_name, level, option) => {
    const socket = keep(Socket.socket());
    expect(socket.getSockOpt(level, option)).toBe(0);
    socket.setSockOpt(level, option, true);
    expect(socket.getSockOpt(level, option)).toBe(1);
    socket.setSockOpt(level, option, false);
    expect(socket.getSockOpt(level, option)).toBe(0);
  });

  it('are set to raw bytes, and read as no more than there are', () => {
    const socket = keep(Socket.socket());
    const linger = Buffer.from('0100000007000000', 'hex');
    socket.setSockOpt(SOL_SOCKET, SO_LINGER, linger);
    expect(socket.getSockOpt(SOL_SOCKET, SO_LINGER, 8)).toEqual(linger);
    expect(socket.getSockOpt(SOL_SOCKET, SO_LINGER, 64)).toEqual(linger);
    expect(socket.getSockOpt(SOL_SOCKET, SO_LINGER, 4)).toEqual(linger.subarray(0, 4));
    const name = socket.getSockOpt(IPPROTO_TCP, TCP_CONGESTION, 16).toString('latin1');
    expect(name).toMatch(/^[a-z0-9_]+\0*$/);
    socket.setSockOpt(IPPROTO_TCP, TCP_CONGESTION, Buffer.from(name));
  });

  it("take the numbers of C's int and of its unsigned int", () => {
    const socket = keep(Socket.socket());
    // As unsigned as the kernel reads it: over the limit, so it sets the limit.
    socket.setSockOpt(SOL_SOCKET, SO_SNDBUF, 2 ** 32 - 1);
    expect(codeThrownBy(() => socket.setSockOpt(IPPROTO_TCP, TCP_KEEPIDLE, -1))).toBe('EINVAL');
  });

  it.each([NaN, 1.5, Infinity, 2 ** 32, -(2 ** 31) - 1])('refuse the number %p', (value) => {
    const socket = keep(Socket.socket());
    expect(codeThrownBy(() => socket.setSockOpt(SOL_SOCKET, SO_KEEPALIVE, value))).toBe(
      'ERR_OUT_OF_RANGE',
    );
    expect(codeThrownBy(() => socket.getSockOpt(value, SO_KEEPALIVE))).toBe('ERR_OUT_OF_RANGE');
    expect(codeThrownBy(() => socket.getSockOpt(SOL_SOCKET, value))).toBe('ERR_OUT_OF_RANGE');
  });

  it.each(['1', null, undefined, {}, 1n])('refuse %p, which is no value', (value) => {
    const socket = keep(Socket.socket());
    expect(() => socket.setSockOpt(SOL_SOCKET, SO_KEEPALIVE, value as never)).toThrow(
      'Cannot set a socket option: expected an integer, a boolean or a Uint8Array, received',
    );
  });

  it.each([0, -1, 1.5, NaN, 65537, '8', null])('refuse to be read into %p bytes', (length) => {
    const socket = keep(Socket.socket());
    expect(() => socket.getSockOpt(SOL_SOCKET, SO_LINGER, length as number)).toThrow(
      'Cannot get a socket option: expected a length',
    );
  });

  it("that do not exist are the kernel's to refuse", () => {
    const socket = keep(Socket.socket());
    expect(codeThrownBy(() => socket.getSockOpt(SOL_SOCKET, 9999))).toBe('ENOPROTOOPT');
    expect(codeThrownBy(() => socket.setSockOpt(SOL_SOCKET, 9999, 1))).toBe('ENOPROTOOPT');
  });
});

describe('SO_LINGER of no time', () => {
  it('makes close() a reset, which the peer sees as ECONNRESET', () => {
    const { client, server } = connected(AF_INET);
    server.setSockOpt(SOL_SOCKET, SO_LINGER, Buffer.from('0100000000000000', 'hex'));
    server.close();
    ready(client);
    expect(() => client.recv(1)).toThrow(
      expect.objectContaining({ name: 'SocketError', code: 'ECONNRESET', syscall: 'recv' }),
    );
    expect(codeThrownBy(() => client.send(HELLO))).toBe('EPIPE');
  });
});

describe('SO_REUSEPORT', () => {
  function sharing(port: number): Socket {
    const socket = keep(Socket.socket());
    socket.setSockOpt(SOL_SOCKET, SO_REUSEPORT, true);
    socket.bind({ host: '127.0.0.1', port });
    socket.listen();
    return socket;
  }

  it('lets two listeners share a port, and the callers', () => {
    const first = sharing(0);
    const address = first.getSockName() as InternetAddress;
    const second = sharing(address.port);
    expect(second.getSockName()).toEqual(address);
    // Which of them a caller reaches is the kernel's hash of its port.
    for (let call = 0; call < 40; call += 1) {
      const client = keep(Socket.socket());
      client.connect(address);
      ready(client, POLLOUT);
    }
    accepted(first);
    accepted(second);
  });

  it('must be asked for by both', () => {
    const { port } = sharing(0).getSockName() as InternetAddress;
    const socket = keep(Socket.socket());
    expect(codeThrownBy(() => socket.bind({ host: '127.0.0.1', port }))).toBe('EADDRINUSE');
  });
});

describe('Urgent data', () => {
  it('is one byte beside the stream', () => {
    const { client, server } = connected(AF_INET);
    expect(codeThrownBy(() => server.recv(1, MSG_OOB))).toBe('EINVAL');
    client.send(Buffer.from('before'));
    client.send(Buffer.from('!'), MSG_OOB);
    expect(ready(server, POLLPRI) & POLLPRI).toBe(POLLPRI);
    expect(server.recv(10, MSG_OOB)).toEqual(Buffer.from('!'));
    client.send(Buffer.from('after'));
    expect(receive(server, 11)).toEqual(Buffer.from('beforeafter'));
  });

  it('stays in the stream with SO_OOBINLINE', () => {
    const { client, server } = connected(AF_INET);
    server.setSockOpt(SOL_SOCKET, SO_OOBINLINE, true);
    client.send(Buffer.from('a'));
    client.send(Buffer.from('!'), MSG_OOB);
    client.send(Buffer.from('z'));
    expect(receive(server, 3)).toEqual(Buffer.from('a!z'));
  });
});

describe('recv', () => {
  it('leaves what it shows under MSG_PEEK', () => {
    const [a, b] = pair();
    a.send(HELLO);
    expect(b.recv(2, MSG_PEEK)).toEqual(Buffer.from('he'));
    expect(b.recv(100, MSG_PEEK)).toEqual(HELLO);
    expect(b.recv(100)).toEqual(HELLO);
    expect(b.recv(100, MSG_PEEK)).toBeNull();
  });

  it('gives bytes that small reads later never overwrite', () => {
    const [a, b] = pair();
    const kept: Buffer[] = [];
    for (let i = 0; i < 300; i += 1) {
      a.send(Buffer.alloc(1 + i, i));
      kept.push(receive(b, 1 + i));
    }
    for (const [i, data] of kept.entries()) expect(data).toEqual(Buffer.alloc(1 + i, i));
  });

  it('hands large reads out as views, which later reads of any size never overwrite', () => {
    const [a, b] = pair();
    const kept: Buffer[] = [];
    const sizes = [20_000, 1, 65_536, 16_384, 16_383, 100_000, 5];
    for (let i = 0; i < 70; i += 1) {
      const size = sizes[i % sizes.length] as number;
      expect(a.send(Buffer.alloc(size, i))).toBe(size);
      const data = b.recv(131_072);
      expect(data).toHaveLength(size);
      kept.push(data as Buffer);
    }
    for (const [i, data] of kept.entries()) {
      expect(data.equals(Buffer.alloc(data.length, i))).toBe(true);
    }
    const large = kept.filter((data) => data.length >= 16_384);
    // Several views in one piece of memory: they were not copied.
    expect(new Set(large.map((data) => data.buffer)).size).toBeLessThan(large.length);
  });

  it.each([1, 100, 4095, 4096, 8192, 16_383])(
    "gives a read of %i bytes memory of its own, or of Node's pool: it pins no slab",
    (size) => {
      const [a, b] = pair();
      a.send(Buffer.alloc(size, 'x'));
      const data = b.recv(65_536) as Buffer;
      expect(data).toHaveLength(size);
      const pool = Buffer.allocUnsafe(1).buffer.byteLength;
      expect(data.buffer.byteLength).toBeLessThanOrEqual(Math.max(size, pool));
    },
  );

  it('reads more at once than a slab holds', () => {
    const [a, b] = pair();
    for (const socket of [a, b]) socket.setSockOpt(SOL_SOCKET, SO_SNDBUF, 1 << 20);
    const data = Buffer.alloc(100_000, 'y');
    expect(a.send(data)).toBe(data.length);
    expect(b.recv(1 << 20)).toEqual(data);
  });

  it('of no bytes takes none', () => {
    const [a, b] = pair();
    a.send(HELLO);
    expect(b.recv(0)).toEqual(Buffer.alloc(0));
    expect(b.recv(5)).toEqual(HELLO);
  });

  it.each([-1, NaN, 1.5, 2 ** 31, Infinity, '5', null, undefined])(
    'refuses the size %p',
    (size) => {
      const [a] = pair();
      expect(() => a.recv(size as number)).toThrow('Cannot recv: expected a size');
      expect(() => a.recvFrom(size as number)).toThrow(
        'Cannot receive a datagram: expected a size',
      );
    },
  );

  it.each([NaN, 1.5, '2', null])('refuses the flags %p, and so do the other calls', (value) => {
    const [a, b] = pair();
    a.send(HELLO);
    const flags = value as number;
    const refused = /^ERR_(OUT_OF_RANGE|INVALID_ARG_TYPE)$/;
    expect(codeThrownBy(() => b.recv(1, flags))).toMatch(refused);
    expect(codeThrownBy(() => b.recvInto(Buffer.alloc(1), flags))).toMatch(refused);
    expect(codeThrownBy(() => b.recvFrom(1, flags))).toMatch(refused);
    expect(codeThrownBy(() => b.send(HELLO, flags))).toMatch(refused);
    expect(codeThrownBy(() => b.sendTo(HELLO, { path: '' }, flags))).toMatch(refused);
    expect(b.recv(100)).toEqual(HELLO);
  });
});

describe('recvFrom', () => {
  it.each([1, 100, 4095, 4096, 8192, 16_383])(
    "gives a datagram of %i bytes memory of its own, or of Node's pool, not what it asked for",
    (size) => {
      const [a, b] = pair(SOCK_DGRAM);
      const pool = Buffer.allocUnsafe(1).buffer.byteLength;
      for (const flags of [0, MSG_TRUNC]) {
        a.send(Buffer.alloc(size, 'x'));
        const { data } = b.recvFrom(65_536, flags) as { data: Buffer };
        expect(data).toEqual(Buffer.alloc(size, 'x'));
        expect(data.buffer.byteLength).toBeLessThanOrEqual(Math.max(size, pool));
      }
    },
  );
});

describe('recvInto', () => {
  it("writes into the program's memory, and nowhere beside it", () => {
    const [a, b] = pair();
    a.send(HELLO);
    const memory = Buffer.from('..........');
    expect(b.recvInto(memory.subarray(2, 5))).toBe(3);
    expect(memory.toString()).toBe('..hel.....');
    expect(b.recvInto(new Uint8Array(memory.buffer, memory.byteOffset + 5, 5))).toBe(2);
    expect(memory.toString()).toBe('..hello...');
    a.close();
    expect(b.recvInto(memory)).toBe(0);
  });

  it.each([['text'], [null], [5], [[1]], [new ArrayBuffer(4)], [new Uint16Array(4)]])(
    'refuses %p',
    (memory) => {
      const [a] = pair();
      expect(() => a.recvInto(memory as never)).toThrow('expected a Uint8Array');
    },
  );
});

describe('send', () => {
  it('takes any view of bytes, from its offset on', () => {
    const [a, b] = pair();
    const bytes = Uint8Array.from([1, 2, 3, 4]);
    expect(a.send(bytes.subarray(1, 3))).toBe(2);
    expect(b.recv(10)).toEqual(Buffer.of(2, 3));
    expect(a.send(Buffer.alloc(0))).toBe(0);
    expect(b.recv(10)).toBeNull();
  });

  it.each([['text'], [null], [undefined], [5], [[1]], [new ArrayBuffer(4)], [new Uint16Array(4)]])(
    'refuses %p',
    (data) => {
      const [a] = pair();
      expect(() => a.send(data as never)).toThrow('Cannot send: expected a Uint8Array, received');
      expect(() => a.sendTo(data as never, { path: '/x' })).toThrow(
        'Cannot send a datagram: expected a Uint8Array, received',
      );
    },
  );

  it('to a peer that is gone is EPIPE, as an error', () => {
    const [a, b] = pair();
    b.close();
    expect(() => a.send(HELLO)).toThrow(
      expect.objectContaining({
        name: 'SocketError',
        code: 'EPIPE',
        errno: 32,
        syscall: 'send',
        message: 'EPIPE: Broken pipe, send',
      }),
    );
  });

  it('to a peer that is gone is never a signal', async () => {
    const lib = JSON.stringify(join(__dirname, '..', '..', 'lib'));
    const program = new Program(process.execPath, [
      ...TYPESCRIPT,
      '-e',
      `
      const { Socket } = require(${lib} + '/index.ts');
      const libc = require(${lib} + '/kernel/syscalls.ts');
      let signals = 0;
      process.on('SIGPIPE', () => { signals += 1; });
      const [a, b] = Socket.pair();
      b.close();
      const codes = [];
      for (const send of [() => a.send(Buffer.from('x')), () => a.send(Buffer.from('x'), 0x40)]) {
        try { send(); } catch (error) { codes.push(error.code); }
      }
      // The control: what the kernel does when it is not asked to hold the signal back.
      const turns = (done) => { let n = 50; (function turn() { n-- > 0 ? setTimeout(turn, 1) : done(); })(); };
      turns(() => {
        const ours = signals;
        libc.send(a.fileno(), Buffer.from('x'), 0);
        const end = Date.now() + 4000;
        (function look() {
          if (signals === ours && Date.now() < end) return setTimeout(look, 1);
          a.close();
          console.log(JSON.stringify({ codes, ours, control: signals - ours }));
        })();
      });
      `,
    ]);
    expect(await program.ended()).toBe(0);
    expect(JSON.parse(program.output)).toEqual({ codes: ['EPIPE', 'EPIPE'], ours: 0, control: 1 });
  });
});

describe('connect', () => {
  it('says whether it is connected already', () => {
    const unix = listening(AF_UNIX);
    expect(keep(Socket.socket(AF_UNIX)).connect(unix.getSockName())).toBe(true);
    const client = keep(Socket.socket());
    client.connect(listening(AF_INET).getSockName());
    ready(client, POLLOUT);
    expect(client.getSockOpt(SOL_SOCKET, SO_ERROR)).toBe(0);
    expect(client.getPeerName()).toHaveProperty('host', '127.0.0.1');
  });

  it('is under way over TCP, and refused a second time', () => {
    const listener = listening(AF_INET);
    const client = keep(Socket.socket());
    expect(client.connectEx(listener.getSockName())).toBe(ERRNO.EINPROGRESS);
    accepted(listener);
    ready(client, POLLOUT);
    // The first call since then is told of the success, or that there was one.
    expect([0, ERRNO.EISCONN]).toContain(client.connectEx(listener.getSockName()));
    expect(client.connectEx(listener.getSockName())).toBe(ERRNO.EISCONN);
    expect(() => client.connect(listener.getSockName())).toThrow(
      expect.objectContaining({
        code: 'EISCONN',
        syscall: 'connect',
        address: `127.0.0.1:${(listener.getSockName() as InternetAddress).port}`,
      }),
    );
  });

  it('returns false while it is under way', () => {
    const listener = listening(AF_INET);
    expect(keep(Socket.socket()).connect(listener.getSockName())).toBe(false);
  });

  it.each<[string, (socket: Socket) => unknown]>([
    ['bind', (socket) => socket.bind({ path: '/x' })],
    ['connect', (socket) => socket.connect({ path: '/x' })],
    ['connect', (socket) => socket.connectEx({ host: '::1', port: 1 })],
    ['sendto', (socket) => socket.sendTo(HELLO, { host: '127.0.0.1', port: 65536 })],
  ])('and others name themselves in what they refuse: %s', (name, call) => {
    const socket = keep(Socket.socket());
    expect(() => call(socket)).toThrow(`${cannot(name)}: expected `);
  });
});

describe('listen', () => {
  it.each([NaN, 1.5, '5', null])('refuses the backlog %p', (backlog) => {
    const socket = bound(AF_INET, SOCK_STREAM);
    expect(() => socket.listen(backlog as number)).toThrow('Cannot listen: expected backlog');
  });

  it('is not for datagrams', () => {
    const socket = bound(AF_INET, SOCK_DGRAM);
    expect(codeThrownBy(() => socket.listen())).toBe('ENOTSUP');
    expect(codeThrownBy(() => socket.accept())).toBe('ENOTSUP');
  });

  it('comes before accept', () => {
    const socket = bound(AF_INET, SOCK_STREAM);
    expect(codeThrownBy(() => socket.accept())).toBe('EINVAL');
  });
});

describe('A closed socket', () => {
  const ANYWHERE = { host: '127.0.0.1', port: 1 };
  const CALLS: [string, (socket: Socket) => unknown][] = [
    ['bind', (socket) => socket.bind(ANYWHERE)],
    ['listen', (socket) => socket.listen()],
    ['accept', (socket) => socket.accept()],
    ['connect', (socket) => socket.connect(ANYWHERE)],
    ['connect', (socket) => socket.connectEx(ANYWHERE)],
    ['recv', (socket) => socket.recv(1)],
    ['recv', (socket) => socket.recvInto(Buffer.alloc(1))],
    ['recvfrom', (socket) => socket.recvFrom(1)],
    ['send', (socket) => socket.send(HELLO)],
    ['sendto', (socket) => socket.sendTo(HELLO, ANYWHERE)],
    ['recvmsg', (socket) => socket.recvMsg(1)],
    ['sendmsg', (socket) => socket.sendMsg([HELLO])],
    ['shutdown', (socket) => socket.shutdown()],
    ['getsockopt', (socket) => socket.getSockOpt(SOL_SOCKET, SO_ERROR)],
    ['setsockopt', (socket) => socket.setSockOpt(SOL_SOCKET, SO_KEEPALIVE, 1)],
    ['getsockname', (socket) => socket.getSockName()],
    ['getpeername', (socket) => socket.getPeerName()],
  ];
  const NEED_NONE = ['fileno', 'detach', 'close', 'toString', 'constructor'];

  it.each(CALLS)("refuses %s with EBADF, also while its number is another file's", (name, call) => {
    const socket = Socket.socket();
    const fd = socket.fileno();
    socket.close();
    const next = keep(Socket.socket());
    expect(next.fileno()).toBe(fd);
    expect(() => call(socket)).toThrow(
      expect.objectContaining({
        code: 'EBADF',
        errno: 9,
        syscall: name,
        message: `${cannot(name)}: the socket is closed (fd -1)`,
      }),
    );
  });

  it('refuses to send from memory, too', () => {
    const socket = Socket.socket();
    socket.close();
    const next = keep(Socket.socket());
    expect(next.fileno()).toBeGreaterThanOrEqual(0);
    expect(() => socket[sendRange](new Memory(8), 0, 8)).toThrow(/the socket is closed/);
  });

  it('has no other methods than these', () => {
    const tried = CALLS.map(([, call]) => /socket\.(\w+)\(/.exec(String(call))?.[1]);
    const methods = Object.entries(Object.getOwnPropertyDescriptors(Socket.prototype))
      .filter(([name, { value }]) => typeof value === 'function' && !NEED_NONE.includes(name))
      .map(([name]) => name);
    expect(tried.sort()).toEqual(methods.sort());
  });

  it('can be closed twice', () => {
    const socket = Socket.socket();
    const fd = socket.fileno();
    expect(socket.closed).toBe(false);
    socket.close();
    expect(socket.closed).toBe(true);
    expect(socket.fileno()).toBe(-1);
    const next = keep(Socket.socket());
    expect(next.fileno()).toBe(fd);
    socket.close();
    expect(next.getSockOpt(SOL_SOCKET, SO_TYPE)).toBe(SOCK_STREAM);
    expect(socket.detach()).toBe(-1);
  });

  it('throws when its descriptor was closed elsewhere', () => {
    const socket = Socket.socket();
    libc.close(socket.fileno());
    expect(codeThrownBy(() => socket.recv(1))).toBe('EBADF');
    expect(codeThrownBy(() => socket.close())).toBe('EBADF');
    expect(() => socket.close()).not.toThrow();
  });
});

describe('detach', () => {
  it('gives the descriptor away, open, once', () => {
    const [a, b] = pair();
    const fd = b.detach();
    try {
      expect(fd).toBeGreaterThan(2);
      expect(b.closed).toBe(true);
      expect(b.detach()).toBe(-1);
      expect(codeThrownBy(() => b.recv(1))).toBe('EBADF');
      b.close();
      a.send(HELLO);
      const received = Buffer.alloc(5);
      expect(libc.read(fd, received)).toBe(5);
      expect(received).toEqual(HELLO);
    } finally {
      libc.close(fd);
    }
  });
});

describe('using', () => {
  it('closes the socket at the end of its block, by an exception too', () => {
    let outside: Socket | undefined;
    {
      using socket = Socket.socket();
      outside = socket;
      expect(socket.closed).toBe(false);
    }
    expect(outside.closed).toBe(true);
    expect(() => {
      using socket = Socket.socket();
      outside = socket;
      throw new Error('out of here');
    }).toThrow('out of here');
    expect(outside.closed).toBe(true);
  });

  it('does not mind a socket that was closed inside', () => {
    expect(() => {
      using socket = Socket.socket();
      socket.close();
    }).not.toThrow();
  });
});
