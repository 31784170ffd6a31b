// The steps from a socket to a listener: the local address, and the backlog.

import { badRange, badType } from '../errors';
import type { Address } from '../kernel/address';
import { SO_REUSEADDR, SOL_SOCKET } from '../kernel/platform/constants';
import { onRelease, Socket, type SocketLike } from '../kernel/socket';
import { removeStale, socketFile } from '../kernel/socket-file';

/** Turns SO_REUSEADDR on or off. */
export function reuseAddress(socket: SocketLike, on: boolean): void {
  try {
    const others = socket.getSockOpt(SOL_SOCKET, SO_REUSEADDR) & ~1;
    socket.setSockOpt?.(SOL_SOCKET, SO_REUSEADDR, others | Number(on));
  } catch {
    // A server that cannot have the option runs without it.
  }
}

/** Binds. The file of a Unix path goes when the socket closes. */
export function bindSocket(socket: SocketLike, address: Address): void {
  if (typeof socket.bind !== 'function') throw badType('bind', 'a socket that can bind', socket);
  socket.bind(address);
  const file = socket instanceof Socket ? socketFile(socket.getSockName()) : null;
  if (file === null) return;
  (socket as Socket)[onRelease]((closed) => {
    if (closed) removeStale(file.path, file);
  });
}

/** @throws {RangeError} for a port in place of a backlog */
export function listenOn(socket: SocketLike, backlog: number): void {
  if (typeof socket.listen !== 'function') {
    throw badType('listen', 'a socket that can listen', socket);
  }
  // The kernel would choose another port, and nobody would find the server.
  if (backlog >= 1024 && backlog <= 65535 && hasNoPort(socket)) {
    throw badRange('listen', 'a backlog below 1024, or bind() before listen()', backlog);
  }
  socket.listen(backlog);
}

function hasNoPort(socket: SocketLike): boolean {
  const address = socket instanceof Socket ? socket.getSockName() : null;
  return address !== null && 'port' in address && address.port === 0;
}
