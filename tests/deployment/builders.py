"""Sites for tests: what the bridge to Ansible would hand over, and what the modules would answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible.module_utils.host.restart import restart_reasons

from deployment.changes import Changes
from deployment.desired.parts import Part
from deployment.model import hosts_of
from deployment.plan import deployment_plan
from deployment.site import Site
from deployment.specs import defaults, options
from deployment.states import States

Values = dict[str, Any]
# By host the sections of a result of host_apply.
Compared = dict[str, dict[str, dict[str, Any]]]
# By host, section and part what its result has instead.
Changed = Mapping[tuple[str, str, str], Values]

COMPARED, APPLIED = True, False
PYTHON = "/opt/venv/bin/python"
SECRETS = {
    "redis_password": "what Django logs in with",
    "redis_admin_password": "what the roles log in with",
    "redis_sentinel_password": "what clients of the Sentinels log in with",
    "django_app_secret_key": "the SECRET_KEY of Django, which is long",
}
# How many servers a mode has where a test does not say.
SERVERS = {"locmem": 0, "standalone": 1, "replication": 3, "sentinel": 3, "cluster": 6}
MODES = list(SERVERS)


def address(name: str) -> str:
    """Where a host is: redis-1 at 10.0.0.1, app-1 at 10.0.1.1."""
    kind, _, number = name.rpartition("-")
    return f"10.0.{('redis', 'app', 'sentinel').index(kind)}.{number}"


def values(name: str, mode: str, **changes: Any) -> Values:
    """Every variable of the roles for a host. None where Python decides; what a template makes is written out."""
    where = str(changes.get("ansible_host", address(name)))
    return {
        **dict.fromkeys(options()),
        **defaults(),
        "ansible_host": where,
        "redis_address": where,
        "redis_tls_authority_dir": "/inventory/secrets/tls",
        "django_app_allowed_hosts": [where, name, "localhost", "127.0.0.1"],
        "django_app_cache_dir": "/home/me/.cache/cachestack",
        "cache_mode": mode,
        **SECRETS,
        **changes,
    }


def site(
    mode: str,
    *,
    servers: int | None = None,
    sentinels: Sequence[str] | None = None,
    apps: int = 1,
    own: Mapping[str, Values] | None = None,
    said: Mapping[str, Values] | None = None,
    looked: bool = True,
    **common: Any,
) -> Site:
    """A deployment before the first run: redis-1, ... with Sentinels beside them in mode sentinel, and app-1, ....

    ``common`` are variables of all hosts, ``own`` of some; ``said`` is by host what it answers, beside its facts.
    Without ``looked`` nobody was asked yet.
    """
    redis = [f"redis-{number}" for number in range(1, 1 + (SERVERS[mode] if servers is None else servers))]
    watching = (redis if mode == "sentinel" else []) if sentinels is None else list(sentinels)
    groups = {"redis": redis, "redis_sentinel": watching, "django_app": [f"app-{n}" for n in range(1, 1 + apps)]}
    names = hosts_of(groups)
    variables = {name: values(name, mode, **{**common, **(own or {}).get(name, {})}) for name in names}
    answers = {name: answer(name, (said or {}).get(name, {})) for name in names} if looked else {}
    return Site(variables, groups, answers, PYTHON)


def answer(name: str, said: Values) -> Values:
    """What a host answers, in part as ``said`` has it."""
    usual = absent(name)
    return {**usual, **said, "probe": {**usual["probe"], **said.get("probe", {})}}


def with_ca(folder: Path) -> Values:
    """Variables of a deployment with TLS, whose CA is in a directory below this one, or still to be made there."""
    return {"redis_tls": True, "redis_tls_authority_dir": str(folder / "tls")}


def issued(states: States) -> States:
    """The states after the certificates were issued."""
    for authority in states.authorities.values():
        authority.issue()
    return States(states.site, has_issued=True)


def parts(states: States, name: str, section: str, as_it_speaks: bool = COMPARED) -> list[Part]:
    """The parts of a section of a host."""
    return states.parts(name, as_it_speaks)[section]


def part(states: States, name: str, section: str, kind: str, as_it_speaks: bool = COMPARED) -> Part:
    """The first one of a kind among them."""
    return next(one for one in parts(states, name, section, as_it_speaks) if one["part"] == kind)


def facts(name: str, **changes: Any) -> Values:
    """What a host says of itself."""
    return {
        "nodename": name,
        "machine_id": name,
        "default_ipv4": {"address": address(name)},
        "default_ipv6": {},
        "all_ipv4_addresses": [address(name)],
        "all_ipv6_addresses": [],
        "memtotal_mb": 4096,
        "python": {"version": {"major": 3, "minor": 11}, "modules": {"ensurepip": True, "packaging": True}},
        **changes,
    }


# The program of the distribution's package is there.
INSTALLED: Values = {"units": [], "missing": [], "programs": {"/usr/bin/redis-server": {"version": "7.0.15"}}}


def absent(name: str) -> Values:
    """What a host answers on which nothing was deployed, but the program of Redis is there."""
    return {
        "facts": facts(name),
        "probe": INSTALLED,
        "redis": {"error": "Connection refused", "installed": False},
        "sentinel": {"running": False, "error": "Connection refused"},
        "django": {"error": "Connection refused"},
    }


def leads(replicas: int = 0, **changes: Any) -> Values:
    """What a leader says of itself."""
    about = {"server": "redis", "version": "7.0.15", "cluster": False, "tls": False, "installed": True}
    return {**about, "role": "leader", "offset": 1, "replicas": replicas, **changes}


def follows(leader: str, **changes: Any) -> Values:
    """What a replica of a host says of itself."""
    followed = {"leader_address": address(leader), "leader_port": 6379, "link": "connected"}
    return {**leads(), "role": "replica", **followed, **changes}


def watches(leader: str, **changes: Any) -> Values:
    """What a Sentinel says."""
    named = {"leader_address": address(leader), "leader_port": 6379, "quorum": "OK 3 usable Sentinels"}
    return {"running": True, "unsettled": "", "tls": False, "trusted": True, "user": "admin", **named, **changes}


def running(mode: str, servers: int | None = None, **changes: Any) -> dict[str, Values]:
    """What the hosts say that run as ``site`` has them; ``changes`` are in the reply of each server and Sentinel.

    A leader's host is redis-1; in a cluster the second half of the servers follows the first.
    """
    count = SERVERS[mode] if servers is None else servers
    names = [f"redis-{number}" for number in range(1, count + 1)]
    if mode == "cluster":
        half = count // 2
        found = {name: leads(1, cluster=True) for name in names[:half]}
        found |= {name: follows(names[index], cluster=True) for index, name in enumerate(names[half:])}
    else:
        found = {name: follows(names[0]) if index else leads(count - 1) for index, name in enumerate(names)}
    said: dict[str, Values] = {name: {"redis": {**reply, **changes}} for name, reply in found.items()}
    if mode == "sentinel":
        for name in names:
            said[name]["sentinel"] = watches(names[0], **changes)
    return {**said, "app-1": {"django": {"status": 200, "json": {"status": "ok"}}}}


# What host_apply returns


def found(part: Part) -> Values:
    """What a part returns of a host that has what it is to have."""
    kinds: dict[str, Values] = {
        "certificate": {"stale": False},
        "cluster": {"actions": [], "primaries": []},
        "command": {"ran": False},
        "configuration": {"answers": True, "set": {}, "was": {}, "postponed": [], "restart": [], "differs": []},
        "directory": {"differs": []},
        "file": {"differs": []},
        "firewall_load": {"same": True},
        "link": {"differs": []},
        "sentinel": {"told": [], "was": {}, "restart": [], "differs": []},
        "sentinel_agrees": {"running": True, "gone": [], "strangers": []},
        "service": {"running": True, "enabled": True, "stale": False, "newer": [], "described": False, "differs": []},
        "topology": {},
        "users": {"is_new": False, "users": [], "differs": []},
        "volatile": {"differs": []},
    }
    path = part.get("path") or part.get("unit_path")
    return {"changed": False, **({"path": path} if path else {}), **kinds.get(part["part"], {})}


def missing(part: Part) -> Values:
    """What a part returns of a host on which nothing is yet."""
    kinds: dict[str, Values] = {
        "configuration": {"answers": False, "differs": ["missing"]},
        "directory": {"differs": ["missing"]},
        "file": {"differs": ["missing"]},
        "link": {"differs": ["target"]},
        "service": {"running": False, "enabled": False, "described": True, "differs": ["missing"]},
        "topology": {"error": "Connection refused"},
        "users": {"is_new": True, "differs": ["missing"], "path": (part.get("connection") or {}).get("auth_file")},
        "volatile": {"differs": ["missing"]},
    }
    if part["part"] == "cluster":
        names = [node["name"] for node in part["nodes"]]
        kinds["cluster"] = {"actions": ["they become one cluster"], "primaries": names[: len(names) // 2]}
    return {**found(part), "changed": True, **kinds.get(part["part"], {})}


def name_of(part: Part) -> str:
    """The name of a part's result, as host_apply has it."""
    is_named = part["part"].startswith("service") or part["part"] == "firewall_load"
    return str(part["part"] if is_named else part.get("name") or part["part"])


def compared(states: States, changes: Changed | None = None) -> Compared:
    """What a comparison with the states finds, everything as it is to be where a service runs, else all missing.

    ``changes`` are by host, section and part what its result has instead, which makes it changed.
    """
    result: Compared = {}
    for name in states.site.looked:
        for section, parts in states.parts(name, COMPARED).items():
            judge = found if is_there(states, name, section) else missing
            done: dict[str, Any] = {name_of(part): judge(part) for part in parts}
            result.setdefault(name, {})[section] = done
    for (name, section, part), change in (changes or {}).items():
        done = result[name].setdefault(section, {})
        done[part] = {**done.get(part, {}), "changed": True, **change}
    for sections in result.values():
        for done in sections.values():
            done["needs_restart"] = restart_reasons(done)
            done["changed"] = any(one["changed"] for one in done.values() if isinstance(one, dict))
    return result


def is_there(states: States, name: str, section: str) -> bool:
    """Whether what a section describes runs already, by what the host said."""
    redis, sentinel = states.site.said(name, "redis"), states.site.said(name, "sentinel")
    if section in ("sentinel", "agreement"):
        return bool(sentinel.get("running"))
    if section == "django_app":
        return "json" in states.site.said(name, "django")
    if section == "cluster":
        return bool(redis.get("cluster"))
    runs = "role" in redis or redis.get("error") == "timed out"
    if section == "certificate":
        return runs or bool(sentinel.get("running"))
    return section == "firewall" or (runs and not section.startswith("retired"))


def plan(one: Site, changes: Changed | None = None) -> dict[str, Any]:
    """The plan of a site, see compared."""
    states = States(one)
    return deployment_plan(Changes(states, compared(states, changes)))


def steps(one: Site, changes: Changed | None = None) -> dict[str, list[str]]:
    """The hosts that have something to do in each step."""
    states = States(one)
    return Changes(states, compared(states, changes)).steps
