// What a test has opened, and no channel closes, is closed after the test; so is the default map.

import { closeSync } from 'node:fs';
import { ChannelMap, type ChannelMapOptions, closeAll, ManualClock, socketMap } from 'asyncore';

interface Closable {
  close(): void;
}

const maps: ChannelMap[] = [];
const opened: Closable[] = [];
const descriptors: number[] = [];

/** Closes `closable` after the test. */
export function keep<Kept extends Closable>(closable: Kept): Kept {
  opened.push(closable);
  return closable;
}

/** Closes all of them after the test, in this order. */
export function keepAll(...closables: Closable[]): void {
  opened.push(...closables);
}

/** Closes a descriptor after the test. */
export function keepFd(fd: number): number {
  descriptors.push(fd);
  return fd;
}

/** Closes a kept descriptor before the test is over. */
export function closeKept(fd: number): void {
  descriptors.splice(descriptors.indexOf(fd), 1);
  closeSync(fd);
}

/** A map whose channels are closed after the test. */
export function newMap(options?: ChannelMapOptions): ChannelMap {
  const map = new ChannelMap([], options);
  maps.push(map);
  return map;
}

/**
 * A map in which no time passes until the test moves its clock on. Its channels are closed after the test.
 * @param start the time at first, in ms
 */
export function stillMap(start = 1000): { map: ChannelMap; clock: ManualClock } {
  const clock = new ManualClock(start);
  return { map: newMap({ clock }), clock };
}

/** Keeps none of the maps any more: a test wants to see them collected. */
export function forgetMaps(): void {
  maps.length = 0;
}

afterEach(() => {
  jest.restoreAllMocks();
  closeAll(socketMap, true);
  for (const map of maps.splice(0)) {
    closeAll(map, true);
    // A channel of the test's own may stay in its map when it is closed.
    map.clear();
  }
  for (const closable of opened.splice(0)) closable.close();
  for (const fd of descriptors.splice(0)) closeSync(fd);
});
