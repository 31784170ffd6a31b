// Looks a host name up without stopping anybody: on Node's own terms under `loop`, and blocking as soon
// as something is about to block anyway (`loopSync`, `poll`), where Node's answer could not come in.

import { lookup } from 'node:dns';
import { lookupError } from '../errors';
import { lookUpHost } from '../kernel/address';
import { AF_INET6 } from '../kernel/platform/constants';
import { type ChannelMap, registryOf } from '../loop/channel-map';

/** Returns the literal that was found. @throws {SocketError} `ENOTFOUND`, … */
export type Found = () => string;

/** @param arrived called once, whichever way was faster */
export function lookUpMeanwhile(
  map: ChannelMap,
  host: string,
  socket: { readonly family: number; readonly type: number },
  arrived: (found: Found) => void,
): void {
  const first = (found: Found): void => {
    if (registryOf(map).undefer(blocking)) arrived(found);
  };
  const blocking = (): void => first(() => lookUpHost(host, socket.family, socket.type));
  registryOf(map).defer(blocking);
  lookup(host, { family: socket.family === AF_INET6 ? 6 : 4 }, (error, literal) => {
    first(() => {
      if (error === null) return literal;
      throw lookupError(error.code ?? 'ENOTFOUND', host);
    });
  });
}
