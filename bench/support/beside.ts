// Another checkout of this library, built, that is measured beside this one: `--beside FOLDER`.

import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';

let folder: string | null = null;

/** @throws {RangeError} when there is no build of the library in the folder */
export function measureBeside(other: string): void {
  if (!existsSync(join(other, 'dist', 'index.js'))) {
    throw new RangeError(
      `Cannot measure beside ${other}: there is no dist/index.js, build it first`,
    );
  }
  folder = resolve(other);
}

/** The same script there, or nothing. @param path from the root of a checkout */
export function beside(path: string): string[] {
  return folder === null ? [] : [join(folder, path)];
}

/** What a contender of the other checkout is called. */
export const besideName = (name: string): string => `${name}, beside`;
