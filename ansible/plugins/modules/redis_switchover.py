#!/usr/bin/python
"""Ansible module: have a replica take over from a leader that is about to be restarted, without losing a write."""

from __future__ import annotations

import re
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.redis_client import CONNECTION_SPEC, RedisClient, RedisError, at, connect, login

DOCUMENTATION = r"""
module: redis_switchover
short_description: Have a replica take over from a leader
description:
  - Runs on the leader's host. Under Sentinel, writes wait until the replicas have everything, a Sentinel promotes one,
    and the former leader follows it at once; Sentinel alone would let it take writes for some ten seconds more, all of
    them lost. In a cluster the primary's own replica does all this (C(CLUSTER FAILOVER)).
  - A server that does not lead is left alone.
options:
  has_successors:
    description: Whether somebody is there who could promote a replica.
    type: bool
    default: true
  sentinels: {description: "The Sentinels; none for a cluster.", type: list, elements: dict, default: []}
  sentinel_user: {description: "The user who may command them, where they have users.", type: str, default: ""}
  sentinel_password: {description: "That user's password, or the Sentinels' one.", type: str}
  sentinel_tls: {description: Whether the Sentinels speak TLS., type: bool, default: false}
  service: {description: The name of what the Sentinels watch., type: str}
  wait: {description: Seconds until another one must lead., type: int, default: 15}
extends_documentation_fragment: [redis_connection]
author: the cachestack authors
"""

EXAMPLES = r"""
- name: Have a replica take over
  redis_switchover:
    port: 6379
    auth_file: /etc/redis/redis-6379.auth.conf
    service: mymaster
    sentinels: [{address: 10.0.0.11, port: 26379}]
    sentinel_password: "{{ redis_sentinel_password }}"
"""

RETURN = r"""
leader: {description: Who leads now; missing where this server did not lead., type: str}
alone: {description: "Why no replica takes over, which is no failure; else missing.", type: str}
"""

# Seconds by which writes wait longer than this module does; if shorter, the leader would take writes that are lost.
GRACE = 1


class SwitchoverError(Exception):
    """Nobody takes over; the text says why."""


def wait_for(condition: Any, deadline: float, reason: str) -> Any:
    """Ask until the condition is something, and return that. Raises SwitchoverError with the reason."""
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() >= deadline:
            raise SwitchoverError(reason)
        time.sleep(0.02)


def replicas_offsets(redis: RedisClient) -> list[int]:
    """How far each replica is that is online."""
    fields = redis.info("replication")
    replicas = [dict(re.findall(r"(\w+)=([^,]*)", fields[name])) for name in fields if re.fullmatch(r"slave\d+", name)]
    return [int(replica["offset"]) for replica in replicas if replica["state"] == "online"]


def have_everything(redis: RedisClient) -> bool:
    """Whether the replicas that are online have what this server has."""
    has = int(redis.info("replication")["master_repl_offset"])
    offsets = replicas_offsets(redis)
    return bool(offsets) and min(offsets) >= has


def ask_sentinel(params: dict[str, Any], *command: str) -> Any:
    """The answer of the first Sentinel that gives one."""
    last: Exception = SwitchoverError("no Sentinel was named")
    for sentinel in params["sentinels"]:
        place = {"address": sentinel["address"], "port": int(sentinel["port"])}
        try:
            tls_name = sentinel["address"] if params["sentinel_tls"] else None
            with connect({**params, **place, "auth_file": None, "tls_name": tls_name}) as redis:
                login(redis, params["sentinel_user"], params["sentinel_password"])
                return redis.command("SENTINEL", *command)
        except (OSError, RedisError) as error:
            last = error
    raise SwitchoverError(f"no Sentinel does it: {last}")


def promoted(params: dict[str, Any]) -> bool:
    """Have a Sentinel promote a replica. One that has just been restarted may not be known to be there again."""
    try:
        ask_sentinel(params, "FAILOVER", params["service"])
    except SwitchoverError as error:
        # Another Sentinel has been asked before, and gave no answer in time.
        if "INPROG" in str(error):
            return True
        if "NOGOODSLAVE" in str(error):
            return False
        raise
    return True


def by_sentinel(redis: RedisClient, params: dict[str, Any], deadline: float) -> str:
    """Have a Sentinel promote a replica, follow that, and return its address and port."""
    service = params["service"]
    before = ask_sentinel(params, "GET-MASTER-ADDR-BY-NAME", service)
    try:
        # Reads go on. Servers before Redis 6.2 cannot do that, and there writes of the last moment may be lost.
        redis.command("CLIENT", "PAUSE", (params["wait"] + GRACE) * 1000, "WRITE")
        paused = True
    except RedisError:
        paused = False
    try:
        if paused:
            wait_for(lambda: have_everything(redis), deadline, "no replica has what the leader has")
        wait_for(lambda: promoted(params), deadline, "the Sentinels know no replica that could lead")

        def other() -> Any:
            now = ask_sentinel(params, "GET-MASTER-ADDR-BY-NAME", service)
            return now if now != before else None

        address, port = wait_for(other, deadline, f"the Sentinels still name {before[0]}:{before[1]}")
        redis.command("REPLICAOF", address, port)
        redis.command("CONFIG", "REWRITE")
    finally:
        if paused:
            redis.command("CLIENT", "UNPAUSE")
    return f"{address}:{port}"


def place_of(endpoint: str) -> tuple[str, int]:
    """Address and port of what CLUSTER NODES calls address:port@bus,name."""
    address, _, port = endpoint.partition("@")[0].rpartition(":")
    return address, int(port)


def has_its_data(endpoint: str, params: dict[str, Any]) -> bool:
    """Whether a replica answers and is connected to its primary."""
    try:
        with connect(at(*place_of(endpoint), params)) as replica:
            return bool(replica.command("ROLE")[3] == "connected")
    except (IndexError, OSError, RedisError):
        return False


def by_cluster(redis: RedisClient, params: dict[str, Any], deadline: float) -> str:
    """Have one of the primary's replicas take over, and return its address and port."""
    own = redis.command("CLUSTER", "MYID")
    rows = [line.split() for line in redis.command("CLUSTER", "NODES").splitlines()]
    heirs = [row[1] for row in rows if row[3] == own and "fail" not in row[2]]
    linked = [heir for heir in heirs if has_its_data(heir, params)]
    if not linked:
        raise SwitchoverError("this primary has no replica that is there and has its data")
    address, port = place_of(linked[0])
    with connect(at(address, port, params)) as heir:
        heir.command("CLUSTER", "FAILOVER")
        wait_for(lambda: heir.command("ROLE")[0] == "master", deadline, f"{address}:{port} does not take over")
    wait_for(lambda: redis.command("ROLE")[0] == "slave", deadline, f"it does not follow {address}:{port}")
    return f"{address}:{port}"


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        {
            **CONNECTION_SPEC,
            "has_successors": {"type": "bool", "default": True},
            "sentinels": {"type": "list", "elements": "dict", "default": []},
            "sentinel_user": {"type": "str", "default": ""},
            "sentinel_password": {"type": "str", "no_log": True},
            "sentinel_tls": {"type": "bool", "default": False},
            "service": {"type": "str"},
            "wait": {"type": "int", "default": 15},
        },
        supports_check_mode=True,
    )
    params = module.params
    place = f"{params['address']}:{params['port']}"
    try:
        redis = connect(params)
        role, *details = redis.command("ROLE")
    except (OSError, RedisError) as error:
        module.exit_json(changed=False, alone=f"it does not say whether it leads ({error})")
    with redis:
        if role != "master":
            module.exit_json(changed=False)
        is_node = redis.info("cluster").get("cluster_enabled") == "1"
        if not params["has_successors"] or not details[1] or is_node == bool(params["sentinels"]):
            module.exit_json(changed=False, alone="it leads, and no replica can take over")
        if module.check_mode:
            module.exit_json(changed=True)
        try:
            take_over = by_sentinel if params["sentinels"] else by_cluster
            leader = take_over(redis, params, time.monotonic() + params["wait"])
        except (OSError, RedisError, SwitchoverError) as error:
            module.fail_json(msg=f"nobody takes over from {place}, which was not restarted: {error}")
    module.exit_json(changed=True, leader=leader)


if __name__ == "__main__":
    main()
