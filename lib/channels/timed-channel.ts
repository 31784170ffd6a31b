// What a channel does by the time: idle timeout, deadline, timers.

import { checkDuration } from '../errors';
import { type ChannelMap, registryOf } from '../loop/channel-map';
import type { TimerFunction, TimerHandle, TimerOptions } from '../loop/timer-handle';
import { ChannelBase, theSession } from './channel-base';
import { ChannelTimers } from './channel-timers';
import {
  checkIdleOptions,
  type IdleChannel,
  IdleTimeout,
  type IdleTimeoutOptions,
} from './idle-timeout';
import type { Session } from './session';

/** The part of a `Dispatcher` that goes by the clock of its map. */
export abstract class TimedChannel extends ChannelBase {
  abstract readonly map: ChannelMap;
  /** @internal */
  abstract get [theSession](): Session;

  /** As set by `setIdleTimeout`, in milliseconds; 0: none. */
  get idleTimeout(): number {
    return this[theSession].idle?.duration ?? 0;
  }

  /**
   * Has `handleTimeout` called when this channel has been idle for `duration` ms: no read event, and
   * nothing sent. A connect that is under way counts as idle. The cost does not grow with the number of
   * channels that have a timeout. It stays when the channel closes, and counts again from its next connection.
   * @param duration in milliseconds; 0, the default of a channel: never
   * @throws {RangeError|TypeError} when it is negative or no number, and for an unknown option
   *
   * @example
   * this.setIdleTimeout(90_000, { direction: 'input' }); // our own PINGs do not count
   */
  setIdleTimeout(duration: number, options: IdleTimeoutOptions = {}): void {
    const action = 'set an idle timeout';
    checkDuration(action, 'a timeout', duration);
    const direction = checkIdleOptions(action, options);
    const session = this[theSession];
    session.idle?.stop();
    session.idle = duration === 0 ? null : new IdleTimeout(asChannel(this), duration, direction);
    if (session.fd !== null) session.idle?.start(session.map);
  }

  /**
   * Has `handleTimeout` called in `duration` ms, once, whatever the channel does until then: a limit for a log-in,
   * a request, or the whole connection. `closeReason` is `timeout` when that closes the channel. A later call
   * takes the place of an earlier one, and the deadline goes when the channel closes. Python has none.
   * @param duration in milliseconds; 0: no deadline any more
   * @throws {RangeError|TypeError} when it is negative or no number
   *
   * @example
   * override handleConnect() {
   *   this.setDeadline(30_000); // to log in
   * }
   */
  setDeadline(duration: number): void {
    checkDuration('set a deadline', 'a deadline', duration);
    timersOf(this).setDeadline(duration);
  }

  /**
   * Has the loop call `fn(...args)` after `when` ms, once, with this channel as `this`. An error, or the rejection
   * of an async function, goes to `handleError`. Otherwise as `ChannelMap.callLater`.
   *
   * `close` cancels the timer; so does another channel that takes the socket over. `setSocket` and `delChannel`
   * leave it. A channel that has closed, or has no socket yet, can make a timer as well: so a client connects
   * again, until `close` is called once more.
   * @throws {TypeError|RangeError} for an invalid time, an unknown option, and what is no function
   *
   * @example
   * override handleClose() {
   *   this.close();
   *   this.callLater({ ms: 1000, keepAlive: true }, this.connect, this.server);
   * }
   */
  callLater<Args extends unknown[]>(
    when: number | TimerOptions,
    fn: TimerFunction<Args, this>,
    ...args: Args
  ): TimerHandle {
    return timersOf(this).callLater(when, fn, args);
  }

  /**
   * Has the loop call `fn(...args)` every `when` ms, as `callLater` and `ChannelMap.callEvery` do.
   * @throws {TypeError|RangeError} for an invalid time, an unknown option, and what is no function
   *
   * @example
   * override handleConnect() {
   *   this.callEvery(30_000, () => this.push('PING\r\n'));
   * }
   */
  callEvery<Args extends unknown[]>(
    when: number | TimerOptions,
    fn: TimerFunction<Args, this>,
    ...args: Args
  ): TimerHandle {
    return timersOf(this).callEvery(when, fn, args);
  }
}

/** Every TimedChannel is a Dispatcher, whose handlers this file does not know. */
const asChannel = (channel: TimedChannel): IdleChannel => channel as unknown as IdleChannel;

function timersOf(channel: TimedChannel): ChannelTimers {
  const session = channel[theSession];
  session.timers ??= new ChannelTimers(asChannel(channel), registryOf(session.map));
  return session.timers;
}
