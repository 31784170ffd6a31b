// Timers that are made, cancelled and called: by callLater of a map, and by Node's setTimeout.
//
//   node timers.cjs WHOSE each COUNT DELAYS      so many made and cancelled, and made and called
//   node timers.cjs WHOSE steady STEPS DELAYS    10,000 pending; a step cancels one and makes one
//   node timers.cjs WHOSE tick PENDING SECONDS   one tick after another, beside so many timers
//   node timers.cjs WHOSE late COUNT TIMES       how late so many are called, so many times
//   WHOSE    callLater or setTimeout; for late: loop, loopSync or setTimeout
//   DELAYS   1: all have one delay, and the oldest is cancelled first. More: so many different delays,
//            and the order in which they are cancelled is random
//
// A full collection comes before each phase, which would otherwise pay for the garbage of the phase
// before. Whatever is measured was done some ten thousand times before, so that it is compiled. One
// timer more is pending all the time: V8 would throw the compiled code away when a collection finds no
// object of its kind.

const { once } = require('node:events');
const { createServer } = require('node:net');
const { setImmediate: nextTurn } = require('node:timers/promises');
const { setFlagsFromString } = require('node:v8');
const { runInNewContext } = require('node:vm');
const { measure, report } = require('./measure.cjs');

setFlagsFromString('--expose-gc');
const gc = runInNewContext('gc');

function collect() {
  gc();
  // What the first one leaves among the young objects is old after the second.
  gc();
}

const [whose, what, ...numbers] = process.argv.slice(2);

/** The delay of all timers where DELAYS is 1, in ms. */
const ONE_DELAY = 100;
/** A timer of such a delay is not due before the process ends, in ms. */
const LONG = 600_000;
/** How many timers are pending in the steady state. */
const PENDING = 10_000;
/** The load before anything is measured: so many timers, so many times, of so many ms at most. */
const WARM = { count: 20_000, times: 4, delays: 10 };
/** Delays of those whose lateness is measured: 1 to so many ms. */
const LONGEST = 50;

// ---------------------------------------------------------------------------------------------
// Whose timers.

const WHOSE = {
  callLater() {
    const { AsyncChat, ChannelMap, Socket, poll } = require('asyncore');
    // The longest of many delays is skipped, and not waited for. A tick is measured by the map's own clock.
    let skipped = 0;
    const clock = { now: () => performance.now() + skipped };
    const map = new ChannelMap([], what === 'each' ? { clock } : {});
    return {
      make: (ms, fn) => map.callLater(ms, fn),
      cancel: (timer) => timer.cancel(),
      keepOne() {
        const kept = map.callLater(2 * LONG, never);
        return () => map.nextDue === kept.due;
      },
      turn: () => poll(0, map),
      letPass(ms) {
        skipped += ms;
      },
      watchOne() {
        const [ours, other] = Socket.pair();
        new AsyncChat(ours, map);
        return other;
      },
      ticks(count) {
        for (let left = count; left > 0; left -= 1) poll(0, map);
      },
    };
  },

  setTimeout() {
    return {
      make: (ms, fn) => setTimeout(fn, ms),
      cancel: (timer) => clearTimeout(timer),
      keepOne() {
        setTimeout(never, 2 * LONG);
        const pending = () => process.getActiveResourcesInfo().filter((name) => name === 'Timeout');
        return () => pending().length === 1;
      },
      turn: () => nextTurn(),
      letPass(ms) {
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms + 1);
      },
      async watchOne() {
        const server = createServer().listen(0, '127.0.0.1');
        await once(server, 'listening');
        return server;
      },
      ticks(count) {
        return new Promise((resolve) => {
          let left = count;
          const turn = () => {
            left -= 1;
            if (left > 0) setImmediate(turn);
            else resolve();
          };
          setImmediate(turn);
        });
      },
    };
  },
};

// ---------------------------------------------------------------------------------------------
// The load.

let seed = 1;

/** A whole number from 0, below `limit`: the same ones in each run. */
function random(limit) {
  seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
  return Math.floor((seed / 2 ** 32) * limit);
}

function shuffle(numbers) {
  for (let last = numbers.length - 1; last > 0; last -= 1) {
    const other = random(last + 1);
    [numbers[last], numbers[other]] = [numbers[other], numbers[last]];
  }
  return numbers;
}

/** As many delays as timers, and the order in which these are cancelled. */
function plan(count, delays) {
  const order = Uint32Array.from({ length: count }, (_, index) => index);
  if (delays === 1) return { delays: new Uint32Array(count).fill(ONE_DELAY), order };
  const different = Uint32Array.from({ length: count }, (_, index) => 1 + (index % delays));
  return { delays: shuffle(different), order: shuffle(order) };
}

/** CPU so far, in ns. */
function cpu() {
  const { user, system } = process.cpuUsage();
  return (user + system) * 1000;
}

/** @returns what one of `count` costs, in ns */
function phase(count, work) {
  collect();
  const before = cpu();
  work();
  return (cpu() - before) / count;
}

function never() {
  throw new Error('a timer was called that was cancelled, or before its time');
}

function check(isAlone) {
  if (!isAlone()) throw new Error('timers are pending that should be gone');
}

async function each(facility, isAlone, { delays, order }) {
  const { make, cancel } = facility;
  const count = delays.length;
  const timers = new Array(count).fill(null);
  const making = phase(count, () => {
    for (let index = 0; index < count; index += 1) timers[index] = make(delays[index], never);
  });
  const cancelling = phase(count, () => {
    for (let index = 0; index < count; index += 1) cancel(timers[order[index]]);
  });
  check(isAlone);
  timers.fill(null);

  let called = 0;
  let end = 0;
  const calls = new Promise((resolve) => {
    const fn = () => {
      called += 1;
      if (called < count) return;
      end = cpu();
      resolve();
    };
    for (const delay of delays) make(delay, fn);
  });
  facility.letPass(delays.reduce((longest, delay) => Math.max(longest, delay)));
  collect();
  const start = cpu();
  await facility.turn();
  await calls;
  check(isAlone);
  if (called !== count) throw new Error(`${called} calls of ${count} timers`);
  return {
    'CPU ns/make': making,
    'CPU ns/cancel': cancelling,
    'CPU ns/call': (end - start) / count,
  };
}

const WHAT = {
  async each(facility, count, delays) {
    const isAlone = facility.keepOne();
    const warm = plan(Math.min(count, WARM.count), Math.min(delays, WARM.delays));
    for (let times = WARM.times; times > 0; times -= 1) await each(facility, isAlone, warm);
    return await each(facility, isAlone, plan(count, delays));
  },

  async steady(facility, steps, delays) {
    const { make, cancel, turn } = facility;
    const isAlone = facility.keepOne();
    const wanted = plan(PENDING, delays);
    const timers = Array.from(wanted.delays, (delay) => make(LONG + delay, never));
    /** Replaces each timer once. A program has had turns of its loop meanwhile, so there is one. */
    const replace = async () => {
      for (let index = 0; index < PENDING; index += 1) {
        const place = wanted.order[index];
        cancel(timers[place]);
        timers[place] = make(LONG + wanted.delays[index], never);
      }
      await turn();
    };
    const times = Math.ceil(steps / PENDING);
    for (let left = WARM.times; left > 0; left -= 1) await replace();
    collect();
    const before = cpu();
    for (let left = times; left > 0; left -= 1) await replace();
    const figure = (cpu() - before) / (times * PENDING);
    for (const timer of timers) cancel(timer);
    check(isAlone);
    return { 'CPU ns/step': figure };
  },

  async tick(facility, pending, seconds) {
    const idle = await facility.watchOne();
    const { delays } = plan(pending, LONG / 10);
    const timers = Array.from(delays, (delay) => facility.make(LONG + delay, never));
    collect();
    const { count, cpu } = await measure((count) => facility.ticks(count), seconds);
    for (const timer of timers) facility.cancel(timer);
    idle.close();
    return { 'CPU ns/tick': (cpu * 1000) / count };
  },
};

/** Each makes them all, and waits until the last one was called. */
const LATE = {
  async loop(makeAll) {
    const { ChannelMap, loop } = require('asyncore');
    const map = new ChannelMap();
    makeAll((ms, fn) => map.callLater({ ms, keepAlive: true }, fn));
    await loop({ map });
  },
  loopSync(makeAll) {
    const { ChannelMap, loopSync } = require('asyncore');
    const map = new ChannelMap();
    makeAll((ms, fn) => map.callLater({ ms, keepAlive: true }, fn));
    loopSync({ map });
  },
  setTimeout(makeAll) {
    return new Promise((done) => makeAll((ms, fn) => setTimeout(fn, ms), done));
  },
};

async function late(count, times) {
  const lateness = [];
  const makeAll = (make, done = () => {}) => {
    let pending = count;
    for (let left = count; left > 0; left -= 1) {
      const ms = 1 + random(LONGEST);
      const due = performance.now() + ms;
      make(ms, () => {
        lateness.push(performance.now() - due);
        pending -= 1;
        if (pending === 0) done();
      });
    }
  };
  const call = LATE[whose];
  // While the thread makes a thousand timers it calls none: it must be fast at that before this counts.
  for (let left = times; left > 0; left -= 1) await call(makeAll);
  lateness.length = 0;
  for (let left = times; left > 0; left -= 1) await call(makeAll);
  const calls = lateness.length;
  if (calls !== count * times) throw new Error(`${calls} calls of ${count * times} timers`);
  lateness.sort((a, b) => a - b);
  return {
    'p50 ms': lateness[Math.floor(calls * 0.5)],
    'p99 ms': lateness[Math.floor(calls * 0.99)],
    'max ms': lateness[calls - 1],
    '% too early': (100 * lateness.filter((ms) => ms < 0).length) / calls,
  };
}

async function main() {
  const [first, second] = numbers.map(Number);
  report(
    what === 'late' ? await late(first, second) : await WHAT[what](WHOSE[whose](), first, second),
  );
}

void main();
