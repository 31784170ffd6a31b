// Channels and promises together: a promise is settled between the passes of a loop.

import { type ChannelMap, loopSync } from 'asyncore';
import { drive, type Way } from './drive';
import { until } from './program';

/** As `drive`. Under `loopSync` each pass is a call of its own, and promises are settled in between. */
export function driveSettling(how: Way, done: () => boolean, map: ChannelMap): Promise<void> {
  if (!how.sync) return drive(how, done, { map });
  return until(() => {
    loopSync({ map, usePoll: how.usePoll, timeout: 0, count: 1 });
    return done();
  });
}

/** Notes how a promise is settled: `pending`, `resolved`, or the code of its error. */
export function outcome(promise: Promise<unknown>): { now: string; error: unknown } {
  const noted = { now: 'pending', error: undefined as unknown };
  promise.then(
    () => {
      noted.now = 'resolved';
    },
    (error) => {
      noted.now = error.code ?? error.message;
      noted.error = error;
    },
  );
  return noted;
}

/** Lets what is settled be noted. */
export const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
