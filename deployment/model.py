"""An inventory as the rules see it: hosts, groups and variables, all of them plain data."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from deployment.addresses import endpoint, is_loopback
from deployment.clients import DEFAULT_ALIASES
from deployment.specs import Option, defaults, is_whole, options

# The groups whose hosts get something; deployments of other names are reached through their Django hosts.
GROUPS = ("redis", "redis_sentinel", "django_app")
# How far above its port a node of a cluster listens to the others: the cluster bus.
BUS = 10_000
# The machine that runs Ansible, whatever its hosts are called.
THIS_MACHINE = "this machine"


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
        return defaults().get(name) if value is None else value

    def whole(self, host: str, name: str) -> int | None:
        """A number of a host, or None where it is none; another rule says so."""
        value = self.get(host, name)
        return int(value) if is_whole(value) else None

    def mapping(self, host: str, name: str) -> Mapping[str, Any]:
        """A mapping of a host, empty where it is none."""
        value = self.get(host, name)
        return value if isinstance(value, Mapping) else {}

    def listed(self, host: str, name: str) -> Sequence[Any]:
        """A list of a host, empty where it is none."""
        value = self.get(host, name)
        return value if isinstance(value, (list, tuple)) else ()

    @property
    def hosts(self) -> list[str]:
        """Every host once."""
        return list(dict.fromkeys([*self.redis, *self.sentinels, *self.apps]))

    @cached_property
    def mode(self) -> str:
        """The deployment's mode, which is the same on every host."""
        return str(self.get(self.hosts[0], "cache_mode"))

    @cached_property
    def nodes(self) -> list[str]:
        """The Redis hosts that the mode uses."""
        if self.mode == "locmem":
            return []
        return [host for host in self.redis if self._serves(host)]

    def _serves(self, host: str) -> bool:
        modes = self.get(host, "redis_modes")
        return not modes or not isinstance(modes, (list, tuple)) or self.mode in modes

    @property
    def watching(self) -> list[str]:
        """The Sentinels that the mode uses."""
        return self.sentinels if self.mode == "sentinel" else []

    @property
    def machines(self) -> set[str]:
        """Where the servers that the mode uses and Django are."""
        return {self.machine(host) for host in (*self.nodes, *self.apps)}

    def client(self, host: str) -> str:
        """The client of a Django host, which depends on the mode and on Django where nobody says it."""
        given = self.get(host, "cache_client")
        if given is not None:
            return str(given)
        if self.mode in ("sentinel", "cluster"):
            return "resilient"
        old = django_version(self.get(host, "django_app_django_version")) < (4, 0)
        return "django_redis" if self.mode != "locmem" and old else "builtin"

    def aliases(self, host: str) -> Any:
        """The cache aliases of a Django host; what else is written there another rule refuses."""
        given = self.variables[host].get("django_app_cache_aliases")
        return DEFAULT_ALIASES["cluster" if self.mode == "cluster" else "others"] if given is None else given

    def session_alias(self, host: str) -> str:
        """The alias that holds the sessions of a Django host, "" for none."""
        given = self.variables[host].get("django_app_session_alias")
        return ("" if self.mode == "locmem" else "dj_session") if given is None else str(given)

    def machine(self, host: str) -> str:
        """What tells the host's machine from others."""
        return machine(host, self.variables[host])

    def address(self, host: str) -> str:
        """Where the others reach the host's server."""
        return address(host, self.variables[host])


@dataclass(frozen=True)
class Inventory:
    """All of it.

    `variables`: by host those that may be ours, each with its value; `unreadable`: those whose value cannot be had,
    with the reason; `plain_secrets`: secrets that lie in files as they are, as pairs of path and variable.
    """

    variables: Mapping[str, Mapping[str, Any]]
    groups: Mapping[str, Sequence[str]]
    unreadable: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    plain_secrets: Sequence[tuple[str, str]] = ()

    @cached_property
    def options(self) -> Mapping[str, Option]:
        """Every variable that the roles have."""
        return options()

    @property
    def modes(self) -> set[str]:
        """The modes of the deployments."""
        return {deployment.mode for deployment in self.deployments}

    @cached_property
    def deployments(self) -> list[Deployment]:
        """The deployments, each with at least one host."""
        variables = {host: self.variables.get(host, {}) for host in hosts_of(self.groups)}
        names = {host: group_names(own) for host, own in variables.items()}
        found = []
        for redis_group, sentinel_group in dict.fromkeys(names.values()):
            redis, sentinels = (
                [host for host in self.groups.get(group, ()) if host in variables]
                for group in (redis_group, sentinel_group)
            )
            apps = [host for host in self.groups.get("django_app", ()) if names[host][0] == redis_group]
            if redis or apps:
                found.append(Deployment(redis_group, sentinel_group, redis, sentinels, apps, variables))
        return found


def hosts_of(groups: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the hosts that the playbooks deploy to, each once."""
    return list(dict.fromkeys(host for name in GROUPS for host in groups.get(name, ())))


def group_names(variables: Mapping[str, Any]) -> tuple[str, str]:
    """Return the groups in which a host looks for its servers and its Sentinels."""
    words = ("cache_redis_group", "cache_sentinel_group")
    redis, sentinels = (str(variables.get(word) or defaults()[word]) for word in words)
    return redis, sentinels


def machine(name: str, variables: Mapping[str, Any]) -> str:
    """Return what tells the machine of a host from others, by the host's name and variables."""
    known_as, port = str(variables.get("ansible_host") or name), str(variables.get("ansible_port") or 22)
    if variables.get("ansible_connection") == "local" or (is_loopback(known_as) and port == "22"):
        return THIS_MACHINE
    # Behind one address that forwards them, ports tell machines apart.
    return known_as if port == "22" else endpoint(known_as, port)


def neighbours(names: Iterable[str], variables: Mapping[str, Any], name: str) -> list[str]:
    """Return those of the hosts that are on the same machine as the host `name`, itself included."""
    own = machine(name, variables[name])
    return [host for host in names if machine(host, variables[host]) == own]


def address(name: str, variables: Mapping[str, Any]) -> str:
    """Return where the others reach the server of a host, by the host's name and variables."""
    return str(variables.get("redis_address") or variables.get("ansible_host") or name)


def sentinel_address(name: str, variables: Mapping[str, Any]) -> str:
    """Return where the others reach the Sentinel of a host, by the host's name and variables."""
    return str(variables.get("redis_sentinel_address") or address(name, variables))


def django_version(value: Any) -> tuple[int, ...]:
    """Return a version as numbers, (0,) where it is none."""
    parts = str(value).split(".")
    return tuple(map(int, parts)) if all(re.fullmatch("[0-9]+", part) for part in parts) else (0,)
