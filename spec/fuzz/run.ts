// Random operations on random channels, until time is up or something that must be true is not.
//
//   npm run fuzz -- [--seconds 60] [--seed N] [--episode N]
//
// An episode is a world of its own (world.ts), made from the seed and its number. A failure prints the
// last operations, what was broken, and how to run that episode again, alone. The choices repeat; the
// kernel's timing, of TCP above all, and timeouts may not.

import { parseArgs } from 'node:util';
import { World } from './world';

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      seconds: { type: 'string', default: '60' },
      seed: { type: 'string', default: String(Math.floor(Math.random() * 2 ** 31)) },
      episode: { type: 'string' },
    },
  });
  const [seconds, seed] = [Number(values.seconds), Number(values.seed)];
  const only = values.episode === undefined ? null : Number(values.episode);
  if (!(seconds > 0) || !Number.isInteger(seed) || (only !== null && !Number.isInteger(only))) {
    throw new RangeError(`Cannot run ${JSON.stringify(values)}`);
  }
  // That a handleError threw is told by a warning, which is right and would fill the screen.
  process.removeAllListeners('warning');
  console.log(`seed ${seed}`);

  const total = { episodes: 0, operations: 0, ticks: 0, bytes: 0 };
  const end = performance.now() + 1000 * seconds;
  for (let episode = only ?? 0; performance.now() < end; episode += 1) {
    const world = new World(seed + episode * 7919);
    const broken = await world.run();
    if (broken !== null) {
      console.log(`\n${world.journal}\n\nBROKEN (${world.way}): ${broken}`);
      console.log(`again: npm run fuzz -- --seed ${seed} --episode ${episode}`);
      process.exitCode = 1;
      return;
    }
    total.episodes += 1;
    total.operations += world.operations;
    total.ticks += world.ticks;
    total.bytes += world.bytes;
    if (only !== null) break;
  }
  console.log(`${JSON.stringify(total)}, nothing broken`);
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
