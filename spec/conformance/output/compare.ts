// Our result against CPython's: the same, or different by rows of docs/differences.md, by name.
//
// A row is no excuse by itself. CPython says with each result what happened that has a row (`marks`),
// and is run again with those rows fixed, each by a few lines in its driver: the results must be the
// same then. One row is about time, and cannot be fixed in CPython: what is asked for and sent in
// one write event here takes several there. Then the first difference must be that we are ahead, and
// both results must keep what asynchat promises (judge.ts).

import { judge } from './judge';
import type { PythonResult } from './result';
import { actsOf, type Result, type Script } from './script';

const TIME = 'Each item on the fifo costs a tick and a send; an empty push as well.';

/** What the driver can fix, and the row about it: the first column in docs/differences.md. */
export const ROWS: Readonly<{ [mark: string]: string }> = {
  time: TIME,
  gathered: 'Pushes inside a read event are sent one by one.',
  lost: 'A producer is asked when all before it has left, also one that then closes or discards.',
  empty: TIME,
  late: '`push` after `close_when_done` closes at once, and loses the data.',
  'close twice':
    'In poll order the handlers of a channel go on after its close or after `del_channel`; ' +
    '`handle_close` runs twice.',
  'record after close': 'Records are delivered after `close()` inside a handler.',
  'input lies':
    'An exception in `found_terminator` leaves what was received after it lying until more ' +
    'arrives; one in `collect_incoming_data` delivers its data again.',
  falsy: 'A producer whose truth value is false drops its neighbour.',
  nested:
    'A push inside `more()` asks the same producer again before its answer is queued: pieces change ' +
    'places, or the next item is dropped.',
  discard:
    '`discard_buffers` inside `more()`: the answer is sent all the same, and an empty one drops the ' +
    'next item, or is an IndexError.',
  'error after close':
    'An exception in a handler that has closed the channel calls `handle_close` once more.',
};

export interface Verdict {
  /** The marks of the rows that were needed. */
  rows: string[];
  difference: string | null;
}

/** What must be the same: not when the program got its turns in between. */
function essence({ events, received, end }: Result): [string, Buffer, string] {
  return [events.filter((event) => !/^(act|record) /.test(event)).join(), received, end];
}

function same(a: Result, b: Result): boolean {
  const [events, received, end] = essence(a);
  const [otherEvents, otherReceived, otherEnd] = essence(b);
  return events === otherEvents && end === otherEnd && received.equals(otherReceived);
}

/** @param cpython runs the script in CPython with these rows fixed */
export async function compare(
  script: Script,
  ours: Result,
  cpython: (fixes: readonly string[]) => Promise<PythonResult>,
): Promise<Verdict> {
  const { wrong, lost } = judge(script, ours, script.acOutBufferSize);
  if (wrong !== null) return { rows: [], difference: `ours: ${wrong}` };
  let fixes: string[] = [];
  for (;;) {
    const theirs = await cpython(fixes);
    if (same(ours, theirs)) return { rows: fixes, difference: null };
    const marked = marksOf(fixes, theirs);
    if (marked.length > fixes.length) {
      fixes = marked;
      continue;
    }
    const judged = judge(script, theirs, 0);
    if (judged.wrong !== null) return { rows: fixes, difference: `CPython: ${judged.wrong}` };
    const { row, difference } = inTime(script, ours, theirs, lost);
    return { rows: [...fixes, row], difference };
  }
}

/** What is to be fixed, after a run with `fixes`. */
export function marksOf(fixes: readonly string[], { marks }: { marks: string[] }): string[] {
  return [...new Set([...fixes, ...marks])].sort();
}

interface Timing {
  row: string;
  difference: string | null;
}

/** Looks at the first difference: are we ahead? */
function inTime(script: Script, ours: Result, theirs: Result, lost: boolean): Timing {
  const longer = ours.received.length - theirs.received.length;
  const length = Math.max(ours.events.length, theirs.events.length);
  for (let index = 0; index < length; index += 1) {
    const our = ours.events[index] ?? 'nothing';
    const their = theirs.events[index] ?? 'nothing';
    if (our === their) continue;
    // Output got on here, while there the program had its next turn, or the reader left.
    if (/^(more|error|close)/.test(our) && /^(act|record|close)/.test(their)) return ahead;
    // The reader has left because of what had been sent here, and was discarded there.
    if (our === 'close' && ours.left && longer >= 0) return ahead;
    // All before a producer had left here when it was pushed, so that the program heard of it.
    if (our.startsWith('raised') && our.replace('raised', 'error') === their) return ahead;
    const before = ours.events.slice(0, index);
    // A push has found out there that the reader has left; here it is sent when the event ends.
    if (their === 'close' && ours.left && isGathered(script, before.at(-1))) return gathered;
    // So much more had left here before a discardBuffers, that the kernel was full after it.
    if (
      hasDiscarded(script, before) &&
      (longer > 0 || ours.left) &&
      /^(act|record)/.test(our) &&
      /^(more|close)/.test(their)
    ) {
      return ahead;
    }
    return { row: 'time', difference: `${our} where CPython has ${their}` };
  }
  // The same events: then something was cut off, and more of it had left here. A reader that leaves
  // has then received the same number of bytes, of what came later in part.
  if (longer > 0 || (longer === 0 && ours.left)) return ahead;
  // As much, but more of it from before a discardBuffers. Or less: a producer that discards, pushes and
  // then throws ends the channel, and its push, inside more(), has been sent at once there.
  const threw = ours.events.some((event) => event.startsWith('error'));
  if (hasDiscarded(script, ours.events) && (longer === 0 || threw)) return ahead;
  // What the kernel takes before it is full depends on how the bytes are divided among the sends.
  const full = 2 * theirs.received.length >= ours.sendBuffer;
  if (full && -longer <= ours.sendBuffer) return ahead;
  if (lost) return { row: 'lost', difference: null };
  return { row: 'time', difference: 'not the bytes that CPython sent' };
}

const ahead: Timing = { row: 'time', difference: null };
const gathered: Timing = { row: 'gathered', difference: null };

function hasDiscarded(script: Script, events: string[]): boolean {
  const acts = actsOf(script);
  return events.some((event) => {
    return acts.get(Number(event.split(' ')[1]))?.act.act === 'discardBuffers';
  });
}

function isGathered(script: Script, event = ''): boolean {
  const id = event.startsWith('act ') ? Number(event.split(' ')[1]) : null;
  return script.steps.some(({ records }) =>
    records.some(({ acts }) => acts.some((act) => act.id === id && act.act === 'push')),
  );
}
