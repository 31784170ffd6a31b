// epoll(7), level-triggered. Waiting costs what is ready, not what is registered.

import { Descriptor } from '../descriptor';
import { Memory } from '../koffi';
import {
  EPOLL_CLOEXEC,
  EPOLL_CTL_ADD,
  EPOLL_CTL_DEL,
  EPOLL_CTL_MOD,
  ERRNO,
  LAYOUT,
} from '../platform/linux';
import { check, epollCreate, epollCtl, epollWait, failure } from '../syscalls';
import type { Selector } from './selector';

const SIZE = LAYOUT.epollEvent.size;
// struct epoll_event in 32-bit words: the mask, and 8 bytes of ours, here the descriptor and its serial.
const WORDS = SIZE / 4;
const FD = LAYOUT.epollEvent.data / 4;
const SERIAL = FD + 1;
const FIRST_ROOM = 64;

function wordsOf({ buffer }: Memory): Int32Array {
  return new Int32Array(buffer.buffer, buffer.byteOffset, buffer.length / 4);
}

export class EpollSelector implements Selector {
  readonly name = 'epoll';
  readonly fds: number[] = [];
  readonly masks: number[] = [];
  readonly #epoll = new Descriptor(check(epollCreate(EPOLL_CLOEXEC), 'epoll_create1'), null);
  readonly #event = new Memory(SIZE);
  readonly #eventWords = wordsOf(this.#event);
  /** What the kernel writes; always room for every registered descriptor, see `select`. */
  #events = new Memory(FIRST_ROOM * SIZE);
  #words = wordsOf(this.#events);
  #room = FIRST_ROOM;
  /**
   * fd -> the serial of its registration, which the kernel returns with each event: a number that was
   * closed without `unregister` may be another file's by now, while a duplicate is still reported.
   * 0: not registered.
   */
  readonly #serials: number[] = [];
  #lastSerial = 0;
  /** How many numbers are registered. */
  #registered = 0;

  get fd(): number {
    return this.#epoll.fd;
  }

  register(fd: number, mask: number): boolean {
    if (!this.#serials[fd]) this.#registered += 1;
    this.#lastSerial = (this.#lastSerial + 1) | 0 || 1;
    this.#serials[fd] = this.#lastSerial;
    let result = this.#control(EPOLL_CTL_ADD, fd, mask);
    // The kernel still knows this open file under this number: take its registration over.
    if (result === -ERRNO.EEXIST) result = this.#control(EPOLL_CTL_MOD, fd, mask);
    if (result >= 0) return true;
    this.#serials[fd] = 0;
    this.#registered -= 1;
    if (result === -ERRNO.EPERM) return false;
    throw failure(result, 'epoll_ctl');
  }

  modify(fd: number, mask: number): void {
    const result = this.#control(EPOLL_CTL_MOD, fd, mask);
    // Closed and opened again without `unregister`: the number has lost its registration.
    if (result !== -ERRNO.ENOENT) check(result, 'epoll_ctl');
    else if (!this.register(fd, mask)) throw failure(-ERRNO.EPERM, 'epoll_ctl');
  }

  unregister(fd: number): void {
    if (!this.#serials[fd]) return;
    this.#serials[fd] = 0;
    this.#registered -= 1;
    this.#control(EPOLL_CTL_DEL, fd, 0);
  }

  select(timeout: number): number {
    // The caller restores map order, so it must see everything that is ready at once.
    while (this.#registered > this.#room) this.#makeRoom();
    const reported = epollWait(this.#epoll.fd, this.#events, timeout);
    if (reported < 0) throw failure(reported, 'epoll_wait');
    const words = this.#words;
    let count = 0;
    for (let index = 0; index < reported; index += 1) {
      const at = index * WORDS;
      const fd = words[at + FD] as number;
      if (words[at + SERIAL] !== this.#serials[fd]) continue;
      this.fds[count] = fd;
      this.masks[count] = words[at] as number;
      count += 1;
    }
    return count;
  }

  close(): void {
    this.#epoll.close();
  }

  #makeRoom(): void {
    this.#room *= 2;
    this.#events = new Memory(this.#room * SIZE);
    this.#words = wordsOf(this.#events);
  }

  #control(op: number, fd: number, mask: number): number {
    const words = this.#eventWords;
    words[0] = mask;
    words[FD] = fd;
    words[SERIAL] = this.#serials[fd] ?? 0;
    return epollCtl(this.#epoll.fd, op, fd, this.#event);
  }
}
