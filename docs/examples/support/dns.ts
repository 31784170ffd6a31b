// DNS messages (RFC 1035), with the OPT record of EDNS (RFC 6891):
//
//   id 2 | flags 2 | number of questions 2, answers 2, authorities 2, additionals 2
//   question:  name | type 2 | class 2
//   the others: name | type 2 | class 2 | time to live 4 | length 2 | data
//
// Records are kept as they are. The names in them may point back to the question and to each other, so they
// must stand behind a question of the same length again.

export const HEADER_SIZE = 12;
const LONGEST_LABEL = 63;
/** Includes the lengths of its labels. */
const LONGEST_NAME = 255;
/** A name of 255 bytes has 128 labels at most, and a pointer may stand before each. */
const MOST_STEPS = 256;
const POINTER = 0xc0;

export const RESPONSE = 0x8000;
export const OPCODE = 0x7800;
export const AUTHORITATIVE = 0x0400;
export const TRUNCATED = 0x0200;
export const RECURSION_DESIRED = 0x0100;
export const RECURSION_AVAILABLE = 0x0080;
export const AUTHENTIC_DATA = 0x0020;
export const CHECKING_DISABLED = 0x0010;
export const CODE = 0x000f;

export const FORMAT_ERROR = 1;
export const SERVER_FAILURE = 2;
const NO_SUCH_NAME = 3;
export const NOT_IMPLEMENTED = 4;
/** The first code that needs an OPT record for its upper bits. */
export const BAD_VERSION = 16;

const SOA = 6;
const OPT = 41;
/** In the place of an OPT's time to live: upper bits of the code 8, version 8, flags 16. */
const DNSSEC_OK = 0x8000;
/** The end of an SOA: how long its zone wants negative answers to be cached, in s. */
const SOA_MINIMUM = 4;
const SHORTEST_SOA = 22;
/** A day, in s. */
const LONGEST_LIFE = 86_400;

/** What an OPT record says. Its options concern two neighbours only, and are not passed on. */
export interface Edns {
  /** The largest datagram that the sender of the OPT record takes. */
  readonly size: number;
  /** The upper bits of the code, in their place. */
  readonly code: number;
  readonly version: number;
  readonly dnssecOk: boolean;
}

/** Records as they stand behind a question. */
export interface Records {
  readonly bytes: Buffer;
  /** How many answers, authorities and additionals there are. */
  readonly counts: readonly [number, number, number];
  /** The offsets of their times to live. */
  readonly lives: readonly number[];
}

export interface Message {
  readonly id: number;
  readonly flags: number;
  readonly question: Buffer | null;
  /** Without an OPT, and without the additionals behind it. None if the message is truncated. */
  readonly records: Records;
  readonly edns: Edns | null;
  /** For how long the message may be cached, in s. */
  readonly life: number;
}

export const NO_RECORDS: Records = { bytes: Buffer.alloc(0), counts: [0, 0, 0], lives: [] };

/**
 * Where the name at `at` ends.
 * @throws {RangeError} for a name that is too long, is not complete, or does not end
 */
function endOfName(message: Buffer, at: number): number {
  let end = 0;
  let size = 0;
  let start = at;
  let next = at;
  for (let steps = MOST_STEPS; steps > 0; steps -= 1) {
    const length = message.readUInt8(next);
    if (length >= POINTER) {
      // The rest of the name is elsewhere. Each pointer leads further back, so that there is no loop.
      const target = message.readUInt16BE(next) & 0x3fff;
      if (target < HEADER_SIZE || target >= start) break;
      if (end === 0) end = next + 2;
      start = target;
      next = target;
      continue;
    }
    size += 1 + length;
    if (length > LONGEST_LABEL || size > LONGEST_NAME) break;
    next += 1 + length;
    if (length === 0) return end === 0 ? next : end;
  }
  throw new RangeError('A name is invalid');
}

/**
 * Takes a message apart, but for what may stand behind its records. The records of a truncated answer are
 * not looked at, as the last one may be incomplete (RFC 2181, section 9).
 * @returns null for a message that is invalid or incomplete, or has several questions
 */
export function parse(message: Buffer): Message | null {
  try {
    return takeApart(message);
  } catch {
    // A Buffer throws as well, for an offset beyond its end.
    return null;
  }
}

function takeApart(message: Buffer): Message {
  const [id, flags, questions] = [0, 2, 4].map((at) => message.readUInt16BE(at)) as Three;
  if (questions > 1) throw new RangeError('There are several questions');
  let at = HEADER_SIZE;
  let question: Buffer | null = null;
  if (questions === 1) {
    at = endOfName(message, at) + 4;
    if (at > message.length) throw new RangeError('The question is not complete');
    question = message.subarray(HEADER_SIZE, at);
  }
  const isCut = (flags & RESPONSE) !== 0 && (flags & TRUNCATED) !== 0;
  const rest = isCut ? { records: NO_RECORDS, edns: null, life: 0 } : recordsOf(message, at);
  return { id, flags, question, ...rest };
}

type Three = [number, number, number];

function recordsOf(message: Buffer, start: number): Pick<Message, 'records' | 'edns' | 'life'> {
  const counts: Three = [0, 0, 0];
  const lives: number[] = [];
  let edns: Edns | null = null;
  let shortest = LONGEST_LIFE;
  let hasNegativeLife = false;
  let at = start;
  let end = start;
  for (const section of [0, 1, 2] as const) {
    for (let left = message.readUInt16BE(6 + 2 * section); left > 0; left -= 1) {
      const body = endOfName(message, at);
      const type = message.readUInt16BE(body);
      const life = message.readUInt32BE(body + 4);
      const next = body + 10 + message.readUInt16BE(body + 8);
      if (next > message.length) throw new RangeError('A record is not complete');
      if (type === OPT) {
        // There is one at most, among the additionals, and its name is the root.
        if (edns !== null || section !== 2 || body !== at + 1) throw new RangeError('Invalid OPT');
        edns = ednsOf(message.readUInt16BE(body + 2), life);
      } else if (edns === null) {
        counts[section] += 1;
        lives.push(body + 4 - start);
        end = next;
        // A negative time to live counts as 0 (RFC 2181).
        shortest = Math.min(shortest, life > 0x7fff_ffff ? 0 : life);
        if (type === SOA && section === 1 && next - body >= 10 + SHORTEST_SOA) {
          // RFC 2308: the shorter of the two.
          hasNegativeLife = true;
          if (counts[0] === 0)
            shortest = Math.min(shortest, message.readUInt32BE(next - SOA_MINIMUM));
        }
      }
      at = next;
    }
  }
  const code = codeOf({ flags: message.readUInt16BE(2), edns });
  const isPositive = code === 0 && counts[0] > 0;
  const isNegative = (code === 0 || code === NO_SUCH_NAME) && hasNegativeLife;
  const life = isPositive || isNegative ? shortest : 0;
  return { records: { bytes: message.subarray(start, end), counts, lives }, edns, life };
}

function ednsOf(size: number, bits: number): Edns {
  return {
    size,
    code: (bits >>> 24) << 4,
    version: (bits >>> 16) & 0xff,
    dnssecOk: (bits & DNSSEC_OK) !== 0,
  };
}

/** The whole code of a response. */
export function codeOf({ flags, edns }: Pick<Message, 'flags' | 'edns'>): number {
  return (flags & CODE) | (edns?.code ?? 0);
}

/** Equal for the same question. Names are compared without regard to case. */
export function textOf(question: Buffer): string {
  const name = question.toString('latin1', 0, question.length - 4);
  const rest = question.toString('latin1', question.length - 4);
  // The length of a label is no capital letter.
  return name.replace(/[A-Z]+/g, (part) => part.toLowerCase()) + rest;
}

/** @param edns what the OPT record says; null: there is none */
export function build(
  id: number,
  flags: number,
  question: Buffer | null,
  { bytes, counts: [answers, authorities, additionals] }: Records,
  edns: Edns | null,
): Buffer {
  const opt = edns === null ? Buffer.alloc(0) : optOf(edns);
  const header = Buffer.alloc(HEADER_SIZE);
  const extra = additionals + (edns === null ? 0 : 1);
  const questions = question === null ? 0 : 1;
  for (const [at, value] of [id, flags, questions, answers, authorities, extra].entries()) {
    header.writeUInt16BE(value, 2 * at);
  }
  return Buffer.concat([header, question ?? Buffer.alloc(0), bytes, opt]);
}

function optOf({ size, code, version, dnssecOk }: Edns): Buffer {
  const opt = Buffer.alloc(11);
  opt.writeUInt16BE(OPT, 1);
  opt.writeUInt16BE(size, 3);
  opt.writeUInt8(code >> 4, 5);
  opt.writeUInt8(version, 6);
  opt.writeUInt16BE(dnssecOk ? DNSSEC_OK : 0, 7);
  return opt;
}
