// The JavaScript of the project's TypeScript. It is kept from run to run, and the compiler is only
// loaded for a file that has changed.

const { createHash } = require('node:crypto');
const { mkdirSync, readFileSync, renameSync, writeFileSync } = require('node:fs');
const { tmpdir } = require('node:os');
const { join } = require('node:path');

const CACHE = join(tmpdir(), `asyncore-spec-${process.getuid()}`);
const OPTIONS = { target: 'es2022', module: 'commonjs', esModuleInterop: true };

const { version } = require('typescript/package.json');
const salt = `${version} ${JSON.stringify(OPTIONS)}\n`;

/** @returns the JavaScript of a TypeScript file; its types are not checked */
module.exports = function transpiled(file) {
  const source = readFileSync(file, 'utf8');
  const cached = join(CACHE, createHash('sha1').update(salt).update(source).digest('hex'));
  try {
    return readFileSync(cached, 'utf8');
  } catch {
    const ts = require('typescript');
    const { options } = ts.convertCompilerOptionsFromJson(OPTIONS, __dirname);
    const { outputText } = ts.transpileModule(source, { compilerOptions: options, fileName: file });
    // Written elsewhere first: another process may read the file at any moment.
    const unfinished = `${cached}.${process.pid}`;
    mkdirSync(CACHE, { recursive: true, mode: 0o700 });
    writeFileSync(unfinished, outputText);
    renameSync(unfinished, cached);
    return outputText;
  }
};
