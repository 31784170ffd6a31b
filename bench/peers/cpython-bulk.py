# Large amounts on CPython's asynchat, one connection at a time. The argument is what the server
# does: `echo`, all that comes is pushed as it comes; otherwise each line is answered by 64 MiB, by
# one `push` or by a `producer`.

import asynchat
import asyncore
import socket
import sys

BODY = 64 * 1024 * 1024
PIECE = 64 * 1024

# What the load compares with: 251 is prime, so no piece fits where another belongs. Slices of a
# memoryview are no copies.
body = memoryview(bytes(range(251)) * (BODY // 251 + 1))[:BODY]


class Echo(asynchat.async_chat):
    def __init__(self, sock):
        super().__init__(sock)
        self.set_terminator(None)

    def readable(self):
        return len(self.producer_fifo) < 16

    def collect_incoming_data(self, data):
        self.push(data)


class Body(asynchat.async_chat):
    def __init__(self, sock):
        super().__init__(sock)
        self.set_terminator(b'\r\n')

    def collect_incoming_data(self, data):
        pass


class BodyByPush(Body):
    def found_terminator(self):
        self.push(body)


class Pieces:
    """What simple_producer yields, which copies all that remains for each piece."""

    at = 0

    def more(self):
        piece = body[self.at : self.at + PIECE]
        self.at += PIECE
        return piece


class BodyByProducer(Body):
    def found_terminator(self):
        self.push_with_producer(Pieces())


Chat = {'echo': Echo, 'push': BodyByPush, 'producer': BodyByProducer}[sys.argv[1]]


class Server(asyncore.dispatcher):
    def __init__(self):
        super().__init__()
        self.create_socket()
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.bind(('127.0.0.1', 0))
        self.listen(5)
        print('port:', self.socket.getsockname()[1], flush=True)

    def handle_accepted(self, sock, address):
        Chat(sock)


Server()
asyncore.loop(use_poll=True)
