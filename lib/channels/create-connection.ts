/// <reference types="node" preserve="true" />
// A connected socket without a channel: Python's socket.create_connection, as a promise and as a call that
// blocks. Both run a channel in a map of its own until it has connected.

import { badType, checkDuration, checkOptions, checkSignal } from '../errors';
import { type Address, encodeAddress, familyOfAddress, formatAddress } from '../kernel/address';
import { closedSocket } from '../kernel/errno';
import { AF_UNSPEC } from '../kernel/platform/constants';
import { ERRNO } from '../kernel/platform/linux';
import type { Socket } from '../kernel/socket';
import { failure } from '../kernel/syscalls';
import { ChannelMap } from '../loop/channel-map';
import { loopSync } from '../loop/loop';
import { loop } from '../loop/node-loop';
import { Dispatcher, sessionOf } from './dispatcher';
import { openAndConnect } from './open-and-connect';

/** Options of `createConnectionSync`. */
export interface ConnectionOptions {
  /** How long the look-up and all attempts may take together, in milliseconds. 0, the default: no limit. */
  timeout?: number | undefined;
  /**
   * The address that the socket is bound to, a literal or a path; port 0 is one that the kernel chooses. A host name
   * is looked up in the family of this address only. Python's `source_address`.
   */
  localAddress?: Address | undefined;
}

/** Options of `createConnection`. */
export interface AsyncConnectionOptions extends ConnectionOptions {
  /** Ends the attempts: the promise rejects with the signal's reason. */
  signal?: AbortSignal | undefined;
}

/**
 * Connects to an address: a Unix path, an IPv4 or IPv6 literal, or a host name, whose addresses are tried as
 * `Dispatcher.connect` does without a socket. Blocks neither the thread nor a loop. Python's
 * `socket.create_connection`, which blocks.
 *
 * While it connects it takes two descriptors, for a host name a third one; `connect` of a channel takes one, or
 * two. One signal for more than ten calls at a time makes Node warn of a leak: give each
 * `AbortSignal.any([signal])`.
 *
 * @returns a promise of the socket, which is connected, non-blocking, and in no map: a `loop()` that has no
 *   other channel ends meanwhile
 * @throws (by rejection) {SocketError} `ECONNREFUSED`, `ENOTFOUND`, …, as `handleError` gets it from
 *   `Dispatcher.connect`, and `ETIMEDOUT` when the time is over; the signal's reason
 * @throws (by rejection) {TypeError|RangeError} for an invalid address, an invalid or an unknown option
 *
 * @example
 * const socket = await createConnection({ host: 'example.com', port: 25 }, { timeout: 10_000 });
 * new SmtpClient(socket);
 */
export async function createConnection(
  address: Address,
  options: AsyncConnectionOptions = {},
): Promise<Socket> {
  checkOptions(ACTION, 'an object of options', options, ASYNC_OPTIONS);
  const { signal } = options;
  checkSignal(ACTION, signal);
  signal?.throwIfAborted();
  const connector = new Connector(address, options);
  try {
    await loop({ map: connector.map, signal });
    return connector.take();
  } finally {
    connector.close();
  }
}

/**
 * As `createConnection`, but blocks the thread: for scripts and worker threads. Python's
 * `socket.create_connection`. The look-up of a host name cannot be cut short, and may exceed `timeout`.
 *
 * @returns the socket, which is connected, non-blocking, and in no map
 * @throws {SocketError} `ECONNREFUSED`, `ENOTFOUND`, …, and `ETIMEDOUT` when the time is over
 * @throws {TypeError|RangeError} for an invalid address, an invalid or an unknown option
 */
export function createConnectionSync(address: Address, options: ConnectionOptions = {}): Socket {
  checkOptions(ACTION, 'an object of options', options, OPTIONS);
  const connector = new Connector(address, options);
  try {
    loopSync({ map: connector.map });
    return connector.take();
  } finally {
    connector.close();
  }
}

const ACTION = 'connect';
const OPTIONS = { timeout: true, localAddress: true } as const;
const ASYNC_OPTIONS = { ...OPTIONS, signal: true } as const;

/** Leaves its map, and so ends the loop, when the outcome is there. */
class Connector extends Dispatcher {
  readonly #target: Address;
  #connected: Socket | null = null;
  #error: unknown = null;

  /** @throws when the connect fails at once */
  constructor(address: Address, { timeout = 0, localAddress }: ConnectionOptions) {
    super(null, new ChannelMap());
    this.#target = address;
    checkDuration(ACTION, 'a timeout', timeout);
    if (localAddress !== undefined) checkLocal(localAddress, address);
    this.setIdleTimeout(timeout);
    openAndConnect(this, sessionOf, address, localAddress ?? null);
  }

  /** The socket is the caller's now. @throws what the connect has failed with */
  take(): Socket {
    const socket = this.#connected;
    if (socket === null) throw this.#error;
    this.#connected = null;
    return socket;
  }

  override readable(): boolean {
    return false;
  }

  override handleConnect(): void {
    const socket = this.socket as Socket;
    this.delChannel();
    this.socket = null;
    socket.owner = null;
    this.#connected = socket;
  }

  override handleError(error: unknown): void {
    this.#error = error;
    this.close();
  }

  override handleTimeout(): void {
    this.handleError(failure(-ERRNO.ETIMEDOUT, 'connect', formatAddress(this.#target)));
  }

  /** The descriptor was closed by somebody else. */
  override handleClose(): void {
    this.handleError(closedSocket(ACTION));
  }

  override close(): void {
    super.close();
    this.#connected?.close();
  }
}

/** @throws {TypeError|RangeError} unless a socket that is bound to `local` may connect to `address` */
function checkLocal(local: Address, address: Address): void {
  const family = familyOfAddress(local);
  if (family === AF_UNSPEC) throw badType(ACTION, 'a localAddress that is no host name', local);
  encodeAddress(local, family, ACTION);
  const wanted = familyOfAddress(address);
  if (wanted !== AF_UNSPEC && wanted !== family) {
    throw badType(ACTION, `a localAddress of the family of ${formatAddress(address)}`, local);
  }
}
