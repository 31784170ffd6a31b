// A dispatcher that writes down which of its handlers run.

import { type Address, AF_INET, Dispatcher, type Handled, type Socket } from 'asyncore';
import { localAddress } from './drive';
import { keep } from './keep';

/** Waits to write only while it connects, unless `writes` is set. */
export class Recorder extends Dispatcher {
  override ignoreLogTypes: ReadonlySet<string> = new Set(['warning', 'error']);
  readonly events: string[] = [];
  readonly errors: unknown[] = [];
  /** For each of `events`: connected, connecting, accepting. */
  readonly seen: boolean[][] = [];
  received = '';
  writes = false;

  note(event: string): void {
    this.events.push(event);
    this.seen.push([this.connected, this.connecting, this.accepting]);
  }
  override writable(): boolean {
    return this.connecting || this.writes;
  }
  override handleConnect(): Handled {
    this.note('connect');
  }
  override handleRead(): Handled {
    this.note('read');
    this.received += this.recv(8192) ?? '';
  }
  override handleWrite(): Handled {
    this.note('write');
  }
  override handleExpt(): Handled {
    this.note('expt');
  }
  override handleClose(): Handled {
    this.note('close');
    return super.handleClose();
  }
  override handleError(error: unknown): Handled {
    this.note('error');
    this.errors.push(error);
    return super.handleError(error);
  }
}

/** A listener that counts its read events, and keeps the sockets that it accepts. */
export class RecordingListener extends Recorder {
  readonly callers: { socket: Socket; address: Address }[] = [];
  /** Read events. */
  accepts = 0;

  constructor(family = AF_INET, backlog = 32) {
    super();
    this.createSocket(family);
    this.setReuseAddr();
    this.bind(localAddress(family));
    this.listen(backlog);
  }
  get name(): Address {
    return (this.socket as Socket).getSockName();
  }
  override handleAccept(): Handled {
    this.accepts += 1;
    return super.handleAccept();
  }
  override handleAccepted(socket: Socket, address: Address): Handled {
    this.note('accepted');
    this.callers.push({ socket: keep(socket), address });
  }
}
