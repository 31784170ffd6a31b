// Dispatchers do what CPython's do: every scenario of spec/conformance/events, in both orders, under
// loop and loopSync, against traces that were recorded from CPython 3.11. No Python is needed for
// that; where there is one, the recorded traces are asked of it again.

import { PYTHON } from '../support/python';
import { itIf } from '../support/skips';
import type { Scenario, Traces } from './events/scenario';
import { SCENARIOS } from './events/scenarios';
import {
  committed,
  events,
  expected,
  faultsOfDeviations,
  observe,
  titleOf,
  WAYS,
} from './events/suite';
import { ask } from './harness/corpus';

const recorded = committed();

function tracesOf({ name }: Scenario): Traces {
  const traces = recorded.get(name);
  if (traces === undefined) throw new Error(`not recorded: ${name}`);
  return traces;
}

describe.each(WAYS.map((way) => [titleOf(way), way] as const))(
  'Events as in CPython (%s)',
  (_title, way) => {
    it.each(SCENARIOS.map((scenario) => [scenario.name, scenario] as const))(
      '%s',
      async (_, scenario) => {
        const wanted = expected(scenario, way.order, tracesOf(scenario));
        expect(await observe(scenario, way)).toEqual(wanted);
      },
    );
  },
);

describe('The traces', () => {
  it('deviate where docs/differences.md has a row, and only there', () => {
    expect(faultsOfDeviations(recorded)).toEqual([]);
  });

  it('are there for every scenario, and for no other', () => {
    expect([...recorded.keys()].sort()).toEqual(SCENARIOS.map(({ name }) => name).sort());
  });

  if (PYTHON === null) console.warn('NO PYTHON WITH ASYNCORE: recorded traces are not checked');
  const check = itIf(PYTHON !== null, 'no Python with asyncore');

  check('are what CPython gives', async () => {
    const now = await ask(events, SCENARIOS, PYTHON as string);
    expect(new Map(now.map(({ script, answers }) => [script.name, answers[0]?.theirs]))).toEqual(
      recorded,
    );
  });
});
