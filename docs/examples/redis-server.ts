// A small Redis: strings, lists, sets, hashes, sorted sets, expiry, publish and subscribe, in memory.
//
// The protocol is in support/resp.ts, and the data in support/keyspace.ts. This file looks a request up
// among the commands, at its end: each has a name, a number of words, and a function from the words to the
// reply. There are no locks, and nothing waits: a command is over before the next one is parsed, from any
// client, so each is atomic, as in Redis.
//
// There are no passwords: whoever can connect can read and change everything.
//
// Commands and options that are left out get the reply for an unknown command or a syntax error. RESP3 is
// left out, so a client that asks for it (HELLO 3) must be configured not to: the `redis` package of npm by
// `createClient({ RESP: 2 })`.

import {
  type ChannelMap,
  Dispatcher,
  type InternetAddress,
  IPPROTO_TCP,
  type Socket,
  socketMap,
  TCP_KEEPCNT,
  TCP_KEEPINTVL,
} from 'asyncore';
import { Database, Hash, List, MemberSet, SortedSet } from './support/keyspace';
import { familyOf, listenOptions, run } from './support/program';
import { fromScore, toInteger, toScore } from './support/redis-numbers';
import { type Reply, ReplyError, type Request, RequestChat, SimpleString } from './support/resp';

const DATABASES = 16;
/** How often expired keys are swept, in ms. */
const SWEEP_INTERVAL = 100;
/** The longest time that a sweep goes on, in ms, while it finds many expired keys. */
const SWEEP_TIME = 25;
/** A subscriber with more bytes queued is disconnected. */
const MOST_WAITING = 32 * 1024 * 1024;
/** Further clients have to wait. */
const MOST_CLIENTS = 10_000;
/** In seconds. A silent client is probed after this time, and then three times until the time is over again. */
const SILENCE = 300;
/** The least time between two warnings, in ms. */
const WARNING_INTERVAL = 60_000;

const OK = new SimpleString('OK');
const PONG = new SimpleString('PONG');

// ---------------------------------------------------------------------------------------------
// The channels.

class RedisClient extends RequestChat {
  database: Database;
  /** The channels that the client has subscribed to. */
  readonly channels = new Set<string>();

  constructor(
    socket: Socket,
    readonly server: RedisServer,
  ) {
    super(socket, server.map);
    this.database = server.database(0);
    // The replies to a burst leave in one send already, so Nagle's algorithm would only delay them.
    this.setNoDelay();
    // A subscriber may be silent for ever, so a lost one is told from a quiet one by the kernel.
    this.setKeepAlive(true, SILENCE * 1000);
    this.setSockOpt(IPPROTO_TCP, TCP_KEEPINTVL, SILENCE / 3);
    this.setSockOpt(IPPROTO_TCP, TCP_KEEPCNT, 3);
  }

  protected override foundRequest(request: Request): void {
    try {
      const reply = this.#execute(request[0], request.slice(1));
      if (reply !== undefined) this.reply(reply);
    } catch (error) {
      if (!(error instanceof ReplyError)) throw error;
      this.reply(error);
    }
  }

  #execute(called: string, words: string[]): Reply | undefined {
    const name = called.toLowerCase();
    const command = COMMANDS.get(name);
    if (command === undefined) {
      if (!OF_HTTP.has(name)) throw unknownCommand(called, words);
      this.server.warnOfAttack(this);
      this.close();
      return undefined;
    }
    const { arity, run } = command;
    const count = words.length + 1;
    if (arity < 0 ? count < -arity : count !== arity) throw wrongNumber(name);
    if (this.channels.size > 0 && !FOR_SUBSCRIBERS.has(name)) {
      throw new ReplyError(
        `ERR Can't execute '${name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / ` +
          'PING / QUIT / RESET are allowed in this context',
      );
    }
    this.server.commandsRun += 1;
    return run(this, words as Words);
  }

  override close(): void {
    super.close();
    this.server.forget(this);
  }
}

/** A class and not `listen()`, because expired keys are swept until the listener closes. */
export class RedisServer extends Dispatcher {
  commandsRun = 0;
  readonly #clients = new Set<RedisClient>();
  readonly #subscribers = new Map<string, Set<RedisClient>>();
  readonly #databases = Array.from({ length: DATABASES }, () => new Database());
  /** When the latest warning was printed, by performance.now(). */
  #warned = -Infinity;

  constructor(address: InternetAddress, map: ChannelMap = socketMap) {
    super(null, map);
    this.createSocket(familyOf(address.host));
    this.setReuseAddr();
    this.bind(address);
    this.listen(undefined, { maxConnections: MOST_CLIENTS });
    this.callEvery(SWEEP_INTERVAL, this.#sweep);
  }

  override handleAccepted(socket: Socket): void {
    this.#clients.add(new RedisClient(socket, this));
  }

  #sweep(): void {
    const end = performance.now() + SWEEP_TIME;
    for (const database of this.#databases) {
      while (database.sweep() && performance.now() < end);
    }
  }

  forget(client: RedisClient): void {
    this.#clients.delete(client);
    for (const channel of client.channels) this.unsubscribe(client, channel);
  }

  /** A page in a browser can make the browser send as many of these requests as it likes. */
  warnOfAttack({ addr }: RedisClient): void {
    const now = performance.now();
    if (now - this.#warned < WARNING_INTERVAL) return;
    this.#warned = now;
    const whence = addr !== null && 'host' in addr ? ` from ${addr.host}` : '';
    this.log(
      `Possible SECURITY ATTACK: a client${whence} has sent POST or Host: to Redis. ` +
        'Its connection is closed.',
    );
  }

  /** @throws {ReplyError} when there is no such database */
  database(index: number): Database {
    const database = this.#databases[index];
    if (database === undefined) throw new ReplyError('ERR DB index is out of range');
    return database;
  }

  clear(): void {
    for (const database of this.#databases) database.clear();
  }

  subscribe(client: RedisClient, channel: string): void {
    const subscribers = this.#subscribers.get(channel) ?? new Set();
    this.#subscribers.set(channel, subscribers.add(client));
    client.channels.add(channel);
  }

  unsubscribe(client: RedisClient, channel: string): void {
    const subscribers = this.#subscribers.get(channel);
    subscribers?.delete(client);
    if (subscribers?.size === 0) this.#subscribers.delete(channel);
    client.channels.delete(channel);
  }

  /** @returns the number of subscribers of the channel */
  publish(channel: string, message: string): number {
    // A copy, because a subscriber that is disconnected leaves the set.
    const subscribers = [...(this.#subscribers.get(channel) ?? [])];
    for (const subscriber of subscribers) {
      subscriber.reply(['message', channel, message]);
      if (subscriber.writableLength > MOST_WAITING) subscriber.close();
    }
    return subscribers.length;
  }

  /** @param names of the sections; none: all of them */
  info(names: string[]): string {
    const keyspace = this.#databases.flatMap(({ size, expiring }, index) =>
      size === 0 ? [] : [`db${index}:keys=${size},expires=${expiring},avg_ttl=0`],
    );
    const sections = {
      Server: ['redis_version:7.0.0', 'redis_mode:standalone', `process_id:${process.pid}`],
      Clients: [`connected_clients:${this.#clients.size}`],
      Stats: [`total_commands_processed:${this.commandsRun}`],
      Keyspace: keyspace,
    };
    const asked = new Set(names.map((name) => name.toLowerCase()));
    const isAll =
      asked.size === 0 || ['all', 'default', 'everything'].some((one) => asked.has(one));
    return Object.entries(sections)
      .filter(([name]) => isAll || asked.has(name.toLowerCase()))
      .map(([name, lines]) => [`# ${name}`, ...lines, ''].join('\r\n'))
      .join('\r\n');
  }
}

// ---------------------------------------------------------------------------------------------
// Shared by the commands.

function unknownCommand(called: string, words: string[]): ReplyError {
  let beginning = '';
  for (const word of words) {
    if (beginning.length < 128) beginning += `'${word.slice(0, 128 - beginning.length)}' `;
  }
  return new ReplyError(
    `ERR unknown command '${called.slice(0, 128)}', with args beginning with: ${beginning}`,
  );
}

function wrongNumber(name: string): ReplyError {
  return new ReplyError(`ERR wrong number of arguments for '${name}' command`);
}

function syntaxError(): ReplyError {
  return new ReplyError('ERR syntax error');
}

/** A time from now, in ms. Its end must fit into 64 bits. */
function toDelay(text: string, unit: bigint, least: number, command: string): number {
  const delay = toInteger(text) * unit;
  const end = delay + BigInt(Date.now());
  if (BigInt.asIntN(64, end) === end && delay >= least) return Number(delay);
  throw new ReplyError(`ERR invalid expire time in '${command}' command`);
}

/** @throws {ReplyError} when the last word has no partner */
function toPairs(command: string, words: string[]): [string, string][] {
  if (words.length % 2 === 1) throw wrongNumber(command);
  return Array.from({ length: words.length / 2 }, (_, index) => [
    words[2 * index] as string,
    words[2 * index + 1] as string,
  ]);
}

/** `[EX seconds | PX milliseconds] [NX | XX]`, in any order, or again. The words are checked before the time. */
function toSetOptions(words: string[]): { delay: number; condition: string } {
  let [condition, unit, time] = ['', '', ''];
  const rest = words.values();
  for (const word of rest) {
    const option = word.toUpperCase();
    if ((option === 'NX' || option === 'XX') && ['', option].includes(condition))
      condition = option;
    else if ((option === 'EX' || option === 'PX') && ['', option].includes(unit)) {
      const { value } = rest.next();
      if (value === undefined) throw syntaxError();
      [unit, time] = [option, value];
    } else throw syntaxError();
  }
  const delay = unit === '' ? Infinity : toDelay(time, unit === 'EX' ? 1000n : 1n, 1, 'set');
  return { delay, condition };
}

const CONFIGURATION = { appendonly: 'no', databases: String(DATABASES), save: '' };

// ---------------------------------------------------------------------------------------------
// The commands.

/** The arity guarantees that these words are there. */
type Words = [string, string, string, ...string[]];

/** A command that returns nothing has replied already. */
type Run = (client: RedisClient, words: Words) => Reply | undefined;

const COMMANDS = new Map<string, { arity: number; run: Run }>();

/** @param arity the number of words, including the name; negative: the least number */
function command(name: string, arity: number, run: Run): void {
  COMMANDS.set(name, { arity, run });
}

/**
 * The words that begin a line of a browser's request. Without this check any web page could have the
 * browser of a visitor send commands to a Redis that only the visitor can reach (cross-protocol scripting):
 * the head of a POST would be a few unknown commands, and its body, which the page chooses, would be obeyed.
 */
const OF_HTTP: ReadonlySet<string> = new Set(['post', 'host:']);

const FOR_SUBSCRIBERS: ReadonlySet<string> = new Set(['subscribe', 'unsubscribe', 'ping', 'quit']);

// The connection.

command('ping', -1, ({ channels }, words) => {
  if (words.length > 1) throw wrongNumber('ping');
  const [word] = words as string[];
  return channels.size > 0 ? ['pong', word ?? ''] : (word ?? PONG);
});

command('echo', 2, (_, [word]) => word);

command('select', 2, (client, [index]) => {
  const at = toInteger(index);
  if (BigInt.asIntN(32, at) !== at) {
    throw new ReplyError(
      'ERR value is out of range, value must between -2147483648 and 2147483647',
    );
  }
  client.database = client.server.database(Number(at));
  return OK;
});

command('quit', -1, (client) => {
  client.reply(OK);
  client.hangUp();
  return undefined;
});

// The server.

command('info', -1, ({ server }, names) => server.info(names));

command('flushall', -1, ({ server }, [how, ...others]) => {
  // Either way everything is gone before the next command.
  if (how !== undefined && (others.length > 0 || !/^a?sync$/i.test(how))) throw syntaxError();
  server.clear();
  return OK;
});

command('config', -2, (_, [action, ...names]) => {
  if (action.toLowerCase() !== 'get') {
    throw new ReplyError(`ERR unknown subcommand '${action.slice(0, 128)}'. Try CONFIG HELP.`);
  }
  if (names.length === 0) throw wrongNumber('config|get');
  return Object.entries(CONFIGURATION).flatMap(([name, value]) => {
    const asked = names.find((one) => one === '*' || one.toLowerCase() === name);
    if (asked === undefined) return [];
    return [asked === '*' ? name : asked, value];
  });
});

// Keys.

command('del', -2, ({ database }, keys) => {
  return keys.filter((key) => database.has(key) && database.delete(key)).length;
});

command('exists', -2, ({ database }, keys) => keys.filter((key) => database.has(key)).length);

command('expire', 3, ({ database }, [key, seconds]) => {
  const delay = toDelay(seconds, 1000n, -Infinity, 'expire');
  if (!database.has(key)) return 0;
  database.expire(key, delay);
  return 1;
});

command('ttl', 2, ({ database }, [key]) => {
  if (!database.has(key)) return -2;
  const left = database.timeToLive(key);
  return left === Infinity ? -1 : Math.round(left / 1000);
});

// Strings.

command('get', 2, ({ database }, [key]) => database.getString(key));

command('set', -3, ({ database }, [key, value, ...words]) => {
  const { delay, condition } = toSetOptions(words);
  if (condition !== '' && database.has(key) !== (condition === 'XX')) return null;
  database.set(key, value);
  if (delay !== Infinity) database.expire(key, delay);
  return OK;
});

command('incr', 2, ({ database }, [key]) => {
  const next = toInteger(database.getString(key) ?? '0') + 1n;
  if (next >= 2n ** 63n) throw new ReplyError('ERR increment or decrement would overflow');
  database.update(key, String(next));
  return next;
});

command('mget', -2, ({ database }, keys) => {
  const values = keys.map((key) => database.get(key));
  return values.map((value) => (typeof value === 'string' ? value : null));
});

command('mset', -3, ({ database }, words) => {
  for (const [key, value] of toPairs('mset', words)) database.set(key, value);
  return OK;
});

// Lists.

command('lpush', -3, ({ database }, [key, ...items]) => {
  const list = database.open(key, List);
  for (const item of items) list.pushLeft(item);
  return list.size;
});

command('rpush', -3, ({ database }, [key, ...items]) => {
  const list = database.open(key, List);
  for (const item of items) list.pushRight(item);
  return list.size;
});

command('lpop', 2, ({ database }, [key]) => database.take(key, List, (list) => list.popLeft()));

command('rpop', 2, ({ database }, [key]) => database.take(key, List, (list) => list.popRight()));

command('lrange', 4, ({ database }, [key, start, stop]) => {
  const [from, to] = [Number(toInteger(start)), Number(toInteger(stop))];
  return database.find(key, List)?.range(from, to) ?? [];
});

command('ltrim', 4, ({ database }, [key, start, stop]) => {
  const [from, to] = [Number(toInteger(start)), Number(toInteger(stop))];
  database.take(key, List, (list) => list.trim(from, to));
  return OK;
});

// Sets.

command('sadd', -3, ({ database }, [key, ...members]) => {
  const set = database.open(key, MemberSet);
  return members.filter((member) => set.add(member)).length;
});

command('spop', 2, ({ database }, [key]) => database.take(key, MemberSet, (set) => set.draw()));

// Hashes.

command('hset', -4, ({ database }, [key, ...words]) => {
  const pairs = toPairs('hset', words);
  const hash = database.open(key, Hash);
  const before = hash.size;
  for (const [field, value] of pairs) hash.set(field, value);
  return hash.size - before;
});

command('hget', 3, ({ database }, [key, field]) => database.find(key, Hash)?.get(field) ?? null);

// Sorted sets.

command('zadd', -4, ({ database }, [key, ...words]) => {
  if (words.length % 2 === 1) throw syntaxError();
  const pairs = toPairs('zadd', words).map(([score, member]) => ({
    member,
    score: toScore(score),
  }));
  const set = database.open(key, SortedSet);
  return pairs.filter(({ member, score }) => set.add(member, score)).length;
});

command('zpopmin', 2, ({ database }, [key]) => {
  const least = database.take(key, SortedSet, (set) => set.popLeast());
  return least === null ? [] : [least.member, fromScore(least.score)];
});

// Publish and subscribe.

command('subscribe', -2, (client, channels) => {
  const replies = channels.map((channel) => {
    client.server.subscribe(client, channel);
    return ['subscribe', channel, client.channels.size];
  });
  client.replyAll(replies);
  return undefined;
});

command('unsubscribe', -1, (client, words) => {
  const channels = words.length > 0 ? words : [...client.channels];
  if (channels.length === 0) return ['unsubscribe', null, 0];
  const replies = channels.map((channel) => {
    client.server.unsubscribe(client, channel);
    return ['unsubscribe', channel, client.channels.size];
  });
  client.replyAll(replies);
  return undefined;
});

command('publish', 3, ({ server }, [channel, message]) => server.publish(channel, message));

if (require.main === module) {
  run({
    name: 'redis-server',
    about: 'A small Redis, which keeps everything in memory.',
    options: listenOptions(6380),
    start: ({ host, port }) => new RedisServer({ host, port }),
  });
}
