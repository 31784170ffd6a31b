"""For the clients of the ported programs: the last argument is a port, called when the client ends."""

import atexit
import socket
import sys

LIMIT = 20


def call(address):
    """A connection whose every wait is bounded. A path is a Unix socket's."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.settimeout(LIMIT)
    sock.connect(address)
    return sock


def receive(sock, size):
    """So many bytes, and no fewer."""
    data = b''
    while len(data) < size:
        piece = sock.recv(size - len(data))
        assert piece, 'the end, after %r' % data[-100:]
        data += piece
    return data


atexit.register(lambda: call(('127.0.0.1', int(sys.argv[-1]))).close())
