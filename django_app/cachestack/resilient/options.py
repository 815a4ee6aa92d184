"""What an entry of CACHES may say to these backends, checked as a whole before anything connects."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Optional
from urllib.parse import parse_qsl, unquote, urlsplit

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from .codecs import COMPRESSORS, SERIALIZERS

# A rule takes a value and returns what is wrong with it, or None.
Rule = Callable[[Any], Optional[str]]

SCHEMES = ("redis", "rediss", "unix")
DEFAULT_PORT = 6379
# Engines that keep sessions in a cache alone: what such a cache drops is lost.
CACHE_SESSIONS = "django.contrib.sessions.backends.cache"


def _number(*, least: float = 0.0, above: bool = False, whole: bool = False) -> Rule:
    def rule(value: Any) -> str | None:
        kind = "a whole number" if whole else "a number"
        if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
            return f"must be {kind}, without quotes"
        if value < least or (above and value == least):
            return f"must be {kind} {'above' if above else 'of at least'} {least:g}"
        return None

    return rule


def _text(value: Any) -> str | None:
    return None if isinstance(value, str) else "must be text"


def _boolean(value: Any) -> str | None:
    return None if isinstance(value, bool) else "must be True or False, without quotes"


def _mapping(value: Any) -> str | None:
    return None if isinstance(value, Mapping) else "must be a dict"


def _any(_value: Any) -> str | None:
    return None


def _choice(*choices: Any) -> Rule:
    def rule(value: Any) -> str | None:
        if value in choices and not isinstance(value, bool):
            return None
        close = difflib.get_close_matches(str(value), [str(choice) for choice in choices], 1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        return f"must be {' or '.join(repr(choice) for choice in choices)}{hint}"

    return rule


def _serializer(value: Any) -> str | None:
    if isinstance(value, str) and "." not in value:
        return _choice(*SERIALIZERS)(value)
    try:
        found = import_string(value) if isinstance(value, str) else value
    except ImportError as error:
        return f"cannot be imported: {error}"
    if not (callable(getattr(found, "dumps", None)) and callable(getattr(found, "loads", None))):
        return "must have the methods dumps and loads"
    return None


def _compressor(value: Any) -> str | None:
    wrong = _choice(*COMPRESSORS)(value)
    if wrong:
        return wrong
    try:
        COMPRESSORS[value].load()
    except ImportError:
        return f"needs a package that is not installed: pip install {COMPRESSORS[value].package}"
    return None


def _sentinels(value: Any) -> str | None:
    if isinstance(value, str) or not isinstance(value, Sequence) or not value:
        return "must be a list of (host, port) pairs"
    for pair in value:
        if isinstance(pair, str) or not isinstance(pair, Sequence) or len(pair) != 2:
            return f"has {pair!r}, which is no pair (host, port)"
        host, port = pair
        if not isinstance(host, str) or not host:
            return f"has {pair!r}, whose host is no name"
        if isinstance(port, bool) or not isinstance(port, int) or not 0 < port < 65536:
            return f"has {pair!r}, whose port is no number between 1 and 65535"
    if len({tuple(pair) for pair in value}) < len(value):
        return "has the same Sentinel twice"
    return None


# Arguments of redis-py's connections. https://redis.readthedocs.io/en/stable/connections.html
CONNECTION: dict[str, Rule] = {
    "username": _text,
    "password": _text,
    "client_name": _text,
    "max_connections": _number(least=1, whole=True),
    "socket_timeout": _number(above=True),
    "socket_connect_timeout": _number(above=True),
    "health_check_interval": _number(),
    "protocol": _choice(2, 3),
}
TCP: dict[str, Rule] = {"socket_keepalive": _boolean, "socket_keepalive_options": _mapping}
TLS: dict[str, Rule] = {
    "ssl_ca_certs": _text,
    "ssl_ca_data": _text,
    "ssl_ca_path": _text,
    "ssl_cert_reqs": _choice("required", "optional", "none"),
    "ssl_certfile": _text,
    "ssl_check_hostname": _boolean,
    "ssl_ciphers": _text,
    "ssl_keyfile": _text,
    "ssl_min_version": _any,
    "ssl_password": _text,
}
POLICY: dict[str, Rule] = {
    "read_from": _choice("leader", "replicas"),
    "read_your_writes": _number(),
    "max_lag": _number(above=True),
    "on_error": _choice("miss", "raise"),
    "retry_deadline": _number(),
    "log_interval": _number(),
    "serializer": _serializer,
    "compressor": _compressor,
    "compress_from": _number(whole=True),
}
DATABASE: dict[str, Rule] = {"db": _number(whole=True)}
SENTINEL: dict[str, Rule] = {"sentinels": _sentinels, "sentinel_kwargs": _mapping}

# RESP2, because redis-py 8 would speak RESP3, which Redis 5 refuses.
# The timeouts are short, since a server that hangs must not make a page hang: one try of everything fits in a second.
CONNECTION_DEFAULTS = {"max_connections": 4096, "socket_connect_timeout": 0.3, "socket_timeout": 0.3, "protocol": 2}
# redis-py below 6 does not check the host name by default.
TLS_DEFAULTS = {"ssl_cert_reqs": "required", "ssl_check_hostname": True}

# What people bring along from other backends, and what to write instead.
FOREIGN = {
    "MAX_ENTRIES": "Redis is bounded by its own maxmemory",
    "CULL_FREQUENCY": "Redis evicts by its own maxmemory-policy",
    "PASSWORD": "write password",
    "CLIENT_CLASS": "the BACKEND decides the client",
    "CONNECTION_POOL_KWARGS": "write its entries beside it",
    "IGNORE_EXCEPTIONS": "write on_error: 'miss'",
    "COMPRESSOR": "write compressor: 'none', 'zlib', 'lz4' or 'zstd'",
    "SERIALIZER": "write serializer: 'pickle', 'json' or 'signed'",
    "SENTINELS": "write sentinels",
    "SENTINEL_KWARGS": "write sentinel_kwargs",
    "retry": "write retry_deadline, in seconds",
    "retry_on_timeout": "write retry_deadline, in seconds",
    "retry_on_error": "write retry_deadline, in seconds",
    "decode_responses": "values are bytes until the serializer has read them",
    "ssl": "TLS is chosen by rediss:// in LOCATION",
    "host": "write it in LOCATION",
    "port": "write it in LOCATION",
    "timeout": "write TIMEOUT beside OPTIONS, or socket_timeout",
    "replica_reads": "write read_from: 'replicas'",
    "read_from_replicas": "write read_from: 'replicas'",
    "deadline": "write retry_deadline",
}


@dataclass(frozen=True)
class Server:
    """One entry of LOCATION.

    `name` is safe to show. `path` is a Unix socket's, and then there is no host. `db` and the credentials are None
    where the URL has none.
    """

    name: str
    host: str = ""
    port: int = DEFAULT_PORT
    path: str = ""
    tls: bool = False
    db: int | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)


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
    serializer: Any = "pickle"
    compressor: str = "none"
    compress_from: int = 1024
    sentinels: tuple[tuple[str, int], ...] = ()
    sentinel_kwargs: Mapping[str, Any] = field(default_factory=dict, repr=False)


def parse(kind: str, location: Any, params: Mapping[str, Any]) -> Options:
    """Return the options of an entry of CACHES; `kind` is 'server', 'sentinel' or 'cluster'.

    Raises ImproperlyConfigured with every problem, each naming the alias, the option and the fix.
    """
    alias = alias_of(location, params)
    parser = _Parser(kind, alias, location, params)
    options = parser.options()
    if parser.problems:
        raise ImproperlyConfigured("\n".join(f"CACHES[{alias!r}]: {problem}" for problem in parser.problems))
    return options


def alias_of(location: Any, params: Mapping[str, Any]) -> str:
    """Return the name under which settings.CACHES has this entry, '?' if it has none: Django does not tell backends."""
    for name, entry in settings.CACHES.items():
        if entry.get("LOCATION", "") == location and entry.get("OPTIONS", {}) == params.get("OPTIONS", {}):
            keys = ("KEY_PREFIX", "VERSION", "TIMEOUT")
            if all(entry.get(key) == params.get(key) for key in keys):
                return str(name)
    return "?"


class _Parser:
    """One run over an entry, which goes on after a problem so that all of them can be told together."""

    def __init__(self, kind: str, alias: str, location: Any, params: Mapping[str, Any]) -> None:
        self.kind, self.alias, self.location, self.params = kind, alias, location, params
        self.problems: list[str] = []

    def options(self) -> Options:
        given = self.params.get("OPTIONS") or {}
        if not isinstance(given, Mapping):
            self.problems.append(f"OPTIONS {given!r} must be a dict")
            given = {}
        self._check_timeout()
        servers = self._servers()
        self._check_values("OPTIONS", given, self._rules())
        if self.problems:
            return Options(self.alias, tuple(servers), {})
        policy = {name: given[name] for name in POLICY if name in given}
        policy.setdefault("on_error", "raise" if self._holds_sessions() else "miss")
        # Who would rather wait than lose something waits for a failover.
        policy.setdefault("retry_deadline", 0.5 if policy["on_error"] == "miss" else 10.0)
        if self.kind == "sentinel":
            policy["sentinels"] = tuple((host, port) for host, port in given["sentinels"])
            policy["sentinel_kwargs"] = self._sentinel_kwargs(given)
        return Options(self.alias, tuple(servers), self._connection(given, servers), **policy)

    def _rules(self) -> dict[str, Rule]:
        rules = {**CONNECTION, **TCP, **TLS, **POLICY}
        if self.kind != "cluster":
            rules.update(DATABASE)
        if self.kind == "sentinel":
            rules.update(SENTINEL)
        return rules

    def _check_timeout(self) -> None:
        timeout = self.params.get("TIMEOUT", self.params.get("timeout"))
        # Django takes 300 for what it cannot read, and 0, with which nothing is stored, for a fraction.
        if timeout is not None and (isinstance(timeout, bool) or not isinstance(timeout, int)):
            self.problems.append(f"TIMEOUT {timeout!r} must be a whole number of seconds, or None for ever")

    def _check_values(self, where: str, given: Mapping[str, Any], rules: Mapping[str, Rule]) -> None:
        for name, value in given.items():
            if name not in rules:
                self.problems.append(f"{where} has {name!r}, {self._unknown(name, rules)}")
                continue
            wrong = rules[name](value)
            if wrong:
                shown = "" if "password" in name else f" {value!r}"
                self.problems.append(f"{where}[{name!r}]{shown} {wrong}")

    def _unknown(self, name: str, rules: Iterable[str]) -> str:
        if name == "db":
            return "but a Redis Cluster has the database 0 alone; remove it"
        if name in ("sentinels", "sentinel_kwargs"):
            return "which is for the backend SentinelRedisCache alone"
        if name in FOREIGN:
            return f"which is no option of this backend: {FOREIGN[name]}"
        close = difflib.get_close_matches(str(name).lower(), list(rules), 1)
        return f"which is no option of this backend{f'; did you mean {close[0]!r}?' if close else ''}"

    def _servers(self) -> list[Server]:
        location = self.location
        entries = re.split("[;,]", location) if isinstance(location, str) else location
        if not isinstance(entries, (list, tuple)) or not [entry for entry in entries if entry]:
            self.problems.append("LOCATION is empty; write the servers' URLs, such as 'redis://127.0.0.1:6379'")
            return []
        servers = [server for entry in entries for server in self._server(entry)]
        names = [server.name for server in servers]
        for name in sorted({name for name in names if names.count(name) > 1}):
            self.problems.append(f"LOCATION has {name} twice; remove one")
        if len({server.tls for server in servers if not server.path}) > 1:
            self.problems.append("LOCATION mixes redis:// and rediss://; write one of them everywhere")
        if len({server.db for server in servers if server.db is not None}) > 1:
            self.problems.append("LOCATION names different databases; write db in OPTIONS, once")
        if len({(server.username, server.password) for server in servers}) > 1:
            self.problems.append("LOCATION has different credentials; write username and password in OPTIONS, once")
        self._check_kind(servers)
        self._check_against_options(servers)
        return servers

    def _server(self, entry: Any) -> Iterator[Server]:
        """Yield the server, or nothing after telling what is wrong. A URL is never shown, as it may hold a password."""
        if not isinstance(entry, str) or entry != entry.strip() or not entry:
            self.problems.append("LOCATION has an entry that is empty, no text, or has blanks around it; remove them")
            return
        scheme, separator, _ = entry.partition("://")
        if not separator or scheme not in SCHEMES:
            shown = f"{scheme}://" if separator else "no scheme"
            self.problems.append(f"LOCATION has {shown}; a URL begins with redis://, rediss:// or unix://")
            return
        try:
            url = urlsplit(entry)
            port = url.port
        except ValueError:
            self.problems.append(
                "LOCATION has a URL that cannot be read; a password in it must be percent-encoded, "
                "or better written in OPTIONS"
            )
            return
        path = unquote(url.path)
        name = f"unix://{path}" if scheme == "unix" else (url.hostname or "")
        if scheme != "unix" and self.kind != "sentinel":
            name = f"{f'[{name}]' if ':' in name else name}:{port or DEFAULT_PORT}"
        if scheme == "unix" and not path:
            self.problems.append("LOCATION has unix:// without a path; write unix:///path/to/redis.sock")
            return
        if scheme != "unix" and not url.hostname:
            self.problems.append(f"LOCATION has {scheme}:// without a host; write {scheme}://host:port")
            return
        yield Server(
            name=name,
            host=unquote(url.hostname or ""),
            port=port or DEFAULT_PORT,
            path=path if scheme == "unix" else "",
            tls=scheme == "rediss",
            db=self._database(name, "" if scheme == "unix" else path, url.query),
            username=unquote(url.username) if url.username else None,
            password=unquote(url.password) if url.password else None,
        )

    def _database(self, name: str, path: str, query: str) -> int | None:
        """Return the db of a URL, /1 or ?db=1; redis-py would take 0 for one that is no number."""
        words = [path.strip("/")] if path.strip("/") else []
        for key, value in parse_qsl(query, keep_blank_values=True):
            if key == "db":
                words.append(value)
            else:
                self.problems.append(f"LOCATION {name} has ?{key}=; write it in OPTIONS")
        for word in words:
            if not (word.isascii() and word.isdigit()):
                self.problems.append(f"LOCATION {name} has the database {word!r}, which is no number")
                return None
        if len(set(words)) > 1:
            self.problems.append(f"LOCATION {name} names two databases, {' and '.join(words)}; write one")
        return int(words[0]) if words else None

    def _check_kind(self, servers: Sequence[Server]) -> None:
        given = self.params.get("OPTIONS") or {}
        if not servers:
            return
        if self.kind == "server":
            if len(servers) == 1 and given.get("read_from") == "replicas":
                self.problems.append(
                    "OPTIONS['read_from'] 'replicas' needs replicas: LOCATION has the leader first, then each replica"
                )
            return
        if any(server.path for server in servers):
            self.problems.append(
                f"LOCATION has unix://, which a {self.kind.title()} cannot be reached by; use redis://"
            )
        if self.kind == "cluster" and any(server.db for server in servers):
            self.problems.append("LOCATION names a database, but a Redis Cluster has 0 alone; remove it")
        if self.kind == "sentinel":
            if len(servers) > 1:
                self.problems.append("LOCATION has several entries; write the one service, such as 'redis://mymaster'")
            if not given.get("sentinels"):
                self.problems.append("OPTIONS lacks 'sentinels'; write the list of their (host, port) pairs")
            if any(f":{server.port}" in str(self.location) for server in servers):
                self.problems.append(
                    "LOCATION has a port, but it names the service that Sentinel watches, such as 'redis://mymaster'"
                )

    def _check_against_options(self, servers: Sequence[Server]) -> None:
        given = self.params.get("OPTIONS") or {}
        if not servers or not isinstance(given, Mapping):
            return
        for name, ours in (("db", servers[0].db), ("username", servers[0].username), ("password", servers[0].password)):
            if ours is not None and name in given and given[name] != ours:
                self.problems.append(f"LOCATION and OPTIONS name different values of {name}; write it in OPTIONS alone")
        if not any(server.tls for server in servers):
            for name in given:
                if name in TLS:
                    self.problems.append(f"OPTIONS has {name!r}, but LOCATION has no TLS; write rediss://")
        if all(server.path for server in servers):
            for name in given:
                if name in TCP:
                    self.problems.append(f"OPTIONS has {name!r}, which a Unix socket does not have; remove it")

    def _connection(self, given: Mapping[str, Any], servers: Sequence[Server]) -> dict[str, Any]:
        first = servers[0]
        connection: dict[str, Any] = {**CONNECTION_DEFAULTS, **(TLS_DEFAULTS if first.tls else {})}
        if self.kind != "cluster":
            connection["db"] = first.db or 0
        if first.username:
            connection["username"] = first.username
        if first.password:
            connection["password"] = first.password
        connection.update(
            {name: value for name, value in given.items() if name in {**CONNECTION, **TCP, **TLS, **DATABASE}}
        )
        return _consistent_tls(connection)

    def _sentinel_kwargs(self, given: Mapping[str, Any]) -> dict[str, Any]:
        kwargs = dict(given.get("sentinel_kwargs") or {})
        rules = {**CONNECTION, **TCP, **TLS, "ssl": _boolean}
        self._check_values("OPTIONS['sentinel_kwargs']", kwargs, rules)
        if not kwargs.get("ssl"):
            for name in kwargs:
                if name in TLS:
                    self.problems.append(f"OPTIONS['sentinel_kwargs'] has {name!r} without 'ssl': True")
        defaults = {
            name: given.get(name, CONNECTION_DEFAULTS[name])
            for name in ("socket_timeout", "socket_connect_timeout", "protocol")
        }
        return _consistent_tls({**defaults, **(TLS_DEFAULTS if kwargs.get("ssl") else {}), **kwargs})

    def _holds_sessions(self) -> bool:
        return bool(settings.SESSION_ENGINE == CACHE_SESSIONS and self.alias == settings.SESSION_CACHE_ALIAS)


def _consistent_tls(connection: dict[str, Any]) -> dict[str, Any]:
    """Return it without the check of the host name where no certificate is asked for: Python refuses the pair."""
    if connection.get("ssl_cert_reqs") == "none":
        connection["ssl_check_hostname"] = False
    return connection
