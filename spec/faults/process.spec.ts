// What happens to the process around a loop: stopped and continued, showered with signals, its clock
// set back, left in the middle of a handler, hit by errors that are not the loop's. Each runs in a
// process of its own, which has to end as it should, and in time.
//
// Covered elsewhere (loop): two loops on one map, a map that is emptied from outside, a signal that
// aborts before, during and after.

import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { ChannelMap, closeAll, Dispatcher, type Handled, loopSync, Socket } from 'asyncore';
import { registryOf } from '../../lib/loop/channel-map';
import { withBuild } from '../support/build';
import { DIAGONAL, drive, WAYS, type Way } from '../support/drive';
import { keep, stillMap } from '../support/keep';
import { Program, ROOT, TYPESCRIPT, until } from '../support/program';

/** What each of these programs begins with. */
const HEAD = `
  const { AsyncChat, Dispatcher, DispatcherWithSend, ExitNow, Socket, loop, loopSync, socketMap } =
    require('./lib/index.ts');
  class Quiet extends DispatcherWithSend {
    ignoreLogTypes = new Set(['error', 'warning', 'info']);
    handleClose() { this.close(); }
  }
  /** Echoes. */
  class Echo extends Quiet {
    handleRead() {
      const data = this.recv(65536);
      if (data !== null) this.send(data);
    }
  }
  class Server extends Quiet {
    constructor() {
      super();
      this.createSocket();
      this.bind({ host: '127.0.0.1', port: 0 });
      this.listen(5);
    }
    handleAccepted(socket) { new Echo(socket); }
  }
`;

const programs: Program[] = [];

afterEach(async () => {
  for (const program of programs.splice(0)) await program.kill();
});

function run(code: string, ...flags: string[]): Program {
  const program = new Program(process.execPath, [...flags, ...TYPESCRIPT, '-e', HEAD + code]);
  programs.push(program);
  return program;
}

/** How a program runs its channels, in its own words. */
function runsOf(ways: [string, Way][]): [string, string, boolean][] {
  return ways.map(([name, { sync, usePoll }]) => [
    name,
    sync
      ? `loopSync({ timeout: 100, usePoll: ${usePoll} })`
      : `await loop({ timeout: 100, usePoll: ${usePoll} })`,
    sync,
  ]);
}

function inAsync(code: string): string {
  return `(async () => { ${code} })();`;
}

/** What the kernel says that a program does: `S` when it sleeps, `T` when it is stopped. */
function stateOf({ child }: Program): string | undefined {
  return /\) (\w)/.exec(readFileSync(`/proc/${child.pid}/stat`, 'latin1'))?.[1];
}

describe.each(runsOf(WAYS))('A process (%s)', (_, running) => {
  it('that is stopped and continued goes on', async () => {
    const program = run(
      inAsync(`
        class Line extends AsyncChat {
          constructor(socket) {
            super(socket);
            this.setTerminator('\\n');
          }
          collectIncomingData(data) { this._collectIncomingData(data); }
          foundTerminator() {
            const line = this._getData().toString();
            console.log('heard ' + line);
            if (line === 'end') this.close();
          }
        }
        // The peer is a process that goes on while this one is stopped.
        const [own, peer] = Socket.pair();
        new Line(own);
        const fd = peer.detach();
        const child = require('node:child_process').spawn(
          'sh',
          ['-c', 'read line; echo "$line" >&3; read line; echo "$line" >&3'],
          { stdio: ['inherit', 'inherit', 'inherit', fd] },
        );
        child.unref();
        console.log('ready');
        ${running};
        console.log('over');
      `),
    );
    await program.printed(/ready/);
    await until(() => stateOf(program) === 'S');
    process.kill(program.child.pid as number, 'SIGSTOP');
    await until(() => stateOf(program) === 'T');
    program.child.stdin.write('while stopped\n');
    // Longer than a pass.
    await new Promise((resolve) => setTimeout(resolve, 250));
    expect(program.output).not.toContain('heard');
    process.kill(program.child.pid as number, 'SIGCONT');
    await program.printed(/heard while stopped/);
    program.child.stdin.write('end\n');
    await program.printed(/heard end/);
    expect(await program.ended()).toBe(0);
    expect(program.output).toMatch(/ready\nheard while stopped\nheard end\nover\n$/);
  });

  it('that is showered with signals loses no byte, and no wait is cut short', async () => {
    const program = run(
      inAsync(`
        const koffi = require('koffi');
        const setitimer = koffi.load(null).func('int setitimer(int, void *, void *)');
        const every = (microseconds) => {
          const interval = BigInt(microseconds);
          // struct itimerval { struct timeval it_interval, it_value; }
          setitimer(0, BigInt64Array.of(0n, interval, 0n, interval), null);
        };
        process.on('SIGALRM', () => {});
        const SIZE = 4 * 1024 * 1024;
        const [a, b] = Socket.pair();
        const hash = () => require('node:crypto').createHash('sha1');
        const [out, into] = [hash(), hash()];
        let sent = 0;
        let received = 0;
        class Source extends Quiet {
          readable() { return false; }
          writable() { return true; }
          handleWrite() {
            if (sent === SIZE) return this.close();
            const piece = Buffer.alloc(Math.min(10_000, SIZE - sent), sent % 251);
            const taken = Dispatcher.prototype.send.call(this, piece);
            out.update(piece.subarray(0, taken));
            sent += taken;
          }
        }
        class Sink extends Quiet {
          handleRead() {
            const data = this.recv(3000);
            if (data === null) return;
            received += data.length;
            into.update(data);
          }
        }
        every(200);
        new Source(a);
        new Sink(b);
        ${running};
        console.log(received, out.digest('hex') === into.digest('hex'));

        const [c, d] = Socket.pair();
        const idle = new Sink(c);
        const start = performance.now();
        idle.setIdleTimeout(300);
        ${running};
        const waited = performance.now() - start;
        console.log(waited >= 299 && waited < 2000 ? 'waited' : waited);
        every(0);
      `),
    );
    expect(await program.ended()).toBe(0);
    // A newer Node may collect what the program has dropped, and say so.
    expect(program.output).toMatch(/^4194304 true\nwaited\n/);
  });
});

describe.each(runsOf(DIAGONAL))('A process (%s)', (_, running, sync) => {
  it.each(['handleRead', 'handleClose', 'handleError', 'readable'])(
    'ends where %s calls process.exit(), with what was pushed before',
    async (handler) => {
      const program = run(
        inAsync(`
          const [a, b] = Socket.pair();
          const leave = () => {
            // After those who were here before.
            process.on('exit', () => {
              require('node:fs').writeSync(1, 'exit ' + (b.recv(100) ?? ''));
            });
            process.exit(7);
          };
          class Last extends AsyncChat {
            ignoreLogTypes = new Set(['error']);
            constructor(socket) { super(socket); this.setTerminator('\\n'); }
            collectIncomingData() {}
            foundTerminator() {
              this.push('last words');
              if ('${handler}' === 'handleRead') leave();
              if ('${handler}' === 'handleError') throw new Error('wrong');
            }
            readable() {
              if ('${handler}' === 'readable') { this.push('last words'); leave(); }
              return true;
            }
            handleClose() { leave(); }
            handleError() { leave(); }
          }
          new Last(a);
          b.send(Buffer.from('x\\n'));
          if ('${handler}' === 'handleClose') { b.shutdown(1); }
          ${running};
          console.log('never');
        `),
      );
      expect(await program.ended()).toBe(7);
      expect(program.output).toBe('exit last words');
    },
  );

  it('ends with an error that a handler leaves uncaught elsewhere, or lives on if it is caught', async () => {
    const code = (caught: boolean): string =>
      inAsync(`
        if (${caught}) process.on('uncaughtException', (error) => console.log('caught ' + error.message));
        const [a, b] = Socket.pair();
        let heard = 0;
        new (class extends Quiet {
          handleRead() {
            if (this.recv(1) === null) return;
            heard += 1;
            if (heard === 1) process.nextTick(() => { throw new Error('elsewhere'); });
            // Node's own things have their turn only where they can.
            if (heard === 3) this.close();
          }
        })(a);
        b.send(Buffer.from('xxx'));
        ${running};
        console.log('heard ' + heard);
      `);
    const dead = run(code(false));
    const alive = run(code(true));
    expect(await dead.ended()).toBe(1);
    expect(dead.output).toContain('Error: elsewhere');
    expect(await alive.ended()).toBe(0);
    const lines = ['caught elsewhere\n', 'heard 3\n'];
    const said = alive.output.split('\n').filter((line) => /^(caught|heard)/.test(line));
    expect(said.map((line) => `${line}\n`)).toEqual(sync ? lines.reverse() : lines);
  });

  it('ends with a promise that a handler leaves rejected, and the loop does not mind', async () => {
    const program = run(
      inAsync(`
        process.on('unhandledRejection', (error) => console.log('unhandled ' + error.message));
        const [a, b] = Socket.pair();
        new (class extends Quiet {
          handleRead() {
            if (this.recv(100) === null) return;
            void Promise.reject(new Error('elsewhere'));
            setTimeout(() => b.close(), 20);
            if (${sync}) b.close();
          }
        })(a);
        b.send(Buffer.from('x'));
        ${running};
        await null;
        setTimeout(() => console.log('over'), 50);
      `),
    );
    expect(await program.ended()).toBe(0);
    expect(program.output).toBe('unhandled elsewhere\nover\n');
  });
});

describe('A program whose log goes nowhere', () => {
  /** Everything that the stock handlers log, and then what a program logs, from inside and outside the loop. */
  const LOGS = `
    const [a, b] = Socket.pair();
    const [c, d] = Socket.pair();
    const loud = new (class extends Dispatcher { ignoreLogTypes = new Set(); })(a);
    const silent = new Dispatcher();
    silent.logInfo = () => { throw new Error('no log, but a warning'); };
    const echo = new Echo(c);
    b.send(Buffer.from('x'));
    let left = 5;
    const again = () => {
      loud.log('a hit');
      loud.logInfo('more than a pipe holds '.repeat(10000));
      // Alone in its tick.
      setTimeout(() => silent.handleRead(), 1);
      left -= 1;
      if (left > 0) setTimeout(again, 5);
      else {
        loud.handleError(new Error('the last'));
        d.send(Buffer.from('alive'));
        setTimeout(() => {
          process.exitCode = String(d.recv(100)) === 'alive' && a.closed ? 7 : 8;
          echo.close();
        }, 50);
      }
    };
    again();
    loop();
  `;

  function logging(before = '', redirection = ''): Program {
    const code = HEAD + before + LOGS;
    const program = new Program('sh', [
      ...['-c', `exec "$0" "$@" ${redirection}`, process.execPath],
      ...[...TYPESCRIPT, '-e', code],
    ]);
    programs.push(program);
    return program;
  }

  it('lives on when nobody reads its output any more', async () => {
    const program = logging();
    program.child.stdout.destroy();
    program.child.stderr.destroy();
    expect(await program.ended()).toBe(7);
  });

  it('lives on when its reader stops reading, and leaves while output waits', async () => {
    const code = `${HEAD}
      const [a] = Socket.pair();
      const loud = new Dispatcher(a);
      const streams = [process.stdout, process.stderr];
      let left = streams.length;
      // Emitted after the error.
      for (const stream of streams) stream.once('close', () => --left || process.exit(7));
      for (const log of ['log', 'logInfo']) loud[log]('more than a pipe holds '.repeat(10_000));
      if (streams.some((stream) => stream.writableLength === 0)) process.exit(8);
      setTimeout(() => process.exit(9), 10_000);
    `;
    const reader = '{ head -c 1 >/dev/null; sleep 0.2; }';
    const pipes = `{ { "$0" "$@"; echo "status $?" >&3; } 2>&1 >&4 | ${reader}; } 4>&1 | ${reader}`;
    const command = `{ ${pipes}; } 3>&1`;
    const program = new Program('sh', ['-c', command, process.execPath, ...TYPESCRIPT, '-e', code]);
    programs.push(program);
    await program.ended();
    expect(program.output).toBe('status 7\n');
  });

  it('lives on when the disk is full', async () => {
    expect(await logging('', '> /dev/full 2>&1').ended()).toBe(7);
  });

  it.each(['destroy', 'end'])('lives on when it has called %s of its output', async (method) => {
    const before = `process.stdout.${method}(); process.stderr.${method}();`;
    expect(await logging(before).ended()).toBe(7);
  });
});

describe.each(WAYS)('The system’s clock (%s)', (_, how) => {
  it('is not asked: set back or ahead, it moves no timeout and ends no pass', async () => {
    const map = new ChannelMap();
    const real = Date.now;
    let steps = 0;
    // Back by a day, then ahead by one, and so on.
    jest.spyOn(Date, 'now').mockImplementation(() => {
      steps += 1;
      return real() + (steps % 2 === 0 ? 86_400_000 : -86_400_000);
    });
    const events: string[] = [];
    const [own, peer] = Socket.pair();
    keep(peer);
    const channel = new (class extends Dispatcher {
      override writable(): boolean {
        return false;
      }
      override handleTimeout(): Handled {
        events.push('timeout');
        this.close();
      }
    })(own, map);
    const start = performance.now();
    channel.setIdleTimeout(150);
    await drive(how, () => events.length > 0, { map });
    expect(performance.now() - start).toBeGreaterThanOrEqual(149);
    closeAll(map);

    const [silent] = Socket.pair().map(keep) as [Socket, Socket];
    const other = new Dispatcher(silent, map);
    other.writable = () => false;
    other.handleRead = () => other.close();
    const begin = performance.now();
    loopSync({ map, timeout: 100, count: 1, usePoll: how.usePoll });
    closeAll(map);
    expect(performance.now() - begin).toBeLessThan(2000);
  });

  it('has no place in lib/', () => {
    const lib = join(ROOT, 'lib');
    for (const file of readdirSync(lib, { recursive: true, encoding: 'utf8' })) {
      if (!file.endsWith('.ts')) continue;
      const code = readFileSync(join(lib, file), 'utf8');
      expect({ file, asks: /\bDate\b|hrtime/.test(code) }).toEqual({ file, asks: false });
    }
  });
});

describe.each(WAYS.filter(([, { sync }]) => sync))('A wait (%s)', (_, how) => {
  it('that a signal ends when it is too late finds no channel idle that has input', () => {
    const { map, clock } = stillMap();
    const [own, peer] = Socket.pair();
    const events: string[] = [];
    const channel = new (class extends Dispatcher {
      override writable(): boolean {
        return false;
      }
      override handleRead(): Handled {
        events.push(`${keep(own).recv(100)}`);
      }
      override handleTimeout(): Handled {
        events.push('timeout');
      }
    })(own, map);
    channel.setIdleTimeout(20);
    // The process is stopped in the kernel, and continued: no events, says epoll_wait(2).
    jest.spyOn(registryOf(map).acquire(), 'select').mockImplementationOnce(() => {
      keep(peer).send(Buffer.from('in time'));
      clock.advance(40);
      return 0;
    });
    try {
      loopSync({ map, timeout: 1000, count: 1, usePoll: how.usePoll });
    } finally {
      registryOf(map).release();
      closeAll(map);
    }
    expect(events).toEqual(['in time']);
  });
});

describe('Worker threads', () => {
  // The raw call waits in C until this thread has called terminate(), and opens its descriptor then.
  it.each([
    ['socket', 'Socket.socket(AF_INET, SOCK_STREAM)'],
    ['socketpair', 'Socket.pair()'],
    ['epoll_create1', 'loopSync({ map, count: 1, timeout: 0 })'],
    ['accept4', 'listener.accept()'],
    ['recvmsg', 'recvFds(receiver, 1, 4)'],
  ])('that are terminated within %s leave no descriptor behind', async (call, statement) => {
    const worker = `
      const { workerData: fd, parentPort } = require('node:worker_threads');
      const koffi = require('koffi');
      const { AF_INET, ChannelMap, Dispatcher, SOCK_STREAM, Socket, loopSync, recvFds, sendFds } =
        require('./index.js');
      const { raw } = require('./kernel/koffi.js');
      const listener = Socket.socket(AF_INET, SOCK_STREAM);
      listener.bind({ host: '127.0.0.1', port: 0 });
      listener.listen();
      Socket.socket(AF_INET, SOCK_STREAM).connect(listener.getSockName());
      const [sender, receiver] = Socket.pair();
      sendFds(sender, [Buffer.from('x')], [0, 1]);
      const map = new ChannelMap();
      new Dispatcher(sender, map);
      const poll = koffi.load(null).func('int poll(void *, unsigned long, int)');
      const terminated = new Int32Array([fd, 1]);
      const real = raw.${call};
      raw.${call} = (a, b, c, d) => {
        parentPort.postMessage('in the call');
        poll(terminated, 1, -1);
        return real(a, b, c, d);
      };
      ${statement};
    `;
    const openDescriptors = () =>
      readdirSync('/proc/self/fd').filter((fd) => existsSync(`/proc/self/fd/${fd}`)).length;
    const [terminated, waker] = Socket.pair();
    await withBuild({ 'worker.js': worker }, async (directory) => {
      const before = openDescriptors();
      const thread = new Worker(join(directory, 'worker.js'), {
        workerData: terminated.fileno(),
        execArgv: [],
        // Whatever selector the other specs use.
        env: { ...process.env, ASYNCORE_SELECTOR: '' },
      });
      const message = await Promise.race([once(thread, 'message'), once(thread, 'exit')]);
      const exit = thread.terminate();
      waker.send(Buffer.from('x'));
      await exit;
      expect(message).toEqual(['in the call']);
      expect(openDescriptors()).toBe(before);
    });
    terminated.close();
    waker.close();
  });

  it('that run loops can be terminated at any moment', async () => {
    const program = new Program(process.execPath, [
      ...TYPESCRIPT,
      join(__dirname, 'terminate-workers.ts'),
      '--rounds',
      '2',
    ]);
    programs.push(program);
    const status = await program.ended();
    expect(program.output).toMatch(
      /^2 rounds of 8 workers, seed \d+: \d+ terminated in their loops; left over: 0 sockets, 0 epoll/m,
    );
    expect(status).toBe(0);
  });
});
