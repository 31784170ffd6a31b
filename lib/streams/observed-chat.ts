// A chat that says how its connection went on: the base of what stands between a channel and Node's streams
// and iterators.
//
// handleClose is called for an orderly end and for a reset alike, which is Python's way. A stream has to tell
// them apart: this chat is half open, so an orderly end comes to handleEof, and a reset has a closeError.

import type { Dispatcher } from '../channels/dispatcher';
import type { Handled } from '../channels/handlers';
import { AsyncChat } from '../chat/async-chat';
import { isExit } from '../errors';
import { ERRNO } from '../kernel/platform/linux';
import type { SocketLike } from '../kernel/socket';
import { failure } from '../kernel/syscalls';
import { type ChannelMap, registryOf } from '../loop/channel-map';

/** What is told of a connection. Each call may close the channel. */
export interface Observer {
  /** The peer has ended its stream. All input has been delivered. */
  ended(): void;
  /** The connection is broken, or a producer or handler has thrown. */
  failed(error: unknown): void;
  /** The kernel has taken output. */
  moved(): void;
  /** Nothing waits to be sent any more. */
  sent(): void;
  /** The channel has been closed, by anybody. */
  closed(): void;
  /** `shutdown` asks the channel to end. */
  leave(): void;
}

export abstract class ObservedChat extends AsyncChat {
  /** So that an orderly end comes to `handleEof`. */
  override allowHalfOpen = true;
  readonly #observer: Observer;
  readonly #forgetMap: () => void;
  /** How many bytes have been received and sent. */
  bytesRead = 0;
  bytesWritten = 0;

  constructor(socket: SocketLike, map: ChannelMap, observer: Observer) {
    super(socket, map);
    this.#observer = observer;
    this.#forgetMap = registryOf(map).whenEmpty(() => this.closeIfLost());
  }

  /** `map.clear()` and `map.delete()` call no handler. After them no event reaches this channel. */
  closeIfLost(): void {
    const fd = this.fileno();
    if (fd !== null && this.map.get(fd) !== this) this.close();
  }

  override recv(size: number): Buffer | null {
    const data = super.recv(size);
    if (data !== null) this.bytesRead += data.length;
    return data;
  }

  override send(data: Uint8Array): number {
    const sent = super.send(data);
    if (sent > 0) {
      this.bytesWritten += sent;
      this.#observer.moved();
    }
    return sent;
  }

  override handleConnect(): Handled {}

  override handleWrite(): Handled {
    this.initiateSend();
    if (this.connected && !this.hasOutput()) this.#observer.sent();
  }

  /**
   * Whether output waits, or the connect is under way. `writable` is no answer: it is false as well while all
   * waits for a piece that a producer has promised.
   */
  hasOutput(): boolean {
    if (!this.connected) return this.connecting;
    return !this.producerFifo.isEmpty() || this.acOutBuffer.length > 0;
  }

  /** Sends what waits, and not only at the end of the tick. @returns whether the kernel has taken all of it */
  sendNow(): boolean {
    this.closeIfLost();
    try {
      this.initiateSend();
    } catch (error) {
      if (isExit(error)) throw error;
      this.#observer.failed(error);
    }
    return !this.hasOutput();
  }

  /** A connect has failed, or a producer has thrown. */
  override handleError(error: unknown): Handled {
    this.#observer.failed(error);
  }

  override handleEof(): Handled {
    this.#observer.ended();
  }

  /** The connection is lost, the loop reports a hang-up, or the socket has been closed elsewhere. */
  override handleClose(): Handled {
    if ((this.socket as SocketLike).fileno() === -1) this.close();
    else if (this.closeReason === 'reset') this.#observer.failed(lossOf(this));
    // A pipe: all its writers have closed it.
    else if (!this.inputEnded) void this.handleRead();
    // A hang-up of a Unix socket: nobody is left to be sent anything.
    else this.#observer.failed(lossOf(this));
  }

  override handleShutdown(): Handled {
    this.#observer.leave();
  }

  override close(): void {
    super.close();
    this.#forgetMap();
    this.#observer.closed();
  }
}

/** What the kernel has said of a connection that is lost, or what it would say to a send. */
export function lossOf({ closeReason, closeError }: Dispatcher): unknown {
  const known = closeReason === 'reset' ? closeError : null;
  return known ?? failure(-ERRNO.EPIPE, 'send');
}

/**
 * Calls code that ends in listeners of the program. What they throw is an uncaught exception, as for any
 * stream of Node's: the connection is not to blame. Only ExitNow leaves the loop.
 */
export function callProgram(call: () => void): void {
  try {
    call();
  } catch (error) {
    if (isExit(error)) throw error;
    process.nextTick(() => {
      throw error;
    });
  }
}
