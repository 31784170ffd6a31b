// Sockets without a channel, closed after the test: pairs, listeners, callers, connections.

import {
  type Address,
  AF_INET,
  AF_INET6,
  AF_UNIX,
  SO_LINGER,
  SOCK_STREAM,
  SOL_SOCKET,
  Socket,
} from 'asyncore';
import { localAddress } from './drive';
import { keep } from './keep';
import { LIMIT } from './program';

/** Two connected Unix sockets. */
export function pair(type = SOCK_STREAM): [Socket, Socket] {
  const [a, b] = Socket.pair(AF_UNIX, type);
  return [keep(a), keep(b)];
}

/** Listens at an address that the kernel chooses. */
export function bareListener(family = AF_INET, backlog = 5): Socket {
  const socket = keep(Socket.socket(family));
  socket.bind(localAddress(family));
  socket.listen(backlog);
  return socket;
}

/** Connects to `address`; the family follows from it. */
export function call(address: Address): Socket {
  const inet = 'host' in address && address.host.includes(':') ? AF_INET6 : AF_INET;
  const socket = keep(Socket.socket('path' in address ? AF_UNIX : inet));
  socket.connect(address);
  return socket;
}

/** Both ends of a connection through a listener, which is closed again. */
export function connection(family = AF_INET): [caller: Socket, accepted: Socket] {
  const listener = bareListener(family, 1);
  const caller = call(listener.getSockName());
  for (const end = performance.now() + LIMIT; performance.now() < end; ) {
    const accepted = listener.accept();
    if (accepted === null) continue;
    listener.close();
    return [caller, keep(accepted.socket)];
  }
  throw new Error(`the connection has not reached its listener within ${LIMIT} ms`);
}

/** close() of this socket will reset the connection. */
export function willReset(socket: Socket): Socket {
  socket.setSockOpt(SOL_SOCKET, SO_LINGER, Buffer.from([1, 0, 0, 0, 0, 0, 0, 0]));
  return socket;
}

/** What a socket has received since the last call. */
export function received(socket: Socket): string {
  let text = '';
  for (let data = socket.recv(65536); data?.length; data = socket.recv(65536)) {
    text += data.toString('latin1');
  }
  return text;
}

/** As `received`, with `|` for the end of the stream. */
export function heard(peer: Socket): string {
  let all = '';
  for (let data = peer.recv(65536); data !== null; data = peer.recv(65536)) {
    if (data.length === 0) return `${all}|`;
    all += data.toString('latin1');
  }
  return all;
}
