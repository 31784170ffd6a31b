// The clocks that a map can keep its deadlines by. Imports no other part of the loop.

import { performance } from 'node:perf_hooks';
import { badRange, badType, checkDuration } from '../errors';

/** The longest wait that the kernel and Node's timers can count, in ms. */
export const LONGEST_WAIT = 2 ** 31 - 1;

/** What a `ChannelMap` keeps its deadlines by. */
export interface Clock {
  /**
   * The time in ms, from any moment. It must never go back, and keep pace with real time: the kernel waits by
   * that.
   */
  now(): number;
  /**
   * Only a clock that does not go by itself has this: it calls `callback` whenever it has been moved. The loop
   * then waits for that, and not for time to pass.
   * @returns a function that ends this
   */
  onAdvance?(callback: () => void): () => void;
}

/** The clock of a map by default: performance.now(), which no change of the system's clock moves. */
export const monotonicClock: Clock = Object.freeze({ now: () => performance.now() });

/**
 * A clock that a test moves. What a map puts off follows it: timers, idle timeouts, deadlines, the deadline of
 * `shutdown`, and the pauses of a listener. No time passes in it while the test waits for input, and a day
 * passes at once.
 *
 * Only a pass over the map fires what is due: `poll(0, map)`, or a loop that runs on the map, which `advance`
 * wakes. Real are: how long a pass waits for input, `createConnection`, and Node's own timers, such as that of
 * `toDuplex(channel).setTimeout`.
 *
 * @example
 * const clock = new ManualClock();
 * const map = new ChannelMap([], { clock });
 * const chat = new Chat(socket, map);
 * chat.setIdleTimeout(300_000);
 * clock.advance(300_000);
 * poll(0, map); // calls handleTimeout
 */
export class ManualClock implements Clock {
  #now: number;
  readonly #callbacks = new Set<() => void>();

  /**
   * @param start the time in ms at first, 0 by default
   * @throws {TypeError|RangeError} for anything but a finite number
   */
  constructor(start = 0) {
    checkMoment('make a clock', 'a start', start);
    this.#now = start;
  }

  now(): number {
    return this.#now;
  }

  /**
   * Moves the clock on.
   * @param duration in ms
   * @throws {TypeError|RangeError} when it is negative, infinite or no number
   */
  advance(duration: number): void {
    checkDuration('advance a clock', 'a duration', duration);
    this.advanceTo(this.#now + duration);
  }

  /**
   * Moves the clock on to a moment, such as the `nextDue` of a map. A moment that has passed changes nothing.
   * @param moment in ms
   * @throws {TypeError|RangeError} when it is infinite or no number
   */
  advanceTo(moment: number): void {
    const hint =
      moment === Infinity ? 'a map whose nextDue is Infinity has nothing to do' : undefined;
    checkMoment('advance a clock', 'a moment', moment, hint);
    if (moment <= this.#now) return;
    this.#now = moment;
    for (const callback of [...this.#callbacks]) callback();
  }

  /** Has `callback` called after each change of the time. @returns a function that ends this */
  onAdvance(callback: () => void): () => void {
    this.#callbacks.add(callback);
    return () => this.#callbacks.delete(callback);
  }
}

/**
 * Calls `callback` after `delay` ms of a clock, whether a loop runs or not; not while the thread is blocked. A
 * clock that is moved by hand calls it at each later move, too.
 * @returns a function that cancels this
 */
export function callOutside(clock: Clock, delay: number, callback: () => void): () => void {
  if (clock.onAdvance !== undefined) {
    const due = clock.now() + delay;
    return clock.onAdvance(() => {
      if (clock.now() >= due) callback();
    });
  }
  const timer = delay <= LONGEST_WAIT ? setTimeout(callback, delay) : undefined;
  return () => clearTimeout(timer);
}

function checkMoment(action: string, what: string, value: number, hint?: string): void {
  if (Number.isFinite(value)) return;
  const expected = `${what} that is a finite number of ms`;
  throw (typeof value === 'number' ? badRange : badType)(action, expected, value, hint);
}

/** @throws {TypeError} for what is no clock @internal */
export function checkClock(action: string, clock: Clock): void {
  if (typeof clock?.now !== 'function') throw badType(action, 'a clock with a method now()', clock);
  const now: unknown = clock.now();
  if (!Number.isFinite(now)) throw badRange(action, 'a clock whose now() is a finite number', now);
}
