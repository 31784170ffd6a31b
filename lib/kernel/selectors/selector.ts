// The contract of every selector: which descriptors are ready, and nothing about who owns them.
//
// - A mask is made of poll(2)'s bits. POLLIN, POLLPRI and POLLOUT are registered; POLLERR and POLLHUP
//   are reported whether asked for or not, as the kernel does, and POLLNVAL by poll alone.
// - Readiness is a level, not an edge: a condition that persists is reported again.
// - Results stand in the order in which the kernel gives them.
// - A registration belongs to the open file, not to the number. Unregister before closing. Where a
//   descriptor is closed by its number while registered and a duplicate of it stays open, the kernel goes
//   on reporting the open file: `select` leaves it out, but the selector's own `fd` stays readable, and
//   `select` does not wait, until the duplicate is closed.

export interface Selector {
  readonly name: 'epoll' | 'poll';

  /** Readable whenever something registered is ready; -1: there is no such descriptor (poll). */
  readonly fd: number;

  /**
   * Starts to watch `fd` for `mask`. A number that is registered already is taken over.
   * @returns false when the kernel cannot watch it, as it is a regular file or directory (EPERM): the
   *   caller treats it as always ready, as select(2) does. Nothing is registered then
   * @throws {SocketError} `EBADF`, `ENOMEM`, `ENOSPC`
   */
  register(fd: number, mask: number): boolean;

  /** Changes what a registered `fd` is watched for. */
  modify(fd: number, mask: number): void;

  /** Stops watching. Does nothing when `fd` is closed or not registered. */
  unregister(fd: number): void;

  /**
   * Waits until something is ready, `timeout` ms have passed (whole ones; 0: only look; -1: without
   * limit) or a signal arrives.
   * @returns how many are ready: so many of `fds` and `masks` are valid, until the next `select`
   */
  select(timeout: number): number;

  /** The descriptors that the last `select` found ready. */
  readonly fds: readonly number[];

  /** What each of them is ready for, at the same index. */
  readonly masks: readonly number[];

  /** Gives back what the selector holds. Idempotent. */
  close(): void;
}
