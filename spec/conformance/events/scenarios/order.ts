// The loop: what is asked, in which order is delivered, how often and how long.

import type { Scenario } from '../scenario';

const PAIRS = ['s pair p unix', 't pair q unix', 'A new s', 'B new t'];
const BOTH_READY = [...PAIRS, 'q send two', 'p send one', 'A ready in out', 'B ready in out'];
const RECEIVE = { A: { wants: 'rw', on: { read: ['A recv 100'] } } };
const RECEIVE_BOTH = { ...RECEIVE, B: { wants: 'rw', on: { read: ['B recv 100'] } } };

export const ORDER: Scenario[] = [
  {
    name: 'two channels, ready for everything',
    channels: RECEIVE_BOTH,
    steps: [...BOTH_READY, 'pass', 'pass'],
  },
  {
    name: 'three channels of which the last is the first to be ready',
    channels: {
      A: { wants: 'r', on: { read: ['A recv 100'] } },
      B: { wants: 'r', on: { read: ['B recv 100'] } },
      C: { wants: 'r', on: { read: ['C recv 100'] } },
    },
    steps: [
      's pair p unix',
      't pair q unix',
      'u pair v unix',
      'C new u',
      'A new s',
      'B new t',
      'q send two',
      'B ready in',
      'p send one',
      'A ready in',
      'v send three',
      'C ready in',
      'pass',
    ],
  },
  {
    name: 'input, output and urgent bytes of two channels',
    channels: {
      A: { wants: 'rw', on: { read: ['A recv 3'], expt: [] } },
      B: { wants: 'rw', on: { read: ['B recv 3'], expt: [] } },
    },
    steps: [
      's pair p tcp',
      't pair q tcp',
      'A new s',
      'B new t',
      'p send one',
      'p oob !',
      'q send two',
      'q oob !',
      'A ready in out pri',
      'B ready in out pri',
      'pass',
    ],
  },
  {
    name: 'a channel that leaves and comes back goes last',
    channels: RECEIVE_BOTH,
    steps: [...BOTH_READY, 'A delChannel', 'A setSocket s', 'pass'],
  },
  {
    name: 'a channel that is added again keeps its place',
    channels: RECEIVE_BOTH,
    steps: [...BOTH_READY, 'A addChannel', 'pass'],
  },
  {
    name: 'a channel that is added in a handler waits for the next tick',
    channels: {
      A: { wants: 'rw', on: { 'read#1': ['A recv 100', 'B new t'] } },
      B: { wants: 'rw', on: { read: ['B recv 100'] } },
    },
    steps: [
      's pair p unix',
      't pair q unix',
      'A new s',
      'p send one',
      'q send two',
      'A ready in out',
      't ready in out',
      'pass',
      'pass',
    ],
  },
  {
    name: 'a channel in two maps',
    channels: RECEIVE,
    steps: [
      's pair p unix',
      'A new s',
      'A addChannel m',
      'p send one',
      'A ready in out',
      'pass map=m',
      'pass',
      'A delChannel m',
      'pass timeout=0',
    ],
  },
  {
    name: 'a pass within a handler',
    channels: {
      A: { wants: 'r', on: { read: ['A recv 100', 'poll'] } },
      B: { wants: 'r', on: { read: ['B recv 100'] } },
    },
    steps: [...BOTH_READY, 'pass', 'pass timeout=0'],
  },
  {
    name: 'a pass within a handler that has read nothing yet',
    channels: {
      A: { wants: 'r', on: { 'read#1': ['poll', 'A recv 100'], read: ['A recv 100'] } },
    },
    steps: ['s pair p unix', 'A new s', 'p send one', 'A ready in', 'p send two', 'pass'],
  },

  // Predicates.
  {
    name: 'the predicates are asked in map order',
    channels: RECEIVE_BOTH,
    predicates: true,
    steps: [...BOTH_READY, 'pass timeout=0'],
  },
  {
    name: 'the predicates of a listener are asked',
    channels: { L: { wants: 'rw' } },
    predicates: true,
    steps: ['L new', 'L createSocket tcp', 'L bind', 'L listen 5', 'pass timeout=0'],
  },
  {
    name: 'predicates toggle between ticks',
    channels: RECEIVE,
    predicates: true,
    steps: [
      's pair p unix',
      'A new s',
      'p send one',
      'A ready in out',
      'A wants -',
      'pass timeout=0',
      'A wants w',
      'pass timeout=0',
      'A wants r',
      'pass timeout=0',
      'A wants -',
      'pass timeout=0',
      'A wants rw',
      'pass timeout=0',
    ],
  },
  {
    name: 'predicates toggle in handlers',
    channels: {
      A: { wants: 'r', on: { read: ['A recv 100', 'B wants r', 'A wants -'] } },
      B: { wants: '-', on: { read: ['B recv 100', 'A wants r', 'B wants -'] } },
    },
    steps: [...BOTH_READY, 'pass timeout=0', 'pass timeout=0', 'pass timeout=0'],
  },
  {
    name: 'a predicate that changes its mind during the tick counts as it was asked',
    channels: {
      A: { wants: 'rw', on: { read: ['A recv 100', 'B wants -'] } },
      B: { wants: 'rw', on: { read: ['B recv 100'] } },
    },
    steps: [...BOTH_READY, 'pass timeout=0', 'pass timeout=0'],
  },
  {
    name: 'a predicate adds a channel',
    channels: {
      A: { wants: 'r', on: { 'readable()#1': ['B new t'], read: ['A recv 100'] } },
      B: { wants: 'r', on: { read: ['B recv 100'] } },
    },
    steps: [
      's pair p unix',
      't pair q unix',
      'A new s',
      'p send one',
      'q send two',
      'A ready in',
      't ready in',
      'pass',
      'pass',
    ],
  },
  ...['readable()', 'writable()'].flatMap((predicate): Scenario[] => [
    {
      name: `${predicate} raises`,
      channels: { A: { wants: 'r', on: { [predicate]: ['raise oops'] } }, B: RECEIVE_BOTH.B },
      steps: [...BOTH_READY, 'pass timeout=0'],
    },
    {
      name: `${predicate} raises ExitNow`,
      channels: { A: { wants: 'r', on: { [predicate]: ['exit'] } }, B: RECEIVE_BOTH.B },
      steps: [...BOTH_READY, 'pass timeout=0'],
    },
    {
      name: `${predicate} closes its channel`,
      channels: { A: { wants: 'r', on: { [predicate]: ['A close'] } }, B: RECEIVE_BOTH.B },
      steps: [...BOTH_READY, 'pass timeout=0'],
    },
    {
      name: `${predicate} closes another channel`,
      channels: { A: RECEIVE.A, B: { wants: 'r', on: { [predicate]: ['A close'] } } },
      steps: [...BOTH_READY, 'pass timeout=0'],
    },
    {
      name: `${predicate} closes a channel that has not been asked yet`,
      channels: {
        A: { wants: 'r', on: { [predicate]: ['B close'], read: ['A recv 100'] } },
        B: { wants: 'r' },
      },
      steps: [...BOTH_READY, 'pass timeout=0'],
    },
  ]),
  {
    name: 'a socket is closed behind the back of its channel',
    channels: { A: RECEIVE.A, B: RECEIVE_BOTH.B },
    steps: [...BOTH_READY, 'A closeSocket', 'pass timeout=0', 'A state', 'pass timeout=0'],
  },

  // How often, and how long.
  ...['0', '-1', '-1000'].map(
    (count): Scenario => ({
      name: `a loop of ${count} passes`,
      channels: RECEIVE_BOTH,
      steps: [...BOTH_READY, `pass count=${count}`],
    }),
  ),
  {
    name: 'a loop of 3 passes',
    channels: RECEIVE_BOTH,
    steps: [...BOTH_READY, 'pass count=3'],
  },
  {
    name: 'a loop of 3 passes of which the first empties the map',
    channels: { A: { wants: 'r', on: { read: ['A close'] } } },
    steps: ['s pair p unix', 'A new s', 'p send one', 'A ready in', 'pass count=3'],
  },
  {
    name: 'a loop until the map is empty',
    channels: { A: { wants: 'r', on: { read: ['A recv 1'] } } },
    steps: ['s pair p tcp', 'A new s', 'p send one', 'p close', 'A ready in', 'pass count=all'],
  },
  {
    name: 'a pass in vain counts',
    channels: { A: { wants: 'r' } },
    steps: ['s pair p unix', 'A new s', 'pass count=2 timeout=20 atLeast=40'],
  },
  {
    name: 'a pass over channels that want nothing waits',
    channels: { A: { wants: '-' } },
    steps: ['s pair p unix', 'A new s', 'pass timeout=30 atLeast=30'],
  },
  {
    name: 'an empty map does not wait',
    channels: {},
    steps: ['pass timeout=2000 atLeast=1000', 'pass count=all', 'pass map=m count=all', 'closeAll'],
  },
  {
    name: 'a timeout under a millisecond',
    channels: { A: { wants: '-' } },
    steps: ['s pair p unix', 'A new s', 'pass count=100 timeout=0.9 atLeast=80'],
  },
  {
    name: 'a negative timeout',
    channels: RECEIVE,
    steps: ['s pair p unix', 'A new s', 'p send one', 'A ready in out', 'pass timeout=-5'],
  },
  {
    name: 'a timeout of for ever ends with the first event',
    channels: RECEIVE,
    steps: ['s pair p unix', 'A new s', 'p send one', 'A ready in out', 'pass timeout=forever'],
  },
  {
    name: 'maps of their own',
    channels: {
      A: { wants: 'r', map: 'm', on: { read: ['A recv 100'] } },
      B: { wants: 'r', map: 'n', on: { read: ['B recv 100'] } },
    },
    steps: [...BOTH_READY, 'pass timeout=0', 'pass map=m', 'pass map=n', 'B close', 'pass map=n'],
  },
];
