"""What a host with a Sentinel is to have."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from builders import APPLIED, SECRETS, Values, part, parts, running, site, watches, with_ca
from deployment.desired.sentinel import SentinelHost
from deployment.states import States
from deployment.users import derived_password


def sentinel(name: str = "redis-1", **common: Any) -> SentinelHost:
    return States(site("sentinel", **common)).sentinels[name]


def directives(**common: Any) -> dict[str, Any]:
    """The directives that are there."""
    return {name: value for name, value in sentinel(**common).directives.items() if value is not None}


def test_the_directives_of_a_sentinel() -> None:
    assert directives() == {
        "port": 26379,
        "bind": "10.0.0.1",
        "protected-mode": True,
        "dir": "/var/lib/redis/sentinel-26379",
        "daemonize": False,
        "supervised": "systemd",
        "sentinel announce-ip": "10.0.0.1",
        "sentinel announce-port": 26379,
    }


def test_the_users_values() -> None:
    values: Values = {"redis_sentinel_port": 26380, "redis_sentinel_bind": "10.0.0.1 ::1"}
    values |= {"redis_sentinel_address": "192.0.2.1", "redis_sentinel_config": {"loglevel": "verbose"}}
    assert directives(**values) == {
        **directives(),
        "port": 26380,
        "bind": "10.0.0.1 ::1",
        "dir": "/var/lib/redis/sentinel-26380",
        "sentinel announce-ip": "192.0.2.1",
        "sentinel announce-port": 26380,
        "loglevel": "verbose",
    }


@pytest.mark.parametrize(
    "own",
    [
        {"redis-2": {"redis_address": "redis-2.example.com"}},
        {"redis-3": {"redis_sentinel_address": "watch.example.com"}},
    ],
)
def test_with_one_name_in_the_inventory_it_deals_with_names(own: dict[str, Values]) -> None:
    found = directives(own=own)
    assert (found["sentinel resolve-hostnames"], found["sentinel announce-hostnames"]) == (True, True)
    assert "sentinel resolve-hostnames" not in directives(redis_address="2001:db8::1")


def test_tls(tmp_path: Path) -> None:
    found = directives(**with_ca(tmp_path))
    assert (found["port"], found["tls-port"], found["tls-replication"]) == (0, 26379, True)
    # The files are those of the server beside it.
    assert found["tls-cert-file"] == "/etc/redis/redis-6379.crt"


def test_it_listens_where_the_server_does() -> None:
    assert directives(redis_bind="10.0.0.1 -::1")["bind"] == "10.0.0.1 -::1"


# What it is told


def told(name: str = "redis-1", **common: Any) -> dict[str, Any]:
    return part(States(site("sentinel", **common)), name, "sentinel", "sentinel", APPLIED)


def test_what_it_is_told() -> None:
    found = told()
    admin = SECRETS["redis_admin_password"]
    assert {name: found[name] for name in ("service", "leader", "quorum", "settings", "leader_user")} == {
        "service": "mymaster",
        "leader": {"address": "10.0.0.1", "port": 6379},
        "quorum": 2,
        "settings": {"down-after-milliseconds": 5000, "failover-timeout": 10000, "parallel-syncs": 1},
        "leader_user": "sentinel",
    }
    assert found["leader_password"] == derived_password(admin, "sentinel")
    assert found["password"] == SECRETS["redis_sentinel_password"]
    assert found["passwords"] == {"admin": admin, "sentinel": derived_password(admin, "sentinel among sentinels")}
    assert len({found["leader_password"], *found["passwords"].values()}) == 3


def test_without_users_there_is_one_password() -> None:
    found = told(redis_acl=False)
    assert (found["leader_user"], found["leader_password"]) == ("", SECRETS["redis_password"])
    assert found["passwords"] == {}


@pytest.mark.parametrize(("count", "given", "quorum"), [(3, None, 2), (5, None, 3), (4, None, 3), (3, 3, 3)])
def test_a_majority_must_miss_the_leader(count: int, given: int | None, quorum: int) -> None:
    names = [f"sentinel-{number}" for number in range(1, count + 1)]
    found = told("sentinel-1", servers=2, sentinels=names, redis_sentinel_quorum=given)
    assert found["quorum"] == quorum


# Whom it knows


def test_whom_it_must_know() -> None:
    states = States(site("sentinel", sentinels=["redis-1", "sentinel-1"]))
    found = part(states, "sentinel-1", "agreement", "sentinel_agrees")
    assert found["nodes"] == ["10.0.0.1:6379", "10.0.0.2:6379", "10.0.0.3:6379"]
    assert found["sentinels"] == ["10.0.0.1:26379", "10.0.2.1:26379"]
    assert (found["forget"], found["wait"], found["service"]) == (True, 30, "mymaster")


# What it wrote itself


def volatile(reply: Values) -> dict[str, Any]:
    said = running("sentinel")
    said["redis-1"]["sentinel"] = reply
    found = parts(States(site("sentinel", said=said)), "redis-1", "sentinel", APPLIED)
    return next(one for one in found if one.get("name") == "volatile")


def test_what_it_wrote_is_its_own() -> None:
    found = volatile({"running": False})
    assert found["content"] == (
        "sentinel monitor mymaster 10.0.0.1 6379 2\ninclude /etc/redis/redis-sentinel-26379.conf\n"
    )
    assert (found["path"], found["mode"], found["force"]) == (
        "/var/lib/redis/sentinel-26379/sentinel.conf",
        "0600",
        False,
    )
    assert volatile(watches("redis-1"))["force"] is False
    remembers = {"running": False, "leader_address": "10.0.0.1", "leader_port": 6379}
    assert volatile(remembers)["force"] is False
    # What a stopped one remembers is of another time.
    assert volatile({**remembers, "leader_port": 6380})["force"] is True


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("sentinel monitor mymaster 10.0.0.1 6379 2", True),
        ("sentinel known-replica mymaster 10.0.0.2 6379", True),
        ("sentinel myid 0123", True),
        ("sentinel current-epoch 3", True),
        # These are the role's, and below what Sentinel wrote they would not win.
        ("sentinel down-after-milliseconds mymaster 1", False),
        ("sentinel failover-timeout mymaster 1", False),
        ("sentinel parallel-syncs mymaster 9", False),
        ("sentinel auth-pass mymaster secret", False),
        ("sentinel announce-ip 10.0.0.9", False),
        ("sentinel resolve-hostnames yes", False),
        ("sentinel sentinel-pass secret", False),
        ("maxclients 1", False),
        ("user default on nopass", False),
    ],
)
def test_what_sentinel_wrote_is_kept_before_each_start(tmp_path: Path, line: str, kept: bool) -> None:
    unit = sentinel(redis_data_dir=str(tmp_path)).unit
    (tmp_path / "sentinel-26379").mkdir()
    file = tmp_path / "sentinel-26379" / "sentinel.conf"
    file.write_text(f"sentinel myid 1\n{line}\ninclude /etc/x\n")
    subprocess.run(["/bin/sh", "-c", unit.before[0]], check=True)
    include = "include /etc/redis/redis-sentinel-26379.conf"
    assert file.read_text().splitlines() == ["sentinel myid 1", *([line] if kept else []), include]


# Its service and its parts


def test_the_service_of_a_sentinel() -> None:
    unit = sentinel().unit
    assert unit.name == "redis-sentinel-26379"
    assert unit.command == "/usr/bin/redis-server /var/lib/redis/sentinel-26379/sentinel.conf --sentinel"
    assert (unit.user, unit.writable) == ("redis", ["/var/lib/redis/sentinel-26379"])


def test_the_parts_of_a_sentinel_in_their_order(tmp_path: Path) -> None:
    states = States(site("sentinel", sentinels=["redis-1", "sentinel-1"], redis_engine="valkey"))
    found = [one["part"] for one in parts(states, "redis-1", "sentinel", APPLIED)]
    assert found == ["directory", "sentinel", "file", "file", "service"]
    # Where no server runs, it brings the directory of its configuration.
    alone = parts(states, "sentinel-1", "sentinel", APPLIED)
    assert [one["path"] for one in alone[:2]] == ["/etc/redis", "/var/lib/redis/sentinel-26379"]
    encrypted = States(site("sentinel", **with_ca(tmp_path)))
    certificate = part(encrypted, "redis-1", "sentinel", "certificate", APPLIED)
    # It cannot be told to read it again.
    assert (certificate["name"], certificate["reload"]) == ("sentinel certificate", False)


def test_its_configuration_is_secret_where_a_directive_is() -> None:
    plain = part(States(site("sentinel")), "redis-1", "sentinel", "file")
    assert plain["diff"] is True
    locked = States(site("sentinel", redis_sentinel_config={"tls-key-file-pass": "x"}))
    assert part(locked, "redis-1", "sentinel", "file")["diff"] is False


def test_as_whom_the_roles_command_it() -> None:
    assert sentinel().commander == {"sentinel_user": "admin", "sentinel_password": SECRETS["redis_admin_password"]}
    one = {"sentinel_user": "", "sentinel_password": SECRETS["redis_sentinel_password"]}
    # Before Redis 6.2 a Sentinel has no users.
    assert sentinel(said=running("sentinel", user="")).commander == one
    assert sentinel(redis_acl=False).commander == one
