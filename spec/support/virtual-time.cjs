// Has the default map of a program go by a clock that a spec moves:
//
//   node --require ./spec/support/virtual-time.cjs program.js
//
// Each line of the standard input is a number of ms, by which the clock goes on. The program is a listing in
// a folder of its own, in which the library is installed.

const { dirname, join } = require('node:path');
const { createInterface } = require('node:readline');

const library = join(dirname(process.argv[1]), 'node_modules', 'asyncore', 'loop');
const { registryOf, socketMap } = require(join(library, 'channel-map.js'));
const { ManualClock } = require(join(library, 'clock.js'));

const clock = new ManualClock();
const registry = registryOf(socketMap);
registry.deadlines.clock = clock;
clock.onAdvance(() => registry.wake());
createInterface(process.stdin).on('line', (line) => clock.advance(Number(line)));
// The program ends as it would without this.
process.stdin.unref();
