/// <reference types="node" preserve="true" />
// A dispatcher wraps one socket as a channel of the loop.
//
// What a reader must believe:
//
// - `handleX` is the program's, to override. `handleXEvent` is a step of the loop's, which decides
//   what has happened and calls one. `readable` and `writable` are asked at every tick.
// - The state is three flags. A listener is `accepting` and never connected; it gives birth to
//   sockets that are. A client is `connecting`, and after the event that ends this, `connected`.
// - A channel leaves the map and the selector in the same step in which its socket is closed, and
//   no handler runs after that. Each step that calls two handlers looks in between whether it is
//   still about the same socket (`#life`).

import { inspect } from 'node:util';
import {
  badRange,
  badType,
  closedSocket,
  codeOf,
  compactTraceback,
  DISCONNECTED,
  messageOf,
  SHORTAGE,
  textOf,
} from '../errors';
import {
  type Address,
  encodeAddress,
  formatAddress,
  type InternetAddress,
  needsLookup,
} from '../kernel/address';
import { flushGatheredOf } from '../kernel/gather';
import {
  AF_INET,
  AF_UNIX,
  IPPROTO_TCP,
  MSG_OOB,
  SO_ERROR,
  SO_REUSEADDR,
  SOCK_DGRAM,
  SOCK_STREAM,
  SOL_SOCKET,
  TCP_INFO,
} from '../kernel/platform/constants';
import { ERRNO, TCP_CLOSE, TCP_LISTEN } from '../kernel/platform/linux';
import { onRelease, Socket, type SocketLike, sendFrom, socketClosing } from '../kernel/socket';
import { failure, type Memory } from '../kernel/syscalls';
import type { Channel } from '../loop/channel';
import { ChannelMap, registryOf, socketMap } from '../loop/channel-map';
import { handleResult, routeError, routeErrorOutside, runHandler } from '../loop/dispatch';
import { declarePredicates, declareState, tellsOfChanges } from '../loop/interest';
import { Admission, type ListenLimits } from './accept';
import { type Found, lookUpMeanwhile } from './connect';
import { IdleTimeout } from './idle-timeout';

/**
 * What a handler may return: a promise's rejection goes to the channel's `handleError`. The loop does
 * not wait for it, and calls the handler again while there still is input: `recv` before you await.
 */
export type Handled = void | Promise<void>;

const CONNECT_UNDER_WAY: ReadonlySet<number> = new Set([
  ERRNO.EINPROGRESS,
  ERRNO.EALREADY,
  ERRNO.EWOULDBLOCK,
]);

/** Shared by all channels: a set is as large as the rest of one. */
const QUIET: ReadonlySet<string> = new Set(['warning']);

/** A tick of a busy server is long: with one caller in each, the others would wait for many. */
const ACCEPTS_PER_EVENT = 16;

/** What is dropped of input that nobody reads: as much as a kernel may hold. */
const DROP_SIZE = 65536;
const DROPS_AT_CLOSE = 128;

/** How long a listener waits when it could not accept for want of descriptors, in ms. */
const ACCEPT_PAUSE = 100;

// Steps that a subclass of the library's may add to; a program's names cannot meet them.

/** There will be no more input: what is held of it goes to the program now. @internal */
export const inputOver = Symbol('inputOver');
/** Whether it has closed, and has no other socket yet. @internal */
export const hasClosed = Symbol('hasClosed');
/** The socket is about to be closed. @internal */
export const beforeClose = Symbol('beforeClose');
/** What has come and nobody reads is dropped. @internal */
export const dropInput = Symbol('dropInput');
/** Changes whenever the channel closes or gets another socket. @internal */
export const life = Symbol('life');

let lastSerial = 0;

/**
 * A channel around one socket. Python's `asyncore.dispatcher`.
 *
 * @example
 * class EchoHandler extends DispatcherWithSend {
 *   override handleRead() {
 *     const data = this.recv(8192);
 *     if (data !== null) this.send(data);
 *   }
 * }
 *
 * class EchoServer extends Dispatcher {
 *   constructor(address: Address) {
 *     super();
 *     this.createSocket();
 *     this.setReuseAddr();
 *     this.bind(address);
 *     this.listen(5);
 *   }
 *   override handleAccepted(socket: Socket) {
 *     new EchoHandler(socket);
 *   }
 * }
 */
export class Dispatcher implements Channel {
  /** Makes `DispatcherWithSend.send` log what it is given. Default false. */
  debug = false;
  /** For the program; the library never sets it. Default false. */
  closing = false;
  /** The peer's address, a listener's own, or where a connect goes to. Null until there is one. */
  addr: Address | null = null;
  /** What `logInfo` does not print. Default `warning`. Python's `ignore_log_types`. */
  ignoreLogTypes: ReadonlySet<string> = QUIET;
  /** What `createSocket` was asked for. Python's `family_and_type`. */
  familyAndType: [family: number, type: number] | null = null;
  /** When the peer ends its stream, `handleEof` is called instead of `handleClose`. Default false. */
  allowHalfOpen = false;
  /** The map this channel stands in while it has a socket. Python's `_map`. */
  readonly map: ChannelMap;

  #socket: SocketLike | null = null;
  #fd: number | null = null;
  #connected = false;
  #accepting = false;
  #connecting = false;
  #inputEnded = false;
  #readingPaused = false;
  #idle: IdleTimeout | null = null;
  /** Where it stands: in its own map, unless `addChannel` was given another. */
  #standsIn: ChannelMap;
  #admission: Admission | null = null;
  /** Counts the sockets this channel has had and closed: two steps of one event compare it. */
  #life = 0;
  /** Set by close(), until the next socket. */
  #closed = false;
  /** `handleConnect` is running: it is called once. */
  #greeting = false;
  /** `handleClose` is running: a farewell that it sends to a dead peer must not start another. */
  #hangingUp = false;
  /** The last error that need not end this channel. */
  #spared: { readonly error: unknown } | null = null;
  /** The errno of a connect that failed: SO_ERROR tells it once, and then that all is well. */
  #connectErrno = 0;
  /** Counts the calls of connect(): a look-up for an earlier one comes too late. */
  #connects = 0;
  /** The kernel has not heard of the connect yet. To send would be an error, and is to wait. */
  #lookingUp = false;
  #serial = 0;

  /**
   * @param socket one that is connected, or is connecting, or listens; none: see `createSocket`
   * @param map default `socketMap`
   * @throws {SocketError} when the socket cannot even say whether it is connected
   * @throws {RangeError} when the socket is closed
   * @throws {TypeError} when `map` is no ChannelMap
   */
  constructor(socket: SocketLike | null = null, map: ChannelMap = socketMap) {
    if (!(map instanceof ChannelMap)) throw badType('make a channel', 'a ChannelMap', map);
    this.map = map;
    this.#standsIn = map;
    if (socket === null || socket === undefined) return;
    this.setSocket(socket, map);
    this.#connected = true;
    try {
      // A caller who hung up since has no name any more, and still was connected.
      this.addr = acceptedFrom(socket) ?? socket.getPeerName?.() ?? null;
    } catch (error) {
      this.#connected = false;
      if (codeOf(error) !== 'ENOTCONN' && codeOf(error) !== 'EINVAL') {
        this.delChannel(map);
        throw error;
      }
      // Not connected, then. A connect that is under way will be, and is waited for.
      this.#connecting = isConnecting(socket);
    }
  }

  // -------------------------------------------------------------------------------------------
  // State. Accessors, so that the map hears of each change.

  /** Whether there is a connection. False within `handleConnect`, as in Python. */
  get connected(): boolean {
    return this.#connected;
  }

  set connected(value: boolean) {
    if (this.#connected === value) return;
    this.#connected = value;
    this.interestChanged();
  }

  /** Whether this is a listener. */
  get accepting(): boolean {
    return this.#accepting;
  }

  set accepting(value: boolean) {
    if (this.#accepting === value) return;
    this.#accepting = value;
    this.interestChanged();
  }

  /** Whether a connect is under way. */
  get connecting(): boolean {
    return this.#connecting;
  }

  set connecting(value: boolean) {
    if (this.#connecting === value) return;
    this.#connecting = value;
    this.interestChanged();
  }

  /** Whether the peer has ended its stream and this channel lives on (`allowHalfOpen`). */
  get inputEnded(): boolean {
    return this.#inputEnded;
  }

  /** Whether `pauseReading` was called, and `resumeReading` not yet. */
  get readingPaused(): boolean {
    return this.#readingPaused;
  }

  /**
   * Has no more read events until `resumeReading`: what the peer sends fills the kernel's buffer, and
   * then stops him. A listener accepts nobody meanwhile. A chat keeps the records that it has received
   * already back, too, from within `foundTerminator` on.
   *
   * @example
   * override async foundTerminator() {
   *   this.pauseReading();
   *   this.push(await this.database.answer(this._getData()));
   *   this.resumeReading(); // the next record's turn, in the order of the requests
   * }
   */
  pauseReading(): void {
    this.#setReadingPaused(true);
  }

  /** Ends what `pauseReading` began: from the next tick on. */
  resumeReading(): void {
    this.#setReadingPaused(false);
  }

  #setReadingPaused(paused: boolean): void {
    if (this.#readingPaused === paused) return;
    this.#readingPaused = paused;
    this.interestChanged();
  }

  /** As set by `setIdleTimeout`, in milliseconds; 0: none. */
  get idleTimeout(): number {
    return this.#idle?.duration ?? 0;
  }

  /**
   * Has `handleTimeout` called when this channel has been idle for so long: no read event, and nothing
   * sent. A connect that is under way counts as idle. What it costs does not depend on how many channels
   * have one.
   * @param duration in milliseconds; 0: never, as from the start
   * @throws {RangeError|TypeError} when it is negative or no number
   */
  setIdleTimeout(duration: number): void {
    if (typeof duration !== 'number') throw badType('time out', 'milliseconds', duration);
    if (!(duration >= 0)) throw badRange('time out', '0 milliseconds or more', duration);
    this.#idle?.stop();
    this.#idle = duration === 0 ? null : new IdleTimeout(this, duration);
    if (this.#fd !== null) this.#idle?.start(this.#standsIn);
  }

  /**
   * The socket; it stays here after `close`, closed. Null before `createSocket` or `setSocket`; set
   * it with the latter, as an assignment does not enter the map.
   */
  get socket(): SocketLike | null {
    return this.#socket;
  }

  set socket(socket: SocketLike | null) {
    this.#socket = socket;
  }

  /** The descriptor under which this channel stands in its map, or null. Python's `_fileno`. */
  fileno(): number | null {
    flushGatheredOf(this);
    return this.#fd;
  }

  /**
   * Tells the loop to ask `readable` and `writable` again. A subclass that overrides one need not
   * call it, as it is asked at every tick; but a change that comes from outside the loop, a timer's,
   * is seen at once only when it is told.
   */
  interestChanged(): void {
    if (this.#fd !== null) this.#standsIn.interestChanged(this.#fd);
  }

  /**
   * Whether the loop may rely on `interestChanged` being called, and otherwise leave this channel
   * alone. By default: when the predicates are the library's own. Override it to return true in a
   * subclass which overrides a predicate and calls `interestChanged` at each change.
   */
  tracksInterest(): boolean {
    return tellsOfChanges(this);
  }

  // -------------------------------------------------------------------------------------------
  // The channel map.

  /**
   * Puts this channel into a map, its own by default. Python's `add_channel`.
   * @throws {TypeError} when it has no socket, or a closed one
   */
  addChannel(map: ChannelMap = this.map): void {
    if (this.#fd === null) throw badType('add a channel', 'a channel with a socket', this);
    map.set(this.#fd, this);
    this.#standsIn = map;
    this.#idle?.start(map);
    if (this.#admission?.full) this.#admitAgain();
  }

  /**
   * Takes it out again, and leaves the socket open. `fileno()` is null then. Silent when it is not
   * in. Python's `del_channel`.
   * @param map default: its own, and the one that `addChannel` was given last
   */
  delChannel(map?: ChannelMap): void {
    const fd = this.#fd;
    this.#fd = null;
    this.#idle?.stop();
    if (fd === null) return;
    this.#leave(map ?? this.map, fd);
    if (map === undefined && this.#standsIn !== this.map) this.#leave(this.#standsIn, fd);
  }

  #leave(map: ChannelMap, fd: number): void {
    if (map.get(fd) === this) map.delete(fd);
  }

  /**
   * Opens a socket, which is in the map from here on. Python's `create_socket`.
   * @param family default `AF_INET`
   * @param type default `SOCK_STREAM`
   * @throws {SocketError} `EMFILE`, `EAFNOSUPPORT`, …
   */
  createSocket(family: number = AF_INET, type: number = SOCK_STREAM): void {
    this.familyAndType = [family, type];
    this.setSocket(Socket.socket(family, type));
  }

  /**
   * Wraps `socket` and enters the map. The socket that it had is the program's to close. Python's
   * `set_socket`.
   * @throws {RangeError} when the socket is closed
   */
  setSocket(socket: SocketLike, map: ChannelMap = this.map): void {
    // What was pushed is for the socket before this one.
    flushGatheredOf(this);
    if (typeof socket?.fileno !== 'function') throw badType('set a socket', 'a socket', socket);
    const fd = socket.fileno();
    if (!(fd >= 0)) throw closedSocket('set a socket');
    const before = this.#socket;
    // What was registered for the socket before this one must not reach it.
    if (this.#fd !== null && this.#fd !== fd) this.delChannel();
    else if (this.#fd === fd && before !== socket && map.get(fd) === this)
      registryOf(map).renew(fd);
    if (before?.owner === this) before.owner = null;
    this.#socket = socket;
    this.#fd = fd;
    this.#life += 1;
    this.#closed = false;
    this.#inputEnded = false;
    this.#lookingUp = false;
    this.#connectErrno = 0;
    if (socket.owner !== undefined) socket.owner = this;
    this.addChannel(map);
  }

  /** Somebody closes the socket and not the channel: what poll(2) would call POLLNVAL. @internal */
  [socketClosing](): void {
    if (this.#fd !== null) registryOf(this.#standsIn).invalidate(this.#fd);
  }

  /**
   * Lets the address be used again at once by the next server: call it before `bind`. What the
   * kernel has against it is ignored. Python's `set_reuse_addr`.
   * @throws {TypeError} without a socket
   */
  setReuseAddr(): void {
    const socket = this.#live('setReuseAddr');
    try {
      const value = socket.getSockOpt(SOL_SOCKET, SO_REUSEADDR);
      socket.setSockOpt?.(SOL_SOCKET, SO_REUSEADDR, value | 1);
    } catch {
      // As in Python: a server that cannot have it runs without.
    }
  }

  // -------------------------------------------------------------------------------------------
  // Predicates, asked at every tick.

  /** Whether to wait for input. True, unless overridden. */
  readable(): boolean {
    return true;
  }

  /**
   * Whether to wait until output can be sent. True, unless overridden: a socket nearly always can,
   * so a channel that leaves it so is called at every tick.
   */
  writable(): boolean {
    return true;
  }

  // -------------------------------------------------------------------------------------------
  // Socket methods. Without a socket each throws a TypeError.

  #live(action: string): SocketLike {
    if (this.#socket === null) throw badType(action, 'a channel with a socket', this);
    return this.#socket;
  }

  /**
   * Becomes a listener.
   * @param backlog how many callers may wait unaccepted. Default 128; Python has no default
   * @param limits how many connections may be open, those that `accept` has returned and that are not
   *   closed: beyond `maxConnections` callers wait in the backlog, beyond `maxConnectionsPerAddress`
   *   they are turned away. Call `listen` again to change them
   * @throws {SocketError} `EADDRINUSE`, `EOPNOTSUPP`, …
   * @throws {RangeError|TypeError} for a limit that is no integer of 1 or more
   *
   * @example
   * this.listen(128, { maxConnections: 10_000, maxConnectionsPerAddress: 50 });
   */
  listen(backlog = 128, limits: ListenLimits = {}): void {
    const socket = this.#live('listen');
    if (typeof limits !== 'object' || limits === null) throw badType('listen', 'limits', limits);
    if (this.#admission !== null || Object.keys(limits).length > 0) this.#limit(limits);
    this.accepting = true;
    this.#admitAgain();
    method(socket, 'listen').call(socket, backlog);
  }

  #limit(limits: ListenLimits): void {
    this.#admission ??= new Admission(() => this.#admitAgain());
    this.#admission.limit(limits);
  }

  #admitAgain(): void {
    if (this.#fd === null || !this.#accepting) return;
    if (this.#admission?.full) registryOf(this.#standsIn).suspend(this.#fd, Infinity);
    else registryOf(this.#standsIn).resume(this.#fd);
  }

  /**
   * Gives the socket an address of its own. A host name is looked up, blocking; `''` is every address
   * of this machine, port 0 one that the kernel chooses (`socket.getSockName()` tells).
   * @throws {SocketError} `EADDRINUSE`, `EACCES`, `ENOTFOUND`, …
   * @throws {TypeError|RangeError} when the address cannot be meant
   */
  bind(address: Address): void {
    const socket = this.#live('bind');
    this.addr = address;
    method(socket, 'bind').call(socket, address);
  }

  /**
   * Starts to connect. `handleConnect` tells of success, `handleError` of failure; a connection that
   * stands at once (Unix, UDP) calls `handleConnect` from within. A host name is looked up meanwhile.
   *
   * @throws {SocketError} when it fails at once: `ENETUNREACH`, `ENOENT`, and `EAGAIN` from a Unix
   *   listener whose backlog is full. The channel is then out of the map, and may connect again
   * @throws {TypeError|RangeError} when the address cannot be meant; nothing has changed then
   *
   * @example
   * class Client extends AsyncChat {
   *   constructor(address: Address) {
   *     super();
   *     this.createSocket();
   *     this.connect(address);
   *   }
   *   override handleConnect() {
   *     this.push('HELO\r\n');
   *   }
   * }
   */
  connect(address: Address): void {
    const socket = this.#live('connect');
    let named: InternetAddress | null = null;
    if (socket instanceof Socket) {
      if (socket.family !== AF_UNIX && needsLookup(address)) named = address;
      // What can be said against the address is said before anything has changed.
      encodeAddress(named === null ? address : { ...named, host: '' }, socket.family, 'connect');
    }
    this.#connects += 1;
    this.#connectErrno = 0;
    this.#lookingUp = false;
    this.connected = false;
    this.connecting = true;
    if (this.#fd !== null) registryOf(this.#standsIn).resume(this.#fd);
    else if (socket.fileno() >= 0) this.setSocket(socket);
    if (named !== null) this.#lookUp(socket as Socket, named);
    else if (this.#startConnecting(socket, address)) this.handleConnectEvent();
  }

  /**
   * @param found the literal that the host of `address` stands for
   * @returns whether the connection stands already
   */
  #startConnecting(socket: SocketLike, address: Address, found?: Found): boolean {
    try {
      const target = found === undefined ? address : { ...address, host: found() };
      const errno = method(socket, 'connectEx').call(socket, target);
      // EAGAIN from a Unix socket is no progress: its listener's backlog is full, and no event
      // will ever tell that it no longer is.
      const underWay = errno !== ERRNO.EAGAIN || !('path' in address);
      const done = errno === 0 || errno === ERRNO.EISCONN;
      if (!done && !(underWay && CONNECT_UNDER_WAY.has(errno))) {
        throw failure(-errno, 'connect', formatAddress(address));
      }
      this.addr = address;
      return done;
    } catch (error) {
      this.connecting = false;
      this.delChannel();
      throw error;
    }
  }

  /** The socket is no business of the kernel's until then, as an unconnected one reports a hang-up. */
  #lookUp(socket: Socket, address: InternetAddress): void {
    this.addr = address;
    this.#lookingUp = true;
    const map = this.#standsIn;
    const fd = this.#fd as number;
    const life = this.#life;
    const connects = this.#connects;
    registryOf(map).suspend(fd, Infinity);
    lookUpMeanwhile(map, address.host, socket, (found) => {
      // The channel may have moved on.
      if (this.#life !== life || this.#connects !== connects) return;
      this.#lookingUp = false;
      registryOf(map).resume(fd);
      try {
        if (this.#startConnecting(socket, address, found)) this.handleConnectEvent();
      } catch (error) {
        routeErrorOutside(this, error);
      }
    });
  }

  /**
   * The next caller, or null when there is none (any more), or no room for him (`listen`).
   * @throws {SocketError} `EMFILE`, …: the listener then stops for 100 ms, as the caller stays in the
   *   backlog and going on would be a spin; `handleError` is told, and does not close it
   */
  accept(): { socket: Socket; address: Address } | null {
    const admission = this.#admission;
    if (admission === null) return this.#acceptAny();
    // Others are to have their turn, however many come of one address.
    for (let turnedAway = 0; turnedAway < ACCEPTS_PER_EVENT; turnedAway += 1) {
      if (admission.full) {
        // It may have come to this map, or to this socket, full already.
        this.#admitAgain();
        return null;
      }
      const caller = this.#acceptAny();
      if (caller === null) return null;
      const left = admission.admit(caller.address);
      if (left !== null) {
        if (admission.full) this.#admitAgain();
        caller.socket[onRelease](left);
        return caller;
      }
      caller.socket.close();
    }
    return null;
  }

  #acceptAny(): { socket: Socket; address: Address } | null {
    const socket = this.#live('accept');
    try {
      return method(socket, 'accept').call(socket);
    } catch (error) {
      if (codeOf(error) === 'ECONNABORTED') return null;
      if (SHORTAGE.has(codeOf(error) ?? '')) {
        if (this.#fd !== null) registryOf(this.#standsIn).suspend(this.#fd, ACCEPT_PAUSE);
        this.#spared = { error };
      }
      throw error;
    }
  }

  /**
   * How many bytes were sent, perhaps not all: 0 when it would block, and when the peer is gone, upon
   * which `handleClose` has run.
   * @throws {SocketError} `ETIMEDOUT`, …: whatever is not in `DISCONNECTED`
   * @throws {TypeError} for what is no Uint8Array; strings are for chats
   */
  send(data: Uint8Array): number {
    if (this.#lookingUp) return 0;
    try {
      return this.#sent(this.#live('send').send(data));
    } catch (error) {
      return this.#sendFailed(error);
    }
  }

  /** As `send`, of a Socket. @internal */
  [sendFrom](socket: Socket, memory: Memory, length: number): number {
    try {
      return this.#sent(socket[sendFrom](memory, length));
    } catch (error) {
      return this.#sendFailed(error);
    }
  }

  #sent(size: number | null): number {
    if (size === null) return 0;
    this.#idle?.touch();
    return size;
  }

  #sendFailed(error: unknown): number {
    if (!DISCONNECTED.has(codeOf(error) ?? '')) throw error;
    this.#hangUp();
    return 0;
  }

  /**
   * Up to `size` bytes, or null: when there is nothing yet, and when the peer has closed, upon which
   * `handleClose` (or `handleEof`) has run. (Python returns `b''` for the latter, which is false
   * there; an empty Buffer is true.) Empty is what a datagram may be.
   * @throws {SocketError} `ETIMEDOUT`, …: whatever is not in `DISCONNECTED`
   * @throws {RangeError} when `size` cannot be meant
   */
  recv(size: number): Buffer | null {
    if (this.#lookingUp) return null;
    let data: Buffer | null;
    try {
      data = this.#live('recv').recv(size);
    } catch (error) {
      if (!DISCONNECTED.has(codeOf(error) ?? '')) throw error;
      this.#endInput();
      this.#hangUp();
      return null;
    }
    if (data === null || data.length > 0 || this.#hasDatagrams()) return data;
    this.#endOfInput();
    return null;
  }

  /** An empty datagram is one like any other. */
  #hasDatagrams(): boolean {
    const socket = this.#socket;
    return socket instanceof Socket && socket.type === SOCK_DGRAM;
  }

  #endOfInput(): void {
    if (!this.allowHalfOpen) {
      this.#endInput();
      this.#hangUp();
      return;
    }
    if (this.#inputEnded) return;
    this.#inputEnded = true;
    this.interestChanged();
    this.#endInput();
    if (!this.#closed) handleResult(this, this.handleEof());
  }

  #endInput(): void {
    runHandler(this, () => this[inputOver]());
  }

  /** `handleClose`, but not for a channel that has closed, and not from within. */
  #hangUp(): void {
    if (this.#closed || this.#hangingUp) return;
    this.#hangingUp = true;
    try {
      handleResult(this, this.handleClose());
    } finally {
      this.#hangingUp = false;
    }
  }

  /** @internal */
  get [life](): number {
    return this.#life;
  }

  /** @internal */
  get [hasClosed](): boolean {
    return this.#closed;
  }

  /** @internal */
  [inputOver](): void {}

  /**
   * A socket that is closed over unread input resets the connection, and what the kernel has still to
   * send is lost. @internal
   */
  [dropInput](): void {
    try {
      for (let left = DROPS_AT_CLOSE; left > 0; left -= 1) {
        const data = this.#live('close').recv(DROP_SIZE);
        if (data === null || data.length === 0) return;
      }
    } catch {
      // Whatever it is, the channel is about to be closed.
    }
  }

  /** @internal */
  [beforeClose](): void {}

  /** Leaves the map and closes the socket. Idempotent; calls no handler. */
  close(): void {
    const first = !this.#closed;
    this.#closed = true;
    try {
      if (first) this[beforeClose]();
    } finally {
      // Also when ExitNow has come out of it: what is left of a channel would spin.
      this.#closeSocket();
    }
  }

  #closeSocket(): void {
    this.#life += 1;
    this.#lookingUp = false;
    this.connected = false;
    this.accepting = false;
    this.connecting = false;
    this.#readingPaused = false;
    this.delChannel();
    const socket = this.#socket;
    if (socket === null) return;
    if (socket.owner === this) socket.owner = null;
    try {
      socket.close();
    } catch (error) {
      if (codeOf(error) !== 'ENOTCONN' && codeOf(error) !== 'EBADF') throw error;
    }
  }

  /** Closes it at the end of a block: `using channel = …`. */
  [Symbol.dispose](): void {
    this.close();
  }

  // -------------------------------------------------------------------------------------------
  // Logging.

  /** Prints `log: message` to stderr. For "hits"; override it to log elsewhere. Python's `log`. */
  log(message: unknown): void {
    process.stderr.write(`log: ${String(message)}\n`);
  }

  /**
   * Prints `type: message` to stdout, unless `ignoreLogTypes` has the type. Python's `log_info`.
   * @param type default `info`; the library's own are `error`, `warning` and `info`
   */
  logInfo(message: unknown, type = 'info'): void {
    if (!this.ignoreLogTypes.has(type)) process.stdout.write(`${type}: ${String(message)}\n`);
  }

  /** `<EchoServer listening 127.0.0.1:8007 at 0x1>`; the number tells channels apart. Python's repr. */
  toString(): string {
    const words = [this.constructor.name || 'anonymous'];
    if (this.accepting && this.addr !== null) words.push('listening');
    else if (this.connected) words.push('connected');
    if (this.addr !== null) words.push(formatAddress(this.addr));
    return `<${words.join(' ')} at 0x${this.#identity()}>`;
  }

  [inspect.custom](): string {
    return this.toString();
  }

  #identity(): string {
    if (this.#serial === 0) {
      lastSerial += 1;
      this.#serial = lastSerial;
    }
    return this.#serial.toString(16);
  }

  // -------------------------------------------------------------------------------------------
  // Events: steps of the loop's, which end in handlers.

  /** There is input, a caller, or the end of a connect. Python's `handle_read_event`. */
  handleReadEvent(): Handled {
    // Another channel's handler may have paused it in this very tick.
    if (this.#readingPaused) return;
    this.#idle?.touch();
    if (this.accepting) return this.handleAccept();
    const life = this.#life;
    if (!this.connected && this.connecting) this.handleConnectEvent();
    // handleConnect may have paused it.
    if (this.#life === life && !this.#readingPaused) handleResult(this, this.handleRead());
  }

  /** Output can be sent, or a connect is over. Python's `handle_write_event`. */
  handleWriteEvent(): Handled {
    // A listener is not asked about; should it be told, it has nothing to write.
    if (this.accepting) return;
    const life = this.#life;
    if (!this.connected && this.connecting) this.handleConnectEvent();
    if (this.#life === life) handleResult(this, this.handleWrite());
  }

  /**
   * A connect is over. Python's `handle_connect_event`.
   * @throws {SocketError} when it failed: `ECONNREFUSED`, `ETIMEDOUT`, …
   */
  handleConnectEvent(): void {
    const socket = this.#live('connect');
    const errno = this.#connectErrno || socket.getSockOpt(SOL_SOCKET, SO_ERROR);
    if (errno !== 0) {
      this.#connectErrno = errno;
      const address = this.addr === null ? undefined : formatAddress(this.addr);
      throw failure(-errno, 'connect', address);
    }
    // A pass that handleConnect runs itself.
    if (this.#greeting) return;
    const life = this.#life;
    this.#idle?.touch();
    this.#greeting = true;
    try {
      handleResult(this, this.handleConnect());
    } finally {
      this.#greeting = false;
    }
    // handleConnect may have closed the channel, which then is not connected.
    if (this.#life !== life) return;
    this.connected = true;
    this.connecting = false;
  }

  /** An error on the socket, or urgent data. Python's `handle_expt_event`. */
  handleExptEvent(): Handled {
    const errno = this.#live('exception').getSockOpt(SOL_SOCKET, SO_ERROR);
    if (errno !== 0) this.#hangUp();
    else handleResult(this, this.handleExpt());
  }

  // -------------------------------------------------------------------------------------------
  // Handlers, to be overridden. Any of them may be async.

  /**
   * A handler threw, or a connect failed. Logs the error and calls `handleClose`.
   *
   * Two errors end no channel, and are only logged: an exception out of `handleAccepted`, which
   * costs the caller his connection, and an accept for which there was no descriptor.
   *
   * @param error what was thrown, which may be anything. Python's `handle_error` has none
   *
   * @example
   * override handleError(error: unknown) {
   *   if (error instanceof SocketError && error.code === 'ECONNREFUSED') this.tryTheNextHost();
   *   else super.handleError(error);
   * }
   */
  handleError(error: unknown): Handled {
    const spared = this.#spared !== null && this.#spared.error === error;
    const [, type, value, info] = compactTraceback(error);
    const self = textOf(this, `<toString() failed for object at 0x${this.#identity()}>`);
    const name = typeof type === 'function' ? nameOfClass(type) : nameOfType(value);
    const text = messageOf(value);
    const consequence = spared ? 'keeping' : 'closing';
    this.logInfo(
      `uncaptured exception, ${consequence} channel ${self} (${name}:${text} ${info})`,
      'error',
    );
    return spared || this.#closed ? undefined : this.handleClose();
  }

  /**
   * Urgent data has arrived: `(this.socket as Socket).recv(1, MSG_OOB)`. Drops it and logs a warning,
   * unless overridden. Python does not drop it.
   */
  handleExpt(): Handled {
    this.logInfo('unhandled incoming priority event', 'warning');
    if (this.#socket instanceof Socket) dropUrgent(this.#socket);
  }

  /**
   * There is input to `recv`, or its end. Logs a warning, unless overridden, which `ignoreLogTypes` hides:
   * so do the next two.
   */
  handleRead(): Handled {
    this.logInfo('unhandled read event', 'warning');
  }

  /** Output can be sent. Logs a warning, unless overridden. */
  handleWrite(): Handled {
    this.logInfo('unhandled write event', 'warning');
  }

  /**
   * The connection stands. `connected` becomes true when this returns. Logs a warning, unless
   * overridden.
   */
  handleConnect(): Handled {
    this.logInfo('unhandled connect event', 'warning');
  }

  /**
   * There is a caller. Accepts him, and calls `handleAccepted`; and so on with all who wait, up to 16,
   * while `readable` says yes. (Python accepts one in each tick.)
   */
  handleAccept(): Handled {
    const life = this.#life;
    for (let left = ACCEPTS_PER_EVENT; left > 0; left -= 1) {
      if (!this.#acceptOne()) return;
      if (this.#life !== life || !this.#accepting || this.#readingPaused) return;
      if (!this.readable()) return;
    }
  }

  /** @returns false when nobody waits */
  #acceptOne(): boolean {
    const caller = this.accept();
    if (caller === null) return false;
    const dropped = (_: Channel, error: unknown): void => {
      // Nobody will ever answer, unless a channel took the socket before it went wrong.
      if (caller.socket.owner === null) caller.socket.close();
      this.#spared = { error };
      routeError(this, error);
    };
    try {
      handleResult(this, this.handleAccepted(caller.socket, caller.address), dropped);
    } catch (error) {
      dropped(this, error);
    }
    return true;
  }

  /**
   * A connection was accepted: make a channel for `socket`. Closes it, unless overridden.
   * @param _address the caller's
   */
  handleAccepted(socket: Socket, _address: Address): Handled {
    socket.close();
    this.logInfo('unhandled accepted event', 'warning');
  }

  /**
   * The peer has gone, or all is sent after `closeWhenDone`. Closes the channel; an override must,
   * too, or is called again. `close` does not call it.
   */
  handleClose(): Handled {
    this.logInfo('unhandled close event', 'warning');
    this.close();
  }

  /** The peer has ended its stream, and `allowHalfOpen` is set. Calls `handleClose`. */
  handleEof(): Handled {
    return this.#end();
  }

  /** An override may have closed before it calls what it overrides. */
  #end(): Handled {
    return this.#closed ? undefined : this.handleClose();
  }

  /**
   * The channel has been idle for as long as `setIdleTimeout` allows. Calls `handleClose`. An override
   * that does not close is called again after the same time.
   */
  handleTimeout(): Handled {
    return this.#end();
  }

  /** The program is about to end, see `shutdown`. Closes a listener, and otherwise calls `handleClose`. */
  handleShutdown(): Handled {
    if (!this.accepting) return this.#end();
    this.close();
  }
}

declareState(
  Dispatcher.prototype,
  'connected',
  'accepting',
  'connecting',
  'inputEnded',
  'readingPaused',
);
declarePredicates(Dispatcher.prototype, 'readable', 'writable');

/** An urgent byte that nobody reads would be told of at every tick, for ever: in Python it is. */
function dropUrgent(socket: Socket): void {
  try {
    socket.recv(1, MSG_OOB);
  } catch {
    // An override has read it, or it is in line (SO_OOBINLINE).
  }
}

function acceptedFrom(socket: SocketLike): Address | null {
  return socket instanceof Socket ? socket.acceptedFrom : null;
}

function isConnecting(socket: SocketLike): boolean {
  if (!(socket instanceof Socket) || socket.type !== SOCK_STREAM || socket.family === AF_UNIX) {
    return false;
  }
  const state = socket.getSockOpt(IPPROTO_TCP, TCP_INFO, 1)[0] as number;
  // It may have come so far between the two questions: its first event tells.
  return state !== TCP_CLOSE && state !== TCP_LISTEN;
}

/** A method that not every stand-in for a socket has. */
function method<Name extends 'listen' | 'bind' | 'connectEx' | 'accept'>(
  socket: SocketLike,
  name: Name,
): NonNullable<SocketLike[Name]> {
  const found = socket[name];
  if (typeof found !== 'function') throw badType(name, `a socket that can ${name}`, socket);
  return found as NonNullable<SocketLike[Name]>;
}

/** A class may say anything of its name, a symbol too. */
function nameOfClass(type: { name: unknown }): string {
  try {
    return String(type.name);
  } catch {
    return '?';
  }
}

function nameOfType(value: unknown): string {
  return value === null ? 'null' : typeof value;
}
