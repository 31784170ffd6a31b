// Chat input: what collectIncomingData and foundTerminator are called for. CPython is held against
// model.ts without rows, this library against the model with all of them (compare.ts), and against
// itself with the same stream in another cut.

import { join } from 'node:path';
import * as fc from 'fast-check';
import type { Recording, Suite, Verdict } from '../harness/suite';
import { scripts } from './arbitrary';
import { compare, type Difference, recutOf, sameRecords } from './compare';
import { runHere, runInLoop, type Way } from './here';
import { ALL_ROWS, model, ROWS, type Row } from './model';
import { type PackedResult, packed, unpacked } from './packed';
import type { Result, Script } from './script';

const CORPUS_SEED = 20_231_002;
const CORPUS_SIZE = 600;
/** How many records a row should have. */
const RARE = 10;

/** One record of corpus.json. */
interface PackedRecord {
  script: Script;
  cpython: PackedResult;
}

/** Passes made one by one are the fastest, so most scripts run in them. */
function wayOf(index: number): Way {
  if (index % 16 === 7) return 'loop';
  return index % 4 === 1 ? 'loopSync' : 'poll';
}

export async function runBy(way: Way, script: Script): Promise<Result> {
  return way === 'loop' ? runInLoop(script) : runHere(script, way);
}

/** As `compare`; and when that is well, the same stream in another cut. */
function judge(script: Script, cpython: Result, here: Result): ReturnType<typeof compare> {
  const verdict = compare(script, cpython, here);
  const recut = recutOf(script);
  if (verdict.difference !== null || recut === null) return verdict;
  const expected = runHere(recut);
  if (sameRecords(here, expected)) return verdict;
  return { ...verdict, difference: { what: 'recut', script, cpython, here, expected } };
}

function describeDifference({ what, cpython, here, expected }: Difference): string {
  const text = (value: unknown): string => {
    const json = JSON.stringify(value);
    return json.length < 20_000 ? json : `${json.slice(0, 20_000)}… (${json.length} characters)`;
  };
  return [
    `the ${what} differs`,
    `cpython  ${text(cpython)}`,
    `here     ${text(here)}`,
    `expected ${text(expected)}`,
  ].join('\n');
}

/** The first scripts as they come, and then more of those that need a rare row. */
function chosen(recordings: readonly Recording<Script, Result>[]): Recording<Script, Result>[] {
  const used = new Map<Row, number>();
  return recordings.filter(({ script, answers }, index) => {
    const cpython = (answers[0] as (typeof answers)[number]).theirs;
    const { rows } = compare(script, cpython, model(script, ALL_ROWS).result);
    const rare = rows.some((row) => (used.get(row) ?? 0) < RARE);
    if (index >= CORPUS_SIZE && !rare) return false;
    for (const row of rows) used.set(row, (used.get(row) ?? 0) + 1);
    return true;
  });
}

export const input: Suite<Script, Result, Result> = {
  name: 'chat input',
  scripts,
  share: 1,
  cases: 1,
  rows: ROWS,
  driver: join(__dirname, 'chat_driver.py'),
  parse: (answer) => answer as Result,
  runHere: (script, index) => runBy(wayOf(index), script),
  async compare(script, here, ask): Promise<Verdict> {
    const { rows, difference } = judge(script, await ask(), here);
    return { rows, difference: difference && describeDifference(difference) };
  },
  corpus: {
    file: join(__dirname, 'corpus.json'),
    read: (json) =>
      (json as PackedRecord[]).map(({ script, cpython }) => ({
        script,
        answers: [{ fixes: [], theirs: unpacked(cpython) }],
      })),
    write(recordings) {
      const lines = recordings.map(({ script, answers: [answer] }) =>
        JSON.stringify({ script, cpython: packed((answer as { theirs: Result }).theirs) }),
      );
      return `[\n${lines.join(',\n')}\n]\n`;
    },
    async record(ask) {
      return chosen(
        await ask(fc.sample(scripts, { seed: CORPUS_SEED, numRuns: 10 * CORPUS_SIZE })),
      );
    },
  },
};
