// An FTP server: RFC 959, with EPSV and EPRT (RFC 2428), MLSD, SIZE, MDTM and REST (RFC 3659) and names
// in UTF-8 (RFC 2640). Anonymous users may read; one optional user may write.
//
// Key points:
//
// - There are two connections. On the control connection a client and an FtpSession exchange lines. Each
//   transfer has a data connection of its own (support/ftp-data.ts). All are channels of one map, so a
//   session receives ABOR while its transfer goes on.
// - The peer of both must be the same. A data connection is accepted only from the address of the session,
//   made only to that address, and never to a port below 1024. Otherwise a third party could fetch a file,
//   or a client could make the server connect to any host (the "FTP bounce attack", RFC 2577).
// - No path leads out of the served directory: support/file-tree.ts.

import { createHash, timingSafeEqual } from 'node:crypto';
import { closeSync, constants, fstatSync, ftruncateSync, type Stats } from 'node:fs';
import { isIP, isIPv6, SocketAddress } from 'node:net';
import { posix } from 'node:path';
import {
  type Address,
  AsyncChat,
  type ChannelMap,
  Dispatcher,
  FileProducer,
  type InternetAddress,
  IPPROTO_TCP,
  SO_OOBINLINE,
  SOL_SOCKET,
  type Socket,
  socketMap,
  TCP_NODELAY,
} from 'asyncore';
import { type Entry, FileTree } from './support/file-tree';
import {
  Download,
  hostOf,
  PassiveListener,
  refusal,
  TextProducer,
  type Transfer,
  Upload,
} from './support/ftp-data';
import { familyOf, listenOptions, run } from './support/program';

const LONGEST_LINE = 4096;
const MOST_LOGINS = 3;
const MOST_CONNECTIONS = 200;
const MOST_CONNECTIONS_FROM_ONE = 20;
/** Bytes of replies that may be queued. Each reply needs additional memory. */
const MOST_WAITING = 64 * 1024;
/** In ms. */
const IDLE_TIMEOUT = 5 * 60 * 1000;

const LINE_END = '\r\n';

const { O_APPEND, O_CREAT, O_RDONLY, O_WRONLY } = constants;

// ---------------------------------------------------------------------------------------------
// The session.

export interface Account {
  readonly name: string;
  readonly password: string;
}

type Access = 'none' | 'read' | 'write';

class FtpSession extends AsyncChat {
  override highWaterMark = MOST_WAITING;
  readonly server: FtpServer;
  access: Access = 'none';
  /** The name from USER, for PASS. */
  userName = '';
  directory = '/';
  isText = true;
  /** After EPSV ALL: the client makes all connections, and requests them by EPSV. */
  hasOnlyEpsv = false;
  /** Where the next transfer begins. */
  restartAt = 0;
  /** What RNTO renames. */
  renamed: string | null = null;
  #data: PassiveListener | InternetAddress | null = null;
  #transfer: Transfer | null = null;
  #failedLogins = 0;
  /** The last reply, to be sent when the transfer is over; null: the session goes on. */
  #lastReply: string | null = null;

  constructor(socket: Socket, server: FtpServer) {
    super(socket, server.map);
    this.server = server;
    // The replies before and after a transfer are small, and neither may wait for the other.
    socket.setSockOpt(IPPROTO_TCP, TCP_NODELAY, 1);
    // ABOR, or a part of it, arrives as urgent data. Read in line, it is a line like any other.
    socket.setSockOpt(SOL_SOCKET, SO_OOBINLINE, 1);
    this.maxRecordLength = LONGEST_LINE;
    this.setTerminator('\n');
    this.setIdleTimeout(IDLE_TIMEOUT);
    this.reply('220 Ready');
  }

  /** A client that does not read its replies is not read from until it does. */
  reply(text: string): void {
    if (!this.push(text + LINE_END)) this.pauseReading();
  }

  override handleDrain(): void {
    this.resumeReading();
  }

  get localAddress(): InternetAddress {
    return this.socket?.getSockName?.() as InternetAddress;
  }

  // Input.

  override collectIncomingData(data: Buffer): void {
    if (this.terminator !== null) this._collectIncomingData(data);
  }

  override handleOverflow(): void {
    this.incoming.length = 0;
    this.reply('500 Line too long');
  }

  /** Urgent data, which is read in line. */
  override handleExpt(): void {}

  override foundTerminator(): void {
    // Telnet's interrupt sequence before ABOR is not part of the command.
    const line = this._getData()
      .toString()
      .replace(/^[^ -~]+|\r$/g, '');
    const [word = ''] = line.split(' ', 1);
    const reply = this.#execute(word.toUpperCase(), line.slice(word.length + 1));
    if (reply !== null) this.reply(reply);
  }

  #execute(name: string, argument: string): string | null {
    const command = COMMANDS.get(name);
    if (command === undefined) return '500 Unknown command';
    if (command.access !== 'none' && this.access === 'none') return '530 Log in first';
    if (command.access === 'write' && this.access !== 'write') return '550 You may only read';
    if (this.#transfer !== null && !WHILE_BUSY.has(name)) return '450 A transfer is under way';
    if (this.hasOnlyEpsv && INSTEAD_OF_EPSV.has(name)) return '503 Not after EPSV ALL';
    try {
      return command.run(this, argument);
    } catch (error) {
      const reply = refusal(error);
      if (reply === null) throw error;
      return reply;
    }
  }

  // The end.

  /** Sends this reply and closes, as soon as no transfer is in progress. */
  leave(lastReply: string): void {
    this.#lastReply = lastReply;
    if (this.#transfer === null) this.#hangUp();
  }

  #hangUp(): void {
    this.setTerminator(null);
    this.reply(this.#lastReply as string);
    this.closeWhenDone();
  }

  override handleTimeout(): void {
    if (this.#transfer !== null) return;
    this.reply('421 Idle for too long');
    this.close();
  }

  override handleShutdown(): void {
    this.leave('421 Going down');
  }

  override close(): void {
    super.close();
    this.dropData();
    this.#transfer?.close();
  }

  // Logging in.

  logIn(password: string): string | null {
    const { account } = this.server;
    const { userName } = this;
    if (userName === account?.name && matches(password, account.password)) this.access = 'write';
    else if (ANONYMOUS.test(userName)) this.access = 'read';
    if (this.access !== 'none') return '230 Welcome';
    this.#failedLogins += 1;
    if (this.#failedLogins < MOST_LOGINS) return '530 Login failed';
    this.leave('421 Login failed too often');
    return null;
  }

  // Transfers.

  resolve(path: string): string {
    return posix.resolve(this.directory, path);
  }

  dropData(): void {
    if (this.#data instanceof PassiveListener) this.#data.close();
    this.#data = null;
  }

  /** Listens for the client's data connection. @returns the address */
  listenForData(): number {
    this.dropData();
    const listener = new PassiveListener(this);
    this.#data = listener;
    return listener.port;
  }

  /** The next transfer connects to the client. @returns whether that is allowed */
  setDataAddress(host: string, port: number): boolean {
    const canonical = isIPv6(host)
      ? new SocketAddress({ address: host, family: 'ipv6' }).address
      : host;
    if (canonical !== hostOf(this.addr) || !(port >= 1024 && port <= 65535)) return false;
    this.dropData();
    this.#data = { host: canonical, port };
    return true;
  }

  /**
   * @param make is given the offset in the file. It returns the reason for a refusal, and may throw
   *   errors of the file system
   */
  transfer(make: (start: number) => Transfer | string): string | null {
    if (this.#data === null) return '425 Say PASV or PORT first';
    const start = this.restartAt;
    this.restartAt = 0;
    const transfer = make(start);
    if (typeof transfer === 'string') return transfer;
    this.#transfer = transfer;
    this.reply('150 Here it comes');
    if (this.#data instanceof PassiveListener) this.#data.serve(transfer);
    else transfer.connectTo(this.#data);
    return null;
  }

  transferEnded(reply: string): void {
    this.#transfer = null;
    this.dropData();
    this.reply(reply);
    if (this.#lastReply !== null) this.#hangUp();
  }

  abort(): string {
    this.#transfer?.end('426 Aborted');
    this.dropData();
    return '226 Aborted';
  }
}

const ANONYMOUS = /^(anonymous|ftp)$/i;

/** In constant time. */
function matches(given: string, expected: string): boolean {
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(given), digest(expected));
}

export class FtpServer extends Dispatcher {
  /** @param account the user who may write; null: nobody may */
  constructor(
    address: Address,
    family: number,
    readonly tree: FileTree,
    readonly account: Account | null,
    map: ChannelMap = socketMap,
  ) {
    super(null, map);
    this.createSocket(family);
    this.setReuseAddr();
    this.bind(address);
    this.listen(128, {
      maxConnections: MOST_CONNECTIONS,
      maxConnectionsPerAddress: MOST_CONNECTIONS_FROM_ONE,
    });
  }

  override handleAccepted(socket: Socket): void {
    new FtpSession(socket, this);
  }
}

// ---------------------------------------------------------------------------------------------
// Shared by the commands.

/** `20261122174014`. */
function timestamp(date: Date): string {
  return date.toISOString().replace(/\..*|\D/g, '');
}

function facts({ name, stats }: Entry): string {
  const kind = stats.isDirectory() ? 'type=dir' : `type=file;size=${stats.size}`;
  return `${kind};modify=${timestamp(stats.mtime)}; ${name}`;
}

const MONTHS = 'Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec'.split(' ');
const HALF_A_YEAR = 182 * 24 * 60 * 60 * 1000;

/** In the format of `ls -l`: an old file has the year instead of the time. */
function longLine({ name, stats }: Entry): string {
  const { mode, nlink, size, mtime } = stats;
  const rights = 'rwxrwxrwx'.replace(/./g, (letter, at) => (mode & (0o400 >> at) ? letter : '-'));
  const age = Date.now() - mtime.getTime();
  const [year, time] = [` ${mtime.getUTCFullYear()}`, mtime.toISOString().slice(11, 16)];
  return [
    `${stats.isDirectory() ? 'd' : '-'}${rights} ${nlink} ftp ftp ${String(size).padStart(12)}`,
    `${MONTHS[mtime.getUTCMonth()]} ${String(mtime.getUTCDate()).padStart(2)}`,
    `${age >= 0 && age < HALF_A_YEAR ? time : year} ${name}`,
  ].join(' ');
}

/** The list of a directory, or of one file. Options meant for `ls` are ignored. */
function sendList(session: FtpSession, argument: string, line: (entry: Entry) => string) {
  const { tree } = session.server;
  const path = session.resolve(argument.replace(/^-\S* ?/, ''));
  return session.transfer(() => {
    const stats = tree.stat(path);
    // For a file there is MLST.
    if (line === facts && !stats.isDirectory()) return '501 Not a directory';
    const entries = stats.isDirectory() ? tree.list(path) : [{ name: posix.basename(path), stats }];
    return new Download(session, entries.map((entry) => line(entry) + LINE_END).join(''));
  });
}

function receive(session: FtpSession, argument: string, isAppended: boolean) {
  return session.transfer((start) => {
    // A file that does not exist cannot be resumed.
    const flags = O_WRONLY | O_APPEND | (start === 0 ? O_CREAT : 0);
    const fd = session.server.tree.open(session.resolve(argument), flags);
    let upload: Upload | null = null;
    try {
      if (start > fstatSync(fd).size) return TOO_FAR;
      if (!isAppended) ftruncateSync(fd, start);
      upload = new Upload(session, fd, session.isText);
      return upload;
    } finally {
      if (upload === null) closeSync(fd);
    }
  });
}

function fileStats(session: FtpSession, argument: string): Stats | null {
  const stats = session.server.tree.stat(session.resolve(argument));
  return stats.isFile() ? stats : null;
}

function quoted(path: string): string {
  return `"${path.replaceAll('"', '""')}"`;
}

function changeDirectory(session: FtpSession, argument: string): string {
  const path = session.resolve(argument);
  if (!session.server.tree.stat(path).isDirectory()) return '550 Not a directory';
  session.directory = path;
  return '250 Done';
}

const IN_BINARY_ONLY = '504 Say TYPE I first';
const TOO_FAR = '554 The file is not that long';

// ---------------------------------------------------------------------------------------------
// The commands.

/** @returns the reply; null: it has been sent already, or will be later */
type Run = (session: FtpSession, argument: string) => string | null;

const COMMANDS = new Map<string, { access: Access; run: Run }>();

/** @param names the second name is used by old clients */
function command(names: string, access: Access, run: Run): void {
  for (const name of names.split(' ')) COMMANDS.set(name, { access, run });
}

const WHILE_BUSY: ReadonlySet<string> = new Set(['ABOR', 'NOOP', 'QUIT', 'STAT']);
const INSTEAD_OF_EPSV: ReadonlySet<string> = new Set(['EPRT', 'PASV', 'PORT']);

const FEATURES = [
  ...['EPRT', 'EPSV', 'MDTM', 'MLST type*;size*;modify*;', 'REST STREAM', 'SIZE', 'TVFS', 'UTF8'],
];

// The session.

command('USER', 'none', (session, name) => {
  session.access = 'none';
  session.userName = name;
  return '331 And your password?';
});

command('PASS', 'none', (session, password) =>
  session.userName === '' ? '503 Say USER first' : session.logIn(password),
);

command('QUIT', 'none', (session) => {
  session.leave('221 Goodbye');
  return null;
});

command('NOOP', 'none', () => '200 Done');
command('SYST', 'none', () => '215 UNIX Type: L8');
command('FEAT', 'none', () =>
  ['211-Features', ...FEATURES.map((name) => ` ${name}`), '211 End'].join(LINE_END),
);
command('HELP', 'none', () => `214 ${[...COMMANDS.keys()].join(' ')}`);
command('OPTS', 'none', (_, option) =>
  /^utf8 on$/i.test(option) ? '200 Done' : '501 No such option',
);
command('STAT', 'read', ({ directory }) => `211 In ${quoted(directory)}`);

// Directories and modes.

command('PWD XPWD', 'read', ({ directory }) => `257 ${quoted(directory)}`);
command('CWD XCWD', 'read', changeDirectory);
command('CDUP XCUP', 'read', (session) => changeDirectory(session, '..'));

command('TYPE', 'read', (session, type) => {
  if (!/^(A( N)?|I|L 8)$/i.test(type)) return '504 A or I';
  session.isText = /^A/i.test(type);
  return '200 Done';
});

command('STRU', 'read', (_, structure) => (/^F$/i.test(structure) ? '200 Done' : '504 Only F'));
command('MODE', 'read', (_, mode) => (/^S$/i.test(mode) ? '200 Done' : '504 Only S'));
command('ALLO', 'read', () => '202 There is no need');

command('REST', 'read', (session, start) => {
  if (session.isText) return IN_BINARY_ONLY;
  if (!/^\d{1,15}$/.test(start)) return '501 That is no place in a file';
  session.restartAt = Number(start);
  return `350 The next transfer begins at ${start}`;
});

// The data connection.

command('PASV', 'read', (session) => {
  const host = hostOf(session.localAddress);
  if (isIPv6(host)) return '425 Say EPSV';
  const port = session.listenForData();
  return `227 Call (${host.replaceAll('.', ',')},${port >> 8},${port & 0xff})`;
});

command('EPSV', 'read', (session, protocol) => {
  if (/^ALL$/i.test(protocol)) {
    session.hasOnlyEpsv = true;
    return '200 Done';
  }
  const own = isIPv6(hostOf(session.localAddress)) ? '2' : '1';
  if (protocol !== '' && protocol !== own) return `522 Only (${own})`;
  return `229 Call (|||${session.listenForData()}|)`;
});

command('PORT', 'read', (session, argument) => {
  const numbers = argument.split(',').map(Number);
  const [high = NaN, low = NaN] = numbers.slice(4);
  if (!/^\d+(,\d+){5}$/.test(argument) || low > 255) return '501 Six numbers';
  return setDataAddress(session, numbers.slice(0, 4).join('.'), high * 256 + low);
});

command('EPRT', 'read', (session, argument) => {
  const [, , host = '', port = ''] =
    /^([!-~])[12]\1([\d.:a-f]+)\1(\d{1,5})\1$/i.exec(argument) ?? [];
  if (!isIP(host)) return '501 |1|address|port| or |2|address|port|';
  return setDataAddress(session, host, Number(port));
});

function setDataAddress(session: FtpSession, host: string, port: number): string {
  return session.setDataAddress(host, port)
    ? '200 Done'
    : '504 Only to your own address, from 1024 on';
}

command('ABOR', 'read', (session) => session.abort());

// Files.

command('LIST', 'read', (session, path) => sendList(session, path, longLine));
command('NLST', 'read', (session, path) => sendList(session, path, ({ name }) => name));
command('MLSD', 'read', (session, path) => sendList(session, path, facts));

command('MLST', 'read', (session, argument) => {
  const path = session.resolve(argument);
  const entry = { name: path, stats: session.server.tree.stat(path) };
  return ['250-It is', ` ${facts(entry)}`, '250 End'].join(LINE_END);
});

command('SIZE', 'read', (session, argument) => {
  if (session.isText) return IN_BINARY_ONLY;
  const stats = fileStats(session, argument);
  return stats === null ? NO_FILE : `213 ${stats.size}`;
});

command('MDTM', 'read', (session, argument) => {
  const stats = fileStats(session, argument);
  return stats === null ? NO_FILE : `213 ${timestamp(stats.mtime)}`;
});

const NO_FILE = '550 Not a file';

command('RETR', 'read', (session, argument) =>
  session.transfer((start) => {
    const fd = session.server.tree.open(session.resolve(argument), O_RDONLY);
    const file = new FileProducer(fd, { start });
    if (start > fstatSync(fd).size) {
      file.close();
      return TOO_FAR;
    }
    return new Download(session, session.isText ? new TextProducer(file) : file);
  }),
);

command('STOR', 'write', (session, path) => receive(session, path, false));
command('APPE', 'write', (session, path) => receive(session, path, true));

command('MKD XMKD', 'write', (session, argument) => {
  const path = session.resolve(argument);
  session.server.tree.makeDirectory(path);
  return `257 ${quoted(path)}`;
});

command('RMD XRMD', 'write', (session, path) => {
  session.server.tree.removeDirectory(session.resolve(path));
  return '250 Done';
});

command('DELE', 'write', (session, path) => {
  session.server.tree.removeFile(session.resolve(path));
  return '250 Done';
});

command('RNFR', 'write', (session, argument) => {
  const path = session.resolve(argument);
  session.server.tree.stat(path);
  session.renamed = path;
  return '350 And what shall it be?';
});

command('RNTO', 'write', (session, path) => {
  const { renamed } = session;
  if (renamed === null) return '503 Say RNFR first';
  session.renamed = null;
  session.server.tree.rename(renamed, session.resolve(path));
  return '250 Done';
});

function accountOf(user: string): Account | null {
  const [, name = '', password = ''] = /^([^:]+):(.+)$/.exec(user) ?? [];
  if (name === '' && user !== '') {
    throw Object.assign(new Error('--user takes NAME:PASSWORD'), { code: 'ERR_INVALID_ARG_VALUE' });
  }
  return name === '' ? null : { name, password };
}

if (require.main === module) {
  run({
    name: 'ftp-server',
    about: 'Serves the files of a directory by FTP.',
    options: {
      ...listenOptions(2121),
      root: { default: '.', argument: 'PATH', help: 'the directory' },
      user: {
        default: '',
        argument: 'NAME:PASSWORD',
        help: 'the user who may write (default: none)',
      },
    },
    start: ({ host, port, root, user }) =>
      new FtpServer({ host, port }, familyOf(host), new FileTree(root), accountOf(user)),
  });
}
