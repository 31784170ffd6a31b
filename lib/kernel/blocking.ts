// What must happen before the thread blocks. The kernel wing knows that it is about to block, and the
// wings above know what must not wait for that long: their pending output.

const callbacks: (() => void)[] = [];

/** Has `callback` called before each call that blocks the thread. It stays registered for good. */
export function onBlocking(callback: () => void): void {
  callbacks.push(callback);
}

/** Called by whatever is about to block the thread. */
export function beforeBlocking(): void {
  for (const callback of callbacks) callback();
}
