// The places of flushed() and endWhenDone(), where others take them off the fifo: overrides in the manner of
// Python, the program, and chats that share a fifo.

import { type ChannelMap, Fifo, type FifoItem, poll, Socket } from 'asyncore';
import { drive, WAYS } from '../support/drive';
import { keep, newMap } from '../support/keep';
import { chatWithPeer, LineChat, Metered } from '../support/limits';
import { outcome, turn } from '../support/settled';
import { heard } from '../support/sockets';

const BIG = 4_000_000;

/** Takes the next data off a fifo, as Python does; null: what has been taken was none. */
function take(fifo: Fifo<FifoItem>): Uint8Array | null {
  const [, item] = fifo.pop();
  const data = item !== null && typeof item === 'object' && 'more' in item ? item.more() : item;
  return data ? Buffer.from(data as Uint8Array) : null;
}

/** Python 2.5's refill_buffer, but that it takes all that there is. */
class Refilling extends LineChat {
  override refillBuffer(): void {
    for (const fifo = this.producerFifo; !fifo.isEmpty(); ) {
      if (fifo.first() === null) return void super.refillBuffer();
      const data = take(fifo);
      if (data !== null) this.acOutBuffer = Buffer.concat([this.acOutBuffer, data]);
    }
  }
}

/** The same, with what it takes kept to itself until the end. */
class Gathering extends LineChat {
  override refillBuffer(): void {
    const pieces: Uint8Array[] = [this.acOutBuffer];
    for (const fifo = this.producerFifo; !fifo.isEmpty() && fifo.first() !== null; ) {
      const data = take(fifo);
      if (data !== null) pieces.push(data);
    }
    if (pieces.length > 1) this.acOutBuffer = Buffer.concat(pieces);
    else super.refillBuffer();
  }
}

/** Both steps by itself, as in Python 2.5. */
class Sending extends Refilling {
  override initiateSend(): void {
    this.refillBuffer();
    if (this.acOutBuffer.length === 0 || !this.connected) return;
    const sent = this.send(this.acOutBuffer.subarray(0, this.acOutBufferSize));
    this.acOutBuffer = this.acOutBuffer.subarray(sent);
  }
}

const CLASSES = [Refilling, Gathering, Sending];

const talk = (type: typeof LineChat = LineChat, map = newMap()) =>
  chatWithPeer((socket, map) => new type(socket, map), map);

describe.each(WAYS)('A mark that an override takes (%s)', (_, how) => {
  it.each(CLASSES)('is reached when the data before it has left: %p', async (type) => {
    for (const size of [6, BIG]) {
      const { chat, peer, map } = talk(type);
      const order: string[] = [];
      let got = '';
      let gotAtFlush = 0;
      chat.onRecord = () => {
        chat.push(Buffer.alloc(size, 'a'));
        void chat.flushed().then(() => {
          order.push('flushed');
          if (!got.endsWith('|')) got += heard(peer);
          gotAtFlush = got.length;
        });
        chat.endWhenDone();
        order.push(`pushed: ${chat.push('refused')}`);
      };
      peer.send(Buffer.from('go\n'));
      await drive(
        how,
        () => {
          got += got.endsWith('|') ? '' : heard(peer);
          return got.endsWith('|');
        },
        { map },
      );
      await turn();
      expect([got.length, got.endsWith('a|'), chat.push('refused')]).toEqual([
        size + 1,
        true,
        false,
      ]);
      expect(order).toEqual(['pushed: false', 'flushed']);
      expect(gotAtFlush).toBeGreaterThan(0);
      expect(chat.errors).toEqual([]);
    }
  });
});

describe('A mark that an override has taken', () => {
  it('is still waited for, and refuses pushes meanwhile', async () => {
    for (const type of CLASSES) {
      const { chat, peer, map } = talk(type);
      const shutdown = jest.spyOn(chat.socket as Socket, 'shutdown');
      chat.producerFifo.push(Buffer.alloc(BIG, 'x'));
      const flush = outcome(chat.flushed());
      chat.endWhenDone();
      const last = outcome(chat.flushed());
      poll(0, map);
      expect(chat.producerFifo.isEmpty()).toBe(true);
      await turn();
      expect([flush.now, last.now, chat.push('x')]).toEqual(['pending', 'pending', false]);
      expect(shutdown).not.toHaveBeenCalled();
      while (!heard(peer).endsWith('|')) poll(0, map);
      await turn();
      expect([flush.now, last.now]).toEqual(['resolved', 'resolved']);
      expect(shutdown).toHaveBeenCalledTimes(1);
    }
  });

  it('is lost with the data before it', async () => {
    for (const lose of ['close', 'discardBuffers'] as const) {
      const { chat, map } = talk(Refilling);
      const shutdown = jest.spyOn(chat.socket as Socket, 'shutdown');
      chat.producerFifo.push(Buffer.alloc(BIG, 'x'));
      const flush = outcome(chat.flushed());
      chat.endWhenDone();
      poll(0, map);
      expect(chat.producerFifo.isEmpty()).toBe(true);
      chat[lose]();
      await turn();
      const expected = lose === 'close' ? 'ERR_CHANNEL_CLOSED' : 'ERR_OUTPUT_DISCARDED';
      expect([flush.now, shutdown.mock.calls]).toEqual([expected, []]);
      expect(chat.push('x')).toBe(lose === 'discardBuffers');
    }
  });
});

describe('flushed() of a chat that goes on', () => {
  it.each<[string, (chat: LineChat) => void]>([
    ['clears its fifo', (chat) => chat.producerFifo.clear()],
    [
      'has another fifo',
      (chat) => {
        chat.producerFifo = new Fifo<FifoItem>();
      },
    ],
    [
      'has another fifo with other output',
      (chat) => {
        chat.producerFifo = new Fifo<FifoItem>(['other']);
      },
    ],
    [
      'takes one item after the other',
      (chat) => {
        while (!chat.producerFifo.isEmpty()) chat.producerFifo.pop();
        chat.producerFifo.push('other');
      },
    ],
  ])('rejects where the program %s', async (_, act) => {
    const { chat } = talk();
    chat.push(Buffer.alloc(BIG));
    const flush = outcome(chat.flushed());
    chat.endWhenDone();
    const last = outcome(chat.flushed());
    act(chat);
    await turn();
    expect([flush.now, last.now]).toEqual(['ERR_OUTPUT_DISCARDED', 'ERR_OUTPUT_DISCARDED']);
    expect([chat.errors, chat.connected]).toEqual([[], true]);
  });

  it('waits on where the program puts its items into another order, or fifo', async () => {
    const { chat, peer, map } = talk();
    chat.push(Buffer.alloc(BIG, 'x'));
    const flush = outcome(chat.flushed());
    chat.producerFifo = new Fifo(chat.producerFifo);
    const items = [...chat.producerFifo];
    chat.producerFifo.clear();
    for (const item of items) chat.producerFifo.push(item);
    await turn();
    expect(flush.now).toBe('pending');
    let size = 0;
    for (; size < BIG; poll(0, map)) size += heard(peer).length;
    await turn();
    expect([flush.now, size]).toEqual(['resolved', BIG]);
  });
});

describe('Two chats that share a fifo', () => {
  function share(map: ChannelMap = newMap()): [Metered, Metered] {
    const [one, other] = [0, 1].map(() => {
      const [mine, theirs] = Socket.pair();
      keep(theirs);
      return new Metered(mine, map);
    }) as [Metered, Metered];
    other.producerFifo = one.producerFifo;
    return [one, other];
  }

  it('reach a mark of the other when the other has sent what it had taken before', async () => {
    const [one, other] = share();
    const shutdown = jest.spyOn(one.socket as Socket, 'shutdown');
    one.push('one');
    const flush = outcome(one.flushed());
    one.endWhenDone();
    expect(String(one.acOutBuffer)).toBe('one');
    other.initiateSend();
    expect(other.producerFifo.isEmpty()).toBe(true);
    await turn();
    expect([flush.now, shutdown.mock.calls.length, one.push('x')]).toEqual(['pending', 0, false]);
    one.budget = 3;
    one.initiateSend();
    await turn();
    expect([one.sent, flush.now, shutdown.mock.calls.length]).toEqual(['one', 'resolved', 1]);
    expect([other.push('goes on'), one.push('x')]).toEqual([true, false]);
  });

  it('leave the marks of the other where they are when they close', async () => {
    const [one, other] = share();
    const shutdown = jest.spyOn(one.socket as Socket, 'shutdown');
    one.push('one');
    const flush = outcome(one.flushed());
    one.endWhenDone();
    other.close();
    await turn();
    expect([flush.now, one.push('x'), one.producerFifo.length]).toEqual(['pending', false, 2]);
    one.budget = 3;
    one.initiateSend();
    await turn();
    expect([flush.now, shutdown.mock.calls.length]).toEqual(['resolved', 1]);
  });

  it('lose their marks when the other discards all that waits', async () => {
    const [one, other] = share();
    one.push('one');
    const flush = outcome(one.flushed());
    one.endWhenDone();
    other.discardBuffers();
    await turn();
    expect([flush.now, one.push('x')]).toEqual(['ERR_OUTPUT_DISCARDED', true]);
  });
});

describe('With much output waiting', () => {
  it('a push after endWhenDone(), and flushed() after closeWhenDone(), cost no look at all of it', () => {
    const { chat } = talk();
    chat.batchOutput = false;
    chat.push(Buffer.alloc(BIG));
    for (let count = 0; count < 20_000; count += 1) chat.push('x');
    chat.endWhenDone();
    const steps = jest.spyOn(chat.producerFifo, Symbol.iterator);
    expect(chat.producerFifo.length).toBeGreaterThan(20_000);
    const first = chat.flushed().catch(() => {});
    for (let count = 0; count < 1000; count += 1) expect(chat.push('x')).toBe(false);
    expect(steps).toHaveBeenCalledTimes(0);
    chat.closeWhenDone();
    const closing = [chat.flushed(), chat.flushed(), chat.flushed()];
    expect(new Set(closing).size).toBe(1);
    expect(steps).toHaveBeenCalledTimes(0);
    void closing[0]?.catch(() => {});
    chat.close();
    return first;
  });
});
