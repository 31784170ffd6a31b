// What a program passes where a descriptor is needed.

import { badRange, badType } from '../errors';
import { checkFd } from './arguments';
import { ERRNO } from './platform/linux';

/**
 * A descriptor, or an object that has one: a Socket, a channel, an `fs.FileHandle`, a stream. `fileno()` is
 * asked first, then `fd` is read. A closed object answers -1, or null.
 */
export type HasDescriptor = number | { readonly fd: number } | { fileno(): number | null };

/**
 * The number of a descriptor; -1 for an object that is closed.
 * @throws {TypeError} for what has no descriptor
 */
export function descriptorOf(action: string, holder: HasDescriptor): number {
  if (typeof holder === 'number') return holder;
  const { fileno } = (holder ?? {}) as { fileno?: () => unknown };
  const isFile = typeof fileno === 'function';
  const fd = isFile ? fileno.call(holder) : (holder as { fd?: unknown } | null)?.fd;
  if (isFile && fd === null) return -1;
  if (typeof fd !== 'number') throw badType(action, 'a descriptor', holder);
  return fd;
}

/**
 * The number of a descriptor that a call is about to use.
 * @throws {TypeError} for what has no descriptor
 * @throws {RangeError} for a number that can be no descriptor; with the code `EBADF` for a closed object
 */
export function openDescriptorOf(action: string, holder: HasDescriptor): number {
  const fd = descriptorOf(action, holder);
  if (fd === -1 && typeof holder !== 'number') {
    const error = badRange(action, 'an open descriptor', holder);
    throw Object.assign(error, { code: 'EBADF', errno: ERRNO.EBADF, syscall: action });
  }
  checkFd(action, fd);
  return fd;
}
