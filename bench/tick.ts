// Ticks: what one costs beside channels that have nothing to do.
//
//   npm run bench -- tick
//
// asyncore's price was asking: two predicates of every channel, and a poll(2) over all of them, at
// every tick. Here a channel is asked when it has something to say, so that the line over the number
// of idle channels is to be flat. A program's own predicates must still be called at every tick: these
// are the other half of the shapes.

import type { Bench, Contender, Shape } from './harness';
import { missing, onAsyncore, python } from './inside';
import { openFilesLimit } from './support/process';
import { target } from './support/target';

const IDLE = [10, 100, 1000, 10_000];
/** What select(2) has room for, beside the other descriptors of the program. */
const ROOM_OF_SELECT = 1000;
/** How many others there are at most: a listener for each hundred idle channels, and a few. */
const OTHERS = 200;

type Predicates = 'stock' | 'overridden';

function nameOf(predicates: Predicates, idle: number): string {
  return `tick, ${predicates} predicates, ${idle.toLocaleString('en')} idle`;
}

function whyNot(name: string, idle: number): string | null {
  if (name === 'CPython poll()' && idle > ROOM_OF_SELECT) {
    return 'select(2) takes no descriptor above 1,023';
  }
  const limit = openFilesLimit();
  return idle + OTHERS > limit ? `${limit} open files at most` : null;
}

function shape(predicates: Predicates, idle: number, seconds: number): Shape {
  const contenders = (whose: 'asyncore' | 'CPython', way: string): readonly Contender[] => {
    const name = `${whose} ${way}()`;
    const reason = whyNot(name, idle);
    if (reason !== null) return [missing(name, reason)];
    const args = [way, predicates, idle, seconds];
    return whose === 'CPython'
      ? [python(name, 'tick.py', ...args)]
      : onAsyncore(name, 'tick.cjs', ...args);
  };
  return {
    name: nameOf(predicates, idle),
    parameters: { predicates, idle, seconds },
    metrics: [
      { name: 'CPU µs/tick', better: 'lower' },
      { name: 'ticks/s', better: 'higher' },
    ],
    contenders: [
      ...contenders('asyncore', 'poll'),
      ...contenders('asyncore', 'poll2'),
      ...contenders('asyncore', 'loop'),
      ...contenders('asyncore', 'loopSync'),
      ...contenders('CPython', 'poll'),
      ...contenders('CPython', 'poll2'),
    ],
    rounds: 3,
  };
}

const cpu = (contender: string, predicates: Predicates, idle = 10_000) => ({
  shape: nameOf(predicates, idle),
  contender,
  metric: 'CPU µs/tick',
});

const bench: Bench = {
  name: 'tick',
  title: 'Ticks',
  about:
    'Two chats pass one byte back and forth, so that each tick has one read and one write, beside ' +
    'idle connected chats. With the library’s own predicates the idle chats should cost nothing. An ' +
    'overridden readable() is called at every tick, for each of them.',
  targets: [
    target(cpu('asyncore loop()', 'stock'), 'at most', 1.2, cpu('asyncore loop()', 'stock', 10)),
    target(cpu('asyncore poll()', 'stock'), 'at most', 1.2, cpu('asyncore poll()', 'stock', 10)),
    target(
      cpu('asyncore loop()', 'overridden'),
      'at most',
      0.05,
      cpu('CPython poll2()', 'overridden'),
    ),
    target(
      cpu('asyncore poll2()', 'overridden'),
      'at most',
      0.05,
      cpu('CPython poll2()', 'overridden'),
    ),
  ],

  async shapes(seconds) {
    // There are nearly fifty of these in a round.
    const share = seconds / 5;
    return (['stock', 'overridden'] as const).flatMap((predicates) =>
      IDLE.map((idle) => shape(predicates, idle, share)),
    );
  },
};

export default bench;
