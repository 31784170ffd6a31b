// poll(2): the selector that every Unix has. Waiting costs what is registered: fine below a few
// hundred descriptors, and the second implementation that epoll's specs are run against.

import { performance } from 'node:perf_hooks';
import { badRange } from '../../errors';
import { Memory } from '../koffi';
import { LAYOUT } from '../platform/linux';
import { check, poll } from '../syscalls';
import type { Selector } from './selector';

// struct pollfd { int fd; short events; short revents; }
const SIZE = LAYOUT.pollfd;
const EVENTS = 4;
const REVENTS = 6;
const FIRST_ROOM = 64;
/** In ms: the timeout of poll(2) is an int. */
const LONGEST_WAIT = 2 ** 31 - 1;

/** Whether a descriptor is ready now, without a selector. */
export function isReady(fd: number, mask: number): boolean {
  const selector = new PollSelector();
  selector.register(fd, mask);
  return selector.select(0) > 0;
}

export class PollSelector implements Selector {
  readonly name = 'poll';
  readonly fd = -1;
  readonly fds: number[] = [];
  readonly masks: number[] = [];
  /** One struct per registered descriptor, without gaps. */
  #pollfds = new Memory(FIRST_ROOM * SIZE);
  /** fd -> its place in `#pollfds`. */
  readonly #places = new Map<number, number>();
  #closed = false;

  /** Always true: the kernel reports regular files itself, as always ready. */
  register(fd: number, mask: number): boolean {
    const known = this.#places.get(fd);
    const place = known ?? this.#places.size;
    if (known === undefined) {
      this.#makeRoom();
      this.#places.set(fd, place);
    }
    this.#write(place, fd, mask);
    return true;
  }

  modify(fd: number, mask: number): void {
    this.register(fd, mask);
  }

  unregister(fd: number): void {
    const place = this.#places.get(fd);
    if (place === undefined) return;
    // The last one moves into the gap.
    const last = this.#places.size - 1;
    const moved = this.#pollfds.buffer.readInt32LE(last * SIZE);
    this.#pollfds.buffer.copy(this.#pollfds.buffer, place * SIZE, last * SIZE, (last + 1) * SIZE);
    this.#places.set(moved, place);
    this.#places.delete(fd);
  }

  select(timeout: number): number {
    if (this.#closed) throw badRange('select', 'an open selector', this.name);
    const size = this.#places.size;
    const ready = check(poll(this.#pollfds, size, timeout), 'poll');
    const { buffer } = this.#pollfds;
    let count = 0;
    for (let place = 0; count < ready && place < size; place += 1) {
      const mask = buffer.readInt16LE(place * SIZE + REVENTS);
      if (mask === 0) continue;
      this.fds[count] = buffer.readInt32LE(place * SIZE);
      this.masks[count] = mask;
      count += 1;
    }
    return count;
  }

  /**
   * As `select`, but for any timeout, a fraction of a millisecond and Infinity included, and a signal does not
   * end the wait.
   */
  wait(timeout: number): number {
    const end = performance.now() + timeout;
    for (let left = timeout; ; left = Math.max(0, end - performance.now())) {
      const whole = left === Infinity ? -1 : Math.min(Math.ceil(left), LONGEST_WAIT);
      const count = this.select(whole);
      // The last look is one without a wait: a signal may have ended the wait before anything was looked at.
      if (count > 0 || left === 0) return count;
    }
  }

  close(): void {
    this.#closed = true;
  }

  #makeRoom(): void {
    const used = this.#places.size * SIZE;
    if (used < this.#pollfds.buffer.length) return;
    const larger = new Memory(this.#pollfds.buffer.length * 2);
    this.#pollfds.buffer.copy(larger.buffer);
    this.#pollfds = larger;
  }

  #write(place: number, fd: number, mask: number): void {
    this.#pollfds.buffer.writeInt32LE(fd, place * SIZE);
    this.#pollfds.buffer.writeInt16LE(mask, place * SIZE + EVENTS);
    this.#pollfds.buffer.writeInt16LE(0, place * SIZE + REVENTS);
  }
}
