"""The module redis_command: one command to a server of the host."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.redis_client import quote
from ansible.plugins.modules import redis_command

from parts import PASSWORD, ModuleRunner
from servers import RedisServer, RedisServerFactory

Runs = Callable[..., dict[str, Any]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Runs:
    """Runs the module."""
    return functools.partial(ModuleRunner(capsys, monkeypatch), redis_command)


@pytest.fixture(scope="module")
def leader(redis_server: RedisServerFactory) -> RedisServer:
    return redis_server(password=PASSWORD)


@pytest.fixture(scope="module")
def replica(redis_server: RedisServerFactory, leader: RedisServer) -> RedisServer:
    return redis_server(password=PASSWORD, replicaof=leader)


@pytest.fixture
def auth_file(tmp_path: Path) -> str:
    path = tmp_path / "auth.conf"
    path.write_text(f"requirepass {quote(PASSWORD)}\n")
    return str(path)


def test_a_command(run: Runs, leader: RedisServer, auth_file: str) -> None:
    here: dict[str, Any] = {"port": leader.port, "auth_file": auth_file}
    assert run(**here, db=3, command=["SET", "key", "value"])["reply"] == "OK"
    assert run(**here, db=3, command=["MGET", "key", "absent"])["reply"] == ["value", None]
    assert run(**here, command=["GET", "key"])["reply"] is None
    assert run(**here, db=3, command=["DEL", "key"])["reply"] == 1


def test_it_fails_with_the_servers_words_and_without_the_arguments(
    run: Runs, leader: RedisServer, replica: RedisServer, auth_file: str
) -> None:
    result = run(port=replica.port, auth_file=auth_file, command=["SET", "key", "opensesame"])
    assert result["failed"]
    assert result["error"].startswith("READONLY ")
    assert result["msg"] == f"127.0.0.1:{replica.port}: SET: {result['error']}"
    assert "opensesame" not in result["msg"]
    assert run(port=leader.port, command=["PING"])["error"].startswith("NOAUTH ")


def test_it_does_nothing_in_check_mode(run: Runs, leader: RedisServer, auth_file: str) -> None:
    result = run(True, port=leader.port, auth_file=auth_file, command=["SET", "checked", "x"])
    assert result.get("skipped")
    assert leader.client().get("checked") is None
