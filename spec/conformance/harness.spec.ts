// The harness itself, with a suite that is made to differ.

import { writeFileSync } from 'node:fs';
import * as fc from 'fast-check';
import { temporaryPath } from '../support/drive';
import { describeWith } from '../support/skips';
import { readCorpus, record, replay } from './harness/corpus';
import { unknownRows } from './harness/differences';
import { runSuite } from './harness/run';
import type { Suite } from './harness/suite';

/** Doubles the number of each script; with the fix `signless`, that of its absolute value. */
const DRIVER = `
import json, sys
for line in sys.stdin:
    script = json.loads(line)
    value = abs(script['n']) if 'signless' in script['fixes'] else script['n']
    print(json.dumps(2 * value), flush=True)
`;

interface Script {
  n: number;
}

/** @param here what is done here, where twice the absolute value is expected */
function doubling(here: (n: number) => number): Suite<Script, number, number> {
  const driver = temporaryPath('driver.py');
  writeFileSync(driver, DRIVER);
  return {
    name: 'doubling',
    scripts: fc.record({ n: fc.integer({ min: -1000, max: 1000 }) }),
    share: 1,
    cases: 1,
    rows: { signless: 'Numbers have a sign' },
    driver,
    parse: Number,
    runHere: ({ n }) => Promise.resolve(here(n)),
    async compare(_, ours, ask) {
      if (ours === (await ask())) return { rows: [], difference: null };
      const fixed = await ask(['signless']);
      const difference = ours === fixed ? null : `${ours} and not ${fixed}`;
      return { rows: ['signless'], difference };
    },
    fixesFor: (fixes, theirs) => (fixes.length > 0 || theirs < 0 ? ['signless'] : []),
    corpus: {
      file: temporaryPath('corpus.json'),
      read: (json) => json as ReturnType<Suite<Script, number, number>['corpus']['read']>,
      write: (recordings) => JSON.stringify(recordings),
      record: (ask) => ask([{ n: 3 }, { n: -4 }]),
    },
  };
}

const right = (n: number): number => 2 * Math.abs(n);
const options = { scripts: 450, seed: 7, python: 'python3' };

// Any Python will do.
describeWith('python3')('The conformance harness', () => {
  it('counts what it runs, and the rows that were needed', async () => {
    const { run, seed, differences, rows } = await runSuite(doubling(right), options);
    expect({ run, seed, differences }).toEqual({ run: 450, seed: 7, differences: [] });
    expect(rows.signless).toBeGreaterThan(150);
    expect(rows.signless).toBeLessThan(300);
  });

  it('finds a difference, and the smallest script that differs as well', async () => {
    const wrong = doubling((n) => right(n) + (n > 100 ? 1 : 0));
    const { run, differences } = await runSuite(wrong, options);
    expect(differences).toHaveLength(5);
    expect(run).toBeLessThan(450);
    for (const difference of differences) {
      expect(difference).toMatch(/^doubling: seed -?\d+, path [\d:]+: 203 and not 202\n/);
      expect(difference).toContain('script {"n":101}');
    }
    // The same seed finds the same.
    expect((await runSuite(wrong, options)).differences).toEqual(differences);
  });

  it('fails when CPython ends', async () => {
    const suite = doubling(right);
    writeFileSync(suite.driver, 'raise SystemExit("no more")');
    await expect(runSuite(suite, options)).rejects.toThrow(/ended with 1\n.*no more/);
  });

  it('records with the fixes that a script needs, and replays that without CPython', async () => {
    const suite = doubling(right);
    expect(await record(suite, 'python3')).toBe(2);
    const recorded = readCorpus(suite);
    expect(recorded.map(({ answers }) => answers)).toEqual([
      [{ fixes: [], theirs: 6 }],
      [
        { fixes: [], theirs: -8 },
        { fixes: ['signless'], theirs: 8 },
      ],
    ]);
    const verdicts = await Promise.all(recorded.map((one) => replay(suite, one)));
    expect(verdicts).toEqual([
      { rows: [], difference: null },
      { rows: ['signless'], difference: null },
    ]);
    const wrong = { ...suite, runHere: () => Promise.resolve(5) };
    await expect(replay(wrong, recorded[1] as (typeof recorded)[number])).resolves.toEqual({
      rows: ['signless'],
      difference: '5 and not 8',
    });
  });

  it('knows the rows of docs/differences.md', () => {
    expect(unknownRows(['no such row'])).toEqual(['no such row']);
  });
});
