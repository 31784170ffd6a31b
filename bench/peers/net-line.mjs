// Line echo on node:net, written plainly: each line is answered by itself. With an argument, a
// connection is ended with the first answer.

import { createServer } from 'node:net';

const once = process.argv.length > 2;
const CRLF = Buffer.from('\r\n');

const server = createServer({ noDelay: !once }, (socket) => {
  let input = Buffer.alloc(0);
  socket.on('error', () => {});
  socket.on('data', (data) => {
    input = input.length === 0 ? data : Buffer.concat([input, data]);
    for (let end = input.indexOf(CRLF); end !== -1; end = input.indexOf(CRLF)) {
      socket.write(input.subarray(0, end + 2));
      input = input.subarray(end + 2);
      if (once) socket.end();
    }
  });
});

server.listen({ host: '127.0.0.1', port: 0, backlog: 65535 }, () => {
  console.log(`port: ${server.address().port}`);
});
