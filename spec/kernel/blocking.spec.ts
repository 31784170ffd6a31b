import { AF_INET, SOCK_STREAM } from 'asyncore';
import { beforeBlocking, onBlocking } from '../../lib/kernel/blocking';
import { getaddrinfo } from '../../lib/kernel/resolver';

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

  it('is called by a look-up, which blocks the thread', () => {
    getaddrinfo('127.0.0.1', AF_INET, SOCK_STREAM);
    expect(calls).toEqual(['first', 'second']);
  });

  it('is not called by a look-up that is refused', () => {
    expect(() => getaddrinfo('a\0b', AF_INET, SOCK_STREAM)).toThrow(TypeError);
    expect(() => getaddrinfo('localhost', NaN, SOCK_STREAM)).toThrow(RangeError);
    expect(calls).toEqual([]);
  });
});
