// The picture in the design, held to: imports run downward, koffi and the platform have one file each.

import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import ts from 'typescript';

const LIB = join(__dirname, '..', 'lib');

/** Bottom first. A file imports from the rows above its own in this list, and from nowhere else. */
const LAYERS = [
  ['constants', 'fifo', 'tracking', 'deadlines'],
  ['platform'],
  ['errors'],
  ['libc', 'producers'],
  ['output-queue', 'descriptor', 'address', 'gather'],
  ['selectors/selector', 'selectors/lookout'],
  ['selectors/epoll', 'selectors/poll'],
  ['selectors/index'],
  ['channel-map', 'socket', 'admission'],
  ['guards', 'host-lookup'],
  ['loop', 'idle-timeout'],
  ['shutdown'],
  ['dispatcher'],
  ['dispatcher-with-send', 'file-dispatcher', 'async-chat'],
  ['index'],
];

interface Source {
  /** Without comments, which may speak of anything. */
  readonly code: string;
  /** What it imports, requires or re-exports: packages by name, our own files by their path in lib/. */
  readonly packages: string[];
  readonly files: string[];
}

function parse(path: string): Source {
  const text = readFileSync(path, 'utf8');
  const { outputText: code } = ts.transpileModule(text, {
    compilerOptions: { removeComments: true, target: ts.ScriptTarget.ESNext },
  });
  const specifiers = ts.preProcessFile(text, true, true).importedFiles.map((file) => file.fileName);
  const files = specifiers
    .filter((specifier) => specifier.startsWith('.'))
    .map((specifier) => {
      const file = relative(LIB, join(dirname(path), specifier)) || 'index';
      return sourceNames.has(file) ? file : join(file, 'index');
    });
  return { code, packages: specifiers.filter((specifier) => !specifier.startsWith('.')), files };
}

const sourceNames = new Set(
  readdirSync(LIB, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts'))
    .map((file) => file.slice(0, -'.ts'.length)),
);
const SOURCES = new Map([...sourceNames].map((name) => [name, parse(join(LIB, `${name}.ts`))]));

function source(name: string): Source {
  const found = SOURCES.get(name);
  if (found === undefined) throw new Error(`There is no lib/${name}.ts`);
  return found;
}

/** The names of the files that `test` is true for. */
function filesThat(test: (source: Source) => boolean): string[] {
  return [...SOURCES].filter(([, source]) => test(source)).map(([name]) => name);
}

/** The first way round from a file to itself, or null. */
function cycle(): string[] | null {
  const done = new Set<string>();
  const visit = (name: string, path: string[]): string[] | null => {
    if (path.includes(name)) return [...path.slice(path.indexOf(name)), name];
    if (done.has(name)) return null;
    for (const next of source(name).files) {
      const found = visit(next, [...path, name]);
      if (found !== null) return found;
    }
    done.add(name);
    return null;
  };
  for (const name of SOURCES.keys()) {
    const found = visit(name, []);
    if (found !== null) return found;
  }
  return null;
}

describe('The layers', () => {
  it('have a place for every file, and a file for every place', () => {
    expect([...SOURCES.keys()].sort()).toEqual(LAYERS.flat().sort());
  });

  it('are read as they are written', () => {
    // Each kind of import there is, so that the rules below cannot pass by seeing nothing.
    expect(source('descriptor').files.sort()).toEqual(['errors', 'libc']);
    expect(source('index').files).toContain('constants'); // export * from
    expect(source('async-chat').files).toContain('producers'); // import type
    expect(source('channel-map').files).toContain('selectors/index'); // a folder
    expect(source('libc').packages).toContain('koffi'); // require()
  });

  it.each(LAYERS.map((files, layer): [string, number] => [files.join(', '), layer]))(
    'import downward only: %s',
    (_files, layer) => {
      const below = new Set(LAYERS.slice(0, layer).flat());
      const upward = (LAYERS[layer] as string[]).flatMap((name) =>
        source(name)
          .files.filter((file) => !below.has(file))
          .map((file) => `${name} -> ${file}`),
      );
      expect(upward).toEqual([]);
    },
  );

  it('have no cycles', () => {
    expect(cycle()).toBeNull();
  });
});

describe('koffi', () => {
  it('is imported by one file', () => {
    expect(filesThat(({ packages }) => packages.includes('koffi'))).toEqual(['libc']);
  });

  it('is named in the code of one file, as a string or otherwise', () => {
    expect(filesThat(({ code }) => /koffi/i.test(code))).toEqual(['libc']);
  });

  it('is the only package beside Node itself', () => {
    const packages = new Set([...SOURCES.values()].flatMap((source) => source.packages));
    expect([...packages].filter((name) => !name.startsWith('node:'))).toEqual(['koffi']);
  });
});

describe('process.platform and process.arch', () => {
  it.each(['platform', 'arch'])('%s is read in one file', (name) => {
    // process.x, process?.x, process['x'], { x } = process, os.x()
    const reads = new RegExp(
      [
        `\\bprocess\\s*\\??\\.\\s*${name}\\b`,
        `\\bprocess\\s*(\\?\\.)?\\[\\s*['"]${name}`,
        `\\{[^}]*\\b${name}\\b[^}]*\\}\\s*=\\s*process\\b`,
        `\\bos\\s*\\.\\s*${name}\\b`,
      ].join('|'),
    );
    expect(filesThat(({ code }) => reads.test(code))).toEqual(['platform']);
  });
});

describe('The rules of single files', () => {
  it('producers and the fifo know nothing of ours, but for errors', () => {
    expect(source('fifo').files).toEqual([]);
    expect(source('producers').files).toEqual(['errors']);
  });

  it('loop never imports dispatcher or socket', () => {
    expect(source('loop').files).not.toEqual([]);
    expect(source('loop').files.filter((file) => /dispatcher|socket/.test(file))).toEqual([]);
  });

  it.each([...sourceNames].filter((name) => name.startsWith('selectors/')))(
    '%s imports only what lies below the selectors',
    (name) => {
      const allowed = ['libc', 'platform', 'constants', 'errors', 'descriptor'];
      const outside = source(name).files.filter((file) => !file.startsWith('selectors/'));
      expect(outside.filter((file) => !allowed.includes(file))).toEqual([]);
    },
  );

  it('index is imported by nobody', () => {
    expect(filesThat(({ files }) => files.includes('index'))).toEqual([]);
  });
});
