// The messages of several processes, exchanged through Redis: each message reaches every process that is
// connected, and waits in a log for the processes that are not.

import { inspect } from 'node:util';
import { type ChannelMap, type Dispatcher, type InternetAddress, SocketError } from 'asyncore';
import { encode, type Reply, ReplyChat, ReplyError, type Request } from './resp';
import { refuseItself } from './self-connection';

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
  /** More than the log can be. */
  override largestReply = 64 * 1024 * 1024;
  #asked = false;

  constructor(
    map: ChannelMap,
    readonly found: (reply: Reply) => void,
    readonly lost: (why: string) => void,
  ) {
    super(null, map);
    // What is published must not make a silent Redis look alive.
    this.setIdleTimeout(SILENCE, { direction: 'input' });
  }

  open(address: InternetAddress, ...request: Request): void {
    try {
      this.connect(address);
      this.request(...request);
    } catch (error) {
      this.handleError(error);
    }
  }

  override handleConnect(): void {
    refuseItself(this);
  }

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
    const wasReset = this.closeReason === 'reset';
    this.#end(wasReset ? 'the connection was reset' : 'it has closed the connection');
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
export class RedisLink {
  readonly #address: InternetAddress;
  readonly #server: Dispatcher;
  readonly #found: (message: string) => void;
  readonly #connections: RedisConnection[] = [];
  /** The connection to publish on; null: none is ready. */
  #publisher: RedisConnection | null = null;
  /** In order: a count must never be published before a lower one. */
  readonly #unconfirmed: string[] = [];
  #delay = LEAST_DELAY;

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
    // The timer goes when the server closes.
    this.#server.callLater(delay, () => this.#subscribe());
  }
}
