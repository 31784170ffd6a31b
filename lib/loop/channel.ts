// The interface between the loop and its channels.

// What only the library's own channels have. A program's names cannot collide with these.

/** Whether a channel hears of the reset of its connection while it wants nothing. @internal */
export const hearsReset = Symbol('hearsReset');
/** After a reset: whether the connection is over, with no input left to be read. @internal */
export const isOver = Symbol('isOver');
/**
 * An error of a handler has ended a read event, and input is left for the next one. True once for each
 * such error. @internal
 */
export const takesUpInput = Symbol('takesUpInput');
/**
 * `handleError` is about to be called with an error. What this returns is called when `handleError` has
 * returned, and told whether its promise is pending; then again when that is settled. @internal
 */
export const beforeError = Symbol('beforeError');

/** Calls `handleClose`, unless that is running. Told of the error that says so, if there is one. @internal */
export const peerGone = Symbol('peerGone');

/**
 * Why a channel is ready at every tick, and what to do about it; undefined: no reason to warn. @internal
 */
export const explainSpin = Symbol('explainSpin');

/** What has been seen in the events of a channel that spins. */
export interface SpinSigns {
  /** A handler has thrown. */
  readonly threw: boolean;
  /** The process has called read(2) or write(2) meanwhile: another library may be at work. */
  readonly transfers: boolean;
}

/** What stands in a channel map. Dispatchers are channels; a program may write its own. */
export interface Channel {
  /** Whether to wait for input. */
  readable(): boolean;
  /** Whether to wait until output can be sent. */
  writable(): boolean;
  /** A listener is never waited for as writable. */
  readonly accepting?: boolean;
  /** The peer has ended its stream, so that there is no more input to wait for. */
  readonly inputEnded?: boolean;
  /** Input is not wanted for now, whatever `readable` says. */
  readonly readingPaused?: boolean;
  /**
   * The channel holds input that the kernel has already handed over: a read event is due. A change to
   * true needs a call of `interestChanged`, like a change of a predicate. @internal
   */
  readonly hasBufferedInput?: boolean;
  /** A channel without this is not watched while it wants nothing. @internal */
  readonly [hearsReset]?: boolean;
  /** If it returns true, `handleClose` is called. @internal */
  [isOver]?(): boolean;
  /** Without this, `handleClose` is called. @internal */
  [peerGone]?(error?: unknown): void;
  /** @internal */
  [explainSpin]?(event: number, signs: SpinSigns): string | undefined;
  /** There is input, a connection to accept, the end of a connect, or an error. */
  handleReadEvent(): void | Promise<void>;
  /** Output can be sent, or a connect is over. */
  handleWriteEvent(): void | Promise<void>;
  /** There is urgent data, or an error. */
  handleExptEvent(): void | Promise<void>;
  /** The descriptor is of no more use. */
  handleClose(): void | Promise<void>;
  /**
   * Another handler threw, or its promise was rejected. An exception from `handleError` closes the channel.
   */
  handleError(error: unknown): void | Promise<void>;
  /** The program is about to end, see `shutdown`. Without this handler the channel is closed. */
  handleShutdown?(): void | Promise<void>;
  /** Called by `closeAll`, and after an exception out of `handleError`. */
  close(): void;
  /** The descriptor under which the channel stands in its map. */
  fileno?(): number | null;
  /** The `ChannelMap` whose `interestChanged` this channel calls. */
  readonly map?: Map<number, Channel> & { interestChanged(fd: number): void };
  /**
   * Whether this channel calls `interestChanged` whenever a predicate would answer otherwise. The loop
   * keeps the answer for as long as `readable` and `writable` are the same functions: `interestChanged`
   * asks the predicates again, and not this method.
   */
  tracksInterest?(): boolean;
  /** @internal */
  [takesUpInput]?(): boolean;
  /** @internal */
  [beforeError]?(error: unknown): (pending: boolean) => void;
}

/** Called with an error of a channel. */
export type Report = (channel: Channel, error: unknown) => void;

/** Whether a handler is async, and has not ended. */
export function isPromise(result: unknown): result is PromiseLike<unknown> {
  return (
    result !== undefined && typeof (result as PromiseLike<unknown> | null)?.then === 'function'
  );
}
