// What the kernel says about this process: its descriptors, and what its epoll instances watch.

import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

/** Every open descriptor and what it is: `socket:[12345]`, `anon_inode:[eventpoll]`, a path. */
export function descriptors(): Map<number, string> {
  const open = new Map<number, string>();
  for (const name of readdirSync('/proc/self/fd')) {
    try {
      open.set(Number(name), readlinkSync(`/proc/self/fd/${name}`));
    } catch {
      // The one that read the directory is gone by now.
    }
  }
  return open;
}

/** Reported whether asked for or not, and therefore in every registration: POLLERR, POLLHUP. */
export const ALWAYS = 0x18;

/** fd -> the mask it is watched for, and the inode of what is watched. */
export function registrations(epollFd: number): Map<number, { mask: number; inode: number }> {
  const found = new Map<number, { mask: number; inode: number }>();
  const info = readFileSync(`/proc/self/fdinfo/${epollFd}`, 'latin1');
  for (const line of info.matchAll(/^tfd:\s*(\d+) events:\s*([0-9a-f]+).* ino:([0-9a-f]+)/gm)) {
    const [, fd, mask, inode] = line as unknown as [string, string, string, string];
    found.set(Number(fd), {
      mask: Number.parseInt(mask, 16) & ~ALWAYS,
      inode: Number.parseInt(inode, 16),
    });
  }
  return found;
}
