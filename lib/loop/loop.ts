// The loops that block the thread: one pass, and many. `loop`, which does not block, is in node-loop.ts.

import {
  badType,
  cannot,
  checkBoolean,
  checkDuration,
  checkOptions,
  checkSignal,
  codeOf,
  isExit,
} from '../errors';
import { ChannelMap, checkMap, registryOf, socketMap } from './channel-map';
import type { TickOrder } from './entry';
import type { Registry } from './registry';
import { blockingPass } from './tick';
import { cancelKeepers } from './timers';

/** Options of `loop` and `loopSync`. */
export interface LoopOptions {
  /** How long one pass waits at most, in milliseconds. Default 30 000; Infinity is allowed. */
  timeout?: number | undefined;
  /**
   * Deliver in poll order, channel by channel, instead of in select order. Default false. Python's
   * `use_poll`.
   */
  usePoll?: boolean | undefined;
  /** The channels. Default `socketMap`. */
  map?: ChannelMap | undefined;
  /** How many passes to make at most; 0 or less makes none. Default: until the map is empty. */
  count?: number | undefined;
  /** Ends the loop, which then rejects, or throws, the signal's reason. Python has none. */
  signal?: AbortSignal | undefined;
}

/**
 * One pass in select order over a channel map, blocking the thread for up to `timeout` ms: until an event was
 * delivered or a timer called. Python's `asyncore.poll`, whose timeout is in seconds.
 *
 * @param timeout default 0: only look
 * @param map default `socketMap`
 * @throws {ExitNow} when a handler did
 * @throws {RangeError} when `timeout` is negative or NaN
 * @throws {TypeError} when `timeout` is no number, or `map` no ChannelMap
 */
export function poll(timeout = 0, map: ChannelMap = socketMap): void {
  checkPass('poll', timeout, map);
  blockingPass(registryOf(map), 'select', timeout);
}

/** One pass in poll order. Otherwise as `poll`. Python's `asyncore.poll2`. */
export function poll2(timeout = 0, map: ChannelMap = socketMap): void {
  checkPass('poll2', timeout, map);
  blockingPass(registryOf(map), 'poll', timeout);
}

/** The same as `poll2`, under the name that Python keeps for old programs. */
export const poll3 = poll2;

function checkPass(action: string, timeout: number, map: ChannelMap): void {
  checkMap(action, map);
  // Each poll() comes here: the check itself is for a timeout that it refuses.
  if (!(typeof timeout === 'number' && timeout >= 0)) checkDuration(action, 'a timeout', timeout);
}

/** Options with their defaults. @internal */
export interface CheckedOptions {
  readonly registry: Registry;
  readonly timeout: number;
  readonly order: TickOrder;
  readonly count: number;
  readonly signal: AbortSignal | undefined;
}

const OPTIONS = { timeout: true, usePoll: true, map: true, count: true, signal: true } as const;

/** @internal */
export function checkLoop(action: string, options: LoopOptions): CheckedOptions {
  checkOptions(action, 'an object of options', options, OPTIONS, hintFor(options));
  const { timeout = 30_000, usePoll = false, map = socketMap, count = Infinity, signal } = options;
  checkPass(action, timeout, map);
  checkBoolean(action, 'usePoll to be true or false', usePoll);
  if (typeof count !== 'number' || Number.isNaN(count)) {
    throw badType(action, 'a count of passes', count);
  }
  checkSignal(action, signal);
  const registry = registryOf(map);
  if (registry.runner !== null) {
    throw Object.assign(
      new Error(`${cannot(action)}: a loop is running on this map already, and takes new channels`),
      {
        code: 'ERR_LOOP_RUNNING',
      },
    );
  }
  return { registry, timeout, order: usePoll ? 'poll' : 'select', count, signal };
}

/** What was probably meant. */
function hintFor(options: unknown): string | undefined {
  if (options instanceof ChannelMap) return 'use { map }';
  return options instanceof AbortSignal ? 'use { signal }' : undefined;
}

/**
 * Runs the channels until the map is empty, blocking the thread: Python's `asyncore.loop` to the
 * letter. The timers of the map run. No timer of Node, promise or signal handler of the program runs
 * meanwhile, so it suits scripts and worker threads; programs call `loop`.
 *
 * @throws {ExitNow} when a handler did; the map is left as it was
 * @throws the signal's reason, looked at between passes
 * @throws {Error} `ERR_LOOP_RUNNING` when a loop runs on this map already; `ERR_CLOCK_STUCK` when only a timer of a
 *   `ManualClock` is left, which nothing can move any more
 * @throws {TypeError|RangeError} for an invalid option
 *
 * @example
 * while (socketMap.size > 0) {
 *   loopSync({ timeout: 1000, count: 1 });
 *   console.log(`${socketMap.size} channels`);
 * }
 */
export function loopSync(options: LoopOptions = {}): void {
  const { registry, timeout, order, count, signal } = checkLoop('loopSync', options);
  const { channels, deadlines } = registry;
  registry.runner = {
    fail(error) {
      throw error;
    },
  };
  try {
    for (let left = count; left > 0; left -= 1) {
      if (registry.over) return;
      if (channels.size === 0 && deadlines.standStill) throw clockStandsStill();
      signal?.throwIfAborted();
      blockingPass(registry, order, timeout);
    }
  } finally {
    registry.runner = null;
  }
}

function clockStandsStill(): Error {
  const text = `${cannot('loopSync')}: no channel is left, and nothing moves the ManualClock any more`;
  return Object.assign(new Error(text), { code: 'ERR_CLOCK_STUCK' });
}

/**
 * Closes every channel of a map, and those that have left it because they could not be set up. Cancels the
 * timers that would keep a loop going (`keepAlive`). Python's `asyncore.close_all`.
 *
 * @param map default `socketMap`
 * @param ignoreAll go on when a close() throws. Otherwise the first exception is thrown at once,
 *   and the rest of the map left as it was, as in Python; EBADF is never thrown, ExitNow always
 * @throws {TypeError} when `map` is no ChannelMap, or `ignoreAll` no boolean
 */
export function closeAll(map: ChannelMap = socketMap, ignoreAll = false): void {
  checkMap('closeAll', map);
  checkBoolean('closeAll', 'ignoreAll to be true or false', ignoreAll);
  const registry = registryOf(map);
  for (const channel of [...map.values(), ...registry.strays.take()]) {
    try {
      channel.close();
    } catch (error) {
      if (codeOf(error) === 'EBADF') continue;
      if (!ignoreAll || isExit(error)) throw error;
    }
  }
  map.clear();
  cancelKeepers(registry);
}
