// The channel map, fd -> channel: Python's `asyncore.socket_map`, and any dict given as `map`.
//
// A ChannelMap is a Map, and a program may treat it as one: size, get, set, delete, iteration in order
// of insertion. What the loop knows about its channels stands in the map's registry.
//
// The Map itself holds the numbers alone, and the channels are the registry's, so Map's own methods see no
// channels when they are called past this class. The reason: V8 renews the table of a Map
// as keys come and go. It leaves the old table as it was, with a pointer to the new one; and from one old
// table that only a full collection frees, a scavenge goes through all that followed. So a Map of channels
// kept most of the closed ones alive, with all that they refer to.

import { inspect } from 'node:util';
import { badInstance, badRange, badType } from '../errors';
import type { Channel } from './channel';
import { Registry } from './registry';

/** Stands in the Map for a channel. */
const NOT_HERE = undefined as unknown as Channel;

/**
 * The registry of a map. Package-private access: the class assigns this function in a static block, where
 * it can read the private field, so that the registry is in no public method or type. `sessionOf` of the
 * dispatcher works in the same way. @internal
 */
export let registryOf: (map: ChannelMap) => Registry;

/**
 * fd -> channel.
 *
 * @example
 * const map = new ChannelMap();
 * new EchoServer({ host: '127.0.0.1', port: 8007 }, map);
 * await loop({ map });
 */
export class ChannelMap extends Map<number, Channel> {
  readonly #registry = new Registry(this);
  /** What `inspect` shows, while it is at work. */
  #shown: object | null = null;

  static {
    registryOf = (map) => map.#registry;
  }

  /**
   * Holds `channels` at first, by default none.
   * @throws {RangeError|TypeError} as `set`
   */
  constructor(channels: Iterable<readonly [number, Channel]> = []) {
    // Not handed to Map's own constructor, which would call `set` before there are fields.
    super();
    for (const [fd, channel] of channels) this.set(fd, channel);
  }

  /**
   * Puts a channel in, in place of the channel that had the number.
   * @throws {RangeError} when `fd` is no descriptor
   * @throws {TypeError} when `channel` is no object
   */
  override set(fd: number, channel: Channel): this {
    if ((fd | 0) !== fd || fd < 0) throw badRange('add a channel', 'a descriptor', fd);
    if (typeof channel !== 'object' || channel === null) {
      throw badType('add a channel', 'an object with handlers', channel);
    }
    this.#registry.enter(fd, channel);
    return super.set(fd, NOT_HERE);
  }

  override get(fd: number): Channel | undefined {
    return typeof fd === 'number' ? this.#registry.entries[fd]?.channel : undefined;
  }

  /** Takes a channel out: none of its handlers is called any more. @returns whether there was one */
  override delete(fd: number): boolean {
    if (!this.#registry.leave(fd)) return false;
    super.delete(fd);
    if (this.size === 0) this.#registry.settle();
    return true;
  }

  override clear(): void {
    for (const fd of [...this.keys()]) this.delete(fd);
  }

  override *entries(): ReturnType<Map<number, Channel>['entries']> {
    const { entries } = this.#registry;
    for (const fd of this.keys()) yield [fd, entries[fd]?.channel as Channel];
  }

  override *values(): ReturnType<Map<number, Channel>['values']> {
    for (const [, channel] of this.entries()) yield channel;
  }

  /** As `entries`: `[fd, channel]` for each channel. */
  override [Symbol.iterator](): ReturnType<Map<number, Channel>['entries']> {
    return this.entries();
  }

  override forEach(
    callback: (channel: Channel, fd: number, map: Map<number, Channel>) => void,
    thisArg?: unknown,
  ): void {
    for (const [fd, channel] of this.entries()) callback.call(thisArg, channel, fd, this);
  }

  /**
   * As any Map is shown: by a copy that has the channels in it. Channels may refer to the map, so nested
   * calls get the same copy, in which `inspect` sees the circle. @internal
   */
  [inspect.custom](): object {
    if (this.#shown === null) {
      this.#shown = Object.setPrototypeOf(new Map(this), Object.getPrototypeOf(this)) as object;
      const entries = { value: Map.prototype.entries };
      Object.defineProperties(this.#shown, {
        ...Object.getOwnPropertyDescriptors(this),
        entries,
        [Symbol.iterator]: entries,
        [inspect.custom]: { value: undefined },
      });
      queueMicrotask(() => {
        this.#shown = null;
      });
    }
    return this.#shown;
  }

  /**
   * Asks the predicates of channel `fd` again, which may answer otherwise now. Wakes a waiting loop.
   * Dispatchers call it by themselves while their predicates are the library's own.
   */
  interestChanged(fd: number): void {
    this.#registry.interestChanged(fd);
  }
}

/** The default map. Python's `asyncore.socket_map`. */
export const socketMap = new ChannelMap();

/** @throws {TypeError} when `map` is no ChannelMap @internal */
export function checkMap(action: string, map: unknown): asserts map is ChannelMap {
  if (!(map instanceof ChannelMap)) {
    throw badInstance(action, 'a ChannelMap', map, 'interestChanged');
  }
}
