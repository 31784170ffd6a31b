// close() wherever it can be called, and what is thrown wherever it can be thrown.

import type { Scenario } from '../scenario';

const LISTENER = ['L new', 'L createSocket tcp', 'L bind', 'L listen 5'];
const CALLER = ['c socket tcp', 'c connect L', 'L ready in'];
/** Input, output and an urgent byte at once, for a channel A. */
const EVERYTHING = ['s pair p tcp', 'A new s', 'p send hello', 'p oob !', 'A ready in out pri'];
const PAIRS = ['s pair p unix', 't pair q unix', 'A new s', 'B new t'];
const BOTH_READY = [...PAIRS, 'p send one', 'q send two', 'A ready in out', 'B ready in out'];

/** Once with an ordinary exception, and once with the error of a connection that is gone. */
function raising(step: string, name: string, handler: string, steps: string[]): Scenario {
  return {
    name: `${name} raises (${step})`,
    channels: { A: { wants: 'rw', on: { read: ['A recv 5'], expt: [], [handler]: [step] } } },
    steps: [...EVERYTHING, ...steps, 'A state'],
  };
}

export const CLOSING: Scenario[] = [
  {
    name: 'close in handleRead',
    channels: { A: { wants: 'rw', on: { read: ['A close'] } } },
    steps: [...EVERYTHING, 'pass', 'A state'],
  },
  {
    name: 'close in handleWrite',
    channels: { A: { wants: 'rw', on: { read: ['A recv 5'], write: ['A close'] } } },
    steps: [...EVERYTHING, 'pass', 'A state'],
  },
  {
    name: 'close in handleExpt',
    channels: { A: { wants: 'rw', on: { read: ['A recv 5'], expt: ['A close'] } } },
    steps: [...EVERYTHING, 'pass', 'A state'],
  },
  {
    name: 'close in handleRead, and the peer has closed too',
    channels: { A: { wants: 'r', on: { read: ['A recv 100', 'A close'] } } },
    steps: [
      's pair p unix',
      'A new s',
      'p send bye',
      'p close',
      'A ready in hup',
      'pass',
      'A state',
    ],
  },
  {
    name: 'close in handleConnect',
    channels: { A: { wants: 'rw', on: { connect: ['A close'] } } },
    steps: [
      'l socket tcp',
      'l bind',
      'l listen 5',
      'A new',
      'A createSocket',
      'A connect l',
      'A ready out',
      'pass',
      'A state',
    ],
  },
  {
    name: 'close in handleConnect, within connect',
    channels: { A: { wants: 'rw', on: { connect: ['A close'] } } },
    steps: [
      'l socket unix',
      'l bind',
      'l listen 5',
      'A new',
      'A createSocket unix',
      'A connect l',
      'A state',
      'pass timeout=0',
    ],
  },
  {
    name: 'close in handleAccept',
    channels: { L: { wants: 'r', on: { accept: ['L close'] } } },
    steps: [...LISTENER, ...CALLER, 'pass', 'L state'],
  },
  {
    name: 'close in handleAccepted',
    channels: { L: { wants: 'r', on: { accepted: ['L close', 'A new L.1'] } }, A: { wants: '-' } },
    steps: [...LISTENER, ...CALLER, 'pass', 'L state', 'A state'],
  },
  {
    name: 'close in handleClose, twice',
    channels: { A: { wants: 'r', on: { read: ['A recv 100'], close: ['A close', 'A close'] } } },
    steps: ['s pair p tcp', 'A new s', 'p close', 'A ready in', 'pass', 'A state'],
  },
  {
    name: 'handleClose sends a farewell to a dead peer',
    channels: {
      A: {
        wants: 'r',
        on: { read: ['A recv 100'], 'close#1': ['A send farewell', 'A close'], close: ['A close'] },
      },
    },
    steps: ['s pair p unix', 'A new s', 'p close', 'A ready in', 'A event read', 'A state'],
  },
  {
    name: 'close in handleError',
    channels: { A: { wants: 'r', on: { read: ['raise oops'], error: ['A close'] } } },
    steps: ['s pair p tcp', 'A new s', 'p send hello', 'A ready in', 'pass', 'A state'],
  },
  {
    name: 'close in handleError, and its base after that',
    channels: { A: { wants: 'r', on: { read: ['raise oops'], error: ['A close', 'base'] } } },
    steps: ['s pair p tcp', 'A new s', 'p send hello', 'A ready in', 'pass', 'A state'],
  },
  {
    name: 'close and then raise in handleRead',
    channels: { A: { wants: 'r', on: { read: ['A close', 'raise oops'] } } },
    steps: ['s pair p tcp', 'A new s', 'p send hello', 'A ready in', 'pass', 'A state'],
  },
  {
    name: 'close and then a lost connection in handleRead',
    channels: { A: { wants: 'r', on: { read: ['A close', 'A send late'] } } },
    steps: ['s pair p tcp', 'A new s', 'p send hello', 'A ready in', 'pass', 'A state'],
  },
  {
    name: 'recv and send after close',
    channels: { A: { wants: 'r' } },
    steps: ['s pair p tcp', 'A new s', 'A close', 'A recv 100', 'A send x', 'A state'],
  },
  {
    name: 'close of the next channel in handleRead',
    channels: { A: { wants: 'rw', on: { read: ['A recv 100', 'B close'] } }, B: { wants: 'rw' } },
    steps: [...BOTH_READY, 'pass', 'B state'],
  },
  {
    name: 'close of the channel before in handleRead',
    channels: {
      A: { wants: 'rw', on: { read: ['A recv 100'] } },
      B: { wants: 'rw', on: { read: ['B recv 100', 'A close'] } },
    },
    steps: [...BOTH_READY, 'pass', 'A state'],
  },
  {
    name: 'close of the next channel in handleWrite',
    channels: {
      A: { wants: 'rw', on: { read: ['A recv 100'], write: ['B close'] } },
      B: { wants: 'rw', on: { read: ['B recv 100'] } },
    },
    steps: [...BOTH_READY, 'pass', 'B state'],
  },
  {
    name: 'close of the channel before in handleWrite',
    channels: {
      A: { wants: 'rw', on: { read: ['A recv 100'] } },
      B: { wants: 'rw', on: { read: ['B recv 100'], write: ['A close'] } },
    },
    steps: [...BOTH_READY, 'pass', 'A state', 'pass'],
  },
  {
    name: 'close of a channel before its exceptional event',
    channels: {
      A: { wants: 'r', on: { read: ['A recv 100'], expt: ['B close'] } },
      B: { wants: 'r', on: { read: ['B recv 100'], expt: ['A close'] } },
    },
    steps: [
      's pair p tcp',
      't pair q tcp',
      'A new s',
      'B new t',
      'p oob !',
      'q oob !',
      'A ready pri',
      'B ready pri',
      'pass',
    ],
  },
  {
    name: 'close of everything in handleRead',
    channels: { A: { wants: 'rw', on: { read: ['closeAll'] } }, B: { wants: 'rw' } },
    steps: [...BOTH_READY, 'pass'],
  },
  {
    name: 'delChannel in handleRead',
    channels: { A: { wants: 'rw', on: { read: ['B delChannel'] } }, B: { wants: 'rw' } },
    steps: [...BOTH_READY, 'pass', 'B state'],
  },
  {
    name: 'delChannel of itself in handleRead',
    channels: { A: { wants: 'rw', on: { read: ['A delChannel'] } } },
    steps: [...EVERYTHING, 'pass', 'A state', 'pass timeout=0'],
  },
  {
    name: 'a number is closed and handed out again within the tick',
    channels: {
      A: { wants: 'r', on: { read: ['A recv 100', 'B replacedBy x', 'C new x'] } },
      B: { wants: 'r' },
      C: { wants: 'r', on: { read: ['C recv 100'] } },
    },
    steps: [...BOTH_READY, 'pass'],
  },
  {
    name: 'a channel opens a new socket in its handler',
    channels: {
      A: { wants: 'rw', on: { read: ['A recv 5', 'A close', 'A createSocket', 'A connect l'] } },
    },
    steps: [
      'l socket tcp',
      'l bind',
      'l listen 5',
      ...EVERYTHING,
      'pass',
      'A ready out',
      'pass',
      'A state',
    ],
  },

  // Exceptions.
  raising('raise oops', 'handleRead', 'read', ['pass']),
  raising('fail ECONNRESET', 'handleRead', 'read', ['pass']),
  raising('fail ETIMEDOUT', 'handleRead', 'read', ['pass']),
  raising('raise oops', 'handleWrite', 'write', ['pass']),
  raising('fail EPIPE', 'handleWrite', 'write', ['pass']),
  raising('raise oops', 'handleExpt', 'expt', ['pass']),
  raising('fail EBADF', 'handleExpt', 'expt', ['pass']),
  {
    name: 'handleRead raises, and handleError does not close',
    channels: { A: { wants: 'rw', on: { read: ['raise oops'], error: [] } } },
    steps: [...EVERYTHING, 'pass', 'pass', 'A state'],
  },
  {
    name: 'handleAccept raises',
    channels: { L: { wants: 'r', on: { accept: ['raise oops'] } } },
    steps: [...LISTENER, ...CALLER, 'pass', 'L state'],
  },
  {
    name: 'handleAccepted raises',
    channels: { L: { wants: 'r', on: { accepted: ['raise oops'] } } },
    steps: [...LISTENER, ...CALLER, 'pass', 'L state'],
  },
  {
    name: 'handleClose raises after recv',
    channels: { A: { wants: 'r', on: { read: ['A recv 100'], 'close#1': ['raise oops'] } } },
    steps: ['s pair p tcp', 'A new s', 'p close', 'A ready in', 'pass', 'A state'],
  },
  {
    name: 'handleClose raises in the loop',
    channels: { A: { wants: 'w', on: { write: ['A wants w'], 'close#1': ['raise oops'] } } },
    steps: ['s pair p unix', 'A new s', 'p close', 'A ready in hup', 'pass', 'A state'],
  },
  {
    name: 'handleClose always raises',
    channels: { A: { wants: 'r', on: { read: ['raise first'], close: ['raise second'] } } },
    steps: ['s pair p tcp', 'A new s', 'p send hello', 'A ready in', 'pass', 'A state'],
  },
  {
    name: 'handleError raises',
    channels: { A: { wants: 'r', on: { read: ['raise first'], error: ['raise second'] } } },
    steps: ['s pair p tcp', 'A new s', 'p send hello', 'A ready in', 'pass', 'A state'],
  },
  {
    name: 'the close of a handleClose raises',
    channels: { A: { wants: 'r', on: { read: ['A recv 100'], 'close()#1': ['fail EIO'] } } },
    steps: ['s pair p tcp', 'A new s', 'p close', 'A ready in', 'pass', 'A state'],
  },
  {
    name: 'the repr raises while an error is told',
    channels: { A: { wants: 'r', on: { read: ['raise oops'], 'repr()': ['raise shy'] } } },
    steps: ['s pair p tcp', 'A new s', 'p send hello', 'A ready in', 'pass', 'A state'],
  },
  ...['read', 'write', 'expt', 'close', 'error'].map(
    (handler): Scenario => ({
      name: `ExitNow in ${handler}`,
      channels: {
        A: {
          wants: handler === 'expt' ? 'rw' : 'r',
          on: { read: handler === 'error' ? ['raise oops'] : ['A recv 100'], [handler]: ['exit'] },
        },
        B: { wants: 'r', on: { read: ['B recv 100'] } },
      },
      steps: [
        's pair p tcp',
        't pair q tcp',
        'A new s',
        'B new t',
        ...(handler === 'write' ? ['A wants rw', 'A ready out'] : []),
        ...(handler === 'expt' ? ['p oob !', 'A ready pri'] : []),
        ...(handler === 'close' ? ['p close', 'A ready in'] : []),
        ...(['read', 'error'].includes(handler) ? ['p send hello', 'A ready in'] : []),
        'q send hello',
        'B ready in',
        'pass',
        'A state',
        'pass',
      ],
    }),
  ),
  {
    name: 'ExitNow in handleAccepted',
    channels: { L: { wants: 'r', on: { accepted: ['exit'] } } },
    steps: [...LISTENER, ...CALLER, 'pass', 'L state'],
  },
  {
    name: 'ExitNow in handleConnect, within connect',
    channels: { A: { wants: 'r', on: { connect: ['exit'] } } },
    steps: [
      'l socket unix',
      'l bind',
      'l listen 5',
      'A new',
      'A createSocket unix',
      'A connect l',
      'A state',
    ],
  },
  {
    name: 'closeAll',
    channels: { A: { wants: '-' }, B: { wants: '-' } },
    steps: [...PAIRS, 'closeAll', 'pass', 'A state', 'B state'],
  },
  ...['fail EBADF', 'fail EIO', 'raise oops', 'exit'].flatMap((step): Scenario[] =>
    ['closeAll', 'closeAll ignore'].map((close) => ({
      name: `${close}, and a close() that throws (${step})`,
      channels: { A: { wants: '-', on: { 'close()': [step] } }, B: { wants: '-' } },
      steps: [...PAIRS, close, 'pass timeout=0', 'A state', 'B state'],
    })),
  ),
  {
    name: 'closeAll of a map of its own',
    channels: { A: { wants: '-', map: 'm' }, B: { wants: '-' } },
    steps: [...PAIRS, 'closeAll map=m', 'pass timeout=0', 'A state', 'B state'],
  },
];
