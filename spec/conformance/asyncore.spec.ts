// The test cases of CPython's test_asyncore, by their names. What is said there with a thread is said
// here with node:net, or with a bare socket that acts before the loop does.

import { closeSync, constants, openSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { basename } from 'node:path';
import { inspect } from 'node:util';
import {
  type Address,
  AF_INET,
  AF_INET6,
  AF_UNIX,
  type Channel,
  ChannelMap,
  closeAll,
  compactTraceback,
  Dispatcher,
  DispatcherWithSend,
  ExitNow,
  exception,
  FileDispatcher,
  FileWrapper,
  loop,
  loopSync,
  MSG_OOB,
  POLLERR,
  POLLHUP,
  POLLIN,
  POLLNVAL,
  POLLOUT,
  POLLPRI,
  poll,
  poll2,
  read,
  readwrite,
  SO_LINGER,
  SO_REUSEADDR,
  SOCK_STREAM,
  SOL_SOCKET,
  Socket,
  type SocketLike,
  socketMap,
  strerror,
  write,
} from 'asyncore';
import { garbageCollector } from '../support/collector';
import { drive, localAddress, temporaryPath, type Way } from '../support/drive';
import { keep } from '../support/keep';
import { until } from '../support/program';
import { casesOf, describeName, type Register } from './cases';

/** Runs passes as a test of CPython's does: so many, each waiting for so long at most. */
async function passes(how: Way, count: number, timeout: number): Promise<void> {
  const options = { count, timeout, usePoll: how.usePoll };
  if (how.sync) loopSync(options);
  else await loop(options);
}

// ---------------------------------------------------------------------------------------------

/** A channel without a socket, all of whose events do the same. */
class Dummy implements Channel {
  errorHandled = false;

  constructor(private readonly event: () => void) {}

  readable(): boolean {
    return true;
  }
  writable(): boolean {
    return true;
  }
  handleReadEvent(): void {
    this.event();
  }
  handleWriteEvent(): void {
    this.event();
  }
  handleExptEvent(): void {
    this.event();
  }
  handleClose(): void {
    this.event();
  }
  handleError(): void {
    this.errorHandled = true;
  }
  close(): void {
    this.event();
  }
}

function exiting(): Dummy {
  return new Dummy(() => {
    throw new ExitNow();
  });
}

function crashing(): Dummy {
  return new Dummy(() => {
    throw new Error('crashed');
  });
}

describe('HelperFunctionTests', () => {
  const test = casesOf('HelperFunctionTests');

  test('test_readwriteexc', () => {
    for (const guard of [read, write, exception]) {
      expect(() => guard(exiting())).toThrow(ExitNow);
      const channel = crashing();
      guard(channel);
      expect(channel.errorHandled).toBe(true);
    }
  });

  test('test_readwrite', () => {
    class Observer extends Dummy {
      readonly events: string[] = [];

      constructor() {
        super(() => {});
      }
      override handleReadEvent(): void {
        this.events.push('read');
      }
      override handleWriteEvent(): void {
        this.events.push('write');
      }
      override handleExptEvent(): void {
        this.events.push('expt');
      }
      override handleClose(): void {
        this.events.push('close');
      }
      override handleError(): void {
        this.events.push('error');
      }
    }

    const expected: [number, string][] = [
      [POLLIN, 'read'],
      [POLLPRI, 'expt'],
      [POLLOUT, 'write'],
      [POLLERR, 'close'],
      [POLLHUP, 'close'],
      [POLLNVAL, 'close'],
    ];
    for (const [flag, event] of expected) {
      const observer = new Observer();
      readwrite(observer, flag);
      expect(observer.events).toEqual([event]);

      expect(() => readwrite(exiting(), flag)).toThrow(ExitNow);

      const channel = crashing();
      expect(channel.errorHandled).toBe(false);
      readwrite(channel, flag);
      expect(channel.errorHandled).toBe(true);
    }
  });

  function checkCloseAll(map: ChannelMap, close: () => void): void {
    let closed = 0;
    for (let fd = 0; fd < 10; fd += 1) {
      map.set(
        fd,
        new Dummy(() => {
          closed += 1;
        }),
      );
    }
    expect(map.size).toBe(10);
    expect(closed).toBe(0);
    close();
    expect(map.size).toBe(0);
    expect(closed).toBe(10);
  }

  test('test_closeall', () => {
    const map = new ChannelMap();
    checkCloseAll(map, () => closeAll(map));
  });

  test('test_closeall_default', () => {
    checkCloseAll(socketMap, () => closeAll());
  });

  test('test_compact_traceback', () => {
    function complain(): never {
      throw new TypeError('out of order');
    }

    // A Python traceback begins where the exception is caught; a stack has all callers.
    const { stackTraceLimit } = Error;
    Error.stackTraceLimit = 1;
    try {
      complain();
    } catch (error) {
      const [[file, func, line], type, value, info] = compactTraceback(error);
      expect(basename(file)).toBe('asyncore.spec.ts');
      expect(func).toBe('complain');
      expect(line).toMatch(/^\d+$/);
      expect(type).toBe(TypeError);
      expect(value).toBe(error);
      expect(info).toBe(`[${file}|${func}|${line}]`);
    } finally {
      Error.stackTraceLimit = stackTraceLimit;
    }
    expect.assertions(6);
  });
});

describe('DispatcherTests', () => {
  const test = casesOf('DispatcherTests');

  /** The lines that `act` prints there. */
  function printedTo(stream: 'stdout' | 'stderr', act: () => void): string[] {
    let text = '';
    jest.spyOn(process[stream], 'write').mockImplementation((piece) => {
      text += String(piece);
      return true;
    });
    act();
    jest.restoreAllMocks();
    expect(text.endsWith('\n')).toBe(true);
    return text.slice(0, -1).split('\n');
  }

  test('test_basic', () => {
    const channel = new Dispatcher();
    expect(channel.readable()).toBe(true);
    expect(channel.writable()).toBe(true);
  });

  test('test_repr', () => {
    const channel = new Dispatcher();
    expect(String(channel)).toMatch(/^<Dispatcher at 0x[0-9a-f]+>$/);
    expect(inspect(channel)).toBe(String(channel));
    // The number stands for Python's id(): the same for one channel, and for no other.
    expect(String(channel)).toBe(String(channel));
    expect(String(new Dispatcher())).not.toBe(String(channel));
  });

  test('test_log', () => {
    const channel = new Dispatcher();
    const lines = printedTo('stderr', () => {
      channel.log('GET /index.html 200');
      channel.log('GET /nothing 404');
    });
    expect(lines).toEqual(['log: GET /index.html 200', 'log: GET /nothing 404']);
  });

  test('test_log_info', () => {
    const channel = new Dispatcher();
    const lines = printedTo('stdout', () => {
      channel.logInfo('one caller', 'HIT');
      channel.logInfo('nobody calls');
      channel.logInfo('gone again', 'MISS');
    });
    expect(lines).toEqual(['HIT: one caller', 'info: nobody calls', 'MISS: gone again']);
  });

  test('test_unhandled', () => {
    const channel = new Dispatcher();
    channel.ignoreLogTypes = new Set();
    const lines = printedTo('stdout', () => {
      void channel.handleExpt();
      void channel.handleRead();
      void channel.handleWrite();
      void channel.handleConnect();
    });
    expect(lines).toEqual([
      'warning: unhandled incoming priority event',
      'warning: unhandled read event',
      'warning: unhandled write event',
      'warning: unhandled connect event',
    ]);
  });

  test('test_strerror', () => {
    expect(strerror(1)).toBe('Operation not permitted');
    expect(strerror(-1)).not.toBe('');
  });

  test('test_issue_8594');
});

/** Takes one caller, and keeps what the caller sends up to a newline. */
class CaptureServer {
  /** All but the newline; null until it has come. */
  captured: Buffer | null = null;
  readonly #server = keep(createServer());

  async listen(): Promise<number> {
    this.#server.on('connection', (caller) => {
      const pieces: Buffer[] = [];
      caller.on('error', () => {});
      caller.on('data', (data: Buffer) => {
        pieces.push(data);
        const all = Buffer.concat(pieces);
        if (!all.includes(0x0a)) return;
        this.captured = all.subarray(0, all.indexOf(0x0a));
        caller.destroy();
      });
    });
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    return (this.#server.address() as { port: number }).port;
  }
}

describe.each([
  ['DispatcherWithSendTests', poll],
  ['DispatcherWithSendTests_UsePoll', poll2],
])('%s', (testClass, onePass) => {
  const test = casesOf(testClass);

  class NoRead extends DispatcherWithSend {
    override readable(): boolean {
      return false;
    }
    override handleConnect(): void {}
  }

  test('test_send', async () => {
    const data = Buffer.from('A sentence that goes out twice. ');
    const server = new CaptureServer();
    const client = new NoRead();
    client.createSocket();
    client.connect({ host: '127.0.0.1', port: await server.listen() });

    expect(client.send(data)).toBe(data.length);
    expect(client.send(data)).toBe(data.length);
    client.send(Buffer.from('\n'));
    for (let left = 1000; client.outBuffer.length > 0 && left > 0; left -= 1) onePass(4);
    expect(client.outBuffer).toEqual(Buffer.alloc(0));

    await until(() => server.captured !== null);
    expect(server.captured).toEqual(Buffer.concat([data, data]));
  });
});

const CONTENT = Buffer.from('a file with twenty-nine bytes');

/** A file with CONTENT in it, and what opens it for `act`, only. */
function fileWithContent(): {
  path: string;
  open<Result>(flags: number, act: (fd: number) => Result): Result;
} {
  const path = temporaryPath('file');
  writeFileSync(path, CONTENT);
  return {
    path,
    open(flags, act) {
      const fd = openSync(path, flags);
      try {
        return act(fd);
      } finally {
        closeSync(fd);
      }
    },
  };
}

const { O_RDONLY, O_WRONLY, O_APPEND } = constants;
const CLOSED = expect.objectContaining({ code: 'EBADF' });

describe('FileWrapperTest', () => {
  const test = casesOf('FileWrapperTest');

  test('test_recv', () => {
    const [fd, wrapper] = fileWithContent().open(O_RDONLY, (fd): [number, FileWrapper] => [
      fd,
      keep(new FileWrapper(fd)),
    ]);
    expect(wrapper.fd).not.toBe(fd);
    expect(wrapper.fileno()).not.toBe(fd);
    expect(wrapper.recv(13)).toEqual(Buffer.from('a file with t'));
    expect(wrapper.read(6)).toEqual(Buffer.from('wenty-'));
    wrapper.close();
    expect(() => wrapper.read(1)).toThrow(CLOSED);
  });

  test('test_send', () => {
    const file = fileWithContent();
    const wrapper = keep(file.open(O_WRONLY | O_APPEND, (fd) => new FileWrapper(fd)));
    wrapper.write(Buffer.from(', and some'));
    wrapper.send(Buffer.from(' more of them'));
    wrapper.close();
    expect(readFileSync(file.path, 'latin1')).toBe(
      'a file with twenty-nine bytes, and some more of them',
    );
  });

  test('test_resource_warning', async () => {
    const emitWarning = jest.spyOn(process, 'emitWarning').mockImplementation(() => {});
    const gc = garbageCollector();
    const fd = fileWithContent().open(O_RDONLY, (fd) => new FileWrapper(fd).fd);
    await until(() => {
      gc();
      return emitWarning.mock.calls.length > 0;
    });
    expect(emitWarning.mock.calls).toEqual([
      [
        `Unclosed file (fd ${fd}): it was dropped without close()`,
        { type: 'ResourceWarning', code: 'ASYNCORE_UNCLOSED' },
      ],
    ]);
  });

  test('test_close_twice', () => {
    const wrapper = fileWithContent().open(O_RDONLY, (fd) => new FileWrapper(fd));
    closeSync(wrapper.fd);
    expect(() => wrapper.close()).toThrow(CLOSED);
    expect(wrapper.fd).toBe(-1);
    expect(() => wrapper.close()).not.toThrow();
  });

  fileDispatcherCase(test, { usePoll: true, sync: false });
});

describe(describeName('FileWrapperTest', 'loopSync'), () => {
  fileDispatcherCase(casesOf('FileWrapperTest', 'loopSync'), { usePoll: true, sync: true });
});

function fileDispatcherCase(test: Register, how: Way): void {
  test('test_dispatcher', async () => {
    const pieces: Buffer[] = [];

    class Reader extends FileDispatcher {
      override handleRead(): void {
        const piece = this.recv(29);
        if (piece !== null) pieces.push(piece);
      }
    }

    fileWithContent().open(O_RDONLY, (fd) => new Reader(fd));
    await passes(how, 2, 10);
    expect(Buffer.concat(pieces)).toEqual(CONTENT);
  });
}

// ---------------------------------------------------------------------------------------------

/**
 * A channel to which nothing may happen but what a test allows. A handler that nobody expected
 * ends the loop, and so the test.
 */
class BaseTestHandler extends Dispatcher {
  flag = false;

  override handleAccept(): void {
    throw new Error('handleAccept: nobody expected that');
  }
  override handleAccepted(_socket: Socket, _address: Address): void {
    throw new Error('handleAccepted: nobody expected that');
  }
  override handleConnect(): void {
    throw new Error('handleConnect: nobody expected that');
  }
  override handleExpt(): void {
    throw new Error('handleExpt: nobody expected that');
  }
  override handleClose(): void {
    throw new Error('handleClose: nobody expected that');
  }
  override handleError(error: unknown): void {
    leaveLoop(error);
  }
}

/** ExitNow, as whatever else a handleError throws costs its own channel only. */
function leaveLoop(cause: unknown): never {
  throw new ExitNow(String(cause), { cause });
}

/** A listener that makes a handler of each caller. */
class BaseServer extends Dispatcher {
  constructor(
    family: number,
    private readonly makeHandler: (socket: Socket) => Dispatcher = (socket) =>
      new BaseTestHandler(socket),
  ) {
    super();
    this.createSocket(family);
    this.setReuseAddr();
    this.bind(localAddress(family));
    this.listen(5);
  }
  get ownAddress(): Address {
    return socketOf(this).getSockName();
  }
  override handleAccepted(socket: Socket): void {
    this.makeHandler(socket);
  }
  override handleError(error: unknown): void {
    leaveLoop(error);
  }
}

class BaseClient extends BaseTestHandler {
  constructor(family: number, address: Address) {
    super();
    this.createSocket(family);
    this.connect(address);
  }
  override handleConnect(): void {}
}

/** A listener that is told itself. */
class BaseListener extends BaseTestHandler {
  constructor(family: number) {
    super();
    this.createSocket(family);
    this.bind(localAddress(family));
    this.listen(5);
  }
  get ownAddress(): Address {
    return socketOf(this).getSockName();
  }
}

function socketOf(channel: Dispatcher): Socket {
  return channel.socket as Socket;
}

/** O_NONBLOCK and the rest, as the kernel shows them. */
function flagsOf(socket: SocketLike): number {
  const info = readFileSync(`/proc/self/fdinfo/${socket.fileno()}`, 'latin1');
  return Number.parseInt(/flags:\s+(\d+)/.exec(info)?.[1] as string, 8);
}

const O_NONBLOCK = 0o4000;
const O_CLOEXEC = 0o2000000;

type ApiRow = [name: string, testClass: string, variant: string, family: number, how: Way];

const API_FAMILIES: [name: string, family: number][] = [
  ['IPv4', AF_INET],
  ['IPv6', AF_INET6],
  ['UnixSockets', AF_UNIX],
];

const API: ApiRow[] = ['', 'loopSync'].flatMap((variant) =>
  API_FAMILIES.flatMap(([familyName, family]) =>
    ['Select', 'Poll'].map((order): ApiRow => {
      const testClass = `TestAPI_Use${familyName}${order}`;
      const how = { usePoll: order === 'Poll', sync: variant === 'loopSync' };
      return [describeName(testClass, variant), testClass, variant, family, how];
    }),
  ),
);

describe.each(API)('%s', (_, testClass, variant, family, how) => {
  const test = casesOf(testClass, variant);

  async function loopWaitingForFlag(channel: BaseTestHandler): Promise<void> {
    await drive(how, () => channel.flag);
  }

  test('test_handle_connect', async () => {
    class TestClient extends BaseClient {
      override handleConnect(): void {
        this.flag = true;
      }
    }

    const server = new BaseServer(family);
    await loopWaitingForFlag(new TestClient(family, server.ownAddress));
  });

  test('test_handle_accept', async () => {
    class TestListener extends BaseListener {
      override handleAccept(): void {
        this.flag = true;
      }
    }

    const server = new TestListener(family);
    new BaseClient(family, server.ownAddress);
    await loopWaitingForFlag(server);
  });

  test('test_handle_accepted', async () => {
    class TestListener extends BaseListener {
      override handleAccept(): void {
        void Dispatcher.prototype.handleAccept.call(this);
      }
      override handleAccepted(socket: Socket, address: Address): void {
        expect(socket).toBeInstanceOf(Socket);
        expect(address).toEqual(socketOf(client).getSockName());
        socket.close();
        this.flag = true;
      }
    }

    const server = new TestListener(family);
    const client = new BaseClient(family, server.ownAddress);
    await loopWaitingForFlag(server);
  });

  test('test_handle_read', async () => {
    class TestClient extends BaseClient {
      override handleRead(): void {
        this.flag = true;
      }
    }

    class TestHandler extends BaseTestHandler {
      constructor(socket: Socket) {
        super(socket);
        this.send(Buffer.alloc(1024, 'x'));
      }
    }

    const server = new BaseServer(family, (socket) => new TestHandler(socket));
    const client = new TestClient(family, server.ownAddress);
    await loopWaitingForFlag(client);
    expect(client.recv(2048)).toEqual(Buffer.alloc(1024, 'x'));
  });

  test('test_handle_write', async () => {
    class TestClient extends BaseClient {
      override handleWrite(): void {
        this.flag = true;
      }
    }

    const server = new BaseServer(family);
    await loopWaitingForFlag(new TestClient(family, server.ownAddress));
  });

  test('test_handle_close', async () => {
    class TestClient extends BaseClient {
      override handleRead(): void {
        // The end of the stream is seen by those who read.
        this.recv(1024);
      }
      override handleClose(): void {
        this.flag = true;
        this.close();
      }
    }

    class TestHandler extends BaseTestHandler {
      constructor(socket: Socket) {
        super(socket);
        this.close();
      }
    }

    const server = new BaseServer(family, (socket) => new TestHandler(socket));
    await loopWaitingForFlag(new TestClient(family, server.ownAddress));
  });

  test('test_handle_close_after_conn_broken', async () => {
    const data = Buffer.alloc(128);

    class TestClient extends BaseClient {
      override handleWrite(): void {
        this.send(data);
      }
      override handleClose(): void {
        this.flag = true;
        this.close();
      }
      override handleExpt(): void {
        this.flag = true;
        this.close();
      }
    }

    class TestHandler extends BaseTestHandler {
      override handleRead(): void {
        this.recv(data.length);
        this.close();
      }
      override writable(): boolean {
        return false;
      }
    }

    const server = new BaseServer(family, (socket) => new TestHandler(socket));
    await loopWaitingForFlag(new TestClient(family, server.ownAddress));
  });

  test('test_handle_expt', async () => {
    let urgent: Buffer | null = null;

    class TestClient extends BaseClient {
      override handleExpt(): void {
        urgent = socketOf(this).recv(1024, MSG_OOB);
        this.flag = true;
      }
    }

    class TestHandler extends BaseTestHandler {
      constructor(socket: Socket) {
        super(socket);
        socket.send(Buffer.from([244]), MSG_OOB);
      }
    }

    const server = new BaseServer(family, (socket) => new TestHandler(socket));
    await loopWaitingForFlag(new TestClient(family, server.ownAddress));
    expect(urgent).toEqual(Buffer.from([244]));
  });

  test('test_handle_error', async () => {
    const quotient = (dividend: bigint, divisor: bigint): bigint => dividend / divisor;

    class TestClient extends BaseClient {
      error: unknown;

      override handleWrite(): void {
        quotient(1n, 0n);
      }
      override handleError(error: unknown): void {
        this.flag = true;
        this.error = error;
      }
    }

    const server = new BaseServer(family);
    const client = new TestClient(family, server.ownAddress);
    await loopWaitingForFlag(client);
    expect(client.error).toBeInstanceOf(RangeError);
    expect(client.error).toMatchObject({ message: 'Division by zero' });
  });

  test('test_connection_attributes', async () => {
    const server = new BaseServer(family);
    const client = new BaseClient(family, server.ownAddress);
    const attributes = (channel: Dispatcher): unknown => {
      const { connected, accepting } = channel;
      return { connected, accepting };
    };

    // Whether the client is connected by now depends on the family.
    expect(attributes(server)).toEqual({ connected: false, accepting: true });
    expect(client.accepting).toBe(false);

    await passes(how, 100, 10);
    expect(attributes(server)).toEqual({ connected: false, accepting: true });
    expect(attributes(client)).toEqual({ connected: true, accepting: false });

    client.close();
    expect(attributes(server)).toEqual({ connected: false, accepting: true });
    expect(attributes(client)).toEqual({ connected: false, accepting: false });

    server.close();
    expect(attributes(server)).toEqual({ connected: false, accepting: false });
  });

  test('test_create_socket', () => {
    const channel = new Dispatcher();
    channel.createSocket(family);
    const socket = socketOf(channel);
    expect(socket.type).toBe(SOCK_STREAM);
    expect(socket.family).toBe(family);
    expect(flagsOf(socket) & O_NONBLOCK).toBe(O_NONBLOCK);
    expect(flagsOf(socket) & O_CLOEXEC).toBe(O_CLOEXEC);
  });

  test('test_bind', () => {
    const first = new Dispatcher();
    first.createSocket(family);
    first.bind(localAddress(family));
    first.listen(5);

    const second = new Dispatcher();
    second.createSocket(family);
    expect(() => second.bind(socketOf(first).getSockName())).toThrow(
      expect.objectContaining({ name: 'SocketError', code: 'EADDRINUSE', syscall: 'bind' }),
    );
  });

  test('test_set_reuse_addr', () => {
    const reuses = (channel: Dispatcher): number =>
      socketOf(channel).getSockOpt(SOL_SOCKET, SO_REUSEADDR);

    const channel = new Dispatcher(Socket.socket(family));
    expect(reuses(channel)).toBe(0);
    socketOf(channel).close();
    channel.createSocket(family);
    expect(reuses(channel)).toBe(0);
    channel.setReuseAddr();
    expect(reuses(channel)).not.toBe(0);
  });

  test('test_quick_connect', async () => {
    let ended = 0;

    class TestHandler extends BaseTestHandler {
      override handleRead(): void {
        this.recv(1024);
      }
      override handleClose(): void {
        ended += 1;
        this.close();
      }
    }

    /** Calls, and resets the connection before anybody can have accepted it. */
    const call = (): void => {
      const caller = keep(Socket.socket(family));
      const linger = Buffer.alloc(8);
      linger.writeInt32LE(1, 0);
      caller.setSockOpt(SOL_SOCKET, SO_LINGER, linger);
      caller.connect(server.ownAddress);
      caller.close();
    };

    const server = new BaseServer(family, (socket) => new TestHandler(socket));
    call();
    // Into the waiting loop as well, where there is one that lets anybody else run.
    if (how.sync) call();
    else setImmediate(call);
    await drive(how, () => ended === 2);
    expect([...socketMap.values()]).toEqual([server]);

    // And the listener goes on.
    const client = new BaseClient(family, server.ownAddress);
    await drive(how, () => client.connected && socketMap.size === 3);
    expect(server.accepting).toBe(true);
  });
});
