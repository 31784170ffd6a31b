"""Runs output scripts (script.ts says what they are) in CPython's own asynchat and asyncore.

One script a line on stdin, as JSON, and one result a line on stdout. What must be believed:

- Nothing of asynchat is replaced. The chat below only writes down what it is called for.
- `marks` says what happened that docs/differences.md has a row for, as CPython itself showed it. A
  script may ask for some of these rows to be fixed (`fixes`): each is a few lines here, marked so,
  and everything else remains CPython's own.
"""

import base64
import json
import socket
import sys
import warnings
import zlib

warnings.simplefilter("ignore")
import asynchat
import asyncore

LONGEST = 262144
MOST_PASSES = 100000

RAMPS = bytes((at % 251 + at // 251 * 13) & 255 for at in range(LONGEST))
SHIFTS = [bytes((value + shift) & 255 for value in range(256)) for shift in range(256)]


def pattern(number, answer, size):
    return RAMPS[:size].translate(SHIFTS[(number * 29 + answer * 101) & 255])


class Planned(Exception):
    """What a producer raises."""


class Producer:
    def __init__(self, chat, act):
        self.chat = chat
        self.act = act
        self.calls = 0
        self.simple = None
        if act["act"] == "simple":
            self.simple = asynchat.simple_producer(pattern(act["id"], 0, act["size"]), act["chunk"])
        self.falsy = act.get("falsy", False) and not chat.fixes("falsy")
        if act.get("falsy"):
            chat.mark("falsy")

    def __bool__(self):
        return not self.falsy

    def more(self):
        chat = self.chat
        name = "%d.%d" % (self.act["id"], self.calls)
        chat.events.append("more " + name)
        chat.seen.append(chat.reader.count)
        if chat.asking:
            chat.mark("nested")
        answer = self.calls
        self.calls += 1
        if self.simple is not None:
            return self.simple.more()
        pieces = self.act["pieces"]
        if answer >= len(pieces):
            return b"" if self.act["end"] == "empty" else None
        piece = pieces[answer]
        discards = chat.discards
        chat.asking += 1
        try:
            chat.perform(piece["acts"])
        finally:
            chat.asking -= 1
        if piece["raises"]:
            raise Planned(name)
        data = pattern(self.act["id"], answer, piece["size"])
        if chat.discards != discards:
            chat.mark("discard")
            if chat.fixes("discard"):
                # Fixed: it has taken itself off. asynchat is about to drop the head.
                chat.producer_fifo.appendleft(self)
                return b""
        return data


class Chat(asynchat.async_chat):
    def __init__(self, sock, channels, script, reader):
        super().__init__(sock, channels)
        self.script = script
        self.reader = reader
        self.events = []
        self.seen = []
        self.marks = set()
        self.records = {}
        self.asking = 0
        self.discards = 0
        self.gone = False
        self.connected = script["connected"]
        self.ac_out_buffer_size = script["acOutBufferSize"]
        self.set_terminator(b"\n")

    def mark(self, what):
        self.marks.add(what)

    def fixes(self, what):
        return what in self.script.get("fixes", ())

    # The program.

    def perform(self, acts):
        for act in acts:
            self.events.append("act %d" % act["id"])
            getattr(self, "do_" + act["act"])(act)

    def refused(self):
        if None not in self.producer_fifo:
            return False
        self.mark("late")
        return self.fixes("late")

    def empty(self, data):
        if data:
            return False
        self.mark("empty")
        return self.fixes("empty")

    def do_push(self, act):
        data = pattern(act["id"], 0, act["size"])
        if not self.refused() and not self.empty(data):
            self.push(data)

    def do_data(self, act):
        data = pattern(act["id"], 0, act["size"])
        if not self.refused() and not self.empty(data):
            self.push_with_producer(data)

    def do_producer(self, act):
        producer = Producer(self, act)
        if not self.refused():
            self.push_with_producer(producer)

    do_simple = do_producer

    def do_closeWhenDone(self, act):
        self.close_when_done()

    def do_discardBuffers(self, act):
        self.discards += 1
        self.discard_buffers()

    def do_close(self, act):
        self.close()

    def do_connect(self, act):
        if not self.gone:
            self.connected = True

    def initiate_send(self):
        # Fixed: a push within more() waits its turn.
        if self.asking and self.fixes("nested"):
            return
        super().initiate_send()

    # What is called.

    def collect_incoming_data(self, data):
        self._collect_incoming_data(data)

    def found_terminator(self):
        number = int(self._get_data())
        if self.gone:
            self.mark("record after close")
            if self.fixes("record after close"):
                return
        self.events.append("record %d" % number)
        try:
            self.perform(self.records[number])
        except Exception:
            if not self.ac_in_buffer:
                raise
            self.mark("input lies")
            if not self.fixes("input lies"):
                raise
            # Fixed: the records that have arrived after this one get their turn at once.
            self.handle_error()

    def handle_close(self):
        if self.gone:
            self.mark("close twice")
            if self.fixes("close twice"):
                return
        self.events.append("close")
        super().handle_close()

    def close(self):
        self.gone = True
        super().close()

    def handle_error(self):
        self.events.append("error " + name_of(sys.exc_info()[1]))
        if self.gone:
            self.mark("error after close")
            if self.fixes("error after close"):
                # Fixed: told of, and nothing more.
                return
        if self.script["errorsClose"]:
            super().handle_error()

    def log_info(self, message, type="info"):
        pass


def name_of(error):
    return str(error) if isinstance(error, Planned) else type(error).__name__


class Reader:
    def __init__(self, sock, plan):
        self.sock = sock
        self.plan = plan
        self.pieces = []
        self.count = 0
        self.passes = 0
        self.left = False
        self.open = True
        self.ended = False

    def before_pass(self, all_of_it=False):
        appetite = self.plan["appetite"]
        most = LONGEST * 64
        if not all_of_it:
            if self.passes < len(appetite):
                most = appetite[self.passes]
            self.passes += 1
        self.read(most)

    def read(self, most):
        """At most so many bytes, and never past the point where it leaves."""
        leaves = self.plan["leaves"]
        while self.open and not self.ended and most > 0:
            if leaves and not self.left:
                most = min(most, leaves["after"] - self.count)
                if most <= 0:
                    break
            try:
                data = self.sock.recv(min(most, 65536))
            except BlockingIOError:
                break
            except ConnectionResetError:
                data = b""
            if not data:
                self.ended = True
                break
            self.pieces.append(data)
            self.count += len(data)
            most -= len(data)
        if leaves and not self.left and self.open and self.count == leaves["after"]:
            self.left = True
            if leaves["how"] == "close":
                self.open = False
                self.sock.close()
            else:
                self.sock.shutdown(socket.SHUT_WR)

    def send(self, data):
        if not self.open or (self.left and self.plan["leaves"]["how"] == "shutdown"):
            return False
        try:
            return self.sock.send(data) == len(data)
        except OSError:
            return False


def run(script):
    mine, theirs = socket.socketpair()
    theirs.setblocking(False)
    if script["sendBuffer"]:
        mine.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, script["sendBuffer"])
    send_buffer = mine.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
    channels = {}
    reader = Reader(theirs, script["reader"])
    chat = Chat(mine, channels, script, reader)
    one_pass = asyncore.poll if script["order"] == "select" else asyncore.poll2
    stuck = False

    def settle():
        nonlocal stuck
        quiet = 0
        for _ in range(MOST_PASSES):
            before = reader.count, len(chat.events)
            reader.before_pass(all_of_it=True)
            one_pass(0, channels)
            waits = chat.connected and chat.producer_fifo
            # What the last pass has sent is read before the next.
            same = not waits and before == (reader.count, len(chat.events))
            quiet = quiet + 1 if same else 0
            if quiet == 2:
                return
        stuck = True

    try:
        for step in script["steps"]:
            for act in step["acts"]:
                try:
                    chat.perform([act])
                except Exception as error:
                    chat.events.append("raised " + name_of(error))
            for record in step["records"]:
                chat.records[record["id"]] = record["acts"]
            if step["records"]:
                reader.send(b"".join(b"%d\n" % record["id"] for record in step["records"]))
            if step["passes"] is None:
                settle()
            else:
                for _ in range(step["passes"]):
                    reader.before_pass()
                    one_pass(0, channels)
        settle()
        reader.read(LONGEST * 64)
    finally:
        gone = chat.gone
        chat.close()
        theirs.close()
    return {
        "events": chat.events,
        "seen": chat.seen,
        "received": base64.b64encode(zlib.compress(b"".join(reader.pieces), 1)).decode(),
        "end": "stuck" if stuck else "closed" if gone else "open",
        "left": reader.left,
        "sendBuffer": send_buffer,
        "marks": sorted(chat.marks),
    }


if __name__ == "__main__":
    for line in sys.stdin:
        sys.stdout.write(json.dumps(run(json.loads(line)), separators=(",", ":")) + "\n")
        sys.stdout.flush()
