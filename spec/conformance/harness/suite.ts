// What the three suites of conformance have in common. A suite compares this library with CPython,
// script by script: it says what a script is, how one runs here, how it runs in CPython, and what may
// differ between the two results.

import type * as fc from 'fast-check';

/**
 * Asks CPython for its result of the script in hand.
 * @param fixes rows, by their names, that the driver is to fix in CPython for this run
 */
export type Ask<Theirs> = (fixes?: readonly string[]) => Promise<Theirs>;

export interface Verdict {
  /** The names of the rows of docs/differences.md without which the results would differ. */
  rows: readonly string[];
  /** What differs, for a reader; null when nothing does, or nothing but what rows say. */
  difference: string | null;
}

/** CPython's results of one script: without fixes, and with those that the comparison asks for. */
export interface Recording<Script, Theirs> {
  script: Script;
  answers: { fixes: readonly string[]; theirs: Theirs }[];
}

/** Recorded scripts, which are replayed where there is no CPython with asyncore. */
export interface Corpus<Script, Theirs> {
  file: string;
  read(json: unknown): Recording<Script, Theirs>[];
  /** @returns the text of the file */
  write(recordings: readonly Recording<Script, Theirs>[]): string;
  /** Chooses what to record: the same at every call. */
  record(
    ask: (scripts: readonly Script[]) => Promise<Recording<Script, Theirs>[]>,
  ): Promise<Recording<Script, Theirs>[]>;
}

export interface Suite<Script, Theirs, Ours> {
  name: string;
  /** All scripts, or how random ones are made. */
  scripts: readonly Script[] | fc.Arbitrary<Script>;
  /** How many random scripts are run for one that was asked for. */
  share: number;
  /** How many cases a script is: in how many ways it runs here. */
  cases: number;
  /** Rows of docs/differences.md: how the first cell begins, by a short name. */
  rows: Readonly<Record<string, string>>;
  /** A Python program: reads a script a line as JSON, and writes its result in a line. */
  driver: string;
  /** What the driver wrote, as a result. */
  parse(answer: unknown): Theirs;
  corpus: Corpus<Script, Theirs>;
  /** @param index the place of the script in its batch, for what alternates between scripts */
  runHere(script: Script, index: number): Promise<Ours>;
  compare(script: Script, ours: Ours, ask: Ask<Theirs>): Promise<Verdict>;
  /** The rows that a run with these fixes has shown to need a fix. Absent: the driver fixes none. */
  fixesFor?(fixes: readonly string[], theirs: Theirs): string[];
}
