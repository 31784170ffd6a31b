/// <reference types="node" preserve="true" />
// A dispatcher wraps one socket as a channel of the loop.
//
// - `handleX` is the program's to override. `handleXEvent` is a step of the loop, which decides what has
//   happened and calls a handler. `readable` and `writable` are asked at every tick.
// - A listener is `accepting` and never connected. A client is `connecting`, and `connected` after the
//   event that ends this.
// - A channel leaves its map and the selector in the same step in which its socket is closed, and no
//   handler runs after that. A step that calls two handlers looks in between whether its session has
//   ended (session.ts).

import { badType, codeOf } from '../errors';
import type { Address } from '../kernel/address';
import { closedSocket } from '../kernel/errno';
import { AF_INET, SO_ERROR, SOCK_STREAM, SOL_SOCKET } from '../kernel/platform/constants';
import {
  flushPending,
  Socket,
  type SocketLike,
  socketClosing,
  socketTaken,
} from '../kernel/socket';
import { failure } from '../kernel/syscalls';
import {
  beforeError,
  type Channel,
  explainSpin,
  hearsReset,
  isOver,
  peerGone,
  type SpinSigns,
} from '../loop/channel';
import { type ChannelMap, checkMap, registryOf, socketMap } from '../loop/channel-map';
import { handleResult, runHandler } from '../loop/dispatch';
import { declarePredicates, declareState, tellsOfChanges } from '../loop/interest';
import { ACCEPTS_PER_EVENT, type Accepted, Acceptor, type ListenLimits } from './accept';
import { bindSocket, listenOn } from './bind';
import { NO_SOCKET, needSocket, theSession } from './channel-base';
import { describeError, logFor } from './channel-log';
import { finishConnect, hasFailed, inspectSocket } from './connect';
import { type CloseReason, END, Ending, LOCAL, mayCloseFor } from './ending';
import type { Handled, Handlers, TimeLimit } from './handlers';
import { connectChannel } from './open-and-connect';
import { dropUrgent, Session } from './session';
import { reasonOfSpin } from './spin';
import { TimedChannel } from './timed-channel';

const FLAGS = ['connected', 'accepting', 'connecting'] as const;

// Steps that the library's own subclasses add to. A program's names cannot collide with these.

/** There will be no more input: what is held back of it goes to the program now. @internal */
export const endInput = Symbol('endInput');
/** The channel is about to close. @internal */
export const beforeClose = Symbol('beforeClose');

/** The channel has another session, or has its first socket in the one that it had. @internal */
export const sessionBegins = Symbol('sessionBegins');

/** The session of a channel. @internal */
export let sessionOf: (channel: Dispatcher) => Session;

/**
 * A channel around one socket. Python's `asyncore.dispatcher`.
 *
 * @example
 * class Echo extends DispatcherWithSend {
 *   override handleRead() {
 *     const data = this.recv(8192);
 *     if (data !== null) this.send(data);
 *   }
 *   override handleClose() {
 *     this.close();
 *   }
 * }
 *
 * listen({ host: '127.0.0.1', port: 8007 }, (socket) => new Echo(socket));
 * await loop();
 */
export class Dispatcher extends TimedChannel implements Channel, Handlers {
  static {
    sessionOf = (channel) => channel.#session;
  }

  /** Makes `DispatcherWithSend.send` log what it is given. Default false. */
  declare debug: boolean;
  /** For the program; the library never sets it. Default false. */
  declare closing: boolean;
  /** What `createSocket` was asked for. Python's `family_and_type`. */
  familyAndType: [family: number, type: number] | null = null;
  /** When the peer ends its stream, `handleEof` is called instead of `handleClose`. Default false. */
  declare allowHalfOpen: boolean;
  /** The map that this channel stands in while it has a socket. Python's `_map`. */
  readonly map: ChannelMap;

  #session: Session;
  #acceptor: Acceptor | null = null;

  /**
   * @param socket connected, connecting or listening; without one, call `createSocket` later
   * @param map default `socketMap`
   * @throws {SocketError} when the socket cannot even say whether it is connected
   * @throws {RangeError} when the socket is closed
   * @throws {TypeError} when `map` is no ChannelMap
   */
  constructor(socket: SocketLike | null = null, map: ChannelMap = socketMap) {
    checkMap('make a channel', map);
    super();
    this.map = map;
    this.#session = new Session(null, map, null);
    if (socket === null || socket === undefined) return;
    this.setSocket(socket, map);
    try {
      const { connected, connecting, addr } = inspectSocket(socket);
      this.connected = connected;
      this.connecting = connecting;
      this.addr = addr;
    } catch (error) {
      this.delChannel(map);
      throw error;
    }
  }

  // -------------------------------------------------------------------------------------------
  // State. The setters tell the map of each change.

  /** @internal */
  get [theSession](): Session {
    return this.#session;
  }

  /** Whether there is a connection. False within `handleConnect`, as in Python. */
  get connected(): boolean {
    return this.#session.connected;
  }

  set connected(value: boolean) {
    this.#session.set('connected', value);
  }

  /** Whether this is a listener. */
  get accepting(): boolean {
    return this.#session.accepting;
  }

  set accepting(value: boolean) {
    this.#session.set('accepting', value);
  }

  /** Whether a connect is under way. */
  get connecting(): boolean {
    return this.#session.connecting;
  }

  set connecting(value: boolean) {
    this.#session.set('connecting', value);
  }

  /**
   * Whether the peer has ended its stream and this channel lives on (`allowHalfOpen`, an async
   * `handleClose`).
   */
  get inputEnded(): boolean {
    return this.#session.inputEnded;
  }

  /**
   * Why the channel has closed, or is about to: `handleClose` can already tell a reset from an orderly end.
   * Null while the channel is open, and again when it has another socket. An override of `close` reads it
   * after `super.close()`.
   *
   * @example
   * override handleClose() {
   *   if (this.closeReason === 'reset') console.log('lost the connection:', this.closeError);
   *   this.close();
   * }
   */
  get closeReason(): CloseReason | null {
    return this.#session.ending?.reason ?? null;
  }

  /** The error that came with `closeReason`: always for `error`, usually for `reset`; otherwise null. */
  get closeError(): unknown {
    return this.#session.ending?.error ?? null;
  }

  /** Whether `pauseReading` was called, and `resumeReading` not yet. */
  get readingPaused(): boolean {
    return this.#session.readingPaused;
  }

  /**
   * Stops read events until `resumeReading`. What the peer sends fills the kernel's buffer, until TCP flow
   * control stops the sender. A listener accepts nothing meanwhile. A chat also keeps back the records
   * that it has received already, when it is paused within `foundTerminator`. A channel hears of a reset, or
   * of the end of the stream, when it resumes.
   *
   * @example
   * override async foundTerminator() {
   *   this.pauseReading();
   *   this.push(await this.database.answer(this._getData()));
   *   this.resumeReading(); // now the next record, so that answers keep the order of the requests
   * }
   */
  pauseReading(): void {
    this.#session.set('readingPaused', true);
  }

  /** Ends what `pauseReading` began, from the next tick on. */
  resumeReading(): void {
    this.#session.set('readingPaused', false);
  }

  /**
   * The socket. It stays here after `close`, closed. Null before `createSocket` or `setSocket`. Assigning
   * it replaces the socket without touching the map, as in Python; `setSocket` does both.
   */
  get socket(): SocketLike | null {
    return this.#session.socket;
  }

  set socket(socket: SocketLike | null) {
    this[flushPending]();
    const previous = this.#session.socket;
    if (previous !== socket && previous?.owner === this) previous.owner = null;
    this.#session.attach(socket);
  }

  /** The descriptor under which this channel stands in its map, or null. Python's `_fileno`. */
  fileno(): number | null {
    return this.#session.fd;
  }

  /**
   * Tells the loop to ask `readable` and `writable` again. A subclass that overrides one of them is asked
   * at every tick and need not call this. But a change from outside the loop, in a timer for example, is
   * seen at once only when the loop is told.
   */
  interestChanged(): void {
    this.#session.interestChanged();
  }

  /**
   * Whether the loop may rely on `interestChanged` and leave this channel alone in between. By default:
   * when the predicates are the library's own. Override it to return true in a subclass that overrides a
   * predicate and calls `interestChanged` at each change.
   */
  tracksInterest(): boolean {
    return tellsOfChanges(this);
  }

  // -------------------------------------------------------------------------------------------
  // The channel map.

  /**
   * Puts this channel into a map, its own by default. Python's `add_channel`.
   * @throws {TypeError} when the channel has no socket, or a closed one, or `map` is no ChannelMap
   */
  addChannel(map: ChannelMap = this.map): void {
    checkMap('add a channel', map);
    const session = this.#session;
    if (session.fd === null)
      throw badType('add a channel', 'a channel with a socket', this, NO_SOCKET);
    map.set(session.fd, this);
    session.map = map;
    session.idle?.start(map);
    session.timers?.moveTo(registryOf(map));
    this.#acceptor?.attach(session);
  }

  /**
   * Takes this channel out again, and leaves the socket open. `fileno()` is null then. Its timers go on, and
   * `setSocket(channel.socket)` puts it back. Does nothing when the channel is in no map. Python's
   * `del_channel`.
   * @param map default: its own, and the one that `addChannel` was given last
   */
  delChannel(map?: ChannelMap): void {
    // Whatever takes the socket over comes after what was pushed here.
    this[flushPending]();
    const session = this.#session;
    const { fd } = session;
    session.fd = null;
    session.idle?.stop();
    if (fd === null) return;
    const own = map ?? this.map;
    if (own.get(fd) === this) own.delete(fd);
    if (map === undefined && session.map !== own && session.map.get(fd) === this) {
      session.map.delete(fd);
    }
  }

  /**
   * Opens a socket, and enters the map. Python's `create_socket`.
   * @param family default `AF_INET`
   * @param type default `SOCK_STREAM`
   * @throws {SocketError} `EMFILE`, `EAFNOSUPPORT`, …
   */
  createSocket(family: number = AF_INET, type: number = SOCK_STREAM): void {
    this.familyAndType = [family, type];
    this.setSocket(Socket.socket(family, type));
  }

  /**
   * Wraps `socket` and enters the map. The previous socket is the program's to close. `connected`, `accepting` and
   * `connecting` stay as they are: a channel that takes a connection by this sets `connected` itself, which the
   * constructor does. Python's `set_socket`.
   * @throws {RangeError} when the socket is closed
   * @throws {TypeError} when it is no socket, or `map` is no ChannelMap
   */
  setSocket(socket: SocketLike, map: ChannelMap = this.map): void {
    // What was pushed before belongs to the previous socket, or comes from the previous owner.
    this[flushPending]();
    checkMap('setSocket', map);
    if (typeof socket?.fileno !== 'function') throw badType('setSocket', 'a socket', socket);
    if (socket.owner !== this) socket.owner?.[flushPending]();
    const fd = socket.fileno();
    if (!(fd >= 0)) throw closedSocket('setSocket');
    if (socket.owner !== this) socket.owner?.[socketTaken]?.();
    const previous = this.#session;
    // An event that was reported for the previous socket must not reach this one.
    if (previous.fd !== null && previous.fd !== fd) this.delChannel();
    else if (previous.fd === fd && previous.socket !== socket && map.get(fd) === this) {
      registryOf(map).renew(fd);
    }
    if (previous.socket?.owner === this) previous.socket.owner = null;
    this.#session = previous.next(socket, fd);
    this[sessionBegins](this.#session);
    if (socket.owner !== undefined) socket.owner = this;
    this.addChannel(map);
  }

  /** The socket is closed or given away without the channel. poll(2) would say POLLNVAL. @internal */
  [socketClosing](): void {
    this[flushPending]();
    const { fd, map } = this.#session;
    if (fd !== null) registryOf(map).invalidate(fd);
  }

  /** Another channel wraps the socket from now on. @internal */
  [socketTaken](): void {
    this.#session.idle?.stop();
    this.#session.endTimers();
  }

  // -------------------------------------------------------------------------------------------
  // Predicates, asked at every tick.

  /** Whether to wait for input. True, unless overridden. */
  readable(): boolean {
    return true;
  }

  /**
   * Whether to wait until output can be sent. True, unless overridden. A socket can nearly always be
   * written to, so that a channel with this default has a write event at every tick.
   */
  writable(): boolean {
    return true;
  }

  // -------------------------------------------------------------------------------------------
  // Socket methods. Each throws a TypeError without a socket.

  /** @internal */
  [needSocket](method: string): SocketLike {
    const { socket } = this.#session;
    if (socket === null) throw badType(method, 'a channel with a socket', this, NO_SOCKET);
    return socket;
  }

  /**
   * Becomes a listener. When this throws, a channel that was none is out of the map; see `bind`.
   * @param backlog how many connections may wait unaccepted; not the port. Default 511; the kernel's limit
   *   is net.core.somaxconn, usually 4096. Python has no default
   * @param limits how many connections may be open: those that `accept` has returned and that are not
   *   closed. Beyond `maxConnections` new ones wait in the backlog, beyond `maxConnectionsPerAddress` they
   *   are closed. Call `listen` again to change the limits
   * @throws {SocketError} `EADDRINUSE`, `ENOTSUP`, …
   * @throws {RangeError|TypeError} for a limit that is no integer of 1 or more, for an unknown limit, and
   *   for a backlog that must be a port: 1024 to 65535 before `bind`
   *
   * @example
   * this.listen(511, { maxConnections: 10_000, maxConnectionsPerAddress: 50 });
   */
  listen(backlog = 511, limits: ListenLimits = {}): void {
    const socket = this[needSocket]('listen');
    this.#session.checkOwnSocket(this, 'listen');
    const { connected, accepting } = this;
    this.#session.setUp(this, connected || accepting, () => {
      const acceptor = this.#accepts();
      acceptor.limit(limits);
      listenOn(socket, backlog);
      this.accepting = true;
      acceptor.attach(this.#session);
    });
  }

  /**
   * Gives the socket a local address. Blocks for the look-up of a host name. `''` is every address of this
   * machine; port 0 is one that the kernel chooses (`address()` tells). The file of a Unix path
   * goes when the channel closes; a file that a dead process has left there is removed first.
   *
   * When this throws, the channel is out of the map with its socket open: close it, or try another address.
   * A later `bind`, `listen` or `connect` that succeeds puts it back.
   * @throws {SocketError} `EADDRINUSE`, `EACCES`, `ENOTFOUND`, …
   * @throws {TypeError|RangeError} for an invalid address
   */
  bind(address: Address): void {
    const socket = this[needSocket]('bind');
    const session = this.#session;
    session.checkOwnSocket(this, 'bind');
    this.addr = address;
    session.setUp(this, session.inUse, () => bindSocket(socket, address));
    this.#session.preparing.bound = true;
  }

  /**
   * Starts to connect. `handleConnect` tells of success and `handleError` of failure. A connection that
   * stands at once (Unix, UDP) calls `handleConnect` before this returns. The look-up of a host name does
   * not block under `loop`.
   *
   * A channel without a socket opens one, a stream of the address's family, and a new one at each later
   * `connect`, after `close` for example. The addresses of a host name are then tried as RFC 8305 says: IPv6
   * and IPv4 by turns, the next one when one fails or after 250 ms, until one connects. Meanwhile `addr` is
   * the address in hand, and `socket` a placeholder: the options that are set on it are set on each attempt.
   * When all have failed, `handleError` gets one error, whose `errors` are those of the attempts. By a socket
   * from `createSocket` only the first address of its family is tried.
   *
   * When this throws, a channel that worked (a connection, a bound receiver of datagrams) goes on. Any other is
   * out of the map, and may connect again. What `handleConnect` throws leaves the channel in the map.
   *
   * @throws {SocketError} when it fails at once: `ENETUNREACH`, `ENOENT`, and `EAGAIN` from a Unix
   *   listener whose backlog is full
   * @throws {TypeError|RangeError} for an invalid address
   *
   * @example
   * class Client extends AsyncChat {
   *   constructor(address: Address) {
   *     super();
   *     this.connect(address);
   *   }
   *   override handleConnect() {
   *     this.push('HELO\r\n');
   *   }
   * }
   */
  connect(address: Address): void {
    connectChannel(this, sessionOf, address);
  }

  /**
   * The next connection. Null when none waits (any more), when it has failed (`ECONNABORTED`, `EPROTO`, …),
   * and when `listen` set a limit that is reached.
   * @throws {SocketError} `EMFILE`, …: the listener stops for 100 ms, as the connection stays in the
   *   backlog and would be reported again at once; `handleError` is told, and does not close the listener
   */
  accept(): Accepted | null {
    const socket = this[needSocket]('accept');
    return this.#accepts().accept(socket);
  }

  #accepts(): Acceptor {
    this.#acceptor ??= new Acceptor(this, this.#session);
    return this.#acceptor;
  }

  /**
   * Sends what the kernel takes.
   * @returns how many bytes were sent, perhaps not all. 0 when it would block, and when the peer is gone,
   *   after `handleClose` has run
   * @throws {SocketError} `ETIMEDOUT`, …: codes that are not in `DISCONNECTED`
   * @throws {TypeError} for anything but a Uint8Array; only chats take strings
   */
  send(data: Uint8Array): number {
    const session = this.#session;
    // To the kernel the socket is not even connecting.
    if (session.preparation?.lookup) return 0;
    if (session.socket === null) this[needSocket]('send');
    return session.send(this, data);
  }

  /**
   * Receives up to `size` bytes.
   * @returns null when there is nothing yet, and when the peer has closed, after `handleClose` (or
   *   `handleEof`) has run. Python returns `b''` for the latter, which is false; an empty Buffer is true.
   *   An empty Buffer is an empty datagram
   * @throws {SocketError} `ETIMEDOUT`, …: codes that are not in `DISCONNECTED`
   * @throws {RangeError} for an invalid size
   */
  recv(size: number): Buffer | null {
    const session = this.#session;
    if (session.preparation?.lookup) return null;
    let data: Buffer | null;
    try {
      data = (session.socket ?? this[needSocket]('recv')).recv(size);
    } catch (error) {
      session.checkGone(error);
      this.#deliverHeldInput();
      this.#session.peerGone(this, new Ending('reset', error));
      return null;
    }
    if (data === null || data.length > 0 || session.isDatagram) return data;
    this.#inputOver(session);
    return null;
  }

  #inputOver(session: Session): void {
    if (!this.allowHalfOpen) {
      this.#deliverHeldInput();
      this.#session.peerGone(this, END);
      return;
    }
    if (session.inputEnded) return;
    this.#session.set('inputEnded', true);
    this.#deliverHeldInput();
    if (!session.replaced) handleResult(this, this.handleEof());
  }

  #deliverHeldInput(): void {
    runHandler(this, deliverHeldInput);
  }

  /** @internal */
  [endInput](): void {}

  /** The socket is about to be closed, shut down, replaced or handed over. @internal */
  [flushPending](): void {}

  /** @internal */
  [beforeClose](): void {}

  /** @internal */
  [sessionBegins](_session: Session): void {}

  /** Leaves the map and closes the socket. Idempotent. Calls no handler. */
  close(): void {
    const session = this.#session;
    try {
      if (!session.closed) {
        session.closed = session.gone = true;
        this[beforeClose]();
      }
    } finally {
      // ExitNow may have come out of beforeClose. A half-closed channel would spin.
      this.#closeSocket();
    }
  }

  #closeSocket(): void {
    this.delChannel();
    this.#session = this.#session.closedSuccessor();
    this[sessionBegins](this.#session);
    // A class field hides its accessor until the loop has seen the channel.
    for (const flag of FLAGS) if (Object.hasOwn(this, flag)) this[flag] = false;
    const { socket } = this.#session;
    if (socket === null) return;
    if (socket.owner === this) socket.owner = null;
    try {
      socket.close();
    } catch (error) {
      if (codeOf(error) !== 'ENOTCONN' && codeOf(error) !== 'EBADF') throw error;
    }
  }

  /** Closes the channel at the end of a block: `using channel = …`. */
  [Symbol.dispose](): void {
    this.close();
  }

  // -------------------------------------------------------------------------------------------
  // Events: steps of the loop, which end in handlers.

  /** There is input, a connection to accept, or the end of a connect. Python's `handle_read_event`. */
  handleReadEvent(): Handled {
    const session = this.#session;
    // Another channel's handler may have paused reading in this very tick.
    if (session.readingPaused || (session.preparation?.lookup && session.awaitsLookup())) return;
    session.idle?.received();
    if (this.accepting) return this.handleAccept();
    if (this.connecting && hasFailed(this, session)) return;
    // handleConnect may have paused it.
    if (session.replaced || session.readingPaused) return;
    const result = this.handleRead();
    if (result !== undefined) handleResult(this, result);
  }

  /** Output can be sent, or a connect is over. Python's `handle_write_event`. */
  handleWriteEvent(): Handled {
    // The loop never waits for a listener to become writable.
    const session = this.#session;
    if (this.accepting || (session.preparation?.lookup && session.awaitsLookup())) return;
    if (this.connecting && hasFailed(this, session)) return;
    if (!session.replaced) handleResult(this, this.handleWrite());
  }

  /**
   * A connect is over. Python's `handle_connect_event`.
   * @throws {SocketError} when it failed: `ECONNREFUSED`, `ETIMEDOUT`, …
   */
  handleConnectEvent(): void {
    this[needSocket]('connect');
    this.#session.idle?.touch();
    finishConnect(this, sessionOf);
  }

  /** An error on the socket, or urgent data. Python's `handle_expt_event`. */
  handleExptEvent(): Handled {
    const session = this.#session;
    const errno = this[needSocket]('look for an error').getSockOpt(SOL_SOCKET, SO_ERROR);
    if (errno !== 0) {
      session.peerGone(this, new Ending('reset', failure(-errno, 'recv')));
      return;
    }
    handleResult(this, this.handleExpt());
    if (!session.replaced) session.muteUrgent();
  }

  /** @internal */
  get [hearsReset](): boolean {
    return this.#session.hearsReset;
  }

  /** @internal */
  [explainSpin](event: number, signs: SpinSigns): string | undefined {
    return reasonOfSpin(this, Dispatcher.prototype, this.#session, event, signs);
  }

  /** @internal */
  [isOver](): boolean {
    return this.#session.isOver();
  }

  /** @internal */
  [peerGone](error?: unknown): void {
    const session = this.#session;
    const ending = error === undefined ? session.endingOfHangUp() : new Ending('reset', error);
    session.peerGone(this, ending);
  }

  /** @internal */
  [mayCloseFor](ending: Ending): () => void {
    return this.#session.mayCloseFor(ending);
  }

  /** @internal */
  [beforeError](error: unknown): (pending: boolean) => void {
    const settled = this.#session.mayCloseFor(new Ending('error', error, true));
    return (pending) => {
      if (!pending) settled();
    };
  }

  // -------------------------------------------------------------------------------------------
  // Handlers, to be overridden: see handlers.ts.

  handleError(error: unknown): Handled {
    // A handler has waited for output to leave. handleClose has told the program.
    if (this.#session.closed && codeOf(error) === 'ERR_CHANNEL_CLOSED') return;
    const nonFatal = this.#acceptor?.isNonFatal(error) ?? false;
    logFor(this, describeError(this, error, nonFatal ? 'keeping' : 'closing'), 'error');
    return nonFatal ? undefined : this.#closeFor(new Ending('error', error));
  }

  handleExpt(): Handled {
    logFor(this, 'unhandled incoming priority event', 'warning');
    dropUrgent(this.#session.socket);
  }

  handleRead(): Handled {
    logFor(this, 'unhandled read event', 'warning');
  }

  handleWrite(): Handled {
    logFor(this, 'unhandled write event', 'warning');
  }

  handleConnect(): Handled {
    logFor(this, 'unhandled connect event', 'warning');
  }

  handleAccept(): Handled {
    const session = this.#session;
    const acceptor = this.#accepts();
    for (let left = ACCEPTS_PER_EVENT; left > 0; left -= 1) {
      if (!acceptor.acceptOne()) return;
      if (session.replaced || !session.accepting || session.readingPaused) return;
      if (!this.readable()) return;
    }
  }

  handleAccepted(socket: Socket, address: Address): Handled;
  handleAccepted(socket: Socket): Handled {
    socket.close();
    logFor(this, 'unhandled accepted event', 'warning');
  }

  handleClose(): Handled {
    logFor(this, 'unhandled close event', 'warning');
    this.close();
  }

  handleEof(): Handled {
    return this.#closeFor(END);
  }

  /** An override may have closed the channel before it calls the method that it overrides. */
  #closeFor(ending: Ending): Handled {
    const session = this.#session;
    if (session.closed) return;
    session.closesFor(ending);
    return this.handleClose();
  }

  handleTimeout(_limit?: TimeLimit): Handled {
    return this.#closeFor(new Ending('timeout'));
  }

  handleShutdown(): Handled {
    if (!this.accepting) return this.#closeFor(LOCAL);
    this.close();
  }
}

// Attributes of the class, as in Python: a channel has one of its own when it differs.
Object.assign(Dispatcher.prototype, {
  debug: false,
  closing: false,
  ignoreLogTypes: new Set(['warning']),
  allowHalfOpen: false,
} satisfies Partial<Dispatcher>);

const deliverHeldInput = (channel: Channel): unknown => (channel as Dispatcher)[endInput]();

declareState(
  Dispatcher.prototype,
  'connected',
  'accepting',
  'connecting',
  'inputEnded',
  'readingPaused',
);
declarePredicates(Dispatcher.prototype, 'readable', 'writable');
