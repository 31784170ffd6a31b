// A channel as a stream of Node's: flow in both directions, and all the ways to end.

import { once } from 'node:events';
import { constants } from 'node:os';
import {
  AF_INET6,
  AF_UNIX,
  AsyncChat,
  ChannelMap,
  closeAll,
  Dispatcher,
  DispatcherWithSend,
  ExitNow,
  IPPROTO_TCP,
  loop,
  poll,
  SHUT_WR,
  SO_ERROR,
  SO_KEEPALIVE,
  SOCK_DGRAM,
  SOL_SOCKET,
  Socket,
  shutdown,
  TCP_KEEPIDLE,
  TCP_NODELAY,
  toDuplex,
} from 'asyncore';
import { drive } from '../support/drive';
import { keep, newMap } from '../support/keep';
import { LineChat } from '../support/limits';
import { until } from '../support/program';
import { bareListener, call, connection, pair, received, willReset } from '../support/sockets';
import { chatThatPromises, heardBy, LOOPS, note, run, streamWithPeer } from '../support/streams';

const { ETIMEDOUT } = constants.errno;

const closed = (events: string[]) => until(() => events.includes('close'));

/** 4 MB in which every position can be told from its neighbours. */
const MUCH = Buffer.alloc(4_000_000);
for (let at = 0; at < MUCH.length; at += 4) MUCH.writeUInt32LE(at, at);

/** Sends as much as the kernel takes. */
function sendAll(socket: Socket, data: Buffer): number {
  let sent = 0;
  for (let size = socket.send(data); size !== null && size > 0; size = socket.send(data)) {
    sent += size;
    data = data.subarray(size);
  }
  return sent;
}

describe.each(LOOPS)('A stream over a channel (%s)', (_, how) => {
  it('reads no more than its mark while nobody consumes, and loses nothing', async () => {
    const { duplex, peer } = streamWithPeer(how, { highWaterMark: 1000 });
    let sent = 0;
    let last = 0;
    // Until TCP flow control stops the peer.
    for (let still = 0; still < 20; still = sent === last ? still + 1 : 0) {
      last = sent;
      sent += sendAll(peer, MUCH.subarray(sent));
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    expect(duplex.readableLength).toBeGreaterThan(0);
    expect(duplex.readableLength).toBeLessThanOrEqual(1000 + 65536);
    const pieces: Buffer[] = [];
    duplex.on('data', (data) => pieces.push(data));
    await until(() => {
      sent += sendAll(peer, MUCH.subarray(sent));
      return sent === MUCH.length;
    });
    peer.close();
    await once(duplex, 'end');
    expect(Buffer.concat(pieces).equals(MUCH)).toBe(true);
    expect(duplex.bytesRead).toBe(MUCH.length);
  });

  it('tells of each write when the kernel has taken it, and of the drain', async () => {
    const { duplex, peer, events } = streamWithPeer(how);
    const written: string[] = [];
    expect(duplex.write('small', () => written.push('small'))).toBe(true);
    expect(received(peer)).toBe('small');
    expect(duplex.write(MUCH, () => written.push('much'))).toBe(false);
    duplex.write('last', () => written.push('last'));
    duplex.once('drain', () => written.push('drain'));
    await new Promise((resolve) => setTimeout(resolve, 50));
    // The peer does not read, and the kernel has no room for so much.
    expect(written).toEqual(['small']);
    expect(duplex.writableLength).toBe(MUCH.length + 4);
    duplex.once('drain', () => duplex.end());
    const heard = await heardBy(peer);
    expect(heard.equals(Buffer.concat([MUCH, Buffer.from('last')]))).toBe(true);
    expect(written.filter((what) => what !== 'drain')).toEqual(['small', 'much', 'last']);
    expect(written).toContain('drain');
    expect(duplex.bytesWritten).toBe(MUCH.length + 9);
    peer.close();
    await closed(events);
    expect(events).toEqual(['finish', 'end', 'close']);
  });

  it('sends what was written while it was corked at once', async () => {
    const { duplex, peer } = streamWithPeer(how);
    duplex.cork();
    for (const text of ['a', 'b', 'c']) duplex.write(text);
    expect(received(peer)).toBe('');
    duplex.uncork();
    expect(received(peer)).toBe('abc');
  });

  it('ends both sides when the peer ends its own', async () => {
    const { duplex, peer, map, events } = streamWithPeer(how);
    peer.send(Buffer.from('the last words'));
    peer.shutdown(SHUT_WR);
    let heard = '';
    duplex.on('data', (data) => {
      heard += data;
    });
    expect(String(await heardBy(peer))).toBe('');
    await closed(events);
    expect(heard).toBe('the last words');
    expect(events).toEqual(['end', 'finish', 'close']);
    expect(map.size).toBe(0);
  });

  it('tells of the end even if nobody reads', async () => {
    const { peer, events } = streamWithPeer(how);
    peer.close();
    await closed(events);
    expect(events).toEqual(['end', 'finish', 'close']);
  });

  it('writes on after the end of the peer, with allowHalfOpen', async () => {
    const { duplex, peer, events } = streamWithPeer(how, { allowHalfOpen: true });
    peer.send(Buffer.from('question'));
    peer.shutdown(SHUT_WR);
    duplex.resume();
    await until(() => events.includes('end'));
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(duplex.writable).toBe(true);
    duplex.write('ans');
    duplex.end('wer');
    expect(String(await heardBy(peer))).toBe('answer');
    await closed(events);
    expect(events).toEqual(['end', 'finish', 'close']);
  });

  it('reads on after its own end', async () => {
    const { duplex, peer, events } = streamWithPeer(how);
    duplex.end('question');
    expect(String(await heardBy(peer))).toBe('question');
    peer.send(Buffer.from('answer'));
    peer.close();
    let heard = '';
    for await (const data of duplex) heard += data;
    expect(heard).toBe('answer');
    await closed(events);
    expect(events).toEqual(['finish', 'end', 'close']);
  });

  it.each([
    ['TCP', false],
    ['Unix', true],
  ])('keeps what it has received when both sides have ended (%s)', async (_, unix) => {
    const { duplex, peer, events } = streamWithPeer(how, { unix });
    peer.send(Buffer.from('late'));
    await until(() => duplex.readableLength === 4);
    duplex.end();
    await until(() => events.includes('finish'));
    peer.close();
    // The hang-up is there by then, and the stream must not take it for the end of all.
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(events).toEqual(['finish']);
    expect(String(duplex.read())).toBe('late');
    duplex.resume();
    await closed(events);
    expect(events).toEqual(['finish', 'end', 'close']);
  });

  it('fails with ECONNRESET when the peer resets the connection', async () => {
    const { peer, map, events } = streamWithPeer(how);
    await new Promise((resolve) => setTimeout(resolve, 10));
    willReset(peer).close();
    await closed(events);
    expect(events).toEqual(['error ECONNRESET', 'close']);
    expect(map.size).toBe(0);
  });

  it('hears of a reset while it writes, and fails the write', async () => {
    const { duplex, peer, events } = streamWithPeer(how);
    const failed = new Promise((resolve) => duplex.write(MUCH, resolve));
    await new Promise((resolve) => setTimeout(resolve, 10));
    willReset(peer).close();
    expect(await failed).toMatchObject({ code: expect.stringMatching(/^(ECONNRESET|EPIPE)$/) });
    await closed(events);
    expect(events[0]).toMatch(/^error (ECONNRESET|EPIPE)$/);
  });

  it.each([
    ['TCP', false],
    ['Unix', true],
  ])('hears that a half-closed peer is gone while it is silent (%s)', async (_, unix) => {
    const { duplex, peer, events } = streamWithPeer(how, { allowHalfOpen: true, unix });
    duplex.resume();
    peer.shutdown(SHUT_WR);
    await until(() => events.includes('end'));
    await new Promise((resolve) => setTimeout(resolve, 20));
    if (unix) peer.close();
    else willReset(peer).close();
    await closed(events);
    expect(events).toEqual(['end', 'error EPIPE', 'close']);
  });

  it('is destroyed with its error, and the write that was under way fails', async () => {
    const { duplex, peer, map, events } = streamWithPeer(how);
    const outcomes: unknown[] = [];
    duplex.write(MUCH, (error) => outcomes.push(error));
    duplex.write('more', (error) => outcomes.push(error));
    const reason = Object.assign(new Error('enough'), { code: 'MINE' });
    duplex.destroy(reason);
    expect(map.size).toBe(0);
    await closed(events);
    expect(events).toEqual(['error MINE', 'close']);
    expect(outcomes).toEqual([reason, reason]);
    expect((await heardBy(peer)).length).toBeLessThan(MUCH.length);
  });

  it('is destroyed without one: the write that was under way fails, and there is no error', async () => {
    const { duplex, events } = streamWithPeer(how);
    const failed = new Promise((resolve) => duplex.write(MUCH, resolve));
    duplex.destroy();
    expect(await failed).toMatchObject({ code: 'ERR_STREAM_DESTROYED' });
    await closed(events);
    expect(events).toEqual(['close']);
  });

  it('does not reset a connection that it destroys over unread input when all is sent', async () => {
    const { duplex, peer, events } = streamWithPeer(how, { highWaterMark: 1 });
    peer.send(Buffer.alloc(200_000));
    // The kernel takes it, and holds most of it until the peer reads.
    const answer = MUCH.subarray(0, 1_000_000);
    duplex.write(answer);
    duplex.destroySoon();
    await closed(events);
    expect((await heardBy(peer)).equals(answer)).toBe(true);
  });

  it('closes with its channel and with its socket, whoever closes them', async () => {
    const one = streamWithPeer(how);
    closeAll(one.map);
    await closed(one.events);
    expect(one.events).toEqual(['close']);
    const map = newMap();
    const [ours, peer] = connection();
    const events = note(toDuplex(ours, { map }));
    run(map, how);
    await new Promise((resolve) => setTimeout(resolve, 10));
    ours.close();
    await closed(events);
    expect(events).toEqual(['close']);
    expect(map.size).toBe(0);
    expect(peer.recv(1)?.length).toBe(0);
  });

  it('sends what was written when the program shuts down', async () => {
    const { duplex, peer, map, events } = streamWithPeer(how);
    duplex.write(MUCH);
    const cut = shutdown(map);
    const heard = await heardBy(peer);
    expect(heard.equals(MUCH)).toBe(true);
    expect(await cut).toBe(0);
    await closed(events);
    expect(events).toEqual(['finish', 'close']);
  });

  it('closes when the program empties its map', async () => {
    for (const empty of [
      (map: ChannelMap) => map.clear(),
      (map: ChannelMap) => map.delete([...map.keys()][0] as number),
    ]) {
      const { duplex, peer, map, events } = streamWithPeer(how);
      duplex.write(MUCH, (error) => events.push(`write ${error && 'failed'}`));
      await new Promise((resolve) => setTimeout(resolve, 10));
      empty(map);
      await closed(events);
      expect(events).toEqual(['write failed', 'close']);
      expect((await heardBy(peer)).length).toBeLessThan(MUCH.length);
    }
  });

  it('ends by its signal', async () => {
    const stop = new AbortController();
    const { events, map } = streamWithPeer(how, { signal: stop.signal });
    stop.abort();
    await closed(events);
    expect(events).toEqual(['error ABORT_ERR', 'close']);
    expect(map.size).toBe(0);
    const [ours] = pair();
    const late = toDuplex(ours, { map, signal: stop.signal });
    expect(late.destroyed).toBe(true);
    const lateEvents = note(late);
    await closed(lateEvents);
    expect(lateEvents).toEqual(['error ABORT_ERR', 'close']);
    expect(ours.closed).toBe(true);
  });

  it('lets ExitNow out of a listener leave the loop', async () => {
    const map = newMap();
    const [ours, peer] = pair();
    const duplex = toDuplex(ours, { map });
    duplex.on('data', () => {
      throw new ExitNow('enough');
    });
    peer.send(Buffer.from('x'));
    await expect(loop({ map, usePoll: how.usePoll })).rejects.toThrow('enough');
    expect(duplex.destroyed).toBe(false);
  });

  it('leaves any other error of a listener to the process, and goes on', async () => {
    const { duplex, peer } = streamWithPeer(how);
    const thrown: (() => void)[] = [];
    jest.spyOn(process, 'nextTick').mockImplementation((callback) => {
      thrown.push(callback as () => void);
    });
    const heard: string[] = [];
    duplex.on('data', (data) => {
      heard.push(String(data));
      throw new Error('a bug');
    });
    for (const text of ['one', 'two']) {
      peer.send(Buffer.from(text));
      await until(() => heard.at(-1) === text);
    }
    expect(thrown.length).toBe(2);
    expect(thrown[0]).toThrow('a bug');
    expect(duplex.destroyed).toBe(false);
  });

  it('connects: what was written before leaves then', async () => {
    const map = newMap();
    const listener = bareListener();
    const duplex = toDuplex(underWay(call(listener.getSockName())), { map });
    const events = note(duplex);
    expect([duplex.connecting, duplex.pending, duplex.readyState]).toEqual([true, true, 'opening']);
    duplex.write('early');
    duplex.end();
    run(map, how);
    await until(() => events.includes('finish'));
    const peer = keep(listener.accept()?.socket as Socket);
    expect(String(await heardBy(peer))).toBe('early');
    expect(events).toEqual(['connect', 'ready', 'finish']);
    expect([duplex.connecting, duplex.pending]).toEqual([false, false]);
    expect({ host: duplex.remoteAddress, port: duplex.remotePort }).toEqual(listener.getSockName());
  });

  it('connects, and ends without a word', async () => {
    const map = newMap();
    const listener = bareListener();
    const duplex = toDuplex(underWay(call(listener.getSockName())), { map });
    duplex.end();
    const peer = keep(listener.accept()?.socket as Socket);
    // The connect ends in a read event, and not in a write event.
    peer.send(Buffer.from('hello'));
    run(map, how);
    expect(String((await once(duplex, 'data'))[0])).toBe('hello');
    expect(String(await heardBy(peer))).toBe('');
  });

  it('fails when the connect has', async () => {
    const listener = bareListener();
    const address = listener.getSockName();
    listener.close();
    const map = newMap();
    const duplex = toDuplex(call(address), { map });
    const events = note(duplex);
    run(map, how);
    await closed(events);
    expect(events).toEqual(['error ECONNREFUSED', 'close']);
    expect(map.size).toBe(0);
  });

  it('fails when the connect does', async () => {
    const map = newMap();
    const socket = underWay(call(bareListener().getSockName()));
    const getSockOpt = socket.getSockOpt.bind(socket);
    jest
      .spyOn(socket, 'getSockOpt')
      .mockImplementation(((level: number, option: number) =>
        option === SO_ERROR ? ETIMEDOUT : getSockOpt(level, option)) as never);
    const duplex = toDuplex(socket, { map });
    const events = note(duplex);
    duplex.write('early', (error) => events.push(`write ${error && 'failed'}`));
    run(map, how);
    await closed(events);
    expect(events).toEqual(['write failed', 'error ETIMEDOUT', 'close']);
  });
});

/** A connect over loopback is over at once. This one looks as if it was under way. */
function underWay(socket: Socket): Socket {
  const notYet = () => {
    throw Object.assign(new Error('not yet'), { code: 'ENOTCONN' });
  };
  jest.spyOn(socket, 'getPeerName').mockImplementationOnce(notYet).mockImplementationOnce(notYet);
  return socket;
}

describe.each(LOOPS)('A channel that gives its socket up (%s)', (_, how) => {
  it('has its output sent first, and its unread input read first', async () => {
    const map = newMap();
    const [peer, ours] = connection();
    const chat = new LineChat(ours, map);
    let duplex: ReturnType<typeof toDuplex> | undefined;
    const produced = ['from a ', 'producer, '];
    chat.onRecord = () => {
      chat.push('pushed, ');
      chat.push(MUCH);
      chat.pushWithProducer({ more: () => produced.shift() });
      chat.encoding = 'latin1';
      chat.producerFifo.push('\xe9');
      duplex = toDuplex(chat);
      duplex.end('written');
    };
    const rest = '2\n3\nunfinished\r';
    peer.send(Buffer.from(`upgrade\n${rest}`));
    run(map, how);
    await until(() => duplex !== undefined);
    const stream = duplex as ReturnType<typeof toDuplex>;
    expect(chat.events).toEqual(['upgrade']);
    expect(map.size).toBe(1);
    expect([chat.socket, chat.fileno(), chat.connected]).toEqual([null, null, false]);
    expect(chat.push('late')).toBe(false);
    const heard = await heardBy(peer);
    const expected = [
      Buffer.from('pushed, '),
      MUCH,
      Buffer.from('from a producer, \xe9written', 'latin1'),
    ];
    expect(heard.equals(Buffer.concat(expected))).toBe(true);
    peer.send(Buffer.from('.'));
    peer.close();
    let input = '';
    for await (const data of stream) input += data;
    expect(input).toBe(`${rest}.`);
    expect(chat.events).toEqual(['upgrade']);
    expect(chat.errors).toEqual([]);
  });

  it('may be given by its socket, with records that pauseReading has kept back', async () => {
    const map = newMap();
    const [peer, ours] = pair();
    const chat = new LineChat(ours, map);
    chat.onRecord = () => chat.pauseReading();
    peer.send(Buffer.from('1\n2\n'));
    poll(1000, map);
    const duplex = toDuplex(ours);
    run(map, how);
    const [data] = await once(duplex, 'data');
    expect(String(data)).toBe('2\n');
    expect(chat.socket).toBe(null);
    expect([...map.values()].includes(chat)).toBe(false);
  });

  it('may be a dispatcher with output of its own', async () => {
    const map = newMap();
    const [peer, ours] = pair();
    const channel = new DispatcherWithSend(ours, map);
    channel.send(MUCH);
    const duplex = toDuplex(channel);
    expect(channel.outBuffer.length).toBe(0);
    duplex.end('!');
    run(map, how);
    expect((await heardBy(peer)).equals(Buffer.concat([MUCH, Buffer.from('!')]))).toBe(true);
  });

  it('may be handed over in handleConnect', async () => {
    class Client extends Dispatcher {
      duplex: ReturnType<typeof toDuplex> | null = null;
      override handleConnect() {
        this.duplex = toDuplex(this);
        this.duplex.end('hello');
      }
    }
    const map = newMap();
    const listener = bareListener();
    const client = new Client(null, map);
    client.setSocket(keep(Socket.socket()), map);
    client.connect(listener.getSockName());
    await drive(how, () => client.duplex !== null, { map });
    run(map, how);
    const peer = keep(listener.accept()?.socket as Socket);
    expect(String(await heardBy(peer))).toBe('hello');
    expect(client.connected).toBe(false);
  });

  it('waits for a producer that has promised its next piece, before it sends what is written', async () => {
    const { peer, chat, resume } = await chatThatPromises(how);
    const flushed = chat.flushed().catch((error: unknown) => error);
    const duplex = toDuplex(chat);
    expect(await flushed).toMatchObject({ code: 'ERR_CHANNEL_CLOSED' });
    const events = note(duplex);
    duplex.write('three ', () => events.push('written'));
    duplex.end('four');
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect(events).toEqual([]);
    resume();
    expect(String(await heardBy(peer))).toBe('two three four');
    expect(events).toEqual(['written', 'finish']);
  });

  it('waits for such a producer when nothing is written', async () => {
    const { peer, chat, resume } = await chatThatPromises(how);
    toDuplex(chat).end();
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect(peer.recv(10)).toBe(null);
    resume();
    expect(String(await heardBy(peer))).toBe('two ');
  });

  it('leaves nothing behind when its close() throws', () => {
    for (const thrown of [new Error('mine'), new ExitNow('mine')]) {
      for (const late of [false, true]) {
        class Faulty extends LineChat {
          override close(): void {
            if (late) super.close();
            throw thrown;
          }
        }
        const map = newMap();
        const [peer, ours] = pair();
        const chat = new Faulty(ours, map);
        expect(() => toDuplex(chat)).toThrow(thrown);
        expect([map.size, ours.closed, chat.socket, chat.connected]).toEqual([
          0,
          true,
          null,
          false,
        ]);
        expect(peer.recv(1)?.length).toBe(0);
        expect(chat.push('late')).toBe(false);
        expect(chat.errors).toEqual([]);
      }
    }
  });

  it('tells of a reset that the channel has already heard of', async () => {
    const map = newMap();
    const [peer, ours] = connection();
    const chat = new LineChat(ours, map);
    let events: string[] = [];
    chat.handleClose = () => {
      events = note(toDuplex(chat));
    };
    run(map, how);
    await new Promise((resolve) => setTimeout(resolve, 10));
    willReset(peer).close();
    await until(() => events.includes('close'));
    expect(events).toEqual(['error ECONNRESET', 'close']);
    expect(map.size).toBe(0);
  });

  it('ends in order when the peer of the channel has ended its stream', async () => {
    const map = newMap();
    const [peer, ours] = connection();
    const chat = new LineChat(ours, map);
    let events: string[] = [];
    chat.handleClose = () => {
      const duplex = toDuplex(chat);
      events = note(duplex);
      duplex.write('bye');
    };
    peer.shutdown(SHUT_WR);
    run(map, how);
    expect(String(await heardBy(peer))).toBe('bye');
    await closed(events);
    expect(events).toEqual(['end', 'finish', 'close']);
  });

  it('has the error of a producer end the stream', async () => {
    const map = newMap();
    const [peer, ours] = pair();
    const chat = new LineChat(ours, map);
    let left = 100;
    chat.pushWithProducer({
      more() {
        left -= 1;
        if (left === 0) throw Object.assign(new Error('no more'), { code: 'MINE' });
        return Buffer.alloc(65536);
      },
    });
    const duplex = toDuplex(chat);
    const events = note(duplex);
    duplex.write('never', (error) => events.push(`write ${error && 'failed'}`));
    run(map, how);
    expect((await heardBy(peer)).length).toBe(99 * 65536);
    await closed(events);
    expect(events).toEqual(['write failed', 'error MINE', 'close']);
    expect(chat.errors).toEqual([]);
  });
});

describe('What a stream can be made of', () => {
  const map = new ChannelMap();

  it.each<[string, () => unknown, RegExp]>([
    ['a number', () => 7, /Cannot make a stream: expected a socket or a channel, received 7/],
    ['null', () => null, /expected a socket or a channel, received null/],
    [
      'datagrams',
      () => keep(Socket.socket(AF_UNIX, SOCK_DGRAM)),
      /expected a socket of the type SOCK_STREAM, received <Socket/,
    ],
    [
      'a fresh socket',
      () => keep(Socket.socket()),
      /expected a socket that is connected, or that connects/,
    ],
    ['a listener', () => bareListener(), /expected a socket that is connected/],
    [
      'a closed socket',
      () => {
        const [socket] = pair();
        socket.close();
        return socket;
      },
      /expected an open socket, received <Socket fd=-1/,
    ],
    [
      'a channel without a socket',
      () => new LineChat(null, map),
      /expected a connected channel, received <LineChat/,
    ],
    [
      'a channel that connects',
      () => {
        const chat = keep(new LineChat(null, newMap()));
        chat.setSocket(keep(Socket.socket()));
        chat.connecting = true;
        return chat;
      },
      /expected a connected channel, .*; do it in handleConnect\(\)/,
    ],
    [
      'a chat that is about to close',
      () => {
        const chat = keep(new LineChat(pair()[0], newMap()));
        chat.closeWhenDone();
        return chat;
      },
      /expected a channel that is not about to close, .*closeWhenDone\(\) or endWhenDone\(\) was called/,
    ],
    [
      'a chat that has sent all, and closes',
      () => {
        const own = newMap();
        const chat = keep(new LineChat(pair()[0], own));
        const handleClose = jest.spyOn(chat, 'handleClose').mockImplementation(() => {});
        chat.closeWhenDone();
        poll(1000, own);
        expect(handleClose).toHaveBeenCalledTimes(1);
        return chat;
      },
      /expected a channel that is not about to close/,
    ],
    [
      'a chat that is about to end its stream',
      () => {
        const chat = keep(new LineChat(pair()[0], newMap()));
        chat.push('before');
        chat.endWhenDone();
        return chat;
      },
      /expected a channel that is not about to close, .*endWhenDone\(\) was called/,
    ],
    [
      'the channel of a stream',
      () => {
        const own = newMap();
        toDuplex(pair()[0], { map: own });
        return [...own.values()][0];
      },
      /expected a channel that is not under a stream or an iterator already/,
    ],
  ])('%s is refused', (_, make, message) => {
    const source = make() as Socket;
    expect(() => toDuplex(source, { map })).toThrow(message);
    expect(() => toDuplex(source, { map })).toThrow(TypeError);
    expect(map.size).toBe(0);
  });

  it.each<[object, string, RegExp]>([
    [{ highWatermark: 1 }, 'ERR_INVALID_ARG_VALUE', /did you mean highWaterMark\?/],
    [{ highWaterMark: -1 }, 'ERR_OUT_OF_RANGE', /received -1/],
    [{ highWaterMark: '1' }, 'ERR_INVALID_ARG_TYPE', /received '1'/],
    [{ allowHalfOpen: 1 }, 'ERR_INVALID_ARG_TYPE', /allowHalfOpen to be true or false, received 1/],
    [{ map: new Map() }, 'ERR_INVALID_ARG_TYPE', /expected a ChannelMap/],
    [{ signal: 'stop' }, 'ERR_INVALID_ARG_TYPE', /expected an AbortSignal, received 'stop'/],
  ])('an option %p is refused', (options, code, message) => {
    const [socket] = pair();
    expect(() => toDuplex(socket, options)).toThrow(
      expect.objectContaining({ code, message: expect.stringMatching(message) }),
    );
    expect([socket.closed, socket.owner]).toEqual([false, null]);
  });
});

describe('As a net.Socket, a stream', () => {
  it('has its addresses, also when it is closed', () => {
    const map = newMap();
    const [peer, ours] = connection(AF_INET6);
    const duplex = toDuplex(ours, { map });
    const own = ours.getSockName() as { host: string; port: number };
    const other = ours.getPeerName() as { host: string; port: number };
    for (const _ of ['open', 'closed']) {
      expect(duplex.address()).toEqual({ address: own.host, port: own.port, family: 'IPv6' });
      expect([duplex.localAddress, duplex.localPort, duplex.localFamily]).toEqual([
        own.host,
        own.port,
        'IPv6',
      ]);
      expect([duplex.remoteAddress, duplex.remotePort, duplex.remoteFamily]).toEqual([
        other.host,
        other.port,
        'IPv6',
      ]);
      duplex.destroy();
    }
    peer.close();
    const unix = toDuplex(pair()[0], { map });
    expect([unix.address(), unix.remoteAddress, unix.localPort]).toEqual([
      {},
      undefined,
      undefined,
    ]);
  });

  it('sets options of the socket', () => {
    const [, ours] = connection();
    const duplex = toDuplex(ours, { map: newMap() });
    expect(duplex.setNoDelay().setKeepAlive(true, 7900).ref().unref()).toBe(duplex);
    expect(ours.getSockOpt(IPPROTO_TCP, TCP_NODELAY)).toBe(1);
    expect(ours.getSockOpt(SOL_SOCKET, SO_KEEPALIVE)).toBe(1);
    expect(ours.getSockOpt(IPPROTO_TCP, TCP_KEEPIDLE)).toBe(7);
    duplex.setNoDelay(false).setKeepAlive();
    expect(ours.getSockOpt(IPPROTO_TCP, TCP_NODELAY)).toBe(0);
    expect(ours.getSockOpt(SOL_SOCKET, SO_KEEPALIVE)).toBe(0);
    duplex.destroy();
    expect(duplex.setNoDelay().setKeepAlive(true, 2000)).toBe(duplex);
    // A Unix socket has no such options.
    toDuplex(pair()[0], { map: newMap() }).setNoDelay().setKeepAlive(true, 2000);
    expect(() => duplex.setKeepAlive(true, -1)).toThrow(RangeError);
    expect(() => duplex.setNoDelay('no' as never)).toThrow(/received 'no'/);
  });

  it('tells when it has been idle, and again only after something has moved', async () => {
    jest.useFakeTimers({ doNotFake: ['nextTick', 'setImmediate', 'performance', 'Date'] });
    try {
      const { duplex, peer, events } = streamWithPeer({ usePoll: false, sync: false });
      const heard: string[] = [];
      duplex.setTimeout(100, () => heard.push('listener'));
      expect(duplex.timeout).toBe(100);
      for (let size = 1; size < 4; size += 1) {
        jest.advanceTimersByTime(60);
        peer.send(Buffer.from('x'));
        for (const end = performance.now() + 5000; duplex.bytesRead < size; ) {
          if (performance.now() > end) throw new Error('not received');
          await new Promise((resolve) => setImmediate(resolve));
        }
      }
      for (let writes = 0; writes < 3; writes += 1) {
        jest.advanceTimersByTime(60);
        duplex.write('x');
      }
      jest.advanceTimersByTime(99);
      expect(events).toEqual([]);
      jest.advanceTimersByTime(1000);
      expect(events).toEqual(['timeout']);
      duplex.write('x');
      jest.advanceTimersByTime(100);
      expect(events).toEqual(['timeout', 'timeout']);
      expect(heard).toEqual(['listener']);
      duplex.setTimeout(0);
      duplex.write('x');
      jest.advanceTimersByTime(1000);
      expect(events).toEqual(['timeout', 'timeout']);
      duplex.setTimeout(100).destroy();
      expect(jest.getTimerCount()).toBeLessThanOrEqual(1); // the loop's own
      expect(() => duplex.setTimeout(-1)).toThrow(
        /expected a timeout of 0 ms or more, received -1/,
      );
      expect(() => duplex.setTimeout(1, 'x' as never)).toThrow(/expected a function, received 'x'/);
    } finally {
      jest.useRealTimers();
    }
  });

  it('is not idle while the peer takes output, slowly', async () => {
    jest.useFakeTimers({ doNotFake: ['nextTick', 'setImmediate', 'performance', 'Date'] });
    try {
      const way = { usePoll: false, sync: false };
      const { duplex, peer, events } = streamWithPeer(way, { unix: true });
      duplex.setTimeout(100);
      duplex.write(MUCH, () => events.push('written'));
      for (let steps = 0; steps < 5; steps += 1) {
        jest.advanceTimersByTime(60);
        const before = duplex.bytesWritten;
        for (const end = performance.now() + 5000; duplex.bytesWritten === before; ) {
          if (performance.now() > end) throw new Error('not sent');
          peer.recv(65536);
          await new Promise((resolve) => setImmediate(resolve));
        }
      }
      expect(events).toEqual([]);
      jest.advanceTimersByTime(100);
      expect(events).toEqual(['timeout']);
    } finally {
      jest.useRealTimers();
    }
  });

  it('is open, half open and closed', async () => {
    const { duplex, peer, events } = streamWithPeer(
      { usePoll: false, sync: false },
      { allowHalfOpen: true },
    );
    expect(duplex.readyState).toBe('open');
    peer.shutdown(SHUT_WR);
    await until(() => events.includes('end'));
    expect(duplex.readyState).toBe('writeOnly');
    duplex.end();
    await closed(events);
    expect(duplex.readyState).toBe('closed');
    const other = streamWithPeer({ usePoll: false, sync: false });
    other.duplex.end();
    expect(other.duplex.readyState).toBe('readOnly');
  });
});

it('AsyncChat is what stands under a stream', () => {
  const map = newMap();
  toDuplex(pair()[0], { map });
  expect([...map.values()][0]).toBeInstanceOf(AsyncChat);
});
