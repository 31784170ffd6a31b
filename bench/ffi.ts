// What each call into the C library costs, by koffi and the functions of lib/kernel/syscalls.ts: below everything
// else, where a new version of either would be seen first.
//
//   npm run bench -- ffi

import type { Bench } from './harness';
import { node } from './inside';

/** As they are called in inside/ffi.cjs. */
const CALLS = {
  'getpid, by koffi alone': 'getpid',
  'socket and close': 'socket',
  accept4: 'accept4',
  'accept4, nobody there': 'accept4Nobody',
  'recv, nothing there': 'recvNothing',
  'recv, 64 B': 'recv64',
  'send, 64 B': 'send64',
  'recv, 64 KiB': 'recv64Ki',
  'send, 64 KiB': 'send64Ki',
  'epoll_ctl, add': 'epollAdd',
  'epoll_ctl, modify': 'epollMod',
  'epoll_ctl, delete': 'epollDel',
  'epoll_wait, nothing of 64': 'epollWaitNothing',
  'epoll_wait, 1 of 64': 'epollWaitOne',
  'epoll_wait, 50 of 64': 'epollWaitFifty',
  getsockopt: 'getsockopt',
};

const bench: Bench = {
  name: 'ffi',
  title: 'Calls into the C library',
  about:
    'The functions that the library itself uses, on Unix sockets. A figure includes the way into C ' +
    'and back, the checks, and the kernel’s own work. The cheapest system call is the floor.',

  async shapes(seconds) {
    const share = seconds / 10;
    return [
      {
        name: 'calls into the C library',
        parameters: { seconds: share },
        metrics: [{ name: 'ns/call', better: 'lower' }],
        contenders: Object.entries(CALLS).map(([name, call]) => node(name, 'ffi.cjs', call, share)),
        rounds: 3,
      },
    ];
  },
};

export default bench;
