// A daemon that takes commands at a Unix socket, as fail2ban's does: requests and answers are serialized
// objects, each with a marker behind it; another marker says good-bye.

import { existsSync, unlinkSync } from 'node:fs';
import { AF_UNIX, AsyncChat, ChannelMap, Dispatcher, loop, type Socket } from 'asyncore';

const END = Buffer.from('<F2B_END_COMMAND>');
const CLOSE = Buffer.from('<F2B_CLOSE_COMMAND>');

/** Executes a command. */
export interface Transmitter {
  proceed(message: unknown): unknown;
}

// pickle is Python's own. JSON takes its place, at both ends.
const dumps = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));
const loads = (data: Buffer): unknown => JSON.parse(data.toString());

class RequestHandler extends AsyncChat {
  readonly #transmitter: Transmitter;
  readonly #failed: (error: unknown) => void;
  #pieces: Buffer[] = [];

  constructor(socket: Socket, server: CommandServer) {
    super(socket, server.map);
    this.#transmitter = server.transmitter;
    this.#failed = server.failed;
    this.setTerminator(END);
  }

  override collectIncomingData(data: Buffer) {
    this.#pieces.push(data);
  }

  override foundTerminator() {
    const message = Buffer.concat(this.#pieces);
    this.#pieces = [];
    // `==` of two bytes objects.
    if (message.equals(CLOSE)) {
      this.closeWhenDone();
      return;
    }
    const answer = this.#transmitter.proceed(loads(message));
    this.push(Buffer.concat([dumps(answer), END]));
  }

  override handleError(error: unknown) {
    this.#failed(error);
    this.close();
  }
}

export class CommandServer extends Dispatcher {
  readonly #stop = new AbortController();

  constructor(
    readonly transmitter: Transmitter,
    readonly failed: (error: unknown) => void,
    map = new ChannelMap(),
  ) {
    super(null, map);
  }

  override writable() {
    return false;
  }

  override handleAccept() {
    const accepted = this.accept();
    // Every socket is close-on-exec, without a call of fcntl.
    if (accepted !== null) new RequestHandler(accepted.socket, this);
  }

  open(path: string, force = false) {
    if (existsSync(path)) {
      if (!force) throw new Error('Server already running');
      unlinkSync(path);
    }
    this.createSocket(AF_UNIX);
    this.setReuseAddr();
    this.bind({ path });
    this.listen(1);
  }

  /** Python's calls poll() in a thread of its own, as long as a flag is set. */
  async run(usePoll = false): Promise<void> {
    const { signal } = this.#stop;
    await loop({ map: this.map, usePoll, signal }).catch((error) => {
      if (error !== signal.reason) throw error;
    });
  }

  /** The file goes with the socket. */
  stop() {
    this.close();
    this.#stop.abort();
  }
}
