// A chat that says how its connection went on: the base of what stands between a channel and Node's streams
// and iterators.
//
// A chat calls handleClose for an orderly end and for a reset alike, which is Python's way. A stream has to
// tell them apart, so this chat makes the two system calls itself and keeps their errors.

import { endInput, sessionOf } from '../channels/dispatcher';
import type { Handled } from '../channels/handlers';
import { AsyncChat } from '../chat/async-chat';
import { isExit } from '../errors';
import { ERRNO } from '../kernel/platform/linux';
import type { SocketLike } from '../kernel/socket';
import { failure } from '../kernel/syscalls';
import type { ChannelMap } from '../loop/channel-map';

/** What is told of a connection. Each call may close the channel. */
export interface Observer {
  /** The peer has ended its stream. All input has been delivered. */
  ended(): void;
  /** The connection is broken, or a producer or handler has thrown. */
  failed(error: unknown): void;
  /** Nothing waits to be sent any more. */
  sent(): void;
  /** The channel has been closed, by anybody. */
  closed(): void;
  /** `shutdown` asks the channel to end. */
  leave(): void;
}

export abstract class ObservedChat extends AsyncChat {
  readonly #observer: Observer;
  /** How many bytes have been received and sent. */
  bytesRead = 0;
  bytesWritten = 0;

  constructor(socket: SocketLike, map: ChannelMap, observer: Observer) {
    super(socket, map);
    this.#observer = observer;
  }

  override recv(size: number): Buffer | null {
    let data: Buffer | null;
    try {
      data = (this.socket as SocketLike).recv(size);
    } catch (error) {
      this.#observer.failed(error);
      return null;
    }
    if (data === null) return null;
    if (data.length > 0) {
      this.bytesRead += data.length;
      return data;
    }
    sessionOf(this).set('inputEnded', true);
    this[endInput]();
    if (!sessionOf(this).closed) this.#observer.ended();
    return null;
  }

  override send(data: Uint8Array): number {
    try {
      const sent = sessionOf(this).sent((this.socket as SocketLike).send(data));
      this.bytesWritten += sent;
      return sent;
    } catch (error) {
      this.#observer.failed(error);
      return 0;
    }
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

  /** The loop reports a hang-up, or that the socket has been closed elsewhere. */
  override handleClose(): Handled {
    if ((this.socket as SocketLike).fileno() === -1) this.close();
    // The system call says which end it is.
    else if (!this.inputEnded) void this.handleRead();
    // What the kernel says to a send after a reset that follows the end of the input.
    else this.#observer.failed(failure(-ERRNO.EPIPE, 'send'));
  }

  override handleShutdown(): Handled {
    this.#observer.leave();
  }

  override close(): void {
    super.close();
    this.#observer.closed();
  }
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
