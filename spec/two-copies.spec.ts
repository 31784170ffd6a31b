// Two copies of the library in one process: two versions, or a bundle beside the package.

import * as ours from 'asyncore';
import { keep, newMap } from './support/keep';

let theirs: typeof ours;

beforeAll(() => {
  jest.isolateModules(() => {
    theirs = require('asyncore');
    theirs.strerror(0); // loads koffi
  });
  expect(theirs.ChannelMap).not.toBe(ours.ChannelMap);
});

describe("Another copy's ChannelMap", () => {
  it.each<[string, (map: ours.ChannelMap) => unknown]>([
    ['make a channel', (map) => new ours.Dispatcher(null, map)],
    ['make a channel', (map) => new ours.Dispatcher(keep(ours.Socket.socket()), map)],
    ['add a channel', (map) => keep(new ours.Dispatcher(ours.Socket.socket())).addChannel(map)],
    ['attach a socket', (map) => new ours.Dispatcher().setSocket(keep(ours.Socket.socket()), map)],
    ['poll', (map) => ours.poll(0, map)],
    ['poll2', (map) => ours.poll2(0, map)],
    ['run a loop', (map) => ours.loopSync({ map })],
    ['loop', (map) => ours.loop({ map })],
    ['shut down', (map) => ours.shutdown(map)],
    ['close all channels', (map) => ours.closeAll(map)],
  ])('is refused by its origin: Cannot %s', async (action, use) => {
    const map: ours.ChannelMap = new theirs.ChannelMap();
    await expect(async () => use(map)).rejects.toThrow(
      expect.objectContaining({
        code: 'ERR_INVALID_ARG_TYPE',
        message: expect.stringMatching(
          `^Cannot ${action}: expected a ChannelMap, received .*; ` +
            'this one is from another copy of asyncore in this process$',
        ),
      }),
    );
    expect(map.size).toBe(0);
  });
});

it('a channel of an older copy, which does not know that its socket is taken, sends first', () => {
  const map = newMap();
  class Chat extends ours.AsyncChat {
    override collectIncomingData() {
      Object.defineProperty(this, Symbol.for('asyncore.socketTaken'), { value: undefined });
      this.push('first ');
      // This copy delivers, and puts its output off. The other copy does not, and sends at once.
      keep(new Other(this.socket as ours.SocketLike, new theirs.ChannelMap())).push('second');
    }
    override foundTerminator() {}
  }
  class Other extends theirs.AsyncChat {
    override collectIncomingData() {}
    override foundTerminator() {}
  }
  const [socket, peer] = ours.Socket.pair();
  keep(peer);
  new Chat(socket, map).setTerminator(null);
  peer.send(Buffer.from('x'));
  ours.poll(1000, map);
  ours.poll(0, map);
  expect(String(peer.recv(100))).toBe('first second');
});

it("another copy's Fifo is refused by its origin", () => {
  class Chat extends ours.AsyncChat {
    override collectIncomingData() {}
    override foundTerminator() {}
  }
  const chat = new Chat();
  expect(() => {
    chat.producerFifo = new theirs.Fifo();
  }).toThrow('; this one is from another copy of asyncore in this process');
});

it.each([['close'], ['detach'], ['shutdown']] as const)(
  "another copy's Socket serves a channel, which learns of its %s()",
  (end) => {
    const map = newMap();
    const received: string[] = [];
    class Reader extends ours.Dispatcher {
      override writable() {
        return false;
      }
      override handleRead() {
        const data = this.recv(10);
        if (data !== null) received.push(data.toString());
      }
      override handleClose() {
        received.push('closed');
        this.close();
      }
    }
    const [a, b] = theirs.Socket.pair();
    keep(b);
    const reader = new Reader(a, map);
    b.send(Buffer.from('hello'));
    ours.poll(0, map);
    const fd = a.fileno();
    a[end]();
    if (end === 'detach') keep(ours.Socket.fromFd(fd));
    ours.poll(0, map);
    expect(received).toEqual(['hello', 'closed']);
    expect(reader.socket?.fileno()).toBe(-1);
  },
);
