#!/usr/bin/python
"""Ansible module: make a Redis server lead, or follow a leader, and wait until it serves."""

from __future__ import annotations

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.redis_client import CONNECTION_SPEC, RedisError, ask_role, at, connect, remembered

DOCUMENTATION = r"""
module: redis_follow
short_description: Make a Redis server lead, or follow a leader
description:
  - Waits until the server answers, changes its role where that is another, has the server remember it, and waits until
    a replica has the data that its leader had when the replica was connected.
options:
  leader_address: {description: Whom to follow; the server leads where this is missing., type: str}
  leader_port: {description: Whom to follow., type: int}
  keep_role: {description: "Change no role, only wait: others decide who leads.", type: bool, default: false}
  volatile_file: {description: The file to which the server writes its topology., type: path}
  wait: {description: Seconds to wait until the server serves., type: int, default: 300}
  address: {description: Address to connect to., type: str, default: 127.0.0.1}
  port: {description: Port to connect to., type: int, required: true}
  tls_ca_file: {description: The authority that signed the certificate of a server with TLS., type: path}
  tls_name: {description: The name in that certificate., type: str}
  auth_file: {description: A redis.conf on the host that the roles wrote; it has what to log in with., type: path}
  timeout: {description: Seconds to wait for the connection and for the reply., type: float, default: 5}
author: the cachestack authors
"""

EXAMPLES = r"""
- name: Follow the leader
  redis_follow:
    port: 6379
    auth_file: /etc/redis/redis-6379.auth.conf
    leader_address: 10.0.0.11
    leader_port: 6379
"""

RETURN = r"""
role: {description: C(leader) or C(replica)., type: str}
leader_address: {description: Whom a replica follows., type: str}
leader_port: {description: Whom a replica follows., type: int}
link: {description: "A replica's link to its leader.", type: str}
server: {description: C(redis) or C(valkey)., type: str}
version: {description: The server's version., type: str}
"""


def follows(answer: dict[str, Any], params: dict[str, Any]) -> bool:
    """Whether the server already has the wanted role."""
    if not params["leader_address"]:
        return bool(answer["role"] == "leader")
    wanted = (params["leader_address"], params["leader_port"])
    return answer["role"] == "replica" and (answer["leader_address"], answer["leader_port"]) == wanted


def remembers(params: dict[str, Any]) -> bool:
    """Whether the server's own file says what was wanted; it does not after somebody else's REPLICAOF."""
    if not params["volatile_file"]:
        return True
    wanted = {"leader_address": params["leader_address"], "leader_port": params["leader_port"]}
    return remembered(params["volatile_file"]) == (wanted if params["leader_address"] else {})


def serves(answer: dict[str, Any], goal: int) -> bool:
    """Whether the server answers with current data: a leader at once, a replica when it has what its leader had."""
    return bool(answer["role"] == "leader" or (answer["link"] == "connected" and answer["offset"] >= goal))


def leaders_offset(answer: dict[str, Any], params: dict[str, Any]) -> int:
    """How far the leader of a replica is, 0 where it does not tell this host: then the link alone must do."""
    try:
        # The password is the same on both, as the leader's could become the replica's.
        return int(ask_role(at(answer["leader_address"], answer["leader_port"], params))["offset"])
    except (OSError, RedisError):
        return 0


def change(params: dict[str, Any]) -> None:
    """Give the server the wanted role, and have it write that to its own file."""
    target = (params["leader_address"], params["leader_port"]) if params["leader_address"] else ("NO", "ONE")
    with connect(params) as redis:
        redis.command("REPLICAOF", *target)
        redis.command("CONFIG", "REWRITE")


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        {
            **CONNECTION_SPEC,
            "leader_address": {"type": "str"},
            "leader_port": {"type": "int"},
            "keep_role": {"type": "bool", "default": False},
            "volatile_file": {"type": "path"},
            "wait": {"type": "int", "default": 300},
        },
        required_together=[("leader_address", "leader_port")],
        supports_check_mode=True,
    )
    params = module.params
    deadline = time.monotonic() + params["wait"]
    changed, reason, goal = False, "", -1
    while True:
        try:
            answer = ask_role(params)
            if not params["keep_role"] and not follows(answer, params):
                changed = True
                if not module.check_mode:
                    change(params)
            elif not params["keep_role"] and not remembers(params):
                changed = True
                if not module.check_mode:
                    with connect(params) as redis:
                        redis.command("CONFIG", "REWRITE")
            elif serves(answer, max(goal, 0)) and (goal >= 0 or answer["role"] == "leader"):
                module.exit_json(changed=changed, **answer)
            elif answer["link"] == "connected" and goal < 0:
                goal = leaders_offset(answer, params)
                continue
            else:
                leader = f"{answer['leader_address']}:{answer['leader_port']}"
                reason = f"its link to {leader} is {answer['link']}, and it does not have all of the leader's data"
            if module.check_mode:
                module.exit_json(changed=changed, **answer)
        except (OSError, RedisError) as error:
            reason = str(error)
        if time.monotonic() >= deadline:
            module.fail_json(
                msg=f"the server on port {params['port']} does not serve after {params['wait']} s: {reason}"
            )
        time.sleep(0.1)


if __name__ == "__main__":
    main()
