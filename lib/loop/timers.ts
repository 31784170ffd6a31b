// Deadlines, the earliest first: a binary heap. Imports nothing of ours.
//
// Idle timeouts and suspensions stand here. A tick looks at the earliest deadline and at no other, so
// that ten thousand channels with timeouts cost it nothing. Setting and clearing take O(log n). Traffic
// that puts a timeout off does not move its deadline at each byte: the deadline is set anew when it is
// reached.
//
// Times are milliseconds of performance.now(), which no change of the system's clock moves.

export class Deadline {
  /** When; Infinity while the deadline is not set. */
  at = Infinity;
  /** The deadline's place in the heap. @internal */
  index = -1;

  /** @param reached called once, when the time has come; it may set the deadline anew */
  constructor(readonly reached: (now: number) => void) {}
}

export class Timers {
  /** The earliest deadline, or Infinity. To be read only: a field, as every tick looks at it. */
  next = Infinity;
  /** When the kernel was asked last what is ready. Noted while a deadline is set. */
  lookedAt = -Infinity;
  /** Each is no later than the two behind it, at 2 i + 1 and 2 i + 2. */
  readonly #heap: Deadline[] = [];

  /** Sets a deadline, or moves it. */
  set(deadline: Deadline, at: number): void {
    deadline.at = at;
    if (deadline.index === -1) {
      deadline.index = this.#heap.length;
      this.#heap.push(deadline);
    }
    this.#settle(deadline);
    this.next = this.#at(0);
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
    this.next = this.#at(0);
  }

  /** Takes the earliest deadline away, if its time has come by `now`. */
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
