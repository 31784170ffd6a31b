import { inspect } from 'node:util';
import { compactTraceback, DISCONNECTED, ExitNow, Socket, SocketError } from 'asyncore';
import {
  badRange,
  badType,
  checkInteger,
  codeOf,
  notImplemented,
  stackOf,
  textOf,
} from '../lib/errors';
import { closedSocket, errorCode, SHORTAGE } from '../lib/kernel/errno';

function fail(): never {
  throw new Error('asked');
}

/** What a program may throw, and what String() makes of it: undefined where it throws itself. */
const THROWN: [string, unknown, string | undefined][] = [
  ['null', null, 'null'],
  ['undefined', undefined, 'undefined'],
  ['a number', 42, '42'],
  ['a string', 'gone', 'gone'],
  ['a symbol', Symbol('gone'), 'Symbol(gone)'],
  ['a bigint', 7n, '7'],
  ['a plain object', {}, '[object Object]'],
  ['a function', fail, String(fail)],
  ['an object without prototype', Object.create(null), undefined],
  ['an object whose toString throws', { toString: fail }, undefined],
  ['an object whose toString gives an object', { toString: () => ({}) }, undefined],
  [
    'an object whose getters throw',
    Object.defineProperties(
      {},
      Object.fromEntries(['code', 'stack', 'message', 'name'].map((key) => [key, { get: fail }])),
    ),
    '[object Object]',
  ],
  [
    'a proxy that refuses everything',
    new Proxy({}, { get: fail, getPrototypeOf: fail }),
    undefined,
  ],
];

describe('SocketError', () => {
  it('carries code, errno and syscall, and says all of them', () => {
    const error = new SocketError('ECONNRESET', 104, 'recv', 'Connection reset by peer');
    expect(error).toBeInstanceOf(Error);
    expect(error).toMatchObject({
      name: 'SocketError',
      code: 'ECONNRESET',
      errno: 104,
      syscall: 'recv',
      message: 'ECONNRESET: Connection reset by peer, recv',
    });
    expect(String(error)).toBe('SocketError: ECONNRESET: Connection reset by peer, recv');
    expect('address' in error).toBe(false);
  });

  it('carries the address of a call that has one', () => {
    const error = new SocketError('EACCES', 13, 'bind', 'Permission denied', '127.0.0.1:80');
    expect(error.address).toBe('127.0.0.1:80');
    expect(error.message).toBe('EACCES: Permission denied, bind 127.0.0.1:80');
  });

  it("is what the kernel's refusal arrives as", () => {
    const socket = Socket.socket();
    try {
      expect(() => socket.getPeerName()).toThrow(SocketError);
      expect(() => socket.getPeerName()).toThrow(
        expect.objectContaining({
          name: 'SocketError',
          code: 'ENOTCONN',
          errno: 107,
          syscall: 'getpeername',
          message: 'ENOTCONN: Transport endpoint is not connected, getpeername',
        }),
      );
    } finally {
      socket.close();
    }
  });
});

describe('ExitNow', () => {
  it('is an Error of its own name', () => {
    const error = new ExitNow('enough');
    expect(error).toBeInstanceOf(Error);
    expect(String(error)).toBe('ExitNow: enough');
  });
});

describe('errorCode', () => {
  it.each([
    [11, 'EAGAIN'], // not EWOULDBLOCK, which is the same number
    [95, 'ENOTSUP'], // nor EOPNOTSUPP
    [104, 'ECONNRESET'],
    [108, 'ESHUTDOWN'], // absent from Node's table
    [115, 'EINPROGRESS'],
    [9999, 'errno 9999'],
    [0, 'errno 0'],
  ])('names %i %s', (errno, name) => {
    expect(errorCode(errno)).toBe(name);
  });
});

describe('The code sets', () => {
  it("has the codes of Python's _DISCONNECTED", () => {
    expect([...DISCONNECTED].sort()).toEqual([
      'EBADF',
      'ECONNABORTED',
      'ECONNRESET',
      'ENOTCONN',
      'EPIPE',
      'ESHUTDOWN',
    ]);
  });

  it('keeps shortages apart from disconnects', () => {
    expect([...SHORTAGE].sort()).toEqual(['EMFILE', 'ENFILE', 'ENOBUFS', 'ENOMEM']);
    expect([...SHORTAGE].filter((code) => DISCONNECTED.has(code))).toEqual([]);
  });
});

describe('codeOf', () => {
  it.each(THROWN)('finds no code in %s', (_name, thrown) => {
    expect(codeOf(thrown)).toBeUndefined();
  });

  it('finds the code of an error, and of anything that has one', () => {
    expect(codeOf(new SocketError('EPIPE', 32, 'send', ''))).toBe('EPIPE');
    expect(codeOf({ code: 'EPIPE' })).toBe('EPIPE');
    expect(codeOf(closedSocket('send'))).toBe('EBADF');
  });

  it.each([[32], [null], [Symbol('EPIPE')], [{}]])('takes %p for no code', (code) => {
    expect(codeOf({ code })).toBeUndefined();
  });
});

describe('textOf', () => {
  it.each(THROWN)('has a text for %s', (_name, value, text) => {
    expect(textOf(value, 'otherwise')).toBe(text ?? 'otherwise');
  });
});

describe('stackOf', () => {
  it.each(THROWN)('falls back to the text of %s', (_name, thrown, text) => {
    expect(stackOf(thrown)).toBe(text ?? 'a value that cannot be shown');
  });

  it('gives the stack of an error', () => {
    const error = new Error('here');
    expect(stackOf(error)).toBe(error.stack);
  });

  it('gives the text of an error whose stack was taken away', () => {
    const error = new TypeError('here');
    Object.assign(error, { stack: undefined });
    expect(stackOf(error)).toBe('TypeError: here');
  });
});

describe('compactTraceback', () => {
  function outer(): never {
    return inner();
  }
  function inner(): never {
    throw new RangeError('deep');
  }
  function thrownBy(body: () => void): unknown {
    try {
      body();
    } catch (error) {
      return error;
    }
    throw new Error('nothing was thrown');
  }

  it('gives the innermost frame, the class, the error, and all frames, outermost first', () => {
    const error = thrownBy(outer);
    const [[file, func, line], type, value, info] = compactTraceback(error);
    expect(file).toBe(__filename);
    expect(func).toBe('inner');
    expect(line).toMatch(/^\d+$/);
    expect(type).toBe(RangeError);
    expect(value).toBe(error);
    expect(info).toMatch(/^(\[[^|]+\|[^|]+\|\d+\] ?)+$/);
    expect(info.endsWith(`[${__filename}|inner|${line}]`)).toBe(true);
    expect(info.indexOf('|outer|')).toBeGreaterThan(-1);
    expect(info.indexOf('|outer|')).toBeLessThan(info.indexOf('|inner|'));
  });

  it('reads every kind of line that V8 writes', () => {
    const error = Object.assign(new Error(), {
      stack: [
        'Error: x at y (z)',
        '    at new Chat (/srv/chat.js:3:9)',
        '    at async Promise.all (index 0)',
        '    at /srv/anonymous.js:7:1',
        '    at Chat.foundTerminator [as found] (/srv/my chat.js:11:5)',
        '    at async file:///srv/module.mjs:13:2',
      ].join('\n'),
    });
    const [innermost, , , info] = compactTraceback(error);
    expect(innermost).toEqual(['/srv/chat.js', 'new Chat', '3']);
    expect(info).toBe(
      [
        '[async file:///srv/module.mjs|?|13]',
        '[/srv/my chat.js|Chat.foundTerminator [as found]|11]',
        '[/srv/anonymous.js|?|7]',
        '[/srv/chat.js|new Chat|3]',
      ].join(' '),
    );
  });

  it.each(THROWN)('has an answer for %s', (_name, thrown) => {
    const [innermost, , value, info] = compactTraceback(thrown);
    expect(innermost).toEqual(['', '', '']);
    expect(Object.is(value, thrown)).toBe(true);
    expect(info).toBe('');
  });

  it('has an answer for an object that does not tell its class', () => {
    const [, type] = compactTraceback(Object.defineProperty({}, 'constructor', { get: fail }));
    expect(type).toBeUndefined();
  });

  it('knows the class of what is no Error', () => {
    expect(compactTraceback('gone')[1]).toBe(String);
    expect(compactTraceback(null)[1]).toBeUndefined();
  });
});

describe('badType and badRange', () => {
  it('name the action, what was expected and what came', () => {
    const error = badType('push', 'a Uint8Array', 'text');
    expect(error).toBeInstanceOf(TypeError);
    expect(error).toMatchObject({
      code: 'ERR_INVALID_ARG_TYPE',
      message: "Cannot push: expected a Uint8Array, received 'text'",
    });
  });

  it('differ in their class and code', () => {
    const error = badRange('listen', 'a backlog', -1);
    expect(error).toBeInstanceOf(RangeError);
    expect(error).toMatchObject({
      code: 'ERR_OUT_OF_RANGE',
      message: 'Cannot listen: expected a backlog, received -1',
    });
  });

  it.each([
    [null, 'null'],
    [undefined, 'undefined'],
    [NaN, 'NaN'],
    [-0, '-0'],
    [5n, '5n'],
    [{ deep: { deeper: {} } }, '{ deep: [Object] }'],
    [Symbol('s'), 'Symbol(s)'],
  ])('show %p as it is written', (value, shown) => {
    expect(badType('x', 'y', value).message).toBe(`Cannot x: expected y, received ${shown}`);
  });

  it('say what a call does whose name is no verb', () => {
    const calls = ['socket', 'socketpair', 'setSocket', 'setReuseAddr', 'strerror', 'bind'];
    calls.push('getsockopt', 'sendto', 'recvmsg', 'loopSync', 'closeAll');
    expect(calls.map((call) => badType(call, 'y', 1).message.split(':')[0])).toEqual([
      'Cannot open a socket',
      'Cannot open a pair of sockets',
      'Cannot attach a socket',
      'Cannot reuse an address',
      'Cannot describe an error',
      'Cannot bind',
      'Cannot get a socket option',
      'Cannot send a datagram',
      'Cannot receive a message',
      'Cannot run a loop',
      'Cannot close all channels',
    ]);
  });

  it('append what to do instead', () => {
    const { message } = badType('bind', 'an IPv4 address', '::1', 'use createSocket(AF_INET6)');
    expect(message).toBe(
      "Cannot bind: expected an IPv4 address, received '::1'; use createSocket(AF_INET6)",
    );
    expect(badRange('x', 'y', 1, 'call z() first').message).toBe(
      'Cannot x: expected y, received 1; call z() first',
    );
  });

  it('cut a long value short, on one line', () => {
    const { message } = badType('x', 'y', 'a'.repeat(1000));
    expect(message).toBe(`Cannot x: expected y, received '${'a'.repeat(76)}...`);
    const list = badType('x', 'y', new Array(100).fill('item')).message;
    expect(list).not.toContain('\n');
    expect(list.length).toBeLessThan(120);
  });
});

describe('checkInteger', () => {
  it.each([0, 1, 65535, -0])('lets %p from 0 to 65535 through', (value) => {
    expect(() => checkInteger('bind', 'a port', value, 0, 65535)).not.toThrow();
  });

  it.each([-1, 65536, 0.5, NaN, Infinity, -Infinity, 2 ** 53])('refuses the number %p', (value) => {
    expect(() => checkInteger('bind', 'a port', value, 0, 65535)).toThrow(
      expect.objectContaining({
        name: 'RangeError',
        code: 'ERR_OUT_OF_RANGE',
        message: `Cannot bind: expected a port to be an integer from 0 to 65535, received ${value}`,
      }),
    );
  });

  it.each([['80'], [null], [undefined], [true], [80n], [[80]], [{ valueOf: () => 80 }]])(
    'refuses %p, which is no number',
    (value) => {
      expect(() => checkInteger('bind', 'a port', value as number, 0, 65535)).toThrow(
        expect.objectContaining({ name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' }),
      );
    },
  );
});

describe('closedSocket', () => {
  it('counts as a disconnect, as EBADF does in Python', () => {
    const error = closedSocket('send');
    expect(error).toBeInstanceOf(RangeError);
    expect(error).toMatchObject({
      code: 'EBADF',
      errno: 9,
      syscall: 'send',
      message: 'Cannot send: the socket is closed (fd -1)',
    });
    expect(DISCONNECTED.has(codeOf(error) as string)).toBe(true);
  });
});

describe('notImplemented', () => {
  it('names the method that a subclass must bring', () => {
    expect(notImplemented('AsyncChat.foundTerminator')).toMatchObject({
      name: 'Error',
      code: 'ERR_METHOD_NOT_IMPLEMENTED',
      message: 'AsyncChat.foundTerminator must be implemented in a subclass',
    });
  });
});

describe('Inspection', () => {
  it('shows the fields of a SocketError, as of every error of Node', () => {
    const shown = inspect(new SocketError('EPIPE', 32, 'send', 'Broken pipe'));
    expect(shown).toContain("code: 'EPIPE'");
    expect(shown).toContain('errno: 32');
    expect(shown).toContain("syscall: 'send'");
    expect(shown).not.toContain('undefined');
  });
});
