// A channel's place in its map, and its registration in the selector.
//
// An entry is the identity of a registration. A descriptor number can be closed and handed out again
// within one tick; an entry cannot. It dies when its channel leaves the map, and events are delivered
// through live entries only.

import type { Channel } from './channel';
import type { Alarm } from './deadlines';
import type { Probation } from './probation';

/**
 * The order of a tick. `select`: all reads, then all writes, then all exceptions. `poll`: channel
 * by channel. The two also ask the kernel for different events: select(2) looks for an exceptional
 * condition on every watched descriptor, poll(2) only beside input.
 */
export type TickOrder = 'select' | 'poll';

/**
 * poll(2)'s bits: POLLIN, POLLOUT, POLLPRI, POLLHUP, POLLERR, POLLNVAL. The selector's vocabulary, and
 * that of a snapshot in poll order.
 */
export type PollBits = number;
/** What the predicates ask for: READ | WRITE. */
export type Interest = number;
/**
 * The sets of select(2) that a channel is in: READ | WRITE | EXCEPTION, or INVALID alone. The vocabulary
 * of a snapshot in select order.
 */
export type SelectSets = number;

export const READ = 1;
export const WRITE = 2;
export const EXCEPTION = 4;
export const INVALID = 8;

export class Entry {
  /** False once the channel has left the map: nothing may be delivered any more. */
  live = true;
  /** What the predicates answered last. */
  wants: Interest = 0;
  /** What is registered in the selector, or stands for that if `alwaysReady`; 0: nothing. */
  mask: PollBits = 0;
  // What is reported in the tick under way. Set and read within one `Registry.select`.
  /** By the kernel and, once merged, by the library. */
  fired: PollBits = 0;
  /** By the library itself: software readiness. */
  ready: PollBits = 0;

  /** Waits to be asked, see `Registry.interestChanged`. */
  stale = true;
  /** The channel calls `interestChanged` at every change, so it need not be asked at every tick. */
  tracked = false;
  /** The entry is in the registry's `#untracked` list. */
  listed = false;
  /** The predicates as they were when `tracked` was decided. Null: not decided yet. */
  readable: Channel['readable'] | null = null;
  writable: Channel['writable'] | null = null;
  /** Null: there has been none. */
  pauses: Pauses | null = null;
  /** The descriptor was closed, and not by the channel. */
  invalid = false;
  /** Invalid, and the number went to another channel before this channel's `handleClose` ran. */
  replaced = false;
  /** A regular file: the kernel cannot watch it, and select(2) calls it ready. */
  alwaysReady = false;

  /** Events in a row in which nothing has gone forward (spin.ts). */
  fruitless = 0;
  /** What the last suspicion of spinning began with. */
  probation: Probation | null = null;
  /** A handler has thrown. */
  failed = false;

  constructor(
    readonly fd: number,
    readonly channel: Channel,
    /** Its place in map order. */
    readonly order: number,
  ) {}

  get suspended(): boolean {
    return this.pauses?.suspended === true;
  }

  /** To write to. */
  get pausing(): Pauses {
    this.pauses ??= new Pauses();
    return this.pauses;
  }
}

/** What is not registered for a while, although the channel wants it. Few entries ever have a pause. */
export class Pauses {
  /** Nothing is registered until `suspension` is reached or `resume` is called. */
  suspended = false;
  suspension: Alarm | null = null;
  /**
   * Suspended because the kernel keeps reporting a hang-up that cannot be delivered to this channel now.
   * Ends early when the channel wants something else.
   */
  hangupMuted = false;
  /** POLLPRI is not registered, until the channel wants something else or `urgentPause` is reached. */
  urgentMuted = false;
  urgentPause: Alarm | null = null;
}
