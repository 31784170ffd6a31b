// The records of a connection, one await at a time.

import { spawnSync } from 'node:child_process';
import { closeSync, constants, openSync, writeFileSync, writeSync } from 'node:fs';
import {
  AF_UNIX,
  type ChannelMap,
  closeAll,
  FileWrapper,
  type ManualClock,
  type Records,
  type RecordsOptions,
  records,
  SHUT_WR,
  SOCK_DGRAM,
  Socket,
  SocketError,
  shutdown,
  socketMap,
} from 'asyncore';
import { temporaryPath } from '../support/drive';
import { keep, newMap, stillMap } from '../support/keep';
import { LineChat, tick } from '../support/limits';
import { LIMIT, until } from '../support/program';
import { bareListener, call, connection, pair, received, willReset } from '../support/sockets';
import { chatThatPromises, heardBy, LOOPS, run } from '../support/streams';

const text = (data: string): Buffer => Buffer.from(data, 'latin1');

async function all<Item extends Buffer | string>(items: Records<Item>): Promise<string[]> {
  const found: string[] = [];
  for await (const item of items) found.push(String(item));
  return found;
}

describe('records, without a map', () => {
  it('runs a loop of its own, and needs nothing else', async () => {
    const [ours, peer] = pair();
    peer.send(text('one\r\ntwo\r\n\r\nthree\r\n'));
    peer.close();
    expect(await all(records(ours, '\r\n', { encoding: 'utf8' }))).toEqual([
      'one',
      'two',
      '',
      'three',
    ]);
    expect(ours.closed).toBe(true);
    expect(socketMap.size).toBe(0);
  });

  it('starts nothing before the first call', async () => {
    const [ours, peer] = pair();
    const lines = records(ours, '\n');
    peer.send(text('x\n'));
    await new Promise((resolve) => setTimeout(resolve, 30));
    // Still with the kernel.
    expect(ours.recv(10)?.toString()).toBe('x\n');
    lines.close();
    expect(ours.closed).toBe(true);
  });

  it('connects, asks and is answered', async () => {
    const listener = bareListener();
    const lines = records(call(listener.getSockName()), '\n', { encoding: 'latin1' });
    const peer = keep(listener.accept()?.socket as Socket);
    await lines.write('\xe9?\n');
    expect(received(peer)).toBe('\xe9?\n');
    peer.send(text('\xe8!\nrest'));
    expect(await lines.next()).toEqual({ done: false, value: '\xe8!' });
    peer.close();
    expect(await lines.next()).toEqual({ done: false, value: 'rest' });
    expect(await lines.next()).toEqual({ done: true, value: undefined });
    expect(await lines.next()).toEqual({ done: true, value: undefined });
  });

  it('throws when the connect fails', async () => {
    const listener = bareListener();
    const address = listener.getSockName();
    listener.close();
    const lines = records(call(address), '\n');
    await expect(lines.next()).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    expect(await lines.next()).toEqual({ done: true, value: undefined });
  });

  it('throws ETIMEDOUT in real time when nothing arrives, after what came before', async () => {
    const [ours, peer] = pair();
    const lines = records(ours, '\n', { encoding: 'utf8', timeout: 60 });
    peer.send(text('1\nunfin'));
    const from = performance.now();
    expect((await lines.next()).value).toBe('1');
    await expect(lines.next()).rejects.toMatchObject({ code: 'ETIMEDOUT', syscall: 'recv' });
    expect(performance.now() - from).toBeGreaterThanOrEqual(59);
    expect(performance.now() - from).toBeLessThan(5000);
    expect(ours.closed).toBe(true);
  });

  it('reads a file to its end', async () => {
    const path = temporaryPath('lines');
    const lines = Array.from({ length: 5000 }, (_, index) => `line ${index}`);
    writeFileSync(path, lines.join('\n'));
    const fd = openSync(path, 'r');
    const file = keep(new FileWrapper(fd));
    closeSync(fd);
    expect(await all(records(file, '\n'))).toEqual(lines);
    expect(file.fileno()).toBe(-1);
  });
});

describe.each(LOOPS)('records (%s)', (_, how) => {
  interface Opened {
    lines: Records<Buffer | string>;
    ours: Socket;
    peer: Socket;
    map: ChannelMap;
    clock: ManualClock;
  }

  /** With a loop that runs already. */
  function open(terminator: string | number | Uint8Array, options: RecordsOptions = {}): Opened {
    const opened = openStill(terminator, options);
    run(opened.map, how);
    return opened;
  }

  /** The test drives the loop itself. */
  function openStill(terminator: string | number | Uint8Array, options: RecordsOptions): Opened {
    const { map, clock } = stillMap();
    const [peer, ours] = connection();
    return { lines: records(ours, terminator, { map, ...options }), ours, peer, map, clock };
  }

  it.each<[string, string | number | Uint8Array, string, string[]]>([
    ['a string', '--', 'a--b-c---d', ['a', 'b-c', '-d']],
    ['bytes', new Uint8Array([0, 1]), 'a\0\x01\0\0\x01b\0', ['a', '\0', 'b\0']],
    ['a number', 3, 'abcdefgh', ['abc', 'def', 'gh']],
  ])('end at %s, wherever the pieces end, and the last one with the stream', async (...row) => {
    const [, terminator, sent, expected] = row;
    for (const size of [1, 2, 100]) {
      const { lines, peer, map } = open(terminator);
      const found = all(lines);
      for (let at = 0; at < sent.length; at += size) {
        peer.send(text(sent.slice(at, at + size)));
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
      peer.close();
      expect(await found).toEqual(expected);
      expect(map.size).toBe(0);
    }
  });

  it('come from a pipe as well, to its end', async () => {
    const path = temporaryPath('pipe');
    spawnSync('mkfifo', [path]);
    const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const writer = openSync(path, 'w');
    const map = newMap();
    const lines = records(keep(new FileWrapper(reader)), '\n', { map, encoding: 'utf8' });
    closeSync(reader);
    run(map, how);
    writeSync(writer, 'a\nb');
    expect((await lines.next()).value).toBe('a');
    // The end comes by itself: a hang-up, and no input.
    await new Promise((resolve) => setTimeout(resolve, 20));
    closeSync(writer);
    expect(await all(lines)).toEqual(['b']);
    expect(map.size).toBe(0);
  });

  it('wait with the kernel while the consumer is slow', async () => {
    const { lines, peer } = open('\n');
    const piece = text(`${'x'.repeat(999)}\n`.repeat(64));
    let sent = 0;
    let last = -1;
    for (let still = 0; still < 20; still = sent === last ? still + 1 : 0) {
      last = sent;
      sent += peer.send(piece.subarray(sent % 64_000)) ?? 0;
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    // The kernel's buffers have their limits.
    expect(sent).toBeLessThan(30_000_000);
    const pushed: number = sent;
    let got = 0;
    let ended = false;
    for await (const line of lines) {
      expect(line.length).toBe(999);
      got += 1000;
      if (ended || got < pushed / 2) continue;
      ended = true;
      await until(() => {
        sent += peer.send(piece.subarray(sent % 64_000)) ?? 0;
        return sent % 1000 === 0 && sent > pushed;
      });
      peer.close();
    }
    expect(got).toBe(sent);
  });

  it('hold a bounded number, however short they are', async () => {
    const { lines, peer, map } = open('\n');
    peer.send(Buffer.alloc(10_000, '\n'));
    const [chat] = [...map.values()] as [LineChat];
    await until(() => chat.readingPaused);
    expect(chat.acInBuffer.length).toBe(10_000 - 256);
    peer.close();
    expect((await all(lines)).length).toBe(10_000);
  });

  it('may be asked for before they are there, several at a time', async () => {
    const { lines, peer } = open('\n', { encoding: 'utf8' });
    const asked = [lines.next(), lines.next(), lines.next(), lines.next()];
    await new Promise((resolve) => setTimeout(resolve, 10));
    peer.send(text('1\n2\n3'));
    peer.close();
    expect((await Promise.all(asked)).map(({ value }) => value)).toEqual([
      '1',
      '2',
      '3',
      undefined,
    ]);
  });

  it('throw a reset, after what came before it', async () => {
    const { lines, peer, ours, map } = open('\n', { encoding: 'utf8' });
    peer.send(text('1\n2\nunfinished'));
    expect((await lines.next()).value).toBe('1');
    willReset(peer).close();
    await until(() => ours.closed);
    expect(map.size).toBe(0);
    expect((await lines.next()).value).toBe('2');
    const failed = await lines.next().catch((error: unknown) => error);
    expect(failed).toBeInstanceOf(SocketError);
    expect(failed).toMatchObject({ code: 'ECONNRESET', syscall: 'recv' });
    expect(await lines.next()).toEqual({ done: true, value: undefined });
    await expect(lines.write('x')).rejects.toBe(failed);
  });

  it('throw at one that is too long, after those before it', async () => {
    const { lines, peer, ours } = open('\n', { maxRecordLength: 5 });
    peer.send(text('12345\n123456'));
    const found: string[] = [];
    const read = async (): Promise<void> => {
      for await (const line of lines) found.push(String(line));
    };
    await expect(read()).rejects.toMatchObject({ code: 'ERR_RECORD_TOO_LONG' });
    expect(found).toEqual(['12345']);
    expect(ours.closed).toBe(true);
  });

  it('close the socket at a break and at a throw, without a reset', async () => {
    for (const leave of ['break', 'throw']) {
      const { lines, peer, map } = open('\n');
      peer.send(text('1\n2\n3\n'));
      const read = async (): Promise<void> => {
        for await (const line of lines) {
          await lines.write(`had ${line}`);
          peer.send(text('more that nobody reads\n'));
          if (leave === 'break') break;
          throw new Error('mine');
        }
      };
      if (leave === 'break') await read();
      else await expect(read()).rejects.toThrow('mine');
      expect(map.size).toBe(0);
      expect(String(await heardBy(peer))).toBe('had 1');
      expect(await lines.next()).toEqual({ done: true, value: undefined });
    }
  });

  it('are over when the program closes them, the socket or the map', async () => {
    for (const how of ['lines', 'socket', 'map', 'using'] as const) {
      const { lines, ours, map } = open('\n');
      const asked = lines.next();
      await new Promise((resolve) => setTimeout(resolve, 5));
      if (how === 'lines') lines.close();
      else if (how === 'socket') ours.close();
      else if (how === 'map') closeAll(map);
      else lines[Symbol.dispose]();
      expect(await asked).toEqual({ done: true, value: undefined });
      expect(ours.closed).toBe(true);
      await expect(lines.write('x')).rejects.toMatchObject({ code: 'ERR_CHANNEL_CLOSED' });
    }
  });

  it('are over when the program takes the channel out of its map', async () => {
    for (const empty of [
      (map: ChannelMap) => map.clear(),
      (map: ChannelMap) => map.delete([...map.keys()][0] as number),
    ]) {
      const { lines, ours, map } = open('\n');
      const asked = [lines.next(), lines.next()];
      const writing = lines.write(Buffer.alloc(8_000_000)).catch((error: unknown) => error);
      await new Promise((resolve) => setTimeout(resolve, 5));
      empty(map);
      for (const next of asked) expect(await next).toEqual({ done: true, value: undefined });
      expect(await writing).toMatchObject({ code: 'ERR_CHANNEL_CLOSED' });
      expect(ours.closed).toBe(true);
    }
  });

  it('are over at the next call when there are other channels in that map', async () => {
    for (const call of ['next', 'write'] as const) {
      const { lines, ours, map } = open('\n');
      new LineChat(pair()[0], map);
      map.delete([...map.keys()][0] as number);
      if (call === 'next') expect(await lines.next()).toEqual({ done: true, value: undefined });
      else await expect(lines.write('x')).rejects.toMatchObject({ code: 'ERR_CHANNEL_CLOSED' });
      expect(ours.closed).toBe(true);
    }
  });

  it('throw the reset that the channel has already heard of, after what came before it', async () => {
    const map = newMap();
    const [peer, ours] = connection();
    const chat = new LineChat(ours, map);
    let lines: Records<string> | undefined;
    chat.onRecord = () => chat.pauseReading();
    chat.handleClose = () => {
      lines = records(chat, '\n', { encoding: 'utf8' });
    };
    peer.send(text('1\n2\n3\n'));
    run(map, how);
    await until(() => chat.events.length === 1);
    willReset(peer).close();
    // Sending finds out, while the records are kept back.
    await until(() => chat.push('x') === false);
    const found: string[] = [];
    const read = async (): Promise<void> => {
      for await (const line of lines as Records<string>) found.push(line);
    };
    await expect(read()).rejects.toMatchObject({ code: 'ECONNRESET' });
    expect(found).toEqual(['2', '3']);
    expect(map.size).toBe(0);
  });

  it('leave nothing behind when close() of the channel throws', () => {
    const map = newMap();
    const [, ours] = pair();
    const chat = new LineChat(ours, map);
    chat.close = () => {
      throw new Error('mine');
    };
    expect(() => records(chat, '\n')).toThrow('mine');
    expect([map.size, ours.closed, chat.connected]).toEqual([0, true, false]);
  });

  it('throw ETIMEDOUT when nothing arrives for the timeout, after what came before', async () => {
    const opened = open('\n', { encoding: 'utf8', timeout: 60 });
    const { lines, peer, ours, map, clock } = opened;
    peer.send(text('1\n2\nunfin'));
    const found: string[] = [];
    const read = async (): Promise<void> => {
      for await (const line of lines) found.push(String(line));
    };
    const outcome = read().catch((error: unknown) => error);
    await until(() => found.length === 2);
    clock.advance(59.9);
    await new Promise((resolve) => setTimeout(resolve, 5));
    expect(ours.closed).toBe(false);
    clock.advance(0.1);
    const failed = await outcome;
    expect(failed).toBeInstanceOf(SocketError);
    expect(failed).toMatchObject({ code: 'ETIMEDOUT', syscall: 'recv' });
    expect(found).toEqual(['1', '2']);
    expect([ours.closed, map.size]).toEqual([true, 0]);
    await expect(lines.write('x')).rejects.toBe(failed);
  });

  it('count neither the time in which a record is worked on, nor output, against the peer', async () => {
    const { lines, peer, map, clock } = openStill('\n', { encoding: 'utf8', timeout: 1000 });
    const pass = async (ms: number): Promise<void> => {
      clock.advance(ms);
      await tick(how, map, 3);
    };
    peer.send(text('1\n'));
    const first = lines.next();
    await pass(0);
    expect((await first).value).toBe('1');
    for (let passes = 0; passes < 3; passes += 1) await pass(900);
    // The time begins here, and every byte begins it anew.
    const asked = lines.next();
    for (const byte of ['a', 'b', 'c', 'd\n']) {
      await pass(900);
      peer.send(text(byte));
      await pass(0);
    }
    expect((await asked).value).toBe('abcd');
    const silent = lines.next().catch((error: unknown) => error);
    await pass(900);
    await lines.write('are you there?\n');
    await pass(99);
    expect(map.size).toBe(1);
    await pass(1);
    expect(map.size).toBe(0);
    expect(await silent).toMatchObject({ code: 'ETIMEDOUT', syscall: 'recv' });
  });

  it('have a write that waits alone reject with ETIMEDOUT when nothing leaves', async () => {
    const { lines, peer, map, clock } = openStill('\n', { timeout: 1000 });
    const [chat] = [...map.values()] as unknown as [{ bytesWritten: number }];
    clock.advance(900);
    const failed = lines.write(Buffer.alloc(20_000_000)).catch((error: unknown) => error);
    for (let steps = 0; steps < 3; steps += 1) {
      clock.advance(900);
      const before = chat.bytesWritten;
      for (const end = Date.now() + LIMIT; chat.bytesWritten === before; ) {
        if (Date.now() > end) throw new Error('nothing is sent');
        received(peer);
        await tick(how, map);
      }
    }
    // Until the kernel has no more room.
    for (let still = 0, before = -1; still < 20; still += 1) {
      if (chat.bytesWritten !== before) still = 0;
      before = chat.bytesWritten;
      await tick(how, map);
    }
    clock.advance(999);
    await tick(how, map, 3);
    expect(map.size).toBe(1);
    clock.advance(1);
    await tick(how, map, 3);
    expect(map.size).toBe(0);
    const error = await failed;
    expect(error).toMatchObject({ code: 'ETIMEDOUT', syscall: 'send' });
    await expect(lines.next()).rejects.toBe(error);
  });

  it('give a write all of the timeout, although the peer takes nothing before it either', async () => {
    const { map, clock } = stillMap();
    const chat = new LineChat(pair()[0], map);
    chat.push(Buffer.alloc(8_000_000));
    await tick(how, map, 3);
    const lines = records(chat, '\n', { timeout: 1000 });
    clock.advance(900);
    const failed = lines.write('x').catch((error: unknown) => error);
    clock.advance(999);
    await tick(how, map, 3);
    expect(map.size).toBe(1);
    clock.advance(1);
    await tick(how, map, 3);
    expect(await failed).toMatchObject({ code: 'ETIMEDOUT' });
  });

  it('give up at the timeout what a peer that has ended its stream does not read', async () => {
    const { lines, peer, map, clock } = openStill('\n', { timeout: 1000 });
    const asked = lines.next();
    const failed = lines.write(Buffer.alloc(20_000_000)).catch((error: unknown) => error);
    peer.shutdown(SHUT_WR);
    for (let passes = 0; passes < 10; passes += 1) await tick(how, map);
    clock.advance(999);
    await tick(how, map, 3);
    expect(map.size).toBe(1);
    clock.advance(1);
    await tick(how, map, 3);
    expect(await asked).toEqual({ done: true, value: undefined });
    expect(await failed).toMatchObject({ code: 'ETIMEDOUT', syscall: 'send' });
  });

  it('end by throw()', async () => {
    const { lines, ours } = open('\n');
    await expect(lines.throw(new Error('mine'))).rejects.toThrow('mine');
    expect(ours.closed).toBe(true);
  });

  it('throw the reason of their signal, whatever waits', async () => {
    const stop = new AbortController();
    const { lines, peer, ours } = open('\n', { signal: stop.signal });
    peer.send(text('1\n2\n3\n'));
    expect(String((await lines.next()).value)).toBe('1');
    stop.abort(new Error('enough'));
    await expect(lines.next()).rejects.toThrow('enough');
    expect(ours.closed).toBe(true);
    const late = open('\n', { signal: stop.signal });
    expect(late.ours.closed).toBe(true);
    await expect(late.lines.next()).rejects.toThrow('enough');
  });

  it('can be answered when the peer has ended its side', async () => {
    const { lines, peer } = open('\n');
    peer.send(text('1\n2\n'));
    peer.shutdown(SHUT_WR);
    for await (const line of lines) {
      await new Promise((resolve) => setTimeout(resolve, 20));
      await lines.write(`${line}.`);
    }
    expect(String(await heardBy(peer))).toBe('1.2.');
  });

  it('can be answered until the iteration is over, the unterminated last one as well', async () => {
    for (const sent of ['a\n', 'a', 'a\nb\n', 'a\nb']) {
      const { lines, peer, map } = open('\n', { encoding: 'utf8' });
      peer.send(text(sent));
      peer.shutdown(SHUT_WR);
      let answers = '';
      for await (const line of lines) {
        // The end of the stream comes meanwhile.
        await new Promise((resolve) => setTimeout(resolve, 20));
        await lines.write(`<${line}>`);
        answers += `<${line}>`;
      }
      expect(answers).toBe(sent.length < 3 ? '<a>' : '<a><b>');
      expect(String(await heardBy(peer))).toBe(answers);
      expect(map.size).toBe(0);
      await expect(lines.write('late')).rejects.toMatchObject({ code: 'ERR_CHANNEL_CLOSED' });
    }
  });

  it.each(['the end of the stream', 'a shutdown'])(
    'end after %s when what was written is sent',
    async (what) => {
      for (const first of ['next', 'write']) {
        const { lines, peer, map } = open('\n');
        const large = Buffer.alloc(8_000_000, 'x');
        let asked = first === 'next' ? lines.next() : null;
        const writing = lines.write(large);
        const cut = what === 'a shutdown' ? shutdown(map) : peer.shutdown(SHUT_WR);
        await new Promise((resolve) => setTimeout(resolve, 20));
        asked ??= lines.next();
        await new Promise((resolve) => setTimeout(resolve, 20));
        expect((await heardBy(peer)).length).toBe(large.length);
        await writing;
        expect(await asked).toEqual({ done: true, value: undefined });
        expect(await cut).toBe(what === 'a shutdown' ? 0 : undefined);
        expect(map.size).toBe(0);
      }
    },
  );

  it('end in order, but the write fails, when the peer leaves before it has read', async () => {
    const { lines, peer } = open('\n');
    const asked = lines.next();
    const writing = lines.write(Buffer.alloc(8_000_000));
    // Before there is a handler for it.
    const failed = writing.catch((error: unknown) => error);
    peer.shutdown(SHUT_WR);
    await new Promise((resolve) => setTimeout(resolve, 20));
    willReset(peer).close();
    expect(await asked).toEqual({ done: true, value: undefined });
    expect(await failed).toMatchObject({ code: expect.stringMatching(/^(ECONNRESET|EPIPE)$/) });
  });

  it('have a write settle when the kernel has taken it', async () => {
    const { lines, peer } = open('\n');
    const large = Buffer.alloc(8_000_000, 'x');
    let written = false;
    const writing = lines.write(large).then(() => {
      written = true;
    });
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(written).toBe(false);
    let heard = 0;
    await until(() => {
      heard += received(peer).length;
      return heard === large.length;
    });
    await writing;
    // One that is cut off. For a peer that has read so fast, the kernel may hold all of it by now.
    const other = open('\n').lines;
    const failing = other.write(large);
    await new Promise((resolve) => setTimeout(resolve, 20));
    other.close();
    await expect(failing).rejects.toMatchObject({ code: 'ERR_CHANNEL_CLOSED' });
    await expect(other.write(7 as never)).rejects.toThrow(
      /Cannot write: expected a Uint8Array or a string, received 7/,
    );
  });

  it('read no more at a shutdown, and what was written is sent', async () => {
    const { lines, peer, map } = open('\n', { encoding: 'utf8' });
    peer.send(text('1\n2\n'));
    expect((await lines.next()).value).toBe('1');
    const large = Buffer.alloc(8_000_000, 'x');
    const writing = lines.write(large);
    const cut = shutdown(map);
    peer.send(text('3\n'));
    expect((await heardBy(peer)).length).toBe(large.length);
    await writing;
    expect(await cut).toBe(0);
    expect(await all(lines)).toEqual(['2']);
  });

  it('have a write wait for a producer that has promised its next piece', async () => {
    const { map, peer, ours, chat, resume } = await chatThatPromises(how);
    const lines = records(chat, '\n');
    let written = false;
    const writing = lines.write('three').then(() => {
      written = true;
    });
    const cut = shutdown(map);
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect([written, ours.closed]).toEqual([false, false]);
    resume();
    expect(String(await heardBy(peer))).toBe('two three');
    await writing;
    expect(await cut).toBe(0);
  });

  it('may come from a chat that gives its socket up', async () => {
    const map = newMap();
    const [peer, ours] = pair();
    const chat = new LineChat(ours, map);
    let lines: Records<string> | undefined;
    chat.onRecord = () => {
      chat.push('welcome\n');
      lines = records(chat, '\n', { encoding: 'utf8' });
    };
    peer.send(text('login\n1\n2'));
    run(map, how);
    await until(() => lines !== undefined);
    await until(() => received(peer) === 'welcome\n');
    const rest = lines as Records<string>;
    expect((await rest.next()).value).toBe('1');
    peer.send(text('2\n'));
    peer.close();
    expect(await all(rest)).toEqual(['22']);
    expect(chat.events).toEqual(['login']);
  });
});

describe('What records are refused for', () => {
  it.each<[string, unknown, RegExp]>([
    ['nothing', '', /Cannot read records: expected a terminator that is not empty, received ''/],
    ['null', null, /expected a terminator that is not empty, received null; toDuplex\(\)/],
    ['no bytes', 0, /expected a terminator that is not empty, received 0/],
    ['half a byte', 1.5, /expected a number of bytes, received 1.5/],
    ['an object', {}, /expected bytes, a string, a number or null, received {}/],
    ['undefined', undefined, /received undefined/],
    ['a record that is too long', 11, /expected at most maxRecordLength \(10\), received 11/],
  ])('a terminator: %s', (_, terminator, message) => {
    const [socket] = pair();
    const make = () => records(socket, terminator as never, { maxRecordLength: 10 });
    expect(make).toThrow(message);
    expect([socket.closed, socket.owner]).toEqual([false, null]);
  });

  it.each<[object, string, RegExp]>([
    [{ maxRecordlength: 1 }, 'ERR_INVALID_ARG_VALUE', /did you mean maxRecordLength\?/],
    [{ maxRecordLength: 0 }, 'ERR_OUT_OF_RANGE', /maxRecordLength .* received 0/],
    [{ maxRecordLength: '9' }, 'ERR_INVALID_ARG_TYPE', /received '9'/],
    [{ encoding: 'utf9' }, 'ERR_UNKNOWN_ENCODING', /received 'utf9'/],
    [{ timeout: -1 }, 'ERR_OUT_OF_RANGE', /expected a timeout of 0 ms or more, received -1/],
    [{ timeout: NaN }, 'ERR_OUT_OF_RANGE', /expected a timeout of 0 ms or more, received NaN/],
    [{ timeout: '9' }, 'ERR_INVALID_ARG_TYPE', /expected a timeout in milliseconds, received '9'/],
    [{ map: {} }, 'ERR_INVALID_ARG_TYPE', /expected a ChannelMap, received {}/],
    [{ signal: {} }, 'ERR_INVALID_ARG_TYPE', /expected an AbortSignal, received {}/],
  ])('an option: %p', (options, code, message) => {
    const [socket] = pair();
    expect(() => records(socket, '\n', options)).toThrow(
      expect.objectContaining({ code, message: expect.stringMatching(message) }),
    );
    expect([socket.closed, socket.owner]).toEqual([false, null]);
  });

  it('a source: datagrams', () => {
    const socket = keep(Socket.socket(AF_UNIX, SOCK_DGRAM));
    expect(() => records(socket, '\n')).toThrow(/Cannot read records: .* SOCK_STREAM/);
  });
});
