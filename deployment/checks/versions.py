"""Rules for the versions of what runs on the hosts, and of what will."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from deployment.checks.problems import NOTHING, Finding
from deployment.checks.servers import REPLICATED
from deployment.hosts import Host, Hosts, Version, numbers
from deployment.model import django_version

# A version that nobody knows has everything.
UNKNOWN = (99, 0)
# The servers that brought TLS, users and RESP3; and Sentinels that know names.
SIX, SENTINEL_NAMES_SINCE = (6, 0), (6, 2)
# redis-py that speaks RESP3 unless told otherwise.
RESP3_CLIENT = 8
# The last Python that a series of Django starts on: later ones lack the module cgi.
PYTHON_CEILING = {"3.2": (3, 12)}
# What a package needs from its major version on: at least which version of what, and below which one.
NEEDS: dict[tuple[str, int], dict[str, tuple[Version, Version | None]]] = {
    ("django-redis", 6): {"Django": ((4, 2), None), "Python": ((3, 9), None)},
    ("django-redis", 7): {"Django": ((5, 2), (7, 0)), "Python": ((3, 10), None)},
    ("redis", 8): {"Python": ((3, 10), None)},
}
# The lowest redis-py that knows the option `protocol`, which the caches have.
REDIS_PY_FLOOR = 5


def server_programs(hosts: Hosts) -> Iterator[Finding]:
    """A server of one's own must start."""
    for host in hosts:
        path = str((host.redis or host.sentinel).get("server_bin") or "")
        said = host.program(path)
        if path and said and not said["version"]:
            fix = "write the path of a server, or remove it for the distribution's package"
            yield Finding(host.name, "redis_server_bin", path, f"it does not start here: {said['text']}", fix)


def too_old(hosts: Hosts) -> Iterator[Finding]:
    """Servers below the floor lack what the bundle uses."""
    for host in hosts:
        floor = str((host.redis or host.sentinel).get("floor") or "0")
        if host.version and numbers(host.version) < numbers(floor):
            wrong = f"its server is {host.version}, and {floor} or later is needed"
            yield Finding(
                host.name, "", NOTHING, wrong, "use a later distribution, or set redis_server_bin to a later one"
            )


def older_replicas(hosts: Hosts) -> Iterator[Finding]:
    """A replica cannot read what a later version writes, so it must not be older than its leader."""
    for replica, leader in _pairs(hosts):
        if _is_older(replica, leader):
            wrong = (
                f"its server is {replica.version}, and its leader {leader.name} is {leader.version}: it could not sync"
            )
            fix = f"upgrade {replica.name} to {leader.version}, replicas before leaders"
            yield Finding(replica.name, "", NOTHING, wrong, fix)


def _pairs(hosts: Hosts) -> Iterator[tuple[Host, Host]]:
    """Each replica with its leader; where a new cluster is to be formed, each server with the latest one."""
    for servers in hosts.deployments:
        mode = servers[0].redis["mode"] if servers else ""
        if mode in ("replication", "sentinel"):
            leaders = [host for host in servers if _node(host).get("role") == "leader"]
            yield from ((host, leader) for leader in leaders for host in servers if host is not leader)
        elif mode == "cluster":
            latest = max(servers, key=lambda host: numbers(host.version or "0"))
            by_place = {_node(host).get("place"): host for host in servers}
            for host in servers:
                followed = f"{host.reply.get('leader_address')}:{host.reply.get('leader_port')}"
                if host.reply.get("role") != "leader" or not host.reply.get("cluster"):
                    yield host, by_place.get(followed, latest)


def _node(host: Host) -> Mapping[str, Any]:
    nodes: Iterable[Mapping[str, Any]] = host.redis.get("nodes", ())
    return next((node for node in nodes if node["name"] == host.name), {})


def _is_older(host: Host, other: Host) -> bool:
    """Whether its server is older; those of different engines cannot be compared."""
    is_known = bool(host.version and other.version) and host.redis.get("engine") == other.redis.get("engine")
    return is_known and numbers(host.version) < numbers(other.version)


def mixed(hosts: Hosts) -> Iterator[Finding]:
    """Where any server may come to lead, all should have one version: older ones could not follow a later one."""
    flagged = {replica.name for replica, leader in _pairs(hosts) if _is_older(replica, leader)}
    for servers in hosts.deployments:
        if not servers or servers[0].redis["mode"] not in REPLICATED[1:]:
            continue
        latest = max(servers, key=lambda host: numbers(host.version or "0"))
        for host in servers:
            if _is_older(host, latest) and host.name not in flagged:
                wrong = f"its server is {host.version}, and {latest.name} is {latest.version}: it could not follow it"
                yield Finding(host.name, "", NOTHING, wrong, "upgrade it as well")


def features(hosts: Hosts) -> Iterator[Finding]:
    """What the inventory asks for, its servers must have."""
    for host in hosts:
        server = numbers(host.version) if host.version else UNKNOWN
        if host.redis.get("tls") and server < SIX:
            wrong = f"TLS came with version 6.0, and its server is {host.version}"
            yield Finding(host.name, "redis_tls", True, wrong, "install 6.0 or later, or write false")
        if host.redis.get("user") and server < SIX:
            wrong = f"users came with version 6.0, and its server is {host.version}: one password would open everything"
            yield Finding(host.name, "redis_acl", True, wrong, "install 6.0 or later, or write false")
        if host.sentinel.get("by_name") and server < SENTINEL_NAMES_SINCE:
            wrong = f"Sentinel knows names from version 6.2 on, and this one is {host.version}"
            fix = "install 6.2 or later, or write IP addresses for all hosts"
            yield Finding(host.name, "redis_address", NOTHING, wrong, fix)
        for old in _servers_before(hosts, host, SIX):
            for alias, option, value in host.app["words"]:
                by_default = option == "protocol" and value is None
                if by_default and pins(host).get("redis", (0,))[0] < RESP3_CLIENT:
                    continue
                what = "RESP3" if option == "protocol" else "users"
                what += f", which redis-py {RESP3_CLIENT} speaks by default," if by_default else ""
                wrong = f"{what} came with version 6.0, and {old.name} is {old.version}"
                fix = "write 2" if option == "protocol" else "remove it"
                word, shown = f"{host.app['variable']}.{alias}.{option}", NOTHING if by_default else value
                yield Finding(host.name, word, shown, wrong, f"{fix}, or install 6.0 or later")


def _servers_before(hosts: Hosts, app: Host, since: Version) -> list[Host]:
    """The first of a Django host's servers that is older than that, if one is."""
    servers = (hosts.by_name.get(node["name"]) for node in app.app.get("nodes", ()))
    return [one for one in servers if one and one.version and numbers(one.version) < since][:1]


def cache_words(caches: Mapping[str, Any]) -> list[tuple[str, str, Any]]:
    """Return what a CACHES says that Redis 5 may not know: alias, `username` or `protocol`, and its value or None."""
    found: list[tuple[str, str, Any]] = []
    for alias, cache in caches.items():
        backend, options = str(cache.get("BACKEND")), cache.get("OPTIONS") or {}
        given = {**options, **(options.get("CONNECTION_POOL_KWARGS") or {})}
        if "redis" not in backend.lower():
            continue
        found += [(alias, "username", value) for name, value in given.items() if str(name).lower() == "username"]
        # The bundle's own client speaks RESP2 unless told otherwise.
        if given.get("protocol") == 3 or ("protocol" not in given and not backend.startswith("cachestack.")):
            found.append((alias, "protocol", given.get("protocol")))
    return found


def python(hosts: Hosts) -> Iterator[Finding]:
    """Every series of Django has its versions of Python."""
    for host in hosts:
        said = host.program(host.app.get("python") or "")
        name, value = "django_app_python", host.app.get("python")
        if said and not said["version"] and value != "python3":
            yield Finding(
                host.name, name, value, f"it does not start here: {said['text']}", "write the path of a Python"
            )
        if not said.get("version"):
            continue
        floors: Mapping[str, str] = host.app["python_floor"]
        django, found = str(host.app["django"]), numbers(said["version"])
        if _fits_python(django, floors, found):
            continue
        bound = f"needs Python {floors[django]} or later"
        if found >= numbers(floors[django]):
            bound = f"does not start on a Python later than {'.'.join(map(str, PYTHON_CEILING[django]))}"
        can = ", ".join(series for series in floors if _fits_python(series, floors, found)) or "none"
        wrong = f"Django {django} {bound}, and {value} is {said['version']}"
        fix = f"write one that this host can run ({can}), or set django_app_python to another Python"
        yield Finding(host.name, "django_app_django_version", django, wrong, fix)


def _fits_python(series: str, floors: Mapping[str, str], found: Version) -> bool:
    return series not in floors or numbers(floors[series]) <= found <= PYTHON_CEILING.get(series, found)


def libraries(hosts: Hosts) -> Iterator[Finding]:
    """The versions that a constraints file has must go together, or pip moves one of them."""
    for host in hosts:
        path = str(host.app.get("constraints") or "")
        if path and not Path(path).is_file():
            wrong = "there is no such file on the control machine"
            yield Finding(host.name, "django_app_constraints", path, wrong, "write the path of one, or '' for none")
        for wrong in _clashes(host, pins(host)):
            yield Finding(host.name, "django_app_constraints", path, wrong, "write versions that go together")


def pins(host: Host) -> dict[str, Version]:
    """Return the exact versions in a host's constraints file, by package in lower case; {} where there is none."""
    path = Path(str(host.app.get("constraints") or ""))
    text = path.read_text("utf-8") if path.is_file() else ""
    found = re.findall(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?\s*==\s*([0-9][0-9.]*)", text, re.M)
    return {name.lower().replace("_", "-"): numbers(version) for name, version in found}


def _clashes(host: Host, found: Mapping[str, Version]) -> Iterator[str]:
    series = django_version(host.app.get("django"))
    has = {"Django": series, "Python": numbers(host.program(host.app.get("python") or "").get("version") or "0")}
    if "django" in found and found["django"] != series:
        yield f"it has Django {_dotted(found['django'])}, and django_app_django_version is {_dotted(series)}"
    if found.get("redis", (REDIS_PY_FLOOR,))[0] < REDIS_PY_FLOOR:
        yield f"it has redis {_dotted(found['redis'])}, which does not know the option protocol; {REDIS_PY_FLOOR} does"
    used = {"redis", "django-redis"} if host.app.get("client") == "django_redis" else {"redis"}
    for name in sorted(used & set(found)):
        major = max((number for package, number in NEEDS if package == name and number <= found[name][0]), default=0)
        for what, (least, below) in NEEDS.get((name, major), {}).items():
            if has[what] > (0, 0) and (has[what] < least or (below and has[what] >= below)):
                limit = f"{_dotted(least)} or later" + (f" and below {_dotted(below)}" if below else "")
                yield f"{name} {_dotted(found[name])} needs {what} {limit}, and this is {_dotted(has[what])}"


def _dotted(version: Version) -> str:
    return ".".join(map(str, version))
