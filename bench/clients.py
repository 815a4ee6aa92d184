"""What is compared: Django's caches with the same server behind them, and redis-py below them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import redis
from django.conf import settings
from django.core.cache import caches

from bench.tls import TLS

# Options that projects give Django's own client.
TYPICAL = {
    "db": 1,
    "max_connections": 2**12,
    "socket_connect_timeout": 3.5,
    "socket_timeout": 5.5,
    "health_check_interval": 5,
    "protocol": 2,
}
TIMEOUT = 300

# The client `resilient` signs what it stores, as it does by default, unless it is said to write plain pickles.
BUILTIN, RESILIENT, PICKLE, UNIX = "builtin", "resilient", "resilient pickle", "resilient unix"
BUILTIN_TLS, RESILIENT_TLS = "builtin TLS", "resilient TLS"
DJANGO_REDIS, LOCMEM, RAW, LIMIT = "django-redis", "locmem", "raw redis-py", "redis-benchmark"
# All but redis-benchmark, which is a program of its own: limit.py.
VARIANTS = (BUILTIN, RESILIENT, PICKLE, UNIX, BUILTIN_TLS, RESILIENT_TLS, DJANGO_REDIS, LOCMEM, RAW)


class Client(Protocol):
    """What the measurements call: of Django's caches, and of redis-py by another name."""

    def get(self, key: str) -> Any:
        """Return the value."""

    def set(self, key: str, value: Any) -> Any:
        """Store the value for TIMEOUT seconds."""

    def get_many(self, keys: Sequence[str]) -> Any:
        """Return the values of the keys."""


class RawClient:
    """redis-py as it is, bytes in and bytes out. Threads share it and its pool."""

    def __init__(self, port: int) -> None:
        # redis-py's types know no arguments that come together.
        options: dict[str, Any] = TYPICAL
        self._redis = redis.Redis(port=port, **options)

    def get(self, key: str) -> Any:
        """Return the value."""
        return self._redis.get(key)

    def set(self, key: str, value: Any) -> Any:
        """Store the value for TIMEOUT seconds."""
        return self._redis.set(key, value, ex=TIMEOUT)

    def get_many(self, keys: Sequence[str]) -> Any:
        """Return the values of the keys."""
        return self._redis.mget(keys)


class Clients:
    """The clients of these variants, for one server."""

    def __init__(self, port: int, variants: Sequence[str]) -> None:
        self.variants = variants
        self._raw = RawClient(port)

    def of(self, variant: str) -> Client:
        """Return the client of this thread, which for a cache is as Django has it: one for each thread."""
        return self._raw if variant == RAW else caches[variant]


def set_up_django(url: str, socket: Path, tls: TLS | None) -> list[str]:
    """Tell Django of the views in asgi_views.py and of the caches at this URL, this Unix socket and with TLS, if any.

    Returns the variants that can be measured.
    """
    entries = _entries(url, socket, tls)
    settings.configure(
        SECRET_KEY="for measuring alone",
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF="bench.asgi_views",
        CACHES={
            # Nobody reads another's format; and Django warns, at length, of a key that has a blank.
            alias: {"TIMEOUT": TIMEOUT, "KEY_PREFIX": alias.replace(" ", "-"), **entry}
            for alias, entry in entries.items()
        },
    )
    return [variant for variant in VARIANTS if variant in entries or variant == RAW]


def _entries(url: str, socket: Path, tls: TLS | None) -> dict[str, dict[str, Any]]:
    """Return each alias with its entry of CACHES."""
    ours: dict[str, Any] = {"BACKEND": "cachestack.resilient.RedisCache", "LOCATION": url, "OPTIONS": {"db": 1}}
    pool = {name: value for name, value in TYPICAL.items() if name != "db"}
    builtin: dict[str, Any] = {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": url,
        "OPTIONS": TYPICAL,
    }
    entries: dict[str, dict[str, Any]] = {
        # Django wants an alias of this name.
        "default": builtin,
        BUILTIN: builtin,
        RESILIENT: ours,
        PICKLE: {**ours, "OPTIONS": {"db": 1, "serializer": "pickle"}},
        UNIX: {**ours, "LOCATION": f"unix://{socket}"},
        DJANGO_REDIS: {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": f"{url}/{TYPICAL['db']}",
            "OPTIONS": {"CONNECTION_POOL_KWARGS": pool},
        },
        LOCMEM: {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
    }
    if tls:
        for variant, entry in ((BUILTIN_TLS, builtin), (RESILIENT_TLS, ours)):
            options = {**entry["OPTIONS"], "ssl_ca_certs": str(tls.ca_file), "ssl_check_hostname": True}
            entries[variant] = {**entry, "LOCATION": tls.url, "OPTIONS": options}
    return entries
