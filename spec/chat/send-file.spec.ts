// A FileProducer whose file the kernel sends by itself: what the peer gets is what reading would give it.

import {
  ftruncateSync,
  mkdirSync,
  openSync,
  readFileSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import {
  type ChannelMap,
  CompositeProducer,
  FileProducer,
  type Handled,
  loopSync,
  type Producer,
  SO_SNDBUF,
  SOCK_SEQPACKET,
  SOL_SOCKET,
  Socket,
} from 'asyncore';
import { raw } from '../../lib/kernel/koffi';
import { isOpen } from '../support/descriptors';
import { drive, FAMILIES, temporaryPath, WAYS } from '../support/drive';
import { keep, newMap, stillMap } from '../support/keep';
import { makePipe } from '../support/make-pipe';
import { Program, TYPESCRIPT } from '../support/program';
import { QuietChat } from '../support/quiet-chat';
import { connection, pair, received, willReset } from '../support/sockets';

const MIB = 1024 * 1024;
// 251 is prime, so no piece fits where another belongs.
const LARGE = Buffer.alloc(5 * MIB, Buffer.from(Array.from({ length: 251 }, (_, index) => index)));

class Sender extends QuietChat {
  readonly events: string[] = [];

  constructor(socket: Socket | null, map: ChannelMap = newMap()) {
    super(socket, map);
    this.setTerminator(null);
  }

  override handleClose(): Handled {
    this.events.push('close');
    this.close();
  }

  override handleError(error: unknown): Handled {
    this.events.push(`error ${(error as Error).message}`);
    this.close();
  }

  override handleTimeout(): Handled {
    this.events.push('timeout');
  }
}

function fileWith(data: string | Uint8Array): number {
  const path = temporaryPath();
  writeFileSync(path, data);
  return openSync(path, 'r+');
}

/** The calls of sendfile(2), as [offset, length]. */
function watchSendfile(answer?: (real: () => number) => number): [number, number][] {
  const calls: [number, number][] = [];
  const real = raw.sendfile;
  jest.spyOn(raw, 'sendfile').mockImplementation((...args: unknown[]) => {
    calls.push([Number((args[2] as BigInt64Array)[0]), Number(args[3])]);
    return answer === undefined ? real(...args) : answer(() => real(...args));
  });
  return calls;
}

/** Has the next call fail so, in the words of the kernel. */
function failWith(code: number): number {
  jest.spyOn(raw, 'errno').mockReturnValueOnce(code);
  return -1;
}

/** All that comes until the end of the stream. */
async function untilEnd(chat: Sender, theirs: Socket): Promise<Buffer> {
  const pieces: Buffer[] = [];
  let ended = false;
  const receive = (): boolean => {
    for (let data = theirs.recv(MIB); data !== null; data = theirs.recv(MIB)) {
      if (data.length === 0) ended = true;
      if (ended) break;
      pieces.push(data);
    }
    return ended;
  };
  const { map } = chat;
  await drive({ usePoll: false, sync: true }, () => receive() || map.size === 0, { map });
  while (!ended) receive();
  return Buffer.concat(pieces);
}

describe.each(FAMILIES)('A file over %s', (_, family) => {
  it.each(WAYS)('arrives between what is pushed before it and behind: %s', async (_way, how) => {
    const [theirs, mine] = connection(family);
    const calls = watchSendfile();
    const chat = new Sender(mine);
    const fd = fileWith('abcdef');
    chat.push('<');
    chat.pushWithProducer(new FileProducer(fd));
    chat.push('>');
    chat.closeWhenDone();
    await drive(how, () => chat.events.length > 0, { map: chat.map });
    expect(received(theirs)).toBe('<abcdef>');
    expect(chat.events).toEqual(['close']);
    expect(calls[0]?.[0]).toBe(0);
    expect(isOpen(fd)).toBe(false);
  });
});

it('A large file arrives, and no more than 2 MiB of it in an event', async () => {
  const [theirs, mine] = connection();
  const calls = watchSendfile();
  const chat = new Sender(mine);
  chat.pushWithProducer(new FileProducer(fileWith(LARGE)));
  chat.closeWhenDone();
  expect((await untilEnd(chat, theirs)).equals(LARGE)).toBe(true);
  expect(Math.max(...calls.map(([, length]) => length))).toBe(2 * MIB);
});

it.each([
  ['listens for SIGPIPE', "process.on('SIGPIPE', () => console.log('heard'));"],
  [
    'no longer listens',
    "const no = () => {}; process.on('SIGPIPE', no); process.off('SIGPIPE', no);",
  ],
])('A peer that is gone is no signal, where the program %s', async (_, listen) => {
  const program = new Program(process.execPath, [
    ...TYPESCRIPT,
    '-e',
    `
    const { openSync } = require('node:fs');
    const { AsyncChat, FileProducer, Socket } = require(${JSON.stringify(join(__dirname, '..', '..', 'lib', 'index.ts'))});
    ${listen}
    const [mine, theirs] = Socket.pair();
    const chat = new (class extends AsyncChat {})(mine);
    theirs.close();
    console.log(chat.pushWithProducer(new FileProducer(openSync(process.execPath, 'r'))));
    setTimeout(() => chat.close(), 50);
    `,
  ]);
  expect(await program.ended()).toBe(0);
  expect(program.output).toBe('false\n');
});

it.each<[string, (file: FileProducer) => Producer]>([
  [
    'a Proxy',
    (file) =>
      new Proxy(file, {
        get: (target, name) =>
          name === 'more'
            ? () => String(target.more()).toUpperCase()
            : Reflect.get(target, name).bind(target),
      }),
  ],
  [
    'an object that inherits from it',
    (file) =>
      Object.assign(Object.create(file), {
        more: () => String(file.more()).toUpperCase(),
        close: () => file.close(),
      }),
  ],
])('A wrapped FileProducer is asked: %s', (_, wrap) => {
  const [theirs, mine] = pair();
  const calls = watchSendfile();
  const chat = new Sender(mine);
  chat.pushWithProducer(new FileProducer(fileWith('first ')));
  chat.pushWithProducer(wrap(new FileProducer(fileWith('hello file'))));
  expect(received(theirs)).toBe('first HELLO FILE');
  // Both for the first file, the second of them to find its end.
  expect(calls.map(([offset]) => offset)).toEqual([0, 6]);
  chat.close();
});

it('The cap follows acOutBufferSize', () => {
  const [theirs, mine] = pair();
  const calls = watchSendfile();
  const chat = new Sender(mine);
  chat.acOutBufferSize = 100;
  chat.pushWithProducer(new FileProducer(fileWith(LARGE)));
  expect(calls).toEqual([[0, 3200]]);
  expect(received(theirs)).toBe(LARGE.toString('latin1', 0, 3200));
});

it('Nothing of a file waits in the program, and its position stays where it was', () => {
  const [, mine] = pair();
  const chat = new Sender(mine);
  const fd = fileWith(LARGE);
  readFileSync(fd, { flag: 'r' });
  const position = () =>
    /pos:\s*(\d+)/.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1'))?.[1];
  expect(position()).toBe(`${LARGE.length}`);
  expect(chat.pushWithProducer(new FileProducer(fd))).toBe(true);
  expect(chat.writableLength).toBe(0);
  expect(chat.writable()).toBe(true);
  expect(position()).toBe(`${LARGE.length}`);
});

it.each([
  [{ start: 2 }, 'cdef'],
  [{ end: 4 }, 'abcd'],
  [{ start: 2, end: 4 }, 'cd'],
  [{ start: 6 }, ''],
  [{ start: 9 }, ''],
  [{ start: 2, end: 2 }, ''],
  [{ start: 2 ** 44 }, ''],
])('The part %j of a file arrives', async (part, expected) => {
  const [theirs, mine] = pair();
  const chat = new Sender(mine);
  const fd = fileWith('abcdef');
  chat.pushWithProducer(new FileProducer(fd, part));
  chat.push('.');
  chat.closeWhenDone();
  expect(String(await untilEnd(chat, theirs))).toBe(`${expected}.`);
  expect(isOpen(fd)).toBe(false);
});

describe('A file that changes while it is sent', () => {
  /** A chat that has sent the beginning of a file. */
  function halfWay(part?: {
    end: number;
  }): [chat: Sender, theirs: Socket, fd: number, sent: number] {
    const [theirs, mine] = pair();
    mine.setSockOpt(SOL_SOCKET, SO_SNDBUF, 65536);
    const calls = watchSendfile();
    const chat = new Sender(mine);
    const fd = fileWith(LARGE);
    chat.pushWithProducer(new FileProducer(fd, part));
    return [chat, theirs, fd, calls.at(-1)?.[0] as number];
  }

  it('and becomes shorter ends, and what is behind it follows', async () => {
    const [chat, theirs, fd, sent] = halfWay();
    expect(sent).toBeLessThan(MIB);
    ftruncateSync(fd, MIB);
    chat.push('.');
    chat.closeWhenDone();
    const expected = Buffer.concat([LARGE.subarray(0, MIB), Buffer.from('.')]);
    expect((await untilEnd(chat, theirs)).equals(expected)).toBe(true);
  });

  it('and becomes shorter than the part that was promised is an error', async () => {
    const [chat, theirs, fd] = halfWay({ end: 2 * MIB });
    ftruncateSync(fd, MIB);
    chat.push('.');
    expect((await untilEnd(chat, theirs)).equals(LARGE.subarray(0, MIB))).toBe(true);
    expect(chat.events).toEqual([
      `error Cannot read a file up to byte 2097152: it ends at 1048576`,
    ]);
    expect(isOpen(fd)).toBe(false);
  });

  it('and grows is sent to its new end', async () => {
    const [chat, theirs, fd] = halfWay();
    writeSync(fd, 'more', LARGE.length);
    chat.closeWhenDone();
    const expected = Buffer.concat([LARGE, Buffer.from('more')]);
    expect((await untilEnd(chat, theirs)).equals(expected)).toBe(true);
  });

  it('and grows beyond its part is not', async () => {
    const [chat, theirs, fd] = halfWay({ end: LARGE.length });
    writeSync(fd, 'more', LARGE.length);
    chat.closeWhenDone();
    expect((await untilEnd(chat, theirs)).equals(LARGE)).toBe(true);
  });

  it('is closed when the output is discarded', () => {
    const [chat, theirs, fd, sent] = halfWay();
    chat.discardBuffers();
    expect(isOpen(fd)).toBe(false);
    expect(received(theirs)).toBe(LARGE.toString('latin1', 0, sent));
    chat.push('.');
    expect(received(theirs)).toBe('.');
  });

  it('is closed with the channel', () => {
    const [chat, , fd] = halfWay();
    chat.close();
    expect(isOpen(fd)).toBe(false);
  });
});

describe('A producer that the program uses itself', () => {
  it('goes on behind what the program has taken', async () => {
    const [theirs, mine] = pair();
    const chat = new Sender(mine);
    const producer = new FileProducer(fileWith(LARGE));
    expect(producer.more()).toHaveLength(65536);
    chat.pushWithProducer(producer);
    chat.closeWhenDone();
    expect((await untilEnd(chat, theirs)).equals(LARGE.subarray(65536))).toBe(true);
  });

  it('yields no more when it is closed', async () => {
    const [theirs, mine] = pair();
    const calls = watchSendfile();
    const chat = new Sender(mine);
    const producer = new FileProducer(fileWith(LARGE));
    chat.pushWithProducer(producer);
    const sent = calls.at(-1)?.[0];
    producer.close();
    chat.closeWhenDone();
    expect(await untilEnd(chat, theirs)).toHaveLength(sent as number);
  });
});

describe('When the peer is gone', () => {
  it.each(WAYS)('the chat is told once, and closes the file: %s', async (_, how) => {
    const [theirs, mine] = connection();
    const chat = new Sender(mine);
    const fd = fileWith(LARGE);
    chat.pushWithProducer(new FileProducer(fd));
    expect(isOpen(fd)).toBe(true);
    willReset(theirs).close();
    await drive(how, () => chat.events.length > 0, { map: chat.map });
    expect(chat.events).toEqual(['close']);
    expect(isOpen(fd)).toBe(false);
  });

  it('a push of a file is refused', () => {
    const [theirs, mine] = pair();
    const chat = new Sender(mine);
    theirs.close();
    const fd = fileWith('abc');
    expect(chat.pushWithProducer(new FileProducer(fd))).toBe(false);
    expect(chat.events).toEqual(['close']);
    expect(isOpen(fd)).toBe(false);
  });
});

describe('A file is read', () => {
  const STOCK = Sender.prototype;

  class SendOverride extends Sender {
    override send(data: Uint8Array): number {
      return super.send(data);
    }
  }
  class InitiateOverride extends Sender {
    override initiateSend(): void {
      super.initiateSend();
    }
  }
  class RefillOverride extends Sender {
    override refillBuffer(): void {
      super.refillBuffer();
    }
  }
  class WritableOverride extends Sender {
    override writable(): boolean {
      return super.writable();
    }
  }
  class Shouting extends FileProducer {
    override more(): Uint8Array {
      return Buffer.from(Buffer.from(super.more()).toString().toUpperCase());
    }
  }

  it.each<[string, (fd: number, mine: Socket) => [Sender, Producer], string?]>([
    ['send() is overridden', (fd, mine) => [new SendOverride(mine), new FileProducer(fd)]],
    ['initiateSend() is', (fd, mine) => [new InitiateOverride(mine), new FileProducer(fd)]],
    ['refillBuffer() is', (fd, mine) => [new RefillOverride(mine), new FileProducer(fd)]],
    ['writable() is', (fd, mine) => [new WritableOverride(mine), new FileProducer(fd)]],
    [
      'send() is, on the channel',
      (fd, mine) => {
        const chat = new Sender(mine);
        chat.send = (data) => STOCK.send.call(chat, data);
        return [chat, new FileProducer(fd)];
      },
    ],
    [
      "the socket's send() is",
      (fd, mine) => {
        mine.send = (data, flags) => Socket.prototype.send.call(mine, data, flags);
        return [new Sender(mine), new FileProducer(fd)];
      },
    ],
    [
      'the socket is no Socket',
      (fd, mine) => [
        new Sender({
          fileno: () => mine.fileno(),
          recv: (size: number) => mine.recv(size),
          send: (data: Uint8Array) => mine.send(data),
          getSockOpt: (level: number, option: number) => mine.getSockOpt(level, option),
          close: () => mine.close(),
        } as never),
        new FileProducer(fd),
      ],
    ],
    [
      'it stands in another producer',
      (fd, mine) => [new Sender(mine), new CompositeProducer([new FileProducer(fd)])],
    ],
    ['more() is overridden', (fd, mine) => [new Sender(mine), new Shouting(fd)], 'ABCDEF'],
  ])('where %s', async (_, make, expected = 'abcdef') => {
    const [theirs, mine] = pair();
    const calls = watchSendfile();
    const fd = fileWith('abcdef');
    const [chat, producer] = make(fd, mine);
    chat.connected = true;
    chat.pushWithProducer(producer);
    chat.closeWhenDone();
    expect(String(await untilEnd(chat, theirs))).toBe(expected);
    expect(calls).toEqual([]);
    expect(isOpen(fd)).toBe(false);
  });

  it('where each send is a message', () => {
    const [theirs, mine] = pair(SOCK_SEQPACKET);
    const calls = watchSendfile();
    new Sender(mine).pushWithProducer(new FileProducer(fileWith('abcdef')));
    expect(String(theirs.recv(100))).toBe('abcdef');
    expect(calls).toEqual([]);
  });

  it.each([
    ['EINVAL', 22],
    ['ENOSYS', 38],
    ['EOPNOTSUPP', 95],
    ['EPERM', 1],
    ['EIO', 5],
  ])('from where sendfile(2) says %s', async (_, errno) => {
    const [theirs, mine] = pair();
    mine.setSockOpt(SOL_SOCKET, SO_SNDBUF, 65536);
    let left = 2;
    const calls = watchSendfile((real) => {
      left -= 1;
      return left === 0 ? failWith(errno) : real();
    });
    const chat = new Sender(mine);
    chat.pushWithProducer(new FileProducer(fileWith(LARGE)));
    chat.closeWhenDone();
    expect((await untilEnd(chat, theirs)).equals(LARGE)).toBe(true);
    expect(calls).toHaveLength(2);
  });
});

describe('A file that cannot be read', () => {
  it('is an error of the read, thrown to who pushes it', () => {
    const directory = temporaryPath('directory');
    mkdirSync(directory);
    const chat = new Sender(pair()[0]);
    const fd = openSync(directory, 'r');
    expect(() => chat.pushWithProducer(new FileProducer(fd))).toThrow('EISDIR');
    expect(isOpen(fd)).toBe(false);
  });

  it('is a pipe, too', () => {
    const path = temporaryPath('pipe');
    makePipe(path);
    const chat = new Sender(pair()[0]);
    const fd = openSync(path, 'r+');
    writeSync(fd, 'abc');
    expect(() => chat.pushWithProducer(new FileProducer(fd))).toThrow('ESPIPE');
  });
});

describe('The kernel', () => {
  it('may be interrupted', () => {
    const [theirs, mine] = pair();
    let left = 1;
    watchSendfile((real) => {
      left -= 1;
      return left === 0 ? failWith(4) : real();
    });
    new Sender(mine).pushWithProducer(new FileProducer(fileWith('abcdef')));
    expect(received(theirs)).toBe('abcdef');
  });

  it('may report an error of the connection, which goes to handleError', () => {
    const [, mine] = pair();
    watchSendfile(() => failWith(110));
    const chat = new Sender(mine);
    const fd = fileWith('abcdef');
    chat.pushWithProducer(new FileProducer(fd));
    expect(chat.events).toEqual(['error ETIMEDOUT: Connection timed out, sendfile']);
    expect(isOpen(fd)).toBe(false);
  });

  it('takes a file, and the channel is not idle', () => {
    const { map, clock } = stillMap();
    const [theirs, mine] = pair();
    const chat = new Sender(mine, map);
    const eventsAfter = (ms: number): string[] => {
      clock.advance(ms);
      loopSync({ map, timeout: 0, count: 1 });
      return chat.events;
    };
    chat.setIdleTimeout(1000);
    chat.pushWithProducer(new FileProducer(fileWith(LARGE)));
    received(theirs);
    expect(eventsAfter(900)).toEqual([]);
    // In that pass the kernel has taken more, and the time begins anew.
    expect(eventsAfter(999)).toEqual([]);
    expect(eventsAfter(1)).toEqual(['timeout']);
  });
});

it('A closed file does not reach the file that has its number by now', () => {
  const [theirs, mine] = pair();
  const chat = new Sender(mine);
  const fd = fileWith('abc');
  const producer = new FileProducer(fd);
  producer.close();
  const other = fileWith('secret');
  expect(other).toBe(fd);
  chat.pushWithProducer(producer);
  expect(received(theirs)).toBe('');
  keep({ close: () => new FileProducer(other).close() });
});
