// Files of kinds that node:fs does not make.

import { closeSync, constants, ftruncateSync, openSync } from 'node:fs';
import koffi from 'koffi';
import { temporaryPath } from './drive';
import { keepFd } from './keep';
import { makePipe } from './make-pipe';

/** Writes a file of zeros, of which the disk holds nothing. */
export function writeZeros(path: string, size: number): void {
  const fd = openSync(path, 'w');
  try {
    ftruncateSync(fd, size);
  } finally {
    closeSync(fd);
  }
}

/** A named pipe, of which Node opens the ends. Its input does not block. Closed after the test. */
export function namedPipe(): [input: number, output: number] {
  const path = temporaryPath('pipe');
  makePipe(path);
  const input = keepFd(openSync(path, constants.O_RDONLY | constants.O_NONBLOCK));
  return [input, keepFd(openSync(path, constants.O_WRONLY))];
}

const unlockpt = koffi.load(null).func('int unlockpt(int)');
const ptsname = koffi.load(null).func('const char *ptsname(int)');

/** Opens a terminal, and what stands at the other end of its line. Both block. */
export function openTerminal(): [terminal: number, line: number] {
  const flags = constants.O_RDWR | constants.O_NOCTTY;
  const line = openSync('/dev/ptmx', flags);
  try {
    if (unlockpt(line) !== 0) throw new Error(`unlockpt: errno ${koffi.errno()}`);
    return [openSync(ptsname(line), flags), line];
  } catch (error) {
    closeSync(line);
    throw error;
  }
}
