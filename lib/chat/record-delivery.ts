// From the socket to the program's handlers: receives into the reader of records, takes its steps, and
// hands each piece and each end of a record to the chat. The steps and their order are asynchat's.

import { Buffer } from 'node:buffer';
import { type Dispatcher, sessionOf } from '../channels/dispatcher';
import type { Session } from '../channels/session';
import { isExit, isSystemError } from '../errors';
import { forgetViewed, keepable } from '../kernel/buffers';
import { handleResult, routeError } from '../loop/dispatch';
import { type CheckedTerminator, RecordReader, Step } from './record-reader';
import { checkTerminator, type Terminator } from './terminator';

/** How many pieces of input are looked through for small ones, and what is small, in bytes. */
export const PIECES = 256;
const SMALL = 128;

/** The chat that the records are for. */
interface Owner extends Dispatcher {
  acInBufferSize: number;
  maxRecordLength: number;
  useEncoding: boolean;
  encoding: BufferEncoding;
  terminator: Terminator | undefined;
  getTerminator(): Terminator | undefined;
  collectIncomingData(data: Buffer): unknown;
  foundTerminator(): unknown;
  handleOverflow(): unknown;
}

/** The chat's output. */
interface Output {
  /** Whether the channel closes when all is sent. */
  readonly closes: boolean;
}

export class RecordDelivery {
  readonly #owner: Owner;
  readonly #output: Output;
  /** What the program has set, or what is missing of a counted record. */
  terminator: CheckedTerminator | undefined;
  readonly #reader = new RecordReader();
  /** The owner's, set at each change: a field of the owner's own is slower, as owners differ in shape. */
  session: Session;
  /** A handler has thrown, and nobody has taken up the rest of the input yet. */
  #interrupted = false;

  constructor(owner: Owner, output: Output) {
    this.#owner = owner;
    this.#output = output;
    this.session = sessionOf(owner);
  }

  /** What has been received and not yet been given to the program. */
  get input(): Buffer {
    return this.#reader.rest;
  }

  set input(data: Uint8Array) {
    this.#reader.replace(asBuffer(data));
  }

  /** A read event. */
  read(): void {
    // Records that pauseReading kept back come first, so that a slow program holds one read's worth at most.
    if (this.session.holdsRecords || this.#receive()) this.#deliver(false);
  }

  /** @returns false when that failed */
  #receive(): boolean {
    const owner = this.#owner;
    let data: Uint8Array | null;
    try {
      data = owner.recv(owner.acInBufferSize);
    } catch (error) {
      if (!isSystemError(error)) throw error;
      routeError(owner, error);
      return false;
    }
    if (data !== null && data.length > 0) {
      this.#reader.feed(Buffer.isBuffer(data) ? data : asBuffer(data));
    }
    return true;
  }

  /**
   * Goes through the input until it is used up or only the beginning of a delimiter is left. `close` and
   * `discardBuffers` use it up. `pauseReading` interrupts the delivery, and so does a handler that throws.
   * That handler has had its record: the next event begins with what follows it.
   * @param toTheEnd deliver everything, as there will be no other time. Errors go to `handleError`
   */
  #deliver(toTheEnd: boolean): void {
    const owner = this.#owner;
    const reader = this.#reader;
    this.session.holdsRecords = false;
    while (reader.at < reader.input.length) {
      const session = this.session;
      if (session.failed && this.#endsHere(session)) return;
      if (!toTheEnd && session.readingPaused) {
        session.holdsRecords = true;
        return;
      }
      // Asked for afresh: the program may have set another one in its handler.
      let terminator = reader.skipping ? reader.recordEnd : owner.getTerminator();
      if (!(terminator instanceof Uint8Array)) {
        terminator = checkTerminator(terminator, 'use a terminator', owner);
      }
      const { input, at } = reader;
      const step = reader.next(terminator, owner.maxRecordLength);
      const { held } = reader;
      try {
        if (typeof terminator === 'number' && terminator > 0) {
          this.#handOverCounted(step, terminator, reader.at - at);
        } else if (this.#handOver(step) && step === Step.Record) {
          const result = owner.foundTerminator();
          if (result !== undefined) handleResult(owner, result);
        }
        // Unless the program has dropped or replaced the input.
        if (held && reader.input === input) return;
      } catch (error) {
        if (!toTheEnd) throw this.#interrupt(error);
        routeError(owner, error);
      }
    }
    // So that nothing keeps memory that the program has let go of.
    reader.clear();
    forgetViewed();
  }

  /**
   * The delivery goes on after an error, unless the channel is closing: a program that ends the connection
   * because of an error is not given the records that follow.
   */
  #endsHere(session: Session): boolean {
    session.failed = this.#output.closes || session.closeHandled;
    if (session.failed) this.reset();
    return session.failed;
  }

  /** A handler has thrown. What follows its record waits for the next event. @returns the error */
  #interrupt(error: unknown): unknown {
    const session = this.session;
    this.#interrupted = session.failed = !isExit(error);
    if (this.#reader.hasInput) {
      session.holdsRecords = true;
      session.interestChanged();
    }
    return error;
  }

  /**
   * There is an error, and `handleError` is about to be called.
   * @param settled to be called when that has been done
   * @returns the same. Another record may have been delivered meanwhile
   */
  failing(settled: (pending: boolean) => void): (pending: boolean) => void {
    const session = this.session;
    session.failed = true;
    return (pending) => {
      session.failed = true;
      settled(pending);
    };
  }

  /** Whether a handler has thrown since the last call, and has left some input. */
  takeUp(): boolean {
    const interrupted = this.#interrupted;
    this.#interrupted = false;
    return interrupted && this.#reader.hasInput;
  }

  /** Past the check of what a program sets. A class may have a field of this name, which hides the accessor. */
  #countDown(missing: number): void {
    if (Object.hasOwn(this.#owner, 'terminator')) this.#owner.terminator = missing;
    else this.terminator = missing;
  }

  /** @param taken how many of the `missing` bytes the step has taken */
  #handOverCounted(step: Step, missing: number, taken: number): void {
    const owner = this.#owner;
    const session = this.session;
    const { complete } = this.#reader;
    const before = owner.terminator;
    let got = false;
    try {
      got = this.#handOver(step);
    } finally {
      // Unless the program has set another one in its handler.
      if (!complete && typeof before === 'number' && owner.terminator === before) {
        this.#countDown(before - taken);
      }
    }
    if (!complete || session.closed) return;
    // 0 means "for ever": a program that sets no new terminator now gets all that follows.
    if (got || owner.terminator === missing) this.#countDown(0);
    if (got) handleResult(owner, owner.foundTerminator());
  }

  /**
   * Gives the piece of a step to the program. It counts as taken already: a nested poll() in the handler
   * starts behind it.
   * @returns false when the record is too long, or the program has closed the channel
   */
  #handOver(step: Step): boolean {
    const owner = this.#owner;
    const { start, end, input } = this.#reader;
    if (step === Step.Skipped) return false;
    if (step === Step.Overflow) {
      handleResult(owner, owner.handleOverflow());
      return false;
    }
    if (start === end) return true;
    const session = this.session;
    const result = owner.collectIncomingData(keepable(input, start, end));
    if (result !== undefined) handleResult(owner, result);
    return !session.closed;
  }

  /** There will be no more input. The beginning of a delimiter that will never be completed is data. */
  end(): void {
    const reader = this.#reader;
    try {
      this.#deliver(true);
      if (reader.hasInput) this.#handOver(reader.last(this.#owner.maxRecordLength));
    } finally {
      reader.clear();
      forgetViewed();
      this.session.holdsRecords = false;
    }
  }

  /** Forgets all input. The record that is being delivered ends here. */
  reset(): void {
    this.#reader.reset();
    forgetViewed();
    this.session.holdsRecords = false;
  }
}

export function asBuffer(data: Uint8Array): Buffer {
  return Buffer.from(data.buffer, data.byteOffset, data.byteLength);
}

/** Joins the small pieces at the end, if they are many: each byte is copied once. */
export function compact(pieces: Buffer[]): void {
  let start = pieces.length;
  while (start > 0 && (pieces[start - 1] as Buffer).length < SMALL) start -= 1;
  if (pieces.length - start < SMALL) return;
  pieces.push(Buffer.concat(pieces.splice(start)));
}
