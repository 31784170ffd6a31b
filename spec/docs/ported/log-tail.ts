// A channel that shows a growing log, with what Supervisor's HTTP channel overrides for that: a producer
// may answer "not yet", and the channel asks it again a while later.

import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { AsyncChat, type ChannelMap, type Producer, type Socket } from 'asyncore';

const NOT_YET = Symbol('not yet');

interface DeferringProducer {
  /** How long to wait after a "not yet", in ms. */
  readonly delay: number;
  more(): Buffer | typeof NOT_YET;
  close(): void;
}

class Tail implements DeferringProducer {
  readonly delay = 50;
  readonly #fd: number;
  #open = true;
  #shown = 0;

  constructor(path: string) {
    this.#fd = openSync(path, 'r');
  }

  more() {
    const added = fstatSync(this.#fd).size - this.#shown;
    if (added <= 0) return NOT_YET;
    const data = Buffer.alloc(added);
    const length = readSync(this.#fd, data, 0, added, this.#shown);
    this.#shown += length;
    return data.subarray(0, length);
  }

  // Python's __del__.
  close() {
    if (this.#open) closeSync(this.#fd);
    this.#open = false;
  }
}

export class TailChannel extends AsyncChat {
  override acOutBufferSize = 4096;
  #delay = 0;
  #lastCheck = 0;

  constructor(socket: Socket, path: string, map: ChannelMap) {
    super(socket, map);
    this.setTerminator(null);
    // To the types, "not yet" is no answer of a producer.
    this.pushWithProducer(new Tail(path) as unknown as Producer);
  }

  override collectIncomingData() {}
  override foundTerminator() {}

  override writable() {
    if (this.#delay === 0) return super.writable();
    const now = performance.now();
    if (now - this.#lastCheck <= this.#delay) return false;
    this.#lastCheck = now;
    return true;
  }

  override refillBuffer() {
    while (!this.producerFifo.isEmpty()) {
      const head = this.producerFifo.first();
      if (head === null) {
        if (this.acOutBuffer.length > 0) return;
        this.producerFifo.pop();
        this.close();
        return;
      }
      if (typeof head === 'string' || head instanceof Uint8Array) {
        this.producerFifo.pop();
        this.acOutBuffer = Buffer.concat([this.acOutBuffer, Buffer.from(head)]);
        return;
      }
      const data = (head as unknown as DeferringProducer).more();
      if (data === NOT_YET) {
        this.#delay = (head as unknown as DeferringProducer).delay;
        return;
      }
      if (data.length > 0) {
        this.acOutBuffer = Buffer.concat([this.acOutBuffer, data]);
        this.#delay = 0;
        return;
      }
      this.producerFifo.pop();
    }
  }
}
