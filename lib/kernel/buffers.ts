import { Memory } from './syscalls';

export { keepable } from './socket';

class SendScratch {
  #memory: Memory | null = null;
  used = 0;
  get memory(): Memory {
    this.#memory ??= new Memory(256 * 1024);
    return this.#memory;
  }
  append(data: Uint8Array): boolean {
    const { buffer } = this.memory;
    if (this.used + data.length > buffer.length) return false;
    if (data.length > 8) buffer.set(data, this.used);
    else for (let at = 0; at < data.length; at += 1) buffer[this.used + at] = data[at] as number;
    this.used += data.length;
    return true;
  }
  appendText(text: string, encoding: BufferEncoding): number {
    const { buffer } = this.memory;
    if (this.used + 3 * text.length > buffer.length) return -1;
    const length = buffer.write(text, this.used, encoding);
    this.used += length;
    return length;
  }
  release(start: number): void {
    this.used = start;
  }
}
export const sendScratch = new SendScratch();
