// epoll(7), level-triggered. Waiting costs what is ready, not what is registered.

import { isMainThread } from 'node:worker_threads';
import { Descriptor } from '../descriptor';
import {
  EPOLL_CLOEXEC,
  EPOLL_CTL_ADD,
  EPOLL_CTL_DEL,
  EPOLL_CTL_MOD,
  ERRNO,
  LAYOUT,
} from '../platform/linux';
import { check, epollCreate, epollCtl, epollWait, Memory, Watch } from '../syscalls';
import { Lookout } from './interval';
import type { Selector } from './selector';

const SIZE = LAYOUT.epollEvent.size;
const DATA = LAYOUT.epollEvent.data;
const FIRST_ROOM = 64;

function openEpoll(): Descriptor {
  return new Descriptor(check(epollCreate(EPOLL_CLOEXEC), 'epoll_create1'), null);
}

export class EpollSelector implements Selector {
  readonly name = 'epoll';
  #epoll = openEpoll();
  readonly #event = new Memory(SIZE);
  /** What the kernel wrote; always room for every registered descriptor, see `select`. */
  #events = new Memory(FIRST_ROOM * SIZE);
  /** fd -> mask. */
  readonly #registered = new Map<number, number>();
  /**
   * fd -> the serial of its registration, which the kernel gives back with each event: a number that was
   * closed behind our back may be another's by now, while a duplicate of it is still reported.
   */
  readonly #serials: number[] = [];
  #lastSerial = 0;
  /** What `watch` has opened, and for whom. */
  #watching: { watch: { close(): void }; wake: () => void } | null = null;
  readonly fds: number[] = [];
  readonly masks: number[] = [];

  get fd(): number {
    return this.#epoll.fd;
  }

  register(fd: number, mask: number): boolean {
    const result = this.#control(EPOLL_CTL_ADD, fd, mask);
    if (result === -ERRNO.EPERM) return false;
    // The kernel still knows this open file under this number: take its registration over.
    if (result === -ERRNO.EEXIST) check(this.#control(EPOLL_CTL_MOD, fd, mask), 'epoll_ctl');
    else check(result, 'epoll_ctl');
    this.#registered.set(fd, mask);
    return true;
  }

  modify(fd: number, mask: number): void {
    const result = this.#control(EPOLL_CTL_MOD, fd, mask);
    // Closed and opened again behind our back, the number has lost its registration.
    if (result === -ERRNO.ENOENT) check(this.#control(EPOLL_CTL_ADD, fd, mask), 'epoll_ctl');
    else check(result, 'epoll_ctl');
    this.#registered.set(fd, mask);
  }

  unregister(fd: number): void {
    if (this.#registered.delete(fd)) this.#control(EPOLL_CTL_DEL, fd, 0);
  }

  select(timeout: number): number {
    // Order is restored by the caller, who must see everything that is ready for that.
    while (this.#registered.size * SIZE > this.#events.buffer.length) {
      this.#events = new Memory(this.#events.buffer.length * 2);
    }
    const { buffer } = this.#events;
    const count = check(epollWait(this.#epoll.fd, this.#events, timeout), 'epoll_wait');
    for (let index = 0; index < count; index += 1) {
      const fd = buffer.readInt32LE(index * SIZE + DATA);
      // The kernel keeps 8 bytes of ours: the descriptor, and the serial.
      const serial = buffer.readInt32LE(index * SIZE + DATA + 4);
      this.fds[index] = serial === this.#serials[fd] ? fd : -1;
      this.masks[index] = buffer.readInt32LE(index * SIZE);
    }
    return count;
  }

  readyFd(index: number): number {
    return this.fds[index] as number;
  }

  readyMask(index: number): number {
    return this.masks[index] as number;
  }

  readonly alwaysReady = false;

  watch(wake: () => void): { close(): void } {
    this.#watching = { watch: this.#open(wake), wake };
    return {
      close: () => {
        this.#watching?.watch.close();
        this.#watching = null;
      },
    };
  }

  /** An epoll descriptor is itself readable when something in it is ready: one watch for all. */
  #open(wake: () => void): { close(): void } {
    if (!isMainThread) return new Lookout(() => this.select(0) > 0, wake);
    return new Watch(this.#epoll.fd, { readable: true, writable: false }, wake);
  }

  rebuild(): void {
    let epoll: Descriptor;
    try {
      epoll = openEpoll();
    } catch {
      // No descriptor is left: it is reported again, and tried again.
      return;
    }
    this.#watching?.watch.close();
    this.#epoll.close();
    this.#epoll = epoll;
    // One that is closed by now is found by the map.
    for (const [fd, mask] of this.#registered) this.#control(EPOLL_CTL_ADD, fd, mask);
    if (this.#watching !== null) this.#watching.watch = this.#open(this.#watching.wake);
  }

  close(): void {
    this.#epoll.close();
  }

  #control(op: number, fd: number, mask: number): number {
    this.#event.buffer.writeInt32LE(mask, 0);
    this.#event.buffer.writeInt32LE(fd, DATA);
    if (op === EPOLL_CTL_ADD) {
      this.#lastSerial = (this.#lastSerial + 1) | 0;
      this.#serials[fd] = this.#lastSerial;
    }
    this.#event.buffer.writeInt32LE(this.#serials[fd] ?? 0, DATA + 4);
    return epollCtl(this.#epoll.fd, op, fd, this.#event);
  }
}
