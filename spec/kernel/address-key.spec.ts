import { networkInterfaces } from 'node:os';
import { type Address, AF_INET, AF_INET6, AF_UNIX, addressKey } from 'asyncore';
import fc from 'fast-check';
import { decodeAddress, encodeAddress } from '../../lib/kernel/address';
import { ifNameToIndex } from '../../lib/kernel/resolver';

const [LOOPBACK] = Object.keys(networkInterfaces()) as [string];
const INDEX = ifNameToIndex(LOOPBACK);
const NO_INDEX = 2 ** 31 - 1;

describe('addressKey', () => {
  it.each<[string, Address, string]>([
    ['IPv4', { host: '192.0.2.1', port: 80 }, '192.0.2.1:80'],
    ['IPv6', { host: '2001:db8::1', port: 80 }, '[2001:db8::1]:80'],
    ['another spelling of it', { host: '2001:0DB8:0:0::1', port: 80 }, '[2001:db8::1]:80'],
    ['IPv4 within IPv6', { host: '::ffff:c000:201', port: 80 }, '[::ffff:192.0.2.1]:80'],
    ['a packet of a flow', { host: '::1', port: 80, flowInfo: 5 }, '[::1]:80'],
    ['an interface', { host: `fe80::1%${LOOPBACK}`, port: 1 }, `[fe80::1%${LOOPBACK}]:1`],
    ['its index', { host: `fe80::1%${INDEX}`, port: 1 }, `[fe80::1%${LOOPBACK}]:1`],
    ['no interface', { host: 'fe80::1%0', port: 1 }, '[fe80::1]:1'],
    [
      'an index without a name',
      { host: `fe80::1%${NO_INDEX}`, port: 1 },
      `[fe80::1%${NO_INDEX}]:1`,
    ],
    ['an interface that is gone', { host: 'fe80::1%gone0', port: 1 }, '[fe80::1%gone0]:1'],
    ['a name', { host: 'Example.ORG', port: 65535 }, 'example.org:65535'],
    ['every address', { host: '', port: 0 }, ':0'],
    ['a path', { path: '/run/socket' }, '/run/socket'],
    ['a relative path', { path: '192.0.2.1:80' }, './192.0.2.1:80'],
    ['a relative path with a dot', { path: './a' }, '././a'],
    ['an abstract name', { path: '\0name' }, '\0name'],
    ['no name', { path: '' }, ''],
    ['bytes that are no UTF-8', { path: '/\ufffd', raw: Buffer.of(0x2f, 0xff) }, '[2fff]'],
    ['bytes that are', { path: '?', raw: Buffer.from('/é') }, '/é'],
    ['half a surrogate pair, which the kernel never sees', { path: '/\ud800' }, '/\ufffd'],
  ])('of %s', (_, address, key) => {
    expect(addressKey(address)).toBe(key);
  });

  const port = fc.integer({ min: 0, max: 65535 });
  // Few hosts and names, so that equal ones meet, and the bytes that keys are made of.
  const four = fc
    .uint8Array({ minLength: 4, maxLength: 4, max: 2 })
    .map((bytes) => bytes.join('.'));
  const groups = fc.array(fc.integer({ min: 0, max: 2 }), { minLength: 8, maxLength: 8 });
  const names = fc.oneof(
    fc.array(fc.constantFrom(0x2f, 0x2e, 0x31, 0x3a, 0x5b, 0x5d, 0x61, 0xff), { maxLength: 5 }),
    fc
      .constantFrom('1.1.1.1:80', './1:1', '[2fff]', '[::1]:1')
      .map((text) => [...Buffer.from(text)]),
    fc.array(fc.constantFrom(0, 0x61, 0xff), { maxLength: 4 }).map((rest) => [0, ...rest]),
  );
  /** A sockaddr, as the kernel tells addresses apart. */
  const sockaddrs = fc.oneof(
    fc.tuple(four, port).map(([host, port]) => encodeAddress({ host, port }, AF_INET, 'test')),
    fc
      .tuple(groups, fc.constantFrom(0, INDEX, NO_INDEX), fc.constantFrom(1, 80))
      .map(([bytes, scope, port]) =>
        encodeAddress({ host: `${bytes.join(':')}%${scope}`, port }, AF_INET6, 'test'),
      ),
    names.map((bytes) => encodeAddress({ path: '', raw: Buffer.from(bytes) }, AF_UNIX, 'test')),
  );

  it('is one for one address, and no two addresses have the same', () => {
    fc.assert(
      fc.property(fc.array(sockaddrs, { maxLength: 30 }), (list) => {
        const bytes = list.map((sockaddr) => sockaddr.toString('hex'));
        const keys = list.map((sockaddr) => addressKey(decodeAddress(sockaddr)));
        for (const [index, key] of keys.entries()) {
          expect(keys.map((other) => other === key)).toEqual(
            bytes.map((other) => other === bytes[index]),
          );
        }
      }),
      { numRuns: 300 },
    );
  });

  it.each<[string, unknown, string]>([
    ['null', null, 'expected { host, port } or { path }, received null'],
    ['text', '127.0.0.1:80', "expected { host, port } or { path }, received '127.0.0.1:80'"],
    ['neither', {}, 'expected { host, port } or { path }, received { path: undefined }'],
    ['a port that is none', { host: '::1', port: 65536 }, 'expected a port to be an integer'],
    ['no port', { host: '::1' }, 'expected a port to be an integer'],
    ['no host', { host: 5, port: 5 }, 'expected a host, received { host: 5, port: 5 }'],
    [
      'a host with a port',
      { host: '1.1.1.1:80', port: 5 },
      "expected a host, received '1.1.1.1:80'",
    ],
    ['a host that is a path', { host: './a', port: 5 }, "expected a host, received './a'"],
    ['an empty scope', { host: 'fe80::1%', port: 5 }, 'expected the name or index of a network'],
  ])('refuses %s', (_, address, message) => {
    expect(() => addressKey(address as Address)).toThrow(
      expect.objectContaining({
        code: expect.stringMatching(/^ERR_/),
        message: expect.stringContaining(`Cannot make a key of an address: ${message}`),
      }),
    );
  });
});
