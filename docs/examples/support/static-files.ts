// The files of a folder, as answers to GET and HEAD: whole, in part (Range), compressed, or not at all,
// because the client has the file already (If-None-Match, If-Modified-Since) or wants an older version
// (If-Match, If-Unmodified-Since).
//
// An entity tag stands for certain bytes. A small file is read at once, and its tag is a hash. To hash a
// large file would take too long, so its tag is made of the inode, the size and the time of the last change
// (ctime, because a program can set mtime to anything). Two changes within one tick of the file system's
// clock have the same time, so the tag of a file that has just changed is used only once.
//
// No request leaves the folder. A name that begins with a dot does not exist here, so there is no '..'. A
// path may lead through links, so the kernel is asked for the real path when the file is open already, and
// nothing can change in between.
//
// Files are opened and read by blocking calls. They take some microseconds each on a local disk, and too
// long on a network file system.

import { createHash } from 'node:crypto';
import {
  type BigIntStats,
  closeSync,
  constants,
  fstatSync,
  openSync,
  readFileSync,
  readlinkSync,
  realpathSync,
} from 'node:fs';
import { extname, join, sep } from 'node:path';
import { CompressedProducer, FileProducer, type Producer, SimpleProducer } from 'asyncore';
import {
  type Headers,
  HttpError,
  type HttpRequest,
  type HttpResponse,
  trim,
  wordsOf,
} from './http';
import { parseDate } from './http-date';

const TYPES: Readonly<Record<string, string>> = {
  '.css': 'text/css; charset=utf-8',
  '.gif': 'image/gif',
  '.html': 'text/html; charset=utf-8',
  '.jpg': 'image/jpeg',
  '.js': 'text/javascript; charset=utf-8',
  '.json': 'application/json',
  '.md': 'text/markdown; charset=utf-8',
  '.png': 'image/png',
  '.svg': 'image/svg+xml',
  '.ts': 'text/plain; charset=utf-8',
  '.txt': 'text/plain; charset=utf-8',
};

const COMPRESSIBLE = /^text\/|json$|xml$/;
/** Smaller files are sent uncompressed. */
const WORTH_COMPRESSING = 1024;

/** One tag of a list, which may have empty elements. Sticky, so that the first mistake ends the list. */
const TAG = /[\t ,]*(W\/)?("[!#-~\x80-\xff]*")[\t ]*(?=,|$)/gy;
/** A list of one element, for the same reason. */
const RANGE = /^bytes=[\t ,]*(\d*)-(\d*)[\t ,]*$/i;

/** A file of at most so many bytes is read at once. */
const SMALL = 64 * 1024;
/**
 * How long a change may go unnoticed by the clock of the file system, in ms: a tick of the kernel's, or two
 * seconds (FAT) where times have no fraction.
 */
const TICK = 10;
const COARSE_TICK = 2000;

/** Errors of open(2) for a path that does not exist or is not accessible. */
const NOT_FOUND: ReadonlySet<string | undefined> = new Set([
  ...['ENOENT', 'ENOTDIR', 'EACCES', 'EPERM', 'ELOOP', 'ENAMETOOLONG', 'ENXIO'],
]);

/** Without O_NONBLOCK, opening a FIFO would wait for a writer. */
const OPEN = constants.O_RDONLY | constants.O_NONBLOCK;

/** How many tags were used only once. */
let usedOnce = 0;

class OpenFile {
  readonly stats: BigIntStats;
  readonly size: number;
  /** All of a small file. */
  readonly #content: Buffer | null;
  #fd: number | null;

  /** Takes ownership of the descriptor. */
  constructor(
    fd: number,
    readonly path: string,
  ) {
    this.#fd = fd;
    try {
      this.stats = fstatSync(fd, { bigint: true });
      const isSmall = this.stats.isFile() && this.stats.size <= SMALL;
      this.#content = isSmall ? readFileSync(fd) : null;
      this.size = this.#content?.length ?? Number(this.stats.size);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** What differs between any two states of the file. */
  version(): string {
    if (this.#content !== null) {
      return createHash('sha256').update(this.#content).digest('hex').slice(0, 32);
    }
    const { ino, size, ctimeNs } = this.stats;
    const version = [ino, size, ctimeNs].map((part) => part.toString(16)).join('-');
    const tick = ctimeNs % 1_000_000_000n === 0n ? COARSE_TICK : TICK;
    if (Date.now() - Number(ctimeNs / 1_000_000n) > tick) return version;
    usedOnce += 1;
    return `${version}-${usedOnce.toString(16)}`;
  }

  /** The bytes from `start` to before `end`. The producer may take over the descriptor: call this once. */
  part(start: number, end: number): Producer {
    if (this.#content !== null) {
      return new SimpleProducer(this.#content.subarray(start, end), SMALL);
    }
    const producer = new FileProducer(this.#fd as number, { start, end });
    this.#fd = null;
    return producer;
  }

  /** Closes the descriptor, unless a producer has it. Idempotent. */
  close(): void {
    if (this.#fd !== null) closeSync(this.#fd);
    this.#fd = null;
  }
}

export class StaticFiles {
  readonly #root: string;

  /** @throws when there is no such folder */
  constructor(root: string) {
    this.#root = realpathSync(root);
  }

  /** @throws {HttpError} `404` and the like */
  respond(request: HttpRequest): HttpResponse {
    const { method, target } = request;
    if (method !== 'GET' && method !== 'HEAD') {
      return { status: 405, headers: { Allow: 'GET, HEAD' } };
    }
    const path = pathOf(target);
    const file = this.#open(path);
    if (!file.stats.isDirectory()) return respondWith(file, request);
    file.close();
    // Links in a page are relative to the URL that the browser knows.
    if (!path.endsWith('/')) return movedTo(`${path}/`, target.replace(/^[^?]*/, ''));
    return respondWith(this.#open(`${path}index.html`), request);
  }

  #open(path: string): OpenFile {
    let fd: number;
    try {
      fd = openSync(join(this.#root, path), OPEN);
    } catch (error) {
      if (NOT_FOUND.has((error as NodeJS.ErrnoException).code)) throw notFound();
      throw error;
    }
    try {
      const real = readlinkSync(`/proc/self/fd/${fd}`);
      if (real !== this.#root && !real.startsWith(join(this.#root, sep))) throw notFound();
    } catch (error) {
      closeSync(fd);
      throw error;
    }
    return new OpenFile(fd, path);
  }
}

function notFound(): HttpError {
  return new HttpError(404, 'There is no such file');
}

function movedTo(path: string, query: string): HttpResponse {
  const location = path.split('/').map(encodeURIComponent).join('/');
  return { status: 301, headers: { Location: location + query } };
}

/** The path of a target, with one slash where there are more: '//host' is another server's name. */
function pathOf(target: string): string {
  const path = target.replace(/\?.*$/s, '');
  const names = path
    .split('/')
    .filter((name) => name !== '')
    .map(decode);
  // A slash that is encoded is a part of a name, and no name has one.
  if (names.some((name) => name.startsWith('.') || /[/\0]/.test(name))) throw notFound();
  return `/${names.join('/')}${names.length > 0 && path.endsWith('/') ? '/' : ''}`;
}

function decode(name: string): string {
  try {
    return decodeURIComponent(name);
  } catch {
    throw new HttpError(400, 'The path is not encoded as it should be');
  }
}

/** Takes ownership of the file: its descriptor is closed in every case. */
function respondWith(file: OpenFile, request: HttpRequest): HttpResponse {
  try {
    return describe(file, request);
  } finally {
    file.close();
  }
}

function describe(file: OpenFile, { method, headers }: HttpRequest): HttpResponse {
  if (!file.stats.isFile()) throw notFound();
  const { path, size } = file;
  // A date in the future would hide the changes until then.
  const modified = toSecond(Math.min(Number(file.stats.mtimeMs), Date.now()));
  const type = TYPES[extname(path).toLowerCase()] ?? 'application/octet-stream';
  const canCompress = size >= WORTH_COMPRESSING && COMPRESSIBLE.test(type);
  const version = file.version();
  const continues = method === 'GET' && isSame(headers.get('if-range'), `"${version}"`, modified);
  const range = continues ? rangeOf(headers.get('range'), size) : null;
  const compresses = canCompress && range === null && takesGzip(headers);
  const tag = compresses ? `"${version}-gzip"` : `"${version}"`;
  const about = {
    ETag: tag,
    'Last-Modified': new Date(modified).toUTCString(),
    ...(canCompress ? { Vary: 'Accept-Encoding' } : {}),
  };
  const status = statusOf(headers, tag, modified);
  if (status !== 200) return { status, headers: about };
  const described = {
    ...about,
    'Content-Type': type,
    'X-Content-Type-Options': 'nosniff',
  };
  if (compresses) {
    const body = new CompressedProducer(file.part(0, size));
    return { status: 200, headers: { ...described, 'Content-Encoding': 'gzip' }, body };
  }
  const whole = { ...described, 'Accept-Ranges': 'bytes' };
  if (range === null) {
    return { status: 200, headers: whole, body: file.part(0, size), length: size };
  }
  const { start, end } = range;
  if (start >= end) return { status: 416, headers: { 'Content-Range': `bytes */${size}` } };
  return {
    status: 206,
    headers: { ...whole, 'Content-Range': `bytes ${start}-${end - 1}/${size}` },
    body: file.part(start, end),
    length: end - start,
  };
}

/** Without the milliseconds, of which the dates of HTTP know nothing. */
function toSecond(time: number): number {
  return Math.floor(time / 1000) * 1000;
}

/** 200, unless a precondition of the client decides otherwise (RFC 9110 §13.2.2). No date is NaN. */
function statusOf(headers: Headers, tag: string, modified: number): 200 | 304 | 412 {
  const dateOf = (name: string): number => parseDate(headers.get(name) ?? '');
  const wanted = headers.get('if-match');
  if (wanted !== undefined) {
    if (!isAmong(tag, wanted)) return 412;
  } else if (modified > dateOf('if-unmodified-since')) return 412;
  const known = headers.get('if-none-match');
  if (known !== undefined) return isAmong(tag, known, true) ? 304 : 200;
  return modified <= dateOf('if-modified-since') ? 304 : 200;
}

/** @param weakly whether a weak tag will do */
function isAmong(tag: string, tags: string, weakly = false): boolean {
  if (tags === '*') return true;
  return [...tags.matchAll(TAG)].some(([, weak, one]) => one === tag && (weakly || !weak));
}

/** Whether the part that the client has already is of this version. A date is sure when its second is over. */
function isSame(ifRange: string | undefined, tag: string, modified: number): boolean {
  if (ifRange === undefined || ifRange === tag) return true;
  return parseDate(ifRange) === modified && modified < toSecond(Date.now());
}

/**
 * The requested part, which may be empty. null: the whole file, also if the client requests several parts,
 * or the end of an empty file.
 */
function rangeOf(range: string | undefined, size: number): { start: number; end: number } | null {
  const [, first, last] = RANGE.exec(range ?? '') ?? [];
  if (first === undefined || last === undefined) return null;
  if (first === '') {
    const isWhole = last === '' || (size === 0 && Number(last) > 0);
    return isWhole ? null : { start: Math.max(size - Number(last), 0), end: size };
  }
  const end = last === '' ? size : Number(last) + 1;
  return Number(first) < end || last === ''
    ? { start: Number(first), end: Math.min(end, size) }
    : null;
}

/** Whether the client accepts gzip, with a quality above 0. */
function takesGzip(headers: Headers): boolean {
  return wordsOf(headers.get('accept-encoding')).some((word) => {
    const [name, ...parameters] = word.split(';').map(trim);
    return name === 'gzip' && !parameters.some((parameter) => /^q=0(\.0*)?$/.test(parameter));
  });
}
