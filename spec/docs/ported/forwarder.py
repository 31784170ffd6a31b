"""Talks through a forwarder that was told to forward to the port that this script listens on."""

import socket
import sys
import threading

from bell import LIMIT, call, receive

listener = socket.create_server(('127.0.0.1', 0))
listener.settimeout(LIMIT)
print(listener.getsockname()[1], flush=True)
port = int(sys.stdin.readline())

callers = [call(('127.0.0.1', port)) for _ in range(3)]
hosts = []
for number, caller in enumerate(callers):
    # The host's end is known by what is said first.
    caller.sendall(b'%d' % number)
    host = listener.accept()[0]
    host.settimeout(LIMIT)
    hosts.append((receive(host, 1), host))
hosts = [host for _, host in sorted(hosts, key=lambda pair: pair[0])]

data = bytes(range(256)) * 4096
for caller, host in zip(callers, hosts):
    for start, end in ((caller, host), (host, caller)):
        thread = threading.Thread(target=start.sendall, args=(data,))
        thread.start()
        assert receive(end, len(data)) == data
        thread.join()

# The end of either side is the end of the other.
callers[0].close()
assert hosts[0].recv(1) == b''
hosts[1].close()
assert callers[1].recv(1) == b''
callers[2].sendall(b'x')
assert hosts[2].recv(1) == b'x'
