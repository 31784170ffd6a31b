// A POP3 server that has an answer to every command and no mailbox: what CPython's test_poplib starts, and
// drives by its own client.

import {
  type Address,
  AsyncChat,
  type ChannelMap,
  Dispatcher,
  ExitNow,
  type Socket,
} from 'asyncore';

const LIST = '1 1\r\n2 2\r\n3 3\r\n4 4\r\n5 5\r\n.\r\n';
const MESSAGE = [
  ...['From: postmaster@python.org', 'Content-Type: text/plain', 'MIME-Version: 1.0'],
  ...['Subject: Dummy', '', 'line1', 'line2', 'line3', '.', ''],
].join('\r\n');

type Command = (argument: string) => unknown;

export class Pop3Handler extends AsyncChat {
  // An attribute of the class, which the test case sets.
  static enableUtf8 = false;
  override encoding: BufferEncoding = 'latin1';
  #line: Buffer[] = [];

  constructor(socket: Socket, map: ChannelMap) {
    super(socket, map);
    this.setTerminator('\r\n');
    this.push('+OK dummy pop3 server ready. <timestamp>');
  }

  override push(line: string): boolean {
    return super.push(`${line}\r\n`);
  }

  override collectIncomingData(data: Buffer) {
    this.#line.push(data);
  }

  override foundTerminator() {
    const line = Buffer.concat(this.#line).toString('latin1');
    this.#line = [];
    // partition(), and not split(' ', 1), which drops the rest in JavaScript.
    const space = line.indexOf(' ');
    const name = (space < 0 ? line : line.slice(0, space)).toLowerCase();
    const command = this.#commands.get(name);
    if (command === undefined) this.push(`-ERR unrecognized POP3 command "${name}".`);
    else command(space < 0 ? '' : line.slice(space + 1));
  }

  // `raise` leaves Python's loop, so that the test fails. Here ExitNow does.
  override handleError(error: unknown) {
    throw new ExitNow('a handler failed', { cause: error });
  }

  readonly #list: Command = (argument) => {
    if (argument !== '') {
      this.push(`+OK ${argument} ${argument}`);
      return;
    }
    this.push('+OK');
    super.push(LIST);
  };

  readonly #retrieve: Command = () => {
    this.push(`+OK ${MESSAGE.length} bytes`);
    super.push(MESSAGE);
  };

  readonly #nothing: Command = () => this.push('+OK done nothing.');

  // getattr(self, 'cmd_' + name): a Map finds nothing that was not put into it.
  readonly #commands = new Map<string, Command>([
    ['echo', (argument) => this.push(argument)],
    [
      'user',
      (argument) => {
        if (argument !== 'guido') this.push('-ERR no such user');
        this.push('+OK password required');
      },
    ],
    [
      'pass',
      (argument) => {
        if (argument !== 'python') this.push('-ERR wrong password');
        this.push('+OK 10 messages');
      },
    ],
    ['stat', () => this.push('+OK 10 100')],
    ['list', this.#list],
    ['uidl', this.#list],
    ['retr', this.#retrieve],
    ['top', this.#retrieve],
    ['dele', () => this.push('+OK message marked for deletion.')],
    ['noop', this.#nothing],
    ['rpop', this.#nothing],
    ['apop', this.#nothing],
    [
      'quit',
      () => {
        this.push('+OK closing.');
        this.closeWhenDone();
      },
    ],
    [
      'capa',
      () => {
        const capabilities = ['UIDL', 'IMPLEMENTATION python-testlib-pop-server'];
        for (const line of ['+OK Capability list follows', ...capabilities, '.']) this.push(line);
      },
    ],
    [
      'utf8',
      () => this.push(Pop3Handler.enableUtf8 ? '+OK I know RFC6856' : '-ERR What is UTF8?!'),
    ],
  ]);
}

export class Pop3Server extends Dispatcher {
  constructor(address: Address, map: ChannelMap) {
    super(null, map);
    this.createSocket();
    this.bind(address);
    this.listen(5);
  }

  override handleAccepted(socket: Socket) {
    new Pop3Handler(socket, this.map);
  }

  override handleConnect() {
    this.close();
  }

  override handleRead = this.handleConnect;

  override writable() {
    return false;
  }

  override handleError(error: unknown) {
    throw new ExitNow('a handler failed', { cause: error });
  }
}
