"""Plays scenarios (scenario.ts) on CPython's asyncore, and writes down what happens.

Reads a scenario a line from stdin; writes {"select": [lines], "poll": [lines]} in a line to stdout.
What must be believed: a verb does here what runner.ts does for it, through the Python name of the
same call, and neither of the two knows what a scenario is expected to do. Lines are raw: what has to
be made equal is made so by normalise.ts, for both sides.
"""

import errno
import json
import os
import select
import shutil
import socket
import struct
import sys
import tempfile
import time
import warnings

warnings.simplefilter('ignore')
import asyncore

LIMIT = 4.0  # seconds: what a scenario says must happen, happens within this
FAMILIES = {
    'tcp': (socket.AF_INET, socket.SOCK_STREAM),
    'tcp6': (socket.AF_INET6, socket.SOCK_STREAM),
    'unix': (socket.AF_UNIX, socket.SOCK_STREAM),
    'udp': (socket.AF_INET, socket.SOCK_DGRAM),
}
EVENTS = {
    'in': select.POLLIN,
    'pri': select.POLLPRI,
    'out': select.POLLOUT,
    'err': select.POLLERR,
    'hup': select.POLLHUP,
}
ACCEPT = socket.socket.accept
HANDLERS = ['read', 'write', 'expt', 'connect', 'accept', 'accepted', 'close', 'error']
BASES = {
    'plain': asyncore.dispatcher,
    'withSend': asyncore.dispatcher_with_send,
    'file': asyncore.file_dispatcher,
}


class Scripted(Exception):
    """What a scenario raises with `raise`."""


def code_of(error):
    if isinstance(error, OSError) and error.errno is not None:
        return errno.errorcode[error.errno]
    if isinstance(error, Scripted):
        return str(error)
    return type(error).__name__


def shown_address(address):
    if isinstance(address, str):
        return repr(address)
    return ('[%s]:%s' if ':' in address[0] else '%s:%s') % address[:2]


class Lines:
    """Stands in for stdout or stderr: a line of the trace for each line printed."""

    def __init__(self, world, name):
        self.world, self.name, self.rest = world, name, ''

    def write(self, text):
        self.rest += text
        while '\n' in self.rest:
            line, self.rest = self.rest.split('\n', 1)
            self.world.note('%s %s' % (self.name, json.dumps(line + '\n', ensure_ascii=False)))

    def flush(self):
        pass


class World:
    def __init__(self, scenario, order):
        self.order = order
        self.definitions = scenario['channels']
        self.shows_predicates = scenario.get('predicates', False)
        self.trace = []
        self.channels = {}
        self.things = {}  # sockets, and descriptors as numbers
        self.maps = {'': asyncore.socket_map}
        self.wants = {}
        self.calls = {}
        self.callers = {}
        self.directory = tempfile.mkdtemp(prefix='asyncore-')
        self.paths = 0

    def note(self, line):
        self.trace.append(line)

    # -- Channels ---------------------------------------------------------------------------

    def make(self, name, *arguments):
        definition = self.definitions[name]
        base = BASES[definition.get('kind', 'plain')]
        body = {'__qualname__': 'Channel'}
        for handler in HANDLERS:
            body['handle_' + handler] = self.handler(name, handler, base)
        for method in ['close', '__repr__']:
            body[method] = self.method(name, method, base)
        self.wants[name] = definition.get('wants', 'stock')
        if self.wants[name] != 'stock':
            body['readable'] = self.predicate(name, 'readable', 'r')
            body['writable'] = self.predicate(name, 'writable', 'w')
        made = type('Channel', (base,), body)
        channel = made.__new__(made)
        self.channels[name] = channel
        try:
            channel.__init__(*arguments, map=self.map(definition.get('map', '')))
        except BaseException:
            del self.channels[name]
            raise

    def handler(self, name, handler, base):
        def handle(channel, *arguments):
            detail = ''
            if handler == 'error':
                detail = ' ' + code_of(sys.exc_info()[1])
            if handler == 'accepted':
                self.callers[name] = self.callers.get(name, 0) + 1
                self.things['%s.%d' % (name, self.callers[name])] = arguments[0]
                detail = ' ' + shown_address(arguments[1])
            self.note('%s.%s%s%s' % (name, handler, self.flags(channel), detail))
            original = getattr(base, 'handle_' + handler)
            return self.react(name, handler, lambda: original(channel, *arguments))

        return handle

    def method(self, name, method, base):
        key = {'close': 'close()', '__repr__': 'repr()'}[method]

        def replaced(channel):
            return self.react(name, key, lambda: getattr(base, method)(channel))

        return replaced

    def predicate(self, name, method, letter):
        def ask(channel):
            answer = letter in self.wants[name]
            if self.shows_predicates:
                self.note('%s.%s() %s' % (name, method, 'true' if answer else 'false'))
            self.react(name, method + '()', lambda: None)
            return answer

        return ask

    def react(self, name, key, original):
        count = self.calls[name, key] = self.calls.get((name, key), 0) + 1
        scripts = self.definitions[name].get('on', {})
        script = scripts.get('%s#%d' % (key, count), scripts.get(key))
        if script is None:
            return original()
        for line in script:
            if line == 'base':
                original()
            else:
                self.perform(line)

    def flags(self, channel):
        names = ['connected', 'accepting', 'connecting']
        return ''.join(' ' + name for name in names if getattr(channel, name))

    def map(self, name):
        return self.maps.setdefault(name, {})

    # -- Steps ------------------------------------------------------------------------------

    def step(self, line):
        words = line.split(' ')
        if words[0] == 'pass':
            self.passes(dict(word.split('=') for word in words[1:]))
            return
        try:
            self.perform(line)
        except Exception as error:
            self.note('! ' + code_of(error))

    def passes(self, options):
        timeout = options.get('timeout', '4000')
        count = options.get('count', '1')
        began = time.monotonic()
        try:
            asyncore.loop(
                timeout=None if timeout == 'forever' else float(timeout) / 1000,
                use_poll=self.order == 'poll',
                map=self.map(options.get('map', '')),
                count=None if count == 'all' else int(count),
            )
        except Exception as error:
            self.note('the loop threw ' + code_of(error))
        if 'atLeast' in options:
            waited = (time.monotonic() - began) * 1000 >= float(options['atLeast'])
            self.note('waited' if waited else 'did not wait')
        for name, channels in self.maps.items():
            names = [self.name_of(channel) for channel in channels.values()]
            self.note(' '.join(['--'] + ([name + ':'] if name else []) + names))

    def name_of(self, channel):
        return next(name for name, known in self.channels.items() if known is channel)

    def perform(self, line):
        subject, *rest = line.split(' ')
        if subject in ('raise', 'fail', 'exit', 'poll', 'closeAll'):
            getattr(self, 'do_' + subject)(*rest)
            return
        verb, *arguments = rest
        kind = 'channel_' if subject in self.definitions else 'thing_'
        getattr(self, kind + verb)(subject, *arguments)

    def do_raise(self, text):
        raise Scripted(text)

    def do_fail(self, code):
        number = getattr(errno, code)
        raise OSError(number, os.strerror(number))

    def do_exit(self):
        raise asyncore.ExitNow('over')

    def do_poll(self):
        (asyncore.poll2 if self.order == 'poll' else asyncore.poll)(0.0)

    def do_closeAll(self, *options):
        named = [option[4:] for option in options if option.startswith('map=')]
        asyncore.close_all(self.map(named[0] if named else ''), 'ignore' in options)

    # -- Sockets, pipes and files -----------------------------------------------------------

    def thing_socket(self, name, kind):
        made = socket.socket(*FAMILIES[kind])
        made.setblocking(False)
        self.things[name] = made

    def local_address(self, family):
        if family == socket.AF_UNIX:
            self.paths += 1
            return os.path.join(self.directory, 'path%d' % self.paths)
        return ('::1' if family == socket.AF_INET6 else '127.0.0.1', 0)

    def address_of(self, name):
        if name == 'nowhere':
            return os.path.join(self.directory, 'nowhere')
        return self.socket_of(name).getsockname()

    def socket_of(self, name):
        return self.channels[name].socket if name in self.channels else self.things[name]

    def thing_bind(self, name):
        self.things[name].bind(self.local_address(self.things[name].family))

    def thing_listen(self, name, backlog):
        self.things[name].listen(int(backlog))

    def thing_connect(self, name, target):
        result = self.things[name].connect_ex(self.address_of(target))
        if result not in (0, errno.EINPROGRESS):
            raise OSError(result, os.strerror(result))

    def thing_accept(self, name, accepted):
        self.thing_ready(name, 'in')
        self.things[accepted] = self.socket_of(name).accept()[0]
        self.things[accepted].setblocking(False)

    def thing_pair(self, name, other, kind):
        if kind == 'unix':
            self.things[name], self.things[other] = socket.socketpair()
            for end in (name, other):
                self.things[end].setblocking(False)
            return
        self.thing_socket('pair', kind)
        self.thing_bind('pair')
        self.thing_listen('pair', '1')
        self.thing_socket(name, kind)
        self.thing_connect(name, 'pair')
        self.thing_accept('pair', other)
        self.thing_close('pair')
        self.thing_ready(name, 'out')

    def thing_pipe(self, name, other):
        self.things[name], self.things[other] = os.pipe()
        os.set_blocking(self.things[other], False)

    def thing_file(self, name, text):
        self.paths += 1
        path = os.path.join(self.directory, 'path%d' % self.paths)
        with open(path, 'w') as file:
            file.write(text)
        self.things[name] = os.open(path, os.O_RDWR)

    def thing_fill(self, name):
        """Calls a listener until it takes no more."""
        target = self.socket_of(name)
        for number in range(100):
            caller = socket.socket(target.family, target.type)
            caller.setblocking(False)
            self.things['%s.fill%d' % (name, number)] = caller
            result = caller.connect_ex(target.getsockname())
            if result == errno.EAGAIN:
                return
            if target.family != socket.AF_UNIX:
                poller = select.poll()
                poller.register(caller, select.POLLOUT)
                if not poller.poll(100):
                    # It would call again, and take the next place.
                    self.thing_close('%s.fill%d' % (name, number))
                    return

    def thing_send(self, name, text):
        thing = self.things[name]
        if isinstance(thing, int):
            os.write(thing, text.encode())
        else:
            thing.send(text.encode())

    def thing_big(self, name, count):
        self.thing_send(name, 'x' * int(count))

    def thing_sendto(self, name, target, text):
        self.things[name].sendto(b'' if text == 'nothing' else text.encode(), self.address_of(target))

    def thing_oob(self, name, text):
        self.things[name].send(text.encode(), socket.MSG_OOB)

    def thing_recv(self, name, size):
        self.thing_ready(name, 'in')
        data = self.things[name].recv(int(size))
        self.note('%s got %s' % (name, self.shown(data)))

    def thing_shutdown(self, name):
        self.things[name].shutdown(socket.SHUT_WR)

    def thing_reset(self, name):
        linger = struct.pack('ii', 1, 0)
        self.things[name].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.thing_close(name)

    def thing_smallBuffer(self, name):
        self.things[name].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)

    def thing_close(self, name):
        thing = self.things.pop(name)
        if isinstance(thing, int):
            os.close(thing)
        else:
            thing.close()

    def thing_end(self, name):
        """Closes it, and does not forget it."""
        self.things[name].close()

    def thing_ready(self, name, *events):
        """Waits until the kernel has all of them to tell."""
        thing = self.socket_of(name)
        if not isinstance(thing, int) and thing.fileno() == -1:
            raise SystemExit('closed: %s' % name)
        expected = 0
        for event in events:
            expected |= EVENTS[event]
        poller = select.poll()
        poller.register(thing, expected)
        end = time.monotonic() + LIMIT
        while True:
            found = poller.poll(1)
            if found and found[0][1] & expected == expected:
                return
            if time.monotonic() > end:
                raise SystemExit('not ready: %s %s, but %s' % (name, events, found))

    # -- What channels are told to do -------------------------------------------------------

    def shown(self, data):
        if not data:
            return 'nothing'
        text = data.decode('latin1')
        return text if len(text) < 40 else '%d bytes' % len(text)

    def channel_new(self, name, *thing):
        self.make(name, *[self.things[one] for one in thing])

    def channel_ready(self, name, *events):
        self.thing_ready(name, *events)

    def channel_fill(self, name):
        self.thing_fill(name)

    def channel_createSocket(self, name, *kind):
        self.channels[name].create_socket(*(FAMILIES[kind[0]] if kind else ()))

    def channel_setSocket(self, name, thing):
        self.channels[name].set_socket(self.things[thing])

    def channel_socketAs(self, name, thing):
        self.things[thing] = self.channels[name].socket

    def channel_reuseAddr(self, name):
        self.channels[name].set_reuse_addr()

    def channel_bind(self, name):
        channel = self.channels[name]
        channel.bind(self.local_address(channel.socket.family))

    def channel_listen(self, name, backlog):
        self.channels[name].listen(int(backlog))

    def channel_connect(self, name, target):
        self.channels[name].connect(self.address_of(target))

    def channel_accept(self, name):
        pair = self.channels[name].accept()
        self.note('%s accepted %s' % (name, 'nothing' if pair is None else 'a caller'))
        if pair is not None:
            pair[0].close()

    def channel_recv(self, name, size):
        data = self.channels[name].recv(int(size))
        self.note('%s received %s' % (name, self.shown(data)))

    def channel_recvfrom(self, name, size):
        data, address = self.channels[name].socket.recvfrom(int(size))
        self.note('%s received %s from %s' % (name, self.shown(data), shown_address(address)))

    def channel_recvOob(self, name):
        data = self.channels[name].socket.recv(1, socket.MSG_OOB)
        self.note('%s received urgent %s' % (name, self.shown(data)))

    def channel_send(self, name, text):
        self.note('%s sent %s' % (name, self.channels[name].send(text.encode())))

    def channel_big(self, name, count):
        sent = self.channels[name].send(b'x' * int(count))
        whole = sent is not None and sent == int(count)
        self.note('%s sent %s' % (name, 'all' if whole else 'some' if sent else sent))

    def channel_push(self, name, text):
        self.channels[name].send(text.encode())

    def channel_pushBig(self, name, count):
        self.channels[name].send(b'x' * int(count))

    def channel_waiting(self, name):
        left = len(self.channels[name].out_buffer)
        self.note('%s has %s waiting' % (name, 'something' if left else 'nothing'))

    def channel_shutdown(self, name):
        self.channels[name].socket.shutdown(socket.SHUT_WR)

    def channel_close(self, name):
        self.channels[name].close()

    def channel_closeSocket(self, name):
        self.channels[name].socket.close()

    def channel_wants(self, name, wants):
        self.wants[name] = wants

    def channel_set(self, name, flag, value):
        setattr(self.channels[name], flag, value == 'true')

    def channel_repr(self, name):
        self.note(repr(self.channels[name]))

    def channel_state(self, name):
        channel = self.channels[name]
        address = 'none' if channel.addr is None else shown_address(channel.addr)
        number = 'no descriptor' if channel._fileno is None else 'a descriptor'
        predicates = [name for name in ('readable', 'writable') if getattr(channel, name)()]
        words = [name, 'is'] + self.flags(channel).split() + predicates
        self.note('%s, addr %s, %s' % (' '.join(words), address, number))

    def channel_log(self, name, text):
        self.channels[name].log(text)

    def channel_logNumber(self, name, number):
        self.channels[name].log(int(number))
        self.channels[name].log_info(int(number))

    def channel_logInfo(self, name, text, *type):
        self.channels[name].log_info(text, *type)

    def channel_ignore(self, name, *types):
        self.channels[name].ignore_log_types = frozenset(types)

    def channel_debug(self, name):
        self.channels[name].debug = True

    def channel_event(self, name, function, *flags):
        channel = self.channels[name]
        if function == 'readwrite':
            bits = 0
            for flag in flags:
                bits |= EVENTS[flag]
            asyncore.readwrite(channel, bits)
        else:
            {'read': asyncore.read, 'write': asyncore.write, 'expt': asyncore._exception}[function](
                channel
            )

    def channel_addChannel(self, name, *map):
        self.channels[name].add_channel(*[self.map(one) for one in map])

    def channel_delChannel(self, name, *map):
        self.channels[name].del_channel(*[self.map(one) for one in map])

    def channel_replacedBy(self, name, thing):
        """Closes the channel, and opens a socket that gets its number."""
        number = self.channels[name].socket.fileno()
        self.channels[name].close()
        spare = []
        while thing not in self.things:
            made = socket.socket(socket.AF_UNIX)
            if made.fileno() == number:
                made.setblocking(False)
                self.things[thing] = made
            elif made.fileno() > number:
                raise SystemExit('the number was taken')
            else:
                spare.append(made)
        for one in spare:
            one.close()

    def channel_failAccept(self, name, code):
        """The next accept of any socket fails."""

        def failing(_):
            socket.socket.accept = ACCEPT
            self.do_fail(code)

        socket.socket.accept = failing

    # -- The whole --------------------------------------------------------------------------

    def play(self, steps):
        streams = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = Lines(self, 'stdout'), Lines(self, 'stderr')
        try:
            for line in steps:
                self.step(line)
        finally:
            sys.stdout, sys.stderr = streams
            self.clean()
        return self.trace

    def clean(self):
        socket.socket.accept = ACCEPT
        asyncore.socket_map.clear()
        for channel in self.channels.values():
            if channel.socket is not None:
                try:
                    channel.socket.close()
                except OSError:
                    pass
        for name in list(self.things):
            self.thing_close(name)
        shutil.rmtree(self.directory)


def main():
    for line in sys.stdin:
        scenario = json.loads(line)
        traces = {
            order: World(scenario, order).play(scenario['steps']) for order in ('select', 'poll')
        }
        sys.stdout.write(json.dumps(traces) + '\n')
        sys.stdout.flush()


main()
