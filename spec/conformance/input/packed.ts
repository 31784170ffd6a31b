// Results in corpus.json, with long runs of one byte in brief.

import { bytesOf, type Event, type Part, type Result, type Seen } from './script';

/** A string as it stands in the file: in parts, when a byte is in it many times in a row. */
type Packed = string | Part[];
type PackedEvent = ['collect', Packed, Seen] | Exclude<Event, ['collect', ...unknown[]]>;

export interface PackedResult {
  trace: PackedEvent[];
  sent: Packed;
  rest: { input: Packed; terminator: Seen } | null;
}

const RUN = /(.)\1{63,}/gs;

function pack(data: string): Packed {
  const parts: Part[] = [];
  let at = 0;
  for (const { 0: run, 1: byte, index } of data.matchAll(RUN)) {
    if (index > at) parts.push(data.slice(at, index));
    parts.push([byte as string, run.length]);
    at = index + run.length;
  }
  if (at === 0) return data;
  if (at < data.length) parts.push(data.slice(at));
  return parts;
}

function unpack(data: Packed): string {
  return typeof data === 'string' ? data : bytesOf(data);
}

/** A result as it stands in corpus.json. */
export function packed({ trace, sent, rest }: Result): PackedResult {
  return {
    trace: trace.map((event) =>
      event[0] === 'collect' ? ['collect', pack(event[1]), event[2]] : event,
    ),
    sent: pack(sent),
    rest: rest && { ...rest, input: pack(rest.input) },
  };
}

export function unpacked({ trace, sent, rest }: PackedResult): Result {
  return {
    trace: trace.map((event) =>
      event[0] === 'collect' ? ['collect', unpack(event[1]), event[2]] : event,
    ),
    sent: unpack(sent),
    rest: rest && { ...rest, input: unpack(rest.input) },
  };
}
