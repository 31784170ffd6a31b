// The plots of docs/performance.md: Vega-Lite, rendered to SVG here, without a browser.
//
// A page may show them on white or on black, and an image cannot ask which: no background, and only
// colours of a middle tone that stand out from both. The fonts are the reader's own. One family of
// contenders has one colour in all plots; within a plot of lines its members differ by their dashes.

import type { Config, TopLevelSpec } from 'vega-lite';
import type { Result, Summary } from './harness';

export interface Plot {
  /** In docs/performance/. */
  readonly file: string;
  readonly bench: string;
  readonly title: string;
  readonly metric: string;
  /** Whose median is 1 in each shape: the plot shows ratios. Without it, the figures themselves. */
  readonly relativeTo?: { readonly contender: RegExp; readonly title: string };
  /** Lines over this parameter of the shapes; without it, bars shape by shape. */
  readonly over?: { readonly parameter: string; readonly title: string };
  /** A panel for each value of this parameter. */
  readonly panels?: string;
}

const TO_C = { contender: /^C /, title: 'as a multiple of C’s' };

/** In the order in which the page shows those of one bench. */
export const PLOTS: readonly Plot[] = [
  {
    file: 'line-echo.svg',
    bench: 'line-echo',
    title: 'Line echo: what one line costs the server',
    metric: 'CPU µs/line',
    relativeTo: TO_C,
  },
  {
    file: 'idle.svg',
    bench: 'idle',
    title: 'What one line costs the server, beside idle connections',
    metric: 'CPU µs/line',
    over: { parameter: 'idle', title: 'idle connections' },
  },
  {
    file: 'churn.svg',
    bench: 'churn',
    title: 'Churn: what one connection costs the server',
    metric: 'CPU µs/connection',
    relativeTo: TO_C,
  },
  {
    file: 'bulk.svg',
    bench: 'bulk',
    title: 'Bulk: what a second of the CPU moves',
    metric: 'MB/CPU s',
    relativeTo: TO_C,
  },
  {
    file: 'tick.svg',
    bench: 'tick',
    title: 'Ticks per second, beside idle channels',
    metric: 'ticks/s',
    over: { parameter: 'idle', title: 'idle channels' },
    panels: 'predicates',
  },
];

const INK = '#7a818a';
const GRID = '#7a818a40';
/** The first that matches; ours is the last. */
const FAMILIES: readonly (readonly [RegExp, string])[] = [
  [/^C\b/, '#8c8c8c'],
  [/^node:/, '#2f9e5b'],
  [/^CPython/, '#c98a10'],
  [/^bare koffi/, '#8a6fd1'],
  [/^Bun/, '#d1588a'],
  [/./, '#3d85d9'],
];
const DASHES = [[], [6, 3], [2, 2], [8, 3, 2, 3]];

const CONFIG: Config = {
  background: 'transparent',
  font: 'sans-serif',
  view: { stroke: null },
  title: { color: INK, anchor: 'start', fontSize: 13, offset: 12 },
  axis: {
    labelColor: INK,
    titleColor: INK,
    titleFontWeight: 'normal',
    domainColor: INK,
    tickColor: INK,
    gridColor: GRID,
    labelFontSize: 12,
    titleFontSize: 12,
    labelLimit: 400,
  },
  header: { labelColor: INK, labelFontSize: 12 },
  legend: {
    labelColor: INK,
    labelFontSize: 12,
    labelLimit: 400,
    symbolType: 'stroke',
    symbolSize: 400,
    symbolStrokeWidth: 2,
  },
};

/** One contender at one shape. */
export interface Row extends Summary {
  readonly contender: string;
  /** Where it is drawn: a shape, or a value of the parameter that makes the panels. */
  readonly panel: string;
  /** The value of the parameter that the lines run over. */
  readonly over: string | number | null;
}

/** What a plot divides the figures of a shape by; null: that which they are compared with did not run. */
function unitOf({ relativeTo, metric }: Plot, { figures }: Result): number | null {
  if (relativeTo === undefined) return 1;
  const other = Object.keys(figures).find((name) => relativeTo.contender.test(name));
  return figures[other ?? '']?.[metric]?.median ?? null;
}

/** What a plot shows. */
export function rowsOf(plot: Plot, results: readonly Result[]): Row[] {
  const { bench, metric, over, panels } = plot;
  return results
    .filter((result) => result.bench === bench)
    .flatMap((result) => {
      const { shape, parameters, figures } = result;
      const unit = unitOf(plot, result);
      return Object.entries(figures).flatMap(([contender, { [metric]: figure }]): Row[] => {
        if (figure === undefined || unit === null) return [];
        const { median, min, max } = figure;
        const summary = { median: median / unit, min: min / unit, max: max / unit };
        if (over === undefined) return [{ contender, panel: shape, over: null, ...summary }];
        const panel = panels === undefined ? '' : `${parameters[panels]} ${panels}`;
        return [{ contender, panel, over: parameters[over.parameter] ?? null, ...summary }];
      });
    });
}

function familyOf(contender: string): readonly [RegExp, string] {
  return FAMILIES.find(([pattern]) => pattern.test(contender)) as readonly [RegExp, string];
}

/** Colours and dashes for these contenders, in their order. */
function styles(contenders: readonly string[]) {
  const members = new Map<string, number>();
  const dashes = contenders.map((contender) => {
    const [, colour] = familyOf(contender);
    const member = members.get(colour) ?? 0;
    members.set(colour, member + 1);
    return DASHES[member % DASHES.length] as number[];
  });
  return {
    colour: { domain: [...contenders], range: contenders.map((name) => familyOf(name)[1]) },
    dash: { domain: [...contenders], range: dashes },
  };
}

function unique<T>(values: readonly T[]): T[] {
  return [...new Set(values)];
}

/** A panel for each shape: a bar for each contender with its median, and a line from least to most. */
function bars(plot: Plot, rows: readonly Row[]): TopLevelSpec {
  const { colour } = styles(unique(rows.map(({ contender }) => contender)));
  const { metric, relativeTo } = plot;
  const axis = relativeTo === undefined ? metric : `${metric}, ${relativeTo.title}`;
  return {
    config: CONFIG,
    title: plot.title,
    columns: 2,
    concat: unique(rows.map(({ panel }) => panel)).map((panel) => ({
      title: { text: panel, fontWeight: 'normal', offset: 4 },
      data: { values: rows.filter((row) => row.panel === panel) },
      width: 260,
      height: { step: 22 },
      encoding: { y: { field: 'contender', type: 'nominal', sort: null, title: null } },
      layer: [
        {
          // Pale, so that the line over it can be seen.
          mark: { type: 'bar', opacity: 0.6 },
          encoding: {
            x: { field: 'median', type: 'quantitative', title: axis },
            color: { field: 'contender', type: 'nominal', scale: colour, legend: null },
          },
        },
        {
          mark: { type: 'rule', color: INK },
          encoding: { x: { field: 'min', type: 'quantitative' }, x2: { field: 'max' } },
        },
        {
          mark: { type: 'text', align: 'left', dx: 5, color: INK, fontSize: 12 },
          encoding: {
            x: { field: 'max', type: 'quantitative' },
            text: { field: 'median', type: 'quantitative', format: ',.3r' },
          },
        },
      ],
    })),
  };
}

/** A line for each contender, and a bar at each of its points from least to most. Logarithmic. */
function lines(plot: Plot, rows: readonly Row[]): TopLevelSpec {
  const { colour, dash } = styles(unique(rows.map(({ contender }) => contender)));
  const panels = unique(rows.map(({ panel }) => panel));
  const places = unique(rows.map(({ over }) => Number(over))).sort((a, b) => a - b);
  return {
    config: CONFIG,
    title: plot.title,
    data: { values: [...rows] },
    facet: { column: { field: 'panel', type: 'nominal', sort: panels, title: null } },
    spec: {
      width: 320,
      height: 300,
      encoding: {
        x: {
          field: 'over',
          type: 'quantitative',
          title: plot.over?.title ?? null,
          // log(1 + x), which has a place for 0.
          scale: { type: 'symlog' },
          axis: { values: places, format: ',d', labelOverlap: false },
        },
        color: { field: 'contender', type: 'nominal', scale: colour, title: null },
      },
      layer: [
        {
          mark: 'line',
          encoding: {
            y: {
              field: 'median',
              type: 'quantitative',
              title: plot.metric,
              scale: { type: 'log' },
              axis: { tickCount: 5 },
            },
            strokeDash: { field: 'contender', type: 'nominal', scale: dash, title: null },
          },
        },
        {
          mark: { type: 'circle', opacity: 1 },
          encoding: { y: { field: 'median', type: 'quantitative' } },
        },
        {
          mark: { type: 'rule', strokeWidth: 2 },
          encoding: { y: { field: 'min', type: 'quantitative' }, y2: { field: 'max' } },
        },
      ],
    },
  };
}

export function specOf(plot: Plot, results: readonly Result[]): TopLevelSpec {
  const rows = rowsOf(plot, results);
  return plot.over === undefined ? bars(plot, rows) : lines(plot, rows);
}

/** The plot as SVG. */
export async function renderPlot(plot: Plot, results: readonly Result[]): Promise<string> {
  // Half a second to load, and ES modules: only for who draws.
  const [{ compile }, { parse, View }] = await Promise.all([import('vega-lite'), import('vega')]);
  return new View(parse(compile(specOf(plot, results)).spec)).toSVG();
}
