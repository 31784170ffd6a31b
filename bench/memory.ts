// Memory: what a connection takes that has said its line, has had its answer, and is idle since.
//
//   npm run bench -- memory
//
// The servers are those of the line echo. What the first connections bring about, code that is
// compiled, slabs, pools and the growth of tables, is in the figures before, and what the kernel keeps
// of a connection is in none.

import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import type { Bench, Contender, Figures } from './harness';
import { missing } from './inside';
import { inC, onNode, onPython, type Peer } from './support/peers';
import { Child, currentRss, openFilesLimit, pinned } from './support/process';
import { target } from './support/target';

const CONNECTIONS = 5000;
/** Before anything is measured. */
const FIRST = 500;
/** The descriptors of a process that are not connections. */
const OTHERS = 100;
/** How many connect at the same time. */
const WAVE = 100;
/** No answer takes as long, in ms. */
const LIMIT = 10_000;

const SHAPE = `memory, ${CONNECTIONS.toLocaleString('en')} idle connections`;
const JAVASCRIPT = 'JavaScript B/connection';
const RSS = 'RSS B/connection';

/** Connects, and exchanges one line. */
async function caller(port: number, id: number): Promise<Socket> {
  const socket = connect(port, '127.0.0.1');
  socket.setTimeout(LIMIT, () => socket.destroy(new Error(`caller ${id}: no answer`)));
  await once(socket, 'connect');
  const line = `${String(id).padStart(62, '.')}\r\n`;
  socket.write(line);
  let answer = '';
  while (answer.length < line.length) answer += (await once(socket, 'data'))[0];
  if (answer !== line) throw new Error(`caller ${id}: the answer is ${answer}`);
  // A collection for thousands takes its time, too.
  return socket.setTimeout(0);
}

async function call(port: number, count: number, sockets: Socket[]): Promise<void> {
  const enough = sockets.length + count;
  while (sockets.length < enough) {
    const ids = Array.from({ length: WAVE }, (_, index) => sockets.length + index);
    sockets.push(...(await Promise.all(ids.map((id) => caller(port, id)))));
  }
}

interface InUse {
  readonly rss: number;
  readonly javaScript: number;
}

async function look(child: Child, javaScript: boolean): Promise<InUse> {
  if (javaScript) child.write('');
  const answer = javaScript ? Number(await child.line(LIMIT)) : 0;
  return { javaScript: answer, rss: currentRss(child.pid) };
}

async function measure([program, ...args]: readonly [string, ...string[]]): Promise<Figures> {
  const javaScript = program === process.execPath;
  const probe = ['--expose-gc', '--require', join(__dirname, 'inside', 'memory.cjs')];
  const child = new Child(pinned('server', [program, ...(javaScript ? probe : []), ...args]));
  const sockets: Socket[] = [];
  try {
    const port = Number((await child.line(LIMIT)).replace('port: ', ''));
    await call(port, FIRST, sockets);
    const before = await look(child, javaScript);
    await call(port, CONNECTIONS, sockets);
    const after = await look(child, javaScript);
    const rss = { [RSS]: (after.rss - before.rss) / CONNECTIONS };
    if (!javaScript) return rss;
    return { [JAVASCRIPT]: (after.javaScript - before.javaScript) / CONNECTIONS, ...rss };
  } finally {
    // Without a FIN, so that no port of theirs has to wait.
    for (const socket of sockets) socket.resetAndDestroy();
    await child.stop();
  }
}

function contender(peer: Peer): Contender {
  if ('missing' in peer) return missing(peer.name, peer.missing);
  const limit = openFilesLimit();
  const needed = FIRST + CONNECTIONS + OTHERS;
  if (needed > limit) return missing(peer.name, `${limit} open files at most`);
  return { name: peer.name, measure: () => measure(peer.command) };
}

const inUse = (metric = JAVASCRIPT, contender = 'asyncore AsyncChat') => ({
  shape: SHAPE,
  contender,
  metric,
});

const bench: Bench = {
  name: 'memory',
  title: 'Memory',
  about:
    'Each of 5,000 connections has had one line echoed and is idle. The JavaScript figure is V8’s ' +
    'heap and its external memory, after a collection. RSS is the memory that the process has from ' +
    'the kernel, including the room that V8 keeps in reserve.',
  targets: [
    { words: 'at most 1,000 B', of: inUse(), bound: 'at most', ratio: 1, against: 1000 },
    target(inUse(), 'at most', 0.25, inUse(JAVASCRIPT, 'node:net')),
    target(inUse(RSS), 'at most', 0.5, inUse(RSS, 'node:net')),
  ],

  async shapes() {
    const peers = [
      await inC('C epoll', 'epoll-line'),
      onNode('asyncore AsyncChat', 'asyncore-line', 'loop'),
      onNode('node:net', 'net-line'),
      onPython('CPython asynchat', 'cpython-line', 'poll'),
    ];
    return [
      {
        name: SHAPE,
        parameters: { connections: CONNECTIONS, 'lines/connection': 1 },
        metrics: [
          { name: JAVASCRIPT, better: 'lower' },
          { name: RSS, better: 'lower' },
        ],
        contenders: peers.map(contender),
        rounds: 3,
      },
    ];
  },
};

export default bench;
