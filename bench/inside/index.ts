// Starts the programs beside this file. Each makes one measurement in a process of its own, on a core
// of its own, checks what it has done, and prints its figures, by the names of the metrics, as one
// line of JSON. A program that is not content with its own work ends with an error, and so does the
// bench.

import { join } from 'node:path';
import { findPython } from '../../spec/support/find-python';
import type { Contender, Figures } from '../harness';
import { beside, besideName } from '../support/beside';
import { freshBuild } from '../support/build';
import { Child, type Command, pinned } from '../support/process';

/** No measurement takes as long. In ms. */
const LIMIT = 300_000;

type Argument = string | number;

async function run(command: Command): Promise<Figures> {
  const child = new Child(pinned('server', command));
  try {
    return JSON.parse(await child.line(LIMIT)) as Figures;
  } finally {
    await child.stop();
  }
}

/** A program for Node, where the library is the built package. */
export function node(name: string, file: string, ...args: readonly Argument[]): Contender {
  freshBuild();
  const command: Command = [process.execPath, join(__dirname, file), ...args.map(String)];
  return { name, measure: () => run(command) };
}

/** A program for this library, and with `--beside` the same for the other checkout's. */
export function onAsyncore(
  name: string,
  file: string,
  ...args: readonly Argument[]
): readonly Contender[] {
  const others = beside(join('bench', 'inside', file)).map((path): Contender => {
    const command: Command = [process.execPath, path, ...args.map(String)];
    return { name: besideName(name), measure: () => run(command) };
  });
  return [node(name, file, ...args), ...others];
}

let found: string | null | undefined;

/** A program for a CPython that has asyncore. */
export function python(name: string, file: string, ...args: readonly Argument[]): Contender {
  found ??= findPython();
  if (found === null) return missing(name, 'no Python with asyncore');
  const command: Command = [found, '-BW', 'ignore', join(__dirname, file), ...args.map(String)];
  return { name, measure: () => run(command) };
}

/** One that cannot run. */
export function missing(name: string, reason: string): Contender {
  return { name, missing: reason, measure: () => Promise.reject(new Error(reason)) };
}
