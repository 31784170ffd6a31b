// A channel that cannot be set up: a bind, listen or connect that fails, at once or later.

import {
  AF_INET,
  AF_INET6,
  ChannelMap,
  closeAll,
  Dispatcher,
  type Handled,
  poll,
  SOCK_DGRAM,
  SOCK_STREAM,
  type SocketError,
  type SocketLike,
  socketMap,
} from 'asyncore';
import { drive, WAYS } from '../support/drive';
import { keep, newMap } from '../support/keep';
import { Recorder } from '../support/recorder';
import { bareListener, call, pair } from '../support/sockets';

const HERE = { host: '127.0.0.1', port: 0 };

describe('a step that throws', () => {
  const taken = () => bareListener().getSockName();
  it.each<[string, number, (channel: Dispatcher) => void]>([
    ['bind to a port in use', SOCK_STREAM, (channel) => channel.bind(taken())],
    [
      'bind to a port in use',
      SOCK_DGRAM,
      (channel) => {
        const other = keep(new Recorder(null, new ChannelMap()));
        other.createSocket(AF_INET, SOCK_DGRAM);
        other.bind(HERE);
        channel.bind((other.socket as never as { getSockName(): never }).getSockName());
      },
    ],
    [
      'bind to an address of another family',
      SOCK_STREAM,
      (channel) => channel.bind({ host: '::1', port: 0 }),
    ],
    ['bind to what is no address', SOCK_STREAM, (channel) => channel.bind(8007 as never)],
    [
      'bind to a port that is none',
      SOCK_STREAM,
      (channel) => channel.bind({ host: '127.0.0.1', port: 65536 }),
    ],
    [
      'listen where only datagrams arrive',
      SOCK_DGRAM,
      (channel) => {
        channel.bind(HERE);
        channel.listen();
      },
    ],
    ['listen with a backlog that is none', SOCK_STREAM, (channel) => channel.listen('5' as never)],
    [
      'listen with a limit that is none',
      SOCK_STREAM,
      (channel) => channel.listen(5, { maxConnections: 0 }),
    ],
    [
      'connect to an address of another family',
      SOCK_STREAM,
      (channel) => channel.connect({ host: '::1', port: 80 }),
    ],
    ['connect to what is no address', SOCK_STREAM, (channel) => channel.connect('host' as never)],
    ['connect to a path', SOCK_STREAM, (channel) => channel.connect({ path: '/tmp/x' })],
    [
      'connect to a broadcast address',
      SOCK_STREAM,
      (channel) => channel.connect({ host: '255.255.255.255', port: 80 }),
    ],
  ])('takes the channel out of the map: %s', (_, type, step) => {
    const channel = keep(new Dispatcher());
    channel.createSocket(AF_INET, type);
    expect(() => step(channel)).toThrow();
    expect(socketMap.size).toBe(0);
    expect([channel.fileno(), channel.accepting, channel.connecting]).toEqual([null, false, false]);
    expect(channel.socket?.fileno()).toBeGreaterThanOrEqual(0);
  });

  it('lets a program try one port after another, and serve the one that is free', async () => {
    class Server extends Recorder {
      constructor(port: number) {
        super();
        keep(this);
        this.createSocket();
        this.bind({ host: '127.0.0.1', port });
        this.listen(5);
      }
    }
    const ports = [taken(), taken(), HERE].map((address) => (address as typeof HERE).port);
    let server: Server | null = null;
    for (const port of ports) {
      try {
        server = new Server(port);
        break;
      } catch (error) {
        expect((error as SocketError).code).toBe('EADDRINUSE');
      }
    }
    expect([...socketMap.values()]).toEqual([server]);
    server?.close();
    // Nothing is left that a loop would have to wait for.
    expect(socketMap.size).toBe(0);
  });

  it('is undone by one that succeeds: bind elsewhere, listen, serve', async () => {
    const channel = new Recorder();
    channel.createSocket();
    expect(() => channel.bind(taken())).toThrow();
    channel.bind(HERE);
    expect([...socketMap.values()]).toEqual([channel]);
    channel.listen(1);
    expect([...socketMap.values()]).toEqual([channel]);
    expect(channel.accepting).toBe(true);
  });

  it('is undone by a connect that begins', () => {
    const channel = new Recorder();
    channel.createSocket();
    expect(() => channel.connect({ host: '::1', port: 80 })).toThrow();
    channel.connect(bareListener().getSockName());
    expect([...socketMap.values()]).toEqual([channel]);
  });

  it('leaves a channel that closeAll closes', () => {
    const channel = new Recorder();
    channel.createSocket();
    expect(() => channel.bind(taken())).toThrow();
    closeAll();
    expect(channel.socket?.fileno()).toBe(-1);
  });

  it('leaves a channel that delChannel has taken out where it is', () => {
    const channel = keep(new Recorder());
    channel.createSocket();
    channel.delChannel();
    channel.bind(HERE);
    expect(socketMap.size).toBe(0);
  });

  it('is undone in the map that the channel stood in last', () => {
    const channel = keep(new Recorder());
    const other = newMap();
    channel.createSocket();
    channel.delChannel();
    channel.setSocket(channel.socket as SocketLike, other);
    expect(() => channel.bind(taken())).toThrow();
    channel.bind(HERE);
    expect([socketMap.size, other.size]).toEqual([0, 1]);
    expect(() => channel.connect({ host: '::1', port: 80 })).toThrow();
    channel.connect(taken());
    expect([socketMap.size, other.size]).toEqual([0, 1]);
  });

  it.each<[string, () => Dispatcher, (channel: Dispatcher) => void]>([
    [
      'a listener, given a limit that is none',
      () => {
        const server = new Recorder();
        server.createSocket();
        server.bind(HERE);
        server.listen(5);
        return server;
      },
      (server) => server.listen(5, { maxConnections: 0 }),
    ],
    [
      'a connection, told to connect to what is no address',
      () => new Recorder(call(bareListener().getSockName())),
      (channel) => channel.connect({ host: '::1', port: 80 }),
    ],
    [
      'a connect under way, told to connect to what is no address',
      () => {
        const channel = new Recorder();
        channel.createSocket();
        channel.connect(bareListener().getSockName());
        return channel;
      },
      (channel) => channel.connect({ host: '::1', port: 80 }),
    ],
    [
      'a connection, told to connect to where nobody listens',
      () => new Recorder(pair()[0]),
      (channel) => channel.connect({ path: '/nonexistent/socket' }),
    ],
    [
      'a receiver of datagrams, told to connect to a broadcast address',
      () => {
        const receiver = new Recorder();
        receiver.createSocket(AF_INET, SOCK_DGRAM);
        receiver.bind(HERE);
        return receiver;
      },
      (receiver) => receiver.connect({ host: '255.255.255.255', port: 80 }),
    ],
    [
      'a receiver of datagrams, bound once more',
      () => {
        const receiver = new Recorder();
        receiver.createSocket(AF_INET, SOCK_DGRAM);
        receiver.bind(HERE);
        return receiver;
      },
      (receiver) => receiver.bind(HERE),
    ],
  ])('does not stop what works: %s', (_, make, step) => {
    const channel = make();
    const { accepting, connected, connecting } = channel;
    expect(() => step(channel)).toThrow();
    expect([...socketMap.values()]).toEqual([channel]);
    expect(channel).toMatchObject({ accepting, connected, connecting });
  });
});

describe('a connect that fails later', () => {
  /** Connects to a port that nobody listens on, and lets `handleError` do nothing. */
  class Client extends Recorder {
    closes = true;
    constructor(host = '127.0.0.1') {
      super();
      const family = host.includes(':') ? AF_INET6 : AF_INET;
      const listener = bareListener(family);
      const address = listener.getSockName();
      listener.close();
      this.createSocket(family);
      this.connect(address);
    }
    override handleError(error: unknown): Handled {
      this.note('error');
      this.errors.push(error);
    }
    override handleClose(): Handled {
      this.note('close');
      if (this.closes) this.close();
    }
  }

  it.each(WAYS)('is told once, and closed by the next event (%s)', async (_, how) => {
    const client = new Client();
    await drive(how, () => client.socket?.fileno() === -1);
    expect(client.events).toEqual(['error', 'close']);
    expect(client.errors).toMatchObject([{ code: 'ECONNREFUSED', syscall: 'connect' }]);
    expect(socketMap.size).toBe(0);
  });

  it.each(WAYS)('leaves the map when handleClose does not close it (%s)', async (_, how) => {
    const client = keep(new Client());
    client.closes = false;
    await drive(how, () => socketMap.size === 0);
    expect(client.events).toEqual(['error', 'close']);
    expect([client.fileno(), client.connecting, client.connected]).toEqual([null, false, false]);
  });

  it.each(WAYS)('may connect elsewhere in handleError (%s)', async (_, how) => {
    const server = bareListener();
    const client = new (class extends Client {
      override handleError(error: unknown): Handled {
        super.handleError(error);
        this.connect(server.getSockName());
      }
    })();
    await drive(how, () => client.connected);
    expect(client.events.slice(0, 2)).toEqual(['error', 'connect']);
  });

  it('may connect elsewhere once it is out of the map', () => {
    const server = bareListener();
    const client = new Client();
    client.closes = false;
    while (socketMap.size > 0) poll(1000);
    client.connect(server.getSockName());
    while (!client.connected) poll(1000);
    expect(client.events.slice(0, 3)).toEqual(['error', 'close', 'connect']);
  });
});
