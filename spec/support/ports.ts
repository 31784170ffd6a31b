// Ports for programs that cannot choose one by themselves and say which.

import { createServer } from 'node:net';

/** Below the ephemeral ports: a connection may have taken one of those by the time it is used. */
const [LOWEST, HIGHEST] = [10_000, 32_000];

/** One on which nobody listens. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = LOWEST + Math.floor(Math.random() * (HIGHEST - LOWEST));
    if (await isFree(port)) return port;
  }
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    // At every address, as some of them do.
    server.listen(port, () => server.close(() => resolve(true)));
  });
}
