// How Redis reads and writes numbers: 64-bit integers, and the scores of sorted sets.

import { ReplyError } from './resp';

/**
 * A 64-bit integer, for which a JavaScript number, with 53 bits, is too small.
 * @throws {ReplyError} for any other text
 */
export function toInteger(text: string): bigint {
  const integer = /^(0|-?[1-9]\d{0,18})$/.test(text) ? BigInt(text) : null;
  if (integer !== null && BigInt.asIntN(64, integer) === integer) return integer;
  throw new ReplyError('ERR value is not an integer or out of range');
}

/** `inf`, `-.5e3`: what C's strtod() reads, except hexadecimal numbers. */
const SCORE = /^[+-]?(?:inf(?:inity)?|(\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?)$/i;

/** @throws {ReplyError} for a text that is no number */
export function toScore(text: string): number {
  const [found, digits = ''] = SCORE.exec(text) ?? [];
  const score = Number(found?.replace(/inf.*/i, 'Infinity'));
  // A number that overflows to infinity, or underflows to zero, is refused.
  const isInRange =
    digits === '' || (Number.isFinite(score) && (score !== 0 || !/[1-9]/.test(digits)));
  if (isInRange && !Number.isNaN(score)) return score;
  throw new ReplyError('ERR value is not a valid float');
}

/** As Redis up to 7.0 writes it, by C's `%.17g`; but a tie is rounded up here, and to even in C. */
export function fromScore(score: number): string {
  if (!Number.isFinite(score)) return score < 0 ? '-inf' : 'inf';
  const exponential = score.toExponential(16);
  const isSmall = score !== 0 && Math.abs(score) < 1e-4;
  const text = isSmall || Math.abs(score) >= 1e17 ? exponential : score.toPrecision(17);
  return text.replace(/(?:\.|(\.\d*[1-9]))0+(?=e|$)/, '$1').replace(/(?<=e[+-])(?=\d$)/, '0');
}
