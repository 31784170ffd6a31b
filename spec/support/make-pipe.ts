// Named pipes, also for programs that run without jest.

import koffi from 'koffi';

const mkfifo = koffi.load(null).func('int mkfifo(const char *, unsigned int)');

/** Makes a named pipe. mkfifo(1) does the same, but a process takes ten times as long. */
export function makePipe(path: string): void {
  if (mkfifo(path, 0o600) !== 0) throw new Error(`mkfifo ${path}: errno ${koffi.errno()}`);
}
