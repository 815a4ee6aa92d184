"""Who logs in to the servers, and what Django may do there."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from typing import Any

from deployment.clients import CLIENTS, DEFAULT_PREFIX
from deployment.model import Deployment

# The users that a mode needs beside app, admin and monitor.
OF_MODE = {"replication": ["replica"], "sentinel": ["replica", "sentinel"], "cluster": ["replica"]}
# Whose backend it is, by how its path begins.
BACKENDS = {"django.": "builtin", "django_redis.": "django_redis", "cachestack.": "resilient"}


def derived_password(secret: str, user: str) -> str:
    """The password of a user whom nobody but the roles gives one: from the roles' own, which cannot be had from it."""
    digest = hmac.new(str(secret).encode(), f"cachestack {user}".encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def redis_passwords(password: str, admin_password: str, mode: str) -> dict[str, str]:
    """The password of each user of a server: ``app``, ``admin``, ``monitor``, and those that the ``mode`` needs.

    Without ``admin_password`` there are no users, and ``default`` has the one ``password``.
    """
    if not admin_password:
        return {"default": str(password)}
    derived = {user: derived_password(admin_password, user) for user in ["monitor", *OF_MODE.get(mode, [])]}
    return {"admin": str(admin_password), "app": str(password), **derived}


def redis_access(deployment: Deployment) -> dict[str, list[str]]:
    """What the Django hosts of a deployment come with, asked or not.

    Returns ``clients``, and ``keys``: patterns of the keys of all their aliases, whatever client and serializer.
    """
    clients: set[str] = set()
    keys: set[str] = set()
    for name in deployment.apps:
        caches = deployment.mapping(name, "django_app_caches")
        for cache in caches.values():
            backend = str(cache.get("BACKEND"))
            if "redis" in backend.lower():
                clients |= {client for start, client in BACKENDS.items() if backend.startswith(start)} or set(CLIENTS)
                keys.add("*" if "KEY_FUNCTION" in cache else f"{_literal(cache.get('KEY_PREFIX', ''))}:*")
        if not caches:
            clients.add(deployment.client(name))
            aliases = deployment.aliases(name).values()
            keys |= {f"{_literal((alias or {}).get('key_prefix', DEFAULT_PREFIX))}/*" for alias in aliases}
    return {"clients": sorted(clients), "keys": sorted(keys)}


def _literal(prefix: Any) -> str:
    """A pattern that stands for the prefix itself, and has no blank and no NUL, at which the server would end it."""
    # The server takes Unicode's other blanks, most of which are several characters to it.
    return re.sub(r"[\s\0]", "?", re.sub(r"([*?\[\]\\])", r"\\\1", str(prefix)), flags=re.ASCII)
