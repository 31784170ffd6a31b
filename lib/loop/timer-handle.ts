// What a program gives to its timers, and holds of them.

/** What a timer calls. It may be async: a rejection of its promise counts as an exception. */
export type TimerFunction<Args extends unknown[] = [], Self = void> =
  | ((this: Self, ...args: Args) => void)
  | ((this: Self, ...args: Args) => Promise<void>);

/** A timer that `callLater`, `callAt` or `callEvery` has made. */
export interface TimerHandle {
  /** Whether the function is still to be called. False while that of a `callLater` runs. */
  readonly active: boolean;
  /** When the function is called next, in ms by the clock of the map; Infinity while the timer is not active. */
  readonly due: number;
  /**
   * How many calls of a `callEvery` were left out before the latest one, because a handler kept the thread or
   * the process was stopped. They are not made up for.
   */
  readonly missed: number;
  /** Whether `loop` goes on for this timer when there are no channels. */
  readonly keepAlive: boolean;
  /** Takes the timer away for good. Idempotent. */
  cancel(): void;
  /**
   * Starts the timer again from now, also when its function has been called already.
   * @param ms the delay, or the interval, from now on; by default as before
   * @returns false, without effect, when the timer was cancelled, or its channel has closed
   * @throws {RangeError|TypeError} for an invalid `ms`
   */
  reset(ms?: number): boolean;
  /** Cancels the timer at the end of a block: `using timer = …`. */
  [Symbol.dispose](): void;
}

/** What `callLater`, `callAt` and `callEvery` take in place of a number. */
export interface TimerOptions {
  /** The delay, the moment or the interval in ms, as in place of the options. */
  ms: number;
  /**
   * Keeps `loop` and `loopSync` going while the timer is active, and `poll` waiting, although the map has no
   * channels. Default false: **a loop ends with its last channel, whatever timers are left**. `closeAll` and
   * `shutdown` cancel such a timer, and one that is made while `shutdown` is under way keeps nothing going.
   */
  keepAlive?: boolean | undefined;
}
