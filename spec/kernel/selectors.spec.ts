// One body for every selector, as the contract in lib/kernel/selectors/selector.ts is one. Where the kernel
// makes them differ stands at the end, with the reason.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readdirSync, readlinkSync, writeFileSync } from 'node:fs';
import {
  FileWrapper,
  MSG_OOB,
  POLLERR,
  POLLHUP,
  POLLIN,
  POLLNVAL,
  POLLOUT,
  POLLPRI,
  SHUT_RDWR,
  SHUT_WR,
  type Socket,
} from 'asyncore';
import { PollHandle } from '../../lib/kernel/poll-handle';
import { createSelector, type Selector } from '../../lib/kernel/selectors';
import { EpollSelector } from '../../lib/kernel/selectors/epoll';
import { IntervalPoller } from '../../lib/kernel/selectors/interval';
import { PollSelector } from '../../lib/kernel/selectors/poll';
import { temporaryPath } from '../support/drive';
import { connection, pair } from '../support/sockets';

const BYTE = Buffer.from('x');

const selectors: Selector[] = [];
const files: number[] = [];

/** A regular file of a few bytes. */
function regularFile(): number {
  const path = temporaryPath('file');
  writeFileSync(path, 'contents');
  const fd = openSync(path, 'r+');
  files.push(fd);
  return fd;
}

/** A directory, which epoll refuses as it does a file. */
function directory(): number {
  const fd = openSync('/', 'r');
  files.push(fd);
  return fd;
}

/** A number that no open file has. */
function closedNumber(): number {
  const fd = openSync('/dev/null', 'r');
  closeSync(fd);
  return fd;
}

/** Fills `socket` until the kernel takes no more. */
function fill(socket: Socket): void {
  const block = Buffer.alloc(65536);
  while (socket.send(block) !== null);
}

/** What one look finds, by fd. */
function look(selector: Selector, timeout = 0): [fd: number, mask: number][] {
  const count = selector.select(timeout);
  const found: [number, number][] = [];
  for (let index = 0; index < count; index += 1) {
    found.push([selector.fds[index] as number, selector.masks[index] as number]);
  }
  return found.sort(([one], [other]) => one - other);
}

/** Children that end one after the other. Each end is a SIGCHLD, which Node handles. */
function signals(): Promise<unknown> {
  const ends = [0.05, 0.1, 0.2, 0.4].map((seconds) => {
    const child = spawn('sleep', [String(seconds)], { stdio: 'ignore' });
    return once(child, 'exit');
  });
  return Promise.all(ends);
}

/** Has Node's loop call `wake` while something is ready, by the descriptor where there is one. */
function watched(selector: Selector, wake: () => void): { close(): void } {
  return selector.fd === -1
    ? new IntervalPoller(() => selector.select(0) > 0, wake)
    : new PollHandle(selector.fd, { readable: true, writable: false }, wake);
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Turns of Node's loop until `done()`, for two seconds at most. */
async function turnsUntil(done: () => boolean): Promise<void> {
  for (const end = Date.now() + 2000; !done() && Date.now() < end; ) await turn();
  expect(done()).toBe(true);
}

const countEpolls = (): number =>
  readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).includes('eventpoll');
    } catch {
      return false;
    }
  }).length;

afterEach(() => {
  for (const selector of selectors.splice(0)) selector.close();
  for (const fd of files.splice(0)) closeSync(fd);
  jest.restoreAllMocks();
});

const CASES: ['epoll' | 'poll', new () => Selector][] = [
  ['epoll', EpollSelector],
  ['poll', PollSelector],
];

describe.each(CASES)('the %s selector', (name, Implementation) => {
  function open(): Selector {
    const selector = new Implementation();
    selectors.push(selector);
    return selector;
  }

  it('has its name', () => {
    expect(open().name).toBe(name);
  });

  it('finds nothing when nothing is registered', () => {
    const selector = open();
    expect(selector.select(0)).toBe(0);
  });

  describe('register', () => {
    it('starts to watch for input', () => {
      const selector = open();
      const [a, b] = pair();
      selector.register(a.fileno(), POLLIN);
      expect(look(selector)).toEqual([]);
      b.send(BYTE);
      expect(look(selector)).toEqual([[a.fileno(), POLLIN]]);
    });

    it('starts to watch for room for output', () => {
      const selector = open();
      const [a, b] = pair();
      fill(a);
      selector.register(a.fileno(), POLLOUT);
      expect(look(selector)).toEqual([]);
      while (b.recv(65536) !== null);
      expect(look(selector)).toEqual([[a.fileno(), POLLOUT]]);
    });

    it('starts to watch for urgent data', () => {
      const selector = open();
      const [a, b] = connection();
      selector.register(a.fileno(), POLLIN | POLLPRI);
      expect(look(selector)).toEqual([]);
      b.send(BYTE, MSG_OOB);
      expect(look(selector, 2000)).toEqual([[a.fileno(), POLLPRI]]);
    });

    it('reports of each only what it was registered for', () => {
      const selector = open();
      const [a, b] = pair();
      a.send(BYTE);
      b.send(BYTE);
      selector.register(a.fileno(), POLLIN);
      selector.register(b.fileno(), POLLOUT);
      expect(look(selector)).toEqual([
        [a.fileno(), POLLIN],
        [b.fileno(), POLLOUT],
      ]);
    });

    it('reports all that is ready in one mask', () => {
      const selector = open();
      const [a, b] = pair();
      b.send(BYTE);
      selector.register(a.fileno(), POLLIN | POLLOUT | POLLPRI);
      expect(look(selector)).toEqual([[a.fileno(), POLLIN | POLLOUT]]);
    });

    it('takes a number over that is registered already', () => {
      const selector = open();
      const [a, b] = pair();
      b.send(BYTE);
      selector.register(a.fileno(), POLLOUT);
      selector.register(a.fileno(), POLLIN);
      expect(look(selector)).toEqual([[a.fileno(), POLLIN]]);
      selector.unregister(a.fileno());
      expect(look(selector)).toEqual([]);
    });

    it('has room for more than the first room', () => {
      const selector = open();
      const pairs = Array.from({ length: 200 }, pair);
      for (const [a, b] of pairs) {
        selector.register(a.fileno(), POLLIN);
        selector.register(b.fileno(), POLLIN | POLLOUT);
        b.send(BYTE);
      }
      expect(look(selector)).toEqual(
        pairs
          .flatMap(([a, b]): [number, number][] => [
            [a.fileno(), POLLIN],
            [b.fileno(), POLLOUT],
          ])
          .sort(([one], [other]) => one - other),
      );
      // And back again, from the middle.
      const left = pairs.filter((_, index) => index % 3 === 0);
      for (const [a, b] of pairs) {
        selector.unregister(b.fileno());
        if (!left.some(([other]) => other === a)) selector.unregister(a.fileno());
      }
      expect(look(selector)).toEqual(
        left
          .map(([a]): [number, number] => [a.fileno(), POLLIN])
          .sort(([one], [other]) => one - other),
      );
    });
  });

  describe('modify', () => {
    it('changes what is watched for', () => {
      const selector = open();
      const [a, b] = pair();
      b.send(BYTE);
      selector.register(a.fileno(), POLLIN);
      selector.modify(a.fileno(), POLLOUT);
      expect(look(selector)).toEqual([[a.fileno(), POLLOUT]]);
      selector.modify(a.fileno(), POLLIN | POLLOUT);
      expect(look(selector)).toEqual([[a.fileno(), POLLIN | POLLOUT]]);
    });

    it('watches a number again that was closed and opened meanwhile', () => {
      const selector = open();
      const [a, b] = pair();
      const fd = a.fileno();
      selector.register(fd, POLLIN);
      a.close();
      const [c, d] = pair();
      expect(c.fileno()).toBe(fd);
      d.send(BYTE);
      selector.modify(fd, POLLIN | POLLOUT);
      expect(look(selector)).toEqual([[fd, POLLIN | POLLOUT]]);
      b.close();
    });
  });

  describe('unregister', () => {
    it('stops watching', () => {
      const selector = open();
      const [a, b] = pair();
      b.send(BYTE);
      selector.register(a.fileno(), POLLIN);
      selector.register(b.fileno(), POLLOUT);
      selector.unregister(a.fileno());
      expect(look(selector)).toEqual([[b.fileno(), POLLOUT]]);
    });

    it('is silent about a descriptor that is not registered', () => {
      const selector = open();
      const [a] = pair();
      selector.unregister(a.fileno());
      selector.register(a.fileno(), POLLOUT);
      selector.unregister(a.fileno());
      selector.unregister(a.fileno());
      expect(look(selector)).toEqual([]);
    });

    it('is silent about a number that is closed', () => {
      const selector = open();
      const fd = closedNumber();
      selector.unregister(fd);
      const [a] = pair();
      const own = a.fileno();
      selector.register(own, POLLOUT);
      a.close();
      selector.unregister(own);
      expect(look(selector)).toEqual([]);
    });

    it('takes nothing of the room of others, whatever it was called with', () => {
      const selector = open();
      const fd = closedNumber();
      for (let times = 0; times < 200; times += 1) selector.unregister(fd);
      const pairs = Array.from({ length: 100 }, pair);
      for (const [a] of pairs) selector.register(a.fileno(), POLLOUT);
      expect(selector.select(0)).toBe(100);
    });

    it('lets the number be registered again', () => {
      const selector = open();
      const [a, b] = pair();
      selector.register(a.fileno(), POLLIN);
      selector.unregister(a.fileno());
      b.send(BYTE);
      selector.register(a.fileno(), POLLIN);
      expect(look(selector)).toEqual([[a.fileno(), POLLIN]]);
    });

    it('forgets an open file whose number is about to be closed, though a duplicate stays open', () => {
      const selector = open();
      const [a, b] = pair();
      const fd = a.fileno();
      const duplicate = new FileWrapper(fd);
      selector.register(fd, POLLIN);
      selector.unregister(fd);
      b.send(BYTE);
      a.close();
      expect(look(selector)).toEqual([]);
      duplicate.close();
    });
  });

  describe('results', () => {
    it('are a level, not an edge', () => {
      const selector = open();
      const [a, b] = pair();
      b.send(Buffer.from('ab'));
      selector.register(a.fileno(), POLLIN);
      expect(look(selector)).toEqual([[a.fileno(), POLLIN]]);
      expect(look(selector)).toEqual([[a.fileno(), POLLIN]]);
      a.recv(1);
      expect(look(selector)).toEqual([[a.fileno(), POLLIN]]);
      a.recv(1);
      expect(look(selector)).toEqual([]);
    });

    it('stay until the next select, whatever is registered or unregistered in between', () => {
      const selector = open();
      const pairs = Array.from({ length: 3 }, pair);
      for (const [a] of pairs) selector.register(a.fileno(), POLLOUT);
      expect(selector.select(0)).toBe(3);
      const before = selector.fds.slice(0, 3);
      expect([...before].sort((a, b) => a - b)).toEqual(
        pairs.map(([a]) => a.fileno()).sort((a, b) => a - b),
      );
      for (const [a] of pairs) selector.unregister(a.fileno());
      const many = Array.from({ length: 100 }, pair);
      for (const [, b] of many) selector.register(b.fileno(), POLLIN);
      expect(selector.fds.slice(0, 3)).toEqual(before);
      expect(selector.masks.slice(0, 3)).toEqual([POLLOUT, POLLOUT, POLLOUT]);
    });

    it('include a hang-up that was not asked for', () => {
      const selector = open();
      const [a, b] = pair();
      selector.register(a.fileno(), POLLOUT);
      b.close();
      expect(look(selector)).toEqual([[a.fileno(), POLLOUT | POLLHUP]]);
    });

    it('show a hang-up beside the input that is still unread', () => {
      const selector = open();
      const [a, b] = pair();
      selector.register(a.fileno(), POLLIN);
      b.send(BYTE);
      b.close();
      expect(look(selector)).toEqual([[a.fileno(), POLLIN | POLLHUP]]);
    });

    it('show the end of one direction as input alone', () => {
      const selector = open();
      const [a, b] = pair();
      selector.register(a.fileno(), POLLIN);
      b.shutdown(SHUT_WR);
      expect(look(selector)).toEqual([[a.fileno(), POLLIN]]);
    });

    it('include an error that was not asked for', () => {
      const selector = open();
      const [a, b] = pair();
      selector.register(a.fileno(), POLLPRI);
      // Closed with our byte unread: a reset.
      a.send(BYTE);
      b.close();
      expect(look(selector)).toEqual([[a.fileno(), POLLERR | POLLHUP]]);
    });
  });

  describe('the timeout', () => {
    it('of 0 only looks', () => {
      const selector = open();
      const [a] = pair();
      selector.register(a.fileno(), POLLIN);
      const begin = performance.now();
      expect(selector.select(0)).toBe(0);
      expect(performance.now() - begin).toBeLessThan(1000);
    });

    it('is waited for to its end when nothing happens', () => {
      const selector = open();
      const [a] = pair();
      selector.register(a.fileno(), POLLIN);
      const begin = performance.now();
      expect(selector.select(50)).toBe(0);
      expect(performance.now() - begin).toBeGreaterThanOrEqual(49);
    });

    it('is waited for without anything registered, too', () => {
      const begin = performance.now();
      expect(open().select(30)).toBe(0);
      expect(performance.now() - begin).toBeGreaterThanOrEqual(29);
    });

    it('is cut short by what is ready', () => {
      const selector = open();
      const [a] = pair();
      selector.register(a.fileno(), POLLOUT);
      const begin = performance.now();
      expect(selector.select(5000)).toBe(1);
      expect(performance.now() - begin).toBeLessThan(4000);
    });

    it('of -1 has no end of its own', () => {
      const selector = open();
      const [a] = pair();
      selector.register(a.fileno(), POLLOUT);
      expect(selector.select(-1)).toBe(1);
    });

    it('is cut short by a signal, which is no event', async () => {
      const selector = open();
      const [a] = pair();
      selector.register(a.fileno(), POLLIN);
      const done = signals();
      const begin = performance.now();
      expect(selector.select(8000)).toBe(0);
      expect(performance.now() - begin).toBeLessThan(6000);
      await done;
    });
  });

  describe('watch', () => {
    it('has Node call wake while something is ready, and not when nothing is', async () => {
      const selector = open();
      const [a, b] = pair();
      selector.register(a.fileno(), POLLIN);
      let wakes = 0;
      const watch = watched(selector, () => {
        wakes += 1;
      });
      for (let turns = 0; turns < 20; turns += 1) await turn();
      expect(wakes).toBe(0);
      b.send(BYTE);
      await turnsUntil(() => wakes > 5);
      a.recv(10);
      await turn();
      const quiet = wakes;
      for (let turns = 0; turns < 20; turns += 1) await turn();
      expect(wakes).toBe(quiet);
      b.send(BYTE);
      await turnsUntil(() => wakes > quiet);
      watch.close();
    });

    it('hears of what is registered, modified and unregistered while it is open', async () => {
      const selector = open();
      const [a, b] = pair();
      let wakes = 0;
      const watch = watched(selector, () => {
        wakes += 1;
      });
      b.send(BYTE);
      selector.register(a.fileno(), POLLIN);
      await turnsUntil(() => wakes > 0);
      fill(a);
      selector.modify(a.fileno(), POLLOUT);
      await turn();
      let before = wakes;
      for (let turns = 0; turns < 20; turns += 1) await turn();
      expect(wakes).toBe(before);
      while (b.recv(65536) !== null);
      await turnsUntil(() => wakes > before);
      selector.unregister(a.fileno());
      await turn();
      before = wakes;
      for (let turns = 0; turns < 20; turns += 1) await turn();
      expect(wakes).toBe(before);
      watch.close();
    });

    it('ends with its close, which may be called twice', async () => {
      const selector = open();
      const [a] = pair();
      selector.register(a.fileno(), POLLOUT);
      let wakes = 0;
      const watch = watched(selector, () => {
        wakes += 1;
      });
      await turnsUntil(() => wakes > 0);
      watch.close();
      watch.close();
      const before = wakes;
      for (let turns = 0; turns < 20; turns += 1) await turn();
      expect(wakes).toBe(before);
      // What is registered stays so.
      expect(look(selector)).toEqual([[a.fileno(), POLLOUT]]);
    });

    it('can be opened again', async () => {
      const selector = open();
      const [a] = pair();
      selector.register(a.fileno(), POLLOUT);
      watched(selector, () => {}).close();
      let wakes = 0;
      const watch = watched(selector, () => {
        wakes += 1;
      });
      await turnsUntil(() => wakes > 0);
      watch.close();
    });

    it('goes on waking for a hang-up that is not dealt with', async () => {
      const selector = open();
      const [a, b] = pair();
      selector.register(a.fileno(), POLLIN);
      let wakes = 0;
      const watch = watched(selector, () => {
        wakes += 1;
      });
      b.close();
      await turnsUntil(() => wakes > 5);
      watch.close();
    });

    it('goes on waking for an error that is not dealt with', async () => {
      const selector = open();
      const [a, b] = pair();
      fill(a);
      selector.register(a.fileno(), POLLIN | POLLOUT);
      let wakes = 0;
      const watch = watched(selector, () => {
        wakes += 1;
      });
      b.close();
      expect((look(selector)[0]?.[1] ?? 0) & POLLERR).toBe(POLLERR);
      await turnsUntil(() => wakes > 5);
      watch.close();
    });

    it('wakes for urgent data', async () => {
      const selector = open();
      const [a, b] = connection();
      selector.register(a.fileno(), POLLIN | POLLPRI);
      let wakes = 0;
      const watch = watched(selector, () => {
        wakes += 1;
      });
      b.send(BYTE, MSG_OOB);
      await turnsUntil(() => wakes > 0);
      watch.close();
    });
  });

  describe('close', () => {
    it('may be called twice', () => {
      const selector = open();
      selector.close();
      selector.close();
    });

    it('comes after the close of what watches it', async () => {
      const selector = open();
      const [a] = pair();
      selector.register(a.fileno(), POLLOUT);
      let wakes = 0;
      const watch = watched(selector, () => {
        wakes += 1;
      });
      // In the order in which a loop gives them back.
      watch.close();
      selector.close();
      for (let turns = 0; turns < 5; turns += 1) await turn();
      expect(wakes).toBe(0);
    });

    it('gives back what it has opened, and leaves alone what it was told to watch', () => {
      const before = countEpolls();
      const selector = new Implementation();
      const [a, b] = pair();
      selector.register(a.fileno(), POLLIN | POLLOUT);
      selector.select(0);
      selector.close();
      expect(countEpolls()).toBe(before);
      b.send(BYTE);
      expect(a.recv(10)).toEqual(BYTE);
    });

    it('leaves nothing to select from', () => {
      const selector = open();
      selector.close();
      expect(() => selector.select(0)).toThrow();
    });
  });
});

describe('what the kernel makes different', () => {
  it('epoll: a closed number cannot be registered', () => {
    const selector = new EpollSelector();
    selectors.push(selector);
    expect(() => selector.register(closedNumber(), POLLIN)).toThrow(
      expect.objectContaining({ code: 'EBADF', syscall: 'epoll_ctl' }),
    );
  });

  it('epoll: a closed number cannot be modified', () => {
    const selector = new EpollSelector();
    selectors.push(selector);
    const [a] = pair();
    const fd = a.fileno();
    selector.register(fd, POLLIN);
    a.close();
    expect(() => selector.modify(fd, POLLOUT)).toThrow(expect.objectContaining({ code: 'EBADF' }));
  });

  it('epoll: a number that is closed while registered is forgotten without a word', () => {
    const selector = new EpollSelector();
    selectors.push(selector);
    const [a] = pair();
    selector.register(a.fileno(), POLLOUT);
    a.close();
    expect(look(selector)).toEqual([]);
  });

  it('epoll: what cannot be watched at all is an error of the call', () => {
    const selector = new EpollSelector();
    selectors.push(selector);
    const own = Math.max(
      ...readdirSync('/proc/self/fd')
        .map(Number)
        .filter((fd) => {
          try {
            return readlinkSync(`/proc/self/fd/${fd}`).includes('eventpoll');
          } catch {
            return false;
          }
        }),
    );
    expect(() => selector.register(own, POLLIN)).toThrow(
      expect.objectContaining({ code: 'EINVAL', syscall: 'epoll_ctl' }),
    );
  });

  it('epoll: a closed selector answers EBADF', () => {
    const selector = new EpollSelector();
    selector.close();
    expect(() => selector.select(0)).toThrow(/closed|EBADF|descriptor/);
  });

  // poll(2) is told of every number afresh, so it can say which of them mean nothing.
  it('poll: a closed number is reported, at every select, as POLLNVAL', () => {
    const selector = new PollSelector();
    selectors.push(selector);
    const fd = closedNumber();
    selector.register(fd, POLLIN);
    expect(look(selector)).toEqual([[fd, POLLNVAL]]);
    expect(look(selector)).toEqual([[fd, POLLNVAL]]);
    selector.unregister(fd);
    expect(look(selector)).toEqual([]);
  });

  it('poll: a number that is closed while registered is reported as POLLNVAL', () => {
    const selector = new PollSelector();
    selectors.push(selector);
    const [a] = pair();
    const fd = a.fileno();
    selector.register(fd, POLLOUT);
    a.close();
    expect(look(selector)).toEqual([[fd, POLLNVAL]]);
  });

  it('poll: a closed number keeps Node from sleeping until it is unregistered', async () => {
    const selector = new PollSelector();
    selectors.push(selector);
    const fd = closedNumber();
    let wakes = 0;
    const watch = watched(selector, () => {
      wakes += 1;
    });
    selector.register(fd, POLLIN);
    await turnsUntil(() => wakes > 5);
    selector.unregister(fd);
    await turn();
    const before = wakes;
    for (let turns = 0; turns < 20; turns += 1) await turn();
    expect(wakes).toBe(before);
    watch.close();
  });

  it.each([
    ['a regular file', regularFile],
    ['a directory', directory],
  ])('epoll: %s cannot be watched, and register says so', (_, openIt) => {
    const selector = new EpollSelector();
    selectors.push(selector);
    const fd = openIt();
    expect(selector.register(fd, POLLIN)).toBe(false);
    expect(look(selector)).toEqual([]);
    selector.unregister(fd);
    const [a] = pair();
    expect(selector.register(a.fileno(), POLLOUT)).toBe(true);
    expect(look(selector)).toEqual([[a.fileno(), POLLOUT]]);
  });

  it('epoll: a file under the number of a registered socket is not mistaken for it', () => {
    const selector = new EpollSelector();
    selectors.push(selector);
    const [a, b] = pair();
    const own = a.fileno();
    selector.register(own, POLLIN);
    const duplicate = new FileWrapper(own);
    a.close();
    const fd = regularFile();
    expect(fd).toBe(own);
    expect(selector.register(fd, POLLIN)).toBe(false);
    b.send(BYTE);
    expect(look(selector)).toEqual([]);
    duplicate.close();
  });

  it('epoll: a duplicate of a descriptor that was closed by its number is left out', () => {
    const selector = new EpollSelector();
    selectors.push(selector);
    const [a, b] = pair();
    const own = a.fileno();
    selector.register(own, POLLIN);
    const duplicate = new FileWrapper(own);
    a.close();
    const [c, d] = pair();
    expect(c.fileno()).toBe(own);
    selector.register(own, POLLIN);
    b.send(BYTE);
    expect(look(selector)).toEqual([]);
    d.send(BYTE);
    expect(look(selector)).toEqual([[own, POLLIN]]);
    duplicate.close();
  });

  describe('poll: a regular file', () => {
    function open(): Selector {
      const selector = new PollSelector();
      selectors.push(selector);
      return selector;
    }

    it.each([
      ['input', POLLIN],
      ['output', POLLOUT],
      ['both', POLLIN | POLLOUT],
    ])('is always ready for what it was registered for: %s', (_, mask) => {
      const selector = open();
      const fd = regularFile();
      expect(selector.register(fd, mask)).toBe(true);
      expect(look(selector)).toEqual([[fd, mask]]);
      expect(look(selector)).toEqual([[fd, mask]]);
    });

    it('has no urgent data', () => {
      const selector = open();
      const fd = regularFile();
      selector.register(fd, POLLIN | POLLPRI);
      expect(look(selector)).toEqual([[fd, POLLIN]]);
      selector.modify(fd, POLLOUT | POLLPRI);
      expect(look(selector)).toEqual([[fd, POLLOUT]]);
    });

    it('can be modified and unregistered', () => {
      const selector = open();
      const fd = regularFile();
      selector.register(fd, POLLIN);
      selector.modify(fd, POLLOUT);
      expect(look(selector)).toEqual([[fd, POLLOUT]]);
      selector.unregister(fd);
      expect(look(selector)).toEqual([]);
    });

    it('keeps a select from waiting, and leaves the others their turn', () => {
      const selector = open();
      const [a, b] = pair();
      const fd = regularFile();
      selector.register(fd, POLLIN);
      selector.register(a.fileno(), POLLIN);
      const begin = performance.now();
      expect(look(selector, 5000)).toEqual([[fd, POLLIN]]);
      expect(performance.now() - begin).toBeLessThan(4000);
      b.send(BYTE);
      expect(look(selector, 5000)).toEqual(
        [
          [fd, POLLIN],
          [a.fileno(), POLLIN],
        ].sort(([one], [other]) => (one as number) - (other as number)),
      );
    });

    it('keeps Node from sleeping, though Node itself cannot watch it', async () => {
      const selector = open();
      const fd = regularFile();
      let wakes = 0;
      const watch = watched(selector, () => {
        wakes += 1;
      });
      selector.register(fd, POLLIN);
      await turnsUntil(() => wakes > 5);
      selector.unregister(fd);
      expect(look(selector)).toEqual([]);
      watch.close();
    });
  });

  it('poll: a closed selector says what was expected', () => {
    const selector = new PollSelector();
    selector.close();
    expect(() => selector.select(0)).toThrow(/Cannot select: expected an open selector/);
  });
});

describe('createSelector', () => {
  function created(forced?: string): Selector {
    const selector = forced === undefined ? createSelector() : createSelector(forced);
    selectors.push(selector);
    return selector;
  }

  it('prefers epoll', () => {
    expect(created('').name).toBe('epoll');
  });

  it('can be forced to poll', () => {
    expect(created('poll').name).toBe('poll');
  });

  it('does what the environment says', () => {
    const before = process.env.ASYNCORE_SELECTOR;
    try {
      process.env.ASYNCORE_SELECTOR = 'poll';
      expect(created().name).toBe('poll');
      delete process.env.ASYNCORE_SELECTOR;
      expect(created().name).toBe('epoll');
    } finally {
      if (before === undefined) delete process.env.ASYNCORE_SELECTOR;
      else process.env.ASYNCORE_SELECTOR = before;
    }
  });

  it('makes do with poll when epoll cannot be opened', () => {
    const libc = jest.requireActual<typeof import('../../lib/kernel/syscalls')>(
      '../../lib/kernel/syscalls',
    );
    const EMFILE = -24;
    jest.spyOn(libc, 'epollCreate').mockReturnValue(EMFILE);
    const selector = created('');
    expect(selector.name).toBe('poll');
    const [a] = pair();
    selector.register(a.fileno(), POLLOUT);
    expect(look(selector)).toEqual([[a.fileno(), POLLOUT]]);
  });
});

describe('a hang-up in one direction after another', () => {
  it.each(CASES)('is told the same way by %s', (_, Implementation) => {
    const selector = new Implementation();
    selectors.push(selector);
    const [a, b] = pair();
    fill(a);
    selector.register(a.fileno(), POLLOUT);
    a.shutdown(SHUT_RDWR);
    expect(look(selector)).toEqual([[a.fileno(), POLLHUP]]);
    while ((b.recv(65536)?.length ?? 0) > 0);
    expect(look(selector)).toEqual([[a.fileno(), POLLOUT | POLLHUP]]);
  });
});
