// The idle timeout of one channel.
//
// Activity is frequent and an expiry is rare, so activity only notes the time. The deadline stays where
// it is in the heap; when it expires after activity, it is set anew.

import { badType, checkOptions } from '../errors';
import type { SocketLike } from '../kernel/socket';
import { type Channel, isPromise } from '../loop/channel';
import { type ChannelMap, registryOf } from '../loop/channel-map';
import { CALLED, Deadline, type Deadlines, NOTHING } from '../loop/deadlines';
import { runHandler } from '../loop/dispatch';
import type { theSession } from './channel-base';
import { Ending, mayCloseFor } from './ending';
import type { Handled, TimeLimit } from './handlers';

export interface IdleChannel extends Channel {
  readonly map: ChannelMap;
  fileno(): number | null;
  handleTimeout(limit: TimeLimit): Handled;
  /** @internal */
  readonly [theSession]: {
    readonly closed: boolean;
    readonly socket: SocketLike | null;
    interestChanged(): void;
  };
  /** @internal */
  [mayCloseFor](ending: Ending): () => void;
}

/** Options of `setIdleTimeout`. */
export interface IdleTimeoutOptions {
  /**
   * What counts as activity: `input`, what the peer sends; `output`, what the kernel takes; or `both`, the
   * default. With `input`, a client that sends keep-alives notices that the server no longer answers.
   */
  direction?: 'input' | 'output' | 'both' | undefined;
}

const OPTIONS = { direction: true } as const;
const DIRECTIONS = ['input', 'output', 'both'];

/** @returns the direction @throws {TypeError} for an unknown option or direction */
export function checkIdleOptions(action: string, options: IdleTimeoutOptions): string {
  checkOptions(action, 'options', options, OPTIONS);
  const { direction = 'both' } = options;
  if (!DIRECTIONS.includes(direction)) {
    throw badType(action, `the direction 'input', 'output' or 'both'`, direction);
  }
  return direction;
}

/** Calls `handleTimeout`. A timeout that the channel survives is no reason for a later close. */
export function handleTimeout(channel: IdleChannel, limit: TimeLimit): unknown {
  const settled = channel[mayCloseFor](new Ending('timeout', null, true));
  let result: unknown;
  try {
    result = channel.handleTimeout(limit);
  } finally {
    if (isPromise(result)) result.then(settled, settled);
    else settled();
  }
  return result;
}

const idled = (channel: Channel): unknown => handleTimeout(channel as IdleChannel, 'idle');

export class IdleTimeout extends Deadline {
  readonly #channel: IdleChannel;
  /** `input`, `output` or `both`. */
  readonly #direction: string;
  /** The map that the channel stands in, or stood in last. */
  #map: ChannelMap;
  /** Of that map. */
  #deadlines: Deadlines;
  #lastActive = 0;
  /** `handleTimeout` is running. */
  #telling = false;

  /** @param duration in milliseconds */
  constructor(
    channel: IdleChannel,
    readonly duration: number,
    direction: string,
  ) {
    super();
    this.#channel = channel;
    this.#direction = direction;
    this.#map = channel.map;
    this.#deadlines = registryOf(channel.map).deadlines;
  }

  /** @param map the map that the channel stands in */
  start(map: ChannelMap): void {
    this.stop();
    const registry = registryOf(map);
    this.#map = map;
    this.#deadlines = registry.deadlines;
    this.touch();
    this.#deadlines.set(this, this.#lastActive + this.duration);
    // A loop that waits already has to take the deadline into account.
    registry.wake();
  }

  stop(): void {
    this.#deadlines.clear(this);
  }

  /** There is input, or a connection to accept. */
  received(): void {
    if (this.#direction !== 'output') this.touch();
  }

  /** The kernel has taken output. */
  sent(): void {
    if (this.#direction !== 'input') this.touch();
  }

  /** Notes activity. */
  touch(): void {
    this.#lastActive = this.#deadlines.clock.now();
  }

  override reached(now: number): number {
    // The program has taken the channel out by `map.delete` or `map.clear`: the timeout ends with that.
    if (this.#map.get(this.#channel.fileno() ?? -1) !== this.#channel) return NOTHING;
    const due = this.#lastActive + this.duration;
    // A handler may have kept the thread since the kernel was asked: what has arrived in time comes first.
    const idle = due <= now;
    if (idle) this.#lastActive = now;
    this.#deadlines.set(this, this.#lastActive + this.duration);
    // A pass within the handler does not call the handler again.
    if (!idle || this.#telling) return NOTHING;
    this.#telling = true;
    try {
      runHandler(this.#channel, idled);
    } finally {
      this.#telling = false;
    }
    return CALLED;
  }
}
