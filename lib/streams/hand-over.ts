// From a socket, or from a channel that gives its socket up, to the chat under a stream or an iterator.

import { inspectSocket } from '../channels/connect';
import { Dispatcher, sessionOf } from '../channels/dispatcher';
import { DispatcherWithSend } from '../channels/dispatcher-with-send';
import { AsyncChat } from '../chat/async-chat';
import { Fifo } from '../chat/fifo';
import type { FifoItem } from '../chat/output-buffer';
import { EndMark } from '../chat/output-marks';
import { badType } from '../errors';
import { SO_ERROR, SOCK_STREAM, SOL_SOCKET } from '../kernel/platform/constants';
import { Socket, type SocketLike } from '../kernel/socket';
import { failure } from '../kernel/syscalls';
import { type ChannelMap, checkMap } from '../loop/channel-map';
import { lossOf, ObservedChat } from './observed-chat';

const NOTHING: Buffer = Buffer.alloc(0);

/** What a stream is to be made of, checked. */
export interface Source {
  readonly socket: SocketLike;
  /** The channel that holds the socket, and gives it up. */
  readonly channel: Dispatcher | null;
  /** The map that the program asked for, or the channel's; null: neither. */
  readonly map: ChannelMap | null;
  /** What a socket without a channel has failed with already; null: it has not. */
  readonly failure: unknown;
}

/** What a channel leaves behind when it gives its socket up. */
export interface Legacy {
  /** Received, and not given to the program. */
  readonly input: Buffer;
  /** The connection is lost already, and the channel has heard of that; null: it is not. */
  readonly failure: unknown;
}

/**
 * Nothing has changed when this throws.
 * @param action what cannot be done: words that follow "Cannot"
 * @throws {TypeError} for what is no socket and no channel, and for a listener, datagrams, and so on
 */
export function checkSource(
  action: string,
  source: SocketLike | Dispatcher,
  map: ChannelMap | undefined,
): Source {
  if (map !== undefined) checkMap(action, map);
  const owner = source instanceof Dispatcher ? source : ownerOf(source);
  if (owner !== null) return checkChannel(action, owner, map);
  const socket = source as SocketLike | null | undefined;
  if (typeof socket?.fileno !== 'function' || typeof socket.recv !== 'function') {
    throw badType(action, 'a socket or a channel', socket);
  }
  return { socket, channel: null, map: map ?? null, failure: checkSocket(action, socket) };
}

/** A socket that stands in a channel is handed over by that channel, so that nothing is lost. */
function ownerOf(source: SocketLike | null | undefined): Dispatcher | null {
  const owner = source?.owner;
  return owner instanceof Dispatcher && owner.socket === source ? owner : null;
}

function checkChannel(action: string, channel: Dispatcher, map: ChannelMap | undefined): Source {
  const { socket } = channel;
  const session = sessionOf(channel);
  if (channel instanceof ObservedChat) {
    throw badType(action, 'a channel that is not under a stream or an iterator already', channel);
  }
  // `connected` is false within handleConnect.
  if (socket === null || !(channel.connected || session.handlesConnect)) {
    const hint = channel.connecting ? 'do it in handleConnect()' : undefined;
    throw badType(action, 'a connected channel', channel, hint);
  }
  checkStream(action, socket);
  if (channel instanceof AsyncChat && [...channel.producerFifo].some(ends)) {
    const hint = 'closeWhenDone() or endWhenDone() was called, or null is on its fifo';
    throw badType(action, 'a channel that is not about to close', channel, hint);
  }
  // By closeWhenDone. The peer's end is no reason: the peer may still be written to.
  if (session.closeHandled && !session.handlesClose) {
    throw badType(action, 'a channel that is not about to close', channel, 'all has been sent');
  }
  return { socket, channel, map: map ?? session.map, failure: null };
}

/** Whether nothing can be written after this. */
function ends(item: FifoItem): boolean {
  return item === null || item instanceof EndMark;
}

/** @returns the error of a connection that has failed already; null: there is none */
function checkSocket(action: string, socket: SocketLike): unknown {
  if (socket.fileno() === -1) throw badType(action, 'an open socket', socket);
  checkStream(action, socket);
  const { connected, connecting } = inspectSocket(socket);
  if (connected || connecting) return null;
  const errno = socket.getSockOpt(SOL_SOCKET, SO_ERROR);
  if (errno !== 0) return failure(-errno, 'connect');
  throw badType(action, 'a socket that is connected, or that connects', socket);
}

function checkStream(action: string, socket: SocketLike): void {
  if (!(socket instanceof Socket) || socket.type === SOCK_STREAM) return;
  throw badType(action, 'a socket of the type SOCK_STREAM', socket);
}

/**
 * Has the channel of `source` give up its socket, which `heir` has by now, and moves what the channel holds. The
 * channel is closed then, and its `socket` is null.
 * @throws {unknown} what `close` of the channel throws. `heir` is closed then as well
 */
export function handOver({ channel, failure }: Source, heir: ObservedChat): Legacy {
  if (channel === null) return { input: NOTHING, failure };
  try {
    return move(channel, heir);
  } catch (error) {
    heir.close();
    // Not by the override that may have thrown.
    Dispatcher.prototype.close.call(channel);
    throw error;
  }
}

function move(channel: Dispatcher, heir: ObservedChat): Legacy {
  let input = NOTHING;
  if (channel instanceof AsyncChat) {
    input = channel.acInBuffer;
    heir.useEncoding = channel.useEncoding;
    heir.encoding = channel.encoding;
    heir.acOutBuffer = channel.acOutBuffer;
    channel.acOutBuffer = NOTHING;
    for (const item of channel.producerFifo) heir.producerFifo.push(item);
    channel.producerFifo = new Fifo<FifoItem>();
  } else if (channel instanceof DispatcherWithSend) {
    heir.acOutBuffer = channel.outBuffer;
    channel.outBuffer = NOTHING;
  }
  heir.addr ??= channel.addr;
  // The peer may have reset the connection, which then looks like one that never was.
  heir.connected = true;
  const lost = sessionOf(channel).gone || channel.closeReason === 'reset';
  const failure = lost ? lossOf(channel) : null;
  channel.delChannel();
  channel.socket = null;
  channel.close();
  return { input, failure };
}
