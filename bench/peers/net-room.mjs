// A room on node:net: each line goes to every member. With the argument `corked`, what one turn of Node's loop
// brings to a member leaves together, at the end of the turn.

import { createServer } from 'node:net';

const corked = process.argv[2] === 'corked';
const CRLF = Buffer.from('\r\n');
const room = new Set();
let uncork = null;

function say(line) {
  if (corked && uncork === null) {
    for (const member of room) member.cork();
    uncork = setImmediate(() => {
      uncork = null;
      for (const member of room) member.uncork();
    });
  }
  for (const member of room) member.write(line);
}

const server = createServer({ noDelay: true }, (socket) => {
  let input = Buffer.alloc(0);
  room.add(socket);
  socket.write('!');
  socket.on('error', () => {});
  socket.on('close', () => room.delete(socket));
  socket.on('data', (data) => {
    input = input.length === 0 ? data : Buffer.concat([input, data]);
    for (let end = input.indexOf(CRLF); end !== -1; end = input.indexOf(CRLF)) {
      say(input.subarray(0, end + 2));
      input = input.subarray(end + 2);
    }
  });
});

server.listen({ host: '127.0.0.1', port: 0, backlog: 4096 }, () => {
  console.log(`port: ${server.address().port}`);
});
