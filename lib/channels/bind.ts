// The local address of a channel's socket.

import { badType } from '../errors';
import type { Address } from '../kernel/address';
import { SO_REUSEADDR, SOL_SOCKET } from '../kernel/platform/constants';
import { removeFileAtClose, Socket, type SocketLike } from '../kernel/socket';

/** Binds, and has the file of a Unix path removed when the socket closes. */
export function bindSocket(socket: SocketLike, address: Address): void {
  if (typeof socket.bind !== 'function') throw badType('bind', 'a socket that can bind', socket);
  socket.bind(address);
  if (socket instanceof Socket) socket[removeFileAtClose]();
}

/** Turns SO_REUSEADDR on or off. */
export function reuseAddress(socket: SocketLike, on: boolean): void {
  try {
    const others = socket.getSockOpt(SOL_SOCKET, SO_REUSEADDR) & ~1;
    socket.setSockOpt?.(SOL_SOCKET, SO_REUSEADDR, others | Number(on));
  } catch {
    // A server that cannot have the option runs without it.
  }
}
