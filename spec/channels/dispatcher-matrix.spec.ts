// Which handlers run, in which order, in every family and every way to run a map. The far ends are
// bare sockets that stand in no map, so that all that happens is the one channel's.

import {
  type Address,
  AF_INET,
  AF_INET6,
  AF_UNIX,
  type Dispatcher,
  type Handled,
  loop,
  loopSync,
  MSG_OOB,
  SHUT_WR,
  SO_LINGER,
  SO_OOBINLINE,
  SO_SNDBUF,
  SOL_SOCKET,
  Socket,
  socketMap,
} from 'asyncore';
import { drive, MATRIX, type Way } from '../support/drive';
import { keep } from '../support/keep';
import { RecordingListener as Listener, Recorder } from '../support/recorder';
import { itIf } from '../support/skips';
import { bareListener, call, connection } from '../support/sockets';

/** One pass over the map, in which something happens. */
async function tick({ usePoll, sync }: Way, timeout = 2000): Promise<void> {
  const options = { usePoll, count: 1, timeout };
  if (sync) loopSync(options);
  else await loop(options);
}

/** One pass in which nothing does. */
function quietTick(how: Way): Promise<void> {
  return tick(how, 10);
}

/** close() will reset the connection, as after a crash. */
function resetAtClose(socket: Socket): void {
  const linger = Buffer.alloc(8); // struct linger { int l_onoff; int l_linger; }
  linger.writeInt32LE(1, 0);
  socket.setSockOpt(SOL_SOCKET, SO_LINGER, linger);
}

describe.each(MATRIX)('Dispatcher (%s)', (_, family, how) => {
  const isUnix = family === AF_UNIX;
  const itOnInternet = itIf(!isUnix, 'Unix sockets know no reset and no urgent data');

  describe('connecting', () => {
    it('calls handleConnect once, and then handleWrite', async () => {
      const server = bareListener(family);
      const client = new Recorder();
      client.createSocket(family);
      client.writes = true;
      client.connect(server.getSockName());
      // A Unix connection stands at once.
      expect(client.events).toEqual(isUnix ? ['connect'] : []);
      await tick(how);
      expect(client.events).toEqual(['connect', 'write']);
      await tick(how);
      expect(client.events).toEqual(['connect', 'write', 'write']);
      expect(client.connected).toBe(true);
      expect(client.connecting).toBe(false);
      expect(client.addr).toEqual(server.getSockName());
    });

    it('connects, reads and writes in one tick when there is data already', async () => {
      const server = bareListener(family);
      const client = new Recorder();
      client.createSocket(family);
      client.writes = true;
      client.connect(server.getSockName());
      keep(server.accept()?.socket as Socket).send(Buffer.from('welcome'));
      await tick(how);
      expect(client.events).toEqual(['connect', 'read', 'write']);
      expect(client.received).toBe('welcome');
    });

    it('notices the connection by its first data when it does not wait to write', async () => {
      const server = bareListener(family);
      const client = new (class extends Recorder {
        override writable(): boolean {
          return false;
        }
      })();
      client.createSocket(family);
      client.connect(server.getSockName());
      const peer = keep(server.accept()?.socket as Socket);
      await quietTick(how);
      expect(client.events).toEqual(isUnix ? ['connect'] : []);
      peer.send(Buffer.from('x'));
      await drive(how, () => client.received === 'x');
      expect(client.events).toEqual(['connect', 'read']);
      expect(client.connected).toBe(true);
    });

    it('is refused: an error, then the end, and never handleConnect', async () => {
      const server = bareListener(family);
      const address = server.getSockName();
      server.close();
      const client = new Recorder();
      client.createSocket(family);
      if (isUnix) {
        expect(() => client.connect(address)).toThrow(
          expect.objectContaining({ code: 'ECONNREFUSED', syscall: 'connect' }),
        );
        expect(client.events).toEqual([]);
        expect(socketMap.size).toBe(0);
        client.close();
        return;
      }
      client.connect(address);
      await drive(how, () => client.events.includes('close'));
      expect(client.events).toEqual(['error', 'close']);
      expect(client.errors).toMatchObject([{ code: 'ECONNREFUSED', syscall: 'connect' }]);
      expect(client.connected).toBe(false);
      expect(client.connecting).toBe(false);
      expect(socketMap.size).toBe(0);
    });

    itOnInternet.each([
      ['reading', true, false],
      ['writing', false, true],
      ['both', true, true],
    ])('is refused in the same way when it waits for %s', async (__, reads, writes) => {
      const server = bareListener(family);
      const address = server.getSockName();
      server.close();
      const client = new Recorder();
      client.readable = () => reads;
      client.writable = () => writes;
      client.createSocket(family);
      client.connect(address);
      await drive(how, () => client.events.includes('close'));
      expect(client.events).toEqual(['error', 'close']);
    });

    itOnInternet('calls handleConnect again when it threw and nobody closed', async () => {
      let throwsLeft = 2;
      const client = new (class extends Recorder {
        override handleConnect(): Handled {
          this.note('connect');
          if (throwsLeft-- > 0) throw new Error('not yet');
        }
        override handleError(): Handled {
          this.note('error');
        }
      })();
      client.createSocket(family);
      client.connect(bareListener(family).getSockName());
      await drive(how, () => client.connected);
      expect(client.events.slice(0, 6)).toEqual([
        'connect',
        'error',
        'connect',
        'error',
        'connect',
        'write',
      ]);
    });
  });

  describe('accepting', () => {
    it('calls handleAccept once per read event, and handleAccepted for all who wait', async () => {
      const server = new (class extends Listener {
        override handleAccept(): Handled {
          this.note('accept');
          super.handleAccept();
        }
      })(family);
      for (let caller = 0; caller < 3; caller += 1) call(server.name);
      expect(server.events).toEqual([]);
      await tick(how);
      expect(server.events).toEqual(['accept', 'accepted', 'accepted', 'accepted']);
      await quietTick(how);
      expect(server.events).toHaveLength(4);
    });

    it('accepts 16 in one event, so that the other channels have their turn', async () => {
      const server = new Listener(family);
      for (let caller = 0; caller < 20; caller += 1) call(server.name);
      await tick(how);
      expect(server.callers).toHaveLength(16);
      await tick(how);
      expect(server.callers).toHaveLength(20);
    });

    it('accepts no more than readable() allows', async () => {
      const server = new (class extends Listener {
        override readable(): boolean {
          return this.callers.length < 2;
        }
      })(family);
      for (let caller = 0; caller < 3; caller += 1) call(server.name);
      await tick(how);
      expect(server.callers).toHaveLength(2);
      await quietTick(how);
      expect(server.callers).toHaveLength(2);
    });

    it.each(['close', 'listen no more'])('accepts nobody after: %s', async (what) => {
      const server = new (class extends Listener {
        override handleAccepted(socket: Socket, address: Address): void {
          super.handleAccepted(socket, address);
          if (what === 'close') this.close();
          else this.accepting = false;
        }
      })(family);
      for (let caller = 0; caller < 3; caller += 1) call(server.name);
      await tick(how);
      expect(server.callers).toHaveLength(1);
    });

    it('tells handleAccepted who calls', async () => {
      const server = new Listener(family);
      const client = call(server.name);
      await drive(how, () => server.callers.length > 0);
      const [caller] = server.callers;
      expect(caller?.address).toEqual(client.getSockName());
      expect(caller?.socket).toBeInstanceOf(Socket);
      expect(caller?.socket.family).toBe(family);
      caller?.socket.send(Buffer.from('hello'));
      expect(client.recv(100)?.toString()).toBe('hello');
      expect(server.events).toEqual(['accepted']);
      expect(server.seen).toEqual([[false, false, true]]);
    });

    it('is never waited for as writable', async () => {
      const server = new Listener(family);
      server.writes = true;
      await quietTick(how);
      call(server.name);
      await tick(how);
      await quietTick(how);
      expect(server.events).toEqual(['accepted']);
      // Nor minds when somebody says so.
      await server.handleWriteEvent();
      expect(server.events).toEqual(['accepted']);
    });

    it('serves a caller who has sent and gone before he was accepted', async () => {
      const server = new Listener(family);
      const client = call(server.name);
      client.send(Buffer.from('good bye'));
      client.close();
      await drive(how, () => server.callers.length > 0);
      const channel = new Recorder(server.callers[0]?.socket);
      expect(channel.connected).toBe(true);
      await drive(how, () => channel.events.includes('close'));
      expect(channel.received).toBe('good bye');
      expect(channel.events).toEqual(['read', 'read', 'close']);
    });
  });

  describe('connected', () => {
    it('calls handleRead', async () => {
      const [peer, own] = connection(family);
      const channel = new Recorder(own);
      await quietTick(how);
      expect(channel.events).toEqual([]);
      peer.send(Buffer.from('hello'));
      await drive(how, () => channel.received === 'hello');
      expect(channel.events).toEqual(['read']);
      expect(channel.seen).toEqual([[true, false, false]]);
    });

    it('calls handleRead again while it leaves something unread', async () => {
      const [peer, own] = connection(family);
      const channel = new (class extends Recorder {
        override handleRead(): Handled {
          this.note('read');
          this.received += this.recv(2) ?? '';
        }
      })(own);
      peer.send(Buffer.from('abcde'));
      await drive(how, () => channel.received.length === 5);
      expect(channel.events).toEqual(['read', 'read', 'read']);
      expect(channel.received).toBe('abcde');
    });

    it('calls handleWrite at every tick, for as long as writable says so', async () => {
      const [, own] = connection(family);
      const channel = new Recorder(own);
      channel.writes = true;
      await tick(how);
      await tick(how);
      expect(channel.events).toEqual(['write', 'write']);
      channel.writes = false;
      await quietTick(how);
      expect(channel.events).toEqual(['write', 'write']);
    });

    it('calls no handleWrite while the kernel takes no more', async () => {
      const [peer, own] = connection(family);
      own.setSockOpt(SOL_SOCKET, SO_SNDBUF, 4096);
      const data = Buffer.alloc(65536, 'x');
      let sent = 0;
      let got = 0;
      const channel = new (class extends Recorder {
        override handleWrite(): Handled {
          this.note('write');
          for (let more = 1; more > 0; sent += more) more = this.send(data);
        }
      })(own);
      channel.writes = true;
      // Until the peer's buffer is full, too.
      let before = -1;
      for (let ticks = 0; channel.events.length > before && ticks < 1000; ticks += 1) {
        before = channel.events.length;
        await quietTick(how);
      }
      expect(channel.events.length).toBe(before);

      channel.writes = false;
      const drain = (): void => {
        for (let more = peer.recv(65536); more !== null; more = peer.recv(65536)) {
          got += more.length;
        }
      };
      await drive(how, () => {
        drain();
        return got === sent;
      });
      expect(channel.events.length).toBe(before);
      channel.writes = true;
      await tick(how);
      expect(channel.events.length).toBe(before + 1);
    });

    it('calls nothing while it waits for nothing', async () => {
      const [peer, own] = connection(family);
      const channel = new Recorder(own);
      channel.readable = () => false;
      peer.send(Buffer.from('x'));
      await quietTick(how);
      peer.close();
      await quietTick(how);
      expect(channel.events).toEqual([]);
      channel.readable = () => true;
      await drive(how, () => channel.events.includes('close'));
      expect(channel.received).toBe('x');
      expect(channel.events).toEqual(['read', 'read', 'close']);
    });

    it('gives what a handler throws to handleError, and ends in handleClose', async () => {
      const [peer, own] = connection(family);
      const boom = new Error('boom');
      const channel = new (class extends Recorder {
        override handleRead(): Handled {
          throw boom;
        }
      })(own);
      peer.send(Buffer.from('x'));
      await drive(how, () => channel.events.length > 0);
      expect(channel.events).toEqual(['error', 'close']);
      expect(channel.errors).toEqual([boom]);
      expect(own.closed).toBe(true);
      expect(socketMap.size).toBe(0);
    });

    it('gives what handleWrite throws to handleError', async () => {
      const [, own] = connection(family);
      const channel = new (class extends Recorder {
        override handleWrite(): Handled {
          throw new Error('boom');
        }
      })(own);
      channel.writes = true;
      await drive(how, () => channel.events.length > 0);
      expect(channel.events).toEqual(['error', 'close']);
    });

    it.each(['handleRead', 'handleWrite', 'handleClose'] as const)(
      'gives a rejection of an async %s to handleError',
      async (name) => {
        const [peer, own] = connection(family);
        const boom = new Error('boom');
        const channel = new Recorder(own);
        channel.writes = name === 'handleWrite';
        channel[name] = async () => {
          channel.note(name);
          // Only once, as this channel does not close for it.
          delete (channel as Partial<Recorder>)[name];
          throw boom;
        };
        if (name === 'handleClose') peer.close();
        else peer.send(Buffer.from('x'));
        // Promises do not run under loopSync, only between two of its passes.
        if (how.sync) {
          await tick(how);
          await new Promise(setImmediate);
        } else {
          await drive(how, () => channel.errors.length > 0);
        }
        expect(channel.events).toContain(name);
        expect(channel.events.slice(channel.events.indexOf('error'))).toEqual(['error', 'close']);
        expect(channel.errors).toEqual([boom]);
        expect(own.closed).toBe(true);
      },
    );

    itOnInternet('calls handleExpt for urgent data, and nothing else', async () => {
      const [peer, own] = connection(family);
      const channel = new (class extends Recorder {
        override handleExpt(): Handled {
          super.handleExpt();
          this.received += (this.socket as Socket).recv(1, MSG_OOB);
        }
      })(own);
      peer.send(Buffer.from('!'), MSG_OOB);
      await drive(how, () => channel.events.length > 0);
      expect(channel.events).toEqual(['expt']);
      expect(channel.received).toBe('!');
      expect(own.getSockOpt(SOL_SOCKET, SO_OOBINLINE)).toBe(0);
      await quietTick(how);
      expect(channel.events).toEqual(['expt']);
    });

    const itWhileOthersSend = how.sync
      ? itIf(false, 'nothing in this thread can send under loopSync')
      : itOnInternet;
    itWhileOthersSend('is woken by urgent data while it waits', async () => {
      const [peer, own] = connection(family);
      const channel = new Recorder(own);
      setTimeout(() => peer.send(Buffer.from('!'), MSG_OOB), 20);
      await drive(how, () => channel.events.length > 0, { limit: 2000 });
      expect(channel.events).toEqual(['expt']);
    });

    itOnInternet('gives what handleExpt throws to handleError', async () => {
      const [peer, own] = connection(family);
      const channel = new (class extends Recorder {
        override handleExpt(): Handled {
          throw new Error('boom');
        }
      })(own);
      peer.send(Buffer.from('!'), MSG_OOB);
      await drive(how, () => channel.events.length > 0);
      expect(channel.events).toEqual(['error', 'close']);
    });
  });

  describe('at its end', () => {
    it('calls handleClose, once, when the peer closes', async () => {
      const [peer, own] = connection(family);
      const channel = new Recorder(own);
      channel.writes = true;
      await tick(how);
      peer.close();
      await drive(how, () => channel.events.includes('close'));
      expect(channel.events.filter((event) => event === 'close')).toHaveLength(1);
      expect(channel.events.at(-1)).toBe('close');
      expect(channel.connected).toBe(false);
      expect(socketMap.size).toBe(0);
    });

    it('delivers what the peer sent before it closed', async () => {
      const [peer, own] = connection(family);
      const channel = new Recorder(own);
      peer.send(Buffer.from('last words'));
      peer.close();
      await drive(how, () => channel.events.includes('close'));
      expect(channel.received).toBe('last words');
      expect(channel.events).toEqual(['read', 'read', 'close']);
    });

    itOnInternet('calls handleClose when the peer resets', async () => {
      const [peer, own] = connection(family);
      const channel = new Recorder(own);
      await quietTick(how);
      resetAtClose(peer);
      peer.close();
      await drive(how, () => channel.events.includes('close'));
      expect(channel.events).toEqual(['read', 'close']);
      expect(channel.errors).toEqual([]);
      expect(own.closed).toBe(true);
    });

    itOnInternet(
      'calls handleClose when the peer resets and only writing is waited for',
      async () => {
        const [peer, own] = connection(family);
        const channel = new (class extends Recorder {
          override readable(): boolean {
            return false;
          }
          override handleWrite(): Handled {
            super.handleWrite();
            this.send(Buffer.from('x'));
          }
        })(own);
        channel.writes = true;
        resetAtClose(peer);
        peer.close();
        await drive(how, () => channel.events.includes('close'));
        expect(channel.events).toEqual(['write', 'close']);
        expect(channel.errors).toEqual([]);
      },
    );

    it('calls handleClose when the peer dies with our data unread', async () => {
      const [peer, own] = connection(family);
      const channel = new Recorder(own);
      channel.send(Buffer.from('never read'));
      await quietTick(how);
      // The kernel tells us: a reset.
      peer.close();
      await drive(how, () => channel.events.includes('close'));
      expect(channel.events).toEqual(['read', 'close']);
      expect(channel.errors).toEqual([]);
    });

    it('calls handleClose from send when the peer is dead', async () => {
      const [peer, own] = connection(family);
      const channel = new (class extends Recorder {
        override readable(): boolean {
          return false;
        }
        override handleWrite(): Handled {
          super.handleWrite();
          // The first one is answered by a reset, where there are resets.
          this.send(Buffer.from('anybody there?'));
        }
      })(own);
      channel.writes = true;
      peer.close();
      await drive(how, () => channel.events.includes('close'));
      expect(channel.events.filter((event) => event !== 'write')).toEqual(['close']);
      expect(channel.events.at(-1)).toBe('close');
      expect(channel.send(Buffer.from('x'))).toBe(0);
      expect(channel.events.filter((event) => event === 'close')).toHaveLength(1);
    });

    it('calls handleEof when the peer half-closes, with allowHalfOpen, and goes on', async () => {
      const [peer, own] = connection(family);
      const channel = new (class extends Recorder {
        override handleEof(): Handled {
          this.note('eof');
        }
      })(own);
      channel.allowHalfOpen = true;
      peer.send(Buffer.from('question'));
      peer.shutdown(SHUT_WR);
      await drive(how, () => channel.events.includes('eof'));
      expect(channel.received).toBe('question');
      expect(channel.events).toEqual(['read', 'read', 'eof']);
      expect(channel.inputEnded).toBe(true);
      expect(channel.connected).toBe(true);

      await quietTick(how);
      expect(channel.events).toEqual(['read', 'read', 'eof']);
      expect(channel.send(Buffer.from('answer'))).toBe(6);
      expect(peer.recv(100)?.toString()).toBe('answer');
      channel.close();
      expect(peer.recv(100)?.length).toBe(0);
    });

    it('calls handleClose when the peer half-closes, without allowHalfOpen', async () => {
      const [peer, own] = connection(family);
      const channel = new Recorder(own);
      peer.shutdown(SHUT_WR);
      await drive(how, () => channel.events.includes('close'));
      expect(channel.events).toEqual(['read', 'close']);
      expect(peer.recv(100)?.length).toBe(0);
    });

    it('calls handleClose when a half-closed peer goes for good and is written to', async () => {
      const [peer, own] = connection(family);
      const channel = new (class extends Recorder {
        override handleEof(): Handled {
          this.note('eof');
          this.writes = true;
        }
        override handleWrite(): Handled {
          this.send(Buffer.from('x'));
        }
      })(own);
      channel.allowHalfOpen = true;
      peer.close();
      await drive(how, () => channel.events.includes('close'));
      expect(channel.events).toEqual(['read', 'eof', 'close']);
      expect(channel.errors).toEqual([]);
      expect(channel.inputEnded).toBe(true);
    });
  });

  it('has the right attributes through a whole life', async () => {
    const flags = (channel: Dispatcher): boolean[] => [
      channel.connected,
      channel.connecting,
      channel.accepting,
    ];
    const handlers: Recorder[] = [];
    const server = new (class extends Listener {
      override handleAccepted(socket: Socket): Handled {
        handlers.push(new Recorder(socket));
      }
    })(family);
    expect(flags(server)).toEqual([false, false, true]);

    const client = new Recorder();
    expect(flags(client)).toEqual([false, false, false]);
    client.createSocket(family);
    expect(flags(client)).toEqual([false, false, false]);
    client.connect(server.name);
    expect(flags(client)).toEqual(isUnix ? [true, false, false] : [false, true, false]);

    await drive(how, () => client.connected && handlers.length > 0);
    expect(flags(server)).toEqual([false, false, true]);
    expect(flags(client)).toEqual([true, false, false]);
    expect(client.seen[0]).toEqual([false, true, false]);
    const [handler] = handlers as [Recorder];
    expect(flags(handler)).toEqual([true, false, false]);
    expect(client.addr).toEqual(server.name);
    expect(handler.addr).toEqual((client.socket as Socket).getSockName());

    client.close();
    expect(flags(client)).toEqual([false, false, false]);
    expect(client.fileno()).toBeNull();
    await drive(how, () => handler.events.includes('close'));
    expect(flags(handler)).toEqual([false, false, false]);
    expect(handler.seen.at(-1)).toEqual([true, false, false]);

    server.close();
    expect(flags(server)).toEqual([false, false, false]);
    expect(socketMap.size).toBe(0);
  });
});

describe('Dispatcher (IPv4 and IPv6)', () => {
  it('does not mix them up', () => {
    const channel = new Recorder();
    channel.createSocket(AF_INET6);
    expect(() => channel.connect({ host: '127.0.0.1', port: 1 })).toThrow(TypeError);
    expect(channel.connecting).toBe(false);
    channel.close();
    channel.createSocket(AF_INET);
    expect(() => channel.connect({ host: '::1', port: 1 })).toThrow(TypeError);
    channel.close();
  });
});
