// Runs output scripts here: what output_driver.py does, line by line, over this library.

import {
  AsyncChat,
  ChannelMap,
  type Handled,
  loop,
  loopSync,
  type Producer,
  poll,
  poll2,
  SHUT_WR,
  SimpleProducer,
  SO_SNDBUF,
  SOL_SOCKET,
  Socket,
} from 'asyncore';
import { type Act, pattern, type Reader, type Result, type Script } from './script';

const MOST_PASSES = 100_000;
const ALL = Number.MAX_SAFE_INTEGER;

/** What a producer raises. */
class Planned extends Error {}

function nameOf(error: unknown): string {
  return error instanceof Planned ? error.message : (error as Error).constructor.name;
}

class ScriptedProducer implements Producer {
  #calls = 0;
  readonly #simple: SimpleProducer | null;

  constructor(
    readonly chat: ScriptedChat,
    readonly act: Act & { act: 'producer' | 'simple' },
  ) {
    this.#simple =
      act.act === 'simple' ? new SimpleProducer(pattern(act.id, 0, act.size), act.chunk) : null;
  }

  more(): Uint8Array | string | null | undefined {
    const { chat, act } = this;
    const answer = this.#calls;
    const name = `${act.id}.${answer}`;
    this.#calls += 1;
    chat.events.push(`more ${name}`);
    chat.seen.push(chat.reader.count);
    if (this.#simple !== null) return this.#simple.more();
    if (act.act !== 'producer') return null;
    const piece = act.pieces[answer];
    // All four ways to say that this was the last.
    if (piece === undefined && act.end === 'empty') return act.id % 2 === 0 ? '' : Buffer.alloc(0);
    if (piece === undefined) return act.id % 2 === 0 ? null : undefined;
    for (const inner of piece.acts) chat.perform(inner);
    if (piece.raises) throw new Planned(name);
    const data = pattern(act.id, answer, piece.size);
    return answer % 2 === 0 ? data : data.toString('latin1');
  }
}

/** As the driver's: a producer that looks empty. */
class EmptyLookingProducer extends ScriptedProducer {
  readonly length = 0;
}

class ScriptedChat extends AsyncChat {
  readonly events: string[] = [];
  readonly seen: number[] = [];
  readonly records = new Map<number, Act[]>();
  gone = false;

  constructor(
    socket: Socket,
    map: ChannelMap,
    readonly script: Script,
    readonly reader: ScriptedReader,
  ) {
    super(socket, map);
    this.connected = script.connected;
    this.acOutBufferSize = script.acOutBufferSize;
    this.encoding = 'latin1';
    this.setTerminator('\n');
  }

  // The program.

  perform(act: Act): void {
    this.events.push(`act ${act.id}`);
    switch (act.act) {
      case 'push': {
        const data = pattern(act.id, 0, act.size);
        this.push(act.text ? data.toString('latin1') : data);
        break;
      }
      case 'data':
        this.pushWithProducer(pattern(act.id, 0, act.size));
        break;
      case 'simple':
        this.pushWithProducer(new ScriptedProducer(this, act));
        break;
      case 'producer': {
        const Class = act.falsy ? EmptyLookingProducer : ScriptedProducer;
        this.pushWithProducer(new Class(this, act));
        break;
      }
      case 'closeWhenDone':
        this.closeWhenDone();
        break;
      case 'discardBuffers':
        this.discardBuffers();
        break;
      case 'close':
        this.close();
        break;
      case 'connect':
        if (!this.gone) this.connected = true;
    }
  }

  // What is called.

  override collectIncomingData(data: Buffer): void {
    this._collectIncomingData(data);
  }

  override foundTerminator(): void {
    const number = Number(this._getData());
    this.events.push(`record ${number}`);
    for (const act of this.records.get(number) ?? []) this.perform(act);
  }

  override handleClose(): Handled {
    this.events.push('close');
    return super.handleClose();
  }

  override close(): void {
    this.gone = true;
    super.close();
  }

  override handleError(error: unknown): Handled {
    this.events.push(`error ${nameOf(error)}`);
    return this.script.errorsClose ? super.handleError(error) : undefined;
  }

  override logInfo(): void {}
}

class ScriptedReader {
  readonly pieces: Buffer[] = [];
  count = 0;
  left = false;
  #passes = 0;
  #open = true;
  #ended = false;

  constructor(
    readonly socket: Socket,
    readonly plan: Reader,
  ) {}

  beforePass(allOfIt = false): void {
    // How many passes it takes until all is still is not the same in CPython: those are not counted.
    const pass = allOfIt ? Infinity : this.#passes++;
    this.read(this.plan.appetite[pass] ?? ALL);
  }

  /** At most so many bytes, and never past the point where it leaves. */
  read(most: number): void {
    const { leaves } = this.plan;
    let left = most;
    while (this.#open && !this.#ended && left > 0) {
      if (leaves !== null && !this.left) left = Math.min(left, leaves.after - this.count);
      if (left <= 0) break;
      const data = this.#receive(Math.min(left, 65536));
      if (data === null) break;
      this.#ended = data.length === 0;
      this.pieces.push(data);
      this.count += data.length;
      left -= data.length;
    }
    if (leaves === null || this.left || !this.#open || this.count !== leaves.after) return;
    this.left = true;
    if (leaves.how === 'close') {
      this.#open = false;
      this.socket.close();
    } else this.socket.shutdown(SHUT_WR);
  }

  /** A reset is an end as well: of a chat that closed with a record of ours unread. */
  #receive(size: number): Buffer | null {
    try {
      return this.socket.recv(size);
    } catch (error) {
      if ((error as { code?: string }).code === 'ECONNRESET') return Buffer.alloc(0);
      throw error;
    }
  }

  send(data: string): void {
    if (!this.#open || (this.left && this.plan.leaves?.how === 'shutdown')) return;
    try {
      this.socket.send(Buffer.from(data));
    } catch {
      // The chat has gone.
    }
  }
}

/** One pass of the loop, in the way of the script. */
function passOf({ way, order }: Script, map: ChannelMap): () => void | Promise<void> {
  const usePoll = order === 'poll';
  if (way === 'loop') return () => loop({ map, usePoll, count: 1, timeout: 0 });
  if (way === 'loopSync') return () => loopSync({ map, usePoll, count: 1, timeout: 0 });
  return () => (usePoll ? poll2 : poll)(0, map);
}

export async function runHere(script: Script): Promise<Result> {
  const [mine, theirs] = Socket.pair();
  if (script.sendBuffer > 0) mine.setSockOpt(SOL_SOCKET, SO_SNDBUF, script.sendBuffer);
  const sendBuffer = mine.getSockOpt(SOL_SOCKET, SO_SNDBUF);
  const map = new ChannelMap();
  const reader = new ScriptedReader(theirs, script.reader);
  const chat = new ScriptedChat(mine, map, script, reader);
  const onePass = passOf(script, map);
  let stuck = false;

  const settle = async (): Promise<void> => {
    let quiet = 0;
    for (let passes = 0; passes < MOST_PASSES; passes += 1) {
      const { count } = reader;
      const happened = chat.events.length;
      reader.beforePass(true);
      await onePass();
      const waits = chat.connected && chat.writable();
      // What the last pass has sent is read before the next.
      const same = !waits && count === reader.count && happened === chat.events.length;
      quiet = same ? quiet + 1 : 0;
      if (quiet === 2) return;
    }
    stuck = true;
  };

  let gone: boolean;
  try {
    for (const step of script.steps) {
      for (const act of step.acts) {
        try {
          chat.perform(act);
        } catch (error) {
          chat.events.push(`raised ${nameOf(error)}`);
        }
      }
      for (const record of step.records) chat.records.set(record.id, record.acts);
      if (step.records.length > 0) reader.send(step.records.map(({ id }) => `${id}\n`).join(''));
      if (step.passes === null) await settle();
      for (let passes = step.passes ?? 0; passes > 0; passes -= 1) {
        reader.beforePass();
        await onePass();
      }
    }
    await settle();
    reader.read(ALL);
  } finally {
    gone = chat.gone;
    chat.close();
    theirs.close();
  }
  return {
    events: chat.events,
    seen: chat.seen,
    received: Buffer.concat(reader.pieces),
    end: stuck ? 'stuck' : gone ? 'closed' : 'open',
    left: reader.left,
    sendBuffer,
  };
}
