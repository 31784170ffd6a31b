// Accepting connections, within the limits of a listener.
//
// A listener at `maxConnections` leaves the read set. Further connections wait in the kernel's backlog,
// where they cost no descriptor. A peer whose address has reached `maxConnectionsPerAddress` cannot be
// left there, as connections from other addresses queue behind it: it is accepted and closed.

import { badType, checkInteger, codeOf } from '../errors';
import type { Address } from '../kernel/address';
import { SHORTAGE } from '../kernel/errno';
import { onRelease, type Socket, type SocketLike } from '../kernel/socket';
import type { Channel } from '../loop/channel';
import { handleResult, routeError } from '../loop/dispatch';
import type { Session } from './session';

/** Limits of a listener. */
export interface ListenLimits {
  /** Connections that may be open at a time. Default: no limit. */
  maxConnections?: number;
  /** The same for one address. Unix sockets do not count. Default: no limit. */
  maxConnectionsPerAddress?: number;
}

/** A new connection, and the address of its peer. */
export interface Accepted {
  socket: Socket;
  address: Address;
}

/**
 * Accepts in one read event. A tick of a busy server is long: with a single accept in each, connections
 * would wait for many of them.
 */
export const ACCEPTS_PER_EVENT = 16;

/** How long a listener waits after an accept that failed for want of descriptors or memory, in ms. */
const SHORTAGE_PAUSE = 100;

interface Listener extends Channel {
  accept(): Accepted | null;
  handleAccepted(socket: Socket, address: Address): unknown;
}

/** The accepting side of a listener. It outlives the listener's socket, as the limits do. */
export class Acceptor {
  readonly #listener: Listener;
  #session: Session;
  #limits: ConnectionLimits | null = null;
  /** The last error that need not end the listener. */
  #nonFatalError: { readonly error: unknown } | null = null;

  constructor(listener: Listener, session: Session) {
    this.#listener = listener;
    this.#session = session;
  }

  limit(limits: ListenLimits): void {
    if (typeof limits !== 'object' || limits === null) throw badType('listen', 'limits', limits);
    if (this.#limits === null && Object.keys(limits).length === 0) return;
    this.#limits ??= new ConnectionLimits(() => this.#openOrShut());
    this.#limits.set(limits);
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
      return socket.accept();
    } catch (error) {
      if (codeOf(error) === 'ECONNABORTED') return null;
      if (SHORTAGE.has(codeOf(error) ?? '')) {
        // The connection stays in the backlog, so that the listener would be ready at once again.
        this.#session.suspend(SHORTAGE_PAUSE);
        this.#nonFatalError = { error };
      }
      throw error;
    }
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
    const drop = (error: unknown): void => {
      // No channel has taken the socket, so no reply would ever be sent.
      if (socket.owner === null) socket.close();
      this.#nonFatalError = { error };
    };
    try {
      const result = listener.handleAccepted(socket, address);
      handleResult(listener, result, (_: Channel, error: unknown) => {
        drop(error);
        routeError(listener, error);
      });
    } catch (error) {
      drop(error);
      throw error;
    }
    return true;
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

  set({ maxConnections, maxConnectionsPerAddress }: ListenLimits): void {
    this.#limit = checkLimit('maxConnections', maxConnections);
    this.#limitPerAddress = checkLimit('maxConnectionsPerAddress', maxConnectionsPerAddress);
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
    process.emitWarning(`A listener has reached ${limit} (${value}): ${consequence}`, {
      type: 'ChannelWarning',
      code: 'ASYNCORE_CONNECTION_LIMIT',
    });
  }
}

function checkLimit(name: string, limit = Infinity): number {
  if (limit !== Infinity) checkInteger('listen', name, limit, 1, Number.MAX_SAFE_INTEGER);
  return limit;
}
