// pyftpdlib, whose ioloop has timers: from Debian (python3-pyftpdlib), or from pip.

import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { findPython } from '../../spec/support/find-python';

const PROGRAM = join(__dirname, '..', 'inside', 'timers.py');

let version: string | null | undefined;

/** The version that the Python with asyncore has; null: it has none. */
export function pyftpdlibVersion(): string | null {
  if (version === undefined) version = ask(findPython());
  return version;
}

function ask(python: string | null): string | null {
  if (python === null) return null;
  const { status, stdout } = spawnSync(python, ['-BW', 'ignore', PROGRAM, 'pyftpdlib', 'version'], {
    encoding: 'utf8',
    timeout: 10_000,
  });
  return status === 0 ? stdout.trim() : null;
}
