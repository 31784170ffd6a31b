// docs/examples/support/keyspace.ts: each kind of value beside a plain array, and what expires.

import fc from 'fast-check';
import { Database, List, MemberSet, SortedSet } from '../../docs/examples/support/keyspace';

const name = fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f');

/** Any steps in any order, a few at a time. */
function steps<Step>(...kinds: fc.Arbitrary<Step>[]): fc.Arbitrary<Step[]> {
  return fc.array(fc.oneof(...kinds), { maxLength: 60 });
}

it('A List is an array', () => {
  const step = fc.constantFrom('pushLeft', 'pushRight', 'popLeft', 'popRight');
  const place = fc.integer({ min: -8, max: 8 });
  fc.assert(
    fc.property(steps(fc.tuple(step, name)), place, place, (all, start, stop) => {
      const list = new List();
      const array: string[] = [];
      for (const [what, item] of all) {
        if (what === 'pushLeft') {
          array.unshift(item);
          list.pushLeft(item);
        } else if (what === 'pushRight') {
          array.push(item);
          list.pushRight(item);
        } else if (what === 'popLeft') expect(list.popLeft()).toBe(array.shift() ?? null);
        else expect(list.popRight()).toBe(array.pop() ?? null);
      }
      expect(list.size).toBe(array.length);
      expect(list.range(0, -1)).toEqual(array);
      const { length } = array;
      const end = stop < 0 ? length + stop : stop;
      const from = Math.max(start < 0 ? length + start : start, 0);
      expect(list.range(start, stop)).toEqual(array.slice(from, Math.max(end + 1, 0)));
    }),
  );
});

it('A SortedSet is sorted', () => {
  const add = fc.tuple(name, fc.constantFrom(-Infinity, -1, 0, 0.5, 1, Infinity));
  fc.assert(
    fc.property(steps(add, fc.constant(null)), (all) => {
      const set = new SortedSet();
      const scores = new Map<string, number>();
      const popBoth = (): void => {
        const [least] = [...scores].sort(([a, x], [b, y]) =>
          x < y || (x === y && a < b) ? -1 : 1,
        );
        const popped = set.popLeast();
        expect(popped === null ? undefined : [popped.member, popped.score]).toEqual(least);
        if (least !== undefined) scores.delete(least[0]);
      };
      for (const one of all) {
        if (one === null) popBoth();
        else {
          expect(set.add(...one)).toBe(!scores.has(one[0]));
          scores.set(...one);
        }
        expect(set.size).toBe(scores.size);
      }
      while (scores.size > 0) popBoth();
      expect(set.popLeast()).toBeNull();
    }),
  );
});

it.each<[string, (n: number) => number]>([
  ['rising', (n) => n],
  ['falling', (n) => -n],
  ['mixed', (n) => (n * 7919) % 1009],
])('A SortedSet of many members is sorted: %s scores', (_order, scoreOf) => {
  const set = new SortedSet();
  const count = 3000;
  for (let n = 0; n < count; n += 1) expect(set.add(`m${n}`, scoreOf(n))).toBe(true);
  // A third of the members move, to the other end.
  for (let n = 0; n < count; n += 3) expect(set.add(`m${n}`, -scoreOf(n) - 0.5)).toBe(false);
  const expected = Array.from({ length: count }, (_, n) => ({
    member: `m${n}`,
    score: n % 3 === 0 ? -scoreOf(n) - 0.5 : scoreOf(n),
  })).sort((a, b) => a.score - b.score || (a.member < b.member ? -1 : 1));
  expect(Array.from({ length: count }, () => set.popLeast())).toEqual(expected);
  expect([set.size, set.popLeast()]).toEqual([0, null]);
});

describe('A MemberSet', () => {
  it('has each member once', () => {
    fc.assert(
      fc.property(steps(name, fc.constant(null)), (all) => {
        const set = new MemberSet();
        const members = new Set<string>();
        for (const one of all) {
          if (one === null) {
            const drawn = set.draw();
            expect(drawn !== null).toBe(members.size > 0);
            if (drawn !== null) expect(members.delete(drawn)).toBe(true);
          } else {
            expect(set.add(one)).toBe(!members.has(one));
            members.add(one);
          }
          expect(set.size).toBe(members.size);
        }
      }),
    );
  });

  it('draws by lot', () => {
    const drawn = new Set<string>();
    // That one of three does not come in 200 draws: a chance of 1 in 10^34.
    for (let count = 0; count < 200; count += 1) {
      const set = new MemberSet();
      for (const member of ['a', 'b', 'c']) set.add(member);
      drawn.add(set.draw() as string);
    }
    expect([...drawn].sort()).toEqual(['a', 'b', 'c']);
  });
});

describe('A Database', () => {
  let now = 0;

  beforeEach(() => {
    now = 1000;
    jest.spyOn(performance, 'now').mockImplementation(() => now);
  });

  afterEach(() => jest.restoreAllMocks());

  it('forgets a key at its time, and not before', () => {
    const database = new Database();
    database.set('a', '1');
    database.expire('a', 10);
    now += 9;
    expect(database.getString('a')).toBe('1');
    expect(database.timeToLive('a')).toBe(1);
    now += 1;
    expect(database.has('a')).toBe(false);
    expect([database.size, database.expiring]).toEqual([0, 0]);
  });

  it('makes a new value of another kind when the old one is over', () => {
    const database = new Database();
    database.open('a', List).pushLeft('x');
    database.expire('a', 10);
    now += 10;
    expect(database.open('a', MemberSet).size).toBe(0);
    expect(database.timeToLive('a')).toBe(Infinity);
  });

  it('sweeps a part at a time, and gets round', () => {
    const database = new Database();
    for (let key = 0; key < 2500; key += 1) {
      database.set(`${key}`, '');
      database.expire(`${key}`, key % 2 === 0 ? 10 : 1000);
    }
    now += 10;
    const sweeps = [1, 2, 3, 4].map(() => [database.sweep(), database.size]);
    // The fourth begins a new round, and finds nothing.
    expect(sweeps).toEqual([
      [true, 2000],
      [true, 1500],
      [true, 1250],
      [false, 1250],
    ]);
    // What comes during a round is seen in the next one at the latest.
    database.set('late', '');
    database.expire('late', 1);
    now += 1;
    for (let round = 0; round < 6; round += 1) database.sweep();
    expect(database.size).toBe(1250);
    now += 1000;
    for (let round = 0; round < 4; round += 1) database.sweep();
    expect([database.size, database.expiring]).toEqual([0, 0]);
  });
});
