import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { Descriptor } from '../../lib/kernel/descriptor';
import { isOpen } from '../support/descriptors';
import { Program, TYPESCRIPT } from '../support/program';

function open(): number {
  return openSync(__filename, 'r');
}

describe('Descriptor', () => {
  it('owns its number until it is closed', () => {
    const fd = open();
    const descriptor = new Descriptor(fd, 'file');
    expect(descriptor.fd).toBe(fd);
    descriptor.close();
    expect(descriptor.fd).toBe(-1);
    expect(isOpen(fd)).toBe(false);
  });

  it("is closed once, however often close is called: the number is another file's by then", () => {
    const descriptor = new Descriptor(open(), 'file');
    const fd = descriptor.fd;
    descriptor.close();
    const next = open();
    try {
      expect(next).toBe(fd); // the kernel gives out the lowest number
      descriptor.close();
      expect(descriptor.release()).toBe(-1);
      expect(isOpen(next)).toBe(true);
    } finally {
      closeSync(next);
    }
  });

  it('gives its number away open', () => {
    const fd = open();
    const descriptor = new Descriptor(fd, 'file');
    expect(descriptor.release()).toBe(fd);
    expect(descriptor.fd).toBe(-1);
    expect(descriptor.release()).toBe(-1);
    descriptor.close();
    expect(isOpen(fd)).toBe(true);
    closeSync(fd);
  });

  it('throws when the number was closed elsewhere, and gives it up all the same', () => {
    const fd = open();
    const descriptor = new Descriptor(fd, 'file');
    closeSync(fd);
    expect(() => descriptor.close()).toThrow(
      expect.objectContaining({ name: 'SocketError', code: 'EBADF', syscall: 'close' }),
    );
    expect(descriptor.fd).toBe(-1);
    expect(() => descriptor.close()).not.toThrow();
  });

  it.each([-1, NaN, 1.5, Infinity, '3', null, undefined])('cannot own %p', (fd) => {
    expect(() => new Descriptor(fd as number, 'file')).toThrow(
      'Cannot own a descriptor: expected its number, received',
    );
  });
});

describe('A descriptor that is dropped', () => {
  const LIB = JSON.stringify(join(__dirname, '..', '..', 'lib'));

  interface Outcome {
    open: boolean;
    warnings: string[];
  }

  /** Runs `drop`, which returns a number, and collects garbage until a canary has been finalized. */
  async function afterCollection(drop: string): Promise<Outcome> {
    const code = `
      const { openSync, fstatSync } = require('node:fs');
      const { Descriptor } = require(${LIB} + '/kernel/descriptor.ts');
      const { Socket } = require(${LIB} + '/index.ts');
      const warnings = [];
      process.on('warning', ({ name, code, message }) => warnings.push(name + ' ' + code + ': ' + message));
      const fd = (() => { ${drop} })();
      const canaries = new Set([1, 2, 3]);
      const registry = new FinalizationRegistry((canary) => canaries.delete(canary));
      for (const canary of canaries) registry.register({}, canary);
      const end = Date.now() + 5000;
      let more = 20;
      (function turn() {
        gc();
        // Some turns beyond the canaries: for what comes late, or twice.
        if (Date.now() < end && (canaries.size > 0 || more-- > 0)) return setTimeout(turn, 1);
        let open = true;
        try { fstatSync(fd); } catch { open = false; }
        console.log(JSON.stringify({ open, warnings: warnings.map((text) => text.replace('fd ' + fd, 'fd N')) }));
      })();
    `;
    const program = new Program(process.execPath, [
      '--expose-gc',
      '--no-warnings',
      ...TYPESCRIPT,
      '-e',
      code,
    ]);
    expect(await program.ended()).toBe(0);
    return JSON.parse(program.output);
  }

  it.each<[string, string, Outcome]>([
    [
      'with a name: it is closed, and said once',
      "return new Descriptor(openSync(process.execPath), 'thing').fd;",
      {
        open: false,
        warnings: [
          'ResourceWarning ASYNCORE_UNCLOSED: Unclosed thing (fd N): it was dropped without close()',
        ],
      },
    ],
    [
      'without a name: it is closed in silence',
      'return new Descriptor(openSync(process.execPath), null).fd;',
      { open: false, warnings: [] },
    ],
    [
      'after its number was given away: it is left alone',
      "return new Descriptor(openSync(process.execPath), 'thing').release();",
      { open: true, warnings: [] },
    ],
    [
      'after close: the next file under its number is left alone',
      `const descriptor = new Descriptor(openSync(process.execPath), 'thing');
       descriptor.close();
       return openSync(process.execPath);`,
      { open: true, warnings: [] },
    ],
    [
      'in a Socket: it is closed, and said once',
      'return Socket.socket().fileno();',
      {
        open: false,
        warnings: [
          'ResourceWarning ASYNCORE_UNCLOSED: Unclosed socket (fd N): it was dropped without close()',
        ],
      },
    ],
    [
      'in a Socket that was detached: it is left alone',
      'return Socket.socket().detach();',
      { open: true, warnings: [] },
    ],
    [
      'in a Socket that was closed: nothing is said',
      'const socket = Socket.socket(); const fd = socket.fileno(); socket.close(); return fd;',
      { open: false, warnings: [] },
    ],
  ])('%s', async (_name, drop, outcome) => {
    expect(await afterCollection(drop)).toEqual(outcome);
  });
});

describe('A descriptor of a worker thread', () => {
  const INDEX = JSON.stringify(join(__dirname, '..', '..', 'lib', 'index.ts'));

  /**
   * Runs `open` in a worker, which fills the list `fds`, and then `end`.
   * @param end in the worker; without one, it is terminated
   * @returns how the worker ended, and which of the descriptors are then still what they were
   */
  async function outcome(open: string, end = '', meanwhile = ''): Promise<unknown> {
    const worker = `
      const { closeSync, readlinkSync } = require('node:fs');
      const { parentPort } = require('node:worker_threads');
      const { ChannelMap, Dispatcher, FileDispatcher, Socket, loop } = require(${INDEX});
      const { pipe, recvFds, sendFds } = require(${INDEX});
      const held = globalThis.held = [];
      const fds = [];
      ${open}
      parentPort.postMessage(fds.map((fd) => [fd, readlinkSync('/proc/self/fd/' + fd)]));
      ${end === '' ? 'setInterval(() => {}, 1000);' : end}
    `;
    const program = new Program(process.execPath, [
      '--no-warnings',
      ...TYPESCRIPT,
      '-e',
      `
      const { openSync, readdirSync, readlinkSync } = require('node:fs');
      const { Worker } = require('node:worker_threads');
      const is = (fd) => { try { return readlinkSync('/proc/self/fd/' + fd); } catch { return 'closed'; } };
      const worker = new Worker(${JSON.stringify(worker)}, { eval: true });
      let opened = [];
      worker.on('message', (fds) => {
        opened = fds;
        ${meanwhile}
        ${end === '' ? 'worker.terminate();' : ''}
      });
      worker.on('exit', (code) => {
        const open = opened.map(([fd, was]) => is(fd) === was);
        console.log(JSON.stringify({ code, open }));
      });
      `,
    ]);
    expect(await program.ended()).toBe(0);
    return JSON.parse(program.output);
  }

  const PAIR = 'held.push(...Socket.pair()); fds.push(...held.map((socket) => socket.fileno()));';

  it.each([
    ['is terminated', '', 1],
    ['ends with it open', '0;', 0],
    ['exits', 'process.exit(3);', 3],
  ])('is closed when the thread %s', async (_, end, code) => {
    expect(await outcome(PAIR, end)).toEqual({ code, open: [false, false] });
  });

  it('is closed in a loop, too, with the loop’s own', async () => {
    const open = `
      const { readdirSync } = require('node:fs');
      // But for the descriptor that reads the directory.
      const link = (fd) => { try { return fd + ' ' + readlinkSync('/proc/self/fd/' + fd); } catch {} };
      const all = () => readdirSync('/proc/self/fd').map(link).filter(Boolean);
      const before = new Set(all());
      const map = new ChannelMap();
      const [one, other] = Socket.pair();
      const channel = new Dispatcher(one, map);
      new FileDispatcher(other.fileno(), map).writable = () => false;
      channel.handleWrite = () => {};
      held.push(other, loop({ map, timeout: 10 }));
      for (const one of all()) if (!before.has(one)) fds.push(parseInt(one));
    `;
    const { open: left } = (await outcome(open)) as { open: boolean[] };
    // Two sockets, the duplicate of one, and the epoll instance.
    const opened = process.env.ASYNCORE_SELECTOR === 'poll' ? 3 : 4;
    expect(left).toEqual(Array(opened).fill(false));
  });

  it('is left open when it was given away', async () => {
    const open = `${PAIR} held[0].detach();`;
    expect(await outcome(open)).toEqual({ code: 1, open: [true, false] });
  });

  /** Passes four descriptors. */
  const PASSED = `
    const [from, to] = Socket.pair();
    held.push(from, to);
    sendFds(from, [Buffer.from('x')], [from.fileno(), to.fileno(), from.fileno(), 0]);
  `;

  // Node's own close would not take it off a list of the library's: the thread would close whatever has the
  // number by then.
  it.each([
    ['recvMsg', 'to.recvMsg(1, 100).control[0].data.forEach((n, at) => at % 4 || fds.push(n))'],
    ['recvFds', 'fds.push(...recvFds(to, 1, 4).fds)'],
  ])(
    'is the program’s when %s has received it, until a Socket takes it over',
    async (_, receive) => {
      const open = `${PASSED}
      ${receive};
      held.push(Socket.fromFd(fds[0]));
      Socket.fromFd(fds[1]).detach();
    `;
      expect(await outcome(open)).toEqual({ code: 1, open: [false, true, true, true] });
    },
  );

  it('is the program’s when pipe() has opened it; the duplicate of a channel is not', async () => {
    const open = `
      fds.push(...pipe());
      const channel = new FileDispatcher(fds[0], new ChannelMap());
      held.push(channel);
      fds.push(channel.fileno());
    `;
    expect(await outcome(open)).toEqual({ code: 1, open: [true, true, false] });
  });

  it('is left alone when it was closed, and another thread has its number by now', async () => {
    const open = `${PAIR} for (const socket of held) socket.close(); fds.length = 0;`;
    const meanwhile =
      "for (const _ of [1, 2, 3, 4]) opened.push([openSync('/dev/null'), '/dev/null']);";
    expect(await outcome(open, '', meanwhile)).toEqual({ code: 1, open: [true, true, true, true] });
  });

  it('may come twice, when it was closed elsewhere in between', async () => {
    const open = `
      const [a, b] = Socket.pair();
      closeSync(a.fileno());
      held.push(a, b, ...Socket.pair());
      fds.push(b.fileno(), held[2].fileno(), held[3].fileno());
      if (held[2].fileno() !== a.fileno()) throw new Error('the number did not come again');
    `;
    expect(await outcome(open)).toEqual({ code: 1, open: [false, false, false] });
  });
});
