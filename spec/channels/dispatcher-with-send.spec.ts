// The dispatcher with an output buffer.

import { createHash } from 'node:crypto';
import {
  AF_INET,
  AF_INET6,
  AF_UNIX,
  ChannelMap,
  DispatcherWithSend,
  type Handled,
  type InternetAddress,
  loopSync,
  SO_RCVBUF,
  SO_SNDBUF,
  SOL_SOCKET,
  Socket,
  SocketError,
  type SocketLike,
  socketMap,
} from 'asyncore';
import { drive, localAddress, MATRIX, WAYS, type Way } from '../support/drive';
import { keep } from '../support/keep';

class Sender extends DispatcherWithSend {
  override ignoreLogTypes: ReadonlySet<string> = new Set(['warning', 'error']);
  readonly events: string[] = [];
  override handleConnect(): Handled {
    this.events.push('connect');
  }
  override handleRead(): Handled {
    this.recv(8192);
  }
  override handleClose(): Handled {
    this.events.push('close');
    return super.handleClose();
  }
  override handleError(error: unknown): Handled {
    this.events.push(`error ${(error as SocketError).code}`);
    return super.handleError(error);
  }
}

/** Writes down what it is given to send, and takes `room` bytes in all. */
function narrow(room: number): SocketLike & { sent: Buffer[]; room: number } {
  const socket = {
    sent: [] as Buffer[],
    room,
    fileno: () => 600,
    recv: () => null,
    send: (data: Uint8Array) => {
      socket.sent.push(Buffer.from(data));
      const taken = Math.min(data.length, socket.room);
      socket.room -= taken;
      return taken === 0 && data.length > 0 ? null : taken;
    },
    getSockOpt: () => 0,
    close: () => {},
  };
  return socket;
}

/** Both ends of a connection, with buffers that are soon full. */
function connection(family: number): [peer: Socket, own: Socket] {
  const server = keep(Socket.socket(family));
  // Accepted sockets inherit them, and the peer's is set before it tells its window.
  server.setSockOpt(SOL_SOCKET, SO_SNDBUF, 4096);
  server.bind(localAddress(family));
  server.listen(1);
  const peer = keep(Socket.socket(family));
  peer.setSockOpt(SOL_SOCKET, SO_RCVBUF, 4096);
  peer.connect(server.getSockName());
  const caller = server.accept();
  if (caller === null) throw new Error('nobody has called');
  return [peer, caller.socket];
}

/** What `socket` holds now, into `hash`. */
function drain(socket: Socket, hash: { update(data: Buffer): unknown }): number {
  let size = 0;
  for (let data = socket.recv(65536); data !== null && data.length > 0; data = socket.recv(65536)) {
    hash.update(data);
    size += data.length;
  }
  return size;
}

describe('DispatcherWithSend', () => {
  it('sends at once what the kernel takes', () => {
    const [a, b] = Socket.pair();
    keep(b);
    const channel = new Sender(a);
    expect(channel.send(Buffer.from('hello'))).toBe(5);
    expect(b.recv(100)?.toString()).toBe('hello');
    expect(channel.outBuffer).toEqual(Buffer.alloc(0));
  });

  it('keeps the rest, in order', () => {
    const socket = narrow(3);
    const channel = new Sender(socket, new ChannelMap());
    expect(channel.send(Buffer.from('hello '))).toBe(6);
    expect(channel.outBuffer.toString()).toBe('lo ');
    expect(channel.send(Buffer.from('world'))).toBe(5);
    expect(channel.outBuffer.toString()).toBe('lo world');
    socket.room = 100;
    channel.initiateSend();
    expect(channel.outBuffer.length).toBe(0);
    expect(socket.sent.at(-1)?.toString()).toBe('lo world');
  });

  it('copies what it is given, so that the program may use its memory again', () => {
    const socket = narrow(0);
    const channel = new Sender(socket, new ChannelMap());
    const data = Buffer.from('hello');
    channel.send(data);
    data.fill('x');
    expect(channel.outBuffer.toString()).toBe('hello');
  });

  it('takes any Uint8Array, and nothing else', () => {
    const socket = narrow(100);
    const channel = new Sender(socket, new ChannelMap());
    expect(channel.send(new Uint8Array([104, 105]))).toBe(2);
    expect(socket.sent.map(String)).toEqual(['hi']);
    for (const data of ['text', null, undefined, 42, [1]]) {
      expect(() => channel.send(data as never)).toThrow(TypeError);
    }
    expect(() => channel.send('text' as never)).toThrow(
      "Cannot send: expected a Uint8Array, received 'text'",
    );
    expect(channel.outBuffer.length).toBe(0);
  });

  it('gives the kernel 64 KiB at a time', () => {
    const socket = narrow(1e9);
    const channel = new Sender(socket, new ChannelMap());
    expect(channel.send(Buffer.alloc(150_000))).toBe(150_000);
    expect(channel.outBuffer.length).toBe(150_000 - 65536);
    channel.initiateSend();
    channel.initiateSend();
    expect(socket.sent.map((data) => data.length)).toEqual([65536, 65536, 150_000 - 2 * 65536]);
    expect(channel.outBuffer.length).toBe(0);
  });

  it('joins small pieces up to that', () => {
    const socket = narrow(0);
    const channel = new Sender(socket, new ChannelMap());
    for (let index = 0; index < 100; index += 1) channel.send(Buffer.alloc(1000, index));
    socket.sent = [];
    socket.room = 1e9;
    while (channel.writable()) channel.initiateSend();
    expect(socket.sent.length).toBeLessThanOrEqual(3);
    const all = Buffer.concat(socket.sent);
    expect(all.length).toBe(100_000);
    for (let index = 0; index < 100; index += 1) expect(all[index * 1000 + 999]).toBe(index);
    for (const { length } of socket.sent) expect(length).toBeLessThanOrEqual(65536);
  });

  it.each([
    [20_000, 1],
    [1_000, 1_000],
    [20, 65_536],
  ])('copies %i sends of %i bytes a few times at most while the kernel is full', (count, size) => {
    let room = 0;
    const got: Buffer[] = [];
    const channel = new Sender(
      {
        ...narrow(0),
        send: (data) => {
          const taken = Math.min(data.length, room);
          room -= taken;
          if (taken > 0) got.push(Buffer.from(data.subarray(0, taken)));
          return taken === 0 ? null : taken;
        },
      },
      new ChannelMap(),
    );
    const { concat } = Buffer;
    let copied = 0;
    jest.spyOn(Buffer, 'concat').mockImplementation((list, length) => {
      const all = concat(list, length);
      copied += all.length;
      return all;
    });
    for (let at = 0; at < count; at += 1) channel.send(Buffer.alloc(size, at));
    expect(copied).toBeLessThanOrEqual(4 * count * size);
    room = Infinity;
    for (let sends = 0; sends < count && channel.writable(); sends += 1) channel.initiateSend();
    expect(copied).toBeLessThanOrEqual(5 * count * size);
    expect(got.length).toBeLessThanOrEqual(5 + (2 * count * size) / 65_536);
    const all = concat(got);
    expect(all).toHaveLength(count * size);
    for (let at = 0; at < count; at += 1) {
      if (all[at * size] !== at % 256) throw new Error(`not in order at ${at}`);
    }
  });

  it('asks with nothing to send, too, as in asyncore', () => {
    const socket = narrow(0);
    const channel = new Sender(socket, new ChannelMap());
    void channel.handleWrite();
    expect(socket.sent.map(String)).toEqual(['']);
    expect(channel.send(Buffer.alloc(0))).toBe(0);
    expect(socket.sent.map(String)).toEqual(['', '']);
    expect(channel.outBuffer.length).toBe(0);
  });

  it('is writable while there is output, and until there is a connection', () => {
    const channel = new Sender(narrow(0), new ChannelMap());
    expect(channel.writable()).toBe(false);
    channel.send(Buffer.from('x'));
    expect(channel.writable()).toBe(true);
    channel.outBuffer = Buffer.alloc(0);
    expect(channel.writable()).toBe(false);
    channel.connected = false;
    expect(channel.writable()).toBe(true);
    expect(new DispatcherWithSend().writable()).toBe(true);
  });

  it('keeps its output when the socket throws', () => {
    const socket = narrow(0);
    const channel = new Sender(socket, new ChannelMap());
    socket.send = () => {
      throw new SocketError('ENOBUFS', 105, 'send', 'No buffer space available');
    };
    expect(() => channel.send(Buffer.from('precious'))).toThrow('ENOBUFS');
    expect(channel.outBuffer.toString()).toBe('precious');
    expect(channel.writable()).toBe(true);
  });

  describe('outBuffer', () => {
    it('can be set', () => {
      const socket = narrow(100);
      const channel = new Sender(socket, new ChannelMap());
      const data = Buffer.from('hello');
      channel.outBuffer = data;
      data.fill('x');
      expect(channel.outBuffer.toString()).toBe('hello');
      expect(socket.sent).toEqual([]);
      void channel.handleWrite();
      expect(socket.sent.map(String)).toEqual(['hello']);
    });

    it('takes the place of what was there', () => {
      const channel = new Sender(narrow(0), new ChannelMap());
      channel.send(Buffer.from('old'));
      channel.outBuffer = Buffer.from('new');
      expect(channel.outBuffer.toString()).toBe('new');
      channel.outBuffer = new Uint8Array();
      expect(channel.outBuffer.length).toBe(0);
      expect(channel.writable()).toBe(false);
    });

    it('can be looked at without changing what is sent', () => {
      const socket = narrow(0);
      const channel = new Sender(socket, new ChannelMap());
      for (const text of ['one ', 'two ', 'three']) channel.send(Buffer.from(text));
      expect(channel.outBuffer.toString()).toBe('one two three');
      expect(channel.outBuffer.toString()).toBe('one two three');
      channel.send(Buffer.from(' four'));
      expect(channel.outBuffer.toString()).toBe('one two three four');
      socket.sent = [];
      socket.room = 5;
      channel.initiateSend();
      expect(channel.outBuffer.toString()).toBe('wo three four');
      socket.room = 100;
      while (channel.writable()) channel.initiateSend();
      expect(socket.sent.at(-1)?.toString()).toBe('wo three four');
      expect(channel.outBuffer).toEqual(Buffer.alloc(0));
    });

    it('refuses text', () => {
      const channel = new Sender(narrow(0), new ChannelMap());
      expect(() => {
        channel.outBuffer = 'text' as never;
      }).toThrow("Cannot set outBuffer: expected a Uint8Array, received 'text'");
    });

    it.each(WAYS)('is sent when it is set from outside of the loop (%s)', async (_, how) => {
      const [a, b] = Socket.pair();
      keep(b);
      const channel = new Sender(a);
      let got = '';
      // Neither is the channel asked at every tick, nor does anything else happen.
      setTimeout(() => {
        channel.outBuffer = Buffer.from('late');
      }, 20);
      if (how.sync) channel.outBuffer = Buffer.from('late');
      await drive(how, () => {
        got += b.recv(100) ?? '';
        return got === 'late';
      });
      expect(channel.outBuffer.length).toBe(0);
    });
  });

  describe('with debug', () => {
    it('logs what it sends', () => {
      const out: string[] = [];
      jest.spyOn(process.stdout, 'write').mockImplementation((text) => out.push(String(text)) > 0);
      const channel = new Sender(narrow(0), new ChannelMap());
      channel.send(Buffer.from('secret'));
      channel.debug = true;
      channel.send(Buffer.from('line\r\n\xff', 'latin1'));
      expect(out).toEqual(['info: sending "line\\r\\n\xff"\n']);
    });
  });

  describe('and its connection', () => {
    function listener(family = AF_INET): Socket {
      const server = keep(Socket.socket(family));
      server.bind(localAddress(family));
      server.listen(5);
      return server;
    }

    it('ends when it sends before it connects', () => {
      const channel = new Sender();
      channel.createSocket();
      expect(channel.send(Buffer.from('hello'))).toBe(0);
      expect(channel.events).toEqual(['close']);
      expect(channel.socket?.fileno()).toBe(-1);
      expect(socketMap.size).toBe(0);
    });

    it.each(WAYS)('sends what it was given while it connected (%s)', async (_, how) => {
      const server = listener();
      const channel = new Sender();
      channel.createSocket();
      channel.connect(server.getSockName());
      channel.send(Buffer.from('hello'));
      await drive(how, () => channel.connected && !channel.writable());
      const peer = keep(server.accept()?.socket as Socket);
      expect(peer.recv(100)?.toString()).toBe('hello');
      expect(channel.events).toEqual(['connect']);
    });

    it.each(WAYS)('sends what it was given while a name was looked up (%s)', async (_, how) => {
      const server = listener();
      const { port } = server.getSockName() as InternetAddress;
      const channel = new Sender();
      channel.createSocket();
      channel.connect({ host: 'localhost', port });
      expect(channel.send(Buffer.from('hello '))).toBe(6);
      expect(channel.send(Buffer.from('world'))).toBe(5);
      expect(channel.outBuffer.toString()).toBe('hello world');
      expect(channel.events).toEqual([]);
      await drive(how, () => channel.connected && !channel.writable());
      const peer = keep(server.accept()?.socket as Socket);
      expect(peer.recv(100)?.toString()).toBe('hello world');
      expect(channel.events).toEqual(['connect']);
    });

    it('sends what it was given while a name was looked up, when it connects elsewhere', async () => {
      const channel = new Sender();
      const server = listener();
      channel.createSocket();
      channel.connect({ host: 'localhost', port: 1 });
      channel.send(Buffer.from('hello'));
      channel.connect(server.getSockName());
      await drive({ sync: false, usePoll: false }, () => channel.connected && !channel.writable());
      const peer = keep(server.accept()?.socket as Socket);
      expect(peer.recv(100)?.toString()).toBe('hello');
      expect(channel.events).toEqual(['connect']);
    });

    it.each([
      ['IPv4', AF_INET],
      ['IPv6', AF_INET6],
      ['Unix', AF_UNIX],
    ])('sends in handleConnect (%s)', (_, family) => {
      const server = listener(family);
      const channel = new (class extends Sender {
        override handleConnect(): Handled {
          this.send(Buffer.from('hello'));
          this.events.push(`left ${this.outBuffer.length}`);
        }
      })();
      channel.createSocket(family);
      channel.connect(server.getSockName());
      const peer = keep(server.accept()?.socket as Socket);
      loopSync({ count: 1, timeout: 1000 });
      expect(channel.events).toEqual(['left 0']);
      expect(peer.recv(100)?.toString()).toBe('hello');
    });

    it.each(WAYS)('is waited for as writable only while there is output (%s)', async (_, how) => {
      const [a, b] = Socket.pair();
      keep(b);
      let writes = 0;
      const channel = new (class extends Sender {
        override handleWrite(): Handled {
          writes += 1;
          return super.handleWrite();
        }
      })(a);
      const options = { usePoll: how.usePoll, timeout: 0, count: 3 };
      loopSync(options);
      expect(writes).toBe(0);
      channel.outBuffer = Buffer.from('x');
      loopSync(options);
      expect(writes).toBe(1);
      expect(b.recv(10)?.toString()).toBe('x');
    });

    it('ends when the peer is gone', () => {
      const [a, b] = Socket.pair();
      const channel = new Sender(a);
      b.close();
      expect(channel.send(Buffer.from('hello'))).toBe(0);
      expect(channel.events).toEqual(['close']);
      expect(channel.connected).toBe(false);
      // What is sent after that is refused, and nobody is told again.
      expect(channel.send(Buffer.from('hello'))).toBe(0);
      expect(channel.events).toEqual(['close']);
    });
  });

  describe.each(MATRIX)('and a slow peer (%s)', (_, family, how) => {
    it('delivers every byte in order', async () => {
      const [peer, own] = connection(family);
      const channel = new Sender(own);
      const expected = createHash('sha1');
      const got = createHash('sha1');
      let size = 0;
      let drained = 0;
      const step = Buffer.alloc(30_011);
      for (let index = 0; index < 40; index += 1) {
        for (let at = 0; at < step.length; at += 1) step[at] = (at * 31 + index * 17) & 0xff;
        expected.update(step);
        size += channel.send(step);
      }
      expect(channel.outBuffer.length).toBeGreaterThan(0);
      await drive(how, () => {
        drained += drain(peer, got);
        return drained === size;
      });
      expect(got.digest('hex')).toBe(expected.digest('hex'));
      expect(channel.outBuffer.length).toBe(0);
      expect(channel.events).toEqual([]);
    });
  });

  it.each([WAYS[0], WAYS[3]] as [string, Way][])(
    'does not slow down with what waits: 8 MiB in 1 KiB sends to a blocked peer (%s)',
    async (_, how) => {
      const [a, b] = Socket.pair();
      keep(b);
      a.setSockOpt(SOL_SOCKET, SO_SNDBUF, 4096);
      const channel = new Sender(a);
      const line = Buffer.alloc(1024, 'x');
      const hash = createHash('sha1');
      const started = performance.now();
      for (let index = 0; index < 8192; index += 1) {
        line.writeUInt32LE(index);
        hash.update(line);
        channel.send(line);
      }
      const got = createHash('sha1');
      let size = 0;
      await drive(how, () => {
        size += drain(b, got);
        return size === 8192 * 1024;
      });
      // Copying all that waits at each send would be 32 GiB.
      expect(performance.now() - started).toBeLessThan(4000);
      expect(got.digest('hex')).toBe(hash.digest('hex'));
    },
  );
});
