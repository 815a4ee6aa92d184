"""The client that the modules talk to servers with, and what it finds out of their roles."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.redis_client import (
    CONNECTION_SPEC,
    RedisClient,
    RedisError,
    ask_role,
    connect,
    quote,
)

from conftest import Certificate, Listen
from parts import PASSWORD
from servers import Farm, RedisServer, RedisServerFactory, free_port


@pytest.fixture(scope="module")
def leader(redis_server: RedisServerFactory) -> RedisServer:
    return redis_server(password=PASSWORD)


@pytest.fixture(scope="module")
def replica(redis_server: RedisServerFactory, leader: RedisServer) -> RedisServer:
    return redis_server(password=PASSWORD, replicaof=leader)


@pytest.fixture(scope="module")
def auth_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("auth") / "auth.conf"
    path.write_text(f"requirepass {quote(PASSWORD)}\n")
    return str(path)


def params(server: RedisServer, auth_file: str | None, **changes: Any) -> dict[str, Any]:
    """What the modules hand to `connect`."""
    place = {"address": server.host, "port": server.port, "tls_ca_file": None, "tls_name": None}
    return {**place, "auth_file": auth_file, "timeout": 5.0, **changes}


@pytest.fixture
def client(leader: RedisServer, auth_file: str) -> Iterator[RedisClient]:
    with connect(params(leader, auth_file)) as connection:
        connection.command("FLUSHALL")
        yield connection


@pytest.fixture
def say(listen: Listen) -> Callable[..., int]:
    """Listen on a port; answer each request of the first client with the next text, then hang up. Return the port."""

    def start(*replies: bytes, hang: bool = False) -> int:
        def serve(listener: socket.socket) -> None:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                for reply in replies:
                    connection.recv(4096)
                    connection.sendall(reply)
                if hang:
                    connection.recv(4096)
                    connection.recv(4096)

        return listen(serve)

    return start


def test_replies(client: RedisClient) -> None:
    assert client.command("SET", "text", "value") == "OK"
    assert client.command("GET", "text") == "value"
    assert client.command("GET", "absent") is None
    assert client.command("INCRBY", "number", 41) == 41
    assert client.command("INCRBY", "number", -42) == -1
    assert client.command("MGET", "text", "absent", "number") == ["value", None, "-1"]
    assert client.command("LRANGE", "absent", 0, -1) == []
    assert client.command("BLPOP", "absent", "0.01") is None
    assert client.command("EVAL", "return {1, {2, 'x', {}}, false, ''}", 0) == [1, [2, "x", []], None, ""]


@pytest.mark.parametrize("value", ["", " ", "ключ 🔑", "a\r\nb\x00c", "$5\r\n+OK\r\n", "x" * 1_000_000], ids=range(6))
def test_values_are_returned_as_they_were_given(client: RedisClient, value: str) -> None:
    client.command("SET", value, value)
    assert client.command("GET", value) == value


def test_bytes_that_are_no_text_do_no_harm(client: RedisClient, leader: RedisServer) -> None:
    leader.client().set("pickled", b"\x80\x05\xff")
    assert client.command("GET", "pickled") == "\ufffd\x05\ufffd"
    assert client.command("PING") == "PONG"


def test_an_error_is_raised_and_the_connection_goes_on(client: RedisClient) -> None:
    with pytest.raises(RedisError, match=r"^ERR unknown command 'NOSUCH'"):
        client.command("NOSUCH", "x")
    client.command("SET", "text", "value")
    with pytest.raises(RedisError, match=r"^WRONGTYPE "):
        client.command("LPUSH", "text", "x")
    assert client.command("PING") == "PONG"


def test_info(client: RedisClient) -> None:
    about = client.info("server")
    assert about["server_name"] == "valkey"
    assert about["config_file"].startswith("/")
    assert not [name for name in about if name.startswith("#")]
    assert client.info("keyspace") == {}
    client.command("SET", "text", "value")
    assert client.info("keyspace")["db0"].startswith("keys=1,")


def test_nobody_gets_in_without_the_password(leader: RedisServer) -> None:
    with RedisClient(leader.host, leader.port) as stranger:
        with pytest.raises(RedisError, match=r"^NOAUTH "):
            stranger.command("PING")
        with pytest.raises(RedisError, match=r"^WRONGPASS "):
            stranger.command("AUTH", PASSWORD + "x")
        assert stranger.command("AUTH", PASSWORD) == "OK"
        assert stranger.command("PING") == "PONG"


def test_connect_refuses_a_wrong_password(leader: RedisServer, tmp_path: Path) -> None:
    wrong = tmp_path / "auth.conf"
    wrong.write_text('requirepass "wrong"\n')
    with pytest.raises(RedisError, match=r"^WRONGPASS "):
        connect(params(leader, str(wrong)))


def test_connect_asks_nothing_of_a_server_that_was_not_deployed(leader: RedisServer, tmp_path: Path) -> None:
    with pytest.raises(RedisError, match="never deployed"):
        connect(params(leader, str(tmp_path / "absent")))


@pytest.mark.parametrize("content", ["", 'requirepass ""\n'])
def test_connect_without_a_password_sends_none(leader: RedisServer, tmp_path: Path, content: str) -> None:
    path = tmp_path / "auth.conf"
    path.write_text(content)
    with connect(params(leader, str(path))) as stranger, pytest.raises(RedisError, match=r"^NOAUTH "):
        stranger.command("PING")


def test_tls(leader: RedisServer, auth_file: str, certificate: Certificate, tls_front: Callable[[int], int]) -> None:
    front = {"port": tls_front(leader.port), "tls_ca_file": str(certificate.ca_file)}
    with connect(params(leader, auth_file, **front, tls_name=certificate.name)) as connection:
        assert connection.command("PING") == "PONG"
        assert connection.command("ECHO", "x" * 100_000) == "x" * 100_000
    with pytest.raises(ssl.SSLCertVerificationError, match=r"not valid for 'other\.example\.com'"):
        connect(params(leader, auth_file, **front, tls_name="other.example.com"))


def test_tls_refuses_the_certificate_of_another_authority(
    leader: RedisServer, certificate: Certificate, tls_front: Callable[[int], int]
) -> None:
    changes = {"port": tls_front(leader.port), "tls_ca_file": str(certificate.other_ca_file)}
    with pytest.raises(ssl.SSLCertVerificationError):
        connect(params(leader, None, **changes, tls_name=certificate.name))


@pytest.mark.parametrize("address", ["*", "0.0.0.0", ""])
def test_a_server_on_every_address_is_asked_through_loopback(leader: RedisServer, auth_file: str, address: str) -> None:
    with connect(params(leader, auth_file, address=address)) as connection:
        assert connection.command("PING") == "PONG"


def test_a_server_on_every_ipv6_address_is_asked_through_ipv6() -> None:
    with socket.socket(socket.AF_INET6) as listener:
        listener.bind(("::1", 0))
        listener.listen()
        with RedisClient("::", listener.getsockname()[1]):
            assert listener.accept()


def test_a_closed_port_is_an_os_error() -> None:
    with pytest.raises(ConnectionRefusedError):
        RedisClient("127.0.0.1", free_port())


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"+OK",
        b"$10\r\nabc",
        b"$3\r\nabc",
        b"*2\r\n$1\r\na\r\n",
        b"HTTP/1.1 400 Bad Request\r\nServer: x\r\n\r\n",
        b"\r\n",
        b"$x\r\n",
        b"220 mail.example.com ESMTP\r\n",
    ],
)
def test_a_server_that_hangs_up_or_is_no_redis_is_an_os_error(say: Callable[..., int], reply: bytes) -> None:
    """Never half a value, and never another exception, which would be a traceback to whoever runs the playbook."""
    with RedisClient("127.0.0.1", say(reply)) as connection, pytest.raises(ConnectionError):
        connection.command("PING")


def test_a_server_that_is_silent_is_an_os_error(say: Callable[..., int]) -> None:
    with RedisClient("127.0.0.1", say(hang=True), timeout=0.05) as connection, pytest.raises(TimeoutError):
        connection.command("PING")


# ask_role


def test_ask_role_of_a_leader(leader: RedisServer, auth_file: str) -> None:
    answer = ask_role(params(leader, auth_file))
    assert answer.pop("offset") >= 0
    assert answer.pop("replicas") >= 0
    assert answer == {"role": "leader", **about(leader)}


def test_ask_role_of_a_replica(leader: RedisServer, replica: RedisServer, auth_file: str) -> None:
    followed = {"leader_address": leader.host, "leader_port": leader.port, "link": "connected"}
    answer = ask_role(params(replica, auth_file))
    assert answer.pop("offset") >= 0
    assert answer == {"role": "replica", **followed, **about(replica)}
    assert ask_role(params(leader, auth_file))["replicas"] == 1


def about(server: RedisServer) -> dict[str, Any]:
    info = server.client().info("server")
    return {"server": "valkey", "version": info["valkey_version"], "cluster": False, "days_left": None}


def test_ask_role_of_a_node_of_a_cluster(farm: Farm) -> None:
    assert ask_role(params(farm.cluster_node(), None))["cluster"] is True


ROLE_OF_A_LEADER = b"*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n"


def test_redis_says_its_version_in_another_field_than_valkey(leader: RedisServer, say: Callable[..., int]) -> None:
    info = b"# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\n"
    port = say(ROLE_OF_A_LEADER, b"$%d\r\n%s\r\n" % (len(info), info))
    answer = ask_role(params(leader, None, port=port))
    assert (answer["server"], answer["version"], answer["cluster"]) == ("redis", "7.0.15", False)


def test_the_defaults_of_the_modules_are_those_of_the_client(leader: RedisServer) -> None:
    """What Ansible passes for a task that names the port alone is what `connect` takes."""
    defaults = {name: option.get("default") for name, option in CONNECTION_SPEC.items()}
    with connect({**defaults, "port": leader.port}) as stranger, pytest.raises(RedisError, match=r"^NOAUTH "):
        stranger.command("PING")
