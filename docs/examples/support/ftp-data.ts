// The data connection of FTP. Each file and each list has a connection of its own.
//
// A transfer exists from its command on, and owns the file. It gets its connection later: the client
// connects (PASV), or the server does (PORT). The transfer reports its result to its session, once.
//
// Files are read and written by blocking calls, 64 KiB at a time. The system's cache answers them in
// microseconds. A network file system would delay every connection.

import { closeSync, ftruncateSync, writeFileSync } from 'node:fs';
import {
  type Address,
  AsyncChat,
  Dispatcher,
  type FileProducer,
  type Handled,
  HookedProducer,
  type InternetAddress,
  type Producer,
  type Socket,
  SocketError,
  strerror,
} from 'asyncore';
import { familyOf, hostOf } from './program';

/** Idle timeout of a transfer, and timeout for its connection, in ms. */
const TRANSFER_TIMEOUT = 60 * 1000;
const CONNECT_TIMEOUT = 20 * 1000;

const BROKEN = '426 The connection is broken';
const CANNOT_CONNECT = '425 Cannot connect';
export const NOBODY = '425 Nobody has connected';

/** The session of a transfer. */
export interface Control extends Pick<Dispatcher, 'map' | 'addr' | 'address'> {
  /** @param reply the reply to its command */
  transferEnded(reply: string): void;
}

/** The reason that the system gives; null: the error is not from the system. */
export function refusal(error: unknown): string | null {
  const { code, errno } = error as NodeJS.ErrnoException;
  if (errno === undefined) return null;
  if (error instanceof SocketError) return `425 ${strerror(errno)}`;
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

  /** Connects to the client, from the address that it knows: a firewall may accept no other. */
  connectTo(address: InternetAddress): void {
    try {
      this.createSocket(familyOf(address.host));
      this.setIdleTimeout(CONNECT_TIMEOUT);
      this.bind({ host: hostOf(this.session.address()), port: 0 });
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
    this.end(this.connected ? BROKEN : CANNOT_CONNECT);
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

  /** The client has nothing to send on this connection, and must not keep it alive in that way. */
  override collectIncomingData(): void {
    this.end('426 You may only receive');
  }

  override handleClose(): void {
    if (this.#isRead && this.writableLength === 0) this.end('226 Done');
    else super.handleClose();
  }
}

/**
 * Receives until the client closes. The file is opened when the first data arrives, or the end: a
 * connection that fails leaves it untouched. What has arrived is kept, as the client may resume.
 */
export class Upload extends Transfer {
  readonly #open: () => number;
  readonly #kept: number;
  #fd: number | null = null;

  /**
   * @param open returns the file to append to, which is closed at the end
   * @param kept how many bytes of the file stay; Infinity: all
   */
  constructor(session: Control, open: () => number, kept: number, isText: boolean) {
    super(session);
    this.#open = open;
    this.#kept = kept;
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
    // An aborted connection closes the channel within its read event.
    if (this.connected && this.incoming.length > 0) {
      writeFileSync(this.#file(), this._getData());
    }
  }

  #file(): number {
    if (this.#fd !== null) return this.#fd;
    const fd = this.#open();
    this.#fd = fd;
    if (this.#kept < Infinity) ftruncateSync(fd, this.#kept);
    return fd;
  }

  override handleEof(): void {
    this.#file();
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

/**
 * Waits for the client to connect, once, and gives the connection to a transfer. The client may connect
 * before its command or after it, but within the limit. A class and not `listen()`, because it has handlers
 * of its own for the end of the wait.
 */
export class PassiveListener extends Dispatcher {
  readonly port: number;
  #caller: Socket | null = null;
  #transfer: Transfer | null = null;

  /** @throws {SocketError} `EMFILE`, … */
  constructor(readonly session: Control) {
    super(null, session.map);
    const local = session.address() as InternetAddress;
    try {
      this.createSocket(familyOf(local.host));
      this.bind({ ...local, port: 0 });
      this.listen();
      this.port = (this.address() as InternetAddress).port;
    } catch (error) {
      this.close();
      throw error;
    }
    // Not an idle timeout, which a stranger who knocks would extend.
    this.setDeadline(CONNECT_TIMEOUT);
  }

  /** Whether a transfer has or may still get its connection here. */
  get isOpen(): boolean {
    return this.accepting || this.#caller !== null;
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

  /** The time is over, or accepting has failed. */
  override handleClose(): void {
    this.close();
    this.#transfer?.end(NOBODY);
  }

  /** A client that has not connected by now is no longer waited for. */
  override handleShutdown(): void {
    this.handleClose();
  }

  override close(): void {
    super.close();
    this.#caller?.close();
    this.#caller = null;
  }
}
