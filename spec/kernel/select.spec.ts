// select() and Poller: waiting for descriptors without a channel map.

import { spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { open } from 'node:fs/promises';
import {
  AsyncChat,
  type Handled,
  MSG_OOB,
  POLLERR,
  POLLHUP,
  POLLIN,
  POLLNVAL,
  POLLOUT,
  POLLPRI,
  Poller,
  pipe,
  SHUT_WR,
  SOCK_DGRAM,
  Socket,
  select,
} from 'asyncore';
import { raw } from '../../lib/kernel/koffi';
import { ERRNO } from '../../lib/kernel/platform/linux';
import * as syscalls from '../../lib/kernel/syscalls';
import { drive, WAYS } from '../support/drive';
import { keep, keepFd, newMap } from '../support/keep';
import { QuietChat } from '../support/quiet-chat';
import { call, connection, pair } from '../support/sockets';

const F_DUPFD = 0;
/** No test waits for longer, whatever is wrong. */
const SOON = 5000;

/** A pipe that a child process writes to after `delay` ms, while this thread may be blocked. */
function writtenLater(delay: number): number {
  const [input, output] = pipe();
  const script = `sleep ${delay / 1000}; echo x`;
  spawn('sh', ['-c', script], { stdio: ['ignore', output, 'inherit'] });
  closeSync(output);
  return keepFd(input);
}

/** The number of a descriptor that is closed. */
function closedNumber(): number {
  const [a] = pair();
  const fd = a.fileno();
  a.close();
  return fd;
}

/** How many ms a call takes. */
function timeOf(run: () => unknown): number {
  const start = performance.now();
  run();
  return performance.now() - start;
}

/** The next call of poll(2) is interrupted by a signal. */
function interruptNextPoll(): jest.SpyInstance {
  const { poll, errno } = raw;
  let interrupted = false;
  jest.spyOn(raw, 'errno').mockImplementation(() => {
    const was = interrupted;
    interrupted = false;
    return was ? ERRNO.EINTR : errno();
  });
  const spy = jest.spyOn(raw, 'poll');
  return spy
    .mockImplementation((...args) => poll(...args))
    .mockImplementationOnce(() => {
      interrupted = true;
      return -1;
    });
}

describe('select', () => {
  it('returns the objects that are ready, of each kind, in the order that they were passed', () => {
    const [a, b] = pair();
    const [c, d] = pair();
    b.send(Buffer.from('x'));
    d.send(Buffer.from('x'));
    const holder = { fd: c.fileno() };
    const channel = new QuietChat(a, newMap());
    const readers = [b, holder, channel, a.fileno(), d, c];
    expect(select(readers, [channel, b], [a, b], SOON)).toEqual([
      [holder, channel, a.fileno(), c],
      [channel, b],
      [],
    ]);
    // The program's own objects, and no others that look alike.
    expect(select([holder], [], [], SOON)[0][0]).toBe(holder);
  });

  it('keeps what is passed twice', () => {
    const [a, b] = pair();
    b.send(Buffer.from('x'));
    expect(select([a, b, a], [a, a], [], SOON)).toEqual([[a, a], [a, a], []]);
  });

  it('takes any iterable, and any number of descriptors', () => {
    const pairs = Array.from({ length: 200 }, () => pair());
    const writers = new Set(pairs.map(([a]) => a));
    for (const [index, [, b]] of pairs.entries()) if (index % 2 === 0) b.send(Buffer.from('x'));
    const readers = new Map(pairs.map(([a], index) => [index, a]));
    const [readable, writable] = select(readers.values(), writers, [], SOON);
    expect(readable).toEqual(pairs.filter((_, index) => index % 2 === 0).map(([a]) => a));
    expect(writable).toHaveLength(200);
  });

  it('takes a FileHandle', async () => {
    const handle = await open('/dev/null', 'r+');
    try {
      expect(select([handle], [handle], [], SOON)).toEqual([[handle], [handle], []]);
    } finally {
      await handle.close();
    }
  });

  it('takes a number beyond the limit of select(2), 1024', () => {
    const [a, b] = pair();
    const fd = keepFd(syscalls.check(syscalls.fcntl(a.fileno(), F_DUPFD, 3000), 'fcntl'));
    expect(fd).toBeGreaterThanOrEqual(3000);
    b.send(Buffer.from('x'));
    expect(select([fd], [], [], SOON)).toEqual([[fd], [], []]);
  });

  describe('takes for readable', () => {
    it('the end of the stream', () => {
      const [a, b] = pair();
      b.shutdown(SHUT_WR);
      expect(select([a], [], [a], SOON)).toEqual([[a], [], []]);
    });

    it('a connection that waits to be accepted', () => {
      const listener = keep(Socket.socket());
      listener.bind({ host: '127.0.0.1', port: 0 });
      listener.listen();
      expect(select([listener], [], [], 0)).toEqual([[], [], []]);
      call(listener.getSockName());
      expect(select([listener], [], [], SOON)).toEqual([[listener], [], []]);
    });

    it('an error, which counts as writable as well: a connect that was refused', () => {
      const free = keep(Socket.socket());
      free.bind({ host: '127.0.0.1', port: 0 });
      const caller = call(free.getSockName());
      expect(select([caller], [caller], [caller], SOON)).toEqual([[caller], [caller], []]);
    });

    it('the hang-up of a pipe, whose other end is writable by its error', () => {
      const [input, output] = pipe();
      keepFd(input);
      closeSync(output);
      expect(select([input], [], [], SOON)).toEqual([[input], [], []]);
      const [unread, written] = pipe();
      keepFd(written);
      closeSync(unread);
      expect(select([], [written], [written], SOON)).toEqual([[], [written], []]);
    });
  });

  it('takes a full socket for not writable', () => {
    const [a, b] = pair();
    while (a.send(Buffer.alloc(65_536)) !== null);
    expect(select([], [a], [], 0)).toEqual([[], [], []]);
    while ((b.recv(65_536)?.length ?? 0) > 0);
    expect(select([], [a], [], SOON)).toEqual([[], [a], []]);
  });

  it('takes urgent data for exceptional', () => {
    const [caller, accepted] = connection();
    expect(select([], [], [accepted], 0)).toEqual([[], [], []]);
    caller.send(Buffer.from('!'), MSG_OOB);
    const [, , exceptional] = select([], [], [accepted], SOON);
    expect(exceptional).toEqual([accepted]);
  });

  it('does not take a hang-up for exceptional: it waits on, and does not spin', () => {
    const [a, b] = pair();
    b.close();
    const [c, d] = pair();
    const polls = jest.spyOn(raw, 'poll');
    const empty = [[], [], []];
    let result: unknown;
    expect(timeOf(() => (result = select([c], [], [a], 150)))).toBeGreaterThanOrEqual(149);
    expect(result).toEqual(empty);
    expect(polls.mock.calls.length).toBeLessThan(10);
    d.send(Buffer.from('x'));
    expect(select([c], [], [a], SOON)).toEqual([[c], [], []]);
  });

  describe('waits', () => {
    it.each([
      [0, 0],
      [0.2, 0.2],
      [30, 29],
    ])('%d ms, rounded up, for nothing at all', (timeout, least) => {
      const [a] = pair();
      let result: unknown;
      expect(timeOf(() => (result = select([a], [], [a], timeout)))).toBeGreaterThanOrEqual(least);
      expect(result).toEqual([[], [], []]);
    });

    it('as a sleep, with three empty lists', () => {
      let result: unknown;
      expect(timeOf(() => (result = select([], [], [], 30)))).toBeGreaterThanOrEqual(29);
      expect(result).toEqual([[], [], []]);
    });

    it.each([[undefined], [null], [Infinity], [2 ** 40]])('without end, with %p', (timeout) => {
      const input = writtenLater(50);
      expect(select([input], [], [], timeout)).toEqual([[input], [], []]);
    });

    it('the rest of the time, after a signal', () => {
      const [a] = pair();
      const polls = interruptNextPoll();
      let result: unknown;
      expect(timeOf(() => (result = select([a], [], [], 50)))).toBeGreaterThanOrEqual(49);
      expect(result).toEqual([[], [], []]);
      expect(polls.mock.calls[0]?.[2]).toBe(50);
    });

    it('and looks once more, where the signal came at the end', () => {
      const [a, b] = pair();
      b.send(Buffer.from('x'));
      interruptNextPoll();
      expect(select([a], [], [], 0.001)).toEqual([[a], [], []]);
    });
  });

  describe('refuses', () => {
    it.each<[string, () => unknown, object]>([
      [
        'a negative timeout',
        () => select([], [], [], -1),
        new RangeError('Cannot select: expected a timeout of 0 ms or more, received -1'),
      ],
      [
        'NaN',
        () => select([], [], [], Number.NaN),
        new RangeError('Cannot select: expected a timeout in milliseconds, received NaN'),
      ],
      [
        'text for a timeout',
        () => select([], [], [], '5' as never),
        new TypeError("Cannot select: expected a timeout in milliseconds, received '5'"),
      ],
      [
        'what is no iterable',
        () => select(5 as never, [], [], 0),
        new TypeError('Cannot select: expected an iterable of descriptors, received 5'),
      ],
      [
        'null for a list',
        () => select([], null as never, [], 0),
        new TypeError('Cannot select: expected an iterable of descriptors, received null'),
      ],
      [
        'what has no descriptor',
        () => select([], [], [{}] as never, 0),
        new TypeError('Cannot select: expected a descriptor, received {}'),
      ],
      [
        'a negative descriptor',
        () => select([-1], [], [], 0),
        new RangeError('Cannot select: expected a file descriptor, received -1'),
      ],
      [
        'no integer',
        () => select([], [1.5], [], 0),
        new RangeError('Cannot select: expected a file descriptor, received 1.5'),
      ],
    ])('%s', (_, run, error) => {
      expect(run).toThrow(error as Error);
      expect(run).toThrow(
        expect.objectContaining({
          code: expect.stringMatching(/^ERR_(INVALID_ARG_TYPE|OUT_OF_RANGE)$/),
        }),
      );
    });

    it('a number that is not open, which it names', () => {
      const fd = closedNumber();
      const [a] = pair();
      const other = a.fileno() === fd ? closedNumber() : fd;
      expect(() => select([a], [], [other], 0)).toThrow(
        expect.objectContaining({
          name: 'SocketError',
          code: 'EBADF',
          errno: ERRNO.EBADF,
          syscall: 'select',
          message: `EBADF: Bad file descriptor (fd ${other}), select`,
        }),
      );
    });

    it('a closed socket, and a closed channel', () => {
      const [a, b] = pair();
      const channel = new QuietChat(b, newMap());
      a.close();
      channel.close();
      for (const closed of [a, channel]) {
        expect(() => select([closed], [], [], 0)).toThrow(
          expect.objectContaining({
            name: 'RangeError',
            code: 'EBADF',
            message: expect.stringMatching(
              /^Cannot select: expected an open descriptor, received </,
            ),
          }),
        );
      }
    });
  });

  describe.each(WAYS)('within a handler (%s)', (_, how) => {
    class Asking extends AsyncChat {
      seen: unknown;
      readonly ask: (chat: Asking) => unknown;
      constructor(socket: Socket, ask: (chat: Asking) => unknown) {
        super(socket, newMap());
        this.setTerminator('\n');
        this.ask = ask;
      }
      override collectIncomingData(): Handled {}
      override foundTerminator(): Handled {
        try {
          this.seen ??= this.ask(this);
        } catch (error) {
          this.seen = error;
        }
      }
    }

    async function seen(text: string, ask: (chat: Asking, peer: Socket) => unknown, gone = false) {
      const [own, peer] = pair();
      const chat = new Asking(own, (self) => ask(self, peer));
      peer.send(Buffer.from(text));
      if (gone) peer.close();
      await drive(how, () => chat.seen !== undefined, { map: chat.map });
      return chat.seen;
    }

    it('sends what was pushed before it waits', async () => {
      const answer = await seen('question\n', (chat, peer) => {
        chat.push('answer');
        const [readable] = select([peer], [], [], SOON);
        return [readable.length, peer.recv(100)?.toString()];
      });
      expect(answer).toEqual([1, 'answer']);
    });

    it('reads no number before that: sending may close a channel', async () => {
      const error = await seen(
        'question\n',
        (chat) => {
          chat.push('to nobody');
          return select([chat], [], [], SOON);
        },
        true,
      );
      expect(error).toMatchObject({ name: 'RangeError', code: 'EBADF' });
    });

    it('does not see what a chat has received already', async () => {
      const answer = await seen('one\ntwo\n', (chat) => select([chat], [], [], 0));
      expect(answer).toEqual([[], [], []]);
    });
  });
});

describe('Poller', () => {
  it('reports what is ready, and why, in the order of register', () => {
    const poller = new Poller();
    const [a, b] = pair();
    const [c, d] = pair();
    b.send(Buffer.from('x'));
    poller.register(d, POLLIN);
    poller.register(c);
    poller.register(a);
    poller.register(b, POLLOUT);
    const [first, second, third] = [c, a, b].map((socket) => socket.fileno());
    expect(poller.poll(SOON)).toEqual([
      [first, POLLOUT],
      [second, POLLIN | POLLOUT],
      [third, POLLOUT],
    ]);
    // The last one does not move into the gap.
    poller.unregister(c);
    expect(poller.poll(SOON)).toEqual([
      [second, POLLIN | POLLOUT],
      [third, POLLOUT],
    ]);
    // Registered anew, it comes last.
    poller.register(c, POLLOUT);
    expect(poller.poll(SOON).map(([fd]) => fd)).toEqual([second, third, first]);
  });

  it('watches for what the latest register, or modify, has said', () => {
    const poller = new Poller();
    const [a, b] = pair();
    poller.register(a, POLLOUT);
    poller.register(a.fileno(), POLLIN);
    expect(poller.poll(0)).toEqual([]);
    poller.modify({ fd: a.fileno() }, POLLOUT);
    expect(poller.poll(SOON)).toEqual([[a.fileno(), POLLOUT]]);
    b.close();
    poller.modify(a, 0);
    expect(poller.poll(SOON)).toEqual([[a.fileno(), POLLHUP]]);
    poller.unregister(a);
    expect(poller.poll(0)).toEqual([]);
  });

  it('watches for everything by default, urgent data included', () => {
    const [caller, accepted] = connection();
    const poller = new Poller();
    poller.register(accepted);
    caller.send(Buffer.from('!'), MSG_OOB);
    select([], [], [accepted], SOON);
    const [[fd, events]] = poller.poll(SOON) as [[number, number]];
    expect(fd).toBe(accepted.fileno());
    expect(events & (POLLPRI | POLLOUT)).toBe(POLLPRI | POLLOUT);
  });

  it('reports an error, and a number that was closed, at every poll', () => {
    const poller = new Poller();
    const [unread, written] = pipe();
    keepFd(written);
    closeSync(unread);
    poller.register(written, POLLIN);
    expect(poller.poll(SOON)).toEqual([[written, POLLERR]]);
    poller.unregister(written);
    const fd = openSync('/dev/null', 'r');
    poller.register(fd, POLLIN);
    closeSync(fd);
    expect(poller.poll(SOON)).toEqual([[fd, POLLNVAL]]);
    expect(poller.poll(SOON)).toEqual([[fd, POLLNVAL]]);
  });

  it.each([
    [0, 0],
    [0.2, 0.2],
    [30, 29],
  ])('waits %d ms, rounded up, for nothing at all', (timeout, least) => {
    const poller = new Poller();
    const datagrams = pair(SOCK_DGRAM);
    poller.register(datagrams[0], POLLIN);
    let result: unknown;
    expect(timeOf(() => (result = poller.poll(timeout)))).toBeGreaterThanOrEqual(least);
    expect(result).toEqual([]);
  });

  it.each([[undefined], [null], [-1], [Infinity]])('waits without end, with %p', (timeout) => {
    const poller = new Poller();
    const input = writtenLater(50);
    poller.register(input, POLLIN);
    expect(poller.poll(timeout)).toEqual([[input, expect.any(Number)]]);
  });

  it('waits on after a signal', () => {
    const poller = new Poller();
    poller.register(writtenLater(50), POLLIN);
    interruptNextPoll();
    expect(poller.poll(SOON)).toHaveLength(1);
  });

  it.each<[string, (poller: Poller) => void]>([
    ['modify', (poller) => poller.modify(7, POLLIN)],
    ['unregister', (poller) => poller.unregister(7)],
  ])('%s refuses a descriptor that is not registered', (name, run) => {
    expect(() => run(new Poller())).toThrow(
      expect.objectContaining({
        name: 'RangeError',
        code: 'ENOENT',
        errno: ERRNO.ENOENT,
        message: `Cannot ${name}: expected a registered descriptor, received 7`,
      }),
    );
  });

  it.each<[string, (poller: Poller) => void, string]>([
    [
      'a negative descriptor',
      (poller) => poller.register(-1),
      'Cannot register: expected a file descriptor, received -1',
    ],
    [
      'what has none',
      (poller) => poller.register({} as never),
      'Cannot register: expected a descriptor, received {}',
    ],
    [
      'a mask that is none',
      (poller) => poller.register(0, 0x8000),
      'Cannot register: expected a mask of events to be an integer from 0 to 32767, received 32768',
    ],
    [
      'no mask, to change it to',
      (poller) => {
        poller.register(0);
        poller.modify(0, undefined as never);
      },
      'Cannot modify: expected a mask of events to be an integer from 0 to 32767, received undefined',
    ],
    [
      'NaN for a timeout',
      (poller) => void poller.poll(Number.NaN),
      'Cannot poll: expected a timeout in milliseconds, received NaN',
    ],
  ])('refuses %s', (_, run, message) => {
    expect(() => run(new Poller())).toThrow(message);
  });

  it('refuses a closed socket, and lets its number go', () => {
    const [a] = pair();
    const fd = a.fileno();
    const poller = new Poller();
    poller.register(a, POLLIN);
    a.close();
    expect(() => poller.unregister(a)).toThrow(expect.objectContaining({ code: 'EBADF' }));
    poller.unregister(fd);
    expect(poller.poll(0)).toEqual([]);
  });

  it.each(WAYS)('sends what a handler has pushed before it waits (%s)', async (_, how) => {
    const [a, peer] = pair();
    const poller = new Poller();
    poller.register(peer, POLLIN);
    let answer: unknown;
    const chat = new QuietChat(a, newMap());
    chat.setTerminator('\n');
    chat.foundTerminator = () => {
      chat.push('answer');
      answer = poller.poll(SOON);
    };
    peer.send(Buffer.from('\n'));
    await drive(how, () => answer !== undefined, { map: chat.map });
    expect(answer).toEqual([[peer.fileno(), POLLIN]]);
  });
});
