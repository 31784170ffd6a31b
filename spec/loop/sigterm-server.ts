// A line server that ends in an orderly way on SIGTERM. Each line is answered with a long one, which a
// slow reader keeps from being sent at once.

import { AsyncChat, Dispatcher, loop, type Socket, shutdown, socketMap } from 'asyncore';

class Answerer extends AsyncChat {
  constructor(socket: Socket) {
    super(socket);
    this.setTerminator('\n');
  }
  override collectIncomingData(data: Buffer): void {
    this._collectIncomingData(data);
  }
  override foundTerminator(): void {
    const letter = this._getData().toString('latin1');
    this.push(`${letter.repeat(4_000_000)}\n`);
    console.log(`answered ${letter}`);
  }
}

class Server extends Dispatcher {
  constructor() {
    super();
    this.createSocket();
    this.bind({ host: '127.0.0.1', port: 0 });
    this.listen();
    console.log('listening', this.socket?.getSockName?.());
  }
  override handleAccepted(socket: Socket): void {
    new Answerer(socket);
  }
}

process.once('SIGTERM', async () => {
  const cut = await shutdown(socketMap, { deadline: Number(process.env.DEADLINE) });
  console.log(`cut ${cut}`);
});

new Server();
void loop().then(() => console.log('the loop is over'));
