// Bugs of Python's asyncore that are fixed in this library: one `it` for each row of docs/differences.md
// about dispatchers, the loop, the map and sockets. Each is named after its symptom: lost data, a hang,
// an event for the wrong channel, a dead server.

import { closeSync, constants, openSync, writeSync } from 'node:fs';
import {
  type Address,
  AF_INET,
  AF_UNIX,
  AsyncChat,
  ChannelMap,
  type Dispatcher,
  DispatcherWithSend,
  ExitNow,
  FileDispatcher,
  type Handled,
  loop,
  loopSync,
  poll,
  poll2,
  SHUT_WR,
  SO_RCVBUF,
  SO_SNDBUF,
  SOCK_DGRAM,
  SOL_SOCKET,
  Socket,
  socketMap,
} from 'asyncore';
import { drive, FAMILIES, temporaryPath, WAYS, type Way } from './support/drive';
import { keep } from './support/keep';
import { makePipe } from './support/make-pipe';
import { Recorder, RecordingListener } from './support/recorder';
import { giveDescriptorsBack, takeDescriptors } from './support/shortage';
import { itIf } from './support/skips';
import { bareListener, call } from './support/sockets';

/** Runs the map for `duration` ms, in which there is one pass at least. */
async function spend(how: Way, duration: number): Promise<void> {
  const end = performance.now() + duration;
  // A channel of its own, so that the map is not empty.
  const [a, b] = Socket.pair();
  const waiting = new Recorder(a);
  b.send(Buffer.from('x'));
  await drive(how, () => waiting.received !== '');
  await drive(how, () => performance.now() >= end);
  waiting.close();
  b.close();
}

describe.each(WAYS)('A channel map (%s)', (_, how) => {
  it('delivers nothing to the channel that got the descriptor within the tick', async () => {
    const [a, toA] = Socket.pair();
    const [b, toB] = Socket.pair();
    keep(toA);
    keep(toB);
    const late: Recorder[] = [];
    class First extends Recorder {
      override handleRead(): Handled {
        void super.handleRead();
        if (late.length > 0) return;
        const fd = b.fileno();
        second.close();
        // The number goes to the next that opens something, if none below it is free.
        const spare: Socket[] = [];
        for (;;) {
          const socket = Socket.socket(AF_UNIX);
          if (socket.fileno() === fd) {
            late.push(new Recorder(socket));
            break;
          }
          expect(socket.fileno()).toBeLessThan(fd);
          spare.push(socket);
        }
        for (const socket of spare) socket.close();
      }
    }
    const first = new First(a);
    const second = new Recorder(b);
    toA.send(Buffer.from('x'));
    toB.send(Buffer.from('x'));
    const options = { count: 1, timeout: 1000, usePoll: how.usePoll };
    if (how.sync) loopSync(options);
    else await loop(options);
    expect(first.events).toEqual(['read']);
    expect(second.events).toEqual([]);
    expect(late).toHaveLength(1);
    expect(late[0]?.events).toEqual([]);
  });

  it('runs no handler of a channel that closed in the same tick', async () => {
    const [a, b] = Socket.pair();
    const channel = new (class extends Recorder {
      override writable(): boolean {
        return true;
      }
      override handleRead(): Handled {
        this.events.push('read');
        this.close();
      }
    })(a);
    b.close(); // IN, OUT and HUP at once
    await drive(how, () => channel.events.length > 0);
    expect(channel.events).toEqual(['read']);
  });

  it('runs no handler of a channel that another one closed in the same tick', async () => {
    const [a, toA] = Socket.pair();
    const [b, toB] = Socket.pair();
    keep(toA);
    const first = new (class extends Recorder {
      override handleRead(): Handled {
        void super.handleRead();
        second.close();
      }
    })(a);
    const second = new Recorder(b);
    toA.send(Buffer.from('x'));
    toB.send(Buffer.from('x'));
    toB.close();
    await drive(how, () => first.events.length > 0);
    expect(second.events).toEqual([]);
  });

  it('calls handleClose once', async () => {
    const [a, b] = Socket.pair();
    const channel = new (class extends Recorder {
      override writable(): boolean {
        return true;
      }
      override handleRead(): Handled {
        void super.handleRead();
        // It finds out again and again.
        this.recv(10);
        this.send(Buffer.from('x'));
      }
    })(a);
    b.close();
    await drive(how, () => channel.events.includes('close'));
    expect(channel.events).toEqual(['read', 'close']);
  });

  it('calls handleClose once when it is told of an error after that', async () => {
    const [a, b] = Socket.pair();
    const channel = new (class extends Recorder {
      override handleRead(): Handled {
        void super.handleRead();
        throw new Error('and this');
      }
    })(a);
    b.close();
    await drive(how, () => channel.errors.length > 0);
    expect(channel.events).toEqual(['read', 'close', 'error']);
  });

  it('delivers all that a Unix peer sent before it closed', async () => {
    const [a, b] = Socket.pair();
    const channel = new Recorder(a);
    expect(b.send(Buffer.alloc(30_000))).toBe(30_000);
    b.close();
    await drive(how, () => channel.events.includes('close'));
    expect(channel.received).toHaveLength(30_000);
    expect(channel.events).toEqual(['read', 'read', 'read', 'read', 'read', 'close']);
  });

  it('delivers all that was written into a pipe before it closed', async () => {
    const path = temporaryPath('pipe');
    makePipe(path);
    const input = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const output = openSync(path, constants.O_WRONLY);
    let received = 0;
    let closes = 0;
    new (class extends FileDispatcher {
      override writable(): boolean {
        return false;
      }
      override handleRead(): Handled {
        received += this.recv(8192)?.length ?? 0;
      }
      override handleClose(): Handled {
        closes += 1;
        this.close();
      }
    })(input);
    closeSync(input);
    expect(writeSync(output, Buffer.alloc(30_000))).toBe(30_000);
    closeSync(output);
    await drive(how, () => closes > 0);
    expect(received).toBe(30_000);
    expect(closes).toBe(1);
  });

  it('ends only the channel whose predicate throws', async () => {
    const [a, toA] = Socket.pair();
    const [b, toB] = Socket.pair();
    keep(toA);
    keep(toB);
    const broken = new Recorder(a);
    const boom = new Error('boom');
    broken.readable = () => {
      throw boom;
    };
    const other = new Recorder(b);
    toB.send(Buffer.from('x'));
    await drive(how, () => other.received !== '');
    expect(broken.events).toEqual(['error', 'close']);
    expect(broken.errors).toEqual([boom]);
    expect(other.events).toEqual(['read']);
    expect([...socketMap.values()]).toEqual([other]);
  });

  it.each([
    [
      'throws',
      () => {
        throw new Error('even this');
      },
    ],
    ['rejects', async () => Promise.reject(new Error('even this'))],
  ])('ends only the channel whose handleError %s, with a warning', async (__, handleError) => {
    const warnings: unknown[][] = [];
    jest.spyOn(process, 'emitWarning').mockImplementation(((...args: unknown[]) => {
      warnings.push(args);
    }) as never);
    const [a, toA] = Socket.pair();
    const [b, toB] = Socket.pair();
    keep(toA);
    keep(toB);
    const broken = new (class extends Recorder {
      override handleRead(): Handled {
        throw new Error('boom');
      }
    })(a);
    broken.handleError = handleError;
    const other = new Recorder(b);
    toA.send(Buffer.from('x'));
    toB.send(Buffer.from('x'));
    await drive(how, () => other.received !== '');
    // A rejection becomes known between two passes.
    await new Promise(setImmediate);
    expect(warnings).toHaveLength(1);
    expect(warnings[0]?.[0]).toMatch(
      /^handleError of a channel threw, closing the channel: Error: even this\n/,
    );
    expect(warnings[0]?.[1]).toEqual({
      type: 'ChannelWarning',
      code: 'ASYNCORE_HANDLE_ERROR',
    });
    expect(a.closed).toBe(true);
    expect([...socketMap.values()]).toEqual([other]);
  });

  it('does not spin with a timeout below a millisecond', async () => {
    const [a, b] = Socket.pair();
    keep(b);
    let asked = 0;
    const channel = new Recorder(a);
    channel.readable = () => {
      asked += 1;
      return true;
    };
    const started = performance.now();
    const options = { count: 20, timeout: 0.4, usePoll: how.usePoll };
    if (how.sync) loopSync(options);
    else await loop(options);
    expect(performance.now() - started).toBeGreaterThanOrEqual(20 * 0.4);
    expect(asked).toBeLessThanOrEqual(40);
    expect(channel.events).toEqual([]);
  });

  describe('with a channel that is neither connected nor connecting', () => {
    /** How often a channel is asked in 150 ms of nothing. */
    async function asks(channel: Dispatcher): Promise<number> {
      let count = 0;
      const readable = channel.readable.bind(channel);
      channel.readable = () => {
        count += 1;
        return readable();
      };
      await spend(how, 150);
      return count;
    }

    class Chat extends AsyncChat {
      override ignoreLogTypes: ReadonlySet<string> = new Set(['warning', 'error']);
      override collectIncomingData(): void {}
      override foundTerminator(): void {}
    }

    /** A pass lasts 20 ms under loopSync and 30 s under loop; a spin would be thousands. */
    const FEW = 30;

    it('does not spin on a datagram socket', async () => {
      const socket = Socket.socket(AF_INET, SOCK_DGRAM);
      socket.bind({ host: '127.0.0.1', port: 0 });
      expect(await asks(new Chat(socket))).toBeLessThan(FEW);
      expect(socket.closed).toBe(false);
    });

    it('does not spin on a listener that was handed over', async () => {
      const socket = bareListener(AF_INET);
      expect(await asks(new Chat(socket))).toBeLessThan(FEW);
      expect(await asks(new DispatcherWithSend(socket))).toBeLessThan(FEW);
    });

    it.each([
      ['AsyncChat', Chat],
      ['DispatcherWithSend', DispatcherWithSend],
    ])('ends it, when it is an %s that learns so', async (__, Class) => {
      const channel = new Class(Socket.socket());
      channel.ignoreLogTypes = new Set(['warning', 'error']);
      channel.handleRead = () => {
        channel.recv(10);
      };
      expect(await asks(channel)).toBeLessThan(FEW);
      expect(channel.socket?.fileno()).toBe(-1);
    });

    it('does not spin on a socket handed over while it connects', async () => {
      const server = bareListener(AF_INET, 0);
      call(server.getSockName());
      const channel = new Chat(call(server.getSockName()));
      expect(channel.connecting).toBe(true);
      expect(await asks(channel)).toBeLessThan(FEW);
      expect(channel.connecting).toBe(true);
    });
  });
});

describe.each(WAYS)('A listener (%s)', (_, how) => {
  // Promises do not run under loopSync, so that there it is over before anybody is told.
  const itWithPromises = itIf(!how.sync, 'no promise runs under loopSync');

  describe('without a descriptor for a caller', () => {
    afterEach(giveDescriptorsBack);

    async function survives(server: RecordingListener): Promise<void> {
      await spend(how, 30);
      const client = call(server.name);
      takeDescriptors();
      const end = performance.now() + 230;
      await drive(how, () => performance.now() >= end && server.errors.length > 0);
      expect(server.errors.length).toBeGreaterThanOrEqual(1);
      expect(server.errors[0]).toMatchObject({ code: 'EMFILE', syscall: 'accept' });
      expect(server.events).not.toContain('close');
      expect(server.accepting).toBe(true);
      expect(server.socket?.fileno()).toBe(server.fileno());
      expect([...socketMap.values()]).toContain(server);
      // It has tried now and then, and not all the time.
      expect(server.accepts).toBeLessThan(10);
      expect(server.callers).toEqual([]);

      giveDescriptorsBack();
      await drive(how, () => server.callers.length > 0);
      server.callers[0]?.socket.send(Buffer.from('sorry for the delay'));
      expect(client.recv(100)?.toString()).toBe('sorry for the delay');
    }

    it('reports EMFILE to handleError, retries later, and then accepts the caller', async () => {
      await survives(new RecordingListener());
    });

    it('does the same when descriptors run out before the first wait', async () => {
      const server = new RecordingListener();
      call(server.name);
      takeDescriptors();
      await drive(how, () => server.errors.length > 0);
      expect(server.errors[0]).toMatchObject({ code: 'EMFILE' });
      giveDescriptorsBack();
      await drive(how, () => server.callers.length > 0);
      expect(server.events).not.toContain('close');
    });

    it('does the same when an override calls accept()', async () => {
      await survives(
        new (class extends RecordingListener {
          override handleAccept(): Handled {
            this.accepts += 1;
            const caller = this.accept();
            if (caller !== null) this.callers.push({ ...caller, socket: keep(caller.socket) });
          }
        })(),
      );
    });

    itWithPromises('does the same when handleAccept is async', async () => {
      await survives(
        new (class extends RecordingListener {
          override async handleAccept(): Promise<void> {
            this.accepts += 1;
            const caller = this.accept();
            if (caller !== null) this.callers.push({ ...caller, socket: keep(caller.socket) });
          }
        })(),
      );
    });

    itWithPromises('does the same when handleError is async', async () => {
      await survives(
        new (class extends RecordingListener {
          override async handleError(error: unknown): Promise<void> {
            await null;
            await super.handleError(error);
          }
        })(),
      );
    });

    it('keeps serving the other channels meanwhile', async () => {
      const server = new RecordingListener();
      const [a, b] = Socket.pair();
      keep(b);
      const other = new Recorder(a);
      await spend(how, 30);
      call(server.name);
      takeDescriptors();
      await drive(how, () => server.errors.length > 0);
      b.send(Buffer.from('x'));
      await drive(how, () => other.received !== '');
      expect(other.events).toEqual(['read']);
    });

    it('logs that the listener stays open', async () => {
      const server = new RecordingListener();
      server.ignoreLogTypes = new Set(['warning']);
      const log: string[] = [];
      server.logInfo = (message, type) => {
        log.push(`${type}: ${message}`);
      };
      call(server.name);
      takeDescriptors();
      await drive(how, () => log.length > 0);
      giveDescriptorsBack();
      expect(log[0]).toMatch(
        /^error: uncaptured exception, keeping channel <RecordingListener listening 127\.0\.0\.1:0 at 0x[0-9a-f]+> \(SocketError:EMFILE: /,
      );
    });

    it('can be closed meanwhile', async () => {
      const server = new RecordingListener();
      call(server.name);
      takeDescriptors();
      await drive(how, () => server.errors.length > 0);
      server.close();
      giveDescriptorsBack();
      await spend(how, 120);
      expect(server.callers).toEqual([]);
      expect(socketMap.size).toBe(0);
    });
  });

  describe('whose handleAccepted fails', () => {
    const throwing = (error: Error): Handled => {
      throw error;
    };
    const rejecting = async (error: Error): Promise<void> => throwing(error);

    it('keeps listening and closes the caller’s socket when it throws', () =>
      closesCaller(throwing));

    itWithPromises('keeps listening and closes the caller’s socket when it rejects', () =>
      closesCaller(rejecting),
    );

    async function closesCaller(fail: (error: Error) => Handled): Promise<void> {
      const boom = new Error('boom');
      let broken = true;
      const server = new (class extends RecordingListener {
        override handleAccepted(socket: Socket, address: Address): Handled {
          if (broken) return fail(boom);
          return super.handleAccepted(socket, address);
        }
      })();
      const first = call(server.name);
      await drive(how, () => first.recv(1)?.length === 0);
      expect(server.errors).toEqual([boom]);
      expect(server.events).toEqual(['error']);
      expect(server.accepting).toBe(true);

      broken = false;
      call(server.name);
      await drive(how, () => server.callers.length > 0);
      expect(server.events).toEqual(['error', 'accepted']);
    }

    it('closes the channel that it has made, half-built or not, when it throws', () =>
      closesChannel(throwing));

    itWithPromises('closes the channel that it has made when it rejects', () =>
      closesChannel(rejecting),
    );

    async function closesChannel(fail: (error: Error) => Handled): Promise<void> {
      const boom = new Error('boom');
      const channels: Recorder[] = [];
      const server = new (class extends RecordingListener {
        override handleAccepted(socket: Socket): Handled {
          channels.push(new Recorder(socket));
          return fail(boom);
        }
      })();
      const client = call(server.name);
      await drive(how, () => client.recv(1)?.length === 0);
      const [channel] = channels;
      expect(channel?.fileno()).toBe(null);
      expect([channel?.closeReason, channel?.closeError]).toEqual(['error', boom]);
      expect(server.events).toEqual(['error']);
      expect(server.accepting).toBe(true);
    }

    it('closes when its own handleError says so', async () => {
      const server = new (class extends RecordingListener {
        override handleAccepted(): Handled {
          throw new Error('boom');
        }
        override handleError(): Handled {
          this.close();
        }
      })();
      const client = call(server.name);
      await drive(how, () => socketMap.size === 0);
      expect(client.recv(1)?.length).toBe(0);
      expect(server.socket?.fileno()).toBe(-1);
    });

    it('closes on any later error', async () => {
      let broken = false;
      const server = new (class extends RecordingListener {
        override handleAccepted(): Handled {
          throw new Error('boom');
        }
        override handleAccept(): Handled {
          if (broken) throw new Error('bang');
          return super.handleAccept();
        }
      })();
      call(server.name);
      await drive(how, () => server.errors.length === 1);
      broken = true;
      call(server.name);
      await drive(how, () => server.errors.length === 2);
      expect(server.events).toEqual(['error', 'error', 'close']);
    });

    it('leaves the loop on ExitNow, and closes the caller’s socket', async () => {
      const server = new (class extends RecordingListener {
        override handleAccepted(): Handled {
          throw new ExitNow('enough');
        }
      })();
      const client = call(server.name);
      await expect(drive(how, () => false)).rejects.toThrow(ExitNow);
      expect(server.accepting).toBe(true);
      expect(client.recv(1)?.length).toBe(0);
    });
  });
});

describe.each(WAYS)('A client (%s)', (_, how) => {
  const failing: [string, number, Address, string][] = [
    ['IPv4', AF_INET, { host: '255.255.255.255', port: 80 }, 'ENETUNREACH'],
    ['Unix', AF_UNIX, { path: '/nowhere/at/all' }, 'ENOENT'],
  ];

  it.each(failing)(
    'whose connect fails is out of the map, and may try again (%s)',
    async (...row) => {
      const [, family, nowhere, code] = row;
      const client = new Recorder();
      client.createSocket(family);
      expect(() => client.connect(nowhere)).toThrow(expect.objectContaining({ code }));
      expect(socketMap.size).toBe(0);
      expect(client.fileno()).toBeNull();
      expect(client.connected).toBe(false);
      expect(client.connecting).toBe(false);
      expect(client.socket?.fileno()).toBeGreaterThan(0);
      expect(client.addr).toBeNull();

      client.connect(bareListener(family).getSockName());
      await drive(how, () => client.connected);
      expect(client.events[0]).toBe('connect');
      expect(client.errors).toEqual([]);
      expect([...socketMap.values()]).toEqual([client]);
    },
  );

  it('does not take the full backlog of a Unix listener for progress', async () => {
    const server = bareListener(AF_UNIX, 0);
    const address = server.getSockName();
    const clients: Recorder[] = [];
    let refused: unknown = null;
    while (refused === null && clients.length < 100) {
      const client = new Recorder();
      clients.push(client);
      client.createSocket(AF_UNIX);
      try {
        client.connect(address);
        expect(client.events).toEqual(['connect']);
      } catch (error) {
        refused = error;
      }
    }
    expect(refused).toMatchObject({
      code: 'EAGAIN',
      syscall: 'connect',
      address: expect.any(String),
    });
    const last = clients.at(-1) as Recorder;
    expect(last.connected).toBe(false);
    expect(last.connecting).toBe(false);
    expect([...socketMap.values()]).not.toContain(last);
    await spend(how, 30);
    expect(last.events).toEqual([]);

    keep(server.accept()?.socket as Socket);
    last.connect(address);
    expect(last.events).toEqual(['connect']);
    expect(last.connected).toBe(true);
  });

  it.each(FAMILIES)('that closes in handleConnect stays closed (%s)', async (__, family) => {
    const server = bareListener(family);
    const client = new (class extends Recorder {
      override writable(): boolean {
        return true;
      }
      override handleConnect(): Handled {
        this.events.push('connect');
        this.close();
      }
    })();
    client.createSocket(family);
    client.connect(server.getSockName());
    // A Unix connection stood at once, and is gone already.
    const peer = keep(server.accept()?.socket as Socket);
    if (family !== AF_UNIX) peer.send(Buffer.from('welcome'));
    await spend(how, 30);
    expect(client.events).toEqual(['connect']);
    expect(client.connected).toBe(false);
    expect(client.connecting).toBe(false);
    expect(client.socket?.fileno()).toBe(-1);
    expect(socketMap.size).toBe(0);
  });

  it('that changes its socket in handleConnect is not connected by the old one', async () => {
    const server = bareListener(AF_INET);
    const client = new (class extends Recorder {
      override handleConnect(): Handled {
        void super.handleConnect();
        if (this.events.length > 1) return;
        this.close();
        this.createSocket();
        this.connect(server.getSockName());
      }
    })();
    client.createSocket();
    client.connect(server.getSockName());
    await drive(how, () => client.events.length > 0);
    expect(client.events).toEqual(['connect']);
    expect(client.connected).toBe(false);
    expect(client.connecting).toBe(true);
    await drive(how, () => client.connected);
    expect(client.events).toEqual(['connect', 'connect', 'write']);
  });

  it('keeps one entry when it creates a second socket', async () => {
    const client = new Recorder();
    client.createSocket();
    const first = keep(client.socket as Socket);
    client.createSocket();
    expect([...socketMap]).toEqual([[client.fileno(), client]]);
    expect(client.fileno()).not.toBe(first.fileno());
    // Nor does the first one's end concern it.
    client.connect(bareListener(AF_INET).getSockName());
    first.close();
    await drive(how, () => client.connected);
    expect(client.events).toEqual(['connect', 'write']);
  });

  it('sends what it has queued although its peer has half-closed', async () => {
    const [a, b] = Socket.pair();
    keep(b);
    a.setSockOpt(SOL_SOCKET, SO_SNDBUF, 4096);
    b.setSockOpt(SOL_SOCKET, SO_RCVBUF, 4096);
    const events: string[] = [];
    const client = new (class extends DispatcherWithSend {
      override allowHalfOpen = true;
      override handleRead(): Handled {
        this.recv(100);
      }
      override handleEof(): Handled {
        events.push('eof');
      }
      override handleWrite(): Handled {
        this.initiateSend();
        if (this.inputEnded && !this.writable()) this.close();
      }
      override handleClose(): Handled {
        events.push('close');
        this.close();
      }
    })(a);
    const data = Buffer.alloc(1_000_000, 'abcdefghij');
    client.send(data);
    b.shutdown(SHUT_WR);
    const got: Buffer[] = [];
    let over = false;
    await drive(how, () => {
      while (!over) {
        const more = b.recv(65536);
        if (more === null) break;
        over = more.length === 0;
        got.push(more);
      }
      return over;
    });
    expect(Buffer.concat(got).equals(data)).toBe(true);
    expect(events).toEqual(['eof']);
    expect(socketMap.size).toBe(0);
  });
});

// The kernel repeats its call after a second, so these are few.
describe.each([WAYS[0], WAYS[3]] as [string, Way][])('A socket that connects (%s)', (_, how) => {
  it('is waited for when it is handed over while it connects', async () => {
    const server = bareListener(AF_INET, 0);
    const first = call(server.getSockName());
    // The backlog is full, so the kernel lets this one wait.
    const socket = call(server.getSockName());
    expect(() => socket.getPeerName()).toThrow('ENOTCONN');
    const client = new Recorder(socket);
    expect(client.connected).toBe(false);
    expect(client.connecting).toBe(true);
    await spend(how, 50);
    expect(client.events).toEqual([]);

    keep(server.accept()?.socket as Socket);
    await drive(how, () => client.connected);
    expect(client.events).toEqual(['connect', 'write']);
    expect(client.connecting).toBe(false);
    expect(socket.getPeerName()).toEqual(server.getSockName());
    first.close();
  });

  it('reports the refusal when it is handed over and then refused', async () => {
    const server = bareListener(AF_INET, 0);
    call(server.getSockName());
    const client = new Recorder(call(server.getSockName()));
    expect(client.connecting).toBe(true);
    server.close();
    await drive(how, () => client.events.includes('close'));
    expect(client.events).toEqual(['error', 'close']);
    expect(client.errors).toMatchObject([{ code: 'ECONNREFUSED' }]);
    expect(client.connected).toBe(false);
  });
});

describe('A socket that has connected', () => {
  it('is connected when it is handed over before the loop has seen it', () => {
    const server = bareListener(AF_INET);
    const client = new Recorder(call(server.getSockName()));
    expect(client.connected).toBe(true);
    expect(client.connecting).toBe(false);
  });

  it('reports an error when it was refused before it was handed over', () => {
    const server = bareListener(AF_INET);
    const address = server.getSockName();
    server.close();
    const client = new Recorder(call(address));
    expect(client.connected).toBe(false);
    expect(client.connecting).toBe(false);
    loopSync({ count: 1, timeout: 1000 });
    expect(client.events).toEqual(['read', 'error', 'close']);
    expect(client.errors).toMatchObject([{ code: 'ECONNREFUSED' }]);
  });
});

describe.each([
  ['poll', poll],
  ['poll2', poll2],
] as const)('%s', (_, pass) => {
  it('waits for a fraction of a millisecond', () => {
    const map = new ChannelMap();
    const [a, b] = Socket.pair();
    keep(b);
    const channel = new Recorder(a, map);
    const started = performance.now();
    for (let turn = 0; turn < 10; turn += 1) pass(0.9, map);
    expect(performance.now() - started).toBeGreaterThanOrEqual(9);
    channel.close();
  });
});
