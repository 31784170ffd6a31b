// What is ready: kernel events and software readiness, as one ordered snapshot.
//
// Some channels are ready although the kernel does not report them. They stand in one level-triggered set,
// as in mio: an entry is reported by every tick for as long as its reason holds, and drops out when a
// tick finds that it no longer does. The reasons:
//
//   buffered input     the channel holds bytes that the kernel has already handed over, and wants input
//   a closed socket    until the channel has left the map, as poll(2) reports POLLNVAL
//   a lost number      the same, where the number already belongs to another channel; delivered once
//   a regular file     epoll refuses it; select(2) calls it ready for whatever is asked
//
// As the set is a level, a tick that ExitNow cuts short loses nothing: the next one reports it again.

import { POLLIN, POLLNVAL, POLLOUT } from '../kernel/platform/constants';
import type { Channel } from './channel';
import { Entry, type PollBits, READ, type SelectSets } from './entry';

/** Below this size a snapshot is sorted in place. Most are, and nearly sorted at that. */
const FEW = 32;

/** Fills the unused end of a snapshot, so that no closed channel is kept alive there. */
const NO_ENTRY = new Entry(-1, {} as Channel, 0);
NO_ENTRY.live = false;

/** A channel that replaces another in the map has the same place. */
export const inMapOrder = (a: Entry, b: Entry): number => a.order - b.order;

/** What is due in one tick, in map order: entries and, at the same index, what for. */
export class Snapshot {
  /** Only the first `count` are of this tick: the arrays keep their size, so that no tick allocates. */
  readonly entries: Entry[] = [];
  /** In select order SelectSets, in poll order PollBits. */
  readonly due: (SelectSets | PollBits)[] = [];
  count = 0;

  /** The kernel reports in order of arrival. Which channel comes first is observable: restore it. */
  sort(): void {
    const { entries, count } = this;
    if (count > FEW) {
      entries.length = count;
      entries.sort(inMapOrder);
      return;
    }
    for (let index = 1; index < count; index += 1) {
      const entry = entries[index] as Entry;
      let at = index;
      for (; at > 0 && (entries[at - 1] as Entry).order > entry.order; at -= 1) {
        entries[at] = entries[at - 1] as Entry;
      }
      entries[at] = entry;
    }
  }

  clear(): void {
    for (let index = 0; index < this.count; index += 1) this.entries[index] = NO_ENTRY;
    this.count = 0;
  }
}

/** The entries that may be ready although the kernel does not report them. */
export class SoftwareReadiness extends Set<Entry> {
  readonly #channels: ReadonlyMap<number, Channel>;

  /** @param channels maps a descriptor number to its channel */
  constructor(channels: ReadonlyMap<number, Channel>) {
    super();
    this.#channels = channels;
  }

  /** Whether an entry is ready, so that a wait would be pointless. */
  any(): boolean {
    for (const entry of this) {
      if (this.#of(entry) !== 0) return true;
      this.delete(entry);
    }
    return false;
  }

  /**
   * Sets `ready` of each entry, and drops the entries that are not ready. Runs code of the program
   * (`fileno`, `hasBufferedInput`), which may throw: so it comes before the kernel's events are marked in
   * the entries.
   * @returns whether an entry is ready, so that a wait would be pointless
   */
  refresh(): boolean {
    for (const entry of this) {
      entry.ready = this.#of(entry);
      if (entry.ready === 0) this.delete(entry);
    }
    return this.size > 0;
  }

  /**
   * Adds what `refresh` has found to what the kernel has reported. Runs no code of the program.
   * @returns whether it appended an entry
   */
  mergeInto(snapshot: Snapshot): boolean {
    const before = snapshot.count;
    for (const entry of this) {
      if (entry.fired === 0) {
        snapshot.entries[snapshot.count] = entry;
        snapshot.count += 1;
      }
      entry.fired |= entry.ready;
    }
    return snapshot.count > before;
  }

  /**
   * Removes a replaced entry from the set.
   * @returns whether `handleClose` is still due: the channel has neither closed nor got another socket
   */
  takeReplaced(entry: Entry): boolean {
    return this.delete(entry) && this.#isLost(entry);
  }

  #isLost({ channel, fd }: Entry): boolean {
    return channel.fileno?.() === fd && this.#channels.get(fd) !== channel;
  }

  /** What an entry is ready for; 0: nothing. */
  #of(entry: Entry): PollBits {
    if (!entry.live || (entry.replaced && !this.#isLost(entry))) return 0;
    if (entry.invalid) return POLLNVAL;
    let ready = entry.alwaysReady ? entry.mask & (POLLIN | POLLOUT) : 0;
    if ((entry.wants & READ) !== 0 && entry.channel.hasBufferedInput === true) ready |= POLLIN;
    return ready;
  }
}
