#!/usr/bin/python
"""Ansible module: ask a Sentinel who leads and whom it knows, once it has settled."""

from __future__ import annotations

import socket
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.redis_client import (
    ANY_NAME,
    CONNECTION_SPEC,
    MISUNDERSTOOD,
    RedisClient,
    RedisError,
    as_it_speaks,
    connect,
    credentials,
)

DOCUMENTATION = r"""
module: redis_sentinel_info
short_description: Ask a Sentinel who leads and whom it knows
description:
  - Waits while a failover is under way, or a former leader has come back that Sentinel is about to demote. What is not
    settled after that is returned as I(unsettled), and is no failure.
  - With I(nodes) and I(sentinels) it also waits until the Sentinel runs and knows them, and fails if it does not.
options:
  service: {description: The name of what is watched., type: str, required: true}
  volatile_file: {description: "The Sentinel's own file, read where the Sentinel does not answer.", type: path}
  nodes: {description: "The servers that it must know, as address:port.", type: list, elements: str, default: []}
  sentinels: {description: "The Sentinels, itself included, as address:port.", type: list, elements: str, default: []}
  forget: {description: Have it forget who is away and not among these., type: bool, default: false}
  wait: {description: Seconds to wait., type: int, default: 30}
  address: {description: Address to connect to., type: str, default: 127.0.0.1}
  port: {description: Port to connect to., type: int, required: true}
  tls_ca_file: {description: The authority that signed the certificate of a server with TLS., type: path}
  tls_name: {description: The name in that certificate., type: str}
  auth_file: {description: A redis.conf on the host that the roles wrote; it has what to log in with., type: path}
  timeout: {description: Seconds to wait for the connection and for each reply., type: float, default: 5}
author: the cachestack authors
"""

EXAMPLES = r"""
- name: Ask who leads
  redis_sentinel_info:
    port: 26379
    auth_file: /etc/redis/redis-sentinel-26379.auth.conf
    service: mymaster
"""

RETURN = r"""
leader_address: {description: Who leads; from the file where the Sentinel does not answer., type: str}
leader_port: {description: Who leads., type: int}
running: {description: Whether the Sentinel answered., type: bool}
tls: {description: "Whether the Sentinel speaks TLS, be that wanted or not.", type: bool}
trusted: {description: "Whether its certificate, if it has one, is of the host's authority and valid.", type: bool}
user: {description: "The user as whom the roles log in, empty where it has no users.", type: str}
quorum: {description: "What C(SENTINEL CKQUORUM) says.", type: str}
unsettled: {description: "What is not settled, or nothing.", type: str}
gone: {description: Whom it knows who is away and not among the given ones., type: list}
strangers: {description: Whom it knows who is there and not among the given ones., type: list}
error: {description: Why the Sentinel did not answer., type: str}
"""


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


def expects(params: dict[str, Any]) -> bool:
    """Whether the Sentinel has to run and to know somebody."""
    return bool(params["nodes"] or params["sentinels"])


def look(redis: RedisClient, params: dict[str, Any]) -> dict[str, Any]:
    """What the Sentinel says now. Raises NotYetError where it does not know everybody that it should."""
    leader = fields(redis.command("SENTINEL", "MASTER", params["service"]))
    replicas = [fields(reply) for reply in redis.command("SENTINEL", "REPLICAS", params["service"])]
    others = [fields(reply) for reply in redis.command("SENTINEL", "SENTINELS", params["service"])]
    try:
        quorum = str(redis.command("SENTINEL", "CKQUORUM", params["service"]))
    except RedisError as error:
        quorum = str(error)
    answer: dict[str, Any] = {
        "leader_address": leader["ip"],
        "leader_port": int(leader["port"]),
        "quorum": quorum,
        "unsettled": unsettled(leader, replicas),
    }
    if expects(params):
        wanted = {*params["nodes"], *params["sentinels"]}
        known = [leader, *replicas, *others]
        there = {table["place"] for table in known if not is_down(table) and "disconnected" not in table["flags"]}
        # This Sentinel itself is on no list, so one of those that are wanted is not either.
        missing = sorted(set(params["nodes"]) - there)
        if len(set(params["sentinels"]) & there) < len(params["sentinels"]) - 1:
            missing += sorted(set(params["sentinels"]) - there)
        if missing:
            raise NotYetError(f"it does not know, or does not reach, {', '.join(missing)}")
        # Who knows not all that there should be cannot tell who should not.
        extra = [table for table in known if params["nodes"] and table["place"] not in wanted]
        answer["gone"] = [table["place"] for table in extra if is_down(table)]
        answer["strangers"] = [table["place"] for table in extra if not is_down(table)]
    return answer


def settled(params: dict[str, Any]) -> dict[str, Any]:
    """Look until nothing is under way and everybody is known. Raises NotYetError, OSError or RedisError."""
    deadline = time.monotonic() + params["wait"]
    while True:
        try:
            with connect(params) as redis:
                answer = look(redis, params)
            if not answer["unsettled"] or time.monotonic() >= deadline:
                return answer
        except (NotYetError, ConnectionRefusedError):
            if not expects(params) or time.monotonic() >= deadline:
                raise
        time.sleep(0.1)


def settled_as_it_speaks(params: dict[str, Any]) -> dict[str, Any]:
    """The same of a Sentinel that is only asked, whether or not it speaks TLS as it should; and as whom one asks."""
    try:
        answer = {"tls": bool(params["tls_name"]), "trusted": True, **settled(params)}
    except MISUNDERSTOOD as error:
        if expects(params):
            raise
        spoken = as_it_speaks(params)
        if isinstance(error, socket.timeout) and params["tls_name"] and spoken["tls_name"]:
            # It speaks as it should and was slow, which says nothing of its certificate.
            spoken = params
        answer = {"tls": bool(spoken["tls_name"]), "trusted": spoken["tls_name"] != ANY_NAME, **settled(spoken)}
    user = credentials(params["auth_file"])[0] if params["auth_file"] else ""
    return {**answer, "user": user}


def remembered(params: dict[str, Any]) -> dict[str, Any]:
    """Whom a Sentinel that does not answer took for the leader when it last ran."""
    try:
        with open(params["volatile_file"] or "", encoding="utf-8") as lines:
            for line in lines:
                words = line.split()
                if words[:3] == ["sentinel", "monitor", params["service"]]:
                    return {"leader_address": words[3], "leader_port": int(words[4])}
    except FileNotFoundError:
        pass
    return {}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        {
            **CONNECTION_SPEC,
            "service": {"type": "str", "required": True},
            "volatile_file": {"type": "path"},
            "nodes": {"type": "list", "elements": "str", "default": []},
            "sentinels": {"type": "list", "elements": "str", "default": []},
            "forget": {"type": "bool", "default": False},
            "wait": {"type": "int", "default": 30},
        },
        supports_check_mode=True,
    )
    params = module.params
    changed = False
    try:
        answer = settled_as_it_speaks(params)
        # In the middle of a failover it would forget that as well.
        if params["forget"] and answer.get("gone") and not answer["unsettled"]:
            changed = True
            if not module.check_mode:
                with connect(params) as redis:
                    redis.command("SENTINEL", "RESET", params["service"])
                answer |= settled(params)
    except NotYetError as error:
        module.fail_json(msg=f"the Sentinel on port {params['port']} is not ready after {params['wait']} s: {error}")
    except (OSError, RedisError) as error:
        module.exit_json(changed=False, running=False, error=str(error), **remembered(params))
    for place in answer.get("strangers", []):
        module.warn(
            f"{place} is not in the inventory and still takes part; stop it, and run again to have it forgotten"
        )
    module.exit_json(changed=changed, running=True, **answer)


if __name__ == "__main__":
    main()
