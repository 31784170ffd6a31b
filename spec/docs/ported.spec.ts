// Programs that were ported line by line, and that docs/porting.md judges: each talks to a client, or
// to a server, in Python, which knows nothing of this library.

import { spawnSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  type Address,
  type ChannelMap,
  closeAll,
  Dispatcher,
  type InternetAddress,
  loop,
  type Socket,
} from 'asyncore';
import { DIAGONAL, drive, temporaryPath, type Way } from '../support/drive';
import { newMap } from '../support/keep';
import { Program, until } from '../support/program';
import { itWithPython, PYTHON } from '../support/python';
import { itIf } from '../support/skips';
import { CommandServer } from './ported/command-server';
import { Forwarder } from './ported/forwarder';
import { IrcBot, type Origin } from './ported/irc-bot';
import { TailChannel } from './ported/log-tail';
import { Pop3Server } from './ported/pop3-server';
import { SizedMessageConnection } from './ported/sized-messages';

const ANY: InternetAddress = { host: '127.0.0.1', port: 0 };

/** Without byte code beside the scripts. */
const OPTIONS = ['-B', '-W', 'ignore'];

function portOf(channel: Dispatcher): number {
  const address = channel.address();
  if (address === null || !('port' in address)) throw new Error('no port');
  return address.port;
}

/** A script calls it when it ends, however it ends. */
class Bell extends Dispatcher {
  rung = false;

  constructor(map: ChannelMap) {
    super(null, map);
    this.createSocket();
    this.bind(ANY);
    this.listen();
  }

  override handleAccepted(socket: Socket) {
    socket.close();
    this.rung = true;
  }
}

let script: Program | undefined;

afterEach(async () => {
  await script?.kill();
});

/** Starts a script beside the programs. */
function start(name: string, bell: Bell, ...args: unknown[]): Program {
  const file = join(__dirname, 'ported', name);
  script = new Program(PYTHON as string, [
    ...OPTIONS,
    file,
    ...args.map(String),
    `${portOf(bell)}`,
  ]);
  return script;
}

/** The script has found all as it should be. */
async function succeeded(program: Program): Promise<void> {
  const code = await program.ended();
  expect({ code, output: code === 0 ? '' : program.output }).toEqual({ code: 0, output: '' });
}

/** Runs the map until the script has ended. */
async function serve(how: Way, map: ChannelMap, bell: Bell, program: Program): Promise<void> {
  await drive(how, () => bell.rung, { map });
  await succeeded(program);
}

describe.each(DIAGONAL)('In %s', (_, how) => {
  let map: ChannelMap;
  let bell: Bell;

  beforeEach(() => {
    map = newMap();
    bell = new Bell(map);
  });

  itWithPython(
    'the forwarder carries a mebibyte each way, and the end of either side',
    async () => {
      const program = start('forwarder.py', bell);
      const [, port] = await program.printed(/^(\d+)\n/);
      const forwarder = new Forwarder(ANY, { host: '127.0.0.1', port: Number(port) }, map);
      program.child.stdin.end(`${portOf(forwarder)}\n`);
      await serve(how, map, bell, program);
      // The third connection has closed both ways by now, or does so in the next passes.
      await drive(how, () => map.size === 2, { map });
      expect([...map.values()]).toEqual([bell, forwarder]);
    },
  );

  /** CPython's tests are a package of their own in some distributions. */
  const itWithTests = itIf(hasTests(), 'no Python with the tests of poplib');

  itWithTests('the POP3 server passes CPython’s tests of its client', async () => {
    const server = new Pop3Server(ANY, map);
    const program = start('pop3.py', bell, portOf(server));
    await serve(how, map, bell, program);
    expect(program.output).toMatch(/^test_retr .* ok$/m);
    expect([...map.values()]).toContain(server);
  });

  itWithPython('the sized messages go both ways, with and without a MAC', async () => {
    const failures: unknown[] = [];
    const server = new MessageServer(
      map,
      failures,
      how.sync ? (work) => work() : (work) => setTimeout(work, 20),
    );
    await serve(how, map, bell, start('messages.py', bell, portOf(server)));
    expect(failures).toEqual([new RangeError('the MAC is wrong')]);
  });

  itWithPython('the IRC bot registers, joins, answers, and does not talk too fast', async () => {
    const program = start('irc.py', bell);
    const [, port] = await program.printed(/^(\d+)\n/);
    const bot = new Robot(map);
    bot.run({ host: '127.0.0.1', port: Number(port) });
    await serve(how, map, bell, program);
    expect([...map.values()]).toEqual([bell]);
  });
});

describe.each([false, true])('Beside Node’s timers, with usePoll %s', (usePoll) => {
  itWithPython('the command server answers objects, and outlives nonsense', async () => {
    const map = newMap();
    const bell = new Bell(map);
    const path = temporaryPath();
    const failures: unknown[] = [];
    const server = new CommandServer(
      { proceed: (message) => [0, message] },
      (error) => failures.push(error),
      map,
    );
    server.open(path);
    const second = new CommandServer({ proceed: String }, () => {}, newMap());
    expect(() => second.open(path)).toThrow(new Error('Server already running'));
    const running = server.run(usePoll);
    const program = start('commands.py', bell, path);
    await succeeded(program);
    expect(failures).toEqual([expect.any(SyntaxError)]);
    server.stop();
    await running;
    expect(existsSync(path)).toBe(false);
  });
});

// A channel that is to be asked again after a while needs passes that end: here, as in Python, by a timeout.
itWithPython('the log tail shows what is added, when its producer had said "not yet"', async () => {
  const map = newMap();
  const bell = new Bell(map);
  const path = temporaryPath('log');
  writeFileSync(path, '');
  const server = new TailServer(map, path);
  const program = start('tail.py', bell, portOf(server), path);
  const running = loop({ map, timeout: 20 });
  await succeeded(program);
  await until(() => map.size === 2);
  closeAll(map);
  await running;
});

function hasTests(): boolean {
  const probe = ['-c', 'import test.test_poplib'];
  return PYTHON !== null && spawnSync(PYTHON, [...OPTIONS, ...probe]).status === 0;
}

class Echo extends SizedMessageConnection {
  readonly #server: MessageServer;

  constructor(socket: Socket, address: Address, server: MessageServer) {
    super(socket, address, server.map);
    this.#server = server;
  }

  override messageInput(message: Buffer) {
    const text = message.length > 20 ? '' : message.toString();
    if (text === 'iterate')
      this.messageOutput(['0', '1', '2'].map((digit) => Buffer.from(digit))[Symbol.iterator]());
    if (text === 'key') {
      this.messageOutput(Buffer.from('without'));
      this.setSessionKey(Buffer.from('the session key'));
    }
    this.messageOutput(Buffer.concat([Buffer.from('echo '), message]));
    if (text === 'later') this.#server.later(() => this.messageOutput(message));
    if (text === 'close') this.shouldClose();
  }

  override handleError(error: unknown) {
    this.#server.failures.push(error);
    this.close();
  }
}

class MessageServer extends Dispatcher {
  constructor(
    map: ChannelMap,
    readonly failures: unknown[],
    readonly later: (work: () => void) => void,
  ) {
    super(null, map);
    this.createSocket();
    this.bind(ANY);
    this.listen();
  }

  override handleAccepted(socket: Socket, address: Address) {
    new Echo(socket, address, this);
  }
}

class Robot extends IrcBot {
  constructor(map: ChannelMap) {
    super('robot', 'a robot: really', ['#one', '#two'], map, 150);
  }

  override dispatch(origin: Origin, [text = '', command = '']: string[]) {
    if (command !== 'PRIVMSG' || !text.startsWith('say ')) return;
    this.msg(origin.sender, `${origin.nick}: ${text.slice(4)}`);
  }
}

class TailServer extends Dispatcher {
  readonly #path: string;

  constructor(map: ChannelMap, path: string) {
    super(null, map);
    this.#path = path;
    this.createSocket();
    this.bind(ANY);
    this.listen();
  }

  override handleAccepted(socket: Socket) {
    new TailChannel(socket, this.#path, this.map);
  }
}
