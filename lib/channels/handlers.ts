// The handlers of a channel, which are the program's to override: each with what it is called for, and
// what it does unless it is overridden. Any of them may be async.

import type { Address } from '../kernel/address';
import type { Socket } from '../kernel/socket';

/**
 * What a handler may return. The rejection of a promise goes to the channel's `handleError`. The loop
 * does not wait for the promise: while there is input, it calls the handler again. Call `recv` before the
 * first await.
 */
export type Handled = void | Promise<void>;

/** What `handleTimeout` is called for: the idle timeout, or the deadline. */
export type TimeLimit = 'idle' | 'deadline';

/** What a program overrides. `Dispatcher` has a default for each. */
export interface Handlers {
  /**
   * A handler threw, or a connect failed. Logs the error and calls `handleClose`.
   *
   * Three errors do not close the channel and are only logged: an exception out of `handleAccepted`, which
   * costs that peer its connection; an accept that failed for want of descriptors; and an accept that
   * failed 16 times in a row for reasons of the network. And one is ignored: that `flushed()`, for which a
   * handler has waited, was rejected because the channel has closed.
   *
   * @param error what was thrown, which may be anything. Python's `handle_error` has no argument
   *
   * @example
   * override handleError(error: unknown) {
   *   if (error instanceof SocketError && error.code === 'ECONNREFUSED') this.tryTheNextHost();
   *   else super.handleError(error);
   * }
   */
  handleError(error: unknown): Handled;

  /**
   * Urgent data has arrived: `(this.socket as Socket).recv(1, MSG_OOB)`. Drops it and logs a warning,
   * unless overridden. Python does not drop it.
   */
  handleExpt(): Handled;

  /**
   * There is input to `recv`, or its end. Logs a warning, unless overridden; `ignoreLogTypes` hides it by
   * default.
   */
  handleRead(): Handled;

  /** Output can be sent. Logs a warning, unless overridden. */
  handleWrite(): Handled;

  /**
   * The connection is established. `connected` becomes true when this returns. Logs a warning, unless
   * overridden.
   */
  handleConnect(): Handled;

  /**
   * Connections wait to be accepted. Accepts one and calls `handleAccepted`, and so on up to 16 times, while
   * `readable` returns true. (Python accepts one in each tick.)
   */
  handleAccept(): Handled;

  /**
   * A connection was accepted: make a channel for `socket`. Closes it, unless overridden.
   * @param address the peer's
   */
  handleAccepted(socket: Socket, address: Address): Handled;

  /**
   * The peer has closed the connection, or all is sent after `closeWhenDone`; `closeReason` says which.
   * Closes the channel. An override must close it, too, or is called again: an async one when its promise is
   * settled. `close` does not call this.
   */
  handleClose(): Handled;

  /** The peer has ended its stream, and `allowHalfOpen` is set. Calls `handleClose`. */
  handleEof(): Handled;

  /**
   * The channel has been idle for as long as `setIdleTimeout` allows, or the deadline of `setDeadline` has come.
   * Calls `handleClose`. An override that does not close is called again after a further idle time; a deadline
   * comes once.
   * @param limit which of the two it is
   */
  handleTimeout(limit?: TimeLimit): Handled;

  /** The program is about to end (`shutdown`). Closes a listener; otherwise calls `handleClose`. */
  handleShutdown(): Handled;
}
