// One tick: ask, wait, deliver, flush, expire.
//
//   readable()/writable() of each channel      Registry.ask
//          |
//   one wait in the kernel                     Registry.select
//          |
//   what is due, as [entry, what for]          a snapshot, in map order
//          |
//   read, write, expt, close                   through dispatch.ts
//          |
//   what the handlers have sent                outbox.flush: after the reads, and at the end
//          |
//   deadlines                                  suspensions, and what channels have set
//
// Whether an event still has a receiver is looked up before every call: a handler may have closed any
// other channel, and a descriptor number may have been handed out again in between. So an event is
// delivered through the entry that it was reported for, or not at all.

import { beforeBlocking } from '../kernel/blocking';
import { deliver, exception, hangUp, read, routeError, write } from './dispatch';
import { type Entry, EXCEPTION, INVALID, READ, Suspension, type TickOrder, WRITE } from './entry';
import { outbox } from './outbox';
import type { Snapshot } from './readiness';
import type { Registry } from './registry';

/** The longest wait that the kernel and Node's timers can count, in ms. */
export const LONGEST_WAIT = 2 ** 31 - 1;

/**
 * As the kernel counts: whole milliseconds, rounded up so that a short wait is not a spin, and -1
 * for ever.
 */
export function milliseconds(timeout: number): number {
  if (timeout <= 0) return 0;
  if (timeout <= LONGEST_WAIT) return Math.ceil(timeout);
  return timeout === Infinity ? -1 : LONGEST_WAIT;
}

/** One tick that blocks the thread for up to `timeout` ms. */
export function blockingTick(registry: Registry, order: TickOrder, timeout: number): void {
  const { channels, deferred, timers } = registry;
  if (channels.size === 0) return;
  // The handler of an outer tick calls poll(), and waits for the answer to what it has just sent.
  if (outbox.open || outbox.size > 0) beforeBlocking();
  registry.acquire();
  try {
    const end = timeout === 0 ? 0 : performance.now() + timeout;
    let left = timeout;
    let resumed = false;
    do {
      if (deferred.size > 0) registry.runDeferred();
      registry.ask(order, routeError);
      // A predicate, or a look-up that failed, has closed the last channel: nothing can end a wait.
      if (channels.size === 0) return;
      if (outbox.size > 0) beforeBlocking();
      const wait =
        timers.next === Infinity ? left : Math.min(left, timers.next - performance.now());
      let some = step(registry, order, wait <= 0 ? 0 : milliseconds(wait));
      // A wait that a signal has cut short, as when the process was stopped, has not looked.
      if (!some && timers.next <= performance.now()) some = step(registry, order, 0);
      resumed = expire(registry);
      if (some) return;
      // A signal, or a deadline: Python, too, waits on for what is left. A channel whose suspension is
      // over is looked at even if nothing is left.
      left = end - performance.now();
    } while ((left > 0 || resumed) && channels.size > 0);
    registry.sweep();
  } finally {
    registry.release();
    // A loop that waits meanwhile may wait in the other order, for other events.
    registry.wake();
  }
}

/** Waits up to `wait` ms, as the kernel counts, and delivers. @returns whether anything was due */
export function step(registry: Registry, order: TickOrder, wait: number): boolean {
  const snapshot = registry.select(order, wait);
  if (snapshot.count === 0) {
    registry.done(snapshot);
    return false;
  }
  const outer = outbox.open;
  outbox.open = true;
  try {
    if (order === 'select') deliverInSelectOrder(registry, snapshot);
    else deliverInPollOrder(registry, snapshot);
  } finally {
    registry.done(snapshot);
    outbox.endDelivery(outer);
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
      read(entry.channel);
      checkPredicates(registry, entry);
    } else if ((what & INVALID) !== 0) endEntry(registry, entry);
  }
  if (outbox.size > 0) outbox.flush();
  if ((later & WRITE) !== 0) {
    for (let index = 0; index < count; index += 1) {
      const entry = entries[index] as Entry;
      if (((due[index] as number) & WRITE) === 0 || !entry.live) continue;
      write(entry.channel);
      checkPredicates(registry, entry);
    }
  }
  if ((later & EXCEPTION) !== 0) {
    for (let index = 0; index < count; index += 1) {
      const entry = entries[index] as Entry;
      if (((due[index] as number) & EXCEPTION) === 0 || !entry.live) continue;
      exception(entry.channel);
      checkPredicates(registry, entry);
    }
  }
}

/** Channel by channel. */
function deliverInPollOrder(registry: Registry, { entries, due, count }: Snapshot): void {
  for (let index = 0; index < count; index += 1) {
    const entry = entries[index] as Entry;
    if (entry.replaced) endEntry(registry, entry);
    else if (entry.live) {
      deliver(entry.channel, due[index] as number, entry);
      checkPredicates(registry, entry);
    }
  }
}

/** The socket was closed. Where the number belongs to another channel by now, this is told once. */
function endEntry(registry: Registry, entry: Entry): void {
  if (!entry.replaced || registry.takeReplaced(entry)) hangUp(entry.channel);
}

/** A handler may have replaced a predicate of its own channel: then that is asked at every tick. */
function checkPredicates(registry: Registry, entry: Entry): void {
  const { channel, tracked, readable, writable } = entry;
  if (!tracked || (channel.readable === readable && channel.writable === writable)) return;
  registry.interestChanged(entry.fd);
}

/**
 * Fires expired deadlines. Runs after event delivery, which may extend them.
 * @returns whether the suspension of a channel has ended
 */
export function expire({ timers }: Registry): boolean {
  if (timers.next === Infinity) return false;
  const now = performance.now();
  if (timers.next > now) return false;
  const outer = outbox.open;
  outbox.open = true;
  let resumed = false;
  try {
    for (let due = timers.takeDue(now); due !== null; due = timers.takeDue(now)) {
      if (due instanceof Suspension) resumed = true;
      due.reached(now);
    }
  } finally {
    outbox.endDelivery(outer);
  }
  return resumed;
}
