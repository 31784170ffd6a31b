// The text of a run: the tables, the verdict on each target, and docs/performance.md.
//
// Nothing here reads the clock or the machine: the same run gives the same text, so a spec can compare the
// page with docs/performance/results.json. The tables are Markdown in the terminal too, readable as they
// are and ready to be pasted.

import type { Bench, FigureName, Result, Summary, Target } from './harness';
import { PLOTS } from './plot';

/** Everything about one run: the content of results.json. */
export interface Run {
  readonly date: string;
  readonly command: string;
  /** What the figures depend on: `CPU` -> its model. */
  readonly machine: Readonly<Record<string, string>>;
  readonly results: readonly Result[];
}

// ---------------------------------------------------------------------------------------------
// Tables.

/** Three digits, and more where whole numbers have more. */
const FORMAT = new Intl.NumberFormat('en-US', {
  minimumSignificantDigits: 3,
  maximumSignificantDigits: 3,
  maximumFractionDigits: 0,
  roundingPriority: 'morePrecision',
});

export function formatNumber(value: number): string {
  return FORMAT.format(value);
}

/** Escapes the characters that Markdown would interpret. */
function escapeMarkdown(text: string): string {
  return text.replace(/[\\`*<>[\]|]/g, '\\$&').replace(/\s+/g, ' ');
}

/** A Markdown table with aligned columns: the first `words` columns to the left, figures to the right. */
export function table(rows: readonly (readonly string[])[], words = 1): string {
  const cells = rows.map((row) => row.map(escapeMarkdown));
  const widths = (cells[0] ?? []).map((_, column) =>
    Math.max(3, ...cells.map((row) => row[column]?.length ?? 0)),
  );
  const line = (row: readonly string[]) =>
    widths.map((width, column) => {
      const cell = row[column] ?? '';
      return column < words ? cell.padEnd(width) : cell.padStart(width);
    });
  const rule = widths.map((width, column) =>
    column < words ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`,
  );
  return cells
    .map(line)
    .toSpliced(1, 0, rule)
    .map((row) => `| ${row.join(' | ')} |`)
    .join('\n');
}

export function formatSummary(summary: Summary | undefined): string {
  if (summary === undefined) return '–';
  const { median, min, max } = summary;
  const range = min === max ? '' : ` (${formatNumber(min)} to ${formatNumber(max)})`;
  return formatNumber(median) + range;
}

/** One shape: contender x metric, and below it the reasons why contenders could not run. */
export function resultTable({ metrics, figures, missing }: Result): string {
  const head = metrics.map(({ name, better }) => `${name} ${better === 'lower' ? '↓' : '↑'}`);
  const present = Object.entries(figures).map(([contender, own]) => [
    contender,
    ...metrics.map(({ name }) => formatSummary(own[name])),
  ]);
  const absent = Object.keys(missing).map((contender) => [contender, 'not run']);
  const reasons = Object.entries(missing).map(
    ([contender, why]) => `\n\n${escapeMarkdown(`${contender} was not run: ${why}`)}`,
  );
  return table([['', ...head], ...present, ...absent]) + reasons.join('');
}

/** `connections 50; in flight 1; median (least to most) of 5 rounds` */
export function describeShape({ parameters, rounds }: Result): string {
  const named = Object.entries(parameters).map(([name, value]) =>
    typeof value === 'number' ? `${name} ${value.toLocaleString('en-US')}` : `${name}: ${value}`,
  );
  const reading = rounds === 1 ? 'one round' : `median (least to most) of ${rounds} rounds`;
  return [...named, reading].join('; ');
}

// ---------------------------------------------------------------------------------------------
// Targets.

export interface Verdict {
  readonly target: Target;
  /** The figure reached, in the target's own terms; null: there is no figure. */
  readonly reached: number | null;
  /** The two medians, or why there is no figure. */
  readonly because: string;
  readonly met: boolean;
}

/** The median, or the reason why there is none. */
function lookUp(name: FigureName, results: readonly Result[]): number | string {
  const result = results.find(({ shape }) => shape === name.shape);
  if (result === undefined) return `${name.shape} was not run`;
  const missing = result.missing[name.contender];
  if (missing !== undefined) return `${name.contender} was not run: ${missing}`;
  const summary = result.figures[name.contender]?.[name.metric];
  return summary?.median ?? `${name.contender} has no ${name.metric}`;
}

/** Compares one target with the figures of a run. */
export function judge(target: Target, results: readonly Result[]): Verdict {
  const of = lookUp(target.of, results);
  const against =
    typeof target.against === 'number' ? target.against : lookUp(target.against, results);
  const reason = [of, against].find((figure) => typeof figure === 'string');
  if (typeof of === 'string' || typeof against === 'string') {
    return { target, reached: null, because: String(reason), met: false };
  }
  const ratio = of / against;
  const met = target.bound === 'at most' ? ratio <= target.ratio : ratio >= target.ratio;
  return typeof target.against === 'number'
    ? { target, reached: of, because: '', met }
    : { target, reached: ratio, because: `${formatNumber(of)} / ${formatNumber(against)}`, met };
}

/** The targets of a bench whose shapes this run has, with their figures. */
export function targetTable(benches: readonly Bench[], results: readonly Result[]): string {
  const rows = benches
    .flatMap(({ targets = [] }) => targets)
    .map((target) => judge(target, results))
    .map(({ target: { of, words }, reached, because, met }) => [
      of.shape,
      `${of.contender}: ${of.metric}`,
      words,
      reached === null ? 'no figure' : met ? 'met' : 'not met',
      reached === null ? '–' : formatNumber(reached),
      because,
    ]);
  return table([['shape', 'figure', 'target', '', 'reached', 'medians'], ...rows], 4);
}

// ---------------------------------------------------------------------------------------------
// docs/performance.md.

function machineTable({ date, command, machine, results }: Run): string {
  const loads = new Set(results.flatMap(({ parameters: { load } }) => load ?? []));
  const rows = [
    ...Object.entries(machine),
    ['load generator', [...loads].join(', ')],
    ['command', command],
    ['date', date],
  ];
  return table([['', ''], ...rows], 2);
}

function benchSection({ name, about }: Bench, results: readonly Result[]): string {
  const plots = PLOTS.filter(({ bench }) => bench === name);
  const own = results.filter(({ bench }) => bench === name);
  return [
    about,
    ...plots.map(({ file, title }) => `![${title}](performance/${file})`),
    ...own.map((one) => `### ${one.shape}\n\n${describeShape(one)}\n\n${resultTable(one)}`),
  ].join('\n\n');
}

const BLOCK = /(<!-- results: (\S+) -->\n)[\s\S]*?(<!-- end of results -->)/g;

/**
 * The page with every block `<!-- results: NAME -->` … `<!-- end of results -->` rewritten; the prose
 * around the blocks stays. NAME is `machine`, `targets`, or a bench.
 */
export function renderPage(page: string, run: Run, benches: readonly Bench[]): string {
  const sections = new Map([
    ['machine', machineTable(run)],
    ['targets', targetTable(benches, run.results)],
    ...benches.map((bench) => [bench.name, benchSection(bench, run.results)] as const),
  ]);
  const rendered = page.replace(BLOCK, (_, start: string, name: string, end: string) => {
    const section = sections.get(name);
    if (section === undefined) throw new Error(`Cannot render ${name}: no such bench, or twice`);
    sections.delete(name);
    return `${start}\n${section}\n\n${end}`;
  });
  const left = [...sections.keys()];
  if (left.length > 0) throw new Error(`Cannot render ${left.join(', ')}: the page has no place`);
  return rendered;
}
