// The channel map, fd -> channel: Python's `asyncore.socket_map`, and any dict given as `map`.
//
// A ChannelMap is a Map, and a program may treat it as one: size, get, set, delete, iteration in order
// of insertion. What the loop knows about its channels stands in the map's registry.
//
// The Map itself holds the numbers alone, and the channels are the registry's, so Map's own methods see no
// channels when they are called past this class. The reason: V8 renews the table of a Map
// as keys come and go. It leaves the old table as it was, with a pointer to the new one; and from one old
// table that only a full collection frees, a scavenge goes through all that followed. So a Map of channels
// kept most of the closed ones alive, with all that they refer to.

import { inspect } from 'node:util';
import { badInstance, badRange, badType, checkOptions } from '../errors';
import type { Channel } from './channel';
import { type Clock, checkClock, monotonicClock } from './clock';
import { Deadlines } from './deadlines';
import { Registry } from './registry';
import type { TimerFunction, TimerHandle, TimerOptions } from './timer-handle';
import { MapTimers, warnOfTimer } from './timers';

/** Stands in the Map for a channel. */
const NOT_HERE = undefined as unknown as Channel;

/**
 * The registry of a map. Package-private access: the class assigns this function in a static block, where
 * it can read the private field, so that the registry is in no public method or type. `sessionOf` of the
 * dispatcher works in the same way. @internal
 */
export let registryOf: (map: ChannelMap) => Registry;

/** Options of `new ChannelMap`. */
export interface ChannelMapOptions {
  /**
   * What timers, idle timeouts and deadlines go by. Default: performance.now(). With a `ManualClock` a test
   * moves the time itself.
   */
  clock?: Clock | undefined;
}

const OPTIONS = { clock: true } as const;

/**
 * fd -> channel.
 *
 * @example
 * const map = new ChannelMap();
 * new EchoServer({ host: '127.0.0.1', port: 8007 }, map);
 * await loop({ map });
 */
export class ChannelMap extends Map<number, Channel> {
  readonly #registry: Registry;
  readonly #timers: MapTimers;
  /** What `inspect` shows, while it is at work. */
  #shown: object | null = null;

  static {
    registryOf = (map) => map.#registry;
  }

  /**
   * Holds `channels` at first, by default none.
   * @throws {RangeError|TypeError} as `set`, for an unknown option, and for what is no clock
   */
  constructor(
    channels: Iterable<readonly [number, Channel]> = [],
    options: ChannelMapOptions = {},
  ) {
    const action = 'make a channel map';
    if (typeof channels?.[Symbol.iterator] !== 'function') {
      throw badType(
        action,
        'a list of [fd, channel]',
        channels,
        'use new ChannelMap([], { clock })',
      );
    }
    const isClock = typeof (options as Clock | null)?.now === 'function';
    if (isClock) throw badType(action, 'options', options, 'use { clock }');
    checkOptions(action, 'options', options, OPTIONS);
    const { clock = monotonicClock } = options;
    checkClock(action, clock);
    // Not handed to Map's own constructor, which would call `set` before there are fields.
    super();
    const registry = new Registry(this, new Deadlines(clock));
    this.#registry = registry;
    this.#timers = new MapTimers(registry, this);
    for (const [fd, channel] of channels) this.set(fd, channel);
  }

  /**
   * Puts a channel in, in place of the channel that had the number.
   * @throws {RangeError} when `fd` is no descriptor
   * @throws {TypeError} when `channel` is no object
   */
  override set(fd: number, channel: Channel): this {
    if ((fd | 0) !== fd || fd < 0) throw badRange('add a channel', 'a descriptor', fd);
    if (typeof channel !== 'object' || channel === null) {
      throw badType('add a channel', 'an object with handlers', channel);
    }
    this.#registry.enter(fd, channel);
    return super.set(fd, NOT_HERE);
  }

  override get(fd: number): Channel | undefined {
    return typeof fd === 'number' ? this.#registry.entries[fd]?.channel : undefined;
  }

  /** Takes a channel out: none of its handlers is called any more. @returns whether there was one */
  override delete(fd: number): boolean {
    if (!this.#registry.leave(fd)) return false;
    super.delete(fd);
    if (this.size === 0) this.#registry.settle();
    return true;
  }

  override clear(): void {
    for (const fd of [...this.keys()]) this.delete(fd);
  }

  override *entries(): ReturnType<Map<number, Channel>['entries']> {
    const { entries } = this.#registry;
    for (const fd of this.keys()) yield [fd, entries[fd]?.channel as Channel];
  }

  override *values(): ReturnType<Map<number, Channel>['values']> {
    for (const [, channel] of this.entries()) yield channel;
  }

  /** As `entries`: `[fd, channel]` for each channel. */
  override [Symbol.iterator](): ReturnType<Map<number, Channel>['entries']> {
    return this.entries();
  }

  override forEach(
    callback: (channel: Channel, fd: number, map: Map<number, Channel>) => void,
    thisArg?: unknown,
  ): void {
    for (const [fd, channel] of this.entries()) callback.call(thisArg, channel, fd, this);
  }

  /**
   * As any Map is shown: by a copy that has the channels in it. Channels may refer to the map, so nested
   * calls get the same copy, in which `inspect` sees the circle. @internal
   */
  [inspect.custom](): object {
    if (this.#shown === null) {
      this.#shown = Object.setPrototypeOf(new Map(this), Object.getPrototypeOf(this)) as object;
      const entries = { value: Map.prototype.entries };
      Object.defineProperties(this.#shown, {
        ...Object.getOwnPropertyDescriptors(this),
        entries,
        [Symbol.iterator]: entries,
        [inspect.custom]: { value: undefined },
      });
      queueMicrotask(() => {
        this.#shown = null;
      });
    }
    return this.#shown;
  }

  // -------------------------------------------------------------------------------------------
  // Timers.

  /** What the timers of this map go by. */
  get clock(): Clock {
    return this.#registry.deadlines.clock;
  }

  /**
   * When the next timer, idle timeout or other deadline is due, in ms by the clock; Infinity: none is. A
   * program that has a loop of its own waits no longer than that before it calls `poll`.
   */
  get nextDue(): number {
    return this.#registry.deadlines.next;
  }

  /**
   * Has the loop over this map call `fn(...args)` after `when` ms, once. It is called by `loop`, `loopSync`,
   * `poll` and `poll2` alike, after the events of the pass in which it is due. It is never early. It is late by up
   * to 1 ms and what the kernel takes to wake the thread, or by as long as a handler keeps the thread. Timers that are due together are called in the order of
   * their times, then in the order in which they were made. A timer that a handler or a timer makes waits for the
   * next pass.
   *
   * An error, or the rejection of an async function, goes to `handleTimerError`. ExitNow leaves the loop.
   *
   * **A loop ends with its last channel, whatever timers are left**, unless one has `keepAlive`.
   *
   * @param when a delay of 0 ms or more, which may be a fraction; Infinity: never. Or options
   * @throws {TypeError|RangeError} for an invalid time, an unknown option, and what is no function
   *
   * @example
   * const timer = map.callLater(5000, () => console.log('5 s later'));
   * timer.cancel();
   * map.callLater({ ms: 1000, keepAlive: true }, connectAgain);
   */
  callLater<Args extends unknown[]>(
    when: number | TimerOptions,
    fn: TimerFunction<Args>,
    ...args: Args
  ): TimerHandle {
    return this.#timers.callLater(when, fn, args);
  }

  /**
   * Has the loop over this map call `fn(...args)` at a moment of the map's clock, once: at once, within the next
   * pass, when it has passed. Otherwise as `callLater`.
   *
   * @example
   * map.callAt(map.clock.now() + 5000, () => console.log('5 s later'));
   */
  callAt<Args extends unknown[]>(
    when: number | TimerOptions,
    fn: TimerFunction<Args>,
    ...args: Args
  ): TimerHandle {
    return this.#timers.callAt(when, fn, args);
  }

  /**
   * Has the loop over this map call `fn(...args)` every `when` ms, for the first time after `when` ms. The
   * calls do not drift: they are due at multiples of the interval. Calls that were missed, as a handler kept the
   * thread or the process was stopped, are not made up for: there is one call, and `missed` of the handle says how
   * many were left out before it. An error does not end the timer, and an async function is not waited for.
   * Otherwise as `callLater`.
   *
   * @param when an interval of 0.001 ms or more, or options
   *
   * @example
   * const timer = map.callEvery(60_000, () => {
   *   console.log(map.size, 'channels', timer.missed > 0 ? 'after a pause' : '');
   * });
   */
  callEvery<Args extends unknown[]>(
    when: number | TimerOptions,
    fn: TimerFunction<Args>,
    ...args: Args
  ): TimerHandle {
    return this.#timers.callEvery(when, fn, args);
  }

  /**
   * Told of the errors of this map's timers; those of a channel's timers go to its `handleError`. Emits a
   * process warning, and the loop goes on, unless it is overridden: in a subclass, or by assignment. What it
   * throws itself is a warning, too. ExitNow never comes here, and leaves the loop when this throws it.
   *
   * @example
   * map.handleTimerError = (error) => {
   *   throw new ExitNow(String(error));
   * };
   */
  handleTimerError(error: unknown, _timer: TimerHandle): unknown {
    return warnOfTimer(error);
  }

  // -------------------------------------------------------------------------------------------

  /**
   * Asks the predicates of channel `fd` again, which may answer otherwise now. Wakes a waiting loop.
   * Dispatchers call it by themselves while their predicates are the library's own.
   */
  interestChanged(fd: number): void {
    this.#registry.interestChanged(fd);
  }
}

/** The default map. Python's `asyncore.socket_map`. */
export const socketMap = new ChannelMap();

/** @throws {TypeError} when `map` is no ChannelMap @internal */
export function checkMap(action: string, map: unknown): asserts map is ChannelMap {
  if (!(map instanceof ChannelMap)) {
    throw badInstance(action, 'a ChannelMap', map, 'interestChanged');
  }
}
