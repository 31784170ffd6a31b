// Output leaves once a tick: what is pushed while the loop delivers events leaves after the reads of the
// tick, in one send a chat, and never later than anything that waits.

import { closeSync } from 'node:fs';
import {
  AsyncChat,
  ChannelMap,
  Dispatcher,
  DispatcherWithSend,
  ExitNow,
  Fifo,
  poll,
  poll2,
  read,
  SHUT_RDWR,
  SHUT_WR,
  SO_LINGER,
  SOL_SOCKET,
  Socket,
  type SocketLike,
} from 'asyncore';

/** Counts what the kernel is given. A Socket otherwise: output takes the same way as in a program. */
function counted(socket: Socket): { sends: string[] } {
  const sends: string[] = [];
  const { send } = socket;
  socket.send = (data, flags) => {
    sends.push(Buffer.from(data).toString('latin1'));
    return send.call(socket, data, flags);
  };
  return { sends };
}

class Member extends AsyncChat {
  readonly errors: unknown[] = [];
  onLine: (line: string) => void = () => {};

  constructor(socket: SocketLike, map: ChannelMap) {
    super(socket, map);
    this.setTerminator('\n');
  }

  override collectIncomingData(data: Buffer): void {
    this._collectIncomingData(data);
  }

  override foundTerminator(): void {
    this.onLine(this.takeCollected().toString());
  }

  override handleError(error: unknown): void {
    this.errors.push(error);
  }
}

interface Place<Chat extends AsyncChat = Member> {
  chat: Chat;
  peer: Socket;
  sends: string[];
}

const opened: { close(): void }[] = [];
afterEach(() => {
  for (const each of opened.splice(0)) each.close();
});

function place<Chat extends AsyncChat>(
  map: ChannelMap,
  Class: new (socket: SocketLike, map: ChannelMap) => Chat,
): Place<Chat> {
  const [mine, peer] = Socket.pair();
  const { sends } = counted(mine);
  const chat = new Class(mine, map);
  opened.push(chat, peer);
  return { chat, peer, sends };
}

/** All that has arrived. */
function received(socket: Socket): string {
  let text = '';
  for (let data = socket.recv(65536); data !== null && data.length > 0; data = socket.recv(65536)) {
    text += data.toString('latin1');
  }
  return text;
}

const LINE = Buffer.from('x\n');
const rawSend = Socket.prototype.send;

describe.each([
  ['select order', poll],
  ['poll order', poll2],
])('In one tick, %s', (_, pass) => {
  it('ten of fifty members speak, and each member gets all of it in one send', () => {
    const map = new ChannelMap();
    const room = Array.from({ length: 50 }, () => place(map, Member));
    room.forEach(({ chat }, number) => {
      chat.onLine = () => {
        for (const member of room) member.chat.push(`${number}\n`);
      };
    });
    for (const { peer } of room.slice(20, 30)) peer.send(LINE);
    pass(1000, map);
    const said = [20, 21, 22, 23, 24, 25, 26, 27, 28, 29].map((number) => `${number}\n`).join('');
    expect(room.flatMap(({ sends }) => sends)).toEqual(Array(50).fill(said));
    for (const { peer } of room) expect(received(peer)).toBe(said);
  });

  it.each([10, 500, 16_000])(
    'each member gets all lines of %i bytes whole and in order, whoever speaks in between',
    (length) => {
      const map = new ChannelMap();
      const room = Array.from({ length: 5 }, () => {
        const [mine, peer] = Socket.pair();
        const chat = new Member(mine, map);
        opened.push(chat, peer);
        return { chat, peer };
      });
      let said = '';
      room.forEach(({ chat }, number) => {
        chat.onLine = () => {
          // More than the memory that all share has room for, where the lines are long.
          for (let turn = 0; turn < 5; turn += 1) {
            const line = String(number + turn).repeat(length);
            said += line;
            for (const member of room) member.chat.push(line);
          }
        };
      });
      const got = room.map(() => '');
      for (let round = 1; round <= 2; round += 1) {
        for (const { peer } of room) peer.send(LINE);
        for (
          let tick = 0;
          tick < 1000 && got.some((text) => text.length < round * 25 * length);
          tick += 1
        ) {
          pass(1000, map);
          room.forEach(({ peer }, number) => {
            got[number] += received(peer);
          });
        }
        // Not by toEqual, which prints megabytes.
        expect(got.map((text) => text === said)).toEqual(room.map(() => true));
      }
      expect(said).toHaveLength(2 * 25 * length);
    },
  );

  it('a nested pass finds the answer to what was just pushed', () => {
    const map = new ChannelMap();
    const { chat, peer } = place(map, Member);
    const echo = place(map, Member);
    echo.chat.onLine = (line) => echo.chat.push(`echo ${line}\n`);
    const answers: string[] = [];
    chat.onLine = (line) => {
      // `chat` pushes to the peer of `echo`, a plain socket in between.
      echo.peer.send(Buffer.from('question\n'));
      chat.push('before\n');
      expect(received(peer)).toBe('');
      pass(1000, map);
      answers.push(line, received(peer), received(echo.peer));
    };
    peer.send(LINE);
    pass(1000, map);
    expect(answers).toEqual(['x', 'before\n', 'echo question\n']);
    expect(chat.errors).toEqual([]);
  });

  it('close() in another channel’s handler sends first what was pushed there', () => {
    const map = new ChannelMap();
    const leaving = place(map, Member);
    const { chat, peer } = place(map, Member);
    chat.onLine = () => {
      leaving.chat.push('good');
      leaving.chat.push('bye\n');
      leaving.chat.close();
    };
    peer.send(LINE);
    pass(1000, map);
    expect(received(leaving.peer)).toBe('goodbye\n');
    expect(leaving.sends).toEqual(['goodbye\n']);
  });

  it('the close of a socket behind its chat’s back sends first what was pushed', () => {
    const map = new ChannelMap();
    const { chat, peer } = place(map, Member);
    chat.onLine = () => {
      chat.push('last words\n');
      chat.socket?.close();
    };
    peer.send(LINE);
    pass(1000, map);
    expect(received(peer)).toBe('last words\n');
  });

  it('closeWhenDone() closes at a later tick, and sends everything before', () => {
    const map = new ChannelMap();
    const { chat, peer } = place(map, Member);
    chat.onLine = () => {
      chat.push('answer\n');
      chat.closeWhenDone();
    };
    peer.send(LINE);
    pass(1000, map);
    expect(received(peer)).toBe('answer\n');
    expect(map.size).toBe(1);
    pass(1000, map);
    expect(map.size).toBe(0);
  });

  it('send() of a chat comes after what the tick has pushed', () => {
    const map = new ChannelMap();
    const { chat, peer } = place(map, Member);
    chat.onLine = () => {
      chat.push('first ');
      chat.send(Buffer.from('second'));
    };
    peer.send(LINE);
    pass(1000, map);
    expect(received(peer)).toBe('first second');
  });

  it('with batchOutput = false every push sends at once', () => {
    class Unbatched extends Member {
      override batchOutput = false;
    }
    const map = new ChannelMap();
    const own = place(map, Unbatched);
    const other = place(map, Member);
    const seen: string[] = [];
    own.chat.onLine = () => {
      other.chat.push('waits');
      for (const text of ['a', 'b']) {
        own.chat.push(text);
        seen.push(received(own.peer));
      }
      // Set on one channel, it counts from the next push on, which takes along what waits.
      other.chat.batchOutput = false;
      other.chat.push(' no more');
      seen.push(received(other.peer));
    };
    own.peer.send(LINE);
    pass(1000, map);
    expect(seen).toEqual(['a', 'b', 'waits no more']);
    expect(own.sends).toEqual(['a', 'b']);
    expect(own.chat.errors).toEqual([]);
  });

  it('is sent when ExitNow cuts the tick short', () => {
    const map = new ChannelMap();
    const listening = place(map, Member);
    const { chat, peer } = place(map, Member);
    chat.onLine = () => {
      chat.push('to the peer\n');
      listening.chat.push('to another\n');
      throw new ExitNow();
    };
    chat.handleError = (error) => {
      throw error;
    };
    peer.send(LINE);
    expect(() => pass(1000, map)).toThrow(ExitNow);
    expect(received(peer)).toBe('to the peer\n');
    expect(received(listening.peer)).toBe('to another\n');
  });

  it('leaves the memory that all chats share empty, so that long sessions do not fill it', () => {
    const map = new ChannelMap();
    const members = Array.from({ length: 8 }, () => place(map, Member));
    for (const { chat } of members) {
      chat.onLine = () => {
        for (let count = 0; count < 4; count += 1) chat.push(Buffer.alloc(10_000, 'y'));
      };
    }
    for (let tick = 0; tick < 20; tick += 1) {
      for (const { peer } of members) peer.send(LINE);
      pass(1000, map);
      // 8 x 40,000 bytes do not fit; each member gets its own in full all the same.
      for (const { peer } of members) expect(received(peer)).toBe('y'.repeat(40_000));
    }
  });
});

describe('What has been pushed in a tick is sent first', () => {
  /** Pushes in a read event and then does `act`. @returns what has arrived right after that */
  function arrivedAfter(act: (chat: Member, map: ChannelMap) => void): string {
    const map = new ChannelMap();
    const { chat, peer } = place(map, Member);
    let seen = '';
    chat.onLine = () => {
      chat.push('pushed ');
      act(chat, map);
      seen = received(peer);
    };
    peer.send(LINE);
    poll(1000, map);
    expect(chat.errors).toEqual([]);
    return seen;
  }

  it.each([
    ['shutdown(SHUT_WR)', SHUT_WR],
    ['shutdown(SHUT_RDWR)', SHUT_RDWR],
  ])('by %s of the socket', (_, how) => {
    expect(arrivedAfter((chat) => chat.socket?.shutdown?.(how))).toBe('pushed ');
  });

  it('by shutdown(SHUT_WR) of a socket that another channel’s handler has pushed to', () => {
    const map = new ChannelMap();
    const other = place(map, Member);
    const { chat, peer } = place(map, Member);
    chat.onLine = () => {
      other.chat.push('relayed');
      other.chat.socket?.shutdown?.(SHUT_WR);
    };
    peer.send(LINE);
    poll(1000, map);
    expect(received(other.peer)).toBe('relayed');
    expect(map.size).toBe(2);
  });

  it('by shutdown() of a socket whose peer is gone, which says so as the kernel does', () => {
    const map = new ChannelMap();
    const other = place(map, Member);
    const { chat, peer } = place(map, Member);
    let caught: unknown;
    chat.onLine = () => {
      other.chat.push('lost');
      const socket = other.chat.socket as Socket;
      other.peer.setSockOpt(SOL_SOCKET, SO_LINGER, Buffer.from([1, 0, 0, 0, 0, 0, 0, 0]));
      other.peer.close();
      try {
        socket.shutdown(SHUT_WR);
      } catch (error) {
        caught = error;
      }
    };
    peer.send(LINE);
    poll(1000, map);
    expect(caught).toMatchObject({ name: 'SocketError', code: 'ENOTCONN', syscall: 'shutdown' });
    expect(map.size).toBe(1);
  });

  it('by delChannel() and by the channel that takes the socket over', () => {
    const upgrade = (chat: Member, map: ChannelMap): void => {
      const socket = chat.socket as Socket;
      chat.delChannel();
      const next = new DispatcherWithSend(socket, map);
      next.send(Buffer.from('frame'));
      opened.push(next);
    };
    expect(arrivedAfter(upgrade)).toBe('pushed frame');
  });

  it('by a new channel on the same socket, which closes it', () => {
    const replace = (chat: Member, map: ChannelMap): void => {
      new Member(chat.socket as Socket, map).close();
    };
    expect(arrivedAfter(replace)).toBe('pushed ');
  });

  it('by detach()', () => {
    expect(arrivedAfter((chat) => closeSync((chat.socket as Socket).detach()))).toBe('pushed ');
  });
});

describe('Memory that the program uses again after a push', () => {
  it.each([4, 5000, 16_384, 20_000, 70_000])('is sent as it was: %i bytes', (size) => {
    const map = new ChannelMap();
    const other = place(map, Member);
    const { chat, peer } = place(map, Member);
    const reused = Buffer.alloc(size);
    chat.onLine = () => {
      for (const letter of 'abc') {
        reused.fill(letter);
        chat.push(reused);
        other.chat.push(reused);
      }
      reused.fill('-');
    };
    peer.send(LINE);
    const all = new Map([
      [peer, ''],
      [other.peer, ''],
    ]);
    const expected = ['a', 'b', 'c'].map((letter) => letter.repeat(size)).join('');
    for (
      let tick = 0;
      tick < 1000 && [...all.values()].some((got) => got.length < 3 * size);
      tick += 1
    ) {
      poll(10, map);
      for (const [socket, got] of all) all.set(socket, got + received(socket));
    }
    expect([...all.values()]).toEqual([expected, expected]);
  });
});

describe('A push from within more()', () => {
  it.each<[string, (chat: Member) => void]>([
    ['discardBuffers()', (chat) => chat.discardBuffers()],
    ['producerFifo.pop()', (chat) => chat.producerFifo.pop()],
    [
      'another fifo',
      (chat) => {
        chat.producerFifo = new Fifo();
      },
    ],
  ])('that has emptied the fifo by %s is sent', (_, empty) => {
    const { chat, peer } = place(new ChannelMap(), Member);
    chat.pushWithProducer({
      more() {
        empty(chat);
        chat.push('within');
        return null;
      },
    });
    chat.push(' after');
    chat.close();
    expect(received(peer)).toBe('within after');
  });
});

describe('A method of the library that is patched', () => {
  it.each<[string, object]>([
    ['AsyncChat.prototype.send', AsyncChat.prototype],
    ['Dispatcher.prototype.send', Dispatcher.prototype],
    ['Socket.prototype.send', Socket.prototype],
  ])('%s is called for every byte', (_, prototype) => {
    const patched = prototype as { send(data: Uint8Array): number };
    const { send } = patched;
    let given = '';
    patched.send = function (data) {
      given += Buffer.from(data).toString();
      return send.call(this, data);
    };
    try {
      const map = new ChannelMap();
      const [mine, peer] = Socket.pair();
      const chat = new Member(mine, map);
      opened.push(chat, peer);
      chat.onLine = () => chat.push('in an event ');
      rawSend.call(peer, LINE);
      poll(1000, map);
      chat.push('outside');
      expect(received(peer)).toBe('in an event outside');
      expect(given).toContain('in an event outside');
    } finally {
      patched.send = send;
    }
  });
});

describe('An event that a program delivers itself', () => {
  it('is a tick of its own', () => {
    const map = new ChannelMap();
    const other = place(map, Member);
    const { chat, peer, sends } = place(map, Member);
    chat.onLine = () => {
      for (const text of ['a', 'b', 'c']) {
        chat.push(text);
        other.chat.push(text);
      }
      expect([...sends, ...other.sends]).toEqual([]);
    };
    peer.send(LINE);
    read(chat);
    expect(chat.errors).toEqual([]);
    expect(sends).toEqual(['abc']);
    expect(other.sends).toEqual(['abc']);
  });

  it('is not, within a tick: its output leaves with the tick’s', () => {
    const map = new ChannelMap();
    const inner = place(map, Member);
    inner.chat.onLine = () => inner.chat.push('inner');
    const { chat, peer, sends } = place(map, Member);
    chat.onLine = () => {
      chat.push('outer');
      inner.peer.send(LINE);
      void inner.chat.handleReadEvent();
      expect([...sends, ...inner.sends]).toEqual([]);
    };
    peer.send(LINE);
    poll(1000, map);
    expect(chat.errors).toEqual([]);
    expect([sends, inner.sends]).toEqual([['outer'], ['inner']]);
  });
});

describe('Outside a tick', () => {
  it('each push sends at once', () => {
    const { chat, sends } = place(new ChannelMap(), Member);
    for (const text of ['a', 'b']) chat.push(text);
    expect(sends).toEqual(['a', 'b']);
  });

  it('an await in a handler ends its part in the tick', async () => {
    const map = new ChannelMap();
    const { chat, peer, sends } = place(map, Member);
    let done: Promise<void> | undefined;
    chat.onLine = () => {
      done = (async () => {
        chat.push('a');
        chat.push('b');
        await null;
        chat.push('c');
      })();
    };
    peer.send(LINE);
    poll(1000, map);
    await done;
    expect(sends).toEqual(['ab', 'c']);
  });
});

describe('An overridden step is called for every byte', () => {
  /** Pushes to itself and to the same class elsewhere, within a tick and outside one. */
  function exercise<Chat extends Member>(
    Class: new (socket: SocketLike, map: ChannelMap) => Chat,
  ): Place<Chat> {
    const map = new ChannelMap();
    const it = place(map, Class);
    const { chat, peer } = place(map, Member);
    it.chat.onLine = () => {
      it.chat.push('own ');
      it.chat.push('event ');
    };
    chat.onLine = () => it.chat.push('other’s '.replace('’', "'"));
    it.peer.send(LINE);
    poll(1000, map);
    peer.send(LINE);
    poll(1000, map);
    it.chat.push('no event');
    expect(received(it.peer)).toBe("own event other's no event");
    return it;
  }

  it('initiateSend', () => {
    class Traced extends Member {
      calls: number[] = [];
      override initiateSend(): void {
        const before = this.writableLength;
        super.initiateSend();
        this.calls.push(before - this.writableLength);
      }
    }
    const { chat } = exercise(Traced);
    expect(chat.calls).toEqual([10, 8, 8]);
  });

  it('refillBuffer', () => {
    class Traced extends Member {
      filled = '';
      override refillBuffer(): void {
        super.refillBuffer();
        this.filled += this.acOutBuffer.toString();
      }
    }
    // In the one call after the last piece nothing is left to fill the buffer with.
    expect(exercise(Traced).chat.filled).toBe("own event other's no event");
  });

  it('send', () => {
    class Traced extends Member {
      given = '';
      override send(data: Uint8Array): number {
        const sent = super.send(data);
        this.given += Buffer.from(data.subarray(0, sent)).toString();
        return sent;
      }
    }
    expect(exercise(Traced).chat.given).toBe("own event other's no event");
  });

  it('writable, which is asked again after each send: a limiter of 4,096 bytes sends 4,096 bytes', () => {
    class Limited extends Member {
      allowance = 4096;
      override acOutBufferSize = 1024;
      override send(data: Uint8Array): number {
        const sent = super.send(data);
        this.allowance -= sent;
        return sent;
      }
      override writable(): boolean {
        return super.writable() && this.allowance > 0;
      }
    }
    const map = new ChannelMap();
    const { chat, peer, sends } = place(map, Limited);
    chat.connected = false;
    chat.push(Buffer.alloc(65_536, 'z'));
    chat.connected = true;
    poll(0, map);
    expect(sends.map(({ length }) => length)).toEqual([1024, 1024, 1024, 1024]);
    poll(0, map);
    expect(received(peer)).toHaveLength(4096);
    chat.allowance = 2048;
    poll(0, map);
    expect(received(peer)).toHaveLength(2048);
  });
});

describe('An overridden connected', () => {
  class Handshake extends Member {
    ready = false;
    override get connected(): boolean {
      return this.ready && super.connected;
    }
    override set connected(value: boolean) {
      super.connected = value;
    }
  }

  it.each([
    ['outside a tick', false],
    ['within one', true],
  ])('keeps what is pushed until there is a connection: %s', (_, within) => {
    const map = new ChannelMap();
    const { chat, peer } = place(map, Handshake);
    delete (chat.socket as Partial<Socket>).send;
    if (within) {
      chat.onLine = () => chat.push('abc');
      peer.send(LINE);
      poll(1000, map);
    } else chat.push('abc');
    expect(received(peer)).toBe('');
    expect(chat.writableLength).toBe(3);
    chat.ready = true;
    chat.initiateSend();
    expect(received(peer)).toBe('abc');
  });
});

describe('pushWithProducer() with data', () => {
  it('calls no override of push(), which may call it', () => {
    class Framed extends Member {
      override push(data: Uint8Array | string): boolean {
        return this.pushWithProducer(`<${data}>`);
      }
    }
    const { chat, peer } = place(new ChannelMap(), Framed);
    chat.push('a');
    chat.pushWithProducer('b');
    expect(received(peer)).toBe('<a>b');
  });

  it('calls no push() that is patched in, either', () => {
    const { chat, peer } = place(new ChannelMap(), Member);
    const { push } = AsyncChat.prototype;
    AsyncChat.prototype.push = function (data) {
      return this.pushWithProducer(`<${data}>`);
    };
    try {
      chat.push('a');
      chat.pushWithProducer('b');
    } finally {
      AsyncChat.prototype.push = push;
    }
    expect(received(peer)).toBe('<a>b');
  });
});

describe('A connection that is lost between a push and the flush', () => {
  it('keeps the output for the next one', () => {
    const map = new ChannelMap();
    const { chat, peer } = place(map, Member);
    const other = place(map, Member);
    chat.onLine = () => {
      chat.push('kept');
      chat.connected = false;
      chat.initiateSend();
      expect(chat.writableLength).toBe(4);
    };
    peer.send(LINE);
    poll(1000, map);
    expect(chat.errors).toEqual([]);
    expect(received(peer)).toBe('');
    // Another chat writes to the memory that all chats share.
    other.chat.onLine = () => other.chat.push('else');
    other.peer.send(LINE);
    poll(1000, map);
    chat.connected = true;
    poll(1000, map);
    expect([received(peer), received(other.peer)]).toEqual(['kept', 'else']);
  });
});

describe('Output that is on its way', () => {
  /** Its send() takes a part, and does something in between. */
  class Slow extends Member {
    within: () => void = () => {};
    override send(data: Uint8Array): number {
      const { within } = this;
      this.within = () => {};
      within();
      return super.send(data.subarray(0, 3));
    }
  }

  /** A chat on a stand-in socket: an own send() of the socket, which is given a copy. */
  function onStandIn(map: ChannelMap): Place & { during: (within: () => void) => void } {
    const it = place(map, Member);
    const socket = it.chat.socket as Socket;
    const { send } = socket;
    let within: () => void = () => {};
    socket.send = (data) => {
      const act = within;
      within = () => {};
      act();
      return send.call(socket, data.subarray(0, 3));
    };
    return {
      ...it,
      during: (act) => {
        within = act;
      },
    };
  }

  it('is followed by what is pushed, and flushed, meanwhile', () => {
    const map = new ChannelMap();
    const { chat, peer, during } = onStandIn(map);
    const other = place(map, Member);
    chat.onLine = () => chat.push('abcdef');
    during(() => {
      chat.push('ghi');
      chat.push(Buffer.alloc(20_000, 'j'));
      poll(0, map);
    });
    peer.send(LINE);
    let all = '';
    for (let tick = 0; tick < 10_000 && all.length < 20_009; tick += 1) {
      poll(1000, map);
      all += received(peer);
    }
    expect(all).toBe(`abcdefghi${'j'.repeat(20_000)}`);
    // The memory that all chats share is whole: another chat's output is its own.
    other.chat.onLine = () => other.chat.push('still well');
    other.peer.send(LINE);
    poll(1000, map);
    expect(received(other.peer)).toBe('still well');
  });

  it('does not come back after discardBuffers()', () => {
    const map = new ChannelMap();
    const { chat, peer, during } = onStandIn(map);
    chat.onLine = () => chat.push('abcdef');
    during(() => chat.discardBuffers());
    peer.send(LINE);
    poll(1000, map);
    expect(chat.writableLength).toBe(0);
    expect(received(peer)).toBe('abc');
  });

  it('by an override of send(), too, is followed by what is pushed meanwhile', () => {
    const map = new ChannelMap();
    const { chat, peer } = place(map, Slow);
    chat.onLine = () => chat.push('abcdef');
    chat.within = () => {
      chat.push('ghi');
      poll(0, map);
    };
    peer.send(LINE);
    for (let tick = 0; tick < 5; tick += 1) poll(10, map);
    expect(received(peer)).toBe('abcdefghi');
  });
});

describe('A dispatcher that is no chat', () => {
  it('may push to chats in its handlers, and that leaves once', () => {
    const map = new ChannelMap();
    const { chat, sends } = place(map, Member);
    const [mine, theirs] = Socket.pair();
    class Relay extends Dispatcher {
      override writable(): boolean {
        return false;
      }
      override handleRead(): void {
        for (const byte of this.recv(10) ?? []) chat.push(Buffer.of(byte));
      }
    }
    const relay = new Relay(mine, map);
    opened.push(relay, theirs);
    theirs.send(Buffer.from('abc'));
    poll(1000, map);
    expect(sends).toEqual(['abc']);
  });
});
