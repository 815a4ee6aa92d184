"""Who is who: the Redis servers of a deployment, resolved from the inventory and from what the servers said."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

# Role defaults are not visible through hostvars, so the one that other hosts need is here too; a test compares them.
DEFAULT_PORT = 6379


class TopologyError(ValueError):
    """The inventory and the servers together give no single answer to who leads."""


def redis_nodes(names: Iterable[str], hostvars: Mapping[str, Any], mode: str) -> list[dict[str, Any]]:
    """The servers that ``mode`` uses, leader first, then the others in inventory order.

    ``names`` is a group's list of hosts. Each node is a dict with ``name``, ``address``, ``port``, ``socket`` (path or
    ``None``), ``tls`` (bool) and ``role`` (``leader`` or ``replica``). ``locmem`` uses no server, ``standalone`` the
    leader alone, every other mode all of them.

    The leader is the server that leads now, else the one that the others follow or last followed; only where no server
    knows does the inventory's ``redis_leader`` (default: the first host) decide. What a server said is its host's
    variable ``redis_reply``, a result of the module ``redis_role``.

    Raises TopologyError if ``redis_leader`` names no host of the group if more than one server claims to lead, or
    if the leader that running replicas follow has come back without its data.
    """
    nodes = [_node(name, hostvars[name]) for name in names]
    if mode == "locmem" or not nodes:
        return []
    leader = _leader(nodes, hostvars)
    for node in nodes:
        node["role"] = "leader" if node is leader else "replica"
    if mode == "standalone":
        return [leader]
    return [leader, *(node for node in nodes if node is not leader)]


def _node(name: str, variables: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "address": variables.get("redis_address") or variables.get("ansible_host") or name,
        "port": int(variables.get("redis_port") or DEFAULT_PORT),
        "socket": variables.get("redis_socket") or None,
        "tls": str(variables.get("redis_tls", False)).lower() in ("true", "yes", "on", "1"),
    }


def _leader(nodes: list[dict[str, Any]], hostvars: Mapping[str, Any]) -> dict[str, Any]:
    replies = {node["name"]: hostvars[node["name"]].get("redis_reply") or {} for node in nodes}

    claimants = [node for node in nodes if replies[node["name"]].get("role") == "leader"]
    if len(claimants) > 1:
        raise TopologyError(
            f"more than one server leads ({_picture(nodes, replies)}). Nothing was changed. Decide which one keeps its "
            f"data, and run REPLICAOF <address> <port> on the other, then run again."
        )
    if claimants:
        return claimants[0]

    # What running replicas follow counts for more than what stopped servers remember.
    for running in (True, False):
        followed = {
            (reply["leader_address"], int(reply["leader_port"]))
            for reply in replies.values()
            if reply.get("leader_port") and ("role" in reply) is running
        }
        for node in nodes:
            if (node["address"], node["port"]) in followed:
                if running and replies[node["name"]].get("installed") is False:
                    raise TopologyError(
                        f"{node['name']}, which the others follow, has no data, and they would lose theirs to it "
                        f"({_picture(nodes, replies)}). Nothing was changed. Run REPLICAOF NO ONE on the one whose "
                        f"data counts, then run again."
                    )
                return node

    wanted = next(
        (hostvars[node["name"]]["redis_leader"] for node in nodes if hostvars[node["name"]].get("redis_leader")), None
    )
    if wanted is None:
        return nodes[0]
    for node in nodes:
        if node["name"] == wanted:
            return node
    raise TopologyError(
        f"redis_leader {wanted!r} is not a host of the group ({', '.join(node['name'] for node in nodes)})"
    )


def _picture(nodes: list[dict[str, Any]], replies: Mapping[str, Mapping[str, Any]]) -> str:
    return "; ".join(f"{node['name']}: {_says(replies[node['name']])}" for node in nodes)


def _says(reply: Mapping[str, Any]) -> str:
    if reply.get("role") == "replica":
        return f"follows {reply['leader_address']}:{reply['leader_port']}"
    return "leads" if reply.get("role") == "leader" else "does not answer"


def redis_neighbours(names: Iterable[str], hostvars: Mapping[str, Any], name: str) -> list[str]:
    """Those of ``names`` that are on the same machine as the host ``name``, itself included."""

    def machine(host: str) -> str:
        return str(hostvars[host].get("ansible_host") or host)

    return [host for host in names if machine(host) == machine(name)]


class FilterModule:
    """Registers the filters with Ansible."""

    def filters(self) -> dict[str, Any]:
        """Name to function."""
        return {"redis_nodes": redis_nodes, "redis_neighbours": redis_neighbours}
