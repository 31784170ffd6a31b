// One echo between two channels of one map. Run by .ci/smoke with what require and import give.
module.exports = async function echo({ AsyncChat, Dispatcher, ChannelMap, loop }, how) {
  const map = new ChannelMap();

  class Chat extends AsyncChat {
    constructor(socket) {
      super(socket, map);
      this.setTerminator('\r\n');
    }
    collectIncomingData(data) {
      this._collectIncomingData(data);
    }
  }
  class Server extends Dispatcher {
    handleAccepted(socket) {
      const chat = new Chat(socket);
      chat.foundTerminator = () => chat.push(`${chat._getData()}\r\n`);
    }
  }
  class Client extends Chat {
    handleConnect() {
      this.push('hello\r\n');
    }
    foundTerminator() {
      this.answer = this._getData().toString();
      this.close();
      server.close();
    }
  }

  const server = new Server(null, map);
  server.createSocket();
  server.bind({ host: '127.0.0.1', port: 0 });
  server.listen(1);
  const client = new Client(null);
  client.createSocket();
  client.connect(server.socket.getSockName());
  await loop({ map, signal: AbortSignal.timeout(10_000) });
  if (client.answer !== 'hello') throw new Error(`${how}: the echo was ${client.answer}`);
  console.log(`${how}: echo works`);
};
