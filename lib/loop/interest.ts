// May a channel be skipped?
//
// Asking ten thousand idle channels two questions a tick is what made asyncore slow. The loop skips a
// channel that calls interestChanged() at every change of interest, and asks the channel again after it
// calls interestChanged(). The library's own channels make these calls while only the library's code
// decides about their interest:
//
// - `readable` and `writable` are methods that the library has declared. An override, inherited or the
//   channel's own, is the program's, and is asked at every tick.
// - What these methods look at are accessors that the library has declared, which see every change. A
//   class field of the same name, `connected = true`, hides its accessor; its value is moved behind it.
//
// The loop compares the predicates when a channel enters the map, after each of its events, and when it
// calls interestChanged(). So a predicate that is assigned at any other time takes effect with the next
// interestChanged(). Accessors are looked for once in a class, when its first channel enters: an accessor
// that replaces a predicate, or state, in a prototype later is not noticed.

const predicateNames = new Set<string>();
const ownPredicates = new WeakSet<object>();
const stateNames = new Set<string>();
const ownAccessors = new WeakSet<object>();
/** By prototype, see `isPlain`. */
const verdicts = new WeakMap<object, boolean>();

/** Declares accessors of `prototype` that the library's predicates look at. */
export function declareState(prototype: object, ...names: string[]): void {
  for (const name of names) {
    stateNames.add(name);
    ownAccessors.add(Object.getOwnPropertyDescriptor(prototype, name)?.get as object);
  }
}

/** Declares methods of `prototype` to be predicates for whose changes the library calls interestChanged(). */
export function declarePredicates(prototype: object, ...names: string[]): void {
  for (const name of names) {
    predicateNames.add(name);
    ownPredicates.add(Object.getOwnPropertyDescriptor(prototype, name)?.value as object);
  }
}

/** Whether all that decides about the interest of `channel` is the library's own code. */
export function tellsOfChanges(channel: object): boolean {
  if (!isPlain(Object.getPrototypeOf(channel))) return false;
  for (const name of predicateNames) {
    if (Object.hasOwn(channel, name) && isAccessor(channel, name)) return false;
    if (!ownPredicates.has((channel as Record<string, object>)[name] as object)) return false;
  }
  return takeFieldsIn(channel);
}

/**
 * Whether no predicate is an accessor, and all state is behind the library's own ones. Looked up once for
 * each prototype, as every channel is asked when it enters a map.
 */
function isPlain(prototype: object): boolean {
  const known = verdicts.get(prototype);
  if (known !== undefined) return known;
  const verdict = hasOwnState(prototype) && !hasPredicateAccessor(prototype);
  verdicts.set(prototype, verdict);
  return verdict;
}

function hasPredicateAccessor(prototype: object): boolean {
  for (const name of predicateNames) {
    for (let object: object | null = prototype; object; object = Object.getPrototypeOf(object)) {
      if (!Object.hasOwn(object, name)) continue;
      if (isAccessor(object, name)) return true;
      break;
    }
  }
  return false;
}

const isAccessor = (object: object, name: string): boolean =>
  !('value' in (Object.getOwnPropertyDescriptor(object, name) as PropertyDescriptor));

function hasOwnState(prototype: object): boolean {
  const missing = new Set(stateNames);
  for (let object: object | null = prototype; object; object = Object.getPrototypeOf(object)) {
    for (const name of missing) {
      const found = Object.getOwnPropertyDescriptor(object, name);
      if (found === undefined) continue;
      missing.delete(name);
      if (!ownAccessors.has((found.get ?? found.value) as object)) return false;
    }
  }
  return true;
}

/** Moves own properties behind the accessors that they hide. @returns false when one has to stay */
function takeFieldsIn(channel: object): boolean {
  for (const name of stateNames) {
    if (!Object.hasOwn(channel, name)) continue;
    const field = Object.getOwnPropertyDescriptor(channel, name) as PropertyDescriptor;
    const movable = field.configurable && 'value' in field && typeof field.value !== 'function';
    if (!movable || !Reflect.deleteProperty(channel, name)) return false;
    const state = channel as Record<string, unknown>;
    state[name] = joined(field.value, state[name]);
  }
  return true;
}

/**
 * A field hides its accessor from the class's own constructor on. What the library has put behind the
 * accessor since then (output, for one) comes after what the field held at first.
 */
function joined(field: unknown, hidden: unknown): unknown {
  if (field instanceof Uint8Array && hidden instanceof Uint8Array) {
    return Buffer.concat([field, hidden]);
  }
  if (isQueue(field) && isQueue(hidden)) for (const item of hidden) field.push(item);
  return field;
}

function isQueue(value: unknown): value is Iterable<unknown> & { push(item: unknown): void } {
  const queue = value as { push?: unknown; [Symbol.iterator]?: unknown } | null;
  return typeof queue?.push === 'function' && typeof queue[Symbol.iterator] === 'function';
}
