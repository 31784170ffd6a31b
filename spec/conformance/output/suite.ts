// Chat output: which bytes leave, and which calls of more() that takes.

import { join } from 'node:path';
import * as fc from 'fast-check';
import type { Recording, Suite, Verdict } from '../harness/suite';
import { compare, marksOf, ROWS } from './compare';
import { runHere } from './here';
import { type Answer, type PythonResult, unpacked } from './result';
import { type Result, type Script, scripts } from './script';

const CORPUS_SEED = 1;
const CORPUS_SIZE = 300;
/** A longer record than this, as JSON, is left out of the corpus. */
const LONGEST = 3000;

type Recorded = Recording<Script, PythonResult>;

/** One record of corpus.json. */
interface Entry {
  script: Script;
  runs: { mend: string[]; result: Answer }[];
}

function lineOf({ script, answers }: Recorded): string {
  const runs = answers.map(({ fixes, theirs }) => ({ mend: fixes, result: theirs.answer }));
  return JSON.stringify({ script, runs });
}

function shown({ events, received, end }: Result): string {
  return JSON.stringify({ events, received: `${received.length} bytes`, end });
}

export const output: Suite<Script, PythonResult, Result> = {
  name: 'chat output',
  scripts,
  share: 1 / 5,
  cases: 1,
  rows: ROWS,
  driver: join(__dirname, 'output_driver.py'),
  parse: (answer) => unpacked(answer as Answer),
  runHere,
  async compare(script, ours, ask): Promise<Verdict> {
    const { rows, difference } = await compare(script, ours, ask);
    if (difference === null) return { rows, difference };
    return {
      rows,
      difference: [difference, `CPython: ${shown(await ask())}`, `here:    ${shown(ours)}`].join(
        '\n',
      ),
    };
  },
  fixesFor: marksOf,
  corpus: {
    file: join(__dirname, 'corpus.json'),
    read: (json) =>
      (json as Entry[]).map(({ script, runs }) => ({
        script,
        answers: runs.map(({ mend, result }) => ({ fixes: mend, theirs: unpacked(result) })),
      })),
    write: (recordings) => `[\n${recordings.map(lineOf).join(',\n')}\n]\n`,
    async record(ask) {
      const records: Recorded[] = [];
      for (let seed = CORPUS_SEED; records.length < CORPUS_SIZE; seed += 1) {
        // The first scripts of a seed are small.
        const chosen = fc.sample(scripts, { seed, numRuns: 20 }).slice(-1);
        records.push(...(await ask(chosen)).filter((one) => lineOf(one).length <= LONGEST));
      }
      return records;
    },
  },
};
