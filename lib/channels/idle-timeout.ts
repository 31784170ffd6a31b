// The idle timeout of one channel.
//
// Activity is frequent and an expiry is rare, so activity only notes the time. The deadline stays where
// it is in the heap; when it expires after activity, it is set anew.

import type { Channel } from '../loop/channel';
import { type ChannelMap, registryOf } from '../loop/channel-map';
import { runHandler } from '../loop/dispatch';
import { Deadline } from '../loop/timers';

interface IdleChannel extends Channel {
  fileno(): number | null;
  handleTimeout(): void | Promise<void>;
}

const handleTimeout = (channel: Channel): unknown => (channel as IdleChannel).handleTimeout();

export class IdleTimeout {
  readonly #channel: IdleChannel;
  readonly #deadline = new Deadline((now) => this.#expired(now));
  #lastActive = 0;
  #map: ChannelMap | null = null;

  /** @param duration in milliseconds */
  constructor(
    channel: IdleChannel,
    readonly duration: number,
  ) {
    this.#channel = channel;
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

  /** Notes activity. */
  touch(): void {
    this.#lastActive = performance.now();
  }

  #expired(now: number): void {
    const map = this.#map as ChannelMap;
    // The program has taken the channel out by `map.delete` or `map.clear`: the timeout ends with that.
    if (map.get(this.#channel.fileno() ?? -1) !== this.#channel) return;
    const due = this.#lastActive + this.duration;
    const idle = due <= now;
    if (idle) this.#lastActive = now;
    // At least 1 ms, so that the deadline does not expire again within this tick.
    const next = idle ? now + Math.max(this.duration, 1) : due;
    registryOf(map).timers.set(this.#deadline, next);
    if (idle) runHandler(this.#channel, handleTimeout);
  }
}
