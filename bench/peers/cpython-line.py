# Line echo on CPython's asyncore and asynchat. The argument is select or poll; with another one,
# a connection is closed after the first answer.
#
# At its best: a line is answered by one push, each of which is a send(2) here, and a listener
# accepts all callers of an event.

import asynchat
import asyncore
import socket
import sys


class LineEcho(asynchat.async_chat):
    def __init__(self, sock):
        super().__init__(sock)
        self.set_terminator(b'\r\n')

    def collect_incoming_data(self, data):
        self._collect_incoming_data(data)

    def found_terminator(self):
        self.push(self._get_data() + b'\r\n')
        if once:
            self.close_when_done()


class LineEchoServer(asyncore.dispatcher):
    def __init__(self):
        super().__init__()
        self.create_socket()
        # Accepted sockets inherit it.
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.bind(('127.0.0.1', 0))
        self.listen(65535)
        print('port:', self.socket.getsockname()[1], flush=True)

    def handle_accept(self):
        while (pair := self.accept()) is not None:
            LineEcho(pair[0])


once = len(sys.argv) > 2
LineEchoServer()
asyncore.loop(use_poll=sys.argv[1] == 'poll')
