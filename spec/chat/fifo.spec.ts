import { Fifo } from 'asyncore';
import * as fc from 'fast-check';

/** A fifo, and how often its watcher was told. */
function watched(list: string[] = []): { fifo: Fifo<string>; told: () => number } {
  const fifo = new Fifo(list);
  let calls = 0;
  fifo.watch({
    interestChanged() {
      calls += 1;
    },
  });
  return { fifo, told: () => calls };
}

type Operation = 'push' | 'pop' | 'pushFront' | 'push100' | 'pop90' | 'clear';

/** Does the same to a fifo and to an array, and looks at both after each step. */
function compareWithArray(sequence: Operation[]): void {
  const fifo = new Fifo<number>();
  let model: number[] = [];
  let next = 0;
  const push = (times: number): void => {
    for (let count = 0; count < times; count += 1) {
      next += 1;
      fifo.push(next);
      model.push(next);
    }
  };
  const pop = (times: number): void => {
    for (let count = 0; count < times; count += 1) {
      const [found, item] = fifo.pop();
      if (found !== model.length > 0 || item !== (model.shift() ?? null)) {
        throw new Error(`popped ${item}`);
      }
    }
  };
  for (const operation of sequence) {
    if (operation === 'push') push(1);
    else if (operation === 'push100') push(100);
    else if (operation === 'pop') pop(1);
    else if (operation === 'pop90') pop(90);
    else if (operation === 'pushFront') {
      next += 1;
      fifo.pushFront(next);
      model.unshift(next);
    } else {
      fifo.clear();
      model = [];
    }
    const same =
      fifo.length === model.length &&
      fifo.isEmpty() === (model.length === 0) &&
      (model.length === 0 ||
        (fifo.first() === model[0] && fifo.last() === model[model.length - 1]));
    if (!same) throw new Error(`not the same after ${operation}`);
  }
  expect([...fifo]).toEqual(model);
}

describe('Fifo', () => {
  it('is empty from the start', () => {
    const fifo = new Fifo<string>();
    expect(fifo.isEmpty()).toBe(true);
    expect(fifo.length).toBe(0);
    expect([...fifo]).toEqual([]);
  });

  it('gives back what was pushed, first in, first out', () => {
    const fifo = new Fifo<number | string>();
    fifo.push(7);
    fifo.push('a');
    expect(fifo.isEmpty()).toBe(false);
    expect(fifo.length).toBe(2);
    expect(fifo.first()).toBe(7);
    expect(fifo.pop()).toEqual([true, 7]);
    expect(fifo.pop()).toEqual([true, 'a']);
    expect(fifo.pop()).toEqual([false, null]);
    expect(fifo.isEmpty()).toBe(true);
  });

  it('holds a given list from the start', () => {
    const fifo = new Fifo(['x', 'y']);
    fifo.push('z');
    expect([...fifo]).toEqual(['x', 'y', 'z']);
    expect(fifo.pop()).toEqual([true, 'x']);
    expect([...fifo]).toEqual(['y', 'z']);
  });

  it('takes any iterable as its list', () => {
    expect([...new Fifo(new Set(['x', 'y']))]).toEqual(['x', 'y']);
    expect([...new Fifo(new Fifo(['x', 'y']))]).toEqual(['x', 'y']);
  });

  it('is empty when the list is null, as in asynchat', () => {
    expect(new Fifo(null).isEmpty()).toBe(true);
  });

  it('knows how many bytes its items are together; what is no data counts as none', () => {
    const producer = { more: () => null };
    const fifo = new Fifo<unknown>([Buffer.alloc(3), 'é', producer, null]);
    expect(fifo.byteLength).toBe(5);
    fifo.pushFront(new Uint8Array(10));
    fifo.push('a');
    expect(fifo.byteLength).toBe(16);
    fifo.pop();
    fifo.pop();
    expect(fifo.byteLength).toBe(3);
    fifo.clear();
    expect(fifo.byteLength).toBe(0);
    fifo.push('ab');
    fifo.pop();
    expect(fifo.byteLength).toBe(0);
  });

  it('copies the list', () => {
    const list = ['x'];
    const fifo = new Fifo(list);
    list.push('theirs');
    fifo.push('ours');
    expect([...fifo]).toEqual(['x', 'ours']);
    expect(list).toEqual(['x', 'theirs']);
  });

  it('holds falsy items like any other', () => {
    const falsy = [null, undefined, 0, '', false];
    const fifo = new Fifo<unknown>(falsy);
    for (const item of falsy) {
      expect(fifo.isEmpty()).toBe(false);
      expect(fifo.first()).toBe(item);
      expect(fifo.pop()).toEqual([true, item]);
    }
    expect(fifo.isEmpty()).toBe(true);
  });

  it.each(['first', 'last'] as const)('refuses to show the %s item when there is none', (which) => {
    const fresh = new Fifo();
    const used = new Fifo(['x']);
    used.pop();
    for (const fifo of [fresh, used]) {
      expect(() => fifo[which]()).toThrow(RangeError);
      expect(() => fifo[which]()).toThrow(`Cannot ${which}: the fifo is empty`);
      expect(() => fifo[which]()).toThrow(expect.objectContaining({ code: 'ERR_OUT_OF_RANGE' }));
    }
  });

  it('counts strings in the encoding that is asked for', () => {
    const fifo = new Fifo<Uint8Array | string>(['éé', Buffer.alloc(3)]);
    expect(fifo.byteLength).toBe(7);
    expect(fifo.byteLengthAs('latin1')).toBe(5);
    fifo.push('é');
    expect(fifo.byteLengthAs('latin1')).toBe(6);
    fifo.pop();
    expect(fifo.byteLengthAs('latin1')).toBe(4);
    expect(fifo.byteLengthAs('utf16le')).toBe(5);
    expect(fifo.byteLength).toBe(5);
  });

  it('knows the last item', () => {
    const fifo = new Fifo<string>();
    fifo.push('x');
    expect(fifo.last()).toBe('x');
    fifo.push('y');
    expect(fifo.last()).toBe('y');
    fifo.pop();
    expect(fifo.last()).toBe('y');
  });

  it('puts an item before all others', () => {
    const fifo = new Fifo<string>();
    fifo.pushFront('b'); // into an empty one
    fifo.pushFront('a'); // with nothing used up before it
    fifo.push('c');
    expect([...fifo]).toEqual(['a', 'b', 'c']);
    fifo.pop();
    fifo.pushFront('A'); // into the place of one that is used up
    expect([...fifo]).toEqual(['A', 'b', 'c']);
    expect(fifo.length).toBe(3);
    expect(fifo.first()).toBe('A');
  });

  it('clears itself, and is used again', () => {
    const fifo = new Fifo(['x', 'y']);
    fifo.clear();
    expect(fifo.isEmpty()).toBe(true);
    expect(fifo.pop()).toEqual([false, null]);
    fifo.push('z');
    expect([...fifo]).toEqual(['z']);
  });

  it('is iterated without being used up, and what is pushed meanwhile is seen', () => {
    const fifo = new Fifo(['x', 'y']);
    const seen: string[] = [];
    for (const item of fifo) {
      seen.push(item);
      if (item === 'y') fifo.push('z');
    }
    expect(seen).toEqual(['x', 'y', 'z']);
    expect(fifo.length).toBe(3);
  });

  it('behaves as a plain array over 10 000 operations, compaction included', () => {
    const operation = fc.oneof(
      { weight: 40, arbitrary: fc.constant<Operation>('push') },
      { weight: 38, arbitrary: fc.constant<Operation>('pop') },
      { weight: 6, arbitrary: fc.constant<Operation>('pushFront') },
      { weight: 6, arbitrary: fc.constant<Operation>('push100') },
      { weight: 4, arbitrary: fc.constant<Operation>('pop90') },
      { weight: 1, arbitrary: fc.constant<Operation>('clear') },
    );
    let operations = 0;
    void fc.assert(
      fc.property(
        fc.array(operation, { minLength: 300, maxLength: 400 }),
        (sequence: Operation[]): void => {
          compareWithArray(sequence);
          operations += sequence.length;
        },
      ),
      { numRuns: 40 },
    );
    expect(operations).toBeGreaterThan(10_000);
  });

  it('takes a time that does not grow with its length', () => {
    const fifo = new Fifo<number>();
    for (let item = 0; item < 200_000; item += 1) fifo.push(item);
    for (let item = 0; item < 200_000; item += 1) {
      // As a chat does with a producer: its piece goes in front of it, and leaves again.
      fifo.pushFront(-1);
      fifo.pop();
      if (fifo.pop()[1] !== item) throw new Error(`not ${item}`);
    }
    expect(fifo.isEmpty()).toBe(true);
  });
});

describe('Fifo, its watcher', () => {
  it('is told by a push into an empty fifo, and by no other', () => {
    const { fifo, told } = watched();
    fifo.push('x');
    expect(told()).toBe(1);
    fifo.push('y');
    fifo.push('z');
    expect(told()).toBe(1);
  });

  it('is told by a pushFront into an empty fifo, and by no other', () => {
    const { fifo, told } = watched();
    fifo.pushFront('x');
    expect(told()).toBe(1);
    fifo.pushFront('y');
    expect(told()).toBe(1);
  });

  it('is told by the pop of the last item, and by no other', () => {
    const { fifo, told } = watched(['x', 'y']);
    fifo.pop();
    expect(told()).toBe(0);
    fifo.pop();
    expect(told()).toBe(1);
    fifo.pop(); // of nothing
    expect(told()).toBe(1);
  });

  it('is told by a clear of something, not of nothing', () => {
    const { fifo, told } = watched(['x', 'y']);
    fifo.clear();
    expect(told()).toBe(1);
    fifo.clear();
    expect(told()).toBe(1);
  });

  it('is one of several, each of which is told', () => {
    const { fifo, told } = watched();
    let others = 0;
    const other = { interestChanged: () => (others += 1) };
    fifo.watch(other);
    fifo.push('x');
    fifo.unwatch(other);
    fifo.pop();
    expect([told(), others]).toEqual([2, 1]);
  });

  it('sees the fifo as it is after the change', () => {
    const fifo = new Fifo<string>();
    const seen: boolean[] = [];
    fifo.watch({ interestChanged: () => seen.push(fifo.isEmpty()) });
    fifo.push('x');
    fifo.pop();
    fifo.push('y');
    fifo.clear();
    expect(seen).toEqual([false, true, false, true]);
  });
});
