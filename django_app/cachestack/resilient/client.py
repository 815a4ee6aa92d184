"""Django's cache operations on a topology: each is tried until its deadline, then given up as the alias says."""

from __future__ import annotations

import functools
import math
import random
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import redis
from redis.exceptions import AskError

from .cluster import Clustered
from .codecs import Codec, UnreadableValueError
from .deadlines import GivenUp, ends_at, note
from .errors import (
    REDIS_ERRORS,
    CacheUnavailableError,
    DeadlineError,
    Meaning,
    OutcomeUnknownError,
    may_pass,
    meaning,
)
from .journal import Journal
from .options import Options
from .servers import Breaker, Command, Server, describe, error_name
from .topology import Topology

# In the background, since a large database would hold the server up.
FLUSH: Command = ("FLUSHDB", "ASYNC")

# What an operation returns that was given up where `on_error` is 'miss'.
DEGRADED: Any = object()
# What a look-up returns where there is no value.
MISSING: Any = object()
# Seconds between two tries: the first pause, and the longest.
FIRST_PAUSE, LONGEST_PAUSE = 0.01, 0.25
# Seconds after which one who waits for a server looks again by himself.
PATIENCE = 0.1
# Seconds for which a key that is missing is no mistake of the caller's after a write was given up.
GRACE = 5.0
# Answers MOVED and ASK that an operation follows at once.
MOST_REDIRECTS = 5


@dataclass(frozen=True)
class Way:
    """How an operation may be done.

    `write`: by the leader alone, and not where writes are refused. `leader`: a read that must not go to a replica.
    `repeat`: it may be sent again although it may have been done. `values`: its answers are values, found or missing.
    """

    write: bool = False
    leader: bool = False
    repeat: bool = True
    values: bool = False


READ, READ_LEADER, READ_VALUES = Way(), Way(leader=True), Way(values=True)
WRITE, WRITE_ONCE = Way(write=True), Way(write=True, repeat=False)


class Client:
    """One for each alias and process, shared by its threads and event loops.

    The methods are those that Django's RedisCache calls on its own client; keys are complete, timeouts are whole
    seconds or None for ever, and 0 deletes.
    """

    def __init__(self, options: Options, topology: Topology) -> None:
        self.options = options
        self.topology = topology
        self.journal = Journal(options.alias, options.log_interval)
        self._given_up_at = -math.inf
        self._codec = Codec(options.serializer, options.compressor, options.compress_from)

    def get_client(self, key: str | None = None, *, write: bool = False) -> redis.Redis:
        """Return redis-py's client for the server that has the key now, as Django's own client does."""
        self._call([("PING",)], key or "", WRITE if write else READ)
        return redis.Redis(connection_pool=self.topology.choose(key or "", write=write).pool)

    def add(self, key: str, value: Any, timeout: int | None) -> bool:
        """Store the value unless there is one. Return whether it was stored."""
        data = self._codec.encode(key, value)
        # A key that shall be gone at once was there nevertheless: it is deleted below.
        stored = self._one(("SET", key, data, *_expiry(1 if timeout == 0 else timeout), "NX"), WRITE_ONCE)
        if stored is DEGRADED or stored is None:
            return False
        if timeout == 0:
            self.delete(key)
        return True

    def get(self, key: str, default: Any) -> Any:
        """Return the value, or the default."""
        value = self.look_up(key)
        return default if value is MISSING or value is DEGRADED else value

    def look_up(self, key: str, way: Way = READ_VALUES) -> Any:
        """Return the value; MISSING if there is none that can be read, DEGRADED if no server could be asked."""
        data = self._one(("GET", key), way)
        if data is DEGRADED:
            return DEGRADED
        return MISSING if data is None else self._decode(key, data)

    def set(self, key: str, value: Any, timeout: int | None) -> None:
        """Store the value."""
        data = self._codec.encode(key, value)
        if timeout == 0:
            self.delete(key)
        else:
            self._one(("SET", key, data, *_expiry(timeout)), WRITE)

    def touch(self, key: str, timeout: int | None) -> bool:
        """Give the key another timeout. Return whether there is such a key."""
        if timeout is not None:
            return bool(self._one(("EXPIRE", key, timeout), WRITE) == 1)
        # PERSIST answers 0 for a key that had no timeout, too.
        done = self._one(("PERSIST", key), WRITE) == 1
        return bool(done or self._one(("EXISTS", key), READ_LEADER) == 1)

    def delete(self, key: str) -> bool:
        """Delete the key. Return whether there was one."""
        return bool(self._one(("DEL", key), WRITE) == 1)

    def get_many(self, keys: Iterable[str]) -> dict[str, Any]:
        """Return the values of those keys that have one."""
        found = {}
        for group in self.topology.group(list(keys), False):
            for key, data in zip(group, self._fetch(group)):
                value = MISSING if data is None else self._decode(key, data)
                if value is not MISSING:
                    found[key] = value
        return found

    def has_key(self, key: str) -> bool:
        """Tell whether there is such a key."""
        return bool(self._one(("EXISTS", key), READ) == 1)

    def incr(self, key: str, delta: int) -> int:
        """Add to a whole number and return the sum. Raise ValueError if there is no such key.

        Where it is given up, the sum is that of a counter that begins now.
        """
        found = self._one(("EXISTS", key), WRITE)
        if found == 0:
            if self.is_degraded:
                return delta
            raise ValueError(f"Key '{key}' not found.")
        total = found if found is DEGRADED else self._one(("INCRBY", key, delta), WRITE_ONCE)
        return total if isinstance(total, int) else delta

    @property
    def is_degraded(self) -> bool:
        """Tell whether something was given up just now: then a key can be missing because it could not be stored."""
        return time.monotonic() < self._given_up_at + GRACE

    def set_many(self, data: Mapping[str, Any], timeout: int | None) -> list[str]:
        """Store the values. Return the keys that were not stored."""
        encoded = {key: self._codec.encode(key, value) for key, value in data.items()}
        if timeout == 0:
            return self.delete_many(data)
        failed = []
        for group in self.topology.group(list(encoded), True):
            # Not MSET, after which a key could stay for ever without its timeout.
            commands: list[Command] = [("SET", key, encoded[key], *_expiry(timeout)) for key in group]
            failed += _given_up(group, self._each(commands, WRITE))
        return failed

    def delete_many(self, keys: Iterable[str]) -> list[str]:
        """Delete the keys. Return those that may still be there."""
        failed = []
        for group in self.topology.group(list(keys), True):
            failed += self._remove(group)
        return failed

    def clear(self) -> bool:
        """Delete every key of the database. Return whether that was done."""
        return self._call([FLUSH], "", WRITE) is not DEGRADED

    def ttl(self, key: str) -> int | None:
        """Return the seconds that the key has left, rounded up; None for ever, 0 if there is no such key."""
        left = self._one(("PTTL", key), READ)
        if left is DEGRADED or left == -2:
            return 0
        return None if left == -1 else math.ceil(left / 1000)

    def acquire(self, key: str, token: bytes, seconds: float) -> bool | None:
        """Store the token unless there is one, for so long. Return whether it was, None if no server could be asked."""
        milliseconds = max(1, int(seconds * 1000))
        taken = self._one(("SET", key, token, "PX", milliseconds, "NX"), WRITE_ONCE)
        return None if taken is DEGRADED else taken is not None

    def release(self, key: str, token: bytes, until: float) -> None:
        """Delete the key if it still has the token, and if that is done before `until` (time.monotonic).

        There is no command that does both, so it must be certain that nobody else can have stored his in between.
        """
        connection = self.options.connection
        server = self.topology.choose(key, write=True)
        latest = until - connection["socket_connect_timeout"] - connection["socket_timeout"]
        with suppress(*REDIS_ERRORS):
            if self._run(server, [("GET", key)], key) == [token] and time.monotonic() < latest:
                self._run(server, [("DEL", key)], key)

    def after_fork(self) -> None:
        """Forget what other threads of the parent process may have held."""
        self.journal.after_fork()
        self.topology.after_fork()

    # Operations on many keys that one server has. In a cluster they need other commands.

    def _fetch(self, keys: list[str]) -> Sequence[Any]:
        """Return the stored values, None for a key that has none or could not be asked for."""
        data = self._one(("MGET", *keys), READ_VALUES)
        return data if isinstance(data, list) else [None] * len(keys)

    def _remove(self, keys: list[str]) -> list[str]:
        """Delete the keys. Return those that may still be there."""
        return keys if self._call([("DEL", *keys)], keys[0], WRITE) is DEGRADED else []

    def _each(self, commands: list[Command], way: Way) -> list[Any]:
        """Run the commands, each on its key, all at once. Return the answers, DEGRADED for what was given up."""
        answers = self._call(commands, commands[0][1], way, errors=True)
        if answers is DEGRADED:
            return [DEGRADED] * len(commands)
        # Those that the node refused, as their slots have moved, go their own ways.
        return [
            self._one(command, way) if isinstance(answer, Exception) else answer
            for command, answer in zip(commands, answers)
        ]

    def _decode(self, key: str, data: bytes) -> Any:
        try:
            if not isinstance(data, bytes):
                raise UnreadableValueError("the server has answered with something else")
            return self._codec.decode(key, data)
        except UnreadableValueError as error:
            self.journal.note(f"a value was read as a miss: {error}")
            return MISSING

    def _one(self, command: Command, way: Way) -> Any:
        """Do as _call with one command, whose first argument is the key, and return its answer."""
        answers = self._call([command], command[1], way)
        return answers if answers is DEGRADED else answers[0]

    def _call(self, commands: list[Command], key: str, way: Way, *, errors: bool = False) -> Any:
        """Run the commands on the server that has the key, again until it works or the deadline is over.

        `errors`: an error of one command is its own answer alone. Returns the answers, or DEGRADED for an operation
        that was given up; where `on_error` is 'raise' that is a CacheUnavailableError. Raises the caller's mistakes.
        """
        if not way.write:
            return self._try(commands, key, way, errors)
        try:
            return self._try(commands, key, way, errors)
        finally:
            # Also what failed may have been done.
            self.topology.wrote()

    def _try(self, commands: list[Command], key: str, way: Way, errors: bool) -> Any:
        ends = ends_at()
        until = min(time.monotonic() + self.options.retry_deadline, ends)
        target: Server | None = None
        asking = prefer_leader = False
        redirects = tries = 0
        while True:
            server = target or self.topology.choose(key, write=way.write, leader=way.leader or prefer_leader)
            breaker = server.breaker(write=way.write)
            if breaker is not None and (reason := breaker.error) is not None:
                if not prefer_leader and not self._wait(breaker, until):
                    return self._give_up(server, reason)
                target, prefer_leader = None, False
                continue
            begun = time.monotonic()
            if begun >= ends:
                return self._give_up(server, DeadlineError("the deadline is over"))
            try:
                sent = [("ASKING",), *commands] if asking else commands
                answers = self._run(server, sent, key, surely=not way.repeat)
                if asking:
                    del answers[0]
                if not errors:
                    _raise_first(answers)
            except AskError as error:
                redirects += 1
                if redirects > MOST_REDIRECTS:
                    # The nodes do not agree yet.
                    if begun >= until:
                        return self._give_up(server, error)
                    _pause(redirects - MOST_REDIRECTS, until)
                # MOVED, its subclass, is for ever; ASK is for this once.
                target, asking = self.topology.redirect(error, server), type(error) is AskError
            except DeadlineError as error:
                server.count_error(error)
                return self._give_up(server, error, unknown=not way.repeat)
            except REDIS_ERRORS as error:
                means = meaning(error)
                if means is Meaning.WRONG_USE:
                    raise
                server.count_error(error)
                if means is Meaning.REFUSES:
                    return self._give_up(server, error)
                if means is not Meaning.CROWDED:
                    self.topology.failed(server, error, key, begun)
                if means is Meaning.SILENT and not way.repeat:
                    return self._give_up(server, error, unknown=True)
                # A replica that fails may be one of several: the leader is asked before all of them are tried.
                target, asking, prefer_leader = None, False, server is not self.topology.choose(key, write=True)
                if time.monotonic() >= until and not prefer_leader:
                    return self._give_up(server, error)
                tries += 1
                _pause(tries, until)
            else:
                server.count(time.monotonic() - begun, *(_count_values(answers) if way.values else ()))
                return answers

    def _run(self, server: Server, commands: Sequence[Command], key: str, *, surely: bool = False) -> list[Any]:
        """Do as Server.run. Raise DeadlineError if a deadline is over before the server has answered."""
        ends = ends_at()
        if ends == math.inf:
            return server.run(commands, surely=surely)
        begun = time.monotonic()
        outcome: Future[list[Any]] = Future()
        thread = threading.Thread(target=_fulfil, args=(outcome, server, commands, surely), daemon=True)
        try:
            thread.start()
        except RuntimeError:
            # Without threads, or while the interpreter shuts down, it takes what it takes.
            return server.run(commands, surely=surely)
        wait([outcome], max(0.0, ends - begun))
        if not outcome.done():
            outcome.add_done_callback(functools.partial(self._learn, server, key, begun))
            raise DeadlineError("no answer before the deadline was over")
        return outcome.result()

    def _learn(self, server: Server, key: str, begun: float, outcome: Future[list[Any]]) -> None:
        """Note what came of commands whose caller has not waited for it: the next one need not find that out."""
        error = outcome.exception()
        if isinstance(error, REDIS_ERRORS) and meaning(error) in (Meaning.SILENT, Meaning.AWAY):
            self.topology.failed(server, error, key, begun)

    def _wait(self, breaker: Breaker, until: float) -> bool:
        """Wait a moment for a server that is away. Return False if there is no time left for it."""
        if self.topology.wrong is not None:
            raise self.topology.wrong
        self.topology.tick()
        # Who comes when it has been away for that long does not wait at all.
        known = breaker.since + self.options.retry_deadline if breaker.is_recent else until
        left = min(until, known) - time.monotonic()
        if left > 0:
            self.topology.wait(min(left, PATIENCE))
        return left > 0

    def _give_up(self, server: Server, error: Exception, *, unknown: bool = False) -> Any:
        """Count and log it, and return DEGRADED; or raise, where the alias says so."""
        server.count_degraded()
        note(GivenUp(self.options.alias, error_name(error), may_pass(error)))
        reason = describe(error)
        if self.options.on_error == "miss":
            self._given_up_at = time.monotonic()
            self.journal.note(f"an operation was given up for {server.name}: {reason}")
            return DEGRADED
        if unknown:
            raise OutcomeUnknownError(f"{server.name} may have done it or not: {reason}") from error
        if meaning(error) is Meaning.REFUSES:
            raise error
        raise CacheUnavailableError(f"{server.name} is away: {reason}") from error


class ClusterClient(Client):
    """The same on a Redis Cluster, where keys that one node has are still in several slots: a command for each key."""

    topology: Clustered

    def clear(self) -> bool:
        """Delete every key of every primary. Return whether that was done."""
        # Makes sure that the nodes are known.
        self._call([("PING",)], "", READ)
        keys = self.topology.primaries().values()
        cleared = [self._call([FLUSH], key, WRITE) for key in keys]
        return bool(cleared) and DEGRADED not in cleared

    def _fetch(self, keys: list[str]) -> list[Any]:
        answers = self._each([("GET", key) for key in keys], READ_VALUES)
        return [None if answer is DEGRADED else answer for answer in answers]

    def _remove(self, keys: list[str]) -> list[str]:
        return _given_up(keys, self._each([("DEL", key) for key in keys], WRITE))


def _fulfil(outcome: Future[list[Any]], server: Server, commands: Sequence[Command], surely: bool) -> None:
    """Run the commands for somebody who may not wait for the outcome."""
    try:
        answers = server.run(commands, surely=surely)
    except BaseException as error:
        outcome.set_exception(error)
    else:
        outcome.set_result(answers)


def _given_up(keys: list[str], answers: list[Any]) -> list[str]:
    """Return the keys whose commands were given up."""
    return [key for key, answer in zip(keys, answers) if answer is DEGRADED]


def _expiry(timeout: int | None) -> tuple[Any, ...]:
    """Return the arguments of SET that say so."""
    return () if timeout is None else ("EX", timeout)


def _raise_first(answers: Sequence[Any]) -> None:
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer


def _count_values(answers: Sequence[Any]) -> tuple[int, int]:
    """Return how many values there are in the answers to GET, or in that to MGET, and how many are missing."""
    values = answers[0] if isinstance(answers[0], list) else answers
    missing = values.count(None)
    return sum(not isinstance(value, Exception) for value in values) - missing, missing


def _pause(tries: int, until: float) -> None:
    """Wait a little longer after each try, with jitter, and not beyond the deadline."""
    pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (tries - 1)) * random.uniform(0.5, 1.0)
    time.sleep(max(0.0, min(pause, until - time.monotonic())))
