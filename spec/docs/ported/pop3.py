"""CPython's own test cases for its POP3 client, against a server elsewhere."""

import sys
import unittest

import bell  # noqa: F401
from test import test_poplib

# TLS, and an attribute that the test sets on the class of the server's handler.
LEFT_OUT = {'test_stls', 'test_stls_capa', 'test_stls_context', 'test_utf8'}


class Elsewhere:
    def __init__(self, address):
        self.host, self.port = address[0], int(sys.argv[1])
        self.handler = type('Handler', (), {})

    def start(self):
        pass

    def stop(self):
        pass


test_poplib.DummyPOP3Server = Elsewhere
cases = test_poplib.TestPOP3Class
names = set(unittest.TestLoader().getTestCaseNames(cases))
assert LEFT_OUT <= names, names
suite = unittest.TestSuite(map(cases, sorted(names - LEFT_OUT)))
assert suite.countTestCases() >= 17, names
result = unittest.TextTestRunner(verbosity=2).run(suite)
sys.exit(0 if result.wasSuccessful() else 1)
