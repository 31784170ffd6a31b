// docs/examples/dns-relay.ts: dig against a resolver of the test's own and against dnsmasq, and
// datagrams that dig would not send.

import { createSocket, type Socket as Datagrams } from 'node:dgram';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { ChannelMap, closeAll, type InternetAddress, loop, ManualClock, poll } from 'asyncore';
import fc from 'fast-check';
import { DnsRelay } from '../../docs/examples/dns-relay';
import { build, parse } from '../../docs/examples/support/dns';
import { freePort } from '../support/ports';
import { Program, runTypeScript, until } from '../support/program';
import { itWith } from '../support/skips';

const itWithDig = itWith('dig');
const itWithDnsmasq = itWith('dig', 'dnsmasq');

const [A, NS, SOA, TXT, OPT, HTTPS] = [1, 2, 6, 16, 41, 65];
const [TRUNCATED, AUTHORITATIVE, RESPONSE] = [0x0200, 0x0400, 0x8000];

// ---------------------------------------------------------------------------------------------
// Messages.

interface Answer {
  code?: number;
  flags?: number;
  /** Type, time to live, data. */
  answers?: [number, number, Buffer][];
  authorities?: [number, number, Buffer][];
  /** Whole records. */
  additionals?: Buffer[];
}

function numbers(...values: number[]): Buffer {
  const bytes = Buffer.alloc(2 * values.length);
  for (const [at, value] of values.entries()) bytes.writeUInt16BE(value, 2 * at);
  return bytes;
}

function nameOf(text: string): Buffer {
  const labels = text.split('.').map((label) => [Buffer.from([label.length]), Buffer.from(label)]);
  return Buffer.concat([...labels.flat(), Buffer.alloc(1)]);
}

function queryFor(
  name: string,
  { id = 1, type = A, flags = 0x0100, additionals = [] as Buffer[] } = {},
): Buffer {
  return Buffer.concat([
    numbers(id, flags, 1, 0, 0, additionals.length),
    ...[name === '' ? Buffer.alloc(1) : nameOf(name), numbers(type, 1), ...additionals],
  ]);
}

/** @param bits upper bits of the code 8, version 8, flags 16 */
function opt(size: number, bits = 0, options: Buffer = Buffer.alloc(0)): Buffer {
  const numbered = numbers(OPT, size, bits >>> 16, bits & 0xffff, options.length);
  return Buffer.concat([Buffer.alloc(1), numbered, options]);
}

/** What an SOA says: its zone's limit for negative answers. */
function soa(minimum: number): Buffer {
  const data = Buffer.alloc(22);
  data.writeUInt32BE(minimum, 18);
  return data;
}

function endOfQuestion(message: Buffer): number {
  return message.indexOf(0, 12) + 5;
}

/** The name that a query asks for. */
function asked(query: Buffer): string {
  const labels: string[] = [];
  for (let at = 12; Number(query[at]) > 0; at += 1 + Number(query[at])) {
    labels.push(query.toString('latin1', at + 1, at + 1 + Number(query[at])));
  }
  return labels.join('.');
}

function answerTo(query: Buffer, { code = 0, flags = 0, ...sections }: Answer): Buffer {
  const { answers = [], authorities = [], additionals = [] } = sections;
  const records = [...answers, ...authorities].map(([type, life, data]) =>
    // 0xc00c: the name that stands in the question.
    Buffer.concat([numbers(0xc00c, type, 1, life >>> 16, life & 0xffff, data.length), data]),
  );
  const header = numbers(
    query.readUInt16BE(0),
    RESPONSE | 0x0180 | flags | code,
    1,
    answers.length,
    authorities.length,
    additionals.length,
  );
  const question = query.subarray(12, endOfQuestion(query));
  return Buffer.concat([header, question, ...records, ...additionals]);
}

const ADDRESS: Answer = { answers: [[A, 60, Buffer.from([192, 0, 2, 1])]] };
const LONG_TEXT = 'x'.repeat(200);
const LONG: Answer = {
  answers: Array.from({ length: 5 }, () => [TXT, 60, Buffer.from(`\xc8${LONG_TEXT}`, 'latin1')]),
};

const COOKIE = numbers(10, 8, 1, 2, 3, 4);
/** An additional record of the question's name. */
const GLUE = Buffer.concat([numbers(0xc00c, A, 1, 0, 60, 4), Buffer.from([192, 0, 2, 9])]);

/** An additional record whose name is a pointer to this place. */
function pointing(to: number): Buffer {
  return Buffer.concat([numbers(0xc000 | to, A, 1, 0, 60, 4), Buffer.alloc(4)]);
}

/** A response that has nothing but a header. */
function headerOf(query: Buffer, code: number): Buffer {
  return numbers(query.readUInt16BE(0), RESPONSE | 0x0180 | code, 0, 0, 0, 0);
}

const pesterers: NodeJS.Timeout[] = [];

// ---------------------------------------------------------------------------------------------
// A resolver that we did not write with this library, and clients.

/** What a resolver does about a query, the `count`th for this name. */
type Behaviour = (query: Buffer, reply: (message: Buffer) => void, count: number) => void;

const NAMES: Record<string, Behaviour> = {
  'here.test': (query, reply) => reply(answerTo(query, ADDRESS)),
  'brief.test': (query, reply) =>
    reply(answerTo(query, { answers: [[A, 0, Buffer.from([192, 0, 2, 2])]] })),
  'negative-life.test': (query, reply) =>
    reply(answerTo(query, { answers: [[A, 0x8000_0001, Buffer.from([192, 0, 2, 2])]] })),
  'missing.test': (query, reply) =>
    reply(answerTo(query, { code: 3, authorities: [[SOA, 30, soa(3600)]] })),
  'briefly-missing.test': (query, reply) =>
    reply(answerTo(query, { code: 3, authorities: [[SOA, 3600, soa(0)]] })),
  'unsaid.test': (query, reply) => reply(answerTo(query, { code: 3 })),
  'broken.test': (query, reply) => reply(answerTo(query, { ...ADDRESS, code: 2 })),
  'too-long.test': (query, reply) => reply(answerTo(query, LONG)),
  'long.test': (query, reply) => reply(answerTo(query, { flags: TRUNCATED })),
  'authority.test': (query, reply) => reply(answerTo(query, { ...ADDRESS, flags: AUTHORITATIVE })),
  'lost.test': (query, reply, count) => {
    if (count > 1) reply(answerTo(query, ADDRESS));
  },
  'never.test': () => {},
  // The resolver has cut the answer at 512 bytes, within a record.
  'cut.test': (query, reply) =>
    reply(answerTo(query, { ...LONG, flags: TRUNCATED }).subarray(0, 512)),
  'cut-and-forbidden.test': (query, reply) =>
    reply(answerTo(query, { ...LONG, code: 5, flags: TRUNCATED }).subarray(0, 40)),
  'with-rubbish.test': (query, reply) =>
    reply(Buffer.concat([answerTo(query, ADDRESS), Buffer.alloc(600)])),
  // A resolver that has never heard of EDNS.
  'old.test': (query, reply) =>
    reply(query.readUInt16BE(10) > 0 ? headerOf(query, 1) : answerTo(query, ADDRESS)),
  'forbidden.test': (query, reply) => reply(headerOf(query, 5)),
  'silent.test': (query, reply) => reply(headerOf(query, 0)),
  'bad-version.test': (query, reply) =>
    reply(answerTo(query, { additionals: [opt(4096, 0x0100_0000)] })),
  'edns.test': (query, reply) =>
    reply(answerTo(query, { ...ADDRESS, additionals: [GLUE, opt(4096, 0x8000, COOKIE), GLUE] })),
  'loop.test': (query, reply) =>
    reply(answerTo(query, { ...ADDRESS, additionals: [pointing(endOfQuestion(query) + 16)] })),
  'forward.test': (query, reply) =>
    reply(answerTo(query, { additionals: [pointing(endOfQuestion(query) + 16), GLUE] })),
  'miscounted.test': (query, reply) => {
    const answer = answerTo(query, ADDRESS);
    answer.writeUInt16BE(2, 6);
    reply(answer);
  },
  // Not one of these is an answer.
  'flooded.test': (query, reply) => {
    const bad = answerTo(query, ADDRESS);
    bad.writeUInt16BE(bad.readUInt16BE(0) ^ 1, 0);
    for (let left = 150; left > 0; left -= 1) reply(bad);
  },
  'pestered.test': (query, reply, count) => {
    if (count > 1) {
      reply(answerTo(query, ADDRESS));
      return;
    }
    const pester = setInterval(reply, 10, Buffer.alloc(0));
    pesterers.push(pester);
  },
  'forged.test': (query, reply) => {
    const good = answerTo(query, ADDRESS);
    const changed = (at: number): Buffer => {
      const bad = Buffer.from(good);
      bad.writeUInt8(Number(bad[at]) ^ 0x01, at);
      return bad;
    };
    // The id; a letter of the name; the type.
    for (const at of [1, 13, endOfQuestion(good) - 3]) reply(changed(at));
    // Less than there should be, nothing at all, and a query.
    for (const end of [good.length - 1, 20, 5, 0]) reply(good.subarray(0, end));
    reply(query);
    const stranger = createSocket('udp4');
    stranger.send(changed(good.length - 1), resolver.lastPort, '127.0.0.1', () => stranger.close());
    setTimeout(reply, 50, good);
  },
};

class Resolver {
  readonly udp: Datagrams = createSocket('udp4');
  readonly tcp: Server;
  readonly queries: Buffer[] = [];
  lastPort = 0;

  constructor(readonly to = port) {
    this.udp.on('message', (query, { port }) => {
      this.lastPort = port;
      this.queries.push(query);
      const name = asked(query);
      const reply = (message: Buffer): void => this.udp.send(message, port, '127.0.0.1');
      const behaviour = NAMES[name.toLowerCase()] ?? NAMES['here.test'];
      behaviour?.(query, reply, this.timesAsked(name));
    });
    this.tcp = createServer((socket) => {
      socket.on('error', () => {});
      socket.on('data', (data) => {
        const answer = answerTo(data.subarray(2), LONG);
        socket.write(Buffer.concat([numbers(answer.length), answer]));
      });
    });
  }

  async listen(): Promise<number> {
    this.tcp.listen(0, '127.0.0.1');
    await once(this.tcp, 'listening');
    const { port } = this.tcp.address() as AddressInfo;
    this.udp.bind(port, '127.0.0.1');
    await once(this.udp, 'listening');
    return port;
  }

  close(): void {
    this.udp.close();
    this.tcp.close();
  }

  timesAsked(name: string): number {
    return this.queries.filter((query) => asked(query).toLowerCase() === name).length;
  }
}

/** Datagrams, sent and received. */
class RawClient {
  readonly udp = createSocket('udp4');
  readonly answers: Buffer[] = [];

  constructor(readonly to = port) {
    this.udp.on('message', (answer) => this.answers.push(answer));
    clients.push(this);
  }

  send(message: Buffer): this {
    this.udp.send(message, this.to, '127.0.0.1');
    return this;
  }

  /** The last answer, when there are so many. */
  async hears(count = 1): Promise<Buffer> {
    await until(() => this.answers.length >= count);
    return this.answers.at(-1) as Buffer;
  }
}

/** How much later it is for the relay. */
let ahead: number;
let map: ChannelMap;
let resolver: Resolver;
let resolverPort: number;
let port: number;
let running: Promise<void>;
const clients: RawClient[] = [];

beforeEach(async () => {
  resolver = new Resolver();
  resolverPort = await resolver.listen();
  ahead = 0;
  map = new ChannelMap([], { clock: { now: () => performance.now() + ahead } });
  port = relay(resolverPort, map);
  running = loop({ map });
});

afterEach(async () => {
  for (const { udp } of clients.splice(0)) udp.close();
  for (const pester of pesterers.splice(0)) clearInterval(pester);
  resolver.close();
  closeAll(map);
  await running;
});

/** @returns its port */
function relay(to: number, own: ChannelMap, patience = 200, host = '127.0.0.1'): number {
  const target = { host: '127.0.0.1', port: to };
  const made = new DnsRelay({ host, port: 0 }, target, patience, own);
  const bound = made.address() as InternetAddress;
  return bound.port;
}

/** What dig prints. */
async function dig(...args: string[]): Promise<string> {
  const common = ['@127.0.0.1', '-p', String(port), '+tries=1', '+time=3', '+noall'];
  const program = new Program('dig', [...common, ...args]);
  expect(await program.ended()).toBe(0);
  return program.output.replace(/\t+/g, ' ');
}

/** The code of an answer. */
function codeOf(answer: Buffer): number {
  return answer.readUInt16BE(2) & 0xf;
}

describe('DnsRelay, asked by dig (skipped where there is none)', () => {
  itWithDig('relays', async () => {
    expect(await dig('+answer', '+comments', 'here.test')).toMatch(
      /status: NOERROR[\s\S]*\nhere\.test\. 60 IN A 192\.0\.2\.1\n/,
    );
  });

  itWithDig('remembers, and counts the time to live down', async () => {
    expect(await dig('+answer', 'here.test')).toBe('here.test. 60 IN A 192.0.2.1\n');
    ahead = 10_500;
    expect(await dig('+answer', 'HERE.test')).toBe('HERE.test. 50 IN A 192.0.2.1\n');
    expect(resolver.timesAsked('here.test')).toBe(1);
    ahead = 61_000;
    expect(await dig('+answer', 'here.test')).toBe('here.test. 60 IN A 192.0.2.1\n');
    expect(resolver.timesAsked('here.test')).toBe(2);
  });

  itWithDig('remembers that there is no such name', async () => {
    expect(await dig('+comments', 'missing.test')).toContain('status: NXDOMAIN');
    expect(await dig('+comments', 'missing.test')).toContain('status: NXDOMAIN');
    expect(resolver.timesAsked('missing.test')).toBe(1);
    ahead = 31_000;
    await dig('missing.test');
    expect(resolver.timesAsked('missing.test')).toBe(2);
  });

  itWithDig.each([
    'unsaid.test',
    'briefly-missing.test',
    'broken.test',
    'brief.test',
    'negative-life.test',
  ])('does not remember %s', async (name) => {
    await dig(name);
    await dig(name);
    expect(resolver.timesAsked(name)).toBe(2);
  });

  itWithDig('has what is too long asked for over TCP', async () => {
    const answer = await dig('+short', '+answer', 'long.test', 'TXT');
    expect(answer).toBe(`"${LONG_TEXT}"\n`.repeat(5));
    expect(await dig('+short', '+answer', 'long.test', 'TXT')).toBe(answer);
    expect(resolver.timesAsked('long.test')).toBe(2);
    await until(() => map.size === 2);
  });

  itWithDig('does not claim authority for what it remembers', async () => {
    expect(await dig('+comments', 'authority.test')).toMatch(/flags: qr aa rd ra;/);
    expect(await dig('+comments', 'authority.test')).toMatch(/flags: qr rd ra;/);
  });

  itWithDig('asks again when it hears nothing', async () => {
    expect(await dig('+short', '+answer', 'lost.test')).toBe('192.0.2.1\n');
    expect(resolver.timesAsked('lost.test')).toBe(2);
  });

  itWithDig('gives up', async () => {
    expect(await dig('+comments', 'never.test')).toContain('status: SERVFAIL');
    expect(resolver.timesAsked('never.test')).toBe(2);
    expect(map.size).toBe(2);
  });

  itWithDig('believes only what is an answer to its question', async () => {
    expect(await dig('+short', '+answer', 'forged.test')).toBe('192.0.2.1\n');
    expect(resolver.timesAsked('forged.test')).toBe(1);
  });

  itWithDig('says when there is no resolver', async () => {
    const own = new ChannelMap();
    const nowhere = new Resolver();
    const unused = await nowhere.listen();
    nowhere.close();
    port = relay(unused, own);
    const ended = loop({ map: own });
    try {
      expect(await dig('+comments', 'here.test')).toContain('status: SERVFAIL');
    } finally {
      closeAll(own);
      await ended;
    }
  });

  itWithDig('runs as a program', async () => {
    const args = ['--port', '0', '--to', `127.0.0.1:${resolverPort}`];
    const program = runTypeScript('docs/examples/dns-relay.ts', args);
    try {
      const [, bound] = await program.printed(/^dns-relay: listening on 127\.0\.0\.1:(\d+)\n$/);
      port = Number(bound);
      expect(await dig('+short', '+answer', 'here.test')).toBe('192.0.2.1\n');
    } finally {
      await program.kill();
    }
  });
});

describe('DnsRelay', () => {
  it('asks with an id and from a port of its own, and answers with the client’s', async () => {
    const ids = new Set<number>();
    const client = new RawClient();
    for (let at = 1; at <= 5; at += 1) {
      client.send(queryFor(`HeRe${at}.TeSt`, { id: 4711 }));
      const answer = await client.hears(at);
      expect(answer.readUInt16BE(0)).toBe(4711);
      expect(asked(answer)).toBe(`HeRe${at}.TeSt`);
      ids.add((resolver.queries.at(-1) as Buffer).readUInt16BE(0));
    }
    expect(ids.size).toBeGreaterThan(3);
    // A remembered one, too.
    client.send(queryFor('hErE1.test', { id: 4712 }));
    const answer = await client.hears(6);
    expect([answer.readUInt16BE(0), asked(answer)]).toEqual([4712, 'hErE1.test']);
    expect(resolver.queries).toHaveLength(5);
  });

  it('asks once for all who ask the same', async () => {
    const three = [1, 2, 3].map((id) => new RawClient().send(queryFor('lost.test', { id })));
    const answers = await Promise.all(three.map((client) => client.hears()));
    expect(answers.map((answer) => answer.readUInt16BE(0))).toEqual([1, 2, 3]);
    expect(resolver.timesAsked('lost.test')).toBe(2);
  });

  it('does not take one type for another, nor a wish', async () => {
    const client = new RawClient();
    // In capitals, the low byte of the one type would be the other's.
    client.send(queryFor('here.test', { type: HTTPS }));
    await client.hears();
    client.send(queryFor('here.test', { type: HTTPS + 32 }));
    await client.hears(2);
    client.send(queryFor('here.test', { type: HTTPS, flags: 0 }));
    await client.hears(3);
    expect(resolver.queries).toHaveLength(3);
    expect(resolver.queries.map((query) => query.readUInt16BE(2))).toEqual([0x100, 0x100, 0]);
  });

  it.each([
    ['without a question', Buffer.concat([numbers(7, 0x0100, 0, 0, 0, 0)]), 1],
    ['with two', numbers(7, 0x0100, 2, 0, 0, 0), 1],
    ['that ends within the name', queryFor('here.test', { id: 7 }).subarray(0, 18), 1],
    ['that ends behind the name', queryFor('here.test', { id: 7 }).subarray(0, -3), 1],
    ['with a pointer', Buffer.concat([numbers(7, 0, 1, 0, 0, 0), numbers(0xc00c, A, 1)]), 1],
    [
      'with one to the header',
      Buffer.concat([numbers(7, 0, 1, 0, 0, 0), numbers(0xc000, A, 1)]),
      1,
    ],
    ['that lacks a record', numbers(7, 0x0100, 1, 0, 0, 1, 0, A, 1), 1],
    ['with half an OPT', queryFor('', { id: 7, additionals: [opt(512).subarray(0, 9)] }), 1],
    ['with two', queryFor('', { id: 7, additionals: [opt(512), opt(512)] }), 1],
    ['with a named OPT', queryFor('', { id: 7, additionals: [Buffer.from('\x01a'), opt(512)] }), 1],
    ['with another opcode', queryFor('here.test', { id: 7, flags: 0x2000 }), 4],
  ])('refuses a query %s', async (_what, query, code) => {
    const answer = await new RawClient().send(query).hears();
    expect([answer.readUInt16BE(0), codeOf(answer), answer.length]).toEqual([7, code, 12]);
  });

  /** The dots are of its end, and the rest has one length more than it has dots. */
  const LONGEST = ['a'.repeat(63), 'b'.repeat(63), 'c'.repeat(63), 'd'.repeat(61)].join('.');

  it.each([
    ['a label of 64 bytes', `${'a'.repeat(64)}.test`],
    ['a label of 128 bytes', `${'a'.repeat(128)}.test`],
    ['a label of 191 bytes', `${'a'.repeat(191)}.test`],
    ['a name of 256 bytes', `${LONGEST}d`],
    ['a name of 513 bytes', Array.from({ length: 8 }, () => 'a'.repeat(63)).join('.')],
  ])('refuses %s, and does not ask for it', async (_what, name) => {
    const answer = await new RawClient().send(queryFor(name, { id: 7 })).hears();
    expect([answer.readUInt16BE(0), codeOf(answer), answer.length]).toEqual([7, 1, 12]);
    expect(resolver.queries).toEqual([]);
  });

  it('asks for a name of 255 bytes', async () => {
    expect(nameOf(LONGEST)).toHaveLength(255);
    const answer = await new RawClient().send(queryFor(LONGEST)).hears();
    expect([codeOf(answer), asked(answer)]).toEqual([0, LONGEST]);
  });

  it('truncates what is longer than a client without EDNS takes, remembered or not', async () => {
    const client = new RawClient();
    const query = queryFor('too-long.test', { id: 7, type: TXT });
    for (const count of [1, 2]) {
      const answer = await client.send(query).hears(count);
      expect(answer).toEqual(
        Buffer.concat([numbers(7, RESPONSE | TRUNCATED | 0x0180, 1, 0, 0, 0), query.subarray(12)]),
      );
    }
    expect(resolver.timesAsked('too-long.test')).toBe(1);
  });

  it('asks for the root', async () => {
    const answer = await new RawClient().send(queryFor('', { type: NS })).hears();
    expect([codeOf(answer), asked(answer)]).toEqual([0, '']);
  });

  it.each([
    ['cut.test', 0],
    ['cut-and-forbidden.test', 5],
  ])('passes on that the resolver has cut an answer, within a record: %s', async (name, code) => {
    const query = queryFor(name, { id: 7, type: TXT });
    expect(await new RawClient().send(query).hears()).toEqual(
      Buffer.concat([
        numbers(7, RESPONSE | TRUNCATED | 0x0180 | code, 1, 0, 0, 0),
        query.subarray(12),
      ]),
    );
    expect(resolver.timesAsked(name)).toBe(1);
  });

  it('leaves out what stands behind the records', async () => {
    const query = queryFor('with-rubbish.test', { id: 7 });
    expect(await new RawClient().send(query).hears()).toEqual(answerTo(query, ADDRESS));
  });

  it.each(['loop.test', 'forward.test', 'miscounted.test'])(
    'takes no invalid answer for one: %s',
    async (name) => {
      expect(codeOf(await new RawClient().send(queryFor(name)).hears())).toBe(2);
      expect(resolver.timesAsked(name)).toBe(2);
    },
  );

  it('passes on an error that comes without the question, once', async () => {
    const query = queryFor('forbidden.test', { id: 7 });
    const answer = await new RawClient().send(query).hears();
    expect(answer).toEqual(answerTo(query, { code: 5 }));
    expect(resolver.timesAsked('forbidden.test')).toBe(1);
    // No error is no answer, without the question.
    expect(codeOf(await new RawClient().send(queryFor('silent.test')).hears())).toBe(2);
    expect(resolver.timesAsked('silent.test')).toBe(2);
  });

  it.each([0x0100, 0x0010, 0])(
    'repeats the flags %i of a query that it cannot answer',
    async (flags) => {
      const client = new RawClient();
      for (const [count, query] of [
        queryFor('never.test', { flags }),
        queryFor('here.test', { flags }).subarray(0, -1),
      ].entries()) {
        const answer = await client.send(query).hears(count + 1);
        expect(answer.readUInt16BE(2) & 0x0110).toBe(flags);
      }
    },
  );

  it('answers a query once that is sent again meanwhile', async () => {
    const client = new RawClient();
    client.send(queryFor('lost.test', { id: 7 })).send(queryFor('lost.test', { id: 7 }));
    client.send(queryFor('lost.test', { id: 8 })).send(queryFor('lost.test', { id: 7 }));
    await client.hears(2);
    await client.send(queryFor('here.test', { id: 9 })).hears(3);
    expect(client.answers.map((answer) => answer.readUInt16BE(0))).toEqual([7, 8, 9]);
  });

  it('asks again in time, whatever else arrives', async () => {
    const answer = await new RawClient().send(queryFor('pestered.test')).hears();
    expect([codeOf(answer), resolver.timesAsked('pestered.test')]).toEqual([0, 2]);
  });

  it('has clients ask over TCP when somebody tries to forge the answer', async () => {
    const answer = await new RawClient().send(queryFor('flooded.test', { id: 7 })).hears();
    expect(answer.readUInt16BE(2)).toBe(RESPONSE | TRUNCATED | 0x0180);
    expect(resolver.timesAsked('flooded.test')).toBe(1);
  });

  it.each([
    ['0.0.0.0', '127.0.0.2'],
    ['::', '127.0.0.3'],
    ['::', '::1'],
  ])('at %s, answers from the address that was asked: %s', async (host, asking) => {
    const udp = createSocket(asking.includes(':') ? 'udp6' : 'udp4');
    try {
      udp.connect(relay(resolverPort, map, 200, host), asking);
      await once(udp, 'connect');
      // Asked for, remembered, and refused.
      for (const query of [
        queryFor('here.test'),
        queryFor('here.test'),
        queryFor('a'.repeat(70)),
      ]) {
        const answered = once(udp, 'message', { signal: AbortSignal.timeout(5000) });
        udp.send(query);
        const [answer] = await answered;
        expect(codeOf(answer)).toBe(query.length > 70 ? 1 : 0);
      }
    } finally {
      udp.close();
    }
  });

  it.each(['0.0.0.0', '::'])(
    'at %s, answers a broadcast from an address of its own',
    async (host) => {
      const udp = createSocket('udp4');
      try {
        udp.bind(0);
        await once(udp, 'listening');
        udp.setBroadcast(true);
        const answered = once(udp, 'message', { signal: AbortSignal.timeout(5000) });
        const asked = relay(resolverPort, map, 200, host);
        udp.send(queryFor('here.test', { id: 7 }), asked, '127.255.255.255');
        const [answer, { address, port }] = await answered;
        expect(answer.readUInt16BE(0)).toBe(7);
        expect({ address, port }).toEqual({ address: '127.0.0.1', port: asked });
      } finally {
        udp.close();
      }
    },
  );

  it('says nothing to what is no query', async () => {
    const client = new RawClient();
    client.send(answerTo(queryFor('here.test'), ADDRESS)).send(Buffer.alloc(0));
    client.send(Buffer.alloc(11)).send(queryFor('here.test', { id: 7 }));
    expect((await client.hears()).readUInt16BE(0)).toBe(7);
    expect(client.answers).toHaveLength(1);
  });

  it('has so many questions under way, and refuses others', async () => {
    // Patient enough for the slowest machine to ask them all.
    const clock = new ManualClock();
    const own = new ChannelMap([], { clock });
    const patient = relay(resolverPort, own);
    const ended = loop({ map: own });
    const before = own.size;
    const client = new RawClient(patient);
    try {
      for (let at = 0; at < 600; at += 1) {
        client.send(queryFor('never.test', { id: at, type: 1000 + at }));
        // Not more than the kernel keeps.
        if (at % 50 === 0) await until(() => own.size - before >= Math.min(at + 1, 500));
      }
      await client.hears(100);
      for (let tries = 0; tries < 2; tries += 1) {
        expect(own.size - before).toBe(500);
        clock.advance(200);
        poll(0, own);
      }
      expect(own.size).toBe(before);
      expect(client.answers.map(codeOf).every((code) => code === 2)).toBe(true);
      client.send(queryFor('never.test'));
      await until(() => own.size === before + 1);
    } finally {
      closeAll(own);
      await ended;
    }
  });
});

describe('DnsRelay, by EDNS', () => {
  /** The OPT record of an answer, which is its last one. */
  const optOf = (answer: Buffer): Buffer => answer.subarray(-11);
  const OWN = opt(1232);

  it('answers a client that knows it with an OPT record, and no other', async () => {
    const client = new RawClient();
    for (const count of [1, 2]) {
      const query = queryFor('edns.test', { id: 7, additionals: [opt(4096, 0, COOKIE)] });
      const answer = await client.send(query).hears(2 * count - 1);
      // Options concern two neighbours. What stands behind the resolver's OPT is left out.
      expect(answer).toEqual(answerTo(query, { ...ADDRESS, additionals: [GLUE, OWN] }));
      const plain = queryFor('edns.test', { id: 8 });
      expect(await client.send(plain).hears(2 * count)).toEqual(
        answerTo(plain, { ...ADDRESS, additionals: [GLUE] }),
      );
    }
    expect(resolver.timesAsked('edns.test')).toBe(1);
    expect(optOf(resolver.queries[0] as Buffer)).toEqual(OWN);
  });

  it.each([
    [0, 1],
    [512, 1],
    [1120, 0],
    [65_535, 0],
  ])('truncates for a client that takes %i bytes: %i', async (size, truncated) => {
    const query = queryFor('too-long.test', { id: 7, type: TXT, additionals: [opt(size)] });
    const answer = await new RawClient().send(query).hears();
    const whole = answerTo(query, { ...LONG, additionals: [OWN] });
    expect(whole.length).toBeLessThanOrEqual(1120);
    expect(answer).toEqual(
      truncated ? answerTo(query, { flags: TRUNCATED, additionals: [OWN] }) : whole,
    );
  });

  it('does not answer with signatures for one that does not want them', async () => {
    const client = new RawClient();
    for (const [at, bits] of [0x8000, 0, 0x8000].entries()) {
      client.send(queryFor('here.test', { additionals: [opt(4096, bits)] }));
      expect(optOf(await client.hears(at + 1))).toEqual(opt(1232, bits));
    }
    expect(resolver.queries.map(optOf)).toEqual([opt(1232, 0x8000), OWN]);
  });

  it('refuses a later version, with its own', async () => {
    const query = queryFor('here.test', { id: 7, additionals: [opt(4096, 0x0001_0000)] });
    const answer = await new RawClient().send(query).hears();
    // BADVERS is 16: upper bits 1, lower bits 0.
    expect(answer).toEqual(answerTo(query, { additionals: [opt(1232, 0x0100_0000)] }));
    expect(resolver.queries).toEqual([]);
  });

  it('asks without it when the resolver does not know it', async () => {
    const query = queryFor('old.test', { id: 7, additionals: [opt(4096)] });
    const answer = await new RawClient().send(query).hears();
    expect(answer).toEqual(answerTo(query, { ...ADDRESS, additionals: [OWN] }));
    expect(resolver.queries.map((each) => each.readUInt16BE(10))).toEqual([1, 0]);
  });

  it('does not pass a code on that concerns the resolver and itself', async () => {
    const query = queryFor('bad-version.test', { id: 7 });
    expect(codeOf(await new RawClient().send(query).hears())).toBe(2);
  });
});

describe('A message', () => {
  it('is taken apart, and put together again, or refused, whatever its bytes are', () => {
    const query = queryFor('edns.test', { additionals: [opt(4096, 0x8000)] });
    const good = answerTo(query, {
      answers: [...(LONG.answers ?? []), [SOA, 60, soa(10)]],
      authorities: [[SOA, 60, soa(10)]],
      additionals: [GLUE, opt(1232, 0x8000)],
    });
    expect(again(good)).toEqual(good);
    const bytes = fc.tuple(fc.nat(good.length - 1), fc.nat(255));
    const changes = fc.array(bytes, { maxLength: 4 });
    fc.assert(
      fc.property(changes, fc.integer({ min: 0, max: good.length }), (edits, end) => {
        const bad = Buffer.from(good);
        for (const [at, value] of edits) bad[at] = value;
        const once = again(bad.subarray(0, end));
        // What it was put together to is valid, and the same from then on.
        if (once !== null) expect(again(once)).toEqual(once);
      }),
    );
  });

  function again(message: Buffer): Buffer | null {
    const parsed = parse(message);
    if (parsed === null) return null;
    return build(parsed.id, parsed.flags, parsed.question, parsed.records, parsed.edns);
  }

  it('has no name of so many pointers that each record takes for ever', () => {
    const chain = Array.from({ length: 2000 }, (_, at) => (at === 0 ? 0 : 0xc000 | (21 + 2 * at)));
    const data = numbers(...chain);
    const record = Buffer.concat([Buffer.alloc(1), numbers(TXT, 1, 0, 60, data.length), data]);
    const last = numbers(0xc000 | (12 + 11 + 2 * 1999), A, 1, 0, 60, 0);
    expect(parse(Buffer.concat([numbers(7, RESPONSE, 0, 2, 0, 0), record, last]))).toBeNull();
    const close = numbers(0xc000 | (12 + 11 + 2 * 100), A, 1, 0, 60, 0);
    expect(parse(Buffer.concat([numbers(7, RESPONSE, 0, 2, 0, 0), record, close]))).not.toBeNull();
  });
});

describe('dnsmasq (skipped where there is none)', () => {
  itWithDnsmasq('is relayed', async () => {
    const target = await freePort();
    const dnsmasq = new Program('dnsmasq', [
      ...['--no-daemon', '--conf-file=/dev/null', '--no-resolv', '--no-hosts', '--log-queries'],
      ...['--user=', '--group=', '--pid-file=', '--bind-interfaces', '--listen-address=127.0.0.1'],
      ...[`--port=${target}`, '--local=/test/', '--local-ttl=60'],
      ...['--host-record=here.test,192.0.2.7,2001:db8::7', '--cname=alias.test,here.test'],
      ...Array.from({ length: 5 }, (_, at) => `--txt-record=long.test,${at}${LONG_TEXT}`),
    ]);
    const own = new ChannelMap();
    port = relay(target, own);
    const ended = loop({ map: own });
    try {
      await dnsmasq.printed(/started/);
      expect(await dig('+short', '+answer', 'here.test')).toBe('192.0.2.7\n');
      expect(await dig('+short', '+answer', 'here.test', 'AAAA')).toBe('2001:db8::7\n');
      expect(await dig('+short', '+answer', 'alias.test')).toBe('here.test.\n192.0.2.7\n');
      expect(await dig('+short', '+answer', '-x', '192.0.2.7')).toBe('here.test.\n');
      expect(await dig('+comments', 'no.test')).toContain('status: NXDOMAIN');
      expect(await dig('+short', '+answer', 'long.test', 'TXT')).toHaveLength(5 * 204);
      const before = dnsmasq.output;
      expect(await dig('+short', '+answer', 'alias.test')).toBe('here.test.\n192.0.2.7\n');
      expect(dnsmasq.output).toBe(before);
    } finally {
      closeAll(own);
      await ended;
      await dnsmasq.kill();
    }
  });
});
