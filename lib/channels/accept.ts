// Accepting connections, within the limits of a listener.
//
// A listener at `maxConnections` leaves the read set. Further connections wait in the kernel's backlog,
// where they cost no descriptor. A peer whose address has reached `maxConnectionsPerAddress` cannot be
// left there, as connections from other addresses queue behind it: it is accepted and closed.

import { badType, checkInteger, checkOptions, codeOf } from '../errors';
import type { Address } from '../kernel/address';
import { CONNECTION_FAULTS, SHORTAGE } from '../kernel/errno';
import { warn } from '../kernel/output';
import { SO_ACCEPTCONN, SOL_SOCKET } from '../kernel/platform/constants';
import { onRelease, Socket, type SocketLike } from '../kernel/socket';
import type { Channel } from '../loop/channel';
import { handleResult, routeError } from '../loop/dispatch';
import { Ending, mayCloseFor } from './ending';
import type { Session } from './session';

/** Limits of a listener. */
export interface ListenLimits {
  /** Connections that may be open at a time. Default: no limit. */
  maxConnections?: number | undefined;
  /** The same for one address. Unix sockets do not count. Default: no limit. */
  maxConnectionsPerAddress?: number | undefined;
}

const LIMITS = { maxConnections: true, maxConnectionsPerAddress: true } as const;

/** A new connection, and the address of its peer. */
export interface Accepted {
  /** Non-blocking, and the program's to close. */
  socket: Socket;
  /** The peer's address. */
  address: Address;
}

/**
 * Accepts in one read event. A tick of a busy server is long: with a single accept in each, connections
 * would wait for many of them.
 */
export const ACCEPTS_PER_EVENT = 16;

/** How long a listener waits after an accept that would fail again at once, in ms. */
const PAUSE = 100;

/** So many failed connections in a row are the listener's trouble: a firewall that refuses every accept. */
const FAULTS_IN_A_ROW = 16;

interface Listener extends Channel {
  accept(): Accepted | null;
  handleAccepted(socket: Socket, address: Address): unknown;
}

/** What this file needs of a channel that has taken a connection. */
interface Owner {
  close(): void;
  [mayCloseFor](ending: Ending): unknown;
}

/** The accepting side of a listener. It outlives the listener's socket, as the limits do. */
export class Acceptor {
  readonly #listener: Listener;
  #session: Session;
  #limits: ConnectionLimits | null = null;
  /** The last error that need not end the listener. */
  #nonFatalError: { readonly error: unknown } | null = null;
  /** Connections that have failed since the last accept that did not. */
  #faults = 0;

  constructor(listener: Listener, session: Session) {
    this.#listener = listener;
    this.#session = session;
  }

  limit(limits: ListenLimits): void {
    checkOptions('listen', 'limits', limits, LIMITS);
    const { maxConnections, maxConnectionsPerAddress } = limits;
    checkLimit('maxConnections', maxConnections);
    checkLimit('maxConnectionsPerAddress', maxConnectionsPerAddress);
    const isNone = maxConnections === undefined && maxConnectionsPerAddress === undefined;
    if (this.#limits === null && isNone) return;
    this.#limits ??= new ConnectionLimits(() => this.#openOrShut());
    this.#limits.set(maxConnections, maxConnectionsPerAddress);
  }

  /** The listener has entered a map, or begun to listen. */
  attach(session: Session): void {
    this.#session = session;
    if (this.#limits !== null) this.#openOrShut();
  }

  /** Whether `handleError` is told of this error without the listener being closed. */
  isNonFatal(error: unknown): boolean {
    return this.#nonFatalError !== null && this.#nonFatalError.error === error;
  }

  #openOrShut(): void {
    const session = this.#session;
    if (!session.accepting) return;
    if (this.#limits?.full) session.suspend(Infinity);
    else session.resume();
  }

  /** The next connection within the limits, or null. @throws {SocketError} `EMFILE`, … */
  accept(socket: SocketLike): Accepted | null {
    const limits = this.#limits;
    if (limits === null) return this.#acceptAny(socket);
    // Bounded, so that a flood from one address leaves the other channels their turn.
    for (let refused = 0; refused < ACCEPTS_PER_EVENT; refused += 1) {
      if (limits.full) {
        // The listener may have entered this map, or been given this socket, at its limit already.
        this.#openOrShut();
        return null;
      }
      const accepted = this.#acceptAny(socket);
      if (accepted === null) return null;
      const release = limits.admit(accepted.address);
      if (release !== null) {
        if (limits.full) this.#openOrShut();
        accepted.socket[onRelease](release);
        return accepted;
      }
      accepted.socket.close();
    }
    return null;
  }

  #acceptAny(socket: SocketLike): Accepted | null {
    if (typeof socket.accept !== 'function') {
      throw badType('accept', 'a socket that can accept', socket);
    }
    try {
      const accepted = socket.accept();
      this.#faults = 0;
      return accepted;
    } catch (error) {
      const code = codeOf(error) ?? '';
      if (SHORTAGE.has(code)) {
        // The connection stays in the backlog, so that the listener would be ready at once again.
        this.#pause(error);
        throw error;
      }
      if (!CONNECTION_FAULTS.has(code) || isNoListener(socket, code)) {
        // It may fail for ever, and handleError leave the listener open.
        if (this.#session.accepting) this.#session.suspend(PAUSE);
        throw error;
      }
      this.#connectionFailed(error);
      return null;
    }
  }

  /** Suspends the listener for a while. `handleError` will not close it for this error. */
  #pause(error: unknown): void {
    this.#session.suspend(PAUSE);
    this.#nonFatalError = { error };
  }

  /** One connection has failed, and the next may be in order: the loop tries again. */
  #connectionFailed(error: unknown): void {
    this.#faults += 1;
    if (this.#faults < FAULTS_IN_A_ROW) return;
    this.#faults = 0;
    this.#pause(error);
    // Not thrown: in poll order, some of these codes would pass for the listener's own disconnect.
    routeError(this.#listener, error);
  }

  /**
   * Accepts one connection and hands it to `handleAccepted`. An error of that costs the peer its connection.
   * @returns false when none waits
   */
  acceptOne(): boolean {
    const listener = this.#listener;
    const accepted = listener.accept();
    if (accepted === null) return false;
    const { socket, address } = accepted;
    try {
      const result = listener.handleAccepted(socket, address);
      if (result !== undefined) this.#awaitHandler(result, socket);
    } catch (error) {
      this.#drop(socket, error);
      throw error;
    }
    return true;
  }

  #awaitHandler(result: unknown, socket: Socket): void {
    handleResult(this.#listener, result, (listener: Channel, error: unknown) => {
      this.#drop(socket, error);
      routeError(listener, error);
    });
  }

  /** `handleAccepted` has failed: the peer would wait for ever. A channel that it has made may be half-built. */
  #drop(socket: Socket, error: unknown): void {
    this.#nonFatalError = { error };
    const channel = socket.owner as Partial<Owner> | null;
    try {
      channel?.[mayCloseFor]?.(new Ending('error', error));
      channel?.close?.();
    } finally {
      socket.close();
    }
  }
}

/** Counts the open connections of a listener, in all and by address. */
class ConnectionLimits {
  readonly #roomMade: () => void;
  #limit = Infinity;
  #limitPerAddress = Infinity;
  #open = 0;
  readonly #openByHost = new Map<string, number>();
  /** The limits that a warning has been given for. */
  readonly #warned = new Set<string>();

  /** @param roomMade called when the number of connections falls below the limit */
  constructor(roomMade: () => void) {
    this.#roomMade = roomMade;
  }

  set(limit = Infinity, limitPerAddress = Infinity): void {
    this.#limit = limit;
    this.#limitPerAddress = limitPerAddress;
  }

  get full(): boolean {
    return this.#open >= this.#limit;
  }

  /** @returns what to call when the connection is closed; null when the address is at its limit */
  admit(address: Address): (() => void) | null {
    const host = 'host' in address ? address.host : null;
    const others = host === null ? 0 : (this.#openByHost.get(host) ?? 0);
    if (others >= this.#limitPerAddress) {
      this.#warn(
        'maxConnectionsPerAddress',
        this.#limitPerAddress,
        'more from an address are refused',
      );
      return null;
    }
    if (host !== null) this.#openByHost.set(host, others + 1);
    this.#open += 1;
    if (this.full) this.#warn('maxConnections', this.#limit, 'new connections wait in the backlog');
    return () => this.#closed(host);
  }

  #closed(host: string | null): void {
    const others = host === null ? 0 : (this.#openByHost.get(host) ?? 0) - 1;
    if (host !== null && others > 0) this.#openByHost.set(host, others);
    else if (host !== null) this.#openByHost.delete(host);
    const wasFull = this.full;
    this.#open -= 1;
    if (wasFull && !this.full) this.#roomMade();
  }

  /** Once for each limit: under attack, a server has no use for more. */
  #warn(limit: string, value: number, consequence: string): void {
    if (this.#warned.has(limit)) return;
    this.#warned.add(limit);
    const text = `A listener has reached ${limit} (${value}): ${consequence}`;
    warn('ChannelWarning', 'ASYNCORE_CONNECTION_LIMIT', text);
  }
}

/** Whether `ENOTSUP` is about the socket itself: a datagram socket never has a connection to accept. */
function isNoListener(socket: SocketLike, code: string): boolean {
  const ambiguous = code === 'ENOTSUP' || code === 'EOPNOTSUPP';
  return (
    ambiguous && socket instanceof Socket && socket.getSockOpt(SOL_SOCKET, SO_ACCEPTCONN) === 0
  );
}

function checkLimit(name: string, limit = Infinity): void {
  if (limit !== Infinity) checkInteger('listen', name, limit, 1, Number.MAX_SAFE_INTEGER);
}
