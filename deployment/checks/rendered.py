"""CACHES as it is rendered, and refused where the client or Django would not take it as it is meant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from cachestack.entries import BACKENDS
from deployment.checks.caches import alias_faults, read_entry
from deployment.checks.problems import shown
from deployment.clients import CLIENTS, UNABLE
from deployment.render.caches import CacheSettingsError, render_caches


def django_caches(
    aliases: Mapping[str, Mapping[str, Any]],
    mode: str,
    client: str,
    nodes: Iterable[Mapping[str, Any]] = (),
    password: str | None = None,
    ca_file: str | None = None,
    session_alias: str | None = None,
    **arguments: Any,
) -> dict[str, dict[str, Any]]:
    """The value of CACHES, as deployment.render.caches.render_caches makes it of the same arguments.

    Raises CacheSettingsError naming the alias, what is wrong with it, and what to write instead; a line for each.
    """
    _check(aliases, mode, client, session_alias)
    caches = render_caches(aliases, mode, client, nodes, password, ca_file, session_alias, **arguments)
    _check_entries(caches)
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


def _check_entries(caches: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse what the bundle's own client would refuse when Django starts."""
    read = {name: read_entry(cache) for name, cache in caches.items() if cache["BACKEND"] in BACKENDS.values()}
    problems = [f"{name}: {problem}" for name, entry in read.items() for problem in entry.problems]
    if problems:
        raise CacheSettingsError("\n".join(problems))


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
