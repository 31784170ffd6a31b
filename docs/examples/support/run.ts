// `npm run example NAME -- [options]`: runs docs/examples/NAME.ts as the main program.

import { readdirSync } from 'node:fs';
import Module from 'node:module';
import { dirname, join, parse } from 'node:path';

const EXAMPLES = dirname(__dirname);

const names = readdirSync(EXAMPLES)
  .filter((file) => file.endsWith('.ts'))
  .map((file) => parse(file).name);

const [, , name = '', ...rest] = process.argv;
if (names.includes(name)) {
  process.argv = [process.execPath, join(EXAMPLES, `${name}.ts`), ...rest];
  Module.runMain();
} else {
  process.stderr.write(`Usage: npm run example NAME -- [options], where NAME is one of
  ${names.join('\n  ')}
Each lists its options with --help.
`);
  process.exitCode = 2;
}
