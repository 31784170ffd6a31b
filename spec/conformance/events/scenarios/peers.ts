// What the other end does: sends, half-closes, closes, resets, dies, calls.

import type { ChannelDefinition, Scenario } from '../scenario';

const READER: ChannelDefinition = { wants: 'r', on: { read: ['A recv 8192'] } };
const BOTH: ChannelDefinition = { wants: 'rw', on: { read: ['A recv 8192'] } };

const LISTENER = ['L new', 'L createSocket tcp', 'L bind', 'L listen 5'];
const CALLER = ['c socket tcp', 'c connect L', 'L ready in'];

export const PEERS: Scenario[] = [
  ...['tcp', 'unix'].flatMap((kind): Scenario[] => [
    {
      name: `the peer sends, ${kind}`,
      channels: { A: BOTH },
      steps: [
        `s pair p ${kind}`,
        'A new s',
        'p send hello',
        'A ready in',
        'pass',
        'pass',
        'p send again',
        'A ready in',
        'pass',
      ],
    },
    {
      name: `the peer closes, read only, ${kind}`,
      channels: { A: READER },
      steps: [`s pair p ${kind}`, 'A new s', 'p close', 'A ready in', 'pass', 'A state'],
    },
    {
      name: `the peer closes, read and write, ${kind}`,
      channels: { A: BOTH },
      steps: [`s pair p ${kind}`, 'A new s', 'p close', 'A ready in out', 'pass', 'A state'],
    },
    {
      name: `the peer closes, write only, ${kind}`,
      channels: { A: { wants: 'w', on: { write: ['A send x'] } } },
      steps: [`s pair p ${kind}`, 'A new s', 'p close', 'A ready in out', 'pass', 'pass timeout=0'],
    },
    {
      name: `the peer closes, watched for nothing, ${kind}`,
      channels: { A: { wants: '-' } },
      steps: [`s pair p ${kind}`, 'A new s', 'p close', 'A ready in', 'pass timeout=0'],
    },
    {
      name: `the peer sends and closes, ${kind}`,
      channels: { A: READER },
      steps: [
        `s pair p ${kind}`,
        'A new s',
        'p send hello',
        'p close',
        'A ready in',
        'pass',
        'pass',
      ],
    },
    {
      name: `the peer sends much and closes, ${kind}`,
      channels: { A: READER },
      steps: [
        `s pair p ${kind}`,
        'A new s',
        'p big 20000',
        'p close',
        'A ready in',
        'pass',
        'pass',
        'pass',
        'pass',
      ],
    },
    {
      name: `the peer half-closes, ${kind}`,
      channels: { A: { ...READER, on: { read: ['A recv 100', 'A send late'] } } },
      steps: [`s pair p ${kind}`, 'A new s', 'p shutdown', 'A ready in', 'pass', 'A state'],
    },
    {
      name: `the peer half-closes after a request, ${kind}`,
      channels: { A: { ...READER, on: { read: ['A recv 100', 'A send answer'] } } },
      steps: [
        `s pair p ${kind}`,
        'A new s',
        'p send request',
        'p shutdown',
        'A ready in',
        'pass',
        'p recv 100',
        'pass',
        'p recv 100',
      ],
    },
    {
      name: `the peer dies with unread data, ${kind}`,
      channels: { A: READER },
      steps: [
        `s pair p ${kind}`,
        'A new s',
        'A send unread',
        'p ready in',
        'p close',
        'A ready err in',
        'pass',
        'A state',
      ],
    },
    {
      name: `the peer dies with unread data, read and write, ${kind}`,
      channels: { A: BOTH },
      steps: [
        `s pair p ${kind}`,
        'A new s',
        'A send unread',
        'p ready in',
        'p close',
        'A ready err in out',
        'pass',
        'A state',
      ],
    },
    {
      name: `send to a dead peer, ${kind}`,
      channels: { A: { wants: '-' } },
      steps: [
        `s pair p ${kind}`,
        'A new s',
        'p close',
        'A ready in',
        'A send one',
        // TCP learns of it by the answer to what is sent.
        ...(kind === 'tcp' ? ['A ready err hup'] : []),
        'A send two',
        'A send three',
        'A state',
      ],
    },
    {
      name: `a reader that reads nothing when the peer closes, ${kind}`,
      channels: { A: { wants: 'r', on: { read: [] } } },
      steps: [`s pair p ${kind}`, 'A new s', 'p close', 'A ready in', 'pass', 'pass', 'A state'],
    },
    {
      name: `handleClose that does not close, ${kind}`,
      channels: { A: { wants: 'r', on: { read: ['A recv 100'], close: [] } } },
      steps: [`s pair p ${kind}`, 'A new s', 'p close', 'A ready in', 'pass', 'pass', 'A state'],
    },
    {
      name: `both directions are down, ${kind}`,
      channels: { A: BOTH },
      steps: [
        `s pair p ${kind}`,
        'A new s',
        'A shutdown',
        'p shutdown',
        'A ready in out hup',
        'pass',
        'A state',
      ],
    },
    {
      name: `both directions are down, watched for output, ${kind}`,
      channels: { A: { wants: 'w', on: { write: ['A send x'] } } },
      steps: [`s pair p ${kind}`, 'A new s', 'A shutdown', 'p shutdown', 'A ready out hup', 'pass'],
    },
  ]),
  ...['r', 'w', 'rw', '-'].map(
    (wants): Scenario => ({
      name: `the peer resets, watched for ${wants}`,
      channels: { A: { wants, on: { read: ['A recv 100'], write: ['A send x'] } } },
      steps: ['s pair p tcp', 'A new s', 'p reset', 'A ready err', 'pass timeout=0', 'A state'],
    }),
  ),
  {
    name: 'the peer sends and resets',
    channels: { A: READER },
    steps: ['s pair p tcp', 'A new s', 'p send hello', 'p reset', 'A ready err', 'pass', 'A state'],
  },
  {
    name: 'the peer resets, and nothing is read, written or closed',
    channels: { A: { wants: 'rw', on: { read: [], write: [], close: [] } } },
    steps: [
      's pair p tcp',
      'A new s',
      'p reset',
      'A ready err',
      'pass timeout=0',
      'pass timeout=0',
    ],
  },
  {
    name: 'recv when there is nothing',
    channels: { A: { wants: 'w', on: { write: ['A recv 100'] } } },
    steps: ['s pair p tcp', 'A new s', 'pass', 'A state'],
  },
  {
    name: 'send when the kernel is full',
    channels: { A: { wants: '-' } },
    steps: ['s pair p unix', 'A new s', 'A big 10000000', 'A big 10000000', 'A state'],
  },
  {
    name: 'a urgent byte alone',
    channels: { A: { wants: 'r', on: { read: ['A recv 100'], expt: ['A recvOob'] } } },
    steps: ['s pair p tcp', 'A new s', 'p oob !', 'A ready pri', 'pass', 'pass timeout=0'],
  },
  {
    name: 'an urgent byte beside data',
    channels: { A: { wants: 'rw', on: { read: ['A recv 100'], expt: ['A recvOob'] } } },
    steps: [
      's pair p tcp',
      'A new s',
      'p send hello',
      'p oob !',
      'A ready in pri out',
      'pass',
      'pass',
    ],
  },
  {
    name: 'an urgent byte for a writer',
    channels: { A: { wants: 'w', on: { expt: ['A recvOob'] } } },
    steps: ['s pair p tcp', 'A new s', 'p oob !', 'A ready pri out', 'pass'],
  },
  {
    name: 'an urgent byte that nobody takes',
    channels: { A: { wants: 'r' } },
    steps: [
      's pair p tcp',
      'A new s',
      'A ignore',
      'p oob !',
      'A ready pri',
      'pass',
      'pass timeout=50',
    ],
  },
  {
    name: 'an urgent byte, watched for nothing',
    channels: { A: { wants: '-', on: { expt: ['A recvOob'] } } },
    steps: ['s pair p tcp', 'A new s', 'p oob !', 'A ready pri', 'pass timeout=0', 'A event expt'],
  },
  {
    name: 'an exceptional event on a socket with an error',
    channels: { A: { wants: '-' } },
    steps: ['s pair p tcp', 'A new s', 'p reset', 'A ready err', 'A event expt', 'A state'],
  },

  // Listeners.
  {
    name: 'a caller that nobody takes',
    channels: { L: { wants: 'r' } },
    steps: [...LISTENER, 'L repr', 'L ignore', ...CALLER, 'pass', 'L state'],
  },
  {
    name: 'a caller of a Unix listener',
    channels: { L: { wants: 'r', on: { accepted: ['A new L.1'] } }, A: { wants: '-' } },
    steps: [
      'L new',
      'L createSocket unix',
      'L bind',
      'L listen 5',
      'c socket unix',
      'c connect L',
      'L ready in',
      'pass',
      'A state',
    ],
  },
  {
    name: 'two callers cost two passes',
    channels: { L: { wants: 'r', on: { accepted: [] } } },
    steps: [
      ...LISTENER,
      ...CALLER,
      'd socket tcp',
      'd connect L',
      'd ready out',
      'pass',
      'pass timeout=50',
      'pass timeout=0',
    ],
  },
  {
    name: 'a caller becomes a channel',
    channels: { L: { wants: 'r', on: { accepted: ['A new L.1'] } }, A: BOTH },
    steps: [...LISTENER, ...CALLER, 'c send hello', 'pass', 'A ready in out', 'pass', 'A repr'],
  },
  {
    name: 'a listener that is writable, and idle',
    channels: { L: { wants: 'rw' } },
    steps: [...LISTENER, 'pass timeout=0', 'pass timeout=0'],
  },
  {
    name: 'a listener that is writable only',
    channels: { L: { wants: 'w' } },
    steps: [...LISTENER, ...CALLER, 'pass timeout=0'],
  },
  {
    name: 'a listener that is told to write',
    channels: { L: { wants: '-' } },
    steps: [...LISTENER, 'L event write', 'L event expt', 'pass timeout=0'],
  },
  {
    name: 'a listener that does not accept is asked again',
    channels: { L: { wants: 'r', on: { 'accept#1': [] } } },
    steps: [...LISTENER, ...CALLER, 'pass', 'pass', 'pass timeout=0'],
  },
  {
    name: 'accept without a caller',
    channels: { L: { wants: '-' } },
    steps: [...LISTENER, 'L accept', 'L event read', ...CALLER, 'L accept', 'L accept'],
  },
  {
    name: 'a caller who has gone before he is accepted',
    channels: { L: { wants: 'r', on: { accepted: ['A new L.1', 'A state'] } }, A: READER },
    steps: [...LISTENER, ...CALLER, 'c close', 'pass', 'A ready in', 'pass'],
  },
  {
    name: 'a caller who has reset before he is accepted',
    channels: { L: { wants: 'r', on: { accepted: ['A new L.1', 'A state'] } }, A: READER },
    steps: [...LISTENER, ...CALLER, 'c reset', 'pass', 'A ready in', 'pass'],
  },
  {
    name: 'an accept that is aborted',
    channels: { L: { wants: 'r', on: { accepted: [] } } },
    steps: [...LISTENER, ...CALLER, 'L failAccept ECONNABORTED', 'pass', 'pass'],
  },
  {
    name: 'an accept without a descriptor',
    channels: { L: { wants: 'r', on: { accepted: [] } } },
    steps: [...LISTENER, ...CALLER, 'L failAccept EMFILE', 'pass', 'pass'],
  },
  {
    name: 'an accept that fails for another reason',
    channels: { L: { wants: 'r', on: { accepted: [] } } },
    steps: [...LISTENER, ...CALLER, 'L failAccept EINVAL', 'pass', 'L state'],
  },
];
