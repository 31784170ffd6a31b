import { closeSync, readSync, writeSync } from 'node:fs';
import { FileDispatcher, type Handled, pipe } from 'asyncore';
import { flagsOf, isOpen, O_CLOEXEC, O_NONBLOCK } from '../support/descriptors';
import { drive, WAYS } from '../support/drive';
import { newMap } from '../support/keep';
import { giveDescriptorsBack, takeDescriptors } from '../support/shortage';

const descriptors: number[] = [];

function opened(): [readFd: number, writeFd: number] {
  const fds = pipe();
  descriptors.push(...fds);
  return fds;
}

afterEach(() => {
  for (const fd of descriptors.splice(0)) closeSync(fd);
});

describe('pipe', () => {
  it('returns the descriptor to read from, and the one to write to', () => {
    const [readFd, writeFd] = opened();
    writeSync(writeFd, 'hello');
    const data = Buffer.alloc(10);
    expect(readSync(readFd, data)).toBe(5);
    expect(data.toString('latin1', 0, 5)).toBe('hello');
    expect(() => writeSync(readFd, 'x')).toThrow(expect.objectContaining({ code: 'EBADF' }));
  });

  it('opens both close-on-exec and, as Python does, blocking', () => {
    for (const fd of opened()) expect(flagsOf(fd) & (O_CLOEXEC | O_NONBLOCK)).toBe(O_CLOEXEC);
  });

  it.each(WAYS)('is for channels at both ends, which work on duplicates (%s)', async (_, how) => {
    const [readFd, writeFd] = opened();
    const map = newMap();
    const text = 'x'.repeat(200_000);
    let sent = 0;
    let received = 0;
    let ended = false;
    class Reader extends FileDispatcher {
      override writable(): boolean {
        return false;
      }
      override handleRead(): Handled {
        received += this.recv(8192)?.length ?? 0;
      }
      override handleClose(): Handled {
        ended = true;
        this.close();
      }
    }
    class Writer extends FileDispatcher {
      override readable(): boolean {
        return false;
      }
      override handleWrite(): Handled {
        sent += this.send(Buffer.from(text.slice(sent)));
        if (sent === text.length) this.close();
      }
    }
    new Reader(readFd, map);
    new Writer(writeFd, map);
    for (const fd of descriptors.splice(0)) closeSync(fd);
    await drive(how, () => ended, { map });
    expect([sent, received]).toEqual([text.length, text.length]);
  });

  it('says that there is no descriptor left, and leaves none open', () => {
    takeDescriptors();
    try {
      expect(() => pipe()).toThrow(
        expect.objectContaining({ name: 'SocketError', code: 'EMFILE', syscall: 'pipe2' }),
      );
    } finally {
      giveDescriptorsBack();
    }
    expect(opened().map(isOpen)).toEqual([true, true]);
  });
});
