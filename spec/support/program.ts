// A program of the project's own in a child process: started, listened to, and ended in time.

import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';

export const ROOT = join(__dirname, '..', '..');

/** How long a test waits for anything, in ms: reached on no machine, but where something is wrong. */
export const LIMIT = 20_000;

export class Program {
  readonly child: ChildProcessWithoutNullStreams;
  /** All that it has printed. */
  output = '';
  readonly #exit: Promise<number | null>;

  /** @param inherited descriptors of ours, which it has as 3, 4, … */
  constructor(
    command: string,
    args: string[],
    env: NodeJS.ProcessEnv = {},
    inherited: readonly number[] = [],
  ) {
    this.child = spawn(command, args, {
      stdio: ['pipe', 'pipe', 'pipe', ...inherited],
      cwd: ROOT,
      env: { ...process.env, ...env },
      // A process group, so that what it has started (npm does) ends with it.
      detached: true,
    }) as ChildProcessWithoutNullStreams;
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream.on('data', (data) => {
        this.output += data;
      });
    }
    this.#exit = new Promise((resolve) => this.child.once('close', (code) => resolve(code)));
  }

  /** Waits until it has printed `pattern`. */
  async printed(pattern: RegExp, limit = LIMIT): Promise<RegExpExecArray> {
    await until(
      () => pattern.test(this.output),
      limit,
      () => `${pattern} in: ${this.output}`,
    );
    return pattern.exec(this.output) as RegExpExecArray;
  }

  /** Waits for its end. */
  async ended(limit = LIMIT): Promise<number | null> {
    const timer = setTimeout(() => this.#killGroup(), limit);
    try {
      return await this.#exit;
    } finally {
      clearTimeout(timer);
    }
  }

  async kill(): Promise<void> {
    this.#killGroup();
    await this.#exit;
  }

  #killGroup(): void {
    try {
      process.kill(-(this.child.pid as number), 'SIGKILL');
    } catch {
      // It has ended by itself.
    }
  }
}

/** What Node takes to run TypeScript, and JavaScript that requires it, with 'asyncore' being lib/. */
export const TYPESCRIPT = ['--require', join(__dirname, 'typescript.cjs')];

/** Runs TypeScript, with 'asyncore' being lib/. */
export function runTypeScript(file: string, args: string[] = [], env?: NodeJS.ProcessEnv): Program {
  return new Program(process.execPath, [...TYPESCRIPT, file, ...args], env);
}

/** Waits for something to become true, and fails when it does not. */
export async function until(
  done: () => boolean,
  limit = LIMIT,
  what: () => string = () => done.toString(),
): Promise<void> {
  for (const end = Date.now() + limit; !done(); ) {
    if (Date.now() > end) throw new Error(`Not within ${limit} ms: ${what()}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** A client that we did not write: Node's own socket, with what it has received. */
export class Client {
  readonly socket: Socket;
  received = '';
  closed = false;

  constructor(port: number, host = '127.0.0.1') {
    this.socket = connect({ port, host, allowHalfOpen: true });
    this.socket.on('data', (data) => {
      this.received += data.toString('latin1');
    });
    this.socket.on('error', () => {});
    this.socket.on('end', () => {
      this.closed = true;
      this.socket.end();
    });
    this.socket.on('close', () => {
      this.closed = true;
    });
  }

  send(text: string): this {
    this.socket.write(text, 'latin1');
    return this;
  }

  async hears(text: string, limit?: number): Promise<void> {
    await until(
      () => this.received.includes(text),
      limit,
      () => `'${text}' in '${this.received.slice(-500)}'`,
    );
  }

  async ends(limit?: number): Promise<string> {
    await until(
      () => this.closed,
      limit,
      () => `the end, after '${this.received.slice(-500)}'`,
    );
    return this.received;
  }
}
