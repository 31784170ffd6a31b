// docs/examples/support/run.ts and program.ts: how an example is run, with redis-server as the example.

import { Client, Program, runTypeScript, TYPESCRIPT } from '../support/program';

const EXAMPLE = 'docs/examples/redis-server.ts';

describe('npm run example', () => {
  it('runs what it is told to', async () => {
    const args = ['run', '-s', 'example', 'redis-server', '--', '--port', '0'];
    const program = new Program('npm', args);
    try {
      const [, port] = await program.printed(/^redis-server: listening on 127\.0\.0\.1:(\d+)\n$/);
      const client = new Client(Number(port));
      await client.send('PING\r\n').hears('+PONG\r\n');
      client.socket.destroy();
    } finally {
      await program.kill();
    }
  });

  it.each([
    [[], 2, ''],
    [['support/run'], 2, 'There is no example support/run.\n'],
    [['--help'], 0, ''],
    [['-h'], 0, ''],
  ])('tells what there is for %j', async (args, code, complaint) => {
    const program = runTypeScript('docs/examples/support/run.ts', args);
    expect(await program.ended()).toBe(code);
    expect(program.output.startsWith(`${complaint}Usage: npm run example NAME -- [`)).toBe(true);
    expect(program.output).toMatch(
      /\n {2}-h, --help {2}prints this.*\n[\s\S]*\n {2}redis-server\n/,
    );
  });
});

describe('An example', () => {
  it.each(['-h', '--help'])('tells its options on %s', async (option) => {
    const program = runTypeScript(EXAMPLE, [option]);
    expect(await program.ended()).toBe(0);
    expect(program.output).toBe(`A small Redis, which keeps everything in memory.

Usage: npm run example redis-server -- [options]
  --host ADDRESS  an IPv4 or IPv6 address of this machine (default 127.0.0.1)
  --port N        0 lets the system choose (default 6380)
  -h, --help      prints this
`);
  });

  it.each([
    [['--prot', '1'], "Unknown option '--prot'"],
    [['extra'], "Unexpected argument 'extra'"],
    [['--port', '65536'], '--port takes a number from 0 to 65535: 65536'],
    [['--port', 'http'], '--port takes a number from 0 to 65535: http'],
    [['--port='], '--port takes a number from 0 to 65535: '],
    // An empty host would be every address of this machine.
    [['--host='], '--host takes ADDRESS: '],
  ])('refuses %j', async (args, message) => {
    const program = runTypeScript(EXAMPLE, args);
    expect(await program.ended()).toBe(2);
    expect(program.output).toContain(`redis-server: ${message}`);
    expect(program.output).toContain('\nUsage: npm run example redis-server');
  });

  it.each([
    ['dns-relay', '--timeout', '0', 1, Number.MAX_SAFE_INTEGER],
    ['tail', '--max-connections', '0', 1, Number.MAX_SAFE_INTEGER],
    ['tail', '--silence', '32768', 1, 32767],
    ['proxy', '--idle', '-1', 0, Number.MAX_SAFE_INTEGER],
  ])('%s refuses %s %s', async (name, option, value, least, most) => {
    const program = runTypeScript(`docs/examples/${name}.ts`, [`${option}=${value}`]);
    expect(await program.ended()).toBe(2);
    const complaint = `${name}: ${option} takes a number from ${least} to ${most}: ${value}\n`;
    expect(program.output.startsWith(complaint)).toBe(true);
    expect(program.output).toContain(`\nUsage: npm run example ${name}`);
  });

  it('refuses a name with blanks for a chat room', async () => {
    const program = runTypeScript('docs/examples/chat-room.ts', ['--name', 'a b']);
    expect(await program.ended()).toBe(2);
    expect(program.output).toContain('chat-room: --name takes NAME: a b\n');
  });

  it.each([
    [
      'what the library',
      'new asyncore.Dispatcher().setIdleTimeout(-1)',
      2,
      /^x: Cannot set an idle timeout: .*, received -1\nAbout\.\n\nUsage: [\s\S]*prints this\n$/,
    ],
    ['the system', "require('node:fs').realpathSync('/nonexistent')", 1, /^x: ENOENT: .*\n$/],
    ['the language', 'null.x', 1, /^x: TypeError: .*\n {4}at /],
  ])('tells what %s does not take', async (_what, does, code, output) => {
    const script = `const asyncore = require('asyncore');
      require('./docs/examples/support/program').run({
        name: 'x', about: 'About.', options: {}, start: () => ${does},
      });`;
    const args = [...TYPESCRIPT, '--input-type=commonjs', '--eval', script];
    const program = new Program(process.execPath, args);
    expect(await program.ended()).toBe(code);
    expect(program.output).toMatch(output);
  });

  it('says in a line why it cannot listen', async () => {
    // An address for documentation, which no machine has.
    const program = runTypeScript(EXAMPLE, ['--host', '192.0.2.1']);
    expect(await program.ended()).toBe(1);
    expect(program.output).toMatch(/^redis-server: EADDRNOTAVAIL: .*192\.0\.2\.1:6380\n$/);
  });

  it.each(['SIGINT', 'SIGTERM'] as const)('ends on %s with its clients', async (signal) => {
    const program = runTypeScript(EXAMPLE, ['--host', '::1', '--port', '0']);
    const [, port] = await program.printed(/^redis-server: listening on \[::1\]:(\d+)\n$/);
    const client = new Client(Number(port), '::1');
    await client.send('SUBSCRIBE a\r\n').hears('subscribe');
    program.child.kill(signal);
    await client.ends();
    expect(await program.ended()).toBe(0);
    expect(program.output.split('\n')).toHaveLength(2);
  });
});
