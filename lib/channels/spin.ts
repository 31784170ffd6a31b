// Why a channel spins, in words, and what to do about it (loop/spin.ts).

import { Socket } from '../kernel/socket';
import type { SpinSigns } from '../loop/channel';
import { EXCEPTION, READ, type SelectSets, WRITE } from '../loop/entry';
import { peek, type Session } from './session';

/** What this file needs of a channel, and of the library's own class. */
interface Spinning {
  readonly accepting: boolean;
  readonly connected: boolean;
  readonly connecting: boolean;
  handleRead: unknown;
  handleWrite: unknown;
  close: unknown;
}

const HANDLERS = new Map<SelectSets, string>([
  [READ, 'handleRead()'],
  [WRITE, 'handleWrite()'],
  [EXCEPTION, 'handleExpt()'],
]);

/** The handler that an event ends in. */
function handlerOf(channel: Spinning, event: SelectSets): string {
  const handler = HANDLERS.get(event);
  if (handler === undefined) return 'handleClose()';
  if (channel.accepting) return 'handleAccept()';
  return channel.connecting ? 'handleConnect()' : handler;
}

/**
 * @param event what has been delivered again and again
 * @returns undefined for a channel that may well be at work, as nothing of it is counted: a socket that is not
 *   the library's own, or that another library uses, an async handleClose, empty datagrams
 */
export function reasonOfSpin(
  channel: Spinning,
  stock: Spinning,
  session: Session,
  event: SelectSets,
  { threw, transfers }: SpinSigns,
): string | undefined {
  const { socket } = session;
  if (socket?.owner === undefined || session.handlesClose) return undefined;
  const handler = handlerOf(channel, event);
  if (threw) {
    return `${handler} throws each time, and handleError() does not close the channel: call close() in handleError().`;
  }
  if (session.closeHandled || !HANDLERS.has(event)) {
    return channel.close === stock.close
      ? 'The connection is over, and handleClose() does not close the channel: call close() in handleClose().'
      : 'The connection is over, and close() leaves the channel open: call super.close() in close().';
  }
  if (session.isStream && !channel.connected && !channel.connecting && !channel.accepting) {
    return 'The socket is neither connected nor listening: call connect() or listen(), or close().';
  }
  if (transfers) return undefined;
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
  if (channel.handleRead === stock.handleRead) {
    return 'There is input, and no handleRead(): override it, or let readable() return false.';
  }
  if (!isNextEmpty(socket)) return 'handleRead() reads nothing: call recv(), or pauseReading().';
  if (session.isDatagram) return undefined;
  return 'The peer has ended its stream, and handleRead() does not look: call recv() of the channel, or close().';
}

/** Whether recv() would return an empty Buffer. */
function isNextEmpty(socket: unknown): boolean {
  try {
    return socket instanceof Socket && peek(socket, 0)?.length === 0;
  } catch {
    return false;
  }
}
