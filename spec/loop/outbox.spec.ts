// Output that leaves once a tick: when the outbox is open, when it is flushed, and in which order.

import { execFileSync } from 'node:child_process';
import { type Channel, ChannelMap, ExitNow, poll, poll2, Socket } from 'asyncore';
import { beforeBlocking } from '../../lib/kernel/blocking';
import { registryOf } from '../../lib/loop/channel-map';
import { Alarm, NOTHING } from '../../lib/loop/deadlines';
import { outbox, type Sender } from '../../lib/loop/outbox';
import { ROOT, TYPESCRIPT } from '../support/program';

const BYTE = Buffer.from('x');
const ORDERS: [string, (timeout: number, map: ChannelMap) => void][] = [
  ['select order', poll],
  ['poll order', poll2],
];

let log: string[] = [];
const sockets: Socket[] = [];
const maps: ChannelMap[] = [];

beforeEach(() => {
  log = [];
});

afterEach(() => {
  for (const map of maps.splice(0)) map.clear();
  for (const socket of sockets.splice(0)) socket.close();
  expect([outbox.open, outbox.size]).toEqual([false, 0]);
});

/** Does what a queue of output does: puts off while the outbox is open, and sends at once otherwise. */
class Queue implements Sender {
  #waiting: string[] = [];
  onFlush: () => void = () => {};

  constructor(readonly name: string) {}

  send(data: string): void {
    if (!outbox.open) {
      log.push(`${this.name} sends ${data}`);
      return;
    }
    if (this.#waiting.length === 0) outbox.add(this);
    this.#waiting.push(data);
  }

  flushOutput(): void {
    log.push(`${this.name} flushes ${this.#waiting.splice(0).join('+')}`);
    this.onFlush();
  }
}

class Talker implements Channel {
  readonly queue: Queue;
  onRead: () => void = () => {};
  onWrite: () => void = () => {};

  constructor(
    readonly name: string,
    readonly wants: string,
  ) {
    this.queue = new Queue(name);
  }

  readable(): boolean {
    return this.wants.includes('r');
  }
  writable(): boolean {
    return this.wants.includes('w');
  }
  handleReadEvent(): void {
    log.push(`${this.name} reads`);
    this.onRead();
  }
  handleWriteEvent(): void {
    log.push(`${this.name} writes`);
    this.onWrite();
  }
  handleExptEvent(): void {}
  handleClose(): void {}
  handleError(error: unknown): void {
    log.push(`${this.name} error ${(error as Error).message}`);
  }
  close(): void {}
}

function talkers(...wants: string[]): { map: ChannelMap; all: Talker[]; peers: Socket[] } {
  const map = new ChannelMap();
  maps.push(map);
  const peers: Socket[] = [];
  const all = wants.map((each, index) => {
    const [own, peer] = Socket.pair();
    sockets.push(own, peer);
    peers.push(peer);
    if (each.includes('r')) peer.send(BYTE);
    const talker = new Talker('ABC'[index] as string, each);
    map.set(own.fileno(), talker);
    return talker;
  });
  return { map, all, peers };
}

describe('The outbox', () => {
  it('flushes in the order of add, each sender once', () => {
    const [a, b] = [new Queue('a'), new Queue('b')];
    outbox.open = true;
    b.send('1');
    a.send('2');
    b.send('3');
    expect(outbox.size).toBe(2);
    outbox.flush();
    expect(log).toEqual(['b flushes 1+3', 'a flushes 2']);
    expect([outbox.open, outbox.size]).toEqual([true, 0]);
    outbox.flush();
    expect(log).toHaveLength(2);
    outbox.open = false;
  });

  it('is not open during a flush: what is pushed then leaves at once', () => {
    const [a, b] = [new Queue('a'), new Queue('b')];
    a.onFlush = () => {
      a.send('again');
      b.send('early');
    };
    outbox.open = true;
    a.send('1');
    b.send('2');
    outbox.flush();
    outbox.open = false;
    expect(log).toEqual(['a flushes 1', 'a sends again', 'b sends early', 'b flushes 2']);
  });

  it('goes on after an ExitNow, and throws the first one at the end', () => {
    const queues = ['a', 'b', 'c'].map((name) => new Queue(name));
    outbox.open = true;
    for (const queue of queues) {
      queue.send('1');
      queue.onFlush = () => {
        if (queue.name !== 'c') throw new ExitNow(queue.name);
      };
    }
    expect(() => outbox.flush()).toThrow(new ExitNow('a'));
    expect(log).toEqual(['a flushes 1', 'b flushes 1', 'c flushes 1']);
    expect([outbox.open, outbox.size]).toEqual([true, 0]);
    outbox.open = false;
  });

  it('is flushed to the end by a flush within a flush', () => {
    const [a, b, c] = [new Queue('a'), new Queue('b'), new Queue('c')];
    a.onFlush = () => {
      outbox.flush();
      log.push('a goes on');
    };
    outbox.open = true;
    for (const queue of [a, b, c]) queue.send('1');
    outbox.flush();
    outbox.open = false;
    expect(log).toEqual(['a flushes 1', 'b flushes 1', 'c flushes 1', 'a goes on']);
  });

  it('is flushed before anything blocks the thread', () => {
    const queue = new Queue('a');
    outbox.open = true;
    queue.send('1');
    beforeBlocking();
    outbox.open = false;
    expect(log).toEqual(['a flushes 1']);
  });

  it('is flushed when a handler calls process.exit()', () => {
    const program = `
      const { ChannelMap, poll, Socket } = require('./lib/index.ts');
      const { outbox } = require('./lib/loop/outbox.ts');
      const [own, peer] = Socket.pair();
      peer.send(Buffer.from('x'));
      const map = new ChannelMap([[own.fileno(), {
        readable: () => true,
        writable: () => false,
        handleReadEvent() {
          outbox.add({ flushOutput: () => console.log('flushed') });
          process.exit();
        },
        handleError: console.log,
      }]]);
      poll(0, map);`;
    const args = [...TYPESCRIPT, '-e', program];
    expect(execFileSync(process.execPath, args, { cwd: ROOT, encoding: 'utf8' })).toBe('flushed\n');
  });

  it("is closed in process.exit(): what a later 'exit' listener pushes is sent at once", () => {
    const program = `
      const { AsyncChat, ChannelMap, poll, Socket } = require('./lib/index.ts');
      const { outbox } = require('./lib/loop/outbox.ts');
      const [own, peer] = Socket.pair();
      class Chat extends AsyncChat {
        collectIncomingData() {}
        foundTerminator() {
          process.on('exit', () => this.push('bye'));
          process.on('exit', () => console.log(outbox.open, outbox.size, String(peer.recv(100))));
          process.exit();
        }
      }
      const map = new ChannelMap();
      new Chat(own, map).setTerminator('.');
      peer.send(Buffer.from('.'));
      poll(0, map);`;
    const args = [...TYPESCRIPT, '-e', program];
    const output = execFileSync(process.execPath, args, { cwd: ROOT, encoding: 'utf8' });
    expect(output).toBe('false 0 bye\n');
  });

  it('is open from begin to end, which flushes, and a nested pair leaves it open', () => {
    const queue = new Queue('a');
    const outer = outbox.begin();
    queue.send('1');
    const inner = outbox.begin();
    expect([outer, inner]).toEqual([false, true]);
    queue.send('2');
    outbox.end(inner);
    expect(log).toEqual(['a flushes 1+2']);
    expect(outbox.open).toBe(true);
    queue.send('3');
    outbox.end(outer);
    expect(log).toEqual(['a flushes 1+2', 'a flushes 3']);
    expect(outbox.open).toBe(false);
  });
});

describe.each(ORDERS)('In a tick in %s', (order, pass) => {
  it('output leaves after the reads, before the writes, and at the end', () => {
    const { map, all } = talkers('rw', 'rw');
    for (const { queue } of all) {
      for (const each of all) {
        each.onRead = () => all[0]?.queue.send('read');
        each.onWrite = () => queue.send('written');
      }
    }
    pass(0, map);
    expect(log).toEqual(
      order === 'select order'
        ? [
            'A reads',
            'B reads',
            'A flushes read+read',
            'A writes',
            'B writes',
            'B flushes written+written',
          ]
        : [
            'A reads',
            'A writes',
            'B reads',
            'B writes',
            'A flushes read+read',
            'B flushes written+written',
          ],
    );
  });

  it('ExitNow loses no output, and leaves the outbox closed', () => {
    const { map, all } = talkers('r', 'r');
    const [a] = all as [Talker];
    a.onRead = () => {
      a.queue.send('last words');
      throw new ExitNow('enough');
    };
    expect(() => pass(0, map)).toThrow('enough');
    expect(log).toEqual(['A reads', 'A flushes last words']);
    expect(outbox.open).toBe(false);
  });

  it('an ExitNow out of a flush costs nobody else its output', () => {
    const { map, all } = talkers('r', 'r');
    for (const { queue } of all) {
      queue.onFlush = () => {
        throw new ExitNow(queue.name);
      };
    }
    for (const each of all) each.onRead = () => each.queue.send('1');
    expect(() => pass(0, map)).toThrow(new ExitNow('A'));
    expect(log).toEqual(['A reads', 'B reads', 'A flushes 1', 'B flushes 1']);
    expect(outbox.open).toBe(false);
  });

  it('a nested tick begins with a flush, has one of its own, and leaves the outer one open', () => {
    const { map, all } = talkers('r');
    const inner = talkers('r', '');
    const [a] = all as [Talker];
    const [b, c] = inner.all as [Talker, Talker];
    b.onRead = () => c.queue.send('inner');
    a.onRead = () => {
      a.queue.send('question');
      pass(0, inner.map);
      a.queue.send('thanks');
    };
    pass(0, map);
    expect(log).toEqual([
      'A reads',
      'A flushes question',
      'A reads',
      'B flushes inner',
      'A flushes thanks',
    ]);
  });

  it('a handler that runs in a flush and waits has the others flushed first', () => {
    const { map, all } = talkers('r', '');
    const [a, b] = all as [Talker, Talker];
    a.onRead = () => {
      a.queue.send('1');
      b.queue.send('2');
    };
    const inner = talkers('w');
    a.queue.onFlush = () => pass(0, inner.map);
    pass(0, map);
    expect(log).toEqual(['A reads', 'A flushes 1', 'B flushes 2', 'A writes']);
  });

  it('a deadline finds the outbox open, and what it sends leaves at the end', () => {
    const { map } = talkers('');
    const queue = new Queue('timer');
    registryOf(map).deadlines.set(
      new Alarm(NOTHING, () => {
        queue.send('1');
        queue.send('2');
      }),
      0,
    );
    pass(0, map);
    expect(log).toEqual(['timer flushes 1+2']);
  });

  it('a predicate sends at once', () => {
    const { map, all } = talkers('');
    const [a] = all as [Talker];
    a.readable = () => {
      a.queue.send('asked');
      return false;
    };
    pass(0, map);
    expect(log).toEqual(['A sends asked']);
  });
});
