// docs/security.md: its program as printed, and the defaults in its table.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { compilerErrors } from '../support/compile';
import { chatWithPeer, LineChat } from '../support/limits';
import { Client, type Program, ROOT, runTypeScript } from '../support/program';

const PAGE = readFileSync(join(ROOT, 'docs', 'security.md'), 'utf8');
const PROGRAM = /^```ts\n(.*?)^```$/ms.exec(PAGE)?.[1] as string;

describe('docs/security.md', () => {
  // Inside the project, where 'asyncore' is lib/. An ES module, for its top-level await.
  const folder = mkdtempSync(join(ROOT, 'spec', 'support', 'security-'));
  const file = join(folder, 'server.mts');
  writeFileSync(file, PROGRAM);
  let program: Program | undefined;

  afterAll(async () => {
    await program?.kill();
    rmSync(folder, { recursive: true });
  });

  it('holds a program that the compiler accepts', () => {
    expect(compilerErrors([file])).toEqual([]);
  }, 30_000);

  it('holds one that answers, hangs up on too much, and ends on SIGTERM', async () => {
    program = runTypeScript(file, [], { PORT: '0' });
    const port = Number((await program.printed(/port: (\d+)/, 15_000))[1]);
    const [polite, greedy] = [new Client(port), new Client(port)];
    polite.send('hello\r\n');
    await polite.hears('hello\r\n');
    greedy.send('x'.repeat(8193));
    await greedy.ends();
    process.kill(program.child.pid as number, 'SIGTERM');
    await polite.ends();
    expect(await program.ended()).toBe(0);
  }, 30_000);

  it('names the defaults', () => {
    const row = (what: string): string | undefined =>
      PAGE.split('\n')
        .find((line) => line.startsWith(`| ${what}`))
        ?.split(' | ')[1];
    const { chat } = chatWithPeer((socket, map) => new LineChat(socket, map));
    expect([row('`maxRecordLength`'), chat.maxRecordLength]).toEqual(['none', Infinity]);
    expect([row('`setIdleTimeout(ms)`'), chat.idleTimeout]).toEqual(['none', 0]);
    expect([row('`highWaterMark`'), chat.highWaterMark]).toEqual(['1 MiB', 1024 * 1024]);
    expect([row('`acInBufferSize`'), chat.acInBufferSize]).toEqual(['64 KiB', 64 * 1024]);
    expect([row('sends in one'), chat.acOutBufferSize]).toEqual(['16 of 64 KiB', 64 * 1024]);
    expect([row('`allowHalfOpen`'), chat.allowHalfOpen]).toEqual(['false', false]);
  });
});
