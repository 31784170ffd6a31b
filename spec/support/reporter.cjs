// What `npm test` says beside jest's own words: at the start how long all tests take, and at the end what
// was skipped, and why. A skip has its reason at the end of its name (skips.ts).

const { relative } = require('node:path');

const REASON = /\(skipped: (.*?)\)(?= |$)/;

class Reporter {
  #config;
  #write;

  constructor(config, { write = (text) => process.stderr.write(text) } = {}) {
    this.#config = config;
    this.#write = write;
  }

  onRunStart() {
    const { nonFlagArgs = [], onlyChanged, testNamePattern } = this.#config;
    if (nonFlagArgs.length > 0 || onlyChanged || testNamePattern) return;
    this.#write('All tests take about three minutes on two cores.\n');
  }

  onRunComplete(_contexts, { testResults }) {
    /** By reason: how many, and in which files. */
    const skips = new Map();
    for (const { testFilePath, testResults: tests } of testResults) {
      const file = relative(this.#config.rootDir, testFilePath);
      for (const { fullName, status } of tests) {
        if (status !== 'pending') continue;
        const reason = REASON.exec(fullName)?.[1];
        // jest also calls a test pending that -t has left out.
        if (reason === undefined && this.#config.testNamePattern) continue;
        const skip = skips.get(reason ?? fullName) ?? { count: 0, files: new Set() };
        skip.count += 1;
        skip.files.add(file);
        skips.set(reason ?? fullName, skip);
      }
    }
    if (skips.size === 0) return;
    const lines = [...skips].map(
      ([reason, { count, files }]) => `  ${reason}: ${count} in ${[...files].sort().join(', ')}\n`,
    );
    this.#write(`\nSkipped:\n${lines.sort().join('')}`);
  }
}

module.exports = Reporter;
