"""What a variable that nobody set comes to."""

from __future__ import annotations

from typing import Any

import pytest

from builders import facts, leads
from deployment import decisions

FACTS = facts("redis-1", all_ipv4_addresses=["10.0.0.1", "192.0.2.1"], all_ipv6_addresses=["2001:db8::1"])


@pytest.mark.parametrize(
    ("given", "socket", "mode", "listens"),
    [
        (None, "", "standalone", True),
        (None, "/run/redis.sock", "standalone", False),
        # The other servers have no socket to this one.
        (None, "/run/redis.sock", "replication", True),
        (None, "/run/redis.sock", "cluster", True),
        (True, "/run/redis.sock", "standalone", True),
        (False, "/run/redis.sock", "replication", False),
    ],
)
def test_a_server_with_a_socket_need_not_listen(given: bool | None, socket: str, mode: str, listens: bool) -> None:
    assert decisions.listens(given, socket, mode) is listens


@pytest.mark.parametrize(
    ("given", "address", "own", "bind"),
    [
        ("10.0.0.9 -::1", "10.0.0.1", FACTS, ["10.0.0.9", "-::1"]),
        (None, "192.0.2.1", FACTS, ["192.0.2.1"]),
        (None, "2001:db8::1", FACTS, ["2001:db8::1"]),
        (None, "127.0.0.1", FACTS, ["127.0.0.1"]),
        (None, "::1", FACTS, ["::1"]),
        # A name, or what address translation makes of the host.
        (None, "redis-1.example.com", FACTS, ["10.0.0.1"]),
        (None, "198.51.100.7", FACTS, ["10.0.0.1"]),
        ("", "redis-1", {"default_ipv6": {"address": "2001:db8::1"}}, ["2001:db8::1"]),
        # Nobody has looked at the host, or it has no route.
        (None, "10.0.0.1", {}, []),
        (None, "redis-1", {"default_ipv4": {}, "default_ipv6": {}}, []),
    ],
)
def test_bind(given: str | None, address: str, own: dict[str, Any], bind: list[str]) -> None:
    assert decisions.bind(given, address, own) == bind


@pytest.mark.parametrize(
    ("given", "total", "servers", "limit"),
    [
        ("2gb", 100, 1, "2gb"),
        (None, 4096, 1, "2048mb"),
        (None, 4096, 3, "640mb"),
        # In steps of 64 MiB, and never less than one.
        (None, 1999, 1, "960mb"),
        (None, 127, 1, "64mb"),
        (None, 256, 6, "64mb"),
        (None, 0, 0, "64mb"),
    ],
)
def test_memory_limit(given: str | None, total: int, servers: int, limit: str) -> None:
    assert decisions.memory_limit(given, total, servers) == limit


@pytest.mark.parametrize(
    ("given", "mode", "servers", "replicas"),
    [
        (None, "sentinel", 3, 1),
        # With one replica, writes would end with it.
        (None, "sentinel", 2, 0),
        (None, "replication", 3, 0),
        (None, "cluster", 6, 0),
        (0, "sentinel", 3, 0),
        (2, "replication", 3, 2),
    ],
)
def test_min_replicas_to_write(given: int | None, mode: str, servers: int, replicas: int) -> None:
    assert decisions.min_replicas_to_write(given, mode, servers) == replicas


@pytest.mark.parametrize(
    ("given", "sentinels", "quorum"), [(None, 1, 1), (None, 3, 2), (None, 4, 3), (None, 5, 3), (2, 5, 2)]
)
def test_quorum(given: int | None, sentinels: int, quorum: int) -> None:
    assert decisions.quorum(given, sentinels) == quorum


@pytest.mark.parametrize(
    ("mode", "persists", "servers", "seconds"),
    [
        ("standalone", True, 1, 0.1),
        ("sentinel", True, 3, 0.1),
        # Nobody whose data it could empty.
        ("standalone", False, 1, 0.1),
        ("sentinel", False, 1, 0.1),
        # Empty, it waits until another one was promoted.
        ("sentinel", False, 3, 6 + 5),
        ("cluster", False, 6, 7 + 5),
        # Nobody is promoted, so it stays down.
        ("replication", False, 3, 0),
    ],
)
def test_revive_after(mode: str, persists: bool, servers: int, seconds: float) -> None:
    assert decisions.revive_after(mode, persists, servers, 6000, 7000) == seconds


@pytest.mark.parametrize(
    ("mode", "reply", "keeps"),
    [
        ("cluster", {}, True),
        ("sentinel", leads(), True),
        # It was not deployed yet, or is still a node of a cluster, so nobody has watched it.
        ("sentinel", {"error": "refused"}, False),
        ("sentinel", leads(cluster=True), False),
        ("replication", leads(), False),
        ("standalone", leads(), False),
    ],
)
def test_keeps_role(mode: str, reply: dict[str, Any], keeps: bool) -> None:
    assert decisions.keeps_role(mode, reply) is keeps


@pytest.mark.parametrize(
    ("reply", "tls", "differs"),
    [
        ({"tls": False}, True, True),
        ({"tls": True}, False, True),
        ({"tls": True}, True, False),
        ({"tls": False}, False, False),
        # Nobody else understands one whose certificate has expired.
        ({"tls": True, "trusted": False}, True, True),
        ({"tls": True, "trusted": True}, True, False),
        # One that does not answer need not be stopped.
        ({"error": "refused"}, True, False),
        ({}, True, False),
    ],
)
def test_tls_differs(reply: dict[str, Any], tls: bool, differs: bool) -> None:
    assert decisions.tls_differs(reply, tls) is differs


def test_may_be_succeeded() -> None:
    assert decisions.may_be_succeeded("cluster", [])
    assert decisions.may_be_succeeded("sentinel", [{}, {"running": True}])
    # A mode that is only about to be deployed.
    assert not decisions.may_be_succeeded("sentinel", [{"running": False}])
    assert not decisions.may_be_succeeded("sentinel", [])
    assert not decisions.may_be_succeeded("replication", [{"running": True}])


def test_exporter_port() -> None:
    assert [decisions.exporter_port(None, index) for index in range(3)] == [9121, 9122, 9123]
    assert decisions.exporter_port(9200, 1) == 9200
