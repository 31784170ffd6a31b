import { Dispatcher, DispatcherWithSend, loop, type Socket } from 'asyncore';

class EchoHandler extends DispatcherWithSend {
  override handleRead() {
    const data = this.recv(8192);
    if (data !== null) this.send(data);
  }

  override handleClose() {
    this.close();
  }
}

class EchoServer extends Dispatcher {
  constructor(host: string, port: number) {
    super();
    this.createSocket();
    this.setReuseAddr();
    this.bind({ host, port });
    this.listen(5);
    console.log('listening on', this.socket?.getSockName?.());
  }

  override handleAccepted(socket: Socket) {
    new EchoHandler(socket);
  }
}

new EchoServer('127.0.0.1', Number(process.env.PORT ?? 8007));
await loop();
