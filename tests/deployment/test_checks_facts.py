"""What the hosts say, and what is wrong with it: each rule with what it must find, in words, and what it must not."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import PROJECT
from deployment.checks.facts import RULES, gib, host_problems, size
from deployment.checks.problems import problems
from deployment.checks.versions import cache_words
from deployment.hosts import FIREWALL, Host, Hosts, host_questions, known_hosts, numbers

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
                "pid_command": ["systemctl", "show", "redis-6379"],
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
            "pid_command": ["systemctl", "show", "django_app"],
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


def issued(hostvars: Hostvars) -> None:
    """TLS with a certificate that the bundle's authority makes."""
    hostvars["redis-1"]["redis_wanted"]["tls"] = {
        **TLS,
        "names": ["10.0.0.1", "redis-1"],
        "authority": "",
        "authority_dir": "/prod/secrets/tls",
        "may_replace": False,
    }


def constraints(folder: Path, text: str) -> Change:
    (folder / "constraints.txt").write_text(text)
    return put("app-1/django_app_wanted/constraints", str(folder / "constraints.txt"))


def found(hostvars: Hostvars) -> list[str]:
    """The problems' ids and texts."""
    return [f"{one.rule} {one}" for one in problems(RULES, known_hosts(hostvars, GROUPS), GROUPS)]


# What happens, the rule that says so (in which order they are printed), and words of the first one.
WRONG: dict[str, tuple[Change, list[str], list[str]]] = {
    "a server that Ansible does not get to": (
        lambda hostvars: hostvars["redis-2"].clear(),
        ["silent-host"],
        ["redis-2: it was not asked who leads", "--limit app-1,redis "],
    ),
    # Memory and disks
    "more memory than there is": (
        put("redis-1/redis_wanted/maxmemory", "10gb"),
        ["memory-too-small"],
        ["redis-1: redis_maxmemory = '10gb'", "more than 60 % of host memory (4 GiB)", "write 2457mb or less"],
    ),
    "bytes": (put("redis-1/redis_wanted/maxmemory", "4000000000"), ["memory-too-small"], ["redis-1: redis_maxmemory"]),
    "memory in redis_config": (
        together(
            put("redis-1/redis_wanted/maxmemory_variable", "redis_config.maxmemory"),
            put("redis-1/redis_wanted/maxmemory", 3 * GIB),
        ),
        ["memory-too-small"],
        [f"redis-1: redis_config.maxmemory = {3 * GIB}"],
    ),
    "two servers on a machine": (
        one_machine,
        ["memory-too-small"],
        ["group redis: redis_maxmemory = '2gb'", "(redis-1, redis-2) may take 4 GiB", "write 1228mb or less"],
    ),
    "a small disk": (
        put("redis-1/host_probed/disk", {"folder": "/var/lib", "device": 1, "free": GIB, "used": GIB // 2}),
        ["disk-too-small"],
        [
            "redis-1: redis_data_dir = '/var/lib/redis/6379'",
            "the disk of /var/lib has room for 1.5 GiB",
            "1536mb or less",
        ],
    ),
    "two servers on a disk": (
        together(
            put("redis-1/redis_wanted/maxmemory", "1gb"),
            put("redis-2/redis_wanted/maxmemory", "1gb"),
            one_machine,
            put("redis-1/host_probed/disk", {"folder": "/data", "device": 1, "free": GIB, "used": 0}),
            put("redis-2/host_probed/disk", {"folder": "/data", "device": 1, "free": GIB, "used": GIB // 4}),
        ),
        ["disk-too-small"],
        ["group redis", "has room for 1.2 GiB", "may need 2 GiB"],
    ),
    # Ports
    "a port of somebody else": (
        put("redis-1/host_probed/listeners/0", listening("taken", text="nginx (process 7)")),
        ["port-taken"],
        ["redis-1: redis_port = 6379: it is taken on 10.0.0.1 by nginx (process 7)", "set redis_port to a free port"],
    ),
    "the bus of a cluster": (
        together(
            mode("cluster"),
            nodes_as_leaders,
            add("redis-1/host_probed/listeners", listening("taken", port=16379, text="x")),
        ),
        ["port-taken"],
        ["redis-1: redis_port = 6379: 16379, the port of the cluster's bus, is taken on 10.0.0.1 by x"],
    ),
    "Django's port": (
        put("app-1/host_probed/listeners/0/state", "taken"),
        ["port-taken"],
        ["app-1: django_app_port = 8000", "set django_app_port to a free port"],
    ),
    "an exporter's port": (
        add("redis-1/host_probed/listeners", listening("taken", port=9121, variable="redis_exporter_port", text="x")),
        ["port-taken"],
        ["redis-1: redis_exporter_port = 9121", "set redis_exporter_port to a free port"],
    ),
    "an address of another machine for an exporter": (
        add("redis-1/host_probed/listeners", listening("impossible", port=9121, variable="redis_exporter_port")),
        ["address-not-here"],
        ["redis-1: redis_exporter_bind = '10.0.0.1'"],
    ),
    "an address of another machine": (
        put("redis-1/host_probed/listeners/0", listening("impossible", text="Cannot assign requested address")),
        ["address-not-here"],
        ["redis-1: redis_bind = '10.0.0.1'", "Cannot assign requested address", "(10.0.0.1, fe80::1)"],
    ),
    # Addresses
    "a leader that a replica finds in itself": (
        put(f"{REPLICA_TO_1}/resolved", ["127.0.1.1"]),
        ["address-is-loopback"],
        [
            "redis-2: redis_address of redis-1",
            "leads to 127.0.1.1, which is redis-2",
            "would replicate from itself",
            "set redis_address",
        ],
    ),
    "a leader under the address of its replica": (
        put(f"{REPLICA_TO_1}/resolved", ["10.0.0.2"]),
        ["address-is-loopback"],
        ["leads to 10.0.0.2, which is redis-2"],
    ),
    "a server that Django finds in itself": (
        put(f"{APP_TO_1}/resolved", ["::1"]),
        ["address-is-loopback"],
        ["app-1: redis_address of redis-1", "it would ask itself instead of redis-1"],
    ),
    "a server on Django's machine that does not listen on loopback": (
        together(put("app-1/ansible_facts", facts("redis-1")), put(f"{APP_TO_1}/resolved", ["127.0.1.1"])),
        ["address-is-loopback"],
        ["where redis-1 does not listen", "the line of 127.0.1.1 in /etc/hosts of app-1"],
    ),
    "an unknown name": (
        put(
            APP_TO_1,
            connected("redis-1", "unresolvable", resolved=[], text="Name or service not known", address="redis-one"),
        ),
        ["unreachable-server"],
        ["app-1: redis_address of redis-1 = 'redis-one': this host does not know the name", "write an IP address"],
    ),
    "a firewall": (
        put(REPLICA_TO_1, connected("redis-1", "timeout", text="no answer")),
        ["unreachable-server"],
        [
            "redis-2: redis_address of redis-1 = '10.0.0.1'",
            "does not get through to port 6379 there (no answer)",
            "firewalls",
        ],
    ),
    "a firewall of somebody else": (
        together(FIREWALLED, put(REPLICA_TO_1, connected("redis-1", "unreachable", text="Host is prohibited"))),
        ["unreachable-server"],
        ["(Host is prohibited)"],
    ),
    "no route": (
        put(APP_TO_1, connected("redis-1", "unreachable", text="No route to host")),
        ["unreachable-server"],
        ["(No route to host)", "write an address of redis-1 that this host reaches"],
    ),
    "an address that leads elsewhere": (
        put(f"{APP_TO_1}/outcome", "open"),
        ["wrong-server"],
        [
            "app-1: redis_address of redis-1 = '10.0.0.1': something answers there on port 6379",
            "on redis-1 nothing does",
        ],
    ),
    "another server that runs": (
        together(runs("redis-1"), put(f"{APP_TO_1}/reply", "WRONGPASS invalid username-password pair")),
        ["wrong-server"],
        [
            "takes the inventory's settings on its own host, and to this one it says: WRONGPASS",
            "write the address of redis-1",
        ],
    ),
    "an authority that Django does not trust": (
        together(
            runs("redis-1"), put(f"{APP_TO_1}/reply", "[SSL] certificate verify failed: unable to get local issuer")
        ),
        ["wrong-server"],
        ["write django_app_redis_ca_file"],
    ),
    # Versions
    "a server of one's own that does not start": (
        together(
            put("redis-1/redis_wanted/server_bin", "/opt/redis-server"),
            put("redis-1/redis_wanted/program", "/opt/redis-server"),
            put(
                "redis-1/host_probed/programs",
                {"/opt/redis-server": {"version": "", "text": "No such file or directory"}},
            ),
        ),
        ["server-program"],
        ["redis-1: redis_server_bin = '/opt/redis-server': it does not start here: No such file"],
    ),
    "Redis 4": (
        together(installed("redis-1", "4.0.14"), installed("redis-2", "4.0.14")),
        ["server-too-old"],
        ["group redis: its server is 4.0.14, and 5.0 or later is needed"],
    ),
    "a replica that is older": (
        put("redis-2/host_probed/candidate", "6.0.16"),
        ["replica-older-than-leader"],
        ["redis-2: its server is 6.0.16, and its leader redis-1 is 7.0.15: it could not sync", "upgrade redis-2"],
    ),
    "a replica that is a little older": (
        together(installed("redis-1", "7.2.0"), installed("redis-2", "7.0.15")),
        ["replica-older-than-leader"],
        ["redis-2"],
    ),
    "an upgrade that would make the leader newer": (
        together(runs("redis-2", "6.2.14", role="replica"), runs("redis-1", "6.2.14"), installed("redis-1", "7.0.15")),
        ["replica-older-than-leader"],
        ["its leader redis-1 is 7.0.15"],
    ),
    "a leader under Sentinel that is older": (
        together(mode("sentinel"), installed("redis-1", "6.0.16")),
        ["mixed-versions"],
        ["redis-1: its server is 6.0.16, and redis-2 is 7.0.15: it could not follow it"],
    ),
    "a replica under Sentinel that is older": (
        together(mode("sentinel"), installed("redis-2", "6.0.16")),
        ["replica-older-than-leader"],
        ["redis-2"],
    ),
    "a new cluster of mixed versions": (
        together(mode("cluster"), nodes_as_leaders, installed("redis-1", "6.0.16")),
        ["replica-older-than-leader"],
        ["redis-1", "leader redis-2 is 7.0.15"],
    ),
    "a cluster that is upgraded in the wrong order": (
        together(
            mode("cluster"),
            nodes_as_leaders,
            runs("redis-1", "7.0.15", cluster=True),
            runs("redis-2", "6.2.14", role="replica", cluster=True, leader_address="10.0.0.1", leader_port=6379),
        ),
        ["replica-older-than-leader"],
        ["redis-2"],
    ),
    "a cluster that is being upgraded": (
        together(
            mode("cluster"),
            nodes_as_leaders,
            runs("redis-1", "6.2.14", cluster=True),
            runs("redis-2", "7.0.15", role="replica", cluster=True, leader_address="10.0.0.1", leader_port=6379),
        ),
        ["mixed-versions"],
        ["redis-1"],
    ),
    "TLS with Redis 5": (
        together(tls(), installed("redis-1", "5.0.14"), put("redis-2/redis_wanted/mode", "standalone")),
        ["server-features"],
        ["redis-1: redis_tls = True: TLS came with version 6.0, and its server is 5.0.14"],
    ),
    "users on a server of Redis 5": (
        together(put("redis-2/redis_wanted/user", "app"), installed("redis-2", "5.0.14"), mode("standalone")),
        ["server-features"],
        ["redis-2: redis_acl = True: users came with version 6.0, and its server is 5.0.14", "or write false"],
    ),
    "users with Redis 5": (
        together(
            installed("redis-1", "5.0.14"),
            put("app-1/django_app_wanted/words", [["default", "username", "app"]]),
        ),
        ["server-features"],
        [
            "app-1: django_app_cache_aliases.default.username = 'app'",
            "users came with version 6.0, and redis-1 is 5.0.14",
        ],
    ),
    "RESP3 with Redis 5": (
        together(
            installed("redis-1", "5.0.14"),
            put("app-1/django_app_wanted/words", [["default", "protocol", 3]]),
        ),
        ["server-features"],
        ["django_app_cache_aliases.default.protocol = 3: RESP3 came with version 6.0", "write 2"],
    ),
    "the protocol of redis-py 8 with Redis 5": (
        together(
            installed("redis-1", "5.0.14"),
            put("app-1/django_app_wanted/variable", "django_app_caches"),
            put("app-1/django_app_wanted/words", [["default", "protocol", None]]),
        ),
        ["server-features"],
        ["django_app_caches.default.protocol: RESP3, which redis-py 8 speaks by default, came with", "write 2"],
    ),
    "names for an old Sentinel": (
        together(
            mode("sentinel"),
            put("redis-1/redis_sentinel_wanted", {"by_name": True, "bind": ["10.0.0.1"], "floor": "5.0"}),
            installed("redis-1", "6.0.16"),
            installed("redis-2", "6.0.16"),
        ),
        ["server-features"],
        ["redis-1: redis_address: Sentinel knows names from version 6.2 on, and this one is 6.0.16"],
    ),
    "an old Python": (
        put("app-1/host_probed/programs", {"python3": {"version": "3.9.2", "text": ""}}),
        ["python", "libraries"],
        [
            "app-1: django_app_django_version = '5.2': Django 5.2 needs Python 3.11 or later, and python3 is 3.9.2",
            "(3.2, 4.2)",
        ],
    ),
    "a Python that is too new": (
        together(
            put("app-1/host_probed/programs", {"python3": {"version": "3.13.5", "text": ""}}),
            put("app-1/django_app_wanted/django", "3.2"),
            put("app-1/django_app_wanted/constraints", ""),
        ),
        ["python"],
        ["does not start on a Python later than 3.12", "(4.2, 5.2, 6.1)"],
    ),
    "a Python of one's own that is not there": (
        together(
            put("app-1/django_app_wanted/python", "/opt/python3"),
            put("app-1/host_probed/programs", {"/opt/python3": {"version": "", "text": "No such file or directory"}}),
        ),
        ["python"],
        ["app-1: django_app_python = '/opt/python3': it does not start here: No such file"],
    ),
    # TLS
    "no certificate": (
        tls(("cert_file", "missing", "No such file")),
        ["certificate"],
        ["redis-1: redis_tls_cert_file = '/etc/tls/redis.pem': there is no such file on this host"],
    ),
    "a key for root alone": (
        tls(("key_file", "closed", "redis")),
        ["certificate"],
        ["redis_tls_key_file = '/etc/tls/redis.key': the user redis may not read it", "chmod 640"],
    ),
    "another key": (
        tls(("key_file", "mismatch", "KEY_VALUES_MISMATCH")),
        ["certificate"],
        ["redis-1: redis_tls_key_file = '/etc/tls/redis.key': it is not the key of the certificate /etc/tls/redis.pem"],
    ),
    "another name": (
        tls(("cert_file", "name", "IP address mismatch")),
        ["certificate"],
        ["the certificate is for redis-1, not 10.0.0.1", "have one made for 10.0.0.1"],
    ),
    "expired": (
        tls(("cert_file", "expired", "Jan  1 00:00:00 2024 GMT"), days=-9),
        ["certificate"],
        ["it expired on Jan  1 00:00:00 2024 GMT", "renew it"],
    ),
    "not valid yet": (tls(("cert_file", "early", "Jan  1")), ["certificate"], ["it is valid from Jan  1 on", "clock"]),
    "another authority": (
        tls(("cert_file", "untrusted", "self-signed certificate")),
        ["certificate"],
        ["the authority in /etc/tls/ca.pem does not vouch for it: self-signed certificate", "redis_tls_ca_file"],
    ),
    "an authority that is over": (
        tls(("ca_file", "outdated", "certificate has expired")),
        ["certificate"],
        ["redis_tls_ca_file = '/etc/tls/ca.pem'", "the authority itself is not valid now"],
    ),
    "no certificate in the file": (
        tls(("ca_file", "unreadable", "NO_CERTIFICATE_OR_CRL_FOUND")),
        ["certificate"],
        ["redis_tls_ca_file", "NO_CERTIFICATE_OR_CRL_FOUND", "PEM"],
    ),
    "all at once": (
        tls(("cert_file", "missing", ""), ("key_file", "missing", ""), ("ca_file", "missing", "")),
        ["certificate"] * 3,
        ["redis_tls_cert_file"],
    ),
    "Django's authority": (
        together(
            put("app-1/django_app_wanted/ca_file", "/etc/tls/ca.pem"),
            put("app-1/host_probed/ca_faults", [{"file": "ca_file", "kind": "missing", "text": "No such file"}]),
        ),
        ["certificate"],
        ["app-1: django_app_redis_ca_file = '/etc/tls/ca.pem': there is no such file on this host"],
    ),
    "a certificate that expires soon": (
        tls(days=29),
        ["certificate-expires"],
        ["redis-1", "it expires in 29 days", "renew it"],
    ),
    "a certificate of the bundle's authority that expires soon": (
        together(issued, runs("redis-1", days_left=29)),
        ["certificate-expires"],
        ["redis-1: redis_tls = True: its certificate expires in 29 days", "run make renew_tls"],
    ),
    "no folder of the authority that the host trusts": (
        together(issued, put("redis-1/host_probed/issued_by", "0ld")),
        ["authority"],
        [
            "redis-1: redis_tls_authority_dir = '/prod/secrets/tls': the host trusts the authority of an earlier run",
            "is none",
        ],
    ),
    "another authority than the one that the host trusts": (
        together(issued, put("redis-1/redis_wanted/tls/authority", "n3w"), put("redis-1/host_probed/issued_by", "0ld")),
        ["authority"],
        ["in this folder there is another one", "copy the folder", "-e '{redis_tls_new_authority: true}'"],
    ),
    "a certificate that expires now": (tls(days=0), ["certificate-expires"], ["it expires within two days"]),
    "two things at once": (
        together(
            put("redis-1/redis_wanted/maxmemory", "1tb"), put("redis-1/redis_wanted/maxmemory", "9gb"), tls(days=1)
        ),
        ["memory-too-small", "certificate-expires"],
        ["redis-1: redis_maxmemory"],
    ),
}


@pytest.mark.parametrize(("change", "rules", "words"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_said(change: Change, rules: list[str], words: list[str]) -> None:
    hostvars = deployment()
    change(hostvars)
    said = found(hostvars)
    assert [line.split()[0] for line in said] == rules
    assert [word for word in words if word not in said[0]] == []
    assert SECRET not in "".join(said)


def test_every_rule_finds_something() -> None:
    ids = [rule.id for rule in RULES]
    assert sorted({rule for _, rules, _ in WRONG.values() for rule in rules}) == sorted(ids)
    assert len(set(ids)) == len(ids)
    assert all(rule.text for rule in RULES)


RIGHT: dict[str, Change] = {
    "new hosts": lambda _: None,
    "under Sentinel": mode("sentinel"),
    "a cluster": together(mode("cluster"), nodes_as_leaders),
    "a cluster that runs": together(
        mode("cluster"),
        nodes_as_leaders,
        runs("redis-1", cluster=True),
        runs("redis-2", role="replica", cluster=True, leader_address="10.0.0.1", leader_port=6379),
    ),
    "servers that run": together(runs("redis-1"), runs("redis-2", role="replica")),
    "no bound for memory": put("redis-1/redis_wanted/maxmemory", "0"),
    "just as much memory as may be": put("redis-1/redis_wanted/maxmemory", "2457mb"),
    "memory in decimal units": put("redis-1/redis_wanted/maxmemory", "2576m"),
    "two disks": put("redis-1/host_probed/disk", {"folder": "/", "device": 2, "free": GIB, "used": GIB}),
    "no log and no snapshots": put("redis-1/host_probed/disk", {}),
    "a firewall that does not know a new host yet": together(
        FIREWALLED, put(REPLICA_TO_1, connected("redis-1", "timeout", text="no answer"))
    ),
    "a port of the service itself": put("redis-1/host_probed/listeners/0/state", "ours"),
    "one machine under two names": together(
        one_machine,
        put("redis-1/redis_wanted/maxmemory", "1gb"),
        put("redis-2/redis_wanted/maxmemory", "1gb"),
        put("redis-1/redis_wanted/bind", ["127.0.0.1"]),
        put(f"{APP_TO_1}/resolved", ["127.0.0.1"]),
        put(f"{REPLICA_TO_1}/resolved", ["127.0.0.1"]),
    ),
    "everywhere includes loopback": together(
        put("app-1/ansible_facts", facts("redis-1")),
        put("redis-1/redis_wanted/bind", ["0.0.0.0"]),
        put(f"{APP_TO_1}/resolved", ["127.0.1.1"]),
    ),
    "the machine's own address on Django's machine": together(
        put("app-1/ansible_facts", facts("redis-1")), put(f"{APP_TO_1}/resolved", ["10.0.0.1"])
    ),
    # With --limit the others said nothing.
    "hosts without facts": together(put("redis-1/ansible_facts", {}), put(f"{REPLICA_TO_1}/resolved", ["127.0.1.1"])),
    "a server that this mode does not use": together(put("redis-2/redis_wanted", {}), put("redis-2/host_probed", {})),
    "a password that this run sets": together(
        runs("redis-1"),
        put(f"{APP_TO_1}/reply", "WRONGPASS invalid"),
        put("redis-1/host_probed/targets/0/reply", "WRONGPASS invalid"),
    ),
    "a server that is slow": together(runs("redis-1"), put(f"{APP_TO_1}/reply", "")),
    "a replica that is newer": installed("redis-2", "7.2.4"),
    "another patch": installed("redis-2", "7.0.11"),
    "another engine": together(put("redis-2/redis_wanted/engine", "valkey"), installed("redis-2", "6.0.0")),
    "a version that nobody knows": together(
        put("redis-2/host_probed/candidate", ""),
        put("redis-2/host_probed/programs", {}),
        put("redis-2/redis_wanted/tls", TLS),
    ),
    "TLS": tls(),
    "a certificate that expires in a month": tls(days=30),
    "a certificate of the bundle's authority": together(issued, runs("redis-1", days_left=30)),
    "a server of the bundle's authority that is new": issued,
    "the authority that the host trusts": together(
        issued, put("redis-1/redis_wanted/tls/authority", "0ld"), put("redis-1/host_probed/issued_by", "0ld")
    ),
    "another authority, as asked": together(
        issued, put("redis-1/redis_wanted/tls/may_replace", True), put("redis-1/host_probed/issued_by", "0ld")
    ),
    "users": together(put("redis-1/redis_wanted/user", "app"), put("redis-2/redis_wanted/user", "app")),
    "Redis 5": together(
        installed("redis-1", "5.0.14"),
        installed("redis-2", "5.0.14"),
    ),
    "the protocol of redis-py 7 with Redis 5": together(
        installed("redis-1", "5.0.14"),
        installed("redis-2", "5.0.14"),
        put("app-1/django_app_wanted/constraints", ""),
        put("app-1/django_app_wanted/words", [["default", "protocol", None]]),
    ),
    "users with Redis 6": together(
        installed("redis-1", "6.0.16"),
        installed("redis-2", "6.0.16"),
        put("app-1/django_app_wanted/words", [["default", "username", "app"]]),
    ),
    "a Python that is installed later": put(
        "app-1/host_probed/programs", {"python3": {"version": "", "text": "No such file or directory"}}
    ),
    "no constraints": put("app-1/django_app_wanted/constraints", ""),
}


@pytest.mark.parametrize("change", RIGHT.values(), ids=RIGHT)
def test_what_is_right_is_left_alone(change: Change) -> None:
    hostvars = deployment()
    change(hostvars)
    assert found(hostvars) == []


@pytest.mark.parametrize(
    ("client", "django", "python", "text", "words"),
    [
        ("builtin", "5.2", "3.11.2", "redis==8.1.0\ndjango-redis==5.4.0\n", ""),
        ("django_redis", "5.2", "3.11.2", "django-redis==7.0.0\nredis==8.1.0\n", ""),
        ("django_redis", "4.2", "3.11.2", "django_redis[x] == 7.0.0\n", "5.2 or later and below 7.0, and this is 4.2"),
        ("builtin", "4.2", "3.11.2", "django-redis==7.0.0\n", ""),
        ("django_redis", "3.2", "3.11.2", "django-redis==6.0.0\n", "needs Django 4.2 or later, and this is 3.2"),
        ("django_redis", "3.2", "3.11.2", "django-redis==5.4.0\nredis==7.0.1\n", ""),
        ("builtin", "4.2", "3.9.2", "redis==8.1.0\n", "redis 8.1 needs Python 3.10 or later, and this is 3.9"),
        ("builtin", "4.2", "3.9.2", "redis==7.0.1\n", ""),
        ("builtin", "5.2", "3.11.2", "redis==4.6.0\n", "redis 4.6, which does not know the option protocol"),
        ("builtin", "5.2", "3.11.2", "# Django==5.2.0\nDjango==4.2.30\n", "it has Django 4.2, and "),
        ("builtin", "5.2", "3.11.2", "Django==5.2.19\n", ""),
        ("builtin", "5.2", "", "redis==8.1.0\n", ""),
    ],
)  # fmt: skip
def test_libraries(tmp_path: Path, client: str, django: str, python: str, text: str, words: str) -> None:
    hostvars = deployment()
    hostvars["app-1"]["django_app_wanted"] |= {"client": client, "django": django}
    hostvars["app-1"]["host_probed"]["programs"]["python3"]["version"] = python
    constraints(tmp_path, text)(hostvars)
    said = found(hostvars)
    assert [line.split()[0] for line in said] == (["libraries"] if words else [])
    assert words in "".join(said)


def test_constraints_that_are_not_there() -> None:
    hostvars = deployment()
    hostvars["app-1"]["django_app_wanted"]["constraints"] = "absent.txt"
    (said,) = found(hostvars)
    assert "app-1: django_app_constraints = 'absent.txt': there is no such file on the control machine" in said


def test_the_shipped_constraints_go_together() -> None:
    floors = yaml.safe_load((PROJECT / "roles/django_app/vars/main.yml").read_text("utf-8"))[
        "__django_app_python_floor"
    ]
    for series, floor in floors.items():
        hostvars = deployment()
        path = PROJECT / f"roles/django_app/files/constraints/django-{series}.txt"
        hostvars["app-1"]["django_app_wanted"] |= {"client": "django_redis", "django": series, "constraints": str(path)}
        hostvars["app-1"]["host_probed"]["programs"]["python3"]["version"] = floor
        assert found(hostvars) == []


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0", 0), ("0b", 0), ("1", 1), ("1k", 1000), ("1kb", 1024), ("2M", 2_000_000), ("2mb", 2 << 20),
        ("3g", 3_000_000_000), ("3GB", 3 << 30), (4096, 4096), (" 1gb ", 1 << 30), ("1tb", 0), ("half", 0), ("-1", 0),
    ],
)  # fmt: skip
def test_size(text: Any, count: int) -> None:
    assert size(text) == count


@pytest.mark.parametrize(
    ("count", "text"),
    [(4 * GIB, "4 GiB"), (3.84 * GIB, "3.8 GiB"), (GIB, "1 GiB"), (GIB - 1, "1024 MiB"), (64 << 20, "64 MiB")],
)
def test_gib(count: float, text: str) -> None:
    assert gib(count) == text


@pytest.mark.parametrize(("text", "version"), [("7.0.15", (7, 0)), ("8", (8, 0)), ("6.2", (6, 2)), ("", (0, 0))])
def test_numbers(text: str, version: tuple[int, int]) -> None:
    assert numbers(text) == version


@pytest.mark.parametrize(
    ("program", "installed_version", "running", "candidate", "version"),
    [
        ("redis-server", "7.0.15", ("redis", "6.0.16"), "", "7.0.15"),
        ("redis-server", "", ("redis", "6.0.16"), "7.0.15", "6.0.16"),
        ("redis-server", "", ("valkey", "8.1.1"), "7.0.15", "7.0.15"),
        ("", "", ("valkey", "8.1.1"), "", "8.1.1"),
        ("redis-server", "", ("redis", ""), "7.0.15", "7.0.15"),
        ("redis-server", "", ("", ""), "", ""),
    ],
)
def test_the_version_that_will_run(
    program: str, installed_version: str, running: tuple[str, str], candidate: str, version: str
) -> None:
    probe = {"programs": {program: {"version": installed_version, "text": ""}}, "candidate": candidate}
    wanted, reply = {"engine": "redis", "program": program}, dict(zip(("server", "version"), running))
    assert Host("redis-1", redis=wanted, reply=reply, probe=probe).version == version


def test_a_replica_in_a_cluster_is_compared_with_whom_it_follows() -> None:
    """Another one may be upgraded already, which it need not follow now."""
    nodes = [node(f"redis-{number}", "leader") for number in (1, 2, 3)]
    hosts = {}
    for name, version, role in (
        ("redis-1", "6.2.14", "leader"),
        ("redis-2", "6.2.14", "replica"),
        ("redis-3", "7.0.15", "leader"),
    ):
        wanted = {"mode": "cluster", "nodes": nodes, "engine": "redis", "maxmemory": "0", "bind": []}
        reply = {"role": role, "cluster": True, "server": "redis", "version": version}
        if role == "replica":
            reply |= {"leader_address": "10.0.0.1", "leader_port": 6379}
        hosts[name] = Host(name, redis=wanted, reply=reply)
    assert {one.rule for one in problems(RULES, Hosts(hosts), {})} == {"mixed-versions"}


BUILTIN, DJANGO_REDIS = "django.core.cache.backends.redis.RedisCache", "django_redis.cache.RedisCache"


@pytest.mark.parametrize(
    ("cache", "words"),
    [
        ({"BACKEND": BUILTIN, "OPTIONS": {"protocol": 2}}, []),
        ({"BACKEND": BUILTIN, "OPTIONS": {"protocol": 3}}, [("protocol", 3)]),
        ({"BACKEND": BUILTIN}, [("protocol", None)]),
        ({"BACKEND": BUILTIN, "OPTIONS": {"protocol": 2, "username": "app"}}, [("username", "app")]),
        ({"BACKEND": DJANGO_REDIS, "OPTIONS": {"CONNECTION_POOL_KWARGS": {"protocol": 2}}}, []),
        ({"BACKEND": DJANGO_REDIS, "OPTIONS": {"USERNAME": "app"}}, [("username", "app"), ("protocol", None)]),
        ({"BACKEND": "cachestack.resilient.RedisCache", "OPTIONS": None}, []),
        ({"BACKEND": "cachestack.resilient.RedisCache", "OPTIONS": {"protocol": 3}}, [("protocol", 3)]),
        ({"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}, []),
    ],
)
def test_words_of_caches(cache: dict[str, Any], words: list[tuple[str, Any]]) -> None:
    assert cache_words({"default": cache}) == [("default", *word) for word in words]


# The filters


def test_the_filter_says_everything() -> None:
    hostvars = deployment()
    assert host_problems(hostvars, GROUPS) == {"problems": [], "text": "no problems"}
    WRONG["two things at once"][0](hostvars)
    said = host_problems(hostvars, GROUPS)
    assert [problem["severity"] for problem in said["problems"]] == ["error", "warning"]
    assert [line for line in said["text"].splitlines() if not line.startswith("  ")] == ["1 error", "1 warning"]


def test_hosts_that_nothing_is_wanted_of_are_left_out() -> None:
    assert (
        list(known_hosts({"redis-1": {}, "redis-2": {"redis_wanted": {}, "redis_reply": {}}, "app-1": {}}, GROUPS))
        == []
    )


ABOUT = ("programs", "package", "data_dir", "certificate", "issued_ca_file", "ca_file")


def asked(hostvars: Hostvars, name: str) -> dict[str, Any]:
    """The questions, and whether they are such as the module takes."""
    questions = host_questions(hostvars, name)
    assert set(questions) == {"targets", "listeners", "units", *ABOUT}
    return questions


def places(questions: dict[str, Any]) -> list[str]:
    return [f"{one['variable'] or 'own'} {one['address']}:{one['port']}" for one in questions["targets"]]


def test_the_questions_to_a_replica_and_to_a_leader() -> None:
    hostvars = deployment()
    replica, leader = asked(hostvars, "redis-2"), asked(hostvars, "redis-1")
    assert places(leader) == ["own 10.0.0.1:6379"]
    assert places(replica) == ["own 10.0.0.2:6379", "redis_address 10.0.0.1:6379"]
    assert replica["targets"][0] | {"ask": True, "password": SECRET} == replica["targets"][0]
    assert "password" not in replica["targets"][1]
    (own,) = replica["listeners"]
    command = hostvars["redis-2"]["redis_wanted"]["pid_command"]
    assert own == {"address": "10.0.0.2", "port": 6379, "variable": "redis_port", "pid_command": command}
    assert [replica[word] for word in ABOUT] == [
        ["/usr/bin/redis-server"],
        "redis-server",
        "/var/lib/redis/6379",
        None,
        None,
        None,
    ]


def test_the_questions_under_sentinel() -> None:
    hostvars = deployment("sentinel")
    sentinels = [{"name": f"redis-{one}", "address": f"10.0.0.{one}", "port": 26379} for one in (1, 2)]
    wanted = {
        "hosts": ["redis-1", "redis-2"],
        "sentinels": sentinels,
        "bind": ["10.0.0.1"],
        "port": 26379,
        "pid_command": ["x"],
    }
    hostvars["redis-1"] |= {"redis_sentinel_wanted": wanted, "redis_sentinel_password": "own " + SECRET}
    hostvars["app-1"]["django_app_wanted"]["sentinels"] = sentinels
    questions = asked(hostvars, "redis-1")
    assert places(questions) == [
        "own 10.0.0.1:6379",
        "own 10.0.0.1:26379",
        "redis_address 10.0.0.2:6379",
        "redis_sentinel_address 10.0.0.2:26379",
    ]
    assert [one.get("password") for one in questions["targets"][:2]] == [SECRET, "own " + SECRET]
    assert [one["variable"] for one in questions["listeners"]] == ["redis_port", "redis_sentinel_port"]
    app = asked(hostvars, "app-1")
    assert [one["password"] for one in app["targets"]] == [SECRET, SECRET, "own " + SECRET, "own " + SECRET]

    hostvars["redis-1"] |= {"redis_reply": {"role": "leader"}, "redis_sentinel_reply": {"running": True}}
    assert asked(hostvars, "redis-1")["listeners"] == []


def test_the_questions_to_a_node_of_a_cluster() -> None:
    hostvars = deployment("cluster")
    questions = asked(hostvars, "redis-1")
    assert places(questions) == ["own 10.0.0.1:6379", "redis_address 10.0.0.2:6379", "redis_address 10.0.0.2:16379"]
    assert [one["port"] for one in questions["listeners"]] == [6379, 16379]
    # A server of another mode has the port, and not the one of the bus, whose owner nobody needs to be asked for.
    hostvars["redis-1"]["redis_reply"] = {"role": "leader", "cluster": False}
    (bus,) = asked(hostvars, "redis-1")["listeners"]
    assert (bus["port"], bus["pid_command"]) == (16379, [])
    hostvars["redis-1"]["redis_reply"]["cluster"] = True
    assert asked(hostvars, "redis-1")["listeners"] == []


def test_the_questions_to_a_django_host() -> None:
    hostvars = deployment()
    questions = asked(hostvars, "app-1")
    assert places(questions) == ["redis_address 10.0.0.1:6379", "redis_address 10.0.0.2:6379"]
    assert {(one["ask"], one["password"]) for one in questions["targets"]} == {(True, SECRET)}
    assert [one["variable"] for one in questions["listeners"]] == ["django_app_port"]
    assert (questions["programs"], questions["package"], questions["data_dir"]) == (["python3"], "", None)


def test_the_questions_about_tls() -> None:
    hostvars = deployment()
    hostvars["redis-1"] |= {"redis_config": {"tls-key-file-pass": "open sesame"}}
    hostvars["redis-1"]["redis_wanted"]["tls"] = {**TLS, "is_locked": True}
    hostvars["app-1"]["django_app_wanted"] |= {"ca_file": "/srv/ca.pem"}
    for one in hostvars["app-1"]["django_app_wanted"]["nodes"]:
        one["tls"] = True
    own = asked(hostvars, "redis-1")
    files = {name: value for name, value in TLS.items() if name != "is_locked"}
    assert own["certificate"] == {**files, "key_password": "open sesame"}
    hostvars["redis-1"]["redis_wanted"]["tls"] = TLS
    assert asked(hostvars, "redis-1")["certificate"] == {**files, "key_password": ""}
    assert own["targets"][0] | {"tls_name": "10.0.0.1", "tls_ca_file": "/etc/tls/ca.pem"} == own["targets"][0]
    app = asked(hostvars, "app-1")
    assert app["targets"][1] | {"tls_name": "10.0.0.2", "tls_ca_file": "/srv/ca.pem"} == app["targets"][1]
    assert app["ca_file"] == "/srv/ca.pem"


def test_what_the_run_itself_brings_is_not_asked_about() -> None:
    hostvars = deployment()
    issued(hostvars)
    hostvars["app-1"]["django_app_wanted"] |= {"ca_file": "/etc/django_app/redis-ca.crt", "ca_issued": True}
    for one in hostvars["app-1"]["django_app_wanted"]["nodes"]:
        one["tls"] = True
    redis = asked(hostvars, "redis-1")
    assert (redis["certificate"], redis["issued_ca_file"]) == (None, TLS["ca_file"])
    app = asked(hostvars, "app-1")
    assert (app["ca_file"], [one["ask"] for one in app["targets"]]) == (None, [False, False])


def test_the_questions_about_users() -> None:
    """Django and the server itself are asked about as the same user; the Sentinels' own is another one's."""
    hostvars = deployment("sentinel")
    sentinels = [{"name": "redis-1", "address": "10.0.0.1", "port": 26379}]
    hostvars["redis-1"]["redis_sentinel_password"] = "own " + SECRET
    hostvars["redis-1"]["redis_wanted"]["user"] = "app"
    hostvars["app-1"]["django_app_wanted"] |= {"user": "app", "sentinels": sentinels}
    assert [one.get("user") for one in asked(hostvars, "redis-1")["targets"]] == ["app", None]
    assert [one["user"] for one in asked(hostvars, "app-1")["targets"]] == ["app", "app", ""]
    assert asked(hostvars, "redis-2")["targets"][0]["user"] == ""


def test_the_questions_about_an_exporter_and_a_firewall() -> None:
    hostvars = deployment()
    exporter = {"bind": ["127.0.0.1"], "port": 9121, "pid_command": ["systemctl", "show", "redis-exporter-6379"]}
    hostvars["redis-1"]["redis_exporter_wanted"] = exporter
    questions = asked(hostvars, "redis-1")
    (_, listener) = questions["listeners"]
    assert listener == {
        "address": "127.0.0.1",
        "port": 9121,
        "variable": "redis_exporter_port",
        "pid_command": exporter["pid_command"],
    }
    assert questions["units"] == ["redis-exporter-6379.service", FIREWALL]


def test_a_server_without_a_port_is_not_asked_by_it() -> None:
    hostvars = deployment("standalone")
    hostvars["redis-1"]["redis_wanted"] |= {"bind": [], "nodes": []}
    questions = asked(hostvars, "redis-1")
    assert (questions["targets"], questions["listeners"]) == ([], [])


def test_the_questions_about_a_socket_and_about_every_address() -> None:
    hostvars = deployment()
    hostvars["redis-1"]["redis_wanted"]["bind"] = ["*", "-::1"]
    hostvars["redis-1"]["redis_wanted"]["nodes"][0]["socket"] = "/run/redis-6379/redis.sock"
    assert places(asked(hostvars, "app-1")) == ["redis_address 10.0.0.2:6379"]
    own = asked(hostvars, "redis-1")
    assert places(own) == ["own 127.0.0.1:6379"]
    assert [one["address"] for one in own["listeners"]] == ["*"]


def test_the_questions_to_a_host_that_nothing_is_wanted_of() -> None:
    questions = asked({"redis-4": {}}, "redis-4")
    # Nor is anything but the firewall of a time when something was.
    assert [word for word, value in questions.items() if value] == ["units"]
    assert questions["units"] == [FIREWALL]


def test_a_place_is_asked_once() -> None:
    hostvars = deployment("sentinel")
    wanted = {"hosts": ["redis-1"], "sentinels": [], "bind": ["10.0.0.1"], "port": 26379, "pid_command": []}
    hostvars["redis-1"] |= {
        "redis_sentinel_wanted": wanted,
        "django_app_wanted": hostvars["app-1"]["django_app_wanted"],
    }
    assert len(set(places(asked(hostvars, "redis-1")))) == 3


def test_two_deployments_are_not_compared() -> None:
    """Each has its own leader."""
    first, second = deployment(), copy.deepcopy(deployment())
    hosts = {}
    for name, hostvars, version in (("a", first, "7.0.0"), ("b", second, "6.0.0")):
        for one in ("redis-1", "redis-2"):
            wanted = copy.deepcopy(hostvars[one]["redis_wanted"])
            for each in wanted["nodes"]:
                each["name"] = f"{name}-{each['name']}"
            programs = {"programs": {"/usr/bin/redis-server": {"version": version, "text": ""}}}
            hosts[f"{name}-{one}"] = Host(f"{name}-{one}", redis=wanted, probe=programs)
    assert problems(RULES, Hosts(hosts), {}) == []
