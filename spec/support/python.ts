// For specs that compare with the real asyncore and asynchat.

import { findPython } from './find-python';
import { itIf } from './skips';

/** A command that runs a Python which has them, or null. */
export const PYTHON: string | null = findPython();

/** `it` where there is such a Python, and a visible skip elsewhere. */
export const itWithPython = itIf(PYTHON !== null, 'no Python with asyncore');
