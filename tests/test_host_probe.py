"""The module host_probe against real sockets, servers, certificates, programs and folders."""

from __future__ import annotations

import hashlib
import ipaddress
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, NoReturn

import pytest
from ansible.module_utils import certificates
from ansible.module_utils.listening import bind_error
from ansible.plugins.modules import host_probe
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from conftest import Certificate
from servers import RedisServer, RedisServerFactory, free_port
from test_modules import PASSWORD, Run, listening, run

__all__ = ["listening", "run"]

NOW = datetime.now(timezone.utc)
# Addresses that are for documentation: nobody has them.
NOBODY = "192.0.2.1"


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
    found = host_probe.reach(address, listening[0], deadline())
    assert (found["outcome"], found["text"]) == ("open", "")
    assert "127.0.0.1" in found["resolved"]


def test_reach_a_port_on_which_nobody_listens() -> None:
    found = host_probe.reach("127.0.0.1", free_port(), deadline())
    assert found == {"resolved": ["127.0.0.1"], "outcome": "refused", "text": "Connection refused"}


def test_reach_a_port_that_says_nothing(silent: int) -> None:
    began = time.monotonic()
    found = host_probe.reach("127.0.0.1", silent, deadline(0.3))
    assert found == {"resolved": ["127.0.0.1"], "outcome": "timeout", "text": "no answer"}
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("name", ["no-such-host.invalid", "a..b", "x" * 70 + ".example"])
def test_reach_a_name_that_nobody_knows(name: str) -> None:
    found = host_probe.reach(name, 6379, deadline())
    assert (found["outcome"], found["resolved"]) == ("unresolvable", [])
    assert found["text"]


def test_reach_an_address_without_a_way_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_self: socket.socket, _place: object) -> None:
        raise OSError(113, "No route to host")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    found = host_probe.reach(NOBODY, 6379, deadline())
    assert found == {"resolved": [NOBODY], "outcome": "unreachable", "text": "No route to host"}


def test_reach_tries_every_address_of_a_name(listening: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    places = [("127.0.0.1", free_port()), ("127.0.0.1", listening[0])]
    found = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", place) for place in places]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    assert host_probe.reach("two.example", 1, deadline())["outcome"] == "open"


def target(port: int, **more: Any) -> dict[str, Any]:
    return {"address": "127.0.0.1", "port": port, "server": "redis-1", "variable": "redis_address", **more}


def test_targets_are_asked_side_by_side(run: Run, silent: int, listening: tuple[int, int]) -> None:
    began = time.monotonic()
    targets = [*(target(silent) for _ in range(20)), target(listening[0])]
    result = run(host_probe, targets=targets, timeout=1)
    assert time.monotonic() - began < 8
    assert [one["outcome"] for one in result["targets"]] == ["timeout"] * 20 + ["open"]
    place = {"server": "redis-1", "variable": "redis_address", "address": "127.0.0.1", "port": listening[0]}
    assert result["targets"][-1] == {**place, "resolved": ["127.0.0.1"], "outcome": "open", "text": ""}


def test_a_name_server_that_hangs_holds_nobody_up(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*_: Any, **__: Any) -> NoReturn:
        time.sleep(30)
        raise socket.gaierror("too late")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    began = time.monotonic()
    (found,) = run(host_probe, targets=[target(6379)], timeout=0.2)["targets"]
    assert time.monotonic() - began < 5
    assert (found["outcome"], found["text"]) == ("unresolvable", "no name server answers within 0.2 seconds")


@pytest.mark.parametrize(
    ("password", "reply"),
    [(PASSWORD, "PONG"), ("", "NOAUTH Authentication required."), ("another", "WRONGPASS invalid username")],
)
def test_a_server_that_is_asked(run: Run, server: RedisServer, password: str, reply: str) -> None:
    (found,) = run(host_probe, True, targets=[target(server.port, ask=True, password=password)])["targets"]
    assert found["outcome"] == "open"
    assert found["reply"].startswith(reply)
    assert "password" not in found


def test_a_server_with_tls_that_is_asked(
    run: Run, server: RedisServer, certificate: Certificate, tls_front: Callable[[int], int]
) -> None:
    port = tls_front(server.port)
    asked = target(port, ask=True, password=PASSWORD, tls_name=certificate.name)
    authorities = [str(certificate.ca_file), str(certificate.other_ca_file), "/absent/ca.pem"]
    targets = [{**asked, "tls_ca_file": path} for path in authorities]
    targets.append({**asked, "tls_ca_file": authorities[0], "tls_name": "redis-1.example"})
    replies = [one["reply"] for one in run(host_probe, targets=targets)["targets"]]
    assert replies[0] == "PONG"
    assert "certificate verify failed" in replies[1]
    assert "No such file" in replies[2]
    assert "not valid for 'redis-1.example'" in replies[3]


def test_a_server_that_is_asked_and_says_nothing(listening: tuple[int, int], run: Run) -> None:
    (found,) = run(host_probe, targets=[target(listening[0], ask=True)], timeout=0.3)["targets"]
    assert (found["outcome"], found["reply"]) == ("open", "")


# Listeners


def listener(port: int, **more: Any) -> dict[str, Any]:
    return {"address": "127.0.0.1", "port": port, "variable": "redis_port", **more}


@pytest.mark.parametrize(
    ("changes", "state", "text"),
    [
        ({}, "taken", "(process "),
        ({"address": "*"}, "taken", "(process "),
        ({"pid_command": ["echo", "0"]}, "taken", "(process "),
        ({"pid_command": ["echo", "4711"]}, "ours", ""),
        ({"port": 0}, "free", ""),
        ({"port": 0, "pid_command": ["sh", "-c", "exit 1"]}, "free", ""),
        ({"port": 0, "address": "::"}, "free", ""),
        ({"address": NOBODY}, "impossible", "Cannot assign requested address"),
        ({"address": "no-such-host.invalid"}, "impossible", ""),
    ],
)
def test_listeners(run: Run, listening: tuple[int, int], changes: dict[str, Any], state: str, text: str) -> None:
    (found,) = run(host_probe, listeners=[{**listener(listening[0]), **changes}])["listeners"]
    assert found["state"] == state
    assert text in found["text"]
    assert found["variable"] == "redis_port"


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
    found = host_probe.version(program("server", script))
    assert found["version"] == version
    assert text in found["text"]


def test_version_of_a_program_that_is_not_there(run: Run) -> None:
    result = run(host_probe, programs=["/absent/redis-server"])
    assert result["programs"] == {"/absent/redis-server": {"version": "", "text": "No such file or directory"}}
    assert result["candidate"] == ""


@pytest.mark.parametrize(
    ("candidate", "version"), [("5:7.0.15-1~deb12u1", "7.0.15"), ("8.1.1+dfsg1-3", "8.1.1"), ("(none)", "")]
)
def test_candidate(run: Run, program: Callable[[str, str], str], candidate: str, version: str) -> None:
    program("apt-cache", f'[ "$LC_ALL $*" = "C policy redis-server" ] && echo "  Candidate: {candidate}"')
    asked: dict[str, Any] = {"programs": ["/absent/redis-server"], "package": "redis-server"}
    assert run(host_probe, **asked)["candidate"] == version


def test_candidate_is_not_asked_for_where_the_server_is(run: Run, program: Callable[[str, str], str]) -> None:
    program("apt-cache", 'echo "  Candidate: 5.0.0"')
    server = program("redis-server", "echo v=7.0.15")
    assert run(host_probe, programs=[server], package="redis-server")["candidate"] == ""


def test_candidate_where_there_is_no_apt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/absent")
    assert host_probe.candidate("redis-server") == ""


# Disks


def test_disk(tmp_path: Path) -> None:
    (tmp_path / "data" / "appendonlydir").mkdir(parents=True)
    (tmp_path / "data" / "appendonlydir" / "log").write_bytes(b"x" * 1000)
    (tmp_path / "data" / "dump.rdb").write_bytes(b"x" * 234)
    found = host_probe.disk(str(tmp_path / "data"))
    assert (found["folder"], found["used"]) == (str(tmp_path / "data"), 1234)
    assert found["device"] == tmp_path.stat().st_dev
    # Others write meanwhile.
    assert abs(found["free"] - shutil.disk_usage(tmp_path).free) < 1 << 30


def test_disk_of_a_folder_that_is_not_there_yet(run: Run, tmp_path: Path) -> None:
    found = run(host_probe, data_dir=str(tmp_path / "absent" / "6379"))["disk"]
    assert (found["folder"], found["used"]) == (str(tmp_path), 0)


# Certificates


@dataclass(frozen=True)
class Authority:
    """Signs certificates; its own is in `file`."""

    folder: Path
    key: ec.EllipticCurvePrivateKey
    file: Path

    def sign(self, name: str, *names: str, days: tuple[float, float] = (-1, 90)) -> tuple[str, str]:
        """Make a certificate for `names` that is valid from and until those days; return its path and its key's."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self.folder / f"{name}.pem"
        certificate.write_bytes(_signed(name, key, "authority", self.key, days, names))
        (self.folder / f"{name}.key").write_bytes(_private(key))
        return str(certificate), str(self.folder / f"{name}.key")


def _private(key: ec.EllipticCurvePrivateKey, password: bytes = b"") -> bytes:
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def _signed(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: str,
    signer: ec.EllipticCurvePrivateKey,
    days: tuple[float, float],
    names: tuple[str, ...] = (),
) -> bytes:
    subject, by = (x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, one)]) for one in (name, issuer))
    builder = x509.CertificateBuilder(by, subject, key.public_key(), x509.random_serial_number())
    first, last = (NOW + timedelta(days=day) for day in days)
    is_ca = name == issuer
    builder = builder.not_valid_before(first).not_valid_after(last)
    # What Python 3.13 and later ask for.
    builder = builder.add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    builder = builder.add_extension(authority, critical=False)
    usages = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only")
    usage = dict.fromkeys((*usages, "decipher_only"), False)
    usage |= {"digital_signature": not is_ca, "key_cert_sign": is_ca, "crl_sign": is_ca}
    builder = builder.add_extension(x509.KeyUsage(**usage), critical=True)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([_general(one) for one in names]), critical=False)
    return builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _authority(folder: Path, days: tuple[float, float] = (-100, 1000)) -> Authority:
    folder.mkdir()
    key = ec.generate_private_key(ec.SECP256R1())
    (folder / "authority.pem").write_bytes(_signed("authority", key, "authority", key, days))
    return Authority(folder, key, folder / "authority.pem")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return _authority(tmp_path_factory.mktemp("certificates") / "first")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return _authority(tmp_path_factory.mktemp("certificates") / "second")


def kinds(state: dict[str, Any]) -> list[tuple[str, str]]:
    return [(fault["file"], fault["kind"]) for fault in state["faults"]]


@pytest.mark.parametrize("name", ["redis-1.example", "10.0.0.6", "2001:db8::6"])
def test_a_certificate_that_will_do(authority: Authority, name: str) -> None:
    files = authority.sign("right", "redis-1.example", "10.0.0.6", "2001:db8::6")
    state = certificates.certificate_state(*files, str(authority.file), name)
    assert state["faults"] == []
    assert state["names"][:2] == ["redis-1.example", "10.0.0.6"]
    assert state["days_left"] == 89


@pytest.mark.parametrize("name", ["10.0.0.7", "redis-2.example", "2001:db8::7"])
def test_a_certificate_for_another_name(authority: Authority, name: str) -> None:
    state = certificates.certificate_state(
        *authority.sign("other", "redis-1.example", "10.0.0.6"), str(authority.file), name
    )
    assert kinds(state) == [("cert_file", "name")]
    assert state["names"] == ["redis-1.example", "10.0.0.6"]


@pytest.mark.parametrize(
    ("days", "kind", "left"), [((-30, -2), "expired", -2), ((2, 30), "early", 29), ((-30, 12.5), "", 12)]
)
def test_a_certificate_at_its_time(authority: Authority, days: tuple[float, float], kind: str, left: int) -> None:
    files = authority.sign("timely", "redis-1", days=days)
    state = certificates.certificate_state(*files, str(authority.file), "redis-1")
    assert kinds(state) == ([("cert_file", kind)] if kind else [])
    # Within the second in which it is asked.
    assert state["days_left"] in (left, left - 1)


def test_everything_that_is_wrong_with_a_certificate_is_said_at_once(authority: Authority) -> None:
    files = authority.sign("worst", "redis-1", days=(-30, -1))
    state = certificates.certificate_state(*files, str(authority.file), "redis-2")
    assert kinds(state) == [("cert_file", "expired"), ("cert_file", "name")]


def test_a_certificate_of_another_authority(authority: Authority, stranger: Authority) -> None:
    state = certificates.certificate_state(*authority.sign("strange", "redis-1"), str(stranger.file), "redis-1")
    assert kinds(state) == [("cert_file", "untrusted")]
    assert "certificate" in state["faults"][0]["text"]
    # Nor does the host itself trust it.
    state = certificates.certificate_state(*authority.sign("strange", "redis-1"), "", "redis-1")
    assert kinds(state) == [("cert_file", "untrusted")]


def test_a_certificate_of_an_authority_that_has_expired(tmp_path: Path) -> None:
    old = _authority(tmp_path / "old", (-100, -1))
    state = certificates.certificate_state(*old.sign("new", "redis-1"), str(old.file), "redis-1")
    assert kinds(state) == [("ca_file", "outdated")]
    assert "expired" in state["faults"][0]["text"]


def test_the_key_of_another_certificate(authority: Authority) -> None:
    (file, _), (_, key) = authority.sign("one", "redis-1"), authority.sign("two", "redis-1")
    assert kinds(certificates.certificate_state(file, key, str(authority.file), "redis-1")) == [
        ("key_file", "mismatch")
    ]


ALL_FILES = ["cert_file", "key_file", "ca_file"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may ask as somebody else")
@pytest.mark.parametrize(("reader", "closed"), [("nobody", ALL_FILES), ("root", []), ("absent", [])])
def test_files_that_the_server_may_not_read(
    authority: Authority, tmp_path: Path, reader: str, closed: list[str]
) -> None:
    tmp_path.chmod(0o700)
    certificate, key, ca = (
        str(shutil.copy(file, tmp_path)) for file in (*authority.sign("closed", "redis-1"), authority.file)
    )
    state = certificates.certificate_state(certificate, key, ca, "redis-1", reader=reader)
    assert kinds(state) == [(file, "closed") for file in closed]


def test_a_key_with_a_password(authority: Authority, tmp_path: Path) -> None:
    file, key = authority.sign("locked", "redis-1")
    locked = tmp_path / "locked.key"
    plain = serialization.load_pem_private_key(Path(key).read_bytes(), None)
    assert isinstance(plain, ec.EllipticCurvePrivateKey)
    locked.write_bytes(_private(plain, b"open sesame"))
    asked = (file, str(locked), str(authority.file), "redis-1")
    assert kinds(certificates.certificate_state(*asked)) == [("key_file", "unreadable")]
    assert kinds(certificates.certificate_state(*asked, "open sesame")) == []


def test_files_that_are_not_there_or_are_something_else(run: Run, authority: Authority, tmp_path: Path) -> None:
    file, key = authority.sign("present", "redis-1")
    text = tmp_path / "text"
    text.write_text("hello\n")

    def faults(**changes: str) -> list[tuple[str, str]]:
        asked = {"cert_file": file, "key_file": key, "ca_file": str(authority.file), "name": "redis-1", **changes}
        return kinds(run(host_probe, certificate=asked)["certificate"])

    assert faults() == []
    absent = {name: f"/absent/{name}" for name in ("cert_file", "key_file", "ca_file")}
    assert faults(**absent) == [(name, "missing") for name in absent]
    assert faults(cert_file=str(text)) == [("cert_file", "unreadable")]
    assert faults(ca_file=str(text)) == [("ca_file", "unreadable")]
    assert faults(key_file=str(text)) == [("key_file", "unreadable")]
    assert faults(key_file=str(tmp_path)) == [("key_file", "unreadable")]


def test_the_authority_that_a_client_is_to_trust(run: Run, authority: Authority) -> None:
    assert run(host_probe, ca_file=str(authority.file))["ca_faults"] == []
    assert run(host_probe, ca_file="/absent")["ca_faults"] == [
        {"file": "ca_file", "kind": "missing", "text": "No such file or directory"}
    ]


def test_whose_certificate_it_has(run: Run, tmp_path: Path) -> None:
    """As Ansible's filter ``hash`` says of the file on the control machine."""
    file = tmp_path / "ca.crt"
    assert run(host_probe, issued_ca_file=str(file))["issued_by"] is None
    file.write_bytes(b"certificate\n")
    assert run(host_probe, issued_ca_file=str(file))["issued_by"] == hashlib.sha256(b"certificate\n").hexdigest()


def test_nothing_asked_is_nothing_found(run: Run) -> None:
    found = {"targets": [], "listeners": [], "programs": {}, "candidate": "", "disk": {}, "certificate": {}}
    result = run(host_probe)
    assert {name: result[name] for name in found} == found
    assert not result["changed"]
