// Runs around every spec file: what it opened, it has closed again.

import { readdirSync, readlinkSync } from 'node:fs';
import { closeAll, socketMap } from 'asyncore';

/** What this library opens: sockets, epoll instances, pipes. By descriptor, with what it is. */
function openDescriptors(): Map<string, string> {
  const open = new Map<string, string>();
  for (const fd of readdirSync('/proc/self/fd')) {
    try {
      const target = readlinkSync(`/proc/self/fd/${fd}`);
      if (/^(socket|pipe):|eventpoll/.test(target)) open.set(fd, target);
    } catch {
      // The descriptor that read the directory is gone by now.
    }
  }
  return open;
}

let before: Map<string, string>;

beforeAll(() => {
  before = openDescriptors();
});

afterAll(async () => {
  closeAll(socketMap, true);
  let left: string[] = [];
  // Node's own sockets and children take a few turns to go.
  for (const end = Date.now() + 2000; Date.now() < end; ) {
    left = [...openDescriptors()]
      .filter(([fd, target]) => before.get(fd) !== target)
      .map(([fd, target]) => `${fd}: ${target}`);
    if (left.length === 0) break;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  expect(left).toEqual([]);
});
