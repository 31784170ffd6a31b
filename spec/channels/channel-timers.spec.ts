// Timers and deadlines of a channel: who is told of their errors, and what ends them.

import { setTimeout as sleep } from 'node:timers/promises';
import {
  AF_INET,
  AF_UNIX,
  Dispatcher,
  ExitNow,
  FileDispatcher,
  type Handled,
  loop,
  loopSync,
  ManualClock,
  pipe,
  poll,
  poll2,
  records,
  SOCK_DGRAM,
  Socket,
  type SocketLike,
  shutdown,
  type TimeLimit,
  toDuplex,
} from 'asyncore';
import { sessionOf } from '../../lib/channels/dispatcher';
import { WAYS } from '../support/drive';
import { keep, keepFd, newMap, stillMap } from '../support/keep';
import { chatWithPeer, LineChat, Listener, text, tick } from '../support/limits';

/** A stand-in with the methods of a socket. */
const socketLike = (socket: Socket): SocketLike => ({
  fileno: () => socket.fileno(),
  getPeerName: () => socket.getPeerName(),
  getSockOpt: () => 0,
  recv: () => null,
  send: () => 0,
  close: () => {},
});

/** A client that sends nothing. */
class Dialer extends Dispatcher {
  override ignoreLogTypes = new Set(['warning', 'error']);
  override writable(): boolean {
    return this.connecting;
  }
}

const place = () => {
  const { map, clock } = stillMap();
  const calls: unknown[] = [];
  return { clock, calls, ...chatWithPeer((socket) => new LineChat(socket, map), map) };
};

describe.each(WAYS)('A timer of a channel (%s)', (_, how) => {
  it('is called with the channel as this, and its arguments', async () => {
    const { map, clock, chat, calls } = place();
    function note(this: unknown, ...args: unknown[]): void {
      calls.push([this === chat, ...args, clock.now()]);
    }
    const later = chat.callLater(10, note, 'later', 1);
    const every = chat.callEvery(4, note, 'every');
    expect([later.due, every.due]).toEqual([1010, 1004]);
    for (let turn = 0; turn < 5; turn += 1) {
      clock.advance(2);
      await tick(how, map);
    }
    expect(calls).toEqual([
      [true, 'every', 1004],
      [true, 'every', 1008],
      [true, 'later', 1, 1010],
    ]);
  });

  it('is called no more when the channel has closed', async () => {
    const { map, clock, chat, calls } = place();
    // So that the loops have something to do.
    const other = chatWithPeer((socket) => new LineChat(socket, map), map);
    const later = chat.callLater(10, () => calls.push('later'));
    const every = chat.callEvery(10, () => calls.push('every'));
    const called = chat.callLater(0, () => calls.push('called'));
    await tick(how, map);
    chat.close();
    clock.advance(1000);
    await tick(how, map, 3);
    expect(calls).toEqual(['called']);
    expect([later, every].map(({ active, due }) => [active, due])).toEqual([
      [false, Infinity],
      [false, Infinity],
    ]);
    expect([later.reset(), every.reset(), called.reset(5)]).toEqual([false, false, false]);
    expect(map.nextDue).toBe(Infinity);
    other.chat.close();
  });

  it('tells handleError what it throws, which closes the channel and ends its other timers', async () => {
    const { map, chat, calls } = place();
    const boom = new Error('boom');
    chat.callLater(0, () => {
      throw boom;
    });
    chat.callLater(0, () => calls.push('after the close'));
    await tick(how, map);
    expect([chat.events, chat.errors, calls]).toEqual([['error', 'close'], [boom], []]);
    expect([chat.closeReason, chat.closeError]).toEqual(['error', boom]);
    expect(map.size).toBe(0);
  });

  it('leaves the loop by ExitNow, and stays if it repeats', async () => {
    const { map, clock, chat } = place();
    let calls = 0;
    chat.callEvery(5, () => {
      calls += 1;
      if (calls === 1) throw new ExitNow('enough');
    });
    clock.advance(5);
    await expect((async () => tick(how, map))()).rejects.toThrow('enough');
    clock.advance(5);
    await tick(how, map);
    expect([calls, chat.events]).toEqual([2, []]);
  });

  it('has its channel asked again what it waits for', async () => {
    const { map, chat, peer } = place();
    await tick(how, map);
    chat.callLater(0, () => {
      chat.readable = () => false;
    });
    await tick(how, map);
    peer.send(text('too late\n'));
    await tick(how, map, 2);
    expect(chat.events).toEqual([]);
  });

  it('of the channel’s next connection is made by a closed channel', async () => {
    const { map, clock, calls } = place();
    const listener = new Listener(map);
    class Client extends Dialer {
      override handleConnect(): Handled {
        calls.push(['connected', clock.now()]);
        this.callLater(0, () => calls.push('pinged'));
        if (calls.length === 1) void this.handleClose();
      }
      override handleClose(): Handled {
        this.close();
        this.callLater({ ms: 50, keepAlive: true }, this.connect, listener.name);
      }
    }
    const client = new Client(null, map);
    client.connect(listener.name);
    for (let turn = 0; calls.length < 3 && turn < 1000; turn += 1) {
      if (map.nextDue < Infinity) clock.advanceTo(map.nextDue);
      await tick(how, map);
      await sleep(0);
    }
    expect(calls).toEqual([['connected', 1000], ['connected', 1050], 'pinged']);
    client.close();
    listener.close();
  });
});

describe('A rejected timer of a channel', () => {
  it('tells handleError', async () => {
    const { map, chat } = place();
    const boom = new Error('boom');
    chat.callLater(0, async () => {
      throw boom;
    });
    await tick({ usePoll: false, sync: false }, map);
    await sleep(0);
    expect([chat.events, chat.errors]).toEqual([['error', 'close'], [boom]]);
  });
});

describe('The timers of a channel', () => {
  it('stay when another socket takes the place of its own, as for STARTTLS', () => {
    const { map, clock, chat, calls, peer } = place();
    chat.callEvery(10, () => calls.push(clock.now()));
    chat.setDeadline(35);
    const [ours, theirs] = Socket.pair();
    keep(theirs);
    const former = chat.socket as Socket;
    chat.setSocket(ours);
    former.close();
    expect(peer.recv(1)).toEqual(Buffer.alloc(0));
    for (let turn = 0; turn < 5; turn += 1) {
      clock.advance(10);
      poll(0, map);
    }
    expect(calls).toEqual([1010, 1020, 1030]);
    expect(chat.events).toEqual(['timeout', 'close']);
  });

  it('stay while it is out of the map', () => {
    const { map, clock, chat, calls } = place();
    // pyftpdlib throttles like this.
    chat.delChannel();
    chat.callLater(10, () => chat.setSocket(chat.socket as Socket));
    chat.callLater(5, () => calls.push(map.size));
    for (let turn = 0; turn < 2; turn += 1) {
      clock.advance(5);
      poll(0, map);
    }
    expect(calls).toEqual([0]);
    expect(map.get(chat.fileno() ?? -1)).toBe(chat);
  });

  it('go by the clock of another map that it enters', () => {
    const { map, clock, chat, calls } = place();
    const far = new ManualClock(50_000);
    const other = newMap({ clock: far });
    const timer = chat.callLater(10, () => calls.push('called'));
    const keeper = chat.callLater({ ms: 20, keepAlive: true }, () => calls.push('kept'));
    const called = chat.callLater(1, () => {});
    clock.advance(4);
    poll(0, map);
    chat.delChannel();
    chat.setSocket(chat.socket as Socket, other);
    expect(called.active).toBe(false);
    expect([timer.due, keeper.due, map.nextDue, other.nextDue]).toEqual([
      50_006,
      50_016,
      Infinity,
      50_006,
    ]);
    clock.advance(1000);
    poll(0, map);
    far.advance(16);
    poll(0, other);
    expect(calls).toEqual(['called', 'kept']);
    chat.close();
  });

  it.each<[string, (socket: Socket, chat: LineChat) => void]>([
    ['a channel', (socket, chat) => void new LineChat(socket, chat.map)],
    ['a stream', (_, chat) => void toDuplex(chat).destroy()],
    ['an iterator', (_, chat) => void records(chat, '\n').return()],
  ])('end when %s takes its socket over', (_, take) => {
    const { clock, map, chat, calls } = place();
    const timer = chat.callEvery(10, () => calls.push('called'));
    chat.setDeadline(10);
    const socket = chat.socket as Socket;
    take(socket, chat);
    clock.advance(1000);
    poll(0, map);
    expect([calls, chat.events, timer.active, timer.reset()]).toEqual([[], [], false, false]);
  });

  it.each<[string, (chat: LineChat) => unknown]>([
    ['close()', (chat) => chat.close()],
    ['handleClose()', (chat) => void chat.handleClose()],
    ['closeWhenDone()', (chat) => chat.closeWhenDone()],
    ['shutdown()', (chat) => shutdown(chat.map)],
    ['Symbol.dispose', (chat) => chat[Symbol.dispose]()],
    ['its socket’s close()', (chat) => (chat.socket as Socket).close()],
    ['its socket’s detach()', (chat) => void keepFd((chat.socket as Socket).detach())],
  ])('end by %s', async (_, end) => {
    const { map, clock, chat, calls } = place();
    const timer = chat.callLater(10, () => calls.push('called'));
    chat.setDeadline(10);
    await end(chat);
    poll(0, map);
    poll(0, map);
    expect([timer.active, map.size, map.nextDue]).toEqual([false, 0, Infinity]);
    clock.advance(1000);
    poll(0, map);
    expect(calls).toEqual([]);
    expect(sessionOf(chat).timers).toBeNull();
  });

  it('end when the peer closes, or resets', () => {
    const { map, chat, peer, calls } = place();
    const timer = chat.callEvery(10, () => calls.push('called'));
    peer.close();
    poll(1000, map);
    expect([chat.events, timer.active]).toEqual([['close'], false]);
  });

  it('of a channel that has closed are ended by another close()', () => {
    const { map, clock, chat, calls } = place();
    chat.close();
    const again = chat.callLater({ ms: 10, keepAlive: true }, () => calls.push('again'));
    expect(again.active).toBe(true);
    chat.close();
    clock.advance(10);
    poll(0, map);
    expect([again.active, calls]).toEqual([false, []]);
  });

  it('are not those of another channel', () => {
    const { map, clock, chat, calls } = place();
    const other = chatWithPeer((socket) => new LineChat(socket, map), map).chat;
    chat.callLater(10, () => calls.push('one'));
    other.callLater(10, () => calls.push('other'));
    chat.close();
    clock.advance(10);
    poll(0, map);
    expect(calls).toEqual(['other']);
  });

  it('stay when a channel fails to take the socket over', () => {
    const { clock, map, chat, calls } = place();
    chat.callLater(5, () => calls.push('called'));
    const stand = { ...socketLike(chat.socket as Socket), fileno: () => -1, owner: chat };
    expect(() => new LineChat(stand as never, map)).toThrow('closed');
    clock.advance(5);
    poll(0, map);
    expect(calls).toEqual(['called']);
  });

  it('keep their moments and their order in another map of the same clock', () => {
    const clock = new ManualClock(0.1);
    const [one, other] = [newMap({ clock }), newMap({ clock })];
    const { chat } = chatWithPeer((socket) => new LineChat(socket, one), one);
    const calls: string[] = [];
    const first = chat.callLater(0.7, () => calls.push('first'));
    chat.callLater(0.7, () => calls.push('second'));
    first.reset();
    const { due } = first;
    clock.advance(0.2);
    chat.setSocket(chat.socket as Socket, other);
    expect(first.due).toBe(due);
    clock.advanceTo(due);
    poll(0, other);
    expect(calls).toEqual(['second', 'first']);
  });

  it('do not keep the loop of the map that they have left', async () => {
    const [one, other] = [newMap(), newMap()];
    const { chat } = chatWithPeer((socket) => new LineChat(socket, one), one);
    chat.callLater({ ms: 60_000, keepAlive: true }, () => {});
    const start = performance.now();
    const done = loop({ map: one });
    await sleep(5);
    const socket = chat.socket as Socket;
    chat.delChannel();
    await sleep(5);
    chat.setSocket(socket, other);
    await done;
    // And not when its pass of 30 s is over.
    expect(performance.now() - start).toBeLessThan(10_000);
    expect([one.size, other.size]).toEqual([0, 1]);
  });

  it('are made before there is a socket, by a listener, and by a channel on a file', () => {
    const { map, clock } = stillMap(0);
    const calls: string[] = [];
    const early = new LineChat(null, map);
    early.callLater(5, () => calls.push('early'));
    early.createSocket(AF_UNIX, SOCK_DGRAM);
    const listener = new Listener(map, {}, AF_INET);
    listener.callEvery(5, () => calls.push('listener'));
    const [reader, writer] = pipe();
    keepFd(reader);
    keepFd(writer);
    const file = new FileDispatcher(reader, map);
    file.callLater(5, () => calls.push('file'));
    clock.advance(5);
    poll2(0, map);
    expect(calls).toEqual(['early', 'listener', 'file']);
    for (const channel of [early, listener, file]) channel.close();
  });
});

describe.each(WAYS)('A deadline (%s)', (_, how) => {
  it('closes the channel, however busy it is, and says why', async () => {
    const { map, clock, chat, peer } = place();
    chat.setIdleTimeout(50);
    chat.setDeadline(100);
    for (let turn = 0; turn < 10; turn += 1) {
      peer.send(text('x\n'));
      clock.advance(9.9);
      await tick(how, map);
    }
    expect(chat.events).toEqual(Array(10).fill('x'));
    expect(chat.closeReason).toBeNull();
    clock.advance(1);
    await tick(how, map);
    expect(chat.events.slice(10)).toEqual(['timeout', 'close']);
    expect([chat.closeReason, chat.closeError, map.size]).toEqual(['timeout', null, 0]);
  });

  it('is told once, and the channel may live on', async () => {
    const { map, clock } = place();
    class Patient extends LineChat {
      override handleTimeout(): Handled {
        this.events.push(`timeout at ${clock.now()}, ${this.closeReason}`);
      }
    }
    const { chat, peer } = chatWithPeer((socket) => new Patient(socket, map), map);
    chat.setDeadline(100);
    clock.advance(100);
    await tick(how, map);
    clock.advance(100);
    await tick(how, map);
    expect(chat.events).toEqual(['timeout at 1100, timeout']);
    peer.close();
    await tick(how, map);
    expect([chat.events.at(-1), chat.closeReason]).toEqual(['close', 'end']);
  });

  it.each([0, Infinity])(
    'is taken back by setDeadline(%d), and moved by another one',
    async (none) => {
      const { map, clock, chat } = place();
      chat.setDeadline(10);
      chat.setDeadline(30);
      clock.advance(20);
      await tick(how, map);
      expect([chat.events, map.nextDue]).toEqual([[], 1030]);
      chat.setDeadline(none);
      expect(map.nextDue).toBe(Infinity);
      clock.advance(100);
      await tick(how, map);
      expect(chat.events).toEqual([]);
    },
  );

  it('of a connect that is under way is kept for the connection', async () => {
    const { map, clock, calls } = place();
    const listener = new Listener(map);
    class Client extends Dialer {
      override handleConnect(): Handled {
        calls.push('connected');
      }
      override handleTimeout(): Handled {
        calls.push('timeout');
        return super.handleTimeout();
      }
    }
    const client = new Client(null, map);
    client.connect(listener.name);
    client.setDeadline(100);
    for (let turn = 0; calls.length < 1 && turn < 1000; turn += 1) {
      await tick(how, map);
      await sleep(0);
    }
    clock.advance(100);
    await tick(how, map);
    expect([calls, client.closeReason]).toEqual([['connected', 'timeout'], 'timeout']);
    listener.close();
  });
});

describe('A deadline that is set too late', () => {
  it('is not told to a channel that has closed', () => {
    const { map, clock, chat } = place();
    chat.close();
    // As by a program for which `push` has returned false.
    chat.setDeadline(10);
    clock.advance(10);
    poll(0, map);
    expect(chat.events).toEqual([]);
  });

  it('nor an idle timeout, closes no socket that another channel has', () => {
    const { map, clock, chat } = place();
    const other = newMap({ clock });
    chat.setIdleTimeout(10);
    const next = new LineChat(chat.socket as Socket, other);
    chat.setDeadline(10);
    clock.advance(10);
    poll(0, map);
    poll(0, other);
    expect([chat.events, next.events, other.size]).toEqual([[], [], 1]);
    chat.delChannel();
  });
});

describe('handleTimeout', () => {
  it('is told which limit it is', () => {
    const { map, clock } = place();
    const limits: unknown[] = [];
    class Patient extends LineChat {
      override handleTimeout(limit?: TimeLimit): Handled {
        limits.push(limit);
      }
    }
    const { chat } = chatWithPeer((socket) => new Patient(socket, map), map);
    chat.setIdleTimeout(10);
    chat.setDeadline(15);
    for (let turn = 0; turn < 20; turn += 1) {
      clock.advance(1);
      poll(0, map);
    }
    expect(limits).toEqual(['idle', 'deadline', 'idle']);
  });

  it('is not called within itself', () => {
    const { map, clock } = place();
    let calls = 0;
    class Nested extends LineChat {
      override handleTimeout(): Handled {
        calls += 1;
        clock.advance(50);
        poll(0, map);
      }
    }
    const { chat } = chatWithPeer((socket) => new Nested(socket, map), map);
    chat.setIdleTimeout(10);
    clock.advance(10);
    poll(0, map);
    expect(calls).toBe(1);
    clock.advance(10);
    poll(0, map);
    expect(calls).toBe(2);
  });
});

describe('setDeadline', () => {
  it('tells handleError what an async handleTimeout rejects with', async () => {
    const { map } = place();
    const boom = new Error('boom');
    class Failing extends LineChat {
      override async handleTimeout(): Promise<void> {
        throw boom;
      }
    }
    const { chat } = chatWithPeer((socket) => new Failing(socket, map), map);
    chat.setDeadline(0.001);
    (map.clock as ManualClock).advance(1);
    await loop({ map, timeout: 0, count: 1 });
    await sleep(0);
    expect(chat.errors).toEqual([boom]);
  });

  it('comes in real time, too', async () => {
    const map = newMap();
    const { chat } = chatWithPeer((socket) => new LineChat(socket, map), map);
    chat.setDeadline(20);
    const start = performance.now();
    await loop({ map });
    expect(performance.now() - start).toBeGreaterThanOrEqual(20);
    expect(chat.events).toEqual(['timeout', 'close']);
    const second = chatWithPeer((socket) => new LineChat(socket, map), map).chat;
    second.setDeadline(20);
    loopSync({ map, timeout: 1000, count: 5 });
    expect(second.events).toEqual(['timeout', 'close']);
  });

  it.each<[unknown, string, string]>([
    [
      -1,
      'ERR_OUT_OF_RANGE',
      'Cannot set a deadline: expected a deadline of 0 ms or more, received -1',
    ],
    [
      Number.NaN,
      'ERR_OUT_OF_RANGE',
      'Cannot set a deadline: expected a deadline of 0 ms or more, received NaN',
    ],
    [
      '5',
      'ERR_INVALID_ARG_TYPE',
      "Cannot set a deadline: expected a deadline in milliseconds, received '5'",
    ],
  ])('refuses %p', (value, code, message) => {
    const { chat } = place();
    expect(() => chat.setDeadline(value as number)).toThrow(
      expect.objectContaining({ code, message }),
    );
  });
});
