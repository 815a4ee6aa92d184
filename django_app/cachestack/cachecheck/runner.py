"""Run the operations against the aliases, and keep what came of each."""

from __future__ import annotations

import inspect
import time
from collections.abc import Coroutine, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Callable, cast

import django
from asgiref.sync import async_to_sync
from django.core.cache import InvalidCacheBackendError

from ..aliases import Alias
from .context import Context, MismatchError, SkipError
from .operations import OPERATIONS, Operation, Waiting

# Seconds that a read may wait for a replica.
REPLICA_WAIT = 2.0
CLEAN_UP = "delete_many: the keys of this run"
# By name: client libraries have errors of their own with these names, and this app imports none of them.
CONNECTION_ERRORS = {"ConnectionError", "TimeoutError"}

OK, FAILED, SKIPPED, NOT_RUN = "ok", "failed", "skipped", "not run"


@dataclass
class Result:
    """What came of an operation: `state` is one of OK, FAILED, SKIPPED, NOT_RUN.

    `ms` is the time that it took, without the wait for an expiry. `error` says why it is not OK, without any secret.
    """

    name: str
    state: str = NOT_RUN
    ms: float | None = None
    error: str | None = None


class AliasRun:
    """The operations of one alias, in three calls, so that the aliases share the wait for an expiry.

    A connection error stops it: each further operation would wait for the same time-out.
    """

    def __init__(self, alias: Alias, wait: float | None = None) -> None:
        """Take `wait`, the seconds that a read may wait for a replica; None: REPLICA_WAIT if there may be one."""
        self.alias = alias
        self.results = [Result(operation.name) for operation in OPERATIONS] + [Result(CLEAN_UP)]
        self._wait = wait if wait is not None else REPLICA_WAIT if alias.reads_from_replicas else 0.0
        self._context: Context | None = None
        self._waiting: list[tuple[Result, Waiting, float]] = []
        self._stopped_by: str | None = None

    def start(self) -> None:
        """Run each operation to its end, or to where it waits."""
        for operation, result in zip(OPERATIONS, self.results):
            if not self._stopped_by:
                with self._record(result):
                    self._begin(operation, result)

    def finish(self) -> None:
        """Run the rest of the operations that wait, each when its time has come."""
        for result, rest, due in self._waiting:
            if self._stopped_by:
                result.state, result.ms = NOT_RUN, None
                continue
            time.sleep(max(0.0, due - time.monotonic()))
            with self._record(result):
                for seconds in rest:
                    time.sleep(seconds)

    def clean_up(self) -> None:
        """Delete the keys of this run, as far as the cache answers."""
        if self._stopped_by:
            with suppress(Exception):
                self._open().delete_keys()
            for result in self.results:
                if result.state == NOT_RUN:
                    result.error = f"after the {self._stopped_by}"
        else:
            with self._record(self.results[-1]):
                self._open().delete_keys()

    def _open(self) -> Context:
        if self._context is None:
            self._context = Context(self.alias, self.alias.connect(), self._wait)
        return self._context

    def _begin(self, operation: Operation, result: Result) -> None:
        context = self._open()
        if inspect.iscoroutinefunction(operation.function):
            if not hasattr(context.cache, "aget"):
                raise SkipError(f"Django {django.get_version()} has no asynchronous cache API")
            async_to_sync(cast("Callable[[Context], Coroutine[Any, Any, None]]", operation.function))(context)
        elif inspect.isgeneratorfunction(operation.function):
            rest: Waiting = operation.function(context)
            seconds = next(rest)
            self._waiting.append((result, rest, time.monotonic() + seconds))
        else:
            operation.function(context)

    @contextmanager
    def _record(self, result: Result) -> Iterator[None]:
        """Take the time of what runs inside, and turn its exception into the result."""
        start = time.perf_counter()
        try:
            yield
        except SkipError as reason:
            result.state, result.error = SKIPPED, str(reason)
        except Exception as error:
            result.state, result.error = FAILED, self._describe(error)
            if _is_fatal(error):
                self._stopped_by = type(error).__name__
        else:
            result.state = OK
        result.ms = round((result.ms or 0) + (time.perf_counter() - start) * 1000, 1)

    def _describe(self, error: Exception, length: int = 200) -> str:
        text = str(error) if isinstance(error, MismatchError) else f"{type(error).__name__}: {error}"
        return " ".join(self.alias.mask(text).split())[:length]


def run_operations(aliases: Iterable[Alias], wait: float | None = None) -> list[AliasRun]:
    """Run every operation on each alias. `wait`: seconds that a read may wait for a replica, None: by LOCATION."""
    runs = [AliasRun(alias, wait) for alias in aliases]
    try:
        for run in runs:
            run.start()
        for run in runs:
            run.finish()
    finally:
        for run in runs:
            run.clean_up()
    return runs


def _is_fatal(error: Exception) -> bool:
    """Tell whether the next operation would fail in the same way, and perhaps as slowly."""
    names = {base.__name__ for base in type(error).__mro__}
    return isinstance(error, (OSError, InvalidCacheBackendError)) or not names.isdisjoint(CONNECTION_ERRORS)
