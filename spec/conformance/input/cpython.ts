// CPython in a process of its own, which runs script after script.

import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Result, Script } from './script';

const DRIVER = join(__dirname, 'chat_driver.py');

/** No batch takes a tenth of this. */
const LIMIT = 120_000;

interface Waiting {
  resolve(result: Result): void;
  reject(error: Error): void;
}

export class CPython {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #waiting: Waiting[] = [];
  readonly #exit: Promise<void>;
  #complaints = '';
  /** Why it runs no more. */
  #over: Error | null = null;

  /** @param command a Python that has asyncore */
  constructor(command: string) {
    this.#child = spawn(command, ['-W', 'ignore', DRIVER]);
    this.#child.stderr.on('data', (data) => {
      this.#complaints += data;
    });
    // It may be gone; that is told by its exit.
    this.#child.stdin.on('error', () => {});
    createInterface({ input: this.#child.stdout }).on('line', (line) => {
      this.#waiting.shift()?.resolve(JSON.parse(line));
    });
    this.#exit = new Promise((resolve) => {
      const over = (why: string): void => {
        this.#over = new Error(`${command}: ${why}\n${this.#complaints}`);
        for (const waiting of this.#waiting.splice(0)) waiting.reject(this.#over);
        resolve();
      };
      this.#child.once('error', (error) => over(error.message));
      this.#child.once('close', (code, signal) => over(`ended with ${code ?? signal}`));
    });
  }

  /** Runs scripts, in the order in which they are given. Several batches may be under way. */
  async run(scripts: readonly Script[]): Promise<Result[]> {
    if (this.#over !== null) throw this.#over;
    const results = scripts.map(
      () => new Promise<Result>((resolve, reject) => this.#waiting.push({ resolve, reject })),
    );
    this.#child.stdin.write(scripts.map((script) => `${JSON.stringify(script)}\n`).join(''));
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), LIMIT);
    try {
      return await Promise.all(results);
    } finally {
      clearTimeout(timer);
    }
  }

  async end(): Promise<void> {
    this.#child.stdin.end();
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), 5000);
    await this.#exit;
    clearTimeout(timer);
  }
}
