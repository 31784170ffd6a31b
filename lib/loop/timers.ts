// Timers: functions of the program that the loop calls when their time has come.
//
// A timer belongs to a map or to a channel (channels/channel-timers.ts), which is told of its errors.

import { inspect } from 'node:util';
import {
  badRange,
  badType,
  checkBoolean,
  checkDuration,
  checkOptions,
  isExit,
  stackOf,
} from '../errors';
import { warn } from '../kernel/output';
import { isPromise } from './channel';
import { CALLED, Deadline, type Deadlines, NOTHING } from './deadlines';
import type { Registry } from './registry';
import type { TimerHandle, TimerOptions } from './timer-handle';

/** The shortest interval, in ms: a thousandth of what the kernel counts. */
const LEAST_INTERVAL = 0.001;

const OPTIONS = { ms: true, keepAlive: true } as const;

/** A `TimerFunction` of any arguments. */
// biome-ignore lint/suspicious/noExplicitAny: it takes whatever the program gives it
type AnyFunction = (...args: any[]) => unknown;

/** The timers of a map, or those of a channel. */
export abstract class Timers {
  /** Of the map whose loop calls the functions. */
  abstract readonly registry: Registry;
  /** `this` of the functions. */
  abstract readonly self: object | undefined;
  /** The channel has closed: none of its timers starts again. */
  abstract readonly ended: boolean;

  /** A function has thrown. @throws {ExitNow} and nothing else */
  abstract report(timer: Timer, error: unknown): void;
  /** A function has returned a promise. */
  abstract follow(timer: Timer, promise: PromiseLike<unknown>): void;
  /** A timer has begun, or has ended. */
  note(_timer: Timer): void {}

  callLater(when: number | TimerOptions, fn: AnyFunction, args: unknown[]): TimerHandle {
    const ms = checkTimer('callLater', when, fn);
    checkDuration('callLater', 'a delay', ms);
    const timer =
      args.length === 0 ? new Timer(this, ms, fn) : new TimerWithArguments(this, ms, fn, args);
    setKeepAlive(timer, when);
    timer.start();
    return timer;
  }

  callAt(when: number | TimerOptions, fn: AnyFunction, args: unknown[]): TimerHandle {
    const ms = checkTimer('callAt', when, fn);
    if (typeof ms !== 'number') throw badType('callAt', 'a moment in milliseconds', ms);
    if (Number.isNaN(ms)) throw badRange('callAt', 'a moment in milliseconds', ms);
    const delay = Math.max(0, ms - this.registry.deadlines.clock.now());
    const timer = new TimerWithArguments(this, delay, fn, args);
    setKeepAlive(timer, when);
    timer.startAt(ms);
    return timer;
  }

  callEvery(when: number | TimerOptions, fn: AnyFunction, args: unknown[]): TimerHandle {
    const ms = checkTimer('callEvery', when, fn);
    checkInterval('callEvery', ms);
    const timer = new RepeatingTimer(this, ms, fn, args);
    setKeepAlive(timer, when);
    timer.start();
    return timer;
  }

  /** Calls the function of a timer. @throws {ExitNow} and nothing else */
  run(timer: Timer): void {
    try {
      const result = timer.invoke(this.self);
      if (isPromise(result)) this.follow(timer, result);
    } catch (error) {
      this.report(timer, error);
    }
  }
}

/** @returns the time in ms, which the caller checks */
function checkTimer(action: string, when: number | TimerOptions, fn: AnyFunction): number {
  if (typeof fn !== 'function') throw badType(action, 'a function', fn);
  if (typeof when === 'number') return when;
  checkOptions(action, 'a time in ms, or options', when, OPTIONS);
  if (when.keepAlive !== undefined) {
    checkBoolean(action, 'keepAlive to be true or false', when.keepAlive);
  }
  return when.ms;
}

function checkInterval(action: string, ms: number): void {
  if (typeof ms !== 'number') throw badType(action, 'an interval in milliseconds', ms);
  if (!(ms >= LEAST_INTERVAL)) {
    throw badRange(action, `an interval of ${LEAST_INTERVAL} ms or more`, ms);
  }
}

function setKeepAlive(timer: Timer, when: number | TimerOptions): void {
  if (typeof when !== 'number' && when.keepAlive === true) timer.weight = 1;
}

// A program may have a million timers: an object has no field that most of them do not need.

export class Timer extends Deadline implements TimerHandle {
  constructor(
    readonly owner: Timers,
    /** In ms. */
    protected delay: number,
    /** Null when the timer was cancelled. */
    protected fn: AnyFunction | null,
  ) {
    super();
  }

  invoke(self: object | undefined): unknown {
    return this.fn?.call(self);
  }

  get active(): boolean {
    return this.isSet;
  }

  get due(): number {
    return this.at;
  }

  get missed(): number {
    return 0;
  }

  get keepAlive(): boolean {
    return this.weight > 0;
  }

  start(): void {
    const { deadlines } = this.owner.registry;
    deadlines.queue(this, this.delay);
    begun(this, deadlines);
  }

  startAt(moment: number): void {
    const { deadlines } = this.owner.registry;
    deadlines.set(this, moment);
    begun(this, deadlines);
  }

  cancel(): void {
    // The program may keep the handle: what the function refers to goes.
    this.fn = null;
    if (!this.isSet) return;
    const { registry } = this.owner;
    registry.deadlines.clear(this);
    this.owner.note(this);
    // A loop without channels may have gone on for this one.
    if (this.weight > 0) registry.wake();
  }

  reset(ms: number = this.delay): boolean {
    this.checkDelay('reset a timer', ms);
    if (this.fn === null || this.owner.ended) return false;
    this.delay = ms;
    this.start();
    return true;
  }

  checkDelay(action: string, ms: number): void {
    checkDuration(action, 'a delay', ms);
  }

  override reached(_now: number, _due: number): number {
    this.owner.note(this);
    this.owner.run(this);
    return CALLED;
  }

  [Symbol.dispose](): void {
    this.cancel();
  }

  override toString(): string {
    return `<Timer ${this.active ? `due=${this.due}` : 'not active'}>`;
  }

  [inspect.custom](): string {
    return this.toString();
  }
}

class TimerWithArguments extends Timer {
  constructor(
    owner: Timers,
    delay: number,
    fn: AnyFunction,
    private args: unknown[] | null,
  ) {
    super(owner, delay, fn);
  }

  override invoke(self: object | undefined): unknown {
    return this.fn?.apply(self, this.args ?? []);
  }

  override cancel(): void {
    this.args = null;
    super.cancel();
  }
}

/** The timer of `callEvery`. */
class RepeatingTimer extends TimerWithArguments {
  #missed = 0;
  /** Its function is running. */
  #running = false;
  /** Moments that have passed meanwhile, by passes within the function. */
  #passed = 0;

  override get missed(): number {
    return this.#missed;
  }

  override start(): void {
    // Not in the queue of its delay: the calls after the first one are due at times of their own.
    this.startAt(this.owner.registry.deadlines.clock.now() + this.delay);
  }

  override checkDelay(action: string, ms: number): void {
    checkInterval(action, ms);
  }

  override reached(now: number, due: number): number {
    const { owner, delay } = this;
    let missed = Math.floor((now - due) / delay);
    let next = due + (missed + 1) * delay;
    // (2.8 - 0.7) / 0.7 is less than 3.
    if (next <= now) {
      missed += 1;
      next += delay;
    }
    owner.registry.deadlines.set(this, next);
    if (this.#running) {
      this.#passed += missed + 1;
      return NOTHING;
    }
    this.#missed = missed + this.#passed;
    this.#passed = 0;
    this.#running = true;
    try {
      owner.run(this);
    } finally {
      this.#running = false;
    }
    return CALLED;
  }
}

// Not a method: in a class with private methods each object takes up a word more.
function begun(timer: Timer, deadlines: Deadlines): void {
  timer.owner.note(timer);
  // A loop that waits already has to take the timer into account.
  if (deadlines.next === timer.at) timer.owner.registry.wake();
}

/** What a map does about the error of a timer of its own. */
export interface TimerErrorHandler {
  handleTimerError(error: unknown, timer: TimerHandle): unknown;
}

/** The timers of a map itself. */
export class MapTimers extends Timers {
  readonly self = undefined;
  readonly ended = false;

  constructor(
    readonly registry: Registry,
    private readonly map: TimerErrorHandler,
  ) {
    super();
  }

  override report(timer: Timer, error: unknown): void {
    if (isExit(error)) throw error;
    try {
      const result = this.map.handleTimerError(error, timer);
      if (isPromise(result))
        result.then(undefined, (second) => this.#outside(() => giveUp(second)));
    } catch (second) {
      giveUp(second);
    }
  }

  override follow(timer: Timer, promise: PromiseLike<unknown>): void {
    promise.then(undefined, (error) => this.#outside(() => this.report(timer, error)));
  }

  #outside(report: () => void): void {
    try {
      report();
    } catch (exit) {
      this.registry.fail(exit);
    }
  }
}

/** The default of `handleTimerError`. */
export function warnOfTimer(error: unknown): void {
  warn('TimerWarning', 'ASYNCORE_TIMER', `A timer threw, and the loop goes on: ${stackOf(error)}`);
}

/** handleTimerError threw as well. @throws {ExitNow} */
function giveUp(error: unknown): void {
  if (isExit(error)) throw error;
  const text = `handleTimerError of a map threw, and the loop goes on: ${stackOf(error)}`;
  warn('TimerWarning', 'ASYNCORE_TIMER', text);
}

/** Cancels the timers that would keep a loop going without channels. */
export function cancelKeepers({ deadlines }: Registry): void {
  if (deadlines.keepers === 0) return;
  for (const deadline of deadlines.pending()) {
    if (deadline instanceof Timer && deadline.keepAlive) deadline.cancel();
  }
}
