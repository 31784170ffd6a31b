// What a bench is made of, and how one is run.
//
// A bench is a list of shapes; a shape is one load (its parameters) and the contenders that bear it.
// Within a round the contenders take turns, A B C, A B C, so that the drift of a shared machine falls
// on all alike, and what is reported is the median of the rounds, with the least and the most. Compare
// figures of one shape in one run; nothing else is comparable.
//
// A contender checks its own work (every byte that was echoed is counted and compared) and throws
// when anything is amiss: a wrong result is no figure.

/** What is measured, and how to read it. */
export interface Metric {
  /** With its unit: `CPU µs/line`. */
  readonly name: string;
  readonly better: 'lower' | 'higher';
}

/** One measurement, by name of the metric. One that has no meaning for the contender is left out. */
export type Figures = Readonly<Record<string, number>>;

export interface Contender {
  readonly name: string;
  /** Why it cannot run on this machine: a visible skip. */
  readonly missing?: string;
  /** Bears the load once, in a process of its own where that matters. */
  measure(): Promise<Figures>;
}

export interface Shape {
  /** `line echo, 50 connections, 1 in flight`: what targets and docs refer to. */
  readonly name: string;
  readonly parameters: Readonly<Record<string, string | number>>;
  readonly metrics: readonly Metric[];
  readonly contenders: readonly Contender[];
  readonly rounds: number;
}

/** A promise of docs/performance.md: a figure, as a ratio to another one of the same run. */
export interface Target {
  /** `at most 1.2 x C epoll`: what the table says. */
  readonly words: string;
  readonly of: FigureName;
  readonly against: FigureName | number;
  readonly ratio: number;
  readonly bound: 'at most' | 'at least';
}

export interface FigureName {
  readonly shape: string;
  readonly contender: string;
  readonly metric: string;
}

export interface Bench {
  /** As on the command line: `npm run bench -- line-echo`. */
  readonly name: string;
  readonly title: string;
  /** What it shows and how to read it: a sentence or two for docs/performance.md. */
  readonly about: string;
  readonly targets?: readonly Target[];
  /** @param seconds how long one measurement of a load lasts */
  shapes(seconds: number): Promise<readonly Shape[]>;
}

export interface Summary {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

/** What a shape came to: contender -> metric -> summary. */
export interface Result {
  readonly bench: string;
  readonly shape: string;
  readonly parameters: Readonly<Record<string, string | number>>;
  readonly metrics: readonly Metric[];
  readonly rounds: number;
  readonly figures: Readonly<Record<string, Readonly<Record<string, Summary>>>>;
  /** Contender -> why it did not run. */
  readonly missing: Readonly<Record<string, string>>;
}

export function summarize(values: readonly number[]): Summary {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  const median =
    sorted.length % 2 === 1
      ? (sorted[Math.floor(middle)] as number)
      : ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2;
  return { median, min: sorted[0] as number, max: sorted.at(-1) as number };
}

/** Runs one shape: the contenders in turn, round by round. */
export async function runShape(
  bench: string,
  shape: Shape,
  progress: (what: string) => void,
): Promise<Result> {
  const present = shape.contenders.filter(({ missing }) => missing === undefined);
  const samples = new Map(present.map(({ name }) => [name, new Map<string, number[]>()]));
  for (let round = 1; round <= shape.rounds; round += 1) {
    for (const contender of present) {
      progress(`${shape.name}: round ${round} of ${shape.rounds}, ${contender.name}`);
      const own = samples.get(contender.name) as Map<string, number[]>;
      for (const [metric, value] of await measure(shape, contender)) {
        own.set(metric, [...(own.get(metric) ?? []), value]);
      }
    }
  }
  const figures: Record<string, Record<string, Summary>> = {};
  for (const [name, own] of samples) {
    const entries = [...own].map(([metric, values]) => [metric, summarize(values)] as const);
    figures[name] = Object.fromEntries(entries);
  }
  const missing: Record<string, string> = {};
  for (const contender of shape.contenders) {
    if (contender.missing !== undefined) missing[contender.name] = contender.missing;
  }
  const { name, parameters, metrics, rounds } = shape;
  return { bench, shape: name, parameters, metrics, rounds, figures, missing };
}

/** What the contender measured, or an error that says whose it is. */
async function measure(shape: Shape, contender: Contender): Promise<[string, number][]> {
  try {
    const figures = Object.entries(await contender.measure());
    for (const [metric, value] of figures) {
      if (!Number.isFinite(value)) throw new Error(`${metric} is ${value}`);
      if (!shape.metrics.some(({ name }) => name === metric)) {
        throw new Error(`${metric} is not a metric of this shape`);
      }
    }
    return figures;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new Error(`${shape.name}, ${contender.name}: ${reason}`, { cause: error });
  }
}
