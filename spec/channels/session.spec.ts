// A channel whose socket is replaced or closed in the middle of a step.

import {
  AsyncChat,
  ChannelMap,
  Dispatcher,
  type InternetAddress,
  loop,
  poll,
  poll2,
  Socket,
  type SocketLike,
} from 'asyncore';
import { keep, newMap } from '../support/keep';
import { bareListener } from '../support/sockets';

const PASSES = [
  ['select order', poll],
  ['poll order', poll2],
] as const;

/** A connected socket behind another face, as TLS would be. */
function wrapped(socket: Socket): SocketLike {
  return {
    fileno: () => socket.fileno(),
    recv: (size) => socket.recv(size),
    send: (data) => socket.send(data),
    getSockOpt: (level, option) => socket.getSockOpt(level, option),
    close: () => socket.close(),
  };
}

describe.each(PASSES)('setSocket in handleConnect, %s', (_, pass) => {
  it('leaves the channel connected, and handleConnect is called once', async () => {
    const listener = bareListener();
    const address = listener.getSockName();
    const map = newMap();
    const calls: string[] = [];
    class Wrapping extends Dispatcher {
      override handleConnect(): void {
        calls.push(`connect ${this.connected}`);
        this.setSocket(wrapped(this.socket as Socket));
        // A pass in between reports the connection again.
        pass(0, map);
      }
      override handleWrite(): void {}
      override handleRead(): void {
        calls.push(`read ${this.recv(10)}`);
      }
    }
    const client = keep(new Wrapping(null, map));
    client.createSocket();
    client.connect(address);
    for (let tick = 0; tick < 5; tick += 1) pass(100, map);
    expect(calls).toEqual(['connect false']);
    expect([client.connected, client.connecting]).toEqual([true, false]);
    const accepted = keep(listener.accept()?.socket as Socket);
    accepted.send(Buffer.from('hello'));
    pass(1000, map);
    expect(calls).toEqual(['connect false', 'read hello']);
  });

  it('does not call a channel connected that has begun to connect elsewhere', () => {
    const first = bareListener();
    const second = bareListener();
    const map = newMap();
    const calls: boolean[] = [];
    class Moving extends Dispatcher {
      override handleConnect(): void {
        calls.push(this.connected);
        if (calls.length > 1) return;
        this.socket?.close();
        this.createSocket();
        this.connect(second.getSockName());
        expect(this.connecting).toBe(true);
      }
      override handleWrite(): void {}
    }
    const client = keep(new Moving(null, map));
    client.createSocket();
    client.connect(first.getSockName());
    for (let tick = 0; tick < 5 && calls.length < 2; tick += 1) pass(100, map);
    expect(calls).toEqual([false, false]);
    expect(client.connected).toBe(true);
    expect(client.addr).toEqual(second.getSockName());
  });
});

describe('setSocket in collectIncomingData', () => {
  it('does not cost the record its foundTerminator', () => {
    const map = newMap();
    const [mine, peer] = Socket.pair();
    const [next, nextPeer] = Socket.pair();
    for (const socket of [mine, peer, nextPeer]) keep(socket);
    const records: string[] = [];
    class Moving extends AsyncChat {
      override collectIncomingData(data: Buffer): void {
        this._collectIncomingData(data);
        if (this.socket === mine) this.setSocket(next);
      }
      override foundTerminator(): void {
        records.push(this.takeCollected().toString());
      }
    }
    const chat = keep(new Moving(mine, map));
    chat.setTerminator('\n');
    peer.send(Buffer.from('one\ntwo\n'));
    poll(1000, map);
    expect(records).toEqual(['one', 'two']);
  });
});

describe('A look-up of a host name', () => {
  it('goes on when the program takes the channel out of the map and puts it back', async () => {
    const { port } = bareListener().getSockName() as InternetAddress;
    const map = new ChannelMap();
    const events: string[] = [];
    class Client extends Dispatcher {
      override handleConnect(): void {
        events.push('connect');
        this.close();
      }
      override handleRead(): void {
        events.push('read');
      }
      override handleWrite(): void {
        events.push('write');
      }
      override handleError(error: unknown): void {
        events.push(`error ${error}`);
        this.close();
      }
    }
    const client = keep(new Client(null, map));
    client.createSocket();
    client.connect({ host: 'localhost', port });
    const fd = client.fileno() as number;
    map.delete(fd);
    map.set(fd, client);
    await loop({ map });
    expect(events).toEqual(['connect']);
  });
});
