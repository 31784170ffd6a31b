// The table of docs/conformance.md: CPython's tests, and their counterparts here.
//
//   npx tsx spec/conformance/table.ts
//
// writes the page. Where there is a Python 3.11, it first updates cpython-tests.json from that. jest lists
// the tests of the two spec files. table.spec.ts checks that the page is up to date.

import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { describeName, ONLY_IN_2_7, SKIPPED, titleOf } from './cases';

const ROOT = join(__dirname, '..', '..');
const LIST = join(__dirname, 'cpython-tests.json');
export const PAGE = join(ROOT, 'docs', 'conformance.md');
export const SPECS = ['asyncore', 'asynchat'].map((name) => join(__dirname, `${name}.spec.ts`));

const LOADER = `
import json, unittest

def ids(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from ids(test)
        else:
            yield test.id().removeprefix('test.')

names = ['test.test_asyncore', 'test.test_asynchat']
print(json.dumps(list(ids(unittest.TestLoader().loadTestsFromNames(names)))))
`;

/** The tests of CPython 3.11, `module.class.name`, as its own loader finds them; null without it. */
export function listOfPython(): string[] | null {
  const { status, stdout } = spawnSync('python3.11', ['-W', 'ignore', '-c', LOADER], {
    encoding: 'utf8',
    timeout: 20_000,
  });
  if (status !== 0) return null;
  const list: string[] = JSON.parse(stdout);
  // A module that cannot be imported is a test too, called _FailedTest.
  return list.every((id) => id.startsWith('test_async')) ? list : null;
}

/** The list as it was when Python was last asked. */
export function committedList(): string[] {
  return JSON.parse(readFileSync(LIST, 'utf8'));
}

/** A test in one of the spec files. */
export interface SpecTest {
  readonly file: string;
  readonly suite: string;
  readonly title: string;
}

interface JestReport {
  testResults: {
    name: string;
    message: string;
    assertionResults: { ancestorTitles: string[]; title: string }[];
  }[];
}

/** All tests of the spec files. Jest loads the files, but runs none of the tests. */
export function specTests(): SpecTest[] {
  const stdout = execFileSync(
    process.execPath,
    [
      join(ROOT, 'node_modules', 'jest', 'bin', 'jest.js'),
      ...['--json', '--coverage=false', '--testNamePattern', '(?!)', '--runTestsByPath'],
      ...SPECS,
    ],
    { cwd: ROOT, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], timeout: 60_000 },
  );
  const report: JestReport = JSON.parse(stdout);
  return report.testResults
    .sort((a, b) => SPECS.indexOf(a.name) - SPECS.indexOf(b.name))
    .flatMap(({ name, assertionResults }) =>
      assertionResults.map(({ ancestorTitles, title }) => ({
        file: basename(name),
        suite: ancestorTitles.join(' '),
        title,
      })),
    );
}

/** A test of CPython's, and its counterpart here. */
export interface Counterpart {
  /** `test_asyncore.TestAPI_UseIPv4Poll.test_bind` */
  readonly cpython: string;
  /** `TestAPI_UseIPv4Poll.test_bind` */
  readonly id: string;
  /** The test of the same name in the file of the same name; undefined: there is none. */
  readonly test: SpecTest | undefined;
  /** The variants in which it is repeated. */
  readonly repetitions: readonly string[];
}

export function counterparts(list: readonly string[], tests: readonly SpecTest[]): Counterpart[] {
  return list.map((cpython) => {
    const [module, testClass, name] = cpython.split('.') as [string, string, string];
    const id = `${testClass}.${name}`;
    const file = `${module.replace('test_', '')}.spec.ts`;
    const ofFile = tests.filter((test) => test.file === file);
    const over = describeName(testClass, ' ').trimEnd();
    return {
      cpython,
      id,
      test: ofFile.find((test) => test.suite === testClass && test.title === titleOf(id)),
      repetitions: ofFile
        .filter((test) => test.suite.startsWith(`${over} `) && test.title === titleOf(id, name))
        .map((test) => test.suite.slice(over.length + 1)),
    };
  });
}

function rowOf({ cpython, id, test, repetitions }: Counterpart): string {
  const spec =
    test === undefined ? '**none**' : `[${test.file}](../spec/conformance/${test.file}): \`${id}\``;
  const reason = SKIPPED.get(id);
  const status = reason === undefined ? 'run' : `skip: ${reason}`;
  return `| \`${cpython}\` | ${spec} | ${repetitions.join(', ')} | ${status} |`;
}

function tableOf(rows: readonly Counterpart[]): string {
  return ['| CPython | here | repeated over | |', '|---|---|---|---|', ...rows.map(rowOf)].join(
    '\n',
  );
}

function countsOf(rows: readonly Counterpart[]): string {
  const covered = rows.filter(({ test }) => test !== undefined);
  const skipped = covered.filter(({ id }) => SKIPPED.has(id)).length;
  const runs = covered.length - skipped;
  return `${rows.length} tests, of which ${covered.length} have a counterpart here: ${runs} run, ${skipped} skipped`;
}

/** The whole page. */
export function page(tests: readonly SpecTest[]): string {
  const current = counterparts(committedList(), tests);
  const old = counterparts(ONLY_IN_2_7, tests);
  const repetitions = [...current, ...old]
    .filter(({ id }) => !SKIPPED.has(id))
    .reduce((sum, row) => sum + row.repetitions.length, 0);
  return `# CPython's own tests

The tests of CPython's \`asyncore\` and \`asynchat\`, rewritten in TypeScript under the same names.
\`npx tsx spec/conformance/table.ts\` generates this page.

- CPython 3.11 has ${countsOf(current)}.
- Python 2.7 alone has ${countsOf(old)}.
- A test that needs a loop runs by \`loop()\` here. ${repetitions} repetitions run by \`loopSync()\`
  and, for test_asynchat, which covers IPv4 only, over IPv6 and Unix sockets.
- CPython itself skips 8 of its 126 tests on Linux: the tests of bind, address reuse, quick connects and
  urgent data over Unix sockets. All but the urgent data run here.

## CPython 3.11

${tableOf(current)}

## Python 2.7 alone

2.7 calls \`TestAPI_UseIPv4Select\` and \`TestAPI_UseIPv4Poll\` \`TestAPI_UseSelect\` and \`TestAPI_UsePoll\`.

${tableOf(old)}
`;
}

if (require.main === module) {
  const list = listOfPython();
  if (list === null)
    console.log('No Python 3.11 with its tests: cpython-tests.json stays as it is');
  else writeFileSync(LIST, `${JSON.stringify(list, null, 2)}\n`);
  const tests = specTests();
  const missing = counterparts([...committedList(), ...ONLY_IN_2_7], tests)
    .filter(({ test }) => test === undefined)
    .map(({ cpython }) => cpython);
  if (missing.length > 0) {
    console.error(`Without a counterpart:\n${missing.join('\n')}`);
    process.exitCode = 1;
  }
  writeFileSync(PAGE, page(tests));
}
