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

import { POLLERR, POLLHUP, POLLIN, POLLNVAL, POLLOUT, POLLPRI } from '../kernel/platform/constants';
import { type Channel, isOver } from './channel';
import { Entry, EXCEPTION, INVALID, type PollBits, READ, type SelectSets, WRITE } from './entry';

/** Below this size a snapshot is sorted in place. Most are, and nearly sorted at that. */
const FEW = 32;

/** Fills the unused end of a snapshot, so that no closed channel is kept alive there. */
const NO_ENTRY = new Entry(-1, {} as Channel, 0);
NO_ENTRY.live = false;

/** A channel that replaces another in the map has the same place. */
export const inMapOrder = (a: Entry, b: Entry): number => a.order - b.order;

/** What a snapshot needs of the registry. */
interface Mutes {
  muteHangup(entry: Entry): void;
}

/**
 * What is due in one tick, in map order: entries and, at the same index, what for. It is empty when all that
 * the kernel has reported is muted.
 */
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

  /**
   * Moves what has fired into the snapshot, as the sets of select(2). The kernel builds them from the same
   * bits: a hang-up counts as input, an error as input and as output.
   */
  takeSelectSets(registry: Mutes): void {
    const { entries, due, count } = this;
    let all: SelectSets = 0;
    for (let index = 0; index < count; index += 1) {
      const entry = entries[index] as Entry;
      const { fired, wants } = entry;
      entry.fired = 0;
      let sets: SelectSets = 0;
      if ((fired & (POLLIN | POLLHUP | POLLERR)) !== 0) sets |= wants & READ;
      if ((fired & (POLLOUT | POLLERR)) !== 0) sets |= wants & WRITE;
      if ((fired & POLLPRI) !== 0) sets |= EXCEPTION;
      if ((fired & POLLNVAL) !== 0) sets = INVALID;
      // select(2) reports a hang-up to readers only, and epoll to all, at every tick.
      if (sets === 0) {
        registry.muteHangup(entry);
        if (isReset(entry, fired)) sets = INVALID;
      }
      due[index] = sets;
      all |= sets;
    }
    if (all === 0) this.clear();
  }

  /** Moves what has fired into the snapshot, as it is. */
  takePollBits(registry: Mutes): void {
    const { entries, due, count } = this;
    let all: PollBits = 0;
    for (let index = 0; index < count; index += 1) {
      const entry = entries[index] as Entry;
      all |= entry.fired;
      due[index] = entry.fired;
      entry.fired = 0;
    }
    if ((all & (POLLHUP | POLLERR)) === 0) return;
    // In a loop of its own, as it runs code of the program: the entries hold no events any more.
    all = 0;
    for (let index = 0; index < count; index += 1) {
      const fired = due[index] as PollBits;
      if ((fired & (POLLHUP | POLLERR)) !== 0) {
        due[index] = withoutMutedEnd(entries[index] as Entry, fired, registry);
      }
      all |= due[index] as PollBits;
    }
    if (all === 0) this.clear();
  }

  clear(): void {
    for (let index = 0; index < this.count; index += 1) this.entries[index] = NO_ENTRY;
    this.count = 0;
  }
}

/**
 * In poll order a hang-up is the end of a channel (dispatch.ts). Where input may still be unread because
 * reading is paused, the end has to wait.
 */
function withoutMutedEnd(entry: Entry, fired: PollBits, registry: Mutes): PollBits {
  if (entry.wants === 0) {
    registry.muteHangup(entry);
    return isReset(entry, fired) ? POLLHUP : 0;
  }
  if (entry.channel.readingPaused !== true) return fired;
  const rest = fired & ~POLLHUP;
  if (rest === 0) registry.muteHangup(entry);
  return rest;
}

/**
 * Whether what has fired has ended the connection of a channel that wants nothing: an error, or a hang-up
 * after the end of the input, which is all that a Unix socket reports when its peer closes. It is muted, so
 * that it is told once.
 */
function isReset({ wants, channel }: Entry, fired: PollBits): boolean {
  const ended = (fired & POLLERR) !== 0 || channel.inputEnded === true;
  return wants === 0 && ended && channel[isOver]?.() === true;
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
