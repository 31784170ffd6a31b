// How many callers a listener lets in: in all, and from one address.
//
// A listener that is full leaves the read set, and who calls then waits in the kernel's backlog, where
// he costs no descriptor. One whose address has had its share cannot be left there, as others stand
// behind him: he is accepted, and closed.

import { checkInteger } from '../errors';
import type { Address } from '../kernel/address';

/** Limits of a listener. */
export interface ListenLimits {
  /** Connections that are open at a time. Default: no limit. */
  maxConnections?: number;
  /** The same from one address, Unix sockets apart. Default: no limit. */
  maxConnectionsPerAddress?: number;
}

export class Admission {
  #most = Infinity;
  #mostPerAddress = Infinity;
  #open = 0;
  readonly #byHost = new Map<string, number>();
  /** What has been said already. */
  readonly #warned = new Set<string>();

  /** @param madeRoom called when it was full and is no longer */
  constructor(readonly madeRoom: () => void) {}

  limit({ maxConnections, maxConnectionsPerAddress }: ListenLimits): void {
    this.#most = checkLimit('maxConnections', maxConnections);
    this.#mostPerAddress = checkLimit('maxConnectionsPerAddress', maxConnectionsPerAddress);
  }

  get full(): boolean {
    return this.#open >= this.#most;
  }

  /** @returns what to call when the connection is closed; null when it is one too many */
  admit(address: Address): (() => void) | null {
    const host = 'host' in address ? address.host : null;
    const others = host === null ? 0 : (this.#byHost.get(host) ?? 0);
    if (others >= this.#mostPerAddress) {
      this.#warn('maxConnectionsPerAddress', this.#mostPerAddress, 'more of one are refused');
      return null;
    }
    if (host !== null) this.#byHost.set(host, others + 1);
    this.#open += 1;
    if (this.full) this.#warn('maxConnections', this.#most, 'who calls now waits in the backlog');
    return () => this.#leave(host);
  }

  #leave(host: string | null): void {
    const others = host === null ? 0 : (this.#byHost.get(host) ?? 0) - 1;
    if (host !== null && others > 0) this.#byHost.set(host, others);
    else if (host !== null) this.#byHost.delete(host);
    const wasFull = this.full;
    this.#open -= 1;
    if (wasFull && !this.full) this.madeRoom();
  }

  /** Once for each limit: a server that is under attack has no use for more. */
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
