// What a chat makes of its input, against CPython itself: a recorded corpus, which needs no Python,
// and fresh random scripts where there is one.

import { itWithPython, PYTHON } from '../support/python';
import { readCorpus } from './harness/corpus';
import { unknownRows } from './harness/differences';
import { runSuite } from './harness/run';
import { compare, recutOf, sameRecords } from './input/compare';
import { runHere, type Way } from './input/here';
import { ALL_ROWS, model, NO_ROWS, ROWS, type Row } from './input/model';
import type { Result, Script } from './input/script';
import { input, runBy } from './input/suite';

interface Recorded {
  script: Script;
  cpython: Result;
}

const corpus = readCorpus(input).map(({ script, answers: [answer] }): Recorded => {
  return { script, cpython: (answer as { theirs: Result }).theirs };
});

// CI runs 5000 more: npm run conformance.
const SCRIPTS = 1500;
const seed = Math.floor(Math.random() * 2 ** 31);

if (PYTHON === null) {
  console.warn(
    'No Python with asyncore: random scripts are NOT compared with CPython, only the recorded ones.',
  );
}

describe('AsyncChat input, the recorded corpus', () => {
  it('is of some size', () => {
    expect(corpus.length).toBeGreaterThanOrEqual(500);
    // A receive that is full is in it, and so is a step that takes several.
    const large = corpus.filter(({ cpython }) =>
      cpython.trace.some(([what, data]) => what === 'collect' && String(data).length >= 65_536),
    );
    expect(large.length).toBeGreaterThan(5);
  });

  it.each<[Way]>([['poll'], ['loopSync'], ['loop']])('is as in CPython: %s', async (way) => {
    for (const { script, cpython } of corpus) {
      const { difference } = compare(script, cpython, await runBy(way, script));
      expect(difference).toBeNull();
    }
  });

  it('does not depend on where the input is cut', () => {
    let cut = 0;
    for (const { script } of corpus) {
      const recut = recutOf(script);
      if (recut === null) continue;
      cut += 1;
      expect([script, sameRecords(runHere(script), runHere(recut))]).toEqual([script, true]);
    }
    expect(cut).toBeGreaterThan(100);
  });

  it('needs every row several times, and for most scripts none', () => {
    const used = new Map<Row, number>();
    let plain = 0;
    for (const { script, cpython } of corpus) {
      const { rows } = compare(script, cpython, runHere(script));
      if (rows.length === 0) plain += 1;
      for (const row of rows) used.set(row, (used.get(row) ?? 0) + 1);
    }
    const rare = [...ALL_ROWS].filter((row) => (used.get(row) ?? 0) < 10);
    expect(rare).toEqual([]);
    expect(plain).toBeGreaterThan(corpus.length / 2);
  });

  it('is not passed by what is only nearly right', () => {
    let tried = 0;
    for (const { script, cpython } of corpus) {
      const here = runHere(script);
      for (const wrong of nearly(here)) {
        tried += 1;
        expect([script, compare(script, cpython, wrong).difference?.what]).toEqual([
          script,
          'trace',
        ]);
      }
    }
    expect(tried).toBeGreaterThan(1000);
  });

  it('is not passed by CPython where a row says that it is fixed', () => {
    const fixed = corpus.filter(
      ({ script, cpython }) => compare(script, cpython, runHere(script)).rows.length > 0,
    );
    const passed = fixed.filter(
      ({ script, cpython }) => compare(script, cpython, cpython).difference === null,
    );
    expect(passed).toEqual([]);
  });

  it('would be noticed if CPython did something else than the model says', () => {
    const [{ script, cpython }] = corpus as [Recorded];
    const other: Result = { ...cpython, trace: [...cpython.trace, ['found', null]] };
    expect(compare(script, other, runHere(script)).difference?.what).toBe('model');
  });
});

/** The same with an event missing, one changed, and one too many. */
function nearly(result: Result): Result[] {
  const { trace } = result;
  const last = trace.at(-1);
  if (last === undefined) return [];
  const first = trace[0] as typeof last;
  return [
    { ...result, trace: trace.slice(1) },
    { ...result, trace: [...trace, last] },
    { ...result, trace: [[...first.slice(0, -1), 'another'] as typeof first, ...trace.slice(1)] },
    { ...result, sent: `${result.sent}p` },
  ];
}

describe('AsyncChat input, the rows', () => {
  it.each(Object.entries(ROWS))('%s is one row of docs/differences.md', (_, text) => {
    expect(unknownRows([text])).toEqual([]);
  });

  it('change nothing that no row is about', () => {
    for (const { script } of corpus) {
      const { result, met } = model(script, ALL_ROWS);
      if (met.size === 0) expect(result).toEqual(model(script, NO_ROWS).result);
    }
  });
});

describe('AsyncChat input, at random', () => {
  itWithPython(`is as in CPython ${PYTHON}: ${SCRIPTS} scripts, seed ${seed}`, async () => {
    const report = await runSuite(input, { scripts: SCRIPTS, seed, python: PYTHON as string });
    expect(report.differences.join('\n\n')).toBe('');
    expect(report.run).toBe(SCRIPTS);
  });
});
