"""The operations, in the order they run.

Each is a function of a Context and stands for itself: it stores what it reads. A generator is an operation that has to
wait: it yields the seconds after which it may go on, and the others run meanwhile. A coroutine function uses the
asynchronous API.
"""

from __future__ import annotations

import datetime
import time
import uuid
from collections import OrderedDict
from collections.abc import Coroutine, Generator
from decimal import Decimal
from typing import Any, Callable, NamedTuple, Union

from django.contrib.sessions.backends.base import SessionBase, UpdateError
from django.contrib.sessions.backends.cache import SessionStore

from .context import Context, MismatchError, SkipError

# Seconds: long enough for the whole run, short enough for what a killed run leaves behind.
TIMEOUT = 60
# Seconds: the shortest timeout that every backend has, what proves that a key outlives it, how late an expiry may come.
EXPIRY = 1
AFTER_EXPIRY = 1.2
EXPIRY_WAIT = 2
# Reads per server: a read goes to a random replica, and that so many miss one of them has a chance of 1 in 10**7.
READS_PER_SERVER = 16

Waiting = Generator[float, None, None]
Function = Callable[[Context], Union[Waiting, Coroutine[Any, Any, None], None]]


class Operation(NamedTuple):
    """What is run, and the name under which it is reported."""

    name: str
    function: Function


OPERATIONS: list[Operation] = []


def operation(name: str) -> Callable[[Function], Function]:
    """Add the function to OPERATIONS under this name."""

    def add(function: Function) -> Function:
        OPERATIONS.append(Operation(name, function))
        return function

    return add


# Set and get
# ------------------------------------------------------------------------------


@operation("set, get: int")
def _set_int(check: Context) -> None:
    key = check.key()
    check.cache.set(key, 1)
    check.expect_value(key, 1)


@operation("set, get: str")
def _set_str(check: Context) -> None:
    key = check.key()
    check.cache.set(key, "1", TIMEOUT)
    check.expect_value(key, "1")


@operation("set, get: dict")
def _set_dict(check: Context) -> None:
    key = check.key()
    check.cache.set(key, {"a": 1, "b": 2, "c": None}, TIMEOUT)
    check.expect_value(key, {"a": 1, "b": 2, "c": None})


@operation("set: an existing key")
def _set_existing(check: Context) -> None:
    key = check.key()
    check.cache.set(key, 1, TIMEOUT)
    check.cache.set(key, "1", TIMEOUT)
    check.expect_value(key, "1")


@operation("set, get: None, bool, float, bytes, list")
def _set_plain_values(check: Context) -> None:
    for value in (None, True, 1.5, b"\x00\xff", [1, [2, None]]):
        key = check.key()
        check.cache.set(key, value, TIMEOUT)
        check.expect_value(key, value)


@operation("set, get: datetime, Decimal, tuple, set")
def _set_pickled_values(check: Context) -> None:
    moment = datetime.datetime(2024, 2, 29, 12, 30, tzinfo=datetime.timezone.utc)
    for value in (moment, Decimal("0.10"), (1, (2, None)), {1, 2, 3}):
        key = check.key()
        check.cache.set(key, value, TIMEOUT)
        check.expect_value(key, value)


@operation("set, get: Unicode key and value")
def _set_unicode(check: Context) -> None:
    key = check.key("clé-ключ-鍵")
    check.cache.set(key, "naïve Ünïcode, 日本語, 🗝", TIMEOUT)
    check.expect_value(key, "naïve Ünïcode, 日本語, 🗝")


@operation("set, get: 100 kB")
def _set_long_value(check: Context) -> None:
    key = check.key()
    value = "0123456789" * 10_000
    check.cache.set(key, value, TIMEOUT)
    check.expect_value(key, value)


@operation("get: the same value from every server")
def _get_from_every_server(check: Context) -> None:
    key = check.key()
    check.cache.set(key, "same", TIMEOUT)
    times = READS_PER_SERVER * max(1, len(check.alias.servers))
    check.expect(lambda: check.cache.get(key), "same", times=times)


@operation("get: a missing key is None")
def _get_missing(check: Context) -> None:
    key = check.key("non-exists-key")
    check.expect(lambda: check.cache.get(key), None)


@operation("get: a missing key gives the default")
def _get_default(check: Context) -> None:
    key = check.key("non-exists-key")
    check.expect(lambda: check.cache.get(key, "default value"), "default value")


@operation("get_or_set: an existing key")
def _get_or_set_existing(check: Context) -> None:
    key = check.key()
    value = {"a": 1, "b": 2, "c": None}
    check.cache.set(key, value, TIMEOUT)
    check.expect(lambda: check.cache.get_or_set(key, 2, TIMEOUT), value)


@operation("get_or_set: a missing key")
def _get_or_set_missing(check: Context) -> None:
    key = check.key("non-exists-key")
    check.equal(check.cache.get_or_set(key, 2, TIMEOUT), 2)
    check.expect_value(key, 2)


@operation("get_or_set: a callable")
def _get_or_set_callable(check: Context) -> None:
    key = check.key()
    check.equal(check.cache.get_or_set(key, lambda: "called", TIMEOUT), "called")
    check.expect_value(key, "called")


# Add, delete, has_key
# ------------------------------------------------------------------------------


@operation("add: a missing key")
def _add_missing(check: Context) -> None:
    key = check.key()
    check.equal(check.cache.add(key, "added", TIMEOUT), True)
    check.expect_value(key, "added")


@operation("add: an existing key stays as it is")
def _add_existing(check: Context) -> None:
    key = check.key()
    check.cache.set(key, "first", TIMEOUT)
    check.equal(check.cache.add(key, "second", TIMEOUT), False)
    check.expect_value(key, "first")


@operation("delete")
def _delete(check: Context) -> None:
    key = check.key()
    check.cache.set(key, 1, TIMEOUT)
    check.equal(check.cache.delete(key), True)
    check.expect_missing(key)


@operation("delete: a missing key")
def _delete_missing(check: Context) -> None:
    key = check.key()
    check.equal(check.cache.delete(key), False)


@operation("has_key")
def _has_key(check: Context) -> None:
    key = check.key()
    check.expect(lambda: check.cache.has_key(key), False)
    check.cache.set(key, None, TIMEOUT)
    check.expect(lambda: check.cache.has_key(key), True)


@operation("key in cache")
def _contains(check: Context) -> None:
    key = check.key()
    check.expect(lambda: key in check.cache, False)
    check.cache.set(key, None, TIMEOUT)
    check.expect(lambda: key in check.cache, True)


# Incr, decr
# ------------------------------------------------------------------------------


@operation("incr")
def _incr(check: Context) -> None:
    key = check.key("num")
    check.cache.set(key, 1)
    check.equal(check.cache.incr(key), 2)
    check.expect_value(key, 2)


@operation("incr: by 10")
def _incr_delta(check: Context) -> None:
    key = check.key("num")
    check.cache.set(key, 2)
    check.equal(check.cache.incr(key, 10), 12)
    check.expect_value(key, 12)


@operation("decr")
def _decr(check: Context) -> None:
    key = check.key("num")
    check.cache.set(key, 12)
    check.equal(check.cache.decr(key), 11)
    check.expect_value(key, 11)


@operation("decr: by 5")
def _decr_delta(check: Context) -> None:
    key = check.key("num")
    check.cache.set(key, 11)
    check.equal(check.cache.decr(key, 5), 6)
    check.expect_value(key, 6)


@operation("decr: below zero")
def _decr_below_zero(check: Context) -> None:
    key = check.key("num")
    check.cache.set(key, 0)
    check.equal(check.cache.decr(key, 5), -5)
    check.expect_value(key, -5)


@operation("incr: a missing key is a ValueError")
def _incr_missing(check: Context) -> None:
    key = check.key("num")
    check.equal(_raises_value_error(check.cache.incr, key), True)


@operation("decr: a missing key is a ValueError")
def _decr_missing(check: Context) -> None:
    key = check.key("num")
    check.equal(_raises_value_error(check.cache.decr, key), True)


def _raises_value_error(call: Callable[[str], object], key: str) -> bool:
    try:
        call(key)
    except ValueError:
        return True
    return False


# Many keys
# ------------------------------------------------------------------------------


def _many(check: Context) -> OrderedDict[str, int | None]:
    return OrderedDict([(check.key("a"), 1), (check.key("b"), 2), (check.key("c"), None)])


@operation("set_many, get_many")
def _set_many(check: Context) -> None:
    data = _many(check)
    # Of a backend that has nothing to tell (django-redis) the result is None.
    check.equal(check.cache.set_many(data) or [], [])
    check.expect(lambda: check.cache.get_many(list(data)), data)


@operation("get_many: missing keys are left out")
def _get_many_missing(check: Context) -> None:
    key, missing = check.key("a"), check.key("b")
    check.cache.set_many({key: 1}, TIMEOUT)
    check.expect(lambda: check.cache.get_many([key, missing]), {key: 1})


@operation("delete_many")
def _delete_many(check: Context) -> None:
    data, kept = _many(check), check.key("kept")
    check.cache.set_many({**data, kept: 1}, TIMEOUT)
    check.cache.delete_many(list(data))
    check.expect(lambda: check.cache.get_many([*data, kept]), {kept: 1})


# Timeouts
# ------------------------------------------------------------------------------


@operation("set: timeout 0 stores nothing")
def _timeout_zero(check: Context) -> None:
    key = check.key()
    check.cache.set(key, 1, TIMEOUT)
    check.cache.set(key, 2, 0)
    check.expect_missing(key)


@operation("set: timeout None stays")
def _timeout_none(check: Context) -> Waiting:
    key = check.key()
    check.cache.set(key, 1, None)
    yield AFTER_EXPIRY
    check.expect_value(key, 1)


@operation("set: timeout 60 stays")
def _timeout_long(check: Context) -> Waiting:
    key = check.key()
    check.cache.set(key, 1, TIMEOUT)
    yield AFTER_EXPIRY
    check.expect_value(key, 1)


@operation("set: timeout 1 expires")
def _timeout_expires(check: Context) -> Waiting:
    key = check.key()
    start = time.monotonic()
    check.cache.set(key, 1, EXPIRY)
    _expect_until_expiry(check, {key: 1}, start)
    yield EXPIRY
    _expect_expired(check, [key], start)


@operation("add: timeout 1 expires")
def _add_expires(check: Context) -> Waiting:
    key = check.key()
    start = time.monotonic()
    check.cache.add(key, 1, EXPIRY)
    _expect_until_expiry(check, {key: 1}, start)
    yield EXPIRY
    _expect_expired(check, [key], start)


@operation("set_many: timeout 1 expires")
def _set_many_expires(check: Context) -> Waiting:
    data = _many(check)
    start = time.monotonic()
    check.cache.set_many(data, EXPIRY)
    _expect_until_expiry(check, data, start)
    yield EXPIRY
    _expect_expired(check, list(data), start)


@operation("incr: the timeout stays")
def _incr_expires(check: Context) -> Waiting:
    key = check.key("num")
    start = time.monotonic()
    check.cache.set(key, 1, EXPIRY)
    try:
        check.cache.incr(key)
    except ValueError:
        _skip_if_expired(start)
        raise
    yield EXPIRY
    _expect_expired(check, [key], start)


@operation("touch")
def _touch(check: Context) -> Waiting:
    key = check.key()
    start = time.monotonic()
    check.cache.set(key, 1, EXPIRY)
    _expect_touched(check, key, TIMEOUT, start)
    yield AFTER_EXPIRY
    check.expect_value(key, 1)


@operation("touch: timeout None stays")
def _touch_none(check: Context) -> Waiting:
    key = check.key()
    start = time.monotonic()
    check.cache.set(key, 1, EXPIRY)
    _expect_touched(check, key, None, start)
    yield AFTER_EXPIRY
    check.expect_value(key, 1)


@operation("touch: timeout 1 expires")
def _touch_expires(check: Context) -> Waiting:
    key = check.key()
    check.cache.set(key, 1, TIMEOUT)
    start = time.monotonic()
    check.equal(check.cache.touch(key, EXPIRY), True)
    yield EXPIRY
    _expect_expired(check, [key], start)


@operation("touch: a missing key")
def _touch_missing(check: Context) -> None:
    key = check.key()
    check.equal(check.cache.touch(key, TIMEOUT), False)


def _expect_until_expiry(check: Context, data: dict[str, int | None], start: float) -> None:
    """Expect the data, unless its timeout is over already: on a machine that slow nothing is proven either way."""
    try:
        check.expect(lambda: check.cache.get_many(list(data)), data)
    except MismatchError:
        _skip_if_expired(start)
        raise


def _expect_touched(check: Context, key: str, timeout: int | None, start: float) -> None:
    try:
        check.equal(check.cache.touch(key, timeout), True)
    except MismatchError:
        _skip_if_expired(start)
        raise


def _expect_expired(check: Context, keys: list[str], start: float) -> None:
    """Expect none of the keys, at the latest EXPIRY_WAIT after their time. All operations wait at the same time."""
    wait = max(0.0, start + EXPIRY + EXPIRY_WAIT - time.monotonic())
    check.expect(lambda: check.cache.get_many(keys), {}, wait=wait)


def _skip_if_expired(start: float) -> None:
    if time.monotonic() - start >= EXPIRY:
        raise SkipError(f"took longer than the timeout of {EXPIRY} s that it tests")


# Versions
# ------------------------------------------------------------------------------


@operation("version: each has its own value")
def _version(check: Context) -> None:
    key = check.key()
    check.cache.set(key, "other", TIMEOUT, version=check.other_version)
    check.expect_value(key, "other", version=check.other_version)
    check.expect_missing(key)
    check.cache.set(key, "own", TIMEOUT)
    check.expect_value(key, "own")
    check.expect_value(key, "other", version=check.other_version)


@operation("incr_version")
def _incr_version(check: Context) -> None:
    key = check.key()
    check.cache.set(key, 1, TIMEOUT)
    check.equal(check.retry(lambda: check.cache.incr_version(key), ValueError), check.other_version)
    check.expect_value(key, 1, version=check.other_version)
    check.expect_missing(key)


@operation("decr_version")
def _decr_version(check: Context) -> None:
    key = check.key()
    check.cache.set(key, 1, TIMEOUT, version=check.other_version)
    moved_to = check.retry(lambda: check.cache.decr_version(key, version=check.other_version), ValueError)
    check.equal(moved_to, check.cache.version)
    check.expect_value(key, 1)
    check.expect_missing(key, version=check.other_version)


# Sessions
# ------------------------------------------------------------------------------


class _Session(SessionStore):
    """A session in the alias's cache, whatever SESSION_CACHE_ALIAS says, under keys of this run."""

    def __init__(self, check: Context, session_key: str | None = None) -> None:
        # Not SessionStore's: it opens the cache of SESSION_CACHE_ALIAS.
        SessionBase.__init__(self, session_key)
        self._cache = check.cache
        self._check = check
        self.cache_key_prefix = f"{check.prefix}-session-"

    def _get_new_session_key(self) -> str:
        """Return a session key that is known, for its deletion, before anything is saved under it."""
        if self.session_key is not None:
            # add() refused the first one. Django's create() would go on to try ten thousand.
            raise MismatchError(True, False)
        session_key = uuid.uuid4().hex
        self._check.keys.append(f"{self.cache_key_prefix}{session_key}")
        return session_key


def _new_session(check: Context) -> str:
    """Save a session with {'user': 'first'} in it. Return its session key."""
    session = _Session(check)
    session["user"] = "first"
    session.save()
    return str(session.session_key)


def _load(check: Context, session_key: str) -> dict[str, Any]:
    return dict(_Session(check, session_key).load())


@operation("session: save, load")
def _session_save(check: Context) -> None:
    key = _new_session(check)
    check.expect(lambda: _Session(check, key).exists(key), True)
    check.expect(lambda: _load(check, key), {"user": "first"})


@operation("session: change")
def _session_change(check: Context) -> None:
    key = _new_session(check)
    check.expect(lambda: _load(check, key), {"user": "first"})

    def change() -> None:
        session = _Session(check, key)
        session["user"] = "second"
        if session.session_key is None:
            # Not found, thus on a replica that lags: to save it now would make a new session.
            raise UpdateError
        session.save()

    check.retry(change, UpdateError)
    check.expect(lambda: _load(check, key), {"user": "second"})


@operation("session: delete")
def _session_delete(check: Context) -> None:
    key = _new_session(check)
    _Session(check).delete(key)
    check.expect(lambda: _Session(check).exists(key), False)
    check.expect(lambda: _load(check, key), {})


# The asynchronous API
# ------------------------------------------------------------------------------


@operation("aset, aget")
async def _aset(check: Context) -> None:
    key, missing = check.key(), check.key("non-exists-key")
    await check.cache.aset(key, {"a": 1}, TIMEOUT)
    await check.aexpect(lambda: check.cache.aget(key), {"a": 1})
    await check.aexpect(lambda: check.cache.aget(missing, "default value"), "default value")


@operation("aadd")
async def _aadd(check: Context) -> None:
    key = check.key()
    check.equal(await check.cache.aadd(key, "first", TIMEOUT), True)
    check.equal(await check.cache.aadd(key, "second", TIMEOUT), False)
    await check.aexpect(lambda: check.cache.aget(key), "first")


@operation("aget_or_set")
async def _aget_or_set(check: Context) -> None:
    key = check.key()
    check.equal(await check.cache.aget_or_set(key, 2, TIMEOUT), 2)
    await check.aexpect(lambda: check.cache.aget_or_set(key, 3, TIMEOUT), 2)


@operation("ahas_key")
async def _ahas_key(check: Context) -> None:
    key = check.key()
    await check.aexpect(lambda: check.cache.ahas_key(key), False)
    await check.cache.aset(key, 1, TIMEOUT)
    await check.aexpect(lambda: check.cache.ahas_key(key), True)


@operation("atouch")
async def _atouch(check: Context) -> None:
    key = check.key()
    check.equal(await check.cache.atouch(key, TIMEOUT), False)
    await check.cache.aset(key, 1, TIMEOUT)
    check.equal(await check.cache.atouch(key, TIMEOUT), True)


@operation("adelete")
async def _adelete(check: Context) -> None:
    key = check.key()
    await check.cache.aset(key, 1, TIMEOUT)
    await check.cache.adelete(key)
    await check.aexpect(lambda: check.cache.aget(key), None)


@operation("aincr")
async def _aincr(check: Context) -> None:
    key = check.key("num")
    await check.cache.aset(key, 1, TIMEOUT)
    check.equal(await check.aretry(lambda: check.cache.aincr(key, 10), ValueError), 11)


@operation("adecr")
async def _adecr(check: Context) -> None:
    key = check.key("num")
    await check.cache.aset(key, 11, TIMEOUT)
    check.equal(await check.aretry(lambda: check.cache.adecr(key, 5), ValueError), 6)


@operation("aset_many, aget_many")
async def _aset_many(check: Context) -> None:
    data = _many(check)
    await check.cache.aset_many(data, TIMEOUT)
    await check.aexpect(lambda: check.cache.aget_many(list(data)), data)


@operation("adelete_many")
async def _adelete_many(check: Context) -> None:
    data = _many(check)
    await check.cache.aset_many(data, TIMEOUT)
    await check.cache.adelete_many(list(data))
    await check.aexpect(lambda: check.cache.aget_many(list(data)), {})


@operation("aincr_version")
async def _aincr_version(check: Context) -> None:
    key = check.key()
    await check.cache.aset(key, 1, TIMEOUT)
    check.equal(await check.aretry(lambda: check.cache.aincr_version(key), ValueError), check.other_version)
    await check.aexpect(lambda: check.cache.aget(key, version=check.other_version), 1)


@operation("adecr_version")
async def _adecr_version(check: Context) -> None:
    key = check.key()
    await check.cache.aset(key, 1, TIMEOUT, version=check.other_version)
    moved_to = await check.aretry(lambda: check.cache.adecr_version(key, version=check.other_version), ValueError)
    check.equal(moved_to, check.cache.version)
    await check.aexpect(lambda: check.cache.aget(key), 1)
