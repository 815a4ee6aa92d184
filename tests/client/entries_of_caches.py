"""Entries of CACHES for the resilient backends, and what Django's checks say about them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core.checks import run_checks
from django.test import override_settings

from cachestack.resilient.options import Options, parse
from servers import SERVICE

SECRET = "s3cr3t-w0rd"
URL = "redis://127.0.0.1:6379"
PACKAGE = "cachestack.resilient"
BACKENDS = {name.lower(): f"{PACKAGE}.{name}RedisCache" for name in ("Sentinel", "Cluster")}
BACKENDS["server"] = f"{PACKAGE}.RedisCache"
SESSIONS = "django.contrib.sessions.backends.cache"
LOCMEM = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
SENTINELS = [("10.0.0.1", 26379)]


def entry(kind: str = "server", location: Any = URL, **changes: Any) -> dict[str, Any]:
    """One of CACHES; what begins with a small letter is an option."""
    found = {"BACKEND": BACKENDS[kind], "LOCATION": location}
    found.update({name: value for name, value in changes.items() if name[0].isupper()})
    options = {name: value for name, value in changes.items() if not name[0].isupper()}
    if options:
        found["OPTIONS"] = options
    return found


def sentinel(**changes: Any) -> dict[str, Any]:
    return entry("sentinel", **{"location": f"redis://{SERVICE}", "sentinels": SENTINELS, **changes})


def cluster(location: Any = URL, **changes: Any) -> dict[str, Any]:
    return entry("cluster", location, **changes)


def parsed(setting: Mapping[str, Any]) -> Options:
    kind = next(kind for kind, backend in BACKENDS.items() if backend == setting["BACKEND"])
    return parse(kind, setting["LOCATION"], setting, "web")


def check(**caches: Any) -> list[Any]:
    """The messages of our check about these aliases, by way of Django's registry."""
    with override_settings(CACHES={"default": LOCMEM, **caches}):
        return [message for message in run_checks(tags=["caches"]) if str(message.id).startswith("cachestack.")]


def assert_says(text: str, words: str) -> None:
    assert text.startswith("CACHES['web']: ")
    # Words, and not phrases: a message may say them in another order.
    assert [word for word in words.split() if word not in text] == [], text
    assert SECRET not in text
