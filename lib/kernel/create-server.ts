// A listening socket in one call.

import { badRange, badType, checkBoolean, checkInteger, checkOptions } from '../errors';
import { type Address, familyOf } from './address';
import {
  AF_INET6,
  AF_UNIX,
  IPPROTO_IPV6,
  IPV6_V6ONLY,
  SO_REUSEADDR,
  SO_REUSEPORT,
  SOL_SOCKET,
} from './platform/constants';
import { Socket } from './socket';

/** Options of `createServer`. */
export interface CreateServerOptions {
  /** `AF_INET`, `AF_INET6` or `AF_UNIX`. Default: as the address says; `AF_INET` for a host name or `''`. */
  family?: number | undefined;
  /** How many connections may wait to be accepted. Default 511; the kernel's limit is `net.core.somaxconn`. */
  backlog?: number | undefined;
  /** Several processes may listen at one port, and the kernel distributes the connections. Default false. */
  reusePort?: boolean | undefined;
  /**
   * An IPv6 socket also accepts IPv4 connections, whose peers then have addresses such as
   * `::ffff:192.0.2.1`. Default false. With a host of `''` this makes the family `AF_INET6`.
   */
  dualStackIPv6?: boolean;
}

const OPTIONS = { family: true, backlog: true, reusePort: true, dualStackIPv6: true } as const;
const ACTION = 'create a server';

/**
 * A socket that listens, with `SO_REUSEADDR`. Python's `socket.create_server`. It is in no channel map:
 * give it to a channel, or accept from it.
 *
 * An IPv6 socket takes IPv6 connections only, unless `dualStackIPv6` is set. A host name is looked up,
 * blocking. At a Unix path, the file that a dead process has left is removed first; the socket's own file
 * stays when the socket closes.
 * @throws {SocketError} `EADDRINUSE`, `EACCES`, `EADDRNOTAVAIL`, …: no socket is left open then
 * @throws {TypeError|RangeError} for an invalid address or option, and for an unknown option
 *
 * @example
 * using server = createServer({ host: '127.0.0.1', port: 8007 });
 * for (;;) {
 *   select([server], [], []);
 *   server.accept()?.socket.close();
 * }
 */
export function createServer(address: Address, options: CreateServerOptions = {}): Socket {
  checkOptions(ACTION, 'an object of options', options, OPTIONS);
  if (typeof address !== 'object' || address === null) {
    throw badType(ACTION, '{ host, port } or { path }', address);
  }
  const { backlog, reusePort = false, dualStackIPv6 = false } = options;
  if (backlog !== undefined) checkInteger(ACTION, 'a backlog', backlog, 0, 2 ** 31 - 1);
  checkBoolean(ACTION, 'reusePort to be true or false', reusePort);
  checkBoolean(ACTION, 'dualStackIPv6 to be true or false', dualStackIPv6);
  const { family = inferredFamily(address, dualStackIPv6) } = options;
  if (dualStackIPv6 && family !== AF_INET6) {
    throw badRange(ACTION, 'the family AF_INET6 for dualStackIPv6', family);
  }
  const socket = Socket.socket(family);
  try {
    socket.setSockOpt(SOL_SOCKET, SO_REUSEADDR, true);
    if (reusePort) socket.setSockOpt(SOL_SOCKET, SO_REUSEPORT, true);
    if (family === AF_INET6) socket.setSockOpt(IPPROTO_IPV6, IPV6_V6ONLY, !dualStackIPv6);
    socket.bind(address);
    socket.listen(backlog);
    return socket;
  } catch (error) {
    socket.close();
    throw error;
  }
}

function inferredFamily(address: Address, dualStackIPv6: boolean): number {
  if (!('host' in address)) return AF_UNIX;
  return address.host === '' && dualStackIPv6 ? AF_INET6 : familyOf(address.host);
}
