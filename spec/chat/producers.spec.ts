// Producers by themselves: nothing here has a channel.

import { spawnSync } from 'node:child_process';
import { ftruncateSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import {
  ChunkedProducer,
  CompositeProducer,
  CompressedProducer,
  FileProducer,
  GlobbingProducer,
  HookedProducer,
  type Producer,
  SimpleProducer,
  type Source,
} from 'asyncore';
import * as fc from 'fast-check';
import { isOpen } from '../support/descriptors';
import { temporaryPath } from '../support/drive';

/** All pieces up to the first empty one. */
function pieces(producer: Producer, limit = 10_000): string[] {
  return bytes(producer, limit).map((piece) => piece.toString('latin1'));
}

function bytes(producer: Producer, limit = 10_000): Buffer[] {
  const found: Buffer[] = [];
  for (let count = 0; count < limit; count += 1) {
    const piece = (producer.more() ?? '') as Uint8Array;
    if (piece.length === 0) return found;
    found.push(Buffer.from(piece));
  }
  throw new Error('never exhausted');
}

/** Yields these pieces, notes what is done to it, and must not be asked after its end. */
class Scripted implements Producer {
  closed = 0;
  readonly #pieces: (Uint8Array | string)[];
  #over = false;

  constructor(...script: (Uint8Array | string)[]) {
    this.#pieces = script;
  }

  more(): Uint8Array | string | undefined {
    if (this.#over) throw new Error('asked after its end');
    const piece = this.#pieces.shift();
    this.#over = piece === undefined;
    return piece;
  }

  close(): void {
    this.closed += 1;
  }
}

describe('SimpleProducer', () => {
  it('yields pieces of 512 bytes unless told otherwise', () => {
    const producer = new SimpleProducer(Buffer.alloc(1200, 'x'));
    expect(producer.bufferSize).toBe(512);
    expect(pieces(producer).map((piece) => piece.length)).toEqual([512, 512, 176]);
  });

  it.each([
    [1, ['a', 'b', 'c', 'd', 'e']],
    [2, ['ab', 'cd', 'e']], // the last piece is what is left
    [3, ['abc', 'de']],
    [4, ['abcd', 'e']],
    [5, ['abcde']], // exactly: no empty piece before the end
    [6, ['abcde']],
    [Number.MAX_SAFE_INTEGER, ['abcde']],
  ])('yields pieces of at most %p bytes', (size, expected) => {
    expect(pieces(new SimpleProducer('abcde', size))).toEqual(expected);
  });

  it('is exhausted for ever', () => {
    const producer = new SimpleProducer('abc', 2);
    expect(pieces(producer)).toEqual(['ab', 'c']);
    for (let count = 0; count < 3; count += 1) expect(producer.more()).toHaveLength(0);
  });

  it('is exhausted at once without data', () => {
    expect(new SimpleProducer('').more()).toHaveLength(0);
    expect(new SimpleProducer('', 0).more()).toHaveLength(0);
    expect(new SimpleProducer(Buffer.alloc(0), -1).more()).toHaveLength(0);
    expect(new SimpleProducer(Buffer.alloc(0), 1).more()).toHaveLength(0);
    expect(new SimpleProducer(new Uint8Array(0)).more()).toHaveLength(0);
  });

  it('encodes a string as UTF-8 and counts bytes', () => {
    const producer = new SimpleProducer('aé', 2);
    expect(Buffer.from(producer.more())).toEqual(Buffer.from([0x61, 0xc3]));
    expect(Buffer.from(producer.more())).toEqual(Buffer.from([0xa9]));
    expect(producer.more()).toHaveLength(0);
  });

  it('takes a Uint8Array that is no Buffer, and a view into the middle of one', () => {
    const bytes = new Uint8Array([0x2d, 0x61, 0x62, 0x63, 0x2d]);
    expect(pieces(new SimpleProducer(bytes.subarray(1, 4), 2))).toEqual(['ab', 'c']);
  });

  it('yields views of the data, which is not copied', () => {
    const data = Buffer.from('abcdef');
    const producer = new SimpleProducer(data, 4);
    expect(producer.more().buffer).toBe(data.buffer);
  });

  it.each([0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY])(
    'refuses pieces of %p bytes',
    (size) => {
      expect(() => new SimpleProducer('abc', size)).toThrow(RangeError);
      expect(() => new SimpleProducer('abc', size)).toThrow(
        `Cannot make a producer: expected a positive integer as bufferSize, received ${size}`,
      );
    },
  );

  it('refuses a size that is no number', () => {
    expect(() => new SimpleProducer('abc', '8' as unknown as number)).toThrow(TypeError);
    expect(() => new SimpleProducer('abc', null as unknown as number)).toThrow(TypeError);
  });

  it('yields all of the data, in order, whatever the sizes are', () => {
    void fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 200 }),
        fc.integer({ min: 1, max: 220 }),
        (data, size) => {
          const producer = new SimpleProducer(data, size);
          const found: Uint8Array[] = [];
          for (let piece = producer.more(); piece.length > 0; piece = producer.more()) {
            found.push(piece);
          }
          expect(Buffer.concat(found)).toEqual(Buffer.from(data));
          expect(found).toHaveLength(Math.ceil(data.length / size));
          for (const piece of found.slice(0, -1)) expect(piece).toHaveLength(size);
        },
      ),
    );
  });

  it('takes a time that does not grow with the square of the data', () => {
    const producer = new SimpleProducer(Buffer.alloc(8 * 1024 * 1024), 64);
    let length = 0;
    for (let piece = producer.more(); piece.length > 0; piece = producer.more()) {
      length += piece.length;
    }
    expect(length).toBe(8 * 1024 * 1024);
  });
});

/** A file with this in it, opened. */
function fileWith(data: string | Buffer): { path: string; fd: number } {
  const path = temporaryPath();
  writeFileSync(path, data);
  return { path, fd: openSync(path, 'r+') };
}

describe('FileProducer', () => {
  it('yields a file in pieces of 64 KiB, and closes it', () => {
    const data = Buffer.alloc(150_000, 'abc');
    const { fd } = fileWith(data);
    const found = bytes(new FileProducer(fd));
    expect(found.map((piece) => piece.length)).toEqual([65536, 65536, 18928]);
    expect(Buffer.concat(found).equals(data)).toBe(true);
    expect(isOpen(fd)).toBe(false);
  });

  it.each([
    [{}, 'abcdef'],
    [{ start: 2 }, 'cdef'],
    [{ end: 4 }, 'abcd'],
    [{ start: 2, end: 4 }, 'cd'],
    [{ start: 6 }, ''],
    [{ start: 9 }, ''],
    [{ start: 2, end: 2 }, ''],
    [{ start: 9, end: 9 }, ''],
  ])('yields the part %j', (part, expected) => {
    const { fd } = fileWith('abcdef');
    const producer = new FileProducer(fd, part);
    expect(pieces(producer).join('')).toBe(expected);
    expect(isOpen(fd)).toBe(false);
    expect(producer.more()).toHaveLength(0);
  });

  it('closes the file together with the last piece of a part', () => {
    const { fd } = fileWith('abcdef');
    const producer = new FileProducer(fd, { end: 3 });
    expect(String(producer.more())).toBe('abc');
    expect(isOpen(fd)).toBe(false);
  });

  it('does not yield what is added to a part meanwhile', () => {
    const { path, fd } = fileWith('abc');
    const producer = new FileProducer(fd, { end: 3 });
    writeFileSync(path, 'abcdef');
    expect(pieces(producer)).toEqual(['abc']);
  });

  it('throws when a part is not all there, and closes the file', () => {
    const { fd } = fileWith('abc');
    const producer = new FileProducer(fd, { end: 5 });
    expect(String(producer.more())).toBe('abc');
    expect(() => producer.more()).toThrow('Cannot read a file up to byte 5: it ends at 3');
    expect(isOpen(fd)).toBe(false);
    expect(producer.more()).toHaveLength(0);
  });

  it('ends with a file that has become shorter, where no end was promised', () => {
    const { fd } = fileWith(Buffer.alloc(70_000));
    const producer = new FileProducer(fd);
    producer.more();
    ftruncateSync(fd, 10);
    expect(producer.more()).toHaveLength(0);
    expect(isOpen(fd)).toBe(false);
  });

  it('throws what the system says, and closes the file', () => {
    const fd = openSync('/', 'r');
    const producer = new FileProducer(fd);
    expect(() => producer.more()).toThrow('EISDIR');
    expect(isOpen(fd)).toBe(false);
  });

  it('lets go of the file when it is closed, once', () => {
    const { fd } = fileWith('abc');
    const producer = new FileProducer(fd);
    producer.close();
    expect(isOpen(fd)).toBe(false);
    // Another file's now.
    const other = openSync('/dev/null', 'r');
    expect(other).toBe(fd);
    producer.close();
    expect(producer.more()).toHaveLength(0);
    expect(isOpen(other)).toBe(true);
    new FileProducer(other).close();
  });

  it('yields pieces that do not change later', () => {
    const { fd } = fileWith(Buffer.concat([Buffer.alloc(65536, 'a'), Buffer.alloc(65536, 'b')]));
    const [first, second] = bytes(new FileProducer(fd));
    expect([first?.[0], second?.[0]]).toEqual([0x61, 0x62]);
  });

  it.each([
    [{ start: -1 }, 'expected start to be a byte offset, received -1'],
    [{ start: 0.5 }, 'expected start to be a byte offset, received 0.5'],
    [{ start: Infinity }, 'expected start to be a byte offset, received Infinity'],
    [{ start: 2, end: 1 }, 'expected end to be a byte offset, start or more, received 1'],
    [{ end: Number.NaN }, 'expected end to be a byte offset, start or more, received NaN'],
  ])('refuses the part %j', (part, message) => {
    expect(() => new FileProducer(0, part)).toThrow(RangeError);
    expect(() => new FileProducer(0, part)).toThrow(`Cannot make a producer: ${message}`);
  });
});

it.each<[string, () => unknown, string]>([
  [
    'path',
    () => new FileProducer('/etc/hosts' as never),
    "a file descriptor, received '/etc/hosts'",
  ],
  [
    'start',
    () => new FileProducer(0, { start: '1' as never }),
    "start to be a byte offset, received '1'",
  ],
  [
    'size',
    () => new GlobbingProducer('a', '5' as never),
    "a positive integer as size, received '5'",
  ],
  ['level', () => new CompressedProducer('a', '5' as never), "0 to 9 as level, received '5'"],
  ['hook', () => new HookedProducer('a', 5 as never), 'a function as hook, received 5'],
])('A producer refuses a %s of the wrong type when it is made', (_, make, message) => {
  expect(make).toThrow(TypeError);
  expect(make).toThrow(`Cannot make a producer: expected ${message}`);
});

describe('The part of a FileProducer', () => {
  it.each<[unknown, string]>([
    [{ form: 1 }, "options named start or end, received 'form'"],
    [{ End: 1 }, "received 'End'; did you mean end?"],
    [null, 'a part { start, end }, received null'],
    [5, 'a part { start, end }, received 5'],
  ])('may not be %p', (part, message) => {
    const make = (): Producer => new FileProducer(0, part as { start: number });
    expect(make).toThrow(TypeError);
    expect(make).toThrow(message);
  });
});

describe('CompositeProducer', () => {
  it('yields one after the other, data and producers', () => {
    const sources: Source[] = ['<', new Scripted('a', 'b'), Buffer.from('|'), new Scripted(), '>'];
    expect(pieces(new CompositeProducer(sources))).toEqual(['<', 'a', 'b', '|', '>']);
  });

  it('does not end at what is empty', () => {
    expect(pieces(new CompositeProducer(['', 'a', '', new Scripted(''), 'b', '']))).toEqual([
      'a',
      'b',
    ]);
    expect(pieces(new CompositeProducer([]))).toEqual([]);
  });

  it('takes from a generator what is needed, when it is', () => {
    const log: string[] = [];
    function* rows() {
      for (const row of ['1', '2']) {
        log.push(row);
        yield row;
      }
    }
    const producer = new CompositeProducer(rows());
    expect(log).toEqual([]);
    expect(String(producer.more())).toBe('1');
    expect(log).toEqual(['1']);
    expect(pieces(producer)).toEqual(['2']);
    expect(producer.more()).toHaveLength(0);
  });

  it('closes the sources that are left', () => {
    const [over, current, left] = [new Scripted('a'), new Scripted('b', 'c'), new Scripted('d')];
    const producer = new CompositeProducer([over, current, left]);
    void producer.more();
    void producer.more();
    void producer.close();
    expect([over.closed, current.closed, left.closed]).toEqual([0, 1, 1]);
    expect(producer.more()).toHaveLength(0);
    void producer.close();
    expect([over.closed, current.closed, left.closed]).toEqual([0, 1, 1]);
  });

  it('ends a generator that is left', () => {
    const made = new Scripted('a');
    let ended = false;
    function* sources() {
      try {
        yield made;
        throw new Error('not reached');
      } finally {
        ended = true;
      }
    }
    const producer = new CompositeProducer(sources());
    void producer.more();
    void producer.close();
    expect([made.closed, ended]).toEqual([1, true]);
    expect(producer.more()).toHaveLength(0);
  });

  it('is exhausted when a generator closes it while it makes the next source', () => {
    let ended = 0;
    function* rows() {
      try {
        yield 'rows';
        void producer.close();
        yield 'not wanted any more';
      } finally {
        ended += 1;
      }
    }
    const producer: CompositeProducer = new CompositeProducer(rows());
    expect(pieces(producer)).toEqual(['rows']);
    expect(ended).toBe(1);
    void producer.close();
    expect(producer.more()).toHaveLength(0);
    expect(ended).toBe(1);
  });

  it('closes what a generator still makes after closing it', () => {
    const late = new Scripted('late');
    function* rows() {
      yield 'rows';
      void producer.close();
      yield late;
    }
    const producer: CompositeProducer = new CompositeProducer(rows());
    expect(pieces(producer)).toEqual(['rows']);
    expect(late.closed).toBe(1);
  });

  it('closes the sources behind when an iterator closes it while it makes the next one', () => {
    const left = new Scripted('left');
    const sources: Source[] = ['a', 'b', left];
    let close = (): void => {};
    const producer = new CompositeProducer({
      [Symbol.iterator]: () => ({
        next() {
          const value = sources.shift();
          if (value === 'b') close();
          return value === undefined ? { done: true, value } : { done: false, value };
        },
      }),
    });
    close = () => producer.close();
    expect(pieces(producer)).toEqual(['a']);
    expect([left.closed, sources]).toEqual([1, []]);
  });

  it('refuses what is no producer when its turn comes', () => {
    const producer = new CompositeProducer(['a', 1 as unknown as string]);
    void producer.more();
    expect(() => producer.more()).toThrow(TypeError);
  });
});

describe('HookedProducer', () => {
  it('tells how much there was, once', () => {
    const told: number[] = [];
    const producer = new HookedProducer(new Scripted('aé', Buffer.from('b')), (length) => {
      told.push(length);
    });
    expect(String(producer.more())).toBe('aé');
    expect(String(producer.more())).toBe('b');
    expect(told).toEqual([]);
    for (let count = 0; count < 3; count += 1) expect(producer.more()).toHaveLength(0);
    expect(told).toEqual([4]);
  });

  it('says nothing when it is closed', () => {
    const inner = new Scripted('a', 'b');
    const producer = new HookedProducer(inner, () => {
      throw new Error('not exhausted');
    });
    void producer.more();
    void producer.close();
    expect(producer.more()).toHaveLength(0);
    expect(inner.closed).toBe(1);
  });
});

describe('GlobbingProducer', () => {
  it.each([
    [1, ['a', 'bc', 'd']],
    [2, ['abc', 'd']],
    [3, ['abc', 'd']],
    [4, ['abcd']],
    [100, ['abcd']],
  ])('gathers %p bytes at least', (size, expected) => {
    expect(pieces(new GlobbingProducer(new Scripted('a', 'bc', 'd'), size))).toEqual(expected);
  });

  it('gathers 64 KiB unless told otherwise', () => {
    const rows = Array.from({ length: 1000 }, () => 'x'.repeat(100));
    const producer = new GlobbingProducer(new CompositeProducer(rows));
    expect(pieces(producer).map((piece) => piece.length)).toEqual([65600, 34400]);
    expect(producer.more()).toHaveLength(0);
  });

  it('loses no piece to an error that follows it', async () => {
    const failure = new Error('the third piece');
    for (const late of [false, true]) {
      let asked = 0;
      const producer = new GlobbingProducer({
        more() {
          asked += 1;
          if (asked === 3) throw failure;
          const piece = asked < 5 ? `P${asked}` : null;
          return late && asked === 1 ? Promise.resolve(piece) : piece;
        },
      });
      expect(String(await producer.more())).toBe('P1P2');
      expect(() => producer.more()).toThrow(failure);
      expect(String(await producer.more())).toBe('P4');
    }
  });

  it('does not throw what it has kept once it is closed', () => {
    let asked = 0;
    const producer = new GlobbingProducer({
      more() {
        asked += 1;
        if (asked > 1) throw new Error('too late');
        return 'P1';
      },
    });
    expect(String(producer.more())).toBe('P1');
    void producer.close();
    expect(producer.more()).toHaveLength(0);
  });

  it('does not copy a piece that is large enough', () => {
    const data = Buffer.from('abcd');
    expect(new GlobbingProducer(new Scripted(data), 4).more()).toBe(data);
  });

  it('refuses a size that is none', () => {
    expect(() => new GlobbingProducer('a', 0)).toThrow(
      'Cannot make a producer: expected a positive integer as size, received 0',
    );
  });
});

describe('ChunkedProducer', () => {
  it('makes a chunk of each piece', () => {
    const producer = new ChunkedProducer(new Scripted('abc', 'é', 'x'.repeat(26)));
    expect(bytes(producer).map(String)).toEqual([
      '3\r\nabc\r\n',
      '2\r\né\r\n',
      `1a\r\n${'x'.repeat(26)}\r\n`,
      '0\r\n\r\n',
    ]);
    expect(producer.more()).toHaveLength(0);
  });

  it('ends also what is empty', () => {
    expect(pieces(new ChunkedProducer(''))).toEqual(['0\r\n\r\n']);
  });

  it('is exhausted when it is closed, without an end', () => {
    const inner = new Scripted('abc', 'd');
    const producer = new ChunkedProducer(inner);
    void producer.more();
    void producer.close();
    expect(producer.more()).toHaveLength(0);
    expect(inner.closed).toBe(1);
  });
});

describe('CompressedProducer', () => {
  const page = Buffer.from(
    Array.from({ length: 20_000 }, (_, row) => `row ${row}, ${row * row}\n`).join(''),
  );

  it.each([
    ['nothing', Buffer.alloc(0)],
    ['a byte', Buffer.from('a')],
    ['a page', page],
    ['zeros, of which a match may be as far back as can be', Buffer.alloc(1_000_000)],
    ['exactly one piece', Buffer.alloc(65536, 'ab')],
    [
      'what cannot be compressed',
      Buffer.from(Array.from({ length: 200_000 }, (_, at) => (at * at * 7919) >> 7)),
    ],
  ])('makes a gzip of %s', (_what, data) => {
    expect(gunzipSync(Buffer.concat(bytes(new CompressedProducer(data)))).equals(data)).toBe(true);
  });

  it('makes the same of small pieces and of large ones', () => {
    const rows = Array.from({ length: page.length / 7 + 1 }, (_, at) =>
      page.subarray(at * 7, at * 7 + 7),
    );
    const found = bytes(new CompressedProducer(new CompositeProducer(rows)));
    expect(gunzipSync(Buffer.concat(found)).equals(page)).toBe(true);
    expect(found.length).toBeLessThan(page.length / 65536 + 2);
  });

  it.each([0, 1, 9])('has the level %p', (level) => {
    const found = Buffer.concat(bytes(new CompressedProducer(page, level)));
    expect(gunzipSync(found).equals(page)).toBe(true);
    expect(found.length > page.length).toBe(level === 0);
  });

  it('refers to the piece before', () => {
    // 30,000 bytes that do not repeat themselves, again and again: the first time costs, and then
    // only what is beyond the reach of a match within one piece would.
    const part = Buffer.from(Array.from({ length: 30_000 }, (_, at) => (at * at * 7919) >> 7));
    const data = Buffer.concat(Array.from({ length: 20 }, () => part));
    const length = Buffer.concat(bytes(new CompressedProducer(data))).length;
    expect(length).toBeLessThan(2 * part.length);
  });

  it('is understood by gzip', () => {
    const found = Buffer.concat(bytes(new CompressedProducer(page)));
    const { stdout, status } = spawnSync('gzip', ['-dc'], { input: found, timeout: 5000 });
    expect([status, stdout.equals(page)]).toEqual([0, true]);
  });

  it('closes what it wraps', () => {
    const inner = new Scripted(page);
    const producer = new CompressedProducer(inner);
    void producer.more();
    void producer.close();
    expect(producer.more()).toHaveLength(0);
    expect(inner.closed).toBe(1);
  });

  it.each([-1, 10, 1.5])('refuses the level %p', (level) => {
    expect(() => new CompressedProducer('', level)).toThrow(
      `Cannot make a producer: expected 0 to 9 as level, received ${level}`,
    );
  });
});

describe('Producers that are made of the wrong thing', () => {
  const INVALID_TYPE = { name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' };
  const OUT_OF_RANGE = { name: 'RangeError', code: 'ERR_OUT_OF_RANGE' };

  it.each<[string, object, () => unknown]>([
    ['SimpleProducer(null)', INVALID_TYPE, () => new SimpleProducer(null as never)],
    ['SimpleProducer(5)', INVALID_TYPE, () => new SimpleProducer(5 as never)],
    ["SimpleProducer('a', 0)", OUT_OF_RANGE, () => new SimpleProducer('a', 0)],
    ["SimpleProducer('', 0.5)", OUT_OF_RANGE, () => new SimpleProducer('', 0.5)],
    ['FileProducer(0, { start: -1 })', OUT_OF_RANGE, () => new FileProducer(0, { start: -1 })],
    [
      'FileProducer(0, { start: 2, end: 1 })',
      OUT_OF_RANGE,
      () => new FileProducer(0, { start: 2, end: 1 }),
    ],
    ['CompositeProducer(5)', INVALID_TYPE, () => new CompositeProducer(5 as never)],
    ['CompositeProducer(null)', INVALID_TYPE, () => new CompositeProducer(null as never)],
    ['CompositeProducer([5])', INVALID_TYPE, () => new CompositeProducer([5 as never]).more()],
    ['HookedProducer(5, …)', INVALID_TYPE, () => new HookedProducer(5 as never, () => {})],
    ['GlobbingProducer({})', INVALID_TYPE, () => new GlobbingProducer({} as never)],
    ["GlobbingProducer('', 1.5)", OUT_OF_RANGE, () => new GlobbingProducer('', 1.5)],
    ['ChunkedProducer(null)', INVALID_TYPE, () => new ChunkedProducer(null as never)],
    [
      'CompressedProducer(undefined)',
      INVALID_TYPE,
      () => new CompressedProducer(undefined as never),
    ],
    ["CompressedProducer('', 10)", OUT_OF_RANGE, () => new CompressedProducer('', 10)],
  ])('say so, with a code: %s', (_, error, make) => {
    expect(make).toThrow(expect.objectContaining(error));
    expect(make).toThrow(/^Cannot make a producer: expected .*, received /);
  });

  describe.each<[string, (inner: Producer) => Producer]>([
    ['CompositeProducer', (inner) => new CompositeProducer([inner, 'tail'])],
    [
      'HookedProducer',
      (inner) =>
        new HookedProducer(inner, () => {
          throw new Error('not exhausted');
        }),
    ],
    ['GlobbingProducer', (inner) => new GlobbingProducer(inner)],
    ['ChunkedProducer', (inner) => new ChunkedProducer(inner)],
    ['CompressedProducer', (inner) => new CompressedProducer(inner)],
  ])('%s', (_, wrap) => {
    it.each<[string, unknown]>([
      ['a number', 5],
      ['an object', {}],
      ['an array', ['data']],
      ['an ArrayBuffer', new ArrayBuffer(4)],
      ['false', false],
    ])('does not take %s for the end, nor for a piece', (__, piece) => {
      const inner = Object.assign(new Scripted(), { more: () => piece as never });
      const producer = wrap(inner);
      const ask = (): unknown => producer.more();
      expect(ask).toThrow(
        expect.objectContaining({
          ...INVALID_TYPE,
          message: expect.stringMatching(
            /^Cannot use what more\(\) returned: expected a Uint8Array, string, null or undefined, rec/,
          ),
        }),
      );
      producer.close?.();
      expect(inner.closed).toBe(1);
    });

    it.each<[string, unknown]>([
      ['null', null],
      ['undefined', undefined],
      ["''", ''],
      ['no bytes', new Uint8Array(0)],
    ])('takes %s for the end', (__, end) => {
      const producer = wrap({ more: () => end as never });
      if (producer instanceof HookedProducer)
        expect(() => producer.more()).toThrow('not exhausted');
      else expect(() => pieces(producer)).not.toThrow();
    });
  });
});

describe('Producers around each other', () => {
  it('send a file compressed in chunks, and close it', () => {
    const { path, fd } = fileWith(Buffer.alloc(200_000, 'some text '));
    const producer = new ChunkedProducer(new CompressedProducer(new FileProducer(fd)));
    const text = pieces(producer).join('');
    expect(isOpen(fd)).toBe(false);
    let [body, at] = ['', 0];
    for (;;) {
      const end = text.indexOf('\r\n', at);
      const size = Number.parseInt(text.slice(at, end), 16);
      if (size === 0) break;
      body += text.slice(end + 2, end + 2 + size);
      at = end + 2 + size + 2;
    }
    expect(gunzipSync(Buffer.from(body, 'latin1')).equals(readFileSync(path))).toBe(true);
  });

  it('are closed from the outside in', () => {
    const { fd } = fileWith('abc');
    void new HookedProducer(
      new CompositeProducer([
        'head',
        new ChunkedProducer(new CompressedProducer(new FileProducer(fd))),
      ]),
      () => {},
    ).close();
    expect(isOpen(fd)).toBe(false);
  });
});
