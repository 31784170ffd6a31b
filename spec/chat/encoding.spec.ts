// Text that an encoding cannot hold: Node would write something else.

import { inspect } from 'node:util';
import {
  AsyncChat,
  ChannelMap,
  ChunkedProducer,
  CompositeProducer,
  poll,
  SimpleProducer,
  type Socket,
} from 'asyncore';
import { keep } from '../support/keep';
import { pair, received } from '../support/sockets';

class Chat extends AsyncChat {
  readonly errors: Error[] = [];
  onRecord = (): void => {};

  override collectIncomingData(): void {}
  override foundTerminator(): void {
    this.onRecord();
  }
  override handleError(error: unknown): void {
    this.errors.push(error as Error);
    this.close();
  }
}

function talk(encoding: string): { chat: Chat; theirs: Socket; map: ChannelMap } {
  const map = new ChannelMap();
  const [mine, theirs] = pair();
  const chat = keep(new Chat(mine, map));
  chat.setTerminator(Buffer.from('\n'));
  chat.encoding = encoding as BufferEncoding;
  return { chat, theirs, map };
}

const LONG = 'x'.repeat(100);

/** How an error names a character. Releases of Node differ in how they show half a one. */
const named = (character: string, point: string, index: number): string =>
  `${inspect(character)} (${point}) at index ${index}`;

/** What cannot be encoded, and how an error names it. */
const REFUSED: [encoding: string, text: string, named: string][] = [
  ['latin1', 'ann\u010d\u010aQUIT', named('č', 'U+010D', 3)],
  ['latin1', `${LONG}\u010a`, named('Ċ', 'U+010A', 100)],
  ['latin1', '😀', named('😀', 'U+1F600', 0)],
  ['binary', 'x€', named('€', 'U+20AC', 1)],
  ['Latin1', 'x€', named('€', 'U+20AC', 1)],
  ['ascii', 'caf\u00e9', named('é', 'U+00E9', 3)],
  ['ascii', '\u010d\u010a', named('č', 'U+010D', 0)],
  ['ASCII', `${LONG}\u010a`, named('Ċ', 'U+010A', 100)],
  ['utf8', 'x\ud83d', named('\ud83d', 'U+D83D', 1)],
  ['utf8', '😀\ude00\ud83d', named('\ude00', 'U+DE00', 2)],
  ['utf-8', `${LONG}\udfff${LONG}`, named('\udfff', 'U+DFFF', 100)],
  ['utf16le', 'x\ud83dx', named('\ud83d', 'U+D83D', 1)],
  ['ucs2', '\ude00', named('\ude00', 'U+DE00', 0)],
  ['hex', '41zz', named('z', 'U+007A', 2)],
  ['hex', '41 42', named(' ', 'U+0020', 2)],
  ['hex', '414', named('4', 'U+0034', 2)],
  ['base64', 'QUJD!QUJD', named('!', 'U+0021', 4)],
  ['base64', 'QQ==QQ==', named('=', 'U+003D', 2)],
  ['base64', 'QUJDQ', named('Q', 'U+0051', 4)],
  ['base64url', 'QUJD\u0141', named('Ł', 'U+0141', 4)],
];

/** What can. */
const TAKEN: [encoding: string, text: string, hex: string][] = [
  ['latin1', 'caf\u00e9\0\u00ff', '636166e900ff'],
  ['binary', '\u0080', '80'],
  ['ascii', 'a\x7f\0', '617f00'],
  ['utf8', 'é€😀', 'c3a9e282acf09f9880'],
  ['UTF-8', 'é', 'c3a9'],
  ['utf16le', '😀', '3dd800de'],
  ['hex', '00fFA0', '00ffa0'],
  ['base64', 'QUI=', '4142'],
  ['base64', 'QUI\r\nDQQ==\n', '41420341'],
  ['base64', '-_+/', 'fbffbf'],
  ['base64url', 'QQ', '41'],
];

function refusal(action: string, encoding: string, named: string): Error {
  return expect.objectContaining({
    name: 'RangeError',
    code: 'ERR_UNENCODABLE_CHARACTER',
    message: `Cannot ${action}: expected text that ${encoding} can hold, received ${named}`,
  });
}

describe('AsyncChat', () => {
  it.each(REFUSED)('refuses to push in %s: %j', (encoding, text, named) => {
    const { chat, theirs, map } = talk(encoding);
    const error = refusal('push', encoding, named);
    expect(() => chat.push(text)).toThrow(error);
    expect(() => chat.pushWithProducer(text)).toThrow(error);
    // Within a tick, as the first and as a later push, and when it has to wait.
    chat.onRecord = () => {
      expect(() => chat.push(text)).toThrow(error);
      chat.push(Buffer.from('ok'));
      expect(() => chat.push(text)).toThrow(error);
    };
    theirs.send(Buffer.from('\n'));
    poll(1000, map);
    chat.connected = false;
    expect(() => chat.push(text)).toThrow(error);
    expect(received(theirs)).toBe('ok');
    expect(chat.errors).toEqual([]);
    expect(chat.writableLength).toBe(0);
  });

  it.each(REFUSED)('refuses a terminator in %s: %j', (encoding, text, named) => {
    const { chat } = talk(encoding);
    const error = refusal('set a terminator', encoding, named);
    expect(() => chat.setTerminator(text)).toThrow(error);
    expect(() => {
      chat.terminator = text as unknown as Buffer;
    }).toThrow(error);
    expect(chat.getTerminator()).toEqual(Buffer.from('\n'));
  });

  it.each(REFUSED)('refuses in %s what a producer yields: %j', (encoding, text, named) => {
    const { chat, theirs } = talk(encoding);
    const pieces = [text];
    expect(() => chat.pushWithProducer({ more: () => pieces.shift() })).toThrow(
      refusal('send what more() returned', encoding, named),
    );
    expect(received(theirs)).toBe('');
  });

  it.each(REFUSED)('refuses in %s what stands on its fifo: %j', (encoding, text, named) => {
    const { chat, theirs, map } = talk(encoding);
    chat.producerFifo.push(text);
    poll(1000, map);
    expect(chat.errors).toEqual([refusal('send', encoding, named)]);
    expect(received(theirs)).toBe('');
  });

  it.each(TAKEN)('encodes in %s: %j', (encoding, text, hex) => {
    const { chat, theirs, map } = talk(encoding);
    const bytes = Buffer.from(hex, 'hex');
    chat.push(text);
    chat.onRecord = () => void chat.push(text);
    theirs.send(Buffer.from('\n'));
    poll(1000, map);
    chat.setTerminator(text);
    expect(Buffer.from(received(theirs), 'latin1')).toEqual(Buffer.concat([bytes, bytes]));
    expect(chat.getTerminator()).toEqual(bytes);
  });

  it('takes no encoding for utf8, as Node does, and refuses half a character then too', () => {
    for (const encoding of ['', undefined]) {
      const { chat, theirs } = talk(encoding as string);
      for (const text of ['x\ud83d', `${LONG}\ud83d`]) {
        const error = refusal('push', 'utf8', named('\ud83d', 'U+D83D', text.length - 1));
        expect(() => chat.push(text)).toThrow(error);
      }
      chat.push('é');
      expect(received(theirs)).toBe('\xc3\xa9');
    }
  });

  it('drops what it cannot send from its fifo, and tells of it once', () => {
    class Deaf extends Chat {
      override handleError(error: unknown): void {
        this.errors.push(error as Error);
      }
    }
    const map = new ChannelMap();
    const [mine, theirs] = pair();
    const chat = keep(new Deaf(mine, map));
    for (const item of ['x\ud83d', 7, {}, 'sent']) chat.producerFifo.push(item as string);
    for (let pass = 0; pass < 6; pass += 1) poll(0, map);
    const junk = 'Cannot send: expected data or a producer on the fifo, received';
    expect(chat.errors).toEqual([
      refusal('send', 'utf8', named('\ud83d', 'U+D83D', 1)),
      expect.objectContaining({ message: `${junk} 7` }),
      expect.objectContaining({ message: `${junk} {}` }),
    ]);
    expect(received(theirs)).toBe('sent');
  });

  it('refuses an encoding that there is not', () => {
    for (const encoding of ['latin-1', 'rot13', 'constructor', 'buffer']) {
      const { chat } = talk(encoding);
      for (const text of ['x', LONG, 'é']) {
        const error = expect.objectContaining({ code: 'ERR_UNKNOWN_ENCODING' });
        expect(() => chat.push(text)).toThrow(error);
        expect(() => chat.setTerminator(text)).toThrow(error);
      }
    }
  });

  it('refuses what getTerminator returns', () => {
    const { chat, theirs, map } = talk('latin1');
    chat.getTerminator = () => '\u010a';
    theirs.send(Buffer.from('\n'));
    poll(1000, map);
    expect(chat.errors).toEqual([refusal('use a terminator', 'latin1', named('Ċ', 'U+010A', 0))]);
  });
});

describe('Producers of text', () => {
  const half = named('\ud83d', 'U+D83D', 1);

  it('refuse half a character', () => {
    expect(() => new SimpleProducer('x\ud83d')).toThrow(refusal('make a producer', 'utf8', half));
    const chunked = new ChunkedProducer(new CompositeProducer([{ more: () => 'x\ud83d' }]));
    expect(() => chunked.more()).toThrow(refusal('use what more() returned', 'utf8', half));
  });
});
