// One call into the C library, again and again, through the functions of lib/kernel/syscalls.ts.
//
//   node ffi.cjs CALL SECONDS
//
// All calls are made some thousand times before one is measured, as in a program that needs them all:
// V8 would otherwise compile what they share for this one alone. The median of the batches leaves out
// those that were interrupted. Sockets are Unix ones: it is the way into the kernel that is of
// interest, and not TCP.

const koffi = require('koffi');
const { AF_UNIX, POLLIN, SO_ERROR, SOCK_NONBLOCK, SOCK_STREAM, SOL_SOCKET } = require('asyncore');
const { Memory, SockaddrSlot } = require('../../dist/kernel/koffi.js');
const libc = require('../../dist/kernel/syscalls.js');
const platform = require('../../dist/kernel/platform/linux.js');
const { report } = require('./measure.cjs');

const { EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD, ERRNO, LAYOUT } = platform;
const [wanted, seconds] = process.argv.slice(2);
/** Calls per batch: enough for the clock, and few enough to wait in a socket's buffer. */
const BATCH = 64;
const TYPE = SOCK_STREAM | SOCK_NONBLOCK;

const getpid = koffi.load(null).func('int getpid(void)');
const { pid } = process;

const pairs = Array.from({ length: BATCH }, () => libc.socketpair(AF_UNIX, TYPE, 0));
const [[near, far], [quiet]] = pairs;
const line = Buffer.alloc(64);
const block = Buffer.alloc(65536);
const slab = new Memory(65536);
const option = Buffer.alloc(4);
const send = (data) => () => libc.send(near, data, 0) === data.length;
const recv = (size) => () => libc.recv(far, slab, 0, size, 0) === size;

const listener = libc.socket(AF_UNIX, TYPE, 0);
const slot = new SockaddrSlot();
// An address without a name lets Linux choose one.
libc.check(libc.bind(listener, new Uint8Array(Uint16Array.of(AF_UNIX).buffer)), 'bind');
libc.check(libc.listen(listener, BATCH), 'listen');
libc.check(libc.getsockname(listener, slot), 'getsockname');
const address = Buffer.from(slot.written);
const accept = () => libc.accept4(listener, slot, SOCK_NONBLOCK);
const callers = [];
const accepted = [];

const event = new Memory(LAYOUT.epollEvent.size);
const events = new Memory(BATCH * LAYOUT.epollEvent.size);
event.buffer.writeInt32LE(POLLIN, 0);
const epfd = libc.epollCreate(platform.EPOLL_CLOEXEC);
const control = (op) => (index) => libc.epollCtl(epfd, op, pairs[index][0], event) === 0;

/** Waits for as many sockets, of which `ready` have something to read. */
function epollWait(ready) {
  const epfd = libc.epollCreate(platform.EPOLL_CLOEXEC);
  for (let index = 0; index < BATCH; index += 1) {
    const [fd, peer] = libc.socketpair(AF_UNIX, TYPE, 0);
    if (index < ready) libc.check(libc.send(peer, line, 0), 'send');
    libc.check(libc.epollCtl(epfd, EPOLL_CTL_ADD, fd, event), 'epoll_ctl');
  }
  return () => libc.epollWait(epfd, events, 0) === ready;
}

/**
 * Each function tells whether it did what it is for. What comes before a batch and after it is done
 * for each of its calls, and not measured.
 */
const CALLS = {
  getpid: { call: () => getpid() === pid },
  socket: { call: () => libc.close(libc.socket(AF_UNIX, TYPE, 0)) === 0 },
  accept4: {
    before(index) {
      callers[index] = libc.socket(AF_UNIX, TYPE, 0);
      return libc.connect(callers[index], address) === 0;
    },
    call(index) {
      accepted[index] = accept();
      return accepted[index] > 0;
    },
    after: (index) => libc.close(callers[index]) === 0 && libc.close(accepted[index]) === 0,
  },
  accept4Nobody: { call: () => accept() === -ERRNO.EAGAIN },
  recvNothing: { call: () => libc.recv(quiet, slab, 0, 65536, 0) === -ERRNO.EAGAIN },
  recv64: { before: send(line), call: recv(64) },
  send64: { call: send(line), after: recv(64) },
  recv64Ki: { batch: 1, before: send(block), call: recv(65536) },
  send64Ki: { batch: 1, call: send(block), after: recv(65536) },
  epollAdd: { call: control(EPOLL_CTL_ADD), after: control(EPOLL_CTL_DEL) },
  epollMod: {
    before: control(EPOLL_CTL_ADD),
    call: control(EPOLL_CTL_MOD),
    after: control(EPOLL_CTL_DEL),
  },
  epollDel: { before: control(EPOLL_CTL_ADD), call: control(EPOLL_CTL_DEL) },
  epollWaitNothing: { call: epollWait(0) },
  epollWaitOne: { call: epollWait(1) },
  epollWaitFifty: { call: epollWait(50) },
  getsockopt: { call: () => libc.getsockopt(near, SOL_SOCKET, SO_ERROR, option) === 4 },
};

/** @returns ns per call */
function time({ before, call, after, batch = BATCH }) {
  let right = true;
  for (let index = 0; before && index < batch; index += 1) right = before(index) && right;
  const start = performance.now();
  for (let index = 0; index < batch; index += 1) right = call(index) && right;
  const elapsed = performance.now() - start;
  for (let index = 0; after && index < batch; index += 1) right = after(index) && right;
  if (!right) throw new Error('a call did not do what it is for');
  return (elapsed * 1e6) / batch;
}

for (let times = 0; times < 20; times += 1) for (const each of Object.values(CALLS)) time(each);
const samples = [];
const end = performance.now() + seconds * 1000;
while (performance.now() < end) samples.push(time(CALLS[wanted]));
samples.sort((a, b) => a - b);
report({ 'ns/call': samples[samples.length >> 1] });
