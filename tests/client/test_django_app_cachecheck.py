"""`manage.py cachecheck`, run as a program against real servers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from conftest import DJANGO_APP
from servers import RedisServer, RedisServerFactory

# With every character that means something in a URL.
PASSWORD = "kX9:right/pa#ss@word?"
WRONG_PASSWORD = "kX9:wrong/pa#ss@word?"
BUILTIN = "django.core.cache.backends.redis.RedisCache"
DJANGO_REDIS = "django_redis.cache.RedisCache"

SETTINGS = """
from config.settings import *

CACHES = {caches!r}
CACHESTACK = {{'mode': 'replication', 'client': 'builtin'}}
"""

Caches = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Run:
    """A finished `manage.py cachecheck`."""

    status: int
    stdout: str
    stderr: str

    @property
    def report(self) -> dict[str, Any]:
        """The object that --json prints."""
        report: dict[str, Any] = json.loads(self.stdout)
        return report

    def failed(self, alias: str) -> dict[str, str]:
        """Return {operation: error} of what failed with the alias."""
        operations = self.report["aliases"][alias]["operations"]
        return {item["name"]: item["error"] for item in operations if not item["ok"] and not item["skipped"]}


class Cachecheck:
    """`manage.py cachecheck` of the shipped project, with other CACHES."""

    def __init__(self, folder: Path, caches: Mapping[str, Mapping[str, Any]]) -> None:
        (folder / "deployed.py").write_text(SETTINGS.format(caches=caches))
        self.environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "deployed", "PYTHONPATH": str(folder)}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, DJANGO_APP / "manage.py", "cachecheck", *arguments],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str) -> Run:
        return self.wait(self.start(*arguments))

    @staticmethod
    def wait(process: subprocess.Popen[str]) -> Run:
        stdout, stderr = process.communicate(timeout=60)
        return Run(process.returncode, stdout, stderr)


def builtin(*servers: str, db: int = 1, password: str = PASSWORD) -> dict[str, Any]:
    options = {"db": db, "password": password, "protocol": 2, "socket_timeout": 5, "socket_connect_timeout": 5}
    return {"BACKEND": BUILTIN, "LOCATION": list(servers), "KEY_PREFIX": "shop", "OPTIONS": options}


def django_redis(*servers: str, db: int, password: str = PASSWORD) -> dict[str, Any]:
    options = {"PASSWORD": password, "CONNECTION_POOL_KWARGS": {"protocol": 2, "socket_timeout": 5}}
    return {"BACKEND": DJANGO_REDIS, "LOCATION": [f"{url}/{db}" for url in servers], "OPTIONS": options}


@dataclass(frozen=True)
class Servers:
    leader: RedisServer
    replicas: tuple[RedisServer, RedisServer]
    stranger: RedisServer
    stopped: RedisServer

    @property
    def urls(self) -> list[str]:
        """The seed's LOCATION: the leader first."""
        return [server.url for server in (self.leader, *self.replicas)]

    def sizes(self) -> dict[int, list[int]]:
        """Return {db: DBSIZE of the leader and each replica}."""
        return {db: [s.client(db).dbsize() for s in (self.leader, *self.replicas)] for db in range(16)}


@pytest.fixture(scope="module")
def servers(redis_server: RedisServerFactory) -> Servers:
    leader = redis_server(password=PASSWORD)
    replicas = (redis_server(PASSWORD, leader), redis_server(PASSWORD, leader))
    stopped = redis_server(password=PASSWORD)
    stopped.stop()
    # Keys of others: DBSIZE would not tell "flushed" from "cleaned up" without them.
    for db in range(1, 6):
        leader.client(db).set("of-another-program", "untouched")
    return Servers(leader, replicas, redis_server(password=PASSWORD), stopped)


# What works
# ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory, servers: Servers) -> Cachecheck:
    caches: Caches = {
        "locmem": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
        "standalone": builtin(servers.leader.url, db=1),
        "replication": builtin(*servers.urls, db=2),
        "django_redis": django_redis(servers.leader.url, db=3),
        "django_redis_replication": django_redis(*servers.urls, db=4),
        "in_url": {
            "BACKEND": BUILTIN,
            "LOCATION": f"redis://:{quote(PASSWORD, '')}@127.0.0.1:{servers.leader.port}/5",
            "OPTIONS": {"protocol": 2},
            "VERSION": 7,
        },
    }
    return Cachecheck(tmp_path_factory.mktemp("good"), {**caches, "default": caches["locmem"]})


@pytest.fixture(scope="module")
def sizes_before(servers: Servers) -> dict[int, list[int]]:
    return servers.sizes()


@pytest.fixture(scope="module")
def passed(good: Cachecheck, sizes_before: dict[int, list[int]]) -> Run:
    return good.run("--json")


@dataclass(frozen=True)
class Crowd:
    """Three runs at a time: the same again, one with two aliases for people, and one with what does not work."""

    again: Run
    table: Run
    failed: Run


@pytest.fixture(scope="module")
def crowd(good: Cachecheck, broken: Cachecheck, passed: Run) -> Crowd:
    again = good.start("--json")
    table = good.start("--alias", "standalone", "--alias", "locmem")
    failed = broken.start("--json", "--wait", "0.5")
    return Crowd(good.wait(again), good.wait(table), broken.wait(failed))


@pytest.mark.parametrize(
    "alias", ["locmem", "standalone", "replication", "django_redis", "django_redis_replication", "in_url"]
)
def test_passes(passed: Run, alias: str) -> None:
    assert passed.failed(alias) == {}
    assert all(item["ok"] and not item["skipped"] for item in passed.report["aliases"][alias]["operations"])


def test_passes_quietly_with_status_0(passed: Run) -> None:
    assert (passed.status, passed.stderr) == (0, "")
    assert passed.report["failed"] == 0


def test_passes_twice_and_beside_another_run(crowd: Crowd) -> None:
    assert (crowd.again.status, crowd.table.status) == (0, 0)


def test_leaves_no_key_and_every_other_key(servers: Servers, sizes_before: dict[int, list[int]], crowd: Crowd) -> None:
    deadline = time.monotonic() + 5
    while servers.sizes() != sizes_before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert servers.sizes() == sizes_before
    assert servers.stranger.client(1).dbsize() == 0


def test_json(passed: Run, servers: Servers) -> None:
    report = passed.report
    assert list(report) == ["mode", "client", "django", "redis_py", "aliases", "failed"]
    assert (report["mode"], report["client"]) == ("replication", "builtin")
    replication = report["aliases"]["replication"]
    assert list(replication) == ["backend", "servers", "key_prefix", "operations"]
    assert (replication["backend"], replication["key_prefix"]) == (BUILTIN, "shop")
    assert replication["servers"] == servers.urls
    assert report["aliases"]["in_url"]["servers"] == [f"{servers.leader.url}/5"]
    for item in replication["operations"]:
        assert list(item) == ["name", "ok", "skipped", "ms", "error"]
        assert isinstance(item["ms"], float)


def test_table(crowd: Crowd) -> None:
    lines = crowd.table.stdout.splitlines()
    assert lines[0].split() == ["ALIAS", "OPERATION", "RESULT", "MS"]
    assert len({line.index(" ok ") for line in lines[1:-1]}) == 1
    assert [line.split()[0] for line in (lines[1], lines[-2])] == ["standalone", "locmem"]
    assert lines[-1] == f"cachecheck: 2 aliases, {len(lines) - 2} operations, 0 failed"


# What does not work
# ------------------------------------------------------------------------------

FIRST = "set, get: int"
EVERY_SERVER = "get: the same value from every server"


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory, servers: Servers) -> Cachecheck:
    leader, replica, stranger, stopped = (
        server.url for server in (servers.leader, servers.replicas[0], servers.stranger, servers.stopped)
    )
    caches: Caches = {
        "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
        "wrong_password": builtin(leader, password=WRONG_PASSWORD),
        "wrong_password_django_redis": django_redis(leader, db=1, password=WRONG_PASSWORD),
        "wrong_password_in_url": {"BACKEND": BUILTIN, "LOCATION": f"redis://:{WRONG_PASSWORD}@127.0.0.1:6379/1"},
        "stopped": builtin(stopped),
        "stopped_replica": builtin(leader, replica, stopped),
        "db_out_of_range": builtin(leader, db=99),
        "replica_first": builtin(replica, leader),
        "stranger_among_replicas": builtin(leader, replica, stranger),
        "no_such_backend": {"BACKEND": "no.such.Cache"},
        "no_such_option": {**builtin(leader), "OPTIONS": {"MAX_ENTRIES": 100}},
    }
    return Cachecheck(tmp_path_factory.mktemp("broken"), caches)


@pytest.fixture(scope="module")
def failed(crowd: Crowd) -> Run:
    return crowd.failed


@pytest.mark.parametrize(
    ("alias", "operation", "error"),
    [
        ("wrong_password", FIRST, "AuthenticationError: "),
        ("wrong_password_django_redis", FIRST, "AuthenticationError: "),
        ("wrong_password_in_url", FIRST, "ValueError: "),
        ("stopped", FIRST, "ConnectionError: Error 111 connecting to 127.0.0.1:"),
        ("db_out_of_range", FIRST, "ResponseError: DB index is out of range"),
        ("replica_first", FIRST, "ReadOnlyError: You can't write against a read only replica."),
        ("stranger_among_replicas", EVERY_SERVER, "expected 'same', got None"),
        ("no_such_backend", FIRST, "InvalidCacheBackendError: Could not find backend 'no.such.Cache'"),
        ("no_such_option", FIRST, "TypeError: "),
    ],
)
def test_fails_and_names_the_operation(failed: Run, alias: str, operation: str, error: str) -> None:
    assert failed.failed(alias)[operation].startswith(error)
    assert f"{alias}: {operation}: {error}" in failed.stderr


def test_a_stopped_replica_fails(failed: Run) -> None:
    """Which read meets it first is chance."""
    [(operation, error)] = failed.failed("stopped_replica").items()
    assert error.startswith("ConnectionError: Error 111")
    assert f"stopped_replica: {operation}: {error}" in failed.stderr


def test_failure_is_status_1_and_spares_the_other_aliases(failed: Run) -> None:
    assert failed.status == 1
    assert failed.failed("default") == {}
    assert failed.report["failed"] == failed.stderr.count("\n") - 1


@pytest.mark.parametrize("alias", ["wrong_password", "stopped", "no_such_backend"])
def test_stops_at_the_first_connection_error(failed: Run, alias: str) -> None:
    first, *rest = failed.report["aliases"][alias]["operations"]
    assert (first["ok"], first["skipped"]) == (False, False)
    for item in rest:
        assert (item["ok"], item["skipped"], item["ms"]) == (False, True, None)
        assert item["error"].startswith("not run after the ")


def test_table_shows_the_failure(broken: Cachecheck) -> None:
    start = time.monotonic()
    run = broken.run("--alias", "stopped")
    seconds = time.monotonic() - start
    first = run.stdout.splitlines()[1]
    assert first.startswith(f"stopped  {FIRST} ")
    assert " FAILED " in first
    assert "ConnectionError: Error 111" in first
    assert run.stdout.splitlines()[-1].endswith(" operations, 1 failed, 59 not run")
    assert run.status == 1
    assert seconds < 30


@pytest.mark.parametrize("secret", [PASSWORD, WRONG_PASSWORD, "kX9", "right", "wrong/", "word?", quote(PASSWORD, "")])
def test_shows_no_password(passed: Run, crowd: Crowd, secret: str) -> None:
    for run in (passed, crowd.again, crowd.table, crowd.failed):
        assert secret not in run.stdout + run.stderr
