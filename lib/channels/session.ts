// The life of one attached socket.
//
// A channel has one session at a time, which `setSocket` and `close` replace. A step that calls a handler
// and goes on afterwards keeps the session it began with, and looks whether that has been replaced. The
// state that hot loops read lives here, in a final class: a channel's own fields differ in shape from
// subclass to subclass.

import { badType, codeOf, DISCONNECTED } from '../errors';
import {
  MSG_OOB,
  MSG_PEEK,
  SO_ERROR,
  SO_OOBINLINE,
  SOCK_DGRAM,
  SOCK_STREAM,
  SOL_SOCKET,
} from '../kernel/platform/constants';
import { noteProgress } from '../kernel/progress';
import { sendFile } from '../kernel/send-file';
import { Socket, type SocketLike, sendRange } from '../kernel/socket';
import { failure, type Memory } from '../kernel/syscalls';
import { type Channel, isPromise } from '../loop/channel';
import { type ChannelMap, registryOf } from '../loop/channel-map';
import { handleResult } from '../loop/dispatch';
import { NO_SOCKET } from './channel-base';
import type { ChannelTimers } from './channel-timers';
import { END, Ending, LOCAL } from './ending';
import type { IdleTimeout } from './idle-timeout';

/** What this file needs of a channel. */
interface Wrapper extends Channel {
  setSocket(socket: SocketLike, map?: ChannelMap): void;
  delChannel(): void;
}

/** How far the program has got with a socket that it sets up itself. */
class Preparation {
  /** `bind` has given the socket its address. */
  bound = false;
  /** `bind`, `listen` or `connect` has failed and taken the channel out of its map. */
  failed = false;
  /** `connect` was called for this socket. */
  connectStarted = false;
  /** The errno of a failed connect, kept because reading SO_ERROR clears it. handleError has been told. */
  connectErrno = 0;
  /**
   * The look-up of a host name, and a search for the address that answers (search.ts). It has to end before
   * the socket of the channel is of use.
   */
  lookup: { abandon?(): void } | null = null;

  /** Whether a host name is being connected to, by sockets that are yet to come (search.ts). */
  get isSearching(): boolean {
    return this.lookup?.abandon !== undefined;
  }
}

export class Session {
  /** Another session has taken its place. */
  replaced = false;
  /** `close` was called. */
  closed = false;
  connected = false;
  accepting = false;
  connecting = false;
  readingPaused = false;
  /** There was an error, and no record has been delivered since. */
  failed = false;
  /** Nothing can be sent any more: the channel has closed, or the kernel says that the peer is gone. */
  gone = false;
  /**
   * Records were received that `pauseReading` keeps back, or that an error has left. The kernel knows
   * nothing of them.
   */
  holdsRecords = false;
  /** The peer has ended its stream, and the channel lives on (`allowHalfOpen`). */
  inputEnded = false;
  /** `handleConnect` is running. It is called once, whatever the passes that it runs itself report. */
  handlesConnect = false;
  /**
   * `handleClose` is running, or its promise is pending. What it sends to a dead peer must not start it
   * again.
   */
  handlesClose = false;
  /** `handleClose` was called: the connection is over, or all has been sent after `closeWhenDone`. */
  closeHandled = false;
  /** What `bind`, `listen` and `connect` have come to; null for a socket that was given, as by `accept`. */
  preparation: Preparation | null = null;
  /** Of the socket, set by `attach`: `SOCK_STREAM`, `SOCK_DGRAM`, …; 0: there has been no socket yet. */
  type = 0;
  /** Set by `attach`: what is sent together arrives together. Otherwise each send is one message. */
  isStream = true;
  /** As set by `setIdleTimeout`. */
  idle: IdleTimeout | null = null;
  /** Null: the channel has made none. */
  timers: ChannelTimers | null = null;
  /** Why the channel closes; null while it does not. */
  ending: Ending | null = null;

  constructor(
    public socket: SocketLike | null,
    /** The map that the channel stands in. */
    public map: ChannelMap,
    /** Its key in that map; null while it is in none. */
    public fd: number | null,
  ) {}

  /** Puts a socket in place of the one before, within the same session: `channel.socket = …`. */
  attach(socket: SocketLike | null): void {
    this.socket = socket;
    if (socket !== null) {
      this.closed = this.gone = this.closeHandled = false;
      this.ending = null;
    }
    this.type = socket instanceof Socket ? socket.type : SOCK_STREAM;
    this.isStream = this.type === SOCK_STREAM;
  }

  /** An empty message is a datagram, and not the end of the input. */
  get isDatagram(): boolean {
    return this.type === SOCK_DGRAM;
  }

  /** To write to. */
  get preparing(): Preparation {
    this.preparation ??= new Preparation();
    return this.preparation;
  }

  get connectErrno(): number {
    return this.preparation?.connectErrno ?? 0;
  }

  /** The session of the next socket. As in Python, `setSocket` changes none of these. */
  next(socket: SocketLike, fd: number): Session {
    // The first socket: no step is under way that would compare sessions afterwards.
    if (this.type === 0 && !this.closed && !this.handlesClose) {
      this.fd = fd;
      this.failed = false;
      this.attach(socket);
      return this;
    }
    // What it was connecting to is of no concern to the next socket.
    this.preparation?.lookup?.abandon?.();
    const next = new Session(null, this.map, fd);
    next.attach(socket);
    next.connected = this.connected;
    next.accepting = this.accepting;
    next.connecting = this.connecting;
    next.readingPaused = this.readingPaused;
    next.holdsRecords = this.holdsRecords;
    next.handlesConnect = this.handlesConnect;
    next.idle = this.idle;
    next.timers = this.timers;
    this.replaced = true;
    return next;
  }

  /** The session of the channel once it has closed. The closed socket stays in place. */
  closedSuccessor(): Session {
    const next = new Session(this.socket, this.map, null);
    next.closed = true;
    next.gone = true;
    next.ending = this.ending ?? (this.inputEnded ? END : LOCAL);
    next.inputEnded = this.inputEnded;
    next.idle = this.idle;
    this.replaced = true;
    this.closed = true;
    this.gone = true;
    this.preparation?.lookup?.abandon?.();
    if (this.timers !== null) this.endTimers();
    return next;
  }

  /** Timers that the channel makes from now on are others. */
  endTimers(): void {
    const { timers } = this;
    this.timers = null;
    timers?.end();
  }

  /**
   * Whether an event comes too early, because a host name is being looked up. Another entry in the map has
   * ended the suspension then: it is set again.
   */
  awaitsLookup(): boolean {
    if (this.preparation === null || this.preparation.lookup === null) return false;
    this.suspend(Infinity);
    return true;
  }

  /** Whether the channel has work to do by now, which an error of the next step must not end. */
  get inUse(): boolean {
    return this.works || (this.connecting && this.connectErrno === 0);
  }

  /** The same, without a connect that is under way: the next one takes its place. */
  get works(): boolean {
    return (
      this.connected || this.accepting || (this.isDatagram && this.preparation?.bound === true)
    );
  }

  /** While `connect` looks a name up and tries its addresses, the socket is not the one to come. */
  checkOwnSocket(channel: Wrapper, method: string): void {
    if (!this.preparation?.isSearching) return;
    throw badType(method, 'a channel that does not connect', channel, NO_SOCKET);
  }

  /**
   * Runs one step on the way to a listener or a connection. A socket that is neither reports a hang-up at
   * every tick, so a channel that fails here leaves its map until a later step succeeds.
   * @param inUse the channel has work to do, and stays in the map whatever comes
   */
  setUp<Result>(channel: Wrapper, inUse: boolean, step: () => Result): Result {
    try {
      const result = step();
      if (this.preparation?.failed === true && this.fd === null) {
        channel.setSocket(this.socket as SocketLike, this.map);
      }
      return result;
    } catch (error) {
      if (!inUse) this.leaveMap(channel);
      throw error;
    }
  }

  /** The loop has no use for this channel as it is. It may come back; until then, `closeAll` closes it. */
  leaveMap(channel: Wrapper): void {
    this.preparing.failed = true;
    channel.delChannel();
    registryOf(this.map).strays.add(channel);
  }

  /**
   * Sends what the socket takes.
   * @returns how many bytes; 0 when it would block, and when the peer is gone, after `handleClose` has run
   */
  send(channel: Wrapper, data: Uint8Array): number {
    try {
      return this.sent((this.socket as SocketLike).send(data));
    } catch (error) {
      return this.sendFailed(channel, error);
    }
  }

  /** As `send`, by the kernel's own socket and from memory with a fixed address. */
  sendRange(channel: Wrapper, memory: Memory, offset: number, length: number): number {
    try {
      return this.sent((this.socket as Socket)[sendRange](memory, offset, length));
    } catch (error) {
      return this.sendFailed(channel, error);
    }
  }

  /**
   * Sends a part of a file, by the kernel's own socket.
   * @returns as `sendFile`; null as well when the peer is gone, after `handleClose` has run
   */
  sendFile(channel: Wrapper, file: number, offset: number, length: number): number | null {
    try {
      const size = sendFile(this.socket as Socket, file, offset, length);
      if (size !== null && size > 0) this.idle?.sent();
      return size;
    } catch (error) {
      this.sendFailed(channel, error);
      return null;
    }
  }

  // Not `#sent` and `#sendFailed`: in a class with private methods each object takes up a word more.

  sent(size: number | null): number {
    if (size === null) return 0;
    this.idle?.sent();
    return size;
  }

  sendFailed(channel: Wrapper, error: unknown): number {
    this.checkGone(error);
    this.peerGone(channel, new Ending('reset', error));
    return 0;
  }

  /** The kernel has refused a call. @throws the error, unless it says that the peer is gone */
  checkGone(error: unknown): void {
    if (!DISCONNECTED.has(codeOf(error) ?? '')) throw error;
    // A socket that is not connected yet gives the same errors.
    if (this.connected) this.gone = true;
  }

  /** The channel closes for this reason, unless there is one already. */
  closesFor(ending: Ending): void {
    if (this.ending !== null) this.keepEnding();
    // The peer has ended its stream before the program closes.
    else this.ending = ending === LOCAL && this.inputEnded ? END : ending;
  }

  /** The handler that runs has the channel close, later: the reason stays when the handler returns. */
  keepEnding(): void {
    const { ending } = this;
    if (ending?.tentative) this.ending = new Ending(ending.reason, ending.error);
  }

  /**
   * A handler is about to run that may close the channel for this reason.
   * @returns called when the handler has returned, or its promise is settled
   */
  mayCloseFor(ending: Ending): () => void {
    this.ending ??= ending;
    return () => {
      if (this.ending === ending) this.ending = null;
    };
  }

  /** What a hang-up means. Asking the kernel for the error takes it from the kernel. */
  endingOfHangUp(): Ending {
    try {
      const errno = (this.socket as SocketLike).getSockOpt(SOL_SOCKET, SO_ERROR);
      return errno === 0 ? END : new Ending('reset', failure(-errno, 'recv'));
    } catch {
      // The descriptor was closed without the channel.
      return LOCAL;
    }
  }

  /** Calls `handleClose`, but not for a closed channel, and not while it is running. */
  peerGone(channel: Wrapper, ending: Ending): void {
    if (this.closed || this.handlesClose) return;
    this.closesFor(ending);
    this.handlesClose = true;
    this.closeHandled = true;
    let pending = false;
    try {
      const result = channel.handleClose();
      pending = isPromise(result);
      if (pending) endInputUntil(this, result as PromiseLike<void>);
      handleResult(channel, result);
    } finally {
      if (!pending) this.handlesClose = false;
    }
  }

  /** A channel that has paused reading hears of a reset when it resumes: records may be held back. */
  get hearsReset(): boolean {
    const { connected, readingPaused, isStream, socket } = this;
    return connected && !readingPaused && isStream && socket instanceof Socket;
  }

  /** After a reset: whether the connection is over, with no input left to be read. */
  isOver(): boolean {
    if (!this.hearsReset) return false;
    try {
      return peek(this.socket as Socket, 0)?.length === 0;
    } catch (error) {
      // The reset itself: it came after all input.
      this.closesFor(new Ending('reset', error));
      return true;
    }
  }

  /** After handleExpt: urgent data that is still unread would be reported again at once. */
  muteUrgent(): void {
    const { socket, fd } = this;
    if (fd === null || !(socket instanceof Socket) || socket.closed) return;
    const inline = socket.getSockOpt(SOL_SOCKET, SO_OOBINLINE) !== 0;
    if (inline || hasUrgent(socket)) registryOf(this.map).muteUrgent(fd, inline);
  }

  /** Sets a flag that decides about the channel's interest. */
  set(
    flag: 'connected' | 'accepting' | 'connecting' | 'inputEnded' | 'readingPaused',
    value: boolean,
  ): void {
    if (this[flag] === value) return;
    this[flag] = value;
    noteProgress();
    this.interestChanged();
  }

  interestChanged(): void {
    if (this.fd !== null) this.map.interestChanged(this.fd);
  }

  /** Takes the channel out of the selector for `duration` ms, or until `resume`. */
  suspend(duration: number): void {
    if (this.fd !== null) registryOf(this.map).suspend(this.fd, duration);
  }

  resume(): void {
    if (this.fd !== null) registryOf(this.map).resume(this.fd);
  }
}

/** The end of the input would be told at every tick. What an async `handleClose` still sends goes out. */
function endInputUntil(session: Session, promise: PromiseLike<void>): void {
  const { inputEnded } = session;
  session.set('inputEnded', true);
  const settled = (): void => {
    session.handlesClose = false;
    session.set('inputEnded', inputEnded);
  };
  promise.then(settled, settled);
}

/** How much unread input is dropped at a time, in bytes, and how often at most. */
const DRAIN_SIZE = 65536;
const DRAINS = 128;

/**
 * A pipe, a terminal or a regular file, as by a FileWrapper: it knows no reset, a read may block, and its
 * descriptor may never become writable. Every socket has a `shutdown`, a stand-in too.
 */
export const isFile = (socket: SocketLike | null): boolean =>
  socket !== null && typeof socket.shutdown !== 'function';

/**
 * Reads and drops what has arrived, before a close. A socket that is closed over unread input resets the
 * connection, and the output that the kernel still holds is lost. Does nothing for a file, and for datagrams.
 */
export function drainInput(socket: SocketLike | null): void {
  if (socket === null || isFile(socket)) return;
  if (socket instanceof Socket && socket.type === SOCK_DGRAM) return;
  try {
    for (let left = DRAINS; left > 0; left -= 1) {
      const data = socket.recv(DRAIN_SIZE);
      if (data === null || data.length === 0) return;
    }
  } catch {
    // The channel is about to be closed, whatever it is.
  }
}

/** Not by an override of a program, which may count what it receives. */
export const peek = (socket: Socket, flags: number): Buffer | null =>
  Socket.prototype.recv.call(socket, 1, flags | MSG_PEEK);

function hasUrgent(socket: Socket): boolean {
  try {
    return peek(socket, MSG_OOB) !== null;
  } catch {
    // It has been read, or was in the input that has been read.
    return false;
  }
}

/** Drops one urgent byte, which the kernel would report at every tick until it is read. */
export function dropUrgent(socket: SocketLike | null): void {
  if (!(socket instanceof Socket)) return;
  try {
    socket.recv(1, MSG_OOB);
  } catch {
    // An override has read it already, or it is in line (SO_OOBINLINE).
  }
}
