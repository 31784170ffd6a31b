// Which selector to use, best first.

import { EpollSelector } from './epoll';
import { PollSelector } from './poll';
import type { Selector } from './selector';

export type { Selector };

/**
 * The best selector that works here. Where epoll cannot be opened, in a sandbox or for want of a
 * descriptor, it is poll, which needs none.
 *
 * The environment variable ASYNCORE_SELECTOR=poll forces the second choice: for comparing the two.
 */
export function createSelector(forced = forcedSelector()): Selector {
  if (forced === 'poll') return new PollSelector();
  try {
    return new EpollSelector();
  } catch {
    return new PollSelector();
  }
}

function forcedSelector(): string | undefined {
  try {
    return process.env.ASYNCORE_SELECTOR;
  } catch {
    return undefined; // Deno throws without --allow-env.
  }
}
