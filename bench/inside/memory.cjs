// Preloaded into a server: answers each line on stdin with the bytes that are in use on the JavaScript
// side, on V8's heap and off it. Needs --expose-gc.

const { setImmediate } = require('node:timers/promises');

process.stdin.on('data', async () => {
  // What the callbacks of one collection let go of is the next one's.
  for (let times = 0; times < 3; times += 1) {
    globalThis.gc();
    await setImmediate();
  }
  const { heapUsed, external } = process.memoryUsage();
  console.log(heapUsed + external);
});
