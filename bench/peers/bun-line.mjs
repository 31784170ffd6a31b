// Line echo on Bun's own sockets, as an expert writes it: the lines of one 'data' event are found in place, and
// answered in one write.
//
// Where the kernel does not take all of a write, the measurement ends: the load's lines fit.

const CRLF = Buffer.from('\r\n');

const server = Bun.listen({
  hostname: '127.0.0.1',
  port: 0,
  socket: {
    open(socket) {
      socket.setNoDelay(true);
      socket.data = null;
    },
    data(socket, data) {
      const input = socket.data === null ? data : Buffer.concat([socket.data, data]);
      let lines = 0;
      for (let end = input.indexOf(CRLF); end !== -1; end = input.indexOf(CRLF, lines)) {
        lines = end + 2;
      }
      const whole = lines === input.length;
      socket.data = whole ? null : input.subarray(lines);
      if (lines > 0 && socket.write(whole ? input : input.subarray(0, lines)) < lines) {
        process.exit(2);
      }
    },
  },
});

console.log(`port: ${server.port}`);
