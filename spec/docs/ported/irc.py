"""An IRC server for one bot, which calls it."""

import socket
import time

from bell import LIMIT

listener = socket.create_server(('127.0.0.1', 0))
listener.settimeout(LIMIT)
print(listener.getsockname()[1], flush=True)
bot = listener.accept()[0]
bot.settimeout(LIMIT)
lines = bot.makefile('rb')


def say(text):
    bot.sendall(text.encode())


def hear(text):
    line = lines.readline()
    assert line == text.encode() + b'\r\n', line


hear('NICK robot')
hear('USER robot +iw robot :a robot: really')
say('PING :token\r\n')
hear('PONG token')
# Without the CR, and in two pieces, which cut a character.
welcome = ':server 001 robot :Grüße\n'.encode()
cut = welcome.index('ü'.encode()) + 1
bot.sendall(welcome[:cut])
time.sleep(0.05)
bot.sendall(welcome[cut:])
hear('JOIN #one')
hear('JOIN #two')
say(':ann!a@host PRIVMSG #one :say é : and more\r\n')
hear('PRIVMSG #one :ann: é : and more')
started = time.monotonic()
say(':bob!b@host PRIVMSG robot :say to me alone\r\n')
hear('PRIVMSG bob :bob: to me alone')
say(':bob!b@host PRIVMSG robot :say a\r\n:bob!b@host PRIVMSG robot :say b\r\nPING :x\r\n')
# The messages wait for their turn. The loop does not.
hear('PONG x')
hear('PRIVMSG bob :bob: a')
hear('PRIVMSG bob :bob: b')
assert time.monotonic() - started > 0.25, 'too fast'
say('\r\n \r\n:\r\nPING :alive\r\n')
hear('PONG alive')
say(':bob!b@host PRIVMSG robot :say never sent\r\n')
bot.shutdown(socket.SHUT_WR)
assert lines.read() == b''
