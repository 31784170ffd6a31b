// docs/examples/support/resp.ts: both ends of RESP2, byte by byte, and with each other.

import { ChannelMap, closeAll, loop, poll, Socket } from 'asyncore';
import fc from 'fast-check';
import {
  encode,
  type Reply,
  ReplyChat,
  ReplyError,
  type Request,
  RequestChat,
  SimpleString,
  splitWords,
} from '../../docs/examples/support/resp';
import { keep } from '../support/keep';
import { until } from '../support/program';

class Requests extends RequestChat {
  readonly found: string[][] = [];
  answer: (request: Request) => Reply = (request) => request;
  protected override foundRequest(request: Request): void {
    this.found.push(request);
    this.reply(this.answer(request));
  }
}

class Replies extends ReplyChat {
  readonly found: Reply[] = [];
  error: unknown = null;
  protected override foundReply(reply: Reply): void {
    this.found.push(reply);
  }
  override handleError(error: unknown): void {
    this.error = error;
    this.close();
  }
}

let map: ChannelMap;

beforeEach(() => {
  map = new ChannelMap();
});

afterEach(() => closeAll(map));

/** One end is a chat, the other one is the test's. */
function pairWith<Chat>(kind: new (socket: Socket, map: ChannelMap) => Chat): [Chat, Socket] {
  const [ours, theirs] = Socket.pair();
  return [new kind(ours, map), keep(theirs)];
}

function received(socket: Socket): string {
  let text = '';
  for (let data = socket.recv(65536); data?.length; data = socket.recv(65536)) {
    text += data.toString('latin1');
  }
  return text;
}

/** Sends `text` in pieces of `size` bytes, each of which has been gone through before the next. */
function feed(peer: Socket, text: string, size = text.length): void {
  const data = Buffer.from(text, 'latin1');
  for (let at = 0; at < data.length && map.size > 0; at += size) {
    peer.send(data.subarray(at, at + size));
    // One event receives 64 KiB at most.
    for (let left = size; left > 0; left -= 65536) poll(0, map);
  }
}

const SIZES = [1, 2, 3, 7, 1000];

describe('encode', () => {
  it.each<[Reply, string]>([
    ['', '$0\r\n\r\n'],
    ['a\r\nb', '$4\r\na\r\nb\r\n'],
    ['\xff\0', '$2\r\n\xff\0\r\n'],
    [null, '$-1\r\n'],
    [0, ':0\r\n'],
    [-1, ':-1\r\n'],
    [2n ** 63n - 1n, ':9223372036854775807\r\n'],
    [new SimpleString('OK'), '+OK\r\n'],
    [new ReplyError('ERR no'), '-ERR no\r\n'],
    // What is quoted in an error may hold anything.
    [new ReplyError('ERR \r\n+OK'), '-ERR   +OK\r\n'],
    [[], '*0\r\n'],
    [['a', [1, null], []], '*3\r\n$1\r\na\r\n*2\r\n:1\r\n$-1\r\n*0\r\n'],
  ])('%j', (reply, text) => {
    expect(encode(reply, 'latin1')).toBe(text);
  });

  it('counts bytes, in whatever encoding', () => {
    expect(encode('é€', 'utf8')).toBe('$5\r\né€\r\n');
  });
});

describe('splitWords', () => {
  it.each<[string, string[] | null]>([
    ['', []],
    [' \t\r', []],
    ['a', ['a']],
    ['  a \t b\r', ['a', 'b']],
    // isspace() of C: these are blanks, which a word may hold, and latin1's 0xa0 and 0x85 are none.
    ['\v\fa\vb \v"c"\v d\f \r', ['a\vb', 'c', 'd\f']],
    ['voil\xc3\xa0 \xa0\x85 \xa0', ['voil\xc3\xa0', '\xa0\x85', '\xa0']],
    [`"a b" 'c d'`, ['a b', 'c d']],
    [`"" ''`, ['', '']],
    [`a"b c"`, ['ab c']],
    ['"\\n\\r\\t\\b\\a\\\\\\"\\q"', ['\n\r\t\b\x07\\"q']],
    ['"\\x41\\xfF\\x4\\X41\\N"', ['A\xffx4X41N']],
    [`'\\'\\n\\\\ '`, [`'\\n\\\\ `]],
    // Not an escaped backslash, but a backslash and an escaped quote.
    [`'\\\\'`, null],
    ['"a', null],
    ["'a", null],
    ["'a\\'", null],
    ['"a\\"', null],
    ['"a"b', null],
    [`"a"'b'`, null],
    ['a"', null],
  ])('%j', (line, words) => {
    expect(splitWords(line)).toEqual(words);
  });

  it('takes its time from the length alone', () => {
    const start = performance.now();
    for (const text of [
      `"${'\\'.repeat(65_000)}`,
      `'${"\\'".repeat(32_000)}`,
      ' '.repeat(65_000),
      `x${' '.repeat(65_000)}`,
      '\v'.repeat(65_000),
      `x${'\v'.repeat(65_000)}"`,
    ]) {
      splitWords(`${text}x`);
    }
    expect(performance.now() - start).toBeLessThan(500);
  });
});

describe('RequestChat', () => {
  const REQUESTS: [string, string, string[][]][] = [
    ['one word', '*1\r\n$4\r\nPING\r\n', [['PING']]],
    ['an empty word', '*2\r\n$3\r\nGET\r\n$0\r\n\r\n', [['GET', '']]],
    ['line ends and any bytes', '*1\r\n$6\r\n\r\n\0\xff*1\r\n', [['\r\n\0\xff*1']]],
    ['two after each other', '*1\r\n$1\r\na\r\n*1\r\n$1\r\nb\r\n', [['a'], ['b']]],
    ['inline', 'SET a "b c"\r\n', [['SET', 'a', 'b c']]],
    ['inline without \\r', 'PING\n', [['PING']]],
    ['inline between others', '*1\r\n$1\r\na\r\nb\r\n*1\r\n$1\r\nc\r\n', [['a'], ['b'], ['c']]],
    ['nothing from empty lines', '\r\n\n  \r\nPING\r\n', [['PING']]],
    ['nothing from no words, or less', '*0\r\n*-1\r\n*-10\r\nPING\r\n', [['PING']]],
    // As Redis: the two bytes after a string are not looked at.
    ['a string with another end', '*1\r\n$1\r\naxyPING\r\n', [['a'], ['PING']]],
  ];

  describe.each(SIZES)('in pieces of %d bytes', (size) => {
    it.each(REQUESTS)('finds %s', (_what, text, requests) => {
      const [chat, peer] = pairWith(Requests);
      feed(peer, text, size);
      expect(chat.found).toEqual(requests);
      expect(received(peer)).toBe(requests.map((one) => encode(one, 'latin1')).join(''));
    });
  });

  const PROTOCOL_ERRORS: [string, string][] = [
    ['*a\r\n', 'invalid multibulk length'],
    ['*\r\n', 'invalid multibulk length'],
    ['*01\r\n', 'invalid multibulk length'],
    ['*+1\r\n', 'invalid multibulk length'],
    ['*1 \r\n', 'invalid multibulk length'],
    ['*1\n', 'invalid multibulk length'],
    ['*1048577\r\n', 'invalid multibulk length'],
    ['*99999999999999999999\r\n', 'invalid multibulk length'],
    ['*-99999999999999999999\r\n', 'invalid multibulk length'],
    ['*1\r\nPING\r\n', "expected '$', got 'P'"],
    ['*1\r\n\r\n', "expected '$', got ' '"],
    ['*1\r\n*1\r\n', "expected '$', got '*'"],
    ['*1\r\n$-1\r\n', 'invalid bulk length'],
    ['*1\r\n$a\r\n', 'invalid bulk length'],
    ['*1\r\n$67108865\r\n', 'invalid bulk length'],
    ['PING "a\r\n', 'unbalanced quotes in request'],
    ['x'.repeat(65537), 'too big inline request'],
    [`*${'1'.repeat(65537)}`, 'too big mbulk count string'],
    [`*1\r\n$${'1'.repeat(65537)}`, 'too big bulk count string'],
  ];

  it.each(PROTOCOL_ERRORS.map(([text, message]) => [text.slice(0, 20), text, message]))(
    'hangs up on %j',
    (_start, text, message) => {
      const [chat, peer] = pairWith(Requests);
      feed(peer, '*1\r\n$1\r\na\r\n');
      feed(peer, `${text}\r\nPING\r\n`);
      poll(0, map);
      expect(map.size).toBe(0);
      expect(received(peer)).toBe(`*1\r\n$1\r\na\r\n-ERR Protocol error: ${message}\r\n`);
      expect(chat.found).toEqual([['a']]);
    },
  );

  it('bounds the strings of a request together, and no others', () => {
    const [, peer] = pairWith(Requests);
    feed(peer, '*1\r\n$1\r\na\r\n*1\r\n$67108864\r\n');
    expect(received(peer)).toBe('*1\r\n$1\r\na\r\n');
    const [, other] = pairWith(Requests);
    feed(other, '*2\r\n$1\r\na\r\n$67108864\r\n');
    expect(received(other)).toBe('-ERR Protocol error: invalid bulk length\r\n');
  });

  it('lets requests wait while its client takes no replies', async () => {
    const [chat, peer] = pairWith(Requests);
    const requests = 40;
    const answer = 'x'.repeat(1024 * 1024);
    let most = 0;
    chat.answer = () => {
      most = Math.max(most, chat.writableLength);
      return answer;
    };
    const running = loop({ map });
    peer.send(Buffer.from('*1\r\n$1\r\na\r\n'.repeat(requests)));
    await until(() => !chat.readable());
    const before = chat.found.length;
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(chat.found.length).toBe(before);
    expect(before).toBeLessThan(5);

    let length = 0;
    await until(() => {
      for (let data = peer.recv(65536); data; data = peer.recv(65536)) length += data.length;
      return length === requests * encode(answer, 'latin1').length;
    });
    expect(chat.found.length).toBe(requests);
    expect(most).toBeLessThanOrEqual(chat.highWaterMark);
    peer.close();
    await running;
  });

  it('finds a request whose first half waited', async () => {
    const [chat, peer] = pairWith(Requests);
    chat.answer = ([word]) => (word === 'big' ? 'x'.repeat(4 * 1024 * 1024) : word);
    const running = loop({ map });
    peer.send(Buffer.from('big\r\n*1\r\n$5\r\nhe'));
    await until(() => !chat.readable());
    peer.send(Buffer.from('llo\r\n'));
    let end = '';
    await until(() => {
      for (let data = peer.recv(65536); data; data = peer.recv(65536)) {
        end = `${end}${data.toString('latin1')}`.slice(-20);
      }
      return end.endsWith('x\r\n$5\r\nhello\r\n');
    });
    peer.close();
    await running;
  });
});

describe('ReplyChat', () => {
  const REPLIES: [string, Reply][] = [
    ['+OK\r\n', 'OK'],
    ['+\r\n', ''],
    ['-ERR no\r\n', new ReplyError('ERR no')],
    [':0\r\n', 0],
    [':-12\r\n', -12],
    [':9223372036854775807\r\n', 9223372036854775807n],
    ['$0\r\n\r\n', ''],
    ['$4\r\na\r\nb\r\n', 'a\r\nb'],
    ['$-1\r\n', null],
    ['*0\r\n', []],
    ['*-1\r\n', null],
    ['*2\r\n$1\r\na\r\n:1\r\n', ['a', 1]],
    [
      '*3\r\n*2\r\n*0\r\n*1\r\n+a\r\n$-1\r\n*1\r\n-b\r\n',
      [[[], ['a']], null, [new ReplyError('b')]],
    ],
  ];

  it.each(SIZES)('finds all kinds of replies in pieces of %d bytes', (size) => {
    const [chat, peer] = pairWith(Replies);
    feed(peer, REPLIES.map(([text]) => text).join(''), size);
    expect(chat.found).toEqual(REPLIES.map(([, reply]) => reply));
    expect(chat.error).toBeNull();
  });

  it.each(['OK', '', ':', ':1x', '$a', '$', '$536870913', '*1.5', 'x5', 'x*65537'])(
    'gives up at %j',
    (line) => {
      const [chat, peer] = pairWith(Replies);
      feed(peer, `+before\r\n${line === 'x*65537' ? 'x'.repeat(65537) : line}\r\n+after\r\n`);
      expect(chat.found).toEqual(['before']);
      expect(chat.error).toEqual(new Error('Cannot understand the server'));
      expect(map.size).toBe(0);
    },
  );

  it.each([
    ['strings', Array.from({ length: 3 }, () => `$300\r\n${'x'.repeat(300)}\r\n`)],
    ['items', Array.from({ length: 10 }, () => ':1\r\n')],
    ['arrays in arrays', Array.from({ length: 2 }, () => `${'*1\r\n'.repeat(4)}:1\r\n`)],
  ])('bounds the %s of a reply together, and no others', (_what, items) => {
    const [chat, peer] = pairWith(Replies);
    const fitting = items.slice(1);
    const reply = `*${fitting.length}\r\n${fitting.join('')}`;
    chat.largestReply = 1000;
    feed(peer, reply.repeat(3));
    expect(chat.found).toHaveLength(3);
    expect(chat.error).toBeNull();
    feed(peer, `*${items.length}\r\n${items.join('')}`);
    expect(chat.found).toHaveLength(3);
    expect(chat.error).toEqual(new Error('Cannot understand the server'));
  });

  it('sends requests, as text if asked to', () => {
    const [chat, peer] = pairWith(Replies);
    expect(chat.request('SET', 'a', '\xe9')).toBe(true);
    chat.encoding = 'utf8';
    chat.request('SET', 'a', 'é');
    expect(received(peer)).toBe(
      '*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n\xe9\r\n*3\r\n$3\r\nSET\r\n$1\r\na\r\n$2\r\n\xc3\xa9\r\n',
    );
    feed(peer, '$2\r\n\xc3\xa9\r\n', 1);
    expect(chat.found).toEqual(['é']);
  });
});

describe('Both ends together', () => {
  const reply = fc.letrec<{ reply: Reply }>((tie) => ({
    reply: fc.oneof(
      { maxDepth: 4 },
      fc.string({ unit: 'binary' }).map((text) => Buffer.from(text).toString('latin1')),
      fc.maxSafeInteger(),
      fc.constant(null),
      fc.array(tie('reply')),
    ),
  })).reply;

  it('give back what they are given', () => {
    fc.assert(
      fc.property(fc.array(reply), fc.integer({ min: 1, max: 50 }), (replies, size) => {
        const [chat, peer] = pairWith(Replies);
        feed(peer, replies.map((one) => encode(one, 'latin1')).join(''), size);
        expect(chat.found).toEqual(replies);
        chat.close();
        peer.close();
      }),
      { numRuns: 100 },
    );
  });

  it('speak to each other', async () => {
    const [ours, theirs] = Socket.pair();
    const server = new Requests(ours, map);
    const client = new Replies(theirs, map);
    const running = loop({ map });
    for (let count = 0; count < 1000; count += 1) client.request('ECHO', String(count));
    await until(() => client.found.length === 1000);
    expect(client.found.at(-1)).toEqual(['ECHO', '999']);
    client.close();
    await running;
    expect(server.connected).toBe(false);
  });
});
