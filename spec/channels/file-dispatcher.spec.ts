// Pipes and files as channels.

import { spawnSync } from 'node:child_process';
import {
  closeSync,
  fstatSync,
  openSync,
  readFileSync,
  readlinkSync,
  readSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { resolve } from 'node:path';
import { inspect } from 'node:util';
import {
  ChannelMap,
  FileDispatcher,
  FileWrapper,
  type Handled,
  type HasDescriptor,
  SO_ERROR,
  SO_REUSEADDR,
  SOL_SOCKET,
  Socket,
  SocketError,
  socketMap,
} from 'asyncore';
import { flagsOf, O_CLOEXEC, O_NONBLOCK } from '../support/descriptors';
import { drive, temporaryPath, WAYS } from '../support/drive';
import { namedPipe } from '../support/files';
import { closeKept, keep, keepAll, keepFd } from '../support/keep';
import { TYPESCRIPT } from '../support/program';

function file(content: string | Buffer = ''): [path: string, fd: number] {
  const path = temporaryPath('file');
  writeFileSync(path, content);
  return [path, keepFd(openSync(path, 'r+'))];
}

class Recorder extends FileDispatcher {
  override ignoreLogTypes: ReadonlySet<string> = new Set(['warning', 'error']);
  readonly events: string[] = [];
  readonly errors: unknown[] = [];
  received = '';
  writes = false;

  override writable(): boolean {
    return this.writes;
  }
  override handleRead(): Handled {
    this.events.push('read');
    this.received += this.recv(8192) ?? '';
  }
  override handleClose(): Handled {
    this.events.push('close');
    this.close();
  }
  override handleError(error: unknown): Handled {
    this.events.push('error');
    this.errors.push(error);
    this.close();
  }
}

describe('FileWrapper', () => {
  it('works on a duplicate of its own', () => {
    const [, fd] = file('hello');
    const wrapper = keep(new FileWrapper(fd));
    expect(wrapper.fileno()).not.toBe(fd);
    expect(fstatSync(wrapper.fileno()).ino).toBe(fstatSync(fd).ino);
    expect(flagsOf(wrapper.fileno()) & O_CLOEXEC).toBe(O_CLOEXEC);
    closeKept(fd);
    expect(wrapper.recv(100)?.toString()).toBe('hello');
  });

  it('leaves the original open when it closes', () => {
    const [, fd] = file('hello');
    new FileWrapper(fd).close();
    expect(readSync(fd, Buffer.alloc(10))).toBe(5);
  });

  it('reads with recv and with read', () => {
    const [, fd] = file('hello world');
    const wrapper = keep(new FileWrapper(fd));
    expect(wrapper.recv(5)?.toString()).toBe('hello');
    expect(wrapper.read(100)?.toString()).toBe(' world');
    expect(wrapper.recv(100)).toEqual(Buffer.alloc(0));
    expect(wrapper.read(100)).toEqual(Buffer.alloc(0));
    expect(wrapper.read(0)).toEqual(Buffer.alloc(0));
  });

  it.each([1, 100, 4096, 16_383])(
    "gives %i bytes memory of their own, or of Node's pool, not what was asked for",
    (size) => {
      const [, fd] = file(Buffer.alloc(2 * size, 'x'));
      const wrapper = keep(new FileWrapper(fd));
      const pool = Buffer.allocUnsafe(1).buffer.byteLength;
      expect(wrapper.recv(size)).toEqual(Buffer.alloc(size, 'x'));
      for (const data of [wrapper.recv(65_536), wrapper.read(65_536)] as Buffer[]) {
        expect(data.buffer.byteLength).toBeLessThanOrEqual(Math.max(size, pool));
      }
    },
  );

  it('writes with send and with write', () => {
    const [path, fd] = file();
    const wrapper = keep(new FileWrapper(fd));
    expect(wrapper.send(Buffer.from('hello'))).toBe(5);
    expect(wrapper.write(Buffer.from(' world'))).toBe(6);
    expect(readFileSync(path, 'utf8')).toBe('hello world');
  });

  it('answers null when it would block', () => {
    const [input, output] = namedPipe();
    const reader = keep(new FileWrapper(input));
    expect(reader.recv(100)).toBeNull();
    expect(reader.read(100)).toBeNull();
    const full = openSync(readlinkSync(`/proc/self/fd/${output}`), 'r+');
    keepFd(full);
    const writer = keep(new Recorder(output));
    const wrapper = writer.socket as FileWrapper;
    const data = Buffer.alloc(65536);
    let written = 0;
    for (let more = wrapper.send(data); more !== null; more = wrapper.send(data)) written += more;
    expect(written).toBeGreaterThanOrEqual(4096);
    expect(wrapper.write(data)).toBeNull();
    // To a dispatcher that is 0.
    expect(writer.send(data)).toBe(0);
    expect(writer.connected).toBe(true);
  });

  it.each([-1, 1.5, 2 ** 31, Number.NaN])('refuses to read %p bytes', (size) => {
    const [, fd] = file('hello');
    const wrapper = keep(new FileWrapper(fd));
    expect(() => wrapper.recv(size)).toThrow(RangeError);
    expect(wrapper.recv(100)?.toString()).toBe('hello');
  });

  it('refuses to write text', () => {
    const [, fd] = file();
    expect(() => keep(new FileWrapper(fd)).send('text' as never)).toThrow(TypeError);
  });

  it('throws what the kernel says', () => {
    const directory = keepFd(openSync('/', 'r'));
    const wrapper = keep(new FileWrapper(directory));
    expect(() => wrapper.recv(1)).toThrow(SocketError);
    expect(() => wrapper.recv(1)).toThrow(
      expect.objectContaining({ code: 'EISDIR', syscall: 'read' }),
    );
    expect(() => wrapper.send(Buffer.from('x'))).toThrow(
      expect.objectContaining({ code: 'EBADF', syscall: 'write' }),
    );
  });

  it('has no error pending, and no other option', () => {
    const [, fd] = file();
    const wrapper = keep(new FileWrapper(fd));
    expect(wrapper.getSockOpt(SOL_SOCKET, SO_ERROR)).toBe(0);
    expect(() => wrapper.getSockOpt(SOL_SOCKET, SO_REUSEADDR)).toThrow(
      'Cannot get a socket option of a file: expected SO_ERROR of SOL_SOCKET, received [ 1, 2 ]',
    );
    expect(() => wrapper.getSockOpt(6, SO_ERROR)).toThrow(RangeError);
  });

  it('closes twice without a word', () => {
    const [, fd] = file();
    const wrapper = new FileWrapper(fd);
    wrapper.close();
    expect(wrapper.fileno()).toBe(-1);
    expect(() => wrapper.close()).not.toThrow();
  });

  it('throws EBADF when somebody else has closed it, once', () => {
    const [, fd] = file();
    const wrapper = new FileWrapper(fd);
    closeSync(wrapper.fileno());
    expect(() => wrapper.close()).toThrow(
      expect.objectContaining({ code: 'EBADF', syscall: 'close' }),
    );
    expect(wrapper.fileno()).toBe(-1);
    expect(() => wrapper.close()).not.toThrow();
  });

  it('refuses everything when it is closed', () => {
    const [, fd] = file();
    const wrapper = new FileWrapper(fd);
    wrapper.close();
    expect(() => wrapper.recv(1)).toThrow(
      expect.objectContaining({
        code: 'EBADF',
        message: 'Cannot read: the file is closed (fd -1)',
      }),
    );
    expect(() => wrapper.send(Buffer.from('x'))).toThrow('Cannot write');
  });

  it('closes at the end of a using declaration', () => {
    const [, fd] = file();
    let seen: FileWrapper;
    {
      using wrapper = new FileWrapper(fd);
      seen = wrapper;
      expect(wrapper.fileno()).toBeGreaterThan(0);
    }
    expect(seen.fileno()).toBe(-1);
  });

  it('shows its descriptor', () => {
    const [, fd] = file();
    const wrapper = new FileWrapper(fd);
    expect(`${wrapper}`).toBe(`<FileWrapper fd=${wrapper.fileno()}>`);
    expect(inspect(wrapper)).toBe(`${wrapper}`);
    wrapper.close();
    expect(`${wrapper}`).toBe('<FileWrapper fd=-1>');
  });

  it('refuses a descriptor that is not open, and what is none', () => {
    const [, fd] = file();
    closeKept(fd);
    expect(() => new FileWrapper(fd)).toThrow(expect.objectContaining({ code: 'EBADF' }));
    expect(() => new FileWrapper(-1)).toThrow(RangeError);
    expect(() => new FileWrapper('0' as never)).toThrow(TypeError);
  });

  it('is closed with a ResourceWarning when it is dropped', () => {
    const script = temporaryPath('dropped.ts');
    writeFileSync(
      script,
      `
      import { openSync, readdirSync, readlinkSync } from 'node:fs';
      import { FileWrapper } from ${JSON.stringify(resolve(__dirname, '../../lib/index.ts'))};

      const warnings: unknown[] = [];
      process.on('warning', ({ name, message, code }: NodeJS.ErrnoException) => {
        warnings.push([name, message, code]);
      });
      const copies = (): number =>
        readdirSync('/proc/self/fd').filter((fd) => {
          try {
            return readlinkSync('/proc/self/fd/' + fd) === __filename;
          } catch {
            return false;
          }
        }).length;
      const fd = openSync(__filename, 'r');
      const before = copies();
      (() => new FileWrapper(fd).fileno())();
      const during = copies();
      new FileWrapper(fd).close();

      void (async () => {
        const end = Date.now() + 5000;
        while (warnings.length === 0 && Date.now() < end) {
          (globalThis as { gc?: () => void }).gc?.();
          await new Promise((resolve) => setTimeout(resolve, 10));
        }
        console.log(JSON.stringify({ before, during, after: copies(), warnings }));
      })();
      `,
    );
    const { stdout, stderr } = spawnSync(process.execPath, ['--expose-gc', ...TYPESCRIPT, script], {
      cwd: resolve(__dirname, '../..'),
      encoding: 'utf8',
      timeout: 20_000,
    });
    expect({ stderr, stdout }).toMatchObject({ stdout: expect.stringMatching(/^\{.*\}\n$/) });
    const { before, during, after, warnings } = JSON.parse(stdout);
    expect([before, during, after]).toEqual([1, 2, 1]);
    expect(warnings).toEqual([
      [
        'ResourceWarning',
        expect.stringMatching(/^Unclosed file \(fd \d+\): it was dropped without close\(\)$/),
        'ASYNCORE_UNCLOSED',
      ],
    ]);
  }, 30_000);
});

describe('FileDispatcher', () => {
  it('is connected, without an address, and in the map under a duplicate', () => {
    const [input] = namedPipe();
    const channel = new Recorder(input);
    expect(channel.connected).toBe(true);
    expect(channel.addr).toBeNull();
    expect(channel.socket).toBeInstanceOf(FileWrapper);
    expect(channel.fileno()).toBe(channel.socket?.fileno());
    expect(channel.fileno()).not.toBe(input);
    expect([...socketMap]).toEqual([[channel.fileno(), channel]]);
    expect(`${channel}`).toMatch(/^<Recorder connected at 0x[0-9a-f]+>$/);
  });

  it('stands in the map it is given', () => {
    const map = new ChannelMap();
    const [input] = namedPipe();
    const channel = new Recorder(input, map);
    expect([...map.values()]).toEqual([channel]);
    expect(socketMap.size).toBe(0);
    channel.close();
    expect(map.size).toBe(0);
  });

  it('makes the original non-blocking, which shares that with its duplicate', () => {
    const [, output] = namedPipe();
    expect(flagsOf(output) & O_NONBLOCK).toBe(0);
    const channel = new Recorder(output);
    expect(flagsOf(output) & O_NONBLOCK).toBe(O_NONBLOCK);
    expect(flagsOf(channel.fileno() as number) & O_NONBLOCK).toBe(O_NONBLOCK);
  });

  it('leaves the original open when it closes', () => {
    const [input, output] = namedPipe();
    new Recorder(input).close();
    writeSync(output, 'x');
    expect(readSync(input, Buffer.alloc(10))).toBe(1);
  });

  it('refuses what is not open, and stands in no map then', () => {
    const [, fd] = file();
    closeKept(fd);
    expect(() => new Recorder(fd)).toThrow(expect.objectContaining({ code: 'EBADF' }));
    expect(socketMap.size).toBe(0);
  });

  it.each([['a path'], [null], [undefined], [{}], [{ fd: '3' }]])('refuses %p', (value) => {
    expect(() => new Recorder(value as never)).toThrow(TypeError);
    expect(() => new Recorder(value as never)).toThrow(
      'Cannot make a file channel: expected a descriptor, received ',
    );
    expect(socketMap.size).toBe(0);
  });

  describe('takes for a file', () => {
    async function check(value: HasDescriptor, original: number): Promise<void> {
      const channel = new Recorder(value);
      expect(channel.fileno()).not.toBe(original);
      expect(fstatSync(channel.fileno() as number).ino).toBe(fstatSync(original).ino);
      channel.close();
    }

    it('a FileHandle', async () => {
      const handle: FileHandle = await open(file('x')[0]);
      try {
        await check(handle, handle.fd);
      } finally {
        await handle.close();
      }
    });

    it('whatever has a fileno()', async () => {
      const [, fd] = file();
      await check({ fileno: () => fd }, fd);
    });

    it('a Socket', async () => {
      const [a, b] = Socket.pair();
      keepAll(a, b);
      await check(a, a.fileno());
    });

    it('a stream’s descriptor', async () => {
      const [, fd] = file();
      await check({ fd }, fd);
    });
  });

  describe.each(WAYS)('in a loop (%s)', (_, how) => {
    it('reads from a pipe until it ends', async () => {
      const [input, output] = namedPipe();
      const channel = new Recorder(input);
      writeSync(output, 'hello');
      await drive(how, () => channel.received === 'hello');
      expect(channel.events).toEqual(['read']);
      writeSync(output, ' world');
      closeKept(output);
      await drive(how, () => channel.events.includes('close'));
      expect(channel.received).toBe('hello world');
      expect(channel.events.at(-1)).toBe('close');
      expect(channel.events.filter((event) => event === 'close')).toHaveLength(1);
      expect(channel.errors).toEqual([]);
      expect(socketMap.size).toBe(0);
    });

    it('is not ended by a read that finds nothing', async () => {
      const [input, output] = namedPipe();
      const channel = new Recorder(input);
      expect(channel.recv(10)).toBeNull();
      expect(channel.connected).toBe(true);
      writeSync(output, 'x');
      await drive(how, () => channel.received === 'x');
      expect(channel.events).toEqual(['read']);
    });

    it('writes into a pipe as fast as it is read', async () => {
      const [input, output] = namedPipe();
      const data = Buffer.alloc(300_000, 'abcdefg');
      let at = 0;
      const channel = new (class extends Recorder {
        override readable(): boolean {
          return false;
        }
        override handleWrite(): Handled {
          at += this.send(data.subarray(at));
          this.writes = at < data.length;
        }
      })(output);
      channel.writes = true;
      const got: Buffer[] = [];
      let size = 0;
      const buffer = Buffer.alloc(10_000);
      await drive(how, () => {
        if (at > size) {
          const more = readSync(input, buffer);
          got.push(Buffer.from(buffer.subarray(0, more)));
          size += more;
        }
        return size === data.length;
      });
      expect(Buffer.concat(got).equals(data)).toBe(true);
      expect(channel.events).toEqual([]);
    });

    it('calls handleClose when it writes and nobody reads any more', async () => {
      const [input, output] = namedPipe();
      const sent: number[] = [];
      const channel = new (class extends Recorder {
        override readable(): boolean {
          return false;
        }
        override handleWrite(): Handled {
          sent.push(this.send(Buffer.from('x')));
        }
      })(output);
      channel.writes = true;
      closeKept(input);
      await drive(how, () => channel.events.includes('close'));
      expect(channel.events).toEqual(['close']);
      expect(sent).toEqual([0]);
      expect(channel.errors).toEqual([]);
      expect(socketMap.size).toBe(0);
    });

    it('reads a regular file to its end, which is always ready', async () => {
      const content = Buffer.alloc(50_000, '0123456789');
      const [, fd] = file(content);
      const channel = new Recorder(fd);
      await drive(how, () => channel.events.includes('close'));
      expect(channel.received).toBe(content.toString());
      expect(channel.events.at(-1)).toBe('close');
      expect(channel.errors).toEqual([]);
      // Seven reads of 8192, and the one that finds the end.
      expect(channel.events).toHaveLength(9);
    });

    it('writes a regular file, beside other channels', async () => {
      const [path, fd] = file();
      const [a, b] = Socket.pair();
      keep(b);
      const copies = new (class extends Recorder {
        override readable(): boolean {
          return false;
        }
        override handleWrite(): Handled {
          this.send(Buffer.from('tick\n'));
          if (this.events.push('write') === 3) this.close();
        }
      })(fd);
      copies.writes = true;
      const pair = new Recorder(keep(a));
      b.send(Buffer.from('hello'));
      await drive(how, () => pair.received === 'hello' && copies.fileno() === null);
      expect(copies.events).toEqual(['write', 'write', 'write']);
      expect(readFileSync(path, 'utf8')).toBe('tick\ntick\ntick\n');
    });

    it('ends with a file that somebody else closes', async () => {
      const [input] = namedPipe();
      const channel = new Recorder(input);
      (channel.socket as FileWrapper).close();
      await drive(how, () => channel.events.length > 0);
      expect(channel.events).toEqual(['close']);
    });

    it('gives an error to handleError', async () => {
      const directory = keepFd(openSync('/', 'r'));
      const channel = new Recorder(directory);
      await drive(how, () => channel.errors.length > 0);
      expect(channel.events).toEqual(['read', 'error']);
      expect(channel.errors).toMatchObject([{ code: 'EISDIR' }]);
    });
  });

  it('takes another file with setFile, and leaves the first entry', () => {
    const [first] = namedPipe();
    const [second] = namedPipe();
    const channel = new Recorder(first);
    const before = keep(channel.socket as FileWrapper);
    channel.setFile(second);
    expect([...socketMap]).toEqual([[channel.fileno(), channel]]);
    expect(channel.fileno()).not.toBe(before.fileno());
  });
});
