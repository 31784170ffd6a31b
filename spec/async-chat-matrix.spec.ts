// CPython's own tests of asynchat (Lib/test/test_asynchat.py), in every way to run a map and over
// every family. The echo server there is a thread; here it is made of dispatchers in the same map.

import {
  AF_UNIX,
  AsyncChat,
  ChannelMap,
  Dispatcher,
  SimpleProducer,
  type Socket,
  type Terminator,
} from 'asyncore';
import { drive, localAddress, MATRIX, type Way } from './support/drive';

/** Ends what a client says. */
const QUIT = 'QUIT\n';

/** Collects until QUIT, then sends it all back, `chunkSize` bytes at each write event, and closes. */
class EchoHandler extends Dispatcher {
  /** Received so far; after QUIT, without it: to be sent. */
  text = '';
  answering = false;

  constructor(
    socket: Socket,
    map: ChannelMap,
    readonly chunkSize: number,
  ) {
    super(socket, map);
  }

  override writable(): boolean {
    return this.answering;
  }

  override handleRead(): void {
    // Byte by byte, as there.
    const data = this.recv(1);
    if (data === null || this.answering) return;
    this.text += data.toString('latin1');
    if (!this.text.endsWith(QUIT)) return;
    this.text = this.text.slice(0, -QUIT.length);
    this.answering = true;
  }

  override handleWrite(): void {
    const sent = this.send(Buffer.from(this.text.slice(0, this.chunkSize), 'latin1'));
    this.text = this.text.slice(sent);
    if (this.text === '') this.close();
  }

  override handleClose(): void {
    this.close();
  }
}

/** Takes one caller. */
class EchoServer extends Dispatcher {
  handler: EchoHandler | null = null;

  constructor(
    family: number,
    map: ChannelMap,
    readonly chunkSize: number,
  ) {
    super(null, map);
    this.createSocket(family);
    if (family !== AF_UNIX) this.setReuseAddr();
    this.bind(localAddress(family));
    this.listen();
  }

  override handleAccepted(socket: Socket): void {
    this.handler = new EchoHandler(socket, this.map, this.chunkSize);
    this.close();
  }
}

class EchoClient extends AsyncChat {
  /** The records. */
  readonly contents: string[] = [];
  buffer = '';

  constructor(server: EchoServer, family: number, terminator: Terminator) {
    const address = (server.socket as Socket).getSockName();
    super(null, server.map);
    this.createSocket(family);
    this.connect(address);
    this.setTerminator(terminator);
  }

  override handleConnect(): void {}

  override collectIncomingData(data: Buffer): void {
    this.buffer += data.toString('latin1');
  }

  override foundTerminator(): void {
    this.contents.push(this.buffer);
    this.buffer = '';
  }
}

describe.each(MATRIX)('AsyncChat, CPython’s tests: %s', (_, family, way) => {
  /** A client that says something to a server, until both have closed. */
  async function talk(
    terminator: Terminator,
    say: (client: EchoClient) => void,
    chunkSize = 1,
  ): Promise<{ client: EchoClient; server: EchoServer }> {
    const map = new ChannelMap();
    const server = new EchoServer(family, map, chunkSize);
    const client = new EchoClient(server, family, terminator);
    say(client);
    await drive(way as Way, () => map.size === 0, { map });
    return { client, server };
  }

  const text = 'first record\nand the second one\n';
  const lines = ['first record', 'and the second one'];

  it.each(
    ['\n', '\r\n', 'qqq'].flatMap((terminator) =>
      [1, 2, 3].map((chunkSize): [string, number] => [terminator, chunkSize]),
    ),
  )('line terminator %j, served in pieces of %i bytes', async (terminator, chunkSize) => {
    const say = (client: EchoClient): void => {
      client.push('hello ');
      client.push(`world${terminator}`);
      client.push(`and the second one${terminator}`);
      client.push(QUIT);
    };
    const { client } = await talk(terminator, say, chunkSize);
    expect(client.contents).toEqual(lines);
    expect(client.buffer).toBe('');
  });

  it.each([1, 6])('numeric terminator %i', async (length) => {
    const data = 'first record, and the second one\n';
    const { client } = await talk(length, (chat) => {
      chat.push(data);
      chat.push(QUIT);
    });
    expect(client.contents).toEqual([data.slice(0, length)]);
    expect(client.buffer).toBe(data.slice(length));
  });

  it('no terminator', async () => {
    const { client } = await talk(null, (chat) => {
      chat.push(text);
      chat.push(QUIT);
    });
    expect(client.contents).toEqual([]);
    expect(client.buffer).toBe(text);
  });

  it('simple producer', async () => {
    const { client } = await talk('\n', (chat) => {
      chat.pushWithProducer(new SimpleProducer(text + QUIT, 8));
    });
    expect(client.contents).toEqual(lines);
  });

  it('string producer', async () => {
    const { client } = await talk('\n', (chat) => {
      chat.pushWithProducer(text + QUIT);
    });
    expect(client.contents).toEqual(lines);
  });

  it('empty line', async () => {
    const { client } = await talk('\n', (chat) => {
      chat.push('first record\n\nand the second one\n');
      chat.push(QUIT);
    });
    expect(client.contents).toEqual(['first record', '', 'and the second one']);
  });

  it('close when done', async () => {
    const { client, server } = await talk('\n', (chat) => {
      chat.push(text);
      chat.push(QUIT);
      chat.closeWhenDone();
    });
    // The client has gone before the server answered, which has heard everything.
    expect(client.contents).toEqual([]);
    expect(server.handler?.answering).toBe(true);
  });

  it('push', async () => {
    const wrong = [10, undefined, {}, [104, 105], new Float32Array(1), new ArrayBuffer(1)];
    const { client } = await talk('\n', (chat) => {
      chat.push(Buffer.from('bytes\n'));
      chat.push(new Uint8Array(Buffer.from('bytearray\n')));
      chat.push(Buffer.from('-memoryview\n-').subarray(1, -1));
      chat.push('string\n');
      for (const each of wrong) expect(() => chat.push(each as string)).toThrow(TypeError);
      chat.push(QUIT);
    });
    expect(client.contents).toEqual(['bytes', 'bytearray', 'memoryview', 'string']);
  });
});
