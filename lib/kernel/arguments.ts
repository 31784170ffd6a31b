// The checks before a number or a Buffer goes down to C, where koffi would coerce it silently.
//
// Hot calls test their numbers inline, and come here when the test fails: for the error.

import { badNumber, badType, checkInteger } from '../errors';

/** @throws {TypeError|RangeError} for what is no descriptor number */
export function checkFd(action: string, fd: number): void {
  if (typeof fd !== 'number' || (fd | 0) !== fd || fd < 0) {
    throw badNumber(action, 'a file descriptor', fd);
  }
}

/** @throws {TypeError|RangeError} for what is no C int */
export function checkInt(action: string, what: string, value: number): void {
  if (typeof value !== 'number' || (value | 0) !== value)
    checkInteger(action, what, value, -(2 ** 31), 2 ** 31 - 1);
}

/** The engine's own getter: a subclass, or an own property, may claim something else. */
function getter<Value>(name: 'buffer' | 'byteLength' | 'byteOffset') {
  const own = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(Uint8Array.prototype), name);
  return own?.get as (this: Uint8Array) => Value;
}

export const bufferOf = getter<ArrayBuffer>('buffer');
export const byteLengthOf = getter<number>('byteLength');
export const byteOffsetOf = getter<number>('byteOffset');

/**
 * @returns how many bytes there are
 * @throws {TypeError} for what is no Uint8Array
 */
export function checkBytes(action: string, data: Uint8Array): number {
  if (!(data instanceof Uint8Array)) throw badType(action, 'a Uint8Array', data);
  return byteLengthOf.call(data);
}

/**
 * The value of a socket option as the kernel takes it.
 * @throws {RangeError|TypeError} for a number that no C int can hold, and for any other value
 */
export function optionBytes(value: number | boolean | Uint8Array): Uint8Array {
  if (value instanceof Uint8Array) return value;
  const number = typeof value === 'boolean' ? Number(value) : value;
  if (typeof number !== 'number') {
    throw badType('setsockopt', 'an integer, a boolean or a Uint8Array', value);
  }
  checkInteger('setsockopt', 'a value', number, -(2 ** 31), 2 ** 32 - 1);
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(number | 0);
  return bytes;
}
