// A channel that opens its socket itself: `connect` without `createSocket`.
//
//   connect ──> a literal, a path ──> a socket of that family ──> startConnect (connect.ts)
//      │
//      └──> a host name ──> look-up ──> attempts ──> the first that connects ──> setSocket, handleConnect
//                                 (search.ts)

import {
  type Address,
  checkNamed,
  encodeAddress,
  familyOfAddress,
  type InternetAddress,
} from '../kernel/address';
import { AF_INET, AF_INET6, AF_UNSPEC } from '../kernel/platform/constants';
import { Socket, type SocketLike } from '../kernel/socket';
import { type Connecting, startConnect } from './connect';
import { attachOpened, detachOpened, openSocket, opensSocket } from './opened-socket';
import { Search } from './search';
import type { Session } from './session';

/**
 * Starts to connect, by the socket that the channel has, or by one that is opened here.
 * @throws as `Dispatcher.connect`
 */
export function connectChannel<Channel extends Connecting>(
  channel: Channel,
  sessionOf: (channel: Channel) => Session,
  address: Address,
): void {
  const session = sessionOf(channel);
  if (opensSocket(session)) openAndConnect(channel, sessionOf, address, null);
  else startConnect(channel, sessionOf, session.socket as SocketLike, address);
}

/**
 * Opens a socket and starts to connect.
 * @param localAddress a literal of the address's family, to be bound to; null: the kernel chooses
 * @throws as `Dispatcher.connect`; the channel then has no socket
 */
export function openAndConnect<Channel extends Connecting>(
  channel: Channel,
  sessionOf: (channel: Channel) => Session,
  address: Address,
  localAddress: Address | null,
): void {
  const family = familyOfAddress(address);
  const session = sessionOf(channel);
  if (family === AF_UNSPEC) {
    const target = address as InternetAddress;
    checkNamed(target, AF_INET6, 'connect');
    const placeholder = Socket.socket(AF_INET);
    attachOpened(channel, session, placeholder);
    new Search(channel, () => sessionOf(channel), placeholder, target, localAddress).start();
    return;
  }
  encodeAddress(address, family, 'connect');
  const socket = openSocket(family, localAddress);
  attachOpened(channel, session, socket);
  const now = sessionOf(channel);
  try {
    startConnect(channel, sessionOf, socket, address);
  } catch (error) {
    // Not when handleConnect has thrown.
    if (now.preparing.failed && !now.replaced) detachOpened(channel, now, socket);
    throw error;
  }
}
