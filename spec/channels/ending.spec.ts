// closeReason: why a channel has closed, told before handleClose.

import { createServer } from 'node:net';
import {
  AF_INET,
  type CloseReason,
  Dispatcher,
  DispatcherWithSend,
  type Handled,
  listen,
  SHUT_WR,
  type Socket,
  SocketError,
  shutdown,
} from 'asyncore';
import { drive, localAddress, WAYS } from '../support/drive';
import { newMap, stillMap } from '../support/keep';
import { text, tick } from '../support/limits';
import { QuietChat } from '../support/quiet-chat';
import { connection, pair, willReset } from '../support/sockets';

type Told = [seen: CloseReason | null, after: CloseReason | null, error: unknown];

/** Notes the reason as handleClose sees it, and once the channel has closed. */
function watch<Watched extends Dispatcher>(channel: Watched): Watched & { told: Told[] } {
  const told: Told[] = [];
  const handleClose = channel.handleClose.bind(channel);
  channel.ignoreLogTypes = new Set(['error', 'warning', 'info']);
  channel.handleClose = (): Handled => {
    const seen = channel.closeReason;
    const result = handleClose();
    told.push([seen, channel.closeReason, channel.closeError]);
    return result;
  };
  return Object.assign(channel, { told });
}

class Reader extends Dispatcher {
  override writable(): boolean {
    return false;
  }
  override handleRead(): Handled {
    this.recv(1000);
  }
}

const coded = (code: string) => expect.objectContaining({ code });

describe.each(WAYS)('closeReason (%s)', (_, how) => {
  it.each<[string, (socket: Socket) => Dispatcher]>([
    ['a dispatcher', (socket) => new Reader(socket, newMap())],
    ['a chat', (socket) => new QuietChat(socket, newMap())],
    ['a dispatcher with a buffer', (socket) => new DispatcherWithSend(socket, newMap())],
  ])('tells the end of the stream from a reset: %s', async (_, make) => {
    const [orderly, one] = connection();
    const [rude, two] = connection();
    const ended = watch(make(one));
    const lost = watch(make(two));
    ended.handleRead = lost.handleRead = function (this: Dispatcher) {
      this.recv(1000);
    };
    expect([ended.closeReason, ended.closeError]).toEqual([null, null]);
    orderly.close();
    await drive(how, () => ended.told.length === 1, { map: ended.map });
    expect(ended.told).toEqual([['end', 'end', null]]);
    willReset(rude).close();
    await drive(how, () => lost.told.length === 1, { map: lost.map });
    expect(lost.told).toEqual([['reset', 'reset', coded('ECONNRESET')]]);
    expect(lost.closeError).toBeInstanceOf(SocketError);
  });

  it('is end for a chat that answers after the end of the stream, and closes then', async () => {
    for (const later of [false, true]) {
      const [peer, socket] = pair();
      const chat = watch(new QuietChat(socket, newMap()));
      chat.allowHalfOpen = true;
      if (later) {
        chat.handleEof = () => {
          chat.push('x');
        };
      }
      peer.shutdown(SHUT_WR);
      await drive(how, () => chat.inputEnded, { map: chat.map });
      if (later) chat.closeWhenDone();
      await drive(how, () => chat.told.length === 1, { map: chat.map });
      expect(chat.told).toEqual([['end', 'end', null]]);
    }
  });

  it('is reset for a channel that wants nothing', async () => {
    const [rude, socket] = connection();
    const channel = watch(new Reader(socket, newMap()));
    channel.readable = () => false;
    willReset(rude).close();
    await drive(how, () => channel.told.length === 1, { map: channel.map });
    expect(channel.told).toEqual([['reset', 'reset', coded('ECONNRESET')]]);
  });

  it('is reset for an answer that a peer who has gone does not take', async () => {
    const [peer, socket] = pair();
    const channel = watch(new Reader(socket, newMap()));
    peer.close();
    expect(channel.send(text('x'))).toBe(0);
    expect(channel.told).toEqual([['reset', 'reset', coded('EPIPE')]]);
    await drive(how, () => true, { map: channel.map });
  });

  it('is reset when a handler itself is told so by the socket, in poll order', async () => {
    const [rude, socket] = connection();
    const channel = watch(new Reader(socket, newMap()));
    channel.handleRead = () => void (channel.socket as Socket).recv(1000);
    willReset(rude).close();
    await drive(how, () => channel.told.length === 1, { map: channel.map });
    const reason = how.usePoll ? 'reset' : 'error';
    expect(channel.told).toEqual([[reason, reason, coded('ECONNRESET')]]);
  });

  it('is timeout after handleTimeout, also for an override that closes', async () => {
    const { map, clock } = stillMap();
    const stock = watch(new Reader(pair()[0], map));
    stock.setIdleTimeout(5);
    const own = new Reader(pair()[0], map);
    own.handleTimeout = () => own.close();
    own.setIdleTimeout(5);
    clock.advance(4.9);
    await tick(how, map);
    expect([stock.closeReason, own.closeReason]).toEqual([null, null]);
    clock.advanceTo(map.nextDue);
    await tick(how, map);
    expect(stock.told).toEqual([['timeout', 'timeout', null]]);
    expect(own.fileno()).toBe(null);
    expect(own.closeReason).toBe('timeout');
  });

  it('is still timeout when handleTimeout says goodbye first', async () => {
    const { map, clock } = stillMap();
    const [peer, socket] = pair();
    const chat = watch(new QuietChat(socket, map));
    chat.handleTimeout = () => {
      chat.push('bye\n');
      chat.closeWhenDone();
    };
    chat.setIdleTimeout(5);
    clock.advance(5);
    await drive(how, () => chat.told.length === 1, { map: chat.map });
    expect(chat.told).toEqual([['timeout', 'timeout', null]]);
    expect(peer.recv(10)?.toString()).toBe('bye\n');
  });

  it('is not timeout for a channel that has lived on', async () => {
    const { map, clock } = stillMap();
    const [peer, socket] = pair();
    const channel = watch(new Reader(socket, map));
    let timeouts = 0;
    channel.handleTimeout = () => {
      timeouts += 1;
    };
    channel.setIdleTimeout(5);
    clock.advance(5);
    await tick(how, map);
    expect(timeouts).toBe(1);
    expect(channel.closeReason).toBe(null);
    peer.close();
    await drive(how, () => channel.told.length === 1, { map: channel.map });
    expect(channel.told).toEqual([['end', 'end', null]]);
  });

  it('is error with what a handler threw, also when handleError itself closes', async () => {
    for (const closes of [false, true]) {
      const [peer, socket] = pair();
      const channel = watch(new Reader(socket, newMap()));
      const failure = new Error('boom');
      channel.handleRead = () => {
        throw failure;
      };
      if (closes) channel.handleError = () => channel.close();
      peer.send(text('x'));
      await drive(how, () => channel.fileno() === null, { map: channel.map });
      expect([channel.closeReason, channel.closeError]).toEqual(['error', failure]);
      expect(channel.told).toEqual(closes ? [] : [['error', 'error', failure]]);
    }
  });

  it('is not error for a channel that has survived it', async () => {
    const [peer, socket] = pair();
    const channel = watch(new Reader(socket, newMap()));
    const { handleRead } = channel;
    let errors = 0;
    channel.handleRead = () => {
      handleRead.call(channel);
      throw new Error('boom');
    };
    channel.handleError = () => {
      errors += 1;
    };
    peer.send(text('x'));
    await drive(how, () => errors === 1, { map: channel.map });
    expect(channel.closeReason).toBe(null);
    channel.close();
    expect([channel.closeReason, channel.closeError]).toEqual(['local', null]);
  });

  it('is error for a connect that is refused', async () => {
    const closed = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => closed.once('listening', resolve));
    const { port } = closed.address() as { port: number };
    await new Promise((resolve) => closed.close(resolve));
    for (const ignores of [false, true]) {
      const client = watch(new Reader(null, newMap()));
      if (ignores) client.handleError = () => {};
      client.createSocket();
      client.connect({ host: '127.0.0.1', port });
      await drive(how, () => client.told.length === 1, { map: client.map });
      expect(client.told).toEqual([['error', 'error', coded('ECONNREFUSED')]]);
    }
  });

  it('is local for closeWhenDone, shutdown and a listener', async () => {
    const map = newMap();
    const chat = watch(new QuietChat(pair()[0], map));
    chat.push('x');
    chat.closeWhenDone();
    await drive(how, () => chat.told.length === 1, { map });
    const plain = watch(new Reader(pair()[0], map));
    const server = listen(localAddress(AF_INET), () => {}, { map });
    await shutdown(map);
    expect([chat.told, plain.told]).toEqual([
      [['local', 'local', null]],
      [['local', 'local', null]],
    ]);
    expect(server.closeReason).toBe('local');
  });

  it('is what prevents the close that closeWhenDone has asked for', async () => {
    const boom = new Error('boom');
    const { map, clock } = stillMap();
    const full = () => {
      const [peer, socket] = pair();
      const chat = watch(new QuietChat(socket, map));
      chat.push(Buffer.alloc(4 << 20)); // more than the kernel takes
      chat.closeWhenDone();
      expect(chat.closeReason).toBe(null);
      return { peer, chat };
    };
    const idle = full().chat;
    idle.setIdleTimeout(5);
    clock.advance(5);
    await tick(how, map);
    expect(idle.told).toEqual([['timeout', 'timeout', null]]);
    const { peer, chat } = full();
    chat.handleRead = () => {
      throw boom;
    };
    peer.send(text('x'));
    await drive(how, () => chat.told.length === 1, { map: chat.map });
    expect(chat.told).toEqual([['error', 'error', boom]]);
    const open = full();
    open.chat.discardBuffers();
    open.peer.close();
    await drive(how, () => open.chat.told.length === 1, { map: open.chat.map });
    expect(open.chat.told[0]?.[0]).not.toBe('local');
  });

  it('is what the peer did where that came before the end of closeWhenDone', async () => {
    const [peer, socket] = pair();
    const chat = watch(new QuietChat(socket, newMap()));
    chat.push(Buffer.alloc(4 << 20)); // more than the kernel takes
    chat.closeWhenDone();
    peer.close();
    await drive(how, () => chat.told.length === 1, { map: chat.map });
    expect(chat.told[0]?.[0]).toBe('reset');
  });
});

describe('closeReason', () => {
  it('is local after close(), and null again with the next socket', () => {
    const channel = new Reader(pair()[0], newMap());
    channel.close();
    expect(channel.closeReason).toBe('local');
    channel.createSocket();
    expect(channel.closeReason).toBe(null);
    channel.close();
  });

  it('waits for an async handler that decides later', async () => {
    const failure = new Error('boom');
    const [peer, socket] = pair();
    const channel = watch(new Reader(socket, newMap()));
    channel.handleRead = () => Promise.reject(failure);
    channel.handleError = async () => {
      await Promise.resolve();
      channel.close();
    };
    peer.send(text('x'));
    await drive({ usePoll: false, sync: false }, () => channel.fileno() === null, {
      map: channel.map,
    });
    expect([channel.closeReason, channel.closeError]).toEqual(['error', failure]);
  });

  it('is error where the program calls handleError itself', () => {
    const channel = new Reader(pair()[0], newMap());
    channel.ignoreLogTypes = new Set(['error', 'warning']);
    void channel.handleError(new Error('called by the program'));
    expect(channel.closeReason).toBe('error');
    expect(channel.closeError).toEqual(new Error('called by the program'));
  });
});
