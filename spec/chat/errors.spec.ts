// Where the errors of a chat go, and what is delivered after one.

import { readSync } from 'node:fs';
import { inflateSync } from 'node:zlib';
import {
  AsyncChat,
  ChannelMap,
  Dispatcher,
  DispatcherWithSend,
  ExitNow,
  FileDispatcher,
  type Handled,
  poll,
  poll2,
  type Socket,
  SocketError,
} from 'asyncore';
import { drive, WAYS } from '../support/drive';
import { keep } from '../support/keep';
import { RecordingListener } from '../support/recorder';
import { call, pair, received } from '../support/sockets';

/** Takes lines. The line `bad` is an error. */
class Lines extends AsyncChat {
  readonly lines: string[] = [];
  readonly errors: string[] = [];
  onBad: (line: string) => Handled = (line) => {
    throw new Error(line);
  };
  onError: () => Handled = () => {};

  constructor(socket: Socket, map: ChannelMap) {
    super(socket, map);
    this.setTerminator('\n');
  }
  override collectIncomingData(data: Buffer): void {
    this._collectIncomingData(data);
  }
  override foundTerminator(): Handled {
    const line = this._getData().toString();
    this.lines.push(line);
    if (line.startsWith('bad')) return this.onBad(line);
  }
  override handleError(error: unknown): Handled {
    this.errors.push((error as Error).message);
    return this.onError();
  }
}

/** A chat, and the socket at the other end. */
function lines<Chat extends Lines = Lines>(
  Class: new (socket: Socket, map: ChannelMap) => Chat = Lines as never,
): { chat: Chat; theirs: Socket; map: ChannelMap; send(text: string): void } {
  const map = new ChannelMap();
  const [mine, theirs] = pair();
  const chat = keep(new Class(mine, map));
  return { chat, theirs, map, send: (text) => void theirs.send(Buffer.from(text)) };
}

/** Passes enough for all that can happen. */
function settle(map: ChannelMap): void {
  for (let pass = 0; pass < 5; pass += 1) poll(0, map);
}

/** The kernel takes no output of this chat. */
function refuseOutput(chat: Lines): void {
  chat.send = () => 0;
  chat.push('500 Error\n');
}

describe('A chat that closes when done because of an error', () => {
  it.each(WAYS)('delivers no further record: %s', async (_, how) => {
    const { chat, theirs, map, send } = lines();
    chat.onError = () => {
      chat.push('500 Error\n');
      chat.closeWhenDone();
    };
    send('ok\nbad\nDELETE everything\nDELETE');
    await drive(how, () => map.size === 0, { map });
    expect(chat.lines).toEqual(['ok', 'bad']);
    expect(chat._getData()).toHaveLength(0);
    expect(received(theirs)).toBe('500 Error\n');
  });

  it.each<[string, (chat: Lines) => void]>([
    ['foundTerminator', () => {}],
    [
      'collectIncomingData',
      (chat) => {
        chat.collectIncomingData = (data) => {
          if (data.toString().startsWith('bad')) throw new Error('bad');
          chat._collectIncomingData(data);
        };
      },
    ],
    [
      'a record that is too long',
      (chat) => {
        chat.maxRecordLength = 5;
      },
    ],
    ['a counted record', (chat) => chat.setTerminator(7)],
    [
      'getTerminator',
      (chat) => {
        const { terminator } = chat;
        let asked = 0;
        chat.getTerminator = () => {
          asked += 1;
          if (asked > 1) throw new Error('bad');
          return terminator;
        };
      },
    ],
    [
      'handleDrain',
      (chat) => {
        chat.onBad = () => {};
        chat.highWaterMark = 0;
        chat.handleDrain = () => {
          throw new Error('bad');
        };
        refuseOutput(chat);
        Reflect.deleteProperty(chat, 'send');
        chat.initiateSend();
      },
    ],
    [
      'a nested poll()',
      (chat) => {
        const { foundTerminator } = chat;
        chat.foundTerminator = function (this: Lines) {
          const result = foundTerminator.call(this);
          poll(0, chat.map);
          return result;
        };
      },
    ],
    [
      'a handler that has called closeWhenDone itself',
      (chat) => {
        chat.onBad = (line) => {
          chat.closeWhenDone();
          throw new Error(line);
        };
        chat.onError = () => {};
      },
    ],
  ])('delivers no record that has arrived, or arrives later: %s', (_, prepare) => {
    const { chat, map, send } = lines();
    chat.onError = () => chat.closeWhenDone();
    send('good\n');
    poll(1000, map);
    prepare(chat);
    send('bad one\nDELETE everything\n');
    poll(1000, map);
    refuseOutput(chat);
    if (chat.connected) send('DELETE more\n');
    settle(map);
    expect(chat.errors).toHaveLength(1);
    expect(chat.lines.filter((line) => line.startsWith('DELETE'))).toEqual([]);
    expect(chat.acInBuffer).toHaveLength(0);
  });

  it.each<[string, (chat: Lines) => Handled, () => Handled]>([
    ['an async handler', (chat) => chat.closeWhenDone(), () => Promise.reject(new Error('bad'))],
    [
      'an async handleError',
      async (chat) => {
        await null;
        chat.closeWhenDone();
      },
      () => {
        throw new Error('bad');
      },
    ],
  ])('delivers nothing after it, when that was %s', async (_, onError, onBad) => {
    const { chat, map, send } = lines();
    chat.onBad = () => {
      chat.pauseReading();
      return onBad();
    };
    chat.onError = () => onError(chat);
    refuseOutput(chat);
    send('bad\nDELETE everything\n');
    poll(1000, map);
    await new Promise(setImmediate);
    chat.resumeReading();
    send('DELETE more\n');
    settle(map);
    expect(chat.lines).toEqual(['bad']);
  });

  it('delivers nothing of what is held at the end of the stream', () => {
    const { chat, theirs, map, send } = lines();
    chat.onBad = () => chat.pauseReading();
    chat.onError = () => chat.closeWhenDone();
    chat.allowHalfOpen = true;
    refuseOutput(chat);
    send('bad\nbad\nDELETE everything\n');
    poll(1000, map);
    chat.onBad = () => {
      throw new Error('bad');
    };
    theirs.close();
    chat.recv(1); // finds the end, and goes through what is held
    expect(chat.lines).toEqual(['bad', 'bad']);
  });

  it('delivers nothing while handleClose has yet to close it', async () => {
    for (const usePoll of [false, true]) {
      const { chat, map, send } = lines();
      let saved = (): void => {};
      chat.onError = () => chat.closeWhenDone();
      chat.handleClose = async () => {
        await new Promise<void>((resolve) => {
          saved = resolve;
        });
        chat.close();
      };
      send('bad\n');
      for (let pass = 0; pass < 5; pass += 1) (usePoll ? poll2 : poll)(0, map);
      send('DELETE everything\n');
      for (let pass = 0; pass < 5; pass += 1) (usePoll ? poll2 : poll)(0, map);
      saved();
      await drive({ usePoll, sync: false }, () => map.size === 0, { map });
      expect(chat.lines).toEqual(['bad']);
    }
  });

  it('delivers again when discardBuffers has taken the closing back', () => {
    const { chat, map, send } = lines();
    chat.onError = () => chat.closeWhenDone();
    send('bad\nlost\n');
    chat.onBad = (line) => {
      chat.push('x'.repeat(10));
      throw new Error(line);
    };
    chat.send = () => 0;
    poll(1000, map);
    chat.discardBuffers();
    send('again\n');
    poll(1000, map);
    expect(chat.lines).toEqual(['bad', 'again']);
  });

  it('delivers all to its next connection', () => {
    const { chat, map, send } = lines();
    const [mine, theirs] = pair();
    chat.onError = () => {
      chat.close();
      chat.setSocket(mine, map);
      chat.connected = true;
    };
    send('bad\nlost\n');
    poll(1000, map);
    chat.push('one question\n');
    chat.closeWhenDone();
    theirs.send(Buffer.from('answer\nanswer\n'));
    void chat.handleReadEvent();
    expect(chat.lines).toEqual(['bad', 'answer', 'answer']);
  });
});

describe('A chat that goes on after an error', () => {
  it.each(WAYS)('delivers the records that follow: %s', async (_, how) => {
    const { chat, map, send } = lines();
    send('bad\nbad\ngood\n');
    await drive(how, () => chat.lines.length === 3, { map });
    expect(chat.lines).toEqual(['bad', 'bad', 'good']);
    expect(chat.errors).toEqual(['bad', 'bad']);
  });

  it('reads on after a later closeWhenDone, as without any error', () => {
    const { chat, map, send } = lines();
    send('bad\ngood\n');
    poll(1000, map);
    refuseOutput(chat);
    chat.closeWhenDone();
    send('more\n');
    settle(map);
    expect(chat.lines).toEqual(['bad', 'good', 'more']);
  });
});

describe('AsyncChat.handleRead, called by the program', () => {
  it.each<[string, (chat: Lines) => void, string]>([
    ['foundTerminator', () => {}, 'good\n'],
    // The piece was handed over: Python would deliver it again.
    [
      'collectIncomingData',
      (chat) => {
        chat.collectIncomingData = () => {
          throw new Error('bad');
        };
      },
      'good\n',
    ],
    ['foundTerminator of a counted record', (chat) => chat.setTerminator(3), '\ngood\n'],
    [
      'an overridden recv',
      (chat) => {
        chat.recv = () => {
          throw new Error('bad');
        };
      },
      '',
    ],
    [
      'handleClose',
      (chat) => {
        chat.recv = () => {
          chat.handleClose();
          return null;
        };
        chat.handleClose = () => {
          throw new Error('bad');
        };
      },
      '',
    ],
  ])('throws what %s throws, and leaves the rest of the input', (_, prepare, rest) => {
    for (const method of ['handleRead', 'handleReadEvent'] as const) {
      const { chat, send } = lines();
      prepare(chat);
      send('bad\ngood\n');
      expect(() => chat[method]()).toThrow('bad');
      expect(chat.acInBuffer.toString()).toBe(rest);
      expect(chat.errors).toEqual([]);
    }
  });

  it('throws what an overridden recv throws when it cannot inflate', () => {
    const { chat, send } = lines();
    chat.recv = (size) => inflateSync(Dispatcher.prototype.recv.call(chat, size) as Buffer);
    send('this is not deflate');
    // zlib has error numbers of its own.
    expect(() => chat.handleRead()).toThrow(expect.objectContaining({ code: 'Z_DATA_ERROR' }));
    expect(chat.errors).toEqual([]);
  });

  it.each<[string, Error]>([
    ['a SocketError', new SocketError('ETIMEDOUT', 110, 'recv', 'Connection timed out')],
    ['an error of Node', Object.assign(new Error('EIO'), { errno: -5, code: 'EIO' })],
  ])('gives %s of recv to handleError', (_, error) => {
    const { chat } = lines();
    chat.recv = () => {
      throw error;
    };
    void chat.handleRead();
    expect(chat.errors).toEqual([error.message]);
  });

  it.each(WAYS)('may catch the error in an override, and misses no record: %s', async (_, how) => {
    class Catching extends Lines {
      readonly caught: string[] = [];
      override handleRead(): Handled {
        try {
          return super.handleRead();
        } catch (error) {
          this.caught.push((error as Error).message);
        }
      }
    }
    const { chat, map, send } = lines(Catching);
    send('bad 1\ngood\nbad 2\nthe end\n');
    await drive(how, () => chat.lines.includes('the end'), { map });
    expect(chat.lines).toEqual(['bad 1', 'good', 'bad 2', 'the end']);
    expect(chat.caught).toEqual(['bad 1', 'bad 2']);
    expect(chat.errors).toEqual([]);
  });

  it('may catch the error in an override, and close: no record follows', () => {
    class Closing extends Lines {
      override handleRead(): Handled {
        try {
          return super.handleRead();
        } catch {
          refuseOutput(this);
          this.closeWhenDone();
        }
      }
    }
    const { chat, map, send } = lines(Closing);
    send('bad\nDELETE everything\n');
    poll(1000, map);
    send('DELETE more\n');
    settle(map);
    expect(chat.lines).toEqual(['bad']);
  });

  it('lets ExitNow out of the loop, which goes on with the rest when it runs again', () => {
    const { chat, map, send } = lines();
    chat.onBad = () => {
      throw new ExitNow();
    };
    send('bad\ngood\n');
    expect(() => poll(1000, map)).toThrow(ExitNow);
    poll(1000, map);
    expect(chat.lines).toEqual(['bad', 'good']);
    expect(chat.errors).toEqual([]);
  });
});

describe('AsyncChat.handleWrite, called by the program', () => {
  const failing = {
    more(): never {
      throw new Error('no more');
    },
  };

  it.each(['handleWrite', 'initiateSend', 'handleWriteEvent'] as const)(
    'throws what a producer throws: %s',
    (method) => {
      const { chat } = lines();
      chat.producerFifo.push(failing);
      expect(() => chat[method]()).toThrow('no more');
      expect(chat.errors).toEqual([]);
    },
  );

  it('throws it at the next call, when something was sent before it', () => {
    const { chat, theirs } = lines();
    const pieces = ['a'.repeat(70_000)];
    chat.producerFifo.push({ more: () => pieces.shift() ?? failing.more() });
    void chat.handleWrite();
    expect(received(theirs)).toHaveLength(70_000);
    expect(chat.writable()).toBe(true);
    expect(() => chat.handleWrite()).toThrow('no more');
    expect(chat.errors).toEqual([]);
  });

  it.each(WAYS)('may catch it in an override: %s', async (_, how) => {
    class Catching extends Lines {
      readonly caught: string[] = [];
      override handleWrite(): Handled {
        try {
          return super.handleWrite();
        } catch (error) {
          this.caught.push((error as Error).message);
          this.discardBuffers();
        }
      }
    }
    const { chat, theirs, map } = lines(Catching);
    const pieces = ['a', 'b'];
    chat.producerFifo.push({ more: () => pieces.shift() ?? failing.more() });
    await drive(how, () => chat.caught.length > 0, { map });
    expect(chat.caught).toEqual(['no more']);
    expect(chat.errors).toEqual([]);
    expect(received(theirs)).toBe('ab');
  });

  it('throws what an overridden send throws when it cannot deflate', () => {
    const { chat } = lines();
    chat.send = () => inflateSync('x').length;
    expect(() => chat.push('x')).toThrow(expect.objectContaining({ code: 'Z_BUF_ERROR' }));
    expect(chat.errors).toEqual([]);
  });

  it.each<[string, Error, boolean]>([
    ['an error of the socket goes to handleError', new SocketError('EIO', 5, 'send', 'I/O'), false],
    ['any other is thrown', new Error('a bug'), true],
  ])('of what an overridden send throws, %s, and the output stays', (_, error, thrown) => {
    const { chat, theirs } = lines();
    chat.send = () => {
      Reflect.deleteProperty(chat, 'send');
      throw error;
    };
    chat.producerFifo.push('a');
    if (thrown) expect(() => chat.handleWrite()).toThrow(error);
    else void chat.handleWrite();
    expect(chat.errors).toEqual(thrown ? [] : [error.message]);
    void chat.handleWrite();
    expect(received(theirs)).toBe('a');
  });
});

describe('Other channels', () => {
  it('throw what handleAccepted throws out of handleAccept, and stay open', () => {
    class Failing extends RecordingListener {
      override handleAccepted(): Handled {
        throw new Error('not this one');
      }
    }
    const listener = new Failing();
    const caller = call(listener.name);
    expect(() => listener.handleAccept()).toThrow('not this one');
    expect(caller.recv(1)).toHaveLength(0);
    call(listener.name);
    poll(1000);
    expect(listener.events).toEqual(['error']);
    expect(listener.accepting).toBe(true);
  });

  it.each(WAYS)('stay listeners, whatever code the error has: %s', async (_, how) => {
    class Failing extends RecordingListener {
      override handleAccepted(): Handled {
        throw new SocketError('ENOTCONN', 107, 'setsockopt', 'Transport endpoint');
      }
    }
    const listener = new Failing();
    call(listener.name);
    call(listener.name);
    await drive(how, () => listener.errors.length === 2);
    expect(listener.events).toEqual(['error', 'error']);
    expect(listener.accepting).toBe(true);
  });

  it.each<[string, () => Dispatcher]>([
    ['Dispatcher', () => new Dispatcher(pair()[0])],
    ['DispatcherWithSend', () => new DispatcherWithSend(pair()[0])],
    ['FileDispatcher', () => new FileDispatcher(pair()[0])],
  ])('throw what a handler throws to a program that calls the event: %s', (_, make) => {
    const channel = keep(make());
    const handleError = jest.spyOn(channel, 'handleError');
    channel.handleRead = () => {
      readSync(-1, Buffer.alloc(1));
    };
    channel.handleWrite = () => {
      throw new Error('no');
    };
    expect(() => channel.handleReadEvent()).toThrow();
    expect(() => channel.handleWriteEvent()).toThrow('no');
    expect(handleError).not.toHaveBeenCalled();
  });
});
