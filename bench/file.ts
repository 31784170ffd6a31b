// File: how much of a file a second of the CPU sends through one connection.
//
//   npm run bench -- file

import { closeSync, existsSync, fsyncSync, openSync, rmSync, statfsSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Bench, Contender } from './harness';
import { BULK_METRICS, bulkFigures, bulkParameters } from './support/bulk';
import { findLoad, underLoad } from './support/load';
import { inC, onNode, type Peer } from './support/peers';
import { target } from './support/target';

/** In MiB. */
const SIZE = 1024;
const SHAPE = 'file of 1 GiB';

const path = join(tmpdir(), `asyncore-bench-${process.pid}.file`);
process.on('exit', () => rmSync(path, { force: true }));

/** Writes the file, unless it is there: byte i is i modulo 251, as the load expects. It stays in the page cache. */
function writeFile(): void {
  if (existsSync(path)) return;
  // Without a listener, Ctrl-C would skip 'exit'.
  process.once('SIGINT', () => process.exit(130));
  const file = openSync(path, 'wx', 0o600);
  const pattern = Buffer.from(Array.from({ length: 251 }, (_, index) => index));
  const piece = Buffer.alloc(pattern.length * 32_768, pattern);
  for (let left = SIZE * 1024 * 1024; left > 0; )
    left -= writeSync(file, piece, 0, Math.min(left, piece.length));
  fsyncSync(file);
  closeSync(file);
}

/** The peer, or why there is no room for the file. */
function withRoom(peer: Peer): Peer {
  const { bavail, bsize } = statfsSync(tmpdir());
  const free = Math.floor((bavail * bsize) / 1024 / 1024);
  return free > SIZE ? peer : { name: peer.name, missing: `${free} MiB free in ${tmpdir()}` };
}

const moved = (contender: string) => ({ shape: SHAPE, contender, metric: 'MB/CPU s' });

const bench: Bench = {
  name: 'file',
  title: 'File',
  about:
    'One connection. The server answers each line with a file of 1 GiB, which is in the page cache. The C server ' +
    'uses sendfile(2). FileProducer, and the stream of node:fs that is piped into the socket, open the file for ' +
    'each answer. The push has the same bytes in memory. Every byte is compared.',
  targets: [
    target(moved('asyncore FileProducer'), 'at least', 0.9, moved('asyncore push')),
    target(moved('asyncore FileProducer'), 'at least', 0.8, moved('C sendfile')),
  ],

  async shapes(seconds) {
    const load = await findLoad('bulk');
    const half = seconds / 2;
    const peers = [
      await inC('C sendfile', 'epoll-sendfile', [path]),
      onNode('asyncore FileProducer', 'asyncore-bulk', 'file', path),
      onNode('asyncore push', 'asyncore-bulk', 'push', path),
      onNode('node:fs stream to node:net', 'net-bulk', path),
    ];
    return [
      {
        name: SHAPE,
        parameters: bulkParameters(SIZE, half, load),
        metrics: BULK_METRICS,
        contenders: peers.map((peer): Contender => {
          const args = [half, 'fetch', SIZE];
          const contender = underLoad(withRoom(peer), load, args, bulkFigures(SIZE));
          const measure = () => {
            writeFile();
            return contender.measure();
          };
          return { ...contender, measure };
        }),
        rounds: 3,
      },
    ];
  },
};

export default bench;
