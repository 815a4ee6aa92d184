"""What somebody has altered on a deployed host by hand: a plan names it, and a run puts it right."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from ansible.module_utils.host.process import newer_files, started_at
from ansible.module_utils.redis_acl import users

from local_site import APP, SERVERS, LocalHost, LocalSite
from servers import free_port

pytestmark = pytest.mark.slow

Do = Callable[[LocalHost], object]


@dataclass(frozen=True)
class Alteration:
    """How somebody alters a host, and what is then other than before."""

    alter: Do
    look: Do


@dataclass(frozen=True)
class Drift:
    """An alteration of the leader, a replica, the other one, or the Django host (app).

    ``pattern`` is what must be found in the text of one of the host's steps.
    """

    name: str
    host: str
    pattern: str
    what: Alteration


# Ways to alter a host


def live(name: str, value: str) -> Alteration:
    """A directive of the running server."""
    return Alteration(
        lambda host: host.redis("CONFIG", "SET", name, value), lambda host: host.redis("CONFIG", "GET", name)[1]
    )


def acl(user: str, *rules: str) -> Alteration:
    """The rules of a user of the running server."""
    return Alteration(
        lambda host: host.redis("ACL", "SETUSER", user, *rules), lambda host: users(host.redis("ACL", "LIST")).get(user)
    )


def sentinel_acl(user: str, *rules: str) -> Alteration:
    """The rules of a user of the running Sentinel."""
    return Alteration(
        lambda host: host.sentinel("ACL", "SETUSER", user, *rules),
        lambda host: users(host.sentinel("ACL", "LIST")).get(user),
    )


def watched(host: LocalHost) -> dict[str, dict[str, str]]:
    """What a Sentinel watches, as it has it: name to fields."""
    tables = (dict(zip(reply[::2], reply[1::2])) for reply in host.sentinel("SENTINEL", "MASTERS"))
    return {table["name"]: table for table in tables}


def sentinel_setting(name: str, value: str) -> Alteration:
    """How the running Sentinel watches the servers."""
    return Alteration(
        lambda host: host.sentinel("SENTINEL", "SET", "mymaster", name, value),
        lambda host: watched(host)["mymaster"][name],
    )


def another_watched(host: LocalHost) -> None:
    """Have the Sentinel watch the leader a second time."""
    leader = watched(host)["mymaster"]
    host.sentinel("SENTINEL", "MONITOR", "shop", leader["ip"], leader["port"], 2)


def text(path: str) -> Do:
    """The content of a file."""
    return lambda host: host.paths[path].read_text("utf-8")


def added(path: str, line: str) -> Alteration:
    """A line at the end of a file."""
    return Alteration(lambda host: append(host.paths[path], line), text(path))


def append(path: Path, line: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")


def mode(path: str, bits: int) -> Alteration:
    """The mode of a file or a directory."""
    return Alteration(
        lambda host: host.paths[path].chmod(bits), lambda host: oct(stat.S_IMODE(host.paths[path].stat().st_mode))
    )


def lost_leader(host: LocalHost) -> None:
    """Have the file from which a replica starts forget whom it follows."""
    path = host.paths["volatile redis.conf"]
    path.write_text("".join(line for line in lines(path) if not line.startswith("replicaof ")), "utf-8")


def lines(path: Path) -> list[str]:
    return path.read_text("utf-8").splitlines(keepends=True)


def included(host: LocalHost) -> list[str]:
    """The files that the file from which a server starts includes."""
    return [line.split()[1] for line in lines(host.paths["volatile redis.conf"]) if line.startswith("include ")]


def includes_another_file(host: LocalHost) -> None:
    """Have the file from which a server starts include another configuration, without users."""
    path = host.paths["volatile redis.conf"]
    path.write_text(path.read_text("utf-8").replace("include ", "include /etc"), "utf-8")


def remembers_a_leader(host: LocalHost) -> bool:
    """Whether the file from which a replica starts says whom it follows."""
    return any(line.startswith("replicaof ") for line in lines(host.paths["volatile redis.conf"]))


def deleted(path: str) -> Alteration:
    """No file."""
    return Alteration(
        lambda host: host.paths[path].unlink(), lambda host: host.paths[path].exists() and text(path)(host)
    )


def is_running(host: LocalHost, kind: str) -> bool:
    """Whether a service of the host has a process."""
    return bool(host.site.supervisor.process(host.service(kind))["pid"])


def stopped(kind: str) -> Alteration:
    """A service that does not run."""
    return Alteration(lambda host: host.site.supervisor.stop(host.service(kind)), lambda host: is_running(host, kind))


def touched(path: str, kind: str) -> Alteration:
    """A file that was written after the process started which has read it."""
    return Alteration(lambda host: os.utime(host.paths[path]), lambda host: is_newer(host, path, kind))


def is_newer(host: LocalHost, path: str, kind: str) -> bool:
    pid = host.site.supervisor.process(host.service(kind))["pid"]
    return bool(newer_files([str(host.paths[path])], started_at(pid)))


def another_release(host: LocalHost) -> None:
    """Have the link to the current release point to another one, which is empty."""
    current = host.paths["current"]
    (current.parent / "releases" / "other").mkdir()
    current.unlink()
    current.symlink_to("releases/other")


# The drifts of a batch do not hide each other.
BATCHES: dict[str, list[Drift]] = {
    "nothing restarts": [
        Drift(
            "a directive of the leader", "leader", r"set maxmemory 64mb live \(was 32mb\)", live("maxmemory", "32mb")
        ),
        Drift(
            "a directive of a replica",
            "replica",
            r"set maxmemory-policy allkeys-lru live \(was noeviction\)",
            live("maxmemory-policy", "noeviction"),
        ),
        Drift("a line of redis.conf", "other", r"write redis\.conf, with", added("redis.conf", "maxmemory 1mb")),
        Drift("wider rules", "leader", r"users live \(.*\bapp\b", acl("app", "+@all", "allkeys")),
        Drift("a user that is off", "leader", r"users live \(.*\bmonitor\b", acl("monitor", "off")),
        Drift("a second password", "replica", r"users live \(.*\bmonitor\b", acl("monitor", ">second")),
        Drift(
            "the default user without a password",
            "other",
            r"users live \(.*\bdefault\b",
            acl("default", "on", "nopass", "~*", "+@all"),
        ),
        Drift(
            "a user whom nobody knows",
            "leader",
            r"users live \(.*\bguest\b",
            acl("guest", "on", "nopass", "~*", "+@all"),
        ),
        Drift(
            "a user of a Sentinel whom nobody knows",
            "replica",
            r"Sentinel's user guest",
            sentinel_acl("guest", "on", "nopass", "+@all"),
        ),
        Drift("another masterauth", "replica", r"live \(.*login to the leader", live("masterauth", "another")),
        Drift("an auth.conf that is deleted", "other", r"write \S*\d\.auth\.conf", deleted("auth.conf")),
        Drift(
            "a line of auth.conf",
            "replica",
            r"write \S*\d\.auth\.conf",
            added("auth.conf", "user guest on nopass ~* +@all"),
        ),
        Drift("the mode of auth.conf", "leader", r"correct the mode of \S*\d\.auth\.conf", mode("auth.conf", 0o644)),
        Drift("the mode of the data directory", "replica", r"correct the mode of \S*/redis/\d+$", mode("data", 0o755)),
        Drift(
            "the mode of the volatile file",
            "leader",
            r"correct the mode of \S*/redis\.conf",
            mode("volatile redis.conf", 0o644),
        ),
        Drift(
            "a volatile file without replicaof",
            "replica",
            r"write down that it follows redis-\d",
            Alteration(lost_leader, remembers_a_leader),
        ),
        Drift(
            "a volatile file that includes another one",
            "other",
            r"write \S*/redis\.conf$",
            Alteration(includes_another_file, included),
        ),
        Drift(
            "a Sentinel's setting",
            "replica",
            r"set the Sentinel's down-after-milliseconds 2000 live \(was 9000\)",
            sentinel_setting("down-after-milliseconds", "9000"),
        ),
        Drift(
            "a Sentinel's quorum",
            "leader",
            r"set the Sentinel's quorum 2 live \(was 1\)",
            sentinel_setting("quorum", "1"),
        ),
        Drift("wider rules on a Sentinel", "leader", r"Sentinel's user default", sentinel_acl("default", "+@all")),
        Drift(
            "something else that a Sentinel watches",
            "leader",
            r"have the Sentinel no longer watch shop",
            Alteration(another_watched, lambda host: sorted(watched(host))),
        ),
        Drift(
            "a Sentinel's auth.conf that is deleted",
            "other",
            r"write the Sentinel's settings, with nothing to set on it",
            deleted("sentinel auth.conf"),
        ),
        Drift(
            "the mode of a Sentinel's auth.conf",
            "replica",
            r"correct the mode of \S*redis-sentinel-\d+\.auth\.conf",
            mode("sentinel auth.conf", 0o644),
        ),
        Drift(
            "the mode of a Sentinel's directory",
            "leader",
            r"correct the mode of \S*/sentinel-\d+$",
            mode("sentinel data", 0o755),
        ),
        Drift(
            "a line of settings.py",
            "app",
            r"write new settings \(DEBUG changed\)",
            added("settings.py", "DEBUG = True"),
        ),
        Drift("a line of secrets.json", "app", r"write new secrets", added("secrets.json", " ")),
        Drift(
            "the mode of the settings' directory", "app", r"correct the mode of \S*/deployed$", mode("settings", 0o755)
        ),
        Drift(
            "a link to another release",
            "app",
            r"install a new release",
            Alteration(another_release, lambda host: os.readlink(host.paths["current"])),
        ),
    ],
    "something restarts": [
        Drift(
            "a process that is older than its unit",
            "leader",
            r"restart, last, after a switchover .*redis-\d+\.conf is newer than its process",
            touched("program", "redis"),
        ),
        Drift("a line of a unit", "replica", r"restart, first \(its service changes\)", added("program", "priority=1")),
        Drift("a server that is stopped", "other", r"start on \S+ as replica of redis-\d", stopped("redis")),
        Drift(
            "a unit that is deleted",
            "leader",
            r"restart the Sentinel.*its service changes",
            deleted("sentinel program"),
        ),
        Drift(
            "a line of sentinel.conf",
            "replica",
            r"restart the Sentinel.*redis-sentinel-\d+\.conf is newer",
            added("sentinel.conf", "sentinel deny-scripts-reconfig no"),
        ),
        Drift("a Sentinel that is stopped", "other", r"start a Sentinel on", stopped("sentinel")),
        Drift(
            "settings that are newer than gunicorn",
            "app",
            r"reload Django \(\S*settings.py is newer than its process\)",
            touched("settings.py", "django"),
        ),
        Drift("the mode of secrets.json", "app", r"correct the mode of \S*secrets\.json", mode("secrets.json", 0o644)),
    ],
}
# What a run does besides, since one of these is put right.
CONSEQUENCES = [r"reload Django"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSite]:
    """The deployment that the tests alter, each of which puts it right again.

    Its first runs are killed: one while servers come into being, one while gunicorn is installed.
    """
    deployed = LocalSite(tmp_path_factory.mktemp("drift"))
    try:
        deployed.deploy_until("redis/*/*.auth.conf")
        deployed.deploy_until("django_app/releases/*/venv/lib/python*/site-packages/gunicorn-*/METADATA")
        done = deployed.deploy()
        assert not done.failed, done.output
        yield deployed
    finally:
        deployed.end()


def assert_clean(site: LocalSite) -> None:
    """A plan has nothing to say."""
    plan = site.plan()
    assert (plan["changes"], plan["hosts"]) == (False, {}), plan["text"]


def test_nothing_is_left_to_do_after_runs_that_were_killed(site: LocalSite) -> None:
    """Neither a run nor a plan has anything to say of a deployment that is as the inventory has it."""
    done = site.deploy()
    assert not done.failed, done.output
    assert done.changed == dict.fromkeys((*SERVERS, APP), 0), done.output
    assert_clean(site)


# A variable with the deployed value, once a fact is known that the look itself does not bring.
NAMES_FACTS = '{"redis_maxmemory": "{{ ansible_facts.kernel and \'64mb\' }}"}'


@pytest.mark.parametrize(
    ("variables", "more"), [("{}", 0), (NAMES_FACTS, 1)], ids=["as shipped", "an inventory of facts"]
)
def test_a_run_with_nothing_to_do_goes_to_each_host_twice(
    site: LocalSite, tmp_path: Path, variables: str, more: int
) -> None:
    """To look and to compare; to a host that the mode does not use once, and for all facts once more."""
    unused = tmp_path / "unused.yml"
    unused.write_text(
        f"redis: {{hosts: {{redis-4: {{redis_modes: [standalone], redis_port: {free_port()}}}}}}}", "utf-8"
    )
    done = site.play("site.yml", "-i", str(unused), "-e", variables, ANSIBLE_VERBOSITY="3")
    assert not done.failed, done.output
    assert set(done.changed.values()) == {0}, done.output
    assert done.trips == {**dict.fromkeys((*SERVERS, APP), 2 + more), "redis-4": 1 + more}, done.output


@pytest.mark.parametrize("batch", BATCHES)
def test_a_drift_is_named_and_healed(site: LocalSite, batch: str) -> None:
    drifts, roles = BATCHES[batch], site.roles()
    before = {drift.name: drift.what.look(roles[drift.host]) for drift in drifts}
    for drift in drifts:
        drift.what.alter(roles[drift.host])
        assert drift.what.look(roles[drift.host]) != before[drift.name], drift.name

    plan = site.plan()
    texts = {role: [step["text"] for step in plan["hosts"].get(host.name, ())] for role, host in roles.items()}
    unnamed = [drift.name for drift in drifts if not any(re.search(drift.pattern, one) for one in texts[drift.host])]
    assert not unnamed, f"not named: {', '.join(unnamed)}\n{plan['text']}"
    expected = {role: [*CONSEQUENCES, *(drift.pattern for drift in drifts if drift.host == role)] for role in roles}
    invented = [
        one for role in roles for one in texts[role] if not any(re.search(word, one) for word in expected[role])
    ]
    assert not invented, f"not asked for: {', '.join(invented)}\n{plan['text']}"

    done = site.deploy()
    assert not done.failed, done.output
    assert all(done.changed.values()), done.output
    left = [drift.name for drift in drifts if drift.what.look(roles[drift.host]) != before[drift.name]]
    assert not left, f"not healed: {', '.join(left)}\n{done.output}"
    assert_clean(site)


def test_a_second_leader_is_refused(site: LocalSite) -> None:
    """Nobody but a person can say whose data counts. With Sentinels that run there is never a second one for long."""
    roles = site.roles()
    leader, second = roles["leader"], roles["replica"]
    for name in SERVERS:
        site.supervisor.stop(site.host(name).service("sentinel"))
    second.redis("REPLICAOF", "NO", "ONE")
    refused = site.deploy()
    assert refused.failed
    assert "more than one server leads" in refused.output
    assert f"{second.name}: leads" in refused.output
    assert set(refused.changed.values()) == {0}
    assert second.redis("ROLE")[0] == "master"

    second.redis("REPLICAOF", "127.0.0.1", leader.port)
    healed = site.deploy()
    assert not healed.failed, healed.output
    assert second.redis("ROLE")[:3] == ["slave", "127.0.0.1", leader.port]
