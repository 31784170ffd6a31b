// A TCP forwarder: whoever connects to it talks to another server, bytes in and bytes out.
//
// A caller costs two channels, one on each side of the proxy, and each sends what the other has
// received. It shows the predicates at work: a side is read only while the other has nothing left to
// send. So whoever reads slowly slows down the one who sends to him, through the kernel's buffers,
// and memory holds one received piece for each direction of a pair, never more.
//
// What ends is passed on as it has ended. The end of a stream is the end of the stream on the other
// side, while the other direction goes on. A connection that breaks is broken on the other side, too:
// an end would say there that all has come.

import {
  type Address,
  type ChannelMap,
  Dispatcher,
  type Handled,
  type InternetAddress,
  IPPROTO_TCP,
  SHUT_WR,
  SO_LINGER,
  SOL_SOCKET,
  Socket,
  socketMap,
  TCP_NODELAY,
} from 'asyncore';
import { familyOf, listenOptions, run } from './support/program';

const NOTHING = Buffer.alloc(0);
/** How much is read at a time, in bytes. */
const PIECE = 64 * 1024;
/** How finely a limit is kept, in ms: what may pass in this time may pass at once. */
const GRAIN = 20;
/** `struct linger { l_onoff: 1, l_linger: 0 }`: close() will reset the connection. */
const RESET = Buffer.from(new Int32Array([1, 0]).buffer);

export interface Limits {
  /** Bytes in a second, in each direction of each connection. Default: as fast as it goes. */
  readonly rate?: number;
  /** After how many ms without a byte a connection is broken, or given up; 0, the default: never. */
  readonly idle?: number;
}

/** One side of a connection through the proxy. */
export class Side extends Dispatcher {
  override allowHalfOpen = true;
  readonly #tcp: Socket;
  readonly #rate: number;
  #other: Side = this;
  /** What the other side has received and the kernel has not taken here. */
  #output: Buffer = NOTHING;
  /** The time (performance.now()) up to which the limit is used up. */
  #usedUntil = 0;

  constructor(socket: Socket, map: ChannelMap, { rate = Infinity, idle = 0 }: Limits) {
    super(socket, map);
    this.#tcp = socket;
    this.#rate = rate;
    // Who has waited for more to send with it has done so before it came here.
    socket.setSockOpt(IPPROTO_TCP, TCP_NODELAY, 1);
    this.setIdleTimeout(idle);
  }

  join(other: Side): void {
    this.#other = other;
    other.#other = this;
  }

  override readable(): boolean {
    return this.connected && this.#other.connected && this.#other.#output.length === 0;
  }

  override writable(): boolean {
    return this.connecting || this.#output.length > 0;
  }

  /**
   * These predicates need not be asked at every tick, which would cost a proxy with thousands of idle
   * connections dearly: whatever they look at tells both sides when it changes.
   */
  override tracksInterest(): boolean {
    return true;
  }

  override handleConnect(): void {
    this.#other.interestChanged();
  }

  override handleRead(): void {
    const data = this.recv(this.#pieceSize());
    if (data === null) return;
    this.#payFor(data.length);
    this.#other.#forward(data);
  }

  override handleWrite(): void {
    this.#forward(this.#output);
  }

  #forward(data: Buffer): void {
    const sent = this.send(data);
    const left = sent === data.length ? NOTHING : data.subarray(sent);
    const changed = (left.length === 0) !== (this.#output.length === 0);
    this.#output = left;
    if (!changed) return;
    this.interestChanged();
    this.#other.interestChanged();
  }

  #pieceSize(): number {
    return Math.max(1, Math.min(PIECE, Math.floor((this.#rate * GRAIN) / 1000)));
  }

  /** A leaky bucket, kept as a time. A timer comes late, so a little may be made up for. */
  #payFor(length: number): void {
    const now = performance.now();
    this.#usedUntil = Math.max(this.#usedUntil, now - GRAIN) + (length / this.#rate) * 1000;
    if (this.#usedUntil <= now) return;
    this.pauseReading();
    setTimeout(() => this.resumeReading(), this.#usedUntil - now);
  }

  /** All that came before it has been sent, or this side would not have been read. */
  override handleEof(): void {
    if (!this.#other.inputEnded) this.#other.#tcp.shutdown(SHUT_WR);
    else for (const side of [this, this.#other]) side.close();
  }

  /** A connection goes on until it ends, or until the deadline of the shutdown. */
  override handleShutdown(): void {}

  /** The connection is broken on this side, or nothing has moved for too long. */
  override handleClose(): void {
    for (const side of [this, this.#other]) {
      side.#tcp.setSockOpt(SOL_SOCKET, SO_LINGER, RESET);
      side.close();
    }
  }
}

export class TcpProxy extends Dispatcher {
  constructor(
    address: Address,
    family: number,
    readonly target: InternetAddress,
    readonly limits: Limits = {},
    map: ChannelMap = socketMap,
  ) {
    super(null, map);
    this.createSocket(family);
    this.setReuseAddr();
    this.bind(address);
    this.listen();
  }

  override handleAccepted(socket: Socket): Handled {
    const { target, limits, map } = this;
    const far = new Side(Socket.socket(familyOf(target.host)), map, limits);
    const near = new Side(socket, map, limits);
    near.join(far);
    try {
      far.connect(target);
    } catch (error) {
      return far.handleError(error);
    }
  }
}

if (require.main === module) {
  run({
    name: 'proxy',
    about: 'Forwards TCP connections to another server.',
    options: {
      ...listenOptions(8009),
      to: {
        default: { host: '127.0.0.1', port: 8080 },
        argument: 'HOST:PORT',
        help: 'the server',
      },
      rate: {
        default: 0,
        argument: 'N',
        help: 'bytes in a second, for each direction of each connection; 0 sets no limit',
      },
      idle: {
        default: 0,
        argument: 'MS',
        help: 'breaks a connection on which nothing has moved for so long; 0 breaks none',
      },
    },
    start: ({ host, port, to, rate, idle }) =>
      new TcpProxy({ host, port }, familyOf(host), to, { rate: rate || Infinity, idle }),
  });
}
