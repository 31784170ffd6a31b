// Bulk: how much a second of the CPU moves through one connection.
//
//   npm run bench -- bulk

import type { Bench, Shape } from './harness';
import { BULK_METRICS, bulkFigures, bulkParameters } from './support/bulk';
import { findLoad, underLoad } from './support/load';
import { inC, onNode, onPython, type Peer } from './support/peers';
import { target } from './support/target';

/** In MiB. */
const BODY = 64;

const FETCH = 'bulk, bodies of 64 MiB';
const ECHO = 'bulk, each way';

const moved = (shape: string, contender: string) => ({ shape, contender, metric: 'MB/CPU s' });

const bench: Bench = {
  name: 'bulk',
  title: 'Bulk',
  about:
    'One connection. Bodies: the server answers each line with 64 MiB from its memory. Each way: the ' +
    'server sends back what it receives, so as much flows in as out; a byte counts once. The amount ' +
    'is as many whole bodies as the given time has room for, and every byte is compared. Most of the ' +
    'cost is the kernel’s copying, which is the same for all contenders.',
  targets: [
    target(
      moved(FETCH, 'asyncore pushes of 64 KiB'),
      'at least',
      0.9,
      moved(FETCH, 'C sends of 64 KiB'),
    ),
    target(moved(ECHO, 'asyncore'), 'at least', 0.7, moved(ECHO, 'C epoll')),
    target(moved(ECHO, 'asyncore'), 'at least', 0.9, moved(ECHO, 'C epoll')),
    // "Within 1.1 x" of the cost.
    target(
      moved(FETCH, 'asyncore pushWithProducer'),
      'at least',
      0.91,
      moved(FETCH, 'asyncore push'),
    ),
  ],

  async shapes(seconds) {
    const load = await findLoad('bulk');
    // A body takes far less: there are several in half the time, too.
    const half = seconds / 2;
    const shape = (name: string, what: 'fetch' | 'echo', peers: readonly Peer[]): Shape => ({
      name,
      parameters: bulkParameters(BODY, half, load),
      metrics: BULK_METRICS,
      contenders: peers.map((peer) => underLoad(peer, load, [half, what, BODY], bulkFigures(BODY))),
      rounds: 5,
    });
    return [
      shape(FETCH, 'fetch', [
        await inC('C sends of 64 KiB', 'epoll-bulk'),
        onNode('asyncore pushes of 64 KiB', 'asyncore-bulk', 'pushes'),
        onNode('asyncore push', 'asyncore-bulk', 'push'),
        onNode('asyncore pushWithProducer', 'asyncore-bulk', 'producer'),
        onNode('node:net writes of 64 KiB', 'net-bulk'),
        onPython('CPython push', 'cpython-bulk', 'push'),
        onPython('CPython push_with_producer', 'cpython-bulk', 'producer'),
      ]),
      shape(ECHO, 'echo', [
        await inC('C epoll', 'epoll-bytes'),
        onNode('asyncore', 'asyncore-bulk', 'echo'),
        onNode('node:net pipe', 'net-bytes'),
        onPython('CPython', 'cpython-bulk', 'echo'),
      ]),
    ];
  },
};

export default bench;
