// A driver in a CPython of its own, kept running: scripts go in, results come out in the same order.

import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

/** How long one call of `run` may take, in ms: ten times what the slowest batch needs. */
const LIMIT = 120_000;

interface Waiting {
  resolve(answer: unknown): void;
  reject(error: Error): void;
}

export class CPython {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #waiting: Waiting[] = [];
  readonly #exit: Promise<void>;
  #stderr = '';
  /** Why the driver runs no more. */
  #over: Error | null = null;

  /**
   * @param command a Python that has asyncore
   * @param driver the program that it runs
   */
  constructor(command: string, driver: string) {
    this.#child = spawn(command, ['-B', '-W', 'ignore', driver]);
    this.#child.stderr.on('data', (data) => {
      this.#stderr += data;
    });
    // The pipe breaks when the driver ends, which 'close' tells of.
    this.#child.stdin.on('error', () => {});
    createInterface({ input: this.#child.stdout }).on('line', (line) => {
      this.#waiting.shift()?.resolve(JSON.parse(line));
    });
    this.#exit = new Promise((resolve) => {
      const over = (why: string): void => {
        this.#over = new Error(`${command} ${driver}: ${why}\n${this.#stderr}`);
        for (const waiting of this.#waiting.splice(0)) waiting.reject(this.#over);
        resolve();
      };
      this.#child.once('error', (error) => over(error.message));
      this.#child.once('close', (code, signal) => over(`ended with ${code ?? signal}`));
    });
  }

  /** Runs scripts in the order in which they are given. Several calls may be under way. */
  async run(scripts: readonly object[], fixes: readonly string[] = []): Promise<unknown[]> {
    if (this.#over !== null) throw this.#over;
    const answers = scripts.map(
      () => new Promise<unknown>((resolve, reject) => this.#waiting.push({ resolve, reject })),
    );
    this.#child.stdin.write(
      scripts.map((script) => `${JSON.stringify({ ...script, fixes })}\n`).join(''),
    );
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), LIMIT);
    try {
      return await Promise.all(answers);
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
