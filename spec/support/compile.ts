// The programs of the documentation, as the compiler sees them.

import { join } from 'node:path';
import ts from 'typescript';
import { ROOT } from './program';

/** What it says of them, with the options of this project; empty when all is well. */
export function compilerErrors(files: string[]): string[] {
  const { config } = ts.readConfigFile(join(ROOT, 'tsconfig.json'), ts.sys.readFile);
  const { options } = ts.parseJsonConfigFileContent(config, ts.sys, ROOT);
  return ts
    .getPreEmitDiagnostics(ts.createProgram(files, options))
    .map(
      (one) => `${one.file?.fileName}: ${ts.flattenDiagnosticMessageText(one.messageText, '\n')}`,
    );
}
