// The contract that every selector keeps: which descriptors are ready, without saying whose they are.
//
// - A mask is made of poll(2)'s bits. One registers POLLIN, POLLPRI and POLLOUT; POLLERR and POLLHUP
//   are reported whether asked for or not, as the kernel does, and POLLNVAL by poll alone.
// - Readiness is a level, not an edge: what is not dealt with is reported again.
// - A regular file cannot be watched by epoll: `register` returns false, and the caller treats it as ready.
// - Results stand in the order in which the kernel gives them, until the next `select`.
// - A registration belongs to the open file. Unregister before closing: the number alone does not
//   tell the kernel, when a duplicate of it is still open, that nobody wants to know any more.

export interface Selector {
  readonly name: 'epoll' | 'poll';

  /** Starts to watch `fd` for `mask`. @throws {SocketError} `EBADF`, `ENOMEM`, `ENOSPC` */
  register(fd: number, mask: number): boolean;

  /** Changes what a registered `fd` is watched for. */
  modify(fd: number, mask: number): void;

  /** Stops watching. Silent when `fd` is closed or not registered. */
  unregister(fd: number): void;

  /**
   * Waits until something is ready, `timeout` ms have passed (whole ones; 0: only look; -1: for as
   * long as it takes) or a signal came.
   * @returns how many are ready
   */
  select(timeout: number): number;

  /** Its own descriptor, readable when something registered is ready; -1: there is none. */
  readonly fd: number;

  /** The results of the last `select`. */
  readonly fds: number[];
  readonly masks: number[];

  /** The descriptor of result `index`. */
  readyFd(index: number): number;

  /** What result `index` is ready for. */
  readyMask(index: number): number;

  /** Whether something registered is ready and `watch` will not tell. */
  readonly alwaysReady: boolean;

  /** From now on Node's loop calls `wake` at each of its turns in which something is ready. */
  watch(wake: () => void): { close(): void };

  /**
   * Makes the kernel forget what is not registered: a descriptor that was closed by number while a
   * duplicate of it is open is reported for ever, and under that number there is nothing to unregister.
   */
  rebuild(): void;

  /** Gives back what the selector holds. Idempotent. */
  close(): void;
}
