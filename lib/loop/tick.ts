// One tick: ask, wait, deliver, flush, expire.
//
// Three words for three lengths of time:
//
//   tick    one walk through the steps below
//   pass    what `poll` makes, and `count` counts: ticks until an event was delivered, a timer was called or
//           the timeout is over. Nearly always one; a signal, or a suspension, makes a tick without events
//   turn    one call from Node's own event loop (node-loop.ts), for at most one tick. A pass may take
//           several turns
//
//   readable()/writable() of each channel      Registry.ask
//          |
//   one wait in the kernel                     Registry.select
//          |
//   what is due, as [entry, what for]          a snapshot, in map order
//          |
//   read, write, expt, close                   through dispatch.ts
//          |
//   what the handlers have sent                outbox.flush: in select order after the reads and at the
//          |                                   end, in poll order at the end
//   deadlines                                  timers, idle timeouts, suspensions
//
// A handler may close any other channel, and the kernel may hand the descriptor number out again within
// the tick. So each event is delivered through the entry that it was reported for, and only while that
// entry is live.

import { performance } from 'node:perf_hooks';
import { beforeBlocking } from '../kernel/blocking';
import { progress } from '../kernel/progress';
import { LONGEST_WAIT } from './clock';
import { CALLED, NOTHING, RESUMED } from './deadlines';
import { deliver, exception, hangUp, read, routeError, write } from './dispatch';
import {
  type Entry,
  EXCEPTION,
  INVALID,
  type PollBits,
  READ,
  type SelectSets,
  type TickOrder,
  WRITE,
} from './entry';
import { outbox } from './outbox';
import type { Snapshot } from './readiness';
import type { Registry } from './registry';
import { mainEvent, SUSPICIOUS, suspect } from './spin';
import { sweep } from './sweep';

/**
 * The timeout argument of epoll_wait(2): whole milliseconds, rounded up so that a short wait does not
 * spin, and -1 for no limit.
 */
export function milliseconds(timeout: number): number {
  if (timeout <= 0) return 0;
  if (timeout <= LONGEST_WAIT) return Math.ceil(timeout);
  return timeout === Infinity ? -1 : LONGEST_WAIT;
}

/** One pass, which blocks the thread for up to `timeout` ms. */
export function blockingPass(registry: Registry, order: TickOrder, timeout: number): void {
  const { channels, deferred, deadlines } = registry;
  if (channels.size === 0 && registry.over) {
    fireWithoutChannels(registry);
    return;
  }
  // Nested poll(): the handler may wait for a reply to output that is still queued.
  if (outbox.size > 0) beforeBlocking();
  registry.acquire();
  try {
    const end = timeout === 0 ? 0 : performance.now() + timeout;
    let left = timeout;
    let outcome = NOTHING;
    do {
      if (deferred.size > 0) registry.runDeferred();
      registry.ask(order, routeError);
      // A predicate, or a look-up that failed, has closed the last channel: nothing can end a wait.
      if (channels.size === 0 && registry.over) return;
      if (outbox.size > 0) beforeBlocking();
      let wait = left;
      if (wait > 0 && deadlines.next !== Infinity) {
        wait = Math.min(wait, deadlines.nextRealTime() - performance.now());
      }
      let some = step(registry, order, milliseconds(wait));
      // A signal may have interrupted the wait before the kernel checked readiness: poll once more.
      if (!some && wait > 0 && deadlines.next <= deadlines.lookedAt)
        some = step(registry, order, 0);
      outcome = expire(registry);
      if (some) return;
      if ((outcome & CALLED) !== 0) break;
      // A signal, or a deadline of the library's own. Python, too, waits on for the time that is left. A
      // channel whose suspension is over gets one look even if no time is left.
      left = timeout === 0 ? 0 : end - performance.now();
    } while ((left > 0 || outcome === RESUMED) && !(channels.size === 0 && registry.over));
    sweep(registry);
  } finally {
    registry.release();
    // A loop that waits meanwhile may wait in the other order, for other events.
    registry.wake();
  }
}

/**
 * Waits up to `wait` ms, which `milliseconds` has rounded, and delivers.
 * @returns whether anything was due
 */
export function step(registry: Registry, order: TickOrder, wait: number): boolean {
  const snapshot = registry.select(order, wait);
  if (registry.deadlines.next !== Infinity) registry.deadlines.look();
  if (snapshot.count === 0) {
    registry.done(snapshot);
    return false;
  }
  const outer = outbox.begin();
  try {
    if (order === 'select') deliverInSelectOrder(registry, snapshot);
    else deliverInPollOrder(registry, snapshot);
  } finally {
    registry.done(snapshot);
    outbox.end(outer);
  }
  return true;
}

/** All reads, then all writes, then all exceptions. */
function deliverInSelectOrder(registry: Registry, { entries, due, count }: Snapshot): void {
  let later = 0;
  for (let index = 0; index < count; index += 1) {
    const entry = entries[index] as Entry;
    const what = due[index] as number;
    later |= what;
    if (!entry.live) continue;
    if ((what & READ) !== 0) {
      const before = progress.count;
      read(entry.channel);
      afterEvent(registry, entry, 'select', READ, before);
    } else if ((what & INVALID) !== 0) endEntry(registry, entry);
  }
  if (outbox.size > 0) outbox.flush();
  if ((later & WRITE) !== 0) {
    for (let index = 0; index < count; index += 1) {
      const entry = entries[index] as Entry;
      if (((due[index] as number) & WRITE) === 0 || !entry.live) continue;
      const before = progress.count;
      write(entry.channel);
      afterEvent(registry, entry, 'select', WRITE, before);
    }
  }
  if ((later & EXCEPTION) !== 0) {
    for (let index = 0; index < count; index += 1) {
      const entry = entries[index] as Entry;
      if (((due[index] as number) & EXCEPTION) === 0 || !entry.live) continue;
      const before = progress.count;
      exception(entry.channel);
      afterEvent(registry, entry, 'select', EXCEPTION, before);
    }
  }
}

/** Channel by channel. */
function deliverInPollOrder(registry: Registry, { entries, due, count }: Snapshot): void {
  for (let index = 0; index < count; index += 1) {
    const entry = entries[index] as Entry;
    if (entry.replaced) endEntry(registry, entry);
    else if (entry.live) {
      const what = due[index] as number;
      const before = progress.count;
      deliver(entry.channel, what, entry);
      afterEvent(registry, entry, 'poll', what, before);
    }
  }
}

/** The socket was closed. If the number belongs to another channel by now, handleClose is called once. */
function endEntry(registry: Registry, entry: Entry): void {
  const before = progress.count;
  if (!entry.replaced || registry.software.takeReplaced(entry)) hangUp(entry.channel);
  if (!entry.replaced) afterEvent(registry, entry, 'select', INVALID, before);
}

/**
 * @param due what was delivered, in the vocabulary of `order`
 * @param before `progress.count` before the event
 */
function afterEvent(
  registry: Registry,
  entry: Entry,
  order: TickOrder,
  due: SelectSets | PollBits,
  before: number,
): void {
  if (progress.count !== before) entry.fruitless = 0;
  else {
    entry.fruitless += 1;
    if (entry.fruitless > SUSPICIOUS) suspect(entry, order === 'poll' ? mainEvent(due) : due);
  }
  // A handler may have replaced a predicate of its own channel, which is then asked at every tick.
  const { channel, tracked, readable, writable } = entry;
  if (!tracked || (channel.readable === readable && channel.writable === writable)) return;
  registry.interestChanged(entry.fd);
}

/**
 * Reaches the deadlines whose time had come when the kernel was asked. Runs after event delivery, which may
 * extend them.
 * @returns RESUMED: the suspension of a channel has ended; CALLED: code of the program has run; or both
 */
export function expire({ deadlines }: Registry): number {
  if (deadlines.next > deadlines.lookedAt) return NOTHING;
  const outer = outbox.begin();
  try {
    return deadlines.reach();
  } finally {
    outbox.end(outer);
  }
}

/** A pass over a map without channels: no wait, but no timer is late for want of a channel either. */
function fireWithoutChannels(registry: Registry): void {
  if (registry.deadlines.next === Infinity) return;
  registry.deadlines.look();
  expire(registry);
}
