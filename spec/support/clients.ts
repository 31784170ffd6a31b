// The programs that were not written here.

import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

/** Whether a command is there at all: a test that needs one which is not is skipped. */
export function has(command: string): boolean {
  return (process.env.PATH ?? '').split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, command), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}
