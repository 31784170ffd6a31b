// A target: one figure against another of the same run.

import type { FigureName, Target } from '../harness';

export function target(
  of: FigureName,
  bound: Target['bound'],
  ratio: number,
  against: FigureName,
): Target {
  const other = of.shape === against.shape ? against.contender : `that of ${against.shape}`;
  return { words: `${bound} ${ratio} x ${other}`, of, bound, ratio, against };
}
