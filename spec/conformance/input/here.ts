// Runs a script over this library: an AsyncChat on one end of a pair of sockets, the peer on the
// other. The counterpart of chat_driver.py.

import {
  AsyncChat,
  ChannelMap,
  ExitNow,
  loop,
  loopSync,
  poll,
  poll2,
  SHUT_WR,
  Socket,
  type SocketError,
} from 'asyncore';
import {
  type Action,
  bytesOf,
  type Event,
  type Result,
  type Script,
  type Seen,
  stepsOf,
} from './script';

/** How passes are made: one by one, or by a loop that makes one. */
export type Way = 'poll' | 'loopSync' | 'loop';

/** Wait for no more than this in one pass, though all that is waited for is there already. */
const TIMEOUT = 0;

/** No script has so many events. A run that calls handlers for ever is stopped. */
const ENDLESS = 10_000;

class Raised extends Error {}

class Chat extends AsyncChat {
  readonly trace: Event[] = [];
  pushed = false;
  #collects = 0;
  #founds = 0;
  #cycled = 0;

  constructor(
    socket: Socket,
    map: ChannelMap,
    readonly script: Script,
  ) {
    super(socket, map);
    this.acInBufferSize = script.inSize;
    if (script.terminator !== undefined) this.setTerminator(fromJson(script.terminator));
  }

  seen(): Seen {
    const { terminator } = this;
    if (terminator === undefined) return false;
    return terminator instanceof Uint8Array ? latin1(terminator) : terminator;
  }

  #record(event: Event): void {
    if (this.trace.length >= ENDLESS) throw new ExitNow('endless');
    this.trace.push(event);
  }

  override collectIncomingData(data: Buffer): void {
    this.#record(['collect', latin1(data), this.seen()]);
    const actions = this.script.onCollect[this.#collects];
    this.#collects += 1;
    if (actions !== undefined) this.#perform(actions);
  }

  override foundTerminator(): void {
    this.#record(['found', this.seen()]);
    const { onFound, cycle } = this.script;
    const actions = onFound[this.#founds];
    this.#founds += 1;
    if (actions !== undefined) {
      this.#perform(actions);
    } else if (cycle.length > 0) {
      this.setTerminator(fromJson(cycle[this.#cycled % cycle.length] ?? null));
      this.#cycled += 1;
    }
  }

  override handleClose(): void {
    this.#record(['close', this.seen()]);
    this.close();
  }

  override handleError(error: unknown): void {
    this.#record(['error', error instanceof Raised ? 'raised' : 'other', this.seen()]);
    if (this.script.errorsClose) this.close();
  }

  #perform(actions: readonly Action[]): void {
    for (const action of actions) {
      if (action[0] === 'raise') throw new Raised();
      else if (action[0] === 'close') this.close();
      else if (action[0] === 'discard') this.discardBuffers();
      else if (action[0] === 'set') this.setTerminator(fromJson(action[1]));
      else {
        this.pushed = true;
        this.push(Buffer.from(bytesOf([action[1]]), 'latin1'));
      }
    }
  }
}

/** Runs it in passes that block. */
export function runHere(script: Script, way: Exclude<Way, 'loop'> = 'poll'): Result {
  const usePoll = script.order === 'poll';
  const map = new ChannelMap();
  const turns = play(script, map);
  for (;;) {
    const turn = turns.next();
    if (turn.done === true) return turn.value;
    try {
      if (way === 'loopSync') loopSync({ map, usePoll, timeout: TIMEOUT, count: 1 });
      else if (usePoll) poll2(TIMEOUT, map);
      else poll(TIMEOUT, map);
    } catch (error) {
      if (!(error instanceof ExitNow)) throw error;
    }
  }
}

/** Runs it in passes of `loop`. */
export async function runInLoop(script: Script): Promise<Result> {
  const usePoll = script.order === 'poll';
  const map = new ChannelMap();
  const turns = play(script, map);
  for (;;) {
    const turn = turns.next();
    if (turn.done === true) return turn.value;
    await loop({ map, usePoll, timeout: TIMEOUT, count: 1 }).catch((error) => {
      if (!(error instanceof ExitNow)) throw error;
    });
  }
}

/** Plays the peer; each yield is for a pass. */
function* play(script: Script, map: ChannelMap): Generator<void, Result, void> {
  const [ours, peer] = Socket.pair();
  const chat = new Chat(ours, map, script);
  const sent: Buffer[] = [];
  try {
    for (const { data, end, passes } of stepsOf(script)) {
      if (map.size === 0) break;
      sendAll(peer, Buffer.from(data, 'latin1'));
      if (end === 'shutdown') peer.shutdown(SHUT_WR);
      else if (end === 'close') peer.close();
      for (let pass = 0; pass < passes && map.size > 0; pass += 1) {
        yield;
        if (chat.trace.length >= ENDLESS) return { trace: chat.trace, sent: '', rest: null };
        if (!chat.pushed || end === 'close') continue;
        chat.pushed = false;
        drain(peer, sent);
      }
    }
    const rest =
      map.size === 0 ? null : { input: latin1(chat.acInBuffer), terminator: chat.seen() };
    return { trace: chat.trace, sent: latin1(Buffer.concat(sent)), rest };
  } finally {
    peer.close();
    chat.close();
  }
}

/** A step is smaller than what the kernel holds for a receiver. */
function sendAll(peer: Socket, data: Buffer): void {
  for (let at = 0; at < data.length; ) {
    const sent = peer.send(data.subarray(at));
    if (sent === null) throw new Error('a step is more than the kernel takes');
    at += sent;
  }
}

function drain(peer: Socket, pieces: Buffer[]): void {
  try {
    for (let data = peer.recv(65536); data?.length; data = peer.recv(65536)) pieces.push(data);
  } catch (error) {
    // The chat has closed, and left something unread.
    if ((error as SocketError).code !== 'ECONNRESET') throw error;
  }
}

function fromJson(term: string | number | null): Buffer | number | null {
  return typeof term === 'string' ? Buffer.from(term, 'latin1') : term;
}

function latin1(data: Uint8Array): string {
  return Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString('latin1');
}
