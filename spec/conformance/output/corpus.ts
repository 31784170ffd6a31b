// Recorded scripts: CPython's results beside them, so that they are replayed where there is no Python.
// `npx tsx spec/conformance/output/corpus.ts --scripts 300 --seed 1 --python python3.11` records anew.

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import * as fc from 'fast-check';
import { compare, marksOf, type Verdict } from './compare';
import { CPython, type PythonResult, type Recorded, unpacked } from './cpython';
import { runOurs } from './ours';
import { type Script, scripts } from './script';

const FILE = join(__dirname, 'corpus.json');

/** A longer record than this, as JSON, is left out. */
const LONGEST = 3000;

export interface Entry {
  script: Script;
  /** As it is, and then with what it has shown mended, until it shows nothing else. */
  runs: { mend: string[]; result: Recorded }[];
}

export function readCorpus(): Entry[] {
  return JSON.parse(readFileSync(FILE, 'utf8'));
}

export async function replay({ script, runs }: Entry): Promise<Verdict> {
  return compare(script, await runOurs(script), async (mend): Promise<PythonResult> => {
    const run = runs.find((one) => one.mend.join() === mend.join());
    if (run === undefined) throw new Error(`Not recorded: mended ${mend}`);
    return unpacked(run.result);
  });
}

async function record(script: Script, cpython: CPython): Promise<Entry> {
  const entry: Entry = { script, runs: [] };
  for (let mend: string[] = []; ; ) {
    const [result] = await cpython.run([script], mend);
    if (result === undefined) throw new Error('No result');
    entry.runs.push({ mend, result });
    const marked = marksOf(mend, result);
    if (marked.length === mend.length) return entry;
    mend = marked;
  }
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      scripts: { type: 'string', default: '300' },
      seed: { type: 'string', default: '1' },
      python: { type: 'string', default: 'python3.11' },
    },
  });
  const cpython = new CPython(values.python);
  const lines: string[] = [];
  for (let seed = Number(values.seed); lines.length < Number(values.scripts); seed += 1) {
    const [script] = fc.sample(scripts, { seed, numRuns: 20 }).slice(-1);
    const line = JSON.stringify(await record(script as Script, cpython));
    if (line.length <= LONGEST) lines.push(line);
  }
  await cpython.close();
  writeFileSync(FILE, `[\n${lines.join(',\n')}\n]\n`);
}

if (require.main === module) void main();
