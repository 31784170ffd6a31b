// The two programs of docs/porting.md, as printed: the same clients hear the same from both.

import { join } from 'node:path';
import {
  listingsOf,
  namedListings,
  programsOf,
  runListing,
  writeListings,
} from '../support/listings';
import { Client, Program } from '../support/program';
import { PYTHON } from '../support/python';

const PAGE = 'docs/porting.md';
const PYTHON_LISTINGS = listingsOf(PAGE, 'python').slice(0, -namedListings(PAGE, 'python').size);
const PROGRAMS = programsOf(PAGE);
const folder = writeListings(new Map([...PROGRAMS, ['server.py', PYTHON_LISTINGS[0] ?? '']]));
const PYTHON_FILE = join(folder, 'server.py');
const TYPESCRIPT_FILE = join(folder, [...PROGRAMS.keys()][0] ?? '');

const BYTES = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte)).toString('latin1');
const LARGE = BYTES.repeat(1200);

/** What a client says, and all that it hears until the connection ends. */
const SCRIPTS: [name: string, said: string, heard: string][] = [
  ['a QUIT', 'QUIT\r\n', 'READY\r\nBYE\r\n'],
  [
    'values, and the lack of them',
    'GET b\r\nPUT a 5\r\nhelloGET a\r\nPUT a 2\r\nhiGET a\r\nGET b\r\nGET\r\nQUIT\r\n',
    'READY\r\nNONE\r\nKEPT\r\nVALUE 5\r\nhello\r\nKEPT\r\nVALUE 2\r\nhi\r\nNONE\r\nNONE\r\nBYE\r\n',
  ],
  [
    'an empty value, which is one',
    'PUT empty 0\r\nGET empty\r\nQUIT\r\n',
    'READY\r\nKEPT\r\nVALUE 0\r\n\r\nBYE\r\n',
  ],
  [
    'values that look like commands, and every byte',
    `PUT tricky 8\r\n\r\nQUIT\r\nPUT bytes 256\r\n${BYTES}GET tricky\r\nGET bytes\r\nQUIT\r\n`,
    `READY\r\nKEPT\r\nKEPT\r\nVALUE 8\r\n\r\nQUIT\r\n\r\nVALUE 256\r\n${BYTES}\r\nBYE\r\n`,
  ],
  [
    'keys that are not UTF-8',
    'PUT \xfe 1\r\naPUT \xff 1\r\nbGET \xfe\r\nGET \xff\r\nQUIT\r\n',
    'READY\r\nKEPT\r\nKEPT\r\nVALUE 1\r\na\r\nVALUE 1\r\nb\r\nBYE\r\n',
  ],
  [
    'numbers',
    'PUT n 2\r\n40ADD n 2\r\nADD n -50\r\nGET n\r\nQUIT\r\n',
    'READY\r\nKEPT\r\nTOTAL 42\r\nTOTAL -8\r\nVALUE 2\r\n-8\r\nBYE\r\n',
  ],
  [
    'empty lines, and what is no command',
    '\r\n\r\nHELP me\r\nget a\r\nQUIT\r\n',
    'READY\r\nWHAT\r\nWHAT\r\nBYE\r\n',
  ],
  ['a missing key', 'ADD nothing 1\r\n', 'READY\r\nFAILED\r\n'],
  ['a length that is none', 'PUT a x\r\n', 'READY\r\nFAILED\r\n'],
  ['a missing length', 'PUT a\r\n', 'READY\r\nFAILED\r\n'],
  ['a negative length', 'PUT a -1\r\n', 'READY\r\nFAILED\r\n'],
  ['a value that is no number', 'PUT w 1\r\nwADD w 1\r\n', 'READY\r\nKEPT\r\nFAILED\r\n'],
];

it('docs/porting.md holds one program in each language', () => {
  expect([PYTHON_LISTINGS.length, PROGRAMS.size]).toEqual([1, 1]);
});

const ENVIRONMENT = { PORT: '0', EVERY: '0.2' };

function runPython(): Program {
  return new Program(PYTHON as string, ['-W', 'ignore', PYTHON_FILE], ENVIRONMENT);
}

function runOurs(): Program {
  return runListing(TYPESCRIPT_FILE, ENVIRONMENT);
}

const LANGUAGES: [string, (() => Program) | null][] = [
  ['Python', PYTHON === null ? null : runPython],
  ['TypeScript', runOurs],
];

describe.each(LANGUAGES)('The program in %s', (_, begin) => {
  const check = begin === null ? it.skip : it;
  let program: Program;
  let port: number;
  const clients: Client[] = [];

  beforeAll(async () => {
    if (begin === null) return;
    program = begin();
    port = Number((await program.printed(/log: listening on port (\d+)\n/))[1]);
  });

  afterEach(() => {
    for (const client of clients.splice(0)) client.socket.destroy();
  });

  afterAll(async () => {
    await program?.kill();
  });

  function client(): Client {
    const made = new Client(port);
    clients.push(made);
    return made;
  }

  check.each(SCRIPTS)('answers %s', async (_name, said, heard) => {
    expect(await client().send(said).ends()).toBe(heard);
  });

  check.each(SCRIPTS)('answers %s, said byte by byte', async (_name, said, heard) => {
    const one = client();
    one.socket.setNoDelay(true);
    for (const byte of said) {
      one.send(byte);
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(await one.ends()).toBe(heard);
  });

  // In one piece, as a byte that comes after the end resets the connection.
  check('ignores what follows QUIT', async () => {
    expect(await client().send('QUIT\r\nPUT late 1\r\nx').ends()).toBe('READY\r\nBYE\r\n');
    expect(await client().send('GET late\r\nQUIT\r\n').ends()).toBe('READY\r\nNONE\r\nBYE\r\n');
  });

  check('keeps for one client what another one has brought', async () => {
    const ann = client().send(`PUT shared ${LARGE.length}\r\n${LARGE}`);
    await ann.hears('KEPT\r\n');
    const bob = client().send('GET shared\r\nQUIT\r\n');
    expect(await bob.ends()).toBe(`READY\r\nVALUE ${LARGE.length}\r\n${LARGE}\r\nBYE\r\n`);
    ann.send('QUIT\r\n');
    expect(await ann.ends()).toBe('READY\r\nKEPT\r\nBYE\r\n');
  });

  check('logs what went wrong', async () => {
    await client().send('PUT a -1\r\n').ends();
    await program.printed(/^log: failed: \w+\n/m);
  });

  check('prints its statistics', async () => {
    const one = client().send('GET a\r\n');
    await one.hears('READY\r\n');
    await program.printed(/^log: 1 open, \d+ values, \d+ commands\n/m);
    one.socket.end();
    await one.ends();
    program.output = '';
    await program.printed(/^log: 0 open, \d+ values, \d+ commands\n/m);
  });

  check('is stopped by Ctrl-C, and ends its connections', async () => {
    const one = client();
    await one.hears('READY\r\n');
    program.child.kill('SIGINT');
    expect(await program.ended()).toBe(0);
    expect(program.output).toMatch(/log: stopped\n$/);
    expect(await one.ends()).toBe('READY\r\n');
  });
});
