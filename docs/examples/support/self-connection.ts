// TCP connections to themselves.
//
// The kernel chooses the port of a connecting socket from the ephemeral ports (32768 and up), and may choose
// the very port that the socket connects to, if that is on the same machine and nobody listens there. The
// socket is then connected to itself, and receives whatever it sends. A client that tries again and again
// while its server is away gets there in the end, and keeps the server from its port.

import { constants } from 'node:os';
import { isDeepStrictEqual } from 'node:util';
import { type Dispatcher, SocketError } from 'asyncore';
import { format } from './program';

/** For `handleConnect`. @throws {SocketError} `ECONNREFUSED` if the channel is connected to itself */
export function refuseItself(channel: Dispatcher): void {
  const own = channel.address();
  if (own === null || !('port' in own)) return;
  let peer: unknown;
  try {
    peer = channel.socket?.getPeerName?.();
  } catch {
    // The peer has reset the connection already.
    return;
  }
  if (!isDeepStrictEqual(own, peer)) return;
  const text = 'nobody listens there, and the socket has connected to itself';
  throw new SocketError('ECONNREFUSED', constants.errno.ECONNREFUSED, 'connect', text, format(own));
}
