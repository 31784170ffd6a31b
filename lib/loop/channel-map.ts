// The channel map, fd -> channel, and what the kernel has been told about it.
//
// A ChannelMap is a Map, and a program may treat it as one: size, get, set, delete, iteration in
// order of insertion. Beside each channel stands an `Entry`: what its predicates answered last and
// what is registered in the selector for it. Three things must be believed:
//
// 1. An entry is the identity of a registration. A number can be closed and handed out again within
//    a tick, an entry cannot: it dies (`live`) when its channel leaves the map, and an event is
//    delivered only through a live one.
// 2. The predicates decide, at every tick, who is watched for what. Asking ten thousand idle
//    channels two questions each is what made asyncore slow, so a channel that promises to tell of
//    every change (`tracksInterest`) is asked again only when it has told (`interestChanged`). All
//    others are asked at every tick, in map order.
// 3. A channel without interest is not registered at all: epoll would report its hang-up for ever.

import { badRange, badType, codeOf } from '../errors';
import { POLLERR, POLLHUP, POLLIN, POLLNVAL, POLLOUT, POLLPRI } from '../kernel/platform/constants';
import { createSelector, type Selector } from '../kernel/selectors';
import { isOpen } from '../kernel/syscalls';
import { trackingEpoch } from './interest';
import { Timers } from './timers';

/** What stands in the map: the part of a dispatcher that the loop knows. */
export interface Channel {
  /** Whether to wait for input. */
  readable(): boolean;
  /** Whether to wait until output can be sent. */
  writable(): boolean;
  /** A listener is never waited for as writable. */
  readonly accepting?: boolean;
  /** The peer has ended its stream, so that there is no more input to wait for. */
  readonly inputEnded?: boolean;
  /** Input is not wanted for now, whatever `readable` says. */
  readonly readingPaused?: boolean;
  /** It has input of its own, which the kernel knows nothing of: a read event is due. @internal */
  readonly hasBufferedInput?: boolean;
  /** There is input, a caller, the end of a connect, or an error. */
  handleReadEvent(): void | Promise<void>;
  /** Output can be sent, or a connect is over. */
  handleWriteEvent(): void | Promise<void>;
  /** There is urgent data, or an error. */
  handleExptEvent(): void | Promise<void>;
  /** The descriptor is of no more use. */
  handleClose(): void | Promise<void>;
  /** Another of these threw, or its promise was rejected. What this one throws closes the channel. */
  handleError(error: unknown): void | Promise<void>;
  /** The program is about to end, see `shutdown`. Without it, the channel is closed. */
  handleShutdown?(): void | Promise<void>;
  /** Called by `closeAll`, and after an exception out of `handleError`. */
  close(): void;
  /** The descriptor under which it stands in its map. */
  fileno?(): number | null;
  /** The map that this channel tells of its changes. */
  readonly map?: ChannelMap;
  /** Whether this channel calls `interestChanged` whenever a predicate would answer otherwise. */
  tracksInterest?(): boolean;
}

/**
 * The order of a tick. `select`: all reads, then all writes, then all exceptions. `poll`: channel
 * by channel. They differ in what is asked of the kernel, too: select(2) looks for an exceptional
 * condition on whatever is watched at all, poll(2) beside input only.
 */
export type TickOrder = 'select' | 'poll';

// What a channel wants, as bits.
const READ = 1;
const WRITE = 2;

/** How long a hang-up that nobody is told of is left alone, in ms. */
const PARKING = 100;
/** Between two searches for closed descriptors, in ms. */
const SWEEP_PAUSE = 1000;

// The same bits say what a channel is due for in select order, and these two as well.
export const DUE_READ = READ;
export const DUE_WRITE = WRITE;
export const DUE_EXPT = 4;
export const DUE_CLOSE = 8;

/** What to register for what is wanted: index READ | WRITE. */
const MASKS: Record<TickOrder, readonly number[]> = {
  select: [0, POLLIN | POLLPRI, POLLOUT | POLLPRI, POLLIN | POLLOUT | POLLPRI],
  poll: [0, POLLIN | POLLPRI, POLLOUT, POLLIN | POLLOUT | POLLPRI],
};

/** A channel's place in the map, and its registration. */
export class Entry {
  /** False once the channel has left the map: nothing may be delivered any more. */
  live = true;
  /** What the predicates answered last. */
  wants = 0;
  /** What is registered in the selector; 0: nothing. */
  mask = 0;
  /** Whether it waits to be asked, see `ChannelMap.interestChanged`. */
  stale = true;
  /** Asked at every tick; undefined until the channel has been looked at. */
  untracked: boolean | undefined;
  /** Stands in the list of those. */
  listed = false;
  /** Has a read event in the next tick in which it is readable, whatever the kernel says. */
  primed = false;
  /** Not registered before this time (performance.now() milliseconds), whatever it wants. */
  restsUntil = 0;
  /** It rests because it was ready for nothing that it wants: until it wants something else. */
  parked = false;
  /** Its socket was closed behind its back. */
  invalid = false;
  /** What the kernel reported, from select to the snapshot. */
  fired = 0;

  constructor(
    readonly fd: number,
    readonly channel: Channel,
    /** Its place in map order. */
    readonly order: number,
  ) {}
}

/** What is due in one tick, in map order: entries and, at the same index, what for. */
export class Snapshot {
  readonly entries: Entry[] = [];
  readonly due: number[] = [];
}

/** Work that a channel has put off and that must be done before anything blocks. */
type Deferred = () => void;

/** Told what to do about an exception out of a predicate. */
type Report = (channel: Channel, error: unknown) => void;

const inMapOrder = (a: Entry, b: Entry): number => a.order - b.order;

/**
 * fd -> channel. Python's `asyncore.socket_map`, and any dict given as `map`.
 *
 * @example
 * const map = new ChannelMap();
 * new EchoServer({ host: '127.0.0.1', port: 8007 }, map);
 * await loop({ map });
 */
export class ChannelMap extends Map<number, Channel> {
  /** By fd, as a Map would be slower and descriptors are small. */
  readonly #entries: (Entry | undefined)[] = [];
  #lastOrder = 0;
  /** To be asked at the next tick. */
  #stale: Entry[] = [];
  /** To be asked at every tick, in map order unless `#unsorted`. May hold dead ones. */
  #untracked: Entry[] = [];
  #unsorted = false;
  #order: TickOrder = 'select';
  /** Opened at the first wait, given back when the map is empty and nobody uses it. */
  #selector: Selector | null = null;
  #users = 0;
  readonly #resting = new Set<Entry>();
  /** Regular files over epoll, which cannot watch them: always ready. */
  readonly #files = new Set<Entry>();
  /** Those that hold input of their own. */
  #primed: Entry[] = [];
  /** Of its channels' timeouts. @internal */
  readonly timers = new Timers();
  #invalid: Entry[] = [];
  /** Invalid ones whose number went to another channel before they could be told. */
  #replaced: Entry[] = [];
  #trackingEpoch = 0;
  #lastSweep = 0;
  /** Snapshots that are not in use: one for each depth to which handlers call `poll`. */
  readonly #snapshots: Snapshot[] = [];
  readonly #deferred = new Set<Deferred>();
  /** Told once when the map is empty. */
  readonly #awaiting = new Set<() => void>();
  #wake: (() => void) | null = null;
  /** The loop that runs on this map. @internal */
  runner: { fail(error: unknown): void } | null = null;

  constructor(channels: Iterable<readonly [number, Channel]> = []) {
    // Not handed to Map's own constructor, which would call `set` before there are fields.
    super();
    for (const [fd, channel] of channels) this.set(fd, channel);
  }

  /**
   * Puts a channel in, in place of whichever had the number.
   * @throws {RangeError} when `fd` is no descriptor
   * @throws {TypeError} when `channel` is no object
   */
  override set(fd: number, channel: Channel): this {
    if ((fd | 0) !== fd || fd < 0) throw badRange('add a channel', 'a descriptor', fd);
    if (typeof channel !== 'object' || channel === null) {
      throw badType('add a channel', 'an object with handlers', channel);
    }
    const old = this.#entries[fd];
    if (old?.channel === channel && !old.invalid) this.interestChanged(fd);
    else this.#enter(fd, channel, old);
    return this;
  }

  /** The channel has another socket, whose number is the same. @internal */
  renew(fd: number): void {
    const old = this.#entries[fd];
    if (old !== undefined) this.#enter(fd, old.channel, old);
  }

  #enter(fd: number, channel: Channel, old: Entry | undefined): void {
    if (old !== undefined) {
      this.#retire(old);
      if (old.invalid && old.channel !== channel) this.#replaced.push(old);
    }
    // As in any Map, a replacement keeps the place of what it replaces.
    const entry = new Entry(fd, channel, old?.order ?? ++this.#lastOrder);
    this.#entries[fd] = entry;
    this.#stale.push(entry);
    super.set(fd, channel);
    this.#wake?.();
  }

  /** Takes a channel out: none of its handlers is called any more. @returns whether there was one */
  override delete(fd: number): boolean {
    const entry = this.#entries[fd];
    if (entry === undefined) return false;
    this.#retire(entry);
    this.#entries[fd] = undefined;
    super.delete(fd);
    this.#settle();
    return true;
  }

  override clear(): void {
    for (const fd of [...this.keys()]) this.delete(fd);
  }

  /**
   * Tells that the predicates of channel `fd` may answer otherwise now. Wakes a waiting loop.
   * Dispatchers do it by themselves while their predicates are the library's own.
   */
  interestChanged(fd: number): void {
    const entry = this.#entries[fd];
    if (entry === undefined || entry.stale) return;
    entry.stale = true;
    this.#stale.push(entry);
    this.#wake?.();
  }

  /** Looks again at whether channel `fd` can be trusted to tell of its changes. @internal */
  reclassify(fd: number): void {
    const entry = this.#entries[fd];
    if (entry === undefined) return;
    entry.untracked = undefined;
    this.interestChanged(fd);
  }

  /** The socket of `fd` is about to be closed by somebody else than its channel. @internal */
  invalidate(fd: number): void {
    const entry = this.#entries[fd];
    if (entry === undefined || entry.invalid) return;
    this.#register(entry, 0);
    this.#markInvalid(entry);
    this.#wake?.();
  }

  /**
   * Looks for descriptors that were closed by number, behind everybody's back: epoll forgets them
   * without a word, where poll(2) would report them. Called when a pass has waited in vain, and does
   * something once a second at most, as it costs a system call for each channel.
   * @internal
   */
  sweep(): void {
    const now = performance.now();
    if (now - this.#lastSweep < SWEEP_PAUSE) return;
    this.#lastSweep = now;
    for (const fd of this.keys()) {
      const entry = this.#entries[fd] as Entry;
      if (entry.mask !== 0 && !isOpen(fd)) this.invalidate(fd);
    }
  }

  /** Takes a channel out of the selector for `duration` ms, or until `resume`. @internal */
  suspend(fd: number, duration: number): void {
    const entry = this.#entries[fd];
    if (entry === undefined) return;
    entry.restsUntil = performance.now() + duration;
    this.#resting.add(entry);
    this.#register(entry, 0);
    // A waiting loop has to wake up for its end.
    this.#wake?.();
  }

  /** @internal */
  resume(fd: number): void {
    const entry = this.#entries[fd];
    if (entry === undefined) return;
    this.#endRest(entry);
    this.interestChanged(fd);
  }

  #endRest(entry: Entry): void {
    entry.restsUntil = 0;
    entry.parked = false;
    this.#resting.delete(entry);
  }

  /** Puts work off until something is about to block the thread. @internal */
  defer(work: Deferred): void {
    this.#deferred.add(work);
  }

  /** Takes it back. @returns whether it was still to be done @internal */
  undefer(work: Deferred): boolean {
    return this.#deferred.delete(work);
  }

  /** Each piece of work takes itself back. @internal */
  runDeferred(): void {
    for (const work of [...this.#deferred]) work();
  }

  /** The live entry of a channel, if it stands here under `fd`. @internal */
  entryOf(channel: Channel, fd: number): Entry | undefined {
    const entry = this.#entries[fd];
    return entry?.channel === channel ? entry : undefined;
  }

  /** Called at any change that a waiting loop must hear of; null when none waits. @internal */
  set onChange(wake: (() => void) | null) {
    this.#wake = wake;
  }

  /** Has a waiting loop look again. @internal */
  wake(): void {
    this.#wake?.();
  }

  /**
   * Has `empty` called, once, when the last channel has left.
   * @returns what takes that back
   * @internal
   */
  whenEmpty(empty: () => void): () => void {
    this.#awaiting.add(empty);
    return () => this.#awaiting.delete(empty);
  }

  /** Keeps the selector open in between. @internal */
  acquire(): Selector {
    this.#users += 1;
    this.#selector ??= createSelector();
    return this.#selector;
  }

  /** @internal */
  release(): void {
    this.#users -= 1;
    this.#settle();
  }

  /**
   * Asks the predicates of all that must be asked, and brings the selector up to date.
   * @internal
   */
  ask(order: TickOrder, report: Report): void {
    this.#follow(order);
    this.#endRests();
    if (this.#trackingEpoch !== trackingEpoch()) this.#reclassifyAll();
    // A predicate may add channels: their turn is the next tick's, as with Python's copy of the map.
    const stale = this.#stale;
    this.#stale = [];
    try {
      for (const entry of stale) {
        if (entry.live && entry.untracked === undefined) this.#classify(entry, report);
      }
      this.#askUntracked(report);
      for (const entry of stale) if (entry.live && entry.stale) this.#ask(entry, report);
    } catch (exit) {
      // ExitNow leaves the loop, and the map as it is: whoever has not been asked is still to be.
      for (const entry of stale) if (entry.live && entry.stale) this.#stale.push(entry);
      throw exit;
    }
  }

  /** Whether the selector is behind what the channels have told. @internal */
  get changed(): boolean {
    if (this.#stale.length > 0) return true;
    return this.#resting.size > 0 && this.nextDeadline <= performance.now();
  }

  /** Whether waiting would be pointless: something can be delivered or must be asked. @internal */
  get restless(): boolean {
    return (
      this.#stale.length > 0 ||
      this.#invalid.length > 0 ||
      this.#replaced.length > 0 ||
      this.#anyPrimed() ||
      this.#files.size > 0
    );
  }

  #anyPrimed(): boolean {
    return this.#primed.some((entry) => entry.live && (entry.wants & READ) !== 0);
  }

  /** When the next rest or timeout ends (performance.now() milliseconds), or Infinity. @internal */
  get nextDeadline(): number {
    let next = this.timers.next;
    for (const entry of this.#resting) next = Math.min(next, entry.restsUntil);
    return next;
  }

  /**
   * Waits, up to `timeout` ms, and returns what is due, in map order. Give it back to `done`.
   * @internal
   */
  select(order: TickOrder, timeout: number): Snapshot {
    this.#follow(order);
    const selector = this.#selector as Selector;
    const atOnce = this.#invalid.length > 0 || this.#files.size > 0 || this.#anyPrimed();
    const count = selector.select(atOnce ? 0 : timeout);
    const snapshot = this.#snapshots.pop() ?? new Snapshot();
    const { entries } = snapshot;
    let sorted = true;
    let last = 0;
    for (let index = 0; index < count; index += 1) {
      const entry = this.#entries[selector.fds[index] as number];
      if (entry === undefined) continue;
      entry.fired = selector.masks[index] as number;
      entries.push(entry);
      if (entry.order < last) sorted = false;
      last = entry.order;
    }
    for (const entry of this.#files) {
      entry.fired = entry.mask & (POLLIN | POLLOUT);
      entries.push(entry);
      sorted = false;
    }
    if (this.#invalid.length > 0) {
      // Until they have left the map, as with poll(2).
      this.#invalid = this.#invalid.filter((entry) => entry.live);
      for (const entry of this.#invalid) {
        entry.fired = POLLNVAL;
        entries.push(entry);
      }
      sorted = false;
    }
    if (this.#primed.length > 0) sorted = this.#addPrimed(entries) && sorted;
    // epoll reports in order of arrival. Which channel comes first is observable, so restore it.
    if (!sorted) entries.sort(inMapOrder);
    const bySelect = order === 'select';
    for (const entry of entries) {
      snapshot.due.push(bySelect ? this.#due(entry) : this.#flags(entry));
    }
    return snapshot;
  }

  /** Adds the readable ones of those that are primed. @returns whether there was none */
  #addPrimed(entries: Entry[]): boolean {
    const [before, reported] = [entries.length, new Set(entries)];
    const primed = this.#primed;
    this.#primed = [];
    for (const entry of primed) {
      if (!entry.live) continue;
      if ((entry.wants & READ) === 0) {
        this.#primed.push(entry);
        continue;
      }
      entry.primed = false;
      if (reported.has(entry)) entry.fired |= POLLIN;
      else {
        entry.fired = POLLIN;
        entries.push(entry);
      }
    }
    return entries.length === before;
  }

  /** Tells those whose socket was closed, and whose number went to another. @internal */
  tellReplaced(hangUp: (channel: Channel) => void): boolean {
    if (this.#replaced.length === 0) return false;
    for (const { channel, fd } of this.#replaced.splice(0)) {
      // Unless it has closed, or got another socket.
      if (channel.fileno?.() === fd && this.get(fd) !== channel) hangUp(channel);
    }
    return true;
  }

  /** Gives a snapshot back. @internal */
  done(snapshot: Snapshot): void {
    snapshot.entries.length = 0;
    snapshot.due.length = 0;
    this.#snapshots.push(snapshot);
  }

  /**
   * The sets that select(2) would have put it in. The kernel builds them from the same bits:
   * a hang-up counts as input, an error as input and output.
   */
  #due(entry: Entry): number {
    const { fired, wants } = entry;
    let due = 0;
    if ((fired & (POLLIN | POLLHUP | POLLERR)) !== 0) due |= wants & READ;
    if ((fired & (POLLOUT | POLLERR)) !== 0) due |= wants & WRITE;
    if ((fired & POLLPRI) !== 0) due |= DUE_EXPT;
    if ((fired & POLLNVAL) !== 0) due = DUE_CLOSE;
    // A hang-up that only a reader would be told of, on a channel that wants to write: select(2)
    // says nothing, epoll would say it for ever. Later there may be room for output, though.
    if (due === 0) this.#park(entry);
    return due;
  }

  /**
   * What poll(2) reports. A hang-up is the end of a channel (guards.ts), and where input may still be
   * unread because reading is paused, that has to wait.
   */
  #flags(entry: Entry): number {
    const { fired } = entry;
    if (entry.channel.readingPaused !== true || (fired & POLLHUP) === 0) return fired;
    if ((fired & ~POLLHUP) === 0) this.#park(entry);
    return fired & ~POLLHUP;
  }

  #park(entry: Entry): void {
    this.suspend(entry.fd, PARKING);
    entry.parked = true;
  }

  /** Registers for the order of this tick, should the last one have had the other. */
  #follow(order: TickOrder): void {
    if (order === this.#order) return;
    this.#order = order;
    for (const fd of this.keys()) {
      const entry = this.#entries[fd] as Entry;
      if (entry.parked) this.resume(fd);
      else if (entry.mask !== 0) this.#register(entry, MASKS[order][entry.wants] as number);
    }
  }

  /** A class has changed while it was in use. */
  #reclassifyAll(): void {
    this.#trackingEpoch = trackingEpoch();
    for (const fd of this.keys()) this.reclassify(fd);
  }

  /** Finds out whether a channel must be asked at every tick. */
  #classify(entry: Entry, report: Report): void {
    const { channel } = entry;
    entry.untracked = true;
    try {
      if (channel.map === this && channel.tracksInterest?.() === true) entry.untracked = false;
    } catch (error) {
      report(channel, error);
    }
    if (!entry.untracked || entry.listed) return;
    entry.listed = true;
    this.#untracked.push(entry);
    this.#unsorted = true;
  }

  #askUntracked(report: Report): void {
    if (this.#untracked.length === 0) return;
    if (this.#unsorted) {
      this.#unsorted = false;
      this.#untracked = this.#untracked.filter((entry) => {
        entry.listed = entry.live && entry.untracked === true;
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
      let wants = 0;
      // Both are asked, whatever the first one says: they may have side effects.
      const readable = channel.readable();
      const writable = channel.writable();
      const welcome = channel.inputEnded !== true && channel.readingPaused !== true;
      if (readable && welcome) wants |= READ;
      if ((wants & READ) !== 0 && channel.hasBufferedInput === true && !entry.primed) {
        entry.primed = true;
        this.#primed.push(entry);
      }
      if (writable && channel.accepting !== true) wants |= WRITE;
      // A predicate may have closed its channel.
      if (entry.live) this.#apply(entry, wants);
    } catch (error) {
      if (entry.live) this.#apply(entry, 0);
      report(channel, error);
    }
  }

  #apply(entry: Entry, wants: number): void {
    if (entry.parked && wants !== entry.wants) this.#endRest(entry);
    entry.wants = wants;
    if (entry.invalid || entry.restsUntil !== 0) return;
    const mask = MASKS[this.#order][wants] as number;
    if (mask !== entry.mask) this.#register(entry, mask);
  }

  /** Makes `mask` what the selector knows of an entry. */
  #register(entry: Entry, mask: number): void {
    const selector = this.#selector;
    const known = entry.mask;
    if (selector === null || mask === known) return;
    entry.mask = 0;
    if (mask === 0) {
      if (!this.#files.delete(entry)) selector.unregister(entry.fd);
      return;
    }
    try {
      if (known === 0) {
        if (!selector.register(entry.fd, mask)) this.#files.add(entry);
      } else if (!this.#files.has(entry)) selector.modify(entry.fd, mask);
      entry.mask = mask;
    } catch (error) {
      // Its descriptor was closed behind its back: what poll(2) reports as POLLNVAL. EINVAL: and
      // the number has become the selector's own.
      const code = codeOf(error);
      if (code === 'EBADF' || code === 'EINVAL') this.#markInvalid(entry);
      else {
        // ENOSPC, ENOMEM: this channel's trouble alone.
        selector.unregister(entry.fd);
        throw error;
      }
    }
  }

  #markInvalid(entry: Entry): void {
    entry.invalid = true;
    this.#invalid.push(entry);
  }

  /** Nothing reaches this entry any more. At once, as its descriptor is about to be closed. */
  #retire(entry: Entry): void {
    entry.live = false;
    this.#register(entry, 0);
    this.#resting.delete(entry);
    if (entry.untracked) this.#unsorted = true;
    // Nobody may ever ask again, and closed channels are not to be kept for that.
    if (this.#stale.length > 64 && this.#stale.length > 2 * this.size) {
      this.#stale = this.#stale.filter((other) => other.live);
    }
    if (this.#untracked.length > 64 && this.#untracked.length > 2 * this.size) {
      this.#untracked = this.#untracked.filter((other) => other.live);
    }
  }

  #endRests(): void {
    if (this.#resting.size === 0) return;
    const now = performance.now();
    for (const entry of this.#resting) if (entry.restsUntil <= now) this.resume(entry.fd);
  }

  /** After something left: wakes the loop, and gives the selector back when nobody needs it. */
  #settle(): void {
    if (this.size > 0) return;
    this.#wake?.();
    for (const empty of this.#awaiting) empty();
    this.#awaiting.clear();
    if (this.#users > 0) return;
    this.#selector?.close();
    this.#selector = null;
  }
}

/** The default map. Python's `asyncore.socket_map`. */
export const socketMap = new ChannelMap();

export function registryOf(map: ChannelMap): ChannelMap {
  return map;
}
