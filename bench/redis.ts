// Redis: the example server beside Redis itself, under Redis's own benchmark.
//
//   npm run bench -- redis

import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import { promisify } from 'node:util';
import { freePort } from '../spec/support/ports';
import type { Bench, Contender, Figures } from './harness';
import { missing } from './inside';
import { beside, besideName } from './support/beside';
import { bundleExample } from './support/example';
import {
  Child,
  cpuMicroseconds,
  hasCommand,
  PINNING,
  peakRss,
  pinned,
  type Server,
  startServer,
} from './support/process';
import { target } from './support/target';

const CLIENTS = 50;
const PIPELINE = 16;
const SHAPE = `redis-benchmark, GET, ${PIPELINE} in flight`;
const CPU = 'CPU µs/request';
/** How many requests take about a second. */
const PER_SECOND = 400_000;
const WARM_UP = 100_000;
/** The one key of redis-benchmark, when it is not told to use many. */
const KEY = 'key:__rand_int__';
/** In ms. */
const LIMIT = 60_000;

/** Redis, which writes nothing to the disk. */
async function startRedis(): Promise<Server> {
  const port = await freePort();
  const options = [
    '--bind',
    '127.0.0.1',
    '--port',
    String(port),
    '--save',
    '',
    '--appendonly',
    'no',
  ];
  const child = new Child(pinned('server', ['redis-server', ...options]));
  try {
    while (!(await child.line(LIMIT)).includes('Ready to accept connections'));
    return { pid: child.pid, port, stop: () => child.stop() };
  } catch (error) {
    await child.stop();
    throw error;
  }
}

/** @returns requests per second */
async function benchmark(port: number, tests: string, requests: number): Promise<number> {
  const args = [
    '-p',
    port,
    '-t',
    tests,
    '-c',
    CLIENTS,
    '-P',
    PIPELINE,
    '-n',
    requests,
    '--csv',
    '-e',
  ];
  const [program, ...words] = pinned('load', ['redis-benchmark', ...args.map(String)]);
  const { stdout } = await promisify(execFile)(program, words, { timeout: LIMIT });
  const rate = Number(/^"GET","([\d.]+)"/m.exec(stdout)?.[1]);
  if (!(rate > 0) || /error/i.test(stdout)) throw new Error(`redis-benchmark said: ${stdout}`);
  return rate;
}

/** redis-benchmark counts the replies and does not read them: so here is what each of them is. */
async function checkValue(port: number): Promise<void> {
  const socket = connect(port, '127.0.0.1');
  socket.setTimeout(LIMIT, () => socket.destroy(new Error('GET was not answered')));
  socket.write(`*2\r\n$3\r\nGET\r\n$${KEY.length}\r\n${KEY}\r\n`);
  const reply = String((await once(socket, 'data'))[0]);
  socket.destroy();
  if (!/^\$3\r\n...\r\n$/.test(reply)) throw new Error(`GET was answered by ${reply}`);
}

async function measure(start: () => Promise<Server>, requests: number): Promise<Figures> {
  const server = await start();
  try {
    await benchmark(server.port, 'set,get', WARM_UP);
    await checkValue(server.port);
    const before = cpuMicroseconds(server.pid);
    const rate = await benchmark(server.port, 'get', requests);
    const charge = cpuMicroseconds(server.pid) - before;
    return {
      [CPU]: charge / requests,
      'requests/s': rate,
      'peak RSS MB': peakRss(server.pid) / 1e6,
    };
  } finally {
    await server.stop();
  }
}

const cpu = (contender: string) => ({ shape: SHAPE, contender, metric: CPU });

const bench: Bench = {
  name: 'redis',
  title: 'Redis',
  about:
    `redis-benchmark asks for one string of three bytes, over ${CLIENTS} connections with ${PIPELINE} requests in ` +
    'flight in each. For the chat, a request is five records of two kinds: three lines that announce what follows, ' +
    'and two strings of a known length. Redis itself keeps nothing on the disk. redis-benchmark sleeps when it has ' +
    'nothing to read.',
  targets: [target(cpu('asyncore example'), 'at most', 2, cpu('Redis'))],

  async shapes(seconds) {
    const requests = Math.max(WARM_UP, Math.round(seconds * PER_SECOND));
    const absent = ['redis-benchmark', 'redis-server'].filter((name) => !hasCommand(name));
    const contender = (name: string, start: () => Promise<Server>, needed = absent): Contender =>
      needed.length > 0
        ? missing(name, `${needed.join(' and ')} not installed`)
        : { name, measure: () => measure(start, requests) };
    const load = absent.filter((name) => name === 'redis-benchmark');
    const example = async (name: string, root?: string): Promise<Contender> => {
      const script = await bundleExample('redis-server', root);
      return contender(name, () => startServer([process.execPath, script, '--port', '0']), load);
    };
    const name = 'asyncore example';
    return [
      {
        name: SHAPE,
        parameters: { connections: CLIENTS, 'in flight': PIPELINE, requests, cores: PINNING },
        metrics: [
          { name: CPU, better: 'lower' },
          { name: 'requests/s', better: 'higher' },
          { name: 'peak RSS MB', better: 'lower' },
        ],
        contenders: [
          contender('Redis', startRedis),
          await example(name),
          ...(await Promise.all(beside('.').map((root) => example(besideName(name), root)))),
        ],
        rounds: 3,
      },
    ];
  },
};

export default bench;
