// One dispatcher and its socket: everything but the order of events, which is in
// dispatcher-matrix.spec.ts, and what Python does otherwise, which is in python-bugs.spec.ts.

import dns from 'node:dns';
import { readFileSync } from 'node:fs';
import { inspect } from 'node:util';
import {
  type Address,
  AF_INET,
  AF_INET6,
  AF_UNIX,
  ChannelMap,
  Dispatcher,
  DispatcherWithSend,
  ExitNow,
  type Handled,
  type InternetAddress,
  loop,
  loopSync,
  MSG_OOB,
  poll,
  read,
  SO_LINGER,
  SO_OOBINLINE,
  SO_REUSEADDR,
  SOCK_DGRAM,
  SOCK_STREAM,
  SOL_SOCKET,
  Socket,
  SocketError,
  type SocketLike,
  socketMap,
} from 'asyncore';
import { drive, temporaryPath, WAYS } from '../support/drive';
import { keep } from '../support/keep';
import { bareListener, call, connection } from '../support/sockets';

/** Collects what is printed from here on. */
function printed(): { out: string[]; err: string[] } {
  const out: string[] = [];
  const err: string[] = [];
  jest.spyOn(process.stdout, 'write').mockImplementation((text) => out.push(String(text)) > 0);
  jest.spyOn(process.stderr, 'write').mockImplementation((text) => err.push(String(text)) > 0);
  return { out, err };
}

/** Waits for nothing by itself, and writes down what it is told. */
class Recorder extends Dispatcher {
  readonly events: string[] = [];
  readonly errors: unknown[] = [];
  override writable(): boolean {
    return this.connecting;
  }
  override handleConnect(): Handled {
    this.events.push('connect');
  }
  override handleRead(): Handled {
    this.events.push('read');
  }
  override handleWrite(): Handled {
    this.events.push('write');
  }
  override handleClose(): Handled {
    this.events.push('close');
    this.close();
  }
  override handleError(error: unknown): Handled {
    this.events.push('error');
    this.errors.push(error);
    this.close();
  }
}

function failure(code: string): SocketError {
  return new SocketError(code, 1, 'test', 'as the test wants it');
}

/** The least that may stand in for a socket, and what else a test gives it. */
function standIn(more: Partial<SocketLike> = {}): SocketLike {
  return {
    fileno: () => 500,
    recv: () => null,
    send: (data) => data.length,
    getSockOpt: () => 0,
    close: () => {},
    ...more,
  };
}

function throwing(code: string): () => never {
  return () => {
    throw failure(code);
  };
}

describe('Dispatcher', () => {
  describe('made without a socket', () => {
    it('has the defaults', () => {
      const channel = new Dispatcher();
      expect(channel.debug).toBe(false);
      expect(channel.connected).toBe(false);
      expect(channel.accepting).toBe(false);
      expect(channel.connecting).toBe(false);
      expect(channel.closing).toBe(false);
      expect(channel.inputEnded).toBe(false);
      expect(channel.allowHalfOpen).toBe(false);
      expect(channel.addr).toBeNull();
      expect(channel.socket).toBeNull();
      expect(channel.familyAndType).toBeNull();
      expect(channel.fileno()).toBeNull();
      expect([...channel.ignoreLogTypes]).toEqual(['warning']);
    });

    it('stands in no map', () => {
      const map = new ChannelMap();
      const channel = new Dispatcher(null, map);
      expect(channel.map).toBe(map);
      expect(map.size).toBe(0);
    });

    it('wants to read and to write', () => {
      const channel = new Dispatcher();
      expect(channel.readable()).toBe(true);
      expect(channel.writable()).toBe(true);
    });

    it('refuses what needs a socket, and says what', () => {
      const channel = new Dispatcher();
      const calls: [string, () => unknown][] = [
        ['reuse an address', () => channel.setReuseAddr()],
        ['bind', () => channel.bind({ host: '127.0.0.1', port: 0 })],
        ['listen', () => channel.listen()],
        ['accept', () => channel.accept()],
        ['send', () => channel.send(Buffer.from('x'))],
        ['recv', () => channel.recv(1)],
        ['look for an error', () => channel.handleExptEvent()],
        ['add a channel', () => channel.addChannel()],
      ];
      for (const [action, call] of calls) {
        expect(call).toThrow(TypeError);
        expect(call).toThrow(`Cannot ${action}: expected a channel with a socket, received <Disp`);
        expect(call).toThrow('; call createSocket() first');
      }
      expect(channel.accepting).toBe(false);
      expect(channel.connecting).toBe(false);
    });

    it('takes undefined for the default map', () => {
      expect(new Dispatcher(undefined, undefined).map).toBe(socketMap);
    });
  });

  describe('made with a socket', () => {
    it.each([
      ['IPv4', AF_INET],
      ['IPv6', AF_INET6],
    ])('is connected when that is (%s)', (_, family) => {
      const [client, server] = connection(family);
      const channel = new Dispatcher(client);
      expect(channel.connected).toBe(true);
      expect(channel.connecting).toBe(false);
      expect(channel.accepting).toBe(false);
      expect(channel.addr).toEqual(server.getSockName());
      expect(channel.socket).toBe(client);
      expect(channel.fileno()).toBe(client.fileno());
      expect(socketMap.get(client.fileno())).toBe(channel);
    });

    it('has an empty path for the peer of a Unix pair', () => {
      const [a, b] = Socket.pair();
      keep(b);
      const channel = new Dispatcher(a);
      expect(channel.connected).toBe(true);
      expect(channel.addr).toEqual({ path: '' });
    });

    it('knows who called even when the caller has gone again', () => {
      const server = bareListener();
      const client = Socket.socket();
      client.connect(server.getSockName());
      const address = client.getSockName();
      client.setSockOpt(SOL_SOCKET, SO_LINGER, Buffer.from([1, 0, 0, 0, 0, 0, 0, 0]));
      client.close();
      const caller = server.accept();
      expect(() => caller?.socket.getPeerName()).toThrow('ENOTCONN');
      const channel = new Dispatcher(caller?.socket);
      expect(channel.addr).toEqual(address);
      expect(channel.connected).toBe(true);
    });

    it('is not connected when that is not, and stands in the map all the same', () => {
      const channel = new Dispatcher(Socket.socket());
      expect(channel.connected).toBe(false);
      expect(channel.connecting).toBe(false);
      expect(channel.addr).toBeNull();
      expect([...socketMap.values()]).toEqual([channel]);
    });

    it('is not connected around a listener, nor accepting until it says so', () => {
      const channel = new Dispatcher(bareListener());
      expect(channel.connected).toBe(false);
      expect(channel.connecting).toBe(false);
      expect(channel.accepting).toBe(false);
      expect(channel.addr).toBeNull();
      expect([...socketMap.values()]).toEqual([channel]);
    });

    it.each(['ENOTCONN', 'EINVAL'])('takes %s from getPeerName for "not connected"', (code) => {
      const map = new ChannelMap();
      const channel = new Dispatcher(standIn({ getPeerName: throwing(code) }), map);
      expect(channel.connected).toBe(false);
      expect(channel.connecting).toBe(false);
      expect(map.get(500)).toBe(channel);
    });

    it('throws what else getPeerName throws, and is out of the map', () => {
      const map = new ChannelMap();
      expect(() => new Dispatcher(standIn({ getPeerName: throwing('EBADF') }), map)).toThrow(
        'EBADF',
      );
      expect(map.size).toBe(0);
    });

    it.each(WAYS)('waits for one that connects just while it is asked (%s)', async (_, how) => {
      const [client, server] = connection();
      // Between this and the next question the handshake ends.
      jest.spyOn(client, 'getPeerName').mockImplementationOnce(throwing('ENOTCONN'));
      const channel = new Recorder(client);
      expect(channel.connecting).toBe(true);
      expect(channel.connected).toBe(false);
      await drive(how, () => channel.connected);
      expect(channel.events[0]).toBe('connect');
      expect(channel.connecting).toBe(false);
      expect(channel.errors).toEqual([]);
      expect(channel.send(Buffer.from('hello'))).toBe(5);
      expect(server.recv(100)?.toString()).toBe('hello');
    });

    it.each([
      ['an object', {}],
      ['a number', 5],
      ['a string', 'localhost:80'],
      ['one without a fileno()', { recv: () => null, send: () => 0 }],
    ])('refuses %s, which is none', (_, socket) => {
      const refused = expect.objectContaining({
        name: 'TypeError',
        code: 'ERR_INVALID_ARG_TYPE',
        message: expect.stringMatching(/^Cannot attach a socket: expected a socket, received /),
      });
      const map = new ChannelMap();
      expect(() => new Dispatcher(socket as never, map)).toThrow(refused);
      const channel = new Dispatcher(null, map);
      expect(() => channel.setSocket(socket as never)).toThrow(refused);
      expect(channel.socket).toBeNull();
      expect(map.size).toBe(0);
    });

    it('refuses one that is closed', () => {
      const socket = Socket.socket();
      socket.close();
      expect(() => new Dispatcher(socket)).toThrow(RangeError);
      expect(socketMap.size).toBe(0);
    });

    it('stands in the map it is given, and in no other', () => {
      const map = new ChannelMap();
      const channel = new Dispatcher(Socket.socket(), map);
      expect(channel.map).toBe(map);
      expect([...map.values()]).toEqual([channel]);
      expect(socketMap.size).toBe(0);
      channel.close();
      expect(map.size).toBe(0);
    });
  });

  it.each([
    ['a plain Map', new Map()],
    ['an object', {}],
    ['null', null],
  ])('refuses %s for a map', (_, map) => {
    const make = (): unknown => new Dispatcher(null, map as never);
    expect(make).toThrow(TypeError);
    expect(make).toThrow('Cannot make a channel: expected a ChannelMap, received ');
    expect(make).toThrow(expect.objectContaining({ code: 'ERR_INVALID_ARG_TYPE' }));
  });

  describe('in its map', () => {
    it('leaves it with delChannel, and then has no descriptor', () => {
      const channel = new Dispatcher(keep(Socket.socket()));
      channel.delChannel();
      expect(socketMap.size).toBe(0);
      expect(channel.fileno()).toBeNull();
      expect(channel.socket?.fileno()).toBeGreaterThan(0);
      channel.delChannel();
      expect(() => channel.addChannel()).toThrow('Cannot add a channel');
    });

    it('may stand in a second one', () => {
      const other = new ChannelMap();
      const channel = new Dispatcher(Socket.socket());
      const fd = channel.fileno() as number;
      channel.addChannel(other);
      expect(other.get(fd)).toBe(channel);
      expect(socketMap.get(fd)).toBe(channel);
      channel.delChannel(other);
      expect(other.size).toBe(0);
      expect(socketMap.get(fd)).toBe(channel);
      socketMap.delete(fd);
      channel.close();
    });

    it('does not take another channel out of it that has the same number', () => {
      const socket = keep(Socket.socket());
      const first = new Dispatcher(socket);
      const second = new Dispatcher(socket);
      first.delChannel();
      expect([...socketMap.values()]).toEqual([second]);
    });

    it('goes where setSocket is told', () => {
      const other = new ChannelMap();
      const channel = new Dispatcher();
      const socket = keep(Socket.socket());
      channel.setSocket(socket, other);
      expect(channel.socket).toBe(socket);
      expect(channel.fileno()).toBe(socket.fileno());
      expect(other.get(socket.fileno())).toBe(channel);
      expect(socketMap.size).toBe(0);
    });
  });

  describe('in another map than its own', () => {
    /** There is something to read, which it does not want until it is told to. */
    class Quiet extends DispatcherWithSend {
      readonly events: string[] = [];
      wants = false;
      override readable(): boolean {
        return this.wants;
      }
      override handleRead(): Handled {
        this.events.push('read');
        this.close();
      }
      override handleWrite(): Handled {
        this.events.push('write');
        this.close();
      }
      override handleClose(): Handled {
        this.events.push('close');
        this.close();
      }
    }

    function quiet(): { channel: Quiet; other: ChannelMap } {
      const other = new ChannelMap();
      const [a, b] = Socket.pair();
      keep(b).send(Buffer.from('x'));
      const channel = keep(new Quiet(null, new ChannelMap()));
      channel.setSocket(a, other);
      channel.connected = true;
      return { channel, other };
    }

    it.each<[string, (channel: Dispatcher) => void]>([
      ['close', (channel) => channel.close()],
      ['delChannel', (channel) => channel.delChannel()],
    ])('leaves both with %s', (_, leave) => {
      const other = new ChannelMap();
      const socket = keep(Socket.socket());
      const channel = new Dispatcher(socket);
      channel.addChannel(other);
      expect([socketMap.size, other.size]).toEqual([1, 1]);
      leave(channel);
      expect([socketMap.size, other.size]).toEqual([0, 0]);
      expect(channel.fileno()).toBeNull();
    });

    it('leaves it with close when setSocket has put it there', () => {
      const { channel, other } = quiet();
      expect(other.size).toBe(1);
      channel.close();
      expect(other.size).toBe(0);
    });

    it('does not take another channel out of that one that has the same number', () => {
      const { channel, other } = quiet();
      const second = new Quiet(null, other);
      second.setSocket(channel.socket as Socket);
      channel.delChannel();
      expect([...other.values()]).toEqual([second]);
    });

    describe.each([
      ['select order', false],
      ['poll order', true],
    ])('wakes the loop of that one (%s)', (_, usePoll) => {
      it.each<[string, (channel: Quiet) => void, string[]]>([
        [
          'by interestChanged',
          (channel) => {
            channel.wants = true;
            channel.interestChanged();
          },
          ['read'],
        ],
        [
          'by a predicate that is replaced, and told of',
          (channel) => {
            channel.writable = () => true;
            channel.interestChanged();
          },
          ['write'],
        ],
        ['by its socket, when somebody closes it', (channel) => channel.socket?.close(), ['close']],
      ])('%s', async (__, act, events) => {
        const { channel, other } = quiet();
        setTimeout(act, 20, channel);
        const begin = performance.now();
        // One wait, which is far too long.
        await loop({ map: other, usePoll, timeout: 5000, count: 1 });
        expect(performance.now() - begin).toBeLessThan(4000);
        expect(channel.events).toEqual(events);
        expect(other.size).toBe(0);
      });
    });

    it.each(WAYS)('connects by name there (%s)', async (_, how) => {
      const server = bareListener();
      const other = new ChannelMap();
      const channel = keep(new Recorder(null, new ChannelMap()));
      channel.setSocket(Socket.socket(), other);
      channel.connect({ ...(server.getSockName() as InternetAddress), host: 'localhost' });
      await drive(how, () => channel.connected, { map: other });
      expect(channel.events).toEqual(['connect', 'write']);
    });

    it.each(WAYS)('connects elsewhere there while a name is looked up (%s)', async (_, how) => {
      const server = bareListener();
      const other = new ChannelMap();
      const channel = keep(new Recorder(null, new ChannelMap()));
      channel.setSocket(Socket.socket(), other);
      channel.connect({ host: 'localhost', port: 1 });
      channel.connect(server.getSockName());
      await drive(how, () => channel.connected, { map: other });
      expect(channel.events).toEqual(['connect', 'write']);
    });
  });

  describe('createSocket', () => {
    it('opens an IPv4 stream socket, unless told otherwise', () => {
      const channel = new Dispatcher();
      channel.createSocket();
      expect(channel.familyAndType).toEqual([AF_INET, SOCK_STREAM]);
      expect(channel.socket).toMatchObject({ family: AF_INET, type: SOCK_STREAM });
      expect(socketMap.get(channel.fileno() as number)).toBe(channel);
    });

    it('opens what it is told', () => {
      const channel = new Dispatcher();
      channel.createSocket(AF_INET6, SOCK_DGRAM);
      expect(channel.familyAndType).toEqual([AF_INET6, SOCK_DGRAM]);
      expect(channel.socket).toMatchObject({ family: AF_INET6, type: SOCK_DGRAM });
    });

    it('makes it non-blocking and close-on-exec', () => {
      const channel = new Dispatcher();
      channel.createSocket();
      const info = readFileSync(`/proc/self/fdinfo/${channel.fileno()}`, 'latin1');
      const flags = Number.parseInt(/flags:\s+(\d+)/.exec(info)?.[1] as string, 8);
      expect(flags & 0o4000).toBe(0o4000); // O_NONBLOCK
      expect(flags & 0o2000000).toBe(0o2000000); // O_CLOEXEC
    });

    it('throws what the kernel says, and stands in no map then', () => {
      const channel = new Dispatcher();
      expect(() => channel.createSocket(AF_INET, 77)).toThrow(SocketError);
      expect(channel.socket).toBeNull();
      expect(socketMap.size).toBe(0);
    });
  });

  describe('as a server', () => {
    it('sets SO_REUSEADDR', () => {
      const channel = new Dispatcher();
      channel.createSocket();
      expect(channel.socket?.getSockOpt(SOL_SOCKET, SO_REUSEADDR)).toBe(0);
      channel.setReuseAddr();
      expect(channel.socket?.getSockOpt(SOL_SOCKET, SO_REUSEADDR)).toBe(1);
      channel.setReuseAddr(false);
      expect(channel.socket?.getSockOpt(SOL_SOCKET, SO_REUSEADDR)).toBe(0);
      expect(() => channel.setReuseAddr('false' as never)).toThrow(
        "Cannot reuse an address: expected true or false, received 'false'",
      );
    });

    it.each([
      ['cannot be asked', { getSockOpt: throwing('ENOPROTOOPT') }],
      ['cannot be set', { setSockOpt: throwing('ENOPROTOOPT') }],
      ['has no such method', {}],
    ])('runs without SO_REUSEADDR when it %s', (_, more) => {
      const channel = new Dispatcher(standIn(more), new ChannelMap());
      expect(() => channel.setReuseAddr()).not.toThrow();
    });

    it('keeps the other bits of SO_REUSEADDR', () => {
      const set: unknown[][] = [];
      const socket = standIn({ getSockOpt: () => 4, setSockOpt: (...args) => set.push(args) });
      const channel = new Dispatcher(socket, new ChannelMap());
      channel.setReuseAddr();
      channel.setReuseAddr(false);
      expect(set).toEqual([
        [SOL_SOCKET, SO_REUSEADDR, 5],
        [SOL_SOCKET, SO_REUSEADDR, 4],
      ]);
    });

    it('has the address it binds to', () => {
      const channel = new Dispatcher();
      channel.createSocket();
      channel.bind({ host: '127.0.0.1', port: 0 });
      expect(channel.addr).toEqual({ host: '127.0.0.1', port: 0 });
      expect((channel.socket as Socket).getSockName()).toMatchObject({ host: '127.0.0.1' });
    });

    it('keeps it when it cannot bind', () => {
      const taken = bareListener().getSockName();
      const channel = new Dispatcher();
      channel.createSocket();
      expect(() => channel.bind(taken)).toThrow(expect.objectContaining({ code: 'EADDRINUSE' }));
      expect(channel.addr).toEqual(taken);
    });

    it('is accepting from listen on, and accepts', () => {
      const channel = new Dispatcher();
      channel.createSocket();
      channel.bind({ host: '127.0.0.1', port: 0 });
      channel.listen();
      expect(channel.accepting).toBe(true);
      expect(channel.connected).toBe(false);
      expect(channel.accept()).toBeNull();

      const client = keep(Socket.socket());
      client.connect((channel.socket as Socket).getSockName());
      const caller = channel.accept();
      expect(caller?.address).toEqual(client.getSockName());
      expect(caller?.socket.getPeerName()).toEqual(client.getSockName());
      caller?.socket.close();
    });

    it('has no more to do with a socket that it was parted from by assignment', () => {
      const map = new ChannelMap();
      const [before, now] = [connection()[0], connection()[0]];
      const channel = new Dispatcher(before, map);
      channel.socket = null;
      channel.setSocket(now, map);
      before.close();
      poll(0, map);
      expect(channel.fileno()).toBe(now.fileno());
      expect(channel.closeReason).toBe(null);
      channel.close();
    });

    it('listens with a backlog of 511, unless told otherwise', () => {
      const backlogs: unknown[] = [];
      const socket = standIn({ listen: (backlog) => backlogs.push(backlog) });
      const channel = new Dispatcher(socket, new ChannelMap());
      channel.listen();
      channel.listen(7);
      expect(backlogs).toEqual([511, 7]);
    });

    it.each([[null], [5], ['text'], [[]], [new Map()]])(
      'refuses the limits %p, and does not listen',
      (limits) => {
        const channel = new Dispatcher();
        channel.createSocket();
        expect(() => channel.listen(128, limits as never)).toThrow(
          expect.objectContaining({
            name: 'TypeError',
            code: 'ERR_INVALID_ARG_TYPE',
            message: expect.stringMatching(/^Cannot listen: expected limits, received /),
          }),
        );
        expect(channel.accepting).toBe(false);
      },
    );

    it.each([AF_INET, AF_INET6])('refuses a port for a backlog, without bind (%i)', (family) => {
      const channel = new Dispatcher();
      const socket = keep(Socket.socket(family));
      channel.setSocket(socket);
      expect(() => channel.listen(8080)).toThrow(
        'Cannot listen: expected a backlog below 1024, or bind() before listen(), received 8080',
      );
      expect(channel.accepting).toBe(false);
      channel.listen(1023);
      expect(socket.getSockName()).not.toMatchObject({ port: 0 });
      // It has a port by now.
      channel.listen(8080);
      expect(channel.accepting).toBe(true);
    });

    it('takes ECONNABORTED from accept for "nobody", and throws the rest', () => {
      const map = new ChannelMap();
      const gone = new Dispatcher(standIn({ accept: throwing('ECONNABORTED') }), map);
      expect(gone.accept()).toBeNull();
      const short = new Dispatcher(standIn({ accept: throwing('EMFILE') }), map);
      expect(() => short.accept()).toThrow('EMFILE');
    });
  });

  describe('send', () => {
    it('returns how many bytes the kernel took', () => {
      const [a, b] = Socket.pair();
      keep(b);
      const channel = new Dispatcher(a);
      expect(channel.send(Buffer.from('hello'))).toBe(5);
      expect(b.recv(100)?.toString()).toBe('hello');
    });

    it('returns 0 when it would block, and goes on', () => {
      const [a, b] = Socket.pair();
      keep(b);
      const channel = new Recorder(a);
      const data = Buffer.alloc(65536);
      for (let turn = 0; turn < 1000 && channel.send(data) > 0; turn += 1);
      expect(channel.send(data)).toBe(0);
      expect(channel.connected).toBe(true);
      expect(channel.events).toEqual([]);
    });

    it('returns 0 when the peer is gone, and handleClose has run', () => {
      const [a, b] = Socket.pair();
      const channel = new Recorder(a);
      b.close();
      expect(channel.send(Buffer.from('x'))).toBe(0);
      expect(channel.events).toEqual(['close']);
      expect(channel.send(Buffer.from('x'))).toBe(0);
      expect(channel.events).toEqual(['close']);
    });

    it.each(['ECONNRESET', 'ENOTCONN', 'ESHUTDOWN', 'ECONNABORTED', 'EPIPE', 'EBADF'])(
      'takes %s for a peer that is gone',
      (code) => {
        const channel = new Recorder(standIn({ send: throwing(code) }), new ChannelMap());
        expect(channel.send(Buffer.from('x'))).toBe(0);
        expect(channel.events).toEqual(['close']);
      },
    );

    it('throws anything else', () => {
      const channel = new Recorder(standIn({ send: throwing('EMSGSIZE') }), new ChannelMap());
      expect(() => channel.send(Buffer.from('x'))).toThrow('EMSGSIZE');
      expect(channel.events).toEqual([]);
      const [a, b] = Socket.pair();
      keep(b);
      expect(() => new Recorder(a).send('text' as never)).toThrow(TypeError);
    });
  });

  describe('recv', () => {
    it('returns what is there, and null when nothing is', () => {
      const [a, b] = Socket.pair();
      keep(b);
      const channel = new Recorder(a);
      expect(channel.recv(100)).toBeNull();
      b.send(Buffer.from('hello'));
      expect(channel.recv(3)?.toString()).toBe('hel');
      expect(channel.recv(3)?.toString()).toBe('lo');
      expect(channel.recv(3)).toBeNull();
      expect(channel.connected).toBe(true);
      expect(channel.events).toEqual([]);
    });

    it('returns null at the end of the stream, and handleClose has run', () => {
      const [a, b] = Socket.pair();
      const channel = new Recorder(a);
      b.close();
      expect(channel.recv(100)).toBeNull();
      expect(channel.events).toEqual(['close']);
      expect(channel.recv(100)).toBeNull();
      expect(channel.events).toEqual(['close']);
    });

    it.each(['ECONNRESET', 'ENOTCONN', 'ESHUTDOWN', 'ECONNABORTED', 'EPIPE', 'EBADF'])(
      'takes %s for a peer that is gone',
      (code) => {
        const channel = new Recorder(standIn({ recv: throwing(code) }), new ChannelMap());
        expect(channel.recv(100)).toBeNull();
        expect(channel.events).toEqual(['close']);
      },
    );

    it('throws anything else', () => {
      const channel = new Recorder(standIn({ recv: throwing('ETIMEDOUT') }), new ChannelMap());
      expect(() => channel.recv(100)).toThrow('ETIMEDOUT');
      expect(channel.events).toEqual([]);
    });

    it('takes an empty datagram for what it is, not for an end that anybody could send', () => {
      const [a, b] = Socket.pair(AF_UNIX, SOCK_DGRAM);
      keep(b);
      const channel = new Recorder(a);
      b.send(Buffer.alloc(0));
      b.send(Buffer.from('next'));
      expect(channel.recv(100)).toEqual(Buffer.alloc(0));
      expect(channel.recv(100)?.toString()).toBe('next');
      expect(channel.recv(100)).toBeNull();
      expect(channel.events).toEqual([]);
      channel.close();
    });

    it('tells handleEof instead, once, with allowHalfOpen', () => {
      const [a, b] = Socket.pair();
      let ends = 0;
      const channel = new (class extends Recorder {
        override handleEof(): Handled {
          ends += 1;
        }
      })(a);
      channel.allowHalfOpen = true;
      b.close();
      expect(channel.recv(100)).toBeNull();
      expect(channel.recv(100)).toBeNull();
      expect(ends).toBe(1);
      expect(channel.inputEnded).toBe(true);
      expect(channel.connected).toBe(true);
      expect(channel.events).toEqual([]);
    });

    it('ends in handleClose with allowHalfOpen, too, unless handleEof is overridden', () => {
      const [a, b] = Socket.pair();
      const channel = new Recorder(a);
      channel.allowHalfOpen = true;
      b.close();
      expect(channel.recv(100)).toBeNull();
      expect(channel.events).toEqual(['close']);
    });
  });

  describe.each(WAYS)('an urgent byte of the peer’s (%s)', (_, how) => {
    class Urgent extends Recorder {
      told = 0;
      heard = '';
      override handleExptEvent(): Handled {
        this.told += 1;
        return super.handleExptEvent();
      }
      override handleRead(): Handled {
        this.heard += this.recv(100) ?? '';
      }
    }

    function urgent<Channel extends Urgent = Urgent>(
      Class: new (socket: Socket) => Channel = Urgent as never,
    ): { channel: Channel; peer: Socket; own: Socket } {
      const [peer, own] = connection();
      const channel = new Class(own);
      return { channel, peer, own };
    }

    function passes(count: number): void {
      loopSync({ usePoll: how.usePoll, timeout: 0, count });
    }

    it('that nobody reads is dropped, told of once, and the loop has its rest', async () => {
      const { channel, peer } = urgent();
      peer.send(Buffer.from('a'));
      peer.send(Buffer.from('!'), MSG_OOB);
      await drive(how, () => channel.told > 0 && channel.heard === 'a');
      passes(10);
      // Nothing ends a wait before its time.
      const begin = performance.now();
      const options = { usePoll: how.usePoll, timeout: 30, count: 1 };
      if (how.sync) loopSync(options);
      else await loop(options);
      expect(performance.now() - begin).toBeGreaterThanOrEqual(29);
      expect(channel.told).toBe(1);
      peer.send(Buffer.from('z'));
      await drive(how, () => channel.heard.length > 1);
      expect(channel.heard).toBe('az');
      expect(channel.events).toEqual([]);
    });

    it('is told of again when there is another', async () => {
      const { channel, peer } = urgent();
      for (const times of [1, 2, 3]) {
        peer.send(Buffer.from('!'), MSG_OOB);
        await drive(how, () => channel.told >= times);
        passes(5);
        expect(channel.told).toBe(times);
      }
    });

    it('may be read by an override that calls super', async () => {
      class Reader extends Urgent {
        urgent = '';
        override handleExpt(): Handled {
          this.urgent += (this.socket as Socket).recv(1, MSG_OOB);
          return super.handleExpt();
        }
      }
      const { channel, peer } = urgent(Reader);
      peer.send(Buffer.from('!'), MSG_OOB);
      await drive(how, () => channel.urgent !== '');
      passes(10);
      expect([channel.urgent, channel.told]).toEqual(['!', 1]);
      expect(channel.events).toEqual([]);
    });

    it('is not lost with SO_OOBINLINE', async () => {
      const { channel, peer, own } = urgent();
      own.setSockOpt(SOL_SOCKET, SO_OOBINLINE, true);
      peer.send(Buffer.from('a'));
      peer.send(Buffer.from('!'), MSG_OOB);
      peer.send(Buffer.from('z'));
      await drive(how, () => channel.heard.length >= 3);
      // It is told as long as it is in line.
      const { told } = channel;
      passes(10);
      expect(channel.heard).toBe('a!z');
      expect(channel.told - told).toBeLessThanOrEqual(1);
      expect(channel.events).toEqual([]);
    });
  });

  describe('close', () => {
    it('leaves the map, closes the socket and calls no handler', () => {
      const [a, b] = Socket.pair();
      keep(b);
      const channel = new Recorder(a);
      channel.close();
      expect(socketMap.size).toBe(0);
      expect(channel.fileno()).toBeNull();
      expect(channel.socket).toBe(a);
      expect(a.closed).toBe(true);
      expect(channel.connected).toBe(false);
      expect(channel.addr).toEqual({ path: '' });
      expect(channel.events).toEqual([]);
    });

    it('clears all three flags', () => {
      const channel = new Dispatcher(standIn(), new ChannelMap());
      channel.accepting = true;
      channel.connecting = true;
      channel.close();
      expect([channel.connected, channel.accepting, channel.connecting]).toEqual([
        false,
        false,
        false,
      ]);
    });

    it('is idempotent', () => {
      const channel = new Dispatcher(Socket.socket());
      channel.close();
      expect(() => channel.close()).not.toThrow();
    });

    it('needs no socket', () => {
      const channel = new Dispatcher();
      expect(() => channel.close()).not.toThrow();
      expect(channel.socket).toBeNull();
    });

    it.each(['ENOTCONN', 'EBADF'])('says nothing of %s', (code) => {
      const map = new ChannelMap();
      const channel = new Dispatcher(standIn({ close: throwing(code) }), map);
      expect(() => channel.close()).not.toThrow();
      expect(map.size).toBe(0);
    });

    it('throws anything else, and has left the map', () => {
      const map = new ChannelMap();
      const channel = new Dispatcher(standIn({ close: throwing('EIO') }), map);
      expect(() => channel.close()).toThrow('EIO');
      expect(map.size).toBe(0);
      expect(channel.connected).toBe(false);
    });

    it('does not touch who has the number by then', () => {
      const socket = Socket.socket();
      const channel = new Dispatcher(socket);
      const fd = socket.fileno();
      channel.close();
      let next = keep(Socket.socket());
      while (next.fileno() < fd) next = keep(Socket.socket());
      expect(next.fileno()).toBe(fd);
      channel.close();
      expect(next.getSockOpt(SOL_SOCKET, SO_REUSEADDR)).toBe(0);
    });

    it('happens at the end of a using declaration', () => {
      const socket = Socket.socket();
      {
        using channel = new Dispatcher(socket);
        expect(channel.fileno()).toBe(socket.fileno());
      }
      expect(socket.closed).toBe(true);
      expect(socketMap.size).toBe(0);
    });

    it('leaves a channel that can have another socket', () => {
      const channel = new Recorder(Socket.socket());
      channel.close();
      channel.createSocket();
      channel.connect(bareListener().getSockName());
      loopSync({ count: 1, timeout: 1000 });
      expect(channel.events).toEqual(['connect', 'write']);
      expect(channel.connected).toBe(true);
    });
  });

  it.each(WAYS)('hears of a socket that somebody else closes (%s)', async (_, how) => {
    const [a, b] = Socket.pair();
    keep(b);
    const channel = new Recorder(a);
    a.close();
    await drive(how, () => channel.events.length > 0);
    expect(channel.events).toEqual(['close']);
    expect(socketMap.size).toBe(0);
  });

  describe('shown as text', () => {
    class EchoServer extends Dispatcher {}

    const shown = (channel: Dispatcher): string => {
      expect(inspect(channel)).toBe(`${channel}`);
      return channel.toString().replace(/ at 0x[0-9a-f]+>$/, ' at 0x…>');
    };

    it('has the name of its class and a number', () => {
      expect(`${new EchoServer()}`).toMatch(/^<EchoServer at 0x[0-9a-f]+>$/);
    });

    it('has the same number each time, and another than other channels', () => {
      const [a, b] = [new EchoServer(), new EchoServer()];
      expect(`${a}`).toBe(`${a}`);
      expect(`${a}`).not.toBe(`${b}`);
    });

    it('tells a listener', () => {
      const channel = new EchoServer();
      channel.createSocket();
      channel.bind({ host: '127.0.0.1', port: 0 });
      expect(shown(channel)).toBe('<EchoServer 127.0.0.1:0 at 0x…>');
      channel.listen();
      expect(shown(channel)).toBe('<EchoServer listening 127.0.0.1:0 at 0x…>');
    });

    it('tells a listener only by its address', () => {
      const channel = new EchoServer(bareListener());
      channel.listen();
      expect(shown(channel)).toBe('<EchoServer at 0x…>');
    });

    it('tells an IPv6 listener', () => {
      const channel = new EchoServer();
      channel.createSocket(AF_INET6);
      channel.bind({ host: '::1', port: 0 });
      channel.listen();
      expect(shown(channel)).toBe('<EchoServer listening [::1]:0 at 0x…>');
    });

    it('tells a Unix listener', () => {
      const path = temporaryPath();
      const channel = new EchoServer();
      channel.createSocket(AF_UNIX);
      channel.bind({ path });
      channel.listen();
      expect(shown(channel)).toBe(`<EchoServer listening '${path}' at 0x…>`);
    });

    it('tells a connection', () => {
      const [client, server] = connection();
      const { port } = server.getSockName() as InternetAddress;
      expect(shown(new EchoServer(client))).toBe(`<EchoServer connected 127.0.0.1:${port} at 0x…>`);
    });

    it('tells an IPv6 connection', () => {
      const [client, server] = connection(AF_INET6);
      const { port } = server.getSockName() as InternetAddress;
      expect(shown(new EchoServer(client))).toBe(`<EchoServer connected [::1]:${port} at 0x…>`);
    });

    it('tells a Unix connection, whose caller has no name', () => {
      const [, server] = connection(AF_UNIX);
      expect(shown(new EchoServer(server))).toBe(`<EchoServer connected '' at 0x…>`);
    });

    it('tells a connection without an address', () => {
      const channel = new EchoServer(standIn(), new ChannelMap());
      expect(shown(channel)).toBe('<EchoServer connected at 0x…>');
    });

    it('tells where a connect goes', () => {
      const { port } = bareListener().getSockName() as InternetAddress;
      const channel = new EchoServer();
      channel.createSocket();
      channel.connect({ host: '127.0.0.1', port });
      expect(shown(channel)).toBe(`<EchoServer 127.0.0.1:${port} at 0x…>`);
    });

    it('keeps the address when it is closed', () => {
      const channel = new EchoServer(standIn(), new ChannelMap());
      channel.addr = { host: '10.0.0.1', port: 99 };
      channel.close();
      expect(shown(channel)).toBe('<EchoServer 10.0.0.1:99 at 0x…>');
    });
  });

  describe('log', () => {
    it('goes to stderr', () => {
      const { out, err } = printed();
      new Dispatcher().log('a hit');
      new Dispatcher().log(null);
      expect(err).toEqual(['log: a hit\n', 'log: null\n']);
      expect(out).toEqual([]);
    });
  });

  describe('logInfo', () => {
    it('goes to stdout, with its type', () => {
      const { out, err } = printed();
      new Dispatcher().logInfo('nothing new');
      new Dispatcher().logInfo('oh no', 'error');
      new Dispatcher().logInfo(42, 'answer');
      expect(out).toEqual(['info: nothing new\n', 'error: oh no\n', 'answer: 42\n']);
      expect(err).toEqual([]);
    });

    it('leaves out what ignoreLogTypes has', () => {
      const { out } = printed();
      const channel = new Dispatcher();
      channel.logInfo('hidden', 'warning');
      channel.ignoreLogTypes = new Set(['info']);
      channel.logInfo('hidden');
      channel.logInfo('shown', 'warning');
      expect(out).toEqual(['warning: shown\n']);
    });
  });

  describe('by default', () => {
    function talkative(socket: SocketLike | null = null): Dispatcher {
      const channel = new Dispatcher(socket);
      channel.ignoreLogTypes = new Set();
      return channel;
    }

    it.each([
      ['handleExpt', 'unhandled incoming priority event'],
      ['handleRead', 'unhandled read event'],
      ['handleWrite', 'unhandled write event'],
      ['handleConnect', 'unhandled connect event'],
    ] as const)('only logs in %s', (name, text) => {
      const { out, err } = printed();
      const [a, b] = Socket.pair();
      keep(b);
      const channel = talkative(a);
      channel[name]();
      expect(out).toEqual([`warning: ${text}\n`]);
      expect(err).toEqual([]);
      expect(channel.connected).toBe(true);
      expect(a.closed).toBe(false);
    });

    it.each(['handleClose', 'handleEof'] as const)('logs and closes in %s', (name) => {
      const { out } = printed();
      const [a, b] = Socket.pair();
      keep(b);
      talkative(a)[name]();
      expect(out).toEqual(['warning: unhandled close event\n']);
      expect(a.closed).toBe(true);
    });

    it('accepts in handleAccept, then closes and logs in handleAccepted', () => {
      const { out } = printed();
      const server = bareListener();
      const channel = talkative(server);
      channel.listen();
      void channel.handleAccept();
      expect(out).toEqual([]);

      const client = keep(Socket.socket());
      client.connect(server.getSockName());
      void channel.handleAccept();
      expect(out).toEqual(['warning: unhandled accepted event\n']);
      expect(client.recv(1)?.length).toBe(0);
      expect(server.closed).toBe(false);
    });

    it('hides all that', () => {
      const { out, err } = printed();
      const channel = new Dispatcher();
      void channel.handleExpt();
      void channel.handleRead();
      void channel.handleWrite();
      void channel.handleConnect();
      void channel.handleClose();
      expect([...out, ...err]).toEqual([]);
    });
  });

  describe('handleError', () => {
    const logged = (error: unknown, channel: Dispatcher = new Dispatcher()): string => {
      const { out, err } = printed();
      void channel.handleError(error);
      expect(err).toEqual([]);
      expect(out).toHaveLength(1);
      return out[0] as string;
    };

    it('logs the channel, the error and its stack, and calls handleClose', () => {
      const [a, b] = Socket.pair();
      keep(b);
      let closes = 0;
      const channel = new (class ChatServer extends Dispatcher {
        override handleClose(): Handled {
          closes += 1;
          return super.handleClose();
        }
      })(a);
      function failing(): Error {
        return new RangeError('out of cheese');
      }
      const shown = `${channel}`;
      expect(shown).toMatch(/^<ChatServer connected '' at 0x[0-9a-f]+>$/);
      const text = logged(failing(), channel);
      expect(text).toMatch(
        /^error: uncaptured exception, closing channel <[^>]+> \(RangeError:out of cheese (\[[^\]|]*\|[^|]*\|\d+\] ?)+\)\n$/,
      );
      expect(text).toContain(` ${shown} (`);
      // Outermost first, as a Python traceback reads.
      expect(text).toMatch(/\[[^|]*dispatcher\.spec\.ts\|failing\|\d+\]\)\n$/);
      expect(closes).toBe(1);
      expect(a.closed).toBe(true);
    });

    it('survives a toString that throws', () => {
      const channel = new (class extends Dispatcher {
        override toString(): string {
          throw new Error('nor this');
        }
      })();
      expect(logged(new Error('boom'), channel)).toMatch(
        /^error: uncaptured exception, closing channel <toString\(\) failed for object at 0x[0-9a-f]+> \(Error:boom /,
      );
    });

    it.each([
      ['null', null, /\(null:null ?\)\n$/],
      ['undefined', undefined, /\(undefined:undefined ?\)\n$/],
      ['a string', 'boom', /\(String:boom ?\)\n$/],
      ['a number', 42, /\(Number:42 ?\)\n$/],
      ['an object without a prototype', Object.create(null), /\(object:\? ?\)\n$/],
      ['an error without a stack', { message: 'boom', stack: 1 }, /\(Object:boom ?\)\n$/],
    ])('survives %s as an error', (_, error, text) => {
      expect(logged(error)).toMatch(text);
    });

    it('survives an error that throws when it is looked at', () => {
      const hostile = Object.defineProperty(new Error(), 'message', {
        get: () => {
          throw new Error('nor this');
        },
      });
      expect(logged(hostile)).toMatch(/^error: uncaptured exception, closing channel <Disp/);
    });

    it('calls no handleClose on a channel that is closed', () => {
      printed();
      const channel = new Recorder(Socket.socket());
      channel.close();
      Dispatcher.prototype.handleError.call(channel, new Error('late'));
      expect(channel.events).toEqual([]);
    });
  });

  describe.each<[string, () => unknown]>([
    ['throws', () => throwing('EPIPE')()],
    ['rejects', async () => throwing('EPIPE')()],
  ])('whose logInfo %s', (_, logInfo) => {
    it.each<[string, (channel: Dispatcher) => unknown, string[]]>([
      ['handleExpt', (channel) => channel.handleExpt(), ['unhandled incoming priority event']],
      ['handleRead', (channel) => channel.handleRead(), ['unhandled read event']],
      ['handleClose', (channel) => channel.handleClose(), ['unhandled close event']],
      [
        'handleError',
        (channel) => channel.handleError(new Error('first')),
        ['(Error:first ', 'unhandled close event'],
      ],
    ])('does the rest of %s, and warns', async (name, act, texts) => {
      const warn = jest.spyOn(process, 'emitWarning').mockReturnValue();
      const [a, b] = Socket.pair();
      keep(b);
      act(Object.assign(new Dispatcher(keep(a)), { logInfo }));
      await new Promise(setImmediate);
      expect(a.closed).toBe(/Close|Error/.test(name));
      expect(warn.mock.calls).toEqual(
        texts.map((text) => [
          expect.stringContaining(text),
          { type: 'ChannelWarning', code: 'ASYNCORE_LOG' },
        ]),
      );
      expect(warn.mock.calls[0]?.[0]).toMatch(
        /^A channel could not log '.*': SocketError: EPIPE: /,
      );
    });

    it('keeps a listener whose error is not fatal', async () => {
      const warn = jest.spyOn(process, 'emitWarning').mockReturnValue();
      const server = bareListener();
      const channel = Object.assign(new Dispatcher(server), { logInfo });
      channel.listen();
      channel.handleAccepted = throwing('EIO');
      call(server.getSockName());
      read(channel);
      await new Promise(setImmediate);
      expect(server.closed).toBe(false);
      expect(warn).toHaveBeenCalledTimes(1);
    });
  });

  describe('with a stand-in for a socket', () => {
    it('needs five methods only', () => {
      const map = new ChannelMap();
      let closed = false;
      const sent: Uint8Array[] = [];
      const channel = new Recorder(
        {
          fileno: () => 501,
          recv: (size) => Buffer.alloc(size, 'x'),
          send: (data) => sent.push(data),
          getSockOpt: () => 0,
          close: () => {
            closed = true;
          },
        },
        map,
      );
      expect(map.get(501)).toBe(channel);
      expect(channel.connected).toBe(true);
      expect(channel.addr).toBeNull();
      expect(channel.recv(3)).toEqual(Buffer.from('xxx'));
      expect(channel.send(Buffer.from('abc'))).toBe(1);
      expect(sent).toEqual([Buffer.from('abc')]);
      channel.close();
      expect(closed).toBe(true);
      expect(map.size).toBe(0);
    });

    it.each([
      ['listen', (channel: Dispatcher) => channel.listen()],
      ['bind', (channel: Dispatcher) => channel.bind({ path: '/nowhere' })],
      ['accept', (channel: Dispatcher) => channel.accept()],
      ['connect', (channel: Dispatcher) => channel.connect({ path: '/nowhere' })],
    ])('says that it has no %s', (name, call) => {
      const channel = new Dispatcher(standIn(), new ChannelMap());
      expect(() => call(channel)).toThrow(TypeError);
      expect(() => call(channel)).toThrow(
        `Cannot ${name}: expected a socket that can ${name}, received {`,
      );
      expect(channel.connecting).toBe(false);
    });

    it('uses the methods it has', () => {
      const calls: unknown[] = [];
      const address: Address = { host: 'a name is the stand-in’s business', port: 7 };
      const socket = standIn({
        getPeerName: () => ({ host: '10.0.0.1', port: 80 }),
        bind: (to) => calls.push(['bind', to]),
        listen: (backlog) => calls.push(['listen', backlog]),
        accept: () => null,
        connectEx: (to) => {
          calls.push(['connectEx', to]);
          return 0;
        },
      });
      const channel = new Recorder(socket, new ChannelMap());
      expect(channel.addr).toEqual({ host: '10.0.0.1', port: 80 });
      channel.bind(address);
      channel.listen(3);
      expect(channel.accept()).toBeNull();
      channel.accepting = false;
      channel.connect(address);
      expect(calls).toEqual([
        ['bind', address],
        ['listen', 3],
        ['connectEx', address],
      ]);
      expect(channel.events).toEqual(['connect']);
      expect(channel.connected).toBe(true);
      expect(channel.addr).toEqual(address);
    });

    it('tells the owner, where it wants to know', () => {
      const socket = standIn({ owner: null });
      const channel = new Dispatcher(socket, new ChannelMap());
      expect(socket.owner).toBe(channel);
      channel.close();
      expect(socket.owner).toBeNull();
    });

    it('may wrap a Socket, which is waited for', async () => {
      const [a, b] = Socket.pair();
      keep(b);
      const upper = standIn({
        fileno: () => a.fileno(),
        recv: (size) => {
          const data = a.recv(size);
          return data === null ? null : Buffer.from(data.toString().toUpperCase());
        },
        close: () => a.close(),
      });
      let text = '';
      const channel = new (class extends Recorder {
        override handleRead(): Handled {
          text += this.recv(100) ?? '';
        }
      })(upper);
      b.send(Buffer.from('hello'));
      await drive({ usePoll: false, sync: false }, () => text !== '');
      expect(text).toBe('HELLO');
      b.close();
      await drive({ usePoll: true, sync: false }, () => channel.events.length > 0);
      expect(channel.events).toEqual(['close']);
      expect(a.closed).toBe(true);
    });

    it('can be put in its place later', () => {
      const map = new ChannelMap();
      const [a, b] = Socket.pair();
      keep(b);
      const channel = new Dispatcher(keep(a), map);
      const wrapped = standIn({ fileno: () => a.fileno(), recv: () => Buffer.from('wrapped') });
      channel.socket = wrapped;
      expect(channel.recv(100)?.toString()).toBe('wrapped');
      expect([...map.values()]).toEqual([channel]);
    });
  });

  describe('with a datagram socket', () => {
    it.each(WAYS)('reads without ever being connected (%s)', async (_, how) => {
      const got: [string, Address][] = [];
      class Server extends Recorder {
        override handleRead(): Handled {
          const datagram = (this.socket as Socket).recvFrom(100);
          if (datagram === null) return;
          got.push([datagram.data.toString(), datagram.address]);
          (this.socket as Socket).sendTo(Buffer.from('pong'), datagram.address);
        }
      }
      const server = new Server();
      server.createSocket(AF_INET, SOCK_DGRAM);
      server.bind({ host: '127.0.0.1', port: 0 });
      const client = keep(Socket.socket(AF_INET, SOCK_DGRAM));
      client.sendTo(Buffer.from('ping'), (server.socket as Socket).getSockName());
      await drive(how, () => got.length > 0);
      expect(got).toEqual([['ping', { ...client.getSockName(), host: '127.0.0.1' }]]);
      expect(client.recv(100)?.toString()).toBe('pong');
      expect(server.connected).toBe(false);
      expect(server.events).toEqual([]);
    });

    it('is connected from within connect', () => {
      const server = keep(Socket.socket(AF_INET, SOCK_DGRAM));
      server.bind({ host: '127.0.0.1', port: 0 });
      const channel = new Recorder();
      channel.createSocket(AF_INET, SOCK_DGRAM);
      channel.connect(server.getSockName());
      expect(channel.events).toEqual(['connect']);
      expect(channel.connected).toBe(true);
      expect(channel.connecting).toBe(false);
      expect(channel.addr).toEqual(server.getSockName());
    });
  });

  describe('connect', () => {
    it('is under way when it returns', () => {
      const channel = new Recorder();
      channel.createSocket();
      channel.connected = true;
      const address = bareListener().getSockName();
      channel.connect(address);
      expect(channel.connecting).toBe(true);
      expect(channel.connected).toBe(false);
      expect(channel.addr).toEqual(address);
      expect(channel.events).toEqual([]);
      loopSync({ count: 1, timeout: 1000 });
      expect(channel.events).toEqual(['connect', 'write']);
      expect(channel.connected).toBe(true);
      expect(channel.connecting).toBe(false);
    });

    it('is not over while handleConnect runs', () => {
      const seen: boolean[] = [];
      const channel = new (class extends Recorder {
        override handleConnect(): Handled {
          seen.push(this.connected, this.connecting);
        }
      })();
      channel.createSocket(AF_UNIX);
      channel.connect(bareListener(AF_UNIX).getSockName());
      expect(seen).toEqual([false, true]);
      expect(channel.connected).toBe(true);
      expect(channel.connecting).toBe(false);
    });

    it('takes EISCONN for success', () => {
      const [client] = connection();
      const channel = new Recorder(client);
      channel.connect(channel.addr as Address);
      expect(channel.events).toEqual(['connect']);
      expect(channel.connected).toBe(true);
    });

    it('throws what handleConnect throws when the connection stands at once', () => {
      const channel = new (class extends Recorder {
        override handleConnect(): Handled {
          throw new Error('boom');
        }
      })();
      channel.createSocket(AF_UNIX);
      expect(() => channel.connect(bareListener(AF_UNIX).getSockName())).toThrow('boom');
      expect(channel.connected).toBe(false);
      channel.close();
    });

    it('gives a rejection of handleConnect to handleError', async () => {
      const channel = new (class extends Recorder {
        override async handleConnect(): Promise<void> {
          throw new Error('boom');
        }
      })();
      channel.createSocket(AF_UNIX);
      channel.connect(bareListener(AF_UNIX).getSockName());
      await drive({ usePoll: false, sync: false }, () => channel.errors.length > 0);
      expect(channel.errors).toEqual([new Error('boom')]);
      expect(channel.socket?.fileno()).toBe(-1);
    });

    it('reports where it did not get', async () => {
      const server = bareListener();
      const { port } = server.getSockName() as InternetAddress;
      server.close();
      const channel = new Recorder();
      channel.createSocket();
      channel.connect({ host: '127.0.0.1', port });
      await drive({ usePoll: false, sync: false }, () => channel.errors.length > 0);
      expect(channel.errors[0]).toMatchObject({
        code: 'ECONNREFUSED',
        errno: 111,
        syscall: 'connect',
        address: `127.0.0.1:${port}`,
      });
    });

    it('reports a failure without an address, too', () => {
      const socket = standIn({ getSockOpt: () => 110, getPeerName: throwing('ENOTCONN') });
      const channel = new Recorder(socket, new ChannelMap());
      const fail = (): void => channel.handleConnectEvent();
      expect(fail).toThrow('ETIMEDOUT');
      expect(fail).toThrow(expect.not.objectContaining({ address: expect.anything() }));
    });

    it('says nothing of urgent data when the socket has an error', () => {
      const channel = new (class extends Recorder {
        override handleExpt(): Handled {
          this.events.push('expt');
        }
      })(standIn({ getSockOpt: () => 104 }), new ChannelMap());
      void channel.handleExptEvent();
      expect(channel.events).toEqual(['close']);
    });
  });

  describe('connecting to a host name', () => {
    type Answer = (error: NodeJS.ErrnoException | null, literal: string) => void;

    /** Look-ups are answered by the test. */
    function heldLookups(): { host: string; family: unknown; answer: Answer }[] {
      const held: { host: string; family: unknown; answer: Answer }[] = [];
      jest.spyOn(dns, 'lookup').mockImplementation(((
        host: string,
        { family }: { family: number },
        answer: Answer,
      ) => {
        held.push({ host, family, answer });
      }) as never);
      return held;
    }

    /** glibc and musl both know without asking anybody: a label has 63 letters at most. */
    const IMPOSSIBLE = 'x'.repeat(70);

    function client(family = AF_INET, type = SOCK_STREAM): Recorder {
      const channel = new Recorder();
      channel.createSocket(family, type);
      return channel;
    }

    it.each(WAYS)('gets there (%s)', async (_, how) => {
      const server = bareListener();
      const { port } = server.getSockName() as InternetAddress;
      const channel = client();
      channel.connect({ host: 'localhost', port });
      expect(channel.connecting).toBe(true);
      expect(channel.addr).toEqual({ host: 'localhost', port });
      expect(channel.events).toEqual([]);
      await drive(how, () => channel.connected);
      expect(channel.events).toEqual(['connect', 'write']);
      expect(channel.connecting).toBe(false);
      expect(channel.addr).toEqual({ host: 'localhost', port });
      expect((channel.socket as Socket).getPeerName()).toEqual({ host: '127.0.0.1', port });
    });

    it('lets others go on under loop() while the name is looked up', async () => {
      const lookups = heldLookups();
      const { port } = bareListener().getSockName() as InternetAddress;
      const [a, b] = Socket.pair();
      keep(b);
      const other = new (class extends Recorder {
        override handleRead(): Handled {
          this.events.push(`read ${this.recv(100)}`);
        }
      })(a);
      const channel = client();
      channel.connect({ host: 'localhost', port });
      b.send(Buffer.from('one'));
      await drive({ usePoll: false, sync: false }, () => other.events.length === 1);
      b.send(Buffer.from('two'));
      await drive({ usePoll: true, sync: false }, () => other.events.length === 2);
      expect(other.events).toEqual(['read one', 'read two']);
      expect(channel.events).toEqual([]);
      expect(channel.connecting).toBe(true);

      expect(lookups).toMatchObject([{ host: 'localhost', family: 4 }]);
      lookups[0]?.answer(null, '127.0.0.1');
      await drive({ usePoll: false, sync: false }, () => channel.connected);
      expect(channel.events).toEqual(['connect', 'write']);
    });

    it('does not turn in circles under loop() meanwhile', async () => {
      const lookups = heldLookups();
      const channel = client();
      let asked = 0;
      channel.writable = () => {
        asked += 1;
        return channel.connecting;
      };
      channel.connect({ host: 'localhost', port: 1 });
      await loop({ timeout: 30, count: 2 });
      expect(asked).toBeLessThan(20);
      expect(lookups).toHaveLength(1);
      expect(channel.connecting).toBe(true);
    });

    it('looks up and blocks under loopSync()', () => {
      const lookups = heldLookups();
      const { port } = bareListener().getSockName() as InternetAddress;
      const channel = client();
      channel.connect({ host: 'localhost', port });
      loopSync({ count: 1, timeout: 1000 });
      expect(channel.events).toEqual(['connect', 'write']);
      // The other look-up is over at last, and late.
      lookups[0]?.answer(null, '127.0.0.2');
      loopSync({ count: 1, timeout: 0 });
      expect(channel.events).toEqual(['connect', 'write']);
      expect((channel.socket as Socket).getPeerName()).toEqual({ host: '127.0.0.1', port });
    });

    it('looks up and blocks in a poll() of a handler’s', () => {
      heldLookups();
      const { port } = bareListener().getSockName() as InternetAddress;
      const channel = client();
      channel.connect({ host: 'localhost', port });
      poll(1000);
      expect(channel.events).toEqual(['connect', 'write']);
    });

    it.each(WAYS)('tells handleError of a name that cannot exist (%s)', async (_, how) => {
      const channel = client();
      channel.connect({ host: IMPOSSIBLE, port: 80 });
      await drive(how, () => channel.errors.length > 0);
      expect(channel.events).toEqual(['error']);
      expect(channel.errors[0]).toBeInstanceOf(SocketError);
      expect(channel.errors[0]).toMatchObject({
        code: 'ENOTFOUND',
        errno: -2,
        syscall: 'getaddrinfo',
        address: IMPOSSIBLE,
        // Whoever has looked it up.
        message: `ENOTFOUND: the name cannot be looked up, getaddrinfo ${IMPOSSIBLE}`,
      });
      expect(channel.connecting).toBe(false);
      expect(socketMap.size).toBe(0);
    });

    it('is out of the map in handleError, and may try another name from there', async () => {
      const { port } = bareListener().getSockName() as InternetAddress;
      const channel = new (class extends Recorder {
        override handleError(error: unknown): Handled {
          this.errors.push(error);
          this.events.push(`error ${this.connecting} ${socketMap.size}`);
          this.connect({ host: 'localhost', port });
        }
      })();
      channel.createSocket();
      channel.connect({ host: IMPOSSIBLE, port });
      // Nothing stands in the map for a moment, so the loop may end in between.
      await drive({ usePoll: false, sync: true }, () => channel.connected);
      expect(channel.events).toEqual(['error false 0', 'connect', 'write']);
    });

    it('has a code even where the look-up gives none', () => {
      const lookups = heldLookups();
      const channel = client();
      channel.connect({ host: 'localhost', port: 1 });
      lookups[0]?.answer(new Error('somehow'), '');
      expect(channel.errors[0]).toMatchObject({ code: 'ENOTFOUND', errno: -2 });
    });

    it('tells handleError when there is no way to the address', () => {
      const lookups = heldLookups();
      const channel = client();
      channel.connect({ host: 'broadcast.example', port: 1 });
      lookups[0]?.answer(null, '255.255.255.255');
      expect(channel.events).toEqual(['error']);
      expect(channel.errors[0]).toMatchObject({ syscall: 'connect' });
      expect(socketMap.size).toBe(0);
    });

    it.each([
      ['ENOTFOUND', -3008, -2],
      ['EAI_AGAIN', -3001, -3],
    ])('has getaddrinfo’s own number for %s, not libuv’s', (code, errno, expected) => {
      const lookups = heldLookups();
      const channel = client();
      channel.connect({ host: 'name.invalid', port: 1 });
      const error = Object.assign(new Error('libuv’s words'), { code, errno });
      lookups[0]?.answer(error, '');
      expect(channel.errors[0]).toMatchObject({ code, errno: expected, address: 'name.invalid' });
      expect(String(channel.errors[0])).not.toContain('libuv');
    });

    it('neither sends nor receives before the name is found, and lives', () => {
      const lookups = heldLookups();
      const server = bareListener();
      const channel = client();
      channel.connect({ ...(server.getSockName() as InternetAddress), host: 'localhost' });
      const fd = channel.fileno();
      expect(channel.send(Buffer.from('too early'))).toBe(0);
      expect(channel.recv(100)).toBeNull();
      expect(channel.events).toEqual([]);
      expect(channel.connecting).toBe(true);
      expect(channel.fileno()).toBe(fd);
      lookups[0]?.answer(null, '127.0.0.1');
      poll(1000);
      expect(channel.events).toEqual(['connect', 'write']);
      expect(channel.send(Buffer.from('hello'))).toBe(5);
      const peer = keep(server.accept()?.socket as Socket);
      peer.send(Buffer.from('world'));
      expect(channel.recv(100)?.toString()).toBe('world');
      expect(peer.recv(100)?.toString()).toBe('hello');
    });

    it('sends and receives again when it gets another socket first', () => {
      heldLookups();
      const channel = client();
      keep(channel.socket as Socket);
      channel.connect({ host: 'localhost', port: 1 });
      const [own, peer] = connection();
      channel.setSocket(own);
      expect(channel.send(Buffer.from('hello'))).toBe(5);
      peer.send(Buffer.from('world'));
      expect(channel.recv(100)?.toString()).toBe('world');
      expect(peer.recv(100)?.toString()).toBe('hello');
    });

    it('sends and receives again when it connects elsewhere first', async () => {
      heldLookups();
      const server = bareListener();
      const channel = client();
      channel.connect({ host: 'localhost', port: 1 });
      channel.connect(server.getSockName());
      await drive({ usePoll: false, sync: false }, () => channel.connected);
      expect(channel.send(Buffer.from('hello'))).toBe(5);
      const peer = keep(server.accept()?.socket as Socket);
      peer.send(Buffer.from('world'));
      expect(channel.recv(100)?.toString()).toBe('world');
    });

    it('says nothing when it has closed first, and sends when it connects again', async () => {
      heldLookups();
      const server = bareListener();
      const channel = client();
      channel.connect({ host: 'localhost', port: 1 });
      channel.close();
      expect(channel.send(Buffer.from('x'))).toBe(0);
      expect(channel.recv(10)).toBeNull();
      expect(channel.events).toEqual([]);
      channel.createSocket();
      channel.connect(server.getSockName());
      await drive({ usePoll: false, sync: false }, () => channel.connected);
      expect(channel.send(Buffer.from('hello'))).toBe(5);
    });

    it('looks for an address of the socket’s family', () => {
      const lookups = heldLookups();
      client(AF_INET6).connect({ host: 'localhost', port: 1 });
      expect(lookups).toMatchObject([{ family: 6 }]);
    });

    it.each(WAYS)('is forgotten when the channel closes first (%s)', async (_, how) => {
      const lookups = heldLookups();
      const server = bareListener();
      const channel = client();
      channel.connect({ ...(server.getSockName() as InternetAddress), host: 'localhost' });
      channel.close();
      let turns = 0;
      const [a, b] = Socket.pair();
      keep(b);
      const other = new (class extends Recorder {
        override readable(): boolean {
          turns += 1;
          return true;
        }
      })(a);
      b.send(Buffer.from('x'));
      await drive(how, () => turns > 2);
      other.close();
      lookups[0]?.answer(null, '127.0.0.1');
      expect(channel.events).toEqual([]);
      expect(channel.connected).toBe(false);
      expect(channel.connecting).toBe(false);
      expect(socketMap.size).toBe(0);
      expect(server.accept()).toBeNull();
    });

    it('is forgotten when the channel gets another socket first', () => {
      const lookups = heldLookups();
      const server = bareListener();
      const channel = client();
      const first = keep(channel.socket as Socket);
      channel.connect({ ...(server.getSockName() as InternetAddress), host: 'localhost' });
      channel.createSocket();
      lookups[0]?.answer(null, '127.0.0.1');
      expect(server.accept()).toBeNull();
      expect(() => first.getPeerName()).toThrow('ENOTCONN');
    });

    it('is forgotten when the channel connects elsewhere first', async () => {
      const lookups = heldLookups();
      const wrong = bareListener();
      const right = bareListener().getSockName() as InternetAddress;
      const channel = client();
      channel.connect({ ...(wrong.getSockName() as InternetAddress), host: 'localhost' });
      channel.connect(right);
      await drive({ usePoll: false, sync: false }, () => channel.connected, { limit: 1000 });
      lookups[0]?.answer(null, '127.0.0.1');
      expect(channel.events).toEqual(['connect', 'write']);
      expect(channel.addr).toEqual(right);
      expect((channel.socket as Socket).getPeerName()).toEqual(right);
      expect(wrong.accept()).toBeNull();
    });

    it('stands at once for a datagram socket, when the name is found', () => {
      const lookups = heldLookups();
      const server = keep(Socket.socket(AF_INET, SOCK_DGRAM));
      server.bind({ host: '127.0.0.1', port: 0 });
      const channel = client(AF_INET, SOCK_DGRAM);
      channel.connect({ ...(server.getSockName() as InternetAddress), host: 'localhost' });
      expect(channel.events).toEqual([]);
      lookups[0]?.answer(null, '127.0.0.1');
      expect(channel.events).toEqual(['connect']);
      expect(channel.connected).toBe(true);
    });

    it('leaves the loop when handleConnect throws ExitNow then', async () => {
      const lookups = heldLookups();
      const server = keep(Socket.socket(AF_INET, SOCK_DGRAM));
      server.bind({ host: '127.0.0.1', port: 0 });
      const exit = new ExitNow('enough');
      const channel = new (class extends Recorder {
        override handleConnect(): Handled {
          throw exit;
        }
      })();
      channel.createSocket(AF_INET, SOCK_DGRAM);
      channel.connect({ ...(server.getSockName() as InternetAddress), host: 'localhost' });
      const running = loop({ timeout: 1000, count: 1 });
      setImmediate(() => lookups[0]?.answer(null, '127.0.0.1'));
      await expect(running).rejects.toBe(exit);
      expect(socketMap.size).toBe(1);
    });

    it('does not begin when the port cannot be one, or the name has a NUL', () => {
      const lookups = heldLookups();
      const channel = client();
      for (const port of [-1, 65536, 1.5, Number.NaN]) {
        expect(() => channel.connect({ host: 'localhost', port })).toThrow(RangeError);
      }
      expect(() => channel.connect({ host: 'localhost', port: '80' as never })).toThrow(TypeError);
      expect(() => channel.connect({ host: 'localhost', port: 65536 })).toThrow(
        'Cannot connect: expected a port to be an integer from 0 to 65535, received 65536',
      );
      // Looked up, it would be localhost.
      expect(() => channel.connect({ host: 'localhost\0.example.org', port: 80 })).toThrow(
        "Cannot connect: expected a host without NUL, received 'localhost\\x00.example.org'",
      );
      expect(lookups).toEqual([]);
      expect(channel.connecting).toBe(false);
      expect(channel.addr).toBeNull();
    });
  });
});
