// Chat rooms for `nc` and telnet; and with `--redis`, the same rooms in several processes or machines.
//
// A line is a record; its terminator is '\n'. A message goes to every other member of the sender's room.
// A slow reader must not delay the others, nor fill the memory: `highWaterMark` bounds the output queued
// for a member, and a member who falls further behind is disconnected.
//
// Processes exchange messages through Redis, and each delivers them to its own members. A message is
// published to the subscribers, and written to a log, from which a process that was cut off can catch up.
// A message that was under way when a connection broke may have arrived or not, so it is published again.
// A process also receives its own messages, and reads messages from the log that it has seen before. All
// of this is harmless, because no message is delivered twice: each process numbers its messages, and a
// process that has delivered number seven drops all numbers up to seven. While Redis is away, members of
// the same process get a message at once, and members elsewhere when Redis is back.

import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { inspect } from 'node:util';
import {
  type Address,
  AsyncChat,
  type ChannelMap,
  Dispatcher,
  type InternetAddress,
  type Socket,
  SocketError,
  socketMap,
} from 'asyncore';
import { familyOf, listenOptions, run } from './support/program';
import { encode, type Reply, ReplyChat, ReplyError, type Request } from './support/resp';

const MOST_MEMBERS = 2048;
/** Output queued for one member, in bytes. */
const MOST_WAITING = 256 * 1024;
/** In bytes. */
const LONGEST_LINE = 4096;
/** How many lines a room keeps, for newcomers. */
const HISTORY = 20;
/** Members create rooms at will, so beyond this number empty rooms are removed. */
const MOST_ROOMS = 1000;

const FIRST_ROOM = 'lobby';
/** The name of a member or a room. */
const NAME = /^[\p{L}\p{N}_-]{1,20}$/u;
const COMMAND = /^\/(\w+)\s*(.*)$/;
/** The '\r' that telnet puts before '\n', and whatever would control another member's terminal. */
const CONTROL = /\p{Cc}/gu;

const HELP = [
  '/join ROOM   moves to another room',
  '/rooms       lists the rooms',
  '/who         lists the members of this room on this server',
  '/nick NAME   changes your name',
  '/me TEXT     shows what you are doing',
  '/quit        leaves',
].join('\r\n');

// ---------------------------------------------------------------------------------------------
// Messages.

/** `ann: hello`, `* ann waves`, `* ann has left`. The last kind is not in the history. */
type Kind = 'says' | 'does' | 'moves';

interface Message {
  /** The run of a process that the message comes from. */
  readonly origin: string;
  /** Starts at 1 for each origin. */
  readonly count: number;
  /** The name of that process. */
  readonly process: string;
  readonly room: string;
  readonly nickname: string;
  readonly kind: Kind;
  readonly text: string;
}

/** @returns null for invalid text: reading the log again would not help, as the text is there too */
function parse(text: string): Message | null {
  try {
    const message = JSON.parse(text);
    const { origin, count, process, room, nickname, kind, text: said } = message;
    const texts = [origin, process, room, nickname, kind, said];
    return Number.isSafeInteger(count) && texts.every((one) => typeof one === 'string')
      ? message
      : null;
  } catch {
    return null;
  }
}

// ---------------------------------------------------------------------------------------------
// Members and their rooms.

interface Room {
  readonly members: Set<Member>;
  /** The latest lines. */
  readonly history: string[];
}

export class Member extends AsyncChat {
  override highWaterMark = MOST_WAITING;
  override maxRecordLength = LONGEST_LINE;
  /** Empty until the member has given it; so is the room. */
  nickname = '';
  room = '';
  readonly #server: ChatServer;
  /** Not an idle timeout, which a series of bad names would extend for ever. */
  readonly #patience: NodeJS.Timeout;

  constructor(socket: Socket, server: ChatServer) {
    super(socket, server.map);
    this.#server = server;
    this.setTerminator('\n');
    this.#patience = setTimeout(() => this.close(), server.timeForName);
    this.hear('Welcome. What is your name?');
  }

  override collectIncomingData(data: Buffer): void {
    // A member who is leaving is ignored.
    if (this.terminator !== null) this._collectIncomingData(data);
  }

  override foundTerminator(): void {
    const line = this._getData().toString('utf8').replace(CONTROL, '');
    const [, command, argument = ''] = COMMAND.exec(line) ?? [];
    if (this.nickname === '') this.#introduce(line);
    else if (command !== undefined) this.#obey(command, argument);
    else if (line !== '') this.#server.say(this, 'says', line);
  }

  override handleOverflow(): void {
    this.incoming.length = 0;
    this.#leave('That line is too long.');
  }

  #introduce(name: string): void {
    if (!this.#mayTake(name)) return;
    clearTimeout(this.#patience);
    this.#rename(name);
    this.#server.enter(this, FIRST_ROOM, `Hello, ${name}. /help tells what you can do.`);
  }

  #mayTake(name: string): boolean {
    if (NAME.test(name) && !this.#server.names.has(name)) return true;
    this.hear('Another name, please: up to 20 letters and digits, and not in use.');
    return false;
  }

  #rename(name: string): void {
    this.#server.names.delete(this.nickname);
    if (name !== '') this.#server.names.add(name);
    this.nickname = name;
  }

  #obey(command: string, argument: string): void {
    if (command === 'quit') this.#leave('Goodbye.');
    else if (command === 'who') this.hear(`* here: ${this.#server.namesIn(this.room).join(', ')}`);
    else if (command === 'rooms') this.hear(`* rooms: ${this.#server.rooms().join(', ')}`);
    else if (command === 'me' && argument !== '') this.#server.say(this, 'does', argument);
    else if (command === 'join' && NAME.test(argument)) {
      this.#server.leave(this);
      this.#server.enter(this, argument);
    } else if (command === 'nick') {
      if (!this.#mayTake(argument)) return;
      this.#server.say(this, 'moves', `is called ${argument} now`);
      // That message may have disconnected a member, and the news of it this one.
      if (!this.connected) return;
      this.#rename(argument);
      this.hear(`* you are called ${argument} now`);
    } else this.hear(HELP);
  }

  /** Disconnects a member who does not read, so that nobody else has to wait. */
  hear(line: string): void {
    if (!this.push(`${line}\r\n`)) this.close();
  }

  #leave(lastLine: string): void {
    this.#server.leave(this);
    this.setTerminator(null);
    this.push(`${lastLine}\r\n`);
    this.closeWhenDone();
  }

  /** Called however the connection ends. */
  override close(): void {
    super.close();
    clearTimeout(this.#patience);
    this.#server.leave(this);
    this.#rename('');
  }
}

export class ChatServer extends Dispatcher {
  /** How long a new member may take to give a name, in ms. */
  timeForName = 60_000;
  /** Names of the members in this process. A member of another process is called ann@process. */
  readonly names = new Set<string>();
  readonly #rooms = new Map<string, Room>();
  readonly #origin = randomUUID();
  #process = '';
  #count = 0;
  /** The latest count of each origin. Each start of a process adds some 100 bytes, for ever. */
  readonly #counts = new Map<string, number>();
  /** Messages to deliver, to all members but the speaker. */
  readonly #due: [Message, Member | null][] = [];
  #redis: RedisLink | null = null;

  constructor(address: Address, family: number, map: ChannelMap = socketMap) {
    super(null, map);
    this.createSocket(family);
    this.setReuseAddr();
    this.bind(address);
    this.listen(128, { maxConnections: MOST_MEMBERS });
  }

  /** Shares the rooms with every process at the same Redis. @param name what they call this process */
  share(redis: InternetAddress, name: string): void {
    this.#process = name;
    this.#redis = new RedisLink(redis, this, (text) => {
      const message = parse(text);
      if (message !== null) this.#deliver(message);
    });
  }

  override handleAccepted(socket: Socket): void {
    new Member(socket, this);
  }

  override close(): void {
    super.close();
    this.#redis?.close();
  }

  rooms(): string[] {
    return [...this.#rooms.keys()];
  }

  namesIn(room: string): string[] {
    return [...(this.#rooms.get(room)?.members ?? [])].map((member) => member.nickname);
  }

  /** @param greetings sent to the member first */
  enter(member: Member, name: string, ...greetings: string[]): void {
    const { members, history } = this.#room(name);
    member.room = name;
    members.add(member);
    this.say(member, 'moves', 'has joined');
    member.hear([...greetings, ...history, `* you are in ${name}`].join('\r\n'));
  }

  leave(member: Member): void {
    if (this.#rooms.get(member.room)?.members.delete(member)) this.say(member, 'moves', 'has left');
  }

  /** Tells every other member of the speaker's room. */
  say(speaker: Member, kind: Kind, text: string): void {
    const { nickname, room } = speaker;
    this.#count += 1;
    const whence = { origin: this.#origin, count: this.#count, process: this.#process };
    const message: Message = { ...whence, room, nickname, kind, text };
    // In this order: delivery may disconnect a member, and that is the next message.
    this.#redis?.publish(JSON.stringify(message));
    this.#deliver(message, speaker);
  }

  /** Delivers a message, unless it has been delivered before. */
  #deliver(message: Message, speaker: Member | null = null): void {
    const { origin, count } = message;
    if (count <= (this.#counts.get(origin) ?? 0)) return;
    this.#counts.set(origin, count);
    this.#due.push([message, speaker]);
    // Re-entrant call, for the news that a member was disconnected: the outer call picks it up.
    if (this.#due.length > 1) return;
    try {
      for (const due of this.#due) this.#handOut(...due);
    } finally {
      this.#due.length = 0;
    }
  }

  #handOut({ origin, process, room, nickname, kind, text }: Message, speaker: Member | null): void {
    const { members, history } = this.#room(room);
    const name = origin === this.#origin ? nickname : `${nickname}@${process}`;
    const line = kind === 'says' ? `${name}: ${text}` : `* ${name} ${text}`;
    if (kind !== 'moves') history.push(line);
    if (history.length > HISTORY) history.shift();
    // A copy, because a member who is disconnected leaves the set.
    for (const member of [...members]) if (member !== speaker) member.hear(line);
  }

  #room(name: string): Room {
    const found = this.#rooms.get(name);
    if (found !== undefined) return found;
    if (this.#rooms.size >= MOST_ROOMS) this.#forgetRoom();
    const room: Room = { members: new Set(), history: [] };
    this.#rooms.set(name, room);
    return room;
  }

  /** Removes the oldest empty room. If no room is empty, the number of members bounds the rooms. */
  #forgetRoom(): void {
    for (const [name, { members }] of this.#rooms) {
      if (members.size === 0) {
        this.#rooms.delete(name);
        return;
      }
    }
  }
}

// ---------------------------------------------------------------------------------------------
// Redis.

const CHANNEL = 'chat-room';
/** A list of the latest messages. */
const LOG = 'chat-room:log';
const LOG_LENGTH = 1000;
/** How many messages wait for Redis. Beyond that, messages stay in this process. */
const MOST_UNCONFIRMED = 1000;
/** Between attempts to connect, in ms. */
const LEAST_DELAY = 100;
const MOST_DELAY = 10_000;
/** In ms. A silent Redis is pinged after this time, and given up after the same time again. */
const SILENCE = 10_000;

class RedisConnection extends ReplyChat {
  override encoding: BufferEncoding = 'utf8';
  #asked = false;

  constructor(
    map: ChannelMap,
    readonly found: (reply: Reply) => void,
    readonly lost: (why: string) => void,
  ) {
    super(null, map);
    this.setIdleTimeout(SILENCE);
  }

  open(address: InternetAddress, ...request: Request): void {
    try {
      this.createSocket(familyOf(address.host));
      this.connect(address);
      this.request(...request);
    } catch (error) {
      this.handleError(error);
    }
  }

  override handleConnect(): void {}

  protected override foundReply(reply: Reply): void {
    this.#asked = false;
    // Redis is LOADING, or READONLY, or wants a password: try again later.
    if (reply instanceof ReplyError) throw reply;
    this.found(reply);
  }

  override handleTimeout(): void {
    if (this.#asked) this.#end('it does not answer');
    else this.request('PING');
    this.#asked = true;
  }

  override handleError(error: unknown): void {
    const isExpected = error instanceof SocketError || error instanceof ReplyError;
    this.#end(isExpected ? error.message : inspect(error));
  }

  override handleClose(): void {
    this.#end('it has closed the connection');
  }

  #end(why: string): void {
    this.close();
    this.lost(why);
  }
}

/**
 * Two connections, because a subscribed connection can do nothing else. The order: subscribe, so that
 * no later message is missed; read the log; then process what has been published meanwhile, and publish
 * what has waited. If one connection is lost, both start again.
 */
class RedisLink {
  readonly #address: InternetAddress;
  readonly #server: Dispatcher;
  readonly #found: (message: string) => void;
  readonly #connections: RedisConnection[] = [];
  /** The connection to publish on; null: none is ready. */
  #publisher: RedisConnection | null = null;
  /** In order: a count must never be published before a lower one. */
  readonly #unconfirmed: string[] = [];
  #delay = LEAST_DELAY;
  #timer: NodeJS.Timeout | undefined;

  constructor(address: InternetAddress, server: Dispatcher, found: (message: string) => void) {
    this.#address = address;
    this.#server = server;
    this.#found = found;
    this.#subscribe();
  }

  publish(message: string): void {
    if (this.#unconfirmed.length >= MOST_UNCONFIRMED) return;
    this.#unconfirmed.push(message);
    this.#send(message);
  }

  close(): void {
    clearTimeout(this.#timer);
    for (const connection of this.#connections.splice(0)) connection.close();
    this.#publisher = null;
  }

  #open(found: (reply: Reply) => void, ...request: Request): RedisConnection {
    const connection = new RedisConnection(this.#server.map, found, (why) => {
      if (this.#connections.includes(connection)) this.#lost(why);
    });
    this.#connections.push(connection);
    connection.open(this.#address, ...request);
    return connection;
  }

  #subscribe(): void {
    const found = (reply: Reply): void => {
      const [kind, , message] = Array.isArray(reply) ? reply : [];
      if (kind === 'subscribe') this.#catchUp(subscriber);
      else if (kind === 'message' && typeof message === 'string') this.#found(message);
    };
    const subscriber = this.#open(found, 'SUBSCRIBE', CHANNEL);
  }

  #catchUp(subscriber: RedisConnection): void {
    // What is published from now on is later than the log.
    subscriber.pauseReading();
    const found = (reply: Reply): void => {
      // 'OK' is the last of the three replies to the requests of #send.
      if (reply === 'OK') this.#unconfirmed.shift();
      else if (Array.isArray(reply)) {
        for (const message of reply) this.#found(String(message));
        subscriber.resumeReading();
        this.#begin(publisher);
      }
    };
    const publisher = this.#open(found, 'LRANGE', LOG, '0', '-1');
  }

  #begin(publisher: RedisConnection): void {
    this.#server.log('Redis is there');
    this.#delay = LEAST_DELAY;
    this.#publisher = publisher;
    for (const message of this.#unconfirmed) this.#send(message);
  }

  /** To the log first: a process that subscribes in between finds the message there. */
  #send(message: string): void {
    const requests: Request[] = [
      ['RPUSH', LOG, message],
      ['PUBLISH', CHANNEL, message],
      ['LTRIM', LOG, String(-LOG_LENGTH), '-1'],
    ];
    this.#publisher?.push(requests.map((request) => encode(request, 'utf8')).join(''));
  }

  #lost(why: string): void {
    this.close();
    // Spread over time, so that not all processes reconnect at once when Redis comes back.
    const delay = Math.round(this.#delay * (0.5 + Math.random() / 2));
    this.#delay = Math.min(2 * this.#delay, MOST_DELAY);
    this.#server.log(`Redis is lost: ${why}; the next attempt is in ${delay} ms`);
    this.#timer = setTimeout(() => this.#subscribe(), delay);
  }
}

if (require.main === module) {
  run({
    name: 'chat-room',
    about: 'Chat rooms for nc and telnet, in one process or in several.',
    options: {
      ...listenOptions(8010),
      redis: {
        default: null,
        argument: 'HOST:PORT',
        help: 'shares the rooms with every process at the same Redis',
      },
      name: {
        default: `${hostname()}-${process.pid}`,
        argument: 'NAME',
        help: 'what the others call this process',
      },
    },
    start: ({ host, port, redis, name }) => {
      const server = new ChatServer({ host, port }, familyOf(host));
      if (redis !== null) server.share(redis, name);
      return server;
    },
  });
}
