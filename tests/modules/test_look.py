"""The module host_look against real sockets, servers, programs and directories."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
from ansible.module_utils.host import commands, probe, redis_look, sentinel_look
from ansible.module_utils.host import program as program_part
from ansible.module_utils.listening import bind_error
from ansible.module_utils.redis_client import quote
from ansible.module_utils.testing import patch_module_args
from ansible.plugins.modules import host_look

from conftest import Certificate
from parts import PASSWORD
from servers import RedisServer, RedisServerFactory, free_port

# Addresses that are for documentation: nobody has them.
NOBODY = "192.0.2.254"

Ask = Callable[..., dict[str, Any]]
Look = Callable[..., dict[str, Any]]


@pytest.fixture
def ask(
    capsys: pytest.CaptureFixture[str], tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Ask:
    """Run the module with these questions, as Ansible does: arguments in, JSON out."""
    # Another test of this process may have been a controller's, where warnings go to the screen.
    monkeypatch.setattr("ansible.module_utils._internal.is_controller", False)
    directory = str(tmp_path_factory.mktemp("module"))

    def run(check: bool = False, **questions: Any) -> dict[str, Any]:
        capsys.readouterr()
        arguments = {"questions": questions, "_ansible_check_mode": check, "_ansible_tmpdir": directory}
        with patch_module_args(arguments), pytest.raises(SystemExit):
            host_look.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        assert not result.get("failed"), result
        assert not result["changed"]
        return result

    return run


@pytest.fixture
def look(ask: Ask) -> Look:
    """Ask the question `probe`, and return its answer."""

    def run(check: bool = False, **question: Any) -> dict[str, Any]:
        answer: dict[str, Any] = ask(check, probe=question)["probe"]
        return answer

    return run


@pytest.fixture(scope="module")
def server(redis_server: RedisServerFactory) -> RedisServer:
    return redis_server(password=PASSWORD)


@pytest.fixture
def silent() -> Iterator[int]:
    """A port on which connections are neither taken nor refused: its queue is full."""
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for client in (first, second):
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


def deadline(seconds: float = 3.0) -> float:
    return time.monotonic() + seconds


# Connections


@pytest.mark.parametrize("address", ["127.0.0.1", "localhost"])
def test_reach_a_port_that_is_open(listening: tuple[int, int], address: str) -> None:
    found = probe.reach(address, listening[0], deadline())
    assert (found["outcome"], found["text"]) == ("open", "")
    assert "127.0.0.1" in found["resolved"]


def test_reach_a_port_on_which_nobody_listens() -> None:
    found = probe.reach("127.0.0.1", free_port(), deadline())
    assert found == {"resolved": ["127.0.0.1"], "outcome": "refused", "text": "Connection refused"}


def test_reach_a_port_that_says_nothing(silent: int) -> None:
    began = time.monotonic()
    found = probe.reach("127.0.0.1", silent, deadline(0.3))
    assert found == {"resolved": ["127.0.0.1"], "outcome": "timeout", "text": "no answer"}
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("name", ["no-such-host.invalid", "a..b", "x" * 70 + ".example"])
def test_reach_a_name_that_nobody_knows(name: str) -> None:
    found = probe.reach(name, 6379, deadline())
    assert (found["outcome"], found["resolved"]) == ("unresolvable", [])
    assert found["text"]


def test_reach_an_address_without_a_way_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_self: socket.socket, _place: object) -> None:
        raise OSError(113, "No route to host")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    found = probe.reach(NOBODY, 6379, deadline())
    assert found == {"resolved": [NOBODY], "outcome": "unreachable", "text": "No route to host"}


def test_reach_tries_every_address_of_a_name(listening: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    places = [("127.0.0.1", free_port()), ("127.0.0.1", listening[0])]
    found = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", place) for place in places]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    assert probe.reach("two.example", 1, deadline())["outcome"] == "open"


def target(port: int, **more: Any) -> dict[str, Any]:
    return {"address": "127.0.0.1", "port": port, "server": "redis-1", "variable": "redis_address", **more}


def test_targets_are_asked_side_by_side(look: Look, silent: int, listening: tuple[int, int]) -> None:
    began = time.monotonic()
    targets = [*(target(silent) for _ in range(20)), target(listening[0])]
    result = look(targets=targets, timeout=1)
    assert time.monotonic() - began < 8
    assert [one["outcome"] for one in result["targets"]] == ["timeout"] * 20 + ["open"]
    place = {"server": "redis-1", "variable": "redis_address", "address": "127.0.0.1", "port": listening[0]}
    assert result["targets"][-1] == {**place, "resolved": ["127.0.0.1"], "outcome": "open", "text": ""}


def test_a_name_server_that_hangs_holds_nobody_up(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*_: Any, **__: Any) -> NoReturn:
        time.sleep(30)
        raise socket.gaierror("too late")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    began = time.monotonic()
    (found,) = look(targets=[target(6379)], timeout=0.2)["targets"]
    assert time.monotonic() - began < 5
    assert (found["outcome"], found["text"]) == ("unresolvable", "no name server answers within 0.2 seconds")


@pytest.mark.parametrize(
    ("password", "reply"),
    [(PASSWORD, "PONG"), ("", "NOAUTH Authentication required."), ("another", "WRONGPASS invalid username")],
)
def test_a_server_that_is_asked(look: Look, server: RedisServer, password: str, reply: str) -> None:
    (found,) = look(check=True, targets=[target(server.port, ask=True, password=password)])["targets"]
    assert found["outcome"] == "open"
    assert found["reply"].startswith(reply)
    assert "password" not in found


def test_a_server_with_tls_that_is_asked(
    look: Look, server: RedisServer, certificate: Certificate, tls_front: Callable[[int], int]
) -> None:
    port = tls_front(server.port)
    asked = target(port, ask=True, password=PASSWORD, tls_name=certificate.name)
    authorities = [str(certificate.ca_file), str(certificate.other_ca_file), "/absent/ca.pem"]
    targets = [{**asked, "tls_ca_file": path} for path in authorities]
    targets.append({**asked, "tls_ca_file": authorities[0], "tls_name": "redis-1.example"})
    replies = [one["reply"] for one in look(targets=targets)["targets"]]
    assert replies[0] == "PONG"
    assert "certificate verify failed" in replies[1]
    assert "No such file" in replies[2]
    assert "not valid for 'redis-1.example'" in replies[3]


def test_a_server_that_is_asked_and_says_nothing(listening: tuple[int, int], look: Look) -> None:
    (found,) = look(targets=[target(listening[0], ask=True)], timeout=0.3)["targets"]
    assert (found["outcome"], found["reply"]) == ("open", "")


# Listeners


def listener(port: int, **more: Any) -> dict[str, Any]:
    return {"address": "127.0.0.1", "port": port, "variable": "redis_port", **more}


@pytest.fixture
def systemctl(program: Callable[[str, str], str], tmp_path: Path) -> Path:
    """A systemd that runs the service redis-6379 alone. Return where it records its calls."""
    program("systemctl", f'echo "$*" >> {tmp_path}/calls; case "$*" in *redis-6379) echo MainPID=4711;; esac')
    return tmp_path / "calls"


@pytest.mark.parametrize(
    ("changes", "state", "text"),
    [
        ({}, "taken", "(process "),
        ({"address": "*"}, "taken", "(process "),
        ({"service": "redis-6380"}, "taken", "(process "),
        ({"service": "redis-6379"}, "ours", ""),
        ({"port": 0}, "free", ""),
        ({"port": 0, "service": "redis-6379"}, "free", ""),
        ({"port": 0, "address": "::"}, "free", ""),
        ({"address": NOBODY}, "impossible", "Cannot assign requested address"),
        ({"address": "no-such-host.invalid"}, "impossible", ""),
    ],
)
def test_listeners(
    look: Look, listening: tuple[int, int], systemctl: Path, changes: dict[str, Any], state: str, text: str
) -> None:
    (found,) = look(listeners=[{**listener(listening[0]), **changes}])["listeners"]
    assert found["state"] == state
    assert text in found["text"]
    assert (found["variable"], found["address"]) == ("redis_port", changes.get("address", "127.0.0.1"))
    # The manager is only asked where somebody listens.
    assert systemctl.exists() == (bool(changes.get("service")) and "port" not in changes)


def test_a_listener_under_supervisor_which_does_not_run(look: Look, listening: tuple[int, int], tmp_path: Path) -> None:
    where = {"manager": "supervisor", "service": "redis-6379", "supervisor": {"directory": str(tmp_path)}}
    (found,) = look(listeners=[listener(listening[0], **where)])["listeners"]
    assert found["state"] == "taken"


def test_bind_error() -> None:
    assert bind_error("127.0.0.1", 0) == 0
    assert bind_error("*", 0) == 0
    assert os.strerror(bind_error(NOBODY, 0)) == "Cannot assign requested address"


# Programs and packages


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], str]:
    """Write a program, the first on PATH; return its path."""
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)

    def write(name: str, script: str) -> str:
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return str(path)

    return write


@pytest.mark.parametrize(
    ("script", "version", "text"),
    [
        ("echo 'Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.2.1 bits=64'", "7.0.15", ""),
        ("echo 'Valkey server v=8.1.1 sha=0'", "8.1.1", ""),
        ("echo Python 3.11.7", "3.11.7", ""),
        ("echo hello", "", "it does not say its version"),
        ("exit 3", "", "exit status 3"),
    ],
)
def test_version(program: Callable[[str, str], str], script: str, version: str, text: str) -> None:
    found = probe.version(program("server", script))
    assert found["version"] == version
    assert text in found["text"]


def test_version_of_a_program_that_is_not_there(look: Look) -> None:
    result = look(programs=["/absent/redis-server"])
    assert result["programs"] == {"/absent/redis-server": {"version": "", "text": "No such file or directory"}}
    assert result["candidate"] == ""


@pytest.mark.parametrize(
    ("candidate", "version"), [("5:7.0.15-1~deb12u1", "7.0.15"), ("8.1.1+dfsg1-3", "8.1.1"), ("(none)", "")]
)
def test_candidate(look: Look, program: Callable[[str, str], str], candidate: str, version: str) -> None:
    program("apt-cache", f'[ "$LC_ALL $*" = "C policy redis-server" ] && echo "  Candidate: {candidate}"')
    asked: dict[str, Any] = {"programs": ["/absent/redis-server"], "package": "redis-server"}
    assert look(**asked)["candidate"] == version


def test_candidate_is_not_asked_for_where_the_server_is(look: Look, program: Callable[[str, str], str]) -> None:
    program("apt-cache", 'echo "  Candidate: 5.0.0"')
    server = program("redis-server", "echo v=7.0.15")
    assert look(programs=[server], package="redis-server")["candidate"] == ""


def test_candidate_where_there_is_no_apt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/absent")
    assert probe.candidate("redis-server") == ""


# Disks


def test_disk(tmp_path: Path) -> None:
    (tmp_path / "data" / "appendonlydir").mkdir(parents=True)
    (tmp_path / "data" / "appendonlydir" / "log").write_bytes(b"x" * 1000)
    (tmp_path / "data" / "dump.rdb").write_bytes(b"x" * 234)
    found = probe.disk(str(tmp_path / "data"))
    assert (found["folder"], found["used"]) == (str(tmp_path / "data"), 1234)
    assert found["device"] == tmp_path.stat().st_dev
    # Others write meanwhile.
    assert abs(found["free"] - shutil.disk_usage(tmp_path).free) < 1 << 30


def test_disk_of_a_directory_that_is_not_there_yet(look: Look, tmp_path: Path) -> None:
    found = look(data_dir=str(tmp_path / "absent" / "6379"))["disk"]
    assert (found["folder"], found["used"]) == (str(tmp_path), 0)


def test_files_are_looked_at(look: Look, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is wrong with them is for the tests of certificates."""
    monkeypatch.setattr(probe, "UNITS", str(tmp_path))
    (tmp_path / "redis-6379.service").touch()
    certificate = {"cert_file": "/absent/a", "key_file": "/absent/b", "ca_file": "/absent/c", "name": "redis-1"}
    found = look(certificate=certificate, ca_file="/absent/c", units=["redis-6379.service", "redis.service"])
    assert [fault["kind"] for fault in found["certificate"]["faults"]] == ["missing"] * 3
    assert found["ca_faults"] == [{"file": "ca_file", "kind": "missing", "text": "No such file or directory"}]
    assert found["units"] == ["redis-6379.service"]


def test_what_is_missing_is_named(look: Look, tmp_path: Path) -> None:
    (tmp_path / "nft").touch()
    files = [str(tmp_path / "nft"), str(tmp_path / "exporter")]
    found = look(users=["root", "nobody-yet"], groups=["root", "no-group-yet"], files=files)
    assert found["missing"] == ["nobody-yet", "no-group-yet", files[1]]


def test_whose_certificate_it_has(look: Look, tmp_path: Path) -> None:
    """As Ansible's filter ``hash`` says of the file on the control node."""
    file = tmp_path / "ca.crt"
    assert look(issued_ca_file=str(file))["issued_by"] is None
    file.write_bytes(b"certificate\n")
    assert look(issued_ca_file=str(file))["issued_by"] == hashlib.sha256(b"certificate\n").hexdigest()


# The other questions, and all at once


def test_nothing_asked_is_nothing_found(ask: Ask, look: Look) -> None:
    found = {"targets": [], "listeners": [], "programs": {}, "candidate": "", "disk": {}, "certificate": {}}
    assert {name: look()[name] for name in found} == found
    assert set(ask()) - {"invocation"} == {"changed", "facts"}


@pytest.fixture(scope="module")
def auth_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("auth") / "auth.conf"
    path.write_text(f"requirepass {quote(PASSWORD)}\n")
    return str(path)


def test_a_redis_server(ask: Ask, server: RedisServer, auth_file: str) -> None:
    question = {"port": server.port, "auth_file": auth_file, "announced": "127.0.0.1"}
    result = ask(redis=question)
    assert (result["redis"]["role"], result["redis"]["tls"]) == ("leader", False)
    # At an address of its own it is asked there, whatever it announces.
    result = ask(redis={**question, "address": "127.0.0.1", "announced": NOBODY})
    assert result["redis"]["role"] == "leader"


def test_servers_that_do_not_answer(ask: Ask) -> None:
    here = {"announced": "127.0.0.1", "port": free_port()}
    django = {"url": f"http://127.0.0.1:{free_port()}"}
    result = ask(redis=here, sentinel={**here, "service": "mymaster", "wait": 0}, django=django)
    assert "refused" in result["redis"]["error"]
    assert "refused" in result["sentinel"]["error"]
    assert not result["sentinel"]["running"]
    assert result["django"] == {"error": "Connection refused"}


def test_a_program(ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/absent")
    wanted = {"names": ["redis-server"], "package": "redis-server", "floor": "99", "dest": str(tmp_path / "redis")}
    assert "redis-server" in ask(program=wanted)["program"]["error"]
    assert "path" in ask(program={**wanted, "floor": "5.0"})["program"]
    assert not (tmp_path / "redis").exists()


@pytest.mark.parametrize("up", ["redis", "sentinel", "cluster", ""])
def test_a_listener_of_a_server_that_answers_is_not_looked_at(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, up: str
) -> None:
    """The port of a cluster's bus is one of a server's, where that is a node."""
    redis = {"": {"error": "refused"}, "sentinel": {"error": "refused"}, "redis": {"role": "leader", "cluster": False}}
    monkeypatch.setattr(redis_look, "redis_state", lambda _: redis.get(up, {"role": "replica", "cluster": True}))
    monkeypatch.setattr(sentinel_look, "sentinel_state", lambda _: {"running": up == "sentinel"})
    listeners = [listener(0, unless=name, variable=name) for name in ("redis", "cluster", "sentinel")]
    listeners.append(listener(0, variable="django_app_port"))
    here = {"announced": "127.0.0.1", "port": 1}
    result = ask(redis=here, sentinel={**here, "service": "mymaster"}, probe={"listeners": listeners})
    left = [found["variable"] for found in result["probe"]["listeners"]]
    gone = {"redis": ["redis"], "cluster": ["redis", "cluster"], "sentinel": ["sentinel"], "": []}[up]
    assert left == [name for name in ("redis", "cluster", "sentinel", "django_app_port") if name not in gone]


def test_questions_are_asked_side_by_side(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    together = threading.Barrier(4)

    def answer(*_: Any, **__: Any) -> dict[str, Any]:
        together.wait(timeout=20)
        return {}

    monkeypatch.setattr(redis_look, "redis_state", answer)
    monkeypatch.setattr(sentinel_look, "sentinel_state", answer)
    monkeypatch.setattr(program_part, "program_state", answer)
    monkeypatch.setattr(commands, "ask_ready", answer)
    here = {"address": "127.0.0.1", "port": 1}
    wanted = {"names": ["redis-server"], "package": "redis-server", "floor": "5.0", "dest": "/absent"}
    ask(redis=here, sentinel={**here, "service": "mymaster"}, program=wanted, django={"url": "http://127.0.0.1:1"})


def test_no_password_is_in_the_answer(ask: Ask, server: RedisServer, auth_file: str) -> None:
    asked = target(server.port, ask=True, password=PASSWORD)
    result = ask(
        redis={"address": "127.0.0.1", "port": server.port, "auth_file": auth_file}, probe={"targets": [asked]}
    )
    del result["invocation"]
    assert result["probe"]["targets"][0]["reply"] == "PONG"
    assert PASSWORD not in json.dumps(result, ensure_ascii=False)
