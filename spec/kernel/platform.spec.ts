import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { constants } from 'node:os';
import * as asyncore from 'asyncore';
import * as names from '../../lib/kernel/platform/constants';
import * as platform from '../../lib/kernel/platform/linux';
import { temporaryPath } from '../support/drive';

/** Runs `body` as if this were another machine. */
function elsewhere(os: string, cpu: string, body: () => void): void {
  const real = { platform: process.platform, arch: process.arch };
  const pretend = (values: { platform: string; arch: string }): void => {
    for (const [key, value] of Object.entries(values)) {
      Object.defineProperty(process, key, { value, configurable: true, enumerable: true });
    }
  };
  pretend({ platform: os, arch: cpu });
  try {
    jest.isolateModules(body);
  } finally {
    pretend(real);
  }
}

describe('requirePlatform', () => {
  it.each(['linux-x64', 'linux-arm64'])('accepts %s', (name) => {
    expect(() => platform.requirePlatform(name)).not.toThrow();
  });

  it.each(['darwin-arm64', 'win32-x64', 'linux-arm', 'linux-ia32', 'freebsd-x64', ''])(
    "refuses '%s' by its name, and says what is supported",
    (name) => {
      expect(() => platform.requirePlatform(name)).toThrow(
        expect.objectContaining({
          code: 'ERR_UNSUPPORTED_PLATFORM',
          message: `Cannot open a socket on ${name}: asyncore supports Linux on x64 and arm64, with glibc or musl`,
        }),
      );
    },
  );

  it('asks about this machine when no name is given', () => {
    expect(() => platform.requirePlatform()).not.toThrow();
    elsewhere('sunos', 'mips', () => {
      const there: typeof platform = require('../../lib/kernel/platform/linux');
      expect(() => there.requirePlatform()).toThrow('Cannot open a socket on sunos-mips:');
    });
  });
});

describe.each([
  ['darwin', 'arm64'],
  ['win32', 'x64'],
  ['linux', 'ia32'],
])('The package on %s-%s', (os, cpu) => {
  it('can be imported, and everything that needs no kernel works', () => {
    elsewhere(os, cpu, () => {
      jest.doMock('koffi', () => {
        throw new Error('koffi was loaded');
      });
      const there: typeof asyncore = require('asyncore');
      expect(Object.keys(there).sort()).toEqual(Object.keys(asyncore).sort());
      expect(there.findPrefixAtEnd(Buffer.from('qwerty\r'), Buffer.from('\r\n'))).toBe(1);
      expect(new there.SimpleProducer('abc', 2).more()).toHaveLength(2);
      expect(new there.ChannelMap().size).toBe(0);
    });
  });

  it.each<[string, (there: typeof asyncore) => unknown]>([
    ['Socket.socket()', ({ Socket }) => Socket.socket()],
    ['Socket.pair()', ({ Socket }) => Socket.pair()],
    ['Socket.fromFd()', ({ Socket }) => Socket.fromFd(0)],
    ['strerror()', ({ strerror }) => strerror(1)],
  ])('refuses at the first use of the kernel, before koffi is loaded: %s', (_name, use) => {
    elsewhere(os, cpu, () => {
      jest.doMock('koffi', () => {
        throw new Error('koffi was loaded');
      });
      const there: typeof asyncore = require('asyncore');
      const refusal = expect.objectContaining({
        code: 'ERR_UNSUPPORTED_PLATFORM',
        message: expect.stringContaining(`on ${os}-${cpu}:`),
      });
      expect(() => use(there)).toThrow(refusal);
      // Nothing is half loaded: the second try is told the same.
      expect(() => use(there)).toThrow(refusal);
    });
  });
});

describe('LAYOUT', () => {
  it.each([
    ['x64', { size: 12, data: 4 }],
    ['arm64', { size: 16, data: 8 }],
  ])('knows how the kernel lays out struct epoll_event on %s', (cpu, layout) => {
    elsewhere('linux', cpu, () => {
      const there: typeof platform = require('../../lib/kernel/platform/linux');
      expect(there.LAYOUT.epollEvent).toEqual(layout);
    });
  });
});

describe('ERRNO', () => {
  it('agrees with the numbers that Node has', () => {
    expect(platform.ERRNO).toMatchObject(constants.errno);
  });
});

const HEADERS = [
  'arpa/inet.h',
  'dlfcn.h',
  'errno.h',
  'fcntl.h',
  'netdb.h',
  'netinet/in.h',
  'netinet/tcp.h',
  'poll.h',
  'stddef.h',
  'stdio.h',
  'sys/epoll.h',
  'sys/socket.h',
  'sys/un.h',
];

/** A compiler for a processor, and what runs its programs here. */
interface Toolchain {
  readonly cpu: string;
  readonly gcc: string[];
  readonly emulator: string[];
}

const TOOLCHAINS: Toolchain[] = [{ cpu: process.arch, gcc: ['gcc'], emulator: [] }];
if (process.arch === 'x64') {
  TOOLCHAINS.push({
    cpu: 'arm64',
    gcc: ['aarch64-linux-gnu-gcc', '-static'],
    emulator: ['qemu-aarch64-static'],
  });
}

function run([command = '', ...args]: string[]): string {
  const { status, stdout, stderr } = spawnSync(command, args, { encoding: 'utf8', timeout: 8000 });
  if (status !== 0) throw new Error(`${command}: ${stderr}`);
  return stdout;
}

/** C's own value of each expression. */
function askCompiler({ gcc, emulator }: Toolchain, expressions: string[]): Record<string, number> {
  const program = [
    '#define _GNU_SOURCE',
    ...HEADERS.map((header) => `#include <${header}>`),
    'int main(void) {',
    ...expressions.map((text) => `printf("%s\\t%lld\\n", "${text}", (long long)(${text}));`),
    'return 0; }',
  ].join('\n');
  const source = temporaryPath('constants.c');
  const binary = source.replace(/\.c$/, '');
  writeFileSync(source, program);
  run([...gcc, '-o', binary, source]);
  const lines = run([...emulator, binary])
    .trim()
    .split('\n');
  return Object.fromEntries(lines.map((line) => line.split('\t')).map(([k, v]) => [k, Number(v)]));
}

describe.each(TOOLCHAINS)("The C headers' values on $cpu", (toolchain) => {
  const missing = [...toolchain.gcc.slice(0, 1), ...toolchain.emulator].filter(
    (command) => spawnSync(command, ['--version']).status !== 0,
  );

  /** Says at the test's name why it is skipped. */
  function itWithCompiler(behaviour: string, body: () => void): void {
    if (missing.length === 0) it(behaviour, body);
    else it.skip(`${behaviour} (skipped: no ${missing[0]} on this machine)`, body);
  }

  function expectAsInC(ours: Record<string, number>): void {
    expect(Object.keys(ours).length).toBeGreaterThan(0);
    expect(ours).toEqual(askCompiler(toolchain, Object.keys(ours)));
  }

  itWithCompiler('are those of every constant that programs use', () => {
    expectAsInC({ ...names });
  });

  itWithCompiler("are those of the library's own constants", () => {
    // SOCK_TYPE_MASK is in no header for programs.
    const { RTLD_LAZY_NODELETE, NEW_SOCKET_FLAGS, SOCK_TYPE_MASK: _, ...rest } = platform;
    const own = Object.entries(rest).flatMap(([name, value]): [string, number][] =>
      typeof value === 'number' && !(name in names) ? [[name, value]] : [],
    );
    expect(own.map(([name]) => name)).toContain('EPOLL_CTL_ADD');
    expectAsInC({
      ...Object.fromEntries(own),
      'RTLD_LAZY | RTLD_NODELETE': RTLD_LAZY_NODELETE,
      'SOCK_NONBLOCK | SOCK_CLOEXEC': NEW_SOCKET_FLAGS,
    });
  });

  itWithCompiler('are those of every errno', () => {
    expectAsInC({ ...platform.ERRNO });
  });

  itWithCompiler('are those of the sizes and offsets', () => {
    let layout: typeof platform.LAYOUT | undefined;
    elsewhere('linux', toolchain.cpu, () => {
      layout = (require('../../lib/kernel/platform/linux') as typeof platform).LAYOUT;
    });
    const { addrinfo, hostent, epollEvent, msghdr, iovec, cmsghdr, ...sizes } =
      layout as typeof platform.LAYOUT;
    expectAsInC({
      'sizeof(struct sockaddr_in)': sizes.sockaddrIn,
      'sizeof(struct sockaddr_in6)': sizes.sockaddrIn6,
      'sizeof(((struct sockaddr_un *)0)->sun_path)': sizes.sunPath,
      'sizeof(struct sockaddr_storage)': sizes.sockaddrStorage,
      'sizeof(struct pollfd)': sizes.pollfd,
      'sizeof(Dl_info)': sizes.dlInfo,
      'offsetof(Dl_info, dli_fname)': 0,
      'sizeof(struct addrinfo)': addrinfo.size,
      'offsetof(struct addrinfo, ai_flags)': addrinfo.flags,
      'offsetof(struct addrinfo, ai_family)': addrinfo.family,
      'offsetof(struct addrinfo, ai_socktype)': addrinfo.type,
      'offsetof(struct addrinfo, ai_protocol)': addrinfo.protocol,
      'offsetof(struct addrinfo, ai_canonname)': addrinfo.canonName,
      'offsetof(struct addrinfo, ai_addrlen)': addrinfo.addrlen,
      'offsetof(struct addrinfo, ai_addr)': addrinfo.addr,
      'offsetof(struct addrinfo, ai_next)': addrinfo.next,
      'sizeof(struct hostent)': hostent.size,
      'offsetof(struct hostent, h_name)': hostent.name,
      'offsetof(struct hostent, h_aliases)': hostent.aliases,
      'offsetof(struct hostent, h_addrtype)': hostent.family,
      'offsetof(struct hostent, h_length)': hostent.length,
      'offsetof(struct hostent, h_addr_list)': hostent.addresses,
      'sizeof(struct msghdr)': msghdr.size,
      'offsetof(struct msghdr, msg_name)': msghdr.name,
      'offsetof(struct msghdr, msg_namelen)': msghdr.nameLength,
      'offsetof(struct msghdr, msg_iov)': msghdr.iov,
      'offsetof(struct msghdr, msg_iovlen)': msghdr.iovLength,
      'offsetof(struct msghdr, msg_control)': msghdr.control,
      'offsetof(struct msghdr, msg_controllen)': msghdr.controlLength,
      'offsetof(struct msghdr, msg_flags)': msghdr.flags,
      'sizeof(struct iovec)': iovec.size,
      'offsetof(struct iovec, iov_base)': iovec.base,
      'offsetof(struct iovec, iov_len)': iovec.length,
      'CMSG_LEN(0)': cmsghdr.size,
      'offsetof(struct cmsghdr, cmsg_len)': cmsghdr.length,
      'offsetof(struct cmsghdr, cmsg_level)': cmsghdr.level,
      'offsetof(struct cmsghdr, cmsg_type)': cmsghdr.type,
      'CMSG_ALIGN(1)': cmsghdr.align,
      'sizeof(struct epoll_event)': epollEvent.size,
      'offsetof(struct epoll_event, data)': epollEvent.data,
    });
  });

  itWithCompiler("are those of getaddrinfo's answers", () => {
    // Node reports EAI_NONAME and EAI_NODATA as ENOTFOUND.
    const ours = Object.entries(platform.EAI).map(([value, code]): [string, number] => {
      if (code !== 'ENOTFOUND') return [code, Number(value)];
      return [value === '-2' ? 'EAI_NONAME' : 'EAI_NODATA', Number(value)];
    });
    expectAsInC(Object.fromEntries(ours));
  });

  itWithCompiler("are those of gethostbyaddr's answers", () => {
    const names = ['NETDB_INTERNAL', 'HOST_NOT_FOUND', 'TRY_AGAIN', 'NO_RECOVERY', 'NO_DATA'];
    const asInC = askCompiler(toolchain, names);
    expect(names.map((name) => platform.H_ERRNO[asInC[name] as number])).toEqual([
      'EAI_SYSTEM',
      'ENOTFOUND',
      'EAI_AGAIN',
      'EAI_FAIL',
      'ENOTFOUND',
    ]);
  });
});
