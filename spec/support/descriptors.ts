// What the kernel says of a descriptor.

import { fstatSync, readFileSync } from 'node:fs';

export const O_NONBLOCK = 0o4000;
export const O_CLOEXEC = 0o2000000;

/** The flags of an open descriptor, as the kernel tells them. */
export function flagsOf(fd: number): number {
  const info = readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1');
  return Number.parseInt(/^flags:\s+(\d+)$/m.exec(info)?.[1] as string, 8);
}

export function isOpen(fd: number): boolean {
  try {
    fstatSync(fd);
    return true;
  } catch {
    return false;
  }
}
