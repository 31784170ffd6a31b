// What channels log, and how they name themselves. A log ends nothing: whatever a program's `toString`,
// error object or `logInfo` does, nothing but ExitNow comes out of here.

import { compactTraceback, isExit, messageOf, stackOf, textOf } from '../errors';
import type { Address } from '../kernel/address';
import { formatAddress } from '../kernel/address';
import { warn } from '../kernel/output';
import type { Channel } from '../loop/channel';
import { handleResult } from '../loop/dispatch';

interface Logging extends Channel {
  logInfo(message: unknown, type?: string): unknown;
}

/**
 * Has a channel log what the library tells of it. The caller goes on when an override of `logInfo` throws
 * or its promise is rejected: a process warning tells of both, the failure and the message.
 * @throws {ExitNow} and nothing else
 */
export function logFor(channel: Logging, message: string, type?: string): void {
  const failed = (_: Channel, error: unknown): void => {
    if (isExit(error)) throw error;
    const text = `A channel could not log '${message}': ${stackOf(error)}`;
    warn('ChannelWarning', 'ASYNCORE_LOG', text);
  };
  try {
    handleResult(channel, channel.logInfo(message, type), failed);
  } catch (error) {
    failed(channel, error);
  }
}

const serials = new WeakMap<object, number>();
let lastSerial = 0;

/** A number that tells one channel from another, in hexadecimal. Python prints the object's address. */
function serialOf(channel: object): string {
  let serial = serials.get(channel);
  if (serial === undefined) {
    lastSerial += 1;
    serial = lastSerial;
    serials.set(channel, serial);
  }
  return serial.toString(16);
}

interface Described {
  readonly accepting: boolean;
  readonly connected: boolean;
  readonly addr: Address | null;
}

/** `<EchoServer listening 127.0.0.1:8007 at 0x1>`. Python's `__repr__`. */
export function describeChannel(channel: Described): string {
  const words = [channel.constructor.name || 'anonymous'];
  if (channel.accepting && channel.addr !== null) words.push('listening');
  else if (channel.connected) words.push('connected');
  if (channel.addr !== null) words.push(formatAddress(channel.addr));
  return `<${words.join(' ')} at 0x${serialOf(channel)}>`;
}

/** The line that `handleError` logs. */
export function describeError(channel: object, error: unknown, consequence: string): string {
  const [, type, value, info] = compactTraceback(error);
  const self = textOf(channel, `<toString() failed for object at 0x${serialOf(channel)}>`);
  const name = typeof type === 'function' ? nameOfClass(type) : nameOfType(value);
  const text = messageOf(value);
  return `uncaptured exception, ${consequence} channel ${self} (${name}:${text} ${info})`;
}

/** A class may have anything as its name, a symbol too. */
function nameOfClass(type: { name: unknown }): string {
  try {
    return String(type.name);
  } catch {
    return '?';
  }
}

function nameOfType(value: unknown): string {
  return value === null ? 'null' : typeof value;
}
