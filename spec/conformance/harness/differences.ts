// The rows of docs/differences.md, by which suites excuse what differs.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';

const PAGE = join(__dirname, '..', '..', '..', 'docs', 'differences.md');

/** The first cells of its tables. */
export function documentedRows(): string[] {
  return readFileSync(PAGE, 'utf8')
    .split('\n')
    .filter((line) => line.startsWith('| '))
    .map((line) => line.slice(2, line.indexOf(' |', 2)));
}

/** Those beginnings of rows that do not name exactly one row of the page. */
export function unknownRows(beginnings: Iterable<string>): string[] {
  const rows = documentedRows();
  return [...beginnings].filter((text) => rows.filter((row) => row.startsWith(text)).length !== 1);
}
