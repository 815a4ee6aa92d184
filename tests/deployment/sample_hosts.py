"""What hosts said of themselves, for the tests of the checks, and ways to make it wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from conftest import PROJECT
from deployment.checks.facts import RULES
from deployment.checks.problems import problems
from deployment.hosts import FIREWALL, known_hosts
from deployment.render.service import Manager

Hostvars = dict[str, dict[str, Any]]
Change = Callable[[Hostvars], Any]
GROUPS = {"redis": ["redis-1", "redis-2"], "redis_sentinel": [], "django_app": ["app-1"]}
SECRET = "correct horse battery staple"
GIB = 1 << 30


def place(name: str) -> dict[str, Any]:
    return {"address": f"10.0.0.{name[-1]}", "port": 6379, "place": f"10.0.0.{name[-1]}:6379"}


def node(name: str, role: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "role": role, **place(name), "socket": None, "tls": False, "machine": name, **more}


def connected(server: str, outcome: str = "refused", **more: Any) -> dict[str, Any]:
    """What became of a connection to a server that is not there yet."""
    where = place(server)
    found = {"resolved": [where["address"]], "outcome": outcome, "text": ""}
    return {"server": server, "variable": "redis_address", "address": where["address"], "port": 6379, **found, **more}


def listening(state: str = "free", **more: Any) -> dict[str, Any]:
    return {"address": "10.0.0.1", "port": 6379, "variable": "redis_port", "state": state, "text": "", **more}


def facts(name: str) -> dict[str, Any]:
    address = f"10.0.0.{name[-1]}" if name.startswith("redis") else "10.0.0.9"
    main = {"address": address}
    own = {"nodename": name, "machine_id": "same everywhere", "default_ipv4": main, "all_ipv4_addresses": [address]}
    return {**own, "all_ipv6_addresses": [f"fe80::{name[-1]}"], "memtotal_mb": 4096}


def deployment(mode: str = "replication") -> Hostvars:
    """Two new servers and a Django host on three machines, and nothing is wrong."""
    nodes = [node("redis-1", "leader"), node("redis-2", "leader" if mode == "cluster" else "replica")]
    servers: Hostvars = {
        name: {
            "redis_password": SECRET,
            "ansible_facts": facts(name),
            "redis_reply": {"error": "Connection refused"},
            "redis_wanted": {
                "mode": mode,
                "nodes": nodes,
                "bind": [place(name)["address"]],
                "port": 6379,
                "manager": Manager("systemd").reference("redis-6379"),
                "engine": "redis",
                "server_bin": "",
                "floor": "5.0",
                "program": "/usr/bin/redis-server",
                "package": "redis-server",
                "maxmemory_variable": "redis_maxmemory",
                "maxmemory": "2gb",
                "data_dir": "/var/lib/redis/6379",
                "tls": {},
            },
            "host_probed": {
                "targets": [connected(name, variable="")],
                "listeners": [listening(address=place(name)["address"])],
                "programs": {"/usr/bin/redis-server": {"version": "", "text": "No such file or directory"}},
                "candidate": "7.0.15",
                "disk": {"folder": "/var/lib", "device": 1, "free": 20 * GIB, "used": 0},
                "certificate": {},
                "ca_faults": [],
            },
        }
        for name in ("redis-1", "redis-2")
    }
    servers["redis-2"]["host_probed"]["targets"].append(connected("redis-1"))
    app = {
        "ansible_facts": facts("app-1"),
        "django_app_wanted": {
            "mode": mode,
            "client": "builtin",
            "django": "5.2",
            "python": "python3",
            "python_floor": {"3.2": "3.9", "4.2": "3.9", "5.2": "3.11", "6.1": "3.12"},
            "constraints": str(PROJECT / "roles/django_app/files/constraints/django-5.2.txt"),
            "variable": "django_app_cache_aliases",
            "words": [],
            "group": "redis",
            "servers": ["redis-1", "redis-2"],
            "nodes": nodes,
            "sentinels": [],
            "ca_file": "",
            "bind": ["127.0.0.1"],
            "port": 8000,
            "manager": Manager("systemd").reference("django_app"),
        },
        "host_probed": {
            "targets": [connected("redis-1"), connected("redis-2")],
            "listeners": [listening(address="127.0.0.1", port=8000, variable="django_app_port")],
            "programs": {"python3": {"version": "3.11.2", "text": ""}},
            "candidate": "",
            "disk": {},
            "certificate": {},
            "ca_faults": [],
        },
    }
    return {**servers, "app-1": app}


def put(path: str, value: Any) -> Change:
    """Set what is at a path such as redis-1/redis_wanted/maxmemory; a number is a place in a list."""

    def change(hostvars: Hostvars) -> None:
        *way, last = [int(word) if word.isdigit() else word for word in path.split("/")]
        inner: Any = hostvars
        for word in way:
            inner = inner[word]
        inner[last] = value

    return change


def add(path: str, value: Any) -> Change:
    """Append to what is at a path."""

    def change(hostvars: Hostvars) -> None:
        inner: Any = hostvars
        for word in path.split("/"):
            inner = inner[word]
        inner.append(value)

    return change


def together(*changes: Change) -> Change:
    """All of these."""

    def change(hostvars: Hostvars) -> None:
        for one in changes:
            one(hostvars)

    return change


def mode(name: str) -> Change:
    return together(
        put("redis-1/redis_wanted/mode", name),
        put("redis-2/redis_wanted/mode", name),
        put("app-1/django_app_wanted/mode", name),
    )


def nodes_as_leaders(hostvars: Hostvars) -> None:
    for one in hostvars["redis-1"]["redis_wanted"]["nodes"]:
        one["role"] = "leader"


def one_machine(hostvars: Hostvars) -> None:
    """Everything on the machine of redis-1."""
    for variables in hostvars.values():
        variables["ansible_facts"] = facts("redis-1")


def runs(name: str, version: str = "7.0.15", **more: Any) -> Change:
    """A server that runs already, and that everybody reaches."""

    def change(hostvars: Hostvars) -> None:
        hostvars[name]["redis_reply"] = {
            "role": "leader",
            "server": "redis",
            "version": version,
            "cluster": False,
            **more,
        }
        hostvars[name]["host_probed"]["programs"]["/usr/bin/redis-server"] = {"version": version, "text": ""}
        hostvars[name]["host_probed"]["listeners"] = []
        for variables in hostvars.values():
            for target in variables["host_probed"]["targets"]:
                if target["server"] == name:
                    target |= {"outcome": "open", "reply": "PONG"}

    return change


def installed(name: str, version: str) -> Change:
    return put(f"{name}/host_probed/programs", {"/usr/bin/redis-server": {"version": version, "text": ""}})


APP_TO_1, REPLICA_TO_1 = "app-1/host_probed/targets/0", "redis-2/host_probed/targets/1"
TLS = {
    "cert_file": "/etc/tls/redis.pem",
    "key_file": "/etc/tls/redis.key",
    "ca_file": "/etc/tls/ca.pem",
    "name": "10.0.0.1",
    "is_locked": False,
    "reader": "redis",
}


def tls(*faults: tuple[str, str, str], names: tuple[str, ...] = ("redis-1",), days: int | None = 90) -> Change:
    found = [{"file": file, "kind": kind, "text": text} for file, kind, text in faults]
    state = {"faults": found, "names": list(names), "days_left": days}
    return together(put("redis-1/redis_wanted/tls", TLS), put("redis-1/host_probed/certificate", state))


# An earlier run's rules on the machine of redis-1.
FIREWALLED = put("redis-1/host_probed/units", [FIREWALL])


# TLS with a certificate that the bundle's authority makes.
ISSUED: dict[str, Any] = {
    **TLS,
    "names": ["10.0.0.1", "redis-1"],
    "authority": "",
    "authority_dir": "/prod/secrets/tls",
    "may_replace": False,
}


def issued(hostvars: Hostvars) -> None:
    """A server with such a certificate."""
    hostvars["redis-1"]["redis_wanted"]["tls"] = dict(ISSUED)


def sentinel_alone(name: str) -> Change:
    """A host with a Sentinel and without a server."""
    listens = {"bind": [place(name)["address"]], "port": 26379, "manager": Manager("systemd").reference("sentinel")}
    wanted = {"hosts": [], "sentinels": [], "by_name": False, "floor": "5.0", "tls": {}, **listens}
    return together(put(f"{name}/redis_wanted", {}), put(f"{name}/redis_sentinel_wanted", wanted))


def constraints(folder: Path, text: str) -> Change:
    (folder / "constraints.txt").write_text(text)
    return put("app-1/django_app_wanted/constraints", str(folder / "constraints.txt"))


def found(hostvars: Hostvars) -> list[str]:
    """The problems' ids and texts."""
    return [f"{one.rule} {one}" for one in problems(RULES, known_hosts(hostvars, GROUPS), GROUPS)]
