"""Reads a log through the channel that tails it, while it grows."""

import sys

from bell import call, receive

port, path = int(sys.argv[1]), sys.argv[2]
log = open(path, 'ab', buffering=0)
log.write(b'before\n')
sock = call(('127.0.0.1', port))
assert receive(sock, 7) == b'before\n'
for number in range(3):
    log.write(b'line %d\n' % number)
    assert receive(sock, 7) == b'line %d\n' % number
large = b'x' * 100000
log.write(large)
assert receive(sock, len(large)) == large
