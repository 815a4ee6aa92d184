"""Build Django's CACHES setting from the inventory's words for it.

See https://docs.djangoproject.com/en/stable/ref/settings/#caches.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from cachestack import option_rules
from cachestack.entries import BACKENDS
from cachestack.option_rules import SERIALIZERS
from deployment.addresses import bracketed, endpoint
from deployment.clients import DEFAULT_PREFIX, LOCMEM_OPTIONS
from deployment.errors import DeploymentError

# What django-redis calls them; the client `resilient` takes the words as they are.
COMPRESSORS = {
    "none": "django_redis.compressors.identity.IdentityCompressor",
    "zlib": "django_redis.compressors.zlib.ZlibCompressor",
    "lz4": "django_redis.compressors.lz4.Lz4Compressor",
    "zstd": "django_redis.compressors.zstd.ZStdCompressor",
}

# Keyword arguments of redis-py's connections. RESP2 because redis-py 8 speaks RESP3 by default, which Redis 5 refuses.
CONNECTION = {
    "max_connections": 4096,
    "socket_connect_timeout": 3.5,
    "socket_timeout": 5.5,
    "health_check_interval": 30,
    "protocol": 2,
}
# For the questions of django-redis to the Sentinels, before each new connection: one that is away must not hold it up.
# Without the None redis-py would try that one for ten seconds before it asks the next.
SENTINEL_CONNECTION = {"socket_connect_timeout": 1.0, "socket_timeout": 1.0, "protocol": 2, "retry": None}
# The checks of TLS, said aloud: redis-py below 6 does not check the host name by default, and Python below 3.10 leaves
# the version to OpenSSL. That is a number, since settings.py has no names.
TLS = {"ssl_cert_reqs": "required", "ssl_check_hostname": True, "ssl_min_version": int(ssl.TLSVersion.TLSv1_2)}
# What the client `resilient` does where its options say nothing.
RESILIENT_DEFAULTS = {"serializer": SERIALIZERS[0], "compressor": option_rules.COMPRESSORS[0]}


class CacheSettingsError(DeploymentError):
    """An alias says something that its client or mode cannot do."""


@dataclass(frozen=True)
class _Deployment:
    """What all aliases share, as django_caches is told."""

    mode: str
    nodes: list[Mapping[str, Any]]
    # Each a user name and a password, as far as there is one.
    login: Mapping[str, str]
    sentinel_login: Mapping[str, str]
    ca_file: str | None
    sentinels: list[Mapping[str, Any]]
    service: str

    def servers(self, alias: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """What LOCATION has: of a cluster every node, else the leader and, where the alias reads them, the replicas."""
        if self.mode == "sentinel":
            return [{**self.nodes[0], "address": self.service, "port": None, "socket": None}]
        if self.mode == "cluster":
            # Its nodes tell each other's addresses, and no sockets.
            return [{**node, "socket": None} for node in self.nodes]
        servers = self.nodes if alias["read_from"] == "replicas" else self.nodes[:1]
        if any(node.get("tls") and not node.get("socket") for node in servers):
            # All servers of an entry have the same options, and a socket takes none of TLS.
            return [{**node, "socket": None} for node in servers]
        return servers

    def tls(self, servers: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
        """The options for TLS, if these are reached with it."""
        if not any(server.get("tls") and not server.get("socket") for server in servers):
            return {}
        return {**TLS, **({"ssl_ca_certs": self.ca_file} if self.ca_file else {})}


def render_caches(
    aliases: Mapping[str, Mapping[str, Any]],
    mode: str,
    client: str,
    nodes: Iterable[Mapping[str, Any]] = (),
    password: str | None = None,
    ca_file: str | None = None,
    session_alias: str | None = None,
    sentinels: Iterable[Mapping[str, Any]] = (),
    service: str = "mymaster",
    sentinel_password: str | None = None,
    username: str | None = None,
) -> dict[str, dict[str, Any]]:
    """The value of CACHES for ``aliases`` (name to settings, see deployment.checks.caches.ALIAS, which are right).

    ``mode`` is ``locmem``, ``standalone``, ``replication``, ``sentinel`` or ``cluster``; ``client`` one of CLIENTS;
    ``nodes`` what ``redis_nodes`` returns, leader first, and ``sentinels`` what ``redis_sentinels`` does. ``service``
    is what the Sentinels call what they watch. ``username`` and ``password`` are those of the servers (without a name
    the password is that of the user `default`), ``sentinel_password`` that of the Sentinels' user `default`;
    ``ca_file`` is the path of the certificate authority to trust where a node or a Sentinel has ``tls``.

    Unless it says otherwise, the alias with the sessions reads the leader, as every alias does with ``resilient`` or
    under Sentinel; with ``resilient`` the one with the sessions raises errors, and the others make them misses.

    ``timeout`` is in seconds, None for ever; connection ``options`` are redis-py's, with timeouts in seconds. Raises
    CacheSettingsError where there is no server; what else can be wrong deployment.checks.rendered refuses.
    """
    logins = _login(username, password), _login(None, sentinel_password)
    deployment = _Deployment(mode, list(nodes), *logins, ca_file, list(sentinels), service)
    caches: dict[str, dict[str, Any]] = {}
    for name, given in aliases.items():
        holds_sessions = name == session_alias
        reads_leader = holds_sessions or client == "resilient" or mode == "sentinel"
        alias = {"read_from": "leader" if reads_leader else "replicas", **(given or {})}
        if client == "resilient":
            alias.setdefault("on_error", "raise" if holds_sessions else "miss")
        if mode == "locmem":
            caches[name] = _locmem(name, alias)
            continue
        if not deployment.nodes:
            raise CacheSettingsError(f"{name}: cache_mode {mode} needs at least one Redis server")
        if mode == "sentinel" and not deployment.sentinels:
            raise CacheSettingsError(f"{name}: cache_mode sentinel needs at least one Sentinel")
        caches[name] = BUILDERS[client](alias, deployment)
    return caches


def _common(alias: Mapping[str, Any], key_prefix: str) -> dict[str, Any]:
    common: dict[str, Any] = {"TIMEOUT": alias.get("timeout", 300), "KEY_PREFIX": key_prefix}
    if "version" in alias:
        common["VERSION"] = alias["version"]
    return common


def _locmem(name: str, alias: Mapping[str, Any]) -> dict[str, Any]:
    options = {key: value for key, value in (alias.get("options") or {}).items() if key in LOCMEM_OPTIONS}
    return {
        "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
        "LOCATION": name,
        **_common(alias, alias.get("key_prefix", DEFAULT_PREFIX)),
        "OPTIONS": {"MAX_ENTRIES": alias.get("max_entries", 100000), **options},
    }


def _builtin(alias: Mapping[str, Any], deployment: _Deployment) -> dict[str, Any]:
    servers = deployment.servers(alias)
    connection = {**CONNECTION, **deployment.tls(servers), **deployment.login}
    options = {"db": alias.get("db", 0), **connection, **(alias.get("options") or {})}
    return {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": [_url(node) for node in servers],
        **_common(alias, _key_prefix(alias, "builtin", options.get("serializer"))),
        "OPTIONS": options,
    }


def _django_redis(alias: Mapping[str, Any], deployment: _Deployment) -> dict[str, Any]:
    """Options in lower case are redis-py's and go into the pool's arguments, the others are django-redis's own."""
    servers = deployment.servers(alias)
    tls = deployment.tls(servers)
    if deployment.mode == "sentinel":
        # Of rediss:// redis-py would make connections that ask no Sentinel.
        servers, tls = [{**server, "tls": False} for server in servers], _by_word(tls)
    location = [_url(node, alias.get("db", 0)) for node in servers]
    connection = {**CONNECTION, **tls, **deployment.login}
    given = alias.get("options") or {}
    options: dict[str, Any] = {
        "CLIENT_CLASS": "django_redis.client.DefaultClient",
        "CONNECTION_POOL_KWARGS": {**connection, **{key: value for key, value in given.items() if key == key.lower()}},
        "PICKLE_VERSION": -1,
        "COMPRESSOR": COMPRESSORS[alias.get("compressor", "none")],
        "IGNORE_EXCEPTIONS": False,
    }
    if deployment.mode == "sentinel":
        # What it makes itself of a LOCATION that is text: the first for writes, the others for reads.
        roles = (1, 0) if alias["read_from"] == "replicas" else (1,)
        location = [f"{url}?is_master={role}" for url in location for role in roles]
        options |= {
            "CLIENT_CLASS": "django_redis.client.SentinelClient",
            "CONNECTION_FACTORY": "django_redis.pool.SentinelConnectionFactory",
            "SENTINELS": _sentinel_addresses(deployment),
            "SENTINEL_KWARGS": {
                **SENTINEL_CONNECTION,
                **_by_word(deployment.tls(deployment.sentinels)),
                **deployment.sentinel_login,
            },
        }
    options.update({key: value for key, value in given.items() if key != key.lower()})
    return {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": location,
        **_common(alias, _key_prefix(alias, "django_redis", options.get("SERIALIZER"), options["COMPRESSOR"])),
        "OPTIONS": options,
    }


def _resilient(alias: Mapping[str, Any], deployment: _Deployment) -> dict[str, Any]:
    """Only what differs from the client's own defaults, which it checks itself when Django starts."""
    servers = deployment.servers(alias)
    options: dict[str, Any] = {} if deployment.mode == "cluster" else {"db": alias.get("db", 0)}
    options["on_error"] = alias["on_error"]
    options |= {key: alias[key] for key, own in RESILIENT_DEFAULTS.items() if alias.get(key, own) != own}
    # Sentinel and the cluster know the replicas, which nobody can say before they run.
    if alias["read_from"] == "replicas" and (len(servers) > 1 or deployment.mode == "sentinel"):
        options["read_from"] = "replicas"
    options |= _beside_defaults(deployment.tls(servers))
    if deployment.mode == "sentinel":
        options["sentinels"] = _sentinel_addresses(deployment)
        sentinel = {**_beside_defaults(_by_word(deployment.tls(deployment.sentinels))), **deployment.sentinel_login}
        if sentinel:
            options["sentinel_kwargs"] = sentinel
    options |= {**deployment.login, **(alias.get("options") or {})}
    written = {**RESILIENT_DEFAULTS, **options}
    serializer = None if written["serializer"] == "pickle" else written["serializer"]
    return {
        "BACKEND": BACKENDS.get(deployment.mode, BACKENDS["server"]),
        "LOCATION": [_url(node) for node in servers],
        **_common(alias, _key_prefix(alias, "resilient", serializer, written["compressor"])),
        "OPTIONS": options,
    }


BUILDERS: dict[str, Callable[[Mapping[str, Any], _Deployment], dict[str, Any]]] = {
    "builtin": _builtin,
    "django_redis": _django_redis,
    "resilient": _resilient,
}


def _sentinel_addresses(deployment: _Deployment) -> list[list[Any]]:
    return [[sentinel["address"], sentinel["port"]] for sentinel in deployment.sentinels]


def _login(username: str | None, password: str | None) -> dict[str, str]:
    if not password:
        return {}
    return {**({"username": username} if username else {}), "password": password}


def _by_word(tls: Mapping[str, Any]) -> dict[str, Any]:
    """The options for TLS with redis-py's word for it, where there is no URL to say `rediss`."""
    return {"ssl": True, **tls} if tls else {}


def _beside_defaults(tls: Mapping[str, Any]) -> dict[str, Any]:
    """Those options for TLS that the client `resilient` does not have anyway."""
    return {option: value for option, value in tls.items() if option not in TLS}


def _key_prefix(
    alias: Mapping[str, Any], client: str, serializer: str | None = None, compressor: str | None = None
) -> str:
    """The alias's prefix with everything that decides the bytes of a value.

    Clients name their keys alike but write values that the others cannot read, so a change of client, serializer or
    compressor must change the names of the keys.
    """
    parts = [alias.get("key_prefix", DEFAULT_PREFIX), client]
    if serializer:
        parts.append(serializer)
    if compressor and compressor not in ("none", COMPRESSORS["none"]):
        parts.append(next((word for word, path in COMPRESSORS.items() if path == compressor), compressor))
    return "/".join(parts)


def _url(node: Mapping[str, Any], db: int | None = None) -> str:
    """A server's URL for redis.ConnectionPool.from_url; never holds a password."""
    if node.get("socket"):
        path = quote(node["socket"])
        return f"unix://{path}" if db is None else f"unix://{path}?db={db}"
    scheme = "rediss" if node.get("tls") else "redis"
    # The name of a service has no port.
    place = endpoint(node["address"], node["port"]) if node["port"] else bracketed(node["address"])
    return f"{scheme}://{place}" + ("" if db is None else f"/{db}")
