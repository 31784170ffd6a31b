// The data connection of FTP. Each file and each list has a connection of its own.
//
// A transfer exists from its command on, and owns the file. It gets its connection later: the client
// connects (PASV), or the server does (PORT). The transfer reports its result to its session, once.
//
// Files are read and written by blocking calls, 64 KiB at a time. The system's cache answers them in
// microseconds. A network file system would delay every connection.

import { closeSync, writeFileSync } from 'node:fs';
import {
  type Address,
  AsyncChat,
  type ChannelMap,
  Dispatcher,
  type FileProducer,
  type Handled,
  HookedProducer,
  type InternetAddress,
  type Producer,
  type Socket,
  SocketError,
  type SocketLike,
  strerror,
} from 'asyncore';
import { familyOf } from './program';

/** Idle timeout of a transfer, and timeout for its connection, in ms. */
const TRANSFER_TIMEOUT = 60 * 1000;
const CONNECT_TIMEOUT = 20 * 1000;

const BROKEN = '426 The connection is broken';
const CANNOT_CONNECT = '425 Cannot connect';

/** The session of a transfer. */
export interface Control {
  readonly map: ChannelMap;
  readonly addr: Address | null;
  readonly socket: SocketLike | null;
  /** @param reply the reply to its command */
  transferEnded(reply: string): void;
}

/** An IPv4 peer of an IPv6 socket is written as `::ffff:192.0.2.1`. */
export function hostOf(address: Address | null): string {
  return (address as InternetAddress).host.replace(/^::ffff:(?=[\d.]+$)/, '');
}

/** The reason that the file system gives; null: the error is not from the file system. */
export function refusal(error: unknown): string | null {
  const { code, errno } = error as NodeJS.ErrnoException;
  if (errno === undefined) return null;
  const reply = code === 'ENOSPC' || code === 'EDQUOT' ? 452 : 550;
  // Node's own message contains the path, and not in the client's form.
  return `${reply} ${strerror(Math.abs(errno))}`;
}

/** A connection for one transfer, and its result. */
export abstract class Transfer extends AsyncChat {
  /** The end of the stream is the end of an uploaded file; an aborted connection is not. */
  override allowHalfOpen = true;
  #isOver = false;

  constructor(readonly session: Control) {
    super(null, session.map);
    this.setTerminator(null);
  }

  override foundTerminator(): void {}

  /** The client has connected. */
  attach(socket: Socket): void {
    this.setSocket(socket);
    this.connected = true;
    this.setIdleTimeout(TRANSFER_TIMEOUT);
  }

  /** Connects to the client. */
  connectTo(address: InternetAddress): void {
    try {
      this.createSocket(familyOf(address.host));
      this.setIdleTimeout(CONNECT_TIMEOUT);
      this.connect(address);
    } catch (error) {
      if (!(error instanceof SocketError)) throw error;
      this.end(CANNOT_CONNECT);
    }
  }

  override handleConnect(): void {
    this.setIdleTimeout(TRANSFER_TIMEOUT);
  }

  end(reply: string): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.close();
    this.session.transferEnded(reply);
  }

  override handleClose(): void {
    this.end(BROKEN);
  }

  override handleTimeout(): void {
    this.end(this.connected ? '426 Nothing moves' : CANNOT_CONNECT);
  }

  override handleError(error: unknown): Handled {
    const reply = refusal(error);
    if (error instanceof SocketError) this.end(this.connected ? BROKEN : CANNOT_CONNECT);
    else if (reply !== null) this.end(reply);
    else return super.handleError(error);
  }

  /** The session waits for the transfer. */
  override handleShutdown(): void {}
}

/** Sends, and closes: the end of the stream is the end of the file. */
export class Download extends Transfer {
  #isRead = false;

  constructor(session: Control, source: Producer | string) {
    super(session);
    const hooked = new HookedProducer(source, () => {
      this.#isRead = true;
    });
    this.pushWithProducer(hooked);
    this.closeWhenDone();
  }

  /** The client has nothing to send on this connection. */
  override collectIncomingData(): void {}

  override handleClose(): void {
    if (this.#isRead && this.writableLength === 0) this.end('226 Done');
    else super.handleClose();
  }
}

/** Receives until the client closes. */
export class Upload extends Transfer {
  #fd: number | null;

  /** @param fd the file to append to; it is closed at the end */
  constructor(session: Control, fd: number, isText: boolean) {
    super(session);
    this.#fd = fd;
    if (isText) this.setTerminator('\r\n');
  }

  override collectIncomingData(data: Buffer): void {
    this._collectIncomingData(data);
  }

  override foundTerminator(): void {
    this._collectIncomingData(Buffer.from('\n'));
  }

  /** Writes the data of each read event in one call. */
  override handleRead(): Handled {
    const result = super.handleRead();
    this.#write();
    return result;
  }

  #write(): void {
    if (this.#fd !== null && this.incoming.length > 0) writeFileSync(this.#fd, this._getData());
  }

  override handleEof(): void {
    this.#write();
    this.end('226 Done');
  }

  override close(): void {
    super.close();
    if (this.#fd !== null) closeSync(this.#fd);
    this.#fd = null;
  }
}

/** Text in transfer format: lines end with CRLF. */
export class TextProducer implements Producer {
  constructor(readonly source: FileProducer) {}

  more(): Buffer {
    const text = Buffer.from(this.source.more()).toString('latin1');
    return Buffer.from(text.replaceAll('\n', '\r\n'), 'latin1');
  }

  close(): void {
    this.source.close();
  }
}

/** Waits for the client to connect, once, and gives the connection to a transfer. */
export class PassiveListener extends Dispatcher {
  #caller: Socket | null = null;
  #transfer: Transfer | null = null;

  constructor(readonly session: Control) {
    super(null, session.map);
    const socket = session.socket as Socket;
    this.createSocket(socket.family);
    this.bind({ ...(socket.getSockName() as InternetAddress), port: 0 });
    this.listen(1);
    this.setIdleTimeout(CONNECT_TIMEOUT);
  }

  get port(): number {
    const address = this.socket?.getSockName?.() as InternetAddress;
    return address.port;
  }

  override handleAccepted(socket: Socket, address: Address): void {
    if (hostOf(address) !== hostOf(this.session.addr)) {
      socket.close();
      return;
    }
    this.#caller = socket;
    super.close();
    this.#meet();
  }

  serve(transfer: Transfer): void {
    this.#transfer = transfer;
    this.#meet();
  }

  #meet(): void {
    if (this.#caller === null || this.#transfer === null) return;
    this.#transfer.attach(this.#caller);
    this.#caller = null;
  }

  override handleTimeout(): void {
    this.close();
    this.#transfer?.end('425 Nobody has connected');
  }

  /** A client that has not connected by now is no longer waited for. */
  override handleShutdown(): void {
    this.handleTimeout();
  }

  override close(): void {
    super.close();
    this.#caller?.close();
    this.#caller = null;
  }
}
