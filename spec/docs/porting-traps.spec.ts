// The traps of docs/porting.md that have a program each, in Python and here, as printed: both do the same.

import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { namedListings, runListing, writeListings } from '../support/listings';
import { Client, Program, until } from '../support/program';
import { PYTHON } from '../support/python';
import { itIf } from '../support/skips';

const PAGE = 'docs/porting.md';

const TYPESCRIPT_TRAPS = namedListings(PAGE);
const PYTHON_TRAPS = namedListings(PAGE, 'python');

/** Serves the Session of a trap, or makes its Caller, until the map is empty or something leaves the loop. */
const SERVE_PY = `
import asyncore
import importlib
import os

trap = importlib.import_module(os.environ['TRAP'])


class Server(asyncore.dispatcher):
    def __init__(self):
        asyncore.dispatcher.__init__(self)
        self.create_socket()
        self.bind(('127.0.0.1', 0))
        self.listen(5)
        print('port: %d' % self.socket.getsockname()[1], flush=True)

    def handle_accepted(self, sock, address):
        trap.Session(sock)


if hasattr(trap, 'Caller'):
    trap.Caller(('127.0.0.1', int(os.environ['PORT'])))
else:
    Server()
try:
    asyncore.loop()
except Exception as error:
    print('left the loop', flush=True)
`;

const SERVE_TS = `
import { Dispatcher, ExitNow, loop } from 'asyncore';

const trap = await import(\`./\${process.env.TRAP}.mjs\`);

class Server extends Dispatcher {
  constructor() {
    super();
    this.createSocket();
    this.bind({ host: '127.0.0.1', port: 0 });
    this.listen(5);
    console.log(\`port: \${(this.socket as any).getSockName().port}\`);
  }

  override handleAccepted(socket: any) {
    new trap.Session(socket);
  }
}

if ('Caller' in trap) new trap.Caller({ host: '127.0.0.1', port: Number(process.env.PORT) });
else new Server();
try {
  await loop();
} catch (error) {
  if (!(error instanceof ExitNow)) throw error;
  console.log('left the loop');
}
`;

const folder = writeListings(
  new Map([
    ...[...TYPESCRIPT_TRAPS, ...PYTHON_TRAPS, ['serve.mts', SERVE_TS], ['serve.py', SERVE_PY]],
  ] as [string, string][]),
);

const programs: Program[] = [];
const clients: Client[] = [];

afterEach(async () => {
  for (const client of clients.splice(0)) client.socket.destroy();
  await Promise.all(programs.splice(0).map((program) => program.kill()));
});

function run(start: Start, trap: string, env: NodeJS.ProcessEnv = {}): Program {
  const program = start({ ...env, TRAP: trap });
  programs.push(program);
  return program;
}

async function serve(
  start: Start,
  trap: string,
  env: NodeJS.ProcessEnv = {},
): Promise<{ program: Program; call: () => Client }> {
  const program = run(start, trap, env);
  const [, port] = await program.printed(/^port: (\d+)\n/m);
  const call = (): Client => {
    const client = new Client(Number(port));
    clients.push(client);
    return client;
  };
  return { program, call };
}

type Start = (env: NodeJS.ProcessEnv) => Program;

const python: Start = (env) =>
  new Program(PYTHON as string, ['-B', '-W', 'ignore', join(folder, 'serve.py')], env);
const ours: Start = (env) => runListing(join(folder, 'serve.mts'), env);

it('each trap has a program in both languages', () => {
  const names = ['build', 'fatal', 'lines', 'report', 'states', 'caller'];
  expect([...PYTHON_TRAPS.keys()]).toEqual(names.map((name) => `${name}.py`));
  expect([...TYPESCRIPT_TRAPS.keys()]).toEqual(names.map((name) => `${name}.mts`));
});

const LANGUAGES: [string, Start | null][] = [
  ['Python', PYTHON === null ? null : python],
  ['TypeScript', ours],
];

describe.each(LANGUAGES)('In %s', (language, start) => {
  const check = itIf(start !== null, 'no Python with asyncore');
  const begin = start as Start;

  // The command waits for a line that the client writes when it has heard the first answer.
  check('what is pushed before a wait has been sent', async () => {
    const pipe = join(folder, `pipe-${language}`);
    execFileSync('mkfifo', [pipe]);
    const { call } = await serve(begin, 'build', { BUILD: `read code < ${pipe}; exit $code` });
    const client = call().send('make\n');
    await client.hears('building\n');
    writeFileSync(pipe, '3\n');
    await client.hears('exit code 3\n');
    expect(client.received).toBe('building\nexit code 3\n');
  });

  check('an error that handleError passes on leaves the loop', async () => {
    const { program, call } = await serve(begin, 'fatal');
    const client = call().send('ping\n');
    await client.hears('pong\n');
    client.send('what\n');
    expect(await program.ended()).toBe(0);
    expect(program.output).toMatch(/^left the loop\n/m);
  });

  check('a producer closes its file when it is exhausted, and when it is given up', async () => {
    const file = join(folder, `lines-${language}`);
    const text = `${'x'.repeat(99)}\n`.repeat(200_000);
    writeFileSync(file, text);
    const { program, call } = await serve(begin, 'lines', { FILE: file });
    const all = call();
    await until(() => all.received.length === text.length);
    await program.printed(/^closed\n/m);
    expect(program.output.match(/^closed$/gm)).toHaveLength(1);
    const half = call();
    await half.hears('x\n');
    half.socket.destroy();
    await program.printed(/(^closed\n[\s\S]*){2}/m);
    expect(program.output.match(/^closed$/gm)).toHaveLength(2);
  });

  check('a signal has the report printed', async () => {
    const { program } = await serve(begin, 'report');
    program.child.kill(language === 'Python' ? 'SIGUSR1' : 'SIGUSR2');
    await program.printed(/^Server\n/m);
  });

  check('a handler that is replaced within a record gets the next one', async () => {
    const { call } = await serve(begin, 'states');
    const client = call().send('5:hello3:a:b1:');
    await client.hears('<a:b>');
    client.send('x2::');
    await new Promise((resolve) => setImmediate(resolve));
    client.send(':');
    await client.hears('<::>');
    expect(client.received).toBe('<hello><a:b><x><::>');
  });

  check('an object that connects again knows nothing of the connection before', async () => {
    const server = createServer({ allowHalfOpen: true });
    const callers: { socket: Socket; heard: string }[] = [];
    server.on('connection', (socket) => {
      const caller = { socket, heard: '' };
      callers.push(caller);
      socket.on('error', () => {});
      socket.on('data', (data) => {
        caller.heard += data;
        if (data.includes(10)) socket.end(`whole ${callers.length}\nhalf`);
      });
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    try {
      const { port } = server.address() as AddressInfo;
      const program = run(begin, 'caller', { PORT: `${port}` });
      expect(await program.ended()).toBe(0);
      expect(program.output).toBe('whole 1\nwhole 2\nwhole 3\n');
      expect(callers.map(({ heard }) => heard)).toEqual(['call 1\n', 'call 2\n', 'call 3\n']);
    } finally {
      for (const { socket } of callers) socket.destroy();
      server.close();
    }
  });
});

describe('SIGUSR1', () => {
  const LOOP = `
    const { Dispatcher, loop } = require('asyncore');
    const channel = new Dispatcher();
    channel.createSocket();
    channel.bind({ host: '127.0.0.1', port: 0 });
    channel.listen();
    loop();
    console.log('ready');`;

  function node(code: string): Program {
    const file = join(folder, 'signal.cjs');
    writeFileSync(file, code);
    // Any port, as another test may be there.
    const program = new Program(process.execPath, ['--inspect-port=0', file]);
    programs.push(program);
    return program;
  }

  it('opens the debugger of a process that runs the loop', async () => {
    const program = node(LOOP);
    await program.printed(/^ready\n/m);
    program.child.kill('SIGUSR1');
    await program.printed(/Debugger listening on ws:\/\/127\.0\.0\.1:\d+/);
  });

  it('goes to a listener instead, where there is one', async () => {
    const program = node(`process.on('SIGUSR1', () => console.log('heard'));${LOOP}`);
    await program.printed(/^ready\n/m);
    program.child.kill('SIGUSR1');
    await program.printed(/^heard\n/m);
    program.child.kill('SIGUSR1');
    await program.printed(/(^heard\n[\s\S]*){2}/m);
    expect(program.output).not.toContain('Debugger');
  });
});
