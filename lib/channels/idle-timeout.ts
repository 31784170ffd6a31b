// The idle timeout of one channel.
//
// Activity is frequent and an expiry is rare, so activity only notes the time. The deadline stays where
// it is in the heap; when it expires after activity, it is set anew.

import { badType, checkOptions } from '../errors';
import type { Channel } from '../loop/channel';
import { type ChannelMap, registryOf } from '../loop/channel-map';
import { isPromise, runHandler } from '../loop/dispatch';
import { Deadline } from '../loop/timers';
import { Ending, mayCloseFor } from './ending';

interface IdleChannel extends Channel {
  fileno(): number | null;
  handleTimeout(): void | Promise<void>;
  /** @internal */
  [mayCloseFor](ending: Ending): () => void;
}

/** Options of `setIdleTimeout`. */
export interface IdleTimeoutOptions {
  /**
   * What counts as activity: `input`, what the peer sends; `output`, what the kernel takes; or `both`, the
   * default. With `input`, a client that sends keep-alives notices that the server no longer answers.
   */
  direction?: 'input' | 'output' | 'both';
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

/** A timeout that the handler survives is no reason for a later close. */
function handleTimeout(channel: Channel): unknown {
  const settled = (channel as IdleChannel)[mayCloseFor](new Ending('timeout', null, true));
  let result: unknown;
  try {
    result = (channel as IdleChannel).handleTimeout();
  } finally {
    if (isPromise(result)) result.then(settled, settled);
    else settled();
  }
  return result;
}

export class IdleTimeout {
  readonly #channel: IdleChannel;
  /** `input`, `output` or `both`. */
  readonly #direction: string;
  readonly #deadline = new Deadline((now) => this.#expired(now));
  #lastActive = 0;
  #map: ChannelMap | null = null;

  /** @param duration in milliseconds */
  constructor(
    channel: IdleChannel,
    readonly duration: number,
    direction: string,
  ) {
    this.#channel = channel;
    this.#direction = direction;
  }

  /** @param map the map that the channel stands in */
  start(map: ChannelMap): void {
    this.stop();
    this.#map = map;
    this.touch();
    const registry = registryOf(map);
    registry.timers.set(this.#deadline, this.#lastActive + this.duration);
    // A loop that waits already has to take the deadline into account.
    registry.wake();
  }

  stop(): void {
    if (this.#map !== null) registryOf(this.#map).timers.clear(this.#deadline);
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
    this.#lastActive = performance.now();
  }

  #expired(now: number): void {
    const map = this.#map as ChannelMap;
    // The program has taken the channel out by `map.delete` or `map.clear`: the timeout ends with that.
    if (map.get(this.#channel.fileno() ?? -1) !== this.#channel) return;
    const { timers } = registryOf(map);
    const due = this.#lastActive + this.duration;
    // A handler may have kept the thread since the kernel was asked: what has arrived in time comes first.
    const idle = due <= timers.lookedAt;
    if (idle) this.#lastActive = now;
    // At least 1 ms, so that the deadline does not expire again within this tick.
    timers.set(this.#deadline, Math.max(idle ? now + this.duration : due, now + 1));
    if (idle) runHandler(this.#channel, handleTimeout);
  }
}
