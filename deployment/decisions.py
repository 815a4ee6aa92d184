"""Decisions that the roles leave open: what a variable that nobody set comes to, and what follows from the mode.

Each is a pure function of the inventory's values and of what the hosts said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

MEBIBYTES_OF_A_STEP = 64
# Seconds after which the others have given up a server that ended, beyond the silence that they wait for.
GRACE = 5
# Without persistence and without somebody who takes over, a server that ended stays down.
NEVER = 0.0
# A server that has its data again comes back before a Sentinel misses it.
AT_ONCE = 0.1


def listens(given: bool | None, socket: str, mode: str) -> bool:
    """Whether a server listens on its TCP port. One with a socket that only Django uses need not."""
    return not socket or mode != "standalone" if given is None else given


def bind(given: str | None, address: str, facts: Mapping[str, Any]) -> list[str]:
    """The addresses to listen on: those of the inventory, else the host's own one by which the others reach it.

    An ``address`` that the host does not have is a name or a translated address; then its main address is meant.
    Empty where the host was not looked at and the inventory does not say.
    """
    if given:
        return given.split()
    if address in own_addresses(facts):
        return [address]
    main = facts.get("default_ipv4") or facts.get("default_ipv6") or {}
    return [str(main["address"])] if main.get("address") else []


def own_addresses(facts: Mapping[str, Any]) -> list[str]:
    """The addresses that a host has, loopback included."""
    return [*facts.get("all_ipv4_addresses", ()), *facts.get("all_ipv6_addresses", ()), "127.0.0.1", "::1"]


def memory_limit(given: str | None, total_mebibytes: int, servers_on_machine: int) -> str:
    """``maxmemory``: half of the machine's memory, divided by its servers, in steps of 64 MiB and at least one."""
    if given:
        return given
    share = total_mebibytes // 2 // max(servers_on_machine, 1)
    return f"{max(share // MEBIBYTES_OF_A_STEP * MEBIBYTES_OF_A_STEP, MEBIBYTES_OF_A_STEP)}mb"


def min_replicas_to_write(given: int | None, mode: str, servers: int) -> int:
    """How many replicas a leader must see to take writes. With two or more, Sentinel may promote one unseen."""
    return int(mode == "sentinel" and servers > 2) if given is None else int(given)


def quorum(given: int | None, sentinels: int) -> int:
    """How many Sentinels must miss the leader: a majority."""
    return sentinels // 2 + 1 if given is None else int(given)


def revive_after(mode: str, persists: bool, servers: int, down_after_ms: int, node_timeout_ms: int) -> float:
    """Seconds until a server that ended is started again, 0 for never.

    With its data it is started at once, before a Sentinel has missed it: once it has, what clients write to the one
    that came back is lost. Without its data it is started only after another one was promoted, or never.
    """
    if persists or servers < 2:
        return AT_ONCE
    if mode == "sentinel":
        return float(down_after_ms // 1000 + GRACE)
    return float(node_timeout_ms // 1000 + GRACE) if mode == "cluster" else NEVER


def keeps_role(mode: str, reply: Mapping[str, Any]) -> bool:
    """Whether the server's role is decided by others: by its cluster, or by the Sentinels that have watched it."""
    return mode == "cluster" or (mode == "sentinel" and "role" in reply and not reply.get("cluster"))


def tls_differs(reply: Mapping[str, Any], tls: bool) -> bool:
    """Whether a running server or Sentinel changes between TLS and plain TCP.

    A client understands only one of them, so all such servers are stopped together. The other Sentinels do not
    understand one whose certificate has expired or is of another CA either.
    """
    return "tls" in reply and (bool(reply["tls"]) != tls or not reply.get("trusted", True))


def may_be_succeeded(mode: str, sentinels: Sequence[Mapping[str, Any]]) -> bool:
    """Whether somebody runs who promotes a replica. A mode that is only about to be deployed has nobody yet."""
    return mode == "cluster" or (mode == "sentinel" and any(sentinel.get("running") for sentinel in sentinels))


def exporter_port(given: int | None, index: int) -> int:
    """Prometheus' own port, and the ones above it for the other servers of the machine."""
    return 9121 + index if given is None else int(given)
