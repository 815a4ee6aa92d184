"""What redis-py raises, sorted by what it means for an operation that failed."""

from __future__ import annotations

import enum
import re

from redis import exceptions


class CacheUnavailableError(exceptions.ConnectionError):
    """The server was away until the deadline was over, or is known to be away; the cause is what redis-py raised."""


class OutcomeUnknownError(CacheUnavailableError):
    """The connection broke after incr, decr or add was sent: the server may have done it, so it was not sent again."""


class NotSentError(exceptions.ConnectionError):
    """There was no connection, so nothing has been sent."""


class LoginRefusedError(NotSentError):
    """The server will not have this client: a user name, password or database that it does not take."""


class DeadlineError(exceptions.TimeoutError):
    """A deadline (cachestack.resilient.deadline) was over before the server had answered, which it may still do."""


class NoConnectionLeftError(NotSentError):
    """This process has as many connections to the server as `max_connections` says, and all are in use."""


class Meaning(enum.Enum):
    """What an error says about the operation."""

    # The server did not answer: away, hanging, or the connection broke. It may have done what it was told.
    SILENT = enum.auto()
    # As SILENT, but certainly nothing was done: no connection, or an answer that says so.
    AWAY = enum.auto()
    # It is not the server: this process has no connection left.
    CROWDED = enum.auto()
    # It answers, but takes no writes now; reads may go on.
    REFUSES_WRITES = enum.auto()
    # It will not do this one, whenever it is asked, or does not say why: no permission, no memory, or no Redis at all.
    REFUSES = enum.auto()
    # The caller's mistake, such as incr of a text.
    WRONG_USE = enum.auto()


# redis-py lets a few errors of the socket's through.
REDIS_ERRORS = (exceptions.RedisError, OSError)

_AWAY = (
    NotSentError,
    exceptions.BusyLoadingError,
    exceptions.AuthenticationError,
    exceptions.ClusterDownError,
    exceptions.TryAgainError,
)
_SILENT = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.InvalidResponse,
    OSError,
)
# redis-py has no classes for these.
_REFUSES_WRITES_CODES = ("NOREPLICAS", "MISCONF")
_AWAY_CODES = ("BUSY", "MASTERDOWN", "NOAUTH")
# What a server says to a command that does not fit the value, or the number in it.
_WRONG_USE_WORDS = re.compile(r"WRONGTYPE|not an integer|not a valid float|would overflow|out of range|invalid expire")


def may_pass(error: Exception) -> bool:
    """Tell whether what failed may work later although nobody changes anything."""
    refused = (exceptions.AuthenticationError, exceptions.AuthorizationError, LoginRefusedError)
    return not (isinstance(error, refused) or str(error).startswith("NOAUTH") or meaning(error) is Meaning.REFUSES)


def meaning(error: Exception) -> Meaning:
    """Return what the error says about the operation that raised it."""
    if isinstance(error, NoConnectionLeftError):
        return Meaning.CROWDED
    if isinstance(error, _AWAY):
        return Meaning.AWAY
    if isinstance(error, exceptions.ReadOnlyError):
        return Meaning.REFUSES_WRITES
    if isinstance(error, _SILENT):
        return Meaning.SILENT
    text = str(error)
    if text.startswith(_REFUSES_WRITES_CODES):
        return Meaning.REFUSES_WRITES
    if text.startswith(_AWAY_CODES):
        return Meaning.AWAY
    # redis-py's own DataError is a mistake, too: a value that cannot be sent.
    if isinstance(error, exceptions.DataError) or _WRONG_USE_WORDS.search(text):
        return Meaning.WRONG_USE
    return Meaning.REFUSES
