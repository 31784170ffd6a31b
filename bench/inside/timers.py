# The same as timers.cjs, over asyncio and over pyftpdlib's ioloop.
#
#   python3 -W ignore timers.py WHOSE each COUNT DELAYS
#   python3 -W ignore timers.py WHOSE steady STEPS DELAYS
#   python3 -W ignore timers.py WHOSE tick PENDING SECONDS
#   python3 -W ignore timers.py WHOSE late COUNT TIMES
#   python3 -W ignore timers.py pyftpdlib version
#   WHOSE    asyncio or pyftpdlib; tick and late: asyncio only
#
# Both leave a cancelled timer in the heap until a turn of the loop finds too many of them, so that turn
# belongs to cancelling. pyftpdlib's poll(0) waits for ever: its ticks cannot be measured.

import asyncio
import gc
import json
import random
import sys
import time

from measure import measure

# Debian's packages, for a Python that is not Debian's: pyftpdlib is Python throughout.
sys.path.append("/usr/lib/python3/dist-packages")

ONE_DELAY = 100
LONG = 600_000
PENDING = 10_000
WARM = 20_000
WARM_DELAYS = 10
LONGEST = 50

random.seed(1)


class Asyncio:
    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.make = self.loop.call_later

    def pending(self):
        return sum(not timer.cancelled() for timer in self.loop._scheduled)

    def turn(self):
        self.ticks(1)

    def let_pass(self, seconds):
        self.loop.time = lambda: time.monotonic() + seconds

    def let_return(self):
        del self.loop.time

    # The loop has a socket of its own, which is idle.
    def ticks(self, count):
        def tick():
            nonlocal count
            count -= 1
            if count > 0:
                self.loop.call_soon(tick)
            else:
                self.loop.stop()

        self.loop.call_soon(tick)
        self.loop.run_forever()


class Pyftpdlib:
    def __init__(self):
        from pyftpdlib import ioloop

        self.ioloop = ioloop
        self.loop = ioloop.IOLoop.instance()
        self.make = self.loop.call_later

    def pending(self):
        return sum(not timer.cancelled for timer in self.loop.sched._tasks)

    def turn(self):
        self.loop.sched.poll()

    def let_pass(self, seconds):
        self.ioloop.timer = lambda: time.monotonic() + seconds

    def let_return(self):
        self.ioloop.timer = time.monotonic


def plan(count, delays):
    """Returns the delays of so many timers, in s, and the order in which these are cancelled."""
    order = list(range(count))
    if delays == 1:
        return [ONE_DELAY / 1000] * count, order
    different = [(1 + index % delays) / 1000 for index in range(count)]
    random.shuffle(different)
    random.shuffle(order)
    return different, order


def never():
    raise RuntimeError("a timer was called that was cancelled, or before its time")


def check_none(facility):
    if facility.pending() > 0:
        raise RuntimeError("timers are pending that should be gone")


def phase(count, work):
    """Returns what one of so many costs, in ns."""
    gc.collect()
    before = time.process_time_ns()
    work()
    return (time.process_time_ns() - before) / count


def each_pass(facility, count, delays):
    seconds, order = plan(count, delays)
    make = facility.make
    timers = []
    called = 0

    def making():
        for delay in seconds:
            timers.append(make(delay, never))

    def cancelling():
        for place in order:
            timers[place].cancel()
        facility.turn()

    def call():
        nonlocal called
        called += 1

    figures = {"CPU ns/make": phase(count, making), "CPU ns/cancel": phase(count, cancelling)}
    check_none(facility)
    timers.clear()
    for delay in seconds:
        make(delay, call)
    facility.let_pass(max(seconds) + 1)
    figures["CPU ns/call"] = phase(count, facility.turn)
    facility.let_return()
    check_none(facility)
    if called != count:
        raise RuntimeError(f"{called} calls of {count} timers")
    return figures


def each(facility, count, delays):
    each_pass(facility, min(WARM, count), min(delays, WARM_DELAYS))
    return each_pass(facility, count, delays)


def steady(facility, steps, delays):
    seconds, order = plan(PENDING, delays)
    make = facility.make
    timers = [make(LONG / 1000 + delay, never) for delay in seconds]

    def replace():
        for index, place in enumerate(order):
            timers[place].cancel()
            timers[place] = make(LONG / 1000 + seconds[index], never)
        facility.turn()

    def replace_all():
        for _ in range(times):
            replace()

    replace()
    times = -(-steps // PENDING)
    figure = phase(times * PENDING, replace_all)
    for timer in timers:
        timer.cancel()
    facility.turn()
    check_none(facility)
    return {"CPU ns/step": figure}


def tick(facility, pending, seconds):
    delays, _ = plan(pending, LONG // 10)
    timers = [facility.make(LONG / 1000 + delay, never) for delay in delays]
    gc.collect()
    count, cpu, _ = measure(facility.ticks, seconds)
    if facility.pending() != len(timers):
        raise RuntimeError("timers are gone that should be pending")
    return {"CPU ns/tick": cpu * 1000 / count}


def late(facility, count, times):
    lateness = []
    loop = facility.loop

    def call(due):
        nonlocal pending
        lateness.append((time.monotonic() - due) * 1000)
        pending -= 1
        if pending == 0:
            loop.stop()

    def call_all():
        nonlocal pending
        pending = count
        for _ in range(count):
            delay = random.randint(1, LONGEST) / 1000
            loop.call_later(delay, call, time.monotonic() + delay)
        loop.run_forever()

    pending = 0
    call_all()
    lateness.clear()
    for _ in range(times):
        call_all()
    lateness.sort()
    calls = len(lateness)
    return {
        "p50 ms": lateness[calls // 2],
        "p99 ms": lateness[calls * 99 // 100],
        "max ms": lateness[-1],
        "% too early": 100 * sum(ms < 0 for ms in lateness) / calls,
    }


whose, what, *numbers = sys.argv[1:]
if what == "version":
    import pyftpdlib.ioloop

    print(pyftpdlib.__ver__)
else:
    facility = {"asyncio": Asyncio, "pyftpdlib": Pyftpdlib}[whose]()
    work = {"each": each, "steady": steady, "tick": tick, "late": late}[what]
    # A number of seconds is the only one that may be a fraction.
    values = [float(number) if "." in number else int(number) for number in numbers]
    print(json.dumps(work(facility, *values)))
