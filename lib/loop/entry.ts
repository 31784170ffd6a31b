// A channel's place in its map, and its registration in the selector.
//
// An entry is the identity of a registration. A descriptor number can be closed and handed out again
// within one tick; an entry cannot. It dies when its channel leaves the map, and events are delivered
// through live entries only.

import type { Channel } from './channel';
import { Deadline } from './timers';

/**
 * The order of a tick. `select`: all reads, then all writes, then all exceptions. `poll`: channel
 * by channel. The two also ask the kernel for different events: select(2) looks for an exceptional
 * condition on every watched descriptor, poll(2) only beside input.
 */
export type TickOrder = 'select' | 'poll';

// What a channel wants (READ, WRITE), and what it is due for in select order (all four).
export const READ = 1;
export const WRITE = 2;
export const EXCEPTION = 4;
export const INVALID = 8;

export class Entry {
  /** False once the channel has left the map: nothing may be delivered any more. */
  live = true;
  /** What the predicates answered last: READ | WRITE. */
  wants = 0;
  /** What is registered in the selector, or stands for that if `alwaysReady`; 0: nothing. */
  mask = 0;
  /** What is reported in the tick under way: set and read within one `Registry.select`. */
  fired = 0;
  /** Waits to be asked, see `Registry.interestChanged`. */
  stale = true;
  /** The channel tells of every change of interest, so that it need not be asked at every tick. */
  tracked = false;
  /** Stands in the list of those that are asked at every tick. */
  listed = false;
  /** The predicates as they were when `tracked` was decided. Null: not decided yet. */
  readable: Channel['readable'] | null = null;
  writable: Channel['writable'] | null = null;
  /** Not registered, whatever the channel wants, until `suspension` is reached or `resume` is called. */
  suspended = false;
  suspension: Suspension | null = null;
  /**
   * Suspended because the kernel keeps reporting a hang-up that this channel cannot be told of now.
   * Ends early when the channel wants something else.
   */
  hangupMuted = false;
  /** The descriptor was closed, and not by the channel. */
  invalid = false;
  /** Invalid, and the number went to another channel before this one was told. */
  replaced = false;
  /** A regular file: the kernel cannot watch it, and select(2) calls it ready. */
  alwaysReady = false;

  constructor(
    readonly fd: number,
    readonly channel: Channel,
    /** Its place in map order. */
    readonly order: number,
  ) {}
}

/** The end of a suspension. */
export class Suspension extends Deadline {}
