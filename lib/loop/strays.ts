// Channels that have left their map with an open socket, because they could not be set up. The loop has no
// use for them, but closeAll closes them. The program may have dropped them: they are held weakly.

import type { Channel } from './channel';

/** So many are held before the list is searched for those that the program has dropped. */
const MANY = 64;

export class Strays {
  #channels: WeakRef<Channel>[] = [];
  #limit = MANY;

  add(channel: Channel): void {
    this.#channels.push(new WeakRef(channel));
    if (this.#channels.length < this.#limit) return;
    this.#channels = this.#channels.filter((ref) => ref.deref() !== undefined);
    this.#limit = Math.max(MANY, 2 * this.#channels.length);
  }

  /** Takes all that are in no map by now. */
  take(): Channel[] {
    const channels = this.#channels.map((ref) => ref.deref());
    this.#channels = [];
    return channels.filter((channel) => channel?.fileno?.() === null) as Channel[];
  }
}
