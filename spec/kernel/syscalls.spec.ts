import { closeSync, openSync, statSync } from 'node:fs';
import { join } from 'node:path';
import {
  AF_INET,
  AF_UNIX,
  MSG_DONTWAIT,
  MSG_TRUNC,
  POLLIN,
  POLLOUT,
  SHUT_WR,
  SO_TYPE,
  SOCK_DGRAM,
  SOCK_NONBLOCK,
  SOCK_STREAM,
  SOL_SOCKET,
} from 'asyncore';
import { cannot } from '../../lib/errors';
import { Memory, SockaddrSlot } from '../../lib/kernel/koffi';
import { MessageMemory } from '../../lib/kernel/message-memory';
import {
  EPOLL_CLOEXEC,
  EPOLL_CTL_ADD,
  EPOLL_CTL_DEL,
  ERRNO,
  F_GETFD,
  F_GETFL,
  F_SETFD,
  F_SETFL,
  FD_CLOEXEC,
  LAYOUT,
  O_NONBLOCK,
} from '../../lib/kernel/platform/linux';
import { PollHandle } from '../../lib/kernel/poll-handle';
import * as libc from '../../lib/kernel/syscalls';
import { Program, TYPESCRIPT } from '../support/program';

/** A number that no descriptor of this process has. */
const NOBODY = 999_999;
const KERNEL = join(__dirname, '..', '..', 'lib', 'kernel');
const LIBC = JSON.stringify(join(KERNEL, 'syscalls.ts'));
const KOFFI = JSON.stringify(join(KERNEL, 'koffi.ts'));

const opened: number[] = [];

/** A descriptor that is closed after its test. */
function keep(fd: number): number {
  libc.check(fd, 'open');
  opened.push(fd);
  return fd;
}

function pair(type = SOCK_STREAM): [number, number] {
  const fds = libc.socketpair(AF_UNIX, type | SOCK_NONBLOCK, 0);
  if (typeof fds === 'number') throw libc.failure(fds, 'socketpair');
  return [keep(fds[0]), keep(fds[1])];
}

function regularFile(): number {
  return keep(openSync(__filename, 'r'));
}

afterEach(() => {
  for (const fd of opened.splice(0)) libc.close(fd);
});

/** Runs JavaScript that may `require` TypeScript, in a process of its own. */
async function runScript(code: string, ...flags: string[]): Promise<[number | null, string]> {
  const program = new Program(process.execPath, [...flags, ...TYPESCRIPT, '-e', code]);
  const status = await program.ended();
  return [status, program.output];
}

const OUT_OF_RANGE = { name: 'RangeError', code: 'ERR_OUT_OF_RANGE' };
const WRONG_TYPE = { name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' };

/** What koffi would turn into some number without a word, and the error that it gets instead. */
const NO_INTEGERS: [unknown, object][] = [
  [NaN, OUT_OF_RANGE],
  [1.5, OUT_OF_RANGE],
  [Infinity, OUT_OF_RANGE],
  [2 ** 32 + 5, OUT_OF_RANGE],
  ['3', WRONG_TYPE],
  [null, WRONG_TYPE],
  [undefined, WRONG_TYPE],
  [true, WRONG_TYPE],
  [{}, WRONG_TYPE],
];
const NO_DESCRIPTORS: [unknown, object][] = [...NO_INTEGERS, [-1, OUT_OF_RANGE]];
const NO_BYTES = ['text', null, undefined, 5, [1, 2], new ArrayBuffer(2), new Uint16Array(1)];

/** Calls with one argument open, which is passed as it is. */
type Call = (argument: never) => unknown;

const bytes = Buffer.alloc(16);
const memory = new Memory(16);
const slot = new SockaddrSlot();
const message = new MessageMemory(16, 16);

/** What poll(2) reports at once, so that no timeout is ever waited for. */
function pollNobody(): Memory {
  const entry = new Memory(LAYOUT.pollfd);
  entry.buffer.fill(0).writeInt32LE(NOBODY, 0);
  return entry;
}

describe('Arguments', () => {
  describe.each<[string, Call]>([
    ['bind', (fd) => libc.bind(fd, bytes)],
    ['listen', (fd) => libc.listen(fd, 1)],
    ['connect', (fd) => libc.connect(fd, bytes)],
    ['accept', (fd) => libc.accept4(fd, slot, 0)],
    ['getsockname', (fd) => libc.getsockname(fd, slot)],
    ['getpeername', (fd) => libc.getpeername(fd, slot)],
    ['getsockopt', (fd) => libc.getsockopt(fd, SOL_SOCKET, SO_TYPE, bytes)],
    ['setsockopt', (fd) => libc.setsockopt(fd, SOL_SOCKET, SO_TYPE, bytes)],
    ['recv', (fd) => libc.recv(fd, memory, 0, 1, MSG_DONTWAIT)],
    ['recvfrom', (fd) => libc.recvfrom(fd, bytes, MSG_DONTWAIT, null)],
    ['send', (fd) => libc.send(fd, bytes, MSG_DONTWAIT)],
    ['send', (fd) => libc.sendFrom(fd, memory, 0, 1, MSG_DONTWAIT)],
    ['sendfile', (fd) => libc.sendfile(fd, NOBODY, 0, 1)],
    ['sendfile', (file) => libc.sendfile(NOBODY, file, 0, 1)],
    ['sendto', (fd) => libc.sendto(fd, bytes, MSG_DONTWAIT, bytes)],
    ['recvmsg', (fd) => libc.recvmsg(fd, message, MSG_DONTWAIT)],
    ['sendmsg', (fd) => libc.sendmsg(fd, message, MSG_DONTWAIT)],
    ['shutdown', (fd) => libc.shutdown(fd, SHUT_WR)],
    ['close', (fd) => libc.close(fd)],
    ['read', (fd) => libc.read(fd, Buffer.alloc(0))],
    ['write', (fd) => libc.write(fd, Buffer.alloc(0))],
    ['fcntl', (fd) => libc.fcntl(fd, F_GETFD)],
    ['epoll_ctl', (fd) => libc.epollCtl(NOBODY, EPOLL_CTL_DEL, fd, memory)],
    ['epoll_ctl', (epfd) => libc.epollCtl(epfd, EPOLL_CTL_DEL, NOBODY, memory)],
    ['epoll_wait', (epfd) => libc.epollWait(epfd, memory, 0)],
    ['watch', (fd) => new PollHandle(fd, { readable: true, writable: false }, () => {})],
  ])('of %s: a descriptor', (name, call) => {
    it.each(NO_DESCRIPTORS)('is not %p', (fd, error) => {
      expect(() => call(fd as never)).toThrow(expect.objectContaining(error));
      expect(() => call(fd as never)).toThrow(`${cannot(name)}: expected `);
    });
  });

  describe.each<[string, string, Call]>([
    ['socket', 'family', (n) => libc.socket(n, SOCK_STREAM, 0)],
    ['socket', 'type', (n) => libc.socket(AF_INET, n, 0)],
    ['socket', 'protocol', (n) => libc.socket(AF_INET, SOCK_STREAM, n)],
    ['socketpair', 'family', (n) => libc.socketpair(n, SOCK_STREAM, 0)],
    ['socketpair', 'type', (n) => libc.socketpair(AF_UNIX, n, 0)],
    ['socketpair', 'protocol', (n) => libc.socketpair(AF_UNIX, SOCK_STREAM, n)],
    ['pipe2', 'flags', (n) => libc.pipe2(n)],
    ['listen', 'backlog', (n) => libc.listen(NOBODY, n)],
    ['getsockopt', 'level', (n) => libc.getsockopt(NOBODY, n, 1, bytes)],
    ['getsockopt', 'option', (n) => libc.getsockopt(NOBODY, 1, n, bytes)],
    ['setsockopt', 'level', (n) => libc.setsockopt(NOBODY, n, 1, bytes)],
    ['setsockopt', 'option', (n) => libc.setsockopt(NOBODY, 1, n, bytes)],
    ['recv', 'flags', (n) => libc.recv(NOBODY, memory, 0, 1, n)],
    ['recvfrom', 'flags', (n) => libc.recvfrom(NOBODY, bytes, n, null)],
    ['send', 'flags', (n) => libc.send(NOBODY, bytes, n)],
    ['send', 'flags', (n) => libc.sendFrom(NOBODY, memory, 0, 1, n)],
    ['accept', 'flags', (n) => libc.accept4(NOBODY, slot, n)],
    ['sendto', 'flags', (n) => libc.sendto(NOBODY, bytes, n, bytes)],
    ['recvmsg', 'flags', (n) => libc.recvmsg(NOBODY, message, n)],
    ['sendmsg', 'flags', (n) => libc.sendmsg(NOBODY, message, n)],
    ['shutdown', 'how', (n) => libc.shutdown(NOBODY, n)],
    ['fcntl', 'command', (n) => libc.fcntl(NOBODY, n, 0)],
    ['strerror', 'errno', (n) => libc.strerror(n)],
    ['epoll_create1', 'flags', (n) => libc.close(libc.epollCreate(n))],
    ['epoll_ctl', 'op', (n) => libc.epollCtl(NOBODY, n, NOBODY, memory)],
    ['epoll_wait', 'timeout', (n) => libc.epollWait(NOBODY, memory, n)],
    ['poll', 'timeout', (n) => libc.poll(pollNobody(), 1, n)],
  ])('of %s: its %s', (name, what, call) => {
    it.each(NO_INTEGERS)('is not %p', (value, error) => {
      expect(() => call(value as never)).toThrow(expect.objectContaining(error));
      expect(() => call(value as never)).toThrow(`${cannot(name)}: expected ${what} to be`);
    });
  });

  describe.each<[string, Call]>([
    ['an offset', (n) => libc.sendfile(NOBODY, NOBODY, n, 1)],
    ['a length', (n) => libc.sendfile(NOBODY, NOBODY, 0, n)],
  ])('of sendfile: %s', (what, call) => {
    it.each([-1, 0.5, Number.NaN, 2 ** 53, Infinity, '3', undefined])('is not %p', (value) => {
      expect(() => call(value as never)).toThrow(`Cannot sendfile: expected ${what} to be`);
    });
  });

  it.each([3n, Symbol('3')])('of any call are not %p, which has no int', (value) => {
    expect(() => libc.close(value as never)).toThrow(TypeError);
    expect(() => libc.socket(value as never, SOCK_STREAM, 0)).toThrow(TypeError);
  });

  it.each(NO_INTEGERS.filter(([value]) => value !== undefined))(
    'of fcntl: its argument is not %p',
    (value, error) => {
      expect(() => libc.fcntl(NOBODY, F_SETFD, value as never)).toThrow(
        expect.objectContaining(error),
      );
    },
  );

  describe.each<[string, Call]>([
    ['bind', (data) => libc.bind(NOBODY, data)],
    ['connect', (data) => libc.connect(NOBODY, data)],
    ['getsockopt', (data) => libc.getsockopt(NOBODY, 1, 1, data)],
    ['setsockopt', (data) => libc.setsockopt(NOBODY, 1, 1, data)],
    ['recvfrom', (data) => libc.recvfrom(NOBODY, data, 0, null)],
    ['send', (data) => libc.send(NOBODY, data, 0)],
    ['sendto', (data) => libc.sendto(NOBODY, data, 0, bytes)],
    ['sendto', (sockaddr) => libc.sendto(NOBODY, bytes, 0, sockaddr)],
    ['read', (data) => libc.read(NOBODY, data)],
    ['write', (data) => libc.write(NOBODY, data)],
  ])('of %s: bytes', (name, call) => {
    it.each(NO_BYTES)('are not %p', (value) => {
      expect(() => call(value as never)).toThrow(expect.objectContaining(WRONG_TYPE));
      expect(() => call(value as never)).toThrow(
        `${cannot(name)}: expected a Uint8Array, received`,
      );
    });
  });
});

describe('A call that fails', () => {
  it.each<[string, number, () => unknown]>([
    ['socket', ERRNO.EAFNOSUPPORT, () => libc.socket(9999, SOCK_STREAM, 0)],
    ['socketpair', ERRNO.EOPNOTSUPP, () => libc.socketpair(AF_INET, SOCK_STREAM, 0)],
    ['bind', ERRNO.EBADF, () => libc.bind(NOBODY, bytes)],
    ['listen', ERRNO.EBADF, () => libc.listen(NOBODY, 1)],
    ['connect', ERRNO.EBADF, () => libc.connect(NOBODY, bytes)],
    ['accept4', ERRNO.EBADF, () => libc.accept4(NOBODY, slot, 0)],
    ['getsockname', ERRNO.EBADF, () => libc.getsockname(NOBODY, slot)],
    ['getpeername', ERRNO.EBADF, () => libc.getpeername(NOBODY, slot)],
    ['getsockopt', ERRNO.EBADF, () => libc.getsockopt(NOBODY, 1, 1, bytes)],
    ['setsockopt', ERRNO.EBADF, () => libc.setsockopt(NOBODY, 1, 1, bytes)],
    ['recv', ERRNO.EBADF, () => libc.recv(NOBODY, memory, 0, 1, 0)],
    ['recvfrom', ERRNO.EBADF, () => libc.recvfrom(NOBODY, bytes, 0, slot)],
    ['send', ERRNO.EBADF, () => libc.send(NOBODY, bytes, 0)],
    ['sendFrom', ERRNO.EBADF, () => libc.sendFrom(NOBODY, memory, 0, 1, 0)],
    ['sendfile', ERRNO.EBADF, () => libc.sendfile(NOBODY, NOBODY, 0, 1)],
    ['sendto', ERRNO.EBADF, () => libc.sendto(NOBODY, bytes, 0, bytes)],
    ['recvmsg', ERRNO.EBADF, () => libc.recvmsg(NOBODY, message, 0)],
    ['sendmsg', ERRNO.EBADF, () => libc.sendmsg(NOBODY, message, 0)],
    ['shutdown', ERRNO.EBADF, () => libc.shutdown(NOBODY, SHUT_WR)],
    ['close', ERRNO.EBADF, () => libc.close(NOBODY)],
    ['read', ERRNO.EBADF, () => libc.read(NOBODY, bytes)],
    ['write', ERRNO.EBADF, () => libc.write(NOBODY, bytes)],
    ['fcntl', ERRNO.EBADF, () => libc.fcntl(NOBODY, F_GETFD)],
    ['epoll_create1', ERRNO.EINVAL, () => libc.epollCreate(1)],
    ['epoll_ctl', ERRNO.EBADF, () => libc.epollCtl(NOBODY, EPOLL_CTL_ADD, NOBODY, memory)],
    ['epoll_wait', ERRNO.EBADF, () => libc.epollWait(NOBODY, memory, 0)],
    ['recv of a file', ERRNO.ENOTSOCK, () => libc.recv(regularFile(), memory, 0, 1, 0)],
    ['recv of nothing', ERRNO.EAGAIN, () => libc.recv(pair()[0], memory, 0, 1, 0)],
  ])('answers with the errno, negated: %s', (_name, errno, call) => {
    expect(call()).toBe(-errno);
  });

  it('keeps its errno, whatever Node does between one call and the next', () => {
    const [stream] = pair();
    const [datagram] = pair(SOCK_DGRAM);
    const calls: [number, () => number][] = [
      [-ERRNO.EAGAIN, () => libc.recv(stream, memory, 0, 1, 0)],
      [-ERRNO.EBADF, () => libc.send(NOBODY, bytes, 0)],
      [-ERRNO.EAFNOSUPPORT, () => libc.socket(9999, SOCK_STREAM, 0)],
      [-ERRNO.EOPNOTSUPP, () => libc.listen(datagram, 1)],
      [-ERRNO.EINVAL, () => libc.epollCreate(1)],
    ];
    let garbage: Buffer[] = [];
    let wrong = 0;
    for (let turn = 0; turn < 20_000; turn += 1) {
      // Collections with their munmap(2) and madvise(2), and an ENOENT for every round.
      garbage.push(Buffer.allocUnsafeSlow(turn % 64 === 0 ? 1 << 20 : 512));
      if (garbage.length === 100) garbage = [];
      if (turn % 10 === 0) statSync('/nowhere/at/all', { throwIfNoEntry: false });
      const [errno, call] = calls[turn % calls.length] as [number, () => number];
      if (call() !== errno) wrong += 1;
    }
    expect(wrong).toBe(0);
  });
});

describe('check and failure', () => {
  it('pass a result through', () => {
    expect(libc.check(0, 'recv')).toBe(0);
    expect(libc.check(17, 'recv')).toBe(17);
  });

  it('throw a negated errno', () => {
    expect(() => libc.check(-111, 'connect', '127.0.0.1:1')).toThrow(
      expect.objectContaining({
        name: 'SocketError',
        code: 'ECONNREFUSED',
        errno: 111,
        syscall: 'connect',
        address: '127.0.0.1:1',
        message: 'ECONNREFUSED: Connection refused, connect 127.0.0.1:1',
      }),
    );
  });

  it('make an error of a number that has no name', () => {
    expect(libc.failure(-4095, 'recv')).toMatchObject({
      code: 'errno 4095',
      message: 'errno 4095: Unknown error 4095, recv',
    });
  });
});

describe('strerror', () => {
  it.each([
    [0, 'Success'],
    [11, 'Resource temporarily unavailable'],
    [104, 'Connection reset by peer'],
    [111, 'Connection refused'],
    [-1, 'Unknown error -1'],
  ])('says of %i: %s', (errno, text) => {
    expect(libc.strerror(errno)).toBe(text);
  });
});

describe('Descriptors', () => {
  it('carry bytes both ways through read and write', () => {
    const [a, b] = pair();
    expect(libc.write(a, Buffer.from('ping'))).toBe(4);
    const received = Buffer.alloc(8);
    expect(libc.read(b, received)).toBe(4);
    expect(received.toString('latin1', 0, 4)).toBe('ping');
    expect(libc.shutdown(a, SHUT_WR)).toBe(0);
    expect(libc.read(b, received)).toBe(0);
  });

  it('get and set their flags through fcntl', () => {
    const fd = keep(libc.socket(AF_INET, SOCK_STREAM, 0));
    expect(libc.fcntl(fd, F_GETFD)).toBe(0);
    expect(libc.fcntl(fd, F_SETFD, FD_CLOEXEC)).toBe(0);
    expect(libc.fcntl(fd, F_GETFD)).toBe(FD_CLOEXEC);
    const flags = libc.fcntl(fd, F_GETFL);
    expect(flags & O_NONBLOCK).toBe(0);
    expect(libc.fcntl(fd, F_SETFL, flags | O_NONBLOCK)).toBe(0);
    expect(libc.fcntl(fd, F_GETFL)).toBe(flags | O_NONBLOCK);
  });

  it('say how much of an option they filled in, never more than there was room for', () => {
    const fd = keep(libc.socket(AF_INET, SOCK_STREAM, 0));
    const option = Buffer.alloc(64);
    expect(libc.getsockopt(fd, SOL_SOCKET, SO_TYPE, option)).toBe(4);
    expect(option.readInt32LE(0)).toBe(SOCK_STREAM);
    expect(libc.getsockopt(fd, SOL_SOCKET, SO_TYPE, option.subarray(0, 2))).toBe(2);
  });

  it('tell the own length of a datagram that is cut off, when asked to', () => {
    const [a, b] = pair(SOCK_DGRAM);
    libc.send(a, Buffer.alloc(100), 0);
    expect(libc.recv(b, memory, 0, 16, MSG_TRUNC)).toBe(100);
  });
});

describe('epollWait', () => {
  const events = new Memory(4 * LAYOUT.epollEvent.size);

  function epollOf(fd: number, mask: number): number {
    const epfd = keep(libc.epollCreate(EPOLL_CLOEXEC));
    events.buffer.writeUInt32LE(mask, 0);
    events.buffer.writeInt32LE(fd, LAYOUT.epollEvent.data);
    libc.check(libc.epollCtl(epfd, EPOLL_CTL_ADD, fd, events), 'epoll_ctl');
    return epfd;
  }

  it('reports what is ready, with the data it was registered with', () => {
    const [a, b] = pair();
    const epfd = epollOf(b, POLLIN);
    expect(libc.epollWait(epfd, events, 0)).toBe(0);
    libc.write(a, bytes);
    expect(libc.epollWait(epfd, events, 2000)).toBe(1);
    expect(events.buffer.readUInt32LE(0)).toBe(POLLIN);
    expect(events.buffer.readInt32LE(LAYOUT.epollEvent.data)).toBe(b);
  });

  it('does not take regular files', () => {
    const epfd = keep(libc.epollCreate(EPOLL_CLOEXEC));
    expect(libc.epollCtl(epfd, EPOLL_CTL_ADD, regularFile(), events)).toBe(-ERRNO.EPERM);
  });
});

describe('poll', () => {
  it('writes what is ready into its entries', () => {
    const [a, b] = pair();
    for (const [index, [fd, mask]] of [[a, POLLOUT] as const, [b, POLLIN] as const].entries()) {
      memory.buffer.writeInt32LE(fd, index * LAYOUT.pollfd);
      memory.buffer.writeInt16LE(mask, index * LAYOUT.pollfd + 4);
      memory.buffer.writeInt16LE(0, index * LAYOUT.pollfd + 6);
    }
    expect(libc.poll(memory, 2, 0)).toBe(1);
    expect(memory.buffer.readInt16LE(6)).toBe(POLLOUT);
    libc.write(a, bytes);
    expect(libc.poll(memory, 2, 0)).toBe(2);
    expect(memory.buffer.readInt16LE(LAYOUT.pollfd + 6)).toBe(POLLIN);
  });

  it('waits as long as it is told to when there is nothing to wait for', () => {
    const start = performance.now();
    expect(libc.poll(memory, 0, 20)).toBe(0);
    expect(performance.now() - start).toBeGreaterThan(18);
  });
});

describe('A signal', () => {
  it.each([
    ['epollWait', 'libc.epollWait(libc.epollCreate(0), memory, 6000)'],
    ['poll', 'libc.poll(memory, 0, 6000)'],
  ])('ends %s, and means that there are no events', async (_name, wait) => {
    const [status, output] = await runScript(`
      const libc = require(${LIBC});
      const { Memory } = require(${KOFFI});
      const memory = new Memory(48);
      process.on('SIGUSR2', () => {});
      const sender = 'while sleep 0.05; do kill -USR2 ' + process.pid + ' || exit; done';
      const child = require('node:child_process').spawn('sh', ['-c', sender]);
      const start = performance.now();
      const result = ${wait};
      const interrupted = performance.now() - start < 5000;
      child.kill('SIGKILL');
      console.log(JSON.stringify({ result, interrupted }));
    `);
    expect(output.trim()).toBe('{"result":0,"interrupted":true}');
    expect(status).toBe(0);
  });
});

describe('Opened files', () => {
  it('are closed by their number alone', () => {
    const fd = openSync(__filename, 'r');
    expect(libc.close(fd)).toBe(0);
    expect(() => closeSync(fd)).toThrow('EBADF');
  });
});
