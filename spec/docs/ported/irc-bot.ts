// An IRC bot on asynchat, in the shape that phenny gave to many: it registers, joins, answers PING, hands
// each line to `dispatch`, and does not talk too fast.

import { type Address, AF_INET, AsyncChat, type ChannelMap, SOCK_STREAM } from 'asyncore';

export interface Origin {
  nick: string;
  /** Where an answer goes: the channel, or the nick of who spoke to the bot alone. */
  sender: string;
}

/** What CR, LF and NUL would do in a line is known. */
const UNSAFE = /[\r\n\0]/g;

export class IrcBot extends AsyncChat {
  readonly #nick: string;
  readonly #realName: string;
  readonly #channels: string[];
  /** The least time between two messages, in ms. */
  readonly #pace: number;
  /** When the next message may leave. */
  #free = 0;
  #buffer = '';

  constructor(nick: string, realName: string, channels: string[], map: ChannelMap, pace = 800) {
    super(null, map);
    this.setTerminator('\n');
    this.#nick = nick;
    this.#realName = realName;
    this.#channels = channels;
    this.#pace = pace;
  }

  /** Python's runs the loop as well. Here the program awaits it. */
  run(address: Address) {
    this.createSocket(AF_INET, SOCK_STREAM);
    this.connect(address);
  }

  write(args: string[], text?: string) {
    const line = text === undefined ? args.join(' ') : `${args.join(' ')} :${text}`;
    this.push(`${line.replace(UNSAFE, ' ')}\r\n`);
  }

  override handleConnect() {
    this.write(['NICK', this.#nick]);
    this.write(['USER', this.#nick, '+iw', this.#nick], this.#realName);
  }

  override handleClose() {
    this.close();
  }

  // A character of two bytes may come in two pieces: latin1 until the line is complete.
  override collectIncomingData(data: Buffer) {
    this.#buffer += data.toString('latin1');
  }

  override foundTerminator() {
    let line = Buffer.from(this.#buffer, 'latin1').toString();
    this.#buffer = '';
    if (line.endsWith('\r')) line = line.slice(0, -1);
    let source = '';
    if (line.startsWith(':')) [source, line] = partition(line.slice(1), ' ');
    const [head, text] = partition(line, ' :');
    // split() of Python: of nothing, nothing.
    const args = head.split(/\s+/).filter((word) => word !== '');
    const nick = source.replace(/[!@].*$/s, '');
    const target = args[1] ?? '';
    this.dispatch({ nick, sender: target === this.#nick ? nick : target }, [text, ...args]);
    if (args[0] === 'PING') this.write(['PONG', text]);
    if (args[0] === '001') for (const channel of this.#channels) this.write(['JOIN', channel]);
  }

  dispatch(_origin: Origin, _args: string[]) {}

  /**
   * Python's sleeps until it may speak, and holds a lock meanwhile, as plugins run in threads. A timer lets
   * the loop go on.
   */
  msg(recipient: string, text: string) {
    const now = this.map.clock.now();
    const at = Math.max(now, this.#free);
    this.#free = at + this.#pace;
    if (at === now) return this.write(['PRIVMSG', recipient], text);
    this.callLater(at - now, this.write, ['PRIVMSG', recipient], text);
  }
}

/** Python's `text.split(separator, 1)`. In JavaScript that drops the rest. */
function partition(text: string, separator: string): [string, string] {
  const at = text.indexOf(separator);
  return at < 0 ? [text, ''] : [text.slice(0, at), text.slice(at + separator.length)];
}
