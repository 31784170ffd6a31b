// Parsing: what it costs to cut input into records, when receiving it costs nothing.
//
//   npm run bench -- parsing
//
// Beside AsyncChat stand a floor, which only looks for terminators, and the split that one writes
// first, which gives strings. What AsyncChat does beyond them is what a chat is for: the terminator is
// asked for afresh at every record, it may lie across two reads, and what a program is given is its to
// keep, which is a copy of each small piece.

import type { Bench, Contender, Shape } from './harness';
import { node, python } from './inside';

const METRIC = 'GB per CPU second';

const bench: Bench = {
  name: 'parsing',
  title: 'Parsing',
  about:
    'Prepared reads of 64 KiB go through an AsyncChat whose recv is overridden: no kernel, only the ' +
    'search for terminators and the calls of the handlers. Without a terminator no byte is examined, ' +
    'and the figure is the cost of the calls.',

  async shapes(seconds) {
    const share = seconds / 5;
    const shape = (
      records: string,
      kind: 'lines' | 'counted' | 'whole',
      length: number,
      others: Readonly<Record<string, string>>,
    ): Shape => {
      const ours = (name: string, how: string): Contender =>
        node(name, 'parsing.cjs', how, kind, length, share);
      return {
        name: `parsing, ${records}`,
        parameters: { read: '64 KiB', seconds: share },
        metrics: [{ name: METRIC, better: 'higher' }],
        contenders: [
          ours('asyncore AsyncChat', 'chat'),
          ...Object.entries(others).map(([name, how]) => ours(name, how)),
          python('CPython asynchat', 'parsing.py', kind, length, share),
        ],
        rounds: 3,
      };
    };
    const lines = { 'Buffer indexOf only': 'indexOf', 'string split': 'split' };
    return [
      shape('lines of 64 B', 'lines', 64, lines),
      shape('lines of 1,024 B', 'lines', 1024, lines),
      shape('counted records of 1,000 B', 'counted', 1000, { 'Buffer subarray only': 'subarray' }),
      shape('no terminator', 'whole', 0, {}),
    ];
  },
};

export default bench;
