// The real thing: a Python that still has asyncore and asynchat, for specs that compare with it.

import { spawnSync } from 'node:child_process';

const CANDIDATES = ['python3.11', 'python3', 'python3.10', 'python3.9', 'python3.8'];

function hasAsyncore(command: string): boolean {
  const probe = spawnSync(command, ['-W', 'ignore', '-c', 'import asyncore, asynchat'], {
    timeout: 10_000,
  });
  return probe.status === 0;
}

/** A command that runs it, or null: asyncore left the standard library with 3.12. */
export const PYTHON: string | null = CANDIDATES.find(hasAsyncore) ?? null;

/** `it` where there is such a Python, and a visible skip elsewhere. */
export const itWithPython = PYTHON === null ? it.skip : it;
