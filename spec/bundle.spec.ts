// A program that is bundled with the library, koffi being left out: the package's entry for bundlers.

import { execFile } from 'node:child_process';
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { buildInto } from './support/build';
import { ROOT } from './support/program';

const run = promisify(execFile);
const ESBUILD = join(ROOT, 'node_modules', '.bin', 'esbuild');
const { scripts } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));

const BODY = JSON.stringify(join(ROOT, '.ci', 'echo-body.cjs'));
const PROGRAMS = {
  'importing.mjs': `
    import * as asyncore from 'asyncore';
    import echo from ${BODY};
    void echo(asyncore, 'imported');
  `,
  'requiring.cjs': `
    const echo = require(${BODY});
    void echo(require('asyncore'), 'required');
  `,
};

let directory: string;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'asyncore-bundle-'));
  const asyncore = join(directory, 'node_modules', 'asyncore');
  mkdirSync(asyncore, { recursive: true });
  copyFileSync(join(ROOT, 'package.json'), join(asyncore, 'package.json'));
  buildInto(join(asyncore, 'dist'));
  for (const name of ['koffi', '@koromix']) {
    symlinkSync(join(ROOT, 'node_modules', name), join(directory, 'node_modules', name));
  }
  const [, ...flags] = scripts['build:bundler'].split(' ');
  await run(ESBUILD, [...flags, `--outfile=${join(asyncore, 'dist', 'bundler.mjs')}`], {
    cwd: ROOT,
  });
  for (const [name, code] of Object.entries(PROGRAMS)) writeFileSync(join(directory, name), code);
});

afterAll(() => rmSync(directory, { recursive: true }));

/** Bundles a program, runs it, and returns what it prints. */
async function bundled(source: string, format: string, ...more: string[]): Promise<string> {
  const file = join(directory, `${source}${more.join('')}.${format === 'esm' ? 'mjs' : 'cjs'}`);
  const flags = ['--bundle', '--platform=node', `--format=${format}`, '--external:koffi', ...more];
  await run(ESBUILD, [join(directory, source), ...flags, `--outfile=${file}`], { cwd: ROOT });
  const { stdout, stderr } = await run(process.execPath, [file], { cwd: directory });
  return stdout + stderr;
}

it.each(['esm', 'cjs'])('a bundle in the format %s runs, with koffi beside it', async (format) => {
  const printed = await Promise.all([
    bundled('importing.mjs', format),
    bundled('importing.mjs', format, '--minify'),
    bundled('requiring.cjs', format),
  ]);
  expect(printed).toEqual([
    'imported: echo works\n',
    'imported: echo works\n',
    'required: echo works\n',
  ]);
});
