"""A client of the command server, as fail2ban-client is one."""

import json
import sys

from bell import call

END = b'<F2B_END_COMMAND>'


def ask(sock, data, step=None):
    data += END
    for at in range(0, len(data), step or len(data)):
        sock.sendall(data[at:at + (step or len(data))])
    return answer(sock)


def answer(sock):
    data = b''
    while not data.endswith(END):
        piece = sock.recv(65536)
        assert piece, 'the end, after %r' % data
        data += piece
    return json.loads(data[:-len(END)])


path = sys.argv[1]
one, two = call(path), call(path)
assert ask(one, json.dumps(['ping']).encode()) == [0, ['ping']]
assert ask(two, json.dumps(['<F2B', 'é']).encode(), step=1) == [0, ['<F2B', 'é']]
one.sendall(json.dumps(['a']).encode() + END + json.dumps(['b']).encode() + END)
# Two answers, perhaps in one piece.
data = b''
while data.count(END) < 2:
    data += one.recv(65536)
assert [json.loads(part) for part in data.split(END)[:2]] == [[0, ['a']], [0, ['b']]]
large = ['x' * 300000]
assert ask(one, json.dumps(large).encode()) == [0, large]
# No JSON: that connection ends, and the other goes on.
two.sendall(b'nonsense' + END)
assert two.recv(1) == b''
assert ask(one, b'["still"]') == [0, ['still']]
one.sendall(b'<F2B_CLOSE_COMMAND>' + END)
assert one.recv(1) == b''
