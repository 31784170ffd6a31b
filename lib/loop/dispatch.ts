// Guards: one event of one channel, and what becomes of an exception.
//
// An exception ends its channel, not the loop: it goes to the channel's handleError, and one out of
// handleError itself is reported as a process warning and the channel closed. A rejection of an async
// handler goes the same way, later. ExitNow is the exception: it leaves the loop.

import { codeOf, DISCONNECTED, isExit, stackOf } from '../errors';
import { POLLERR, POLLHUP, POLLIN, POLLNVAL, POLLOUT, POLLPRI } from '../kernel/platform/constants';
import type { Channel, Entry } from './channel-map';

/** A read event. Python's `asyncore.read`. @throws {ExitNow} and nothing else */
export function read(channel: Channel): void {
  try {
    handleResult(channel, channel.handleReadEvent());
  } catch (error) {
    routeError(channel, error);
  }
}

/** A write event. Python's `asyncore.write`. @throws {ExitNow} and nothing else */
export function write(channel: Channel): void {
  try {
    handleResult(channel, channel.handleWriteEvent());
  } catch (error) {
    routeError(channel, error);
  }
}

/** An exceptional condition. Python's `asyncore._exception`. @throws {ExitNow} and nothing else */
export function exception(channel: Channel): void {
  try {
    handleResult(channel, channel.handleExptEvent());
  } catch (error) {
    routeError(channel, error);
  }
}

/**
 * All that poll(2) reported of one channel: POLLIN, POLLOUT, POLLPRI, and at last what ends it.
 * Python's `asyncore.readwrite`, with two mendings: it stops when a handler has closed the channel,
 * and a hang-up beside unread input waits until the input has been read.
 * @throws {ExitNow} and nothing else
 */
export function readwrite(channel: Channel, flags: number): void {
  deliver(channel, flags, channel.map?.entryOf(channel, channel.fileno?.() ?? -1));
}

/** As `readwrite`, for a channel that stands in a map: until its entry dies. */
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
    if (over && entry?.live !== false) handleResult(channel, channel.handleClose());
  } catch (error) {
    if (!DISCONNECTED.has(codeOf(error) ?? '')) routeError(channel, error);
    // Of a channel that its handler has closed already, it says nothing new.
    else if (entry?.live !== false) hangUp(channel);
  }
}

/** Its descriptor is of no use any more. @throws {ExitNow} and nothing else */
export function hangUp(channel: Channel): void {
  runHandler(channel, () => channel.handleClose());
}

/**
 * Any other handler. Those above spell the same out, as they are called for every event: they make no
 * closure.
 * @throws {ExitNow} and nothing else
 */
export function runHandler(channel: Channel, handler: (channel: Channel) => unknown): void {
  try {
    handleResult(channel, handler(channel));
  } catch (error) {
    routeError(channel, error);
  }
}

type Report = (channel: Channel, error: unknown) => void;

/**
 * A handler may be async: its rejection is its channel's, as an exception would have been.
 * Dispatchers bring the result of each handler here, and the guards that of each event.
 */
export function handleResult(channel: Channel, result: unknown, report: Report = routeError): void {
  if (result === undefined || typeof (result as PromiseLike<unknown> | null)?.then !== 'function') {
    return;
  }
  // What it has done by then may be what a predicate looks at.
  const settled = (): void => channel.map?.interestChanged(channel.fileno?.() ?? -1);
  (result as PromiseLike<unknown>).then(settled, (error: unknown) => {
    routeErrorOutside(channel, error, report);
    settled();
  });
}

/** As `fail`, outside the loop's own call stack: ExitNow finds the loop through the map. */
export function routeErrorOutside(
  channel: Channel,
  error: unknown,
  report: Report = routeError,
): void {
  try {
    report(channel, error);
  } catch (exit) {
    if (channel.map?.runner == null) throw exit;
    channel.map.runner.fail(exit);
  }
}

/** Gives an exception to its channel. @throws {ExitNow} and nothing else */
export function routeError(channel: Channel, error: unknown): void {
  if (isExit(error)) throw error;
  try {
    handleResult(channel, channel.handleError(error), giveUp);
  } catch (second) {
    giveUp(channel, second);
  }
}

/** Even handleError threw: say so where it cannot be overlooked, and go on without the channel. */
function giveUp(channel: Channel, error: unknown): void {
  if (isExit(error)) throw error;
  process.emitWarning(`handleError of a channel threw, closing the channel: ${stackOf(error)}`, {
    type: 'ChannelWarning',
    code: 'ASYNCORE_HANDLE_ERROR',
  });
  try {
    channel.close();
  } catch {
    // What it was about has been said.
  }
  // Whatever its close() did, it may not come again.
  const { map } = channel;
  const fd = channel.fileno?.();
  if (map === undefined || fd === null) return;
  if (fd !== undefined) {
    if (map.get(fd) === channel) map.delete(fd);
    return;
  }
  for (const [key, other] of map) if (other === channel) map.delete(key);
}
