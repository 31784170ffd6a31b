// What is ready although the kernel does not report it: each reason, for as long as it holds, in map order
// with what the kernel reports.

import { closeSync, openSync } from 'node:fs';
import {
  AsyncChat,
  type Channel,
  ChannelMap,
  Dispatcher,
  ExitNow,
  loop,
  poll,
  poll2,
  Socket,
} from 'asyncore';
import { registryOf } from '../../lib/loop/channel-map';
import { Entry } from '../../lib/loop/entry';
import { Snapshot } from '../../lib/loop/readiness';

const BYTE = Buffer.from('x');
const ORDERS: [string, (timeout: number, map: ChannelMap) => void][] = [
  ['select order', poll],
  ['poll order', poll2],
];

const sockets: Socket[] = [];
const files: number[] = [];
const maps: ChannelMap[] = [];

afterEach(() => {
  for (const map of maps.splice(0)) map.clear();
  for (const socket of sockets.splice(0)) socket.close();
  for (const fd of files.splice(0)) closeSync(fd);
});

function newMap(): ChannelMap {
  const map = new ChannelMap();
  maps.push(map);
  return map;
}

function pair(): [own: Socket, peer: Socket] {
  const both = Socket.pair();
  sockets.push(...both);
  return both;
}

function file(): number {
  const fd = openSync(__filename, 'r');
  files.push(fd);
  return fd;
}

class Probe implements Channel {
  hasBufferedInput = false;
  onEvent: () => void = () => {};

  constructor(
    readonly name: string,
    readonly log: string[],
    public wants = 'r',
  ) {}

  readable(): boolean {
    return this.wants.includes('r');
  }
  writable(): boolean {
    return this.wants.includes('w');
  }
  #event(what: string): void {
    this.log.push(`${this.name}.${what}`);
    this.onEvent();
  }
  handleReadEvent(): void {
    this.#event('read');
  }
  handleWriteEvent(): void {
    this.#event('write');
  }
  handleExptEvent(): void {
    this.#event('expt');
  }
  handleClose(): void {
    this.#event('close');
  }
  handleError(error: unknown): void {
    this.log.push(`${this.name}.error ${(error as Error).message}`);
  }
  close(): void {}
}

describe.each(ORDERS)('Buffered input in %s', (_, pass) => {
  it('is a read event at every tick while it is there', () => {
    const map = newMap();
    const log: string[] = [];
    const [own] = pair();
    const probe = new Probe('A', log);
    map.set(own.fileno(), probe);
    pass(0, map);
    expect(log).toEqual([]);
    probe.hasBufferedInput = true;
    // Far too long a wait: it is over at once.
    const begin = performance.now();
    pass(5000, map);
    pass(5000, map);
    expect(performance.now() - begin).toBeLessThan(4000);
    expect(log).toEqual(['A.read', 'A.read']);
    probe.hasBufferedInput = false;
    pass(0, map);
    expect(log).toHaveLength(2);
  });

  it('is delivered together with what the kernel has, once', () => {
    const map = newMap();
    const log: string[] = [];
    const [own, peer] = pair();
    const probe = new Probe('A', log, 'rw');
    probe.hasBufferedInput = true;
    peer.send(BYTE);
    map.set(own.fileno(), probe);
    pass(0, map);
    expect(log).toEqual(['A.read', 'A.write']);
  });

  it('waits while input is not wanted', () => {
    const map = newMap();
    const log: string[] = [];
    const [own] = pair();
    const probe = new Probe('A', log, '');
    probe.hasBufferedInput = true;
    map.set(own.fileno(), probe);
    const begin = performance.now();
    pass(20, map);
    expect(performance.now() - begin).toBeGreaterThanOrEqual(19);
    expect(log).toEqual([]);
    probe.wants = 'r';
    pass(0, map);
    expect(log).toEqual(['A.read']);
  });

  it('loses no event when the code of another channel throws while it is collected', () => {
    const map = newMap();
    const log: string[] = [];
    const [ready, throwing, kernel] = ['A', 'B', 'C'].map((name) => new Probe(name, log));
    const [own, peer] = pair();
    const channels = [ready, throwing, kernel] as [Probe, Probe, Probe];
    map.set(pair()[0].fileno(), channels[0]);
    map.set(pair()[0].fileno(), channels[1]);
    map.set(own.fileno(), channels[2]);
    channels[0].hasBufferedInput = true;
    let looks = 0;
    Object.defineProperty(channels[1], 'hasBufferedInput', {
      get() {
        looks += 1;
        // The first look is taken when the predicates are asked, and its error goes to the channel.
        if (looks === 2) throw new Error('second look');
        return true;
      },
    });
    peer.send(BYTE);
    expect(() => pass(0, map)).toThrow('second look');
    expect(log).toEqual([]);
    // The kernel has nothing for C any more, but the library has.
    own.recv(1);
    channels[2].hasBufferedInput = true;
    pass(0, map);
    expect(log.sort()).toEqual(['A.read', 'B.read', 'C.read']);
  });
});

describe.each(ORDERS)('A closed socket in %s', (_, pass) => {
  it('is reported until its channel has left', () => {
    const map = newMap();
    const log: string[] = [];
    const [own] = pair();
    const probe = new Probe('A', log);
    map.set(own.fileno(), probe);
    registryOf(map).invalidate(own.fileno());
    pass(5000, map);
    probe.onEvent = () => map.delete(own.fileno());
    pass(5000, map);
    expect(log).toEqual(['A.close', 'A.close']);
    map.set(own.fileno(), new Probe('B', log));
    pass(0, map);
    expect(log).toHaveLength(2);
  });
});

describe.each(ORDERS)('A number that was lost to another channel in %s', (_, pass) => {
  class Quiet extends Dispatcher {
    constructor(
      readonly name: string,
      map: ChannelMap,
      readonly heard: string[],
    ) {
      super(null, map);
    }
    override writable(): boolean {
      return false;
    }
    override handleClose(): void {
      this.heard.push(`${this.name}.close`);
    }
  }

  /** Channel `old`, whose socket was closed, and `heir`, whose socket has got the number. */
  function lost(map: ChannelMap, log: string[]): { old: Quiet; heir: Quiet } {
    const [own] = pair();
    const old = new Quiet('old', map, log);
    old.setSocket(own);
    old.connected = true;
    const fd = own.fileno();
    own.close();
    const [first, second] = pair();
    const next = first.fileno() === fd ? first : second;
    expect(next.fileno()).toBe(fd);
    const heir = new Quiet('heir', map, log);
    heir.setSocket(next);
    heir.connected = true;
    return { old, heir };
  }

  it('is delivered once, in its place', () => {
    const map = newMap();
    const log: string[] = [];
    const [[before], [after]] = [pair(), pair()];
    map.set(before.fileno(), new Probe('before', log, 'w'));
    lost(map, log);
    map.set(after.fileno(), new Probe('after', log, 'w'));
    pass(5000, map);
    expect(log).toEqual(
      pass === poll
        ? ['old.close', 'before.write', 'after.write']
        : ['before.write', 'old.close', 'after.write'],
    );
    log.length = 0;
    pass(0, map);
    expect(log).toEqual(['before.write', 'after.write']);
  });

  it('is not delivered to a channel that has closed by then, or in the same tick', () => {
    const map = newMap();
    const log: string[] = [];
    const { old } = lost(map, log);
    old.close();
    pass(0, map);
    expect(log).toEqual([]);
    const other = newMap();
    const [own, peer] = pair();
    peer.send(BYTE);
    const killer = new Probe('killer', log);
    other.set(own.fileno(), killer);
    const second = lost(other, log);
    killer.onEvent = () => second.old.close();
    pass(0, other);
    expect(log).toEqual(['killer.read']);
  });

  it('is still delivered after a tick that ExitNow has cut short', () => {
    const map = newMap();
    const log: string[] = [];
    const [own, peer] = pair();
    peer.send(BYTE);
    const leaver = new Probe('leaver', log);
    leaver.onEvent = () => {
      leaver.wants = '';
      throw new ExitNow('enough');
    };
    map.set(own.fileno(), leaver);
    lost(map, log);
    expect(() => pass(0, map)).toThrow('enough');
    pass(0, map);
    expect(log).toEqual(['leaver.read', 'old.close']);
  });
});

describe.each(ORDERS)('A regular file in %s', (_, pass) => {
  it('is ready for what it is asked, for as long as it is asked', () => {
    const map = newMap();
    const log: string[] = [];
    const probe = new Probe('F', log);
    map.set(file(), probe);
    pass(5000, map);
    probe.wants = 'w';
    pass(5000, map);
    probe.wants = '';
    pass(0, map);
    probe.wants = 'rw';
    pass(5000, map);
    expect(log).toEqual(['F.read', 'F.write', 'F.read', 'F.write']);
  });

  it('is not ready while it is suspended, or when its channel has left', () => {
    const map = newMap();
    const log: string[] = [];
    const fd = file();
    const [own] = pair();
    map.set(fd, new Probe('F', log));
    map.set(own.fileno(), new Probe('A', log));
    registryOf(map).suspend(fd, Infinity);
    pass(0, map);
    expect(log).toEqual([]);
    registryOf(map).resume(fd);
    pass(0, map);
    map.delete(fd);
    const begin = performance.now();
    pass(20, map);
    expect(performance.now() - begin).toBeGreaterThanOrEqual(19);
    expect(log).toEqual(['F.read']);
  });
});

describe.each(ORDERS)('All of them, in %s', (_, pass) => {
  function five(log: string[]): { map: ChannelMap; probes: Probe[] } {
    const map = newMap();
    const probes = ['A', 'B', 'C', 'D', 'E'].map((name) => new Probe(name, log));
    const [[a], [b], [d, x], [e, y]] = [pair(), pair(), pair(), pair()];
    const fds = [a.fileno(), b.fileno(), file(), d.fileno(), e.fileno()];
    for (const [index, fd] of fds.entries()) map.set(fd, probes[index] as Probe);
    pass(0, map);
    log.length = 0;
    y.send(BYTE);
    x.send(BYTE);
    registryOf(map).invalidate(b.fileno());
    (probes[0] as Probe).hasBufferedInput = true;
    return { map, probes };
  }

  it('come in map order, and again at the next tick', () => {
    const log: string[] = [];
    const { map } = five(log);
    const all = ['A.read', 'B.close', 'C.read', 'D.read', 'E.read'];
    pass(0, map);
    pass(0, map);
    expect(log).toEqual([...all, ...all]);
  });

  it('are not lost by a tick that ExitNow cuts short', () => {
    const log: string[] = [];
    const { map, probes } = five(log);
    const [a] = probes as [Probe];
    a.onEvent = () => {
      a.onEvent = () => {};
      throw new ExitNow('enough');
    };
    expect(() => pass(0, map)).toThrow('enough');
    expect(log).toEqual(['A.read']);
    pass(0, map);
    expect(log).toEqual(['A.read', 'A.read', 'B.close', 'C.read', 'D.read', 'E.read']);
  });
});

describe('A chat that has kept records back', () => {
  class Paused extends AsyncChat {
    readonly got: string[] = [];
    override collectIncomingData(data: Buffer): void {
      this.got.push(data.toString());
    }
    override foundTerminator(): void {
      this.pauseReading();
    }
  }

  it.each(ORDERS)('gets them one by one, each after resumeReading, in %s', (_, pass) => {
    const map = newMap();
    const [own, peer] = pair();
    const chat = new Paused(own, map);
    chat.setTerminator('\n');
    peer.send(Buffer.from('one\ntwo\nthree\n'));
    pass(0, map);
    pass(20, map);
    expect(chat.got).toEqual(['one']);
    chat.resumeReading();
    pass(5000, map);
    expect(chat.got).toEqual(['one', 'two']);
    chat.resumeReading();
    pass(5000, map);
    expect(chat.got).toEqual(['one', 'two', 'three']);
    chat.resumeReading();
    pass(0, map);
    expect(chat.hasBufferedInput).toBe(false);
  });

  it('does not keep a loop inside Node’s busy meanwhile', async () => {
    const map = newMap();
    const [own, peer] = pair();
    const chat = new Paused(own, map);
    chat.setTerminator('\n');
    peer.send(Buffer.from('one\ntwo\n'));
    poll(0, map);
    const select = jest.spyOn(registryOf(map).acquire(), 'select');
    try {
      await loop({ map, timeout: 30, count: 1 });
      // Over poll(2) a loop looks once in a millisecond.
      expect(select.mock.calls.length).toBeLessThan(100);
    } finally {
      registryOf(map).release();
    }
    expect(chat.got).toEqual(['one']);
  });
});

describe('A snapshot', () => {
  const entry = (order: number): Entry => new Entry(order, {} as Channel, order);

  it.each([0, 1, 2, 5, 32, 33, 100])('of %d entries is sorted as far as it reaches', (size) => {
    const snapshot = new Snapshot();
    const orders = Array.from({ length: size }, (_, index) => (index * 37 + 11) % 101);
    for (const order of orders) snapshot.entries.push(entry(order));
    snapshot.entries.push(entry(-1));
    snapshot.count = size;
    snapshot.sort();
    const sorted = snapshot.entries.slice(0, size).map(({ order }) => order);
    expect(sorted).toEqual([...orders].sort((a, b) => a - b));
  });

  it('keeps no entry when it is cleared', () => {
    const snapshot = new Snapshot();
    const first = entry(1);
    snapshot.entries.push(first, entry(2));
    snapshot.count = 2;
    snapshot.clear();
    expect(snapshot.count).toBe(0);
    expect(snapshot.entries).not.toContain(first);
  });
});
