import { promises as dns } from 'node:dns';
import { networkInterfaces } from 'node:os';
import { inspect } from 'node:util';
import { type Address, AF_INET, AF_INET6, AF_UNIX, SOCK_DGRAM, SOCK_STREAM } from 'asyncore';
import fc from 'fast-check';
import {
  decodeAddress,
  encodeAddress,
  formatAddress,
  lookUpHost,
  needsLookup,
  resolveAddress,
} from '../../lib/kernel/address';
import { ifNameToIndex } from '../../lib/kernel/resolver';

const PORT = fc.integer({ min: 0, max: 65535 });
const UINT32 = fc.integer({ min: 0, max: 2 ** 32 - 1 });
const ADDRESS6 = fc.uint8Array({ minLength: 16, maxLength: 16 });

/** A network interface of this machine, and an index that no interface has. */
const [LOOPBACK] = Object.keys(networkInterfaces()) as [string];
const NO_INDEX = 2 ** 31 - 1;

function sockaddrIn(port: number, host: number[]): Buffer {
  return Buffer.from([2, 0, port >> 8, port & 255, ...host, 0, 0, 0, 0, 0, 0, 0, 0]);
}

function sockaddrIn6(port: number, host: Uint8Array, flowInfo = 0, scope = 0): Buffer {
  const sockaddr = Buffer.alloc(28);
  sockaddr.writeUInt16LE(10, 0);
  sockaddr.writeUInt16BE(port, 2);
  sockaddr.writeUInt32BE(flowInfo, 4);
  sockaddr.set(host, 8);
  sockaddr.writeUInt32LE(scope, 24);
  return sockaddr;
}

function sockaddrUn(name: string | number[]): Buffer {
  const bytes = typeof name === 'string' ? Buffer.from(name) : Uint8Array.from(name);
  return Buffer.concat([Buffer.of(1, 0), bytes]);
}

/** The 16 bytes of ::1, ff02::1 and so on: the first two, zeros, the last. */
function host6(head: number, tail: number): Uint8Array {
  return Uint8Array.from([head >> 8, head & 255, ...new Array(13).fill(0), tail]);
}

describe('encodeAddress and decodeAddress', () => {
  describe.each<[string, number, Address, Buffer]>([
    [
      'IPv4',
      AF_INET,
      { host: '192.0.2.7', port: 0x1f90 },
      Buffer.from('02001f90c00002070000000000000000', 'hex'),
    ],
    [
      'IPv6',
      AF_INET6,
      { host: '2001:db8::7', port: 80 },
      Buffer.from('0a0000500000000020010db800000000000000000000000700000000', 'hex'),
    ],
    [
      'IPv6 with flow information',
      AF_INET6,
      { host: '::1', port: 1, flowInfo: 0x000abcde },
      sockaddrIn6(1, host6(0, 1), 0x000abcde),
    ],
    [
      'IPv6 with a scope of no interface',
      AF_INET6,
      { host: `fe80::1%${NO_INDEX}`, port: 1 },
      sockaddrIn6(1, host6(0xfe80, 1), 0, NO_INDEX),
    ],
    ['a Unix path', AF_UNIX, { path: '/tmp/s' }, sockaddrUn('/tmp/s\0')],
    ['a Unix path beyond ASCII', AF_UNIX, { path: '/tmp/ü' }, sockaddrUn('/tmp/ü\0')],
    ['an abstract name', AF_UNIX, { path: '\0name' }, sockaddrUn('\0name')],
    ['an abstract name with NULs in it', AF_UNIX, { path: '\0a\0b\0' }, sockaddrUn('\0a\0b\0')],
    ['no Unix name', AF_UNIX, { path: '' }, sockaddrUn('')],
    [
      'a Unix path that is not UTF-8',
      AF_UNIX,
      { path: '/\ufffd', raw: Buffer.from([0x2f, 0xff]) },
      sockaddrUn([0x2f, 0xff, 0]),
    ],
    [
      'an abstract name that is not UTF-8',
      AF_UNIX,
      { path: '\0\ufffd', raw: Buffer.from([0, 0xc3]) },
      sockaddrUn([0, 0xc3]),
    ],
  ])('of %s', (_name, family, address, sockaddr) => {
    it("writes the kernel's bytes", () => {
      expect(encodeAddress(address, family, 'bind')).toEqual(sockaddr);
    });

    it('reads them back', () => {
      expect(decodeAddress(sockaddr)).toEqual(address);
    });
  });

  it('names the interface of a scope by its name, and takes its index too', () => {
    const index = ifNameToIndex(LOOPBACK);
    const sockaddr = sockaddrIn6(5, host6(0xfe80, 1), 0, index);
    expect(decodeAddress(sockaddr)).toEqual({ host: `fe80::1%${LOOPBACK}`, port: 5 });
    for (const scope of [LOOPBACK, String(index)]) {
      expect(encodeAddress({ host: `fe80::1%${scope}`, port: 5 }, AF_INET6, 'bind')).toEqual(
        sockaddr,
      );
    }
  });

  it.each<[string, string, number, Buffer]>([
    ["'' as every address of IPv4", '', AF_INET, sockaddrIn(9, [0, 0, 0, 0])],
    ["'' as every address of IPv6", '', AF_INET6, sockaddrIn6(9, host6(0, 0))],
    ["'<broadcast>' as all of IPv4", '<broadcast>', AF_INET, sockaddrIn(9, [255, 255, 255, 255])],
  ])("reads Python's %s", (_name, host, family, sockaddr) => {
    expect(encodeAddress({ host, port: 9 }, family, 'bind')).toEqual(sockaddr);
  });

  it('reads an unnamed peer from a sockaddr of no bytes at all', () => {
    expect(decodeAddress(Buffer.alloc(0))).toEqual({ path: '' });
  });

  it('ends a path at its NUL, and not the abstract name that starts with one', () => {
    expect(decodeAddress(sockaddrUn('/tmp/s\0rubbish'))).toEqual({ path: '/tmp/s' });
    expect(decodeAddress(sockaddrUn('\0name\0more'))).toEqual({ path: '\0name\0more' });
  });

  it('reads the path of 108 bytes that the kernel allows and leaves without a NUL', () => {
    expect(decodeAddress(sockaddrUn('p'.repeat(108)))).toEqual({ path: 'p'.repeat(108) });
  });

  it('hands out raw bytes that outlive the sockaddr', () => {
    const sockaddr = sockaddrUn([0x2f, 0xff, 0]);
    const address = decodeAddress(sockaddr);
    sockaddr.fill(0);
    expect(address).toHaveProperty('raw', Buffer.from([0x2f, 0xff]));
  });

  it('refuses to read the sockaddr of another family', () => {
    const netlink = Buffer.from([16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    expect(() => decodeAddress(netlink)).toThrow(
      expect.objectContaining({
        code: 'ERR_OUT_OF_RANGE',
        message: expect.stringContaining(
          'Cannot decode an address: expected an IPv4, IPv6 or Unix sockaddr',
        ),
      }),
    );
  });
});

describe('Nothing is lost', () => {
  it('on the way from an IPv4 address to bytes and back', () => {
    fc.assert(
      fc.property(fc.ipV4(), PORT, (host, port) => {
        const address = { host, port };
        expect(decodeAddress(encodeAddress(address, AF_INET, 'bind'))).toEqual(address);
      }),
    );
  });

  it('on the way from IPv4 bytes to an address and back', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 4, maxLength: 4 }), PORT, (host, port) => {
        const sockaddr = sockaddrIn(port, [...host]);
        expect(encodeAddress(decodeAddress(sockaddr), AF_INET, 'bind')).toEqual(sockaddr);
      }),
    );
  });

  it('on the way from an IPv6 literal, however spelt, to bytes and back', () => {
    fc.assert(
      fc.property(fc.ipV6(), PORT, UINT32, (host, port, flowInfo) => {
        const sockaddr = encodeAddress({ host, port, flowInfo }, AF_INET6, 'bind');
        const address = decodeAddress(sockaddr);
        expect(address).toMatchObject(flowInfo === 0 ? { port } : { port, flowInfo });
        // The shortest spelling: a fixed point.
        expect(encodeAddress(address, AF_INET6, 'bind')).toEqual(sockaddr);
        expect(decodeAddress(encodeAddress(address, AF_INET6, 'bind'))).toEqual(address);
      }),
    );
  });

  it('on the way from IPv6 bytes with flow information and scope to an address and back', () => {
    fc.assert(
      fc.property(ADDRESS6, PORT, UINT32, UINT32, (host, port, flowInfo, scope) => {
        const sockaddr = sockaddrIn6(port, host, flowInfo, scope);
        expect(encodeAddress(decodeAddress(sockaddr), AF_INET6, 'bind')).toEqual(sockaddr);
      }),
    );
  });

  it('on the way from a Unix path to bytes and back', () => {
    const path = fc
      .string({ unit: 'binary', maxLength: 107 })
      .filter((text) => Buffer.byteLength(text) <= 107 && !text.includes('\0'));
    fc.assert(
      fc.property(path, (path) => {
        expect(decodeAddress(encodeAddress({ path }, AF_UNIX, 'bind'))).toEqual({ path });
      }),
    );
  });

  it('on the way from an abstract name to bytes and back', () => {
    const name = fc
      .string({ unit: 'binary', maxLength: 107 })
      .filter((text) => Buffer.byteLength(text) <= 107);
    fc.assert(
      fc.property(name, (name) => {
        const address = { path: `\0${name}` };
        expect(decodeAddress(encodeAddress(address, AF_UNIX, 'bind'))).toEqual(address);
      }),
    );
  });

  it("on the way from any bytes of a Unix name to an address and back, as the kernel's", () => {
    const path = fc
      .uint8Array({ min: 1, minLength: 1, maxLength: 107 })
      .map((bytes) => sockaddrUn([...bytes, 0]));
    const abstract = fc.uint8Array({ maxLength: 107 }).map((bytes) => sockaddrUn([0, ...bytes]));
    fc.assert(
      fc.property(fc.oneof(path, abstract), (sockaddr) => {
        expect(encodeAddress(decodeAddress(sockaddr), AF_UNIX, 'bind')).toEqual(sockaddr);
      }),
    );
  });
});

describe('encodeAddress', () => {
  const TYPE = { name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' };
  const RANGE = { name: 'RangeError', code: 'ERR_OUT_OF_RANGE' };

  it.each<[unknown, number, object, string]>([
    // Nothing that could be an address.
    [null, AF_INET, TYPE, 'expected { host, port } or { path }, received null'],
    [undefined, AF_UNIX, TYPE, 'expected { host, port } or { path }, received undefined'],
    ['127.0.0.1:80', AF_INET, TYPE, "expected { host, port } or { path }, received '127.0.0.1:80'"],
    [80, AF_INET6, TYPE, 'expected { host, port } or { path }, received 80'],
    // The other kind of address.
    ...Object.entries<[number, unknown][]>({
      AF_INET: [
        [AF_INET6, { host: '127.0.0.1', port: 1 }],
        [AF_INET6, { host: '127.0.0.1%lo', port: 1 }],
        [AF_INET6, { host: '<broadcast>', port: 1 }],
        [AF_UNIX, { host: '127.0.0.1', port: 1 }],
        [AF_UNIX, { host: 'localhost', port: 1 }],
      ],
      AF_INET6: [
        [AF_INET, { host: '::1', port: 1 }],
        [AF_INET, { host: 'fe80::1%lo', port: 1 }],
        [AF_INET, { host: '::ffff:127.0.0.1', port: 1 }],
        [AF_UNIX, { host: 'fe80::1%lo', port: 1 }],
      ],
      AF_UNIX: [
        [AF_INET, { path: '/tmp/s' }],
        [AF_INET6, { path: '\0name' }],
      ],
    }).flatMap(([right, rows]) =>
      rows.map(([family, address]): [unknown, number, object, string] => {
        const { host = address } = address as { host?: string };
        const received = inspect(family === AF_UNIX ? address : host);
        return [address, family, TYPE, `received ${received}; use createSocket(${right})`];
      }),
    ),
    [{ host: '::1', port: 1 }, 16, RANGE, 'expected a socket of IPv4, IPv6 or Unix, received 16'],
    // Hosts.
    [{ port: 1 }, AF_INET, TYPE, 'expected a host, received { port: 1 }'],
    [{ host: 2130706433, port: 1 }, AF_INET, TYPE, 'expected a host'],
    [{ host: 'localhost', port: 1 }, AF_INET, TYPE, "an IPv4 address, received 'localhost'"],
    [{ host: 'localhost', port: 1 }, AF_INET6, TYPE, "an IPv6 address, received 'localhost'"],
    [{ host: '1.2.3', port: 1 }, AF_INET, TYPE, "an IPv4 address, received '1.2.3'"],
    [{ host: '1.2.3.256', port: 1 }, AF_INET, TYPE, "an IPv4 address, received '1.2.3.256'"],
    [{ host: '1.2.3.4%lo', port: 1 }, AF_INET, TYPE, "an IPv4 address, received '1.2.3.4%lo'"],
    [{ host: '127.0.0.1\0', port: 1 }, AF_INET, TYPE, "received '127.0.0.1\\x00'"],
    [{ host: '::1\0', port: 1 }, AF_INET6, TYPE, "received '::1\\x00'"],
    [{ host: '::1::', port: 1 }, AF_INET6, TYPE, "received '::1::'"],
    [{ host: '[::1]', port: 1 }, AF_INET6, TYPE, "received '[::1]'"],
    // Scopes.
    [{ host: 'fe80::1%', port: 1 }, AF_INET6, RANGE, "index of a network interface, received ''"],
    [{ host: 'fe80::1%nowhere', port: 1 }, AF_INET6, RANGE, "received 'nowhere'"],
    [{ host: 'fe80::1%4294967296', port: 1 }, AF_INET6, RANGE, "received '4294967296'"],
    [{ host: 'fe80::1%-1', port: 1 }, AF_INET6, RANGE, "received '-1'"],
    [{ host: `fe80::1%${LOOPBACK}\0`, port: 1 }, AF_INET6, RANGE, '\\x00'],
    // Ports.
    [{ host: '::1' }, AF_INET6, TYPE, 'a port to be an integer from 0 to 65535, received undef'],
    [{ host: '127.0.0.1', port: '80' }, AF_INET, TYPE, "from 0 to 65535, received '80'"],
    [{ host: '127.0.0.1', port: null }, AF_INET, TYPE, 'from 0 to 65535, received null'],
    [{ host: '127.0.0.1', port: -1 }, AF_INET, RANGE, 'from 0 to 65535, received -1'],
    [{ host: '127.0.0.1', port: 65536 }, AF_INET, RANGE, 'from 0 to 65535, received 65536'],
    [{ host: '127.0.0.1', port: 80.5 }, AF_INET, RANGE, 'from 0 to 65535, received 80.5'],
    [{ host: '::1', port: NaN }, AF_INET6, RANGE, 'from 0 to 65535, received NaN'],
    // Flow information.
    [{ host: '::1', port: 1, flowInfo: -1 }, AF_INET6, RANGE, 'flowInfo to be an integer'],
    [{ host: '::1', port: 1, flowInfo: 2 ** 32 }, AF_INET6, RANGE, 'received 4294967296'],
    [{ host: '::1', port: 1, flowInfo: '1' }, AF_INET6, TYPE, "received '1'"],
    // Unix names.
    [{ path: 5 }, AF_UNIX, TYPE, 'expected a Unix address { path }, received { path: 5 }'],
    [{ path: '/a\0b' }, AF_UNIX, TYPE, "a Unix path without NUL, received '/a\\x00b'"],
    [{ path: '/a\0' }, AF_UNIX, TYPE, 'a Unix path without NUL'],
    [{ path: 'p'.repeat(108) }, AF_UNIX, RANGE, 'a Unix path of at most 107 bytes'],
    [{ path: 'ü'.repeat(54) }, AF_UNIX, RANGE, 'a Unix path of at most 107 bytes'],
    [{ path: `\0${'n'.repeat(108)}` }, AF_UNIX, RANGE, 'a Unix path of at most 108 bytes'],
    [{ path: '', raw: Buffer.alloc(108, 'p') }, AF_UNIX, RANGE, 'at most 107 bytes'],
  ])('refuses %j for family %i', (address, family, error, text) => {
    expect(() => encodeAddress(address as Address, family, 'frobnicate')).toThrow(
      expect.objectContaining({
        ...error,
        message: expect.stringMatching(/^Cannot frobnicate: expected /),
      }),
    );
    expect(() => encodeAddress(address as Address, family, 'frobnicate')).toThrow(text);
  });

  it.each([
    ['a path', 'p'.repeat(107), 2 + 107 + 1],
    ['an abstract name', `\0${'n'.repeat(107)}`, 2 + 108],
  ])('takes the longest name there is room for: %s', (_name, path, length) => {
    expect(encodeAddress({ path }, AF_UNIX, 'bind')).toHaveLength(length);
  });

  it('ignores flow information for IPv4, which has none', () => {
    const address = { host: '127.0.0.1', port: 1, flowInfo: -1 };
    expect(encodeAddress(address, AF_INET, 'bind')).toEqual(sockaddrIn(1, [127, 0, 0, 1]));
  });

  it('takes raw bytes before the path that cannot represent them', () => {
    const address = { path: 'ignored', raw: Uint8Array.of(0x2f, 0xfe) };
    expect(encodeAddress(address, AF_UNIX, 'bind')).toEqual(Buffer.from([1, 0, 0x2f, 0xfe, 0]));
  });
});

describe('needsLookup', () => {
  it.each<[unknown, boolean]>([
    [{ host: 'localhost', port: 1 }, true],
    [{ host: 'example.org', port: 1 }, true],
    [{ host: '127.1', port: 1 }, true], // getaddrinfo(3) knows this spelling, inet_pton(3) does not
    [{ host: '127.0.0.1', port: 1 }, false],
    [{ host: '::1', port: 1 }, false],
    [{ host: 'fe80::1%eth0', port: 1 }, false],
    [{ host: '', port: 1 }, false],
    [{ host: '<broadcast>', port: 1 }, false],
    [{ path: '/tmp/s' }, false],
    [{ host: 5, port: 1 }, false], // refused later, by encodeAddress
    [{}, false],
    [null, false],
    [undefined, false],
    ['localhost', false],
  ])('of %j is %p', (address, expected) => {
    expect(needsLookup(address as Address)).toBe(expected);
  });
});

describe('resolveAddress', () => {
  it("looks 'localhost' up", () => {
    const address = { host: 'localhost', port: 80 };
    const sockaddr = resolveAddress(address, AF_INET, SOCK_STREAM, 'connect');
    expect(sockaddr.readUInt16LE(0)).toBe(AF_INET);
    expect(sockaddr.readUInt16BE(2)).toBe(80);
    expect(sockaddr[4]).toBe(127);
    expect(sockaddr).toHaveLength(16);
  });

  it("agrees with Node about 'localhost' over IPv6, be it ::1 or an error", async () => {
    const node = await dns.lookup('localhost', { family: 6 }).then(
      ({ address }) => address,
      (error: NodeJS.ErrnoException) => error.code,
    );
    let ours: unknown;
    try {
      ours = lookUpHost('localhost', AF_INET6, SOCK_DGRAM);
    } catch (error) {
      ours = (error as NodeJS.ErrnoException).code;
    }
    expect(ours).toBe(node);
  });

  it('keeps the port and the flow information of what it looks up', () => {
    // A numeric spelling that is no literal: looked up without any network.
    const address = { host: '127.1', port: 0xabcd };
    expect(resolveAddress(address, AF_INET, SOCK_STREAM, 'connect')).toEqual(
      sockaddrIn(0xabcd, [127, 0, 0, 1]),
    );
  });

  it.each<[string, number, Address]>([
    ['a literal', AF_INET, { host: '192.0.2.1', port: 5 }],
    ['a scoped literal', AF_INET6, { host: `fe80::1%${LOOPBACK}`, port: 5 }],
    ['every address', AF_INET, { host: '', port: 5 }],
    ['a Unix path', AF_UNIX, { path: '/tmp/localhost' }],
  ])('takes %s as it is', (_name, family, address) => {
    expect(resolveAddress(address, family, SOCK_STREAM, 'connect')).toEqual(
      encodeAddress(address, family, 'connect'),
    );
  });

  it('fails with the codes of dns.lookup, and names the host', () => {
    expect(() =>
      resolveAddress({ host: 'name.invalid', port: 1 }, AF_INET, SOCK_STREAM, 'connect'),
    ).toThrow(
      expect.objectContaining({
        name: 'SocketError',
        code: expect.stringMatching(/^(ENOTFOUND|EAI_AGAIN)$/),
        syscall: 'getaddrinfo',
        address: 'name.invalid',
      }),
    );
  });

  it.each<[string, number, unknown, string]>([
    ['a bad port', AF_INET, { host: 'name.invalid', port: -1 }, 'a port to be an integer'],
    [
      'bad flow information',
      AF_INET6,
      { host: 'name.invalid', port: 1, flowInfo: -1 },
      'flowInfo to be an integer',
    ],
    ['a family without hosts', 16, { host: 'name.invalid', port: 1 }, 'a socket of IPv4, IPv6'],
    ['a host for a Unix socket', AF_UNIX, { host: 'name.invalid', port: 1 }, 'a Unix address'],
  ])('refuses %s before it waits for an answer', (_name, family, address, text) => {
    expect(() => resolveAddress(address as Address, family, SOCK_STREAM, 'connect')).toThrow(text);
  });

  it('says that an IPv6 literal takes no brackets', () => {
    expect(() =>
      resolveAddress({ host: '[::1]', port: 1 }, AF_INET6, SOCK_STREAM, 'connect'),
    ).toThrow("Cannot connect: expected an IPv6 address without brackets, received '[::1]'");
  });

  it('refuses a name with a NUL, where C would have stopped reading', () => {
    expect(() =>
      resolveAddress({ host: 'localhost\0.evil', port: 1 }, AF_INET, SOCK_STREAM, 'connect'),
    ).toThrow(expect.objectContaining({ code: 'ERR_INVALID_ARG_TYPE' }));
  });
});

describe('formatAddress', () => {
  it.each<[string, Address]>([
    ['127.0.0.1:80', { host: '127.0.0.1', port: 80 }],
    ['example.org:80', { host: 'example.org', port: 80 }],
    [':0', { host: '', port: 0 }],
    ['[::1]:80', { host: '::1', port: 80 }],
    ['[fe80::1%eth0]:80', { host: 'fe80::1%eth0', port: 80, flowInfo: 5 }],
    ["'/tmp/socket'", { path: '/tmp/socket' }],
    ["'\\0name\\0'", { path: '\0name\0' }],
    ["''", { path: '' }],
  ])('writes %s', (text, address) => {
    expect(formatAddress(address)).toBe(text);
  });
});
