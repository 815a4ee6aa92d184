"""What a deployment would do, in the words that people read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from builders import MODES, SECRETS, Changed, Values, plan, running, site
from deployment.plan import changed_settings
from deployment.site import Site
from deployment.states import States
from deployment.topology import cluster_absent

NOTHING = "nothing to do: 0 restarts"
SERVERS = ("redis-1", "redis-2", "redis-3")


def restart(*names: str, reason: str = "databases 16 -> databases 32") -> Changed:
    """Servers that need a restart for one directive."""
    return {(name, "redis", "configuration"): {"differs": ["content"], "restart": [reason]} for name in names}


def live(*names: str, was: str, value: str, directive: str = "maxmemory") -> Changed:
    """Servers on which a directive is set while they run."""
    result = {"differs": ["content"], "set": {directive: value}, "was": {directive: was}}
    return {(name, "redis", "configuration"): result for name in names}


def both(*changes: Changed) -> Changed:
    """Several changes; those of one part are put together."""
    found: dict[tuple[str, str, str], Values] = {}
    for one in changes:
        for key, value in one.items():
            found[key] = {**found.get(key, {}), **value}
    return found


def settings(before: Site, of: str = "app-1") -> Changed:
    """Django's settings where those of another site are deployed."""
    return {(of, "django_app", "settings"): {"differs": ["content"], "before": States(before).apps[of].settings}}


SECRETS_FILE: Changed = {("app-1", "django_app", "secrets"): {"differs": ["content"]}}


def announced(*values: tuple[str, str]) -> Changed:
    """What changes where Sentinels begin to watch, or end."""
    return {
        (name, "redis", "configuration"): {
            "differs": ["content"],
            "set": {"min-replicas-to-write": values[0][1]},
            "was": {"min-replicas-to-write": values[0][0]},
            "restart": [f"replica-announce-port {values[1][0]} -> replica-announce-port {values[1][1]}"],
        }
        for name in SERVERS
    }


def sentinels(told: list[str], was: dict[str, str], **more: Any) -> Changed:
    return {(name, "sentinel", "sentinel"): {"told": told, "was": was, **more} for name in SERVERS}


REPLICATION = site("replication", said=running("replication"))
SENTINEL = site("sentinel", said=running("sentinel"))
CLUSTER = site("cluster", said=running("cluster"))
UNITS = {name: {"probe": {"units": ["/etc/systemd/system/redis-sentinel-26379.service"]}} for name in SERVERS}
# The servers of mode sentinel, of which only the Redis servers run.
TO_SENTINEL = site("sentinel", said=running("replication"))
# And the other way round: those of mode replication, with the Sentinels' services still there.
FROM_SENTINEL = site(
    "replication",
    sentinels=SERVERS,
    said={name: {**said, **UNITS.get(name, {})} for name, said in running("replication").items()},
)
GROWN = {
    **running("cluster"),
    **{name: {"redis": {"error": "refused", "installed": False}} for name in ("redis-7", "redis-8")},
}

PLANS: dict[str, tuple[Site, Changed, str]] = {
    "empty": (
        site("replication", said={name: {"probe": {"programs": {}}} for name in SERVERS}),
        {},
        """\
redis-1  install redis-server from the distribution's package
redis-1  start on 10.0.0.1:6379 as leader
redis-2  install redis-server from the distribution's package
redis-2  start on 10.0.0.2:6379 as replica of redis-1
redis-3  install redis-server from the distribution's package
redis-3  start on 10.0.0.3:6379 as replica of redis-1
app-1    install the project, with its requirements
app-1    write the secrets
app-1    write the settings
app-1    start Django on 127.0.0.1:8000
cost: 0 restarts""",
    ),
    "empty_cluster": (
        site("cluster"),
        {},
        """\
redis-1  start on 10.0.0.1:6379 for the cluster
redis-2  start on 10.0.0.2:6379 for the cluster
redis-3  start on 10.0.0.3:6379 for the cluster
redis-4  start on 10.0.0.4:6379 for the cluster
redis-5  start on 10.0.0.5:6379 for the cluster
redis-6  start on 10.0.0.6:6379 for the cluster
cluster  form a cluster of 3 primaries (redis-1, redis-2 and redis-3) and 3 replicas
app-1    install the project, with its requirements
app-1    write the secrets
app-1    write the settings
app-1    start Django on 127.0.0.1:8000
cost: 0 restarts""",
    ),
    "converged": (REPLICATION, {}, NOTHING),
    "live": (
        REPLICATION,
        live(*SERVERS, was="67108864", value="134217728"),
        """\
redis-1  set maxmemory 128mb live (was 64mb)
redis-2  set maxmemory 128mb live (was 64mb)
redis-3  set maxmemory 128mb live (was 64mb)
cost: 0 restarts""",
    ),
    "restart": (
        REPLICATION,
        both(restart(*SERVERS), settings(site("replication", django_app_allowed_hosts=["shop"]))),
        """\
redis-2  restart, first (databases 16 -> 32)
redis-3  restart, second (databases 16 -> 32)
redis-1  restart, last, in place: until it is back writes fail (databases 16 -> 32)
app-1    write new settings (ALLOWED_HOSTS changed)
app-1    reload Django
cost: 3 restarts one at a time, 1 interruption, Django reloads once""",
    ),
    "to_sentinel": (
        TO_SENTINEL,
        both(announced(("0", "1"), ("0", "6379")), SECRETS_FILE, settings(REPLICATION)),
        """\
redis-2  set min-replicas-to-write 1 live (was 0)
redis-2  restart, first (replica-announce-port 0 -> 6379)
redis-2  start a Sentinel on 10.0.0.2:26379 that watches redis-1
redis-3  set min-replicas-to-write 1 live (was 0)
redis-3  restart, second (replica-announce-port 0 -> 6379)
redis-3  start a Sentinel on 10.0.0.3:26379 that watches redis-1
redis-1  set min-replicas-to-write 1 live (was 0)
redis-1  restart, last, in place: until it is back writes fail (replica-announce-port 0 -> 6379)
redis-1  start a Sentinel on 10.0.0.1:26379 that watches redis-1
app-1    write new secrets
app-1    write new settings (CACHES, CACHESTACK and REDIS_SENTINEL_PASSWORD changed)
app-1    reload Django
cost: 3 restarts one at a time, 1 interruption, Django reloads once""",
    ),
    "sentinel": (
        SENTINEL,
        both(
            restart(*SERVERS),
            sentinels(
                ["SET mymaster down-after-milliseconds 2500"],
                {"down-after-milliseconds": "2000"},
                restart=["its configuration changes"],
            ),
        ),
        """\
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
    ),
    "service": (
        SENTINEL,
        sentinels(["REMOVE mymaster", "MONITOR shop 10.0.0.1 6379 2", "SET shop quorum 2", "SET shop auth-pass"], {}),
        """\
redis-1  have the Sentinel no longer watch mymaster
redis-1  have the Sentinel watch 10.0.0.1:6379 as shop
redis-2  have the Sentinel no longer watch mymaster
redis-2  have the Sentinel watch 10.0.0.1:6379 as shop
redis-3  have the Sentinel no longer watch mymaster
redis-3  have the Sentinel watch 10.0.0.1:6379 as shop
cost: 0 restarts""",
    ),
    "from_sentinel": (
        FROM_SENTINEL,
        announced(("1", "0"), ("6379", "0")),
        """\
redis-2  set min-replicas-to-write 0 live (was 1)
redis-2  restart, first (replica-announce-port 6379 -> 0)
redis-2  stop redis-sentinel-26379 for good
redis-3  set min-replicas-to-write 0 live (was 1)
redis-3  restart, second (replica-announce-port 6379 -> 0)
redis-3  stop redis-sentinel-26379 for good
redis-1  set min-replicas-to-write 0 live (was 1)
redis-1  restart, last, in place: until it is back writes fail (replica-announce-port 6379 -> 0)
redis-1  stop redis-sentinel-26379 for good
cost: 3 restarts one at a time, 1 interruption""",
    ),
    "cluster": (
        CLUSTER,
        restart(*(f"redis-{number}" for number in range(1, 7))),
        """\
redis-4  restart, first (databases 16 -> 32)
redis-5  restart, second (databases 16 -> 32)
redis-6  restart, third (databases 16 -> 32)
redis-1  restart, fourth, after a switchover to redis-4 (databases 16 -> 32)
redis-2  restart, fifth, after a switchover to redis-5 (databases 16 -> 32)
redis-3  restart, last, after a switchover to redis-6 (databases 16 -> 32)
cost: 6 restarts one at a time, 3 switchovers""",
    ),
    "grow": (
        site("cluster", servers=8, said=GROWN),
        {("redis-1", "cluster", "cluster"): {"actions": ["redis-7 joins", "1366 slots move from redis-1 to redis-7"]}},
        """\
redis-7  start on 10.0.0.7:6379 for the cluster
redis-8  start on 10.0.0.8:6379 for the cluster
cluster  redis-7 joins
cluster  1366 slots move from redis-1 to redis-7
cost: 0 restarts""",
    ),
}
EACH = pytest.mark.parametrize(("site", "changes", "text"), PLANS.values(), ids=PLANS)


@EACH
def test_what_people_are_told(site: Site, changes: Changed, text: str) -> None:
    assert plan(site, changes)["text"] == text


@EACH
def test_what_programs_are_told_is_the_same(site: Site, changes: Changed, text: str) -> None:
    """Every line is a step, every step a line, and what is interrupted is counted."""
    found = plan(site, changes)
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
    assert not [secret for secret in SECRETS.values() if secret in json.dumps(found)]


@pytest.mark.parametrize("mode", MODES)
def test_what_runs_as_it_is_to_be_is_no_step(mode: str) -> None:
    assert plan(site(mode, said=running(mode)))["text"] == NOTHING


def test_a_change_of_the_kind_of_mode_says_that_the_data_stays_behind() -> None:
    """What else differs follows from that, and so is no other reason."""
    reason = "cluster-enabled no -> cluster-enabled yes"
    to_cluster = plan(site("cluster", said=running("replication")), restart(*SERVERS, reason=reason))["hosts"]
    restarts = [step["text"] for name in SERVERS for step in to_cluster[name]]
    reason = "(it goes into a cluster, without its data)"
    # In a mode of several leaders all are to be one, whatever they were.
    assert sorted(text for text in restarts if text.startswith("restart")) == [
        f"restart, first, in place: until it is back its part of the cache is away {reason}",
        f"restart, last {reason}",
        f"restart, second {reason}",
    ]
    from_cluster = plan(site("replication", said=running("cluster", 6)), restart("redis-2"))
    assert (
        "redis-2  restart, in place: until it is back writes fail (it leaves its cluster, without its data)"
        in (from_cluster["text"])
    )


# Settings

BEFORE = "from base import *\nDEBUG = False\nCACHES = {'default': {'TIMEOUT': 300}}\n"


@pytest.mark.parametrize(
    ("before", "after", "wanted"),
    [
        (BEFORE, BEFORE.replace("300", "60"), ["CACHES"]),
        (BEFORE, f"{BEFORE}A = 1\n".replace("DEBUG = False", ""), ["A", "DEBUG"]),
        # A comment or a line break is no other setting.
        (BEFORE, f"# new\n{BEFORE.replace('{', '{  ')}", []),
        ("", BEFORE, []),
        ("no Python", BEFORE, []),
        (BEFORE, BEFORE, []),
    ],
)
def test_the_settings_that_change(before: str, after: str, wanted: list[str]) -> None:
    assert changed_settings(before, after) == wanted


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
