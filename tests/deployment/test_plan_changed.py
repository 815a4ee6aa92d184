"""What a deployment would do where check mode had found more than was recorded."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sample_plans import NOTHING, Change, Recorded, load, plan


def service(recorded: Recorded, host: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = recorded["hostvars"][host]["service_planned"][name]
    return found


def on(host: str, register: str, **result: Any) -> Change:
    """The host's variable ``register`` has these as well."""

    def change(recorded: Recorded) -> None:
        recorded["hostvars"][host].setdefault(register, {}).update(result)

    return change


def runs(host: str, name: str, **result: Any) -> Change:
    """What was found out of the service is other than recorded."""
    return lambda recorded: service(recorded, host, name).update(result)


def exporter(host: str, **result: Any) -> Change:
    """An exporter runs beside the host's server as it should, but for these."""
    found = {"running": True, "place": "127.0.0.1:9121", "described": False, "stale": False, "newer": [], **result}

    def change(recorded: Recorded) -> None:
        port = {node["name"]: node["port"] for node in recorded["nodes"]}[host]
        recorded["hostvars"][host]["service_planned"][f"redis-exporter-{port}"] = found

    return change


def stale(group: str, host: str) -> Change:
    return lambda recorded: recorded["groups"].setdefault(group, []).append(host)


def package(recorded: Recorded) -> None:
    """The servers come from the distribution's package; two of them are on one machine."""
    for name in ("redis-1", "redis-2", "redis-3"):
        recorded["hostvars"][name] |= {"redis_package": {"changed": True}, "redis_found": {}}
    recorded["hostvars"]["redis-1"]["ansible_host"] = recorded["hostvars"]["redis-2"]["ansible_host"] = "10.0.0.1"
    recorded["hostvars"]["redis-3"]["redis_engine"] = "valkey"


def sentinel_alone(recorded: Recorded) -> None:
    """A Sentinel without a Redis server beside it, on a host where nothing is installed."""
    recorded["sentinels"].append({"name": "watcher", "address": "10.0.0.9", "port": 26379})
    found = {"running": False, "place": "10.0.0.9:26379", "described": True, "stale": False, "newer": []}
    planned = {"redis_package": {"changed": True}, "service_planned": {"redis-sentinel-26379": found}}
    recorded["hostvars"]["watcher"] = planned


def second_django(recorded: Recorded) -> None:
    recorded["hostvars"]["app-2"] = json.loads(json.dumps(recorded["hostvars"]["app-1"]))


CHANGED: dict[str, tuple[str, list[Change], list[str]]] = {
    "the distribution's package, once for each machine": (
        "empty",
        [package],
        [
            "redis-1  install redis-server from the distribution's package",
            "redis-3  install valkey-server from the distribution's package",
        ],
    ),
    "a Sentinel on a host of its own": (
        "sentinel",
        [sentinel_alone],
        [
            "watcher  install redis-server from the distribution's package",
            "watcher  start a Sentinel on 10.0.0.9:26379 that watches redis-1",
        ],
    ),
    "a server that was stopped": (
        "converged",
        [runs("redis-2", "redis-6378", running=False)],
        ["redis-2  start on 127.0.0.1:6378 as replica of redis-1"],
    ),
    "another password": (
        "converged",
        [on("redis-1", "redis_told", changed=True, is_new=True)],
        ["redis-1  set its users and their passwords live"],
    ),
    "TLS for servers that have none": (
        "converged",
        [
            on("redis-1", "redis_certificates", made=["redis-1"]),
            *(stale("redis_speaks_otherwise", name) for name in ("redis-1", "redis-2", "redis-3")),
            stale("redis_stale_leader", "redis-1"),
        ],
        [
            "redis-1  give it a new certificate",
            "redis-1  stop with all others, and start again (TLS changes)",
            "redis-2  stop with all others, and start again (TLS changes)",
            "redis-3  stop with all others, and start again (TLS changes)",
            "cost: 3 servers stopped together: the cache is away until they run again, 0 restarts",
        ],
    ),
    "no TLS any more": (
        "sentinel",
        [
            stale("redis_speaks_otherwise", "redis-1"),
            stale("redis_sentinel_speaks_otherwise", "redis-1"),
        ],
        [
            "redis-1  stop with all others, and start again (TLS changes)",
            "redis-1  stop the Sentinel with the servers, and start it again (TLS changes)",
        ],
    ),
    "a certificate on a host": (
        "converged",
        [on("redis-2", "redis_certificate_files", changed=True)],
        ["redis-2  give it a new certificate"],
    ),
    "the firewall's rules": (
        "converged",
        [on("app-1", "firewall_rules_file", changed=True), on("redis-1", "firewall_loaded", changed=True)],
        ["app-1    load the firewall's rules", "redis-1  load the firewall's rules"],
    ),
    "an exporter": (
        "converged",
        [
            exporter("redis-1", running=False),
            exporter("redis-2", described=True),
            exporter("redis-3"),
        ],
        ["redis-1  start the exporter on 127.0.0.1:9121", "redis-2  restart the exporter (its service changes)"],
    ),
    "no exporter any more": (
        "converged",
        [
            lambda recorded: recorded["hostvars"]["redis-1"]["service_planned"].update(
                {"redis-exporter-6379": {"retires": True}}
            )
        ],
        ["redis-1  stop redis-exporter-6379 for good"],
    ),
    "another owner of the file with the passwords": (
        "converged",
        [on("redis-1", "redis_told", changed=True)],
        [NOTHING],
    ),
    "another password of servers and Sentinels": (
        "sentinel",
        [on("redis-1", "redis_sentinel_told", told=["SET mymaster auth-pass"], restart=["it gets another password"])],
        [
            "redis-1  give the Sentinel the servers' new password",
            "redis-1  restart the Sentinel, first (it gets another password; its configuration changes)",
        ],
    ),
    "a secret directive": (
        "converged",
        [on("redis-1", "redis_conf", changed=True, set={"tls-key-file-pass": "***"}, was={"tls-key-file-pass": "***"})],
        ["redis-1  set another tls-key-file-pass live", "cost: 0 restarts"],
    ),
    "memory and other numbers": (
        "converged",
        [
            on(
                "redis-1",
                "redis_conf",
                set={"maxmemory": "2147483648", "maxclients": "10000", "save": ""},
                was={"maxmemory": "0", "maxclients": "4064", "save": "3600 1"},
            )
        ],
        [
            "redis-1  set maxmemory 2gb live (was 0)",
            "redis-1  set maxclients 10000 live (was 4064)",
            'redis-1  set save "" live (was 3600 1)',
        ],
    ),
    "a file that says the same in other words": (
        "converged",
        [on("redis-1", "redis_conf", changed=True)],
        ["redis-1  write redis.conf, with nothing to set on the server", "cost: 0 restarts"],
    ),
    "what waits for replicas": (
        "converged",
        [on("redis-1", "redis_conf", postponed=["min-replicas-to-write"])],
        ["redis-1  set min-replicas-to-write live as soon as its replicas are connected"],
    ),
    "a replica of another server": (
        "converged",
        [on("redis-2", "redis_reply", changed=True, leader_port=6377)],
        ["redis-2  follow redis-1 (followed 127.0.0.1:6377)"],
    ),
    "a replica that does not remember whom it follows": (
        "converged",
        [on("redis-2", "redis_reply", changed=True)],
        ["redis-2  write down that it follows redis-1"],
    ),
    "a second leader": (
        "converged",
        [on("redis-2", "redis_reply", role="leader")],
        ["redis-2  follow redis-1 (led, and loses the data that it has)"],
    ),
    "a leader that follows": (
        "converged",
        [on("redis-1", "redis_reply", role="replica", leader_address="127.0.0.1", leader_port=6377)],
        ["redis-1  lead (followed 127.0.0.1:6377)"],
    ),
    "one restart": (
        "converged",
        [
            stale("redis_stale_replica", "redis-2"),
            runs("redis-2", "redis-6378", stale=True, newer=["/etc/a", "/etc/b"]),
        ],
        ["redis-2  restart (/etc/a, /etc/b is newer than its process)", "cost: 1 restart"],
    ),
    "a program that was replaced": (
        "converged",
        [stale("redis_stale_replica", "redis-2"), runs("redis-2", "redis-6378", stale=True)],
        ["redis-2  restart (its program was replaced)"],
    ),
    "another unit": (
        "converged",
        [stale("redis_stale_replica", "redis-2"), runs("redis-2", "redis-6378", described=True)],
        ["redis-2  restart (its service changes)"],
    ),
    "a server that hangs, and may lead": (
        "converged",
        [
            stale("redis_stale_leader", "redis-1"),
            on("redis-1", "redis_conf", answers=False),
            lambda recorded: recorded["hostvars"]["redis-1"].update({"redis_reply": {"error": "timed out"}}),
        ],
        [
            "redis-1  restart, in place: until it is back writes fail (it does not answer)",
            "cost: 1 restart, 1 interruption",
        ],
    ),
    "a server of its own": (
        "restart",
        [lambda recorded: recorded.update(mode="standalone", groups={"redis_stale_leader": ["redis-1"]})],
        ["redis-1  restart, in place: until it is back the cache is away (databases 16 -> 32)"],
    ),
    "who is gone": (
        "sentinel",
        [on("redis-1", "redis_sentinel_reply", gone=["10.0.0.4:6379"])],
        ["redis-1  have the Sentinel forget 10.0.0.4:6379, which is gone"],
    ),
    "a Sentinel's file that says nothing new": (
        "sentinel",
        [
            on("redis-1", "redis_sentinel_told", changed=True, told=[]),
            lambda recorded: recorded["groups"].pop("redis_sentinel_stale"),
        ],
        ["redis-1  write the Sentinel's settings, with nothing to set on it"],
    ),
    "a dead node of the cluster": (
        "cluster",
        [on("redis-1", "redis_cluster_formed", actions=["forgot 10.0.0.4:6379"])],
        ["cluster  forget 10.0.0.4:6379"],
    ),
    "a cluster that could not be asked": (
        "grow",
        [
            lambda recorded: [
                recorded["hostvars"][name].pop("redis_cluster_formed", None) for name in recorded["hostvars"]
            ]
        ],
        ["redis-7  join the cluster", "redis-8  join the cluster"],
    ),
    "Python's virtual environments": (
        "empty",
        [on("app-1", "django_app_python_packages", changed=True)],
        ["app-1    install python3-venv from the distribution's package"],
    ),
    "a new release": (
        "converged",
        [on("app-1", "django_app_release", changed=True)],
        [
            "app-1  install a new release of the project, with its requirements",
            "app-1  reload Django",
            "cost: 0 restarts, Django reloads once",
        ],
    ),
    "several Django hosts": (
        "restart",
        [second_django],
        [
            "app-2    reload Django",
            "cost: 3 restarts one at a time, 1 interruption, Django reloads on 2 hosts",
        ],
    ),
    "a Django that is older than its files": (
        "converged",
        [runs("app-1", "django_app", stale=True, newer=["/etc/settings.py"])],
        ["app-1  reload Django (/etc/settings.py is newer than its process)"],
    ),
    "a Django that was stopped": (
        "converged",
        [runs("app-1", "django_app", running=False)],
        ["app-1  start Django on 127.0.0.1:8000", "cost: 0 restarts"],
    ),
    "a server that another mode used": (
        "converged",
        [on("redis-1", "service_planned", **{"redis-6370": {"retires": True}})],
        ["redis-1  stop redis-6370 for good; its data stays"],
    ),
    "a part that was left out by its tag": (
        "restart",
        [
            lambda recorded: [host.pop("service_planned", None) for host in recorded["hostvars"].values()],
            lambda recorded: recorded["groups"].clear(),
        ],
        [NOTHING],
    ),
}


@pytest.mark.parametrize("name", CHANGED)
def test_more_that_people_are_told(name: str) -> None:
    recorded_name, changes, wanted = CHANGED[name]
    recorded = load(recorded_name)
    before = plan(recorded)["text"].splitlines()
    for change in changes:
        change(recorded)
    lines = plan(recorded)["text"].splitlines()
    assert [line for line in lines if line in wanted] == wanted
    assert wanted == [NOTHING] or lines != before


def test_the_eleventh_is_said_in_figures() -> None:
    recorded = load("converged")
    names = [f"redis-{number}" for number in range(1, 13)]
    for name in names:
        recorded["hostvars"][name] = recorded["hostvars"]["redis-2"]
    recorded["mode"] = "sentinel"
    recorded["nodes"] = [{**recorded["nodes"][1], "name": name} for name in names]
    recorded["groups"]["redis_stale_replica"] = names[::-1]
    lines = plan(recorded)["text"].splitlines()
    # In the inventory's order, whatever that of the group is.
    assert [line.split()[0] for line in lines[:-1]] == names
    assert [line.split()[2].rstrip(",") for line in lines[9:12]] == ["tenth", "11th", "last"]
