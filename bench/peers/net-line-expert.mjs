// Line echo on node:net as an expert writes it: the lines of one 'data' event are found in place,
// where no slice is made for any, and answered in one write.

import { createServer } from 'node:net';

const CRLF = Buffer.from('\r\n');

const server = createServer({ noDelay: true }, (socket) => {
  let begun = null;
  socket.on('error', () => {});
  socket.on('data', (data) => {
    const input = begun === null ? data : Buffer.concat([begun, data]);
    let lines = 0;
    for (let end = input.indexOf(CRLF); end !== -1; end = input.indexOf(CRLF, lines)) {
      lines = end + 2;
    }
    if (lines === input.length) {
      begun = null;
      socket.write(input);
    } else {
      begun = input.subarray(lines);
      if (lines > 0) socket.write(input.subarray(0, lines));
    }
  });
});

server.listen({ host: '127.0.0.1', port: 0, backlog: 65535 }, () => {
  console.log(`port: ${server.address().port}`);
});
