// Input cut into records, without a kernel: what is received was prepared, and comes again and again.
//
//   node parsing.cjs HOW INPUT LENGTH SECONDS
//   HOW      chat, indexOf, split or subarray
//   INPUT    lines: of LENGTH bytes, CRLF included; counted: LENGTH bytes each; whole: no records
//
// Reads are 64 KiB, views of one slab as Socket.recv gives them, and the slab is small enough to stay
// in the cache, where the kernel leaves what it has just copied. A read begins in the middle of a
// line. A record is told from others by its last byte.

const { AsyncChat } = require('asyncore');
const { measure, report } = require('./measure.cjs');

const [how, input, lengthText, seconds] = process.argv.slice(2);
const length = Number(lengthText);
const READ = 65536;
const SLAB = 4 * READ;
const CRLF = Buffer.from('\r\n');

const slab = Buffer.allocUnsafeSlow(SLAB);
for (let at = 0; at < SLAB; at += 1) slab[at] = 97 + (at % 26);
if (input === 'lines') {
  for (let end = length / 2, line = 0; end < SLAB; end += length, line += 1) {
    slab[end - 3] = 97 + (line % 26);
    CRLF.copy(slab, end - 2);
  }
}
const reads = [0, 1, 2, 3].map((read) => slab.subarray(read * READ, (read + 1) * READ));

/** What has been found, whoever looked for it. */
const found = { bytes: 0, records: 0, sum: 0 };

class Chat extends AsyncChat {
  #data = null;
  #last = 0;

  constructor() {
    super();
    this.setTerminator({ lines: CRLF, counted: length, whole: null }[input]);
  }

  read(data) {
    this.#data = data;
    this.handleRead();
  }

  recv() {
    return this.#data;
  }

  collectIncomingData(data) {
    found.bytes += data.length;
    this.#last = data[data.length - 1];
  }

  foundTerminator() {
    found.records += 1;
    found.sum += this.#last;
    if (input === 'counted') this.setTerminator(length);
  }
}

/** The floor for lines: nothing is cut out, and a CRLF between two reads would be missed. */
class IndexOf {
  read(data) {
    let start = 0;
    for (let end = data.indexOf(CRLF); end !== -1; end = data.indexOf(CRLF, start)) {
      found.bytes += end - start;
      found.records += 1;
      found.sum += data[end - 1];
      start = end + CRLF.length;
    }
    found.bytes += data.length - start;
  }
}

/** What one writes first. */
class Split {
  #rest = '';

  read(data) {
    const lines = (this.#rest + data.toString('latin1')).split('\r\n');
    found.bytes -= this.#rest.length;
    this.#rest = lines.pop();
    found.bytes += this.#rest.length;
    for (const line of lines) {
      found.bytes += line.length;
      found.records += 1;
      found.sum += line.charCodeAt(line.length - 1);
    }
  }
}

/** The floor for counted records: one view of each piece. */
class Subarray {
  #missing = length;

  read(data) {
    for (let start = 0; start < data.length; ) {
      const piece = data.subarray(start, start + this.#missing);
      start += piece.length;
      found.bytes += piece.length;
      this.#missing -= piece.length;
      if (this.#missing > 0) continue;
      found.records += 1;
      found.sum += piece[piece.length - 1];
      this.#missing = length;
    }
  }
}

/** What is to be found in so many slabs. */
function expected(slabs) {
  const bytes = slabs * SLAB;
  if (input === 'whole') return { bytes, records: 0, sum: 0 };
  const [first, rest] = input === 'lines' ? [length / 2, CRLF.length] : [length, 0];
  let records = 0;
  let sum = 0;
  for (let end = first; end <= bytes; end += length) {
    records += 1;
    sum += slab[(end - rest - 1) % SLAB];
  }
  return { bytes: bytes - records * rest, records, sum };
}

async function main() {
  const reader = new { chat: Chat, indexOf: IndexOf, split: Split, subarray: Subarray }[how]();
  let slabs = 0;
  const { count, cpu } = await measure((count) => {
    for (let left = count; left > 0; left -= 1) for (const data of reads) reader.read(data);
    slabs += count;
  }, seconds);
  const [have, want] = [JSON.stringify(found), JSON.stringify(expected(slabs))];
  if (have !== want) throw new Error(`found ${have} and not ${want}`);
  report({ 'GB per CPU second': (count * SLAB) / cpu / 1000 });
}

void main();
