// The files below one directory, and no others: no path leads out of it.
//
// `..` is taken out of a path before anything is looked at, and does not lead above the root. Then each
// name is opened in the directory that was opened before it, and a symbolic link is not followed,
// wherever it leads and however lately it was made. The kernel's word for this is openat(2); what Node
// lets us have is the same: /proc/self/fd/N/name.
//
// There are directories and plain files. Links, devices and pipes are not there for whoever looks, nor
// are names that no line of a protocol can carry.
//
// Every call blocks, for some microseconds while the disk is one of this machine.

import {
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
import { posix } from 'node:path';

const { O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK } = constants;

/** Control characters, and what is no UTF-8. */
const UNSPEAKABLE = /[\p{Cc}\ufffd]/u;

export interface Entry {
  readonly name: string;
  readonly stats: Stats;
}

/** Paths begin at the root, with or without a slash. All methods throw what the file system does. */
export class FileTree {
  /** @throws when there is no such directory */
  constructor(readonly root: string) {
    closeSync(openSync(root, O_DIRECTORY));
  }

  /** What there is, a file or a directory. */
  stat(path: string): Stats {
    const stats = this.#at(path, (place) => lstatSync(place));
    if (!isListed(stats)) throw failure('ENOENT');
    return stats;
  }

  /** What is in a directory, by name. */
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
    // Nobody waits for the other end of a pipe.
    const fd = this.#at(path, (place) => openSync(place, flags | O_NOFOLLOW | O_NONBLOCK));
    if (fstatSync(fd).isFile()) return fd;
    closeSync(fd);
    throw failure('EISDIR');
  }

  makeDirectory(path: string): void {
    this.#at(path, (place) => mkdirSync(place));
  }

  /** Which must be empty. */
  removeDirectory(path: string): void {
    this.#at(path, (place) => rmdirSync(place));
  }

  removeFile(path: string): void {
    this.#at(path, (place) => unlinkSync(place));
  }

  rename(from: string, to: string): void {
    this.#at(from, (place) => this.#at(to, (other) => renameSync(place, other)));
  }

  /** @param use is given where the last name of the path is, in the directory that the others lead to */
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

/** As those of the file system. */
function failure(code: 'ENOENT' | 'EISDIR'): NodeJS.ErrnoException {
  return Object.assign(new Error(code), { code, errno: -system.errno[code] });
}
