// The library as users have it: what is measured is the built package, never the TypeScript.

import { spawnSync } from 'node:child_process';
import { readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';

const root = join(__dirname, '..', '..');

function changed(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;
}

/** Builds dist/, unless it is newer than every file of lib/ already. */
export function freshBuild(): void {
  const lib = join(root, 'lib');
  const sources = readdirSync(lib, { recursive: true, encoding: 'utf8' });
  const newest = Math.max(...sources.map((name) => changed(join(lib, name))));
  // tsc writes every file at every build.
  if (changed(join(root, 'dist', 'index.js')) > newest) return;
  const build = spawnSync('npm', ['run', 'build'], { cwd: root, timeout: 120_000 });
  if (build.status === 0) return;
  // tsc emits what it has complained of, too.
  rmSync(join(root, 'dist', 'index.js'), { force: true });
  throw new Error(`npm run build failed: ${build.stdout}${build.stderr}`);
}
