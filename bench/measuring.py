"""How it is measured: short slices of every variant in turn, round by round, so that a busy moment meets all alike."""

from __future__ import annotations

import random
import threading
import time
from array import array
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from bench.clients import Client, Clients

SIZES = (100, 10_000, 100_000)
THREADS = (1, 16)
# How many keys get_many asks for.
MANY = 100

# The nanoseconds that each call took, one array for each thread.
Latencies = list["array[int]"]


@dataclass(frozen=True)
class Case:
    """An operation on values of so many bytes, in so many threads at once."""

    operation: str
    size: int
    threads: int

    @property
    def title(self) -> str:
        """What people read."""
        count = f" of {MANY}" if self.operation == "get_many" else ""
        size = f"{self.size} B" if self.size < 1000 else f"{self.size // 1000} kB"
        return f"{self.operation}{count}, {size}, {self.threads} thread{'s' if self.threads > 1 else ''}"

    @property
    def value(self) -> bytes:
        """What is stored, the same in every run."""
        return random.Random(self.size).randbytes(self.size)

    @property
    def keys(self) -> list[str]:
        """The keys that are read, or the one that is written, which nobody reads."""
        count = MANY if self.operation == "get_many" else 1
        return [f"{self.operation}:{self.size}:{number}" for number in range(count)]

    def call(self, client: Client) -> Callable[[], object]:
        """Return what is measured."""
        keys, value = self.keys, self.value
        calls: dict[str, Callable[[], object]] = {
            "get": lambda: client.get(keys[0]),
            "set": lambda: client.set(keys[0], value),
            "get_many": lambda: client.get_many(keys),
        }
        return calls[self.operation]


CASES = [
    *(Case(operation, size, threads) for threads in THREADS for operation in ("get", "set") for size in SIZES),
    *(Case("get_many", SIZES[0], threads) for threads in THREADS),
]


@dataclass(frozen=True)
class Slice:
    """What came of a variant in a case, once: operations per second, and their latencies in microseconds."""

    rate: float
    p50: float
    p99: float


def summary(latencies: Latencies, nanoseconds: int) -> Slice:
    """Return what the calls of all threads come to, which together took so many nanoseconds."""
    ordered = sorted(latency for thread in latencies for latency in thread)
    return Slice(len(ordered) * 1e9 / nanoseconds, quantile(ordered, 0.5) / 1000, quantile(ordered, 0.99) / 1000)


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return the value below which this share of them lies, between two neighbours in proportion."""
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def rotated(names: Sequence[str], by: int) -> list[str]:
    """Return the names, beginning with another one each round: none has the same one before it every time."""
    start = by % len(names)
    return [*names[start:], *names[:start]]


class Bench:
    """Threads that live as long as the run, as a server's do, so that connections are made once."""

    def __init__(self, clients: Clients, seconds: float) -> None:
        """A slice takes so many `seconds`."""
        self._clients = clients
        self._seconds = seconds
        self._pools = {threads: ThreadPoolExecutor(threads) for threads in THREADS}

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *_error: object) -> None:
        for pool in self._pools.values():
            pool.shutdown()

    def prepare(self) -> None:
        """Store what is read, which lasts for some minutes, and let every thread make its connections."""
        for variant in self._clients.variants:
            client = self._clients.of(variant)
            for case in CASES:
                value = case.value
                for key in case.keys:
                    client.set(key, value)
            for threads in THREADS:
                self._run(Case("get", SIZES[0], threads), variant, 0)

    def slice(self, case: Case, variant: str) -> Slice:
        """Call the operation again and again in every thread, and return what that comes to."""
        return summary(*self._run(case, variant, int(self._seconds * 1e9)))

    def _run(self, case: Case, variant: str, nanoseconds: int) -> tuple[Latencies, int]:
        """Return how long each call took, and all of them together."""
        clock = time.perf_counter_ns
        began = 0

        def begin() -> None:
            nonlocal began
            began = clock()

        # None begins before all of them are there; the last one to come starts the clock.
        ready = threading.Barrier(case.threads, begin)

        def work() -> array[int]:
            call = case.call(self._clients.of(variant))
            ready.wait()
            return _repeat(call, began + nanoseconds)

        futures = [self._pools[case.threads].submit(work) for _ in range(case.threads)]
        latencies = [future.result() for future in futures]
        return latencies, clock() - began


def _repeat(call: Callable[[], object], until: int) -> array[int]:
    """Call until that time, at least once. Return how long each call took."""
    clock = time.perf_counter_ns
    latencies = array("q")
    now = clock()
    while True:
        call()
        before, now = now, clock()
        latencies.append(now - before)
        if now >= until:
            return latencies
