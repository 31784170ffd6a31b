// What a map has to do, and when: a heap of deadlines, the earliest first.
//
// Timers, idle timeouts and suspensions stand here. A tick looks at the earliest deadline and at no other, so
// that a hundred thousand of them cost it nothing. Traffic that puts an idle timeout off does not move its
// deadline at each byte: the deadline is set anew when it is reached.
//
// Most timers of a program have one of a few delays, and timers of one delay come due in the order in which
// they were made. So they stand in a queue, and only the head of the queue stands in the heap: making such a
// timer and cancelling it costs the same however many there are. Everything else takes O(log n).
//
// Deadlines that are due at the same time are reached in the order in which they were set.

import { performance } from 'node:perf_hooks';
import { type Clock, monotonicClock } from './clock';

// What has come of a deadline, for the pass in which it was reached.
export const NOTHING = 0;
/** The suspension of a channel has ended: the kernel has to be asked about it. */
export const RESUMED = 1;
/** Code of the program has run. */
export const CALLED = 2;

/** Where a deadline stands, instead of an index in the heap. */
const NOWHERE = -1;
const QUEUED = -2;
const HELD = -3;

export abstract class Deadline {
  /** When, by the clock of the map; Infinity while the deadline is not set. To be read only. */
  at = Infinity;
  /** 1: it keeps a loop going that has no channels. 0 for most: it stands on the prototype. */
  declare weight: 0 | 1;
  // The rest belongs to Deadlines.
  /** @internal */
  place = NOWHERE;
  /** Counts the deadlines that were set. @internal */
  order = 0;
  /** @internal */
  queue: Queue | null = null;
  /** @internal */
  previous: Deadline | null = null;
  /** @internal */
  next: Deadline | null = null;

  /** Whether it is set. */
  get isSet(): boolean {
    return this.place !== NOWHERE;
  }

  /**
   * Called once, when the time has come; it may set the deadline anew.
   * @param now when the kernel was asked last what is ready
   * @param due what `at` was
   * @returns RESUMED, CALLED or NOTHING
   */
  abstract reached(now: number, due: number): number;
}

Deadline.prototype.weight = 0;

/** A deadline that calls a function of the library. */
export class Alarm extends Deadline {
  /** @param outcome RESUMED, CALLED or NOTHING */
  constructor(
    private readonly outcome: number,
    private readonly callback: () => void,
  ) {
    super();
  }

  override reached(): number {
    this.callback();
    return this.outcome;
  }
}

/** The deadlines of one delay. */
interface Queue {
  readonly delay: number;
  tail: Deadline | null;
}

export class Deadlines {
  /** The earliest deadline, or Infinity. To be read only: a field, as every tick looks at it. */
  next = Infinity;
  /** When the kernel was asked last what is ready. Noted while a deadline is set. */
  lookedAt = -Infinity;
  /** How many deadlines keep a loop going that has no channels. To be read only. */
  keepers = 0;
  /** Each is no later than the four behind it, at 4 i + 1 to 4 i + 4. */
  readonly #heap: Deadline[] = [];
  /** The `at` of each, side by side: comparing them touches no object. */
  readonly #times: number[] = [];
  readonly #queues = new Map<number, Queue>();
  #lastOrder = 0;
  /** What `#lastOrder` was then. */
  #lookedOrder = 0;
  /** Those set since then, and due already: they wait for the next pass. */
  #held: Deadline[] = [];

  constructor(readonly clock: Clock) {}

  // Setting and clearing.

  /** Sets a deadline, or moves it. */
  set(deadline: Deadline, at: number): void {
    if (deadline.place !== NOWHERE) this.#remove(deadline);
    this.#begin(deadline, at);
    this.#insert(deadline);
    this.#noteNext();
  }

  /** Sets a deadline, or moves it: `delay` ms from now. */
  setAfter(deadline: Deadline, delay: number): void {
    this.set(deadline, this.clock.now() + delay);
  }

  /** As `setAfter`, for a delay that many deadlines share. */
  queue(deadline: Deadline, delay: number): void {
    const at = this.clock.now() + delay;
    this.clear(deadline);
    this.#begin(deadline, at);
    const queue = this.#queues.get(delay) ?? this.#openQueue(delay);
    const { tail } = queue;
    deadline.queue = queue;
    queue.tail = deadline;
    if (tail === null) {
      this.#insert(deadline);
      this.#noteNext();
      return;
    }
    deadline.place = QUEUED;
    deadline.previous = tail;
    tail.next = deadline;
  }

  #begin(deadline: Deadline, at: number): void {
    deadline.at = at;
    this.#lastOrder += 1;
    deadline.order = this.#lastOrder;
    this.keepers += deadline.weight;
  }

  #openQueue(delay: number): Queue {
    const queue = { delay, tail: null };
    this.#queues.set(delay, queue);
    return queue;
  }

  /** Takes a deadline away. Silent when it is not set. */
  clear(deadline: Deadline): void {
    const { place } = deadline;
    if (place === NOWHERE) return;
    this.#remove(deadline);
    deadline.at = Infinity;
    if (place !== QUEUED) this.#noteNext();
  }

  /** All that are set. */
  pending(): Deadline[] {
    const all = this.#held.filter(({ place }) => place === HELD);
    for (const head of this.#heap) {
      for (let each: Deadline | null = head; each !== null; each = each.next) all.push(each);
    }
    return all;
  }

  #noteNext(): void {
    this.next = this.#times[0] ?? Infinity;
    if (this.#held.length === 0) return;
    for (const { at, place } of this.#held) if (place === HELD && at < this.next) this.next = at;
  }

  // Waiting.

  /** The kernel has been asked what is ready. */
  look(): void {
    this.lookedAt = this.clock.now();
    this.#lookedOrder = this.#lastOrder;
  }

  /** When the kernel must not wait any longer, by performance.now(). */
  nextRealTime(): number {
    const { next, clock } = this;
    if (clock === monotonicClock || next === Infinity) return next;
    if (this.standStill) return Infinity;
    return performance.now() + next - clock.now();
  }

  /** Whether no deadline comes by waiting: no time passes in a manual clock while the kernel waits. */
  get standStill(): boolean {
    return this.clock.onAdvance !== undefined && this.next > this.clock.now();
  }

  /**
   * Reaches the deadlines whose time had come when the kernel was asked. One that has been set since then, by an
   * event or by a deadline, waits for the next pass, whatever its time.
   * @returns RESUMED and CALLED, together
   */
  reach(): number {
    const now = this.lookedAt;
    this.#release();
    const last = this.#lookedOrder;
    let outcome = NOTHING;
    try {
      for (let due = this.#takeDue(now, last); due !== null; due = this.#takeDue(now, last)) {
        const { at } = due;
        due.at = Infinity;
        outcome |= due.reached(now, at);
      }
    } finally {
      this.#release();
    }
    return outcome;
  }

  /** Takes the earliest deadline away, if its time has come by `now`, and it was set by `last`. */
  #takeDue(now: number, last: number): Deadline | null {
    for (;;) {
      const first = this.#heap[0];
      if (first === undefined || first.at > now) return null;
      this.#remove(first);
      if (first.order <= last) {
        this.#noteNext();
        return first;
      }
      this.#held.push(first);
      first.place = HELD;
      this.keepers += first.weight;
    }
  }

  /** Puts those that have to wait back into the heap. */
  #release(): void {
    if (this.#held.length === 0) return;
    const held = this.#held;
    this.#held = [];
    for (const deadline of held) if (deadline.place === HELD) this.#insert(deadline);
    this.#noteNext();
  }

  // The heap.

  #remove(deadline: Deadline): void {
    const { place, queue } = deadline;
    deadline.place = NOWHERE;
    this.keepers -= deadline.weight;
    if (place === HELD) return;
    const next = queue === null ? null : this.#unlink(deadline, queue);
    if (place === QUEUED) return;
    // The next one of a queue is no earlier.
    if (next !== null) this.#down(next, place);
    else this.#take(place);
  }

  /** Takes a deadline out of its queue. @returns the one behind it */
  #unlink(deadline: Deadline, queue: Queue): Deadline | null {
    const { previous, next } = deadline;
    deadline.queue = deadline.previous = deadline.next = null;
    if (previous !== null) previous.next = next;
    if (next !== null) next.previous = previous;
    else {
      queue.tail = previous;
      if (previous === null) this.#queues.delete(queue.delay);
    }
    return next;
  }

  #insert(deadline: Deadline): void {
    this.#times.push(deadline.at);
    this.#heap.push(deadline);
    this.#up(deadline, this.#heap.length - 1);
  }

  /** Closes the gap at `place` with the last one. */
  #take(place: number): void {
    this.#times.pop();
    const last = this.#heap.pop() as Deadline;
    if (place === this.#heap.length) return;
    this.#up(last, place);
    if (last.place === place) this.#down(last, place);
  }

  /** Puts a deadline at `start`, or above it. */
  #up(deadline: Deadline, start: number): void {
    const heap = this.#heap;
    const times = this.#times;
    let index = start;
    while (index > 0) {
      const above = (index - 1) >> 2;
      const other = heap[above] as Deadline;
      if (!isBefore(deadline, deadline.at, other, times[above] as number)) break;
      this.#put(other, index);
      index = above;
    }
    this.#put(deadline, index);
  }

  /** Puts a deadline at `start`, or below it. */
  #down(deadline: Deadline, start: number): void {
    const heap = this.#heap;
    const times = this.#times;
    let index = start;
    for (let below = 4 * index + 1; below < heap.length; below = 4 * index + 1) {
      let least = below;
      const end = Math.min(below + 4, heap.length);
      let earliest = heap[below] as Deadline;
      for (let place = below + 1; place < end; place += 1) {
        const other = heap[place] as Deadline;
        if (!isBefore(other, times[place] as number, earliest, times[least] as number)) continue;
        earliest = other;
        least = place;
      }
      if (!isBefore(earliest, times[least] as number, deadline, deadline.at)) break;
      this.#put(earliest, index);
      index = least;
    }
    this.#put(deadline, index);
  }

  #put(deadline: Deadline, index: number): void {
    this.#heap[index] = deadline;
    this.#times[index] = deadline.at;
    deadline.place = index;
  }
}

/** The times are those of the deadlines, which are looked at only when both are the same. */
function isBefore(one: Deadline, time: number, other: Deadline, otherTime: number): boolean {
  return time < otherTime || (time === otherTime && one.order < other.order);
}
