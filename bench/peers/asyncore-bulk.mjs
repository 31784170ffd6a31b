// Large amounts on asyncore, one connection at a time. The argument is what the server does:
// `echo`, all that comes is pushed as it comes; otherwise each line is answered by 64 MiB, by
// `pushes` of 64 KiB while there is room, by one `push`, or by a `producer`.
//
// With a path, the answer is that file: from memory by one `push`, or from the disk by a `file` producer.

import { openSync, readFileSync } from 'node:fs';
import {
  AsyncChat,
  Dispatcher,
  FileProducer,
  IPPROTO_TCP,
  loop,
  SimpleProducer,
  TCP_NODELAY,
} from 'asyncore';

const BODY = 64 * 1024 * 1024;
const PIECE = 64 * 1024;
const [, , how, path] = process.argv;

// What the load compares with: 251 is prime, so no piece fits where another belongs.
function patterned() {
  return Buffer.alloc(BODY, Buffer.from(Array.from({ length: 251 }, (_, index) => index)));
}

const body = how === 'file' ? null : path === undefined ? patterned() : readFileSync(path);

class Echo extends AsyncChat {
  constructor(socket) {
    super(socket);
    this.setTerminator(null);
  }

  readable() {
    return this.writableLength < this.highWaterMark;
  }

  collectIncomingData(data) {
    this.push(data);
  }
}

class Body extends AsyncChat {
  constructor(socket) {
    super(socket);
    this.setTerminator('\r\n');
  }

  collectIncomingData() {}
}

class BodyByPushes extends Body {
  #at = BODY;

  foundTerminator() {
    this.#at = 0;
    this.handleDrain();
  }

  handleDrain() {
    while (this.#at < BODY) {
      const piece = body.subarray(this.#at, this.#at + PIECE);
      this.#at += PIECE;
      if (!this.push(piece)) return;
    }
  }
}

class BodyByPush extends Body {
  foundTerminator() {
    this.push(body);
  }
}

class BodyByProducer extends Body {
  foundTerminator() {
    this.pushWithProducer(new SimpleProducer(body, PIECE));
  }
}

class BodyByFile extends Body {
  foundTerminator() {
    this.pushWithProducer(new FileProducer(openSync(path, 'r')));
  }
}

const Chat = {
  echo: Echo,
  pushes: BodyByPushes,
  push: BodyByPush,
  producer: BodyByProducer,
  file: BodyByFile,
}[how];

class Server extends Dispatcher {
  constructor() {
    super();
    this.createSocket();
    this.socket.setSockOpt(IPPROTO_TCP, TCP_NODELAY, true);
    this.bind({ host: '127.0.0.1', port: 0 });
    this.listen();
    console.log(`port: ${this.socket.getSockName().port}`);
  }

  handleAccepted(socket) {
    new Chat(socket);
  }
}

new Server();
await loop();
