// From a host name to a connection: the addresses of the name are tried as RFC 8305 says ("happy eyeballs"),
// IPv6 and IPv4 by turns, beginning with the family of the resolver's first address. The next attempt starts
// when one fails, or after 250 ms, and the earlier ones go on meanwhile.
//
// All the while the channel stands in its map with a placeholder: a socket that goes nowhere, and that is
// suspended, so that the predicates of the channel do not matter. The attempts are channels that the registry
// knows and the Map does not show: a program sees one channel for one connection.

import { SocketError } from '../errors';
import {
  type Address,
  familyOfAddress,
  formatAddress,
  type InternetAddress,
} from '../kernel/address';
import { lookupError } from '../kernel/errno';
import {
  AF_INET6,
  AF_UNSPEC,
  IPPROTO_IPV6,
  SO_ERROR,
  SOCK_STREAM,
  SOL_SOCKET,
} from '../kernel/platform/constants';
import { Socket } from '../kernel/socket';
import { failure } from '../kernel/syscalls';
import type { Channel } from '../loop/channel';
import { type ChannelMap, registryOf } from '../loop/channel-map';
import { Alarm, NOTHING } from '../loop/deadlines';
import { routeError, routeErrorOutside, runHandler } from '../loop/dispatch';
import type { Registry } from '../loop/registry';
import { type Connecting, UNDER_WAY } from './connect';
import { lookUpAll } from './look-up';
import { detachOpened, opened, openSocket } from './opened-socket';
import type { Session } from './session';

/** How long an attempt is alone, in ms: the Connection Attempt Delay of RFC 8305. */
export const ATTEMPT_DELAY = 250;

/** One address that is tried. The loop tells how the connect has ended. */
class Attempt implements Channel {
  constructor(
    readonly search: Search,
    readonly map: ChannelMap,
    readonly socket: Socket,
    readonly address: InternetAddress,
  ) {}

  readable(): boolean {
    return false;
  }

  writable(): boolean {
    return true;
  }

  tracksInterest(): boolean {
    return true;
  }

  fileno(): number {
    return this.socket.fileno();
  }

  handleReadEvent(): void {
    this.search.ended(this);
  }

  handleWriteEvent(): void {
    this.search.ended(this);
  }

  handleExptEvent(): void {
    this.search.ended(this);
  }

  handleClose(): void {
    this.search.ended(this);
  }

  /** The selector has no room for it, for example. */
  handleError(error: unknown): void {
    this.search.failed(this, error);
  }

  close(): void {
    const fd = this.fileno();
    if (this.map.get(fd) === this) this.map.delete(fd);
    this.socket.close();
  }
}

interface Failure {
  readonly host: string;
  readonly error: unknown;
}

type SetSockOpt = Parameters<Socket['setSockOpt']>;

/** From a host name to a connection. It ends by one `handleConnect`, by one `handleError`, or by `abandon`. */
export class Search {
  readonly #channel: Connecting;
  readonly #current: () => Session;
  /** That of the placeholder. When it is replaced, the channel has no use for a connection any more. */
  readonly #session: Session;
  readonly #placeholder: Socket;
  readonly #address: InternetAddress;
  readonly #localAddress: Address | null;
  readonly #map: ChannelMap;
  readonly #registry: Registry;
  readonly #nextAttempt = new Alarm(NOTHING, () => this.#tryNext());
  /** The addresses that have not been tried, as literals. */
  #hosts: string[] = [];
  readonly #attempts = new Set<Attempt>();
  readonly #failures: Failure[] = [];
  /** What was set on the placeholder. */
  readonly #options: SetSockOpt[] = [];
  /** Cancels the look-up, and the notice of an empty map. */
  #cancel: (() => void)[] = [];
  #isOver = false;

  constructor(
    channel: Connecting,
    /** The session that the channel has now. */
    current: () => Session,
    placeholder: Socket,
    address: InternetAddress,
    localAddress: Address | null,
  ) {
    this.#channel = channel;
    this.#current = current;
    this.#session = current();
    this.#placeholder = placeholder;
    this.#address = address;
    this.#localAddress = localAddress;
    this.#map = this.#session.map;
    this.#registry = registryOf(this.#map);
  }

  start(): void {
    const { preparing } = this.#session;
    preparing.lookup = this;
    preparing.connectStarted = true;
    this.#session.suspend(Infinity);
    this.#channel.connected = false;
    this.#channel.connecting = true;
    this.#channel.addr = this.#address;
    this.#placeholder.setSockOpt = (...option: SetSockOpt) => this.#setOption(option);
    const { host } = this.#address;
    const family = this.#localAddress === null ? AF_UNSPEC : familyOfAddress(this.#localAddress);
    this.#cancel = [
      this.#registry.whenEmpty(() => this.abandon()),
      lookUpAll(this.#registry, host, family, SOCK_STREAM, (found) => this.#found(found)),
    ];
  }

  /** A socket option holds for the connection, whichever it will be. */
  #setOption(option: SetSockOpt): void {
    if (isFor(this.#placeholder, option)) {
      Socket.prototype.setSockOpt.apply(this.#placeholder, option);
    }
    this.#options.push(option);
    for (const { socket } of this.#attempts)
      if (isFor(socket, option)) socket.setSockOpt(...option);
  }

  /** @param found returns literals, or throws */
  #found(found: () => string[]): void {
    const { host } = this.#address;
    try {
      this.#hosts = byTurns(found());
    } catch (error) {
      this.#failures.push({ host, error });
    }
    try {
      this.#tryNext();
    } catch (exit) {
      routeErrorOutside(this.#channel, exit);
    }
  }

  /** Starts the next attempt. Fails when there is none, and none under way. */
  #tryNext(): void {
    this.#registry.deadlines.clear(this.#nextAttempt);
    for (;;) {
      const host = this.#hosts.shift();
      if (host === undefined) break;
      const address = { ...this.#address, host };
      this.#channel.addr = address;
      try {
        this.#start(address);
        return;
      } catch (error) {
        this.#failures.push({ host, error });
      }
    }
    if (this.#attempts.size === 0) this.#fail();
  }

  /** @throws {SocketError} when the attempt fails at once */
  #start(address: InternetAddress): void {
    const { deadlines } = this.#registry;
    const socket = openSocket(familyOfAddress(address), this.#localAddress);
    const attempt = new Attempt(this, this.#map, socket, address);
    try {
      for (const option of this.#options) {
        if (isFor(socket, option)) socket.setSockOpt(...option);
      }
      const errno = socket.connectEx(address);
      if (errno !== 0 && !UNDER_WAY.has(errno)) {
        throw failure(-errno, 'connect', formatAddress(address));
      }
    } catch (error) {
      socket.close();
      throw error;
    }
    this.#attempts.add(attempt);
    // Writable, and so reported at once, when the connection stands already.
    this.#registry.enter(socket.fileno(), attempt);
    if (this.#hosts.length > 0) deadlines.setAfter(this.#nextAttempt, ATTEMPT_DELAY);
  }

  /** An attempt is over, one way or the other. */
  ended(attempt: Attempt): void {
    const errno = attempt.socket.getSockOpt(SOL_SOCKET, SO_ERROR);
    if (errno === 0) this.#succeed(attempt);
    else this.failed(attempt, failure(-errno, 'connect', formatAddress(attempt.address)));
  }

  /** @throws {ExitNow} and nothing else */
  failed(attempt: Attempt, error: unknown): void {
    this.#failures.push({ host: attempt.address.host, error });
    this.#attempts.delete(attempt);
    attempt.close();
    this.#tryNext();
  }

  /** @throws {ExitNow} and nothing else */
  #succeed(attempt: Attempt): void {
    const channel = this.#channel;
    const session = this.#session;
    // The program may have taken the channel out by `map.delete`.
    if (this.#map.get(session.fd ?? -1) !== channel) {
      this.abandon();
      return;
    }
    this.#attempts.delete(attempt);
    this.#end();
    const { socket, address, map } = attempt;
    opened.add(socket);
    // For a moment it is seen there: the map must not be empty in between, which would end a shutdown.
    map.set(socket.fileno(), attempt);
    channel.setSocket(socket, map);
    this.#placeholder.close();
    this.#current().preparing.connectStarted = true;
    channel.addr = address;
    runHandler(channel, onConnected);
  }

  /** @throws {ExitNow} and nothing else */
  #fail(): void {
    this.#end();
    detachOpened(this.#channel, this.#session, this.#placeholder);
    routeError(this.#channel, this.#error());
  }

  /** The one failure, or one error that tells of all. */
  #error(): unknown {
    const failures = this.#failures;
    const [first] = failures;
    if (first === undefined) return lookupError('ENOTFOUND', this.#address.host);
    if (failures.length === 1) return first.error;
    const { code, errno, syscall } = (failures.at(-1) as Failure).error as SocketError;
    const list = failures.map(({ host, error }) => `${host} ${(error as SocketError).code}`);
    const text = `no address could be reached (${list.join(', ')})`;
    const error = new SocketError(code, errno, syscall, text, formatAddress(this.#address));
    return Object.assign(error, { errors: failures.map((failed) => failed.error) });
  }

  /**
   * The channel has closed, has another socket, connects elsewhere, or has left its map by the program's
   * hand.
   */
  abandon(): void {
    if (this.#isOver) return;
    this.#end();
    if (this.#session.replaced) {
      this.#placeholder.owner = null;
      this.#placeholder.close();
    } else detachOpened(this.#channel, this.#session, this.#placeholder);
  }

  #end(): void {
    this.#isOver = true;
    for (const cancel of this.#cancel) cancel();
    this.#registry.deadlines.clear(this.#nextAttempt);
    for (const attempt of this.#attempts) attempt.close();
    this.#attempts.clear();
  }
}

/** Options of IPv6 are for the attempts by IPv6. */
function isFor(socket: Socket, [level]: SetSockOpt): boolean {
  return level !== IPPROTO_IPV6 || socket.family === AF_INET6;
}

const onConnected = (channel: Channel): void => (channel as Connecting).handleConnectEvent();

const isIPv6 = (host: string): boolean => familyOfAddress({ host, port: 0 }) === AF_INET6;

/** The two families by turns, beginning with that of the first host; each in its order. */
export function byTurns(hosts: readonly string[]): string[] {
  const first = hosts.filter((host) => isIPv6(host) === isIPv6(hosts[0] as string));
  const second = hosts.filter((host) => !first.includes(host));
  return hosts
    .flatMap((_, index) => [first[index], second[index]])
    .filter((host) => host !== undefined);
}
