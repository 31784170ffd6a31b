// Running a channel map until something has happened, in every way there is, and never for longer
// than a bounded time.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type Address,
  AF_INET,
  AF_INET6,
  AF_UNIX,
  type ChannelMap,
  loop,
  loopSync,
  socketMap,
} from 'asyncore';
import { LIMIT } from './program';

/** One way to run a map. */
export interface Way {
  usePoll: boolean;
  sync: boolean;
}

export const WAYS: [string, Way][] = [
  ['select order, loop', { usePoll: false, sync: false }],
  ['select order, loopSync', { usePoll: false, sync: true }],
  ['poll order, loop', { usePoll: true, sync: false }],
  ['poll order, loopSync', { usePoll: true, sync: true }],
];

/** Both orders and both loops, for what depends on either, but not on the two together. */
export const DIAGONAL = WAYS.filter(([, { usePoll, sync }]) => usePoll === sync);

export const FAMILIES: [string, number][] = [
  ['IPv4', AF_INET],
  ['IPv6', AF_INET6],
  ['Unix', AF_UNIX],
];

/** Every family in every way: rows for `describe.each`. */
export const MATRIX: [string, number, Way][] = FAMILIES.flatMap(([name, family]) =>
  WAYS.map(([way, how]): [string, number, Way] => [`${name}, ${way}`, family, how]),
);

const directories: string[] = [];

/** A path that nobody uses. Its directory goes when the spec file is done. */
export function temporaryPath(name = 'socket'): string {
  const directory = mkdtempSync(join(tmpdir(), 'asyncore-'));
  directories.push(directory);
  return join(directory, name);
}

afterAll(() => {
  for (const directory of directories.splice(0)) rmSync(directory, { recursive: true });
});

/** An address of this machine to bind to, its port chosen by the kernel. */
export function localAddress(family: number): Address {
  if (family === AF_UNIX) return { path: temporaryPath() };
  return { host: family === AF_INET6 ? '::1' : '127.0.0.1', port: 0 };
}

/**
 * Runs `map` until `done()` is true. Fails after `limit` ms, and when the map is empty before.
 */
export async function drive(
  how: Way,
  done: () => boolean,
  { map = socketMap, limit = LIMIT }: { map?: ChannelMap; limit?: number } = {},
): Promise<void> {
  const end = performance.now() + limit;
  if (how.sync) {
    while (!done() && map.size > 0 && performance.now() < end) {
      loopSync({ map, usePoll: how.usePoll, timeout: 20, count: 1 });
    }
  } else {
    const stop = new AbortController();
    const look = (): void => {
      if (!stop.signal.aborted && (done() || performance.now() >= end)) stop.abort();
    };
    // Looks after every turn of Node's loop. The immediate has no reference, so that a turn may wait.
    const watch = (): void => {
      look();
      if (!stop.signal.aborted) setImmediate(watch).unref();
    };
    watch();
    // What is no event of Node's loop, time above all, is looked at every millisecond.
    const timer = setInterval(look, 1);
    try {
      if (!stop.signal.aborted) {
        await loop({ map, usePoll: how.usePoll, signal: stop.signal }).catch((error) => {
          if (error !== stop.signal.reason) throw error;
        });
      }
    } finally {
      clearInterval(timer);
      stop.abort();
    }
  }
  if (!done()) {
    throw new Error(
      map.size === 0 ? 'the map is empty, and it has not happened' : `not in ${limit} ms`,
    );
  }
}
