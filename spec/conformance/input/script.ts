// A script: what a peer sends, in which pieces, and what the chat that receives it does in its
// handlers. It is plain JSON, with bytes as strings of one character per byte, so that the same
// script runs in CPython (chat_driver.py), here (here.ts) and in the model of both (model.ts).
//
// What a reader must believe: everything is decided by the script. The pair of sockets is local, so
// what has been sent is there to be read, a receive gets all that is there up to its size, and each
// runner makes the same number of passes. Two runs of one script therefore receive in the same
// pieces.

/** A terminator as it stands in a script: bytes, a number, or null for none. */
export type Term = string | number | null;

/** Some bytes, or the same bytes many times. */
export type Part = string | [unit: string, times: number];

/** What a program does in a handler; `raise` ends it. */
export type Action = ['set', Term] | ['push', Part] | ['discard'] | ['close'] | ['raise'];

export interface Script {
  /** Which pass is made: `poll` (select order) or `poll2` (poll order). */
  order: 'select' | 'poll';
  /** What one receive gets at most: `acInBufferSize`. */
  inSize: number;
  /** Set at the start. Absent: none is ever set, unless by a handler. */
  terminator?: Term;
  /** What handleError does: close the channel, or nothing. */
  errorsClose: boolean;
  /** What is sent before the passes of a step. */
  chunks: Part[][];
  /** What the peer does at last: nothing, end its stream, or close its socket. */
  end: 'open' | 'shutdown' | 'close';
  /** Whether the end is there already when the last chunk is received. */
  endsWithLast: boolean;
  /** What is done in the n-th call, from 0 on. */
  onCollect: Record<string, Action[]>;
  onFound: Record<string, Action[]>;
  /** What every other call of foundTerminator sets, in turn. Empty: it sets nothing. */
  cycle: Term[];
}

/** The terminator in force at an event; false when none was ever set. */
export type Seen = Term | false;

/** One call of a handler. An error is the script's own (`raised`), or any other. */
export type Event =
  | ['collect', data: string, Seen]
  | ['found', Seen]
  | ['close', Seen]
  | ['error', 'raised' | 'other', Seen];

export interface Result {
  trace: Event[];
  /** What the peer has received. */
  sent: string;
  /** What a channel that is still open has received and not given away, and its terminator. */
  rest: { input: string; terminator: Seen } | null;
}

/** One step: what the peer does, and how many passes are made then. */
export interface Step {
  data: string;
  end: 'open' | 'shutdown' | 'close';
  passes: number;
}

export function bytesOf(parts: readonly Part[]): string {
  return parts.map((part) => (typeof part === 'string' ? part : part[0].repeat(part[1]))).join('');
}

export function stepsOf(script: Script): Step[] {
  const steps = script.chunks.map(bytesOf).map((data): Step => {
    return { data, end: 'open', passes: Math.ceil(data.length / script.inSize) };
  });
  if (script.end === 'open') return steps;
  const last = steps.at(-1);
  if (!script.endsWithLast || last === undefined) {
    steps.push({ data: '', end: script.end, passes: 2 });
  } else {
    last.end = script.end;
    last.passes += 2;
  }
  return steps;
}

/** A result in which it does not matter in how many pieces a record was collected. */
export function merged(result: Result): Result {
  const trace: Event[] = [];
  for (const event of result.trace) {
    const last = trace.at(-1);
    if (event[0] === 'collect' && last?.[0] === 'collect') {
      trace[trace.length - 1] = ['collect', last[1] + event[1], last[2]];
    } else {
      trace.push(event);
    }
  }
  return { ...result, trace };
}

export function sameResult(one: Result, other: Result): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}
