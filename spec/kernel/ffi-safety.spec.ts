// What keeps the kernel away from memory and descriptors that are not its business: the three promises
// of docs/design.md, "Memory and the kernel".
//
// 1. No call passes a length beyond its memory. A double of koffi notes every pointer and the length
//    beside it during a session with everything in it; and every call is made with guarded memory.
// 2. The kernel writes to no memory that may have been collected.
// 3. A descriptor that is closed, or is another file's by now, is not reached through an old Socket.

import { closeSync, openSync, writeFileSync } from 'node:fs';
import {
  type Address,
  AF_INET,
  AF_INET6,
  AI_CANONNAME,
  AsyncChat,
  ChannelMap,
  closeAll,
  Dispatcher,
  FileDispatcher,
  FileProducer,
  getAddrInfo,
  getHostByAddr,
  type Handled,
  IPPROTO_TCP,
  POLLIN,
  pipe,
  poll,
  poll2,
  recvFds,
  SCM_RIGHTS,
  SHUT_WR,
  SO_KEEPALIVE,
  SOCK_DGRAM,
  SOL_SOCKET,
  Socket,
  select,
  sendFds,
  TCP_INFO,
} from 'asyncore';
import fc from 'fast-check';
import { EpollSelector } from '../../lib/kernel/selectors/epoll';
import { PollSelector } from '../../lib/kernel/selectors/poll';
import { drive, FAMILIES, localAddress, temporaryPath, WAYS } from '../support/drive';
import { keep } from '../support/keep';
import { Program, runTypeScript, TYPESCRIPT } from '../support/program';

type CFunction = (...args: unknown[]) => unknown;

/** Pointer, and how many bytes the callee was told that there are: both by tsuccessor place. */
type Pairs = readonly (readonly [
  pointer: number,
  length: number | ((args: unknown[]) => number),
])[];

/** The first element of what a length argument points to. */
const pointedTo =
  (at: number) =>
  (args: unknown[]): number =>
    args[at] === null ? 0 : ((args[at] as Uint32Array)[0] as number);
const fixed = (length: number) => (): number => length;

// struct epoll_event and struct pollfd, restated: these are what is to be checked.
const EPOLL_EVENT = process.arch === 'x64' ? 12 : 16;
const POLLFD = 8;
const MSGHDR = 56;

const MEMORY: Record<string, Pairs> = {
  socketpair: [[3, fixed(8)]],
  pipe2: [[0, fixed(8)]],
  bind: [[1, 2]],
  connect: [[1, 2]],
  accept4: [
    [1, pointedTo(2)],
    [2, fixed(4)],
  ],
  getsockname: [
    [1, pointedTo(2)],
    [2, fixed(4)],
  ],
  getpeername: [
    [1, pointedTo(2)],
    [2, fixed(4)],
  ],
  getsockopt: [
    [3, pointedTo(4)],
    [4, fixed(4)],
  ],
  setsockopt: [[3, 4]],
  recv: [[1, 2]],
  recvfrom: [
    [1, 2],
    [4, pointedTo(5)],
    [5, (args) => (args[5] === null ? 0 : 4)],
  ],
  recvmsg: [[1, fixed(MSGHDR)]],
  sendmsg: [[1, fixed(MSGHDR)]],
  send: [[1, 2]],
  sendfile: [[2, fixed(8)]],
  sigaction: [[2, fixed(152)]],
  sendto: [
    [1, 2],
    [4, 5],
  ],
  read: [[1, 2]],
  write: [[1, 2]],
  epoll_ctl: [[3, fixed(EPOLL_EVENT)]],
  epoll_wait: [[1, (args) => Number(args[2]) * EPOLL_EVENT]],
  poll: [[0, (args) => Number(args[1]) * POLLFD]],
  inet_pton: [[2, fixed(16)]],
  inet_ntop: [
    [1, (args) => (args[0] === AF_INET6 ? 16 : 4)],
    [2, 3],
  ],
  if_indextoname: [[1, fixed(16)]],
  getaddrinfo: [
    [2, fixed(48)],
    [3, fixed(8)],
  ],
  gethostbyaddr_r: [
    [0, 1],
    [3, fixed(32)],
    [4, 5],
    [6, fixed(8)],
    [7, fixed(4)],
  ],
  memcpy: [[0, 2]],
};

/** What a struct msghdr points to, and the length beside each pointer. */
function inMessage(header: DataView): [pointer: number, length: number][] {
  const at = (offset: number): number => Number(header.getBigUint64(offset, true));
  // One iovec, which stands behind the header.
  return [
    [at(0), header.getUint32(8, true)],
    [at(16), 16 * at(24)],
    [at(32), at(40)],
    [at(MSGHDR), at(MSGHDR + 8)],
  ];
}

/** No memory of the program's: numbers, C strings, and what C has allocated. */
const WITHOUT = [
  'socket',
  'listen',
  'shutdown',
  'close',
  'fcntl',
  'epoll_create1',
  'if_nametoindex',
  'strerror',
  'strlen',
  'freeaddrinfo',
];

const mockAudit = {
  /** Memory with a fixed address: where, and how much. */
  ranges: [] as { start: number; size: number; memory: Buffer }[],
  seen: new Set<string>(),
  wrong: [] as string[],
  look(name: string, args: unknown[]): void {
    this.seen.add(name);
    const pairs = MEMORY[name];
    if (pairs === undefined) {
      if (!WITHOUT.includes(name)) this.wrong.push(`${name} is not known`);
      return;
    }
    for (const [at, length] of pairs) {
      const pointer = args[at];
      const told = typeof length === 'number' ? Number(args[length] ?? 0) : length(args);
      this.compare(name, pointer, told);
    }
    if (!/^(recv|send)msg$/.test(name)) return;
    const { start, memory } = this.rangeOf(Number(args[1])) as { start: number; memory: Buffer };
    const header = new DataView(memory.buffer, memory.byteOffset + Number(args[1]) - start);
    for (const [pointer, told] of inMessage(header)) this.compare(name, pointer, told);
  },
  compare(name: string, pointer: unknown, told: number): void {
    if (this.room(pointer) < told) this.wrong.push(`${name}: ${told} of ${this.room(pointer)}`);
  },
  rangeOf(address: number) {
    // The latest, as addresses are given out again.
    return this.ranges.findLast(({ start, size }) => address >= start && address <= start + size);
  },
  room(pointer: unknown): number {
    if (pointer === null || pointer === undefined) return 0;
    if (ArrayBuffer.isView(pointer)) return sizeOf(pointer);
    const address = Number(pointer);
    const range = this.rangeOf(address);
    return range === undefined ? -1 : range.start + range.size - address;
  },
};

/** The engine's own answer, whatever the object says of itself. */
function sizeOf(view: ArrayBufferView): number {
  const TypedArray = Object.getPrototypeOf(Uint8Array.prototype) as object;
  const own = Object.getOwnPropertyDescriptor(TypedArray, 'byteLength');
  return Reflect.apply(own?.get as () => number, view, []);
}

jest.mock('koffi', () => {
  const koffi = jest.requireActual('koffi') as typeof import('koffi');
  return {
    ...koffi,
    load(path: string | null) {
      const library = koffi.load(path);
      return {
        func(signature: string): CFunction {
          const name = /(\w+)\(/.exec(signature)?.[1] as string;
          const real = library.func(signature) as CFunction;
          return (...args) => {
            mockAudit.look(name, args);
            return real(...args);
          };
        },
      };
    },
    address(memory: Buffer) {
      const start = koffi.address(memory);
      mockAudit.ranges.push({ start: Number(start), size: sizeOf(memory), memory });
      return start;
    },
  };
});

let map: ChannelMap;

beforeEach(() => {
  map = new ChannelMap();
  mockAudit.wrong = [];
});

afterEach(() => {
  closeAll(map, true);
});

const crowdOf = (size: number): Socket[] =>
  Array.from({ length: size }, () => keep(Socket.socket()));

/** Sends back what it gets. */
class Echo extends AsyncChat {
  received = 0;
  constructor(socket: Socket) {
    super(socket, map);
    this.setTerminator('\n');
  }
  override collectIncomingData(data: Buffer): Handled {
    this.received += data.length;
    this.push(data);
  }
  override foundTerminator(): Handled {
    this.push('\n');
  }
}

function serverOf(family: number): [server: Dispatcher, address: Address] {
  const server = new (class extends Dispatcher {
    override handleAccepted(socket: Socket): Handled {
      new Echo(keep(socket));
    }
  })(null, map);
  server.createSocket(family);
  server.setReuseAddr();
  server.bind(localAddress(family));
  server.listen();
  return [server, (server.socket as Socket).getSockName()];
}

describe('A length', () => {
  it.each(WAYS)('is never beyond its memory, in a session of everything: %s', async (_, how) => {
    for (const [, family] of FAMILIES) {
      const [, address] = serverOf(family);
      for (const size of [1, 100, 16_384, 300_000]) {
        const caller = keep(Socket.socket(family));
        caller.connect(address);
        const line = Buffer.alloc(size, 'x');
        line[size - 1] = 10;
        let sent = 0;
        let heard = 0;
        await drive(
          how,
          () => {
            if (sent < size) {
              try {
                sent += caller.send(line.subarray(sent)) ?? 0;
              } catch (error) {
                // It is still connecting.
                expect(error).toMatchObject({ code: 'ENOTCONN' });
              }
            }
            heard += caller.recv(1 + (heard % 50_000))?.length ?? 0;
            return heard >= size;
          },
          { map },
        );
        caller.getPeerName();
        caller.getSockOpt(SOL_SOCKET, SO_KEEPALIVE);
        caller.setSockOpt(SOL_SOCKET, SO_KEEPALIVE, true);
        caller.shutdown(SHUT_WR);
      }
    }
    // Room for more than the selectors begin with.
    const crowd = Array.from({ length: 200 }, () =>
      Socket.pair().map((one) => new Echo(keep(one))),
    );
    for (const [one] of crowd) one?.push('x\n');
    poll(0, map);
    poll2(0, map);
    for (const [one, other] of crowd) for (const chat of [one, other]) chat?.close();

    const path = temporaryPath('file');
    writeFileSync(path, 'x'.repeat(10_000));
    const [ours] = Socket.pair().map(keep) as [Socket, Socket];
    const sending = new Echo(ours);
    sending.pushWithProducer(new FileProducer(openSync(path, 'r'), { start: 1000 }));
    sending.close();
    const descriptor = openSync(path, 'r');
    let read = 0;
    const file = new (class extends FileDispatcher {
      override writable(): boolean {
        return false;
      }
      override handleRead(): Handled {
        read += this.recv(3000)?.length ?? 0;
      }
      override handleClose(): Handled {
        this.close();
      }
    })(descriptor, map);
    await drive(how, () => file.fileno() === null, { map });
    closeSync(descriptor);
    expect(read).toBe(10_000);

    for (const [, family] of FAMILIES) {
      const receiver = keep(Socket.socket(family, SOCK_DGRAM));
      receiver.bind(localAddress(family));
      const sender = keep(Socket.socket(family, SOCK_DGRAM));
      for (const size of [0, 1, 9000]) {
        sender.sendTo(Buffer.alloc(size), receiver.getSockName());
        expect(receiver.recvFrom(5000)?.data.length).toBe(Math.min(size, 5000));
        sender.sendTo(Buffer.alloc(size), receiver.getSockName());
        expect(receiver.recvInto(new Uint8Array(100))).toBe(Math.min(size, 100));
        sender.sendMsg([Buffer.alloc(size)], [], 0, receiver.getSockName());
        expect(receiver.recvMsg(5000, 100)?.data.length).toBe(Math.min(size, 5000));
      }
    }
    // More than the memory that all messages share has room for.
    const [from, to] = Socket.pair().map(keep) as [Socket, Socket];
    for (const room of [0, 20, 5000]) {
      sendFds(from, [Buffer.alloc(70_000)], [from.fileno()]);
      for (const fd of recvFds(to, 70_000, 1)?.fds ?? []) closeSync(fd);
      sendFds(from, [Buffer.alloc(10)], [from.fileno(), from.fileno()]);
      for (const { data } of to.recvMsg(100_000, room)?.control ?? []) {
        for (let at = 0; at < data.length; at += 4) closeSync(data.readInt32LE(at));
      }
    }
    const tcp = keep(Socket.socket());
    for (const length of [1, 4, 1000]) tcp.getSockOpt(IPPROTO_TCP, TCP_INFO, length);
    keep(Socket.socket()).bind({ host: 'localhost', port: 0 });
    getAddrInfo('localhost', 'http', { flags: AI_CANONNAME });
    getHostByAddr('127.0.0.1');
    for (const fd of pipe()) closeSync(fd);
    select(crowdOf(300), crowdOf(300), [], 0);
    // One of them is what the loop has used.
    for (const selector of [new EpollSelector(), new PollSelector()]) {
      for (let left = 100; left > 0; left -= 1) {
        selector.register(keep(Socket.socket()).fileno(), POLLIN);
        selector.select(0);
      }
      selector.close();
    }
    expect(mockAudit.wrong).toEqual([]);
  });

  it('has been looked at in each call that takes memory', () => {
    const elsewhere = ['if_indextoname', 'write'];
    const missing = Object.keys(MEMORY).filter((name) => !mockAudit.seen.has(name));
    expect(missing.filter((name) => !elsewhere.includes(name))).toEqual([]);
  });

  /** What a program may hand over, and how many bytes of it there are. */
  const VIEWS: [what: string, make: () => Uint8Array, size: number][] = [
    ['a view from the middle', () => Buffer.from('..text..').subarray(2, 6), 4],
    ['a view of shared memory', () => new Uint8Array(new SharedArrayBuffer(8), 4), 4],
    ['a view of what was transferred', () => transferred(), 0],
    ['one that lies about its byteLength', () => liar('byteLength'), 4],
    ['one that lies about its length', () => liar('length'), 4],
    ['one of a class that lies', () => new Liar(4), 4],
  ];

  class Liar extends Uint8Array {
    override get byteLength(): number {
      return 4000;
    }
  }

  function liar(about: string): Uint8Array {
    return Object.defineProperty(new Uint8Array(4), about, { value: 4000 });
  }

  function transferred(): Uint8Array {
    const view = new Uint8Array(4);
    structuredClone(view.buffer, { transfer: [view.buffer] });
    return view;
  }

  it.each(VIEWS)('is what there is, of %s', (_, make, size) => {
    const [a, b] = Socket.pair().map(keep) as [Socket, Socket];
    const told = (call: () => unknown): unknown => {
      try {
        return call();
      } catch {
        return 'refused';
      }
    };
    expect(['refused', size]).toContain(told(() => a.send(make())));
    a.send(Buffer.alloc(100));
    expect(['refused', size]).toContain(told(() => a.sendMsg([make()])));
    const data = { level: SOL_SOCKET, type: SCM_RIGHTS, data: make() };
    told(() => a.sendMsg([Buffer.from('x')], [data]));
    expect(['refused', size]).toContain(told(() => b.recvInto(make())));
    const datagram = keep(Socket.socket(AF_INET, SOCK_DGRAM));
    datagram.bind({ host: '127.0.0.1', port: 0 });
    expect(['refused', size]).toContain(
      told(() => datagram.sendTo(make(), datagram.getSockName())),
    );
    told(() => a.setSockOpt(SOL_SOCKET, SO_KEEPALIVE, make()));
    expect(mockAudit.wrong).toEqual([]);
  });

  it('is none that a program can think of', () => {
    const integers = fc.oneof(fc.integer(), fc.double(), fc.constant(2 ** 32 + 1));
    const [a, b] = Socket.pair().map(keep) as [Socket, Socket];
    fc.assert(
      fc.property(integers, fc.uint8Array({ maxLength: 300 }), (size, data) => {
        a.send(data);
        for (const call of [
          () => b.recv(size),
          () => b.recvFrom(size),
          () => b.recvMsg(size),
          () => b.recvMsg(10, size),
          () => a.getSockOpt(1, 3, size),
        ]) {
          try {
            if (size < 1e6) call();
          } catch (error) {
            expect(error).toBeInstanceOf(Error);
          }
        }
        b.recvInto(data);
        return mockAudit.wrong.length === 0;
      }),
    );
  });

  it('is never beyond memory that ends at a guard', async () => {
    const program = runTypeScript('spec/support/guarded-calls.ts');
    const status = await program.ended();
    expect(program.output).toMatch(/^\d{3} calls, 0 wrong\n$/);
    expect(status).toBe(0);
  });

  it('would have been noticed there', async () => {
    const program = runTypeScript('spec/support/guarded-calls.ts', ['overrun']);
    await program.ended();
    expect(program.child.signalCode).toBe('SIGSEGV');
  });
});

describe('Memory that was received into', () => {
  it('stays with the slab, or leaves it for good, when a program transfers it', () => {
    const [a, b] = Socket.pair().map(keep) as [Socket, Socket];
    a.send(Buffer.alloc(20_000, 'x'));
    const view = b.recv(20_000) as Buffer;
    expect(view.buffer.byteLength).toBeGreaterThan(20_000);
    // Node ignores it, or throws, or (transfer) gives in: then the slab is no longer written to.
    for (const take of [
      () => structuredClone(view.buffer, { transfer: [view.buffer as ArrayBuffer] }),
      () => (view.buffer as { transfer?: () => unknown }).transfer?.(),
    ]) {
      try {
        take();
      } catch (error) {
        // Of another realm's making, perhaps.
        expect((error as Error).name).toMatch(/Error$/);
      }
    }
    expect([0, 20_000]).toContain(view.length);
    a.send(Buffer.from('y'));
    expect(b.recv(10)?.toString()).toBe('y');
  });

  it('keeps its bytes while garbage is collected, whatever is dropped', async () => {
    const program = new Program(process.execPath, [
      '--expose-gc',
      ...TYPESCRIPT,
      '-e',
      `
      const { Socket } = require('./lib/index.ts');
      const [a, b] = Socket.pair();
      const held = [];
      let wrong = 0;
      let seed = 1;
      const random = (below) => (seed = (seed * 48271) % 2147483647) % below;
      for (let round = 0; round < 600; round += 1) {
        const size = [1, 100, 5000, 17000, 60000, 300000][random(6)];
        const byte = random(256);
        let left = size;
        while (left > 0) {
          left -= a.send(Buffer.alloc(Math.min(left, 50000), byte)) ?? 0;
          const data = b.recv(size);
          held.push([data, byte]);
        }
        for (let rest = b.recv(size); rest !== null; rest = b.recv(size)) held.push([rest, byte]);
        while (held.length > 50) held.splice(random(held.length), 1);
        if (round % 20 === 0) gc();
        for (const [data, was] of held) {
          if (data[0] !== was || data[data.length - 1] !== was) wrong += 1;
        }
      }
      console.log('wrong: ' + wrong);
      `,
    ]);
    expect(await program.ended()).toBe(0);
    expect(program.output).toBe('wrong: 0\n');
  });
});

describe('A descriptor that is closed', () => {
  /** The next socket under the number: nothing may arrive at its peer. */
  function successorOf(fd: number): [next: Socket, peer: Socket] {
    const [one, other] = Socket.pair().map(keep) as [Socket, Socket];
    expect([one.fileno(), other.fileno()]).toContain(fd);
    return one.fileno() === fd ? [one, other] : [other, one];
  }

  it.each(WAYS)('gets nothing of what its channel still had to send: %s', async (_, how) => {
    const [own, peer] = Socket.pair().map(keep) as [Socket, Socket];
    const chat = new Echo(own);
    const fd = own.fileno();
    const [idle, idlePeer] = Socket.pair().map(keep) as [Socket, Socket];
    const bystander = new Echo(idle);
    chat.push(Buffer.alloc(4 * 1024 * 1024));
    expect(chat.writableLength).toBeGreaterThan(0);
    poll(0, map);
    own.close();
    const [, nextPeer] = successorOf(fd);
    const end = performance.now() + 20;
    await drive(how, () => performance.now() > end, { map });
    chat.push('late');
    chat.initiateSend();
    chat.send(Buffer.from('late'));
    expect(nextPeer.recv(10)).toBeNull();
    expect(bystander.fileno()).not.toBeNull();
    for (const socket of [peer, idlePeer]) socket.close();
  });

  it('gets nothing of what a read event has pushed before', () => {
    const [own, peer] = Socket.pair().map(keep) as [Socket, Socket];
    const fd = own.fileno();
    let nextPeer: Socket | undefined;
    const chat = new Echo(own);
    chat.foundTerminator = () => {
      chat.push('before');
      own.close();
      nextPeer = successorOf(fd)[1];
      chat.push('after');
    };
    peer.send(Buffer.from('\n'));
    poll(0, map);
    expect(peer.recv(100)?.toString()).toBe('before');
    expect(nextPeer?.recv(10)).toBeNull();
  });

  it.each<[string, (socket: Socket, address: Address) => unknown]>([
    ['sendTo', (socket, address) => socket.sendTo(Buffer.from('x'), address)],
    ['connectEx', (socket, address) => socket.connectEx(address)],
    ['bind', (socket, address) => socket.bind(address)],
  ])('is not reached by %s, though it was closed while the address was looked at', (name, call) => {
    const receiver = keep(Socket.socket(AF_INET, SOCK_DGRAM));
    receiver.bind({ host: '127.0.0.1', port: 0 });
    const { port } = receiver.getSockName() as { port: number };
    const socket = keep(Socket.socket(AF_INET, SOCK_DGRAM));
    const fd = socket.fileno();
    let successor: Socket | undefined;
    const address = {
      port: name === 'bind' ? 0 : port,
      get host(): string {
        if (successor === undefined) {
          socket.close();
          successor = keep(Socket.socket(AF_INET, SOCK_DGRAM));
        }
        return '127.0.0.1';
      },
    };
    expect(() => call(socket, address)).toThrow(expect.objectContaining({ code: 'EBADF' }));
    expect(successor?.fileno()).toBe(fd);
    expect(receiver.recvFrom(10)).toBeNull();
    expect(successor?.getSockName()).toEqual({ host: '0.0.0.0', port: 0 });
  });
});
