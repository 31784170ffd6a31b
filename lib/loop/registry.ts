// Which channels to ask, which descriptors are registered, and which channels are suspended.
//
// Beside each channel of a map stands an entry (entry.ts); so does one for each attempt to connect
// (channels/search.ts), which the Map does not show. Two invariants:
//
// 1. The predicates decide, at every tick, which events each channel is watched for. A channel that calls
//    `interestChanged` at every change (`tracksInterest`) is asked again only after such a call. All
//    others are asked at every tick, in map order.
// 2. What nobody can consume is not reported again and again. A hang-up, or an urgent byte, that must wait is
//    muted: the channel, or POLLPRI alone, leaves the selector for a while.

import { codeOf } from '../errors';
import { POLLERR, POLLIN, POLLOUT, POLLPRI } from '../kernel/platform/constants';
import { createSelector, type Selector } from '../kernel/selectors';
import { type Channel, hearsReset, type Report } from './channel';
import { Alarm, type Deadlines, RESUMED } from './deadlines';
import {
  Entry,
  type Interest,
  type Pauses,
  type PollBits,
  READ,
  type TickOrder,
  WRITE,
} from './entry';
import { inMapOrder, Snapshot, SoftwareReadiness } from './readiness';
import { Strays } from './strays';

/** How long a hang-up stays muted, in ms. */
const HANGUP_PAUSE = 100;
/** How long urgent data that a channel has left unread stays muted, in ms. */
const URGENT_PAUSE = 1000;
/** A list of entries this long is searched for dead ones when a channel leaves. */
const MANY = 64;

/**
 * What to register for an Interest, which is the index. A channel that wants nothing may still hear of a reset,
 * which the kernel reports unasked.
 */
const MASKS: Record<TickOrder, readonly PollBits[]> = {
  select: [POLLERR, POLLIN | POLLPRI, POLLOUT | POLLPRI, POLLIN | POLLOUT | POLLPRI],
  poll: [POLLERR, POLLIN | POLLPRI, POLLOUT, POLLIN | POLLOUT | POLLPRI],
};

const isLive = (entry: Entry): boolean => entry.live;

/** What a channel map keeps to itself. */
export class Registry {
  /** Work that must be done before the thread blocks. Each callback removes itself. */
  readonly deferred = new Set<() => void>();
  /** Channels that could not be set up. */
  readonly strays = new Strays();
  /** Called at each change that a waiting loop must react to; null: no loop waits. */
  onChange: (() => void) | null = null;
  /** How many calls of `shutdown` are under way: no timer keeps a loop going meanwhile. */
  shutdowns = 0;
  /** When closed descriptors were searched for last (sweep.ts). */
  lastSweep = 0;
  /** The loop that runs on this map. */
  runner: { fail(error: unknown): void } | null = null;

  /** The entries that the library itself reports as ready. */
  readonly software: SoftwareReadiness;

  /** By fd: descriptors are small, and an array is faster than a Map. Only the registry changes it. */
  readonly entries: (Entry | undefined)[] = [];
  #lastOrder = 0;
  /** To be asked at the next tick. */
  #stale: Entry[] = [];
  /** To be asked at every tick, in map order unless `#unsorted`. May hold dead entries. */
  #untracked: Entry[] = [];
  #unsorted = false;
  #order: TickOrder = 'select';
  /** Opened at the first wait, closed when the map is empty and no loop uses it. */
  #selector: Selector | null = null;
  #users = 0;
  /** Snapshots that are not in use: a handler that calls `poll` needs another one. */
  readonly #snapshots: Snapshot[] = [];
  readonly #whenEmpty = new Set<() => void>();

  /** @param channels the map that this registry belongs to */
  constructor(
    readonly channels: ReadonlyMap<number, Channel>,
    /** Timers, idle timeouts, suspensions, and the deadline of shutdown. */
    readonly deadlines: Deadlines,
  ) {
    this.software = new SoftwareReadiness(channels);
  }

  /** Whether a loop has nothing to wait for: neither a channel nor a timer that keeps it going. */
  get over(): boolean {
    return this.channels.size === 0 && (this.deadlines.keepers === 0 || this.shutdowns > 0);
  }

  /** ExitNow has come out of a handler outside the loop's own call stack. @throws it, where no loop runs */
  fail(exit: unknown): void {
    if (this.runner === null) throw exit;
    this.runner.fail(exit);
  }

  // Channels come and go.

  /** The live entry of a channel, if it stands in the map under `fd`. */
  entryOf(channel: Channel, fd: number): Entry | undefined {
    const entry = this.entries[fd];
    return entry?.channel === channel ? entry : undefined;
  }

  /** `channel` is put into the map under `fd`, in place of the channel that had the number. */
  enter(fd: number, channel: Channel): void {
    const old = this.entries[fd];
    if (old?.channel === channel && !old.invalid) this.interestChanged(fd);
    else this.#enter(fd, channel, old);
  }

  /** The channel under `fd` has another socket, whose number is the same. */
  renew(fd: number): void {
    const old = this.entries[fd];
    if (old !== undefined) this.#enter(fd, old.channel, old);
  }

  #enter(fd: number, channel: Channel, old: Entry | undefined): void {
    if (old !== undefined) {
      this.#retire(old);
      if (old.invalid && old.channel !== channel) this.#keepReplaced(old);
    }
    // As in any Map, a replacement keeps the place of what it replaces.
    const entry = new Entry(fd, channel, old?.order ?? ++this.#lastOrder);
    this.entries[fd] = entry;
    this.#stale.push(entry);
    this.wake();
  }

  /** The channel has not received handleClose yet, and another channel now owns its descriptor number. */
  #keepReplaced({ fd, channel, order }: Entry): void {
    const lost = new Entry(fd, channel, order);
    lost.invalid = true;
    lost.replaced = true;
    this.software.add(lost);
  }

  /** The channel under `fd` is taken out of the map. @returns whether there was one */
  leave(fd: number): boolean {
    const entry = this.entries[fd];
    if (entry === undefined) return false;
    this.#retire(entry);
    this.entries[fd] = undefined;
    return true;
  }

  /** Nothing reaches this entry any more. Done at once, as its descriptor is about to be closed. */
  #retire(entry: Entry): void {
    entry.live = false;
    this.#register(entry, 0);
    if (entry.pauses !== null) {
      this.#endSuspension(entry.pauses);
      this.#unmute(entry.pauses);
    }
    if (this.software.size > 0) this.software.delete(entry);
    if (entry.listed) this.#unsorted = true;
    // The next tick may never come, and must not be needed for closed channels to be collected.
    const limit = Math.max(MANY, 2 * this.channels.size);
    if (this.#stale.length > limit) this.#stale = this.#stale.filter(isLive);
    if (this.#untracked.length > limit) this.#untracked = this.#untracked.filter(isLive);
  }

  /** After a channel has left: an empty map wakes its loop, and gives its selector back. */
  settle(): void {
    if (this.channels.size > 0) return;
    // The next tick may never come, and must not be needed for closed channels to be collected.
    this.#stale = [];
    this.#untracked = [];
    this.wake();
    for (const callback of this.#whenEmpty) callback();
    this.#whenEmpty.clear();
    if (this.#users > 0) return;
    this.#selector?.close();
    this.#selector = null;
  }

  /**
   * Has `callback` called, once, when the last channel has left.
   * @returns a function that cancels this
   */
  whenEmpty(callback: () => void): () => void {
    this.#whenEmpty.add(callback);
    return () => this.#whenEmpty.delete(callback);
  }

  // Changes.

  /** The predicates of channel `fd` may answer otherwise now. */
  interestChanged(fd: number): void {
    const entry = this.entries[fd];
    if (entry === undefined || entry.stale) return;
    entry.stale = true;
    this.#stale.push(entry);
    this.wake();
  }

  /** Has a waiting loop look again. */
  wake(): void {
    this.onChange?.();
  }

  /** The socket of `fd` is about to be closed, and not by its channel. */
  invalidate(fd: number): void {
    const entry = this.entries[fd];
    if (entry === undefined || entry.invalid) return;
    this.#register(entry, 0);
    this.#markInvalid(entry);
    this.wake();
  }

  #markInvalid(entry: Entry): void {
    entry.invalid = true;
    this.software.add(entry);
  }

  /** Takes a channel out of the selector for `duration` ms (Infinity: until `resume`). */
  suspend(fd: number, duration: number): void {
    const entry = this.entries[fd];
    if (entry === undefined) return;
    const { pausing } = entry;
    pausing.suspended = true;
    if (duration !== Infinity) {
      pausing.suspension ??= new Alarm(RESUMED, () => this.resume(fd));
      this.deadlines.setAfter(pausing.suspension, duration);
    } else if (pausing.suspension !== null) this.deadlines.clear(pausing.suspension);
    this.#register(entry, 0);
    // A waiting loop has to wake up at the end of the suspension.
    this.wake();
  }

  /** Ends a suspension, if there is one, and has the channel asked again. */
  resume(fd: number): void {
    const entry = this.entries[fd];
    if (entry === undefined) return;
    if (entry.pauses !== null) this.#endSuspension(entry.pauses);
    this.interestChanged(fd);
  }

  #endSuspension(pauses: Pauses): void {
    pauses.suspended = false;
    pauses.hangupMuted = false;
    if (pauses.suspension !== null) this.deadlines.clear(pauses.suspension);
  }

  /** Puts work off until something is about to block the thread. */
  defer(work: () => void): void {
    this.deferred.add(work);
  }

  /** Cancels deferred work. @returns whether it had not been done */
  undefer(work: () => void): boolean {
    return this.deferred.delete(work);
  }

  runDeferred(): void {
    for (const work of [...this.deferred]) work();
  }

  // Asking.

  /** Whether a channel waits to be asked. */
  get changed(): boolean {
    return this.#stale.length > 0;
  }

  /** Whether waiting would be pointless: something can be delivered, or a channel must be asked. */
  get restless(): boolean {
    return this.#stale.length > 0 || (this.software.size > 0 && this.software.any());
  }

  /** Asks the predicates of all that must be asked, and brings the selector up to date. */
  ask(order: TickOrder, report: Report): void {
    if (order !== this.#order) this.#follow(order);
    const stale = this.#stale;
    if (stale.length === 0 && this.#untracked.length === 0) return;
    // A predicate may add channels. They are asked in the next tick, as with Python's copy of the map.
    this.#stale = [];
    try {
      for (const entry of stale) if (entry.live) this.#classify(entry, report);
      this.#askUntracked(report);
      for (const entry of stale) if (entry.live && entry.stale) this.#ask(entry, report);
    } catch (exit) {
      // ExitNow leaves the loop, and the map as it is: what has not been asked is still to be.
      for (const entry of stale) if (entry.live && entry.stale) this.#stale.push(entry);
      throw exit;
    }
  }

  /** Registers for the order of this tick, as the last tick had the other one. */
  #follow(order: TickOrder): void {
    this.#order = order;
    for (const fd of this.channels.keys()) {
      const entry = this.entries[fd] as Entry;
      if (entry.pauses?.hangupMuted) this.resume(fd);
      else if (entry.mask !== 0) this.#register(entry, this.#maskOf(entry));
    }
  }

  /** Finds out whether a channel must be asked at every tick, unless that is known of its predicates. */
  #classify(entry: Entry, report: Report): void {
    const { channel } = entry;
    let failure: { readonly error: unknown } | null = null;
    try {
      if (entry.readable === channel.readable && entry.writable === channel.writable) return;
      entry.tracked = false;
      entry.readable = channel.readable;
      entry.writable = channel.writable;
      entry.tracked = channel.map === this.channels && channel.tracksInterest?.() === true;
    } catch (error) {
      failure = { error };
    }
    if (entry.tracked === entry.listed) this.#unsorted = true;
    if (!entry.tracked && !entry.listed) {
      entry.listed = true;
      this.#untracked.push(entry);
    }
    if (failure !== null) report(channel, failure.error);
  }

  #askUntracked(report: Report): void {
    if (this.#unsorted) {
      this.#unsorted = false;
      this.#untracked = this.#untracked.filter((entry) => {
        entry.listed = entry.live && !entry.tracked;
        return entry.listed;
      });
      this.#untracked.sort(inMapOrder);
    }
    for (const entry of this.#untracked) if (entry.live) this.#ask(entry, report);
  }

  #ask(entry: Entry, report: Report): void {
    const { channel } = entry;
    entry.stale = false;
    try {
      let wants: Interest = 0;
      // Both are asked, whatever the first one says: they may have side effects.
      const readable = channel.readable();
      const writable = channel.writable();
      const inputWanted = channel.inputEnded !== true && channel.readingPaused !== true;
      if (readable && inputWanted) wants |= READ;
      if (writable && channel.accepting !== true) wants |= WRITE;
      if ((wants & READ) !== 0 && channel.hasBufferedInput === true) this.software.add(entry);
      // A predicate may have closed its channel.
      if (entry.live) this.#apply(entry, wants);
    } catch (error) {
      if (entry.live) this.#apply(entry, 0);
      report(channel, error);
    }
  }

  #apply(entry: Entry, wants: Interest): void {
    if (wants !== entry.wants) {
      entry.wants = wants;
      entry.fruitless = 0;
      if (entry.pauses !== null) this.#unmute(entry.pauses);
    }
    if (entry.invalid || entry.pauses?.suspended) return;
    const mask = this.#maskOf(entry);
    if (mask !== entry.mask) this.#register(entry, mask);
  }

  #maskOf({ wants, channel, pauses }: Entry): PollBits {
    if (wants === 0 && channel[hearsReset] !== true) return 0;
    const mask = MASKS[this.#order][wants] as PollBits;
    return pauses?.urgentMuted ? mask & ~POLLPRI : mask;
  }

  // Muting.

  /**
   * The kernel reports a hang-up that cannot be delivered now. The channel leaves the selector until it wants
   * something else, or for a while: there may be room for output later.
   */
  muteHangup(entry: Entry): void {
    this.suspend(entry.fd, entry.wants === 0 ? Infinity : HANGUP_PAUSE);
    entry.pausing.hangupMuted = true;
  }

  /**
   * The channel under `fd` has been told of urgent data, and has left it unread. POLLPRI is ignored until the
   * channel wants something else, or for a while.
   * @param inline it is part of the input (SO_OOBINLINE), and consumed by reading alone
   */
  muteUrgent(fd: number, inline: boolean): void {
    const entry = this.entries[fd];
    if (entry === undefined || (inline && (entry.wants & READ) !== 0)) return;
    const { pausing } = entry;
    pausing.urgentMuted = true;
    if (!inline) {
      pausing.urgentPause ??= new Alarm(RESUMED, () => {
        pausing.urgentMuted = false;
        this.interestChanged(fd);
      });
      this.deadlines.setAfter(pausing.urgentPause, URGENT_PAUSE);
    }
    this.interestChanged(fd);
  }

  #unmute(pauses: Pauses): void {
    if (pauses.hangupMuted) this.#endSuspension(pauses);
    pauses.urgentMuted = false;
    if (pauses.urgentPause !== null) this.deadlines.clear(pauses.urgentPause);
  }

  // The selector.

  /** Opens the selector, and keeps it open until `release`. */
  acquire(): Selector {
    this.#users += 1;
    this.#selector ??= createSelector();
    return this.#selector;
  }

  release(): void {
    this.#users -= 1;
    this.settle();
  }

  /** Makes `mask` what the selector knows of an entry. */
  #register(entry: Entry, mask: PollBits): void {
    const selector = this.#selector;
    const known = entry.mask;
    if (selector === null || mask === known) return;
    if (entry.alwaysReady) {
      entry.mask = mask;
      entry.alwaysReady = mask !== 0;
      return;
    }
    entry.mask = 0;
    if (mask === 0) {
      selector.unregister(entry.fd);
      return;
    }
    try {
      if (known !== 0) selector.modify(entry.fd, mask);
      else if (!selector.register(entry.fd, mask)) {
        entry.alwaysReady = true;
        this.software.add(entry);
      }
      entry.mask = mask;
    } catch (error) {
      const code = codeOf(error);
      // The descriptor was closed, and not by the channel: what poll(2) reports as POLLNVAL. EINVAL: the
      // number now belongs to the epoll descriptor itself.
      if (code === 'EBADF' || code === 'EINVAL') this.#markInvalid(entry);
      else {
        // ENOSPC, ENOMEM: the failure affects this channel only.
        selector.unregister(entry.fd);
        throw error;
      }
    }
  }

  /** Waits, up to `timeout` ms, and returns what is due, in map order. Give it back to `done`. */
  select(order: TickOrder, timeout: number): Snapshot {
    if (order !== this.#order) this.#follow(order);
    const { software } = this;
    const ready = software.size > 0 && software.refresh();
    const selector = this.#selector as Selector;
    const reported = selector.select(ready ? 0 : timeout);
    const { fds, masks } = selector;
    const snapshot = this.#snapshots.pop() ?? new Snapshot();
    let count = 0;
    let last = 0;
    let sorted = true;
    for (let index = 0; index < reported; index += 1) {
      const entry = this.entries[fds[index] as number];
      // A descriptor that was closed by number while a duplicate is open: see the selector's contract.
      if (entry === undefined) continue;
      entry.fired = masks[index] as number;
      snapshot.entries[count] = entry;
      count += 1;
      if (entry.order < last) sorted = false;
      last = entry.order;
    }
    snapshot.count = count;
    if (ready && software.mergeInto(snapshot)) sorted = false;
    if (!sorted) snapshot.sort();
    if (order === 'select') snapshot.takeSelectSets(this);
    else snapshot.takePollBits(this);
    return snapshot;
  }

  /** Gives a snapshot back. */
  done(snapshot: Snapshot): void {
    snapshot.clear();
    this.#snapshots.push(snapshot);
  }
}
