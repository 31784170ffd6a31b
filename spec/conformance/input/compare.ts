// Holds what CPython did against what happened here.
//
// The two must be equal, piece by piece, but for the rows of docs/differences.md; what a row may
// change is what the model changes at the one line which that row is about (model.ts), and from
// there on everything must follow. A row counts as used by a script when the traces differ and would
// not be explained without it.

import { ALL_ROWS, model, NO_ROWS, type Row } from './model';
import { merged, type Result, type Script, sameResult } from './script';

export interface Difference {
  /** `model`: CPython does not do what model.ts says of it. `recut`: see `recutOf`. */
  what: 'trace' | 'model' | 'recut';
  script: Script;
  cpython: Result;
  here: Result;
  /** What is expected here, by CPython's trace and the rows. */
  expected: Result;
}

export interface Verdict {
  difference: Difference | null;
  /** The rows that were needed. */
  rows: Row[];
}

export function compare(script: Script, cpython: Result, here: Result): Verdict {
  const plain = model(script, NO_ROWS);
  if (!sameResult(plain.result, cpython)) {
    const difference: Difference = { what: 'model', script, cpython, here, expected: plain.result };
    return { difference, rows: [] };
  }
  // What a row fixes must come out fixed: to do what CPython does is a difference, too.
  const fixed = model(script, ALL_ROWS);
  if (!sameResult(here, fixed.result)) {
    const difference: Difference = {
      what: 'trace',
      script,
      cpython,
      here,
      expected: fixed.result,
    };
    return { difference, rows: [] };
  }
  if (sameResult(here, cpython)) return { difference: null, rows: [] };
  return { difference: null, rows: rowsNeeded(script, fixed.result, fixed.met) };
}

/** Those without which it would come out differently; all that were met, when two do the same. */
function rowsNeeded(script: Script, expected: Result, met: ReadonlySet<Row>): Row[] {
  const needed = [...met].filter((row) => {
    const others = new Set([...ALL_ROWS].filter((other) => other !== row));
    return !sameResult(model(script, others).result, expected);
  });
  return needed.length > 0 ? needed : [...met];
}

/**
 * The same stream in one chunk. What a program sees does not depend on where its input is cut,
 * except for the number of pieces; null where the program itself looks at that number, or throws
 * away what happens to be there.
 */
export function recutOf(script: Script): Script | null {
  const acts = Object.values(script.onFound).flat();
  const depends =
    script.terminator === undefined ||
    Object.keys(script.onCollect).length > 0 ||
    acts.some(([what]) => what === 'discard') ||
    // Whether what is pushed arrives depends on what was received before.
    (script.end === 'close' && script.endsWithLast) ||
    script.chunks.length < 2;
  return depends ? null : { ...script, chunks: [script.chunks.flat()] };
}

/** Whether two results differ in nothing but the pieces. */
export function sameRecords(one: Result, other: Result): boolean {
  return sameResult(merged(one), merged(other));
}
