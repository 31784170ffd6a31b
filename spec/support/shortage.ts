// A process that is short of descriptors, and one that is no longer.

import { readdirSync } from 'node:fs';
import { AF_UNIX, Socket } from 'asyncore';
import koffi from 'koffi';

const RLIMIT_NOFILE = 7;
const libc = koffi.load(null);
const getrlimit = libc.func('int getrlimit(int, void *)');
const setrlimit = libc.func('int setrlimit(int, void *)');

/** The limit before it was lowered: struct rlimit { rlim_t rlim_cur; rlim_t rlim_max; } */
let before: Buffer | null = null;
const fillers: Socket[] = [];

/** Takes every descriptor there is, with the limit lowered so that they are few. */
export function takeDescriptors(): void {
  before = Buffer.alloc(16);
  getrlimit(RLIMIT_NOFILE, before);
  const highest = Math.max(...readdirSync('/proc/self/fd').map(Number));
  const limit = Buffer.from(before);
  limit.writeBigUInt64LE(BigInt(highest + 8), 0);
  setrlimit(RLIMIT_NOFILE, limit);
  for (;;) {
    try {
      fillers.push(Socket.socket(AF_UNIX));
    } catch (error) {
      expect(error).toMatchObject({ code: 'EMFILE' });
      return;
    }
  }
}

/** Gives them back, if they were taken. */
export function giveDescriptorsBack(): void {
  for (const socket of fillers.splice(0)) socket.close();
  if (before !== null) setrlimit(RLIMIT_NOFILE, before);
  before = null;
}
