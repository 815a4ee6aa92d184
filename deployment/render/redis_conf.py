"""Directives of redis.conf: their text, and what follows from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deployment.secrets import SECRET_DIRECTIVE


def redis_conf(directives: Mapping[str, Any]) -> str:
    """``directives`` as redis.conf lines, sorted by name.

    A value is written as in redis.conf (``{"save": "3600 1"}``); booleans become yes or no, a list becomes one line for
    each entry, an empty string becomes ``""`` and None leaves the directive out. Raises ValueError for a value with a
    line break or a control character, which would change the lines after it.
    """
    lines = []
    for name in sorted(directives):
        values = directives[name]
        for value in values if isinstance(values, list) else [values]:
            if value is not None:
                lines.append(f"{name} {_argument(name, value)}")
    return "\n".join(lines)


def _argument(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = str(value)
    if any(ord(character) < 32 for character in text):
        raise ValueError(f"the value of the Redis directive {name} contains a line break or a control character")
    return text or '""'


def redis_persists(directives: Mapping[str, Any]) -> bool:
    """Whether a server with these directives has its data again after a restart: by the log or by snapshots."""
    log = str(directives.get("appendonly", "no")).strip().strip('"').lower()
    saves = directives.get("save")
    snapshots = [str(save).strip().strip('"') for save in (saves if isinstance(saves, list) else [saves])]
    return log in ("yes", "true") or any(snapshot not in ("", "None") for snapshot in snapshots)


def redis_has_secrets(directives: Mapping[str, Any]) -> bool:
    """Whether a value among these is nothing to be seen in a log; by name, as in the part ``configuration``."""
    return any(SECRET_DIRECTIVE.match(str(name).lower()) for name in directives)
