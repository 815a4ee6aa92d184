"""Compare what the servers and Django say with what the mode promises, and say it to people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from deployment.addresses import endpoint
from deployment.desired.django import DjangoHost
from deployment.site import Cache

# Said of a certificate that a client on the same host refuses.
INVALID = "its certificate has expired, or is of another authority"


def topology_faults(nodes: Iterable[Mapping[str, Any]], hostvars: Mapping[str, Any], mode: str) -> list[str]:
    """What is wrong with the servers' roles, a sentence for each fault; empty where all is well.

    ``nodes`` is what ``redis_nodes`` returns, and each host's ``redis_reply`` its answer to the question ``redis``.
    """
    faults, leaders = [], []
    for node in nodes:
        reply = hostvars[node["name"]].get("redis_reply") or {}
        if "role" not in reply:
            faults.append(f"{node['name']} does not answer: {reply.get('error', 'it was not asked')}")
        elif reply["role"] == "leader":
            leaders.append(node)
        elif reply["link"] != "connected":
            leader = endpoint(reply["leader_address"], reply["leader_port"])
            faults.append(f"{node['name']} follows {leader}, but its link is {reply['link']}")
    if mode in ("locmem", "cluster"):
        # The one has no server; the other has several leaders, and says itself whether they are the right ones.
        return faults
    if len(leaders) != 1:
        faults.append(
            f"mode {mode} has one leader, and {', '.join(node['name'] for node in leaders) or 'no server'} leads"
        )
        return faults
    for node in nodes:
        reply = hostvars[node["name"]].get("redis_reply") or {}
        followed = (str(reply.get("leader_address")), reply.get("leader_port", ""))
        if reply.get("role") == "replica" and followed != (leaders[0]["address"], leaders[0]["port"]):
            faults.append(f"{node['name']} follows {endpoint(*followed)}, and {leaders[0]['name']} leads")
    return faults


def cachecheck_faults(
    report: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]], mode: str, client: str, service: str = ""
) -> list[str]:
    """What is wrong with the caches that Django loaded, a sentence for each fault; empty where all is well.

    ``report`` is what ``manage.py cachecheck --json`` prints. An alias must have the leader first, and after it no
    server or every replica, in inventory order; in mode ``sentinel`` the ``service`` that the Sentinels watch; in mode
    ``cluster`` every node once, in any order, since who leads changes.
    """
    faults = [
        f"{name}: {operation['name']}: {operation['error']}"
        for name, alias in report["aliases"].items()
        for operation in alias["operations"]
        if not operation["ok"]
    ]
    if (report["mode"], report["client"]) != (mode, client):
        told = f"{report['mode']} with client {report['client']}"
        faults.append(f"Django runs {told}, and the inventory says {mode} with client {client}")
    for name, alias in report["aliases"].items():
        loaded = [server.partition("://")[2].partition("?")[0] for server in alias["servers"]]
        loaded = [unquote(server) if server.startswith("/") else server.partition("/")[0] for server in loaded]
        if nodes and not _are_those(loaded, nodes, mode, service):
            runs = service if mode == "sentinel" else ", ".join(_places(nodes, mode))
            faults.append(f"{name}: Django uses {', '.join(loaded)}, and what runs is {runs}")
    return faults


def _are_those(loaded: list[str], nodes: Sequence[Mapping[str, Any]], mode: str, service: str) -> bool:
    """Tell whether the servers that an alias has are those of the deployment."""
    if mode == "sentinel":
        # django-redis has the service twice where it reads from replicas.
        return set(loaded) == {service}
    places = _places(nodes, mode)
    if mode == "cluster":
        return sorted(loaded) == sorted(places)
    return loaded in (places, places[:1])


def _places(nodes: Sequence[Mapping[str, Any]], mode: str) -> list[str]:
    """Where Django reaches the nodes; those of a cluster have no sockets for it."""
    sockets = [None if mode == "cluster" else node.get("socket") for node in nodes]
    return [socket or endpoint(node["address"], node["port"]) for socket, node in zip(sockets, nodes)]


def sentinel_faults(reply: Mapping[str, Any], leader: Mapping[str, Any]) -> list[str]:
    """What is wrong with what a Sentinel says, a sentence for each fault; empty where all is well.

    ``reply`` is its answer to the question ``sentinel``, ``leader`` the node that leads.
    """
    if not reply.get("running"):
        return [f"the Sentinel does not answer: {reply.get('error', 'it was not asked')}"]
    faults = []
    if (reply.get("leader_address"), reply.get("leader_port")) != (leader["address"], leader["port"]):
        named = endpoint(str(reply.get("leader_address")), str(reply.get("leader_port")))
        faults.append(f"the Sentinel names {named}, and {leader['name']} leads")
    if reply.get("unsettled"):
        faults.append(f"the Sentinel says that {reply['unsettled']}")
    if not str(reply.get("quorum")).startswith("OK"):
        faults.append(f"no failover is possible: {reply.get('quorum')}")
    return faults


def deployment_summary(cache: Cache, apps: Iterable[DjangoHost]) -> str:
    """What runs where, a line for each server, for people; never a secret."""
    apps, site = list(apps), cache.site
    clients = dict.fromkeys(app.client for app in apps)
    rows = [("mode", cache.mode, f"client {', '.join(clients)}" if clients else "no Django host")]
    for app in apps:
        answer = (app.said("django").get("json") or {}).get("status", "does not answer")
        answer = answer if app.name in site.looked else "was not asked"
        rows.append(("Django", f"{app.url}/", f"{app.name}, caches: {answer}"))
    for node in cache.nodes:
        reply = site.said(node["name"], "redis")
        about = " ".join(str(reply[word]) for word in ("server", "version", "link") if reply.get(word))
        state = reply.get("error") or about or "was not asked"
        if reply.get("days_left") is not None:
            state += f", certificate for {reply['days_left']} days"
        elif reply.get("tls"):
            state += f", {INVALID}"
        rows.append(
            (reply.get("role", node["role"]), endpoint(node["address"], node["port"]), f"{node['name']}, {state}")
        )
    for sentinel in cache.sentinels:
        reply = site.said(sentinel["name"], "sentinel")
        state = "a failover is possible" if str(reply.get("quorum")).startswith("OK") else reply.get("quorum")
        state = reply.get("unsettled") or state or reply.get("error") or "was not asked"
        if reply.get("tls") and not reply.get("trusted"):
            state += f", {INVALID}"
        rows.append(("Sentinel", endpoint(sentinel["address"], sentinel["port"]), f"{sentinel['name']}, {state}"))
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    return "\n".join(f"{word:{widths[0]}}  {place:{widths[1]}}  {about}".rstrip() for word, place, about in rows)
