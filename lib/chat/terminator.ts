// What may end a record, as a program writes it, and as the reader of records takes it.

import { badRange, badType } from '../errors';
import { encodeText } from './producers/text';
import type { CheckedTerminator } from './record-reader';

/**
 * What ends a record: these bytes, or after this many bytes. null, 0 and empty: nothing does, all
 * input is collected as it comes.
 */
export type Terminator = Uint8Array | string | number | null;

/** How a chat makes bytes of a string. */
interface TextRules {
  useEncoding: boolean;
  encoding: BufferEncoding;
}

/**
 * @param action what cannot be done with an invalid one
 * @throws {TypeError|RangeError} for what is no terminator
 */
export function checkTerminator(
  terminator: Terminator | undefined,
  action: string,
  rules: TextRules,
): CheckedTerminator {
  if (terminator instanceof Uint8Array || terminator === null) return terminator;
  if (typeof terminator === 'string') {
    if (!rules.useEncoding) throw refusedText(action, terminator);
    return encodeText(terminator, rules.encoding, action);
  }
  if (typeof terminator !== 'number') {
    const hint = terminator === undefined ? 'call setTerminator() first' : undefined;
    throw badType(action, 'bytes, a string, a number or null', terminator, hint);
  }
  if (Number.isSafeInteger(terminator) && terminator >= 0) return terminator;
  throw badRange(action, 'a number of bytes', terminator);
}

/** As `checkTerminator`, for a terminator that a program sets: not beyond the limit of a record. */
export function settable(
  terminator: Terminator,
  rules: TextRules & { maxRecordLength: number },
): CheckedTerminator {
  const action = 'set a terminator';
  const checked = checkTerminator(terminator, action, rules);
  if (typeof checked !== 'number' || checked <= rules.maxRecordLength) return checked;
  throw badRange(action, `at most maxRecordLength (${rules.maxRecordLength})`, checked);
}

/** A string, where `useEncoding` is false. */
export function refusedText(action: string, text: string): TypeError {
  return badType(action, 'a Uint8Array (useEncoding is false)', text);
}
