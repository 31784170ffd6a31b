// The programs of the README, as printed.

import { once } from 'node:events';
import { join } from 'node:path';
import { programsOf, runListing, writeListings } from '../support/listings';
import { Client, type Program, until } from '../support/program';

const PROGRAMS = programsOf('README.md');
const folder = writeListings(PROGRAMS);
const files = [...PROGRAMS.keys()].map((name) => join(folder, name));

describe('README', () => {
  let program: Program | undefined;
  const clients: Client[] = [];

  afterEach(async () => {
    for (const client of clients.splice(0)) client.socket.destroy();
    await program?.kill();
  });

  async function start(file: string): Promise<number> {
    program = runListing(file, { PORT: '0' });
    return Number((await program.printed(/port: (\d+)/))[1]);
  }

  function client(port: number): Client {
    const made = new Client(port);
    clients.push(made);
    return made;
  }

  it('holds two programs', () => {
    expect(files).toHaveLength(2);
  });

  it('echoes what is sent to the first', async () => {
    const port = await start(files[0] as string);
    const one = client(port).send('hello\r\n');
    await one.hears('hello\r\n');
    one.socket.end();
    expect(await one.ends()).toBe('hello\r\n');
  });

  it('does not read from a peer that does not read its echo, until it does', async () => {
    const port = await start(files[0] as string);
    const { socket } = client(port);
    await once(socket, 'connect');
    socket.pause();
    const size = 64 << 20;
    for (let left = 64; left > 0; left -= 1) socket.write(Buffer.alloc(1 << 20, 'x'));
    // Until the kernel takes no more.
    for (let before = -1; before !== socket.writableLength; ) {
      before = socket.writableLength;
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
    expect(socket.writableLength).toBeGreaterThan(size / 2);
    let received = 0;
    socket.on('data', (data) => {
      received += data.length;
    });
    socket.resume();
    await until(() => received === size);
  });

  it('passes lines on between the clients of the second', async () => {
    const port = await start(files[1] as string);
    const ann = client(port);
    const bob = client(port);
    // Sent again until the other one is there to hear it.
    for (let tries = 0; !ann.received.includes('hello, Ann\n') && tries < 100; tries += 1) {
      bob.send('hello, Ann\n');
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    ann.send('hello, Bob\n');
    await bob.hears('hello, Bob\n');
    expect(ann.received.replaceAll('hello, Ann\n', '')).toBe('');
  });
});
