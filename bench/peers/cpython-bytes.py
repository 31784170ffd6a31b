# Byte echo by plain dispatchers of CPython's asyncore, as in its manual. The argument is
# select or poll.

import asyncore
import socket
import sys


class Echo(asyncore.dispatcher_with_send):
    def handle_read(self):
        data = self.recv(8192)
        if data:
            self.send(data)


class EchoServer(asyncore.dispatcher):
    def __init__(self):
        super().__init__()
        self.create_socket()
        # Accepted sockets inherit it.
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.bind(('127.0.0.1', 0))
        self.listen(4096)
        print('port:', self.socket.getsockname()[1], flush=True)

    def handle_accept(self):
        while (pair := self.accept()) is not None:
            Echo(pair[0])


EchoServer()
asyncore.loop(use_poll=sys.argv[1] == 'poll')
