// Dispatchers do what CPython's do: every scenario of spec/conformance/events, in both orders, under
// loop and loopSync, against traces that were recorded from CPython 3.11. No Python is needed for
// that; where there is one, the recorded traces are asked of it again.

import { PYTHON } from '../support/python';
import {
  committed,
  expected,
  faultsOfDeviations,
  observe,
  record,
  SCENARIOS,
  WAYS,
} from './events/run';

const recorded = committed();

describe.each(WAYS.map((way) => ({ ...way, loop: way.sync ? 'loopSync' : 'loop' })))(
  'Events as in CPython ($order order, $loop)',
  (way) => {
    it.each(SCENARIOS.map((scenario) => [scenario.name, scenario] as const))(
      '%s',
      async (_, scenario) => {
        expect(await observe(scenario, way)).toEqual(expected(scenario, way.order, recorded));
      },
    );
  },
);

describe('The traces', () => {
  it('deviate where docs/differences.md has a row, and only there', () => {
    expect(faultsOfDeviations(recorded)).toEqual([]);
  });

  it('are there for every scenario, and for no other', () => {
    expect(Object.keys(recorded).sort()).toEqual(SCENARIOS.map(({ name }) => name).sort());
  });

  if (PYTHON === null) console.warn('NO PYTHON WITH ASYNCORE: recorded traces are not checked');
  const check = PYTHON === null ? it.skip : it;

  check(
    'are what CPython gives',
    () => {
      expect(record(PYTHON as string)).toEqual(recorded);
    },
    60_000,
  );
});
