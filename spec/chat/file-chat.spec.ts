// Chats on a FileWrapper: pipes, terminals and files, which may block, and may never become writable.

import { constants, existsSync, openSync, readSync, writeFileSync } from 'node:fs';
import {
  AF_UNIX,
  AsyncChat,
  type ChannelMap,
  FileWrapper,
  type Handled,
  loopSync,
  poll,
  SOCK_DGRAM,
  Socket,
  type SocketLike,
  shutdown,
} from 'asyncore';
import { DIAGONAL, drive, temporaryPath, WAYS } from '../support/drive';
import { namedPipe, openTerminal } from '../support/files';
import { keep, keepFd, newMap } from '../support/keep';
import { Program, TYPESCRIPT } from '../support/program';
import { driveSettling, outcome } from '../support/settled';
import { itIf } from '../support/skips';

const SOON = 3000;

class Chat extends AsyncChat {
  readonly events: string[] = [];

  constructor(socket: SocketLike, map: ChannelMap) {
    super(socket, map);
    this.setTerminator('\n');
  }
  override collectIncomingData(data: Buffer): void {
    this._collectIncomingData(data);
  }
  override foundTerminator(): void {
    this.events.push(`${this._getData()}`);
  }
  override handleWrite(): Handled {
    this.events.push('write');
    return super.handleWrite();
  }
  override handleClose(): Handled {
    this.events.push('close');
    return super.handleClose();
  }
}

const chatOn = (fd: number, map = newMap()) => ({ chat: new Chat(new FileWrapper(fd), map), map });

describe('A chat on a terminal', () => {
  itIf(existsSync('/dev/ptmx'), 'no /dev/ptmx')('closes without reading from it', async () => {
    const script = temporaryPath('terminal.ts');
    writeFileSync(
      script,
      `
      import { AsyncChat, FileWrapper, loop, loopSync, shutdown, socketMap } from 'asyncore';

      class Chat extends AsyncChat {
        collectIncomingData() {}
        foundTerminator() {}
      }
      void (async () => {
        new Chat(new FileWrapper(3)).closeWhenDone();
        loopSync();
        console.log('closed');
        const chat = new Chat(new FileWrapper(3));
        setTimeout(async () => {
          chat.push('bye');
          console.log('cut', await shutdown(socketMap, { deadline: 60_000 }));
        }, 20);
        await loop();
      })();
      `,
    );
    const [terminal, line] = openTerminal().map(keepFd) as [number, number];
    const program = new Program(process.execPath, [...TYPESCRIPT, script], {}, [terminal]);
    expect([await program.ended(), program.output]).toEqual([0, 'closed\ncut 0\n']);
    const heard = Buffer.alloc(10);
    expect(heard.toString('latin1', 0, readSync(line, heard))).toBe('bye');
  });
});

describe.each(WAYS)('A chat on a file (%s)', (_, how) => {
  it('closes in the next tick, though it will never be writable', async () => {
    const { chat, map } = chatOn(namedPipe()[0]);
    chat.closeWhenDone();
    chat.closeWhenDone();
    expect([chat.events, chat.connected]).toEqual([[], true]);
    await drive(how, () => map.size === 0, { map, limit: SOON });
    expect([chat.events, chat.closeReason]).toEqual([['write', 'close'], 'local']);
  });

  it('closes once where it is writable', async () => {
    const { chat, map } = chatOn(namedPipe()[1]);
    const late = jest.spyOn(chat, 'close');
    chat.closeWhenDone();
    await drive(how, () => map.size === 0, { map, limit: SOON });
    expect([chat.events, late.mock.calls.length]).toEqual([['write', 'close'], 1]);
  });
});

describe('A chat on a file', () => {
  it('is not cut off by shutdown()', async () => {
    const [input, output] = namedPipe();
    const map = newMap();
    const [reader, writer] = [chatOn(input, map).chat, chatOn(output, map).chat];
    writer.push('unread');
    expect(await shutdown(map, { deadline: SOON })).toBe(0);
    expect([reader.events, writer.events.at(-1)]).toEqual([['write', 'close'], 'close']);
    const unread = Buffer.alloc(10);
    expect(unread.toString('latin1', 0, readSync(input, unread))).toBe('unread');
  });

  it('does not close after all where the output was discarded', () => {
    const { chat, map } = chatOn(namedPipe()[0]);
    chat.closeWhenDone();
    chat.discardBuffers();
    for (let count = 0; count < 3; count += 1) poll(0, map);
    expect([chat.events, map.size]).toEqual([[], 1]);
    chat.closeWhenDone();
    poll(0, map);
    expect([chat.events, map.size]).toEqual([['write', 'close'], 0]);
  });

  it('closes when its output is sent, and not before', async () => {
    const [input, output] = namedPipe();
    const nonBlocking = keepFd(
      openSync(`/proc/self/fd/${output}`, constants.O_WRONLY | constants.O_NONBLOCK),
    );
    const { chat, map } = chatOn(nonBlocking);
    const size = 300_000;
    chat.push(Buffer.alloc(size, 'x'));
    chat.closeWhenDone();
    for (let count = 0; count < 3; count += 1) poll(0, map);
    expect(map.size).toBe(1);
    const flush = outcome(chat.flushed());
    let heard = 0;
    const buffer = Buffer.alloc(65536);
    await driveSettling(
      { sync: true, usePoll: false },
      () => {
        if (heard < size) heard += readSync(input, buffer);
        return map.size === 0 && heard === size;
      },
      map,
    );
    expect([heard, flush.now, chat.events.at(-1)]).toEqual([size, 'resolved', 'close']);
  });

  it('has no event when the program has closed it before', () => {
    const { chat, map } = chatOn(namedPipe()[0]);
    chat.closeWhenDone();
    chat.close();
    const other = chatOn(namedPipe()[0], map).chat;
    loopSync({ map, timeout: 0, count: 1 });
    expect([chat.events, other.events]).toEqual([[], []]);
  });
});

describe('Before it closes, a chat drops the unread input', () => {
  it.each(DIAGONAL)('of a stream, but not of datagrams and files (%s)', async (_, how) => {
    const standIn = (socket: Socket, more: Partial<SocketLike>): SocketLike => ({
      fileno: () => socket.fileno(),
      recv: (size) => socket.recv(size),
      send: (data) => socket.send(data),
      getSockOpt: () => 0,
      close: () => socket.close(),
      ...more,
    });
    for (const [type, wrap, expected] of [
      [undefined, (socket: Socket): SocketLike => socket, 1],
      [SOCK_DGRAM, (socket: Socket): SocketLike => socket, 0],
      [undefined, (socket: Socket) => standIn(socket, { shutdown: () => {} }), 1],
      [undefined, (socket: Socket) => standIn(socket, {}), 0],
    ] as const) {
      const map = newMap();
      const [mine, theirs] = type === undefined ? Socket.pair() : Socket.pair(AF_UNIX, type);
      keep(theirs);
      const socket = wrap(keep(mine));
      const recv = jest.spyOn(socket, 'recv');
      const chat = new Chat(socket, map);
      chat.pauseReading();
      chat.closeWhenDone();
      await drive(how, () => map.size === 0, { map, limit: SOON });
      expect(recv).toHaveBeenCalledTimes(expected);
    }
  });
});
