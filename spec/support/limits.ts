// What the specs about limits share: a chat and a listener that write down what happens to them.

import {
  type Address,
  AF_INET,
  AsyncChat,
  type ChannelMap,
  Dispatcher,
  type Handled,
  type ListenLimits,
  loop,
  loopSync,
  Socket,
} from 'asyncore';
import { localAddress, type Way } from './drive';
import { keep, newMap } from './keep';

const SILENT: ReadonlySet<string> = new Set(['warning', 'error']);

/** A chat of lines. Writes down each one, and `overflow`, `timeout`, `error`, `eof`, `close`. */
export class LineChat extends AsyncChat {
  override ignoreLogTypes = SILENT;
  readonly events: string[] = [];
  readonly errors: unknown[] = [];
  onRecord: (record: string) => Handled = () => {};

  constructor(socket: Socket | null, map: ChannelMap) {
    super(socket, map);
    this.setTerminator('\n');
  }
  override collectIncomingData(data: Buffer): Handled {
    this._collectIncomingData(data);
  }
  override foundTerminator(): Handled {
    const record = this._getData().toString('latin1');
    this.events.push(record);
    return this.onRecord(record);
  }
  override handleError(error: unknown): Handled {
    this.events.push('error');
    this.errors.push(error);
    return super.handleError(error);
  }
  override handleTimeout(): Handled {
    this.events.push('timeout');
    return super.handleTimeout();
  }
  override handleEof(): Handled {
    this.events.push('eof');
    return super.handleEof();
  }
  override handleClose(): Handled {
    this.events.push('close');
    return super.handleClose();
  }
}

/** A line chat whose `send` takes as many bytes as it is told to. */
export class Metered extends LineChat {
  budget = 0;
  sent = '';

  override send(data: Uint8Array): number {
    const taken = Math.min(this.budget, data.length);
    this.budget -= taken;
    this.sent += Buffer.from(data.subarray(0, taken)).toString('latin1');
    return taken;
  }
}

/** A listener that keeps its callers' sockets. */
export class Listener extends Dispatcher {
  override ignoreLogTypes = SILENT;
  readonly callers: Socket[] = [];
  readonly addresses: Address[] = [];
  readonly errors: unknown[] = [];
  /** Read events. */
  accepts = 0;

  constructor(map: ChannelMap, limits: ListenLimits = {}, family = AF_INET, backlog = 64) {
    super(null, map);
    this.createSocket(family);
    this.bind(localAddress(family));
    this.listen(backlog, limits);
  }
  get name(): Address {
    return (this.socket as Socket).getSockName();
  }
  override handleAccept(): Handled {
    this.accepts += 1;
    return super.handleAccept();
  }
  override handleAccepted(socket: Socket, address: Address): Handled {
    this.callers.push(keep(socket));
    this.addresses.push(address);
  }
  override handleError(error: unknown): Handled {
    this.errors.push(error);
    return super.handleError(error);
  }
}

/** A connection over a Unix socket: a chat, and the peer's end. */
export function chatWithPeer<Chat extends LineChat>(
  make: (socket: Socket, map: ChannelMap) => Chat,
  map = newMap(),
): { chat: Chat; peer: Socket; map: ChannelMap } {
  const [ours, theirs] = Socket.pair();
  return { chat: make(ours, map), peer: keep(theirs), map };
}

/** Some passes that do not wait. */
export async function tick(how: Way, map: ChannelMap, count = 1): Promise<void> {
  const options = { map, usePoll: how.usePoll, timeout: 0, count };
  if (how.sync) loopSync(options);
  else await loop(options);
}

export function text(string: string): Buffer {
  return Buffer.from(string, 'latin1');
}
