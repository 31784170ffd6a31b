// What a scenario is: channels, what each does when it is called, and what happens around them.
//
// It is data, so that two small interpreters play it, scenario_driver.py on CPython's asyncore and
// runner.ts on this library, and each writes down a trace: every handler with the flags at its call,
// what was received and raised, what was printed, and the map after each pass.
//
// A step is a line of words: a subject and a verb, as in `A connect L`, or one of
//
//   pass [timeout=ms] [count=n] [map=m] [atLeast=ms]   loop(); one pass that waits up to 4 s, unless
//                                                      said otherwise, and then the map is shown
//   raise text · fail CODE · exit                      throws; an error of the system; ExitNow
//   poll                                               a pass that only looks, from within a handler
//   closeAll [ignore] [map=m]
//
// Other subjects are sockets, pipes and files that the scenario opens itself (`s pair p tcp`), and
// the channels; the verbs are the methods of both runners (`thing…` and `channel…`). The socket of
// the first caller of a listener L is called `L.1`.
//
// Nothing is left to chance: a step `s ready in hup` waits until the kernel has all of that to tell,
// so that the pass after it finds one definite state of the world.

/** What a channel does when it is called, by handler (`read`) or method (`close()`, `repr()`). */
export type Reactions = {
  /**
   * Steps; `base` stands for what the base class does. Without an entry, that is all that is done.
   * `read#1` is for the first call of it, `read` for the others.
   */
  [called: string]: string[];
};

export interface ChannelDefinition {
  kind?: 'plain' | 'withSend' | 'file';
  /** What its predicates say: letters of `rw`, `-` for neither. Default: they are not overridden. */
  wants?: string;
  on?: Reactions;
  /** The name of a map of its own. */
  map?: string;
}

/** A delivery order of the loop. */
export type Order = 'select' | 'poll';
export const ORDERS: readonly Order[] = ['select', 'poll'];

export type Traces = Record<Order, string[]>;

/** A deliberate deviation, with what happens here instead: the trace, as text. */
export type Deviation =
  /** In one order, or differently in both; CPython's trace holds in the one that is not given. */
  | { [order in Order]?: string }
  /** The same in both. */
  | { both: string };

/** A scenario; scenarios/deviations.ts tells whether it deviates from CPython on purpose. */
export interface Scenario {
  name: string;
  channels: Record<string, ChannelDefinition>;
  steps: string[];
  /** Whether the calls of predicates are written down, too. */
  predicates?: boolean;
}

/** A trace as scenarios write it: a line for each line, indented as the source is. */
export function linesOf(text: string): string[] {
  return text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
}
