// The benches, from the command line.
//
//   npm run bench                   all of them; writes docs/performance/ and docs/performance.md
//   npm run bench -- NAME…          these; prints, and writes nothing
//     --seconds S                   how long one measurement of a load lasts: 1
//     --rounds N                    instead of what each shape asks for
//     --json FILE                   the results there, and nowhere else
//     --beside FOLDER               with another, built checkout of the library in the same rounds
//     --list                        the names
//     --render                      measures nothing: docs/ anew, from the results they have
//
// Tables go to stdout, progress to stderr. Whatever goes wrong ends the run and leaves docs/ alone.

import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus, release } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { findPython } from '../spec/support/find-python';
import bulk from './bulk';
import churn from './churn';
import fanOut from './fan-out';
import ffi from './ffi';
import file from './file';
import { type Bench, type Result, runShape } from './harness';
import idle from './idle';
import lineEcho from './line-echo';
import memory from './memory';
import nodes from './nodes';
import parsing from './parsing';
import { PLOTS, renderPlot } from './plot';
import redis from './redis';
import { describeShape, type Run, renderPage, resultTable, targetTable } from './report';
import startUp from './start-up';
import storm from './storm';
import { measureBeside } from './support/beside';
import { pyftpdlibVersion } from './support/pyftpdlib';
import { findRuntime, type RuntimeName } from './support/runtimes';
import tick from './tick';
import timers from './timers';

/** In the order of the page. */
export const BENCHES: readonly Bench[] = [
  lineEcho,
  nodes,
  fanOut,
  idle,
  churn,
  storm,
  bulk,
  file,
  redis,
  tick,
  timers,
  parsing,
  memory,
  startUp,
  ffi,
];

const DOCS = join(__dirname, '..', 'docs');
export const PAGE = join(DOCS, 'performance.md');
const FOLDER = join(DOCS, 'performance');
export const RESULTS = join(FOLDER, 'results.json');

/** One line that is overwritten on a terminal; a line for each step elsewhere. */
class Progress {
  readonly #start = performance.now();

  show(what: string): void {
    const seconds = Math.round((performance.now() - this.#start) / 1000);
    const clock = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`;
    const line = `${clock} ${what}`;
    const { isTTY, columns } = process.stderr;
    process.stderr.write(isTTY ? `\r\x1b[K${line.slice(0, columns - 1)}` : `${line}\n`);
  }

  /** Makes room for a table. */
  clear(): void {
    if (process.stderr.isTTY) process.stderr.write('\r\x1b[K');
  }
}

function versionOf(command: string | null): string {
  if (command === null) return 'none';
  const { status, stdout } = spawnSync(command, ['--version'], { encoding: 'utf8' });
  return status === 0 ? (stdout.split('\n', 1)[0] as string) : 'none';
}

function runtimeVersion(name: RuntimeName): string {
  const runtime = findRuntime(name);
  return 'path' in runtime ? versionOf(runtime.path) : 'none';
}

function describeMachine(): Record<string, string> {
  return {
    CPU: cpus()[0]?.model ?? 'unknown',
    cores: String(availableParallelism()),
    kernel: `Linux ${release()}`,
    Node: process.version,
    'newest Node': runtimeVersion('node26'),
    Bun: runtimeVersion('bun'),
    Python: versionOf(findPython()),
    pyftpdlib: pyftpdlibVersion() ?? 'none',
    gcc: versionOf('gcc'),
    Redis: versionOf('redis-cli'),
  };
}

interface Options {
  readonly seconds: number;
  readonly rounds: number | undefined;
}

/** Runs the benches one after the other, and prints each shape as soon as it is known. */
async function measure(benches: readonly Bench[], options: Options): Promise<Result[]> {
  const progress = new Progress();
  const results: Result[] = [];
  for (const bench of benches) {
    progress.show(`${bench.name}: preparing`);
    const shapes = await bench.shapes(options.seconds);
    for (const shape of shapes) {
      const rounds = options.rounds ?? shape.rounds;
      const result = await runShape(bench.name, { ...shape, rounds }, (what) =>
        progress.show(what),
      );
      results.push(result);
      progress.clear();
      console.log(`## ${result.shape}\n\n${describeShape(result)}\n\n${resultTable(result)}\n`);
    }
  }
  if (benches.some(({ targets }) => targets !== undefined)) {
    console.log(`## Targets\n\n${targetTable(benches, results)}\n`);
  }
  progress.show('done\n');
  return results;
}

async function writeDocs(run: Run): Promise<void> {
  writeFileSync(PAGE, renderPage(readFileSync(PAGE, 'utf8'), run, BENCHES));
  for (const plot of PLOTS) {
    writeFileSync(join(FOLDER, plot.file), `${await renderPlot(plot, run.results)}\n`);
  }
}

function positive(option: string, text: string, valid = Number.isFinite): number {
  const value = Number(text);
  if (!valid(value) || value <= 0) throw new RangeError(`Cannot use --${option} ${text}`);
  return value;
}

/** The benches of these names; all, when there are none. */
export function chooseBenches(names: readonly string[]): readonly Bench[] {
  const unknown = names.filter((name) => !BENCHES.some((bench) => bench.name === name));
  if (unknown.length > 0) {
    const known = BENCHES.map(({ name }) => name).join(', ');
    throw new RangeError(`Cannot run ${unknown.join(', ')}: there are ${known}`);
  }
  return names.length === 0 ? BENCHES : BENCHES.filter(({ name }) => names.includes(name));
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      seconds: { type: 'string', default: '1' },
      rounds: { type: 'string' },
      json: { type: 'string' },
      beside: { type: 'string' },
      list: { type: 'boolean' },
      render: { type: 'boolean' },
    },
  });
  if (values.list) {
    for (const { name, title } of BENCHES) console.log(`${name.padEnd(12)}${title}`);
    return;
  }
  if (values.render) {
    await writeDocs(JSON.parse(readFileSync(RESULTS, 'utf8')));
    return;
  }
  if (values.beside !== undefined) measureBeside(values.beside);
  const results = await measure(chooseBenches(positionals), {
    seconds: positive('seconds', values.seconds),
    rounds:
      values.rounds === undefined ? undefined : positive('rounds', values.rounds, Number.isInteger),
  });
  const file = values.json ?? (positionals.length === 0 ? RESULTS : null);
  if (file === null) return;
  const given = process.argv.slice(2);
  const run: Run = {
    date: new Date().toISOString(),
    command: ['npm run bench', ...(given.length > 0 ? ['--', ...given] : [])].join(' '),
    machine: describeMachine(),
    results,
  };
  mkdirSync(FOLDER, { recursive: true });
  writeFileSync(file, `${JSON.stringify(run, null, 2)}\n`);
  if (file === RESULTS) await writeDocs(run);
}

if (require.main === module) {
  main().catch((error) => {
    console.error(error);
    process.exitCode = 1;
  });
}
