// The loop: asks, waits, delivers.
//
//   readable()/writable() of each channel      ChannelMap.ask
//          |
//   one wait in the kernel                     ChannelMap.select
//          |
//   what is due, as [entry, what for]          a snapshot, in map order
//          |
//   read, write, expt, close                   through guards.ts
//          |
//   loop() only: back to Node                  a turn of Node's loop, then the next pass
//
// Whose turn it is, is looked up before every call: a handler may have closed any other channel,
// and a descriptor number may have been handed out again in between, so an event is delivered
// through the entry it was reported for, or not at all.

import { isMainThread } from 'node:worker_threads';
import { badRange, badType, codeOf, isExit } from '../errors';
import { flushGathered } from '../kernel/gather';
import { PollHandle } from '../kernel/poll-handle';
import type { Selector } from '../kernel/selectors';
import { IntervalPoller } from '../kernel/selectors/interval';
import {
  ChannelMap,
  DUE_CLOSE,
  DUE_EXPT,
  DUE_READ,
  DUE_WRITE,
  type Entry,
  type Snapshot,
  socketMap,
  type TickOrder,
} from './channel-map';
import { deliver, exception, fail, hangUp, read, write } from './dispatch';

/** Options of `loop` and `loopSync`. */
export interface LoopOptions {
  /** How long one pass waits at most, in milliseconds. Default 30 000; Infinity is allowed. */
  timeout?: number;
  /**
   * Deliver in poll order, channel by channel, instead of in select order. Default false. Python's
   * `use_poll`.
   */
  usePoll?: boolean;
  /** The channels. Default `socketMap`. */
  map?: ChannelMap;
  /** How many passes to make at most; 0 or less makes none. Default: until the map is empty. */
  count?: number;
  /** Ends the loop, which then rejects, or throws, the signal's reason. Python has none. */
  signal?: AbortSignal;
}

// ---------------------------------------------------------------------------------------------
// One pass.

/** Delivers in select order: all reads, then all writes, then all exceptions. */
function deliverBySelect({ entries, due }: Snapshot): void {
  const count = entries.length;
  let later = 0;
  for (let index = 0; index < count; index += 1) {
    const entry = entries[index] as Entry;
    const what = due[index] as number;
    later |= what;
    if (!entry.live) continue;
    if ((what & DUE_READ) !== 0) read(entry.channel);
    else if ((what & DUE_CLOSE) !== 0) hangUp(entry.channel);
  }
  if ((later & DUE_WRITE) !== 0) {
    for (let index = 0; index < count; index += 1) {
      const entry = entries[index] as Entry;
      if (((due[index] as number) & DUE_WRITE) !== 0 && entry.live) write(entry.channel);
    }
  }
  if ((later & DUE_EXPT) !== 0) {
    for (let index = 0; index < count; index += 1) {
      const entry = entries[index] as Entry;
      if (((due[index] as number) & DUE_EXPT) !== 0 && entry.live) exception(entry.channel);
    }
  }
}

/** Delivers in poll order: channel by channel. */
function deliverByPoll({ entries, due }: Snapshot): void {
  const count = entries.length;
  for (let index = 0; index < count; index += 1) {
    const entry = entries[index] as Entry;
    if (entry.live) deliver(entry.channel, due[index] as number, entry);
  }
}

/** Waits up to `wait` ms and delivers. @returns whether anything was due */
function step(map: ChannelMap, order: TickOrder, wait: number): boolean {
  const told = map.tellReplaced(hangUp);
  const snapshot = map.select(order, told ? 0 : wait);
  if (snapshot.entries.length === 0) {
    map.done(snapshot);
    return told;
  }
  try {
    if (order === 'select') deliverBySelect(snapshot);
    else deliverByPoll(snapshot);
  } catch (exit) {
    // The kernel tells again of what nobody has looked at; of what a channel holds itself, it cannot.
    for (const { live, channel, fd } of snapshot.entries) {
      if (live && channel.holdsInput === true) map.interestChanged(fd);
    }
    throw exit;
  } finally {
    map.done(snapshot);
  }
  return true;
}

/** Tells those whose time is up; after the tick's events, as these may have put it off. */
function expire({ deadlines }: ChannelMap): void {
  if (deadlines.next === Infinity) return;
  const now = performance.now();
  for (let due = deadlines.takeDue(now); due !== null; due = deadlines.takeDue(now)) {
    due.reached(now);
  }
}

/** One pass that blocks. */
function pass(map: ChannelMap, order: TickOrder, timeout: number): void {
  if (map.size === 0) return;
  // A handler may call poll() and wait for the answer to what it has just pushed.
  flushGathered();
  map.acquire();
  try {
    const end = timeout === 0 ? 0 : performance.now() + timeout;
    let left = timeout;
    do {
      map.runDeferred();
      map.ask(order, fail);
      // A predicate, or a look-up that failed, has closed the last one: nothing can end a wait.
      if (map.size === 0) return;
      const next = map.nextDeadline;
      const wait = next === Infinity ? left : Math.min(left, next - performance.now());
      let some = step(map, order, milliseconds(wait));
      // A wait that a signal has cut short, as when the process was stopped, has not looked.
      if (!some && map.deadlines.next <= performance.now()) some = step(map, order, 0);
      expire(map);
      if (some) return;
      // A signal, or a rest that is over: Python too waits on for what is left.
      left = end - performance.now();
    } while (left > 0 && map.size > 0);
    map.sweep();
  } finally {
    map.release();
    // A loop that waits meanwhile may wait in the other order, for other events.
    map.poke();
  }
}

/**
 * As the kernel counts: whole milliseconds, rounded up so that a short wait is not a spin, and -1
 * for ever.
 */
function milliseconds(timeout: number): number {
  if (timeout <= 0) return 0;
  return timeout > 2 ** 31 - 1 ? (timeout === Infinity ? -1 : 2 ** 31 - 1) : Math.ceil(timeout);
}

function checkTimeout(action: string, timeout: number): number {
  if (typeof timeout !== 'number') throw badType(action, 'a timeout in milliseconds', timeout);
  if (!(timeout >= 0)) throw badRange(action, 'a timeout of 0 ms or more', timeout);
  return timeout;
}

function checkMap(action: string, map: ChannelMap): ChannelMap {
  if (!(map instanceof ChannelMap)) throw badType(action, 'a ChannelMap', map);
  return map;
}

/**
 * One pass in select order over a channel map, blocking the thread for up to `timeout` ms.
 * Python's `asyncore.poll`, whose timeout is in seconds.
 *
 * @param timeout default 0: only look
 * @param map default `socketMap`
 * @throws {ExitNow} when a handler did
 * @throws {RangeError} when `timeout` is negative or NaN
 * @throws {TypeError} when `timeout` is no number, or `map` no ChannelMap
 */
export function poll(timeout = 0, map: ChannelMap = socketMap): void {
  pass(checkMap('poll', map), 'select', checkTimeout('poll', timeout));
}

/** One pass in poll order. Otherwise as `poll`. Python's `asyncore.poll2`. */
export function poll2(timeout = 0, map: ChannelMap = socketMap): void {
  pass(checkMap('poll2', map), 'poll', checkTimeout('poll2', timeout));
}

/** The same as `poll2`, under the name that Python keeps for old programs. */
export const poll3 = poll2;

// ---------------------------------------------------------------------------------------------
// Many passes.

type CheckedOptions = Required<Omit<LoopOptions, 'signal' | 'usePoll'>> & {
  order: TickOrder;
  signal: AbortSignal | undefined;
};

function checkOptions(action: string, options: LoopOptions): CheckedOptions {
  if (typeof options !== 'object' || options === null) {
    throw badType(action, 'an object of options', options);
  }
  const { timeout = 30_000, usePoll = false, map = socketMap, count = Infinity, signal } = options;
  checkTimeout(action, timeout);
  checkMap(action, map);
  if (typeof count !== 'number' || Number.isNaN(count)) {
    throw badType(action, 'a count of passes', count);
  }
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    throw badType(action, 'an AbortSignal', signal);
  }
  if (map.runner !== null) {
    throw Object.assign(new Error(`Cannot ${action}: a loop is running on this map already`), {
      code: 'ERR_LOOP_RUNNING',
    });
  }
  return { timeout, order: usePoll ? 'poll' : 'select', map, count, signal };
}

/**
 * Runs the channels until the map is empty, blocking the thread: Python's `asyncore.loop` to the
 * letter. No timer, promise or signal handler of the program runs meanwhile, so it suits scripts
 * and worker threads; programs call `loop`.
 *
 * @throws {ExitNow} when a handler did; the map is left as it was
 * @throws the signal's reason, looked at between passes
 * @throws {Error} `ERR_LOOP_RUNNING` when a loop runs on this map already
 * @throws {TypeError|RangeError} when an option cannot be meant
 *
 * @example
 * while (socketMap.size > 0) {
 *   loopSync({ timeout: 1000, count: 1 });
 *   console.log(`${socketMap.size} channels`);
 * }
 */
export function loopSync(options: LoopOptions = {}): void {
  const { timeout, order, map, count, signal } = checkOptions('loopSync', options);
  map.runner = {
    fail(error) {
      throw error;
    },
  };
  try {
    for (let left = count; map.size > 0 && left > 0; left -= 1) {
      signal?.throwIfAborted();
      pass(map, order, timeout);
    }
  } finally {
    map.runner = null;
  }
}

/**
 * Runs the channels until the map is empty. Python's `asyncore.loop`, inside Node: it never blocks,
 * and timers, promises and other I/O of the program go on between any two passes, however busy the
 * channels are.
 *
 * A change of interest from outside the loop (a push from a timer, a new channel) wakes it at once.
 *
 * @returns a promise that resolves when the map is empty or `count` passes are made, and rejects
 *   with ExitNow when a handler threw it and with the signal's reason when it was aborted. The map
 *   is then left as it was. It rejects with `ERR_LOOP_RUNNING` when a loop runs on this map already,
 *   and with a TypeError or RangeError when an option cannot be meant
 *
 * @example
 * const stop = new AbortController();
 * process.once('SIGINT', () => stop.abort());
 * new EchoServer({ host: '127.0.0.1', port: 8007 });
 * await loop({ signal: stop.signal }).catch(() => closeAll());
 */
export async function loop(options: LoopOptions = {}): Promise<void> {
  const checked = checkOptions('loop', options);
  checked.signal?.throwIfAborted();
  await new Promise<void>((resolve, reject) => new Runner(checked, resolve, reject).start());
}

/** Has Node's loop call `wake` at each of its turns in which something is ready. */
function watch(selector: Selector, wake: () => void): { close(): void } {
  if (selector.fd === -1 || !isMainThread) {
    return new IntervalPoller(() => selector.select(0) > 0, wake);
  }
  return new PollHandle(selector.fd, { readable: true, writable: false }, wake);
}

/**
 * A loop inside Node's. A pass is begun by asking the channels, and then nothing happens until
 * Node's loop finds the selector ready (or interest changes, or time is up): that schedules a turn,
 * in which what is due is delivered and the next pass begun.
 *
 * The watch is level-triggered and stays open, so that a selector which is still ready after a turn
 * brings the next one by itself: one look into the kernel for each, none to find that there is
 * nothing, and a whole turn of Node's loop in between.
 */
class Runner {
  readonly #map: ChannelMap;
  readonly #order: TickOrder;
  readonly #timeout: number;
  readonly #signal: AbortSignal | undefined;
  readonly #resolve: () => void;
  readonly #reject: (error: unknown) => void;
  #left: number;
  #watch: { close(): void } | null = null;
  #turn: NodeJS.Immediate | null = null;
  #timer: NodeJS.Timeout | null = null;
  /** When `#timer` goes off, and when the pass that is under way ends, by performance.now(). */
  #timerDue = Infinity;
  #passEnd = 0;
  #stopped = false;
  /** In the turn before this one there was no channel. */
  #wasEmpty = false;

  constructor(options: CheckedOptions, resolve: () => void, reject: (error: unknown) => void) {
    this.#map = options.map;
    this.#order = options.order;
    this.#timeout = options.timeout;
    this.#signal = options.signal;
    this.#left = options.count;
    this.#resolve = resolve;
    this.#reject = reject;
  }

  start(): void {
    this.#map.runner = this;
    try {
      this.#watch = watch(this.#map.acquire(), this.#schedule);
    } catch (error) {
      this.fail(error);
      return;
    }
    this.#signal?.addEventListener('abort', this.#abort);
    // The first pass, too, begins in a turn: the caller has his promise before any handler runs.
    this.#schedule();
  }

  /** Leaves the loop with an error. */
  fail(error: unknown): void {
    if (this.#stopped) return;
    this.#stop();
    this.#reject(error);
  }

  readonly #abort = (): void => this.fail(this.#signal?.reason);

  /** Called from anywhere, libuv's callbacks included, where nothing else may be done. */
  readonly #schedule = (): void => {
    this.#turn ??= setImmediate(this.#run);
  };

  readonly #run = (): void => {
    this.#turn = null;
    try {
      if (!this.#over()) this.#takeTurn();
      if (!this.#stopped && this.#over()) this.#end();
    } catch (error) {
      this.fail(error);
    }
  };

  /** An empty map may be so only until promises are served, one of which makes the next channel. */
  #end(): void {
    const lastTurn = this.#wasEmpty || this.#left <= 0;
    this.#wasEmpty = true;
    if (!lastTurn) {
      this.#schedule();
      return;
    }
    this.#stop();
    this.#resolve();
  }

  #over(): boolean {
    return this.#map.size === 0 || this.#left <= 0;
  }

  #takeTurn(): void {
    const map = this.#map;
    this.#wasEmpty = false;
    // What changes during the turn is asked at its end: no need to be woken for it.
    map.onChange = null;
    if (this.#passEnd === 0) this.#beginPass();
    else if (map.changed) map.ask(this.#order, fail);
    const some = step(map, this.#order, 0);
    expire(map);
    if (some || performance.now() >= this.#passEnd) {
      if (!some) map.sweep();
      this.#left -= 1;
      if (this.#stopped || this.#over()) return;
      this.#beginPass();
    }
    if (!this.#stopped) this.#wait();
  }

  #beginPass(): void {
    this.#map.ask(this.#order, fail);
    this.#passEnd = performance.now() + this.#timeout;
  }

  #wait(): void {
    this.#map.onChange = this.#schedule;
    if (this.#map.restless || this.#timeout === 0) this.#schedule();
    else this.#setTimer(Math.min(this.#passEnd, this.#map.nextDeadline));
  }

  /**
   * A timer that is due too early is left alone and set anew when it goes off: passes are begun
   * many thousand times a second, and hardly any of them waits to its end.
   */
  #setTimer(due: number): void {
    if (this.#timerDue <= due) return;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timerDue = due;
    const delay = Math.min(milliseconds(due - performance.now()), 2 ** 31 - 1);
    this.#timer = setTimeout(this.#timeUp, delay);
  }

  readonly #timeUp = (): void => {
    this.#timer = null;
    this.#timerDue = Infinity;
    this.#schedule();
  };

  #stop(): void {
    this.#stopped = true;
    this.#watch?.close();
    this.#watch = null;
    if (this.#turn !== null) clearImmediate(this.#turn);
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#signal?.removeEventListener('abort', this.#abort);
    this.#map.onChange = null;
    this.#map.runner = null;
    this.#map.release();
  }
}

/**
 * Closes every channel of a map. Python's `asyncore.close_all`.
 *
 * @param map default `socketMap`
 * @param ignoreAll go on when a close() throws. Otherwise the first exception is thrown at once,
 *   and the rest of the map left as it was, as in Python; EBADF is never thrown, ExitNow always
 * @throws {TypeError} when `map` is no ChannelMap
 */
export function closeAll(map: ChannelMap = socketMap, ignoreAll = false): void {
  for (const channel of [...checkMap('closeAll', map).values()]) {
    try {
      channel.close();
    } catch (error) {
      if (codeOf(error) === 'EBADF') continue;
      if (!ignoreAll || isExit(error)) throw error;
    }
  }
  map.clear();
}
