// Line echo: what one short request and its answer cost, alone, beside others, and in bursts.
//
//   npm run bench -- line-echo

import type { Bench, Shape } from './harness';
import { LINE_METRICS, lineFigures, lineParameters, lineServers } from './support/line';
import { findLoad, underLoad } from './support/load';
import { inC, onAsyncore, onNode, onPython, onRuntime } from './support/peers';
import { findRuntime } from './support/runtimes';
import { target } from './support/target';

function nameOf(connections: number, inFlight: number): string {
  const noun = connections === 1 ? 'connection' : 'connections';
  return `line echo, ${connections} ${noun}, ${inFlight} in flight`;
}

const single = nameOf(50, 1);
const burst = nameOf(50, 16);
const alone = nameOf(1, 1);

const FEW = new Set([
  'C epoll',
  'bare koffi loop',
  'asyncore loop()',
  'node:net expert',
  'CPython asynchat poll',
]);

const cpu = (shape: string, contender = 'asyncore loop()') => ({
  shape,
  contender,
  metric: 'CPU µs/line',
});
const latency = (shape: string, metric: 'p50 µs' | 'p99 µs', contender = 'asyncore loop()') => ({
  shape,
  contender,
  metric,
});

const bench: Bench = {
  name: 'line-echo',
  title: 'Line echo',
  about:
    'Lines of 64 bytes, CRLF included. Each line is searched for and answered by itself. The servers in ' +
    'C, on bare koffi, on Bun’s own sockets (Bun.listen) and the expert’s also search for each line, but ' +
    'answer all lines of one read in one write of the same bytes. The figure that counts is the CPU ' +
    'time, user and system, that the server is charged for one line. Lines per second are also bounded ' +
    'by the load generator, and latencies are those of a saturated server. A sleeping load waits in ' +
    'epoll_wait(2), as a peer on a network does. Then each send also wakes a process, and the server is ' +
    'charged for that. Only one connection shows it: with 50 there is nearly always a line to read, and ' +
    'the load does not get to sleep. Byte echo is the same load on servers that do not search for lines.',
  targets: [
    target(cpu(single), 'at most', 1.12, cpu(single, 'bare koffi loop')),
    target(cpu(single), 'at most', 1.2, cpu(single, 'C epoll')),
    target(cpu(single), 'at most', 0.7, cpu(single, 'node:net expert')),
    target(cpu(single), 'at most', 1, cpu(single, 'Bun.listen')),
    target(cpu(single), 'at most', 0.8, cpu(single, 'CPython asynchat select')),
    target(cpu(single), 'at most', 0.8, cpu(single, 'CPython asynchat poll')),
    target(cpu(single), 'at most', 1.05, cpu(single, 'asyncore loopSync()')),
    target(latency(single, 'p99 µs'), 'at most', 1.3, latency(single, 'p99 µs', 'bare koffi loop')),
    target(cpu(burst), 'at most', 1.3, cpu(burst, 'bare koffi loop')),
    target(cpu(burst), 'at most', 1.7, cpu(burst, 'C epoll')),
    target(cpu(burst), 'at most', 0.7, cpu(burst, 'node:net expert')),
    target(cpu(burst), 'at most', 1, cpu(burst, 'Bun.listen')),
    target(cpu(burst), 'at most', 0.1, cpu(burst, 'CPython asynchat select')),
    target(cpu(burst), 'at most', 0.1, cpu(burst, 'CPython asynchat poll')),
    target(latency(alone, 'p50 µs'), 'at most', 1, latency(alone, 'p50 µs', 'node:net')),
  ],

  async shapes(seconds) {
    const load = await findLoad('line');
    const servers = await lineServers();
    const withBun = [...servers, onRuntime('Bun.listen', findRuntime('bun'), 'bun-line')];
    // Where no target is, a few will do: the run has to end some time.
    const few = servers.filter(({ name }) => FEW.has(name));
    const byteServers = [
      await inC('C epoll', 'epoll-bytes'),
      ...onAsyncore('asyncore Dispatcher', 'asyncore-bytes'),
      onNode('node:net', 'net-bytes'),
      onPython('CPython asyncore poll', 'cpython-bytes', 'poll'),
    ];
    const shape = (
      connections: number,
      inFlight: number,
      { name = nameOf(connections, inFlight), peers = servers, rounds = 3, sleeping = false } = {},
    ): Shape => ({
      name,
      parameters: {
        connections,
        'in flight': inFlight,
        ...lineParameters(seconds, load),
        'load waits': sleeping ? 'asleep' : 'polling',
      },
      metrics: LINE_METRICS,
      contenders: peers.map((peer) => {
        const args = [seconds, connections, inFlight, 0, ...(sleeping ? ['sleeping'] : [])];
        return underLoad(peer, load, args, lineFigures);
      }),
      rounds,
    });
    // Those that most targets are about have more rounds: a median of three does not bear a bad one.
    return [
      shape(1, 1),
      shape(1, 1, { name: `${alone}, sleeping load`, peers: few, sleeping: true }),
      shape(50, 1, { peers: withBun, rounds: 5 }),
      shape(500, 1, { peers: few }),
      shape(50, 16, { peers: withBun, rounds: 5 }),
      shape(50, 1, { name: 'byte echo, 50 connections, 1 in flight', peers: byteServers }),
    ];
  },
};

export default bench;
