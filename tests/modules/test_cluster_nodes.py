"""The connection to one node of a cluster, and the addresses by which nodes are reached."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.host.cluster import NodeClient, Servers, resolve
from ansible.module_utils.redis_client import RedisError, connection_of, quote
from ansible.module_utils.redis_cluster_plan import Node, PlanError

from parts import PASSWORD, connection
from servers import Farm, RedisServer


@pytest.fixture
def auth_file(tmp_path: Path) -> str:
    path = tmp_path / "auth.conf"
    path.write_text(f"requirepass {quote(PASSWORD)}\n")
    return str(path)


@pytest.fixture(scope="module")
def lone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with Farm(tmp_path_factory.mktemp) as farm:
        yield farm.server(PASSWORD, None, rename_command='MIGRATE ""')


def test_the_password_is_in_no_error(lone: RedisServer) -> None:
    """A server repeats the arguments of a command that it does not know."""
    with NodeClient(lone.host, lone.port) as client:
        client.command("AUTH", PASSWORD)
        with pytest.raises(RedisError) as raised:
            client.migrate(("10.0.0.1", 6379), 0, ("", PASSWORD), [b"a"])
    assert "keys do not move to 10.0.0.1:6379: ERR unknown command" in str(raised.value)
    assert PASSWORD not in str(raised.value)
    assert PASSWORD[:4] not in str(raised.value)


def test_errors_of_a_list_of_keys(lone: RedisServer) -> None:
    with NodeClient(lone.host, lone.port) as client:
        with pytest.raises(RedisError, match="NOAUTH"):
            client.keys_in_slot(1, 1)
        client.command("AUTH", PASSWORD)
        with pytest.raises(RedisError, match="cluster support disabled"):
            client.keys_in_slot(1, 1)
        assert client.command("PING") == "PONG"


def test_an_answer_that_ends_early() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, NodeClient(*listener.getsockname()) as client:
        connection, _ = listener.accept()
        connection.sendall(b"*2\r\n$1\r\na\r\n")
        connection.close()
        with pytest.raises(OSError, match=r"closed|reset"):
            client.keys_in_slot(1, 2)


def answers(monkeypatch: pytest.MonkeyPatch, **hosts: list[str]) -> None:
    genuine = socket.getaddrinfo

    def getaddrinfo(host: str, port: int, *more: Any, **named: Any) -> list[Any]:
        if host[0].isdigit() or ":" in host:
            return genuine(host, port, *more, **named)
        found = hosts.get(host.replace("-", "_"))
        if found is None:
            raise socket.gaierror("Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def test_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, a=["127.0.1.1", "10.0.0.1", "10.0.0.1"], b=["127.0.1.1"], c=["2001:db8::1", "10.0.0.3"])
    assert resolve(Node("a", "a", 1, "a")) == ["10.0.0.1"]
    assert resolve(Node("b", "b", 1, "b")) == ["127.0.1.1"]
    assert resolve(Node("c", "c", 1, "c")) == ["2001:db8::1", "10.0.0.3"]
    with pytest.raises(PlanError, match="the address of d, d, is not found: Name or service not known"):
        resolve(Node("d", "d", 1, "d"))


def test_an_address_that_only_this_host_understands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Debian writes a host's own name into its /etc/hosts so."""
    answers(monkeypatch, redis_1=["127.0.1.1"], redis_2=["10.0.0.2"])
    nodes = [Node("redis-1", "redis-1", 1, "a"), Node("redis-2", "redis-2", 1, "b")]
    nothing = connection_of({"timeout": 1.0})
    with pytest.raises(PlanError, match="the address of redis-1 means this very host"):
        Servers(nodes, nothing)
    Servers(nodes[:1], nothing)


def test_the_address_that_answers_is_the_one_that_others_are_told(
    lone: RedisServer, monkeypatch: pytest.MonkeyPatch, auth_file: str
) -> None:
    answers(monkeypatch, both=["::1", "127.0.0.1"])
    with Servers([Node("x", "both", lone.port, "a")], connection_of(connection(lone, auth_file))) as servers:
        assert servers.client("x").command("PING") == "PONG"
        assert servers.address("x") == "127.0.0.1"
