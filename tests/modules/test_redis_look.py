"""What a Redis server on this host says of itself; what a Sentinel does is in test_apply_sentinel.py."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.host.redis_look import redis_state
from ansible.module_utils.host.sentinel_look import sentinel_state
from ansible.module_utils.redis_client import quote

from conftest import Certificate, Listen
from parts import PASSWORD, connection
from servers import RedisServer, RedisServerFactory, free_port


@pytest.fixture(scope="module")
def leader(redis_server: RedisServerFactory) -> RedisServer:
    return redis_server(password=PASSWORD)


@pytest.fixture
def auth_file(tmp_path: Path) -> Path:
    path = tmp_path / "auth.conf"
    path.write_text(f"requirepass {quote(PASSWORD)}\n")
    return path


def test_a_leader(leader: RedisServer, auth_file: Path) -> None:
    answer = redis_state(connection(leader, auth_file))
    assert (answer["role"], answer["server"], answer["tls"]) == ("leader", "valkey", False)
    assert (answer["installed"], "error" in answer) == (False, False)


def test_a_server_that_speaks_tls_though_it_should_not(
    leader: RedisServer, auth_file: Path, certificate: Certificate, tls_front: Callable[[int], int]
) -> None:
    """And one that does not though it should, each as what it is."""
    wanted = {"tls_name": certificate.name, "tls_ca_file": str(certificate.ca_file), "timeout": 1}
    front = redis_state(connection(tls_front(leader.port), auth_file, **wanted))
    assert (front["tls"], front["role"], front["days_left"]) == (True, "leader", 0)
    plain = redis_state(connection(leader, auth_file, **wanted))
    assert (plain["tls"], plain["role"], plain["days_left"]) == (False, "leader", None)


@pytest.mark.parametrize(("persists", "installed"), [(True, True), (False, False)])
def test_a_server_that_would_start_empty(tmp_path: Path, persists: bool, installed: bool) -> None:
    (tmp_path / "redis.conf").touch()
    asked = {**connection(free_port()), "volatile_file": str(tmp_path / "redis.conf"), "persists": persists}
    assert redis_state(asked)["installed"] is installed


def test_a_sentinel_is_no_server(listen: Listen) -> None:
    info = b"# Server\r\nredis_version:7.0.15\r\n"
    replies = [b"*2\r\n$8\r\nsentinel\r\n*0\r\n", b"$%d\r\n%s\r\n" % (len(info), info)]

    def serve(listener: socket.socket) -> None:
        client, _ = listener.accept()
        with client:
            for reply in replies:
                client.recv(4096)
                client.sendall(reply)

    answer = redis_state(connection(listen(serve)))
    assert "role" not in answer
    assert "sentinel" in answer["error"]


@pytest.mark.parametrize(
    ("content", "remembered"),
    [
        (None, {}),
        ("", {}),
        ("include /etc/redis/redis.conf\n", {}),
        ("# replicaof 192.0.2.1 1\nreplicaof 192.0.2.11 6380\ninclude x\n", {"leader_address": "192.0.2.11"}),
        ("replicaof 2001:db8::1 6380\n", {"leader_address": "2001:db8::1"}),
        # What somebody has written by hand, or a disk.
        ("replicaof x\nreplicaof x y\nreplicaof\n", {}),
        ("# \udcff\nreplicaof x\nreplicaof 192.0.2.11 6380\n", {"leader_address": "192.0.2.11"}),
    ],
)
def test_a_server_that_is_down(tmp_path: Path, content: str | None, remembered: dict[str, Any]) -> None:
    volatile = tmp_path / "redis.conf"
    if content is not None:
        volatile.write_text(content, "utf-8", "surrogateescape")
    answer = redis_state({**connection(free_port()), "volatile_file": str(volatile)})
    assert "role" not in answer
    assert "refused" in answer["error"]
    wanted = {**remembered, "leader_port": 6380} if remembered else {}
    assert {key: answer[key] for key in answer if key.startswith("leader_")} == wanted


def test_a_server_without_the_password_says_so(leader: RedisServer) -> None:
    answer = redis_state(connection(leader))
    assert answer["error"].startswith("NOAUTH ")
    assert "role" not in answer


def test_a_server_that_was_never_deployed(leader: RedisServer, tmp_path: Path) -> None:
    assert "never deployed" in redis_state(connection(leader, tmp_path / "absent"))["error"]
    assert "never deployed" in sentinel_state({**connection(leader, tmp_path / "absent"), "service": "x"})["error"]
