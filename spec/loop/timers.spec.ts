// Timers: a heap that is held against a list which is sorted at each step.

import * as fc from 'fast-check';
import { Deadline, Timers } from '../../lib/loop/timers';

const deadline = (): Deadline => new Deadline(() => {});

const POPULATION = 40;
const step = fc.oneof(
  fc.record({
    what: fc.constant('set' as const),
    who: fc.nat(POPULATION - 1),
    // Few times for many, so that there are equal ones.
    at: fc.oneof(fc.nat(12), fc.constant(Infinity)),
  }),
  fc.record({ what: fc.constant('clear' as const), who: fc.nat(POPULATION - 1) }),
  fc.record({ what: fc.constant('take' as const), now: fc.nat(12) }),
);

describe('Timers', () => {
  it('knows no next one while it is empty', () => {
    const timers = new Timers();
    expect(timers.next).toBe(Infinity);
    expect(timers.takeDue(Number.MAX_VALUE)).toBeNull();
  });

  it('gives them out when their time has come, the earliest first, each once', () => {
    const timers = new Timers();
    const [first, second, third] = [deadline(), deadline(), deadline()];
    timers.set(second, 20);
    timers.set(third, 30);
    timers.set(first, 10);
    expect(timers.next).toBe(10);
    expect(timers.takeDue(9.99)).toBeNull();
    expect(timers.takeDue(20)).toBe(first);
    expect(timers.takeDue(20)).toBe(second);
    expect(timers.takeDue(20)).toBeNull();
    expect(timers.next).toBe(30);
    expect(first).toMatchObject({ at: Infinity, index: -1 });
  });

  it('moves one that is set again, and holds it once', () => {
    const timers = new Timers();
    const [one, other] = [deadline(), deadline()];
    timers.set(one, 10);
    timers.set(other, 20);
    timers.set(one, 30);
    expect(timers.next).toBe(20);
    timers.set(one, 5);
    expect(timers.takeDue(100)).toBe(one);
    expect(timers.takeDue(100)).toBe(other);
    expect(timers.takeDue(100)).toBeNull();
  });

  it('takes one away, and is silent about one that is not set', () => {
    const timers = new Timers();
    const one = deadline();
    timers.clear(one);
    timers.set(one, 10);
    timers.clear(one);
    timers.clear(one);
    expect(one).toMatchObject({ at: Infinity, index: -1 });
    expect(timers.next).toBe(Infinity);
    timers.set(one, 7);
    expect(timers.next).toBe(7);
  });

  it('holds one that never comes', () => {
    const timers = new Timers();
    const [never, soon] = [deadline(), deadline()];
    timers.set(never, Infinity);
    timers.set(soon, 1);
    expect(timers.takeDue(Number.MAX_VALUE)).toBe(soon);
    expect(timers.takeDue(Number.MAX_VALUE)).toBeNull();
    timers.clear(never);
    expect(timers.next).toBe(Infinity);
  });

  it('does what a sorted list does', () => {
    void fc.assert(
      fc.property(fc.array(step, { maxLength: 200, size: 'max' }), (steps) => {
        const timers = new Timers();
        const all = Array.from({ length: POPULATION }, deadline);
        const list = new Map<Deadline, number>();
        const earliest = (): number => Math.min(Infinity, ...list.values());
        for (const each of steps) {
          if (each.what === 'take') {
            const due = earliest() <= each.now;
            const taken = timers.takeDue(each.now);
            expect(taken !== null).toBe(due);
            if (taken === null) continue;
            expect(list.get(taken)).toBe(earliest());
            list.delete(taken);
          } else {
            const one = all[each.who] as Deadline;
            if (each.what === 'set') {
              timers.set(one, each.at);
              list.set(one, each.at);
            } else {
              timers.clear(one);
              list.delete(one);
            }
          }
          expect(timers.next).toBe(earliest());
          const wrong = all.filter(
            (one) => one.at !== (list.get(one) ?? Infinity) || (one.index !== -1) !== list.has(one),
          );
          expect(wrong).toEqual([]);
        }
        const rest = [...list.values()].filter((at) => at !== Infinity).sort((a, b) => a - b);
        const taken: number[] = [];
        for (;;) {
          const { next } = timers;
          if (timers.takeDue(Number.MAX_VALUE) === null) break;
          taken.push(next);
        }
        expect(taken).toEqual(rest);
      }),
    );
  });
});
