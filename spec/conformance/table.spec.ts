// docs/conformance.md says what is true.

import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { itIf } from '../support/skips';
import { ONLY_IN_2_7, SKIPPED } from './cases';
import {
  committedList,
  counterparts,
  listOfPython,
  PAGE,
  page,
  SPECS,
  type SpecTest,
  specTests,
} from './table';

const ofPython = listOfPython();

describe('The list of CPython’s tests', () => {
  it('has all of them, each once', () => {
    expect(committedList()).toHaveLength(126);
    expect(new Set([...committedList(), ...ONLY_IN_2_7]).size).toBe(130);
  });

  const itWithPython = itIf(ofPython !== null, 'no Python with asyncore and its tests');
  itWithPython('is what Python 3.11 lists, where there is one with its tests', () => {
    expect(committedList()).toEqual(ofPython);
  });
});

describe('The tests here', () => {
  let tests: SpecTest[];

  beforeAll(() => {
    tests = specTests();
  });

  it('have a counterpart to each of CPython’s', () => {
    const missing = counterparts([...committedList(), ...ONLY_IN_2_7], tests)
      .filter(({ test }) => test === undefined)
      .map(({ cpython }) => cpython);
    expect(missing).toEqual([]);
  });

  it('are nothing else', () => {
    const rows = counterparts([...committedList(), ...ONLY_IN_2_7], tests);
    expect(rows.reduce((sum, row) => sum + 1 + row.repetitions.length, 0)).toBe(tests.length);
  });

  it('that run a loop run it by loopSync, too', () => {
    const runsLoop = /^(TestAPI_Use|TestAsynchat(_WithPoll)?\.)|\.test_dispatcher$/;
    const once = counterparts(committedList(), tests)
      .filter(({ id, repetitions }) => runsLoop.test(id) !== repetitions.includes('loopSync'))
      .map(({ id }) => id);
    expect(once).toEqual([]);
  });

  it('are skipped for a reason that the title gives, and for no other', () => {
    const rows = counterparts([...committedList(), ...ONLY_IN_2_7], tests);
    expect(rows.map(({ id }) => id)).toEqual(expect.arrayContaining([...SKIPPED.keys()]));
    for (const { id, test } of rows) {
      expect(test?.title).toBe(SKIPPED.has(id) ? `${id}: ${SKIPPED.get(id)}` : id);
    }
  });

  it.each(SPECS.map((path) => [basename(path), path]))(
    '%s registers all of them by casesOf, which knows what is skipped',
    (_, path) => {
      const source = readFileSync(path, 'utf8');
      expect(source).toContain('casesOf(');
      const others = /^\s*(?:[fx]?it\b|xtest\b|test\.|[fx]describe\b|describe\.(?!each)).*/gm;
      expect(source.match(others)).toBeNull();
    },
  );

  it('are those in docs/conformance.md (npx tsx spec/conformance/table.ts writes it)', () => {
    expect(readFileSync(PAGE, 'utf8')).toBe(page(tests));
  });
});

describe('The table', () => {
  it('shows what is missing', () => {
    expect(page([])).toContain('126 tests, of which 0 have a counterpart here');
    expect(page([])).toContain('| `test_asynchat.TestFifo.test_basic` | **none** |  | run |');
  });
});
