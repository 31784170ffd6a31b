// A script: what a program does with one chat's output, and what its reader does, as plain JSON.
//
// What must be believed:
//
// - A script has no time in it, only passes of the loop. Before each pass the reader reads; before
//   the passes of a step the program acts, and the reader may send records, at which it acts again.
// - Every act has a number, `id`, and all bytes follow from it (`pattern`), so that a script holds
//   sizes only, and a result can be told apart from any other by its bytes.
// - `output_driver.py` runs it in CPython, `here.ts` here.

import * as fc from 'fast-check';

/** One answer of a producer's `more()`. */
export interface Piece {
  /** Bytes; 0 is the end, whatever follows. */
  size: number;
  /** Raises instead, once; asked again, it goes on with what follows. */
  raises: boolean;
  /** What the program does within this call. */
  acts: Act[];
}

export type Act = { id: number } & (
  | { act: 'push'; size: number; text: boolean }
  | { act: 'data'; size: number }
  | { act: 'simple'; size: number; chunk: number }
  | { act: 'producer'; pieces: Piece[]; end: 'empty' | 'none'; falsy: boolean }
  | { act: 'closeWhenDone' }
  | { act: 'discardBuffers' }
  | { act: 'close' }
  | { act: 'connect' }
);

/** The reader sends it; the program acts when it has arrived. */
export interface Record {
  id: number;
  acts: Act[];
}

export interface Step {
  acts: Act[];
  /** Sent together. */
  records: Record[];
  /** How many, or null: until nothing happens any more, the reader reading all. */
  passes: number | null;
}

export interface Reader {
  /** What it reads before each pass at most; when the list is over, all. */
  appetite: number[];
  /** After this many bytes it closes its socket, or ends its own stream and reads on. */
  leaves: { after: number; how: 'close' | 'shutdown' } | null;
}

export interface Script {
  order: 'select' | 'poll';
  /** How it is run here. */
  way: 'poll' | 'loopSync' | 'loop';
  acOutBufferSize: number;
  /** SO_SNDBUF of the chat's socket; 0: as it is. */
  sendBuffer: number;
  /** Whether the chat is connected from the start; otherwise by the act `connect`. */
  connected: boolean;
  /** Whether handleError closes, as it does unless overridden. */
  errorsClose: boolean;
  reader: Reader;
  steps: Step[];
}

/** What came of it. */
export interface Result {
  /**
   * In order: `act 3`, `record 4`, `more 3.0` (the producer of act 3, its first call), `raised 3.0`
   * (what that call raised came to the program), `error 3.0` (it came to handleError), `close`.
   */
  events: string[];
  /** What the reader had received at each `more`. */
  seen: number[];
  /** All that the reader received. */
  received: Buffer;
  /** `open`, `closed`, or `stuck` when it never came to rest. */
  end: string;
  /** Whether the reader left as it was to. */
  left: boolean;
  /** SO_SNDBUF as the kernel had it. */
  sendBuffer: number;
}

// ---------------------------------------------------------------------------------------------
// Bytes.

const LONGEST = 262_144;

/**
 * Ramps of 251 bytes, each begun 13 later than the one before: it compresses well, and a piece of
 * it that has gone astray shows.
 */
const ramps = Buffer.alloc(LONGEST);
for (let at = 0; at < LONGEST; at += 1) ramps[at] = ((at % 251) + Math.floor(at / 251) * 13) & 255;

/** The bytes of act `id`, or those of a producer's answer. */
export function pattern(id: number, answer: number, size: number): Buffer {
  const shift = (id * 29 + answer * 101) & 255;
  const data = Buffer.allocUnsafe(size);
  for (let at = 0; at < size; at += 1) data[at] = ((ramps[at] as number) + shift) & 255;
  return data;
}

// ---------------------------------------------------------------------------------------------
// All scripts.

/** A queue this long takes CPython this many passes. */
const MOST_PIECES = 300;

const size = fc.oneof(
  { weight: 2, arbitrary: fc.constant(0) },
  { weight: 10, arbitrary: fc.integer({ min: 1, max: 100 }) },
  { weight: 6, arbitrary: fc.integer({ min: 100, max: 6000 }) },
  { weight: 3, arbitrary: fc.integer({ min: 6000, max: 70_000 }) },
  { weight: 1, arbitrary: fc.integer({ min: 60_000, max: 200_000 }) },
);

const id = fc.constant(0);
const none = <Item>(): fc.Arbitrary<Item[]> => fc.constant<Item[]>([]);

const plainActs: fc.WeightedArbitrary<Act>[] = [
  { weight: 24, arbitrary: fc.record({ id, act: fc.constant('push'), size, text: fc.boolean() }) },
  { weight: 4, arbitrary: fc.record({ id, act: fc.constant('data'), size }) },
  {
    weight: 8,
    arbitrary: fc.record({
      id,
      act: fc.constant('simple'),
      size,
      chunk: fc.constantFrom(1, 10, 512, 512, 4096, 100_000),
    }),
  },
];

const endingActs: fc.WeightedArbitrary<Act>[] = [
  { weight: 3, arbitrary: fc.record({ id, act: fc.constant('closeWhenDone') }) },
  { weight: 2, arbitrary: fc.record({ id, act: fc.constant('discardBuffers') }) },
  { weight: 1, arbitrary: fc.record({ id, act: fc.constant('close') }) },
];

function producer(inner: fc.Arbitrary<Act[]>): fc.Arbitrary<Act> {
  const piece = fc.record({
    size,
    raises: fc.oneof(
      { weight: 19, arbitrary: fc.constant(false) },
      { weight: 1, arbitrary: fc.constant(true) },
    ),
    acts: inner,
  });
  return fc.record({
    id,
    act: fc.constant('producer'),
    pieces: fc.array(piece, { maxLength: 8 }),
    end: fc.constantFrom('empty', 'none'),
    falsy: fc.oneof(
      { weight: 29, arbitrary: fc.constant(false) },
      { weight: 1, arbitrary: fc.constant(true) },
    ),
  });
}

/** What is done within `more()`: mostly nothing. */
const within = (most: number, acts: fc.WeightedArbitrary<Act>[]): fc.Arbitrary<Act[]> =>
  fc.oneof(
    { weight: 14, arbitrary: none<Act>() },
    { weight: 1, arbitrary: fc.array(fc.oneof(...acts), { minLength: 1, maxLength: most }) },
  );

const innerProducer = producer(within(2, [...plainActs, ...endingActs]));
const act: fc.Arbitrary<Act> = fc.oneof(...plainActs, ...endingActs, {
  weight: 16,
  arbitrary: producer(
    within(2, [...plainActs, ...endingActs, { weight: 12, arbitrary: innerProducer }]),
  ),
});
const connect: fc.Arbitrary<Act> = fc.record({ id, act: fc.constant('connect') });

/** When all comes to rest after each step, no difference in time is left to be seen. */
const calm = fc.constant(null);
const hasty = fc.constantFrom(null, 0, 1, 1, 2, 5, 20);

const step = (passes: fc.Arbitrary<number | null>): fc.Arbitrary<Step> =>
  fc.record({
    acts: fc.array(fc.oneof({ weight: 12, arbitrary: act }, { weight: 1, arbitrary: connect }), {
      maxLength: 5,
    }),
    records: fc.oneof(
      { weight: 3, arbitrary: none<Record>() },
      {
        weight: 1,
        arbitrary: fc.array(fc.record({ id, acts: fc.array(act, { maxLength: 4 }) }), {
          maxLength: 3,
        }),
      },
    ),
    passes,
  });

const steps = (passes: fc.Arbitrary<number | null>): fc.Arbitrary<Step[]> =>
  fc.array(step(passes), { minLength: 1, maxLength: 5 });

const leaves: fc.Arbitrary<Reader['leaves']> = fc.oneof(
  { weight: 5, arbitrary: fc.constant(null) },
  {
    weight: 1,
    arbitrary: fc.record({
      after: fc.oneof(fc.integer({ min: 0, max: 300 }), fc.integer({ min: 0, max: 100_000 })),
      how: fc.constantFrom('close', 'close', 'shutdown'),
    }),
  },
);

const hunger = fc.constantFrom(0, 0, 0, 1, 100, 1000, 10_000, 1_000_000);

export const scripts: fc.Arbitrary<Script> = fc
  .record<Script>({
    order: fc.constantFrom('select', 'poll'),
    way: fc.constantFrom('poll', 'poll', 'loopSync', 'loop'),
    acOutBufferSize: fc.constantFrom(65536, 65536, 65536, 4096, 4096, 512, 100, 7),
    sendBuffer: fc.constantFrom(0, 0, 0, 1, 8192, 30_000),
    connected: fc.constantFrom(true, true, true, true, false),
    errorsClose: fc.constantFrom(true, true, false),
    reader: fc.record({
      appetite: fc.oneof(none<number>(), fc.array(hunger, { maxLength: 30 })),
      leaves,
    }),
    steps: fc.oneof(steps(calm), steps(hasty)),
  })
  .map(numbered);

/** A copy in which every act and record has its number, and nothing takes too many pieces. */
export function numbered(script: Script): Script {
  let last = 0;
  const most = script.acOutBufferSize * MOST_PIECES;
  const number = (act: Act): Act => {
    last += 1;
    const id = last;
    if (act.act === 'simple')
      return { ...act, id, size: Math.min(act.size, act.chunk * 200, most) };
    if (act.act === 'push' || act.act === 'data') {
      return { ...act, id, size: Math.min(act.size, most) };
    }
    if (act.act !== 'producer') return { ...act, id };
    const pieces = act.pieces.map((piece) => ({
      ...piece,
      size: Math.min(piece.size, most),
      acts: piece.acts.map(number),
    }));
    return { ...act, id, pieces };
  };
  const record = (one: Record): Record => {
    last += 1;
    return { id: last, acts: one.acts.map(number) };
  };
  const steps = script.steps.map((step) => ({
    ...step,
    acts: step.acts.map(number),
    records: step.records.map(record),
  }));
  return { ...script, steps };
}

/** Every act of a script, by its number, and the `more()` it stands in, if it does. */
export function actsOf(script: Script): Map<number, { act: Act; within: string | null }> {
  const all = new Map<number, { act: Act; within: string | null }>();
  const add = (acts: Act[], within: string | null): void => {
    for (const act of acts) {
      all.set(act.id, { act, within });
      if (act.act !== 'producer') continue;
      act.pieces.forEach((piece, answer) => {
        add(piece.acts, `${act.id}.${answer}`);
      });
    }
  };
  for (const step of script.steps) {
    add(step.acts, null);
    for (const record of step.records) add(record.acts, null);
  }
  return all;
}
