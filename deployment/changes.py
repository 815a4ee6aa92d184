"""What a comparison found: which hosts have something to do in which step of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from deployment.desired.django import SERVICE as DJANGO
from deployment.states import ORDER, States

# Before the name of a step, the group of the hosts that have something to do in it.
PREFIX = "deploy_"


@dataclass(frozen=True)
class Changes:
    """The states of all hosts, and ``compared``: by host the sections of a result of the module host_apply."""

    states: States
    compared: Mapping[str, Mapping[str, Any]]

    def section(self, host: str, name: str) -> dict[str, Any]:
        """What was found in a section of a host; empty where it has none."""
        return dict(self.compared.get(host, {}).get(name) or {})

    def part(self, host: str, section: str, name: str) -> dict[str, Any]:
        """What was found of a part."""
        return dict(self.section(host, section).get(name) or {})

    def changes(self, host: str, section: str) -> bool:
        """Whether something in the section differs."""
        return bool(self.section(host, section).get("changed"))

    def restart_reasons(self, host: str, section: str) -> list[str]:
        """Why what runs must be restarted; empty where it need not."""
        return list(self.section(host, section).get("needs_restart") or ())

    @cached_property
    def certificates(self) -> dict[str, str]:
        """The hosts that need a new certificate, and why."""
        return {host: why for one in self.states.authorities.values() for host, why in one.reasons.items()}

    @cached_property
    def stops(self) -> list[str]:
        """The hosts whose servers are stopped together, leader first."""
        return [name for name in self.states.used if self.states.stops_server(name)]

    @cached_property
    def sentinel_stops(self) -> list[str]:
        """The hosts whose Sentinels are stopped with them."""
        return [name for name in self.states.watching if self.states.stops_sentinel(name)]

    @cached_property
    def restarts(self) -> list[str]:
        """The hosts whose servers are restarted one at a time, in order: the replicas first."""
        stale = [name for name in self.states.used if name not in self.stops and self.restart_reasons(name, "redis")]
        return [*(name for name in stale if not self.leads(name)), *(name for name in stale if self.leads(name))]

    @cached_property
    def sentinel_restarts(self) -> list[str]:
        """The hosts whose Sentinels are restarted one at a time."""
        return [
            name
            for name in self.states.watching
            if name not in self.sentinel_stops and self.sentinel_restart_reasons(name)
        ]

    def sentinel_restart_reasons(self, name: str) -> list[str]:
        """Why a Sentinel must be restarted; empty where it need not."""
        reasons = self.restart_reasons(name, "sentinel")
        # It cannot read that again, and the comparison has only seen the former one.
        if name in self.certificates and self.part(name, "sentinel", "service").get("running"):
            reasons.append("it gets a new certificate")
        return reasons

    def gets_another_ca(self, app: str) -> bool:
        """Whether a Django host gets another CA certificate, which may still have to be issued."""
        return any(self.states.changes_authority(node["name"]) for node in self.states.apps[app].issued_nodes)

    @property
    def forgets(self) -> bool:
        """Whether a Sentinel is to forget somebody who is gone."""
        return any(self.part(name, "agreement", "sentinel_agrees").get("gone") for name in self.states.watching)

    def leads(self, name: str) -> bool:
        """Whether a host's server is a leader, or is to be one."""
        node = self.states.used[name].node
        return bool(node and node["role"] == "leader")

    def has_successor(self, name: str) -> bool:
        """Whether another server takes over from one that leads and is restarted."""
        server = self.states.used[name]
        reply, mode = server.reply, server.cache.mode
        has_replicas = bool(reply.get("replicas")) and bool(reply.get("cluster")) == (mode == "cluster")
        return reply.get("role") == "leader" and has_replicas and self.states.may_be_succeeded(server)

    @cached_property
    def steps(self) -> dict[str, list[str]]:
        """By step the hosts that have something to do in it. A step that nobody needs is missing."""
        states = self.states
        changed = {name: [host for host in states.names if self.changes(host, name)] for name in ORDER}
        servers = [
            name
            for name in states.used
            if name in changed["redis"]
            or self.part(name, "redis", "configuration").get("postponed")
            or name in changed["certificate"]
            or name in self.certificates
            or name in self.stops
        ]
        sentinels = [
            name
            for name in states.watching
            if name in changed["sentinel"]
            or name in self.sentinel_stops
            or (name not in states.used and (name in changed["certificate"] or name in self.certificates))
        ]
        moved = servers or sentinels or self.restarts or self.sentinel_restarts or changed["agreement"]
        apps = [name for name in states.apps if name in changed[DJANGO] or self._gets_new_ca(name)]
        found = {
            "firewall": changed["firewall"],
            "install": [name for name in states.names if states.needs_install(name)],
            "stop_sentinel": self.sentinel_stops,
            "stop_redis": self.stops,
            "retire_first": changed["retired_first"],
            "redis": servers,
            "sentinel": sentinels,
            "restart_sentinel": self.sentinel_restarts,
            "restart_replica": [name for name in self.restarts if not self.leads(name)],
            "restart_leader": [name for name in self.restarts if self.leads(name)],
            "agreement": list(states.watching) if moved else [],
            # A new certificate may be of another CA, of which the exporter has a copy.
            "exporter": [
                name
                for name in states.used
                if name in changed["exporter"] or (name in self.certificates and states.exporters[name].enabled)
            ],
            "cluster": [name for name in self._first_nodes() if name in changed["cluster"] or moved],
            "django_app": apps,
            # Those that ran before take the former passwords until Django has the new ones.
            "finish": [
                name
                for name in servers
                if "role" in states.used[name].reply and self.part(name, "redis", "users").get("changed")
            ],
            "retire_sentinel": changed["retired_sentinel"],
            "retire_redis": changed["retired"],
        }
        return {name: hosts for name, hosts in found.items() if hosts}

    @cached_property
    def finish_waits_for(self) -> list[str]:
        """The Django hosts that must have the new passwords before the servers of a cache refuse the former ones."""
        states, deployed = self.states, self.steps.get(DJANGO, ())
        return [
            name
            for cache in states.site.caches
            if not set(cache.deployment.redis).isdisjoint(self.steps.get("finish", ()))
            for name in cache.deployment.apps
            # One that was not looked at was not compared, and may still have the former ones.
            if name in deployed or name not in states.site.looked
        ]

    def _first_nodes(self) -> list[str]:
        """The hosts that form the clusters."""
        return [cache.nodes[0]["name"] for cache in self.states.site.caches if cache.mode == "cluster" and cache.nodes]

    def _gets_new_ca(self, name: str) -> bool:
        return any(node["name"] in self.certificates for node in self.states.apps[name].issued_nodes)

    def groups(self) -> list[dict[str, Any]]:
        """The hosts of every step as ``{"host": name, "groups": [names]}``, in the inventory's order."""
        everybody = {"changes": self.states.names} if self.steps else {}
        wanted = {**everybody, **self.steps}
        found = [
            {"host": host, "groups": [PREFIX + step for step, hosts in wanted.items() if host in hosts]}
            for host in self.states.names
        ]
        return [one for one in found if one["groups"]]
