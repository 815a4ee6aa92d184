"""What the Redis server on a host says of itself: the question ``redis`` of the module host_look."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ansible.module_utils.redis_client import (
    CONNECTION_SPEC,
    MISUNDERSTOOD,
    RedisError,
    as_it_speaks,
    ask_role,
    connection_of,
    remembered,
)


def redis_state(question: Mapping[str, Any]) -> dict[str, Any]:
    """What the Redis server of this host is; one that does not answer is no failure.

    ``question`` has the connection's parameters side by side with ``volatile_file`` and ``persists``. Returns what
    `ask_role` does and ``tls`` (whether it speaks TLS, be that wanted or not); else ``error``, and whom it followed
    when it last ran. ``installed`` is whether it has run here before, and has its data again when it starts.
    """
    volatile_file = question.get("volatile_file") or ""
    try:
        answer = ask_own_role(asked_connection(question))
    except (OSError, RedisError) as error:
        answer = {"error": str(error), **remembered(volatile_file)}
    return {**answer, "installed": bool(question.get("persists", True) and os.path.exists(volatile_file))}


def ask_own_role(connection: dict[str, Any]) -> dict[str, Any]:
    """What the server on this host is, whether or not it speaks TLS as it should. Raises OSError or RedisError."""
    try:
        return {"tls": bool(connection["tls_name"]), **ask_role(connection)}
    except MISUNDERSTOOD:
        spoken = as_it_speaks(connection)
        return {"tls": bool(spoken["tls_name"]), **ask_role(spoken)}


def asked_connection(question: Mapping[str, Any]) -> dict[str, Any]:
    """The connection that is described by a question, beside what else it asks."""
    return connection_of({name: question[name] for name in CONNECTION_SPEC if name in question})
