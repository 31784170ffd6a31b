// The servers under measurement, and how each is started. What cannot run here says why.

import { join } from 'node:path';
import { findPython } from '../../spec/support/find-python';
import { beside, besideName } from './beside';
import { freshBuild } from './build';
import { type Command, type Compiled, compile, openFilesLimit } from './process';

export type Peer = { readonly name: string } & (
  | { readonly command: Command }
  | { readonly missing: string }
);

const DIRECTORY = join(__dirname, '..', 'peers');

/** A server in C, `source` being its name without the ending. */
export async function inC(
  name: string,
  source: string,
  args: readonly string[] = [],
  libraries: readonly string[] = [],
): Promise<Peer> {
  const compiled = await compile(join(DIRECTORY, `${source}.c`), libraries);
  return 'path' in compiled ? { name, command: [compiled.path, ...args] } : { name, ...compiled };
}

/** A server on Node as it comes: no TypeScript at run time, and the library is the built package. */
export function onNode(name: string, script: string, ...args: readonly string[]): Peer {
  freshBuild();
  return { name, command: [process.execPath, join(DIRECTORY, `${script}.mjs`), ...args] };
}

/** A server on this library, and with `--beside` the same on the other checkout's. */
export function onAsyncore(name: string, script: string, ...args: readonly string[]): Peer[] {
  const others = beside(join('bench', 'peers', `${script}.mjs`)).map((path): Peer => {
    return { name: besideName(name), command: [process.execPath, path, ...args] };
  });
  return [onNode(name, script, ...args), ...others];
}

/** A script on another runtime, or on another version of this one: `asyncore loop() on Node 26`. */
export function onRuntime(
  name: string,
  runtime: Compiled,
  script: string,
  ...args: readonly string[]
): Peer {
  freshBuild();
  if ('missing' in runtime) return { name, ...runtime };
  return { name, command: [runtime.path, join(DIRECTORY, `${script}.mjs`), ...args] };
}

let python: string | null | undefined;

/** A server on a CPython that has asyncore: 3.11 or older. */
export function onPython(name: string, script: string, ...args: readonly string[]): Peer {
  python ??= findPython();
  if (python === null) return { name, missing: 'no Python with asyncore' };
  return { name, command: [python, '-W', 'ignore', join(DIRECTORY, `${script}.py`), ...args] };
}

/** What a server has open besides: its listener, its epoll, what Node has for itself. */
const BESIDES = 64;

/** The peer, or why it cannot have so many connections. */
export function withDescriptors(peer: Peer, connections: number): Peer {
  const needed = connections + BESIDES;
  if ('missing' in peer) return peer;
  if (peer.name.endsWith('select') && needed > 1024) {
    return { name: peer.name, missing: 'select(2) takes no descriptor above 1,023' };
  }
  const limit = openFilesLimit();
  return needed <= limit ? peer : { name: peer.name, missing: `${limit} open files at most` };
}
