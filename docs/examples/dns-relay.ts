// A DNS relay: asks a resolver on behalf of its clients, and caches the answers for a while.
//
// It shows UDP dispatchers. All clients are served on one socket, and each pending question is a channel
// of its own. A socket costs little, and gives a question a timeout, a single peer that it accepts
// datagrams from, and a random port. To forge an answer, an attacker has to guess the port as well as the
// id, which is also random and never the client's (RFC 5452). A client that asks a pending question waits
// for the same answer.
//
// A query is answered from the address that it was sent to, also when the relay is bound to all addresses:
// control data names that address (IP_PKTINFO). With EDNS, an answer has up to 1232 bytes. The resolver or
// this relay truncates a longer answer. The client then asks over TCP, which proxy.ts forwards unchanged.

import { randomInt } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import {
  type Address,
  AF_INET6,
  type ChannelMap,
  type Clock,
  CMSG_SPACE,
  type ControlMessage,
  Dispatcher,
  type Handled,
  type InternetAddress,
  IP_PKTINFO,
  IPPROTO_IP,
  IPPROTO_IPV6,
  IPV6_PKTINFO,
  IPV6_RECVPKTINFO,
  SOCK_DGRAM,
  Socket,
  SocketError,
  socketMap,
} from 'asyncore';
import { tcpProxy } from './proxy';
import {
  AUTHENTIC_DATA,
  AUTHORITATIVE,
  BAD_VERSION,
  build,
  CHECKING_DISABLED,
  CODE,
  codeOf,
  type Edns,
  FORMAT_ERROR,
  HEADER_SIZE,
  type Message,
  NO_RECORDS,
  NOT_IMPLEMENTED,
  OPCODE,
  parse,
  RECURSION_AVAILABLE,
  RECURSION_DESIRED,
  RESPONSE,
  type Records,
  SERVER_FAILURE,
  TRUNCATED,
  textOf,
} from './support/dns';
import { familyOf, listenOptions, run } from './support/program';

/** More than a client sends, and more than the relay asks a resolver for. */
const LARGEST_DATAGRAM = 4096;
/** Passes through all networks unfragmented, in all likelihood. */
const LARGEST_ANSWER = 1232;
/** What a client without EDNS takes. */
const SMALLEST_LIMIT = 512;
/** Bounds the length of a tick, for the sake of the other channels. */
const DATAGRAMS_PER_EVENT = 64;
const MOST_QUESTIONS = 500;
/** How many clients may wait for one answer. */
const MOST_CLIENTS = 100;
/** How many times a question is sent. */
const TRIES = 2;
/** So many wrong answers to one question are attempts to forge one. */
const MOST_WRONG_ANSWERS = 100;
const MOST_REMEMBERED = 10_000;
/** Over TCP, in ms. A byte now and then keeps a connection from being idle, but lengthens no life. */
const TCP_LIMITS = {
  idle: 10_000,
  life: 150_000,
  maxConnections: 200,
  maxConnectionsPerAddress: 50,
};

/** The flags by which a client says what answer it wants. */
const WISHES = RECURSION_DESIRED | AUTHENTIC_DATA | CHECKING_DISABLED;
/** The flags that a response repeats from its query. */
const REPEATED = RECURSION_DESIRED | CHECKING_DISABLED;

/** The size of the larger of the two structs with a datagram's address. */
const IN6_PKTINFO = 20;
/** fe80::/10 */
const LINK_LOCAL = 0xfe80;

// ---------------------------------------------------------------------------------------------
// The cache.

/** The flags and the records of a response, without what differs between clients. */
interface Answer {
  readonly flags: number;
  readonly records: Records;
}

interface Remembered extends Answer {
  readonly life: number;
  /** By the clock of the map. */
  readonly since: number;
}

/** Answers by question, the oldest first. */
class Cache {
  readonly #answers = new Map<string, Remembered>();

  constructor(readonly clock: Clock) {}

  put(key: string, { flags, records, life }: Message): void {
    if (life === 0) return;
    // A copy, so that the whole datagram is not kept in memory.
    const bytes = Buffer.from(records.bytes);
    this.#answers.delete(key);
    this.#answers.set(key, {
      flags: flags & ~AUTHORITATIVE,
      records: { ...records, bytes },
      life,
      since: this.clock.now(),
    });
    if (this.#answers.size <= MOST_REMEMBERED) return;
    for (const oldest of this.#answers.keys()) {
      this.#answers.delete(oldest);
      return;
    }
  }

  /** The answer, with the times to live that remain. */
  get(key: string): Answer | null {
    const found = this.#answers.get(key);
    if (found === undefined) return null;
    const age = Math.floor((this.clock.now() - found.since) / 1000);
    if (age >= found.life) {
      this.#answers.delete(key);
      return null;
    }
    const bytes = Buffer.from(found.records.bytes);
    for (const at of found.records.lives) bytes.writeUInt32BE(bytes.readUInt32BE(at) - age, at);
    return { flags: found.flags, records: { ...found.records, bytes } };
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

/** A query, and where to answer it. */
interface Client {
  readonly address: Address;
  /** Control data by which the answer leaves from the address that was asked. */
  readonly from: readonly ControlMessage[];
  readonly id: number;
  readonly flags: number;
  /** As the client wrote it. */
  readonly question: Buffer | null;
  readonly edns: Edns | null;
}

/** A pending question. */
class Question extends UdpDispatcher {
  readonly clients: Client[] = [];
  #udp: Socket | null = null;
  readonly #id = randomInt(65536);
  readonly #question: Buffer;
  readonly #flags: number;
  #edns: Edns | null;
  #triesLeft = TRIES;
  #wrongAnswers = 0;

  constructor(
    readonly relay: DnsRelay,
    readonly key: string,
    question: Buffer,
    { flags, edns }: Client,
  ) {
    super(null, relay.map);
    this.#question = question;
    this.#flags = flags & WISHES;
    this.#edns = ownEdns(edns);
  }

  start(): void {
    const { resolver } = this.relay;
    try {
      this.#udp = Socket.socket(familyOf(resolver.host), SOCK_DGRAM);
      this.setSocket(this.#udp);
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
    // Not an idle timeout, which wrong answers would extend.
    this.setDeadline(this.relay.timeout);
    this.send(build(this.#id, this.#flags, this.#question, NO_RECORDS, this.#edns));
  }

  override handleTimeout(): void {
    if (this.#triesLeft > 0) this.#ask();
    else this.handleClose();
  }

  override handleRead(): void {
    // Not `this.recv`, for which an empty datagram would be the end of a stream.
    const datagram = this.#udp?.recv(LARGEST_DATAGRAM) ?? null;
    if (datagram === null) return;
    const answer = parse(datagram);
    if (answer === null || !this.#isAnswer(answer)) this.#ignore();
    else if (this.#edns !== null && answer.edns === null && isRefusal(answer))
      this.#askWithoutEdns();
    else {
      this.close();
      this.relay.answer(this, answer);
    }
  }

  /** A response without a question can only report an error. */
  #isAnswer({ id, flags, question, edns }: Message): boolean {
    if (id !== this.#id || (flags & (RESPONSE | OPCODE)) !== RESPONSE) return false;
    if (question === null) return codeOf({ flags, edns }) !== 0;
    return textOf(question) === textOf(this.#question);
  }

  /** The answer may still arrive. Against somebody who tries all ids, TCP is safe. */
  #ignore(): void {
    this.#wrongAnswers += 1;
    if (this.#wrongAnswers < MOST_WRONG_ANSWERS) return;
    this.close();
    this.relay.sendToTcp(this.clients);
  }

  /** A resolver that has never heard of EDNS (RFC 6891, section 6.2.2). */
  #askWithoutEdns(): void {
    this.#edns = null;
    this.#triesLeft += 1;
    this.#ask();
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

function isRefusal({ flags }: Message): boolean {
  return (flags & CODE) === FORMAT_ERROR || (flags & CODE) === NOT_IMPLEMENTED;
}

/** What the relay says of itself, with the same wish for signatures. */
function ownEdns(edns: Edns | null, code = 0): Edns {
  return { size: LARGEST_ANSWER, code, version: 0, dnssecOk: edns?.dnssecOk ?? false };
}

export class DnsRelay extends UdpDispatcher {
  readonly #udp: Socket;
  readonly #cache = new Cache(this.map.clock);
  readonly #questions = new Map<string, Question>();

  /** @param timeout after which a question is sent again, and finally given up, in ms */
  constructor(
    address: InternetAddress,
    readonly resolver: InternetAddress,
    readonly timeout: number,
    map: ChannelMap = socketMap,
  ) {
    super(null, map);
    const family = familyOf(address.host);
    this.#udp = Socket.socket(family, SOCK_DGRAM);
    this.setSocket(this.#udp);
    if (family === AF_INET6) this.setSockOpt(IPPROTO_IPV6, IPV6_RECVPKTINFO, true);
    else this.setSockOpt(IPPROTO_IP, IP_PKTINFO, true);
    const tcp = tcpProxy(address, resolver, TCP_LIMITS, map);
    // The same port as TCP, if the kernel chose it: hardly any UDP port is taken.
    this.bind(tcp.address() ?? address);
  }

  override handleRead(): void {
    for (let left = DATAGRAMS_PER_EVENT; left > 0; left -= 1) {
      const received = this.#udp.recvMsg(LARGEST_DATAGRAM, CMSG_SPACE(IN6_PKTINFO));
      if (received === null) return;
      const { data, address, control } = received;
      if (data.length >= HEADER_SIZE && address !== null) {
        this.#serve(data, address, control.flatMap(sourceOf));
      }
    }
  }

  #serve(query: Buffer, address: Address, from: ControlMessage[]): void {
    const [id, flags] = [query.readUInt16BE(0), query.readUInt16BE(2)];
    // Answering an answer might go on for ever.
    if ((flags & RESPONSE) !== 0) return;
    const message = (flags & OPCODE) === 0 ? parse(query) : null;
    const edns = message?.edns ?? null;
    // A copy, so that the waiting client does not keep the whole datagram in memory.
    const question = message?.question ? Buffer.from(message.question) : null;
    const client: Client = { address, from, id, flags, question, edns };
    if ((flags & OPCODE) !== 0) this.refuse([client], NOT_IMPLEMENTED);
    else if (edns !== null && edns.version > 0) this.refuse([client], BAD_VERSION);
    else if (question === null) this.refuse([client], FORMAT_ERROR);
    else this.#answerOrAsk(client, question);
  }

  #answerOrAsk(client: Client, question: Buffer): void {
    const dnssecOk = client.edns?.dnssecOk ?? false;
    const key = `${client.flags & WISHES} ${dnssecOk} ${textOf(question)}`;
    const answer = this.#cache.get(key);
    if (answer === null) this.#ask(key, question, client);
    else this.#reply(answer, client);
  }

  #ask(key: string, question: Buffer, client: Client): void {
    const before = this.#questions.get(key);
    if (before !== undefined) {
      const isWaiting = before.clients.some((other) => isSame(client, other));
      if (!isWaiting && before.clients.length < MOST_CLIENTS) before.clients.push(client);
      return;
    }
    if (this.#questions.size >= MOST_QUESTIONS) {
      this.refuse([client], SERVER_FAILURE);
      return;
    }
    const pending = new Question(this, key, question, client);
    pending.clients.push(client);
    this.#questions.set(key, pending);
    pending.start();
  }

  forget(question: Question): void {
    if (this.#questions.get(question.key) === question) this.#questions.delete(question.key);
  }

  answer({ key, clients }: Question, answer: Message): void {
    // What the upper bits of a code say concerns this relay, and none of its clients.
    if (codeOf(answer) > CODE) {
      this.refuse(clients, SERVER_FAILURE);
      return;
    }
    this.#cache.put(key, answer);
    const records = answer.question === null ? NO_RECORDS : answer.records;
    for (const client of clients) this.#reply({ flags: answer.flags, records }, client);
  }

  refuse(clients: readonly Client[], code: number): void {
    for (const client of clients) {
      const flags = RESPONSE | (client.flags & OPCODE) | RECURSION_AVAILABLE | (code & CODE);
      this.#reply({ flags, records: NO_RECORDS }, client, code & ~CODE);
    }
  }

  /** Has the clients ask again over TCP. */
  sendToTcp(clients: readonly Client[]): void {
    const flags = RESPONSE | RECURSION_AVAILABLE | TRUNCATED;
    for (const client of clients) this.#reply({ flags, records: NO_RECORDS }, client);
  }

  /** Repeats the client's spelling of the name, which other names in the answer point to. */
  #reply(answer: Answer, client: Client, upperCode = 0): void {
    const { id, question } = client;
    const edns = client.edns === null ? null : ownEdns(client.edns, upperCode);
    const flags = (answer.flags & ~REPEATED) | (client.flags & REPEATED);
    const limit = Math.min(Math.max(client.edns?.size ?? 0, SMALLEST_LIMIT), LARGEST_ANSWER);
    const whole = build(id, flags, question, answer.records, edns);
    if (whole.length <= limit) this.#send(whole, client);
    else this.#send(build(id, flags | TRUNCATED, question, NO_RECORDS, edns), client);
  }

  #send(datagram: Buffer, { address, from }: Client): void {
    // A broadcast or multicast address is no source. The kernel then chooses one.
    for (const control of from.length > 0 ? [from, []] : [from]) {
      try {
        this.#udp.sendMsg([datagram], control, 0, address);
        return;
      } catch {
        // This client cannot be reached (port 0, a firewall). The other clients must not suffer for it.
      }
    }
  }
}

/** Whether a query is one that its client has sent once more: it gets one answer. */
function isSame(one: Client, other: Client): boolean {
  return one.id === other.id && isDeepStrictEqual(one.address, other.address);
}

/**
 * The control data that sends a datagram from where another one arrived: struct in_pktinfo and in6_pktinfo
 * name the address and the interface. The interface is left to the routing table, but for an address that
 * is one of this interface only.
 */
function sourceOf({ level, type, data }: ControlMessage<Buffer>): ControlMessage[] {
  if (level === IPPROTO_IP && type === IP_PKTINFO) data.writeUInt32LE(0, 0);
  else if (level !== IPPROTO_IPV6 || type !== IPV6_PKTINFO) return [];
  else if ((data.readUInt16BE(0) & 0xffc0) !== LINK_LOCAL) data.writeUInt32LE(0, 16);
  return [{ level, type, data }];
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
    start: ({ host, port, to, timeout }) => new DnsRelay({ host, port }, to, timeout),
  });
}
