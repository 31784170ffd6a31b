// The sender of bodies on node:net: each line is answered by 64 MiB, in writes of 64 KiB until one
// returns false, and then from 'drain' on. With a path, each line is answered by that file, piped.

import { createReadStream } from 'node:fs';
import { createServer } from 'node:net';

const BODY = 64 * 1024 * 1024;
const PIECE = 64 * 1024;
const path = process.argv[2];

// What the load compares with: 251 is prime, so no piece fits where another belongs.
const pattern = Buffer.from(Array.from({ length: 251 }, (_, index) => index));
const body = path === undefined ? Buffer.alloc(BODY, pattern) : null;

const server = createServer({ noDelay: true }, (socket) => {
  let at = BODY;
  const go = () => {
    while (at < BODY) {
      const piece = body.subarray(at, at + PIECE);
      at += PIECE;
      if (!socket.write(piece)) return;
    }
  };
  socket.on('error', () => {});
  if (path === undefined) socket.on('drain', go);
  // A request is one line, and there is one at a time.
  socket.on('data', (data) => {
    if (!data.includes('\r\n')) return;
    if (path !== undefined) return createReadStream(path).pipe(socket, { end: false });
    at = 0;
    go();
  });
});

server.listen({ host: '127.0.0.1', port: 0 }, () => {
  console.log(`port: ${server.address().port}`);
});
