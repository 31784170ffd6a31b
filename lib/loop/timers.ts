// Timers, the earliest first: a binary heap. Imports nothing of ours.
//
// A tick looks at the first and at no other, so that ten thousand channels with timeouts cost it
// nothing. Setting one and taking one away take O(log n); what traffic puts off is not moved at each
// byte but looked at again when its time comes (`Dispatcher.setIdleTimeout`).
//
// Times are milliseconds of performance.now(), which no change of the system's clock moves.

export class Deadline {
  /** When; Infinity while it is not set. */
  at = Infinity;
  /** Its place in the heap. @internal */
  index = -1;

  /** @param reached called once, when the time has come; it may set the deadline anew */
  constructor(readonly reached: (now: number) => void) {}
}

export class Timers {
  /** Each is no later than the two behind it, at 2 i + 1 and 2 i + 2. */
  readonly #heap: Deadline[] = [];

  /** The earliest, or Infinity. */
  get next(): number {
    return this.#heap[0]?.at ?? Infinity;
  }

  /** Sets a deadline, or moves it. */
  set(deadline: Deadline, at: number): void {
    deadline.at = at;
    if (deadline.index === -1) {
      deadline.index = this.#heap.length;
      this.#heap.push(deadline);
    }
    this.#settle(deadline);
  }

  /** Takes a deadline away. Silent when it is not set. */
  clear(deadline: Deadline): void {
    const { index } = deadline;
    if (index === -1) return;
    const last = this.#heap.pop() as Deadline;
    if (last !== deadline) {
      this.#put(last, index);
      this.#settle(last);
    }
    deadline.index = -1;
    deadline.at = Infinity;
  }

  /** Takes the earliest away, if its time has come by `now`. */
  takeDue(now: number): Deadline | null {
    const first = this.#heap[0];
    if (first === undefined || first.at > now) return null;
    this.clear(first);
    return first;
  }

  /** Moves a deadline to where it belongs: up, or down. */
  #settle(deadline: Deadline): void {
    let { index } = deadline;
    for (let above = (index - 1) >> 1; index > 0 && this.#at(above) > deadline.at; ) {
      this.#put(this.#heap[above] as Deadline, index);
      index = above;
      above = (index - 1) >> 1;
    }
    for (let below = this.#earlier(index); this.#at(below) < deadline.at; ) {
      this.#put(this.#heap[below] as Deadline, index);
      index = below;
      below = this.#earlier(index);
    }
    this.#put(deadline, index);
  }

  /** The earlier one of the two behind `index`. */
  #earlier(index: number): number {
    const left = 2 * index + 1;
    return this.#at(left + 1) < this.#at(left) ? left + 1 : left;
  }

  #at(index: number): number {
    return this.#heap[index]?.at ?? Infinity;
  }

  #put(deadline: Deadline, index: number): void {
    this.#heap[index] = deadline;
    deadline.index = index;
  }
}
