// The JavaScript runtimes beside this one: fetched from npm once, and run as the bare program.

import { spawnSync } from 'node:child_process';
import type { Compiled } from './process';

/** What is on npm, and the version that is measured. */
const PACKAGES = { bun: 'bun@1.4.5', node26: 'node@26' } as const;

export type RuntimeName = keyof typeof PACKAGES;

/** A download of some 90 MB, at the first time. In ms. */
const LIMIT = 300_000;

const found = new Map<RuntimeName, Compiled>();

/**
 * The program itself, as npx keeps it: neither npx nor a start through it is measured. Where there is no npm or no
 * network, the reason.
 */
export function findRuntime(name: RuntimeName): Compiled {
  const known = found.get(name) ?? fetchRuntime(PACKAGES[name]);
  found.set(name, known);
  return known;
}

function fetchRuntime(spec: string): Compiled {
  const npx = ['--yes', '--prefer-offline', '--fetch-retries=0', spec];
  const print = ['-e', 'console.log(process.execPath)'];
  const { error, status, stdout, stderr } = spawnSync('npx', [...npx, ...print], {
    encoding: 'utf8',
    timeout: LIMIT,
  });
  if (status === 0) return { path: stdout.trim() };
  const why = error?.message ?? stderr.split('\n').find((line) => line.includes('error'));
  return { missing: `cannot install ${spec}: ${why ?? `npx ended with ${status}`}` };
}
