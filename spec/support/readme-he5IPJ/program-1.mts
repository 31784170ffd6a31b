import { AsyncChat, Dispatcher, loop, type Socket } from 'asyncore';

const members = new Set<LineChat>();

class LineChat extends AsyncChat {
  constructor(socket: Socket) {
    super(socket);
    this.setTerminator('\n');
    members.add(this);
  }

  override collectIncomingData(data: Buffer) {
    this._collectIncomingData(data);
  }

  // A line is complete: everybody else gets it.
  override foundTerminator() {
    const line = this._getData();
    for (const member of members) if (member !== this) member.push(`${line}\n`);
  }

  override handleClose() {
    members.delete(this);
    this.close();
  }
}

class LineChatServer extends Dispatcher {
  constructor(host: string, port: number) {
    super();
    this.createSocket();
    this.setReuseAddr();
    this.bind({ host, port });
    this.listen(5);
    console.log('listening on', this.socket?.getSockName?.());
  }

  override handleAccepted(socket: Socket) {
    new LineChat(socket);
  }
}

new LineChatServer('127.0.0.1', Number(process.env.PORT ?? 8008));
await loop();
