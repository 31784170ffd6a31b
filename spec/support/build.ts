// The library as plain JavaScript in a folder of its own, for programs that no loader may be part of.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const ROOT = join(__dirname, '..', '..');

/**
 * Compiles lib/ beside `files`, which may `require('./index.js')`, and removes it all when `use` is done.
 * @param files name -> JavaScript
 */
export function withBuild<Result>(
  files: Record<string, string>,
  use: (directory: string) => Result,
): Result {
  const directory = mkdtempSync(join(tmpdir(), 'asyncore-'));
  const remove = (): void => rmSync(directory, { recursive: true });
  let result: Result;
  try {
    const tsc = require.resolve('typescript/bin/tsc');
    const project = join(ROOT, 'tsconfig.build.json');
    execFileSync(process.execPath, [tsc, '-p', project, '--outDir', directory]);
    symlinkSync(join(ROOT, 'node_modules'), join(directory, 'node_modules'));
    for (const [name, code] of Object.entries(files)) writeFileSync(join(directory, name), code);
    result = use(directory);
  } catch (error) {
    remove();
    throw error;
  }
  if (result instanceof Promise) return result.finally(remove) as Result;
  remove();
  return result;
}
