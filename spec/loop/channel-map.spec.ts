// The map as a Map, who is asked when, and what reaches whom.

import { closeSync, constants, openSync, readdirSync, readlinkSync } from 'node:fs';
import { inspect } from 'node:util';
import {
  AsyncChat,
  type Channel,
  ChannelMap,
  Dispatcher,
  DispatcherWithSend,
  ExitNow,
  Fifo,
  type FifoItem,
  FileDispatcher,
  type Handled,
  loop,
  loopSync,
  poll,
  poll2,
  SHUT_RDWR,
  SHUT_WR,
  Socket,
  SocketError,
  socketMap,
} from 'asyncore';
import fc from 'fast-check';
import { registryOf } from '../../lib/loop/channel-map';
import { garbageCollector } from '../support/collector';
import { temporaryPath } from '../support/drive';
import { newMap, stillMap } from '../support/keep';
import { makePipe } from '../support/make-pipe';
import { itIf } from '../support/skips';
import { pair } from '../support/sockets';

const BYTE = Buffer.from('x');
const EPOLL = process.env.ASYNCORE_SELECTOR !== 'poll';

const files: number[] = [];

afterEach(() => {
  for (const fd of files.splice(0)) closeSync(fd);
});

/** A channel that only tells what happens to it. */
class Probe implements Channel {
  accepting = false;
  reads = 0;
  writes = 0;
  onRead: () => void = () => {};
  onWrite: () => void = () => {};

  constructor(
    readonly name: string,
    readonly log: string[],
    public wants = '',
  ) {}

  readable(): boolean {
    this.log.push(`${this.name}.readable?`);
    return this.wants.includes('r');
  }
  writable(): boolean {
    this.log.push(`${this.name}.writable?`);
    return this.wants.includes('w');
  }
  handleReadEvent(): void {
    this.reads += 1;
    this.log.push(`${this.name}.read`);
    this.onRead();
  }
  handleWriteEvent(): void {
    this.writes += 1;
    this.log.push(`${this.name}.write`);
    this.onWrite();
  }
  handleExptEvent(): void {
    this.log.push(`${this.name}.expt`);
  }
  handleClose(): void {
    this.log.push(`${this.name}.close`);
  }
  handleError(error: unknown): void {
    this.log.push(`${this.name}.error ${(error as Error).message}`);
  }
  close(): void {}
}

const events = (log: string[]): string[] => log.filter((entry) => !entry.endsWith('?'));

/** A fifo that counts how often it is looked at: the library's own `writable` does. */
class CountingFifo extends Fifo<FifoItem> {
  looks = 0;
  override isEmpty(): boolean {
    this.looks += 1;
    return super.isEmpty();
  }
}

/** How often `chat` is asked in `ticks` ticks in which nothing changes. */
function asksIn(ticks: number, chat: AsyncChat): number {
  const fifo = new CountingFifo();
  chat.producerFifo = fifo;
  poll(0, chat.map);
  fifo.looks = 0;
  for (let tick = 0; tick < ticks; tick += 1) poll(0, chat.map);
  return fifo.looks;
}

class Chat extends AsyncChat {
  readonly got: string[] = [];
  override collectIncomingData(data: Buffer): void {
    this.got.push(data.toString());
  }
  override foundTerminator(): void {}
}

/** A chat whose predicates are its own, though they say the same. */
class AskedChat extends Chat {
  override readable(): boolean {
    return super.readable();
  }
  override writable(): boolean {
    return super.writable();
  }
}

function chatOf<Kind extends AsyncChat>(
  Class: new (socket: Socket, map: ChannelMap) => Kind,
  map = newMap(),
): [chat: Kind, peer: Socket] {
  const [own, peer] = pair();
  const chat = new Class(own, map);
  chat.setTerminator(null);
  return [chat, peer];
}

describe('ChannelMap as a Map', () => {
  it('is one', () => {
    const map = newMap();
    expect(map).toBeInstanceOf(Map);
    expect(map.size).toBe(0);
    expect(socketMap).toBeInstanceOf(ChannelMap);
  });

  it('gives back what was set, in order of insertion', () => {
    const [one, two, three] = [new Probe('1', []), new Probe('2', []), new Probe('3', [])];
    const map = newMap();
    expect(map.set(30, one).set(10, two)).toBe(map);
    map.set(20, three);
    expect([...map]).toEqual([
      [30, one],
      [10, two],
      [20, three],
    ]);
    expect([...map.keys()]).toEqual([30, 10, 20]);
    expect([...map.values()]).toEqual([one, two, three]);
    expect(map.get(10)).toBe(two);
    expect(map.has(10)).toBe(true);
    expect(map.get(11)).toBeUndefined();
    expect(map.size).toBe(3);
    const seen: number[] = [];
    for (const fd of map.keys()) seen.push(fd);
    expect(seen).toEqual([30, 10, 20]);
  });

  it('keeps the place of what is replaced', () => {
    const map = newMap();
    const [old, next, other] = [new Probe('old', []), new Probe('next', []), new Probe('o', [])];
    map.set(7, old).set(8, other).set(7, next);
    expect([...map.values()]).toEqual([next, other]);
    expect(map.size).toBe(2);
  });

  it('shows its channels', () => {
    const map = newMap();
    const [one, two] = [new Probe('1', []), new Probe('2', [])];
    map.set(7, one).set(3, two);
    const seen: [number, Channel][] = [];
    map.forEach(function (this: unknown, channel, fd, owner) {
      seen.push([fd, channel]);
      expect([this, owner]).toEqual(['this', map]);
    }, 'this');
    expect(seen).toEqual([...map.entries()]);
    expect(new Map(map)).toEqual(
      new Map([
        [7, one],
        [3, two],
      ]),
    );
    expect(inspect(map)).toMatch(/^ChannelMap\(2\) \[Map\] \{.*7 => .*Probe.*3 => .*Probe/s);
  });

  it('is shown with the circles that channels make, to the usual depth, and with its own fields', () => {
    class Named extends ChannelMap {
      label = 'mine';
    }
    const map = new Named();
    for (const fd of [4, 5]) map.set(fd, { fd, map } as unknown as Channel);
    const shown = inspect(map, { depth: Infinity });
    expect(shown).toMatch(/^<ref \*1> Named\(2\) \[Map\] \{/);
    expect(shown.match(/map: \[Circular \*1\]/g)).toHaveLength(2);
    expect(shown).toContain("label: 'mine'");
    expect(inspect({ a: { b: { c: map } } })).toBe('{ a: { b: { c: [Named [Map]] } } }');
    expect(map.get(4)).toBe([...map.values()][0]);
  });

  it('has channels under numbers alone, and iterates past an override of get', () => {
    class Counting extends ChannelMap {
      calls = 0;
      override get(fd: number): Channel | undefined {
        this.calls += 1;
        return super.get(fd);
      }
    }
    const map = new Counting([[5, {} as Channel]]);
    const { calls } = map;
    expect([...map, ...map.values(), ...map.entries()]).toHaveLength(3);
    expect(map.calls).toBe(calls);
    expect(map.get(5)).toEqual({});
    for (const key of ['5', [5], 'length', -1, 5.5, NaN]) {
      expect([map.get(key as number), map.has(key as number)]).toEqual([undefined, false]);
    }
  });

  it('lets a scavenge collect the channels that have left', () => {
    const gc = garbageCollector();
    const map = newMap();
    const ballast = (): Probe =>
      Object.assign(new Probe('', []), { doubles: new Array(1000).fill(0.5) });
    for (let fd = 0; fd < 50; fd += 1) map.set(fd, ballast());
    gc();
    gc();
    const before = process.memoryUsage().heapUsed;
    for (let fd = 0; fd < 1000; fd += 1) {
      map.delete(fd);
      map.set(fd + 50, ballast());
    }
    gc({ type: 'minor' });
    gc({ type: 'minor' });
    // 8 MB have been made. The 50 channels that are left have 400 KB.
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(2_500_000);
    map.clear();
  });

  it('gives the last place to what was deleted and set again', () => {
    const map = newMap();
    const [one, two] = [new Probe('1', []), new Probe('2', [])];
    map.set(7, one).set(8, two);
    map.delete(7);
    map.set(7, one);
    expect([...map.keys()]).toEqual([8, 7]);
  });

  it('says whether there was something to delete', () => {
    const map = newMap();
    map.set(7, new Probe('a', []));
    expect(map.delete(7)).toBe(true);
    expect(map.delete(7)).toBe(false);
    expect(map.delete(1000)).toBe(false);
    expect(map.size).toBe(0);
    expect(map.get(7)).toBeUndefined();
  });

  it('is empty after clear', () => {
    const map = newMap();
    map.set(7, new Probe('a', [])).set(9, new Probe('b', []));
    map.clear();
    map.clear();
    expect(map.size).toBe(0);
    expect([...map]).toEqual([]);
  });

  it('takes what it is made of', () => {
    const [one, two] = [new Probe('1', []), new Probe('2', [])];
    expect([...new ChannelMap([[5, one] as const, [4, two] as const]).keys()]).toEqual([5, 4]);
    expect([...new ChannelMap(new Map([[5, one]])).values()]).toEqual([one]);
    expect(new ChannelMap().size).toBe(0);
  });

  it('may hold one channel under two numbers', () => {
    const map = newMap();
    const log: string[] = [];
    const [a, b] = pair();
    const probe = new Probe('p', log, 'w');
    map.set(a.fileno(), probe).set(b.fileno(), probe);
    poll(0, map);
    expect(events(log)).toEqual(['p.write', 'p.write']);
  });

  it('watches again what is set again', () => {
    const map = newMap();
    const log: string[] = [];
    const [a] = pair();
    const probe = new Probe('p', log, 'w');
    map.set(a.fileno(), probe);
    poll(0, map);
    map.set(a.fileno(), probe);
    poll(0, map);
    map.delete(a.fileno());
    map.set(a.fileno(), probe);
    poll(0, map);
    expect(events(log)).toEqual(['p.write', 'p.write', 'p.write']);
  });

  it.each([-1, 1.5, Number.NaN, Infinity, '3', null, undefined, 2 ** 31])(
    'refuses %p, which is no descriptor',
    (fd) => {
      const map = newMap();
      expect(() => map.set(fd as number, new Probe('a', []))).toThrow(
        expect.objectContaining({
          name: 'RangeError',
          code: 'ERR_OUT_OF_RANGE',
          message: expect.stringMatching(/^Cannot add a channel: expected a descriptor, received /),
        }),
      );
      expect(map.size).toBe(0);
    },
  );

  it.each([null, undefined, 3, 'channel', () => {}])(
    'refuses %p, which is no channel',
    (channel) => {
      const map = newMap();
      expect(() => map.set(3, channel as unknown as Channel)).toThrow(
        expect.objectContaining({
          name: 'TypeError',
          code: 'ERR_INVALID_ARG_TYPE',
          message: expect.stringMatching(/^Cannot add a channel: expected an object with handlers/),
        }),
      );
      expect(map.size).toBe(0);
    },
  );

  it('does not mind being told about numbers that it does not have', () => {
    const map = newMap();
    map.interestChanged(77);
    registryOf(map).renew(77);
    registryOf(map).invalidate(77);
    registryOf(map).suspend(77, 1000);
    registryOf(map).resume(77);
    expect(registryOf(map).changed).toBe(false);
    expect(registryOf(map).entryOf(new Probe('a', []), 77)).toBeUndefined();
  });
});

describe('the selector of a map', () => {
  const epolls = (): number =>
    readdirSync('/proc/self/fd').filter((fd) => {
      try {
        return readlinkSync(`/proc/self/fd/${fd}`).includes('eventpoll');
      } catch {
        return false;
      }
    }).length;
  const itEpoll = itIf(EPOLL, 'poll(2) needs no descriptor');

  itEpoll('is opened at the first wait, and not before', () => {
    const before = epolls();
    const [chat] = chatOf(Chat);
    expect(epolls()).toBe(before);
    poll(0, chat.map);
    expect(epolls()).toBe(before + 1);
    poll(0, chat.map);
    expect(epolls()).toBe(before + 1);
    chat.close();
    expect(epolls()).toBe(before);
  });

  itEpoll('is given back when the last channel leaves, and opened anew for the next', () => {
    const before = epolls();
    const map = newMap();
    const [one] = chatOf(Chat, map);
    const [two, peer] = chatOf(Chat, map);
    poll(0, map);
    one.close();
    expect(epolls()).toBe(before + 1);
    two.close();
    expect(epolls()).toBe(before);
    const [three, last] = chatOf(Chat, map);
    last.send(BYTE);
    poll(0, map);
    expect(three.got).toEqual(['x']);
    expect(epolls()).toBe(before + 1);
    map.clear();
    expect(epolls()).toBe(before);
    peer.close();
  });

  itEpoll('is given back at the end of the pass in which the last channel left', () => {
    const before = epolls();
    const [chat, peer] = chatOf(Chat);
    let during = 0;
    chat.handleRead = () => {
      chat.close();
      during = epolls();
    };
    peer.send(BYTE);
    poll(0, chat.map);
    expect(during).toBe(before + 1);
    expect(epolls()).toBe(before);
  });

  itEpoll('is not opened by a map that stays empty', () => {
    const before = epolls();
    const map = newMap();
    poll(0, map);
    loopSync({ map });
    map.clear();
    expect(epolls()).toBe(before);
  });

  itEpoll('is given back when a loop ends on an empty map', async () => {
    const before = epolls();
    const [chat, peer] = chatOf(Chat);
    setImmediate(() => peer.close());
    await loop({ map: chat.map, timeout: 1000 });
    expect(chat.map.size).toBe(0);
    expect(epolls()).toBe(before);
  });
});

describe('who is asked', () => {
  it('asks all channels in map order, readable and then writable, before anything is done', () => {
    const map = newMap();
    const log: string[] = [];
    const [a, b] = pair();
    map.set(b.fileno(), new Probe('B', log, 'w')).set(a.fileno(), new Probe('A', log, 'w'));
    poll(0, map);
    const asked = ['B.readable?', 'B.writable?', 'A.readable?', 'A.writable?'];
    expect(log).toEqual([...asked, 'B.write', 'A.write']);
    log.length = 0;
    poll2(0, map);
    expect(log).toEqual([...asked, 'B.write', 'A.write']);
  });

  it('asks in map order also after a replacement, a departure and a return', () => {
    const map = newMap();
    const log: string[] = [];
    const [[a, b], [c, d]] = [pair(), pair()];
    map.set(a.fileno(), new Probe('A', log)).set(b.fileno(), new Probe('B', log));
    map.set(c.fileno(), new Probe('C', log)).set(d.fileno(), new Probe('D', log));
    poll(0, map);
    const B = map.get(b.fileno()) as Channel;
    map.delete(b.fileno());
    map.set(a.fileno(), new Probe('A2', log));
    map.set(b.fileno(), B);
    log.length = 0;
    poll(0, map);
    expect(log.filter((entry) => entry.endsWith('readable?'))).toEqual([
      'A2.readable?',
      'C.readable?',
      'D.readable?',
      'B.readable?',
    ]);
  });

  it('asks both predicates whatever the first one says', () => {
    const log: string[] = [];
    const map = newMap();
    const [a] = pair();
    for (const wants of ['', 'r', 'w', 'rw']) {
      map.set(a.fileno(), new Probe(wants, log, wants));
      poll(0, map);
    }
    expect(log.filter((entry) => entry.endsWith('?'))).toHaveLength(8);
  });

  it('never waits for a listener as writable', () => {
    const map = newMap();
    const log: string[] = [];
    const [a] = pair();
    const probe = new Probe('p', log, 'w');
    probe.accepting = true;
    map.set(a.fileno(), probe);
    poll(0, map);
    poll2(0, map);
    expect(events(log)).toEqual([]);
    probe.accepting = false;
    poll(0, map);
    expect(events(log)).toEqual(['p.write']);
  });

  it('does not wait for input after its end', () => {
    const map = newMap();
    const log: string[] = [];
    const [a, b] = pair();
    const probe = Object.assign(new Probe('p', log, 'r'), { inputEnded: true });
    b.send(BYTE);
    map.set(a.fileno(), probe);
    poll(0, map);
    expect(events(log)).toEqual([]);
    probe.inputEnded = false;
    poll(0, map);
    expect(events(log)).toEqual(['p.read']);
  });

  it('leaves a channel that joins while others are asked to the next tick', () => {
    const map = newMap();
    const log: string[] = [];
    const [a, b] = pair();
    const first = new Probe('A', log, 'w');
    first.readable = () => {
      if (!map.has(b.fileno())) map.set(b.fileno(), new Probe('B', log, 'w'));
      return false;
    };
    map.set(a.fileno(), first);
    poll(0, map);
    expect(log).toEqual(['A.writable?', 'A.write']);
    poll(0, map);
    expect(events(log)).toEqual(['A.write', 'A.write', 'B.write']);
  });

  it('does not ask a channel that another predicate has taken out', () => {
    const map = newMap();
    const log: string[] = [];
    const [a, b] = pair();
    const first = new Probe('A', log, 'w');
    map.set(a.fileno(), first).set(b.fileno(), new Probe('B', log, 'w'));
    poll(0, map);
    log.length = 0;
    first.writable = () => {
      map.delete(b.fileno());
      return true;
    };
    poll(0, map);
    expect(log).toEqual(['A.readable?', 'A.write']);
  });

  it('goes on with a channel whose predicate took itself out', () => {
    const map = newMap();
    const log: string[] = [];
    const [a, b] = pair();
    const first = new Probe('A', log, 'w');
    first.writable = () => {
      map.delete(a.fileno());
      return true;
    };
    map.set(a.fileno(), first).set(b.fileno(), new Probe('B', log, 'w'));
    poll(0, map);
    expect(events(log)).toEqual(['B.write']);
  });

  describe('a channel whose predicates are the library’s', () => {
    it('is not asked again while nothing changes', () => {
      const [chat] = chatOf(Chat);
      expect(chat.tracksInterest()).toBe(true);
      expect(asksIn(10, chat)).toBe(0);
    });

    it('is asked again after each thing that its predicates look at has changed', () => {
      const [chat, peer] = chatOf(Chat);
      const fifo = new CountingFifo();
      chat.producerFifo = fifo;
      const asked = (change: () => void): boolean => {
        poll(0, chat.map);
        poll(0, chat.map);
        change();
        fifo.looks = 0;
        registryOf(chat.map).ask('select', () => {});
        return fifo.looks > 0;
      };
      // So that it can be asked without a pass around it.
      registryOf(chat.map).acquire();
      expect(asked(() => {})).toBe(false);
      expect(asked(() => fifo.push(Buffer.from('data')))).toBe(true);
      expect(asked(() => {})).toBe(false);
      expect(peer.recv(100)?.toString()).toBe('data');
      expect(asked(() => chat.interestChanged())).toBe(true);
      expect(asked(() => chat.map.set(chat.fileno() as number, chat))).toBe(true);
      chat.acOutBuffer = Buffer.from('data');
      registryOf(chat.map).ask('select', () => {});
      expect(chat.writable()).toBe(true);
      poll(0, chat.map);
      expect(peer.recv(100)?.toString()).toBe('data');
      chat.connected = false;
      registryOf(chat.map).ask('select', () => {});
      expect(asked(() => {})).toBe(false);
      expect(
        asked(() => {
          chat.connected = true;
        }),
      ).toBe(true);
      registryOf(chat.map).release();
    });

    it('is asked at every tick in a map which is not its own', () => {
      const [chat] = chatOf(Chat);
      const other = newMap();
      chat.addChannel(other);
      const fifo = new CountingFifo();
      chat.producerFifo = fifo;
      poll(0, other);
      fifo.looks = 0;
      for (let tick = 0; tick < 10; tick += 1) poll(0, other);
      expect(fifo.looks).toBe(10);
    });

    it('may override anything else', () => {
      class Handlers extends Chat {
        override handleRead(): Handled {
          return super.handleRead();
        }
        override handleWrite(): Handled {
          return super.handleWrite();
        }
        override close(): void {
          super.close();
        }
        readonly extra = 1;
        override encoding: BufferEncoding = 'latin1';
      }
      const [chat] = chatOf(Handlers);
      expect(chat.tracksInterest()).toBe(true);
      expect(asksIn(10, chat)).toBe(0);
    });

    it('holds for each class of the library', () => {
      for (const Class of [Dispatcher, DispatcherWithSend]) {
        const [a] = pair();
        expect(new Class(a, newMap()).tracksInterest()).toBe(true);
      }
    });
  });

  describe('a channel that overrides a predicate', () => {
    it('is asked at every tick', () => {
      const [chat] = chatOf(AskedChat);
      expect(chat.tracksInterest()).toBe(false);
      expect(asksIn(10, chat)).toBe(10);
    });

    it('is asked once in a tick in which it has called interestChanged', () => {
      const log: string[] = [];
      const map = newMap();
      const [a] = pair();
      map.set(a.fileno(), new Probe('A', log));
      poll(0, map);
      log.length = 0;
      map.interestChanged(a.fileno());
      map.interestChanged(a.fileno());
      poll(0, map);
      expect(log).toEqual(['A.readable?', 'A.writable?']);
    });

    it('can return true from tracksInterest, and is then asked after interestChanged only', () => {
      class Gate extends Chat {
        open = false;
        asked = 0;
        override readable(): boolean {
          this.asked += 1;
          return this.open;
        }
        override tracksInterest(): boolean {
          return true;
        }
      }
      const [gate, peer] = chatOf(Gate);
      peer.send(BYTE);
      for (let tick = 0; tick < 5; tick += 1) poll(0, gate.map);
      expect(gate.asked).toBe(1);
      gate.open = true;
      poll(0, gate.map);
      expect(gate.got).toEqual([]);
      gate.interestChanged();
      poll(0, gate.map);
      expect(gate.got).toEqual(['x']);
      expect(gate.asked).toBe(2);
    });
  });

  describe('ways to replace what decides', () => {
    it('a class field for an attribute keeps its value, and tracking goes on', () => {
      class Field extends Chat {
        // @ts-expect-error TypeScript refuses what JavaScript does without a word.
        override connected = true;
      }
      const [own, peer] = pair();
      const chat = new Field(own, newMap());
      chat.setTerminator(null);
      expect(chat.connected).toBe(true);
      expect(chat.tracksInterest()).toBe(true);
      expect(asksIn(10, chat)).toBe(0);
      chat.push('one');
      expect(peer.recv(10)?.toString()).toBe('one');
      // And changes are seen again.
      chat.connected = false;
      chat.producerFifo.push(Buffer.from('two'));
      poll(0, chat.map);
      expect(peer.recv(10)).toBeNull();
      chat.connected = true;
      poll(0, chat.map);
      expect(peer.recv(10)?.toString()).toBe('two');
    });

    it('a class field that changes before the first tick has its last value', () => {
      class Field extends Chat {
        // @ts-expect-error As above.
        override connected = true;
      }
      const [own, peer] = pair();
      const chat = new Field(own, newMap());
      chat.setTerminator(null);
      chat.connected = false;
      chat.producerFifo.push(Buffer.from('data'));
      poll(0, chat.map);
      expect(peer.recv(10)).toBeNull();
      expect(chat.connected).toBe(false);
    });

    it('a class field for a predicate is respected', () => {
      class Deaf extends Chat {
        override readable = (): boolean => false;
      }
      const [own, peer] = pair();
      const chat = new Deaf(own, newMap());
      chat.setTerminator(null);
      peer.send(BYTE);
      poll(0, chat.map);
      expect(chat.tracksInterest()).toBe(false);
      expect(chat.got).toEqual([]);
      expect(asksIn(10, chat)).toBe(10);
    });

    it('a class field that cannot be moved makes it be asked', () => {
      const [chat] = chatOf(Chat);
      Object.defineProperty(chat, 'connected', { value: true });
      expect(chat.tracksInterest()).toBe(false);
      expect(asksIn(10, chat)).toBe(10);
    });

    it('an own accessor makes it be asked', () => {
      const [chat] = chatOf(Chat);
      let connected = true;
      Object.defineProperty(chat, 'connected', {
        configurable: true,
        get: () => connected,
        set(value: boolean) {
          connected = value;
        },
      });
      expect(chat.tracksInterest()).toBe(false);
      expect(asksIn(10, chat)).toBe(10);
    });

    it('an own property that is the library’s method is as good as none', () => {
      const [chat] = chatOf(Chat);
      Object.defineProperty(chat, 'readable', { value: chat.readable, configurable: true });
      expect(chat.tracksInterest()).toBe(true);
    });

    it('an assignment at run time takes effect once it is told of, and then the next one at once', () => {
      const [chat, peer] = chatOf(Chat);
      poll(0, chat.map);
      chat.readable = () => false;
      chat.interestChanged();
      peer.send(Buffer.from('one'));
      poll(0, chat.map);
      poll(0, chat.map);
      expect(chat.got).toEqual([]);
      chat.readable = () => true;
      poll(0, chat.map);
      expect(chat.got).toEqual(['one']);
      let asked = 0;
      chat.writable = () => {
        asked += 1;
        return false;
      };
      for (let tick = 0; tick < 10; tick += 1) poll(0, chat.map);
      expect(asked).toBe(10);
    });

    it('an assigned predicate may change its mind by itself', () => {
      const [chat, peer] = chatOf(Chat);
      poll(0, chat.map);
      let open = false;
      chat.readable = () => open;
      chat.interestChanged();
      peer.send(BYTE);
      poll(0, chat.map);
      expect(chat.got).toEqual([]);
      open = true;
      poll(0, chat.map);
      expect(chat.got).toEqual(['x']);
    });

    it.each([
      ['select order', poll],
      ['poll order', poll2],
    ])('an assignment within an event of its channel needs no interestChanged: %s', (_, pass) => {
      const [chat, peer] = chatOf(Chat);
      let asked = 0;
      chat.collectIncomingData = (data) => {
        chat.got.push(data.toString());
        chat.readable = () => {
          asked += 1;
          return false;
        };
      };
      pass(0, chat.map);
      peer.send(Buffer.from('one'));
      pass(0, chat.map);
      expect(chat.got).toEqual(['one']);
      peer.send(Buffer.from('two'));
      for (let tick = 0; tick < 5; tick += 1) pass(0, chat.map);
      expect(asked).toBe(5);
      expect(chat.got).toEqual(['one']);
    });

    it('an assignment on an idle channel without interestChanged waits for its next event', () => {
      const [chat, peer] = chatOf(Chat);
      poll(0, chat.map);
      chat.readable = () => false;
      peer.send(Buffer.from('one'));
      poll(0, chat.map);
      expect(chat.got).toEqual(['one']);
      peer.send(Buffer.from('two'));
      poll(0, chat.map);
      expect(chat.got).toEqual(['one']);
    });

    it('a channel that gets the library’s methods back is no longer asked, after interestChanged', () => {
      const [chat] = chatOf(Chat);
      chat.readable = () => true;
      expect(asksIn(10, chat)).toBe(10);
      Reflect.deleteProperty(chat, 'readable');
      chat.interestChanged();
      expect(asksIn(10, chat)).toBe(0);
    });

    it('an accessor that yields a predicate is asked at every tick', () => {
      class Accessor extends Chat {
        open = false;
      }
      Object.defineProperty(Accessor.prototype, 'readable', {
        get(this: Accessor) {
          return this.open ? AsyncChat.prototype.readable : () => false;
        },
      });
      const [chat, peer] = chatOf(Accessor);
      expect(chat.tracksInterest()).toBe(false);
      peer.send(BYTE);
      poll(0, chat.map);
      expect(chat.got).toEqual([]);
      chat.open = true;
      poll(0, chat.map);
      expect(chat.got).toEqual(['x']);
    });

    it('an assignment before there is a socket counts, too', () => {
      class Late extends Chat {
        constructor(map: ChannelMap) {
          super(null, map);
        }
      }
      const chat = new Late(newMap());
      chat.setTerminator(null);
      chat.readable = () => false;
      const [own, peer] = pair();
      chat.setSocket(own);
      chat.connected = true;
      peer.send(BYTE);
      poll(0, chat.map);
      expect(chat.got).toEqual([]);
    });

    it('an assigned predicate that is deleted again gives way to the class’s', () => {
      const [chat, peer] = chatOf(Chat);
      poll(0, chat.map);
      chat.readable = () => false;
      chat.interestChanged();
      poll(0, chat.map);
      Reflect.deleteProperty(chat, 'readable');
      peer.send(BYTE);
      poll(0, chat.map);
      expect(chat.got).toEqual(['x']);
    });

    it('an accessor in a subclass is asked at every tick', () => {
      let connected = true;
      class Accessor extends Chat {
        override get connected(): boolean {
          return connected;
        }
        override set connected(value: boolean) {
          connected = value;
        }
      }
      const [chat, peer] = chatOf(Accessor);
      expect(chat.tracksInterest()).toBe(false);
      expect(asksIn(10, chat)).toBe(10);
      connected = false;
      chat.producerFifo.push(BYTE);
      poll(0, chat.map);
      expect(peer.recv(10)).toBeNull();
      connected = true;
      poll(0, chat.map);
      expect(peer.recv(10)).toEqual(BYTE);
    });

    it('a spy on a prototype is respected when it is there before the first tick', () => {
      class Spied extends Chat {}
      const spy = jest.spyOn(Spied.prototype, 'readable').mockReturnValue(false);
      const [chat, peer] = chatOf(Spied);
      peer.send(BYTE);
      for (let tick = 0; tick < 5; tick += 1) poll(0, chat.map);
      expect(chat.got).toEqual([]);
      expect(spy).toHaveBeenCalledTimes(5);
    });

    it('a spy on one channel is respected when it is there before the first tick', () => {
      const [chat] = chatOf(Chat);
      const spy = jest.spyOn(chat, 'writable').mockReturnValue(false);
      for (let tick = 0; tick < 5; tick += 1) poll(0, chat.map);
      expect(spy).toHaveBeenCalledTimes(5);
    });

    it('a predicate may be assigned to the prototype of a class, as mixins do', () => {
      class Mixed extends Chat {}
      let asked = 0;
      Object.assign(Mixed.prototype, {
        readable() {
          asked += 1;
          return false;
        },
      });
      const [chat, peer] = chatOf(Mixed);
      peer.send(BYTE);
      for (let tick = 0; tick < 5; tick += 1) poll(0, chat.map);
      expect(asked).toBe(5);
      expect(chat.got).toEqual([]);
    });
  });
});

describe('a program cannot tell', () => {
  type Step =
    | { do: 'push' | 'producer' | 'fifo' | 'output'; size: number }
    | { do: 'peer sends'; text: string }
    | { do: 'peer reads'; size: number }
    | { do: 'terminator'; value: string | number | null }
    | {
        do: 'set';
        name: 'connected' | 'connecting' | 'accepting' | 'allowHalfOpen';
        value: boolean;
      }
    | {
        do:
          | 'select tick'
          | 'poll tick'
          | 'peer ends'
          | 'peer closes'
          | 'close'
          | 'close when done'
          | 'discard'
          | 'new fifo'
          | 'leave and return';
      };

  const size = fc.oneof(fc.constantFrom(0, 1, 100, 65536, 70000), fc.constant(300_000));
  const step: fc.Arbitrary<Step> = fc.oneof(
    { weight: 6, arbitrary: fc.record({ do: fc.constantFrom('select tick', 'poll tick') }) },
    {
      weight: 4,
      arbitrary: fc.record({
        do: fc.constantFrom('push', 'producer', 'fifo', 'output'),
        size,
      }),
    },
    {
      weight: 3,
      arbitrary: fc.record({
        do: fc.constant('peer sends' as const),
        text: fc.constantFrom('a', 'ab\n', 'abc\nd', '\n\n', 'x'.repeat(5000)),
      }),
    },
    {
      weight: 3,
      arbitrary: fc.record({
        do: fc.constant('peer reads' as const),
        size: fc.constantFrom(1, 65536, 1_000_000),
      }),
    },
    {
      weight: 1,
      arbitrary: fc.record({
        do: fc.constant('terminator' as const),
        value: fc.constantFrom('\n', 3, null),
      }),
    },
    {
      weight: 2,
      arbitrary: fc.record({
        do: fc.constant('set' as const),
        name: fc.constantFrom('connected', 'connecting', 'accepting', 'allowHalfOpen'),
        value: fc.boolean(),
      }),
    },
    {
      weight: 1,
      arbitrary: fc.record({
        do: fc.constantFrom(
          'peer ends',
          'peer closes',
          'close',
          'close when done',
          'discard',
          'new fifo',
          'leave and return',
        ),
      }),
    },
  );

  /** What both kinds of channel have in common for a step. */
  function common(what: Step, channel: Dispatcher, peer: Socket): void {
    if (what.do === 'select tick') poll(0, channel.map);
    if (what.do === 'poll tick') poll2(0, channel.map);
    if (what.do === 'set') channel[what.name] = what.value;
    if (what.do === 'close') channel.close();
    if (what.do === 'leave and return' && channel.fileno() !== null) {
      const fd = channel.fileno() as number;
      channel.map.delete(fd);
      channel.map.set(fd, channel);
    }
    if (peer.closed) return;
    try {
      if (what.do === 'peer sends') peer.send(Buffer.from(what.text));
      if (what.do === 'peer reads') peer.recv(what.size);
      if (what.do === 'peer ends') peer.shutdown(SHUT_WR);
      if (what.do === 'peer closes') peer.close();
    } catch (error) {
      if (!(error instanceof SocketError)) throw error;
    }
  }

  const text = (error: unknown): string => `${(error as { code?: string }).code ?? error}`;

  class ToldChat extends AsyncChat {
    readonly told: string[] = [];
    override collectIncomingData(data: Buffer): void {
      this.told.push(`data ${data.length}`);
    }
    override foundTerminator(): void {
      this.told.push('found');
      this.push('answer\n');
    }
    override handleRead(): Handled {
      this.told.push('read');
      return super.handleRead();
    }
    override handleWrite(): Handled {
      this.told.push('write');
      return super.handleWrite();
    }
    override handleConnect(): void {
      this.told.push('connect');
    }
    override handleExpt(): void {
      this.told.push('expt');
    }
    override handleEof(): Handled {
      this.told.push('eof');
      return super.handleEof();
    }
    override handleDrain(): void {
      this.told.push('drain');
    }
    override handleClose(): Handled {
      this.told.push('close');
      return super.handleClose();
    }
    override handleError(error: unknown): Handled {
      this.told.push(`error ${text(error)}`);
      return this.handleClose();
    }
  }
  class AskedToldChat extends ToldChat {
    override readable(): boolean {
      return super.readable();
    }
    override writable(): boolean {
      return super.writable();
    }
  }

  function chatSteps(Class: typeof ToldChat, steps: Step[]): string[] {
    const [own, peer] = Socket.pair();
    const chat = new Class(own, new ChannelMap());
    chat.highWaterMark = 50_000;
    chat.setTerminator('\n');
    for (const [index, what] of steps.entries()) {
      chat.told.push(`-- ${index} ${what.do}`);
      try {
        if (what.do === 'push') chat.told.push(`${chat.push(Buffer.alloc(what.size))}`);
        if (what.do === 'producer') {
          const parts = [Buffer.alloc(what.size), Buffer.from('end')];
          chat.pushWithProducer({ more: () => parts.shift() ?? null });
        }
        if (what.do === 'fifo') chat.producerFifo.push(Buffer.alloc(what.size));
        if (what.do === 'output') chat.acOutBuffer = Buffer.alloc(what.size);
        if (what.do === 'terminator') chat.setTerminator(what.value);
        if (what.do === 'close when done') chat.closeWhenDone();
        if (what.do === 'discard') chat.discardBuffers();
        if (what.do === 'new fifo') chat.producerFifo = new Fifo();
        common(what, chat, peer);
      } catch (error) {
        chat.told.push(`thrown ${text(error)}`);
      }
      chat.told.push(`${chat.connected} ${chat.writableLength} ${chat.map.size}`);
    }
    chat.close();
    chat.map.clear();
    peer.close();
    return chat.told;
  }

  it('whether a chat is asked at every tick', () => {
    fc.assert(
      fc.property(fc.array(step, { minLength: 5, maxLength: 40 }), (steps) => {
        expect(chatSteps(ToldChat, steps)).toEqual(chatSteps(AskedToldChat, steps));
      }),
      { numRuns: 300 },
    );
  });

  class ToldDispatcher extends DispatcherWithSend {
    readonly told: string[] = [];
    override handleRead(): void {
      this.told.push(`read ${this.recv(1000)?.length}`);
    }
    override handleWrite(): Handled {
      this.told.push('write');
      return super.handleWrite();
    }
    override handleConnect(): void {
      this.told.push('connect');
    }
    override handleExpt(): void {
      this.told.push('expt');
    }
    override handleEof(): void {
      this.told.push('eof');
    }
    override handleClose(): void {
      this.told.push('close');
      this.close();
    }
    override handleError(error: unknown): Handled {
      this.told.push(`error ${text(error)}`);
      return this.handleClose();
    }
  }
  class AskedToldDispatcher extends ToldDispatcher {
    override readable(): boolean {
      return super.readable();
    }
    override writable(): boolean {
      return super.writable();
    }
  }

  function dispatcherSteps(Class: typeof ToldDispatcher, steps: Step[]): string[] {
    const [own, peer] = Socket.pair();
    const channel = new Class(own, new ChannelMap());
    for (const [index, what] of steps.entries()) {
      channel.told.push(`-- ${index} ${what.do}`);
      try {
        if (what.do === 'push') channel.send(Buffer.alloc(what.size));
        if (what.do === 'output') channel.outBuffer = Buffer.alloc(what.size);
        if (what.do === 'discard') channel.outBuffer = Buffer.alloc(0);
        common(what, channel, peer);
      } catch (error) {
        channel.told.push(`thrown ${text(error)}`);
      }
      channel.told.push(`${channel.connected} ${channel.outBuffer.length} ${channel.map.size}`);
    }
    channel.close();
    channel.map.clear();
    peer.close();
    return channel.told;
  }

  it('whether a dispatcher is asked at every tick', () => {
    fc.assert(
      fc.property(fc.array(step, { minLength: 5, maxLength: 40 }), (steps) => {
        expect(dispatcherSteps(ToldDispatcher, steps)).toEqual(
          dispatcherSteps(AskedToldDispatcher, steps),
        );
      }),
      { numRuns: 300 },
    );
  });

  it('and both kinds are what they are meant to be', () => {
    const [[a], [b]] = [pair(), pair()];
    const map = newMap();
    expect(new ToldChat(a, map).tracksInterest()).toBe(true);
    expect(new AskedToldChat(a, map).tracksInterest()).toBe(false);
    expect(new ToldDispatcher(b, map).tracksInterest()).toBe(true);
    expect(new AskedToldDispatcher(b, map).tracksInterest()).toBe(false);
  });
});

describe('what reaches whom', () => {
  const ORDERS: [string, (timeout: number, map: ChannelMap) => void][] = [
    ['select order', poll],
    ['poll order', poll2],
  ];

  describe.each(ORDERS)('in %s', (_, pass) => {
    it('comes in map order, whatever the order of arrival', () => {
      const map = newMap();
      const log: string[] = [];
      const pairs = Array.from({ length: 200 }, pair);
      pairs.forEach(([a], index) => {
        map.set(a.fileno(), new Probe(String(index), log, 'r'));
      });
      pass(0, map);
      for (const [, b] of [...pairs].reverse()) b.send(BYTE);
      log.length = 0;
      pass(0, map);
      expect(events(log)).toEqual(pairs.map((_, index) => `${index}.read`));
    });

    it('comes in the order of the map, not of the numbers', () => {
      const map = newMap();
      const log: string[] = [];
      const pairs = Array.from({ length: 10 }, pair).reverse();
      pairs.forEach(([a], index) => {
        map.set(a.fileno(), new Probe(String(index), log, 'w'));
      });
      const [third] = pairs[3] as [Socket, Socket];
      map.set(third.fileno(), new Probe('three', log, 'w'));
      pass(0, map);
      expect(events(log)).toEqual(
        ['0', '1', '2', 'three', '4', '5', '6', '7', '8', '9'].map((name) => `${name}.write`),
      );
    });

    it('is not for a new channel when a number is used again within the tick', () => {
      const map = newMap();
      const log: string[] = [];
      const [[a, x], [b, y]] = [pair(), pair()];
      const fd = b.fileno();
      const killer = new Probe('A', log, 'r');
      const fresh = new Probe('C', log, 'r');
      killer.onRead = () => {
        a.recv(10);
        map.delete(fd);
        b.close();
        const [c] = pair();
        expect(c.fileno()).toBe(fd);
        map.set(fd, fresh);
      };
      map.set(a.fileno(), killer).set(fd, new Probe('B', log, 'r'));
      x.send(BYTE);
      y.send(BYTE);
      pass(0, map);
      expect(events(log)).toEqual(['A.read']);
      pass(0, map);
      expect(fresh.reads).toBe(0);
      y.close();
    });

    it('is not for the channel that replaced another within the tick', () => {
      const map = newMap();
      const log: string[] = [];
      const [[a, x], [b, y]] = [pair(), pair()];
      const first = new Probe('A', log, 'r');
      first.onRead = () => {
        a.recv(10);
        map.set(b.fileno(), new Probe('new', log, 'r'));
      };
      map.set(a.fileno(), first).set(b.fileno(), new Probe('old', log, 'r'));
      x.send(BYTE);
      y.send(BYTE);
      pass(0, map);
      expect(events(log)).toEqual(['A.read']);
      pass(0, map);
      expect(events(log)).toEqual(['A.read', 'new.read']);
    });

    it('is for nobody once the channel has left', () => {
      const map = newMap();
      const log: string[] = [];
      const [[a, x], [b, y]] = [pair(), pair()];
      const first = new Probe('A', log, 'rw');
      first.onRead = () => map.delete(b.fileno());
      map.set(a.fileno(), first).set(b.fileno(), new Probe('B', log, 'rw'));
      x.send(BYTE);
      y.send(BYTE);
      pass(0, map);
      expect(events(log)).toEqual(['A.read', 'A.write']);
    });

    it('is nothing more for a channel that leaves in its own handler', () => {
      const map = newMap();
      const log: string[] = [];
      const [a, x] = pair();
      const first = new Probe('A', log, 'rw');
      first.onRead = () => map.delete(a.fileno());
      map.set(a.fileno(), first);
      x.send(BYTE);
      pass(0, map);
      expect(events(log)).toEqual(['A.read']);
    });

    it('is for a channel that left and came back only at the next tick', () => {
      const map = newMap();
      const log: string[] = [];
      const [a, x] = pair();
      const first = new Probe('A', log, 'rw');
      first.onRead = () => {
        a.recv(10);
        map.delete(a.fileno());
        map.set(a.fileno(), first);
      };
      map.set(a.fileno(), first);
      x.send(BYTE);
      pass(0, map);
      expect(events(log)).toEqual(['A.read']);
      pass(0, map);
      expect(events(log)).toEqual(['A.read', 'A.write']);
    });

    it('is nothing for a channel without interest', () => {
      const map = newMap();
      const log: string[] = [];
      const [a, b] = pair();
      const probe = new Probe('A', log);
      map.set(a.fileno(), probe);
      b.send(BYTE);
      b.close();
      pass(0, map);
      expect(events(log)).toEqual([]);
      probe.wants = 'r';
      pass(0, map);
      expect(events(log)).toEqual(['A.read']);
      probe.wants = '';
      pass(0, map);
      expect(events(log)).toEqual(['A.read']);
    });

    it('follows each change of mind', () => {
      const map = newMap();
      const log: string[] = [];
      const [a, b] = pair();
      b.send(BYTE);
      const probe = new Probe('A', log);
      map.set(a.fileno(), probe);
      const seen = ['r', 'w', 'rw', '', 'w', 'r'].map((wants) => {
        probe.wants = wants;
        log.length = 0;
        pass(0, map);
        return events(log).map((entry) => entry.slice(2));
      });
      expect(seen).toEqual([['read'], ['write'], ['read', 'write'], [], ['write'], ['read']]);
    });

    it('is a regular file’s at every tick', () => {
      const fd = openSync(__filename, 'r');
      files.push(fd);
      const map = newMap();
      const log: string[] = [];
      map.set(fd, new Probe('F', log, 'r'));
      pass(0, map);
      pass(5000, map);
      expect(events(log)).toEqual(['F.read', 'F.read']);
    });

    it('ends a channel whose number was closed before it was ever watched', () => {
      const map = newMap();
      const log: string[] = [];
      const [[a], [b]] = [pair(), pair()];
      map.set(a.fileno(), new Probe('A', log, 'r')).set(b.fileno(), new Probe('B', log, 'w'));
      // The selector is open already, so that it does not get the number.
      registryOf(map).acquire();
      a.close();
      pass(0, map);
      expect(events(log)).toEqual(['A.close', 'B.write']);
      registryOf(map).release();
    });

    it('ends such a channel also when the number has become the selector’s own', () => {
      const map = newMap();
      const log: string[] = [];
      const [[a], [b]] = [pair(), pair()];
      const probe = new Probe('A', log, 'r');
      probe.handleError = () => {
        log.push('A.close');
      };
      map.set(a.fileno(), probe).set(b.fileno(), new Probe('B', log, 'w'));
      a.close();
      pass(0, map);
      expect(events(log)).toEqual(['A.close', 'B.write']);
    });

    it('goes on when the selector refuses a channel', () => {
      const map = newMap();
      const log: string[] = [];
      const [a, b] = pair();
      const selector = registryOf(map).acquire();
      const register = selector.register.bind(selector);
      jest.spyOn(selector, 'register').mockImplementation((fd, mask) => {
        if (fd === a.fileno()) {
          throw new SocketError('ENOSPC', 28, 'epoll_ctl', 'No space left on device');
        }
        return register(fd, mask);
      });
      try {
        map.set(a.fileno(), new Probe('A', log, 'r')).set(b.fileno(), new Probe('B', log, 'w'));
        pass(0, map);
        expect(events(log)).toEqual([expect.stringContaining('A.error ENOSPC'), 'B.write']);
      } finally {
        registryOf(map).release();
      }
    });
  });

  it('ExitNow out of a predicate costs nobody else a turn at the next pass', () => {
    const map = newMap();
    const log: string[] = [];
    const [a] = pair();
    const leaving = new Probe('A', log);
    leaving.readable = () => {
      throw new ExitNow('enough');
    };
    map.set(a.fileno(), leaving);
    const [chat, peer] = chatOf(Chat, map);
    peer.send(BYTE);
    expect(() => poll(0, map)).toThrow('enough');
    leaving.readable = () => false;
    poll(0, map);
    expect(chat.got).toEqual(['x']);
  });

  it('what throws from handleError of a predicate costs nobody else a turn', () => {
    const map = newMap();
    const [a] = pair();
    class Thrower extends Probe {
      override readable(): boolean {
        throw new Error('no');
      }
      override handleError(): void {
        throw new ExitNow('enough');
      }
    }
    map.set(a.fileno(), new Thrower('A', [], ''));
    const [chat, peer] = chatOf(Chat, map);
    peer.send(BYTE);
    expect(() => poll(0, map)).toThrow('enough');
    map.delete(a.fileno());
    poll(0, map);
    expect(chat.got).toEqual(['x']);
  });
});

describe('a hang-up that cannot be delivered', () => {
  /** Hung up, and neither readable nor writable: only a reader would get an event. */
  function hungUp(): [own: Socket, peer: Socket] {
    const [own, peer] = pair();
    const block = Buffer.alloc(65536);
    while (own.send(block) !== null);
    own.shutdown(SHUT_RDWR);
    return [own, peer];
  }

  it('does not spin in select order', async () => {
    const map = newMap();
    const log: string[] = [];
    const [own] = hungUp();
    map.set(own.fileno(), new Probe('A', log, 'w'));
    const selector = registryOf(map).acquire();
    const select = jest.spyOn(selector, 'select');
    try {
      await loop({ map, timeout: 40, count: 2 });
      loopSync({ map, timeout: 20, count: 2 });
      expect(events(log)).toEqual([]);
      const busy = select.mock.results.filter(({ value }) => value > 0).length;
      expect(busy).toBeLessThan(5);
      // The poll selector looks once a millisecond; a spin would look tens of thousands of times.
      expect(select.mock.calls.length).toBeLessThan(1000);
    } finally {
      registryOf(map).release();
    }
  });

  it('is delivered as soon as the channel wants to read', () => {
    const map = newMap();
    const log: string[] = [];
    const [own] = hungUp();
    const probe = new Probe('A', log, 'w');
    map.set(own.fileno(), probe);
    poll(0, map);
    poll(0, map);
    expect(events(log)).toEqual([]);
    probe.wants = 'rw';
    poll(0, map);
    expect(events(log)).toEqual(['A.read']);
  });

  it('is delivered in poll order, also to a channel that has been in a tick in select order', () => {
    const map = newMap();
    const log: string[] = [];
    const [own] = hungUp();
    map.set(own.fileno(), new Probe('A', log, 'w'));
    poll(0, map);
    poll2(0, map);
    expect(events(log)).toEqual(['A.close']);
  });

  it('does not keep a later write event from the channel', async () => {
    const { map, clock } = stillMap();
    const log: string[] = [];
    const [own, peer] = hungUp();
    const probe = new Probe('A', log, 'w');
    probe.onWrite = () => map.delete(own.fileno());
    map.set(own.fileno(), probe);
    // The hang-up is muted for 100 ms, and again where it cannot be delivered then.
    poll(0, map);
    clock.advance(100);
    poll(0, map);
    expect(map.nextDue).toBe(clock.now() + 100);
    expect(events(log)).toEqual([]);
    // As when a peer with a full buffer closes: the hang-up comes first, and then the room.
    while ((peer.recv(65536)?.length ?? 0) > 0);
    clock.advance(99);
    poll(0, map);
    expect(events(log)).toEqual([]);
    clock.advance(1);
    poll(0, map);
    expect(events(log)).toEqual(['A.write']);
  });

  it.each<[string, (map: ChannelMap) => Promise<void>]>([
    ['loop', (map) => loop({ map, timeout: 10_000 })],
    ['loopSync', async (map) => loopSync({ map, timeout: 10_000 })],
  ])('is muted for a short while in real time, too: %s', async (_, run) => {
    const map = newMap();
    const log: string[] = [];
    const [own, peer] = hungUp();
    const probe = new Probe('A', log, 'w');
    probe.onWrite = () => map.delete(own.fileno());
    map.set(own.fileno(), probe);
    const begin = performance.now();
    poll(0, map);
    while ((peer.recv(65536)?.length ?? 0) > 0);
    await run(map);
    expect(events(log)).toEqual(['A.write']);
    expect(performance.now() - begin).toBeGreaterThanOrEqual(100);
    expect(performance.now() - begin).toBeLessThan(5000);
  });

  it('does not spin on the read end of a pipe that is watched for output', () => {
    const path = temporaryPath('fifo');
    makePipe(path);
    const read = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    closeSync(openSync(path, constants.O_WRONLY | constants.O_NONBLOCK));
    class WriteOnly extends FileDispatcher {
      override readable(): boolean {
        return false;
      }
    }
    const map = newMap();
    const channel = new WriteOnly(read, map);
    closeSync(read);
    const selector = registryOf(map).acquire();
    const select = jest.spyOn(selector, 'select');
    try {
      loopSync({ map, timeout: 10, count: 5 });
      const busy = select.mock.results.filter(({ value }) => value > 0).length;
      expect(busy).toBeLessThan(3);
    } finally {
      registryOf(map).release();
      channel.close();
    }
  });
});

describe('suspend', () => {
  it('takes a channel out until its time is over', () => {
    const map = newMap();
    const log: string[] = [];
    const [a] = pair();
    map.set(a.fileno(), new Probe('A', log, 'w'));
    const begin = performance.now();
    registryOf(map).acquire();
    registryOf(map).suspend(a.fileno(), 60);
    poll(0, map);
    expect(events(log)).toEqual([]);
    expect(map.nextDue).toBeGreaterThanOrEqual(begin + 60);
    // A pass that waits is woken by its end, in real time.
    poll(5000, map);
    expect(events(log)).toEqual(['A.write']);
    expect(performance.now() - begin).toBeGreaterThanOrEqual(59);
    expect(performance.now() - begin).toBeLessThan(4000);
    expect(map.nextDue).toBe(Infinity);
    registryOf(map).release();
  });

  it('is noticed by a loop that waits, also its end, in real time', async () => {
    const map = newMap();
    const log: string[] = [];
    const [a, b] = pair();
    const probe = new Probe('A', log, 'r');
    probe.onRead = () => map.delete(a.fileno());
    map.set(a.fileno(), probe);
    setTimeout(() => {
      registryOf(map).suspend(a.fileno(), 50);
      b.send(BYTE);
    }, 10);
    const begin = performance.now();
    await loop({ map, timeout: 5000, count: 3 });
    expect(probe.reads).toBe(1);
    expect(performance.now() - begin).toBeGreaterThanOrEqual(49);
    expect(performance.now() - begin).toBeLessThan(4000);
  });

  it('ends early with resume', () => {
    const map = newMap();
    const log: string[] = [];
    const [a] = pair();
    map.set(a.fileno(), new Probe('A', log, 'w'));
    poll(0, map);
    registryOf(map).suspend(a.fileno(), Infinity);
    registryOf(map).suspend(a.fileno(), Infinity);
    poll(0, map);
    poll(20, map);
    expect(events(log)).toEqual(['A.write']);
    registryOf(map).resume(a.fileno());
    poll(0, map);
    expect(events(log)).toEqual(['A.write', 'A.write']);
  });

  it('is over for a channel that leaves', () => {
    const map = newMap();
    const log: string[] = [];
    const [a] = pair();
    const probe = new Probe('A', log, 'w');
    map.set(a.fileno(), probe);
    registryOf(map).suspend(a.fileno(), 60_000);
    map.delete(a.fileno());
    expect(map.nextDue).toBe(Infinity);
    map.set(a.fileno(), probe);
    poll(0, map);
    expect(events(log)).toEqual(['A.write']);
  });

  it.each([
    ['select order', poll],
    ['poll order', poll2],
  ])('is a deadline: over by the next pass, though that only looks, in %s', (_, pass) => {
    const { map, clock } = stillMap();
    const log: string[] = [];
    const [a] = pair();
    map.set(a.fileno(), new Probe('A', log, 'w'));
    registryOf(map).suspend(a.fileno(), 50);
    expect(map.nextDue).toBe(clock.now() + 50);
    clock.advance(49.9);
    pass(0, map);
    expect(events(log)).toEqual([]);
    clock.advanceTo(map.nextDue);
    pass(0, map);
    expect(events(log)).toEqual(['A.write']);
    expect(map.nextDue).toBe(Infinity);
  });

  it('may be made longer, shorter, or endless', () => {
    const { map, clock } = stillMap();
    const [a] = pair();
    map.set(a.fileno(), new Probe('A', [], 'w'));
    registryOf(map).suspend(a.fileno(), 50);
    registryOf(map).suspend(a.fileno(), 70);
    expect(map.nextDue).toBe(clock.now() + 70);
    registryOf(map).suspend(a.fileno(), 30);
    expect(map.nextDue).toBe(clock.now() + 30);
    registryOf(map).suspend(a.fileno(), Infinity);
    expect(map.nextDue).toBe(Infinity);
    registryOf(map).suspend(a.fileno(), 30);
    registryOf(map).resume(a.fileno());
    expect(map.nextDue).toBe(Infinity);
  });

  it('leaves the others alone', () => {
    const map = newMap();
    const log: string[] = [];
    const [a, b] = pair();
    map.set(a.fileno(), new Probe('A', log, 'w')).set(b.fileno(), new Probe('B', log, 'w'));
    registryOf(map).suspend(a.fileno(), 60_000);
    poll(0, map);
    expect(events(log)).toEqual(['B.write']);
  });
});

describe('work put off', () => {
  it('is done before a pass blocks, once', () => {
    const [chat] = chatOf(Chat);
    let done = 0;
    const work = (): void => {
      expect(registryOf(chat.map).undefer(work)).toBe(true);
      done += 1;
    };
    registryOf(chat.map).defer(work);
    poll(0, chat.map);
    poll(0, chat.map);
    expect(done).toBe(1);
    expect(registryOf(chat.map).undefer(work)).toBe(false);
  });
});

describe('invalidate', () => {
  it('tells the channel in its turn until it has left, and watches it again when it is set again', () => {
    const map = newMap();
    const log: string[] = [];
    const [a, b] = pair();
    const [first, second] = [new Probe('A', log, 'w'), new Probe('B', log, 'w')];
    map.set(a.fileno(), first).set(b.fileno(), second);
    poll(0, map);
    log.length = 0;
    registryOf(map).invalidate(a.fileno());
    registryOf(map).invalidate(a.fileno());
    poll(5000, map);
    expect(events(log)).toEqual(['A.close', 'B.write']);
    poll(0, map);
    expect(events(log)).toEqual(['A.close', 'B.write', 'A.close', 'B.write']);
    map.set(a.fileno(), first);
    log.length = 0;
    poll(0, map);
    expect(events(log)).toEqual(['A.write', 'B.write']);
  });

  it('calls no handler of a channel that has left by then', () => {
    const map = newMap();
    const log: string[] = [];
    const [a, b] = pair();
    map.set(a.fileno(), new Probe('A', log, 'w')).set(b.fileno(), new Probe('B', log));
    poll(0, map);
    log.length = 0;
    registryOf(map).invalidate(a.fileno());
    map.delete(a.fileno());
    poll(0, map);
    expect(events(log)).toEqual([]);
  });
});
