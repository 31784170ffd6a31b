// Output that arrives asynchronously: producers that promise their next piece, and StreamProducer.

import { createReadStream, writeFileSync } from 'node:fs';
import { PassThrough, Readable } from 'node:stream';
import { gunzipSync } from 'node:zlib';
import {
  AsyncChat,
  ChannelMap,
  ChunkedProducer,
  CompositeProducer,
  CompressedProducer,
  ExitNow,
  Fifo,
  type FifoItem,
  GlobbingProducer,
  type Handled,
  HookedProducer,
  loop,
  loopSync,
  type Producer,
  poll,
  Socket,
  StreamProducer,
  type StreamSource,
} from 'asyncore';
import { garbageCollector } from '../support/collector';
import { drive, temporaryPath, WAYS } from '../support/drive';
import { keep, newMap } from '../support/keep';
import { chatWithPeer, LineChat, text } from '../support/limits';
import { until } from '../support/program';
import { driveSettling, outcome, turn } from '../support/settled';
import { pair, received } from '../support/sockets';

const talk = (map = newMap()) => chatWithPeer((socket, map) => new LineChat(socket, map), map);

/** A producer that promises each piece, until it is told what the piece is. */
class Promising implements Producer {
  asked = 0;
  closed = 0;
  #settle: ((piece: unknown) => void) | null = null;
  #fail: ((error: unknown) => void) | null = null;

  more(): Promise<string> {
    this.asked += 1;
    return new Promise((resolve, reject) => {
      this.#settle = resolve as (piece: unknown) => void;
      this.#fail = reject;
    });
  }
  close(): void {
    this.closed += 1;
  }
  yields(piece: unknown): void {
    this.#settle?.(piece);
  }
  fails(error: unknown): void {
    this.#fail?.(error);
  }
}

/** Collects what a peer hears while a map runs. */
function listenTo(peer: Socket): { all: string; hears(end: string): () => boolean } {
  const heard = {
    all: '',
    hears: (end: string) => () => {
      heard.all += received(peer);
      return heard.all.endsWith(end);
    },
  };
  return heard;
}

describe.each(WAYS)('A producer that promises its next piece (%s)', (_, how) => {
  it('keeps its place: what is pushed after waits for it', async () => {
    const { chat, peer, map } = talk();
    const producer = new Promising();
    const heard = listenTo(peer);
    chat.onRecord = () => {
      chat.push('before ');
      chat.pushWithProducer(producer);
      chat.push('after');
    };
    peer.send(text('go\n'));
    await driveSettling(how, heard.hears('before '), map);
    producer.yields('one ');
    await driveSettling(how, heard.hears('one '), map);
    chat.push('!');
    expect([chat.writableLength, producer.asked]).toEqual(['after!'.length, 2]);
    producer.yields('two ');
    await driveSettling(how, heard.hears('two '), map);
    producer.yields(null);
    await driveSettling(how, heard.hears('!'), map);
    expect(heard.all).toBe('before one two after!');
    expect([producer.asked, chat.events]).toEqual([3, ['go']]);
  });

  it('has the chat wait for no write event meanwhile', async () => {
    const { chat, peer, map } = talk();
    const producer = new Promising();
    chat.pushWithProducer(producer);
    let writes = 0;
    chat.handleWrite = () => {
      writes += 1;
      chat.initiateSend();
    };
    expect(chat.writable()).toBe(false);
    for (let count = 0; count < 5; count += 1) {
      loopSync({ map, usePoll: how.usePoll, timeout: 0, count: 1 });
      await turn();
    }
    chat.push('more behind it');
    expect([writes, chat.writable(), producer.asked]).toEqual([0, false, 1]);
    producer.yields('arrived ');
    await turn();
    expect(chat.writable()).toBe(true);
    const heard = listenTo(peer);
    await driveSettling(how, heard.hears('arrived '), map);
    expect(writes).toBe(1);
  });

  it('is what closeWhenDone, endWhenDone and flushed wait for', async () => {
    const { chat, peer, map } = talk();
    const producer = new Promising();
    chat.pushWithProducer(producer);
    const flush = outcome(chat.flushed());
    chat.endWhenDone();
    chat.closeWhenDone();
    loopSync({ map, usePoll: how.usePoll, timeout: 0, count: 1 });
    await turn();
    expect([flush.now, map.size]).toEqual(['pending', 1]);
    producer.yields('all');
    await driveSettling(how, () => producer.asked === 2, map);
    producer.yields('');
    await driveSettling(how, () => map.size === 0, map);
    await turn();
    expect([flush.now, received(peer), chat.events]).toEqual(['resolved', 'all', ['close']]);
  });

  it('tells handleError of a rejection, after what came before it', async () => {
    const { chat, peer, map } = talk();
    const producer = new Promising();
    chat.push('before');
    chat.pushWithProducer(producer);
    chat.push('never');
    const failure = new Error('no more rows');
    producer.fails(failure);
    await driveSettling(how, () => map.size === 0, map);
    expect([chat.events, chat.errors]).toEqual([['error', 'close'], [failure]]);
    expect([received(peer), producer.closed]).toEqual(['before', 1]);
  });
});

describe('A producer that promises its next piece', () => {
  it('wakes the loop', async () => {
    const { chat, peer, map } = talk();
    const producer = new Promising();
    chat.pushWithProducer(producer);
    const start = performance.now();
    setTimeout(() => producer.yields('late'), 20);
    // One pass, which waits as long as nothing happens.
    const pass = loop({ map, timeout: 10_000, count: 1 });
    await pass;
    await until(() => {
      loopSync({ map, timeout: 0, count: 1 });
      return received(peer) === 'late';
    });
    expect(performance.now() - start).toBeLessThan(5000);
  });

  it('is asked again after what it has failed with, if handleError does not close', async () => {
    const { chat, peer, map } = talk();
    const answers = [Promise.resolve('a'), Promise.reject(new Error('once')), 'b', null];
    for (const answer of answers) Promise.resolve(answer).catch(() => {});
    chat.handleError = (error) => void chat.errors.push(error);
    chat.pushWithProducer({ more: () => answers.shift() as string });
    const heard = listenTo(peer);
    await driveSettling({ sync: true, usePoll: false }, heard.hears('b'), map);
    expect([heard.all, chat.errors]).toEqual(['ab', [new Error('once')]]);
  });

  it.each<[string, unknown]>([
    ['a number', 7],
    ['an array', ['a']],
    ['false', false],
  ])('is refused %s', async (_, garbage) => {
    const { chat, map } = talk();
    const producer = new Promising();
    chat.pushWithProducer(producer);
    producer.yields(garbage);
    await driveSettling({ sync: true, usePoll: false }, () => map.size === 0, map);
    expect(chat.errors).toEqual([
      expect.objectContaining({
        code: 'ERR_INVALID_ARG_TYPE',
        message: expect.stringMatching(
          /^Cannot send what more\(\) returned: expected .*, received /,
        ),
      }),
    ]);
  });

  it('leaves the loop by an ExitNow', async () => {
    const { chat, map } = talk();
    const exit = new ExitNow();
    chat.pushWithProducer({ more: () => Promise.reject(exit) });
    await expect(loop({ map })).rejects.toBe(exit);
  });

  it('has no effect on a chat that has closed or discarded its output', async () => {
    for (const end of ['close', 'discardBuffers'] as const) {
      const { chat, peer, map } = talk();
      const [kept, failing] = [new Promising(), new Promising()];
      chat.pushWithProducer(kept);
      chat[end]();
      expect(kept.closed).toBe(1);
      if (end === 'discardBuffers') {
        chat.pushWithProducer(failing);
        chat.discardBuffers();
      }
      kept.yields('late');
      failing.fails(new Error('late'));
      await turn();
      poll(0, map);
      expect([chat.errors, chat.writable(), received(peer)]).toEqual([[], false, '']);
    }
  });

  it('without close, goes on in the next connection with what it has promised in this one', async () => {
    const { chat, map } = talk();
    const producer = Object.assign(new Promising(), { close: undefined as never });
    chat.pushWithProducer(producer);
    chat.close();
    producer.yields('promised');
    await turn();
    const [mine, theirs] = pair();
    chat.setSocket(mine, map);
    chat.connected = true;
    poll(0, map);
    expect([received(theirs), producer.asked]).toEqual(['promised', 2]);
  });

  it('gives each piece to one chat, where two share a fifo', async () => {
    const [one, other] = [talk(), talk()];
    const fifo = new Fifo<FifoItem>();
    one.chat.producerFifo = other.chat.producerFifo = fifo;
    const producer = new Promising();
    fifo.push(producer);
    fifo.push('end');
    for (let count = 0; count < 3; count += 1) for (const { map } of [one, other]) poll(0, map);
    expect(producer.asked).toBe(1);
    producer.yields('piece ');
    await until(() => {
      for (const { map } of [one, other]) poll(0, map);
      return producer.asked === 2;
    });
    // Both know by now that the next piece has not arrived.
    for (const { map } of [one, other]) poll(0, map);
    expect([one.chat.writable(), other.chat.writable()]).toEqual([false, false]);
    const writes = [one, other].map(({ chat }) => jest.spyOn(chat, 'handleWrite'));
    for (let count = 0; count < 3; count += 1) for (const { map } of [one, other]) poll(0, map);
    expect(writes.map(({ mock }) => mock.calls.length)).toEqual([0, 0]);
    producer.yields(null);
    await until(() => {
      for (const { map } of [one, other]) poll(0, map);
      return fifo.isEmpty();
    });
    expect([received(one.peer), received(other.peer)].join('')).toBe('piece end');
  });

  it('leaves the chat to what is put before it', async () => {
    const { chat, peer, map } = talk();
    const producer = new Promising();
    chat.pushWithProducer(producer);
    chat.producerFifo.pushFront('first ');
    expect(chat.writable()).toBe(true);
    chat.initiateSend();
    producer.yields('second');
    const heard = listenTo(peer);
    await driveSettling({ sync: true, usePoll: false }, heard.hears('second'), map);
    expect(heard.all).toBe('first second');
  });

  it('may be a thenable that calls back at once, and twice', async () => {
    const { chat, peer, map } = talk();
    const pieces = ['a', 'b', null];
    const more = (): PromiseLike<string> => {
      const piece = pieces.shift() as string;
      const callBack = (settle: (piece: string) => void): void => {
        settle(piece);
        settle('twice');
      };
      return Object.defineProperty({}, 'then', { value: callBack }) as never;
    };
    chat.pushWithProducer({ more });
    chat.push('c');
    const heard = listenTo(peer);
    await driveSettling({ sync: true, usePoll: false }, heard.hears('c'), map);
    expect(heard.all).toBe('abc');
  });

  it('is asked while a limiter says that output may leave', async () => {
    class Limited extends LineChat {
      open = false;
      override writable(): boolean {
        return this.open && super.writable();
      }
    }
    const { chat, peer, map } = chatWithPeer((socket, map) => new Limited(socket, map));
    const producer = new Promising();
    chat.pushWithProducer(producer);
    producer.yields('held');
    await turn();
    poll(0, map);
    expect(received(peer)).toBe('');
    chat.open = true;
    const heard = listenTo(peer);
    await driveSettling({ sync: true, usePoll: false }, heard.hears('held'), map);
  });

  it('whose promise is never settled, keeps no closed chat in memory', async () => {
    const gc = garbageCollector();
    const producers: Promising[] = [];
    const refs = (['close', 'discardBuffers'] as const).map((end) => {
      const { chat } = talk(new ChannelMap());
      const producer = new Promising();
      producers.push(producer);
      chat.pushWithProducer(producer);
      chat[end]();
      chat.close();
      return new WeakRef(chat);
    });
    for (let round = 0; round < 10 && refs.some((ref) => ref.deref() !== undefined); round += 1) {
      await turn();
      gc();
    }
    expect(refs.map((ref) => ref.deref() === undefined)).toEqual([true, true]);
    expect(producers.map(({ asked }) => asked)).toEqual([1, 1]);
  });

  it('tells handleError when the promise of its close is rejected', async () => {
    const failure = new Error('not closed');
    const close = (): Promise<void> => Promise.reject(failure);
    const more = (): Promise<string> => new Promise(() => {});
    for (const wrap of [
      (inner: Producer) => inner,
      (inner: Producer) => new CompositeProducer([inner]),
      (inner: Producer) => new HookedProducer(inner, () => {}),
      (inner: Producer) => new GlobbingProducer(inner),
      (inner: Producer) => new ChunkedProducer(inner),
      (inner: Producer) => new CompressedProducer(inner),
    ]) {
      const { chat } = talk();
      chat.pushWithProducer(wrap({ more, close: close as () => void }));
      chat.close();
      expect(chat.pushWithProducer(wrap({ more, close: close as () => void }))).toBe(false);
      await turn();
      expect(chat.errors).toEqual([failure, failure]);
    }
  });
});

describe('Around a producer that promises its pieces', () => {
  /** All that a producer yields, with each piece in brackets. */
  async function pieces(producer: Producer): Promise<string> {
    let all = '';
    for (let count = 0; count < 100; count += 1) {
      const piece = (await producer.more()) ?? '';
      if (piece.length === 0) return all;
      all += `[${Buffer.from(piece as Uint8Array).toString('latin1')}]`;
    }
    throw new Error('never exhausted');
  }

  const late = (): Producer => {
    const left = ['a', 'b'];
    return { more: async () => left.shift() };
  };

  it('CompositeProducer goes on with the next source', async () => {
    expect(await pieces(new CompositeProducer([late(), '-', late(), late(), '.']))).toBe(
      '[a][b][-][a][b][a][b][.]',
    );
  });

  it('HookedProducer counts, and calls its hook at the end', async () => {
    const hook = jest.fn();
    expect(await pieces(new HookedProducer(late(), hook))).toBe('[a][b]');
    expect(hook.mock.calls).toEqual([[2]]);
  });

  it('HookedProducer does not call its hook when it is closed meanwhile', async () => {
    const hook = jest.fn();
    const inner = new Promising();
    const producer = new HookedProducer(inner, hook);
    const more = producer.more();
    void producer.close();
    inner.yields(null);
    await more;
    expect([hook.mock.calls, inner.closed]).toEqual([[], 1]);
  });

  it('ChunkedProducer frames, and ends with the last chunk', async () => {
    expect(await pieces(new ChunkedProducer(late()))).toBe('[1\r\na\r\n][1\r\nb\r\n][0\r\n\r\n]');
  });

  it('GlobbingProducer joins what is there, and waits only for the first piece', async () => {
    const left = [Promise.resolve('a'), 'b', 'c', Promise.resolve('d'), 'e', null];
    const producer = new GlobbingProducer({ more: () => left.shift() as string });
    expect(await pieces(producer)).toBe('[abc][de]');
  });

  it('GlobbingProducer throws what a promise was rejected with, when it is asked for it', async () => {
    const left = ['a', Promise.reject(new Error('late')), 'b', null];
    const producer = new GlobbingProducer({ more: () => left.shift() as string });
    expect(String(await producer.more())).toBe('a');
    await turn();
    await expect(producer.more()).rejects.toThrow('late');
    expect(await pieces(producer)).toBe('[b]');
  });

  it('CompressedProducer compresses piece by piece', async () => {
    const chunks: Buffer[] = [];
    const producer = new CompressedProducer(late());
    for (let piece = await producer.more(); piece.length > 0; piece = await producer.more()) {
      chunks.push(Buffer.from(piece));
    }
    expect(chunks.length).toBe(3);
    expect(String(gunzipSync(Buffer.concat(chunks)))).toBe('ab');
  });

  it('CompressedProducer yields nothing when it is closed meanwhile', async () => {
    const inner = new Promising();
    const producer = new CompressedProducer(inner);
    const more = producer.more();
    void producer.close();
    inner.yields('a');
    expect(await more).toHaveLength(0);
    expect(producer.more()).toHaveLength(0);
  });

  it.each<[string, (inner: Producer) => Producer]>([
    ['CompositeProducer', (inner) => new CompositeProducer([inner])],
    ['HookedProducer', (inner) => new HookedProducer(inner, () => {})],
    ['GlobbingProducer', (inner) => new GlobbingProducer(inner)],
    ['ChunkedProducer', (inner) => new ChunkedProducer(inner)],
    ['CompressedProducer', (inner) => new CompressedProducer(inner)],
  ])('%s refuses a promise of what is no data', async (_, wrap) => {
    await expect(wrap({ more: async () => 5 as never }).more()).rejects.toMatchObject({
      code: 'ERR_INVALID_ARG_TYPE',
      message: expect.stringMatching(/^Cannot use what more\(\) returned: .* received 5$/),
    });
  });
});

describe.each(WAYS)('pushFrom (%s)', (_, how) => {
  it('sends a Readable, between what is pushed before and after', async () => {
    const { chat, peer, map } = talk();
    const stream = new PassThrough();
    const heard = listenTo(peer);
    chat.onRecord = () => {
      chat.push('<');
      expect(chat.pushFrom(stream)).toBe(true);
      chat.push('>');
    };
    peer.send(text('go\n'));
    await driveSettling(how, heard.hears('<'), map);
    for (const chunk of ['one ', 'two ']) {
      stream.write(chunk);
      await driveSettling(how, heard.hears(chunk), map);
    }
    stream.end('three');
    await driveSettling(how, heard.hears('>'), map);
    expect(heard.all).toBe('<one two three>');
    expect(chat.producerFifo.isEmpty()).toBe(true);
  });

  it('reads a file to a slow peer, no further ahead than the stream does by itself', async () => {
    const size = 8_000_000;
    const path = temporaryPath('file');
    writeFileSync(path, Buffer.alloc(size, 'f'));
    const { chat, peer, map } = talk();
    const stream = createReadStream(path, { highWaterMark: 16384 });
    chat.pushFrom(stream);
    const flush = outcome(chat.flushed());
    // The peer reads nothing, until nothing moves any more.
    let [before, still] = [-1, 0];
    await driveSettling(
      how,
      () => {
        still = stream.bytesRead === before ? still + 1 : 0;
        before = stream.bytesRead;
        return still > 100;
      },
      map,
    );
    // What the kernel has, what the chat holds, and what the stream reads ahead.
    const kernel = 1_000_000;
    expect(stream.bytesRead).toBeLessThan(kernel);
    expect(chat.writableLength).toBeLessThanOrEqual(2 * 65536);
    expect(flush.now).toBe('pending');
    let heard = 0;
    await driveSettling(
      how,
      () => {
        heard += received(peer).length;
        return heard === size && flush.now !== 'pending';
      },
      map,
    );
    expect(flush.now).toBe('resolved');
  });

  it('tells handleError once of an error of the source, and drops the rest', async () => {
    const { chat, peer, map } = talk();
    const stream = new PassThrough();
    chat.handleError = (error) => void chat.errors.push(error);
    chat.pushFrom(stream);
    chat.push('after');
    stream.write('before ');
    const heard = listenTo(peer);
    await driveSettling(how, heard.hears('before '), map);
    const failure = new Error('disk gone');
    stream.destroy(failure);
    await driveSettling(how, heard.hears('after'), map);
    expect([heard.all, chat.errors]).toEqual(['before after', [failure]]);
  });
});

describe('pushFrom', () => {
  const settle = (map: ChannelMap, done: () => boolean): Promise<void> =>
    driveSettling({ sync: true, usePoll: false }, done, map);

  it.each<[string, () => StreamSource]>([
    ['an array', () => ['a', '', Buffer.from('b'), new Uint8Array(0), 'c']],
    [
      'a generator',
      function* () {
        yield* ['a', '', 'b', 'c'];
      },
    ],
    [
      'an async generator',
      async function* () {
        yield 'a';
        await turn();
        yield '';
        yield new Uint8Array([0x62]);
        yield 'c';
      },
    ],
    ['a Readable of objects', () => Readable.from(['a', '', Buffer.from('b'), 'c'])],
    ['a Readable of strings', () => Readable.from(Buffer.from('abc')).setEncoding('utf8')],
    ['promises', () => ['a', Promise.resolve(''), Promise.resolve('b'), 'c']],
    ['a web stream', () => new Blob(['abc']).stream() as unknown as StreamSource],
    ['nothing', () => []],
    ['an empty Readable', () => Readable.from([])],
    [
      'a Readable that has ended',
      () => {
        const stream = new PassThrough();
        stream.end();
        return stream.resume();
      },
    ],
  ])('takes %s', async (name, make) => {
    const { chat, peer, map } = talk();
    const source = make();
    await turn();
    chat.pushFrom(source);
    chat.push('.');
    const heard = listenTo(peer);
    await settle(map, heard.hears('.'));
    expect(heard.all).toBe(/nothing|empty|ended/.test(name) ? '.' : 'abc.');
    expect(chat.errors).toEqual([]);
  });

  it('sends a plain iterable at once, without a loop', () => {
    const { chat, peer } = talk();
    chat.pushFrom(['a', 'b', 'c']);
    expect(received(peer)).toBe('abc');
  });

  it('encodes strings as the chat does', async () => {
    const { chat, peer, map } = talk();
    chat.encoding = 'latin1';
    chat.pushFrom(Readable.from(['\xe9']));
    const heard = listenTo(peer);
    await settle(map, heard.hears('\xe9'));
    chat.pushFrom(Readable.from(['\u{1f600}']));
    await settle(map, () => chat.errors.length > 0);
    expect(chat.errors).toMatchObject([{ code: 'ERR_UNENCODABLE_CHARACTER' }]);
  });

  it.each<[string, unknown, string]>([
    ['text', 'text', "received 'text'; push data with push()"],
    ['bytes', Buffer.from('a'), 'received <Buffer 61>; push data with push()'],
    ['a number', 5, 'received 5'],
    ['null', null, 'received null'],
    ['a promise', Promise.resolve('a'), "received Promise { 'a'"],
    ['a producer', { more: () => 'a' }, 'received { more: [Function: more] }'],
  ])('refuses %s', (_, source, message) => {
    const { chat } = talk();
    expect(() => chat.pushFrom(source as never)).toThrow(
      expect.objectContaining({
        code: 'ERR_INVALID_ARG_TYPE',
        message: expect.stringContaining(
          `Cannot make a producer: expected a Readable or an iterable of data, ${message}`,
        ),
      }),
    );
  });

  it.each<[string, unknown]>([
    ['a number', 5],
    ['an object', { a: 1 }],
    ['null', null],
  ])('refuses %s as a chunk, and closes the source', async (name, chunk) => {
    let returned = 0;
    function* rows() {
      try {
        yield 'a';
        yield chunk as string;
        yield 'b';
      } finally {
        returned += 1;
      }
    }
    const sources: StreamSource[] = [rows()];
    // In a Readable null is the end.
    const stream = Readable.from(name === 'null' ? [5] : ['a', chunk, 'b']);
    sources.push(stream);
    for (const source of sources) {
      const { chat, map } = talk();
      chat.handleError = (error) => void chat.errors.push(error);
      chat.connected = false;
      chat.pushFrom(source);
      chat.connected = true;
      chat.closeWhenDone();
      await settle(map, () => map.size === 0);
      expect(chat.errors).toMatchObject([
        {
          code: 'ERR_INVALID_ARG_TYPE',
          message: expect.stringMatching(
            /^Cannot send what a source yielded: expected a Uint8Array or a string, received /,
          ),
        },
      ]);
    }
    expect([returned, stream.destroyed]).toEqual([1, true]);
  });

  it('has the error of a source wait for its turn, and no other listener', async () => {
    const { chat, peer, map } = talk();
    const stream = new PassThrough();
    const first = new PassThrough();
    chat.pushFrom(first);
    chat.pushFrom(stream);
    stream.destroy(new Error('early'));
    await turn();
    expect(chat.errors).toEqual([]);
    first.end('first');
    await settle(map, () => map.size === 0);
    expect([received(peer), chat.errors]).toEqual(['first', [new Error('early')]]);
  });

  it('tells a stream that is destroyed before its end from one that has ended', async () => {
    const { chat, map } = talk();
    const stream = new PassThrough();
    chat.pushFrom(stream);
    stream.destroy();
    await settle(map, () => map.size === 0);
    expect(chat.errors).toMatchObject([{ code: 'ERR_STREAM_PREMATURE_CLOSE' }]);
  });

  it('destroys its source when the channel closes, or has closed', async () => {
    const { chat, map } = talk();
    const [reading, waiting, late] = [new PassThrough(), new PassThrough(), new PassThrough()];
    chat.pushFrom(reading);
    chat.pushFrom(waiting);
    await turn();
    chat.close();
    expect(chat.pushFrom(late)).toBe(false);
    expect([reading, waiting, late].map((stream) => stream.destroyed)).toEqual([true, true, true]);
    // An error that follows belongs to nobody, and ends nothing.
    reading.emit('error', new Error('late'));
    await turn();
    expect([chat.errors, map.size, reading.listenerCount('readable')]).toEqual([[], 0, 0]);
  });

  it('ends a generator when the channel closes', async () => {
    const events: string[] = [];
    function* rows(name: string) {
      try {
        for (;;) yield name;
      } finally {
        events.push(name);
      }
    }
    async function* slow(name: string) {
      try {
        for (;;) {
          yield name;
          await turn();
        }
      } finally {
        events.push(name);
      }
    }
    const { chat } = talk();
    chat.send = () => 0;
    for (const source of [rows('sync'), slow('async')]) {
      chat.connected = true;
      chat.pushFrom(source);
      await turn();
    }
    chat.close();
    await until(() => events.length === 1);
    // The other was never asked: its body has not begun.
    expect(events).toEqual(['sync']);
    const { chat: other } = talk();
    other.pushFrom(slow('async'));
    await turn();
    other.close();
    await until(() => events.length === 2);
    expect(events).toEqual(['sync', 'async']);
  });

  it('tells handleError of an async generator that fails to end', async () => {
    const failure = new Error('not ended');
    async function* rows() {
      try {
        for (;;) yield 'a'.repeat(1_000_000);
      } finally {
        // biome-ignore lint/correctness/noUnsafeFinally: what is tested here
        throw failure;
      }
    }
    const { chat, map } = talk();
    chat.pushFrom(rows());
    await settle(map, () => chat.writableLength > 0);
    chat.close();
    await until(() => chat.errors.length > 0);
    expect(chat.errors).toEqual([failure]);
  });

  it('ends a generator that closes the channel itself', () => {
    const events: string[] = [];
    const { chat, peer } = talk();
    function* rows() {
      try {
        yield 'a';
        chat.close();
        yield 'b';
      } finally {
        events.push('ended');
      }
    }
    chat.pushFrom(rows());
    expect([events, received(peer), chat.errors]).toEqual([['ended'], 'a', []]);
  });

  it('hands what an override of pushWithProducer takes a StreamProducer', () => {
    const taken: unknown[] = [];
    class Taking extends AsyncChat {
      override collectIncomingData(): void {}
      override foundTerminator(): Handled {}
      override pushWithProducer(producer: Producer | Uint8Array | string): boolean {
        taken.push(producer);
        return false;
      }
    }
    const chat = keep(new Taking(Socket.pair().map(keep)[0] as Socket, newMap()));
    expect(chat.pushFrom(['a'])).toBe(false);
    expect(taken).toEqual([expect.any(StreamProducer)]);
  });

  it('sends a stream compressed and in chunks', async () => {
    const { chat, peer, map } = talk();
    const stream = new PassThrough();
    const body = new ChunkedProducer(new CompressedProducer(new StreamProducer(stream)));
    chat.pushWithProducer(new CompositeProducer(['head:', body, 'end']));
    stream.write('some ');
    await turn();
    stream.end('text');
    const heard = listenTo(peer);
    await drive({ sync: false, usePoll: false }, heard.hears('0\r\n\r\nend'), { map });
    let [data, at] = ['', 'head:'.length];
    for (;;) {
      const end = heard.all.indexOf('\r\n', at);
      const size = Number.parseInt(heard.all.slice(at, end), 16);
      if (size === 0) break;
      data += heard.all.slice(end + 2, end + 2 + size);
      at = end + 2 + size + 2;
    }
    expect(String(gunzipSync(Buffer.from(data, 'latin1')))).toBe('some text');
  });
});

describe('StreamProducer', () => {
  it('is exhausted for ever, closed twice, and yields nothing after', async () => {
    const producer = new StreamProducer(['a']);
    expect([producer.more(), producer.more(), producer.more()]).toEqual(['a', null, null]);
    const stream = new PassThrough();
    const other = new StreamProducer(stream);
    const pending = other.more();
    void other.close();
    void other.close();
    expect(await pending).toBeNull();
    expect(other.more()).toBeNull();
  });

  it('does not read before it is asked', async () => {
    let reads = 0;
    const stream = new Readable({
      read() {
        reads += 1;
        this.push('x');
      },
    });
    const producer = new StreamProducer(stream);
    await turn();
    expect(reads).toBe(0);
    void producer.more();
    expect(reads).toBeGreaterThan(0);
    void producer.close();
  });
});
