// docs/examples/proxy.ts: what passes, how it ends, what is held back; iperf3 and wrk through it.

import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer as createHttpServer } from 'node:http';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import {
  type Address,
  ChannelMap,
  closeAll,
  type InternetAddress,
  Socket as KernelSocket,
  loop,
  ManualClock,
  MSG_OOB,
  SHUT_WR,
  SO_RCVBUF,
  SOL_SOCKET,
  shutdown,
} from 'asyncore';
import { type Limits, Side, tcpProxy } from '../../docs/examples/proxy';
import { keep } from '../support/keep';
import { freePort } from '../support/ports';
import { Program, runTypeScript, until } from '../support/program';
import { itWith } from '../support/skips';
import { bareListener, call as callBare, received, willReset } from '../support/sockets';

const EXAMPLE = 'docs/examples/proxy.ts';
const MIB = 1024 * 1024;

const itWithIperf = itWith('iperf3');
const itWithWrk = itWith('wrk');

let map: ChannelMap;
let running: Promise<void> | null;
const servers: Server[] = [];
const sockets = new Set<Socket>();
const programs: Program[] = [];

beforeEach(() => {
  map = new ChannelMap();
  running = null;
});

afterEach(async () => {
  jest.restoreAllMocks();
  for (const program of programs.splice(0)) await program.kill();
  for (const socket of sockets) socket.destroy();
  sockets.clear();
  for (const server of servers.splice(0)) server.close();
  closeAll(map);
  await running;
});

/** A proxy in this process. @returns its port */
function forward(to: number | InternetAddress, limits?: Limits): number {
  const target = typeof to === 'number' ? { host: '127.0.0.1', port: to } : to;
  const proxy = tcpProxy({ host: '127.0.0.1', port: 0 }, target, limits, map);
  running = loop({ map });
  const bound = proxy.address() as InternetAddress;
  return bound.port;
}

/** A proxy in its own. @returns the program and its port */
async function forwardElsewhere(port: number, ...args: string[]): Promise<[Program, number]> {
  const program = runTypeScript(EXAMPLE, ['--port', '0', '--to', `127.0.0.1:${port}`, ...args]);
  programs.push(program);
  const [, listening] = await program.printed(/^proxy: listening on 127\.0\.0\.1:(\d+)\n/);
  return [program, Number(listening)];
}

function watched(socket: Socket): Socket {
  sockets.add(socket);
  return socket.on('error', () => {});
}

/** A server that we did not write. @returns its port */
async function serve(answer: (socket: Socket) => void): Promise<number> {
  const server = createServer({ allowHalfOpen: true }, (socket) => answer(watched(socket)));
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
}

function call(port: number): Socket {
  return watched(connect({ port, host: '127.0.0.1', allowHalfOpen: true }));
}

/** Both ends of a connection through a proxy. */
async function throughProxy(
  limits?: Limits,
): Promise<[client: KernelSocket, server: KernelSocket]> {
  const listener = bareListener();
  // Inherited by the accepted socket, so that little fits between the proxy and the server.
  listener.setSockOpt(SOL_SOCKET, SO_RCVBUF, 4096);
  const { port: target } = listener.getSockName() as InternetAddress;
  const client = callBare({ host: '127.0.0.1', port: forward(target, limits) });
  let server: KernelSocket | null = null;
  await until(() => {
    server ??= listener.accept()?.socket ?? null;
    return server !== null;
  });
  return [client, keep(server as unknown as KernelSocket)];
}

/** The sides of the one connection. */
function sides(): [far: Side, near: Side] {
  return [...map.values()].filter((channel) => channel instanceof Side) as [Side, Side];
}

/** All that comes, until its end. */
class Ear {
  readonly pieces: Buffer[] = [];
  length = 0;
  ended = false;
  error = '';

  constructor(socket: Socket) {
    socket.on('data', (data) => {
      this.pieces.push(data);
      this.length += data.length;
    });
    socket.on('end', () => {
      this.ended = true;
    });
    socket.on('error', (error: NodeJS.ErrnoException) => {
      this.error = String(error.code);
    });
  }

  get data(): Buffer {
    return Buffer.concat(this.pieces);
  }
}

describe('The proxy', () => {
  it('passes on what comes, in both directions, and its end', async () => {
    const port = forward(await serve((socket) => socket.pipe(socket)));
    const sent = [1, 2, 3].map(() => randomBytes(5 * MIB));
    const ears = sent.map((data) => {
      const socket = call(port);
      socket.end(data);
      return new Ear(socket);
    });
    await until(() => ears.every(({ ended }) => ended));
    expect(ears.map(({ data }, at) => data.equals(sent[at] as Buffer))).toEqual([true, true, true]);
    await until(() => map.size === 1);
  });

  it('passes on what is sent byte by byte', async () => {
    const port = forward(await serve((socket) => socket.pipe(socket)));
    const socket = call(port).setNoDelay();
    const ear = new Ear(socket);
    for (const byte of 'hello') {
      socket.write(byte);
      await until(() => ear.data.toString().endsWith(byte));
    }
    expect(ear.data.toString()).toBe('hello');
  });

  it('lets the server talk on to a client that has ended its stream', async () => {
    const asked: Socket[] = [];
    const port = forward(
      await serve((socket) => {
        new Ear(socket);
        socket.on('end', () => asked.push(socket));
      }),
    );
    const socket = call(port);
    const ear = new Ear(socket);
    socket.end('a question');
    await until(() => asked.length === 1);
    expect(ear.ended).toBe(false);
    asked[0]?.end('a long answer'.repeat(100_000));
    await until(() => ear.ended);
    expect(ear.length).toBe(1_300_000);
    await until(() => map.size === 1);
  });

  it('lets a client talk on to a server that has ended its stream', async () => {
    const heard: Ear[] = [];
    const port = forward(
      await serve((socket) => {
        heard.push(new Ear(socket));
        socket.end('enough');
      }),
    );
    const socket = call(port);
    const ear = new Ear(socket);
    await until(() => ear.ended);
    expect(ear.data.toString()).toBe('enough');
    socket.write('x'.repeat(MIB));
    await until(() => heard[0]?.length === MIB);
    expect(heard[0]?.ended).toBe(false);
    socket.end();
    await until(() => heard[0]?.ended === true && map.size === 1);
  });

  it('breaks what breaks, and does not end it', async () => {
    const heard: Ear[] = [];
    const accepted: Socket[] = [];
    const port = forward(
      await serve((socket) => {
        accepted.push(socket);
        heard.push(new Ear(socket));
      }),
    );
    const leaver = call(port);
    leaver.write('unfinished');
    await until(() => heard[0]?.length === 10);
    leaver.resetAndDestroy();
    await until(() => heard[0]?.error === 'ECONNRESET');

    const left = call(port);
    const ear = new Ear(left);
    await until(() => accepted.length === 2);
    accepted[1]?.resetAndDestroy();
    await until(() => ear.error === 'ECONNRESET' && map.size === 1);
    expect([heard[0]?.ended, ear.ended]).toEqual([false, false]);
  });

  it('breaks what breaks on one side while the other side ends', async () => {
    const log = jest.spyOn(Side.prototype, 'logInfo').mockImplementation(() => {});
    const [client, server] = await throughProxy();
    client.send(Buffer.from('hello'));
    await until(() => received(server) === 'hello');
    // The proxy learns of both at a time.
    server.shutdown(SHUT_WR);
    willReset(client).close();
    await until(() => map.size === 1);
    expect(() => server.recv(1)).toThrow('ECONNRESET');
    expect(log).not.toHaveBeenCalled();
  });

  it('breaks what breaks after it has ended', async () => {
    const [client, server] = await throughProxy();
    client.shutdown(SHUT_WR);
    await until(() => server.recv(1)?.length === 0);
    willReset(client).close();
    await until(() => map.size === 1);
    // A reset after the end of the stream.
    expect(() => server.send(Buffer.from('x'))).toThrow('EPIPE');
  });

  it('passes on urgent bytes in their places, in both directions', async () => {
    const ends = await throughProxy();
    for (const [from, to] of [ends, ends.toReversed() as typeof ends]) {
      for (const [text, flags] of [['ab'], ['!', MSG_OOB], ['cd'], ['?', MSG_OOB]] as const) {
        from.send(Buffer.from(text), flags);
      }
      let heard = '';
      await until(() => {
        heard += received(to);
        return heard.endsWith('?');
      });
      expect(heard).toBe('ab!cd?');
    }
    expect(sides()).toHaveLength(2);
  });

  it('sleeps while an urgent byte waits and neither side takes anything', async () => {
    const ends = await throughProxy();
    const [far, near] = sides();
    const piece = Buffer.alloc(64 * 1024, 'x');
    await until(() => {
      // No more than it takes: the kernel has to have room for the urgent byte.
      if (near.readable()) ends[0].send(piece);
      if (far.readable()) ends[1].send(piece);
      return !far.readable() && !near.readable();
    });
    const events = jest.spyOn(near, 'handleExptEvent');
    await until(() => ends[0].send(Buffer.from('!'), MSG_OOB) === 1);
    await until(() => events.mock.calls.length > 0);
    // In each turn of Node's loop the proxy would find the byte again.
    for (let turns = 0; turns < 50; turns += 1) {
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(events.mock.calls.length).toBeLessThan(5);
    // The byte has kept its place.
    let heard = '';
    await until(() => {
      heard = (heard + received(ends[1])).slice(-1);
      received(ends[0]);
      return heard === '!';
    });
  });

  it('refuses a server that is the connection itself', async () => {
    const log = jest.spyOn(Side.prototype, 'logInfo').mockImplementation(() => {});
    const connectEx = KernelSocket.prototype.connectEx;
    jest.spyOn(KernelSocket.prototype, 'connectEx').mockImplementationOnce(function (
      this: KernelSocket,
      address: Address,
    ) {
      // The kernel may choose this port, if nobody listens on it.
      this.bind(address);
      return connectEx.call(this, address);
    });
    const socket = call(forward(await freePort()));
    const ear = new Ear(socket);
    socket.write('hello');
    await until(() => ear.error === 'ECONNRESET' && map.size === 1);
    expect(ear.length).toBe(0);
    expect(log.mock.calls[0]?.[0]).toContain('ECONNREFUSED: nobody listens there');
  });

  it('lets connections wait while there are as many as may be', async () => {
    const port = forward(await serve((socket) => socket.pipe(socket)), { maxConnections: 1 });
    const [first, second] = [call(port), call(port)];
    const [ear, waiting] = [new Ear(first), new Ear(second)];
    for (const socket of [first, second]) socket.write('hello');
    await until(() => ear.length === 5);
    first.write('again');
    await until(() => ear.length === 10);
    expect(waiting.length).toBe(0);
    first.end();
    await until(() => waiting.length === 5);
  });

  it('is done with callers who are gone before they are accepted', async () => {
    const port = forward(await serve((socket) => socket.pipe(socket)));
    const callers = Array.from({ length: 50 }, () => call(port));
    await Promise.all(callers.map((socket) => once(socket, 'connect')));
    for (const socket of callers) socket.resetAndDestroy();
    await until(() => map.size === 1);
  });

  it('breaks the connection of a caller for whom there is no server', async () => {
    const log = jest.spyOn(Side.prototype, 'logInfo').mockImplementation(() => {});
    const ear = new Ear(call(forward(await freePort())));
    await until(() => ear.error === 'ECONNRESET' && map.size === 1);
    expect(log).toHaveBeenCalledTimes(1);
    expect(log.mock.calls[0]?.[0]).toContain('ECONNREFUSED');
  });

  it('breaks the connection of a caller when the server cannot be reached at all', async () => {
    const log = jest.spyOn(Side.prototype, 'logInfo').mockImplementation(() => {});
    // Of everybody: connect() throws.
    const target = { host: '255.255.255.255', port: 1 };
    const ear = new Ear(call(forward(target)));
    await until(() => ear.error === 'ECONNRESET' && map.size === 1);
    expect(log).toHaveBeenCalledTimes(1);
  });

  it('does not read for somebody who does not, and serves others', async () => {
    let sent = 0;
    const server = await serve((socket) => {
      const piece = Buffer.alloc(MIB, 'x');
      const talk = (): void => {
        sent += piece.length;
        if (sent < 500 * MIB && !socket.destroyed) socket.write(piece, talk);
      };
      socket.on('data', (data) => (data.toString() === 'go' ? talk() : socket.write(data)));
    });
    const port = forward(server);
    const slow = call(port).pause();
    slow.write('go');
    let before = -1;
    await until(() => {
      const still = sent === before && sent > 0;
      before = sent;
      return still;
    });
    // What the kernel holds for two connections; the proxy has one piece.
    expect(sent).toBeLessThan(100 * MIB);
    const other = call(port);
    const echo = new Ear(other);
    other.write('hello');
    await until(() => echo.data.toString() === 'hello');

    const stopped = sent;
    const ear = new Ear(slow);
    slow.resume();
    await until(() => ear.length > stopped);
  });

  it('keeps a limit', async () => {
    const port = forward(await serve((socket) => socket.end(Buffer.alloc(MIB))), { rate: 2 * MIB });
    const start = performance.now();
    const ear = new Ear(call(port));
    await until(() => ear.ended);
    expect(ear.length).toBe(MIB);
    expect(performance.now() - start).toBeGreaterThan(450);
    expect(performance.now() - start).toBeLessThan(2000);
  });

  it('keeps a limit that is less than a piece', async () => {
    const port = forward(await serve((socket) => socket.end(Buffer.alloc(500))), { rate: 1000 });
    const start = performance.now();
    const ear = new Ear(call(port));
    await until(() => ear.ended);
    expect(performance.now() - start).toBeGreaterThan(400);
    expect(performance.now() - start).toBeLessThan(2000);
  });

  it('gives each direction a limit of its own', async () => {
    const port = forward(await serve((socket) => socket.pipe(socket)), { rate: MIB / 2 });
    const start = performance.now();
    const socket = call(port);
    const ear = new Ear(socket);
    socket.end(Buffer.alloc(MIB));
    await until(() => ear.ended);
    expect(ear.length).toBe(MIB);
    // Two seconds; with one limit for both it would be four.
    expect(performance.now() - start).toBeLessThan(3900);
  });

  it('lets connections end when it is shut down, and cuts them at the deadline', async () => {
    const port = forward(await serve((socket) => socket.pipe(socket)));
    const [one, other] = [call(port), call(port)];
    const [ear, cut] = [new Ear(one), new Ear(other)];
    for (const socket of [one, other]) socket.write('hello');
    await until(() => ear.length === 5 && cut.length === 5);
    const over = shutdown(map, { deadline: 300 });
    one.end('again');
    await until(() => ear.ended);
    expect(ear.data.toString()).toBe('helloagain');
    expect(cut.ended).toBe(false);
    expect(await over).toBe(2);
    await until(() => cut.ended);
  });

  it('breaks what is idle, and nothing else', async () => {
    const clock = new ManualClock();
    map = new ChannelMap([], { clock });
    const port = forward(await serve((socket) => socket.pipe(socket)), { idle: 100 });
    const busy = call(port);
    const silent = new Ear(call(port));
    const ear = new Ear(busy);
    await until(() => map.size === 5);
    for (let times = 1; times <= 10; times += 1) {
      busy.write('x');
      await until(() => ear.length === times);
      clock.advance(50);
    }
    await until(() => silent.error === 'ECONNRESET');
    expect(ear.error).toBe('');
    expect(map.size).toBe(3);
  });

  it('breaks what lasts too long, whatever is sent meanwhile', async () => {
    const clock = new ManualClock();
    map = new ChannelMap([], { clock });
    const port = forward(await serve((socket) => socket.pipe(socket)), { idle: 100, life: 300 });
    const busy = call(port);
    const ear = new Ear(busy);
    for (let times = 1; times <= 6; times += 1) {
      busy.write('x');
      await until(() => ear.length === times);
      expect(map.size).toBe(3);
      clock.advance(50);
    }
    await until(() => ear.error === 'ECONNRESET');
    expect(map.size).toBe(1);
  });
});

describe('The program', () => {
  it.each(['localhost', '::1', '127.0.0.1:65536', '127.0.0.1:0', '[1]:80', ':80', 'a b:80'])(
    'refuses to forward to %s',
    async (to) => {
      const program = runTypeScript(EXAMPLE, ['--to', to]);
      expect(await program.ended()).toBe(2);
      expect(program.output).toContain(`proxy: --to takes HOST:PORT: ${to}\n`);
    },
  );

  it('forwards to a name', async () => {
    const server = await serve((socket) => socket.end('hello'));
    const [, port] = await forwardElsewhere(0, '--to', `localhost:${server}`);
    const ear = new Ear(call(port));
    await until(() => ear.ended);
    expect(ear.data.toString()).toBe('hello');
  });

  it('has bounded memory', async () => {
    const piece = Buffer.alloc(MIB, 'x');
    let sent = 0;
    const server = await serve((socket) => {
      const talk = (): void => {
        if (socket.destroyed) return;
        sent += MIB;
        socket.write(piece, talk);
      };
      talk();
    });
    const [program, port] = await forwardElsewhere(server);
    const memory = (): number => {
      const status = readFileSync(`/proc/${program.child.pid}/status`, 'latin1');
      return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) * 1024;
    };
    const before = memory();
    for (let count = 0; count < 50; count += 1) call(port).pause();
    for (let last = -1; sent !== last || sent < 50 * MIB; ) {
      last = sent;
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    // The kernel has taken 4 MiB for each; here, a piece for each, and what is left of its slab.
    expect(sent).toBeGreaterThan(100 * MIB);
    expect(memory() - before).toBeLessThan(64 * MIB);
  });
});

describe('iperf3 (skipped where there is none)', () => {
  interface Sum {
    bytes: number;
    bits_per_second: number;
  }

  async function iperf(proxyArgs: string[], args: string[]): Promise<Record<string, Sum>> {
    const target = await freePort();
    const server = new Program('iperf3', ['-s', '-p', String(target), '--forceflush']);
    programs.push(server);
    await server.printed(/listening on \d+/);
    const [, port] = await forwardElsewhere(target, ...proxyArgs);
    const client = new Program('iperf3', ['-c', '127.0.0.1', '-p', String(port), '-J', ...args]);
    programs.push(client);
    await client.ended();
    const { end, error } = JSON.parse(client.output);
    expect(error).toBeUndefined();
    return end;
  }

  itWithIperf.each([
    ['one stream', []],
    ['the other direction', ['-R']],
    ['four streams', ['-P', '4']],
  ])('measures %s', async (_what, args) => {
    const { sum_sent, sum_received } = await iperf([], ['-n', '50M', ...args]);
    expect(sum_sent?.bytes).toBeGreaterThan(50e6);
    // What is under way when the client has sent all is not counted any more.
    expect(sum_received?.bytes).toBeGreaterThan(25e6);
  });

  itWithIperf('measures both directions at a time', async () => {
    const end = await iperf([], ['-t', '1', '--bidir']);
    expect(end.sum_received?.bytes).toBeGreaterThan(10e6);
    expect(end.sum_received_bidir_reverse?.bytes).toBeGreaterThan(10e6);
  });

  itWithIperf.each([[[]], [['-R']]])('finds the limit, with %j', async (args) => {
    const { sum_received } = await iperf(['--rate', String(5e6)], ['-t', '2', ...args]);
    expect(sum_received?.bits_per_second).toBeGreaterThan(0.8 * 40e6);
    expect(sum_received?.bits_per_second).toBeLessThan(1.1 * 40e6);
  });
});

describe('wrk (skipped where there is none)', () => {
  itWithWrk('has all its requests answered', async () => {
    const http = createHttpServer((_request, response) => response.end('hello'));
    servers.push(http);
    http.on('connection', watched);
    await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve));
    const [, port] = await forwardElsewhere((http.address() as AddressInfo).port);
    const url = `http://127.0.0.1:${port}/`;
    const wrk = new Program('wrk', ['-t', '1', '-c', '50', '-d', '1', url]);
    programs.push(wrk);
    expect(await wrk.ended()).toBe(0);
    expect(wrk.output).toMatch(/[1-9]\d+ requests in/);
    expect(wrk.output).not.toMatch(/Socket errors|Non-2xx/);
  });
});
