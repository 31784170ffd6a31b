// pauseReading and resumeReading: what is held back, in which order it comes, and how much it may be.

import { setTimeout as sleep } from 'node:timers/promises';
import {
  AF_INET,
  type ChannelMap,
  Dispatcher,
  DispatcherWithSend,
  ExitNow,
  type Handled,
  loop,
  poll,
  poll2,
  SHUT_WR,
  Socket,
} from 'asyncore';
import { drive, WAYS } from '../support/drive';
import { keep, newMap } from '../support/keep';
import { chatWithPeer, LineChat, Listener, text, tick } from '../support/limits';
import { call, connection, received, willReset } from '../support/sockets';

/** Pauses at each record. */
class PausingChat extends LineChat {
  receives = 0;
  override onRecord = (): Handled => this.pauseReading();

  override recv(size: number): Buffer | null {
    this.receives += 1;
    return super.recv(size);
  }
}

const pausing = () => chatWithPeer((socket, map) => new PausingChat(socket, map));

class Reader extends Dispatcher {
  override ignoreLogTypes: ReadonlySet<string> = new Set(['warning', 'error']);
  reads = 0;
  heard = '';

  override writable(): boolean {
    return false;
  }
  override handleRead(): Handled {
    this.reads += 1;
    this.heard += this.recv(100)?.toString() ?? '';
  }
}

describe.each(WAYS)('A chat that has paused (%s)', (_, how) => {
  it('has one record at a time, in order, and each one after resumeReading', async () => {
    const { chat, peer, map } = pausing();
    peer.send(text('a\nb\nc\nd'));
    await drive(how, () => chat.events.length > 0, { map });
    for (const events of [['a'], ['a', 'b'], ['a', 'b', 'c'], ['a', 'b', 'c']]) {
      await tick(how, map, 5);
      expect(chat.events).toEqual(events);
      chat.resumeReading();
      // Not from within resumeReading.
      expect(chat.events).toEqual(events);
    }
    peer.send(text('\n'));
    await drive(how, () => chat.events.length === 4, { map });
    expect(chat.events).toEqual(['a', 'b', 'c', 'd']);
    expect(chat.receives).toBe(2);
  });

  it('has no read events, although there is input', async () => {
    const { chat, peer, map } = pausing();
    chat.pauseReading();
    peer.send(text('a\n'));
    await tick(how, map, 20);
    expect(chat.receives).toBe(0);
    chat.resumeReading();
    await drive(how, () => chat.events.length === 1, { map });
  });

  it('has none although its own readable() says yes', async () => {
    class WantingChat extends PausingChat {
      override readable(): boolean {
        return true;
      }
    }
    const { chat, peer, map } = chatWithPeer((socket, map) => new WantingChat(socket, map));
    peer.send(text('a\nb\n'));
    await tick(how, map, 20);
    expect(chat.events).toEqual(['a']);
    expect(chat.receives).toBe(1);
  });

  it('waits for its own readable() with what it holds', async () => {
    class ShyChat extends PausingChat {
      shy = false;
      override readable(): boolean {
        return !this.shy;
      }
    }
    const { chat, peer, map } = chatWithPeer((socket, map) => new ShyChat(socket, map));
    peer.send(text('a\nb\n'));
    await drive(how, () => chat.events.length > 0, { map });
    chat.shy = true;
    chat.resumeReading();
    await tick(how, map, 20);
    expect(chat.events).toEqual(['a']);
    chat.shy = false;
    await tick(how, map, 1);
    expect(chat.events).toEqual(['a', 'b']);
  });

  it('goes on sending', async () => {
    const { chat, peer, map } = pausing();
    chat.pauseReading();
    chat.push(Buffer.alloc(1_000_000, 'x'));
    let heard = 0;
    const heardAll = (): boolean => {
      heard += received(peer).length;
      return heard === 1_000_000;
    };
    await drive(how, heardAll, { map });
    expect(chat.writableLength).toBe(0);
  });

  it('holds one read at most of a peer who sends for ever', async () => {
    const { chat, peer, map } = pausing();
    chat.acInBufferSize = 1000;
    const records = Buffer.from('0123456\n'.repeat(8192));
    await drive(
      how,
      () => {
        peer.send(records);
        expect(chat.acInBuffer.length).toBeLessThan(1000);
        chat.resumeReading();
        return chat.events.length >= 500;
      },
      { map },
    );
    // It receives when it holds nothing: 125 records at a time.
    expect(chat.receives).toBe(4);
    expect(chat.events.every((record) => record === '0123456')).toBe(true);
    // What the kernel holds for it is not without end, either.
    let held = 0;
    for (let size = peer.send(records); size !== null; size = peer.send(records)) held += size;
    expect(held).toBeLessThan(16 * 1024 * 1024);
  });

  it('hears of the end of the stream after the records that it has held back', async () => {
    const { chat, peer, map } = pausing();
    peer.send(text('a\nb\nc'));
    peer.close();
    await drive(how, () => chat.events.length > 0, { map });
    await tick(how, map, 20);
    expect(chat.events).toEqual(['a']);
    chat.resumeReading();
    await drive(how, () => chat.events.length > 1, { map });
    await tick(how, map, 20);
    expect(chat.events).toEqual(['a', 'b']);
    chat.resumeReading();
    await drive(how, () => map.size === 0, { map });
    expect(chat.events).toEqual(['a', 'b', 'close']);
    expect(chat.incoming.map(String)).toEqual(['c']);
  });

  it('hears of it later, with allowHalfOpen', async () => {
    const { chat, peer, map } = pausing();
    chat.allowHalfOpen = true;
    peer.send(text('a\nb\n'));
    peer.shutdown(SHUT_WR);
    await drive(how, () => chat.events.length > 0, { map });
    await tick(how, map, 20);
    chat.push('answer\n');
    chat.resumeReading();
    await drive(how, () => chat.events.length > 1, { map });
    chat.resumeReading();
    await drive(how, () => map.size === 0, { map });
    expect(chat.events).toEqual(['a', 'b', 'eof', 'close']);
    expect(received(peer)).toBe('answer\n');
  });

  it('hears of a reset after the records that it has held back, once', async () => {
    const map = newMap();
    const [caller, accepted] = connection();
    const chat = new PausingChat(accepted, map);
    caller.send(text('a\nb\n'));
    await drive(how, () => chat.events.length > 0, { map });
    willReset(caller).close();
    await tick(how, map, 20);
    expect(chat.events).toEqual(['a']);
    chat.resumeReading();
    await drive(how, () => chat.events.length > 1, { map });
    expect(chat.events).toEqual(['a', 'b']);
    chat.resumeReading();
    await drive(how, () => map.size === 0, { map });
    expect(chat.events).toEqual(['a', 'b', 'close']);
    expect(chat.errors).toEqual([]);
  });

  it('hears of a reset at once when it has something to send', async () => {
    const map = newMap();
    const [caller, accepted] = connection();
    const chat = new PausingChat(accepted, map);
    chat.push(Buffer.alloc(8_000_000, 'x'));
    chat.pauseReading();
    await tick(how, map, 2);
    willReset(caller).close();
    await drive(how, () => map.size === 0, { map });
    expect(chat.events).toEqual(['close']);
    expect(chat.errors).toEqual([]);
  });

  it('leaves the loop its rest when the peer has gone', async () => {
    const { chat, peer, map } = pausing();
    const other = chatWithPeer((socket) => new LineChat(socket, map), map);
    peer.send(text('a\nb\n'));
    peer.close();
    await drive(how, () => chat.events.length > 0, { map });
    // A pass that finds nothing waits to its end.
    const start = performance.now();
    if (how.sync) (how.usePoll ? poll2 : poll)(60, map);
    else await loop({ map, usePoll: how.usePoll, timeout: 60, count: 1 });
    expect(performance.now() - start).toBeGreaterThan(50);
    expect(chat.events).toEqual(['a']);
    expect(other.chat.events).toEqual([]);
  });

  it('is asked once for each resumeReading, and not for the ones before', async () => {
    const { chat, peer, map } = pausing();
    peer.send(text('a\nb\nc\n'));
    await drive(how, () => chat.events.length > 0, { map });
    chat.resumeReading();
    chat.pauseReading();
    await tick(how, map, 5);
    expect(chat.events).toEqual(['a']);
    chat.resumeReading();
    chat.resumeReading();
    chat.pauseReading();
    chat.resumeReading();
    await tick(how, map, 5);
    expect(chat.events).toEqual(['a', 'b']);
  });

  it('holds nothing when it has resumed before the record is over', async () => {
    const { chat, peer, map } = pausing();
    chat.onRecord = () => {
      chat.pauseReading();
      chat.resumeReading();
    };
    peer.send(text('a\nb\nc\n'));
    await drive(how, () => chat.events.length > 0, { map });
    expect(chat.events).toEqual(['a', 'b', 'c']);
    expect(chat.receives).toBe(1);
  });

  it('keeps the beginning of a terminator, and waits for the rest of it', async () => {
    const { chat, peer, map } = pausing();
    chat.setTerminator('\r\n');
    peer.send(text('a\r\nb\r'));
    await drive(how, () => chat.events.length > 0, { map });
    chat.resumeReading();
    await tick(how, map, 5);
    expect(chat.acInBuffer.toString()).toBe('\r');
    chat.pauseReading();
    peer.send(text('\nc\r\n'));
    await tick(how, map, 5);
    chat.resumeReading();
    await drive(how, () => chat.events.length > 1, { map });
    expect(chat.events).toEqual(['a', 'b']);
  });

  it('may stop within a record', async () => {
    const { chat, peer, map } = pausing();
    chat.onRecord = () => {};
    chat.setTerminator(4);
    chat.collectIncomingData = (data) => {
      chat._collectIncomingData(data);
      chat.pauseReading();
    };
    peer.send(text('ab'));
    await drive(how, () => chat.incoming.length > 0, { map });
    peer.send(text('cdef'));
    await tick(how, map, 5);
    expect(chat.incoming.map(String)).toEqual(['ab']);
    chat.resumeReading();
    // The piece that completes a record takes the record with it.
    await drive(how, () => chat.events.length > 0, { map });
    expect(chat.events).toEqual(['abcd']);
    expect(chat.acInBuffer.toString()).toBe('ef');
  });

  it('has its turn with what it holds after another channel has left the loop', async () => {
    const map = newMap();
    const { chat: leaver, peer: other } = chatWithPeer((socket) => new LineChat(socket, map), map);
    const { chat, peer } = chatWithPeer((socket) => new PausingChat(socket, map), map);
    const exit = new ExitNow('enough');
    leaver.onRecord = () => {
      throw exit;
    };
    peer.send(text('one\ntwo\n'));
    await drive(how, () => chat.events.length === 1, { map });
    chat.resumeReading();
    other.send(text('x\n'));
    await expect(tick(how, map)).rejects.toBe(exit);
    expect(chat.events).toEqual(['one']);
    await drive(how, () => chat.events.length === 2, { map });
    expect(chat.events).toEqual(['one', 'two']);
    expect(chat.receives).toBe(1);
  });

  it('has nothing any more after close()', async () => {
    const { chat, peer, map } = pausing();
    keepAlive(map);
    peer.send(text('a\nb\nc\n'));
    await drive(how, () => chat.events.length > 0, { map });
    chat.resumeReading();
    chat.close();
    expect(chat.readingPaused).toBe(false);
    expect(chat.acInBuffer.length).toBe(0);
    await tick(how, map, 5);
    expect(chat.events).toEqual(['a']);
  });

  it('has what it holds although it has left the map meanwhile, and come back', async () => {
    const { chat, peer, map } = pausing();
    keepAlive(map);
    peer.send(text('a\nb\n'));
    await drive(how, () => chat.events.length > 0, { map });
    chat.resumeReading();
    const fd = chat.fileno() as number;
    map.delete(fd);
    map.set(fd, chat);
    await tick(how, map, 5);
    expect(chat.events).toEqual(['a', 'b']);
  });

  it('has what it holds in another map than its own', async () => {
    const [own, map] = [newMap(), newMap()];
    const { chat, peer } = chatWithPeer((socket) => new PausingChat(socket, own));
    own.delete(chat.fileno() as number);
    chat.addChannel(map);
    peer.send(text('a\nb\n'));
    await drive(how, () => chat.events.length > 0, { map });
    chat.resumeReading();
    await tick(how, map, 5);
    expect(chat.events).toEqual(['a', 'b']);
  });
});

/** A map with somebody else in it. */
function keepAlive(map: ChannelMap): Socket {
  return chatWithPeer((socket) => new LineChat(socket, map), map).peer;
}

describe.each(WAYS)('A channel that has paused (%s)', (_, how) => {
  it('has no read event in the tick in which another one’s handler has paused it', async () => {
    const map = newMap();
    const [[a, toA], [b, toB]] = [Socket.pair(), Socket.pair()];
    keep(toA).send(text('x'));
    keep(toB).send(text('x'));
    const first = new Reader(a, map);
    const second = new Reader(b, map);
    first.handleRead = () => {
      first.heard += first.recv(100);
      second.pauseReading();
    };
    await drive(how, () => first.heard === 'x', { map });
    await tick(how, map, 5);
    expect(second.reads).toBe(0);
    second.resumeReading();
    await drive(how, () => second.heard === 'x', { map });
  });

  it('is not told of a hang-up in that tick, either', async () => {
    const map = newMap();
    const [[a, toA], [b, toB]] = [Socket.pair(), Socket.pair()];
    const first = new Reader(a, map);
    const second = new Reader(b, map);
    first.handleRead = () => {
      first.heard += first.recv(100);
      second.pauseReading();
    };
    keep(toB).send(text('unread'));
    toB.close();
    keep(toA).send(text('x'));
    await drive(how, () => first.heard === 'x', { map });
    await tick(how, map, 5);
    expect(map.size).toBe(2);
    second.resumeReading();
    await drive(how, () => map.size === 1, { map });
    expect(second.heard).toBe('unread');
  });

  it('accepts nobody, and then all who have waited', async () => {
    const map = newMap();
    const listener = new Listener(map);
    keepAlive(map);
    listener.pauseReading();
    for (let caller = 0; caller < 3; caller += 1) call(listener.name);
    await tick(how, map, 10);
    expect(listener.accepts).toBe(0);
    listener.resumeReading();
    await drive(how, () => listener.callers.length === 3, { map });
  });

  it('accepts nobody more when handleAccepted has paused it, however many wait', async () => {
    const map = newMap();
    const listener = new Listener(map);
    keepAlive(map);
    const { handleAccepted } = listener;
    listener.handleAccepted = (socket, address) => {
      listener.pauseReading();
      return handleAccepted.call(listener, socket, address);
    };
    for (let caller = 0; caller < 5; caller += 1) call(listener.name);
    await drive(how, () => listener.callers.length > 0, { map });
    for (let accepted = 1; accepted <= 5; accepted += 1) {
      await tick(how, map, 5);
      expect(listener.callers).toHaveLength(accepted);
      listener.resumeReading();
    }
    await tick(how, map, 5);
    expect(listener.readingPaused).toBe(false);
    expect(listener.errors).toEqual([]);
  });

  it('has its connect all the same', async () => {
    const map = newMap();
    const listener = new Listener(map);
    class Client extends Dispatcher {
      events: string[] = [];
      override writable(): boolean {
        return this.connecting;
      }
      override handleConnect(): Handled {
        this.events.push('connect');
      }
      override handleRead(): Handled {
        this.events.push(`read ${this.recv(10)}`);
      }
    }
    const client = new Client(null, map);
    client.createSocket(AF_INET);
    client.pauseReading();
    client.connect(listener.name);
    await drive(how, () => listener.callers.length === 1 && client.connected, { map });
    listener.callers[0]?.send(text('hello'));
    await tick(how, map, 10);
    expect(client.events).toEqual(['connect']);
    client.resumeReading();
    await drive(how, () => client.events.length === 2, { map });
    expect(client.events).toEqual(['connect', 'read hello']);
    client.close();
  });

  it('is not readable to the kernel: a DispatcherWithSend’s peer is stopped', async () => {
    const map = newMap();
    const [ours, theirs] = Socket.pair();
    keep(theirs);
    const channel = new DispatcherWithSend(ours, map);
    channel.handleRead = () => {
      throw new Error('it has paused');
    };
    channel.pauseReading();
    const chunk = Buffer.alloc(65536);
    let refused = 0;
    await drive(
      how,
      () => {
        if (theirs.send(chunk) === null) refused += 1;
        return refused > 3;
      },
      { map },
    );
    channel.send(text('still here'));
    expect(received(theirs)).toBe('still here');
  });
});

describe('A chat whose handler is async', () => {
  it.each([false, true])(
    'answers in the order of the requests (poll order: %s)',
    async (usePoll) => {
      const { chat, peer, map } = chatWithPeer((socket, map) => new LineChat(socket, map));
      // The first answer takes the longest.
      let delay = 12;
      chat.onRecord = async (record) => {
        chat.pauseReading();
        delay -= 4;
        await sleep(delay);
        chat.push(`${record}!\n`);
        chat.resumeReading();
      };
      peer.send(text('a\nb\n'));
      peer.send(text('c\nd\n'));
      let heard = '';
      const heardAll = (): boolean => {
        heard += received(peer);
        return heard.length === 12;
      };
      await drive({ sync: false, usePoll }, heardAll, { map });
      expect(heard).toBe('a!\nb!\nc!\nd!\n');
    },
  );

  it('is heard of at once when a timer resumes it, however long the loop would wait', async () => {
    const { chat, peer, map } = pausing();
    peer.send(text('a\nb\n'));
    const stop = new AbortController();
    const running = loop({ map, timeout: Infinity, signal: stop.signal });
    const start = performance.now();
    while (chat.events.length < 1 && performance.now() - start < 2000) await sleep(1);
    chat.resumeReading();
    while (chat.events.length < 2 && performance.now() - start < 4000) await sleep(1);
    stop.abort();
    await expect(running).rejects.toBe(stop.signal.reason);
    expect(chat.events).toEqual(['a', 'b']);
  });
});
