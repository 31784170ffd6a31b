// advanceTime(): time passes over a map, and everything in it has its moment.

import {
  AF_INET,
  advanceTime,
  ChannelMap,
  Dispatcher,
  ExitNow,
  ManualClock,
  poll,
  Socket,
  socketMap,
} from 'asyncore';
import { keep, stillMap } from '../support/keep';
import { LineChat, Listener, text } from '../support/limits';
import { received } from '../support/sockets';

describe('advanceTime', () => {
  it('stops at each moment at which something is due', () => {
    const { map, clock } = stillMap(0);
    const calls: [string, number, number][] = [];
    const every = map.callEvery(300, () => calls.push(['every', clock.now(), every.missed]));
    map.callLater(1000, () => {
      calls.push(['later', clock.now(), 0]);
      map.callLater(50, () => calls.push(['made', clock.now(), 0]));
    });
    advanceTime(1200, map);
    expect(calls).toEqual([
      ['every', 300, 0],
      ['every', 600, 0],
      ['every', 900, 0],
      ['later', 1000, 0],
      ['made', 1050, 0],
      ['every', 1200, 0],
    ]);
    expect(clock.now()).toBe(1200);
    advanceTime(99.5, map);
    expect([calls.length, clock.now()]).toEqual([6, 1299.5]);
  });

  it('has what is sent at a moment answered before the next one, over TCP as well', () => {
    const { map, clock } = stillMap(0);
    class Server extends LineChat {
      override foundTerminator(): void {
        void super.foundTerminator();
        this.push('PONG\n');
      }
    }
    const listener = new Listener(map, {}, AF_INET);
    listener.handleAccepted = (socket) => void new Server(socket, map);
    class Client extends LineChat {
      pongs = 0;
      override handleConnect(): void {
        this.callEvery(30_000, () => {
          this.push('PING\n');
          this.setDeadline(10); // for the answer
        });
      }
      override foundTerminator(): void {
        void super.foundTerminator();
        this.setDeadline(0);
        this.pongs += 1;
      }
    }
    const client = new Client(null, map);
    client.connect(listener.name);
    advanceTime(3_600_000, map);
    expect([client.pongs, client.closeReason, clock.now()]).toEqual([120, null, 3_600_000]);
    for (const channel of [...map.values()]) channel.close();
  });

  it('of 0 ms does what there is to do', () => {
    const { map } = stillMap(0);
    const [ours, theirs] = Socket.pair();
    keep(theirs);
    const chat = new LineChat(ours, map);
    map.callLater(0, () => chat.push('now'));
    theirs.send(text('one\ntwo\n'));
    advanceTime(0, map);
    expect([chat.events, received(theirs)]).toEqual([['one', 'two'], 'now']);
  });

  it('is not kept by a channel that has a write event in each pass', () => {
    const { map, clock } = stillMap(0);
    const [ours, theirs] = Socket.pair();
    keep(theirs);
    let writes = 0;
    const plain = new Dispatcher(ours, map);
    plain.handleWrite = () => {
      writes += 1;
    };
    map.callLater(10, () => {});
    advanceTime(10, map);
    expect(clock.now()).toBe(10);
    expect(writes).toBeGreaterThan(0);
    expect(writes).toBeLessThan(20);
  });

  it('reaches nobody who has closed', () => {
    const { map } = stillMap(0);
    const [ours, theirs] = Socket.pair();
    const chat = new LineChat(ours, map);
    chat.setIdleTimeout(100);
    theirs.close();
    advanceTime(1000, map);
    expect(chat.events).toEqual(['close']);
  });

  it('lets ExitNow out, at its moment', () => {
    const { map, clock } = stillMap(0);
    map.callLater(10, () => {
      throw new ExitNow('enough');
    });
    expect(() => advanceTime(100, map)).toThrow('enough');
    expect(clock.now()).toBe(10);
  });

  it('says so when a map does not come to rest', () => {
    const { map, clock } = stillMap(0);
    const again = (): void => {
      map.callLater(0, again);
    };
    map.callLater(5, again);
    expect(() => advanceTime(100, map)).toThrow(
      expect.objectContaining({
        code: 'ERR_CLOCK_STUCK',
        message: 'Cannot advance the time: at 5 ms the map does not come to rest',
      }),
    );
    expect(clock.now()).toBe(5);
  });

  it.each<[string, () => void, object]>([
    [
      'a map that goes by real time',
      () => advanceTime(5),
      {
        code: 'ERR_INVALID_ARG_TYPE',
        message: expect.stringMatching(
          /a map with a ManualClock.*; use new ChannelMap\(\[\], { clock: /,
        ),
      },
    ],
    ['what is no map', () => advanceTime(5, new Map() as never), { code: 'ERR_INVALID_ARG_TYPE' }],
    [
      'an infinite time',
      () => advanceTime(Infinity, stillMap(0).map),
      { code: 'ERR_OUT_OF_RANGE' },
    ],
    ['a negative time', () => advanceTime(-1, stillMap(0).map), { code: 'ERR_OUT_OF_RANGE' }],
    [
      'what is no time',
      () => advanceTime('5' as never, stillMap(0).map),
      { code: 'ERR_INVALID_ARG_TYPE' },
    ],
  ])('refuses %s', (_, act, error) => {
    expect(act).toThrow(expect.objectContaining(error));
    expect(socketMap.size).toBe(0);
  });
});

describe('ManualClock', () => {
  it('begins at 0, or where it is told, and goes on by steps and to moments', () => {
    expect(new ManualClock().now()).toBe(0);
    const clock = new ManualClock(5);
    clock.advance(2.5);
    clock.advanceTo(10);
    clock.advanceTo(9);
    expect(clock.now()).toBe(10);
  });

  it('tells of each move, until that is ended', () => {
    const clock = new ManualClock();
    const moves: number[] = [];
    const end = clock.onAdvance(() => moves.push(clock.now()));
    clock.advance(1);
    clock.advance(0);
    clock.advance(1);
    end();
    clock.advance(1);
    expect(moves).toEqual([1, 2]);
  });

  it.each<[string, () => unknown, object]>([
    ['a negative step', () => new ManualClock().advance(-1), { code: 'ERR_OUT_OF_RANGE' }],
    ['an infinite step', () => new ManualClock().advance(Infinity), { code: 'ERR_OUT_OF_RANGE' }],
    [
      'a start that is no number',
      () => new ManualClock('0' as never),
      { code: 'ERR_INVALID_ARG_TYPE' },
    ],
    [
      'the next moment of a map that has none',
      () => new ManualClock().advanceTo(new ChannelMap().nextDue),
      { message: expect.stringMatching(/received Infinity; a map whose nextDue is Infinity/) },
    ],
  ])('refuses %s', (_, act, error) => {
    expect(act).toThrow(expect.objectContaining(error));
  });
});

describe('A ChannelMap', () => {
  it.each<[string, () => unknown, RegExp]>([
    [
      'a clock in place of options',
      () => new ChannelMap([], new ManualClock() as never),
      /use \{ clock \}$/,
    ],
    [
      'options in place of channels',
      () => new ChannelMap({ clock: new ManualClock() } as never),
      /use new ChannelMap\(\[\], \{ clock \}\)$/,
    ],
    [
      'a clock without now()',
      () => new ChannelMap([], { clock: {} as never }),
      /a clock with a method now\(\)/,
    ],
    [
      'a clock that says no number',
      () => new ChannelMap([], { clock: { now: () => Number.NaN } }),
      /now\(\) is a finite number/,
    ],
    ['an unknown option', () => new ChannelMap([], { clok: 1 } as never), /did you mean clock\?$/],
  ])('refuses %s', (_, act, message) => {
    expect(act).toThrow(expect.objectContaining({ message: expect.stringMatching(message) }));
  });

  it('goes by any clock that has now()', () => {
    let now = 100;
    const map = new ChannelMap([], { clock: { now: () => now } });
    const calls: number[] = [];
    map.callLater(50, () => calls.push(now));
    expect(map.nextDue).toBe(150);
    now = 149;
    poll(0, map);
    now = 150;
    poll(0, map);
    expect(calls).toEqual([150]);
  });
});
