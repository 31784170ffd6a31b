// Timers of a map: when they are called, in which order, what becomes of their errors, and how long a loop
// goes on for them.

import { setTimeout as sleep } from 'node:timers/promises';
import {
  type ChannelMap,
  callAt,
  callEvery,
  callLater,
  closeAll,
  ExitNow,
  loop,
  loopSync,
  ManualClock,
  poll,
  poll2,
  Socket,
  type SocketLike,
  shutdown,
  socketMap,
  type TimerHandle,
} from 'asyncore';
import * as fc from 'fast-check';
import { Registry } from '../../lib/loop/registry';
import { garbageCollector } from '../support/collector';
import { WAYS, type Way } from '../support/drive';
import { forgetMaps, keep, newMap, stillMap } from '../support/keep';
import { LineChat, text, tick } from '../support/limits';
import { QuietChat } from '../support/quiet-chat';
import { received } from '../support/sockets';

/** A map with one silent channel, so that loops go on, and a clock that stands still. */
function place(): { map: ChannelMap; clock: ManualClock; calls: unknown[]; chat: QuietChat } {
  const { map, clock } = stillMap();
  const [ours, theirs] = Socket.pair();
  keep(theirs);
  return { map, clock, calls: [], chat: new QuietChat(ours, map) };
}

/** Runs a loop until it ends: 10 s at most, as nothing else can end a loopSync that goes on. */
async function run({ usePoll, sync }: Way, map: ChannelMap): Promise<void> {
  const options = { map, usePoll, timeout: 250, count: 40 };
  if (sync) loopSync(options);
  else await loop(options);
}

/** The process warnings of the library, until the test ends. */
function warnings(): { name: string; code: string; message: string }[] {
  const seen: { name: string; code: string; message: string }[] = [];
  jest.spyOn(process, 'emitWarning').mockImplementation((message, options) => {
    const { type, code } = options as { type: string; code: string };
    seen.push({ name: type, code, message: String(message).split('\n')[0] as string });
  });
  return seen;
}

describe.each(WAYS)('A timer (%s)', (_, how) => {
  it('is called once its time has come, with its arguments', async () => {
    const { map, clock, calls } = place();
    const timer = map.callLater(500, (...args: [string, number]) => calls.push(args), 'a', 2);
    expect(timer).toMatchObject({ active: true, due: 1500, missed: 0, keepAlive: false });
    clock.advance(499.9);
    await tick(how, map);
    expect(calls).toEqual([]);
    clock.advance(0.1);
    await tick(how, map, 3);
    expect(calls).toEqual([['a', 2]]);
    expect(timer).toMatchObject({ active: false, due: Infinity });
  });

  it('of callAt is called at its moment, and at once when that has passed', async () => {
    const { map, clock, calls } = place();
    map.callAt(1500, () => calls.push('at 1500'));
    map.callAt(-5, () => calls.push('at -5'));
    expect(map.nextDue).toBe(-5);
    await tick(how, map);
    expect(calls).toEqual(['at -5']);
    expect(map.nextDue).toBe(1500);
    clock.advanceTo(1500);
    await tick(how, map);
    expect(calls).toEqual(['at -5', 'at 1500']);
  });

  it('of callEvery is called at multiples of its interval, until it is cancelled', async () => {
    const { map, clock, calls } = place();
    const timer: TimerHandle = map.callEvery(100, () => {
      calls.push(clock.now());
      if (calls.length === 3) timer.cancel();
    });
    for (let turn = 0; turn < 40; turn += 1) {
      clock.advance(12.5);
      await tick(how, map);
    }
    expect(calls).toEqual([1100, 1200, 1300]);
    expect(timer.active).toBe(false);
  });

  it('of callEvery is called once after a jump, and says how many calls it has missed', async () => {
    const { map, clock } = place();
    const calls: number[][] = [];
    const timer: TimerHandle = map.callEvery(100, () => {
      calls.push([clock.now(), timer.missed, timer.due]);
    });
    clock.advance(100);
    await tick(how, map);
    clock.advance(1_000_050);
    await tick(how, map, 3);
    clock.advance(50);
    await tick(how, map, 3);
    expect(calls).toEqual([
      [1100, 0, 1200],
      [1_001_150, 9999, 1_001_200],
      [1_001_200, 0, 1_001_300],
    ]);
  });

  it('of callEvery counts its moments although their fractions do not quite add up', async () => {
    const { map, clock } = stillMap(0);
    const [ours, theirs] = Socket.pair();
    keep(theirs);
    new QuietChat(ours, map);
    const calls: number[] = [];
    const timer: TimerHandle = map.callEvery(0.7, () => calls.push(timer.missed));
    // 2.8 is the fourth moment, and (2.8 - 0.7) / 0.7 is less than 3.
    clock.advanceTo(2.8);
    await tick(how, map, 3);
    expect([calls, timer.due]).toEqual([[3], 3.5]);
  });

  it('stands behind those that are due earlier, and behind those made earlier', async () => {
    const { map, clock, calls } = place();
    map.callLater(30, () => calls.push(30));
    map.callEvery(20, () => calls.push('every 20'));
    map.callAt(1020, () => calls.push('at 20'));
    map.callLater(20, () => calls.push('20'));
    map.callLater(10, () => calls.push(10));
    clock.advance(30);
    await tick(how, map);
    expect(calls).toEqual([10, 'every 20', 'at 20', '20', 30]);
  });

  it('that a timer makes waits for the next pass', async () => {
    const { map, calls } = place();
    map.callLater(0, () => {
      calls.push('first');
      map.callLater(0, () => calls.push('made by it'));
      map.callAt(0, () => calls.push('made for the past'));
    });
    map.callLater(0, () => calls.push('second'));
    await tick(how, map);
    expect(calls).toEqual(['first', 'second']);
    await tick(how, map);
    expect(calls).toEqual(['first', 'second', 'made for the past', 'made by it']);
  });

  it('comes after the events of its pass', async () => {
    const { map, calls } = place();
    const [ours, theirs] = Socket.pair();
    keep(theirs);
    const chat = new LineChat(ours, map);
    chat.onRecord = (record) => void calls.push(record);
    map.callLater(0, () => calls.push('timer'));
    theirs.send(text('input\n'));
    await tick(how, map);
    expect(calls).toEqual(['input', 'timer']);
  });

  it('can be cancelled by another one that is due with it', async () => {
    const { map, calls } = place();
    map.callLater(0, () => victim.cancel());
    const victim = map.callLater(0, () => calls.push('cancelled'));
    await tick(how, map, 3);
    expect(calls).toEqual([]);
    victim.cancel();
    expect(victim).toMatchObject({ active: false, due: Infinity });
  });

  it('starts again by reset(), with its delay or another one', async () => {
    const { map, clock, calls } = place();
    const timer = map.callLater(100, () => calls.push(clock.now()));
    clock.advance(90);
    expect(timer.reset()).toBe(true);
    clock.advance(90);
    await tick(how, map);
    expect(calls).toEqual([]);
    clock.advance(10);
    await tick(how, map);
    expect(calls).toEqual([1190]);
    // It has been called: it starts again all the same.
    expect(timer.reset(5)).toBe(true);
    expect(timer).toMatchObject({ active: true, due: 1195 });
    clock.advance(5);
    await tick(how, map);
    expect(timer.reset()).toBe(true);
    expect(timer.due).toBe(1200);
    timer.cancel();
    expect(timer.reset()).toBe(false);
    clock.advance(1000);
    await tick(how, map);
    expect(calls).toEqual([1190, 1195]);
  });

  it('of callEvery goes on with another interval after reset()', async () => {
    const { map, clock, calls } = place();
    const timer = map.callEvery(100, () => calls.push(clock.now()));
    clock.advance(50);
    timer.reset(30);
    for (let turn = 0; turn < 9; turn += 1) {
      clock.advance(10);
      await tick(how, map);
    }
    expect(calls).toEqual([1080, 1110, 1140]);
  });

  it('sends what it pushes once, when all that are due have been called', async () => {
    const { map, chat } = place();
    const sends: number[] = [];
    const socket = chat.socket as Socket;
    const { send } = socket;
    socket.send = (data, flags) => {
      sends.push(data.length);
      return send.call(socket, data, flags);
    };
    map.callLater(0, () => chat.push('one '));
    map.callLater(0, () => chat.push('two'));
    await tick(how, map);
    expect(sends).toEqual([7]);
  });

  it('ends a wait, in real time, without being early or much too late', async () => {
    const map = newMap();
    const [ours, theirs] = Socket.pair();
    keep(theirs);
    const chat = new QuietChat(ours, map);
    const lateness: number[] = [];
    const timer: TimerHandle = map.callLater(7.3, () => {
      lateness.push(performance.now() - due);
      if (lateness.length === 10) chat.close();
      else {
        timer.reset();
        ({ due } = timer);
      }
    });
    let { due } = timer;
    await run(how, map);
    expect(Math.min(...lateness)).toBeGreaterThanOrEqual(0);
    // A second is far more than it takes, and far less than a pass.
    expect(Math.max(...lateness)).toBeLessThan(1000);
  });

  it('that is due in a fraction of a millisecond is waited for, and not polled for', async () => {
    const map = newMap();
    const looks = jest.spyOn(Registry.prototype, 'select');
    map.callLater({ ms: 5.3, keepAlive: true }, () => {
      map.callLater({ ms: 0.3, keepAlive: true }, () => {});
    });
    await run(how, map);
    // Node's timers may go off a little early, and the loop then waits once more.
    expect(looks.mock.calls.length).toBeLessThanOrEqual(8);
  });

  it('with keepAlive has a loop without channels go on until it is called', async () => {
    const { map, clock, calls, chat } = place();
    chat.close();
    const end = (): void => void calls.push('called');
    const timer = map.callLater({ ms: 10, keepAlive: true }, end);
    expect(timer.keepAlive).toBe(true);
    map.callLater(5, () => calls.push('others are called meanwhile'));
    const step = (): void => {
      clock.advance(5);
    };
    if (how.sync) {
      // No code of the program runs but a timer's.
      map.callLater({ ms: 0, keepAlive: true }, () => {
        step();
        map.callLater({ ms: 0, keepAlive: true }, step);
      });
      await run(how, map);
    } else {
      const done = loop({ map, usePoll: how.usePoll });
      for (let turn = 0; turn < 2; turn += 1) {
        await sleep(2);
        step();
      }
      await done;
    }
    expect(calls).toEqual(['others are called meanwhile', 'called']);
  });

  it('that throws is told of by a warning, and the loop goes on', async () => {
    const { map, calls } = place();
    const seen = warnings();
    map.callLater(0, () => {
      throw new Error('boom');
    });
    map.callLater(0, async () => {
      throw new Error('later');
    });
    map.callLater(0, () => calls.push('next'));
    await tick(how, map);
    expect(calls).toEqual(['next']);
    await sleep(0);
    const expected = (error: string) => ({
      name: 'TimerWarning',
      code: 'ASYNCORE_TIMER',
      message: `A timer threw, and the loop goes on: Error: ${error}`,
    });
    expect(seen).toEqual([expected('boom'), expected('later')]);
  });

  it('that throws ExitNow leaves the loop, and those due with it stay', async () => {
    const { map, calls } = place();
    map.callLater(0, () => {
      throw new ExitNow('enough');
    });
    map.callLater(0, () => calls.push('stays'));
    const every = map.callEvery(1, () => {
      throw new ExitNow('not yet');
    });
    const run = async (): Promise<void> => tick(how, map);
    await expect(run()).rejects.toThrow('enough');
    expect(calls).toEqual([]);
    await run();
    expect([calls, every.active]).toEqual([['stays'], true]);
  });
});

it('An async timer leaves loop() by ExitNow', async () => {
  const { map } = place();
  map.callLater(0, async () => {
    await sleep(1);
    throw new ExitNow('later');
  });
  await expect(loop({ map })).rejects.toThrow('later');
});

describe('handleTimerError', () => {
  const boom = new Error('boom');

  it('is told of the error and of the timer', async () => {
    const { map } = place();
    const told: unknown[] = [];
    map.handleTimerError = (...args) => void told.push(args);
    const one = map.callLater(0, () => {
      throw boom;
    });
    const two = map.callEvery(1, async () => {
      throw boom;
    });
    (map.clock as ManualClock).advance(1);
    poll(0, map);
    await sleep(0);
    expect(told).toEqual([
      [boom, one],
      [boom, two],
    ]);
    expect(two.active).toBe(true);
  });

  it.each<[string, () => void | Promise<void>]>([
    [
      'throws',
      () => {
        throw new Error('worse');
      },
    ],
    ['rejects', () => Promise.reject(new Error('worse'))],
  ])('that %s is a warning', async (_, handler) => {
    const { map, calls } = place();
    const seen = warnings();
    map.handleTimerError = handler;
    map.callLater(0, () => {
      throw boom;
    });
    map.callLater(0, () => calls.push('next'));
    poll(0, map);
    await sleep(0);
    expect(calls).toEqual(['next']);
    const message = 'handleTimerError of a map threw, and the loop goes on: Error: worse';
    expect(seen).toEqual([{ name: 'TimerWarning', code: 'ASYNCORE_TIMER', message }]);
  });

  it('may leave the loop', () => {
    const { map } = place();
    map.handleTimerError = (error) => {
      throw new ExitNow(String(error));
    };
    map.callLater(0, () => {
      throw boom;
    });
    expect(() => loopSync({ map, count: 1, timeout: 0 })).toThrow(ExitNow);
  });
});

describe('A pass', () => {
  it.each<[string, (timeout: number, map: ChannelMap) => void]>([
    ['poll', poll],
    ['poll2', poll2],
  ])('of %s ends when a timer was called', (_, pass) => {
    const map = newMap();
    const [ours, theirs] = Socket.pair();
    keep(theirs);
    new QuietChat(ours, map);
    let called = 0;
    map.callLater(20, () => {
      called += 1;
    });
    const start = performance.now();
    pass(10_000, map);
    expect(called).toBe(1);
    expect(performance.now() - start).toBeLessThan(5000);
  });

  it('over a map without channels does not wait, and calls what is due', () => {
    const { map, clock } = stillMap(0);
    const calls: string[] = [];
    map.callLater(10, () => calls.push('called'));
    poll(10_000, map);
    expect(calls).toEqual([]);
    clock.advance(10);
    poll(10_000, map);
    expect(calls).toEqual(['called']);
  });

  it('within a timer calls the others that are due, and those that this one has made', () => {
    const { map, calls } = place();
    map.callLater(0, () => {
      calls.push('outer');
      map.callLater(0, () => calls.push('made'));
      poll(0, map);
      calls.push('end of outer');
    });
    map.callLater(0, () => calls.push('other'));
    poll(0, map);
    expect(calls).toEqual(['outer', 'other', 'made', 'end of outer']);
  });
});

describe.each(WAYS)('Timers and their pass (%s)', (_, how) => {
  it('that a handler makes wait for the next one, whatever else is due', async () => {
    const { map, clock, calls } = place();
    const [ours, theirs] = Socket.pair();
    keep(theirs);
    const chat = new LineChat(ours, map);
    chat.onRecord = () => {
      map.callAt(-1, () => calls.push('for the past'));
      map.callLater(0, () => calls.push('at once'));
    };
    map.callLater(0, () => calls.push('due'));
    map.callLater(1000, () => calls.push('not due'));
    clock.advance(1);
    theirs.send(text('x\n'));
    await tick(how, map);
    expect(calls).toEqual(['due']);
    await tick(how, map);
    expect(calls).toEqual(['due', 'for the past', 'at once']);
  });

  it('of callEvery are not called within their own call, and count what they miss', async () => {
    const { map, clock } = place();
    const calls: [string, number][] = [];
    const timer: TimerHandle = map.callEvery(10, () => {
      calls.push(['begins', timer.missed]);
      clock.advance(25);
      poll(0, map);
      calls.push(['ends', timer.missed]);
    });
    clock.advance(10);
    await tick(how, map);
    // The moments 20 and 30 have passed within the call.
    expect(calls).toEqual([
      ['begins', 0],
      ['ends', 0],
    ]);
    clock.advance(5);
    await tick(how, map);
    expect(calls[2]).toEqual(['begins', 2]);
  });
});

it('The next moment of a map is a moment, also within a timer', () => {
  const { map, clock } = place();
  const seen: number[] = [];
  map.callLater(0, () => {
    map.callAt(990, () => {});
    seen.push(map.nextDue);
  });
  map.callLater(0, () => {
    seen.push(map.nextDue);
    clock.advanceTo(map.nextDue);
  });
  poll(0, map);
  expect(seen).toEqual([990, 990]);
});

it('A ManualClock keeps no map that nobody else keeps', async () => {
  const clock = new ManualClock();
  const maps = Array.from({ length: 20 }, () => {
    const map = newMap({ clock });
    map.callLater(60_000, () => {});
    return new WeakRef(map);
  });
  forgetMaps();
  const gc = garbageCollector();
  const left = (): number => maps.filter((map) => map.deref() !== undefined).length;
  for (let turn = 0; left() > 0 && turn < 50; turn += 1) {
    await sleep(1);
    gc();
  }
  expect(left()).toBe(0);
});

describe('A loop', () => {
  it.each(WAYS)('ends with its last channel, whatever timers are left (%s)', async (_, how) => {
    const { map, clock, calls, chat } = place();
    map.callEvery(10, () => calls.push('called'));
    map.callLater(0, () => chat.close());
    await run(how, map);
    clock.advance(1000);
    expect(calls).toEqual([]);
  });

  it('is woken by a timer that is made from outside, and by one that is cancelled', async () => {
    const map = newMap();
    const calls: string[] = [];
    const keeper = map.callLater({ ms: Infinity, keepAlive: true }, () => {});
    const done = loop({ map });
    await sleep(5);
    map.callLater(1, () => calls.push('made from outside'));
    await sleep(20);
    expect(calls).toEqual(['made from outside']);
    keeper.cancel();
    await done;
  });

  it('ends by closeAll and by shutdown, which cancel what keeps it going', async () => {
    const map = newMap();
    const other = map.callLater(60_000, () => {});
    for (const end of [() => closeAll(map), () => shutdown(map)]) {
      const keeper = map.callEvery({ ms: 60_000, keepAlive: true }, () => {});
      const again = map.callLater({ ms: 60_000, keepAlive: true }, () => {});
      const done = loop({ map });
      await sleep(5);
      await end();
      await done;
      expect([keeper.active, again.active, again.reset()]).toEqual([false, false, false]);
    }
    expect(other.active).toBe(true);
  });
});

it.each(WAYS)(
  'A client that connects again does not keep a loop from ending by shutdown (%s)',
  async (_, how) => {
    const { map, chat } = place();
    let again: TimerHandle | null = null;
    chat.handleClose = () => {
      chat.close();
      again = chat.callLater({ ms: 1000, keepAlive: true }, () => {});
    };
    let ended: Promise<number> = Promise.resolve(-1);
    map.callLater(0, () => {
      ended = shutdown(map);
    });
    await run(how, map);
    expect(await ended).toBe(0);
    expect(again).toMatchObject({ active: false, due: Infinity });
    // And afterwards all is as before.
    expect(map.callLater({ ms: 1, keepAlive: true }, () => {}).keepAlive).toBe(true);
  },
);

it.each(WAYS)(
  'A timer with keepAlive that is reset during shutdown does not keep a loop (%s)',
  async (_, how) => {
    const { map, chat } = place();
    // It has been called already, so that shutdown finds nothing to cancel.
    const again: TimerHandle = map.callLater({ ms: 0, keepAlive: true }, () => {});
    await tick(how, map);
    expect(again.active).toBe(false);
    chat.handleClose = () => {
      chat.close();
      again.reset(1000);
    };
    let ended: Promise<number> = Promise.resolve(-1);
    map.callLater(0, () => {
      ended = shutdown(map, { deadline: Infinity });
    });
    await run(how, map);
    expect(await ended).toBe(0);
    expect([map.size, again.active]).toEqual([0, false]);
  },
);

describe('loopSync', () => {
  it('does not wait for ever for a timer that nothing can bring on', () => {
    const { map, clock } = stillMap(0);
    const calls: string[] = [];
    map.callLater({ ms: 5, keepAlive: true }, () => calls.push('called'));
    expect(() => loopSync({ map, timeout: 5, count: 3 })).toThrow(
      expect.objectContaining({
        code: 'ERR_CLOCK_STUCK',
        message:
          'Cannot run a loop: no channel is left, and nothing moves the ManualClock any more',
      }),
    );
    clock.advance(5);
    loopSync({ map });
    expect(calls).toEqual(['called']);
  });
});

describe('The default map', () => {
  it('has callLater, callAt and callEvery as functions', () => {
    const calls: unknown[] = [];
    const timers = [
      callLater(0, (...args) => calls.push(['callLater', ...args]), 1, 2),
      callAt(0, (...args) => calls.push(['callAt', ...args]), 3),
      callEvery(0.001, (...args) => calls.push(['callEvery', ...args])),
      callLater({ ms: 60_000, keepAlive: true }, () => {}),
    ];
    expect(socketMap.nextDue).toBe(0);
    while (calls.length < 3) poll(0);
    for (const timer of timers) timer.cancel();
    expect(calls.slice(0, 3)).toEqual([['callAt', 3], ['callLater', 1, 2], ['callEvery']]);
    expect(socketMap.nextDue).toBe(Infinity);
  });
});

describe('What is no timer is refused', () => {
  const map = (): ChannelMap => newMap();
  const nothing = (): void => {};

  it.each<[string, () => unknown, object]>([
    [
      'a negative delay',
      () => map().callLater(-1, nothing),
      {
        code: 'ERR_OUT_OF_RANGE',
        message: 'Cannot make a timer: expected a delay of 0 ms or more, received -1',
      },
    ],
    [
      'a delay that is no number',
      () => map().callLater('5' as unknown as number, nothing),
      { code: 'ERR_INVALID_ARG_TYPE' },
    ],
    ['NaN', () => map().callAt(Number.NaN, nothing), { code: 'ERR_OUT_OF_RANGE' }],
    [
      'a moment that is no number',
      () => map().callAt({ ms: new Date() as unknown as number }, nothing),
      { code: 'ERR_INVALID_ARG_TYPE' },
    ],
    [
      'an interval of 0',
      () => map().callEvery(0, nothing),
      {
        code: 'ERR_OUT_OF_RANGE',
        message: 'Cannot make a timer: expected an interval of 0.001 ms or more, received 0',
      },
    ],
    [
      'an interval of 0 for reset()',
      () => map().callEvery(5, nothing).reset(0),
      { code: 'ERR_OUT_OF_RANGE' },
    ],
    [
      'a negative delay for reset()',
      () => map().callLater(5, nothing).reset(-1),
      { code: 'ERR_OUT_OF_RANGE' },
    ],
    [
      'what is no function',
      () => map().callLater(5, 'nothing' as unknown as () => void),
      {
        code: 'ERR_INVALID_ARG_TYPE',
        message: "Cannot make a timer: expected a function, received 'nothing'",
      },
    ],
    [
      'an unknown option',
      () => map().callLater({ ms: 5, keepalive: true } as never, nothing),
      { code: 'ERR_INVALID_ARG_VALUE', message: /did you mean keepAlive\?$/ },
    ],
    [
      'keepAlive that is no boolean',
      () => map().callLater({ ms: 5, keepAlive: 1 } as never, nothing),
      { code: 'ERR_INVALID_ARG_TYPE' },
    ],
    ['null', () => map().callLater(null as never, nothing), { code: 'ERR_INVALID_ARG_TYPE' }],
  ])('%s', (_, act, error) => {
    const { message, ...rest } = error as { message?: string | RegExp };
    let caught: unknown;
    try {
      act();
    } catch (thrown) {
      caught = thrown;
    }
    expect(caught).toMatchObject(rest);
    if (message !== undefined) expect((caught as Error).message).toMatch(message);
  });
});

it('A handle is cancelled at the end of its block, and shows itself', () => {
  const { map } = place();
  let kept: TimerHandle;
  {
    using timer = map.callLater(5, () => {});
    kept = timer;
    expect(String(timer)).toBe('<Timer due=1005>');
  }
  expect(kept.active).toBe(false);
  expect(String(kept)).toBe('<Timer not active>');
});

it('A cancelled timer keeps nothing alive, although its handle is kept', async () => {
  const { map } = place();
  const collected: string[] = [];
  const registry = new FinalizationRegistry<string>((name) => collected.push(name));
  const handles = ['later', 'every'].map((name) => {
    const big = { name };
    registry.register(big, name);
    const call = (): string => big.name;
    return name === 'later' ? map.callLater(5, call) : map.callEvery(5, call);
  });
  for (const handle of handles) handle.cancel();
  const gc = garbageCollector();
  for (let turn = 0; collected.length < 2 && turn < 50; turn += 1) {
    gc();
    await sleep(1);
  }
  expect(collected.sort()).toEqual(['every', 'later']);
});

describe('Saturated input and output', () => {
  it.each(WAYS)('starve no timer of 1 ms, and are not starved by it (%s)', async (_, how) => {
    const map = newMap();
    // Four pairs that send each other all that the kernel takes.
    class Flood extends QuietChat {
      bytes = 0;
      override writable(): boolean {
        return true;
      }
      override handleWrite(): void {
        this.send(Buffer.alloc(65_536));
      }
      override handleRead(): void {
        const data = this.recv(65_536);
        this.bytes += data?.length ?? 0;
      }
    }
    const floods = Array.from({ length: 4 }, () =>
      Socket.pair().map((socket) => new Flood(socket, map)),
    ).flat();
    let called = 0;
    const stop = new AbortController();
    const every = map.callEvery(1, () => {
      called += 1;
      if (called === 100) stop.abort(new ExitNow('done'));
      if (called === 100 && how.sync) throw new ExitNow('done');
    });
    // Each as often as there was something to do: a timer that is due at each pass is called at each pass.
    const start = performance.now();
    const run = async (): Promise<void> => {
      if (how.sync) loopSync({ map, usePoll: how.usePoll, count: 1_000_000 });
      else await loop({ map, usePoll: how.usePoll, signal: stop.signal });
    };
    await expect(run()).rejects.toThrow('done');
    expect(called + every.missed).toBeGreaterThanOrEqual(100);
    expect(performance.now() - start).toBeLessThan(20_000);
    for (const { bytes } of floods) expect(bytes).toBeGreaterThan(1_000_000);
  });

  it('of timers that are due at once leave every channel its event in each pass', () => {
    const { map, calls } = place();
    const [ours, theirs] = Socket.pair();
    keep(theirs);
    const chat = new LineChat(ours, map);
    chat.onRecord = (record) => {
      calls.push(record);
      chat.push(record);
    };
    const again = (): void => {
      calls.push('timer');
      map.callLater(0, again);
    };
    again();
    for (let turn = 0; turn < 5; turn += 1) {
      theirs.send(text(`${turn}\n`));
      poll(0, map);
      expect(received(theirs)).toBe(String(turn));
    }
    const passes = [0, 1, 2, 3, 4].flatMap((turn) => [String(turn), 'timer']);
    expect(calls).toEqual(['timer', ...passes]);
  });
});

// Against a list that is sorted whenever it is asked.

const NAMES = 12;
const act = fc.record({
  what: fc.constantFrom('later', 'at', 'every', 'cancel', 'reset', 'resetTo', 'poll'),
  who: fc.nat(NAMES - 1),
  ms: fc.nat(8),
});
const program = fc.array(
  fc.record({
    advance: fc.nat(10),
    outside: fc.array(act, { maxLength: 4 }),
    /** What the timer `who` does when it is called. */
    inside: fc.option(
      fc.record({ who: fc.nat(NAMES - 1), acts: fc.array(act, { maxLength: 3 }) }),
      {
        nil: null,
      },
    ),
  }),
  { maxLength: 40, size: 'max' },
);

interface Row {
  at: number;
  order: number;
  delay: number;
  every: boolean;
}

/** One timer for each name, as a table. */
class Table {
  now = 0;
  order = 0;
  calls: string[] = [];
  readonly rows = new Map<number, Row>();
  /** Timers that were made, whether they are active or not. */
  readonly made = new Map<number, Omit<Row, 'order' | 'at'>>();
  readonly cancelled = new Set<number>();
  depth = 0;

  constructor(
    readonly inside: ReadonlyMap<number, (typeof act extends fc.Arbitrary<infer A> ? A : never)[]>,
  ) {}

  begin(who: number, at: number): void {
    this.order += 1;
    const { delay, every } = this.made.get(who) as Row;
    this.rows.set(who, { at, order: this.order, delay, every });
  }

  act({ what, who, ms }: { what: string; who: number; ms: number }): void {
    if (what === 'poll') this.pass();
    else if (what === 'cancel') {
      this.rows.delete(who);
      this.cancelled.add(who);
    } else if (what === 'reset' || what === 'resetTo') {
      const timer = this.made.get(who);
      if (timer === undefined || this.cancelled.has(who)) return;
      if (what === 'resetTo') timer.delay = timer.every ? ms + 1 : ms;
      this.begin(who, this.now + timer.delay);
    } else {
      this.rows.delete(who);
      this.cancelled.delete(who);
      const every = what === 'every';
      const delay = every ? ms + 1 : ms;
      const at = what === 'at' ? ms : this.now + delay;
      this.made.set(who, { delay: what === 'at' ? Math.max(0, ms - this.now) : delay, every });
      this.begin(who, at);
    }
  }

  pass(): void {
    if (this.depth > 2) return;
    this.depth += 1;
    const last = this.order;
    for (;;) {
      const due = [...this.rows]
        .filter(([, { at, order }]) => at <= this.now && order <= last)
        .sort(([, a], [, b]) => a.at - b.at || a.order - b.order)[0];
      if (due === undefined) break;
      const [who, { at, delay, every }] = due;
      this.rows.delete(who);
      const missed = every ? Math.floor((this.now - at) / delay) : 0;
      if (every) this.begin(who, at + (missed + 1) * delay);
      this.calls.push(`${who} missed ${missed}`);
      for (const each of this.inside.get(who) ?? []) this.act(each);
    }
    this.depth -= 1;
  }
}

it.each<[string, (map: ChannelMap) => void | Promise<void>]>([
  ['poll', (map) => poll(0, map)],
  ['poll2', (map) => poll2(0, map)],
  ['loopSync', (map) => loopSync({ map, timeout: 0, count: 1 })],
  ['loop', (map) => loop({ map, timeout: 0, count: 1 })],
])(
  'Timers do what a sorted list does: made, cancelled, reset, called, nested (%s)',
  async (_, pass) => {
    await fc.assert(
      fc.asyncProperty(program, async (steps) => {
        const { map, clock, chat } = place();
        const start = clock.now();
        const inside = new Map<number, (typeof steps)[number]['outside']>();
        const table = new Table(inside);
        const handles = new Map<number, TimerHandle>();
        const calls: string[] = [];
        let depth = 0;
        const perform = ({ what, who, ms }: (typeof steps)[number]['outside'][number]): void => {
          const call = (): void => {
            calls.push(`${who} missed ${handles.get(who)?.missed}`);
            for (const each of inside.get(who) ?? []) perform(each);
          };
          const handle = handles.get(who);
          if (what === 'poll') {
            if (depth > 1) return;
            depth += 1;
            poll(0, map);
            depth -= 1;
          } else if (what === 'cancel') handle?.cancel();
          else if (what === 'reset') handle?.reset();
          else if (what === 'resetTo') {
            if (handle !== undefined)
              handle.reset(handle instanceof Object && isEvery.has(who) ? ms + 1 : ms);
          } else {
            handle?.cancel();
            isEvery.delete(who);
            if (what === 'every') isEvery.add(who);
            const made = {
              later: () => map.callLater(ms, call),
              at: () => map.callAt(start + ms, call),
              every: () => map.callEvery(ms + 1, call),
            }[what as 'later' | 'at' | 'every'];
            handles.set(who, made());
          }
        };
        const isEvery = new Set<number>();
        for (const { advance, outside, inside: deed } of steps) {
          if (deed !== null) inside.set(deed.who, deed.acts);
          // A pass from outside any pass stands for one from within.
          for (const each of outside) {
            if (each.what === 'poll') continue;
            perform(each);
            table.act(each);
          }
          clock.advance(advance);
          table.now = clock.now() - start;
          depth = 0;
          table.depth = 0;
          await pass(map);
          table.pass();
          expect(calls).toEqual(table.calls);
          const dues = [...table.rows.values()].map(({ at }) => at + start);
          expect(map.nextDue).toBe(Math.min(Infinity, ...dues));
        }
        chat.close();
      }),
      { numRuns: 150 },
    );
  },
);

it('24 hours of ten thousand channels pass in virtual time, each timeout and timer at its moment', () => {
  const { map, clock } = stillMap(0);
  const HOUR = 3_600_000;
  const COUNT = 10_000;
  let idle = 0;
  let early = 0;
  let pings = 0;
  class Idler extends QuietChat {
    lastActive = 0;
    override handleTimeout(): void {
      idle += 1;
      if (clock.now() - this.lastActive < this.idleTimeout) early += 1;
      this.lastActive = clock.now();
    }
  }
  // Without descriptors: ten thousand sockets would need a higher limit.
  const standIn = (fd: number): SocketLike => ({
    fileno: () => fd,
    getPeerName: () => ({ path: '' }),
    getSockOpt: () => 0,
    recv: () => null,
    send: () => 0,
    close: () => {},
  });
  const channels = Array.from({ length: COUNT }, (_, index) => {
    const channel = new Idler(standIn(1_000_000 + index), map);
    channel.readable = () => false;
    channel.setIdleTimeout(HOUR * (1 + (index % 24)));
    channel.callEvery(HOUR, () => {
      pings += 1;
    });
    return channel;
  });
  while (map.nextDue <= 24 * HOUR) {
    clock.advanceTo(map.nextDue);
    poll(0, map);
  }
  // A timeout of k hours comes 24 / k times, rounded down.
  const perDay = channels.map((_, index) => Math.floor(24 / (1 + (index % 24))));
  expect(idle).toBe(perDay.reduce((sum, count) => sum + count, 0));
  expect(early).toBe(0);
  expect(pings).toBe(24 * COUNT);
  for (const channel of channels) channel.delChannel();
});
