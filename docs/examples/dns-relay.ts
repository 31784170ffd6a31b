// A DNS relay: asks a resolver on behalf of its clients, and caches the answers for a while.
//
// It shows UDP dispatchers. All clients are served on one socket, and each pending question is a channel
// of its own. A socket costs little, and gives a question a timeout, a single peer that it accepts
// datagrams from, and a random port. To forge an answer, an attacker has to guess the port as well as the
// id, which is also random and never the client's (RFC 5452). A client that asks a pending question waits
// for the same answer.
//
// EDNS is left out. So an answer has at most 512 bytes, and the resolver or this relay truncates a longer
// answer. The client then asks over TCP, which proxy.ts forwards unchanged. Messages are those of
// RFC 1035:
//
//   id 2 | flags 2 | number of questions 2, answers 2, authorities 2, additionals 2
//   question:  name | type 2 | class 2
//   the others: name | type 2 | class 2 | time to live 4 | length 2 | data

import { randomInt } from 'node:crypto';
import {
  type Address,
  type ChannelMap,
  Dispatcher,
  type Handled,
  type InternetAddress,
  SOCK_DGRAM,
  Socket,
  SocketError,
  socketMap,
} from 'asyncore';
import { TcpProxy } from './proxy';
import { familyOf, listenOptions, run } from './support/program';

/** More than a client without EDNS sends, and more than a resolver should send for one. */
const LARGEST_DATAGRAM = 4096;
/** What a client without EDNS takes. */
const LARGEST_ANSWER = 512;
/** Bounds the length of a tick, for the sake of the other channels. */
const DATAGRAMS_PER_EVENT = 64;
const MOST_QUESTIONS = 500;
/** How many clients may wait for one answer. */
const MOST_CLIENTS = 100;
/** How many times a question is sent. */
const TRIES = 2;
const MOST_REMEMBERED = 10_000;
/** A day, in s. */
const LONGEST_LIFE = 86_400;
/** Over TCP, in ms. */
const TCP_IDLE = 10_000;

// ---------------------------------------------------------------------------------------------
// Messages.

const HEADER_SIZE = 12;
const LONGEST_LABEL = 63;
/** Includes the lengths of its labels. */
const LONGEST_NAME = 255;

const RESPONSE = 0x8000;
const OPCODE = 0x7800;
const AUTHORITATIVE = 0x0400;
const TRUNCATED = 0x0200;
const RECURSION_DESIRED = 0x0100;
const RECURSION_AVAILABLE = 0x0080;
const AUTHENTIC_DATA = 0x0020;
const CHECKING_DISABLED = 0x0010;
const CODE = 0x000f;
/** The flags by which a client says what answer it wants. */
const WISHES = RECURSION_DESIRED | AUTHENTIC_DATA | CHECKING_DISABLED;

const FORMAT_ERROR = 1;
const SERVER_FAILURE = 2;
const NO_SUCH_NAME = 3;
const NOT_IMPLEMENTED = 4;

const SOA = 6;

/** Where the name at `at` ends. @throws {RangeError} for a truncated message or an invalid name */
function endOfName(message: Buffer, at: number): number {
  for (let next = at; next < at + LONGEST_NAME; ) {
    const length = message.readUInt8(next);
    if (length === 0) return next + 1;
    // A pointer: the rest of the name is elsewhere in the message.
    if (length >= 0xc0) return next + 2;
    if (length > LONGEST_LABEL) break;
    next += 1 + length;
  }
  throw new RangeError('A name, or a label, is too long');
}

/** The question, if there is one and its name is written out. @throws {RangeError} as above */
function questionOf(message: Buffer): Buffer | null {
  if (message.readUInt16BE(4) !== 1) return null;
  const end = endOfName(message, HEADER_SIZE);
  const question = message.subarray(HEADER_SIZE, end + 4);
  return message[end - 1] === 0 && question.length === end + 4 - HEADER_SIZE ? question : null;
}

/** Equal for all queries that may share an answer. Names are compared without regard to case. */
function keyOf(flags: number, question: Buffer): string {
  const name = question.toString('latin1', 0, question.length - 4);
  const rest = question.toString('latin1', question.length - 4);
  return `${flags & WISHES} ${name.replace(/[A-Z]+/g, (part) => part.toLowerCase())}${rest}`;
}

function message(id: number, flags: number, question: Buffer | null): Buffer {
  const header = Buffer.alloc(HEADER_SIZE);
  header.writeUInt16BE(id, 0);
  header.writeUInt16BE(flags, 2);
  if (question === null) return header;
  header.writeUInt16BE(1, 4);
  return Buffer.concat([header, question]);
}

/** The offsets of the times to live, and for how long the answer may be cached, in s. */
function livesIn(answer: Buffer): { places: number[]; life: number } {
  const code = answer.readUInt16BE(2) & CODE;
  const [answers, authorities, additionals] = [6, 8, 10].map((at) => answer.readUInt16BE(at));
  const count = Number(answers) + Number(authorities) + Number(additionals);
  const places: number[] = [];
  let life = LONGEST_LIFE;
  let negativeHasLife = false;
  let at = endOfName(answer, HEADER_SIZE) + 4;
  for (let left = count; left > 0; left -= 1) {
    at = endOfName(answer, at);
    const seconds = answer.readUInt32BE(at + 4);
    places.push(at + 4);
    // A negative time to live counts as 0 (RFC 2181).
    life = Math.min(life, seconds > 0x7fff_ffff ? 0 : seconds);
    negativeHasLife ||= answer.readUInt16BE(at) === SOA;
    at += 10 + answer.readUInt16BE(at + 8);
  }
  if (at > answer.length) throw new RangeError('The last record is not complete');
  const positive = code === 0 && answers !== 0;
  const negative = (code === 0 || code === NO_SUCH_NAME) && negativeHasLife;
  const whole = (answer.readUInt16BE(2) & TRUNCATED) === 0;
  return { places, life: whole && (positive || negative) ? life : 0 };
}

// ---------------------------------------------------------------------------------------------
// The cache.

interface Remembered {
  readonly answer: Buffer;
  readonly places: number[];
  readonly life: number;
  /** By performance.now(). */
  readonly since: number;
}

/** Answers by question, the oldest first. */
class Cache {
  readonly #answers = new Map<string, Remembered>();

  put(key: string, answer: Buffer): void {
    const { places, life } = livesIn(answer);
    if (life === 0) return;
    const copy = Buffer.from(answer);
    copy.writeUInt16BE(copy.readUInt16BE(2) & ~AUTHORITATIVE, 2);
    this.#answers.delete(key);
    this.#answers.set(key, { answer: copy, places, life, since: performance.now() });
    if (this.#answers.size <= MOST_REMEMBERED) return;
    for (const oldest of this.#answers.keys()) {
      this.#answers.delete(oldest);
      return;
    }
  }

  /** The answer, with the times to live that remain. */
  get(key: string): Buffer | null {
    const found = this.#answers.get(key);
    if (found === undefined) return null;
    const age = Math.floor((performance.now() - found.since) / 1000);
    if (age >= found.life) {
      this.#answers.delete(key);
      return null;
    }
    const answer = Buffer.from(found.answer);
    for (const at of found.places) answer.writeUInt32BE(answer.readUInt32BE(at) - age, at);
    return answer;
  }
}

// ---------------------------------------------------------------------------------------------
// The channels.

/** A datagram is sent at once or never, so no output ever waits. */
abstract class UdpDispatcher extends Dispatcher {
  override writable(): boolean {
    return false;
  }

  /** The predicate's answer never changes, so it need not be called at every tick. */
  override tracksInterest(): boolean {
    return true;
  }
}

/** A client that waits for an answer, and the question as the client wrote it. */
interface Client {
  readonly address: Address;
  readonly id: number;
  readonly question: Buffer;
}

/** A pending question. */
class Question extends UdpDispatcher {
  readonly clients: Client[] = [];
  #udp: Socket | null = null;
  readonly #id = randomInt(65536);
  readonly #message: Buffer;
  #triesLeft = TRIES;

  constructor(
    readonly relay: DnsRelay,
    readonly key: string,
    flags: number,
    question: Buffer,
  ) {
    super(null, relay.map);
    this.#message = message(this.#id, flags & WISHES, question);
  }

  start(): void {
    const { resolver, timeout } = this.relay;
    try {
      this.#udp = Socket.socket(familyOf(resolver.host), SOCK_DGRAM);
      this.setSocket(this.#udp);
      this.setIdleTimeout(timeout);
      this.connect(resolver);
    } catch (error) {
      void this.handleError(error);
    }
  }

  /** Called by connect() before it returns: UDP has no handshake. */
  override handleConnect(): void {
    this.#ask();
  }

  #ask(): void {
    this.#triesLeft -= 1;
    this.send(this.#message);
  }

  override handleTimeout(): void {
    if (this.#triesLeft > 0) this.#ask();
    else this.handleClose();
  }

  override handleRead(): void {
    // Not `this.recv`, for which an empty datagram would be the end of a stream.
    const answer = this.#udp?.recv(LARGEST_DATAGRAM) ?? null;
    if (answer === null || !this.#isAnswer(answer)) return;
    this.close();
    this.relay.answer(this, answer);
  }

  /** Anything else is ignored: the answer may still arrive. */
  #isAnswer(answer: Buffer): boolean {
    try {
      const [id, flags] = [answer.readUInt16BE(0), answer.readUInt16BE(2)];
      const question = questionOf(answer);
      livesIn(answer);
      return (
        id === this.#id &&
        (flags & (RESPONSE | OPCODE)) === RESPONSE &&
        question !== null &&
        keyOf(this.#message.readUInt16BE(2), question) === this.key
      );
    } catch {
      return false;
    }
  }

  /** ECONNREFUSED means that no resolver is there. The clients get an error, and nothing is logged. */
  override handleError(error: unknown): Handled {
    return error instanceof SocketError ? this.handleClose() : super.handleError(error);
  }

  /** There will be no answer. */
  override handleClose(): void {
    this.close();
    this.relay.refuse(this.clients, SERVER_FAILURE);
  }

  override close(): void {
    super.close();
    this.relay.forget(this);
  }
}

export class DnsRelay extends UdpDispatcher {
  readonly #udp: Socket;
  readonly #cache = new Cache();
  readonly #questions = new Map<string, Question>();

  /** @param timeout after which a question is sent again, and finally given up, in ms */
  constructor(
    address: InternetAddress,
    family: number,
    readonly resolver: InternetAddress,
    readonly timeout: number,
    map: ChannelMap = socketMap,
  ) {
    super(null, map);
    this.#udp = Socket.socket(family, SOCK_DGRAM);
    this.setSocket(this.#udp);
    const tcp = new TcpProxy(address, family, resolver, { idle: TCP_IDLE }, map);
    // The same port as TCP, if the kernel chose it: hardly any UDP port is taken.
    this.bind(tcp.socket?.getSockName?.() ?? address);
  }

  override handleRead(): void {
    for (let left = DATAGRAMS_PER_EVENT; left > 0; left -= 1) {
      const received = this.#udp.recvFrom(LARGEST_DATAGRAM);
      if (received === null) return;
      if (received.data.length >= HEADER_SIZE) this.#serve(received.data, received.address);
    }
  }

  #serve(query: Buffer, address: Address): void {
    const [id, flags] = [query.readUInt16BE(0), query.readUInt16BE(2)];
    // Answering an answer might go on for ever.
    if ((flags & RESPONSE) !== 0) return;
    let question: Buffer | null = null;
    try {
      question = questionOf(query);
    } catch {
      // The query is truncated, or the name is invalid.
    }
    if (question === null || (flags & OPCODE) !== 0) {
      const code = (flags & OPCODE) !== 0 ? NOT_IMPLEMENTED : FORMAT_ERROR;
      this.#send(message(id, RESPONSE | (flags & OPCODE) | code, null), address);
      return;
    }
    // A copy, so that the waiting client does not keep the whole datagram in memory.
    const client = { address, id, question: Buffer.from(question) };
    const key = keyOf(flags, question);
    const answer = this.#cache.get(key);
    if (answer === null) this.#ask(key, flags, client);
    else this.#reply(answer, client);
  }

  #ask(key: string, flags: number, client: Client): void {
    const before = this.#questions.get(key);
    if (before !== undefined) {
      if (before.clients.length < MOST_CLIENTS) before.clients.push(client);
      return;
    }
    if (this.#questions.size >= MOST_QUESTIONS) {
      this.refuse([client], SERVER_FAILURE);
      return;
    }
    const question = new Question(this, key, flags, client.question);
    question.clients.push(client);
    this.#questions.set(key, question);
    question.start();
  }

  forget(question: Question): void {
    this.#questions.delete(question.key);
  }

  answer({ key, clients }: Question, answer: Buffer): void {
    this.#cache.put(key, answer);
    for (const client of clients) this.#reply(answer, client);
  }

  refuse(clients: readonly Client[], code: number): void {
    const flags = RESPONSE | RECURSION_DESIRED | RECURSION_AVAILABLE | code;
    for (const { id, question, address } of clients) {
      this.#send(message(id, flags, question), address);
    }
  }

  /** Restores the client's id and its spelling of the name, which other names in the answer point to. */
  #reply(answer: Buffer, { id, question, address }: Client): void {
    answer.writeUInt16BE(id, 0);
    question.copy(answer, HEADER_SIZE);
    const truncated = message(id, answer.readUInt16BE(2) | TRUNCATED, question);
    this.#send(answer.length > LARGEST_ANSWER ? truncated : answer, address);
  }

  #send(datagram: Buffer, address: Address): void {
    try {
      this.#udp.sendTo(datagram, address);
    } catch {
      // This client cannot be reached (port 0, a firewall). The other clients must not suffer for it.
    }
  }
}

if (require.main === module) {
  run({
    name: 'dns-relay',
    about: 'Answers DNS queries from a cache, or by asking a resolver.',
    options: {
      ...listenOptions(5353),
      to: { default: { host: '127.0.0.1', port: 53 }, argument: 'HOST:PORT', help: 'the resolver' },
      timeout: {
        default: 2000,
        argument: 'MS',
        least: 1,
        help: `how long to wait for it, ${TRIES} times`,
      },
    },
    start: ({ host, port, to, timeout }) =>
      new DnsRelay({ host, port }, familyOf(host), to, timeout),
  });
}
