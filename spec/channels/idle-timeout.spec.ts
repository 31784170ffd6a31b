// Idle timeouts: what counts as activity, who is told, and what it costs. Most of it in maps whose clock the
// test moves, so that each moment is exact and no wait is a matter of luck.

import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  AF_INET,
  type ChannelMap,
  Dispatcher,
  type Handled,
  loop,
  loopSync,
  poll,
  poll2,
  Socket,
  type SocketLike,
} from 'asyncore';
import { IdleTimeout } from '../../lib/channels/idle-timeout';
import { Deadlines } from '../../lib/loop/deadlines';
import { localAddress, WAYS } from '../support/drive';
import { keep, newMap, stillMap } from '../support/keep';
import { chatWithPeer, LineChat, Listener, text, tick } from '../support/limits';
import { runTypeScript } from '../support/program';
import { QuietChat } from '../support/quiet-chat';
import { call, received } from '../support/sockets';

/** One that a timeout does not close. */
class PatientChat extends LineChat {
  override handleTimeout(): Handled {
    this.events.push('timeout');
  }
}

/** A chat with a timeout of 1000 ms. */
const patient = (map = newMap()) =>
  chatWithPeer((socket) => {
    const chat = new PatientChat(socket, map);
    chat.setIdleTimeout(1000);
    return chat;
  }, map);

/** One for which no time passes until the test says so. */
function still() {
  const { map, clock } = stillMap();
  return { ...patient(map), clock };
}

describe.each(WAYS)('An idle timeout (%s)', (_, how) => {
  it('closes the channel, once', async () => {
    const { map, clock } = stillMap();
    const { chat } = chatWithPeer((socket) => new LineChat(socket, map), map);
    chat.setIdleTimeout(30);
    clock.advance(29.9);
    await tick(how, map, 3);
    expect(chat.events).toEqual([]);
    clock.advanceTo(map.nextDue);
    await tick(how, map, 3);
    expect(chat.events).toEqual(['timeout', 'close']);
    expect(map.size).toBe(0);
    expect(map.nextDue).toBe(Infinity);
  });

  it('ends a wait of the loop that would be longer, in real time', async () => {
    const { chat, map } = chatWithPeer((socket, map) => new LineChat(socket, map));
    const start = performance.now();
    chat.setIdleTimeout(30);
    if (how.sync) loopSync({ map, usePoll: how.usePoll });
    else await loop({ map, usePoll: how.usePoll });
    expect(performance.now() - start).toBeGreaterThanOrEqual(30);
    expect(performance.now() - start).toBeLessThan(5000);
    expect(chat.events).toEqual(['timeout', 'close']);
  });

  it.each<['input' | 'output' | 'both', string]>([
    ['input', 'output'],
    ['output', 'input'],
  ])('about %s alone is not put off by %s', async (direction, other) => {
    const { chat, map, peer, clock } = still();
    const flow = async (way: string) => {
      if (way === 'input') peer.send(text('x\n'));
      else chat.push('x\n');
      await tick(how, map, 1);
      received(peer);
    };
    chat.setIdleTimeout(1000, { direction });
    clock.advance(900);
    await flow(other);
    clock.advance(100);
    await tick(how, map, 1);
    expect(chat.events.filter((event) => event === 'timeout')).toEqual(['timeout']);
    clock.advance(900);
    await flow(direction);
    clock.advance(100);
    await tick(how, map, 1);
    expect(chat.events.filter((event) => event === 'timeout')).toEqual(['timeout']);
    clock.advance(900);
    await tick(how, map, 1);
    expect(chat.events.filter((event) => event === 'timeout')).toEqual(['timeout', 'timeout']);
  });

  it('is about inactivity, not about age: whatever comes in puts it off', async () => {
    const { chat, peer, map, clock } = still();
    for (let turn = 0; turn < 10; turn += 1) {
      clock.advance(900);
      // Half a record: no handler need be told for it to count.
      peer.send(text('.'));
      await tick(how, map);
    }
    expect(chat.events).toEqual([]);
    clock.advance(999);
    await tick(how, map);
    expect(chat.events).toEqual([]);
    clock.advance(1);
    await tick(how, map);
    expect(chat.events).toEqual(['timeout']);
  });

  it('is put off by input that has come in time, although the tick is late', async () => {
    const { chat, peer, map, clock } = still();
    clock.advance(5000);
    peer.send(text('a\n'));
    await tick(how, map);
    expect(chat.events).toEqual(['a']);
    clock.advance(999);
    await tick(how, map);
    expect(chat.events).toEqual(['a']);
    clock.advance(1);
    await tick(how, map);
    expect(chat.events).toEqual(['a', 'timeout']);
  });

  it('is put off by input that arrives while a handler of the same tick keeps the thread', async () => {
    const { map, clock } = stillMap();
    const one = patient(map);
    const other = patient(map);
    one.chat.onRecord = () => {
      clock.advance(900);
      other.peer.send(text('in time\n'));
      one.peer.send(text('too\n'));
      one.chat.onRecord = () => {};
      clock.advance(900);
    };
    one.peer.send(text('first\n'));
    await tick(how, map);
    clock.advance(1);
    await tick(how, map);
    expect([one.chat.events, other.chat.events]).toEqual([['first', 'too'], ['in time']]);
    clock.advance(999);
    await tick(how, map, 2);
    expect([one.chat.events, other.chat.events]).toEqual([['first', 'too'], ['in time']]);
    clock.advance(1);
    await tick(how, map, 2);
    expect([one.chat.events.at(-1), other.chat.events.at(-1)]).toEqual(['timeout', 'timeout']);
  });

  it('is put off by what is sent', async () => {
    const { chat, peer, map, clock } = still();
    chat.push(Buffer.alloc(8_000_000, 'x'));
    for (let turn = 0; turn < 10; turn += 1) {
      clock.advance(900);
      expect(received(peer)).not.toBe('');
      await tick(how, map);
    }
    expect(chat.writableLength).toBeGreaterThan(0);
    expect(chat.events).toEqual([]);
    // The peer stops reading: nothing is sent.
    await tick(how, map, 5);
    clock.advance(1000);
    await tick(how, map);
    expect(chat.events).toEqual(['timeout']);
  });

  it('is not put off by a push that nobody takes', async () => {
    const { chat, map, clock } = still();
    chat.push(Buffer.alloc(8_000_000, 'x'));
    await tick(how, map, 5);
    clock.advance(500);
    chat.push('more');
    await tick(how, map);
    clock.advance(500);
    await tick(how, map);
    expect(chat.events).toEqual(['timeout']);
  });

  it('tells an override that does not close again, after the same time', async () => {
    const { chat, map, clock } = still();
    for (const times of [1, 2, 3]) {
      clock.advance(999);
      await tick(how, map);
      expect(chat.events).toHaveLength(times - 1);
      clock.advance(1);
      await tick(how, map, 3);
      expect(chat.events).toHaveLength(times);
    }
  });

  it('is not made up for when several have passed', async () => {
    const { chat, map, clock } = still();
    clock.advance(10_500);
    await tick(how, map, 3);
    expect(chat.events).toEqual(['timeout']);
    clock.advance(999);
    await tick(how, map);
    expect(chat.events).toEqual(['timeout']);
    clock.advance(1);
    await tick(how, map);
    expect(chat.events).toEqual(['timeout', 'timeout']);
  });

  it('goes on while reading is paused', async () => {
    const { chat, peer, map, clock } = still();
    chat.pauseReading();
    peer.send(text('a\n'));
    clock.advance(1000);
    await tick(how, map);
    expect(chat.events).toEqual(['timeout']);
  });

  it('is not reached twice in a tick, however short it is', async () => {
    const { chat, map, clock } = still();
    chat.setIdleTimeout(Number.MIN_VALUE);
    clock.advance(1);
    await tick(how, map);
    expect(chat.events).toEqual(['timeout']);
  });

  it('ends a connect that takes too long', async () => {
    const { map, clock } = stillMap();
    // Without anybody to accept, a backlog of 1 has room for two.
    const full = keep(Socket.socket());
    full.bind(localAddress(AF_INET));
    full.listen(1);
    call(full.getSockName());
    call(full.getSockName());
    const chat = new LineChat(null, map);
    chat.createSocket();
    chat.setIdleTimeout(1000);
    clock.advance(500);
    chat.connect(full.getSockName());
    await tick(how, map);
    expect(chat.connecting).toBe(true);
    clock.advance(500);
    await tick(how, map);
    expect(chat.events).toEqual(['timeout', 'close']);
    expect(map.size).toBe(0);
  });

  it('begins anew with the connection', async () => {
    const { map, clock } = stillMap();
    const listener = new Listener(map);
    const chat = new PatientChat(null, map);
    chat.setIdleTimeout(1000);
    chat.createSocket();
    clock.advance(900);
    chat.handleConnect = () => {};
    chat.connect(listener.name);
    for (let turn = 0; turn < 1000 && !chat.connected; turn += 1) await tick(how, map);
    clock.advance(999);
    await tick(how, map);
    expect(chat.events).toEqual([]);
    clock.advance(1);
    await tick(how, map);
    expect(chat.events).toEqual(['timeout']);
  });

  it('of a listener ends when somebody calls', async () => {
    const { map, clock } = stillMap();
    const listener = new Listener(map);
    let timeouts = 0;
    listener.handleTimeout = () => {
      timeouts += 1;
    };
    listener.setIdleTimeout(1000);
    clock.advance(900);
    call(listener.name);
    await tick(how, map);
    expect(listener.callers).toHaveLength(1);
    clock.advance(999);
    await tick(how, map);
    expect(timeouts).toBe(0);
    clock.advance(1);
    await tick(how, map);
    expect(timeouts).toBe(1);
  });

  it('is told to those whose time it is, the earliest first', async () => {
    const { map, clock } = stillMap();
    const order: number[] = [];
    for (const duration of [300, 100, 200]) {
      const { chat } = chatWithPeer((socket) => new LineChat(socket, map), map);
      chat.setIdleTimeout(duration);
      chat.handleTimeout = () => {
        order.push(duration);
      };
    }
    clock.advance(250);
    await tick(how, map);
    expect(order).toEqual([100, 200]);
  });

  it('is not told to one that another one’s handleTimeout has closed', async () => {
    const { map, clock } = stillMap();
    const [first, second] = [patient(map).chat, patient(map).chat];
    first.handleTimeout = () => second.close();
    clock.advance(1000);
    await tick(how, map);
    expect(second.events).toEqual([]);
  });

  it('is an error of its channel when handleTimeout throws', async () => {
    const { map, clock } = stillMap();
    const { chat } = patient(map);
    const other = patient(map).chat;
    const error = new Error('too late');
    chat.handleTimeout = () => {
      throw error;
    };
    clock.advance(1000);
    await tick(how, map);
    expect(chat.errors).toEqual([error]);
    expect(chat.events).toEqual(['error', 'close']);
    expect(other.events).toEqual(['timeout']);
  });

  it('is an error of its channel when handleTimeout rejects', async () => {
    const { chat, map, clock } = still();
    const error = new Error('too late');
    chat.handleTimeout = async () => {
      throw error;
    };
    clock.advance(1000);
    await tick(how, map);
    await Promise.resolve();
    expect(chat.errors).toEqual([error]);
    expect(chat.events).toEqual(['error', 'close']);
  });

  it('ends with 0, and may be set anew, also from within handleTimeout', async () => {
    const { chat, map, clock } = still();
    expect(chat.idleTimeout).toBe(1000);
    chat.setIdleTimeout(0);
    expect(chat.idleTimeout).toBe(0);
    expect(map.nextDue).toBe(Infinity);
    clock.advance(100_000);
    await tick(how, map);
    expect(chat.events).toEqual([]);
    chat.setIdleTimeout(50);
    chat.handleTimeout = () => {
      chat.events.push(`after ${chat.idleTimeout}`);
      chat.setIdleTimeout(chat.idleTimeout === 50 ? 200 : 0);
    };
    clock.advance(50);
    await tick(how, map);
    clock.advance(199);
    await tick(how, map);
    expect(chat.events).toEqual(['after 50']);
    clock.advance(1);
    await tick(how, map);
    expect(chat.events).toEqual(['after 50', 'after 200']);
    expect(map.nextDue).toBe(Infinity);
  });

  it('does not come of Infinity', async () => {
    const { chat, map, clock } = still();
    chat.setIdleTimeout(Infinity);
    clock.advance(1e12);
    await tick(how, map);
    expect(chat.events).toEqual([]);
  });

  it('does not come when the channel has left the map, and does when it is back', async () => {
    const { map, clock } = stillMap();
    const { chat } = patient(map);
    patient(map).chat.setIdleTimeout(0);
    keep(chat);
    chat.delChannel();
    expect(map.nextDue).toBe(Infinity);
    clock.advance(5000);
    await tick(how, map);
    expect(chat.events).toEqual([]);
    chat.setSocket(chat.socket as Socket);
    clock.advance(999);
    await tick(how, map);
    expect(chat.events).toEqual([]);
    clock.advance(1);
    await tick(how, map);
    expect(chat.events).toEqual(['timeout']);
  });

  it.each(['delete', 'clear'] as const)('does not come after %s of the map', async (leave) => {
    const { map, clock } = stillMap();
    const { chat } = patient(map);
    keep(chat);
    if (leave === 'delete') map.delete(chat.fileno() as number);
    else map.clear();
    patient(map).chat.setIdleTimeout(0);
    clock.advance(1000);
    await tick(how, map);
    expect(chat.events).toEqual([]);
    expect(map.nextDue).toBe(Infinity);
  });

  it('comes in another map than its own, too', async () => {
    const { map: own, clock: ownClock } = stillMap();
    const { map, clock } = stillMap();
    const { chat } = patient(own);
    clock.advance(70);
    own.delete(chat.fileno() as number);
    chat.addChannel(map);
    // By the clock of the map that it stands in.
    ownClock.advance(1000);
    clock.advance(999);
    await tick(how, map);
    expect(chat.events).toEqual([]);
    clock.advance(1);
    await tick(how, map);
    expect(chat.events).toEqual(['timeout']);
  });
});

describe('An idle timeout', () => {
  it.each([
    ['poll', poll],
    ['poll2', poll2],
  ])('comes in %s, with or without a wait, and ends the pass', (_, pass) => {
    const { chat, map } = patient();
    chat.setIdleTimeout(20);
    const start = performance.now();
    pass(0, map);
    pass(10_000, map);
    expect(performance.now() - start).toBeGreaterThanOrEqual(20);
    expect(performance.now() - start).toBeLessThan(5000);
    expect(chat.events).toEqual(['timeout']);
    const late = still();
    late.clock.advance(999);
    pass(0, late.map);
    expect(late.chat.events).toEqual([]);
    late.clock.advance(1);
    pass(0, late.map);
    expect(late.chat.events).toEqual(['timeout']);
  });

  it('leaves the heap when its channel closes', () => {
    const map = newMap();
    const chats = Array.from({ length: 100 }, () => patient(map).chat);
    // From the middle, the beginning and the end.
    const order = [...chats.slice(30, 60), ...chats.slice(0, 30), ...chats.slice(60).reverse()];
    for (const chat of order) {
      expect(map.nextDue).toBeLessThan(Infinity);
      chat.close();
    }
    expect(map.nextDue).toBe(Infinity);
  });

  it('that is set while a loop waits is heard of', async () => {
    const { chat, map } = chatWithPeer((socket, map) => new LineChat(socket, map));
    const running = loop({ map, timeout: Infinity });
    await sleep(5);
    chat.setIdleTimeout(20);
    await running;
    expect(chat.events).toEqual(['timeout', 'close']);
  });

  it.each([
    [
      -1,
      new RangeError('Cannot set an idle timeout: expected a timeout of 0 ms or more, received -1'),
    ],
    [
      NaN,
      new RangeError(
        'Cannot set an idle timeout: expected a timeout of 0 ms or more, received NaN',
      ),
    ],
    [
      '5' as unknown as number,
      new TypeError("Cannot set an idle timeout: expected a timeout in milliseconds, received '5'"),
    ],
  ])('cannot be %p', (duration, error) => {
    const { chat } = patient();
    expect(() => chat.setIdleTimeout(duration)).toThrow(error);
    expect(chat.idleTimeout).toBe(1000);
  });

  it('stands by the monotonic clock: the system’s may be stepped either way', async () => {
    const program = runTypeScript(join(__dirname, 'stepped-clock.ts'));
    expect(await program.ended(20_000)).toBe(0);
    expect(program.output.trim().split('\n')).toEqual([
      '0 early',
      '3 in time',
      'loopSync: 3 in time',
    ]);
  });
});

describe('Ten thousand channels with idle timeouts', () => {
  /** A socket that the kernel need not know, as nobody waits for it. */
  class NoSocket implements SocketLike {
    constructor(readonly fd: number) {}
    fileno(): number {
      return this.fd;
    }
    recv(): Buffer | null {
      return null;
    }
    send(): number {
      return 0;
    }
    getSockOpt(): number {
      return 0;
    }
    close(): void {}
  }

  let asked = 0;

  /** Counts who asks it. */
  class CountedChat extends QuietChat {
    timeouts = 0;
    override readable(): boolean {
      asked += 1;
      return false;
    }
    override tracksInterest(): boolean {
      return true;
    }
    override handleTimeout(): Handled {
      this.timeouts += 1;
    }
  }

  const populate = (map: ChannelMap, size: number): CountedChat[] =>
    Array.from({ length: size }, (_, index) => {
      const chat = new CountedChat(null, map);
      chat.setSocket(new NoSocket(100_000 + index));
      chat.setIdleTimeout(1000 + index);
      return chat;
    });

  it.each(WAYS)('are not asked in a tick, nor is the clock for each (%s)', async (_, how) => {
    const { map, clock } = stillMap();
    const chats = populate(map, 10_000);
    const one = newMap({ clock });
    populate(one, 1);
    await tick(how, map);
    await tick(how, one);
    expect(asked).toBeGreaterThanOrEqual(10_000);
    asked = 0;
    const now = jest.spyOn(clock, 'now');
    const realNow = jest.spyOn(performance, 'now');
    const set = jest.spyOn(Deadlines.prototype, 'set');
    const reach = jest.spyOn(Deadlines.prototype, 'reach');
    const reached = jest.spyOn(IdleTimeout.prototype, 'reached');

    /** How often either clock is looked at in a hundred passes. */
    const looksIn = async (at: ChannelMap): Promise<number> => {
      now.mockClear();
      realNow.mockClear();
      await tick(how, at, 100);
      return now.mock.calls.length + realNow.mock.calls.length;
    };
    const looks = await looksIn(one);
    expect(looks).toBeGreaterThanOrEqual(100);
    // Give or take a turn of Node's: nowhere near one for each channel.
    expect(await looksIn(map)).toBeLessThan(2 * looks);
    expect(reach).not.toHaveBeenCalled();
    expect(set).not.toHaveBeenCalled();
    expect(asked).toBe(0);

    // Those whose time has come are told, and nobody else is looked at.
    clock.advance(1010.5);
    await tick(how, map);
    expect(chats.slice(0, 11).map((chat) => chat.timeouts)).toEqual(Array(11).fill(1));
    expect(chats.slice(11).every((chat) => chat.timeouts === 0)).toBe(true);
    expect(reached).toHaveBeenCalledTimes(11);
  });

  it('move nothing in the heap at each byte', () => {
    const { map } = stillMap();
    populate(map, 10_000);
    const { chat, peer } = patient(map);
    poll(0, map);
    const set = jest.spyOn(Deadlines.prototype, 'set');
    for (let turn = 0; turn < 100; turn += 1) {
      peer.send(text('a\n'));
      poll(1000, map);
    }
    expect(chat.events).toHaveLength(100);
    expect(set).not.toHaveBeenCalled();
  });
});

describe('A Dispatcher', () => {
  it('has no idle timeout by default, and hangs up when it has one', () => {
    const { map, clock } = stillMap();
    const [ours, theirs] = Socket.pair();
    keep(theirs);
    const log: string[] = [];
    const channel = new (class extends Dispatcher {
      override writable(): boolean {
        return false;
      }
      override logInfo(message: unknown, type = 'info'): void {
        log.push(`${type}: ${message}`);
      }
    })(ours, map);
    expect(channel.idleTimeout).toBe(0);
    channel.setIdleTimeout(1000);
    clock.advance(1000);
    poll(0, map);
    expect(map.size).toBe(0);
    expect(log).toEqual(['warning: unhandled close event']);
  });
});

describe('The direction of an idle timeout', () => {
  it.each([
    ['an unknown direction', { direction: 'in' }, "the direction 'input', 'output' or 'both'"],
    ['an unknown option', { directions: 'input' }, 'did you mean direction?'],
    ['a direction in place of options', 'input', "expected options, received 'input'"],
  ])('refuses %s, and keeps the timeout that there is', (_, options, message) => {
    const channel = new Dispatcher(null, newMap());
    channel.setIdleTimeout(7);
    expect(() => channel.setIdleTimeout(9, options as never)).toThrow(message);
    expect(channel.idleTimeout).toBe(7);
  });
});
