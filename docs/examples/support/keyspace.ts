// The data of a Redis: keys and their values, which are strings, lists, sets, hashes or sorted sets. A key
// may expire. Operations that cost more than in Redis say so.

import { ReplyError } from './resp';

/** How many keys one sweep examines. */
const SWEEP_SIZE = 1000;

/** Items by index, which may be negative. Both ends cost the same. */
export class List {
  readonly #items = new Map<number, string>();
  #first = 0;

  get size(): number {
    return this.#items.size;
  }

  pushLeft(item: string): void {
    this.#first -= 1;
    this.#items.set(this.#first, item);
  }

  pushRight(item: string): void {
    this.#items.set(this.#first + this.size, item);
  }

  popLeft(): string | null {
    this.#first += 1;
    return this.#take(this.#first - 1);
  }

  popRight(): string | null {
    return this.#take(this.#first + this.size - 1);
  }

  #take(place: number): string | null {
    const item = this.#items.get(place) ?? null;
    this.#items.delete(place);
    return item;
  }

  /** The items from `start` to `stop`, both included. Indices count from 0, or from the end if negative. */
  range(start: number, stop: number): string[] {
    const [first, last] = this.#bounds(start, stop);
    const items: string[] = [];
    for (let at = first; at <= last; at += 1) {
      items.push(this.#items.get(this.#first + at) as string);
    }
    return items;
  }

  /** Drops the items outside this range. */
  trim(start: number, stop: number): void {
    const [first, last] = this.#bounds(start, stop);
    const kept = Math.max(last - first + 1, 0);
    for (let left = first; left > 0 && this.size > kept; left -= 1) this.popLeft();
    while (this.size > kept) this.popRight();
  }

  #bounds(start: number, stop: number): [first: number, last: number] {
    const first = Math.max(start < 0 ? this.size + start : start, 0);
    return [first, Math.min(stop < 0 ? this.size + stop : stop, this.size - 1)];
  }
}

/** A set from which a random member can be drawn. */
export class MemberSet {
  readonly #members = new Set<string>();
  readonly #inALine: string[] = [];

  get size(): number {
    return this.#members.size;
  }

  /** @returns whether the member is new */
  add(member: string): boolean {
    if (this.#members.has(member)) return false;
    this.#members.add(member);
    this.#inALine.push(member);
    return true;
  }

  draw(): string | null {
    const last = this.#inALine.pop();
    if (last === undefined) return null;
    const at = Math.floor(Math.random() * this.size);
    // The last member takes the place of the drawn member, which may be the last itself.
    const drawn = this.#inALine[at] ?? last;
    if (drawn !== last) this.#inALine[at] = last;
    this.#members.delete(drawn);
    return drawn;
  }
}

/** Values by field. */
export class Hash extends Map<string, string> {}

/**
 * Members by score, and among equal scores by name. Adding a member moves all members behind it: O(n),
 * about 0.1 ms among 100,000, and a few times that to change a score. Redis has a skip list, O(log n).
 */
export class SortedSet {
  readonly #scores = new Map<string, number>();
  /** In descending order: the least is last, where it is cheap to remove. */
  readonly #inOrder: string[] = [];

  get size(): number {
    return this.#scores.size;
  }

  /** @returns whether the member is new */
  add(member: string, score: number): boolean {
    const before = this.#scores.get(member);
    if (before === score) return false;
    if (before !== undefined) this.#inOrder.splice(this.#place(member, before), 1);
    this.#inOrder.splice(this.#place(member, score), 0, member);
    this.#scores.set(member, score);
    return before === undefined;
  }

  popLeast(): { member: string; score: number } | null {
    const member = this.#inOrder.pop();
    if (member === undefined) return null;
    const score = this.#scores.get(member) as number;
    this.#scores.delete(member);
    return { member, score };
  }

  /** The index of the member, or where to insert it. */
  #place(member: string, score: number): number {
    let low = 0;
    let high = this.#inOrder.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const other = this.#inOrder[middle] as string;
      const its = this.#scores.get(other) as number;
      if (its > score || (its === score && other > member)) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

type Value = string | List | MemberSet | Hash | SortedSet;

/** Keys and their values. An expired key is invisible at once, and removed by a later sweep. */
export class Database {
  readonly #values = new Map<string, Value>();
  /** When keys expire, by performance.now(), which is immune to changes of the clock. */
  readonly #expiries = new Map<string, number>();
  #unswept = this.#expiries.entries();

  get size(): number {
    return this.#values.size;
  }

  get expiring(): number {
    return this.#expiries.size;
  }

  get(key: string): Value | undefined {
    if (this.timeToLive(key) <= 0) this.delete(key);
    return this.#values.get(key);
  }

  has(key: string): boolean {
    return this.get(key) !== undefined;
  }

  getString(key: string): string | null {
    const value = this.get(key) ?? null;
    if (value === null || typeof value === 'string') return value;
    throw wrongType();
  }

  /** The value of a key, which must be of this kind; null: no such key. */
  find<Kind extends object>(key: string, kind: new () => Kind): Kind | null {
    const value = this.get(key);
    if (value === undefined) return null;
    if (value instanceof kind) return value;
    throw wrongType();
  }

  /** The same, but a missing key gets an empty value. */
  open<Kind extends Value & object>(key: string, kind: new () => Kind): Kind {
    const found = this.find(key, kind);
    if (found !== null) return found;
    const made = new kind();
    this.#values.set(key, made);
    return made;
  }

  /** Removes something from the value of a key, and the key if nothing is left. */
  take<Kind extends Value & { size: number }, Item>(
    key: string,
    kind: new () => Kind,
    from: (value: Kind) => Item,
  ): Item | null {
    const value = this.find(key, kind);
    if (value === null) return null;
    const item = from(value);
    if (value.size === 0) this.delete(key);
    return item;
  }

  /** Sets a value without an expiry. */
  set(key: string, value: string): void {
    this.#expiries.delete(key);
    this.#values.set(key, value);
  }

  /** Sets a value, and keeps the expiry. */
  update(key: string, value: string): void {
    this.#values.set(key, value);
  }

  /** @returns whether the key existed */
  delete(key: string): boolean {
    this.#expiries.delete(key);
    return this.#values.delete(key);
  }

  /** In ms from now. */
  expire(key: string, delay: number): void {
    if (delay > 0) this.#expiries.set(key, performance.now() + delay);
    else this.delete(key);
  }

  /** In ms; Infinity: no expiry, or no such key. */
  timeToLive(key: string): number {
    const expiry = this.#expiries.get(key);
    return expiry === undefined ? Infinity : expiry - performance.now();
  }

  clear(): void {
    this.#values.clear();
    this.#expiries.clear();
  }

  /** Examines some keys, from where the last sweep stopped. A Map's iterator follows changes. */
  sweep(): void {
    const now = performance.now();
    for (let looked = 0; looked < SWEEP_SIZE; looked += 1) {
      const { value: next, done } = this.#unswept.next();
      if (done === true) {
        this.#unswept = this.#expiries.entries();
        return;
      }
      const [key, expiry] = next;
      if (expiry <= now) this.delete(key);
    }
  }
}

function wrongType(): ReplyError {
  return new ReplyError('WRONGTYPE Operation against a key holding the wrong kind of value');
}
