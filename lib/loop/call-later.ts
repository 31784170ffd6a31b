// The timers of the default map.

import { socketMap } from './channel-map';
import type { TimerFunction, TimerHandle, TimerOptions } from './timer-handle';

/**
 * Has the loop over `socketMap` call `fn(...args)` after `when` ms, once. As `ChannelMap.callLater`.
 * @throws {TypeError|RangeError} for an invalid time, an unknown option, and what is no function
 */
export function callLater<Args extends unknown[]>(
  when: number | TimerOptions,
  fn: TimerFunction<Args>,
  ...args: Args
): TimerHandle {
  return socketMap.callLater(when, fn, ...args);
}

/**
 * Has the loop over `socketMap` call `fn(...args)` at a moment of performance.now(), once. As
 * `ChannelMap.callAt`.
 * @throws {TypeError|RangeError} for an invalid time, an unknown option, and what is no function
 */
export function callAt<Args extends unknown[]>(
  when: number | TimerOptions,
  fn: TimerFunction<Args>,
  ...args: Args
): TimerHandle {
  return socketMap.callAt(when, fn, ...args);
}

/**
 * Has the loop over `socketMap` call `fn(...args)` every `when` ms. As `ChannelMap.callEvery`.
 * @throws {TypeError|RangeError} for an invalid time, an unknown option, and what is no function
 */
export function callEvery<Args extends unknown[]>(
  when: number | TimerOptions,
  fn: TimerFunction<Args>,
  ...args: Args
): TimerHandle {
  return socketMap.callEvery(when, fn, ...args);
}
