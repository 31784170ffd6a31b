// The files below one directory, and no others: no path leads out of it.
//
// `..` is resolved in the path before any file is touched, and does not lead above the root. Then each name
// is opened in the directory that was opened before it, and no symbolic link is followed, wherever it leads
// and even if it was created a moment ago. The kernel's call for this is openat(2). Node offers an
// equivalent: /proc/self/fd/N/name.
//
// The tree consists of directories and plain files. Links, devices and pipes are hidden, and so are names
// that a line of a protocol cannot carry.
//
// Every call blocks, for some microseconds if the disk is local.

import {
  accessSync,
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmdirSync,
  type Stats,
  unlinkSync,
} from 'node:fs';
import { constants as system } from 'node:os';
import { dirname, posix } from 'node:path';

const { O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK, O_WRONLY, W_OK } = constants;

/** Control characters, and invalid UTF-8. */
const UNSPEAKABLE = /[\p{Cc}\ufffd]/u;

export interface Entry {
  readonly name: string;
  readonly stats: Stats;
}

/** Paths begin at the root, with or without a slash. All methods throw file system errors. */
export class FileTree {
  /** @throws when there is no such directory */
  constructor(readonly root: string) {
    closeSync(openSync(root, O_DIRECTORY));
  }

  /** The status of a file or a directory. */
  stat(path: string): Stats {
    const stats = this.#at(path, (place) => lstatSync(place));
    if (!isListed(stats)) throw failure('ENOENT');
    return stats;
  }

  /** The entries of a directory, by name. */
  list(path: string): Entry[] {
    return this.#in(namesOf(path), (directory) =>
      readdirSync(directory)
        .sort()
        .flatMap((name) => {
          const stats = lstatSync(`${directory}/${name}`, { throwIfNoEntry: false });
          const isThere = stats !== undefined && isListed(stats) && !UNSPEAKABLE.test(name);
          return isThere ? [{ name, stats }] : [];
        }),
    );
  }

  /**
   * Opens a plain file.
   * @param flags as for open(2): `constants.O_RDONLY`, …
   * @returns its descriptor
   */
  open(path: string, flags: number): number {
    // Opening a FIFO must not wait for its other end.
    const fd = this.#at(path, (place) => openSync(place, flags | O_NOFOLLOW | O_NONBLOCK));
    if (fstatSync(fd).isFile()) return fd;
    closeSync(fd);
    throw failure('EISDIR');
  }

  /**
   * Checks, and changes nothing, whether a plain file can be written or created here.
   * @returns its size; null: it does not exist, and can be created
   */
  writableSize(path: string): number | null {
    try {
      closeSync(this.open(path, O_WRONLY));
      return this.stat(path).size;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
    this.#at(path, (place) => accessSync(dirname(place), W_OK));
    return null;
  }

  makeDirectory(path: string): void {
    this.#at(path, (place) => mkdirSync(place));
  }

  /** Removes a directory, which must be empty. */
  removeDirectory(path: string): void {
    this.#at(path, (place) => rmdirSync(place));
  }

  removeFile(path: string): void {
    this.#at(path, (place) => unlinkSync(place));
  }

  rename(from: string, to: string): void {
    this.#at(from, (place) => this.#at(to, (other) => renameSync(place, other)));
  }

  /** @param use is given the location of the last name, in the directory that the names before it lead to */
  #at<Result>(path: string, use: (place: string) => Result): Result {
    const names = namesOf(path);
    const last = names.pop() ?? '.';
    return this.#in(names, (directory) => use(`${directory}/${last}`));
  }

  /** @param use is given the directory, which stays open until it returns */
  #in<Result>(names: string[], use: (directory: string) => Result): Result {
    let fd = openSync(this.root, O_DIRECTORY);
    try {
      for (const name of names) {
        const next = openSync(`/proc/self/fd/${fd}/${name}`, O_DIRECTORY | O_NOFOLLOW);
        closeSync(fd);
        fd = next;
      }
      return use(`/proc/self/fd/${fd}`);
    } finally {
      closeSync(fd);
    }
  }
}

function namesOf(path: string): string[] {
  if (UNSPEAKABLE.test(path)) throw failure('ENOENT');
  return posix
    .resolve('/', path)
    .split('/')
    .filter((name) => name !== '');
}

function isListed(stats: Stats): boolean {
  return stats.isFile() || stats.isDirectory();
}

/** In the form of a file system error. */
function failure(code: 'ENOENT' | 'EISDIR'): NodeJS.ErrnoException {
  return Object.assign(new Error(code), { code, errno: -system.errno[code] });
}
