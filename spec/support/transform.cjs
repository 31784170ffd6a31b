// What jest makes of a TypeScript file. ts-jest does the work, and it loads the compiler: 0.7 s in
// every worker. It is therefore loaded only for a file that jest has no JavaScript of yet.

const { createHash } = require('node:crypto');
const { readFileSync } = require('node:fs');
const { join } = require('node:path');

const TSCONFIG = join(__dirname, '..', '..', 'tsconfig.json');
const VERSIONS = ['ts-jest', 'typescript', 'jest'].map((name) => {
  return `${name} ${require(`${name}/package.json`).version}`;
});
const SALT = [
  ...VERSIONS,
  process.version,
  readFileSync(TSCONFIG),
  readFileSync(__filename),
].join();

let tsJest;

module.exports = {
  getCacheKey(source, file, { configString, instrument }) {
    const key = createHash('sha1').update(`${SALT}\0${configString}\0${instrument}\0${file}\0`);
    return key.update(source).digest('hex');
  },
  process(source, file, options) {
    tsJest ??= require('ts-jest').default.createTransformer({ tsconfig: TSCONFIG });
    return tsJest.process(source, file, options);
  },
};
