// V8's garbage collector, for tests of what can be collected.

import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** A function that runs a collection: a full one, unless it is told otherwise. */
export function garbageCollector(): (options?: { type: 'minor' }) => void {
  setFlagsFromString('--expose-gc');
  return runInNewContext('gc');
}
