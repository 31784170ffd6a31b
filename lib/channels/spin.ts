// Why a channel spins, in words, and what to do about it (loop/spin.ts).

import { EXCEPTION, READ, type SelectSets, WRITE } from '../loop/entry';
import type { Session } from './session';

/** What this file needs of a channel, and of the library's own class. */
interface Spinning {
  readonly accepting: boolean;
  handleRead: unknown;
  handleWrite: unknown;
  close: unknown;
}

const HANDLERS = new Map<SelectSets, string>([
  [READ, 'handleRead()'],
  [WRITE, 'handleWrite()'],
  [EXCEPTION, 'handleExpt()'],
]);

/**
 * @param event what has been delivered again and again
 * @param failed a handler has thrown in it
 * @returns undefined for a socket that is not the library's own, whose progress cannot be seen
 */
export function reasonOfSpin(
  channel: Spinning,
  stock: Spinning,
  session: Session,
  event: SelectSets,
  failed: boolean,
): string | undefined {
  if (session.socket?.owner === undefined) return undefined;
  const handler = channel.accepting ? 'handleAccept()' : (HANDLERS.get(event) ?? 'handleClose()');
  if (failed) {
    return `${handler} throws each time, and handleError() does not close the channel: call close() in handleError().`;
  }
  if (session.closeHandled || !HANDLERS.has(event)) {
    return channel.close === stock.close
      ? 'The connection is over, and handleClose() does not close the channel: call close() in handleClose().'
      : 'The connection is over, and close() leaves the channel open: call super.close() in close().';
  }
  if (channel.accepting) return `${handler} accepts nothing: call accept(), or pauseReading().`;
  if (event === EXCEPTION)
    return `${handler} does not read the urgent data: call recv(1, MSG_OOB).`;
  if (event === WRITE) {
    const what =
      channel.handleWrite === stock.handleWrite
        ? 'there is no handleWrite()'
        : 'handleWrite() sends nothing';
    return `writable() returns true, and ${what}: let writable() return false while there is nothing to send.`;
  }
  return channel.handleRead === stock.handleRead
    ? 'There is input, and no handleRead(): override it, or let readable() return false.'
    : 'handleRead() reads nothing: call recv(), or pauseReading().';
}
