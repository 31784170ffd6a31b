// What the kernel reports at every tick, and nobody can consume: urgent data in line while nothing is read, a
// hang-up, a reset. It is told once, and the loop has its rest.

import {
  AsyncChat,
  type ChannelMap,
  Dispatcher,
  type Handled,
  loop,
  loopSync,
  MSG_OOB,
  poll,
  SHUT_WR,
  SO_OOBINLINE,
  SOL_SOCKET,
  type Socket,
} from 'asyncore';
import { DIAGONAL, drive, WAYS, type Way } from '../support/drive';
import { newMap, stillMap } from '../support/keep';
import { tick } from '../support/limits';
import { connection, pair, received, willReset } from '../support/sockets';

const INPUT = Buffer.from('x');
const FULL = Buffer.alloc(8_000_000, 'x');

/** Notes what it is told, and reads while `reads` is true. */
class Chat extends AsyncChat {
  readonly events: string[] = [];
  heard = '';
  reads = true;
  constructor(socket: Socket, map: ChannelMap) {
    super(socket, map);
    this.setTerminator(null);
  }
  override readable(): boolean {
    return this.reads && super.readable();
  }
  override collectIncomingData(data: Buffer): void {
    this.heard += data;
  }
  override foundTerminator(): void {}
  override handleExpt(): Handled {
    this.events.push('expt');
    return super.handleExpt();
  }
  override handleEof(): Handled {
    this.events.push('eof');
  }
  override handleClose(): Handled {
    this.events.push('close');
    return super.handleClose();
  }
}

/** Each way for a channel not to read. */
const STATES: [string, (chat: Chat) => void][] = [
  ['paused', (chat) => chat.pauseReading()],
  [
    'not readable',
    (chat) => {
      chat.reads = false;
    },
  ],
];

function connected(map = stillMap().map): {
  chat: Chat;
  peer: Socket;
  own: Socket;
  map: ChannelMap;
} {
  const [peer, own] = connection();
  return { chat: new Chat(own, map), peer, own, map };
}

/** A pass finds nothing to do, and waits to its end. */
async function rests(how: Way, map: ChannelMap): Promise<void> {
  const options = { map, usePoll: how.usePoll, timeout: 30, count: 1 };
  // What is still to be told is told first.
  for (let passes = 5; passes > 0; passes -= 1) loopSync({ ...options, timeout: 0 });
  const begin = performance.now();
  if (how.sync) loopSync(options);
  else await loop(options);
  expect(performance.now() - begin).toBeGreaterThanOrEqual(29);
}

describe.each(WAYS)('What nobody can consume (%s)', (_, how) => {
  describe.each(STATES)('by a channel that is %s', (_, stop) => {
    it('is urgent data in line, beside output that waits', async () => {
      const { chat, peer, own, map } = connected();
      own.setSockOpt(SOL_SOCKET, SO_OOBINLINE, true);
      stop(chat);
      chat.push(FULL);
      peer.send(Buffer.from('a'));
      peer.send(Buffer.from('!'), MSG_OOB);
      await rests(how, map);
      expect(chat.events).toEqual(how.usePoll ? [] : ['expt']);
      // All of it is still there.
      chat.reads = true;
      chat.resumeReading();
      await drive(how, () => chat.heard.length >= 2, { map });
      expect(chat.heard).toBe('a!');
      expect(chat.connected).toBe(true);
    });

    it.each<[string, (peer: Socket, own: Socket) => void]>([
      [
        'the end of both directions',
        (peer, own) => {
          own.shutdown(SHUT_WR);
          peer.send(Buffer.from('bye'));
          peer.shutdown(SHUT_WR);
        },
      ],
      [
        'a reset after input that it has not read',
        (peer) => {
          peer.send(Buffer.from('bye'));
          willReset(peer).close();
        },
      ],
    ])('is %s', async (_, end) => {
      const { chat, peer, own, map } = connected();
      stop(chat);
      end(peer, own);
      await rests(how, map);
      expect(chat.events).toEqual([]);
      chat.reads = true;
      chat.resumeReading();
      await drive(how, () => map.size === 0, { map });
      expect([chat.heard, chat.events]).toEqual(['bye', ['close']]);
    });
  });

  it('is not a reset of a channel that is not readable, when all input has been read', async () => {
    const { chat, peer, map } = connected();
    chat.reads = false;
    await rests(how, map);
    willReset(peer).close();
    await drive(how, () => map.size === 0, { map });
    expect(chat.events).toEqual(['close']);
  });

  it('is a reset that handleClose has been told, and has not closed', async () => {
    const { chat, peer, map } = connected();
    chat.reads = false;
    chat.handleClose = () => {
      chat.events.push('close');
    };
    willReset(peer).close();
    await rests(how, map);
    expect(chat.events).toEqual(['close']);
  });

  it('does not hide the reset of a peer that has half-closed', async () => {
    const { chat, peer, map } = connected();
    chat.allowHalfOpen = true;
    peer.shutdown(SHUT_WR);
    await drive(how, () => chat.inputEnded, { map });
    await rests(how, map);
    willReset(peer).close();
    await drive(how, () => map.size === 0, { map });
    expect(chat.events).toEqual(['eof', 'close']);
  });

  it('is the end of a Unix peer that has half-closed before', async () => {
    const { map } = stillMap();
    const [own, peer] = pair();
    const chat = new Chat(own, map);
    chat.allowHalfOpen = true;
    peer.shutdown(SHUT_WR);
    await drive(how, () => chat.inputEnded, { map });
    await rests(how, map);
    peer.close();
    await drive(how, () => map.size === 0, { map });
    expect(chat.events).toEqual(['eof', 'close']);
  });

  it('is the end of the input while an async handleClose is running, which can still send', async () => {
    const { chat, peer, map } = connected();
    let end = (): void => {};
    chat.handleClose = async () => {
      chat.events.push('close');
      await new Promise<void>((resolve) => {
        end = resolve;
      });
      chat.close();
    };
    chat.push(FULL);
    peer.shutdown(SHUT_WR);
    await rests(how, map);
    let size = 0;
    await drive(
      how,
      () => {
        size += received(peer).length;
        return size === FULL.length;
      },
      { map },
    );
    // A failed send does not start it again.
    willReset(peer).close();
    chat.send(INPUT);
    await rests(how, map);
    end();
    await new Promise(setImmediate);
    expect([map.size, chat.events]).toEqual([0, ['close']]);
  });

  it('is a hang-up, told once to a handleClose that sends to the peer', async () => {
    const { map } = stillMap();
    const [own, peer] = pair();
    const events: string[] = [];
    new (class extends Dispatcher {
      override readable(): boolean {
        return false;
      }
      override handleWrite(): Handled {
        if (!how.usePoll) this.send(INPUT);
      }
      override handleClose(): Handled {
        events.push('close');
        this.send(INPUT);
        this.close();
      }
    })(own, map);
    peer.close();
    await drive(how, () => map.size === 0, { map });
    expect(events).toEqual(['close']);
  });

  it('is urgent data that handleExpt leaves unread: it is told again a second later', async () => {
    const { map, clock } = stillMap();
    const { chat, peer, own } = connected(map);
    chat.handleExpt = () => {
      chat.events.push('expt');
    };
    peer.send(Buffer.from('!'), MSG_OOB);
    await drive(how, () => chat.events.length > 0, { map });
    for (let told = 1; told < 4; told += 1) {
      await rests(how, map);
      clock.advance(999.9);
      await tick(how, map, 3);
      expect(chat.events).toEqual(Array(told).fill('expt'));
      clock.advance(0.1);
      await tick(how, map, 3);
      expect(chat.events).toEqual(Array(told + 1).fill('expt'));
    }
    // After one that handleExpt itself has read there is nothing to wait for: the next ones are told at once.
    chat.handleExpt = () => {
      chat.events.push(String(own.recv(1, MSG_OOB)));
    };
    clock.advance(1000);
    await drive(how, () => chat.events.at(-1) === '!', { map });
    for (const byte of ['?', '.']) {
      peer.send(Buffer.from(byte), MSG_OOB);
      await drive(how, () => chat.events.at(-1) === byte, { map });
    }
    expect(map.nextDue).toBe(Infinity);
  });

  it('is no longer urgent data that was read meanwhile, and the next byte is told', async () => {
    const { map, clock } = stillMap();
    const { chat, peer, own } = connected(map);
    chat.handleExpt = () => {
      chat.events.push('expt');
    };
    peer.send(Buffer.from('!'), MSG_OOB);
    await drive(how, () => chat.events.length > 0, { map });
    expect(String(own.recv(1, MSG_OOB))).toBe('!');
    clock.advance(1000);
    await tick(how, map, 3);
    expect(chat.events).toEqual(['expt']);
    peer.send(Buffer.from('?'), MSG_OOB);
    await drive(how, () => chat.events.length === 2, { map });
    expect(String(own.recv(1, MSG_OOB))).toBe('?');
    // The channel does not know yet that this one was read.
    peer.send(Buffer.from('.'), MSG_OOB);
    clock.advance(1000);
    await drive(how, () => chat.events.length === 3, { map });
    expect(String(own.recv(1, MSG_OOB))).toBe('.');
  });

  it('is a hang-up of a channel that only writes, and has no room', async () => {
    const { map } = stillMap();
    const [peer, own] = connection();
    const writes: number[] = [];
    const channel = new (class extends Dispatcher {
      override readable(): boolean {
        return false;
      }
      override handleWrite(): Handled {
        writes.push(this.send(FULL));
      }
    })(own, map);
    for (let passes = 100; passes > 0 && writes.at(-1) !== 0; passes -= 1) poll(0, map);
    const { length } = writes;
    peer.shutdown(SHUT_WR);
    await rests(how, map);
    expect(writes.length - length).toBeLessThanOrEqual(1);
    expect(received(peer).length).toBeGreaterThan(0);
    expect(channel.connected).toBe(true);
  });
});

describe.each(DIAGONAL)('Urgent data that handleExpt leaves unread (%s)', (_, how) => {
  it('is told again a second later in real time, too', async () => {
    const map = newMap();
    const { chat, peer } = connected(map);
    const told: number[] = [];
    chat.handleExpt = () => {
      told.push(performance.now());
      if (told.length === 2) chat.close();
    };
    peer.send(Buffer.from('!'), MSG_OOB);
    // One wait, which is over in time, and ends with the map empty.
    if (how.sync) loopSync({ map, usePoll: how.usePoll });
    else await loop({ map, usePoll: how.usePoll });
    const [first, second] = told as [number, number];
    expect(second - first).toBeGreaterThanOrEqual(1000);
    expect(second - first).toBeLessThan(5000);
  });
});
