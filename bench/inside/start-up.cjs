// The smallest server that there is, from nothing to its first caller. Prints its port, and then, in
// ms of the clock that all processes share, when it had him.
//
//   node start-up.cjs asyncore|net

function arrived() {
  console.log(Number(process.hrtime.bigint()) / 1e6);
}

if (process.argv[2] === 'net') {
  const server = require('node:net').createServer((socket) => {
    arrived();
    socket.destroy();
    server.close();
  });
  server.listen(0, '127.0.0.1', () => console.log(`port: ${server.address().port}`));
} else {
  const { Dispatcher, loop } = require('asyncore');

  class Server extends Dispatcher {
    constructor() {
      super();
      this.createSocket();
      this.bind({ host: '127.0.0.1', port: 0 });
      this.listen();
      console.log(`port: ${this.socket.getSockName().port}`);
    }

    handleAccepted(socket) {
      arrived();
      socket.close();
      this.close();
    }
  }

  new Server();
  void loop();
}
