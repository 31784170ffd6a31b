// Each example is a program that tells its options; those without a spec of their own are run here.

import { readdirSync } from 'node:fs';
import { join, parse } from 'node:path';
import { Socket } from 'asyncore';
import { temporaryPath } from '../support/drive';
import { freePort } from '../support/ports';
import { Client, ROOT, runTypeScript } from '../support/program';

const NAMES = readdirSync(join(ROOT, 'docs/examples'))
  .filter((file) => file.endsWith('.ts'))
  .map((file) => parse(file).name);

/** Options of their own. */
const OPTIONS: Record<string, RegExp> = {
  'ftp-server': /--root PATH.*--user NAME:PASSWORD/s,
  'smtp-server': /--domain NAME.*--maildir PATH.*--size BYTES/s,
};

it.each(NAMES)('%s tells its options', async (name) => {
  const program = runTypeScript(`docs/examples/${name}.ts`, ['--help']);
  expect(await program.ended()).toBe(0);
  // What `npm start` runs is called by that name.
  const called = name === 'demo' ? 'npm start' : `npm run example ${name}`;
  expect(program.output).toContain(`Usage: ${called} -- [`);
  expect(program.output).toMatch(OPTIONS[name] ?? /--host ADDRESS|URL/);
  expect(program.output).toMatch(/\n {2}-h, --help +prints this\n$/);
});

describe('A port that is taken', () => {
  const listener = Socket.socket();
  let port: number;

  beforeAll(async () => {
    port = await freePort();
    listener.bind({ host: '127.0.0.1', port });
    listener.listen();
  });

  afterAll(() => listener.close());

  it.each(NAMES.filter((name) => name !== 'http-client'))(
    'is told by %s in a line that says what to type',
    async (name) => {
      // The demo's first server finds its port free, and the second one does not.
      const args = ['--port', String(name === 'demo' ? port - 1 : port)];
      if (name === 'smtp-server') args.push('--maildir', temporaryPath('maildir'));
      const program = runTypeScript(`docs/examples/${name}.ts`, args);
      expect(await program.ended()).toBe(1);
      const command = name === 'demo' ? 'npm start' : `npm run example ${name}`;
      expect(program.output).toBe(
        `${name}: 127.0.0.1:${port} is taken. Type: ${command} -- --port N, with another N, or 0 for ` +
          'any free port\n',
      );
    },
  );
});

/** Runs an example, sends it something, and waits for what it answers. */
async function converse(name: string, text: string, answer: string): Promise<void> {
  const program = runTypeScript(`docs/examples/${name}.ts`, ['--port', '0']);
  try {
    const [, port] = await program.printed(/: listening on 127\.0\.0\.1:(\d+)\n$/);
    const client = new Client(Number(port));
    await client.send(text).hears(answer);
    client.socket.destroy();
  } finally {
    await program.kill();
  }
}

it('echo-server echoes', async () => {
  await converse('echo-server', 'hello', 'hello');
});

it('http-request-handler answers', async () => {
  await converse('http-request-handler', 'GET /here HTTP/1.0\r\n\r\n', 'GET /here\n0 bytes');
});
