// docs/security.md: its program as printed, and the defaults in its table.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { chatWithPeer, LineChat } from '../support/limits';
import { programsOf, runListing, writeListings } from '../support/listings';
import { Client, type Program, ROOT } from '../support/program';

const PAGE = readFileSync(join(ROOT, 'docs', 'security.md'), 'utf8');

describe('docs/security.md', () => {
  const listings = programsOf('docs/security.md');
  const file = join(writeListings(listings), [...listings.keys()][0] as string);
  let program: Program | undefined;

  afterAll(async () => {
    await program?.kill();
  });

  it('holds one that answers, hangs up on too much, and ends on SIGTERM', async () => {
    program = runListing(file, { PORT: '0' });
    const port = Number((await program.printed(/port: (\d+)/))[1]);
    const [polite, greedy] = [new Client(port), new Client(port)];
    polite.send('hello\r\n');
    await polite.hears('hello\r\n');
    greedy.send('x'.repeat(8193));
    await greedy.ends();
    process.kill(program.child.pid as number, 'SIGTERM');
    await polite.ends();
    expect(await program.ended()).toBe(0);
  });

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
