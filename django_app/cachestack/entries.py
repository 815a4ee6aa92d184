"""An entry of CACHES for the bundle's own client, judged as a whole before anything connects.

Free of Django and of redis-py, as the table of rules is: cachestack.option_rules.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from .option_rules import (
    CONNECTION,
    DATABASE,
    ENTRY,
    FOREIGN,
    POLICY,
    SENTINEL,
    SERIALIZERS,
    TCP,
    TLS,
    Rule,
    did_you_mean,
    is_boolean,
    is_host,
    show,
)

# The backends by the kind of servers that they know.
BACKENDS = {
    "server": "cachestack.resilient.RedisCache",
    "sentinel": "cachestack.resilient.SentinelRedisCache",
    "cluster": "cachestack.resilient.ClusterRedisCache",
}
SCHEMES = ("redis", "rediss", "unix")
DEFAULT_PORT = 6379


def place(host: str, port: int) -> str:
    """Return the name of a server, as it stands in a URL."""
    return f"{f'[{host}]' if ':' in host else host}:{port}"


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
    # Also the user name: whoever forgets the colon before a password writes one here.
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)


class Entry:
    """One entry of CACHES: its `servers`, and `problems` where there are any; these hold no password.

    `kind` is one of BACKENDS, `params` everything beside LOCATION. `instead` has rules that take the place of the
    table's by the names of their options. All of the entry is read, so that all problems can be told together.
    """

    def __init__(
        self, kind: str, location: Any, params: Mapping[str, Any], instead: Mapping[str, Rule] | None = None
    ) -> None:
        self.kind, self.location, self.params = kind, location, params
        self._instead = instead or {}
        given = params.get("OPTIONS", {})
        self.given: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
        self.problems: list[str] = []
        self._check_values("", params, self._replaced(ENTRY))
        self.servers = self._servers()
        # Also where nothing is said, as the default may need something that is not there.
        self._check_values("OPTIONS", {"serializer": SERIALIZERS[0], **self.given}, self._rules())
        if isinstance(self.sentinel_kwargs, Mapping):
            self._check_sentinel_kwargs(self.sentinel_kwargs)

    @property
    def sentinel_kwargs(self) -> Any:
        """What the options say of connections to the Sentinels; {} where there are none."""
        return self.given.get("sentinel_kwargs", {}) if self.kind == "sentinel" else {}

    def _rules(self) -> dict[str, Rule]:
        rules = {**CONNECTION, **TCP, **TLS, **POLICY}
        if self.kind != "cluster":
            rules.update(DATABASE)
        if self.kind == "sentinel":
            rules.update(SENTINEL)
        return self._replaced(rules)

    def _replaced(self, rules: Mapping[str, Rule]) -> dict[str, Rule]:
        return {name: self._instead.get(name, rule) for name, rule in rules.items()}

    def _check_values(self, where: str, given: Mapping[str, Any], rules: Mapping[str, Rule]) -> None:
        for name, value in given.items():
            if name not in rules:
                self._tell(f"{where or 'it'} has {show(name)}, {self._unknown(where, name, rules)}")
                continue
            wrong = rules[name](value)
            if wrong:
                # A dict that was written as text can have a password in it.
                hidden = "password" in name or name in ("OPTIONS", "sentinels", "sentinel_kwargs")
                shown = "" if hidden else f" {show(value)}"
                self._tell(f"{f'{where}[{name!r}]' if where else name}{shown} {wrong}")

    def _unknown(self, where: str, name: Any, rules: Mapping[str, Rule]) -> str:
        if where == "OPTIONS" and name == "db":
            return "but a Redis Cluster has the database 0 alone; remove it"
        if where == "OPTIONS" and name in SENTINEL:
            return "which is for the backend SentinelRedisCache alone; remove it, or write that BACKEND"
        if not where and name in self._rules():
            return "which stands beside OPTIONS; write it in OPTIONS"
        meant = did_you_mean(name, rules) if isinstance(name, str) else ""
        known = f": {FOREIGN[name]}" if name in FOREIGN else meant or "; remove it"
        return f"which is no option{' of this backend' if where else ' of Django'}{known}"

    def _check_sentinel_kwargs(self, kwargs: Mapping[str, Any]) -> None:
        where = "OPTIONS['sentinel_kwargs']"
        self._check_values(where, kwargs, {**CONNECTION, **TCP, **TLS, "ssl": is_boolean})
        for name in kwargs:
            if name in TLS and not kwargs.get("ssl"):
                self._tell(f"{where} has {name!r} without TLS; write 'ssl': True beside it")

    def _servers(self) -> list[Server]:
        location = self.location
        entries = re.split("[;,]", location) if isinstance(location, str) else location
        if not isinstance(entries, (list, tuple)):
            self._tell(f"LOCATION {show(location)} must be a URL or a list of URLs, such as {self._example()!r}")
            return []
        if not any(entries):
            self._tell(f"LOCATION is empty; write a URL or a list of URLs, such as {self._example()!r}")
            return []
        servers = []
        for place, entry in enumerate(entries, 1):
            server = self._server("LOCATION" if len(entries) == 1 else f"LOCATION entry {place}", entry)
            if server:
                servers.append(server)
        names = [server.name for server in servers]
        for name in sorted({name for name in names if names.count(name) > 1}):
            self._tell(f"LOCATION has {name} twice; remove one")
        if len({server.tls for server in servers}) > 1:
            self._tell("LOCATION mixes rediss:// with other schemes; write rediss:// everywhere or nowhere")
        if len({server.db for server in servers if server.db is not None}) > 1:
            self._tell("LOCATION names different databases; write db in OPTIONS, once")
        if len({(server.username, server.password) for server in servers}) > 1:
            self._tell("LOCATION has different credentials; write username and password in OPTIONS, once")
        self._check_kind(len(entries), servers)
        if servers:
            self._check_against_options(servers)
        return servers

    def _server(self, where: str, entry: Any) -> Server | None:
        """Return the server, or None after telling what is wrong. A URL is never shown, as it may hold a password."""
        if not isinstance(entry, str):
            self._tell(f"{where} {show(entry)} must be a URL, such as {self._example()!r}")
        elif not entry.strip():
            self._tell(f"{where} is empty; remove it, or write a URL, such as {self._example()!r}")
        elif entry != entry.strip() or not entry.isprintable():
            self._tell(f"{where} has blanks around it or control characters in it; remove them")
        else:
            scheme, separator, _ = entry.partition("://")
            if separator and scheme in SCHEMES:
                return self._read_url(where, entry)
            shown = f" {scheme}://" if separator and re.fullmatch("[A-Za-z+]{1,20}", scheme) else " no scheme of these"
            self._tell(f"{where} has{shown}; a URL begins with redis://, rediss:// or unix://")
        return None

    def _read_url(self, where: str, entry: str) -> Server | None:
        encode = "percent-encode a password, or better write it in OPTIONS"
        forms = "redis://host:6379, redis://[::1]:6379 or unix:///path/to/redis.sock"
        try:
            url = urlsplit(entry)
            port = url.port
            if port == 0:
                raise ValueError("nobody listens there")
        except ValueError:
            self._tell(f"{where} has no port from 1 to 65535, or cannot be read; write it as {forms}, and {encode}")
            return None
        path, authority = unquote(url.path), url.netloc.rpartition("@")[2]
        if url.fragment or entry.endswith("#") or (url.scheme != "unix" and "@" in url.path + url.query):
            self._tell(f"{where} has a part after the host that cannot be read; {encode}")
            return None
        if url.scheme == "unix":
            if authority or not path.strip("/"):
                self._tell(f"{where} has no path of a socket; write unix:///path/to/redis.sock, and {encode}")
                return None
            name, host = f"unix:///{path.lstrip('/')}", ""
        else:
            # Not url.hostname, which is in lower case: Sentinel tells MyMaster from mymaster.
            host = unquote(re.sub(r":\d*$", "", authority).strip("[]"))
            if not is_host(host):
                self._tell(f"{where} has no host that can be one; write {url.scheme}://host:port, and {encode}")
                return None
            name = host
            if self.kind != "sentinel":
                host = str(ipaddress.ip_address(host)) if ":" in host else host.lower()
                name = place(host, port or DEFAULT_PORT)
            elif port:
                self._tell(f"{where} has a port, but it names the service that Sentinel watches; write redis://{name}")
        return Server(
            name=name,
            host=host,
            port=port or DEFAULT_PORT,
            path="" if host else path,
            tls=url.scheme == "rediss",
            db=self._database(f"{where} ({name})", "" if not host else path.strip("/"), url),
            username=unquote(url.username) if url.username else None,
            password=unquote(url.password) if url.password else None,
        )

    def _database(self, where: str, path: str, url: SplitResult) -> int | None:
        """Return the db of a URL, /1 or ?db=1; redis-py would take 0 for one that is no number."""
        words = [path] if path else []
        for key, value in parse_qsl(url.query, keep_blank_values=True):
            if key == "db":
                words.append(value)
            else:
                self._tell(f"{where} has ?{key if key.isidentifier() else '...'}=; write it in OPTIONS")
        for word in words:
            if not re.fullmatch("[0-9]{1,9}", word):
                self._tell(f"{where} has the database {show(word)}, which is no number; write /0 or another one")
                return None
        if len({int(word) for word in words}) > 1:
            self._tell(f"{where} names two databases, {' and '.join(words)}; write one")
        return int(words[0]) if words else None

    def _check_kind(self, entries: int, servers: Sequence[Server]) -> None:
        if self.kind == "server":
            if entries == 1 and self.given.get("read_from") == "replicas":
                self._tell("OPTIONS['read_from'] 'replicas' needs replicas; write LOCATION as a list, the leader first")
            return
        if any(server.path for server in servers):
            self._tell(f"LOCATION has unix://, which a {self.kind.title()} cannot be reached by; write redis://")
        if self.kind == "cluster" and any(server.db for server in servers):
            self._tell("LOCATION names a db, but a Redis Cluster has the database 0 alone; remove it")
        if self.kind == "sentinel":
            if entries > 1:
                self._tell(f"LOCATION has several entries; write the one service, such as {self._example()!r}")
            if "sentinels" not in self.given:
                self._tell("OPTIONS lacks 'sentinels'; write a list of (host, port) pairs, as [('10.0.0.1', 26379)]")

    def _check_against_options(self, servers: Sequence[Server]) -> None:
        first, given = servers[0], self.given
        for name, ours in (("db", first.db), ("username", first.username), ("password", first.password)):
            if ours is not None and name in given and given[name] != ours:
                self._tell(f"LOCATION and OPTIONS name different values of {name!r}; write it in OPTIONS alone")
        for name in given:
            if name in TLS and not any(server.tls for server in servers):
                self._tell(f"OPTIONS has {name!r}, but LOCATION has no TLS; write rediss://, or remove it")
            if name in TCP and any(server.path for server in servers):
                self._tell(f"OPTIONS has {name!r}, which a Unix socket does not have; remove it")

    def _example(self) -> str:
        return "redis://mymaster" if self.kind == "sentinel" else "redis://127.0.0.1:6379"

    def _tell(self, problem: str) -> None:
        self.problems.append(problem)
