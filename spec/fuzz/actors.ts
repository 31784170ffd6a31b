// The population: channels of three kinds, listeners, and raw sockets that stand for anybody else.
//
// A channel is spied upon by own properties in front of its handlers and close(): what the library looks
// at (predicates, `send`) stays its own. The handlers here behave; what they do amiss, the watcher does.

import {
  type Address,
  AsyncChat,
  type ChannelMap,
  Dispatcher,
  DispatcherWithSend,
  type Handled,
  type Socket,
} from 'asyncore';
import type { Random } from './random';
import type { Stream } from './stream';

/** Told of what happens to an actor before it happens, and free to make it worse. */
export interface Watcher {
  /** @param body what the handler does by itself */
  handler(actor: Actor, name: string, args: unknown[], body: () => Handled): Handled;
  closing(actor: Actor): void;
  hasClosed(actor: Actor): void;
  collected(actor: Actor, data: Buffer): void;
  found(actor: Actor): void;
  accepted(actor: Actor, socket: Socket, address: Address): void;
}

const HANDLERS = [
  'handleRead',
  'handleWrite',
  'handleConnect',
  'handleAccepted',
  'handleClose',
  'handleEof',
  'handleExpt',
  'handleError',
  'handleTimeout',
] as const;
const CHAT_HANDLERS = [
  'collectIncomingData',
  'foundTerminator',
  'handleDrain',
  'handleOverflow',
] as const;

/** Asked at every tick. */
export class Plain extends Dispatcher {
  /** What there is to send; the kernel takes as much as it likes. */
  left = 0;
  constructor(
    readonly actor: Actor,
    map: ChannelMap,
    socket: Socket | null,
  ) {
    super(socket, map);
  }

  override writable(): boolean {
    return this.left > 0 || this.connecting;
  }

  override handleRead(): void {
    this.recv(1 + this.actor.random.size(70_000));
  }

  override handleWrite(): void {
    const { actor } = this;
    if (this.left === 0 || actor.out === null) return;
    const { out } = actor;
    const length = Math.min(this.left, 1 + actor.random.size(100_000));
    const sent = this.send(out.bytes(out.given, length));
    out.given += sent;
    this.left -= sent;
  }
}

export class Sender extends DispatcherWithSend {
  constructor(
    readonly actor: Actor,
    map: ChannelMap,
    socket: Socket | null,
  ) {
    super(socket, map);
  }

  override handleRead(): void {
    this.recv(1 + this.actor.random.size(70_000));
  }
}

export class Chat extends AsyncChat {
  constructor(
    readonly actor: Actor,
    map: ChannelMap,
    socket: Socket | null,
  ) {
    super(socket, map);
    this.setTerminator(null);
  }

  override collectIncomingData(data: Buffer): void {
    this.actor.watcher.collected(this.actor, data);
  }

  override foundTerminator(): void {
    this.actor.watcher.found(this.actor);
  }

  override handleEof(): void {
    this.closeWhenDone();
    this.actor.ending = true;
  }

  override handleOverflow(): void {
    this.actor.lost = true;
  }
}

export class Listener extends Dispatcher {
  constructor(
    readonly actor: Actor,
    map: ChannelMap,
    socket: Socket | null,
  ) {
    super(socket, map);
  }

  override handleAccepted(socket: Socket, address: Address): void {
    this.actor.watcher.accepted(this.actor, socket, address);
  }
}

const KINDS = { Plain, Sender, Chat, Listener };

/** A channel, and what must be true of it. Its connections come one after the other. */
export class Actor {
  readonly channel: Plain | Sender | Chat | Listener;
  readonly name: string;
  /** Its own, as to ask the channel for it sends what a chat has gathered. */
  socket: Socket | null = null;
  /** Null before there is a connection. */
  out: Stream | null = null;
  in: Stream | null = null;
  /** close() has been called. */
  closed = false;
  /** How often handleClose and handleConnect have been called for this connection. */
  closes = 0;
  connects = 0;
  /** The end of the stream, or an error in its place, has been seen. */
  over = false;
  /** The program closed the socket, not the channel. */
  yanked = false;
  /** The program took it out of the map. */
  away = false;
  /** closeWhenDone() was called: pushes are refused. */
  ending = false;
  /** An error was told, and nothing has been collected since: if the chat is closing by now, it drops its input. */
  failed = false;
  /** Bytes that a chat has gone through, terminators included. */
  collected = 0;
  /** handleRead runs. */
  reading = false;
  /** Not all that was received has been collected, and rightly so. */
  lost = false;
  /** An error was seen where the stream ends. */
  reset = false;

  constructor(
    kind: keyof typeof KINDS,
    serial: number,
    map: ChannelMap,
    readonly random: Random,
    readonly watcher: Watcher,
    socket: Socket | null,
  ) {
    this.name = `${kind} ${serial}`;
    this.channel = new KINDS[kind](this, map, socket);
    this.channel.logInfo = () => {};
    const names = kind === 'Chat' ? [...HANDLERS, ...CHAT_HANDLERS] : HANDLERS;
    for (const name of names) this.#spy(name);
    const close = this.channel.close.bind(this.channel);
    this.channel.close = () => {
      if (!this.closed) watcher.closing(this);
      this.closed = true;
      try {
        close();
      } finally {
        watcher.hasClosed(this);
      }
    };
  }

  #spy(name: string): void {
    const methods = this.channel as unknown as Record<string, (...args: unknown[]) => Handled>;
    const own = (methods[name] as (...args: unknown[]) => Handled).bind(this.channel);
    methods[name] = (...args) => this.watcher.handler(this, name, args, () => own(...args));
  }

  /** A new connection, or none yet. */
  begin(): void {
    const held = this.held();
    if (this.out !== null) this.out.held = () => held;
    this.out = null;
    this.in = null;
    this.closed = false;
    this.closes = 0;
    this.connects = 0;
    this.over = false;
    this.yanked = false;
    this.away = false;
    this.ending = false;
    this.failed = false;
    this.collected = 0;
    this.lost = false;
    this.reset = false;
  }

  get chat(): Chat | null {
    return this.channel instanceof Chat ? this.channel : null;
  }

  get open(): boolean {
    return !this.closed && this.socket !== null && !this.socket.closed;
  }

  /** What it holds of its output. */
  held(): number {
    if (this.channel instanceof Chat) return this.channel.writableLength;
    return this.channel instanceof Sender ? this.channel.outBuffer.length : 0;
  }

  toString(): string {
    const { channel } = this;
    const flags = [
      channel.connected && 'connected',
      channel.connecting && 'connecting',
      channel.readingPaused && 'paused',
      this.closed && 'closed',
      this.away && 'away',
      this.yanked && 'yanked',
      this.ending && 'ending',
    ];
    return `${this.name} (${['fd', this.socket?.fileno() ?? 'none', ...flags.filter(Boolean)].join(' ')})`;
  }
}

/** A socket that is nobody's channel. */
export class Raw {
  out: Stream | null = null;
  in: Stream | null = null;
  /** As an actor's. */
  over = false;
  ended = false;
  /** A call has told of a reset: to the next recv it looks like the end of the stream. */
  reset = false;

  constructor(readonly socket: Socket) {}

  get open(): boolean {
    return !this.socket.closed;
  }

  toString(): string {
    return `raw (fd ${this.socket.fileno()})`;
  }
}
