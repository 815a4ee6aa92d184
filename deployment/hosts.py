"""Hosts as the rules for facts see them: what is to be there, what they say of themselves, what was found out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from deployment.model import BUS, hosts_of

# The names under which a host has what it is to have, see States.known.
REDIS, SENTINEL, APP = "redis_wanted", "redis_sentinel_wanted", "django_app_wanted"
EXPORTER = "redis_exporter_wanted"
# Where a server that listens everywhere is asked on its own host.
ANYWHERE = {"*": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}
# The unit that loads the role firewall's rules.
FIREWALL = "cachestack-firewall.service"
# The directive with the password of a server's key.
KEY_PASSWORD = "tls-key-file-pass"
Version = tuple[int, ...]


@dataclass(frozen=True)
class Host:
    """One host.

    `redis`, `sentinel` and `app`: what the roles want of it, empty where nothing; `facts`: Ansible's; `reply`: what its
    server said; `probe`: what it answered to host_questions.
    """

    name: str
    redis: Mapping[str, Any] = field(default_factory=dict)
    sentinel: Mapping[str, Any] = field(default_factory=dict)
    app: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    reply: Mapping[str, Any] = field(default_factory=dict)
    probe: Mapping[str, Any] = field(default_factory=dict)

    @property
    def machine(self) -> tuple[str, ...]:
        """What tells its machine from others, whatever the inventory calls it; empty where it said nothing."""
        main = self.facts.get("default_ipv4") or self.facts.get("default_ipv6") or {}
        found = (self.facts.get("nodename"), self.facts.get("machine_id"), main.get("address"))
        return tuple(map(str, found)) if self.facts.get("nodename") else ()

    @property
    def addresses(self) -> list[str]:
        """The addresses that the machine has."""
        return [*self.facts.get("all_ipv4_addresses", ()), *self.facts.get("all_ipv6_addresses", ())]

    def own_reply(self, port: int) -> str:
        """What its server replied to the host itself with the inventory's settings; "" where it did not."""
        own = (one for one in self.targets if one["server"] == self.name and not one["variable"])
        return next((str(one.get("reply") or "") for one in own if one["port"] == port), "")

    def is_free(self, port: int) -> bool:
        """Tell whether nobody listens on a port on which its server is to listen."""
        return any(one["port"] == port and one["state"] == "free" for one in self.listeners)

    @property
    def has_firewall(self) -> bool:
        """Tell whether the role firewall's rules are there, of whatever run."""
        return FIREWALL in (self.probe.get("units") or ())

    @property
    def targets(self) -> Sequence[Mapping[str, Any]]:
        """What became of its connections."""
        return self.probe.get("targets") or ()

    @property
    def listeners(self) -> Sequence[Mapping[str, Any]]:
        """What was found where it is to listen."""
        return self.probe.get("listeners") or ()

    @property
    def version(self) -> str:
        """The version of the server that will run, "" where nobody knows: installed, running, or to be installed."""
        wanted = self.redis or self.sentinel
        is_same = self.reply.get("server") == wanted.get("engine")
        running = self.reply.get("version") if is_same or not wanted.get("program") else ""
        return str(self._installed(wanted) or running or self.probe.get("candidate") or "")

    def _installed(self, wanted: Mapping[str, Any]) -> str:
        return str(self.program(wanted.get("program") or "").get("version") or "")

    def program(self, path: str) -> Mapping[str, Any]:
        """What a program said of its version, empty where it was not asked."""
        found: Mapping[str, Any] = (self.probe.get("programs") or {}).get(path) or {}
        return found


@dataclass(frozen=True)
class Hosts:
    """All of them, by name."""

    by_name: Mapping[str, Host]

    def __iter__(self) -> Iterator[Host]:
        return iter(self.by_name.values())

    @cached_property
    def machines(self) -> list[list[Host]]:
        """The hosts with a server, those of one machine together."""
        found: dict[tuple[str, ...], list[Host]] = {}
        for host in self:
            if host.redis:
                found.setdefault(host.machine or (host.name,), []).append(host)
        return list(found.values())

    @cached_property
    def deployments(self) -> list[list[Host]]:
        """The hosts of each deployment that are known, its leader first where it has one."""
        found: dict[tuple[str, ...], list[Host]] = {}
        for host in self:
            names = tuple(node["name"] for node in host.redis.get("nodes", ()))
            found.setdefault(names, [self.by_name[name] for name in names if name in self.by_name])
        return [hosts for names, hosts in found.items() if names]


def numbers(version: str) -> Version:
    """Return the first two parts of a version, by which features and formats differ."""
    parts = (*version.split("."), "0")[:2]
    return tuple(int(part) if part.isdigit() else 0 for part in parts)


def known_hosts(hostvars: Mapping[str, Any], groups: Mapping[str, Sequence[str]]) -> Hosts:
    """Return the hosts that something is wanted of, or that were asked who leads."""
    found = {}
    for name in hosts_of(groups):
        variables = hostvars[name]
        words = (REDIS, SENTINEL, APP, "ansible_facts", "redis_reply", "host_probed")
        redis, sentinel, app, facts, reply, probe = (variables.get(word) or {} for word in words)
        if redis or sentinel or app or reply:
            found[name] = Host(name, redis, sentinel, app, facts, reply, probe)
    return Hosts(found)


def host_questions(hostvars: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return what to ask a host, as the module host_look takes it under ``probe``."""
    own = hostvars[name]
    redis, sentinel, app = (own.get(word) or {} for word in (REDIS, SENTINEL, APP))
    server = redis or sentinel
    wanted = [*_own_targets(own, name), *_app_targets(hostvars, app), *_redis_targets(name, redis)]
    targets: dict[tuple[str, int], dict[str, Any]] = {}
    # Several reasons to reach one place need one connection.
    for target in (*wanted, *_sentinel_targets(hostvars, name, sentinel)):
        targets.setdefault((target["address"], target["port"]), target)
    programs = [server.get("program"), app.get("python")]
    return {
        "targets": list(targets.values()),
        "listeners": list(_listeners(own, redis, sentinel, app)),
        "programs": [program for program in programs if program],
        "package": server.get("package") or "",
        "data_dir": redis.get("data_dir") or None,
        "certificate": _certificate(own, redis),
        "issued_ca_file": server["tls"]["ca_file"] if _is_issued(server) else None,
        "ca_file": None if app.get("ca_issued") else app.get("ca_file") or None,
    }


def _certificate(own: Mapping[str, Any], redis: Mapping[str, Any]) -> dict[str, Any] | None:
    # What the bundle's authority is about to make is right, or not there yet.
    if not redis.get("tls") or _is_issued(redis):
        return None
    certificate = {word: redis["tls"][word] for word in ("cert_file", "key_file", "ca_file", "name", "reader")}
    # A secret, and so not among what the role has said.
    return {**certificate, "key_password": str(own["redis_config"][KEY_PASSWORD]) if redis["tls"]["is_locked"] else ""}


def _is_issued(server: Mapping[str, Any]) -> bool:
    """Whether the certificate of a server or a Sentinel is one of the bundle's authority."""
    return bool((server.get("tls") or {}).get("names"))


def _target(node: Mapping[str, Any], variable: str, above: int = 0, **more: Any) -> dict[str, Any]:
    place = {"address": node["address"], "port": node["port"] + above}
    return {**place, "server": node["name"], "variable": variable, **more}


def _own_targets(own: Mapping[str, Any], name: str) -> Iterator[dict[str, Any]]:
    """The host's own servers, to know whether they take what the others will say."""
    for word, password in ((REDIS, "redis_password"), (SENTINEL, "redis_sentinel_password")):
        wanted = own.get(word)
        if wanted and wanted["bind"]:
            address = wanted["bind"][0].lstrip("-")
            node = {"name": name, "address": ANYWHERE.get(address, address), "port": wanted["port"]}
            login: dict[str, Any] = {"user": wanted.get("user", ""), "password": str(own.get(password) or "")}
            yield _target(node, "", ask=True, **login, **_tls(wanted.get("tls")))


def _tls(tls: Mapping[str, Any] | None) -> dict[str, Any]:
    return {"tls_name": tls["name"], "tls_ca_file": tls["ca_file"] or None} if tls else {}


def _app_targets(hostvars: Mapping[str, Any], app: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The servers that Django's settings name, with what they say to them."""
    for nodes, variable in ((app.get("nodes"), "redis"), (app.get("sentinels"), "redis_sentinel")):
        if nodes:
            password = str(hostvars[nodes[0]["name"]].get(f"{variable}_password") or "")
            user = app.get("user", "") if variable == "redis" else ""
            for node in nodes:
                # A cluster's nodes tell each other's addresses, and no sockets.
                if not node.get("socket") or app["mode"] == "cluster":
                    tls = {"name": node["address"], "ca_file": app["ca_file"]} if node.get("tls") else None
                    login: dict[str, Any] = {"user": user, "password": password}
                    # Whom to trust the run itself brings to the host, maybe for the first time.
                    ask = not (tls and app.get("ca_issued"))
                    yield _target(node, f"{variable}_address", ask=ask, **login, **_tls(tls))


def _redis_targets(name: str, redis: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The servers that this one may have to follow: who leads is not known yet. In a cluster all talk to all."""
    for node in redis.get("nodes", ()):
        if node["name"] != name:
            yield _target(node, "redis_address")
            if redis["mode"] == "cluster":
                yield _target(node, "redis_address", BUS)


def _sentinel_targets(hostvars: Mapping[str, Any], name: str, sentinel: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The servers that a Sentinel watches, and those that it watches with."""
    for server in sentinel.get("hosts", ())[:1]:
        for node in (hostvars[server].get(REDIS) or {}).get("nodes", ()):
            yield _target(node, "redis_address")
    for other in sentinel.get("sentinels", ()):
        if other["name"] != name:
            yield _target(other, "redis_sentinel_address")


def _listeners(
    own: Mapping[str, Any], redis: Mapping[str, Any], sentinel: Mapping[str, Any], app: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """Where something is to listen; what has answered by then need not be looked at."""
    if redis:
        yield from _binds(redis, "redis_port", unless="redis")
    if redis and redis["mode"] == "cluster":
        yield from _binds({**redis, "port": redis["port"] + BUS}, "redis_port", unless="cluster")
    if sentinel:
        yield from _binds(sentinel, "redis_sentinel_port", unless="sentinel")
    if exporter := own.get(EXPORTER):
        yield from _binds(exporter, "redis_exporter_port")
    if app:
        yield from _binds(app, "django_app_port")


def _binds(wanted: Mapping[str, Any], variable: str, **more: str) -> Iterator[dict[str, Any]]:
    manager = wanted["manager"]
    supervisor = {"directory": manager["supervisor"]["directory"]} if manager["supervisor"] else None
    for address in wanted["bind"]:
        # The server itself goes on without an address that is marked so.
        if not address.startswith("-"):
            place = {"address": address, "port": wanted["port"], "variable": variable}
            service = {"service": manager["name"], "manager": manager["manager"], "supervisor": supervisor}
            yield {**place, **service, **more}
