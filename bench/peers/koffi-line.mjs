// Line echo as a bare loop over the kernel's calls, by koffi and by hand: what a line costs in JavaScript without a
// library. One receive for each event, every line searched for and copied to the output, and one send for all lines
// of a read. The beginning of a line waits in its connection's own Buffer. With an argument, a connection is closed
// after the first answer.
//
// The sends follow at the end of the tick. Where the kernel does not take all of one, the measurement ends.

import koffi from 'koffi';

const c = koffi.load(null);
const socket = c.func('int socket(int, int, int)');
const bind = c.func('int bind(int, void *, uint32_t)');
const listen = c.func('int listen(int, int)');
const getsockname = c.func('int getsockname(int, void *, void *)');
const setsockopt = c.func('int setsockopt(int, int, int, void *, uint32_t)');
const accept4 = c.func('int accept4(int, void *, void *, int)');
const recv = c.func('intptr_t recv(int, uintptr_t, size_t, int)');
const send = c.func('intptr_t send(int, uintptr_t, size_t, int)');
const close = c.func('int close(int)');
const epollCreate = c.func('int epoll_create1(int)');
const epollControl = c.func('int epoll_ctl(int, int, int, void *)');
const epollWait = c.func('int epoll_wait(int, uintptr_t, int, int)');

const once = process.argv.length > 2;
const [AF_INET, STREAM, IPPROTO_TCP, TCP_NODELAY, NON_BLOCKING] = [2, 1 | 0o4000, 6, 1, 0o4000];
const [EPOLLIN, EPOLL_CTL_ADD, EVENT, EVENTS] = [1, 1, process.arch === 'x64' ? 12 : 16, 1024];
const SIZE = 65536;

const input = Buffer.alloc(SIZE);
const output = Buffer.alloc(EVENTS * 4096);
const events = new Int32Array((EVENTS * EVENT) / 4);
const [from, to, ready] = [input, output, events].map((memory) => Number(koffi.address(memory)));
const epoll = epollCreate(0);
const begun = [];
/** What is to be sent in this tick: descriptor, start and end, and so on. */
let sends = [];
let used = 0;

function watch(fd) {
  const event = new Int32Array(EVENT / 4);
  event[0] = EPOLLIN;
  event[EVENT / 4 - 2] = fd;
  epollControl(epoll, EPOLL_CTL_ADD, fd, event);
}

function acceptAll() {
  let peer = accept4(listener, null, null, NON_BLOCKING);
  while (peer >= 0) {
    watch(peer);
    peer = accept4(listener, null, null, NON_BLOCKING);
  }
}

function echo(fd) {
  const got = recv(fd, from, SIZE, 0);
  if (got <= 0) {
    begun[fd] = undefined;
    close(fd);
    return;
  }
  const start = used;
  let at = 0;
  for (let end = input.indexOf(10, 0); end !== -1 && end < got; end = input.indexOf(10, at)) {
    if (begun[fd] !== undefined) used += begun[fd].copy(output, used);
    begun[fd] = undefined;
    used += input.copy(output, used, at, end + 1);
    at = end + 1;
  }
  if (at < got) {
    const rest = Buffer.from(input.subarray(at, got));
    begun[fd] = begun[fd] === undefined ? rest : Buffer.concat([begun[fd], rest]);
  }
  if (used > start) sends.push(fd, start, used);
}

function flush() {
  for (let index = 0; index < sends.length; index += 3) {
    const [fd, start, end] = [sends[index], sends[index + 1], sends[index + 2]];
    if (send(fd, to + start, end - start, 0x4000) !== end - start) process.exit(2);
    if (once) close(fd);
  }
  sends = [];
  used = 0;
}

const listener = socket(AF_INET, STREAM, 0);
const address = Buffer.from([AF_INET, 0, 0, 0, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, Int32Array.of(1), 4);
bind(listener, address, 16);
listen(listener, 65535);
getsockname(listener, address, Uint32Array.of(16));
console.log(`port: ${address.readUInt16BE(2)}`);
watch(listener);
// Lets the line out before the thread is blocked.
setImmediate(() => {
  for (;;) {
    const count = epollWait(epoll, ready, EVENTS, -1);
    for (let index = 0; index < count; index += 1) {
      const fd = events[(index * EVENT + EVENT - 8) / 4];
      if (fd === listener) acceptAll();
      else echo(fd);
    }
    flush();
  }
});
