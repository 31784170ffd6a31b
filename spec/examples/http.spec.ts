// docs/examples/support/http.ts by itself: messages in a stream, however it is cut.

import { ChannelMap, closeAll, poll, Socket } from 'asyncore';
import * as fc from 'fast-check';
import {
  type Framing,
  framingOf,
  type Headers,
  HttpError,
  MessageChat,
  wordsOf,
} from '../../docs/examples/support/http';

/** Notes what it finds; a header called Framing tells how the body ends where nothing else does. */
class Recorder extends MessageChat {
  readonly found: string[] = [];
  closed = false;

  #note(kind: string, text: string): void {
    const last = this.found.length - 1;
    // However many pieces a body comes in.
    if (kind === 'body' && this.found[last]?.startsWith('body')) this.found[last] += text;
    else this.found.push(`${kind} ${text}`);
  }

  protected override foundHead(line: string, headers: Headers): Framing | null {
    this.#note('head', JSON.stringify([line, ...headers]));
    if (line === 'none yet') return null;
    return framingOf(headers) ?? (headers.has('endless') ? 'at the end of the stream' : 0);
  }

  protected override foundBody(data: Buffer): void {
    this.#note('body', data.toString('latin1'));
  }

  protected override foundEnd(): void {
    this.#note('end', '');
  }

  protected override foundMistake({ status, message }: HttpError): void {
    this.#note('mistake', `${status} ${message}`);
    this.ignoreInput();
  }

  override handleClose(): void {
    if (this.endsHere) this.foundEnd();
    this.closed = true;
    this.close();
  }
}

let map: ChannelMap;

beforeEach(() => {
  map = new ChannelMap();
});

afterEach(() => closeAll(map));

/** What is found in a stream that comes in these pieces. */
function found(stream: string, sizes: readonly number[]): string[] {
  const [ours, theirs] = Socket.pair();
  const recorder = new Recorder(ours, map);
  let at = 0;
  for (let turn = 0; at < stream.length; turn += 1) {
    const size = sizes[turn % sizes.length] ?? 1;
    theirs.send(Buffer.from(stream.slice(at, at + size), 'latin1'));
    at += size;
    poll(0, map);
  }
  theirs.close();
  while (map.size > 0) poll(0, map);
  expect(recorder.closed).toBe(true);
  return recorder.found;
}

const MESSAGES: [what: string, stream: string, log: string[]][] = [
  ['nothing', '', []],
  ['a head', 'a b c\r\n\r\n', ['head ["a b c"]', 'end ']],
  [
    'headers',
    'a\r\nX: 1\r\nY:\r\nx:\t2 3 \r\n\r\n',
    ['head ["a",["x","1, 2 3"],["y",""]]', 'end '],
  ],
  [
    'heads that are no message yet',
    'none yet\r\n\r\nb\r\n\r\n',
    ['head ["none yet"]', 'head ["b"]', 'end '],
  ],
  [
    'counted bodies',
    'a\r\nContent-Length: 5\r\n\r\n\r\n\r\nxb\r\nContent-Length: 0\r\n\r\nc\r\n\r\n',
    [
      ...['head ["a",["content-length","5"]]', 'body \r\n\r\nx', 'end '],
      ...['head ["b",["content-length","0"]]', 'end ', 'head ["c"]', 'end '],
    ],
  ],
  [
    'chunks',
    'a\r\nTransfer-Encoding: Chunked\r\n\r\n5;x\r\n\r\n0\r\n\r\nA\r\n0123456789\r\n00\r\nX: y\r\n\r\nb\r\n\r\n',
    [
      ...['head ["a",["transfer-encoding","Chunked"]]', 'body \r\n0\r\n0123456789', 'end '],
      ...['head ["b"]', 'end '],
    ],
  ],
  [
    'a body up to the end',
    'a\r\nEndless: 1\r\n\r\nb\r\n\r\nc\r\n',
    ['head ["a",["endless","1"]]', 'body b\r\n\r\nc\r\n', 'end '],
  ],
  [
    'an empty body up to the end',
    'a\r\nEndless: 1\r\n\r\n',
    ['head ["a",["endless","1"]]', 'end '],
  ],
  ['half a head', 'a\r\nX: 1\r\n', []],
  [
    'half a body',
    'a\r\nContent-Length: 3\r\n\r\nb',
    ['head ["a",["content-length","3"]]', 'body b'],
  ],
  [
    'half the end of chunks',
    'a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nb\r\n0\r\n',
    ['head ["a",["transfer-encoding","chunked"]]', 'body b'],
  ],
  [
    'an LF alone, before the end of the head',
    'a\r\n\r\nb\r\nX: 1\nY: ',
    ['head ["a"]', 'end ', 'mistake 400 There is a line that ends with LF alone'],
  ],
  [
    'a chunk whose end comes in pieces',
    'a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n\n\r\n0\r\n\r\n',
    ['head ["a",["transfer-encoding","chunked"]]', 'body \n', 'end '],
  ],
  [
    'a mistake, and nothing more',
    'a\r\n\r\n\r\nb\r\nX\r\n\r\nc\r\n\r\n',
    ['head ["a"]', 'end ', 'mistake 400 There is a line that is no header'],
  ],
];

describe('MessageChat', () => {
  it.each(MESSAGES)('finds %s', (_what, stream, log) => {
    expect(found(stream, [stream.length + 1])).toEqual(log);
    for (const size of [1, 2, 3]) expect([size, found(stream, [size])]).toEqual([size, log]);
  });

  it('finds the same, however a stream is cut', () => {
    const complete = MESSAGES.slice(1, 6);
    void fc.assert(
      fc.property(
        fc.array(fc.nat(complete.length - 1), { minLength: 1, maxLength: 6 }),
        fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 10 }),
        (chosen, sizes) => {
          const messages = chosen.map((at) => complete[at] as (typeof MESSAGES)[number]);
          const stream = messages.map(([, one]) => one).join('');
          expect(found(stream, sizes)).toEqual(messages.flatMap(([, , log]) => log));
        },
      ),
      { numRuns: 100 },
    );
  });

  it('finds no end in rubbish, and nothing that throws', () => {
    const piece = fc.oneof(
      fc.string({ maxLength: 10 }),
      fc.constantFrom('\r\n', '\r', '\n', '\r\n\r\n', ':', '0', 'Transfer-Encoding: chunked', ';'),
    );
    void fc.assert(
      fc.property(
        fc.array(piece, { maxLength: 30 }),
        fc.integer({ min: 1, max: 9 }),
        (words, size) => {
          const log = found(words.join(''), [size]);
          expect(log).toEqual(found(words.join(''), [1000]));
          const mistake = log.findIndex((line) => line.startsWith('mistake'));
          if (mistake !== -1) expect(mistake).toBe(log.length - 1);
        },
      ),
      { numRuns: 200 },
    );
  });
});

describe('framingOf', () => {
  const framing = (...headers: [string, string][]): unknown => framingOf(new Map(headers));

  it.each([
    ['0', 0],
    ['00012', 12],
    ['9'.repeat(40), Number.MAX_SAFE_INTEGER],
  ])('takes the length %s', (length, expected) => {
    expect(framing(['content-length', length])).toBe(expected);
  });

  it.each(['', '-1', '+1', '1 ', '1,1', '1e3', '0x1', '\u0661'])(
    'refuses the length %j',
    (length) => {
      expect(() => framing(['content-length', length])).toThrow(HttpError);
    },
  );

  it('knows chunks, and nothing else', () => {
    expect(framing()).toBeNull();
    expect(framing(['transfer-encoding', 'CHUNKED'])).toBe('chunked');
    for (const coding of ['', 'gzip', 'chunked, chunked', 'chunked\v', 'identity']) {
      expect(() => framing(['transfer-encoding', coding])).toThrow(HttpError);
    }
    expect(() => framing(['transfer-encoding', 'chunked'], ['content-length', '1'])).toThrow(
      'both',
    );
  });
});

describe('wordsOf', () => {
  it.each([
    [undefined, []],
    ['Close', ['close']],
    [' a ,\tB;q=1 , ', ['a', 'b;q=1', '']],
  ])('of %j are %j', (header, words) => {
    expect(wordsOf(header)).toEqual(words);
  });
});
