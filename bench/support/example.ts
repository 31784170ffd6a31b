// An example program as a user would ship it: JavaScript, on the built package.

import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { freshBuild } from './build';
import { cacheDirectory } from './process';

const ROOT = join(__dirname, '..', '..');

/**
 * Bundles a program of docs/examples, without the library.
 * @param root of the checkout that has the program and the library
 * @returns the path of the script
 */
export async function bundleExample(name: string, root = ROOT): Promise<string> {
  if (root === ROOT) freshBuild();
  const { build } = await import('esbuild');
  const hash = createHash('sha256').update(root).digest('hex').slice(0, 16);
  const outfile = join(cacheDirectory(), `${name}-${hash}.cjs`);
  const library = { path: join(root, 'dist', 'index.js'), external: true };
  await build({
    entryPoints: [join(root, 'docs', 'examples', `${name}.ts`)],
    outfile,
    bundle: true,
    platform: 'node',
    format: 'cjs',
    target: 'node20',
    logLevel: 'warning',
    plugins: [
      {
        name: 'library',
        setup: ({ onResolve }) => onResolve({ filter: /^asyncore$/ }, () => library),
      },
    ],
  });
  return outfile;
}
