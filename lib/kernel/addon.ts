// koffi itself, in a file of its own. koffi.ts requires it at the first call: a program may import this
// package where it cannot run. The build for bundlers imports it at the start, as bundlers only know
// external packages that are imported.

import koffi from 'koffi';

export type Koffi = typeof koffi;
export { koffi };
