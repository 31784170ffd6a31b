import { networkInterfaces } from 'node:os';
import { AF_INET, AF_INET6, SOCK_STREAM } from 'asyncore';
import { LAYOUT } from '../../lib/kernel/platform/linux';
import * as resolver from '../../lib/kernel/resolver';

describe('inetPton', () => {
  it.each<[number, string, number, string | null]>([
    [AF_INET, '127.0.0.1', 4, '7f000001'],
    [AF_INET, '127.1', 4, null],
    [AF_INET, '127.0.0.1 ', 4, null],
    [AF_INET, '', 4, null],
    [AF_INET, '127.0.0.1\0', 4, null],
    [AF_INET, '::1', 4, null],
    [AF_INET6, '::1', 16, '00000000000000000000000000000001'],
    [AF_INET6, '::ffff:1.2.3.4', 16, '00000000000000000000ffff01020304'],
    [AF_INET6, '::1%lo', 16, null],
    [AF_INET6, '127.0.0.1', 16, null],
    [9999, '127.0.0.1', 4, null],
  ])('of family %i reads %j into %i bytes: %s', (family, literal, size, hex) => {
    expect(resolver.inetPton(family, literal, size)?.toString('hex') ?? null).toBe(hex);
  });
});

describe('inetNtop', () => {
  it.each([
    ['00000000000000000000000000000000', '::'],
    ['00000000000000000000000000000001', '::1'],
    ['20010db8000000000001000000000001', '2001:db8::1:0:0:1'],
    ['00000000000000000000ffff7f000001', '::ffff:127.0.0.1'],
    ['ffffffffffffffffffffffffffffffff', 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff'],
  ])('writes %s as %s', (hex, literal) => {
    expect(resolver.inetNtop(AF_INET6, Buffer.from(hex, 'hex'))).toBe(literal);
  });
});

describe('Network interfaces', () => {
  const names = Object.keys(networkInterfaces());

  it.each(names)('have an index for the name, and the name for the index: %s', (name) => {
    const index = resolver.ifNameToIndex(name);
    expect(index).toBeGreaterThan(0);
    expect(resolver.ifIndexToName(index)).toBe(name);
  });

  it.each(['', 'nowhere', 'a-name-longer-than-any-may-be', `${names[0]}\0`])(
    'have no index for %j',
    (name) => {
      expect(resolver.ifNameToIndex(name)).toBe(0);
    },
  );

  it.each([0, 2 ** 31 - 1, 2 ** 32 - 1])('have no name for %i', (index) => {
    expect(resolver.ifIndexToName(index)).toBeNull();
  });
});

describe('getaddrinfo', () => {
  it('knows localhost', () => {
    const sockaddrs = resolver.getaddrinfo('localhost', AF_INET, SOCK_STREAM);
    expect(sockaddrs).toContainEqual(Buffer.from('020000007f0000010000000000000000', 'hex'));
  });

  it('gives every address of a name, each of its own length', () => {
    for (const sockaddr of resolver.getaddrinfo('localhost', 0, SOCK_STREAM)) {
      expect(sockaddr).toHaveLength(
        sockaddr.readUInt16LE(0) === AF_INET ? LAYOUT.sockaddrIn : LAYOUT.sockaddrIn6,
      );
    }
    expect(resolver.getaddrinfo('::1', 0, SOCK_STREAM)).toEqual([
      Buffer.from('0a000000000000000000000000000000000000000000000100000000', 'hex'),
    ]);
  });

  it('gives one address for each socket type when none is asked for', () => {
    const [stream] = resolver.getaddrinfo('127.0.0.1', AF_INET, SOCK_STREAM);
    const all = resolver.getaddrinfo('127.0.0.1', AF_INET, 0);
    expect(all.length).toBeGreaterThan(1);
    expect(all).toEqual(all.map(() => stream));
  });

  it.each<[string, string, number, number, RegExp]>([
    ['a name that cannot exist', 'name.invalid', AF_INET, SOCK_STREAM, /^(ENOTFOUND|EAI_AGAIN)$/],
    ['a family that does not exist', 'localhost', 9999, SOCK_STREAM, /^EAI_FAMILY$/],
    ['a type that does not exist', 'localhost', AF_INET, 9999, /^EAI_SOCKTYPE$/],
    ['a literal of another family', '::1', AF_INET, SOCK_STREAM, /^(EAI_ADDRFAMILY|ENOTFOUND)$/],
  ])("fails for %s under the code of Node's own lookup", (_name, host, family, type, code) => {
    expect(() => resolver.getaddrinfo(host, family, type)).toThrow(
      expect.objectContaining({
        name: 'SocketError',
        code: expect.stringMatching(code),
        errno: expect.any(Number),
        syscall: 'getaddrinfo',
        address: host,
      }),
    );
  });

  it('refuses a name with a NUL', () => {
    expect(() => resolver.getaddrinfo('localhost\0x', AF_INET, SOCK_STREAM)).toThrow(
      'Cannot look up a host: expected a name without NUL',
    );
  });
});
