// Where Node is not all there: runtimes that run Node's packages on a loop of their own, and Node with
// the permission model. .ci/smoke runs the packed package in Bun and Deno themselves.

import { realpathSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type * as asyncore from 'asyncore';
import type * as pollHandle from '../lib/kernel/poll-handle';
import { build } from './support/build';
import { Program, ROOT } from './support/program';
import { itIf } from './support/skips';

type Func = (signature: string) => unknown;

/** What koffi's `func` does for the functions that Node exports to add-ons. */
const NODE_FUNCTIONS: Record<string, Func> = {
  bun: (signature) => () => {
    throw new Error(`panic: unsupported function ${signature}`);
  },
  deno: (signature) => {
    throw new Error(`Cannot find function '${signature}' in shared library`);
  },
};

/** Loads the library as if in another runtime, with a koffi that shows what would end the process. */
function inRuntime(name: string, isMainThread: boolean, body: () => void): void {
  const { versions } = process;
  const value = { ...versions, [name]: '1.0.0' };
  Object.defineProperty(process, 'versions', { value, configurable: true });
  jest.doMock('node:worker_threads', () => ({
    ...jest.requireActual('node:worker_threads'),
    isMainThread,
  }));
  jest.doMock('koffi', () => {
    const koffi = jest.requireActual('koffi');
    const load = (path: string | null) => {
      const library = koffi.load(path);
      const func: Func = (signature) =>
        signature.includes('_ZN')
          ? (NODE_FUNCTIONS[name] as Func)(signature)
          : library.func(signature);
      return { func };
    };
    const poll = () => {
      throw new Error('panic: unsupported uv function: uv_poll_init_socket');
    };
    return { ...koffi, load, node: { poll } };
  });
  try {
    jest.isolateModules(body);
  } finally {
    Object.defineProperty(process, 'versions', { value: versions, configurable: true });
    jest.dontMock('koffi');
    jest.dontMock('node:worker_threads');
  }
}

describe.each(['bun', 'deno'])('A runtime with a loop of its own: %s', (name) => {
  it.each([
    ['the main thread', true],
    ['a worker', false],
  ])("lets loop() run in %s, without Node's own functions", async (_where, isMainThread) => {
    const library: { there?: typeof asyncore; handles?: typeof pollHandle } = {};
    inRuntime(name, isMainThread, () => {
      library.there = require('asyncore');
      library.there?.strerror(0); // loads koffi
      library.handles = require('../lib/kernel/poll-handle');
      expect(library.handles?.canWatch()).toBe(false);
    });
    const { ChannelMap, Dispatcher, Socket, loop } = library.there as typeof asyncore;
    const map = new ChannelMap();
    const received: string[] = [];
    class Receiver extends Dispatcher {
      override writable() {
        return false;
      }
      override handleRead() {
        received.push(String(this.recv(10)));
        this.close();
      }
    }
    const [a, b] = Socket.pair();
    new Receiver(a, map);
    // Sent from outside the loop, which waits by then.
    setImmediate(() => b.send(Buffer.from('hello')));
    await loop({ map, signal: AbortSignal.timeout(10_000) });
    b.close();
    expect(received).toEqual(['hello']);
  });
});

describe("Node's permission model", () => {
  const BODY = join(ROOT, '.ci', 'echo-body.cjs');
  const NODE_MODULES = join(ROOT, 'node_modules');
  let directory: string;

  beforeAll(() => {
    directory = build({
      'main.js': `
        const echo = require(${JSON.stringify(BODY)});
        const failed = (error) => console.log(error.code, error.message);
        echo(require('./index.js'), 'here').catch(failed);
      `,
      'connect.js': `
        const { ChannelMap, Dispatcher, loop, loopSync } = require('./index.js');
        async function connectBy(run) {
          const map = new ChannelMap();
          const server = new Dispatcher(null, map);
          server.createSocket();
          server.bind({ host: '127.0.0.1', port: 0 });
          server.listen();
          class Client extends Dispatcher {
            handleConnect() { this.end('connected'); }
            handleError(error) { this.end(error.code); }
            end(how) {
              console.log(run.name + ': ' + how);
              this.close();
              server.close();
            }
          }
          const client = new Client(null, map);
          client.createSocket();
          client.connect({ host: 'localhost', port: server.socket.getSockName().port });
          await run({ map, signal: AbortSignal.timeout(10_000) });
        }
        connectBy(loop).then(() => connectBy(loopSync));
      `,
      'worker.js': `
        const { Worker } = require('node:worker_threads');
        new Worker(__dirname + '/main.js');
      `,
    });
  });

  afterAll(() => rmSync(directory, { recursive: true }));

  /** Runs a file, which may read the library and nothing else. */
  async function run(file: string, ...flags: string[]): Promise<string> {
    const permission = process.allowedNodeEnvironmentFlags.has('--permission')
      ? '--permission'
      : '--experimental-permission';
    // Each once: Node 20 aborts when it is given a path again.
    const readable = new Set([directory, BODY, NODE_MODULES, realpathSync(NODE_MODULES)]);
    const program = new Program(process.execPath, [
      permission,
      ...Array.from(readable, (path) => `--allow-fs-read=${path}`),
      ...flags,
      join(directory, file),
    ]);
    await program.ended();
    return program.output;
  }

  it('needs --allow-addons, in the main thread and in a worker', async () => {
    const [main, worker] = await Promise.all([
      run('main.js', '--allow-addons'),
      run('worker.js', '--allow-addons', '--allow-worker'),
    ]);
    expect(main).toContain('here: echo works');
    expect(worker).toContain('here: echo works');
  });

  const knowsAllowNet = process.allowedNodeEnvironmentFlags.has('--allow-net');

  itIf(knowsAllowNet, 'this Node has no --allow-net')(
    'needs --allow-net for a host name inside loop(), and for nothing else',
    async () => {
      const [without, beside] = await Promise.all([
        run('connect.js', '--allow-addons'),
        run('connect.js', '--allow-addons', '--allow-net'),
      ]);
      expect(without).toContain('loop: ERR_ACCESS_DENIED\nloopSync: connected\n');
      expect(beside).toContain('loop: connected\nloopSync: connected\n');
    },
  );

  it('without it, makes the first socket say which flag is missing', async () => {
    expect(await run('main.js')).toContain(
      'ERR_KOFFI_UNAVAILABLE Cannot load koffi: Cannot load native addon because loading addons is ' +
        'disabled (use --allow-addons beside --permission, and no --no-addons)',
    );
  });
});

describe('Without koffi', () => {
  it('the package can be imported, and the first socket says what to install', () => {
    jest.isolateModules(() => {
      jest.doMock('koffi', () => {
        throw new Error("Cannot find module '@koromix/koffi-linux-x64'");
      });
      const { Socket }: typeof asyncore = require('asyncore');
      expect(() => Socket.socket()).toThrow(
        expect.objectContaining({
          code: 'ERR_KOFFI_UNAVAILABLE',
          message:
            "Cannot load koffi: Cannot find module '@koromix/koffi-linux-x64' (install koffi with its " +
            'optional dependencies; a bundle needs it as an external package)',
        }),
      );
    });
    jest.dontMock('koffi');
  });
});
