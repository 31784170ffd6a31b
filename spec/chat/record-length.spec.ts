// maxRecordLength: what becomes of a record that is too long, and of those after it.

import { type Handled, poll, type Socket, type Terminator } from 'asyncore';
import * as fc from 'fast-check';
import { drive, WAYS } from '../support/drive';
import { chatWithPeer, LineChat, text } from '../support/limits';
import { received } from '../support/sockets';

class LimitedChat extends LineChat {
  override maxRecordLength = 4;
  /** All that collectIncomingData was given. */
  kept = 0;
  onOverflow: () => Handled = () => {
    this.incoming.length = 0;
  };

  override collectIncomingData(data: Buffer): Handled {
    this.kept += data.length;
    return super.collectIncomingData(data);
  }
  override handleOverflow(): Handled {
    this.events.push('overflow');
    return this.onOverflow();
  }
}

/** One that leaves handleOverflow as it is. */
class StrictChat extends LineChat {
  override maxRecordLength = 4;
}

const limited = (): { chat: LimitedChat; peer: Socket; feed: (...chunks: string[]) => void } => {
  const { chat, peer, map } = chatWithPeer((socket, map) => new LimitedChat(socket, map));
  return {
    chat,
    peer,
    feed(...chunks) {
      for (const chunk of chunks) {
        peer.send(text(chunk));
        poll(1000, map);
      }
    },
  };
};

describe.each(WAYS)('A record that is too long (%s)', (_, how) => {
  it('is an error, which closes the channel, once', async () => {
    const { chat, peer, map } = chatWithPeer((socket, map) => new StrictChat(socket, map));
    peer.send(text('abcd\nabcde\nab\n'));
    await drive(how, () => map.size === 0, { map });
    expect(chat.events).toEqual(['abcd', 'error', 'close']);
    expect(chat.errors).toEqual([
      new RangeError('A record is longer than maxRecordLength (4 bytes)'),
    ]);
    expect(chat.errors[0]).toMatchObject({ code: 'ERR_RECORD_TOO_LONG' });
    expect(chat.incoming).toEqual([]);
  });

  it('is noticed before its end has come', async () => {
    const { chat, peer, map } = chatWithPeer((socket, map) => new StrictChat(socket, map));
    peer.send(text('abcde'));
    await drive(how, () => map.size === 0, { map });
    expect(chat.events).toEqual(['error', 'close']);
  });

  it('is ignored to its end when handleOverflow does not throw, and the next one is heard', async () => {
    const { chat, peer, map } = chatWithPeer((socket, map) => new LimitedChat(socket, map));
    chat.onOverflow = () => {
      chat.incoming.length = 0;
      chat.push('500 Line too long\r\n');
    };
    peer.send(text('a\nabcdefgh'));
    await drive(how, () => chat.events.length === 2, { map });
    peer.send(text('ijkl'));
    peer.send(text('mn\nb\n'));
    await drive(how, () => chat.events.length === 3, { map });
    expect(chat.events).toEqual(['a', 'overflow', 'b']);
    expect(received(peer)).toBe('500 Line too long\r\n');
  });

  it('costs no memory, however long it is', async () => {
    const { chat, peer, map } = chatWithPeer((socket, map) => new LimitedChat(socket, map));
    const chunk = Buffer.alloc(65536, 'x');
    let sent = 0;
    await drive(
      how,
      () => {
        sent += peer.send(chunk) ?? 0;
        expect(chat.acInBuffer.length).toBe(0);
        return sent > 8 * 1024 * 1024;
      },
      { map, limit: 8000 },
    );
    expect(chat.events).toEqual(['overflow']);
    expect(chat.kept).toBe(0);
  });
});

const records = fc.array(fc.stringMatching(/^[ab\r]{0,9}$/), { maxLength: 8 });
const cuts = fc.array(fc.integer({ min: 1, max: 6 }), { minLength: 1 });

describe('A record', () => {
  it('has no limit by default', () => {
    expect(chatWithPeer((socket, map) => new LineChat(socket, map)).chat.maxRecordLength).toBe(
      Infinity,
    );
  });

  it.each<[string, string[], string[]]>([
    ['may be as long as the limit, its terminator not counted', ['abcd\r\n'], ['abcd']],
    ['may have the limit in pieces', ['ab', 'cd', '\r', '\n'], ['abcd']],
    ['is too long with one byte more', ['abcde\r\n'], ['overflow']],
    ['is too long with one byte more, which comes later', ['abcd', 'e', '\r\n'], ['overflow']],
    ['is not too long for what may be the terminator', ['abcd\r'], []],
    ['is too long when it is none', ['abcd\r', 'x'], ['overflow']],
    ['is told of once', ['abcde', 'fgh', 'ij', '\r\n'], ['overflow']],
    ['is counted from its own beginning', ['abc\r\nabc\r\n', 'abc\r\n'], ['abc', 'abc', 'abc']],
    ['may follow one that is too long', ['abcdefgh\r\nab\r\n'], ['overflow', 'ab']],
    [
      'may be too long again and again',
      ['abcde\r\nabcde\r\nab\r\nabcde', '\r\nab\r\n'],
      ['overflow', 'overflow', 'ab', 'overflow', 'ab'],
    ],
    [
      'ends when a part of its terminator was ignored',
      ['abcdef\r', '\nab\r\n'],
      ['overflow', 'ab'],
    ],
    ['does not end with a part of its terminator', ['abcdef\r', 'x\nab\r\n'], ['overflow']],
  ])('%s', (_, chunks, events) => {
    const { chat, feed } = limited();
    chat.setTerminator('\r\n');
    feed(...chunks);
    expect(chat.events).toEqual(events);
    expect(chat.connected).toBe(true);
  });

  it('comes out the same in pieces of any size', () => {
    void fc.assert(
      fc.property(records, cuts, (lines, sizes) => {
        const { chat, peer, feed } = limited();
        chat.setTerminator('\r\n');
        const stream = lines.map((line) => `${line}\r\n`).join('');
        for (let at = 0, turn = 0; at < stream.length; turn += 1) {
          const size = sizes[turn % sizes.length] as number;
          feed(stream.slice(at, at + size));
          at += size;
        }
        // A line may itself end with the beginning of the terminator.
        expect(chat.events).toEqual(
          stream
            .split('\r\n')
            .slice(0, -1)
            .map((line) => (line.length > 4 ? 'overflow' : line)),
        );
        chat.close();
        peer.close();
      }),
    );
  });

  it('gives the program no more than the limit of it', () => {
    const { chat, feed } = limited();
    feed('ab', 'cd', 'efgh', 'ij');
    expect(chat.kept).toBe(4);
    feed('\nabcdefgh');
    expect(chat.kept).toBe(4);
  });

  it('is ignored to its end although handleError keeps the channel', () => {
    class KeepingChat extends StrictChat {
      override handleError(error: unknown): Handled {
        this.errors.push(error);
      }
    }
    const { chat, peer, map } = chatWithPeer((socket, map) => new KeepingChat(socket, map));
    peer.send(text('abcde\nab\nabcdefg'));
    poll(1000, map);
    peer.send(text('h\ncd\n'));
    poll(1000, map);
    expect(chat.events).toEqual(['ab', 'cd']);
    expect(chat.errors).toHaveLength(2);
  });

  it('is followed by nothing when handleOverflow closes the channel', () => {
    const { chat, feed } = limited();
    chat.onOverflow = () => chat.close();
    feed('abcde\nab\n');
    expect(chat.events).toEqual(['overflow']);
  });

  it('is the channel’s error when handleOverflow rejects', async () => {
    const { chat, feed } = limited();
    const error = new Error('no room');
    chat.onOverflow = async () => {
      throw error;
    };
    feed('abcde\nab\n');
    expect(chat.events).toEqual(['overflow', 'ab']);
    await Promise.resolve();
    expect(chat.errors).toEqual([error]);
    expect(chat.events).toEqual(['overflow', 'ab', 'error', 'close']);
  });

  it('is too long with what is held of it at the end of the stream, before handleClose', () => {
    const { chat, peer, feed } = limited();
    chat.setTerminator('\r\n');
    feed('abcd\r');
    expect(chat.events).toEqual([]);
    peer.close();
    poll(1000, chat.map);
    expect(chat.events).toEqual(['overflow', 'close']);
  });

  it('is an error at the end of the stream, and handleClose runs once', () => {
    const { chat, peer, map } = chatWithPeer((socket, map) => new StrictChat(socket, map));
    chat.setTerminator('\r\n');
    peer.send(text('abcd\r'));
    poll(1000, map);
    peer.close();
    poll(1000, map);
    expect(chat.events).toEqual(['error', 'close']);
  });

  it('is measured by the limit of the moment', () => {
    const { chat, feed } = limited();
    chat.maxRecordLength = 8;
    feed('abcdef');
    chat.maxRecordLength = 4;
    feed('\nabcde\n');
    // Of the first one nothing more has come that could be too much.
    expect(chat.events).toEqual(['abcdef', 'overflow']);
  });

  it.each<[string, Terminator]>([
    ['null', null],
    ['0', 0],
    ['an empty one', ''],
  ])('does not exist while the terminator is %s', (_, none) => {
    const { chat, feed } = limited();
    chat.setTerminator(none);
    feed('abcdefgh', 'ijkl');
    expect(chat.kept).toBe(12);
    expect(chat.events).toEqual([]);
    chat.incoming.length = 0;
    chat.setTerminator('\n');
    feed('abcd\n');
    expect(chat.events).toEqual(['abcd']);
  });

  it('is not told of when handleOverflow has discarded the buffers', () => {
    const { chat, feed } = limited();
    chat.onOverflow = () => chat.discardBuffers();
    feed('abcde\n', 'ab\n');
    expect(chat.events).toEqual(['overflow', 'ab']);
  });

  describe('of a known length', () => {
    it('is refused beyond the limit by an assignment, too, and nothing has changed', () => {
      const { chat } = limited();
      chat.setTerminator('\n');
      expect(() => {
        chat.terminator = 10 ** 9;
      }).toThrow(
        'Cannot set a terminator: expected at most maxRecordLength (4), received 1000000000',
      );
      expect(chat.terminator).toEqual(Buffer.from('\n'));
    });

    it('is refused by setTerminator beyond the limit', () => {
      const { chat } = limited();
      chat.setTerminator(4);
      expect(() => chat.setTerminator(5)).toThrow(
        new RangeError('Cannot set a terminator: expected at most maxRecordLength (4), received 5'),
      );
      expect(chat.getTerminator()).toBe(4);
    });

    it('may be as long as the limit', () => {
      const { chat, feed } = limited();
      chat.setTerminator(4);
      feed('ab', 'cd');
      expect(chat.events).toEqual(['abcd']);
    });

    it('is too long when the program has come by the number in another way', () => {
      const { chat, feed } = limited();
      let missing = 6;
      chat.getTerminator = () => missing;
      feed('abc');
      missing = 3;
      feed('de');
      expect(chat.events).toEqual(['overflow']);
      expect(chat.kept).toBe(3);
    });

    it('ends where it was to end, though handleOverflow sets another terminator', () => {
      const { chat, feed } = limited();
      chat.getTerminator = () => 8;
      chat.onOverflow = () => {
        chat.getTerminator = () => Buffer.from('\n');
      };
      feed('abcde', 'f\n', '\nin\nx');
      expect(chat.events).toEqual(['overflow', 'in']);
    });

    it('is followed by an ordinary one: by what comes, as after any counted one', () => {
      const { chat, feed } = limited();
      chat.maxRecordLength = 6;
      chat.terminator = 6;
      chat.maxRecordLength = 4;
      feed('abcde', 'fghijkl');
      expect(chat.events).toEqual(['overflow']);
      expect(chat.terminator).toBe(0);
      expect(chat.kept).toBe(6);
    });
  });
});
