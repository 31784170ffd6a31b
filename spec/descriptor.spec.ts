import { closeSync, fstatSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { Descriptor } from '../lib/descriptor';
import { Program } from './support/program';

function open(): number {
  return openSync(__filename, 'r');
}

function isOpen(fd: number): boolean {
  try {
    fstatSync(fd);
    return true;
  } catch {
    return false;
  }
}

describe('Descriptor', () => {
  it('owns its number until it is closed', () => {
    const fd = open();
    const descriptor = new Descriptor(fd, 'file');
    expect(descriptor.fd).toBe(fd);
    descriptor.close();
    expect(descriptor.fd).toBe(-1);
    expect(isOpen(fd)).toBe(false);
  });

  it("is closed once, however often it is told to: the number is somebody else's by then", () => {
    const descriptor = new Descriptor(open(), 'file');
    const fd = descriptor.fd;
    descriptor.close();
    const next = open();
    try {
      expect(next).toBe(fd); // the kernel gives out the lowest number
      descriptor.close();
      expect(descriptor.release()).toBe(-1);
      expect(isOpen(next)).toBe(true);
    } finally {
      closeSync(next);
    }
  });

  it('gives its number away open', () => {
    const fd = open();
    const descriptor = new Descriptor(fd, 'file');
    expect(descriptor.release()).toBe(fd);
    expect(descriptor.fd).toBe(-1);
    expect(descriptor.release()).toBe(-1);
    descriptor.close();
    expect(isOpen(fd)).toBe(true);
    closeSync(fd);
  });

  it('says so when somebody else has closed the number, and gives it up all the same', () => {
    const fd = open();
    const descriptor = new Descriptor(fd, 'file');
    closeSync(fd);
    expect(() => descriptor.close()).toThrow(
      expect.objectContaining({ name: 'SocketError', code: 'EBADF', syscall: 'close' }),
    );
    expect(descriptor.fd).toBe(-1);
    expect(() => descriptor.close()).not.toThrow();
  });

  it.each([-1, NaN, 1.5, Infinity, '3', null, undefined])('cannot own %p', (fd) => {
    expect(() => new Descriptor(fd as number, 'file')).toThrow(
      'Cannot own a descriptor: expected its number, received',
    );
  });
});

describe('A descriptor that is dropped', () => {
  const LIB = JSON.stringify(join(__dirname, '..', 'lib'));

  interface Outcome {
    open: boolean;
    warnings: string[];
  }

  /** Runs `drop`, which returns a number, and collects garbage until a canary has been finalized. */
  async function afterCollection(drop: string): Promise<Outcome> {
    const code = `
      const { openSync, fstatSync } = require('node:fs');
      const { Descriptor } = require(${LIB} + '/descriptor.ts');
      const { Socket } = require(${LIB} + '/index.ts');
      const warnings = [];
      process.on('warning', ({ name, code, message }) => warnings.push(name + ' ' + code + ': ' + message));
      const fd = (() => { ${drop} })();
      const canaries = new Set([1, 2, 3]);
      const registry = new FinalizationRegistry((canary) => canaries.delete(canary));
      for (const canary of canaries) registry.register({}, canary);
      const end = Date.now() + 5000;
      let more = 20;
      (function turn() {
        gc();
        // Some turns beyond the canaries: for what comes late, or twice.
        if (Date.now() < end && (canaries.size > 0 || more-- > 0)) return setTimeout(turn, 1);
        let open = true;
        try { fstatSync(fd); } catch { open = false; }
        console.log(JSON.stringify({ open, warnings: warnings.map((text) => text.replace('fd ' + fd, 'fd N')) }));
      })();
    `;
    const program = new Program(process.execPath, [
      '--expose-gc',
      '--no-warnings',
      '--require',
      'tsx/cjs',
      '-e',
      code,
    ]);
    expect(await program.ended()).toBe(0);
    return JSON.parse(program.output);
  }

  it.each<[string, string, Outcome]>([
    [
      'with a name: it is closed, and said once',
      "return new Descriptor(openSync(process.execPath), 'thing').fd;",
      {
        open: false,
        warnings: [
          'ResourceWarning ASYNCORE_UNCLOSED: Unclosed thing (fd N): it was dropped without close()',
        ],
      },
    ],
    [
      'without a name: it is closed in silence',
      'return new Descriptor(openSync(process.execPath), null).fd;',
      { open: false, warnings: [] },
    ],
    [
      'after its number was given away: it is left alone',
      "return new Descriptor(openSync(process.execPath), 'thing').release();",
      { open: true, warnings: [] },
    ],
    [
      'after close: the next bearer of its number is left alone',
      `const descriptor = new Descriptor(openSync(process.execPath), 'thing');
       descriptor.close();
       return openSync(process.execPath);`,
      { open: true, warnings: [] },
    ],
    [
      'in a Socket: it is closed, and said once',
      'return Socket.socket().fileno();',
      {
        open: false,
        warnings: [
          'ResourceWarning ASYNCORE_UNCLOSED: Unclosed socket (fd N): it was dropped without close()',
        ],
      },
    ],
    [
      'in a Socket that was detached: it is left alone',
      'return Socket.socket().detach();',
      { open: true, warnings: [] },
    ],
    [
      'in a Socket that was closed: nothing is said',
      'const socket = Socket.socket(); const fd = socket.fileno(); socket.close(); return fd;',
      { open: false, warnings: [] },
    ],
  ])('%s', async (_name, drop, outcome) => {
    expect(await afterCollection(drop)).toEqual(outcome);
  });
});
