// Runs a handler, and routes its error.
//
// An exception ends its channel, not the loop: it goes to the channel's handleError. An exception out of
// handleError itself is emitted as a process warning, and the channel is closed. A rejection of an async
// handler goes the same way, later. ExitNow alone leaves the loop.

import { codeOf, DISCONNECTED, isExit, stackOf } from '../errors';
import { warn } from '../kernel/output';
import { POLLERR, POLLHUP, POLLIN, POLLNVAL, POLLOUT, POLLPRI } from '../kernel/platform/constants';
import {
  beforeError,
  type Channel,
  isPromise,
  peerGone,
  type Report,
  takesUpInput,
} from './channel';
import { ChannelMap, registryOf } from './channel-map';
import type { Entry } from './entry';
import type { Registry } from './registry';

type Handler = (channel: Channel) => unknown;

// One function for each event, so that delivering an event makes no closure.
const onRead: Handler = (channel) => channel.handleReadEvent();
const onWrite: Handler = (channel) => channel.handleWriteEvent();
const onException: Handler = (channel) => channel.handleExptEvent();
const onHangUp = (channel: Channel, error?: unknown): unknown =>
  channel[peerGone] === undefined ? channel.handleClose() : channel[peerGone](error);

/** A read event. Python's `asyncore.read`. @throws {ExitNow} and nothing else */
export function read(channel: Channel): void {
  // What an error has left of the input follows at once, and not when more arrives.
  while (!runHandler(channel, onRead) && channel[takesUpInput]?.() === true);
}

/** A write event. Python's `asyncore.write`. @throws {ExitNow} and nothing else */
export function write(channel: Channel): void {
  runHandler(channel, onWrite);
}

/** An exceptional condition. Python's `asyncore._exception`. @throws {ExitNow} and nothing else */
export function exception(channel: Channel): void {
  runHandler(channel, onException);
}

/**
 * The descriptor is of no more use.
 * @param error what a handler has thrown because of that
 * @throws {ExitNow} and nothing else
 */
export function hangUp(channel: Channel, error?: unknown): void {
  runHandler(channel, (gone) => onHangUp(gone, error));
}

/**
 * All that poll(2) reported of one channel: POLLIN, POLLOUT, POLLPRI, and at last what ends it.
 * Python's `asyncore.readwrite`, with two bugs fixed: it stops when a handler has closed the channel,
 * and a hang-up beside unread input waits until the input has been read.
 * @throws {ExitNow} and nothing else
 */
export function readwrite(channel: Channel, flags: number): void {
  const registry = registryFor(channel);
  deliver(channel, flags, registry?.entryOf(channel, channel.fileno?.() ?? -1));
}

/**
 * As `readwrite`, until `entry` dies. All events share one try, as in Python: an error ends the
 * delivery, and a disconnect is a hang-up.
 */
export function deliver(channel: Channel, flags: number, entry: Entry | undefined): void {
  try {
    if ((flags & POLLIN) !== 0) handleResult(channel, channel.handleReadEvent());
    if ((flags & POLLOUT) !== 0 && entry?.live !== false) {
      handleResult(channel, channel.handleWriteEvent());
    }
    if ((flags & POLLPRI) !== 0 && entry?.live !== false) {
      handleResult(channel, channel.handleExptEvent());
    }
    const over = (flags & (POLLHUP | POLLERR | POLLNVAL)) !== 0 && (flags & POLLIN) === 0;
    if (over && entry?.live !== false) handleResult(channel, onHangUp(channel));
  } catch (error) {
    // A listener has no connection to lose: the error is about the connection that it was accepting.
    const hungUp = channel.accepting !== true && DISCONNECTED.has(codeOf(error) ?? '');
    if (!hungUp) {
      routeError(channel, error);
      if (channel[takesUpInput]?.() === true) read(channel);
    }
    // The handler has closed the channel: ignore the disconnect.
    else if (entry?.live !== false) hangUp(channel, error);
  }
}

/**
 * Runs a handler of a channel. Its error, or its promise's rejection, goes to `handleError`.
 * @param handler for frequent events a constant of its module: no closure is made then
 * @returns false when it threw
 * @throws {ExitNow} and nothing else
 */
export function runHandler(channel: Channel, handler: Handler): boolean {
  try {
    const result = handler(channel);
    if (result !== undefined) handleResult(channel, result);
    return true;
  } catch (error) {
    routeError(channel, error);
    return false;
  }
}

/** A handler may be async: a rejection of its promise goes to its channel, as an exception would. */
export function handleResult(
  channel: Channel,
  result: unknown,
  report: Report = routeError,
  settled = wake,
): void {
  if (!isPromise(result)) return;
  result.then(
    () => settled(channel),
    (error: unknown) => {
      routeErrorOutside(channel, error, report);
      settled(channel);
    },
  );
}

/** The handler may have changed state that a predicate reads. */
function wake(channel: Channel): void {
  channel.map?.interestChanged(channel.fileno?.() ?? -1);
}

/** Gives an exception to its channel. @throws {ExitNow} and nothing else */
export function routeError(channel: Channel, error: unknown): void {
  if (isExit(error)) throw error;
  const entry = registryFor(channel)?.entryOf(channel, channel.fileno?.() ?? -1);
  if (entry !== undefined) entry.failed = true;
  try {
    const handled = channel[beforeError]?.(error);
    const result = channel.handleError(error);
    handleResult(channel, result, giveUp, () => {
      handled?.(false);
      wake(channel);
    });
    handled?.(isPromise(result));
  } catch (second) {
    giveUp(channel, second);
  }
}

/** As `routeError`, outside the loop's own call stack: ExitNow finds the loop through the map. */
export function routeErrorOutside(
  channel: Channel,
  error: unknown,
  report: Report = routeError,
): void {
  try {
    report(channel, error);
  } catch (exit) {
    const registry = registryFor(channel);
    if (registry === null) throw exit;
    registry.fail(exit);
  }
}

function registryFor({ map }: Channel): Registry | null {
  return map instanceof ChannelMap ? registryOf(map) : null;
}

/** handleError threw as well: emits a process warning and closes the channel. @throws {ExitNow} */
function giveUp(channel: Channel, error: unknown): void {
  if (isExit(error)) throw error;
  const text = `handleError of a channel threw, closing the channel: ${stackOf(error)}`;
  warn('ChannelWarning', 'ASYNCORE_HANDLE_ERROR', text);
  try {
    channel.close();
  } catch (third) {
    // Any other error goes unreported: the warning has named the first one.
    if (isExit(third)) throw third;
  } finally {
    removeFromMap(channel);
  }
}

/** Whatever its close() did, the channel gets no more events. */
function removeFromMap(channel: Channel): void {
  const { map } = channel;
  const fd = channel.fileno?.();
  if (map === undefined || fd === null) return;
  if (fd !== undefined) {
    if (map.get(fd) === channel) map.delete(fd);
    return;
  }
  for (const [key, other] of map) if (other === channel) map.delete(key);
}
