"""Who is who: the Redis servers of a deployment, resolved from the inventory and from what the servers said."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from deployment.addresses import endpoint
from deployment.errors import DeploymentError
from deployment.model import address, machine, sentinel_address
from deployment.specs import defaults, is_true


class TopologyError(DeploymentError):
    """The inventory and the servers together give no single answer to who leads."""


def redis_nodes(
    names: Iterable[str], hostvars: Mapping[str, Any], mode: str, sentinels: Iterable[Mapping[str, Any]] = ()
) -> list[dict[str, Any]]:
    """The servers that ``mode`` uses, leader first, then the others in inventory order.

    ``names`` is a group's list of hosts, ``sentinels`` what ``redis_sentinels`` returns. Each node is a dict with
    ``name``, ``address``, ``port``, ``place`` (address:port), ``socket`` (path or ``None``), ``socket_group`` (who may
    use it), ``tls`` (bool), ``issued`` (whether its certificate is the bundle's authority's), ``acl`` (whether it has
    users), ``machine`` (what tells it from others) and ``role`` (``leader`` or ``replica``). ``locmem`` uses no server,
    ``standalone`` the leader alone, every other mode all of those whose ``redis_modes`` have it. In a ``cluster`` there
    is a leader for each part of the slots, and all are in inventory order: what is rendered must survive a failover.

    The leader is the server that the Sentinels name, else the one that leads now, else the one that the others follow
    or last followed; only where no server knows does the inventory's ``redis_leader`` (default: the first host) decide.
    What a server said is its host's ``redis_reply``, the answer to the question ``redis`` of the module ``host_look``;
    what a Sentinel said is ``redis_sentinel_reply``, that to ``sentinel``.

    Raises TopologyError if ``redis_leader`` names no host of the group, if more than one server claims to lead or none
    that the others follow, if Sentinels and servers contradict each other, or if the leader that running replicas
    follow has come back without its data.
    """
    nodes = [_node(name, hostvars[name]) for name in redis_hosts(names, hostvars, mode)]
    if not nodes:
        return []
    replies = {node["name"]: _reply(hostvars[node["name"]], mode) for node in nodes}
    if mode == "cluster":
        for node in nodes:
            node["role"] = replies[node["name"]].get("role", "leader")
        return nodes
    watching = [{**sentinel, **_sentinel_reply(hostvars[sentinel["name"]])} for sentinel in sentinels]
    leader = _leader(nodes, replies, watching, hostvars)
    for node in nodes:
        node["role"] = "leader" if node is leader else "replica"
    if mode == "standalone":
        return [leader]
    return [leader, *(node for node in nodes if node is not leader)]


def redis_hosts(names: Iterable[str], hostvars: Mapping[str, Any], mode: str) -> list[str]:
    """Those of ``names`` that ``mode`` may use: none for ``locmem``, else those whose ``redis_modes`` have it."""
    return [name for name in names if mode != "locmem" and mode in (hostvars[name].get("redis_modes") or [mode])]


def redis_places(names: Iterable[str], hostvars: Mapping[str, Any]) -> list[str]:
    """Where the servers of these hosts are, each as address:port, whoever leads."""
    return [str(_node(name, hostvars[name])["place"]) for name in names]


def redis_sentinels(names: Iterable[str], hostvars: Mapping[str, Any], mode: str) -> list[dict[str, Any]]:
    """The Sentinels, none in a ``mode`` that has none.

    Each is a dict with ``name``, ``address``, ``port``, ``place`` (address:port), ``tls`` (bool), ``service`` (what it
    watches) and ``down_after_ms`` (milliseconds).
    """
    sentinels = []
    for name in names if mode == "sentinel" else ():
        variables = hostvars[name]
        where, port = sentinel_address(name, variables), int(_given(variables, "redis_sentinel_port"))
        sentinels.append(
            {
                "name": name,
                "address": where,
                "port": port,
                "place": f"{where}:{port}",
                "tls": is_true(variables.get("redis_tls", False)),
                "service": _given(variables, "redis_sentinel_service"),
                "down_after_ms": int(_given(variables, "redis_sentinel_down_after_ms")),
            }
        )
    return sentinels


def _node(name: str, variables: Mapping[str, Any]) -> dict[str, Any]:
    where, port = address(name, variables), int(_given(variables, "redis_port"))
    return {
        "name": name,
        "address": where,
        "port": port,
        "place": f"{where}:{port}",
        "socket": variables.get("redis_socket") or None,
        "socket_group": _given(variables, "redis_socket_group"),
        "tls": is_true(variables.get("redis_tls", False)),
        "issued": is_true(variables.get("redis_tls", False)) and not variables.get("redis_tls_cert_file"),
        "acl": is_true(variables.get("redis_acl", True)),
        "machine": machine(name, variables),
    }


def _given(variables: Mapping[str, Any], name: str) -> Any:
    """The value of a host, else its role's default, which Ansible does not show to other hosts."""
    return variables.get(name) or defaults()[name]


def _reply(variables: Mapping[str, Any], mode: str) -> dict[str, Any]:
    """What the server said; nothing of it counts where it still runs for another mode, in a cluster or out of it."""
    reply: dict[str, Any] = variables.get("redis_reply") or {}
    return {} if "role" in reply and reply.get("cluster", False) != (mode == "cluster") else reply


def _sentinel_reply(variables: Mapping[str, Any]) -> dict[str, Any]:
    reply = variables.get("redis_sentinel_reply") or {}
    words = ("leader_address", "leader_port", "running", "unsettled", "error")
    return {word: reply[word] for word in words if word in reply}


def _leader(
    nodes: list[dict[str, Any]],
    replies: Mapping[str, Mapping[str, Any]],
    watching: list[dict[str, Any]],
    hostvars: Mapping[str, Any],
) -> dict[str, Any]:
    picture = _picture(nodes, replies, watching)
    claimants = [node for node in nodes if replies[node["name"]].get("role") == "leader"]
    if len(claimants) > 1:
        raise TopologyError(
            f"more than one server leads ({picture}). Nothing was changed. Decide which one keeps its "
            f"data, and run REPLICAOF <address> <port> on the other, then run again."
        )
    named = {
        (sentinel["leader_address"], int(sentinel["leader_port"]))
        for sentinel in watching
        if sentinel.get("running") and "leader_address" in sentinel
    }
    if named:
        found = [node for node in nodes if (node["address"], node["port"]) in named]
        said = [replies[node["name"]].get("role") for node in found]
        if len(named) > 1 or len(found) != 1 or said == ["replica"] or (claimants and claimants != found):
            raise TopologyError(
                f"the Sentinels and the servers do not agree on who leads ({picture}). Nothing was changed. "
                f"Wait for a failover to end or start what is down, see that every server is in the inventory under "
                f"the address that the Sentinels name, then run again."
            )
        return _with_its_data(found[0], replies, picture)
    if claimants:
        return claimants[0]
    return _followed(nodes, replies, watching, picture) or _wanted(nodes, hostvars)


def _followed(
    nodes: list[dict[str, Any]],
    replies: Mapping[str, Mapping[str, Any]],
    watching: list[dict[str, Any]],
    picture: str,
) -> dict[str, Any] | None:
    """The server that the others follow, or last followed. What running ones say counts for more than memories."""
    running = [reply for reply in replies.values() if "role" in reply]
    if running:
        followed = {(reply["leader_address"], int(reply["leader_port"])) for reply in running}
        found = [node for node in nodes if (node["address"], node["port"]) in followed]
        if len(followed) > 1 or len(found) != 1 or "role" in replies[found[0]["name"]]:
            raise TopologyError(
                f"no server leads ({picture}). Nothing was changed. Run REPLICAOF NO ONE on the one whose data "
                f"counts, or start the one that the others follow, then run again."
            )
        return _with_its_data(found[0], replies, picture)
    memories = [
        (memory["leader_address"], int(memory["leader_port"]))
        for memory in (*watching, *replies.values())
        if memory.get("leader_port")
    ]
    for place in sorted(set(memories), key=memories.count, reverse=True):
        for node in nodes:
            if (node["address"], node["port"]) == place:
                return node
    return None


def _with_its_data(node: dict[str, Any], replies: Mapping[str, Mapping[str, Any]], picture: str) -> dict[str, Any]:
    """The leader, unless it would be started empty while running replicas have the data."""
    runs = {name for name, reply in replies.items() if "role" in reply}
    if runs and node["name"] not in runs and replies[node["name"]].get("installed") is False:
        raise TopologyError(
            f"{node['name']}, which the others follow, has no data, and they would lose theirs to it "
            f"({picture}). Nothing was changed. Run REPLICAOF NO ONE on the one whose data counts, then run again."
        )
    return node


def _wanted(nodes: list[dict[str, Any]], hostvars: Mapping[str, Any]) -> dict[str, Any]:
    """The server that the inventory wants to lead when nothing runs yet."""
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


def _picture(
    nodes: list[dict[str, Any]], replies: Mapping[str, Mapping[str, Any]], watching: list[dict[str, Any]]
) -> str:
    """Who says what, for an error message."""
    said = [f"{node['name']}: {_says(replies[node['name']])}" for node in nodes]
    return "; ".join([*said, *(f"Sentinel on {sentinel['name']}: {_watches(sentinel)}" for sentinel in watching)])


def _says(reply: Mapping[str, Any]) -> str:
    if reply.get("role") == "replica":
        return f"follows {endpoint(reply['leader_address'], reply['leader_port'])}"
    return "leads" if reply.get("role") == "leader" else "does not answer"


def _watches(sentinel: Mapping[str, Any]) -> str:
    if not sentinel.get("running"):
        return "does not answer"
    if "leader_address" not in sentinel:
        return "watches nothing"
    trouble = f", but {sentinel['unsettled']}" if sentinel.get("unsettled") else ""
    return f"names {endpoint(sentinel['leader_address'], sentinel['leader_port'])}{trouble}"


def cluster_absent(nodes: Iterable[Mapping[str, Any]], hostvars: Mapping[str, Any]) -> list[str] | None:
    """The nodes of a cluster that were never deployed, as check mode sees them; None where it cannot see the others.

    It cannot where a node that was deployed is down, or where the first one, which asks the others, is new alone.
    """
    replies = {node["name"]: hostvars[node["name"]].get("redis_reply") or {} for node in nodes}
    there, new = cluster_members(replies), cluster_newcomers(replies)
    if len(there) + len(new) < len(replies) or (there and new[:1] == list(replies)[:1]):
        return None
    return new


def cluster_members(replies: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The hosts whose servers are nodes of a cluster, by what they replied."""
    return [name for name, reply in replies.items() if reply.get("cluster")]


def cluster_newcomers(replies: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The hosts whose servers were never deployed."""
    return [name for name, reply in replies.items() if not reply.get("cluster") and not reply.get("installed")]
