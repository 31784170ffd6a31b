// A channel that is ready again and again, and whose handlers change nothing, uses a whole CPU in silence. The
// program is told once, and told what to do.

import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import {
  AF_INET,
  AsyncChat,
  type ChannelMap,
  Dispatcher,
  DispatcherWithSend,
  FileDispatcher,
  type Handled,
  loop,
  loopSync,
  SOCK_DGRAM,
  Socket,
} from 'asyncore';
import { DIAGONAL, WAYS, type Way } from '../support/drive';
import { keep, newMap } from '../support/keep';
import { QuietChat } from '../support/quiet-chat';
import { bareListener, call, connection, pair } from '../support/sockets';

/** So many passes are enough for a warning. */
const MANY = 4100;

async function passes(map: ChannelMap, how: Way, count = MANY): Promise<void> {
  const options = { map, usePoll: how.usePoll, timeout: 0, count };
  if (how.sync) loopSync(options);
  else await loop(options);
}

/** What is warned of from here on. */
function spins(): string[] {
  const texts: string[] = [];
  jest.spyOn(process, 'emitWarning').mockImplementation(((text: string, options: object) => {
    if ((options as { code?: string }).code === 'ASYNCORE_SPIN') texts.push(text);
  }) as never);
  return texts;
}

/** A dispatcher that waits for input only, with as much as a row overrides. */
class Base extends Dispatcher {
  override writable(): boolean {
    return this.connecting;
  }
}

const INPUT = Buffer.from('x');
const ROWS: [string, () => (map: ChannelMap) => void, RegExp][] = [
  [
    'only handleRead is overridden',
    () => {
      class Culprit extends Dispatcher {
        override handleRead(): Handled {
          this.recv(100);
        }
      }
      return (map) => new Culprit(pair()[0], map);
    },
    /^Culprit uses a whole CPU: 4000 write events in a row have changed nothing\. writable\(\) returns true, and there is no handleWrite\(\): let writable\(\) return false while there is nothing to send\.$/,
  ],
  [
    'handleWrite sends nothing',
    () => {
      class Culprit extends Dispatcher {
        override handleWrite(): Handled {}
      }
      return (map) => new Culprit(pair()[0], map);
    },
    /handleWrite\(\) sends nothing/,
  ],
  [
    'handleRead never reads',
    () => {
      class Culprit extends Base {
        override handleRead(): Handled {}
      }
      return (map) => {
        const [own, peer] = pair();
        new Culprit(own, map);
        peer.send(INPUT);
      };
    },
    /read events .* handleRead\(\) reads nothing: call recv\(\), or pauseReading\(\)\.$/,
  ],
  [
    'there is no handleRead',
    () => {
      class Culprit extends Base {}
      return (map) => {
        const [own, peer] = pair();
        new Culprit(own, map);
        peer.send(INPUT);
      };
    },
    /There is input, and no handleRead\(\)/,
  ],
  [
    'handleRead receives past the channel, and takes no notice of the end',
    () => {
      class Culprit extends Base {
        override handleRead(): Handled {
          this.socket?.recv(100);
        }
      }
      return (map) => {
        const [own, peer] = pair();
        new Culprit(own, map);
        peer.close();
      };
    },
    /The peer has ended its stream, and handleRead\(\) does not look: call recv\(\) of the channel, or close\(\)\.$/,
  ],
  [
    'handleConnect throws, and handleError does not close',
    () => {
      class Culprit extends Base {
        override handleConnect(): Handled {
          throw new Error('no');
        }
        override handleError(): Handled {}
      }
      return (map) => {
        const client = new Culprit(null, map);
        client.createSocket();
        client.connect(bareListener().getSockName());
      };
    },
    /handleConnect\(\) throws each time, and handleError\(\) does not close the channel/,
  ],
  [
    'a file is at its end, and handleClose does not close',
    () => {
      class Culprit extends FileDispatcher {
        override writable(): boolean {
          return false;
        }
        override handleRead(): Handled {
          this.recv(100);
        }
        override handleClose(): Handled {}
      }
      return (map) => {
        const file = openSync('/dev/null', 'r');
        keep({ close: () => closeSync(file) });
        new Culprit(file, map);
      };
    },
    /read events .* handleClose\(\) does not close the channel/,
  ],
  [
    'handleClose does not close',
    () => {
      class Culprit extends AsyncChat {
        override collectIncomingData(): Handled {}
        override foundTerminator(): Handled {}
        override handleClose(): Handled {}
      }
      return (map) => {
        const [own, peer] = pair();
        new Culprit(own, map).setTerminator('\n');
        peer.close();
      };
    },
    /handleClose\(\) does not close the channel: call close\(\) in handleClose\(\)\.$/,
  ],
  [
    'close does not call super.close',
    () => {
      class Culprit extends Base {
        override handleRead(): Handled {
          this.recv(100);
        }
        override close(): void {}
      }
      return (map) => {
        const [own, peer] = pair();
        new Culprit(own, map);
        peer.close();
      };
    },
    /close\(\) leaves the channel open: call super\.close\(\) in close\(\)\.$/,
  ],
  [
    'a handler throws, and handleError does not close',
    () => {
      class Culprit extends Base {
        override handleRead(): Handled {
          throw new Error('no');
        }
        override handleError(): Handled {}
      }
      return (map) => {
        const [own, peer] = pair();
        new Culprit(own, map);
        peer.send(INPUT);
      };
    },
    /handleRead\(\) throws each time, and handleError\(\) does not close the channel/,
  ],
  [
    'handleAccept accepts nobody',
    () => {
      class Culprit extends Dispatcher {
        override handleAccept(): Handled {}
      }
      return (map) => {
        const listener = new Culprit(null, map);
        listener.createSocket();
        listener.bind({ host: '127.0.0.1', port: 0 });
        listener.listen();
        call((listener.socket as Socket).getSockName());
      };
    },
    /handleAccept\(\) accepts nothing: call accept\(\), or pauseReading\(\)\.$/,
  ],
  [
    'a socket is closed behind a channel whose handleClose does nothing',
    () => {
      class Culprit extends Base {
        override handleClose(): Handled {}
      }
      return (map) => {
        const [own] = pair();
        new Culprit(own, map);
        own.close();
      };
    },
    /close events .* handleClose\(\) does not close the channel/,
  ],
];

describe.each(WAYS)('A channel that spins (%s)', (_, how) => {
  it.each(ROWS)('is named once for its class when %s', async (_, prepare, text) => {
    const warnings = spins();
    const map = newMap();
    const make = prepare();
    make(map);
    make(map);
    await passes(map, how);
    await passes(map, how);
    expect(warnings).toEqual([expect.stringMatching(text)]);
  });

  it('is told by its hang-up that handleClose does not close', async () => {
    const warnings = spins();
    const map = newMap();
    const [own, peer] = pair();
    new (class extends Dispatcher {
      override readable(): boolean {
        return false;
      }
      override handleWrite(): Handled {
        if (!how.usePoll) this.send(INPUT);
      }
      override handleClose(): Handled {}
    })(own, map);
    peer.close();
    await passes(map, how);
    expect(warnings).toEqual([expect.stringContaining('handleClose() does not close the channel')]);
  });

  it('is not told of before thousands of events', async () => {
    const warnings = spins();
    const map = newMap();
    new (class extends Dispatcher {})(pair()[0], map);
    await passes(map, how, 2000);
    expect(warnings).toEqual([]);
  });
});

it('A server that has forgotten to listen is told so', async () => {
  const warnings = spins();
  const map = newMap();
  const server = new Base(null, map);
  server.createSocket();
  server.bind({ host: '127.0.0.1', port: 0 });
  await passes(map, { usePoll: false, sync: true });
  expect(warnings).toEqual([
    expect.stringContaining('The socket is neither connected nor listening: call connect() or'),
  ]);
});

describe.each(DIAGONAL)('A channel that works (%s)', (_, how) => {
  const QUIET: [string, (map: ChannelMap) => () => void][] = [
    [
      'echoes small messages',
      (map) => {
        const [own, peer] = connection();
        new (class extends DispatcherWithSend {
          override handleRead(): Handled {
            const data = this.recv(100);
            if (data !== null) this.send(data);
          }
        })(own, map);
        return () => {
          peer.send(INPUT);
          peer.recv(100);
        };
      },
    ],
    [
      'has no handleWrite, and is never without input',
      (map) => {
        const [own, peer] = pair();
        new (class extends Dispatcher {
          override handleRead(): Handled {
            this.recv(1);
          }
        })(own, map);
        return () => peer.send(INPUT);
      },
    ],
    [
      'accepts, and closes at once',
      (map) => {
        const listener = new Base(null, map);
        listener.createSocket();
        listener.bind({ host: '127.0.0.1', port: 0 });
        listener.listen();
        const address = (listener.socket as Socket).getSockName();
        return () => call(address).close();
      },
    ],
    [
      'has its socket read by another library',
      (map) => {
        const [own, peer] = pair();
        const buffer = Buffer.alloc(10);
        new (class extends Base {
          override handleRead(): Handled {
            readSync(own.fileno(), buffer);
          }
        })(own, map);
        return () => peer.send(INPUT);
      },
    ],
    [
      'has another library read what is there byte by byte',
      (map) => {
        const [own, peer] = pair();
        const byte = Buffer.alloc(1);
        new (class extends Base {
          override handleRead(): Handled {
            readSync(own.fileno(), byte);
          }
        })(own, map);
        peer.send(Buffer.alloc(2 * MANY));
        return () => {};
      },
    ],
    [
      'has another library write',
      (map) => {
        const [own, peer] = pair();
        new (class extends Dispatcher {
          override handleWrite(): Handled {
            writeSync(own.fileno(), INPUT);
          }
        })(own, map);
        return () => peer.recv(100);
      },
    ],
    [
      'receives empty datagrams, and is never without one',
      (map) => {
        const receiver = new (class extends Base {
          override handleRead(): Handled {
            (this.socket as Socket).recvFrom(100);
          }
        })(null, map);
        receiver.createSocket(AF_INET, SOCK_DGRAM);
        receiver.bind({ host: '127.0.0.1', port: 0 });
        const address = (receiver.socket as Socket).getSockName();
        const sender = keep(Socket.socket(AF_INET, SOCK_DGRAM));
        const empty = Buffer.alloc(0);
        sender.sendTo(empty, address);
        return () => sender.sendTo(empty, address);
      },
    ],
    [
      'reads when a promise is settled',
      (map) => {
        const [own, peer] = pair();
        new (class extends Base {
          override async handleRead(): Promise<void> {
            await null;
            this.recv(100);
          }
        })(own, map);
        return () => peer.send(INPUT);
      },
    ],
    [
      'pushes to another channel whenever it can write itself',
      (map) => {
        const [own] = pair();
        const [other, peer] = pair();
        const chat = new QuietChat(other, map);
        new (class extends Dispatcher {
          override handleWrite(): Handled {
            chat.push('x');
          }
        })(own, map);
        return () => peer.recv(100);
      },
    ],
    [
      'has no handleWrite, in a program that calls poll() for each of its frames',
      (map) => {
        new (class extends Dispatcher {})(pair()[0], map);
        const now = performance.now.bind(performance);
        let later = 0;
        jest.spyOn(performance, 'now').mockImplementation(() => now() + later);
        return () => {
          later += 16;
        };
      },
    ],
    [
      'holds one record after the other back',
      (map) => {
        const [own, peer] = pair();
        const chat = new (class extends AsyncChat {
          override collectIncomingData(): Handled {}
          override foundTerminator(): Handled {
            this.pauseReading();
          }
        })(own, map);
        chat.setTerminator('\n');
        peer.send(Buffer.alloc(2 * MANY, '\n'));
        return () => chat.resumeReading();
      },
    ],
    [
      'reads a regular file by bytes',
      (map) => {
        const file = openSync('/proc/self/exe', 'r');
        keep({ close: () => closeSync(file) });
        new (class extends FileDispatcher {
          override writable(): boolean {
            return false;
          }
          override handleRead(): Handled {
            this.recv(1);
          }
        })(file, map);
        return () => {};
      },
    ],
  ];

  it.each(QUIET)('is not told of anything when it %s', async (_, prepare) => {
    const warnings = spins();
    const map = newMap();
    const feed = prepare(map);
    for (let pass = 0; pass < 1.5 * MANY; pass += 1) {
      feed();
      await passes(map, { ...how, sync: true }, 1);
    }
    expect(warnings).toEqual([]);
  });
});
