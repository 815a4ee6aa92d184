"""The part ``topology``: make a Redis server lead, or follow a leader, and wait until it serves."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ansible.module_utils.host.run import REQUIRED, PartError, Run, checked
from ansible.module_utils.redis_client import RedisError, ask_role, at, connect, remembered

# Whom a server follows, None for a leader.
Leader = Mapping[str, Any]


def follows(answer: Mapping[str, Any], leader: Leader | None) -> bool:
    """Whether the server already has the wanted role."""
    if not leader:
        return bool(answer["role"] == "leader")
    wanted = (leader["address"], int(leader["port"]))
    return answer["role"] == "replica" and (answer["leader_address"], answer["leader_port"]) == wanted


def remembers(volatile_file: str, leader: Leader | None) -> bool:
    """Whether the server's own file says what was wanted; it does not after somebody else's REPLICAOF."""
    wanted = {"leader_address": leader["address"], "leader_port": int(leader["port"])} if leader else {}
    return not volatile_file or remembered(volatile_file) == wanted


def serves(answer: Mapping[str, Any], goal: int) -> bool:
    """Whether the server answers with current data: a leader at once, a replica when it has what its leader had."""
    return bool(answer["role"] == "leader" or (answer["link"] == "connected" and answer["offset"] >= goal))


def leaders_offset(answer: Mapping[str, Any], connection: dict[str, Any]) -> int:
    """How far the leader of a replica is, 0 where it does not tell this host: then the link alone must do."""
    try:
        # The password is the same on both, as the leader's could become the replica's.
        return int(ask_role(at(answer["leader_address"], answer["leader_port"], connection))["offset"])
    except (OSError, RedisError):
        return 0


def change(connection: dict[str, Any], leader: Leader | None) -> None:
    """Give the server the wanted role, and have it write that to its own file."""
    with connect(connection) as redis:
        redis.command("REPLICAOF", *((leader["address"], leader["port"]) if leader else ("NO", "ONE")))
        redis.command("CONFIG", "REWRITE")


def write_down(connection: dict[str, Any]) -> None:
    """Have the server write the role that it has to its own file."""
    with connect(connection) as redis:
        redis.command("CONFIG", "REWRITE")


def topology(params: Mapping[str, Any], run: Run) -> dict[str, Any]:
    """Wait until the server answers, give it its role, and wait until it has the data that its leader had then.

    ``leader`` is whom it follows, null where it leads; with ``keep_role`` it keeps what others gave it. Either way its
    ``volatile_file`` must say so, except in a cluster. Returns ``changed`` and what `ask_role` does. Check mode waits
    for nothing, and returns ``error`` where the server does not answer. Raises PartError after ``wait`` seconds.
    """
    params = checked(params, connection=REQUIRED, leader=None, keep_role=False, volatile_file="", wait=300)
    connection, wait = run.connection(params["connection"]), params["wait"]
    deadline = time.monotonic() + wait
    changed, goal = False, -1
    while True:
        try:
            answer = ask_role(connection)
            leader = kept(answer) if params["keep_role"] else params["leader"]
            if not follows(answer, leader):
                changed = True
                if not run.check_mode:
                    change(connection, leader)
            elif not (params["keep_role"] and answer["cluster"]) and not remembers(params["volatile_file"], leader):
                changed = True
                if not run.check_mode:
                    write_down(connection)
            elif run.check_mode or (serves(answer, max(goal, 0)) and (goal >= 0 or answer["role"] == "leader")):
                return {"changed": changed, **answer}
            elif answer["link"] == "connected" and goal < 0:
                goal = leaders_offset(answer, connection)
                continue
            if run.check_mode:
                return {"changed": changed, **answer}
            reason = _lacks(answer)
        except (OSError, RedisError) as error:
            reason = str(error)
            if run.check_mode:
                return {"changed": changed, "error": reason}
        if time.monotonic() >= deadline:
            raise PartError(f"the server on port {connection['port']} does not serve after {wait} s: {reason}")
        time.sleep(0.1)


def kept(answer: Mapping[str, Any]) -> Leader | None:
    """Whom the server follows now."""
    if answer["role"] == "leader":
        return None
    return {"address": answer["leader_address"], "port": answer["leader_port"]}


def _lacks(answer: Mapping[str, Any]) -> str:
    if answer["role"] == "leader":
        return "it does not take its role"
    leader = f"{answer['leader_address']}:{answer['leader_port']}"
    return f"its link to {leader} is {answer['link']}, and it does not have all of the leader's data"
