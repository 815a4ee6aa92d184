"""The cache clients of Django hosts: what each is called, and what it can."""

from __future__ import annotations

from typing import Any

# The key prefix of an alias that says none.
DEFAULT_PREFIX = "dj"
# The aliases where the inventory has none. A cluster has one database, so there they differ in their prefixes.
DEFAULT_ALIASES: dict[str, dict[str, dict[str, Any]]] = {
    "cluster": {"default": {}, "dj_session": {"key_prefix": "session"}},
    "others": {"default": {"db": 1}, "dj_session": {"db": 2}},
}
CLIENTS = ("builtin", "django_redis", "resilient")
# The clients that cannot serve a mode.
UNABLE = {("builtin", "sentinel"), ("builtin", "cluster"), ("django_redis", "cluster")}
# The lowest Django that has each client.
DJANGO_FLOOR = {"builtin": (4, 0), "django_redis": (3, 2), "resilient": (4, 2)}
# Redis has so many databases unless its configuration says otherwise.
DATABASES = 16
# The options of Django's own cache in memory.
LOCMEM_OPTIONS = ("MAX_ENTRIES", "CULL_FREQUENCY")
