// What a chat makes of its input: which pieces go to collectIncomingData, and when
// foundTerminator is called. Most of it is about what one read event does with what it received, so
// the socket is a script; the kernel's part is played at the end.

import {
  AsyncChat,
  ChannelMap,
  ExitNow,
  type Handled,
  poll,
  read,
  Socket,
  SocketError,
  type SocketLike,
  type Terminator,
} from 'asyncore';
import * as fc from 'fast-check';
import { drive, WAYS } from '../support/drive';
import { keepAll } from '../support/keep';

/** What a scripted socket has for a reader: bytes, an error, null for would-block, '' for the end. */
type Arrival = string | Uint8Array | Error | null;

/** A socket whose input is written in advance. It stands in a map that nobody waits on. */
class ScriptedSocket implements SocketLike {
  readonly arrivals: Arrival[] = [];
  readonly sizes: number[] = [];
  closed = false;

  fileno(): number {
    return this.closed ? -1 : 1000;
  }

  recv(size: number): Buffer | null {
    this.sizes.push(size);
    const next = this.arrivals.shift() ?? null;
    if (next === null) return null;
    if (next instanceof Error) throw next;
    const bytes = typeof next === 'string' ? Buffer.from(next, 'latin1') : Buffer.from(next);
    if (bytes.length > size) this.arrivals.unshift(bytes.subarray(size));
    return bytes.subarray(0, size);
  }

  send(data: Uint8Array): number {
    return data.length;
  }

  getSockOpt(): number {
    return 0;
  }

  close(): void {
    this.closed = true;
  }
}

/** Writes down what it is told: `C piece`, `F`, `close`, `error what`. */
class Recorder extends AsyncChat {
  readonly events: string[] = [];
  readonly pieces: Buffer[] = [];
  readonly script = new ScriptedSocket();
  /** What handlers do besides. */
  onPiece: (data: Buffer) => Handled = () => {};
  onRecord: () => Handled = () => {};
  /** As by default; false: an error costs nothing but a line in `events`. */
  errorsClose = true;

  constructor(terminator?: Terminator, map = new ChannelMap(), socket: SocketLike | null = null) {
    super(null, map);
    this.setSocket(socket ?? this.script);
    this.connected = true;
    if (terminator !== undefined) this.setTerminator(terminator);
  }

  /** A read event for each arrival. */
  feed(...arrivals: Arrival[]): this {
    for (const arrival of arrivals) {
      this.script.arrivals.push(arrival);
      read(this);
    }
    return this;
  }

  override collectIncomingData(data: Buffer): Handled {
    this.events.push(`C ${data.toString('latin1')}`);
    this.pieces.push(data);
    return this.onPiece(data);
  }

  override foundTerminator(): Handled {
    this.events.push('F');
    return this.onRecord();
  }

  override handleClose(): Handled {
    this.events.push('close');
    return super.handleClose();
  }

  override handleError(error: unknown): Handled {
    this.events.push(`error ${(error as Error).message}`);
    if (this.errorsClose) return this.handleClose();
  }
}

/** A chat on a socket of the kernel's, and the socket at the other end. */
function connected(terminator: Terminator): { chat: Recorder; theirs: Socket; map: ChannelMap } {
  const map = new ChannelMap();
  const [mine, theirs] = Socket.pair();
  const chat = new Recorder(terminator, map, mine);
  keepAll(chat, theirs);
  return { chat, theirs, map };
}

/** The records among the events: what was collected before each F; then what is not complete yet. */
function records(events: string[]): string[] {
  const found = [''];
  for (const event of events) {
    if (event === 'F') found.push('');
    else if (event.startsWith('C ')) found[found.length - 1] += event.slice(2);
  }
  return found;
}

/** Cuts text into pieces of `size` characters. */
function cut(text: string, size: number): string[] {
  const found: string[] = [];
  for (let at = 0; at < text.length; at += size) found.push(text.slice(at, at + size));
  return found;
}

/** What the smallest Buffer pins: Node's pool, of 8 KiB until Node 26. */
const POOL = Buffer.allocUnsafe(1).buffer.byteLength;

describe('AsyncChat, what one read event delivers', () => {
  it.each<[string, Terminator, Arrival[], string[]]>([
    // No terminator that could be found: all is collected, as it comes, for ever.
    ['null collects all', null, ['a\nb', 'c'], ['C a\nb', 'C c']],
    ['0 collects all', 0, ['a\nb', 'c'], ['C a\nb', 'C c']],
    ["'' collects all", '', ['a\nb', 'c'], ['C a\nb', 'C c']],
    ['empty bytes collect all', new Uint8Array(0), ['a\nb', 'c'], ['C a\nb', 'C c']],
    // A number of bytes.
    ['a number, less has come', 5, ['abc'], ['C abc']],
    ['a number, as many have come', 3, ['abc'], ['C abc', 'F']],
    ['a number, in two reads', 5, ['abc', 'de'], ['C abc', 'C de', 'F']],
    ['a number, byte by byte', 2, ['a', 'b'], ['C a', 'C b', 'F']],
    [
      'a number, more has come: the rest has no end',
      2,
      ['abcd', 'ef'],
      ['C ab', 'F', 'C cd', 'C ef'],
    ],
    ['the number 1', 1, ['abc'], ['C a', 'F', 'C bc']],
    // Certain bytes, and they are there.
    ['at the end', '\n', ['ab\n'], ['C ab', 'F']],
    ['in the middle', '\n', ['ab\ncd\n'], ['C ab', 'F', 'C cd', 'F']],
    ['nothing before it: nothing is collected', '\n', ['\n'], ['F']],
    ['twice in a row', '\r\n', ['a\r\n\r\nb'], ['C a', 'F', 'F', 'C b']],
    ['with a part of itself before it', '\r\n', ['a\r\r\n'], ['C a\r', 'F']],
    ['longer than what is before it', '\r\n.\r\n', ['a\r\n.\r\n'], ['C a', 'F']],
    ['as a Uint8Array', new Uint8Array([0, 255]), ['a\0b\0\xff'], ['C a\0b', 'F']],
    // They are not there, but their beginning is.
    ['a beginning is held', '\r\n', ['ab\r'], ['C ab']],
    ['nothing but a beginning', '\r\n', ['\r'], []],
    ['a beginning of several bytes', '\r\n.\r\n', ['ab\r\n.'], ['C ab']],
    ['and it goes on', '\r\n', ['a\r', '\nb'], ['C a', 'F', 'C b']],
    ['and it does not: it was data', '\r\n.\r\n', ['ab\r\n', '.\rZ'], ['C ab', 'C \r\n.\rZ']],
    ['and its own beginning comes again', '\r\n', ['a\r', '\r', '\n'], ['C a', 'C \r', 'F']],
    ['byte by byte', '\r\n.\r\n', [...'a\r\n.\r\nb'], ['C a', 'F', 'C b']],
    // Neither.
    ['not there at all', '\r\n', ['ab', 'cd'], ['C ab', 'C cd']],
    ['there, but not at the end', '\r\n', ['a\rb'], ['C a\rb']],
    // Nothing has come.
    ['a read that would block', '\n', [null], []],
    ['a read that would block, in between', '\r\n', ['a\r', null, '\n'], ['C a', 'F']],
  ])('%s', (_, terminator, arrivals, events) => {
    expect(new Recorder(terminator).feed(...arrivals).events).toEqual(events);
  });

  it('receives once, acInBufferSize bytes at most', () => {
    const chat = new Recorder(null);
    expect(chat.acInBufferSize).toBe(65536);
    chat.acInBufferSize = 3;
    chat.feed('abcdefg');
    expect(chat.events).toEqual(['C abc']);
    expect(chat.script.sizes).toEqual([3]);
  });

  it('goes through what is left over at end of file, then closes', () => {
    const chat = new Recorder('\r\n').feed('a\r\nb', '');
    expect(chat.events).toEqual(['C a', 'F', 'C b', 'close']);
    expect(chat.script.closed).toBe(true);
  });
});

describe('AsyncChat, a terminator split anywhere', () => {
  const cases: [string, string, string[]][] = [
    ['\n', 'hello\nworld\n\nrest', ['hello', 'world', '', 'rest']],
    ['\r\n', 'hello\r\nwo\rld\n\r\n\r\nrest\r', ['hello', 'wo\rld\n', '', 'rest']],
    ['aab', 'xaaabyaabaaaabz', ['xa', 'y', 'aa', 'z']], // its beginning repeats itself
    ['\r\n.\r\n', 'a\r\n.\r\n\r\n.\r\n.\r\nb\r\n.\r', ['a', '', '.\r\nb']],
    ['abab', 'abaabababab', ['aba', '', '']], // what a match has used is not used again
    ['aaa', 'aaaaaaa', ['', '', '']], // the last one is held
    ['0123456789', '<0123456789>012345678', ['<', '>']],
  ];
  const rows = cases.flatMap(([terminator, input, expected]) =>
    [...input, ''].map((_, index): [string, number, string, string[]] => [
      terminator,
      index + 1,
      input,
      expected,
    ]),
  );

  it.each(rows)('%j at %i bytes a read', (terminator, size, input, expected) => {
    expect(records(new Recorder(terminator).feed(...cut(input, size)).events)).toEqual(expected);
  });

  it('loses and adds nothing, for any input, terminator and sizes', () => {
    // Few letters, so that terminators and their beginnings come up all the time.
    const text = (minLength: number, maxLength: number): fc.Arbitrary<string> =>
      fc.string({ unit: fc.constantFrom('a', 'b', '\r'), minLength, maxLength });
    const chunks = fc.array(text(1, 8), { maxLength: 20 });
    const property = fc.property(text(1, 5), chunks, (terminator, arrivals): void => {
      const chat = new Recorder(terminator).feed(...arrivals, '');
      const input = arrivals.join('');
      expect(records(chat.events)).toEqual(input.split(terminator));
      expect(records(chat.events).join(terminator)).toBe(input);
      expect(chat.pieces.every((piece) => piece.length > 0)).toBe(true);
      expect(chat.events.filter((event) => event === 'close')).toHaveLength(1);
    });
    void fc.assert(property, { numRuns: 1500 });
  });

  it('counts right, for any input, numbers and sizes', () => {
    const numbers = fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 10 });
    const chunks = fc.array(fc.string({ unit: 'binary-ascii', minLength: 1, maxLength: 8 }));
    const property = fc.property(numbers, chunks, (lengths, arrivals): void => {
      const left = [...lengths];
      const chat = new Recorder(left.shift() as number);
      chat.onRecord = () => chat.setTerminator(left.shift() ?? null);
      chat.feed(...arrivals);
      const input = arrivals.join('');
      const expected: string[] = [];
      let at = 0;
      for (const length of lengths) {
        if (input.length - at < length) break;
        expected.push(input.slice(at, at + length));
        at += length;
      }
      expect(records(chat.events)).toEqual([...expected, input.slice(at)]);
    });
    void fc.assert(property, { numRuns: 500 });
  });
});

describe('AsyncChat, a terminator that changes', () => {
  it('reads a length and then that many bytes, all in one read', () => {
    const chat = new Recorder('\r\n');
    chat.onRecord = () => {
      const length = /^C LEN (\d+)$/.exec(chat.events.at(-2) ?? '')?.[1];
      chat.setTerminator(length === undefined ? '\r\n' : Number(length));
    };
    chat.feed('LEN 4\r\nABCDnext\r\n');
    expect(chat.events).toEqual(['C LEN 4', 'F', 'C ABCD', 'F', 'C next', 'F']);
  });

  it('is 0 inside foundTerminator after a counted read', () => {
    const chat = new Recorder(2);
    const seen: unknown[] = [];
    chat.onRecord = () => {
      seen.push(chat.getTerminator(), chat.terminator);
    };
    chat.feed('ab');
    expect(seen).toEqual([0, 0]);
  });

  it('is what it was inside foundTerminator after certain bytes', () => {
    const chat = new Recorder('\r\n');
    let seen: unknown;
    chat.onRecord = () => {
      seen = chat.getTerminator();
    };
    chat.feed('ab\r\n');
    expect(seen).toEqual(Buffer.from('\r\n'));
  });

  it('says what is missing while a counted record is incomplete', () => {
    const chat = new Recorder(5).feed('ab');
    expect(chat.getTerminator()).toBe(3);
    chat.feed('c');
    expect(chat.terminator).toBe(2);
  });

  it('never finds the end of 0 bytes, as in asynchat', () => {
    // "Content-Length: 0": a program must not wait for foundTerminator.
    const chat = new Recorder('\n');
    chat.onRecord = () => chat.setTerminator(0);
    chat.feed('head\nbody', 'more');
    expect(chat.events).toEqual(['C head', 'F', 'C body', 'C more']);
  });

  it('may change with every record', () => {
    const chat = new Recorder('a');
    const next: Terminator[] = ['bb', 3, 'c', null];
    chat.onRecord = () => chat.setTerminator(next.shift() as Terminator);
    chat.feed('1a2bb3333c4b');
    expect(records(chat.events)).toEqual(['1', '2', '333', '3', '4b']);
  });

  it('changed in collectIncomingData, is asked for when the record is over', () => {
    // The old one, which was found already, is taken off; the new one holds from there on.
    const chat = new Recorder('\n');
    chat.onPiece = () => chat.setTerminator(';');
    chat.feed('a\nb;c\n');
    expect(chat.events).toEqual(['C a', 'F', 'C b', 'F', 'C c\n']);
  });

  it('changed in collectIncomingData from a number to bytes, is left alone', () => {
    // Python: a TypeError, as it goes on to count down.
    const chat = new Recorder(10);
    chat.onPiece = () => chat.setTerminator('\n');
    chat.feed('abc', 'de\nf');
    expect(chat.events).toEqual(['C abc', 'C de', 'F', 'C f']);
  });

  it('changed in collectIncomingData from a number to another, is left alone', () => {
    const chat = new Recorder(10);
    chat.onPiece = () => {
      chat.onPiece = () => {};
      chat.setTerminator(3);
    };
    chat.feed('abc', 'def');
    expect(chat.events).toEqual(['C abc', 'C def', 'F']);
  });

  it('changed in collectIncomingData, finds what was held of the old one', () => {
    const chat = new Recorder('\r\n');
    chat.onPiece = () => chat.setTerminator('\r');
    chat.feed('ab\r', 'c');
    expect(chat.events).toEqual(['C ab', 'F', 'C c']);
  });

  it('changed from outside, applies to what is held', () => {
    const chat = new Recorder('\r\n').feed('a\r');
    chat.setTerminator(null);
    chat.feed('b');
    expect(chat.events).toEqual(['C a', 'C \rb']);
  });

  it('of many bytes may be longer than what is received at once', () => {
    const chat = new Recorder('x'.repeat(100));
    chat.acInBufferSize = 7;
    chat.script.arrivals.push(`a${'x'.repeat(100)}b`);
    for (let count = 0; count < 20; count += 1) read(chat);
    expect(chat.events).toEqual(['C a', 'F', 'C b']);
  });
});

describe('AsyncChat.setTerminator', () => {
  it('encodes a string', () => {
    const chat = new Recorder('é');
    expect(chat.getTerminator()).toEqual(Buffer.from([0xc3, 0xa9]));
    chat.encoding = 'latin1';
    expect(chat.getTerminator()).toEqual(Buffer.from([0xc3, 0xa9])); // encoded when it was set
    chat.setTerminator('é');
    expect(chat.getTerminator()).toEqual(Buffer.from([0xe9]));
    chat.feed('a\xe9b');
    expect(chat.events).toEqual(['C a', 'F', 'C b']);
  });

  it('keeps bytes, numbers and null as they are', () => {
    const chat = new Recorder();
    const bytes = new Uint8Array([10]);
    for (const terminator of [bytes, 0, 7, Number.MAX_SAFE_INTEGER, null]) {
      chat.setTerminator(terminator);
      expect(chat.getTerminator()).toBe(terminator);
    }
  });

  it.each([-1, -0.5, 1.5, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])(
    'refuses the number %p',
    (number) => {
      const chat = new Recorder('\n');
      expect(() => chat.setTerminator(number)).toThrow(RangeError);
      expect(() => chat.setTerminator(number)).toThrow(
        `Cannot set a terminator: expected a number of bytes, received ${number}`,
      );
      expect(chat.getTerminator()).toEqual(Buffer.from('\n'));
    },
  );

  it.each<[string, unknown]>([
    ['undefined', undefined],
    ['true', true],
    ['a bigint', 3n],
    ['an array', [10]],
    ['an object', {}],
    ['a RegExp', /\n/],
  ])('refuses %s', (_, wrong) => {
    const chat = new Recorder('\n');
    expect(() => chat.setTerminator(wrong as Terminator)).toThrow(
      expect.objectContaining({ name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' }),
    );
    expect(chat.getTerminator()).toEqual(Buffer.from('\n'));
  });

  it('refuses strings when useEncoding is false', () => {
    const chat = new Recorder();
    chat.useEncoding = false;
    expect(() => chat.setTerminator('\n')).toThrow(
      expect.objectContaining({ name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' }),
    );
    chat.setTerminator(Buffer.from('\n'));
    expect(chat.feed('a\n').events).toEqual(['C a', 'F']);
  });
});

describe('AsyncChat without a terminator set', () => {
  const message =
    /^error Cannot use a terminator: expected .*, received undefined; call setTerminator\(\) first$/;

  it('tells handleError, which closes', () => {
    const chat = new Recorder().feed('abc');
    expect(chat.events).toEqual([expect.stringMatching(message), 'close']);
    expect(chat.script.closed).toBe(true);
  });

  it('keeps the data until there is one', () => {
    const chat = new Recorder();
    chat.errorsClose = false;
    chat.feed('a\nb');
    expect(chat.acInBuffer.toString()).toBe('a\nb');
    chat.setTerminator('\n');
    chat.feed('c');
    expect(chat.events.slice(1)).toEqual(['C a', 'F', 'C bc']);
  });

  it('closes at end of file all the same', () => {
    const chat = new Recorder();
    chat.errorsClose = false;
    chat.feed('abc', '', '');
    expect(chat.events.filter((event) => event === 'close')).toHaveLength(1);
    expect(chat.script.closed).toBe(true);
  });

  it('does nothing as long as nothing comes', () => {
    expect(new Recorder().feed(null).events).toEqual([]);
  });
});

describe('AsyncChat.getTerminator, overridden', () => {
  class Overriding extends Recorder {
    answers: unknown[] = [];
    override getTerminator(): Terminator | undefined {
      const answer = this.answers.length > 1 ? this.answers.shift() : this.answers[0];
      if (answer instanceof Error) throw answer;
      return answer as Terminator;
    }
  }

  function overriding(...answers: unknown[]): Overriding {
    const chat = new Overriding();
    chat.answers = answers;
    return chat;
  }

  it('is asked afresh before each step', () => {
    const chat = overriding(';', '\n', 2, null);
    expect(chat.feed('a;b\ncde').events).toEqual(['C a', 'F', 'C b', 'F', 'C cd', 'F', 'C e']);
  });

  it('may return a string, which is encoded', () => {
    expect(overriding('é').feed('a\xc3', '\xa9b').events).toEqual(['C a', 'F', 'C b']);
  });

  it('may return the same number for ever', () => {
    expect(overriding(2).feed('abcd').events).toEqual(['C ab', 'F', 'C cd', 'F']);
  });

  it('may throw, which goes to handleError, and the input is not lost', () => {
    const chat = overriding(new Error('not now'), ';');
    chat.errorsClose = false;
    expect(chat.feed('a;').events).toEqual(['error not now']);
    expect(chat.feed('b').events).toEqual(['error not now', 'C a', 'F', 'C b']);
  });

  it.each([-1, Number.NaN, true, {}])('may not return %p, which goes to handleError', (wrong) => {
    const chat = overriding(wrong, wrong, wrong, null); // ends, whatever is made of it
    chat.feed('abc');
    expect(chat.events).toEqual([expect.stringMatching(/^error Cannot /), 'close']);
  });
});

describe('AsyncChat, handlers that end it', () => {
  it('delivers nothing after close() in foundTerminator', () => {
    // Python goes through all that it has received.
    const chat = new Recorder('\n');
    chat.onRecord = () => chat.close();
    expect(chat.feed('a\nb\nc\n').events).toEqual(['C a', 'F']);
    expect(chat.acInBuffer).toHaveLength(0);
  });

  it('delivers nothing after close() in collectIncomingData, not even that the record is over', () => {
    for (const terminator of ['\n', 1, null]) {
      const chat = new Recorder(terminator);
      chat.onPiece = () => chat.close();
      expect(chat.feed('a\nb\nc\n').events).toHaveLength(1);
    }
  });

  it('delivers nothing after close() in collectIncomingData of what precedes a held beginning', () => {
    const chat = new Recorder('\r\n');
    chat.onPiece = () => chat.close();
    expect(chat.feed('a\r').events).toEqual(['C a']);
    expect(chat.acInBuffer).toHaveLength(0);
  });

  it('does not count down a record that close() has ended', () => {
    const chat = new Recorder(10);
    chat.onPiece = () => chat.close();
    expect(chat.feed('abc').events).toEqual(['C abc']);
  });

  it('delivers nothing after handleClose() in a handler', () => {
    const chat = new Recorder('\n');
    chat.onRecord = () => chat.handleClose();
    expect(chat.feed('a\nb\n').events).toEqual(['C a', 'F', 'close']);
  });

  it('does not mix the input of one connection into the next', () => {
    const chat = new Recorder('\r\n').feed('a\r');
    chat.close();
    chat.script.closed = false;
    chat.setSocket(chat.script);
    chat.connected = true;
    expect(chat.feed('\nb\r\n').events).toEqual(['C a', 'C \nb', 'F']);
  });

  it('forgets the rest after discardBuffers() in foundTerminator', () => {
    const chat = new Recorder('\n');
    chat.onRecord = () => chat.discardBuffers();
    expect(chat.feed('a\nb\nc\n').events).toEqual(['C a', 'F']);
    expect(chat.feed('d\n').events).toEqual(['C a', 'F', 'C d', 'F']);
  });

  it('forgets the rest after discardBuffers() in collectIncomingData', () => {
    // As in Python, the record that was found is still told of.
    const chat = new Recorder('\n');
    chat.onPiece = () => chat.discardBuffers();
    expect(chat.feed('a\nb\nc\n').events).toEqual(['C a', 'F']);
    expect(chat.acInBuffer).toHaveLength(0);
  });

  it('forgets a held beginning after discardBuffers() in collectIncomingData', () => {
    const chat = new Recorder('\r\n');
    chat.onPiece = () => chat.discardBuffers();
    expect(chat.feed('a\r', '\nb').events).toEqual(['C a', 'C \nb']);
  });
});

describe('AsyncChat, handlers that throw', () => {
  it('closes by default, and delivers nothing more', () => {
    const chat = new Recorder('\n');
    chat.onRecord = () => {
      throw new Error('no');
    };
    expect(chat.feed('a\nb\n').events).toEqual(['C a', 'F', 'error no', 'close']);
    expect(chat.script.closed).toBe(true);
  });

  it('delivers the remaining records when handleError does not close', () => {
    // Python does so at the next read event only.
    const chat = new Recorder('\n');
    chat.errorsClose = false;
    chat.onRecord = () => {
      throw new Error('no');
    };
    expect(chat.feed('a\nb\n').events).toEqual(['C a', 'F', 'error no', 'C b', 'F', 'error no']);
  });

  it.each<[string, Terminator, string[]]>([
    ['certain bytes', '\n', ['C a', 'error no', 'C b', 'error no', 'C c', 'error no']],
    ['a number', 2, ['C a\n', 'error no', 'C b\n', 'error no', 'C c', 'error no']],
    ['no terminator', null, ['C a\nb\nc', 'error no']],
  ])('delivers a piece once, even when it is thrown at: %s', (_, terminator, events) => {
    // Python delivers it again, with what came after it.
    const chat = new Recorder(terminator);
    chat.errorsClose = false;
    chat.onPiece = () => {
      throw new Error('no');
    };
    expect(chat.feed('a\nb\nc').events).toEqual(events);
  });

  it('does not lose count of a record when a piece of it is thrown at', () => {
    const chat = new Recorder(6);
    chat.errorsClose = false;
    chat.onPiece = () => {
      chat.onPiece = () => {};
      throw new Error('no');
    };
    chat.feed('abc', 'defgh');
    expect(chat.events).toEqual(['C abc', 'error no', 'C def', 'F', 'C gh']);
  });

  it('holds the beginning of a terminator when what precedes it is thrown at', () => {
    const chat = new Recorder('\r\n');
    chat.errorsClose = false;
    chat.onPiece = () => {
      chat.onPiece = () => {};
      throw new Error('no');
    };
    expect(chat.feed('a\r', '\nb').events).toEqual(['C a', 'error no', 'F', 'C b']);
  });

  it.each<[string, (chat: Recorder) => void]>([
    [
      'foundTerminator',
      (chat) => {
        chat.onRecord = () => {
          throw new ExitNow('enough');
        };
      },
    ],
    [
      'collectIncomingData',
      (chat) => {
        chat.onPiece = () => {
          throw new ExitNow('enough');
        };
      },
    ],
  ])('lets ExitNow out of %s through', (_, prepare) => {
    const chat = new Recorder('\n');
    prepare(chat);
    expect(() => chat.feed('a\nb\n')).toThrow(ExitNow);
    expect(chat.events.filter((event) => event.startsWith('error'))).toEqual([]);
    // The rest is there for a program that runs the loop again.
    expect(chat.acInBuffer.toString()).toBe('b\n');
    chat.onPiece = () => {};
    chat.onRecord = () => {};
    expect(chat.feed(null).events.slice(-2)).toEqual(['C b', 'F']);
    chat.close();
  });

  it('closes at end of file even when the held beginning is thrown at', () => {
    const chat = new Recorder('\r\n');
    chat.errorsClose = false;
    chat.feed('\r');
    chat.onPiece = () => {
      throw new Error('no');
    };
    chat.feed('', '');
    expect(chat.events).toEqual(['C \r', 'error no', 'close']);
    expect(chat.script.closed).toBe(true);
  });
});

describe('AsyncChat, async handlers', () => {
  it('gives a rejection of foundTerminator to handleError', async () => {
    const chat = new Recorder('\n');
    chat.onRecord = async () => {
      await null;
      throw new Error('later');
    };
    chat.feed('a\nb\n');
    // It does not wait for one record to be dealt with before it tells of the next.
    expect(chat.events).toEqual(['C a', 'F', 'C b', 'F']);
    await new Promise(setImmediate);
    expect(chat.events.slice(4)).toEqual(['error later', 'close', 'error later', 'close']);
  });

  it('gives a rejection of collectIncomingData to handleError', async () => {
    const chat = new Recorder(null);
    chat.onPiece = () => Promise.reject(new Error('later'));
    chat.feed('a');
    await new Promise(setImmediate);
    expect(chat.events).toEqual(['C a', 'error later', 'close']);
  });

  it('gives a rejection of a counted record to handleError', async () => {
    const chat = new Recorder(1);
    chat.onRecord = () => Promise.reject(new Error('later'));
    chat.feed('a');
    await new Promise(setImmediate);
    expect(chat.events).toEqual(['C a', 'F', 'error later', 'close']);
  });
});

describe('AsyncChat, the end of input', () => {
  const reset = (): Error => new SocketError('ECONNRESET', 104, 'recv', 'Connection reset by peer');

  it.each<[string, () => Arrival]>([
    ['end of file', () => ''],
    ['a reset', reset],
  ])('delivers a held beginning at %s, as it was data', (_, end) => {
    // Python forgets it.
    const chat = new Recorder('\r\n').feed('ab\r', end());
    expect(chat.events).toEqual(['C ab', 'C \r', 'close']);
  });

  it('has nothing to deliver when nothing is held', () => {
    expect(new Recorder('\r\n').feed('ab', '').events).toEqual(['C ab', 'close']);
    expect(new Recorder('\r\n').feed('').events).toEqual(['close']);
  });

  it('does not deliver a held beginning when the program closes', () => {
    const chat = new Recorder('\r\n').feed('ab\r');
    chat.close();
    expect(chat.events).toEqual(['C ab']);
  });

  it('does not call handleClose when the held beginning made the program close', () => {
    const chat = new Recorder('\r\n').feed('ab\r');
    chat.onPiece = () => chat.close();
    expect(chat.feed('').events).toEqual(['C ab', 'C \r']);
  });

  it('delivers a held beginning once, and then tells handleEof, when allowHalfOpen is set', () => {
    const chat = new Recorder('\r\n');
    chat.allowHalfOpen = true;
    chat.handleEof = () => {
      chat.events.push('eof');
    };
    chat.feed('ab\r', '', '');
    expect(chat.events).toEqual(['C ab', 'C \r', 'eof']);
    expect(chat.script.closed).toBe(false);
    chat.close();
  });

  it('goes through what is left with a terminator that was set meanwhile', () => {
    const chat = new Recorder('\r\n').feed('ab\r');
    chat.setTerminator('\r');
    expect(chat.feed('').events).toEqual(['C ab', 'F', 'close']);
  });
});

describe('AsyncChat.recv, overridden', () => {
  class Receiving extends Recorder {
    answer: () => Uint8Array | null = () => null;
    override recv(size: number): Buffer | null {
      this.script.sizes.push(size);
      return this.answer() as Buffer | null;
    }
  }

  it('is asked for acInBufferSize bytes', () => {
    const chat = new Receiving('\n');
    chat.acInBufferSize = 99;
    chat.feed(null);
    expect(chat.script.sizes).toEqual([99]);
  });

  it('may return null: no handler is called', () => {
    expect(new Receiving('\n').feed(null).events).toEqual([]);
  });

  it('may return nothing at all', () => {
    const chat = new Receiving('\n');
    chat.answer = () => new Uint8Array(0);
    expect(chat.feed(null).events).toEqual([]);
  });

  it('may return a plain Uint8Array; handlers get Buffers', () => {
    const chat = new Receiving('\n');
    chat.answer = () => new Uint8Array([0x2d, 0x61, 0x0a, 0x62]).subarray(1);
    chat.feed(null, null);
    expect(chat.events).toEqual(['C a', 'F', 'C b', 'C a', 'F', 'C b']);
    expect(chat.pieces.every((piece) => Buffer.isBuffer(piece))).toBe(true);
  });

  it('may return a plain Uint8Array while a beginning is held', () => {
    const chat = new Receiving('\r\n');
    chat.answer = () => new Uint8Array([0x0a, 0x0d]);
    chat.feed(null, null, null);
    expect(chat.events).toEqual(['C \n', 'F', 'F']);
  });

  it('may throw, which goes to handleError', () => {
    const chat = new Receiving('\n');
    chat.answer = () => {
      throw new SocketError('EIO', 5, 'recv', 'Input/output error');
    };
    expect(chat.feed(null).events).toEqual(['error EIO: Input/output error, recv', 'close']);
  });

  it('may throw without an end to what is held', () => {
    const chat = new Receiving('\r\n');
    chat.errorsClose = false;
    chat.answer = () => Buffer.from('a\r');
    chat.feed(null);
    chat.answer = () => {
      throw new Error('once');
    };
    chat.feed(null);
    chat.answer = () => Buffer.from('\n');
    expect(chat.feed(null).events).toEqual(['C a', 'error once', 'F']);
  });
});

describe('AsyncChat.acInBuffer', () => {
  it('is what has been received and not delivered', () => {
    const chat = new Recorder('\r\n.\r\n').feed('abc\r\n.');
    expect(chat.acInBuffer.toString()).toBe('\r\n.');
    chat.feed('\r\n');
    expect(chat.acInBuffer).toHaveLength(0);
  });

  it('is the rest inside foundTerminator', () => {
    const chat = new Recorder('\n');
    const rests: string[] = [];
    chat.onRecord = () => {
      rests.push(chat.acInBuffer.toString());
    };
    chat.feed('a\nb\nc');
    expect(rests).toEqual(['b\nc', 'c']);
  });

  it('is what follows the piece inside collectIncomingData', () => {
    const chat = new Recorder('\n');
    const rests: string[] = [];
    chat.onPiece = () => {
      rests.push(chat.acInBuffer.toString());
    };
    chat.feed('a\nb\nc');
    expect(rests).toEqual(['b\nc', 'c', '']);
  });

  it('may be set in foundTerminator', () => {
    const chat = new Recorder('\n');
    chat.onRecord = () => {
      chat.onRecord = () => {};
      chat.acInBuffer = Buffer.from('x\ny');
    };
    expect(chat.feed('a\nb\n').events).toEqual(['C a', 'F', 'C x', 'F', 'C y']);
  });

  it('may be set to bytes that are no Buffer, and is one', () => {
    const chat = new Recorder('\n');
    chat.acInBuffer = new Uint8Array([0x61, 0x0a]);
    expect(Buffer.isBuffer(chat.acInBuffer)).toBe(true);
    // It is gone through at the next read event.
    expect(chat.feed('b').events).toEqual(['C a', 'F', 'C b']);
  });

  it.each([
    ['a string', 'a'],
    ['null', null],
  ])('refuses %s', (_, wrong) => {
    const chat = new Recorder('\n');
    expect(() => {
      chat.acInBuffer = wrong as unknown as Uint8Array;
    }).toThrow(expect.objectContaining({ name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' }));
  });

  it('may be set in collectIncomingData of what precedes a held beginning', () => {
    const chat = new Recorder('\r\n');
    chat.onPiece = () => {
      chat.onPiece = () => {};
      chat.acInBuffer = Buffer.from('x\r\n');
    };
    expect(chat.feed('a\r').events).toEqual(['C a', 'C x', 'F']);
  });
});

describe('AsyncChat, collecting', () => {
  class Collecting extends Recorder {
    override collectIncomingData(data: Buffer): void {
      this._collectIncomingData(data);
    }
  }

  it('_collectIncomingData keeps the pieces in incoming, _getData joins them', () => {
    const chat = new Collecting('\n').feed('ab', 'cd', 'ef\n');
    expect(chat.incoming.map(String)).toEqual(['ab', 'cd', 'ef']);
    expect(chat._getData().toString()).toBe('abcdef');
    expect(chat.incoming).toEqual([]);
    expect(chat._getData()).toHaveLength(0);
  });

  it('_getData of one piece is that piece', () => {
    const chat = new Collecting('\n').feed('ab\n');
    const [piece] = chat.incoming;
    expect(chat._getData()).toBe(piece);
    expect(chat.incoming).toEqual([]);
  });

  it('incoming is nothing but an array', () => {
    const chat = new Collecting('\n').feed('b\n');
    chat.incoming = [Buffer.from('a'), ...chat.incoming];
    expect(chat._getData().toString()).toBe('ab');
  });

  it('discardBuffers empties it', () => {
    const chat = new Collecting('\n').feed('ab');
    chat.discardBuffers();
    expect(chat.incoming).toEqual([]);
  });
});

describe('AsyncChat without its two methods', () => {
  // @ts-expect-error as in JavaScript, where nothing checks that a subclass is complete
  class Bare extends AsyncChat {
    readonly script = new ScriptedSocket();
    readonly errors: unknown[] = [];
    constructor() {
      super(null, new ChannelMap());
      this.setSocket(this.script);
      this.connected = true;
      this.setTerminator('\n');
    }
    override handleError(error: unknown): void {
      this.errors.push(error);
      this.close();
    }
  }

  it('fails in collectIncomingData', () => {
    const chat = new Bare();
    chat.script.arrivals.push('a\n');
    read(chat);
    expect(chat.errors).toEqual([
      expect.objectContaining({
        code: 'ERR_METHOD_NOT_IMPLEMENTED',
        message: 'collectIncomingData must be implemented in a subclass',
      }),
    ]);
  });

  it('fails in foundTerminator', () => {
    const chat = new Bare();
    chat.script.arrivals.push('\n');
    read(chat);
    expect(chat.errors).toEqual([
      expect.objectContaining({
        code: 'ERR_METHOD_NOT_IMPLEMENTED',
        message: 'foundTerminator must be implemented in a subclass',
      }),
    ]);
  });
});

describe('AsyncChat, input from the kernel', () => {
  it.each(WAYS)('splits records and tells of the end: %s', async (_, way) => {
    const { chat, theirs, map } = connected('\r\n');
    theirs.send(Buffer.from('one\r\ntwo\r'));
    await drive(way, () => chat.events.length === 3, { map });
    expect(chat.events).toEqual(['C one', 'F', 'C two']);
    theirs.send(Buffer.from('\nthree\r'));
    await drive(way, () => chat.events.length === 5, { map });
    theirs.close();
    await drive(way, () => map.size === 0, { map });
    expect(chat.events.slice(3)).toEqual(['F', 'C three', 'C \r', 'close']);
  });

  it.each(WAYS)('reads to the end what a peer has left behind: %s', async (_, way) => {
    // poll(2) reports the hang-up together with the input; Python's poll2 drops the rest.
    const { chat, theirs, map } = connected('\n');
    chat.acInBufferSize = 1000;
    const input = `${'x'.repeat(99)}\n`.repeat(300);
    expect(theirs.send(Buffer.from(input))).toBe(input.length);
    theirs.close();
    await drive(way, () => map.size === 0, { map });
    expect(records(chat.events).join('\n')).toBe(input);
    expect(chat.events.at(-1)).toBe('close');
  });

  it('calls no handler when there is nothing to receive', () => {
    // CPython's TestAsynchatMocked: a read event, and then recv would block.
    const { chat } = connected('\n');
    read(chat);
    expect(chat.events).toEqual([]);
  });

  it('goes on with the next record in a poll() inside foundTerminator', () => {
    const { chat, theirs, map } = connected('\n');
    chat.onRecord = () => {
      chat.onRecord = () => {};
      chat.events.push('(');
      theirs.send(Buffer.from('c\nd'));
      poll(1000, map);
      chat.events.push(')');
    };
    theirs.send(Buffer.from('a\nb\n'));
    poll(1000, map);
    // Each byte once, and in order.
    expect(chat.events).toEqual(['C a', 'F', '(', 'C b', 'F', 'C c', 'F', 'C d', ')']);
  });

  it('goes on with the rest when a poll() inside foundTerminator brings nothing', () => {
    const { chat, theirs, map } = connected('\n');
    chat.onRecord = () => poll(0, map);
    theirs.send(Buffer.from('a\nb\n'));
    poll(1000, map);
    expect(chat.events).toEqual(['C a', 'F', 'C b', 'F']);
  });

  it('stops when a poll() inside foundTerminator finds that the peer has closed', () => {
    const { chat, theirs, map } = connected('\n');
    chat.onRecord = () => {
      theirs.close();
      poll(1000, map);
    };
    theirs.send(Buffer.from('a\n'));
    poll(1000, map);
    expect(chat.events).toEqual(['C a', 'F', 'close']);
    expect(map.size).toBe(0);
  });
});

describe('AsyncChat, data handed out', () => {
  it('is the program’s to keep: later reads never overwrite it', async () => {
    const { chat, theirs, map } = connected(null);
    const kept: [Buffer, number][] = [];
    let total = 0;
    // Small pieces are copied, large ones are views of memory that is received into.
    for (let round = 0; round < 60; round += 1) {
      const length = [1, 100, 16_383, 16_384, 60_000][round % 5] as number;
      expect(theirs.send(Buffer.alloc(length, round))).toBe(length);
      total += length;
      await drive(
        { usePoll: false, sync: true },
        () => chat.pieces.reduce((sum, piece) => sum + piece.length, 0) === total,
        { map },
      );
      while (kept.length < chat.pieces.length)
        kept.push([chat.pieces[kept.length] as Buffer, round]);
    }
    for (const [piece, round] of kept) expect(piece.every((byte) => byte === round)).toBe(true);
  });

  it('may be written on, without changing what comes after it', () => {
    const { chat, theirs, map } = connected('\n');
    chat.onPiece = (data) => {
      data.fill(0x0a);
    };
    theirs.send(Buffer.from('ab\ncd\nef'));
    poll(1000, map);
    expect(chat.events).toEqual(['C ab', 'F', 'C cd', 'F', 'C ef']);
  });

  it('pins no more memory than Node’s own pool when it is small', () => {
    const { chat, theirs, map } = connected('\n');
    for (const text of ['nick\n', 'a', 'b\n', 'c\nd\n']) {
      theirs.send(Buffer.from(text));
      poll(1000, map);
    }
    expect(chat.pieces).toHaveLength(5);
    for (const piece of chat.pieces) expect(piece.buffer.byteLength).toBeLessThanOrEqual(POOL);
  });

  it('pins little when a small piece comes with others in a large read', () => {
    const { chat, theirs, map } = connected('\n');
    theirs.send(Buffer.from(`nick\n${'x'.repeat(60_000)}\n`));
    poll(1000, map);
    expect(chat.events).toHaveLength(4);
    const [nick] = chat.pieces;
    expect(nick?.toString()).toBe('nick');
    expect(nick?.buffer.byteLength).toBeLessThanOrEqual(POOL);
  });
});

describe('AsyncChat._collectIncomingData', () => {
  class Collector extends AsyncChat {
    override collectIncomingData(data: Buffer): void {
      this._collectIncomingData(data);
    }
    override foundTerminator(): void {}
  }

  it('joins what comes byte by byte, so that memory is a small multiple of what has come', () => {
    const chat = new Collector(null, new ChannelMap());
    const bytes = Buffer.from(Array.from({ length: 10_000 }, (_, index) => index % 251));
    for (const byte of bytes) chat.collectIncomingData(Buffer.of(byte));
    expect(chat.incoming.length).toBeLessThan(10_000 / 128 + 256);
    expect(chat._getData().equals(bytes)).toBe(true);
    expect(chat.incoming).toEqual([]);
  });

  it('leaves larger pieces as they are', () => {
    const chat = new Collector(null, new ChannelMap());
    const pieces = Array.from({ length: 600 }, (_, index) => Buffer.alloc(128, index % 251));
    for (const piece of pieces) chat.collectIncomingData(piece);
    expect(chat.incoming).toHaveLength(600);
    expect(chat.incoming[599]).toBe(pieces[599]);
  });

  it('keeps the order of small and large ones', () => {
    const chat = new Collector(null, new ChannelMap());
    const pieces = Array.from({ length: 3000 }, (_, index) =>
      Buffer.alloc(index % 700 === 0 ? 5000 : 1 + (index % 3), index % 251),
    );
    for (const piece of pieces) chat.collectIncomingData(piece);
    expect(chat._getData().equals(Buffer.concat(pieces))).toBe(true);
  });
});

describe('AsyncChat.handleOverflow, which sets another terminator', () => {
  it('does not make a part of the ignored record pass for another one', () => {
    const [mine, theirs] = Socket.pair();
    const map = new ChannelMap();
    const found: string[] = [];
    const chat = new (class extends AsyncChat {
      override maxRecordLength = 8;
      override collectIncomingData(data: Buffer): void {
        this._collectIncomingData(data);
      }
      override handleOverflow(): void {
        this.incoming.length = 0;
        this.setTerminator('\n');
      }
      override foundTerminator(): void {
        found.push(this._getData().toString());
      }
    })(mine, map);
    chat.setTerminator('\n.\n');
    for (const piece of ['a message that is too ', 'long\nQUIT\n', '.', '\nNOOP\n']) {
      theirs.send(Buffer.from(piece));
      poll(1000, map);
    }
    expect(found).toEqual(['NOOP']);
    chat.close();
    theirs.close();
  });
});
