// Chat rooms for `nc` and telnet; and with `--redis`, the same rooms in several processes or machines.
//
// A line is a record, its terminator is '\n'. Everybody hears what the others say in the room that he
// is in. One slow reader must not hurt them, nor fill the memory: what a member has not taken yet is
// bounded by `highWaterMark`, and whoever lags behind further is put out.
//
// Processes tell each other what is said through Redis, and each hands it out to its own members. It is
// published to those who listen, and written to a log, where those who did not can catch up. What was
// on its way when a connection broke may have arrived or not, so it is published again. Besides, a
// process hears itself, and finds in the log what it has heard before. All that is harmless, as nothing
// is handed out twice: each process counts its messages, and who has handed out its seventh drops all
// up to the seventh. While Redis is away, the others in the same process hear a message at once, and
// those elsewhere when Redis is back.

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
/** For each of them, in bytes. */
const MOST_WAITING = 256 * 1024;
/** In bytes. */
const LONGEST_LINE = 4096;
/** How many of them a room keeps, for newcomers. */
const HISTORY = 20;
/** Members may make up rooms, so the empty ones are forgotten when there are more. */
const MOST_ROOMS = 1000;

const FIRST_ROOM = 'lobby';
/** Of a member, or a room. */
const NAME = /^[\p{L}\p{N}_-]{1,20}$/u;
const COMMAND = /^\/(\w+)\s*(.*)$/;
/** A '\r', which telnet puts before '\n'; and what would play with the terminals of the others. */
const CONTROL = /\p{Cc}/gu;

const HELP = [
  '/join ROOM   goes to another room',
  '/rooms       tells which there are',
  '/who         tells who is here, at this server',
  '/nick NAME   changes your name',
  '/me TEXT     tells what you do',
  '/quit        leaves',
].join('\r\n');

// ---------------------------------------------------------------------------------------------
// What is said.

/** `ann: hello`, `* ann waves`, `* ann has left`: a newcomer is not shown the last kind. */
type Kind = 'says' | 'does' | 'moves';

interface Message {
  /** A process, from its start to its end. */
  readonly origin: string;
  /** The first message of an origin has 1. */
  readonly count: number;
  /** As it calls itself. */
  readonly process: string;
  readonly room: string;
  readonly nickname: string;
  readonly kind: Kind;
  readonly text: string;
}

/** @returns null for what is none: it is no reason to read the log again, where it would be again */
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
// The members and their rooms.

interface Room {
  readonly members: Set<Member>;
  /** The latest lines. */
  readonly history: string[];
}

export class Member extends AsyncChat {
  override highWaterMark = MOST_WAITING;
  override maxRecordLength = LONGEST_LINE;
  /** Empty until the member has said it; as is the room. */
  nickname = '';
  room = '';
  readonly #server: ChatServer;
  /** Not an idle timeout, which one bad name after the other would put off for ever. */
  readonly #patience: NodeJS.Timeout;

  constructor(socket: Socket, server: ChatServer) {
    super(socket, server.map);
    this.#server = server;
    this.setTerminator('\n');
    this.#patience = setTimeout(() => this.close(), server.timeForName);
    this.hear('Welcome. What is your name?');
  }

  override collectIncomingData(data: Buffer): void {
    // Who is leaving is not listened to.
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
    this.hear('Another name, please: up to 20 letters and digits, and nobody else has it.');
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
      // Somebody may have been put out by that; and of that being told, this one.
      if (!this.connected) return;
      this.#rename(argument);
      this.hear(`* you are called ${argument} now`);
    } else this.hear(HELP);
  }

  /** Whoever does not listen loses the connection, and nobody else anything. */
  hear(line: string): void {
    if (!this.push(`${line}\r\n`)) this.close();
  }

  #leave(farewell: string): void {
    this.#server.leave(this);
    this.setTerminator(null);
    this.push(`${farewell}\r\n`);
    this.closeWhenDone();
  }

  /** However the connection ends: here it is over. */
  override close(): void {
    super.close();
    clearTimeout(this.#patience);
    this.#server.leave(this);
    this.#rename('');
  }
}

export class ChatServer extends Dispatcher {
  /** How long a caller may take to say his name, in ms. */
  timeForName = 60_000;
  /** Of all members, in this process. Those in another are called ann@process. */
  readonly names = new Set<string>();
  readonly #rooms = new Map<string, Room>();
  readonly #origin = randomUUID();
  #process = '';
  #count = 0;
  /** The latest message of each origin. A process that starts adds one, some 100 bytes, for ever. */
  readonly #counts = new Map<string, number>();
  /** What is to be handed out, to all but its speaker. */
  readonly #due: [Message, Member | null][] = [];
  #redis: RedisLink | null = null;

  constructor(address: Address, family: number, map: ChannelMap = socketMap) {
    super(null, map);
    this.createSocket(family);
    this.setReuseAddr();
    this.bind(address);
    this.listen(128, { maxConnections: MOST_MEMBERS });
  }

  /** From here on, with all who do so at the same Redis. @param name what they call this process */
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

  /** @param greetings what he is told before anything else */
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

  /** Tells everybody in the room of the speaker, but not himself. */
  say(speaker: Member, kind: Kind, text: string): void {
    const { nickname, room } = speaker;
    this.#count += 1;
    const whence = { origin: this.#origin, count: this.#count, process: this.#process };
    const message: Message = { ...whence, room, nickname, kind, text };
    // In this order, as somebody may be put out now, which is the next message.
    this.#redis?.publish(JSON.stringify(message));
    this.#deliver(message, speaker);
  }

  /** Hands a message out, unless that was done. */
  #deliver(message: Message, speaker: Member | null = null): void {
    const { origin, count } = message;
    if (count <= (this.#counts.get(origin) ?? 0)) return;
    this.#counts.set(origin, count);
    this.#due.push([message, speaker]);
    // Somebody is put out, and that is being told: after the message that he did not listen to.
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
    // A copy, as a member who is put out leaves.
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

  /** The oldest one without members. If there is none, the number of members bounds that of rooms. */
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
/** How many messages wait for Redis. What is said beyond that is heard in this process only. */
const MOST_UNCONFIRMED = 1000;
/** Between attempts to connect, in ms. */
const LEAST_DELAY = 100;
const MOST_DELAY = 10_000;
/** After so much silence Redis is asked whether it is there, and after so much more it is not; in ms. */
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
    // It is LOADING, or READONLY, or wants a password: try again later.
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
 * Two connections, as one that has subscribed can do nothing else. In turn: subscribe; read the log,
 * as what is published from now on is heard; then hear, and publish what has waited. If one is lost,
 * both begin again.
 */
class RedisLink {
  readonly #address: InternetAddress;
  readonly #server: Dispatcher;
  readonly #found: (message: string) => void;
  readonly #connections: RedisConnection[] = [];
  /** Where to publish; null: not now. */
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
    // What is heard from now on is later than what the log has.
    subscriber.pauseReading();
    const found = (reply: Reply): void => {
      // 'OK' is the last of the three replies to what #send sends.
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

  /** To the log first: who subscribes in between finds it there. */
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
    // Not all processes at once, when a Redis comes back that all have lost.
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
        help: 'shares the rooms with all who name the same Redis',
      },
      name: {
        default: `${hostname()}-${process.pid}`,
        argument: 'NAME',
        help: 'what they call this one',
      },
    },
    start: ({ host, port, redis, name }) => {
      const server = new ChatServer({ host, port }, familyOf(host));
      if (redis !== null) server.share(redis, name);
      return server;
    },
  });
}
