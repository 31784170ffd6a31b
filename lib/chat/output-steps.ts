// The methods of a chat that its output goes through, and checks of what overrides have made of them.

import type { Dispatcher } from '../channels/dispatcher';
import { badRange } from '../errors';

/** The methods that output goes through, which a subclass may override. */
export interface Steps {
  initiateSend(): void;
  refillBuffer(): void;
  send(data: Uint8Array): number;
  writable(): boolean;
}

/** The chat that sends from a queue. */
export interface Owner extends Dispatcher, Steps {
  acOutBufferSize: number;
  batchOutput: boolean;
  encoding: BufferEncoding;
  highWaterMark: number;
  useEncoding: boolean;
  handleDrain(): unknown;
}

/** What an override of send() has returned. */
export function checkSent(sent: number, length: number): number {
  if (Number.isInteger(sent) && sent >= 0 && sent <= length) return sent;
  throw badRange('send', `send() to return a number of bytes up to ${length}`, sent);
}
