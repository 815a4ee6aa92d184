"""What the servers on a host say of themselves: the questions ``redis`` and ``sentinel`` of the module host_look."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ansible.module_utils.host.sentinel import NotYetError, settled_as_it_speaks
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
        answer = ask_own_role(_connection(question))
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


def sentinel_state(question: Mapping[str, Any]) -> dict[str, Any]:
    """Who leads, as the Sentinel of this host has it once that is settled, for at most ``wait`` seconds.

    ``question`` has the connection's parameters side by side with ``service``, ``volatile_file`` and ``wait``. Returns
    ``running``, ``leader_address``, ``leader_port``, ``quorum`` (what ``SENTINEL CKQUORUM`` says), ``unsettled``,
    ``tls``, ``trusted`` (whether its certificate, if it has one, is of the host's CA and valid) and ``user`` (as whom
    the roles log in). One that does not answer has ``error``, and whom it took for the leader when it last ran.
    """
    asked = {"service": question["service"], "nodes": (), "sentinels": (), "wait": question.get("wait", 30)}
    try:
        return {"running": True, **settled_as_it_speaks(_connection(question), asked)}
    except (NotYetError, OSError, RedisError) as error:
        leader = remembered(question.get("volatile_file"), ("sentinel", "monitor", question["service"]))
        return {"running": False, "error": str(error), **leader}


def _connection(question: Mapping[str, Any]) -> dict[str, Any]:
    return connection_of({name: question[name] for name in CONNECTION_SPEC if name in question})
