// For specs that compare with the real asyncore and asynchat.

import { findPython } from './find-python';

/** A command that runs a Python which has them, or null. */
export const PYTHON: string | null = findPython();

/** `it` where there is such a Python, and a visible skip elsewhere. */
export const itWithPython = PYTHON === null ? it.skip : it;
