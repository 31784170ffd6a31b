// poll(2) as an object.

import { badRange, checkInteger } from '../errors';
import { beforeBlocking } from './blocking';
import { type HasDescriptor, openDescriptorOf } from './has-descriptor';
import { POLLIN, POLLOUT, POLLPRI } from './platform/constants';
import { ERRNO } from './platform/linux';
import { checkTimeout } from './select';
import { PollSelector } from './selectors/poll';

/** What `register` asks for unless it is told. */
const EVERYTHING = POLLIN | POLLPRI | POLLOUT;
/** Of 16 bits, the kernel uses the highest for itself. */
const LARGEST_MASK = 0x7fff;

/**
 * Watches descriptors by poll(2). Python's `select.poll()`.
 *
 * A Poller holds numbers, and owns none of them: unregister a descriptor before it is closed. A number that
 * was closed is reported as `POLLNVAL`.
 *
 * @example
 * const poller = new Poller();
 * poller.register(connection, POLLIN);
 * for (const [fd, events] of poller.poll(5000)) {
 *   if (events & POLLIN) console.log(`${fd} has input`);
 * }
 */
export class Poller {
  /** fd -> mask, in the order of `register`. */
  readonly #registered = new Map<number, number>();
  /** Holds the same; null: it has to be filled afresh, to keep the order. */
  #selector: PollSelector | null = new PollSelector();

  /**
   * Starts to watch a descriptor, or changes what it is watched for.
   * @param events of `POLLIN`, `POLLPRI` and `POLLOUT`, or-ed; default: all three. `POLLERR`, `POLLHUP` and
   *   `POLLNVAL` are always reported
   * @throws {RangeError|TypeError} for what has no descriptor, or no mask of 15 bits; with the code `EBADF`
   *   for an object that is closed
   */
  register(holder: HasDescriptor, events: number = EVERYTHING): void {
    const fd = openDescriptorOf('register', holder);
    checkInteger('register', 'a mask of events', events, 0, LARGEST_MASK);
    this.#set(fd, events);
  }

  /**
   * Changes what a registered descriptor is watched for.
   * @throws {RangeError} with the code `ENOENT` for a descriptor that is not registered; otherwise as
   *   `register`
   */
  modify(holder: HasDescriptor, events: number): void {
    const fd = this.#known('modify', holder);
    checkInteger('modify', 'a mask of events', events, 0, LARGEST_MASK);
    this.#set(fd, events);
  }

  /**
   * Stops watching a descriptor. An object that is closed has no number any more: pass the number.
   * @throws {RangeError} with the code `ENOENT` for a descriptor that is not registered, where Python has a
   *   KeyError; otherwise as `register`
   */
  unregister(holder: HasDescriptor): void {
    this.#registered.delete(this.#known('unregister', holder));
    this.#selector = null;
  }

  /**
   * Waits until a descriptor is ready, or the time is over. Blocks the thread, as `select` does, and pending
   * output of channels is sent before.
   * @param timeout in milliseconds, as in Python, and rounded up; 0: only look. Default, null and negative:
   *   without limit
   * @returns what is ready: the number of the descriptor, and what poll(2) says of it, in the order of
   *   `register`. Empty when the time is over
   * @throws {TypeError|RangeError} for what is no timeout
   */
  poll(timeout: number | null = null): [fd: number, events: number][] {
    const given = checkTimeout('poll', timeout);
    // First, as a flush may run code of the program that changes what is registered.
    beforeBlocking();
    this.#selector ??= this.#filled();
    const { fds, masks } = this.#selector;
    const count = this.#selector.wait(given < 0 ? Infinity : given);
    return Array.from({ length: count }, (_, index) => [
      fds[index] as number,
      masks[index] as number,
    ]);
  }

  #set(fd: number, events: number): void {
    this.#registered.set(fd, events);
    this.#selector?.register(fd, events);
  }

  #known(action: string, holder: HasDescriptor): number {
    const fd = openDescriptorOf(action, holder);
    if (this.#registered.has(fd)) return fd;
    const error = badRange(action, 'a registered descriptor', fd);
    throw Object.assign(error, { code: 'ENOENT', errno: ERRNO.ENOENT });
  }

  #filled(): PollSelector {
    const selector = new PollSelector();
    for (const [fd, events] of this.#registered) selector.register(fd, events);
    return selector;
  }
}
