// The orderly end of a server: no new connections, no new requests, and queued output leaves first.

import { checkDuration, checkOptions, checkSignal } from '../errors';
import type { Channel } from './channel';
import { type ChannelMap, checkMap, registryOf, socketMap } from './channel-map';
import { callOutside } from './clock';
import { Alarm, CALLED } from './deadlines';
import { runHandler } from './dispatch';
import { closeAll } from './loop';
import { loop } from './node-loop';
import type { Registry } from './registry';
import { cancelKeepers } from './timers';

/** Options of `shutdown`. */
export interface ShutdownOptions {
  /** When the channels that are left are closed, in ms. Default 10 000; Infinity is allowed. */
  deadline?: number;
  /** Ends the wait: the promise rejects with the signal's reason, and the channels go on draining. */
  signal?: AbortSignal;
}

const OPTIONS = { deadline: true, signal: true } as const;

/**
 * Calls `handleShutdown` of every channel, cancels the timers with `keepAlive`, waits until all have left the map, and closes the channels
 * that are left at the deadline. By default a listener closes at once, a chat reads no more and closes
 * when its output is sent, and any other channel's `handleClose` is called. Sent means that the kernel has it:
 * a peer that still sends when the channel closes may lose the end of it. A client that says goodbye overrides
 * `handleShutdown`, pushes its last message and calls `endWhenDone()`. Python has none.
 *
 * If no loop runs on the map, `shutdown` runs one. A loop that runs already must go on: if the program
 * leaves it, queued output stays, and all channels are closed at the deadline. `loopSync` keeps the
 * deadline, too.
 *
 * @returns how many channels had to be closed at the deadline
 * @throws the signal's reason
 * @throws {RangeError|TypeError} for an invalid argument
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
  checkMap('shut down', map);
  checkOptions('shut down', 'options', options, OPTIONS);
  const { deadline = 10_000, signal } = options;
  checkDuration('shut down', 'a deadline', deadline);
  checkSignal('shut down', signal);
  signal?.throwIfAborted();

  const registry = registryOf(map);
  let cut = 0;
  const closeRest = (): void => {
    // With a clock that is moved by hand, the deadline may be reached again before the program hears of it.
    cut += map.size;
    closeAll(map, true);
  };
  notifyChannels(map);
  cancelKeepers(registry);
  if (map.size === 0) return 0;
  const end = new Alarm(CALLED, closeRest);
  if (deadline !== Infinity) registry.deadlines.setAfter(end, deadline);
  registry.wake();
  // The program may leave the loop before the deadline, and then no tick looks at the time.
  const { clock } = registry.deadlines;
  const cancel = callOutside(clock, deadline, () => {
    if (registry.runner === null) closeRest();
  });
  try {
    // A handler may have aborted the signal.
    signal?.throwIfAborted();
    if (registry.runner === null) await loop({ map, ...(signal === undefined ? {} : { signal }) });
    else await emptied(registry, signal);
  } finally {
    registry.deadlines.clear(end);
    cancel();
  }
  return cut;
}

/** Calls every channel's handleShutdown, also after one has thrown ExitNow. Then throws that ExitNow. */
function notifyChannels(map: ChannelMap): void {
  let exit: { readonly error: unknown } | null = null;
  for (const [fd, channel] of [...map]) {
    try {
      // An earlier handleShutdown may have closed this channel.
      if (map.get(fd) === channel) runHandler(channel, endChannel);
    } catch (error) {
      exit ??= { error };
    }
  }
  if (exit !== null) throw exit.error;
}

const endChannel = (channel: Channel): unknown =>
  channel.handleShutdown === undefined ? channel.close() : channel.handleShutdown();

function emptied(registry: Registry, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const forget = registry.whenEmpty(() => {
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
