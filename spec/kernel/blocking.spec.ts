import { AF_INET, getAddrInfo, getFqdn, Poller, SOCK_STREAM, select } from 'asyncore';
import { beforeBlocking, onBlocking } from '../../lib/kernel/blocking';
import { getaddrinfo, gethostbyaddr } from '../../lib/kernel/resolver';

const calls: string[] = [];
onBlocking(() => calls.push('first'));
onBlocking(() => calls.push('second'));

beforeEach(() => {
  calls.length = 0;
});

describe('beforeBlocking', () => {
  it('runs what is registered, in order, at each call', () => {
    beforeBlocking();
    expect(calls).toEqual(['first', 'second']);
    beforeBlocking();
    expect(calls).toEqual(['first', 'second', 'first', 'second']);
  });

  it.each<[string, () => unknown]>([
    ['a look-up', () => getaddrinfo('127.0.0.1', AF_INET, SOCK_STREAM)],
    ['a reverse look-up', () => gethostbyaddr(Buffer.of(127, 0, 0, 1), AF_INET, '127.0.0.1')],
    ['select', () => select([], [], [], 0)],
    ['poll of a Poller', () => new Poller().poll(0)],
  ])('is called by %s, which blocks the thread', (_, block) => {
    block();
    expect(calls).toEqual(['first', 'second']);
  });

  it('is not called by what is refused', () => {
    expect(() => getaddrinfo('a\0b', AF_INET, SOCK_STREAM)).toThrow(TypeError);
    expect(() => getaddrinfo('localhost', NaN, SOCK_STREAM)).toThrow(RangeError);
    expect(() => gethostbyaddr(Buffer.alloc(5), AF_INET, '')).toThrow(RangeError);
    expect(() => getAddrInfo('localhost', 70_000)).toThrow(RangeError);
    expect(() => getFqdn(5 as never)).toThrow(TypeError);
    expect(() => select([], [], [], -1)).toThrow(RangeError);
    expect(() => new Poller().poll(NaN)).toThrow(RangeError);
    expect(calls).toEqual([]);
  });
});
