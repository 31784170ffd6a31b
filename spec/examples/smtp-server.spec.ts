// docs/examples/smtp-server.ts: literal dialogues, the disk, and mail clients.

import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { dirname, join } from 'node:path';
import {
  AsyncChat,
  ChannelMap,
  closeAll,
  type Dispatcher,
  type InternetAddress,
  loop,
  ManualClock,
  poll,
  SO_SNDBUF,
  SOL_SOCKET,
  shutdown,
} from 'asyncore';
import { createTransport } from 'nodemailer';
import { Maildir, type SmtpOptions, smtpServer } from '../../docs/examples/smtp-server';
import { temporaryPath } from '../support/drive';
import { Client, Program, runTypeScript, TYPESCRIPT, until } from '../support/program';
import { itIf, itWith } from '../support/skips';

const itWithCurl = itWith('curl');
const itWithSwaks = itWith('swaks');
const itWithPython = itWith('python3');
/** It may be there, and not be allowed to trace. */
const itWithStrace = itIf(spawnSync('strace', ['true']).status === 0, 'no strace that may trace');

/** Addresses of this machine that need their zone, and as a message tells them. */
const LINK_LOCAL = Object.entries(networkInterfaces()).flatMap(([name, addresses = []]) =>
  addresses
    .filter(({ scopeid = 0 }) => scopeid !== 0)
    .map(({ address }) => [`${address}%${name}`, `IPv6:${address}`]),
);

const SIZE = 100_000;

/** A disk that can be slow, or full. */
class TestMaildir extends Maildir {
  wait: Promise<void> = Promise.resolve();
  writing = 0;

  override async deliver(message: Buffer): Promise<string> {
    this.writing += 1;
    await this.wait;
    const name = await super.deliver(message);
    this.writing -= 1;
    return name;
  }

  get messages(): string[] {
    return messagesIn(this.path);
  }
}

function messagesIn(maildir: string): string[] {
  const directory = join(maildir, 'new');
  const serial = (name: string): number => Number(/Q(\d+)/.exec(name)?.[1]);
  const names = readdirSync(directory).sort((a, b) => serial(a) - serial(b));
  return names.map((name) => readFileSync(join(directory, name), 'latin1'));
}

/** Without what the server puts above it. */
function withoutTrace(message: string): string {
  return message.replace(/^Return-Path: .*\n(Delivered-To: .*\n)*Received: .*\n\t.*\n/, '');
}

let clock: ManualClock;
let map: ChannelMap;
let maildir: TestMaildir;
let server: Dispatcher;
let port: number;
let running: Promise<void>;
const clients: Client[] = [];

function start(host: string, options: Partial<SmtpOptions> = {}): void {
  server = smtpServer(
    { host, port: 0 },
    { domain: 'example.org', maildir, size: SIZE, ...options },
    map,
  );
  const address = server.address() as InternetAddress;
  port = address.port;
}

beforeEach(() => {
  clock = new ManualClock();
  map = new ChannelMap([], { clock });
  maildir = new TestMaildir(temporaryPath('Maildir'));
  start('127.0.0.1');
  running = loop({ map });
});

afterEach(async () => {
  for (const client of clients.splice(0)) client.socket.destroy();
  closeAll(map);
  await running;
});

/** So much later the server does what is due. */
function later(milliseconds: number): void {
  clock.advance(milliseconds);
  poll(0, map);
}

function client(host?: string): Client {
  const made = new Client(port, host);
  clients.push(made);
  return made;
}

/** The server's end of the only connection. */
async function session(): Promise<AsyncChat> {
  await until(() => map.size === 2);
  return [...map.values()].find((channel) => channel instanceof AsyncChat) as AsyncChat;
}

/** Says all at once, or in pieces, and ends the stream. @returns all that the server says */
async function say(text: string, pieceSize = text.length): Promise<string> {
  const one = client();
  one.socket.setNoDelay(true);
  for (let at = 0; at < text.length; at += pieceSize) {
    one.send(text.slice(at, at + pieceSize));
    if (pieceSize < text.length) await new Promise((resolve) => setImmediate(resolve));
  }
  one.socket.end();
  return one.ends();
}

/** The codes of what the server says, without the greeting. */
function codes(heard: string): string {
  const lines = heard.split('\r\n').filter((line) => /^\d{3}(?!-)/.test(line));
  return lines
    .slice(1)
    .map((line) => /^\d{3}( \d\.\d\.\d)?/.exec(line)?.[0])
    .join(', ');
}

const HELLO = 'EHLO client.example\r\n';
const ENVELOPE = `${HELLO}MAIL FROM:<a@b>\r\nRCPT TO:<c@example.org>\r\n`;
const TO_DATA = '250, 250 2.1.0, 250 2.1.5, 354';

/** What, what the client says, what the server answers. */
const DIALOGUES: [what: string, said: string, heard: string][] = [
  ['HELO', 'HELO x.example\r\n', '250'],
  ['EHLO', 'ehlo [127.0.0.1]\r\nEHLO [IPv6:::1]\r\n', '250, 250'],
  ['EHLO without a name', 'EHLO\r\nEHLO a b\r\nEHLO <a>\r\n', '501 5.5.4, 501 5.5.4, 501 5.5.4'],
  ['NOOP', 'NOOP\r\nnoop whatever\r\n', '250 2.0.0, 250 2.0.0'],
  [
    'names that no host has',
    ['', '.', 'a..b', '.a', 'a.', '-a', 'a-.b', 'x'.repeat(256)]
      .concat(['[]', '[.]', '[127.0.0.1', '[127.0.0.256]', '[::1]', '[IPv6:]', '[IPv6:127.0.0.1]'])
      .concat(['[IPv6:fe80::1%lo]', '[IPv6:::1]x', '[tag:x]'])
      .map((name) => `EHLO ${name}\r\n`)
      .join(''),
    Array(18).fill('501 5.5.4').join(', '),
  ],
  [
    'odd names',
    ['a', '_a.b_c.xn--d', '1.2.3.4', '[ipv6:::FFFF:127.0.0.1]', 'x'.repeat(255)]
      .map((name) => `HELO ${name}\r\n`)
      .join(''),
    '250, 250, 250, 250, 250',
  ],
  ['VRFY', 'VRFY c\r\nVRFY\r\n', '252 2.1.5, 501 5.5.4'],
  [
    'arguments where none are allowed',
    `${ENVELOPE}DATA x\r\nRSET x\r\nQUIT x\r\nDATA \t\r\n.\r\n`,
    `250, 250 2.1.0, 250 2.1.5${', 501 5.5.4'.repeat(3)}, 354, 250 2.0.0`,
  ],
  ['HELP', 'HELP\r\n', '214 2.0.0'],
  ['QUIT', 'QUIT\r\nNOOP\r\n', '221 2.0.0'],
  ['blanks at the end', 'NOOP \t\r\nQUIT  \r\n', '250 2.0.0, 221 2.0.0'],
  ['blanks within', 'EHLO   x.example \t \r\nNOOP a  b\tc\r\n', '250, 250 2.0.0'],
  ['nothing but blanks', ' \t \r\n\t\r\n', '500 5.5.2, 500 5.5.2'],
  ['unknown commands', 'EXPN\r\n\r\nGETS / HTTP/1.1\r\n', '500 5.5.2, 500 5.5.2, 500 5.5.2'],
  ...['CONNECT', 'GET', 'HEAD', 'OPTIONS', 'Post', 'PUT'].map((verb): [string, string, string] => [
    `HTTP's ${verb}`,
    `${verb} / HTTP/1.1\r\nContent-Length: 99\r\n\r\n${HELLO}`,
    '554 5.7.0',
  ]),
  [
    'a header behind a line too long',
    `POST /${'x'.repeat(1000)} HTTP/1.1\r\nHost: a\r\n\r\n${HELLO}`,
    '500 5.5.2, 554 5.7.0',
  ],
  ['MAIL before EHLO', 'MAIL FROM:<a@b>\r\n', '503 5.5.1'],
  ['RCPT before MAIL', `${HELLO}RCPT TO:<c@example.org>\r\n`, '250, 503 5.5.1'],
  ['DATA before MAIL', `${HELLO}DATA\r\n`, '250, 503 5.5.1'],
  ['DATA before RCPT', `${HELLO}MAIL FROM:<a@b>\r\nDATA\r\n`, '250, 250 2.1.0, 554 5.5.1'],
  ['MAIL twice', `${HELLO}MAIL FROM:<a>\r\nMAIL FROM:<a>\r\n`, '250, 250 2.1.0, 503 5.5.1'],
  [
    'RSET',
    `${ENVELOPE}RSET\r\nDATA\r\nMAIL FROM:<>\r\n`,
    '250, 250 2.1.0, 250 2.1.5, 250 2.0.0, 503 5.5.1, 250 2.1.0',
  ],
  ['EHLO again', `${ENVELOPE}${HELLO}DATA\r\n`, '250, 250 2.1.0, 250 2.1.5, 250, 503 5.5.1'],
  [
    'parameters of MAIL',
    `${HELLO}mail from:<a@b> size=${SIZE} body=8bitmime\r\nRSET\r\nMAIL FROM:<a@[127.0.0.1]>  BODY=7BIT\r\n`,
    '250, 250 2.1.0, 250 2.0.0, 250 2.1.0',
  ],
  [
    'parameters that there are not',
    `${HELLO}MAIL FROM:<a> SMTPUTF8\r\nMAIL FROM:<a> SIZE=x\r\nMAIL FROM:<a> BODY=BINARYMIME\r\n`,
    '250, 555 5.5.4, 555 5.5.4, 555 5.5.4',
  ],
  [
    'too large by its own account',
    `${HELLO}MAIL FROM:<a@b> SIZE=${SIZE + 1}\r\n`,
    '250, 552 5.3.4',
  ],
  [
    'paths that are none',
    `${HELLO}${['a@b', '<a@b', '<a b>', '<a@b>x', '<a<b>', '<"a>', '<\xe4@b>', '']
      .map((path) => `MAIL FROM:${path}\r\n`)
      .join('')}MAIL TO:<a@b>\r\nMAIL\r\n`,
    `250${', 501 5.5.4'.repeat(10)}`,
  ],
  [
    'paths with a host that is none',
    `${HELLO}${['a@', '@b', 'a@.', 'a@b.', 'a@b..c', 'a@b@c', 'a@[]', 'a@[1.2.3.4.5]', 'a@[IPv6:b]']
      .concat(['@:a@b', '@x,:a@b', '@x,y:a@b', '@-:a@b', `${'a'.repeat(253)}@b`])
      .map((path) => `MAIL FROM:<${path}>\r\n`)
      .join('')}MAIL FROM:<>\r\nRCPT TO:<a@b@example.org>\r\nRCPT TO:<@:c@example.org>\r\n`,
    `250${', 501 5.5.4'.repeat(14)}, 250 2.1.0, 501 5.5.4, 501 5.5.4`,
  ],
  [
    'odd paths',
    `${HELLO}MAIL FROM:<@x.example,@y.example:"a \\">b"@b>\r\nRCPT TO:<"c d"@EXAMPLE.ORG>\r\n` +
      'RCPT TO:<Postmaster>\r\n',
    '250, 250 2.1.0, 250 2.1.5, 250 2.1.5',
  ],
  [
    'recipients elsewhere',
    `${HELLO}MAIL FROM:<a@b>\r\n${['c@elsewhere', 'c@example.org@elsewhere', 'c', 'example.org']
      .map((path) => `RCPT TO:<${path}>\r\n`)
      .join('')}RCPT TO:<@example.org:c@elsewhere>\r\nRCPT TO:<>\r\nRCPT TO:<@example.org>\r\n`,
    `250, 250 2.1.0${', 550 5.7.1'.repeat(5)}, 501 5.5.4, 550 5.7.1`,
  ],
  [
    'too many recipients',
    `${ENVELOPE}${'RCPT TO:<c@example.org>\r\n'.repeat(100)}`,
    `250, 250 2.1.0${', 250 2.1.5'.repeat(100)}, 452 4.5.3`,
  ],
  ['a long line', `NOOP ${'x'.repeat(993)}\r\n`, '250 2.0.0'],
  ['a line too long', `NOOP ${'x'.repeat(994)}\r\nNOOP\r\n`, '500 5.5.2, 250 2.0.0'],
  ['a line far too long', `NOOP ${'x'.repeat(300_000)}\r\nNOOP\r\n`, '500 5.5.2, 250 2.0.0'],
  ['bare LF in a command', 'NOOP\nQUIT\r\n', '500 5.5.2'],
  ['bare CR in a command', 'NOOP\rQUIT\r\nNOOP\r\n', '500 5.5.2'],
  ['too many errors', 'X\r\n'.repeat(30), `${'500 5.5.2, '.repeat(20)}421 4.7.0`],
  [
    'errors with a message in between',
    `${'X\r\n'.repeat(19)}${ENVELOPE}DATA\r\nx\r\n.\r\n${'X\r\n'.repeat(20)}`,
    `${'500 5.5.2, '.repeat(19)}${TO_DATA}, 250 2.0.0, ${'500 5.5.2, '.repeat(20)}421 4.7.0`,
  ],
  ['a message', `${ENVELOPE}DATA\r\nx\r\n.\r\nQUIT\r\n`, `${TO_DATA}, 250 2.0.0, 221 2.0.0`],
  [
    'a message after a message',
    `${ENVELOPE}DATA\r\nx\r\n.\r\nMAIL FROM:<a@b>\r\nDATA\r\nRCPT TO:<c@example.org>\r\nDATA\r\n.\r\n`,
    `${TO_DATA}, 250 2.0.0, 250 2.1.0, 554 5.5.1, 250 2.1.5, 354, 250 2.0.0`,
  ],
  ['a message without end', `${ENVELOPE}DATA\r\nx\r\n.`, TO_DATA],
  [
    'a message too large',
    `${ENVELOPE}DATA\r\n${'x'.repeat(78).concat('\r\n').repeat(1260)}.\r\nNOOP\r\n`,
    `${TO_DATA}, 552 5.3.4, 250 2.0.0`,
  ],
  [
    'a message with a line too long',
    `${ENVELOPE}DATA\r\na\r\n${'x'.repeat(999)}\r\n.\r\nNOOP\r\n`,
    `${TO_DATA}, 550 5.5.2, 250 2.0.0`,
  ],
];

/** What, as it is sent, as it is kept. */
const MESSAGES: [what: string, sent: string, kept: string][] = [
  ['no line', '', ''],
  ['an empty line', '\r\n', '\n'],
  ['a line', 'a\r\n', 'a\n'],
  ['a dot', '..\r\n', '.\n'],
  ['dots', '..\r\n...\r\n..a\r\na.\r\n\r\n..\r\n', '.\n..\n.a\na.\n\n.\n'],
  ['a dot that should have been doubled', '.a\r\nb\r\n', 'a\nb\n'],
  ['all bytes but the line ends', `${allBytes()}\r\n`, `${allBytes()}\n`],
  [
    'a long line',
    `.${'.'.repeat(998)}\r\n${'x'.repeat(998)}\r\n`,
    `${'.'.repeat(998)}\n${'x'.repeat(998)}\n`,
  ],
];

function allBytes(): string {
  const bytes = Array.from({ length: 256 }, (_, byte) => String.fromCharCode(byte));
  return bytes.join('').replace(/[\r\n]/g, '');
}

/** What another server might take for the end of a message, with a second message behind. */
const SMUGGLED = [
  '\n.\n',
  '\n.\r\n',
  '\r\n.\n',
  '\r.\r',
  '\r.\r\n',
  '\r\n.\r',
  '\r\r\n.\r\r\n',
  '\n\r.\n\r',
  '\r\n\0.\r\n\n.\r\n',
];

describe('The mail server', () => {
  it.each(DIALOGUES)('answers %s', async (_what, said, heard) => {
    expect(codes(await say(said))).toBe(heard);
  });

  it.each(DIALOGUES.filter(([, said]) => said.length < 1000))(
    'answers byte by byte %s',
    async (_what, said, heard) => {
      expect(codes(await say(said, 1))).toBe(heard);
    },
  );

  it('tells what it can do', async () => {
    expect(await say(HELLO)).toBe(
      '220 example.org ESMTP\r\n250-example.org\r\n250-SIZE 100000\r\n250-8BITMIME\r\n' +
        '250-PIPELINING\r\n250 ENHANCEDSTATUSCODES\r\n',
    );
  });

  it.each(MESSAGES)('keeps %s, whatever the pieces', async (_what, sent, kept) => {
    const said = `${ENVELOPE}DATA\r\n${sent}.\r\nQUIT\r\n`;
    const sizes = [said.length, 1, 2, 3, 5, 7].filter((size) => said.length / size < 1000);
    for (const size of sizes) {
      expect(codes(await say(said, size))).toBe(`${TO_DATA}, 250 2.0.0, 221 2.0.0`);
    }
    expect(maildir.messages.map(withoutTrace)).toEqual(sizes.map(() => kept));
  });

  it('tells where a message has come from', async () => {
    await say(`${ENVELOPE}RCPT TO:<"d e"@example.org>\r\nDATA\r\nSubject: x\r\n\r\ny\r\n.\r\n`);
    expect(maildir.messages).toHaveLength(1);
    expect(maildir.messages[0]).toMatch(
      /^Return-Path: <a@b>\nDelivered-To: c@example\.org\nDelivered-To: "d e"@example\.org\nReceived: from client\.example \(\[127\.0\.0\.1\]\)\n\tby example\.org with ESMTP; \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d \+0000\nSubject: x\n\ny\n$/,
    );
  });

  it.each([['127.0.0.1', '127.0.0.1'], ['::1', 'IPv6:::1'], ...LINK_LOCAL])(
    'tells that a message has come from %s as [%s]',
    async (host, literal) => {
      server.close();
      start('::');
      const one = client(host).send(`${ENVELOPE}DATA\r\n.\r\nQUIT\r\n`);
      await one.ends();
      expect(maildir.messages.join('')).toContain(`from client.example ([${literal}])\n`);
    },
  );

  it.each(SMUGGLED)('refuses a message that hides another behind %j', async (hidden) => {
    const inner = 'MAIL FROM:<admin@b>\r\nRCPT TO:<c@example.org>\r\nDATA\r\nforged\r\n';
    for (const size of [1e6, 1, 2]) {
      const heard = await say(`${ENVELOPE}DATA\r\na${hidden}${inner}.\r\nQUIT\r\n`, size);
      expect(codes(heard)).toBe(`${TO_DATA}, 550 5.5.2, 221 2.0.0`);
    }
    expect(maildir.messages).toEqual([]);
  });

  it('takes a message for the first 100 of 150 recipients, and then one for the others', async () => {
    const names = Array.from({ length: 150 }, (_, number) => `u${number}@example.org`);
    const sent = (to: string[]): string =>
      `MAIL FROM:<a@b>\r\n${to.map((name) => `RCPT TO:<${name}>\r\n`).join('')}DATA\r\nx\r\n.\r\n`;
    expect(codes(await say(`${HELLO}${sent(names)}${sent(names.slice(100))}QUIT\r\n`))).toBe(
      [
        ...['250', '250 2.1.0', ...Array(100).fill('250 2.1.5'), ...Array(50).fill('452 4.5.3')],
        ...['354', '250 2.0.0', '250 2.1.0', ...Array(50).fill('250 2.1.5'), '354', '250 2.0.0'],
        '221 2.0.0',
      ].join(', '),
    );
    const delivered = maildir.messages.map((message) =>
      [...message.matchAll(/^Delivered-To: (.*)$/gm)].map(([, name]) => name),
    );
    expect(delivered).toEqual([names.slice(0, 100), names.slice(100)]);
  });

  it('answers soon, whatever blanks are in a line', async () => {
    // Tried one by one these took 1.7 ms a line.
    const line = `NOOP a${' '.repeat(985)}b\r\n`;
    const one = client();
    await one.send(`${line.repeat(4000)}QUIT\r\n`).hears('221 2.0.0');
  });

  it('keeps order, and serves others, while the disk is slow', async () => {
    let ready = (): void => {};
    maildir.wait = new Promise((resolve) => {
      ready = resolve;
    });
    const slow = client().send(`${ENVELOPE}DATA\r\n1\r\n.\r\nNOOP\r\nMAIL FROM:<a@b>\r\n`);
    await until(() => maildir.writing === 1);
    expect(codes(await say('NOOP\r\nQUIT\r\n'))).toBe('250 2.0.0, 221 2.0.0');
    slow.send('RCPT TO:<c@example.org>\r\nDATA\r\n2\r\n.\r\nQUIT\r\n');
    // The client waits for the server, and must not be cut off for that.
    const chat = await session();
    later(3_600_000);
    expect(chat.connected).toBe(true);
    ready();
    expect(codes(await slow.ends())).toBe(
      `${TO_DATA}, 250 2.0.0, 250 2.0.0, 250 2.1.0, 250 2.1.5, 354, 250 2.0.0, 221 2.0.0`,
    );
    expect(maildir.messages.map(withoutTrace)).toEqual(['1\n', '2\n']);
  });

  it('tells when it cannot keep a message, and leaves no draft', async () => {
    const printed = jest.spyOn(process.stdout, 'write').mockReturnValue(true);
    try {
      const one = client().send(`${ENVELOPE}DATA\r\n`);
      await one.hears('354');
      rmSync(join(maildir.path, 'new'), { recursive: true });
      one.send('1\r\n.\r\n');
      await one.hears('451 4.3.0');
      expect(readdirSync(join(maildir.path, 'tmp'))).toEqual([]);
      expect(printed).toHaveBeenCalledWith(expect.stringContaining('ENOENT'));
      mkdirSync(join(maildir.path, 'new'));
      one.send('MAIL FROM:<a@b>\r\nRCPT TO:<c@example.org>\r\nDATA\r\n2\r\n.\r\nQUIT\r\n');
      await one.hears('221');
    } finally {
      printed.mockRestore();
    }
    expect(maildir.messages.map(withoutTrace)).toEqual(['2\n']);
  });

  it('keeps a message though the client has gone', async () => {
    let ready = (): void => {};
    maildir.wait = new Promise((resolve) => {
      ready = resolve;
    });
    const gone = client().send(`${ENVELOPE}DATA\r\n1\r\n.\r\n`);
    await until(() => maildir.writing === 1);
    gone.socket.resetAndDestroy();
    ready();
    await until(() => maildir.writing === 0 && map.size === 1);
    expect(maildir.messages.map(withoutTrace)).toEqual(['1\n']);
  });

  it('holds no more of a message that is too large than is allowed', async () => {
    const one = client().send(`${ENVELOPE}DATA\r\n`);
    await one.hears('354');
    for (let count = 0; count < 40; count += 1) one.send(`${'x'.repeat(998)}\r\n`.repeat(1000));
    const held = (): number =>
      Math.max(
        ...[...map.values()].map((channel) =>
          'incoming' in channel ? Buffer.concat(channel.incoming as Buffer[]).length : 0,
        ),
      );
    let most = 0;
    await until(() => {
      most = Math.max(most, held());
      return one.socket.writableLength === 0;
    });
    expect(most).toBeLessThanOrEqual(SIZE);
    await one.send('.\r\n').hears('552 5.3.4');
  });
});

describe('The mail server and a client who does not take the replies', () => {
  it('does not read until the client does, and then answers all, in order', async () => {
    const one = client();
    await one.hears('220 ');
    const chat = await session();
    chat.setSockOpt(SOL_SOCKET, SO_SNDBUF, 65536);
    const commands = [HELLO, 'HELP\r\n', 'VRFY x\r\n', 'NOOP\r\n'];
    const replies: string[] = [];
    for (const command of commands) {
      one.received = '';
      await one.send(command).hears('\r\n');
      replies.push(one.received);
    }
    one.received = '';
    one.socket.pause();
    const order = Array.from({ length: 16_000 }, (_, at) => ((at * at) % 251) % 4);
    one.send(order.map((which) => commands[which]).join(''));
    await until(() => chat.readingPaused);
    expect(chat.writableLength).toBeLessThan(2 * 64 * 1024);
    one.socket.resume();
    const expected = order.map((which) => replies[which]).join('');
    await until(() => one.received.length >= expected.length);
    expect(one.received === expected).toBe(true);
    expect(chat.readingPaused).toBe(false);
  });

  it('listens when the message is kept and the replies are taken, whichever is first', async () => {
    let ready = (): void => {};
    maildir.wait = new Promise((resolve) => {
      ready = resolve;
    });
    const message = 'MAIL FROM:<a@b>\r\nRCPT TO:<c@example.org>\r\nDATA\r\n1\r\n.\r\n';
    const one = client().send(`${HELLO}${message}VRFY x\r\n`);
    const chat = await session();
    await until(() => maildir.writing === 1);
    // The replies to what was said before.
    const waiting = '250 2.0.0 OK\r\n'.repeat(100_000);
    expect(chat.push(waiting)).toBe(false);
    await until(() => one.received.length > waiting.length && chat.writableLength === 0);
    const resumed = jest.spyOn(chat, 'resumeReading');
    expect(chat.readingPaused).toBe(true);
    chat.setSockOpt(SOL_SOCKET, SO_SNDBUF, 65536);
    one.socket.pause();
    expect(chat.push(waiting.repeat(8))).toBe(false);
    ready();
    await until(() => maildir.writing === 0);
    expect(chat.writableLength).toBeGreaterThan(64 * 1024);
    expect(resumed).not.toHaveBeenCalled();
    one.socket.resume();
    await one.hears('252 2.1.5');
    expect(one.received).toMatch(
      /250 2\.0\.0 OK\r\n250 2\.0\.0 Kept as \S+\r\n252 2\.1\.5 .*\r\n$/,
    );
  });
});

describe('The mail server and time', () => {
  it('says goodbye to the idle', async () => {
    const idle = client().send(HELLO);
    await idle.hears('250 ');
    later(299_999);
    expect(map.size).toBe(2);
    later(1);
    expect(codes(await idle.ends())).toBe('250, 421 4.4.2');
  });

  it('disconnects a client that brings no message, whatever it says', async () => {
    server.close();
    start('127.0.0.1', { timeForMessage: 300 });
    const one = client();
    await one.hears('220 ');
    for (let count = 0; count < 3; count += 1) {
      one.received = '';
      await one.send('NOOP\r\n').hears('250 2.0.0');
      later(100);
    }
    expect(await one.ends()).toMatch(/421 4\.4\.2 No message for too long\r\n$/);
  });

  it('counts from the end of a delivery, however long that has taken', async () => {
    server.close();
    start('127.0.0.1', { timeForMessage: 300 });
    let ready = (): void => {};
    maildir.wait = new Promise((resolve) => {
      ready = resolve;
    });
    const one = client().send(`${ENVELOPE}DATA\r\n1\r\n.\r\n`);
    await until(() => maildir.writing === 1);
    later(1000);
    ready();
    await one.hears('250 2.0.0 Kept');
    await until(() => maildir.writing === 0);
    later(299);
    expect((await session()).connected).toBe(true);
    later(1);
    expect(await one.ends()).toMatch(/421 4\.4\.2 No message for too long\r\n$/);
  });

  it('is shut down when the message that it is about to keep is kept', async () => {
    let ready = (): void => {};
    maildir.wait = new Promise((resolve) => {
      ready = resolve;
    });
    const one = client().send(`${ENVELOPE}DATA\r\n1\r\n.\r\nNOOP\r\n`);
    const idle = client();
    await until(() => maildir.writing === 1 && map.size === 3);
    const down = shutdown(map);
    expect(codes(await idle.ends())).toBe('421 4.3.2');
    ready();
    expect(codes(await one.ends())).toBe(`${TO_DATA}, 250 2.0.0, 421 4.3.2`);
    await down;
    expect(maildir.messages.map(withoutTrace)).toEqual(['1\n']);
  });

  it('lets one address have so many connections', async () => {
    const warned = jest.spyOn(process, 'emitWarning').mockReturnValue();
    const many = Array.from({ length: 20 }, client);
    for (const one of many) await one.hears('220 ');
    expect(await client().ends()).toBe('');
    many[0]?.socket.destroy();
    await until(() => map.size === 20);
    await client().hears('220 ');
    expect(warned).toHaveBeenCalledTimes(1);
    warned.mockRestore();
  });
});

describe('Maildir', () => {
  it('has the folders it makes on the disk, up to the one that was there', () => {
    const fs = jest.requireActual<typeof import('node:fs')>('node:fs');
    const there = temporaryPath('there');
    mkdirSync(there);
    const synced: string[] = [];
    const spy = jest.spyOn(fs, 'fsyncSync').mockImplementation((fd) => {
      synced.push(readlinkSync(`/proc/self/fd/${fd}`));
    });
    try {
      new Maildir(join(there, 'a', 'b', 'c'));
      expect(synced).toEqual(['a/b/c', 'a/b', 'a', ''].map((name) => join(there, name, '.')));
      synced.length = 0;
      new Maildir(join(there, 'a'));
      expect(synced).toEqual([join(there, 'a'), there]);
      new Maildir(there);
      expect(synced.slice(2)).toEqual([there, dirname(there)]);
    } finally {
      spy.mockRestore();
    }
  });
});

describe('What was answered by 250', () => {
  let program: Program;
  const path = temporaryPath('Maildir');
  const file = 'docs/examples/smtp-server.ts';
  const args = ['--port', '0', '--domain', 'example.org', '--maildir', path];

  async function connected(): Promise<Client> {
    const [, listening] = await program.printed(/listening on 127\.0\.0\.1:(\d+)\n/);
    const made = new Client(Number(listening));
    clients.push(made);
    return made;
  }

  afterEach(async () => {
    await program.kill();
    rmSync(path, { recursive: true });
  });

  it('outlives the process', async () => {
    program = runTypeScript(file, args);
    const one = await connected();
    const again = 'MAIL FROM:<a@b>\r\nRCPT TO:<c@example.org>\r\nDATA\r\nx\r\n.\r\n';
    one.send(`${HELLO}${again.repeat(1000)}`);
    const kept = (): string[] =>
      [...one.received.matchAll(/Kept as (\S+)/g)].map(([, n = '']) => n);
    await until(() => kept().length > 5);
    program.child.kill('SIGKILL');
    await one.ends();
    for (const name of kept()) {
      expect(withoutTrace(readFileSync(join(path, 'new', name), 'latin1'))).toBe('x\n');
    }
  });

  itWithStrace(
    'is on the disk, and its name as well (skipped where nothing can be traced)',
    async () => {
      const log = temporaryPath('strace');
      const strace = `-f -y -o ${log} -e trace=fsync,rename,sendto`.split(' ');
      const node = [process.execPath, ...TYPESCRIPT, file, ...args];
      program = new Program('strace', [...strace, ...node]);
      const one = await connected();
      await one.send(`${ENVELOPE}DATA\r\nx\r\n.\r\n`).hears('Kept as');
      const [, name] = /Kept as (\S+)/.exec(one.received) as RegExpExecArray;
      // One line for each call, the process before it and the result behind.
      const calls = readFileSync(log, 'utf8')
        .split('\n')
        .slice(2)
        .map((line) => line.replace(/^\d+ +/, ''));
      const steps = [
        ['fsync(', `/tmp/${name}>)`, '= 0'],
        ['rename(', `/tmp/${name}"`, `/new/${name}"`, '= 0'],
        ['fsync(', '/Maildir/new>)', '= 0'],
        ['sendto(', '"250 2.0.0 Kept as'],
      ].map((words) => calls.findIndex((call) => words.every((word) => call.includes(word))));
      expect(steps).toEqual([...steps].sort((a, b) => a - b));
      expect(steps).not.toContain(-1);
    },
  );
});

it('The program refuses a domain that is none', async () => {
  const program = runTypeScript('docs/examples/smtp-server.ts', ['--domain', 'example..org']);
  expect(await program.ended()).toBe(2);
  expect(program.output).toContain('--domain takes a domain name: example..org');
});

/** A message that has everything that goes wrong on the way. */
const LINES = ['Subject: dots', '', '.', '..', '. a', 'Grüße', '', '.', 'end'];
const KEPT = Buffer.from(`${LINES.join('\n')}\n`).toString('latin1');

describe('curl (skipped where there is none)', () => {
  async function curl(input: string, ...more: string[]): Promise<Program> {
    const url = `smtp://127.0.0.1:${port}/client.example`;
    const program = new Program('curl', [
      ...['--silent', '--verbose', '--max-time', '8', '--mail-from', 'a@b', '--url', url],
      ...['--mail-rcpt', 'c@example.org', '--upload-file', '-', ...more],
    ]);
    program.child.stdin.end(input);
    await program.ended();
    return program;
  }

  itWithCurl('sends a message', async () => {
    expect((await curl(`${LINES.join('\n')}\n`, '--crlf')).child.exitCode).toBe(0);
    expect(maildir.messages.map(withoutTrace)).toEqual([KEPT]);
  });

  itWithCurl('sends a large message', async () => {
    const text = `${'x'.repeat(78)}\r\n`.repeat(1200);
    expect((await curl(text)).child.exitCode).toBe(0);
    expect(maildir.messages.map(withoutTrace)).toEqual([text.replaceAll('\r', '')]);
  });

  itWithCurl('is refused when a line ends with LF, or the message has no end', async () => {
    expect((await curl('a\nb\n')).output).toContain('< 550 5.5.2');
    expect((await curl('x'.repeat(2 * SIZE))).output).toContain('< 552 5.3.4');
    expect((await curl('a\r\n', '--mail-rcpt', 'd@elsewhere')).output).toContain('< 550 5.7.1');
    expect(maildir.messages).toEqual([]);
  });

  itWithCurl('verifies a name', async () => {
    const args = ['-sS', '--mail-rcpt', 'c', '--url', `smtp://127.0.0.1:${port}`];
    const program = new Program('curl', args);
    expect(await program.ended()).toBe(0);
    expect(program.output).toContain('252 2.1.5');
  });
});

describe('swaks (skipped where there is none)', () => {
  itWithSwaks.each([[[]], [['--pipeline']], [['--protocol', 'SMTP']]])(
    'sends a message %j',
    async (more) => {
      const message = temporaryPath('message');
      // It adds a line end.
      writeFileSync(message, LINES.join('\n'));
      const swaks = new Program('swaks', [
        ...['--server', '127.0.0.1', '--port', String(port), '--ehlo', 'client.example'],
        ...['--from', 'a@b', '--to', 'c@example.org,d@example.org', '--data', `@${message}`],
        ...['--suppress-data', ...more],
      ]);
      expect([await swaks.ended(), swaks.output]).toEqual([0, expect.stringContaining('Kept as')]);
      expect(maildir.messages.map(withoutTrace)).toEqual([KEPT]);
    },
  );
});

describe("Python's smtplib (skipped where there is none)", () => {
  const SCRIPT = `
import smtplib, sys
with smtplib.SMTP('127.0.0.1', int(sys.argv[1]), 'client.example', timeout=5) as smtp:
    print(smtp.noop()[0], smtp.verify('c')[0], smtp.help().decode()[:5])
    # Of bytes the line ends are the caller's business.
    message = sys.stdin.buffer.read().replace(b'\\n', b'\\r\\n')
    smtp.sendmail('a@b', ['c@example.org', 'd@example.org'], message, ['BODY=8BITMIME'])
    print(smtp.sendmail('a@b', ['c@example.org', 'd@elsewhere'], 'x\\n.\\n'))
    for attempt in (
        lambda: smtp.sendmail('a@b', ['d@elsewhere'], 'x'),
        lambda: smtp.sendmail('a@b', ['c@example.org'], 'x' * 200000),
        lambda: smtp.sendmail('a@b', ['c@example.org'], ('x' * 78 + '\\r\\n') * 1251),
    ):
        try:
            attempt()
        except smtplib.SMTPException as error:
            print(type(error).__name__, getattr(error, 'smtp_code', ''))
    print(smtp.sendmail('a@b', ['c@example.org'], b''))
`;

  itWithPython('sends messages', async () => {
    const python = new Program('python3', ['-c', SCRIPT, String(port)]);
    python.child.stdin.end(LINES.join('\n'));
    expect([await python.ended(), python.output.split('\n')]).toEqual([
      0,
      [
        '250 252 2.0.0',
        "{'d@elsewhere': (550, b'5.7.1 Not for this domain')}",
        'SMTPRecipientsRefused ',
        'SMTPSenderRefused 552',
        'SMTPSenderRefused 552',
        '{}',
        '',
      ],
    ]);
    expect(maildir.messages.map(withoutTrace)).toEqual([KEPT, 'x\n.\n', '\n']);
  });
});

describe('nodemailer', () => {
  it('sends messages, one after the other and many at once', async () => {
    const options = { host: '127.0.0.1', port, pool: true, maxConnections: 5, ignoreTLS: true };
    const transport = createTransport(options);
    try {
      expect(await transport.verify()).toBe(true);
      const numbers = Array.from({ length: 50 }, (_, number) => number);
      const envelope = { from: 'a@b', to: 'c@example.org' };
      const sent = numbers.map((number) =>
        transport.sendMail({ envelope, raw: `Subject: ${number}\r\n\r\n.\r\n..\r\n` }),
      );
      for (const { response } of await Promise.all(sent)) {
        expect(response).toMatch(/^250 2\.0\.0 Kept as /);
      }
      const expected = numbers.map((number) => `Subject: ${number}\n\n.\n..\n`);
      expect(maildir.messages.map(withoutTrace).sort()).toEqual(expected.sort());
      await expect(
        transport.sendMail({ from: 'a@b', to: 'd@elsewhere', text: 'x' }),
      ).rejects.toMatchObject({ responseCode: 550 });
      await transport.sendMail({
        from: 'a@b',
        to: ['c@example.org', 'd@example.org'],
        subject: 'Grüße',
        text: 'Grüße\n.\n',
        attachments: [{ filename: 'a.bin', content: Buffer.alloc(30_000, 0x0a) }],
      });
      const last = maildir.messages.at(-1) as string;
      expect(last).toContain('Subject: =?UTF-8?Q?Gr=C3=BC=C3=9Fe?=\n');
      expect(last).toContain(Buffer.alloc(57, 0x0a).toString('base64'));
    } finally {
      transport.close();
    }
  });
});
