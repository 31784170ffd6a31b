// What recvmsg(2) and sendmsg(2) are given: a struct msghdr and all that it points to, in one block.
//
//   msghdr | iovec | sockaddr | control data | data
//
// The pointers are written once, each for the whole of its part, and a length may not exceed its part. So
// no call can make the kernel leave the block. The data is one piece: gathering several costs a copy, and
// saves pointers to memory of the program's.

import { checkInteger } from '../errors';
import { Memory } from './koffi';
import { LAYOUT } from './platform/linux';

const { msghdr, iovec, sockaddrStorage } = LAYOUT;
const NAME = msghdr.size + iovec.size;
const CONTROL = NAME + sockaddrStorage;
const WORD = 4;

export class MessageMemory {
  readonly #memory: Memory;
  readonly #header: Buffer;
  readonly #controlRoom: number;
  readonly #room: number;
  /** Room for a sockaddr. */
  readonly name: Buffer;
  /** Room for control data. */
  readonly control: Buffer;
  /** Room for data. */
  readonly data: Buffer;
  /** The header and the control data as 32-bit words, for code that must not call a function. */
  readonly headerWords: Int32Array;
  readonly controlWords: Int32Array;

  constructor(controlRoom: number, room: number) {
    const memory = new Memory(CONTROL + controlRoom + room);
    const { buffer } = memory;
    this.#memory = memory;
    this.#header = buffer.subarray(0, NAME).fill(0);
    this.#controlRoom = controlRoom;
    this.#room = room;
    this.name = buffer.subarray(NAME, CONTROL);
    this.control = buffer.subarray(CONTROL, CONTROL + controlRoom);
    this.data = buffer.subarray(CONTROL + controlRoom);
    this.headerWords = wordsOf(this.#header);
    this.controlWords = wordsOf(this.control);
    const point = (place: number, offset: number, length: number): void => {
      this.#header.writeBigUInt64LE(BigInt(memory.at(offset, length)), place);
    };
    point(msghdr.name, NAME, sockaddrStorage);
    point(msghdr.iov, msghdr.size, iovec.size);
    this.#header.writeUInt32LE(1, msghdr.iovLength);
    point(msghdr.control, CONTROL, controlRoom);
    point(msghdr.size + iovec.base, CONTROL + controlRoom, room);
  }

  /** Sets the lengths for the next call. 0: there is no such part. */
  prepare(name: number, control: number, data: number): void {
    checkInteger('prepare a message', 'the length of a sockaddr', name, 0, sockaddrStorage);
    checkInteger('prepare a message', 'the length of control data', control, 0, this.#controlRoom);
    checkInteger('prepare a message', 'the length of data', data, 0, this.#room);
    this.#header.writeUInt32LE(name, msghdr.nameLength);
    this.#header.writeUInt32LE(control, msghdr.controlLength);
    this.#header.writeUInt32LE(data, msghdr.size + iovec.length);
    this.#header.writeUInt32LE(0, msghdr.flags);
  }

  /** The address of the msghdr. */
  at(): number {
    return this.#memory.at(0, msghdr.size);
  }

  /** The sockaddr that the kernel wrote; what did not fit is cut off. */
  get writtenName(): Buffer {
    return this.name.subarray(0, this.#header.readUInt32LE(msghdr.nameLength));
  }

  /** The control data that the kernel wrote. */
  get writtenControl(): Buffer {
    return this.control.subarray(0, this.#header.readUInt32LE(msghdr.controlLength));
  }

  get flags(): number {
    return this.#header.readInt32LE(msghdr.flags);
  }
}

function wordsOf({ buffer, byteOffset, length }: Buffer): Int32Array {
  return new Int32Array(buffer, byteOffset, Math.floor(length / WORD));
}
