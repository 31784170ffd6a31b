// The programs of docs/tutorial.md, as printed: each step is run and talked to.

import { join } from 'node:path';
import { runListing, tutorial, tutorialSteps, writeListings } from '../support/listings';
import { freePort } from '../support/ports';
import { Client, Program } from '../support/program';
import { describeWith } from '../support/skips';

const STEPS = tutorialSteps();
const folder = writeListings(tutorial());
const mains = STEPS.map((_, index) => join(folder, String(index + 1), 'chat.mts'));

const programs: Program[] = [];
const clients: Client[] = [];

afterEach(async () => {
  for (const client of clients.splice(0)) client.socket.destroy();
  await Promise.all(programs.splice(0).map((program) => program.kill()));
});

/** @returns its port, too */
async function start(step: number, env: NodeJS.ProcessEnv = {}): Promise<[Program, number]> {
  const program = runListing(mains[step - 1] as string, { PORT: '0', ...env });
  programs.push(program);
  const [, port] = await program.printed(/listening on .* port: (\d+)/);
  return [program, Number(port)];
}

function call(port: number): Client {
  const client = new Client(port);
  clients.push(client);
  return client;
}

async function enter(port: number, name: string): Promise<Client> {
  const client = call(port).send(`${name}\r\n`);
  await client.hears(`* ${name} has joined\r\n`);
  return client;
}

describe('docs/tutorial.md', () => {
  it('has seven steps', () => {
    expect(STEPS.map((files) => [...files.keys()].sort().join(' '))).toEqual([
      ...['chat.mts', 'chat.mts', 'chat.mts', 'chat.mts', 'chat.mts rooms.mts'],
      ...['chat.mts redis.mts rooms.mts shared.mts', 'chat.mts redis.mts rooms.mts shared.mts'],
    ]);
  });

  it('1: answers a caller', async () => {
    const [, port] = await start(1);
    expect(await call(port).ends()).toBe('Nobody is here yet.\r\n');
  });

  it('2: finds lines', async () => {
    const [, port] = await start(2);
    const one = call(port).send('a\r\nb');
    await one.hears('Say something.\r\nYou have said: a\r\n');
    one.send('c\n\n');
    await one.hears('You have said: bc\r\nYou have said: \r\n');
  });

  it('3: lets everybody hear', async () => {
    const [, port] = await start(3);
    const [ann, bob] = [await enter(port, 'ann'), await enter(port, 'bob')];
    ann.send('good morning\n');
    await bob.hears('ann: good morning\r\n');
    bob.socket.end();
    await ann.hears('* bob has left\r\n');
  });

  it.each([4, 5])('%d: has rooms', async (step) => {
    const [, port] = await start(step);
    const [ann, bob] = [await enter(port, 'ann'), await enter(port, 'bob')];
    await call(port).send('a b\n').hears('Up to 20 letters and digits, please.\r\n');
    bob.send('/join tea\r\nhm\r\n');
    await ann.hears('* bob has left\r\n');
    await bob.hears('bob: hm\r\n');
    ann.send('/join tea\n');
    await ann.hears('* bob has joined\r\nbob: hm\r\n* ann has joined\r\n');
    ann.send('/quit\nI am gone\n');
    expect(await ann.ends()).toMatch(/Goodbye\.\r\n$/);
    await bob.hears('* ann has left\r\n');
    expect(bob.received).not.toContain('gone');
  });

  it('5: stands those who do harm, and comes to an end', async () => {
    const [program, port] = await start(5);
    const [ann, bob, slow] = [
      await enter(port, 'ann'),
      await enter(port, 'bob'),
      await enter(port, 'slow'),
    ];
    bob.send(`${'x'.repeat(2000)}\n`);
    expect(await bob.ends()).toMatch(/That line is too long\.\r\n$/);
    slow.socket.pause();
    let heard = '';
    for (let batch = 1; !heard.includes('* slow has left\r\n') && batch < 2000; batch += 1) {
      // Not faster than she who says it can hear it.
      ann.send(`${`${'x'.repeat(1000)}\n`.repeat(100)}batch ${batch}\n`);
      await ann.hears(`ann: batch ${batch}\r\n`);
      heard = ann.received;
      ann.received = '';
    }
    expect(heard).toContain('* slow has left\r\n');
    program.child.kill('SIGTERM');
    await ann.ends();
    expect(await program.ended()).toBe(0);
  });
});

describeWith('redis-server')(
  'docs/tutorial.md, with a real redis-server (skipped where there is none)',
  () => {
    let redis: Program;
    let redisPort: number;

    async function startRedis(): Promise<void> {
      const args = ['--port', String(redisPort), '--bind', '127.0.0.1', '--save', ''];
      redis = new Program('redis-server', args);
      programs.push(redis);
      await redis.printed(/ready to accept connections/i);
    }

    beforeEach(async () => {
      redisPort = await freePort();
      await startRedis();
    });

    async function startTwo(step: number): Promise<[Program, number][]> {
      const env = { REDIS_PORT: String(redisPort) };
      return Promise.all([start(step, env), start(step, env)]);
    }

    it.each([6, 7])('%d: shares the rooms', async (step) => {
      const [west, east] = (await startTwo(step)) as [[Program, number], [Program, number]];
      const [ann, bob] = [await enter(west[1], 'ann'), await enter(east[1], 'bob')];
      await ann.hears('* bob has joined\r\n');
      ann.send('good morning\n');
      await bob.hears('ann: good morning\r\n');
      bob.send('gr\xc3\xbc\xc3\x9fe\n');
      await ann.hears('bob: gr\xc3\xbc\xc3\x9fe\r\n');
      west[0].child.kill('SIGTERM');
      expect(await west[0].ended()).toBe(0);
    });

    it('7: outlives its Redis, and tells nothing twice', async () => {
      const [west, east] = (await startTwo(7)) as [[Program, number], [Program, number]];
      const [ann, bob] = [await enter(west[1], 'ann'), await enter(east[1], 'bob')];
      await ann.hears('* bob has joined\r\n');
      ann.send('1\n');
      await bob.hears('ann: 1\r\n');
      await redis.kill();
      ann.send('2\n3\n');
      await ann.hears('ann: 3\r\n');
      bob.send('4\n');
      await startRedis();
      ann.send('5\n');
      await bob.hears('ann: 5\r\n');
      await ann.hears('bob: 4\r\n');
      bob.send('6\n');
      await ann.hears('bob: 6\r\n');
      expect(bob.received.match(/ann: \d/g)?.join()).toBe('ann: 1,ann: 2,ann: 3,ann: 5');
      expect(ann.received.match(/bob: \d/g)?.join()).toBe('bob: 4,bob: 6');
    });
  },
);
