// docs/examples/support/file-tree.ts: what is there, and that nothing else is.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  constants,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { FileTree } from '../../docs/examples/support/file-tree';
import { temporaryPath } from '../support/drive';
import { makePipe } from '../support/make-pipe';

const { O_RDONLY, O_WRONLY, O_CREAT, O_TRUNC } = constants;

let outside: string;
let root: string;
let tree: FileTree;
let openBefore: number;

beforeEach(() => {
  outside = temporaryPath('outside');
  root = join(outside, 'root');
  mkdirSync(join(root, 'a', 'b'), { recursive: true });
  writeFileSync(join(outside, 'secret'), 'secret');
  writeFileSync(join(root, 'file'), 'x');
  writeFileSync(join(root, 'a', 'b', 'deep'), 'deep');
  symlinkSync('../secret', join(root, 'link'));
  symlinkSync('..', join(root, 'up'));
  symlinkSync('file', join(root, 'inner'));
  tree = new FileTree(root);
  openBefore = readdirSync('/proc/self/fd').length;
});

afterEach(() => {
  expect(readdirSync('/proc/self/fd')).toHaveLength(openBefore);
});

function read(path: string): string {
  const fd = tree.open(path, O_RDONLY);
  try {
    return readFileSync(fd, 'utf8');
  } finally {
    closeSync(fd);
  }
}

function codeOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? String(error);
  }
  return 'done';
}

describe('FileTree', () => {
  it.each([
    ['/file', 'x'],
    ['file', 'x'],
    ['//file', 'x'],
    ['/../../file', 'x'],
    ['/a/../file', 'x'],
    ['/nothing/../file', 'x'],
    ['a/b/deep', 'deep'],
  ])('opens %s', (path, text) => {
    expect(read(path)).toBe(text);
  });

  it.each([
    ['/', 'EISDIR'],
    ['', 'EISDIR'],
    ['/a', 'EISDIR'],
    ['/nothing', 'ENOENT'],
    ['/file/x', 'ENOTDIR'],
    ['/../secret', 'ENOENT'],
    ['../root/file', 'ENOENT'],
    ['/link', 'ELOOP'],
    ['/inner', 'ELOOP'],
    ['/up/secret', 'ENOTDIR'],
    ['/up/root/file', 'ENOTDIR'],
    ['/fi\0le', 'ENOENT'],
    ['/fi\nle', 'ENOENT'],
    [`/${'x'.repeat(300)}`, 'ENAMETOOLONG'],
  ])('does not open %j', (path, code) => {
    expect(codeOf(() => tree.open(path, O_RDONLY))).toBe(code);
  });

  it('neither opens nor waits for a pipe', () => {
    makePipe(join(root, 'pipe'));
    expect(codeOf(() => tree.open('pipe', O_RDONLY))).toBe('EISDIR');
    expect(codeOf(() => tree.open('pipe', O_WRONLY))).toBe('ENXIO');
    expect(codeOf(() => tree.stat('pipe'))).toBe('ENOENT');
  });

  it('writes files, but not through links', () => {
    const flags = O_WRONLY | O_CREAT | O_TRUNC;
    const fd = tree.open('/a/new', flags);
    writeFileSync(fd, 'new');
    closeSync(fd);
    expect(read('/a/new')).toBe('new');
    expect(codeOf(() => tree.open('link', flags))).toBe('ELOOP');
    expect(codeOf(() => tree.open('up/new', flags))).toBe('ENOTDIR');
    expect(readFileSync(join(outside, 'secret'), 'utf8')).toBe('secret');
  });

  it.each([
    ['file', 1],
    ['/a/b/deep', 4],
    ['/a/new', null],
    ['/a', 'EISDIR'],
    ['/', 'EISDIR'],
    ['/nothing/new', 'ENOENT'],
    ['/file/new', 'ENOTDIR'],
    ['/link', 'ELOOP'],
    ['/up/new', 'ENOTDIR'],
    ['/a/ne\nw', 'ENOENT'],
    [`/${'x'.repeat(300)}`, 'ENAMETOOLONG'],
  ])('tells whether %j can be written, and changes nothing', (path, expected) => {
    let size: number | string | null = '';
    const code = codeOf(() => {
      size = tree.writableSize(path);
    });
    expect(code === 'done' ? size : code).toBe(expected);
    expect(readdirSync(join(root, 'a'))).toEqual(['b']);
    expect(read('file')).toBe('x');
  });

  it('lists files and directories, and what a line can carry', () => {
    writeFileSync(join(root, 'grüße und küsse'), '');
    writeFileSync(join(root, 'a\nb'), '');
    writeFileSync(Buffer.concat([Buffer.from(`${root}/`), Buffer.from([0xff])]), '');
    expect(tree.list('/').map(({ name }) => name)).toEqual(['a', 'file', 'grüße und küsse']);
    expect(tree.list('/a/..').map(({ name }) => name)).toHaveLength(3);
    expect(tree.list('/a').map(({ stats }) => stats.isDirectory())).toEqual([true]);
    expect(codeOf(() => tree.list('/up'))).toBe('ENOTDIR');
    expect(codeOf(() => tree.list('/file'))).toBe('ENOTDIR');
  });

  it('tells about files and directories only', () => {
    expect(tree.stat('file').size).toBe(1);
    expect(tree.stat('/').isDirectory()).toBe(true);
    expect(codeOf(() => tree.stat('link'))).toBe('ENOENT');
    expect(codeOf(() => tree.stat('up'))).toBe('ENOENT');
    expect(codeOf(() => tree.stat('up/secret'))).toBe('ENOTDIR');
  });

  it('makes, renames and removes', () => {
    tree.makeDirectory('/a/c');
    tree.rename('/file', '/a/c/moved');
    expect(readFileSync(join(root, 'a', 'c', 'moved'), 'utf8')).toBe('x');
    expect(codeOf(() => tree.removeDirectory('/a/c'))).toBe('ENOTEMPTY');
    tree.removeFile('/a/c/moved');
    tree.removeDirectory('/a/c');
    expect(existsSync(join(root, 'a', 'c'))).toBe(false);
  });

  it('makes, renames and removes nothing outside', () => {
    expect(codeOf(() => tree.makeDirectory('/up/x'))).toBe('ENOTDIR');
    expect(codeOf(() => tree.makeDirectory('/link'))).toBe('EEXIST');
    expect(codeOf(() => tree.rename('/up/secret', '/stolen'))).toBe('ENOTDIR');
    expect(codeOf(() => tree.rename('/file', '/up/file'))).toBe('ENOTDIR');
    expect(codeOf(() => tree.removeFile('/up/secret'))).toBe('ENOTDIR');
    expect(codeOf(() => tree.removeDirectory('/up'))).toBe('ENOTDIR');
    expect(codeOf(() => tree.removeDirectory('/'))).not.toBe('done');
    expect(codeOf(() => tree.rename('/', '/a/root'))).not.toBe('done');
    // A link itself may be removed, and what it leads to stays.
    tree.removeFile('/link');
    expect(readFileSync(join(outside, 'secret'), 'utf8')).toBe('secret');
    expect(readdirSync(outside).sort()).toEqual(['root', 'secret']);
  });

  it('is not deceived by a directory that becomes a link while it is looked at', async () => {
    writeFileSync(join(outside, 'deep'), 'secret');
    const inner = join(root, 'a', 'b');
    const swap = `
      const { renameSync, rmSync, symlinkSync } = require('node:fs');
      for (;;) {
        renameSync('${inner}', '${inner}-aside');
        symlinkSync('${outside}', '${inner}');
        rmSync('${inner}');
        renameSync('${inner}-aside', '${inner}');
      }`;
    const attacker = spawn(process.execPath, ['-e', swap], { stdio: 'ignore' });
    const found = new Map<string, number>();
    for (const end = Date.now() + 5000; Date.now() < end && found.size < 4; ) {
      for (let count = 0; count < 100; count += 1) {
        let text = '';
        const code = codeOf(() => {
          text = read('/a/b/deep');
        });
        found.set(text + code, (found.get(text + code) ?? 0) + 1);
      }
      await new Promise((resolve) => setImmediate(resolve));
      if (found.size === 3 && [...found.values()].every((times) => times > 50)) break;
    }
    attacker.kill();
    await once(attacker, 'close');
    expect([...found.keys()].sort()).toEqual(['ENOENT', 'ENOTDIR', 'deepdone']);
  });

  it('has nothing against hard links', () => {
    linkSync(join(root, 'file'), join(root, 'a', 'hard'));
    expect(read('/a/hard')).toBe('x');
  });

  it('needs a directory', () => {
    expect(codeOf(() => new FileTree(join(root, 'file')))).toBe('ENOTDIR');
    expect(codeOf(() => new FileTree(join(root, 'nothing')))).toBe('ENOENT');
  });
});
