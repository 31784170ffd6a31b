// How long to wait: a timeout in milliseconds, and what the kernel is told.

/** The longest wait that the kernel and Node's timers can count, in ms. */
export const LONGEST_WAIT = 2 ** 31 - 1;

/**
 * The timeout argument of epoll_wait(2) and poll(2): whole milliseconds, rounded up so that a short wait
 * does not spin, and -1 for no limit.
 */
export function milliseconds(timeout: number): number {
  if (timeout <= 0) return 0;
  if (timeout <= LONGEST_WAIT) return Math.ceil(timeout);
  return timeout === Infinity ? -1 : LONGEST_WAIT;
}
