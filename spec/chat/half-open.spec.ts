// allowHalfOpen beside the limits: a peer who has ended his stream is answered, and is nobody's for ever.

import { loop, poll, poll2, SHUT_WR, Socket, shutdown } from 'asyncore';
import { drive, localAddress, MATRIX, WAYS } from '../support/drive';
import { keep, newMap, stillMap } from '../support/keep';
import { chatWithPeer, LineChat, text, tick } from '../support/limits';
import { until } from '../support/program';
import { call, connection, received, willReset } from '../support/sockets';

function halfOpen(socket: Socket, map = newMap()): LineChat {
  const chat = new LineChat(socket, map);
  chat.allowHalfOpen = true;
  return chat;
}

describe.each(MATRIX)('A chat with allowHalfOpen (%s)', (_, family, how) => {
  it('has its records, then handleEof, then all its output sent, then handleClose', async () => {
    const map = newMap();
    const listener = keep(Socket.socket(family));
    listener.bind(localAddress(family));
    listener.listen(1);
    const peer = call(listener.getSockName());
    const chat = halfOpen(keep(listener.accept()?.socket as Socket), map);
    chat.onRecord = (record) => {
      chat.push(record.repeat(2_000_000));
    };
    peer.send(text('a\nb\nrest'));
    peer.shutdown(SHUT_WR);
    let heard = 0;
    await drive(
      how,
      () => {
        heard += received(peer).length;
        return map.size === 0;
      },
      { map },
    );
    expect(chat.events).toEqual(['a', 'b', 'eof', 'close']);
    expect(chat.incoming.map(String)).toEqual(['rest']);
    // What the kernel still has of it, to the end of the stream.
    await until(() => {
      const data = peer.recv(65536);
      heard += data?.length ?? 0;
      return data?.length === 0;
    });
    expect(heard).toBe(4_000_000);
  });
});

describe.each(WAYS)('A chat whose peer has ended his stream (%s)', (_, how) => {
  it('leaves the loop its rest when it does nothing about it, and is timed out', async () => {
    const { map, clock } = stillMap();
    const { chat, peer } = chatWithPeer((socket) => halfOpen(socket, map), map);
    chat.handleEof = () => {
      chat.events.push('eof');
    };
    peer.shutdown(SHUT_WR);
    await drive(how, () => chat.events.length > 0, { map });
    expect(chat.inputEnded).toBe(true);
    const start = performance.now();
    if (how.sync) (how.usePoll ? poll2 : poll)(60, map);
    else await loop({ map, usePoll: how.usePoll, timeout: 60, count: 1 });
    expect(performance.now() - start).toBeGreaterThan(50);
    chat.setIdleTimeout(1000);
    clock.advance(999);
    await tick(how, map);
    expect(chat.events).toEqual(['eof']);
    clock.advance(1);
    await tick(how, map);
    expect(chat.events).toEqual(['eof', 'timeout', 'close']);
  });

  it('is told of a reset while it sends, once', async () => {
    const map = newMap();
    const [caller, accepted] = connection();
    const chat = halfOpen(accepted, map);
    caller.shutdown(SHUT_WR);
    chat.push(Buffer.alloc(8_000_000, 'x'));
    await drive(how, () => chat.events.length > 0, { map });
    await tick(how, map, 5);
    expect(chat.events).toEqual(['eof']);
    willReset(caller).close();
    await drive(how, () => map.size === 0, { map });
    expect(chat.events).toEqual(['eof', 'close']);
    expect(chat.errors).toEqual([]);
  });

  it('may pause and resume, and hears nothing again', async () => {
    const { chat, peer, map } = chatWithPeer((socket, map) => halfOpen(socket, map));
    chat.push(Buffer.alloc(4_000_000, 'x'));
    peer.shutdown(SHUT_WR);
    await drive(how, () => chat.events.length > 0, { map });
    chat.pauseReading();
    await tick(how, map, 2);
    chat.resumeReading();
    await tick(how, map, 5);
    expect(chat.events).toEqual(['eof']);
  });
});

it('A half-open chat is shut down as any other: its output leaves', async () => {
  const { chat, peer, map } = chatWithPeer((socket, map) => halfOpen(socket, map));
  chat.handleEof = () => {
    chat.events.push('eof');
  };
  peer.shutdown(SHUT_WR);
  poll(1000, map);
  chat.push('the answer');
  expect(await shutdown(map)).toBe(0);
  expect(chat.events).toEqual(['eof', 'close']);
  expect(received(peer)).toBe('the answer');
});
