// The suites of conformance.

import { events } from './events/suite';
import type { Suite } from './harness/suite';
import { input } from './input/suite';
import { output } from './output/suite';

/** A suite, whatever its scripts and results are: for code that looks at neither. */
type AnySuite = Suite<object, unknown, unknown>;

export const SUITES = [events, input, output] as unknown as readonly AnySuite[];
