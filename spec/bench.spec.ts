// What the bench makes of figures, with figures that were invented. Only timers are measured here, a few of
// them.

import childProcess from 'node:child_process';
import { copyFileSync, cpSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type Bench,
  type Contender,
  type Figures,
  type Result,
  runShape,
  type Shape,
  summarize,
  type Target,
} from '../bench/harness';
import { PLOTS, rowsOf } from '../bench/plot';
import {
  describeShape,
  formatNumber,
  formatSummary,
  judge,
  type Run,
  renderPage,
  resultTable,
  table,
  targetTable,
} from '../bench/report';
import { BENCHES, chooseBenches, PAGE, RESULTS } from '../bench/run';
import { buildInto } from './support/build';
import { ROOT } from './support/program';
import { itIf } from './support/skips';

// What shapes() does before anything is measured: it may take seconds, and build what others use.
jest.mock('../bench/support/build', () => ({ freshBuild() {} }));
jest.mock('../bench/support/example', () => ({
  bundleExample: () => Promise.resolve('bundled'),
}));
jest.mock('../bench/support/runtimes', () => ({ findRuntime: () => ({ path: 'fetched' }) }));
jest.mock('../bench/support/process', () => ({
  ...jest.requireActual('../bench/support/process'),
  compile: () => Promise.resolve({ path: 'compiled' }),
}));

const CPU = { name: 'CPU µs/line', better: 'lower' } as const;
const RATE = { name: 'lines/s', better: 'higher' } as const;

function shapeOf(contenders: readonly Contender[], rounds = 2): Shape {
  return { name: 'echo', parameters: {}, metrics: [CPU, RATE], contenders, rounds };
}

/** Gives one figure after the other, and says whose turn it was. */
function scripted(name: string, figures: readonly Figures[], turns: string[] = []): Contender {
  const left = [...figures];
  return {
    name,
    measure: () => {
      turns.push(name);
      return Promise.resolve(left.shift() ?? {});
    },
  };
}

const absent: Contender = {
  name: 'C epoll',
  missing: 'gcc is not installed',
  measure: () => Promise.reject(new Error('measured all the same')),
};

const silent = () => {};

function resultOf(
  shape: string,
  medians: Record<string, Record<string, number>>,
  more: Partial<Result> = {},
): Result {
  const figures = Object.fromEntries(
    Object.entries(medians).map(([contender, own]) => [
      contender,
      Object.fromEntries(
        Object.entries(own).map(([metric, median]) => [
          metric,
          { median, min: median / 2, max: median * 2 },
        ]),
      ),
    ]),
  );
  const metrics = [CPU, RATE];
  return { bench: 'b', shape, parameters: {}, metrics, rounds: 3, figures, missing: {}, ...more };
}

describe('A summary', () => {
  it.each<[string, number[], number]>([
    ['the middle one of an odd number', [9, 1, 5], 5],
    ['the mean of the middle two of an even number', [4, 1, 2, 100], 3],
    ['the only one', [7], 7],
    // As text 10 would come before 9.
    ['in the order of numbers', [10, 9, 100], 10],
  ])('has a median: %s', (_, values, median) => {
    expect(summarize(values)).toEqual({
      median,
      min: Math.min(...values),
      max: Math.max(...values),
    });
  });
});

describe('A shape', () => {
  it('is borne in turns, round by round', async () => {
    const turns: string[] = [];
    const contenders = ['A', 'B', 'C'].map((name) => scripted(name, [], turns));
    await runShape('b', shapeOf(contenders), silent);
    expect(turns.join('')).toBe('ABCABC');
  });

  it('comes to the median of the rounds, by contender and metric', async () => {
    const ours = scripted('ours', [
      { [CPU.name]: 3, [RATE.name]: 10 },
      { [CPU.name]: 1, [RATE.name]: 30 },
      { [CPU.name]: 2, [RATE.name]: 20 },
    ]);
    const { figures, rounds } = await runShape('b', shapeOf([ours], 3), silent);
    expect(rounds).toBe(3);
    expect(figures).toEqual({
      ours: {
        [CPU.name]: { median: 2, min: 1, max: 3 },
        [RATE.name]: { median: 20, min: 10, max: 30 },
      },
    });
  });

  it('lets a contender leave a metric out', async () => {
    const contenders = [scripted('A', [{ [CPU.name]: 1 }, { [CPU.name]: 1 }])];
    const { figures } = await runShape('b', shapeOf(contenders), silent);
    expect(Object.keys(figures.A ?? {})).toEqual([CPU.name]);
  });

  it('tells whose turn it is', async () => {
    const said: string[] = [];
    const contenders = [scripted('A', []), absent];
    await runShape('b', shapeOf(contenders, 1), (what) => said.push(what));
    expect(said).toEqual(['echo: round 1 of 1, A']);
  });

  it('keeps the reason of a contender that cannot run, and never starts it', async () => {
    const result = await runShape('b', shapeOf([absent, scripted('A', [])]), silent);
    expect(result.missing).toEqual({ 'C epoll': 'gcc is not installed' });
    expect(Object.keys(result.figures)).toEqual(['A']);
  });

  it('ends with the contender that throws, and with its name', async () => {
    const turns: string[] = [];
    const lost = new Error('3 bytes are lost');
    const failing = { name: 'B', measure: () => Promise.reject(lost) };
    const contenders = [scripted('A', [], turns), failing, scripted('C', [], turns)];
    const run = runShape('b', shapeOf(contenders), silent);
    await expect(run).rejects.toMatchObject({ message: 'echo, B: 3 bytes are lost', cause: lost });
    expect(turns).toEqual(['A']);
  });

  it.each([Number.NaN, Infinity])('refuses %d for a figure', async (value) => {
    const run = runShape('b', shapeOf([scripted('A', [{ [CPU.name]: value }])]), silent);
    await expect(run).rejects.toThrow(`echo, A: CPU µs/line is ${value}`);
  });

  it('refuses a metric that it does not have', async () => {
    const run = runShape('b', shapeOf([scripted('A', [{ speed: 1 }])]), silent);
    await expect(run).rejects.toThrow('echo, A: speed is not a metric of this shape');
  });
});

describe('A runtime from npm', () => {
  it.each([
    ['there is no npm', { error: new Error('spawnSync npx ENOENT'), status: null }, 'ENOENT'],
    ['the registry cannot be reached', { status: 1, stderr: 'npm error code E1\n' }, 'code E1'],
    ['npx says nothing', { status: 7, stderr: '' }, 'npx ended with 7'],
  ])('that cannot be had is a reason, and no error: %s', (_, result, reason) => {
    const run = jest.spyOn(childProcess, 'spawnSync').mockReturnValue(result as never);
    jest.isolateModules(() => {
      const { findRuntime } = jest.requireActual('../bench/support/runtimes');
      expect(findRuntime('bun')).toEqual({ missing: expect.stringContaining(reason) });
    });
    run.mockRestore();
  });
});

describe('A number', () => {
  it.each([
    [0, '0.00'],
    [0.41234, '0.412'],
    [5, '5.00'],
    [12.345, '12.3'],
    [123.4, '123'],
    [1_234_567, '1,234,567'],
  ])('%d is written %s', (value, text) => {
    expect(formatNumber(value)).toBe(text);
  });
});

describe('A table', () => {
  it('stands in straight columns, words to the left and figures to the right', () => {
    const rows = [
      ['', 'µs'],
      ['ours', '1.00'],
      ['C', '10.0'],
    ];
    expect(table(rows)).toBe(
      ['|      |   µs |', '| ---- | ---: |', '| ours | 1.00 |', '| C    | 10.0 |'].join('\n'),
    );
  });

  it('fills up rows that are short', () => {
    expect(table([['a', 'b'], ['c']]).split('\n')[2]).toBe('| c   |     |');
  });

  it.each([
    ['a|b', 'a\\|b'],
    ['<pid>', '\\<pid\\>'],
    ['*a* `b` [c]', '\\*a\\* \\`b\\` \\[c\\]'],
    ['back\\slash', 'back\\\\slash'],
    ['two\nlines', 'two lines'],
    // Not Markdown's inside a word.
    ['epoll_wait', 'epoll_wait'],
  ])('takes nothing for Markdown: %j', (text, written) => {
    expect(table([[text]]).split('\n')[0]).toBe(`| ${written} |`);
  });
});

describe('The table of a shape', () => {
  it('has the median, the least and the most of each contender and metric', () => {
    const text = resultTable(resultOf('echo', { ours: { [CPU.name]: 4, [RATE.name]: 2000 } }));
    expect(text).toMatch(/CPU µs\/line ↓ \| +lines\/s ↑/);
    expect(text).toMatch(/ours \| 4\.00 \(2\.00 to 8\.00\) \| 2,000 \(1,000 to 4,000\)/);
  });

  it('has no range where there was one round', () => {
    expect(formatSummary({ median: 4, min: 4, max: 4 })).toBe('4.00');
  });

  it('has a dash for a figure that has no meaning', () => {
    expect(resultTable(resultOf('echo', { ours: { [CPU.name]: 4 } }))).toMatch(/\| +– \|$/);
  });

  it('shows a contender that did not run, and why', () => {
    const missing = { 'C libuv': 'no uv.h' };
    const text = resultTable(resultOf('echo', { ours: { [CPU.name]: 4 } }, { missing }));
    expect(text).toMatch(/^\| C libuv \| +not run \|/m);
    expect(text).toMatch(/^C libuv was not run: no uv.h$/m);
  });

  it('is headed by the parameters and the rounds', () => {
    const parameters = { connections: 8000, load: 'C' };
    expect(describeShape(resultOf('echo', {}, { parameters }))).toBe(
      'connections 8,000; load: C; median (least to most) of 3 rounds',
    );
    expect(describeShape(resultOf('echo', {}, { rounds: 1 }))).toBe('one round');
  });
});

describe('A target', () => {
  const name = (contender: string, shape = 'echo') => ({ shape, contender, metric: CPU.name });
  const target: Target = {
    words: 'at most 1.2 × C',
    of: name('ours'),
    against: name('C'),
    ratio: 1.2,
    bound: 'at most',
  };
  const results = [resultOf('echo', { ours: { [CPU.name]: 6 }, C: { [CPU.name]: 5 } })];

  it.each<[string, Partial<Target>, boolean]>([
    ['at most, below', { ratio: 1.3 }, true],
    ['at most, just', { ratio: 1.2 }, true],
    ['at most, above', { ratio: 1.1 }, false],
    ['at least, below', { bound: 'at least', ratio: 1.3 }, false],
    ['at least, just', { bound: 'at least', ratio: 1.2 }, true],
    ['at least, above', { bound: 'at least', ratio: 1.1 }, true],
    ['at most a number', { against: 6, ratio: 1 }, true],
    ['at most a number, above', { against: 5, ratio: 1 }, false],
  ])('is met or not: %s', (_, change, met) => {
    expect(judge({ ...target, ...change }, results)).toMatchObject({ met });
  });

  it('is shown with the ratio and the medians it is made of', () => {
    expect(judge(target, results)).toMatchObject({ reached: 1.2, because: '6.00 / 5.00' });
  });

  it('is shown with the figure itself when it is held against a number', () => {
    expect(judge({ ...target, against: 60, ratio: 1 }, results)).toMatchObject({ reached: 6 });
  });

  it('is held against another shape', () => {
    const both = [...results, resultOf('echo beside idle', { ours: { [CPU.name]: 9 } })];
    const idle = { ...target, of: name('ours', 'echo beside idle'), against: name('ours') };
    expect(judge(idle, both)).toMatchObject({ reached: 1.5, met: false });
  });

  it.each<[string, Partial<Target>, Partial<Result>, string]>([
    ['no such shape', { of: name('ours', 'bulk') }, {}, 'bulk was not run'],
    ['not run', { against: name('B') }, { missing: { B: 'no gcc' } }, 'B was not run: no gcc'],
    ['no such metric', { of: { ...name('ours'), metric: 'p50 µs' } }, {}, 'ours has no p50 µs'],
  ])('without a figure is not met, and says why: %s', (_, change, more, because) => {
    const measured = results.map((result) => ({ ...result, ...more }));
    const verdict = judge({ ...target, ...change }, measured);
    expect(verdict).toMatchObject({ reached: null, met: false, because });
  });

  it('has a row in the table, with a figure or without', () => {
    const bench = benchOf('b', [
      target,
      { ...target, ratio: 1.1 },
      { ...target, of: name('ours', 'bulk') },
    ]);
    const rows = targetTable([bench], results).split('\n').slice(2);
    expect(rows.map((row) => row.split(' | ').at(3)?.trim())).toEqual([
      'met',
      'not met',
      'no figure',
    ]);
  });
});

function benchOf(name: string, targets: readonly Target[] = []): Bench {
  const shapes = () => Promise.resolve([]);
  return { name, title: name, about: `About ${name}.`, targets, shapes };
}

describe('The page', () => {
  const run: Run = {
    date: '2000-01-01T00:00:00.000Z',
    command: 'npm run bench',
    machine: { CPU: 'one of those' },
    results: [resultOf('echo', { ours: { [CPU.name]: 4 } }, { parameters: { load: 'C' } })],
  };
  const block = (name: string, text = '') =>
    `<!-- results: ${name} -->\n${text}<!-- end of results -->`;
  const prose = [block('machine'), 'Prose, $& and $1.', block('targets'), block('b', 'old\n')];
  const page = prose.join('\n\n');
  const benches = [benchOf('b')];

  it('has the machine, the load generator, the command and the date', () => {
    const text = renderPage(page, run, benches);
    expect(text).toMatch(/CPU +\| one of those/);
    expect(text).toMatch(/load generator \| C /);
    expect(text).toMatch(/command +\| npm run bench/);
    expect(text).toMatch(/date +\| 2000-01-01T00:00:00.000Z/);
  });

  it('has each bench in its place, in place of what was there', () => {
    const text = renderPage(page, run, benches);
    expect(text).toContain(
      `About b.\n\n### echo\n\n${describeShape(run.results[0] as Result)}\n\n| `,
    );
    expect(text).not.toContain('old');
  });

  it('keeps the prose around', () => {
    expect(renderPage(page, run, benches)).toContain('\n\nProse, $& and $1.\n\n');
  });

  it('is the same when it is rendered again', () => {
    const once = renderPage(page, run, benches);
    expect(renderPage(once, run, benches)).toBe(once);
  });

  it.each([
    ['a bench that has no place', page.replace('results: b', 'was: b'), 'Cannot render b'],
    ['a place that has no bench', `${page}\n${block('c')}`, 'Cannot render c'],
    ['two places for one bench', `${page}\n${block('b')}`, 'Cannot render b'],
  ])('refuses %s', (_, wrong, message) => {
    expect(() => renderPage(wrong, run, benches)).toThrow(message);
  });
});

describe('A plot', () => {
  const plot = { file: 'x.svg', bench: 'b', title: 'X', metric: CPU.name };

  it('shows the contenders of each shape that has the metric, and of no other bench', () => {
    const results = [
      resultOf('echo', { ours: { [CPU.name]: 4 }, other: { [RATE.name]: 1 } }),
      resultOf('echo', { ours: { [CPU.name]: 4 } }, { bench: 'c' }),
    ];
    expect(rowsOf(plot, results)).toEqual([
      { contender: 'ours', panel: 'echo', over: null, median: 4, min: 2, max: 8 },
    ]);
  });

  it('shows ratios to a contender of the same shape, and no shape that lacks the contender', () => {
    const results = [
      resultOf('echo', { ours: { [CPU.name]: 6 }, 'C epoll': { [CPU.name]: 4 } }),
      resultOf('burst', { ours: { [CPU.name]: 6 } }),
    ];
    const relativeTo = { contender: /^C /, title: 'as a multiple of C’s' };
    expect(rowsOf({ ...plot, relativeTo }, results)).toEqual([
      { contender: 'ours', panel: 'echo', over: null, median: 1.5, min: 0.75, max: 3 },
      { contender: 'C epoll', panel: 'echo', over: null, median: 1, min: 0.5, max: 2 },
    ]);
  });

  it('runs over one parameter, with panels by another', () => {
    const parameters = { idle: 10, predicates: 'stock' };
    const results = [resultOf('echo', { ours: { [CPU.name]: 4 } }, { parameters })];
    const over = { parameter: 'idle', title: 'idle' };
    const [row] = rowsOf({ ...plot, over, panels: 'predicates' }, results);
    expect(row).toMatchObject({ panel: 'stock predicates', over: 10 });
  });
});

describe('The benches', () => {
  const shapes = new Map<string, readonly Shape[]>();

  beforeAll(async () => {
    for (const bench of BENCHES) shapes.set(bench.name, await bench.shapes(1));
  });

  it('are chosen by name, and all of them without one', () => {
    expect(chooseBenches(['idle', 'tick']).map(({ name }) => name)).toEqual(['idle', 'tick']);
    expect(chooseBenches([])).toBe(BENCHES);
    expect(() => chooseBenches(['idle', 'fast'])).toThrow(/^Cannot run fast: there are .*tick/);
  });

  it('have names and shapes of their own', () => {
    const names = BENCHES.map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
    const all = [...shapes.values()].flat().map(({ name }) => name);
    expect(new Set(all).size).toBe(all.length);
  });

  it.each(BENCHES.map((bench) => [bench.name, bench] as const))(
    '%s names in its targets what it has',
    (name, { targets = [] }) => {
      const own = shapes.get(name) as readonly Shape[];
      const wrong = targets
        .flatMap(({ of, against }) => (typeof against === 'number' ? [of] : [of, against]))
        .filter(({ shape, contender, metric }) => {
          const found = own.find((one) => one.name === shape);
          const bears = found?.contenders.some((one) => one.name === contender);
          return !bears || !found?.metrics.some((one) => one.name === metric);
        });
      expect(wrong).toEqual([]);
    },
  );

  it.each(PLOTS.map((plot) => [plot.file, plot] as const))(
    '%s shows a metric that its bench has, over parameters that it has',
    (_, { bench, metric, over, panels }) => {
      const shown = (shapes.get(bench) ?? []).filter(({ metrics }) =>
        metrics.some(({ name }) => name === metric),
      );
      expect(shown).not.toEqual([]);
      for (const { parameters } of over === undefined ? [] : shown) {
        expect(typeof parameters[over?.parameter ?? '']).toBe('number');
        if (panels !== undefined) expect(parameters).toHaveProperty(panels);
      }
    },
  );
});

describe('The bench of timers, with a thousandth of them', () => {
  let checkout: string;
  let shapes: readonly Shape[];

  // A checkout of its own, which is measured beside this one: nobody waits for a dist/ here.
  beforeAll(async () => {
    checkout = mkdtempSync(join(tmpdir(), 'asyncore-bench-'));
    copyFileSync(join(ROOT, 'package.json'), join(checkout, 'package.json'));
    buildInto(join(checkout, 'dist'));
    cpSync(join(ROOT, 'bench', 'inside'), join(checkout, 'bench', 'inside'), { recursive: true });
    let timers: Bench | undefined;
    jest.isolateModules(() => {
      require('../bench/support/beside').measureBeside(checkout);
      timers = require('../bench/timers').default;
    });
    shapes = await (timers as Bench).shapes(0.001);
  });

  afterAll(() => rmSync(checkout, { recursive: true }));

  it.each([
    ['one delay', 'timers, one delay'],
    ['many delays', 'timers, 50,000 delays'],
    ['one delay, in the steady state', 'timers, steady state, one delay'],
    ['different delays, in the steady state', 'timers, steady state, different delays'],
    ['a tick beside none', 'timers, a tick beside 0'],
    ['a tick beside many', 'timers, a tick beside 100,000'],
    ['lateness', 'timers, lateness'],
  ])('has every figure, by each contender: %s', async (_, name) => {
    const shape = shapes.find((one) => one.name === name) as Shape;
    const contenders = shape.contenders.filter(
      (one) => !one.name.startsWith('asyncore') || one.name.endsWith(', beside'),
    );
    const { figures, missing } = await runShape(
      'timers',
      { ...shape, contenders, rounds: 1 },
      silent,
    );
    const reached = Object.entries(figures).map(([who, own]) => [who, Object.keys(own)]);
    const metrics = shape.metrics.map((metric) => metric.name);
    const present = contenders.filter((one) => !(one.name in missing));
    expect(reached).toEqual(present.map((one) => [one.name, metrics]));
    expect(present.map((one) => one.name)).toEqual(
      expect.arrayContaining([
        expect.stringMatching(/^asyncore .*, beside$/),
        expect.stringMatching(/^Node /),
      ]),
    );
  });
});

describe('docs/performance.md', () => {
  const page = readFileSync(PAGE, 'utf8');

  it('has a heading for each bench', () => {
    const headings = page.match(/(?<=^## ).+$/gm);
    expect(headings).toEqual(expect.arrayContaining(BENCHES.map(({ title }) => title)));
  });

  it('has a place for each bench', () => {
    const run: Run = { date: '', command: '', machine: {}, results: [] };
    expect(() => renderPage(page, run, BENCHES)).not.toThrow();
  });

  const itWithResults = itIf(existsSync(RESULTS), 'no results of a bench');

  itWithResults('is what the results come to', () => {
    expect(renderPage(page, JSON.parse(readFileSync(RESULTS, 'utf8')), BENCHES)).toBe(page);
  });

  itWithResults('has its plots beside it', () => {
    for (const { file } of PLOTS) expect(existsSync(join(RESULTS, '..', file))).toBe(true);
  });
});
