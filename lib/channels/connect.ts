// The connecting side of a channel: from `connect` to `handleConnect`.
//
//   connect ──> host name? ──> connectEx ──> under way ──> event ──> finishConnect ──> handleConnect
//                  │              │                                       │
//               look-up        at once (Unix, UDP)                     SO_ERROR: throws
//
// This is the way of a channel that has a socket. A channel without one comes here with a literal or a Unix
// path, for which open-and-connect.ts has opened a socket.

import { badType, codeOf } from '../errors';
import {
  type Address,
  checkNamed,
  encodeAddress,
  formatAddress,
  type InternetAddress,
  needsLookup,
} from '../kernel/address';
import {
  AF_UNIX,
  IPPROTO_TCP,
  SO_ERROR,
  SOCK_STREAM,
  SOL_SOCKET,
  TCP_INFO,
} from '../kernel/platform/constants';
import { ERRNO, TCP_CLOSE, TCP_LISTEN } from '../kernel/platform/linux';
import { Socket, type SocketLike } from '../kernel/socket';
import { failure } from '../kernel/syscalls';
import type { Channel } from '../loop/channel';
import { type ChannelMap, registryOf } from '../loop/channel-map';
import { handleResult, routeErrorOutside } from '../loop/dispatch';
import { Ending } from './ending';
import { lookUpOne } from './look-up';
import type { Session } from './session';

/** What this file needs of a channel. */
export interface Connecting extends Channel {
  addr: Address | null;
  connected: boolean;
  connecting: boolean;
  setSocket(socket: SocketLike, map?: ChannelMap): void;
  delChannel(): void;
  handleConnect(): unknown;
  handleConnectEvent(): void;
}

/** The answers of connect(2) that mean "under way". */
export const UNDER_WAY: ReadonlySet<number> = new Set([
  ERRNO.EINPROGRESS,
  ERRNO.EALREADY,
  ERRNO.EWOULDBLOCK,
]);

/** What a channel was before a connect: a connection, a listener or a receiver goes on if that fails. */
interface Before {
  readonly works: boolean;
  readonly connected: boolean;
}

/** Starts to connect, after the look-up of a host name. Nothing changes for an address that is none. */
export function startConnect<Channel extends Connecting>(
  channel: Channel,
  sessionOf: (channel: Channel) => Session,
  socket: SocketLike,
  address: Address,
): void {
  const session = sessionOf(channel);
  const named = session.setUp(channel, session.inUse, () => checkTarget(socket, address));
  const before = { works: session.works, connected: channel.connected };
  const { preparing } = session;
  preparing.lookup = null;
  preparing.connectErrno = 0;
  channel.connected = false;
  channel.connecting = true;
  // A look-up for an earlier call has suspended the channel.
  if (session.fd !== null) session.resume();
  else if (socket.fileno() >= 0) channel.setSocket(socket, session.map);
  const now = sessionOf(channel);
  now.preparing.connectStarted = true;
  if (named !== null) lookUpAndConnect(channel, now, named, before);
  else if (callConnect(channel, now, before, address)) channel.handleConnectEvent();
}

/** @returns the address, when its host is a name that has to be looked up */
function checkTarget(socket: SocketLike, address: Address): InternetAddress | null {
  // A stand-in may take addresses of its own kind.
  if (!(socket instanceof Socket)) return null;
  const named = socket.family !== AF_UNIX && needsLookup(address) ? address : null;
  if (named === null) encodeAddress(address, socket.family, 'connect');
  else checkNamed(named, socket.family, 'connect');
  return named;
}

/**
 * @param found returns the literal that the address's host stands for, or throws
 * @returns whether the connection is established already
 */
function callConnect(
  channel: Connecting,
  session: Session,
  before: Before,
  address: Address,
  found?: () => string,
): boolean {
  const socket = session.socket as SocketLike;
  try {
    const target = found === undefined ? address : { ...address, host: found() };
    if (typeof socket.connectEx !== 'function') {
      throw badType('connect', 'a socket that can connect', socket);
    }
    let errno = socket.connectEx(target);
    // Linux reports an earlier failure of this socket once more, and connects at the next call.
    if (errno === ERRNO.ECONNABORTED) errno = socket.connectEx(target);
    const done = errno === 0 || errno === ERRNO.EISCONN;
    // EAGAIN from a Unix socket is no progress: the listener's backlog is full, and no event will ever
    // tell that there is room again.
    const underWay = UNDER_WAY.has(errno) && !(errno === ERRNO.EAGAIN && 'path' in address);
    if (!done && !underWay) throw failure(-errno, 'connect', formatAddress(address));
    channel.addr = address;
    return done;
  } catch (error) {
    channel.connecting = false;
    if (before.works) channel.connected = before.connected;
    else session.leaveMap(channel);
    throw error;
  }
}

/** Until the name is found the socket stays out of the selector, where it would report a hang-up. */
function lookUpAndConnect(
  channel: Connecting,
  session: Session,
  address: InternetAddress,
  before: Before,
): void {
  const attempt = {};
  channel.addr = address;
  session.preparing.lookup = attempt;
  session.suspend(Infinity);
  const { family, type } = session.socket as Socket;
  lookUpOne(registryOf(session.map), address.host, family, type, (found) => {
    // The channel has closed, has another socket, or connects elsewhere by now.
    if (session.replaced || session.preparing.lookup !== attempt) return;
    session.preparing.lookup = null;
    session.resume();
    try {
      if (callConnect(channel, session, before, address, found)) channel.handleConnectEvent();
    } catch (error) {
      routeErrorOutside(channel, error);
    }
  });
}

/**
 * A connect is over: looks how it ended, and calls `handleConnect`.
 * @param sessionOf the session that the channel has now
 * @throws {SocketError} when the connect failed
 */
export function finishConnect<Channel extends Connecting>(
  channel: Channel,
  sessionOf: (channel: Channel) => Session,
): void {
  const session = sessionOf(channel);
  // Re-entrant: a pass that handleConnect runs has reported the connection again.
  if (!isConnected(channel, session) || session.handlesConnect) return;
  session.handlesConnect = true;
  try {
    handleResult(channel, channel.handleConnect());
  } finally {
    session.handlesConnect = false;
    sessionOf(channel).handlesConnect = false;
  }
  // handleConnect may have closed the channel, or begun to connect elsewhere by another socket.
  const now = sessionOf(channel);
  if (session.closed || now.closed || (now !== session && now.preparation?.connectStarted)) return;
  channel.connected = true;
  channel.connecting = false;
}

/**
 * The first part of a read or write event of a channel that connects.
 * @returns whether the connect has failed before. handleError has been told, and has not closed the channel,
 *   which is ready at every tick. As in Python `handleClose` is called; if that leaves the channel open, it
 *   leaves the map
 * @throws {SocketError} when the connect failed
 */
export function hasFailed(channel: Connecting, session: Session): boolean {
  if (channel.connected) return false;
  if (session.connectErrno === 0) {
    channel.handleConnectEvent();
    return false;
  }
  session.peerGone(channel, new Ending('error', connectFailure(channel, session.connectErrno)));
  // handleClose may have closed the channel, or begun to connect anew.
  if (session.replaced || session.connectErrno === 0) return true;
  channel.connecting = false;
  session.leaveMap(channel);
  return true;
}

/** @returns false while a host name is being looked up: the kernel knows nothing of the connect yet */
function isConnected(channel: Connecting, session: Session): boolean {
  if (session.awaitsLookup()) return false;
  const socket = session.socket as SocketLike;
  const errno = session.connectErrno || socket.getSockOpt(SOL_SOCKET, SO_ERROR);
  if (errno === 0) return true;
  session.preparing.connectErrno = errno;
  throw connectFailure(channel, errno);
}

function connectFailure({ addr }: Connecting, errno: number): Error {
  return failure(-errno, 'connect', addr === null ? undefined : formatAddress(addr));
}

/** The connection state of a socket that was opened elsewhere. */
export function inspectSocket(socket: SocketLike): {
  connected: boolean;
  connecting: boolean;
  addr: Address | null;
} {
  try {
    // A peer that has reset the connection since has no name any more, and was connected all the same.
    const accepted = socket instanceof Socket ? socket.acceptedFrom : null;
    const addr = accepted ?? socket.getPeerName?.() ?? null;
    return { connected: true, connecting: false, addr };
  } catch (error) {
    const code = codeOf(error);
    if (code !== 'ENOTCONN' && code !== 'EINVAL') throw error;
    return { connected: false, connecting: isConnecting(socket), addr: null };
  }
}

function isConnecting(socket: SocketLike): boolean {
  if (!(socket instanceof Socket) || socket.type !== SOCK_STREAM || socket.family === AF_UNIX) {
    return false;
  }
  const state = socket.getSockOpt(IPPROTO_TCP, TCP_INFO, 1)[0] as number;
  // It may have become connected between the two questions: its first event tells.
  return state !== TCP_CLOSE && state !== TCP_LISTEN;
}
