// One hook for "the thread is about to block": Redis's beforeSleep.
//
// Whatever puts work off (pending output, for one) registers here. Whatever blocks the thread calls
// `beforeBlocking` first, so that a peer is not kept waiting for the length of the wait.

const callbacks: (() => void)[] = [];

/** Has `callback` called before anything blocks the thread. There is no way to take it back. */
export function onBlocking(callback: () => void): void {
  callbacks.push(callback);
}

/** Runs what was registered, in the order of registration. */
export function beforeBlocking(): void {
  for (const callback of callbacks) callback();
}
