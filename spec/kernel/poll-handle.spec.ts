import { join } from 'node:path';
import { AF_UNIX, SOCK_NONBLOCK, SOCK_STREAM } from 'asyncore';
import { PollHandle } from '../../lib/kernel/poll-handle';
import * as libc from '../../lib/kernel/syscalls';
import { Program, TYPESCRIPT } from '../support/program';

const KERNEL = join(__dirname, '..', '..', 'lib', 'kernel');
const LIBC = JSON.stringify(join(KERNEL, 'syscalls.ts'));
const HANDLE = JSON.stringify(join(KERNEL, 'poll-handle.ts'));

const bytes = Buffer.alloc(16);
const opened: number[] = [];

function pair(): [number, number] {
  const fds = libc.socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
  if (typeof fds === 'number') throw libc.failure(fds, 'socketpair');
  opened.push(...fds);
  return fds;
}

afterEach(() => {
  for (const fd of opened.splice(0)) libc.close(fd);
});

/** Runs JavaScript that may `require` TypeScript, in a process of its own. */
async function runScript(code: string, ...flags: string[]): Promise<[number | null, string]> {
  const program = new Program(process.execPath, [...flags, ...TYPESCRIPT, '-e', code]);
  const status = await program.ended();
  return [status, program.output];
}

describe('A poll handle', () => {
  const READABLE = { readable: true, writable: false };

  it("is called from Node's loop once the descriptor is ready, not before", async () => {
    const [a, b] = pair();
    let ready = false;
    let early = 0;
    const woken = new Promise<void>((resolve) => {
      const handle = new PollHandle(b, READABLE, () => {
        if (!ready) early += 1;
        handle.close();
        // Outside Node's callback scope: only schedule.
        setImmediate(resolve);
      });
    });
    for (let turn = 0; turn < 5; turn += 1) await new Promise((resolve) => setImmediate(resolve));
    ready = true;
    libc.write(a, bytes);
    await woken;
    expect(early).toBe(0);
  });

  it('watches for room to write, too', async () => {
    const [a] = pair();
    await new Promise((resolve) => {
      const handle = new PollHandle(a, { readable: false, writable: true }, () => {
        handle.close();
        setImmediate(resolve);
      });
    });
  });

  it('can be closed twice, and never calls again', async () => {
    const [a, b] = pair();
    let calls = 0;
    const handle = new PollHandle(b, READABLE, () => {
      calls += 1;
    });
    handle.close();
    handle.close();
    libc.write(a, bytes);
    // Another handle is woken by the same byte, so the first one had its turn.
    await new Promise((resolve) => {
      const second = new PollHandle(b, READABLE, () => {
        second.close();
        setImmediate(resolve);
      });
    });
    handle.close();
    expect(calls).toBe(0);
  });

  // In processes of their own: these have taken the whole process down.
  it.each([
    ['a regular file', "require('node:fs').openSync(process.execPath)", /^throws$/],
    ['a closed descriptor', '999999', /^throws$/],
    ['a descriptor that is being watched', 'watched', /^(throws|watches)$/],
  ])('throws at worst for %s', async (_name, fd, expected) => {
    const [status, output] = await runScript(`
      const libc = require(${LIBC});
      const { PollHandle } = require(${HANDLE});
      const [watched] = libc.socketpair(${AF_UNIX}, ${SOCK_STREAM}, 0);
      const handle = new PollHandle(watched, { readable: true, writable: false }, () => {});
      try {
        new PollHandle(${fd}, { readable: true, writable: false }, () => {}).close();
        console.log('watches');
      } catch (error) {
        console.log('throws');
      }
      handle.close();
    `);
    expect(output.trim()).toMatch(expected);
    expect(status).toBe(0);
  });

  it('does not crash the process when its worker ends with it open', async () => {
    const worker = `
      require(${JSON.stringify(TYPESCRIPT[1])});
      const libc = require(${LIBC});
      const { PollHandle } = require(${HANDLE});
      const [fd] = libc.socketpair(${AF_UNIX}, ${SOCK_STREAM}, 0);
      globalThis.handle = new PollHandle(fd, { readable: true, writable: false }, () => {});
      process.exit(3);
    `;
    const [status, output] = await runScript(`
      const { Worker } = require('node:worker_threads');
      const worker = new Worker(${JSON.stringify(worker)}, { eval: true });
      worker.on('exit', (code) => setTimeout(() => console.log('worker', code), 50));
    `);
    expect(output.trim()).toBe('worker 3');
    expect(status).toBe(0);
  });

  it('is not collected while it is held', async () => {
    const [status, output] = await runScript(
      `
      const libc = require(${LIBC});
      const { PollHandle } = require(${HANDLE});
      const [a, b] = libc.socketpair(${AF_UNIX}, ${SOCK_STREAM}, 0);
      let woken = false;
      const handle = new PollHandle(b, { readable: true, writable: false }, () => { woken = true; });
      let turns = 20;
      (function turn() {
        gc();
        if (turns-- > 0) return setImmediate(turn);
        libc.write(a, Buffer.from('x'));
        const end = Date.now() + 4000;
        (function look() {
          if (!woken && Date.now() < end) return setImmediate(look);
          handle.close();
          console.log(woken);
        })();
      })();
      `,
      '--expose-gc',
    );
    expect(output.trim()).toBe('true');
    expect(status).toBe(0);
  });
});
