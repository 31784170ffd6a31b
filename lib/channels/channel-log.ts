// What channels print, and how they name themselves. Nothing here throws, whatever a program's
// `toString` or error object does.

import { compactTraceback, messageOf, textOf } from '../errors';
import type { Address } from '../kernel/address';
import { formatAddress } from '../kernel/address';

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
