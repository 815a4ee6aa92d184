"""Who may reach which port of a machine, from what the hosts want and from their addresses."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, Union

from deployment.addresses import is_loopback
from deployment.errors import DeploymentError
from deployment.hosts import APP, REDIS, SENTINEL, Host
from deployment.model import BUS, hosts_of

Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]
Kind = TypeVar("Kind", ipaddress.IPv4Network, ipaddress.IPv6Network)

# Where other hosts find one, next to its facts; these may be translated addresses, or names.
ADDRESSES = ("ansible_host", "redis_address", "redis_sentinel_address")
ALLOW, MONITORING, WEB = "firewall_allow", "firewall_monitoring", "firewall_web"


class FirewallError(DeploymentError):
    """The inventory or this run does not say who may reach what; the text says what to do."""


@dataclass
class Port:
    """A port of a machine: what listens there, and who may reach it."""

    number: int
    names: list[str] = field(default_factory=list)
    sources: list[Network] = field(default_factory=list)

    def rendered(self) -> dict[str, Any]:
        """The port as the template wants it."""
        return {
            "port": self.number,
            "name": ", ".join(self.names),
            "ipv4": _collapsed(self.sources, ipaddress.IPv4Network),
            "ipv6": _collapsed(self.sources, ipaddress.IPv6Network),
        }


def firewall_rules(hostvars: Mapping[str, Any], groups: Mapping[str, Sequence[str]]) -> dict[str, list[dict[str, Any]]]:
    """What the firewall of each machine lets in, by the one of the machine's hosts that keeps it.

    That is the ports on which hosts with ``firewall_enabled`` listen beyond loopback, by number, each a dict with
    ``port``, ``name`` (what listens), ``ipv4`` and ``ipv6`` (who may reach it beside the machine itself: sorted
    networks that do not overlap). Everybody is named who needs the port by what the roles want of the hosts, and who is
    in the host's variables.

    Raises FirewallError where a host of the groups was not looked at in this run, so that its addresses are not known,
    or where a variable has what is no address and no network.
    """
    hosts = {name: _host(name, hostvars[name]) for name in hosts_of(groups)}
    enabled = [name for name in hosts if hostvars[name].get("firewall_enabled")]
    # They would be locked out.
    unseen = [name for name in hosts if "ansible_facts" not in hostvars[name]]
    if enabled and unseen:
        raise FirewallError(
            f"{', '.join(unseen)}: not looked at in this run, so nobody knows the addresses to let in. "
            f"Add it to --limit, and take a host that is lost out of the inventory."
        )
    machines: dict[tuple[str, ...], list[Host]] = {}
    for host in hosts.values():
        machines.setdefault(_machine(host), []).append(host)
    found = {}
    for machine in machines.values():
        keepers = [host for host in machine if host.name in enabled]
        ports: dict[int, Port] = {}
        for host in keepers:
            _open(ports, host, hosts, hostvars)
        # The others may not even run the role.
        found[(keepers or machine)[0].name] = [ports[number].rendered() for number in sorted(ports)]
    return found


def _host(name: str, variables: Mapping[str, Any]) -> Host:
    return Host(name, *(variables.get(word) or {} for word in (REDIS, SENTINEL, APP, "ansible_facts")))


def _machine(host: Host) -> tuple[str, ...]:
    """What tells a host's machine from others; one that said nothing is alone."""
    return host.machine or (host.name,)


def _open(ports: dict[int, Port], host: Host, hosts: Mapping[str, Host], hostvars: Mapping[str, Any]) -> None:
    """Add one host's ports, and who may reach them."""
    variables = hostvars[host.name]
    allowed = list(_networks(host.name, variables, ALLOW))
    for wanted, above, label, names, extra in _listeners(host, hosts, variables):
        if all(is_loopback(address.lstrip("-")) for address in wanted["bind"]):
            continue
        port = ports.setdefault(wanted["port"] + above, Port(wanted["port"] + above))
        port.names.append(f"{label} of {host.name}")
        port.sources += allowed
        port.sources += _networks(host.name, variables, extra) if extra else ()
        for other in names:
            if _machine(hosts[other]) != _machine(host):
                port.sources += _addresses(hosts[other], hostvars[other])


def _listeners(
    host: Host, hosts: Mapping[str, Host], variables: Mapping[str, Any]
) -> Iterator[tuple[Mapping[str, Any], int, str, Iterable[str], str]]:
    """What listens on a host: what is wanted of it, how far above its port, what it is, the hosts and the variable."""
    nodes = [node["name"] for node in host.redis.get("nodes", ())]
    watchers = [other.name for other in hosts.values() if host.name in other.sentinel.get("hosts", ())]
    apps = [other.name for other in hosts.values() if host.name in other.app.get("servers", ())]
    if host.redis:
        yield host.redis, 0, "Redis", [*nodes, *watchers, *apps], ""
        if host.redis["mode"] == "cluster":
            yield host.redis, BUS, "the cluster's bus", nodes, ""
    if host.sentinel:
        watched = set(host.sentinel["hosts"])
        others = [other["name"] for other in host.sentinel["sentinels"]]
        asking = [other.name for other in hosts.values() if watched & set(other.app.get("servers", ()))]
        yield host.sentinel, 0, "the Sentinel", [*others, *watched, *asking], ""
    if exporter := variables.get("redis_exporter_wanted"):
        yield exporter, 0, "the exporter", (), MONITORING
    if host.app:
        yield host.app, 0, "Django", (), WEB


def _networks(name: str, variables: Mapping[str, Any], variable: str) -> Iterator[Network]:
    """The addresses and networks in a variable of a host."""
    for value in variables.get(variable) or ():
        try:
            yield ipaddress.ip_network(str(value))
        except ValueError:
            raise FirewallError(f"{name}: {variable} has {value!r}, which {advice(str(value))}") from None


def advice(value: str) -> str:
    """What is wrong with what is no network, and what to write instead."""
    try:
        meant = ipaddress.ip_interface(value)
    except ValueError:
        return "is no address and no network: write one such as 192.0.2.7, 192.0.2.0/24 or 2001:db8::/64"
    return f"is an address within a network: write {meant.ip} or {meant.network}"


def _addresses(host: Host, variables: Mapping[str, Any]) -> Iterator[Network]:
    """Where a host may come from: the addresses that its machine has, and those by which others know it."""
    for value in (*host.addresses, *(variables.get(word) for word in ADDRESSES)):
        try:
            address = ipaddress.ip_address(str(value))
        except ValueError:
            # A name, or nothing.
            continue
        if not address.is_loopback and not address.is_link_local:
            yield ipaddress.ip_network(address)


def _collapsed(networks: Iterable[Network], kind: type[Kind]) -> list[str]:
    """The networks of one kind, sorted, each address in one of them."""
    return [str(one) for one in ipaddress.collapse_addresses(one for one in networks if isinstance(one, kind))]
