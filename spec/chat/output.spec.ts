// What a chat does with its output: what leaves, in which order, in how many sends, and when.

import { spawn } from 'node:child_process';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { inspect } from 'node:util';
import {
  AF_UNIX,
  AsyncChat,
  ChannelMap,
  CompositeProducer,
  Dispatcher,
  ExitNow,
  Fifo,
  type FifoItem,
  findPrefixAtEnd,
  type Handled,
  loop,
  loopSync,
  type Producer,
  poll,
  poll2,
  read,
  SHUT_WR,
  SimpleProducer,
  SO_SNDBUF,
  SOCK_DGRAM,
  SOCK_SEQPACKET,
  SOL_SOCKET,
  Socket,
  SocketError,
  socketMap,
  write,
} from 'asyncore';
import { drive, FAMILIES, localAddress, temporaryPath, WAYS, type Way } from '../support/drive';
import { keep, keepAll } from '../support/keep';
import { TYPESCRIPT } from '../support/program';
import { QuietChat } from '../support/quiet-chat';

/** Writes down `drain`, `close` and `error what`; does as it is told at each line of input. */
class Talker extends AsyncChat {
  readonly events: string[] = [];
  readonly logged: string[] = [];
  onRecord: () => Handled = () => {};
  onDrain: () => Handled = () => {};
  errorsClose = true;

  constructor(socket: Socket | null, map: ChannelMap) {
    super(socket, map);
    this.setTerminator('\n');
  }

  override collectIncomingData(): void {}

  override foundTerminator(): Handled {
    return this.onRecord();
  }

  override handleDrain(): Handled {
    this.events.push('drain');
    return this.onDrain();
  }

  override handleClose(): Handled {
    this.events.push('close');
    return super.handleClose();
  }

  override handleError(error: unknown): Handled {
    this.events.push(`error ${(error as Error).message}`);
    if (this.errorsClose) return this.handleClose();
  }

  override logInfo(message: unknown, type = 'info'): void {
    this.logged.push(`${type}: ${message}`);
  }
}

interface Talk<Chat extends Talker = Talker> {
  chat: Chat;
  theirs: Socket;
  map: ChannelMap;
  /** The sizes that the kernel was given, in the order of the calls. */
  sends: number[];
  /** All that has arrived since the last call. */
  arrived(): string;
  /** Has the chat handle a read event in which it does `what`. */
  during(what: () => Handled): void;
}

/** A chat on a socket of the kernel's, and the socket at the other end. */
function talk<Chat extends Talker = Talker>(
  Class: new (socket: Socket | null, map: ChannelMap) => Chat = Talker as never,
): Talk<Chat> {
  const map = new ChannelMap();
  const [mine, theirs] = Socket.pair();
  const sends: number[] = [];
  const { send } = mine;
  mine.send = (data, flags) => {
    sends.push(data.length);
    return send.call(mine, data, flags);
  };
  const chat = new Class(mine, map);
  keepAll(chat, theirs);
  return {
    chat,
    theirs,
    map,
    sends,
    arrived: () => receive(theirs).toString(),
    during(what) {
      chat.onRecord = what;
      theirs.send(Buffer.from('\n'));
      poll(1000, map);
    },
  };
}

/** As `talk`; the chat is not connected until `connect` is called, so that its output waits. */
function waiting(): Talk & { connect(): void } {
  const it = talk();
  it.chat.connected = false;
  return {
    ...it,
    connect() {
      it.chat.connected = true;
    },
  };
}

/** The next send of a chat takes nothing, as if the kernel were full. */
function refuseOnce(chat: Talker): void {
  chat.send = () => {
    Reflect.deleteProperty(chat, 'send');
    return 0;
  };
}

/** All that a socket has got. */
function receive(socket: Socket): Buffer {
  const pieces: Buffer[] = [];
  for (;;) {
    const piece = socket.recv(65536);
    if (piece === null || piece.length === 0) return Buffer.concat(pieces);
    pieces.push(piece);
  }
}

/** One pass in one of the ways, which waits for 2 s at most. */
async function pass({ sync, usePoll }: Way, map: ChannelMap): Promise<void> {
  const options = { map, usePoll, timeout: 2000, count: 1 };
  if (sync) loopSync(options);
  else await loop(options);
}

/** Has a chat that has lost its connection take a new one. @returns the other end */
function connectAgain(chat: Talker, map: ChannelMap): Socket {
  const [mine, theirs] = Socket.pair();
  keep(theirs);
  chat.setSocket(mine, map);
  chat.connected = true;
  return theirs;
}

/** Whether the peer of a socket has closed; to be asked when all has been received. */
function ended(socket: Socket): boolean {
  return socket.recv(1)?.length === 0;
}

/** Yields its pieces, then nothing. */
function producerOf(...pieces: (Uint8Array | string)[]): Producer {
  return { more: () => pieces.shift() ?? null };
}

/** Bytes that tell where they belong. */
function pattern(length: number): Buffer {
  const data = Buffer.allocUnsafe(length);
  for (let at = 0; at + 4 <= length; at += 4) data.writeUInt32LE((at * 2654435761) >>> 0, at);
  data.fill(7, length - (length % 4));
  return data;
}

const invalidType = expect.objectContaining({ name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' });

describe('AsyncChat.push', () => {
  it.each<[string, Uint8Array | string, string]>([
    ['a string', 'text', 'text'],
    ['a string beyond ASCII', 'é☃', 'é☃'],
    ['a Buffer', Buffer.from('bytes'), 'bytes'],
    ['a Uint8Array', new Uint8Array([0x61, 0x62]), 'ab'],
    ['a view into the middle of one', new Uint8Array([0x2d, 0x61, 0x2d]).subarray(1, 2), 'a'],
  ])('sends %s, at once', (_, data, expected) => {
    const { chat, arrived } = talk();
    expect(chat.push(data)).toBe(true);
    expect(arrived()).toBe(expected);
    expect(chat.writable()).toBe(false);
  });

  it('encodes strings by its encoding', () => {
    const { chat, theirs } = talk();
    chat.encoding = 'latin1';
    chat.push('é');
    expect(receive(theirs)).toEqual(Buffer.from([0xe9]));
  });

  it.each<[string, unknown]>([
    ['a number', 10],
    ['a list of numbers', [10, 20, 30]],
    ['undefined', undefined],
    ['null', null],
    ['an object', {}],
    ['an ArrayBuffer', new ArrayBuffer(2)],
    ['a Uint16Array', new Uint16Array(2)],
    ['a DataView', new DataView(new ArrayBuffer(2))],
    ['a producer', new SimpleProducer('abc')],
  ])('refuses %s', (_, wrong) => {
    const { chat, sends } = talk();
    expect(() => chat.push(wrong as string)).toThrow(invalidType);
    expect(() => chat.push(wrong as string)).toThrow(/^Cannot push: expected /);
    expect(sends).toEqual([]);
    expect(chat.writable()).toBe(false);
  });

  it('refuses strings when useEncoding is false', () => {
    const { chat, arrived } = talk();
    chat.useEncoding = false;
    expect(() => chat.push('text')).toThrow(invalidType);
    expect(() => chat.pushWithProducer('text')).toThrow(invalidType);
    chat.push(Buffer.from('bytes'));
    expect(arrived()).toBe('bytes');
  });

  it('sends nothing for text that makes no bytes in the encoding of the chat', () => {
    const { chat, arrived, sends } = talk();
    chat.encoding = 'base64';
    expect(chat.push('\n')).toBe(true);
    expect(chat.writableLength).toBe(0);
    expect(chat.writable()).toBe(false);
    chat.push('QQ==\n');
    expect(arrived()).toBe('A');
    expect(sends).toEqual([1]);
  });

  it('sends nothing for empty data, and it takes nobody’s turn', () => {
    const { chat, sends } = talk();
    for (const nothing of ['', Buffer.alloc(0), new Uint8Array(0)]) {
      expect(chat.push(nothing)).toBe(true);
    }
    expect(sends).toEqual([]);
    expect(chat.producerFifo.isEmpty()).toBe(true);
    expect(chat.writable()).toBe(false);
  });

  it('cuts long data into pieces of acOutBufferSize, without copying it', () => {
    const { chat } = waiting();
    expect(chat.acOutBufferSize).toBe(65536);
    chat.acOutBufferSize = 4;
    const data = Buffer.from('0123456789');
    chat.push('abcd');
    chat.push(data);
    const items = [...chat.producerFifo] as Buffer[];
    expect(items.map(String)).toEqual(['abcd', '0123', '4567', '89']);
    expect(items[3]?.buffer).toBe(data.buffer);
  });

  it('sends long data in pieces of acOutBufferSize at most', () => {
    const { chat, sends, arrived } = talk();
    chat.acOutBufferSize = 4;
    chat.push('0123456789');
    expect(arrived()).toBe('0123456789');
    expect(sends).toEqual([4, 4, 2]);
  });

  it.each([0, -1, Number.NaN])('cannot work with an acOutBufferSize of %p', (size) => {
    const { chat } = talk();
    chat.acOutBufferSize = size;
    expect(() => chat.push('abc')).toThrow(RangeError);
  });

  it('sends nothing and keeps everything while there is no connection', () => {
    const { chat, map, sends, arrived, connect } = waiting();
    const producer = { more: jest.fn(() => null) };
    chat.push('a');
    chat.push('b');
    chat.pushWithProducer(producer);
    poll(0, map);
    chat.initiateSend();
    write(chat);
    expect(sends).toEqual([]);
    expect(producer.more).not.toHaveBeenCalled();
    expect(chat.writableLength).toBe(2);
    connect();
    poll(1000, map);
    expect(arrived()).toBe('ab');
    expect(producer.more).toHaveBeenCalledTimes(1);
    expect(chat.writable()).toBe(false);
  });

  describe.each(FAMILIES)('before and while connecting, %s', (_, family) => {
    it.each(WAYS)('is sent when the connection stands, in order: %s', async (__, way) => {
      const map = new ChannelMap();
      const listener = Socket.socket(family);
      keep(listener);
      listener.bind(localAddress(family));
      listener.listen();
      const chat = new Talker(null, map);
      keep(chat);
      chat.handleConnect = () => {
        chat.push('3');
      };
      chat.push('1');
      chat.createSocket(family);
      chat.pushWithProducer(producerOf('2'));
      chat.connect(listener.getSockName());
      let accepted: Socket | undefined;
      let data = '';
      await drive(
        way,
        () => {
          accepted ??= listener.accept()?.socket;
          if (accepted !== undefined) data += receive(accepted);
          return data.length >= 3;
        },
        { map },
      );
      expect(data).toBe('123');
      accepted?.close();
    });
  });
});

describe('AsyncChat.pushWithProducer', () => {
  it.each<[string, (Uint8Array | string | null | undefined)[], string]>([
    ['strings', ['ab', 'é', null], 'abé'],
    ['bytes', [Buffer.from('ab'), new Uint8Array([0x63]), null], 'abc'],
    ['both', ['a', Buffer.from('b'), null], 'ab'],
    ['nothing, then the end by null', [null, 'never'], ''],
    ['the end by undefined', ['a', undefined, 'never'], 'a'],
    ["the end by ''", ['a', '', 'never'], 'a'],
    ['the end by empty bytes', ['a', new Uint8Array(0), 'never'], 'a'],
  ])('sends what more() yields: %s', (_, answers, expected) => {
    const { chat, map, arrived } = talk();
    expect(chat.pushWithProducer({ more: () => answers.shift() })).toBe(true);
    while (chat.writable()) poll(1000, map);
    expect(arrived()).toBe(expected);
  });

  it('takes a SimpleProducer', () => {
    const { chat, map, arrived } = talk();
    chat.pushWithProducer(new SimpleProducer('hello world', 3));
    while (chat.writable()) poll(1000, map);
    expect(arrived()).toBe('hello world');
  });

  it.each<[string, Uint8Array | string]>([
    ['a string', 'data'],
    ['a Buffer', Buffer.from('data')],
    ['a Uint8Array', new Uint8Array(Buffer.from('data'))],
  ])('takes data as well: %s', (_, data) => {
    const { chat, arrived } = talk();
    chat.pushWithProducer(data);
    expect(arrived()).toBe('data');
  });

  it.each<[string, unknown]>([
    ['null', null],
    ['undefined', undefined],
    ['a number', 7],
    ['an object without more()', {}],
    ['one whose more is no function', { more: 'data' }],
    ['a function', () => 'data'],
  ])('refuses %s', (_, wrong) => {
    const { chat } = talk();
    expect(() => chat.pushWithProducer(wrong as Producer)).toThrow(invalidType);
    expect(chat.writable()).toBe(false);
  });

  it('keeps the order of producers and data', () => {
    const { chat, map, arrived, connect } = waiting();
    chat.push('1');
    chat.pushWithProducer(producerOf('2', '3'));
    chat.push('4');
    chat.pushWithProducer(producerOf()); // exhausted from the start
    chat.pushWithProducer(producerOf('5'));
    chat.push('6');
    connect();
    while (chat.writable()) poll(1000, map);
    expect(arrived()).toBe('123456');
  });

  it('asks a producer only when all before it is on its way', () => {
    const { chat, theirs, map } = talk();
    const more = jest.fn((): string | null => null);
    const data = pattern(1024 * 1024);
    chat.push(data);
    chat.pushWithProducer({ more });
    expect(more).not.toHaveBeenCalled();
    let total = 0;
    while (chat.writable()) {
      total += receive(theirs).length;
      if (more.mock.calls.length > 0) expect(total).toBeGreaterThan(512 * 1024);
      poll(1000, map);
    }
    expect(total + receive(theirs).length).toBe(data.length);
    expect(more).toHaveBeenCalledTimes(1);
  });

  it('does not ask an endless producer for more than there is room for', () => {
    const { chat } = talk();
    let asked = 0;
    chat.pushWithProducer({
      more() {
        asked += 1;
        return Buffer.alloc(1024);
      },
    });
    expect(chat.writable()).toBe(true);
    expect(asked).toBeLessThan(2048);
  });

  it('is not taken in by a producer that looks empty', () => {
    // Python drops the item after an object whose len() is 0.
    const { chat, map, arrived, connect } = waiting();
    chat.pushWithProducer(Object.assign(producerOf('a'), { length: 0 }));
    chat.pushWithProducer(Object.assign(producerOf(), { length: 0 }));
    chat.push('b');
    connect();
    while (chat.writable()) poll(1000, map);
    expect(arrived()).toBe('ab');
  });

  it('lets a producer push: behind all that waits', () => {
    const { chat, map, arrived, connect } = waiting();
    const pieces = ['1', '2'];
    chat.pushWithProducer({
      more() {
        const piece = pieces.shift();
        if (piece !== undefined) chat.push(`<${piece}>`);
        return piece;
      },
    });
    chat.push('3');
    connect();
    while (chat.writable()) poll(1000, map);
    expect(arrived()).toBe('123<1><2>');
  });

  it('lets a producer push another, and calls for closeWhenDone', () => {
    const { chat, map, arrived, theirs } = talk();
    chat.pushWithProducer({
      more() {
        chat.pushWithProducer(producerOf('a', 'b'));
        chat.closeWhenDone();
        return null;
      },
    });
    while (map.size > 0) poll(1000, map);
    expect(arrived()).toBe('ab');
    expect(ended(theirs)).toBe(true);
  });

  it('lets a producer call initiateSend and refillBuffer, to no effect', () => {
    const { chat, map, arrived } = talk();
    const pieces = ['a', 'b'];
    chat.pushWithProducer({
      more() {
        chat.initiateSend();
        chat.refillBuffer();
        return pieces.shift();
      },
    });
    while (chat.writable()) poll(1000, map);
    expect(arrived()).toBe('ab');
  });

  it('forgets everything when a producer calls discardBuffers, itself included', () => {
    const { chat, map, arrived, connect } = waiting();
    const more = jest.fn(() => {
      chat.discardBuffers();
      return 'never';
    });
    chat.push('a');
    chat.push('b');
    chat.pushWithProducer({ more });
    chat.push('c');
    chat.refillBuffer(); // takes 'a' and 'b', and asks the producer
    expect(more).toHaveBeenCalledTimes(1);
    expect(chat.acOutBuffer).toHaveLength(0);
    expect(chat.writableLength).toBe(0);
    connect();
    expect(chat.writable()).toBe(false);
    chat.push('d');
    poll(0, map);
    expect(arrived()).toBe('d');
  });

  it('sends what came before when a producer closes the channel at its end', () => {
    // A program may do so instead of closeWhenDone: when more() is asked again, asynchat has sent
    // the last piece.
    const { chat, map, arrived, theirs, connect } = waiting();
    const pieces = ['1', '2'];
    chat.push('0');
    chat.pushWithProducer({
      more() {
        const piece = pieces.shift();
        if (piece === undefined) chat.close();
        return piece;
      },
    });
    connect();
    while (map.size > 0) poll(1000, map);
    expect(arrived()).toBe('012');
    expect(ended(theirs)).toBe(true);
    expect(chat.events).toEqual([]);
  });

  it('is over when a producer closes the channel, whatever it returns', () => {
    const { chat, theirs, arrived } = talk();
    chat.pushWithProducer({
      more() {
        chat.close();
        return 'never';
      },
    });
    expect(arrived()).toBe('');
    expect(ended(theirs)).toBe(true);
    expect(chat.events).toEqual([]);
  });
});

describe('AsyncChat, producers that fail', () => {
  const failing = (): Producer => ({
    more() {
      throw new Error('no more');
    },
  });

  it('throws to who pushes outside the loop, as in asynchat', () => {
    const { chat } = talk();
    expect(() => chat.pushWithProducer(failing())).toThrow('no more');
    expect(chat.events).toEqual([]);
  });

  it('ends the channel from within the loop, and what came before is sent', () => {
    // Python asks a producer after all that came before it was sent.
    const { chat, map, arrived, connect } = waiting();
    chat.push('a');
    chat.push('b');
    chat.pushWithProducer(failing());
    connect();
    while (map.size > 0) poll(1000, map);
    expect(chat.events).toEqual(['error no more', 'close']);
    expect(arrived()).toBe('ab');
  });

  it('ends the channel, and what it yielded before is sent', () => {
    const { chat, map, arrived, connect } = waiting();
    const pieces = ['1', '2'];
    chat.pushWithProducer({ more: () => pieces.shift() ?? failing().more() });
    connect();
    while (map.size > 0) poll(1000, map);
    expect(chat.events).toEqual(['error no more', 'close']);
    expect(arrived()).toBe('12');
  });

  it('are told of when they close the channel first, though the kernel takes nothing more', () => {
    const { chat, map, connect } = waiting();
    chat.errorsClose = false;
    const answers = ['1'];
    chat.pushWithProducer({
      more() {
        const answer = answers.shift();
        if (answer !== undefined) return answer;
        chat.send = () => 0;
        chat.close();
        throw new Error('no more');
      },
    });
    connect();
    while (map.size > 0) poll(1000, map);
    expect(chat.events).toEqual(['error no more']);
  });

  it('goes on when it recovers, if handleError does not close', () => {
    const { chat, map, arrived, connect } = waiting();
    chat.errorsClose = false;
    const answers: (string | null | Error)[] = ['1', new Error('wait'), '2', null];
    chat.push('0');
    chat.pushWithProducer({
      more() {
        const answer = answers.shift() as string | null | Error;
        if (answer instanceof Error) throw answer;
        return answer;
      },
    });
    chat.push('3');
    connect();
    for (let count = 0; count < 5; count += 1) poll(0, map);
    expect(arrived()).toBe('0123');
    expect(chat.events).toEqual(['error wait']);
  });

  it.each<[string, unknown]>([
    ['a number', 7],
    ['an array', ['a']],
    ['false', false],
  ])('tells handleError of one that returns %s', (_, garbage) => {
    const { chat, map, connect } = waiting();
    chat.pushWithProducer({ more: () => garbage as string });
    connect();
    poll(1000, map);
    expect(chat.events).toEqual([
      expect.stringMatching(/^error Cannot send what more\(\) returned: expected /),
      'close',
    ]);
  });

  it('refuses a string of more() when useEncoding is false', () => {
    const { chat, map, connect } = waiting();
    chat.useEncoding = false;
    chat.pushWithProducer(producerOf('text'));
    connect();
    poll(1000, map);
    expect(chat.events[0]).toMatch(/^error Cannot send.*useEncoding/);
  });

  it('lets ExitNow through', () => {
    const { chat, map, connect } = waiting();
    chat.pushWithProducer({
      more() {
        throw new ExitNow('enough');
      },
    });
    connect();
    expect(() => poll(1000, map)).toThrow(ExitNow);
    expect(chat.events).toEqual([]);
  });
});

describe('AsyncChat.refillBuffer', () => {
  it('tops acOutBuffer up from the fifo, small items together', () => {
    const { chat } = waiting();
    for (const text of ['a', 'bc', 'd']) chat.push(text);
    chat.pushWithProducer(producerOf('e', 'f'));
    expect(chat.acOutBuffer).toHaveLength(0);
    chat.refillBuffer();
    expect(chat.acOutBuffer.toString()).toBe('abcdef');
    expect(chat.producerFifo.isEmpty()).toBe(true);
    chat.push('g');
    chat.refillBuffer(); // beside what is there
    expect(chat.acOutBuffer.toString()).toBe('abcdefg');
    chat.refillBuffer(); // from nothing
    expect(chat.acOutBuffer.toString()).toBe('abcdefg');
    expect(chat.writableLength).toBe(7);
  });

  it('stops at acOutBufferSize', () => {
    const { chat } = waiting();
    chat.acOutBufferSize = 5;
    for (const text of ['ab', 'cd', 'ef']) chat.push(text);
    chat.refillBuffer();
    expect(chat.acOutBuffer.toString()).toBe('abcd');
    expect([...chat.producerFifo].map(String)).toEqual(['ef']);
    chat.refillBuffer(); // there is no room
    expect(chat.acOutBuffer.toString()).toBe('abcd');
  });

  it('drops what is empty and who is exhausted', () => {
    const { chat } = waiting();
    chat.producerFifo.push(Buffer.alloc(0));
    chat.producerFifo.push(producerOf());
    chat.producerFifo.push(Buffer.from('a'));
    chat.producerFifo.push(Buffer.alloc(0));
    chat.refillBuffer();
    expect(chat.acOutBuffer.toString()).toBe('a');
    expect(chat.producerFifo.isEmpty()).toBe(true);
  });

  it('closes the channel when null comes up and nothing is left to be sent', () => {
    const { chat, theirs } = talk();
    chat.closeWhenDone();
    chat.refillBuffer();
    expect(chat.events).toEqual(['close']);
    expect(ended(theirs)).toBe(true);
  });

  it('does not close the channel while something is left to be sent', () => {
    const { chat, connect } = waiting();
    chat.push('a');
    chat.closeWhenDone();
    chat.refillBuffer();
    expect(chat.events).toEqual([]);
    expect(chat.acOutBuffer.toString()).toBe('a');
    connect();
    chat.initiateSend();
    expect(chat.events).toEqual(['close']);
  });

  it('keeps what came before a producer that throws', () => {
    const { chat } = waiting();
    chat.push('a');
    chat.push('b');
    chat.pushWithProducer({
      more() {
        throw new Error('no more');
      },
    });
    const refill = (): void => chat.refillBuffer();
    try {
      refill(); // may tell of it now, or when the rest has been sent
    } catch {}
    expect(chat.acOutBuffer.toString()).toBe('ab');
    chat.acOutBuffer = Buffer.alloc(0);
    expect(refill).toThrow('no more');
  });
});

describe('AsyncChat.acOutBuffer', () => {
  it('may be set, and is sent before the fifo', () => {
    const { chat, map, arrived, connect } = waiting();
    chat.push('b');
    chat.acOutBuffer = new Uint8Array([0x61]);
    expect(Buffer.isBuffer(chat.acOutBuffer)).toBe(true);
    expect(chat.writableLength).toBe(2);
    connect();
    poll(1000, map);
    expect(arrived()).toBe('ab');
  });

  it('makes the channel writable when it is set', () => {
    const { chat, map, arrived } = talk();
    poll(0, map);
    chat.acOutBuffer = Buffer.from('a');
    expect(chat.writable()).toBe(true);
    poll(1000, map);
    expect(arrived()).toBe('a');
    expect(chat.writable()).toBe(false);
  });

  it('may be emptied', () => {
    const { chat } = waiting();
    chat.acOutBuffer = Buffer.from('a');
    chat.acOutBuffer = Buffer.alloc(0);
    expect(chat.writableLength).toBe(0);
  });

  it.each([
    ['a string', 'a'],
    ['null', null],
    ['a number', 1],
  ])('refuses %s', (_, wrong) => {
    const { chat } = talk();
    expect(() => {
      chat.acOutBuffer = wrong as unknown as Uint8Array;
    }).toThrow(invalidType);
  });
});

describe('AsyncChat.producerFifo', () => {
  it('may be pushed to directly, which is noticed', () => {
    const { chat, map, arrived, theirs } = talk();
    poll(0, map);
    chat.producerFifo.push(Buffer.from('a'));
    chat.producerFifo.push(producerOf('b'));
    chat.producerFifo.pushFront(Buffer.from('0'));
    expect(chat.writable()).toBe(true);
    poll(1000, map);
    expect(arrived()).toBe('0ab');
    chat.producerFifo.push(null);
    poll(1000, map);
    expect(chat.events).toEqual(['close']);
    expect(ended(theirs)).toBe(true);
  });

  it('may hold strings, which are encoded when their turn comes', () => {
    const { chat, map, theirs } = talk();
    for (const text of ['a', '', 'é']) chat.producerFifo.push(text);
    chat.encoding = 'latin1';
    while (chat.writable()) poll(1000, map);
    expect(receive(theirs)).toEqual(Buffer.from([0x61, 0xe9]));
  });

  it('tells handleError of what is neither data nor a producer', () => {
    const { chat, map } = talk();
    chat.producerFifo.push({} as Producer);
    poll(1000, map);
    expect(chat.events).toEqual([expect.stringMatching(/^error Cannot send: expected /), 'close']);
  });

  it('may be replaced, which is noticed', () => {
    const { chat, map, arrived } = talk();
    poll(0, map);
    const old = chat.producerFifo;
    chat.producerFifo = new Fifo<FifoItem>([Buffer.from('a'), producerOf('b')]);
    expect(chat.writable()).toBe(true);
    poll(1000, map);
    expect(arrived()).toBe('ab');
    chat.producerFifo.push(Buffer.from('c'));
    old.push(Buffer.from('never'));
    poll(1000, map);
    poll(0, map);
    expect(arrived()).toBe('c');
  });

  it('takes what it counted with it when it is replaced or emptied', () => {
    const { chat } = waiting();
    chat.push('abc');
    chat.producerFifo = new Fifo<FifoItem>();
    expect(chat.writableLength).toBe(0);
    chat.push('abc');
    chat.producerFifo.clear();
    expect(chat.writableLength).toBe(0);
    chat.push('abc');
    chat.producerFifo.pop();
    expect(chat.writableLength).toBe(0);
  });

  it('announces the drain after it was emptied by hand', () => {
    const { chat, connect } = waiting();
    chat.highWaterMark = 2;
    expect(chat.push('abc')).toBe(false);
    chat.producerFifo.clear();
    connect();
    expect(chat.push('ab')).toBe(true);
    expect(chat.events).toEqual(['drain']);
  });

  it.each([
    ['an array', []],
    ['null', null],
  ])('refuses %s', (_, wrong) => {
    const { chat } = talk();
    expect(() => {
      chat.producerFifo = wrong as unknown as Fifo<FifoItem>;
    }).toThrow(invalidType);
  });
});

describe('AsyncChat, a fifo that two chats share', () => {
  it('wakes both, and each item goes to one of them', () => {
    const map = new ChannelMap();
    const fifo = new Fifo<FifoItem>();
    const pairs = [Socket.pair(), Socket.pair()];
    const chats = pairs.map(([mine]) => new Talker(mine, map));
    for (const chat of chats) chat.producerFifo = fifo;
    keepAll(...chats, ...pairs.map(([, theirs]) => theirs));
    poll(0, map);
    expect(chats.map((chat) => chat.writable())).toEqual([false, false]);
    fifo.push(Buffer.from('a'));
    expect(chats.map((chat) => chat.writable())).toEqual([true, true]);
    for (const text of ['a', 'b']) {
      if (fifo.isEmpty()) fifo.push(Buffer.from(text));
      poll(1000, map);
    }
    const arrived = pairs.map(([, theirs]) => receive(theirs).toString()).join('');
    expect([...arrived].sort().join('')).toBe('ab');
    poll(0, map);
    expect(chats.map((chat) => chat.writable())).toEqual([false, false]);
  });

  it('is left by a chat that is given another one', () => {
    const { chat } = talk();
    const other = talk().chat;
    const shared = chat.producerFifo;
    other.producerFifo = shared;
    chat.producerFifo = new Fifo();
    shared.push(Buffer.from('x'));
    expect([chat.writable(), other.writable()]).toEqual([false, true]);
  });
});

describe('AsyncChat.writableLength', () => {
  it('counts strings on the fifo in the encoding of the chat', () => {
    const { chat } = waiting();
    chat.encoding = 'latin1';
    chat.producerFifo.push('éé');
    expect(chat.writableLength).toBe(2);
    chat.encoding = 'utf8';
    expect(chat.writableLength).toBe(4);
  });
});

describe('AsyncChat, many small items', () => {
  it('leave in few sends', () => {
    const { chat, map, sends, arrived, connect } = waiting();
    let expected = '';
    for (let count = 0; count < 1000; count += 1) {
      chat.push(`line ${count}\n`);
      expected += `line ${count}\n`;
    }
    connect();
    while (chat.writable()) poll(1000, map);
    expect(arrived()).toBe(expected);
    expect(sends).toEqual([expected.length]);
  });

  it('leave in few sends when they come from producers', () => {
    const { chat, map, sends, arrived } = talk();
    let left = 1000;
    chat.pushWithProducer({
      more() {
        left -= 1;
        return left < 0 ? null : '0123456789';
      },
    });
    while (chat.writable()) poll(1000, map);
    expect(arrived()).toBe('0123456789'.repeat(1000));
    expect(sends).toEqual([10_000]);
  });

  it('fill acOutBufferSize, and no more', () => {
    const { chat, map, sends, arrived, connect } = waiting();
    chat.acOutBufferSize = 10;
    for (let count = 0; count < 10; count += 1) chat.push('abc');
    connect();
    while (chat.writable()) poll(1000, map);
    expect(arrived()).toBe('abc'.repeat(10));
    expect(sends).toEqual([9, 9, 9, 3]);
  });
});

describe('AsyncChat, pushes in one read event', () => {
  it('leave in one send, in order', () => {
    const { chat, sends, arrived, during } = talk();
    during(() => {
      for (const text of ['a', 'b', 'c']) expect(chat.push(text)).toBe(true);
    });
    expect(arrived()).toBe('abc');
    expect(sends).toEqual([3]);
  });

  it('of a burst of records leave in one send', () => {
    const { chat, theirs, map, sends, arrived } = talk();
    let count = 0;
    chat.onRecord = () => {
      count += 1;
      chat.push(`answer ${count}\n`);
    };
    theirs.send(Buffer.from('\n'.repeat(16)));
    poll(1000, map);
    expect(arrived().split('\n')).toHaveLength(17);
    expect(sends).toHaveLength(1);
  });

  it.each<[BufferEncoding, string, string]>([
    ['utf8', 'grüße €𝄞', '6772c3bcc39f6520e282acf09d849e'],
    ['latin1', 'grüße', '6772fcdf65'],
    ['utf16le', 'aü', '6100fc00'],
    ['hex', '00ff0d', '00ff0d'],
    ['base64', 'AP8N', '00ff0d'],
  ])('of text are encoded as %s', (encoding, text, hex) => {
    const { chat, theirs, sends, during } = talk();
    chat.encoding = encoding;
    during(() => {
      chat.push(text);
      chat.push(Buffer.from('!'));
      chat.push('');
    });
    expect(receive(theirs).toString('hex')).toBe(`${hex}21`);
    expect(sends).toHaveLength(1);
  });

  it('of text keep to acOutBufferSize, in bytes', () => {
    const { chat, sends, arrived, during } = talk();
    chat.acOutBufferSize = 4;
    during(() => {
      for (const text of ['ü', 'ü', 'a', '€€']) chat.push(text);
    });
    expect(arrived()).toBe('üüa€€');
    for (const size of sends) expect(size).toBeLessThanOrEqual(4);
  });

  it('of text in an encoding that there is not are refused, and the rest is sent', () => {
    const { chat, arrived, during } = talk();
    during(() => {
      chat.push('a');
      chat.encoding = 'rot13' as BufferEncoding;
      expect(() => chat.push('b')).toThrow(/Unknown encoding: rot13/);
    });
    expect(arrived()).toBe('a');
  });

  it('are kept when the kernel takes a part of them', () => {
    // A Socket as it is, whose gathered output is sent from where it stands.
    const map = new ChannelMap();
    const [mine, theirs] = Socket.pair();
    mine.setSockOpt(SOL_SOCKET, SO_SNDBUF, 4608);
    const chat = new Talker(mine, map);
    keepAll(chat, theirs);
    const all = pattern(60_000);
    chat.onRecord = () => {
      for (let at = 0; at < all.length; at += 1000) chat.push(all.subarray(at, at + 1000));
    };
    theirs.send(Buffer.from('\n'));
    poll(1000, map);
    expect(chat.writableLength).toBeGreaterThan(0);
    const got: Buffer[] = [];
    for (let pass = 0; pass < 1000 && chat.writableLength > 0; pass += 1) {
      got.push(receive(theirs));
      poll(0, map);
    }
    got.push(receive(theirs));
    expect(Buffer.concat(got).equals(all)).toBe(true);
  });

  it('leave in one send under an overridden send, too', () => {
    class Counting extends Talker {
      readonly seen: string[] = [];
      override send(data: Uint8Array): number {
        this.seen.push(Buffer.from(data).toString());
        return super.send(data);
      }
    }
    const { chat, arrived, during } = talk(Counting);
    during(() => {
      chat.push('a');
      chat.push('b');
    });
    expect(chat.seen).toEqual(['ab']);
    expect(arrived()).toBe('ab');
  });

  it('leave when the event ends, not at the next tick', () => {
    const { chat, theirs, arrived } = talk();
    chat.onRecord = () => {
      chat.push('a');
      expect(arrived()).toBe('');
      expect(chat.writableLength).toBe(1);
    };
    theirs.send(Buffer.from('\n'));
    read(chat);
    expect(arrived()).toBe('a');
    expect(chat.writableLength).toBe(0);
  });

  it.each<[string, (talk: Talk) => void]>([
    ['this.send()', ({ chat }) => chat.send(Buffer.from('!'))],
    ['initiateSend()', ({ chat }) => chat.initiateSend()],
    ['discardBuffers()', ({ chat }) => chat.discardBuffers()],
    ['a push() that fills acOutBufferSize', ({ chat }) => chat.push(Buffer.alloc(65_536, '!'))],
    ['a nested poll()', ({ map }) => poll(0, map)],
    ['a nested poll2()', ({ map }) => poll2(0, map)],
    ['close()', ({ chat }) => chat.close()],
    ['handleClose()', ({ chat }) => chat.handleClose()],
  ])('are sent before %s', (_, act) => {
    const it = talk();
    it.during(() => {
      it.chat.push('a');
      it.chat.push('b');
      act(it);
      expect(it.arrived().slice(0, 3)).toMatch(/^ab!?$/);
    });
    expect(it.chat.events.filter((event) => event !== 'close')).toEqual([]);
  });

  it('are sent before the socket is replaced', () => {
    const { chat, theirs, during } = talk();
    during(() => {
      chat.push('a');
      const { socket } = chat;
      chat.push('b');
      chat.socket = socket;
      expect(receive(theirs).toString()).toBe('ab');
    });
  });

  it.each(WAYS)(
    'go to the socket that they were for, when setSocket follows: %s',
    async (_, way) => {
      const { chat, theirs, map, arrived } = talk();
      const [next, atNext] = Socket.pair();
      keepAll(chat.socket as Socket, next, atNext);
      chat.onRecord = () => {
        chat.push('for the old one');
        chat.setSocket(next, map);
      };
      theirs.send(Buffer.from('\n'));
      await pass(way, map);
      expect(arrived()).toBe('for the old one');
      expect(receive(atNext).toString()).toBe('');
    },
  );

  it.each<[string, (chat: Talker) => unknown]>([
    ['fileno()', (chat) => expect(chat.fileno()).toBeGreaterThan(0)],
    ['socket', (chat) => expect(chat.socket).not.toBeNull()],
    ['acOutBuffer', (chat) => expect(chat.acOutBuffer).toHaveLength(0)],
    ['producerFifo', (chat) => expect(chat.producerFifo.isEmpty()).toBe(true)],
    ['writableLength', (chat) => expect(chat.writableLength).toBe(1)],
    ['terminator', (chat) => expect(chat.terminator).toEqual(Buffer.from('\n'))],
    ['toString()', (chat) => expect(String(chat)).toMatch(/^<Talker connected/)],
    ['util.inspect()', (chat) => expect(inspect(chat)).toMatch(/^<Talker connected/)],
  ])('are not sent by a look at %s', (_, look) => {
    const { chat, arrived, during, sends } = talk();
    during(() => {
      chat.push('a');
      look(chat);
      expect(sends).toEqual([]);
    });
    expect(chat.events).toEqual([]);
    expect(arrived()).toBe('a');
  });

  it('keep their order before a producer and before long data', () => {
    const { chat, arrived, during } = talk();
    during(() => {
      chat.push('a');
      chat.pushWithProducer(producerOf('b', 'c'));
      chat.push(Buffer.alloc(20_000, 'd'));
      chat.push('e');
    });
    expect(arrived()).toBe(`abc${'d'.repeat(20_000)}e`);
    expect(chat.events).toEqual([]);
  });

  it('are sent before acOutBuffer and producerFifo are set', () => {
    const { chat, map, arrived, during } = talk();
    during(() => {
      chat.push('a');
      chat.acOutBuffer = Buffer.from('b');
    });
    during(() => {
      chat.push('c');
      chat.producerFifo = new Fifo<FifoItem>([Buffer.from('d')]);
    });
    poll(0, map);
    expect(arrived()).toBe('abcd');
  });

  it('are sent before closeWhenDone closes', () => {
    const { chat, theirs, map, arrived, during } = talk();
    during(() => {
      chat.push('a');
      chat.push('b');
      chat.closeWhenDone();
      expect(chat.push('c')).toBe(false);
    });
    while (map.size > 0) poll(1000, map);
    expect(arrived()).toBe('ab');
    expect(ended(theirs)).toBe(true);
    expect(chat.events).toEqual(['close']);
  });

  it('are sent before an exception of the handler closes', () => {
    const { chat, theirs, arrived, during } = talk();
    during(() => {
      chat.push('sorry');
      throw new Error('no');
    });
    expect(chat.events).toEqual(['error no', 'close']);
    expect(arrived()).toBe('sorry');
    expect(ended(theirs)).toBe(true);
  });

  it('are sent before ExitNow leaves the loop', () => {
    const { chat, arrived, during } = talk();
    expect(() =>
      during(() => {
        chat.push('bye');
        throw new ExitNow();
      }),
    ).toThrow(ExitNow);
    expect(arrived()).toBe('bye');
  });

  describe.each(WAYS)(
    'that find the peer gone, with a handleClose that throws ExitNow: %s',
    (_, way) => {
      /** A chat that has left the loop at the end of a read event, and is closed. */
      async function left(): Promise<Talk> {
        const it = talk();
        const exit = new ExitNow('the server is gone');
        it.chat.onRecord = () => {
          it.chat.push('answer\n');
        };
        it.chat.handleClose = () => {
          it.chat.close();
          throw exit;
        };
        it.theirs.send(Buffer.from('\n'));
        it.theirs.close();
        await expect(pass(way, it.map)).rejects.toBe(exit);
        expect(it.map.size).toBe(0);
        return it;
      }

      it('leave others theirs: the answers to one read go in one send', async () => {
        await left();
        const other = talk();
        other.chat.onRecord = () => {
          other.chat.push('x');
        };
        other.theirs.send(Buffer.from('\n'.repeat(16)));
        await pass(way, other.map);
        expect(other.arrived()).toBe('x'.repeat(16));
        expect(other.sends).toEqual([16]);
      });

      it('stay, as in Python: the same object sends them when it connects again', async () => {
        const { chat, map } = await left();
        const theirs = connectAgain(chat, map);
        theirs.send(Buffer.from('\n\n'));
        await pass(way, map);
        expect(receive(theirs).toString()).toBe('answer\nanswer\nanswer\n');
        expect(chat.writableLength).toBe(0);
      });
    },
  );

  it('are sent before the peer’s end closes the channel', () => {
    const { chat, theirs, map, arrived } = talk();
    chat.allowHalfOpen = false;
    chat.onRecord = () => {
      chat.push('answer');
    };
    theirs.send(Buffer.from('question\n'));
    theirs.shutdown(SHUT_WR);
    while (map.size > 0) poll(1000, map);
    expect(arrived()).toBe('answer');
  });

  it('reach a peer for whose reply the handler polls', () => {
    const { chat, theirs, map } = talk();
    const peer = new Talker(theirs, map);
    keep(peer);
    peer.onRecord = () => {
      peer.push('pong\n');
    };
    const seen: string[] = [];
    // Their newline opens the event; the reply comes within it.
    peer.push('\n');
    chat.onRecord = () => {
      chat.onRecord = () => {
        seen.push('pong');
      };
      chat.push('ping\n');
      for (let count = 0; count < 5 && seen.length === 0; count += 1) poll(100, map);
      seen.push('back');
      chat.push('again'); // pushes go on to be sent after a nested event of the same chat
    };
    poll(1000, map);
    expect(seen).toEqual(['pong', 'back']);
    peer.setTerminator(null);
    const collected: string[] = [];
    peer.collectIncomingData = (...pieces: Buffer[]) => {
      collected.push(...pieces.map(String));
    };
    poll(1000, map);
    expect(collected.join('')).toBe('again');
  });

  it('of two chats, one inside the other’s, all leave', () => {
    const map = new ChannelMap();
    const [a, aPeer] = Socket.pair();
    const [b, bPeer] = Socket.pair();
    const [outer, inner] = [new Talker(a, map), new Talker(b, map)];
    keepAll(outer, inner, aPeer, bPeer);
    outer.onRecord = () => {
      outer.push('1');
      bPeer.send(Buffer.from('\n'));
      poll(1000, map);
      outer.push('2');
    };
    inner.onRecord = () => {
      inner.push('3');
      outer.push('+');
      inner.push('4');
    };
    aPeer.send(Buffer.from('\n'));
    poll(1000, map);
    expect(receive(aPeer).toString()).toBe('1+2');
    expect(receive(bPeer).toString()).toBe('34');
  });

  it('of one chat from another’s event are sent at once', () => {
    const { chat, map, during } = talk();
    const [b, bPeer] = Socket.pair();
    const other = new Talker(b, map);
    keepAll(other, bPeer);
    during(() => {
      chat.push('a');
      other.push('b');
      expect(receive(bPeer).toString()).toBe('b');
    });
  });

  it('after an await are sent at once', async () => {
    const { chat, arrived, during } = talk();
    let late = '';
    during(async () => {
      chat.push('a');
      await null;
      arrived();
      chat.push('b');
      late = arrived();
    });
    await new Promise(setImmediate);
    expect(late).toBe('b');
  });

  it('send data as it was when it was pushed', () => {
    const { chat, arrived, during } = talk();
    const buffer = Buffer.from('a');
    during(() => {
      chat.push(buffer);
      buffer[0] = 0x62;
      chat.push(buffer);
      buffer[0] = 0x63;
    });
    expect(arrived()).toBe('ab');
  });

  it('are sent before the process exits', async () => {
    const path = temporaryPath();
    const script = `
      const { AsyncChat, AF_UNIX, loop } = require('./lib/index.ts');
      class Leaver extends AsyncChat {
        collectIncomingData() {}
        foundTerminator() {
          this.push('good');
          this.push('bye');
          process.exit(0);
        }
        handleConnect() {}
      }
      const chat = new Leaver();
      chat.setTerminator('\\n');
      chat.createSocket(AF_UNIX);
      chat.connect({ path: process.env.SOCKET_PATH });
      void loop({ timeout: 1000 });
    `;
    const data = await new Promise<string>((resolve, reject) => {
      const server = createServer((connection) => {
        let text = '';
        connection.on('data', (piece) => {
          text += piece;
        });
        connection.on('end', () => server.close(() => resolve(text)));
        connection.write('leave\n');
      });
      server.listen(path, () => {
        const child = spawn(process.execPath, [...TYPESCRIPT, '-e', script], {
          cwd: join(__dirname, '..', '..'),
          env: { ...process.env, SOCKET_PATH: path },
          stdio: 'inherit',
          timeout: 8000,
        });
        child.on('error', reject);
        child.on('exit', (code) => {
          if (code === 0) return;
          server.close();
          reject(new Error(`exit code ${code}`));
        });
      });
    });
    expect(data).toBe('goodbye');
  });

  it('overtake nothing: pieces too large or too many to be held back keep their place', () => {
    const { chat, theirs, map, during } = talk();
    const pushed: Buffer[] = [];
    const push = (length: number): void => {
      const data = Buffer.alloc(length, pushed.length + 1);
      pushed.push(data);
      chat.push(data);
    };
    during(() => {
      for (const length of [5, 16_384, 16_385, 3]) push(length); // the third is too large
      for (let count = 0; count < 12; count += 1) push(9000); // together they are too many
      push(7);
    });
    const got = [receive(theirs)];
    while (chat.writable()) {
      poll(1000, map);
      got.push(receive(theirs));
    }
    expect(Buffer.concat(got).equals(Buffer.concat(pushed))).toBe(true);
  });

  it('keep their place behind what waits already', () => {
    const { chat, theirs, map, during } = talk();
    const first = pattern(2 * 1024 * 1024);
    chat.push(first);
    during(() => {
      chat.push('behind');
    });
    const got = [receive(theirs)];
    while (chat.writable()) {
      poll(1000, map);
      got.push(receive(theirs));
    }
    expect(Buffer.concat(got).equals(Buffer.concat([first, Buffer.from('behind')]))).toBe(true);
  });

  it('stay in order when the kernel takes only a part of them', () => {
    const { chat, theirs, map, during } = talk();
    const data = pattern(40_000);
    const socket = chat.socket as Socket;
    socket.setSockOpt(SOL_SOCKET, SO_SNDBUF, 4096);
    // The kernel's own send, not one that counts: it is given memory that will be used again.
    socket.send = Socket.prototype.send;
    during(() => {
      for (let at = 0; at < data.length; at += 1000) chat.push(data.subarray(at, at + 1000));
    });
    expect(chat.writable()).toBe(true);
    const got = [receive(theirs)];
    while (chat.writable()) {
      poll(1000, map);
      got.push(receive(theirs));
    }
    expect(Buffer.concat(got).equals(data)).toBe(true);
  });

  it('are sent at once beyond highWaterMark, so that push says what the kernel has not taken', () => {
    const { chat, arrived, during, sends } = talk();
    chat.highWaterMark = 2;
    during(() => {
      expect(chat.push('ab')).toBe(true);
      expect(sends).toEqual([]);
      expect(chat.push('c')).toBe(true);
      expect(sends).toEqual([2, 1]);
    });
    expect(arrived()).toBe('abc');
    expect(chat.events).toEqual([]);
  });

  it('are announced when they have gone, if the kernel did not take them at once', () => {
    const { chat, arrived, during, map } = talk();
    chat.highWaterMark = 2;
    refuseOnce(chat);
    during(() => {
      expect(chat.push('abc')).toBe(false);
      expect(chat.events).toEqual([]);
    });
    poll(1000, map);
    expect(arrived()).toBe('abc');
    expect(chat.events).toEqual(['drain']);
  });

  it('go to handleClose once when the peer is gone', () => {
    const { chat, theirs, map } = talk();
    theirs.send(Buffer.from('\n'));
    theirs.close();
    chat.onRecord = () => {
      chat.push('a');
      chat.push('b');
    };
    while (map.size > 0) poll(1000, map);
    expect(chat.events).toEqual(['close']);
  });
});

describe.each([
  ['SOCK_DGRAM', SOCK_DGRAM],
  ['SOCK_SEQPACKET', SOCK_SEQPACKET],
])('AsyncChat over %s, whose messages have bounds', (_, type) => {
  function messenger(): { chat: Talker; theirs: Socket; map: ChannelMap; messages(): string[] } {
    const map = new ChannelMap();
    const [mine, theirs] = Socket.pair(AF_UNIX, type);
    const chat = new Talker(mine, map);
    keepAll(chat, theirs);
    const messages = (): string[] => {
      const found: string[] = [];
      for (let data = theirs.recv(65536); data !== null; data = theirs.recv(65536)) {
        found.push(data.toString());
      }
      return found;
    };
    return { chat, theirs, map, messages };
  }

  it.each(WAYS)('sends one for each push in a read event: %s', async (__, way) => {
    const { chat, theirs, map, messages } = messenger();
    chat.onRecord = () => {
      chat.push('one\n');
      chat.push(Buffer.from('two\n'));
    };
    theirs.send(Buffer.from('go\ngo\n'));
    await pass(way, map);
    expect(messages()).toEqual(['one\n', 'two\n', 'one\n', 'two\n']);
  });

  it.each(WAYS)(
    'sends one for each push that has waited, and for each piece: %s',
    async (__, way) => {
      const { chat, map, messages } = messenger();
      chat.connected = false;
      chat.push('one');
      chat.push('two');
      chat.pushWithProducer(producerOf('three', 'four'));
      chat.push('five');
      chat.connected = true;
      await drive(way, () => !chat.writable(), { map });
      expect(messages()).toEqual(['one', 'two', 'three', 'four', 'five']);
    },
  );

  it.each(WAYS)('sends one for each push while the kernel is full: %s', async (__, way) => {
    const { chat, map, messages } = messenger();
    const sent = Array.from({ length: 500 }, (___, at) => `${at} ${'x'.repeat(1000)}`);
    for (const message of sent) chat.push(message);
    expect(chat.writable()).toBe(true);
    const got: string[] = [];
    await drive(
      way,
      () => {
        got.push(...messages());
        return got.length >= sent.length;
      },
      { map },
    );
    expect(got).toEqual(sent);
  });
});

describe('AsyncChat, a slow reader', () => {
  it.each(WAYS)('gets 8 MiB intact: %s', async (_, way) => {
    const { chat, theirs, map } = talk();
    (chat.socket as Socket).setSockOpt(SOL_SOCKET, SO_SNDBUF, 16384);
    const data = pattern(8 * 1024 * 1024);
    expect(chat.push(data)).toBe(false);
    const got: Buffer[] = [];
    let total = 0;
    await drive(
      way,
      () => {
        for (let count = 0; count < 4; count += 1) {
          const piece = theirs.recv(10_007);
          if (piece === null) break;
          got.push(piece);
          total += piece.length;
        }
        return total === data.length;
      },
      { map, limit: 9000 },
    );
    expect(Buffer.concat(got).equals(data)).toBe(true);
    expect(chat.events).toEqual(['drain']);
    expect(chat.writableLength).toBe(0);
    expect(chat.writable()).toBe(false);
  });

  it.each(WAYS)('may end its own stream first, when allowHalfOpen is set: %s', async (_, way) => {
    const { chat, theirs, map } = talk();
    chat.allowHalfOpen = true;
    const data = pattern(3 * 1024 * 1024);
    chat.onRecord = () => {
      chat.push(data);
      chat.pushWithProducer(producerOf('the', ' end'));
    };
    theirs.send(Buffer.from('all of it, please\n'));
    theirs.shutdown(SHUT_WR);
    const got: Buffer[] = [];
    await drive(
      way,
      () => {
        if (map.size > 0) got.push(receive(theirs));
        return map.size === 0;
      },
      { map },
    );
    got.push(receive(theirs));
    expect(ended(theirs)).toBe(true);
    expect(Buffer.concat(got).equals(Buffer.concat([data, Buffer.from('the end')]))).toBe(true);
    expect(chat.events.filter((event) => event !== 'drain')).toEqual(['close']);
    expect(map.size).toBe(0);
  });

  it('that has ended its own stream is closed at once when nothing waits', () => {
    const { chat, theirs, map } = talk();
    chat.allowHalfOpen = true;
    theirs.shutdown(SHUT_WR);
    poll(1000, map);
    poll(1000, map);
    expect(chat.events).toEqual(['close']);
  });

  it('of one channel leaves the others their turn', () => {
    // A peer that takes all it is given: one write event must end.
    const map = new ChannelMap();
    const [a, aPeer] = Socket.pair();
    const [b, bPeer] = Socket.pair();
    const order: string[] = [];
    const [one, other] = [new Talker(a, map), new Talker(b, map)];
    keepAll(one, other, aPeer, bPeer);
    a.send = (data) => {
      order.push('one');
      return data.length;
    };
    b.send = (data) => {
      order.push('other');
      return data.length;
    };
    let left = 100;
    one.connected = false;
    one.pushWithProducer({
      more() {
        left -= 1;
        return left < 0 ? null : Buffer.alloc(65536);
      },
    });
    other.connected = false;
    other.push('x');
    one.connected = true;
    other.connected = true;
    poll(1000, map);
    expect(order).toContain('other');
    const before = order.indexOf('other');
    expect(before).toBeGreaterThan(1);
    expect(before).toBeLessThanOrEqual(16);
    while (one.writable()) poll(1000, map);
    expect(order.filter((who) => who === 'one')).toHaveLength(100);
  });

  it('of one huge piece from a producer takes no quadratic time', async () => {
    // 64 MiB: Python takes 15 s, as it copies what remains at each send.
    const { chat, theirs, map } = talk();
    const size = 64 * 1024 * 1024;
    chat.pushWithProducer(producerOf(Buffer.alloc(size, 'x')));
    let total = 0;
    await drive(
      { usePoll: false, sync: true },
      () => {
        total += receive(theirs).length;
        return total === size;
      },
      { map, limit: 9000 },
    );
    expect(chat.writable()).toBe(false);
  });

  it('of 200 000 small items takes no quadratic time', async () => {
    const { chat, theirs, map, connect } = waiting();
    for (let count = 0; count < 200_000; count += 1) chat.push('0123456789');
    connect();
    let total = 0;
    await drive(
      { usePoll: false, sync: true },
      () => {
        total += receive(theirs).length;
        return total === 2_000_000;
      },
      { map, limit: 9000 },
    );
    expect(chat.writable()).toBe(false);
  });
});

describe('AsyncChat.highWaterMark', () => {
  it('makes push return false when more waits, and handleDrain follow once', () => {
    const { chat, map, arrived, connect } = waiting();
    expect(chat.highWaterMark).toBe(1024 * 1024);
    chat.highWaterMark = 4;
    expect(chat.push('ab')).toBe(true);
    expect(chat.push('cd')).toBe(true); // as many as allowed
    expect(chat.push('e')).toBe(false);
    expect(chat.push('f')).toBe(false);
    expect(chat.writableLength).toBe(6);
    expect(chat.events).toEqual([]);
    connect();
    poll(1000, map);
    poll(0, map);
    expect(chat.events).toEqual(['drain']);
    expect(chat.writableLength).toBe(0);
    expect(arrived()).toBe('abcdef');
  });

  it('does not announce a drain that nobody waits for', () => {
    const { chat, map, connect } = waiting();
    chat.push('ab');
    connect();
    poll(1000, map);
    chat.push('cd');
    expect(chat.events).toEqual([]);
  });

  it('does not announce a drain before all has gone', () => {
    const { chat, theirs, map } = talk();
    chat.push(pattern(2 * 1024 * 1024));
    let turns = 0;
    while (chat.writable()) {
      expect(chat.events).toEqual([]);
      receive(theirs);
      poll(1000, map);
      turns += 1;
    }
    expect(turns).toBeGreaterThan(1);
    expect(chat.events).toEqual(['drain']);
  });

  it('counts a producer for what it has been asked for, and returns as push does', () => {
    const { chat } = waiting();
    chat.highWaterMark = 2;
    expect(chat.pushWithProducer(producerOf('abc', 'd'))).toBe(true);
    expect(chat.writableLength).toBe(0);
    chat.refillBuffer();
    expect(chat.writableLength).toBe(4);
    expect(chat.pushWithProducer(producerOf('e'))).toBe(false);
  });

  it('waits for producers, too, before the drain', () => {
    const { chat, theirs, map, connect } = waiting();
    chat.highWaterMark = 2;
    const drainedAt: number[] = [];
    let asked = 0;
    expect(chat.push('abc')).toBe(false);
    chat.pushWithProducer({
      more() {
        asked += 1;
        return asked > 3 ? null : Buffer.alloc(65536);
      },
    });
    chat.onDrain = () => {
      drainedAt.push(asked);
    };
    connect();
    for (let count = 0; count < 50 && chat.events.length === 0; count += 1) {
      receive(theirs);
      poll(100, map);
    }
    expect(drainedAt).toEqual([4]);
  });

  it('lets handleDrain push on', () => {
    const { chat, map, arrived, connect } = waiting();
    chat.highWaterMark = 2;
    let left = 3;
    chat.onDrain = () => {
      left -= 1;
      if (left > 0) chat.push('more');
    };
    chat.push('start');
    connect();
    for (let count = 0; count < 10; count += 1) poll(0, map);
    expect(arrived()).toBe('startmore'); // what was sent at once leaves nothing to wait for
    expect(chat.events).toEqual(['drain']);
  });

  it('gives a rejection of handleDrain to handleError', async () => {
    const { chat, map, connect } = waiting();
    chat.highWaterMark = 2;
    chat.onDrain = () => Promise.reject(new Error('later'));
    chat.push('start');
    connect();
    poll(1000, map);
    await new Promise(setImmediate);
    expect(chat.events).toEqual(['drain', 'error later', 'close']);
  });

  it.each<[string, (it: Talk) => void]>([
    ['a push from outside the loop', ({ chat }) => chat.push('!')],
    ['pushWithProducer from outside', ({ chat }) => chat.pushWithProducer(producerOf('!'))],
    ['initiateSend', ({ chat }) => chat.initiateSend()],
    ['a write event', ({ map }) => poll(1000, map)],
  ])('gives what handleDrain throws to handleError, not to its caller: %s', (_, act) => {
    const it = waiting();
    it.chat.highWaterMark = 2;
    it.chat.onDrain = () => {
      throw new Error('a bug');
    };
    expect(it.chat.push('start')).toBe(false);
    it.connect();
    act(it);
    expect(it.arrived()).toMatch(/^start!?$/);
    expect(it.chat.events).toEqual(['drain', 'error a bug', 'close']);
  });

  it('gives a rejection of it to handleError, also when a push from outside drains', async () => {
    const { chat, connect } = waiting();
    chat.highWaterMark = 2;
    chat.onDrain = () => Promise.reject(new Error('later'));
    chat.push('start');
    connect();
    chat.push('!');
    await new Promise(setImmediate);
    expect(chat.events).toEqual(['drain', 'error later', 'close']);
  });

  it.each(WAYS)(
    'goes on when handleDrain throws and handleError does not close: %s',
    async (_, way) => {
      const { chat, theirs, map, arrived } = talk();
      chat.highWaterMark = 2;
      chat.errorsClose = false;
      chat.onRecord = () => {
        chat.push('answer\n');
      };
      chat.onDrain = () => {
        throw new Error('a bug');
      };
      for (let round = 0; round < 3; round += 1) {
        refuseOnce(chat);
        theirs.send(Buffer.from('\n'));
        await pass(way, map);
        await pass(way, map);
        expect(arrived()).toBe('answer\n');
      }
      const other = talk();
      other.during(() => {
        for (let count = 0; count < 16; count += 1) other.chat.push('x');
      });
      expect(other.sends).toEqual([16]);
      expect(chat.events).toEqual([
        'drain',
        'error a bug',
        'drain',
        'error a bug',
        'drain',
        'error a bug',
      ]);
    },
  );

  it('does nothing more in a chat that does not care', () => {
    class Careless extends QuietChat {}
    const [mine, theirs] = Socket.pair();
    const chat = new Careless(mine, new ChannelMap());
    keepAll(chat, theirs);
    chat.highWaterMark = 0;
    chat.connected = false;
    expect(chat.push('a')).toBe(false);
    chat.connected = true;
    chat.initiateSend();
    expect(receive(theirs).toString()).toBe('a');
  });

  it('is not announced to a chat that has closed', () => {
    const { chat, map, arrived, connect } = waiting();
    chat.highWaterMark = 2;
    chat.push('abc');
    chat.closeWhenDone();
    connect();
    while (map.size > 0) poll(1000, map);
    expect(arrived()).toBe('abc');
    expect(chat.events.slice(chat.events.indexOf('close'))).toEqual(['close']);
  });
});

describe('AsyncChat.closeWhenDone', () => {
  it('closes an idle channel at the next write event, not at once', () => {
    const { chat, theirs, map } = talk();
    chat.closeWhenDone();
    expect(chat.events).toEqual([]);
    expect(chat.connected).toBe(true);
    expect(chat.writable()).toBe(true);
    poll(1000, map);
    expect(chat.events).toEqual(['close']);
    expect(ended(theirs)).toBe(true);
    expect(map.size).toBe(0);
  });

  it.each(WAYS)('closes a loaded channel when all is sent: %s', async (_, way) => {
    const { chat, theirs, map } = talk();
    const data = pattern(1024 * 1024);
    chat.push(data);
    chat.pushWithProducer(producerOf('a', 'b'));
    chat.push('c');
    chat.closeWhenDone();
    const got: Buffer[] = [];
    await drive(
      way,
      () => {
        if (map.size > 0) got.push(receive(theirs));
        return map.size === 0;
      },
      { map },
    );
    got.push(receive(theirs));
    expect(ended(theirs)).toBe(true);
    expect(Buffer.concat(got).equals(Buffer.concat([data, Buffer.from('abc')]))).toBe(true);
    expect(chat.events).toEqual(['close']);
  });

  it('refuses what is pushed after it, with a warning, and sends what came before', () => {
    // Python closes at once, and loses both.
    const { chat, map, arrived, connect } = waiting();
    chat.push('before');
    chat.closeWhenDone();
    expect(chat.push('after')).toBe(false);
    expect(chat.push('')).toBe(false);
    expect(chat.pushWithProducer(producerOf('after'))).toBe(false);
    expect(chat.pushWithProducer('after')).toBe(false);
    expect(chat.logged).toEqual([
      'warning: push after closeWhenDone: refused',
      'warning: push after closeWhenDone: refused',
      'warning: pushWithProducer after closeWhenDone: refused',
      'warning: push after closeWhenDone: refused',
    ]);
    connect();
    while (map.size > 0) poll(1000, map);
    expect(arrived()).toBe('before');
    expect(chat.events).toEqual(['close']);
  });

  it('still refuses what is no data', () => {
    const { chat } = talk();
    chat.closeWhenDone();
    expect(() => chat.push(7 as unknown as string)).toThrow(invalidType);
    expect(() => chat.pushWithProducer({} as Producer)).toThrow(invalidType);
  });

  it('may be called twice', () => {
    const { chat, map } = talk();
    chat.closeWhenDone();
    chat.closeWhenDone();
    expect(chat.producerFifo.length).toBe(1);
    poll(1000, map);
    poll(0, map);
    expect(chat.events).toEqual(['close']);
  });

  it('is forgotten by discardBuffers', () => {
    const { chat, map, arrived } = talk();
    chat.closeWhenDone();
    chat.discardBuffers();
    expect(chat.writable()).toBe(false);
    expect(chat.push('a')).toBe(true);
    poll(0, map);
    expect(arrived()).toBe('a');
    expect(chat.events).toEqual([]);
  });

  it('calls handleClose, which may do otherwise', () => {
    const { chat, map, arrived } = talk();
    chat.handleClose = () => {
      chat.events.push('not yet');
    };
    chat.closeWhenDone();
    poll(1000, map);
    poll(0, map);
    expect(chat.events).toEqual(['not yet']);
    expect(chat.push('a')).toBe(true);
    expect(arrived()).toBe('a');
  });
});

describe('AsyncChat, producers that hold something', () => {
  const holding = (closed: string[], name: string): Producer => ({
    more: () => name,
    close: () => {
      closed.push(name);
    },
  });

  it.each(['close', 'discardBuffers'] as const)('are closed by %s', (how) => {
    const { chat } = waiting();
    const closed: string[] = [];
    chat.pushWithProducer(holding(closed, 'a'));
    chat.push('b');
    chat.pushWithProducer(producerOf('c'));
    chat.pushWithProducer(holding(closed, 'd'));
    chat[how]();
    expect(closed).toEqual(['a', 'd']);
  });

  it('are closed when the peer vanishes', () => {
    const { chat, theirs, map } = talk();
    const closed: string[] = [];
    chat.pushWithProducer(holding(closed, 'x'.repeat(4096)));
    expect(closed).toEqual([]);
    theirs.close();
    for (let pass = 0; pass < 100 && chat.connected; pass += 1) poll(0, map);
    expect(chat.connected).toBe(false);
    expect(closed).toHaveLength(1);
  });

  it('are closed by the one that closes the channel from within more()', () => {
    const { chat, connect } = waiting();
    const closed: string[] = [];
    chat.pushWithProducer({
      more() {
        chat.close();
        return 'late';
      },
    });
    chat.pushWithProducer(holding(closed, 'next'));
    connect();
    chat.initiateSend();
    expect(closed).toEqual(['next']);
  });

  it('may throw: handleError is told, and the others are closed', () => {
    const { chat } = waiting();
    const closed: string[] = [];
    chat.pushWithProducer({
      more: () => 'a',
      close() {
        throw new Error('stuck');
      },
    });
    chat.pushWithProducer(holding(closed, 'b'));
    chat.close();
    expect(chat.events).toEqual(['error stuck', 'close']);
    expect(closed).toEqual(['b']);
  });

  it('are closed when they are refused', () => {
    const { chat } = waiting();
    const closed: string[] = [];
    chat.closeWhenDone();
    expect(chat.pushWithProducer(holding(closed, 'late'))).toBe(false);
    expect(closed).toEqual(['late']);
  });

  it('are refused also where their close throws, and handleError is told', () => {
    const states: [string, (talk: Talk<Talker>) => void][] = [
      ['after closeWhenDone', ({ chat }) => chat.closeWhenDone()],
      ['after endWhenDone', ({ chat }) => chat.endWhenDone()],
      ['on a closed connection', ({ chat }) => chat.close()],
      [
        'to a peer that is gone', // which this push finds out
        ({ chat, theirs }) => {
          theirs.close();
          chat.handleClose = () => {};
        },
      ],
    ];
    for (const [when, prepare] of states) {
      for (const from of [false, true]) {
        const prepared = when.startsWith('after') ? waiting() : talk();
        prepare(prepared);
        const { chat } = prepared;
        const errors: unknown[] = [];
        const logged: string[] = [];
        chat.handleError = (error) => void errors.push(error);
        chat.logInfo = (message, type) => void logged.push(`${type}: ${message}`);
        chat.ignoreLogTypes = new Set();
        const failure = new Error('stuck');
        const fail = (): never => {
          throw failure;
        };
        const next = () => ({ done: false as const, value: 'x' });
        const iterable = { [Symbol.iterator]: () => ({ next, return: fail }) };
        const result = from
          ? chat.pushFrom(iterable)
          : chat.pushWithProducer({ more: () => 'x', close: fail });
        expect([result, errors]).toEqual([false, [failure]]);
        expect(logged).toEqual([`warning: pushWithProducer ${when}: refused`]);
      }
    }
  });

  it('are closed when they come too late, as the channel has closed', () => {
    const { chat } = talk();
    const closed: string[] = [];
    chat.close();
    expect(chat.pushWithProducer(holding(closed, 'late'))).toBe(false);
    expect(closed).toEqual(['late']);
    expect(chat.producerFifo.isEmpty()).toBe(true);
  });

  it.each(WAYS)('are closed when the peer has hung up on an async handler: %s', async (_, way) => {
    const { chat, theirs, map } = talk();
    const closed: string[] = [];
    let answer = (): void => {};
    const found = new Promise<void>((resolve) => {
      answer = resolve;
    });
    chat.onRecord = async () => {
      await found;
      expect(chat.pushWithProducer(holding(closed, 'page'))).toBe(false);
      chat.closeWhenDone();
    };
    theirs.send(Buffer.from('GET\n'));
    theirs.close();
    await drive(way, () => map.size === 0, { map });
    expect(closed).toEqual([]);
    answer();
    await new Promise(setImmediate);
    expect(closed).toEqual(['page']);
    expect(chat.events).toEqual(['close']);
  });

  it('are closed and taken off the fifo when the channel closes, and the rest stays', () => {
    const { chat } = waiting();
    const closed: string[] = [];
    const open = producerOf('c');
    chat.push('a');
    chat.pushWithProducer(holding(closed, 'b'));
    chat.pushWithProducer(open);
    chat.pushWithProducer(holding(closed, 'd'));
    chat.push('e');
    chat.close();
    expect(closed).toEqual(['b', 'd']);
    expect([...chat.producerFifo]).toEqual([Buffer.from('a'), open, Buffer.from('e')]);
    // Once.
    chat.close();
    expect(closed).toEqual(['b', 'd']);
  });

  it.each(WAYS)(
    'are not asked when the object connects again, and the rest is sent: %s',
    async (_, way) => {
      const { chat, map } = waiting();
      const closed: string[] = [];
      chat.push('length 4\n');
      chat.pushWithProducer(holding(closed, 'FILE'));
      chat.pushWithProducer(producerOf('end', '\n'));
      chat.close();
      const theirs = connectAgain(chat, map);
      let got = '';
      await drive(
        way,
        () => {
          got += receive(theirs).toString();
          return got.length >= 13 && !chat.writable();
        },
        { map },
      );
      expect(got).toBe('length 4\nend\n');
      expect(closed).toEqual(['FILE']);
      expect(chat.events).toEqual([]);
    },
  );

  it('wait in a chat that has had no connection yet', () => {
    const map = new ChannelMap();
    const chat = new Talker(null, map);
    keep(chat);
    const closed: string[] = [];
    const page = { ...producerOf('page'), close: () => closed.push('page') };
    expect(chat.pushWithProducer(page as Producer)).toBe(true);
    expect([...chat.producerFifo]).toEqual([page]);
    const theirs = connectAgain(chat, map);
    poll(1000, map);
    expect(receive(theirs).toString()).toBe('page');
    expect(closed).toEqual([]);
  });

  it('may throw, and handleError ExitNow: that comes out of close(), and all is closed', () => {
    const { chat, theirs, map } = talk();
    const exit = new ExitNow('stuck');
    const closed: string[] = [];
    chat.push(Buffer.alloc(4_000_000));
    chat.pushWithProducer({
      more: () => 'a',
      close() {
        throw new Error('stuck');
      },
    });
    chat.pushWithProducer({ more: () => 'b', close: () => void closed.push('the next') });
    chat.handleError = () => {
      throw exit;
    };
    const socket = chat.socket as Socket;
    expect(() => chat.close()).toThrow(exit);
    expect(closed).toEqual(['the next']);
    expect(map.size).toBe(0);
    expect(socket.closed).toBe(true);
    expect(chat.fileno()).toBeNull();
    expect(chat.connected).toBe(false);
    receive(theirs);
    expect(ended(theirs)).toBe(true);
    // Nothing is left to be said.
    chat.close();
  });

  it.each(WAYS)('that close the channel from a generator end quietly: %s', async (_, way) => {
    const { chat, map, arrived } = talk();
    const closed: string[] = [];
    chat.connected = false;
    chat.pushWithProducer(
      new CompositeProducer(
        (function* () {
          yield 'rows';
          chat.close();
        })(),
      ),
    );
    chat.pushWithProducer(holding(closed, 'behind'));
    chat.connected = true;
    await drive(way, () => map.size === 0, { map });
    expect(arrived()).toBe('rows');
    expect(chat.events).toEqual([]);
    expect(closed).toEqual(['behind']);
  });

  it('are not closed when they are exhausted', () => {
    const { chat, arrived } = talk();
    const closed: string[] = [];
    const pieces = ['a', 'b'];
    chat.pushWithProducer({
      more: () => pieces.shift(),
      close: () => {
        closed.push('closed');
      },
    });
    expect(arrived()).toBe('ab');
    chat.close();
    expect(closed).toEqual([]);
  });
});

describe('AsyncChat.discardBuffers', () => {
  it('forgets all output that waits', () => {
    const { chat, map, sends, connect } = waiting();
    chat.push('a');
    chat.refillBuffer();
    chat.push('b');
    chat.pushWithProducer(producerOf('c'));
    chat.discardBuffers();
    expect(chat.writableLength).toBe(0);
    expect(chat.acOutBuffer).toHaveLength(0);
    expect(chat.producerFifo.isEmpty()).toBe(true);
    connect();
    expect(chat.writable()).toBe(false);
    poll(0, map);
    expect(sends).toEqual([]);
  });

  it('forgets that a drain was due', () => {
    const { chat, connect } = waiting();
    chat.highWaterMark = 1;
    chat.push('ab');
    chat.discardBuffers();
    connect();
    chat.push('c');
    expect(chat.events).toEqual([]);
  });

  it('does nothing to a channel that holds nothing', () => {
    const { chat, map, sends } = talk();
    chat.discardBuffers();
    poll(0, map);
    expect(sends).toEqual([]);
    expect(chat.connected).toBe(true);
  });
});

describe('AsyncChat, a peer that vanishes', () => {
  it.each(WAYS)('while much waits to be sent: handleClose, exactly once: %s', async (_, way) => {
    const { chat, theirs, map } = talk();
    chat.push(pattern(2 * 1024 * 1024));
    receive(theirs);
    theirs.close();
    await drive(way, () => map.size === 0, { map });
    expect(chat.events).toEqual(['close']);
    expect(chat.connected).toBe(false);
  });

  it.each(WAYS)('by a reset, on TCP: %s', async (_, way) => {
    const map = new ChannelMap();
    const listener = Socket.socket();
    keep(listener);
    listener.bind({ host: '127.0.0.1', port: 0 });
    listener.listen();
    const chat = new Talker(null, map);
    keep(chat);
    chat.handleConnect = () => {};
    chat.createSocket();
    chat.connect(listener.getSockName());
    chat.push(pattern(8 * 1024 * 1024));
    let accepted: Socket | undefined;
    await drive(
      way,
      () => {
        accepted ??= listener.accept()?.socket;
        return accepted !== undefined && (accepted.recv(1)?.length ?? 0) > 0;
      },
      { map },
    );
    accepted?.close(); // with input that nobody has read: a reset
    await drive(way, () => map.size === 0, { map });
    expect(chat.events).toEqual(['close']);
  });

  it('while a push is sent: handleClose has run when push returns', () => {
    const { chat, theirs } = talk();
    theirs.close();
    chat.push('a');
    expect(chat.events).toEqual(['close']);
    expect(chat.connected).toBe(false);
    chat.push('b'); // waits for a connection that may come
    expect(chat.events).toEqual(['close']);
  });

  it('says nothing about input: what is held of it is not delivered by a send that fails', () => {
    const { chat, theirs, map } = talk();
    const collected: string[] = [];
    chat.setTerminator('\r\n');
    chat.collectIncomingData = (...pieces: Buffer[]) => {
      collected.push(...pieces.map(String));
    };
    theirs.send(Buffer.from('a\r'));
    poll(1000, map);
    theirs.close();
    chat.push('b');
    expect(collected).toEqual(['a']);
    expect(chat.events).toEqual(['close']);
  });

  it('does not send the output of one connection’s read event on another', () => {
    const { chat, theirs, during } = talk();
    const [mine, next] = Socket.pair();
    keep(next);
    during(() => {
      chat.push('old');
      chat.close();
      chat.setSocket(mine);
      chat.connected = true;
      chat.push('new');
    });
    expect(receive(theirs).toString()).toBe('old');
    expect(receive(next).toString()).toBe('new');
  });
});

describe('AsyncChat.send, overridden', () => {
  class Sending extends Talker {
    readonly given: Uint8Array[] = [];
    answer: (data: Uint8Array) => number = (data) => data.length;
    override send(data: Uint8Array): number {
      this.given.push(data);
      return this.answer(data);
    }
  }

  it('gets all output', () => {
    const { chat, during } = talk(Sending);
    chat.push('a');
    chat.pushWithProducer(producerOf('b'));
    during(() => {
      chat.push('c');
      chat.push('d');
    });
    expect(chat.given.map((data) => Buffer.from(data).toString())).toEqual(['a', 'b', 'cd']);
  });

  it('may keep what it gets: it never changes', () => {
    const { chat, during } = talk(Sending);
    for (const letter of 'abcdef') {
      during(() => {
        chat.push(letter);
        chat.push(letter);
      });
    }
    expect(chat.given.map(String)).toHaveLength(6);
    expect(chat.given.map((data) => Buffer.from(data).toString())).toEqual([
      'aa',
      'bb',
      'cc',
      'dd',
      'ee',
      'ff',
    ]);
  });

  it('may keep what it gets when the channel’s socket is no Socket', () => {
    const map = new ChannelMap();
    const kept: Uint8Array[] = [];
    const [mine, theirs] = Socket.pair();
    const chat = new Talker(null, map);
    chat.setSocket({
      fileno: () => mine.fileno(),
      recv: (size) => mine.recv(size),
      send(data) {
        kept.push(data);
        return data.length;
      },
      getSockOpt: () => 0,
      close: () => mine.close(),
    });
    chat.connected = true;
    keepAll(chat, theirs);
    for (const letter of ['a', 'b']) {
      chat.onRecord = () => {
        chat.push(letter);
      };
      theirs.send(Buffer.from('\n'));
      poll(1000, map);
    }
    expect(kept.map((data) => Buffer.from(data).toString())).toEqual(['a', 'b']);
  });

  it('may take a part: the rest is offered again', () => {
    const { chat, map, during } = talk(Sending);
    let taken = '';
    chat.answer = (data) => {
      taken += Buffer.from(data.subarray(0, 2)).toString();
      return Math.min(2, data.length);
    };
    chat.push('abcde');
    during(() => {
      chat.push('fgh');
    });
    for (let count = 0; count < 10 && chat.writable(); count += 1) poll(100, map);
    expect(taken).toBe('abcdefgh');
  });

  it('may take a part of what a read event has pushed', () => {
    const { chat, map, during } = talk(Sending);
    let taken = '';
    chat.answer = (data) => {
      taken += Buffer.from(data.subarray(0, 3)).toString();
      return Math.min(3, data.length);
    };
    during(() => {
      chat.push('abc');
      chat.push('def');
      chat.push('g');
    });
    expect(taken).toBe('abc');
    for (let count = 0; count < 10 && chat.writable(); count += 1) poll(100, map);
    expect(taken).toBe('abcdefg');
  });

  it.each([-1, 4, 1.5, Number.NaN, undefined])('may not return %p of 3', (wrong) => {
    const { chat } = talk(Sending);
    chat.answer = () => wrong as number;
    expect(() => chat.push('abc')).toThrow(/^Cannot send: /);
    expect(chat.writableLength).toBe(3);
  });

  it('may push: behind what it is about to send', () => {
    const { chat, during } = talk(Sending);
    const pushOnce = (): void => {
      chat.answer = (data) => {
        chat.answer = (rest) => rest.length;
        chat.push('+');
        return data.length;
      };
    };
    pushOnce();
    chat.push('a');
    during(() => {
      pushOnce();
      chat.push('b');
    });
    expect(chat.given.map((data) => Buffer.from(data).toString())).toEqual(['a', '+', 'b', '+']);
    expect(chat.writable()).toBe(false);
  });

  it('may take nothing: it is offered at each write event', () => {
    const { chat, map } = talk(Sending);
    chat.answer = () => 0;
    chat.push('a');
    poll(100, map);
    poll(100, map);
    expect(chat.given).toHaveLength(3);
    expect(chat.writable()).toBe(true);
  });

  it('may throw, which goes to handleError, once', () => {
    const { chat } = talk(Sending);
    chat.answer = () => {
      throw new SocketError('EIO', 5, 'send', 'Input/output error');
    };
    chat.push('a');
    expect(chat.events).toEqual(['error EIO: Input/output error, send', 'close']);
  });

  it('may throw at the end of a read event, too', () => {
    const { chat, during } = talk(Sending);
    chat.answer = () => {
      throw new Error('no');
    };
    during(() => {
      chat.push('a');
    });
    expect(chat.events).toEqual(['error no', 'close']);
  });

  it('may throw and be tried again, if handleError does not close', () => {
    const { chat, map } = talk(Sending);
    chat.errorsClose = false;
    chat.answer = () => {
      chat.answer = (data) => data.length;
      throw new SocketError('EIO', 5, 'send', 'once');
    };
    chat.push('a');
    expect(chat.writable()).toBe(true);
    poll(100, map);
    expect(chat.events).toEqual(['error EIO: once, send']);
    expect(chat.given).toHaveLength(2);
    expect(chat.writable()).toBe(false);
  });

  it('may throw the output away', () => {
    const { chat } = talk(Sending);
    chat.answer = () => {
      chat.discardBuffers();
      return 1;
    };
    chat.push('abc');
    expect(chat.writableLength).toBe(0);
    expect(chat.given).toHaveLength(1);
  });
});

describe('AsyncChat, its predicates', () => {
  it('needs no socket yet, and stands in socketMap then', () => {
    const chat = new QuietChat();
    expect(chat.map).toBe(socketMap);
    expect(chat.fileno()).toBeNull();
    expect(socketMap.size).toBe(0);
    chat.close();
  });

  it('is readable always', () => {
    const map = new ChannelMap();
    expect(new Talker(null, map).readable()).toBe(true);
    const { chat } = talk();
    expect(chat.readable()).toBe(true);
    chat.close();
    expect(chat.readable()).toBe(true);
  });

  it('is writable while something waits and there is a connection, or a connect under way', () => {
    const chat = new Talker(null, new ChannelMap());
    expect(chat.writable()).toBe(false); // neither connected nor connecting
    chat.push('a');
    expect(chat.writable()).toBe(false);
    chat.discardBuffers();
    chat.connecting = true;
    expect(chat.writable()).toBe(true);
    chat.connecting = false;
    chat.connected = true;
    expect(chat.writable()).toBe(false); // nothing waits
    chat.producerFifo.push(Buffer.from('a'));
    expect(chat.writable()).toBe(true); // on the fifo
    chat.refillBuffer();
    expect(chat.producerFifo.isEmpty()).toBe(true);
    expect(chat.writable()).toBe(true); // in the output buffer
    chat.discardBuffers();
    expect(chat.writable()).toBe(false);
    chat.closeWhenDone();
    expect(chat.writable()).toBe(true); // the end waits
  });

  it('spins for nothing: an idle chat has no write events', () => {
    const { chat, map } = talk();
    const handleWrite = jest.spyOn(chat, 'handleWrite');
    chat.push('a');
    for (let count = 0; count < 5; count += 1) poll(0, map);
    expect(handleWrite).not.toHaveBeenCalled();
  });

  it('shares a map with plain dispatchers', () => {
    const { chat, theirs, map, arrived } = talk();
    const [mine, other] = Socket.pair();
    class Plain extends Dispatcher {
      override writable(): boolean {
        return false;
      }
      override handleRead(): void {
        chat.push(this.recv(100) ?? 'nothing');
      }
    }
    keepAll(new Plain(mine, map), other);
    other.send(Buffer.from('through'));
    poll(1000, map);
    expect(arrived()).toBe('through');
    expect(ended(theirs)).toBe(false);
  });
});

describe('findPrefixAtEnd', () => {
  it.each<[string, string, number]>([
    ['qwerty\r', '\r\n', 1],
    ['qwertydkjf', '\r\n', 0],
    ['qwerty\r\n', '\r\n', 0], // all of it is no beginning
    ['abab', 'ababc', 4], // the longest
    ['aaa', 'aab', 2],
    ['xab', 'abab', 2],
    ['xaba', 'abab', 3],
    ['\r\n.\r', '\r\n.\r\n', 4],
    ['\r\n.\r\n', '\r\n.\r\n', 2], // what ends it may begin the next
    ['\r', '\r\n', 1], // nothing before it
    ['a', 'abc', 1],
    ['', '\r\n', 0],
    ['abc', '', 0], // Python: -1
    ['', '', 0],
    ['a', 'a', 0],
    ['ab', 'abcdef', 2], // a haystack shorter than the needle
    ['é', 'é!', 2], // bytes, not characters
  ])('of %j and %j is %i', (haystack, needle, expected) => {
    expect(findPrefixAtEnd(haystack, needle)).toBe(expected);
    expect(findPrefixAtEnd(Buffer.from(haystack), new Uint8Array(Buffer.from(needle)))).toBe(
      expected,
    );
  });
});

describe('A writable() in the manner of Python', () => {
  it('is called all the time while a producer’s promise is pending, and the program is told', () => {
    class Porter extends QuietChat {
      override writable(): boolean {
        return !this.connected || this.writableLength > 0 || !this.producerFifo.isEmpty();
      }
    }
    const texts: string[] = [];
    jest.spyOn(process, 'emitWarning').mockImplementation(((text: string) => {
      texts.push(text);
    }) as never);
    const map = new ChannelMap();
    const [mine, theirs] = Socket.pair();
    keep(theirs);
    const chat = new Porter(mine, map);
    chat.pushWithProducer({ more: () => new Promise(() => {}) });
    loopSync({ map, timeout: 0, count: 4100 });
    chat.close();
    expect(texts).toEqual([
      'Porter uses a whole CPU: 4000 write events in a row have changed nothing. writable() returns ' +
        'true while the promise of a producer is pending: let it return super.writable().',
    ]);
  });
});
