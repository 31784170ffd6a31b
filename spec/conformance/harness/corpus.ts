// Recorded results of CPython: read, replayed, and recorded anew.

import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { CPython } from './cpython';
import type { Recording, Suite, Verdict } from './suite';

export function readCorpus<Script, Theirs, Ours>({
  corpus,
}: Suite<Script, Theirs, Ours>): Recording<Script, Theirs>[] {
  return corpus.read(JSON.parse(readFileSync(corpus.file, 'utf8')));
}

/** Compares what a script does here with what is recorded of CPython. */
export async function replay<Script, Theirs, Ours>(
  suite: Suite<Script, Theirs, Ours>,
  { script, answers }: Recording<Script, Theirs>,
  index = 0,
): Promise<Verdict> {
  return suite.compare(script, await suite.runHere(script, index), async (fixes = []) => {
    const answer = answers.find((one) => one.fixes.join() === fixes.join());
    if (answer === undefined) throw new Error(`Not recorded: a run with the fixes ${fixes}`);
    return answer.theirs;
  });
}

/** Asks CPython for results: first without fixes, then until a run shows no row that is not fixed. */
async function recordings<Script extends object, Theirs, Ours>(
  suite: Suite<Script, Theirs, Ours>,
  scripts: readonly Script[],
  cpython: CPython,
): Promise<Recording<Script, Theirs>[]> {
  const plain = await cpython.run(scripts);
  return Promise.all(
    scripts.map(async (script, index) => {
      const answers: Recording<Script, Theirs>['answers'] = [];
      let fixes: readonly string[] = [];
      let theirs = suite.parse(plain[index]);
      for (;;) {
        answers.push({ fixes, theirs });
        const needed = suite.fixesFor?.(fixes, theirs) ?? [];
        if (needed.length === fixes.length) return { script, answers };
        fixes = needed;
        const [answer] = await cpython.run([script], fixes);
        theirs = suite.parse(answer);
      }
    }),
  );
}

/** CPython's results of these scripts, asked now. */
export async function ask<Script extends object, Theirs, Ours>(
  suite: Suite<Script, Theirs, Ours>,
  scripts: readonly Script[],
  python: string,
): Promise<Recording<Script, Theirs>[]> {
  const cpython = new CPython(python, suite.driver);
  try {
    return await recordings(suite, scripts, cpython);
  } finally {
    await cpython.end();
  }
}

/** Writes the corpus of a suite anew. @returns how many scripts it has */
export async function record<Script extends object, Theirs, Ours>(
  suite: Suite<Script, Theirs, Ours>,
  python: string,
): Promise<number> {
  const { corpus, driver } = suite;
  const cpython = new CPython(python, driver);
  try {
    const recorded = await corpus.record((scripts) => recordings(suite, scripts, cpython));
    writeFileSync(corpus.file, corpus.write(recorded));
    format(corpus.file);
    return recorded.length;
  } finally {
    await cpython.end();
  }
}

/** Formats a file as the linter wants it, so that recording the same again changes nothing. */
function format(file: string): void {
  const biome = require.resolve('@biomejs/biome/bin/biome');
  const { status, stderr } = spawnSync(process.execPath, [biome, 'format', '--write', file], {
    encoding: 'utf8',
    timeout: 60_000,
  });
  if (status !== 0) throw new Error(`biome: ${stderr}`);
}
