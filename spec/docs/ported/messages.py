"""A client of the sized messages. Python's hmac makes and checks the MACs."""

import hmac
import struct
import sys

from bell import call, receive

MAC = 0x80000000
KEY = b'the session key'


class Peer:
    def __init__(self, port):
        self.sock = call(('127.0.0.1', port))
        self.out = self.into = None

    def say(self, message, step=None):
        size, mac = len(message), b''
        if self.out:
            self.out.update(message)
            size, mac = size | MAC, self.out.digest()
        data = struct.pack('>I', size) + mac + message
        for at in range(0, len(data), step or len(data)):
            self.sock.sendall(data[at:at + (step or len(data))])

    def hear(self):
        size = struct.unpack('>I', receive(self.sock, 4))[0]
        assert bool(size & MAC) == bool(self.into), 'the MAC is missing, or was not expected'
        mac = receive(self.sock, 20) if self.into else None
        message = receive(self.sock, size & ~MAC)
        if self.into:
            self.into.update(message)
            assert self.into.digest() == mac, 'the MAC is wrong'
        return message

    def use_key(self):
        self.out = hmac.HMAC(KEY, digestmod='sha1')
        self.into = hmac.HMAC(KEY, digestmod='sha1')


def echo(message):
    return b'echo ' + message


port = int(sys.argv[1])
one = Peer(port)
for message in (b'a', b'', b'\x00' * 4, bytes(range(256)), b'large' * 100000):
    one.say(message)
    assert one.hear() == echo(message)
one.say(b'byte by byte', step=1)
assert one.hear() == echo(b'byte by byte')
one.say(b'iterate')
assert [one.hear() for _ in range(4)] == [b'0', b'1', b'2', echo(b'iterate')]
# The answer to this is the last without a MAC: what was asked before has its turn first.
one.say(b'key')
assert one.hear() == b'without'
one.use_key()
assert one.hear() == echo(b'key')
for message in (b'with', b'', b'large' * 100000):
    one.say(message)
    assert one.hear() == echo(message)
one.say(b'later')
assert one.hear() == echo(b'later')
assert one.hear() == b'later'
# What has not left by then is dropped, as in Python.
one.say(b'close')
assert one.sock.recv(1) == b''

# A forged message ends the connection.
two = Peer(port)
two.say(b'key')
assert two.hear() == b'without'
two.use_key()
assert two.hear() == echo(b'key')
two.out.update(b'something else')
two.say(b'forged')
assert two.sock.recv(1) == b''
