// How a program here measures something small: again and again, for so many seconds of CPU. Elapsed
// time would cut the warm-up short whenever somebody else wants the core.

/** In µs of CPU: by then V8 has compiled what it will. */
const WARM = 60_000;

async function once(work, count) {
  const before = process.cpuUsage();
  const start = performance.now();
  await work(count);
  const { user, system } = process.cpuUsage(before);
  return { count, cpu: user + system, elapsed: (performance.now() - start) * 1000 };
}

/**
 * @param work does it `count` times, and throws unless that is what it has done
 * @returns what `count` times cost, in µs
 */
exports.measure = async function measure(work, seconds) {
  // The first time is not like the others.
  await work(1);
  let warm = await once(work, 64);
  while (warm.cpu < WARM) warm = await once(work, 2 * warm.count);
  return await once(work, Math.ceil((warm.count * seconds * 1e6) / warm.cpu));
};

/** Hands the figures to the bench, and ends. */
exports.report = function report(figures) {
  process.stdout.write(`${JSON.stringify(figures)}\n`, () => process.exit());
};
