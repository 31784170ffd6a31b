// CPython's results as JSON can hold them: what output_driver.py writes, and what corpus.json has.

import { inflateSync } from 'node:zlib';
import type { Result } from './script';

export interface Answer extends Omit<Result, 'received'> {
  /** Compressed, in base64. */
  received: string;
  /** What happened that docs/differences.md has a row for. */
  marks: string[];
}

export interface PythonResult extends Result {
  marks: string[];
  /** The answer that it was made from. */
  answer: Answer;
}

export function unpacked(answer: Answer): PythonResult {
  return { ...answer, answer, received: inflateSync(Buffer.from(answer.received, 'base64')) };
}
