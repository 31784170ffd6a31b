// The programs that were not written here.

import { spawnSync } from 'node:child_process';

/** Whether a command is there at all: a test that needs one which is not is skipped. */
export function has(command: string): boolean {
  return spawnSync(command, ['--version']).error === undefined;
}
