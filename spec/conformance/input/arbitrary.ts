// Scripts at random. Most are small; what they send is made of the terminators they set, whole and
// in part, and is cut where it hurts. All of it are fast-check's own arbitraries, so that a script
// on which the two sides differ shrinks to a few bytes.

import * as fc from 'fast-check';
import type { Action, Part, Script, Term } from './script';

/** Terminators that overlap with themselves or with each other, and those of real protocols. */
const KNOWN = [
  '\n',
  '\r\n',
  '\r\n.\r\n',
  '\r\n\r\n',
  'aa',
  'aab',
  'aaa',
  'aba',
  'abab',
  'ababc',
  'aabaaa',
  'abaababa',
  'aaaaaaab',
  '\x00\xff\x00',
  '\xc3\xa9',
];

/** What big chunks are full of; no terminator has it. */
const FILLER = 'x';

const letters = fc.constantFrom('a', 'b');
const text = fc.oneof(
  fc.string({ unit: letters, minLength: 1, maxLength: 6 }),
  fc.string({ unit: fc.constantFrom('\r', '\n', '.', 'a', 'b', 'c'), minLength: 1, maxLength: 6 }),
  fc.constantFrom('\x00\xff', '\xff', '\xc3', 'x', 'xx', 'xxxxxxxxxxxxxxxx'),
);

const bytesTerm = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom(...KNOWN) },
  { weight: 2, arbitrary: fc.string({ unit: letters, minLength: 1, maxLength: 8 }) },
);
const term: fc.Arbitrary<Term> = fc.oneof(
  { weight: 6, arbitrary: bytesTerm },
  { weight: 3, arbitrary: fc.integer({ min: 1, max: 12 }) },
  { weight: 1, arbitrary: fc.constantFrom(0, null, '', 20, 100, 65_535, 65_536, 65_537, 70_000) },
);

// Terms are chosen once; everything else names one of them by its number.
const termNumber = fc.nat({ max: 3 });

/** A piece of the stream: a terminator up to some byte, anything, or a lot. And where it is cut. */
const piece = fc.record({
  what: fc.oneof(
    {
      weight: 4,
      // The one that is set first is also what comes most often, and most often whole.
      arbitrary: fc.record({
        term: fc.constantFrom(0, 0, 0, 1, 2, 3),
        upTo: fc.constantFrom(1, 2, 3, 5, 8, 8, 8, 8),
      }),
    },
    { weight: 3, arbitrary: text },
  ),
  /** A new chunk begins so many bytes into it. */
  cutAt: fc.oneof(
    { weight: 2, arbitrary: fc.constant(null) },
    { weight: 1, arbitrary: fc.nat({ max: 6 }) },
  ),
});

const big = fc.oneof(
  { weight: 14, arbitrary: fc.constant(null) },
  {
    weight: 1,
    arbitrary: fc.record({
      before: fc.nat({ max: 12 }),
      times: fc.oneof(
        fc.integer({ min: 65_524, max: 65_540 }),
        fc.integer({ min: 1000, max: 70_000 }),
        fc.constantFrom(4095, 4096, 16_384, 32_768, 70_000),
      ),
    }),
  },
);

type NumberedAction = Exclude<Action, ['set', Term]> | ['set', number] | ['wrong'];

const action: fc.Arbitrary<NumberedAction> = fc.oneof(
  { weight: 8, arbitrary: termNumber.map((number): NumberedAction => ['set', number]) },
  {
    weight: 4,
    arbitrary: fc
      .oneof<fc.MaybeWeightedArbitrary<Part>[]>(
        { weight: 7, arbitrary: fc.string({ unit: letters, minLength: 1, maxLength: 3 }) },
        { weight: 1, arbitrary: fc.constantFrom<Part>(['p', 1000], ['p', 17_000]) },
      )
      .map((part): NumberedAction => ['push', part]),
  },
  { weight: 2, arbitrary: fc.constant<NumberedAction>(['discard']) },
  { weight: 1, arbitrary: fc.constant<NumberedAction>(['close']) },
  { weight: 3, arbitrary: fc.constant<NumberedAction>(['raise']) },
  { weight: 1, arbitrary: fc.constant<NumberedAction>(['wrong']) },
);

/** What is done in one of the first calls. */
type Call = [number: number, actions: NumberedAction[]];

const noCalls: fc.Arbitrary<Call[]> = fc.constant<Call[]>([]);
const someCalls = (max: number): fc.Arbitrary<Call[]> =>
  fc.array(fc.tuple(fc.nat({ max }), fc.array(action, { minLength: 1, maxLength: 3 })), {
    maxLength: 4,
  });

const raw = fc.record({
  order: fc.constantFrom('select' as const, 'poll' as const),
  inSize: fc.oneof(
    { weight: 5, arbitrary: fc.constant(65_536) },
    { weight: 1, arbitrary: fc.constantFrom(1, 2, 3, 4, 7, 16, 4096) },
  ),
  terms: fc.tuple(term, term, term, term),
  starts: fc.oneof(
    { weight: 20, arbitrary: fc.constant(true) },
    { weight: 1, arbitrary: fc.constant(false) },
  ),
  errorsClose: fc.boolean(),
  pieces: fc.array(piece, { maxLength: 14, size: 'max' }),
  big,
  bytewise: fc.oneof(
    { weight: 9, arbitrary: fc.constant(false) },
    { weight: 1, arbitrary: fc.constant(true) },
  ),
  end: fc.constantFrom('open' as const, 'shutdown' as const, 'close' as const),
  endsWithLast: fc.boolean(),
  collects: fc.oneof({ weight: 1, arbitrary: noCalls }, { weight: 1, arbitrary: someCalls(7) }),
  founds: fc.oneof({ weight: 1, arbitrary: noCalls }, { weight: 2, arbitrary: someCalls(5) }),
  /** Two of three have none. */
  cycle: fc.tuple(fc.nat({ max: 2 }), fc.array(termNumber, { minLength: 1, maxLength: 3 })),
});

type Raw = typeof raw extends fc.Arbitrary<infer T> ? T : never;

export const scripts: fc.Arbitrary<Script> = raw.map(build);

function build(from: Raw): Script {
  const isBig = from.big !== null;
  // A record of some bytes, many thousands of times, would take its time and show nothing new.
  const terms = from.terms.map((one) =>
    isBig && typeof one === 'number' && one < 1000 ? one * 1000 : one,
  );
  const actionsOf = (numbered: NumberedAction[]): Action[] =>
    numbered.map((one): Action => {
      if (one[0] === 'wrong') return ['set', -1];
      return one[0] === 'set' ? ['set', terms[one[1]] as Term] : one;
    });
  const handlerOf = (calls: Call[]): Record<string, Action[]> =>
    Object.fromEntries(calls.map(([call, actions]) => [call, actionsOf(actions)]));
  const [isCycling, cycle] = from.cycle;
  const script: Script = {
    order: from.order,
    inSize: isBig ? Math.max(4096, from.inSize) : from.inSize,
    errorsClose: from.errorsClose,
    chunks: chunksOf(from, terms),
    end: from.end,
    endsWithLast: from.endsWithLast,
    onCollect: handlerOf(from.collects),
    onFound: handlerOf(from.founds),
    cycle: isCycling < 2 ? [] : cycle.map((number) => terms[number] as Term),
  };
  if (from.starts) script.terminator = terms[0] as Term;
  return script;
}

function chunksOf({ pieces, big, bytewise }: Raw, terms: Term[]): Part[][] {
  const chunks: Part[][] = [[]];
  const put = (part: Part): void => {
    if (part === '') return;
    const chunk = chunks.at(-1) as Part[];
    const last = chunk.at(-1);
    if (typeof part === 'string' && typeof last === 'string') chunk[chunk.length - 1] = last + part;
    else chunk.push(part);
  };
  const bigAt = big === null ? -1 : Math.min(big.before, Math.max(0, pieces.length - 1));
  pieces.forEach(({ what, cutAt }, index) => {
    if (index === bigAt) put([FILLER, big?.times ?? 0]);
    const data = typeof what === 'string' ? what : partOf(terms[what.term] as Term, what.upTo);
    const at = cutAt ?? data.length;
    put(data.slice(0, at));
    if (cutAt !== null) chunks.push([]);
    put(data.slice(at));
  });
  const filled = chunks.filter((chunk) => chunk.length > 0);
  if (!bytewise || big !== null) return filled;
  return filled.flatMap((chunk) =>
    chunk.flatMap((part) => [...(part as string)].map((byte) => [byte])),
  );
}

function partOf(one: Term, upTo: number): string {
  return typeof one === 'string' ? one.slice(0, upTo) : 'ab'.repeat(4).slice(0, upTo);
}
