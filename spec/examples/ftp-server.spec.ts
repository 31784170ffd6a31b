// docs/examples/ftp-server.ts: literal dialogues, both kinds of data connections, what must not be
// possible, and FTP clients.

import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import {
  AsyncChat,
  ChannelMap,
  closeAll,
  type Dispatcher,
  type InternetAddress,
  loop,
  ManualClock,
  Socket as OwnSocket,
  SO_SNDBUF,
  SOL_SOCKET,
  SocketError,
  shutdown,
} from 'asyncore';
import { type FtpOptions, ftpServer } from '../../docs/examples/ftp-server';
import { FileTree } from '../../docs/examples/support/file-tree';
import { Download, PassiveListener } from '../../docs/examples/support/ftp-data';
import { temporaryPath } from '../support/drive';
import { writeZeros } from '../support/files';
import { Client, Program, runTypeScript, until } from '../support/program';
import { itIf, itWith } from '../support/skips';

const itWithCurl = itWith('curl');
const itWithLftp = itWith('lftp');
const itWithPython = itWith('python3');

/** `fe80::1%eth0`: an address of this machine that needs its zone. */
const [LINK_LOCAL] = Object.entries(networkInterfaces()).flatMap(([name, addresses = []]) =>
  addresses.filter(({ scopeid = 0 }) => scopeid !== 0).map(({ address }) => `${address}%${name}`),
);
const itWithLinkLocal = itIf(LINK_LOCAL !== undefined, 'no link-local address');

const TEXT = 'one\ntwo\r\n\nthree';
const BINARY = Buffer.from(Array.from({ length: 300_000 }, (_, at) => (at * at) % 251));

let clock: ManualClock;
let map: ChannelMap;
let outside: string;
let root: string;
let server: Dispatcher;
let port: number;
let running: Promise<void>;
const sockets: Socket[] = [];

function start(host: string, options: Partial<FtpOptions> = {}): void {
  const account = { name: 'ann', password: 'pass word' };
  server = ftpServer({ host, port: 0 }, { tree: new FileTree(root), account, ...options }, map);
  const address = server.address() as InternetAddress;
  port = address.port;
}

beforeEach(() => {
  clock = new ManualClock();
  map = new ChannelMap([], { clock });
  outside = temporaryPath('outside');
  root = join(outside, 'root');
  mkdirSync(join(root, 'sub'), { recursive: true });
  writeFileSync(join(outside, 'secret'), 'secret');
  writeFileSync(join(root, 'text'), TEXT);
  writeFileSync(join(root, 'binary'), BINARY);
  writeFileSync(join(root, 'sub', 'grüße "x"'), 'hello');
  utimesSync(join(root, 'text'), 1_000_000_000, 1_000_000_000);
  symlinkSync('../secret', join(root, 'link'));
  symlinkSync('..', join(root, 'up'));
  start('127.0.0.1');
  running = loop({ map });
});

afterEach(async () => {
  jest.restoreAllMocks();
  for (const socket of sockets.splice(0)) socket.destroy();
  closeAll(map);
  await running;
  // Whatever has happened, no file stays open.
  const open = readdirSync('/proc/self/fd').map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      return '';
    }
  });
  expect(open.filter((path) => path.startsWith(outside))).toEqual([]);
});

function passiveListener(): PassiveListener | undefined {
  return [...map.values()].find((channel) => channel instanceof PassiveListener);
}

const REPLY = /^(\d{3}) .*\r\n/m;

/** The client's end of a session. */
class Session {
  readonly client: Client;

  constructor(host = '127.0.0.1') {
    this.client = new Client(port, host);
    sockets.push(this.client.socket);
  }

  /** The next reply, and no more of what has come. */
  async reply(limit?: number): Promise<string> {
    const { client } = this;
    await until(
      () => REPLY.test(client.received),
      limit,
      () => `a reply in '${client.received}'`,
    );
    const { 0: line, index } = REPLY.exec(client.received) as RegExpExecArray;
    const reply = client.received.slice(0, index + line.length);
    client.received = client.received.slice(reply.length);
    return Buffer.from(reply, 'latin1').toString();
  }

  async ask(line: string): Promise<string> {
    this.client.socket.write(`${line}\r\n`);
    return this.reply();
  }

  async logIn(name = 'anonymous', password = 'x'): Promise<this> {
    await this.reply();
    await this.ask(`USER ${name}`);
    expect(await this.ask(`PASS ${password}`)).toMatch(/^230/);
    return this;
  }

  async binary(): Promise<this> {
    await this.ask('TYPE I');
    return this;
  }

  async passive(localAddress = '127.0.0.1'): Promise<Data> {
    const [, dataPort] = /\|\|\|(\d+)\|/.exec(await this.ask('EPSV')) as RegExpExecArray;
    return new Data(
      connect({ port: Number(dataPort), host: '127.0.0.1', localAddress, allowHalfOpen: true }),
    );
  }

  /** @returns what is transferred, the replies to the command before it */
  async get(command: string): Promise<string> {
    const data = await this.passive();
    expect(await this.ask(command)).toMatch(/^150/);
    const content = await data.ended();
    expect(await this.reply()).toMatch(/^226/);
    return content;
  }

  async put(command: string, content: string | Buffer): Promise<void> {
    const data = await this.passive();
    expect(await this.ask(command)).toMatch(/^150/);
    data.socket.end(content);
    expect(await this.reply()).toMatch(/^226/);
  }
}

/** The client's end of a data connection. */
class Data {
  readonly #pieces: Buffer[] = [];
  /** The address of the server's end, if the server has connected. */
  readonly from: string | undefined;
  isClosed = false;

  constructor(readonly socket: Socket) {
    this.from = socket.remoteAddress;
    sockets.push(socket);
    socket.on('data', (data) => this.#pieces.push(data as Buffer));
    socket.on('error', () => {});
    socket.on('end', () => socket.end());
    socket.on('close', () => {
      this.isClosed = true;
    });
  }

  /** All that has come when the server has closed. */
  async ended(): Promise<string> {
    await until(() => this.isClosed);
    return Buffer.concat(this.#pieces).toString('latin1');
  }
}

async function writer(): Promise<Session> {
  return (await new Session().logIn('ann', 'pass word')).binary();
}

async function reader(): Promise<Session> {
  return (await new Session().logIn()).binary();
}

function kept(name: string): string {
  return readFileSync(join(root, name), 'latin1');
}

/** What, who, what is said, the codes of the replies. */
const DIALOGUES: [what: string, who: string, said: string[], codes: string][] = [
  ['a login', '', ['USER ann', 'PASS pass word', 'STAT'], '331 230 211'],
  ['anonymous', '', ['USER FTP', 'PASS', 'STAT'], '331 230 211'],
  ['a wrong password', '', ['USER ann', 'PASS password', 'PWD'], '331 530 530'],
  ['PASS without USER', '', ['PASS x'], '503'],
  ['USER again', 'ann', ['USER nobody', 'PWD', 'PASS x'], '331 530 530'],
  ['too many attempts', '', ['USER ann', 'PASS a', 'PASS b', 'PASS c'], '331 530 530 421'],
  [
    'a client that has not logged in',
    '',
    ['PWD', 'CWD /', 'PASV', 'STOR a', 'ABOR'],
    '530 530 530 530 530',
  ],
  [
    'what needs no login',
    '',
    ['NOOP', 'SYST', 'FEAT', 'HELP', 'OPTS UTF8 ON'],
    '200 215 211 214 200',
  ],
  ['unknown commands', '', ['XYZZY', '', 'SITE CHMOD', 'OPTS x'], '500 500 500 501'],
  ['QUIT', '', ['QUIT'], '221'],
  [
    'arguments where none are allowed',
    'ftp',
    [
      'PWD x',
      'CDUP x',
      'NOOP x',
      'SYST x',
      'FEAT x',
      'PASV x',
      'ABOR x',
      'NOOP  ',
      'QUIT x',
      'PWD',
    ],
    '501 501 501 501 501 501 501 200 501 257',
  ],
  [
    'no argument where one is needed',
    'ann',
    ['MKD a', 'CWD a', 'RMD', 'MKD ', 'DELE', 'RNFR', 'RNTO', 'USER', 'ALLO', 'ALLO x', 'CWD /a'],
    '257 250 501 501 501 501 501 501 501 501 250',
  ],
  ['what is superfluous', 'ann', ['ALLO 5', 'ALLO 5 R 2', 'ACCT x'], '202 202 202'],
  ['PASS after a login', 'ann', ['PASS wrong', 'PWD'], '503 257'],
  ['lines that end with LF', '', ['NOOP\nNOOP'], '200 200'],
  ['a line too long', '', ['x'.repeat(4097), 'NOOP'], '500 200'],
  [
    'directories',
    'ftp',
    ['PWD', 'CWD sub', 'XPWD', 'CDUP', 'CDUP', 'PWD'],
    '257 250 257 250 250 257',
  ],
  [
    'CWD to what is none',
    'ftp',
    ['CWD text', 'CWD nothing', 'CWD text/..', 'CWD'],
    '550 550 250 250',
  ],
  [
    'TYPE',
    'ftp',
    ['TYPE A', 'TYPE a n', 'TYPE I', 'TYPE L 8', 'TYPE E', 'TYPE'],
    '200 200 200 200 504 504',
  ],
  ['STRU and MODE', 'ftp', ['STRU F', 'STRU R', 'MODE S', 'MODE B'], '200 504 200 504'],
  [
    'SIZE',
    'ftp',
    ['SIZE text', 'TYPE I', 'SIZE text', 'SIZE sub', 'SIZE x'],
    '504 200 213 550 550',
  ],
  ['MDTM', 'ftp', ['MDTM text', 'MDTM sub', 'MDTM x'], '213 550 550'],
  ['REST', 'ftp', ['REST 1', 'TYPE I', 'REST 1', 'REST -1', 'REST x'], '504 200 350 501 501'],
  ['transfers without a connection', 'ftp', ['LIST', 'RETR text', 'ABOR'], '425 425 226'],
  [
    'a user that may only read',
    'ftp',
    ['STOR a', 'APPE text', 'DELE text', 'MKD a', 'RMD sub', 'RNFR text', 'RNTO a'],
    '550 550 550 550 550 550 550',
  ],
  [
    'MKD and RMD',
    'ann',
    ['MKD a', 'MKD a', 'RMD a', 'RMD a', 'RMD sub', 'RMD /'],
    '257 550 250 550 550 550',
  ],
  ['DELE', 'ann', ['DELE text', 'DELE text', 'DELE sub'], '250 550 550'],
  [
    'RNFR and RNTO',
    'ann',
    ['RNTO a', 'RNFR x', 'RNFR text', 'RNTO sub/a', 'SIZE x'],
    '503 550 350 250 504',
  ],
  ['RNTO that does not follow RNFR', 'ann', ['RNFR text', 'PWD', 'RNTO a'], '350 257 503'],
  [
    'names that no file has',
    'ann',
    ['MKD *', 'CWD ?', 'CWD \\*', 'MDTM t*', 'MKD a\0b', 'CWD *', 'RMD /*', 'MLST -x'],
    '257 550 550 550 550 250 250 550',
  ],
  [
    'paths that lead out',
    'ann',
    [
      'CWD ..',
      'CWD /up',
      'CWD link',
      'CWD up/root',
      'SIZE ../secret',
      'DELE up/secret',
      'MDTM link',
    ],
    '250 550 550 550 504 550 550',
  ],
  [
    'more of them',
    'ann',
    ['RNFR up/secret', 'RNFR text', 'RNTO up/text', 'MKD up/a'],
    '550 350 550 550',
  ],
  [
    'PORT elsewhere',
    'ftp',
    [
      'PORT 127,0,0,2,200,0',
      'PORT 10,0,0,1,200,0',
      'EPRT |1|127.0.0.2|51200|',
      'EPRT |2|::1|51200|',
    ],
    '504 504 504 504',
  ],
  [
    'PORT to a service',
    'ftp',
    [
      'PORT 127,0,0,1,0,25',
      'PORT 127,0,0,1,3,255',
      'EPRT |1|127.0.0.1|1023|',
      'PORT 127,0,0,1,4,0',
    ],
    '504 504 504 200',
  ],
  [
    'PORT that is none',
    'ftp',
    [
      'PORT',
      'PORT 1,2,3',
      'PORT 127,0,0,1,4,256',
      'PORT 127,0,0,1,999,1',
      'EPRT |1|x|5|',
      'EPRT |1|127.0.0.1|99999|',
    ],
    '501 501 501 504 501 504',
  ],
  [
    'EPRT that is none',
    'ftp',
    [
      'EPRT',
      'EPRT |',
      'EPRT |1|127.0.0.1|51200',
      'EPRT |1|127.0.0.1|51200|x',
      'EPRT |1|127.0.0.1|-5|',
      'EPRT |1|::1|51200|',
      'EPRT |2|127.0.0.1|51200|',
      'EPRT |3|127.0.0.1|51200|',
      'EPRT !1!127.0.0.1!51200!',
    ],
    '501 501 501 501 501 501 501 522 200',
  ],
  ['EPSV', 'ftp', ['EPSV', 'EPSV 1', 'EPSV 2', 'PASV'], '229 229 522 227'],
  [
    'EPSV ALL',
    'ftp',
    ['EPSV ALL', 'PASV', 'PORT 127,0,0,1,200,0', 'EPRT |1|127.0.0.1|51200|', 'LIST', 'EPSV'],
    '200 503 503 503 425 229',
  ],
  [
    'REST beyond what is there',
    'ann',
    ['TYPE I', 'EPSV', 'REST 1', 'STOR a', 'SIZE a'],
    '200 229 350 550 550',
  ],
  [
    'the same of APPE',
    'ann',
    ['TYPE I', 'EPSV', 'REST 1', 'APPE a', 'SIZE a'],
    '200 229 350 550 550',
  ],
];

describe('The FTP server', () => {
  it.each(DIALOGUES)('answers %s', async (_what, who, said, codes) => {
    const session = new Session();
    if (who === '') await session.reply();
    else await session.logIn(who, 'pass word');
    session.client.send(said.map((line) => `${line}\r\n`).join(''));
    const heard: string[] = [];
    for (const _ of codes.split(' ')) heard.push((await session.reply()).slice(0, 3));
    expect(heard.join(' ')).toBe(codes);
    expect(session.client.received).toBe('');
    expect(readFileSync(join(outside, 'secret'), 'utf8')).toBe('secret');
    expect(readdirSync(outside).sort()).toEqual(['root', 'secret']);
  });

  it('tells about files and itself', async () => {
    const session = await reader();
    expect(await session.ask('SIZE binary')).toBe('213 300000\r\n');
    expect(await session.ask('MDTM text')).toBe('213 20010909014640\r\n');
    expect(await session.ask('MLST text')).toBe(
      '250-It is\r\n type=file;size=15;modify=20010909014640; /text\r\n250 End\r\n',
    );
    expect(await session.ask('CWD sub')).toMatch(/^250/);
    expect(await session.ask('SIZE grüße "x"')).toBe('213 5\r\n');
    expect(await session.ask('FEAT')).toBe(
      '211-Features\r\n EPRT\r\n EPSV\r\n MDTM\r\n MLST type*;size*;modify*;\r\n REST STREAM\r\n' +
        ' SIZE\r\n TVFS\r\n UTF8\r\n211 End\r\n',
    );
    const owner = await writer();
    expect(await owner.ask('MKD a "b"')).toBe('257 "/a ""b"""\r\n');
    await owner.ask('CWD a "b"');
    expect(await owner.ask('PWD')).toBe('257 "/a ""b"""\r\n');
  });

  it('lists', async () => {
    const session = await reader();
    utimesSync(join(root, 'binary'), Date.now() / 1000, Date.now() / 1000);
    expect(await session.get('NLST')).toBe('binary\r\nsub\r\ntext\r\n');
    const list = await session.get('LIST -la');
    expect(list.split('\r\n')).toEqual([
      expect.stringMatching(/^-rw-r--r-- 1 ftp ftp {7}300000 \w{3} [ \d]\d \d\d:\d\d binary$/),
      expect.stringMatching(/^drwxr-xr-x 2 ftp ftp +\d+ \w{3} [ \d]\d \d\d:\d\d sub$/),
      '-rw-r--r-- 1 ftp ftp           15 Sep  9  2001 text',
      '',
    ]);
    expect(await session.get('LIST text')).toBe(`${list.split('\r\n')[2]}\r\n`);
    const sub = Buffer.from(await session.get('MLSD sub'), 'latin1').toString();
    expect(sub).toMatch(/^type=file;size=5;modify=\d{14}; grüße "x"\r\n$/);
    mkdirSync(join(root, '-x'));
    writeFileSync(join(root, '-x', '-a -l'), '');
    for (const path of ['-x', './-x', '/-x', '-la -x', '-l -a -- -x', '-- -x']) {
      expect(await session.get(`NLST ${path}`)).toBe('-a -l\r\n');
    }
    expect(await session.get('NLST -x/-a -l')).toBe('-a -l\r\n');
    expect(await session.get('MLSD -x')).toContain('; -a -l\r\n');
    for (const options of ['-a', '-l -a', '-la ', '--']) {
      expect(await session.get(`NLST ${options}`)).toBe('-x\r\nbinary\r\nsub\r\ntext\r\n');
    }
    await session.passive();
    expect(await session.ask('MLSD -a')).toMatch(/^550/);
    expect(await session.ask('NLST -a *')).toMatch(/^550/);
    expect(await session.ask('LIST up')).toMatch(/^550/);
    expect(await session.ask('LIST nothing')).toMatch(/^550/);
    expect(await session.ask('MLSD link')).toMatch(/^550/);
    expect(await session.ask('MLSD text')).toMatch(/^501/);
  });

  it('sends files', async () => {
    const session = await reader();
    expect((await session.get('RETR binary')) === BINARY.toString('latin1')).toBe(true);
    expect(await session.get('RETR text')).toBe(TEXT);
    await session.ask('REST 4');
    expect(await session.get('RETR text')).toBe(TEXT.slice(4));
    await session.ask('REST 4');
    expect(await session.ask('RETR text')).toMatch(/^425/);
    expect(await session.get('RETR text')).toBe(TEXT);
    await session.passive();
    await session.ask('REST 4');
    expect(await session.ask('RETR nothing')).toMatch(/^550/);
    expect(await session.get('RETR text')).toBe(TEXT);
    await session.ask(`REST ${TEXT.length}`);
    expect(await session.get('RETR text')).toBe('');
    await session.passive();
    await session.ask(`REST ${TEXT.length + 1}`);
    expect(await session.ask('RETR text')).toMatch(/^554/);
    await session.ask('TYPE A');
    expect(await session.get('RETR text')).toBe(TEXT.replaceAll('\n', '\r\n'));
    await session.passive();
    for (const path of ['nothing', 'sub', 'link', 'up/secret', '../secret', '/../../secret', '']) {
      expect(await session.ask(`RETR ${path}`)).toMatch(/^550/);
    }
  });

  it('receives files', async () => {
    const session = await writer();
    await session.put('STOR new', BINARY);
    expect(kept('new') === BINARY.toString('latin1')).toBe(true);
    await session.put('STOR new', 'abcdef');
    await session.put('APPE new', 'ghi');
    expect(kept('new')).toBe('abcdefghi');
    await session.ask('REST 3');
    await session.put('STOR new', 'xyz');
    expect(kept('new')).toBe('abcxyz');
    await session.put('STOR empty', '');
    expect(kept('empty')).toBe('');
    await session.put('STOR  two  blanks and \u2028.', 'x');
    expect(kept(' two  blanks and \u2028.')).toBe('x');
    await session.passive();
    await session.ask('REST 7');
    expect(await session.ask('STOR new')).toMatch(/^554/);
    expect(kept('new')).toBe('abcxyz');
    for (const path of ['sub', 'link', 'up/new', 'nothing/new', '']) {
      expect(await session.ask(`STOR ${path}`)).toMatch(/^550/);
    }
  });

  it.each([
    ['without a blank', `${'a'.repeat(4000)}\rx`],
    ['of blanks', `a${' '.repeat(4000)}\u2028`],
    ['of PORT', `PORT ${'1,'.repeat(2000)}`],
    ['of EPRT', `EPRT :1:${':'.repeat(4000)}x`],
    ['of options', `LIST ${'-'.repeat(4000)}\rx`],
    ['of many options', `LIST ${'-a '.repeat(1300)}\rx`],
  ])('answers long lines %s soon', async (_what, line) => {
    // Tried character by character they took 25 ms each.
    const session = await reader();
    session.client.send(`${`${line}\n`.repeat(300)}QUIT\r\n`);
    await session.client.hears('221');
  });

  it('stops reading from a client that does not take the replies, and answers all in order later', async () => {
    const session = new Session();
    await session.reply();
    const { client } = session;
    const commands = ['HELP', 'FEAT', 'SYST', 'NOOP'];
    const replies: string[] = [];
    for (const command of commands) replies.push(await session.ask(command));
    const chat = [...map.values()].find((channel) => channel instanceof AsyncChat) as AsyncChat;
    chat.setSockOpt(SOL_SOCKET, SO_SNDBUF, 65536);
    client.socket.pause();
    const order = Array.from({ length: 10_000 }, (_, at) => ((at * at) % 251) % 4);
    client.send(order.map((which) => `${commands[which]}\r\n`).join(''));
    await until(() => chat.readingPaused);
    expect(chat.writableLength).toBeLessThan(2 * 64 * 1024);
    client.socket.resume();
    const expected = order.map((which) => replies[which]).join('');
    await until(() => client.received.length >= expected.length);
    expect(client.received === expected).toBe(true);
    expect(chat.readingPaused).toBe(false);
  });

  it.each([1, 2, 3, 1000])('receives text in pieces of %d', async (size) => {
    const session = await writer();
    await session.ask('TYPE A');
    const data = await session.passive();
    expect(await session.ask('STOR new')).toMatch(/^150/);
    const text = 'a\r\n\r\nb\rc\nd\r\r\n\r';
    data.socket.setNoDelay(true);
    for (let at = 0; at < text.length; at += size) {
      data.socket.write(text.slice(at, at + size));
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    data.socket.end();
    expect(await session.reply()).toMatch(/^226/);
    expect(kept('new')).toBe('a\n\nb\rc\nd\r\n\r');
  });
});

describe('The FTP server and its data connections', () => {
  /** Waits to be connected to. */
  async function waiting(host = '127.0.0.1'): Promise<{ port: number; data: Promise<Data> }> {
    const listener = createServer({ allowHalfOpen: true });
    await new Promise<void>((resolve) => listener.listen(0, host, resolve));
    const data = new Promise<Data>((resolve) => {
      listener.once('connection', (socket) => {
        listener.close();
        resolve(new Data(socket));
      });
    });
    return { port: (listener.address() as AddressInfo).port, data };
  }

  it('connects to the client', async () => {
    const session = await writer();
    for (const command of ['PORT', 'EPRT']) {
      for (const name of ['text', 'binary']) {
        const { port: at, data } = await waiting();
        const where =
          command === 'PORT' ? `127,0,0,1,${at >> 8},${at & 255}` : `|1|127.0.0.1|${at}|`;
        expect(await session.ask(`${command} ${where}`)).toMatch(/^200/);
        expect(await session.ask(`RETR ${name}`)).toMatch(/^150/);
        expect((await (await data).ended()) === kept(name)).toBe(true);
        expect(await session.reply()).toMatch(/^226/);
      }
    }
    const { port: at, data } = await waiting();
    await session.ask(`EPRT |1|127.0.0.1|${at}|`);
    expect(await session.ask('STOR new')).toMatch(/^150/);
    (await data).socket.end('x');
    expect(await session.reply()).toMatch(/^226/);
    expect(kept('new')).toBe('x');
  });

  it('tells when it cannot connect', async () => {
    const session = await writer();
    const { port: at, data } = await waiting();
    const probe = connect(at, '127.0.0.1');
    await data;
    probe.destroy();
    await session.ask(`EPRT |1|127.0.0.1|${at}|`);
    expect(await session.ask('RETR text')).toMatch(/^150/);
    expect(await session.reply()).toMatch(/^425/);
    expect(await session.get('RETR text')).toBe(TEXT);
  });

  it.each(['STOR text', 'STOR new', 'APPE text', 'APPE new', 'RETR text', 'LIST', 'MLSD -e'])(
    'answers 425 to %s without a data connection, touches no file, and goes on',
    async (command) => {
      mkdirSync(join(root, '-e'));
      const before = readdirSync(root);
      const session = await writer();

      // The limit is over before the command,
      await session.ask('EPSV');
      clock.advance(20_000);
      await until(() => passiveListener() === undefined);
      expect(await session.ask(command)).toBe('425 Nobody has connected\r\n');

      // after the command,
      await session.ask('EPSV');
      expect(await session.ask(command)).toMatch(/^150/);
      clock.advance(20_000);
      expect(await session.reply()).toBe('425 Nobody has connected\r\n');

      // the client gives up,
      await session.ask('EPSV');
      expect(await session.ask(command)).toMatch(/^150/);
      session.client.send('ABOR\r\n');
      expect(await session.reply()).toMatch(/^426/);
      expect(await session.reply()).toMatch(/^226/);

      // or does not listen.
      const { port: at, data } = await waiting();
      const probe = connect(at, '127.0.0.1');
      await data;
      probe.destroy();
      expect(await session.ask(`EPRT |1|127.0.0.1|${at}|`)).toMatch(/^200/);
      expect(await session.ask(command)).toMatch(/^150/);
      expect(await session.reply()).toBe('425 Cannot connect\r\n');
      expect(await session.ask(command)).toBe('425 Say PASV or PORT first\r\n');

      expect(readdirSync(root)).toEqual(before);
      expect(kept('text')).toBe(TEXT);
      expect(map.size).toBe(2);
      clock.advance(300_000);
      expect(await session.reply()).toMatch(/^421/);
    },
  );

  it('lets no stranger who knocks extend the wait for the client', async () => {
    const session = await writer();
    const [, at] = /\|\|\|(\d+)\|/.exec(await session.ask('EPSV')) as RegExpExecArray;
    expect(await session.ask('STOR text')).toMatch(/^150/);
    const stranger = { port: Number(at), host: '127.0.0.1', localAddress: '127.0.0.2' };
    for (let knocks = 0; knocks < 20; knocks += 1) {
      await new Data(connect(stranger)).ended();
      expect(session.client.received).toBe('');
      clock.advance(1000);
    }
    expect(await session.reply()).toBe('425 Nobody has connected\r\n');
    expect(kept('text')).toBe(TEXT);
  });

  it('tells when it cannot listen, and leaves no socket open', async () => {
    const session = await reader();
    const open = map.size;
    const refuse = jest.spyOn(OwnSocket.prototype, 'listen').mockImplementationOnce(() => {
      throw new SocketError('EMFILE', 24, 'listen', 'too many open files');
    });
    try {
      expect(await session.ask('EPSV')).toMatch(/^425/);
    } finally {
      refuse.mockRestore();
    }
    expect(map.size).toBe(open);
    expect(await session.get('RETR text')).toBe(TEXT);
  });

  it('connects from the address that the client has connected to', async () => {
    server.close();
    start('0.0.0.0');
    const session = await (await new Session('127.0.0.2').logIn()).binary();
    const { port: at, data } = await waiting();
    await session.ask(`EPRT |1|127.0.0.1|${at}|`);
    expect(await session.ask('RETR text')).toMatch(/^150/);
    expect((await data).from).toBe('127.0.0.2');
    expect(await session.reply()).toMatch(/^226/);
  });

  itWithLinkLocal('speaks IPv6 within one link (skipped where there is none)', async () => {
    server.close();
    start('::');
    const host = LINK_LOCAL as string;
    const [address] = host.split('%') as [string];
    const session = await (await new Session(host).logIn()).binary();
    const [, passivePort] = /\|\|\|(\d+)\|/.exec(await session.ask('EPSV')) as RegExpExecArray;
    const passive = new Data(connect(Number(passivePort), host));
    expect(await session.ask('RETR text')).toMatch(/^150/);
    expect(await passive.ended()).toBe(TEXT);
    expect(await session.reply()).toMatch(/^226/);
    // The zone is a matter of each host: the client's is of no use here.
    for (const own of [address, `${address}%99`]) {
      const { port: at, data } = await waiting(host);
      expect(await session.ask(`EPRT |2|${own}|${at}|`)).toMatch(/^200/);
      expect(await session.ask('RETR text')).toMatch(/^150/);
      expect(await (await data).ended()).toBe(TEXT);
      expect(await session.reply()).toMatch(/^226/);
    }
    expect(await session.ask('EPRT |2|fe80::1234:5678|51200|')).toMatch(/^504/);
  });

  it('speaks IPv6', async () => {
    server.close();
    start('::1');
    const session = await (await new Session('::1').logIn('ann', 'pass word')).binary();
    expect(await session.ask('PASV')).toMatch(/^425/);
    expect(await session.ask('EPSV 1')).toMatch(/^522/);
    const [, at] = /\|\|\|(\d+)\|/.exec(await session.ask('EPSV 2')) as RegExpExecArray;
    const passive = new Data(connect(Number(at), '::1'));
    expect(await session.ask('RETR text')).toMatch(/^150/);
    expect(await passive.ended()).toBe(TEXT);
    expect(await session.reply()).toMatch(/^226/);
    const { port: own, data } = await waiting('::1');
    expect(await session.ask(`EPRT |2|0:0:0:0:0:0:0:1|${own}|`)).toMatch(/^200/);
    expect(await session.ask('RETR text')).toMatch(/^150/);
    expect(await (await data).ended()).toBe(TEXT);
    expect(await session.reply()).toMatch(/^226/);
  });

  it('serves IPv4 through a socket for IPv6', async () => {
    server.close();
    start('::');
    const session = await (await new Session('127.0.0.1').logIn()).binary();
    expect(await session.get('RETR text')).toBe(TEXT);
    expect(await session.ask('PASV')).toMatch(/^227 .*\(127,0,0,1,/);
    expect(await session.ask('PORT 127,0,0,1,200,0')).toMatch(/^200/);
    expect(await session.ask('PORT 127,0,0,2,200,0')).toMatch(/^504/);
  });

  it('gives no file to a stranger who connects first', async () => {
    const session = await reader();
    const thief = await session.passive('127.0.0.2');
    expect(await session.ask('RETR text')).toMatch(/^150/);
    expect(await thief.ended()).toBe('');
    const { remotePort } = thief.socket;
    expect(remotePort).toBeUndefined();
    await session.client.send('ABOR\r\n').hears('226');
    session.client.received = '';
    expect(await session.get('RETR text')).toBe(TEXT);
  });

  it('waits for the rightful one after a stranger', async () => {
    const session = await reader();
    const [, at] = /\|\|\|(\d+)\|/.exec(await session.ask('EPSV')) as RegExpExecArray;
    const thief = new Data(
      connect({ port: Number(at), host: '127.0.0.1', localAddress: '127.0.0.3' }),
    );
    expect(await thief.ended()).toBe('');
    expect(await session.ask('RETR text')).toMatch(/^150/);
    expect(await new Data(connect(Number(at), '127.0.0.1')).ended()).toBe(TEXT);
    expect(await session.reply()).toMatch(/^226/);
  });

  it('takes one connection, before the command or after it', async () => {
    const session = await reader();
    const [, at] = /\|\|\|(\d+)\|/.exec(await session.ask('EPSV')) as RegExpExecArray;
    const first = new Data(connect(Number(at), '127.0.0.1'));
    await until(() => first.socket.readyState === 'open' && map.size === 2);
    const second = new Data(connect(Number(at), '127.0.0.1'));
    expect(await second.ended()).toBe('');
    expect(await session.ask('RETR text')).toMatch(/^150/);
    expect(await first.ended()).toBe(TEXT);
    expect(await session.reply()).toMatch(/^226/);
  });

  it('has one transfer at a time, and hears ABOR', async () => {
    writeZeros(join(root, 'large'), 32 * 1024 * 1024);
    const session = await reader();
    const data = await session.passive();
    data.socket.pause();
    expect(await session.ask('RETR large')).toMatch(/^150/);
    for (const line of ['RETR text', 'EPSV', 'CWD sub']) {
      expect(await session.ask(line)).toMatch(/^450/);
    }
    expect(await session.ask('NOOP')).toMatch(/^200/);
    const held = [...map.values()].find((channel) => channel instanceof Download);
    expect((held as Download).writableLength).toBeLessThanOrEqual(65536);
    session.client.send('\xff\xf4\xff\xf2ABOR\r\n');
    expect(await session.reply()).toMatch(/^426/);
    expect(await session.reply()).toMatch(/^226/);
    expect(map.size).toBe(2);
    expect(await session.get('RETR text')).toBe(TEXT);
    (await session.passive()).socket.pause();
    session.client.send('RETR large\r\nQUIT\r\nABOR\r\n');
    const last = [];
    for (let count = 0; count < 4; count += 1) last.push((await session.reply()).slice(0, 3));
    expect(last.join(' ')).toBe('150 426 226 221');
    await session.client.ends();
  });

  it('says 226 for no transfer that has broken off', async () => {
    writeZeros(join(root, 'large'), 32 * 1024 * 1024);
    const session = await writer();
    const download = await session.passive();
    expect(await session.ask('RETR large')).toMatch(/^150/);
    download.socket.resetAndDestroy();
    expect(await session.reply()).toMatch(/^426/);
    for (const type of ['I', 'A']) {
      await session.ask(`TYPE ${type}`);
      const upload = await session.passive();
      expect(await session.ask(`STOR ${type}`)).toMatch(/^150/);
      // In text the CR may begin a line end.
      upload.socket.write('half\r');
      await until(() => existsSync(join(root, type)) && kept(type) !== '');
      upload.socket.resetAndDestroy();
      expect(await session.reply()).toMatch(/^426/);
      expect(kept(type)).toBe(type === 'I' ? 'half\r' : 'half');
    }
    const unused = await session.passive();
    expect(await session.ask('STOR text')).toMatch(/^150/);
    unused.socket.resetAndDestroy();
    expect(await session.reply()).toMatch(/^426/);
    expect(kept('text')).toBe(TEXT);
    const confused = await session.passive();
    confused.socket.pause();
    expect(await session.ask('RETR large')).toMatch(/^150/);
    confused.socket.write('x');
    expect(await session.reply()).toMatch(/^426/);
    expect(map.size).toBe(2);
  });

  it('finishes a transfer before it quits', async () => {
    const session = await reader();
    const data = await session.passive();
    data.socket.pause();
    writeZeros(join(root, 'large'), 16 * 1024 * 1024);
    session.client.send('RETR large\r\nQUIT\r\n');
    expect(await session.reply()).toMatch(/^150/);
    data.socket.resume();
    expect((await data.ended()).length).toBe(16 * 1024 * 1024);
    expect(await session.reply()).toMatch(/^226/);
    expect(await session.reply()).toMatch(/^221/);
    await session.client.ends();
    await until(() => map.size === 1);
  });

  it('drops everything when the client has gone', async () => {
    const session = await writer();
    const data = await session.passive();
    expect(await session.ask('STOR new')).toMatch(/^150/);
    session.client.socket.destroy();
    await data.ended();
    await until(() => map.size === 1);
    const other = await reader();
    await other.ask('EPSV');
    expect(map.size).toBe(3);
    other.client.socket.destroy();
    await until(() => map.size === 1);
  });

  it('is shut down when transfers are over', async () => {
    const session = await reader();
    const data = await session.passive();
    data.socket.pause();
    expect(await session.ask('RETR binary')).toMatch(/^150/);
    const idle = await reader();
    const late = await reader();
    await late.passive();
    expect(await late.ask('RETR text')).toMatch(/^150/);
    expect(await late.reply()).toMatch(/^226/);
    await late.ask('EPSV');
    expect(await late.ask('RETR text')).toMatch(/^150/);
    const down = shutdown(map);
    expect(await late.reply()).toMatch(/^425/);
    expect(await late.reply()).toMatch(/^421/);
    expect(await idle.reply()).toMatch(/^421/);
    data.socket.resume();
    expect((await data.ended()) === BINARY.toString('latin1')).toBe(true);
    expect(await session.reply()).toMatch(/^226/);
    expect(await session.reply()).toMatch(/^421/);
    expect(await down).toBe(0);
  });

  it('disconnects a client that does not log in, whatever it says', async () => {
    server.close();
    start('127.0.0.1', { timeForLogin: 500 });
    const client = await reader();
    const stranger = new Session();
    await stranger.reply();
    for (let count = 0; count < 5; count += 1) {
      expect(await stranger.ask(count % 2 === 0 ? 'NOOP' : 'USER ftp')).toMatch(/^200|^331/);
      clock.advance(100);
    }
    expect(await stranger.reply()).toBe('421 Not logged in for too long\r\n');
    await stranger.client.ends();
    expect(await client.ask('NOOP')).toMatch(/^200/);
  });

  it('disconnects an idle client', async () => {
    const session = await reader();
    await session.ask('EPSV');
    expect(await session.ask('RETR text')).toMatch(/^150/);
    clock.advance(20_000);
    expect(await session.reply()).toBe('425 Nobody has connected\r\n');
    clock.advance(300_000);
    expect(await session.reply()).toMatch(/^421/);

    const other = await writer();
    await other.passive();
    expect(await other.ask('STOR new')).toMatch(/^150/);
    await until(() => map.size === 3);
    clock.advance(60_000);
    expect(await other.reply()).toBe('426 Nothing moves\r\n');
    clock.advance(300_000);
    expect(await other.reply()).toMatch(/^421/);
    await until(() => map.size === 1);
  });

  it('tells when the disk is full', async () => {
    const session = await writer();
    const data = await session.passive();
    expect(await session.ask('STOR new')).toMatch(/^150/);
    await until(() => map.size === 3);
    const upload = [...map.values()].find(
      (channel) => channel instanceof AsyncChat && channel.allowHalfOpen,
    ) as AsyncChat;
    upload.collectIncomingData = () => {
      throw Object.assign(new Error('ENOSPC'), { code: 'ENOSPC', errno: -28, syscall: 'write' });
    };
    data.socket.write('x');
    expect(await session.reply()).toBe('452 No space left on device\r\n');
  });
});

describe('curl (skipped where there is none)', () => {
  async function curl(path: string, ...more: string[]): Promise<[number | null, string]> {
    const url = `ftp://127.0.0.1:${port}/${path}`;
    const program = new Program('curl', ['-sS', '--max-time', '8', '--url', url, ...more]);
    return [await program.ended(), program.output];
  }

  const ANN = ['--user', 'ann:pass word'];

  itWithCurl.each([
    ['EPSV', []],
    ['PASV', ['--disable-epsv']],
    ['EPRT', ['--ftp-port', '127.0.0.1']],
    ['PORT', ['--ftp-port', '127.0.0.1', '--disable-eprt']],
  ])('transfers in both directions by %s', async (_name, options) => {
    expect(await curl('text', ...options)).toEqual([0, TEXT]);
    expect(await curl('sub/', '--list-only', ...options)).toEqual([0, 'grüße "x"\n']);
    expect(await curl('', ...options)).toEqual([
      0,
      expect.stringMatching(/ binary\n.* sub\n.* text\n/),
    ]);
    const file = temporaryPath('download');
    expect(await curl('binary', '--output', file, ...options)).toEqual([0, '']);
    expect(readFileSync(file).equals(BINARY)).toBe(true);
    expect(await curl('new', '--upload-file', file, ...ANN, ...options)).toEqual([0, '']);
    expect(kept('new') === BINARY.toString('latin1')).toBe(true);
  });

  itWithCurl('transfers parts', async () => {
    expect(await curl('text', '--range', '4-')).toEqual([0, TEXT.slice(4)]);
    expect(await curl('text', '--range', '4-6')).toEqual([0, TEXT.slice(4, 7)]);
    expect(await curl('text', '--range', '-5')).toEqual([0, TEXT.slice(-5)]);
    const file = temporaryPath('part');
    writeFileSync(file, BINARY.subarray(0, 1000));
    expect(await curl('binary', '--output', file, '--continue-at', '-')).toEqual([0, '']);
    expect(readFileSync(file).equals(BINARY)).toBe(true);
    writeFileSync(join(root, 'part'), BINARY.subarray(0, 1000));
    const resume = ['--upload-file', file, '--continue-at', '-'];
    expect(await curl('part', ...resume, ...ANN)).toEqual([0, '']);
    expect(kept('part') === BINARY.toString('latin1')).toBe(true);
    expect(await curl('part', '--upload-file', file, '--append', ...ANN)).toEqual([0, '']);
    expect(kept('part')).toHaveLength(2 * BINARY.length);
  });

  itWithCurl('transfers text', async () => {
    // Of which it makes LF again.
    writeFileSync(join(root, 'lines'), 'a\n\nb\n');
    expect(await curl('lines;type=A')).toEqual([0, 'a\n\nb\n']);
    const file = temporaryPath('upload');
    writeFileSync(file, 'a\nb\n');
    expect(await curl('new', '--upload-file', file, '--use-ascii', ...ANN)).toEqual([0, '']);
    expect(kept('new')).toBe('a\nb\n');
  });

  itWithCurl('makes directories, renames, removes', async () => {
    const file = temporaryPath('upload');
    writeFileSync(file, 'x');
    const made = await curl('a/b/c', '--upload-file', file, '--ftp-create-dirs', ...ANN);
    expect(made).toEqual([0, '']);
    expect(kept('a/b/c')).toBe('x');
    const quote = ['-Q', 'RNFR a/b/c', '-Q', 'RNTO moved', '-Q', '-RMD a/b', '-Q', '-DELE text'];
    expect((await curl('', '--output', '/dev/null', ...quote, ...ANN))[0]).toBe(0);
    expect(kept('moved')).toBe('x');
    expect(readdirSync(root)).not.toContain('text');
    expect(readdirSync(join(root, 'a'))).toEqual([]);
  });

  itWithCurl('tells about a file', async () => {
    const [code, head] = await curl('text', '--head');
    expect([code, head.replaceAll('\r', '')]).toEqual([
      0,
      'Last-Modified: Sun, 09 Sep 2001 01:46:40 GMT\nContent-Length: 15\nAccept-ranges: bytes\n',
    ]);
  });

  itWithCurl('is refused', async () => {
    const file = temporaryPath('upload');
    writeFileSync(file, 'x');
    expect((await curl('text', '--upload-file', file))[0]).toBe(25);
    expect((await curl('text', '--user', 'ann:wrong'))[0]).toBe(67);
    expect((await curl('nothing'))[0]).toBe(78);
    expect((await curl('link'))[0]).not.toBe(0);
    expect((await curl('up/secret'))[0]).toBe(9);
    for (const path of ['../secret', '%2e%2e/secret', '%2F../secret', '..%2fsecret']) {
      const [code, output] = await curl(path, '--path-as-is', '--ftp-method', 'nocwd');
      expect(code).not.toBe(0);
      expect(output).not.toMatch(/secret$/);
    }
    expect(kept('text')).toBe(TEXT);
  });
});

describe('lftp (skipped where there is none)', () => {
  /** What it prints for a script of commands. */
  async function lftp(script: string, user = ''): Promise<string> {
    const settings = [
      'net:max-retries 1',
      'net:timeout 5',
      'cmd:fail-exit true',
      'net:reconnect-interval-base 0',
    ];
    const open = `open ${user === '' ? '' : `-u '${user}'`} ftp://127.0.0.1:${port}`;
    const commands = [...settings.map((setting) => `set ${setting}`), open, script].join('; ');
    const program = new Program('lftp', ['--norc', '-c', commands]);
    expect([await program.ended(), program.output]).toEqual([0, expect.any(String)]);
    return program.output;
  }

  itWithLftp('looks around', async () => {
    expect(await lftp('cls -1')).toBe('binary\nsub/\ntext\n');
    expect(await lftp('set ftp:use-mlsd true; cls -1 sub')).toBe('sub/grüße "x"\n');
    expect(await lftp('ls')).toMatch(/^-rw-r--r-- +1 ftp .*2001 text$/m);
    expect(await lftp('cat text')).toBe(TEXT);
    expect(await lftp('find .')).toBe('./\n./binary\n./sub/\n./sub/grüße "x"\n./text\n');
    expect(await lftp('set ftp:passive-mode off; cat text')).toBe(TEXT);
    expect(await lftp('du -b sub')).toMatch(/^5\s+sub/m);
  });

  itWithLftp('mirrors a tree, there and back', async () => {
    const down = temporaryPath('down');
    for (let number = 0; number < 20; number += 1) {
      mkdirSync(join(root, 'many', String(number)), { recursive: true });
      writeFileSync(join(root, 'many', String(number), 'file'), BINARY.subarray(0, number * 5000));
    }
    await lftp(`mirror --parallel=4 / '${down}'`);
    expect(
      spawnSync('diff', ['-r', '--exclude=link', '--exclude=up', root, down]).stdout.toString(),
    ).toBe('');
    await lftp(`mirror --reverse --parallel=4 '${down}' /back`, 'ann,pass word');
    expect(spawnSync('diff', ['-r', down, join(root, 'back')]).stdout.toString()).toBe('');
    await lftp('rm -r /back; mv text moved; mkdir -p a/b/c', 'ann,pass word');
    expect(existsSync(join(root, 'back'))).toBe(false);
    expect(kept('moved')).toBe(TEXT);
    expect(existsSync(join(root, 'a', 'b', 'c'))).toBe(true);
  });

  itWithLftp('fetches a file in parts at once, and goes on with one', async () => {
    const large = Buffer.concat(Array.from({ length: 30 }, () => BINARY));
    writeFileSync(join(root, 'large'), large);
    const file = temporaryPath('large');
    await lftp(`pget -n 4 large -o '${file}'`);
    expect(readFileSync(file).equals(large)).toBe(true);
    const part = temporaryPath('part');
    writeFileSync(part, large.subarray(0, 12345));
    await lftp(`get -c large -o '${part}'`);
    expect(readFileSync(part).equals(large)).toBe(true);
  });
});

describe("Python's ftplib (skipped where there is none)", () => {
  const SCRIPT = `
import ftplib, io, sys
def attempt(call):
    try:
        return call()
    except ftplib.all_errors as error:
        return str(error)[:3]
for passive in True, False:
    with ftplib.FTP(timeout=5, encoding='utf-8') as ftp:
        ftp.connect('127.0.0.1', int(sys.argv[1]))
        print(ftp.login('ann', 'pass word'))
        ftp.set_pasv(passive)
        print(ftp.pwd(), ftp.nlst(), ftp.voidcmd('TYPE I'), ftp.size('binary'))
        print([(name, facts['type']) for name, facts in ftp.mlsd()])
        lines = []
        ftp.retrlines('RETR text', lines.append)
        print(lines)
        lines = []
        ftp.dir('text', lines.append)
        print(lines)
        print(ftp.storlines('STOR lines', io.BytesIO(b'a\\nb\\r\\nc')))
        print(ftp.storbinary('STOR bytes', io.BytesIO(bytes(200000))))
        print(ftp.storbinary('STOR bytes', io.BytesIO(b'end'), rest=100000), ftp.size('bytes'))
        data = io.BytesIO()
        ftp.retrbinary('RETR bytes', data.write, rest=99999)
        print(data.getvalue())
        print(ftp.mkd('dir'), ftp.cwd('dir'), ftp.pwd(), ftp.cwd('..'), ftp.rename('bytes', 'dir/moved'))
        print(ftp.delete('dir/moved'), ftp.rmd('dir'))
        for path in '../secret', 'link', 'up/secret', 'nothing':
            print(attempt(lambda: ftp.retrbinary('RETR ' + path, print)), end=' ')
        ftp.voidcmd('TYPE I')
        connection, size = ftp.ntransfercmd('RETR large')
        connection.recv(1000)
        print(ftp.abort())
        connection.close()
        print(ftp.voidresp())
        print(ftp.sendcmd('STAT'), ftp.quit())
`;

  itWithPython('does all it can, passive and active', async () => {
    writeZeros(join(root, 'large'), 32 * 1024 * 1024);
    const python = new Program('python3', ['-c', SCRIPT, String(port)]);
    const code = await python.ended();
    const expected = (list: string): string[] => [
      '230 Welcome',
      `/ ${list} 200 Done 300000`,
      `[${list
        .replace(/[[\]]/g, '')
        .split(', ')
        .map((name) => `(${name}, '${name === "'sub'" ? 'dir' : 'file'}')`)
        .join(', ')}]`,
      // Python takes a CR for a line end, too.
      "['one', 'two', '', '', 'three']",
      "['-rw-r--r-- 1 ftp ftp           15 Sep  9  2001 text']",
      '226 Done',
      '226 Done',
      '226 Done 100003',
      "b'\\x00end'",
      '/dir 250 Done /dir 250 Done 250 Done',
      '250 Done 250 Done',
      '550 550 550 550 426 Aborted',
      '226 Aborted',
      '211 In "/" 221 Goodbye',
    ];
    expect([code, python.output.trimEnd().split('\n')]).toEqual([
      0,
      [
        ...expected("['binary', 'large', 'sub', 'text']"),
        ...expected("['binary', 'large', 'lines', 'sub', 'text']"),
      ],
    ]);
    expect(kept('lines')).toBe('a\nb\nc\n');
  });
});

describe('The program', () => {
  it('serves a directory, and refuses a user without a password', async () => {
    const file = 'docs/examples/ftp-server.ts';
    const program = runTypeScript(file, ['--port', '0', '--root', root, '--user', 'bob:x:y']);
    try {
      const [, listening] = await program.printed(/listening on 127\.0\.0\.1:(\d+)\n/);
      port = Number(listening);
      const session = await new Session().logIn('bob', 'x:y');
      expect(await session.ask('MKD made')).toMatch(/^257/);
      expect(existsSync(join(root, 'made'))).toBe(true);
    } finally {
      await program.kill();
    }
    const wrong = runTypeScript(file, ['--user', 'bob']);
    expect(await wrong.ended()).not.toBe(0);
    expect(wrong.output).toContain('--user takes NAME:PASSWORD');
  });
});
