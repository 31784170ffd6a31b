import { onBlocking } from '../kernel/blocking';

export interface Sender {
  flushOutput(): void;
}

class Outbox {
  open = false;
  #senders: Sender[] = [];
  #watchesExit = false;
  add(sender: Sender): void {
    if (!this.#watchesExit) {
      this.#watchesExit = true;
      process.on('exit', () => this.flush());
    }
    this.#senders.push(sender);
  }
  endTick(): void {
    try {
      this.flush();
    } finally {
      this.open = false;
    }
  }
  flush(): void {
    if (this.#senders.length === 0) return;
    const senders = this.#senders;
    this.#senders = [];
    const { open } = this;
    this.open = false;
    let exit: { error: unknown } | null = null;
    for (const sender of senders) {
      try {
        sender.flushOutput();
      } catch (error) {
        exit ??= { error };
      }
    }
    this.open = open;
    if (exit !== null) throw exit.error;
  }
}
export const outbox = new Outbox();
onBlocking(() => outbox.flush());
