// The reader of records by itself: bytes and a terminator in, pieces out. No socket, no channel.

import fc from 'fast-check';
import {
  type CheckedTerminator,
  findPrefixAtEnd,
  RecordReader,
  Step,
} from '../../lib/chat/record-reader';

const NAMES = ['part', 'record', 'overflow', 'skipped'];

/** Takes steps until no more can be taken: `part:abc`, `record:def`, … */
function steps(
  reader: RecordReader,
  terminator: string | number | null,
  limit = Infinity,
): string[] {
  const taken: string[] = [];
  const checked = typeof terminator === 'string' ? Buffer.from(terminator) : terminator;
  while (reader.hasInput) {
    const step = reader.next(checked, limit);
    taken.push(`${NAMES[step]}:${reader.input.toString('latin1', reader.start, reader.end)}`);
    if (reader.held) break;
  }
  return taken;
}

function reading(...chunks: string[]): RecordReader {
  const reader = new RecordReader();
  for (const chunk of chunks) reader.feed(Buffer.from(chunk));
  return reader;
}

describe('RecordReader, records that end with certain bytes', () => {
  it('completes a record at its delimiter, which belongs to no piece', () => {
    expect(steps(reading('one\r\ntwo\r\n'), '\r\n')).toEqual(['record:one', 'record:two']);
  });

  it('gives what has come of a record, and later the rest', () => {
    const reader = reading('on');
    expect(steps(reader, '\r\n')).toEqual(['part:on']);
    reader.feed(Buffer.from('e\r\n'));
    expect(steps(reader, '\r\n')).toEqual(['record:e']);
  });

  it('holds the beginning of a delimiter back at the end of the input', () => {
    const reader = reading('one\r');
    expect(steps(reader, '\r\n')).toEqual(['part:one']);
    expect(reader.rest.toString()).toBe('\r');
    reader.feed(Buffer.from('\n'));
    expect(steps(reader, '\r\n')).toEqual(['record:']);
  });

  it('gives what it held when it was no delimiter after all', () => {
    const reader = reading('one\r');
    steps(reader, '\r\n');
    reader.feed(Buffer.from('x'));
    expect(steps(reader, '\r\n')).toEqual(['part:\rx']);
  });

  it('takes an empty record for one', () => {
    expect(steps(reading('\n\n'), '\n')).toEqual(['record:', 'record:']);
  });

  it('finds a delimiter whose first byte occurs before', () => {
    expect(steps(reading('a-b--c'), '--')).toEqual(['record:a-b', 'part:c']);
  });
});

describe('RecordReader, records of a known length', () => {
  it('completes a record after so many bytes, and leaves what follows', () => {
    const reader = reading('abcdef');
    expect(reader.next(4, Infinity)).toBe(Step.Record);
    expect([reader.start, reader.end, reader.complete]).toEqual([0, 4, true]);
    expect(reader.rest.toString()).toBe('ef');
  });

  it('gives what has come of it; its user counts down', () => {
    const reader = reading('ab');
    expect(reader.next(4, Infinity)).toBe(Step.Part);
    expect(reader.complete).toBe(false);
    reader.feed(Buffer.from('cd'));
    expect(reader.next(2, Infinity)).toBe(Step.Record);
  });
});

describe('RecordReader, without records', () => {
  it.each([
    ['null', null],
    ['0', 0],
    ['an empty delimiter', ''],
  ] as const)('gives all input as it comes: %s', (_, terminator) => {
    expect(steps(reading('a\nb'), terminator)).toEqual(['part:a\nb']);
  });

  it('counts none of it for the limit of a record', () => {
    const reader = reading('abcdef');
    expect(steps(reader, null, 4)).toEqual(['part:abcdef']);
    reader.feed(Buffer.from('ghij\n'));
    expect(steps(reader, '\n', 4)).toEqual(['record:ghij']);
  });
});

describe('RecordReader, a record that is too long', () => {
  it('is told of once, at its first byte too many, and dropped up to its end', () => {
    const reader = reading('abcd', 'e');
    expect(steps(reader, '\n', 4)).toEqual(['overflow:abcde']);
    reader.feed(Buffer.from('fgh\nok\n'));
    expect(steps(reader, '\n', 4)).toEqual(['skipped:fgh', 'record:ok']);
  });

  it('may be complete in the same step', () => {
    expect(steps(reading('abcde\nok\n'), '\n', 4)).toEqual(['overflow:abcde', 'record:ok']);
  });

  it('ends where it was to end, whatever the terminator is by then', () => {
    const reader = reading('abcdef');
    steps(reader, '\n', 4);
    reader.feed(Buffer.from('g|h\ni|'));
    expect(steps(reader, '|', 4)).toEqual(['skipped:g|h', 'record:i']);
  });

  it('of a known length ends after so many bytes', () => {
    const reader = reading('abcde');
    expect(steps(reader, 8, 4)).toEqual(['overflow:abcde']);
    reader.feed(Buffer.from('fghXY'));
    expect(reader.next(100, 4)).toBe(Step.Skipped);
    expect(reader.complete).toBe(true);
    expect(reader.rest.toString()).toBe('XY');
  });
});

describe('RecordReader, its input', () => {
  it('may be replaced and forgotten', () => {
    const reader = reading('abc');
    reader.replace(Buffer.from('d\n'));
    expect(steps(reader, '\n')).toEqual(['record:d']);
    reader.feed(Buffer.from('e'));
    reader.clear();
    expect(reader.hasInput).toBe(false);
  });

  it('gives the beginning of a delimiter as data when there is no more to come', () => {
    const reader = reading('one\r');
    steps(reader, '\r\n');
    expect(reader.last(Infinity)).toBe(Step.Part);
    expect(reader.input.toString('latin1', reader.start, reader.end)).toBe('\r');
  });
});

describe('RecordReader and a naive reference', () => {
  /** The whole input at once, by the definition of a record; a limit drops records that exceed it. */
  function reference(input: string, terminators: (string | number)[], limit: number): string[] {
    const records: string[] = [];
    let at = 0;
    for (let count = 0; ; count += 1) {
      const terminator = terminators[count % terminators.length] as string | number;
      const end = typeof terminator === 'number' ? at + terminator : input.indexOf(terminator, at);
      if (end === -1 || end > input.length) break;
      records.push(end - at > limit ? 'too long' : input.slice(at, end));
      at = end + (typeof terminator === 'number' ? 0 : terminator.length);
    }
    return records;
  }

  /** The same input in chunks; the terminators take turns, one for each record. */
  function byReader(chunks: string[], terminators: (string | number)[], limit: number): string[] {
    const reader = new RecordReader();
    const records: string[] = [];
    let record = '';
    let overflowed = false;
    let missing: number | null = null;
    for (const chunk of chunks) {
      reader.feed(Buffer.from(chunk, 'latin1'));
      for (let going = true; going && reader.hasInput; ) {
        const next = terminators[records.length % terminators.length] as string | number;
        if (typeof next === 'number') missing ??= next;
        const terminator: CheckedTerminator =
          typeof next === 'number' ? missing : Buffer.from(next, 'latin1');
        const { at } = reader;
        const step = reader.next(terminator, limit);
        if (missing !== null) missing -= reader.at - at;
        if (step === Step.Part || step === Step.Record) {
          record += reader.input.toString('latin1', reader.start, reader.end);
        }
        if (step === Step.Overflow) overflowed = true;
        if (reader.complete) {
          records.push(overflowed ? 'too long' : record);
          record = '';
          overflowed = false;
          missing = null;
        }
        going = !reader.held;
      }
    }
    return records;
  }

  const text = (maxLength: number): fc.Arbitrary<string> =>
    fc.string({ unit: fc.constantFrom('a', 'b', '-'), maxLength });
  const terminator = fc.oneof(
    fc.integer({ min: 1, max: 6 }),
    fc.string({ unit: fc.constantFrom('a', 'b', '-'), minLength: 1, maxLength: 4 }),
  );

  it('agree on every input, however it is cut', () => {
    fc.assert(
      fc.property(
        fc.array(
          text(12).filter((chunk) => chunk.length > 0),
          { maxLength: 12 },
        ),
        fc.array(terminator, { minLength: 1, maxLength: 3 }),
        fc.constantFrom(Infinity, 1, 3, 8),
        (chunks, terminators, limit) => {
          expect(byReader(chunks, terminators, limit)).toEqual(
            reference(chunks.join(''), terminators, limit),
          );
        },
      ),
      { numRuns: 3000 },
    );
  });

  it('findPrefixAtEnd agrees with its definition', () => {
    fc.assert(
      fc.property(text(10), text(5), (haystack, needle) => {
        let longest = 0;
        for (let length = 1; length < needle.length; length += 1) {
          if (haystack.endsWith(needle.slice(0, length))) longest = length;
        }
        expect(findPrefixAtEnd(haystack, needle)).toBe(longest);
      }),
    );
  });
});
