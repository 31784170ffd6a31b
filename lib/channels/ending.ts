// Why a channel closes. The first reason stands: what follows from it, such as a reset after a timeout, is
// no news.

/**
 * Why a channel has closed, or is about to:
 *
 * - `end`: the peer has ended its stream
 * - `reset`: the connection is lost (`ECONNRESET`, `EPIPE`, …)
 * - `timeout`: `handleTimeout` was called
 * - `error`: `handleError` was called: a handler threw, or a connect failed
 * - `local`: the program has closed it (`close`, `closeWhenDone`, `shutdown`), and the peer had not ended
 *   its stream before
 */
export type CloseReason = 'end' | 'reset' | 'timeout' | 'local' | 'error';

export class Ending {
  /**
   * @param error what came with it, or null
   * @param tentative a handler runs that may close the channel for this reason, or keep it open
   */
  constructor(
    readonly reason: CloseReason,
    readonly error: unknown = null,
    readonly tentative = false,
  ) {}
}

export const END = new Ending('end');
export const LOCAL = new Ending('local');

/** A handler of the channel is about to run, see `Session.mayCloseFor`. @internal */
export const mayCloseFor = Symbol('mayCloseFor');
