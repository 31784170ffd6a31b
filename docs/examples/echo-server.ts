// An echo server of plain dispatchers: what arrives is sent back, byte for byte.
//
// It shows the predicates at work. A handler that still has data to send does not want to read. So a
// client that does not read its echo is not read from either: the kernel's buffers fill, and flow control
// stops the client. Memory holds one received piece per connection, never more. TCP's urgent bytes are
// dropped.

import { type Address, type ChannelMap, Dispatcher, listen, socketMap } from 'asyncore';
import { listenOptions, run } from './support/program';

export class EchoHandler extends Dispatcher {
  #pending: Buffer = Buffer.alloc(0);
  /** The program is stopping. */
  #leaving = false;

  override readable(): boolean {
    return this.#pending.length === 0 && !this.#leaving;
  }

  override writable(): boolean {
    return this.#pending.length > 0;
  }

  override handleRead(): void {
    const data = this.recv(65536);
    if (data === null) return;
    this.#pending = data;
    // Most of the time the kernel takes the data at once, without a write event.
    this.handleWrite();
  }

  override handleWrite(): void {
    const sent = this.send(this.#pending);
    this.#pending = this.#pending.subarray(sent);
    if (this.#leaving && this.#pending.length === 0) this.close();
  }

  /** What has been received is sent back first. */
  override handleShutdown(): void {
    this.#leaving = true;
    if (this.#pending.length === 0) this.close();
  }

  override handleClose(): void {
    this.close();
  }
}

export function echoServer(address: Address, map: ChannelMap = socketMap): Dispatcher {
  return listen(address, (socket) => new EchoHandler(socket, map), { map });
}

if (require.main === module) {
  run({
    name: 'echo-server',
    about: 'Sends back whatever it receives.',
    options: listenOptions(8007),
    start: ({ host, port }) => echoServer({ host, port }),
  });
}
