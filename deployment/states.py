"""From what is known to what each host is asked, is to have, and is compared with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from deployment import decisions
from deployment.desired import firewall
from deployment.desired.django import DjangoHost
from deployment.desired.exporter import PROGRAM as EXPORTER_PROGRAM
from deployment.desired.exporter import ExporterHost
from deployment.desired.parts import Part, arguments, sections
from deployment.desired.redis import RedisHost
from deployment.desired.sentinel import SentinelHost
from deployment.desired.tls import Issued, file_parts
from deployment.hosts import APP, EXPORTER, FIREWALL, REDIS, SENTINEL, host_questions
from deployment.model import hosts_of
from deployment.render.firewall import firewall_rules
from deployment.site import Site
from deployment.topology import cluster_absent

if TYPE_CHECKING:
    from deployment.certificates import Authority

# The sections of a host, in the order in which they are applied.
ORDER = (
    "firewall",
    "retired_first",
    "certificate",
    "redis",
    "sentinel",
    "agreement",
    "exporter",
    "cluster",
    "django_app",
    "finish",
    "retired_sentinel",
    "retired",
)

# By step of a run the sections that it applies.
STEPS: dict[str, tuple[str, ...]] = {
    "firewall": ("firewall",),
    "stop_sentinel": ("stop_sentinel",),
    "stop_redis": ("stop_redis",),
    "retire_first": ("retired_first",),
    "redis": ("certificate", "redis"),
    "sentinel": ("certificate", "sentinel"),
    "restart_sentinel": ("restart_sentinel",),
    "agreement": ("agreement",),
    "exporter": ("exporter",),
    "cluster": ("cluster",),
    "django_app": ("django_app",),
    "finish": ("finish",),
    "ready": ("ready",),
    "retire_sentinel": ("retired_sentinel",),
    "retire_redis": ("retired",),
}


@dataclass(frozen=True)
class States:
    """The states of all hosts of a site. ``has_issued``: whether new certificates were issued in this run already."""

    site: Site
    has_issued: bool = False

    # Who is what

    @cached_property
    def servers(self) -> dict[str, RedisHost]:
        """The hosts of the Redis groups, those that the mode does not use included."""
        return {name: RedisHost(cache, name) for cache in self.site.caches for name in cache.deployment.redis}

    @cached_property
    def used(self) -> dict[str, RedisHost]:
        """Those whose server the mode uses."""
        names = {node["name"] for cache in self.site.caches for node in cache.nodes}
        return {name: server for name, server in self.servers.items() if name in names}

    @cached_property
    def _checked(self) -> set[str]:
        """The hosts whose server is checked: before they were looked at, all of which the mode may use one."""
        asked = {name for cache in self.site.caches for name in cache.deployment.nodes if name not in self.site.looked}
        return asked.union(self.used)

    @cached_property
    def sentinels(self) -> dict[str, SentinelHost]:
        """The hosts of the Sentinel groups."""
        return {name: SentinelHost(cache, name) for cache in self.site.caches for name in cache.deployment.sentinels}

    @cached_property
    def watching(self) -> dict[str, SentinelHost]:
        """Those whose Sentinel the mode uses."""
        return {name: one for name, one in self.sentinels.items() if one.cache.mode == "sentinel"}

    @cached_property
    def exporters(self) -> dict[str, ExporterHost]:
        """The hosts of the Redis groups as the exporter sees them."""
        return {name: ExporterHost(server.cache, name) for name, server in self.servers.items()}

    @cached_property
    def apps(self) -> dict[str, DjangoHost]:
        """The Django hosts."""
        return {name: DjangoHost(cache, name) for cache in self.site.caches for name in cache.deployment.apps}

    @cached_property
    def names(self) -> list[str]:
        """All hosts, each once."""
        return hosts_of(self.site.groups)

    # What is checked and asked

    @cached_property
    def known(self) -> dict[str, dict[str, Any]]:
        """What is known of each host, with what it is to have, as the checks and the firewall ask for it."""
        found = {name: dict(own) for name, own in self.site.known.items()}
        for name in self.site.known:
            if name in self._checked:
                found[name][REDIS] = self.servers[name].to_check
                if self.exporters[name].enabled:
                    found[name][EXPORTER] = self.exporters[name].to_check
            if name in self.watching:
                found[name][SENTINEL] = self.watching[name].to_check
            if name in self.apps:
                found[name][APP] = self.apps[name].to_check
        return found

    @property
    def judged(self) -> dict[str, dict[str, Any]]:
        """The same, with how long the CAs on the control node last. Raises AuthorityError for one that is broken."""
        found = dict(self.known)
        for authority in self.authorities.values():
            days = authority.days_left
            for name in authority.names:
                if tls := (found[name].get(REDIS) or {}).get("tls"):
                    server = {**found[name][REDIS], "tls": {**tls, "ca_days_left": days}}
                    found[name] = {**found[name], REDIS: server}
        return found

    def questions(self, name: str, briefly: bool = False) -> dict[str, Any]:
        """What to ask a host, as the module host_look takes it; ``briefly`` only what its report tells."""
        asked: dict[str, Any] = {} if briefly else {"probe": self._probe(name)}
        server = self.servers.get(name)
        if server and (name in self._checked or not briefly):
            asked["redis"] = {
                **server.connection(),
                "announced": server.address,
                "volatile_file": server.volatile_conf,
                "persists": server.persists,
            }
        if name in self.watching:
            sentinel = self.watching[name]
            asked["sentinel"] = {
                **sentinel.sentinel_connection(),
                "announced": sentinel.sentinel_address,
                "service": sentinel.watched,
                "volatile_file": sentinel.sentinel_volatile_conf,
                # Until a failover has ended.
                "wait": 0 if briefly else sentinel.number("redis_sentinel_wait"),
            }
        runs = self.servers.get(name) if name in self._checked else self.watching.get(name)
        if runs and not briefly and not runs.text("redis_server_bin") and not runs.installs_package:
            asked["program"] = runs.program_question
        if name in self.apps:
            asked["django"] = {"url": self.apps[name].url}
        return asked

    def _probe(self, name: str) -> dict[str, Any]:
        probe = host_questions(self.known, name)
        units = [FIREWALL]
        if name in self.servers:
            server, exporter = self.servers[name], self.exporters[name]
            units += [server.manager.unit_path(server.service), server.manager.unit_path(exporter.exporter_service)]
        if name in self.sentinels:
            sentinel = self.sentinels[name]
            units.append(sentinel.manager.unit_path(sentinel.sentinel_service))
        return {**probe, "units": units, **self._installed(name)}

    def _installed(self, name: str) -> dict[str, list[str]]:
        """What tasks create or install on a host beside the program of Redis: users, groups and programs."""
        host = self.servers.get(name) or self.sentinels.get(name)
        users = [host.user] if host and host.text("redis_server_bin") else []
        groups = [host.socket_group] if host else []
        files = [firewall.PROGRAM] if self.site.values[name].get("firewall_enabled") else []
        if name in self._checked and self.exporters[name].enabled:
            users.append(self.exporters[name].exporter_user)
            files.append(EXPORTER_PROGRAM)
        if name in self.apps:
            users.append(self.apps[name].user)
        return {"users": [one for one in users if one], "groups": [one for one in groups if one], "files": files}

    def has_unit(self, name: str, service: str) -> bool:
        """Whether a service is described on a host, of whatever run."""
        host = self.servers.get(name) or self.sentinels[name]
        return host.manager.unit_path(service) in (self.site.said(name, "probe").get("units") or ())

    # The certificates

    @cached_property
    def authorities(self) -> dict[str, Authority]:
        """The CAs on the control node by their directories, each with the names that its certificates must have."""
        found: dict[str, dict[str, list[str]]] = {}
        holders: dict[str, RedisHost] = {}
        for name, host in {**self.watching, **self.used}.items():
            if host.tls and host.tls_files.issued and (name in self.watching or host.tcp):
                found.setdefault(host.ca_dir, {})[name] = host.certificate_names
                holders[host.ca_dir] = host
        if not found:
            return {}
        # Only here, since its library takes a tenth of a second to load.
        from deployment.certificates import Authority

        return {
            directory: Authority(
                directory,
                names,
                days=holders[directory].number("redis_tls_days"),
                renew_before=holders[directory].number("redis_tls_renew_before_days"),
                renew=holders[directory].is_true("redis_tls_renew") and not self.has_issued,
            )
            for directory, names in found.items()
        }

    def issued(self, name: str) -> Issued | None:
        """What the CA on the control node has issued for a host; None where it has none, or not yet."""
        host = self.used.get(name) or self.watching.get(name)
        if host is None or not host.tls or not host.tls_files.issued:
            return None
        authority = self.authorities.get(host.ca_dir)
        return authority.issued(name) if authority else None

    def issued_ca(self, app: DjangoHost) -> Issued | None:
        """The CA certificate that a Django host gets; None where it needs none, or where the CA is still to be made."""
        for node in app.issued_nodes:
            if found := self.issued(node["name"]):
                return found
        return None

    # The states

    def parts(self, name: str, as_it_speaks: bool = False) -> dict[str, list[Part]]:
        """The sections of a host, by name; with ``as_it_speaks`` for a comparison, which reaches what runs as it is."""
        found: dict[str, list[Part]] = {}
        found.update(self._firewall_parts(name))
        found.update(self._redis_parts(name, as_it_speaks))
        found.update(self._sentinel_parts(name, as_it_speaks))
        if name in self.apps:
            found["django_app"] = self.apps[name].parts(self.issued_ca(self.apps[name]))
        return found

    @cached_property
    def _firewalls(self) -> dict[str, list[dict[str, Any]]]:
        """The ports of each machine's firewall, see deployment.render.firewall."""
        return firewall_rules(self.known, self.site.groups)

    def _firewall_parts(self, name: str) -> Iterator[tuple[str, list[Part]]]:
        is_there = FIREWALL in (self.site.said(name, "probe").get("units") or ())
        # Only a host with the one or the other can be the one that keeps its machine's.
        if not is_there and not self.site.values[name].get("firewall_enabled"):
            return
        if ports := self._firewalls.get(name):
            yield "firewall", firewall.parts(ports)
        elif is_there and name in self._firewalls:
            yield "firewall", firewall.retired_parts()

    def loads_firewall(self, name: str) -> bool:
        """Whether a host's rules are to be loaded; while hosts were not looked at, whether it has some that are."""
        if set(self.site.looked) != set(self.site.values):
            is_there = FIREWALL in (self.site.said(name, "probe").get("units") or ())
            return is_there and bool(self.site.values[name].get("firewall_enabled"))
        return any(firewall.LOAD in parts for _, parts in self._firewall_parts(name))

    def _redis_parts(self, name: str, as_it_speaks: bool) -> Iterator[tuple[str, list[Part]]]:
        server = self.servers.get(name)
        if server is None:
            return
        cache = server.cache
        if name not in self.used:
            if self.has_unit(name, server.service):
                # Nodes of a former cluster would go on to follow the servers that take its place.
                is_foreign = name not in cache.deployment.nodes or server.reply.get("cluster", False)
                yield ("retired_first" if is_foreign and cache.mode != "locmem" else "retired"), server.retired_parts()
            return
        if server.tls and server.tcp:
            certificate = server.certificate_part(as_it_speaks=as_it_speaks)
            yield "certificate", [*self._certificate_files(name, server), certificate]
        yield "redis", server.server_parts(finish=as_it_speaks, as_it_speaks=as_it_speaks)
        if not as_it_speaks:
            yield "finish", [server.users_part(finish=True)]
        yield from self._exporter_parts(name)
        if cache.mode == "cluster" and name == cache.nodes[0]["name"]:
            absent = cluster_absent(cache.nodes, self.site.known) if as_it_speaks else []
            # A comparison cannot ask nodes that are down.
            if absent is not None:
                yield "cluster", [server.cluster_part(absent, as_it_speaks=as_it_speaks)]

    def _certificate_files(self, name: str, host: RedisHost) -> list[Part]:
        issued = self.issued(name)
        return file_parts(host.tls_files, issued, host.owner, host.group) if issued else []

    def _exporter_parts(self, name: str) -> Iterator[tuple[str, list[Part]]]:
        exporter = self.exporters[name]
        if exporter.enabled:
            yield "exporter", exporter.exporter_parts(self.issued(name))
        elif self.has_unit(name, exporter.exporter_service):
            yield "exporter", exporter.retired_exporter_parts()

    def _sentinel_parts(self, name: str, as_it_speaks: bool) -> Iterator[tuple[str, list[Part]]]:
        sentinel = self.sentinels.get(name)
        if sentinel is None:
            return
        if name not in self.watching:
            if self.has_unit(name, sentinel.sentinel_service):
                yield "retired_sentinel", sentinel.retired_sentinel_parts()
            return
        if sentinel.tls and name not in self.used:
            yield "certificate", self._certificate_files(name, sentinel)
        yield "sentinel", sentinel.sentinel_parts(as_it_speaks)
        yield "agreement", [sentinel.agreement_part(as_it_speaks)]

    def state(self, name: str) -> dict[str, Any]:
        """All sections that a host is compared with: the arguments of a run of the module host_apply."""
        return arguments(sections(self.parts(name, as_it_speaks=True), *ORDER))

    def steps(self, name: str) -> dict[str, dict[str, Any]]:
        """By step of a run what it applies to a host: the arguments of a run of the module host_apply."""
        parts = {**self.parts(name), **self._actions(name)}
        # A host with a server has got its certificate with that.
        chosen = {**STEPS, "sentinel": STEPS["sentinel"][name in self.used :]}
        found = {step: arguments(sections(parts, *names)) for step, names in chosen.items()}
        return {step: state for step, state in found.items() if state["sections"]}

    def _actions(self, name: str) -> dict[str, list[Part]]:
        """What is done to services beside their states."""
        found: dict[str, list[Part]] = {}
        if name in self.used:
            server = self.used[name]
            found["stop_redis"] = [{"part": "service_stopped", **server.manager.reference(server.service)}]
        if name in self.watching:
            sentinel = self.watching[name]
            reference = sentinel.manager.reference(sentinel.sentinel_service)
            found["stop_sentinel"] = [{"part": "service_stopped", **reference}]
            found["restart_sentinel"] = [{"part": "service_restarted", **reference}, sentinel.others_part()]
        if name in self.apps:
            found["ready"] = [self.apps[name].ready_part]
        return found

    def renewal(self, name: str) -> dict[str, Any]:
        """A host's certificate read again, whatever it is: the arguments of a run of the module host_apply."""
        parts: list[Part] = []
        if name in self.used:
            server = self.used[name]
            parts += [*self._certificate_files(name, server), server.certificate_part(renew=True)]
        elif name in self.watching:
            parts += self._certificate_files(name, self.watching[name])
        return arguments([{"name": "certificate", "parts": parts}])

    # What is stopped together, and installed

    def changes_protocol(self, name: str) -> bool:
        """Whether a host's server or Sentinel is one of those that are stopped together, see decisions."""
        if self.changes_authority(name):
            return True
        server, sentinel = self.used.get(name), self.watching.get(name)
        return bool(
            (server and server.tcp and decisions.tls_differs(server.reply, server.tls))
            or (sentinel and decisions.tls_differs(sentinel.sentinel_reply, sentinel.tls))
        )

    def stops_server(self, name: str) -> bool:
        """Whether a host's server is stopped before any is deployed."""
        server = self.used.get(name)
        if server is None or "role" not in server.reply:
            return False
        return self.changes_authority(name) or (server.tcp and decisions.tls_differs(server.reply, server.tls))

    def stops_sentinel(self, name: str) -> bool:
        """Whether a host's Sentinel is stopped before any is deployed."""
        sentinel = self.watching.get(name)
        if sentinel is None or not sentinel.sentinel_reply.get("running"):
            return False
        return self.changes_authority(name) or decisions.tls_differs(sentinel.sentinel_reply, sentinel.tls)

    def changes_authority(self, name: str) -> bool:
        """Whether a host is to trust another CA than it does; then neither side understands the other."""
        trusted = self.site.said(name, "probe").get("issued_by")
        host = self.used.get(name) or self.watching.get(name)
        return bool(trusted and host and host.tls and trusted != host.ca_digest)

    def needs_install(self, name: str) -> bool:
        """Whether a host still lacks what its server is run with: its program, its user or its socket's group."""
        host = self.used.get(name) or self.watching.get(name)
        if host is None:
            return False
        return self._lacks_program(host) or bool(self._new_user(host) or self._new_group(host))

    def lacks(self, name: str, what: str) -> bool:
        """Whether a host does not have a user, a group or a program for which it was asked."""
        return what in (self.site.said(name, "probe").get("missing") or ())

    def _new_user(self, host: RedisHost) -> str:
        # A package makes its own user.
        return host.user if self.lacks(host.name, host.user) and not host.installs_package else ""

    def _new_group(self, host: RedisHost) -> str:
        return host.socket_group if self.lacks(host.name, host.socket_group) else ""

    def _lacks_program(self, host: RedisHost) -> bool:
        if host.text("redis_server_bin"):
            return False
        if not host.installs_package:
            found = host.said("program")
            return not found.get("path") or bool(found.get("downloads"))
        programs = host.said("probe").get("programs") or {}
        return not (programs.get(host.program) or {}).get("version")

    def install(self, name: str) -> dict[str, Any]:
        """What the tasks that install a host's server need."""
        host = self.used.get(name) or self.watching[name]
        lacks_program = self._lacks_program(host)
        program = [{"name": "install", "parts": [{"part": "program", **host.program_question}]}]
        neighbours = {one for one in [*self.used, *self.watching] if self._is_neighbour(host, one)}
        return {
            "package": host.engine.package if lacks_program and host.installs_package else "",
            "unit": host.engine.unit,
            "state": {"sections": program} if lacks_program and not host.installs_package else {},
            "user": self._new_user(host),
            "home": host.text("redis_data_dir"),
            "socket_group": self._new_group(host),
            # Hosts of one machine would be in each other's way. 0 is no limit.
            "at_once": 1 if len(neighbours) > 1 else 0,
        }

    def _is_neighbour(self, host: RedisHost, other: str) -> bool:
        deployment = host.cache.deployment
        return deployment.machine(host.name) == deployment.machine(other)

    def may_be_succeeded(self, server: RedisHost) -> bool:
        """Whether somebody runs who promotes a replica when a server is restarted."""
        replies = [sentinel.sentinel_reply for sentinel in self._watchers(server)]
        return decisions.may_be_succeeded(server.cache.mode, replies)

    def _watchers(self, server: RedisHost) -> list[SentinelHost]:
        return [sentinel for sentinel in self.watching.values() if sentinel.cache is server.cache]

    def restart(self, name: str) -> dict[str, Any]:
        """What a restart of a host's server needs, after its successor took over."""
        server = self.used[name]
        watching = self._watchers(server)
        return {
            "connection": server.connection(),
            "is_cluster": server.cache.mode == "cluster",
            "switchover": {
                **server.connection(),
                "has_successors": self.may_be_succeeded(server),
                "sentinels": [{"address": one["address"], "port": one["port"]} for one in server.cache.sentinels],
                "sentinel_tls": server.tls,
                "service": server.cache.service,
                **(watching[0].commander if watching else {}),
            },
            "state": arguments([{"name": "restart", "parts": server.restart_parts()}]),
        }
