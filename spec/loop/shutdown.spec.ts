// An orderly end: no more callers, no more requests, and what is queued leaves first; and all of it by a
// deadline.

import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  type Address,
  type Channel,
  type ChannelMap,
  Dispatcher,
  DispatcherWithSend,
  ExitNow,
  loop,
  loopSync,
  type ManualClock,
  poll,
  SHUT_WR,
  type ShutdownOptions,
  SO_ERROR,
  SOL_SOCKET,
  Socket,
  shutdown,
  socketMap,
} from 'asyncore';
import { registryOf } from '../../lib/loop/channel-map';
import { DIAGONAL, drive, WAYS, type Way } from '../support/drive';
import { keep, newMap, stillMap } from '../support/keep';
import { chatWithPeer, LineChat, Listener, text } from '../support/limits';
import { Client, type Program, runTypeScript, until } from '../support/program';
import { call, connection, received } from '../support/sockets';

const newChat = (map = newMap()) => chatWithPeer((socket) => new LineChat(socket, map), map);

/** Watches a promise without waiting for it. */
class Outcome {
  text = 'pending';

  constructor(promise: Promise<unknown>) {
    promise.then(
      (value) => {
        this.text = `resolved: ${value}`;
      },
      (error) => {
        this.text = `rejected: ${error}`;
      },
    );
  }
  async settled(): Promise<string> {
    await until(() => this.text !== 'pending');
    return this.text;
  }
}

/** Lets a running map make some passes, and turns of Node's loop. */
async function turns(count = 5): Promise<void> {
  for (let left = count; left > 0; left -= 1) await new Promise(setImmediate);
}

/** From its shutdown on, a millisecond passes in each pass of the loop over a map. */
function passTime(chat: LineChat, clock: ManualClock): void {
  const handleShutdown = chat.handleShutdown.bind(chat);
  chat.handleShutdown = () => {
    const timer = chat.map.callLater(0, () => {
      clock.advance(1);
      timer.reset();
    });
    return handleShutdown();
  };
}

/** Runs the map, and shuts it down from the outside, or where no JavaScript runs meanwhile, before. */
async function shutDown(how: Way, map: ChannelMap, options?: ShutdownOptions): Promise<number> {
  if (how.sync) {
    // From within the loop: a channel whose turn comes at once.
    const [ours, theirs] = Socket.pair();
    keep(theirs).send(text('x'));
    let done: Promise<number> | undefined;
    const trigger = new LineChat(ours, map);
    trigger.handleRead = () => {
      trigger.close();
      done = shutdown(map, options);
    };
    loopSync({ map, usePoll: how.usePoll });
    return done as Promise<number>;
  }
  const running = loop({ map, usePoll: how.usePoll });
  await sleep(2);
  const cut = await shutdown(map, options);
  await running;
  return cut;
}

/** Whether nobody listens there. This machine says so at once. */
function refused(address: Address): boolean {
  return call(address).getSockOpt(SOL_SOCKET, SO_ERROR) !== 0;
}

/** A peer who reads as soon as the map is run. */
class Reader extends Dispatcher {
  heard = 0;
  constructor(socket: Socket, map: ChannelMap) {
    super(socket, map);
    this.ignoreLogTypes = new Set(['warning']);
  }
  override writable(): boolean {
    return false;
  }
  override handleRead(): void {
    this.heard += this.recv(65536)?.length ?? 0;
  }
}

/** A chat with much to send, whose loop has been left while a shutdown of 30 ms was under way. */
async function leftLoop() {
  const { map, clock } = stillMap();
  newChat(map).chat.push(Buffer.alloc(4_000_000, 'x'));
  const stop = new AbortController();
  const running = new Outcome(loop({ map, signal: stop.signal }));
  const done = new Outcome(shutdown(map, { deadline: 30 }));
  stop.abort();
  await running.settled();
  return { map, clock, done };
}

describe.each(WAYS)('shutdown of a map whose loop runs (%s)', (_, how) => {
  it('closes listeners and idle chats at once, and resolves with 0', async () => {
    const map = newMap();
    const listener = new Listener(map);
    const { name } = listener;
    const { chat, peer } = newChat(map);
    expect(await shutDown(how, map)).toBe(0);
    expect(map.size).toBe(0);
    expect(map.nextDue).toBe(Infinity);
    expect(chat.events).toEqual(['close']);
    expect(peer.recv(10)?.length).toBe(0);
    expect(refused(name)).toBe(true);
  });

  it('sends what a chat has queued before', async () => {
    const map = newMap();
    const [ours, theirs] = Socket.pair();
    const chat = new LineChat(ours, map);
    chat.push(Buffer.alloc(4_000_000, 'x'));
    expect(chat.writableLength).toBeGreaterThan(0);
    const reader = new Reader(theirs, map);
    // The reader is in the same map, and stays until it has received everything.
    reader.handleShutdown = () => {};
    expect(await shutDown(how, map)).toBe(0);
    expect(reader.heard).toBe(4_000_000);
    expect(chat.events).toEqual(['close']);
  });

  it('reads no more', async () => {
    const map = newMap();
    const [ours, theirs] = Socket.pair();
    const chat = new LineChat(ours, map);
    chat.push(Buffer.alloc(4_000_000, 'x'));
    const reader = new Reader(theirs, map);
    reader.handleShutdown = () => {
      theirs.send(text('one more\n'));
    };
    expect(await shutDown(how, map)).toBe(0);
    expect(chat.events).toEqual(['close']);
  });

  it('closes at the deadline who has not gone, and says how many', async () => {
    const { map, clock } = stillMap();
    const chats = [newChat(map), newChat(map), newChat(map)].map(({ chat }) => chat);
    for (const chat of chats.slice(1)) chat.push(Buffer.alloc(4_000_000, 'x'));
    const closedAt: number[] = [];
    for (const chat of chats) {
      const close = chat.close.bind(chat);
      chat.close = () => {
        closedAt.push(clock.now());
        close();
      };
    }
    const start = clock.now();
    passTime(chats[0] as LineChat, clock);
    expect(await shutDown(how, map, { deadline: 50 })).toBe(2);
    expect(closedAt).toEqual([start, start + 50, start + 50]);
    expect(map.size).toBe(0);
    // close() calls no handler, there as everywhere.
    expect(chats.map((chat) => chat.events)).toEqual([['close'], [], []]);
    expect(chats.map((chat) => chat.socket?.fileno())).toEqual([-1, -1, -1]);
  });

  it('closes all that is left with the next tick’s end when the deadline is 0', async () => {
    const map = newMap();
    const { chat } = newChat(map);
    chat.push(Buffer.alloc(4_000_000, 'x'));
    newChat(map);
    // The idle one has had a tick to close in.
    expect(await shutDown(how, map, { deadline: 0 })).toBe(1);
    expect(map.size).toBe(0);
  });

  it('has all the time there is with a deadline of Infinity', async () => {
    const map = newMap();
    const [ours, theirs] = Socket.pair();
    const chat = new LineChat(ours, map);
    chat.push(Buffer.alloc(4_000_000, 'x'));
    const reader = new Reader(theirs, map);
    reader.handleShutdown = () => expect(map.nextDue).toBe(Infinity);
    expect(await shutDown(how, map, { deadline: Infinity })).toBe(0);
    expect(reader.heard).toBe(4_000_000);
  });

  it('has a DispatcherWithSend send what it holds', async () => {
    const map = newMap();
    const [ours, theirs] = Socket.pair();
    const channel = new DispatcherWithSend(ours, map);
    const events: string[] = [];
    channel.ignoreLogTypes = new Set(['warning']);
    channel.handleClose = () => {
      events.push('close');
      channel.close();
    };
    channel.send(Buffer.alloc(4_000_000, 'x'));
    const reader = new Reader(theirs, map);
    reader.handleShutdown = () => {};
    expect(await shutDown(how, map)).toBe(0);
    expect(reader.heard).toBe(4_000_000);
    expect(events).toEqual(['close']);
  });

  it.each<[string, (channel: DispatcherWithSend, reader: Reader) => void]>([
    [
      'through send()',
      (channel, reader) => {
        const { handleRead } = reader;
        reader.handleRead = () => {
          const { length } = received(reader.socket as Socket);
          if (length === 0) return handleRead.call(reader);
          // Now there is room for all of it.
          if (reader.heard === 0) for (const part of ['la', 'st']) channel.send(text(part));
          expect(channel.outBuffer).toHaveLength(0);
          reader.heard += length;
        };
      },
    ],
    [
      'never, as outBuffer is emptied',
      (channel, reader) => {
        const { handleShutdown } = reader;
        reader.handleShutdown = () => {
          channel.outBuffer = Buffer.alloc(0);
          return handleShutdown.call(reader);
        };
      },
    ],
  ])('closes a DispatcherWithSend whose last bytes leave %s', async (__, act) => {
    const map = newMap();
    const [ours, theirs] = Socket.pair();
    const channel = new DispatcherWithSend(ours, map);
    const events: string[] = [];
    channel.ignoreLogTypes = new Set(['warning']);
    channel.handleClose = () => {
      events.push('close');
      channel.close();
    };
    while (channel.outBuffer.length === 0) channel.send(Buffer.alloc(65536));
    const reader = new Reader(theirs, map);
    // So the kernel takes nothing more until then.
    reader.pauseReading();
    reader.handleShutdown = () => reader.resumeReading();
    act(channel, reader);
    expect(await shutDown(how, map, { deadline: 1000 })).toBe(0);
    expect(events).toEqual(['close']);
  });

  it('calls handleClose of a DispatcherWithSend that holds nothing, and of a Dispatcher', async () => {
    const map = newMap();
    const events: string[] = [];
    for (const Class of [DispatcherWithSend, Dispatcher]) {
      const [ours, theirs] = Socket.pair();
      keep(theirs);
      const channel = new Class(ours, map);
      channel.ignoreLogTypes = new Set(['warning']);
      channel.handleClose = () => {
        events.push(Class.name);
        channel.close();
      };
      channel.writable = () => false;
    }
    expect(await shutDown(how, map)).toBe(0);
    expect(events).toEqual(['DispatcherWithSend', 'Dispatcher']);
  });

  it('goes on when handleShutdown throws, which is the channel’s error', async () => {
    const map = newMap();
    const [first, second] = [newChat(map).chat, newChat(map).chat];
    const error = new Error('not now');
    first.handleShutdown = () => {
      throw error;
    };
    expect(await shutDown(how, map)).toBe(0);
    expect(first.errors).toEqual([error]);
    expect(first.events).toEqual(['error', 'close']);
    expect(second.events).toEqual(['close']);
  });

  it('closes a channel that knows nothing of it', async () => {
    const map = newMap();
    const [ours, theirs] = Socket.pair();
    keep(ours);
    keep(theirs);
    let closed = 0;
    const never = (): never => {
      throw new Error('nothing has happened');
    };
    const plain: Channel = {
      readable: () => true,
      writable: () => false,
      handleReadEvent: never,
      handleWriteEvent: never,
      handleExptEvent: never,
      handleClose: never,
      handleError: never,
      close: () => {
        closed += 1;
        map.delete(ours.fileno());
      },
    };
    map.set(ours.fileno(), plain);
    expect(await shutDown(how, map)).toBe(0);
    expect(closed).toBe(1);
  });

  it('waits for channels that come meanwhile, without telling them', async () => {
    const { map, clock } = stillMap();
    const { chat } = newChat(map);
    let late: LineChat | undefined;
    let closedAt = 0;
    chat.handleShutdown = () => {
      late = newChat(map).chat;
      late.handleShutdown = () => {
        throw new Error('it was not there');
      };
      late.close = () => {
        closedAt = clock.now();
        LineChat.prototype.close.call(late);
      };
      chat.close();
    };
    passTime(chat, clock);
    const start = clock.now();
    expect(await shutDown(how, map, { deadline: 50 })).toBe(1);
    expect(closedAt).toBe(start + 50);
    expect(late?.errors).toEqual([]);
    expect(late?.socket?.fileno()).toBe(-1);
  });

  it('has a connect that is under way refused as ever', async () => {
    const map = newMap();
    const gone = keep(Socket.socket());
    gone.bind({ host: '127.0.0.1', port: 0 });
    const chat = new LineChat(null, map);
    chat.createSocket();
    chat.connect(gone.getSockName());
    expect(await shutDown(how, map)).toBe(0);
    expect(chat.errors).toMatchObject([{ code: 'ECONNREFUSED' }]);
    expect(chat.events).toEqual(['error', 'close']);
  });

  it('sends what was queued for a connection that stands only afterwards', async () => {
    const map = newMap();
    const listener = keep(Socket.socket());
    listener.bind({ host: '127.0.0.1', port: 0 });
    listener.listen(1);
    const chat = new LineChat(null, map);
    chat.handleConnect = () => {};
    chat.createSocket();
    chat.connect(listener.getSockName());
    chat.push('hello');
    expect(await shutDown(how, map)).toBe(0);
    const accepted = keep(listener.accept()?.socket as Socket);
    expect(received(accepted)).toBe('hello');
  });
});

describe.each(DIAGONAL)('shutdown of a map whose loop runs, in real time (%s)', (_, how) => {
  it('closes at the deadline who has not gone, though the loop would wait longer', async () => {
    const { chat, map } = newChat();
    chat.push(Buffer.alloc(4_000_000, 'x'));
    const start = performance.now();
    expect(await shutDown(how, map, { deadline: 50 })).toBe(1);
    expect(performance.now() - start).toBeGreaterThanOrEqual(50);
    expect(performance.now() - start).toBeLessThan(5000);
    expect(map.size).toBe(0);
  });
});

describe('shutdown', () => {
  it('runs a loop where none does', async () => {
    const map = newMap();
    const [ours, theirs] = Socket.pair();
    const chat = new LineChat(ours, map);
    chat.push(Buffer.alloc(4_000_000, 'x'));
    const reader = new Reader(theirs, map);
    reader.handleShutdown = () => {};
    const done = shutdown(map);
    expect(registryOf(map).runner).not.toBeNull();
    expect(await done).toBe(0);
    expect(registryOf(map).runner).toBeNull();
    expect(reader.heard).toBe(4_000_000);
  });

  it('keeps the deadline of a loop of its own', async () => {
    const { map, clock } = stillMap();
    newChat(map).chat.push(Buffer.alloc(4_000_000, 'x'));
    const done = new Outcome(shutdown(map, { deadline: 30 }));
    clock.advance(29.9);
    await turns();
    expect([done.text, map.size]).toEqual(['pending', 1]);
    clock.advance(0.1);
    expect(await done.settled()).toBe('resolved: 1');
    expect(map.size).toBe(0);
  });

  it('is done at once when there is nobody, and runs no loop when all go at once', async () => {
    const map = newMap();
    expect(await shutdown(map)).toBe(0);
    new Listener(map);
    const done = shutdown(map);
    expect(registryOf(map).runner).toBeNull();
    expect(await done).toBe(0);
  });

  it('is about socketMap by default', async () => {
    const { chat } = newChat(socketMap);
    expect(await shutdown()).toBe(0);
    expect(chat.events).toEqual(['close']);
  });

  it('rejects with ExitNow when a handler throws that, and the loop goes on', async () => {
    const map = newMap();
    newChat(map).chat.handleShutdown = () => {
      throw new ExitNow();
    };
    const running = new Outcome(loop({ map }));
    await sleep(2);
    await expect(shutdown(map)).rejects.toBeInstanceOf(ExitNow);
    expect(running.text).toBe('pending');
    for (const channel of map.values()) channel.close();
    expect(await running.settled()).toBe('resolved: undefined');
  });

  it.each(['handleShutdown', 'handleClose'] as const)(
    'tells all of them, also when %s of some throws ExitNow',
    async (handler) => {
      const map = newMap();
      const events: string[] = [];
      const exits = [1, 2, 3, 4].map((number) => {
        const [ours, theirs] = Socket.pair();
        keep(theirs);
        const channel = new Dispatcher(ours, map);
        channel.writable = () => false;
        channel.handleClose = () => {
          events.push(`${number} closes`);
          channel.close();
        };
        const exit = new ExitNow(`${number}`);
        if (number % 2 === 0) {
          channel[handler] = () => {
            events.push(`${number} exits`);
            channel.close();
            throw exit;
          };
        }
        return exit;
      });
      const running = new Outcome(loop({ map }));
      await sleep(2);
      await expect(shutdown(map, { deadline: 2000 })).rejects.toBe(exits[1]);
      expect(events).toEqual(['1 closes', '2 exits', '3 closes', '4 exits']);
      expect(map.size).toBe(0);
      expect(map.nextDue).toBe(Infinity);
      expect(await running.settled()).toBe('resolved: undefined');
    },
  );

  it('may be asked for twice: both wait, and the shorter deadline holds', async () => {
    const { map, clock } = stillMap();
    newChat(map).chat.push(Buffer.alloc(4_000_000, 'x'));
    const running = loop({ map });
    const first = new Outcome(shutdown(map, { deadline: 60_000 }));
    const second = new Outcome(shutdown(map, { deadline: 30 }));
    clock.advance(29.9);
    await turns();
    expect([first.text, second.text]).toEqual(['pending', 'pending']);
    clock.advance(0.1);
    await running;
    // Each says what it has cut itself.
    expect(await first.settled()).toBe('resolved: 0');
    expect(await second.settled()).toBe('resolved: 1');
  });

  it('has an answer that is in its handler’s hands leave with the rest', async () => {
    const { chat, peer, map } = newChat();
    let done: Promise<number> | undefined;
    chat.onRecord = (record) => {
      chat.push(`${record}!\n`);
      done = shutdown(map);
      expect(chat.push('too late')).toBe(false);
    };
    peer.send(text('a\nb\n'));
    const running = loop({ map });
    await until(() => done !== undefined);
    expect(await done).toBe(0);
    await running;
    expect(received(peer)).toBe('a!\n');
    expect(chat.events).toEqual(['a', 'close']);
  });

  describe('with a signal', () => {
    const reason = new Error('enough');

    it('does nothing when it is aborted before', async () => {
      const { chat, map } = newChat();
      await expect(shutdown(map, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
      expect(map.size).toBe(1);
      expect(chat.events).toEqual([]);
    });

    it.each([
      ['whose loop runs', true],
      ['without a loop', false],
    ])('ends the waiting, and the channels go on (a map %s)', async (__, runs) => {
      const map = newMap();
      const [ours, theirs] = Socket.pair();
      const chat = new LineChat(ours, map);
      chat.push(Buffer.alloc(4_000_000, 'x'));
      const stop = new AbortController();
      const running = runs ? loop({ map }) : Promise.resolve();
      const done = new Outcome(shutdown(map, { signal: stop.signal }));
      await sleep(5);
      expect(done.text).toBe('pending');
      stop.abort(reason);
      expect(await done.settled()).toBe('rejected: Error: enough');
      // Nobody closes them any more, but they close by themselves when they are done.
      expect(map.nextDue).toBe(Infinity);
      const reader = new Reader(theirs, map);
      if (!runs) await drive({ sync: false, usePoll: false }, () => map.size === 0, { map });
      await running;
      expect(reader.heard).toBe(4_000_000);
    });

    it.each([
      ['whose loop runs', true],
      ['without a loop', false],
    ])('ends it from within handleShutdown (a map %s)', async (__, runs) => {
      const { chat, map } = newChat();
      const stop = new AbortController();
      chat.handleShutdown = () => stop.abort(reason);
      const running = runs ? loop({ map }) : Promise.resolve();
      await expect(shutdown(map, { signal: stop.signal })).rejects.toBe(reason);
      expect(map.size).toBe(1);
      chat.close();
      await running;
    });

    it('says nothing when it is aborted afterwards', async () => {
      const { map } = newChat();
      const stop = new AbortController();
      expect(await shutdown(map, { signal: stop.signal })).toBe(0);
      stop.abort(reason);
    });
  });

  it.each<[string, () => Promise<number>, Error]>([
    [
      'no map',
      () => shutdown({} as ChannelMap),
      new TypeError('Cannot shut down: expected a ChannelMap, received {}'),
    ],
    [
      'a deadline that is no number',
      () => shutdown(newMap(), { deadline: '5' as unknown as number }),
      new TypeError("Cannot shut down: expected a deadline in milliseconds, received '5'"),
    ],
    [
      'no options',
      () => shutdown(newMap(), null as never),
      new TypeError('Cannot shut down: expected options, received null'),
    ],
    [
      'options that are a deadline',
      () => shutdown(newMap(), 5000 as never),
      new TypeError('Cannot shut down: expected options, received 5000'),
    ],
    [
      'a list for options',
      () => shutdown(newMap(), [] as never),
      new TypeError('Cannot shut down: expected options, received []'),
    ],
    [
      'a signal that is none',
      () => shutdown(newMap(), { signal: {} as never }),
      new TypeError('Cannot shut down: expected an AbortSignal, received {}'),
    ],
    [
      'a signal that is null',
      () => shutdown(newMap(), { signal: null as never }),
      new TypeError('Cannot shut down: expected an AbortSignal, received null'),
    ],
    [
      'a deadline in the past',
      () => shutdown(newMap(), { deadline: -1 }),
      new RangeError('Cannot shut down: expected a deadline of 0 ms or more, received -1'),
    ],
    [
      'NaN',
      () => shutdown(newMap(), { deadline: NaN }),
      new RangeError('Cannot shut down: expected a deadline of 0 ms or more, received NaN'),
    ],
  ])('refuses %s', async (_, attempt, error) => {
    const { name, message } = error;
    const code = name === 'TypeError' ? 'ERR_INVALID_ARG_TYPE' : 'ERR_OUT_OF_RANGE';
    await expect(attempt()).rejects.toMatchObject({ name, code, message });
  });

  it('refuses a name that no option has', async () => {
    await expect(shutdown(newMap(), { deadLine: 5 } as never)).rejects.toMatchObject({
      name: 'TypeError',
      code: 'ERR_INVALID_ARG_VALUE',
      message:
        "Cannot shut down: expected options named deadline or signal, received 'deadLine'; did you mean deadline?",
    });
  });

  it('closes all at the deadline although the loop that ran has been left meanwhile', async () => {
    const { map, clock, done } = await leftLoop();
    clock.advance(29.9);
    await turns();
    expect([done.text, map.size]).toEqual(['pending', 1]);
    clock.advance(0.1);
    expect(map.size).toBe(0);
    expect(await done.settled()).toBe('resolved: 1');
  });

  it.each<[string, (map: ChannelMap, clock: ManualClock) => void]>([
    ['the clock goes on', (_, clock) => clock.advance(1)],
    ['a pass is made', (map) => poll(0, map)],
  ])('counts what it has closed, although %s before the program hears of it', async (_, goOn) => {
    const { map, clock, done } = await leftLoop();
    clock.advance(30);
    goOn(map, clock);
    expect(await done.settled()).toBe('resolved: 1');
  });

  it('closes all at the deadline in real time, too, when the loop has been left', async () => {
    const { chat, map } = newChat();
    chat.push(Buffer.alloc(4_000_000, 'x'));
    const stop = new AbortController();
    const running = new Outcome(loop({ map, signal: stop.signal }));
    const start = performance.now();
    const done = new Outcome(shutdown(map, { deadline: 30 }));
    stop.abort();
    await running.settled();
    expect(await done.settled()).toBe('resolved: 1');
    // A timer of Node's counts whole milliseconds.
    expect(performance.now() - start).toBeGreaterThanOrEqual(28);
  });

  describe.each<[string, (socket: Socket, map: ChannelMap) => void]>([
    [
      'a chat',
      (socket, map) => {
        new LineChat(socket, map).push(Buffer.alloc(2_000_000, 'x'));
      },
    ],
    [
      'a DispatcherWithSend',
      (socket, map) => {
        const channel = new DispatcherWithSend(socket, map);
        channel.ignoreLogTypes = new Set(['warning']);
        channel.send(Buffer.alloc(2_000_000, 'x'));
      },
    ],
  ])('loses nothing of what %s has queued', (_, answer) => {
    /** Reads slowly, so that the kernel still holds output when the channel holds none any more. */
    async function heardBy(caller: Socket): Promise<number> {
      let heard = 0;
      await until(() => {
        const data = caller.recv(20_000);
        heard += data?.length ?? 0;
        return data?.length === 0;
      });
      return heard;
    }

    it('because the peer has sent more', async () => {
      const map = newMap();
      const [caller, accepted] = connection();
      answer(accepted, map);
      caller.send(text('one more request\n'));
      const done = new Outcome(shutdown(map));
      expect(await heardBy(caller)).toBe(2_000_000);
      expect(await done.settled()).toBe('resolved: 0');
    });

    it('because the peer ends its stream meanwhile', async () => {
      const map = newMap();
      const [caller, accepted] = connection();
      answer(accepted, map);
      const done = new Outcome(shutdown(map));
      caller.shutdown(SHUT_WR);
      expect(await heardBy(caller)).toBe(2_000_000);
      expect(await done.settled()).toBe('resolved: 0');
    });
  });

  it('lets a handler that is at work answer, and no other begin', async () => {
    const { chat, peer, map } = newChat();
    chat.onRecord = async (record) => {
      chat.pauseReading();
      await sleep(20);
      chat.push(`${record}!\n`);
      chat.resumeReading();
    };
    chat.push(Buffer.alloc(4_000_000, 'x'));
    peer.send(text('a\nb\n'));
    const running = loop({ map });
    await until(() => chat.events.length > 0);
    const done = new Outcome(shutdown(map));
    await sleep(60);
    let heard = '';
    await until(() => {
      heard += received(peer);
      return done.text !== 'pending';
    });
    await running;
    heard += received(peer);
    expect(chat.events).toEqual(['a', 'close']);
    expect(heard.endsWith('a!\n')).toBe(true);
  });
});

describe('A server that SIGTERM ends', () => {
  /** A client asks for a long answer, and does not read it; then comes the signal. */
  async function onceSignalled(
    deadline: number,
    look: (program: Program, client: Client, port: number) => Promise<void>,
  ): Promise<void> {
    const program = runTypeScript(join(__dirname, 'sigterm-server.ts'), [], {
      DEADLINE: String(deadline),
    });
    let client: Client | undefined;
    try {
      const port = Number((await program.printed(/port: (\d+)/, 20_000))[1]);
      client = new Client(port);
      client.socket.pause();
      client.send('a\n');
      await program.printed(/answered a/);
      process.kill(program.child.pid as number, 'SIGTERM');
      await look(program, client, port);
    } finally {
      client?.socket.destroy();
      await program.kill();
    }
  }

  it('accepts nobody any more, has its answers leave, and ends with its loop', async () => {
    await onceSignalled(20_000, async (program, client, port) => {
      // Refused as soon as the listener has closed; the answer is still here.
      await until(() => refused({ host: '127.0.0.1', port }));
      client.socket.resume();
      await client.ends();
      expect(client.received.length).toBe(4_000_001);
      expect(await program.ended()).toBe(0);
      expect(program.output).toContain('cut 0');
      expect(program.output).toContain('the loop is over');
    });
  }, 30_000);

  it('is over by its deadline although a client reads nothing', async () => {
    await onceSignalled(200, async (program) => {
      expect(await program.ended()).toBe(0);
      expect(program.output).toContain('cut 1');
    });
  }, 30_000);
});
