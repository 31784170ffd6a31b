// Processes under measurement: started, pinned, read in /proc, and stopped.
//
// What is measured runs in a process of its own, on a core of its own, and what the kernel charges
// that process is the cost: CPU time does not depend on who else wants the machine, as elapsed time
// does. A process is read while it sleeps, that is, before a load begins and after its last answer:
// the kernel brings the account of a running one up to date at its clock ticks only.
//
// Every wait has an end, and no process outlives this one.

import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
} from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import { basename, delimiter, dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';

/** A program and its arguments. */
export type Command = readonly [string, ...string[]];

// ---------------------------------------------------------------------------------------------
// What /proc tells.

/**
 * CPU time that a process has used so far, in µs: all its threads, user and system.
 *
 * From schedstat, which counts nanoseconds, and each thread for itself: one that has ended is not in
 * the sum any more, so this is for programs that keep theirs. A kernel without it has the 10 ms
 * of /proc/PID/stat.
 */
export function cpuMicroseconds(pid: number): number {
  try {
    let nanoseconds = 0;
    for (const thread of readdirSync(`/proc/${pid}/task`)) {
      const schedstat = readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'latin1');
      nanoseconds += Number(schedstat.split(' ', 1)[0]);
    }
    return nanoseconds / 1000;
  } catch {
    // The name of the program stands in brackets, and may have blanks and brackets itself.
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const ticks = Number(fields[11]) + Number(fields[12]);
    return ticks * 10_000;
  }
}

function statusBytes(pid: number, field: string): number {
  const line = new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(
    readFileSync(`/proc/${pid}/status`, 'latin1'),
  );
  if (line === null) throw new Error(`Cannot read ${field} of process ${pid}`);
  return Number(line[1]) * 1024;
}

/** The most physical memory that a process has had so far, in bytes. */
export function peakRss(pid: number): number {
  return statusBytes(pid, 'VmHWM');
}

/** The physical memory of a process now, in bytes. */
export function currentRss(pid: number): number {
  return statusBytes(pid, 'VmRSS');
}

/** How many descriptors a child may have: Node raises its own limit to the hard one at its start. */
export function openFilesLimit(): number {
  const limits = readFileSync('/proc/self/limits', 'latin1');
  const soft = /^Max open files\s+(\S+)/m.exec(limits)?.[1];
  return soft === 'unlimited' ? Infinity : Number(soft);
}

// ---------------------------------------------------------------------------------------------
// Cores.

/** The cores this process may use, in order: a container may not have core 0. */
function allowedCores(): number[] {
  const list = /^Cpus_allowed_list:\s+(\S+)$/m.exec(readFileSync('/proc/self/status', 'latin1'));
  return (list?.[1] ?? '').split(',').flatMap((range) => {
    const [first, last] = range.split('-').map(Number) as [number, number?];
    return Array.from({ length: (last ?? first) - first + 1 }, (_, index) => first + index);
  });
}

const cores = allowedCores();
const unpinned = !hasCommand('taskset') ? 'no taskset' : cores.length < 2 ? 'one core' : null;

/** For the parameters of a shape. */
export const PINNING =
  unpinned === null ? `server on ${cores[0]}, load on ${cores[1]}` : `not pinned: ${unpinned}`;

/** The command on the server's core or the load's; as it is where that cannot be. */
export function pinned(side: 'server' | 'load', command: Command): Command {
  if (unpinned !== null) return command;
  return ['taskset', '-c', String(cores[side === 'server' ? 0 : 1]), ...command];
}

// ---------------------------------------------------------------------------------------------
// Commands.

export function hasCommand(name: string): boolean {
  return (process.env.PATH ?? '').split(delimiter).some((directory) => {
    try {
      accessSync(join(directory, name), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/** Where what was compiled is kept, in the temporary directory. */
export function cacheDirectory(): string {
  const directory = join(tmpdir(), `asyncore-bench-${userInfo().uid}`);
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  return directory;
}

/** A program that was made, or why it could not be. */
export type Compiled = { readonly path: string } | { readonly missing: string };

/**
 * Compiles a C program, unless that was done before: the result is kept in the temporary directory
 * under the hash of all that stands beside the source, headers included.
 * @param libraries `uv` for -luv
 */
export async function compile(
  source: string,
  libraries: readonly string[] = [],
): Promise<Compiled> {
  if (!hasCommand('gcc')) return { missing: 'gcc is not installed' };
  const hash = createHash('sha256').update(libraries.join());
  const directory = dirname(source);
  for (const file of readdirSync(directory)
    .filter((name) => /\.[ch]$/.test(name))
    .sort()) {
    hash.update(readFileSync(join(directory, file)));
  }
  const path = join(
    cacheDirectory(),
    `${basename(source, '.c')}-${hash.digest('hex').slice(0, 16)}`,
  );
  if (existsSync(path)) return { path };
  const made = `${path}.${process.pid}`;
  const flags = ['-O2', '-std=gnu17', '-Wall', '-Wextra', '-Werror'];
  try {
    const links = libraries.map((name) => `-l${name}`);
    await promisify(execFile)('gcc', [...flags, '-o', made, source, ...links], { timeout: 60_000 });
  } catch (error) {
    const said = String((error as { stderr?: unknown }).stderr ?? error);
    const line = said.split('\n').find((text) => text.includes('error')) ?? said;
    return { missing: `does not compile: ${line.replace(/^.*error: /, '').trim()}` };
  }
  renameSync(made, path);
  return { path };
}

// ---------------------------------------------------------------------------------------------
// Children.

const running = new Set<ChildProcess>();
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

/** A process that talks in lines. */
export class Child {
  readonly pid: number;
  readonly #process: ChildProcess;
  readonly #name: string;
  readonly #lines: AsyncIterator<string>;
  readonly #ended: Promise<string>;
  #said = '';

  constructor(command: Command) {
    const [program, ...args] = command;
    const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'] });
    this.#process = child;
    this.#name = command.map((word) => basename(word)).join(' ');
    running.add(child);
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#said = (this.#said + text).slice(-4000);
    });
    // Whoever writes to a process that has died learns it from the answer that does not come.
    child.stdin.on('error', () => {});
    this.#ended = new Promise((resolve) => {
      child.once('error', (error) => resolve(error.message));
      child.once('close', (code, signal) => {
        running.delete(child);
        resolve(`ended with ${signal ?? code}`);
      });
    });
    this.#lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    this.pid = child.pid ?? -1;
  }

  /** The next line. Fails when the process ends before, and after `limit` ms. */
  async line(limit: number): Promise<string> {
    const next = await this.#within(limit, 'a line', this.#lines.next());
    if (next.done !== true) return next.value;
    throw new Error(`${this.#name} ${await this.#ended}: ${this.#said.trim() || 'without a word'}`);
  }

  write(line: string): void {
    this.#process.stdin?.write(`${line}\n`);
  }

  /** Kills it, and waits until it is gone. */
  async stop(): Promise<void> {
    this.#process.kill('SIGKILL');
    await this.#within(10_000, 'its end', this.#ended);
  }

  async #within<T>(limit: number, what: string, promise: Promise<T>): Promise<T> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        const said = this.#said.trim() || 'nothing';
        reject(new Error(`${this.#name}: no sign of ${what} in ${limit} ms; it said: ${said}`));
      }, limit);
    });
    return await Promise.race([promise, late]).finally(() => clearTimeout(timer));
  }
}

export interface Server {
  readonly pid: number;
  readonly port: number;
  stop(): Promise<void>;
}

/** Starts a server on its core, and waits for its line `port: N`, or that of an example program. */
export async function startServer(command: Command, limit = 10_000): Promise<Server> {
  const child = new Child(pinned('server', command));
  try {
    const line = await child.line(limit);
    const port = /(?:^port: |listening on 127\.0\.0\.1:)(\d+)$/.exec(line)?.[1];
    if (port === undefined) throw new Error(`${command.join(' ')} said no port, but: ${line}`);
    return { pid: child.pid, port: Number(port), stop: () => child.stop() };
  } catch (error) {
    await child.stop();
    throw error;
  }
}
