// recvMsg and sendMsg: data in pieces, control data, flags, and descriptors that are passed.

import { closeSync, openSync, readSync, writeFileSync } from 'node:fs';
import {
  AF_INET,
  AF_INET6,
  AF_UNIX,
  ChannelMap,
  CMSG_LEN,
  CMSG_SPACE,
  type ControlMessage,
  Dispatcher,
  IP_PKTINFO,
  IP_TTL,
  IPPROTO_IP,
  IPPROTO_IPV6,
  IPV6_PKTINFO,
  IPV6_RECVPKTINFO,
  type Message,
  MSG_CTRUNC,
  MSG_PEEK,
  MSG_TRUNC,
  recvFds,
  SCM_CREDENTIALS,
  SCM_RIGHTS,
  SCM_TIMESTAMP,
  SO_PASSCRED,
  SO_SNDBUF,
  SO_TIMESTAMP,
  SOCK_DGRAM,
  SOCK_STREAM,
  SOL_SOCKET,
  Socket,
  sendFds,
} from 'asyncore';
import fc from 'fast-check';
import { decodeControl } from '../../lib/kernel/messages';
import { flagsOf, isOpen, O_CLOEXEC } from '../support/descriptors';
import { temporaryPath } from '../support/drive';
import { keep } from '../support/keep';
import { pair } from '../support/sockets';

function datagrams(family: number, host: string): Socket {
  const socket = keep(Socket.socket(family, SOCK_DGRAM));
  socket.bind({ host, port: 0 });
  return socket;
}

/** A connected one, bound to the address that it reaches the other's from. */
function caller(host: string, { port }: { port?: number }): Socket {
  const socket = keep(Socket.socket(host.includes(':') ? AF_INET6 : AF_INET, SOCK_DGRAM));
  socket.connect({ host, port: port as number });
  return socket;
}

const bytes = (text: string): Buffer => Buffer.from(text, 'latin1');
const numbered = (...fds: number[]): Buffer => Buffer.from(new Int32Array(fds).buffer);
const rights = (...fds: number[]): ControlMessage => ({
  level: SOL_SOCKET,
  type: SCM_RIGHTS,
  data: numbered(...fds),
});

/** The descriptors of a message, which are closed after the test. */
function taken(message: { fds: number[] } | null): number[] {
  const fds = message?.fds ?? [];
  for (const fd of fds) keep({ close: () => isOpen(fd) && closeSync(fd) });
  return fds;
}

/** A file with this text, open at its beginning. */
function fileWith(text: string): number {
  const path = temporaryPath('file');
  writeFileSync(path, text);
  const fd = openSync(path, 'r');
  keep({ close: () => isOpen(fd) && closeSync(fd) });
  return fd;
}

function readAll(fd: number): string {
  const room = Buffer.alloc(100);
  return room.toString('latin1', 0, readSync(fd, room, 0, 100, 0));
}

describe('CMSG_LEN and CMSG_SPACE', () => {
  it('are C’s: a header of 16 bytes, and padding to 8', () => {
    expect([0, 1, 4, 8, 12].map(CMSG_LEN)).toEqual([16, 17, 20, 24, 28]);
    expect([0, 1, 4, 8, 12].map(CMSG_SPACE)).toEqual([16, 24, 24, 24, 32]);
  });

  it.each([-1, 1.5, NaN, 2 ** 31, '4'])('refuse %p', (length) => {
    expect(() => CMSG_SPACE(length as number)).toThrow('Cannot compute CMSG_SPACE: expected');
    expect(() => CMSG_LEN(length as number)).toThrow('Cannot compute CMSG_LEN: expected');
  });
});

describe('A message', () => {
  it('is all pieces of data in a row, and each message by itself', () => {
    const [a, b] = pair(SOCK_DGRAM);
    expect(a.sendMsg([bytes('one '), Buffer.alloc(0), new Uint8Array([116, 119, 111])])).toBe(7);
    expect(a.sendMsg([])).toBe(0);
    const empty = { control: [], flags: 0, address: null };
    expect(b.recvMsg(100)).toEqual({ ...empty, data: bytes('one two') });
    expect(b.recvMsg(100)).toEqual({ ...empty, data: Buffer.alloc(0) });
    expect(b.recvMsg(100)).toBeNull();
  });

  it('goes to an address, and says whose it is', () => {
    const [to, from] = [datagrams(AF_INET, '127.0.0.1'), datagrams(AF_INET, '127.0.0.1')];
    expect(from.sendMsg([bytes('hello')], [], 0, to.getSockName())).toBe(5);
    expect(to.recvMsg(100)).toMatchObject({ data: bytes('hello'), address: from.getSockName() });
    const [bound, named] = ['to', 'from'].map((name) => {
      const socket = keep(Socket.socket(AF_UNIX, SOCK_DGRAM));
      socket.bind({ path: temporaryPath(name) });
      return socket;
    }) as [Socket, Socket];
    named.sendMsg([bytes('x')], undefined, undefined, bound.getSockName());
    expect(bound.recvMsg(1)?.address).toEqual(named.getSockName());
  });

  it('that is longer than the room is cut off, and has MSG_TRUNC', () => {
    const [a, b] = pair(SOCK_DGRAM);
    for (const flags of [0, MSG_TRUNC]) {
      a.send(bytes('a secret'));
      expect(b.recvMsg(3, 0, flags)).toMatchObject({ data: bytes('a s'), flags: MSG_TRUNC });
    }
  });

  it('of any size is whole, up to the kernel’s limit', () => {
    const [a, b] = pair(SOCK_DGRAM);
    a.setSockOpt(SOL_SOCKET, SO_SNDBUF, 400_000);
    const data = Buffer.from(Array.from({ length: 150_000 }, (_, at) => at & 0xff));
    expect(a.sendMsg([data.subarray(0, 100_000), data.subarray(100_000)])).toBe(150_000);
    expect(b.recvMsg(200_000)?.data.equals(data)).toBe(true);
    expect(() => a.sendMsg(Array(40).fill(data))).toThrow(
      expect.objectContaining({ code: 'EMSGSIZE', syscall: 'sendmsg' }),
    );
  });

  it('of a stream leaves in part, and in order', () => {
    const [a, b] = pair(SOCK_STREAM);
    a.setSockOpt(SOL_SOCKET, SO_SNDBUF, 100_000);
    const data = Buffer.from(Array.from({ length: 1_000_003 }, (_, at) => (at * 7) & 0xff));
    let [sent, heard] = [0, 0];
    while (heard < data.length) {
      const took = a.sendMsg([data.subarray(sent, sent + 5), data.subarray(sent + 5)]);
      sent += took ?? 0;
      if (took !== null && sent < data.length) continue;
      for (let got = b.recvMsg(65_536); got !== null; got = b.recvMsg(65_536)) {
        expect(got.data.equals(data.subarray(heard, heard + got.data.length))).toBe(true);
        heard += got.data.length;
      }
    }
    a.close();
    expect(b.recvMsg(10)?.data).toHaveLength(0);
  });

  it('is the program’s to keep', () => {
    const [a, b] = pair(SOCK_DGRAM);
    const kept = ['first', 'other'].map((text) => {
      a.sendMsg([bytes(text)], [rights(0)]);
      return b.recvMsg(100, 100) as Message;
    });
    expect(kept.map(({ data }) => data.toString())).toEqual(['first', 'other']);
    for (const { control } of kept)
      closeSync((control[0] as ControlMessage<Buffer>).data.readInt32LE());
  });

  it.each<[string, () => unknown, string]>([
    ['one Buffer', () => spare().sendMsg(bytes('x') as never), 'an array of Uint8Arrays'],
    ['a string in the list', () => spare().sendMsg(['x' as never]), 'a Uint8Array'],
    ['no list of control', () => spare().sendMsg([], {} as never), 'an array of control messages'],
    ['null for control', () => spare().sendMsg([], [null as never]), 'a control message {'],
    [
      'no level',
      () => spare().sendMsg([], [{ type: 1, data: bytes('') } as never]),
      'the level of',
    ],
    ['a half type', () => spare().sendMsg([], [{ ...rights(), type: 0.5 }]), 'the type of'],
    [
      'text as data',
      () => spare().sendMsg([], [{ ...rights(), data: 'x' as never }]),
      'a Uint8Array',
    ],
    ['flags beyond an int', () => spare().sendMsg([], [], 2 ** 31), 'flags to be'],
    ['a negative size', () => spare().recvMsg(-1), 'a size to be'],
    ['half a byte of control', () => spare().recvMsg(1, 0.5), 'a size for control data to be'],
    ['flags that are text', () => spare().recvMsg(1, 0, '1' as never), 'flags to be'],
    ['a descriptor that is none', () => sendFds(spare(), [], [-1]), 'a file descriptor'],
    ['no list of descriptors', () => sendFds(spare(), [], 1 as never), 'an array of file'],
    ['too many of them', () => sendFds(spare(), [], Array(254).fill(0)), 'the number of file'],
    ['a negative number of them', () => recvFds(spare(), 1, -1), 'the number of file'],
  ])('is refused, and says why: %s', (_, call, expected) => {
    expect(call).toThrow(/^Cannot (send|receive|pass) (a message|descriptors): expected /);
    expect(call).toThrow(expected);
  });

  const spare = (): Socket => pair(SOCK_DGRAM)[0];

  it('does not reach a socket that was closed while the message was read', () => {
    const [a, b] = pair(SOCK_DGRAM);
    const message = {
      ...rights(),
      get data(): Buffer {
        a.close();
        return numbered(0);
      },
    };
    expect(() => a.sendMsg([bytes('x')], [message])).toThrow(/the socket is closed/);
    expect(b.recvMsg(10, 100)).toBeNull();
  });

  it('is not mixed up with one that is sent while the message is read', () => {
    const [a, b] = pair(SOCK_DGRAM);
    const message = {
      level: SOL_SOCKET,
      type: SCM_RIGHTS,
      get data(): Buffer {
        a.sendMsg([bytes('inner')]);
        return numbered(1);
      },
    };
    a.sendMsg([bytes('outer')], [message]);
    expect(recvFds(b, 100, 1)).toMatchObject({ data: bytes('inner'), fds: [] });
    const outer = recvFds(b, 100, 1);
    expect(taken(outer)).toHaveLength(1);
    expect(outer?.data).toEqual(bytes('outer'));
  });
});

describe('Control data', () => {
  it.each([
    [AF_INET, '0.0.0.0', '127.0.0.2'],
    [AF_INET6, '::', '::1'],
    // An IPv4 client of an IPv6 socket.
    [AF_INET6, '::', '127.0.0.3'],
  ])(
    'lets a socket of family %i at %s answer from the address that was asked: %s',
    (family, any, host) => {
      const server = datagrams(family, any);
      if (family === AF_INET) server.setSockOpt(IPPROTO_IP, IP_PKTINFO, true);
      else server.setSockOpt(IPPROTO_IPV6, IPV6_RECVPKTINFO, true);
      const client = caller(host, server.getSockName() as { port: number });
      client.send(bytes('question'));
      const question = server.recvMsg(100, CMSG_SPACE(20)) as Message;
      expect(question).toMatchObject({ data: bytes('question'), flags: 0 });
      expect(question.control).toMatchObject([
        family === AF_INET
          ? { level: IPPROTO_IP, type: IP_PKTINFO }
          : { level: IPPROTO_IPV6, type: IPV6_PKTINFO },
      ]);
      server.sendMsg([bytes('an'), bytes('swer')], question.control, 0, question.address);
      // The client is connected: it hears the address that it has asked, and no other.
      expect(client.recv(100)).toEqual(bytes('answer'));
    },
  );

  it('may have several parts, in both directions', () => {
    const [a, b] = pair();
    b.setSockOpt(SOL_SOCKET, SO_PASSCRED, true);
    const mine = numbered(process.pid, process.getuid?.() ?? 0, process.getgid?.() ?? 0);
    const credentials = { level: SOL_SOCKET, type: SCM_CREDENTIALS, data: mine };
    a.sendMsg([bytes('x')], [rights(0), credentials]);
    const { control } = b.recvMsg(1, CMSG_SPACE(12) + CMSG_SPACE(4)) as Message;
    const [first, second] = control.sort((one, other) => other.type - one.type);
    expect(first).toEqual(credentials);
    expect(second).toMatchObject({ level: SOL_SOCKET, type: SCM_RIGHTS });
    closeSync(second?.data.readInt32LE() as number);
  });

  it('comes with a datagram of the network, and leaves with it', () => {
    const to = datagrams(AF_INET, '127.0.0.1');
    to.setSockOpt(SOL_SOCKET, SO_TIMESTAMP, true);
    const ttl = { level: IPPROTO_IP, type: IP_TTL, data: numbered(7) };
    keep(Socket.socket(AF_INET, SOCK_DGRAM)).sendMsg([bytes('x')], [ttl], 0, to.getSockName());
    const [time] = (to.recvMsg(1, CMSG_SPACE(16)) as Message).control;
    expect(time).toMatchObject({ level: SOL_SOCKET, type: SCM_TIMESTAMP });
    expect(Math.abs(Number(time?.data.readBigInt64LE()) - Date.now() / 1000)).toBeLessThan(60);
  });

  it('without room is dropped, with MSG_CTRUNC', () => {
    const server = datagrams(AF_INET, '0.0.0.0');
    server.setSockOpt(IPPROTO_IP, IP_PKTINFO, true);
    const client = caller('127.0.0.1', server.getSockName() as { port: number });
    for (const [room, lengths] of [
      [0, []],
      [8, []],
      [CMSG_LEN(0), [0]],
      [CMSG_LEN(7), [7]],
      [CMSG_LEN(12), [12]],
    ] as const) {
      client.send(bytes('x'));
      const { control, flags } = server.recvMsg(1, room) as Message;
      const cut = room < CMSG_LEN(12);
      expect([room, control.map(({ data }) => data.length), flags]).toEqual([
        room,
        lengths,
        cut ? MSG_CTRUNC : 0,
      ]);
    }
  });

  it('that the kernel does not know is refused by it', () => {
    const to = datagrams(AF_INET, '127.0.0.1');
    const unknown = { level: IPPROTO_IP, type: 9999, data: Buffer.alloc(4) };
    expect(() => to.sendMsg([bytes('x')], [unknown], 0, to.getSockName())).toThrow(
      expect.objectContaining({ code: 'EINVAL', syscall: 'sendmsg' }),
    );
  });
});

describe('Descriptors that are passed', () => {
  it('are the same files, close-on-exec, under new numbers', () => {
    const [a, b] = pair();
    const file = fileWith('the text');
    expect(sendFds(a, [bytes('a '), bytes('file')], [file, 0])).toBe(6);
    closeSync(file);
    const received = recvFds(b, 100, 2);
    const fds = taken(received);
    expect(received).toMatchObject({ data: bytes('a file'), flags: 0, address: null });
    expect(fds).toHaveLength(2);
    expect(readAll(fds[0] as number)).toBe('the text');
    for (const fd of fds) expect(flagsOf(fd) & O_CLOEXEC).toBe(O_CLOEXEC);
  });

  it('are closed by the kernel when there is no room for them', () => {
    const [a, b] = pair();
    const [sent, other] = pair();
    for (const most of [0, 1, 3]) {
      sendFds(a, [bytes('x')], Array(5).fill(sent.fileno()));
      const received = recvFds(b, 1, most);
      expect(taken(received)).toHaveLength(most);
      expect(received?.flags).toBe(MSG_CTRUNC);
      for (const fd of received?.fds ?? []) closeSync(fd);
    }
    // None is left: the connection ends with the one socket that there is.
    sent.close();
    expect(other.recv(1)).toEqual(Buffer.alloc(0));
  });

  it('are up to 253', () => {
    const [a, b] = pair();
    sendFds(a, [bytes('x')], Array(253).fill(0));
    expect(taken(recvFds(b, 1, 253))).toHaveLength(253);
  });

  it('may be none', () => {
    const [a, b] = pair();
    sendFds(a, [bytes('x')], []);
    expect(recvFds(b, 10, 5)).toEqual({ data: bytes('x'), fds: [], flags: 0, address: null });
    expect(recvFds(b, 10, 5)).toBeNull();
    a.close();
    expect(recvFds(b, 10, 5)?.data).toHaveLength(0);
  });

  it('come once more with each MSG_PEEK', () => {
    const [a, b] = pair();
    sendFds(a, [bytes('x')], [0]);
    const fds = [...taken(recvFds(b, 1, 1, MSG_PEEK)), ...taken(recvFds(b, 1, 1))];
    expect(new Set(fds).size).toBe(2);
  });

  it('may be sockets, which go on under another Socket', () => {
    const [a, b] = pair();
    const [mine, peer] = pair();
    sendFds(a, [bytes('x')], [mine.fileno()]);
    mine.close();
    const adopted = keep(Socket.fromFd(recvFds(b, 1, 1)?.fds[0] as number));
    adopted.send(bytes('hello'));
    expect(peer.recv(10)).toEqual(bytes('hello'));
  });

  it('are refused by the kernel when they are not open', () => {
    const [a] = pair();
    expect(() => sendFds(a, [bytes('x')], [999_999])).toThrow(
      expect.objectContaining({ code: 'EBADF', syscall: 'sendmsg' }),
    );
  });

  it('need a socket to travel by, which a channel is not', () => {
    const [a] = pair();
    const channel = new Dispatcher(a, new ChannelMap());
    for (const socket of [channel, null, 5]) {
      expect(() => sendFds(socket as unknown as Socket, [], [])).toThrow(
        /^Cannot pass descriptors: expected a Socket, received /,
      );
      expect(() => recvFds(socket as unknown as Socket, 1, 1)).toThrow(
        /^Cannot receive descriptors: expected a Socket, received /,
      );
    }
  });
});

describe('The parser of control data', () => {
  const message = (length: bigint, data: Buffer): Buffer => {
    const header = Buffer.alloc(16);
    header.writeBigUInt64LE(length);
    header.writeInt32LE(41, 8);
    header.writeInt32LE(-50, 12);
    return Buffer.concat([header, data]);
  };

  it.each<[string, Buffer, number[]]>([
    ['nothing', Buffer.alloc(0), []],
    ['less than a header', Buffer.alloc(15), []],
    ['a length of 0', message(0n, Buffer.alloc(8)), []],
    ['a length below the header’s', message(15n, Buffer.alloc(8)), []],
    ['no data', message(16n, Buffer.alloc(0)), [0]],
    ['a length beyond the end', message(1000n, Buffer.alloc(8)), [8]],
    ['a length of 2³² and a bit', message(2n ** 32n + 20n, Buffer.alloc(8)), [8]],
    ['the longest length', message(2n ** 64n - 1n, Buffer.alloc(8)), [8]],
    ['missing padding', Buffer.concat([message(17n, Buffer.alloc(1))]), [1]],
    [
      'two, padded',
      Buffer.concat([message(20n, Buffer.alloc(8)), message(17n, Buffer.alloc(1))]),
      [4, 1],
    ],
    ['one, and a bit', Buffer.concat([message(24n, Buffer.alloc(8)), Buffer.alloc(15, 1)]), [8]],
  ])('takes what there is, of %s', (_, control, lengths) => {
    const found = decodeControl(control);
    expect(found.map(({ data }) => data.length)).toEqual(lengths);
    for (const { level, type } of found) expect([level, type]).toEqual([41, -50]);
  });

  it('never reads beyond its bytes, and ends, whatever they are', () => {
    const length = fc.oneof(fc.bigInt(0n, 40n), fc.bigInt(0n, 2n ** 64n - 1n));
    const part = fc
      .tuple(length, fc.uint8Array({ maxLength: 40 }))
      .map(([claimed, data]) => message(claimed, Buffer.from(data)));
    fc.assert(
      fc.property(fc.array(part, { maxLength: 5 }), fc.nat(200), (parts, end) => {
        const all = Buffer.concat(parts);
        // The same bytes, with others behind them.
        const found = decodeControl(all.subarray(0, end));
        expect(found).toEqual(decodeControl(Buffer.from(all.subarray(0, end))));
        const total = found.reduce((sum, { data }) => sum + 16 + data.length, 0);
        expect(total).toBeLessThanOrEqual(Math.min(all.length, end));
      }),
    );
  });
});
