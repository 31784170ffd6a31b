// The data of a Redis: keys and their values, which are strings, lists, sets, hashes or sorted sets. A key
// may expire.

import { ReplyError } from './resp';

/** How many keys one sweep examines. */
const SWEEP_SIZE = 1000;
/** How many members of a sorted set stand in one bucket. */
const LARGEST_BUCKET = 256;

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

interface Scored {
  readonly member: string;
  readonly score: number;
}

/** Where a member stands in a SortedSet: the bucket, and the place in it. */
type Place = [bucket: number, at: number];

/**
 * Members by score, and among equal scores by name. The members stand in buckets, so that adding one moves
 * no more than a bucket and the list of the buckets.
 */
export class SortedSet {
  readonly #byMember = new Map<string, Scored>();
  /** In descending order: the least is last, where it is cheap to remove. No bucket is empty. */
  readonly #buckets: Scored[][] = [];

  get size(): number {
    return this.#byMember.size;
  }

  /** @returns whether the member is new */
  add(member: string, score: number): boolean {
    const before = this.#byMember.get(member);
    if (before?.score === score) return false;
    if (before !== undefined) this.#remove(this.#place(before));
    const added = { member, score };
    this.#insert(added, this.#place(added));
    this.#byMember.set(member, added);
    return before === undefined;
  }

  popLeast(): Scored | null {
    const bucket = this.#buckets.at(-1);
    const least = bucket?.at(-1);
    if (bucket === undefined || least === undefined) return null;
    this.#remove([this.#buckets.length - 1, bucket.length - 1]);
    this.#byMember.delete(least.member);
    return least;
  }

  #insert(added: Scored, [index, at]: Place): void {
    const bucket = this.#buckets[index];
    if (bucket === undefined) {
      this.#buckets.push([added]);
      return;
    }
    bucket.splice(at, 0, added);
    if (bucket.length > LARGEST_BUCKET) {
      this.#buckets.splice(index + 1, 0, bucket.splice(bucket.length / 2));
    }
  }

  #remove([index, at]: Place): void {
    const bucket = this.#buckets[index] as Scored[];
    bucket.splice(at, 1);
    if (bucket.length === 0) this.#buckets.splice(index, 1);
  }

  /** Where the member stands, or where to insert it. */
  #place(sought: Scored): Place {
    // The last bucket that begins with the member or before it; else the first.
    const behind = firstWhere(this.#buckets, ([first]) => isBehind(first as Scored, sought));
    const index = Math.max(behind - 1, 0);
    const at = firstWhere(this.#buckets[index] ?? [], (one) => !isBehind(sought, one));
    return [index, at];
  }
}

/** Whether `one` comes after `other` in descending order. */
function isBehind(one: Scored, other: Scored): boolean {
  if (one.score !== other.score) return one.score < other.score;
  return one.member < other.member;
}

/** The first index whose item passes, if all items after it pass too; the length: no item passes. */
function firstWhere<Item>(items: readonly Item[], passes: (item: Item) => boolean): number {
  let low = 0;
  let high = items.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (passes(items[middle] as Item)) high = middle;
    else low = middle + 1;
  }
  return low;
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

  /**
   * Examines some keys, from where the last sweep stopped. A Map's iterator follows changes.
   * @returns whether more than a quarter of the keys had expired, so that the next sweep should not wait
   */
  sweep(): boolean {
    const now = performance.now();
    let looked = 0;
    let removed = 0;
    for (; looked < SWEEP_SIZE; looked += 1) {
      const { value: next, done } = this.#unswept.next();
      if (done === true) {
        this.#unswept = this.#expiries.entries();
        break;
      }
      const [key, expiry] = next;
      if (expiry <= now && this.delete(key)) removed += 1;
    }
    return removed > looked / 4;
  }
}

function wrongType(): ReplyError {
  return new ReplyError('WRONGTYPE Operation against a key holding the wrong kind of value');
}
