// The public types: what compiles, and what does not.

import { join } from 'node:path';
import { AsyncChat, ChannelMap, Socket } from 'asyncore';
import ts from 'typescript';
import { drive, WAYS } from './support/drive';
import { ROOT } from './support/program';

const COMPILES: Record<string, string> = {
  'a chat with both of its hooks': `
    export class Chat extends AsyncChat {
      override collectIncomingData(data: Buffer) { this._collectIncomingData(data); }
      override foundTerminator() { this.push(this._getData()); }
    }`,
  'the terminators there are': `
    export function set(chat: AsyncChat, either: Terminator) {
      chat.setTerminator('\\r\\n');
      chat.setTerminator(Buffer.from('\\n'));
      chat.setTerminator(new Uint8Array([10]));
      chat.setTerminator(17);
      chat.setTerminator(0);
      chat.setTerminator(null);
      chat.setTerminator(either);
    }`,
  'the terminators there are, assigned': `
    export function set(chat: AsyncChat): Uint8Array | number | null | undefined {
      chat.terminator = '\\r\\n';
      chat.terminator = Buffer.from('\\n');
      chat.terminator = 17;
      chat.terminator = null;
      return chat.terminator;
    }`,
  'a terminator, looked at': `
    export function show(chat: AsyncChat): string {
      const terminator = chat.getTerminator();
      if (terminator === undefined) return 'not set yet';
      if (terminator === null) return 'none';
      if (typeof terminator === 'number') return terminator.toFixed();
      return typeof terminator === 'string' ? terminator : terminator.toString();
    }`,
  'strings and bytes, pushed': `
    export function push(chat: AsyncChat): boolean {
      return chat.push('text') && chat.push(Buffer.from('text')) && chat.push(new Uint8Array(1));
    }`,
  'options that are undefined, as in Node, with exactOptionalPropertyTypes': `
    export const go = (map?: ChannelMap, signal?: AbortSignal, clock?: Clock): void => {
      void loop({ map, signal, timeout: undefined });
      void shutdown(new ChannelMap([], { clock }), { signal, deadline: undefined });
      listen({ port: 0, host: '::1' }, () => {}, { map, signal }).setIdleTimeout(5, { direction: undefined });
      socketMap.callLater({ ms: 5, keepAlive: undefined }, () => {});
    };`,
  'timers that speak of themselves, take arguments, are async, and are methods': `
    export const start = (map: ChannelMap, chat: AsyncChat): void => {
      const every = map.callEvery(5, () => every.cancel());
      const later = chat.callLater(5, () => later.reset());
      const missed = callEvery({ ms: 5 }, () => missed.missed);
      callLater(5, (name, count) => name.repeat(count), 'a', 3);
      callAt(5, async (name: string) => { await name; }, 'a');
      chat.callLater(5, chat.push, 'x');
      chat.callEvery(5, function (text) { this.push(text); }, 'x');
      map.handleTimerError = (error, timer) => [error, timer.due];
    };`,
  'producers of strings': `
    class Lines implements Producer {
      more(): string { return ''; }
    }
    export const push = (chat: AsyncChat): boolean => chat.pushWithProducer(new Lines());`,
  'producers of bytes': `
    class Bytes implements Producer {
      more(): Uint8Array { return new Uint8Array(0); }
    }
    export const push = (chat: AsyncChat): boolean => chat.pushWithProducer(new Bytes());`,
  'producers that end with null, or with nothing at all': `
    const items = ['a'];
    export const push = (chat: AsyncChat): boolean =>
      chat.pushWithProducer({ more: () => items.shift() ?? null }) &&
      chat.pushWithProducer({ more: () => items.shift() });`,
  'producers that promise their pieces, and whose close returns something': `
    const open = new Set<unknown>();
    class Rows implements Producer {
      async more() { return open.size > 0 ? 'a' : null; }
      async close() { open.clear(); }
    }
    export const push = (chat: AsyncChat): boolean =>
      chat.pushWithProducer(new Rows()) &&
      chat.pushWithProducer({ more: () => 'a', close: () => open.delete(1) });`,
  'streams and iterables, pushed': `
    import { Duplex, Readable } from 'node:stream';
    async function* slow() { yield 'a'; yield Buffer.from('b'); }
    export const push = (chat: AsyncChat, stream: Readable, both: Duplex): boolean =>
      chat.pushFrom(stream) && chat.pushFrom(both) && chat.pushFrom(slow()) &&
      chat.pushFrom(new Set(['a'])) && chat.pushFrom([Promise.resolve('a'), new Uint8Array(1)]);`,
  'the end of the output, waited for': `
    export const end = (chat: AsyncChat): Promise<void> => {
      chat.endWhenDone();
      return chat.flushed();
    };`,
  'producers that are data, or the library’s own': `
    export const push = (chat: AsyncChat): boolean =>
      chat.pushWithProducer('text') &&
      chat.pushWithProducer(Buffer.from('text')) &&
      chat.pushWithProducer(new SimpleProducer('text', 8));`,
  'what stands on a fifo': `
    export function look(chat: AsyncChat): void {
      const [found, item] = chat.producerFifo.pop();
      if (found && item !== null && typeof item !== 'string' && 'more' in item) item.more();
      chat.producerFifo = new Fifo<FifoItem>(['a', Buffer.from('b'), null]);
      const length: number = [...chat.producerFifo].length + chat.producerFifo.length;
      void length;
    }`,
  'handlers that are not async': `
    export class Mine extends Dispatcher {
      override handleRead() { this.recv(1); }
      override handleWrite(): void {}
      override handleConnect() { return; }
      override handleAccepted(socket: Socket, address: Address) { void [socket, address]; }
      override handleClose() { this.close(); }
    }`,
  'handlers that are': `
    export class Mine extends Dispatcher {
      override async handleRead() { await null; }
      override async handleWrite(): Promise<void> {}
      override async handleConnect() {}
      override async handleAccepted(socket: Socket) { await null; socket.close(); }
      override async handleError(error: unknown) { void error; }
      override async handleClose() { this.close(); }
    }
    export class Chat extends AsyncChat {
      override async collectIncomingData(data: Buffer) { void data; }
      override async foundTerminator() { await null; }
      override async handleDrain() {}
    }`,
  'a handler that calls the one it overrides': `
    export class Mine extends Dispatcher {
      override handleClose() { return super.handleClose(); }
      override async handleError(error: unknown) { await super.handleError(error); }
    }`,
  'handleError, with anything': `
    export class Mine extends Dispatcher {
      override handleError(error: unknown) {
        if (error instanceof SocketError) this.log(error.code + error.errno + error.syscall);
        else if (error instanceof Error) this.log(error.message);
        else super.handleError(error);
      }
    }
    export const tell = (channel: Dispatcher): void => {
      channel.handleError(null);
      channel.handleError('text');
    };`,
  'addresses of both kinds': `
    export function go(channel: Dispatcher, address: Address): string {
      channel.connect({ host: '::1', port: 80 });
      channel.connect({ host: '::1', port: 80, flowInfo: 1 });
      channel.bind({ path: '/tmp/socket' });
      channel.bind(address);
      return 'path' in address ? address.path : address.host + address.port.toFixed();
    }`,
  'loops with and without options': `
    export async function run(map: ChannelMap, signal: AbortSignal) {
      await loop();
      await loop({});
      await loop({ timeout: Infinity, usePoll: true, map, count: 3, signal });
      loopSync({ timeout: 100, map, count: 1 });
      poll();
      poll(100, map);
      poll2(100);
      poll3(0, map);
      closeAll(map, true);
    }`,
  'a channel map as the Map that it is': `
    const map = new ChannelMap();
    export const plain: Map<number, Channel> = map;
    export const channels: Channel[] = [...map.values()];
    export const copy = new ChannelMap(map);`,
  'a channel of the program’s own in a map': `
    const channel: Channel = {
      readable: () => true,
      writable: () => false,
      handleReadEvent() {},
      async handleWriteEvent() {},
      handleExptEvent() {},
      handleClose() {},
      handleError() {},
      close() {},
    };
    socketMap.set(3, channel);
    read(channel);
    readwrite(channel, POLLIN | POLLOUT);`,
  'what recv returned, when it is looked at': `
    export class Mine extends Dispatcher {
      override handleRead() {
        const data = this.recv(1);
        if (data !== null) this.send(data.subarray(1));
        const length: number = this.recv(1)?.length ?? 0;
        void length;
      }
    }`,
  'what accept returned, when it is looked at': `
    export class Mine extends Dispatcher {
      override handleAccept() {
        const caller = this.accept();
        if (caller !== null) this.handleAccepted(caller.socket, caller.address);
      }
    }`,
  'a stand-in for a socket, with no more than it needs': `
    class StandIn implements SocketLike {
      fileno(): number { return 3; }
      recv(size: number): Buffer | null { return Buffer.alloc(size); }
      send(data: Uint8Array): number | null { return data.length; }
      getSockOpt(): number { return 0; }
      close(): void {}
    }
    const channel = new Dispatcher(new StandIn());
    channel.socket = new StandIn();
    channel.setSocket(new StandIn());`,
  'a stand-in, written down where it is used': `
    new Dispatcher({
      fileno: () => 3,
      recv: () => null,
      send: () => null,
      getSockOpt: () => 0,
      close() {},
      getPeerName: () => ({ path: '' }),
      connectEx: (address) => ('path' in address ? 0 : 115),
    });`,
  'files in the place of sockets': `
    export const wrapper: SocketLike = new FileWrapper(0);
    new Dispatcher(new FileWrapper(0));
    new FileDispatcher(0);
    new FileDispatcher(process.stdin);
    new FileDispatcher(Socket.socket());`,
  'what goes with its block': `
    export function run() {
      using socket = Socket.socket();
      using file = new FileWrapper(0);
      using channel = new Dispatcher(socket);
      const disposables: Disposable[] = [socket, file, channel];
      void disposables;
    }`,
  'options of a socket': `
    export function set(socket: Socket) {
      socket.setSockOpt(IPPROTO_TCP, TCP_NODELAY, true);
      socket.setSockOpt(SOL_SOCKET, SO_SNDBUF, 4096);
      socket.setSockOpt(SOL_SOCKET, SO_LINGER, Buffer.alloc(8));
      const size: number = socket.getSockOpt(SOL_SOCKET, SO_SNDBUF);
      const bytes: Buffer = socket.getSockOpt(SOL_SOCKET, SO_LINGER, 8);
      void [size, bytes];
    }`,
  'fields that are not accessors': `
    export abstract class Chat extends AsyncChat {
      override acInBufferSize = 512;
      override encoding = 'latin1' as const;
      override highWaterMark = Infinity;
      override allowHalfOpen = true;
      override ignoreLogTypes = new Set<string>();
    }`,
  'predicates, overridden': `
    export class Mine extends Dispatcher {
      override readable() { return !this.closing; }
      override writable(): boolean { return false; }
      override tracksInterest() { return true; }
    }`,
  'a compact traceback, taken to pieces': `
    export function show(error: unknown): string {
      const [[file, func, line], type, value, info] = compactTraceback(error);
      return [file, func, line, String(type), String(value), info].join();
    }`,
};

/** And the error that says so. */
const FAILS: Record<string, [code: number, source: string]> = {
  'AsyncChat itself, which is abstract': [2511, 'new AsyncChat(Socket.socket());'],
  'a chat without foundTerminator': [
    2515,
    'export class Chat extends AsyncChat { override collectIncomingData(): void {} }',
  ],
  'a chat without collectIncomingData': [
    2515,
    'export class Chat extends AsyncChat { override foundTerminator(): void {} }',
  ],
  'a chat with neither': [2654, 'export class Chat extends AsyncChat {}'],
  'a boolean as terminator': [
    2345,
    'export const set = (chat: AsyncChat) => chat.setTerminator(true);',
  ],
  'an object as terminator': [
    2345,
    'export const set = (chat: AsyncChat) => chat.setTerminator({});',
  ],
  'a list of numbers as terminator': [
    2345,
    'export const set = (chat: AsyncChat) => chat.setTerminator([13, 10]);',
  ],
  'a bigint as terminator': [
    2345,
    'export const set = (chat: AsyncChat) => chat.setTerminator(1n);',
  ],
  'undefined as terminator': [
    2345,
    'export const set = (chat: AsyncChat) => chat.setTerminator(undefined);',
  ],
  'no terminator at all': [2554, 'export const set = (chat: AsyncChat) => chat.setTerminator();'],
  'a terminator that may not have been set, set again': [
    2345,
    'export const set = (chat: AsyncChat) => chat.setTerminator(chat.getTerminator());',
  ],
  'a number, pushed': [2345, 'export const push = (chat: AsyncChat) => chat.push(1);'],
  'null, pushed': [2345, 'export const push = (chat: AsyncChat) => chat.push(null);'],
  'a list, pushed': [2345, `export const push = (chat: AsyncChat) => chat.push(['a']);`],
  'a producer of numbers': [2416, 'export class P implements Producer { more() { return 1; } }'],
  'a producer of numbers, pushed': [
    2322,
    'export const push = (chat: AsyncChat) => chat.pushWithProducer({ more: () => 1 });',
  ],
  'a producer of promises of numbers': [
    2416,
    'export class P implements Producer { async more() { return 1; } }',
  ],
  'a stream of numbers, pushed': [
    2345,
    'export const push = (chat: AsyncChat) => chat.pushFrom([1, 2]);',
  ],
  'a producer without more': [
    2353,
    `export const push = (chat: AsyncChat) => chat.pushWithProducer({ next: () => 'a' });`,
  ],
  'a chat with a hook that takes a string': [
    2416,
    `export class Chat extends AsyncChat {
      override collectIncomingData(data: string) { void data; }
      override foundTerminator() {}
    }`,
  ],
  'a handler that returns something': [
    2416,
    'export class Mine extends Dispatcher { override handleRead() { return 1; } }',
  ],
  'a handler that promises something': [
    2416,
    'export class Mine extends Dispatcher { override async handleRead() { return 1; } }',
  ],
  'a handler that is misspelled': [
    4117,
    'export class Mine extends Dispatcher { override handleReads() {} }',
  ],
  'a handler that does not say that it overrides': [
    4114,
    'export class Mine extends Dispatcher { handleRead() {} }',
  ],
  'handleError without the error': [
    2554,
    'export const tell = (channel: Dispatcher) => channel.handleError();',
  ],
  'handleError that trusts in an Error': [
    18046,
    `export class Mine extends Dispatcher {
      override handleError(error: unknown) { this.log(error.message); }
    }`,
  ],
  'an async predicate': [
    2416,
    'export class Mine extends Dispatcher { override async writable() { return true; } }',
  ],
  'a predicate that returns a queue': [
    2416,
    `export class Mine extends Dispatcher {
      queue: string[] = [];
      override writable() { return this.queue; }
    }`,
  ],
  'a field in the place of an accessor': [
    2610,
    'export class Mine extends Dispatcher { override connected = true; }',
  ],
  'this before super': [
    17009,
    `export class Mine extends Dispatcher {
      constructor() {
        this.debug = true;
        super();
      }
    }`,
  ],
  'a host without a port': [
    2345,
    `export const go = (channel: Dispatcher) => channel.connect({ host: '::1' });`,
  ],
  'a port that is a string': [
    2322,
    `export const go = (channel: Dispatcher) => channel.connect({ host: '::1', port: '80' });`,
  ],
  'a pair, as in Python': [
    2345,
    `export const go = (channel: Dispatcher) => channel.connect(['::1', 80]);`,
  ],
  'a path that is no object': [
    2345,
    `export const go = (channel: Dispatcher) => channel.bind('/tmp/socket');`,
  ],
  'the port of an address that may be a path': [
    2339,
    'export const port = (address: Address): number => address.port;',
  ],
  'seconds in a string': [2322, `void loop({ timeout: '30' });`],
  'an option that there is not': [2353, 'void loop({ seconds: 30 });'],
  'a timeout by position': [2559, 'void loop(30);'],
  'a Map in the place of a channel map': [2345, 'poll(0, new Map<number, Channel>());'],
  'a Map in the place of a channel map, for a channel': [
    2345,
    'new Dispatcher(null, new Map<number, Channel>());',
  ],
  'a channel that lacks handlers': [2345, 'socketMap.set(3, { readable: () => true });'],
  'what recv returned, sent without a look': [
    2345,
    `export class Mine extends Dispatcher {
      override handleRead() { this.send(this.recv(1)); }
    }`,
  ],
  'what recv returned, used without a look': [
    18047,
    `export class Mine extends Dispatcher {
      override handleRead() {
        const data = this.recv(1);
        this.log(data.length);
      }
    }`,
  ],
  'what accept returned, without a look': [
    2339,
    'export const accept = (channel: Dispatcher) => { const { socket } = channel.accept(); return socket; };',
  ],
  'a string, sent by a dispatcher': [
    2345,
    `export const send = (channel: Dispatcher) => channel.send('text');`,
  ],
  'a stand-in that lacks a method': [
    2345,
    `new Dispatcher({
      fileno: () => 3,
      recv: () => null,
      send: () => null,
      close() {},
    });`,
  ],
  'a stand-in whose recv returns a string': [
    2322,
    `new Dispatcher({
      fileno: () => 3,
      recv: () => 'text',
      send: () => null,
      getSockOpt: () => 0,
      close() {},
    });`,
  ],
  'a method of a socket that a stand-in may lack': [
    2722,
    `export const name = (socket: SocketLike) => socket.getPeerName();`,
  ],
  'the socket of a channel, which may have none': [
    18047,
    'export const close = (channel: Dispatcher) => channel.socket.close();',
  ],
  'a Socket made by new': [2673, 'new Socket(3, 2, 1, 0);'],
  'the map of a channel, replaced': [
    2540,
    'export const move = (channel: Dispatcher) => { channel.map = new ChannelMap(); };',
  ],
  'a message without a look at what was thrown': [
    18046,
    'try { poll(); } catch (error) { error.code; }',
  ],
};

const PRELUDE = `import {
  type Address,
  AsyncChat,
  callAt,
  callEvery,
  callLater,
  type Channel,
  ChannelMap,
  type Clock,
  closeAll,
  compactTraceback,
  Dispatcher,
  Fifo,
  type FifoItem,
  FileDispatcher,
  FileWrapper,
  IPPROTO_TCP,
  listen,
  loop,
  loopSync,
  poll,
  poll2,
  poll3,
  POLLIN,
  POLLOUT,
  type Producer,
  read,
  readwrite,
  shutdown,
  SimpleProducer,
  SO_LINGER,
  SO_SNDBUF,
  Socket,
  SocketError,
  type SocketLike,
  socketMap,
  SOL_SOCKET,
  TCP_NODELAY,
  type Terminator,
} from 'asyncore';
`;

// The snippets are the files of one program, in a folder that is only imagined.
const FOLDER = join(ROOT, 'spec', 'imagined');
const sources = new Map<string, string>();

function fileOf(name: string): string {
  return join(FOLDER, `${name.replaceAll(/\W+/g, '-')}.ts`);
}

for (const [name, source] of Object.entries(COMPILES)) sources.set(fileOf(name), source);
for (const [name, [, source]] of Object.entries(FAILS)) sources.set(fileOf(name), source);

let program: ts.Program;

beforeAll(() => {
  const { config } = ts.readConfigFile(join(ROOT, 'tsconfig.json'), ts.sys.readFile);
  const parsed = ts.parseJsonConfigFileContent(config, ts.sys, ROOT);
  // A snippet does not use all that is imported for it.
  const options: ts.CompilerOptions = { ...parsed.options, noUnusedLocals: false, types: ['node'] };
  const host = ts.createCompilerHost(options);
  const { fileExists, getSourceFile, readFile } = host;
  host.fileExists = (file) => sources.has(file) || fileExists(file);
  host.readFile = (file) => sources.get(file) ?? readFile(file);
  host.getSourceFile = (file, version, ...rest) => {
    const source = sources.get(file);
    if (source === undefined) return getSourceFile(file, version, ...rest);
    return ts.createSourceFile(file, PRELUDE + source, version);
  };
  program = ts.createProgram([...sources.keys()], options, host);
});

/** The errors in a snippet, each as its code and its text. */
function errorsIn(name: string): [code: number, text: string][] {
  const file = program.getSourceFile(fileOf(name));
  return [...program.getSyntacticDiagnostics(file), ...program.getSemanticDiagnostics(file)].map(
    ({ code, messageText }) => [code, ts.flattenDiagnosticMessageText(messageText, '\n')],
  );
}

it('No two snippets share a file', () => {
  expect(sources.size).toBe(Object.keys(COMPILES).length + Object.keys(FAILS).length);
});

describe('compiles:', () => {
  it.each(Object.keys(COMPILES))('%s', (name) => {
    expect(errorsIn(name)).toEqual([]);
  });
});

describe('does not compile:', () => {
  it.each(Object.entries(FAILS).map(([name, [code]]) => [name, code] as const))(
    '%s, with error TS%i',
    (name, code) => {
      expect(errorsIn(name)).toEqual([[code, expect.any(String)]]);
    },
  );
});

describe.each(WAYS)('What compiles and must not run: %s', (_, way) => {
  // @ts-expect-error as in JavaScript, where nothing checks that a subclass is complete
  class WithoutHook extends AsyncChat {
    readonly errors: unknown[] = [];

    override handleError(error: unknown): void {
      this.errors.push(error);
    }
  }

  // @ts-expect-error the same
  class WithoutFoundTerminator extends WithoutHook {
    override collectIncomingData(data: Buffer): void {
      this._collectIncomingData(data);
    }
  }

  it.each([
    ['foundTerminator', WithoutFoundTerminator],
    ['collectIncomingData', WithoutHook],
  ])('a chat without %s has an error when it is needed', async (method, Chat) => {
    const map = new ChannelMap();
    const [ours, theirs] = Socket.pair();
    using chat = new Chat(ours, map);
    chat.setTerminator('\n');
    theirs.send(Buffer.from('line\n'));
    try {
      await drive(way, () => chat.errors.length > 0, { map });
    } finally {
      theirs.close();
    }
    expect(chat.errors[0]).toMatchObject({
      code: 'ERR_METHOD_NOT_IMPLEMENTED',
      message: `${method} must be implemented in a subclass`,
    });
  });
});
