const callbacks: (() => void)[] = [];
export function onBlocking(callback: () => void): void {
  callbacks.push(callback);
}
export function beforeBlocking(): void {
  for (const callback of callbacks) callback();
}
