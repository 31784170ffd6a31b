// Timers: what making, cancelling and calling one costs, and how late it is called.
//
//   npm run bench -- timers
//
// A map keeps the timers of one delay in a queue, and the heads of its queues in a heap. So there are two
// loads: one delay, which most programs have, and which never grows the heap; and as many different
// delays as the heap can suffer from. Node keeps lists and a heap of them as well. asyncio and pyftpdlib
// keep all timers in one heap.
//
// The longest of 50,000 delays is 50 s. Node's process sleeps until then. The others have a clock that can
// be moved.

import type { Bench, Contender, Shape } from './harness';
import { missing, node, onAsyncore, python } from './inside';
import { pyftpdlibVersion } from './support/pyftpdlib';
import { target } from './support/target';

const COUNT = 1_000_000;
const DELAYS = 50_000;
const STEPS = 2_000_000;
/** In the steady state: as in inside/timers.cjs and inside/timers.py. */
const PENDING = 10_000;
/** Beside ticks. */
const BESIDE = [0, 1, 100_000];
const LATE = 1000;
const TIMES = 20;
/** Python takes minutes for the whole load: it gets this part of it where the parameters say so. */
const PART = 1 / 10;

const ONE_DELAY = 'timers, one delay';
const MANY_DELAYS = `timers, ${formatted(DELAYS)} delays`;
const STEADY_ONE = 'timers, steady state, one delay';
const STEADY_MANY = 'timers, steady state, different delays';
const LATENESS = 'timers, lateness';

const OURS = 'asyncore callLater()';
const NODE = 'Node setTimeout()';
const MAKE = 'CPU ns/make';
const CANCEL = 'CPU ns/cancel';
const CALL = 'CPU ns/call';
const STEP = 'CPU ns/step';
const TICK = 'CPU ns/tick';
const P99 = 'p99 ms';

function formatted(count: number): string {
  return count.toLocaleString('en');
}

function tickBeside(pending: number): string {
  return `timers, a tick beside ${formatted(pending)}`;
}

const lower = (...names: readonly string[]) =>
  names.map((name) => ({ name, better: 'lower' }) as const);

function onPyftpdlib(what: string, ...numbers: readonly number[]): Contender {
  const name = 'pyftpdlib call_later()';
  return pyftpdlibVersion() === null
    ? missing(name, 'no pyftpdlib (python3-pyftpdlib) for the Python with asyncore')
    : python(name, 'timers.py', 'pyftpdlib', what, ...numbers);
}

function onAsyncio(what: string, ...numbers: readonly number[]): Contender {
  return python('asyncio call_later()', 'timers.py', 'asyncio', what, ...numbers);
}

function each(name: string, count: number, delays: number): Shape {
  const part = Math.ceil(count * PART);
  return {
    name,
    parameters: { timers: count, delays, 'timers of pyftpdlib': part },
    metrics: lower(MAKE, CANCEL, CALL),
    contenders: [
      ...onAsyncore(OURS, 'timers.cjs', 'callLater', 'each', count, delays),
      node(NODE, 'timers.cjs', 'setTimeout', 'each', count, delays),
      onAsyncio('each', count, delays),
      onPyftpdlib('each', part, delays),
    ],
    rounds: 3,
  };
}

function steady(name: string, steps: number, delays: number): Shape {
  const part = Math.ceil(steps * PART);
  return {
    name,
    parameters: { pending: PENDING, delays, steps, 'steps in Python': part },
    metrics: lower(STEP),
    contenders: [
      ...onAsyncore(OURS, 'timers.cjs', 'callLater', 'steady', steps, delays),
      node(NODE, 'timers.cjs', 'setTimeout', 'steady', steps, delays),
      onAsyncio('steady', part, delays),
      onPyftpdlib('steady', part, delays),
    ],
    rounds: 3,
  };
}

function tick(pending: number, seconds: number): Shape {
  return {
    name: tickBeside(pending),
    parameters: { pending, seconds },
    metrics: lower(TICK),
    contenders: [
      ...onAsyncore('asyncore poll()', 'timers.cjs', 'callLater', 'tick', pending, seconds),
      node('Node setImmediate()', 'timers.cjs', 'setTimeout', 'tick', pending, seconds),
      python('asyncio call_soon()', 'timers.py', 'asyncio', 'tick', pending, seconds),
    ],
    rounds: 3,
  };
}

function lateness(times: number): Shape {
  return {
    name: LATENESS,
    parameters: { timers: LATE, delays: '1 to 50 ms', times },
    metrics: lower('p50 ms', P99, 'max ms', '% too early'),
    contenders: [
      ...onAsyncore('asyncore loop()', 'timers.cjs', 'loop', 'late', LATE, times),
      ...onAsyncore('asyncore loopSync()', 'timers.cjs', 'loopSync', 'late', LATE, times),
      node(NODE, 'timers.cjs', 'setTimeout', 'late', LATE, times),
      onAsyncio('late', LATE, times),
    ],
    rounds: 3,
  };
}

const figure = (shape: string, metric: string, contender = OURS) => ({ shape, contender, metric });

const beside = (pending: number) => figure(tickBeside(pending), TICK, 'asyncore poll()');

const bench: Bench = {
  name: 'timers',
  title: 'Timers',
  about:
    'A million timers are made and then cancelled: the oldest first where all have one delay, in a ' +
    'random order where there are 50,000 delays. Another million are made and called, all due at once. ' +
    'In the steady state 10,000 timers are pending, and each step cancels one and makes one: the oldest ' +
    'with one delay, any with different ones. A garbage collection runs before each measurement; one ' +
    'that runs during a measurement is part of the cost. asyncio and pyftpdlib remove cancelled timers ' +
    'from their heaps in a later turn of the loop, so that turn counts as cancelling. A tick is a turn ' +
    'of a loop over one idle channel, beside timers of which none is due. Lateness counts from the ' +
    'moment just before a timer was made, plus its delay in whole milliseconds. A call before that is ' +
    'too early: setTimeout() counts from when Node’s loop last read the clock.',
  targets: [
    ...[ONE_DELAY, MANY_DELAYS].flatMap((shape) =>
      [MAKE, CANCEL, CALL].map((metric) =>
        target(figure(shape, metric), 'at most', 1, figure(shape, metric, NODE)),
      ),
    ),
    ...[STEADY_ONE, STEADY_MANY].map((shape) =>
      target(figure(shape, STEP), 'at most', 1, figure(shape, STEP, NODE)),
    ),
    target(beside(100_000), 'at most', 1.1, beside(1)),
    target(beside(1), 'at most', 1.1, beside(0)),
    // The kernel waits for whole milliseconds; and the thread has to be woken.
    ...['asyncore loop()', 'asyncore loopSync()'].map((contender) => ({
      words: 'at most 1.2 ms',
      of: figure(LATENESS, P99, contender),
      bound: 'at most' as const,
      ratio: 1,
      against: 1.2,
    })),
  ],

  async shapes(seconds) {
    // Less than a second makes fewer of them. More than a million would be another load.
    const share = Math.min(1, seconds);
    const count = Math.ceil(COUNT * share);
    // As many timers for each delay.
    const delays = Math.ceil(DELAYS * share);
    const steps = Math.ceil(STEPS * share);
    return [
      each(ONE_DELAY, count, 1),
      each(MANY_DELAYS, count, delays),
      steady(STEADY_ONE, steps, 1),
      steady(STEADY_MANY, steps, PENDING),
      ...BESIDE.map((pending) => tick(pending, seconds)),
      lateness(Math.ceil(TIMES * share)),
    ];
  },
};

export default bench;
