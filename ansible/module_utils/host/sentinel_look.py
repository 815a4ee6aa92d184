"""What a Sentinel says: the question ``sentinel`` of the module host_look, and what sentinel_agrees waits for."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from typing import Any

from ansible.module_utils.host.redis_look import asked_connection
from ansible.module_utils.redis_client import (
    ANY_NAME,
    MISUNDERSTOOD,
    RedisClient,
    RedisError,
    as_it_speaks,
    connect,
    credentials,
    remembered,
)


class NotYetError(Exception):
    """The Sentinel does not know everybody yet; the text says whom."""


def fields(reply: list[str]) -> dict[str, Any]:
    """One table of SENTINEL's answers, with the place as address:port and the flags as a set."""
    table: dict[str, Any] = dict(zip(reply[::2], reply[1::2]))
    return {**table, "place": f"{table['ip']}:{table['port']}", "flags": set(table["flags"].split(","))}


def unsettled(leader: dict[str, Any], replicas: list[dict[str, Any]]) -> str:
    """What is under way, or an empty text."""
    if "failover_in_progress" in leader["flags"]:
        return "a failover is under way"
    if leader["flags"] & {"s_down", "o_down"}:
        return f"the leader {leader['place']} does not answer"
    if leader.get("role-reported") == "slave":
        return f"{leader['place']}, which should lead, follows another server"
    for replica in replicas:
        if replica.get("role-reported") == "master" and not replica["flags"] & {"s_down", "disconnected"}:
            return f"{replica['place']} leads although {leader['place']} does"
    return ""


def is_down(table: dict[str, Any]) -> bool:
    """Whether the Sentinel has given somebody up; who is only disconnected may be about to be reached."""
    return "s_down" in table["flags"]


def expects(asked: Mapping[str, Any]) -> bool:
    """Whether the Sentinel has to run and to know somebody."""
    return bool(asked["nodes"] or asked["sentinels"])


def look(redis: RedisClient, asked: Mapping[str, Any]) -> dict[str, Any]:
    """What the Sentinel says now. Raises NotYetError where it does not know everybody that it should."""
    leader = fields(redis.command("SENTINEL", "MASTER", asked["service"]))
    replicas = [fields(reply) for reply in redis.command("SENTINEL", "REPLICAS", asked["service"])]
    others = [fields(reply) for reply in redis.command("SENTINEL", "SENTINELS", asked["service"])]
    try:
        quorum = str(redis.command("SENTINEL", "CKQUORUM", asked["service"]))
    except RedisError as error:
        quorum = str(error)
    answer: dict[str, Any] = {
        "leader_address": leader["ip"],
        "leader_port": int(leader["port"]),
        "quorum": quorum,
        "unsettled": unsettled(leader, replicas),
    }
    if expects(asked):
        wanted = {*asked["nodes"], *asked["sentinels"]}
        known = [leader, *replicas, *others]
        there = {table["place"] for table in known if not is_down(table) and "disconnected" not in table["flags"]}
        # This Sentinel itself is on no list, so one of those that are wanted is not either.
        missing = sorted(set(asked["nodes"]) - there)
        if len(set(asked["sentinels"]) & there) < len(asked["sentinels"]) - 1:
            missing += sorted(set(asked["sentinels"]) - there)
        if missing:
            raise NotYetError(f"it does not know, or does not reach, {', '.join(missing)}")
        # Who knows not all that there should be cannot tell who should not.
        extra = [table for table in known if asked["nodes"] and table["place"] not in wanted]
        answer["gone"] = [table["place"] for table in extra if is_down(table)]
        answer["strangers"] = [table["place"] for table in extra if not is_down(table)]
    return answer


def settled(connection: dict[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """Look until nothing is under way and everybody is known, for ``wait`` seconds.

    What is unsettled after that is returned. Raises NotYetError, OSError or RedisError.
    """
    deadline = time.monotonic() + asked["wait"]
    while True:
        try:
            with connect(connection) as redis:
                answer = look(redis, asked)
            if not answer["unsettled"] or time.monotonic() >= deadline:
                return answer
        except (NotYetError, ConnectionRefusedError):
            if not expects(asked) or time.monotonic() >= deadline:
                raise
        time.sleep(0.1)


def settled_as_it_speaks(connection: dict[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """The same of a Sentinel that is only asked, whether or not it speaks TLS as it should; and as whom one asks."""
    try:
        answer = {"tls": bool(connection["tls_name"]), "trusted": True, **settled(connection, asked)}
    except MISUNDERSTOOD as error:
        if expects(asked):
            raise
        spoken = as_it_speaks(connection)
        if isinstance(error, socket.timeout) and connection["tls_name"] and spoken["tls_name"]:
            # It speaks as it should and was slow, which says nothing of its certificate.
            spoken = connection
        tls, trusted = bool(spoken["tls_name"]), spoken["tls_name"] != ANY_NAME
        answer = {"tls": tls, "trusted": trusted, **settled(spoken, asked)}
    user = credentials(connection["auth_file"])[0] if connection["auth_file"] else ""
    return {**answer, "user": user}


def sentinel_state(question: Mapping[str, Any]) -> dict[str, Any]:
    """Who leads, as the Sentinel of this host has it once that is settled, for at most ``wait`` seconds.

    ``question`` has the connection's parameters side by side with ``service``, ``volatile_file`` and ``wait``. Returns
    ``running``, ``leader_address``, ``leader_port``, ``quorum`` (what ``SENTINEL CKQUORUM`` says), ``unsettled``,
    ``tls``, ``trusted`` (whether its certificate, if it has one, is of the host's CA and valid) and ``user`` (as whom
    the roles log in). One that does not answer has ``error``, and whom it took for the leader when it last ran.
    """
    asked = {"service": question["service"], "nodes": (), "sentinels": (), "wait": question.get("wait", 30)}
    try:
        return {"running": True, **settled_as_it_speaks(asked_connection(question), asked)}
    except (NotYetError, OSError, RedisError) as error:
        leader = remembered(question.get("volatile_file"), ("sentinel", "monitor", question["service"]))
        return {"running": False, "error": str(error), **leader}
