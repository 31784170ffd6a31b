// The orderly end of a server: no more callers, no more requests, and what is queued leaves first.

import { badRange, badType } from '../errors';
import { type Channel, ChannelMap, socketMap } from './channel-map';
import { runHandler } from './dispatch';
import { closeAll, loop } from './loop';
import { Deadline } from './timers';

/** Options of `shutdown`. */
export interface ShutdownOptions {
  /** When the rest is closed, in milliseconds. Default 10 000; Infinity is allowed. */
  deadline?: number;
  /** Ends the waiting: the promise rejects with its reason, and the channels go on draining. */
  signal?: AbortSignal;
}

/**
 * Calls `handleShutdown` of every channel, waits until all have left the map, and closes those that are
 * still there at the deadline. By default a listener closes at once, a chat reads no more and closes when
 * its output is sent, and any other channel's `handleClose` is called. Python has none.
 *
 * If no loop runs on the map, one is run here. One that runs already must go on: should it be left, what
 * is queued stays, and all are closed at the deadline. `loopSync` keeps that, too.
 *
 * @returns how many channels had to be closed at the deadline
 * @throws the signal's reason
 * @throws {RangeError|TypeError} when an argument cannot be meant
 *
 * @example
 * process.once('SIGTERM', async () => {
 *   const cut = await shutdown(socketMap, { deadline: 5000 });
 *   process.exitCode = cut === 0 ? 0 : 1;
 * });
 */
export async function shutdown(
  map: ChannelMap = socketMap,
  options: ShutdownOptions = {},
): Promise<number> {
  if (!(map instanceof ChannelMap)) throw badType('shut down', 'a ChannelMap', map);
  if (typeof options !== 'object' || options === null)
    throw badType('shut down', 'options', options);
  const { deadline = 10_000, signal } = options;
  if (typeof deadline !== 'number') throw badType('shut down', 'a deadline in ms', deadline);
  if (!(deadline >= 0)) throw badRange('shut down', 'a deadline of 0 ms or more', deadline);
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    throw badType('shut down', 'an AbortSignal', signal);
  }
  signal?.throwIfAborted();

  let cut = 0;
  const cutRest = (): void => {
    cut = map.size;
    closeAll(map, true);
  };
  const cutUnlessRunning = (): void => {
    if (map.runner === null) cutRest();
  };
  bidFarewell(map);
  if (map.size === 0) return 0;
  const end = new Deadline(cutRest);
  if (deadline !== Infinity) map.timers.set(end, performance.now() + deadline);
  map.wake();
  // The loop that runs may be left before that, and then nobody else looks at the time.
  const timer = deadline < 2 ** 31 ? setTimeout(cutUnlessRunning, deadline) : undefined;
  try {
    // A handler may have thought better of it.
    signal?.throwIfAborted();
    if (map.runner === null) await loop({ map, ...(signal === undefined ? {} : { signal }) });
    else await emptied(map, signal);
  } finally {
    map.timers.clear(end);
    clearTimeout(timer);
  }
  return cut;
}

/** All are told, also when one throws ExitNow, with which the caller's promise then rejects. */
function bidFarewell(map: ChannelMap): void {
  let exit: { readonly error: unknown } | null = null;
  for (const [fd, channel] of [...map]) {
    try {
      // One of them may have closed others.
      if (map.get(fd) === channel) farewell(channel);
    } catch (error) {
      exit ??= { error };
    }
  }
  if (exit !== null) throw exit.error;
}

function farewell(channel: Channel): void {
  runHandler(channel, () =>
    channel.handleShutdown === undefined ? channel.close() : channel.handleShutdown(),
  );
}

function emptied(map: ChannelMap, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const forget = map.whenEmpty(() => {
      signal?.removeEventListener('abort', abort);
      resolve();
    });
    const abort = (): void => {
      forget();
      reject(signal?.reason);
    };
    signal?.addEventListener('abort', abort, { once: true });
  });
}
