// Fetches many URLs at once: one channel for each, all in one map, and one line of output for each result.
// On a terminal a bar shows the progress.
//
// A Fetch is one connection that requests one URL and reads one response. `fetchUrl` follows redirects. A
// Fetcher keeps a given number of them running. A Fetch that ends reports its result before it closes, so
// that the next channel is in the map already: a loop ends when its map is empty.
//
// There is no TLS here.

import { closeSync, openSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type ChannelMap, callEvery } from 'asyncore';
import { type Framing, framingOf, type Headers, HttpError, MessageChat } from './support/http';
import { run } from './support/program';

const STATUS_LINE = /^HTTP\/1\.\d ([1-5]\d\d)(?: [\t -~\x80-\xff]*)?$/;
const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);
const MOST_REDIRECTS = 10;
/** Interim responses precede the actual one: 100 Continue, 103 Early Hints. */
const MOST_INTERIM = 100;

export interface Response {
  readonly status: number;
  readonly headers: Headers;
}

export interface FetchOptions {
  /**
   * How long the fetch may make no progress, in ms. Only the head of the response, once complete, and the
   * bytes of its body are progress, so that a server cannot extend the time by anything else. Default: for
   * ever.
   */
  readonly timeout?: number;
  readonly map?: ChannelMap;
  /** Gets the body, piece by piece, unless the response is a redirect. */
  write(data: Buffer): void;
  /** Called once, maybe at once, with the response, whose body is complete, or with the error. */
  end(result: Response | string): void;
}

/** One request, and its response. */
class Fetch extends MessageChat {
  /** The end of the stream may be the end of the body; an aborted connection never is. */
  override allowHalfOpen = true;
  protected override readonly unfolds = true;
  #found: Response | null = null;
  #interim = 0;
  #isOver = false;

  /** @throws when the fetch cannot start */
  constructor(
    readonly url: URL,
    readonly options: Omit<FetchOptions, 'end'>,
    /** Called once. */
    readonly end: (result: Response | string) => void,
  ) {
    super(null, options.map);
    const { protocol, hostname, port } = url;
    if (protocol !== 'http:') throw new Error(`There is no ${protocol} here`);
    this.#progress();
    const host = hostname.startsWith('[') ? hostname.slice(1, -1) : hostname;
    this.connect({ host, port: port === '' ? 80 : Number(port) });
  }

  /** Not an idle timeout, which a response that keeps arriving without progress would extend. */
  #progress(): void {
    this.setDeadline(this.options.timeout ?? 0);
  }

  override handleConnect(): void {
    // A parsed URL consists of printable characters, whatever its source.
    const { host, pathname, search } = this.url;
    this.push(`GET ${pathname}${search} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
  }

  protected override foundHead(line: string, headers: Headers): Framing | null {
    const status = Number(STATUS_LINE.exec(line)?.[1]);
    if (Number.isNaN(status) || status === 101) throw new HttpError(502, 'This is no response');
    if (status < 200) {
      this.#interim += 1;
      if (this.#interim <= MOST_INTERIM) return null;
      throw new HttpError(502, 'There are too many interim responses');
    }
    this.#found = { status, headers };
    this.#progress();
    // The body of a redirect is for people, and may be endless.
    if (status === 204 || status === 304 || redirectOf(this.#found) !== null) return 0;
    return framingOf(headers) ?? 'at the end of the stream';
  }

  protected override foundBody(data: Buffer): void {
    this.#progress();
    this.options.write(data);
  }

  protected override foundEnd(): void {
    this.#end(this.#found as Response);
  }

  protected override foundMistake(mistake: HttpError): void {
    this.#end(mistake.message);
  }

  override handleEof(): void {
    if (this.endsHere) this.foundEnd();
    else this.handleClose();
  }

  override handleClose(): void {
    this.#end('The server closed the connection too early');
  }

  override handleTimeout(): void {
    this.#end(`Nothing came for ${this.options.timeout} ms`);
  }

  override handleError(error: unknown): void {
    this.#end((error as Error).message);
  }

  #end(result: Response | string): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.end(result);
    this.close();
  }
}

/** GETs a URL, and follows redirects. */
export function fetchUrl(url: string, options: FetchOptions): void {
  const fetch = (target: string, base: URL | undefined, redirectsLeft: number): void => {
    try {
      const from = new URL(target, base);
      new Fetch(from, options, (result) => {
        const location = typeof result === 'string' ? null : redirectOf(result);
        if (location === null) options.end(result);
        else if (redirectsLeft === 0) options.end('There are too many redirects');
        else fetch(location, from, redirectsLeft - 1);
      });
    } catch (error) {
      options.end((error as Error).message);
    }
  };
  fetch(url, undefined, MOST_REDIRECTS);
}

/** The Location of a redirect. It may contain UTF-8, of which each byte is encoded as it is. */
function redirectOf({ status, headers }: Response): string | null {
  const location = REDIRECTS.has(status) ? headers.get('location') : undefined;
  if (location === undefined) return null;
  return location.replace(/[\x80-\xff]/g, (byte) => `%${byte.charCodeAt(0).toString(16)}`);
}

/** The result for a URL. */
export interface Outcome {
  readonly url: string;
  /** Length of the body, in bytes. */
  readonly bytes: number;
  /** In ms. */
  readonly time: number;
  /** The status, or the error. */
  readonly result: number | string;
}

export interface FetcherOptions {
  /** How many fetches run at a time; 0: all. */
  readonly parallel: number;
  /** The folder for the bodies, named 1, 2, 3 in the order of the URLs; '': bodies are dropped. */
  readonly folder: string;
  readonly timeout?: number;
  readonly map?: ChannelMap;
  /** Called for each result, as it arrives. */
  tell(outcome: Outcome): void;
}

/** Fetches all these URLs, whatever happens to any of them. */
export class Fetcher {
  done = 0;
  bytes = 0;
  readonly #queue: IterableIterator<[number, string]>;
  readonly #most: number;
  readonly #start = performance.now();
  #open = 0;
  #isFilling = false;

  constructor(
    readonly urls: readonly string[],
    readonly options: FetcherOptions,
  ) {
    this.#queue = urls.entries();
    this.#most = options.parallel || Infinity;
    this.#fill();
  }

  /** Starts as many fetches as allowed. A fetch that ends at once does not re-enter this. */
  #fill(): void {
    if (this.#isFilling) return;
    this.#isFilling = true;
    while (this.#open < this.#most) {
      const { value, done } = this.#queue.next();
      if (done === true) break;
      this.#open += 1;
      this.#fetch(...(value as [number, string]));
    }
    this.#isFilling = false;
  }

  #fetch(index: number, url: string): void {
    const { folder } = this.options;
    const start = performance.now();
    let fd: number | null = null;
    let bytes = 0;
    // Opened late: a fetch that brings no body leaves the file as it was.
    const open = (): void => {
      if (folder !== '') fd ??= openSync(join(folder, String(index + 1)), 'w');
    };
    const end = (found: Response | string): void => {
      let result = typeof found === 'string' ? found : found.status;
      try {
        // The body may be empty.
        if (typeof result === 'number') open();
      } catch (error) {
        result = (error as Error).message;
      }
      if (fd !== null) closeSync(fd);
      this.done += 1;
      this.#open -= 1;
      this.options.tell({ url, bytes, time: performance.now() - start, result });
      this.#fill();
    };
    const write = (data: Buffer): void => {
      open();
      bytes += data.length;
      this.bytes += data.length;
      // Writes everything, although write(2) may write less.
      if (fd !== null) writeFileSync(fd, data);
    };
    fetchUrl(url, { ...this.options, write, end });
  }

  /** `[#####     ] 5 of 10, 1.2 MB, 3.4 MB/s` */
  toString(): string {
    const width = 30;
    const filled = Math.floor((width * this.done) / this.urls.length);
    const megabytes = this.bytes / 1e6;
    const rate = megabytes / ((performance.now() - this.#start) / 1000);
    return (
      `[${'#'.repeat(filled).padEnd(width)}] ${this.done} of ${this.urls.length}, ` +
      `${megabytes.toFixed(1)} MB, ${rate.toFixed(1)} MB/s`
    );
  }
}

// ---------------------------------------------------------------------------------------------
// The program.

const CLEAR_LINE = '\r\x1b[K';

function lineOf({ url, bytes, time, result }: Outcome): string {
  if (typeof result === 'string') return `---  ${url}  ${result}\n`;
  return `${result}  ${url}  ${bytes} bytes, ${time.toFixed(0)} ms\n`;
}

/** Fetches the URLs, and shows a bar below the results if the output is a terminal. */
function fetchAndTell(
  urls: readonly string[],
  options: Pick<FetcherOptions, 'parallel' | 'timeout' | 'folder'>,
): void {
  const { isTTY } = process.stderr;
  const draw = (bar: string): void => {
    if (isTTY) process.stderr.write(`${CLEAR_LINE}${bar}`);
  };
  const fetcher = new Fetcher(urls, {
    ...options,
    tell: (outcome) => {
      draw('');
      process.stdout.write(lineOf(outcome));
      const { result } = outcome;
      if (typeof result === 'string' || result >= 400) process.exitCode = 1;
    },
  });
  callEvery(100, () => {
    // The last fetch may have ended in this pass.
    if (fetcher.done < urls.length) draw(String(fetcher));
  });
}

if (require.main === module) {
  run({
    name: 'http-client',
    about: 'Fetches URLs, many at once.',
    options: {
      parallel: { default: 50, argument: 'N', help: 'how many at once; 0: all' },
      timeout: {
        default: 30,
        argument: 'SECONDS',
        help: 'without progress before a fetch fails; 0: no limit',
      },
      output: { default: '', argument: 'FOLDER', help: 'stores the bodies there, as 1, 2, 3' },
    },
    words: 'URL...',
    start: ({ parallel, timeout, output }, urls) => {
      const options = { parallel, timeout: timeout * 1000, folder: output };
      fetchAndTell(urls, options);
      return null;
    },
  });
}
