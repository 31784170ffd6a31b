// Random bytes for whatever parses what comes from elsewhere: socket addresses, and the protocols of
// the examples. They may refuse it; they may not throw anything but what they promise, nor hang, nor
// stop serving others.

import {
  type Address,
  AF_INET,
  AF_INET6,
  AF_UNIX,
  ChannelMap,
  closeAll,
  type Dispatcher,
  type InternetAddress,
  loop,
} from 'asyncore';
import fc from 'fast-check';
import { ChatServer } from '../../docs/examples/chat-room';
import { httpServer } from '../../docs/examples/http-request-handler';
import { echo, HttpServer } from '../../docs/examples/http-server';
import { RedisServer } from '../../docs/examples/redis-server';
import { Maildir, smtpServer } from '../../docs/examples/smtp-server';
import {
  decodeAddress,
  encodeAddress,
  formatAddress,
  resolveAddress,
} from '../../lib/kernel/address';
import { temporaryPath } from '../support/drive';
import { Client } from '../support/program';

describe('addresses', () => {
  it('decodes whatever the kernel may write, or throws a RangeError', () => {
    const family = fc.constantFrom([1, 0], [2, 0], [10, 0]);
    const sockaddr = fc.oneof(
      fc.uint8Array({ maxLength: 110 }),
      // As long as the kernel makes it for that family, and one byte more or less.
      fc
        .tuple(family, fc.uint8Array({ maxLength: 109 }))
        .map((parts) => parts.flatMap((part) => [...part])),
      fc.uint8Array({ minLength: 14, maxLength: 14 }).map((rest) => [2, 0, ...rest]),
      fc.uint8Array({ minLength: 26, maxLength: 26 }).map((rest) => [10, 0, ...rest]),
    );
    const decode = (bytes: Iterable<number>): Address | null => {
      try {
        return decodeAddress(Buffer.from([...bytes]));
      } catch (error) {
        // By name, as Node's own come from another realm here.
        expect((error as Error).name).toBe('RangeError');
        return null;
      }
    };
    fc.assert(
      fc.property(sockaddr, (bytes) => {
        const address = decode(bytes);
        // A part of a sockaddr is no address.
        if (address !== null && 'host' in address) {
          expect(formatAddress(address)).not.toContain('undefined');
        }
      }),
      { numRuns: 2000 },
    );
  });

  it('encodes whatever a program passes, or throws a TypeError or RangeError', () => {
    const anyField = fc.oneof(
      fc.string(),
      fc.integer(),
      fc.double(),
      fc.constantFrom(null, undefined, {}, []),
    );
    const address = fc.oneof(
      fc.record({ host: fc.oneof(fc.ipV4(), fc.ipV6(), fc.string()), port: fc.integer() }),
      fc.record({ path: fc.string({ unit: 'binary', maxLength: 120 }) }),
      fc.record(
        { host: anyField, port: anyField, flowInfo: anyField, path: anyField },
        { requiredKeys: [] },
      ),
      fc.anything(),
    );
    fc.assert(
      fc.property(address, fc.constantFrom(AF_INET, AF_INET6, AF_UNIX, 3), (any, family) => {
        try {
          const sockaddr = encodeAddress(any as Address, family, 'test');
          expect(sockaddr.length).toBeLessThanOrEqual(110);
          const again = encodeAddress(decodeAddress(sockaddr), family, 'test');
          expect(again.equals(sockaddr)).toBe(true);
        } catch (error) {
          if (!(error instanceof RangeError)) expect(error).toBeInstanceOf(TypeError);
        }
      }),
      { numRuns: 500 },
    );
  });

  it('resolves literals as it encodes them', () => {
    const hosts = fc.oneof(fc.ipV4(), fc.constantFrom('', '<broadcast>'));
    fc.assert(
      fc.property(hosts, fc.integer({ min: 0, max: 65535 }), (host, port) => {
        const address = { host, port };
        expect(resolveAddress(address, AF_INET, 1, 'test')).toEqual(
          encodeAddress(address, AF_INET, 'test'),
        );
      }),
    );
  });
});

// ---------------------------------------------------------------------------------------------

const LOCAL = { host: '127.0.0.1', port: 0 };

interface Protocol {
  start(map: ChannelMap): Dispatcher;
  /** What its messages are made of. */
  tokens: string[];
  /** Something that is always answered, and how. */
  question: string;
  answer: string;
}

const HTTP = [
  'GET ',
  'POST ',
  'OPTIONS ',
  '/',
  '/a?b=c',
  '*',
  ' HTTP/1.1\r\n',
  ' HTTP/1.0\r\n',
  ' HTTP/9.9\r\n',
  'Host: a\r\n',
  'Content-Length: 5\r\n',
  'Content-Length: 99999999999999999999\r\n',
  'Content-Length: -1\r\n',
  'Transfer-Encoding: chunked\r\n',
  'Transfer-Encoding: x\r\n',
  'Connection: close\r\n',
  'Expect: 100-continue\r\n',
  ' folded\r\n',
  ': \r\n',
  '\r\n',
  '\n',
  '\r',
  'hello',
  '5\r\nhello\r\n',
  '0\r\n\r\n',
  'ffffffffffff\r\n',
  '-1\r\n',
  'GET / HTTP/1.1\r\nHost: a\r\n\r\n',
];

const PROTOCOLS: [string, Protocol][] = [
  [
    'redis-server',
    {
      start: (map) => new RedisServer(LOCAL, map),
      tokens: [
        '*1\r\n',
        '*2\r\n',
        '*3\r\n',
        '*-1\r\n',
        '*99999999\r\n',
        '$4\r\nPING\r\n',
        '$3\r\nGET\r\n',
        '$3\r\nSET\r\n',
        '$1\r\na\r\n',
        '$0\r\n\r\n',
        '$-1\r\n',
        '$999999999\r\n',
        'PING\r\n',
        'GET "a\\x00b"\r\n',
        "SET 'a' \"\r\n",
        'LPUSH a b\r\n',
        'INCR a\r\n',
        'MULTI\r\n',
        'EXEC\r\n',
        'SUBSCRIBE a\r\n',
        'ZADD z 1 a\r\n',
        'EXPIRE a -1\r\n',
        'SCAN 0\r\n',
        '\r\n',
        '\n',
        '\r',
        ':1\r\n',
      ],
      question: 'ECHO served\r\n',
      answer: 'served',
    },
  ],
  [
    'http-server',
    {
      start: (map) => new HttpServer(LOCAL, echo, {}, map),
      tokens: HTTP,
      question: 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx',
      answer: 'HTTP/1.1 200 ',
    },
  ],
  [
    'http-request-handler',
    {
      start: (map) => httpServer(LOCAL, map),
      tokens: HTTP,
      question: 'GET / HTTP/1.0\r\n\r\n',
      answer: ' 200 ',
    },
  ],
  [
    'smtp-server',
    {
      start: (map) => {
        const maildir = new Maildir(temporaryPath('Maildir'));
        return smtpServer(LOCAL, { domain: 'example.org', maildir, size: 10_000 }, map);
      },
      tokens: [
        'EHLO a\r\n',
        'HELO a\r\n',
        'MAIL FROM:<a@b>\r\n',
        'MAIL FROM:<>',
        ' SIZE=99999999999\r\n',
        'RCPT TO:<c@example.org>\r\n',
        'RCPT TO:<"\\"@example.org>\r\n',
        'DATA\r\n',
        '.\r\n',
        '..\r\n',
        'RSET\r\n',
        'NOOP\r\n',
        'QUIT\r\n',
        'text\r\n',
        '\r\n',
        '\n',
        '\r',
        '\r\n.\r\n',
        'x'.repeat(1001),
      ],
      question: 'NOOP\r\n',
      answer: '250 2.0.0',
    },
  ],
  [
    'chat-room',
    {
      start: (map) => new ChatServer(LOCAL, map),
      tokens: [
        'ann\r\n',
        'ann\n',
        '/nick ann\r\n',
        '/join room\r\n',
        '/part\r\n',
        '/who\r\n',
        '/quit\r\n',
        '/me\r\n',
        '/msg ann hello\r\n',
        '/',
        '/nick \u0007\r\n',
        'hello\r\n',
        '\r\n',
        '\n',
        '\r',
        '\xff\xfe\r\n',
        '\xff\xfb\x01',
        'x'.repeat(3000),
      ],
      question: '\r\n',
      answer: '',
    },
  ],
];

describe.each(PROTOCOLS)('%s', (_name, { start, tokens, question, answer }) => {
  let map: ChannelMap;
  let port: number;
  let running: Promise<void>;
  let printed: string;

  beforeEach(() => {
    map = new ChannelMap();
    printed = '';
    jest.spyOn(process.stdout, 'write').mockImplementation((text) => {
      printed += text;
      return true;
    });
    const server = start(map);
    port = (server.address() as InternetAddress).port;
    running = loop({ map });
  });

  afterEach(async () => {
    closeAll(map);
    await running;
    jest.restoreAllMocks();
  });

  /** Says it in pieces, ends the stream, and waits for the other end. */
  async function converse(pieces: string[]): Promise<string> {
    const client = new Client(port);
    try {
      client.socket.setNoDelay(true);
      for (const piece of pieces) {
        client.send(piece);
        await new Promise((resolve) => setImmediate(resolve));
      }
      client.socket.end();
      return await client.ends(8000);
    } finally {
      client.socket.destroy();
    }
  }

  const garbage = fc
    .uint8Array({ minLength: 1, maxLength: 200 })
    .map((bytes) => Buffer.from(bytes).toString('latin1'));
  const pieces = fc.array(
    fc.oneof(
      { weight: 8, arbitrary: fc.constantFrom(...tokens) },
      { weight: 1, arbitrary: garbage },
    ),
    { maxLength: 20 },
  );

  it('survives whatever is sent', async () => {
    await fc.assert(
      fc.asyncProperty(pieces, fc.boolean(), async (parts, atOnce) => {
        await converse(atOnce ? [parts.join('')] : parts);
        expect(printed).not.toContain('uncaptured exception');
      }),
      { numRuns: 150, endOnFailure: true, interruptAfterTimeLimit: 6000 },
    );
    expect(await converse([question])).toContain(answer);
  }, 20_000);
});
