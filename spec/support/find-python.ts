// The real thing: a Python that still has asyncore and asynchat. It left the standard library with
// 3.12.

import { spawnSync } from 'node:child_process';

const CANDIDATES = ['python3.11', 'python3', 'python3.10', 'python3.9', 'python3.8'];

function hasAsyncore(command: string): boolean {
  const probe = spawnSync(command, ['-W', 'ignore', '-c', 'import asyncore, asynchat'], {
    timeout: 10_000,
  });
  return probe.status === 0;
}

/** A command that runs one, or null. The environment variable PYTHON is tried first. */
export function findPython(): string | null {
  const named = process.env.PYTHON;
  return [...(named === undefined ? [] : [named]), ...CANDIDATES].find(hasAsyncore) ?? null;
}
