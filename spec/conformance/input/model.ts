// CPython's async_chat.handle_read, line by line, and beside each line where this library deviates
// from it the deviation, under the row of docs/differences.md that announces it.
//
// What a reader must believe: with no row in force the model is CPython, and with all of them it is
// this library. Neither is taken on trust: compare.ts holds every script's trace of CPython against
// the one, and the trace from here against the other. A deviation that has no row in this file is
// therefore found, and so is everything that a row does besides what it says.

import {
  type Action,
  bytesOf,
  type Event,
  type Result,
  type Script,
  type Seen,
  stepsOf,
} from './script';

/** Rows of docs/differences.md, by words of theirs that no other row has. */
export const ROWS = {
  afterClose: 'Records are delivered after `close()`',
  held: 'A partial terminator held at the end of the stream is lost',
  raised: 'An exception in `found_terminator` leaves what was received after it lying',
  setInCollect: 'A terminator set inside `collect_incoming_data` during a counted record',
  closeFirst: '`handle_close` runs before the input that one `recv` has left over is gone through',
  gathered: 'Pushes inside a read event are sent one by one',
  closedTwice: 'In poll order the handlers of a channel go on after its close',
  hangUp: 'In poll order IN and HUP together: one read, then close',
} as const;

export type Row = keyof typeof ROWS;

export const ALL_ROWS: ReadonlySet<Row> = new Set(Object.keys(ROWS) as Row[]);
export const NO_ROWS: ReadonlySet<Row> = new Set();

export interface Modelled {
  result: Result;
  /** The rows that were looked at, and in force. */
  met: Set<Row>;
}

/** In bytes: pushes of a read event wait for its tick's end if they are no longer, until so much waits. */
const LONGEST_PUT_OFF = 16_384;
const SENT_AT_ONCE = 65_536;

/** An exception in a handler. */
class Thrown {
  constructor(readonly what: 'raised' | 'other') {}
}

export function model(script: Script, rows: ReadonlySet<Row>): Modelled {
  const chat = new Model(script, rows);
  for (const { data, end, passes } of stepsOf(script)) {
    if (!chat.open) break;
    chat.kernel += data;
    if (end !== 'open') chat.ended = true;
    if (end === 'close') chat.peerGone = true;
    for (let pass = 0; pass < passes && chat.open; pass += 1) chat.pass();
  }
  const rest = chat.open ? { input: chat.input, terminator: chat.terminator } : null;
  return { result: { trace: chat.trace, sent: chat.sent, rest }, met: chat.met };
}

class Model {
  readonly trace: Event[] = [];
  readonly met = new Set<Row>();
  sent = '';
  open = true;

  /** What the kernel has for us, and what it knows of the peer. */
  kernel = '';
  ended = false;
  peerGone = false;

  /** Python's `ac_in_buffer` and `terminator`. */
  input = '';
  terminator: Seen;

  #collects = 0;
  #founds = 0;
  #cycled = 0;
  /** How many bytes were pushed that will not arrive, which nobody knows yet. */
  #gathered = 0;

  constructor(
    readonly script: Script,
    readonly rows: ReadonlySet<Row>,
  ) {
    this.terminator = script.terminator === undefined ? false : script.terminator;
  }

  #mends(row: Row): boolean {
    if (!this.rows.has(row)) return false;
    this.met.add(row);
    return true;
  }

  // -------------------------------------------------------------------------------------------
  // The loop: asyncore.read, asyncore.readwrite.

  pass(): void {
    if (this.kernel === '' && !this.ended) return;
    try {
      this.#readEvent();
      if (this.script.order === 'select' || !this.peerGone) return;
      if (this.#mends(this.open ? 'hangUp' : 'closedTwice')) return;
      this.#handleClose();
    } catch (thrown) {
      this.#handleError(thrown);
    }
  }

  #readEvent(): void {
    try {
      this.#handleRead();
    } finally {
      this.#flush();
    }
  }

  // -------------------------------------------------------------------------------------------
  // async_chat.handle_read.

  #handleRead(): void {
    const data = this.kernel.slice(0, this.script.inSize);
    this.kernel = this.kernel.slice(data.length);
    if (data === '') this.#endOfInput();
    this.input += data;
    this.#consume();
  }

  /** What recv does when it has received nothing. */
  #endOfInput(): void {
    const { length } = this.trace;
    try {
      if (this.rows.has('closeFirst')) this.#consume();
      if (this.trace.length > length) this.met.add('closeFirst');
      if (this.open && this.input !== '' && this.#mends('held')) this.#collect(this.input.length);
    } catch (thrown) {
      this.met.add('closeFirst');
      this.#handleError(thrown);
    }
    if (this.rows.has('closeFirst')) this.input = '';
    // Without `closeFirst` the channel is open here.
    if (this.open) this.#handleClose();
  }

  #consume(): void {
    while (this.input !== '') {
      const { terminator } = this;
      if (terminator === false) throw new Thrown('other');
      try {
        if (!terminator) this.#collect(this.input.length);
        else if (typeof terminator === 'number') this.#consumeCounted(terminator);
        else if (!this.#consumeDelimited(terminator)) return;
      } catch (thrown) {
        if (!this.#mends('raised')) throw thrown;
        this.#handleError(thrown);
      }
    }
  }

  #consumeCounted(terminator: number): void {
    const here = this.input.length;
    if (here >= terminator) {
      if (!this.#collect(terminator)) return;
      this.terminator = 0;
      this.#foundTerminator();
      return;
    }
    try {
      this.#collect(here);
    } catch (thrown) {
      // It has had its data.
      if (this.terminator === terminator && this.#mends('raised')) this.terminator -= here;
      throw thrown;
    }
    if (this.terminator !== terminator && this.#mends('setInCollect')) return;
    if (typeof this.terminator !== 'number') throw new Thrown('other');
    this.terminator -= here;
  }

  /** @returns false when it has to wait for more */
  #consumeDelimited(terminator: string): boolean {
    const here = this.input.length;
    const index = this.input.indexOf(terminator);
    if (index !== -1) {
      let goOn = true;
      if (index > 0) goOn = this.#collect(index, index + terminator.length);
      else this.input = this.input.slice(terminator.length);
      if (goOn) this.#foundTerminator();
      return true;
    }
    const held = heldBack(this.input, terminator);
    if (held < here) this.#collect(here - held);
    return held === 0;
  }

  /**
   * Python's statement pair `collect_incoming_data(ac_in_buffer[:end])`, `ac_in_buffer =
   * ac_in_buffer[next:]`. Both numbers may be negative, as in Python.
   * @returns whether to go on
   */
  #collect(end: number, next = end): boolean {
    const data = this.input.slice(0, end);
    try {
      this.#collectIncomingData(data);
    } catch (thrown) {
      if (this.#mends('raised')) this.input = this.input.slice(next);
      throw thrown;
    }
    this.input = this.input.slice(next);
    return this.open || !this.#mends('afterClose');
  }

  // -------------------------------------------------------------------------------------------
  // The program.

  #collectIncomingData(data: string): void {
    this.trace.push(['collect', data, this.terminator]);
    const actions = this.script.onCollect[this.#collects];
    this.#collects += 1;
    if (actions !== undefined) this.#perform(actions);
  }

  #foundTerminator(): void {
    this.trace.push(['found', this.terminator]);
    const { onFound, cycle } = this.script;
    const actions = onFound[this.#founds];
    this.#founds += 1;
    if (actions !== undefined) {
      this.#perform(actions);
    } else if (cycle.length > 0) {
      this.terminator = cycle[this.#cycled % cycle.length] as Seen;
      this.#cycled += 1;
    }
  }

  #handleClose(): void {
    this.trace.push(['close', this.terminator]);
    this.#close();
  }

  #handleError(thrown: unknown): void {
    if (!(thrown instanceof Thrown)) throw thrown;
    this.trace.push(['error', thrown.what, this.terminator]);
    if (this.script.errorsClose) this.#close();
  }

  #perform(actions: readonly Action[]): void {
    for (const action of actions) {
      if (action[0] === 'raise') throw new Thrown('raised');
      else if (action[0] === 'close') this.#close();
      else if (action[0] === 'push') this.#push(bytesOf([action[1]]));
      else if (action[0] === 'discard') {
        this.#flush();
        this.input = '';
      } else {
        if (typeof action[1] === 'number' && action[1] < 0) throw new Thrown('other');
        this.terminator = action[1];
      }
    }
  }

  // -------------------------------------------------------------------------------------------
  // The channel.

  #close(): void {
    this.open = false;
    // It goes to nobody now.
    this.#gathered = 0;
    if (this.input !== '' && this.#mends('afterClose')) this.input = '';
  }

  /** What is pushed fits into the kernel, so it is sent, or the peer is gone: EPIPE. */
  #push(data: string): void {
    if (!this.open) return;
    if (!this.peerGone) this.sent += data;
    else if (this.#putsOff(data) && this.#mends('gathered')) this.#gathered += data.length;
    else this.#handleClose();
  }

  #putsOff({ length }: string): boolean {
    return length <= LONGEST_PUT_OFF && this.#gathered + length < SENT_AT_ONCE;
  }

  /** What was gathered is sent. */
  #flush(): void {
    if (this.#gathered > 0) this.#handleClose();
  }
}

/** Python's find_prefix_at_end. */
function heldBack(input: string, terminator: string): number {
  let length = terminator.length - 1;
  while (length > 0 && !input.endsWith(terminator.slice(0, length))) length -= 1;
  return length;
}
