// The load generators for machines without a C compiler, on our own library: the same loads as those
// of line.c, churn.c and bulk.c, with the same turn-taking (load.h). The first argument says which.
// They cost more than the C ones, and a latency has a part of theirs.

import { once } from 'node:events';
import {
  AsyncChat,
  IPPROTO_TCP,
  loop,
  SimpleProducer,
  SO_LINGER,
  SOL_SOCKET,
  type Socket,
  TCP_NODELAY,
} from 'asyncore';

const [, , which, port, seconds, ...rest] = process.argv;

/** How long the server may be silent while an answer is due, in ms. */
const PATIENCE = 10_000;
const WARM_UP = 1;
const OVER = new Error('over');

function die(what: string): never {
  process.stderr.write(`${what}\n`);
  process.exit(1);
}

/** A while under load, until its time is over and so many operations are done. */
class Phase {
  readonly #begun = performance.now();
  readonly #stop = new AbortController();
  readonly #latencies: number[] = [];
  #underWay = 0;
  #elapsed = 0;

  constructor(
    readonly seconds: number,
    readonly least: number,
  ) {}

  begin(): void {
    this.#underWay += 1;
  }

  /** @returns whether another one is to take its place */
  end(begun: number): boolean {
    const now = performance.now();
    this.#latencies.push(now - begun);
    if (now < this.#begun + this.seconds * 1000 || this.#latencies.length < this.least) return true;
    this.#underWay -= 1;
    this.#elapsed = now - this.#begun;
    if (this.#underWay === 0) this.#stop.abort(OVER);
    return false;
  }

  async run(): Promise<void> {
    let before = -1;
    const watch = setInterval(() => {
      if (this.#latencies.length === before) die(`${this.#underWay} were not answered`);
      before = this.#latencies.length;
    }, PATIENCE);
    await loop({ signal: this.#stop.signal }).catch((error) => {
      if (error !== OVER) throw error;
    });
    clearInterval(watch);
  }

  report(): string {
    const sorted = this.#latencies.sort((a, b) => a - b);
    const percentile = (share: number) => 1000 * (sorted[Math.floor(sorted.length * share)] ?? 0);
    const [p50, p99] = [percentile(0.5), percentile(0.99)];
    const [operations, seconds] = [sorted.length, this.#elapsed / 1000];
    return JSON.stringify({ operations, seconds, p50, p99, sends: 0 });
  }
}

let phase = new Phase(0, 0);

abstract class Client extends AsyncChat {
  constructor() {
    super();
    this.createSocket();
    this.socket?.setSockOpt?.(IPPROTO_TCP, TCP_NODELAY, 1);
    this.connect({ host: '127.0.0.1', port: Number(port) });
  }

  override handleConnect(): void {}

  override foundTerminator(): void {}

  override collectIncomingData(data: Buffer): void {
    this._collectIncomingData(data);
  }

  override handleClose(): void {
    die('a connection was closed');
  }

  override handleError(error: unknown): void {
    die(error instanceof Error ? `${error.stack}` : String(error));
  }
}

/** Puts the load on, for the phase that has begun. */
type Start = () => void;

// ---------------------------------------------------------------------------------------------
// Lines: line.c.

class Lines extends Client {
  #sent = 0;
  #received = 0;
  readonly #begun: number[] = [];

  constructor(readonly number: number) {
    super();
    this.setTerminator('\r\n');
  }

  #line(number: number): string {
    const hex = (value: number) => value.toString(16).padStart(8, '0');
    return `${hex(this.number)} ${hex(number)} ${'0'.repeat(44)}`;
  }

  sendLine(): void {
    this.#begun.push(performance.now());
    this.push(`${this.#line(this.#sent)}\r\n`);
    this.#sent += 1;
  }

  override foundTerminator(): void {
    const line = this._getData().toString('latin1');
    const begun = this.#begun.shift();
    if (begun === undefined || line !== this.#line(this.#received)) die(`not an echo: ${line}`);
    this.#received += 1;
    if (phase.end(begun)) this.sendLine();
  }
}

/** A connection that has had an answer has been accepted. A batch fits any backlog. */
async function openAll(count: number): Promise<Lines[]> {
  const all: Lines[] = [];
  while (all.length < count) {
    phase = new Phase(0, 0);
    for (let left = Math.min(100, count - all.length); left > 0; left -= 1) {
      const lines = new Lines(all.length);
      phase.begin();
      lines.sendLine();
      all.push(lines);
    }
    await phase.run();
  }
  return all;
}

async function startLines(active: number, inFlight: number, idle: number): Promise<Start> {
  const all = await openAll(idle + active);
  return () => {
    for (const lines of all.slice(idle)) {
      for (let left = inFlight; left > 0; left -= 1) {
        phase.begin();
        lines.sendLine();
      }
    }
  };
}

// ---------------------------------------------------------------------------------------------
// Connections that live for one line: churn.c.

const RESET = Buffer.from(new Int32Array([1, 0]).buffer);

let visits = 0;

class Visit extends Client {
  readonly #begun = performance.now();
  readonly #line = `${String(visits).padStart(62, '0')}\r\n`;

  constructor() {
    super();
    visits += 1;
    this.setTerminator(null);
    this.push(this.#line);
  }

  override handleClose(): void {
    const got = this._getData().toString('latin1');
    if (got !== this.#line) die(`not an echo: ${got}`);
    (this.socket as Socket).setSockOpt(SOL_SOCKET, SO_LINGER, RESET);
    this.close();
    if (phase.end(this.#begun)) new Visit();
  }
}

function startVisits(atOnce: number): Start {
  return () => {
    for (let left = atOnce; left > 0; left -= 1) {
      phase.begin();
      new Visit();
    }
  };
}

// ---------------------------------------------------------------------------------------------
// Large amounts: bulk.c.

class Bulk extends Client {
  readonly #body: Buffer;
  #at = 0;
  #begun = 0;

  constructor(
    readonly echo: boolean,
    mebibytes: number,
  ) {
    super();
    const pattern = Buffer.from(Array.from({ length: 251 }, (_, index) => index));
    this.#body = Buffer.alloc(mebibytes * 1024 * 1024, pattern);
    this.setTerminator(null);
  }

  next(): void {
    this.#at = 0;
    this.#begun = performance.now();
    if (this.echo) this.pushWithProducer(new SimpleProducer(this.#body, 65536));
    else this.push('fetch\r\n');
  }

  override collectIncomingData(data: Buffer): void {
    const end = this.#at + data.length;
    if (end > this.#body.length || data.compare(this.#body, this.#at, end) !== 0) {
      die(`not the body, at byte ${this.#at}`);
    }
    this.#at = end;
    if (end === this.#body.length && phase.end(this.#begun)) this.next();
  }
}

function startBulk(what: string | undefined, mebibytes: number): Start {
  const bulk = new Bulk(what === 'echo', mebibytes);
  return () => {
    phase.begin();
    bulk.next();
  };
}

// ---------------------------------------------------------------------------------------------

async function bearDown(start: Start, forSeconds: number, least: number): Promise<void> {
  phase = new Phase(forSeconds, least);
  start();
  await phase.run();
}

async function main(): Promise<void> {
  const [first = 0, second = 0, third = 0] = rest.map(Number);
  const start =
    which === 'line'
      ? await startLines(first, second, third)
      : which === 'churn'
        ? startVisits(first)
        : startBulk(rest[0], second);
  await bearDown(start, WARM_UP, which === 'bulk' ? Math.ceil(1280 / second) : 10_000);
  console.log('ready');
  await once(process.stdin, 'data');
  await bearDown(start, Number(seconds), 0);
  // No connection may be closed before the bench has read the server's account, and ends this.
  console.log(phase.report());
}

void main();
