// Output that leaves once a tick.
//
// While the loop delivers events, output is put off: the channel's queue takes it and puts itself on this
// list. The loop flushes the list after the read sweep and at the end of the delivery. So a burst of
// requests is answered by one send, and what ten members of a chat room say in one tick reaches each of
// the others in one send.
//
// Output waits here until the tick's reads are done. The list is flushed earlier before anything blocks
// the thread, when ExitNow cuts a tick short, and when a handler calls process.exit().

import { onBlocking } from '../kernel/blocking';

/** A queue of output. */
export interface Sender {
  /** Sends what was put off. Only ExitNow may come out of it. */
  flushOutput(): void;
}

class Outbox {
  /** The loop is delivering events: output is to be put off. To be read only. */
  open = false;
  /**
   * How many senders wait for the flush. To be read only. It is always `#end - #next`, and a plain field
   * because each tick reads it several times.
   */
  size = 0;
  /** The list is from `#next` to `#end`. The array never shrinks, because that costs more than a push. */
  readonly #senders: (Sender | null)[] = [];
  /** The sender that is flushed next. A flush within a flush goes on from here. */
  #next = 0;
  #end = 0;
  #registered = false;

  /**
   * The delivery of events begins: output is put off until `end`.
   * @returns whether a delivery was under way already; to be given to `end`
   */
  begin(): boolean {
    // Here, and not at the first `add`: a listener that 'exit' gets while it is emitted is not called.
    if (!this.#registered) this.#register();
    const former = this.open;
    this.open = true;
    return former;
  }

  /**
   * The delivery of events ends, or ExitNow has cut it short: what was put off leaves now.
   * @param former what `begin` returned: an outer delivery goes on
   * @throws {ExitNow} as `flush` does
   */
  end(former: boolean): void {
    try {
      if (this.size > 0) this.flush();
    } finally {
      this.open = former;
    }
  }

  /** Puts `sender` on the list. It keeps track of whether it is listed: each `add` is one flush. */
  add(sender: Sender): void {
    if (!this.#registered) this.#register();
    this.#senders[this.#end] = sender;
    this.#end += 1;
    this.size += 1;
  }

  /**
   * Has every sender on the list send, in the order of `add`. What handlers send during a flush leaves
   * at once.
   * @throws {ExitNow} the first that came out of a sender, when all have been flushed
   */
  flush(): void {
    if (this.size === 0) return;
    const senders = this.#senders;
    let exit: { readonly error: unknown } | null = null;
    const { open } = this;
    this.open = false;
    while (this.#next < this.#end) {
      const sender = senders[this.#next] as Sender;
      senders[this.#next] = null;
      this.#next += 1;
      this.size -= 1;
      try {
        sender.flushOutput();
      } catch (error) {
        exit ??= { error };
      }
    }
    this.#next = this.#end = 0;
    this.open = open;
    if (exit !== null) throw exit.error;
  }

  #register(): void {
    this.#registered = true;
    process.on('exit', () => {
      // For good: no later flush will come for what other 'exit' listeners push.
      this.open = false;
      this.flush();
    });
    onBlocking(() => this.flush());
  }
}

export const outbox = new Outbox();
