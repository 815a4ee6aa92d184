"""What one run knows: the inventory's values and what the hosts said, put together for each deployment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any

from deployment.model import Deployment, Inventory
from deployment.render.service import Manager
from deployment.specs import is_true
from deployment.topology import redis_nodes, redis_sentinels

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Site:
    """All hosts of one run.

    ``values`` has every variable of the roles for each host, as the inventory or else the role's defaults have it;
    ``looked`` is by host a result of the module host_look, missing where a host was not looked at; ``python`` is the
    interpreter that runs Ansible on the control node.
    """

    values: Mapping[str, Values]
    groups: Mapping[str, Sequence[str]]
    looked: Mapping[str, Values] = field(default_factory=dict)
    python: str = "python3"

    @cached_property
    def known(self) -> dict[str, dict[str, Any]]:
        """By host its values and what it said, under the names by which the checks and the topology ask for them.

        A host that was not looked at has its values alone.
        """
        return {
            host: {**own, **(self._answers(host) if host in self.looked else {})} for host, own in self.values.items()
        }

    def _answers(self, host: str) -> dict[str, Any]:
        return {
            "ansible_facts": self.facts(host),
            "redis_reply": self.said(host, "redis"),
            "redis_sentinel_reply": self.said(host, "sentinel"),
            "host_probed": self.said(host, "probe"),
        }

    def said(self, host: str, what: str) -> dict[str, Any]:
        """The answer of a host to one of the questions; empty where it was not asked."""
        return dict(self.looked.get(host, {}).get(what) or {})

    def facts(self, host: str) -> dict[str, Any]:
        """What a host said of itself."""
        return self.said(host, "facts")

    @cached_property
    def caches(self) -> list[Cache]:
        """The deployments, each with its hosts."""
        return [Cache(self, one) for one in Inventory(self.values, self.groups).deployments]


@dataclass(frozen=True)
class Cache:
    """One deployment of the site: its mode, its servers, its Sentinels and its Django hosts.

    ``nodes`` raises TopologyError where the hosts do not agree on who leads.
    """

    site: Site
    deployment: Deployment

    @property
    def mode(self) -> str:
        """The word of the inventory."""
        return self.deployment.mode

    @cached_property
    def sentinels(self) -> list[dict[str, Any]]:
        """The Sentinels that the mode uses, see redis_sentinels."""
        return redis_sentinels(self.deployment.sentinels, self.site.known, self.mode)

    @cached_property
    def nodes(self) -> list[dict[str, Any]]:
        """The servers that the mode uses, leader first, see redis_nodes."""
        return redis_nodes(self.deployment.redis, self.site.known, self.mode, self.sentinels)

    @property
    def leader(self) -> dict[str, Any]:
        """The server that leads, or is to lead."""
        return self.nodes[0]

    @property
    def service(self) -> str:
        """What the Sentinels call what they watch; "" where there are none."""
        return str(self.sentinels[0]["service"]) if self.sentinels else ""

    def neighbours(self, host: str) -> list[str]:
        """The hosts with a server of the mode on the same machine, this one included."""
        machine = self.deployment.machine(host)
        return [name for name in self.deployment.nodes if self.deployment.machine(name) == machine]


@dataclass(frozen=True)
class Host:
    """A host as a role sees it."""

    cache: Cache
    name: str

    @property
    def values(self) -> Values:
        """Its variables."""
        return self.cache.site.values[self.name]

    @property
    def facts(self) -> dict[str, Any]:
        """What it said of itself."""
        return self.cache.site.facts(self.name)

    def said(self, what: str) -> dict[str, Any]:
        """Its answer to one of the questions."""
        return self.cache.site.said(self.name, what)

    def is_true(self, name: str) -> bool:
        """A boolean variable, which `-e` and INI files have as text."""
        return is_true(self.values.get(name))

    def number(self, name: str) -> int:
        """A whole number, which `-e` and INI files have as text."""
        return int(self.values[name])

    def number_or_none(self, name: str) -> int | None:
        """The same of a variable that nobody may have set."""
        value = self.values.get(name)
        return None if value is None else int(value)

    def text(self, name: str) -> str:
        """A text, "" where nobody set it."""
        value = self.values.get(name)
        return "" if value is None else str(value)

    @property
    def manager(self) -> Manager:
        """What runs its services."""
        daemon = str(PurePosixPath(self.cache.site.python).with_name("supervisord"))
        return Manager(self.text("service_manager"), self.text("service_dir"), daemon)
