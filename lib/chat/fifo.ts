// First in, first out: what a chat has yet to send. Imports nothing of ours.

/** Told when a fifo becomes empty, or is no longer. */
export interface FifoWatcher {
  interestChanged(): void;
}

/**
 * A queue. Python's `asynchat.fifo`, and the deque that took its place in later versions.
 *
 * `push`, `pop` and their like take constant time; the array behind is compacted when half of it is
 * used up. Iterate over it to look at all that waits, the next one first.
 */
export class Fifo<Item> implements Iterable<Item> {
  /** The items are `#items[#head]` to the end; what stands before is used up. */
  #items: (Item | undefined)[];
  #head = 0;
  /** The channel whose interest depends on whether there is anything here. @internal */
  watcher: FifoWatcher | null = null;

  #byteLength = 0;

  /** @param list what is in it from the start, in order; copied */
  constructor(list: Iterable<Item> | null = null) {
    this.#items = [...(list ?? [])];
    for (const item of this) this.#byteLength += sizeOf(item);
  }

  /** How many items there are. Python's `len(fifo)`. */
  get length(): number {
    return this.#items.length - this.#head;
  }

  /** How many bytes the items are together; a producer counts as none. */
  get byteLength(): number {
    return this.#byteLength;
  }

  /** Python's `is_empty`. */
  isEmpty(): boolean {
    return this.#head === this.#items.length;
  }

  /** The item that is next. @throws {RangeError} when there is none */
  first(): Item {
    if (this.isEmpty()) {
      throw Object.assign(new RangeError('Cannot look at the first item of an empty fifo'), {
        code: 'ERR_OUT_OF_RANGE',
      });
    }
    return this.#items[this.#head] as Item;
  }

  /** The item that was pushed last, or undefined. */
  last(): Item | undefined {
    return this.isEmpty() ? undefined : this.#items[this.#items.length - 1];
  }

  /** Puts an item behind all others. */
  push(item: Item): void {
    this.#items.push(item);
    this.#byteLength += sizeOf(item);
    if (this.length === 1) this.watcher?.interestChanged();
  }

  /** Puts an item before all others. Python's `appendleft`. */
  pushFront(item: Item): void {
    this.#byteLength += sizeOf(item);
    if (this.#head > 0) {
      this.#head -= 1;
      this.#items[this.#head] = item;
    } else {
      this.#items.unshift(item);
    }
    if (this.length === 1) this.watcher?.interestChanged();
  }

  /** `[true, item]`, and the item is gone; or `[false, null]`. */
  pop(): [found: true, item: Item] | [found: false, item: null] {
    if (this.isEmpty()) return [false, null];
    const item = this.first();
    this.#byteLength -= sizeOf(item);
    this.#items[this.#head] = undefined;
    this.#head += 1;
    if (this.isEmpty()) {
      this.clear();
    } else if (this.#head >= 32 && this.#head * 2 >= this.#items.length) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
    return [true, item];
  }

  /** Takes all items out. */
  clear(): void {
    const hadItems = this.#items.length > 0;
    this.#items = [];
    this.#head = 0;
    this.#byteLength = 0;
    if (hadItems) this.watcher?.interestChanged();
  }

  *[Symbol.iterator](): Iterator<Item> {
    for (let index = this.#head; index < this.#items.length; index += 1) {
      yield this.#items[index] as Item;
    }
  }
}

function sizeOf(item: unknown): number {
  if (item instanceof Uint8Array) return item.length;
  return typeof item === 'string' ? Buffer.byteLength(item) : 0;
}
