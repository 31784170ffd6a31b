# The same as measure.cjs. Nothing is compiled here, so there is less to warm up.

import math
import time

WARM = 50_000


def once(work, count):
    cpu = time.process_time_ns()
    start = time.perf_counter_ns()
    work(count)
    return (time.process_time_ns() - cpu) / 1000, (time.perf_counter_ns() - start) / 1000


def measure(work, seconds):
    """Returns how often work was done, and the µs of CPU and of time that it took."""
    work(1)
    count = 1
    cpu, _ = once(work, count)
    while cpu < WARM:
        count *= 2
        cpu, _ = once(work, count)
    count = math.ceil(count * seconds * 1e6 / cpu)
    return count, *once(work, count)
