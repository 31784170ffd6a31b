// A port forwarder, with the two channels a connection of the asyncore recipe that many programs copied.

import {
  type Address,
  AF_INET,
  type ChannelMap,
  Dispatcher,
  SOCK_STREAM,
  type Socket,
} from 'asyncore';

const NOTHING = Buffer.alloc(0);

export class Forwarder extends Dispatcher {
  readonly #remote: Address;

  constructor(local: Address, remote: Address, map: ChannelMap, backlog = 5) {
    super(null, map);
    this.#remote = remote;
    this.createSocket(AF_INET, SOCK_STREAM);
    this.setReuseAddr();
    this.bind(local);
    this.listen(backlog);
  }

  // Python's unpacks what accept() returns, and fails where it is None.
  override handleAccept() {
    const accepted = this.accept();
    if (accepted === null) return;
    new Outgoing(new Incoming(accepted.socket, this.map), this.#remote);
  }
}

/** To the caller. */
class Incoming extends Dispatcher {
  fromCaller: Buffer = NOTHING;
  toCaller: Buffer = NOTHING;
  outgoing: Outgoing | null = null;

  // Takes the map, so that it can pass it on.
  constructor(socket: Socket, map: ChannelMap) {
    super(socket, map);
  }

  override handleConnect() {}

  override handleRead() {
    const data = this.recv(4096);
    if (data !== null) this.fromCaller = Buffer.concat([this.fromCaller, data]);
  }

  override writable() {
    return this.toCaller.length > 0;
  }

  override handleWrite() {
    const sent = this.send(this.toCaller);
    this.toCaller = this.toCaller.subarray(sent);
  }

  override handleClose() {
    this.close();
    this.outgoing?.close();
  }
}

/** To the remote host. */
class Outgoing extends Dispatcher {
  readonly #incoming: Incoming;

  constructor(incoming: Incoming, remote: Address) {
    super(null, incoming.map);
    this.#incoming = incoming;
    incoming.outgoing = this;
    this.createSocket(AF_INET, SOCK_STREAM);
    this.connect(remote);
  }

  override handleConnect() {}

  override handleRead() {
    const data = this.recv(4096);
    if (data !== null) this.#incoming.toCaller = Buffer.concat([this.#incoming.toCaller, data]);
  }

  override writable() {
    return this.#incoming.fromCaller.length > 0;
  }

  override handleWrite() {
    const sent = this.send(this.#incoming.fromCaller);
    this.#incoming.fromCaller = this.#incoming.fromCaller.subarray(sent);
  }

  override handleClose() {
    this.close();
    this.#incoming.close();
  }
}
