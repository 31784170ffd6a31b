// A pipe that others may look into: what comes on stdin goes to stdout, and to whoever connects.
//
//   make 2>&1 | npm run -s example tail -- --port 8010 | less
//   nc 127.0.0.1 8010        from anywhere: its last lines, and then whatever comes
//
// It shows FileDispatcher: stdin and stdout are channels in one map with the sockets. As in any shell
// pipe, who reads stdout sets the pace: nothing is read while he takes nothing, and when he leaves, the
// program ends. Viewers have no such say. What waits for one is bounded, and one who lags behind
// further is put out.
//
// A viewer may end his stream and go on listening. One who has left altogether has ended it, too, and
// while there is nothing to send him, nothing tells the two apart; so the kernel asks now and then
// whether he is there (`SO_KEEPALIVE`). For a minute his own may still say so (tcp_fin_timeout).
//
// A descriptor that is non-blocking is so for all who share it: another program that reads the same
// terminal may be told EAGAIN, for as long as it is open.

import {
  AsyncChat,
  type ChannelMap,
  Dispatcher,
  FileDispatcher,
  type Handled,
  type HasDescriptor,
  type InternetAddress,
  IPPROTO_TCP,
  SO_ERROR,
  SO_KEEPALIVE,
  SOL_SOCKET,
  type Socket,
  shutdown,
  socketMap,
  TCP_KEEPCNT,
  TCP_KEEPIDLE,
  TCP_KEEPINTVL,
} from 'asyncore';
import { familyOf, listenOptions, run } from './support/program';

const NOTHING = Buffer.alloc(0);
/** How much is read at a time, in bytes. */
const PIECE = 64 * 1024;
/** How much is kept to take the last lines from, in bytes. */
const MOST_KEPT = 64 * 1024;
const LINE_END = 0x0a;
/** How often a viewer is asked in vain whether he is there. */
const TRIES = 3;

/** The end of a text, as long as it has so many lines, or so many bytes. */
export class LastLines {
  #kept: Buffer = NOTHING;

  constructor(readonly count: number) {}

  add(data: Buffer): void {
    const before = this.#kept.subarray(Math.max(0, this.#kept.length + data.length - MOST_KEPT));
    this.#kept = Buffer.concat([before, data.subarray(-MOST_KEPT)]);
  }

  /** A last line that is not complete is one of them. */
  get(): Buffer {
    let start = this.#kept.length;
    for (let left = this.count; left > 0 && start > 0; left -= 1) {
      // What precedes is the line end of the line before, or of this one.
      start = start === 1 ? 0 : this.#kept.lastIndexOf(LINE_END, start - 2) + 1;
    }
    return this.#kept.subarray(start);
  }
}

/** stdin. It is over when its writers have closed it. */
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
    return this.handleWrite();
  }

  override handleWrite(): Handled {
    const sent = this.send(this.#waiting);
    this.#waiting = this.#waiting.subarray(sent);
    return this.#ended && this.isIdle ? this.handleClose() : undefined;
  }

  /** Nothing more will be written. */
  end(): Handled {
    this.#ended = true;
    return this.isIdle ? this.handleClose() : undefined;
  }

  /** All is written, or nobody reads it any more: `| head` has left. */
  override handleClose(): Handled {
    this.close();
    return this.tail.end();
  }
}

/** Somebody who looks. What he says is ignored, and that he will say no more, too. */
class Viewer extends AsyncChat {
  override allowHalfOpen = true;
  readonly #tcp: Socket;

  constructor(
    socket: Socket,
    readonly tail: Tail,
  ) {
    super(socket, tail.map);
    this.#tcp = socket;
    this.setTerminator(null);
    socket.setSockOpt(SOL_SOCKET, SO_KEEPALIVE, 1);
    socket.setSockOpt(IPPROTO_TCP, TCP_KEEPIDLE, tail.options.silence);
    socket.setSockOpt(IPPROTO_TCP, TCP_KEEPINTVL, tail.options.silence);
    socket.setSockOpt(IPPROTO_TCP, TCP_KEEPCNT, TRIES);
  }

  override collectIncomingData(): void {}

  override foundTerminator(): void {}

  override handleEof(): void {
    this.setIdleTimeout(1000 * this.tail.options.silence);
  }

  /** There is nothing to read and nothing to write, so the loop does not hear what the kernel has. */
  override handleTimeout(): void {
    if (this.#tcp.getSockOpt(SOL_SOCKET, SO_ERROR) !== 0) this.close();
  }

  override close(): void {
    super.close();
    this.tail.viewers.delete(this);
  }
}

export interface TailOptions {
  readonly input: HasDescriptor;
  readonly output: HasDescriptor;
  /** How many lines a viewer finds. */
  readonly lines: number;
  /** After how many seconds of silence a viewer is asked whether he is there. */
  readonly silence: number;
  /** How many viewers there may be at a time: who comes then has to wait. */
  readonly maxConnections: number;
}

/** The listener, and what the channels share. */
export class Tail extends Dispatcher {
  readonly viewers = new Set<Viewer>();
  readonly output: Output;
  readonly #input: Input;
  readonly #last: LastLines;

  constructor(
    address: InternetAddress,
    family: number,
    readonly options: TailOptions,
    map: ChannelMap = socketMap,
  ) {
    super(null, map);
    this.createSocket(family);
    this.setReuseAddr();
    this.bind(address);
    this.listen(128, options);
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
    // A copy, as one who is put out leaves the set.
    for (const viewer of [...this.viewers]) if (!viewer.push(data)) viewer.close();
    return this.output.write(data);
  }

  /** Nothing will come any more. Viewers get the rest, if they take it in time. */
  async end(): Promise<void> {
    this.#input.close();
    await shutdown(this.map);
  }
}

if (require.main === module) {
  run({
    name: 'tail',
    about: 'Copies stdin to stdout, and shows it to whoever connects.',
    // stdout belongs to the data.
    tellOn: process.stderr,
    options: {
      ...listenOptions(8010),
      lines: { default: 10, argument: 'N', help: 'the last lines, which a viewer finds' },
      silence: {
        default: 30,
        argument: 'SECONDS',
        least: 1,
        // The kernel's MAX_TCP_KEEPIDLE.
        most: 32767,
        help: 'after which a viewer is asked whether he is there',
      },
      'max-connections': {
        default: 1000,
        argument: 'N',
        least: 1,
        help: 'how many viewers; who comes then has to wait',
      },
    },
    start: ({ host, port, lines, silence, 'max-connections': maxConnections }) =>
      new Tail({ host, port }, familyOf(host), {
        input: 0,
        output: 1,
        lines,
        silence,
        maxConnections,
      }),
  });
}
