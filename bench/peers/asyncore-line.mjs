// Line echo on asyncore, as its users write it. How it runs is the argument: loop or loopSync.
// With another one, a connection is closed after the first answer.

import { AsyncChat, Dispatcher, IPPROTO_TCP, loop, loopSync, TCP_NODELAY } from 'asyncore';

const [, , how, once] = process.argv;
const CRLF = Buffer.from('\r\n');

class LineEcho extends AsyncChat {
  constructor(socket) {
    super(socket);
    this.setTerminator(CRLF);
  }

  collectIncomingData(data) {
    this._collectIncomingData(data);
  }

  foundTerminator() {
    this.push(this._getData());
    this.push(CRLF);
    if (once) this.closeWhenDone();
  }
}

class LineEchoServer extends Dispatcher {
  constructor() {
    super();
    this.createSocket();
    // Accepted sockets inherit it.
    this.socket.setSockOpt(IPPROTO_TCP, TCP_NODELAY, true);
    this.bind({ host: '127.0.0.1', port: 0 });
    this.listen(65535);
    console.log(`port: ${this.socket.getSockName().port}`);
  }

  handleAccepted(socket) {
    new LineEcho(socket);
  }
}

new LineEchoServer();
if (how === 'loopSync') loopSync();
else await loop();
