# The same as tick.cjs, over CPython's asyncore and asynchat.
#
#   python3 -W ignore tick.py WAY PREDICATES IDLE SECONDS
#   WAY         poll or poll2

import asynchat
import asyncore
import json
import socket
import sys

from measure import measure

way, predicates, idle, seconds = sys.argv[1:]
BYTE = b"*"
# Fits in what any kernel allows (net.core.somaxconn).
BACKLOG = 100


class StockChat(asynchat.async_chat):
    passed = 0

    def handle_read(self):
        data = self.recv(1)
        if data != BYTE or self.send(data) != 1:
            raise RuntimeError("the byte is lost")
        self.passed += 1

    def handle_error(self):
        raise


class OverriddenChat(StockChat):
    def readable(self):
        return True


Chat = StockChat if predicates == "stock" else OverriddenChat
channels = {}
listeners = []


def add_idle(count):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("")
    listener.listen(BACKLOG)
    listeners.append(listener)
    for _ in range(count):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(listener.getsockname())
        Chat(sock, channels)


def ticks(count):
    tick = getattr(asyncore, way)
    before = a.passed + b.passed
    for _ in range(count):
        tick(1.0, channels)
    passed = a.passed + b.passed - before
    if passed != count:
        raise RuntimeError(f"{passed} bytes in {count} ticks")


for done in range(0, int(idle), BACKLOG):
    add_idle(min(int(idle) - done, BACKLOG))
pair = socket.socketpair()
a, b = (Chat(sock, channels) for sock in pair)
pair[0].send(BYTE)

count, cpu, elapsed = measure(ticks, float(seconds))
print(json.dumps({"ticks/s": count * 1e6 / elapsed, "CPU µs/tick": cpu / count}))
