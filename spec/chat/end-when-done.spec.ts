// endWhenDone(): half-close after the output.

import {
  AsyncChat,
  type ChannelMap,
  FileWrapper,
  type Producer,
  poll,
  SHUT_WR,
  type Socket,
  SocketError,
  type SocketLike,
} from 'asyncore';
import { drive, MATRIX, WAYS, type Way } from '../support/drive';
import { keep, newMap } from '../support/keep';
import { chatWithPeer, LineChat, text, tick } from '../support/limits';
import { QuietChat } from '../support/quiet-chat';
import { driveSettling, outcome, turn } from '../support/settled';
import { bareListener, call, connection, heard, pair, willReset } from '../support/sockets';

const BIG = 4_000_000;

const talk = (map = newMap()) => chatWithPeer((socket, map) => new LineChat(socket, map), map);

/** All that a peer hears, and `|` for the end of the stream. */
async function heardToEnd(how: Way, peer: Socket, map: ChannelMap): Promise<string> {
  let all = '';
  await drive(
    how,
    () => {
      if (!all.endsWith('|')) all += heard(peer);
      return all.endsWith('|');
    },
    { map },
  );
  return all;
}

describe.each(MATRIX)('endWhenDone() (%s)', (_, family, how) => {
  it('ends the stream when all is sent, and has the records that still come', async () => {
    const map = newMap();
    const listener = bareListener(family);
    const peer = call(listener.getSockName());
    const chat = new LineChat(keep(listener.accept()?.socket as Socket), map);
    chat.push(Buffer.alloc(BIG, 'x'));
    chat.endWhenDone();
    const all = await heardToEnd(how, peer, map);
    expect([all.length, all.endsWith('x|')]).toEqual([BIG + 1, true]);
    expect([...map.values()]).toEqual([chat]);
    peer.send(text('one\ntwo\n'));
    await drive(how, () => chat.events.length === 2, { map });
    peer.close();
    await drive(how, () => map.size === 0, { map });
    expect(chat.events).toEqual(['one', 'two', 'close']);
    expect(chat.errors).toEqual([]);
  });
});

describe.each(WAYS)('endWhenDone() (%s)', (_, how) => {
  it('keeps its place behind data and producers', async () => {
    const { chat, peer, map } = talk();
    const pieces = ['3', '4'];
    chat.onRecord = () => {
      chat.push('1');
      chat.push('2');
      chat.pushWithProducer({ more: () => pieces.shift() });
      chat.push('5');
      chat.endWhenDone();
      expect(chat.push('6')).toBe(false);
    };
    peer.send(text('go\n'));
    expect(await heardToEnd(how, peer, map)).toBe('12345|');
  });

  it('ends an idle stream in a write event, once', async () => {
    const { chat, peer, map } = talk();
    const shutdown = jest.spyOn(chat.socket as Socket, 'shutdown');
    chat.endWhenDone();
    chat.endWhenDone();
    expect(heard(peer)).toBe('');
    await drive(how, () => shutdown.mock.calls.length > 0, { map });
    chat.endWhenDone();
    await tick(how, map, 3);
    expect(shutdown.mock.calls).toEqual([[SHUT_WR]]);
    expect(heard(peer)).toBe('|');
    expect(chat.writable()).toBe(false);
  });

  it('is followed by closeWhenDone()', async () => {
    const { chat, peer, map } = talk();
    const shutdown = jest.spyOn(chat.socket as Socket, 'shutdown');
    chat.push('last');
    chat.endWhenDone();
    chat.closeWhenDone();
    await drive(how, () => map.size === 0, { map });
    expect([heard(peer), shutdown.mock.calls, chat.events]).toEqual([
      'last|',
      [[SHUT_WR]],
      ['close'],
    ]);
    const later = talk();
    later.chat.endWhenDone();
    await drive(how, () => heard(later.peer) === '|', { map: later.map });
    later.chat.closeWhenDone();
    await drive(how, () => later.map.size === 0, { map: later.map });
    expect(later.chat.events).toEqual(['close']);
  });

  it('with allowHalfOpen, closes when both directions have ended', async () => {
    for (const first of ['chat', 'peer']) {
      const { chat, peer, map } = talk();
      chat.allowHalfOpen = true;
      const close = jest.spyOn(chat, 'closeWhenDone');
      if (first === 'chat') {
        chat.endWhenDone();
        await drive(how, () => heard(peer) === '|', { map });
        peer.send(text('late\n'));
      } else chat.handleEof = () => void chat.events.push('eof');
      peer.shutdown(SHUT_WR);
      await drive(how, () => chat.events.includes('eof'), { map });
      if (first === 'peer') {
        chat.push('answer');
        chat.endWhenDone();
        expect(await heardToEnd(how, peer, map)).toBe('answer|');
        chat.close();
      } else {
        await drive(how, () => map.size === 0, { map });
        expect(chat.events).toEqual(['late', 'eof', 'close']);
        expect(close).toHaveBeenCalledTimes(1);
      }
    }
  });

  it('calls handleClose where the peer has reset the connection', async () => {
    const map = newMap();
    const [caller, accepted] = connection();
    const chat = new LineChat(accepted, map);
    // So that the chat hears of it by its shutdown, and not by a read event.
    chat.pauseReading();
    chat.endWhenDone();
    willReset(caller).close();
    await drive(how, () => map.size === 0, { map });
    expect([chat.events, chat.errors]).toEqual([['close'], []]);
  });

  it('is part of what flushed() waits for', async () => {
    const { chat, peer, map } = talk();
    chat.push('x');
    chat.endWhenDone();
    const flush = outcome(chat.flushed());
    await turn();
    expect(flush.now).toBe('pending');
    await driveSettling(how, () => flush.now !== 'pending', map);
    expect([flush.now, heard(peer)]).toEqual(['resolved', 'x|']);
  });

  it('waits for the connection', async () => {
    const map = newMap();
    const listener = bareListener();
    const chat = new LineChat(null, map);
    chat.handleConnect = () => {};
    chat.push('early');
    chat.endWhenDone();
    expect(chat.push('more')).toBe(false);
    chat.createSocket();
    chat.connect(listener.getSockName());
    let all = '';
    let peer: Socket | null = null;
    await drive(
      how,
      () => {
        const accepted = peer === null ? listener.accept() : null;
        if (accepted !== null) peer = keep(accepted.socket);
        if (peer !== null && !all.endsWith('|')) all += heard(peer);
        return all.endsWith('|');
      },
      { map },
    );
    expect(all).toBe('early|');
  });
});

describe('After endWhenDone()', () => {
  /** A chat that has ended its stream already, and one that is about to. */
  function both(): LineChat[] {
    const [waiting, ended] = [talk(), talk()];
    waiting.chat.push(Buffer.alloc(BIG));
    waiting.chat.endWhenDone();
    ended.chat.endWhenDone();
    poll(0, ended.map);
    expect(heard(ended.peer)).toBe('|');
    return [waiting.chat, ended.chat];
  }

  it('what is pushed is refused, and a producer closed', () => {
    for (const chat of both()) {
      const logged: unknown[] = [];
      chat.ignoreLogTypes = new Set();
      chat.logInfo = (message, type) => void logged.push([message, type]);
      let closed = 0;
      const producer: Producer = {
        more: () => 'x',
        close: () => {
          closed += 1;
        },
      };
      const before = chat.writableLength;
      expect(chat.push('x')).toBe(false);
      expect(chat.push(Buffer.alloc(100_000))).toBe(false);
      expect(chat.pushWithProducer(producer)).toBe(false);
      expect([chat.writableLength, closed]).toEqual([before, 1]);
      expect(logged).toEqual([
        ['push after endWhenDone: refused', 'warning'],
        ['push after endWhenDone: refused', 'warning'],
        ['pushWithProducer after endWhenDone: refused', 'warning'],
      ]);
    }
  });

  it('the next connection takes output again', () => {
    for (const chat of both()) {
      chat.close();
      expect(chat.push('refused')).toBe(false);
      chat.discardBuffers();
      const [mine, theirs] = pair();
      chat.setSocket(mine);
      chat.connected = true;
      expect(chat.push('next')).toBe(true);
      expect(heard(theirs)).toBe('next');
    }
  });

  it('discarded output is followed by no end', () => {
    const { chat, peer, map } = talk();
    chat.endWhenDone();
    chat.discardBuffers();
    poll(0, map);
    expect(chat.push('goes on')).toBe(true);
    expect(heard(peer)).toBe('goes on');
  });

  it('an end that the program takes off the fifo does not come', () => {
    const { chat, peer, map } = talk();
    chat.endWhenDone();
    chat.producerFifo.clear();
    poll(0, map);
    expect(chat.push('goes on')).toBe(true);
    expect(heard(peer)).toBe('goes on');
  });
});

describe('endWhenDone()', () => {
  it('does nothing on a closed channel, and after closeWhenDone()', () => {
    const { chat, peer, map } = talk();
    const shutdown = jest.spyOn(chat.socket as Socket, 'shutdown');
    chat.push('x');
    chat.closeWhenDone();
    chat.endWhenDone();
    poll(0, map);
    chat.endWhenDone();
    expect([shutdown.mock.calls, heard(peer), chat.events]).toEqual([[], 'x|', ['close']]);
  });

  it('refuses a socket that cannot end its stream, at once', () => {
    const map = newMap();
    const [mine] = pair();
    const file = new FileWrapper(mine.fileno());
    const standIn: SocketLike = {
      fileno: () => mine.fileno(),
      recv: () => null,
      send: (data) => data.length,
      getSockOpt: () => 0,
      close: () => {},
    };
    for (const [socket, name] of [
      [file, `<FileWrapper fd=${file.fileno()}>`],
      [standIn, '{'],
    ] as const) {
      const chat = new QuietChat(socket, map);
      expect(() => chat.endWhenDone()).toThrow(
        expect.objectContaining({
          code: 'ERR_INVALID_ARG_TYPE',
          name: 'TypeError',
          message: expect.stringContaining(
            `Cannot end the output: expected a socket with a method shutdown(), received ${name}`,
          ),
        }),
      );
      expect(chat.push('goes on')).toBe(true);
      chat.close();
    }
  });

  it('calls the shutdown of a stand-in, and tells handleError of its error', () => {
    const { chat, map } = talk();
    const socket = chat.socket as Socket;
    const calls: number[] = [];
    const failure = new SocketError('ENOBUFS', 105, 'shutdown', 'No buffer space available');
    const standIn: SocketLike = {
      fileno: () => socket.fileno(),
      recv: (size) => socket.recv(size),
      send: (data) => socket.send(data),
      getSockOpt: () => 0,
      close: () => socket.close(),
      shutdown: (how = -1) => {
        calls.push(how);
        throw failure;
      },
    };
    chat.setSocket(standIn, map);
    chat.endWhenDone();
    poll(0, map);
    expect([calls, chat.events, chat.errors]).toEqual([[SHUT_WR], ['error', 'close'], [failure]]);
  });

  it('tells handleError of a socket that turns out to have no shutdown', () => {
    class Late extends AsyncChat {
      readonly errors: unknown[] = [];
      override collectIncomingData(): void {}
      override foundTerminator(): void {}
      override handleError(error: unknown): void {
        this.errors.push(error);
        this.close();
      }
    }
    const map: ChannelMap = newMap();
    const chat = new Late(null, map);
    chat.endWhenDone();
    const [mine] = pair();
    chat.setSocket(new FileWrapper(mine.fileno()));
    chat.connected = true;
    poll(0, map);
    expect(chat.errors).toEqual([expect.objectContaining({ code: 'ERR_INVALID_ARG_TYPE' })]);
  });

  it('leaves an override of send all bytes', () => {
    const { chat, peer, map } = talk();
    let all = '';
    chat.send = (data) => {
      all += Buffer.from(data).toString('latin1');
      return data.length;
    };
    chat.push('through the override');
    chat.endWhenDone();
    poll(0, map);
    expect([all, heard(peer)]).toEqual(['through the override', '|']);
  });
});
