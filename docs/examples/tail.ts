// A pipe with viewers: input on stdin goes to stdout, and to every client that connects.
//
//   make 2>&1 | npm run -s example tail -- --port 8010 | less
//   nc 127.0.0.1 8010        from anywhere: the last lines, and then the new ones
//
// It shows FileDispatcher: stdin and stdout are channels in one map with the sockets. As in any shell
// pipe, the reader of stdout sets the pace: while it reads nothing, nothing is read from stdin, and when it
// closes, the program ends. Viewers do not affect the pace. The output queued for a viewer is bounded, and
// a viewer that falls further behind is disconnected.
//
// A viewer may end its stream and go on reading. A viewer that has left altogether has ended its stream
// too, and the two look the same while there is nothing to send. So the kernel probes a silent viewer from
// time to time (`SO_KEEPALIVE`). The viewer's own kernel may still answer for a minute (tcp_fin_timeout).
//
// A non-blocking descriptor is non-blocking for every process that shares it: another program that reads
// the same terminal may get EAGAIN, for as long as this one runs.

import { inspect } from 'node:util';
import {
  AsyncChat,
  type ChannelMap,
  Dispatcher,
  FileDispatcher,
  type Handled,
  type HasDescriptor,
  type InternetAddress,
  IPPROTO_TCP,
  type Socket,
  SocketError,
  shutdown,
  socketMap,
  TCP_KEEPCNT,
  TCP_KEEPINTVL,
} from 'asyncore';
import { familyOf, listenOptions, run } from './support/program';

const NOTHING = Buffer.alloc(0);
/** How much is read at a time, in bytes. */
const PIECE = 64 * 1024;
/** How much of the end is kept, to take the last lines from, in bytes. */
const MOST_KEPT = 64 * 1024;
const LINE_END = 0x0a;
/** After so many unanswered probes a viewer is gone. */
const TRIES = 3;

/** The end of a text: at most so many lines, and so many bytes. */
export class LastLines {
  #kept: Buffer = NOTHING;

  constructor(readonly count: number) {}

  add(data: Buffer): void {
    const before = this.#kept.subarray(Math.max(0, this.#kept.length + data.length - MOST_KEPT));
    this.#kept = Buffer.concat([before, data.subarray(-MOST_KEPT)]);
  }

  /** An incomplete last line counts as a line. */
  get(): Buffer {
    let start = this.#kept.length;
    for (let left = this.count; left > 0 && start > 0; left -= 1) {
      // The byte before is the line end of the line before, or of this line.
      start = start === 1 ? 0 : this.#kept.lastIndexOf(LINE_END, start - 2) + 1;
    }
    return this.#kept.subarray(start);
  }
}

/** stdin. It ends when its writers have closed it. */
class Input extends FileDispatcher {
  constructor(
    file: HasDescriptor,
    readonly tail: Tail,
  ) {
    super(file, tail.map);
  }

  override readable(): boolean {
    return this.tail.output.isIdle;
  }

  override writable(): boolean {
    return false;
  }

  override handleRead(): Handled {
    const data = this.recv(PIECE);
    return data === null ? undefined : this.tail.pass(data);
  }

  override handleClose(): Handled {
    this.close();
    return this.tail.output.end();
  }

  override handleError(error: unknown): Handled {
    this.tail.fail(error);
    return this.handleClose();
  }
}

/** stdout. */
class Output extends FileDispatcher {
  #waiting: Buffer = NOTHING;
  #ended = false;

  constructor(
    file: HasDescriptor,
    readonly tail: Tail,
  ) {
    super(file, tail.map);
  }

  get isIdle(): boolean {
    return this.#waiting.length === 0;
  }

  override readable(): boolean {
    return false;
  }

  override writable(): boolean {
    return !this.isIdle;
  }

  write(data: Buffer): Handled {
    this.#waiting = data;
    try {
      return this.handleWrite();
    } catch (error) {
      // It is no error of stdin, whose handler this is called from.
      return this.handleError(error);
    }
  }

  override handleWrite(): Handled {
    const sent = this.send(this.#waiting);
    this.#waiting = this.#waiting.subarray(sent);
    return this.#ended && this.isIdle ? this.handleClose() : undefined;
  }

  /** No more data will be written. */
  end(): Handled {
    this.#ended = true;
    return this.isIdle ? this.handleClose() : undefined;
  }

  /** Everything is written, or the reader has closed: `| head` is done. */
  override handleClose(): Handled {
    this.close();
    return this.tail.end();
  }

  override handleError(error: unknown): Handled {
    this.tail.fail(error);
    return this.handleClose();
  }
}

/** A client that watches. Its input is ignored, and so is the end of its stream. */
class Viewer extends AsyncChat {
  override allowHalfOpen = true;

  constructor(
    socket: Socket,
    readonly tail: Tail,
  ) {
    super(socket, tail.map);
    this.setTerminator(null);
    const { silence } = tail.options;
    this.setKeepAlive(true, silence * 1000);
    this.setSockOpt(IPPROTO_TCP, TCP_KEEPINTVL, silence);
    this.setSockOpt(IPPROTO_TCP, TCP_KEEPCNT, TRIES);
  }

  override collectIncomingData(): void {}

  override foundTerminator(): void {}

  /** It may go on reading. */
  override handleEof(): void {}

  /** The connection is lost: `ETIMEDOUT` after the last probe. */
  override handleError(): void {
    this.close();
  }

  override close(): void {
    super.close();
    this.tail.viewers.delete(this);
  }
}

export interface TailOptions {
  readonly input: HasDescriptor;
  readonly output: HasDescriptor;
  /** How many of the last lines a new viewer gets. */
  readonly lines: number;
  /** After how many seconds of silence a viewer is probed. */
  readonly silence: number;
  /** How many viewers there may be at a time: further connections have to wait. */
  readonly maxConnections: number;
}

/**
 * The listener, and the state that the channels share. A class and not `listen()`, because it logs to
 * stderr.
 */
export class Tail extends Dispatcher {
  readonly viewers = new Set<Viewer>();
  readonly output: Output;
  readonly #input: Input;
  readonly #last: LastLines;

  constructor(
    address: InternetAddress,
    readonly options: TailOptions,
    map: ChannelMap = socketMap,
  ) {
    super(null, map);
    this.createSocket(familyOf(address.host));
    this.setReuseAddr();
    this.bind(address);
    this.listen(undefined, { maxConnections: options.maxConnections });
    this.#last = new LastLines(options.lines);
    this.output = new Output(options.output, this);
    this.#input = new Input(options.input, this);
  }

  override handleAccepted(socket: Socket): void {
    const viewer = new Viewer(socket, this);
    this.viewers.add(viewer);
    viewer.push(this.#last.get());
  }

  pass(data: Buffer): Handled {
    this.#last.add(data);
    // A copy, because a viewer that is disconnected leaves the set.
    for (const viewer of [...this.viewers]) if (!viewer.push(data)) viewer.close();
    return this.output.write(data);
  }

  /** A file cannot be read or written: the disk is full. */
  fail(error: unknown): void {
    process.stderr.write(
      `tail: ${error instanceof SocketError ? error.message : inspect(error)}\n`,
    );
    process.exitCode = 1;
  }

  /** stdout belongs to the data. */
  override logInfo(message: unknown, type = 'info'): void {
    if (!this.ignoreLogTypes.has(type)) process.stderr.write(`${type}: ${String(message)}\n`);
  }

  /** The input has ended. Viewers get the rest, if they read it in time. */
  async end(): Promise<void> {
    this.#input.close();
    await shutdown(this.map);
  }
}

if (require.main === module) {
  run({
    name: 'tail',
    about: 'Copies stdin to stdout, and to every client that connects.',
    // stdout belongs to the data.
    tellOn: process.stderr,
    options: {
      ...listenOptions(8010),
      lines: { default: 10, argument: 'N', help: 'how many of the last lines a viewer gets' },
      silence: {
        default: 30,
        argument: 'SECONDS',
        least: 1,
        // The kernel's MAX_TCP_KEEPIDLE.
        most: 32767,
        help: 'silence after which a viewer is probed',
      },
      'max-connections': {
        default: 1000,
        argument: 'N',
        least: 1,
        help: 'how many viewers; further connections have to wait',
      },
    },
    start: ({ host, port, lines, silence, 'max-connections': maxConnections }) =>
      new Tail({ host, port }, { input: 0, output: 1, lines, silence, maxConnections }),
  });
}
