// Deadlines: heap and queues, held against a list that is sorted at each step.

import { ManualClock } from 'asyncore';
import * as fc from 'fast-check';
import { Alarm, CALLED, Deadlines, NOTHING, RESUMED } from '../../lib/loop/deadlines';

/** Deadlines that note the order in which they are reached. */
class Bench {
  readonly clock = new ManualClock();
  readonly deadlines = new Deadlines(this.clock);
  reached: string[] = [];

  alarm(name: string, then: () => void = () => {}, outcome = NOTHING): Alarm {
    return new Alarm(outcome, () => {
      this.reached.push(name);
      then();
    });
  }

  /** One pass at a moment. @returns what it has reached */
  pass(moment: number): string[] {
    this.clock.advanceTo(moment);
    this.deadlines.look();
    this.reached = [];
    this.deadlines.reach();
    return this.reached;
  }
}

describe('Deadlines', () => {
  it('has no next one while it is empty', () => {
    const bench = new Bench();
    expect(bench.deadlines.next).toBe(Infinity);
    expect(bench.pass(1e12)).toEqual([]);
  });

  it('are reached when their time has come, the earliest first, each once', () => {
    const bench = new Bench();
    const { deadlines } = bench;
    const first = bench.alarm('first');
    deadlines.set(bench.alarm('second'), 20);
    deadlines.set(bench.alarm('third'), 30);
    deadlines.set(first, 10);
    expect(deadlines.next).toBe(10);
    expect(bench.pass(9.99)).toEqual([]);
    expect(bench.pass(20)).toEqual(['first', 'second']);
    expect(bench.pass(20)).toEqual([]);
    expect(deadlines.next).toBe(30);
    expect(first).toMatchObject({ at: Infinity, isSet: false });
  });

  it('are reached by the time at which the kernel was asked', () => {
    const bench = new Bench();
    const { deadlines, clock } = bench;
    deadlines.set(bench.alarm('early'), 10);
    deadlines.set(bench.alarm('meanwhile'), 11);
    clock.advanceTo(10);
    deadlines.look();
    clock.advanceTo(12);
    deadlines.reach();
    expect(bench.reached).toEqual(['early']);
  });

  it('that are due together are reached in the order in which they were set', () => {
    const bench = new Bench();
    const { deadlines } = bench;
    const names = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j'];
    names.forEach((name, index) => {
      // By turns in the queue of a delay and in the heap.
      if (index % 2 === 0) deadlines.queue(bench.alarm(name), 5);
      else deadlines.set(bench.alarm(name), 5);
    });
    expect(bench.pass(5)).toEqual(names);
  });

  it('move when they are set again, and stand once', () => {
    const bench = new Bench();
    const { deadlines } = bench;
    const one = bench.alarm('one');
    deadlines.set(one, 10);
    deadlines.set(bench.alarm('other'), 20);
    deadlines.set(one, 30);
    expect(deadlines.next).toBe(20);
    deadlines.set(one, 5);
    expect(bench.pass(100)).toEqual(['one', 'other']);
    expect(bench.pass(100)).toEqual([]);
  });

  it('can be cleared, also when they are not set', () => {
    const bench = new Bench();
    const { deadlines } = bench;
    const one = bench.alarm('one');
    deadlines.clear(one);
    deadlines.set(one, 10);
    deadlines.clear(one);
    deadlines.clear(one);
    expect(one).toMatchObject({ at: Infinity, isSet: false });
    expect(deadlines.next).toBe(Infinity);
    deadlines.set(one, 7);
    expect(deadlines.next).toBe(7);
  });

  it('may be infinite', () => {
    const bench = new Bench();
    const { deadlines } = bench;
    const never = bench.alarm('never');
    deadlines.queue(never, Infinity);
    deadlines.set(bench.alarm('soon'), 1);
    expect(bench.pass(Number.MAX_VALUE)).toEqual(['soon']);
    expect([deadlines.next, never.isSet]).toEqual([Infinity, true]);
    deadlines.clear(never);
    expect(never.isSet).toBe(false);
  });

  it('that are set meanwhile wait for the next pass, and hold none of the others up', () => {
    const bench = new Bench();
    const { deadlines } = bench;
    const late = bench.alarm('late');
    const again = bench.alarm('again', () => deadlines.set(again, -1));
    deadlines.set(again, 1);
    deadlines.set(
      bench.alarm('maker', () => deadlines.set(late, 0)),
      2,
    );
    deadlines.set(bench.alarm('last'), 3);
    expect(bench.pass(3)).toEqual(['again', 'maker', 'last']);
    expect(deadlines.next).toBe(-1);
    expect(bench.pass(3)).toEqual(['again', 'late']);
    expect(bench.pass(3)).toEqual(['again']);
  });

  it('are reached by a pass within a pass, and each once', () => {
    const bench = new Bench();
    const { deadlines } = bench;
    const made = bench.alarm('made');
    deadlines.set(
      bench.alarm('outer', () => {
        deadlines.set(made, 0);
        expect(deadlines.next).toBe(0);
        deadlines.look();
        deadlines.reach();
      }),
      1,
    );
    deadlines.set(bench.alarm('other'), 2);
    expect(bench.pass(2)).toEqual(['outer', 'made', 'other']);
  });

  it('that wait for the next pass can be cleared and moved meanwhile', () => {
    const bench = new Bench();
    const { deadlines } = bench;
    const [cleared, moved] = [bench.alarm('cleared'), bench.alarm('moved')];
    deadlines.set(
      bench.alarm('first', () => {
        deadlines.set(cleared, 0);
        deadlines.set(moved, 0);
      }),
      1,
    );
    deadlines.set(
      bench.alarm('second', () => {
        deadlines.clear(cleared);
        deadlines.set(moved, 50);
        deadlines.set(moved, 0);
        deadlines.set(moved, 40);
      }),
      2,
    );
    expect(bench.pass(3)).toEqual(['first', 'second']);
    expect(deadlines.next).toBe(40);
    expect(bench.pass(50)).toEqual(['moved']);
  });

  it('stay when one of them throws', () => {
    const bench = new Bench();
    const { deadlines } = bench;
    const boom = (): never => {
      throw new Error('boom');
    };
    deadlines.set(
      bench.alarm('maker', () => deadlines.set(bench.alarm('made'), 0)),
      1,
    );
    deadlines.set(bench.alarm('thrower', boom), 2);
    deadlines.set(bench.alarm('last'), 3);
    expect(() => bench.pass(3)).toThrow('boom');
    expect(bench.pass(3)).toEqual(['made', 'last']);
  });

  it('tell what has come of them', () => {
    const bench = new Bench();
    const { deadlines } = bench;
    const reach = (): number => {
      deadlines.look();
      return deadlines.reach();
    };
    expect(reach()).toBe(NOTHING);
    deadlines.set(bench.alarm('one', undefined, RESUMED), 0);
    expect(reach()).toBe(RESUMED);
    deadlines.set(bench.alarm('one', undefined, RESUMED), 0);
    deadlines.set(bench.alarm('two', undefined, CALLED), 0);
    expect(reach()).toBe(RESUMED | CALLED);
  });

  it('count those that keep a loop going', () => {
    const bench = new Bench();
    const { deadlines } = bench;
    const keeper = (name: string, then?: () => void) =>
      Object.assign(bench.alarm(name, then), { weight: 1 as const });
    const [one, two, three] = [keeper('one'), keeper('two'), keeper('three')];
    deadlines.queue(one, 10);
    deadlines.queue(two, 10);
    deadlines.set(two, 20);
    expect(deadlines.keepers).toBe(2);
    deadlines.clear(one);
    deadlines.clear(one);
    expect(deadlines.keepers).toBe(1);
    deadlines.set(
      bench.alarm('maker', () => deadlines.set(three, 0)),
      20,
    );
    deadlines.set(
      bench.alarm('counter', () => expect(deadlines.keepers).toBe(1)),
      21,
    );
    expect(bench.pass(30)).toEqual(['two', 'maker', 'counter']);
    expect(deadlines.keepers).toBe(1);
    expect(bench.pass(30)).toEqual(['three']);
    expect(deadlines.keepers).toBe(0);
  });
});

const POPULATION = 40;
const who = fc.nat(POPULATION - 1);
// Few times for many, so that there are equal ones.
const time = fc.oneof(fc.integer({ min: -2, max: 12 }), fc.constant(Infinity));
/** What a deadline does when it is reached. */
const deed = fc.option(
  fc.record({ what: fc.constantFrom('set', 'queue', 'clear', 'pass'), who, time }),
  { nil: null },
);
const step = fc.record({
  what: fc.constantFrom('set', 'queue', 'clear', 'pass', 'program'),
  who,
  time,
  deed,
});

/** What `Deadlines` has to do, done with a list that is sorted whenever it is asked. */
class Model {
  now = 0;
  order = 0;
  readonly set = new Map<number, { at: number; order: number }>();

  due(limit: number): number | undefined {
    return [...this.set]
      .filter(([, { at, order }]) => at <= this.now && order <= limit)
      .sort(([, a], [, b]) => a.at - b.at || a.order - b.order)
      .map(([name]) => name)[0];
  }

  begin(name: number, at: number): void {
    this.order += 1;
    this.set.set(name, { at, order: this.order });
  }
}

it('Deadlines do what a sorted list does: set, clear, reach, also within a pass', () => {
  void fc.assert(
    fc.property(fc.array(step, { maxLength: 150, size: 'max' }), (steps) => {
      const clock = new ManualClock();
      const deadlines = new Deadlines(clock);
      const model = new Model();
      const programs = new Map<number, (typeof steps)[number]['deed']>();
      const [reached, expected]: number[][] = [[], []];
      let depth = 0;

      const act = (what: string, name: number, at: number): void => {
        const delay = Math.abs(at);
        if (what === 'set') deadlines.set(all[name] as Alarm, at);
        else if (what === 'queue') deadlines.queue(all[name] as Alarm, delay);
        else if (what === 'clear') deadlines.clear(all[name] as Alarm);
        else if (depth < 3) {
          depth += 1;
          deadlines.look();
          deadlines.reach();
          depth -= 1;
        }
      };
      let modelDepth = 0;
      const expectedOf = (what: string, name: number, at: number): void => {
        if (what === 'set') model.begin(name, at);
        else if (what === 'queue') model.begin(name, model.now + Math.abs(at));
        else if (what === 'clear') model.set.delete(name);
        else if (modelDepth < 3) {
          modelDepth += 1;
          const limit = model.order;
          for (let due = model.due(limit); due !== undefined; due = model.due(limit)) {
            model.set.delete(due);
            expected?.push(due);
            const program = programs.get(due);
            if (program) expectedOf(program.what, program.who, program.time);
          }
          modelDepth -= 1;
        }
      };
      const all = Array.from(
        { length: POPULATION },
        (_, name) =>
          new Alarm(NOTHING, () => {
            reached?.push(name);
            const program = programs.get(name);
            if (program) act(program.what, program.who, program.time);
          }),
      );

      for (const each of steps) {
        if (each.what === 'program') programs.set(each.who, each.deed);
        else {
          if (each.what === 'pass' && Number.isFinite(each.time) && each.time > 0) {
            clock.advance(each.time);
            model.now = clock.now();
          }
          const at = model.now + each.time;
          act(each.what, each.who, each.what === 'set' ? at : each.time);
          expectedOf(each.what, each.who, each.what === 'set' ? at : each.time);
        }
        expect(reached).toEqual(expected);
        const times = [...model.set.values()].map(({ at }) => at);
        expect(deadlines.next).toBe(Math.min(Infinity, ...times));
        const wrong = all.filter(
          ({ at, isSet }, name) =>
            at !== (model.set.get(name)?.at ?? Infinity) || isSet !== model.set.has(name),
        );
        expect(wrong).toEqual([]);
        expect(new Set(deadlines.pending()).size).toBe(model.set.size);
      }
    }),
    { numRuns: 300 },
  );
});
