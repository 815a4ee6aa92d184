"""CACHES as the renderer makes it, and ways to use it, for the tests."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from django.core.cache import CacheHandler
from django.test import override_settings

from cachestack.aliases import get_aliases
from cachestack.cachecheck.runner import OK, run_operations
from deployment.checks.rendered import django_caches
from deployment.render.caches import COMPRESSORS
from deployment.render.python_source import to_python
from servers import RedisServer

BUILTIN, DJANGO_REDIS, RESILIENT = "builtin", "django_redis", "resilient"
# The variable of settings.py that has the password of the Sentinels.
SENTINEL_NAME = "REDIS_SENTINEL_PASSWORD"
BACKENDS = {
    "locmem": "django.core.cache.backends.locmem.LocMemCache",
    BUILTIN: "django.core.cache.backends.redis.RedisCache",
    DJANGO_REDIS: "django_redis.cache.RedisCache",
    RESILIENT: "cachestack.resilient.RedisCache",
}
# Each word that decides how a value is written: client, and what its alias says.
FLAVOURS: list[tuple[str, dict[str, Any]]] = [
    (BUILTIN, {}),
    *((client, {"compressor": compressor}) for client in (DJANGO_REDIS, RESILIENT) for compressor in COMPRESSORS),
    (RESILIENT, {"serializer": "json"}),
    (RESILIENT, {"serializer": "pickle"}),
    (BUILTIN, {"options": {"serializer": "django.core.signing.JSONSerializer"}}),
    (DJANGO_REDIS, {"options": {"SERIALIZER": "django_redis.serializers.json.JSONSerializer"}}),
]
FLAVOUR_NAMES = [
    "builtin",
    *(f"{client}+{compressor}" for client in (DJANGO_REDIS, RESILIENT) for compressor in COMPRESSORS),
    "resilient+json",
    "resilient+pickle",
    "builtin+json",
    "dr+json",
]
CLIENTS = pytest.mark.parametrize("client", [BUILTIN, DJANGO_REDIS, RESILIENT])
# Those that take redis-py's options as they are.
THIN_CLIENTS = pytest.mark.parametrize("client", [BUILTIN, DJANGO_REDIS])
# Makes the client `resilient` show its errors, and at once.
STRICT: dict[str, Any] = {
    "on_error": "raise",
    "options": {"retry_deadline": 0, "socket_timeout": 5, "socket_connect_timeout": 5},
}
# The same, with the time to ask Sentinels, or a cluster, also on a busy machine.
PATIENT = {"on_error": "raise", "options": {**STRICT["options"], "retry_deadline": 5}}

PRINTABLE = "".join(chr(code) for code in range(32, 127))
PASSWORDS = [
    "plain",
    PRINTABLE,
    "@/#:?%",
    "%40%2F%25",
    "p@ss:w/rd?db=3#x&password=y",
    "\"double\" and 'single'",
    "\\",
    "\\x41\\n",
    "'''",
    " in front and behind ",
    "{{ jinja }} {% raw %} ${shell} `x`",
    "REDIS_PASSWORD",
    "ключ 钥匙 🔑 é e\u0301 \u202e",
    "tab\tline\nfeed\x01\x7f",
]
# What a line of sentinel.conf takes without quotes.
SENTINELS_PASSWORD = "s3nt:inel/pa#ss@word?%41&x=y"
# The value that the smallest timeouts and compressors see.
VALUES = [0, -7, True, "", "text", "compressible " * 100, {"nested": [1, 2.5, None]}, "ключ"]


def node(server: RedisServer | None = None, **changes: Any) -> dict[str, Any]:
    """A node as redis_nodes makes it."""
    address = {"address": server.host, "port": server.port} if server else {"address": "192.0.2.1", "port": 6379}
    return {"name": "redis-1", **address, "socket": None, "tls": False, "role": "leader", **changes}


def settings_of(source: str, password: str = "", sentinel_password: str = "") -> dict[str, dict[str, Any]]:
    """What settings.py has after this right-hand side, with nothing but the passwords to refer to."""
    names: dict[str, Any] = {"__builtins__": {}, "REDIS_PASSWORD": password, SENTINEL_NAME: sentinel_password}
    exec(f"CACHES = {source}", names)
    caches: dict[str, dict[str, Any]] = names["CACHES"]
    return caches


def rendered(alias: Mapping[str, Any], mode: str, client: str, nodes: Any = (), **arguments: Any) -> dict[str, Any]:
    """The alias `default` of settings.py as the role renders it; the passwords are what the names are bound to."""
    password, sentinel_password = arguments.pop("password", ""), arguments.pop("sentinel_password", "")
    arguments["sentinel_password"] = sentinel_password and SENTINEL_NAME
    caches = django_caches({"default": alias}, mode, client, nodes, password and "REDIS_PASSWORD", **arguments)
    return settings_of(to_python(caches, names=["REDIS_PASSWORD", SENTINEL_NAME]), password, sentinel_password)[
        "default"
    ]


def loaded(setting: Mapping[str, Any]) -> Any:
    """Django's cache object for the setting."""
    return CacheHandler({"default": dict(setting)})["default"]


def cache_on(server: RedisServer, client: str, alias: Mapping[str, Any] | None = None, **changes: Any) -> Any:
    """Django's cache object on one real server."""
    return loaded(rendered(alias or {}, "standalone", client, [node(server, **changes)], password=server.password))


def pools_of(cache: Any) -> list[Any]:
    """The connection pools of a Redis cache, one for each server, in the order of LOCATION; nothing is connected."""
    if hasattr(cache, "_client") and hasattr(cache._client, "topology"):
        return [server.pool for server in cache._client.topology.servers()]
    if hasattr(cache, "_cache"):
        return [cache._cache._pool_class.from_url(url, **cache._cache._pool_options) for url in cache._servers]
    return [cache.client.connect(index).connection_pool for index in range(len(cache.client._server))]


def check_operations(cache: Any) -> None:
    for number, value in enumerate(VALUES):
        cache.set(f"key {number}".replace(" ", "-"), value)
    found = [cache.get(f"key-{number}") for number in range(len(VALUES))]
    assert found == VALUES
    assert [type(value) for value in found] == [type(value) for value in VALUES]
    assert cache.get_many(["key-4", "absent"]) == {"key-4": "text"}
    assert cache.incr("key-0", 5) == 5
    assert cache.delete("key-4")
    assert cache.get("key-4") is None


def leaves(value: Any) -> Iterator[Any]:
    """Every value in a tree of dicts and lists that is neither."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from leaves(item)
    else:
        yield value


COMBINATIONS = [
    pytest.param(mode, client, compressor, id=f"{mode}-{client}-{compressor}")
    for mode in ("locmem", "standalone", "replication")
    for client, compressor in itertools.product((BUILTIN, DJANGO_REDIS, RESILIENT), COMPRESSORS)
    if mode == "locmem" or client != BUILTIN or compressor == "none"
]
# Sentinels and what they watch, as the renderer is told of them.
WATCHED: dict[str, Any] = {"sentinels": [{"name": "redis-1", "address": "192.0.2.1", "port": 26379}], "service": "shop"}


def patient(client: str) -> dict[str, Any]:
    """What makes an alias of this client wait for servers that are late, where it can."""
    return PATIENT if client == RESILIENT else {}


def run_every_operation(caches: dict[str, Any]) -> None:
    """Do as `manage.py cachecheck` does, and see that nothing fails."""
    with override_settings(CACHES={"default": caches["leader"], **caches}):
        runs = run_operations(get_aliases())
    assert [(run.alias.name, result) for run in runs for result in run.results if result.state != OK] == []
