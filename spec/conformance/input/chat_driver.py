"""Runs scripts (script.ts) in CPython: asyncore and asynchat as they are, on real socket pairs.

One script per line on stdin, one result per line on stdout, in the same order.
"""

import asynchat
import asyncore
import json
import socket
import sys


class Raised(Exception):
    """What a script raises."""


def from_json(term):
    return term.encode('latin-1') if isinstance(term, str) else term


def to_json(term):
    return term.decode('latin-1') if isinstance(term, bytes) else term


class Chat(asynchat.async_chat):
    def __init__(self, sock, socket_map, script):
        super().__init__(sock, socket_map)
        self.script = script
        self.trace = []
        self.collects = 0
        self.founds = 0
        self.cycled = 0
        self.pushed = False
        self.ac_in_buffer_size = script['inSize']
        if 'terminator' in script:
            self.set_terminator(from_json(script['terminator']))

    def seen(self):
        # False: none was ever set, and the attribute does not exist.
        return to_json(getattr(self, 'terminator', False))

    def perform(self, actions):
        for action in actions:
            what = action[0]
            if what == 'set':
                self.set_terminator(from_json(action[1]))
            elif what == 'push':
                self.pushed = True
                self.push(bytes_of([action[1]]))
            elif what == 'discard':
                self.discard_buffers()
            elif what == 'close':
                self.close()
            elif what == 'raise':
                raise Raised()
            else:
                raise AssertionError(what)

    def collect_incoming_data(self, data):
        self.trace.append(['collect', data.decode('latin-1'), self.seen()])
        number = str(self.collects)
        self.collects += 1
        self.perform(self.script['onCollect'].get(number, ()))

    def found_terminator(self):
        self.trace.append(['found', self.seen()])
        number = str(self.founds)
        self.founds += 1
        actions = self.script['onFound'].get(number)
        if actions is not None:
            self.perform(actions)
        elif self.script['cycle']:
            cycle = self.script['cycle']
            self.set_terminator(from_json(cycle[self.cycled % len(cycle)]))
            self.cycled += 1

    def handle_close(self):
        self.trace.append(['close', self.seen()])
        self.close()

    def handle_error(self):
        what = 'raised' if sys.exc_info()[0] is Raised else 'other'
        self.trace.append(['error', what, self.seen()])
        if self.script['errorsClose']:
            self.close()


def bytes_of(parts):
    pieces = (part if isinstance(part, str) else part[0] * part[1] for part in parts)
    return ''.join(pieces).encode('latin-1')


def steps_of(script):
    """[data, end, passes], as in script.ts."""
    chunks = map(bytes_of, script['chunks'])
    steps = [[data, 'open', -(-len(data) // script['inSize'])] for data in chunks]
    if script['end'] == 'open':
        return steps
    if not script['endsWithLast'] or not steps:
        steps.append([b'', script['end'], 2])
    else:
        steps[-1][1] = script['end']
        steps[-1][2] += 2
    return steps


def drain(peer, pieces):
    while True:
        try:
            data = peer.recv(65536)
        except BlockingIOError:
            return
        except ConnectionResetError:
            # The chat has closed, and left something unread.
            return
        if not data:
            return
        pieces.append(data)


def run(script):
    ours, peer = socket.socketpair()
    # A step is smaller than what the kernel holds for a receiver: sendall need not wait.
    peer.setblocking(False)
    socket_map = {}
    one_pass = asyncore.poll2 if script['order'] == 'poll' else asyncore.poll
    chat = Chat(ours, socket_map, script)
    sent = []
    try:
        for data, end, passes in steps_of(script):
            if not socket_map:
                break
            peer.sendall(data)
            if end == 'shutdown':
                peer.shutdown(socket.SHUT_WR)
            elif end == 'close':
                peer.close()
            for _ in range(passes):
                if not socket_map:
                    break
                one_pass(0, socket_map)
                if chat.pushed and end != 'close':
                    chat.pushed = False
                    drain(peer, sent)
        rest = None
        if socket_map:
            rest = {'input': chat.ac_in_buffer.decode('latin-1'), 'terminator': chat.seen()}
    finally:
        peer.close()
        chat.close()
    return {'trace': chat.trace, 'sent': b''.join(sent).decode('latin-1'), 'rest': rest}


def main():
    for line in sys.stdin:
        result = run(json.loads(line))
        sys.stdout.write(json.dumps(result, separators=(',', ':')) + '\n')
        sys.stdout.flush()


if __name__ == '__main__':
    main()
