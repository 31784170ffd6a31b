// docs/examples/redis-server.ts: literal bytes, the same against a real Redis, and Redis' own clients.

import { connect, type NetConnectOpts } from 'node:net';
import {
  type Address,
  AF_INET,
  AF_UNIX,
  ChannelMap,
  closeAll,
  type InternetAddress,
  loop,
} from 'asyncore';
import { createClient } from 'redis';
import { RedisServer } from '../../docs/examples/redis-server';
import { type Reply, ReplyChat, ReplyError, RequestChat } from '../../docs/examples/support/resp';
import { temporaryPath } from '../support/drive';
import { Client, LIMIT, Program, until } from '../support/program';
import { describeWith, itWith } from '../support/skips';

const itWithCli = itWith('redis-cli');
const itWithBenchmark = itWith('redis-benchmark');
const describeWithRedis = describeWith('redis-server');

let map: ChannelMap;
let server: RedisServer;
let port: number;
let running: Promise<void>;
const clients: Client[] = [];
const logged: string[] = [];

beforeEach(() => {
  map = new ChannelMap();
  server = new RedisServer({ host: '127.0.0.1', port: 0 }, map);
  logged.length = 0;
  server.log = (line) => logged.push(String(line));
  const address = server.address() as InternetAddress;
  port = address.port;
  running = loop({ map });
});

afterEach(async () => {
  jest.restoreAllMocks();
  for (const client of clients.splice(0)) client.socket.destroy();
  closeAll(map);
  await running;
});

function client(): Client {
  const made = new Client(port);
  clients.push(made);
  return made;
}

/** Sends a request, ends the stream, and returns all that comes until the server ends its own. */
async function ask(to: NetConnectOpts, request: string, pieceSize = 0): Promise<string> {
  const socket = connect({ ...to, allowHalfOpen: true, noDelay: true } as NetConnectOpts);
  let answer = '';
  let ended = false;
  socket.on('data', (data) => {
    answer += data.toString('latin1');
  });
  // A client that is disconnected may learn of it while it still sends.
  socket.on('error', () => {});
  socket.on('end', () => socket.end());
  socket.on('close', () => {
    ended = true;
  });
  if (pieceSize === 0) socket.end(request, 'latin1');
  else {
    for (let at = 0; at < request.length && !socket.writableEnded; at += pieceSize) {
      socket.write(request.slice(at, at + pieceSize), 'latin1');
      await new Promise((resolve) => setImmediate(resolve));
    }
    socket.end();
  }
  try {
    await until(
      () => ended,
      LIMIT,
      () => `the end, after ${JSON.stringify(answer)}`,
    );
  } finally {
    socket.destroy();
  }
  return answer;
}

/** What, requests, replies: each with an empty server. */
type Case = [what: string, request: string, reply: string];

/** Inline requests, a line each. */
const COMMANDS: Case[] = [
  ['PING', 'PING\nping\nPING hello\n', '+PONG\r\n+PONG\r\n$5\r\nhello\r\n'],
  ['ECHO', 'ECHO "a\\r\\nb"\n', '$4\r\na\r\nb\r\n'],
  ['QUIT', 'QUIT\nPING\n', '+OK\r\n'],
  [
    'SELECT',
    'SET a 0\nSELECT 1\nGET a\nSELECT 0\nGET a\n',
    '+OK\r\n+OK\r\n$-1\r\n+OK\r\n$1\r\n0\r\n',
  ],
  [
    'SELECT of what there is not',
    'SELECT 16\nSELECT -1\nSELECT a\nSELECT 2147483648\n',
    '-ERR DB index is out of range\r\n-ERR DB index is out of range\r\n' +
      '-ERR value is not an integer or out of range\r\n' +
      '-ERR value is out of range, value must between -2147483648 and 2147483647\r\n',
  ],
  [
    'FLUSHALL',
    'SET a 1\nSELECT 3\nSET b 1\nFLUSHALL\nEXISTS b\n',
    '+OK\r\n+OK\r\n+OK\r\n+OK\r\n:0\r\n',
  ],
  [
    'FLUSHALL with words',
    'SET a 1\nFLUSHALL foo\nFLUSHALL ASYNC SYNC\nEXISTS a\nFLUSHALL async\nEXISTS a\nFLUSHALL SYNC\n',
    '+OK\r\n-ERR syntax error\r\n-ERR syntax error\r\n:1\r\n+OK\r\n:0\r\n+OK\r\n',
  ],
  [
    'CONFIG GET in capitals',
    'CONFIG GET DATABASES\nconfig get Save\n',
    '*2\r\n$9\r\nDATABASES\r\n$2\r\n16\r\n*2\r\n$4\r\nSave\r\n$0\r\n\r\n',
  ],
  ['CONFIG GET', 'CONFIG GET save\nconfig get nothing\n', '*2\r\n$4\r\nsave\r\n$0\r\n\r\n*0\r\n'],
  [
    'CONFIG without a name',
    'CONFIG GET\n',
    "-ERR wrong number of arguments for 'config|get' command\r\n",
  ],

  [
    'CONFIG with a name that is long, and no name of a subcommand',
    `CONFIG ${'x'.repeat(200)}\n`,
    `-ERR unknown subcommand '${'x'.repeat(128)}'. Try CONFIG HELP.\r\n`,
  ],
  ['INFO about nothing', 'INFO nothing\n', '$0\r\n\r\n'],

  [
    'GET and SET',
    'GET a\nSET a ""\nGET a\nSET a b\nGET a\n',
    '$-1\r\n+OK\r\n$0\r\n\r\n+OK\r\n$1\r\nb\r\n',
  ],
  ['UTF-8', 'SET k voil\xc3\xa0\nGET k\n', '+OK\r\n$6\r\nvoil\xc3\xa0\r\n'],
  ['other blanks', 'ECHO \va\vb\f\nECHO \x85\xa0\n', '$4\r\na\vb\f\r\n$2\r\n\x85\xa0\r\n'],
  ['any bytes', 'SET "\\x00\\xff" "\\xff\\x00"\nGET "\\x00\\xff"\n', '+OK\r\n$2\r\n\xff\0\r\n'],
  ['SET NX', 'SET a 1 NX\nSET a 2 nx\nGET a\n', '+OK\r\n$-1\r\n$1\r\n1\r\n'],
  ['SET XX', 'SET a 1 XX\nSET a 1\nSET a 2 xx\nGET a\n', '$-1\r\n+OK\r\n+OK\r\n$1\r\n2\r\n'],
  [
    'SET with the same option again',
    'SET a 1 NX NX\nSET a 2 XX xx\nSET a 3 EX x EX 100\nTTL a\nSET a 3 PX 1 PX 200000\nTTL a\n',
    '+OK\r\n+OK\r\n+OK\r\n:100\r\n+OK\r\n:200\r\n',
  ],
  ['SET EX', 'SET a 1 EX 100\nTTL a\nSET a 1\nTTL a\n', '+OK\r\n:100\r\n+OK\r\n:-1\r\n'],
  ['SET PX', 'SET a 1 px 100000 NX\nTTL a\n', '+OK\r\n:100\r\n'],
  [
    'SET with options that cannot be',
    'SET a 1 NX XX\nSET a 1 EX\nSET a 1 EX 1 PX 1\nSET a 1 2\nSET a 1 EX 0 NX b\nEXISTS a\n',
    `${'-ERR syntax error\r\n'.repeat(5)}:0\r\n`,
  ],
  [
    'SET with times that cannot be',
    'SET a 1 EX 0\nSET a 1 PX -1\nSET a 1 EX 9223372036854775807\nSET a 1 EX 1.5\nEXISTS a\n',
    `${"-ERR invalid expire time in 'set' command\r\n".repeat(3)}` +
      '-ERR value is not an integer or out of range\r\n:0\r\n',
  ],
  ['INCR', 'INCR a\nINCR a\nGET a\nSET a -1\nINCR a\n', ':1\r\n:2\r\n$1\r\n2\r\n+OK\r\n:0\r\n'],
  [
    'INCR up to 64 bits',
    'SET a 9223372036854775806\nINCR a\nINCR a\nGET a\nSET a -9223372036854775808\nINCR a\n',
    '+OK\r\n:9223372036854775807\r\n-ERR increment or decrement would overflow\r\n' +
      '$19\r\n9223372036854775807\r\n+OK\r\n:-9223372036854775807\r\n',
  ],
  [
    'INCR of what is no integer',
    'SET a x\nINCR a\nSET a " 1"\nINCR a\nSET a 1.0\nINCR a\nSET a 01\nINCR a\nSET a ""\nINCR a\n' +
      'SET a 9223372036854775808\nINCR a\n',
    '+OK\r\n-ERR value is not an integer or out of range\r\n'.repeat(6),
  ],
  ['MSET and MGET', 'MSET a 1 b 2 a 3\nMGET a b c\n', '+OK\r\n*3\r\n$1\r\n3\r\n$1\r\n2\r\n$-1\r\n'],
  ['MSET of a half pair', 'MSET a 1 b\n', "-ERR wrong number of arguments for 'mset' command\r\n"],
  ['MGET of a list', 'LPUSH a 1\nMGET a\n', ':1\r\n*1\r\n$-1\r\n'],

  ['DEL', 'MSET a 1 b 2\nDEL a b a c\nEXISTS a\n', '+OK\r\n:2\r\n:0\r\n'],
  ['EXISTS', 'SET a 1\nEXISTS a b a\n', '+OK\r\n:2\r\n'],
  ['TTL', 'TTL a\nSET a 1\nTTL a\nEXPIRE a 100\nTTL a\n', ':-2\r\n+OK\r\n:-1\r\n:1\r\n:100\r\n'],
  ['EXPIRE of nothing', 'EXPIRE a 100\n', ':0\r\n'],
  [
    'EXPIRE at once',
    'SET a 1\nEXPIRE a -1\nEXISTS a\nSET a 1\nEXPIRE a 0\nTTL a\n',
    '+OK\r\n:1\r\n:0\r\n+OK\r\n:1\r\n:-2\r\n',
  ],
  [
    'EXPIRE with times that cannot be',
    'SET a 1\nEXPIRE a x\nEXPIRE a 9223372036854775807\nEXPIRE a 9223372036854775\n' +
      'EXPIRE a -9223372036854775807\nTTL a\n',
    '+OK\r\n-ERR value is not an integer or out of range\r\n' +
      `${"-ERR invalid expire time in 'expire' command\r\n".repeat(3)}:-1\r\n`,
  ],
  [
    'EXPIRE with times that hardly end',
    'SET a 1\nEXPIRE a 9223372036854\nTTL a\nSET a 1 EX 9223370000000000\nTTL a\n',
    '+OK\r\n:1\r\n:9223372036854\r\n+OK\r\n:9223370000000000\r\n',
  ],
  ['a time that outlives INCR', 'SET a 1 EX 100\nINCR a\nTTL a\n', '+OK\r\n:2\r\n:100\r\n'],
  [
    'a time that does not outlive DEL',
    'SET a 1 EX 100\nDEL a\nINCR a\nTTL a\n',
    '+OK\r\n:1\r\n:1\r\n:-1\r\n',
  ],

  [
    'LPUSH, RPUSH and LRANGE',
    'LPUSH a b a\nRPUSH a c d\nLRANGE a 0 -1\nLRANGE a 1 2\n',
    ':2\r\n:4\r\n*4\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n$1\r\nd\r\n*2\r\n$1\r\nb\r\n$1\r\nc\r\n',
  ],
  [
    'LRANGE beyond the ends',
    'RPUSH a a b\nLRANGE a -100 100\nLRANGE a 1 0\nLRANGE a 2 5\nLRANGE a -1 -1\nLRANGE b 0 -1\n',
    ':2\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n*0\r\n*0\r\n*1\r\n$1\r\nb\r\n*0\r\n',
  ],
  [
    'LTRIM',
    'RPUSH a a b c d e\nLTRIM a 1 -2\nLRANGE a 0 -1\nLTRIM a -2 100\nLRANGE a 0 -1\nLTRIM a 5 9\nEXISTS a\nLTRIM b 0 1\n',
    ':5\r\n+OK\r\n*3\r\n$1\r\nb\r\n$1\r\nc\r\n$1\r\nd\r\n+OK\r\n*2\r\n$1\r\nc\r\n$1\r\nd\r\n+OK\r\n:0\r\n+OK\r\n',
  ],
  [
    'LPOP and RPOP',
    'RPUSH a a b c\nLPOP a\nRPOP a\nLPOP a\nLPOP a\nRPOP a\nEXISTS a\n',
    ':3\r\n$1\r\na\r\n$1\r\nc\r\n$1\r\nb\r\n$-1\r\n$-1\r\n:0\r\n',
  ],
  [
    'a list that comes back',
    'RPUSH a a\nEXPIRE a 100\nLPOP a\nLPUSH a b\nTTL a\n',
    ':1\r\n:1\r\n$1\r\na\r\n:1\r\n:-1\r\n',
  ],

  ['SADD', 'SADD a x y x\nSADD a y z\n', ':2\r\n:1\r\n'],
  ['SPOP', 'SADD a x\nSPOP a\nSPOP a\nEXISTS a\n', ':1\r\n$1\r\nx\r\n$-1\r\n:0\r\n'],
  [
    'HSET and HGET',
    'HSET a f 1 g 2\nHSET a f 3 h 4\nHGET a f\nHGET a x\nHGET b f\n',
    ':2\r\n:1\r\n$1\r\n3\r\n$-1\r\n$-1\r\n',
  ],
  [
    'HSET of a half pair',
    'HSET a f 1 g\n',
    "-ERR wrong number of arguments for 'hset' command\r\n",
  ],
  [
    'ZADD and ZPOPMIN',
    'ZADD a 2 two 1 one 2 deux\nZADD a 0 two 3 three\nZPOPMIN a\nZPOPMIN a\nZPOPMIN a\nZPOPMIN a\nZPOPMIN a\nEXISTS a\n',
    ':3\r\n:1\r\n*2\r\n$3\r\ntwo\r\n$1\r\n0\r\n*2\r\n$3\r\none\r\n$1\r\n1\r\n' +
      '*2\r\n$4\r\ndeux\r\n$1\r\n2\r\n*2\r\n$5\r\nthree\r\n$1\r\n3\r\n*0\r\n:0\r\n',
  ],
  [
    'scores that are no integers',
    'ZADD a -inf a 1.5 b +inf c 1e2 d\nZPOPMIN a\nZPOPMIN a\nZPOPMIN a\nZPOPMIN a\n',
    ':4\r\n*2\r\n$1\r\na\r\n$4\r\n-inf\r\n*2\r\n$1\r\nb\r\n$3\r\n1.5\r\n' +
      '*2\r\n$1\r\nd\r\n$3\r\n100\r\n*2\r\n$1\r\nc\r\n$3\r\ninf\r\n',
  ],
  [
    'scores that are none',
    'ZADD a x a\nZADD a "" a\nZADD a nan a\nZADD a 1 a 2\nEXISTS a\n',
    `${'-ERR value is not a valid float\r\n'.repeat(3)}-ERR syntax error\r\n:0\r\n`,
  ],
  [
    'scores that would be numbers of JavaScript',
    ['1e400', '-1e400', '1e-400', '0b1', '0o7', '1_0', '1e', '.', '-', '" 1"', '"1 "', 'infinit']
      .map((score) => `ZADD a ${score} a\n`)
      .join(''),
    '-ERR value is not a valid float\r\n'.repeat(12),
  ],
  ...(
    [
      ['-InFinity', '-inf'],
      ['-1.5', '-1.5'],
      ['-0e999', '0'],
      ['5e-324', '4.9406564584124654e-324'],
      ['1e-7', '9.9999999999999995e-08'],
      ['.00001', '1.0000000000000001e-05'],
      ['0.0001', '0.0001'],
      ['0.1', '0.10000000000000001'],
      ['3.', '3'],
      ['1e5', '100000'],
      ['1e16', '10000000000000000'],
      ['123456789012345678', '1.2345678901234568e+17'],
      ['1e20', '1e+20'],
      ['1.7976931348623157e308', '1.7976931348623157e+308'],
    ] as const
  ).map(
    ([given, printed]): Case => [
      `the score ${given}`,
      `ZADD a ${given} m\nZPOPMIN a\n`,
      `:1\r\n*2\r\n$1\r\nm\r\n$${printed.length}\r\n${printed}\r\n`,
    ],
  ),

  [
    'the wrong kind of value',
    'SET a 1\nLPUSH a x\nLPOP a\nLRANGE a 0 -1\nSADD a x\nSPOP a\nHSET a f 1\nHGET a f\nZADD a 1 x\nZPOPMIN a\nSADD b x\nGET b\nINCR b\nLPUSH b x\n',
    `+OK\r\n${'-WRONGTYPE Operation against a key holding the wrong kind of value\r\n'.repeat(9)}` +
      `:1\r\n${'-WRONGTYPE Operation against a key holding the wrong kind of value\r\n'.repeat(3)}`,
  ],
  [
    'commands with too few words, or too many',
    'GET\nGET a b\nset a\nPING a b\nLPUSH a\nECHO\n',
    ['get', 'get', 'set', 'ping', 'lpush', 'echo']
      .map((name) => `-ERR wrong number of arguments for '${name}' command\r\n`)
      .join(''),
  ],
  [
    'commands that there are not',
    'Nothing\nnothing "a b" "c\\r\\nd"\n__proto__\nconstructor x\n',
    "-ERR unknown command 'Nothing', with args beginning with: \r\n" +
      "-ERR unknown command 'nothing', with args beginning with: 'a b' 'c  d' \r\n" +
      "-ERR unknown command '__proto__', with args beginning with: \r\n" +
      "-ERR unknown command 'constructor', with args beginning with: 'x' \r\n",
  ],
  [
    'a long command that there is not',
    `${'x'.repeat(200)} ${'a'.repeat(100)} ${'b'.repeat(100)} c\n`,
    `-ERR unknown command '${'x'.repeat(128)}', with args beginning with: ` +
      `'${'a'.repeat(100)}' '${'b'.repeat(25)}' \r\n`,
  ],

  [
    'SUBSCRIBE',
    'SUBSCRIBE a b a\nPING\nPING x\nGET a\nUNSUBSCRIBE a c\nUNSUBSCRIBE\nPING\n',
    '*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n*3\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:2\r\n' +
      '*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:2\r\n' +
      '*2\r\n$4\r\npong\r\n$0\r\n\r\n*2\r\n$4\r\npong\r\n$1\r\nx\r\n' +
      "-ERR Can't execute 'get': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET " +
      'are allowed in this context\r\n' +
      '*3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:1\r\n*3\r\n$11\r\nunsubscribe\r\n$1\r\nc\r\n:1\r\n' +
      '*3\r\n$11\r\nunsubscribe\r\n$1\r\nb\r\n:0\r\n+PONG\r\n',
  ],
  ['UNSUBSCRIBE from nothing', 'UNSUBSCRIBE\n', '*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n'],
  ['PUBLISH to nobody', 'PUBLISH a b\n', ':0\r\n'],
];

/** What is not told by resp.spec.ts, for the real Redis to confirm. */
const PROTOCOL: Case[] = [
  ['a request', '*1\r\n$4\r\nPING\r\n', '+PONG\r\n'],
  ['strings with line ends', '*2\r\n$4\r\nECHO\r\n$6\r\n\r\n*1\r\n\r\n', '$6\r\n\r\n*1\r\n\r\n'],
  ['no words', '*0\r\n*-1\r\n\r\nPING\r\n', '+PONG\r\n'],
  ['a string with another end', '*1\r\n$4\r\nPINGxyPING\r\n', '+PONG\r\n+PONG\r\n'],
  ...(
    [
      ['*a\r\n', 'invalid multibulk length'],
      ['*01\r\n', 'invalid multibulk length'],
      ['*99999999999999999999\r\n', 'invalid multibulk length'],
      ['*-99999999999999999999\r\n', 'invalid multibulk length'],
      ['*1\r\nPING\r\n', "expected '$', got 'P'"],
      ['*1\r\n\r\n', "expected '$', got ' '"],
      ['*1\r\n$-1\r\n', 'invalid bulk length'],
      ['*1\r\n$a\r\n', 'invalid bulk length'],
      ['*1\r\n$1000000000\r\n', 'invalid bulk length'],
      ['PING "a\r\n', 'unbalanced quotes in request'],
      ["'\\\\'\r\n", 'unbalanced quotes in request'],
      ['"a"b\r\n', 'unbalanced quotes in request'],
    ] as const
  ).map(
    ([text, message]): Case => [
      JSON.stringify(text),
      `PING\r\n${text}PING\r\n`,
      `+PONG\r\n-ERR Protocol error: ${message}\r\n`,
    ],
  ),
  [
    'a line without end',
    `PING\r\n${'x'.repeat(70_000)}`,
    '+PONG\r\n-ERR Protocol error: too big inline request\r\n',
  ],
  [
    'a count without end',
    `PING\r\n*${'1'.repeat(70_000)}`,
    '+PONG\r\n-ERR Protocol error: too big mbulk count string\r\n',
  ],
  [
    'a length without end',
    `*1\r\n$${'1'.repeat(70_000)}`,
    '-ERR Protocol error: too big bulk count string\r\n',
  ],
  // Cross-protocol scripting: the body is what a web page has chosen.
  ['a POST of a browser', 'POST / HTTP/1.1\r\nHost: x\r\n\r\nSET a 1\r\nPING\r\n', ''],
  ['POST in whatever form', '*1\r\n$4\r\npoSt\r\nPING\r\n', ''],
];

const CASES = [...COMMANDS, ...PROTOCOL];

describe('RedisServer', () => {
  it.each(CASES)('answers %s', async (_what, request, reply) => {
    expect(await ask({ port }, request)).toBe(reply);
  });

  it.each(CASES.filter(([, request]) => request.length < 1000))(
    'answers byte by byte %s',
    async (_what, request, reply) => {
      expect(await ask({ port }, request, 1)).toBe(reply);
    },
  );

  it('answers a deep pipeline in order', async () => {
    const count = 20_000;
    const one = client();
    for (let at = 0; at < count; at += 1000) {
      const numbers = Array.from({ length: 1000 }, (_, index) => at + index);
      one.send(numbers.map((n) => `*2\r\n$4\r\nECHO\r\n$${`${n}`.length}\r\n${n}\r\n`).join(''));
    }
    one.socket.end();
    const expected = Array.from({ length: count }, (_, n) => `$${`${n}`.length}\r\n${n}\r\n`);
    expect((await one.ends()) === expected.join('')).toBe(true);
  });

  it('bounds what it owes to a client that takes no replies, and serves others', async () => {
    const value = 'x'.repeat(1024 * 1024);
    const reply = `$${value.length}\r\n${value}\r\n`;
    const one = client().send(`*3\r\n$3\r\nSET\r\n$1\r\na\r\n${reply}`);
    await one.hears('+OK\r\n');
    one.received = '';
    one.socket.pause();
    one.send('GET a\r\n'.repeat(24));
    const owed = (): number =>
      Math.max(
        ...[...map.values()].map((chat) => (chat instanceof RequestChat ? chat.writableLength : 0)),
      );
    await until(() => owed() > 1024 * 1024);
    await client().send('PING\r\n').hears('+PONG\r\n');
    expect(owed()).toBeLessThan(2 * 1024 * 1024 + 100);
    one.socket.resume();
    await until(() => one.received.length === 24 * reply.length);
    expect(one.received === reply.repeat(24)).toBe(true);
  });

  it('forgets keys when their time is over, asked for or not', async () => {
    const one = client().send('SET a 1 PX 20\r\nSELECT 5\r\nSET b 1 PX 20\r\nSET c 1 EX 100\r\n');
    await one.hears('+OK\r\n+OK\r\n+OK\r\n+OK\r\n');
    const database = server.database(5);
    expect(database.size).toBe(2);
    await until(() => database.size === 1 && server.database(0).size === 0);
    expect(database.expiring).toBe(1);
    // Where many have expired, one sweep does not wait for the next.
    const [many, none] = [database, server.database(1)].map((one) => jest.spyOn(one, 'sweep'));
    for (let key = 0; key < 10_000; key += 1) {
      database.set(`${key}`, '');
      database.expire(`${key}`, 1);
    }
    await until(() => database.size === 1);
    expect(many?.mock.calls.length).toBeGreaterThan(none?.mock.calls.length as number);

    one.received = '';
    one.send('SET d 1 PX 1\r\n');
    await one.hears('+OK\r\n');
    // Longer than it lives, and shorter than it takes to be swept, most of the time.
    await new Promise((resolve) => setTimeout(resolve, 5));
    one.send('GET d\r\nTTL d\r\nEXISTS d\r\n');
    await one.hears('+OK\r\n$-1\r\n:-2\r\n:0\r\n');
  });

  it('publishes to subscribers, until they leave', async () => {
    const [ann, bob, news] = [client(), client(), client()] as [Client, Client, Client];
    await ann.send('SUBSCRIBE x\r\n').hears(':1\r\n');
    await bob.send('SUBSCRIBE x y\r\n').hears(':2\r\n');
    await news.send('PUBLISH x "1 2"\r\nPUBLISH y 3\r\n').hears(':2\r\n:1\r\n');
    await ann.hears('*3\r\n$7\r\nmessage\r\n$1\r\nx\r\n$3\r\n1 2\r\n');
    await bob.hears('*3\r\n$7\r\nmessage\r\n$1\r\ny\r\n$1\r\n3\r\n');
    bob.socket.destroy();
    await until(() => map.size === 3);
    ann.received = '';
    await ann.send('UNSUBSCRIBE\r\n').hears(':0\r\n');
    news.received = '';
    await news.send('PUBLISH x 4\r\nPUBLISH y 4\r\n').hears(':0\r\n:0\r\n');
  });

  it('puts a subscriber out that does not listen', async () => {
    const slow = client().send('SUBSCRIBE x\r\n');
    await slow.hears(':1\r\n');
    slow.socket.pause();
    const message = 'x'.repeat(1024 * 1024);
    const news = client();
    for (let count = 0; count < 50; count += 1) {
      news.received = '';
      news.send(`*3\r\n$7\r\nPUBLISH\r\n$1\r\nx\r\n$${message.length}\r\n${message}\r\n`);
      await news.hears('\r\n');
      if (news.received === ':0\r\n') break;
    }
    expect(news.received).toBe(':0\r\n');
    expect(map.size).toBe(2);
  });

  it('tells about itself', async () => {
    client().send('SELECT 2\r\nSET a 1 EX 100\r\nSET b 1\r\n');
    await until(() => server.database(2).size === 2);
    const info = await ask({ port }, 'INFO\r\n');
    expect(info).toContain('\r\nconnected_clients:2\r\n');
    expect(info).toContain('\r\ntotal_commands_processed:4\r\n');
    expect(info).toContain('\r\ndb2:keys=2,expires=1,avg_ttl=0\r\n');
    const keyspace = '# Keyspace\r\ndb2:keys=2,expires=1,avg_ttl=0\r\n';
    expect(await ask({ port }, 'INFO KEYSPACE\r\n')).toBe(`$${keyspace.length}\r\n${keyspace}\r\n`);
  });

  it('obeys no request of a browser, and tells its log, but not each time', async () => {
    for (const method of ['POST', 'PUT', 'OPTIONS']) {
      await ask({ port }, `${method} / HTTP/1.1\r\nhOST: x\r\n\r\nSET pwned 1\r\n`);
    }
    expect(server.database(0).size).toBe(0);
    expect(logged).toEqual([
      'Possible SECURITY ATTACK: a client from 127.0.0.1 has sent POST or Host: to Redis. ' +
        'Its connection is closed.',
    ]);
  });

  it('refuses a reply that is larger than any request', async () => {
    const value = 'x'.repeat(1024 * 1024);
    const one = client().send(`*3\r\n$3\r\nSET\r\n$1\r\na\r\n$${value.length}\r\n${value}\r\n`);
    await one.hears('+OK\r\n');
    one.send(`MGET${' a'.repeat(1000)}\r\nPING\r\n`);
    await one.hears('+OK\r\n-ERR the reply is too large\r\n+PONG\r\n');
  });
});

/** What a ReplyChat finds when it speaks to a server, which is this one's or the real one. */
class Caller extends ReplyChat {
  readonly found: Reply[] = [];

  constructor(address: Address, family: number, callers: ChannelMap) {
    super(null, callers);
    this.createSocket(family);
    this.connect(address);
  }

  protected override foundReply(reply: Reply): void {
    this.found.push(reply);
  }
}

/** Has it find every kind of reply. */
async function converse(address: Address, family: number): Promise<void> {
  const caller = new Caller(address, family, map);
  caller.request('FLUSHALL');
  caller.request('SET', 'a', '\r\n\xff');
  caller.request('GET', 'a');
  caller.request('INCR', 'a');
  caller.request('RPUSH', 'l', 'a', 'b');
  caller.request('LRANGE', 'l', '0', '-1');
  caller.request('MGET', 'a', 'none');
  caller.request('SUBSCRIBE', 'news');
  await until(() => caller.found.length === 8);
  const other = new Caller(address, family, map);
  other.request('PUBLISH', 'news', 'good morning');
  await until(() => caller.found.length === 9 && other.found.length === 1);
  expect(caller.found).toEqual([
    'OK',
    'OK',
    '\r\n\xff',
    new ReplyError('ERR value is not an integer or out of range'),
    2,
    ['a', 'b'],
    ['\r\n\xff', null],
    ['subscribe', 'news', 1],
    ['message', 'news', 'good morning'],
  ]);
  expect(other.found).toEqual([1]);
}

it('RedisServer converses with a ReplyChat', async () => {
  await converse({ host: '127.0.0.1', port }, AF_INET);
});

describeWithRedis('A real redis-server (skipped where there is none)', () => {
  let redis: Program;
  const path = temporaryPath();

  beforeAll(async () => {
    redis = new Program('redis-server', ['--port', '0', '--unixsocket', path, '--save', '']);
    await redis.printed(/ready to accept connections/i);
  });

  afterAll(() => redis.kill());

  it.each(CASES)('answers the same to %s', async (_what, request, reply) => {
    expect(await ask({ path }, 'FLUSHALL\r\n')).toBe('+OK\r\n');
    expect(await ask({ path }, request)).toBe(reply);
  });

  it('converses with a ReplyChat', async () => {
    await converse({ path }, AF_UNIX);
  });
});

describe('redis-cli (skipped where there is none)', () => {
  /** What it prints for a script of commands. */
  async function cli(script: string, ...args: string[]): Promise<string> {
    const program = new Program('redis-cli', ['-p', String(port), ...args]);
    program.child.stdin.end(script);
    expect(await program.ended()).toBe(0);
    return program.output;
  }

  itWithCli('runs commands from its arguments', async () => {
    expect(await cli('', 'SET', 'a key', 'a\nvalue')).toBe('OK\n');
    expect(await cli('', 'GET', 'a key')).toBe('a\nvalue\n');
    expect(await cli('', '-n', '3', 'EXISTS', 'a key')).toBe('0\n');
    expect(await cli('value from stdin', '-x', 'SET', 'x')).toBe('OK\n');
    expect(await cli('', '--no-raw', 'GET', 'x')).toBe('"value from stdin"\n');
    expect(await cli('', '-r', '5', 'INCR', 'n')).toBe('1\n2\n3\n4\n5\n');
  });

  itWithCli('runs a script', async () => {
    const script =
      'RPUSH l a "b c"\nLRANGE l 0 -1\nGET l\nNOSUCH x\nZADD z 1.5 m\nZPOPMIN z\nTTL l\n';
    expect(await cli(script, '--no-raw')).toBe(
      '(integer) 2\n1) "a"\n2) "b c"\n' +
        '(error) WRONGTYPE Operation against a key holding the wrong kind of value\n' +
        "(error) ERR unknown command 'NOSUCH', with args beginning with: 'x' \n" +
        '(integer) 1\n1) "m"\n2) "1.5"\n(integer) -1\n',
    );
  });

  itWithCli('loads a mass of data', async () => {
    const lines = Array.from({ length: 20_000 }, (_, n) => `SET key:${n} ${n}\r\n`).join('');
    expect(await cli(lines, '--pipe')).toContain('errors: 0, replies: 20000');
    expect(await cli('', 'GET', 'key:19999')).toBe('19999\n');
  });

  itWithCli('subscribes', async () => {
    const subscriber = new Program('redis-cli', ['-p', String(port), 'SUBSCRIBE', 'news']);
    try {
      await subscriber.printed(/subscribe\nnews\n1\n/);
      expect(await cli('', 'PUBLISH', 'news', 'good morning')).toBe('1\n');
      await subscriber.printed(/message\nnews\ngood morning\n/);
    } finally {
      await subscriber.kill();
    }
  });
});

describe('redis-benchmark (skipped where there is none)', () => {
  itWithBenchmark.each([1, 16])('runs all its default tests with -P %d', async (pipeline) => {
    // A multiple of both: redis-benchmark sends whole pipelines.
    const requests = 800;
    const args = ['-p', port, '-n', requests, '-c', 20, '-P', pipeline, '--csv'];
    const benchmark = new Program('redis-benchmark', args.map(String));
    expect(await benchmark.ended()).toBe(0);
    const rows = benchmark.output.trim().split('\n');
    const names = rows.slice(1).map((row) => /^"(\w+)[^"]*","[1-9]/.exec(row)?.[1]);
    expect(names).toEqual([
      ...['PING_INLINE', 'PING_MBULK', 'SET', 'GET', 'INCR', 'LPUSH', 'RPUSH', 'LPOP', 'RPOP'],
      ...['SADD', 'HSET', 'SPOP', 'ZADD', 'ZPOPMIN', 'LPUSH', 'LRANGE_100', 'LRANGE_300'],
      ...['LRANGE_500', 'LRANGE_600', 'MSET'],
    ]);
    // What it has left behind tells whether its requests were carried out.
    const database = server.database(0);
    expect(database.getString('counter:__rand_int__')).toBe(String(requests));
    expect(database.getString('key:__rand_int__')).toBe('VXK');
    expect((database.get('mylist') as { size: number }).size).toBe(requests);
  });
});

describe('The npm client redis', () => {
  async function connected() {
    // It speaks RESP3 unless told not to.
    const made = createClient({ RESP: 2, url: `redis://127.0.0.1:${port}` });
    made.on('error', () => {});
    await made.connect();
    return made;
  }

  let redis: Awaited<ReturnType<typeof connected>>;

  beforeEach(async () => {
    redis = await connected();
  });

  afterEach(() => redis.destroy());

  it('has its commands answered', async () => {
    expect(await redis.ping()).toBe('PONG');
    expect(await redis.echo('grüße €')).toBe('grüße €');
    expect(await redis.set('a', 'grüße', { expiration: { type: 'EX', value: 100 } })).toBe('OK');
    expect(await redis.set('a', 'x', { condition: 'NX' })).toBeNull();
    expect(await redis.get('a')).toBe('grüße');
    expect(await redis.ttl('a')).toBe(100);
    expect(await redis.expire('a', 50)).toBe(1);
    expect(await redis.mSet({ n: '1', m: '2' })).toBe('OK');
    expect(await redis.incr('n')).toBe(2);
    expect(await redis.mGet(['n', 'm', 'none'])).toEqual(['2', '2', null]);
    expect(await redis.exists(['n', 'm', 'none'])).toBe(2);
    expect(await redis.del(['n', 'm', 'none'])).toBe(2);
    expect(await redis.rPush('l', ['a', 'b', 'c'])).toBe(3);
    expect(await redis.lPush('l', 'z')).toBe(4);
    expect(await redis.lRange('l', 0, -1)).toEqual(['z', 'a', 'b', 'c']);
    expect([await redis.lPop('l'), await redis.rPop('l')]).toEqual(['z', 'c']);
    expect(await redis.sAdd('s', ['a', 'b'])).toBe(2);
    expect(['a', 'b']).toContain(await redis.sPop('s'));
    expect(await redis.hSet('h', { f: '1', g: '2' })).toBe(2);
    expect(await redis.hGet('h', 'g')).toBe('2');
    expect(
      await redis.zAdd('z', [
        { score: 2, value: 'two' },
        { score: 1.5, value: 'one' },
      ]),
    ).toBe(2);
    expect(await redis.zPopMin('z')).toEqual({ score: 1.5, value: 'one' });
    expect(await redis.configGet('save')).toEqual({ save: '' });
    expect(await redis.info()).toContain('redis_version');
    await redis.select(1);
    expect(await redis.get('a')).toBeNull();
    expect(await redis.flushAll()).toBe('OK');
  });

  it('hears of errors, and goes on', async () => {
    await redis.set('a', 'x');
    await expect(redis.incr('a')).rejects.toThrow('ERR value is not an integer or out of range');
    await expect(redis.lPop('a')).rejects.toThrow('WRONGTYPE');
    expect(await redis.get('a')).toBe('x');
  });

  it('has many requests under way', async () => {
    const counts = await Promise.all(Array.from({ length: 2000 }, () => redis.incr('n')));
    expect(counts).toEqual(Array.from({ length: 2000 }, (_, index) => index + 1));
    const large = 'x'.repeat(8 * 1024 * 1024);
    await redis.set('large', large);
    expect((await redis.get('large')) === large).toBe(true);
  });

  it('subscribes', async () => {
    const subscriber = await connected();
    try {
      const messages: string[] = [];
      await subscriber.subscribe('news', (message) => messages.push(message));
      expect(await redis.publish('news', 'grüße')).toBe(1);
      await until(() => messages.length === 1);
      await subscriber.unsubscribe('news');
      expect(await redis.publish('news', 'nobody hears')).toBe(0);
      expect(await subscriber.get('news')).toBeNull();
      expect(messages).toEqual(['grüße']);
    } finally {
      subscriber.destroy();
    }
  });
});
