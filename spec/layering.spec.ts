// The five wings of lib/, as docs/design.md draws them: imports run downward, and each wing is ignorant
// of the ones above it.

import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import ts from 'typescript';

const LIB = join(__dirname, '..', 'lib');

/** Bottom first. `errors` is below them all, and `index` above. */
const WINGS = ['errors', 'kernel', 'loop', 'channels', 'chat', 'streams', 'index'];

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

const wingOf = (name: string): string => name.split('/')[0] as string;

/** The names of the files that `test` is true for. */
function filesThat(test: (source: Source, name: string) => boolean): string[] {
  return [...SOURCES].filter(([name, source]) => test(source, name)).map(([name]) => name);
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

describe('The wings', () => {
  it('are these, and every file stands in one', () => {
    expect([...new Set([...SOURCES.keys()].map(wingOf))].sort()).toEqual([...WINGS].sort());
  });

  it('are read as they are written', () => {
    // Each kind of import there is, so that the rules below cannot pass by seeing nothing.
    expect(source('kernel/descriptor').files).toContain('errors');
    expect(source('index').files).toContain('kernel/platform/constants'); // export * from
    expect(source('chat/async-chat').files).toContain('channels/dispatcher'); // another wing
    expect(filesThat(({ files }) => files.includes('kernel/selectors/index'))).not.toEqual([]); // a folder
    expect(source('kernel/koffi').files).toContain('kernel/addon'); // require()
  });

  it.each(WINGS)('%s imports from itself and from the wings below', (wing) => {
    const above = WINGS.slice(WINGS.indexOf(wing) + 1);
    const upward = [...SOURCES]
      .filter(([name]) => wingOf(name) === wing)
      .flatMap(([name, { files }]) =>
        files.filter((file) => above.includes(wingOf(file))).map((file) => `${name} -> ${file}`),
      );
    expect(upward).toEqual([]);
  });

  it('have no cycles', () => {
    expect(cycle()).toBeNull();
  });

  it('kernel/ never names a channel', () => {
    const names = ({ code }: Source, name: string): boolean =>
      wingOf(name) === 'kernel' && /channel|dispatcher|asyncchat/i.test(code);
    expect(filesThat(names)).toEqual([]);
  });

  it('loop/ never names a Dispatcher or a chat', () => {
    const names = ({ code }: Source, name: string): boolean =>
      wingOf(name) === 'loop' && /dispatcher|asyncchat/i.test(code);
    expect(filesThat(names)).toEqual([]);
  });

  it('channels/ never names a chat', () => {
    const names = ({ code }: Source, name: string): boolean =>
      wingOf(name) === 'channels' && /asyncchat/i.test(code);
    expect(filesThat(names)).toEqual([]);
  });
});

describe('koffi', () => {
  it('is imported by one file, and named in the code of no other', () => {
    expect(filesThat(({ packages }) => packages.includes('koffi'))).toEqual(['kernel/addon']);
    expect(filesThat(({ code }) => /['"]koffi['"]/i.test(code))).toEqual(['kernel/addon']);
    expect(filesThat(({ files }) => files.includes('kernel/addon'))).toEqual(['kernel/koffi']);
  });

  it('makes raw calls for kernel/ alone', () => {
    const importers = filesThat(({ files }) => files.includes('kernel/koffi'));
    expect(importers).toContain('kernel/syscalls');
    expect(importers.filter((name) => wingOf(name) !== 'kernel')).toEqual([]);
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
    expect(filesThat(({ code }) => reads.test(code))).toEqual(['kernel/platform/linux']);
  });
});

describe('The rules of single files', () => {
  it('errors, the fifo and the reader of records import nothing of ours', () => {
    expect(source('errors').files).toEqual([]);
    expect(source('chat/fifo').files.filter((file) => file !== 'errors')).toEqual([]);
    expect(source('chat/record-reader').files.filter((file) => file !== 'errors')).toEqual([]);
  });

  it('producers know nothing of ours, but for errors', () => {
    const outside = [...SOURCES]
      .filter(([name]) => name.startsWith('chat/producers/'))
      .flatMap(([, { files }]) => files)
      .filter((file) => file !== 'errors' && !file.startsWith('chat/producers/'));
    expect(outside).toEqual([]);
  });

  it('index is imported by nobody', () => {
    expect(filesThat(({ files }) => files.includes('index'))).toEqual([]);
  });
});

describe('The size of things', () => {
  /** Dispatcher has all names of Python's class in one place, and more lines of comments than of code. */
  const LONGER: Record<string, number> = { 'channels/dispatcher': 750 };

  it.each([...SOURCES.keys()])('%s can be held in mind: 500 lines', (name) => {
    const lines = readFileSync(join(LIB, `${name}.ts`), 'utf8').split('\n').length;
    expect(lines).toBeLessThanOrEqual(LONGER[name] ?? 500);
  });

  it.each([...SOURCES])('%s has at most 460 lines of code', (_name, { code }) => {
    expect(code.split('\n').filter((line) => line.trim() !== '').length).toBeLessThanOrEqual(460);
  });
});
