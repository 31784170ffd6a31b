// What `npm test` says of the tests that it skips.

import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { Program, ROOT } from './support/program';

const SPEC = `
import { describeIf, describeWith, itIf, itWith } from ${JSON.stringify(join(__dirname, 'support/skips'))};
const fail = () => { throw new Error('This must not run'); };
describeWith('no-such-program')('Tests with a program', () => {
  it('are skipped', fail);
  it('are skipped, too', fail);
});
describeIf(false, 'it rains').each(['tea', 'coffee'])('Outside with %s', () => it('is skipped', fail));
itWith('sh', 'no-such-program', 'no-other')('is skipped', fail);
itIf(false, 'it rains').each([1, 2])('is skipped %d', fail);
itIf(true, 'it rains')('runs', () => {});
itWith('sh').each(['a'])('runs %s', () => {});
it('runs, too', () => {});
`;

const folder = mkdtempSync(join(tmpdir(), 'asyncore-skips-'));
const file = join(folder, 'some.spec.ts');
writeFileSync(file, SPEC);
afterAll(() => rmSync(folder, { recursive: true }));

/** What jest prints with the reporters of this project. */
async function test(...args: string[]): Promise<string> {
  const { reporters, transform } = require('../jest.config.js');
  const config = { rootDir: ROOT, roots: [folder], testMatch: ['**/*.spec.ts'] };
  const json = JSON.stringify({ ...config, reporters, transform });
  const jest = join(ROOT, 'node_modules', 'jest', 'bin', 'jest.js');
  const program = new Program(process.execPath, [jest, '--ci', '--config', json, ...args]);
  expect([await program.ended(60_000), program.output]).toEqual([0, expect.anything()]);
  return program.output;
}

describe('npm test', () => {
  const name = relative(ROOT, file);
  const skipped = `\nSkipped:\n  it rains: 4 in ${name}\n  no no-such-program: 3 in ${name}\n`;

  it('says how long it takes, and what it has skipped and why', async () => {
    const output = await test();
    expect(output).toContain('All tests take about three minutes on two cores.\n');
    expect(output).toContain(skipped);
    expect(output).toMatch(/\nTests: +7 skipped, 3 passed, 10 total\n/);
  });

  it('does not count what -t has left out', async () => {
    const output = await test('-t', 'too');
    expect(output).not.toContain('All tests take');
    expect(output).toContain(skipped);
    expect(output).toMatch(/\nTests: +9 skipped, 1 passed, 10 total\n/);
  });
});

it('has a reason for every test that is skipped', () => {
  const files = readdirSync(__dirname, { recursive: true, encoding: 'utf8' });
  const skipping = files.filter(
    (one) =>
      /\.tsx?$/.test(one) &&
      /\b(?:it|test|describe)\.skip\b|\bx(?:it|test|describe)\(/.test(
        readFileSync(join(__dirname, one), 'utf8'),
      ),
  );
  // The second one has the reasons in a table, and in the titles.
  expect(skipping.sort()).toEqual(['conformance/cases.ts', 'support/skips.ts']);
});
