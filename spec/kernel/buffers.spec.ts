import { AF_UNIX, MSG_PEEK, SOCK_NONBLOCK, SOCK_STREAM } from 'asyncore';
import fc from 'fast-check';
import { copyOf, keepable, receive, SendScratch, sendScratch } from '../../lib/kernel/buffers';
import { ERRNO } from '../../lib/kernel/platform/linux';
import * as libc from '../../lib/kernel/syscalls';

const opened: number[] = [];

function pair(): [number, number] {
  const fds = libc.socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
  if (typeof fds === 'number') throw libc.failure(fds, 'socketpair');
  opened.push(...fds);
  return fds;
}

afterEach(() => {
  for (const fd of opened.splice(0)) libc.close(fd);
});

describe('receive', () => {
  it('returns what there is, or the errno, negated', () => {
    const [a, b] = pair();
    expect(receive(b, 10, 0)).toBe(-ERRNO.EAGAIN);
    libc.send(a, Buffer.from('hello'), 0);
    expect(String(receive(b, 3, 0))).toBe('hel');
    expect(String(receive(b, 3, MSG_PEEK))).toBe('lo');
    expect(String(receive(b, 3, 0))).toBe('lo');
    libc.shutdown(a, 1);
    expect(receive(b, 3, 0)).toHaveLength(0);
  });

  it('never hands the same memory out twice, whatever the sizes', () => {
    const [a, b] = pair();
    const received: [Buffer, number][] = [];
    for (let round = 0; round < 60; round += 1) {
      const size = [1, 16_383, 16_384, 60_000, 262_144, 262_145][round % 6] as number;
      libc.send(a, Buffer.alloc(Math.min(size, 60_000), round), 0);
      received.push([receive(b, size, 0) as Buffer, round]);
    }
    for (const [data, byte] of received) {
      expect(data.length).toBeGreaterThan(0);
      expect(data.every((each) => each === byte)).toBe(true);
    }
  });

  it('copies a small read, and shows a large one as it is', () => {
    const [a, b] = pair();
    libc.send(a, Buffer.alloc(40_000), 0);
    const small = receive(b, 16_383, 0) as Buffer;
    const large = receive(b, 16_384, 0) as Buffer;
    expect(small.buffer).not.toBe(large.buffer);
    expect(large.buffer.byteLength).toBe(256 * 1024);
  });
});

describe('receive, of more than the slab holds', () => {
  const SIZE = 1024 * 1024;

  it.each<[string, number, number]>([
    ['copies a small part of its memory', 64 * 1024 - 1, 64 * 1024 - 1],
    ['shows a larger part as it is', 64 * 1024, SIZE],
  ])('%s', (_, sent, memory) => {
    const [a, b] = pair();
    expect(libc.send(a, Buffer.alloc(sent, 'x'), 0)).toBe(sent);
    const data = receive(b, SIZE, 0) as Buffer;
    expect(data.equals(Buffer.alloc(sent, 'x'))).toBe(true);
    expect(data.buffer.byteLength).toBe(memory);
  });
});

describe('copyOf', () => {
  it.each([0, 1, 128, 129, 5000])('copies %i bytes', (length) => {
    const digits = Buffer.from(Array.from({ length: 251 }, (_, index) => index));
    const memory = Buffer.alloc(6000, digits);
    const copy = copyOf(memory, 7, 7 + length);
    expect(copy.equals(memory.subarray(7, 7 + length))).toBe(true);
    memory.fill(0);
    expect(copy.length > 0 ? copy[0] : 7).toBe(7);
    expect(copy.buffer).not.toBe(memory.buffer);
  });
});

describe('keepable', () => {
  const large = Buffer.alloc(20_000, 'x');
  const huge = Buffer.alloc(20_000 * 16 + 1, 'x');

  it.each<[string, Buffer, number, number, boolean]>([
    ['a large piece of a large read', large, 100, 16_484, true],
    ['a small piece of a large read', large, 100, 16_483, false],
    ['a sixteenth of a larger read', huge, 1, 20_002, true],
    ['less than a sixteenth of a larger read', huge, 0, 20_000, false],
    ['any piece of a small read', Buffer.alloc(16_383), 0, 1, true],
  ])('is a view of %s: %#', (_, input, start, end, isView) => {
    const piece = keepable(input, start, end);
    expect(piece.equals(input.subarray(start, end))).toBe(true);
    expect(piece.buffer === input.buffer).toBe(isView);
  });
});

describe('SendScratch', () => {
  const SIZE = 256 * 1024;
  const contents = ({ memory, used }: SendScratch): string =>
    memory.buffer.toString('latin1', 0, used);

  it('appends bytes and text, one behind the other', () => {
    const scratch = new SendScratch();
    expect(scratch.append(Buffer.from('ab'))).toBe(true);
    expect(scratch.append(Buffer.from('0123456789'))).toBe(true);
    expect(scratch.appendText('\r\n', 'latin1')).toBe(2);
    expect(scratch.used).toBe(14);
    expect(contents(scratch)).toBe('ab0123456789\r\n');
  });

  it('gives back what was appended from a mark on', () => {
    const scratch = new SendScratch();
    scratch.appendText('keep', 'latin1');
    const start = scratch.used;
    scratch.appendText('drop', 'latin1');
    scratch.release(start);
    scratch.appendText('!', 'latin1');
    expect(contents(scratch)).toBe('keep!');
  });

  it('is sent from where it stands', () => {
    const [a, b] = pair();
    const scratch = new SendScratch();
    scratch.appendText('of another', 'latin1');
    const start = scratch.used;
    scratch.appendText('mine', 'latin1');
    expect(libc.sendFrom(a, scratch.memory, start, scratch.used - start, 0)).toBe(4);
    expect(String(receive(b, 100, 0))).toBe('mine');
  });

  it('brings ranges together, in other memory', () => {
    const scratch = new SendScratch();
    for (const text of ['one, ', 'x', 'two, ', 'y'.repeat(1000), 'three', 'z'.repeat(1000)]) {
      scratch.appendText(text, 'latin1');
    }
    const joined = scratch.join([0, 5, 6, 5, 1011, 5, 1016, 1000]);
    expect(joined.buffer.toString('latin1', 0, 1015)).toBe(`one, two, three${'z'.repeat(1000)}`);
    expect(contents(scratch).slice(0, 11)).toBe('one, xtwo, ');
  });

  it.each([0, 1, 8, 9, 16_384])(
    'refuses what has no room, and takes what fits: %i bytes',
    (length) => {
      const scratch = new SendScratch();
      scratch.used = SIZE - length;
      expect(scratch.append(Buffer.alloc(length + 1))).toBe(false);
      expect(scratch.used).toBe(SIZE - length);
      expect(scratch.append(Buffer.alloc(length, 'x'))).toBe(true);
      expect(scratch.used).toBe(SIZE);
      expect(scratch.appendText('', 'utf8')).toBe(0);
      expect(scratch.appendText('x', 'utf8')).toBe(-1);
      expect(scratch.used).toBe(SIZE);
    },
  );

  it('refuses text that might not fit', () => {
    const scratch = new SendScratch();
    scratch.used = SIZE - 29;
    expect(scratch.appendText('0123456789', 'latin1')).toBe(-1);
    expect(scratch.used).toBe(SIZE - 29);
    expect(scratch.appendText('012345678', 'latin1')).toBe(9);
  });

  it('encodes as Buffer does, in every encoding', () => {
    const scratch = new SendScratch();
    const encodings: BufferEncoding[] = [
      'utf8',
      'utf-8',
      'latin1',
      'binary',
      'ascii',
      'utf16le',
      'ucs2',
      'hex',
      'base64',
      'base64url',
    ];
    const text = fc.oneof(
      fc.string({ maxLength: 80 }),
      fc.string({ unit: 'binary', maxLength: 80 }),
      fc.string({ unit: fc.constantFrom('a', '\x7f', '\x80', 'ÿ', '\ud800', '€') }),
    );
    fc.assert(
      fc.property(text, fc.constantFrom(...encodings), (value, encoding) => {
        const start = scratch.used;
        const expected = Buffer.from(value, encoding);
        expect(scratch.appendText(value, encoding)).toBe(expected.length);
        const written = scratch.memory.buffer.subarray(start, scratch.used);
        expect(written.equals(expected)).toBe(true);
        scratch.release(start);
      }),
      { numRuns: 2000 },
    );
  });

  it('copies as many bytes as there are, whatever the object says of its length', () => {
    const scratch = new SendScratch();
    for (const size of [4, 40]) {
      const liar = Object.defineProperty(new Uint8Array(size).fill(0x61), 'length', {
        value: 4000,
      });
      expect(scratch.append(liar)).toBe(true);
    }
    expect(contents(scratch)).toBe('a'.repeat(44));
  });

  it('is one for each thread', () => {
    expect(sendScratch).toBeInstanceOf(SendScratch);
    expect(sendScratch.used).toBe(0);
    expect(sendScratch.memory.buffer).toHaveLength(SIZE);
  });
});
