// An FTP server: RFC 959, with EPSV and EPRT (RFC 2428), MLSD, SIZE, MDTM and REST (RFC 3659) and names
// in UTF-8 (RFC 2640). Anonymous users may read; one optional user may write.
//
// Key points:
//
// - There are two connections. On the control connection a client and an FtpSession exchange lines. Each
//   transfer has a data connection of its own (support/ftp-data.ts). All are channels of one map, so a
//   session receives ABOR while its transfer goes on. The commands are in support/ftp-commands.ts.
// - The peer of both must be the same. A data connection is accepted only from the address of the session,
//   made only to that address, and never to a port below 1024. Otherwise a third party could fetch a file,
//   or a client could make the server connect to any host (the "FTP bounce attack", RFC 2577).
// - No path leads out of the served directory: support/file-tree.ts.

import { createHash, timingSafeEqual } from 'node:crypto';
import { isIPv6, SocketAddress } from 'node:net';
import { posix } from 'node:path';
import {
  type Address,
  AsyncChat,
  type ChannelMap,
  type Dispatcher,
  type InternetAddress,
  listen,
  SO_OOBINLINE,
  SOL_SOCKET,
  type Socket,
  socketMap,
  type TimerHandle,
} from 'asyncore';
import { FileTree } from './support/file-tree';
import {
  type Access,
  ALONE,
  COMMANDS,
  INSTEAD_OF_EPSV,
  NOT_ALONE,
  WHILE_BUSY,
} from './support/ftp-commands';
import { NOBODY, PassiveListener, refusal, type Transfer } from './support/ftp-data';
import { hostOf, listenOptions, run } from './support/program';

const LONGEST_LINE = 4096;
const MOST_LOGINS = 3;
const MOST_CONNECTIONS = 200;
const MOST_CONNECTIONS_FROM_ONE = 20;
/** Bytes of replies that may be queued. Each reply needs additional memory. */
const MOST_WAITING = 64 * 1024;
/** In ms. */
const IDLE_TIMEOUT = 5 * 60 * 1000;
const TIME_FOR_LOGIN = 2 * 60 * 1000;

const LINE_END = '\r\n';

// ---------------------------------------------------------------------------------------------
// The session.

export interface Account {
  readonly name: string;
  readonly password: string;
}

export interface FtpOptions {
  readonly tree: FileTree;
  /** The user who may write; null: nobody may. */
  readonly account: Account | null;
  /** In ms, from the beginning of a session, whatever its client says. Default: two minutes. */
  readonly timeForLogin?: number;
}

/** What the sessions of a server share. */
type Site = Required<FtpOptions>;

export class FtpSession extends AsyncChat {
  override highWaterMark = MOST_WAITING;
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
  /** Not an idle timeout, which a series of commands would extend for ever. */
  #patience: TimerHandle | null = null;
  /** The last reply, to be sent when the transfer is over; null: the session goes on. */
  #lastReply: string | null = null;

  constructor(
    socket: Socket,
    readonly site: Site,
    map: ChannelMap,
  ) {
    super(socket, map);
    // The replies before and after a transfer are small, and neither may wait for the other.
    this.setNoDelay();
    // ABOR, or a part of it, arrives as urgent data. Read in line, it is a line like any other.
    this.setSockOpt(SOL_SOCKET, SO_OOBINLINE, 1);
    this.maxRecordLength = LONGEST_LINE;
    this.setTerminator('\n');
    this.setIdleTimeout(IDLE_TIMEOUT);
    this.#expectLogin();
    this.reply('220 Ready');
  }

  /** A client that does not read its replies is not read from until it does. */
  reply(text: string): void {
    if (!this.push(text + LINE_END)) this.pauseReading();
  }

  override handleDrain(): void {
    this.resumeReading();
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
    if (ALONE.has(name) && argument.trim() !== '') return `501 ${name} takes no argument`;
    if (NOT_ALONE.has(name) && argument === '') return `501 ${name} takes an argument`;
    if (this.#transfer !== null && !WHILE_BUSY.has(name)) return '450 A transfer is under way';
    if (this.hasOnlyEpsv && INSTEAD_OF_EPSV.has(name)) return '503 Not after EPSV ALL';
    if (name !== 'RNTO') this.renamed = null;
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
    // Further input must not extend the idle timeout.
    this.pauseReading();
  }

  override handleTimeout(): void {
    if (this.#transfer === null) this.#cutOff('421 Idle for too long');
  }

  /** A part of the reply that the kernel does not take at once is dropped. */
  #cutOff(lastReply: string): void {
    this.reply(lastReply);
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

  logOut(): void {
    this.access = 'none';
    this.#expectLogin();
  }

  #expectLogin(): void {
    const giveUp = (): void => this.#cutOff('421 Not logged in for too long');
    this.#patience ??= this.callLater(this.site.timeForLogin, giveUp);
  }

  logIn(password: string): string | null {
    const { account } = this.site;
    const { userName } = this;
    if (userName === account?.name && matches(password, account.password)) this.access = 'write';
    else if (ANONYMOUS.test(userName)) this.access = 'read';
    if (this.access !== 'none') {
      this.#patience?.cancel();
      this.#patience = null;
      // Each login begins with USER.
      this.userName = '';
      return '230 Welcome';
    }
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
    const own = hostOf(this.addr);
    if (canonical(host) !== canonical(own) || !(port >= 1024 && port <= 65535)) return false;
    this.dropData();
    // With the zone of the control connection: the client's name of a zone means nothing here.
    this.#data = { host: own, port };
    return true;
  }

  /**
   * @param make is given the offset in the file. It returns the reason for a refusal, and may throw
   *   errors of the file system
   */
  transfer(make: (start: number) => Transfer | string): string | null {
    const start = this.restartAt;
    this.restartAt = 0;
    const data = this.#data;
    if (data === null) return '425 Say PASV or PORT first';
    if (data instanceof PassiveListener && !data.isOpen) return NOBODY;
    const transfer = make(start);
    if (typeof transfer === 'string') return transfer;
    this.#transfer = transfer;
    this.reply('150 Here it comes');
    if (data instanceof PassiveListener) data.serve(transfer);
    else transfer.connectTo(data);
    return null;
  }

  transferEnded(reply: string): void {
    this.#transfer = null;
    this.dropData();
    this.reply(reply);
    if (this.#lastReply !== null) this.#hangUp();
  }

  abort(): string | null {
    if (this.#transfer !== null) {
      this.#transfer.end(`426 Aborted${LINE_END}226 Aborted`);
      return null;
    }
    this.dropData();
    return '226 Aborted';
  }
}

const ANONYMOUS = /^(anonymous|ftp)$/i;

/** An IPv6 address in its shortest form, without its zone. */
function canonical(host: string): string {
  const [address = ''] = host.split('%', 1);
  return isIPv6(address) ? new SocketAddress({ address, family: 'ipv6' }).address : address;
}

/** In constant time. */
function matches(given: string, expected: string): boolean {
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(given), digest(expected));
}

export function ftpServer(
  address: Address,
  options: FtpOptions,
  map: ChannelMap = socketMap,
): Dispatcher {
  const site: Site = { timeForLogin: TIME_FOR_LOGIN, ...options };
  return listen(address, (socket) => new FtpSession(socket, site, map), {
    map,
    maxConnections: MOST_CONNECTIONS,
    maxConnectionsPerAddress: MOST_CONNECTIONS_FROM_ONE,
  });
}

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
      ftpServer({ host, port }, { tree: new FileTree(root), account: accountOf(user) }),
  });
}
