"""One Redis server as a process sees it: its connections, whether it answers, and what came of the operations."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import django
import redis
from redis import exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

from .errors import LoginRefusedError, Meaning, NoConnectionLeftError, NotSentError, meaning

# A command and its arguments, as they are sent.
Command = tuple[Any, ...]

# redis-py below 6 has classes for these in the connections of its own cluster client alone.
_CLUSTER_ERRORS: dict[str, Any] = {
    "ASK": exceptions.AskError,
    "CLUSTERDOWN": exceptions.ClusterDownError,
    "MASTERDOWN": exceptions.MasterDownError,
    "MOVED": exceptions.MovedError,
    "TRYAGAIN": exceptions.TryAgainError,
}
# Lets CLIENT LIST show who connects, where redis-py can tell, as Django's own client does.
_DRIVER: dict[str, Any] = (
    {"driver_info": redis.DriverInfo().add_upstream_driver("django", django.get_version())}
    if hasattr(redis, "DriverInfo")
    else {}
)
# Seconds within which a failure after a success belongs to the failures before, and the least to wait then.
FLAPPING, LEAST_HOLD = 5.0, 0.5
# Seconds for which a failure is believed without another look.
BELIEVED = 3.0
# Seconds without use after which a connection is looked at before it is used again.
IDLE = 1.0


def no_retry() -> Retry:
    """Return redis-py's word for trying once. Its retries cling to the address of a leader that is no more (#3874)."""
    return Retry(NoBackoff(), 0)


def make_pool(address: Mapping[str, Any], options: Mapping[str, Any]) -> redis.ConnectionPool:
    """Return a pool for `address`, {'host', 'port', 'tls'} or {'path'}; it connects when it is used."""
    options = {**_DRIVER, **options, "retry": no_retry()}
    if address.get("path"):
        return redis.ConnectionPool(redis.UnixDomainSocketConnection, path=address["path"], **options)
    kind = redis.SSLConnection if address.get("tls") else redis.Connection
    return redis.ConnectionPool(kind, host=address["host"], port=address["port"], **options)


# An error that is an answer to a probe: the server is there.
_ANSWERS = {Meaning.REFUSES_WRITES, Meaning.REFUSES, Meaning.WRONG_USE, Meaning.CROWDED}


class Breaker:
    """What is known about one use of a server: closed while it works, open from the first failure to the next success.

    `since` is when what failed first began (time.monotonic), `error` what came of the last try.
    """

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.since = 0.0
        self._seen = self._opened_at = self._closed_at = self._hold = 0.0

    @property
    def is_recent(self) -> bool:
        """Tell whether it failed just now: without traffic nobody has looked, and it may work for long."""
        return time.monotonic() < self._seen + BELIEVED

    def open(self, error: Exception, since: float) -> bool:
        """Note a failure of what began at `since`. Return True if that is news."""
        now = self._seen = time.monotonic()
        # What began before the last success says nothing of the time after it.
        if since < self._closed_at:
            return False
        if self.error is not None:
            # A connection that broke may be followed by a wrong password, which says more.
            self.error = error
            return False
        if since < self._closed_at + FLAPPING:
            # The look at it succeeds and the operations do not: large values that do not come through, say.
            self._hold = min(max(LEAST_HOLD, 2 * self._hold), FLAPPING)
        else:
            self.since, self._hold = since, 0.0
        self._opened_at = now
        # The last of all: who sees it finds the times beside it.
        self.error = error
        return True

    def close(self) -> bool:
        """Note a success. Return True if that is news, which it is not too soon after failures in a row."""
        now = time.monotonic()
        if self.error is None or now < self._opened_at + self._hold:
            return False
        self._closed_at = now
        self.error = None
        return True


@dataclass
class Counts:
    """What came of the operations on one server. Times are in seconds."""

    operations: int = 0
    hits: int = 0
    misses: int = 0
    degraded: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    errors: Counter[str] = field(default_factory=Counter)


class Server:
    """A server and all that this process knows of it. Threads share it, and so do event loops."""

    def __init__(self, name: str, pool: redis.ConnectionPool, host: str = "") -> None:
        self.name = name
        self.host = host
        # Makes connections and counts them. It does not keep them: its own bookkeeping costs more than a command.
        self.pool = pool
        self._free: list[Any] = []
        # Does it answer at all; does it take writes. The key of what failed last is the one to try again with.
        self.answers = Breaker()
        self.takes_writes = Breaker()
        self.probe_key = ""
        # When it last answered (time.monotonic).
        self.answered_at = 0.0
        # A replica that is behind, or that lost its leader while others have it.
        self.lags = False
        self.counts = Counts()
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<Server {self.name}>"

    def run(self, commands: Sequence[Command], *, surely: bool = False) -> list[Any]:
        """Send the commands at once and return the answers; an answer that is an error is returned like the others.

        `surely`: on a connection that is known to be open. Raises NotSentError if there was no connection, and what
        redis-py raises if it broke.
        """
        connection = self._connect(surely)
        try:
            if len(commands) == 1:
                connection.send_command(*commands[0])
            else:
                connection.send_packed_command(connection.pack_commands(commands))
            answers = [_read(connection) for _ in commands]
        except BaseException:
            # Answers may be under way that the next one to use the connection must not read.
            connection.disconnect()
            self._free.append(connection)
            raise
        self.answered_at = connection.last_use = time.monotonic()
        self._free.append(connection)
        return answers

    def _connect(self, surely: bool) -> Any:
        """Return an open connection. Raise NotSentError if there is none to be had, or what the server said to it."""
        try:
            connection: Any = self._free.pop()
        except IndexError:
            connection = self._make_connection()
        try:
            connection.connect()
            if (surely or time.monotonic() - connection.last_use > IDLE) and _is_cut(connection):
                connection.disconnect()
                connection.connect()
        except BaseException as error:
            # It may be logged in, or at its database, or neither.
            connection.disconnect()
            self._free.append(connection)
            if isinstance(error, redis.ResponseError):
                # It may quote what it does not understand.
                secret = str(self.pool.connection_kwargs.get("password") or "")
                reason = type(error).__name__ if secret and secret in str(error) else str(error)
                raise LoginRefusedError(f"the server refused the login: {reason}") from None
            # The subclasses are answers, such as a wrong password.
            if type(error) in (redis.ConnectionError, redis.TimeoutError):
                raise NotSentError(str(error)) from error
            raise
        return connection

    def _make_connection(self) -> Any:
        try:
            connection: Any = self.pool.make_connection()
        except NotSentError:
            raise
        except redis.ConnectionError as error:
            raise NoConnectionLeftError(str(error)) from error
        connection.last_use = 0.0
        return connection

    def run_one(self, *command: Any) -> Any:
        """Send a command and return its answer. Raise it if it is an error, and as `run`."""
        answer = self.run([command])[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def breaker(self, *, write: bool) -> Breaker | None:
        """Return the open breaker that stands in the way of a read or a write, if there is one."""
        if self.answers.error is not None:
            return self.answers
        return self.takes_writes if write and self.takes_writes.error is not None else None

    def failed(self, error: Exception, key: str, since: float) -> bool:
        """Note that an operation failed, which began at `since`. Return True if that is news."""
        self.probe_key = key
        for connection in list(self._free):
            # It may have been cut as well.
            connection.last_use = 0.0
        breaker = self.takes_writes if meaning(error) is Meaning.REFUSES_WRITES else self.answers
        return breaker.open(error, since)

    def probe(self) -> bool:
        """See whether it answers, and takes writes if it did not. Return True if something works again."""
        begun = time.monotonic()
        try:
            # PING says nothing of a slot that no node of a cluster has.
            self.run_one(*(("EXISTS", self.probe_key) if self.probe_key else ("PING",)))
        except Exception as error:
            if meaning(error) not in _ANSWERS:
                self.answers.open(error, begun)
                return False
        news = self.answers.close()
        if self.takes_writes.error is not None:
            try:
                self.run_one("DEL", _absent_key(self.probe_key))
            except Exception as error:
                if meaning(error) not in _ANSWERS - {Meaning.REFUSES_WRITES}:
                    return news
            news = self.takes_writes.close() or news
        return news

    def count(self, seconds: float, hits: int = 0, misses: int = 0) -> None:
        """Count an operation that was answered."""
        counts = self.counts
        with self._lock:
            counts.operations += 1
            counts.hits += hits
            counts.misses += misses
            counts.seconds += seconds
            if seconds > counts.slowest:
                counts.slowest = seconds

    def count_error(self, error: Exception) -> None:
        """Count a try that failed, by the class of its error."""
        with self._lock:
            self.counts.errors[error_name(error)] += 1

    def count_degraded(self) -> None:
        """Count an operation that was given up."""
        with self._lock:
            self.counts.degraded += 1

    def after_fork(self) -> None:
        """Leave the connections to the parent process, and forget a lock that another thread of it may have held."""
        self._free = []
        self.pool.reset()
        self._lock = threading.Lock()


def error_name(error: Exception) -> str:
    """Return the class of what happened."""
    return type(error.__cause__ if isinstance(error, NotSentError) and error.__cause__ else error).__name__


def describe(error: Exception) -> str:
    """Return what happened in words that are safe to show: what a server answers can have keys and values in it."""
    if isinstance(error, (redis.ConnectionError, redis.TimeoutError, OSError)):
        return f"{error_name(error)}: {error}"
    return error_name(error)


def _read(connection: Any) -> Any:
    try:
        return connection.read_response()
    except redis.ResponseError as error:
        code, _, rest = str(error).partition(" ")
        return _CLUSTER_ERRORS[code](rest) if code in _CLUSTER_ERRORS else error


def _is_cut(connection: Any) -> bool:
    """Tell whether the server has ended the connection, or sent what nobody has asked for."""
    try:
        return bool(connection.can_read())
    except (redis.ConnectionError, redis.TimeoutError, OSError):
        return True


def _absent_key(key: str) -> str:
    """Return a key that nobody has, with the prefix of this one and in its slot of a cluster.

    https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags
    """
    return f"{key}:cachestack-probe" if "{" in key else f"{key}:cachestack-probe{{{key}}}"
