// The site, its links and the picture: what is there is accepted, and each fault is found.

import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { Program, ROOT } from '../support/program';

const folder = mkdtempSync(join(tmpdir(), 'asyncore-site-'));

afterAll(() => rmSync(folder, { recursive: true }));

/** Runs a program of docs/site. */
async function run(
  name: string,
  ...options: string[]
): Promise<{ code: number | null; output: string }> {
  const tsx = join(ROOT, 'node_modules', '.bin', 'tsx');
  const program = new Program(tsx, [join(ROOT, 'docs', 'site', `${name}.mts`), ...options]);
  // TypeDoc reads all of lib/, which takes seconds on an idle machine.
  const code = await program.ended(50_000);
  return { code, output: program.output };
}

/** Writes a folder of files. */
function write(name: string, files: Record<string, string>): string {
  const root = join(folder, name);
  for (const [file, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, file)), { recursive: true });
    writeFileSync(join(root, file), text);
  }
  return root;
}

describe('The site', () => {
  it('has a doc comment for every public name, and links that lead somewhere', async () => {
    expect(await run('build', '--check')).toEqual({ code: 0, output: '' });
  });

  it('is refused for a name without a doc comment, a type that is not exported, and a broken link', async () => {
    const root = write('faults', {
      'package.json': '{ "name": "asyncore", "version": "0.0.0" }',
      'tsconfig.build.json': JSON.stringify({
        compilerOptions: { types: [], strict: true, target: 'es2022', stripInternal: true },
        include: ['lib'],
      }),
      'README.md': '# Front\n\n[A guide](docs/guide.md), [a gap](docs/gap.md)\n',
      'docs/guide.md': '# Guide\n\n[Front](../README.md), [a gap](#gap)\n',
      'lib/index.ts':
        "export * from './loop/loop';\nexport * from './kernel/platform/constants';\n",
      'lib/kernel/platform/constants.ts': 'export const AF_BARE = 1;\n',
      'lib/loop/loop.ts': `
        interface Hidden { readonly size: number; }
        /** Has a comment. See {@link Nowhere}. */
        export class Full {
          /** Has a comment. @internal */
          unseen = 1;
          bare = 1;
          /** Has a comment. */
          get half(): number { return 1; }
          set half(_value: number) {}
          get bareAccessor(): number { return 1; }
          bareMethod(): void {}
          /** Has a comment. */
          hidden(hidden: Hidden): void { void hidden; }
          /** Has a comment, which covers what it returns. */
          pair(): { left: number } { return { left: 1 }; }
        }
        /** Has a comment. */
        export interface Options {
          bareMember?: number;
        }
        export type Bare = string;
        export function bareFunction(): void {}
      `,
    });
    cpSync(join(ROOT, 'typedoc.json'), join(root, 'typedoc.json'));
    const { code, output } = await run('build', '--check', '--root', root);
    expect(code).toBe(1);
    const undocumented = [
      ...output.matchAll(/(\S+) \(\w+\), defined in \S+, does not have any doc/g),
    ];
    expect(undocumented.map(([, name]) => name).sort()).toEqual([
      'AF_BARE',
      'Bare',
      'Full.bare',
      'Full.bareAccessor',
      'Full.bareMethod',
      'Options.bareMember',
      'bareFunction',
    ]);
    expect(output).toContain('docs/gap.md is not a file');
    expect(output).toMatch(/Hidden, defined in \S+, is referenced by \S+ but not included/);
    expect(output).toContain('Failed to resolve link to "Nowhere"');
  });
});

describe('The check of links', () => {
  it('finds the files and the anchors that are not there, in a site and in Markdown pages', async () => {
    const page = (body: string): string => `<!DOCTYPE html><title>A page</title>${body}`;
    const site = write('site', {
      // a.html is read before b.html tells of an anchor in it.
      'index.html': page('<a href="a.html">a</a><a href="b.html#there">b</a><a href="#here">h</a>'),
      'a.html': page('<a href="b.html">b</a><a href="https://example.invalid/">far</a>'),
      'b.html': page('<p id="there"></p><a href="a.html#late">a</a><a href="c.html">c</a>'),
    });
    const pages = write('pages', {
      'README.md':
        '# Read me\n\n[a](docs/a.md#the-first), [b](docs/b.md), [c](docs/c), [d](#read-me)\n',
      'docs/a.md': '# A\n\n## The first\n\n[top](../README.md#readme), [code](../lib/x.ts)\n',
      'docs/b.md': '# B\n\n[a](a.md#the-second), ![picture](picture.svg)\n',
      'docs/c/d.ts': 'export {};\n',
    });
    const { code, output } = await run('links', site, pages);
    expect(code).toBe(1);
    expect(
      output
        .split('\n')
        .filter((line) => line.includes('no such'))
        .sort(),
    ).toEqual([
      'README.md#readme: no such anchor',
      'a.html#late: no such anchor',
      'c.html: no such file (404); b.html links to it',
      'docs/a.md#the-second: no such anchor',
      'docs/picture.svg: no such file (404); docs/b.md links to it',
      'index.html#here: no such anchor',
      'lib/x.ts: no such file (404); docs/a.md links to it',
    ]);
  });

  it('accepts the pages of this project', async () => {
    const { code, output } = await run('links', ROOT);
    expect({ code, output }).toEqual({
      code: 0,
      output: expect.stringContaining(', 0 broken links'),
    });
  });
});

describe('docs/channel-life.svg', () => {
  it('is what its source gives', async () => {
    expect(await run('picture', '--check')).toEqual({ code: 0, output: '' });
  });

  it('is refused when its source has changed, until it is made again', async () => {
    const root = write('picture', {
      'channel-life.dot': 'digraph { graph [bgcolor="#ffffff"] a -> b }',
    });
    cpSync(join(ROOT, 'docs', 'channel-life.svg'), join(root, 'channel-life.svg'));
    const { code, output } = await run('picture', '--check', root);
    expect([code, output]).toEqual([1, expect.stringContaining('npm run docs:picture')]);
    expect((await run('picture', root)).code).toBe(0);
    expect((await run('picture', '--check', root)).code).toBe(0);
  });
});
