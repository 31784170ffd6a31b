// The JavaScript of the project's TypeScript. It is kept from run to run, and the compiler is only
// loaded for a file that has changed.

const { createHash } = require('node:crypto');
const { mkdirSync, readFileSync, renameSync, writeFileSync } = require('node:fs');
const { tmpdir } = require('node:os');
const { join } = require('node:path');
const { version } = require('typescript/package.json');

const CACHE = join(tmpdir(), `asyncore-spec-${process.getuid()}`);

/** @returns the JavaScript of a TypeScript file; its types are not checked */
module.exports = function transpiled(file) {
  const source = readFileSync(file, 'utf8');
  const module = file.endsWith('.mts') ? 'es2022' : 'commonjs';
  const options = { target: 'es2022', module, esModuleInterop: true };
  const salt = `${version} ${JSON.stringify(options)}\n`;
  const cached = join(CACHE, createHash('sha1').update(salt).update(source).digest('hex'));
  try {
    return readFileSync(cached, 'utf8');
  } catch {
    const ts = require('typescript');
    const compilerOptions = ts.convertCompilerOptionsFromJson(options, __dirname).options;
    const { outputText } = ts.transpileModule(source, { compilerOptions, fileName: file });
    // Written elsewhere first: another process may read the file at any moment.
    const unfinished = `${cached}.${process.pid}`;
    mkdirSync(CACHE, { recursive: true, mode: 0o700 });
    writeFileSync(unfinished, outputText);
    renameSync(unfinished, cached);
    return outputText;
  }
};
