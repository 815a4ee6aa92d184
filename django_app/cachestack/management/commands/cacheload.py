"""`manage.py cacheload`: write and read through this project's cache, and say what became of it. For `make drill`."""

from __future__ import annotations

import json
import random
import select
import signal
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

from django.conf import settings
from django.core.cache import DEFAULT_CACHE_ALIAS, caches
from django.core.management.base import BaseCommand, CommandError, CommandParser

OURS = "cachestack.resilient."
WRITERS_ALIAS = "cacheload"
# Seconds after which keys would expire by themselves, should their deletion fail.
KEY_TIMEOUT = 3600
# Keys of one get_many or delete_many.
BATCH = 500
# Seconds before a key that is missing is looked for again: a replica may be behind.
SECOND_LOOK = 1.0


class Command(BaseCommand):
    """Threads that write and read at a steady pace, until a line on stdin says that it is enough."""

    help = (
        'Writes numbered keys and reads recent ones, each at a steady pace. Prints "ready" when every writer has '
        "written. At the line `check` on stdin, or after --seconds, looks for every acknowledged key, deletes its keys "
        "and prints one JSON object. At the end of stdin, or Ctrl-C, only deletes its keys."
    )
    # The caches are asked, not the project.
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Add how many threads, how fast and for how long."""
        parser.add_argument("--writers", type=int, default=4, help="Threads that write.")
        parser.add_argument("--readers", type=int, default=2, help="Threads that read, through the alias as it is.")
        parser.add_argument("--rate", type=float, default=100.0, help="Operations per second of each thread.")
        parser.add_argument("--seconds", type=float, default=60.0, help="How long at most.")
        parser.add_argument(
            "--deadline",
            type=float,
            default=10.0,
            help="Seconds for which the resilient client tries a write before it raises.",
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        """Run until it is enough, then report. Raise CommandError if nothing can be written, or when interrupted."""
        # In place: the handler of the caches keeps this very object.
        settings.CACHES[WRITERS_ALIAS] = acknowledging(settings.CACHES[DEFAULT_CACHE_ALIAS], options["deadline"])
        signal.signal(signal.SIGTERM, _interrupt)
        load = Load(options["writers"], options["readers"], 1 / options["rate"])
        try:
            load.start(options["deadline"])
            self._say("ready")
            if _told_to_check(options["seconds"]):
                self._say(load.report())
        except KeyboardInterrupt:
            raise CommandError("interrupted", returncode=130) from None
        finally:
            self._clean_up(load)

    def _clean_up(self, load: Load) -> None:
        try:
            load.clean_up()
        except Exception as error:
            self.stderr.write(f"the keys expire by themselves in an hour: {type(error).__name__}")

    def _say(self, what: Any) -> None:
        self.stdout.write(json.dumps(what, separators=(",", ":")))
        self.stdout.flush()


class Load:
    """The threads, and a record of every operation: [thread, start, seconds, outcome].

    A start is in seconds since `began`, which is time.time(). The outcome of a write that was acknowledged and of a
    read that found its key is empty; else it is 'miss', or the class of the error.
    """

    def __init__(self, writers: int, readers: int, pause: float) -> None:
        """`pause`: seconds from one start to the next in each thread."""
        self.began = time.time()
        self._run = uuid.uuid4().hex
        self._pause = pause
        self._stop = threading.Event()
        self._tried = [0] * writers
        # Of each writer the number of the last key that was acknowledged.
        self._recent = [-1] * writers
        self.writes: list[list[list[Any]]] = [[] for _ in range(writers)]
        self.reads: list[list[list[Any]]] = [[] for _ in range(readers)]
        self._threads = [threading.Thread(target=self._write, args=(thread,), daemon=True) for thread in range(writers)]
        self._threads += [threading.Thread(target=self._read, args=(thread,), daemon=True) for thread in range(readers)]

    def start(self, seconds: float) -> None:
        """Start, and return when every writer has written. Raise CommandError if one cannot, in so many seconds."""
        for thread in self._threads:
            thread.start()
        until = time.monotonic() + seconds
        while min(self._recent) < 0:
            if time.monotonic() > until:
                outcomes = sorted({write[3] for writes in self.writes for write in writes if write[3]})
                raise CommandError(f"nothing could be written: {', '.join(outcomes) or 'no answer'}")
            time.sleep(0.01)

    def stop(self) -> None:
        """End the threads; each finishes what it does."""
        self._stop.set()
        for thread in self._threads:
            if thread.ident:
                thread.join()

    def report(self) -> dict[str, Any]:
        """Stop, and return every operation, and when each lost key was acknowledged (time.time())."""
        ended = time.time()
        self.stop()
        acknowledged = {
            self._key(thread, number): write[1] + write[2]
            for thread, writes in enumerate(self.writes)
            for number, write in enumerate(writes)
            if not write[3]
        }
        missing = _missing(list(acknowledged))
        if missing:
            time.sleep(SECOND_LOOK)
            missing = _missing(missing)
        return {
            "began": self.began,
            "ended": ended,
            "writes": [write for writes in self.writes for write in writes],
            "reads": [read for reads in self.reads for read in reads],
            "lost": sorted(self.began + acknowledged[key] for key in missing),
        }

    def clean_up(self) -> None:
        """Stop, and delete every key that may have been written."""
        self.stop()
        keys = [self._key(thread, number) for thread, tried in enumerate(self._tried) for number in range(tried)]
        for batch in _batches(keys):
            caches[WRITERS_ALIAS].delete_many(batch)

    def _key(self, writer: int, number: int) -> str:
        return f"cacheload-{self._run}-{writer}-{number}"

    def _write(self, thread: int) -> None:
        # django-redis can be told to ignore errors, and then returns False; Django's types know no such answer.
        store: Any = caches[WRITERS_ALIAS].set
        for number in self._paced():
            self._tried[thread] = number + 1
            with _record(self.writes[thread], thread, self.began) as outcome:
                if store(self._key(thread, number), number, KEY_TIMEOUT) is False:
                    outcome.append("NotStored")
            if not outcome:
                self._recent[thread] = number

    def _read(self, thread: int) -> None:
        cache = caches[DEFAULT_CACHE_ALIAS]
        for _ in self._paced():
            writer = random.randrange(len(self._recent))
            number = self._recent[writer]
            if number >= 0:
                with _record(self.reads[thread], thread, self.began) as outcome:
                    if cache.get(self._key(writer, number)) != number:
                        outcome.append("miss")

    def _paced(self) -> Iterator[int]:
        """Count, one number each pause. What was late is not made up for."""
        due = time.monotonic()
        number = 0
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            yield number
            number += 1
            due = max(due + self._pause, time.monotonic())


@contextmanager
def _record(operations: list[list[Any]], thread: int, began: float) -> Iterator[list[str]]:
    """Append [thread, start, seconds, outcome] of what runs inside, which tells its outcome to the list it gets."""
    outcome: list[str] = []
    start = time.time()
    try:
        yield outcome
    except Exception as error:
        outcome.append(type(error).__name__)
    end = time.time()
    operations.append([thread, round(start - began, 4), round(end - start, 4), "".join(outcome)])


def acknowledging(entry: Mapping[str, Any], deadline: float) -> dict[str, Any]:
    """Return the entry of CACHES so that a write that returns was acknowledged. `deadline`: seconds until it raises.

    The resilient client alone has to be told; the others raise anyway.
    """
    if not entry["BACKEND"].startswith(OURS):
        return dict(entry)
    # From the leader: whether a key is lost is not for a replica to say.
    wanted = {"on_error": "raise", "retry_deadline": deadline, "read_from": "leader"}
    return {**entry, "OPTIONS": {**entry.get("OPTIONS", {}), **wanted}}


def _told_to_check(seconds: float) -> bool:
    """Wait for the line `check`, for so long at most. Return False at the end of stdin."""
    readable, _, _ = select.select([sys.stdin], [], [], seconds)
    return not readable or bool(sys.stdin.readline())


def _missing(keys: list[str]) -> list[str]:
    found: set[str] = set()
    for batch in _batches(keys):
        found.update(caches[WRITERS_ALIAS].get_many(batch))
    return [key for key in keys if key not in found]


def _batches(keys: list[str]) -> Iterator[list[str]]:
    return (keys[start : start + BATCH] for start in range(0, len(keys), BATCH))


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
