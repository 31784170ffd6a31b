// The library as plain JavaScript in a folder of its own, for programs that no loader may be part of.

import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { ROOT } from './program';
import transpiled from './transpiled.cjs';

/** Builds lib/ into a folder. */
export function buildInto(directory: string): void {
  const lib = join(ROOT, 'lib');
  for (const name of readdirSync(lib, { recursive: true, encoding: 'utf8' })) {
    if (!name.endsWith('.ts')) continue;
    const file = join(directory, name.replace(/\.ts$/, '.js'));
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, transpiled(join(lib, name)));
  }
  symlinkSync(join(ROOT, 'node_modules'), join(directory, 'node_modules'));
}

/**
 * Builds lib/ beside `files`, which may `require('./index.js')`.
 * @param files name -> JavaScript
 * @returns the folder, which the caller removes
 */
export function build(files: Record<string, string>): string {
  const directory = mkdtempSync(join(tmpdir(), 'asyncore-'));
  buildInto(directory);
  for (const [name, code] of Object.entries(files)) writeFileSync(join(directory, name), code);
  return directory;
}

/** As `build`; the folder is removed when `use` is done. */
export async function withBuild<Result>(
  files: Record<string, string>,
  use: (directory: string) => Result | Promise<Result>,
): Promise<Result> {
  const directory = build(files);
  try {
    return await use(directory);
  } finally {
    rmSync(directory, { recursive: true });
  }
}
