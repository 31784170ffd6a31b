// `npm run example NAME -- [options]`: runs docs/examples/NAME.ts as the main program.

import { readdirSync } from 'node:fs';
import Module from 'node:module';
import { dirname, join, parse } from 'node:path';

const EXAMPLES = dirname(__dirname);

const names = readdirSync(EXAMPLES)
  .filter((file) => file.endsWith('.ts'))
  .map((file) => parse(file).name);

const USAGE = `Usage: npm run example NAME -- [options]
  -h, --help  prints this, or the options of NAME

NAME is one of
  ${names.join('\n  ')}
`;

const [, , name = '', ...rest] = process.argv;
if (names.includes(name)) {
  process.argv = [process.execPath, join(EXAMPLES, `${name}.ts`), ...rest];
  Module.runMain();
} else if (name === '--help' || name === '-h') {
  process.stdout.write(USAGE);
} else {
  process.stderr.write(name === '' ? USAGE : `There is no example ${name}.\n${USAGE}`);
  process.exitCode = 2;
}
