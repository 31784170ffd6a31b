// The programs that the documentation prints, as the compiler sees them.

import { join } from 'node:path';
import ts from 'typescript';
import {
  cookbook,
  type Listings,
  namedListings,
  programsOf,
  tutorial,
  writeListings,
} from '../support/listings';
import { ROOT } from '../support/program';

const PAGES: [page: string, listings: Listings][] = [
  ['README.md', programsOf('README.md')],
  ['docs/cookbook.md', cookbook()],
  [
    'docs/porting.md',
    new Map([...programsOf('docs/porting.md'), ...namedListings('docs/porting.md')]),
  ],
  ['docs/security.md', programsOf('docs/security.md')],
  ['docs/timers.md', namedListings('docs/timers.md')],
  ['docs/tutorial.md', tutorial()],
];

const folders = PAGES.map(([page, listings]) => ({
  page,
  listings,
  folder: writeListings(listings),
}));

describe('The compiler', () => {
  /** What it says of the programs, with the options of this project: by file. */
  const complaints: [file: string, text: string][] = [];

  beforeAll(() => {
    const { config } = ts.readConfigFile(join(ROOT, 'tsconfig.json'), ts.sys.readFile);
    const { options } = ts.parseJsonConfigFileContent(config, ts.sys, ROOT);
    // The listings are elsewhere.
    delete options.rootDir;
    const files = folders.flatMap(({ folder, listings }) =>
      [...listings.keys()].map((name) => join(folder, name)),
    );
    for (const { file, messageText } of ts.getPreEmitDiagnostics(
      ts.createProgram(files, options),
    )) {
      complaints.push([file?.fileName ?? '', ts.flattenDiagnosticMessageText(messageText, '\n')]);
    }
  });

  it.each(folders)('accepts the programs of $page', ({ folder, listings }) => {
    expect(listings.size).toBeGreaterThan(0);
    expect(complaints.filter(([file]) => file.startsWith(folder))).toEqual([]);
  });

  it('accepts the library as they use it', () => {
    const elsewhere = ([file]: [string, string]): boolean =>
      folders.every(({ folder }) => !file.startsWith(folder));
    expect(complaints.filter(elsewhere)).toEqual([]);
  });
});
