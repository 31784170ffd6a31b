// A TCP forwarder: it connects each client to another server, and copies bytes in both directions.
//
// A client costs two channels, one on each side of the proxy, and each sends what the other has received.
// It shows the predicates at work: a side is read only while the other has nothing left to send. So a slow
// reader slows down its sender, through the kernel's buffers. Memory holds one received piece for each
// direction of a pair, never more.
//
// Both kinds of end are passed on. The end of a stream ends the stream on the other side, while the other
// direction goes on. An aborted connection is aborted on the other side too, because an orderly end would
// claim that all data has arrived.
//
// TCP's urgent bytes stay in their places, and are passed on as ordinary bytes.

import {
  type Address,
  type ChannelMap,
  Dispatcher,
  type Handled,
  type InternetAddress,
  type ListenLimits,
  listen,
  SHUT_WR,
  SO_LINGER,
  SO_OOBINLINE,
  SOL_SOCKET,
  Socket,
  socketMap,
} from 'asyncore';
import { familyOf, listenOptions, run } from './support/program';
import { refuseItself } from './support/self-connection';

const NOTHING = Buffer.alloc(0);
/** How much is read at a time, in bytes. */
const PIECE = 64 * 1024;
const MOST_CONNECTIONS = 10_000;
/** Granularity of a rate limit, in ms: the bytes of this time may pass at once. */
const GRAIN = 20;
/** `struct linger { l_onoff: 1, l_linger: 0 }`: close() will reset the connection. */
const RESET = Buffer.from(new Int32Array([1, 0]).buffer);

/** The default of `maxConnections` is 10,000: further connections have to wait. */
export interface Limits extends ListenLimits {
  /** Bytes per second, in each direction of each connection. Default: no limit. */
  readonly rate?: number;
  /** A connection that is idle for so many ms is aborted; 0, the default: never. */
  readonly idle?: number;
  /** A connection that lasts for so many ms is aborted, idle or not; 0, the default: never. */
  readonly life?: number;
}

/** One side of a connection through the proxy. */
export class Side extends Dispatcher {
  override allowHalfOpen = true;
  readonly #tcp: Socket;
  readonly #rate: number;
  #other: Side = this;
  /** Data that the other side has received, and the kernel has not taken on this side yet. */
  #output: Buffer = NOTHING;
  /** The time (by the clock of the map) up to which the limit is used up. */
  #usedUntil = 0;

  constructor(socket: Socket, map: ChannelMap, { rate = Infinity, idle = 0, life = 0 }: Limits) {
    super(socket, map);
    this.#tcp = socket;
    this.#rate = rate;
    // The sender has had its chance to merge small writes; the proxy must not delay them again.
    this.setNoDelay();
    this.setSockOpt(SOL_SOCKET, SO_OOBINLINE, 1);
    this.setIdleTimeout(idle);
    this.setDeadline(life);
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
   * These predicates need not be called at every tick, which would be expensive with thousands of idle
   * connections: every change of the state that they look at is reported on both sides.
   */
  override tracksInterest(): boolean {
    return true;
  }

  override handleConnect(): void {
    refuseItself(this);
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

  /** A leaky bucket, kept as a time. Timers fire late, so a small backlog may be caught up. */
  #payFor(length: number): void {
    const now = this.map.clock.now();
    this.#usedUntil = Math.max(this.#usedUntil, now - GRAIN) + (length / this.#rate) * 1000;
    if (this.#usedUntil <= now) return;
    this.pauseReading();
    this.callLater(this.#usedUntil - now, this.resumeReading);
  }

  /** An urgent byte has arrived. It is in line, and read as any other. */
  override handleExpt(): void {}

  /** All earlier data has been sent; otherwise this side would not have been read. */
  override handleEof(): void {
    if (this.#other.inputEnded) for (const side of [this, this.#other]) side.close();
    else this.#other.#endOutput();
  }

  #endOutput(): void {
    try {
      this.#tcp.shutdown(SHUT_WR);
    } catch {
      // The connection was aborted, and the loop is about to tell.
      this.handleClose();
    }
  }

  /** A connection goes on until it ends, or until the deadline of the shutdown. */
  override handleShutdown(): void {}

  /** The connection was aborted on this side, has been idle for too long, or has lasted too long. */
  override handleClose(): void {
    for (const side of [this, this.#other]) {
      side.setSockOpt(SOL_SOCKET, SO_LINGER, RESET);
      side.close();
    }
  }
}

/** @param target the server */
export function tcpProxy(
  address: Address,
  target: InternetAddress,
  limits: Limits = {},
  map: ChannelMap = socketMap,
): Dispatcher {
  const accepted = (socket: Socket): Handled => {
    const far = new Side(Socket.socket(familyOf(target.host)), map, limits);
    const near = new Side(socket, map, limits);
    near.join(far);
    try {
      far.connect(target);
    } catch (error) {
      return far.handleError(error);
    }
  };
  const { maxConnections = MOST_CONNECTIONS, maxConnectionsPerAddress } = limits;
  return listen(address, accepted, { map, maxConnections, maxConnectionsPerAddress });
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
        help: 'bytes per second, for each direction of each connection; 0: no limit',
      },
      idle: {
        default: 0,
        argument: 'MS',
        help: 'aborts a connection that is idle for so long; 0: never',
      },
      'max-connections': {
        default: MOST_CONNECTIONS,
        argument: 'N',
        least: 1,
        help: 'how many connections; further ones have to wait',
      },
    },
    start: ({ host, port, to, rate, idle, 'max-connections': maxConnections }) =>
      tcpProxy({ host, port }, to, { rate: rate || Infinity, idle, maxConnections }),
  });
}
