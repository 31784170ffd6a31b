// Events of dispatchers: which handlers run, in which order, and what the channel is at each.
//
// What must be believed: a trace here is CPython's, line for line, after normalise.ts; or its
// scenario stands in scenarios/deviations.ts, under the row of docs/differences.md that it shows and
// with the trace here. A scenario that stands there and does what CPython does is a difference, too.

import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { errorCode } from 'asyncore';
import { readCorpus } from '../harness/corpus';
import { unknownRows } from '../harness/differences';
import type { Suite, Verdict } from '../harness/suite';
import { normalise } from './normalise';
import { play, type Way } from './runner';
import {
  type Deviation,
  linesOf,
  ORDERS,
  type Order,
  type Scenario,
  type Traces,
} from './scenario';
import { SCENARIOS } from './scenarios';
import { DEVIATIONS } from './scenarios/deviations';

export const WAYS: readonly Way[] = ORDERS.flatMap((order) => [
  { order, sync: false },
  { order, sync: true },
]);

/** What happens here in one way. */
interface Observed {
  way: Way;
  trace: string[];
}

export function titleOf({ order, sync }: Way): string {
  return `${order} order, ${sync ? 'loopSync' : 'loop'}`;
}

/** What this library does. */
export async function observe(scenario: Scenario, way: Way): Promise<string[]> {
  return equalised(await play(scenario, way));
}

function equalised(trace: string[]): string[] {
  return trace.map((line) => normalise(line, errorCode));
}

/** The row that a scenario stands under, and its trace here. */
function deviations(): { row: string; name: string; ours: Deviation }[] {
  return Object.entries(DEVIATIONS).flatMap(([row, of]) =>
    Object.entries(of).map(([name, ours]) => ({ row, name, ours })),
  );
}

function deviation(name: string, order: Order): string[] | undefined {
  const ours = deviations().find((one) => one.name === name)?.ours;
  if (ours === undefined) return undefined;
  const text = 'both' in ours ? ours.both : (ours as Partial<Record<Order, string>>)[order];
  return text === undefined ? undefined : linesOf(text);
}

/** What this library must do: CPython's trace, or the one that the scenario gives for it. */
export function expected({ name }: Scenario, order: Order, cpython: Traces): string[] {
  return deviation(name, order) ?? cpython[order];
}

/** What CPython does, as committed: by the names of the scenarios. */
export function committed(): ReadonlyMap<string, Traces> {
  recorded ??= new Map(
    readCorpus(events).map(({ script, answers: [answer] }) => [
      script.name,
      (answer as { theirs: Traces }).theirs,
    ]),
  );
  return recorded;
}

let recorded: ReadonlyMap<string, Traces> | undefined;

/** What is wrong with deviations.ts itself. */
export function faultsOfDeviations(recorded: ReadonlyMap<string, Traces>): string[] {
  const faults = unknownRows(Object.keys(DEVIATIONS)).map((row) => `is no row of the page: ${row}`);
  const seen = new Set<string>();
  for (const { row, name } of deviations()) {
    if (seen.has(name)) faults.push(`stands under two rows: ${name}`);
    seen.add(name);
    const python = recorded.get(name);
    if (python === undefined) {
      faults.push(`no such scenario: ${name}`);
      continue;
    }
    for (const order of ORDERS) {
      if (!isDeepStrictEqual(deviation(name, order), python[order])) continue;
      faults.push(`does what CPython does, and stands under '${row}': ${name} (${order})`);
    }
  }
  return faults;
}

function differenceOf(what: string, wanted: unknown, actual: unknown): string | null {
  if (isDeepStrictEqual(wanted, actual)) return null;
  const lines = (trace: unknown): string => [trace].flat().join('\n    ');
  return `${what}\n  expected\n    ${lines(wanted)}\n  actual\n    ${lines(actual)}`;
}

export const events: Suite<Scenario, Traces, Observed[]> = {
  name: 'events',
  scripts: SCENARIOS,
  share: 1,
  cases: WAYS.length,
  rows: Object.fromEntries(Object.keys(DEVIATIONS).map((row) => [row, row])),
  driver: join(__dirname, 'scenario_driver.py'),
  parse(answer) {
    const { select, poll } = answer as Traces;
    return { select: equalised(select), poll: equalised(poll) };
  },
  async runHere(scenario) {
    const observed: Observed[] = [];
    for (const way of WAYS) observed.push({ way, trace: await observe(scenario, way) });
    return observed;
  },
  async compare(scenario, ours, ask): Promise<Verdict> {
    const { name } = scenario;
    const cpython = await ask();
    const recorded = committed().get(name);
    const found = [
      ...ORDERS.map((order) =>
        differenceOf(`${name}: CPython, ${order} order`, recorded?.[order], cpython[order]),
      ),
      ...ours.map(({ way, trace }) =>
        differenceOf(`${name}: ${titleOf(way)}`, expected(scenario, way.order, cpython), trace),
      ),
    ].filter((difference) => difference !== null);
    const rows = deviations().filter((one) => one.name === name);
    return {
      rows: rows.map(({ row }) => row),
      difference: found.length === 0 ? null : found.join('\n'),
    };
  },
  corpus: {
    file: join(__dirname, 'traces.json'),
    read(json) {
      const recorded = json as Record<string, Traces>;
      const known = new Map(SCENARIOS.map((scenario) => [scenario.name, scenario]));
      return Object.entries(recorded).map(([name, theirs]) => {
        const script = known.get(name);
        if (script === undefined) throw new Error(`traces.json: no scenario is called '${name}'`);
        return { script, answers: [{ fixes: [], theirs }] };
      });
    },
    write(recordings) {
      const traces = recordings.map(({ script, answers: [answer] }) => [
        script.name,
        (answer as { theirs: Traces }).theirs,
      ]);
      return JSON.stringify(Object.fromEntries(traces));
    },
    record: (ask) => ask(SCENARIOS),
  },
};
