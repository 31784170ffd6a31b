// Churn at full speed over TCP, and what is left of it: nothing.
//
//   npm run soak -- [--seconds 600] [--callers 40]
//
// A server in one process, callers in another, both on the library, under loop(). Each connection lives
// for a few records and ends in one of the ways there are. Every two seconds or so all callers stop, and
// when the last one has gone, and garbage has been collected, both processes tell what they hold.
//
// It is the medians of samples that are compared, those after the first minute (a tenth of the time, if
// that is less) with the last ones: RSS and heap may have grown by 5 %, descriptors and handles by none.
// RSS swings by a few per cent by itself, so the range is printed beside it. What malloc(3) has been given
// back and keeps, in pieces of all sizes, is given to the kernel before: it is in nobody's use.

import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import {
  type Address,
  AsyncChat,
  ChannelMap,
  Dispatcher,
  type InternetAddress,
  loop,
  SO_LINGER,
  SOL_SOCKET,
  type Socket,
} from 'asyncore';
import koffi from 'koffi';
import { Random } from './random';

interface Sample {
  rss: number;
  heap: number;
  descriptors: number;
  handles: number;
}

/** What the processes say to one another: a word, a number, a sample. */
interface Message {
  port?: number;
  sample?: Sample;
  tally?: Record<string, number>;
}

type Order = 'churn' | 'rest' | 'sample' | { port: number; callers: number };

/** How a connection ends. */
const ENDINGS = ['quit', 'end', 'reset', 'abandon', 'silent', 'endless'] as const;

const LONGEST = 2000;
const BIG = 200_000;
const RESET = Buffer.from([1, 0, 0, 0, 0, 0, 0, 0]);
const QUIET_ERRORS = new Set(['ECONNRESET', 'EPIPE', 'ECONNREFUSED']);

const map = new ChannelMap();
const tally: Record<string, number> = {};

function count(what: string, by = 1): void {
  tally[what] = (tally[what] ?? 0) + by;
}

function say(message: Message): void {
  process.send?.(message);
}

/** What an error is that neither a peer's reset nor a record too long explains. */
function judge(error: unknown): void {
  const { code = '' } = error as { code?: string };
  if (QUIET_ERRORS.has(code) || code === 'ERR_RECORD_TOO_LONG') return;
  count('errors');
  console.log(error);
}

// ---------------------------------------------------------------------------------------------
// The server: it answers each record with itself, `big` with a lot, and `quit` by hanging up.

class Echo extends AsyncChat {
  override maxRecordLength = LONGEST;

  constructor(socket: Socket) {
    super(socket, map);
    this.setTerminator('\n');
    this.setIdleTimeout(200);
    count('accepted');
  }

  override collectIncomingData(data: Buffer): void {
    this._collectIncomingData(data);
  }

  override foundTerminator(): void {
    const record = this._getData();
    if (record.equals(Buffer.from('quit'))) this.closeWhenDone();
    else if (record.equals(Buffer.from('big'))) this.#answerAtLength();
    else this.push(Buffer.concat([record, Buffer.from('\n')]));
  }

  #answerAtLength(): void {
    let left = BIG;
    this.pushWithProducer({
      more: () => {
        const size = Math.min(left, 10_000);
        left -= size;
        return 'x'.repeat(size);
      },
    });
    this.push('\n');
  }

  /** Said, so that a caller who was kept from the processor does not take it for a loss. */
  override handleTimeout(): void {
    this.push('timeout\n');
    this.closeWhenDone();
  }

  override handleError(error: unknown): void {
    judge(error);
    this.close();
  }
}

class Server extends Dispatcher {
  constructor() {
    super(null, map);
    this.createSocket();
    this.setReuseAddr();
    this.bind({ host: '', port: 0 });
    this.listen(512, { maxConnections: 100 });
  }

  override handleAccepted(socket: Socket): void {
    new Echo(socket);
  }

  override handleError(error: unknown): void {
    judge(error);
  }
}

function serve(): void {
  const server = new Server();
  void loop({ map });
  say({ port: ((server.socket as Socket).getSockName() as InternetAddress).port });
}

// ---------------------------------------------------------------------------------------------
// The callers. Each one is followed by another.

class Caller extends AsyncChat {
  readonly #ending = random.pick(ENDINGS);
  readonly #sent: string[] = [];
  #left = random.below(20);

  constructor(address: Address) {
    super(null, map);
    this.setTerminator('\n');
    this.createSocket();
    this.connect(address);
  }

  override handleConnect(): void {
    count('connections');
    if (this.#ending === 'endless') this.push('x'.repeat(LONGEST + 1));
    else if (this.#ending !== 'silent') this.#speak();
  }

  #speak(): void {
    for (let records = 1 + random.below(4); records > 0; records -= 1) {
      const record = random.chance(0.01) ? 'big' : 'y'.repeat(random.below(LONGEST));
      this.#sent.push(record === 'big' ? 'x'.repeat(BIG) : record);
      this.push(`${record}\n`);
    }
    if (random.chance(0.05)) {
      this.pauseReading();
      setTimeout(() => this.resumeReading(), 5);
    }
  }

  override collectIncomingData(data: Buffer): void {
    this._collectIncomingData(data);
  }

  override foundTerminator(): void {
    count('records');
    const record = this._getData().toString('latin1');
    if (record === 'timeout') {
      count('timeouts');
      this.#sent.length = 0;
      return;
    }
    if (record !== this.#sent.shift()) count('losses');
    this.#left -= 1;
    if (this.#ending === 'abandon' && this.#left <= 0) this.#depart();
    else if (this.#sent.length === 0 && this.#left > 0) this.#speak();
    else if (this.#sent.length === 0) this.#depart();
  }

  #depart(): void {
    if (this.#ending === 'quit') this.push('quit\n');
    else if (this.#ending === 'end') this.closeWhenDone();
    else {
      if (this.#ending === 'reset')
        this.socket?.setSockOpt?.call(this.socket, SOL_SOCKET, SO_LINGER, RESET as never);
      this.#over();
    }
  }

  override handleClose(): void {
    if (this.#sent.length > 0 && (this.#ending === 'quit' || this.#ending === 'end')) {
      count('losses');
    }
    this.#over();
  }

  #over(): void {
    this.close();
    if (churning) call();
  }

  override handleError(error: unknown): void {
    judge(error);
    this.handleClose();
  }
}

const random = new Random(process.pid);
let churning = false;
let port = 0;

/** There are 28 thousand ports, for each address that is called, and one is not free for a minute. */
function call(): void {
  const host = `127.${random.below(250)}.${random.below(250)}.${1 + random.below(250)}`;
  new Caller({ host, port });
}

// ---------------------------------------------------------------------------------------------
// Both.

/** glibc's alone. */
function findMallocTrim(): ((pad: number) => number) | null {
  try {
    return koffi.load(null).func('int malloc_trim(size_t)');
  } catch {
    return null;
  }
}

const mallocTrim = findMallocTrim();

async function takeSample(): Promise<Sample> {
  for (let round = 0; round < 3; round += 1) {
    globalThis.gc?.();
    await delay(20);
  }
  mallocTrim?.(0);
  const { rss, heapUsed } = process.memoryUsage();
  return {
    rss,
    heap: heapUsed,
    descriptors: readdirSync('/proc/self/fd').length,
    handles: process.getActiveResourcesInfo().length,
  };
}

/** A process that does what it is told. */
function obey(role: string): void {
  let callers = 0;
  if (role === 'server') serve();
  process.on('message', (order: Order) => {
    void (async () => {
      if (order === 'churn') {
        churning = true;
        for (let index = 0; index < callers; index += 1) call();
        void loop({ map }).then(() => say({}));
      } else if (order === 'rest') churning = false;
      else if (order === 'sample') {
        // The listener alone is left, or nobody.
        while (map.size > (role === 'server' ? 1 : 0)) await delay(5);
        say({ sample: await takeSample(), tally });
      } else ({ port, callers } = order);
    })();
  });
  process.on('disconnect', () => process.exit());
}

// ---------------------------------------------------------------------------------------------
// The parent.

const FIGURES = ['rss', 'heap', 'descriptors', 'handles'] as const;
const ALLOWED = { rss: 1.05, heap: 1.05, descriptors: 1, handles: 1 };
/** Samples behind each median. */
const WIDTH = 15;

async function ask(child: ChildProcess, order: Order): Promise<Message> {
  const answer = once(child, 'message', { signal: AbortSignal.timeout(60_000) });
  child.send(order);
  return (await answer)[0] as Message;
}

function median(samples: Sample[], figure: keyof Sample): number {
  const sorted = samples.map((sample) => sample[figure]).sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] as number;
}

function start(role: string): ChildProcess {
  return fork(__filename, ['--role', role], { execArgv: ['--import', 'tsx', '--expose-gc'] });
}

async function soak(seconds: number, callers: number): Promise<void> {
  const server = start('server');
  const client = start('client');
  try {
    const [{ port }] = (await once(server, 'message')) as [Message];
    client.send({ port: port as number, callers });
    const samples = { server: [] as Sample[], client: [] as Sample[] };
    let tallies: Message['tally'][] = [];
    let first = 0;
    const begin = performance.now();
    const warm = Math.min(60, seconds / 10);
    for (let elapsed = 0; elapsed < seconds; elapsed = (performance.now() - begin) / 1000) {
      const emptied = once(client, 'message', { signal: AbortSignal.timeout(60_000) });
      client.send('churn');
      await delay(2000);
      client.send('rest');
      await emptied;
      const answers = [await ask(client, 'sample'), await ask(server, 'sample')] as const;
      samples.client.push(answers[0].sample as Sample);
      samples.server.push(answers[1].sample as Sample);
      tallies = answers.map((answer) => answer.tally);
      if (elapsed < warm) first = samples.client.length - 1;
    }
    console.log(`${Math.round(performance.now() - begin)} ms, ${JSON.stringify(tallies)}`);
    for (const [role, all] of Object.entries(samples)) report(role, all, first);
    if (tallies.some((tally) => tally?.losses || tally?.errors)) process.exitCode = 1;
  } finally {
    server.kill();
    client.kill();
  }
}

function report(role: string, samples: Sample[], first: number): void {
  for (const figure of FIGURES) {
    const before = median(samples.slice(first, first + WIDTH), figure);
    const after = median(samples.slice(-WIDTH), figure);
    const held = after <= before * ALLOWED[figure];
    const change = `${((100 * (after - before)) / before).toFixed(1)} %`;
    const all = samples.slice(first).map((sample) => sample[figure]);
    const range = `${Math.min(...all)} to ${Math.max(...all)}`;
    const verdict = held ? '' : ' TOO MUCH';
    console.log(`${role} ${figure}: ${before} -> ${after} (${change}), ${range}${verdict}`);
    if (!held) process.exitCode = 1;
  }
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      seconds: { type: 'string', default: '600' },
      callers: { type: 'string', default: '40' },
      role: { type: 'string' },
    },
  });
  const [seconds, callers] = [Number(values.seconds), Number(values.callers)];
  if (!(seconds > 0) || !(callers > 0))
    throw new RangeError(`Cannot run ${JSON.stringify(values)}`);
  if (values.role === undefined) await soak(seconds, callers);
  else obey(values.role);
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
