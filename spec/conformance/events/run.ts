// Every scenario here and in CPython, compared.
//
//   npx tsx spec/conformance/events/run.ts            against the committed traces, and those against
//                                                     the Python of this machine, if it has asyncore
//   npx tsx spec/conformance/events/run.ts --record   writes traces.json
//
// The Python is the one that spec/support/find-python.ts finds.
//
// What must be believed: a trace here is CPython's, line for line, after normalise.ts; or its
// scenario stands in scenarios/deviations.ts, under the row of docs/differences.md that it shows and
// with the trace here. One that stands there and does what CPython does is a difference, too.

import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { errorCode } from 'asyncore';
import { findPython } from '../../support/find-python';
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

export { SCENARIOS };

const FILE = join(__dirname, 'traces.json');
const DRIVER = join(__dirname, 'scenario_driver.py');
const DIFFERENCES = join(__dirname, '..', '..', '..', 'docs', 'differences.md');

export const WAYS: readonly Way[] = ORDERS.flatMap((order) => [
  { order, sync: false },
  { order, sync: true },
]);

export type Recorded = Record<string, Traces>;

/** What CPython does, as committed. */
export function committed(): Recorded {
  return JSON.parse(readFileSync(FILE, 'utf8'));
}

/** What CPython does, asked now. */
export function record(python: string, scenarios: readonly Scenario[] = SCENARIOS): Recorded {
  const { stdout, stderr, status } = spawnSync(python, [DRIVER], {
    input: JSON.stringify({ scenarios }),
    encoding: 'utf8',
    timeout: 60_000,
    maxBuffer: 2 ** 26,
  });
  if (status !== 0) throw new Error(`scenario_driver.py: ${stderr}`);
  const raw: Recorded = JSON.parse(stdout);
  for (const traces of Object.values(raw)) {
    for (const order of ORDERS) traces[order] = equalised(traces[order]);
  }
  return raw;
}

/** What this library does. */
export async function observe(scenario: Scenario, way: Way): Promise<string[]> {
  return equalised(await play(scenario, way));
}

function equalised(trace: string[]): string[] {
  return trace.map((line) => normalise(line, errorCode));
}

/** What this library must do: CPython's trace, or the one that the scenario gives for it. */
export function expected(scenario: Scenario, order: Order, recorded: Recorded): string[] {
  const ours = deviation(scenario.name, order);
  if (ours !== undefined) return ours;
  const traces = recorded[scenario.name];
  if (traces === undefined) throw new Error(`not recorded: ${scenario.name}`);
  return traces[order];
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

/** What is wrong with deviations.ts itself. */
export function faultsOfDeviations(recorded: Recorded): string[] {
  const faults: string[] = [];
  const documented = rows();
  for (const row of Object.keys(DEVIATIONS)) {
    const found = documented.filter((cell) => cell.startsWith(row));
    if (found.length !== 1) faults.push(`${found.length} rows of the page begin with: ${row}`);
  }
  const seen = new Set<string>();
  for (const { row, name } of deviations()) {
    if (seen.has(name)) faults.push(`stands under two rows: ${name}`);
    seen.add(name);
    const python = recorded[name];
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

/** The first cells of the tables in docs/differences.md. */
function rows(): string[] {
  return linesOf(readFileSync(DIFFERENCES, 'utf8'))
    .filter((line) => line.startsWith('| '))
    .map((line) => line.slice(2, line.indexOf(' |', 2)));
}

export interface Difference {
  scenario: string;
  what: string;
  expected?: string[];
  actual?: string[];
}

/** Compares everything. @param python a command that runs a Python with asyncore, or null */
export async function runEvents({ python }: { python: string | null }): Promise<{
  run: number;
  differences: Difference[];
  rows: string[];
}> {
  const differences: Difference[] = [];
  const compare = (name: string, what: string, wanted?: string[], actual?: string[]): void => {
    if (isDeepStrictEqual(wanted, actual)) return;
    differences.push({ scenario: name, what, expected: wanted ?? [], actual: actual ?? [] });
  };
  const recorded = committed();
  const now = python === null ? recorded : record(python);
  for (const what of faultsOfDeviations(recorded)) {
    differences.push({ scenario: 'deviations.ts', what });
  }
  let run = 0;
  for (const scenario of SCENARIOS) {
    const { name } = scenario;
    for (const order of ORDERS) {
      compare(name, `CPython, ${order}`, recorded[name]?.[order], now[name]?.[order]);
    }
    for (const way of WAYS) {
      run += 1;
      const what = `${way.sync ? 'loopSync' : 'loop'}, ${way.order}`;
      compare(name, what, expected(scenario, way.order, recorded), await observe(scenario, way));
    }
  }
  return { run, differences, rows: Object.keys(DEVIATIONS) };
}

async function main(): Promise<void> {
  const python = findPython();
  if (process.argv.includes('--record')) {
    if (python === null) throw new Error('no Python here has asyncore');
    writeFileSync(FILE, JSON.stringify(record(python)));
    // As the linter wants it, so that recording the same again changes nothing.
    spawnSync('npx', ['biome', 'format', '--write', FILE], { stdio: 'inherit' });
    console.log(`events: ${SCENARIOS.length} scenarios recorded from ${python}`);
    return;
  }
  if (python === null)
    console.warn('events: NO PYTHON HERE HAS ASYNCORE, the recorded traces are not checked');
  const { run, differences, rows: named } = await runEvents({ python });
  for (const { scenario, what, expected: wanted, actual } of differences) {
    console.log(`\n${scenario}: ${what}`);
    if (wanted) console.log(`  expected\n    ${wanted.join('\n    ')}`);
    if (actual) console.log(`  actual\n    ${actual.join('\n    ')}`);
  }
  console.log(
    `events: ${SCENARIOS.length} scenarios, ${run} runs, ${named.length} rows, ` +
      `differences ${differences.length}`,
  );
  if (differences.length > 0) process.exitCode = 1;
}

if (require.main === module) void main();
