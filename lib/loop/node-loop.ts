// The loop inside Node's: it never blocks the thread.

import { performance } from 'node:perf_hooks';
import { canWatch, PollHandle } from '../kernel/poll-handle';
import { IntervalPoller } from '../kernel/selectors/interval';
import { CALLED } from './deadlines';
import { routeError } from './dispatch';
import type { TickOrder } from './entry';
import { type CheckedOptions, checkLoop, type LoopOptions } from './loop';
import type { Registry } from './registry';
import { sweep } from './sweep';
import { expire, milliseconds, step } from './tick';

/**
 * Runs the channels until the map is empty. Python's `asyncore.loop`, inside Node: it never blocks,
 * and Node's timers, promises and other I/O of the program go on between any two passes, however busy the
 * channels are. It ends with the last channel, whatever timers of the map are left, unless one of them was
 * made with `keepAlive`.
 *
 * A change of interest from outside the loop (a push from a timer, a new channel) wakes it at once.
 *
 * @returns a promise that resolves when the map is empty or `count` passes are made, and rejects
 *   with ExitNow when a handler threw it and with the signal's reason when it was aborted. The map
 *   is then left as it was. It rejects with `ERR_LOOP_RUNNING` when a loop runs on this map already,
 *   and with a TypeError or RangeError for an invalid option
 *
 * @example
 * const stop = new AbortController();
 * process.once('SIGINT', () => stop.abort());
 * new EchoServer({ host: '127.0.0.1', port: 8007 });
 * await loop({ signal: stop.signal }).catch(() => closeAll());
 */
export async function loop(options: LoopOptions = {}): Promise<void> {
  const checked = checkLoop('loop', options);
  checked.signal?.throwIfAborted();
  await new Promise<void>((resolve, reject) => new Runner(checked, resolve, reject).start());
}

/** What wakes the runner when the selector has something to report. */
interface Watch {
  close(): void;
}

/**
 * A loop inside Node's. A pass is begun by asking the channels. Then nothing happens until Node's loop
 * finds the selector ready, or interest changes, or time is up: that schedules a turn, which delivers
 * what is due and begins the next pass.
 *
 * The watch is level-triggered and stays open. A selector that is still ready after a turn brings the
 * next turn by itself. So each turn costs one look into the kernel, no look is spent on finding nothing,
 * and a whole iteration of Node's loop lies between two turns.
 */
class Runner {
  readonly #registry: Registry;
  readonly #order: TickOrder;
  readonly #timeout: number;
  readonly #signal: AbortSignal | undefined;
  readonly #resolve: () => void;
  readonly #reject: (error: unknown) => void;
  #left: number;
  #watch: Watch | null = null;
  #turn: NodeJS.Immediate | null = null;
  #timer: NodeJS.Timeout | null = null;
  /** When `#timer` goes off, and when the pass under way ends, by performance.now(). */
  #timerDue = Infinity;
  #passEnd = 0;
  #stopped = false;
  /** No more calls from a ManualClock. */
  #endAdvances: (() => void) | undefined;
  /** In the turn before this one there was no channel. */
  #wasEmpty = false;

  constructor(options: CheckedOptions, resolve: () => void, reject: (error: unknown) => void) {
    this.#registry = options.registry;
    this.#order = options.order;
    this.#timeout = options.timeout;
    this.#signal = options.signal;
    this.#left = options.count;
    this.#resolve = resolve;
    this.#reject = reject;
  }

  start(): void {
    this.#registry.runner = this;
    try {
      this.#watch = this.#openWatch();
    } catch (error) {
      this.fail(error);
      return;
    }
    this.#signal?.addEventListener('abort', this.#abort);
    const { clock } = this.#registry.deadlines;
    this.#endAdvances = clock.onAdvance?.(() => this.#registry.wake());
    // The first pass, too, begins in a turn: the caller has its promise before any handler runs.
    this.#schedule();
  }

  /**
   * epoll's own descriptor is readable when something registered is ready: one handle watches all.
   * poll(2) has no such descriptor. There, and where Node cannot watch, the loop looks at intervals.
   */
  #openWatch(): Watch {
    const selector = this.#registry.acquire();
    if (selector.fd !== -1 && canWatch()) {
      return new PollHandle(selector.fd, { readable: true, writable: false }, this.#schedule);
    }
    return new IntervalPoller(() => selector.select(0) > 0, this.#schedule);
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

  /** An empty map may be empty only until promises are served, one of which makes the next channel. */
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
    return this.#registry.over || this.#left <= 0;
  }

  #takeTurn(): void {
    const registry = this.#registry;
    this.#wasEmpty = false;
    // What changes during the turn is asked at its end: no need to be woken for it.
    registry.onChange = null;
    if (this.#passEnd === 0) this.#beginPass();
    else if (registry.changed) registry.ask(this.#order, routeError);
    const some = step(registry, this.#order, 0);
    const called = (expire(registry) & CALLED) !== 0;
    if (some || called || performance.now() >= this.#passEnd) {
      if (!some) sweep(registry);
      this.#left -= 1;
      if (this.#stopped || this.#over()) return;
      this.#beginPass();
    }
    if (!this.#stopped) this.#wait();
  }

  #beginPass(): void {
    this.#registry.ask(this.#order, routeError);
    this.#passEnd = performance.now() + this.#timeout;
  }

  #wait(): void {
    const registry = this.#registry;
    registry.onChange = this.#schedule;
    if (registry.restless || this.#timeout === 0) this.#schedule();
    else this.#setTimer(Math.min(this.#passEnd, registry.deadlines.nextRealTime()));
  }

  /**
   * A timer that is due too early is left alone, and set anew when it goes off: passes are begun many
   * thousand times a second, and hardly any of them waits to its end.
   */
  #setTimer(due: number): void {
    if (this.#timerDue <= due) return;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    const wait = due - performance.now();
    if (wait <= 0) {
      this.#timerDue = Infinity;
      this.#schedule();
      return;
    }
    this.#timerDue = due;
    // Infinity never comes here, as `#timerDue` is no later than that.
    this.#timer = setTimeout(this.#timeUp, milliseconds(wait));
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
    this.#endAdvances?.();
    this.#registry.onChange = null;
    this.#registry.runner = null;
    this.#registry.release();
  }
}
