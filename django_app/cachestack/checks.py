"""The system check of CACHES. It needs neither Django 4.2 nor redis-py unless an alias has a backend that does."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage
from django.utils.module_loading import import_string


def check_caches(**_kwargs: Any) -> list[CheckMessage]:
    """Return what is wrong with the aliases whose backend is one of cachestack.resilient, or a subclass."""
    entries = list(_entries())
    if not entries:
        return []
    from .resilient.checks import check_entries

    return check_entries(entries)


def _entries() -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Yield the alias, the kind of its backend and what settings.CACHES says about it."""
    for alias, entry in settings.CACHES.items():
        try:
            backend = import_string(entry["BACKEND"])
        # Django says so itself, and better than a check can.
        except (ImportError, KeyError):
            continue
        # Whoever imports one of the classes has imported their module.
        ours = sys.modules.get("cachestack.resilient.backends")
        if ours and issubclass(backend, ours.RedisCache):
            yield alias, backend.kind, entry
