import { SimpleProducer } from 'asyncore';
import * as fc from 'fast-check';

/** All pieces up to the first empty one. */
function pieces(producer: SimpleProducer, limit = 10_000): string[] {
  const found: string[] = [];
  for (let count = 0; count < limit; count += 1) {
    const piece = producer.more();
    if (piece.length === 0) return found;
    found.push(Buffer.from(piece).toString('latin1'));
  }
  throw new Error('never exhausted');
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
    expect(() => new SimpleProducer('abc', '8' as unknown as number)).toThrow(RangeError);
    expect(() => new SimpleProducer('abc', null as unknown as number)).toThrow(RangeError);
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
