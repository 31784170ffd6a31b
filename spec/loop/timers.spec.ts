// Deadlines: a heap that is held against a list which is sorted at each step.

import * as fc from 'fast-check';
import { Deadline, Deadlines } from '../../lib/loop/timers';

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

describe('Deadlines', () => {
  it('knows no next one while it is empty', () => {
    const deadlines = new Deadlines();
    expect(deadlines.next).toBe(Infinity);
    expect(deadlines.takeDue(Number.MAX_VALUE)).toBeNull();
  });

  it('gives them out when their time has come, the earliest first, each once', () => {
    const deadlines = new Deadlines();
    const [first, second, third] = [deadline(), deadline(), deadline()];
    deadlines.set(second, 20);
    deadlines.set(third, 30);
    deadlines.set(first, 10);
    expect(deadlines.next).toBe(10);
    expect(deadlines.takeDue(9.99)).toBeNull();
    expect(deadlines.takeDue(20)).toBe(first);
    expect(deadlines.takeDue(20)).toBe(second);
    expect(deadlines.takeDue(20)).toBeNull();
    expect(deadlines.next).toBe(30);
    expect(first).toMatchObject({ at: Infinity, index: -1 });
  });

  it('moves one that is set again, and holds it once', () => {
    const deadlines = new Deadlines();
    const [one, other] = [deadline(), deadline()];
    deadlines.set(one, 10);
    deadlines.set(other, 20);
    deadlines.set(one, 30);
    expect(deadlines.next).toBe(20);
    deadlines.set(one, 5);
    expect(deadlines.takeDue(100)).toBe(one);
    expect(deadlines.takeDue(100)).toBe(other);
    expect(deadlines.takeDue(100)).toBeNull();
  });

  it('takes one away, and is silent about one that is not set', () => {
    const deadlines = new Deadlines();
    const one = deadline();
    deadlines.clear(one);
    deadlines.set(one, 10);
    deadlines.clear(one);
    deadlines.clear(one);
    expect(one).toMatchObject({ at: Infinity, index: -1 });
    expect(deadlines.next).toBe(Infinity);
    deadlines.set(one, 7);
    expect(deadlines.next).toBe(7);
  });

  it('holds one that never comes', () => {
    const deadlines = new Deadlines();
    const [never, soon] = [deadline(), deadline()];
    deadlines.set(never, Infinity);
    deadlines.set(soon, 1);
    expect(deadlines.takeDue(Number.MAX_VALUE)).toBe(soon);
    expect(deadlines.takeDue(Number.MAX_VALUE)).toBeNull();
    deadlines.clear(never);
    expect(deadlines.next).toBe(Infinity);
  });

  it('does what a sorted list does', () => {
    void fc.assert(
      fc.property(fc.array(step, { maxLength: 200, size: 'max' }), (steps) => {
        const deadlines = new Deadlines();
        const all = Array.from({ length: POPULATION }, deadline);
        const list = new Map<Deadline, number>();
        const earliest = (): number => Math.min(Infinity, ...list.values());
        for (const each of steps) {
          if (each.what === 'take') {
            const due = earliest() <= each.now;
            const taken = deadlines.takeDue(each.now);
            expect(taken !== null).toBe(due);
            if (taken === null) continue;
            expect(list.get(taken)).toBe(earliest());
            list.delete(taken);
          } else {
            const one = all[each.who] as Deadline;
            if (each.what === 'set') {
              deadlines.set(one, each.at);
              list.set(one, each.at);
            } else {
              deadlines.clear(one);
              list.delete(one);
            }
          }
          expect(deadlines.next).toBe(earliest());
          const wrong = all.filter(
            (one) => one.at !== (list.get(one) ?? Infinity) || (one.index !== -1) !== list.has(one),
          );
          expect(wrong).toEqual([]);
        }
        const rest = [...list.values()].filter((at) => at !== Infinity).sort((a, b) => a - b);
        const taken: number[] = [];
        for (;;) {
          const { next } = deadlines;
          if (deadlines.takeDue(Number.MAX_VALUE) === null) break;
          taken.push(next);
        }
        expect(taken).toEqual(rest);
      }),
    );
  });
});
