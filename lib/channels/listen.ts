// A server in one line: a listener that hands each connection to a function.

import { badType, checkBoolean, checkOptions, checkSignal } from '../errors';
import { type Address, locate } from '../kernel/address';
import {
  AF_INET6,
  AF_UNIX,
  IPPROTO_IPV6,
  IPV6_V6ONLY,
  SO_REUSEPORT,
  SOL_SOCKET,
} from '../kernel/platform/constants';
import { Socket } from '../kernel/socket';
import { type ChannelMap, checkMap, socketMap } from '../loop/channel-map';
import type { ListenLimits } from './accept';
import { beforeClose, Dispatcher } from './dispatcher';
import type { Handled } from './handlers';

/** Options of `listen`. */
export interface ListenOptions extends ListenLimits {
  /** How many connections may wait unaccepted. Default 511; the kernel's limit is net.core.somaxconn. */
  backlog?: number | undefined;
  /** Whether the address can be used again at once after the server ends (`SO_REUSEADDR`). Default true. */
  reuseAddr?: boolean | undefined;
  /** Whether several listeners, in several processes, share the port (`SO_REUSEPORT`). Default false. */
  reusePort?: boolean | undefined;
  /** Whether a listener at `::` leaves IPv4 alone (`IPV6_V6ONLY`). Default false. */
  ipv6Only?: boolean;
  /**
   * Whether the connections send small pieces at once (`TCP_NODELAY`), see `setNoDelay`. Default false.
   * Without effect on a Unix path.
   */
  noDelay?: boolean | undefined;
  /** Whether the file of a Unix path goes when the listener closes. Default true. */
  unlink?: boolean | undefined;
  /** The map that the listener enters. Default `socketMap`. */
  map?: ChannelMap | undefined;
  /** Closes the listener when it is aborted. Its connections go on. */
  signal?: AbortSignal | undefined;
}

const ACTION = 'listen';

const OPTIONS = {
  backlog: true,
  maxConnections: true,
  maxConnectionsPerAddress: true,
  reuseAddr: true,
  reusePort: true,
  ipv6Only: true,
  noDelay: true,
  unlink: true,
  map: true,
  signal: true,
} as const;

/** What a socket that is given has behind it. */
const BEFORE_BIND = ['reuseAddr', 'reusePort', 'ipv6Only', 'unlink'] as const;

/** What is called with each connection. */
export type AcceptHandler = (socket: Socket, address: Address) => unknown;

class Listener extends Dispatcher {
  readonly #accepted: AcceptHandler;
  readonly #signal: AbortSignal | undefined;

  constructor(accepted: AcceptHandler, map: ChannelMap, signal: AbortSignal | undefined) {
    super(null, map);
    this.#accepted = accepted;
    this.#signal = signal;
    signal?.addEventListener('abort', this.#abort);
  }

  readonly #abort = (): void => this.close();

  override handleAccepted(socket: Socket, address: Address): Handled {
    return this.#accepted(socket, address) as Handled;
  }

  override handleClose(): Handled {
    this.close();
  }

  override [beforeClose](): void {
    this.#signal?.removeEventListener('abort', this.#abort);
  }
}

/**
 * Makes a listener: a socket of the address's family that is bound and listens, and a channel for it. It
 * calls `accepted` with each connection. An error of `accepted`, or its promise's rejection, goes to the
 * log and costs that peer its connection.
 *
 * @param address `{ host, port }` or `{ path }`; or a socket that is bound, or listens already, such as one
 *   that systemd has passed. The host `''` is every IPv4 address of this machine, `'::'` every address. Port
 *   0 is one that the kernel chooses; `address()` of the listener tells which. A host name is looked up,
 *   which blocks. A file that a dead process has left at a Unix path is removed
 * @param accepted makes a channel of the socket, or closes it
 * @returns the listener. `close()` ends it
 * @throws {SocketError} `EADDRINUSE`, `EACCES`, `ENOTFOUND`, …
 * @throws {TypeError|RangeError} for an invalid address or option, and for a socket that a channel holds. A
 *   socket stays open, and the caller's, whatever is thrown
 * @throws the signal's reason, when it is aborted already
 *
 * @example
 * const server = listen({ host: '127.0.0.1', port: 8007 }, (socket) => new Echo(socket), {
 *   maxConnections: 10_000,
 * });
 * await loop();
 */
export function listen(
  address: Address | Socket,
  accepted: AcceptHandler,
  options: ListenOptions = {},
): Dispatcher {
  if (typeof accepted !== 'function') throw badType(ACTION, 'a function', accepted);
  checkOptions(ACTION, 'options', options, OPTIONS);
  const { reuseAddr = true, reusePort = false, ipv6Only = false, unlink = true } = options;
  const { noDelay = false } = options;
  for (const [name, flag] of Object.entries({ reuseAddr, reusePort, ipv6Only, noDelay, unlink })) {
    checkBoolean(ACTION, `true or false as ${name}`, flag);
  }
  const { map = socketMap, signal, backlog, maxConnections, maxConnectionsPerAddress } = options;
  const limits = { maxConnections, maxConnectionsPerAddress };
  checkMap(ACTION, map);
  checkSignal(ACTION, signal);
  signal?.throwIfAborted();
  const listener = new Listener(accepted, map, signal);
  try {
    if (address instanceof Socket) take(listener, address, options);
    else bind(listener, address, { reuseAddr, reusePort, ipv6Only, unlink });
    // The kernel hands the option down to each connection.
    if (noDelay) listener.setNoDelay();
    listener.listen(backlog, limits);
    listener.addr = listener.address();
  } catch (error) {
    if (address instanceof Socket && listener.socket === address) {
      listener.delChannel();
      listener.socket = null;
    }
    listener.close();
    throw error;
  }
  return listener;
}

function take(listener: Listener, socket: Socket, options: ListenOptions): void {
  const late = BEFORE_BIND.find((name) => options[name] !== undefined);
  if (late !== undefined) {
    throw badType(ACTION, `no ${late} for a socket that is bound`, options[late]);
  }
  if (socket.owner !== null) {
    throw badType(ACTION, 'a socket that no channel holds', socket.owner);
  }
  listener.setSocket(socket);
}

function bind(
  listener: Listener,
  wanted: Address,
  { reuseAddr, reusePort, ipv6Only, unlink }: Record<(typeof BEFORE_BIND)[number], boolean>,
): void {
  const { family, address } = locate(wanted, ACTION);
  listener.createSocket(family);
  if (family !== AF_UNIX && reuseAddr) listener.setReuseAddr();
  if (reusePort) listener.setSockOpt(SOL_SOCKET, SO_REUSEPORT, true);
  if (family === AF_INET6) listener.setSockOpt(IPPROTO_IPV6, IPV6_V6ONLY, ipv6Only);
  // The channel's own `bind` removes the file of a Unix path at the end.
  if (unlink) listener.bind(address);
  else (listener.socket as Socket).bind(address);
}
