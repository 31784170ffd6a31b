// Worker threads that run loops, terminated at random moments. A crash takes the whole process along,
// and what a worker leaves behind shows in the descriptors and the memory of the process.
//
//   npx tsx spec/faults/terminate-workers.ts --rounds 200 [--seed 1]
//
// In each round eight workers run loops that are busy with connections of their own: loop() and
// loopSync(), in both orders. One in four is terminated while it still loads, the others within
// 100 ms of their loop's beginning. This process itself must not load the library: a worker that is
// alone with the add-on is the hard case (`pinAddon` in lib/kernel/platform/linux.ts).
//
// A worker that is terminated runs no code any more: what it has open is closed by Node
// (lib/kernel/thread-cleanup.ts).
//
// One moment is spared. A worker that is terminated while it loads koffi takes the process along, koffi's
// loading being unable to throw then, and nothing here can help that: so there is a lock around it.

import { once } from 'node:events';
import { readdirSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Worker } from 'node:worker_threads';
import { withBuild } from '../support/build';

const WORKERS = 8;
/** Connections in each worker. */
const PAIRS = 4;
/** How long a worker may load, and how long it may run, in ms. */
const LOADING = 150;
const RUNNING = 100;

const WORKER = `
  const { parentPort, workerData: { lock, sync, usePoll } } = require('node:worker_threads');
  const { Dispatcher, Socket, loop, loopSync, strerror } = require('./index.js');
  while (Atomics.compareExchange(lock, 0, 0, 1) !== 0);
  strerror(0); // loads the add-on
  Atomics.store(lock, 0, 0);
  class Player extends Dispatcher {
    writable() { return false; }
    handleRead() {
      const ball = this.recv(100);
      if (ball !== null) this.send(ball);
    }
    handleTimeout() {}
    handleClose() { this.close(); }
  }
  for (let pair = 0; pair < ${PAIRS}; pair += 1) {
    const sockets = Socket.pair();
    for (const socket of sockets) new Player(socket).setIdleTimeout(5);
    sockets[0].send(Buffer.from('x'));
  }
  parentPort.postMessage('running');
  if (sync) loopSync({ usePoll });
  else void loop({ usePoll });
`;

/** The same numbers for the same seed (mulberry32). */
function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const pause = (duration: number): Promise<void> =>
  new Promise((resolve) => setTimeout(resolve, duration));

/** What this process has open: `3 socket:[4711]`. */
function open(): string[] {
  return readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      return `${fd} ${readlinkSync(`/proc/self/fd/${fd}`)}`;
    } catch {
      return []; // The descriptor that read the directory is gone by now.
    }
  });
}

/** @returns whether the worker had begun its loop */
async function runOne(file: string, index: number, random: () => number): Promise<boolean> {
  const lock = new Int32Array(new SharedArrayBuffer(4));
  const workerData = { lock, sync: index % 2 === 1, usePoll: index % 4 > 1 };
  const worker = new Worker(file, { workerData, execArgv: [] });
  const exit = once(worker, 'exit');
  const begun = once(worker, 'message');
  const loads = random() < 0.25;
  if (loads) await pause(random() * LOADING);
  else {
    await begun;
    await pause(random() * RUNNING);
  }
  while (Atomics.compareExchange(lock, 0, 0, 1) !== 0) await pause(1);
  await worker.terminate();
  await exit;
  return !loads;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: { rounds: { type: 'string', default: '200' }, seed: { type: 'string' } },
  });
  const rounds = Number(values.rounds);
  const seed = Number(values.seed ?? Date.now() % 1e6);
  const random = randomFrom(seed);
  await withBuild({ 'worker.js': WORKER }, async (directory) => {
    const file = join(directory, 'worker.js');
    const before = new Set(open());
    let busy = 0;
    let memory = 0;
    for (let round = 0; round < rounds; round += 1) {
      const indices = Array.from({ length: WORKERS }, (_, index) => index);
      const ran = await Promise.all(indices.map((index) => runOne(file, index, random)));
      busy += ran.filter(Boolean).length;
      // After the first tenth, in which everything is allocated for the first time.
      if (round === Math.floor(rounds / 10)) memory = process.memoryUsage.rss();
    }
    const left = open().filter((one) => !before.has(one));
    const count = (kind: RegExp) => left.filter((one) => kind.test(one)).length;
    const grown = Math.round((process.memoryUsage.rss() - memory) / 2 ** 20);
    console.log(
      `${rounds} rounds of ${WORKERS} workers, seed ${seed}: ${busy} terminated in their loops; ` +
        `left over: ${count(/socket:/)} sockets, ${count(/eventpoll/)} epoll; ` +
        `memory grown by ${grown} MiB`,
    );
  });
}

void main();
