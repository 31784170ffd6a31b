// One episode: a map, a population that grows and dies, random operations on it, from outside and from
// within handlers, and what must be true after every tick:
//
// - the map, the channels, the selector's registrations as the kernel lists them, and this process's
//   descriptors agree; a channel that need not be asked would answer as it did when it was asked last;
// - what a sender was told was sent arrives in order, unless its connection ended; nothing else arrives;
// - no handler runs after close(), handleConnect and handleClose once for a connection at most, no read
//   event while reading is paused; handleError is told of what handlers threw, and of errors of sockets;
// - timers are called in time, and end with their channels (clockwork.ts).
//
// And at the end, when everybody behaves: nobody is forgotten, nothing is left open.

import {
  type Address,
  AF_INET,
  AF_INET6,
  AF_UNIX,
  ChannelMap,
  closeAll,
  ExitNow,
  type Handled,
  loop,
  loopSync,
  type Producer,
  poll,
  poll2,
  SHUT_WR,
  SO_LINGER,
  SOL_SOCKET,
  Socket,
  SocketError,
} from 'asyncore';
import { registryOf } from '../../lib/loop/channel-map';
import { Actor, Chat, Listener, Plain, Raw, Sender, type Watcher } from './actors';
import { Clockwork } from './clockwork';
import { ALWAYS, descriptors, registrations } from './kernel';
import { Random } from './random';
import { LARGEST, Stream } from './stream';

type Kind = 'Plain' | 'Sender' | 'Chat';
const KINDS: readonly Kind[] = ['Plain', 'Sender', 'Chat', 'Chat'];

const MOST_ACTORS = 40;
const JOURNAL = 80;

const WAYS = ['poll', 'poll2', 'both orders', 'loopSync', 'loop', 'loop, poll order'] as const;

/** What the library may tell handleError of, beside what handlers threw. */
const TROUBLE = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'EAGAIN',
  'ENOENT',
  'ERR_RECORD_TOO_LONG',
]);

/** struct linger { int l_onoff; int l_linger; }: close() resets the connection. */
const RESET = Buffer.from([1, 0, 0, 0, 0, 0, 0, 0]);

const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

export class World implements Watcher {
  readonly map = new ChannelMap();
  readonly way: (typeof WAYS)[number];
  readonly #random: Random;
  readonly #before = descriptors();
  #actors: Actor[] = [];
  #raws: Raw[] = [];
  readonly #sockets = new Set<Socket>();
  /** By the address of who called: the streams of those who have not been accepted yet. */
  readonly #callers = new Map<string, [fromCaller: Stream, toCaller: Stream]>();
  readonly #thrown = new Set<unknown>();
  readonly #journal: string[] = [];
  #broken: string | null = null;
  readonly #accepted = new WeakMap<Socket, [fromCaller: Stream, toCaller: Stream]>();
  #serial = 0;
  /** Promises of `flushed` that are pending. */
  #unsettled = 0;
  #depth = 0;
  #collecting = 0;
  #mischief: number;
  #settling = false;
  readonly #clockwork: Clockwork;
  /** A pass of `poll` or its like is under way. */
  #passing = false;
  operations = 0;
  ticks = 0;
  bytes = 0;

  constructor(seed: number) {
    this.#random = new Random(seed);
    this.way = this.#random.pick(WAYS);
    this.#mischief = this.#random.pick([0, 0.02, 0.1, 0.3]);
    this.#clockwork = new Clockwork(
      this.map,
      this.#random,
      (text) => this.#note(text),
      () => this.#timerCalled(),
      (what) => this.#break(what),
    );
    this.map.handleTimerError = (error) => {
      this.#note(`handleTimerError ${describe(error)}`);
      if (!this.#thrown.has(error)) this.#break(`a timer threw ${describe(error)}`);
    };
  }

  /** @returns what has gone wrong, or null */
  async run(): Promise<string | null> {
    const steps = 20 + this.#random.size(200);
    try {
      this.#listen();
      for (let step = 0; step < steps && this.#broken === null; step += 1) {
        for (let count = this.#random.below(6); count >= 0; count -= 1) this.#actOutside();
        await this.#tick();
        this.#check();
      }
      if (this.#broken === null) await this.#settle();
    } catch (error) {
      this.#break(`an exception left the world: ${describe(error)}`);
    } finally {
      this.#end();
    }
    return this.#broken;
  }

  get journal(): string {
    return this.#journal.join('\n');
  }

  #note(text: string): void {
    this.#journal.push(`${'  '.repeat(this.#depth)}${text}`);
    if (this.#journal.length > JOURNAL) this.#journal.shift();
  }

  #break(what: string): void {
    if (this.#broken !== null) return;
    this.#note(`BROKEN: ${what}`);
    this.#broken = what;
  }

  // -------------------------------------------------------------------------------------------
  // Ticks.

  async #tick(): Promise<void> {
    this.ticks += 1;
    const byPoll = this.way === 'poll2' || (this.way === 'both orders' && this.#random.chance(0.5));
    try {
      if (this.way === 'loop' || this.way === 'loop, poll order') await this.#turns();
      else this.#pass(byPoll);
    } catch (error) {
      if (!(error instanceof ExitNow)) throw error;
      this.#note('ExitNow has left the loop');
    }
    // Rejections arrive, and timers.
    if (this.#random.chance(0.2)) await nextTurn();
  }

  #pass(byPoll: boolean): void {
    const { map } = this;
    this.#passing = true;
    try {
      if (this.way === 'loopSync') loopSync({ map, timeout: 1, count: 1 });
      else (byPoll ? poll2 : poll)(this.#random.pick([0, 0, 0, 1]), map);
    } finally {
      this.#passing = false;
    }
  }

  async #turns(): Promise<void> {
    const stop = new AbortController();
    const running = loop({
      map: this.map,
      usePoll: this.way === 'loop, poll order',
      signal: stop.signal,
    }).catch((error) => error);
    for (let turns = this.#random.below(6); turns >= 0; turns -= 1) {
      await nextTurn();
      if (!this.#settling && this.#random.chance(0.3)) this.#actOutside();
      this.#check();
    }
    stop.abort();
    const error = await running;
    if (error !== undefined && error !== stop.signal.reason) throw error;
  }

  // -------------------------------------------------------------------------------------------
  // What must be true.

  #check(): void {
    const open = new Set<number>();
    for (const socket of this.#sockets) {
      if (socket.closed) this.#sockets.delete(socket);
      else open.add(socket.fileno());
    }
    const now = descriptors();
    let epoll: number | null = null;
    for (const [fd, what] of now) {
      if (this.#before.get(fd) === what) continue;
      if (what === 'anon_inode:[eventpoll]') {
        if (epoll !== null) this.#break(`two epoll instances: ${epoll} and ${fd}`);
        epoll = fd;
      } else if (what.startsWith('socket:') && !open.has(fd)) {
        this.#break(`descriptor ${fd} is open, and nobody's`);
      }
    }
    for (const fd of open) {
      if (!now.get(fd)?.startsWith('socket:'))
        this.#break(`descriptor ${fd} is somebody's, and closed`);
    }
    for (const actor of this.#actors) this.#checkActor(actor);
    this.#checkRegistrations(epoll, now);
    this.#clockwork.check();
  }

  #checkActor(actor: Actor): void {
    const { channel } = actor;
    const fd = channel.fileno();
    if (actor.open && !actor.away && !actor.yanked) {
      if (fd !== actor.socket?.fileno()) this.#break(`${actor} has fileno() ${fd}`);
      else if (fd !== null && this.map.get(fd) !== channel)
        this.#break(`${actor} is not in the map`);
    }
    if (actor.closed) {
      if (fd !== null) this.#break(`${actor} is closed, and has fileno() ${fd}`);
      if ([...this.map.values()].includes(channel)) this.#break(`${actor} is in the map`);
      if (channel.connected || channel.connecting) this.#break(`${actor} is closed`);
      if (channel.closeReason === null) this.#break(`${actor} has closed without a reason`);
    }
  }

  #checkRegistrations(epoll: number | null, now: Map<number, string>): void {
    if (epoll === null) return;
    const known = registrations(epoll);
    for (const [fd, channel] of this.map) {
      const entry = registryOf(this.map).entryOf(channel, fd);
      if (entry === undefined || !entry.live) {
        this.#break(`no entry for ${fd}`);
        continue;
      }
      const { actor } = channel as Plain;
      const registered = known.get(fd);
      known.delete(fd);
      // A channel that wants nothing is watched for what the kernel reports unasked.
      const mask = entry.mask & ~ALWAYS;
      if ((registered?.mask ?? 0) !== mask) {
        this.#break(`${actor} is registered for ${registered?.mask}, and should be for ${mask}`);
      }
      if (registered !== undefined && now.get(fd) !== `socket:[${registered.inode}]`) {
        this.#break(`${actor} is registered as inode ${registered.inode}, and is ${now.get(fd)}`);
      }
      if (entry.stale || !entry.tracked) continue;
      const reads = channel.readable() && !channel.inputEnded && !channel.readingPaused;
      const writes = channel.writable() && !channel.accepting;
      const wants = (reads ? 1 : 0) | (writes ? 2 : 0);
      if (wants !== entry.wants)
        this.#break(`${actor} wants ${wants}, and ${entry.wants} is known`);
      else if (!entry.suspended && !entry.invalid && (mask === 0) !== (wants === 0)) {
        this.#break(`${actor} wants ${wants}, and is registered for ${entry.mask}`);
      }
    }
    for (const fd of known.keys()) this.#break(`${fd} is registered, and not in the map`);
  }

  // -------------------------------------------------------------------------------------------
  // Watcher.

  handler(actor: Actor, name: string, args: unknown[], body: () => Handled): Handled {
    this.#note(`${actor}: ${name}${name === 'handleError' ? ` ${describe(args[0])}` : ''}`);
    if (actor.closed && name !== 'handleError') this.#break(`${name} of ${actor} after close()`);
    if (name === 'handleRead' && actor.channel.readingPaused) {
      this.#break(`${name} of ${actor} while paused`);
    }
    if (name === 'handleConnect') {
      actor.connects += 1;
      if (actor.connects > 1) this.#break(`a second handleConnect of ${actor}`);
    }
    if (name === 'handleClose') {
      actor.closes += 1;
      // What stood for it on the fifo is taken off.
      actor.ending = false;
      if (actor.closes > 1) this.#break(`a second handleClose of ${actor}`);
      if (actor.channel.closeReason === null) this.#break(`handleClose of ${actor} has no reason`);
      if (actor.over && !actor.lost && actor.in !== null && actor.chat !== null) {
        if (actor.collected !== actor.in.received) {
          this.#break(`${actor} has received ${actor.in.received}, collected ${actor.collected}`);
        }
      }
    }
    if (name === 'handleError') return this.#failed(actor, args[0], body);
    if (name === 'handleAccepted') this.#identify(args[0] as Socket, args[1] as Address);
    this.#depth += 1;
    if (name === 'handleRead') actor.reading = true;
    try {
      return this.#enact(actor, name, args, body);
    } catch (error) {
      // It is called again, or the rest of the record is not collected.
      if (name === 'handleConnect') actor.connects -= 1;
      if (name === 'collectIncomingData') actor.lost = true;
      throw error;
    } finally {
      this.#depth -= 1;
      if (name === 'handleRead') actor.reading = false;
    }
  }

  /** Runs a handler, with mischief before and behind it. */
  #enact(actor: Actor, name: string, args: unknown[], body: () => Handled): Handled {
    const collects = name === 'collectIncomingData';
    const counts = collects || name === 'foundTerminator';
    if (name !== 'handleClose' && !counts && this.#random.chance(this.#mischief)) this.#misbehave();
    if (actor.closed) {
      // Nothing else will: its caller would wait for ever.
      if (name === 'handleAccepted') (args[0] as Socket).close();
      return;
    }
    const result = body();
    if (result !== undefined || !this.#random.chance(this.#mischief)) return result;
    if (this.#random.chance(0.2)) return Promise.reject(this.#throwable());
    if (collects) this.#collecting += 1;
    try {
      this.#misbehave();
    } finally {
      if (collects) this.#collecting -= 1;
    }
    return result;
  }

  #identify(socket: Socket, address: Address): void {
    this.#sockets.add(socket);
    const streams = this.#callers.get(nameOf(address));
    this.#callers.delete(nameOf(address));
    if (streams !== undefined) this.#accepted.set(socket, streams);
  }

  #failed(actor: Actor, error: unknown, body: () => Handled): Handled {
    const ours = this.#thrown.has(error);
    const { code = '' } = (error ?? {}) as { code?: string };
    if (!ours && !TROUBLE.has(code) && !(actor.yanked && code === 'EBADF')) {
      this.#break(`handleError of ${actor} was told ${describe(error)}`);
    }
    if (ours) actor.failed = true;
    if (ours && actor.ending) actor.lost = true;
    if (ours && this.#random.chance(0.5)) {
      this.#note('and goes on');
      return;
    }
    if (ours && this.#random.chance(0.1)) {
      this.#note('handleError throws');
      throw this.#throwable();
    }
    // It closes, and with records left: in a pass within foundTerminator the end of them was read.
    if (ours) actor.lost = true;
    return body();
  }

  #misbehave(): void {
    if (this.#depth < 4 && this.#random.chance(0.7)) this.#act();
    else if (this.#inLoop && this.#random.chance(0.02)) throw new ExitNow('by chance');
    else throw this.#throwable();
  }

  /** Otherwise there is no loop to be left. */
  get #inLoop(): boolean {
    return this.#passing || registryOf(this.map).runner !== null;
  }

  #throwable(): unknown {
    this.#serial += 1;
    const hostile = Object.defineProperty(new Error(), 'message', {
      get() {
        throw new Error('no message');
      },
    });
    const error = this.#random.pick([
      new Error(`thrown ${this.#serial}`),
      `thrown ${this.#serial}`,
      { thrown: this.#serial },
      hostile,
      null,
    ]);
    this.#thrown.add(error);
    return error;
  }

  #timerCalled(): void {
    this.#depth += 1;
    try {
      if (this.#random.chance(0.5)) this.#act();
      if (this.#random.chance(this.#mischief)) this.#misbehave();
    } finally {
      this.#depth -= 1;
    }
  }

  hasClosed(actor: Actor): void {
    this.#clockwork.hasClosed(actor);
  }

  closing(actor: Actor): void {
    this.#note(`${actor}: close`);
  }

  #arrived(who: Actor | Raw, data: Buffer | null): void {
    if (data === null || who.in === null) return;
    const { in: stream } = who;
    if (data.length === 0) {
      if (!stream.torn && !who.reset && stream.received !== stream.sent) {
        this.#break(`the end, after ${stream.received} of ${stream.sent} bytes, for ${who}`);
      }
      return;
    }
    this.bytes += data.length;
    if (!stream.torn && !stream.has(stream.received, data)) {
      this.#break(`wrong bytes at ${stream.received} for ${who}`);
    }
    stream.received += data.length;
    if (!stream.torn && stream.received > stream.given) {
      this.#break(`${stream.received} bytes of ${stream.given} for ${who}`);
    }
  }

  collected(actor: Actor, data: Buffer): void {
    const { in: stream, channel } = actor;
    if (channel.readingPaused && !actor.over) this.#break(`collected by ${actor} while paused`);
    if (stream === null) return;
    if (!actor.lost && !stream.torn && !stream.has(actor.collected, data)) {
      this.#break(`wrong bytes at ${actor.collected} collected by ${actor}`);
    }
    actor.collected += data.length;
    actor.failed = false;
  }

  found(actor: Actor): void {
    const chat = actor.channel as Chat;
    const { terminator } = chat;
    const { in: stream } = actor;
    if (terminator instanceof Uint8Array) {
      if (
        !actor.lost &&
        stream !== null &&
        !stream.torn &&
        !stream.has(actor.collected, terminator)
      ) {
        this.#break(`no terminator at ${actor.collected} of ${actor}`);
      }
      actor.collected += terminator.length;
    }
    if (terminator === 0 || this.#random.chance(0.3)) this.#setTerminator(actor);
    if (this.#random.chance(0.1)) chat.pauseReading();
  }

  accepted(listener: Actor, socket: Socket, address: Address): void {
    const [fromCaller, toCaller] = this.#accepted.get(socket) ?? [null, null];
    if (this.#settling || this.#actors.length >= MOST_ACTORS || this.#random.chance(0.1)) {
      this.#note(`${listener} turns ${nameOf(address)} away`);
      socket.close();
    } else this.#enter(this.#random.pick(KINDS), socket, toCaller, fromCaller);
  }

  // -------------------------------------------------------------------------------------------
  // The population.

  #enter(
    kind: Kind | 'Listener',
    socket: Socket | null,
    out: Stream | null,
    into: Stream | null,
  ): Actor {
    this.#serial += 1;
    const actor = new Actor(kind, this.#serial, this.map, this.#random, this, socket);
    this.#actors.push(actor);
    if (socket !== null) this.#attach(actor, socket, out, into);
    this.#note(`${actor} enters`);
    return actor;
  }

  #attach(who: Actor | Raw, socket: Socket, out: Stream | null, into: Stream | null): void {
    this.#sockets.add(socket);
    if (who instanceof Actor) who.socket = socket;
    who.out = out;
    who.in = into;
    if (out !== null && who instanceof Actor) out.held = () => who.held();
    const recv = socket.recv.bind(socket);
    socket.recv = (size, flags) => {
      let data: Buffer | null;
      // What nobody will read is dropped before a close.
      if (who instanceof Actor && !who.reading) who.lost = true;
      try {
        data = recv(size, flags);
      } catch (error) {
        who.over = true;
        who.reset = true;
        throw error;
      }
      if (data?.length === 0) who.over = true;
      this.#arrived(who, data);
      return data;
    };
  }

  #enterRaw(socket: Socket, out: Stream, into: Stream): void {
    const raw = new Raw(socket);
    this.#raws.push(raw);
    this.#attach(raw, socket, out, into);
    this.#note(`${raw} enters`);
  }

  /** One that `fits`, if there is any. */
  #some(fits: (actor: Actor) => boolean): Actor | null {
    const candidates = this.#actors.filter(fits);
    return candidates.length === 0 ? null : this.#random.pick(candidates);
  }

  #someChannel(): Actor | null {
    return this.#some((actor) => actor.open && !(actor.channel instanceof Listener));
  }

  #someRaw(): Raw | null {
    const open = this.#raws.filter((raw) => raw.open);
    return open.length === 0 ? null : this.#random.pick(open);
  }

  // -------------------------------------------------------------------------------------------
  // Operations.

  readonly #operations: readonly (readonly [weight: number, item: () => void])[] = [
    [1, () => this.#listen()],
    [6, () => this.#call()],
    [6, () => this.#pair()],
    [1, () => this.#callNobody()],
    [3, () => this.#callAgain()],
    [20, () => this.#push()],
    [5, () => this.#pushProducer()],
    [2, () => this.#closeWhenDone()],
    [2, () => this.#flushed()],
    [1, () => this.#discard()],
    [2, () => this.#someChannel()?.channel.close()],
    [1, () => this.#some((actor) => actor.open)?.channel.close()],
    [1, () => this.#yank()],
    [2, () => this.#someChannel()?.channel.pauseReading()],
    [6, () => this.#someChannel()?.channel.resumeReading()],
    [
      1,
      () =>
        this.#someChannel()?.channel.setIdleTimeout(this.#random.pick([0, 0, 1, 5, 50, Infinity])),
    ],
    [
      4,
      () =>
        this.#clockwork.make(
          this.#random.chance(0.4) ? null : this.#some((actor) => actor.open || actor.closed),
        ),
    ],
    [2, () => this.#clockwork.disturb()],
    [1, () => this.#someChannel()?.channel.setDeadline(this.#random.pick([0, 2, 20, Infinity]))],
    [1, () => this.#halfClose(this.#someChannel())],
    [1, () => this.#reset(this.#someChannel())],
    [4, () => this.#tune()],
    [2, () => this.#overridePredicate()],
    [1, () => this.#leave()],
    [2, () => this.#return()],
    [2, () => this.#nested()],
    [4, () => this.#churn()],
    [2, () => this.#setTerminator(this.#some((actor) => actor.chat !== null))],
    [2, () => void String(this.#some(() => true)?.channel)],
    [1, () => this.#someChannel()?.channel.interestChanged()],
    [12, () => this.#sendRaw()],
    [20, () => this.#receiveRaw()],
    [3, () => this.#halfClose(this.#someRaw())],
    [2, () => this.#someRaw()?.socket.close()],
    [2, () => this.#reset(this.#someRaw())],
  ];

  #act(): void {
    this.operations += 1;
    this.#depth += 1;
    try {
      this.#random.weighed(this.#operations)();
    } catch (error) {
      if (error instanceof ExitNow) throw error;
      this.#note(`threw ${describe(error)}`);
      if (!this.#thrown.has(error) && !(error instanceof SocketError)) {
        this.#break(`an operation threw ${describe(error)}`);
      }
    } finally {
      this.#depth -= 1;
    }
  }

  /** Where no loop is there to be left. */
  #actOutside(): void {
    try {
      this.#act();
    } catch (error) {
      if (!(error instanceof ExitNow)) throw error;
    }
  }

  #listen(): void {
    const listeners = this.#actors.filter(({ channel }) => channel instanceof Listener);
    const closed = listeners.find((actor) => actor.closed);
    if (closed === undefined && listeners.length > 2) return;
    const actor = closed ?? this.#enter('Listener', null, null, null);
    actor.begin();
    const family = this.#random.pick([AF_INET, AF_INET6, AF_UNIX]);
    const { channel } = actor;
    channel.createSocket(family);
    this.#attach(actor, channel.socket as Socket, null, null);
    channel.bind(this.#address(family));
    const limits = this.#random.chance(0.5) ? {} : { maxConnections: 1 + this.#random.below(6) };
    channel.listen(this.#random.pick([1, 5, 128]), limits);
    this.#note(`${actor} listens, ${JSON.stringify(limits)}`);
  }

  #address(family: number): Address {
    this.#serial += 1;
    if (family === AF_UNIX) return { path: `\0asyncore-fuzz-${process.pid}-${this.#serial}` };
    return { host: family === AF_INET6 ? '::1' : '127.0.0.1', port: 0 };
  }

  /** Somebody calls a listener: a channel, or a raw socket. */
  #call(): void {
    const listener = this.#some((actor) => actor.open && actor.channel.accepting);
    if (listener === null || this.#crowded) return;
    const { family } = listener.socket as Socket;
    if (this.#random.chance(0.5)) {
      const socket = Socket.socket(family);
      const [out, into] = this.#streams();
      socket.bind(this.#address(family));
      this.#enterRaw(socket, out, into);
      this.#callers.set(nameOf(socket.getSockName()), [out, into]);
      socket.connect((listener.socket as Socket).getSockName());
    } else {
      const actor = this.#enter(this.#random.pick(KINDS), null, null, null);
      actor.channel.createSocket(family);
      this.#callFrom(actor, (listener.socket as Socket).getSockName());
    }
  }

  #callFrom(actor: Actor, address: Address): void {
    const socket = actor.channel.socket as Socket;
    const [out, into] = this.#streams();
    this.#attach(actor, socket, out, into);
    socket.bind(this.#address(socket.family));
    this.#callers.set(nameOf(socket.getSockName()), [out, into]);
    this.#note(`${actor} calls ${nameOf(address)}`);
    try {
      actor.channel.connect(address);
    } catch (error) {
      // It is out of the map, with a socket that is the program's.
      actor.channel.close();
      throw error;
    }
  }

  /** A channel that has closed is opened again, often under a number that another has just had. */
  #callAgain(): void {
    const listener = this.#some((actor) => actor.open && actor.channel.accepting);
    const actor = this.#some(({ closed, channel }) => closed && !(channel instanceof Listener));
    if (listener === null || actor === null) return;
    actor.begin();
    const { channel } = actor;
    if (channel instanceof Chat) channel.discardBuffers();
    if (channel instanceof Sender) channel.outBuffer = Buffer.alloc(0);
    channel.createSocket((listener.socket as Socket).family);
    this.#callFrom(actor, (listener.socket as Socket).getSockName());
  }

  #callNobody(): void {
    if (this.#crowded) return;
    const actor = this.#enter(this.#random.pick(KINDS), null, null, null);
    const family = this.#random.pick([AF_INET, AF_UNIX]);
    actor.channel.createSocket(family);
    // A port that is bound, and not listened to, is its own.
    const socket = actor.channel.socket as Socket;
    const other = Socket.socket(family);
    this.#sockets.add(other);
    other.bind(this.#address(family));
    const address = other.getSockName();
    other.close();
    this.#attach(actor, socket, null, null);
    this.#note(`${actor} calls nobody`);
    try {
      actor.channel.connect(address);
    } catch (error) {
      actor.channel.close();
      throw error;
    }
  }

  #pair(): void {
    if (this.#crowded) return;
    const [one, other] = Socket.pair();
    const [out, into] = this.#streams();
    this.#enter(this.#random.pick(KINDS), one, out, into);
    if (this.#random.chance(0.5)) this.#enter(this.#random.pick(KINDS), other, into, out);
    else this.#enterRaw(other, into, out);
  }

  #streams(): [Stream, Stream] {
    return [new Stream(this.#random), new Stream(this.#random)];
  }

  get #crowded(): boolean {
    // Those who are closed make room, but for some that are opened again.
    if (this.#actors.length >= MOST_ACTORS) {
      this.#actors = this.#actors.filter((actor) => !actor.closed || this.#random.chance(0.2));
    }
    this.#raws = this.#raws.filter((raw) => raw.open);
    return this.#actors.length + this.#raws.length >= MOST_ACTORS;
  }

  #push(): void {
    const actor = this.#someChannel();
    if (actor?.out == null) return;
    const { channel, out } = actor;
    const length = this.#random.size(this.#random.chance(0.05) ? LARGEST : 5000);
    this.#note(`${actor}: ${length} bytes are pushed`);
    if (channel instanceof Plain) channel.left += length;
    else if (channel instanceof Sender) channel.send(out.give(length));
    else if (channel instanceof Chat) {
      // What waits here is counted before a handler, called from within push, may look.
      const data = actor.ending ? out.bytes(0, length) : out.give(length);
      if (channel.push(data) && actor.ending) this.#break(`${actor} has taken data at its end`);
    }
  }

  #pushProducer(): void {
    const actor = this.#some(({ open, chat, ending }) => open && chat !== null && !ending);
    if (actor?.out == null) return;
    const { out } = actor;
    const chat = actor.channel as Chat;
    const length = this.#random.size(50_000);
    const start = out.given;
    let left = length;
    out.given += length;
    out.unasked += length;
    const ends = this.#random.pick([null, undefined, '']);
    const producer: Producer = {
      more: () => {
        this.#note(`${actor}: ${left} bytes of a producer are left`);
        if (this.#random.chance(this.#mischief / 4)) {
          // Nobody can tell what becomes of the rest.
          out.torn = true;
          this.#misbehave();
        }
        if (left === 0) return ends;
        const size = Math.min(left, this.#random.size(20_000));
        const data = out.bytes(start + length - left, size);
        left -= size;
        out.unasked -= size;
        return data;
      },
    };
    this.#note(`${actor}: a producer of ${length} bytes is pushed`);
    chat.pushWithProducer(producer);
  }

  #closeWhenDone(): void {
    const actor = this.#some(({ open, chat }) => open && chat !== null);
    if (actor === null) return;
    this.#note(`${actor}: closeWhenDone`);
    actor.ending = true;
    if (actor.failed) actor.lost = true;
    actor.chat?.closeWhenDone();
  }

  /** Its promise is settled in any case, and resolves only when all is sent that was given before. */
  #flushed(): void {
    const actor = this.#some(({ open, chat }) => open && chat !== null);
    if (actor?.chat == null) return;
    const { out } = actor;
    const due = out?.given ?? 0;
    this.#note(`${actor}: flushed`);
    this.#unsettled += 1;
    actor.chat.flushed().then(
      () => {
        this.#unsettled -= 1;
        if (out === null || out.torn || out.end !== null || out.sent >= due) return;
        this.#break(`flushed() of ${actor} resolves, and ${due - out.sent} bytes wait`);
      },
      (error) => {
        this.#unsettled -= 1;
        if (!/^ERR_(CHANNEL_CLOSED|OUTPUT_DISCARDED)$/.test(error.code)) {
          this.#break(`flushed() of ${actor} rejects: ${describe(error)}`);
        }
      },
    );
  }

  #discard(): void {
    const actor = this.#some(({ open, chat }) => open && chat !== null);
    if (actor === null) return;
    this.#note(`${actor}: discardBuffers`);
    actor.lost = true;
    actor.ending = false;
    if (actor.out !== null) actor.out.torn = true;
    actor.chat?.discardBuffers();
  }

  /** Closes the socket behind its channel's back. */
  #yank(): void {
    const actor = this.#someChannel();
    if (actor === null) return;
    this.#note(`${actor} is yanked`);
    actor.yanked = true;
    actor.socket?.close();
  }

  #halfClose(who: Actor | Raw | null): void {
    if (who === null) return;
    this.#note(`${who}: half-close`);
    who.socket?.shutdown(SHUT_WR);
    if (who.out !== null) who.out.end = who.out.sent;
  }

  #reset(who: Actor | Raw | null): void {
    if (who === null) return;
    this.#note(`${who}: reset`);
    who.socket?.setSockOpt(SOL_SOCKET, SO_LINGER, RESET);
    if (who instanceof Actor) who.channel.close();
    else who.socket.close();
  }

  #tune(): void {
    const random = this.#random;
    const channel = this.#someChannel()?.channel;
    if (channel === undefined) return;
    channel.allowHalfOpen = random.chance(0.3);
    if (!(channel instanceof Chat)) return;
    channel.acInBufferSize = random.size(100_000);
    channel.acOutBufferSize = random.size(100_000);
    channel.highWaterMark = random.size(1_000_000);
    if (random.chance(0.1)) channel.maxRecordLength = 5000 + random.size(20_000);
  }

  #overridePredicate(): void {
    const channel = this.#someChannel()?.channel;
    if (channel === undefined) return;
    const name = this.#random.pick(['readable', 'writable'] as const);
    const own = Object.getPrototypeOf(channel)[name] as () => boolean;
    const probability = this.#random.pick([0, 0.5, 1]);
    channel[name] = this.#random.chance(0.5)
      ? own
      : () => own.call(channel) && this.#random.chance(probability);
    channel.interestChanged();
  }

  #leave(): void {
    const actor = this.#someChannel();
    if (actor === null || actor.away || actor.channel.connecting) return;
    this.#note(`${actor} leaves the map`);
    actor.away = true;
    actor.channel.delChannel();
  }

  #return(): void {
    const actor = this.#some(({ away, open }) => away && open);
    if (actor !== null) this.#returnOne(actor);
  }

  #returnOne(actor: Actor): void {
    this.#note(`${actor} returns`);
    actor.away = false;
    actor.channel.setSocket(actor.socket as Socket);
  }

  /** A handler may run a pass of its own; not before the record is complete that it is about. */
  #nested(): void {
    if (this.#collecting > 0 || this.#depth < 2) return;
    this.#note('a nested pass');
    this.#random.pick([poll, poll2])(0, this.map);
  }

  /** Uses numbers that have been given back, and perhaps gives them back again. */
  #churn(): void {
    const sockets = Array.from({ length: 1 + this.#random.below(4) }, () => Socket.socket());
    for (const socket of sockets) socket.close();
  }

  #setTerminator(actor: Actor | null): void {
    if (actor === null || this.#collecting > 0) return;
    const chat = actor.channel as Chat;
    const counted = Math.min(this.#random.size(10_000), chat.maxRecordLength);
    chat.setTerminator(this.#random.pick(['\r\n', '\n', 'abca', 'a', '\r\r\n', counted, null, 0]));
  }

  #sendRaw(): void {
    const raw = this.#someRaw();
    if (raw?.out == null) return;
    const length = this.#random.size(this.#random.chance(0.1) ? LARGEST : 5000);
    let sent: number;
    try {
      sent = raw.socket.send(raw.out.bytes(raw.out.given, length)) ?? 0;
    } catch (error) {
      raw.reset = true;
      throw error;
    }
    raw.out.given += sent;
    this.#note(`${raw} sends ${sent} bytes`);
  }

  #receiveRaw(): void {
    const raw = this.#someRaw();
    if (raw === null) return;
    const data = raw.socket.recv(1 + this.#random.size(LARGEST));
    this.#note(`${raw} receives ${data?.length ?? 'no'} bytes`);
  }

  // -------------------------------------------------------------------------------------------
  // The end: everybody behaves, and says good-bye.

  async #settle(): Promise<void> {
    this.#note('everybody behaves');
    this.#settling = true;
    this.#mischief = 0;
    this.#clockwork.end();
    for (const actor of this.#actors) this.#reform(actor);
    const end = performance.now() + 15_000;
    for (let round = 1; this.#broken === null && this.map.size > 0; round += 1) {
      for (const raw of this.#raws) this.#finishRaw(raw);
      await this.#tick();
      this.#check();
      if (round === 30) this.#closeListeners();
      if (round > 30 && round % 30 === 0) this.#partFriends();
      if (performance.now() > end) {
        const left = this.#actors.filter((actor) => actor.open).join(', ');
        this.#break(`still there: ${left}; in the map: ${this.map.size}`);
      }
    }
    for (const actor of this.#actors) {
      if (!actor.closed) this.#break(`${actor} never heard of its end`);
    }
    // Promises are settled between the turns of Node's loop.
    await new Promise(setImmediate);
    if (this.#unsettled > 0) this.#break(`${this.#unsettled} promises of flushed() are pending`);
  }

  #reform(actor: Actor): void {
    const { channel, chat } = actor;
    channel.setIdleTimeout(0);
    channel.setDeadline(0);
    if (actor.away && actor.open) this.#returnOne(actor);
    else if (actor.away) channel.close();
    if (actor.closed) return;
    channel.resumeReading();
    for (const name of ['readable', 'writable'] as const) {
      channel[name] = Object.getPrototypeOf(channel)[name] as () => boolean;
    }
    channel.interestChanged();
    // handleEof, which comes once, may have thrown instead of closing.
    if (channel.connecting || (channel.inputEnded && chat === null)) channel.close();
    if (chat !== null) {
      // A byte at a time, much output would take longer than anybody waits for.
      chat.acInBufferSize = 65536;
      chat.acOutBufferSize = 65536;
      chat.setTerminator(null);
      chat.closeWhenDone();
    }
    actor.ending = chat !== null;
  }

  #finishRaw(raw: Raw): void {
    if (!raw.open) return;
    try {
      if (!raw.ended) raw.socket.shutdown(SHUT_WR);
      raw.ended = true;
      if (raw.socket.recv(LARGEST)?.length === 0) raw.socket.close();
    } catch {
      raw.socket.close();
    }
  }

  #closeListeners(): void {
    for (const { channel } of this.#actors) if (channel instanceof Listener) channel.close();
  }

  /**
   * Two channels neither of which would ever close; and one that was never accepted: a full backlog
   * drops the last step of the handshake, and the caller has no connection until it sends.
   */
  #partFriends(): void {
    const waiting = new Set([...this.#callers.values()].map(([fromCaller]) => fromCaller));
    for (const actor of this.#actors) {
      if (!actor.open || actor.chat !== null || actor.out === null) continue;
      const peer = this.#actors.find((other) => other.open && other.in === actor.out);
      if (peer?.chat === null || waiting.has(actor.out)) actor.channel.close();
    }
  }

  #end(): void {
    for (const raw of this.#raws) raw.socket.close();
    closeAll(this.map, true);
    for (const socket of this.#sockets) socket.close();
    for (const [fd, what] of descriptors()) {
      if (this.#before.get(fd) === what || !/^socket:|eventpoll/.test(what)) continue;
      this.#break(`left open: ${fd}, ${what}`);
    }
  }
}

function nameOf(address: Address): string {
  return 'path' in address ? address.path : `${address.host} ${address.port}`;
}

function describe(error: unknown): string {
  try {
    return error instanceof Error ? String(error.stack) : JSON.stringify(error);
  } catch {
    return 'an error with a throwing getter';
  }
}
