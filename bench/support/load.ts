// A server under a load: started afresh, warmed up by it, and charged for what it does after that.
//
// The load generator is a process of its own, in C where there is a compiler, as it should never be
// what is waited for. What it counts and compares, and when it says what, is in load/load.h.

import { join } from 'node:path';
import type { Contender, Figures } from '../harness';
import type { Peer } from './peers';
import {
  Child,
  type Command,
  compile,
  cpuMicroseconds,
  peakRss,
  pinned,
  startServer,
} from './process';

/** Where there is no C compiler, load/asyncore.ts has these. */
const IN_ASYNCORE = new Set(['line', 'churn', 'bulk']);

export type LoadName = 'line' | 'churn' | 'bulk' | 'room' | 'storm';

export interface Load {
  /** What it is written in: for the parameters of a shape. */
  readonly writtenIn: 'C' | 'asyncore';
  /** Its program, and its name where one program has all of them. */
  readonly command: Command;
  /** Why it cannot run on this machine. */
  readonly missing?: string;
}

export async function findLoad(name: LoadName): Promise<Load> {
  const directory = join(__dirname, '..', 'load');
  const compiled = await compile(join(directory, `${name}.c`));
  if ('path' in compiled) return { writtenIn: 'C', command: [compiled.path] };
  if (!IN_ASYNCORE.has(name)) {
    return { writtenIn: 'C', command: [name], missing: `its load is in C: ${compiled.missing}` };
  }
  const script = join(directory, 'asyncore.ts');
  return { writtenIn: 'asyncore', command: [process.execPath, '--import', 'tsx', script, name] };
}

/** What a load has seen: its last line. Latencies are in µs. */
export interface Seen {
  readonly operations: number;
  readonly seconds: number;
  readonly p50: number;
  readonly p99: number;
  /** How many sends of the server it took; 0 where the load does not count them. */
  readonly sends: number;
}

/** What a server was charged for. */
export interface Charge {
  readonly cpuMicroseconds: number;
  readonly peakRss: number;
}

/** How long the connections of a load may take to come up, in ms: CPython with 8,000 takes its time. */
const COMING_UP = 60_000;

async function bear(
  peer: Command,
  load: Load,
  args: readonly (number | string)[],
): Promise<Seen & Charge> {
  const server = await startServer(peer);
  const words = [server.port, ...args].map(String);
  const generator = new Child(pinned('load', [...load.command, ...words]));
  try {
    const ready = await generator.line(COMING_UP);
    if (ready !== 'ready') throw new Error(`A load said ${ready} instead of ready`);
    const before = cpuMicroseconds(server.pid);
    generator.write('go');
    const seen = JSON.parse(await generator.line(60_000)) as Seen;
    const charge = cpuMicroseconds(server.pid) - before;
    return { ...seen, cpuMicroseconds: charge, peakRss: peakRss(server.pid) };
  } finally {
    await Promise.all([generator.stop(), server.stop()]);
  }
}

/**
 * A contender that is a server under a load.
 * @param args of the load, after the port
 * @param figures what becomes of what was seen
 */
export function underLoad(
  peer: Peer,
  load: Load,
  args: readonly (number | string)[],
  figures: (run: Seen & Charge) => Figures,
): Contender {
  const { name } = peer;
  if ('command' in peer && load.missing === undefined) {
    return { name, measure: async () => figures(await bear(peer.command, load, args)) };
  }
  const missing = 'missing' in peer ? peer.missing : String(load.missing);
  return { name, missing, measure: () => Promise.reject(new Error(missing)) };
}
