// The socket of a channel that opens it itself, by `connect` without `createSocket`.

import type { Address } from '../kernel/address';
import { Socket, type SocketLike } from '../kernel/socket';
import type { Connecting } from './connect';
import type { Session } from './session';

/** The sockets that `connect` has opened. A further `connect` opens another one in place of such a socket. */
export const opened = new WeakSet<SocketLike>();

/** Whether `connect` opens a socket: there is none, or one of its own that is not connected, or closed. */
export function opensSocket({ socket, works }: Session): boolean {
  return socket === null || (opened.has(socket) && !works);
}

/** @throws {SocketError} `EMFILE`, `EADDRNOTAVAIL`, … */
export function openSocket(family: number, localAddress: Address | null): Socket {
  const socket = Socket.socket(family);
  try {
    if (localAddress !== null) socket.bind(localAddress);
  } catch (error) {
    socket.close();
    throw error;
  }
  return socket;
}

/** Gives the channel a new socket, in place of one that `connect` had opened before. */
export function attachOpened(channel: Connecting, session: Session, socket: Socket): void {
  const before = session.socket;
  opened.add(socket);
  channel.setSocket(socket, session.map);
  if (before !== null && opened.has(before)) before.close();
}

/** Leaves the channel without a socket, and out of the map: it may connect again. */
export function detachOpened(channel: Connecting, session: Session, socket: Socket): void {
  channel.connecting = false;
  session.leaveMap(channel);
  session.attach(null);
  session.preparing.lookup = null;
  socket.owner = null;
  socket.close();
}
