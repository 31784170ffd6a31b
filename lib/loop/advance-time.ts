// Virtual time for tests: moves the clock of a map from one deadline to the next.

import { badRange, badType, cannot } from '../errors';
import { progress } from '../kernel/progress';
import { type ChannelMap, checkMap, socketMap } from './channel-map';
import { ManualClock } from './clock';
import { poll } from './loop';

const ACTION = 'advance the time';
/** How many passes may find something to do at one moment. */
const MOST_PASSES = 10_000;

/**
 * Lets `duration` ms pass over a map that has a `ManualClock`: moves the clock from each moment at which something
 * is due to the next, and makes passes at each until nothing moves any more. So what a timer sends has been
 * answered, by channels of the same map, before the clock goes on. `advanceTime(0, map)` only does what there is
 * to do. It blocks the thread: promises of async handlers are served afterwards. Python has none.
 *
 * @param duration in ms
 * @param map default `socketMap`
 * @throws {TypeError} when the map goes by another clock, or `duration` is no number
 * @throws {RangeError} when `duration` is negative or infinite
 * @throws {Error} `ERR_CLOCK_STUCK` when the channels and timers do not come to rest: a timer of 0 ms that makes
 *   itself anew, for example
 * @throws {ExitNow} when a handler did
 *
 * @example
 * const clock = new ManualClock();
 * const map = new ChannelMap([], { clock });
 * const chat = new Chat(socket, map); // pings every 30 s
 * advanceTime(24 * 60 * 60 * 1000, map); // a day
 */
export function advanceTime(duration: number, map: ChannelMap = socketMap): void {
  checkMap(ACTION, map);
  const { clock } = map;
  if (!(clock instanceof ManualClock)) {
    const hint = 'use new ChannelMap([], { clock: new ManualClock() })';
    throw badType(ACTION, 'a map with a ManualClock', map, hint);
  }
  if (typeof duration !== 'number') throw badType(ACTION, 'a duration in milliseconds', duration);
  if (!(duration >= 0 && duration < Infinity)) {
    throw badRange(ACTION, 'a finite duration of 0 ms or more', duration);
  }
  const end = clock.now() + duration;
  settle(map, clock);
  while (map.nextDue <= end) {
    clock.advanceTo(map.nextDue);
    settle(map, clock);
  }
  clock.advanceTo(end);
}

/** Makes passes until one finds nothing to do. */
function settle(map: ChannelMap, clock: ManualClock): void {
  for (let left = MOST_PASSES; left > 0; left -= 1) {
    const before = progress.count;
    poll(0, map);
    if (progress.count === before && map.nextDue > clock.now()) return;
  }
  const text = `${cannot(ACTION)}: at ${clock.now()} ms the map does not come to rest`;
  throw Object.assign(new Error(text), { code: 'ERR_CLOCK_STUCK' });
}
