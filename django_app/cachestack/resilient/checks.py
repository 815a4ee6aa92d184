"""What `manage.py check` says about aliases of these backends: first their options, then who is at the addresses."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Optional

import redis
from django.conf import settings
from django.core import checks
from redis import exceptions

from ..entries import Server
from .errors import REDIS_ERRORS
from .options import CACHE_SESSIONS, Options, WrongOptionsError, parse
from .servers import make_pool

Question = Callable[[], Optional[checks.CheckMessage]]

# How many addresses are asked at once: a few that hang must not add up.
MOST_THREADS = 16
# redis-py's classes for credentials that a server does not take, or not for this.
_REFUSED = (
    exceptions.AuthenticationError,
    exceptions.AuthenticationWrongNumberOfArgsError,
    exceptions.AuthorizationError,
    exceptions.NoPermissionError,
)


@dataclass(frozen=True)
class Alias:
    """An entry of CACHES that can be read."""

    name: str
    kind: str
    entry: Mapping[str, Any]
    options: Options

    @property
    def places(self) -> set[str]:
        """Return what tells where its values are: two aliases with one in common have the same servers."""
        names = [server.name for server in self.options.servers]
        if self.kind == "sentinel":
            return {f"{names[0]} {host.lower()}:{port}" for host, port in self.options.sentinels}
        # Of a leader and its replicas, the leader.
        return set(names if self.kind == "cluster" else names[:1])

    @property
    def keys(self) -> tuple[Any, ...]:
        """Return what else decides the name of a value."""
        words = (self.entry.get("KEY_PREFIX", ""), self.entry.get("VERSION", 1), self.entry.get("KEY_FUNCTION"))
        return (self.kind, self.options.connection.get("db", 0), *words)

    @property
    def writes(self) -> tuple[Any, str]:
        """Return what decides how a value is written."""
        return self.options.serializer, self.options.compressor


def check_entries(entries: Iterable[tuple[str, str, Mapping[str, Any]]]) -> list[checks.CheckMessage]:
    """Return what is wrong with these aliases, each with the kind of its backend and what CACHES says about it.

    The Sentinels and nodes of those that can be read are asked who they are, with the timeouts of the alias.
    """
    found: list[checks.CheckMessage] = []
    aliases = []
    for name, kind, entry in entries:
        try:
            options = parse(kind, entry.get("LOCATION", ""), entry, name)
        except WrongOptionsError as error:
            found += [checks.Error(problem, id="cachestack.E001") for problem in error.problems]
        else:
            aliases.append(Alias(name, kind, entry, options))
    found += filter(None, map(_check_sessions, aliases))
    found += filter(None, itertools.starmap(_check_pair, itertools.combinations(aliases, 2)))
    questions = [question for alias in aliases for question in _questions(alias)]
    if questions:
        with ThreadPoolExecutor(MOST_THREADS) as threads:
            found += filter(None, threads.map(lambda question: question(), questions))
    return found


def _check_sessions(alias: Alias) -> checks.CheckMessage | None:
    if settings.SESSION_ENGINE != CACHE_SESSIONS or alias.name != settings.SESSION_CACHE_ALIAS:
        return None
    # Where nothing is said about it, it is 'raise'.
    if alias.options.on_error == "raise":
        return None
    return checks.Warning(
        f"CACHES[{alias.name!r}]: OPTIONS['on_error'] is 'miss', but SESSION_ENGINE keeps the sessions in this alias "
        f"alone: while its server is away everybody is logged out without a word, and nobody can log in.",
        hint="Remove on_error, or write 'raise'.",
        id="cachestack.W001",
    )


def _check_pair(one: Alias, other: Alias) -> checks.CheckMessage | None:
    if one.keys != other.keys or not one.places & other.places or one.writes == other.writes:
        return None
    return checks.Warning(
        f"CACHES[{one.name!r}] and CACHES[{other.name!r}] have the same server, db, KEY_PREFIX and VERSION, but "
        f"another serializer or compressor: each reads as a miss what the other one wrote.",
        hint="Write another KEY_PREFIX, or the same serializer and compressor.",
        id="cachestack.W002",
    )


def _questions(alias: Alias) -> Iterator[Question]:
    """Yield what has to be asked about the addresses of an alias."""
    options = alias.options
    if alias.kind == "sentinel":
        for host, port in options.sentinels:
            yield functools.partial(_ask_sentinel, alias, host, port)
    if alias.kind == "cluster":
        for server in options.servers:
            yield functools.partial(_ask_node, alias, server)


def _ask_sentinel(alias: Alias, host: str, port: int) -> checks.CheckMessage | None:
    connection = dict(alias.options.sentinel_kwargs)
    address = {"host": host, "port": port, "tls": connection.pop("ssl", False)}
    answer = _ask(redis.Redis(connection_pool=make_pool(address, connection)), "SENTINEL MASTERS")
    where, service = f"CACHES[{alias.name!r}]: OPTIONS['sentinels'] has {host}:{port}", alias.options.servers[0].name
    if isinstance(answer, _REFUSED):
        return checks.Error(
            f"{where}, which refuses the user name and password for SENTINEL MASTERS.",
            hint="Write username and password of the Sentinels in OPTIONS['sentinel_kwargs']; or this is a data node, "
            "and the port of the Sentinels is mostly 26379.",
            id="cachestack.E004",
        )
    if isinstance(answer, redis.ResponseError) and "unknown command" in str(answer).lower():
        return checks.Error(
            f"{where}, which is a data node and no Sentinel.",
            hint="Write the addresses of the Sentinels; their port is mostly 26379.",
            id="cachestack.E002",
        )
    if isinstance(answer, dict) and service not in answer:
        known = ", ".join(repr(str(name)) for name in sorted(answer)) or "none"
        return checks.Error(
            f"CACHES[{alias.name!r}]: LOCATION has the service {service!r}, which the Sentinel {host}:{port} does not "
            f"watch. It watches: {known}.",
            hint="Write redis:// and the name of one that it watches; capital letters count.",
            id="cachestack.E003",
        )
    return None


def _ask_node(alias: Alias, server: Server) -> checks.CheckMessage | None:
    address = {"host": server.host, "port": server.port, "tls": server.tls}
    answer = _ask(redis.Redis(connection_pool=make_pool(address, alias.options.connection)), "CLUSTER SLOTS")
    where = f"CACHES[{alias.name!r}]: LOCATION has {server.name}"
    if isinstance(answer, _REFUSED):
        return checks.Error(
            f"{where}, which refuses the user name and password for CLUSTER SLOTS.",
            hint="Write username and password in OPTIONS.",
            id="cachestack.E004",
        )
    words = ("cluster support disabled", "unknown command")
    if isinstance(answer, redis.ResponseError) and any(word in str(answer).lower() for word in words):
        return checks.Error(
            f"{where}, which is no node of a Redis Cluster.",
            hint="Write the addresses of nodes, or BACKEND 'cachestack.resilient.RedisCache'.",
            id="cachestack.E005",
        )
    return None


def _ask(client: Any, command: str) -> Any:
    """Return the answer, or the error; a server that is away says nothing about the settings."""
    try:
        return client.execute_command(command)
    except REDIS_ERRORS as error:
        return error
    finally:
        client.connection_pool.disconnect()
