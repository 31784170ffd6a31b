// The test cases of CPython's test_asynchat, by their names, and over every family. The echo server
// is a thread there, and here: node:net in a worker, which goes on while loopSync blocks this one.

import { on } from 'node:events';
import type { AddressInfo } from 'node:net';
import { type MessagePort, Worker } from 'node:worker_threads';
import {
  type Address,
  AF_INET,
  AF_INET6,
  AF_UNIX,
  AsyncChat,
  closeAll,
  Fifo,
  findPrefixAtEnd,
  SimpleProducer,
  Socket,
  type SocketLike,
  socketMap,
  type Terminator,
} from 'asyncore';
import { drive, localAddress, type Way } from '../support/drive';
import { QuietChat } from '../support/quiet-chat';
import { casesOf, describeName } from './cases';

const bytes = (text: string): Buffer => Buffer.from(text, 'latin1');

const QUIT = bytes('QUIT\n');
const LINES = bytes('a first line\nand the next\n');

interface EchoOptions {
  session: number;
  listen: Address;
  /** How much is sent back at a time. */
  chunkSize: number;
  /** Whether to send nothing before `resend`. */
  waits: boolean;
}

interface EchoAnswer {
  session: number;
  /** At first: where it listens. */
  address?: Address;
  /** At last: all that was heard before `QUIT\n`. */
  heard?: string;
}

/**
 * One server after another, each for one caller: reads until `QUIT\n`, sends back what came before
 * it, piece by piece, and closes. Runs in a worker, as text: it knows nothing but its arguments.
 */
function serveEchoes(port: MessagePort, net: typeof import('node:net')): void {
  const answer = (message: EchoAnswer): void => port.postMessage(message);
  let allowed = true;
  let resend = (): void => {};

  const serve = ({ session, listen, chunkSize, waits }: EchoOptions): void => {
    const server = net.createServer({ allowHalfOpen: true, noDelay: true }, (caller) => {
      let heard = '';
      const echo = (rest: string): void => {
        if (rest === '' || caller.destroyed) caller.end();
        else {
          // A pause, so that most pieces are received one by one.
          const next = (): unknown => setTimeout(echo, 1, rest.slice(chunkSize));
          caller.write(rest.slice(0, chunkSize), 'latin1', next);
        }
      };
      server.close();
      caller.on('error', () => {});
      caller.on('close', () => answer({ session, heard }));
      caller.on('data', (data) => {
        heard += data.toString('latin1');
        if (!heard.endsWith('QUIT\n')) return;
        heard = heard.slice(0, -5);
        resend = () => echo(heard);
        if (allowed) resend();
      });
    });
    allowed = !waits;
    resend = () => {};
    server.listen(listen, () => {
      const at = server.address() as AddressInfo | string;
      const address = typeof at === 'string' ? { path: at } : { host: at.address, port: at.port };
      answer({ session, address });
    });
  };

  port.on('message', (message: EchoOptions | 'resend') => {
    if (message !== 'resend') serve(message);
    else {
      // It may not have heard everything yet.
      allowed = true;
      resend();
    }
  });
}

class EchoThread {
  readonly #worker = new Worker(
    `(${serveEchoes})(require('node:worker_threads').parentPort, require('node:net'));`,
    { eval: true },
  );

  #session = 0;

  async #answer(session: number): Promise<EchoAnswer> {
    const signal = AbortSignal.timeout(8000);
    for await (const [answer] of on(this.#worker, 'message', { signal })) {
      if (answer.session === session) return answer;
    }
    throw new Error('the thread has ended');
  }

  /** Where the next server listens, and the promise of what it will have heard. */
  async serve(
    family: number,
    chunkSize: number,
    waits: boolean,
  ): Promise<{ address: Address; heard: Promise<string | undefined> }> {
    this.#session += 1;
    const session = this.#session;
    const options: EchoOptions = { session, listen: localAddress(family), chunkSize, waits };
    this.#worker.postMessage(options);
    const { address } = await this.#answer(session);
    if (address === undefined) throw new Error('no server');
    const heard = this.#answer(session).then((answer) => answer.heard);
    // Who waits for it may have failed before.
    heard.catch(() => {});
    return { address, heard };
  }

  resend(): void {
    this.#worker.postMessage('resend');
  }

  async end(): Promise<void> {
    await this.#worker.terminate();
  }
}

class EchoClient extends AsyncChat {
  /** The records. */
  readonly contents: Buffer[] = [];
  /** What belongs to none yet. */
  buffer: Buffer = bytes('');
  readonly errors: unknown[] = [];

  constructor(family: number, address: Address, terminator: Terminator) {
    super();
    this.createSocket(family);
    this.connect(address);
    this.setTerminator(terminator);
  }
  override handleConnect(): void {}
  override collectIncomingData(data: Buffer): void {
    this.buffer = Buffer.concat([this.buffer, data]);
  }
  override foundTerminator(): void {
    this.contents.push(this.buffer);
    this.buffer = bytes('');
  }
  override handleError(error: unknown): void {
    this.errors.push(error);
    this.close();
  }
}

afterEach(() => {
  closeAll(socketMap, true);
});

type Row = [name: string, testClass: string, variant: string, family: number, how: Way];

const VARIANTS: [variant: string, family: number, sync: boolean][] = [
  ['', AF_INET, false],
  ['loopSync', AF_INET, true],
  ['IPv6', AF_INET6, false],
  ['IPv6 and loopSync', AF_INET6, true],
  ['Unix', AF_UNIX, false],
  ['Unix and loopSync', AF_UNIX, true],
];

const ROWS: Row[] = VARIANTS.flatMap(([variant, family, sync]) =>
  ['TestAsynchat', 'TestAsynchat_WithPoll'].map((testClass): Row => {
    const how = { usePoll: testClass === 'TestAsynchat_WithPoll', sync };
    return [describeName(testClass, variant), testClass, variant, family, how];
  }),
);

describe.each(ROWS)('%s', (_, testClass, variant, family, how) => {
  const test = casesOf(testClass, variant);
  let thread: EchoThread;

  beforeAll(() => {
    thread = new EchoThread();
  });

  afterAll(async () => {
    await thread.end();
  });

  /** A client that says something to a server, until both have closed. */
  async function talk(
    terminator: Terminator,
    say: (client: EchoClient) => void,
    { chunkSize = 1, waits = false } = {},
  ): Promise<{ client: EchoClient; heard: string | undefined }> {
    const server = await thread.serve(family, chunkSize, waits);
    const client = new EchoClient(family, server.address, terminator);
    say(client);
    await drive(how, () => socketMap.size === 0);
    if (waits) thread.resend();
    const heard = await server.heard;
    expect(client.errors).toEqual([]);
    return { client, heard };
  }

  async function checkLineTerminator(terminator: Buffer): Promise<void> {
    for (const chunkSize of [1, 2, 3]) {
      const say = (chat: EchoClient): void => {
        chat.push(bytes('a first '));
        chat.push(Buffer.concat([bytes('line'), terminator]));
        chat.push(Buffer.concat([bytes('and the next'), terminator]));
        chat.push(QUIT);
      };
      const { client } = await talk(terminator, say, { chunkSize });
      expect(client.contents).toEqual([bytes('a first line'), bytes('and the next')]);
      expect(client.buffer).toEqual(bytes(''));
    }
  }

  test('test_line_terminator1', () => checkLineTerminator(bytes('\n')));

  test('test_line_terminator2', () => checkLineTerminator(bytes('\r\n')));

  test('test_line_terminator3', () => checkLineTerminator(bytes('qqq')));

  async function checkNumericTerminator(length: number): Promise<void> {
    const data = bytes('a record, and what follows it\n');
    const { client } = await talk(length, (chat) => {
      chat.push(data);
      chat.push(QUIT);
    });
    // One record: what follows it has no terminator any more.
    expect(client.contents).toEqual([data.subarray(0, length)]);
    expect(client.buffer).toEqual(data.subarray(length));
  }

  test('test_numeric_terminator1', () => checkNumericTerminator(1));

  test('test_numeric_terminator2', () => checkNumericTerminator(6));

  test('test_none_terminator', async () => {
    const data = bytes('a record, and what follows it\n');
    const { client } = await talk(null, (chat) => {
      chat.push(data);
      chat.push(QUIT);
    });
    expect(client.contents).toEqual([]);
    expect(client.buffer).toEqual(data);
  });

  test('test_simple_producer', async () => {
    const { client } = await talk(bytes('\n'), (chat) => {
      chat.pushWithProducer(new SimpleProducer(Buffer.concat([LINES, QUIT]), 8));
    });
    expect(client.contents).toEqual([bytes('a first line'), bytes('and the next')]);
  });

  test('test_string_producer', async () => {
    const { client } = await talk(bytes('\n'), (chat) => {
      chat.pushWithProducer(Buffer.concat([LINES, QUIT]));
    });
    expect(client.contents).toEqual([bytes('a first line'), bytes('and the next')]);
  });

  test('test_empty_line', async () => {
    const { client } = await talk(bytes('\n'), (chat) => {
      chat.push(bytes('a first line\n\nand the next\n'));
      chat.push(QUIT);
    });
    expect(client.contents).toEqual([bytes('a first line'), bytes(''), bytes('and the next')]);
  });

  test('test_close_when_done', async () => {
    const say = (chat: EchoClient): void => {
      chat.push(LINES);
      chat.push(QUIT);
      chat.closeWhenDone();
    };
    // The server answers when the client has gone.
    const { client, heard } = await talk(bytes('\n'), say, { waits: true });
    expect(client.contents).toEqual([]);
    expect(heard).toBe(LINES.toString('latin1'));
  });

  test('test_push', async () => {
    const { client } = await talk(bytes('\n'), (chat) => {
      chat.push(bytes('bytes\n'));
      chat.push(new Uint8Array(bytes('bytes\n')));
      // A view of a part of something, which is what a memoryview is.
      chat.push(bytes('-bytes\n-').subarray(1, -1));
      expect(() => chat.push(10 as never)).toThrow(TypeError);
      // A string is welcome here, unless the program asks for Python's way.
      chat.useEncoding = false;
      expect(() => chat.push('unicode')).toThrow(TypeError);
      chat.push(QUIT);
    });
    expect(client.contents).toEqual([bytes('bytes'), bytes('bytes'), bytes('bytes')]);
  });
});

describe('TestAsynchatMocked', () => {
  const test = casesOf('TestAsynchatMocked');

  // @ts-expect-error as in JavaScript, where nothing checks that a subclass is complete
  class Chat extends AsyncChat {
    readonly errors: unknown[] = [];
    readonly closes: number[] = [];

    override handleError(error: unknown): void {
      this.errors.push(error);
    }
    override handleClose(): void {
      this.closes.push(1);
    }
  }

  test('test_blockingioerror', () => {
    // What Python raises is an answer here: null.
    const asked: number[] = [];
    const socket: SocketLike = {
      fileno: () => 0,
      recv(size) {
        asked.push(size);
        return null;
      },
      send: () => null,
      getSockOpt: () => 0,
      close() {},
    };
    const chat = new Chat();
    chat.setSocket(socket);
    try {
      void chat.handleRead();
    } finally {
      chat.delChannel();
    }
    expect(asked).toEqual([65536]);
    expect(chat.errors).toEqual([]);
    expect(chat.closes).toEqual([]);

    // And as the kernel gives it.
    const [socketOfOurs, peer] = Socket.pair();
    using _peer = peer;
    using real = new Chat(socketOfOurs);
    void real.handleRead();
    expect(real.errors).toEqual([]);
    expect(real.closes).toEqual([]);
    expect(real.connected).toBe(true);
  });
});

describe('TestHelperFunctions', () => {
  const test = casesOf('TestHelperFunctions');

  test('test_find_prefix_at_end', () => {
    expect(findPrefixAtEnd('qwerty\r', '\r\n')).toBe(1);
    expect(findPrefixAtEnd('qwertydkjf', '\r\n')).toBe(0);
  });
});

describe('TestNotConnected', () => {
  const test = casesOf('TestNotConnected');

  test('test_disallow_negative_terminator', () => {
    const client = new QuietChat();
    expect(() => client.setTerminator(-1)).toThrow(RangeError);
    expect(client.getTerminator()).toBeUndefined();
  });
});

describe('TestFifo', () => {
  const test = casesOf('TestFifo');

  test('test_basic', () => {
    const fifo = new Fifo<number | string>();
    fifo.push(7);
    fifo.push('a');
    expect(fifo.length).toBe(2);
    expect(fifo.first()).toBe(7);
    expect(fifo.pop()).toEqual([true, 7]);
    expect(fifo.length).toBe(1);
    expect(fifo.first()).toBe('a');
    expect(fifo.isEmpty()).toBe(false);
    expect(fifo.pop()).toEqual([true, 'a']);
    expect(fifo.length).toBe(0);
    expect(fifo.isEmpty()).toBe(true);
    expect(fifo.pop()).toEqual([false, null]);
  });

  test('test_given_list', () => {
    const fifo = new Fifo<number | string>(['x', 17, 3]);
    expect(fifo.length).toBe(3);
    expect(fifo.pop()).toEqual([true, 'x']);
    expect(fifo.pop()).toEqual([true, 17]);
    expect(fifo.pop()).toEqual([true, 3]);
    expect(fifo.pop()).toEqual([false, null]);
  });
});
