// Every call of lib/kernel/ that takes memory, with memory that ends where an inaccessible page begins.
// Run by spec/kernel/ffi-safety.spec.ts in a process of its own: code that goes one byte too far gets a
// SIGSEGV; the kernel, where it goes too far on the caller's behalf, answers EFAULT.
//
// The kernel reads all of what it is told to send, but writes only what there is: so wherever it
// writes, more arrives than there is room for. What lib/kernel/ allocates for itself (lengths, addresses,
// pairs of descriptors) is guarded as well, by replacing the allocators.
//
//   tsx spec/support/guarded-calls.ts            all calls; prints what went wrong, if anything
//   tsx spec/support/guarded-calls.ts overrun    one byte too far, on purpose: ends by SIGSEGV

import koffi from 'koffi';

const PAGE = 4096;
const PROT_NONE = 0;
const PROT_READ_WRITE = 3;
const MAP_PRIVATE_ANONYMOUS = 0x22;

const c = koffi.load(null);
const mmap = c.func('uintptr_t mmap(uintptr_t, size_t, int, int, int, intptr_t)');
const mprotect = c.func('int mprotect(uintptr_t, size_t, int)');

/** `size` bytes, and the guard behind them. */
function guarded(size: number): ArrayBuffer {
  const room = Math.max(1, Math.ceil(size / PAGE)) * PAGE;
  const start = mmap(0, room + PAGE, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0);
  if (mprotect(start + room, PAGE, PROT_NONE) !== 0) throw new Error('mprotect');
  return koffi.view(BigInt(start + room - size), size) as ArrayBuffer;
}

const guardedBuffer = (size: number): Buffer => Buffer.from(guarded(size));

/** A typed array whose own memory is guarded; a view of other memory stays one. */
function guardArrays(name: 'Int32Array' | 'Uint32Array' | 'BigUint64Array'): void {
  const Plain = globalThis[name] as unknown as new (...args: unknown[]) => object;
  const { BYTES_PER_ELEMENT } = globalThis[name];
  const Guarded = class extends Plain {
    constructor(...args: unknown[]) {
      if (typeof args[0] === 'number') super(guarded(args[0] * BYTES_PER_ELEMENT));
      else super(...args);
    }
  };
  Object.assign(globalThis, { [name]: Guarded });
}

if (process.argv[2] === 'overrun') {
  const address = guarded(15);
  const inetNtop = c.func('void *inet_ntop(int, void *, void *, uint32_t)');
  inetNtop(10, Buffer.from(address), Buffer.alloc(64), 64);
  throw new Error('the overrun went unnoticed');
}

Object.assign(Buffer, {
  alloc: guardedBuffer,
  allocUnsafe: guardedBuffer,
  allocUnsafeSlow: guardedBuffer,
});
guardArrays('Int32Array');
guardArrays('Uint32Array');
guardArrays('BigUint64Array');

// Not before: it is to allocate with these.
const libc = require('../../lib/kernel/syscalls') as typeof import('../../lib/kernel/syscalls');
const { Memory, SockaddrSlot } =
  require('../../lib/kernel/koffi') as typeof import('../../lib/kernel/koffi');
const { MessageMemory } =
  require('../../lib/kernel/message-memory') as typeof import('../../lib/kernel/message-memory');
const resolver = require('../../lib/kernel/resolver') as typeof import('../../lib/kernel/resolver');
const constants =
  require('../../lib/kernel/platform/constants') as typeof import('../../lib/kernel/platform/constants');
const address = require('../../lib/kernel/address') as typeof import('../../lib/kernel/address');
const platform =
  require('../../lib/kernel/platform/linux') as typeof import('../../lib/kernel/platform/linux');
const { AF_INET, AF_INET6, AF_UNIX, SOCK_DGRAM, SOCK_NONBLOCK, SOCK_STREAM } = constants;

const tooLong = c.func('intptr_t send(int, void *, size_t, int)');

let calls = 0;
const wrong: string[] = [];

function expect(what: string, actual: unknown, expected: unknown): void {
  calls += 1;
  if (actual !== expected) wrong.push(`${what}: ${actual} and not ${expected}`);
}

function pair(type = SOCK_STREAM): [number, number] {
  const fds = libc.socketpair(AF_UNIX, type | SOCK_NONBLOCK, 0);
  if (typeof fds === 'number') throw libc.failure(fds, 'socketpair');
  return fds;
}

/** Memory with these bytes, at the guard. */
function bytes(content: Uint8Array): Buffer {
  const copy = guardedBuffer(content.length);
  copy.set(content);
  return copy;
}

const ANY = new Uint8Array(3 * PAGE).fill(0x5a);
const ANYWHERE = { host: '127.0.0.1', port: 0 };

for (const size of [1, 2, 7, 16, 1000, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE]) {
  const data = bytes(ANY.subarray(0, size));
  const memory = new Memory(size);

  // Out of guarded memory: all of it.
  const [a, b] = pair();
  expect(`send ${size}`, libc.send(a, data, 0), size);
  expect(`sendFrom ${size}`, libc.sendFrom(a, memory, 0, size, 0), size);
  expect(`sendFrom the last byte of ${size}`, libc.sendFrom(a, memory, size - 1, 1, 0), 1);
  expect(`write ${size}`, libc.write(a, data), size);
  for (let part = 1; part < size; part = part * 2 + 1) {
    expect(`send the last ${part}`, libc.send(a, data.subarray(size - part), 0), part);
  }

  // And the guard is there: the kernel would have noticed.
  expect(`send ${size} and one more`, tooLong(a, data, size + 1, 0), -1);

  // Into it: there is more than enough.
  for (let left = 4; left > 0; left -= 1) libc.write(a, ANY);
  expect(`recv ${size}`, libc.recv(b, memory, 0, size, 0), size);
  expect(`recv the last byte`, libc.recv(b, memory, size - 1, 1, 0), 1);
  expect(`recv nothing behind it`, libc.recv(b, memory, size, 0, 0), 0);
  expect(`recvfrom ${size}`, libc.recvfrom(b, guardedBuffer(size), 0, null), size);
  expect(`read ${size}`, libc.read(b, guardedBuffer(size)), size);
  for (const fd of [a, b]) libc.close(fd);

  // A datagram is longer than the room, and says so.
  const [e, f] = pair(SOCK_DGRAM);
  libc.send(e, ANY, 0);
  expect(`recv of a datagram`, libc.recv(f, memory, 0, size, constants.MSG_TRUNC), ANY.length);
  libc.send(e, ANY, 0);
  const slot = new SockaddrSlot();
  expect(`recvfrom of a datagram`, libc.recvfrom(f, guardedBuffer(size), 0, slot), size);

  // The data of a message ends at the guard.
  const message = new MessageMemory(0, size);
  message.prepare(0, 0, size);
  message.data.fill(0x5a);
  expect(`sendmsg ${size}`, libc.sendmsg(e, message, 0), size);
  libc.send(e, ANY, 0);
  message.prepare(message.name.length, 0, size);
  expect(`recvmsg ${size}`, libc.recvmsg(f, message, 0), size);
  for (const fd of [e, f]) libc.close(fd);
}

// Control data ends at the guard, and there is more of it.
for (const count of [1, 2, 3, 100]) {
  const [a, b] = pair();
  const size = 16 + 4 * count;
  const message = new MessageMemory(size, 0);
  const fds = Buffer.concat(Array(count).fill(Buffer.from([a, a >> 8, 0, 0])));
  message.control.set(Buffer.from(new Uint32Array([size, 0, 1, 1]).buffer));
  message.control.set(fds, 16);
  message.prepare(0, size, 0);
  const [c, d] = pair(SOCK_DGRAM);
  for (let left = 2; left > 0; left -= 1) expect(`sendmsg ${size}`, libc.sendmsg(c, message, 0), 0);
  for (const room of [size, size - 4]) {
    const into = new MessageMemory(room, 0);
    into.prepare(128, room, 0);
    expect(`recvmsg ${room}`, libc.recvmsg(d, into, 0), 0);
    // Where none fits, there is no header either.
    expect(`recvmsg ${room}, control`, into.writtenControl.length, room === 16 ? 0 : room);
    for (let at = 16; at < into.writtenControl.length; at += 4)
      libc.close(into.control.readInt32LE(at));
  }
  for (const fd of [a, b, c, d]) libc.close(fd);
}

// Addresses: the longest there are, in and out.
const longest = `\0${'x'.repeat(107)}`;
const ADDRESSES: [number, import('asyncore').Address][] = [
  [AF_INET, ANYWHERE],
  [AF_INET6, { host: '::1', port: 0 }],
  [AF_UNIX, { path: longest }],
];
for (const [family, where] of ADDRESSES) {
  const encoded = bytes(address.encodeAddress(where, family, 'bind'));
  const listener = libc.socket(family, SOCK_STREAM | SOCK_NONBLOCK, 0);
  expect(`bind ${family}`, libc.bind(listener, encoded), 0);
  libc.listen(listener, 5);
  const slot = new SockaddrSlot();
  expect(`getsockname ${family}`, libc.getsockname(listener, slot), 0);
  const target = bytes(slot.written);
  const caller = libc.socket(family, SOCK_STREAM, 0);
  if (family === AF_UNIX) libc.bind(caller, bytes(Buffer.from(`\x01\0\0${'y'.repeat(107)}`)));
  expect(`connect ${family}`, libc.connect(caller, target), 0);
  expect(`getpeername ${family}`, libc.getpeername(caller, slot), 0);
  expect(`getpeername ${family}, length`, slot.written.length, target.length);
  const accepted = libc.accept4(listener, slot, 0);
  expect(`accept4 ${family}`, accepted > 0, true);
  for (const fd of [listener, caller, accepted]) libc.close(fd);

  const to = libc.socket(family, SOCK_DGRAM | SOCK_NONBLOCK, 0);
  libc.bind(to, encoded);
  libc.getsockname(to, slot);
  const receiver = bytes(slot.written);
  const from = libc.socket(family, SOCK_DGRAM, 0);
  for (const size of [1, 100, PAGE]) {
    const data = bytes(ANY.subarray(0, size));
    expect(`sendto ${family} ${size}`, libc.sendto(from, data, 0, receiver), size);
    expect(`recvfrom ${family}`, libc.recvfrom(to, guardedBuffer(size), 0, slot), size);
  }
  for (const fd of [to, from]) libc.close(fd);
}

// Options: longer than the room, and set from no more than there is.
const tcp = libc.socket(AF_INET, SOCK_STREAM, 0);
for (const size of [1, 4, 8, 50]) {
  const value = guardedBuffer(size);
  const { IPPROTO_TCP, TCP_INFO } = constants;
  expect(`getsockopt ${size}`, libc.getsockopt(tcp, IPPROTO_TCP, TCP_INFO, value), size);
}
const { SOL_SOCKET, SO_KEEPALIVE, SO_LINGER } = constants;
expect('setsockopt 4', libc.setsockopt(tcp, SOL_SOCKET, SO_KEEPALIVE, bytes(new Uint8Array(4))), 0);
expect('setsockopt 8', libc.setsockopt(tcp, SOL_SOCKET, SO_LINGER, bytes(new Uint8Array(8))), 0);
libc.close(tcp);

// More is ready than there is room for.
const { LAYOUT, EPOLL_CTL_ADD } = platform;
const { POLLOUT } = constants;
const fds = [pair(), pair(), pair()].flat();
const epoll = libc.epollCreate(0);
const event = new Memory(LAYOUT.epollEvent.size);
for (const fd of fds) {
  event.buffer.writeInt32LE(POLLOUT, 0);
  expect('epoll_ctl', libc.epollCtl(epoll, EPOLL_CTL_ADD, fd, event), 0);
}
for (const room of [1, 2, 5]) {
  const events = new Memory(room * LAYOUT.epollEvent.size);
  expect(`epoll_wait ${room}`, libc.epollWait(epoll, events, 0), room);
  // Part of an event is room for none.
  const odd = new Memory((room + 1) * LAYOUT.epollEvent.size - 1);
  expect(`epoll_wait ${room} and a bit`, libc.epollWait(epoll, odd, 0), room);
  const pollfds = new Memory(room * LAYOUT.pollfd);
  for (let at = 0; at < room; at += 1) {
    pollfds.buffer.writeInt32LE(fds[at] as number, at * LAYOUT.pollfd);
    pollfds.buffer.writeInt16LE(POLLOUT, at * LAYOUT.pollfd + 4);
  }
  expect(`poll ${room}`, libc.poll(pollfds, room, 0), room);
}
for (const fd of [...fds, epoll]) libc.close(fd);

const pipe = libc.pipe2(0);
expect('pipe2', typeof pipe, 'object');
for (const fd of typeof pipe === 'number' ? [] : pipe) libc.close(fd);

// What the C library does by itself, where one byte too far is a SIGSEGV.
expect('inet_pton', resolver.inetPton(AF_INET6, '::1', 16)?.length, 16);
expect(
  'inet_ntop',
  resolver.inetNtop(AF_INET6, bytes(Buffer.from('ff'.repeat(16), 'hex'))).length,
  39,
);
expect('if_indextoname', resolver.ifIndexToName(1), 'lo');
expect('getaddrinfo', resolver.getaddrinfo('127.0.0.1', AF_INET, SOCK_STREAM)[0]?.length, 16);
const hints = { family: AF_INET, type: SOCK_STREAM, protocol: 0, flags: constants.AI_CANONNAME };
expect(
  'getaddrinfo, canonName',
  resolver.resolve('127.0.0.1', '80', hints)[0]?.canonName,
  '127.0.0.1',
);
const loopback = bytes(Uint8Array.of(127, 0, 0, 1));
expect(
  'gethostbyaddr_r',
  resolver.gethostbyaddr(loopback, AF_INET, '127.0.0.1').addresses[0]?.length,
  4,
);

for (const line of wrong) console.log(line);
console.log(`${calls} calls, ${wrong.length} wrong`);
// Not the regular end: Node 26 does not survive its own clean-up with these allocators in place.
process.exit(wrong.length === 0 ? 0 : 1);
