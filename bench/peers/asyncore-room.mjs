// A room on asyncore, as its users write it: each line goes to every member. How it runs is the argument.

import { AsyncChat, Dispatcher, IPPROTO_TCP, loop, loopSync, TCP_NODELAY } from 'asyncore';

const CRLF = Buffer.from('\r\n');
const room = new Set();

class Member extends AsyncChat {
  constructor(socket) {
    super(socket);
    this.setTerminator(CRLF);
    room.add(this);
    this.push('!');
  }

  collectIncomingData(data) {
    this._collectIncomingData(data);
  }

  foundTerminator() {
    const line = Buffer.concat([this._getData(), CRLF]);
    for (const member of room) member.push(line);
  }

  handleClose() {
    room.delete(this);
    this.close();
  }
}

class Room extends Dispatcher {
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
    new Member(socket);
  }
}

new Room();
if (process.argv[2] === 'loopSync') loopSync();
else await loop();
