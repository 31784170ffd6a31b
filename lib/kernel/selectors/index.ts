// The ranked choice, best first.

import { EpollSelector } from './epoll';
import { PollSelector } from './poll';
import type { Selector } from './selector';

export type { Selector };

/**
 * The best selector that works here. Whatever keeps epoll from opening, be it an old sandbox or the
 * last descriptor being taken, poll needs none.
 *
 * The environment variable ASYNCORE_SELECTOR=poll forces the second choice: for comparing the two.
 */
export function createSelector(forced = process.env.ASYNCORE_SELECTOR): Selector {
  if (forced === 'poll') return new PollSelector();
  try {
    return new EpollSelector();
  } catch {
    return new PollSelector();
  }
}
