// select(2) over poll(2), which has no limit for the number of a descriptor.

import { performance } from 'node:perf_hooks';
import { badRange, badType, SocketError } from '../errors';
import { beforeBlocking } from './blocking';
import { type HasDescriptor, openDescriptorOf } from './has-descriptor';
import { POLLERR, POLLHUP, POLLIN, POLLNVAL, POLLOUT, POLLPRI } from './platform/constants';
import { ERRNO } from './platform/linux';
import { PollSelector } from './selectors/poll';
import { strerror } from './syscalls';

/** What select(2) takes for readable, for writable, and for exceptional. */
const READABLE = POLLIN | POLLHUP | POLLERR;
const WRITABLE = POLLOUT | POLLERR;

/** How long a hang-up that nobody asked for is left out, in ms. */
const HANG_UP_PAUSE = 100;

/**
 * Waits until one of the descriptors is ready, or the time is over. Blocks the thread: meanwhile no other
 * JavaScript runs, not even the program's listeners of signals. Python's `select.select`, whose timeout is
 * in seconds.
 *
 * End of stream and an error count as readable; an error also counts as writable. Exceptional is urgent
 * data (`POLLPRI`). Input that a chat has received and holds back does not count: as in Python, `select`
 * sees only what the kernel has. Pending output of channels is sent before the wait.
 *
 * @param readers descriptors, or objects that have one: Sockets, channels, `fs.FileHandle`s. Any iterable
 * @param writers likewise, to be waited for until they take output
 * @param exceptional likewise, to be waited for until they have urgent data
 * @param timeout in milliseconds, rounded up; 0: only look. Default (and null): without limit
 * @returns three lists of the objects that were passed and are ready, in the order in which they were passed.
 *   All are empty when the time is over
 * @throws {SocketError} `EBADF` for a number that is not open
 * @throws {RangeError} for a negative timeout or descriptor; with the code `EBADF` for an object that is closed
 * @throws {TypeError} for what has no descriptor, or is no iterable or no timeout
 *
 * @example
 * const [readable] = select([connection, 0], [], [], 5000);
 * if (readable.includes(0)) console.log('there is input on stdin');
 */
export function select<
  Reader extends HasDescriptor,
  Writer extends HasDescriptor,
  Exceptional extends HasDescriptor,
>(
  readers: Iterable<Reader>,
  writers: Iterable<Writer>,
  exceptional: Iterable<Exceptional>,
  timeout: number | null = null,
): [readers: Reader[], writers: Writer[], exceptional: Exceptional[]] {
  const limit = checkTimeout('select', timeout);
  if (limit < 0) throw badRange('select', 'a timeout of 0 ms or more', timeout);
  // First, as a flush may close a channel.
  beforeBlocking();
  const sets = [
    new DescriptorSet(readers, POLLIN, READABLE),
    new DescriptorSet(writers, POLLOUT, WRITABLE),
    new DescriptorSet(exceptional, POLLPRI, POLLPRI),
  ] as const;
  const ready = waitFor(sets, limit);
  return [sets[0].those(ready), sets[1].those(ready), sets[2].those(ready)];
}

/**
 * A timeout as a number; without limit: Infinity.
 * @throws {TypeError|RangeError} for what is no number, and for NaN
 */
export function checkTimeout(action: string, timeout: number | null | undefined): number {
  if (timeout === null || timeout === undefined) return Infinity;
  if (typeof timeout !== 'number') throw badType(action, 'a timeout in milliseconds', timeout);
  if (Number.isNaN(timeout)) throw badRange(action, 'a timeout in milliseconds', timeout);
  return timeout;
}

/** One of the three lists of `select`. */
class DescriptorSet<Holder extends HasDescriptor> {
  readonly holders: readonly Holder[];
  readonly fds: readonly number[];
  /** What poll(2) is asked for. */
  readonly asked: number;
  /** What makes a descriptor of this set ready. */
  readonly counts: number;

  constructor(holders: Iterable<Holder>, asked: number, counts: number) {
    const { [Symbol.iterator]: iterator } = (holders ?? {}) as Partial<Iterable<Holder>>;
    if (typeof iterator !== 'function') {
      throw badType('select', 'an iterable of descriptors', holders);
    }
    this.holders = Array.from(holders);
    this.fds = this.holders.map((holder) => openDescriptorOf('select', holder));
    this.asked = asked;
    this.counts = counts;
  }

  /** The objects that are ready. @param ready poll(2)'s bits, by descriptor */
  those(ready: ReadonlyMap<number, number>): Holder[] {
    return this.holders.filter((_, index) => {
      const mask = ready.get(this.fds[index] as number) ?? 0;
      return (mask & this.counts) !== 0;
    });
  }
}

/** @returns what is ready, in poll(2)'s bits, by descriptor. Empty when the time is over */
function waitFor(
  sets: readonly DescriptorSet<HasDescriptor>[],
  timeout: number,
): Map<number, number> {
  const asked = new Map<number, number>();
  const counts = new Map<number, number>();
  for (const set of sets) {
    for (const fd of set.fds) {
      asked.set(fd, (asked.get(fd) ?? 0) | set.asked);
      counts.set(fd, (counts.get(fd) ?? 0) | set.counts);
    }
  }
  const selector = new PollSelector();
  for (const [fd, mask] of asked) selector.register(fd, mask);
  const end = performance.now() + timeout;
  let muted: number[] = [];
  for (let left = timeout; ; left = Math.max(0, end - performance.now())) {
    const count = selector.wait(muted.length === 0 ? left : Math.min(left, HANG_UP_PAUSE));
    const ready = new Map<number, number>();
    const hungUp: number[] = [];
    for (let index = 0; index < count; index += 1) {
      const fd = selector.fds[index] as number;
      const mask = selector.masks[index] as number;
      if ((mask & POLLNVAL) !== 0) throw notOpen(fd);
      if ((mask & (counts.get(fd) as number)) !== 0) ready.set(fd, mask);
      else hungUp.push(fd);
    }
    if (ready.size > 0 || left === 0) return ready;
    // poll(2) reports a hang-up unasked, which would end every further wait at once. select(2) waits on.
    for (const fd of muted) selector.register(fd, asked.get(fd) as number);
    for (const fd of hungUp) selector.unregister(fd);
    muted = hungUp;
  }
}

function notOpen(fd: number): SocketError {
  const { EBADF } = ERRNO;
  return new SocketError('EBADF', EBADF, 'select', `${strerror(EBADF)} (fd ${fd})`);
}
