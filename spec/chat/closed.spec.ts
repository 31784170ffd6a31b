// What becomes of output that is given to a channel whose connection is over.

import {
  AF_UNIX,
  AsyncChat,
  ChannelMap,
  DispatcherWithSend,
  FileDispatcher,
  type Handled,
  loopSync,
  type Producer,
  poll,
  type Socket,
} from 'asyncore';
import { garbageCollector } from '../support/collector';
import { keep } from '../support/keep';
import { bareListener, connection, pair, received, willReset } from '../support/sockets';

class Chat extends AsyncChat {
  readonly logged: string[] = [];
  /** Whether `handleClose` closes. */
  closes = true;

  constructor(socket: Socket | null, map: ChannelMap) {
    super(socket, map);
    this.setTerminator('\n');
  }
  override collectIncomingData(): void {}
  override foundTerminator(): void {}
  override handleConnect(): Handled {}
  override handleClose(): Handled {
    if (this.closes) return super.handleClose();
  }
  override logInfo(message: unknown, type?: string): void {
    this.logged.push(`${type}: ${message}`);
  }
}

function talk(): { chat: Chat; theirs: Socket; map: ChannelMap } {
  const map = new ChannelMap();
  const [mine, theirs] = pair();
  return { chat: keep(new Chat(mine, map)), theirs, map };
}

/** Has a chat that has lost its connection take a new one. @returns the other end */
function connectAgain(chat: Chat): Socket {
  const [mine, theirs] = pair();
  chat.setSocket(mine);
  chat.connected = true;
  return theirs;
}

const producer = (closed: string[] = []): Required<Producer> => ({
  more: () => 'x',
  close: () => void closed.push('closed'),
});

/** The ways in which a connection ends. */
const ENDS: [string, (it: ReturnType<typeof talk>) => void][] = [
  ['close()', ({ chat }) => chat.close()],
  [
    'the peer has gone',
    ({ theirs, map }) => {
      theirs.close();
      poll(1000, map);
    },
  ],
  [
    'the peer has reset the connection',
    ({ chat, theirs, map }) => {
      chat.send(Buffer.from('unread'));
      willReset(theirs).close();
      poll(1000, map);
    },
  ],
  [
    'a push has found that the peer is gone',
    ({ chat, theirs }) => {
      theirs.close();
      chat.push('x');
    },
  ],
  [
    'the peer has gone for good after its half of the stream',
    ({ chat, theirs, map }) => {
      chat.allowHalfOpen = true;
      chat.handleEof = () => {};
      theirs.close();
      poll(1000, map);
      expect(chat.connected).toBe(true);
      chat.push('x');
    },
  ],
  [
    'the peer has gone, and handleClose has not closed yet',
    ({ chat, theirs }) => {
      chat.closes = false;
      theirs.close();
      chat.send(Buffer.from('x'));
      expect(chat.connected).toBe(true);
    },
  ],
];

describe.each(ENDS)('AsyncChat after the end of the connection: %s', (_, end) => {
  it('refuses what is pushed, with a warning, and keeps nothing', () => {
    const it = talk();
    end(it);
    const { chat } = it;
    const closed: string[] = [];
    chat.logged.length = 0;
    expect(chat.push('text')).toBe(false);
    expect(chat.push(Buffer.alloc(100_000))).toBe(false);
    expect(chat.pushWithProducer('text')).toBe(false);
    expect(chat.pushWithProducer(producer(closed))).toBe(false);
    expect(chat.pushWithProducer({ more: () => 'x' })).toBe(false);
    expect(closed).toEqual(['closed']);
    expect(chat.writableLength).toBe(0);
    expect(chat.producerFifo.isEmpty()).toBe(true);
    expect(chat.logged).toEqual([
      'warning: push on a closed connection: refused',
      'warning: push on a closed connection: refused',
      'warning: push on a closed connection: refused',
      'warning: pushWithProducer on a closed connection: refused',
      'warning: pushWithProducer on a closed connection: refused',
    ]);
    expect(() => chat.push(7 as unknown as string)).toThrow(TypeError);
    expect(() => chat.pushWithProducer({} as Producer)).toThrow(TypeError);
  });

  it('takes pushes again with its next socket', () => {
    const it = talk();
    end(it);
    const { chat } = it;
    chat.push('refused');
    chat.closeWhenDone();
    const theirs = connectAgain(chat);
    expect(chat.push('taken')).toBe(true);
    expect(received(theirs)).toBe('taken');
    expect(chat.connected).toBe(true);
  });
});

describe('AsyncChat, a push that finds that the peer is gone', () => {
  it.each<[string, (chat: Chat) => boolean]>([
    ['text', (chat) => chat.push('text')],
    ['much', (chat) => chat.push(Buffer.alloc(1_000_000))],
    ['a producer', (chat) => chat.pushWithProducer({ more: () => 'x' })],
    ['a producer of much', (chat) => chat.pushWithProducer({ more: () => Buffer.alloc(200_000) })],
  ])('returns false, and nothing of it is kept: %s', (_, push) => {
    const { chat, theirs } = talk();
    theirs.close();
    expect(push(chat)).toBe(false);
    expect(chat.writableLength).toBe(0);
    expect(chat.producerFifo.isEmpty()).toBe(true);
  });

  it('returns false within a tick, too, where output has been waiting since before', () => {
    const { chat, theirs, map } = talk();
    const answers: boolean[] = [];
    chat.push(Buffer.alloc(1_000_000));
    const left = chat.writableLength;
    chat.foundTerminator = () => void answers.push(chat.push('text'));
    theirs.send(Buffer.from('\n'));
    theirs.close();
    poll(1000, map);
    expect(answers).toEqual([false]);
    expect(chat.writableLength).toBe(left);
  });

  it('returns false within a tick, too, where a push of the same tick waits', () => {
    const map = new ChannelMap();
    const [theirs, mine] = connection();
    const chat = keep(new Chat(mine, map));
    const answers: boolean[] = [];
    chat.closes = false;
    chat.foundTerminator = () => {
      answers.push(chat.push('first'));
      willReset(theirs);
      theirs.close();
      expect(chat.recv(10)).toBeNull();
      answers.push(chat.push('second'));
    };
    theirs.send(Buffer.from('\n'));
    poll(1000, map);
    expect(answers).toEqual([true, false]);
    expect(chat.writableLength).toBe('first'.length);
  });

  it('closes its producer, though handleClose does not close the channel', () => {
    const { chat, theirs } = talk();
    const closed: string[] = [];
    chat.closes = false;
    theirs.close();
    expect(chat.pushWithProducer(producer(closed))).toBe(false);
    expect(closed).toEqual(['closed']);
  });

  it.each<[string, (chat: Chat, data: Buffer) => boolean]>([
    ['data', (chat, data) => chat.push(data)],
    ['a producer', (chat) => chat.pushWithProducer({ more: () => 'x' })],
  ])('leaves what has waited before it for the next connection: %s', (_, push) => {
    const { chat, theirs } = talk();
    const waiting = Buffer.alloc(1_000_000, 'w');
    chat.push(waiting);
    const sent = received(theirs).length;
    const left = chat.writableLength;
    theirs.close();
    // The very same memory, so that only what was pushed last is taken back.
    expect(push(chat, waiting)).toBe(false);
    expect(chat.connected).toBe(false);
    expect(chat.writableLength).toBe(left);
    expect(sent).toBeLessThan(1_000_000);
    const theirNext = connectAgain(chat);
    chat.initiateSend();
    expect(received(theirNext)[0]).toBe('w');
  });

  it('is a push for the next connection when handleClose connects again', () => {
    const { chat, theirs } = talk();
    let theirNext: Socket | undefined;
    chat.handleClose = () => {
      chat.close();
      theirNext = connectAgain(chat);
    };
    theirs.close();
    expect(chat.push('hello')).toBe(true);
    poll(1000, chat.map);
    expect(received(theirNext as Socket)).toBe('hello');
  });
});

describe('AsyncChat without a connection yet', () => {
  it('keeps what is pushed, and sends it when it is connected', () => {
    const map = new ChannelMap();
    const listener = bareListener(AF_UNIX);
    const chat = keep(new Chat(null, map));
    expect(chat.push('early ')).toBe(true);
    chat.createSocket(AF_UNIX);
    expect(chat.push('bird')).toBe(true);
    chat.connect(listener.getSockName());
    while (chat.writable()) poll(1000, map);
    expect(received(keep(listener.accept()?.socket as Socket))).toBe('early bird');
    expect(chat.logged).toEqual([]);
  });

  it.each<[string, (chat: Chat, socket: Socket) => void]>([
    ['setSocket', (chat, socket) => chat.setSocket(socket)],
    [
      'an assignment to socket',
      (chat, socket) => {
        chat.socket = socket;
      },
    ],
    ['createSocket', (chat) => chat.createSocket()],
  ])('takes pushes after a close and %s', (_, prepare) => {
    const { chat } = talk();
    chat.close();
    prepare(chat, pair()[0]);
    expect(chat.push('again')).toBe(true);
    expect(chat.writableLength).toBe(5);
  });
});

describe('AsyncChat.closeWhenDone', () => {
  it('closes its own connection, and not the next one', () => {
    const { chat, map } = talk();
    chat.send = () => 0;
    chat.push('waits\n');
    chat.closeWhenDone();
    chat.close();
    Reflect.deleteProperty(chat, 'send');
    const theirs = connectAgain(chat);
    expect(chat.push('more\n')).toBe(true);
    for (let pass = 0; pass < 3; pass += 1) poll(0, map);
    // As in Python, what has waited is sent.
    expect(received(theirs)).toBe('waits\nmore\n');
    expect(chat.connected).toBe(true);
  });

  it('does nothing to a closed channel', () => {
    const { chat } = talk();
    chat.close();
    chat.closeWhenDone();
    expect(chat.producerFifo.isEmpty()).toBe(true);
  });
});

describe('A closed channel', () => {
  it('holds no memory of what it has refused', async () => {
    const gc = garbageCollector();
    const { chat } = talk();
    const [mine] = pair();
    const withSend = keep(new DispatcherWithSend(mine, new ChannelMap()));
    chat.close();
    withSend.close();
    const refs = ((): WeakRef<object>[] => {
      const data = Array.from({ length: 3 }, () => Buffer.alloc(1_000_000));
      chat.push(data[0] as Buffer);
      chat.pushWithProducer(data[1] as Buffer);
      withSend.send(data[2] as Buffer);
      return data.map(({ buffer }) => new WeakRef(buffer));
    })();
    for (let round = 0; round < 10 && refs.some((ref) => ref.deref() !== undefined); round += 1) {
      await new Promise(setImmediate);
      gc();
    }
    expect(refs.map((ref) => ref.deref())).toEqual([undefined, undefined, undefined]);
    expect(chat.writableLength).toBe(0);
  });

  it('sends nothing: send() of every kind returns 0', () => {
    const channels = [
      talk().chat,
      new DispatcherWithSend(pair()[0], new ChannelMap()),
      new FileDispatcher(pair()[0], new ChannelMap()),
    ];
    for (const channel of channels) {
      channel.close();
      expect(channel.send(Buffer.from('x'))).toBe(0);
    }
  });
});

describe('DispatcherWithSend after the end of the connection', () => {
  class Sender extends DispatcherWithSend {
    readonly logged: string[] = [];
    override logInfo(message: unknown, type?: string): void {
      this.logged.push(`${type}: ${message}`);
    }
    override handleClose(): void {
      this.close();
    }
    override handleConnect(): void {}
  }

  it.each<[string, (sender: Sender, theirs: Socket) => void]>([
    ['close()', (sender) => sender.close()],
    ['the peer is gone', (_, theirs) => theirs.close()],
  ])('refuses, with a warning, and keeps nothing: %s', (_, end) => {
    const [mine, theirs] = pair();
    const sender = keep(new Sender(mine, new ChannelMap()));
    end(sender, theirs);
    for (let count = 0; count < 2; count += 1) {
      expect(sender.send(Buffer.from('hello'))).toBe(0);
      expect(sender.outBuffer).toHaveLength(0);
    }
    const warning = 'warning: send on a closed connection: refused';
    expect(sender.logged).toEqual([warning, warning]);
  });

  it('leaves what has waited before it for the next connection', () => {
    const [mine, theirs] = pair();
    const sender = keep(new Sender(mine, new ChannelMap()));
    while (sender.outBuffer.length === 0) sender.send(Buffer.alloc(100_000, 'w'));
    const left = sender.outBuffer.length;
    theirs.close();
    expect(sender.send(Buffer.alloc(5_000_000, 'n'))).toBe(0);
    expect(sender.outBuffer).toHaveLength(left);
    expect(sender.outBuffer.includes('n')).toBe(false);
    expect(sender.outBuffer.buffer.byteLength).toBeLessThan(1_000_000);
  });

  it('takes output again once it connects anew', () => {
    const map = new ChannelMap();
    const listener = bareListener(AF_UNIX);
    const sender = keep(new Sender(pair()[0], map));
    sender.close();
    sender.send(Buffer.from('refused'));
    sender.createSocket(AF_UNIX);
    sender.connect(listener.getSockName());
    expect(sender.send(Buffer.from('taken'))).toBe(5);
    loopSync({ map, timeout: 0, count: 2 });
    expect(received(keep(listener.accept()?.socket as Socket))).toBe('taken');
  });
});
