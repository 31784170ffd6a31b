import { AF_INET, AF_INET6, AF_UNIX, SOCK_NONBLOCK, SOCK_STREAM } from 'asyncore';
import { Memory, SockaddrSlot } from '../../lib/kernel/koffi';
import { EPOLL_CTL_ADD, LAYOUT } from '../../lib/kernel/platform/linux';
import * as libc from '../../lib/kernel/syscalls';

/** A number that no descriptor of this process has. */
const NOBODY = 999_999;

const memory = new Memory(16);
const slot = new SockaddrSlot();
const opened: number[] = [];

/** A descriptor that is closed after its test. */
function keep(fd: number): number {
  libc.check(fd, 'open');
  opened.push(fd);
  return fd;
}

function pair(): [number, number] {
  const fds = libc.socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
  if (typeof fds === 'number') throw libc.failure(fds, 'socketpair');
  return [keep(fds[0]), keep(fds[1])];
}

afterEach(() => {
  for (const fd of opened.splice(0)) libc.close(fd);
});

describe('Memory', () => {
  it('gives the addresses of what lies in it', () => {
    const { buffer } = memory;
    expect(buffer).toHaveLength(16);
    const start = memory.at(0, 16);
    expect(Number.isSafeInteger(start)).toBe(true);
    expect(memory.at(15, 1) - start).toBe(15);
    expect(memory.at(16, 0) - start).toBe(16); // nothing, at the very end
  });

  it('is what the kernel writes to, at the offset and nowhere else', () => {
    const [a, b] = pair();
    libc.write(a, Buffer.from('hello'));
    memory.buffer.fill('.');
    expect(libc.recv(b, memory, 3, 5, 0)).toBe(5);
    expect(memory.buffer.toString()).toBe('...hello........');
  });

  it.each<[unknown, unknown]>([
    [0, 17],
    [16, 1],
    [17, 0],
    [1, 16],
    [-1, 1],
    [0, -1],
    [-4, 8],
    [NaN, 1],
    [0, NaN],
    [0.5, 1],
    [0, 0.5],
    [Infinity, 0],
    [0, Infinity],
    [-Infinity, Infinity],
    [2 ** 53, 2 ** 53],
    ['0', 1],
    [0, '1'],
    [undefined, 1],
    [null, 1],
  ])('refuses the range from %p of %p bytes', (offset, length) => {
    expect(() => memory.at(offset as number, length as number)).toThrow(
      expect.objectContaining({
        code: expect.stringMatching(/^ERR_(OUT_OF_RANGE|INVALID_ARG_TYPE)$/),
        message: expect.stringContaining('Cannot address memory: expected '),
      }),
    );
  });

  it.each([0, -1, NaN, 1.5, 2 ** 31 + 1, '8', null])('refuses the size %p', (size) => {
    expect(() => new Memory(size as number)).toThrow('Cannot allocate: expected a size');
  });

  it('bounds what recv, sendFrom and poll are given', () => {
    expect(() => libc.recv(NOBODY, memory, 8, 9, 0)).toThrow('expected a range within 16 bytes');
    expect(() => libc.sendFrom(NOBODY, memory, 8, 9, 0)).toThrow(
      'expected a range within 16 bytes',
    );
    expect(() => libc.poll(memory, 3, 0)).toThrow('expected a range within 16 bytes');
    expect(() => libc.poll(memory, -1, 0)).toThrow('expected a range within 16 bytes');
    expect(() => libc.epollCtl(NOBODY, EPOLL_CTL_ADD, NOBODY, new Memory(1))).toThrow(
      `expected a range within 1 bytes`,
    );
  });
});

describe('SockaddrSlot', () => {
  it('is as long as what the kernel wrote last', () => {
    const fd = keep(libc.socket(AF_INET, SOCK_STREAM, 0));
    expect(libc.getsockname(fd, slot)).toBe(0);
    expect(slot.written).toHaveLength(LAYOUT.sockaddrIn);
    const fd6 = keep(libc.socket(AF_INET6, SOCK_STREAM, 0));
    expect(libc.getsockname(fd6, slot)).toBe(0);
    expect(slot.written).toHaveLength(LAYOUT.sockaddrIn6);
    expect(libc.getsockname(pair()[0], slot)).toBe(0);
    expect(slot.written).toHaveLength(2);
  });

  it('cuts off what there was no room for', () => {
    slot.fresh()[0] = 1000;
    expect(slot.written).toHaveLength(LAYOUT.sockaddrStorage);
  });
});
