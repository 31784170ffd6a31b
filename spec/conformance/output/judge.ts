// The judge: whether one result is what asynchat promises, whatever the time in which it came.
//
// Two results may differ in when something happened, and then in what followed from it: in the order
// of two pushes, or in how much had left when the rest was discarded. What each of them must keep, is
// here. CPython's own results are judged as well, so these rules are not of our making:
//
// 1. Everything leaves in the order in which it was pushed; nothing is lost, repeated or changed but
//    what was discarded, or waited when the channel closed for another reason than closeWhenDone.
// 2. A producer is asked when its turn has come, call by call, until it is exhausted; nothing but
//    less than acOutBufferSize, and what the kernel holds, is then between it and the reader.
// 3. What it raises is told once, after all that came before it has left, and ends nothing by itself.
//    The caller of push learns of it only if nothing was sent in between.
// 4. handleClose is called once: at the end by closeWhenDone, after an error, or for a reader's leaving.

import { type Act, actsOf, pattern, type Result, type Script } from './script';

const END = Symbol('END');

/** Two patterns may be alike for so long: a ramp. */
const ALIKE = 256;

/** What the kernel counts for a send beside its bytes, at most. */
const KERNEL_OVERHEAD = 1300;

type Asked = Act & { act: 'producer' | 'simple' };

interface Standing {
  act: Asked;
  /** Which answer is next. */
  next: number;
}

/** What may have left between two calls of discardBuffers, in order. */
class Stretch {
  #pieces: Buffer[] = [];
  length = 0;
  /** So much of it has left for certain. */
  least = 0;
  /** Unless the kernel took no more: it was cut off within more(), which is asked ahead of time. */
  cut: { least: number; seen: number; sends: number } | null = null;

  add(data: Buffer): void {
    this.#pieces.push(data);
    this.length += data.length;
  }

  get data(): Buffer {
    if (this.#pieces.length !== 1) this.#pieces = [Buffer.concat(this.#pieces)];
    return this.#pieces[0] as Buffer;
  }
}

class Illegal extends Error {}

class Judge {
  readonly #acts;
  readonly #stretches = [new Stretch()];
  #queue: (Buffer | Standing | typeof END)[] = [];
  #connected: boolean;
  #closed = false;
  /** Told to handleError, which closes. */
  #erred = false;
  /** The call of more() under way, as far as the trace can tell. */
  #asking: { name: string; act: Asked; answer: number; discarded: boolean } | null = null;
  /** What was raised and nobody has been told of. */
  #failure: string | null = null;
  /** Within the last act, a producer has given something. */
  #given = false;
  #asked = 0;
  /** Acts and calls so far: no more sends than these, but for long data. */
  #turns = 0;
  /** Something was lost because it was asked for ahead of time. */
  lost = false;

  constructor(
    readonly script: Script,
    readonly result: Result,
    /** How much may be taken from producers and not yet be sent. */
    readonly ahead: number,
  ) {
    this.#acts = actsOf(script);
    this.#connected = script.connected;
  }

  get #stretch(): Stretch {
    return this.#stretches.at(-1) as Stretch;
  }

  judge(): void {
    for (const event of this.result.events) {
      const [what, which = ''] = event.split(' ');
      this.#turns += 1;
      if (what === 'act') this.#act(Number(which));
      else {
        this.#answer();
        if (what === 'more') this.#more(which);
        else if (what === 'record') this.#check(!this.#closed, 'a record after the close');
        else if (what === 'close') this.#close();
        else this.#told(what === 'error', which);
      }
    }
    this.#answer();
    this.#finish();
  }

  #check(condition: boolean, what: string): void {
    if (!condition) throw new Illegal(what);
  }

  // -------------------------------------------------------------------------------------------
  // Events.

  #act(id: number): void {
    const { act, within } = this.#acts.get(id) as { act: Act; within: string | null };
    if (within === null || within !== this.#asking?.name) {
      this.#answer();
      this.#given = false;
    }
    const refuses = this.#queue.includes(END);
    if (act.act === 'push' || act.act === 'data') {
      if (act.size > 0 && !refuses) this.#queue.push(pattern(act.id, 0, act.size));
    } else if (act.act === 'producer' || act.act === 'simple') {
      if (!refuses) this.#queue.push({ act, next: 0 });
    } else if (act.act === 'closeWhenDone') {
      if (!refuses) this.#queue.push(END);
    } else if (act.act === 'connect') {
      this.#connected ||= !this.#closed;
    } else if (act.act === 'discardBuffers') {
      this.#discard();
    } else {
      this.#cut();
      this.#closed = true;
    }
  }

  /** What came before a call of more() has left when that call throws the rest away. */
  #cut(): void {
    if (this.#asking === null || this.#asking.discarded || this.#closed) return;
    const { length } = this.#stretch;
    this.#stretch.least = length;
    this.#stretch.cut = {
      least: length - this.ahead,
      seen: this.result.seen[this.#asked - 1] as number,
      sends: this.#turns,
    };
  }

  #discard(): void {
    if (this.#asking === null) this.#advance();
    this.#cut();
    this.#queue = [];
    this.#stretches.push(new Stretch());
    this.#failure = null;
    if (this.#asking !== null) this.#asking.discarded = true;
  }

  #more(name: string): void {
    this.#advance();
    const head = this.#queue[0];
    const turn = head !== undefined && head !== END && 'act' in head ? head : null;
    this.#check(turn !== null && name === `${turn.act.id}.${turn.next}`, `not the turn of ${name}`);
    this.#check(!this.#closed && this.#connected, `${name} asked without a connection`);
    this.#check(this.#failure === null, `${name} asked before ${this.#failure} was told`);
    const { act, next } = turn as Standing;
    (turn as Standing).next += 1;
    this.#asking = { name, act, answer: next, discarded: false };
    const seen = this.result.seen[this.#asked] as number;
    this.#asked += 1;
    if (this.#stretches.length > 1) return;
    // The kernel counts more than the bytes, but may begin one more send when it is nearly full.
    const between = this.#stretch.length - seen;
    this.#check(
      between <= this.result.sendBuffer * 1.5 + this.ahead,
      `${name} asked with ${between} bytes before it`,
    );
  }

  #close(): void {
    this.#check(!this.#closed, 'closed twice');
    this.#advance();
    const due = this.#queue[0] === END && this.#failure === null && this.#connected;
    this.#check(due || this.#erred || this.result.left, 'closed without a reason');
    // All is sent, unless it closed for another reason meanwhile.
    if (due && !this.#erred && !this.result.left) this.#stretch.least = this.#stretch.length;
    this.#closed = true;
  }

  #told(toHandleError: boolean, what: string): void {
    this.#check(what === this.#failure, `${what} was told`);
    this.#check(toHandleError || !this.#given, `${what} came to a program that had gone on`);
    this.#failure = null;
    if (!this.#closed) this.#stretch.least = this.#stretch.length;
    this.#erred = toHandleError && this.script.errorsClose;
  }

  /** Any event but an act within the call under way: it has returned. */
  #answer(): void {
    if (this.#asking === null) return;
    const { name, act, answer, discarded } = this.#asking;
    this.#asking = null;
    const piece = act.act === 'producer' ? act.pieces[answer] : undefined;
    if (piece?.raises) {
      this.#failure = name;
    } else if (!discarded) {
      const data = act.act === 'simple' ? simplePiece(act, answer) : wholePiece(act, answer);
      if (data.length === 0) this.#queue.shift();
      else if (!this.#closed) {
        this.#stretch.add(data);
        this.#given = true;
      }
    }
  }

  /** Data at the head is what leaves next. */
  #advance(): void {
    for (let head = this.#queue[0]; head instanceof Buffer; head = this.#queue[0]) {
      this.#stretch.add(head);
      this.#queue.shift();
    }
  }

  // -------------------------------------------------------------------------------------------
  // The end.

  #finish(): void {
    const { end, left } = this.result;
    this.#check(end === (this.#closed ? 'closed' : 'open'), `at the end it is ${end}`);
    if (!this.#closed && this.#connected) {
      this.#advance();
      this.#check(this.#queue.length === 0, 'something waits at the end');
      this.#check(this.#failure === null, `${this.#failure} was never told`);
      this.#stretch.least = this.#stretch.length;
    }
    if (!this.#closed && !this.#connected) this.#stretches.pop();
    else this.#advance();
    const gone = left && this.script.reader.leaves?.how === 'close';
    this.#check(this.#arrives(0, 0, gone), 'not the bytes that were pushed');
  }

  /** Whether all received from `at` on is of this stretch and those after it. */
  #arrives(index: number, at: number, gone: boolean): boolean {
    const { received } = this.result;
    const stretch = this.#stretches[index];
    if (stretch === undefined || (gone && at === received.length)) return at === received.length;
    const { data, least } = stretch;
    const most = commonLength(data, received, at);
    if (gone && at + most === received.length) return true;
    // What follows a cut may by chance begin like what was cut off.
    for (let length = most; length >= Math.max(0, most - ALIKE); length -= 1) {
      const lost = length < least;
      if (lost && !this.#full(stretch, at, length)) return false;
      if (!this.#arrives(index + 1, at + length, gone)) continue;
      this.lost ||= lost;
      return true;
    }
    return false;
  }

  /** Whether the kernel may have been full when only so much of a stretch had left. */
  #full({ cut }: Stretch, at: number, length: number): boolean {
    if (cut === null || length < cut.least) return false;
    const held = at + length - cut.seen;
    const sends = cut.sends + held / this.script.acOutBufferSize;
    return 2 * held + KERNEL_OVERHEAD * sends >= this.result.sendBuffer;
  }
}

function simplePiece({ id, size, chunk }: Asked & { act: 'simple' }, answer: number): Buffer {
  return pattern(id, 0, size).subarray(answer * chunk, (answer + 1) * chunk);
}

function wholePiece({ id, pieces }: Asked & { act: 'producer' }, answer: number): Buffer {
  return pattern(id, answer, pieces[answer]?.size ?? 0);
}

function commonLength(data: Buffer, received: Buffer, at: number): number {
  const most = Math.min(data.length, received.length - at);
  if (data.compare(received, at, at + most, 0, most) === 0) return most;
  let length = 0;
  while (data[length] === received[at + length]) length += 1;
  return length;
}

/**
 * @param ahead how much may be taken from producers and not yet be sent
 * @returns what is wrong with a result, or null; and whether rule 1 was kept but for what was asked
 *   for ahead of time, by a producer that then threw it away
 */
export function judge(
  script: Script,
  result: Result,
  ahead: number,
): { wrong: string | null; lost: boolean } {
  const judge = new Judge(script, result, ahead);
  try {
    judge.judge();
    return { wrong: null, lost: judge.lost };
  } catch (error) {
    if (error instanceof Illegal) return { wrong: error.message, lost: false };
    throw error;
  }
}
