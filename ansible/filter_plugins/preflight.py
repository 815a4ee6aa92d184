"""What is wrong with an inventory as a whole, found without contacting a host.

The types and choices of single variables are in the roles' argument_specs; here is what several of them say together.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

# The defaults of roles that a rule must know; a test compares them.
DEFAULTS: dict[str, Any] = {
    "cache_mode": "standalone",
    "cache_redis_group": "redis",
    "cache_sentinel_group": "redis_sentinel",
    "redis_port": 6379,
    "redis_appendonly": True,
    "redis_save": "",
    "redis_config": {},
    "redis_modes": [],
    "redis_tls": False,
    "redis_accept_empty_restart": False,
    "redis_min_replicas_max_lag": 5,
    "redis_sentinel_port": 26379,
    "redis_sentinel_service": "mymaster",
    "redis_sentinel_down_after_ms": 5000,
    "redis_sentinel_failover_timeout_ms": 10000,
    "redis_cluster_replicas": 1,
    "redis_cluster_node_timeout_ms": 5000,
}
# How far above its port a node of a cluster listens to the others.
BUS = 10_000
# The least and the most that makes sense, and the unit.
RANGES = {
    "redis_sentinel_down_after_ms": (500, 60_000, "milliseconds"),
    "redis_sentinel_failover_timeout_ms": (1000, 600_000, "milliseconds"),
    "redis_cluster_node_timeout_ms": (500, 60_000, "milliseconds"),
    "redis_min_replicas_max_lag": (1, 60, "seconds"),
}
# What every host of a deployment must say alike.
SHARED = (
    "cache_mode",
    "cache_client",
    "redis_password",
    "redis_sentinel_password",
    "redis_sentinel_service",
    "redis_sentinel_quorum",
    "redis_sentinel_down_after_ms",
    "redis_sentinel_failover_timeout_ms",
    "redis_cluster_replicas",
    "redis_cluster_node_timeout_ms",
)


@dataclass(frozen=True)
class Deployment:
    """The hosts of one deployment: those whose `cache_redis_group` is the same, and their variables by host."""

    group: str
    sentinel_group: str
    redis: list[str]
    sentinels: list[str]
    apps: list[str]
    variables: Mapping[str, Mapping[str, Any]]

    def get(self, host: str, name: str) -> Any:
        """A variable of a host, else its role's default; None where that is computed."""
        value = self.variables[host].get(name)
        return DEFAULTS.get(name) if value is None else value

    @property
    def mode(self) -> str:
        """The deployment's mode."""
        return str(self.get(self.redis[0], "cache_mode"))

    @property
    def nodes(self) -> list[str]:
        """The Redis hosts that the mode uses."""
        return [host for host in self.redis if self.mode in (self.get(host, "redis_modes") or [self.mode])]

    def machine(self, host: str) -> str:
        """What tells the host's machine from others."""
        return str(self.get(host, "ansible_host") or host)


def deployment_faults(hostvars: Mapping[str, Any], groups: Mapping[str, list[str]]) -> list[str]:
    """What is wrong, a sentence for each fault with the host or group, the value, and what to write instead."""
    faults: list[str] = []
    hosts = dict.fromkeys(host for name in ("redis", "redis_sentinel", "django_app") for host in groups.get(name, []))
    variables = {host: hostvars[host] for host in hosts}
    names = {
        host: tuple(str(found.get(name) or DEFAULTS[name]) for name in ("cache_redis_group", "cache_sentinel_group"))
        for host, found in variables.items()
    }
    for place, word in enumerate(("cache_redis_group", "cache_sentinel_group")):
        for group in dict.fromkeys(own[place] for own in names.values()):
            faults += [
                f"{host}: it is in the group {group} of one deployment, and its {word} is that of another one, "
                f"{names[host][place]}; take it out of one of them"
                for host in groups.get(group, [])
                if host in names and names[host][place] != group
            ]
    for redis_group, sentinel_group in dict.fromkeys(names.values()):
        redis, sentinels = (
            [h for h in groups.get(group, []) if h in variables] for group in (redis_group, sentinel_group)
        )
        if redis:
            apps = [host for host in groups.get("django_app", []) if names[host][0] == redis_group]
            deployment = Deployment(redis_group, sentinel_group, redis, sentinels, apps, variables)
            faults += [fault for rule in RULES for fault in rule(deployment)]
    return list(dict.fromkeys(faults))


def same_everywhere(deployment: Deployment) -> Iterator[str]:
    """Hosts of one deployment that say different things would make servers that do not fit together."""
    hosts = dict.fromkeys([*deployment.redis, *deployment.sentinels, *deployment.apps])
    for name in SHARED:
        values = {host: value for host in hosts if (value := deployment.get(host, name)) is not None}
        if len(set(map(str, values.values()))) > 1:
            said = ", ".join(values) if "password" in name else ", ".join(f"{h}: {v}" for h, v in values.items())
            yield f"{name} is not the same everywhere ({said}); set it once, in group_vars/all.yml"


def units(deployment: Deployment) -> Iterator[str]:
    """A time in another unit makes failovers without a reason, or none at all."""
    for host in dict.fromkeys([*deployment.redis, *deployment.sentinels]):
        for name, (least, most, unit) in RANGES.items():
            value = deployment.get(host, name)
            if not _is_whole(value):
                yield f"{host}: {name} {value!r} is no whole number; write {unit}, from {least} to {most}"
            elif not least <= int(value) <= most:
                factor = 1000 if unit == "milliseconds" else 0.001
                meant = int(int(value) * factor)
                hint = f"; did you mean {meant}?" if least <= meant <= most else ""
                yield f"{host}: {name} {value} is out of range: it is in {unit}, wanted {least} to {most}{hint}"


def places(deployment: Deployment) -> Iterator[str]:
    """Two servers cannot have one port of one machine, and nobody else can reach a loopback address."""
    used: dict[tuple[str, int], str] = {}
    for hosts, port_name in ((deployment.redis, "redis_port"), (deployment.sentinels, "redis_sentinel_port")):
        for host in hosts:
            port = deployment.get(host, port_name)
            if not _is_whole(port) or not 1 <= int(port) <= 65535:
                yield f"{host}: {port_name} {port!r} is no port; write a number from 1 to 65535"
                continue
            place = (deployment.machine(host), int(port))
            if place in used:
                yield f"{used[place]} and {host} both use port {port} of {place[0]}; set another {port_name} for one"
            used.setdefault(place, host)
            if deployment.mode == "cluster" and int(port) + BUS > 65535:
                yield (
                    f"{host}: redis_port {port} leaves no port for the bus of the cluster, which is {BUS} above; "
                    f"write {65535 - BUS} or less"
                )
    addresses = {
        host: str(deployment.get(host, "redis_address") or deployment.machine(host)) for host in deployment.nodes
    }
    local = [host for host, address in addresses.items() if _is_loopback(address)]
    if local and len(local) < len(addresses):
        yield (
            f"{', '.join(local)}: the address is {addresses[local[0]]}, where other hosts find themselves; "
            f"set redis_address to one that they can reach"
        )


def replicas(deployment: Deployment) -> Iterator[str]:
    """A mode with replicas needs some, and a leader that waits for more than there are takes no writes."""
    nodes = deployment.nodes
    if deployment.mode in ("replication", "sentinel") and len(nodes) < 2:
        yield (
            f"cache_mode {deployment.mode}: group {deployment.group} has {len(nodes)} host and so no replica; "
            f"add a host, or write cache_mode: standalone"
        )
    for host in nodes:
        wanted = deployment.get(host, "redis_min_replicas_to_write")
        available = len(nodes) - 1 if deployment.mode in ("replication", "sentinel") else 0
        if deployment.mode == "cluster":
            each = deployment.get(host, "redis_cluster_replicas")
            available = int(each) if _is_whole(each) else 0
        if _is_whole(wanted) and int(wanted) > available:
            yield (
                f"{host}: redis_min_replicas_to_write {wanted} is more than the {available} replicas of a leader, "
                f"which would refuse every write; write {max(available - 1, 0)}"
            )


def persistence(deployment: Deployment) -> Iterator[str]:
    """A leader that comes back empty empties its replicas."""
    nodes = deployment.nodes
    if deployment.mode not in ("replication", "sentinel", "cluster") or len(nodes) < 2:
        return
    for host in nodes:
        config = deployment.get(host, "redis_config")
        given = {"appendonly": deployment.get(host, "redis_appendonly"), "save": deployment.get(host, "redis_save")}
        given |= config if isinstance(config, Mapping) else {}
        off = {"no", "false", "", '""', "''", "none", "[]"}
        persists = any(str(given[name]).strip().lower() not in off for name in ("appendonly", "save"))
        if not persists and str(deployment.get(host, "redis_accept_empty_restart")).lower() not in (
            "true",
            "yes",
            "on",
        ):
            yield (
                f"{host}: redis_appendonly and redis_save are both off while there are replicas: a leader that "
                f"restarts comes back empty and empties them; set one, or redis_accept_empty_restart: true"
            )


def sentinels(deployment: Deployment) -> Iterator[str]:
    """Sentinels elect by majority, which must outlive the loss of one of them."""
    if deployment.mode != "sentinel":
        return
    hosts, group = deployment.sentinels, deployment.sentinel_group
    count = len(hosts)
    if count < 3 or count % 2 == 0:
        yield (
            f"group {group} has {count} Sentinels ({', '.join(hosts) or 'none'}), which "
            f"{'cannot outlive the loss of one' if count < 3 else 'outlive no more losses than one fewer would'}; "
            f"wanted 3, 5 or another odd number"
        )
    for host in hosts[:1]:
        quorum = deployment.get(host, "redis_sentinel_quorum")
        if quorum is not None and not (_is_whole(quorum) and 1 <= int(quorum) <= count):
            yield (
                f"redis_sentinel_quorum {quorum!r} does not fit {count} Sentinels; wanted 1 to {count}, "
                f"best {count // 2 + 1}, which is the default"
            )
        service = str(deployment.get(host, "redis_sentinel_service"))
        if not re.fullmatch(r"[A-Za-z0-9._-]+", service):
            yield f"redis_sentinel_service {service!r} is no name for Sentinel; write letters, digits and . - _ alone"
        timeout, down = (
            deployment.get(host, f"redis_sentinel_{name}_ms") for name in ("failover_timeout", "down_after")
        )
        if _is_whole(timeout) and _is_whole(down) and int(timeout) < int(down):
            yield (
                f"redis_sentinel_failover_timeout_ms {timeout} is less than redis_sentinel_down_after_ms {down}; "
                f"write {int(down) * 2}"
            )
    machine, most = _fullest(deployment, hosts)
    if count >= 3 and most > count // 2:
        yield f"{most} of {count} Sentinels are on one machine, {machine}, and are lost with it; spread them over three"


def cluster(deployment: Deployment) -> Iterator[str]:
    """A cluster elects by the majority of its primaries, and a replica must not be lost with its primary."""
    if deployment.mode != "cluster":
        return
    count, each = len(deployment.nodes), deployment.get(deployment.redis[0], "redis_cluster_replicas")
    if not _is_whole(each) or int(each) < 0:
        yield f"redis_cluster_replicas {each!r} is no number of replicas; write 1, or 0 for none"
        return
    primaries = count // (1 + int(each))
    if primaries < 3:
        yield (
            f"group {deployment.group} has {count} hosts, which with redis_cluster_replicas {each} makes {primaries} "
            f"primaries; wanted 3 or more: have {3 * (1 + int(each))} hosts"
        )
        return
    machine, most = _fullest(deployment, deployment.nodes)
    machines = len({deployment.machine(host) for host in deployment.nodes})
    if int(each) > 0 and (most > primaries or machines < 1 + int(each)):
        yield (
            f"{most} of {count} nodes are on one machine, {machine}: a primary and its replica would be lost together; "
            f"have no more than {primaries} on one, on {1 + int(each)} machines or more"
        )


def tls(deployment: Deployment) -> Iterator[str]:
    """TLS reaches the servers of a replication only."""
    for host in deployment.nodes if deployment.mode in ("sentinel", "cluster") else ():
        if str(deployment.get(host, "redis_tls")).lower() in ("true", "yes", "on", "1"):
            yield f"{host}: redis_tls is not there for cache_mode {deployment.mode} yet; set it to false"


RULES: tuple[Callable[[Deployment], Iterator[str]], ...] = (
    same_everywhere,
    units,
    places,
    replicas,
    persistence,
    sentinels,
    cluster,
    tls,
)


def _fullest(deployment: Deployment, hosts: list[str]) -> tuple[str, int]:
    """The machine with the most of these hosts, and how many those are."""
    return max(Counter(map(deployment.machine, hosts)).items(), key=lambda item: item[1], default=("", 0))


def _is_whole(value: Any) -> bool:
    """Whether the value is a whole number, or text that is one, as role arguments may be."""
    return not isinstance(value, bool) and re.fullmatch(r"-?[0-9]{1,18}", str(value).strip()) is not None


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


class FilterModule:
    """Registers the filter with Ansible."""

    def filters(self) -> dict[str, Any]:
        """Name to function."""
        return {"deployment_faults": deployment_faults}
