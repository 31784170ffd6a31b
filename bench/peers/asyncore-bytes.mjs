// Byte echo by plain dispatchers of asyncore, as in its README.

import { Dispatcher, DispatcherWithSend, IPPROTO_TCP, loop, TCP_NODELAY } from 'asyncore';

class Echo extends DispatcherWithSend {
  handleRead() {
    const data = this.recv(8192);
    if (data !== null) this.send(data);
  }

  handleClose() {
    this.close();
  }
}

class EchoServer extends Dispatcher {
  constructor() {
    super();
    this.createSocket();
    // Accepted sockets inherit it.
    this.socket.setSockOpt(IPPROTO_TCP, TCP_NODELAY, true);
    this.bind({ host: '127.0.0.1', port: 0 });
    this.listen(4096);
    console.log(`port: ${this.socket.getSockName().port}`);
  }

  handleAccepted(socket) {
    new Echo(socket);
  }
}

new EchoServer();
await loop();
