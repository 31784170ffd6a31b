// A CPython with asynchat, kept running: scripts go in, results come out.

import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { inflateSync } from 'node:zlib';
import type { Result, Script } from './script';

/** What the driver answers: a result as JSON can hold it. */
export interface Recorded extends Omit<Result, 'received'> {
  /** Compressed, in base64. */
  received: string;
  /** What happened that docs/differences.md has a row for. */
  marks: string[];
}

export interface PythonResult extends Result {
  marks: string[];
}

export function unpacked(recorded: Recorded): PythonResult {
  return { ...recorded, received: inflateSync(Buffer.from(recorded.received, 'base64')) };
}

/** How long one batch may take, in ms. */
const LIMIT = 120_000;

export class CPython {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #waiting: { resolve(answer: Recorded): void; reject(error: Error): void }[] = [];
  readonly #exit: Promise<void>;
  #errors = '';

  constructor(command: string) {
    this.#child = spawn(command, ['-B', join(__dirname, 'output_driver.py')]);
    this.#exit = new Promise((resolve) => {
      const over = (): void => {
        const error = new Error(`The driver has ended: ${this.#errors}`);
        for (const { reject } of this.#waiting.splice(0)) reject(error);
        resolve();
      };
      this.#child.on('error', (error) => {
        this.#errors += error.message;
        over();
      });
      this.#child.on('close', over);
    });
    this.#child.stdin.on('error', () => {});
    this.#child.stderr.on('data', (text) => {
      this.#errors += text;
    });
    createInterface({ input: this.#child.stdout }).on('line', (line) => {
      this.#waiting.shift()?.resolve(JSON.parse(line));
    });
  }

  /** Runs scripts, with these rows of docs/differences.md mended. */
  async run(scripts: readonly Script[], mend: readonly string[] = []): Promise<Recorded[]> {
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), LIMIT);
    try {
      return await Promise.all(scripts.map((script) => this.#run({ ...script, mend })));
    } finally {
      clearTimeout(timer);
    }
  }

  #run(script: object): Promise<Recorded> {
    return new Promise((resolve, reject) => {
      if (this.#child.exitCode !== null) reject(new Error(`The driver has ended: ${this.#errors}`));
      this.#waiting.push({ resolve, reject });
      this.#child.stdin.write(`${JSON.stringify(script)}\n`);
    });
  }

  async close(): Promise<void> {
    this.#child.stdin.end();
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), 2000);
    await this.#exit;
    clearTimeout(timer);
  }
}
