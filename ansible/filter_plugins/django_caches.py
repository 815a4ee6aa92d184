"""Build Django's CACHES setting from the inventory's words for it.

See https://docs.djangoproject.com/en/stable/ref/settings/#caches.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

# Ansible loads each plugin alone, without what lies around it.
sys.path.append(str(Path(__file__).resolve().parents[2]))

from preflight.caches import CLIENTS, LOCMEM_OPTIONS, UNABLE, alias_faults
from preflight.problems import shown

# The client `resilient` has a backend of its own for these modes.
RESILIENT_BACKENDS = {
    "sentinel": "cachestack.resilient.SentinelRedisCache",
    "cluster": "cachestack.resilient.ClusterRedisCache",
}
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


class CacheSettingsError(ValueError):
    """An alias says something that its client or mode cannot do."""


@dataclass(frozen=True)
class _Deployment:
    """What all aliases share, as django_caches is told."""

    mode: str
    nodes: list[Mapping[str, Any]]
    password: str | None
    ca_file: str | None
    sentinels: list[Mapping[str, Any]]
    service: str
    sentinel_password: str | None

    def servers(self, alias: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """What LOCATION has: of a cluster every node, else the leader and, where the alias reads them, the replicas."""
        if self.mode == "sentinel":
            return [{**self.nodes[0], "address": self.service, "port": None, "socket": None}]
        if self.mode == "cluster":
            # Its nodes tell each other's addresses, and no sockets.
            return [{**node, "socket": None} for node in self.nodes]
        return self.nodes if alias["read_from"] == "replicas" else self.nodes[:1]


def django_caches(
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
) -> dict[str, dict[str, Any]]:
    """The value of CACHES for ``aliases`` (name to settings, see preflight.caches.ALIAS).

    ``mode`` is ``locmem``, ``standalone``, ``replication``, ``sentinel`` or ``cluster``; ``client`` one of CLIENTS;
    ``nodes`` what ``redis_nodes`` returns, leader first, and ``sentinels`` what ``redis_sentinels`` does. ``service``
    is what the Sentinels call what they watch. ``password`` is that of the servers, ``sentinel_password`` that of the
    Sentinels, ``ca_file`` the path of the certificate authority to trust where a node has ``tls``.

    Unless it says otherwise, the alias with the sessions reads the leader, as every alias does with ``resilient`` or
    under Sentinel; with ``resilient`` the one with the sessions raises errors, and the others make them misses.

    ``timeout`` is in seconds, None for ever; connection ``options`` are redis-py's, with timeouts in seconds. Raises
    CacheSettingsError naming the alias, what is wrong with it, and what to write instead.
    """
    _check(aliases, mode, client, session_alias)
    deployment = _Deployment(mode, list(nodes), password, ca_file, list(sentinels), service, sentinel_password)
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
    _check_pools(caches)
    return caches


def _check(aliases: Mapping[str, Any], mode: str, client: str, session_alias: str | None) -> None:
    """Refuse what the inventory's check refuses: it may not have run, and nobody would see it before a request."""
    if client not in CLIENTS:
        raise CacheSettingsError(f"cache_client {client!r} is unknown; choose {', '.join(CLIENTS)}")
    if (client, mode) in UNABLE:
        raise CacheSettingsError(f"cache_client {client} has no mode {mode}; write cache_client: resilient")
    faults = []
    for fault in alias_faults(aliases, mode, client, session_alias):
        about = " ".join(filter(None, (fault.word, shown(fault.word, fault.value))))
        faults.append(": ".join(filter(None, (fault.alias, about, f"{fault.wrong}; {fault.fix}"))))
    if faults:
        raise CacheSettingsError("\n".join(faults))


def _check_pools(caches: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse what django-redis would ignore: it has one pool for each URL, with the options of who came first."""
    first: dict[str, str] = {}
    for name, cache in caches.items():
        for url in cache["LOCATION"] if "CONNECTION_POOL_KWARGS" in cache["OPTIONS"] else ():
            other = first.setdefault(url, name)
            if _pool_options(caches[other]) != _pool_options(cache):
                raise CacheSettingsError(
                    f"{name}: django-redis would connect with the options of {other}, which has the same db; "
                    f"give it another db or the same options"
                )


def _pool_options(cache: Mapping[str, Any]) -> list[Any]:
    """What a pool of django-redis is made with, beside its URL."""
    return [cache["OPTIONS"].get(option) for option in ("CONNECTION_POOL_KWARGS", "SENTINELS", "SENTINEL_KWARGS")]


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
        **_common(alias, alias.get("key_prefix", "dj")),
        "OPTIONS": {"MAX_ENTRIES": alias.get("max_entries", 100000), **options},
    }


def _builtin(alias: Mapping[str, Any], deployment: _Deployment) -> dict[str, Any]:
    servers = deployment.servers(alias)
    connection = {**CONNECTION, **_tls(servers, deployment.ca_file)}
    options = {"db": alias.get("db", 0), **connection, **(alias.get("options") or {})}
    if deployment.password:
        options["password"] = deployment.password
    return {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": [_url(node) for node in servers],
        **_common(alias, _key_prefix(alias, "builtin", options.get("serializer"))),
        "OPTIONS": options,
    }


def _django_redis(alias: Mapping[str, Any], deployment: _Deployment) -> dict[str, Any]:
    """Options in lower case are redis-py's and go into the pool's arguments, the others are django-redis's own."""
    servers = deployment.servers(alias)
    location = [_url(node, alias.get("db", 0)) for node in servers]
    connection = {**CONNECTION, **_tls(servers, deployment.ca_file)}
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
            "SENTINEL_KWARGS": {**SENTINEL_CONNECTION, **_sentinel_password(deployment)},
        }
    options.update({key: value for key, value in given.items() if key != key.lower()})
    if deployment.password:
        options["PASSWORD"] = deployment.password
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
    options |= {key: alias[key] for key in ("serializer", "compressor") if alias.get(key, "none") != "none"}
    # Sentinel and the cluster know the replicas, which nobody can say before they run.
    if alias["read_from"] == "replicas" and (len(servers) > 1 or deployment.mode == "sentinel"):
        options["read_from"] = "replicas"
    tls = _tls(servers, deployment.ca_file)
    if "ssl_ca_certs" in tls:
        options["ssl_ca_certs"] = tls["ssl_ca_certs"]
    if deployment.mode == "sentinel":
        options["sentinels"] = _sentinel_addresses(deployment)
        if deployment.sentinel_password:
            options["sentinel_kwargs"] = _sentinel_password(deployment)
    if deployment.password:
        options["password"] = deployment.password
    options.update(alias.get("options") or {})
    serializer = options.get("serializer")
    return {
        "BACKEND": RESILIENT_BACKENDS.get(deployment.mode, "cachestack.resilient.RedisCache"),
        "LOCATION": [_url(node) for node in servers],
        **_common(
            alias,
            _key_prefix(alias, "resilient", None if serializer == "pickle" else serializer, options.get("compressor")),
        ),
        "OPTIONS": options,
    }


BUILDERS: dict[str, Callable[[Mapping[str, Any], _Deployment], dict[str, Any]]] = {
    "builtin": _builtin,
    "django_redis": _django_redis,
    "resilient": _resilient,
}


def _sentinel_addresses(deployment: _Deployment) -> list[list[Any]]:
    return [[sentinel["address"], sentinel["port"]] for sentinel in deployment.sentinels]


def _sentinel_password(deployment: _Deployment) -> dict[str, str]:
    return {"password": deployment.sentinel_password} if deployment.sentinel_password else {}


def _key_prefix(
    alias: Mapping[str, Any], client: str, serializer: str | None = None, compressor: str | None = None
) -> str:
    """The alias's prefix with everything that decides the bytes of a value.

    Clients name their keys alike but write values that the others cannot read, so a change of client, serializer or
    compressor must change the names of the keys.
    """
    parts = [alias.get("key_prefix", "dj"), client]
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
    address = f"[{node['address']}]" if ":" in node["address"] else node["address"]
    # The name of a service has no port.
    place = f"{address}:{node['port']}" if node["port"] else address
    return f"{scheme}://{place}" + ("" if db is None else f"/{db}")


def _tls(servers: list[Mapping[str, Any]], ca_file: str | None) -> dict[str, Any]:
    if not any(node.get("tls") and not node.get("socket") for node in servers):
        return {}
    # Said aloud because redis-py below 6 does not check the host name by default.
    options: dict[str, Any] = {"ssl_cert_reqs": "required", "ssl_check_hostname": True}
    if ca_file:
        options["ssl_ca_certs"] = ca_file
    return options


class FilterModule:
    """Registers the filter with Ansible."""

    def filters(self) -> dict[str, Any]:
        """Name to function."""
        return {"django_caches": django_caches}
