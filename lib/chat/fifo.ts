// First in, first out: what a chat has yet to send. Imports nothing of ours.

import { Buffer } from 'node:buffer';

/** Told when a fifo becomes empty, and when it no longer is. */
export interface FifoWatcher {
  interestChanged(): void;
}

/** The item before the last one. @internal */
export const beforeLast = Symbol('beforeLast');

/** Stands for every empty list. Most fifos are empty most of the time. Never written to. */
const NOTHING: never[] = [];

/**
 * A queue. Python's `asynchat.fifo`, and the deque that took its place in later versions.
 *
 * `push`, `pop` and their like take constant time; the array behind is compacted when half of it is
 * used up. Iterate over it to look at all that waits, the next one first.
 */
export class Fifo<Item> implements Iterable<Item> {
  /** The items are `#items[#head]` to the end; what stands before is used up. */
  #items: (Item | undefined)[] = NOTHING;
  #head = 0;
  /** The bytes of all items, with strings in `#encoding`. */
  #byteLength = 0;
  #encoding: BufferEncoding = 'utf8';
  /** The chat whose interest depends on whether there is anything here. */
  #watcher: FifoWatcher | null = null;
  /** Other chats that share this fifo. */
  #others: readonly FifoWatcher[] = NOTHING;

  /** @param list the items that it begins with, in order; copied */
  constructor(list: Iterable<Item> | null = null) {
    if (list === null) return;
    for (const item of list) this.#append(item);
    for (const item of this) this.#byteLength += this.#sizeOf(item);
  }

  /** How many items there are. Python's `len(fifo)`. */
  get length(): number {
    return this.#items.length - this.#head;
  }

  /**
   * How many bytes the items are together. A string counts as UTF-8. A producer counts as none, because
   * its length is unknown until it is exhausted.
   */
  get byteLength(): number {
    return this.byteLengthAs('utf8');
  }

  /** As `byteLength`, with strings in another encoding. Counts anew when that has changed. */
  byteLengthAs(encoding: BufferEncoding): number {
    if (encoding !== this.#encoding) {
      this.#encoding = encoding;
      this.#byteLength = 0;
      for (const item of this) this.#byteLength += this.#sizeOf(item);
    }
    return this.#byteLength;
  }

  #sizeOf(item: Item): number {
    if (item instanceof Uint8Array) return item.length;
    return typeof item === 'string' ? Buffer.byteLength(item, this.#encoding) : 0;
  }

  /** A chat begins to send from this fifo. Several may share one. @internal */
  watch(watcher: FifoWatcher): void {
    if (this.#watcher === null) this.#watcher = watcher;
    else this.#others = [...this.#others, watcher];
  }

  /** @internal */
  unwatch(watcher: FifoWatcher): void {
    this.#others = this.#others.filter((other) => other !== watcher);
    if (this.#watcher === watcher) this.#watcher = null;
  }

  #tell(): void {
    this.#watcher?.interestChanged();
    for (const watcher of this.#others) watcher.interestChanged();
  }

  /** Python's `is_empty`. */
  isEmpty(): boolean {
    return this.#head === this.#items.length;
  }

  /** The item that is next. @throws {RangeError} when there is none */
  first(): Item {
    if (this.isEmpty()) throw emptyFifo('first');
    return this.#items[this.#head] as Item;
  }

  /** The item that was pushed last. @throws {RangeError} when there is none */
  last(): Item {
    if (this.isEmpty()) throw emptyFifo('last');
    return this.#items[this.#items.length - 1] as Item;
  }

  /** Undefined: there is none. @internal */
  [beforeLast](): Item | undefined {
    return this.length < 2 ? undefined : this.#items[this.#items.length - 2];
  }

  #append(item: Item): void {
    if (this.#items === NOTHING) this.#items = [item];
    else this.#items.push(item);
  }

  /** Puts an item behind all others. */
  push(item: Item): void {
    this.#append(item);
    this.#byteLength += this.#sizeOf(item);
    if (this.length === 1) this.#tell();
  }

  /** Puts an item before all others. Python's `appendleft`. */
  pushFront(item: Item): void {
    this.#byteLength += this.#sizeOf(item);
    if (this.#head > 0) {
      this.#head -= 1;
      this.#items[this.#head] = item;
    } else {
      if (this.#items === NOTHING) this.#items = [item];
      else this.#items.unshift(item);
    }
    if (this.length === 1) this.#tell();
  }

  /** `[true, item]`, and the item is gone; or `[false, null]`. */
  pop(): [found: true, item: Item] | [found: false, item: null] {
    if (this.isEmpty()) return [false, null];
    const item = this.first();
    this.#byteLength -= this.#sizeOf(item);
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
    this.#items = NOTHING;
    this.#head = 0;
    this.#byteLength = 0;
    if (hadItems) this.#tell();
  }

  /** The items, oldest first. They stay in the fifo. */
  *[Symbol.iterator](): Iterator<Item> {
    for (let index = this.#head; index < this.#items.length; index += 1) {
      yield this.#items[index] as Item;
    }
  }
}

function emptyFifo(method: string): RangeError {
  return Object.assign(new RangeError(`Cannot ${method}: the fifo is empty`), {
    code: 'ERR_OUT_OF_RANGE',
  });
}
