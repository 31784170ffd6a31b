// Random mixes of output, here and in CPython's asynchat: the same bytes, the same calls of more().

import { itWithPython, PYTHON } from '../support/python';
import { readCorpus, replay } from './harness/corpus';
import { documentedRows } from './harness/differences';
import { runSuite } from './harness/run';
import { ROWS } from './output/compare';
import { judge } from './output/judge';
import { output } from './output/suite';

const corpus = readCorpus(output);

describe('output, against CPython’s results', () => {
  it('does the same in every recorded script, or what a row says', async () => {
    const differences: string[] = [];
    for (const [index, entry] of corpus.entries()) {
      const { difference } = await replay(output, entry);
      if (difference !== null) differences.push(`script ${index}: ${difference}`);
    }
    expect(differences).toEqual([]);
  });

  it('has several hundred recorded scripts', () => {
    expect(corpus.length).toBeGreaterThanOrEqual(300);
  });

  it('names rows that docs/differences.md has', () => {
    expect(documentedRows()).toEqual(expect.arrayContaining(Object.values(ROWS)));
  });

  if (PYTHON === null) {
    console.warn('No Python with asynchat: recorded scripts only, NO RANDOM ONES were compared.');
  }
  itWithPython(
    'does the same in random scripts',
    async () => {
      // Always the same ones here. A fresh seed is for `npm run conformance`, which CI runs as well.
      const { run, differences } = await runSuite(output, {
        scripts: 200,
        seed: 20_261_122,
        python: PYTHON as string,
      });
      expect(differences).toEqual([]);
      expect(run).toBe(200);
    },
    120_000,
  );
});

describe('the judge of results', () => {
  // With everything fixed that has a row, CPython's own results must be to its liking.
  const results = corpus.map(({ script, answers }) => {
    const last = answers.at(-1) as (typeof answers)[number];
    return { script, result: last.theirs };
  });

  it('has nothing against CPython’s', () => {
    const wrong = results.map(({ script, result }) => judge(script, result, 0).wrong);
    expect(wrong.filter((one) => one !== null)).toEqual([]);
  });

  it('misses no byte that was changed, at the end of all that was sent', () => {
    // Elsewhere it may be where something was cut off, and a change there is a shorter cut.
    const whole = results.filter(({ result: { end, left, received } }) => {
      return end === 'open' && !left && received.length > 0;
    });
    for (const { script, result } of whole) {
      const received = Buffer.from(result.received);
      received.writeUInt8((received.at(-1) as number) ^ 128, received.length - 1);
      expect(judge(script, { ...result, received }, 0).wrong).not.toBeNull();
    }
    expect(whole.length).toBeGreaterThan(50);
  });

  it('misses no call of more() that was left out, but the last', () => {
    for (const { script, result } of results) {
      const index = result.events.findIndex((event) => event.startsWith('more '));
      const calls = result.events.filter((event) => event.startsWith('more ')).length;
      if (calls < 2) continue;
      const events = result.events.filter((_, at) => at !== index);
      const seen = result.seen.slice(1);
      expect(judge(script, { ...result, events, seen }, 0).wrong).not.toBeNull();
    }
  });

  it('misses no handleClose that was called twice, or for nothing', () => {
    for (const { script, result } of results) {
      const events = [...result.events, 'close'];
      expect(judge(script, { ...result, events }, 0).wrong).not.toBeNull();
    }
  });
});
