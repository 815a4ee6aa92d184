"""Rules for what servers are where, and how they are told apart, persist and take over."""

from __future__ import annotations

import ipaddress
import posixpath
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import wraps
from typing import Any

from deployment.addresses import is_loopback
from deployment.checks.problems import NOTHING, Finding
from deployment.model import (
    BUS,
    GROUPS,
    THIS_MACHINE,
    Deployment,
    Inventory,
    group_names,
    hosts_of,
    neighbours,
    sentinel_address,
)
from deployment.secrets import SECRET
from deployment.specs import PLAIN, PLAIN_PATH, is_whole
from deployment.words import closest

# Where the first exporter of a machine listens.
EXPORTER_PORT = 9121
# The modes in which servers follow others.
REPLICATED = ("replication", "sentinel", "cluster")
# What every host of a deployment must say alike.
SHARED = (
    "cache_mode",
    "cache_client",
    "redis_password",
    "redis_admin_password",
    "redis_acl",
    "redis_app_rules",
    "redis_leader",
    "redis_tls",
    "redis_sentinel_password",
    "redis_sentinel_service",
    "redis_sentinel_quorum",
    "redis_sentinel_down_after_ms",
    "redis_sentinel_failover_timeout_ms",
    "redis_cluster_replicas",
    "redis_cluster_node_timeout_ms",
)
# And what only the servers read.
OF_SERVERS = ("redis_acl", "redis_admin_password", "redis_app_rules", "redis_tls")
# As useradd and groupadd take it.
ACCOUNT_NAME = "[a-z_][a-z0-9_-]{0,31}"
OFF = {"no", "false", "", '""', "''", "none", "[]"}
MEMORY = re.compile(r"[0-9]+(b|k|kb|m|mb|g|gb)?", re.I)

ForDeployment = Callable[[Deployment], Iterable[Finding]]


def each(rule: ForDeployment) -> Callable[[Inventory], Iterator[Finding]]:
    """Return the rule for an inventory: it is asked of each of its deployments."""

    @wraps(rule)
    def find(inventory: Inventory) -> Iterator[Finding]:
        for deployment in inventory.deployments:
            yield from rule(deployment)

    return find


def empty_groups(inventory: Inventory) -> Iterator[Finding]:
    """Without a server there is no cache, and without Django nobody who uses it."""
    for group in GROUPS:
        hosts = inventory.groups.get(group) or ()
        meant = closest(group, [name for name in inventory.groups if name not in (*GROUPS, "all", "ungrouped")], 0.75)
        if not hosts and meant and (group != "redis_sentinel" or inventory.modes == {"sentinel"}):
            yield Finding(f"group {meant}", "", NOTHING, "no playbook knows this group", f"did you mean {group}?")
    if not any(inventory.groups.get(group) for group in GROUPS):
        yield Finding("inventory", "", NOTHING, "it has no host in the groups redis and django_app", "add some")
    for deployment in inventory.deployments:
        if not deployment.redis and deployment.mode != "locmem":
            fix = "add a host, or write cache_mode: locmem"
            yield Finding(f"group {deployment.group}", "", NOTHING, "it has no host", fix)
        elif not deployment.nodes and deployment.mode != "locmem":
            fix = f"add {deployment.mode} to redis_modes of its hosts"
            yield Finding(
                f"group {deployment.group}", "", NOTHING, f"it has no host for cache_mode {deployment.mode}", fix
            )
    if hosts_of(inventory.groups) and not inventory.groups.get("django_app"):
        yield Finding("group django_app", "", NOTHING, "it has no host", "add the host that runs Django")


def two_deployments(inventory: Inventory) -> Iterator[Finding]:
    """A host serves one deployment."""
    names = {host: group_names(inventory.variables.get(host, {})) for host in hosts_of(inventory.groups)}
    for place, word in enumerate(("cache_redis_group", "cache_sentinel_group")):
        for group in dict.fromkeys(own[place] for own in names.values()):
            for host in inventory.groups.get(group, ()):
                if host in names and names[host][place] != group:
                    wrong = f"it is in the group {group} of one deployment, and names that of another one"
                    yield Finding(host, word, names[host][place], wrong, "take it out of one of them")


def same_everywhere(deployment: Deployment) -> Iterator[Finding]:
    """Hosts of one deployment that say different things would make servers that do not fit together."""
    for name in SHARED:
        servers = [*deployment.nodes, *deployment.watching]
        hosts = servers if name in OF_SERVERS else deployment.hosts
        hosts = deployment.sentinels if name.startswith("redis_sentinel") else hosts
        values = {host: value for host in hosts if (value := deployment.get(host, name)) not in (None, "")}
        if len(set(map(str, values.values()))) > 1:
            said = "" if SECRET.search(name) else f" ({_said(values)})"
            group = deployment.sentinel_group if name.startswith("redis_sentinel") else deployment.group
            where = f"hosts of group {group}"
            yield Finding(
                where, name, NOTHING, f"it is not the same everywhere{said}", "set it once, in group_vars/all.yml"
            )


def _said(values: Mapping[str, Any]) -> str:
    """Who says what, the first of each value."""
    by_value: dict[str, list[str]] = {}
    for host, value in values.items():
        by_value.setdefault(str(value), []).append(host)
    return ", ".join(
        f"{hosts[0]}{' and others' if len(hosts) > 1 else ''}: {value}" for value, hosts in by_value.items()
    )


def leader(deployment: Deployment) -> Iterator[Finding]:
    """The first leader is one of the servers."""
    if deployment.mode in ("locmem", "cluster"):
        return
    for host in deployment.redis:
        value = deployment.get(host, "redis_leader")
        if value is not None and value not in deployment.nodes:
            meant = closest(value, deployment.nodes)
            fix = f"did you mean {meant}?" if meant else "write one of them, or leave it out for the first"
            names = ", ".join(deployment.nodes[:9])
            yield Finding(
                f"group {deployment.group}",
                "redis_leader",
                value,
                f"it is not in group {deployment.group} ({names})",
                fix,
            )


def places(inventory: Inventory) -> Iterator[Finding]:
    """Two servers cannot have one port of one machine."""
    used: dict[tuple[str, int], tuple[str, str, int]] = {}
    for deployment in inventory.deployments:
        for host, name, port, above in _listeners(deployment):
            if port is None:
                continue
            place = (deployment.machine(host), port + above)
            if port + above > 65535:
                if port <= 65535:
                    wrong = f"it leaves no port for the bus of the cluster, which is {BUS} above"
                    yield Finding(host, name, port, wrong, f"write {65535 - BUS} or less")
            elif place in used and not (above and used[place][2]):
                # Where two nodes have one bus, they also have one port, which is said of that.
                other, other_name, other_above = used[place]
                bus = f" (the bus of a cluster is {BUS} above its port)" if above or other_above else ""
                both = f"{other} and {host}" if other != host else f"{other_name} and {name}"
                wrong = f"{both} both use {place[0]}:{place[1]}{bus}"
                yield Finding(host, name, port, wrong, f"set another {name} for one of them")
            used.setdefault(place, (host, name, above))


def _listeners(deployment: Deployment) -> Iterator[tuple[str, str, int | None, int]]:
    """Who listens: the host, the port with its variable, and how far above that."""
    for host in deployment.nodes:
        port = deployment.whole(host, "redis_port")
        yield host, "redis_port", port, 0
        if deployment.mode == "cluster":
            yield host, "redis_port", port, BUS
        if deployment.get(host, "redis_exporter_enabled") is True:
            yield host, "redis_exporter_port", _exporter_port(deployment, host), 0
    for name, hosts in (("redis_sentinel_port", deployment.watching), ("django_app_port", deployment.apps)):
        for host in hosts:
            yield host, name, deployment.whole(host, name), 0


def _exporter_port(deployment: Deployment, host: str) -> int | None:
    """The port of a host's exporter, as the role has it where nobody says anything."""
    if deployment.get(host, "redis_exporter_port") is not None:
        return deployment.whole(host, "redis_exporter_port")
    return EXPORTER_PORT + neighbours(deployment.redis, deployment.variables, host).index(host)


def binds(deployment: Deployment) -> Iterator[Finding]:
    """A server listens on addresses, and on one that the others reach."""
    for host in deployment.nodes:
        value = deployment.get(host, "redis_bind")
        if not isinstance(value, str):
            continue
        found = value.split()
        wrong = [one for one in found if one != "*" and not _is_address(one.removeprefix("-"))]
        if wrong or not found:
            what = f"{wrong[0]!r} is no address" if wrong else "it names no address"
            fix = "write IP addresses with blanks between them, or leave it out for redis_address"
            yield Finding(host, "redis_bind", value, what, fix)
        elif all(is_loopback(one.removeprefix("-")) for one in found) and len(deployment.machines) > 1:
            fix = "write one that they reach, or leave it out for redis_address"
            yield Finding(host, "redis_bind", value, "other machines cannot reach it there", fix)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return True


def _is_everybodys(address: str) -> bool:
    """Tell whether it is an address of no single machine, such as 0.0.0.0."""
    found = ipaddress.ip_address(address.partition("%")[0]) if _is_address(address) else None
    return found is not None and (found.is_unspecified or found.is_multicast)


def same_address(deployment: Deployment) -> Iterator[Finding]:
    """Every server, and every Sentinel, is reached in a place of its own."""
    wanted = [(host, "redis_address", "redis_port", deployment.address(host)) for host in deployment.nodes]
    for host in deployment.watching:
        address = sentinel_address(host, deployment.variables[host])
        wanted.append((host, "redis_sentinel_address", "redis_sentinel_port", address))
    used: dict[tuple[str, int], str] = {}
    for host, name, port_name, address in wanted:
        port = deployment.whole(host, port_name)
        if port is not None:
            other = used.setdefault((address, port), host)
            # On one machine they would have one port, which another rule tells.
            if deployment.machine(other) != deployment.machine(host):
                wrong = f"{other} and {host} would both be reached there, port {port}"
                yield Finding(host, name, address, wrong, "write each host's own address")


def mode_not_said(deployment: Deployment) -> Iterator[Finding]:
    """What is not said is taken for standalone."""
    for host in deployment.hosts:
        if deployment.variables[host].get("cache_mode") is None:
            yield Finding(host, "cache_mode", NOTHING, "nobody says it, so it is standalone", "write it")


def addresses(deployment: Deployment) -> Iterator[Finding]:
    """Nobody else can reach a loopback address, and everybody must be able to write an address down."""
    servers = {(host, deployment.address(host)): "redis_address" for host in deployment.nodes}
    for host in deployment.watching:
        address = sentinel_address(host, deployment.variables[host])
        servers.setdefault((host, address), "redis_sentinel_address")
    # Django's hosts are reached by Ansible alone.
    apps = {
        (host, str(given)): "ansible_host"
        for host in deployment.apps
        if (given := deployment.get(host, "ansible_host"))
    }
    for (host, address), variable in {**apps, **servers}.items():
        name = next((one for one in (variable, "redis_address") if deployment.get(host, one)), "ansible_host")
        if not is_host(address):
            fix = "write one such as 10.0.0.1, 2001:db8::1 or redis.example.com"
            yield Finding(host, name, address, "it is no host name and no address", fix)
        elif _is_everybodys(address):
            yield Finding(host, name, address, "nobody can reach this address", "write the one that the others reach")
    machines = deployment.machines | {deployment.machine(host) for host in deployment.watching}
    if len(machines) > 1:
        others = [host for host, address in servers if not is_loopback(address)]
        wrong = f"{others[0]} would find itself there" if others else "other machines would find themselves there"
        for (host, address), variable in servers.items():
            if is_loopback(address):
                yield Finding(host, variable, address, wrong, f"set {variable} to one that they can reach")


def sockets(deployment: Deployment) -> Iterator[Finding]:
    """A socket is a server's own path, only for those on the same machine, and all that one without a port has."""
    taken: dict[tuple[str, str], str] = {}
    for host in deployment.nodes:
        path = deployment.get(host, "redis_socket")
        if deployment.get(host, "redis_tcp") is False and (not path or deployment.mode in REPLICATED):
            wrong = "nobody could reach the server" if not path else "the other servers could not reach it"
            yield Finding(
                host, "redis_tcp", False, wrong, "remove it, or have cache_mode standalone and a redis_socket"
            )
        if not path or not isinstance(path, str):
            continue
        port = deployment.get(host, "redis_port")
        own = f"/run/redis-{port}"
        other = taken.setdefault((deployment.machine(host), path), host)
        if not re.fullmatch(PLAIN_PATH, path) or not path.startswith("/") or len(path.encode()) > 107:
            wrong = "it is longer than 107 bytes" if len(path.encode()) > 107 else f"it is no absolute path of {PLAIN}"
            yield Finding(host, "redis_socket", path, wrong, f"write a path such as {own}/redis.sock")
        elif other != host:
            wrong = f"{other} on the same machine has it as well, and whoever starts last would answer there"
            yield Finding(host, "redis_socket", path, wrong, f"write {own}/redis.sock")
        elif deployment.get(host, "service_manager") == "systemd" and posixpath.dirname(path) != own:
            wrong = "under systemd the server may make it in its own folder alone"
            yield Finding(host, "redis_socket", path, wrong, f"write {own}/redis.sock")
        elif deployment.mode != "cluster" and (far := _elsewhere(deployment, host)):
            fix = "remove it, or put Django on the same machine"
            yield Finding(host, "redis_socket", path, f"Django on {far[0]} cannot reach it", fix)


def accounts(deployment: Deployment) -> Iterator[Finding]:
    """Users and groups have names that the system takes; under supervisor there may be none."""
    named = [(host, name) for host in deployment.nodes for name in ("redis_user", "redis_group", "redis_socket_group")]
    named += [(host, "django_app_user") for host in deployment.apps]
    for host, name in named:
        value = deployment.get(host, name)
        if value and not re.fullmatch(ACCOUNT_NAME, str(value)):
            fix = "write small letters, digits, - and _, up to 32 of them, with a letter or _ first"
            yield Finding(host, name, value, f"it is no name for a {name.rpartition('_')[2]}", fix)


def _elsewhere(deployment: Deployment, host: str) -> list[str]:
    """The Django hosts on other machines than this one's."""
    return [app for app in deployment.apps if deployment.machine(app) != deployment.machine(host)]


def replicas(deployment: Deployment) -> Iterator[Finding]:
    """A mode with replicas needs some, and a leader that waits for more than there are takes no writes."""
    nodes, mode = deployment.nodes, deployment.mode
    if mode in ("replication", "sentinel") and len(nodes) == 1:
        wrong = f"cache_mode is {mode} but group {deployment.group} has no replica"
        yield Finding(
            f"group {deployment.group}", "cache_mode", mode, wrong, "add a host, or write cache_mode: standalone"
        )
    for host in nodes:
        name = "redis_min_replicas_to_write"
        wanted = deployment.whole(host, name)
        given = str(deployment.mapping(host, "redis_config").get("min-replicas-to-write"))
        if is_whole(given):
            name, wanted = "redis_config.min-replicas-to-write", int(given)
        available = len(nodes) - 1 if mode in ("replication", "sentinel") else 0
        if mode == "cluster":
            available = deployment.whole(host, "redis_cluster_replicas") or 0
        if wanted is not None and wanted > available:
            wrong = f"it is more than the {available} replicas of a leader, which would refuse every write"
            yield Finding(host, name, wanted, wrong, f"write {max(available - 1, 0)}")


def persistence(deployment: Deployment) -> Iterator[Finding]:
    """A leader that comes back empty empties its replicas."""
    if deployment.mode not in REPLICATED or len(deployment.nodes) < 2:
        return
    for host in deployment.nodes:
        given = {"appendonly": deployment.get(host, "redis_appendonly"), "save": deployment.get(host, "redis_save")}
        given |= deployment.mapping(host, "redis_config")
        persists = any(str(given[name]).strip().lower() not in OFF for name in ("appendonly", "save"))
        if not persists and deployment.get(host, "redis_accept_empty_restart") is not True:
            wrong = (
                "redis_appendonly and redis_save are both off while replicas exist: a leader that restarts comes back "
                "empty and empties every replica"
            )
            yield Finding(host, "redis_appendonly", NOTHING, wrong, "set one, or redis_accept_empty_restart: true")


def memory(deployment: Deployment) -> Iterator[Finding]:
    """The bound of the data is written as in redis.conf."""
    for host in deployment.nodes:
        name, value = _said_of(deployment, host, "maxmemory")
        if value is not None and not MEMORY.fullmatch(str(value)):
            yield Finding(host, name, value, "it is no size", "write one such as 256mb or 2gb")
        elif re.fullmatch(r"0*[1-9][0-9]{0,5}b?", str(value), re.I):
            yield Finding(
                host, name, value, "it is in bytes, which hold nothing", f"write {value}mb, if you meant that"
            )


def memory_doubts(deployment: Deployment) -> Iterator[Finding]:
    """Without a bound, or with one that nothing makes room for, a cache fills the machine or refuses writes."""
    for host in deployment.nodes:
        name, size = _said_of(deployment, host, "maxmemory")
        if size is not None and re.fullmatch(r"0+\D*", str(size)):
            wrong = "0 is no bound: the cache grows until the machine has no memory left"
            yield Finding(host, name, size, wrong, "write one such as 256mb")
        name, policy = _said_of(deployment, host, "maxmemory-policy")
        if policy == "noeviction":
            wrong = "when the memory is full every write fails"
            yield Finding(host, name, policy, wrong, "write allkeys-lru for a cache")


def _said_of(deployment: Deployment, host: str, directive: str) -> tuple[str, Any]:
    """Who decides a directive, redis_config or its variable, and what it says."""
    config = deployment.mapping(host, "redis_config")
    variable = f"redis_{directive.replace('-', '_')}"
    if directive in config:
        return f"redis_config.{directive}", config[directive]
    return variable, deployment.get(host, variable)


def sentinels(deployment: Deployment) -> Iterator[Finding]:
    """Sentinels elect by majority, which must outlive the loss of one of them."""
    if deployment.mode != "sentinel":
        return
    hosts, group = deployment.sentinels, f"group {deployment.sentinel_group}"
    count = len(hosts)
    if count < 3 or count % 2 == 0:
        why = "cannot survive the loss of one" if count < 3 else "survive no more losses than one fewer would"
        yield Finding(
            group,
            "",
            NOTHING,
            f"{_counted(count, 'Sentinel')} ({', '.join(hosts[:9]) or 'none'}) {why}",
            "wanted 3, 5 or another odd number",
        )
    for host in hosts[:1]:
        quorum = deployment.whole(host, "redis_sentinel_quorum")
        if quorum is not None and count and not 1 <= quorum <= count:
            wrong = f"{quorum} does not fit {count} Sentinels: no failover would be right"
            fix = f"write 1 to {count}, best {count // 2 + 1}, which is the default"
            yield Finding(group, "redis_sentinel_quorum", quorum, wrong, fix)
        service = str(deployment.get(host, "redis_sentinel_service"))
        if not re.fullmatch(r"[A-Za-z0-9._-]+", service):
            wrong = "it is no name for Sentinel"
            yield Finding(group, "redis_sentinel_service", service, wrong, "write letters, digits and . - _ alone")
        timeout, down = (
            deployment.whole(host, f"redis_sentinel_{name}_ms") for name in ("failover_timeout", "down_after")
        )
        if timeout is not None and down is not None and timeout < down:
            wrong = f"it is less than redis_sentinel_down_after_ms {down}"
            yield Finding(group, "redis_sentinel_failover_timeout_ms", timeout, wrong, f"write {down * 2}")
    machine, most = _fullest(deployment, hosts)
    if count >= 3 and most > count // 2 and machine != THIS_MACHINE:
        wrong = f"{most} of {count} Sentinels are on one machine, {machine}, and are lost with it"
        yield Finding(group, "", NOTHING, wrong, "spread them over three machines")


def cluster(deployment: Deployment) -> Iterator[Finding]:
    """A cluster elects by the majority of its primaries, and a replica must not be lost with its primary."""
    if deployment.mode != "cluster" or not deployment.nodes:
        return
    group, count = f"group {deployment.group}", len(deployment.nodes)
    each_has = deployment.whole(deployment.nodes[0], "redis_cluster_replicas")
    if each_has is None or each_has < 0:
        return
    primaries = count // (1 + each_has)
    if primaries < 3:
        made = (
            f"{count} hosts with redis_cluster_replicas {each_has} make {_counted(primaries, 'primary', 'primaries')}"
        )
        wrong = f"{made}, and a cluster has 3 or more"
        yield Finding(group, "", NOTHING, wrong, f"have {3 * (1 + each_has)} hosts")
        return
    machine, most = _fullest(deployment, deployment.nodes)
    machines = len({deployment.machine(host) for host in deployment.nodes})
    if each_has > 0 and machine != THIS_MACHINE and (most > primaries or machines < 1 + each_has):
        wrong = (
            f"{most} of {count} nodes are on one machine, {machine}: a primary and its replica would be lost together"
        )
        fix = f"have no more than {primaries} on one, on {1 + each_has} machines or more"
        yield Finding(group, "", NOTHING, wrong, fix)


def rights(deployment: Deployment) -> Iterator[Finding]:
    """Packages, users and units want root."""
    for host in deployment.hosts:
        variables = deployment.variables[host]
        become, manager = variables.get("ansible_become"), deployment.get(host, "service_manager")
        # As who else it connects, other ways than ssh do not say.
        is_other = variables.get("ansible_connection", "ssh") != "ssh" or variables.get("ansible_user") == "root"
        if str(become).lower() in ("false", "no") and manager == "systemd" and not is_other:
            wrong = "systemd's units, packages and users need root"
            fix = "remove it, or write service_manager: supervisor as inventories/local does"
            yield Finding(host, "ansible_become", become, wrong, fix)


def is_host(text: str) -> bool:
    """Tell whether it can be a host name or an IP address. An underscore is none by the book, and Docker writes it."""
    if ":" in text or re.fullmatch(r"[0-9.]+", text):
        return _is_address(text)
    return re.fullmatch(r"(?!-)[A-Za-z0-9_.-]{1,253}", text) is not None


def _counted(count: int, one: str, more: str = "") -> str:
    return f"{count} {one if count == 1 else more or one + 's'}"


def _fullest(deployment: Deployment, hosts: Sequence[str]) -> tuple[str, int]:
    """The machine with the most of these hosts, and how many those are."""
    return max(Counter(map(deployment.machine, hosts)).items(), key=lambda item: item[1], default=("", 0))
