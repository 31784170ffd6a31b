// A mail server that receives: RFC 5321 with PIPELINING, SIZE, 8BITMIME and ENHANCEDSTATUSCODES, into
// one Maildir.
//
// Key points:
//
// - A command is a record that ends with CRLF; a message is a record that ends with CRLF `.` CRLF. So the
//   chat finds the end of a message, however the network splits it. The dots that the client has doubled
//   are undone when the message is complete.
// - Only CRLF ends a line. A bare CR or LF is refused, in a command and in a message. Where two servers
//   disagree about `LF . CRLF`, one message can smuggle in another.
// - "250" after a message is a promise: the file and its name are on the disk by then. That takes an
//   fsync(2), which blocks, so it runs in Node's thread pool. Reading is paused meanwhile: this client's
//   pipelined commands keep their order, and all other clients are served.
// - A message is in memory until it is complete: connections × size, at worst. A client that does not read
//   its replies is not read from until it does.
// - Strings are bytes, one character for each (latin1): a message is stored unchanged.

import { randomBytes } from 'node:crypto';
import { closeSync, fsyncSync, mkdirSync, openSync } from 'node:fs';
import { open, rename, rm } from 'node:fs/promises';
import { isIP, isIPv6 } from 'node:net';
import { hostname } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import {
  type Address,
  AsyncChat,
  type ChannelMap,
  type Dispatcher,
  type Handled,
  listen,
  type Socket,
  socketMap,
  type TimerHandle,
} from 'asyncore';
import { hostOf, listenOptions, run } from './support/program';

/** Length of a command without its CRLF, in bytes. */
const LONGEST_LINE = 998;
const MOST_RECIPIENTS = 100;
/** After so many refusals, with no message in between, the connection is closed. */
const MOST_REFUSALS = 20;
const MOST_CONNECTIONS = 100;
const MOST_CONNECTIONS_FROM_ONE = 20;
/** A piece costs some 100 bytes of memory beside its data. */
const MOST_PIECES = 4096;
/** Bytes of replies that may be queued: each reply is a piece. */
const MOST_WAITING = 64 * 1024;
/** In ms. RFC 5321 asks for five minutes. */
const IDLE_TIMEOUT = 5 * 60 * 1000;
const TIME_FOR_MESSAGE = 60 * 60 * 1000;
/** With its brackets: longer ones would not fit into a line of the message. */
const LONGEST_PATH = 256;
const LONGEST_DOMAIN = 255;

const LINE_END = Buffer.from('\r\n');
const MESSAGE_END = Buffer.from('\r\n.\r\n');

const CR = 0x0d;
const LF = 0x0a;
const DOT = 0x2e;

/**
 * A verb and its argument; trailing blanks are ignored. The argument is matched from its end: a match from
 * its beginning, with `.*?`, would try each blank in it as the first of the trailing blanks.
 */
const COMMAND = /^(\S*) *(.*[^ \t]|)[ \t]*$/;
/** HTTP: a web page may make a browser send this, with SMTP commands in the request body. */
const NO_MAIL_CLIENT = /^(CONNECT|GET|HEAD|OPTIONS|POST|PUT)$|:$/;
/** Many hosts have an underscore in their name. */
const DOMAIN = /^\w(?:[\w-]*\w)?(?:\.\w(?:[\w-]*\w)?)*$/;
/** `<sender@domain>`, where the local part may be quoted, and parameters. */
const PATH = /^(FROM|TO):<((?:[!#-;=?-~]|"(?:\\[ -~]|[ !#-[\]-~])*")*)>((?: +[!-~]+)*)$/i;
/** Of the characters of a path. A sender may come without a domain. */
const MAILBOX = /^(?:[^"@]|"(?:\\.|[^"\\])*")+(?:@([^"@]+))?$/;

// ---------------------------------------------------------------------------------------------
// The disk.

/**
 * A directory with a file for each message. A mail reader may look at any time: a message is written in
 * `tmp`, and appears in `new` atomically, by rename(2). Lines end with LF there.
 */
export class Maildir {
  /** Process ids are reused, soon in a container. */
  readonly #run = randomBytes(8).toString('hex');
  #serial = 0;

  constructor(readonly path: string) {
    const whole = resolve(path);
    const made = mkdirSync(whole, { recursive: true }) ?? whole;
    for (const name of ['tmp', 'new', 'cur']) mkdirSync(join(whole, name), { recursive: true });
    // A file is lost with its directory. So every new directory must be on the disk, up to the existing
    // directory that holds the first of them. No client is served yet, so blocking is harmless.
    const top = dirname(made);
    for (let directory = whole; ; directory = dirname(directory)) {
      const fd = openSync(directory, 'r');
      fsyncSync(fd);
      closeSync(fd);
      if (directory === top) return;
    }
  }

  /** @returns the name of the message, which is on the disk by then. @throws file system errors */
  async deliver(message: Buffer): Promise<string> {
    const name = this.#uniqueName();
    const draft = join(this.path, 'tmp', name);
    try {
      // In its own block, so that the file is closed before it is renamed.
      {
        await using file = await open(draft, 'wx', 0o600);
        await file.writeFile(message);
        await file.sync();
      }
      await rename(draft, join(this.path, 'new', name));
    } catch (error) {
      await rm(draft, { force: true });
      throw error;
    }
    await using directory = await open(join(this.path, 'new'));
    await directory.sync();
    return name;
  }

  /** Unique across processes and over time, because rename(2) overwrites. */
  #uniqueName(): string {
    this.#serial += 1;
    const host = hostname().replaceAll('/', '\\057').replaceAll(':', '\\072');
    return `${Math.floor(Date.now() / 1000)}.R${this.#run}Q${this.#serial}.${host}`;
  }
}

// ---------------------------------------------------------------------------------------------
// The channels.

interface Envelope {
  /** Empty: none, as in a report of a failed delivery. */
  readonly sender: string;
  readonly recipients: string[];
}

class SmtpSession extends AsyncChat {
  override encoding: BufferEncoding = 'latin1';
  /** A client may end its stream after its last command, and still gets the replies. */
  override allowHalfOpen = true;
  override highWaterMark = MOST_WAITING;
  readonly #site: Site;
  /** The client's name for itself, and the protocol. Null: no greeting yet. */
  #greeting: { readonly name: string; readonly protocol: string } | null = null;
  #envelope: Envelope | null = null;
  /** True after 354, until the message is complete. */
  #inMessage = false;
  /** Bytes of the message, stored or not. */
  #length = 0;
  #refusals = 0;
  /** Not an idle timeout, which NOOP would extend for ever. */
  readonly #patience: TimerHandle;
  /** The delivery in progress. */
  #delivery: Promise<void> | null = null;

  constructor(socket: Socket, site: Site, map: ChannelMap) {
    super(socket, map);
    this.#site = site;
    // The replies to a burst leave in one send already, so Nagle's algorithm would only delay them.
    this.setNoDelay();
    this.setIdleTimeout(IDLE_TIMEOUT);
    const giveUp = (): void => this.#cutOff('421 4.4.2 No message for too long');
    this.#patience = this.callLater(site.timeForMessage, giveUp);
    this.#expectCommand();
    this.#reply(`220 ${site.domain} ESMTP`);
  }

  #reply(text: string): void {
    if (!this.push(`${text}\r\n`)) this.pauseReading();
    // A 4xx reply is not the client's mistake: the client retries, with the other recipients.
    if (!text.startsWith('5')) return;
    this.#refusals += 1;
    if (this.#refusals === MOST_REFUSALS) this.#hangUp('421 4.7.0 Too many errors');
  }

  /** A delivery in progress and queued replies both pause reading. It resumes when both are over. */
  #resume(): void {
    const isTaken = this.writableLength <= this.highWaterMark;
    if (isTaken && this.#delivery === null) this.resumeReading();
  }

  override handleDrain(): void {
    this.#resume();
  }

  /** Further input is ignored. The connection closes when everything is sent. */
  #hangUp(lastReply: string): void {
    this.setTerminator(null);
    this.push(`${lastReply}\r\n`);
    this.closeWhenDone();
    // Further input must not extend the idle timeout.
    this.pauseReading();
  }

  /** A part of the last reply that the kernel does not take at once is dropped: nobody waits for it. */
  #cutOff(lastReply: string): void {
    // The client waits for the server.
    if (this.#delivery !== null) return;
    this.push(`${lastReply}\r\n`);
    this.close();
  }

  override handleTimeout(): void {
    this.#cutOff('421 4.4.2 Idle for too long');
  }

  /** A delivery in progress is acknowledged first, or the client would send the message again. */
  override async handleShutdown(): Promise<void> {
    await this.#delivery;
    this.#hangUp('421 4.3.2 Going down');
  }

  // Input.

  #expectCommand(): void {
    this.#inMessage = false;
    this.maxRecordLength = LONGEST_LINE;
    this.setTerminator(LINE_END);
  }

  #expectMessage(): void {
    this.#inMessage = true;
    this.#length = 0;
    this.maxRecordLength = Infinity;
    this.setTerminator(MESSAGE_END);
    // Starts with the line end of DATA, because the first line may be the final dot.
    this.acInBuffer = Buffer.concat([LINE_END, this.acInBuffer]);
  }

  override collectIncomingData(data: Buffer): void {
    if (this.terminator === null) return;
    if (this.#inMessage) {
      // A message that is too large is read to its end, but not stored.
      this.#length += data.length;
      if (this.#length <= this.#site.size) this._collectIncomingData(data);
      else this.incoming.length = 0;
      if (this.incoming.length === MOST_PIECES) this.incoming = [this._getData()];
    } else if (data.includes(LF) || data.includes(CR)) {
      // Refused at once: a client that ends lines with LF would wait for ever.
      this.#hangUp('500 5.5.2 A line ends with CR and LF');
    } else this._collectIncomingData(data);
  }

  /** A command is too long: the rest of it is skipped. */
  override handleOverflow(): void {
    this.incoming.length = 0;
    this.#reply('500 5.5.2 Line too long');
  }

  override foundTerminator(): Handled {
    if (this.#inMessage) return this.#foundMessage();
    const text = this._getData().toString('latin1');
    const [, word = '', argument = ''] = COMMAND.exec(text) ?? [];
    const verb = word.toUpperCase();
    if (ALONE.has(verb) && argument !== '') this.#reply(`501 5.5.4 ${verb} takes no argument`);
    else if (verb === 'QUIT') this.#hangUp('221 2.0.0 Goodbye');
    else if (NO_MAIL_CLIENT.test(verb)) this.#hangUp('554 5.7.0 This is for mail');
    else this.#reply(this.#execute(verb, argument));
  }

  #foundMessage(): Handled {
    const envelope = this.#envelope as Envelope;
    this.#envelope = null;
    this.#expectCommand();
    // The terminator includes the line end of the last line.
    this._collectIncomingData(LINE_END);
    const sent = this._getData();
    const message = this.#length > this.#site.size ? TOO_LARGE : unstuffed(sent);
    if (typeof message === 'string') this.#reply(message);
    else return this.#deliver(Buffer.concat([this.#trace(envelope), message]));
  }

  #deliver(message: Buffer): Promise<void> {
    this.pauseReading();
    const reply = this.#site.maildir.deliver(message).then(
      (name) => {
        this.#refusals = 0;
        this.#reply(`250 2.0.0 Kept as ${name}`);
      },
      (error) => {
        this.logInfo(`cannot keep a message: ${error}`, 'error');
        this.#reply('451 4.3.0 Cannot keep it now');
      },
    );
    this.#delivery = reply.finally(() => {
      this.#delivery = null;
      if (!this.connected) return;
      this.#patience.reset();
      this.#resume();
    });
    return this.#delivery;
  }

  /** The lines that the final delivery puts above a message. */
  #trace({ sender, recipients }: Envelope): Buffer {
    const { name, protocol } = this.#greeting as { name: string; protocol: string };
    // Without the zone, which is a name on this machine.
    const [host = ''] = hostOf(this.addr).split('%', 1);
    const literal = isIPv6(host) ? `IPv6:${host}` : host;
    const date = new Date().toUTCString().replace('GMT', '+0000');
    const lines = [
      `Return-Path: <${sender}>`,
      ...recipients.map((recipient) => `Delivered-To: ${recipient}`),
      `Received: from ${name} ([${literal}])`,
      `\tby ${this.#site.domain} with ${protocol}; ${date}`,
      '',
    ];
    return Buffer.from(lines.join('\n'), 'latin1');
  }

  // Commands.

  /** @returns the reply */
  #execute(verb: string, argument: string): string {
    switch (verb) {
      case 'HELO':
      case 'EHLO':
        return this.#greet(verb, argument);
      case 'MAIL':
        return this.#mail(argument);
      case 'RCPT':
        return this.#recipient(argument);
      case 'DATA':
        return this.#data();
      case 'RSET':
        this.#envelope = null;
        return '250 2.0.0 OK';
      case 'NOOP':
        return '250 2.0.0 OK';
      case 'VRFY':
        // Does not reveal which users exist.
        return argument === '' ? '501 5.5.4 VRFY name' : '252 2.1.5 Send it some mail, and see';
      case 'HELP':
        return '214 2.0.0 HELO EHLO MAIL RCPT DATA RSET NOOP VRFY HELP QUIT';
      default:
        return '500 5.5.2 Unknown command';
    }
  }

  #greet(verb: string, name: string): string {
    if (!isHost(name)) return '501 5.5.4 Your name is no domain';
    const { domain, size } = this.#site;
    this.#envelope = null;
    this.#greeting = { name, protocol: verb === 'EHLO' ? 'ESMTP' : 'SMTP' };
    if (verb === 'HELO') return `250 ${domain}`;
    const lines = [domain, `SIZE ${size}`, '8BITMIME', 'PIPELINING', 'ENHANCEDSTATUSCODES'];
    const last = lines.pop();
    return [...lines.map((line) => `250-${line}`), `250 ${last}`].join('\r\n');
  }

  #mail(argument: string): string {
    if (this.#greeting === null) return '503 5.5.1 Say EHLO first';
    if (this.#envelope !== null) return '503 5.5.1 One sender is enough';
    const { keyword, address, parameters } = toPath(argument);
    const isSender = address === '' || isMailbox(address);
    if (keyword !== 'FROM' || !isSender) return '501 5.5.4 MAIL FROM:<address>';
    for (const parameter of parameters) {
      const [, size = null] = /^SIZE=(\d{1,20})$/.exec(parameter) ?? [];
      if (size === null && !/^BODY=(7BIT|8BITMIME)$/.test(parameter)) {
        return '555 5.5.4 Unknown parameter';
      }
      if (Number(size) > this.#site.size) return TOO_LARGE;
    }
    this.#envelope = { sender: address, recipients: [] };
    return '250 2.1.0 OK';
  }

  #recipient(argument: string): string {
    if (this.#envelope === null) return '503 5.5.1 Say MAIL first';
    const { keyword, address, parameters } = toPath(argument);
    if (keyword !== 'TO' || address === '') return '501 5.5.4 RCPT TO:<address>';
    if (parameters.length > 0) return '555 5.5.4 Unknown parameter';
    if (!isLocal(address, this.#site.domain)) return '550 5.7.1 Not for this domain';
    if (!isMailbox(address)) return '501 5.5.4 RCPT TO:<address>';
    const { recipients } = this.#envelope;
    if (recipients.length === MOST_RECIPIENTS) return '452 4.5.3 Too many recipients';
    recipients.push(address);
    return '250 2.1.5 OK';
  }

  #data(): string {
    if (this.#envelope === null) return '503 5.5.1 Say MAIL first';
    if (this.#envelope.recipients.length === 0) return '554 5.5.1 Nobody to send it to';
    this.#expectMessage();
    return '354 End it with a dot on a line of its own';
  }
}

/** Commands that RFC 5321, 4.1.1, lets have no argument. */
const ALONE: ReadonlySet<string> = new Set(['DATA', 'QUIT', 'RSET']);

const TOO_LARGE = '552 5.3.4 Message too large';

/** A domain, or an address as `[192.0.2.1]` or `[IPv6:2001:db8::1]`: without a zone. */
function isHost(name: string): boolean {
  const [, literal] = /^\[(.*)\]$/.exec(name) ?? [];
  if (literal === undefined) return name.length <= LONGEST_DOMAIN && DOMAIN.test(name);
  const address = literal.replace(/^IPv6:/i, '');
  return isIP(address) === (address === literal ? 4 : 6) && !address.includes('%');
}

function isMailbox(address: string): boolean {
  const [whole, host] = MAILBOX.exec(address) ?? [];
  return whole !== undefined && (host === undefined || isHost(host));
}

/** The keyword is empty for an invalid path. A route, `@relay,@relay:`, is obsolete and ignored. */
function toPath(argument: string): { keyword: string; address: string; parameters: string[] } {
  const [, keyword = '', path = '', parameters = ''] = PATH.exec(argument) ?? [];
  const [route = '', relays] = /^@([^:]*):/.exec(path) ?? [];
  const isRoute = relays === undefined || relays.split(',@').every(isHost);
  const isValid = isRoute && path.length + '<>'.length <= LONGEST_PATH;
  return {
    keyword: isValid ? keyword.toUpperCase() : '',
    address: path.slice(route.length),
    parameters: parameters.toUpperCase().split(/ +/).slice(1),
  };
}

/**
 * The original message, with LF; or the reply to a message that is refused.
 * @param sent begins with the line end of DATA
 */
function unstuffed(sent: Buffer): Buffer | string {
  const message = Buffer.allocUnsafe(sent.length);
  let length = 0;
  let lineStart = 0;
  for (let at = 0; at < sent.length; at += 1) {
    const byte = sent[at] as number;
    message[length] = byte;
    length += 1;
    if (byte === LF) return '550 5.5.2 A line ends with CR and LF';
    if (byte !== CR) continue;
    at += 1;
    if (sent[at] !== LF) return '550 5.5.2 A line ends with CR and LF';
    if (length - lineStart > LONGEST_LINE + 1) return '550 5.5.2 Line too long';
    message[length - 1] = LF;
    lineStart = length;
    if (sent[at + 1] === DOT) at += 1;
  }
  return message.subarray(1, length);
}

/** Every domain must have a postmaster, who may be addressed without a domain. */
function isLocal(address: string, domain: string): boolean {
  const at = address.lastIndexOf('@');
  if (at <= 0) return address.toLowerCase() === 'postmaster';
  return address.slice(at + 1).toLowerCase() === domain.toLowerCase();
}

export interface SmtpOptions {
  readonly maildir: Maildir;
  /** The domain that mail is accepted for: this server does not relay. */
  readonly domain: string;
  /** The largest message, in bytes as sent. */
  readonly size: number;
  /**
   * In ms, from the beginning of a session or its last message, whatever its client says. Default: an hour.
   */
  readonly timeForMessage?: number;
}

/** What the sessions of a server share. */
type Site = Required<SmtpOptions>;

export function smtpServer(
  address: Address,
  options: SmtpOptions,
  map: ChannelMap = socketMap,
): Dispatcher {
  const site: Site = { timeForMessage: TIME_FOR_MESSAGE, ...options };
  return listen(address, (socket) => new SmtpSession(socket, site, map), {
    map,
    maxConnections: MOST_CONNECTIONS,
    maxConnectionsPerAddress: MOST_CONNECTIONS_FROM_ONE,
  });
}

function domainOf(name: string): string {
  if (isHost(name)) return name;
  const message = `--domain takes a domain name: ${name}`;
  throw Object.assign(new Error(message), { code: 'ERR_INVALID_ARG_VALUE' });
}

if (require.main === module) {
  run({
    name: 'smtp-server',
    about: 'Receives mail for a domain, and stores it in a Maildir.',
    options: {
      ...listenOptions(2525),
      domain: { default: 'localhost', argument: 'NAME', help: 'the domain to accept mail for' },
      maildir: { default: 'Maildir', argument: 'PATH', help: 'where mail is stored' },
      // SIZE 0 would say that there is no limit (RFC 1870).
      size: { default: 10 * 1024 * 1024, least: 1, argument: 'BYTES', help: 'the largest message' },
    },
    start: ({ host, port, domain, maildir, size }) => {
      const options = { domain: domainOf(domain), maildir: new Maildir(maildir), size };
      return smtpServer({ host, port }, options);
    },
  });
}
