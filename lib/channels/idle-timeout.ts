// The idle timeout of one channel.
//
// Activity is frequent and the end of a timeout is rare, so activity only writes down when it was; the
// deadline stays where it is, and when it is reached, and there was activity since, it is set anew.

import type { Channel } from '../loop/channel';
import { type ChannelMap, registryOf } from '../loop/channel-map';
import { runHandler } from '../loop/dispatch';
import { Deadline } from '../loop/timers';

interface Idler extends Channel {
  fileno(): number | null;
  handleTimeout(): void | Promise<void>;
}

export class IdleTimeout {
  readonly #deadline = new Deadline((now) => this.#reached(now));
  #lastActive = 0;
  #map: ChannelMap | null = null;

  /** @param duration in milliseconds */
  constructor(
    readonly channel: Idler,
    readonly duration: number,
  ) {}

  /** @param map where the channel stands */
  start(map: ChannelMap): void {
    this.stop();
    this.#map = map;
    this.touch();
    registryOf(map).timers.set(this.#deadline, this.#lastActive + this.duration);
    // A waiting loop has to wake up for it.
    registryOf(map).wake();
  }

  stop(): void {
    if (this.#map !== null) registryOf(this.#map).timers.clear(this.#deadline);
  }

  /** There was activity. */
  touch(): void {
    this.#lastActive = performance.now();
  }

  #reached(now: number): void {
    const { channel, duration } = this;
    const map = this.#map as ChannelMap;
    // It has left as one leaves any Map, by `delete` or `clear`: nobody waits for it any more.
    if (map.get(channel.fileno() ?? -1) !== channel) return;
    const due = this.#lastActive + duration;
    const idle = due <= now;
    if (idle) this.#lastActive = now;
    // At least one, so that the time does not come again within this tick.
    registryOf(map).timers.set(this.#deadline, idle ? now + Math.max(duration, 1) : due);
    if (!idle) return;
    runHandler(channel, () => channel.handleTimeout());
  }
}
