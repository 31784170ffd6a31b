// What a test has opened and no channel closes is closed after it, and so is the default map.

import { closeAll, socketMap } from 'asyncore';

const opened: { close(): void }[] = [];

export function keep<Closable extends { close(): void }>(closable: Closable): Closable {
  opened.push(closable);
  return closable;
}

afterEach(() => {
  jest.restoreAllMocks();
  closeAll(socketMap, true);
  for (const closable of opened.splice(0)) closable.close();
});
