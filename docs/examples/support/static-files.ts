// The files of a folder, as answers to GET and HEAD: whole, in part (Range), compressed, or not at all,
// because the client has the file already (If-None-Match, If-Modified-Since) or wants an older version
// (If-Match).
//
// No request leaves the folder. A name that begins with a dot does not exist here, so there is no '..'. A
// path may lead through links, so the kernel is asked for the real path when the file is open already, and
// nothing can change in between.
//
// Files are opened and read by blocking calls. They take some microseconds each on a local disk, and too
// long on a network file system.

import {
  closeSync,
  constants,
  fstatSync,
  openSync,
  readlinkSync,
  realpathSync,
  type Stats,
} from 'node:fs';
import { extname, join, sep } from 'node:path';
import { CompressedProducer, FileProducer } from 'asyncore';
import {
  type Headers,
  HttpError,
  type HttpRequest,
  type HttpResponse,
  trim,
  wordsOf,
} from './http';

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

/** Errors of open(2) for a path that does not exist or is not accessible. */
const NOT_FOUND: ReadonlySet<string | undefined> = new Set([
  ...['ENOENT', 'ENOTDIR', 'EACCES', 'EPERM', 'ELOOP', 'ENAMETOOLONG', 'ENXIO'],
]);

/** Without O_NONBLOCK, opening a FIFO would wait for a writer. */
const OPEN = constants.O_RDONLY | constants.O_NONBLOCK;

interface OpenFile {
  readonly fd: number;
  readonly path: string;
  readonly stats: Stats;
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
    closeSync(file.fd);
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
      return { fd, path, stats: fstatSync(fd) };
    } catch (error) {
      closeSync(fd);
      throw error;
    }
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
  let path: string;
  try {
    path = decodeURIComponent(target.replace(/\?.*$/s, ''));
  } catch {
    throw new HttpError(400, 'The path is not encoded as it should be');
  }
  const names = path.split('/').filter((name) => name !== '');
  if (path.includes('\0') || names.some((name) => name.startsWith('.'))) throw notFound();
  return `/${names.join('/')}${names.length > 0 && path.endsWith('/') ? '/' : ''}`;
}

/** Takes ownership of the file: its descriptor is closed in every case. */
function respondWith(file: OpenFile, request: HttpRequest): HttpResponse {
  let response: HttpResponse = { status: 500 };
  try {
    response = describe(file, request);
  } finally {
    if (response.body === undefined) closeSync(file.fd);
  }
  return response;
}

function describe({ fd, path, stats }: OpenFile, { method, headers }: HttpRequest): HttpResponse {
  if (!stats.isFile()) throw notFound();
  const { size, mtime } = stats;
  const type = TYPES[extname(path).toLowerCase()] ?? 'application/octet-stream';
  const canCompress = size >= WORTH_COMPRESSING && COMPRESSIBLE.test(type);
  const version = `${size.toString(16)}-${mtime.getTime().toString(16)}`;
  const range = method === 'GET' ? rangeOf(headers, size, `"${version}"`) : null;
  const compresses = canCompress && range === null && takesGzip(headers);
  const tag = compresses ? `"${version}-gzip"` : `"${version}"`;
  const about = {
    ETag: tag,
    'Last-Modified': mtime.toUTCString(),
    ...(canCompress ? { Vary: 'Accept-Encoding' } : {}),
  };
  const status = statusOf(headers, tag, about['Last-Modified']);
  if (status !== 200) return { status, headers: about };
  const described = {
    ...about,
    'Content-Type': type,
    'X-Content-Type-Options': 'nosniff',
  };
  if (compresses) {
    const body = new CompressedProducer(new FileProducer(fd, { end: size }));
    return { status: 200, headers: { ...described, 'Content-Encoding': 'gzip' }, body };
  }
  const whole = { ...described, 'Accept-Ranges': 'bytes' };
  if (range === null) {
    const body = new FileProducer(fd, { end: size });
    return { status: 200, headers: whole, body, length: size };
  }
  const { start, end } = range;
  if (start >= end) return { status: 416, headers: { 'Content-Range': `bytes */${size}` } };
  return {
    status: 206,
    headers: { ...whole, 'Content-Range': `bytes ${start}-${end - 1}/${size}` },
    body: new FileProducer(fd, { start, end }),
    length: end - start,
  };
}

/** 200, unless a precondition of the client decides otherwise (RFC 9110 §13.2.2). */
function statusOf(headers: Headers, tag: string, lastModified: string): 200 | 304 | 412 {
  const isAmong = (tags: string[]): boolean => tags.includes('*') || tags.includes(tag);
  if (headers.has('if-match') && !isAmong(wordsOf(headers.get('if-match')))) return 412;
  if (headers.has('if-none-match')) {
    // Only here a weak tag is enough.
    const known = wordsOf(headers.get('if-none-match')).map((word) => word.replace(/^w\//, ''));
    return isAmong(known) ? 304 : 200;
  }
  const since = dateOf(headers.get('if-modified-since') ?? '');
  return Date.parse(lastModified) <= since ? 304 : 200;
}

/** NaN for any other than the preferred format: V8 would accept nearly anything as a date. */
function dateOf(text: string): number {
  const date = new Date(text);
  return date.toUTCString() === text ? date.getTime() : Number.NaN;
}

/**
 * The requested part, which may be empty. null: the whole file, also if the client requests several parts
 * or has another version of the rest.
 */
function rangeOf(
  headers: Headers,
  size: number,
  tag: string,
): { start: number; end: number } | null {
  const match = /^bytes=(\d*)-(\d*)$/.exec(headers.get('range') ?? '');
  if (match === null || (headers.get('if-range') ?? tag) !== tag) return null;
  const [, first = '', last = ''] = match;
  if (first === '') {
    return last === '' ? null : { start: Math.max(size - Number(last), 0), end: size };
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
