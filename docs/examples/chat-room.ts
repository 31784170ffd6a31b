// A chat room for `nc` and telnet: everybody hears what anybody says.
//
// A line is a record, its terminator is '\n', and the '\r' that telnet puts before it is taken off.
// One slow reader must not hurt the others, nor fill the memory: what a member has not taken yet is
// bounded by `highWaterMark`, and whoever lags behind further is put out.

import {
  type Address,
  AsyncChat,
  type ChannelMap,
  Dispatcher,
  type Socket,
  socketMap,
} from 'asyncore';

const LONGEST_LINE = 4096;
const NAME = /^[\p{L}\p{N}_-]{1,20}$/u;

export class Member extends AsyncChat {
  override highWaterMark = 256 * 1024;
  /** Empty until the member has said it. */
  nickname = '';
  readonly #room: ChatRoom;
  #lineLength = 0;

  constructor(socket: Socket, room: ChatRoom) {
    super(socket, room.map);
    this.#room = room;
    this.setTerminator('\n');
    this.push('Welcome. What is your name?\r\n');
  }

  override collectIncomingData(data: Buffer): void {
    this.#lineLength += data.length;
    if (this.#lineLength <= LONGEST_LINE) this._collectIncomingData(data);
    else if (this.getTerminator() !== null) this.#leave('That line is too long.');
  }

  override foundTerminator(): void {
    const line = this._getData().toString('utf8').replace(/\r$/, '');
    this.#lineLength = 0;
    if (this.nickname === '') this.#introduce(line);
    else if (line === '/who') this.push(`* here: ${this.#room.nicknames().join(', ')}\r\n`);
    else if (line === '/quit') this.#leave('Goodbye.');
    else if (line !== '') this.#room.say(`${this.nickname}: ${line}`, this);
  }

  #introduce(name: string): void {
    if (!NAME.test(name) || this.#room.nicknames().includes(name)) {
      this.push('Another name, please: up to 20 letters and digits, and nobody else has it.\r\n');
      return;
    }
    this.nickname = name;
    this.push(`Hello, ${name}. /who tells who is here, /quit leaves.\r\n`);
    this.#room.say(`* ${name} has joined`, this);
  }

  /** What others say. Whoever does not listen loses the connection, and nobody else anything. */
  hear(line: string): void {
    if (!this.push(`${line}\r\n`)) this.close();
  }

  #leave(farewell: string): void {
    this.#room.remove(this);
    this.setTerminator(null);
    this.push(`${farewell}\r\n`);
    this.closeWhenDone();
  }

  /** However the connection ends: here it is over. */
  override close(): void {
    super.close();
    this.#room.remove(this);
  }
}

export class ChatRoom extends Dispatcher {
  readonly #members = new Set<Member>();

  constructor(address: Address, family: number, map: ChannelMap = socketMap) {
    super(null, map);
    this.createSocket(family);
    this.setReuseAddr();
    this.bind(address);
    this.listen();
  }

  override handleAccepted(socket: Socket): void {
    this.#members.add(new Member(socket, this));
  }

  nicknames(): string[] {
    return [...this.#members].map((member) => member.nickname).filter((name) => name !== '');
  }

  /** Tells everybody who has a name, but not the one who speaks. */
  say(line: string, speaker: Member): void {
    // A copy, as a member who is put out leaves the set meanwhile.
    for (const member of [...this.#members]) {
      if (member !== speaker && member.nickname !== '') member.hear(line);
    }
  }

  remove(member: Member): void {
    if (this.#members.delete(member) && member.nickname !== '') {
      this.say(`* ${member.nickname} has left`, member);
    }
  }
}
