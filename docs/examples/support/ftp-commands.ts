// The commands of FTP, each with its reply. The state of a session is in ../ftp-server.ts.

import { constants, fstatSync, type Stats } from 'node:fs';
import { isIP, isIPv6 } from 'node:net';
import { posix } from 'node:path';
import { FileProducer } from 'asyncore';
import type { FtpSession } from '../ftp-server';
import type { Entry } from './file-tree';
import { Download, refusal, TextProducer, Upload } from './ftp-data';
import { hostOf } from './program';

const { O_APPEND, O_CREAT, O_RDONLY, O_WRONLY } = constants;

const LINE_END = '\r\n';

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

/** Options for `ls`, which many clients send before the path. `--` ends them. */
const OPTIONS = /^(?:-(?!- )\S* +)*(-- )?/;

/** What begins with a dash is a path, if it exists. */
function withoutOptions(session: FtpSession, argument: string): string {
  if (!argument.startsWith('-') || exists(session, argument)) return argument;
  const [options = '', end] = OPTIONS.exec(argument) ?? [];
  const path = argument.slice(options.length);
  const isOption = end === undefined && path.startsWith('-') && !exists(session, path);
  return isOption ? '' : path;
}

function exists(session: FtpSession, path: string): boolean {
  try {
    session.site.tree.stat(session.resolve(path));
    return true;
  } catch (error) {
    if (refusal(error) === null) throw error;
    return false;
  }
}

/** The list of a directory, or of one file. */
function sendList(session: FtpSession, argument: string, line: (entry: Entry) => string) {
  const { tree } = session.site;
  const path = session.resolve(argument);
  return session.transfer(() => {
    const stats = tree.stat(path);
    // For a file there is MLST.
    if (line === facts && !stats.isDirectory()) return '501 Not a directory';
    const entries = stats.isDirectory() ? tree.list(path) : [{ name: posix.basename(path), stats }];
    return new Download(session, entries.map((entry) => line(entry) + LINE_END).join(''));
  });
}

function receive(session: FtpSession, argument: string, isAppended: boolean) {
  const { tree } = session.site;
  const path = session.resolve(argument);
  return session.transfer((start) => {
    // Whatever can be refused now is refused now, and not after the client has sent the file.
    const size = tree.writableSize(path);
    if (start > 0 && size === null) return NO_FILE;
    if (start > (size ?? 0)) return TOO_FAR;
    const open = (): number => tree.open(path, O_WRONLY | O_APPEND | O_CREAT);
    return new Upload(session, open, isAppended ? Infinity : start, session.isText);
  });
}

function fileStats(session: FtpSession, argument: string): Stats | null {
  const stats = session.site.tree.stat(session.resolve(argument));
  return stats.isFile() ? stats : null;
}

function quoted(path: string): string {
  return `"${path.replaceAll('"', '""')}"`;
}

function changeDirectory(session: FtpSession, argument: string): string {
  const path = session.resolve(argument);
  if (!session.site.tree.stat(path).isDirectory()) return '550 Not a directory';
  session.directory = path;
  return '250 Done';
}

const IN_BINARY_ONLY = '504 Say TYPE I first';
const TOO_FAR = '554 The file is not that long';

// ---------------------------------------------------------------------------------------------
// The commands.

/** What a user may do. */
export type Access = 'none' | 'read' | 'write';

/** @returns the reply; null: it has been sent already, or will be later */
type Run = (session: FtpSession, argument: string) => string | null;

export const COMMANDS = new Map<string, { access: Access; run: Run }>();

/** @param names the second name is used by old clients */
function command(names: string, access: Access, run: Run): void {
  for (const name of names.split(' ')) COMMANDS.set(name, { access, run });
}

export const WHILE_BUSY: ReadonlySet<string> = new Set(['ABOR', 'NOOP', 'QUIT', 'STAT']);
/** Commands of RFC 959 and 2389 that are refused with an argument. */
export const ALONE: ReadonlySet<string> = new Set([
  ...['ABOR', 'CDUP', 'FEAT', 'NOOP', 'PASV', 'PWD', 'QUIT', 'SYST', 'XCUP', 'XPWD'],
]);
/**
 * Commands that are refused without an argument. To the others no path is the current directory; nobody
 * means to remove or to rename that.
 */
export const NOT_ALONE: ReadonlySet<string> = new Set([
  ...['DELE', 'MKD', 'RMD', 'RNFR', 'RNTO', 'USER', 'XMKD', 'XRMD'],
]);
export const INSTEAD_OF_EPSV: ReadonlySet<string> = new Set(['EPRT', 'PASV', 'PORT']);

const FEATURES = [
  ...['EPRT', 'EPSV', 'MDTM', 'MLST type*;size*;modify*;', 'REST STREAM', 'SIZE', 'TVFS', 'UTF8'],
];

// The session.

command('USER', 'none', (session, name) => {
  session.logOut();
  session.userName = name;
  return '331 And your password?';
});

command('PASS', 'none', (session, password) =>
  session.userName === '' ? '503 Say USER first' : session.logIn(password),
);

command('ACCT', 'read', () => '202 There is no need');

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
command('STAT', 'read', ({ directory }, path) =>
  path === '' ? `211 In ${quoted(directory)}` : '504 Say MLST or LIST',
);

// Directories and modes.

command('PWD XPWD', 'read', ({ directory }) => `257 ${quoted(directory)}`);
command('CWD XCWD', 'read', changeDirectory);
command('CDUP XCUP', 'read', (session) => changeDirectory(session, '..'));

command('TYPE', 'read', (session, type) => {
  if (!/^(A( N)?|I|L 8)$/i.test(type)) return '504 A or I';
  session.isText = /^A/i.test(type);
  if (session.isText) session.restartAt = 0;
  return '200 Done';
});

command('STRU', 'read', (_, structure) => (/^F$/i.test(structure) ? '200 Done' : '504 Only F'));
command('MODE', 'read', (_, mode) => (/^S$/i.test(mode) ? '200 Done' : '504 Only S'));
command('ALLO', 'read', (_, sizes) =>
  /^\d+( R \d+)?$/i.test(sizes) ? '202 There is no need' : '501 That is no size',
);

command('REST', 'read', (session, start) => {
  if (session.isText) return IN_BINARY_ONLY;
  if (!/^\d{1,15}$/.test(start)) return '501 That is no place in a file';
  session.restartAt = Number(start);
  return `350 The next transfer begins at ${start}`;
});

// The data connection.

command('PASV', 'read', (session) => {
  const host = hostOf(session.address());
  if (isIPv6(host)) return '425 Say EPSV';
  const port = session.listenForData();
  return `227 Call (${host.replaceAll('.', ',')},${port >> 8},${port & 0xff})`;
});

command('EPSV', 'read', (session, protocol) => {
  if (/^ALL$/i.test(protocol)) {
    session.hasOnlyEpsv = true;
    return '200 Done';
  }
  const own = isIPv6(hostOf(session.address())) ? '2' : '1';
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
  const [before, protocol = '', host = '', port = '', after, ...more] = argument.split(
    argument.charAt(0),
  );
  const isWhole = before === '' && after === '' && more.length === 0;
  if (!isWhole || !/^\d{1,5}$/.test(port)) return NO_ADDRESS;
  if (protocol !== '1' && protocol !== '2') return '522 Only (1,2)';
  if (isIP(host) !== (protocol === '1' ? 4 : 6)) return NO_ADDRESS;
  return setDataAddress(session, host, Number(port));
});

const NO_ADDRESS = '501 |1|address|port| or |2|address|port|';

function setDataAddress(session: FtpSession, host: string, port: number): string {
  return session.setDataAddress(host, port)
    ? '200 Done'
    : '504 Only to your own address, from 1024 on';
}

command('ABOR', 'read', (session) => session.abort());

// Files.

command('LIST', 'read', (session, argument) =>
  sendList(session, withoutOptions(session, argument), longLine),
);
command('NLST', 'read', (session, argument) =>
  sendList(session, withoutOptions(session, argument), ({ name }) => name),
);
command('MLSD', 'read', (session, path) => sendList(session, path, facts));

command('MLST', 'read', (session, argument) => {
  const path = session.resolve(argument);
  const entry = { name: path, stats: session.site.tree.stat(path) };
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
    const fd = session.site.tree.open(session.resolve(argument), O_RDONLY);
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
  session.site.tree.makeDirectory(path);
  return `257 ${quoted(path)}`;
});

command('RMD XRMD', 'write', (session, path) => {
  session.site.tree.removeDirectory(session.resolve(path));
  return '250 Done';
});

command('DELE', 'write', (session, path) => {
  session.site.tree.removeFile(session.resolve(path));
  return '250 Done';
});

command('RNFR', 'write', (session, argument) => {
  const path = session.resolve(argument);
  session.site.tree.stat(path);
  session.renamed = path;
  return '350 And what shall it be?';
});

command('RNTO', 'write', (session, path) => {
  const { renamed } = session;
  if (renamed === null) return '503 Say RNFR first';
  session.renamed = null;
  session.site.tree.rename(renamed, session.resolve(path));
  return '250 Done';
});
