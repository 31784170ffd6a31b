// Which channels can be trusted to tell of their changes.
//
// A dispatcher is asked for its interest only when something has changed (channel-map.ts), as long
// as the library's own code decides about it: its predicates, and the attributes that these look at.
// A program may replace any of them, in all the ways JavaScript has, and must not be able to tell
// that anything is being skipped:
//
//   a method or accessor in a subclass       found by looking along the prototypes, once per class
//   a class field or own property            an attribute's value is moved into its accessor, from
//     `connected = true`                     where changes are seen; a predicate's is respected
//   an assignment, `chat.readable = () => …` goes through a setter here, at any time

const names = new Set<string>();
const own = new WeakSet<object>();
/** By prototype. */
const verdicts = new WeakMap<object, boolean>();
const epoch = 0;

/** Changes when a class was changed, and its channels in any map must be looked at again. */
export function trackingEpoch(): number {
  return epoch;
}

type Method = (...args: never[]) => unknown;

/** Called on a channel whose predicate was replaced, so that it is looked at again. */
export const predicateReplaced = Symbol('predicateReplaced');

/** Declares accessors of `prototype` to be attributes that the predicates of its class look at. */
export function declareState(prototype: object, ...attributes: string[]): void {
  for (const name of attributes) {
    names.add(name);
    own.add(Object.getOwnPropertyDescriptor(prototype, name)?.get as object);
  }
}

/** Declares methods of `prototype` to be its predicates, and sees to it that replacing is seen. */
export function declarePredicates(prototype: object, ...predicates: string[]): void {
  for (const name of predicates) {
    names.add(name);
    own.add(Object.getOwnPropertyDescriptor(prototype, name)?.value as Method);
  }
}

/** Whether all that decides about the interest of `channel` is the library's own code. */
export function tellsOfChanges(channel: object): boolean {
  return isTrackedClass(Object.getPrototypeOf(channel)) && takeFieldsIn(channel);
}

function isTrackedClass(prototype: object): boolean {
  const known = verdicts.get(prototype);
  if (known !== undefined) return known;
  let verdict = true;
  for (const name of names) {
    const found = findProperty(prototype, name);
    if (found !== undefined && !own.has((found.get ?? found.value) as object)) verdict = false;
  }
  verdicts.set(prototype, verdict);
  return verdict;
}

function findProperty(start: object, name: string): PropertyDescriptor | undefined {
  for (let object: object | null = start; object; object = Object.getPrototypeOf(object)) {
    const found = Object.getOwnPropertyDescriptor(object, name);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** Own properties hide the accessors below. @returns false when one of them is to stay */
function takeFieldsIn(channel: object): boolean {
  for (const name of names) {
    const field = Object.getOwnPropertyDescriptor(channel, name);
    if (field === undefined) continue;
    if (own.has(field.value as object)) {
      // What would be found without it: the setter below is to see the next assignment, too.
      if (inherited(channel, name) !== field.value || !Reflect.deleteProperty(channel, name)) {
        return false;
      }
      continue;
    }
    const movable = field.configurable && 'value' in field && typeof field.value !== 'function';
    if (!movable || !Reflect.deleteProperty(channel, name)) return false;
    const attributes = channel as Record<string, unknown>;
    attributes[name] = joined(field.value, attributes[name]);
  }
  return true;
}

function inherited(channel: object, name: string): unknown {
  return Reflect.get(Object.getPrototypeOf(channel), name);
}

/**
 * A field hides its accessor from the class's own constructor on, and what the library has put
 * behind the accessor since, output for one, comes after what the field held at first.
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
