// Output that a channel holds back until its event ends, so that the answers to a burst of requests
// leave in one send. Nobody may notice, so it leaves before anything waits (a handler that calls
// poll() for the reply), and before the process exits.

/** Sends what is being held back. */
export const sendHeld = Symbol('sendHeld');

interface Holder {
  [sendHeld](): void;
}

let holder: Holder | null = null;
let watchingExit = false;

/** @returns whether `candidate` may hold output back: there is room for one at a time */
export function hold(candidate: Holder): boolean {
  if (holder !== null) return false;
  holder = candidate;
  if (!watchingExit) {
    watchingExit = true;
    process.on('exit', releaseHeld);
  }
  return true;
}

/** The event is over. What was held is the holder's to send. */
export function unhold(): void {
  holder = null;
}

/** Somebody is about to wait. */
export function releaseHeld(): void {
  holder?.[sendHeld]();
}
