// The fuzz, for a few seconds, and what it has found, made small. `npm run fuzz` runs it for longer.

import {
  AsyncChat,
  ChannelMap,
  closeAll,
  Dispatcher,
  DispatcherWithSend,
  poll,
  poll2,
  Socket,
} from 'asyncore';
import { keep } from '../support/keep';
import { runTypeScript } from '../support/program';

describe('npm run fuzz', () => {
  it.each([
    ['a fresh seed', []],
    ['a recorded seed', ['--seed', '13']],
  ])('finds nothing with %s', async (_what, seed) => {
    const fuzz = runTypeScript('spec/fuzz/run.ts', ['--seconds', '1', ...seed]);
    const code = await fuzz.ended();
    // The output first, as it tells how to run it again.
    expect(fuzz.output).toMatch(/^seed \d+\n\{.*\}, nothing broken\n$/);
    expect(code).toBe(0);
  });
});

let map: ChannelMap;

beforeEach(() => {
  map = new ChannelMap();
});

afterEach(() => closeAll(map, true));

class Chat extends AsyncChat {
  readonly calls: string[] = [];

  constructor(socket: Socket | null) {
    super(socket, map);
    this.setTerminator('\n');
  }

  override collectIncomingData(data: Buffer): void {
    this.calls.push(String(data));
  }

  override foundTerminator(): void {
    this.calls.push('foundTerminator');
  }
}

function chatOfPair(): [Chat, Socket] {
  const [ours, theirs] = Socket.pair();
  return [new Chat(ours), keep(theirs)];
}

/** A listener says that it is full. */
function silenceWarnings(): void {
  jest.spyOn(process, 'emitWarning').mockReturnValue();
}

/** Counts its read events. */
class Listener extends Dispatcher {
  reads = 0;

  constructor() {
    super(null, map);
    this.open();
  }

  open(): void {
    this.createSocket();
    this.bind({ host: '127.0.0.1', port: 0 });
    this.listen(5, { maxConnections: 1 });
  }

  override handleReadEvent(): void | Promise<void> {
    this.reads += 1;
    return super.handleReadEvent();
  }

  override handleAccepted(socket: Socket): void {
    keep(socket);
  }

  /** Somebody calls. */
  called(): void {
    keep(Socket.socket()).connect((this.socket as Socket).getSockName());
  }
}

describe.each([
  ['select order', poll],
  ['poll order', poll2],
])('found by the fuzz, %s', (_order, pass) => {
  const passes = (count: number): void => {
    for (; count > 0; count -= 1) pass(2, map);
  };

  it('sees a predicate replaced that was the library’s own, assigned, once it is told', () => {
    const [chat, peer] = chatOfPair();
    const own = chat.readable;
    chat.readable = own;
    passes(1);
    chat.readable = () => false;
    chat.interestChanged();
    peer.send(Buffer.from('x'));
    passes(2);
    expect(chat.calls).toEqual([]);
    chat.readable = own;
    passes(2);
    expect(chat.calls).toEqual(['x']);
  });

  it('sends nothing that handleClose has thrown away to the next peer', () => {
    const [first, firstPeer] = Socket.pair();
    const [second, secondPeer] = Socket.pair();
    keep(secondPeer);
    class Client extends DispatcherWithSend {
      override handleClose(): void {
        this.close();
        this.outBuffer = Buffer.alloc(0);
        this.setSocket(second);
        this.connected = true;
      }
    }
    const client = new Client(first, map);
    firstPeer.close();
    client.send(Buffer.from('old'));
    client.send(Buffer.from('new'));
    expect(String(secondPeer.recv(100))).toBe('new');
  });

  it('calls handleConnect once, though it runs a pass itself', () => {
    const listener = new Listener();
    class Client extends Chat {
      override handleConnect(): void {
        this.calls.push('handleConnect');
        if (this.calls.length < 5) pass(0, map);
      }
    }
    const client = new Client(null);
    client.createSocket();
    client.connect((listener.socket as Socket).getSockName());
    passes(3);
    expect(client.calls).toEqual(['handleConnect']);
    expect(client.connected).toBe(true);
  });

  it('reads nothing when handleConnect pauses reading', () => {
    const listener = keep(Socket.socket());
    listener.bind({ host: '127.0.0.1', port: 0 });
    listener.listen();
    class Client extends Chat {
      override handleConnect(): void {
        this.pauseReading();
      }
    }
    const client = new Client(null);
    client.createSocket();
    client.connect(listener.getSockName());
    const accepted = listener.accept();
    keep((accepted as { socket: Socket }).socket).send(Buffer.from('x'));
    passes(2);
    expect(client.connected).toBe(true);
    expect(client.calls).toEqual([]);
    client.resumeReading();
    passes(2);
    expect(client.calls).toEqual(['x']);
  });

  it('tells a channel whose socket was closed, and whose number went to another', () => {
    const [ours, theirs] = Socket.pair();
    keep(theirs);
    class Told extends Chat {
      override handleClose(): void {
        this.calls.push('handleClose');
        this.close();
      }
    }
    const chat = new Told(ours);
    passes(1);
    const number = ours.fileno();
    ours.close();
    // The lowest number that is free.
    const [other] = chatOfPair();
    expect(other.fileno()).toBe(number);
    passes(2);
    expect(chat.calls).toEqual(['handleClose']);
    expect(chat.fileno()).toBeNull();
    expect(map.get(number)).toBe(other);
  });

  it('leaves a listener alone that is full when it is opened again', () => {
    silenceWarnings();
    const listener = new Listener();
    listener.called();
    passes(3);
    listener.close();
    listener.open();
    listener.called();
    listener.reads = 0;
    passes(5);
    expect(listener.reads).toBe(0);
  });

  it('leaves a listener alone that is full when it enters the map again', () => {
    silenceWarnings();
    const listener = new Listener();
    listener.called();
    listener.called();
    passes(3);
    listener.reads = 0;
    const { socket } = listener;
    listener.delChannel();
    listener.setSocket(socket as Socket);
    passes(5);
    expect(listener.reads).toBe(0);
  });

  it('calls no handleDrain from within close()', () => {
    const [ours, theirs] = Socket.pair();
    keep(theirs);
    class Leaving extends Chat {
      override foundTerminator(): void {
        this.push('0123456789');
        this.close();
        this.calls.push('closed');
      }
      override handleDrain(): void {
        this.calls.push('handleDrain');
      }
    }
    const chat = new Leaving(ours);
    chat.highWaterMark = 5;
    theirs.send(Buffer.from('\n'));
    passes(1);
    expect(chat.calls).toEqual(['closed']);
    expect(String(theirs.recv(100))).toBe('0123456789');
  });

  it('forgets a shutdown when the connection that it was for is closed', () => {
    const [first, firstPeer] = Socket.pair();
    const [second, secondPeer] = Socket.pair();
    keep(firstPeer);
    keep(secondPeer);
    class Client extends DispatcherWithSend {
      override handleRead(): void {}
    }
    const client = new Client(first, map);
    client.send(Buffer.alloc(5_000_000));
    void client.handleShutdown();
    client.close();
    client.outBuffer = Buffer.from('x');
    client.setSocket(second);
    client.connected = true;
    passes(2);
    expect(client.connected).toBe(true);
    expect(String(secondPeer.recv(100))).toBe('x');
  });
});
