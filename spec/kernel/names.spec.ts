// The look-ups of names that programs call. Where there is a Python, it is asked the same.

import { spawnSync } from 'node:child_process';
import { hostname } from 'node:os';
import {
  type AddrInfo,
  type AddrInfoOptions,
  AF_INET,
  AF_INET6,
  AI_ADDRCONFIG,
  AI_CANONNAME,
  AI_NUMERICHOST,
  AI_NUMERICSERV,
  AI_PASSIVE,
  getAddrInfo,
  getFqdn,
  getHostByAddr,
  getHostByName,
  IPPROTO_TCP,
  IPPROTO_UDP,
  SOCK_DGRAM,
  SOCK_STREAM,
} from 'asyncore';
import { raw } from '../../lib/kernel/koffi';
import { LAYOUT } from '../../lib/kernel/platform/linux';
import { itWithPython, PYTHON } from '../support/python';

afterEach(() => {
  jest.restoreAllMocks();
});

const STREAM = { family: AF_INET, type: SOCK_STREAM };

/** What Python answers to an expression, as JSON. */
function ask(expression: string): unknown {
  const code = `import json, socket\nprint(json.dumps(${expression}))`;
  const { stdout, stderr } = spawnSync(PYTHON as string, ['-c', code], {
    encoding: 'utf8',
    timeout: 10_000,
  });
  if (stdout === '') throw new Error(stderr);
  return JSON.parse(stdout);
}

/** As Python writes it. */
function asTuple({ family, type, protocol, canonName, address }: AddrInfo): unknown[] {
  const { host, port } = address;
  return [
    family,
    type,
    protocol,
    canonName,
    family === AF_INET6 ? [host, port, 0, 0] : [host, port],
  ];
}

type Arguments = [host: string | null, port: number | string | null, options: AddrInfoOptions];

describe('getAddrInfo', () => {
  it.each<[string, Arguments, [host: string, port: number]]>([
    ['a literal and a port', ['192.0.2.1', 80, STREAM], ['192.0.2.1', 80]],
    ['a port as text', ['192.0.2.1', '80', STREAM], ['192.0.2.1', 80]],
    ['no port', ['192.0.2.1', null, STREAM], ['192.0.2.1', 0]],
    ['a service', ['192.0.2.1', 'http', STREAM], ['192.0.2.1', 80]],
    ['an old spelling', ['127.1', 65535, STREAM], ['127.0.0.1', 65535]],
    ['no host: this machine', [null, 80, STREAM], ['127.0.0.1', 80]],
    ['no host, to listen', [null, 80, { ...STREAM, flags: AI_PASSIVE }], ['0.0.0.0', 80]],
    ['a name', ['localhost', 80, { ...STREAM, flags: AI_ADDRCONFIG }], ['127.0.0.1', 80]],
  ])('of %s', (_, args, [host, port]) => {
    expect(getAddrInfo(...args)).toContainEqual({
      family: AF_INET,
      type: SOCK_STREAM,
      protocol: IPPROTO_TCP,
      canonName: '',
      address: { host, port },
    });
  });

  it('tells each type and protocol of an address, when none is asked for', () => {
    const answers = getAddrInfo('::1', 53);
    expect(answers.map(({ type, protocol }) => [type, protocol])).toEqual(
      expect.arrayContaining([
        [SOCK_STREAM, IPPROTO_TCP],
        [SOCK_DGRAM, IPPROTO_UDP],
      ]),
    );
    for (const { family, address } of answers) {
      expect([family, address]).toEqual([AF_INET6, { host: '::1', port: 53 }]);
    }
    const udp = getAddrInfo('::1', 53, { protocol: IPPROTO_UDP });
    expect(udp.map(({ type, protocol }) => [type, protocol])).toEqual([[SOCK_DGRAM, IPPROTO_UDP]]);
  });

  it('tells the canonical name with AI_CANONNAME', () => {
    const [first] = getAddrInfo('127.0.0.1', 80, { flags: AI_CANONNAME });
    expect(first?.canonName).toBe('127.0.0.1');
    for (const { canonName } of getAddrInfo('127.0.0.1', 80)) expect(canonName).toBe('');
  });

  it('looks a name of other letters up as the DNS has it', () => {
    const look = jest.spyOn(raw, 'getaddrinfo').mockReturnValue(-2);
    expect(() => getAddrInfo('bücher.invalid')).toThrow(
      expect.objectContaining({ code: 'ENOTFOUND', address: 'bücher.invalid' }),
    );
    expect(look.mock.calls.map(([host]) => host)).toEqual(['xn--bcher-kva.invalid']);
    // A name that the DNS cannot have is not asked for, and no part of it.
    const names = [
      'ü ü',
      'ｌocalhost/evil',
      'ｌocalhost?x',
      'ｌoc\talhost',
      'ｌoc%61lhost',
      'ü@b',
      'ü:1',
    ];
    for (const name of [...names, 'ｌocalhost\\x', 'ü[', 'a\uff0fb', 'a\uff05b']) {
      expect(() => getAddrInfo(name)).toThrow(
        expect.objectContaining({ code: 'ENOTFOUND', address: name }),
      );
    }
    expect(look).toHaveBeenCalledTimes(1);
  });

  it('takes a port as a string, and says what is wrong with a service', () => {
    const [first] = getAddrInfo('127.0.0.1', '0080');
    expect(first?.address).toEqual({ host: '127.0.0.1', port: 80 });
    expect(() => getAddrInfo('127.0.0.1', 'no-such-service')).toThrow(
      /EAI_SERVICE: the service cannot be looked up/,
    );
  });

  it.each<[string, Arguments, object]>([
    [
      'a name where a literal is asked for',
      ['localhost', 80, { flags: AI_NUMERICHOST }],
      { code: 'ENOTFOUND', errno: -2, address: 'localhost' },
    ],
    [
      'a service where a number is asked for',
      ['127.0.0.1', 'http', { flags: AI_NUMERICSERV }],
      { code: 'ENOTFOUND', errno: -2 },
    ],
    [
      'an unknown service',
      ['127.0.0.1', 'no-such-service', {}],
      { code: 'EAI_SERVICE', errno: -8, address: 'no-such-service' },
    ],
    ['no host and no port', [null, null, {}], { code: 'ENOTFOUND', address: '' }],
    ['an unknown family', ['127.0.0.1', 80, { family: 9999 }], { code: 'EAI_FAMILY' }],
    ['an unknown flag', ['127.0.0.1', 80, { flags: 1 << 30 }], { code: 'EAI_BADFLAGS' }],
  ])('fails for %s', (_, args, error) => {
    expect(() => getAddrInfo(...args)).toThrow(
      expect.objectContaining({ name: 'SocketError', syscall: 'getaddrinfo', ...error }),
    );
  });

  it.each<[string, unknown[], string]>([
    ['no host', [undefined, 80], 'expected the name of a host, or null, received undefined'],
    ['a host with a NUL', ['localhost\0x', 80], 'expected a name without NUL'],
    ['a service with a NUL', ['localhost', 'http\0'], 'expected a service without NUL'],
    [
      'a port beyond 65535',
      ['localhost', 65536],
      'expected a port to be an integer from 0 to 65535',
    ],
    [
      'an unknown option',
      ['localhost', 80, { socktype: 1 }],
      'expected options named family, type',
    ],
    ['a family in place of options', ['localhost', 80, 2], 'expected an object of options'],
    ['text for a family', ['localhost', 80, { family: '4' }], 'expected family to be an integer'],
    ['half a flag', ['localhost', 80, { flags: 0.5 }], 'expected flags to be an integer'],
    ['a port too large, as a string', ['127.0.0.1', '99999'], 'expected a port'],
    ['a negative port, as a string', ['127.0.0.1', '-1'], 'expected a port'],
  ])('refuses %s', (_, args, message) => {
    expect(() => getAddrInfo(...(args as Arguments))).toThrow(
      expect.objectContaining({
        code: expect.stringMatching(/^ERR_INVALID_ARG|^ERR_OUT_OF_RANGE/),
        message: expect.stringContaining(`Cannot look up a host: ${message}`),
      }),
    );
  });

  itWithPython('answers as Python does', () => {
    const cases: [Arguments, string][] = [
      [['localhost', 'http', {}], "'localhost', 'http'"],
      [['::1', 25, {}], "'::1', 25"],
      [[null, 80, { flags: AI_PASSIVE }], 'None, 80, flags=socket.AI_PASSIVE'],
      [
        ['127.0.0.1', null, { flags: AI_CANONNAME }],
        "'127.0.0.1', None, flags=socket.AI_CANONNAME",
      ],
      [['localhost', 53, { type: SOCK_DGRAM }], "'localhost', 53, type=socket.SOCK_DGRAM"],
    ];
    const theirs = ask(`[${cases.map(([, args]) => `socket.getaddrinfo(${args})`).join(', ')}]`);
    expect(cases.map(([args]) => getAddrInfo(...args).map(asTuple))).toEqual(theirs);
  });
});

describe('getHostByName', () => {
  it.each([
    ['localhost', '127.0.0.1'],
    ['192.0.2.1', '192.0.2.1'],
    ['127.1', '127.0.0.1'],
    ['', '0.0.0.0'],
    ['<broadcast>', '255.255.255.255'],
  ])('of %j is %s', (name, literal) => {
    expect(getHostByName(name)).toBe(literal);
  });

  it.each([
    ['name.invalid', /^(ENOTFOUND|EAI_AGAIN)$/],
    ['::1', /^(EAI_ADDRFAMILY|ENOTFOUND)$/],
  ])('fails for %s', (name, code) => {
    expect(() => getHostByName(name)).toThrow(
      expect.objectContaining({ name: 'SocketError', code: expect.stringMatching(code) }),
    );
  });
});

/** Has gethostbyaddr_r(3) answer with this entry, or with a code of h_errno. */
function answerWith(
  entry: { name: string; aliases: string[] } | number,
  room = 0,
): jest.SpyInstance {
  return jest.spyOn(raw, 'gethostbyaddr_r').mockImplementation((...args) => {
    const [address, , family, hostent, memory, size, found, herrno] = args as [
      Uint8Array,
      number,
      number,
      Buffer,
      number,
      number,
      BigUint64Array,
      Int32Array,
    ];
    if (size < room) return 34; // ERANGE
    if (typeof entry === 'number') {
      herrno[0] = entry;
      return 0;
    }
    // The strings and lists stand where the program says, as C puts them.
    const pieces: Buffer[] = [];
    let at = BigInt(memory);
    const put = (bytes: Buffer): bigint => {
      const where = at;
      const padded = Buffer.alloc(Math.ceil(bytes.length / 8) * 8);
      padded.set(bytes);
      pieces.push(padded);
      at += BigInt(padded.length);
      return where;
    };
    const list = (pointers: bigint[]): bigint => {
      const bytes = Buffer.alloc(8 * (pointers.length + 1));
      for (const [index, pointer] of pointers.entries()) bytes.writeBigUInt64LE(pointer, index * 8);
      return put(bytes);
    };
    const text = (string: string): bigint => put(Buffer.from(`${string}\0`));
    const { name, aliases, family: familyAt, length, addresses } = LAYOUT.hostent;
    hostent.writeBigUInt64LE(text(entry.name), name);
    hostent.writeBigUInt64LE(list(entry.aliases.map(text)), aliases);
    hostent.writeInt32LE(family, familyAt);
    hostent.writeInt32LE(address.length, length);
    hostent.writeBigUInt64LE(list([put(Buffer.from(address))]), addresses);
    write(memory, Buffer.concat(pieces));
    found[0] = 1n;
    return 0;
  });
}

/** Writes to memory of C's. */
function write(address: number, bytes: Buffer): void {
  const koffi = jest.requireActual('koffi') as typeof import('koffi');
  koffi.load(null).func('void memcpy(uintptr_t, void *, size_t)')(address, bytes, bytes.length);
}

describe('getHostByAddr', () => {
  it.each([
    ['127.0.0.1', '127.0.0.1'],
    ['localhost', '127.0.0.1'],
  ])('knows the name of %s', (host, literal) => {
    const { name, addresses } = getHostByAddr(host);
    expect(name).toMatch(/^[\w.-]+$/);
    expect(addresses).toContain(literal);
  });

  it('tells the name, the aliases and the addresses', () => {
    answerWith({ name: 'mail.example', aliases: ['mail', 'müll'] });
    expect(getHostByAddr('192.0.2.1')).toEqual({
      name: 'mail.example',
      aliases: ['mail', 'müll'],
      addresses: ['192.0.2.1'],
    });
    expect(getHostByAddr('2001:db8::1').addresses).toEqual(['2001:db8::1']);
  });

  it('takes more memory for a host with many aliases', () => {
    const aliases = Array.from({ length: 500 }, (_, index) => `alias-${index}.example`);
    const look = answerWith({ name: 'a', aliases }, 20_000);
    expect(getHostByAddr('192.0.2.1').aliases).toEqual(aliases);
    expect(look.mock.calls.map((args) => args[5])).toEqual([1024, 4096, 16_384, 65_536]);
  });

  it.each([
    [1, 'ENOTFOUND', -2],
    [2, 'EAI_AGAIN', -3],
    [3, 'EAI_FAIL', -4],
    [4, 'ENOTFOUND', -2],
    [-1, 'EAI_SYSTEM', -11],
  ])('fails under the codes of getAddrInfo: h_errno %i', (herrno, code, errno) => {
    answerWith(herrno);
    expect(() => getHostByAddr('192.0.2.1')).toThrow(
      expect.objectContaining({
        code,
        errno,
        syscall: 'gethostbyaddr',
        message: `${code}: the address cannot be looked up, gethostbyaddr 192.0.2.1`,
      }),
    );
  });

  itWithPython('answers as Python does', () => {
    const { name, aliases, addresses } = getHostByAddr('127.0.0.1');
    expect([name, aliases, addresses]).toEqual(ask("socket.gethostbyaddr('127.0.0.1')"));
  });
});

describe('getFqdn', () => {
  it.each<[string, string, string[], string]>([
    ['the name, when it has a dot', 'mail.example', ['other.example'], 'mail.example'],
    ['else the first alias with a dot', 'mail', ['m', 'a.example', 'b.example'], 'a.example'],
    ['else the name', 'mail', ['m'], 'mail'],
  ])('is %s', (_, name, aliases, expected) => {
    answerWith({ name, aliases });
    expect(getFqdn('192.0.2.1')).toBe(expected);
  });

  it('is what was asked for, without spaces, where the address has no name', () => {
    answerWith(1);
    expect(getFqdn(' 192.0.2.1\n')).toBe('192.0.2.1');
  });

  it('is what was asked for, where the name has no address', () => {
    expect(getFqdn('name.invalid')).toBe('name.invalid');
  });

  it.each(['', ' ', '0.0.0.0', '::'])('of %j is this machine’s', (name) => {
    const look = jest.spyOn(raw, 'getaddrinfo').mockReturnValue(-2);
    expect(getFqdn(name)).toBe(hostname());
    expect(look.mock.calls[0]?.[0]).toBe(hostname());
  });

  it('lets an error that is none of a look-up out', () => {
    jest.spyOn(raw, 'getaddrinfo').mockImplementation(() => {
      throw new TypeError('a bug');
    });
    expect(() => getFqdn('localhost')).toThrow('a bug');
  });

  itWithPython('answers as Python does', () => {
    expect([getFqdn(), getFqdn('127.0.0.1'), getFqdn('localhost'), getFqdn('::1')]).toEqual(
      ask("[socket.getfqdn(), *map(socket.getfqdn, ['127.0.0.1', 'localhost', '::1'])]"),
    );
  });
});

it.each([getHostByName, getHostByAddr])('%p refuses what is no name', (look) => {
  expect(() => look(null as never)).toThrow(
    'Cannot look up a host: expected the name of a host, received null',
  );
  expect(() => look('a\0b')).toThrow('Cannot look up a host: expected a name without NUL');
});
