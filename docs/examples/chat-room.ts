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
import {
  AsyncChat,
  type ChannelMap,
  Dispatcher,
  type Handled,
  type InternetAddress,
  type Socket,
  socketMap,
} from 'asyncore';
import { familyOf, listenOptions, run } from './support/program';
import { RedisLink } from './support/redis-link';

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
/** The name of a member or a room. No character of it is invisible. */
const NAME = /^(?:(?!\p{Default_Ignorable_Code_Point})[\p{L}\p{N}_-]){1,20}$/u;
/** The run of a process: a UUID. */
const ORIGIN = /^[\w-]{1,36}$/;
/** So many runs are remembered, the latest: more than there can be in the log. */
const MOST_ORIGINS = 10_000;
/** What another process is called. */
const PROCESS_NAME = /^[\p{L}\p{N}_.-]{1,80}$/u;
const COMMAND = /^\/(\w+)\s*(.*)$/s;
/**
 * The '\r' that telnet puts before '\n', and whatever else would control another member's terminal, begin
 * a line there, or change the direction of writing.
 */
const CONTROL = /[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}]/gu;
/** An HTTP request has more lines than that before its body, which might begin with a name. */
const MOST_BAD_NAMES = 5;

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
const KINDS: ReadonlySet<string> = new Set<Kind>(['says', 'does', 'moves']);

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

/**
 * Whoever can publish on Redis can publish anything.
 * @returns null for invalid text: reading the log again would not help, as the text is there too
 */
function parse(text: string): Message | null {
  try {
    const message = JSON.parse(text);
    const { origin, count, process, room, nickname, kind, text: said } = message;
    const texts = [origin, process, room, nickname, kind, said];
    const isMessage = Number.isSafeInteger(count) && texts.every((one) => typeof one === 'string');
    const isNamed =
      ORIGIN.test(origin) && PROCESS_NAME.test(process) && NAME.test(nickname) && NAME.test(room);
    if (!isMessage || !isNamed || !KINDS.has(kind) || said.length > LONGEST_LINE) return null;
    return { ...message, text: said.replace(CONTROL, '') };
  } catch {
    return null;
  }
}

/** @returns a name of which there is one spelling, as full-width letters become plain; null: invalid */
function toName(text: string): string | null {
  // Accents after a letter are sorted, in quadratic time.
  if (text.length > 100) return null;
  const name = text.normalize('NFKC');
  return NAME.test(name) ? name : null;
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
  #badNames = 0;

  constructor(socket: Socket, server: ChatServer) {
    super(socket, server.map);
    this.#server = server;
    this.setTerminator('\n');
    // The kernel finds out about a member whose machine is gone.
    this.setKeepAlive();
    // Not an idle timeout, which any input would extend for ever.
    this.setDeadline(server.timeForName);
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

  #introduce(text: string): void {
    const name = this.#nameFrom(text);
    if (name === null) {
      this.#badNames += 1;
      if (this.#badNames >= MOST_BAD_NAMES) this.#leave('Goodbye.');
      return;
    }
    this.setDeadline(0);
    this.#rename(name);
    this.#server.enter(this, FIRST_ROOM, `Hello, ${name}. /help tells what you can do.`);
  }

  /** @returns null, when the member has to choose another name */
  #nameFrom(text: string): string | null {
    const name = toName(text);
    const looks = name?.toLowerCase() ?? '';
    const isOwn = looks === this.nickname.toLowerCase();
    // `* you are in tea` is what the server says.
    const isTaken = looks === 'you' || (this.#server.names.has(looks) && !isOwn);
    if (name !== null && !isTaken) return name;
    this.hear('Another name, please: up to 20 letters and digits, and not in use.');
    return null;
  }

  #rename(name: string): void {
    this.#server.names.delete(this.nickname.toLowerCase());
    if (name !== '') this.#server.names.add(name.toLowerCase());
    this.nickname = name;
  }

  #obey(command: string, argument: string): void {
    if (command === 'quit') this.#leave('Goodbye.');
    else if (command === 'who') this.hear(`* here: ${this.#server.namesIn(this.room).join(', ')}`);
    else if (command === 'rooms') this.hear(`* rooms: ${this.#server.rooms().join(', ')}`);
    else if (command === 'me' && argument !== '') this.#server.say(this, 'does', argument);
    else if (command === 'join') this.#join(toName(argument));
    else if (command === 'nick') this.#renameTo(this.#nameFrom(argument));
    else this.hear(HELP);
  }

  #join(room: string | null): void {
    if (room === null) {
      this.hear(HELP);
      return;
    }
    this.#server.leave(this);
    this.#server.enter(this, room);
  }

  #renameTo(name: string | null): void {
    if (name === null) return;
    this.#server.say(this, 'moves', `is called ${name} now`);
    // That message may have disconnected a member, and the news of it this one.
    if (!this.connected) return;
    this.#rename(name);
    this.hear(`* you are called ${name} now`);
  }

  /** Disconnects a member who does not read, so that nobody else has to wait. */
  hear(line: string): void {
    if (!this.push(`${line}\r\n`)) this.close();
  }

  #leave(lastLine: string): void {
    if (!this.connected) return;
    this.setDeadline(this.#server.timeToLeave);
    this.#server.leave(this);
    this.setTerminator(null);
    this.push(`${lastLine}\r\n`);
    this.closeWhenDone();
  }

  /** The program is stopping. Everybody leaves, so nobody is told that this member has left. */
  override handleShutdown(): Handled {
    this.#server.forget(this);
    if (this.terminator !== null) this.#leave('The server is going down. Goodbye.');
    return super.handleShutdown();
  }

  /** Called however the connection ends. */
  override close(): void {
    super.close();
    this.#server.leave(this);
    this.#rename('');
  }
}

/** A class and not `listen()`, because the link to Redis ends when the listener does. */
export class ChatServer extends Dispatcher {
  /** How long a new member may take to give a name, in ms. */
  timeForName = 60_000;
  /** How long a member who leaves may take to read the rest, in ms. */
  timeToLeave = 10_000;
  /** Names of the members in this process, in lower case: Ann would be mistaken for ann. */
  readonly names = new Set<string>();
  readonly #rooms = new Map<string, Room>();
  readonly #origin = randomUUID();
  #process = '';
  #count = 0;
  /** The latest count of each origin, the latest origin last. */
  readonly #counts = new Map<string, number>();
  /** Messages to deliver, to all members but the speaker. */
  readonly #due: [Message, Member | null][] = [];
  #redis: RedisLink | null = null;

  constructor(address: InternetAddress, map: ChannelMap = socketMap) {
    super(null, map);
    this.createSocket(familyOf(address.host));
    this.setReuseAddr();
    this.bind(address);
    this.listen(undefined, { maxConnections: MOST_MEMBERS });
  }

  /**
   * Shares the rooms with every process at the same Redis.
   * @param name what they call this process, whose ann is their ann@name
   */
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
    if (this.forget(member)) this.say(member, 'moves', 'has left');
  }

  /** Takes a member out of the room, and tells nobody. @returns whether the member was in it */
  forget(member: Member): boolean {
    return this.#rooms.get(member.room)?.members.delete(member) ?? false;
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
    this.#remember(origin, count);
    this.#due.push([message, speaker]);
    // Re-entrant call, for the news that a member was disconnected: the outer call picks it up.
    if (this.#due.length > 1) return;
    try {
      for (const due of this.#due) this.#handOut(...due);
    } finally {
      this.#due.length = 0;
    }
  }

  #remember(origin: string, count: number): void {
    this.#counts.delete(origin);
    this.#counts.set(origin, count);
    if (this.#counts.size <= MOST_ORIGINS) return;
    for (const oldest of this.#counts.keys()) {
      this.#counts.delete(oldest);
      return;
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
        form: PROCESS_NAME,
        help: 'what the others call this process',
      },
    },
    start: ({ host, port, redis, name }) => {
      const server = new ChatServer({ host, port });
      if (redis !== null) server.share(redis, name);
      return server;
    },
  });
}
