// Pieces that producers have promised.
//
// A promise belongs to its producer, and not to the chat that has asked: a producer without `close` outlives
// its channel, a fifo may go to another chat, and two chats may share one. The next chat that asks is given
// the piece that has arrived.

import { isPromise, type Producer } from './producers/producer';

/** Waits for a producer. */
export interface Awaiter {
  /** What the producer has promised is there: ask again. */
  arrived(): void;
}

/** What `ask` returns while the piece has not arrived. */
export const NOT_YET = Symbol('not yet');

class Arrival {
  /** Null until the promise is settled. */
  outcome: { readonly piece: unknown } | { readonly error: unknown } | null = null;
  readonly awaiters = new Set<Awaiter>();

  constructor(promise: PromiseLike<unknown>) {
    // Promise.resolve: a thenable may call back at once, or twice.
    Promise.resolve(promise).then(
      (piece) => this.#settle({ piece }),
      (error: unknown) => this.#settle({ error }),
    );
  }

  #settle(outcome: NonNullable<Arrival['outcome']>): void {
    this.outcome = outcome;
    for (const awaiter of this.awaiters) awaiter.arrived();
    this.awaiters.clear();
  }
}

const arrivals = new WeakMap<Producer, Arrival>();
/** A producer has returned a promise. Few programs have such producers: others do without the look-up. */
let anyPromised = false;

/**
 * Asks a producer for its next piece.
 * @returns `NOT_YET` when that has been promised, and `awaiter` will be told
 * @throws what the producer throws, and what its promise was rejected with
 */
export function ask(producer: Producer, awaiter: Awaiter): unknown {
  const known = anyPromised ? arrivals.get(producer) : undefined;
  if (known?.outcome) {
    arrivals.delete(producer);
    if ('error' in known.outcome) throw known.outcome.error;
    return known.outcome.piece;
  }
  if (known !== undefined) {
    known.awaiters.add(awaiter);
    return NOT_YET;
  }
  const piece: unknown = producer.more();
  if (!isPromise(piece)) return piece;
  anyPromised = true;
  const arrival = new Arrival(piece);
  arrival.awaiters.add(awaiter);
  arrivals.set(producer, arrival);
  return NOT_YET;
}

/** The producer is given up: a promise that is never settled must not keep its chat. */
export function stopAwaiting(producer: Producer, awaiter: Awaiter): void {
  arrivals.get(producer)?.awaiters.delete(awaiter);
}
