# The same as parsing.cjs, over CPython's asynchat.
#
#   python3 -W ignore parsing.py INPUT LENGTH SECONDS

import asynchat
import json
import sys

from measure import measure

kind, length, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
READ = 65536
SLAB = 4 * READ
CRLF = b"\r\n"

slab = bytearray(97 + at % 26 for at in range(SLAB))
if kind == "lines":
    for line, end in enumerate(range(length // 2, SLAB, length)):
        slab[end - 3] = 97 + line % 26
        slab[end - 2 : end] = CRLF
reads = [bytes(slab[at : at + READ]) for at in range(0, SLAB, READ)]


class Chat(asynchat.async_chat):
    ac_in_buffer_size = READ

    def __init__(self):
        super().__init__()
        self.set_terminator({"lines": CRLF, "counted": length, "whole": None}[kind])
        self.bytes = self.records = self.sum = self.last = 0

    def recv(self, size):
        return self.data

    def collect_incoming_data(self, data):
        self.bytes += len(data)
        self.last = data[-1]

    def found_terminator(self):
        self.records += 1
        self.sum += self.last
        if kind == "counted":
            self.set_terminator(length)


def expected(slabs):
    size = slabs * SLAB
    if kind == "whole":
        return size, 0, 0
    first, rest = (length // 2, len(CRLF)) if kind == "lines" else (length, 0)
    ends = range(first, size + 1, length)
    return size - len(ends) * rest, len(ends), sum(slab[(end - rest - 1) % SLAB] for end in ends)


chat = Chat()
slabs = 0


def work(count):
    global slabs
    slabs += count
    for _ in range(count):
        for chat.data in reads:
            chat.handle_read()


count, cpu, _ = measure(work, seconds)
found = (chat.bytes, chat.records, chat.sum)
if found != expected(slabs):
    raise RuntimeError(f"found {found} and not {expected(slabs)}")
print(json.dumps({"GB per CPU second": count * SLAB / cpu / 1000}))
