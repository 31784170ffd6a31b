// flushed(): when all that was pushed is the kernel's, and what becomes of it otherwise.

import { openSync, writeFileSync } from 'node:fs';
import {
  type ChannelMap,
  Fifo,
  type FifoItem,
  FileProducer,
  type Handled,
  SimpleProducer,
  type Socket,
  SocketError,
} from 'asyncore';
import { DIAGONAL, temporaryPath, WAYS } from '../support/drive';
import { keep, newMap } from '../support/keep';
import { chatWithPeer, LineChat, Metered } from '../support/limits';
import { driveSettling, outcome, turn } from '../support/settled';
import { bareListener, connection, pair, received, willReset } from '../support/sockets';

const BIG = 4_000_000;

/** A chat, and its peer's end. */
const talk = (map = newMap()) => chatWithPeer((socket, map) => new LineChat(socket, map), map);

const metered = (map = newMap()) => chatWithPeer((socket, map) => new Metered(socket, map), map);

describe.each(WAYS)('flushed() (%s)', (_, how) => {
  it('resolves when the output of the tick has left', async () => {
    const { chat, peer, map } = talk();
    let atResolve = '';
    let done = false;
    chat.onRecord = () => {
      chat.push('answer ');
      chat.push('sent');
      void chat.flushed().then(() => {
        atResolve = received(peer);
        done = true;
      });
      expect(received(peer)).toBe('');
    };
    peer.send(Buffer.from('question\n'));
    await driveSettling(how, () => done, map);
    expect(atResolve).toBe('answer sent');
    expect(chat.producerFifo.isEmpty()).toBe(true);
  });

  it('of a channel that has closed is no error to report, where a handler has waited for it', async () => {
    const { chat, peer, map } = talk();
    const logged: unknown[] = [];
    chat.logInfo = (message) => void logged.push(message);
    let waits = false;
    chat.onRecord = async () => {
      chat.push(Buffer.alloc(BIG));
      waits = true;
      await chat.flushed();
    };
    peer.send(Buffer.from('question\n'));
    await driveSettling(how, () => waits, map);
    peer.close();
    await driveSettling(how, () => chat.errors.length > 0, map);
    expect(chat.errors).toMatchObject([{ code: 'ERR_CHANNEL_CLOSED' }]);
    expect(logged).toEqual([]);
    // Of a channel that goes on, it is an error like any other.
    const open = talk().chat;
    open.logInfo = (message) => void logged.push(message);
    void open.handleError(chat.errors[0]);
    expect(logged).toHaveLength(1);
  });

  it('waits as long as the peer does not read, and for no push that comes after', async () => {
    const { chat, peer, map } = talk();
    chat.push(Buffer.alloc(BIG, 'a'));
    const first = outcome(chat.flushed());
    chat.push(Buffer.alloc(BIG, 'b'));
    const second = outcome(chat.flushed());
    await driveSettling(how, () => true, map);
    expect([first.now, second.now]).toEqual(['pending', 'pending']);
    let text = '';
    await driveSettling(
      how,
      () => {
        if (first.now === 'pending') text += received(peer);
        return first.now !== 'pending';
      },
      map,
    );
    expect([first.now, second.now]).toEqual(['resolved', 'pending']);
    await driveSettling(
      how,
      () => {
        text += received(peer);
        return second.now !== 'pending';
      },
      map,
    );
    text += received(peer);
    expect(second.now).toBe('resolved');
    expect(text.length).toBe(2 * BIG);
    expect(text.lastIndexOf('a')).toBe(BIG - 1);
  });

  it('waits for a connection, and then until it has taken the output', async () => {
    const map = newMap();
    const listener = bareListener();
    const chat = new LineChat(null, map);
    chat.handleConnect = () => {};
    chat.push('early');
    const early = outcome(chat.flushed());
    chat.createSocket();
    chat.connect(listener.getSockName());
    await turn();
    expect(early.now).toBe('pending');
    await driveSettling(how, () => early.now !== 'pending', map);
    expect(early.now).toBe('resolved');
    expect(received(keep(listener.accept()?.socket as Socket))).toBe('early');
  });

  it('rejects when the peer is gone first, also where handleClose does not close', async () => {
    for (const closes of [true, false]) {
      const map = newMap();
      const [caller, accepted] = connection();
      const chat = new LineChat(accepted, map);
      if (!closes) chat.handleClose = () => {};
      chat.push(Buffer.alloc(8 * BIG, 'x'));
      const lost = outcome(chat.flushed());
      willReset(caller).close();
      await driveSettling(how, () => lost.now !== 'pending', map);
      expect(lost.now).toBe('ERR_CHANNEL_CLOSED');
      expect((lost.error as Error).message).toBe(
        `Cannot send all output: ${closes ? 'the channel has closed' : 'the peer is gone'}`,
      );
      await expect(chat.flushed()).rejects.toMatchObject({ code: 'ERR_CHANNEL_CLOSED' });
      chat.close();
    }
  });
});

describe('flushed()', () => {
  it('resolves at once when nothing waits', async () => {
    const { chat, peer } = talk();
    await chat.flushed();
    chat.push('sent');
    await chat.flushed();
    expect(received(peer)).toBe('sent');
    await new LineChat(null, newMap()).flushed();
  });

  it('is not delayed by a push that would leave in the same send', async () => {
    const { chat } = metered();
    chat.push('aa');
    chat.push('bb');
    const flush = outcome(chat.flushed());
    chat.push('cc');
    chat.budget = 3;
    chat.initiateSend();
    await turn();
    expect([chat.sent, flush.now]).toEqual(['aab', 'pending']);
    chat.budget = 1;
    chat.initiateSend();
    await turn();
    expect([chat.sent, flush.now]).toEqual(['aabb', 'resolved']);
    expect(chat.writableLength).toBe(2);
    chat.budget = 10;
    chat.initiateSend();
    expect(chat.sent).toBe('aabbcc');
  });

  it('resolves each call when its own output has left, and calls in a row together', async () => {
    const { chat } = metered();
    const calls: { now: string }[][] = [];
    const promises = new Set<Promise<void>>();
    for (const text of ['a', 'b', 'c']) {
      chat.push(text);
      calls.push(
        Array.from({ length: 1000 }, () => {
          const promise = chat.flushed();
          promises.add(promise);
          return outcome(promise);
        }),
      );
    }
    expect([...chat.producerFifo].filter((item) => item instanceof Uint8Array)).toHaveLength(2);
    expect(chat.producerFifo.length).toBe(5);
    expect(promises.size).toBe(3);
    const resolved = () =>
      calls.map((outcomes) => outcomes.filter(({ now }) => now === 'resolved').length);
    for (const expected of [
      [1000, 0, 0],
      [1000, 1000, 0],
      [1000, 1000, 1000],
    ]) {
      chat.budget = 1;
      chat.initiateSend();
      await turn();
      expect(resolved()).toEqual(expected);
    }
  });

  it('waits for a producer to be exhausted, and for a file', async () => {
    const { chat } = metered();
    chat.pushWithProducer(new SimpleProducer('abcdef', 2));
    const first = outcome(chat.flushed());
    const path = temporaryPath('file');
    writeFileSync(path, 'file');
    chat.pushWithProducer(new FileProducer(openSync(path, 'r')));
    const second = outcome(chat.flushed());
    for (const [budget, sent, outcomes] of [
      [5, 'abcde', ['pending', 'pending']],
      [1, 'abcdef', ['resolved', 'pending']],
      [3, 'abcdeffil', ['resolved', 'pending']],
      [1, 'abcdeffile', ['resolved', 'resolved']],
    ] as const) {
      chat.budget = budget;
      chat.initiateSend();
      await turn();
      expect([chat.sent, [first.now, second.now]]).toEqual([sent, outcomes]);
    }
  });

  it('waits for a file that the kernel sends itself', async () => {
    const { chat, peer, map } = talk();
    const path = temporaryPath('file');
    writeFileSync(path, Buffer.alloc(BIG, 'f'));
    chat.pushWithProducer(new FileProducer(openSync(path, 'r')));
    const flush = outcome(chat.flushed());
    let heard = 0;
    await driveSettling(
      { sync: true, usePoll: false },
      () => {
        expect(flush.now === 'pending' || heard > 0).toBe(true);
        heard += received(peer).length;
        return flush.now !== 'pending';
      },
      map,
    );
    heard += received(peer).length;
    expect([flush.now, heard]).toEqual(['resolved', BIG]);
  });

  it('needs no tick where every push sends at once', async () => {
    const { chat, peer, map } = talk();
    chat.batchOutput = false;
    let flush: { now: string } | null = null;
    chat.onRecord = () => {
      chat.push('answer');
      flush = outcome(chat.flushed());
      expect(received(peer)).toBe('answer');
    };
    peer.send(Buffer.from('question\n'));
    await driveSettling({ sync: true, usePoll: true }, () => flush?.now === 'resolved', map);
  });

  it.each(DIAGONAL)('after closeWhenDone() resolves before the close (%s)', async (_, how) => {
    const { chat, peer, map } = talk();
    chat.push(Buffer.alloc(BIG, 'x'));
    chat.closeWhenDone();
    const events: string[] = chat.events;
    let heard = 0;
    void chat.flushed().then(() => events.push('flushed'));
    void chat.flushed().then(() => events.push('flushed'));
    await driveSettling(
      how,
      () => {
        heard += received(peer).length;
        return map.size === 0;
      },
      map,
    );
    await turn();
    expect([...events].sort()).toEqual(['close', 'flushed', 'flushed']);
    heard += received(peer).length;
    expect(heard).toBe(BIG);
  });

  it('rejects when the channel closes first, and after it has closed', async () => {
    const { chat } = metered();
    chat.push('lost');
    const waiting = outcome(chat.flushed());
    chat.close();
    const late = outcome(chat.flushed());
    await turn();
    for (const { now, error } of [waiting, late]) {
      expect(now).toBe('ERR_CHANNEL_CLOSED');
      expect(error).toBeInstanceOf(Error);
      expect((error as Error).message).toBe('Cannot send all output: the channel has closed');
      expect(error).not.toHaveProperty('cause');
    }
    expect(String(chat.acOutBuffer)).toBe('lost'); // the next connection gets it
    expect(chat.producerFifo.isEmpty()).toBe(true);
  });

  it('rejects because of the error that the channel is closed for', async () => {
    const { chat } = metered();
    chat.push('lost');
    const waiting = outcome(chat.flushed());
    const failure = new SocketError('EHOSTUNREACH', 113, 'send', 'No route to host');
    chat.send = () => {
      throw failure;
    };
    chat.initiateSend();
    await turn();
    expect(waiting.error).toMatchObject({ code: 'ERR_CHANNEL_CLOSED', cause: failure });
    expect(chat.errors).toEqual([failure]);
  });

  it('rejects what is discarded, and goes on with what is pushed then', async () => {
    const { chat } = metered();
    chat.push('lost');
    const discarded = outcome(chat.flushed());
    chat.discardBuffers();
    chat.push('next');
    const next = outcome(chat.flushed());
    chat.budget = 10;
    chat.initiateSend();
    await turn();
    expect(discarded.now).toBe('ERR_OUTPUT_DISCARDED');
    expect((discarded.error as Error).message).toBe('Cannot send all output: it was discarded');
    expect([chat.sent, next.now]).toEqual(['next', 'resolved']);
  });

  it('rejects at the close what the program has taken off the fifo', async () => {
    for (const take of [
      (chat: Metered) => chat.producerFifo.clear(),
      (chat: Metered) => {
        chat.producerFifo = new Fifo<FifoItem>();
      },
    ]) {
      const { chat } = metered();
      chat.push('taken');
      const taken = outcome(chat.flushed());
      take(chat);
      chat.close();
      await turn();
      expect(taken.now).toBe('ERR_CHANNEL_CLOSED');
    }
  });

  it('waits for the next socket where one takes the place of another', async () => {
    const { chat, peer, map } = talk();
    const [next, nextPeer] = pair();
    keep(chat.socket as Socket);
    chat.push(Buffer.alloc(BIG, 'x'));
    const flush = outcome(chat.flushed());
    chat.setSocket(next);
    peer.close();
    let heard = '';
    await driveSettling(
      { sync: true, usePoll: false },
      () => {
        heard += received(nextPeer);
        return flush.now !== 'pending';
      },
      map,
    );
    expect(flush.now).toBe('resolved');
    expect(heard.length).toBeGreaterThan(0);
  });

  it('waits while an override of initiateSend keeps the output back', async () => {
    class Corked extends LineChat {
      corked = true;
      override initiateSend(): void {
        if (!this.corked) super.initiateSend();
      }
    }
    const { chat, peer } = chatWithPeer((socket, map) => new Corked(socket, map));
    chat.push('kept');
    const flush = outcome(chat.flushed());
    chat.initiateSend();
    await turn();
    expect(flush.now).toBe('pending');
    chat.corked = false;
    chat.initiateSend();
    await turn();
    expect([flush.now, received(peer)]).toEqual(['resolved', 'kept']);
  });

  it('is a producer without pieces to a program that empties the fifo itself', async () => {
    // Python 3's initiate_send.
    class Own extends LineChat {
      open = false;
      override initiateSend(): void {
        while (this.open && !this.producerFifo.isEmpty()) {
          const [, first] = this.producerFifo.pop();
          if (first === null) return void this.handleClose();
          const data = typeof first === 'object' && 'more' in first ? first.more() : first;
          if (typeof data === 'string') this.send(Buffer.from(data));
          else if (data instanceof Uint8Array) this.send(data);
        }
      }
    }
    const { chat, peer } = chatWithPeer((socket, map) => new Own(socket, map));
    chat.push('by hand');
    const flush = outcome(chat.flushed());
    await turn();
    expect(flush.now).toBe('pending');
    chat.open = true;
    chat.initiateSend();
    await turn();
    expect([flush.now, received(peer)]).toEqual(['resolved', 'by hand']);
  });

  it('counts for no bytes, and leaves handleDrain as it is', () => {
    let drains = 0;
    class Draining extends Metered {
      override handleDrain(): Handled {
        drains += 1;
      }
    }
    const { chat } = chatWithPeer((socket: Socket, map: ChannelMap) => new Draining(socket, map));
    chat.highWaterMark = 2;
    expect(chat.push('abc')).toBe(false);
    void chat.flushed();
    expect(chat.writableLength).toBe(3);
    chat.budget = 3;
    chat.initiateSend();
    expect([drains, chat.writable()]).toEqual([1, false]);
  });
});
