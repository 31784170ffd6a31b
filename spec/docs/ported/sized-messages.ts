// Messages with their length before them, and from some point on with an HMAC-SHA-1 of all that was said:
// the format of ZEO before version 5, over a bare dispatcher.

import { createHash, type Hash } from 'node:crypto';
import { type Address, type ChannelMap, Dispatcher, type Socket } from 'asyncore';

const SEND_SIZE = 60_000;
const MAC_BIT = 0x8000_0000;
const MAC_SIZE = 20;
const CLOSE = Symbol('close');

type Message = Buffer | Iterator<Buffer> | typeof CLOSE;

/**
 * Python's hmac object can be asked for its digest again and again. That of node:crypto can not, and has no
 * `copy`; a Hash has.
 */
class RunningMac {
  readonly #inner: Hash;
  readonly #outer: Hash;

  constructor(key: Uint8Array) {
    const block = Buffer.alloc(64);
    block.set(key.length > 64 ? createHash('sha1').update(key).digest() : key);
    this.#inner = createHash('sha1').update(block.map((byte) => byte ^ 0x36));
    this.#outer = createHash('sha1').update(block.map((byte) => byte ^ 0x5c));
  }

  digest(more: Buffer): Buffer {
    this.#inner.update(more);
    return this.#outer.copy().update(this.#inner.copy().digest()).digest();
  }
}

export abstract class SizedMessageConnection extends Dispatcher {
  #input: Buffer[] = [];
  #inputLength = 0;
  #inBody = false;
  #hasMac = false;
  #wanted = 4;
  readonly #messages: Message[] = [];
  #output: Buffer[] = [];
  // Not `closed = true` before super(): there is no `this` yet.
  #closed = false;
  #macOut: RunningMac | null = null;
  #macIn: RunningMac | null = null;

  constructor(socket: Socket, address: Address, map: ChannelMap) {
    super(socket, map);
    // asyncore has put the peer's name here.
    this.addr = address;
  }

  abstract messageInput(message: Buffer): void;

  /** In its place among the messages: an iterator that yields nothing is a callback. */
  setSessionKey(key: Uint8Array) {
    const setKeys = (): void => {
      this.#macOut = new RunningMac(key);
      this.#macIn = new RunningMac(key);
    };
    this.messageOutput(
      // biome-ignore lint/correctness/useYield: it yields nothing, and runs when its turn comes.
      (function* (): Generator<Buffer> {
        setKeys();
      })(),
    );
  }

  // The locks are gone, because there are no threads. So is the test for EAGAIN: recv returns null.
  override handleRead() {
    const data = this.recv(8192);
    if (data === null) return;
    this.#input.push(data);
    this.#inputLength += data.length;
    if (this.#inputLength < this.#wanted) return;
    const input = Buffer.concat(this.#input);
    let offset = 0;
    while (offset + this.#wanted <= input.length) {
      const part = input.subarray(offset, offset + this.#wanted);
      offset += this.#wanted;
      if (this.#inBody) this.#body(part);
      else this.#head(part.readUInt32BE());
    }
    this.#input = [input.subarray(offset)];
    this.#inputLength = input.length - offset;
  }

  #head(size: number) {
    // `size & MAC_BIT` is negative in JavaScript, and true all the same; `size ^ MAC_BIT` would be wrong.
    this.#hasMac = size >= MAC_BIT;
    if (!this.#hasMac && this.#macOut !== null) throw new RangeError('a message without MAC');
    this.#wanted = this.#hasMac ? size - MAC_BIT + MAC_SIZE : size;
    this.#inBody = true;
  }

  #body(part: Buffer) {
    this.#inBody = false;
    this.#wanted = 4;
    if (!this.#hasMac) return this.messageInput(part);
    const message = part.subarray(MAC_SIZE);
    if (this.#macIn?.digest(message).equals(part.subarray(0, MAC_SIZE)) === false) {
      throw new RangeError('the MAC is wrong');
    }
    this.messageInput(message);
  }

  // bool() of two lists, which are both true in JavaScript.
  override writable() {
    return this.#messages.length > 0 || this.#output.length > 0;
  }

  shouldClose() {
    this.#messages.push(CLOSE);
  }

  messageOutput(message: Buffer | Iterator<Buffer>) {
    if (this.#closed) throw new Error('disconnected');
    this.#messages.push(message);
    // For a message that a timer or a promise brings: in Python, another thread pulls a trigger.
    this.interestChanged();
  }

  override handleWrite() {
    while (this.writable()) {
      let size = this.#output.reduce((sum, { length }) => sum + length, 0);
      while (size <= SEND_SIZE) {
        const message = this.#messages[0];
        if (message === undefined) break;
        if (message === CLOSE) return this.close();
        if (Buffer.isBuffer(message)) {
          this.#messages.shift();
          size += this.#pack(message);
          continue;
        }
        // StopIteration.
        const { value, done } = message.next();
        if (done) this.#messages.shift();
        else size += this.#pack(value);
      }
      const data = Buffer.concat(this.#output);
      // In Python an error puts the data back. Here send throws only for what ends the connection.
      const sent = this.send(data);
      this.#output = sent < data.length ? [data.subarray(sent)] : [];
      if (sent < data.length) break;
    }
  }

  #pack(message: Buffer): number {
    const head = Buffer.alloc(4);
    const mac = this.#macOut?.digest(message) ?? null;
    head.writeUInt32BE(mac === null ? message.length : message.length + MAC_BIT);
    const parts = mac === null ? [head, message] : [head, mac, message];
    this.#output.push(...parts);
    return parts.reduce((sum, { length }) => sum + length, 0);
  }

  override handleClose() {
    this.close();
  }

  override close() {
    if (this.#closed) return;
    this.#closed = true;
    super.close();
  }
}
