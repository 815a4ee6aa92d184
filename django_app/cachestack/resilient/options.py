"""What an entry of CACHES may say to these backends, checked as a whole before anything connects."""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from ..entries import Entry, Server
from ..option_rules import COMPRESSORS, CONNECTION, DATABASE, POLICY, SERIALIZERS, TCP, TLS
from .rules import INSTALLED

# Engines that keep sessions in a cache alone: what such a cache drops is lost.
CACHE_SESSIONS = "django.contrib.sessions.backends.cache"
# RESP2, because redis-py 8 would speak RESP3, which Redis 5 refuses.
# The timeouts are short, since a server that hangs must not make a page hang: one try of everything fits in a second.
CONNECTION_DEFAULTS = {"max_connections": 4096, "socket_connect_timeout": 0.3, "socket_timeout": 0.3, "protocol": 2}
# redis-py below 6 does not check the host name by default, and Python below 3.10 leaves the version to OpenSSL.
TLS_DEFAULTS = {
    "ssl_cert_reqs": "required",
    "ssl_check_hostname": True,
    "ssl_min_version": ssl.TLSVersion.TLSv1_2,
}


class WrongOptionsError(ImproperlyConfigured):
    """Every problem of an entry of CACHES; each names the alias, the option and the fix, and no password."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True)
class Options:
    """Everything that a client needs. Times are in seconds, `compress_from` is in bytes.

    `connection` holds the arguments of redis-py's connections without the address; it has the password.
    """

    alias: str
    servers: tuple[Server, ...]
    connection: Mapping[str, Any] = field(repr=False)
    read_from: str = "leader"
    read_your_writes: float = 1.0
    max_lag: float = 1.0
    on_error: str = "miss"
    retry_deadline: float = 0.5
    log_interval: float = 10.0
    serializer: Any = SERIALIZERS[0]
    compressor: str = COMPRESSORS[0]
    compress_from: int = 1024
    sentinels: tuple[tuple[str, int], ...] = ()
    sentinel_kwargs: Mapping[str, Any] = field(default_factory=dict, repr=False)


def parse(kind: str, location: Any, params: Mapping[str, Any], alias: str | None = None) -> Options:
    """Return the options of an entry of CACHES; `kind` is 'server', 'sentinel' or 'cluster'.

    Without `alias`, which Django does not tell its backends, it is looked up. Raises WrongOptionsError.
    """
    params = _beside_location(params)
    aliases = _aliases_of(kind, location, params) if alias is None else [alias]
    entry = Entry(kind, location, params, INSTALLED)
    if entry.problems:
        raise WrongOptionsError([f"CACHES[{_first(aliases)!r}]: {problem}" for problem in entry.problems])
    return _options(entry, aliases)


def _aliases_of(kind: str, location: Any, params: Mapping[str, Any]) -> list[str]:
    """Return the names under which settings.CACHES has this entry: none, one, or more that share a client."""
    found = []
    for name, entry in settings.CACHES.items():
        if entry.get("LOCATION", "") == location and _beside_location(entry) == params:
            with suppress(ImportError, KeyError):
                if getattr(import_string(entry["BACKEND"]), "kind", None) == kind:
                    found.append(str(name))
    return found


def _beside_location(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return what Django hands to a backend beside LOCATION; who makes one without Django may hand over all of it."""
    return {key: value for key, value in entry.items() if key not in ("BACKEND", "LOCATION")}


def _options(entry: Entry, aliases: Sequence[str]) -> Options:
    """The options of an entry without problems."""
    given, kwargs = entry.given, entry.sentinel_kwargs
    policy = {name: given[name] for name in POLICY if name in given}
    policy.setdefault("on_error", "raise" if _holds_sessions(aliases) else "miss")
    policy.setdefault("retry_deadline", _deadline(entry.kind, policy["on_error"]))
    if entry.kind == "sentinel":
        policy["sentinels"] = tuple((host, port) for host, port in given["sentinels"])
        timeouts = ("socket_timeout", "socket_connect_timeout", "protocol")
        defaults = {name: given.get(name, CONNECTION_DEFAULTS[name]) for name in timeouts}
        policy["sentinel_kwargs"] = _consistent_tls(
            {**defaults, **(TLS_DEFAULTS if kwargs.get("ssl") else {}), **kwargs}
        )
    return Options(_first(aliases), tuple(entry.servers), _connection(entry), **policy)


def _first(aliases: Sequence[str]) -> str:
    return aliases[0] if aliases else "?"


def _connection(entry: Entry) -> dict[str, Any]:
    first = entry.servers[0]
    connection: dict[str, Any] = {**CONNECTION_DEFAULTS, **(TLS_DEFAULTS if first.tls else {})}
    if entry.kind != "cluster":
        connection["db"] = first.db or 0
    if first.username:
        connection["username"] = first.username
    if first.password:
        connection["password"] = first.password
    rules = {**CONNECTION, **TCP, **TLS, **DATABASE}
    connection.update({name: value for name, value in entry.given.items() if name in rules})
    return _consistent_tls(connection)


def _deadline(kind: str, on_error: str) -> float:
    if on_error == "miss":
        return 0.5
    # Who would rather wait than lose something waits for a restart, or a failover where there is one.
    return 2.0 if kind == "server" else 10.0


def _holds_sessions(aliases: Sequence[str]) -> bool:
    return bool(settings.SESSION_ENGINE == CACHE_SESSIONS and settings.SESSION_CACHE_ALIAS in aliases)


def _consistent_tls(connection: dict[str, Any]) -> dict[str, Any]:
    """Return it without the check of the host name where no certificate is asked for: Python refuses the pair."""
    if connection.get("ssl_cert_reqs") == "none":
        connection["ssl_check_hostname"] = False
    return connection
